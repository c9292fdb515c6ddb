"""The types of artifacts and of the worker.  Checked by the type checkers, all strict; never run."""
# pyright: reportUnusedFunction=false

from __future__ import annotations

import dataclasses
import logging
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO, Generic, Literal, TypeVar

import attrs
import pydantic
from typing_extensions import assert_type

from cp_thirdparty import (
    ActionConfiguration,
    ActionTypeId,
    Artifact,
    ArtifactStore,
    Continued,
    CurrentRevision,
    CustomJob,
    CustomJobClient,
    CustomJobDetails,
    ExecutionDetails,
    FailureDetails,
    FailureType,
    Job,
    JobDetails,
    JobFailedError,
    JobWorker,
    SecretStr,
    Succeeded,
    ThirdPartyJob,
    ThirdPartyJobClient,
)
from cp_thirdparty.artifacts import ArchiveLimits, create_archive, extract_archive
from cp_thirdparty.exceptions import CodePipelineJobError, ContinuationStateError, JournalError, WorkerStuckError
from cp_thirdparty.observability import HealthServer, PrometheusMetrics, prometheus_metrics
from cp_thirdparty.telemetry import CallRecord
from cp_thirdparty.worker import (
    ArtifactsFactory,
    ClientTokens,
    DynamoDBJournal,
    EnvironmentTokens,
    EventHook,
    FinishedOutcome,
    Gone,
    HandedBack,
    Handler,
    IndexedJournal,
    JobEvent,
    JobEventName,
    JobProcessor,
    JobScope,
    Journal,
    JournalEntry,
    JournalState,
    LambdaHandler,
    LeasedJournal,
    LostRace,
    MemoryJournal,
    Outcome,
    ProcessPerJob,
    Recovered,
    RefreshingTokens,
    Rejected,
    Released,
    Reported,
    Result,
    SecretsManagerTokens,
    SetAside,
    SqliteJournal,
    Uncertain,
    Unsent,
    WorkerHealth,
    WorkerMetrics,
    WorkerState,
    dynamodb_table,
    journal_policy,
    lambda_policy,
    processes,
    worker_policy,
)
from cp_thirdparty.worker._async_handlers import CoroutineRunner
from cp_thirdparty.worker.results import accept_result, failure_details, without_optional_parts
from cp_thirdparty.worker.runner import HandlerRun, NotStarted, Runner, run_in_executor, run_in_process
from cp_thirdparty.worker.tokens import NoTokenError, TokenLookup

Progress = Callable[[int], object]


@attrs.frozen
class Scan:
    """A partner's configuration."""

    project_name: str


_T = TypeVar("_T")


@attrs.define(eq=False)
class MutableState:
    """A state of a job, as are the classes below."""

    name: str


@attrs.frozen
class GenericState(Generic[_T]):
    """An attrs class with a type variable."""

    name: _T


@dataclasses.dataclass
class DataclassState:
    """A dataclass."""

    name: str


class PydanticState(pydantic.BaseModel):
    """A model of pydantic."""

    name: str


@pydantic.dataclasses.dataclass
class PydanticDataclassState:
    """A dataclass of pydantic."""

    name: str


def _state(job: Job[Scan]) -> None:
    assert_type(job.state(Scan), Scan | None)
    assert_type(job.state(Scan, upgrade=lambda version, old: {**old, "project_name": str(version)}), Scan | None)
    assert_type(job.state(Scan, upgrade=_upgrade), Scan | None)


def _upgrade(version: int, old: dict[str, Any]) -> Scan:
    return Scan(f"{old} {version}")


def _state_error(error: ContinuationStateError) -> None:
    assert_type(error, ContinuationStateError)


def _journal_error(error: JournalError) -> None:
    assert_type(error, JournalError)


def _stuck_error(job_ids: list[str]) -> None:
    error = WorkerStuckError(job_ids)
    assert_type(error, WorkerStuckError)
    assert_type(error.job_ids, tuple[str, ...])


# --- create


def _create_archive(directory: Path, to: Path) -> None:
    assert_type(create_archive(directory, to=to), Path)
    assert_type(create_archive(str(directory), to=str(to), limits=ArchiveLimits(), on_skip=print), Path)
    assert_type(create_archive(directory, to=to, deadline=1, is_cancelled=lambda: True), Path)


# --- extract


