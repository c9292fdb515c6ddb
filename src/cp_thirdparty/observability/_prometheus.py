"""Metrics of calls and workers for Prometheus.  Every label has a small number of values."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Final

import attrs
from prometheus_client import CollectorRegistry, Histogram
from prometheus_client import Counter as PrometheusCounter
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from cp_thirdparty import exceptions
from cp_thirdparty._base.text import show
from cp_thirdparty._core.operations import OPERATION_NAMES
from cp_thirdparty.models import ActionTypeId
from cp_thirdparty.telemetry import CallRecord
from cp_thirdparty.worker import JobEvent, Journal, JournalEntry, JournalState, WorkerHealth

# The label for all values that this library does not know.  So an untrusted value cannot create new time series.
_OTHER: Final = "other"

# Maximum number of action types that get their own label.  A worker has one action type.  A processor or a Lambda
# function reads the action types from the details of jobs, and usually has a few.
_MAX_ACTION_TYPES: Final = 100

_ERRORS: Final = frozenset(exceptions.__all__)

# Upper bounds of the buckets in seconds.  The default deadline of a call is 60 seconds; a job may take 12 hours.
_CALL_BUCKETS: Final = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 60.0)
_JOB_BUCKETS: Final = (1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 1800.0, 3600.0, 14_400.0, 43_200.0)

# For each gauge: its help, and a function that returns its value from the health of a worker.  A gauge is left out
# while its value is ``None``.
_GAUGES: Final[dict[str, tuple[str, Callable[[WorkerHealth], float | None]]]] = {
    "worker_alive": ("1 if the worker runs and its threads are active", lambda health: health.is_alive),
    "worker_ready": ("1 if the worker accepts jobs", lambda health: health.is_ready),
    "worker_free_slots": ("How many more jobs the worker can accept", lambda health: health.free_slots),
    "worker_jobs": ("Jobs that have not ended", lambda health: health.in_flight),
    "worker_loop_age_seconds": (
        "Time since the last activity of the thread that was inactive longest",
        lambda health: health.seconds_since_loop,
    ),
    "worker_poll_age_seconds": ("Time since the last successful poll", lambda health: health.seconds_since_poll),
    "worker_unsent_age_seconds": ("Age of the oldest unaccepted result", lambda health: health.oldest_unsent_result),
    "worker_stalled_jobs": (
        "Claimed jobs that wait because of a failure that you must fix",
        lambda health: len(health.stalled),
    ),
    "worker_kept_jobs": (
        "Jobs without an accepted result that the journal keeps for a later attempt",
        lambda health: len(health.kept),
    ),
    "worker_uncertain_jobs": ("Jobs whose ownership is unknown", lambda health: len(health.uncertain)),
    "worker_set_aside_jobs": ("Jobs whose journal entry cannot be read", lambda health: len(health.set_aside)),
    "worker_overdue_jobs": ("Ended jobs whose handlers still run", lambda health: len(health.overdue)),
    "worker_dropped_events": (
        "Events and log records dropped because on_event, a log handler or metrics was too slow",
        lambda health: health.dropped_events,
    ),
}


def prometheus_metrics(registry: CollectorRegistry) -> PrometheusMetrics:
    """
    Register the metrics of this library in a registry, and return the object that records them.

    Args:
        registry: A ``prometheus_client.CollectorRegistry``, such as ``prometheus_client.REGISTRY``.

    Raises:
        ValueError: The registry has these metrics already.

    .. versionadded:: 0.2.0
    """
    return PrometheusMetrics(registry)


class PrometheusMetrics(Collector):
    """
    Records calls and events, and reads the state of workers at each scrape.  Thread-safe.

    Create it with `prometheus_metrics`.  Pass the object to `cp_thirdparty.JobWorker` or
    `cp_thirdparty.worker.JobProcessor` as ``metrics``, and its method `on_call` to
    `cp_thirdparty.ThirdPartyJobClient.create` as ``on_call``.  Several workers may share one object.

    .. versionadded:: 0.2.0
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._lock = threading.Lock()
        self._workers: dict[str, list[Callable[[], WorkerHealth]]] = {}
        self._journals: list[Journal] = []
        self._action_types: set[str] = set()
        self._calls = PrometheusCounter(
            "cp_thirdparty_calls", "Calls to CodePipeline", ("operation", "error"), registry=registry
        )
        self._call_seconds = Histogram(
            "cp_thirdparty_call_seconds",
            "Seconds of a call, including all attempts",
            ("operation",),
            buckets=_CALL_BUCKETS,
            registry=registry,
        )
        self._events = PrometheusCounter(
            "cp_thirdparty_job_events",
            "Job events; party is who can fix the failure",
            ("action_type", "event", "failure_type", "party"),
            registry=registry,
        )
        self._job_seconds = Histogram(
            "cp_thirdparty_job_seconds",
            "Seconds from the offer of a job to its accepted result",
            ("action_type",),
            buckets=_JOB_BUCKETS,
            registry=registry,
        )
        registry.register(self)

    def on_call(self, record: CallRecord) -> None:
        """Count a call.  Pass this method to a client as ``on_call``."""
        operation = record.operation_name if record.operation_name in OPERATION_NAMES else _OTHER
        error = "" if record.error is None else record.error if record.error in _ERRORS else _OTHER
        self._calls.labels(operation, error).inc()
        self._call_seconds.labels(operation).observe(record.seconds)

    def record(self, event: JobEvent, action_type_id: ActionTypeId | None) -> None:
        """Count an event of a job; the worker or the processor calls it."""
        action_type = _OTHER if action_type_id is None else self._label_of(action_type_id)
        failure_type = "" if event.failure_type is None else event.failure_type.value
        self._events.labels(action_type, event.name, failure_type, event.party or "").inc()
        if event.seconds is not None:
            self._job_seconds.labels(action_type).observe(event.seconds)

    def _label_of(self, action_type_id: ActionTypeId) -> str:
        name = _name_of(action_type_id)
        if len(self._action_types) < _MAX_ACTION_TYPES:
            self._action_types.add(name)
        return name if name in self._action_types else _OTHER

    def watch(self, action_type_id: ActionTypeId, health: Callable[[], WorkerHealth], journal: Journal) -> None:
        """Register a worker, whose health and journal are then read at each scrape.  The worker calls this method."""
        with self._lock:
            self._workers.setdefault(_name_of(action_type_id), []).append(health)
            if journal not in self._journals:
                self._journals.append(journal)

    def describe(self) -> Iterable[Metric]:
        """Return nothing, so that the registry does not read workers when it registers this object."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Yield the state of the workers and their journals.  The registry calls this method at each scrape."""
        with self._lock:
            workers = [(name, health()) for name, healths in self._workers.items() for health in healths]
            journals = tuple(self._journals)
        for name, (text, read) in _GAUGES.items():
            gauge = GaugeMetricFamily(f"cp_thirdparty_{name}", text, labels=("action_type", "worker"))
            for number, (action_type, health) in enumerate(workers):
                value = read(health)
                if value is not None:
                    gauge.add_metric((action_type, str(number)), value)
            yield gauge
        yield from _collect_journals(journals)


