"""Upload an open file to S3, encrypted with KMS."""

from __future__ import annotations

import io
import os
import threading
from typing import Any, BinaryIO, Final, cast

from cp_thirdparty.artifacts._local_files import FileChangedError
from cp_thirdparty.artifacts._place import ObjectLocation
from cp_thirdparty.artifacts._transfer import Reporter, transfers

__all__ = ["upload"]

# s3transfer opens a file by its name, once for each part.  `_files` gives it the open file.
_NAME: Final = "artifact"


def upload(s3: Any, location: ObjectLocation, file: BinaryIO, key_id: str | None, reporter: Reporter) -> None:
    """Store an open file.  s3transfer aborts a multipart upload that fails."""
    # The default policy of pipeline buckets denies uploads without it ("Configure server-side encryption" of
    # CodePipeline's user guide); without a key it means the AWS managed one.
    settings = {"ServerSideEncryption": "aws:kms", "ChecksumAlgorithm": "CRC32"}
    if key_id is not None:
        settings["SSEKMSKeyId"] = key_id
    with transfers(s3, _files(file)) as manager:
        future = manager.upload(_NAME, location.bucket, location.key, extra_args=settings, subscribers=[reporter])
        future.result()


def _files(file: BinaryIO) -> Any:
    """Return what s3transfer opens files with, and so reads this one: another user may have replaced its path."""
    from s3transfer.utils import OSUtils  # noqa: PLC0415 - of an extra

    lock = threading.Lock()
    size = os.fstat(file.fileno()).st_size

    class Files(OSUtils):
        def get_file_size(self, filename: str) -> int:  # noqa: ARG002 - there is one file
            return size

        def open(self, filename: str, mode: str) -> Any:  # noqa: ARG002 - there is one file
            return _Reader(file, size, lock)

    return Files()


class _Reader(io.RawIOBase):
    """Reads an open file at its own position, as each part of an upload does."""

    def __init__(self, file: BinaryIO, size: int, lock: threading.Lock) -> None:
        self._file = file
        self._size = size
        self._lock = lock
        self._position = 0

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        with self._lock:
            self._file.seek(self._position)
            self._position = self._file.seek(offset, whence)
        return self._position

    def readinto(self, buffer: Any) -> int:
        with self._lock:
            self._file.seek(self._position)
            count: int = cast("Any", self._file).readinto(buffer)
        if not count and len(buffer) and self._position < self._size:  # S3 would wait for the rest until its timeout
            raise FileChangedError
        self._position += count
        return count