def _extract_archive(archive: Path, to: Path, limits: ArchiveLimits) -> None:
    assert_type(extract_archive(archive, to=to, limits=limits, progress=print), Path)
    assert_type(extract_archive(str(archive), to=str(to), deadline=1.5, is_cancelled=bool), Path)


# --- limits


def _archive_limits(one: ArchiveLimits) -> None:
    assert_type(ArchiveLimits(), ArchiveLimits)
    assert_type(one.max_depth, int)
    assert_type(one.max_entries, int)
    assert_type(one.max_entry_bytes, int)
    assert_type(one.max_ratio, int)
    assert_type(one.max_total_bytes, int)
    assert_type(one.names, Literal["posix", "portable"])
    assert_type(one.symlinks, Literal["keep", "refuse"])


# --- store


def _artifact_store(
    one: ArtifactStore,
    client: ThirdPartyJobClient,
    details: JobDetails,
    client_token: str | SecretStr,
    name: str,
    to: Path,
    progress: Progress | None,
    limits: ArchiveLimits | None,
    directory: Path,
    path: Path,
) -> None:
    assert_type(ArtifactStore.for_job(client, details, client_token=client_token), ArtifactStore)
    assert_type(one.inputs, Mapping[str, Artifact])
    assert_type(one.outputs, Mapping[str, Artifact])
    assert_type(one.open(name), BinaryIO)
    assert_type(one.download(name, to=to, progress=progress), Path)
    assert_type(one.extract(name, to=to, limits=limits), Path)
    one.archive(name, directory, limits=limits, progress=progress, on_skip=print)
    assert_type(one.size(name), int)
    one.upload(name, path, progress=progress)
    one.close()


# --- events


def _job_event(one: JobEvent, name: JobEventName, job_id: str, client_id: str) -> None:
    assert_type(JobEvent(name=name, job_id=job_id, client_id=client_id), JobEvent)
    assert_type(one.action_execution_id, str | None)
    assert_type(one.client_id, str)
    assert_type(one.detail, str)
    assert_type(one.emitted_at, float)
    assert_type(one.failure_type, FailureType | None)
    assert_type(one.job_id, str)
    assert_type(one.name, JobEventName)
    assert_type(one.pipeline, str | None)
    assert_type(one.seconds, float | None)
    assert_type(one.where, str)


def _event_hook(one: EventHook, event: JobEvent) -> None:
    assert_type(one(event), object)


# --- health


def _worker_health(
    one: WorkerHealth,
    state: WorkerState,
    in_flight: int,
    seconds_since_poll: float | None,
    poll_error: str | None,
    oldest_unsent_result: float | None,
    uncertain: tuple[str, ...],
    undecodable: tuple[str, ...],
    overdue: tuple[str, ...],
    stalled: tuple[str, ...],
    journal_error: str | None,
    set_aside: tuple[str, ...],
    free_slots: int,
    seconds_since_loop: float | None,
    executor_error: str | None,
    kept: tuple[str, ...],
) -> None:
    assert_type(
        WorkerHealth(
            state=state,
            in_flight=in_flight,
            seconds_since_poll=seconds_since_poll,
            poll_error=poll_error,
            oldest_unsent_result=oldest_unsent_result,
            uncertain=uncertain,
            undecodable=undecodable,
            overdue=overdue,
            stalled=stalled,
            journal_error=journal_error,
            set_aside=set_aside,
            free_slots=free_slots,
            seconds_since_loop=seconds_since_loop,
            executor_error=executor_error,
            kept=kept,
        ),
        WorkerHealth,
    )
    assert_type(one.free_slots, int)
    assert_type(one.seconds_since_loop, float | None)
    assert_type(one.is_alive, bool)
    assert_type(one.is_ready, bool)
    assert_type(one.dropped_events, int)
    assert_type(one.executor_error, str | None)
    assert_type(one.kept, tuple[str, ...])
    assert_type(one.stalled, tuple[str, ...])
    assert_type(one.journal_error, str | None)
    assert_type(one.set_aside, tuple[str, ...])
    assert_type(one.in_flight, int)
    assert_type(one.oldest_unsent_result, float | None)
    assert_type(one.overdue, tuple[str, ...])
    assert_type(one.poll_error, str | None)
    assert_type(one.seconds_since_poll, float | None)
    assert_type(one.state, WorkerState)
    assert_type(one.uncertain, tuple[str, ...])
    assert_type(one.undecodable, tuple[str, ...])


