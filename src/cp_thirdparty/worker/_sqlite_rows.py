"""Read the rows of a SQLite journal as journal entries, and find the rows that must be set aside as unreadable."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import attrs

from cp_thirdparty._base.text import show
from cp_thirdparty.converter import structure, unstructure
from cp_thirdparty.exceptions import ArtifactError, CodePipelineJobError, JournalError
from cp_thirdparty.models import ActionTypeId
from cp_thirdparty.worker._kinds import restore_job
from cp_thirdparty.worker._owners import is_alive
from cp_thirdparty.worker._result_text import result_of
from cp_thirdparty.worker._sqlite_file import SQLITE_ERRORS, check_format, describe
from cp_thirdparty.worker._sqlite_reader import open_snapshot
from cp_thirdparty.worker.journal import JobScope, JournalEntry, JournalState, SetAside

# The key of a scope in rows that version 0.1 wrote.
NO_SCOPE: Final = ""

# Maximum number of bytes of one value.  A result that CodePipeline accepts has less than 1 MiB as JSON.
_LONGEST_VALUE: Final = 2 << 20

# SQL for the length of a value in bytes.  Before version 3.43, SQLite must read the complete value for it.
_LENGTH: Final = "octet_length({0})" if sqlite3.sqlite_version_info >= (3, 43) else "length(CAST({0} AS BLOB))"

# Maximum number of characters of the name of a row that is set aside.
NAME_LENGTH: Final = 200


def limit(column: str) -> str:
    """
    Return SQL that reads a column, or only the first bytes of a value that is longer than any value of a journal.

    These bytes have the type BLOB, so the row is set aside.
    """
    length = _LENGTH.format(column)
    return (
        f"CASE WHEN typeof({column}) IN ('text', 'blob') AND {length} > {_LONGEST_VALUE} "
        f"THEN CAST(substr({column}, 1, {NAME_LENGTH}) AS BLOB) ELSE {column} END"
    )


# Version 0.1 counted a crash for each job of a worker that had crashed.  So its count does not show which job was the
# cause, and each job with a crash becomes a suspect.
OLD_CRASHES: Final = "0, crashes <> 0"
_OLD_COLUMNS: Final = (
    f"0, '', {limit('job_id')}, {limit('client_id')}, {limit('state')}, {limit('result')}, 1, "
    f"{limit('outcome')}, {OLD_CRASHES}, {limit('owner')}, NULL, {limit('changed_at')}, NULL"
)

# The value of `is_suspect` for a job of a worker that runs no other handler until this one ends.
ALONE: Final = 2

# The end of the year 9999, in seconds since 1970.  Python cannot represent later dates.
LAST_TIME: Final = 253_402_300_800.0

# A row with so many crashes is damaged.
MANY_CRASHES: Final = 1_000_000


@attrs.frozen
class Row:
    """A row as SQLite returns it.  Any value may have any type."""

    id: int
    scope: Any
    job_id: Any
    client_id: Any
    state: Any
    result: Any
    may_be_accepted: Any
    outcome: Any
    crashes: Any
    is_suspect: Any
    owner: Any
    claimed_at: Any
    changed_at: Any
    nonce: Any

    @property
    def name(self) -> str:
        """The job's id as a printable string, even if the row is damaged."""
        text = self.job_id.decode(errors="replace") if isinstance(self.job_id, bytes) else str(self.job_id)
        return show(text, NAME_LENGTH)

    @property
    def may_be_running(self) -> bool:
        """Whether the handler may run: the state is ``RUNNING`` or cannot be read."""
        return self.state not in _NOT_RUNNING

    @property
    def is_finished(self) -> bool:
        """Whether the job is finished."""
        return bool(self.state == JournalState.DONE)


_COLUMNS: Final = ", ".join(limit(field) for field in attrs.fields_dict(Row))

_NOT_RUNNING: Final = tuple(state.value for state in JournalState if state is not JournalState.RUNNING)

Scopes = Mapping[str, JobScope]


