"""Upload an open file to S3 as an object that is encrypted with KMS."""

from __future__ import annotations

import io
import os
import threading
from typing import Any, BinaryIO, Final, cast

from cp_thirdparty.artifacts._local_files import FileChangedError
from cp_thirdparty.artifacts._place import ObjectLocation
from cp_thirdparty.artifacts._transfer import Reporter, open_transfer_manager

# s3transfer opens the file by this name, once for each part.  The functions of `_files` ignore the name and use the
# open file.
_NAME: Final = "artifact"


def upload(s3: Any, location: ObjectLocation, file: BinaryIO, key_id: str | None, reporter: Reporter) -> None:
    """Store the content of an open file as an object.  If a multipart upload fails, s3transfer aborts it."""
    # The default policy of pipeline buckets denies uploads without "aws:kms" ("Configure server-side encryption" in the
    # CodePipeline user guide).  Without a key id, S3 uses the AWS managed key.
    settings = {"ServerSideEncryption": "aws:kms", "ChecksumAlgorithm": "CRC32"}
    if key_id is not None:
        settings["SSEKMSKeyId"] = key_id
    with open_transfer_manager(s3, _files(file)) as manager:
        future = manager.upload(_NAME, location.bucket, location.key, extra_args=settings, subscribers=[reporter])
        future.result()


def _files(file: BinaryIO) -> Any:
    """
    Return an ``OSUtils`` for s3transfer that reads the open file for each name.

    s3transfer would open the file by its path, and another user may have put another file there.
    """
    from s3transfer.utils import OSUtils  # noqa: PLC0415 - optional dependency

    lock = threading.Lock()
    size = os.fstat(file.fileno()).st_size

    class Files(OSUtils):
        def get_file_size(self, filename: str) -> int:  # noqa: ARG002 - there is one file
            return size

        def open(self, filename: str, mode: str) -> Any:  # noqa: ARG002 - there is one file
            return _Reader(file, size, lock)

    return Files()


class _Reader(io.RawIOBase):
    """A reader of the open file with its own position.  Each part of an upload has one, and they run in parallel."""

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
        # The file is shorter than before.  S3 would wait for the missing bytes until its timeout.
        if not count and len(buffer) and self._position < self._size:
            raise FileChangedError
        self._position += count
        return count
