"""Download from S3 to an open file, and check it."""

from __future__ import annotations

from typing import Any, BinaryIO, cast

from botocore.exceptions import ClientError

from cp_thirdparty.artifacts._checksum import Comparison, read_checksums
from cp_thirdparty.artifacts._local_files import check_space
from cp_thirdparty.artifacts._place import ObjectLocation
from cp_thirdparty.artifacts._responses import Facts
from cp_thirdparty.artifacts._s3 import close_responses, pin_object
from cp_thirdparty.artifacts._transfer import Reporter, transfers
from cp_thirdparty.exceptions import ArtifactTooLargeError, ArtifactTransferError

__all__ = ["facts_of", "fetch"]


def facts_of(s3: Any, location: ObjectLocation) -> Facts:
    """Request size, ETag and checksums of an object from S3."""
    try:
        response = s3.head_object(Bucket=location.bucket, Key=location.key, ChecksumMode="ENABLED")
    except ClientError as failure:
        if failure.response.get("Error", {}).get("Code") == "403":
            # The response to HEAD has no body.  That to GET states whether S3 or KMS has denied it.
            s3.get_object(Bucket=location.bucket, Key=location.key, Range="bytes=0-0")["Body"].close()
        raise
    checksums = read_checksums(response["ResponseMetadata"]["HTTPHeaders"])
    facts = Facts(size=response["ContentLength"], etag=response["ETag"], checksums=checksums)
    if facts.size == 0:  # some proxies send this for every HEAD, and a stream of no bytes needs no other request
        with pin_object(facts):
            s3.get_object(Bucket=location.bucket, Key=location.key)["Body"].close()
    return facts


def fetch(s3: Any, location: ObjectLocation, file: BinaryIO, reporter: Reporter, *, max_bytes: int | None) -> None:
    """
    Write the object to an open file, and check it.

    Args:
        s3: The client.
        location: The object.
        file: Is empty, and open for reading and writing.
        reporter: Counts the bytes.
        max_bytes: How many bytes the object may have; ``None`` for any number.
    """
    facts = facts_of(s3, location)
    if max_bytes is not None and facts.size > max_bytes:
        raise ArtifactTooLargeError(f"{location}: the object has more than {max_bytes} bytes")
    check_space(file, facts.size)
    with pin_object(facts), close_responses(), transfers(s3) as manager:
        future = manager.download(
            *(location.bucket, location.key, file),
            extra_args={"ChecksumMode": "ENABLED"},
            subscribers=[_KnownSize(facts), reporter],
        )
        future.result()
    file.flush()
    _check(file, location, facts, reporter)


class _KnownSize:
    """A subscriber of s3transfer that makes a second request for the size needless."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts

    def on_queued(self, future: Any, **_: object) -> None:
        future.meta.provide_transfer_size(self._facts.size)
        # s3transfer 0.10 wants no ETag.
        getattr(future.meta, "provide_object_etag", str)(self._facts.etag)


def _check(file: BinaryIO, location: ObjectLocation, facts: Facts, reporter: Reporter) -> None:
    # S3 sends no checksum with a range.  With a complete object, botocore compares only what it can.
    comparison = Comparison(facts.checksums)
    if not comparison.is_possible:
        return
    buffer = bytearray(1 << 20)
    file.seek(0)
    while count := cast("Any", file).readinto(buffer):
        comparison.update(memoryview(buffer)[:count])
        reporter.check()
    if not comparison.is_equal():
        raise ArtifactTransferError(
            f"{location}: the bytes do not have the checksum that S3 reports", is_retry_safe=True
        )
