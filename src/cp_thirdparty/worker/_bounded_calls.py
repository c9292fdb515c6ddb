"""Calls to the partner's code, which may hang: each call runs in a separate thread and has a timeout."""

from __future__ import annotations

import math
import os
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from queue import Empty, SimpleQueue
from typing import Any, Final, TypeVar, cast

import attrs

from cp_thirdparty.worker._isolation import Raised, call_partner

_T = TypeVar("_T")

# Seconds after which an idle thread ends.
_IDLE_SECONDS: Final = 5.0

# Seconds that each call has at least after `end_within`, unless its own timeout is shorter.  A call that does not hang
# takes much less time.
_MIN_SECONDS: Final = 1.0

# The timeout in seconds for one call of a partner's clock.
_CLOCK_SECONDS: Final = 2.0

# Seconds between two checks of the deadline that `end_within` sets.
_TICK: Final = 0.25

# Seconds between two checks of whether all calls have returned.
_SHORT_TICK: Final = 0.01


@attrs.frozen
class NotReturned:
    """Returned for a call that has timed out, or that was not made because an earlier call hangs."""


class _Call:
    """A call, its result, and the function that undoes a result that arrives after the timeout."""

    __slots__ = ("has_begun", "make", "result", "undo")

    def __init__(self, make: Callable[[], Any], undo: Callable[[Any], object]) -> None:
        self.has_begun = False
        self.make = make
        self.result: SimpleQueue[Any] = SimpleQueue()
        self.undo = undo