# --- job


def _job(
    one: Job[Scan],
    offer: ThirdPartyJob,
    details: JobDetails,
    configuration: Scan,
    open_artifacts: Callable[[], ArtifactStore],
    seconds_left: float,
    cancelled: threading.Event,
    stopping: threading.Event,
) -> None:
    assert_type(
        Job[Scan](
            *(offer, details, configuration),
            open_artifacts=open_artifacts,
            seconds_left=seconds_left,
            cancelled=cancelled,
            stopping=stopping,
        ),
        Job[Scan],
    )
    assert_type(one.id, str)
    assert_type(one.client_id, str)
    assert_type(one.details, JobDetails | CustomJobDetails)
    assert_type(one.configuration, Scan)
    assert_type(one.continuation_token, str | None)
    assert_type(one.artifacts, ArtifactStore)
    assert_type(one.workspace, Path)
    assert_type(one.deadline, float)
    assert_type(one.cancelled, bool)
    assert_type(one.stopping, bool)
    assert_type(one.logger, logging.LoggerAdapter[logging.Logger])
    one.close()


# --- journal


def _journal(
    one: Journal,
    job: ThirdPartyJob,
    scope: JobScope,
    job_id: str,
    crashes: int,
    is_suspect: bool,
    result: Result,
    outcome: FinishedOutcome,
    unfinished_only: bool,
    older_than: float,
    limit: int,
) -> None:
    assert_type(one.is_durable, bool)
    assert_type(one.is_shared, bool)
    assert_type(one.claim(job, scope), bool)
    one.withdraw(job_id)
    one.running(job_id)
    one.running(job_id, crashes=crashes, is_suspect=is_suspect)
    one.result(job_id, result)
    one.uncertain(job_id)
    one.finish(job_id, outcome)
    one.release(job_id)
    assert_type(one.recover(scope), Recovered)
    assert_type(one.jobs(unfinished_only=unfinished_only), Iterator[JournalEntry])
    assert_type(one.prune(older_than=older_than, limit=limit), int)
    one.close()


def _journal_entry(
    one: JournalEntry, job: ThirdPartyJob, scope: JobScope, state: JournalState, changed_at: float
) -> None:
    assert_type(JournalEntry(job=job, scope=scope, state=state, changed_at=changed_at), JournalEntry)
    assert_type(one.claimed_at, float | None)
    assert_type(one.is_owner_alive, bool | None)
    assert_type(one.is_suspect, bool)
    assert_type(one.may_be_accepted, bool)
    assert_type(one.scope, JobScope | None)
    assert_type(one.changed_at, float)
    assert_type(one.crashes, int)
    assert_type(one.job, ThirdPartyJob | CustomJob)
    assert_type(one.outcome, FinishedOutcome | None)
    assert_type(one.result, Result | None)
    assert_type(one.state, JournalState)


def _recovered(one: Recovered, entry: JournalEntry, set_aside: SetAside) -> None:
    assert_type(Recovered(entries=(entry,), set_aside=(set_aside,)), Recovered)
    assert_type(one.entries, tuple[JournalEntry, ...])
    assert_type(one.set_aside, tuple[SetAside, ...])


def _set_aside(one: SetAside, job_id: str, problem: str) -> None:
    assert_type(SetAside(job_id=job_id, problem=problem), SetAside)
    assert_type(one.job_id, str)
    assert_type(one.problem, str)


def _job_scope(one: JobScope, region_name: str, endpoint_url: str, action_type_id: ActionTypeId) -> None:
    assert_type(JobScope(region_name=region_name, endpoint_url=endpoint_url, action_type_id=action_type_id), JobScope)
    assert_type(one.region_name, str)
    assert_type(one.endpoint_url, str)
    assert_type(one.action_type_id, ActionTypeId)


assert_type(JournalState("CLAIMING"), JournalState)
assert_type([JournalState.CLAIMING, JournalState.RUNNING, JournalState.RESULT], list[JournalState])
assert_type([JournalState.UNCERTAIN, JournalState.CLAIMED, JournalState.DONE], list[JournalState])


