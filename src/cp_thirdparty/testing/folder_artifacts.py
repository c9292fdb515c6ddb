"""`FolderArtifacts`: an artifact store on a local folder, for tests without S3."""

from __future__ import annotations

import io
import os
import re
import shutil
import time
import zipfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeAlias, cast

from typing_extensions import Self

from cp_thirdparty._base.frames import hide_arguments
from cp_thirdparty._core.call import CURRENT, Call
from cp_thirdparty.artifacts._bounds import Bounds, TransferCall
from cp_thirdparty.artifacts._failures import call_s3
from cp_thirdparty.artifacts._local_files import LocalPath, open_file, to_path
from cp_thirdparty.artifacts._place import ObjectLocation
from cp_thirdparty.artifacts._temporary import PrivateDirectory
from cp_thirdparty.artifacts._transfer import Reporter
from cp_thirdparty.artifacts.create import create_archive
from cp_thirdparty.artifacts.store import ArtifactStore
from cp_thirdparty.client import CustomJobClient, ThirdPartyJobClient
from cp_thirdparty.exceptions import ArtifactError, ArtifactNotFoundError, ArtifactTooLargeError, InvalidRequestError
from cp_thirdparty.models import AnyJobDetails, JobData, JobDetails
from cp_thirdparty.secrets import SecretStr

__all__ = ["ArtifactContent", "FolderArtifacts"]

ArtifactContent: TypeAlias = str | os.PathLike[str] | bytes | Mapping[str, str | bytes]
"""
Content of an artifact, in one of these forms:

* a ``str`` or path object: the path of a file to copy, or of a directory from which a zip archive is created
* ``bytes``: the content of the artifact itself
* a mapping: the files of a zip archive, from each file name to its content; here a ``str`` is content and not a path
"""

# The pattern of `ArtifactName` in CodePipeline's API reference.  Such a name has no dot and no path separator, so it
# cannot leave the folder.
_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,100}")
_NAME_RULE: Final = "must have 1 to 100 letters, digits, '-' or '_'"
_CHUNK: Final = 256 << 10
# A zip archive stores the Unix mode in the upper 16 bits of `external_attr`.
_FILE_MODE: Final = 0o100644 << 16


