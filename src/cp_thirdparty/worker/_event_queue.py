"""A bounded queue of calls to the partner's code, and the one thread that makes these calls."""

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

# Seconds without a call after which the thread ends.  The next call starts a new thread, which takes about 0.1 ms.
_IDLE_SECONDS: Final = 1.0

# Seconds for which an idle thread waits for more calls after the first one is queued.  A worker emits several events
# for each job, and it costs more to wake the thread for each event than to make the calls together.  `flush` ends this
# wait at once.
_GATHER_SECONDS: Final = 0.01

# Seconds between two attempts of `flush` to start the thread if the system could not start one.
_RETRY_SECONDS: Final = 0.05

# Seconds between two reports about dropped calls while the queue stays full.
_REPORT_INTERVAL: Final = 10.0


class EventQueue:
    """
    Makes calls to the partner's code in one separate thread, one call after another.  Thread-safe.

    Exceptions that a call raises are ignored.  While a call blocks, the other calls wait in the queue.  If the queue is
    full, new calls are dropped.

    If the system cannot start a thread, the calls stay in the queue until a thread can be started.  The thread that
    queues a call never makes the call itself, because the call may block.

    After a fork, the child starts with an empty queue and its own thread.

    Args:
        size: The maximum number of calls in the queue.
        report_dropped: Called with the number of calls that were dropped since the last report.  The thread of the
            queue calls it when the queue is empty again, and at most every ten seconds while the queue is not empty.
        thread_name: The name of the thread.
    """

    def __init__(
        self, size: int, report_dropped: Callable[[int], object], thread_name: str = "cp-thirdparty-events"
    ) -> None:
        self._size = size
        self._thread_name = thread_name
        self._report_dropped = report_dropped
        self.reset()
        _QUEUES.add(self)

    def reset(self) -> None:
        """Discard all calls and the reference to the thread, which does not exist after a fork."""
        self._changed = threading.Condition()
        self._calls: deque[tuple[Context, Callable[[], object]]] = deque()
        self._thread: threading.Thread | None = None
        self._is_idle = False  # whether the thread waits for a call
        self._flushes = 0  # number of threads that wait in `flush`
        self._accepted = 0  # number of calls that were put into the queue
        self._done = 0  # number of calls that have returned
        self._blocked_at: int | None = None  # value of `_done` when the last `flush` timed out
        self._dropped = 0
        self._reported = 0  # number of dropped calls that were reported
        self._reported_at = -_REPORT_INTERVAL

    @property
    def dropped(self) -> int:
        """Number of calls that were dropped because the queue was full."""
        return self._dropped

    def put(self, call: Callable[[], object]) -> None:
        """Queue a call for the thread, with a copy of the current context variables; drop it if the queue is full."""
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
        Wait until the thread has made all calls that are in the queue now; return ``False`` if it has not.

        It waits at most `seconds`.  It does not wait if an earlier `flush` timed out, and since then no call has
        returned and no thread was started.  So a call that blocks delays only one `flush`.
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
            thread = threading.Thread(target=self._run_calls, name=self._thread_name, daemon=True)
            with suppress(RuntimeError):  # the system cannot start a thread; the next `put` or `flush` tries again
                thread.start()
                self._thread, self._blocked_at = thread, None

    def _run_calls(self) -> None:
        has_run_call = False
        while (entry := self._take(has_run_call=has_run_call)) is not None:
            context, call = entry
            with suppress(BaseException):
                context.run(call)
            if self._dropped != self._reported:
                self._report()
            has_run_call = True

    def _is_current(self) -> bool:
        """
        Return whether the current thread is still the thread of the queue.

        In a child that a call has forked, it is not, and this thread must make no more calls.
        """
        return self._thread is threading.current_thread()

    def _take(self, *, has_run_call: bool) -> tuple[Context, Callable[[], object]] | None:
        """
        Wait for the next call and return it; return ``None`` if the thread must end.

        Args:
            has_run_call: Whether the thread has just made a call, which is counted here.
        """
        with self._changed:
            if not self._is_current():
                return None
            if has_run_call:
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
        """Report the dropped calls, unless the queue is not empty and the last report is less than 10 seconds old."""
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
