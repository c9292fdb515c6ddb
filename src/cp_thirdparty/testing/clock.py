"""`ManualClock`: a clock whose time changes only when a test calls `ManualClock.advance`."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from datetime import timedelta

from cp_thirdparty._base.durations import read_seconds

__all__ = ["ManualClock"]


class ManualClock:
    """
    A clock for the argument ``clock`` of `LocalCodePipeline`; its time changes only when `advance()` is called.

    `advance()` wakes each thread that waits for an action, so that the thread checks the action again.  Thread-safe.

    Args:
        now: The initial time, in seconds.
    """

    def __init__(self, now: float = 0.0) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._listeners: list[Callable[[], object]] = []

    def __call__(self) -> float:
        """Return the current time of this clock, in seconds."""
        return self._now

    def advance(self, seconds: float | timedelta) -> None:
        """
        Add seconds to the time of this clock, and call the registered functions.

        Args:
            seconds: Seconds or a ``timedelta`` to add, 0 or more.

        Raises:
            ValueError: ``seconds`` is negative.
        """
        seconds = read_seconds("seconds", seconds, least=0, most=math.inf)
        with self._lock:
            self._now += seconds
            listeners = tuple(self._listeners)
        for listener in listeners:
            listener()

    def listen(self, listener: Callable[[], object]) -> None:
        """
        Register a function that is called after each `advance()`.

        Args:
            listener: Function without arguments.  It is called in the thread that calls `advance()`.
        """
        with self._lock:
            self._listeners.append(listener)

    def __repr__(self) -> str:
        return f"<ManualClock at {self._now:g} s>"
