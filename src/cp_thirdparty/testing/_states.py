"""
The clients, actions and jobs of the local CodePipeline, and how the operations change them.

This module does no I/O, and it reads the time only from the clock that is passed to it.  All methods are thread-safe.
"""

from __future__ import annotations

import itertools
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import cast

import attrs

from cp_thirdparty._base import limits
from cp_thirdparty.enums import ActionOwner, JobStatus
from cp_thirdparty.models import (
    ActionContext,
    ActionTypeId,
    ArtifactCredentials,
    CustomJob,
    CustomJobDetails,
    FailureDetails,
    JobData,
    JobDetails,
    PipelineContext,
    StageContext,
    ThirdPartyJob,
)
from cp_thirdparty.secrets import SecretStr
from cp_thirdparty.testing._artifact_credentials import CredentialIssuer, CredentialSource
from cp_thirdparty.testing._assumptions import Assumptions
from cp_thirdparty.testing._wire import RefusedError
from cp_thirdparty.testing.actions import Action, Job, Success
from cp_thirdparty.testing.clock import ManualClock

# The shortest wait in seconds.  A thread that waits for an action reads a real clock at most once in this time.
_SHORTEST_WAIT = 0.05
_DEFAULT = Assumptions()

# The AWS account of custom actions.
_ACCOUNT_ID = "111122223333"


@attrs.define(kw_only=True, eq=False)
class _Entry:
    """A job with its data and its times."""

    job: Job
    action: Action
    client_id: str | None
    data: JobData
    credentials: CredentialSource
    offered_at: float
    deadline: float

    @property
    def is_custom(self) -> bool:
        """Whether the job belongs to a custom action, which has no client."""
        return self.client_id is None


