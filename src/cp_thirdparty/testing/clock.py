"""`ManualClock`: a clock that moves only when a test moves it."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from datetime import timedelta

from cp_thirdparty._base.durations import read_seconds

__all__ = ["ManualClock"]


class ManualClock:
    """
    A clock for the ``clock=`` of `LocalCodePipeline` that only `advance()` moves.

    A move notifies each thread that waits for an action.  Thread-safe.

    Args:
        now: The time at the start, in seconds.
    """

    def __init__(self, now: float = 0.0) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._listeners: list[Callable[[], object]] = []

    def __call__(self) -> float:
        """Return the time."""
        return self._now

    def advance(self, seconds: float | timedelta) -> None:
        """
        Advance the time.

        Args:
            seconds: How much, 0 or more.

        Raises:
            ValueError: It is negative: time does not go back.
        """
        seconds = read_seconds("seconds", seconds, least=0, most=math.inf)
        with self._lock:
            self._now += seconds
            listeners = tuple(self._listeners)
        for listener in listeners:
            listener()

    def listen(self, listener: Callable[[], object]) -> None:
        """
        Register a function that is called each time after the clock was moved.

        Args:
            listener: Called in the thread that moves the clock.
        """
        with self._lock:
            self._listeners.append(listener)

    def __repr__(self) -> str:
        return f"<ManualClock at {self._now:g} s>"
