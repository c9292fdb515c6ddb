"""The SQLite file of a journal: its format, and a writer that commits changes of several threads together."""

from __future__ import annotations

import os
import re
import sqlite3
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import Any, Final, TypeVar

import attrs

from cp_thirdparty.exceptions import ArtifactError, JournalError
from cp_thirdparty.worker._private_files import (
    create_private_file,
    identify,
    make_private,
    refuse_other_users,
    side_file,
)
from cp_thirdparty.worker._sqlite_reader import BUSY_TIMEOUT, decode_if_utf8, open_unlocked

# The errors of SQLite.  For a damaged file, its message may contain bytes that Python cannot decode.
SQLITE_ERRORS: Final = (sqlite3.Error, UnicodeDecodeError)

# Increase this number when a table changes, and convert older files in `_open`.  Format 1 has only the table `jobs`.
_FORMAT: Final = 2

# Version 0.1 refuses any other number.  It stays the same, so that workers of version 0.1 can use their own table until
# they are replaced.
_USER_VERSION: Final = 1

_SCHEMA: Final = (
    # The table of version 0.1, unchanged.
    """
    CREATE TABLE IF NOT EXISTS jobs (
        job_id     TEXT PRIMARY KEY,
        client_id  TEXT NOT NULL,
        state      TEXT NOT NULL,
        result     TEXT,
        outcome    TEXT,
        crashes    INTEGER NOT NULL DEFAULT 0,
        owner      TEXT,
        changed_at REAL NOT NULL
    ) WITHOUT ROWID
    """,
    "CREATE INDEX IF NOT EXISTS unfinished ON jobs (owner) WHERE state <> 'DONE'",
    "CREATE INDEX IF NOT EXISTS jobs_finished ON jobs (changed_at) WHERE state = 'DONE'",
    # Rows are stored in the order of their claims, so that old rows are next to each other and can be deleted quickly.
    """
    CREATE TABLE IF NOT EXISTS entries (
        id         INTEGER PRIMARY KEY,
        scope      TEXT NOT NULL,
        job_id     TEXT NOT NULL,
        client_id  TEXT NOT NULL,
        state      TEXT NOT NULL,
        result     TEXT,
        may_be_accepted INTEGER NOT NULL DEFAULT 1,
        outcome    TEXT,
        crashes    INTEGER NOT NULL DEFAULT 0,
        is_suspect INTEGER NOT NULL DEFAULT 0,
        owner      TEXT,
        claimed_at REAL,
        changed_at REAL NOT NULL,
        nonce      TEXT
    )
    """,
    "CREATE UNIQUE INDEX IF NOT EXISTS entries_key ON entries (job_id, scope)",
    "CREATE INDEX IF NOT EXISTS entries_unfinished ON entries (owner) WHERE state <> 'DONE'",
    "CREATE INDEX IF NOT EXISTS entries_finished ON entries (changed_at) WHERE state = 'DONE'",
    "CREATE TABLE IF NOT EXISTS scopes (key TEXT PRIMARY KEY, scope TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS format (version INTEGER NOT NULL)",
    f"INSERT INTO format SELECT {_FORMAT} WHERE NOT EXISTS (SELECT 1 FROM format)",  # noqa: S608 - a constant
    f"PRAGMA user_version = {_USER_VERSION}",
)

# The tables with jobs, and the columns of both tables.  The columns are checked, because other programs may have tables
# with these names.
_TABLES: Final = frozenset({"jobs", "entries"})
_COLUMNS: Final = frozenset({"job_id", "client_id", "state", "result", "outcome", "crashes", "owner", "changed_at"})

# Tables and indexes for which SQLite computes no expression when it reads or writes them, so that a foreign file cannot
# run SQL.  Checks, generated columns and expressions contain inner parentheses or operators.  Views, triggers and
# virtual tables begin with other words.
_PLAIN: Final = re.compile(
    r"CREATE TABLE [^()]*\([^()]*\)[\w\s,]*"
    r"|CREATE (UNIQUE )?INDEX [^()]*\(\w+(, ?\w+)*\)( WHERE \w+ (=|<>) '\w*')?"
)

