"""A bounded queue of calls of the partner's code, and the one thread that makes them."""

from __future__ import annotations

import os
import threading
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context, copy_context
from typing import Final

from cp_thirdparty._core.call import now

# Seconds without a call after which the thread ends.  The next call starts another one, which takes about 0.1 ms.
_IDLE_SECONDS: Final = 1.0

# Seconds for which the thread waits for more calls when it was idle.  A wake-up costs more than a call, and a worker
# emits several events for each job.  `flush` does not wait for it.
_GATHER_SECONDS: Final = 0.01

# Seconds between two attempts of `flush` to start the thread when the system has none left.
_RETRY_SECONDS: Final = 0.05

# Seconds between two reports about dropped calls while the queue stays full.
_REPORT_INTERVAL: Final = 10.0


class EventQueue:
    """
    Calls the partner's code one call after the other, in a thread of its own.  Thread-safe.

    Whatever a call raises is dropped.  While a call blocks, the others wait, and calls beyond the size are dropped.

    If the system has no thread left, the calls are kept until a thread can be started: the calling thread must not run
    code that may block.

    A child of a fork has none of its parent's calls, and a thread of its own.

    Args:
        size: The most calls that wait.
        report_dropped: Called in the thread with how many calls were dropped since its last call: when the queue is
            empty again, and every ten seconds while it is not.
    """

    def __init__(self, size: int, report_dropped: Callable[[int], object]) -> None:
        self._size = size
        self._report_dropped = report_dropped
        self.reset()
        _QUEUES.add(self)

    def reset(self) -> None:
        """Forget all calls, and the thread: it does not exist in the child of a fork."""
        self._changed = threading.Condition()
        self._calls: deque[tuple[Context, Callable[[], object]]] = deque()
        self._thread: threading.Thread | None = None
        self._is_idle = False  # whether the thread waits for a call
        self._flushes = 0  # how many of them wait
        self._accepted = 0
        self._done = 0
        self._blocked_at: int | None = None  # how many calls were done when a flush waited in vain
        self._dropped = 0
        self._reported = 0
        self._reported_at = -_REPORT_INTERVAL

    @property
    def dropped(self) -> int:
        """How many calls were dropped."""
        return self._dropped

    def put(self, call: Callable[[], object]) -> None:
        """Create a call later, with the context variables of now; drop it if the queue is full."""
        context = copy_context()
        with self._changed:
            if len(self._calls) < self._size:
                self._calls.append((context, call))
                self._accepted += 1
                if self._is_idle:
                    self._is_idle = False
                    self._changed.notify_all()
            else:
                self._dropped += 1
            self._start_thread()

    def flush(self, seconds: float) -> bool:
        """
        Wait until the calls that are in the queue now were made; return ``False`` if they were not.

        It waits at most that many seconds.  It does not wait at all if no call has ended, and no thread has started,
        since another flush waited in vain: a call that blocks costs the time once.
        """
        ends_at = now() + seconds
        with self._changed:
            last = self._accepted
            self._start_thread()
            if threading.current_thread() is self._thread or self._done == self._blocked_at:
                ends_at = now()
            self._flushes += 1
            self._changed.notify_all()
            try:
                return self._wait_until_done(last, ends_at)
            finally:
                self._flushes -= 1

    def _wait_until_done(self, last: int, ends_at: float) -> bool:
        while self._done < last:
            self._start_thread()
            left = ends_at - now()
            if left <= 0:
                self._blocked_at = self._done
                return False
            self._changed.wait(left if self._thread is not None else min(left, _RETRY_SECONDS))
        return True

    def _start_thread(self) -> None:
        if self._calls and self._thread is None:
            thread = threading.Thread(target=self._serve, name="cp-thirdparty-events", daemon=True)
            with suppress(RuntimeError):  # the system has no thread left: the next call tries again
                thread.start()
                self._thread, self._blocked_at = thread, None

    def _serve(self) -> None:
        is_done = False
        while (entry := self._take(is_done=is_done)) is not None:
            context, call = entry
            with suppress(BaseException):
                context.run(call)
            if self._dropped != self._reported:
                self._report()
            is_done = True

    def _is_current(self) -> bool:
        """Whether this is still the thread: after a fork in a call, the child must not go on."""
        return self._thread is threading.current_thread()

    def _take(self, *, is_done: bool) -> tuple[Context, Callable[[], object]] | None:
        """Count the last call if there was one, and wait for the next; return ``None`` if the thread ends."""
        with self._changed:
            if not self._is_current():
                return None
            if is_done:
                self._done += 1
                if self._flushes:
                    self._changed.notify_all()
            if not self._calls and not self._wait_for_calls():
                self._thread = None
                return None
            return self._calls.popleft()

    def _wait_for_calls(self) -> bool:
        self._is_idle = True
        has_calls = self._changed.wait_for(lambda: bool(self._calls), _IDLE_SECONDS)
        self._is_idle = False
        if has_calls:
            self._changed.wait_for(lambda: self._flushes > 0, _GATHER_SECONDS)
        return has_calls

    def _report(self) -> None:
        """Report what was dropped, unless that was done a short time ago and the queue is still full."""
        with self._changed:
            dropped = self._dropped - self._reported
            if not dropped or (self._calls and now() - self._reported_at < _REPORT_INTERVAL):
                return
            self._reported, self._reported_at = self._dropped, now()
        with suppress(BaseException):
            self._report_dropped(dropped)


_QUEUES: Final[weakref.WeakSet[EventQueue]] = weakref.WeakSet()


def _reset_all() -> None:
    for queue in tuple(_QUEUES):
        queue.reset()


if hasattr(os, "register_at_fork"):  # pragma: no branch - not on Windows
    os.register_at_fork(after_in_child=_reset_all)
