"""Local files and directories: paths of callers, and errors of the operating system."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeAlias

from cp_thirdparty._base import limits
from cp_thirdparty._core.caller_code import forget
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

__all__ = [
    "FileChangedError",
    "LocalPath",
    "OnSkip",
    "check_limits",
    "check_max_bytes",
    "check_space",
    "check_unchanged",
    "create_private_file",
    "error_of",
    "file_error",
    "open_file",
    "to_path",
]

LocalPath: TypeAlias = "str | os.PathLike[str]"
_TEMPORARY: Final = "artifact"
# Called with the error of a file that is left out of an archive.
OnSkip: TypeAlias = Callable[[ArtifactError], object]


def to_path(value: LocalPath, parameter: str) -> Path:
    """
    Return the path of a caller.

    Raises:
        TypeError: It is neither a string nor an `os.PathLike` of a string.
        cp_thirdparty.exceptions.InvalidRequestError: It is empty, or has a NUL character or one that cannot be encoded.
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
    """
    Return the limits of a caller, or the default ones.

    Raises:
        TypeError: They are not `ArchiveLimits`.
    """
    if limits is None:
        return ArchiveLimits()
    if not isinstance(limits, ArchiveLimits):
        raise TypeError(f"limits: must be ArchiveLimits, not {type(limits).__name__}")
    return limits


def check_max_bytes(max_bytes: int | None) -> None:
    """
    Check the limit of a download.

    Raises:
        cp_thirdparty.exceptions.InvalidRequestError: It is neither an integer of at least 1 nor ``None``.
    """
    broken = None if max_bytes is None else limits.int_in_range(max_bytes, 1)
    if broken is not None:
        raise InvalidRequestError("max_bytes", broken)


def file_error(failure: OSError, path: LocalPath | None = None) -> ArtifactFileError:
    """Return an error of the operating system as one of this library, with the path or else the one that it names."""
    strerror = os.strerror(failure.errno) if failure.errno else type(failure).__name__
    filename: Any = failure.filename if path is None else os.fspath(path)
    return ArtifactFileError(failure.errno, strerror, None if filename is None else os.fsdecode(filename))


def open_file(path: Path) -> BinaryIO:
    """
    Open a regular file for reading: a FIFO could block beyond the deadline, and a device have no end.

    Raises:
        OSError: It cannot be opened.
        cp_thirdparty.exceptions.ArtifactFileError: It is something else.
    """
    file = open(path, "rb", opener=_open_without_waiting)  # noqa: SIM115 - it is returned
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise ArtifactFileError(errno.EINVAL, "Not a regular file", os.fspath(path))
    return file


class FileChangedError(TransferStoppedError):
    """A file was changed while it was read, so S3 may have a mixture."""

    def __init__(self) -> None:
        super().__init__("the file was changed while it was read")


def check_unchanged(file: BinaryIO, before: os.stat_result) -> None:
    """
    Raise `FileChangedError` if an open file is not what its earlier status describes, or is longer.

    Files of /proc and of some FUSE file systems are longer than the system states.
    """
    after = os.fstat(file.fileno())
    file.seek(before.st_size)
    if (before.st_mtime_ns, before.st_size) != (after.st_mtime_ns, after.st_size) or file.read(1):
        raise FileChangedError


def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


@contextmanager
def create_private_file(parent: Path, is_over: Callable[[], bool]) -> Generator[BinaryIO]:
    """
    Create a private temporary file, open for reading and writing, and remove it at the end.

    Args:
        parent: The directory in which it is created.
        is_over: As for `PrivateDirectory`.

    Raises:
        cp_thirdparty.exceptions.ArtifactFileError: It cannot be created.
    """
    with ExitStack() as stack:
        file = _create_file(stack, parent, is_over)
        if isinstance(file, ArtifactFileError):
            raise file
        stack.callback(_close, file)
        yield file


def _create_file(stack: ExitStack, parent: Path, is_over: Callable[[], bool]) -> BinaryIO | ArtifactFileError:
    try:
        return stack.enter_context(PrivateDirectory(parent, is_over=is_over)).create_file(_TEMPORARY)
    except OSError as failure:
        return file_error(failure, parent)


def _close(file: BinaryIO) -> None:
    with suppress(OSError):  # the bytes that it could not write before
        file.close()


def error_of(failure: BaseException, reporter: Reporter, path: LocalPath | None) -> BaseException:
    """
    Return what to raise for a failure: an error of the caller's callback, or one of this library, or Ctrl-C.

    The frames that the failure leads to are cleared, because they hold bytes of files.

    Args:
        failure: What was raised.
        reporter: Calls the callbacks of the caller.
        path: What was read or written; ``None`` for the path that the failure names.
    """
    forget(failure)
    if isinstance(failure, CallbackFailed) and reporter.failure is not None:
        return reporter.failure
    if isinstance(failure, TransferStoppedError):
        return ArtifactTransferError(str(failure), is_retry_safe=False)
    return file_error(failure, path) if isinstance(failure, OSError) else failure


def check_space(place: BinaryIO | Path, size: int) -> None:
    """
    Raise if a disk has no space for so many bytes, before they are transferred or written.

    Args:
        place: A file or a directory on the disk.
        size: How many bytes there will be.

    Raises:
        OSError: The disk would be full.
    """
    free = shutil.disk_usage(place if isinstance(place, Path) else place.fileno()).free
    if free < size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
