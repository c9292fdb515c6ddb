"""The job's own credentials, renewed by reading its details again."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from typing import Any, Final

import attrs
from botocore.credentials import RefreshableCredentials

from cp_thirdparty.exceptions import ArtifactError, CredentialsError, ThirdPartyError
from cp_thirdparty.models import AnyJobDetails, ArtifactCredentials
from cp_thirdparty.secrets import SecretStr

__all__ = ["JobCredentials", "NotRenewable", "check_credentials"]

# The service sends no expiry.  15 minutes are what AWS's own Jenkins plug-in counts on.
_LIFETIME: Final = timedelta(minutes=15)
# Renewed at 12 minutes by one thread while the others go on; from 14 on all wait for it.  With botocore's own timeouts
# of 15 and 10 minutes, credentials of 15 would be renewed at each use.
_ADVISORY_SECONDS: Final = 180
_MANDATORY_SECONDS: Final = 60
_NOT_RENEWABLE: Final = (
    "the artifact credentials have expired, and those of a Lambda function's event cannot be renewed"
)


class NotRenewable:
    """
    The base of what takes the place of a client that cannot read the details of a job again.

    Attributes:
        credentials_expire_at: When the credentials of the job expire; ``None`` if that is not known.
    """

    credentials_expire_at: datetime | None = None


class JobCredentials(RefreshableCredentials):
    """
    The three credentials of a job, for botocore to sign with.

    Args:
        details: The details of the job, with all three credentials.
        read: Reads the details again; ``None`` if that is not possible.  The credentials are then used until they
            expire.
        clock: Returns the time in seconds since the epoch.
        expires_at: When they expire; ``None`` for 15 minutes from now.

    Attributes:
        generation: How often they were renewed.
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
        self._secrets = _secrets(details)
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
        """Renew them, unless another thread has done so since the caller saw this generation of them."""
        inside: Any = self  # botocore has no public way to renew before the time
        with inside._refresh_lock:  # noqa: SLF001 - no public way
            if self.generation == generation:
                inside._protected_refresh(is_mandatory=True)  # noqa: SLF001 - no public way

    def hold(self) -> None:
        """
        Renew them when it is time, and raise the error that ended their use, if one did.

        Botocore keeps an error to itself as long as the old credentials are good for another minute.  That is right
        when CodePipeline could not be reached, and wrong when it has returned another job's artifacts.
        """
        self.get_frozen_credentials()
        if self._refused is not None:
            raise copy.copy(self._refused)

    def secrets(self) -> tuple[SecretStr, ...]:
        """Return the secrets of all generations: S3 may still respond to a request that an older generation signed."""
        return self._secrets

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock(), tz=timezone.utc)

    def _read_again(self) -> dict[str, str]:
        if self._read is None:
            raise CredentialsError(_NOT_RENEWABLE, job_id=self._details.id)
        details = self._read()
        self._refused = _difference(self._details, details) or check_credentials(details)
        if self._refused is not None:
            raise copy.copy(self._refused)
        self._secrets += _secrets(details)
        return self._metadata(details)

    def _protected_refresh(self, is_mandatory: bool) -> None:  # noqa: FBT001 - botocore's signature
        """Replace the credentials, then count: a request must not record a newer generation than the one that signs."""
        inside: Any = self  # both botocore 1.35 and the newest one replace the frozen credentials in this method only
        before = inside._frozen_credentials  # noqa: SLF001 - botocore has no public way to see that
        try:
            base: Any = super()
            base._protected_refresh(is_mandatory)  # noqa: SLF001 - it is the method that this one extends
        finally:
            self.generation += inside._frozen_credentials is not before  # noqa: SLF001 - as before

    def _metadata(self, details: AnyJobDetails) -> dict[str, str]:
        given: Any = details.data.artifact_credentials  # complete: check_credentials() has looked
        return {
            "access_key": given.access_key_id.get_secret_value(),
            "secret_key": given.secret_access_key.get_secret_value(),
            "token": given.session_token.get_secret_value(),
            "expiry_time": (self._now() + _LIFETIME).isoformat(),
        }


def _secrets(details: AnyJobDetails) -> tuple[SecretStr, ...]:
    given: Any = details.data.artifact_credentials  # complete: check_credentials() has looked
    return (given.access_key_id, given.secret_access_key, given.session_token)


def check_credentials(details: AnyJobDetails) -> CredentialsError | None:
    """Return why a job's credentials are of no use, or ``None``: botocore would look for others."""
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
    """Name what differs, but for the credentials, and the nonce, which may change."""
    if first.id != second.id:
        yield "id"
    for field in attrs.fields(type(first.data)):
        if field.name != "artifact_credentials" and getattr(first.data, field.name) != getattr(second.data, field.name):
            yield f"data.{field.name}"
