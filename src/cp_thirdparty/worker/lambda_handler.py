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
from cp_thirdparty.worker._emit import Emitter
from cp_thirdparty.worker._executors import pickle_runner
from cp_thirdparty.worker._handler_failures import printable
from cp_thirdparty.worker._invocation import Invocation
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
from cp_thirdparty.worker.events import EventHook, WorkerMetrics
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

# The longest time that a Lambda function can run, in seconds, according to the quotas of AWS Lambda.
_MAX_FUNCTION_SECONDS: Final = 900.0

# Seconds that ``connect`` has at least, because a function with so little time may be able to report nevertheless.
_MIN_CONNECT_SECONDS: Final = 0.5

# Seconds at the end of an invocation that are reserved to kill the process of the handler and to return from the
# function.
_RETURN_SECONDS: Final = 0.25

# How many characters of a job id a message shows.  The ids of CodePipeline are much shorter, but an event is untrusted.
_ID_CHARACTERS: Final = 100

# How many times a function checks whether the environment that has its job has ended.  A journal with leases may need
# six checks before it lets another environment take the job over.
_TAKEOVER_CHECKS: Final = 6

# For each outcome of a job that is recorded in a journal: whether the function raises, so that Lambda delivers the
# event again.  The function does not raise if the journal has the job as finished.  Without a journal, it never raises
# for these outcomes, because the handler would run again.
NEEDS_REDELIVERY: Final[Mapping[type[Outcome], bool]] = {
    Reported: False,
    Gone: False,
    LostRace: True,  # another environment has the job, but that environment may have ended
    Rejected: True,  # it is not known whether another environment has the job
    Released: True,
    Unsent: True,
    Uncertain: True,
    HandedBack: True,
}

# The reason in the error that the function raises.  For all other outcomes the reason is "the journal keeps it": the
# next delivery of the event finds the job in the journal.
_REASONS: Final[Mapping[type[Outcome], str]] = {LostRace: "another environment has it"}

_EXPIRED: Final = "The event of job {job_id} is too old: its artifact credentials have expired."
_UNREADABLE: Final = "The event of job {job_id} cannot be read: {problem}."


