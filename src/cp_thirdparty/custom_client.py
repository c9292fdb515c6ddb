"""`CustomJobClient`: the operations of jobs of custom actions, with what `ThirdPartyJobClient` guarantees."""

from __future__ import annotations

import functools
from collections.abc import Generator, Mapping

from cp_thirdparty._core.blocking_client import BlockingClient
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

__all__ = ["CustomJobClient"]


class CustomJobClient(BlockingClient):
    """
    Calls the five operations of jobs of CodePipeline's custom actions, which you register in your own AWS account.

    It differs from `cp_thirdparty.ThirdPartyJobClient` in its operations only: there is no client token, a poll returns
    what a job is about, and a success may have output variables.  Each method also raises the errors that
    `cp_thirdparty.ThirdPartyJobClient` lists for every method.

    Its settings, and what `create()` takes, are those of `cp_thirdparty.ThirdPartyJobClient`.

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
        Return jobs that wait for a worker.

        Args:
            action_type_id: The action type whose jobs are wanted.

            max_batch_size: The most jobs to return, at least 1; ``None`` leaves it to the service.

            query_param: The queryable key of the action type's configuration, and the value that a job must have there;
                ``None`` for any job.

        Returns:
            The jobs, or an empty tuple when none waits.

        Raises:
            cp_thirdparty.exceptions.ActionTypeNotFoundException: There is no such action type for the caller.

            cp_thirdparty.exceptions.ResponseDecodeError: The response does not have the service's shape.
        """
        request = CUSTOM.request_poll(action_type_id, max_batch_size=max_batch_size, query_param=query_param)
        return self._call(request)

    def get_job_details(self, job_id: str) -> CustomJobDetails:
        """
        Read the details of a job, with new credentials for its artifacts.

        Raises:
            cp_thirdparty.exceptions.JobNotFoundException: There is no such job, or no longer.

            cp_thirdparty.exceptions.ResponseDecodeError: The response does not have the service's shape.
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

            cp_thirdparty.exceptions.JobNotFoundException: There is no such job, or no longer.

            cp_thirdparty.exceptions.ResponseDecodeError: The response does not have the service's shape.
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

        With a continuation token only this job ends: the action goes on, and a later poll returns a new job that has
        the token.

        Args:
            job_id: The id of the job, 1 to 512 characters.

            continuation_token: What the next job of this action needs to go on, 1 to 2,048 characters.  It is not
                treated as a secret.

            current_revision: The revision that the job has produced.

            execution_details: What the console shows.

            output_variables: Values by name for the configuration of later actions, at most 122,880 bytes together.
                Not together with a continuation token.  They are not treated as secrets.

        Raises:
            cp_thirdparty.exceptions.InvalidJobStateException: The job has a result already, or was never acknowledged.

            cp_thirdparty.exceptions.JobNotFoundException: There is no such job, or no longer.

            cp_thirdparty.exceptions.OutputVariablesSizeExceededException: The output variables are too large together.
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

            cp_thirdparty.exceptions.JobNotFoundException: There is no such job, or no longer.
        """
        self._call(CUSTOM.request_failure(job_id, failure_details=failure_details))

    def iter_jobs(
        self,
        action_type_id: ActionTypeId,
        *,
        max_batch_size: int = 1,
        poll_interval: float = 5.0,
        query_param: Mapping[str, str] | None = None,
    ) -> Generator[CustomJob, None, None]:
        """
        Poll until stopped, and yield each job, as `cp_thirdparty.ThirdPartyJobClient.iter_third_party_jobs` does.

        It takes the ``query_param`` of `poll_for_jobs` too.
        """
        return self._iterate(
            functools.partial(
                self.poll_for_jobs, action_type_id, max_batch_size=max_batch_size, query_param=query_param
            ),
            max_batch_size=max_batch_size,
            poll_interval=poll_interval,
        )
