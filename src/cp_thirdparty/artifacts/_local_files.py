"""
Local files and directories: paths of callers, errors of the operating system, and temporary files.

A temporary file or directory has a lock while its process is alive.  The next one that is created in the same directory
removes those whose process was killed.
"""

from __future__ import annotations

import os
import secrets
import shutil
import stat
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeAlias, cast

from cp_thirdparty.artifacts.limits import ArchiveLimits
from cp_thirdparty.exceptions import ArtifactError, ArtifactFileError, InvalidRequestError

if sys.platform != "win32":  # pragma: no branch - Windows has no such locks, and its leftovers stay
    import fcntl

__all__ = [
    "LocalPath",
    "OnSkip",
    "check_callback",
    "check_limits",
    "file_error",
    "is_lasting",
    "lock",
    "new_temporary_path",
    "remove_leftovers",
    "temporary_directory",
    "temporary_file",
    "to_path",
]

LocalPath: TypeAlias = "str | os.PathLike[str]"
# Called with the error of a file that is left out of an archive.
OnSkip: TypeAlias = Callable[[ArtifactError], object]

_PREFIX: Final = ".cp-thirdparty-tmp-"
# Between creation and lock of a temporary file, another process could take it for a leftover.
_YOUNG_SECONDS: Final = 60.0
# Windows states the owner 0 for each file.
_USER: Final = os.geteuid() if hasattr(os, "geteuid") else 0


def to_path(value: LocalPath, parameter: str) -> Path:
    """
    Return the path of a caller.

    Raises:
        TypeError: It is neither a string nor an `os.PathLike` of a string.

        cp_thirdparty.exceptions.InvalidRequestError: It is empty or has a NUL character.
    """
    path: object = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(path, str):
        raise TypeError(f"{parameter}: must be a str or an os.PathLike of str, not {type(value).__name__}")
    if not path or "\0" in path:
        raise InvalidRequestError(parameter, "must not be empty and must have no NUL character")
    return Path(path)


def check_callback(callback: Callable[..., object] | None, parameter: str) -> None:
    """
    Check a callback of a caller.

    Raises:
        TypeError: It cannot be called.
    """
    if callback is not None and not callable(callback):
        raise TypeError(f"{parameter}: must be callable, not {type(callback).__name__}")


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


def file_error(failure: OSError, path: LocalPath | None = None) -> ArtifactFileError:
    """Return an error of the operating system as one of this library, with the path or else the one that it names."""
    strerror = os.strerror(failure.errno) if failure.errno else type(failure).__name__
    filename: Any = failure.filename if path is None else os.fspath(path)
    return ArtifactFileError(failure.errno, strerror, None if filename is None else os.fsdecode(filename))


def is_lasting(filename: Any) -> bool:
    """Whether the file that an error of the operating system names is not a temporary one."""
    return filename is not None and _PREFIX not in os.fsdecode(filename)


def new_temporary_path(directory: Path) -> Path:
    """Return an unused path in a directory, from which `remove_leftovers` removes what a killed process left."""
    return directory / f"{_PREFIX}{secrets.token_hex(8)}"


@contextmanager
def temporary_file(directory: Path) -> Generator[tuple[Path, BinaryIO]]:
    """Create a file that is removed at the end, if it was not renamed."""
    remove_leftovers(directory)
    path = new_temporary_path(directory)
    try:
        with path.open("xb") as file:
            lock(file.fileno())
            yield path, cast("BinaryIO", file)
    finally:
        path.unlink(missing_ok=True)


@contextmanager
def temporary_directory(parent: Path) -> Generator[Path]:
    """
    Create a private directory that is removed at the end.

    Raises:
        cp_thirdparty.exceptions.ArtifactFileError: It cannot be created.
    """
    remove_leftovers(parent)
    path = new_temporary_path(parent)
    error: ArtifactFileError | None = None
    try:
        path.mkdir(0o700)
    except OSError as failure:
        error = file_error(failure, parent)
    if error is not None:
        raise error
    # Windows cannot open a directory, and has no lock.
    descriptor = os.open(os.devnull if sys.platform == "win32" else path, os.O_RDONLY)
    try:
        lock(descriptor)
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(descriptor)


def lock(descriptor: int) -> bool:
    """Lock a file or directory, and return whether it is locked now."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (OSError, NameError):  # another process has the lock, or there are none on this system
        return False
    return True


def remove_leftovers(directory: Path) -> None:
    """Remove the temporary files and directories of processes that were killed."""
    with suppress(OSError), os.scandir(directory) as scanned:
        for found in scanned:
            if found.name.startswith(_PREFIX):
                with suppress(OSError):
                    _remove_leftover(found)


def _remove_leftover(found: os.DirEntry[str]) -> None:
    status = found.stat(follow_symlinks=False)
    is_young = time.time() - status.st_mtime < _YOUNG_SECONDS
    if is_young or stat.S_ISLNK(status.st_mode) or status.st_uid != _USER:
        return
    descriptor = os.open(found.path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
    try:
        if lock(descriptor):
            shutil.rmtree(found.path) if stat.S_ISDIR(status.st_mode) else os.unlink(found.path)  # noqa: PTH108
    finally:
        os.close(descriptor)
