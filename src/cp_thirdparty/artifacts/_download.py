"""Download an object from S3 to an open file, and compare its bytes with its checksums."""

from __future__ import annotations

from typing import Any, BinaryIO, cast

from botocore.exceptions import ClientError

from cp_thirdparty.artifacts._checksum import Comparison, read_checksums
from cp_thirdparty.artifacts._local_files import check_space
from cp_thirdparty.artifacts._place import ObjectLocation
from cp_thirdparty.artifacts._responses import Facts
from cp_thirdparty.artifacts._s3 import close_responses, pin_object
from cp_thirdparty.artifacts._transfer import Reporter, open_transfer_manager
from cp_thirdparty.exceptions import ArtifactTooLargeError, ArtifactTransferError


def facts_of(s3: Any, location: ObjectLocation) -> Facts:
    """Request the size, the ETag and the checksums of an object from S3."""
    try:
        response = s3.head_object(Bucket=location.bucket, Key=location.key, ChecksumMode="ENABLED")
    except ClientError as failure:
        if failure.response.get("Error", {}).get("Code") == "403":
            # A response to HEAD has no body.  The response to GET states whether S3 or KMS denied access, so this
            # request raises the more exact error.
            s3.get_object(Bucket=location.bucket, Key=location.key, Range="bytes=0-0")["Body"].close()
        raise
    checksums = read_checksums(response["ResponseMetadata"]["HTTPHeaders"])
    facts = Facts(size=response["ContentLength"], etag=response["ETag"], checksums=checksums)
    # Some proxies respond to every HEAD with a size of 0.  For an empty object, no other request would notice that.
    if facts.size == 0:
        with pin_object(facts):
            s3.get_object(Bucket=location.bucket, Key=location.key)["Body"].close()
    return facts


def fetch(s3: Any, location: ObjectLocation, file: BinaryIO, reporter: Reporter, *, max_bytes: int | None) -> None:
    """Write an object to an open file, and compare the bytes with its checksums; see `ArtifactStorage.fetch`."""
    facts = facts_of(s3, location)
    if max_bytes is not None and facts.size > max_bytes:
        raise ArtifactTooLargeError(f"{location}: the object has more than {max_bytes} bytes")
    check_space(file, facts.size)
    with pin_object(facts), close_responses(), open_transfer_manager(s3) as manager:
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
        # s3transfer 0.10 has no such method; it does not compare ETags.
        getattr(future.meta, "provide_object_etag", str)(self._facts.etag)


def _check(file: BinaryIO, location: ObjectLocation, facts: Facts, reporter: Reporter) -> None:
    # An object that was downloaded in ranges has no checksum in any response, so nothing has been compared yet.  For an
    # object in one response, botocore has compared only one checksum, and only if it can compute it.
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
