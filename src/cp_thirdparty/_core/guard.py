"""
No result without proof: an answer counts only when it is whole and CodePipeline's own.

Botocore takes a proxy's HTML page with status 200 for a successful result, and a truncated body for ``{}``.  One
handler looks at each answer before botocore parses it and makes a bad one a 502, which is sent again; another one,
first in line where botocore decides on that, tells it the status, for else it returns the error as a success.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final, cast

from botocore.client import BaseClient
from botocore.exceptions import ClientError

from cp_thirdparty._core.call import CURRENT, Call, is_single_attempt

# Where a parsed answer says why it was not believed, and which status it had.
UNTRUSTED: Final = "cp_thirdparty.untrusted"

# Where the parsed answer to a call of ours has the document as it came.  Botocore's own parser takes an object for an
# empty list and a number for a text, and falls over a list for an object.
DOCUMENT: Final = "cp_thirdparty.document"

# CodePipeline's are UUIDs.  One that goes on in a second line could write a line of its own into a log.
REQUEST_ID: Final = re.compile(r"[!-~]{1,128}")

_OPERATIONS: Final = (
    "PollForThirdPartyJobs",
    "GetThirdPartyJobDetails",
    "AcknowledgeThirdPartyJob",
    "PutThirdPartyJobSuccessResult",
    "PutThirdPartyJobFailureResult",
)
_BAD_GATEWAY: Final = 502
_BAD_REQUEST: Final = 400
_FIRST_NO_SUCCESS: Final = 300

# The most that botocore's standard mode waits before it sends for the second, third, ... time, and how much more when
# an answer asks for it (botocore.retries.standard of 1.44).
_LONGEST_PAUSE: Final = 20.0
_ASKED_PAUSE: Final = 5.0


def install(client: BaseClient) -> None:
    """Guard the five operations of a client; a second time changes nothing."""
    for operation in _OPERATIONS:
        for event, handler in (("before-parse", _look_at_answer), ("needs-retry", _tell_status)):
            client.meta.events.register_first(
                f"{event}.codepipeline.{operation}", handler, unique_id=f"cp_thirdparty.{event}.{operation}"
            )


def _look_at_answer(
    operation_model: Any, response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: object
) -> None:
    is_cbor = "cbor" in str(getattr(operation_model.service_model, "resolved_protocol", ""))
    status: int = response_dict["status_code"]
    body: bytes = response_dict["body"]
    document = _cbor_facts(body) if is_cbor else _json_object(body)
    if status < _FIRST_NO_SUCCESS and document is not None and isinstance(document.get("__type"), str):
        response_dict["status_code"] = _BAD_REQUEST  # an error, whatever its status says
        return
    has_output = operation_model.output_shape is not None
    fault = _fault(response_dict, document, has_output=has_output)
    if fault is not None:
        customized_response_dict[UNTRUSTED] = (fault, status)
        if status < _FIRST_NO_SUCCESS:
            response_dict["status_code"] = _BAD_GATEWAY
        response_dict["body"] = b""
        return
    call = CURRENT.get()
    if status < _FIRST_NO_SUCCESS and not is_cbor and call is not None:
        customized_response_dict[DOCUMENT] = document
        if not call.wire_logs:  # the parser writes that log
            response_dict["body"] = b"{}"


def _fault(response: Mapping[str, Any], document: Mapping[str, Any] | None, *, has_output: bool) -> str | None:
    headers: Mapping[str, str] = response["headers"]
    body: bytes = response["body"]
    is_error = response["status_code"] >= _FIRST_NO_SUCCESS
    if not REQUEST_ID.fullmatch(headers.get("x-amzn-requestid", "")):
        return "an answer without a request id is not CodePipeline's"
    length = headers.get("content-length")
    if length is not None and length.strip() != str(len(body)):
        return "the answer is not as long as it says"
    if document is None and (body or (has_output and not is_error)):
        return "the answer is not what the protocol asks for"
    if document is not None and not isinstance(document.get("__type", ""), str):
        return "the answer has an error type that is no text"
    return None


def _json_object(body: bytes) -> dict[str, Any] | None:
    try:
        document: object = json.loads(body.decode("utf-8"))
    except (ValueError, RecursionError):  # ValueError: not UTF-8, not JSON, or a number of 5,000 digits
        return None
    return document if isinstance(document, dict) else None


def _cbor_facts(body: bytes) -> dict[str, Any] | None:
    """Tell whether a body starts as a CBOR map (major type 5), and whether it has an error type."""
    if not body or body[0] >> 5 != 5:  # noqa: PLR2004 - RFC 8949, section 3.1
        return None
    return {"__type": ""} if b"\x66__type" in body else {}  # a text of six bytes


def _tell_status(
    response: tuple[Any, dict[str, Any]] | None,
    operation: Any,
    attempts: int,
    caught_exception: Exception | None,
    **_: object,
) -> None:
    """Copy the parsed status to the HTTP answer, and end a call that cannot have another attempt."""
    if response is not None:
        response[0].status_code = response[1]["ResponseMetadata"]["HTTPStatusCode"]
    call = CURRENT.get()
    if call is None:
        return
    call.attempts = attempts
    has_asked = response is not None and "x-amz-retry-after" in response[0].headers
    if _may_be_repeated(call, _ASKED_PAUSE if has_asked else 0.0):
        return
    if caught_exception is not None:
        raise caught_exception
    if response is not None and response[0].status_code >= _FIRST_NO_SUCCESS:
        raise ClientError(cast("Any", response[1]), operation.name)


def _may_be_repeated(call: Call, asked_pause: float) -> bool:
    if is_single_attempt() or call.bytes_left < 0:
        return False
    left = call.seconds_left()
    return left is None or left > min(2.0 ** (call.attempts - 1), _LONGEST_PAUSE) + asked_pause
