"""`ThirdPartyJobClient` and `CustomJobClient`: one botocore call per operation, with typed models and errors."""

from __future__ import annotations

import functools
from collections.abc import Generator, Mapping
from datetime import timedelta

from cp_thirdparty._core.blocking_client import BlockingClient
from cp_thirdparty._core.operations import CUSTOM, THIRD_PARTY
from cp_thirdparty.enums import JobStatus
from cp_thirdparty.models import (
    ActionTypeId,
    CurrentRevision,
    CustomJob,
    CustomJobDetails,
    ExecutionDetails,
    FailureDetails,
    JobDetails,
    ThirdPartyJob,
)
from cp_thirdparty.secrets import SecretStr

__all__ = ["CustomJobClient", "ThirdPartyJobClient"]


class ThirdPartyJobClient(BlockingClient):
    """
    Call the five operations of CodePipeline's third-party jobs.

    Create one with `create()`, or wrap an existing client: ``ThirdPartyJobClient(boto3.client("codepipeline"))``.
    Thread-safe.  A context manager, which closes a client that `create()` returned, but not a wrapped client.

    Besides the errors in its own list, each method raises:

    * `cp_thirdparty.exceptions.InvalidRequestError`: a parameter breaks a rule; nothing was sent.
    * `cp_thirdparty.exceptions.TransportError`: no usable response arrived; see its ``is_retry_safe``.
    * `cp_thirdparty.exceptions.CredentialsError`, `cp_thirdparty.exceptions.AccessDeniedError`: the credentials are
      missing, invalid or not authorized.
    * `cp_thirdparty.exceptions.ThrottledError`, `cp_thirdparty.exceptions.ServiceError`: CodePipeline returned an
      error.

    A forked child process opens its own connections at its first call.

    Args:
        client: A CodePipeline client of botocore or boto3.  Its configuration is left unchanged.  Responses are checked
            only for calls through this class.  Your direct calls of the wrapped client behave as before.
        deadline: Seconds or a ``timedelta``, more than 0, that a call may take with all its attempts; ``None`` for no
            limit.  A DNS lookup may take longer.  A pause before an attempt may exceed the limit by a
            second, and connecting to a host with several addresses may exceed it by ``connect_timeout``.
        wire_logs: ``True`` to let botocore write the requests and responses of this client, secrets included, into its
            DEBUG log.
        on_call: Called with a `cp_thirdparty.telemetry.CallRecord` after each call, even if no request could be sent,
            in the thread of the call.  It is not called if a parameter breaks a rule.  Its exceptions are logged and
            ignored.

    Raises:
        cp_thirdparty.exceptions.InvalidRequestError: The client is not a CodePipeline client, or a setting breaks
            a rule.
    """

    _operations = THIRD_PARTY

    def poll_for_third_party_jobs(
        self, action_type_id: ActionTypeId, *, max_batch_size: int | None = None
    ) -> tuple[ThirdPartyJob, ...]:
        """
        Ask for jobs that wait for a worker.

        If no worker acknowledges a job, CodePipeline offers it again after about 30 seconds.  AWS does not document
        this time, but its own Jenkins plug-in waits that long.

        Args:
            action_type_id: The action type of the jobs to return.
            max_batch_size: Maximum number of jobs to return, at least 1; ``None`` for the default of the service.

        Returns:
            The jobs; an empty tuple if no job waits.

        Raises:
            cp_thirdparty.exceptions.ActionTypeNotFoundException: There is no such action type for the caller.
            cp_thirdparty.exceptions.ResponseDecodeError: The response does not match CodePipeline's API: a member
                is missing or has a wrong type.
        """
        return self._call(THIRD_PARTY.request_poll(action_type_id, max_batch_size=max_batch_size))

    def get_third_party_job_details(self, job_id: str, *, client_token: str | SecretStr) -> JobDetails:
        """
        Return the details of a job: its configuration, its artifacts, and new credentials for the artifacts.

        This does not change the job.

        Args:
            job_id: The id of the job, 1 to 512 characters.
            client_token: The token that belongs to the job's client id, 1 to 256 characters.

        Raises:
            cp_thirdparty.exceptions.JobNotFoundException: The job does not exist or no longer exists.
            cp_thirdparty.exceptions.InvalidClientTokenException: The client token does not belong to the job.
            cp_thirdparty.exceptions.InvalidJobException: The job id is not valid, or the job was not found.
            cp_thirdparty.exceptions.ResponseDecodeError: The response does not match CodePipeline's API: a member
                is missing or has a wrong type.
        """
        request = THIRD_PARTY.request_details(job_id, client_token=client_token)
        del client_token  # tracebacks of errors have this frame; `request` keeps the token as a `SecretStr`
        return self._call(request)

    def acknowledge_third_party_job(self, job_id: str, *, nonce: str, client_token: str | SecretStr) -> JobStatus:
        """
        Claim a job.  Work on it only if the result is `JobStatus.IN_PROGRESS`.

        Args:
            job_id: The id of the job, 1 to 512 characters.
            nonce: The nonce of the job's details, 1 to 50 characters.
            client_token: The token that belongs to the job's client id, 1 to 256 characters.

        Raises:
            cp_thirdparty.exceptions.InvalidNonceException: Another worker has claimed the job: do not process it and
                report no result.  Exception: an earlier acknowledgement by this process failed with
                ``is_retry_safe=None``.  Then this process has probably claimed the job, so process it.
            cp_thirdparty.exceptions.JobNotFoundException: The job does not exist or no longer exists.
            cp_thirdparty.exceptions.InvalidClientTokenException: The client token does not belong to the job.
            cp_thirdparty.exceptions.ResponseDecodeError: The response does not match CodePipeline's API: a member
                is missing or has a wrong type.
        """
        request = THIRD_PARTY.request_claim(job_id, nonce=nonce, client_token=client_token)
        del client_token  # tracebacks of errors have this frame; `request` keeps the token as a `SecretStr`
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

        With a continuation token, the action continues after this job: a later poll returns a new job that has the
        token.

        Args:
            job_id: The id of the job, 1 to 512 characters.
            client_token: The token that belongs to the job's client id, 1 to 256 characters.
            continuation_token: A string for the next job of this action, 1 to 2,048 characters.  It is not treated as a
                secret.
            current_revision: The revision that the job has produced.
            execution_details: The progress that the customer's console shows.

        Raises:
            cp_thirdparty.exceptions.InvalidJobStateException: The job has a result already, or was never acknowledged.
            cp_thirdparty.exceptions.JobNotFoundException: The job does not exist or no longer exists.
            cp_thirdparty.exceptions.InvalidClientTokenException: The client token does not belong to the job.
        """
        request = THIRD_PARTY.request_success(
            job_id,
            client_token=client_token,
            continuation_token=continuation_token,
            current_revision=current_revision,
            execution_details=execution_details,
        )
        del client_token  # tracebacks of errors have this frame; `request` keeps the token as a `SecretStr`
        self._call(request)

    def put_third_party_job_failure_result(
        self, job_id: str, *, client_token: str | SecretStr, failure_details: FailureDetails
    ) -> None:
        """
        Report that a job has failed, which ends its action.

        Args:
            job_id: The id of the job, 1 to 512 characters.
            client_token: The token that belongs to the job's client id, 1 to 256 characters.
            failure_details: Why it failed.

        Raises:
            cp_thirdparty.exceptions.InvalidJobStateException: The job has a result already, or was never acknowledged.
            cp_thirdparty.exceptions.JobNotFoundException: The job does not exist or no longer exists.
            cp_thirdparty.exceptions.InvalidClientTokenException: The client token does not belong to the job.
        """
        request = THIRD_PARTY.request_failure(job_id, client_token=client_token, failure_details=failure_details)
        del client_token  # tracebacks of errors have this frame; `request` keeps the token as a `SecretStr`
        self._call(request)

    def iter_third_party_jobs(
        self, action_type_id: ActionTypeId, *, max_batch_size: int = 1, poll_interval: float | timedelta = 5.0
    ) -> Generator[ThirdPartyJob, None, None]:
        """
        Poll until stopped, and yield each job.

        ``for job in client.iter_third_party_jobs(action_type_id):`` polls only when the loop needs another job and
        every job of the last poll was yielded.  It does not poll while the loop body runs.  It pauses after a poll
        without a job, and longer after failed polls, up to a minute.  It logs each failure as a warning.

        ``break`` ends the loop.  `close()`, from another thread or from a signal handler, ends a pause within a quarter
        of a second, and the iterator raises an InvalidRequestError instead of polling.  An iterator is not thread-safe:
        create one in each thread.

        Args:
            action_type_id: The action type of the jobs to return.
            max_batch_size: Maximum number of jobs of one poll, at least 1.  After about 30 seconds, CodePipeline offers
                each unacknowledged job again, also to other workers.  So request only as many jobs as you can start.
            poll_interval: Seconds or a ``timedelta``, more than 0, between two polls when no job waits; each pause has
                a jitter of ±20 %, so that many workers do not poll at the same time.

        Raises:
            cp_thirdparty.exceptions.ActionTypeNotFoundException: There is no such action type for the caller.
            cp_thirdparty.exceptions.AccessDeniedError: The caller may not poll.
            cp_thirdparty.exceptions.InvalidRequestError: A parameter breaks a rule, or the client was closed.

        .. versionadded:: 0.2.0
        """
        return self._iterate(
            functools.partial(self.poll_for_third_party_jobs, action_type_id, max_batch_size=max_batch_size),
            max_batch_size=max_batch_size,
            poll_interval=poll_interval,
        )


class CustomJobClient(BlockingClient):
    """
    Call the five operations for jobs of custom actions, which you register in your own AWS account.

    Only the operations differ from those of `cp_thirdparty.ThirdPartyJobClient`: there is no client token, a poll
    returns the data of jobs, and a success may have output variables.  Each method also raises the errors that
    `cp_thirdparty.ThirdPartyJobClient` lists for each method.

    The arguments of the class and of `create()` are those of `cp_thirdparty.ThirdPartyJobClient`.

    .. versionadded:: 0.2.0
    """

    _operations = CUSTOM

    def poll_for_jobs(
        self,
        action_type_id: ActionTypeId,
        *,
        max_batch_size: int | None = None,
        query_param: Mapping[str, str] | None = None,
    ) -> tuple[CustomJob, ...]:
        """
        Ask for jobs that wait for a worker.

        Args:
            action_type_id: The action type of the jobs to return.
            max_batch_size: Maximum number of jobs to return, at least 1; ``None`` for the default of the service.
            query_param: A mapping with at most one entry: the queryable key of the action type's configuration, and the
                value that the jobs must have for it.  ``None`` for any job.

        Returns:
            The jobs; an empty tuple if no job waits.

        Raises:
            cp_thirdparty.exceptions.ActionTypeNotFoundException: There is no such action type for the caller.
            cp_thirdparty.exceptions.ResponseDecodeError: The response does not match CodePipeline's API: a member
                is missing or has a wrong type.
        """
        request = CUSTOM.request_poll(action_type_id, max_batch_size=max_batch_size, query_param=query_param)
        return self._call(request)

    def get_job_details(self, job_id: str) -> CustomJobDetails:
        """
        Return the details of a job, with new credentials for its artifacts.

        Raises:
            cp_thirdparty.exceptions.JobNotFoundException: The job does not exist or no longer exists.
            cp_thirdparty.exceptions.ResponseDecodeError: The response does not match CodePipeline's API: a member
                is missing or has a wrong type.
        """
        return self._call(CUSTOM.request_details(job_id))

    def acknowledge_job(self, job_id: str, *, nonce: str) -> JobStatus:
        """
        Claim a job.  Work on it only if the result is `JobStatus.IN_PROGRESS`.

        Args:
            job_id: The id of the job, 1 to 512 characters.
            nonce: The nonce of the job that a poll returned, 1 to 50 characters.

        Raises:
            cp_thirdparty.exceptions.InvalidNonceException: As for
                `cp_thirdparty.ThirdPartyJobClient.acknowledge_third_party_job`.
            cp_thirdparty.exceptions.JobNotFoundException: The job does not exist or no longer exists.
            cp_thirdparty.exceptions.ResponseDecodeError: The response does not match CodePipeline's API: a member
                is missing or has a wrong type.
        """
        return self._call(CUSTOM.request_claim(job_id, nonce=nonce))

    def put_job_success_result(
        self,
        job_id: str,
        *,
        continuation_token: str | None = None,
        current_revision: CurrentRevision | None = None,
        execution_details: ExecutionDetails | None = None,
        output_variables: Mapping[str, str] | None = None,
    ) -> None:
        """
        Report that a job has succeeded.

        With a continuation token, the action continues after this job: a later poll returns a new job that has the
        token.

        Args:
            job_id: The id of the job, 1 to 512 characters.
            continuation_token: A string for the next job of this action, 1 to 2,048 characters.  It is not treated as a
                secret.
            current_revision: The revision that the job has produced.
            execution_details: The progress that the console shows.
            output_variables: Values by name for the configuration of later actions, at most 122,880 bytes together.
                They cannot be combined with a continuation token, and are not treated as secrets.

        Raises:
            cp_thirdparty.exceptions.InvalidJobStateException: The job has a result already, or was never acknowledged.
            cp_thirdparty.exceptions.JobNotFoundException: The job does not exist or no longer exists.
            cp_thirdparty.exceptions.OutputVariablesSizeExceededException: The total size of the variables is too large.
        """
        request = CUSTOM.request_success(
            job_id,
            continuation_token=continuation_token,
            current_revision=current_revision,
            execution_details=execution_details,
            output_variables=output_variables,
        )
        self._call(request)

    def put_job_failure_result(self, job_id: str, *, failure_details: FailureDetails) -> None:
        """
        Report that a job has failed, which ends its action.

        Raises:
            cp_thirdparty.exceptions.InvalidJobStateException: The job has a result already, or was never acknowledged.
            cp_thirdparty.exceptions.JobNotFoundException: The job does not exist or no longer exists.
        """
        self._call(CUSTOM.request_failure(job_id, failure_details=failure_details))

    def iter_jobs(
        self,
        action_type_id: ActionTypeId,
        *,
        max_batch_size: int = 1,
        poll_interval: float | timedelta = 5.0,
        query_param: Mapping[str, str] | None = None,
    ) -> Generator[CustomJob, None, None]:
        """
        Poll until stopped, and yield each job, as `cp_thirdparty.ThirdPartyJobClient.iter_third_party_jobs` does.

        It accepts the ``query_param`` of `poll_for_jobs` too.
        """
        return self._iterate(
            functools.partial(
                self.poll_for_jobs, action_type_id, max_batch_size=max_batch_size, query_param=query_param
            ),
            max_batch_size=max_batch_size,
            poll_interval=poll_interval,
        )
