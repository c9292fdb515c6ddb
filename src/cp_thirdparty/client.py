"""`ThirdPartyJobClient`: one botocore call per operation, typed models, errors of this library."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Generator
from types import TracebackType
from typing import TypeVar

import botocore.session
from botocore.client import BaseClient
from botocore.config import Config
from typing_extensions import Self

from cp_thirdparty._core import events, operations
from cp_thirdparty._core.backoff import FATAL, PollPace
from cp_thirdparty._core.facts import unsent_facts
from cp_thirdparty._core.operations import Request
from cp_thirdparty._core.send import JobClientBase, is_codepipeline, send_request
from cp_thirdparty._core.settings import Boto3Session, check_settings, create_botocore_client, is_session, own_config
from cp_thirdparty.enums import JobStatus
from cp_thirdparty.exceptions import InvalidRequestError, ThirdPartyError
from cp_thirdparty.models import (
    ActionTypeId,
    CurrentRevision,
    ExecutionDetails,
    FailureDetails,
    JobDetails,
    ThirdPartyJob,
)
from cp_thirdparty.secrets import SecretStr
from cp_thirdparty.telemetry import CallRecord

__all__ = ["ThirdPartyJobClient"]

_T = TypeVar("_T")

_clock = time.monotonic
_sleep = time.sleep
# Seconds between two looks at whether the client was closed.
_TICK = 0.25


class ThirdPartyJobClient(JobClientBase):
    """
    Call the five operations of CodePipeline's third-party jobs.

    Create one with `create()`, or wrap an existing client: ``ThirdPartyJobClient(boto3.client("codepipeline"))``.
    Thread-safe: share one between threads.  A context manager, which closes only what `create()` made.

    Besides the errors that it lists, every method raises:

    * `cp_thirdparty.exceptions.InvalidRequestError`: a parameter breaks a rule; nothing was sent.
    * `cp_thirdparty.exceptions.TransportError`: no usable response arrived; see its ``is_retry_safe``.
    * `cp_thirdparty.exceptions.CredentialsError`, `cp_thirdparty.exceptions.AccessDeniedError`: the credentials are
      missing, invalid or not authorized.
    * `cp_thirdparty.exceptions.ThrottledError`, `cp_thirdparty.exceptions.ServiceError`: CodePipeline returned an
      error.

    After a fork a child process gets connections of its own at its first call.

    Args:
        client: A CodePipeline client of botocore or boto3.  Its configuration is left unchanged.  Its five third-party
            operations get the checks of responses that this library's own clients have; nothing else of it changes.

        deadline: Seconds, more than 0, that a call may take with all its attempts; ``None`` for no limit.  Looking up
            the host's name is not bounded by it.  The pause before one more attempt may exceed it by a second, and
            connecting to a host with several addresses by botocore's ``connect_timeout``.

        wire_logs: ``True`` to let botocore write the requests and responses of this client, secrets included, into its
            DEBUG log.

        on_call: Called with a `cp_thirdparty.telemetry.CallRecord` after each call that was sent, in the thread of the
            call.  What it raises is logged and dropped.

    Raises:
        cp_thirdparty.exceptions.InvalidRequestError: It is not a CodePipeline client, or a setting breaks a rule.
    """

    def __init__(
        self,
        client: BaseClient,
        *,
        deadline: float | None = 60.0,
        wire_logs: bool = False,
        on_call: Callable[[CallRecord], object] | None = None,
    ) -> None:
        if not is_codepipeline(client, is_async=False):
            raise InvalidRequestError("client", "must be a CodePipeline client of botocore or boto3")
        super().__init__(deadline=deadline, wire_logs=wire_logs, on_call=on_call)
        self._client = client
        self._rebuild: Callable[[], BaseClient | ThirdPartyError] | None = None
        self._process_id = os.getpid()
        self._is_closed = False
        events.install(client)

    @classmethod
    def create(
        cls,
        *,
        region_name: str | None = None,
        profile_name: str | None = None,
        endpoint_url: str | None = None,
        verify: bool | str | os.PathLike[str] | None = None,
        sign_request: bool = True,
        connect_timeout: float | None = 5.0,
        read_timeout: float | None = 20.0,
        deadline: float | None = 60.0,
        session: botocore.session.Session | Boto3Session | None = None,
        config: Config | None = None,
        wire_logs: bool = False,
        on_call: Callable[[CallRecord], object] | None = None,
    ) -> Self:
        """
        Create a client with a botocore client of its own.

        botocore's *standard* retry mode resends requests, connections are kept alive, and parameters are
        checked here rather than by botocore, whose errors print values.

        Args:
            region_name: AWS region; by default, that of the environment or the profile.

            profile_name: Profile of the AWS configuration; by default, that of the environment.

            endpoint_url: URL of another endpoint, such as a VPC endpoint or a local service.

            verify: ``False`` to trust any TLS certificate, or the path of a CA bundle; ``None`` for the AWS
                configuration's own.

            sign_request: ``False`` to send requests unsigned, without loading credentials.

            connect_timeout: Seconds, more than 0, for a connection to be made; ``None`` for no limit.

            read_timeout: Seconds, more than 0, between two pieces of a response; ``None`` for no limit.

            deadline: Seconds for a call with all its attempts, as for the class.

            session: A botocore or boto3 session to use instead of a new one.

            config: Botocore settings; these take precedence over the other arguments.

            wire_logs: As for the class.

            on_call: As for the class.

        Raises:
            cp_thirdparty.exceptions.InvalidRequestError: A setting breaks a rule, or no region is known.

            cp_thirdparty.exceptions.CredentialsError: The AWS credentials cannot be loaded.
        """
        refused = check_settings(
            endpoint_url=endpoint_url,
            verify=verify,
            connect_timeout=connect_timeout,
            read_timeout=read_timeout,
            profile_name=profile_name,
            session=session,
        )
        if refused is None and session is not None and not is_session(session):
            refused = InvalidRequestError("session", "must be a botocore or boto3 session")
        if refused is not None:
            raise refused
        settings = own_config(connect_timeout=connect_timeout, read_timeout=read_timeout, sign_request=sign_request)
        make = functools.partial(
            create_botocore_client,
            session,
            profile_name,
            region_name=region_name,
            endpoint_url=endpoint_url,
            verify=os.fspath(verify) if isinstance(verify, os.PathLike) else verify,
            config=settings.merge(config) if config is not None else settings,
        )
        client = make()
        if isinstance(client, ThirdPartyError):
            raise client
        self = cls(client, deadline=deadline, wire_logs=wire_logs, on_call=on_call)
        self._rebuild = make
        return self

    def poll_for_third_party_jobs(
        self, action_type_id: ActionTypeId, *, max_batch_size: int | None = None
    ) -> tuple[ThirdPartyJob, ...]:
        """
        Ask for jobs that wait for a worker.

        A job that is not acknowledged is offered again after a while, about 30 seconds.  AWS documents no time; this is
        what AWS's own Jenkins plug-in waits.

        Args:
            action_type_id: The action type whose jobs are wanted.

            max_batch_size: The most jobs to return, at least 1; ``None`` leaves it to the service.

        Returns:
            The jobs, or an empty tuple when none waits.

        Raises:
            cp_thirdparty.exceptions.ActionTypeNotFoundException: There is no such action type for the caller.

            cp_thirdparty.exceptions.ResponseDecodeError: The response does not have the service's shape.
        """
        return self._call(operations.poll_for_third_party_jobs(action_type_id, max_batch_size=max_batch_size))

    def get_third_party_job_details(self, job_id: str, *, client_token: str | SecretStr) -> JobDetails:
        """
        Read the details of a job: what to do, with which artifacts, and the credentials for them.

        Reading changes nothing, and reading again brings new credentials.

        Args:
            job_id: The id of the job, 1 to 512 characters.

            client_token: The token that belongs to the job's client id, 1 to 256 characters.

        Raises:
            cp_thirdparty.exceptions.JobNotFoundException: There is no such job, or no longer.

            cp_thirdparty.exceptions.InvalidClientTokenException: The token is not this client's.

            cp_thirdparty.exceptions.InvalidJobException: The job cannot be read.

            cp_thirdparty.exceptions.ResponseDecodeError: The response does not have the service's shape.
        """
        request = operations.get_third_party_job_details(job_id, client_token=client_token)
        del client_token  # from here on only `request` has it, hidden: this frame is in every traceback
        return self._call(request)

    def acknowledge_third_party_job(self, job_id: str, *, nonce: str, client_token: str | SecretStr) -> JobStatus:
        """
        Claim a job.  Work on it only if the result is `JobStatus.IN_PROGRESS`.

        Args:
            job_id: The id of the job, 1 to 512 characters.

            nonce: The nonce of the job's details, 1 to 50 characters.

            client_token: The token that belongs to the job's client id, 1 to 256 characters.

        Raises:
            cp_thirdparty.exceptions.InvalidNonceException: Another worker has the job.  Drop it and report nothing.
                If an acknowledgement of this process failed before with an ``is_retry_safe`` of ``None``, the job is
                most probably yours instead.

            cp_thirdparty.exceptions.JobNotFoundException: There is no such job, or no longer.

            cp_thirdparty.exceptions.InvalidClientTokenException: The token is not this client's.

            cp_thirdparty.exceptions.ResponseDecodeError: The response does not have the service's shape.
        """
        request = operations.acknowledge_third_party_job(job_id, nonce=nonce, client_token=client_token)
        del client_token  # `request` hides it, and this frame is in every traceback
        return self._call(request)

    def put_third_party_job_success_result(
        self,
        job_id: str,
        *,
        client_token: str | SecretStr,
        continuation_token: str | None = None,
        current_revision: CurrentRevision | None = None,
        execution_details: ExecutionDetails | None = None,
    ) -> None:
        """
        Report that a job has succeeded.

        With a continuation token only this job ends: the action goes on, and a later poll brings a new job that carries
        the token.

        Args:
            job_id: The id of the job, 1 to 512 characters.

            client_token: The token that belongs to the job's client id, 1 to 256 characters.

            continuation_token: What the next job of this action needs to go on, 1 to 2,048 characters.  It is not
                treated as a secret.

            current_revision: The revision that the job has produced.

            execution_details: What the customer's console shows.

        Raises:
            cp_thirdparty.exceptions.InvalidJobStateException: The job has a result already, or was never acknowledged.

            cp_thirdparty.exceptions.JobNotFoundException: There is no such job, or no longer.

            cp_thirdparty.exceptions.InvalidClientTokenException: The token is not this client's.
        """
        request = operations.put_third_party_job_success_result(
            job_id,
            client_token=client_token,
            continuation_token=continuation_token,
            current_revision=current_revision,
            execution_details=execution_details,
        )
        del client_token  # `request` hides it, and this frame is in every traceback
        self._call(request)

    def put_third_party_job_failure_result(
        self, job_id: str, *, client_token: str | SecretStr, failure_details: FailureDetails
    ) -> None:
        """
        Report that a job has failed, which ends its action.

        Args:
            job_id: The id of the job, 1 to 512 characters.

            client_token: The token that belongs to the job's client id, 1 to 256 characters.

            failure_details: Why.

        Raises:
            cp_thirdparty.exceptions.InvalidJobStateException: The job has a result already, or was never acknowledged.

            cp_thirdparty.exceptions.JobNotFoundException: There is no such job, or no longer.

            cp_thirdparty.exceptions.InvalidClientTokenException: The token is not this client's.
        """
        request = operations.put_third_party_job_failure_result(
            job_id, client_token=client_token, failure_details=failure_details
        )
        del client_token  # `request` hides it, and this frame is in every traceback
        self._call(request)

    def iter_third_party_jobs(
        self, action_type_id: ActionTypeId, *, max_batch_size: int = 1, poll_interval: float = 5.0
    ) -> Generator[ThirdPartyJob, None, None]:
        """
        Poll until stopped, and yield each job.

        ``for job in client.iter_third_party_jobs(mine):`` polls when the loop asks for a job and those of the last poll
        are used up, so it does not poll while the loop is busy.  It pauses after a poll without a job.  While polls
        fail it pauses for longer, up to a minute, and logs each failure as a warning.  CodePipeline offers a job that
        is not acknowledged again.

        ``break`` ends it.  `close()`, from another thread or from a signal handler, ends a pause within a quarter of a
        second, and the iterator raises an InvalidRequestError instead of polling.  An iterator is not thread-safe: make
        one in each thread.

        Args:
            action_type_id: The action type whose jobs are wanted.

            max_batch_size: The most jobs of one poll, at least 1.  CodePipeline offers jobs that are not acknowledged
                to other workers after about 30 seconds, so ask for as many as you can begin.

            poll_interval: Seconds, more than 0, between two polls when no job waits; each pause is up to a fifth
                shorter or longer, so that many workers do not poll at once.

        Raises:
            cp_thirdparty.exceptions.ActionTypeNotFoundException: There is no such action type for the caller.

            cp_thirdparty.exceptions.AccessDeniedError: The caller may not poll.

            cp_thirdparty.exceptions.InvalidRequestError: A parameter breaks a rule, or the client was closed.

        .. versionadded:: 0.2.0
        """
        pace = PollPace(max_batch_size=max_batch_size, poll_interval=poll_interval)
        while True:
            self._refuse_if_closed()
            jobs: tuple[ThirdPartyJob, ...] = ()
            try:
                jobs = self.poll_for_third_party_jobs(action_type_id, max_batch_size=max_batch_size)
            except FATAL:
                raise
            except ThirdPartyError as failure:
                pace.note_failure(failure)
            else:
                pace.note_success()
            yield from jobs[:max_batch_size]
            if not jobs:
                self._pause(pace.pause())

    def close(self) -> None:
        """
        Close the connections of a client that `create()` made; leave a wrapped client alone.

        It ends the iterators of `iter_third_party_jobs()`.
        """
        if self._rebuild is not None:
            self._is_closed = True
            self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._client.meta.endpoint_url}>"

    def _refuse_if_closed(self) -> None:
        if self._is_closed:
            facts = unsent_facts("PollForThirdPartyJobs", None)
            raise InvalidRequestError("client", "must be open: it was closed while jobs were polled", **facts)

    def _pause(self, seconds: float) -> None:
        ends_at = _clock() + seconds
        while not self._is_closed and (left := ends_at - _clock()) > 0:
            _sleep(min(left, _TICK))

    def _call(self, request: Request[_T]) -> _T:
        call = self._start_call(request)
        return self._finish_call(request, call, send_request(self._open_client(), request, call))

    def _open_client(self) -> BaseClient:
        if self._process_id != os.getpid():
            self._leave_parent()
        return self._client

    def _leave_parent(self) -> None:
        """In the child of a fork: the connections belong to the parent, so get others."""
        client = None if self._rebuild is None else self._rebuild()
        if isinstance(client, BaseClient):
            events.install(client)
            self._client = client
        else:
            self._client.close()
        self._process_id = os.getpid()
