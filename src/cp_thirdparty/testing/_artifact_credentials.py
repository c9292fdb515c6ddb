"""Create the artifact credentials of jobs, and store when they expire."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from typing import Union

from cp_thirdparty.models import ArtifactCredentials

CredentialSource = Union[ArtifactCredentials, Callable[[], Union[ArtifactCredentials, None]], None]  # noqa: UP007 - evaluated on 3.10
"""
The source of a job's credentials: fixed credentials; a function that is called at each details call and returns
credentials or ``None``; or ``None`` for generated credentials.
"""


class CredentialIssuer:
    """Creates artifact credentials, and stores when they expire.  Thread-safe."""

    def __init__(self, *, clock: Callable[[], float], lifetime: float) -> None:
        self._clock = clock
        self._lifetime = lifetime
        self._lock = threading.Lock()
        # The first entry expires first, because all lifetimes are equal.
        self._expiry: dict[ArtifactCredentials, float] = {}

    def issue(self, source: CredentialSource) -> ArtifactCredentials | None:
        """Return the credentials for a response with job details; their lifetime begins now."""
        credentials = source() if callable(source) else source or _create_credentials()
        if credentials is not None:
            if not isinstance(credentials, ArtifactCredentials):
                raise TypeError("artifact_credentials: must be or return ArtifactCredentials or None")
            self._store_expiry(credentials)
        return credentials

    def is_valid(self, credentials: ArtifactCredentials) -> bool:
        """Return whether credentials were issued and have not expired."""
        with self._lock:
            expiry = self._expiry.get(credentials)
        return expiry is not None and self._clock() < expiry

    def _store_expiry(self, credentials: ArtifactCredentials) -> None:
        now = self._clock()
        with self._lock:
            self._expiry.pop(credentials, None)
            self._expiry[credentials] = now + self._lifetime
            while (oldest := next(iter(self._expiry))) != credentials and self._expiry[oldest] <= now:
                del self._expiry[oldest]


def _create_credentials() -> ArtifactCredentials:
    return ArtifactCredentials(
        access_key_id=f"ASIALOCAL{secrets.token_hex(6).upper()}",
        secret_access_key=secrets.token_urlsafe(30),
        session_token=secrets.token_urlsafe(120),
    )
