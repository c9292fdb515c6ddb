"""`LambdaHandler`: the entry point of a Lambda function that CodePipeline invokes."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import timedelta
from functools import partial
from operator import methodcaller
from typing import Any, Final, Generic, TypeVar, overload

import attrs

from cp_thirdparty._base.durations import read_seconds
from cp_thirdparty._base.frames import hide_arguments
from cp_thirdparty._base.text import show
from cp_thirdparty._structuring.lambda_event import find_job_id, is_invoke_action
from cp_thirdparty.client import CustomJobClient
from cp_thirdparty.converter import structure
from cp_thirdparty.enums import FailureType
from cp_thirdparty.exceptions import JournalError, ResponseDecodeError
from cp_thirdparty.models import (
    ActionConfiguration,
    CustomJob,
    FailureDetails,
    JobData,
    LambdaJobEvent,
)
from cp_thirdparty.worker._arguments import check_callable, check_handling, check_metrics
from cp_thirdparty.worker._bounded_calls import BoundedCalls, NotReturned
from cp_thirdparty.worker._claimed_job import ClaimedJob
from cp_thirdparty.worker._emit import Emitter
from cp_thirdparty.worker._executors import pickle_runner
from cp_thirdparty.worker._handler_failures import printable
from cp_thirdparty.worker._invocation import Invocation, find_end
from cp_thirdparty.worker._isolation import Raised, call_partner
from cp_thirdparty.worker._journal_writer import JournalWriter
from cp_thirdparty.worker._kinds import CUSTOM
from cp_thirdparty.worker._lambda_job import (
    EventCalls,
    EventClient,
    EventClients,
    KeptClient,
    PutResult,
    ReturnedResult,
    find_details,
    find_region,
)
from cp_thirdparty.worker._lambda_metrics import INVOKE_ACTION_TYPE, EventCounter
from cp_thirdparty.worker._processes import ProcessEngine, ProcessPerJob
from cp_thirdparty.worker._steps import hold_without_lease
from cp_thirdparty.worker.events import EventHook, JobEventName, WorkerMetrics
from cp_thirdparty.worker.journal import JobScope, Journal, JournalEntry
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
from cp_thirdparty.worker.runner import ArtifactsFactory, Handler, Runner

__all__ = ["LambdaHandler"]

_ConfigurationT = TypeVar("_ConfigurationT")

# The longest time of a Lambda function, by its quotas.
_LONGEST: Final = 900.0

# A job id is much shorter, unless someone tests how long it may be.
_LONGEST_ID: Final = 100

# How often a function looks whether the environment that has its job is dead.  A journal with leases takes six looks.
_LOOKS: Final = 6

# Outcome of a job with a journal -> whether the function raises, so that Lambda delivers the event again, unless the
# journal has the job as finished.  Without a journal it never raises, because the handler would run again.
NEEDS_REDELIVERY: Final[Mapping[type[Outcome], bool]] = {
    Reported: False,
    Gone: False,
    LostRace: True,  # another environment has the job, and may not work on it any more
    Rejected: True,  # it is not known whether another environment has the job
    Released: True,
    Unsent: True,
    Uncertain: True,
    HandedBack: True,
}

# Why the function raises; for other outcomes, the journal keeps the job for the next delivery.
_REASONS: Final[Mapping[type[Outcome], str]] = {LostRace: "another environment has it"}

_STALE: Final = "The event of job {job_id} is too old: its artifact credentials have expired."
_UNREADABLE: Final = "The event of job {job_id} cannot be read: {problem}."


class LambdaHandler(Generic[_ConfigurationT]):
    """
    Handles the events with which CodePipeline invokes a Lambda function.  An object of it is the entry point.

    The event of an invoke action is reported with ``PutJobSuccessResult`` or ``PutJobFailureResult``.  For an action
    type with a Lambda executor, whose event has no member ``CodePipeline.job``, the result is the return value.

    Each event gets exactly one result, unless Lambda ends the environment; with a journal, the function may also raise
    an error, so that Lambda delivers the event again.  The handler runs in a process of its own, which is killed before
    the time of the function is over.  Then the job is reported as failed, so a handler whose work takes longer returns
    a `Continued` before `Job.deadline`.  The next event has its continuation token, and a job id of its own.

    The artifacts are those of the event, with its credentials, which nobody can renew.  An event whose credentials have
    expired is not handled, but reported as failed.

    Create it once, outside of a function, in a module that can be imported: each process of the handler imports it.

    Args:
        handler: A function, or an ``async def``, that does the work of one job.  It must be importable by its name.
        configuration: The partner's class for the action configuration; ``None`` for the strings.  If the action has
            user parameters that are a JSON object, its members count as values of the configuration.
        connect: Creates the client that reports results, such as a `cp_thirdparty.CustomJobClient`.  It is called at
            the first event of an invoke action, and again when the AWS credentials are refused.  ``None`` for one whose
            timeouts are 2 seconds to connect and 3 seconds to read, so that a report is tried more than once.
        report_seconds: Seconds or a ``timedelta`` of the function's time that are kept for the report, at most half of
            what is left.
        artifacts: Creates the artifact store of a job; ``None`` for `cp_thirdparty.artifacts.ArtifactStore.for_job`.
        journal: Creates a journal that all environments of the function share; it is called at the first event.  With
            it, Lambda's second delivery of an event is not handled, and a result that an earlier delivery has left is
            reported.  If another environment has the job, the function waits until that one is dead, or has lived for
            as long as the journal needs to take a job over; then it raises.  The handler does not begin before the
            journal has that it does.  ``None`` for no journal.
        on_event: Called with a `cp_thirdparty.worker.events.JobEvent` for each event of a job, in a thread of its own.
        metrics: Counts each event before the function returns, such as
            `cp_thirdparty.observability.prometheus_metrics`; ``None`` for none.  The action type of an invoke action is
            the one of AWS.

    Raises:
        TypeError: An argument has a wrong type, cannot be called with what it gets, or cannot go to another process.
        ValueError: ``report_seconds`` is out of its range: more than 0 and at most 1,000,000.

    .. versionadded:: 0.2.0
    """

    @overload
    def __init__(
        self: LambdaHandler[ActionConfiguration | None],
        handler: Handler[ActionConfiguration | None],
        *,
        configuration: None = None,
        connect: Callable[[], CustomJobClient] | None = None,
        report_seconds: float | timedelta = 5.0,
        artifacts: ArtifactsFactory | None = None,
        journal: Callable[[], Journal] | None = None,
        on_event: EventHook | None = None,
        metrics: WorkerMetrics | None = None,
    ) -> None: ...

    @overload
    def __init__(
        self,
        handler: Handler[_ConfigurationT],
        *,
        configuration: type[_ConfigurationT],
        connect: Callable[[], CustomJobClient] | None = None,
        report_seconds: float | timedelta = 5.0,
        artifacts: ArtifactsFactory | None = None,
        journal: Callable[[], Journal] | None = None,
        on_event: EventHook | None = None,
        metrics: WorkerMetrics | None = None,
    ) -> None: ...

    def __init__(
        self,
        handler: Handler[Any],
        *,
        configuration: type[Any] | None = None,
        connect: Callable[[], CustomJobClient] | None = None,
        report_seconds: float | timedelta = 5.0,
        artifacts: ArtifactsFactory | None = None,
        journal: Callable[[], Journal] | None = None,
        on_event: EventHook | None = None,
        metrics: WorkerMetrics | None = None,
    ) -> None:
        connect = _connect if connect is None else connect
        check_handling(
            CUSTOM,
            connect=connect,
            handler=handler,
            configuration=configuration,
            artifacts=artifacts,
            on_event=on_event,
        )
        check_metrics(metrics)
        if journal is not None:
            check_callable("journal", journal, "no arguments")
        self._runner: Runner[Any] = Runner(
            connect=_no_client, handler=handler, configuration=configuration, tokens=None, artifacts=artifacts
        )
        pickle_runner(self._runner)  # what cannot go to another process is found out here
        self._client = KeptClient(connect)
        self._report_seconds = read_seconds("report_seconds", report_seconds)
        self._create_journal = journal
        self._journal: Journal | None = None
        self._journal_calls = BoundedCalls("cp-thirdparty-journal")
        # Of all events: a writer remembers what it could not write.
        self._writers: dict[JobScope, JournalWriter] = {}
        self._counter = None if metrics is None else EventCounter(metrics, self._warn)
        self._emitter = Emitter(on_event, self._counter)

    @hide_arguments
    def __call__(self, event: Mapping[str, Any], context: Any) -> dict[str, Any] | None:
        """
        Handle one event.

        Args:
            event: The event.  It has secrets: do not log it.
            context: The context of the invocation, whose ``get_remaining_time_in_millis()`` is the time that is left.
                An object without it has 900 seconds.

        Returns:
            ``None`` for an invoke action, or the result of the job for CodePipeline.

        Raises:
            cp_thirdparty.exceptions.ResponseDecodeError: The event is not about a job, or has no job id, so nothing is
                reported.  The handler was not called.
            cp_thirdparty.exceptions.JournalError: The job has no result.  The journal cannot be used; or another
                environment has the job; or CodePipeline has not accepted the result in time.  Lambda must deliver the
                event again.
            Exception: What ``connect`` raised.  The handler was not called.
        """
        limits = self._read_limits(context)
        if self._counter is not None:
            self._counter.begin(limits.ends_at)
        job, failure = _read(event)
        details = find_details(job)
        if not is_invoke_action(event):
            returned = ReturnedResult(details)
            self._handle(job, returned, failure, limits)
            return returned.document
        self._client.get()
        self._handle(job, PutResult(details, self._client), failure, limits)
        return None

    def _handle(
        self,
        event: LambdaJobEvent,
        calls: EventCalls,
        failure: FailureDetails | None,
        limits: _Limits,
    ) -> None:
        if self._create_journal is None:
            self._run(event, calls, failure, limits)
            return
        self._journal_calls.end_within(limits.seconds_left())  # a journal that hangs must leave the time for the report
        outcome: Outcome | None
        try:
            writer = self._open_journal(event, self._create_journal)
            outcome = self._find_outcome(writer, event, calls, failure, limits)
        except JournalError as error:
            outcome = Rejected(job=_find_offer(event), reason=show(str(error)), error=type(error).__name__)
            self._emit_outcome(outcome, limits)
        if outcome is None or not NEEDS_REDELIVERY[type(outcome)]:
            return
        why = outcome.reason if isinstance(outcome, Rejected) else _REASONS.get(type(outcome), "the journal keeps it")
        raise JournalError(
            f"job {printable(event.id, _LONGEST_ID)} has no result yet: {why}; Lambda must deliver the event again"
        )

    def _find_outcome(
        self,
        writer: JournalWriter,
        event: LambdaJobEvent,
        calls: EventCalls,
        failure: FailureDetails | None,
        limits: _Limits,
    ) -> Outcome | None:
        """
        Take the job of an event to its outcome; return ``None`` for a job that another delivery has finished.

        Raises:
            JournalError: It is not known whether another environment has the job, or what its result is.
        """
        entry = _take_over(writer, event.id, limits)
        try:
            is_finished = writer.is_finished(event.id)
        except JournalError:
            if entry is not None:
                writer.release(event.id)
            raise
        if not is_finished:
            outcome = self._run(event, calls, failure, limits, writer=writer, entry=entry)
            if isinstance(outcome, LostRace):
                with suppress(JournalError):  # the outcome has its event, and lets Lambda deliver again
                    if writer.is_finished(event.id):
                        calls.repeat(partial(writer.find_result, event.id))
                        return None
            return outcome
        if entry is not None:  # an environment was killed while it wrote the end of the job
            writer.withdraw(event.id)
        calls.repeat(partial(writer.find_result, event.id))
        self._emit_outcome(LostRace(job=_find_offer(event)), limits)
        return None

    def _warn(self, problem: str) -> None:
        self._emitter.log(logging.WARNING, problem)

    def _emit_outcome(self, outcome: Outcome, limits: _Limits) -> None:
        self._emitter.emit_outcome(outcome)
        self._emitter.flush(limits.seconds_left())

    def _run(
        self,
        event: LambdaJobEvent,
        calls: EventCalls,
        failure: FailureDetails | None,
        limits: _Limits,
        *,
        writer: JournalWriter | None = None,
        entry: JournalEntry | None = None,
    ) -> Outcome:
        runner = attrs.evolve(self._runner, connect=EventClient(event).connect)
        invocation = Invocation(
            _find_offer(event),
            tokens=None,
            clients=EventClients(calls, self._emitter),
            create_engine=partial(ProcessEngine, runner, ProcessPerJob(1), self._emitter),
            job_timeout=_LONGEST,
            ends_at=limits.ends_at,
            emitter=self._emitter,
            recorder=writer,
            hold=hold_without_lease if writer is None else writer.hold,
            entry=entry,
            for_report=limits.for_report,
        )
        try:
            return invocation.run_in_time(failure)
        finally:
            invocation.close()

    def _read_limits(self, context: Any) -> _Limits:
        milliseconds = call_partner(methodcaller("get_remaining_time_in_millis"), context)
        if not isinstance(milliseconds, (int, float)):
            return _Limits(None, self._report_seconds)
        seconds_left = milliseconds / 1000
        return _Limits(find_end(seconds_left), min(self._report_seconds, seconds_left / 2))

    def _open_journal(self, event: LambdaJobEvent, create: Callable[[], Journal]) -> JournalWriter:
        """
        Return what writes the journal, after it has written what it could not write for earlier events.

        Raises:
            JournalError: The journal cannot be created, or what it has of this job could not be corrected.
        """
        if self._journal is None:
            journal = self._journal_calls.call(_LONGEST, create)
            if isinstance(journal, NotReturned):
                raise JournalError("journal has not returned in time")
            if isinstance(journal, Raised):
                raise JournalError(f"journal raised {journal.name}")
            self._journal = journal
        action_type_id = event.data.action_type_id or INVOKE_ACTION_TYPE
        region = find_region() or ""
        scope = JobScope(region_name=region, endpoint_url="", action_type_id=action_type_id)
        writer = self._writers.get(scope)
        if writer is None:
            notify = partial(_emit, self._emitter)
            writer = JournalWriter(self._journal, scope, notify, self._emitter, self._journal_calls)
            self._writers[scope] = writer
        for each in self._writers.values():
            each.repair(lambda _: False)
        if writer.is_unclear(event.id):
            raise JournalError("what the journal has of this job could not be corrected")
        return writer


def _emit(emitter: Emitter, name: JobEventName, job: ClaimedJob, detail: str = "", **fields: Any) -> None:
    emitter.emit(name, job.offer, detail, details=job.details, **fields)


@attrs.frozen
class _Limits:
    """When the last call of an invocation ends, by `time.monotonic`, and the seconds before that for the report."""

    ends_at: float | None
    for_report: float

    def seconds_left(self) -> float:
        """Return how many seconds are left before the report."""
        return math.inf if self.ends_at is None else max(0.0, self.ends_at - self.for_report - time.monotonic())


def _take_over(writer: JournalWriter, job_id: str, limits: _Limits) -> JournalEntry | None:
    """
    Return what the journal has of a job whose environment has ended; wait until it is known whether it has.

    Lambda delivers an event again if its environment was killed.  A new environment cannot know at once whether the
    lease of that one is over.

    Raises:
        JournalError: The journal cannot be read, or there is too little time.
    """
    for _ in range(_LOOKS):
        entry = _recover(writer, job_id)
        if entry is not None or math.isinf(writer.recovery_seconds) or job_id not in writer.find_unfinished():
            return entry
        if limits.seconds_left() <= writer.recovery_seconds:
            raise JournalError(
                "another environment has it, and the time of the function is too short to find out whether that one is "
                "dead; give the function more time than the journal's takeover needs"
            )
        time.sleep(writer.recovery_seconds)
    return _recover(writer, job_id)


def _recover(writer: JournalWriter, job_id: str) -> JournalEntry | None:
    """Return what the journal has of a job that no living environment has; leave other jobs to their own events."""
    found: JournalEntry | None = None
    for entry in writer.recover().entries:
        if entry.job.job_id == job_id:
            found = entry
        else:
            writer.release(entry.job.job_id)
    return found


def _read(event: Any) -> tuple[LambdaJobEvent, FailureDetails | None]:
    """Return the job of an event, and what to report in place of a call of the handler."""
    try:
        job = structure(event, LambdaJobEvent)
    except ResponseDecodeError as error:
        job_id = find_job_id(event)
        if job_id is None:
            raise
        return LambdaJobEvent(id=job_id, data=JobData()), _describe(_UNREADABLE, job_id, problem=error)
    if not job.id:
        raise ResponseDecodeError(["id: must not be empty"])
    expires_at = job.credentials_expire_at
    is_stale = expires_at is not None and expires_at.timestamp() <= time.time()
    return job, _describe(_STALE, job.id) if is_stale else None


def _describe(sentence: str, job_id: str, **values: object) -> FailureDetails:
    message = sentence.format(job_id=printable(job_id, _LONGEST_ID), **values)
    return FailureDetails(type=FailureType.SYSTEM_UNAVAILABLE, message=message)


def _find_offer(event: LambdaJobEvent) -> CustomJob:
    return CustomJob(id=event.id, data=JobData(), nonce="", account_id=event.account_id)


def _connect() -> CustomJobClient:
    return CustomJobClient.create(connect_timeout=2.0, read_timeout=3.0)


def _no_client() -> Any:
    """Create nothing: each event has what takes the place of a client."""
