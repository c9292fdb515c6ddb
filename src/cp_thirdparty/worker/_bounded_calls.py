"""Calls of the partner's code that may not return: threads of their own make them, and the caller waits for a time."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Final, TypeVar, cast

import attrs

from cp_thirdparty.worker._isolation import Raised, call_partner

_T = TypeVar("_T")

# Seconds after which a thread ends that has no call.
_IDLE_SECONDS: Final = 5.0

# Seconds that a call has also after the end of all calls: far more than it takes, unless it hangs.
_LEAST_SECONDS: Final = 1.0

# Seconds for the reading of a clock.
_CLOCK_SECONDS: Final = 2.0

# Seconds between two checks of whether the end of all calls has come.
_TICK: Final = 0.25
_SHORT_TICK: Final = 0.01


@attrs.frozen
class NotReturned:
    """A call has not returned, or was not made because an earlier one has not returned."""


class _Call:
    """A call, its result, and what to do with a result that comes too late."""

    __slots__ = ("make", "result", "undo")

    def __init__(self, make: Callable[[], Any], undo: Callable[[Any], object]) -> None:
        self.make = make
        self.result: SimpleQueue[Any] = SimpleQueue()
        self.undo = undo


class BoundedCalls:
    """
    Makes calls in threads of its own, and waits for each of them for a limited time.  Thread-safe.

    While a call has not returned in time, no other one is made: it would hang too, or overtake the first one.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()  # of what follows
        self._idle: list[SimpleQueue[_Call | None]] = []
        self._waiting: set[_Call] = set()  # calls for which a caller waits
        self._hanging: set[_Call] = set()
        self._is_closed = False
        self._ends_at: float | None = None

    @property
    def is_hanging(self) -> bool:
        """Whether a call has not returned in time."""
        return bool(self._hanging)

    def end_within(self, seconds: float) -> None:
        """Let no call wait for longer than that from now on.  A handler of a signal may call it: it takes no lock."""
        self._ends_at = time.monotonic() + seconds

    def call(
        self,
        seconds: float,
        function: Callable[[], _T],
        undo: Callable[[_T | Raised], object] = lambda _: None,
    ) -> _T | Raised | NotReturned:
        """
        Make a call; return what the function returned or raised.

        Args:
            seconds: How long to wait for it.
            function: The function, which runs with the context variables of the caller.
            undo: Called with the result if it comes too late, before any other call is made.

        Raises:
            KeyboardInterrupt: Ctrl-C, in the main thread.
        """
        call = _Call(partial(copy_context().run, call_partner, function), undo)
        if self._hanging:
            return NotReturned()
        try:
            self._find_thread().put(call)
        except RuntimeError:  # the system has no thread left
            return call_partner(function)
        self._waiting.add(call)
        try:
            found: _T | Raised | NotReturned = self._wait(call, time.monotonic() + seconds)
        except BaseException:  # Ctrl-C
            self._leave(call)
            raise
        finally:
            self._waiting.discard(call)
        return found

    def call_or_raise(self, seconds: float, function: Callable[[], _T]) -> _T | NotReturned:
        """Make a call; return what the function returned, or raise what it raised."""
        raised: list[BaseException] = []

        def call() -> _T | None:
            try:
                return function()
            except BaseException as failure:  # noqa: BLE001 - the caller raises it
                raised.append(failure)
                return None

        found = self.call(seconds, call)
        try:
            if raised and not isinstance(found, NotReturned):
                raise raised[0]
            return cast("_T | NotReturned", found)
        finally:
            raised.clear()  # no cycle with the frames of the exception

    def wait_for_end(self) -> None:
        """Wait until all calls have returned, or one of them hangs."""
        while self._waiting and not self._hanging:
            time.sleep(_SHORT_TICK)

    def close(self) -> None:
        """End the threads that have no call, and the others after their calls."""
        with self._lock:
            self._is_closed = True
            idle, self._idle = self._idle, []
        for thread in idle:
            thread.put(None)

    def _find_thread(self) -> SimpleQueue[_Call | None]:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        calls: SimpleQueue[_Call | None] = SimpleQueue()
        threading.Thread(target=self._serve, args=(calls,), name=self._name, daemon=True).start()
        return calls

    def _wait(self, call: _Call, gives_up_at: float) -> Any:
        least = time.monotonic() + _LEAST_SECONDS
        while True:
            now = time.monotonic()
            ends_at = gives_up_at if self._ends_at is None else min(gives_up_at, max(self._ends_at, least))
            try:
                return call.result.get(timeout=max(0.0, min(ends_at - now, _TICK)))
            except Empty:
                if now >= ends_at:
                    return self._leave(call)

    def _leave(self, call: _Call) -> Any:
        """Wait no more for a call; return its result if it has just come."""
        with self._lock:
            try:
                return call.result.get_nowait()
            except Empty:
                self._hanging.add(call)
                return NotReturned()

    def _serve(self, calls: SimpleQueue[_Call | None]) -> None:
        while (call := self._next(calls)) is not None:
            result = call.make()
            if not self._hand_over(call, result, calls):
                call_partner(call.undo, result)
                with self._lock:
                    self._hanging.discard(call)
                    self._note_idle(calls)
            if self._is_closed:
                return

    def _next(self, calls: SimpleQueue[_Call | None]) -> _Call | None:
        """Return the next call of a thread; ``None`` if it ends."""
        with suppress(Empty):
            return calls.get(timeout=_IDLE_SECONDS)
        with self._lock:
            if calls in self._idle:
                self._idle.remove(calls)
                return None
        return calls.get()  # it is on its way

    def _hand_over(self, call: _Call, result: Any, calls: SimpleQueue[_Call | None]) -> bool:
        """Give a result to the caller, and the thread free; return ``False`` if the caller waits no more."""
        with self._lock:
            if call in self._hanging:
                return False
            self._note_idle(calls)
            call.result.put(result)
            return True

    def _note_idle(self, calls: SimpleQueue[_Call | None]) -> None:
        if not self._is_closed:
            self._idle.append(calls)


class SafeClock:
    """
    A clock that goes on when the partner's hangs, raises or returns no number: then by the time since its last reading.

    Thread-safe.

    Args:
        clock: Returns the time in seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._calls = BoundedCalls("cp-thirdparty-clock")
        self._last = (0.0, time.monotonic())

    def __call__(self) -> float:
        """Return the time in seconds."""
        found = self._calls.call(_CLOCK_SECONDS, self._clock)
        now = time.monotonic()
        if isinstance(found, (int, float)) and math.isfinite(found):
            self._last = (found, now)
            return found
        last, read_at = self._last
        return last + now - read_at