# KiB of pages that SQLite keeps in memory; its default is 2,000.  The rows of the running jobs need only a few pages.
_CACHE_KIB: Final = 256

# Bytes to which SQLite truncates the write-ahead log when it writes the log from its beginning again.
_LOG_BYTES: Final = 4 * 1024 * 1024

# Bytes of the header of a SQLite file.  A shorter file was emptied: SQLite would delete its log at the next start.
_HEADER_BYTES: Final = 100

# Waits until the data of a file is on the disk.  macOS and Windows have no `fdatasync`.
_sync_data: Final[Callable[[int], None]] = getattr(os, "fdatasync", os.fsync)

_T = TypeVar("_T")

Statement = tuple[str, tuple[Any, ...] | dict[str, Any]]


@attrs.define(eq=False)
class _Change:
    """Statements that wait to be committed."""

    statements: tuple[Statement, ...]
    is_done: bool = False
    rows: int = 0
    failure: str | None = "interrupted"  # the default remains only if Ctrl-C interrupts the thread that commits
    commit: int = 0  # the number of the commit that contains this change


class SqliteFile:
    """
    The file of a journal, open for writing.  Thread-safe.

    Args:
        path: The file.  It is created if it is missing.

    Raises:
        JournalError: The file is not a journal, or its format is newer than this version.
        OSError: The file cannot be created.
        sqlite3.Error: The file cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._process_id = os.getpid()
        self._is_closed = False
        self._waiting: list[_Change] = []
        self._waiting_lock = threading.Lock()
        self._lock = threading.Lock()
        self._commits = 0  # how many commits there were
        self._sync_lock = threading.Lock()
        self._synced = 0  # how many of the commits are on the disk
        self._sync_failure: str | None = None
        self._connection, self._log = _open(path)
        # SQLite writes changes to the log, and other connections find them with the index of the log.  If one of these
        # files is deleted or replaced, other connections do not see the changes.
        self._least_sizes = {path: _HEADER_BYTES}
        if self._log is not None:
            self._least_sizes |= {side_file(path, suffix): 0 for suffix in ("-wal", "-shm")}
        self._identities = self._identify_files()

    def write(self, *statements: Statement, is_synced: bool = False) -> int:
        """
        Commit statements together with those of other threads, and return how many rows the last one changed.

        Args:
            statements: The statements and their parameters.
            is_synced: Whether to wait until the change is on the disk, so that it survives a power loss.  Without this,
                the change survives the end of the process, and is on the disk when a later change is.

        Raises:
            JournalError: The file cannot be written.
        """
        self._refuse_other_process()
        change = _Change(statements)
        with self._waiting_lock:
            self._waiting.append(change)
        with self._lock:
            if not change.is_done:
                with self._waiting_lock:
                    together, self._waiting = self._waiting, []
                try:
                    _commit(self._connection, together)
                finally:
                    self._commits += 1
                    for each in together:
                        each.commit = self._commits
        if change.failure is not None:
            raise JournalError(f"the journal cannot be written: {change.failure}")
        if is_synced:
            self._sync(change.commit)
        return change.rows

    def transact(self, work: Callable[[sqlite3.Connection], _T], *, is_synced: bool = False) -> _T:
        """
        Run a function in a transaction, and commit it unless the function raises.

        Args:
            work: The function.
            is_synced: Whether to wait until the changes are on the disk.

        Raises:
            JournalError: The file cannot be read or written.
        """
        self._refuse_other_process()
        failure: str | None = None
        with self._lock:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                result = work(self._connection)
                self._connection.execute("COMMIT")
            except SQLITE_ERRORS as error:
                failure = describe(error)
            else:
                self._commits += 1
                if is_synced:
                    self._sync(self._commits)
                return result
            finally:
                _roll_back(self._connection)
        raise JournalError(f"the journal cannot be written: {failure}")

    def refuse_if_lost(self) -> None:
        """
        Raise if changes that are written now may be lost at the next start.

        Raises:
            JournalError: The file or its log was moved, deleted or replaced, the file was emptied, or the disk has
                failed.
        """
        self._refuse_failed_disk()
        # SQLite itself removes the log when the last connection is closed.
        if not self._is_closed and self._identify_files() != self._identities:
            raise JournalError("a file of the journal was moved, deleted, replaced or emptied; restart the worker")

    @property
    def is_closed(self) -> bool:
        """Whether the file is closed, or was opened by the parent process of this fork."""
        return self._is_closed or self._process_id != os.getpid()

    def close(self) -> None:
        """Close the file.  A forked child must not call it: the parent still uses the locks and the write-ahead log."""
        with self._lock, self._sync_lock:
            self._is_closed = True
            if self._log is not None:
                self._log.close()
            self._connection.close()

    def _identify_files(self) -> list[tuple[int, int] | None]:
        return [identify(file, least_size=size) for file, size in self._least_sizes.items()]

    def _sync(self, commit: int) -> None:
        """
        Wait until a commit and all earlier commits are on the disk.  Threads that wait at the same time share one wait.

        SQLite's own setting ``synchronous = FULL`` is not used: it waits during the commit, so no other thread could
        write meanwhile.

        After a failure, the system may have discarded the data that it could not write, and would report a second
        attempt as successful.  So all later calls fail until the file is opened again.

        Raises:
            JournalError: The commit is not on the disk.
        """
        if self._log is None:
            return
        with self._sync_lock:
            if self._synced < commit and self._sync_failure is None:
                commits = self._commits  # includes commits of other threads
                try:
                    _sync_data(self._log.fileno())
                except (OSError, ValueError) as error:
                    self._sync_failure = describe(error)
                else:
                    self._synced = commits
            if self._synced < commit:
                self._refuse_failed_disk()

    def _refuse_failed_disk(self) -> None:
        if self._sync_failure is not None:
            raise JournalError(f"the journal cannot be written to the disk: {self._sync_failure}; restart the worker")

    def _refuse_other_process(self) -> None:
        # Callers check this before they take a lock: at the fork, a thread of the parent may have held the lock.
        if self._process_id != os.getpid():
            raise JournalError("the journal was opened by another process; open it after the fork")


class _Log(FileIO):
    """The write-ahead log.  It closes itself without Python's `ResourceWarning`, as a SQLite connection does."""

    def __del__(self) -> None:
        self.close()


