"""The storage that an artifact store reads and writes: S3, or a replacement for S3 in tests."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, BinaryIO, Final, Protocol

from cp_thirdparty.artifacts._bounds import TransferCall
from cp_thirdparty.artifacts._download import facts_of, fetch
from cp_thirdparty.artifacts._place import ObjectLocation
from cp_thirdparty.artifacts._reader import ArtifactReader
from cp_thirdparty.artifacts._temporary import PrivateDirectory
from cp_thirdparty.artifacts._transfer import Reporter
from cp_thirdparty.artifacts._upload import upload

# The name of a file during its download, in a private directory.
_OBJECT: Final = "object"


class ArtifactStorage(Protocol):
    """
    The interface of a storage of artifacts.

    `ArtifactStore` checks the arguments before it calls a method, and converts the errors that the method raises.
    """

    @property
    def partition(self) -> str:
        """The AWS partition of the region, such as ``"aws-cn"``."""
        ...

    def size(self, location: ObjectLocation) -> int:
        """Return the number of bytes of an object."""
        ...

    def open(self, location: ObjectLocation, call: TransferCall) -> io.RawIOBase:
        """Return a stream without seek, whose reads fail after the deadline of `call` or if the job was cancelled."""
        ...

    def fetch(self, location: ObjectLocation, file: BinaryIO, reporter: Reporter, *, max_bytes: int | None) -> None:
        """
        Write an object to a file, unless the object has more than `max_bytes` bytes.

        The file must be empty, and open for reading and writing.

        Raises:
            cp_thirdparty.exceptions.ArtifactTooLargeError: The object has more than `max_bytes` bytes.
        """
        ...

    def upload(self, location: ObjectLocation, file: BinaryIO, reporter: Reporter) -> None:
        """Store the content of an open file as an object."""
        ...

    def close(self) -> None:
        """Close all connections."""
        ...


class S3Objects:
    """
    A storage of artifacts in S3.

    Args:
        s3: The S3 client of the job.
        key_id: The id of the job's KMS key; ``None`` if the job has no key.
    """

    def __init__(self, s3: Any, key_id: str | None) -> None:
        self._s3 = s3
        self._key_id = key_id

    @property
    def partition(self) -> str:
        """The AWS partition of the client's region."""
        partition: str = self._s3.meta.partition
        return partition

    def size(self, location: ObjectLocation) -> int:
        """Return the number of bytes of an object."""
        return facts_of(self._s3, location).size

    def open(self, location: ObjectLocation, call: TransferCall) -> io.RawIOBase:
        """Return a stream of an object.  After a lost connection, it continues at the same position."""
        return ArtifactReader(self._s3, location, facts_of(self._s3, location), call)

    def fetch(self, location: ObjectLocation, file: BinaryIO, reporter: Reporter, *, max_bytes: int | None) -> None:
        """Write an object to an open file, and compare its bytes with its checksums."""
        fetch(self._s3, location, file, reporter, max_bytes=max_bytes)

    def upload(self, location: ObjectLocation, file: BinaryIO, reporter: Reporter) -> None:
        """Store the content of an open file as an object that is encrypted with KMS."""
        upload(self._s3, location, file, self._key_id, reporter)

    def close(self) -> None:
        """Close the connections."""
        self._s3.close()


def download(
    objects: ArtifactStorage, location: ObjectLocation, to: Path, reporter: Reporter, max_bytes: int | None
) -> Path:
    """Write an object to a file at the path `to`.  The file appears only when it is complete."""
    with PrivateDirectory(to.parent, is_aborted=reporter.is_aborted) as private:
        with private.create_file(_OBJECT) as file:
            objects.fetch(location, file, reporter, max_bytes=max_bytes)
        reporter.check()
        private.publish(_OBJECT, to.name)
    return to
