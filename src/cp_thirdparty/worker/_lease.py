"""
The lease of a worker, by which other workers see that it is alive, in a table that they share.

A worker increases the number in its lease row again and again: it beats.  Another worker takes it for dead if the
number has not changed for some seconds of the other worker's own timer, so the clocks of two machines are never
compared.  A worker that another one takes for dead can beat no more.
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

from cp_thirdparty.exceptions import JournalError
from cp_thirdparty.worker._dynamodb_table import OPEN, PARTITION, SORT, Item, Table
from cp_thirdparty.worker._emit import Emitter
from cp_thirdparty.worker._isolation import Raised, call_partner

LEASE: Final = "lease#"

# Parts of the seconds after which another worker takes the jobs over.  A worker sees the last beat up to one look after
# it, waits until the lease is over, and acts at its next look: 1/6 + 11/20 + 1/6 leave a tenth for slow requests.
_LEASE_PART: Final = 1 / 2
_LOOK_PART: Final = 1 / 6
_BEAT_PART: Final = 1 / 12

# Other workers wait a tenth longer, so that no timer needs to be exact.
_SILENCE_FACTOR: Final = 1.1

# A worker that has missed this many beats cannot judge others: the table may have failed for them too.
_MISSED_BEATS: Final = 3

_TAKEN_FOR_DEAD: Final = "another worker has taken this one for dead, and takes its jobs over"


def read_timer() -> float:
    """Return seconds that also pass while the machine sleeps, where the system counts them."""
    clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return time.clock_gettime(clock)


class Lease:
    """
    The lease of one journal object.  Thread-safe.

    Args:
        table: The table of the journal.
        takeover_seconds: Seconds within which the jobs of a dead worker are taken over.
        timer: Returns the time in seconds, for intervals.
        clock: Returns the time in seconds since 1970.  It also goes on where the timer stands still, because the
            machine is paused.
        jobs: The jobs of the worker.

    Attributes:
        name: The owner of the jobs that the journal claims; another one after a worker has taken this one for dead.
        seconds: For how long a beat keeps the jobs.
        look_seconds: Seconds between two looks at the leases of others.
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
        self.look_seconds = takeover_seconds * _LOOK_PART
        self._interval = takeover_seconds * _BEAT_PART
        self._table = table
        self._timer = timer
        self._clock = clock
        self._jobs = jobs
        self._emitter = Emitter()  # a handler of logs that blocks or raises must not cost a beat
        self._process_id = os.getpid()
        self._stopped = threading.Event()
        self._lock = threading.Lock()  # of what follows
        self._beats = 0
        # The last beat that succeeded, by the timer and by the clock.
        self._beaten_at: tuple[float, float] | None = None
        self._seen: dict[str, tuple[object, float]] = {}

    @property
    def is_stopped(self) -> bool:
        """Whether it is stopped, or is another process's."""
        return self._stopped.is_set() or self._process_id != os.getpid()

    def refuse_other_process(self) -> None:
        """
        Raise in a child of a fork: another thread of the parent may have held a lock at the moment of the fork.

        Raises:
            JournalError: Another process has opened the journal.
        """
        if self._process_id != os.getpid():
            raise JournalError("the journal was opened by another process; open it after the fork")

    def seconds_left(self) -> float:
        """Return for how many seconds no other worker can take this one for dead."""
        if self._beaten_at is None:
            return 0.0
        beaten_at, beaten_on = self._beaten_at
        return self.seconds - max(self._timer() - beaten_at, self._clock() - beaten_on)

    def ensure(self) -> None:
        """
        Beat now if the last beat may have been long ago, and begin to beat if there was none.

        Raises:
            JournalError: The table cannot be written, or the journal is closed.
        """
        # A closed journal has removed its lease, so others take its jobs for those of a dead worker.
        self._refuse_if_closed()
        is_set_back = self._beaten_at is not None and self._clock() < self._beaten_at[1]
        if is_set_back or self.seconds_left() < self.seconds / 2:
            self.beat()

    def beat(self) -> None:
        """
        Beat, under a new name if another worker has taken this one for dead.

        Raises:
            JournalError: The table cannot be written, or the journal is closed.
        """
        self.refuse_other_process()
        with self._lock:
            self._refuse_if_closed()
            began_at, began_on = self._timer(), self._clock()
            if not self._put():
                if self._jobs:
                    self._emitter.log(logging.ERROR, _TAKEN_FOR_DEAD)
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
        Return the names of the leases that are over.

        Args:
            leases: Name -> what the table has now.
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
        Record that a worker is dead and that this one moves its jobs.

        Args:
            lease: The lease of the dead worker, as it was read.
            cause: Which of its jobs may be the cause of its death.

        Returns:
            The cause that the first worker has recorded; ``None`` if the worker is alive, or if another one was first.
        """
        cause = str(lease.get("cause", cause))
        seized = {**lease, "dead_by": self.name, "cause": cause}
        beat = lease.get("beat")
        is_unchanged = "attribute_not_exists(#beat)" if beat is None else "#beat = :beat"  # a damaged lease has none
        condition = f"{is_unchanged} AND (attribute_not_exists(#dead_by) OR #dead_by = :before OR #dead_by = :own)"
        before = lease.get("dead_by", self.name)
        is_seized = self._table.put(seized, condition, beat=beat, before=before, own=self.name)
        return cause if is_seized else None

    def remove(self, lease: Item) -> None:
        """Remove the lease of a dead worker that has no more jobs."""
        self._table.delete(lease, "#dead_by = :own", own=self.name)

    def longest_silence(self, lease: Item) -> float:
        """Return for how long the number of a living worker may stay the same."""
        seconds = lease.get("seconds")
        return (seconds if isinstance(seconds, (int, float)) else self.seconds) * _SILENCE_FACTOR

    def stop(self) -> None:
        """Beat no more."""
        with self._lock:
            self._stopped.set()

    def close(self) -> None:
        """Beat no more, and remove the lease."""
        self.stop()
        if self._beats:
            self._table.delete(self._item(), "attribute_not_exists(#dead_by)")

    def _refuse_if_closed(self) -> None:
        if self._stopped.is_set():
            raise JournalError("the journal is closed")

    def _item(self) -> Item:
        return {PARTITION: OPEN, SORT: LEASE + self.name, "beat": self._beats, "seconds": self.seconds}

    def _put(self) -> bool:
        # Both conditions also hold for a request that botocore repeats because its response was lost.
        condition = "attribute_not_exists(#dead_by)" + " AND attribute_exists(#beat)" * bool(self._beats)
        self._beats += 1
        return self._table.put(self._item(), condition)

    def _forget_if_late(self, now: float) -> None:
        if self._beaten_at is not None and now - self._beaten_at[0] > _MISSED_BEATS * self._interval:
            self._seen.clear()


def _keep_beating(
    find_lease: Callable[[], Lease | None], stopped: threading.Event, interval: float, emitter: Emitter
) -> None:
    """Beat until the lease is stopped, or nobody has its journal any more."""
    while not stopped.wait(interval):
        lease = find_lease()
        if lease is None:
            return
        problem = call_partner(_beat, lease)  # the timer, the clock and the client may be the partner's
        del lease
        if problem is not None:  # the next beat follows soon
            reason = problem.name if isinstance(problem, Raised) else problem
            emitter.log(logging.WARNING, "the lease of this worker was not renewed: %s", reason)


def _beat(lease: Lease) -> str | None:
    """Beat, and return why that failed."""
    try:
        lease.beat()
    except JournalError as failure:
        return str(failure)
    return None
