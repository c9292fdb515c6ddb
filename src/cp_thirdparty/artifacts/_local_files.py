"""Check the caller's paths and limits, open local files, and convert errors of the operating system."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeAlias

from cp_thirdparty._base.limits import check_int_range
from cp_thirdparty._core.caller_code import clear_frames
from cp_thirdparty.artifacts._bounds import TransferStoppedError
from cp_thirdparty.artifacts._temporary import PrivateDirectory
from cp_thirdparty.artifacts._transfer import CallbackFailed, Reporter
from cp_thirdparty.artifacts.limits import ArchiveLimits
from cp_thirdparty.exceptions import (
    ArtifactError,
    ArtifactFileError,
    ArtifactTransferError,
    InvalidRequestError,
)

LocalPath: TypeAlias = "str | os.PathLike[str]"
# The name of the temporary file in its private directory.
_TEMPORARY_NAME: Final = "artifact"
# Called with the error of each entry that is not put into an archive.
OnSkip: TypeAlias = Callable[[ArtifactError], object]


def to_path(value: LocalPath, parameter: str) -> Path:
    """
    Check a path that the caller gave as ``parameter``, and return it as a `pathlib.Path`.

    Raises:
        TypeError: The path is neither a string nor an `os.PathLike` of a string.
        cp_thirdparty.exceptions.InvalidRequestError: The path is empty, or has a NUL character, or has a character that
            file names on this system cannot have.
    """
    path: object = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(path, str):
        raise TypeError(f"{parameter}: must be a str or an os.PathLike of str, not {type(value).__name__}")
    if not path or "\0" in path:
        raise InvalidRequestError(parameter, "must not be empty and must have no NUL character")
    if not _is_encodable(path):
        raise InvalidRequestError(parameter, "must have only characters that a file name can have")
    return Path(path)


def _is_encodable(path: str) -> bool:
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        return False
    return True


def check_limits(limits: ArchiveLimits | None) -> ArchiveLimits:
    """Return the limits that the caller gave, or the default limits for ``None``; otherwise raise `TypeError`."""
    if limits is None:
        return ArchiveLimits()
    if not isinstance(limits, ArchiveLimits):
        raise TypeError(f"limits: must be ArchiveLimits, not {type(limits).__name__}")
    return limits


def check_max_bytes(max_bytes: int | None) -> None:
    """Raise `InvalidRequestError` if the maximum size of a download is neither an int of at least 1 nor ``None``."""
    problem = None if max_bytes is None else check_int_range(max_bytes, 1)
    if problem is not None:
        raise InvalidRequestError("max_bytes", problem)


def file_error(failure: OSError, path: LocalPath | None = None) -> ArtifactFileError:
    """
    Convert an error of the operating system into an `ArtifactFileError`.

    The new error shows ``path``; if it is ``None``, the path that ``failure`` contains.
    """
    strerror = os.strerror(failure.errno) if failure.errno else type(failure).__name__
    filename: Any = failure.filename if path is None else os.fspath(path)
    return ArtifactFileError(failure.errno, strerror, None if filename is None else os.fsdecode(filename))


def open_file(path: Path) -> BinaryIO:
    """
    Open a regular file for reading.

    Other kinds of files are refused: a FIFO could block until after the deadline, and a device may have no end.

    Raises:
        OSError: The file cannot be opened.
        cp_thirdparty.exceptions.ArtifactFileError: The path leads to something that is not a regular file.
    """
    file = open(path, "rb", opener=_open_without_waiting)  # noqa: SIM115 - the caller closes it
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise ArtifactFileError(errno.EINVAL, "Not a regular file", os.fspath(path))
    return file


class FileChangedError(TransferStoppedError):
    """A file was changed during its upload, so the object in S3 may mix old and new content."""

    def __init__(self) -> None:
        super().__init__("the file was changed while it was read")


def check_unchanged(file: BinaryIO, before: os.stat_result) -> None:
    """
    Raise `FileChangedError` if an open file was changed since its status was read.

    Size and modification time must be the same, and the file must have no bytes after that size.  The second check
    finds files in /proc and in some FUSE file systems, which contain more bytes than their status states.
    """
    after = os.fstat(file.fileno())
    file.seek(before.st_size)
    if (before.st_mtime_ns, before.st_size) != (after.st_mtime_ns, after.st_size) or file.read(1):
        raise FileChangedError


def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


@contextmanager
def create_private_file(parent: Path, is_aborted: Callable[[], bool]) -> Generator[BinaryIO]:
    """
    Create a private temporary file that is open for reading and writing; remove it at the end of the ``with`` block.

    Args:
        parent: The directory in which a new private directory for the file is created.
        is_aborted: Returns whether the removal of old temporary directories must stop; see `PrivateDirectory`.

    Raises:
        cp_thirdparty.exceptions.ArtifactFileError: The file cannot be created.
        cp_thirdparty.exceptions.ArtifactError: Another user has replaced the private directory.
    """
    with ExitStack() as stack:
        file = _open_private_file(stack, parent, is_aborted)
        if isinstance(file, ArtifactFileError):
            raise file
        stack.callback(_close, file)
        yield file


def _open_private_file(stack: ExitStack, parent: Path, is_aborted: Callable[[], bool]) -> BinaryIO | ArtifactFileError:
    """Create the file, and register the removal of its directory; return an `ArtifactFileError` if this fails."""
    try:
        return stack.enter_context(PrivateDirectory(parent, is_aborted=is_aborted)).create_file(_TEMPORARY_NAME)
    except OSError as failure:
        return file_error(failure, parent)


def _close(file: BinaryIO) -> None:
    # close() writes the buffer, which fails again if an earlier write failed.  This is harmless: the file is removed.
    with suppress(OSError):
        file.close()


def replace_failure(failure: BaseException, reporter: Reporter, path: LocalPath | None) -> BaseException:
    """
    Clear the frames of a failure, and return the exception to raise instead.

    The result is the exception of the caller's callback, an error of this library, or the same exception, such as
    `KeyboardInterrupt`.  An error of the operating system shows the path as `file_error` does.
    """
    clear_frames(failure)  # the local variables of the frames hold bytes of files
    if isinstance(failure, CallbackFailed) and reporter.failure is not None:
        return reporter.failure
    if isinstance(failure, TransferStoppedError):
        return ArtifactTransferError(str(failure), is_retry_safe=False)
    return file_error(failure, path) if isinstance(failure, OSError) else failure


def check_space(place: BinaryIO | Path, size: int) -> None:
    """Raise `OSError` (`errno.ENOSPC`) if the disk of an open file or a directory has no space for more bytes."""
    free = shutil.disk_usage(place if isinstance(place, Path) else place.fileno()).free
    if free < size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