class BoundedCalls:
    """
    Makes calls in separate threads, each with a timeout.  Thread-safe.

    While a call hangs, no other call is made.  The other call could hang too, or run at the same time as the call that
    hangs.

    After a fork, the child starts without calls and with its own threads.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self.reset()
        _ALL.add(self)

    def reset(self) -> None:
        """Discard all calls and the references to the threads, which do not exist after a fork."""
        # The lock protects `_idle`, `_hanging` and `_is_closed`.  It is reentrant, because a signal handler may call
        # `health`, which reads the clock, in the thread that holds the lock.
        self._lock = threading.RLock()
        self._idle: list[SimpleQueue[_Call | None]] = []
        self._waiting: set[_Call] = set()  # calls for which a caller waits
        self._hanging: set[_Call] = set()
        self._is_closed = False
        self._ends_at = math.inf

    @property
    def is_hanging(self) -> bool:
        """Whether a call has timed out and has not returned since."""
        return bool(self._hanging)

    @property
    def is_busy(self) -> bool:
        """Whether a caller waits for a call, or a call hangs."""
        return bool(self._waiting or self._hanging)

    def end_within(self, seconds: float) -> None:
        """
        End the waiting for all calls, including later ones, after so many seconds.

        Each call still has 1 second, or its own timeout if that is shorter.  A signal handler may use this method,
        because it does not use the lock.
        """
        self._ends_at = time.monotonic() + seconds

    def call(
        self,
        seconds: float,
        function: Callable[[], _T],
        undo: Callable[[_T | Raised], object] = lambda _: None,
    ) -> _T | Raised | NotReturned:
        """
        Call a function in another thread, and wait for its result.

        If the system cannot start a thread, the function runs in the calling thread, without a timeout.

        Args:
            seconds: The timeout.
            function: The function to call.  It runs with a copy of the caller's context variables.
            undo: Called with the result of the function if the function returns after the timeout.  No other call is
                made before `undo` has returned.

        Returns:
            The value that the function returned; `Raised` if it raised an exception; `NotReturned` after the timeout,
            or if an earlier call hangs.

        Raises:
            KeyboardInterrupt: Ctrl-C, in the main thread.
        """
        context = copy_context()
        call = _Call(lambda: context.run(lambda: call_partner(function)), undo)
        if self._hanging:
            return NotReturned()
        self._waiting.add(call)
        try:
            try:
                self._reserve_thread().put(call)
            except RuntimeError:  # the system cannot start a thread
                return call_partner(function)
            result: _T | Raised | NotReturned = self._wait(call, time.monotonic() + seconds)
        except BaseException:  # Ctrl-C
            self._abandon(call)
            raise
        finally:
            self._waiting.discard(call)
        return result

    def call_or_raise(
        self, seconds: float, function: Callable[[], _T], undo: Callable[[_T], object] = lambda _: None
    ) -> _T | NotReturned:
        """
        Call a function like `call`, but raise the exception that the function raises.

        `undo` is called only with a value that the function returns after the timeout, never with an exception.
        """
        raised: list[BaseException] = []

        def call() -> _T | None:
            try:
                return function()
            except BaseException as failure:  # noqa: BLE001 - the caller raises it
                raised.append(failure)
                return None

        def undo_result(result: _T | Raised | None) -> None:
            if not raised:
                undo(cast("_T", result))

        result = self.call(seconds, call, undo_result)
        try:
            if raised and not isinstance(result, NotReturned):
                raise raised[0]
            return cast("_T | NotReturned", result)
        finally:
            raised.clear()  # breaks the reference cycle between the exception, its traceback and this frame

    def wait_for_end(self, seconds: float) -> None:
        """Wait until all calls have returned or one of them hangs, but at most so many seconds."""
        ends_at = time.monotonic() + seconds
        while self._waiting and not self._hanging and time.monotonic() < ends_at:
            time.sleep(_SHORT_TICK)

    def reopen(self) -> None:
        """
        Accept calls again after `close`, and remove the limit that `end_within` has set.

        A call that hangs still prevents other calls.
        """
        with self._lock:
            self._is_closed, self._ends_at = False, math.inf

    def close(self) -> None:
        """End the idle threads now, and the other threads when their calls have returned."""
        with self._lock:
            self._is_closed = True
            idle, self._idle = self._idle, []
        for calls in idle:
            calls.put(None)

    def _reserve_thread(self) -> SimpleQueue[_Call | None]:
        """Return the queue of an idle thread, or of a new one."""
        with self._lock, suppress(IndexError):
            return self._idle.pop()
        calls: SimpleQueue[_Call | None] = SimpleQueue()
        threading.Thread(target=self._run_calls, args=(calls,), name=self._name, daemon=True).start()
        return calls

    def _wait(self, call: _Call, deadline: float) -> Any:
        least = time.monotonic() + _MIN_SECONDS
        while True:
            now = time.monotonic()
            ends_at = min(deadline, max(self._ends_at, least))
            try:
                return call.result.get(timeout=max(0.0, min(ends_at - now, _TICK)))
            except Empty:
                if now >= ends_at:
                    return self._stop_waiting(call)

    def _stop_waiting(self, call: _Call) -> Any:
        """Stop waiting for a call, and mark it as hanging; return its result if it has just returned."""
        with self._lock:
            try:
                return call.result.get_nowait()
            except Empty:
                self._hanging.add(call)
                return NotReturned()

    def _abandon(self, call: _Call) -> None:
        """Prevent a call if no thread has started it; otherwise undo its result, now or when the call returns."""
        if self._begin(call):
            return
        result = self._stop_waiting(call)
        if not isinstance(result, NotReturned):
            self.call(_MIN_SECONDS, lambda: call.undo(result))

    def _begin(self, call: _Call) -> bool:
        """Mark a call as started; return ``False`` if it was already started or prevented."""
        with self._lock:
            is_first, call.has_begun = not call.has_begun, True
            return is_first

    def _run_calls(self, calls: SimpleQueue[_Call | None]) -> None:
        while (call := self._next(calls)) is not None and self._begin(call):
            result = call.make()
            if not self._hand_over(call, result, calls):
                call_partner(call.undo, result)
                with self._lock:
                    self._hanging.discard(call)
                    self._note_idle(calls)

    def _next(self, calls: SimpleQueue[_Call | None]) -> _Call | None:
        """Return the next call; ``None`` if the thread must end."""
        with suppress(Empty):
            return calls.get(timeout=_IDLE_SECONDS)
        with self._lock:
            if calls in self._idle:
                self._idle.remove(calls)
                return None
        return calls.get()  # a caller has reserved this thread, and adds its call soon

    def _hand_over(self, call: _Call, result: Any, calls: SimpleQueue[_Call | None]) -> bool:
        """Mark the thread as idle and pass the result to the caller; return ``False`` if the caller has timed out."""
        with self._lock:
            if call in self._hanging:
                return False
            self._note_idle(calls)
            call.result.put(result)
            return True

    def _note_idle(self, calls: SimpleQueue[_Call | None]) -> None:
        if self._is_closed:
            calls.put(None)
        else:
            self._idle.append(calls)


_ALL: Final[weakref.WeakSet[BoundedCalls]] = weakref.WeakSet()


def _reset_all() -> None:
    for calls in tuple(_ALL):
        calls.reset()


if hasattr(os, "register_at_fork"):  # pragma: no branch - not on Windows
    os.register_at_fork(after_in_child=_reset_all)


class SafeClock:
    """
    Reads a clock that the partner provides, and replaces it while it fails.  Thread-safe.

    If the clock hangs, raises an exception or does not return a finite number, the time is calculated: the last correct
    time plus the seconds since then by `time.monotonic`.  When the clock works again, an offset is added to its
    readings, so that the time does not jump.  A failure of the clock therefore does not time out a job.

    Args:
        clock: Returns the time in seconds.
        report: Called once with a description of the first failure of the clock.
    """

    def __init__(self, clock: Callable[[], float], report: Callable[[str], object] = lambda _: None) -> None:
        self._clock = clock
        self._report = report
        self._calls = BoundedCalls("cp-thirdparty-clock")
        self._last = (0.0, time.monotonic())
        self._offset: float | None = 0.0  # added to the readings; ``None`` while the clock fails
        self._is_reported = False

    def __call__(self) -> float:
        """Return the time in seconds."""
        returned = self._calls.call(_CLOCK_SECONDS, self._clock)
        reading = _read_number(returned)
        read_at = time.monotonic()
        last, last_read_at = self._last
        if reading is None:
            self._offset = None
            self._report_once(returned)
            return last + read_at - last_read_at
        offset = self._offset
        if offset is None:
            offset = self._offset = last + read_at - last_read_at - reading
        self._last = (reading + offset, read_at)
        return reading + offset

    def _report_once(self, returned: object) -> None:
        if not self._is_reported:
            self._is_reported = True
            problem = "returned no finite number"
            if isinstance(returned, NotReturned):
                problem = "has not returned in time"
            elif isinstance(returned, Raised):
                problem = f"raised {returned.name}"
            self._report(problem)


def _read_number(returned: object) -> float | None:
    """Return the value that a clock returned as a float; ``None`` if it is not a finite number."""
    try:
        return float(returned) if isinstance(returned, (int, float)) and math.isfinite(returned) else None
    except OverflowError:  # an integer that is larger than any float
        return None
