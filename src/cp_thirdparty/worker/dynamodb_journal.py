"""`DynamoDBJournal`: a journal in a DynamoDB table, for workers of several machines without a durable disk."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import islice
from typing import Any, Final

import attrs

from cp_thirdparty._base.durations import read_days, read_seconds
from cp_thirdparty.exceptions import JournalError
from cp_thirdparty.models import AnyJob
from cp_thirdparty.worker._dynamodb_rows import (
    Takeover,
    create_finished_item,
    create_item,
    create_mark,
    find_name,
    partition_of_mark,
    read_item,
    read_open,
    sort_by_time,
)
from cp_thirdparty.worker._dynamodb_table import DONE, EXPIRY, PARTITION, SORT, Item, Table, create_client
from cp_thirdparty.worker._lease import Lease, read_timer
from cp_thirdparty.worker._result_text import text_of
from cp_thirdparty.worker._sqlite_rows import ALONE, text_of_scope
from cp_thirdparty.worker.journal import FinishedOutcome, JobScope, JournalEntry, JournalState, Recovered, SetAside
from cp_thirdparty.worker.results import Result

__all__ = ["DynamoDBJournal", "dynamodb_table"]

_SECONDS_OF_A_DAY: Final = 86_400

# Seconds after a write of the job in which `hold` makes no write of its own.
_FRESH: Final = 1.0

# How often a command checks the leases within the time of a lease, which is how often a worker renews its lease.
_CHECKS: Final = 6

# The part of a lease that must be left for a report.  With less time, a report would hardly succeed.
_MIN_PART: Final = 1 / 4

_OWN: Final = "#owner = :owner"
_ENDED: Final[FinishedOutcome] = "ended by an operator"


def dynamodb_table(table_name: str) -> dict[str, Any]:
    """
    Return the arguments of ``create_table`` for the table of a `DynamoDBJournal`.

    Set its time to live too, on the attribute ``expires_at``, so that DynamoDB deletes finished jobs at no charge.

    Args:
        table_name: The table.

    .. versionadded:: 0.2.0
    """
    return {
        "TableName": table_name,
        "AttributeDefinitions": [
            {"AttributeName": PARTITION, "AttributeType": "S"},
            {"AttributeName": SORT, "AttributeType": "S"},
        ],
        "KeySchema": [
            {"AttributeName": PARTITION, "KeyType": "HASH"},
            {"AttributeName": SORT, "KeyType": "RANGE"},
        ],
        "BillingMode": "PAY_PER_REQUEST",
    }


@attrs.define(eq=False)
class _Owned:
    """A job of this object, and when its last write succeeded."""

    item: Item
    written_at: float


class DynamoDBJournal:
    """
    A journal in a DynamoDB table, which the workers of several machines share.

    Each change is one conditional write, three writes when a job finishes; it is durable when the method returns.  Each
    object has a lease in the table, which a thread renews.  When the lease of a worker has expired, another
    worker takes its jobs over.  Each worker measures leases with its own timer, so clocks may differ.  Thread-safe.

    Before each attempt to report a result, the worker confirms by a conditional write that it still has the job, and
    the attempt ends before its lease does.  CodePipeline does not take a fencing token, so a worker that is paused
    between this write and the attempt may report a job that was taken over.  CodePipeline accepts one of the results.

    Each method raises `cp_thirdparty.exceptions.JournalError` if the table cannot be read or written.

    One object belongs to one worker.  A forked child can neither write to the object nor close it.  Workers of two AWS
    accounts need a table each, because a worker cannot process a job of another account.

    The table contains ids, scopes, states and results, and no secret; a continuation token is part of a result.

    Args:
        table_name: The table; `dynamodb_table` describes it.
        client: An existing client of botocore or boto3 for DynamoDB; ``None`` for one with the region and the
            credentials of the environment and short timeouts.
        takeover_seconds: Seconds or a ``timedelta`` within which another worker takes over the jobs of a worker that
            has ended.  A worker renews its lease twelve times in these seconds, and reports nothing if it could not
            renew the lease for half of them.
        keep_finished: Days or a ``timedelta`` after which DynamoDB's time to live deletes finished jobs, at least 0;
            ``None`` for never.  The worker's own ``keep_finished`` applies too.
        clock: Returns the time in seconds since 1970.
        timer: Returns the time in seconds, for the lease; ``None`` for a timer that also counts while the machine
            sleeps, where the system has one.

    Raises:
        TypeError: ``keep_finished`` is not a number.
        ValueError: A number is out of its range.

    .. versionadded:: 0.2.0
    """

    def __init__(
        self,
        table_name: str,
        *,
        client: Any = None,
        takeover_seconds: float | timedelta = 60.0,
        keep_finished: float | timedelta | None = 30.0,
        clock: Callable[[], float] = time.time,
        timer: Callable[[], float] | None = None,
    ) -> None:
        takeover_seconds = read_seconds("takeover_seconds", takeover_seconds)
        self._keep_finished = read_days("keep_finished", keep_finished)
        self._clock = clock
        self._timer = read_timer if timer is None else timer
        self._table = Table(create_client() if client is None else client, table_name)
        self._owned: dict[str, _Owned] = {}
        self._lease = Lease(
            self._table,
            takeover_seconds=takeover_seconds,
            timer=self._timer,
            clock=clock,
            jobs=self._owned,
        )
        self._lock = threading.Lock()  # guards the claims of one job
        self._recovery = threading.Lock()

    @property
    def is_durable(self) -> bool:
        """Always ``True``, because the records remain after the process ends."""
        return True

    @property
    def is_shared(self) -> bool:
        """Always ``True``, because other processes can take jobs over."""
        return True

    @property
    def recovery_seconds(self) -> float:
        """Seconds between two calls of `recover`: a sixth of ``takeover_seconds``."""
        return self._lease.look_seconds

    def claim(self, job: AnyJob, scope: JobScope) -> bool:
        """Record that the job is about to be acknowledged; return ``False`` if a worker has the job."""
        self._lease.ensure()
        item = create_item(job, scope, owner=self._lease.name, now=self._clock())
        uncertain = JournalState.UNCERTAIN.value
        with self._lock:
            known = self._find(job.job_id)
            if known is not None and (known.item[SORT] != item[SORT] or known.item["state"] != uncertain):
                return False
            # Stored before the write, so that a claim whose response is lost can be released.
            owned = self._owned[job.job_id] = _Owned(item, self._timer())
        condition = "attribute_not_exists(#owner) OR #state = :uncertain OR #write = :write"
        is_free = self._table.put(item, condition, uncertain=uncertain, write=item["write"])
        if not is_free:
            self._forget(job.job_id, owned)
        return is_free

    def withdraw(self, job_id: str) -> None:
        """Remove a job that was not acknowledged."""
        owned = self._find(job_id)
        if owned is not None:
            self._table.delete(owned.item, _OWN, owner=owned.item["owner"])
            self._forget(job_id, owned)

    def running(self, job_id: str, *, crashes: int = 0, is_suspect: bool = False, is_alone: bool = False) -> None:
        """Write that this worker has claimed the job."""
        mark = ALONE if is_alone else int(is_suspect)
        self._change(job_id, JournalState.RUNNING, crashes=crashes, is_suspect=mark)

    def result(self, job_id: str, result: Result, *, may_be_accepted: bool = True) -> None:
        """Write the result that the worker is about to report."""
        self._change(job_id, JournalState.RESULT, result=text_of(result), may_be_accepted=int(may_be_accepted))

    def uncertain(self, job_id: str) -> None:
        """Write that the job's ownership is unknown."""
        self._change(job_id, JournalState.UNCERTAIN)

    def finish(self, job_id: str, outcome: FinishedOutcome) -> None:
        """Record that the job is finished."""
        owned = self._find(job_id)
        if owned is not None:
            self._finish(owned.item, outcome)
            self._forget(job_id, owned)

    def release(self, job_id: str, *, has_begun: bool = True) -> None:
        """Give up an unfinished job; the next `recover` of its scope takes it over."""
        owned = self._find(job_id)
        if owned is None:
            return
        is_running = owned.item["state"] == JournalState.RUNNING.value
        state = JournalState.CLAIMED.value if is_running and not has_begun else owned.item["state"]
        self._table.put({**owned.item, "owner": None, "state": state}, _OWN, owner=owned.item["owner"])
        self._forget(job_id, owned)

    def hold(self, job_id: str) -> float:
        """
        Confirm by a conditional write that this object still has the job.

        A change of the job within the last second counts as such a write.

        Returns:
            For how many seconds no other worker can take the job over; 0 if another worker has the job or may have it.

        Raises:
            cp_thirdparty.exceptions.JournalError: The table cannot be written, or the lease ends too soon for a report.
        """
        self._lease.ensure()
        owned = self._find(job_id)
        if owned is None or (self._timer() - owned.written_at >= _FRESH and not self._write(job_id, owned, owned.item)):
            return 0.0
        left = self._lease.seconds_left()
        if left < self._lease.seconds * _MIN_PART:
            raise JournalError("the lease of this worker ends before a result can be reported")
        return left

    def recover(self, scope: JobScope) -> Recovered:
        """Take over the unfinished jobs of a scope that no running worker has."""
        with self._recovery:
            self._lease.ensure()
            for job_id, owned in self._owned.copy().items():
                if self._find(job_id) is None:
                    self._forget(job_id, owned)  # another worker has taken the job over
            began_at = self._timer()
            takeover = Takeover(self._table, self._lease, scope, lambda: tuple(self._owned))
            recovered = takeover.run()
            self._owned.update({item["job_id"]: _Owned(item, began_at) for item in takeover.items})
            return recovered

    def is_finished(self, job_id: str, scope: JobScope) -> bool:
        """Return whether a job is finished and was not deleted; this reads one item."""
        return any(self._table.query(partition_of_mark(job_id, text_of_scope(scope))))

    def jobs(self, *, unfinished_only: bool = False) -> Iterator[JournalEntry]:
        """
        Yield the jobs, in no particular order.  Jobs that cannot be read are left out.

        A worker counts as alive until this object has observed for the time of a lease that it was not renewed.
        """
        for entry in self._read_all(unfinished_only=unfinished_only):
            if isinstance(entry, JournalEntry):
                yield entry

    def _read_all(self, *, unfinished_only: bool) -> Iterator[JournalEntry | SetAside]:
        """Yield the jobs, and a `SetAside` for each unfinished job that cannot be read."""
        found = read_open(self._table)
        dead = found.list_dead(self._lease.find_dead(found.leases))
        for item in found.jobs:
            yield read_item(item, is_owner_alive=item["owner"] not in dead if "owner" in item else None)
        unfinished = {item[SORT] for item in found.jobs}
        for item in () if unfinished_only else self._table.query(DONE):
            entry = read_item(item, is_owner_alive=None)
            key = "job#" + item[SORT].partition("#")[2]
            if isinstance(entry, JournalEntry) and key not in unfinished and not self._is_expired(item):
                yield entry

    def _observe_owners(self) -> Iterator[tuple[float, float]]:
        """
        Check the leases until each worker that has a job has renewed its lease or counts as dead.

        Yields:
            Before each further check, the seconds to wait, and the seconds after which the last worker counts as dead.
        """
        first: dict[str, object] = {}
        while True:
            found = read_open(self._table)
            dead = found.list_dead(self._lease.find_dead(found.leases))
            owners = {item["owner"] for item in found.jobs if "owner" in item} - dead
            silent = [
                found.leases[name]
                for name in owners
                if first.setdefault(name, (beat := found.leases[name].get("beat"))) == beat
            ]
            if not silent:
                return
            seconds = [self._lease.longest_silence(lease) for lease in silent]
            yield min(seconds) / _CHECKS, max(seconds)

    def prune(self, *, older_than: float, limit: int) -> int:
        """
        Delete finished jobs, and return how many.

        DynamoDB's time to live does the same at no charge, usually within some days.

        Args:
            older_than: A time in seconds since 1970.  Jobs that finished before it are deleted.
            limit: Maximum number of jobs to delete.
        """
        items = self._table.query(DONE, before=sort_by_time(max(older_than, 0.0)))
        old = list(islice((item for item in items if not _is_later(item.get("changed_at"), older_than)), limit))
        # Delete the marks first: a mark whose job is gone would never be found again.
        marks = [create_mark(item, expires_at=None) for item in old]
        each = {mark[PARTITION]: mark for mark in marks}
        deleted = {mark[PARTITION] for mark in self._table.delete_all(list(each.values()))}
        found = zip(old, marks, strict=True)
        return len(self._table.delete_all([item for item, mark in found if mark[PARTITION] in deleted]))

    def end(self, job_id: str) -> None:
        """
        Mark an unfinished job as finished, on behalf of an operator.  No result is reported to CodePipeline.

        Args:
            job_id: Id of a job that no running worker has, or that is `JournalState.UNCERTAIN`.

        Raises:
            cp_thirdparty.exceptions.JournalError: There is no such job, a worker has it that does not count as dead, or
                the table cannot be written.
        """
        found = read_open(self._table)
        dead = found.list_dead(self._lease.find_dead(found.leases))
        items = [item for item in found.jobs if job_id in (item.get("job_id"), find_name(item))]
        ends = [
            item
            for item in items
            if item.get("owner") in {None, *dead} or item.get("state") == JournalState.UNCERTAIN.value
        ]
        if not ends:
            raise JournalError(
                "a running worker has the job; stop the worker, then end the job"
                if items
                else "there is no unfinished job with this id"
            )
        for item in ends:
            self._finish(item, _ENDED)

    def close(self) -> None:
        """
        Release all unfinished jobs, and end the lease.  In a forked child, do nothing.

        Raises:
            cp_thirdparty.exceptions.JournalError: The jobs could not be released.  Other workers take them over when
                the lease has expired.
        """
        if self._lease.is_stopped:
            return
        try:
            for job_id in tuple(self._owned):
                self.release(job_id)
        except BaseException:
            self._lease.stop()
            raise
        self._lease.close()

    def __getstate__(self) -> None:
        raise TypeError("a DynamoDBJournal cannot be pickled, because it has a lease; create one in each process")

    def _find(self, job_id: str) -> _Owned | None:
        """Return a job of this object; ``None`` if the lease has changed, so that other workers take the job over."""
        self._lease.refuse_other_process()
        owned = self._owned.get(job_id)
        return owned if owned is not None and owned.item["owner"] == self._lease.name else None

    def _forget(self, job_id: str, owned: _Owned) -> None:
        """Remove a job from this object, unless the object has claimed the job again meanwhile."""
        with self._lock:
            if self._owned.get(job_id) is owned:
                del self._owned[job_id]

    def _change(self, job_id: str, state: JournalState, **changes: Any) -> None:
        owned = self._find(job_id)
        if owned is None:
            return
        now = self._clock()
        item = {**owned.item, **changes, "state": state.value, "changed_at": now}
        if state is JournalState.RUNNING:
            item.setdefault("claimed_at", now)
        self._write(job_id, owned, item)

    def _write(self, job_id: str, owned: _Owned, item: Item) -> bool:
        """Write a job; return ``False`` if another worker has the job."""
        owned.item = item  # even if this write fails, so that the next write contains the change
        written_at = self._timer()
        if not self._table.put(item, _OWN, owner=item["owner"]):
            self._forget(job_id, owned)
            return False
        owned.written_at = written_at
        return True

    def _finish(self, item: Item, outcome: FinishedOutcome) -> None:
        """Move a job to the finished jobs.  The new item is written first, so that a crash loses nothing."""
        now = self._clock()
        days = self._keep_finished
        expires_at = None if days is None else int(now + days * _SECONDS_OF_A_DAY)
        self._table.put(create_finished_item(item, outcome=outcome, now=now, expires_at=expires_at))
        self._table.put(create_mark(item, expires_at=expires_at))
        owner = item.get("owner")
        if owner is None:
            self._table.delete(item, "attribute_not_exists(#owner)")
        else:
            self._table.delete(item, _OWN, owner=owner)

    def _is_expired(self, item: Item) -> bool:
        """Return whether a finished job has expired; DynamoDB may delete it days later."""
        expires_at = item.get(EXPIRY)
        return isinstance(expires_at, int) and expires_at < self._clock()


def _is_later(value: object, than: float) -> bool:
    return isinstance(value, (int, float)) and value >= than
