"""`SqliteJournal`: a journal in one SQLite file, which several processes of one machine may share."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import attrs

from cp_thirdparty.exceptions import JournalError
from cp_thirdparty.models import ThirdPartyJob
from cp_thirdparty.worker._result_text import result_of, text_of
from cp_thirdparty.worker.journal import JournalEntry, JournalState
from cp_thirdparty.worker.results import Result

__all__ = ["SqliteJournal"]

# Raise it when the table changes, and say here how to get from the old one to the new one.
_FORMAT: Final = 1

_SCHEMA: Final = (
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
    # Few jobs are unfinished, however many are past.
    "CREATE INDEX IF NOT EXISTS unfinished ON jobs (owner) WHERE state <> 'DONE'",
    f"PRAGMA user_version = {_FORMAT}",
)

# A job is free when nobody has it, when its end is known, or when nobody knows whose it is.
_CLAIM: Final = """
    INSERT INTO jobs (job_id, client_id, state, owner, changed_at) VALUES (?, ?, 'CLAIMING', ?, ?)
    ON CONFLICT (job_id) DO UPDATE SET
        client_id = excluded.client_id, state = excluded.state, result = NULL, outcome = NULL, crashes = 0,
        owner = excluded.owner, changed_at = excluded.changed_at
    WHERE jobs.owner IS NULL OR jobs.state IN ('DONE', 'UNCERTAIN')
