"""Botocore's exceptions to ours, by tables.  The service's text is kept, with every secret struck out of it."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Mapping
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import quote, quote_plus

from botocore import exceptions as botocore_exceptions

from cp_thirdparty import exceptions
from cp_thirdparty._core.call import Call
from cp_thirdparty._core.guard import REQUEST_ID, UNTRUSTED
from cp_thirdparty._core.operations import not_sent
from cp_thirdparty.exceptions import (
    AccessDeniedError,
    ClockSkewError,
    CredentialsError,
    InvalidRequestError,
    ServiceError,
    ThirdPartyError,
    ThrottledError,
    TransportError,
    UntrustedResponseError,
)
from cp_thirdparty.secrets import SecretStr

_MODELLED: Final[Mapping[str, type[ServiceError]]] = {
    name: getattr(exceptions, name)
    for name in (
        "ActionTypeNotFoundException",
        "InvalidClientTokenException",
        "InvalidJobException",
        "InvalidJobStateException",
        "InvalidNonceException",
        "JobNotFoundException",
        "ValidationException",
    )
}

# The codes that botocore's own retry handlers take for throttling (botocore.retries.standard).
_THROTTLING: Final = frozenset(
    {
        "BandwidthLimitExceeded",
        "EC2ThrottledException",
        "LimitExceededException",
        "PriorRequestNotComplete",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "SlowDown",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
        "TransactionInProgressException",
    }
)

# "Common errors" of the CodePipeline API reference, and the codes of AWS's older front ends.
_CREDENTIALS: Final = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignature",
        "IncompleteSignatureException",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
_ACCESS_DENIED: Final = frozenset({"AccessDenied", "AccessDeniedException", "NotAuthorized", "OptInRequired"})
_CLOCK: Final = frozenset({"RequestExpired", "RequestTimeTooSkewed", "RequestInTheFuture"})
# A clock further off than this makes AWS refuse a signature: SigV4 allows 5 minutes (IAM user guide, "Signing AWS API
# requests").
_SKEW_SECONDS: Final = 300.0

_KNOWN: Final = _THROTTLING | _MODELLED.keys()
_TOO_MANY_REQUESTS: Final = 429

_RESOURCE = re.compile(r"on resource: (arn:[^\s\"']+)")
_MASK = str(SecretStr(""))
# What neither JSON nor a URL writes otherwise: most tokens are such, and the rest takes 15 times as long.
_SAME_IN_ALL = re.compile(r"[0-9A-Za-z_.~-]+")

# botocore's exception -> what happened, and whether the request may be sent again (None: the operation decides).
_TRANSPORT: Final[tuple[tuple[type[Exception], str, bool | None], ...]] = (
    (botocore_exceptions.ConnectTimeoutError, "no connection within the time-out", True),
    (botocore_exceptions.ProxyConnectionError, "no connection to the proxy", True),
    (botocore_exceptions.SSLError, "the TLS connection could not be trusted or made", False),
    (botocore_exceptions.EndpointConnectionError, "no connection to the endpoint", True),
    (botocore_exceptions.ReadTimeoutError, "no answer within the time-out", None),
    (botocore_exceptions.ConnectionClosedError, "the connection was closed before an answer", None),
    (botocore_exceptions.HTTPClientError, "the connection failed", None),
)

_CREDENTIALS_MISSING: Final[tuple[tuple[type[Exception], str], ...]] = (
    (botocore_exceptions.NoCredentialsError, "no AWS credentials were found"),
    (botocore_exceptions.PartialCredentialsError, "the AWS credentials are incomplete"),
    (botocore_exceptions.CredentialRetrievalError, "the AWS credentials could not be fetched"),
    (botocore_exceptions.NoAuthTokenError, "no AWS token was found"),
    (botocore_exceptions.SSOError, "the AWS sign-in has expired or is incomplete"),
    (botocore_exceptions.TokenRetrievalError, "the AWS token could not be fetched"),
)


def error_of(
    failure: Exception, *, operation_name: str, secrets: Iterable[SecretStr], is_repeatable: bool, call: Call
) -> ThirdPartyError:
    """Make our error of what botocore raised.  Nothing of the failure itself is kept."""
    if isinstance(failure, botocore_exceptions.ParamValidationError):
        return InvalidRequestError("parameters", "botocore refused one of them", **not_sent(operation_name, None))
    for kind, text in _CREDENTIALS_MISSING:
        if isinstance(failure, kind):
            return CredentialsError(text, operation_name=operation_name, attempts=call.attempts, is_retry_safe=False)
    facts: dict[str, Any] = {"operation_name": operation_name, "attempts": max(call.attempts, 1)}
    if isinstance(failure, botocore_exceptions.ClientError):
        if failure.operation_name != operation_name:  # assuming a role, for example
            text = "the AWS credentials could not be fetched"
            return CredentialsError(text, operation_name=operation_name, attempts=call.attempts, is_retry_safe=False)
        return _answered(failure.response, secrets, {**facts, "is_retry_safe": is_repeatable or None})
    return _transport_error(failure, call, {**facts, "is_retry_safe": is_repeatable or None})


def _transport_error(failure: Exception, call: Call, facts: dict[str, Any]) -> TransportError:
    if call.bytes_left < 0:
        return UntrustedResponseError("the answer is too long", **facts)
    for kind, text, sent_nothing in _TRANSPORT:
        if isinstance(failure, kind):
            left = call.seconds_left()
            if sent_nothing is not None:
                facts["is_retry_safe"] = sent_nothing
            return TransportError(text if left is None or left > 0 else "no answer before the deadline", **facts)
    # Botocore's parsers let AttributeError, UnicodeDecodeError, RecursionError and others through.
    return UntrustedResponseError(f"the answer could not be read ({type(failure).__name__})", **facts)


def configuration_error_of(failure: Exception) -> ThirdPartyError:
    """Make our error of what botocore raised when a client was made."""
    for kind, text in _CREDENTIALS_MISSING:
        if isinstance(failure, kind):
            return CredentialsError(text)
    for kind, parameter, rule in _CREATION:
        if isinstance(failure, kind):
            return InvalidRequestError(parameter, rule)
    return InvalidRequestError("config", f"botocore refused it ({type(failure).__name__})")


_CREATION: Final[tuple[tuple[type[Exception], str, str], ...]] = (
    (botocore_exceptions.NoRegionError, "region_name", "must be given, here or in the AWS configuration"),
    (botocore_exceptions.InvalidRegionError, "region_name", "must be the name of a region"),
    (botocore_exceptions.ProfileNotFound, "profile_name", "must be a profile of the AWS configuration"),
    (botocore_exceptions.ConfigParseError, "profile_name", "must be in an AWS configuration that can be read"),
)


def _answered(response: Mapping[str, Any], secrets: Iterable[SecretStr], facts: dict[str, Any]) -> ThirdPartyError:
    metadata: Mapping[str, Any] = response.get("ResponseMetadata", {})
    # Of an answer without a body botocore reads no request id.
    request_id = metadata.get("RequestId") or metadata.get("HTTPHeaders", {}).get("x-amzn-requestid", "")
    facts["status_code"] = metadata.get("HTTPStatusCode")
    facts["request_id"] = struck_out(request_id, secrets) if REQUEST_ID.fullmatch(request_id) else None
    if UNTRUSTED in response:
        reason, facts["status_code"] = response[UNTRUSTED]
        return UntrustedResponseError(reason, **facts)
    del facts["is_retry_safe"]  # the code tells
    code = str(response.get("Error", {}).get("Code", ""))
    text = response.get("Error", {}).get("Message", "")
    message = struck_out(text if isinstance(text, str) else "", secrets)
    offset = clock_offset(metadata.get("HTTPHeaders", {}))
    if offset is not None and (code in _CLOCK or (code in _CREDENTIALS and abs(offset) > _SKEW_SECONDS)):
        # Without the service's text, which for a signature repeats the headers that were signed, a token among them.
        return ClockSkewError("", code=code, offset=offset, is_retry_safe=False, **facts)
    if code in _CREDENTIALS:
        return CredentialsError(f"{code}: AWS does not accept the credentials", is_retry_safe=False, **facts)
    if code in _ACCESS_DENIED:
        return _access_denied(message, {"code": code, **facts})
    if code not in _KNOWN:
        code = struck_out(code, secrets)
    return _service_error(message, {"code": code, **facts})


def _access_denied(message: str, facts: Mapping[str, Any]) -> AccessDeniedError:
    resource = _RESOURCE.search(message)
    return AccessDeniedError(
        message,
        action=f"codepipeline:{facts['operation_name']}",
        resource=resource.group(1) if resource else None,
        is_retry_safe=False,
        **facts,
    )


def _service_error(message: str, facts: dict[str, Any]) -> ServiceError:
    if facts["code"] in _THROTTLING or facts["status_code"] == _TOO_MANY_REQUESTS:
        return ThrottledError(message, is_retry_safe=True, **facts)
    if facts["code"] in _MODELLED:
        return _MODELLED[facts["code"]](message, is_retry_safe=False, **facts)
    return ServiceError(message, **facts)


def clock_offset(headers: Mapping[str, str]) -> float | None:
    """Tell how many seconds this clock is ahead of the service's, or ``None`` when it did not say its time."""
    try:
        return time.time() - parsedate_to_datetime(headers.get("date", "")).timestamp()
    except (OverflowError, ValueError):
        return None


def struck_out(text: str, secrets: Iterable[SecretStr]) -> str:
    """Return the text without the secrets, be they written plain, JSON-escaped or URL-escaped."""
    for secret in secrets:
        value = secret.get_secret_value()
        if _SAME_IN_ALL.fullmatch(value):
            text = text.replace(value, _MASK)
            continue
        for written in {value, json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]} | {
            escape(value, safe=safe) for escape in (quote, quote_plus) for safe in ("", "/")
        }:
            text = text.replace(written, _MASK)
    return text
