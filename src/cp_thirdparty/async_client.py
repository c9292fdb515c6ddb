"""`AsyncThirdPartyJobClient` and `AsyncCustomJobClient`: the clients for asyncio, which use aiobotocore."""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Coroutine, Mapping
from datetime import timedelta
from typing import Any

from cp_thirdparty._core.asyncio_client import AsyncioClient, mark_coroutine_function
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

__all__ = ["AsyncCustomJobClient", "AsyncThirdPartyJobClient"]


class AsyncThirdPartyJobClient(AsyncioClient):
    """
    Call the five operations of CodePipeline's third-party jobs from asyncio code.

    Create one with `create()`, or wrap an open client of aiobotocore.  Parameters, results, errors, checks of responses
    and logs are those of `cp_thirdparty.ThirdPartyJobClient`.

    A client works only in the event loop in which it was opened, and is not thread-safe.  Any number of tasks may call
    it at once.  A client from `create()` opens up to 64 connections; more calls wait for a free one.  A cancelled call
    ends at once, and its connection is closed; CodePipeline may have processed the request.

    Each method also raises `cp_thirdparty.exceptions.InvalidRequestError` when the client is not open, or is used in
    another event loop.

    Args:
        client: A CodePipeline client of aiobotocore that uses aiohttp.  Its configuration is left unchanged.  You
            remain responsible for closing it.  Responses are checked only for calls through this class.  Your direct
            calls of the wrapped client behave as before.
        deadline: Seconds or a ``timedelta``, more than 0, that a call may take with all its attempts, including the DNS
            lookup; ``None`` for no limit.
        wire_logs: ``True`` to let botocore write the requests and responses of this client, secrets included, into its
            DEBUG log.
        on_call: Called with a `cp_thirdparty.telemetry.CallRecord` after each call, even if no request could be sent,
            in the task of the call.  It is not called if a parameter breaks a rule.  It must not be a coroutine
            function and must not block.  Its exceptions are logged and ignored.

    Raises:
        cp_thirdparty.exceptions.InvalidRequestError: The client is not a CodePipeline client of aiobotocore that
            uses aiohttp, or a setting breaks a rule.
    """

    _operations = THIRD_PARTY

    @mark_coroutine_function
    def poll_for_third_party_jobs(
        self, action_type_id: ActionTypeId, *, max_batch_size: int | None = None
    ) -> Coroutine[Any, Any, tuple[ThirdPartyJob, ...]]:
        """Poll for jobs; see `cp_thirdparty.ThirdPartyJobClient.poll_for_third_party_jobs`."""
        return self._call(THIRD_PARTY.request_poll(action_type_id, max_batch_size=max_batch_size))

    @mark_coroutine_function
    def get_third_party_job_details(
        self, job_id: str, *, client_token: str | SecretStr
    ) -> Coroutine[Any, Any, JobDetails]:
        """Return the details of a job; see `cp_thirdparty.ThirdPartyJobClient.get_third_party_job_details`."""
        return self._call(THIRD_PARTY.request_details(job_id, client_token=client_token))

    @mark_coroutine_function
    def acknowledge_third_party_job(
        self, job_id: str, *, nonce: str, client_token: str | SecretStr
    ) -> Coroutine[Any, Any, JobStatus]:
        """
        Claim a job; see `cp_thirdparty.ThirdPartyJobClient.acknowledge_third_party_job`.

        Work on it only if the result is `JobStatus.IN_PROGRESS`.
        """
        return self._call(THIRD_PARTY.request_claim(job_id, nonce=nonce, client_token=client_token))

    @mark_coroutine_function
    def put_third_party_job_success_result(
        self,
        job_id: str,
        *,
        client_token: str | SecretStr,
        continuation_token: str | None = None,
        current_revision: CurrentRevision | None = None,
        execution_details: ExecutionDetails | None = None,
    ) -> Coroutine[Any, Any, None]:
        """Report that a job succeeded; see `cp_thirdparty.ThirdPartyJobClient.put_third_party_job_success_result`."""
        return self._call(
            THIRD_PARTY.request_success(
                job_id,
                client_token=client_token,
                continuation_token=continuation_token,
                current_revision=current_revision,
                execution_details=execution_details,
            )
        )

    @mark_coroutine_function
    def put_third_party_job_failure_result(
        self, job_id: str, *, client_token: str | SecretStr, failure_details: FailureDetails
    ) -> Coroutine[Any, Any, None]:
        """Report that a job failed; see `cp_thirdparty.ThirdPartyJobClient.put_third_party_job_failure_result`."""
        return self._call(
            THIRD_PARTY.request_failure(job_id, client_token=client_token, failure_details=failure_details)
        )

    def iter_third_party_jobs(
        self, action_type_id: ActionTypeId, *, max_batch_size: int = 1, poll_interval: float | timedelta = 5.0
    ) -> AsyncGenerator[ThirdPartyJob, None]:
        """
        Poll until stopped, and yield each job.

        ``async for job in client.iter_third_party_jobs(action_type_id):`` polls only when the loop needs another job
        and every job of the last poll was yielded.  It does not poll while the loop body runs.  It pauses after a poll
        without a job, and longer after failed polls, up to a minute.  It logs each failure as a warning.

        ``break``, or a cancellation of the task, ends the loop.  After `close()`, the iterator raises an
        InvalidRequestError instead of polling.

        Args:
            action_type_id: The action type of the jobs to return.
            max_batch_size: Maximum number of jobs of one poll, at least 1.  After about 30 seconds, CodePipeline offers
                each unacknowledged job again, also to other workers.  So request only as many jobs as you can start.
            poll_interval: Seconds or a ``timedelta``, more than 0, between two polls when no job waits; each pause has
                a jitter of ±20 %, so that many workers do not poll at the same time.

        Raises:
            cp_thirdparty.exceptions.ActionTypeNotFoundException: There is no such action type for the caller.
            cp_thirdparty.exceptions.AccessDeniedError: The caller may not poll.
            cp_thirdparty.exceptions.InvalidRequestError: A parameter breaks a rule, or the client is not open.
        """
        return self._iterate(
            functools.partial(self.poll_for_third_party_jobs, action_type_id, max_batch_size=max_batch_size),
            max_batch_size=max_batch_size,
            poll_interval=poll_interval,
        )