class LambdaHandler(Generic[_ConfigurationT]):
    """
    Handles the events with which CodePipeline invokes a Lambda function.  A `LambdaHandler` object is the entry point
    of the function.

    The result of an invoke action is reported with ``PutJobSuccessResult`` or ``PutJobFailureResult``.  For an action
    type with a Lambda executor, whose event has no member ``CodePipeline.job``, the function returns the result.

    Each event gets exactly one result, unless Lambda ends the environment.  With a journal, the function may also raise
    an error, so that Lambda delivers the event again.  The handler runs in its own process, which is killed before the
    time of the function is over.  Then the job is reported as failed.  A handler whose work takes longer must therefore
    return a `Continued` before `Job.deadline`.  The next event has the continuation token and a new job id.

    The artifacts are read and written with the credentials of the event, which cannot be renewed.  If these credentials
    have expired, the handler is not called, and the job is reported as failed.

    Create the object once, at the top level of a module: each process of the handler imports that module.

    Args:
        handler: A function, or an ``async def``, that does the work of one job.  It must be importable by its name.
        configuration: Your class for the action configuration; ``None`` to get the strings that CodePipeline sent.  If
            the user parameters of the action are a JSON object, its members are added to the values of the
            configuration.
        connect: Creates the client that reports results, such as a `cp_thirdparty.CustomJobClient`.  It is called at
            the first event of an invoke action, and again when the AWS credentials are refused.  ``None`` for a client
            with timeouts of 2 seconds to connect and 3 seconds to read, so that there is time to retry a report.
        report_seconds: Seconds or a ``timedelta`` of the function's time that are reserved for the report.  At most
            half of the time that is left at the start is reserved.
        artifacts: Creates the artifact store of a job; ``None`` for `cp_thirdparty.artifacts.ArtifactStore.for_job`.
        journal: Creates a journal that all environments of the function share; it is called at the first event.
            ``None`` for no journal.  The start of a job is written to the journal before the handler is called.  If
            Lambda delivers the event of a finished job again, the handler is not called again.  If an earlier delivery
            recorded a result but could not report it, this result is reported.  If another environment has the job, the
            function waits until the journal lets it take the job over, which requires that the other environment has
            ended.  If the other environment is still working after the time that a takeover needs, the function raises
            a `cp_thirdparty.exceptions.JournalError`, so that Lambda delivers the event again later.
        on_event: Called in a separate thread with a `cp_thirdparty.worker.events.JobEvent` for each event of a job.
        metrics: Counts each event before the function returns, such as
            `cp_thirdparty.observability.prometheus_metrics`; ``None`` to count nothing.  Invoke actions are counted
            under the action type that AWS defines for them: category ``Invoke``, owner ``AWS``, provider ``Lambda``.

    Raises:
        TypeError: An argument has a wrong type, does not accept the arguments with which it is called, or cannot be
            pickled for the process of the handler.
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
            connect=_placeholder_connect, handler=handler, configuration=configuration, tokens=None, artifacts=artifacts
        )
        pickle_runner(self._runner)  # raises here, and not at the first event, if something cannot be pickled
        self._client = KeptClient(connect)
        self._report_seconds = read_seconds("report_seconds", report_seconds)
        self._create_journal = journal
        self._journal: Journal | None = None
        self._journal_calls = BoundedCalls("cp-thirdparty-journal")
        # The writers are kept for all later events, because a writer retries the changes that it could not write.
        self._writers: dict[JobScope, JournalWriter] = {}
        self._counter = None if metrics is None else EventCounter(metrics, self._warn)
        self._emitter = Emitter(on_event, self._counter, is_counted_at_once=True)

    @hide_arguments
    def __call__(self, event: Mapping[str, Any], context: Any) -> dict[str, Any] | None:
        """
        Handle one event.

        Args:
            event: The event.  It contains secrets: do not log it.
            context: The context of the invocation.  Its ``get_remaining_time_in_millis()`` returns the time that is
                left.  If the object does not have this method, 900 seconds are assumed.

        Returns:
            ``None`` for an invoke action, or the result of the job for CodePipeline.

        Raises:
            cp_thirdparty.exceptions.ResponseDecodeError: The event is not about a job, or has no job id, so nothing can
                be reported.  The handler was not called.
            cp_thirdparty.exceptions.JournalError: The job has no result, because the journal cannot be used, another
                environment has the job, or CodePipeline did not accept the result in time.  Lambda must deliver the
                event again.
            cp_thirdparty.exceptions.TransportError: ``connect`` did not return before the time that is reserved for the
                report.  The handler was not called.
            Exception: The error that ``connect`` raised.  The handler was not called.
        """
        limits = self._read_limits(context)
        if self._counter is not None:
            self._counter.begin(limits.ends_at)
        job, failure = _read_event(event)
        details = find_details(job)
        if not is_invoke_action(event):
            returned = ReturnedResult(details)
            self._handle(job, returned, failure, limits)
            return returned.document
        self._client.get(max(_MIN_CONNECT_SECONDS, limits.seconds_left()))
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
        self._journal_calls.end_within(limits.seconds_left())  # a journal that hangs must not use the report's time
        outcome: Outcome | None
        try:
            writer = self._open_journal(event, self._create_journal)
            outcome = self._run_with_journal(writer, event, calls, failure, limits)
        except JournalError as error:
            outcome = Rejected(job=_create_job(event), reason=show(str(error)), error=type(error).__name__)
            self._emit_outcome(outcome, limits)
        if outcome is None or not NEEDS_REDELIVERY[type(outcome)]:
            return
        why = outcome.reason if isinstance(outcome, Rejected) else _REASONS.get(type(outcome), "the journal keeps it")
        raise JournalError(
            f"job {printable(event.id, _ID_CHARACTERS)} has no result yet: {why}; Lambda must deliver the event again"
        )

    def _run_with_journal(
        self,
        writer: JournalWriter,
        event: LambdaJobEvent,
        calls: EventCalls,
        failure: FailureDetails | None,
        limits: _Limits,
    ) -> Outcome | None:
        """
        Run the job of an event and return its outcome.  Return ``None`` if another delivery has finished the job.

        Raises:
            JournalError: It cannot be read from the journal whether another environment has the job, or which result
                the job has.
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
                # If the journal cannot be read, `LostRace` is returned: Lambda delivers the event again.
                with suppress(JournalError):
                    if writer.is_finished(event.id):
                        calls.repeat(partial(writer.find_result, event.id))
                        return None
            return outcome
        if entry is not None:  # an environment was killed between writing the finished job and deleting its entry
            writer.withdraw(event.id)
        calls.repeat(partial(writer.find_result, event.id))
        self._emit_outcome(LostRace(job=_create_job(event)), limits)
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
            _create_job(event),
            tokens=None,
            clients=EventClients(calls, self._emitter),
            create_engine=partial(ProcessEngine, runner, ProcessPerJob(1), self._emitter),
            job_timeout=_MAX_FUNCTION_SECONDS,
            ends_at=limits.ends_at,
            emitter=self._emitter,
            writer=writer,
            entry=entry,
            report_seconds=limits.report_seconds,
        )
        try:
            return invocation.run_in_time(failure)
        finally:
            invocation.close()

    def _read_limits(self, context: Any) -> _Limits:
        milliseconds = call_partner(methodcaller("get_remaining_time_in_millis"), context)
        seconds_left = _MAX_FUNCTION_SECONDS
        if isinstance(milliseconds, (int, float)):
            seconds_left = min(seconds_left, milliseconds / 1000)
        ends_at = time.monotonic() + max(0.0, seconds_left - _RETURN_SECONDS)
        return _Limits(ends_at, min(self._report_seconds, seconds_left / 2))

    def _open_journal(self, event: LambdaJobEvent, create: Callable[[], Journal]) -> JournalWriter:
        """
        Return the writer of the journal, after it has retried the changes that it could not write for earlier events.

        Raises:
            JournalError: The journal cannot be created, or its entry of this job is wrong and could not be corrected.
        """
        if self._journal is None:
            journal = self._journal_calls.call(_MAX_FUNCTION_SECONDS, create)
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
            emitter = self._emitter
            writer = JournalWriter(self._journal, scope, emitter.emit_job, emitter, self._journal_calls, kind=CUSTOM)
            self._writers[scope] = writer
        for each in self._writers.values():
            each.repair(lambda _: False)
        if writer.must_repair(event.id):
            raise JournalError("the entry of this job in the journal is wrong and could not be corrected")
        return writer


