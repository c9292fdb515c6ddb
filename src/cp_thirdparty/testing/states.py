"""
What the local CodePipeline knows: clients, actions and jobs, and how the five operations change them.

No I/O; time is a clock that is an argument.  All methods are thread-safe.  What AWS does not document is an argument
with a stated default.
"""

from __future__ import annotations

import itertools
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping

import attrs

from cp_thirdparty.enums import JobStatus
from cp_thirdparty.models import (
    ActionConfiguration,
    ActionContext,
    ActionTypeId,
    Artifact,
    ArtifactCredentials,
    CurrentRevision,
    EncryptionKey,
    ExecutionDetails,
    FailureDetails,
    JobData,
    JobDetails,
    PipelineContext,
    StageContext,
    ThirdPartyJob,
)
from cp_thirdparty.secrets import SecretStr

__all__ = ["Action", "Job", "RefusedError", "States", "Success"]

# How many jobs a poll without maxBatchSize returns.  AWS documents no number; this one is an assumption.
_DEFAULT_BATCH_SIZE = 10

_UNCLAIMED = (JobStatus.QUEUED, JobStatus.DISPATCHED)


class RefusedError(Exception):
    """
    The service refuses a call.

    Attributes:
        code: The name of the modelled error.

        message: What the service says; never a secret.

    .. versionadded:: 0.1.0
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


@attrs.frozen(kw_only=True)
class Job:
    """
    One job of an action, as it was when it was asked for.

    Attributes:
        id: The id that polls bring.

        nonce: What decides who works on it.

        status: Queued, Dispatched, InProgress, Succeeded, Failed or TimedOut.

        continuation_token: The text of the job before it, or ``None`` for the first job of an action.

        result: What a worker reported: the continuation token, the revision and the execution details of a success, or
            the details of a failure.  ``None`` while there is none.

    .. versionadded:: 0.1.0
    """

    id: str
    nonce: str
    status: JobStatus
    continuation_token: str | None
    result: Success | FailureDetails | None


@attrs.frozen(kw_only=True)
class Success:
    """
    What a worker reported of a job that succeeded.

    Attributes:
        continuation_token: For the next job of the action, or ``None`` when the action has ended.

        current_revision: The revision, or ``None``.

        execution_details: What the console shows, or ``None``.

    .. versionadded:: 0.1.0
    """

    continuation_token: str | None
    current_revision: CurrentRevision | None
    execution_details: ExecutionDetails | None


@attrs.define(kw_only=True)
class _Entry:
    """A job as the states keep it."""

    job: Job
    action: Action
    client_id: str
    data: JobData
    offered_at: float
    deadline: float


class Action:
    """
    An action that a pipeline runs: it has one job, and one more for each continuation.

    Made by `LocalCodePipeline.start_action`.

    .. versionadded:: 0.1.0
    """

    def __init__(self, states: States) -> None:
        self._states = states

    @property
    def jobs(self) -> tuple[Job, ...]:
        """The jobs so far, oldest first; the next one of a continued action is there before polls offer it."""
        return self._states.jobs_of(self)

    @property
    def status(self) -> JobStatus:
        """That of the only job; between the jobs of a continued action ``InProgress``."""
        *earlier, last = self.jobs
        return JobStatus.IN_PROGRESS if earlier and last.status in _UNCLAIMED else last.status

    @property
    def result(self) -> Success | FailureDetails | None:
        """What was reported last, or ``None``."""
        return next((job.result for job in reversed(self.jobs) if job.result is not None), None)

    def __repr__(self) -> str:
        return f"<Action: {self.status}>"


class States:
    """
    All that the service knows.

    Args:
        clock: Tells the time in seconds; only differences matter.

        redelivery_delay: Seconds after which a job that was not acknowledged is offered again.

        continuation_delay: Seconds after which a continued action offers its next job.

        job_timeout: Seconds, from when a job can first be offered, after which it is ``TimedOut`` without a result.

    .. versionadded:: 0.1.0
    """

    def __init__(
        self, *, clock: Callable[[], float], redelivery_delay: float, continuation_delay: float, job_timeout: float
    ) -> None:
        self._clock = clock
        self._redelivery_delay = redelivery_delay
        self._continuation_delay = continuation_delay
        self._job_timeout = job_timeout
        self._lock = threading.RLock()
        self._tokens: dict[str, SecretStr] = {}
        self._entries: dict[str, _Entry] = {}  # by job id, oldest first
        self._nonces = itertools.count(1)

    # --- the pipeline's side

    def register_client(self, client_id: str, client_token: str | SecretStr) -> None:
        """Let a client's actions run, and let a worker that has its token read them."""
        with self._lock:
            self._tokens[client_id] = SecretStr.wrap(client_token)

    def start_action(
        self,
        action_type_id: ActionTypeId,
        *,
        client_id: str,
        configuration: Mapping[str, str | SecretStr] | None,
        input_artifacts: Iterable[Artifact],
        output_artifacts: Iterable[Artifact],
        artifact_credentials: ArtifactCredentials | None,
        encryption_key: EncryptionKey | None,
        pipeline_context: PipelineContext | None,
    ) -> Action:
        """
        Queue the first job of an action.

        Raises:
            ValueError: The client is not registered.
        """
        data = JobData(
            action_type_id=action_type_id,
            action_configuration=None if configuration is None else ActionConfiguration(configuration=configuration),
            pipeline_context=_context_of(action_type_id) if pipeline_context is None else pipeline_context,
            input_artifacts=input_artifacts,
            output_artifacts=output_artifacts,
            artifact_credentials=artifact_credentials,
            encryption_key=encryption_key,
        )
        with self._lock:
            if client_id not in self._tokens:
                raise ValueError("client_id: must be registered by register_client() first")
            action = Action(self)
            self._queue(action, client_id, data, offered_at=self._clock())
            return action

    def jobs_of(self, action: Action) -> tuple[Job, ...]:
        """Return the jobs of an action, oldest first."""
        with self._lock:
            return tuple(entry.job for entry in self._current() if entry.action is action)

    # --- the worker's side: the five operations

    def poll(self, action_type_id: ActionTypeId, max_batch_size: int | None) -> tuple[ThirdPartyJob, ...]:
        """Offer jobs of this action type that nobody has claimed, oldest first."""
        with self._lock:
            now = self._clock()
            waiting = (
                entry
                for entry in self._current()
                if entry.job.status in _UNCLAIMED
                and entry.offered_at <= now
                and entry.data.action_type_id == action_type_id
            )
            offered = list(itertools.islice(waiting, max_batch_size or _DEFAULT_BATCH_SIZE))
            for entry in offered:
                entry.job = attrs.evolve(entry.job, status=JobStatus.DISPATCHED)
                entry.offered_at = now + self._redelivery_delay
            return tuple(ThirdPartyJob(client_id=entry.client_id, job_id=entry.job.id) for entry in offered)

    def details(self, job_id: str, client_token: SecretStr) -> JobDetails:
        """Return the details of a job in whatever state it is."""
        with self._lock:
            entry = self._entry(job_id, client_token)
            return JobDetails(id=job_id, data=entry.data, nonce=entry.job.nonce)

    def acknowledge(self, job_id: str, nonce: str, client_token: SecretStr) -> JobStatus:
        """Give the job to the first caller that has its nonce."""
        with self._lock:
            entry = self._entry(job_id, client_token)
            if nonce != entry.job.nonce or entry.job.status not in _UNCLAIMED:
                raise RefusedError("InvalidNonceException", "The nonce is not valid for this job")
            entry.job = attrs.evolve(entry.job, status=JobStatus.IN_PROGRESS)
            return entry.job.status

    def put_success(self, job_id: str, client_token: SecretStr, success: Success) -> None:
        """End the job; with a continuation token queue the next one of its action."""
        with self._lock:
            entry = self._entry_in_progress(job_id, client_token)
            entry.job = attrs.evolve(entry.job, status=JobStatus.SUCCEEDED, result=success)
            if success.continuation_token is not None:
                data = attrs.evolve(entry.data, continuation_token=success.continuation_token)
                offered_at = self._clock() + self._continuation_delay
                self._queue(entry.action, entry.client_id, data, offered_at=offered_at)

    def put_failure(self, job_id: str, client_token: SecretStr, failure: FailureDetails) -> None:
        """End the job and its action."""
        with self._lock:
            entry = self._entry_in_progress(job_id, client_token)
            entry.job = attrs.evolve(entry.job, status=JobStatus.FAILED, result=failure)

    # --- inside the lock

    def _queue(self, action: Action, client_id: str, data: JobData, *, offered_at: float) -> None:
        job = Job(
            id=str(uuid.uuid4()),
            nonce=str(next(self._nonces)),
            status=JobStatus.QUEUED,
            continuation_token=data.continuation_token,
            result=None,
        )
        deadline = offered_at + self._job_timeout
        self._entries[job.id] = _Entry(
            job=job, action=action, client_id=client_id, data=data, offered_at=offered_at, deadline=deadline
        )

    def _current(self) -> Iterator[_Entry]:
        """Go through the jobs as they are now: time may have run out for some."""
        now = self._clock()
        for entry in self._entries.values():
            _time_out(entry, now)
            yield entry

    def _entry(self, job_id: str, client_token: SecretStr) -> _Entry:
        entry = self._entries.get(job_id)
        if entry is None:
            raise RefusedError("JobNotFoundException", "There is no such job")
        _time_out(entry, self._clock())
        if self._tokens[entry.client_id] != client_token:
            raise RefusedError("InvalidClientTokenException", "The client token does not belong to the job")
        return entry

    def _entry_in_progress(self, job_id: str, client_token: SecretStr) -> _Entry:
        entry = self._entry(job_id, client_token)
        if entry.job.status != JobStatus.IN_PROGRESS:
            raise RefusedError("InvalidJobStateException", f"The job is {entry.job.status}, not InProgress")
        return entry


def _time_out(entry: _Entry, now: float) -> None:
    if entry.deadline <= now and entry.job.status in (*_UNCLAIMED, JobStatus.IN_PROGRESS):
        entry.job = attrs.evolve(entry.job, status=JobStatus.TIMED_OUT)


def _context_of(action_type_id: ActionTypeId) -> PipelineContext:
    return PipelineContext(
        pipeline_name="local-pipeline",
        stage=StageContext(name="Local"),
        action=ActionContext(name=action_type_id.provider, action_execution_id=str(uuid.uuid4())),
    )
