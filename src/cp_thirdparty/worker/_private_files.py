"""Protect the files of a journal from other users, whatever the umask and the mode of the directory are."""

from __future__ import annotations

import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

from cp_thirdparty.exceptions import JournalError

_PRIVATE: Final = 0o600

# The permission bits for users who are neither the owner nor in the group of a file.
_EVERYBODY: Final = 0o007

_ROOT: Final = 0

# The suffixes of files that SQLite creates beside the journal: the write-ahead log, the index of this log, and the
# rollback journal, which SQLite uses if no write-ahead log is possible.
SIDE_FILES: Final = ("-wal", "-shm", "-journal")


def side_file(path: Path, suffix: str) -> Path:
    """Return the path of a side file of SQLite."""
    return path.with_name(path.name + suffix)


def create_private_file(path: Path) -> None:
    """
    Create a file that only its user can read, whatever the umask is.  Do nothing if the file exists.

    An existing file is not opened, because closing it would end the locks of other connections of this process.
    """
    with suppress(FileExistsError):
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, _PRIVATE)
        try:
            if hasattr(os, "fchmod"):  # pragma: no branch - not on Windows before Python 3.13
                os.fchmod(descriptor, _PRIVATE)
        finally:
            os.close(descriptor)


def make_private(path: Path) -> None:
    """
    Remove the permissions of other users from the files of a journal that everybody may read.

    Version 0.1 created the files with the permissions of the umask.  A user who can read a SQLite file can also lock
    it.  SQLite creates its side files with the mode of the main file.  A file that only a group may read stays
    unchanged, because it is shared on purpose.

    Raises:
        JournalError: One of the files belongs to another user.
    """
    refuse_other_users(path)
    for file in _files_of(path):
        with suppress(FileNotFoundError):
            status = file.stat()
            if status.st_mode & _EVERYBODY and hasattr(os, "geteuid") and status.st_uid == os.geteuid():
                file.chmod(stat.S_IMODE(status.st_mode) & 0o700)


def refuse_other_users(path: Path) -> None:
    """
    Raise if another user has created a file of a journal, because that user could read what is written to it.

    If a group shares the journal, the owner of the main file may also own the side files.

    Raises:
        JournalError: One of the files belongs to another user.
    """
    if not hasattr(os, "geteuid"):  # pragma: no cover - only Windows
        return
    users = {os.geteuid(), _ROOT}
    for file in _files_of(path):
        with suppress(FileNotFoundError):
            status = os.lstat(file)
            if file == path and not status.st_mode & _EVERYBODY:
                users.add(status.st_uid)
            if status.st_uid not in users and _has_owners(path.parent):
                raise JournalError(
                    f"the journal cannot be opened: {file.name!a} belongs to another user, who may read it; run as "
                    "that user, change its owner, or use another file, in a directory to which only its user may write"
                )


def refuse_special_files(path: Path) -> None:
    """
    Raise if a file of a journal is a pipe, which would block, a device, which has no end, or a link.

    Raises:
        JournalError: One of the files is not a regular file.
    """
    for file in _files_of(path):
        with suppress(FileNotFoundError):
            if not stat.S_ISREG(os.lstat(file).st_mode):
                raise JournalError(f"the journal cannot be opened: {file.name!a} is not a regular file")


def identify(path: Path, *, least_size: int = 0) -> tuple[int, int] | None:
    """
    Return the device and inode numbers, which identify a file.

    Return ``None`` if the file does not exist, or is shorter than `least_size` bytes.
    """
    try:
        status = path.stat()
    except OSError:
        return None
    return (status.st_dev, status.st_ino) if status.st_size >= least_size else None


def _files_of(path: Path) -> list[Path]:
    return [path, *(side_file(path, suffix) for suffix in SIDE_FILES)]


def _has_owners(directory: Path) -> bool:
    """
    Return whether a new file in a directory belongs to the user who creates it.

    This is not so on FAT and on some mounts of containers, where the owner of a file shows nothing.
    """
    with tempfile.TemporaryFile(dir=directory) as file:
        return os.fstat(file.fileno()).st_uid == os.geteuid()
