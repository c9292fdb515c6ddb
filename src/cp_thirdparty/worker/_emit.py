"""Emit the events of a worker's jobs: for each event, write one log record and call the partner's hook."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Final

import attrs

from cp_thirdparty._base.text import show_message, show_optional, show_value
from cp_thirdparty._core.call import now
from cp_thirdparty.enums import FailureType
from cp_thirdparty.models import ActionTypeId, AnyJob, AnyJobDetails, FailureDetails
from cp_thirdparty.worker._claimed_job import ClaimedJob
from cp_thirdparty.worker._event_queue import EventQueue
from cp_thirdparty.worker._handler_failures import class_name
from cp_thirdparty.worker._isolation import Raised, call_partner
from cp_thirdparty.worker.events import EventHook, JobEvent, JobEventName
from cp_thirdparty.worker.outcomes import (
    Gone,
    HandedBack,
    LostRace,
    Outcome,
    Rejected,
    Released,
    Reported,
    Uncertain,
    Unsent,
)

_log = logging.getLogger("cp_thirdparty.worker")

LEVELS: Final[Mapping[JobEventName, int]] = {
    "claimed": logging.INFO,
    "reported": logging.INFO,
    "handed_back": logging.INFO,
    "lost_race": logging.DEBUG,
    "gone": logging.WARNING,
    "rejected": logging.WARNING,
    "call_failed": logging.WARNING,
    "recovered": logging.WARNING,
    "handler_failed": logging.ERROR,
    "timed_out": logging.ERROR,
    "executor_failed": logging.ERROR,
    "journal_failed": logging.ERROR,
    "uncertain": logging.ERROR,
    "unsent": logging.ERROR,
    "released": logging.ERROR,
}

# Seconds for which a worker at its end, or a `JobProcessor` after a job, waits until the events are delivered.  The end
# of a worker takes at most 27 s: 20 s of grace, 5 s for the last attempts and these 2 s.  By default, Kubernetes gives
# a container 30 s.
_FLUSH_SECONDS: Final = 2.0

# The maximum number of events and log records in a queue.  About 1,000 jobs emit so many, and they need 4 MiB.
_SIZE: Final = 3000


class Emitter:
    """
    Emits events and log records of one worker or processor.  Thread-safe; it raises no exception and does not block.

    Hooks, log handlers and metrics are the partner's code, which may block.  They are therefore called by separate
    threads of this emitter, which take the events from queues.  Metrics have their own queue, so that a slow hook loses
    no count.

    Args:
        hook: Called with each event; ``None`` for log records only.
        count: Called with each event, and with the action type from the details of the job or ``None`` if the details
            are not known.  Use ``None`` to call no function.
        is_counted_at_once: Whether `count` has its own timeout and is called in the thread that emits the event.
    """

    def __init__(
        self,
        hook: EventHook | None = None,
        count: Callable[[JobEvent, ActionTypeId | None], object] | None = None,
        *,
        is_counted_at_once: bool = False,
    ) -> None:
        self._hook = hook
        self._count = count
        self._is_counted_at_once = is_counted_at_once
        self._queue = EventQueue(_SIZE, self._report_dropped)
        self._counts = EventQueue(_SIZE, self._report_not_counted, "cp-thirdparty-metrics")

    @property
    def dropped(self) -> int:
        """Number of events, log records and calls of metrics that were dropped because their queue was full."""
        return self._queue.dropped + self._counts.dropped

    def flush(self, seconds_left: float = math.inf) -> bool:
        """Wait at most 2 seconds until all events are counted and delivered; return whether they are."""
        ends_at = now() + min(seconds_left, _FLUSH_SECONDS)
        # Metrics come first, because a log record is written if they raise.
        is_counted = self._counts.flush(ends_at - now())
        return self._queue.flush(ends_at - now()) and is_counted

    def log(
        self,
        level: int,
        message: str,
        *arguments: object,
        offer: AnyJob | None = None,
        details: AnyJobDetails | None = None,
        **fields: object,
    ) -> None:
        """
        Queue a record for the logger ``cp_thirdparty.worker``.

        Args:
            level: The level of the record.
            message: A message with placeholders.
            arguments: The values for the placeholders.
            offer: The job that the record is about, or ``None``.
            details: The details of the job; ``None`` before they were read.
            fields: More attributes of the record.
        """
        shown = {**job_fields(offer, details), **{name: show_value(value) for name, value in fields.items()}}
        record = _Record(level, message, tuple(map(show_value, arguments)), {**_NO_EVENT, **shown})
        self._queue.put(record.write)

    def log_job(self, level: int, job: ClaimedJob, message: str, *arguments: object) -> None:
        """Queue a record about a job; its message starts with the id of the job."""
        self.log(level, f"job=%s {message}", job.offer.job_id, *arguments, offer=job.offer, details=job.details)

    def log_problem(self, job: ClaimedJob, problem: str) -> None:
        """Queue a warning about a job."""
        self.log_job(logging.WARNING, job, "%s", problem)

    def emit_job(self, name: JobEventName, job: ClaimedJob, detail: str = "", **fields: Any) -> None:
        """Emit an event of a job; the arguments are those of `emit`."""
        self.emit(name, job.offer, detail, details=job.details, **fields)

    def emit(
        self,
        name: JobEventName,
        offer: AnyJob,
        detail: str = "",
        *,
        details: AnyJobDetails | None = None,
        seconds: float | None = None,
        failure_type: FailureType | None = None,
        where: str = "",
        text: str = "",
        party: str | None = None,
    ) -> None:
        """
        Queue the log record and the calls of the hook and of the metrics for an event.

        The record is written to the logger ``cp_thirdparty.worker``.  Its attribute ``job_event`` is the `JobEvent`.

        Args:
            name: The name of the event.
            offer: The job.
            detail: More about the event.
            details: The details of the job; ``None`` before they were read.
            seconds: Duration in seconds, or ``None``.
            failure_type: The failure type that is reported to CodePipeline, or ``None``.
            where: The lines of code that lead to an error; empty if there are none.
            text: A string for the log in place of `detail`; empty to log `detail`.
            party: The party that can fix the cause of a failure.  It is derived from `failure_type` if that is given.
        """
        place = job_fields(offer, details)
        event = JobEvent(
            name=name,
            job_id=offer.job_id,
            client_id=offer.client_id,
            detail=detail,
            seconds=seconds,
            pipeline=place["pipeline"],
            action_execution_id=place["action_execution_id"],
            failure_type=failure_type,
            where=where,
            party=party if failure_type is None else _PARTIES[failure_type],
        )
        if self._count is not None:
            action_type_id = None if details is None else details.data.action_type_id
            count = partial(self._call_count, self._count, event, action_type_id)
            if self._is_counted_at_once:
                count()
            else:
                self._counts.put(count)
        shown = show_message(text or detail)
        arguments = (name, event.job_id, event.client_id, f" {shown}" if shown else "")
        fields = {**place, "failure_type": failure_type, "job_event": event}
        record = _Record(LEVELS[name], "%s job=%s client=%s%s", arguments, fields, event.emitted_at)
        self._queue.put(partial(self._deliver, event, record))

    def emit_outcome(
        self, outcome: Outcome, *, details: AnyJobDetails | None = None, seconds: float | None = None
    ) -> None:
        """Emit the event of an outcome; the event contains `seconds` only if the job was reported."""
        name, detail = _describe(outcome)
        result = outcome.result if isinstance(outcome, (Reported, Unsent)) else None
        self.emit(
            name,
            outcome.job,
            detail,
            details=details,
            seconds=seconds if name == "reported" else None,
            failure_type=result.type if isinstance(result, FailureDetails) else None,
        )

    def _call_count(
        self,
        count: Callable[[JobEvent, ActionTypeId | None], object],
        event: JobEvent,
        action_type_id: ActionTypeId | None,
    ) -> None:
        raised = call_partner(count, event, action_type_id)
        if isinstance(raised, Raised):
            self.log(logging.WARNING, "metrics raised %s at the event %s", raised.name, event.name)

    def _deliver(self, event: JobEvent, record: _Record) -> None:
        record.write()
        if self._hook is None:
            return
        try:
            self._hook(event)
        except BaseException as failure:  # noqa: BLE001 - the next event must be delivered after any exception
            message = "on_event raised %s at the event %s"
            _Record(logging.WARNING, message, (class_name(failure), event.name), record.fields).write()

    def _report_dropped(self, count: int) -> None:
        message = "%d events or log records were dropped, because on_event or a handler of logs was too slow"
        _Record(logging.WARNING, message, (count,), {**_NO_EVENT, **job_fields(None, None)}).write()

    def _report_not_counted(self, count: int) -> None:
        self.log(logging.WARNING, "%d events were not counted, because metrics was too slow", count)


@attrs.frozen
class _Record:
    """A log record that another thread writes.  It keeps the time and the thread in which it was created."""

    level: int
    message: str
    arguments: tuple[object, ...]
    fields: Mapping[str, object]
    created: float = attrs.field(factory=time.time)
    thread: int = attrs.field(factory=threading.get_ident)
    thread_name: str = attrs.field(factory=lambda: threading.current_thread().name)

    def write(self) -> None:
        """Write the record; ignore exceptions of the partner's log handlers, filters and record factories."""
        with suppress(BaseException):
            if _log.isEnabledFor(self.level):
                _log.handle(self._create())

    def _create(self) -> logging.LogRecord:
        record = _log.makeRecord(_log.name, self.level, __file__, 0, self.message, self.arguments, None)
        record.relativeCreated += (self.created - record.created) * 1000
        record.created, record.msecs = self.created, float(int(self.created % 1 * 1000))
        record.thread, record.threadName = self.thread, self.thread_name
        # The argument `extra` of `makeRecord` is not used, because it refuses names that the partner's record factory
        # has already set.
        record.__dict__.update(self.fields)
        return record


