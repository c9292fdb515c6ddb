"""Upload a file to S3, encrypted with KMS."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cp_thirdparty.artifacts._place import Place
from cp_thirdparty.artifacts._transfer import Reporter, transfers

__all__ = ["upload"]


def upload(s3: Any, place: Place, path: Path, key_id: str | None, reporter: Reporter) -> None:
    """Store a file.  s3transfer aborts a multipart upload that fails."""
    # The default policy of pipeline buckets denies uploads without it ("Configure server-side encryption" of
    # CodePipeline's user guide); without a key it means the AWS managed one.
    settings = {"ServerSideEncryption": "aws:kms", "ChecksumAlgorithm": "CRC32"}
    if key_id is not None:
        settings["SSEKMSKeyId"] = key_id
    with transfers(s3) as manager:
        future = manager.upload(str(path), place.bucket, place.key, extra_args=settings, subscribers=[reporter])
        future.result()
