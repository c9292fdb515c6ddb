"""
Check responses: a response is accepted only if it is complete and comes from CodePipeline.

Botocore does not check this.  It treats a proxy's HTML page with status 200 as a success, and a truncated body as
``{}``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

# The request ids of CodePipeline are UUIDs.  A request id with a line break could add a forged line to a log.
REQUEST_ID: Final = re.compile(r"[!-~]{1,128}")

FIRST_ERROR_STATUS: Final = 300

# The service's model limits the messages of some errors to 5,000 characters, and has no limit for other errors.  The
# search for secrets in a much longer error would block the program for seconds.
_MAX_ERROR_BYTES: Final = 64 << 10
_LONG_ERROR: Final = "the error is too long"
# The memory that a response may use: 64 MiB, or 49 MiB plus three times the length of the body, whichever is larger.
# The body, its decoded text and the parsed strings use up to three times the body's length.  Each parsed value uses up
# to 250 bytes more.
_MAX_MEMORY: Final = 64 << 20
_BYTES_PER_BODY_BYTE: Final = 3
_BYTES_PER_VALUE: Final = 256
# A poll of 1,000 custom jobs, each with ten artifacts and a configuration of ten keys, has up to 190,000 strings.
_MIN_VALUE_LIMIT: Final = 200_000
# If a string has a character beyond Latin-1, Python uses 2 or 4 bytes for each of its characters.  Then a response uses
# up to ten times its length.  A body of this length or less may have such characters, because a poll of 1,000 jobs with
# long configurations may have one.
_MAX_BODY_BEYOND_LATIN_1: Final = 16 << 20
_TOO_MANY_VALUES: Final = "the response has too many values for its length"
_DECODER: Final = json.JSONDecoder()
# A character beyond Latin-1: its first byte in UTF-8, or its escape in JSON.
_BEYOND_LATIN_1: Final = rb"[\xc4-\xff]|\\u(?!00)[0-9A-Fa-f]{4}"


class Finding(NamedTuple):
    """
    The result of the check of a response.

    Attributes:
        fault: Why the response is not trusted; ``None`` if it is trusted.
        request_id: The request id for AWS Support, or ``None``.
        document: The JSON object of the body, if the response is trusted and is JSON.
        is_error: Whether the response is an error of the service, even if its status is that of a success.
        is_truncated: Whether the end of the body is missing.
    """

    fault: str | None
    request_id: str | None
    document: Mapping[str, Any] | None = None
    is_error: bool = False
    is_truncated: bool = False


def check_response(response: Mapping[str, Any], *, is_cbor: bool, has_output: bool) -> Finding:
    """
    Check a response.

    Args:
        response: Botocore's dictionary of the response.
        is_cbor: Whether the protocol is CBOR instead of JSON.
        has_output: Whether the operation has an output, so that a successful response must have a body.
    """
    request_id: str = response["headers"].get("x-amzn-requestid", "")
    if not REQUEST_ID.fullmatch(request_id):
        return Finding("a response without a request id does not come from CodePipeline", None)
    body: bytes = response["body"]
    length: str | None = response["headers"].get("content-length")
    if length is not None and length.strip() != str(len(body)):
        is_truncated = length.strip().isdecimal() and len(body) < int(length)
        return Finding("the response does not have the length that it declares", request_id, is_truncated=is_truncated)
    status: int = response["status_code"]
    if status >= FIRST_ERROR_STATUS and len(body) > _MAX_ERROR_BYTES:
        return Finding(_LONG_ERROR, request_id, is_error=True)
    memory_fault = _find_memory_fault(body)
    if memory_fault is not None:
        return Finding(memory_fault, request_id)
    document = _summarize_cbor(body) if is_cbor else _parse_object(body)
    kind = "" if document is None else document.get("__type", "")
    is_error = status >= FIRST_ERROR_STATUS or (document is not None and "__type" in document)
    fault = None
    if document is None and (body or (has_output and not is_error)):
        fault = "the response does not have the form that the protocol requires"
    elif not isinstance(kind, str):
        fault = "the response has an error type that is not a string"
    elif is_error and len(body) > _MAX_ERROR_BYTES:
        fault = _LONG_ERROR
    return Finding(fault, request_id, None if is_cbor else document, is_error=is_error)


def _parse_object(body: bytes) -> dict[str, Any] | None:
    """Return the JSON object of a body, or ``None`` if the body is not a JSON object."""
    try:
        text = body.decode("utf-8").strip(" \t\r\n")
        document, end = _DECODER.raw_decode(text)  # three times as fast as `json.loads` for a short body
    except (ValueError, RecursionError):  # ValueError: not UTF-8, not JSON, or a number of 5,000 digits
        return None
    return document if isinstance(document, dict) and end == len(text) else None


def _find_memory_fault(body: bytes) -> str | None:
    """Return why parsing the body would take too much memory, or ``None``."""
    max_values = max((_MAX_MEMORY - _BYTES_PER_BODY_BYTE * len(body)) // _BYTES_PER_VALUE, _MIN_VALUE_LIMIT)
    if len(body) <= max_values:  # each value takes at least one byte
        return None
    without_escapes = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    if len(body) > _MAX_BODY_BEYOND_LATIN_1 and re.search(_BEYOND_LATIN_1, without_escapes):
        return "the response has more than 16 MiB and a character beyond Latin-1, which multiplies its memory"
    if without_escapes.count(b'"') > 2 * max_values:
        return _TOO_MANY_VALUES
    between_strings = without_escapes.split(b'"')[::2]
    count = sum(part.count(mark) for part in between_strings for mark in (b",", b"[", b"{"))
    return _TOO_MANY_VALUES if count > max_values else None


def _summarize_cbor(body: bytes) -> dict[str, Any] | None:
    """Return ``{"__type": ""}`` for a CBOR map with an error type, ``{}`` for another CBOR map, ``None`` otherwise."""
    if not body or body[0] >> 5 != 5:  # noqa: PLR2004 - 5 is the major type of a map (RFC 8949, section 3.1)
        return None
    return {"__type": ""} if b"\x66__type" in body else {}  # 0x66 starts a CBOR string of six bytes