class _Connection(sqlite3.Connection):
    """A connection to which weak references are possible."""


_CONNECTIONS: weakref.WeakSet[_Connection] = weakref.WeakSet()


def connect(path: Path) -> sqlite3.Connection:
    """Open an existing SQLite file for use in any thread.  A forked child never closes the connection."""
    connection = sqlite3.connect(
        path, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False, factory=_Connection
    )
    connection.text_factory = decode_if_utf8
    _CONNECTIONS.add(connection)
    return connection


def _keep_open() -> None:
    """
    Keep the connections of the parent open in a forked child, even when Python ends.

    If the child closed a connection, SQLite would assume that the child holds the parent's locks, and could delete a
    write-ahead log that other processes use.
    """
    for connection in tuple(_CONNECTIONS):
        import ctypes  # noqa: PLC0415 - only forked children of a process with a journal need it

        ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))


if hasattr(os, "register_at_fork"):  # pragma: no branch - not on Windows
    os.register_at_fork(after_in_child=_keep_open)


def describe(error: BaseException) -> str:
    """
    Return a message about a failure that contains no stored value.

    The messages of SQLite name only tables and columns, and the messages of the system name only files.  The message
    of any other error is left out.
    """
    return f"{type(error).__name__}: {error}" if isinstance(error, (sqlite3.Error, OSError)) else type(error).__name__


