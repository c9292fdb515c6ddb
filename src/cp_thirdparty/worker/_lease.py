"""
The lease of a worker: a row in a shared table that shows the other workers that this worker is running.

Every few seconds, a worker increases a number in its lease row.  This is called a beat.  If the number has not changed
for some time, another worker marks the lease as dead and takes over the jobs.  The other worker measures this time with
its own timer, so the clocks of two machines are never compared.  A worker whose lease is marked as dead cannot renew it
any more.  It continues with a new lease.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import uuid
import weakref
from collections.abc import Callable, Mapping, Sized
from typing import Final

from cp_thirdparty._base.durations import MAX_SECONDS
from cp_thirdparty.exceptions import JournalError
from cp_thirdparty.worker._dynamodb_table import OPEN, PARTITION, SORT, Item, Table
from cp_thirdparty.worker._emit import Emitter
from cp_thirdparty.worker._isolation import Raised, call_partner

LEASE: Final = "lease#"

# Fractions of `takeover_seconds`.  In the worst case, another worker reads the last beat one check (1/6) later, waits
# until the lease has expired (1/2 * 1.1 = 11/20), and takes the jobs over at its next check (1/6).  The sum is less
# than 9/10, so at least a tenth of the time is left for slow requests.
_LEASE_PART: Final = 1 / 2
_CHECK_PART: Final = 1 / 6
_BEAT_PART: Final = 1 / 12

# Other workers wait a tenth longer than the lease is valid, because timers are not exact.
_SILENCE_FACTOR: Final = 1.1

# A worker that has missed this many beats starts a new observation of other leases, and does not mark them as dead
# at once.  The table may have failed for all workers.
_MISSED_BEATS: Final = 3

_LEASE_LOST: Final = "the lease of this worker has expired, and another worker takes its jobs over"


def read_timer() -> float:
    """Return a monotonic time in seconds.  On Linux, it also counts the time in which the machine was suspended."""
    clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return time.clock_gettime(clock)


class Lease:
    """
    The lease of one journal object.  Thread-safe.

    Args:
        table: The table of the journal.
        takeover_seconds: Seconds within which other workers take over the jobs of a worker that has ended.
        timer: Returns a monotonic time in seconds, for intervals.
        clock: Returns the time in seconds since 1970.  It is used in addition to the timer, which stands still while a
            virtual machine is paused.
        jobs: The jobs of the worker.

    Attributes:
        name: The name of the owner in the rows of the jobs that the journal claims.  It changes after another worker
            has marked this lease as dead.
        seconds: For how many seconds after a beat no other worker can take over the jobs.
        look_seconds: Seconds between two checks of the leases of other workers.
    """

    def __init__(
        self,
        table: Table,
        *,
        takeover_seconds: float,
        timer: Callable[[], float],
        clock: Callable[[], float],
        jobs: Sized,
    ) -> None:
        self.name = uuid.uuid4().hex
        self.seconds = takeover_seconds * _LEASE_PART
        self.look_seconds = takeover_seconds * _CHECK_PART
        self._interval = takeover_seconds * _BEAT_PART
        self._table = table
        self._timer = timer
        self._clock = clock
        self._jobs = jobs
        self._emitter = Emitter()  # writes logs in another thread, so that a slow log handler does not delay a beat
        self._process_id = os.getpid()
        self._stopped = threading.Event()
        self._lock = threading.Lock()  # guards the attributes below
        self._beats = 0
        # When the last successful beat began: the time of the timer and the time of the clock.
        self._beaten_at: tuple[float, float] | None = None
        # For each lease: its number, and the time of the timer at which this worker first read this number.
        self._seen: dict[str, tuple[object, float]] = {}

    @property
    def is_stopped(self) -> bool:
        """Whether the lease is stopped, or belongs to the parent process of this fork."""
        return self._stopped.is_set() or self._process_id != os.getpid()

    def refuse_other_process(self) -> None:
        """
        Raise in a forked child, where a lock of the parent may be held forever by a thread that does not exist there.

        Raises:
            JournalError: Another process has opened the journal.
        """
        if self._process_id != os.getpid():
            raise JournalError("the journal was opened by another process; open it after the fork")

    def seconds_left(self) -> float:
        """Return for how many seconds no other worker can mark this lease as dead."""
        if self._beaten_at is None:
            return 0.0
        beaten_at, beaten_on = self._beaten_at
        return self.seconds - max(self._timer() - beaten_at, self._clock() - beaten_on)

    def ensure(self) -> None:
        """
        Beat now if half of the lease has passed or the clock was set back; start the thread of the beats at the first
        call.

        Raises:
            JournalError: The table cannot be written, or the journal is closed.
        """
        # A closed journal has removed its lease, so other workers take its jobs over.
        self._refuse_if_closed()
        is_set_back = self._beaten_at is not None and self._clock() < self._beaten_at[1]
        if is_set_back or self.seconds_left() < self.seconds / 2:
            self.beat()

    def beat(self) -> None:
        """
        Renew the lease.  If another worker has marked it as dead, create a new lease with a new name.

        Raises:
            JournalError: The table cannot be written, or the journal is closed.
        """
        self.refuse_other_process()
        with self._lock:
            self._refuse_if_closed()
            began_at, began_on = self._timer(), self._clock()
            if not self._put():
                if self._jobs:
                    self._emitter.log(logging.ERROR, _LEASE_LOST)
                self.name, self._beats = uuid.uuid4().hex, 0
                self._put()
            if self._beaten_at is None:
                thread = threading.Thread(
                    target=_keep_beating,
                    args=(weakref.ref(self), self._stopped, self._interval, self._emitter),
                    name="cp-thirdparty-lease",
                    daemon=True,
                )
                thread.start()
            self._forget_if_late(began_at)
            self._beaten_at = began_at, began_on

    def find_dead(self, leases: Mapping[str, Item]) -> set[str]:
        """
        Return the names of the leases of other workers that have expired or are marked as dead.

        Args:
            leases: The present lease rows of the table, by their names.
        """
        now = self._timer()
        with self._lock:
            self._forget_if_late(now)
            before, self._seen = self._seen, {}
            for name, lease in leases.items():
                number, since = before.get(name, (None, now))
                self._seen[name] = (lease.get("beat"), since if number == lease.get("beat") else now)
            return {
                name
                for name, lease in leases.items()
                if name != self.name
                and ("dead_by" in lease or now - self._seen[name][1] >= self.longest_silence(lease))
            }

    def seize(self, lease: Item, cause: str) -> str | None:
        """
        Mark a lease as dead, and record that this worker moves the jobs.

        Args:
            lease: The expired lease, as it was read from the table.
            cause: Which jobs of the expired lease may have crashed its worker.

        Returns:
            The cause that was recorded first.  ``None`` if the lease was renewed meanwhile, or if another worker has
            marked it first.
        """
        cause = str(lease.get("cause", cause))
        seized = {**lease, "dead_by": self.name, "cause": cause}
        beat = lease.get("beat")
        is_unchanged = "attribute_not_exists(#beat)" if beat is None else "#beat = :beat"  # a damaged lease has no beat
        condition = f"{is_unchanged} AND (attribute_not_exists(#dead_by) OR #dead_by = :before OR #dead_by = :own)"
        before = lease.get("dead_by", self.name)
        is_seized = self._table.put(seized, condition, beat=beat, before=before, own=self.name)
        return cause if is_seized else None

    def remove(self, lease: Item) -> None:
        """Remove a lease that is marked as dead and has no more jobs."""
        self._table.delete(lease, "#dead_by = :own", own=self.name)

    def longest_silence(self, lease: Item) -> float:
        """Return after how many seconds without a new number a lease has expired."""
        seconds = lease.get("seconds")
        if isinstance(seconds, (int, float)) and 0 < seconds <= MAX_SECONDS * _LEASE_PART:
            return seconds * _SILENCE_FACTOR
        return self.seconds * _SILENCE_FACTOR  # the lease is damaged

    def stop(self) -> None:
        """Stop the beats."""
        with self._lock:
            self._stopped.set()

    def close(self) -> None:
        """Stop the beats, and remove the lease from the table."""
        self.stop()
        if self._beats:
            self._table.delete(self._item(), "attribute_not_exists(#dead_by)")

    def _refuse_if_closed(self) -> None:
        if self._stopped.is_set():
            raise JournalError("the journal is closed")

    def _item(self) -> Item:
        return {PARTITION: OPEN, SORT: LEASE + self.name, "beat": self._beats, "seconds": self.seconds}

    def _put(self) -> bool:
        # Both conditions are also true for a request that botocore resends because its response was lost.
        condition = "attribute_not_exists(#dead_by)" + " AND attribute_exists(#beat)" * bool(self._beats)
        self._beats += 1
        return self._table.put(self._item(), condition)

    def _forget_if_late(self, now: float) -> None:
        if self._beaten_at is not None and now - self._beaten_at[0] > _MISSED_BEATS * self._interval:
            self._seen.clear()


def _keep_beating(
    find_lease: Callable[[], Lease | None], stopped: threading.Event, interval: float, emitter: Emitter
) -> None:
    """Beat until the lease is stopped or its journal was garbage-collected."""
    while not stopped.wait(interval):
        lease = find_lease()
        if lease is None:
            return
        problem = call_partner(_beat, lease)  # the timer, the clock and the client may be code of the partner
        del lease  # this thread must not keep the journal alive while it waits
        if problem is not None:  # only log it: the next beat follows soon
            reason = problem.name if isinstance(problem, Raised) else problem
            emitter.log(logging.WARNING, "the lease of this worker was not renewed: %s", reason)


def _beat(lease: Lease) -> str | None:
    """Beat; return the error message, or ``None`` if the beat succeeded."""
    try:
        lease.beat()
    except JournalError as failure:
        return str(failure)
    return None
