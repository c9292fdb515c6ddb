"""`SqliteJournal`: a journal in one SQLite file, which several processes of one machine may share."""

from __future__ import annotations

import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final

from cp_thirdparty._core.backoff import DELETION_PAUSE
from cp_thirdparty.exceptions import JournalError
from cp_thirdparty.models import AnyJob
from cp_thirdparty.worker import _sqlite_rows, _takeover
from cp_thirdparty.worker._kinds import nonce_of
from cp_thirdparty.worker._owners import Owner
from cp_thirdparty.worker._result_text import text_of
from cp_thirdparty.worker._sqlite_file import SQLITE_ERRORS, SqliteFile, describe
from cp_thirdparty.worker.journal import JobScope, JournalEntry, Recovered
from cp_thirdparty.worker.results import Result

__all__ = ["SqliteJournal"]

# A row with this job id and without a scope is the same job.  If no worker works on it, the claim replaces the row.
_REPLACE: Final = (
    "DELETE FROM jobs WHERE job_id = ? AND (owner IS NULL OR state IN ('DONE', 'UNCERTAIN'))",
    "DELETE FROM entries WHERE job_id = ? AND scope = '' AND (owner IS NULL OR state IN ('DONE', 'UNCERTAIN'))",
)
_CLAIM: Final = """
    INSERT INTO entries (scope, job_id, client_id, nonce, state, owner, changed_at)
    SELECT :scope, :job_id, :client_id, :nonce, 'CLAIMING', :owner, :now
    WHERE NOT EXISTS (SELECT 1 FROM jobs WHERE job_id = :job_id)
        AND NOT EXISTS (
            SELECT 1 FROM entries
            WHERE job_id = :job_id AND scope <> :scope AND (scope = '' OR (owner = :owner AND state <> 'DONE'))
        )
    ON CONFLICT (job_id, scope) DO UPDATE SET
        client_id = excluded.client_id, nonce = excluded.nonce, state = excluded.state, result = NULL,
        may_be_accepted = 1, outcome = NULL, crashes = 0, is_suspect = 0, owner = excluded.owner, claimed_at = NULL,
        changed_at = excluded.changed_at
    WHERE entries.owner IS NULL OR entries.state IN ('DONE', 'UNCERTAIN')
"""
_ADD_SCOPE: Final = """
    INSERT INTO scopes (key, scope) VALUES (?, ?)
    ON CONFLICT (key) DO UPDATE SET scope = excluded.scope WHERE scope IS NOT excluded.scope
"""
_FINISHED: Final = "SELECT 1 FROM entries WHERE job_id = ? AND scope = ? AND state = 'DONE'"
_OWN: Final = "WHERE job_id = ? AND owner = ? AND state <> 'DONE'"

# How many finished jobs are deleted in one transaction.
_BATCH: Final = 200

_ENDED: Final = "ended by an operator"


