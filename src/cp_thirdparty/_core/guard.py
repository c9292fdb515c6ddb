"""
Check responses: one is accepted only if it is complete and comes from CodePipeline.

Botocore takes a proxy's HTML page with status 200 for a successful result, and a truncated body for ``{}``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

import attrs

# CodePipeline's are UUIDs.  One that goes on in a second line could write a line of its own into a log.
REQUEST_ID: Final = re.compile(r"[!-~]{1,128}")

FIRST_ERROR_STATUS: Final = 300

# The service's model limits the messages of some errors to 5,000 characters, and has no limit for those of others.  A
# search for secrets in a much longer error would block the program for seconds.
_MAX_ERROR_BYTES: Final = 64 << 10
_LONG_ERROR: Final = "the error is too long"
# The memory that a response may take, everything included: 64 MiB, or three times its length and 49 MiB if that is
# more.  The body, its text and the strings in it take up to three times its length.  A parsed value takes up to 250
# bytes more.
_MEMORY: Final = 64 << 20
_TIMES_LENGTH: Final = 3
_BYTES_PER_VALUE: Final = 256
# A poll of 1,000 custom jobs, each with ten artifacts and a configuration of ten keys, has up to 190,000 strings.
_VALUES_OF_ANY_RESPONSE: Final = 200_000
# With a character beyond Latin-1, Python stores each character of its string in 2 or 4 bytes: the response takes up to
# ten times its length.  A poll of 1,000 jobs with long configurations may have one.
_LONGEST_WIDE_BODY: Final = 16 << 20
_TOO_MANY_VALUES: Final = "the response has too many values for its length"
_DECODER: Final = json.JSONDecoder()
# A character beyond Latin-1: its first byte in UTF-8, or its escape in JSON.
_WIDE: Final = re.compile(rb"[\xc4-\xff]|\\u(?!00)[0-9A-Fa-f]{4}")


@attrs.define
class Verdict:
    """
    The judgement about a response.

    Attributes:
        fault: Why it is not trusted, or ``None``.
        request_id: What AWS Support asks for, or ``None``.
        document: The object in its body, if it is a trusted JSON response.
        is_error: Whether it is an error of the service, whatever its status is.
        is_truncated: Whether the end of the body is missing.
    """

    fault: str | None
    request_id: str | None
    document: Mapping[str, Any] | None = None
    is_error: bool = False
    is_truncated: bool = False


def judge(response: Mapping[str, Any], *, is_cbor: bool, has_output: bool) -> Verdict:
    """Check botocore's dictionary of a response; a success has a body only if the operation has an output."""
    request_id: str = response["headers"].get("x-amzn-requestid", "")
    if not REQUEST_ID.fullmatch(request_id):
        return Verdict("a response without a request id does not come from CodePipeline", None)
    body: bytes = response["body"]
    length: str | None = response["headers"].get("content-length")
    if length is not None and length.strip() != str(len(body)):
        is_truncated = length.strip().isdecimal() and len(body) < int(length)
        return Verdict("the response does not have the length that it declares", request_id, is_truncated=is_truncated)
    status: int = response["status_code"]
    if status >= FIRST_ERROR_STATUS and len(body) > _MAX_ERROR_BYTES:
        return Verdict(_LONG_ERROR, request_id, is_error=True)
    expense = _find_expense(body)
    if expense is not None:
        return Verdict(expense, request_id)
    document = _cbor_facts(body) if is_cbor else _parse_object(body)
    kind = "" if document is None else document.get("__type", "")
    is_error = status >= FIRST_ERROR_STATUS or (document is not None and "__type" in document)
    fault = None
    if document is None and (body or (has_output and not is_error)):
        fault = "the response does not have the form that the protocol requires"
    elif not isinstance(kind, str):
        fault = "the response has an error type that is not a string"
    elif is_error and len(body) > _MAX_ERROR_BYTES:
        fault = _LONG_ERROR
    return Verdict(fault, request_id, None if is_cbor else document, is_error=is_error)


def _parse_object(body: bytes) -> dict[str, Any] | None:
    """Return the JSON object of a body, or ``None`` if it is none."""
    try:
        text = body.decode("utf-8").strip(" \t\r\n")
        document, end = _DECODER.raw_decode(text)  # a third of the time of `json.loads` for a short body
    except (ValueError, RecursionError):  # ValueError: not UTF-8, not JSON, or a number of 5,000 digits
        return None
    return document if isinstance(document, dict) and end == len(text) else None


def _find_expense(body: bytes) -> str | None:
    """Return why parsing the body would take too much memory, or ``None``."""
    most = max((_MEMORY - _TIMES_LENGTH * len(body)) // _BYTES_PER_VALUE, _VALUES_OF_ANY_RESPONSE)
    if len(body) <= most:  # each value takes at least one byte
        return None
    bare = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    if len(body) > _LONGEST_WIDE_BODY and _WIDE.search(bare):
        return "the response has more than 16 MiB and a character beyond Latin-1, which multiplies its memory"
    if bare.count(b'"') > 2 * most:
        return _TOO_MANY_VALUES
    between_strings = bare.split(b'"')[::2]
    count = sum(part.count(mark) for part in between_strings for mark in (b",", b"[", b"{"))
    return _TOO_MANY_VALUES if count > most else None


def _cbor_facts(body: bytes) -> dict[str, Any] | None:
    """Return whether a body starts as a CBOR map (major type 5), and whether it has an error type."""
    if not body or body[0] >> 5 != 5:  # noqa: PLR2004 - RFC 8949, section 3.1
        return None
    return {"__type": ""} if b"\x66__type" in body else {}  # a string of six bytes
