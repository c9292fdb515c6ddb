"""
Create errors of this library from exceptions of botocore.

Whether a request may be resent depends on what was observed during the call, not on the class of an exception.  The
table is in `cp_thirdparty._core.facts`.  The service's message is kept, without secrets.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any, Final, cast

from botocore import exceptions as botocore_exceptions
from botocore.exceptions import ClientError

from cp_thirdparty._base.text import show
from cp_thirdparty._core import reasons
from cp_thirdparty._core.call import Call, Step
from cp_thirdparty._core.connection import is_unsent
from cp_thirdparty._core.facts import Failure, facts_of
from cp_thirdparty._core.guard import REQUEST_ID
from cp_thirdparty._core.operations import Request
from cp_thirdparty._core.responses import MODELLED, classify_error, is_refusal_status
from cp_thirdparty._core.secret_removal import remove_secrets
from cp_thirdparty.enums import Delivery
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

# The codes of "Common errors" in the CodePipeline API reference, and codes that older AWS services use.
_CREDENTIAL_CODES: Final = frozenset(
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
_ACCESS_DENIED_CODES: Final = frozenset({"AccessDenied", "AccessDeniedException", "NotAuthorized", "OptInRequired"})
_CLOCK_CODES: Final = frozenset({"RequestExpired", "RequestTimeTooSkewed", "RequestInTheFuture"})
# AWS refuses a signature if the clocks differ by more than this: SigV4 allows 5 minutes (IAM user guide, "Signing AWS
# API requests").
_SKEW_SECONDS: Final = 300.0
# At most this many characters of an error code are shown.  The codes of AWS have at most 50 characters.
_CODE_LENGTH: Final = 100

_RESOURCE = re.compile(r"on resource: (arn:[^\s\"']+)")

# botocore's exception -> the message of our error.
_CONNECTION_ERRORS: Final[tuple[tuple[type[Exception], str], ...]] = (
    (botocore_exceptions.ReadTimeoutError, "no response within the timeout"),
    (botocore_exceptions.ConnectionClosedError, "the connection was closed before a response"),
)

_PROXY_ADVICE: Final = {
    302: "it redirects, as a sign-in page does",
    403: "it does not allow this host",
    407: "it requires a user name and a password in its URL",
}


def error_of(failure: Exception, call: Call) -> ThirdPartyError:
    """Return the error of this library for an exception of botocore.  The error has no reference to the exception."""
    request = call.request
    assert request is not None, "a request was sent"  # noqa: S101 - a mistake of this library
    if call.step is Step.SENDING:
        call.note_failure(is_unsent=is_unsent(failure))
    response = call.error_response
    if response is None and isinstance(failure, ClientError) and failure.operation_name == request.operation_name:
        response = cast("Mapping[str, Any]", failure.response)  # botocore's Stubber raises it, and sends nothing
        note_stub_response(call, response.get("ResponseMetadata", {}))
    if call.fault is not None and response is not None:
        return _untrusted_error(call.fault[0], call)
    if response is not None:
        return _service_error(response, call)
    if call.step in (Step.SENT, Step.RESPONDED):
        return _response_error(failure, call)
    if call.step is Step.UNSENT:
        return _sending_error(failure, call)
    return _preparation_error(failure, call)


def is_resource_missing(failure: Exception) -> bool:
    """Return whether an AWS service returned the error that a resource does not exist."""
    if not isinstance(failure, ClientError):
        return False
    return bool(failure.response.get("Error", {}).get("Code") == "ResourceNotFoundException")


def note_stub_response(call: Call, metadata: Mapping[str, Any]) -> None:
    """Record the response of a stub, such as botocore's `Stubber`, which replaces the network."""
    call.note_response()
    request_id = str(metadata.get("RequestId", ""))
    call.status_code = metadata.get("HTTPStatusCode")
    call.request_id = remove_secrets(request_id, call.secrets) if REQUEST_ID.fullmatch(request_id) else None


def foreign_response_error(fault: str, call: Call, metadata: Mapping[str, Any]) -> UntrustedResponseError:
    """Return the error for an untrusted response to a request to another AWS service, such as Secrets Manager."""
    note_stub_response(call, metadata)
    return UntrustedResponseError(fault, **facts_of(call, Failure.UNTRUSTED))


def unchecked_error(call: Call) -> UntrustedResponseError:
    """Return the error for a request that was not observed; the service may have received it more than once."""
    facts = facts_of(call, Failure.UNTRUSTED)
    facts["delivery"] = Delivery.SENT
    return UntrustedResponseError("the response was not checked: the call ran in another thread or context", **facts)


def stopped_error(call: Call) -> TransportError:
    """Return the error for a deadline that was reached while code of the caller ran."""
    is_sent = call.step in (Step.SENT, Step.RESPONDED)
    facts = facts_of(call, Failure.NO_RESPONSE if is_sent else Failure.TEMPORARY)
    return TransportError("the deadline was reached in a handler of the caller", **facts)


def _untrusted_error(fault: str, call: Call) -> TransportError:
    if call.step is Step.SENT:  # the end of the response is missing
        return TransportError(fault, **facts_of(call, Failure.NO_RESPONSE))
    return UntrustedResponseError(fault, **facts_of(call, Failure.UNTRUSTED))


