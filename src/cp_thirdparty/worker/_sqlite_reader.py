"""Read the SQLite file of a journal without changing it, even while workers use it."""

from __future__ import annotations

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
from cp_thirdparty.worker._private_files import SIDE_FILES, refuse_special_files, side_file

# Seconds to wait for another process that writes to the same file.
BUSY_TIMEOUT: Final = 30.0

# How many times a copy is tried.  If a worker opens the file during a copy, SQLite creates the log and its index, and
# the next attempt reads the file itself.
_ATTEMPTS: Final = 5

# Seconds after which a changed file has a new modification time.  The clocks for file times of Linux and Windows
# advance at least every 0.016 seconds.
_TICK: Final = 0.02

# The properties of a file that change when the file is written or replaced; ``None`` if there is no file.
_Status = tuple[int, int, int, int] | None


@contextmanager
def open_unlocked(path: Path) -> Generator[sqlite3.Connection, None, None]:
    """
    Open the file of a journal to check its format, without a lock; no file is created beside it.

    The data may contain an unfinished change, for example of a process that was killed.

    Raises:
        JournalError: The file or one of its side files is not a regular file.
        OSError: The file cannot be copied.
        sqlite3.Error: The file cannot be opened.
    """
    refuse_special_files(path)
    with ExitStack() as stack:
        # A write-ahead log exists while a process has the file open, or after the process was killed.  If there is no
        # log, SQLite would create one and not remove it, unless the file is declared as immutable.
        is_immutable = _status(path, "-wal") is None
        if not is_immutable and not _has_index(path):
            # SQLite would create the index of the log beside the file, so a copy in another directory is read.
            private = stack.enter_context(PrivateDirectory(Path(tempfile.gettempdir())))
            path = _copy_with_log(path, private.path)
        yield stack.enter_context(_connect(path, is_immutable=is_immutable))


@contextmanager
def open_snapshot(path: Path) -> Generator[sqlite3.Connection, None, None]:
    """
    Open a consistent state of the file of a journal, without unfinished changes; no file is created beside it.

    If the file has no log or no index of its log, it is copied to the directory for temporary files.  Without a log, a
    worker would have to wait for the reader.  Without the index, SQLite does not isolate a reader from a worker that
    changes the file.

    Raises:
        JournalError: The file or one of its side files is not a regular file, or a change of the file is not finished.
        OSError: The file cannot be copied.
        sqlite3.Error: The file cannot be opened.
    """
    refuse_special_files(path)
    with ExitStack() as stack:
        if not _has_index(path):
            private = stack.enter_context(PrivateDirectory(Path(tempfile.gettempdir())))
            path = _take_snapshot(path, private.path)
        connection = stack.enter_context(_connect(path))
        connection.execute("BEGIN")  # all statements read the same state of the file
        yield connection


def decode_if_utf8(data: bytes) -> str | bytes:
    """Decode UTF-8; return other bytes unchanged, so that one damaged value does not prevent reading other values."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


def read_only_uri(path: Path) -> str:
    """Return the URI with which SQLite opens a file read-only and does not create it."""
    return f"{path.as_uri()}?mode=ro"


@contextmanager
def _connect(path: Path, *, is_immutable: bool = False) -> Generator[sqlite3.Connection, None, None]:
    uri = read_only_uri(path) + ("&immutable=1" if is_immutable else "")
    with closing(sqlite3.connect(uri, timeout=BUSY_TIMEOUT, isolation_level=None, uri=True)) as connection:
        connection.text_factory = decode_if_utf8
        yield connection


def _take_snapshot(path: Path, directory: Path) -> Path:
    """Copy the file of a journal; return the file itself if a worker has opened it and SQLite isolates readers."""
    for _ in range(_ATTEMPTS):
        if _has_index(path):
            return path
        if not _uses_log(path):
            # SQLite locks a file without a log during the copy, so one attempt is enough.
            return _copy_file(path, directory, is_immutable=False)
        attempt = directory / "attempt"
        attempt.mkdir()
        copy = _try_copy(path, attempt)
        if copy is not None:
            return copy
        shutil.rmtree(attempt)
    raise JournalError("the journal cannot be read: it was changed during each of several copies; try again")


def _try_copy(path: Path, directory: Path) -> Path | None:
    """Copy a file without a lock; return ``None`` if a worker has opened or changed it during the copy."""
    before = _statuses(path)
    time.sleep(_TICK)  # after this, a change of the file changes its modification time
    try:
        has_log = _status(path, "-wal") is not None
        copy = _copy_with_log(path, directory) if has_log else _copy_file(path, directory, is_immutable=True)
    except (OSError, sqlite3.Error):  # for example, because the worker has removed the log
        if _statuses(path) == before:
            raise
        return None
    return copy if _statuses(path) == before else None


def _uses_log(path: Path) -> bool:
    """
    Return whether the header of a file states that its changes are in a write-ahead log.

    Python must not read the header itself: closing the file would end the locks of other connections of this process.
    So SQLite opens the file with ``nolock=1``.  In this mode it can neither open nor create a log, so it fails if the
    file uses one.  An empty file is not opened in this mode, because SQLite would delete its rollback journal.
    """
    if path.stat().st_size == 0:
        return False
    with closing(sqlite3.connect(f"{read_only_uri(path)}&nolock=1", uri=True)) as connection:
        try:
            connection.execute("SELECT 1 FROM sqlite_master")
        except sqlite3.DatabaseError as error:  # any other error will be raised by the next statement of the caller
            return str(error) == "unable to open database file"
    return False


def _copy_file(path: Path, directory: Path, *, is_immutable: bool) -> Path:
    _check_space(directory, path.stat().st_size)
    copy = directory / path.name
    with _connect(path, is_immutable=is_immutable) as source, closing(sqlite3.connect(copy)) as target:
        _lock_for_reading(source)
        target.execute("PRAGMA synchronous = OFF")
        source.backup(target)
    return copy


def _lock_for_reading(connection: sqlite3.Connection) -> None:
    """Wait for the transaction of another process, and take a read lock, which prevents writes."""
    connection.execute("BEGIN")
    try:
        connection.execute("SELECT 1 FROM sqlite_master").fetchone()
    except sqlite3.OperationalError as error:
        if "readonly" not in str(error):
            raise
    else:
        return
    # Before it reads, SQLite must undo an unfinished change, which a read-only connection cannot do.
    raise JournalError(
        "the journal cannot be read: a change is not finished; if no worker uses the journal, a worker was "
        "killed, and the next worker that opens the journal undoes the change"
    )


def _copy_with_log(path: Path, directory: Path) -> Path:
    files = [path, side_file(path, "-wal")]
    _check_space(directory, sum(file.stat().st_size for file in files))
    for file in files:
        shutil.copyfile(file, directory / file.name)
    return directory / path.name


def _check_space(directory: Path, size: int) -> None:
    """Raise `OSError` with the name of the directory for temporary files if the copy does not fit on its disk."""
    try:
        check_space(directory, size)
    except OSError as error:
        raise OSError(error.errno, error.strerror, tempfile.gettempdir()) from None


def _has_index(path: Path) -> bool:
    """Return whether a file has a write-ahead log and its index, so that SQLite isolates readers from writers."""
    return _status(path, "-wal") is not None and _status(path, "-shm") is not None


def _statuses(path: Path) -> list[_Status]:
    return [_status(path, suffix) for suffix in ("", *SIDE_FILES)]


def _status(path: Path, suffix: str) -> _Status:
    try:
        status = side_file(path, suffix).stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
