"""The credentials of one job.  They are renewed by reading the details of the job again."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from typing import Any, Final

import attrs
from botocore.credentials import RefreshableCredentials

from cp_thirdparty.client import CustomJobClient, ThirdPartyJobClient
from cp_thirdparty.exceptions import ArtifactError, CredentialsError, ThirdPartyError
from cp_thirdparty.models import AnyJobDetails, ArtifactCredentials
from cp_thirdparty.secrets import SecretStr

# CodePipeline does not report when the credentials expire.  AWS's own Jenkins plug-in assumes 15 minutes, too.
_LIFETIME: Final = timedelta(minutes=15)
# From 180 seconds before the expiry, one thread renews the credentials while the other threads use the old ones.  From
# 60 seconds before the expiry, all threads wait for the new ones.  botocore's defaults, 15 and 10 minutes, would renew
# credentials that are valid for 15 minutes at each use.
_ADVISORY_SECONDS: Final = 180
_MANDATORY_SECONDS: Final = 60
_NOT_RENEWABLE: Final = (
    "the artifact credentials have expired, and those of a Lambda function's event cannot be renewed"
)


class NotRenewable:
    """
    The base class of objects that `ArtifactStore.for_job()` accepts instead of a client.

    Such an object cannot read the details of a job again, so the credentials cannot be renewed.

    Attributes:
        credentials_expire_at: The time at which the credentials expire; ``None`` if it is unknown.
    """

    credentials_expire_at: datetime | None = None


class JobCredentials(RefreshableCredentials):
    """
    The three credentials of a job, with which botocore signs requests.

    Args:
        details: The details of the job, with all three credentials.
        read: Reads the details of the job again; ``None`` if that is not possible.  With ``None``, the credentials are
            used until they expire.
        clock: Returns the current time in seconds since 1970.
        expires_at: The time at which the credentials expire; ``None`` for 15 minutes from now.

    Attributes:
        generation: How many times the credentials were renewed.
        secrets: The secrets of all generations, because S3 may still respond to a request that was signed with
            credentials of an older generation.
    """

    def __init__(
        self,
        details: AnyJobDetails,
        read: Callable[[], AnyJobDetails] | None,
        clock: Callable[[], float],
        expires_at: datetime | None = None,
    ) -> None:
        self._details = details
        self._read = read
        self._clock = clock
        self._refused: ThirdPartyError | None = None
        self.secrets = _secrets(details)
        self.generation = 0
        first = self._metadata(details)
        super().__init__(
            access_key=first["access_key"],
            secret_key=first["secret_key"],
            token=first["token"],
            expiry_time=self._now() + _LIFETIME if expires_at is None else expires_at,
            refresh_using=self._read_again,
            method="cp-thirdparty-job",
            time_fetcher=self._now,
            advisory_timeout=0 if read is None else _ADVISORY_SECONDS,
            mandatory_timeout=0 if read is None else _MANDATORY_SECONDS,
        )

    def renew(self, generation: int) -> None:
        """Renew the credentials, unless another thread has already replaced those of the given generation."""
        inside: Any = self  # botocore has no public method to renew credentials before they are about to expire
        with inside._refresh_lock:  # noqa: SLF001 - no public way
            if self.generation == generation:
                inside._protected_refresh(is_mandatory=True)  # noqa: SLF001 - no public way

    def refresh_and_check(self) -> None:
        """
        Renew the credentials if they expire soon, and raise an error if the job's details have changed.

        botocore ignores an error of the renewal as long as the old credentials are valid for another minute.  That is
        right if CodePipeline could not be reached.  It is wrong if CodePipeline returned other artifacts for the job,
        so this method raises that error.
        """
        self.get_frozen_credentials()
        if self._refused is not None:
            raise copy.copy(self._refused)

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock(), tz=timezone.utc)

    def _read_again(self) -> dict[str, str]:
        if self._read is None:
            raise CredentialsError(_NOT_RENEWABLE, job_id=self._details.id)
        details = self._read()
        self._refused = _difference(self._details, details) or check_credentials(details)
        if self._refused is not None:
            raise copy.copy(self._refused)
        self.secrets += _secrets(details)
        return self._metadata(details)

    def _protected_refresh(self, is_mandatory: bool) -> None:  # noqa: FBT001 - botocore's signature
        """
        Replace the credentials, and increase the generation afterwards.

        The order matters: a request must not store a newer generation than that of the credentials that sign it.
        """
        inside: Any = self  # in all versions since 1.35, botocore replaces the frozen credentials in this method only
        before = inside._frozen_credentials  # noqa: SLF001 - botocore has no public attribute for them
        try:
            base: Any = super()
            base._protected_refresh(is_mandatory)  # noqa: SLF001 - this method overrides it
        finally:
            self.generation += inside._frozen_credentials is not before  # noqa: SLF001 - no public attribute

    def _metadata(self, details: AnyJobDetails) -> dict[str, str]:
        given: Any = details.data.artifact_credentials  # check_credentials() has checked that none is missing
        return {
            "access_key": given.access_key_id.get_secret_value(),
            "secret_key": given.secret_access_key.get_secret_value(),
            "token": given.session_token.get_secret_value(),
            "expiry_time": (self._now() + _LIFETIME).isoformat(),
        }


def create_credentials(
    client: ThirdPartyJobClient | CustomJobClient | NotRenewable,
    details: AnyJobDetails,
    client_token: SecretStr | None,
    clock: Callable[[], float],
) -> JobCredentials:
    """Return the credentials of a job, which are renewed unless the client cannot read the details again."""
    if isinstance(client, NotRenewable):
        return JobCredentials(details, None, clock, client.credentials_expire_at)
    if isinstance(client, CustomJobClient):
        return JobCredentials(details, functools.partial(client.get_job_details, details.id), clock)
    read = functools.partial(client.get_third_party_job_details, details.id, client_token=client_token or "")
    return JobCredentials(details, read, clock)


def _secrets(details: AnyJobDetails) -> tuple[SecretStr, ...]:
    given: Any = details.data.artifact_credentials  # check_credentials() has checked that none is missing
    return (given.access_key_id, given.secret_access_key, given.session_token)


def check_credentials(details: AnyJobDetails) -> CredentialsError | None:
    """
    Return an error if one of the three credentials of a job is missing, and ``None`` otherwise.

    Without this check, botocore would use other credentials, such as those of the machine.
    """
    given = details.data.artifact_credentials
    if given is None:
        return CredentialsError("the job has no artifact credentials", job_id=details.id)
    missing = [
        field.name
        for field in attrs.fields(ArtifactCredentials)
        if (value := getattr(given, field.name)) is None or not value.get_secret_value()
    ]
    if missing:
        return CredentialsError(f"the artifact credentials lack {', '.join(missing)}", job_id=details.id)
    return None


def _difference(first: AnyJobDetails, second: AnyJobDetails) -> ArtifactError | None:
    changed = list(_differing_fields(first, second))
    return ArtifactError(f"the details of the job have changed: {', '.join(changed)}") if changed else None


def _differing_fields(first: AnyJobDetails, second: AnyJobDetails) -> Iterator[str]:
    """Return the names of the fields that differ.  The credentials and the nonce may change, so they are ignored."""
    if first.id != second.id:
        yield "id"
    for field in attrs.fields(type(first.data)):
        if field.name != "artifact_credentials" and getattr(first.data, field.name) != getattr(second.data, field.name):
            yield f"data.{field.name}"
