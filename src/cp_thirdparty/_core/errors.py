"""
Botocore's failures to our errors, by tables.

What was sent, and so whether a request may be resent, was observed by `cp_thirdparty._core.call`; no class of an
exception decides it.  The service's text is kept, with every secret struck out of it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any, Final, cast

from botocore import exceptions as botocore_exceptions
from botocore.exceptions import ClientError

from cp_thirdparty import exceptions
from cp_thirdparty._core import reasons
from cp_thirdparty._core.call import Call, Step
from cp_thirdparty._core.connection import is_refusal
from cp_thirdparty._core.guard import REQUEST_ID
from cp_thirdparty._core.operations import Request
from cp_thirdparty._core.strike_out import strike_out
from cp_thirdparty.enums import Delivery
from cp_thirdparty.exceptions import (
    AccessDeniedError,
    CallFacts,
    ClockSkewError,
    CredentialsError,
    InvalidRequestError,
    ServiceError,
    ThirdPartyError,
    ThrottledError,
    TransportError,
    UntrustedResponseError,
)

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

_BAD_REQUEST: Final = 400
_TOO_MANY_REQUESTS: Final = 429
_SERVER_ERROR: Final = 500

_RESOURCE = re.compile(r"on resource: (arn:[^\s\"']+)")

# botocore's exception -> what happened.  Only the text depends on the class: what was sent was observed.
_BROKEN: Final[tuple[tuple[type[Exception], str], ...]] = (
    (botocore_exceptions.ReadTimeoutError, "no response within the timeout"),
    (botocore_exceptions.ConnectionClosedError, "the connection was closed before a response"),
)

_PROXY_ADVICE: Final = {
    302: "it redirects, as a sign-in page does",
    403: "it does not allow this host",
    407: "it requires a user name and a password in its URL",
}


def error_of(failure: Exception, call: Call) -> ThirdPartyError:
    """Return our error for what botocore raised.  Nothing of the failure itself is kept."""
    request = call.request
    assert request is not None, "a request was sent"  # noqa: S101 - a mistake of this library
    if call.step is Step.SENDING:
        call.note_failure(is_unsent=is_refusal(failure))
    response = call.error_response
    if response is None and isinstance(failure, ClientError) and failure.operation_name == request.operation_name:
        response = cast("Mapping[str, Any]", failure.response)  # of botocore's Stubber, which sends nothing
        call.note_response()
    if response is not None:
        return _service_error(response, call)
    if call.step in (Step.SENT, Step.RESPONDED):
        return _response_error(failure, call)
    if call.step is Step.UNSENT:
        return _sending_error(failure, call)
    return _preparation_error(failure, call)


def unchecked_error(call: Call) -> UntrustedResponseError:
    """Return the error for a request of which nothing was observed: it may have arrived, and more than once."""
    facts = _facts(call, is_retry_safe=_safety(call))
    facts["delivery"] = Delivery.SENT
    return UntrustedResponseError("the response was not checked: the call ran in another thread or context", **facts)


def stopped_error(call: Call) -> TransportError:
    """Return the error for a deadline that was reached while code of the caller ran."""
    is_repeatable = call.delivery is Delivery.NOT_SENT or _safety(call)
    return TransportError(
        "the deadline was reached in a handler of the caller", **_facts(call, is_retry_safe=is_repeatable)
    )


def _facts(call: Call, *, is_retry_safe: bool | None) -> CallFacts:
    request = cast("Request[Any]", call.request)
    return {
        "operation_name": request.operation_name,
        "job_id": request.job_id,
        "attempts": call.attempts,
        "delivery": call.delivery,
        "is_retry_safe": is_retry_safe,
    }


def _safety(call: Call) -> bool | None:
    """Whether a request whose outcome is unknown may be resent without harm: ``None`` if that is unknown too."""
    return cast("Request[Any]", call.request).is_repeatable or None


def _response_error(failure: Exception, call: Call) -> TransportError:
    facts = _facts(call, is_retry_safe=_safety(call))
    if call.bytes_left < 0:
        return UntrustedResponseError("the response is too long", **facts)
    if call.step is Step.RESPONDED:
        # Botocore's parsers let AttributeError, UnicodeDecodeError, RecursionError and others through.
        return UntrustedResponseError(f"the response could not be read ({type(failure).__name__})", **facts)
    if call.is_over():
        return TransportError("no response before the deadline", **facts)
    text = next((text for kind, text in _BROKEN if isinstance(failure, kind)), "the connection failed")
    return TransportError(text, **facts)


def _sending_error(failure: Exception, call: Call) -> ThirdPartyError:
    if call.is_over():
        return TransportError("no connection before the deadline", **_facts(call, is_retry_safe=True))
    reason = reasons.explain(failure, **_facts(call, is_retry_safe=False))
    if reason is not None:
        return reason
    obstacle = call.obstacle
    if obstacle is None:  # code that takes the place of a connection, such as vcrpy's
        kind = type(failure.__context__ or failure).__name__
        return TransportError(f"the request could not be sent ({kind})", **_facts(call, is_retry_safe=False))
    text = obstacle.value
    if call.proxy_status is not None:
        advice = _PROXY_ADVICE.get(call.proxy_status)
        text += f" with status {call.proxy_status}" + (f": {advice}" if advice else "")
    return TransportError(text, **_facts(call, is_retry_safe=obstacle.may_pass))


def _preparation_error(failure: Exception, call: Call) -> ThirdPartyError:
    facts = _facts(call, is_retry_safe=False)
    if call.step is Step.SIGNING and call.is_over():
        facts["is_retry_safe"] = True
        return CredentialsError("the AWS credentials could not be loaded before the deadline", **facts)
    reason = reasons.explain(failure, **facts)
    if reason is not None:
        return reason
    if call.step is Step.SIGNING:
        return CredentialsError(f"the AWS credentials could not be loaded ({type(failure).__name__})", **facts)
    if isinstance(failure, botocore_exceptions.ParamValidationError):
        return InvalidRequestError("parameters", "botocore refused one of them", **facts)
    if isinstance(failure, (botocore_exceptions.HTTPClientError, botocore_exceptions.ConnectionError)):
        # Its events came in another context.
        return unchecked_error(call)
    return InvalidRequestError("client", f"botocore could not prepare the request ({type(failure).__name__})", **facts)


def configuration_error_of(failure: Exception) -> ThirdPartyError:
    """Return the error for what botocore raised when a client was created."""
    reason = reasons.explain(failure)
    return reason or InvalidRequestError("client", f"botocore could not create it ({type(failure).__name__})")


def is_throttling(response: Mapping[str, Any]) -> bool:
    """Whether CodePipeline refused a request only because there were too many."""
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return status == _TOO_MANY_REQUESTS or response.get("Error", {}).get("Code") in _THROTTLING


def _service_error(response: Mapping[str, Any], call: Call) -> ThirdPartyError:
    metadata: Mapping[str, Any] = response.get("ResponseMetadata", {})
    # Of a response without a body botocore reads no request id.
    request_id = metadata.get("RequestId") or metadata.get("HTTPHeaders", {}).get("x-amzn-requestid", "")
    facts = _facts(call, is_retry_safe=False)
    facts["status_code"] = metadata.get("HTTPStatusCode")
    facts["request_id"] = strike_out(request_id, call.secrets) if REQUEST_ID.fullmatch(request_id) else None
    if call.fault is not None:
        reason, facts["status_code"] = call.fault
        kind: type[TransportError] = TransportError if call.step is Step.SENT else UntrustedResponseError
        facts["is_retry_safe"] = _safety(call)
        return kind(reason, **facts)
    code = str(response.get("Error", {}).get("Code", ""))
    offset = clock_offset(metadata.get("HTTPHeaders", {}))
    if offset is not None and (code in _CLOCK or (code in _CREDENTIALS and abs(offset) > _SKEW_SECONDS)):
        # Without the service's text, which for a signature repeats the headers that were signed, a token among them.
        return ClockSkewError("", code=code, offset=offset, **facts)
    if code in _CREDENTIALS:
        return CredentialsError(f"{code}: AWS does not accept the credentials", **facts)
    text = response.get("Error", {}).get("Message", "")
    message = strike_out(text if isinstance(text, str) else "", call.secrets)
    if code in _ACCESS_DENIED:
        request = cast("Request[Any]", call.request)
        action = f"{request.service}:{request.operation_name}"
        resource = _RESOURCE.search(message)
        denied = resource.group(1) if resource else None
        return AccessDeniedError(message, code=code, action=action, resource=denied, **facts)
    facts["is_retry_safe"] = _is_error_retry_safe(response, call)
    modelled = ThrottledError if is_throttling(response) else _MODELLED.get(code, ServiceError)
    return modelled(message, code=strike_out(code, call.secrets), **facts)


def is_refusal_status(status: int) -> bool:
    """Whether the status is that of a request that CodePipeline refused."""
    return _BAD_REQUEST <= status < _SERVER_ERROR


def _is_error_retry_safe(response: Mapping[str, Any], call: Call) -> bool | None:
    if is_throttling(response):
        return True
    status: int = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return False if is_refusal_status(status) or response.get("Error", {}).get("Code") in _MODELLED else _safety(call)


def clock_offset(headers: Mapping[str, str]) -> float | None:
    """Return how many seconds this clock is ahead of the service's, or ``None`` if the response has no date."""
    try:
        return time.time() - parsedate_to_datetime(headers.get("date", "")).timestamp()
    except (OverflowError, ValueError):
        return None