@attrs.frozen
class _Limits:
    """
    The time limits of an invocation.

    Attributes:
        ends_at: When the last call must have ended, as a time of `time.monotonic`.
        report_seconds: Seconds before ``ends_at`` that are reserved for the report.
    """

    ends_at: float
    report_seconds: float

    def seconds_left(self) -> float:
        """Return how many seconds are left until the time that is reserved for the report."""
        return max(0.0, self.ends_at - self.report_seconds - time.monotonic())


def _take_over(writer: JournalWriter, job_id: str, limits: _Limits) -> JournalEntry | None:
    """
    Take over the job of an event from an environment that has ended, and return its journal entry.

    Return ``None`` if the journal has no unfinished job with this id, or if another environment still has the job.

    Lambda delivers an event again if its environment was killed.  The lease of the killed environment may still be
    valid then, and it looks the same as the lease of an environment that works.  So this function waits for as long as
    the journal needs to detect that a lease is not renewed.

    Raises:
        JournalError: The journal cannot be read, or the time of the function is too short for this wait.
    """
    for _ in range(_TAKEOVER_CHECKS):
        entry = _recover(writer, job_id)
        if entry is not None or math.isinf(writer.recovery_seconds) or job_id not in writer.find_unfinished():
            return entry
        if limits.seconds_left() <= writer.recovery_seconds:
            raise JournalError(
                "another environment has it, and the time of the function is too short to wait for a takeover; "
                "give the function more time than a takeover by the journal needs"
            )
        time.sleep(writer.recovery_seconds)
    return _recover(writer, job_id)


def _recover(writer: JournalWriter, job_id: str) -> JournalEntry | None:
    """
    Return the journal entry of a job if its environment has ended; ``None`` if there is no such entry.

    The journal also returns other jobs.  They are released, because each job is handled by the delivery of its own
    event.
    """
    found: JournalEntry | None = None
    for entry in writer.recover().entries:
        if entry.job.job_id == job_id:
            found = entry
        else:
            writer.release(entry.job.job_id)
    return found


def _read_event(event: Any) -> tuple[LambdaJobEvent, FailureDetails | None]:
    """
    Return the job of an event, and the failure to report if the handler must not be called for it.

    Raises:
        ResponseDecodeError: The event has no job id.
    """
    try:
        job = structure(event, LambdaJobEvent)
    except ResponseDecodeError as error:
        job_id = find_job_id(event)
        if job_id is None:
            raise
        return LambdaJobEvent(id=job_id, data=JobData()), _create_failure(_UNREADABLE, job_id, problem=error)
    if not job.id:
        raise ResponseDecodeError(["id: must not be empty"])
    expires_at = job.credentials_expire_at
    is_expired = expires_at is not None and expires_at.timestamp() <= time.time()
    return job, _create_failure(_EXPIRED, job.id) if is_expired else None


def _create_failure(sentence: str, job_id: str, **values: object) -> FailureDetails:
    message = sentence.format(job_id=printable(job_id, _ID_CHARACTERS), **values)
    return FailureDetails(type=FailureType.SYSTEM_UNAVAILABLE, message=message)


def _create_job(event: LambdaJobEvent) -> CustomJob:
    return CustomJob(id=event.id, data=JobData(), nonce="", account_id=event.account_id)


def _connect() -> CustomJobClient:
    return CustomJobClient.create(connect_timeout=2.0, read_timeout=3.0)


def _placeholder_connect() -> Any:
    """Do nothing: `_run` replaces this function in the runner by one that returns the `EventClient` of the event."""