class AsyncCustomJobClient(AsyncioClient):
    """
    Call the five operations of jobs of custom actions from asyncio code.

    Parameters, results and errors are those of `cp_thirdparty.CustomJobClient`.  All other rules, such as those
    about event loops, are those of `cp_thirdparty.AsyncThirdPartyJobClient`.

    .. versionadded:: 0.2.0
    """

    _operations = CUSTOM

    @mark_coroutine_function
    def poll_for_jobs(
        self,
        action_type_id: ActionTypeId,
        *,
        max_batch_size: int | None = None,
        query_param: Mapping[str, str] | None = None,
    ) -> Coroutine[Any, Any, tuple[CustomJob, ...]]:
        """Poll for jobs; see `cp_thirdparty.CustomJobClient.poll_for_jobs`."""
        request = CUSTOM.request_poll(action_type_id, max_batch_size=max_batch_size, query_param=query_param)
        return self._call(request)

    @mark_coroutine_function
    def get_job_details(self, job_id: str) -> Coroutine[Any, Any, CustomJobDetails]:
        """Return the details of a job; see `cp_thirdparty.CustomJobClient.get_job_details`."""
        return self._call(CUSTOM.request_details(job_id))

    @mark_coroutine_function
    def acknowledge_job(self, job_id: str, *, nonce: str) -> Coroutine[Any, Any, JobStatus]:
        """
        Claim a job; see `cp_thirdparty.CustomJobClient.acknowledge_job`.

        Work on it only if the result is `JobStatus.IN_PROGRESS`.
        """
        return self._call(CUSTOM.request_claim(job_id, nonce=nonce))

    @mark_coroutine_function
    def put_job_success_result(
        self,
        job_id: str,
        *,
        continuation_token: str | None = None,
        current_revision: CurrentRevision | None = None,
        execution_details: ExecutionDetails | None = None,
        output_variables: Mapping[str, str] | None = None,
    ) -> Coroutine[Any, Any, None]:
        """Report that a job succeeded; see `cp_thirdparty.CustomJobClient.put_job_success_result`."""
        request = CUSTOM.request_success(
            job_id,
            continuation_token=continuation_token,
            current_revision=current_revision,
            execution_details=execution_details,
            output_variables=output_variables,
        )
        return self._call(request)

    @mark_coroutine_function
    def put_job_failure_result(self, job_id: str, *, failure_details: FailureDetails) -> Coroutine[Any, Any, None]:
        """Report that a job failed; see `cp_thirdparty.CustomJobClient.put_job_failure_result`."""
        return self._call(CUSTOM.request_failure(job_id, failure_details=failure_details))

    def iter_jobs(
        self,
        action_type_id: ActionTypeId,
        *,
        max_batch_size: int = 1,
        poll_interval: float | timedelta = 5.0,
        query_param: Mapping[str, str] | None = None,
    ) -> AsyncGenerator[CustomJob, None]:
        """Poll until stopped, and yield each job, as `AsyncThirdPartyJobClient.iter_third_party_jobs` does."""
        return self._iterate(
            functools.partial(
                self.poll_for_jobs, action_type_id, max_batch_size=max_batch_size, query_param=query_param
            ),
            max_batch_size=max_batch_size,
            poll_interval=poll_interval,
        )
