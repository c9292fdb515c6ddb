"""Reading the SQLite file of a journal without a change of it, also while workers use it."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Generator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Final

from cp_thirdparty.artifacts._local_files import check_space
from cp_thirdparty.artifacts._temporary import PrivateDirectory
from cp_thirdparty.exceptions import JournalError
from cp_thirdparty.worker._private_files import refuse_special_files, side_file

# Seconds to wait for another process that writes to the same file.
BUSY: Final = 30.0

# A worker that opens the file while it is copied creates an index of its log, with which the next attempt succeeds.
_ATTEMPTS: Final = 5

# Seconds after which a system gives files another time; Linux and Windows need at most 0.016.
_TICK: Final = 0.02

_SIDE_FILES: Final = ("-wal", "-shm", "-journal")

# What changes when a file is written or replaced.
_State = tuple[int, int, int, int] | None


@contextmanager
def open_unlocked(path: Path) -> Generator[sqlite3.Connection, None, None]:
    """
    Open the file of a journal for a short look; nothing is created beside it.

    What is read may have a part of a change, for example one that a killed process has not finished.

    Raises:
        JournalError: The file, or one beside it, is not a regular file.
        OSError: The file cannot be copied.
        sqlite3.Error: The file cannot be opened.
    """
    refuse_special_files(path)
    with ExitStack() as stack:
        # With a write-ahead log beside the file a process has it open, or died.  Without one SQLite would create the
        # log and leave it, unless the file is declared as immutable.
        is_immutable = _state(path, "-wal") is None
        if not is_immutable and not _has_index(path):
            # SQLite would create the index of the log, so it reads a copy elsewhere.
            private = stack.enter_context(PrivateDirectory(Path(tempfile.gettempdir())))
            path = _copy_with_log(path, private.path)
        yield stack.enter_context(_connect(path, is_immutable=is_immutable))


@contextmanager
def open_snapshot(path: Path) -> Generator[sqlite3.Connection, None, None]:
    """
    Open the file of a journal as it is between two changes; nothing is created beside it.

    A file without an index of its log is copied to the directory for temporary files: nothing could keep a worker from
    changing it while it is read, or, where a log is not possible, the worker would have to wait for the reader.

    Raises:
        JournalError: The file, or one beside it, is not a regular file, or a change of it is not finished.
        OSError: The file cannot be copied.
        sqlite3.Error: The file cannot be opened.
    """
    refuse_special_files(path)
    with ExitStack() as stack:
        if not _has_index(path):
            private = stack.enter_context(PrivateDirectory(Path(tempfile.gettempdir())))
            path = _take_snapshot(path, private.path)
        connection = stack.enter_context(_connect(path))
        connection.execute("BEGIN")  # each statement reads the same
        yield connection


def decode(data: bytes) -> str | bytes:
    """Return what is not UTF-8 as it is, so that one damaged value does not keep others from being read."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


def read_only_uri(path: Path) -> str:
    """Return the URI with which SQLite opens a file and neither changes nor creates it."""
    return f"{path.as_uri()}?mode=ro"


@contextmanager
def _connect(path: Path, *, is_immutable: bool = False) -> Generator[sqlite3.Connection, None, None]:
    uri = read_only_uri(path) + ("&immutable=1" if is_immutable else "")
    with closing(sqlite3.connect(uri, timeout=BUSY, isolation_level=None, uri=True)) as connection:
        connection.text_factory = decode
        yield connection


def _take_snapshot(path: Path, directory: Path) -> Path:
    """Copy the file of a journal, or return the file itself if a worker has it open now and SQLite isolates readers."""
    for _ in range(_ATTEMPTS):
        if _has_index(path):
            return path
        if not _uses_log(path):  # SQLite locks it meanwhile
            return _copy_file(path, directory, is_immutable=False)
        attempt = directory / "attempt"
        attempt.mkdir()
        copy = _try_copy(path, attempt)
        if copy is not None:
            return copy
        shutil.rmtree(attempt)
    raise JournalError("the journal cannot be read: it was changed each time that it was copied; read it once more")


def _try_copy(path: Path, directory: Path) -> Path | None:
    """Copy a file that nothing locks, and return ``None`` if a worker has opened and changed it meanwhile."""
    before = _states(path)
    time.sleep(_TICK)  # then each later change has another time
    try:
        has_log = _state(path, "-wal") is not None
        copy = _copy_with_log(path, directory) if has_log else _copy_file(path, directory, is_immutable=True)
    except (OSError, sqlite3.Error):  # such as a log that the worker has removed
        if _states(path) == before:
            raise
        return None
    return copy if _states(path) == before else None


def _uses_log(path: Path) -> bool:
    """
    Return whether the header of a file states that its changes are in a write-ahead log.

    Python must not open the file: closing it would end the locks that connections of this process have.  SQLite opens
    no log without locks, and creates none then.  Without locks it would delete the rollback journal of an empty file.
    """
    if path.stat().st_size == 0:
        return False
    with closing(sqlite3.connect(f"{read_only_uri(path)}&nolock=1", uri=True)) as connection:
        try:
            connection.execute("SELECT 1 FROM sqlite_master")
        except sqlite3.DatabaseError as error:  # of another one, the caller is informed by the next statement
            return str(error) == "unable to open database file"
    return False


def _copy_file(path: Path, directory: Path, *, is_immutable: bool) -> Path:
    _check_space(directory, path.stat().st_size)
    copy = directory / path.name
    with _connect(path, is_immutable=is_immutable) as source, closing(sqlite3.connect(copy)) as target:
        _lock(source)
        target.execute("PRAGMA synchronous = OFF")
        source.backup(target)
    return copy


def _lock(connection: sqlite3.Connection) -> None:
    """Begin to read, so that nobody writes, after the transaction of another process has ended."""
    connection.execute("BEGIN")
    try:
        connection.execute("SELECT 1 FROM sqlite_master").fetchone()
    except sqlite3.OperationalError as error:
        if "readonly" not in str(error):
            raise
    else:
        return
    # SQLite would have to undo it.
    raise JournalError(
        "the journal cannot be read: a change of it is not finished; if no worker uses it, one was killed, and the "
        "next worker that opens it undoes the change"
    )


def _copy_with_log(path: Path, directory: Path) -> Path:
    files = [path, side_file(path, "-wal")]
    _check_space(directory, sum(file.stat().st_size for file in files))
    for file in files:
        shutil.copyfile(file, directory / file.name)
    return directory / path.name


def _check_space(directory: Path, size: int) -> None:
    """Raise if the copy does not fit, with the name of the directory for temporary files."""
    try:
        check_space(directory, size)
    except OSError as error:
        raise OSError(error.errno, error.strerror, tempfile.gettempdir()) from None


def _has_index(path: Path) -> bool:
    """Return whether a file has a log and the index of it, with which readers and writers do not disturb each other."""
    return _state(path, "-wal") is not None and _state(path, "-shm") is not None


def _states(path: Path) -> list[_State]:
    return [_state(path, suffix) for suffix in ("", *_SIDE_FILES)]


def _state(path: Path, suffix: str) -> _State:
    try:
        status = os.stat(side_file(path, suffix) if suffix else path)  # noqa: PTH116 - as `Path.stat`
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