def check_format(connection: sqlite3.Connection) -> frozenset[str]:
    """
    Return the names of the tables of a journal; an empty set if the file is empty.

    Raises:
        JournalError: The file is not a journal, or its format is newer than this version.
    """
    schema = connection.execute("SELECT type, name, sql FROM sqlite_master").fetchall()
    tables = frozenset(name for kind, name, _ in schema if kind == "table")
    # SQLite executes the statement in the column `sql`, whatever the other columns contain.  Only the automatic indexes
    # of keys have no statement.
    is_plain = all(sql is None or (isinstance(sql, str) and _PLAIN.fullmatch(sql)) for *_, sql in schema)
    ours = tables & _TABLES or _TABLES
    if schema and not (is_plain and all(_has_our_columns(connection, name) for name in ours)):
        raise JournalError("the journal cannot be opened: the file is a database, but not a journal")
    (user_version,) = connection.execute("PRAGMA user_version").fetchone()
    others = f"SELECT count(*) FROM format WHERE version IS NOT {_FORMAT}"  # noqa: S608 - a constant
    if user_version > _USER_VERSION or ("format" in tables and connection.execute(others).fetchone() != (0,)):
        raise JournalError(
            f"the journal cannot be opened: its format is newer than format {_FORMAT}, the newest that this version of "
            "cp-thirdparty knows; install the version that wrote it, or use another file"
        )
    return tables


def _has_our_columns(connection: sqlite3.Connection, table: str) -> bool:
    return {name for _, name, *_ in connection.execute(f"PRAGMA table_info({table})")} >= _COLUMNS


def _open(path: Path) -> tuple[sqlite3.Connection, _Log | None]:
    """
    Return a connection and the write-ahead log.

    The log is ``None`` if the system cannot have one.  Each commit then waits for the disk.
    """
    create_private_file(path)
    # Check the format read-only first, because the file may belong to another program.  A connection for writing would
    # at once finish or undo a change of a crashed program.  A file that cannot be read in this way is checked below.
    with suppress(*SQLITE_ERRORS, OSError, ArtifactError), open_unlocked(path) as reader:
        check_format(reader)
    connection = connect(path)
    try:
        check_format(connection)
        make_private(path)  # only after the check, so that a file that is not a journal stays unchanged
        (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        connection.execute(f"PRAGMA journal_size_limit = {_LOG_BYTES}")
        connection.execute("BEGIN IMMEDIATE")
        check_format(connection)  # again, because another process may have created the tables meanwhile
        refuse_other_users(path)  # again, because SQLite has opened the log meanwhile
        for statement in _SCHEMA:
            connection.execute(statement)
        connection.execute("COMMIT")
        # Closing a descriptor ends all locks of this process on a file.  SQLite has no locks on the log, so it can be
        # opened and closed here.
        log = _Log(side_file(path, "-wal"), "r+") if mode == "wal" else None
        connection.execute(f"PRAGMA synchronous = {'FULL' if log is None else 'NORMAL'}")
    except BaseException:
        connection.close()
        raise
    return connection, log


def _commit(connection: sqlite3.Connection, together: list[_Change]) -> None:
    """
    Commit changes in one transaction.  If one of them is wrong, commit each change in its own transaction.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed.  It is raised after each change was committed or has failed.
    """
    errors = [_try_commit(connection, together)]
    is_wrong = errors[0] is not None and not isinstance(errors[0], sqlite3.OperationalError)
    for change in together:
        if is_wrong and len(together) > 1:
            errors.append(_try_commit(connection, [change]))
        error = errors[-1]
        change.is_done, change.failure = True, None if error is None else describe(error)
    for error in errors:
        if error is not None and not isinstance(error, Exception):
            raise error  # Ctrl-C


def _try_commit(connection: sqlite3.Connection, together: list[_Change]) -> BaseException | None:
    # A single statement needs no BEGIN and COMMIT.  They cost time, because other threads may run in each `execute`.
    is_single = len(together) == 1 and len(together[0].statements) == 1
    try:
        if not is_single:
            connection.execute("BEGIN IMMEDIATE")
        for change in together:
            for statement, parameters in change.statements:
                change.rows = connection.execute(statement, parameters).rowcount
        if not is_single:
            connection.execute("COMMIT")
    except BaseException as error:  # noqa: BLE001 - also invalid parameters; the waiting threads must get each error
        _roll_back(connection)
        return error.with_traceback(None)
    return None


def _roll_back(connection: sqlite3.Connection) -> None:
    with suppress(sqlite3.Error):  # raised if the connection is closed, or if SQLite has already rolled back
        if connection.in_transaction:
            connection.execute("ROLLBACK")
