"""
No bytes without proof: what an answer of S3 must say before it counts.

Botocore hands on a page of a proxy as the bytes of an object, reads a body without a length to whatever end it has, and
does not look whether a range, an ETag or an encryption is the one that was asked for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

__all__ = ["AnswerRefused", "fault_of"]

_OK: Final = 200
_PARTIAL: Final = 206
_LENGTH = re.compile(r"[0-9]{1,15}")
_RANGE = re.compile(r"bytes=([0-9]+)-([0-9]*)")
_CONTENT_RANGE = re.compile(r"bytes ([0-9]+)-([0-9]+)/([0-9]+)")

# The operations whose answers tell how the object is encrypted.  That of CreateMultipartUpload does too, but nobody
# could abort the upload if it were not believed.
_ENCRYPTING: Final = frozenset({"PutObject", "UploadPart"})

_OTHER_SIZE: Final = "the object does not have the size that S3 has reported before"


class AnswerRefused(Exception):  # noqa: N818 - no caller sees it: _failures.py makes an error of it
    """An answer does not count; its text says why, and holds nothing of the answer."""


def fault_of(
    operation_name: str,
    status: int,
    asked: Mapping[str, Any],
    parsed: Mapping[str, Any],
    key_id: str | None,
    *,
    size: int | None,
    is_request_id_required: bool,
) -> str | None:
    """
    Tell why a successful answer does not count, or ``None``.

    Args:
        operation_name: As S3 spells it.

        status: The HTTP status.

        asked: The headers of the request.

        parsed: What botocore has read from the answer.

        key_id: The encryption key of the job, if it has one.

        size: How many bytes the object must have that is being read; ``None`` if that is not known.

        is_request_id_required: Whether a response without a request id counts as one that S3 did not send.
    """
    headers: Mapping[str, str] = parsed["ResponseMetadata"]["HTTPHeaders"]
    if is_request_id_required and not headers.get("x-amz-request-id"):
        return "an answer without a request id is not S3's"
    if operation_name in ("GetObject", "HeadObject"):
        return _download_fault(status, asked, headers, size)
    if operation_name in ("PutObject", "UploadPart", "CompleteMultipartUpload") and not parsed.get("ETag"):
        return "S3 did not tell the ETag of what it has stored"
    if operation_name in _ENCRYPTING:
        return _encryption_fault(headers, key_id)
    return None


def _download_fault(status: int, asked: Mapping[str, Any], headers: Mapping[str, str], size: int | None) -> str | None:
    length = headers.get("content-length", "")
    if not _LENGTH.fullmatch(length):
        return "an answer without a length could end anywhere"
    etag = headers.get("etag")
    if not etag or asked.get("If-Match", etag) != etag:
        return "the answer is not about the object that was asked for"
    span = _RANGE.fullmatch(asked.get("Range", ""))
    if span is not None:
        return _range_fault(status, span, headers, size)
    if status != _OK:
        return "S3 sent a part of the object instead of all of it"
    return None if size in (None, int(length)) else _OTHER_SIZE


def _range_fault(status: int, span: re.Match[str], headers: Mapping[str, str], size: int | None) -> str | None:
    sent = _CONTENT_RANGE.fullmatch(headers.get("content-range", ""))
    begin, end, total = (-1, -1, -1) if sent is None else (int(part) for part in sent.groups())
    last = min(int(span[2] or total), total - 1)
    length = int(headers["content-length"])
    if status != _PARTIAL or sent is None or (begin, end, length) != (int(span[1]), last, last - begin + 1):
        return "S3 did not send the part of the object that was asked for"
    return None if size in (None, total) else _OTHER_SIZE


def _encryption_fault(headers: Mapping[str, str], key_id: str | None) -> str | None:
    if headers.get("x-amz-server-side-encryption") != "aws:kms":
        return "S3 did not encrypt with KMS"
    used = headers.get("x-amz-server-side-encryption-aws-kms-key-id", "")
    # An alias is answered with the key behind it, so nothing can be said of it.
    if key_id is None or "alias/" in key_id or used == key_id or used.endswith(f":key/{key_id}"):
        return None
    return "S3 did not encrypt with the key of the job"
