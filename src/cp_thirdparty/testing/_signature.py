"""
Check Signature Version 4 of a received request, with botocore's own ``SigV4Auth``.

The codes are those that AWS's JSON services return, each with status 400.  AWS documents them only as common
errors of older services, under other names, so their use by CodePipeline is an assumption, as is the order of checks.
No response contains a header of the request.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from http.client import HTTPMessage
from typing import Any

import attrs
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from cp_thirdparty.secrets import SecretStr
from cp_thirdparty.testing._wire import HttpRequest, RefusedError

_ALGORITHM = "AWS4-HMAC-SHA256"
_SERVICE = "codepipeline"
_TIMESTAMP = "%Y%m%dT%H%M%SZ"
_PARTS = ("Credential", "SignedHeaders", "Signature")

# How far clocks may be apart (IAM user guide, "Signing AWS API requests").
_TOLERANCE = timedelta(minutes=5)


@attrs.frozen(kw_only=True)
class SignatureCheck:
    """Check that requests are signed with one access key, for one region.  Thread-safe."""

    access_key_id: str
    secret_access_key: SecretStr
    session_token: SecretStr | None
    region_name: str
    clock: Callable[[], float]  # seconds since 1970

    def check(self, request: HttpRequest) -> None:
        """Raise `RefusedError` unless the request is signed correctly."""
        claim = _read_claim(request)
        if claim.access_key_id != self.access_key_id or not self._is_session_token(
            request.headers.get("x-amz-security-token")
        ):
            raise RefusedError("UnrecognizedClientException", "The security token included in the request is invalid")
        if claim.scope != (claim.timestamp[:8], self.region_name, _SERVICE, "aws4_request"):
            raise _invalid(f"The credential must be for {self.region_name}/{_SERVICE}/aws4_request and today's date")
        if "host" not in claim.signed_headers:
            raise _invalid("The header 'host' must be signed")
        self._check_time(claim.time)
        if not hmac.compare_digest(self._signature(request, claim).encode(), claim.signature.encode()):
            raise _invalid(
                "The signature does not match the one computed here; check the secret access key and the signing"
            )

    def _is_session_token(self, token: str | None) -> bool:
        return (None if token is None else SecretStr(token)) == self.session_token

    def _check_time(self, signed_at: datetime) -> None:
        now = datetime.fromtimestamp(self.clock(), timezone.utc)
        signed, current = f"{signed_at:{_TIMESTAMP}}", f"{now:{_TIMESTAMP}}"
        if signed_at < now - _TOLERANCE:
            bound = f"{now - _TOLERANCE:{_TIMESTAMP}} ({current} - 5 min.)"
            raise _invalid(f"Signature expired: {signed} is now earlier than {bound}")
        if signed_at > now + _TOLERANCE:
            bound = f"{now + _TOLERANCE:{_TIMESTAMP}} ({current} + 5 min.)"
            raise _invalid(f"Signature not yet current: {signed} is still later than {bound}")

    def _signature(self, request: HttpRequest, claim: _Claim) -> str:
        credentials = Credentials(self.access_key_id, self.secret_access_key.get_secret_value())
        auth = _RecomputedAuth(credentials, self.region_name, claim)
        target = request.target if request.target.startswith("/") else "/"
        headers = {**request.headers, "x-amz-content-sha256": hashlib.sha256(request.body).hexdigest()}
        received = AWSRequest(method=request.method, url=f"http://localhost{target}", headers=headers)
        received.context["timestamp"] = claim.timestamp
        string_to_sign = auth.string_to_sign(received, auth.canonical_request(received))
        signature: str = auth.signature(string_to_sign, received)
        return signature


@attrs.frozen(kw_only=True)
class _Claim:
    """The statements of a request's headers about its signature."""

    access_key_id: str
    scope: tuple[str, ...]
    signed_headers: tuple[str, ...]
    signature: str
    time: datetime

    @property
    def timestamp(self) -> str:
        return f"{self.time:{_TIMESTAMP}}"


class _RecomputedAuth(SigV4Auth):
    """Signs the headers that the client claims to have signed."""

    def __init__(self, credentials: Credentials, region_name: str, claim: _Claim) -> None:
        super().__init__(credentials, _SERVICE, region_name)
        self._claim = claim

    def headers_to_sign(self, request: Any) -> HTTPMessage:
        chosen = HTTPMessage()
        for name in self._claim.signed_headers:
            chosen[name] = request.headers.get(name, "")
        return chosen


def _read_claim(request: HttpRequest) -> _Claim:
    header = request.headers.get("authorization")
    if header is None:
        raise RefusedError("MissingAuthenticationTokenException", "The request is not signed")
    algorithm, _, rest = header.partition(" ")
    parts = {name.strip(): value for name, _, value in (part.partition("=") for part in rest.split(","))}
    if algorithm != _ALGORITHM:
        raise _incomplete(f"The Authorization header must begin with {_ALGORITHM}")
    for name in _PARTS:
        if not parts.get(name):
            raise _incomplete(f"The Authorization header must have '{name}'")
    access_key_id, *scope = parts["Credential"].split("/")
    return _Claim(
        access_key_id=access_key_id,
        scope=tuple(scope),
        signed_headers=tuple(parts["SignedHeaders"].split(";")),
        signature=parts["Signature"].strip(),
        time=_read_time(request),
    )


def _read_time(request: HttpRequest) -> datetime:
    try:
        if "x-amz-date" in request.headers:
            return datetime.strptime(request.headers["x-amz-date"], _TIMESTAMP).replace(tzinfo=timezone.utc)
        return parsedate_to_datetime(request.headers["date"]).astimezone(timezone.utc)
    except (LookupError, TypeError, ValueError, OverflowError):
        pass  # the error is raised below, so that its context does not contain the value
    raise _incomplete("There must be an 'X-Amz-Date' or a 'Date' header with a time")


def _incomplete(message: str) -> RefusedError:
    return RefusedError("IncompleteSignatureException", message)


def _invalid(message: str) -> RefusedError:
    return RefusedError("InvalidSignatureException", message)