def _response_error(failure: Exception, call: Call) -> TransportError:
    if call.bytes_left < 0:
        return UntrustedResponseError("the response is too long", **facts_of(call, Failure.UNTRUSTED))
    if call.step is Step.RESPONDED:
        is_refused = call.fault is None and call.status_code is not None and is_refusal_status(call.status_code)
        facts = facts_of(call, Failure.REFUSED_UNREAD if is_refused else Failure.UNTRUSTED)
        # Botocore's parsers raise AttributeError, UnicodeDecodeError, RecursionError and others for such a response.
        return UntrustedResponseError(f"the response could not be read ({type(failure).__name__})", **facts)
    facts = facts_of(call, Failure.NO_RESPONSE)
    if call.is_past_deadline():
        return TransportError("no response before the deadline", **facts)
    text = next((text for kind, text in _CONNECTION_ERRORS if isinstance(failure, kind)), "the connection failed")
    return TransportError(text, **facts)


def _sending_error(failure: Exception, call: Call) -> ThirdPartyError:
    if call.is_past_deadline():
        return TransportError("no connection before the deadline", **facts_of(call, Failure.TEMPORARY))
    reason = reasons.find_error(failure, call)
    if reason is not None:
        return reason
    obstacle = call.obstacle
    if obstacle is None:  # code that replaces a connection, such as vcrpy, has raised an exception
        kind = type(failure.__context__ or failure).__name__
        return TransportError(f"the request could not be sent ({kind})", **facts_of(call, Failure.PERMANENT))
    text = obstacle.value
    if call.proxy_status is not None:
        advice = _PROXY_ADVICE.get(call.proxy_status)
        text += f" with status {call.proxy_status}" + (f": {advice}" if advice else "")
    return TransportError(text, **facts_of(call, Failure.TEMPORARY if obstacle.is_temporary else Failure.PERMANENT))


def _preparation_error(failure: Exception, call: Call) -> ThirdPartyError:
    if call.step is Step.SIGNING and call.is_past_deadline():
        facts = facts_of(call, Failure.TEMPORARY)
        return CredentialsError("the AWS credentials could not be loaded before the deadline", **facts)
    reason = reasons.find_error(failure, call)
    if reason is not None:
        return reason
    facts = facts_of(call, Failure.PERMANENT)
    if call.step is Step.SIGNING:
        return CredentialsError(f"the AWS credentials could not be loaded ({type(failure).__name__})", **facts)
    if isinstance(failure, botocore_exceptions.ParamValidationError):
        return InvalidRequestError("parameters", "botocore refused one of them", **facts)
    if isinstance(failure, (botocore_exceptions.HTTPClientError, botocore_exceptions.ConnectionError)):
        # The request was sent, but botocore ran its event handlers in another context, so this call observed nothing.
        return unchecked_error(call)
    return InvalidRequestError("client", f"botocore could not prepare the request ({type(failure).__name__})", **facts)


def configuration_error_of(failure: Exception) -> ThirdPartyError:
    """Return the error for an exception that botocore raised while a client was created."""
    reason = reasons.find_error(failure)
    return reason or InvalidRequestError("client", f"botocore could not create it ({type(failure).__name__})")


def _service_error(response: Mapping[str, Any], call: Call) -> ThirdPartyError:
    metadata: Mapping[str, Any] = response.get("ResponseMetadata", {})
    facts = facts_of(call, Failure.REFUSED)
    code = str(response.get("Error", {}).get("Code", ""))
    offset = clock_offset(metadata.get("HTTPHeaders", {}))
    if offset is not None and (code in _CLOCK_CODES or (code in _CREDENTIAL_CODES and abs(offset) > _SKEW_SECONDS)):
        # The service's message is left out: for a wrong signature, it repeats the signed headers with a session token.
        return ClockSkewError("", code=code, offset=offset, **facts)
    if code in _CREDENTIAL_CODES:
        return CredentialsError(f"{code}: AWS does not accept the credentials", **facts)
    text = response.get("Error", {}).get("Message", "")
    message = show(remove_secrets(text if isinstance(text, str) else "", call.secrets))
    if code in _ACCESS_DENIED_CODES:
        request = cast("Request[Any]", call.request)
        action = f"{request.service}:{request.operation_name}"
        resource = _RESOURCE.search(message)
        denied = resource.group(1) if resource else None
        return AccessDeniedError(message, code=code, action=action, resource=denied, **facts)
    found = classify_error(response)
    kind = ThrottledError if found is Failure.THROTTLED else MODELLED.get(code, ServiceError)
    return kind(message, code=show(remove_secrets(code, call.secrets), _CODE_LENGTH), **facts_of(call, found))


def clock_offset(headers: Mapping[str, str]) -> float | None:
    """Return by how many seconds this clock is ahead of the service's clock; ``None`` if the response has no date."""
    try:
        return time.time() - parsedate_to_datetime(headers.get("date", "")).timestamp()
    except (OverflowError, ValueError):
        return None