def _collect_journals(journals: Iterable[Journal]) -> Iterator[Metric]:
    prefix = "cp_thirdparty_journal"
    readable = GaugeMetricFamily(f"{prefix}_readable", "1 if the journal can be read", labels=("journal",))
    jobs = GaugeMetricFamily(f"{prefix}_jobs", "Unfinished jobs of the journal", labels=("journal", "state"))
    age = GaugeMetricFamily(f"{prefix}_age_seconds", "Age of the oldest unfinished job", labels=("journal",))
    for number, entries in enumerate(map(_read_entries, journals)):
        label = (str(number),)
        readable.add_metric(label, entries is not None)
        if entries is None:
            continue
        states = Counter(entry.state for entry in entries)
        for state in set(JournalState) - {JournalState.DONE}:
            jobs.add_metric((*label, state.value), states[state])
        now = time.time()
        age.add_metric(label, max((now - _start_time(entry) for entry in entries), default=0.0))
    yield from (readable, jobs, age)


def _name_of(action_type_id: ActionTypeId) -> str:
    category, owner, provider, version = attrs.astuple(action_type_id)
    return show(f"{owner}/{category}/{provider}/{version}")


def _start_time(entry: JournalEntry) -> float:
    return entry.changed_at if entry.claimed_at is None else entry.claimed_at


def _read_entries(journal: Journal) -> list[JournalEntry] | None:
    """Return the unfinished jobs of a journal; ``None`` if it cannot be read."""
    try:
        return list(journal.jobs(unfinished_only=True))
    except Exception:  # noqa: BLE001 - a journal of the partner may raise anything; other metrics must be served
        return None
