"""`AsyncCustomJobClient`: the operations of jobs of custom actions for asyncio, over aiobotocore."""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Coroutine, Mapping
from typing import Any

from cp_thirdparty._core.asyncio_client import AsyncioClient, like_async_def
from cp_thirdparty._core.operations import CUSTOM
from cp_thirdparty.enums import JobStatus
from cp_thirdparty.models import (
    ActionTypeId,
    CurrentRevision,
    CustomJob,
    CustomJobDetails,
    ExecutionDetails,
    FailureDetails,
)

__all__ = ["AsyncCustomJobClient"]


class AsyncCustomJobClient(AsyncioClient):
    """
    Calls the five operations of jobs of CodePipeline's custom actions, for asyncio.

    Parameters, results and errors are those of `cp_thirdparty.CustomJobClient`.  Everything else, such as what belongs
    to an event loop, is as for `cp_thirdparty.AsyncThirdPartyJobClient`.

    .. versionadded:: 0.2.0
    """

    _operations = CUSTOM

    @like_async_def
    def poll_for_jobs(
        self,
        action_type_id: ActionTypeId,
        *,
        max_batch_size: int | None = None,
        query_param: Mapping[str, str] | None = None,
    ) -> Coroutine[Any, Any, tuple[CustomJob, ...]]:
        """Return jobs that wait for a worker: `cp_thirdparty.CustomJobClient.poll_for_jobs`."""
        request = CUSTOM.request_poll(action_type_id, max_batch_size=max_batch_size, query_param=query_param)
        return self._call(request)

    @like_async_def
    def get_job_details(self, job_id: str) -> Coroutine[Any, Any, CustomJobDetails]:
        """Read the details of a job: `cp_thirdparty.CustomJobClient.get_job_details`."""
        return self._call(CUSTOM.request_details(job_id))

    @like_async_def
    def acknowledge_job(self, job_id: str, *, nonce: str) -> Coroutine[Any, Any, JobStatus]:
        """
        Claim a job: `cp_thirdparty.CustomJobClient.acknowledge_job`.

        Work on it only if the result is `JobStatus.IN_PROGRESS`.
        """
        return self._call(CUSTOM.request_claim(job_id, nonce=nonce))

    @like_async_def
    def put_job_success_result(
        self,
        job_id: str,
        *,
        continuation_token: str | None = None,
        current_revision: CurrentRevision | None = None,
        execution_details: ExecutionDetails | None = None,
        output_variables: Mapping[str, str] | None = None,
    ) -> Coroutine[Any, Any, None]:
        """Report that a job has succeeded: `cp_thirdparty.CustomJobClient.put_job_success_result`."""
        request = CUSTOM.request_success(
            job_id,
            continuation_token=continuation_token,
            current_revision=current_revision,
            execution_details=execution_details,
            output_variables=output_variables,
        )
        return self._call(request)

    @like_async_def
    def put_job_failure_result(self, job_id: str, *, failure_details: FailureDetails) -> Coroutine[Any, Any, None]:
        """Report that a job has failed: `cp_thirdparty.CustomJobClient.put_job_failure_result`."""
        return self._call(CUSTOM.request_failure(job_id, failure_details=failure_details))

    def iter_jobs(
        self,
        action_type_id: ActionTypeId,
        *,
        max_batch_size: int = 1,
        poll_interval: float = 5.0,
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