def _memory_journal(
    one: MemoryJournal,
    clock: Callable[[], float],
    job: ThirdPartyJob,
    scope: JobScope,
    job_id: str,
    crashes: int,
    is_suspect: bool,
    result: Result,
    outcome: FinishedOutcome,
    unfinished_only: bool,
    older_than: float,
    limit: int,
) -> None:
    assert_type(one.is_durable, bool)
    assert_type(one.is_shared, bool)
    assert_type(MemoryJournal(clock=clock), MemoryJournal)
    assert_type(one.claim(job, scope), bool)
    one.withdraw(job_id)
    one.running(job_id)
    one.running(job_id, crashes=crashes, is_suspect=is_suspect)
    one.result(job_id, result)
    one.uncertain(job_id)
    one.finish(job_id, outcome)
    one.release(job_id)
    assert_type(one.recover(scope), Recovered)
    assert_type(one.jobs(unfinished_only=unfinished_only), Iterator[JournalEntry])
    assert_type(one.prune(older_than=older_than, limit=limit), int)
    one.close()


# --- outcomes


def _gone(one: Gone, job: ThirdPartyJob, error: str) -> None:
    assert_type(Gone(job=job, error=error), Gone)
    assert_type(one.error, str)
    assert_type(one.job, ThirdPartyJob | CustomJob)


def _handed_back(one: HandedBack, job: ThirdPartyJob) -> None:
    assert_type(HandedBack(job=job), HandedBack)
    assert_type(one.job, ThirdPartyJob | CustomJob)


def _lost_race(one: LostRace, job: ThirdPartyJob) -> None:
    assert_type(LostRace(job=job), LostRace)
    assert_type(one.job, ThirdPartyJob | CustomJob)


def _rejected(one: Rejected, job: ThirdPartyJob, reason: str, error: str | None) -> None:
    assert_type(Rejected(job=job, reason=reason, error=error), Rejected)
    assert_type(one.error, str | None)
    assert_type(one.job, ThirdPartyJob | CustomJob)
    assert_type(one.reason, str)


def _released(one: Released, job: ThirdPartyJob, error: str) -> None:
    assert_type(Released(job=job, error=error), Released)
    assert_type(one.error, str)
    assert_type(one.job, ThirdPartyJob | CustomJob)


def _reported(one: Reported, job: ThirdPartyJob, result: Result, is_confirmed: bool) -> None:
    assert_type(Reported(job=job, result=result, is_confirmed=is_confirmed), Reported)
    assert_type(one.is_confirmed, bool)
    assert_type(one.job, ThirdPartyJob | CustomJob)
    assert_type(one.result, Result)


def _uncertain(one: Uncertain, job: ThirdPartyJob) -> None:
    assert_type(Uncertain(job=job), Uncertain)
    assert_type(one.job, ThirdPartyJob | CustomJob)


def _unsent(one: Unsent, job: ThirdPartyJob, result: Result, error: str) -> None:
    assert_type(Unsent(job=job, result=result, error=error), Unsent)
    assert_type(one.error, str)
    assert_type(one.job, ThirdPartyJob | CustomJob)
    assert_type(one.result, Result)


# --- policy


def _worker_policy(action_type_id: ActionTypeId, region: str, account: str) -> None:
    assert_type(worker_policy(action_type_id, region=region, account=account), dict[str, Any])


def _journal_policy(table_name: str, region: str, account: str) -> None:
    assert_type(journal_policy(table_name, region=region, account=account), dict[str, Any])


# --- processor


def _job_processor(
    one: JobProcessor[Scan],
    connect: Callable[[], ThirdPartyJobClient],
    handler: Handler[Any],
    client_tokens: ClientTokens,
    job: ThirdPartyJob,
    seconds_left: float | timedelta | None,
    action_type_id: ActionTypeId,
    max_batch_size: int,
) -> None:
    assert_type(
        JobProcessor(connect, handler, configuration=Scan, client_tokens=client_tokens, metrics=None),
        JobProcessor[Scan],
    )
    assert_type(one.process(job, seconds_left=seconds_left), Outcome)
    assert_type(one.poll(action_type_id, max_batch_size=max_batch_size, seconds_left=seconds_left), Iterator[Outcome])
    assert_type(
        one.poll_async(action_type_id, max_batch_size=max_batch_size, seconds_left=seconds_left), AsyncIterator[Outcome]
    )