class FolderArtifacts(ArtifactStore):
    """
    The artifacts of one job in a local folder instead of S3.

    Each artifact is a file in the folder with the name of the artifact; an input and an output with the same name share
    a file.  The methods and errors are those of `cp_thirdparty.artifacts.ArtifactStore`.  S3, a network, credentials
    and the extra ``artifacts`` are not needed.

    A worker opens the artifacts of each job with ``artifacts=partial(FolderArtifacts.for_job, folder=folder)``.

    Args:
        folder: The folder of the artifacts; it is created if it does not exist.
        details: The details of the job, which list its artifacts; ``None`` if only `put()` and `files()` are used.
        deadline: The time at which all work on the artifacts must end, in seconds since 1970.  ``None``: each transfer
            ends after one hour.
        is_cancelled: Returns whether the job was cancelled; running work then fails.
        clock: Returns the time in seconds since 1970.

    .. versionadded:: 0.2.0
    """

    def __init__(
        self,
        folder: LocalPath,
        details: AnyJobDetails | None = None,
        *,
        deadline: float | None = None,
        is_cancelled: Callable[[], bool] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._folder = to_path(folder, "folder")
        self._folder.mkdir(exist_ok=True)
        details = details or JobDetails(id="", data=JobData(), nonce="")
        bounds = Bounds(deadline=deadline, is_cancelled=is_cancelled, clock=clock)
        super().__init__(_FolderObjects(self._folder), details, bounds)

    @classmethod
    @hide_arguments
    def for_job(  # type: ignore[override] # pyright: ignore[reportIncompatibleMethodOverride] - the folder is required
        cls,
        client: ThirdPartyJobClient | CustomJobClient,  # noqa: ARG003 - a worker passes it
        details: AnyJobDetails,
        *,
        client_token: str | SecretStr | None = None,  # noqa: ARG003 - a worker passes it
        folder: LocalPath,
        deadline: float | None = None,
        is_cancelled: Callable[[], bool] | None = None,
        clock: Callable[[], float] = time.time,
        **settings: Any,  # noqa: ARG003 - they are for S3
    ) -> Self:
        """
        Create the artifact store of a job.  A worker calls this method.

        Args:
            client: Not used.
            details: The details of the job.
            client_token: Not used.
            folder: The folder of the artifacts.
            deadline: The time at which all work on the artifacts must end, in seconds since 1970.  ``None``: each
                transfer ends after one hour.
            is_cancelled: Returns whether the job was cancelled; running work then fails.
            clock: Returns the time in seconds since 1970.
            settings: The other arguments of `ArtifactStore.for_job`, which are not used.
        """
        return cls(folder, details, deadline=deadline, is_cancelled=is_cancelled, clock=clock)

    @property
    def folder(self) -> Path:
        """The folder of the artifacts."""
        return self._folder

    @hide_arguments
    def put(self, name: str, content: ArtifactContent) -> Path:
        """
        Write an artifact, as an earlier action of the pipeline does, and return the path of its file.

        Args:
            name: Name of the artifact.
            content: The content; `ArtifactContent` lists its forms.  A mapping may have any file names, so that a test
                can write an archive that `extract()` refuses.

        Raises:
            cp_thirdparty.exceptions.InvalidRequestError: The name is not a valid artifact name.
            OSError: A file cannot be read or written.
            TypeError: An argument has the wrong type.
        """
        path = self._file(name)
        if isinstance(content, Mapping):
            _write_archive(path, content)
        elif isinstance(content, bytes):
            path.write_bytes(content)
        elif (source := to_path(content, "content")).is_dir():
            create_archive(source, to=path)
        else:
            shutil.copyfile(source, path)
        return path

    @hide_arguments
    def files(self, name: str) -> dict[str, bytes]:
        """
        Return a dictionary of file names to contents for an artifact that is a zip archive.

        Args:
            name: Name of the artifact.

        Raises:
            FileNotFoundError: The artifact was not written yet.
            zipfile.BadZipFile: The artifact is not a zip archive.
            cp_thirdparty.exceptions.InvalidRequestError: The name is not a valid artifact name.
        """
        with zipfile.ZipFile(self._file(name)) as archive:
            return {info.filename: archive.read(info) for info in archive.infolist() if not info.is_dir()}

    def _file(self, name: str) -> Path:
        if not isinstance(name, str):
            raise TypeError(f"name: must be a str, not {type(name).__name__}")
        if not _NAME.fullmatch(name):
            raise InvalidRequestError("name", _NAME_RULE)
        return self._folder / name


def _write_archive(path: Path, files: Mapping[str, str | bytes]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            if not isinstance(name, str) or not isinstance(content, (str, bytes)):
                raise TypeError("content: must have names of type str, and contents of type str or bytes")
            info = zipfile.ZipInfo(name)  # its time stamp is fixed, so that equal files give equal archives
            info.external_attr = _FILE_MODE
            archive.writestr(info, content)


class _FolderObjects:
    """The S3 objects of a job, each stored in a file."""

    partition = "aws"

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def size(self, location: ObjectLocation) -> int:
        return self._find(location).stat().st_size

    def open(self, location: ObjectLocation, call: TransferCall) -> io.RawIOBase:
        return _Stream(self._find(location), location, call)

    def fetch(self, location: ObjectLocation, file: BinaryIO, reporter: Reporter, *, max_bytes: int | None) -> None:
        source = self._find(location)
        if max_bytes is not None and source.stat().st_size > max_bytes:
            raise ArtifactTooLargeError(f"{location}: the object has more than {max_bytes} bytes")
        with open_file(source) as stored:
            _copy(stored, file, reporter)

    def upload(self, location: ObjectLocation, file: BinaryIO, reporter: Reporter) -> None:
        _check_deadline()
        to = self._path(location)
        file.seek(0)
        with PrivateDirectory(to.parent, is_aborted=reporter.is_aborted) as private:
            with private.create_file(to.name) as written:
                _copy(file, written, reporter)
            private.publish(to.name, to.name)

    def close(self) -> None:
        pass

    def _path(self, location: ObjectLocation) -> Path:
        if not _NAME.fullmatch(location.name):
            raise ArtifactError(f"{location}: its name {_NAME_RULE}")
        return self._folder / location.name

    def _find(self, location: ObjectLocation) -> Path:
        _check_deadline()
        path = self._path(location)
        if not path.is_file():
            # The same error as for a 404 response of S3 to HeadObject.
            raise ArtifactNotFoundError(
                f"{location}: S3 has no such object",
                operation_name="HeadObject",
                status_code=404,
                attempts=1,
                is_retry_safe=False,
            )
        return path


class _Stream(io.RawIOBase):
    """A stream without seek, like a response of S3; reads fail after the deadline of the transfer."""

    def __init__(self, path: Path, location: ObjectLocation, call: TransferCall) -> None:
        self._location = location
        self._call = call
        self._file: Any = open_file(path)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        count, error = call_s3(partial(self._read_into, buffer), self._location, self._call)
        if error is not None:
            raise error
        return count

    def _read_into(self, buffer: Any) -> int | None:
        self._call.check_deadline()
        count: int | None = self._file.readinto(buffer)
        return count

    def close(self) -> None:
        self._file.close()
        super().close()


def _check_deadline() -> None:
    """Raise `TransferStoppedError` if the deadline was reached or the job was cancelled."""
    cast("Call", CURRENT.get()).check_deadline()


def _copy(source: BinaryIO, to: BinaryIO, reporter: Reporter) -> None:
    while chunk := source.read(_CHUNK):
        _check_deadline()
        to.write(chunk)
        reporter.report_bytes(len(chunk))
    to.flush()
