"""
Select the jobs that a worker takes over from a SQLite journal.

An owner is one open journal object of a worker.  If the process of an owner ends while a handler runs, the running jobs
of this owner are marked as crashed or as suspects.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Collection, Iterable
from typing import Final

import attrs

from cp_thirdparty.exceptions import JournalError
from cp_thirdparty.worker._sqlite_rows import (
    ALONE,
    NO_SCOPE,
    OLD_CRASHES,
    Row,
    limit,
    load_scopes,
    read_row,
    select_rows,
)
from cp_thirdparty.worker.journal import JobScope, JournalEntry, JournalState, Recovered, SetAside

_OLD: Final = "job_id, client_id, state, result, outcome, owner, changed_at"
# Compared as bytes, because SQLite returns a string that is not UTF-8 as bytes.
_FREE: Final = f"state <> 'DONE' AND CAST({limit('owner')} AS BLOB) IS CAST(? AS BLOB)"
_NEW: Final = f"scope, crashes, is_suspect, {_OLD}"
_MOVE: Final = (
    f"INSERT OR REPLACE INTO entries ({_NEW}) SELECT '{NO_SCOPE}', {OLD_CRASHES}, {_OLD} FROM jobs WHERE {_FREE}",  # noqa: S608 - ours
    f"DELETE FROM jobs WHERE {_FREE}",  # noqa: S608 - ours
)
_END: Final = (
    "UPDATE entries SET state = 'DONE', owner = NULL, result = NULL, outcome = ?, changed_at = ?, "
    "may_be_accepted = 1, crashes = 0, is_suspect = 0, claimed_at = NULL WHERE id = ?"
)
_UNCERTAIN: Final = JournalState.UNCERTAIN.value  # a worker only asks CodePipeline who owns such a job
_UPDATE: Final = "UPDATE entries SET owner = ?, crashes = ?, is_suspect = ? WHERE id = ?"


def list_owners(connection: sqlite3.Connection) -> set[object]:
    """Return the owners of unfinished jobs."""
    owners = " UNION ".join(
        f"SELECT {limit('owner')} FROM {table} WHERE state <> 'DONE'"  # noqa: S608 - ours
        for table in ("entries", "jobs")
    )
    return {owner for (owner,) in connection.execute(owners) if owner is not None}


def move_old_rows(connection: sqlite3.Connection, dead: Iterable[object]) -> None:
    """Move unfinished jobs that version 0.1 recorded to this version's table, unless a running owner has them."""
    for owner in (None, *dead):
        for statement in _MOVE:
            connection.execute(statement, (owner,))


def take_over(connection: sqlite3.Connection, *, scope: JobScope, owner: str, dead: Collection[object]) -> Recovered:
    """
    Give the free jobs of a scope, and the free jobs without a scope, to an owner.

    A job is free if it has no owner or if the process of its owner has ended.  Free jobs of other scopes lose their
    owner, so that a worker of their scope can take them over.

    Args:
        connection: The connection to the journal, in a transaction.
        scope: The scope.  It is compared with the decoded scope of each row and not with the key of the row, because an
            older file may have several spellings of an endpoint.
        owner: The owner that gets the jobs.
        dead: The owners whose processes have ended.
    """
    move_old_rows(connection, dead)
    rows = [row for row in select_rows(connection, "state <> 'DONE'") if row.owner is None or row.owner in dead]
    alone = {row.owner for row in rows if row.may_be_running and row.is_suspect == ALONE}
    running = Counter(row.owner for row in rows if row.may_be_running and row.owner not in alone)
    # An owner must not have two jobs with the same id, because the methods of the journal find jobs by their ids.
    taken = {row.job_id for row in select_rows(connection, "state <> 'DONE' AND owner = ?", (owner,))}
    scopes = load_scopes(connection)
    entries: list[JournalEntry] = []
    set_aside: list[SetAside] = []
    for row in sorted(rows, key=lambda row: row.scope == NO_SCOPE):
        is_ours = row.scope == NO_SCOPE or scopes.get(row.scope) == scope
        recovered = read_row(row, scopes, is_owner_alive=True)
        if isinstance(recovered, SetAside):
            set_aside += [recovered] if is_ours or row.scope not in scopes else []
            _release(connection, row)
            continue
        is_cause = row.is_suspect == ALONE or running[row.owner] == 1
        is_unaffected = row.owner is None or (row.owner in alone and row.is_suspect != ALONE)
        entry = recovered if is_unaffected else mark_crash(recovered, is_cause=is_cause)
        if is_ours and row.job_id not in taken:
            taken.add(row.job_id)
            entries.append(entry)
            connection.execute(_UPDATE, (owner, entry.crashes, entry.is_suspect, row.id))
        elif row.owner is not None:
            connection.execute(_UPDATE, (None, entry.crashes, entry.is_suspect, row.id))
    return Recovered(entries=tuple(entries), set_aside=tuple(set_aside))


def end_job(connection: sqlite3.Connection, *, job_id: str, dead: Collection[object], outcome: str, now: float) -> None:
    """
    Mark an unfinished job as finished.

    The job must have no running owner.  A job in the state ``UNCERTAIN`` may have one, because a worker that has such a
    job only asks CodePipeline who owns it.

    Args:
        connection: The connection to the journal, in a transaction.
        job_id: The job's id, or the name of a row whose id cannot be read.
        dead: The owners whose processes have ended.
        outcome: How the job ended.
        now: The time in seconds since 1970.

    Raises:
        JournalError: There is no unfinished job with this id, or a running worker has it.
    """
    move_old_rows(connection, dead)
    (old,) = connection.execute("SELECT count(*) FROM jobs WHERE job_id = ? AND state <> 'DONE'", (job_id,)).fetchone()
    rows = [row for row in select_rows(connection, "state <> 'DONE'") if row.name == job_id]
    ends = [row for row in rows if row.owner is None or row.owner in dead or row.state == _UNCERTAIN]
    if not ends and (rows or old):
        raise JournalError("a running worker has the job; stop the worker, then end the job")
    if not ends:
        raise JournalError("there is no unfinished job with this id")
    for row in ends:
        connection.execute(_END, (outcome, now, row.id))


def _release(connection: sqlite3.Connection, row: Row) -> None:
    if row.owner is not None:
        connection.execute("UPDATE entries SET owner = NULL WHERE id = ?", (row.id,))


def mark_crash(entry: JournalEntry, *, is_cause: bool) -> JournalEntry:
    """
    Return the entry of a job whose owner's process has ended, with one more crash or marked as a suspect.

    A job that was not running stays unchanged.

    Args:
        entry: A job of the owner.
        is_cause: Whether this job is the only one that can have ended the process.  Then ``crashes`` increases by one;
            otherwise the job becomes a suspect.
    """
    if entry.state is not JournalState.RUNNING:
        return entry
    return attrs.evolve(entry, crashes=entry.crashes + 1) if is_cause else attrs.evolve(entry, is_suspect=True)