def _lambda_handler(
    one: LambdaHandler[Scan],
    handler: Handler[Any],
    connect: Callable[[], CustomJobClient],
    journal: Callable[[], Journal],
    metrics: WorkerMetrics,
    event: dict[str, Any],
    context: object,
) -> None:
    day = timedelta(days=1)
    assert_type(
        LambdaHandler(
            handler, configuration=Scan, connect=connect, report_seconds=day, journal=journal, metrics=metrics
        ),
        LambdaHandler[Scan],
    )
    assert_type(one(event, context), dict[str, Any] | None)
    assert_type(lambda_policy(), dict[str, Any])


async def _processor_async(one: JobProcessor[Scan], job: ThirdPartyJob, seconds_left: float | timedelta | None) -> None:
    assert_type(await one.process_async(job, seconds_left=seconds_left), Outcome)


# --- results


def _continued(
    one: Continued,
    continuation_token: str,
    current_revision: CurrentRevision | None,
    execution_details: ExecutionDetails | None,
) -> None:
    assert_type(
        Continued(
            continuation_token=continuation_token,
            current_revision=current_revision,
            execution_details=execution_details,
        ),
        Continued,
    )
    assert_type(Continued(state=Scan("p"), execution_details=execution_details), Continued)
    assert_type(Continued(state=MutableState("p")), Continued)
    assert_type(Continued(state=GenericState("p")), Continued)
    assert_type(Continued(state=DataclassState("p")), Continued)
    assert_type(Continued(state=PydanticState(name="p")), Continued)
    assert_type(Continued(state=PydanticDataclassState("p")), Continued)
    assert_type(one.continuation_token, str)
    assert_type(one.current_revision, CurrentRevision | None)
    assert_type(one.execution_details, ExecutionDetails | None)


def _succeeded(
    one: Succeeded, current_revision: CurrentRevision | None, execution_details: ExecutionDetails | None
) -> None:
    assert_type(Succeeded(current_revision=current_revision, execution_details=execution_details), Succeeded)
    assert_type(one.current_revision, CurrentRevision | None)
    assert_type(one.execution_details, ExecutionDetails | None)


def _accept_result(returned: object) -> None:
    assert_type(accept_result(returned), Result)


def _without_optional_parts(result: Result) -> None:
    assert_type(without_optional_parts(result), Result | None)


def _fail(_job: Job[Scan]) -> FailureDetails:
    return FailureDetails(type=FailureType.JOB_FAILED, message="m")


async def _fail_later(_job: Job[Scan]) -> Succeeded | FailureDetails:
    return FailureDetails(type=FailureType.JOB_FAILED, message="m")


_FAILING: list[Handler[Scan]] = [_fail, _fail_later]


def _failure_details(failure: JobFailedError) -> None:
    assert_type(failure_details(failure), FailureDetails)


# --- runner


def _ran(one: HandlerRun, result: Result, failure: str, was_interrupted: bool) -> None:
    assert_type(
        HandlerRun(result=result, failure=failure, was_interrupted=was_interrupted, has_timed_out=True), HandlerRun
    )
    assert_type(one.has_timed_out, bool)
    assert_type(one.error, str)
    assert_type(one.failure, str)
    assert_type(one.result, Result)
    assert_type(one.was_interrupted, bool)
    assert_type(one.where, str)


def _runner(
    one: Runner[Scan],
    connect: Callable[[], ThirdPartyJobClient],
    handler: Handler[Scan],
    configuration: type[Scan] | None,
    tokens: TokenLookup,
    offer: ThirdPartyJob,
    details: JobDetails,
    client: ThirdPartyJobClient,
    client_token: SecretStr,
    seconds_left: float,
    cancelled: threading.Event,
    stopping: threading.Event,
    coroutines: CoroutineRunner,
    patience: float | None,
) -> None:
    assert_type(
        Runner[Scan](connect=connect, handler=handler, configuration=configuration, tokens=tokens), Runner[Scan]
    )
    assert_type(one.prepare(coroutines), NotStarted | None)
    assert_type(
        one.run(
            *(offer, details),
            client=client,
            client_token=client_token,
            seconds_left=seconds_left,
            cancelled=cancelled,
            stopping=stopping,
            coroutines=coroutines,
            cancel_timeout=patience,
        ),
        HandlerRun | NotStarted,
    )
    assert_type(one.artifacts, ArtifactsFactory | None)
    assert_type(one.configuration, type[Scan] | None)
    assert_type(one.connect, Callable[[], ThirdPartyJobClient | CustomJobClient])
    assert_type(one.handler, Handler[Scan])
    assert_type(one.tokens, TokenLookup | None)


