"""Count the events of a Lambda function with time limits, so that slow metrics do not prevent the report of a job."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Final

from cp_thirdparty.models import ActionTypeId
from cp_thirdparty.worker._bounded_calls import BoundedCalls, NotReturned
from cp_thirdparty.worker.events import JobEvent, WorkerMetrics

# The action type of events that do not contain one: the invoke action of AWS.
INVOKE_ACTION_TYPE: Final = ActionTypeId(category="Invoke", owner="AWS", provider="Lambda", version="1")

# Seconds for the metrics of all events of an invocation together.  While one call hangs, no other call is made.
_METRICS_SECONDS: Final = 1.0
# Seconds for the metrics of an event that comes after the last call has ended, while the function returns.
_LAST_METRICS_SECONDS: Final = 0.05

_USED_UP: Final = "events are not counted: the time for metrics, 1 second, is used up"


class EventCounter:
    """
    Counts the events of an environment, until the time for metrics is used up.  Thread-safe.

    Args:
        metrics: The partner's metrics.
        warn: Writes a warning to the log.
        timer: Returns the time of `time.monotonic`.
    """

    def __init__(
        self, metrics: WorkerMetrics, warn: Callable[[str], object], timer: Callable[[], float] = time.monotonic
    ) -> None:
        self._metrics = metrics
        self._warn = warn
        self._timer = timer
        self._calls = BoundedCalls("cp-thirdparty-metrics")
        # Guards the attributes below.  It is held during a call, so that all threads together wait no longer than the
        # seconds that are left.
        self._lock = threading.Lock()
        self._seconds_left = 0.0
        self._is_used_up = False  # whether the warning was logged in this invocation
        self._ends_at = math.inf

    def begin(self, ends_at: float) -> None:
        """
        Start a new invocation, with all seconds for metrics.

        Args:
            ends_at: When the last call must have ended, as a time of `time.monotonic`; infinity for no limit.
        """
        with self._lock:
            self._seconds_left, self._ends_at, self._is_used_up = _METRICS_SECONDS, ends_at, False

    def __call__(self, event: JobEvent, action_type_id: ActionTypeId | None) -> None:
        """
        Count an event, unless the seconds of the invocation are used up.

        Raises:
            TimeoutError: The metrics have not returned in time.
        """
        record = partial(self._metrics.record, event, action_type_id or INVOKE_ACTION_TYPE)
        with self._lock:
            if self._seconds_left <= 0:
                if not self._is_used_up:
                    self._is_used_up = True
                    self._warn(_USED_UP)
                return
            began_at = self._timer()
            before_end = max(self._ends_at - began_at, _LAST_METRICS_SECONDS)
            try:
                found = self._calls.call_or_raise(min(self._seconds_left, before_end), record)
            finally:
                self._seconds_left -= self._timer() - began_at
        if isinstance(found, NotReturned):
            raise TimeoutError