class States:
    """The clients, actions and jobs of the service."""

    def __init__(self, *, clock: Callable[[], float], assumptions: Assumptions = _DEFAULT) -> None:
        self._clock = clock
        self._assumed = assumptions
        self._issuer = CredentialIssuer(clock=clock, lifetime=assumptions.credential_lifetime)
        self._changed = threading.Condition(threading.RLock())
        self.version: int = 0  # it is increased with each change that a test can observe
        self._tokens: dict[str, SecretStr] = {}
        self._entries: dict[str, _Entry] = {}  # by job id
        self._unclaimed: dict[str, _Entry] = {}  # by job id, oldest first
        self._entries_of_action: dict[Action, list[_Entry]] = {}  # oldest first
        self._nonces = itertools.count(1)
        if isinstance(clock, ManualClock):
            clock.listen(self._note_change)

    # --- called by tests

    def register_client(self, client_id: str, client_token: str | SecretStr) -> None:
        """Register a client and its client token."""
        with self._changed:
            self._tokens[client_id] = SecretStr.wrap(client_token)

    def start_action(
        self, data: JobData, *, client_id: str | None = None, artifact_credentials: CredentialSource = None
    ) -> Action:
        """Queue the first job of a new action; raise `ValueError` if an argument does not fit the service."""
        action_type_id = cast("ActionTypeId", data.action_type_id)
        is_custom = action_type_id.owner == ActionOwner.CUSTOM
        if is_custom and client_id is not None:
            raise ValueError("client_id: must not be given for a custom action")
        if not self._has_action_type(action_type_id):
            raise ValueError("action_type_id: must be one of the action_types of the service")
        if data.pipeline_context is None:
            data = attrs.evolve(data, pipeline_context=self._create_context(action_type_id))
        with self._changed:
            if not is_custom and client_id not in self._tokens:
                raise ValueError("client_id: must be registered by register_client() first")
            action = Action(self)
            self._queue(action, client_id, data, artifact_credentials, offered_at=self._clock())
            return action

    def jobs_of(self, action: Action) -> tuple[Job, ...]:
        """Return the jobs of an action, oldest first."""
        with self._changed:
            now = self._clock()
            for entry in self._entries_of_action[action]:
                self._time_out(entry, now)
            return tuple(entry.job for entry in self._entries_of_action[action])

    def credentials_are_valid(self, credentials: ArtifactCredentials) -> bool:
        """Return whether the details of a job have contained these credentials, and they have not expired."""
        return self._issuer.is_valid(credentials)

    def wait_for_change(self, action: Action, version: int, timeout: float) -> None:
        """
        Wait until the version differs from ``version``, or until the timeout, in real seconds.

        With a real clock, the wait also ends when a job of the action times out.
        """
        with self._changed:
            if self.version == version:
                if not isinstance(self._clock, ManualClock):
                    timeout = min(timeout, self._seconds_to_timeout(action))
                self._changed.wait(timeout)

    # --- the operations; they raise `RefusedError` if the service refuses a request

    def poll(self, action_type_id: ActionTypeId, max_batch_size: int | None) -> tuple[ThirdPartyJob, ...]:
        """Offer jobs of this action type that no worker has claimed, oldest first."""
        with self._changed:
            offered = self._offer(action_type_id, max_batch_size, {}, is_custom=False)
            return tuple(ThirdPartyJob(client_id=entry.client_id or "", job_id=entry.job.id) for entry in offered)

    def poll_custom(
        self, action_type_id: ActionTypeId, max_batch_size: int | None, query_param: Mapping[str, str]
    ) -> tuple[CustomJob, ...]:
        """Offer jobs of a custom action whose configuration has these values, with new credentials."""
        with self._changed:
            offered = self._offer(action_type_id, max_batch_size, query_param, is_custom=True)
            found = [(entry, self._renew_nonce(entry)) for entry in offered]
        return tuple(
            CustomJob(id=entry.job.id, data=self._create_data(entry), nonce=nonce, account_id=_ACCOUNT_ID)
            for entry, nonce in found
        )

    def details(self, job_id: str, client_token: SecretStr) -> JobDetails:
        """Return the details of a job, with new credentials."""
        with self._changed:
            entry = self._find_readable_entry(job_id, client_token)
            nonce = self._renew_nonce(entry)
        return JobDetails(id=job_id, data=self._create_data(entry), nonce=nonce)

    def custom_details(self, job_id: str) -> CustomJobDetails:
        """Return the details of a custom job, with new credentials."""
        with self._changed:
            entry = self._find_readable_entry(job_id, None)
        return CustomJobDetails(id=job_id, data=self._create_data(entry), account_id=_ACCOUNT_ID)

    def acknowledge(self, job_id: str, nonce: str, client_token: SecretStr | None) -> JobStatus:
        """Assign the job to the first caller that sends its nonce; a custom job has no client token."""
        with self._changed:
            entry = self._find_entry(job_id, client_token)
            if nonce != entry.job.nonce or not entry.job.is_unclaimed:
                raise RefusedError("InvalidNonceException", "The nonce is not valid for this job")
            self._set_status(entry, status=JobStatus.IN_PROGRESS)
            return entry.job.status

    def put_success(self, job_id: str, client_token: SecretStr | None, success: Success) -> None:
        """End the job; if there is a continuation token, queue the next job of the action."""
        with self._changed:
            entry = self._find_entry_in_progress(job_id, client_token)
            if success.output_variables and success.continuation_token is not None:
                raise RefusedError("ValidationException", "outputVariables must not be sent with a continuationToken")
            if limits.check_output_variables(success.output_variables) is not None:
                raise RefusedError("OutputVariablesSizeExceededException", "The output variables are too large")
            self._set_status(entry, status=JobStatus.SUCCEEDED, result=success)
            if success.continuation_token is not None:
                data = attrs.evolve(entry.data, continuation_token=success.continuation_token)
                offered_at = self._clock() + self._assumed.continuation_delay
                self._queue(entry.action, entry.client_id, data, entry.credentials, offered_at=offered_at)

    def put_failure(self, job_id: str, client_token: SecretStr | None, failure: FailureDetails) -> None:
        """End the job and its action."""
        with self._changed:
            entry = self._find_entry_in_progress(job_id, client_token)
            self._set_status(entry, status=JobStatus.FAILED, result=failure)

    # --- methods that are called while the lock is held

    def _queue(
        self, action: Action, client_id: str | None, data: JobData, credentials: CredentialSource, *, offered_at: float
    ) -> None:
        job = Job(
            id=str(uuid.uuid4()),
            nonce=str(next(self._nonces)),
            status=JobStatus.QUEUED,
            continuation_token=data.continuation_token,
            result=None,
        )
        entry = _Entry(
            job=job,
            action=action,
            client_id=client_id,
            data=data,
            credentials=credentials,
            offered_at=offered_at,
            deadline=offered_at
            + (self._assumed.custom_job_timeout if client_id is None else self._assumed.job_timeout),
        )
        self._entries[job.id] = self._unclaimed[job.id] = entry
        self._entries_of_action.setdefault(action, []).append(entry)
        self._note_change()

    def _note_change(self) -> None:
        """Increase the version, and wake the threads that wait for a change."""
        with self._changed:
            self.version += 1
            self._changed.notify_all()

    def _set_status(self, entry: _Entry, *, status: JobStatus, result: Success | FailureDetails | None = None) -> None:
        entry.job = attrs.evolve(entry.job, status=status, result=result)
        self._unclaimed.pop(entry.job.id, None)
        self._note_change()

    def _offer(
        self,
        action_type_id: ActionTypeId,
        max_batch_size: int | None,
        query_param: Mapping[str, str],
        *,
        is_custom: bool,
    ) -> list[_Entry]:
        if (action_type_id.owner == ActionOwner.CUSTOM) is not is_custom:
            raise RefusedError(
                self._assumed.wrong_owner_error, f"Jobs of the owner {action_type_id.owner} have other operations"
            )
        if not self._has_action_type(action_type_id):
            raise RefusedError("ActionTypeNotFoundException", "There is no such action type")
        now = self._clock()
        due = self._find_due(action_type_id, query_param, now)
        offered = list(itertools.islice(due, max_batch_size or self._assumed.default_batch_size))
        for entry in offered:
            entry.job = attrs.evolve(entry.job, status=JobStatus.DISPATCHED)
            entry.offered_at = now + self._assumed.redelivery_delay
        if offered:
            self._note_change()
        return offered

    def _renew_nonce(self, entry: _Entry) -> str:
        if entry.job.is_unclaimed and not self._assumed.stable_nonce:
            entry.job = attrs.evolve(entry.job, nonce=str(next(self._nonces)))
        return entry.job.nonce

    def _has_action_type(self, action_type_id: ActionTypeId) -> bool:
        return self._assumed.action_types is None or action_type_id in self._assumed.action_types

    def _find_due(self, action_type_id: ActionTypeId, query_param: Mapping[str, str], now: float) -> Iterator[_Entry]:
        wanted = {key: SecretStr(value) for key, value in query_param.items()}
        for entry in tuple(self._unclaimed.values()):
            self._time_out(entry, now)
            is_wanted = all(entry.data.configuration.get(key) == value for key, value in wanted.items())
            if (
                entry.job.is_unclaimed
                and entry.offered_at <= now
                and entry.data.action_type_id == action_type_id
                and is_wanted
            ):
                yield entry

    def _find_entry(self, job_id: str, client_token: SecretStr | None) -> _Entry:
        entry = self._entries.get(job_id)
        if entry is None or entry.is_custom is not (client_token is None):
            raise RefusedError("JobNotFoundException", "There is no such job")
        self._time_out(entry, self._clock())
        if entry.client_id is not None and self._tokens[entry.client_id] != client_token:
            raise RefusedError("InvalidClientTokenException", "The client token does not belong to the job")
        return entry

    def _find_readable_entry(self, job_id: str, client_token: SecretStr | None) -> _Entry:
        entry = self._find_entry(job_id, client_token)
        is_readable = (
            self._assumed.readable_after_end if entry.job.has_ended else self._assumed.readable_after_acknowledgement
        )
        if not (entry.job.is_unclaimed or is_readable):
            code = "JobNotFoundException" if entry.is_custom else "InvalidJobException"
            raise RefusedError(code, f"The job is {entry.job.status} and cannot be read any more")
        return entry

    def _find_entry_in_progress(self, job_id: str, client_token: SecretStr | None) -> _Entry:
        entry = self._find_entry(job_id, client_token)
        if entry.job.status != JobStatus.IN_PROGRESS:
            raise RefusedError("InvalidJobStateException", f"The job is {entry.job.status}, not InProgress")
        return entry

    def _time_out(self, entry: _Entry, now: float) -> None:
        if entry.deadline <= now and not entry.job.has_ended:
            self._set_status(entry, status=JobStatus.TIMED_OUT)

    def _seconds_to_timeout(self, action: Action) -> float:
        """Return the seconds until the next job of an action times out; a very large number if all have ended."""
        now = self._clock()
        remaining = [entry.deadline - now for entry in self._entries_of_action[action] if not entry.job.has_ended]
        return max(min(remaining, default=threading.TIMEOUT_MAX), _SHORTEST_WAIT)

    # --- methods that are called while the lock is not held

    def _create_data(self, entry: _Entry) -> JobData:
        """Return the data of a job with new credentials.  A function of the test may create them, and may be slow."""
        return attrs.evolve(entry.data, artifact_credentials=self._issuer.issue(entry.credentials))

    def _create_context(self, action_type_id: ActionTypeId) -> PipelineContext:
        name = "local-pipeline"
        is_custom = action_type_id.owner == ActionOwner.CUSTOM  # only its jobs have an ARN and an execution id
        return PipelineContext(
            pipeline_name=name,
            stage=StageContext(name="Local"),
            action=ActionContext(name=action_type_id.provider, action_execution_id=str(uuid.uuid4())),
            pipeline_arn=f"arn:aws:codepipeline:us-east-1:{_ACCOUNT_ID}:{name}" if is_custom else None,
            pipeline_execution_id=str(uuid.uuid4()) if is_custom else None,
        )