def _not_started(one: NotStarted, error: CodePipelineJobError | None, error_name: str) -> None:
    assert_type(NotStarted(error=error, error_name=error_name, is_initialised=False), NotStarted)
    assert_type(one.is_initialised, bool)
    assert_type(one.error, CodePipelineJobError | None)
    assert_type(one.error_name, str)


def _run_elsewhere(
    runner: bytes, offer: ThirdPartyJob, deadline: float, may_begin: Callable[[], bool], stopping: threading.Event
) -> None:
    assert_type(run_in_executor(runner, offer, deadline, may_begin), HandlerRun | NotStarted)
    assert_type(run_in_process(runner, offer, deadline, may_begin, stopping), HandlerRun | NotStarted)


# --- dynamodb_journal


def _dynamodb_journal(
    one: DynamoDBJournal,
    table_name: str,
    clock: Callable[[], float],
    seconds: float,
    job: ThirdPartyJob,
    scope: JobScope,
    job_id: str,
    crashes: int,
    is_suspect: bool,
    result: Result,
    outcome: FinishedOutcome,
    unfinished_only: bool,
    older_than: float,
    limit: int,
) -> None:
    assert_type(dynamodb_table(table_name), dict[str, Any])
    assert_type(DynamoDBJournal(table_name), DynamoDBJournal)
    assert_type(
        DynamoDBJournal(
            table_name, client=None, takeover_seconds=seconds, keep_finished=timedelta(days=7), clock=clock, timer=clock
        ),
        DynamoDBJournal,
    )
    leased: LeasedJournal = one
    assert_type(leased.hold(job_id), float)
    assert_type(leased.recovery_seconds, float)
    indexed: IndexedJournal = one
    assert_type(indexed.is_finished(job_id, scope), bool)
    assert_type(one.is_finished(job_id, scope), bool)
    assert_type(one.is_durable, bool)
    assert_type(one.is_shared, bool)
    assert_type(one.recovery_seconds, float)
    assert_type(one.claim(job, scope), bool)
    one.withdraw(job_id)
    one.running(job_id, crashes=crashes, is_suspect=is_suspect, is_alone=is_suspect)
    one.result(job_id, result, may_be_accepted=is_suspect)
    one.uncertain(job_id)
    one.finish(job_id, outcome)
    one.release(job_id, has_begun=is_suspect)
    assert_type(one.hold(job_id), float)
    assert_type(one.recover(scope), Recovered)
    assert_type(one.jobs(unfinished_only=unfinished_only), Iterator[JournalEntry])
    assert_type(one.prune(older_than=older_than, limit=limit), int)
    one.end(job_id)
    one.close()


# --- metrics


def _metrics(
    metrics: WorkerMetrics, event: JobEvent, action_type_id: ActionTypeId, health: WorkerHealth, journal: Journal
) -> None:
    metrics.record(event, action_type_id)
    metrics.watch(action_type_id, lambda: health, journal)
    assert_type(event.party, str | None)


def _observability(registry: Any, record: CallRecord, worker: JobWorker[Any]) -> None:
    metrics = prometheus_metrics(registry)
    assert_type(metrics, PrometheusMetrics)
    metrics.on_call(record)
    metrics.collect()
    metrics.describe()
    _: WorkerMetrics = metrics
    with HealthServer(worker.health, registry=registry, host="127.0.0.1", port=0) as server:
        assert_type(server, HealthServer)
        assert_type(server.port, int)
        server.close()


# --- sqlite_journal


def _sqlite_journal(
    one: SqliteJournal,
    path: str | os.PathLike[str],
    clock: Callable[[], float],
    job: ThirdPartyJob,
    scope: JobScope,
    job_id: str,
    crashes: int,
    is_suspect: bool,
    result: Result,
    outcome: FinishedOutcome,
    unfinished_only: bool,
    older_than: float,
    limit: int,
) -> None:
    assert_type(one.is_durable, bool)
    assert_type(one.is_shared, bool)
    one.end(job_id)
    assert_type(SqliteJournal(path, clock=clock), SqliteJournal)
    assert_type(one.claim(job, scope), bool)
    one.withdraw(job_id)
    one.running(job_id)
    one.running(job_id, crashes=crashes, is_suspect=is_suspect)
    one.result(job_id, result)
    one.uncertain(job_id)
    one.finish(job_id, outcome)
    one.release(job_id)
    assert_type(one.recover(scope), Recovered)
    assert_type(one.jobs(unfinished_only=unfinished_only), Iterator[JournalEntry])
    assert_type(one.prune(older_than=older_than, limit=limit), int)
    assert_type(one.forget(older_than=older_than), int)
    one.close()


