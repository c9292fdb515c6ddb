"""
Validate the responses of S3.

botocore does not notice that a page of a proxy is returned as the content of an object, or that a response without a
length ends too early.  It also does not check that the range, the ETag, the checksum and the encryption are the
requested ones.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import attrs

from cp_thirdparty.artifacts._checksum import find_checksum_fault

_OK: Final = 200
_PARTIAL: Final = 206
_LENGTH = re.compile(r"[0-9]{1,15}")
_RANGE = re.compile(r"bytes=([0-9]+)-([0-9]*)")
_CONTENT_RANGE = re.compile(r"bytes ([0-9]+)-([0-9]+)/([0-9]+)")

# The operations whose responses are checked for the encryption of the object.  The response to CreateMultipartUpload
# states the encryption too, but is not checked.  If it were refused, s3transfer would not know the id of the upload,
# and could not abort it.
_ENCRYPTING: Final = frozenset({"PutObject", "UploadPart"})

_OTHER_SIZE: Final = "the object does not have the size that S3 has reported before"


@attrs.frozen
class Facts:
    """
    The facts that S3 has reported about an object before it is read.

    Attributes:
        size: The size in bytes.
        etag: The ETag, which changes with each version of the object.
        checksums: Name of the algorithm -> checksum in the form of S3's headers.
    """

    size: int
    etag: str
    checksums: Mapping[str, str]


class ResponseRefusedError(Exception):
    """A response is not accepted.  The message is the reason, without any content of the response."""


def find_fault(
    operation_name: str,
    status: int,
    asked: Mapping[str, Any],
    parsed: Mapping[str, Any],
    key_id: str | None,
    *,
    facts: Facts | None,
    is_request_id_required: bool,
) -> str | None:
    """
    Return the reason why a response with a successful status is not accepted; ``None`` if it is accepted.

    Args:
        operation_name: The name of the S3 operation, such as ``"GetObject"``.
        status: The HTTP status of the response.
        asked: The headers of the request.
        parsed: The response as botocore has parsed it.
        key_id: The id of the job's KMS key; ``None`` if the job has no key.
        facts: The facts of the object that is being read; ``None`` if they are not known yet.
        is_request_id_required: Whether a response without a request id is refused.
    """
    headers: Mapping[str, str] = parsed["ResponseMetadata"]["HTTPHeaders"]
    if is_request_id_required and not headers.get("x-amz-request-id"):
        return "a response without a request id is not from S3"
    if operation_name in ("GetObject", "HeadObject"):
        return _download_fault(status, asked, headers, facts)
    if operation_name in ("PutObject", "UploadPart", "CompleteMultipartUpload") and not parsed.get("ETag"):
        return "S3 did not return the ETag of the stored object"
    if operation_name in _ENCRYPTING:
        return _encryption_fault(headers, key_id)
    return None


def _download_fault(
    status: int, asked: Mapping[str, Any], headers: Mapping[str, str], facts: Facts | None
) -> str | None:
    length = headers.get("content-length", "")
    if not _LENGTH.fullmatch(length):
        return "a response without a length cannot be checked"
    etag = headers.get("etag")
    if not etag or asked.get("If-Match", etag) != etag:
        return "the response is not about the requested object"
    span = _RANGE.fullmatch(asked.get("Range", ""))
    if span is not None:
        fault = _range_fault(status, span, headers, facts)
    elif status != _OK:
        fault = "S3 sent a part of the object instead of all of it"
    else:
        fault = None if facts is None or facts.size == int(length) else _OTHER_SIZE
    reported = None if facts is None else facts.checksums
    return fault or find_checksum_fault(headers, reported, is_complete=span is None)


def _range_fault(status: int, span: re.Match[str], headers: Mapping[str, str], facts: Facts | None) -> str | None:
    sent = _CONTENT_RANGE.fullmatch(headers.get("content-range", ""))
    begin, end, total = (-1, -1, -1) if sent is None else (int(part) for part in sent.groups())
    last = min(int(span[2] or total), total - 1)
    length = int(headers["content-length"])
    if status != _PARTIAL or sent is None or (begin, end, length) != (int(span[1]), last, last - begin + 1):
        return "S3 did not send the requested part of the object"
    return None if facts is None or facts.size == total else _OTHER_SIZE


def _encryption_fault(headers: Mapping[str, str], key_id: str | None) -> str | None:
    if headers.get("x-amz-server-side-encryption") != "aws:kms":
        return "S3 did not encrypt with KMS"
    used = headers.get("x-amz-server-side-encryption-aws-kms-key-id", "")
    # S3 returns the ARN of the key, also if the request had an alias of the key.  So an alias cannot be compared.
    if key_id is None or "alias/" in key_id or used == key_id or used.endswith(f":key/{key_id}"):
        return None
    return "S3 did not encrypt with the key of the job"