class SqliteJournal:
    """
    A journal in one SQLite file.

    When a method returns, its change survives the end of the process.  `claim`, `running` and `end` also wait until
    their change and all earlier changes are on the disk.  So after a power loss, the file contains each job that was
    acknowledged, and each handler that began.

    The changes of other methods reach the disk when `claim`, `running` or `end` returns next, for any job, or when the
    system writes its buffers, on Linux after about 30 seconds.  If a power loss undoes such a change, the result is
    resent, or the job continues as a job whose handler was interrupted.  CodePipeline still accepts one result only.

    Changes of several threads are committed together.  The journal is thread-safe.  Several processes of one machine
    may use one file, also in several containers that share a volume.  Workers of two AWS accounts need a file each.
    Do not put it on a network file system, where file locks are not reliable.

    One object belongs to one worker, which does not close it: call `close()`, or use ``contextlib.closing``.  A forked
    child can neither write to the object nor close it.

    The file contains ids, scopes, states and results, and no secret.  A continuation token is part of a result.  Only
    the user of the process can read a file that this class creates.

    Args:
        path: The file.  It is created if it does not exist; its directory must exist.  A relative path is made absolute
            at once.
        clock: Returns the time in seconds since 1970.

    Raises:
        cp_thirdparty.exceptions.JournalError: The file cannot be opened, is not a journal, has a format that is newer
            than this version, or another user has created one of its files.
    """

    def __init__(self, path: str | os.PathLike[str], *, clock: Callable[[], float] = time.time) -> None:
        # Symbolic links are resolved, because all workers must use the same side files, whichever path they are given.
        self._path = Path(os.path.realpath(path))
        self._clock = clock
        self._scopes: dict[JobScope, str] = {}
        failure: str | None = None
        try:
            self._file = SqliteFile(self._path)
            try:
                self._owner = Owner(self._path, clock)
            except BaseException:
                self._file.close()
                raise
        except (*SQLITE_ERRORS, OSError) as error:
            failure = describe(error)
        if failure is not None:
            raise JournalError(f"the journal cannot be opened: {failure}")

    @property
    def is_durable(self) -> bool:
        """Always ``True``, because the records remain after the process ends."""
        return True

    @property
    def is_shared(self) -> bool:
        """Always ``True``, because other processes can take jobs over."""
        return True

    def claim(self, job: AnyJob, scope: JobScope) -> bool:
        """
        Record that the job is about to be acknowledged.

        Returns:
            ``False`` if a worker of this file has the job, or if this object has an unfinished job with this id in
            another scope.

        Raises:
            cp_thirdparty.exceptions.JournalError: The file cannot be written.
        """
        self._file.refuse_if_lost()
        values = {
            "scope": self._add_scope(scope),
            "job_id": job.job_id,
            "client_id": job.client_id,
            "nonce": nonce_of(job),
            "owner": self._owner.name,
            "now": self._clock(),
        }
        if self._file.write((_CLAIM, values), is_synced=True) == 1:  # the usual case: no row must be replaced
            return True
        replaced = ((statement, (job.job_id,)) for statement in _REPLACE)
        return self._file.write(*replaced, (_CLAIM, values), is_synced=True) == 1

    def withdraw(self, job_id: str) -> None:
        """
        Remove a job that was not acknowledged.

        Raises:
            cp_thirdparty.exceptions.JournalError: The file cannot be written.
        """
        self._file.write((f"DELETE FROM entries {_OWN}", (job_id, self._owner.name)))  # noqa: S608 - constants

    def running(self, job_id: str, *, crashes: int = 0, is_suspect: bool = False, is_alone: bool = False) -> None:
        """
        Write that this worker has claimed the job.

        Args:
            job_id: The job's id.
            crashes: How many times the process of a worker crashed while it ran this job and no other one.
            is_suspect: Whether the process of a worker crashed while it ran this job and others.
            is_alone: Whether the worker runs no other handler until this one ends.

        Raises:
            cp_thirdparty.exceptions.JournalError: The file cannot be written.
        """
        now = self._clock()
        changes = "state = 'RUNNING', crashes = ?, is_suspect = ?, claimed_at = COALESCE(claimed_at, ?)"
        mark = _sqlite_rows.ALONE if is_alone else int(is_suspect)
        self._change(changes, job_id, crashes, mark, now, is_synced=True)

    def result(self, job_id: str, result: Result, *, may_be_accepted: bool = True) -> None:
        """
        Write the result that the worker is about to report.

        Args:
            job_id: The job's id.
            result: The result.
            may_be_accepted: ``False`` if each attempt to report it is known to have failed.

        Raises:
            cp_thirdparty.exceptions.JournalError: The file cannot be written.
        """
        changes = "state = 'RESULT', result = ?, may_be_accepted = ?"
        self._change(changes, job_id, text_of(result), int(may_be_accepted))

    def uncertain(self, job_id: str) -> None:
        """
        Write that the job's ownership is unknown.

        Raises:
            cp_thirdparty.exceptions.JournalError: The file cannot be written.
        """
        self._change("state = 'UNCERTAIN'", job_id)

    def finish(self, job_id: str, outcome: str) -> None:
        """
        Record that the job is finished.

        Raises:
            cp_thirdparty.exceptions.JournalError: The file cannot be written.
        """
        self._change("state = 'DONE', owner = NULL, outcome = ?", job_id, outcome)

    def release(self, job_id: str, *, has_begun: bool = True) -> None:
        """
        Give up an unfinished job.  The next `recover` of its scope takes it over.

        Args:
            job_id: The job's id.
            has_begun: Whether the job's handler has begun.  If not, state ``RUNNING`` changes to ``CLAIMED``.

        Raises:
            cp_thirdparty.exceptions.JournalError: The file cannot be written.
        """
        state = "state" if has_begun else "CASE state WHEN 'RUNNING' THEN 'CLAIMED' ELSE state END"
        statement = f"UPDATE entries SET owner = NULL, state = {state} {_OWN}"  # noqa: S608 - constants
        self._file.write((statement, (job_id, self._owner.name)))

    def recover(self, scope: JobScope) -> Recovered:
        """
        Take over the unfinished jobs of a scope, and the unfinished jobs without a scope, that no running worker has.

        Raises:
            cp_thirdparty.exceptions.JournalError: The file cannot be read or written.
        """
        self._file.refuse_if_lost()
        self._add_scope(scope)  # this also repairs a damaged row of the scope
        dead = self._find_dead()
        # There is no need to wait for the disk: a power loss also ends this process, and the next process takes the
        # jobs over.
        recovered = self._file.transact(partial(_takeover.take_over, scope=scope, owner=self._owner.name, dead=dead))
        self._owner.remove_files(dead)
        return recovered

    def is_finished(self, job_id: str, scope: JobScope) -> bool:
        """
        Return whether a job is recorded as finished.

        Args:
            job_id: The job's id.
            scope: The job's scope.

        Raises:
            cp_thirdparty.exceptions.JournalError: The file cannot be read.
        """
        key = (job_id, _sqlite_rows.scope_key(_sqlite_rows.text_of_scope(scope)))
        return self._file.transact(lambda connection: connection.execute(_FINISHED, key).fetchone() is not None)

    def jobs(self, *, unfinished_only: bool = False) -> Iterator[JournalEntry]:
        """
        Yield the jobs as they were when this was called, in no particular order.  Unreadable jobs are left out.

        Raises:
            cp_thirdparty.exceptions.JournalError: The file cannot be read.
        """
        for found in _sqlite_rows.read_journal(self._path, unfinished_only=unfinished_only):
            if isinstance(found, JournalEntry):
                yield found

    def prune(self, *, older_than: float, limit: int) -> int:
        """
        Delete finished jobs, and return how many.

        It deletes 200 in a transaction, about 5 ms, and pauses between two transactions so that others can write.

        Args:
            older_than: A time in seconds since 1970.  Jobs that finished before it are deleted.
            limit: Maximum number of jobs to delete.

        Raises:
            cp_thirdparty.exceptions.JournalError: The file cannot be written.
        """
        deleted = 0
        while (batch := min(limit - deleted, _BATCH)) > 0:
            found = self._delete_finished(older_than, batch)
            deleted += found
            if found < batch:
                break
            time.sleep(DELETION_PAUSE)
        return deleted

    def forget(self, *, older_than: float) -> int:
        """
        Delete finished jobs, and return how many.  Deprecated: use `prune`.

        Args:
            older_than: Seconds since a job was finished.

        Raises:
            cp_thirdparty.exceptions.JournalError: The file cannot be written.
        """
        warnings.warn("SqliteJournal.forget() is deprecated: use prune()", DeprecationWarning, stacklevel=2)
        return self.prune(older_than=self._clock() - older_than, limit=sys.maxsize)

    def end(self, job_id: str) -> None:
        """
        Mark an unfinished job as finished, on behalf of an operator.  No result is reported to CodePipeline.

        Args:
            job_id: Id of a job that no running worker has, or that is `JournalState.UNCERTAIN`.

        Raises:
            cp_thirdparty.exceptions.JournalError: There is no such job, a running worker has it, or the file cannot be
                written.
        """
        dead = self._find_dead()
        end = partial(_takeover.end_job, job_id=job_id, dead=dead, outcome=_ENDED, now=self._clock())
        self._file.transact(end, is_synced=True)

    def close(self) -> None:
        """
        Release all unfinished jobs, and close the file.  In a forked child, do nothing.

        Raises:
            cp_thirdparty.exceptions.JournalError: The jobs could not be released.  The file is closed; other processes
                take the jobs over when this process ends.
        """
        if self._file.is_closed:
            return
        try:
            self._file.write(("UPDATE entries SET owner = NULL WHERE owner = ?", (self._owner.name,)))
        finally:
            self._owner.close()
            self._file.close()

    def __getstate__(self) -> None:
        raise TypeError("a SqliteJournal cannot be pickled, because it has an open file; create one in each process")

    def _add_scope(self, scope: JobScope) -> str:
        """Record a scope under its key, and return the key."""
        key = self._scopes.get(scope)
        if key is None:
            text = _sqlite_rows.text_of_scope(scope)
            key = _sqlite_rows.scope_key(text)
            self._file.write((_ADD_SCOPE, (key, text)))
            self._scopes[scope] = key
        return key

    def _delete_finished(self, older_than: float, limit: int) -> int:
        deleted = 0
        for table, key in (("entries", "id"), ("jobs", "job_id")):
            old = f"SELECT {key} FROM {table} WHERE state = 'DONE' AND changed_at < ? ORDER BY changed_at LIMIT ?"  # noqa: S608 - constants
            statement = f"DELETE FROM {table} WHERE {key} IN ({old})"  # noqa: S608 - constants
            deleted += self._file.write((statement, (older_than, limit - deleted)))
        return deleted

    def _find_dead(self) -> set[object]:
        failure: str | None = None
        try:
            self._owner.restore_file()
            return self._owner.find_dead(self._file.transact(_takeover.list_owners))
        except (*SQLITE_ERRORS, OSError) as error:
            failure = describe(error)
        raise JournalError(f"the journal cannot be read: {failure}")

    def _change(self, assignments: str, job_id: str, *parameters: object, is_synced: bool = False) -> None:
        statement = f"UPDATE entries SET {assignments}, changed_at = ? {_OWN}"  # noqa: S608 - constants
        self._file.write((statement, (*parameters, self._clock(), job_id, self._owner.name)), is_synced=is_synced)