# The attributes of a record that does not belong to an event.  All records have them, so that one log format works for
# all records.
_NO_EVENT: Final[Mapping[str, Any]] = {"failure_type": None, "job_event": None}


def job_fields(offer: AnyJob | None, details: AnyJobDetails | None) -> dict[str, str | None]:
    """
    Return the attributes that identify the job in the log records of the worker and of handlers.

    An attribute is ``None`` if its value is not known.
    """
    context = None if details is None else details.data.pipeline_context
    action = None if context is None else context.action
    return {
        "job_id": show_optional(None if offer is None else offer.job_id),
        "client_id": show_optional(None if offer is None else offer.client_id),
        "pipeline": show_optional(None if context is None else context.pipeline_name),
        "action_execution_id": show_optional(None if action is None else action.action_execution_id),
    }


def _describe(outcome: Outcome) -> tuple[JobEventName, str]:
    """Return the name and the detail of the event for an outcome."""
    if isinstance(outcome, Reported):
        return "reported", type(outcome.result).__name__ + ("" if outcome.is_confirmed else " (not confirmed)")
    if isinstance(outcome, Rejected):
        return "rejected", outcome.reason + (f" ({outcome.error})" if outcome.error else "")
    detail = outcome.error if isinstance(outcome, (Gone, Unsent, Released)) else ""
    return _NAMES[type(outcome)], detail


_PARTIES: Final[Mapping[FailureType, str]] = {
    FailureType.CONFIGURATION_ERROR: "customer",
    FailureType.JOB_FAILED: "job",
    FailureType.PERMISSION_ERROR: "customer",
    FailureType.REVISION_OUT_OF_SYNC: "customer",
    FailureType.REVISION_UNAVAILABLE: "customer",
    FailureType.SYSTEM_UNAVAILABLE: "partner",
}

_NAMES: Final[Mapping[type[Outcome], JobEventName]] = {
    LostRace: "lost_race",
    HandedBack: "handed_back",
    Gone: "gone",
    Unsent: "unsent",
    Released: "released",
    Uncertain: "uncertain",
}
