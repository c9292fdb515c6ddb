"""The metrics of a Lambda function, which must not cost the report of its job."""

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

# The action type of the events that do not name theirs.
INVOKE_ACTION_TYPE: Final = ActionTypeId(category="Invoke", owner="AWS", provider="Lambda", version="1")

# Seconds for the metrics of all events of an invocation, and of an event at its end, in the time for the return of the
# function.  After a call that hangs, no other one is made until it has returned.
_METRICS_SECONDS: Final = 1.0
_LAST_METRICS_SECONDS: Final = 0.05

_USED_UP: Final = "events are not counted: the second for metrics is used up"


class EventCounter:
    """
    Counts the events of an environment.  Metrics that are slow must not cost the report of a job.  Thread-safe.

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
        self._lock = threading.Lock()  # of what follows; held during a call, so that no other thread waits in addition
        self._seconds_left = 0.0
        self._is_used_up = False  # whether the log has it
        self._ends_at: float | None = None

    def begin(self, ends_at: float | None) -> None:
        """Give an invocation its seconds; ``None`` if its end is not known."""
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
            before_end = math.inf if self._ends_at is None else max(self._ends_at - began_at, _LAST_METRICS_SECONDS)
            try:
                found = self._calls.call_or_raise(min(self._seconds_left, before_end), record)
            finally:
                self._seconds_left -= self._timer() - began_at
        if isinstance(found, NotReturned):
            raise TimeoutError
