"""Take over jobs from the journal whose workers have ended, and list the jobs that an operator must check."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from cp_thirdparty.converter import unstructure
from cp_thirdparty.exceptions import JournalError
from cp_thirdparty.models import AnyJob
from cp_thirdparty.worker._emit import Emitter
from cp_thirdparty.worker._journal_writer import JournalWriter
from cp_thirdparty.worker.journal import JournalEntry, JournalState
from cp_thirdparty.worker.outcomes import Outcome, Released, Uncertain, Unsent

# The error of a job that was not finished when the worker stopped.
STOPPED: Final = "the worker was stopped"

# Maximum number of seconds between two checks for unfinished jobs of other workers of the same journal that have ended.
_INTERVAL: Final = 30.0

# Seconds after which the worker tries again to acknowledge a job whose ownership is unknown.
_UNCERTAIN_INTERVAL: Final = 300.0

# How many finished jobs are deleted at a time: so few that a claim does not have to wait long for the deletion.
_PRUNED_AT_ONCE: Final = 1000

_SECONDS_OF_A_DAY: Final = 86_400.0

_UNOWNED: Final = (
    "the journal has %d unfinished jobs of another scope, and no running worker has them: region=%s endpoint=%s "
    "action_type=%s; a worker of that scope takes them over, or an operator ends them"
)


class Recovery:
    """
    Takes over jobs from a journal.  Thread-safe.

    Args:
        writer: Reads and writes the journal.
        emitter: Writes the log.
        keep_finished: Days for which finished jobs are kept; ``None`` to keep them forever.
        clock: Returns the time in seconds.

    Attributes:
        interval: Seconds between two checks for unfinished jobs of other workers of the same journal that have ended.
        set_aside: Ids of the jobs that the journal cannot read.
    """

    def __init__(
        self, writer: JournalWriter, emitter: Emitter, *, keep_finished: float | None, clock: Callable[[], float]
    ) -> None:
        self._writer = writer
        self._emitter = emitter
        self._keep_finished = keep_finished
        self._clock = clock
        self.interval = min(_INTERVAL, writer.recovery_seconds)
        self._checked_at = clock()
        # Guards the attributes below.  It is reentrant, because a signal handler may interrupt the thread that holds
        # the lock, and call `health`.
        self._lock = threading.RLock()
        self._waiting: OrderedDict[str, JournalEntry] = OrderedDict()  # to be started as soon as a slot is free
        self._postponed: dict[str, JournalEntry] = {}  # to be moved to `_waiting` at the next check
        self._uncertain: dict[str, tuple[float, JournalEntry]] = {}  # with the time of the last call about the job
        self._is_closed = False
        self.set_aside: tuple[str, ...] = ()

    @property
    def uncertain(self) -> tuple[str, ...]:
        """Ids of the jobs whose ownership is unknown."""
        with self._lock:
            return tuple(self._uncertain)

    def has_jobs(self) -> bool:
        """Return whether jobs from the journal wait for a free slot."""
        return bool(self._waiting)

    def has(self, job_id: str) -> bool:
        """Return whether the job was taken over from the journal and waits for a free slot or for the next check."""
        with self._lock:
            return job_id in self._waiting or job_id in self._postponed

    def start(self) -> None:
        """
        Take over jobs of workers that have ended, log unowned jobs of other scopes, and delete old finished jobs.

        Raises:
            cp_thirdparty.exceptions.JournalError: The journal cannot be read.
        """
        self._take_over()
        try:
            self._log_unowned()
            self._prune()
        except JournalError as failure:
            self._emitter.log(logging.ERROR, "%s", failure)

    def check_journal(self) -> None:
        """
        Take over jobs and delete old finished jobs, if `interval` has passed since the last time.

        If the journal cannot be read, log the error.
        """
        if self._clock() - self._checked_at < self.interval:
            return
        self._checked_at = self._clock()
        try:
            self._take_over()
            self._retry_uncertain()
            self._prune()
        except JournalError as failure:
            self._emitter.log(logging.ERROR, "%s", failure)

    def take(self) -> JournalEntry | None:
        """Remove the next job from the waiting ones and return its entry; return ``None`` if no job waits."""
        with self._lock:
            return self._waiting.popitem(last=False)[1] if self._waiting else None

    def postpone(self, entry: JournalEntry) -> None:
        """Keep a job that cannot be started now until the next check; release it if the run has ended meanwhile."""
        with self._lock:
            is_late = self._is_closed
            if not is_late:
                self._postponed[entry.job.job_id] = entry
        if is_late:
            self._writer.release(entry.job.job_id)

    def note_uncertain(self, offer: AnyJob, *, since: float | None) -> None:
        """
        Keep a job whose ownership is unknown, so that the worker tries to acknowledge it again later.

        Args:
            offer: The job.
            since: When its claim was recorded, in seconds since 1970; ``None`` for the present time.
        """
        changed_at = time.time() if since is None else since
        entry = JournalEntry(job=offer, scope=self._writer.scope, state=JournalState.UNCERTAIN, changed_at=changed_at)
        with self._lock:
            self._uncertain[offer.job_id] = (self._clock(), entry)
            is_late = self._is_closed
        if is_late:
            self._writer.release(offer.job_id)

    def forget(self, offer: AnyJob) -> None:
        """
        Drop the entry of a job that has ended or that this worker has claimed after a poll.

        Otherwise the worker would try to acknowledge the job again, or start it with an entry that is out of date.
        """
        with self._lock:
            for jobs in (self._uncertain, self._waiting, self._postponed):
                jobs.pop(offer.job_id, None)

    def note_release(self, offer: AnyJob) -> None:
        """
        Drop the question about a job that this worker has released to the journal, and the entry for that question.

        A newer entry stays: the thread that polls may already have taken the job over again, and no other worker takes
        it over while this one runs.
        """
        with self._lock:
            _, asked = self._uncertain.pop(offer.job_id, (0.0, None))
            for jobs in (self._waiting, self._postponed):
                if jobs.get(offer.job_id) is asked:
                    jobs.pop(offer.job_id, None)

    def close(self, is_over: Callable[[], bool] = lambda: False) -> list[JournalEntry]:
        """
        Release the jobs whose ownership is unknown, and return the entries of the jobs that were not started.

        Args:
            is_over: Returns whether no time is left to release more jobs.
        """
        with self._lock:
            self._is_closed = True
            rest = {**self._waiting, **self._postponed}
            self._waiting.clear()
            self._postponed.clear()
            uncertain = [job_id for job_id in self._uncertain if job_id not in rest]
        for job_id in uncertain:
            if is_over():
                break
            self._writer.release(job_id)
        return list(rest.values())

    def _take_over(self) -> None:
        """Take over jobs of workers that have ended.  Jobs with a result come first, because they need no handler."""
        recovered = self._writer.recover()
        with self._lock:
            self._waiting.update(self._postponed)
            self._postponed.clear()
            late = recovered.entries if self._is_closed else ()
            if not late:
                entries = sorted(recovered.entries, key=lambda entry: entry.result is None)
                self._waiting.update((entry.job.job_id, entry) for entry in entries)
        for entry in late:  # the run has ended meanwhile
            self._writer.release(entry.job.job_id)
        known, self.set_aside = self.set_aside, tuple(row.job_id for row in recovered.set_aside)
        for row in recovered.set_aside:
            if row.job_id not in known:
                self._emitter.log(logging.ERROR, "job=%s is set aside: %s", row.job_id, row.problem, job_id=row.job_id)

    def _log_unowned(self) -> None:
        """Log the jobs of other scopes that no running worker has, because perhaps no worker will take them over."""
        for scope, jobs in self._writer.count_unowned().items():
            action_type_id = " ".join(unstructure(scope.action_type_id).values())
            self._emitter.log(logging.WARNING, _UNOWNED, jobs, scope.region_name, scope.endpoint_url, action_type_id)

    def _retry_uncertain(self) -> None:
        """Queue the jobs whose ownership is unknown for another acknowledgement, unless an operator has ended them."""
        now = self._clock()
        with self._lock:
            due = [job_id for job_id, (seen_at, _) in self._uncertain.items() if now - seen_at >= _UNCERTAIN_INTERVAL]
        unfinished = self._writer.find_unfinished() if due else set()
        with self._lock:
            for job_id in set(due) - self._waiting.keys() - self._postponed.keys():
                _, entry = self._uncertain.pop(job_id, (now, None))
                if entry is not None and job_id in unfinished:
                    self._uncertain[job_id] = (now, entry)
                    self._waiting[job_id] = entry

    def _prune(self) -> None:
        if self._keep_finished is not None:
            older_than = time.time() - self._keep_finished * _SECONDS_OF_A_DAY
            self._writer.prune(older_than=older_than, limit=_PRUNED_AT_ONCE)


def outcome_at_stop(entry: JournalEntry) -> Outcome:
    """Return the outcome of a job from the journal that the worker did not start before it stopped."""
    if entry.result is not None:
        return Unsent(job=entry.job, result=entry.result, error=STOPPED)
    if entry.state is JournalState.UNCERTAIN:
        return Uncertain(job=entry.job)
    return Released(job=entry.job, error=STOPPED)
