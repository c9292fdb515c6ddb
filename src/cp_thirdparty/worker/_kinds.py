"""
The differences between third-party jobs and custom jobs.

All other modules of the worker use `JobKind` and do not distinguish the two kinds.  A third kind needs only one more
class in this module.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Final, Protocol, TypeAlias, cast

import attrs

from cp_thirdparty.client import CustomJobClient, ThirdPartyJobClient
from cp_thirdparty.enums import ActionOwner, JobStatus
from cp_thirdparty.exceptions._job_failures import ResultTypeError
from cp_thirdparty.models import (
    ActionTypeId,
    AnyJob,
    AnyJobDetails,
    CustomJob,
    CustomJobDetails,
    FailureDetails,
    JobData,
    JobDetails,
    ThirdPartyJob,
)
from cp_thirdparty.secrets import SecretStr
from cp_thirdparty.worker.results import Continued, Result, Succeeded

AnyClient: TypeAlias = ThirdPartyJobClient | CustomJobClient

_NO_DATA: Final = JobData()


class JobKind(Protocol):
    """
    One kind of job: third-party or custom.

    The methods that have a client as an argument call CodePipeline, and raise the same errors as the methods of the
    client.

    Attributes:
        name: The name of the kind in messages and journals.
        client_class: The class of the clients for this kind.
        job_class: The class of the jobs that a poll returns.
        has_client_token: Whether calls to CodePipeline about such a job need a client token.
        job_timeout: Default timeout: seconds after the claim at which the worker reports the job as failed.
        service_timeout: Seconds after which CodePipeline times out a job whose action type sets no timeout.
        longest_timeout: The longest timeout in seconds that an action type can set, after which CodePipeline has timed
            out any job.
    """

    name: ClassVar[str]
    client_class: ClassVar[type[AnyClient]]
    job_class: ClassVar[type[AnyJob]]
    has_client_token: ClassVar[bool]
    job_timeout: ClassVar[float]
    service_timeout: ClassVar[float]
    longest_timeout: ClassVar[float]

    def poll(self, client: Any, action_type_id: ActionTypeId, max_batch_size: int) -> tuple[AnyJob, ...]:
        """Poll for jobs that wait for a worker, and return them."""
        ...

    def split(self, job: Any) -> tuple[AnyJob, AnyJobDetails | None]:
        """
        Split a job from a poll into a job without secrets and the details.

        The job without secrets may be sent to other processes and written to the journal.  The details are ``None`` if
        the poll did not return them.
        """
        ...

    def read(self, client: Any, job_id: str, client_token: SecretStr | None) -> AnyJobDetails:
        """Request the details of a job, and return them."""
        ...

    def acknowledge(
        self, client: Any, job: Any, details: AnyJobDetails | None, client_token: SecretStr | None
    ) -> JobStatus:
        """Acknowledge a job to claim it, and return its status."""
        ...

    def report(self, client: Any, job_id: str, result: Result, client_token: SecretStr | None) -> None:
        """Report the result of a job to CodePipeline."""
        ...

    def check_result(self, result: Result) -> Result:
        """
        Return the result unchanged if it is allowed for this kind of job.

        Raises:
            ResultTypeError: This kind of job cannot have such a result.
        """
        ...


class _ThirdPartyJobs:
    name = "third-party"
    client_class = ThirdPartyJobClient
    job_class = ThirdPartyJob
    has_client_token = True
    job_timeout = 3300.0
    service_timeout = 3600.0  # from the quotas in the CodePipeline User Guide
    longest_timeout = 43_200.0  # the maximum of `jobTimeout` of an action type in the CodePipeline API Reference

    def poll(
        self, client: ThirdPartyJobClient, action_type_id: ActionTypeId, max_batch_size: int
    ) -> tuple[ThirdPartyJob, ...]:
        return client.poll_for_third_party_jobs(action_type_id, max_batch_size=max_batch_size)

    def split(self, job: ThirdPartyJob) -> tuple[ThirdPartyJob, None]:
        return job, None

    def read(self, client: ThirdPartyJobClient, job_id: str, client_token: SecretStr | None) -> JobDetails:
        return client.get_third_party_job_details(job_id, client_token=_require_token(client_token))

    def acknowledge(
        self,
        client: ThirdPartyJobClient,
        job: ThirdPartyJob,
        details: AnyJobDetails | None,
        client_token: SecretStr | None,
    ) -> JobStatus:
        nonce = details.nonce if isinstance(details, JobDetails) else ""
        return client.acknowledge_third_party_job(job.job_id, nonce=nonce, client_token=_require_token(client_token))

    def report(self, client: ThirdPartyJobClient, job_id: str, result: Result, client_token: SecretStr | None) -> None:
        token = _require_token(client_token)
        if isinstance(result, FailureDetails):
            client.put_third_party_job_failure_result(job_id, client_token=token, failure_details=result)
            return
        client.put_third_party_job_success_result(
            job_id,
            client_token=token,
            continuation_token=_continuation_token(result),
            current_revision=result.current_revision,
            execution_details=result.execution_details,
        )

    def check_result(self, result: Result) -> Result:
        if isinstance(result, Succeeded) and result.output_variables:
            raise ResultTypeError("Succeeded: only jobs of custom actions can have output_variables")
        return result


class _CustomJobs:
    name = "custom"
    client_class = CustomJobClient
    job_class = CustomJob
    has_client_token = False
    job_timeout = 85_000.0
    service_timeout = longest_timeout = 86_400.0  # from the quotas in the CodePipeline User Guide

    def poll(self, client: CustomJobClient, action_type_id: ActionTypeId, max_batch_size: int) -> tuple[CustomJob, ...]:
        return client.poll_for_jobs(action_type_id, max_batch_size=max_batch_size)

    def split(self, job: CustomJob) -> tuple[CustomJob, CustomJobDetails | None]:
        if job.data == _NO_DATA:
            return job, None
        return attrs.evolve(job, data=_NO_DATA), CustomJobDetails(id=job.id, data=job.data, account_id=job.account_id)

    def read(self, client: CustomJobClient, job_id: str, client_token: None) -> CustomJobDetails:  # noqa: ARG002
        return client.get_job_details(job_id)

    def acknowledge(
        self,
        client: CustomJobClient,
        job: CustomJob,
        details: AnyJobDetails | None,  # noqa: ARG002 - the nonce of a custom job is in the job, not in its details
        client_token: None,  # noqa: ARG002
    ) -> JobStatus:
        return client.acknowledge_job(job.id, nonce=job.nonce)

    def report(self, client: CustomJobClient, job_id: str, result: Result, client_token: None) -> None:  # noqa: ARG002
        if isinstance(result, FailureDetails):
            client.put_job_failure_result(job_id, failure_details=result)
            return
        client.put_job_success_result(
            job_id,
            continuation_token=_continuation_token(result),
            current_revision=result.current_revision,
            execution_details=result.execution_details,
            output_variables=result.output_variables if isinstance(result, Succeeded) else None,
        )

    def check_result(self, result: Result) -> Result:
        return result


THIRD_PARTY: Final = cast("JobKind", _ThirdPartyJobs())
CUSTOM: Final = cast("JobKind", _CustomJobs())
KINDS: Final = {kind.name: kind for kind in (THIRD_PARTY, CUSTOM)}


def kind_of(job: AnyJob) -> JobKind:
    """Return whether a job is a third-party job or a custom job."""
    return CUSTOM if isinstance(job, CustomJob) else THIRD_PARTY


def kind_of_type(action_type_id: ActionTypeId) -> JobKind:
    """Return the kind of the jobs that a poll for this action type returns."""
    return CUSTOM if action_type_id.owner == ActionOwner.CUSTOM else THIRD_PARTY


def create_client(kind: JobKind, connect: Callable[[], AnyClient]) -> AnyClient:
    """
    Create a client for one kind of job.

    Raises:
        TypeError: `connect` returned a client for the other kind of job.
    """
    client = connect()
    other = THIRD_PARTY if kind is CUSTOM else CUSTOM
    if isinstance(client, other.client_class):
        expected, actual = kind.client_class.__name__, other.client_class.__name__
        client.close()
        raise TypeError(f"connect: must return a {expected} for {kind.name} jobs, not a {actual}")
    return client


def nonce_of(job: AnyJob) -> str | None:
    """
    Return the nonce that a journal must store with the job; ``None`` for a third-party job.

    The nonce of a custom job must be stored, because only a poll returns it.  The nonce of a third-party job is in its
    details, which can be requested again.
    """
    return job.nonce if isinstance(job, CustomJob) else None


def restore_job(*, job_id: str, client_id: str, nonce: str | None) -> AnyJob:
    """Create the job from the values that a journal has stored; a job with a nonce is a custom job."""
    if nonce is None:
        return ThirdPartyJob(client_id=client_id, job_id=job_id)
    return CustomJob(id=job_id, data=_NO_DATA, nonce=nonce, account_id=client_id or None)


def _require_token(client_token: SecretStr | None) -> SecretStr:
    assert client_token is not None, "a third-party job was called without its client token"  # noqa: S101 - a bug in this library
    return client_token


def _continuation_token(result: Succeeded | Continued) -> str | None:
    return result.continuation_token if isinstance(result, Continued) else None