# --- token_sources


def _environment_tokens(one: EnvironmentTokens, prefix: str, client_id: str) -> None:
    assert_type(EnvironmentTokens(prefix), EnvironmentTokens)
    assert_type(one.prefix, str)
    assert_type(one.variable(client_id), str)


def _secrets_manager_tokens(one: SecretsManagerTokens, prefix: str, client_id: str) -> None:
    assert_type(SecretsManagerTokens(prefix), SecretsManagerTokens)
    one.refresh(client_id)


# --- tokens


def _refreshing_tokens(one: RefreshingTokens, client_id: str) -> None:
    one.refresh(client_id)


def _token_lookup(one: TokenLookup, tokens: ClientTokens, client_id: str) -> None:
    assert_type(TokenLookup(tokens), TokenLookup)
    assert_type(one.find(client_id), SecretStr | NoTokenError)
    assert_type(one.refresh(client_id), NoTokenError | None)
    assert_type(one.read_environment(client_id), dict[str, str])


# --- worker


def _job_worker(
    one: JobWorker[Scan],
    connect: Callable[[], ThirdPartyJobClient],
    action_type_id: ActionTypeId,
    handler: Handler[Any],
    client_tokens: ClientTokens,
    handle_signals: bool,
    metrics: WorkerMetrics,
) -> None:
    given = JobWorker(
        connect, action_type_id, handler, configuration=Scan, client_tokens=client_tokens, metrics=metrics
    )
    assert_type(given, JobWorker[Scan])
    assert_type(one.run(handle_signals=handle_signals), bool)
    assert_type(one.run_once(), tuple[Outcome, ...])
    one.stop()
    assert_type(one.health(), WorkerHealth)
    with one as entered:
        assert_type(entered, JobWorker[Scan])
    one.close()


def _processes(
    one: ProcessPerJob, connect: Callable[[], ThirdPartyJobClient], action_type_id: ActionTypeId, handler: Handler[Any]
) -> None:
    assert_type(processes(4), ProcessPerJob)
    assert_type(ProcessPerJob(4, preload=("scan.handler",)), ProcessPerJob)
    assert_type(one.count, int)
    assert_type(one.preload, tuple[str, ...])
    day = timedelta(days=1)
    JobWorker(connect, action_type_id, handler, client_tokens={}, poll_interval=day, job_timeout=day, grace=day)
    JobWorker(connect, action_type_id, handler, client_tokens={}, keep_finished=day)
    worker = JobWorker(connect, action_type_id, handler, client_tokens={}, executor=processes(4, preload=["scan"]))
    worker.stop()


def _no_token_error(one: NoTokenError, reason: str, error: str | None) -> None:
    assert_type(NoTokenError(reason, error), NoTokenError)
    assert_type(one.error, str | None)


def custom_workers(mine: ActionTypeId, metrics: WorkerMetrics) -> None:
    """Create workers and processors of custom jobs, which have no client tokens."""

    def handle(job: Job[Scan]) -> Succeeded:
        return Succeeded(output_variables={"Findings": job.id})

    def handle_strings(_: Job) -> Succeeded:
        return Succeeded(output_variables=None)

    assert_type(JobWorker(CustomJobClient.create, mine, handle, configuration=Scan), JobWorker[Scan])
    assert_type(JobProcessor(CustomJobClient.create, handle, configuration=Scan, metrics=None), JobProcessor[Scan])
    strings = JobWorker(CustomJobClient.create, mine, handle_strings, metrics=metrics)
    assert_type(strings, JobWorker[ActionConfiguration | None])
    assert_type(JobProcessor(CustomJobClient.create, handle_strings), JobProcessor[ActionConfiguration | None])
    assert_type(Succeeded().output_variables, Mapping[str, str] | None)
