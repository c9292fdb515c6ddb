"""What a journal is: the states of a job that outlive a worker; and a journal in memory for those who need none."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from enum import Enum
from typing import Protocol

import attrs

from cp_thirdparty.models import ThirdPartyJob
from cp_thirdparty.worker.results import Result

__all__ = ["Journal", "JournalEntry", "JournalState", "MemoryJournal"]

# Enough to look at what has just happened; a worker's memory stays flat.
_PAST_JOBS = 1000


class JournalState(str, Enum):
    """How far a job has come."""

    CLAIMING = "CLAIMING"
    """An acknowledgement was, or is about to be, sent; its answer is not known."""

    RUNNING = "RUNNING"
    """The job is this worker's, and its handler runs."""

    RESULT = "RESULT"
    """There is a result that the service may not have yet."""

    UNCERTAIN = "UNCERTAIN"
    """The job was claimed, but whether by this worker is not known.  An operator should look at it."""

    DONE = "DONE"
    """Nothing is left to do."""


@attrs.frozen(kw_only=True)
class JournalEntry:
    """
    One job in a journal.  It holds no secret.

    Attributes:
        job: The job.

        state: How far it has come.

        result: What is, or was, to be reported; ``None`` before there is one.

        outcome: How a job that is `JournalState.DONE` ended: ``"reported"`` or ``"gone"``; else ``None``.

        crashes: How many times a worker died while it ran the job.

        changed_at: When the state was last changed, in seconds since 1970.
    """

    job: ThirdPartyJob
    state: JournalState
    result: Result | None = None
    outcome: str | None = None
    crashes: int = 0
    changed_at: float


class Journal(Protocol):
    """
    Remembers the jobs of a worker.  Each change is durable when its method returns.  Thread-safe.

    Every method may raise `cp_thirdparty.exceptions.JournalError`: it could not be read or written.
    """

    def claim(self, job: ThirdPartyJob) -> bool:
        """Note that the job is about to be acknowledged; ``False`` when a living worker of this journal has it."""
        ...

    def withdraw(self, job_id: str) -> None:
        """Forget a job that was not claimed after all."""
        ...

    def running(self, job_id: str) -> None:
        """Note that the job is this worker's."""
        ...

    def result(self, job_id: str, result: Result) -> None:
        """Note what is about to be reported."""
        ...

    def uncertain(self, job_id: str) -> None:
        """Note that nobody knows whose job it is."""
        ...

    def finish(self, job_id: str, outcome: str) -> None:
        """Note that nothing is left to do."""
        ...

    def release(self, job_id: str) -> None:
        """Leave an unfinished job to whoever calls `recover` next."""
        ...

    def recover(self) -> tuple[JournalEntry, ...]:
        """Take over the unfinished jobs that no living worker has; each that a dead one ran gets one more crash."""
        ...

    def jobs(self, *, unfinished_only: bool = False) -> Iterator[JournalEntry]:
        """Go through the jobs, in no order."""
        ...

    def close(self) -> None:
        """Let go of what the journal holds open.  Unfinished jobs are left to whoever calls `recover` next."""
        ...


@attrs.define
class _Row:
    """A job as `MemoryJournal` keeps it."""

    job: ThirdPartyJob
    state: JournalState
    changed_at: float
    result: Result | None = None
    outcome: str | None = None
    crashes: int = 0
    is_released: bool = False

    def entry(self) -> JournalEntry:
        return JournalEntry(
            job=self.job,
            state=self.state,
            result=self.result,
            outcome=self.outcome,
            crashes=self.crashes,
            changed_at=self.changed_at,
        )


class MemoryJournal:
    """
    A journal that dies with its process: a crash loses the jobs that it had claimed.

    Of finished jobs it remembers the last 1,000.  Thread-safe.

    Args:
        clock: Tells the time in seconds since 1970.
    """

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._unfinished: dict[str, _Row] = {}
        self._past: OrderedDict[str, _Row] = OrderedDict()

    def claim(self, job: ThirdPartyJob) -> bool:
        """Note that the job is about to be acknowledged; ``False`` when a worker of this journal has it."""
        with self._lock:
            known = self._unfinished.get(job.job_id)
            if not (known is None or known.is_released or known.state is JournalState.UNCERTAIN):
                return False
            self._past.pop(job.job_id, None)
            self._unfinished[job.job_id] = _Row(job, JournalState.CLAIMING, self._clock())
            return True

    def withdraw(self, job_id: str) -> None:
        """Forget a job that was not claimed after all."""
        with self._lock:
            self._unfinished.pop(job_id, None)

    def running(self, job_id: str) -> None:
        """Note that the job is this worker's."""
        self._change(job_id, JournalState.RUNNING)

    def result(self, job_id: str, result: Result) -> None:
        """Note what is about to be reported."""
        self._change(job_id, JournalState.RESULT, result)

    def uncertain(self, job_id: str) -> None:
        """Note that nobody knows whose job it is."""
        self._change(job_id, JournalState.UNCERTAIN)

    def finish(self, job_id: str, outcome: str) -> None:
        """Note that nothing is left to do."""
        self._change(job_id, JournalState.DONE)
        with self._lock:
            row = self._unfinished.pop(job_id, None)
            if row is not None:
                row.outcome = outcome
                self._past[job_id] = row
            if len(self._past) > _PAST_JOBS:
                self._past.popitem(last=False)

    def release(self, job_id: str) -> None:
        """Leave an unfinished job to whoever calls `recover` next."""
        with self._lock:
            if job_id in self._unfinished:
                self._unfinished[job_id].is_released = True

    def recover(self) -> tuple[JournalEntry, ...]:
        """Take over the unfinished jobs that were released."""
        with self._lock:
            found = [row for row in self._unfinished.values() if row.is_released]
            for row in found:
                row.is_released = False
                row.crashes += row.state is JournalState.RUNNING
            return tuple(row.entry() for row in found)

    def jobs(self, *, unfinished_only: bool = False) -> Iterator[JournalEntry]:
        """Go through the jobs, in no order."""
        with self._lock:
            rows = [*([] if unfinished_only else self._past.values()), *self._unfinished.values()]
            return iter([row.entry() for row in rows])

    def close(self) -> None:
        """Do nothing: there is nothing to let go of."""

    def _change(self, job_id: str, state: JournalState, result: Result | None = None) -> None:
        with self._lock:
            row = self._unfinished.get(job_id)
            if row is not None:
                row.state, row.changed_at = state, self._clock()
                row.result = row.result if result is None else result