def scope_key(text: str) -> str:
    """Return the short key that represents a scope in each row, because a journal may have a million rows."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def text_of_scope(scope: JobScope) -> str:
    """Return a scope as a JSON string."""
    document = {
        "actionTypeId": unstructure(scope.action_type_id),
        "endpointUrl": scope.endpoint_url,
        "regionName": scope.region_name,
    }
    return json.dumps(document, sort_keys=True)


def load_scopes(connection: sqlite3.Connection) -> Scopes:
    """
    Return the scopes of a journal by their keys.

    A scope that cannot be read is left out; `read_row` then sets the rows of this scope aside.
    """
    scopes: dict[str, JobScope] = {}
    select = f"SELECT {limit('key')}, {limit('scope')} FROM scopes"  # noqa: S608 - ours
    for key, text in connection.execute(select):
        scope = read_scope(text)
        if scope is not None:
            scopes[key] = scope
    return scopes


def read_row(row: Row, scopes: Scopes, *, is_owner_alive: bool | None) -> JournalEntry | SetAside:
    """Return the journal entry of a row, or a `SetAside` with the problem if the row cannot be read."""
    problem = _find_problem(row, scopes)
    if problem is not None:
        return SetAside(job_id=row.name, problem=problem)
    try:
        result = None if row.result is None else result_of(row.result)
    except JournalError:
        return SetAside(job_id=row.name, problem="its result cannot be read")
    return JournalEntry(
        job=restore_job(job_id=row.job_id, client_id=row.client_id, nonce=row.nonce),
        scope=scopes.get(row.scope),
        state=JournalState(row.state),
        result=result,
        may_be_accepted=bool(row.may_be_accepted),
        outcome=row.outcome,
        crashes=row.crashes,
        is_suspect=bool(row.is_suspect),
        is_owner_alive=is_owner_alive,
        claimed_at=row.claimed_at,
        changed_at=row.changed_at,
    )


def select_rows(connection: sqlite3.Connection, where: str, parameters: tuple[Any, ...] = ()) -> Iterator[Row]:
    """Yield the rows of this version's table that match a SQL condition."""
    for values in connection.execute(f"SELECT {_COLUMNS} FROM entries WHERE {where}", parameters):  # noqa: S608 - ours
        yield Row(*values)


def read_journal(path: Path, *, unfinished_only: bool = False) -> Iterator[JournalEntry | SetAside]:
    """
    Yield the jobs of a journal without changing the file.  Yield unfinished jobs that cannot be read as `SetAside`.

    Raises:
        JournalError: The file cannot be read, is not a journal, or has a change that is not finished.
    """
    failure: str | None = None
    try:
        # A separate connection is used, so that workers can write while a million jobs are read.
        with open_snapshot(path) as connection:
            yield from _read_all(connection, path, "state <> 'DONE'" if unfinished_only else "TRUE")
    except (*SQLITE_ERRORS, OSError) as error:
        failure = describe(error)
    except ArtifactError as error:  # another user has replaced the directory of the copy
        failure = str(error)
    if failure is not None:
        raise JournalError(f"the journal cannot be read: {failure}")


def _read_all(connection: sqlite3.Connection, path: Path, where: str) -> Iterator[JournalEntry | SetAside]:
    is_owner_alive: Callable[[Any], bool] = lru_cache(maxsize=None)(lambda owner: is_alive(path, owner))
    tables = check_format(connection)
    scopes = load_scopes(connection) if "scopes" in tables else {}
    selects = [
        f"SELECT {columns} FROM {table} WHERE {where}"  # noqa: S608 - ours
        for table, columns in (("entries", _COLUMNS), ("jobs", _OLD_COLUMNS))
        if table in tables
    ]
    for values in connection.execute(" UNION ALL ".join(selects)) if selects else ():
        row = Row(*values)
        is_owned = row.owner is not None and not row.is_finished
        found = read_row(row, scopes, is_owner_alive=is_owner_alive(row.owner) if is_owned else None)
        if isinstance(found, JournalEntry) or not row.is_finished:
            yield found


def _find_problem(row: Row, scopes: Scopes) -> str | None:
    is_result_missing = row.result is None and row.state == JournalState.RESULT
    is_readable = {
        "its ids cannot be read": all(isinstance(value, str) for value in (row.job_id, row.client_id, row.nonce or "")),
        "its scope cannot be read": row.scope == NO_SCOPE or row.scope in scopes,
        "its state is unknown": row.state in JournalState.__members__,
        "its result cannot be read": isinstance(row.result, (str, type(None))) and not is_result_missing,
        "its attempts to report cannot be read": row.may_be_accepted in (0, 1),
        "its outcome cannot be read": isinstance(row.outcome, (str, type(None))),
        "its crashes cannot be read": isinstance(row.crashes, int) and 0 <= row.crashes < MANY_CRASHES,
        "its mark as a suspect cannot be read": row.is_suspect in (0, 1, ALONE),
        "its times cannot be read": _is_time(row.changed_at) and (row.claimed_at is None or _is_time(row.claimed_at)),
    }
    return next((problem for problem, is_fine in is_readable.items() if not is_fine), None)


def _is_time(value: object) -> bool:
    return isinstance(value, float) and 0 <= value < LAST_TIME


@lru_cache(maxsize=16)
def read_scope(text: object) -> JobScope | None:
    """Return a scope that `text_of_scope` wrote; ``None`` if it cannot be read."""
    try:
        document = json.loads(text if isinstance(text, str) else "")
        region_name, endpoint_url = document["regionName"], document["endpointUrl"]
        action_type_id = structure(document["actionTypeId"], ActionTypeId)
    except (KeyError, TypeError, ValueError, RecursionError, CodePipelineJobError):
        return None
    if not isinstance(region_name, str) or not isinstance(endpoint_url, str):
        return None
    return JobScope(region_name=region_name, endpoint_url=endpoint_url, action_type_id=action_type_id)
