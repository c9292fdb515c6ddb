"""Store jobs as items of a DynamoDB table, and take over the jobs of workers that have ended."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Iterable
from typing import Any, Final

import attrs

from cp_thirdparty._base.text import show
from cp_thirdparty.exceptions import JournalError
from cp_thirdparty.models import AnyJob
from cp_thirdparty.worker._dynamodb_table import DONE, OPEN, PARTITION, SORT, Item, Table
from cp_thirdparty.worker._kinds import nonce_of
from cp_thirdparty.worker._lease import LEASE, Lease
from cp_thirdparty.worker._sqlite_rows import ALONE, NAME_LENGTH, Row, read_row, read_scope, scope_key, text_of_scope
from cp_thirdparty.worker._takeover import mark_crash
from cp_thirdparty.worker.journal import JobScope, JournalEntry, JournalState, Recovered, SetAside

_JOB: Final = "job#"

# The start of the partition key of a mark, with which a finished job is found by its id.  Each mark has its own
# partition, so that a `Query` reads only this mark, and the IAM policy of workers needs no other action.
_MARK: Final = "done#"

# The key of a scope that cannot be read.
_NO_SCOPE: Final = "?"

# Which job may have crashed a worker: none, or any of several; otherwise, the sort key of the one job.
_NONE: Final = "none"
_SEVERAL: Final = "several"

# The attributes by which a change of an item is noticed.  A worker that does not know yet that its lease has expired
# still writes its jobs.
_VERSION: Final = ("owner", "state", "changed_at")


@attrs.frozen
class OpenItems:
    """
    The unfinished jobs and the leases of a table.

    Attributes:
        leases: The lease of each worker, by the worker's name.
        jobs: The items of the jobs.
    """

    leases: dict[str, Item]
    jobs: list[Item]

    def list_dead(self, dead: Collection[str]) -> set[Any]:
        """
        Return the owners that have ended: those in `dead`, and owners of jobs that have no lease.

        An owner that is not a string is one of them, because each lease has a string as its name.
        """
        # A worker creates its lease before it claims a job, and jobs are read before leases.
        return {*dead, *(item["owner"] for item in self.jobs if "owner" in item)} - (self.leases.keys() - dead)


def read_open(table: Table) -> OpenItems:
    """Read the unfinished jobs and the leases."""
    items = list(table.query(OPEN))
    leases = {item[SORT].removeprefix(LEASE): item for item in items if item[SORT].startswith(LEASE)}
    return OpenItems(leases, [item for item in items if item[SORT].startswith(_JOB)])


def create_item(job: AnyJob, scope: JobScope, *, owner: str, now: float) -> Item:
    """Create the item of a job that is about to be acknowledged."""
    text = text_of_scope(scope)
    return {
        PARTITION: OPEN,
        SORT: _JOB + _create_key(job.job_id, text),
        "scope": text,
        "job_id": job.job_id,
        "client_id": job.client_id,
        "nonce": nonce_of(job),
        "state": JournalState.CLAIMING.value,
        "may_be_accepted": 1,
        "crashes": 0,
        "is_suspect": 0,
        "owner": owner,
        "write": uuid.uuid4().hex,  # with it, a request that botocore resends recognises its own effect
        "began_at": now,
        "changed_at": now,
    }


def create_finished_item(item: Item, *, outcome: str, now: float, expires_at: int | None) -> Item:
    """Create the item of a finished job.  Its key contains the time of the claim, so a second write replaces it."""
    began_at = item.get("began_at")
    key = sort_by_time(began_at if isinstance(began_at, (int, float)) else now)
    return {
        **{name: value for name, value in item.items() if name not in ("owner", "write")},
        PARTITION: DONE,
        SORT: key + _key_of(item),
        "state": JournalState.DONE.value,
        "outcome": outcome,
        "changed_at": now,
        "expires_at": expires_at,
    }


def create_mark(item: Item, *, expires_at: int | None) -> Item:
    """Create the mark of a finished job, from its item in either partition."""
    return {PARTITION: _MARK + _key_of(item), SORT: DONE, "expires_at": expires_at}


def partition_of_mark(job_id: str, scope: str) -> str:
    """Return the partition key of the mark of a finished job; the scope is a JSON string, as in the item."""
    return _MARK + _create_key(job_id, scope)


def find_id(item: Item) -> str:
    """Return the id of a job from the key of its item, because the attribute may be wrong."""
    return _key_of(item).partition("#")[2] or str(item[SORT])


def find_name(item: Item) -> str:
    """Return the id of a job as a printable string."""
    return show(find_id(item), NAME_LENGTH)


def _create_key(job_id: str, scope: str) -> str:
    return f"{scope_key(scope)}#{job_id}"


def _key_of(item: Item) -> str:
    """Return the part of the sort key that is the same in both partitions."""
    return str(item[SORT].partition("#")[2])


def sort_by_time(seconds: float) -> str:
    """Return the start of the sort keys of jobs that were claimed at a time."""
    return f"{seconds:020.6f}#"


def read_item(item: Item, *, is_owner_alive: bool | None) -> JournalEntry | SetAside:
    """Return the entry of a job, or a `SetAside` with the problem of its item."""
    row = _row_of(item)
    scope = read_scope(item.get("scope"))
    scopes = {} if scope is None else {row.scope: scope}
    found = read_row(row, scopes, is_owner_alive=is_owner_alive)
    if isinstance(found, SetAside):
        return attrs.evolve(found, job_id=find_name(item))
    problem = _find_contradiction(item, row)
    return SetAside(job_id=find_name(item), problem=problem) if problem else found


def _find_contradiction(item: Item, row: Row) -> str:
    """Return how an item that can be read contradicts its own key; an empty string if it does not."""
    if _create_key(row.job_id, item["scope"]) != _key_of(item):
        return "its id or scope contradicts its key"
    return "" if row.is_finished is (item[PARTITION] == DONE) else "its state contradicts its key"


def _row_of(item: Item) -> Row:
    """Convert an item to a row of a journal in SQLite, so that the same rules read both."""
    values: dict[str, Any] = {name: item.get(name) for name in attrs.fields_dict(Row)}
    times = {name: float(item[name]) for name in ("claimed_at", "changed_at") if isinstance(item.get(name), int)}
    scope = item.get("scope")
    key = scope_key(scope) if isinstance(scope, str) else _NO_SCOPE
    values.update(times, id=item[SORT], scope=key)
    return Row(**values)


class Takeover:
    """
    One check of the table, which releases the jobs of workers that have ended and takes over the jobs of one scope.

    Args:
        table: The table.
        lease: The lease of the worker that takes the jobs over.
        scope: The scope of that worker.
        find_taken: Returns the ids of the jobs that this worker has.
    """

    def __init__(self, table: Table, lease: Lease, scope: JobScope, find_taken: Callable[[], Iterable[str]]) -> None:
        self._table = table
        self._lease = lease
        self._scope = scope
        self._find_taken = find_taken
        self._taken: set[str] = set()
        self._entries: list[JournalEntry] = []
        self._set_aside: list[SetAside] = []
        self.items: list[Item] = []

    def run(self) -> Recovered:
        """
        Move the jobs, and add the items of the jobs that this worker has taken over to `items`.

        Raises:
            JournalError: The table cannot be read or written, and nothing was taken.
        """
        found = read_open(self._table)
        # Read after the table, so that each claim of another thread that the table contains is known.
        self._taken = set(self._find_taken())
        try:
            self._move_all(found)
        except JournalError:
            if not self._entries:
                raise  # otherwise, return the jobs that were taken over; the next check moves the other jobs
        return Recovered(entries=tuple(self._entries), set_aside=tuple(self._set_aside))

    def _move_all(self, found: OpenItems) -> None:
        dead = self._lease.find_dead(found.leases)
        others = found.leases.keys() - dead - {self._lease.name}
        for owner in sorted(found.list_dead(dead), key=str):
            jobs = [item for item in found.jobs if item.get("owner") == owner]
            cause: str | None = _find_cause(jobs)
            lease = found.leases.get(owner)
            if lease is not None and lease.get("dead_by") in others:
                continue  # that worker moves the jobs
            if lease is not None:
                cause = self._lease.seize(lease, str(cause))
            if cause is None:
                continue
            moved = [self._move(item, cause) for item in jobs]  # all items, even if one has changed
            if lease is not None and all(moved):
                self._lease.remove(lease)
        for item in found.jobs:
            # If the response to a takeover was lost, this worker owns a job that it does not know.
            if item.get("owner") in (None, self._lease.name) and find_id(item) not in self._taken:
                self._move(item, _NONE)

    def _move(self, item: Item, cause: str) -> bool:
        """Take a job over or release it; return ``False`` if its item has changed, so the next check must move it."""
        entry = read_item(item, is_owner_alive=True)
        if isinstance(entry, SetAside):
            if read_scope(item.get("scope")) in (None, self._scope):
                self._set_aside.append(entry)
            return item.get("owner") is None or self._release(item)
        if cause in (_SEVERAL, item[SORT]):
            entry = mark_crash(entry, is_cause=cause != _SEVERAL)
        is_ours = entry.scope == self._scope and entry.job.job_id not in self._taken
        if not is_ours and item.get("owner") in (None, self._lease.name):
            return True
        moved = {
            **item,
            "crashes": entry.crashes,
            "is_suspect": int(entry.is_suspect),
            "owner": self._lease.name if is_ours else None,
            "write": uuid.uuid4().hex,
        }
        if not self._put(moved, item):
            return False
        if is_ours:
            self._taken.add(entry.job.job_id)
            self._entries.append(entry)
            self.items.append(moved)
        return True

    def _release(self, item: Item) -> bool:
        """Remove the owner of a job that is set aside, so that the job can be claimed when it is offered again."""
        try:
            return self._put({**item, "owner": None, "write": uuid.uuid4().hex}, item)
        except JournalError:  # DynamoDB may refuse the damaged item, which must not keep the other jobs
            return False

    def _put(self, moved: Item, before: Item) -> bool:
        """Write an item, unless it has changed; return ``False`` if it has."""
        found = {name: before[name] for name in _VERSION if name in before}  # a damaged item has not all of them
        missing = [f"attribute_not_exists(#{name})" for name in _VERSION if name not in found]
        unchanged = " AND ".join([*(f"#{name} = :{name}" for name in found), *missing])
        return self._table.put(moved, f"({unchanged}) OR #write = :write", **found, write=moved["write"])


def _find_cause(jobs: Iterable[Item]) -> str:
    """Return which job of a crashed worker may be the cause of the crash."""
    running = [row for row in map(_row_of, jobs) if row.may_be_running]
    suspects = [row for row in running if row.is_suspect == ALONE] or running
    if not suspects:
        return _NONE
    return str(suspects[0].id) if len(suspects) == 1 else _SEVERAL