"""
_COLUMNS: Final = "job_id, client_id, state, result, outcome, crashes, changed_at"

# Seconds to wait for another process that writes to the same file.
_BUSY: Final = 30.0


@attrs.define
class _Write:
    """One change that waits to be committed."""

    statement: str
    parameters: tuple[Any, ...]
    is_done: bool = False
    rows: int = 0
    failure: str | None = None


class SqliteJournal:
    """
    A journal in one SQLite file.

    Changes are on the disk when a method returns (write-ahead log, ``synchronous=FULL``); those of several threads are
    committed together.  Thread-safe, and several processes of one machine may use one file: a small file beside it,
    locked while its process lives, tells which of them is alive.  Do not put it on a network file system, where locks
    do not hold.

    It keeps ids, states and results, and no secret; a continuation token is part of a result.

    Args:
        path: The file; it is made when it is missing, but not its directory.

        clock: Tells the time in seconds since 1970.

    Raises:
        cp_thirdparty.exceptions.JournalError: The file cannot be opened, or is no journal of this version.
    """

    def __init__(self, path: str | os.PathLike[str], *, clock: Callable[[], float] = time.time) -> None:
        self._path = Path(path)
        self._clock = clock
        self._owner = uuid.uuid4().hex
        self._waiting: list[_Write] = []
        self._waiting_lock = threading.Lock()
        self._connection_lock = threading.Lock()
        self._process_id = os.getpid()
        refused: str | None = None
        try:
            self._connection = _opened(self._path)
            self._alive = _locked(self._lock_path(self._owner))
        except (sqlite3.Error, OSError) as failure:
            refused = _reason(failure)
        if refused is not None:
            raise JournalError(f"the journal cannot be opened: {refused}")

    def claim(self, job: ThirdPartyJob) -> bool:
        """
        Note that the job is about to be acknowledged; ``False`` when a living worker of this file has it.

        Raises:
            cp_thirdparty.exceptions.JournalError: The file cannot be written.
        """
        return self._write(_CLAIM, job.job_id, job.client_id, self._owner, self._clock()) == 1

    def withdraw(self, job_id: str) -> None:
        """
        Forget a job that was not claimed after all.

        Raises:
            cp_thirdparty.exceptions.JournalError: The file cannot be written.
        """
        self._write("DELETE FROM jobs WHERE job_id = ? AND owner = ?", job_id, self._owner)

    def running(self, job_id: str) -> None:
        """
        Note that the job is this worker's.

        Raises:
            cp_thirdparty.exceptions.JournalError: The file cannot be written.
        """
        self._change("state = 'RUNNING'", job_id)

    def result(self, job_id: str, result: Result) -> None:
        """
        Note what is about to be reported.

        Raises:
            cp_thirdparty.exceptions.JournalError: The file cannot be written.
        """
        self._change("state = 'RESULT', result = ?", job_id, text_of(result))

    def uncertain(self, job_id: str) -> None:
        """
        Note that nobody knows whose job it is.

        Raises:
            cp_thirdparty.exceptions.JournalError: The file cannot be written.
        """
        self._change("state = 'UNCERTAIN'", job_id)

    def finish(self, job_id: str, outcome: str) -> None:
        """
        Note that nothing is left to do.

        Raises:
            cp_thirdparty.exceptions.JournalError: The file cannot be written.
        """
        self._change("state = 'DONE', outcome = ?", job_id, outcome)

    def release(self, job_id: str) -> None:
        """
        Leave an unfinished job to whoever calls `recover` next.

        Raises:
            cp_thirdparty.exceptions.JournalError: The file cannot be written.
        """
        self._write(
            "UPDATE jobs SET owner = NULL WHERE job_id = ? AND owner = ? AND state <> 'DONE'", job_id, self._owner
        )

    def recover(self) -> tuple[JournalEntry, ...]:
        """
        Take over the unfinished jobs that no living worker of this file has.

        Raises:
            cp_thirdparty.exceptions.JournalError: The file cannot be read or written.
        """
        owners = [owner for (owner,) in self._read("SELECT DISTINCT owner FROM jobs WHERE state <> 'DONE'")]
        others = {owner: self._lock_path(owner) for owner in owners if owner not in (None, self._owner)}
        dead = {owner: path for owner, path in others.items() if not _is_locked(path)}
        found = self._taken_over([None, *dead])
        for path in dead.values():
            path.unlink(missing_ok=True)
        return found

    def jobs(self, *, unfinished_only: bool = False) -> Iterator[JournalEntry]:
        """
        Go through the jobs, in no order, as they were when this was called.

        Raises:
            cp_thirdparty.exceptions.JournalError: The file cannot be read.
        """
        where = "WHERE state <> 'DONE'" if unfinished_only else ""
        failure: str | None = None
        try:
            # Its own connection: a million jobs are read while workers write.
            with closing(sqlite3.connect(_uri(self._path, "ro"), timeout=_BUSY, uri=True)) as connection:
                for row in connection.execute(f"SELECT {_COLUMNS} FROM jobs {where}"):  # noqa: S608 - constants
                    yield _entry(row)
        except sqlite3.Error as error:
            failure = _reason(error)
        if failure is not None:
            raise JournalError(f"the journal cannot be read: {failure}")

    def forget(self, *, older_than: float) -> int:
        """
        Delete finished jobs, and return how many.

        Args:
            older_than: Seconds since a job was finished.

        Raises:
            cp_thirdparty.exceptions.JournalError: The file cannot be written.
        """
        return self._write("DELETE FROM jobs WHERE state = 'DONE' AND changed_at < ?", self._clock() - older_than)

    def close(self) -> None:
        """Close the file.  Unfinished jobs are left to whoever calls `recover` next."""
        with self._connection_lock:
            self._connection.close()
            self._alive.close()
            self._lock_path(self._owner).unlink(missing_ok=True)

    def __getstate__(self) -> None:
        raise TypeError("a SqliteJournal cannot be pickled, because it has an open file; make one in each process")

    def _lock_path(self, owner: str) -> Path:
        return self._path.with_name(f"{self._path.name}-alive-{owner}")

    def _taken_over(self, owners: list[str | None]) -> tuple[JournalEntry, ...]:
        """Make the unfinished jobs of these owners this journal's, in one transaction: no two can take one job."""
        where = f"state <> 'DONE' AND (owner IS NULL OR owner IN ({', '.join('?' * len(owners))}))"
        crashed = f"{where} AND state = 'RUNNING' AND owner IS NOT NULL"  # a release is no crash
        failure: str | None = None
        rows: list[tuple[Any, ...]] = []
        with self._connection_lock:
            self._check_process()
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                self._connection.execute(f"UPDATE jobs SET crashes = crashes + 1 WHERE {crashed}", owners)  # noqa: S608 - constants
                rows = self._connection.execute(f"SELECT {_COLUMNS} FROM jobs WHERE {where}", owners).fetchall()  # noqa: S608 - constants
                self._connection.execute(f"UPDATE jobs SET owner = ? WHERE {where}", [self._owner, *owners])  # noqa: S608 - constants
                self._connection.execute("COMMIT")
            except sqlite3.Error as error:
                failure = _reason(error)
                _roll_back(self._connection)
        if failure is not None:
            raise JournalError(f"the journal cannot be written: {failure}")
        return tuple(_entry(row) for row in rows)

    def _change(self, assignments: str, job_id: str, *parameters: str) -> None:
        self._write(
            f"UPDATE jobs SET {assignments}, changed_at = ? WHERE job_id = ? AND owner = ?",  # noqa: S608 - constants
            *(*parameters, self._clock(), job_id, self._owner),
        )

    def _read(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        failure: str | None = None
        with self._connection_lock:
            self._check_process()
            try:
                return self._connection.execute(statement, parameters).fetchall()
            except sqlite3.Error as error:
                failure = _reason(error)
        raise JournalError(f"the journal cannot be read: {failure}")

    def _write(self, statement: str, *parameters: Any) -> int:
        """Commit a change together with those of other threads, and return how many rows it has changed."""
        write = _Write(statement, parameters)
        with self._waiting_lock:
            self._waiting.append(write)
        with self._connection_lock:
            if not write.is_done:
                self._check_process()
                with self._waiting_lock:
                    together, self._waiting = self._waiting, []
                _commit(self._connection, together)
        if write.failure is not None:
            raise JournalError(f"the journal cannot be written: {write.failure}")
        return write.rows

    def _check_process(self) -> None:
        if self._process_id != os.getpid():
            raise JournalError("the journal was opened by another process; open it after the fork")


def _opened(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_BUSY, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        _check_format(connection)
        connection.execute("BEGIN IMMEDIATE")
        for statement in _SCHEMA:
            connection.execute(statement)
        connection.execute("COMMIT")
    except BaseException:
        connection.close()
        raise
    return connection


def _check_format(connection: sqlite3.Connection) -> None:
    (found,) = connection.execute("PRAGMA user_version").fetchone()
    if found not in (0, _FORMAT):
        raise sqlite3.DatabaseError(f"its format is {found} and not {_FORMAT}")


def _commit(connection: sqlite3.Connection, together: list[_Write]) -> None:
    failure: str | None = None
    try:
        connection.execute("BEGIN IMMEDIATE")
        for write in together:
            write.rows = connection.execute(write.statement, write.parameters).rowcount
        connection.execute("COMMIT")
    except sqlite3.Error as error:
        failure = _reason(error)
        _roll_back(connection)
    for write in together:
        write.is_done, write.failure = True, failure


def _locked(path: Path) -> sqlite3.Connection:
    """
    Lock a file for as long as this process lives.

    SQLite's lock is one that every system has, that ends with the process and that a forked child does not inherit.
    """
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("BEGIN EXCLUSIVE")
    return connection


def _is_locked(path: Path) -> bool:
    try:
        connection = sqlite3.connect(_uri(path, "rw"), timeout=0, isolation_level=None, uri=True)
    except sqlite3.OperationalError:
        return False  # there is no such file
    with closing(connection):
        try:
            connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError:
            return True
        return False


def _uri(path: Path, mode: str) -> str:
    return f"{path.absolute().as_uri()}?mode={mode}"


def _roll_back(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:
        connection.execute("ROLLBACK")


def _reason(failure: Exception) -> str:
    """Tell what SQLite says; its texts name tables, columns and files, and no value."""
    return f"{type(failure).__name__}: {failure}"


def _entry(row: tuple[Any, ...]) -> JournalEntry:
    job_id, client_id, state, result, outcome, crashes, changed_at = row
    return JournalEntry(
        job=ThirdPartyJob(client_id=client_id, job_id=job_id),
        state=JournalState(state),
        result=None if result is None else result_of(result),
        outcome=outcome,
        crashes=crashes,
        changed_at=changed_at,
    )
