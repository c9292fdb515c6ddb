"""Write the stages of jobs into a journal, with a timeout for each call."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Final, Protocol, TypeVar, cast

from cp_thirdparty._base.text import show
from cp_thirdparty.enums import FailureType
from cp_thirdparty.exceptions import JournalError
from cp_thirdparty.worker._bounded_calls import BoundedCalls, NotReturned
from cp_thirdparty.worker._claimed_job import ClaimedJob, Stage
from cp_thirdparty.worker._emit import Emitter
from cp_thirdparty.worker._isolation import Raised, call_partner, forget_frames
from cp_thirdparty.worker._journal_values import (
    call_claim,
    call_hold,
    call_recover,
    find_finished,
    has_finished,
    read_interval,
    read_jobs,
    sort_entries,
)
from cp_thirdparty.worker._kinds import JobKind, kind_of_type
from cp_thirdparty.worker.events import JobEventName
from cp_thirdparty.worker.journal import (
    JobScope,
    Journal,
    JournalState,
    LeasedJournal,
    MemoryJournal,
    Recovered,
)
from cp_thirdparty.worker.outcomes import Gone, Released, Reported, Uncertain, Unsent
from cp_thirdparty.worker.results import Result

_T = TypeVar("_T")

# Seconds for a write, and for reading all jobs.  `SqliteJournal` waits up to 30 seconds for other processes.
_WRITE_SECONDS: Final = 60.0
_READ_SECONDS: Final = 300.0

_NOT_RETURNED: Final = "the journal has not returned in time"


class Notify(Protocol):
    """Called with each event of a job; the arguments are the fields of a `cp_thirdparty.worker.JobEvent`."""

    def __call__(
        self,
        name: JobEventName,
        job: ClaimedJob,
        detail: str = "",
        *,
        failure_type: FailureType | None = None,
        where: str = "",
        text: str = "",
        party: str | None = None,
    ) -> object:
        """Emit the event; if ``text`` is not empty, it replaces the detail in the log."""
        ...


class JournalWriter:
    """
    Writes the stages of jobs into a journal.  Thread-safe.

    If the journal fails or hangs, claimed jobs still run and are reported.  Each method that calls the journal, except
    `record`, `release` and `repair`, raises a `JournalError` if the journal cannot be read or written.

    Args:
        journal: The journal.
        scope: The scope of the jobs.
        notify: Emits an event of a job.
        emitter: Writes the log.
        calls: Makes the calls of the journal; ``None`` to create it.
        kind: The kind of the jobs; ``None`` for the kind of the scope's action type.

    Attributes:
        scope: The scope of the jobs that are written and taken over.
        recovery_seconds: Maximum number of seconds between two calls of `recover`, for a journal with leases; infinity
            for another journal.

    Raises:
        JournalError: The journal failed, so it is not known whether the journal has leases.
    """

    def __init__(
        self,
        journal: Journal,
        scope: JobScope,
        notify: Notify,
        emitter: Emitter,
        calls: BoundedCalls | None = None,
        *,
        kind: JobKind | None = None,
    ) -> None:
        self._journal = journal
        self.scope = scope
        self._kind = kind_of_type(scope.action_type_id) if kind is None else kind
        self._notify = notify
        self._emitter = emitter
        self._calls = BoundedCalls("cp-thirdparty-journal") if calls is None else calls
        self._errors: dict[str, str] = {}
        # The worker calls `hold` only if the journal has leases, so a failure must raise here.
        self._is_leased = self._call_checked("open", lambda journal: isinstance(journal, LeasedJournal))
        self.recovery_seconds = (
            self._call_checked("open", lambda journal: read_interval(cast("LeasedJournal", journal)))
            if self._is_leased
            else math.inf
        )
        is_shared = self._call(_WRITE_SECONDS, lambda: journal.is_durable and journal.is_shared)
        self._is_shared = not isinstance(is_shared, (Raised, NotReturned)) and bool(is_shared)
        self._to_repair: dict[str, ClaimedJob | None] = {}  # job id -> the ended job to write; ``None``: release it
        self._unwritten: set[str] = set()  # ids of the jobs whose last stage was not written
        self._logged: dict[str, str] = {}  # job id -> the last logged error; `repair` is called often

    @property
    def error(self) -> str | None:
        """Why the last access to the journal failed; ``None`` if it succeeded."""
        # A journal on a full disk can still be read, so a success of one kind does not clear the error of another kind.
        return next(iter(tuple(self._errors.values())), _NOT_RETURNED if self._calls.is_hanging else None)

    def can_release(self, job: ClaimedJob) -> bool:
        """Return whether another worker can take over a job that this worker releases."""
        return self._is_shared and job.offer.job_id not in self._unwritten

    def must_repair(self, job_id: str) -> bool:
        """Return whether the entry of a job may be wrong, so that `repair` must correct it."""
        return job_id in self._to_repair

    def end_within(self, seconds: float) -> None:
        """Limit the wait for all calls of the journal to so many seconds from now."""
        self._calls.end_within(seconds)

    def close(self, seconds: float) -> None:
        """Wait at most that many seconds for the calls of the journal, and end the threads that make them."""
        self._calls.wait_for_end(seconds)
        self._calls.close()

    def recover(self) -> Recovered:
        """Take over the unfinished jobs of the scope that no running worker has."""

        def release_all(recovered: Recovered) -> None:
            for entry in recovered.entries:
                self._journal.release(entry.job.job_id)

        returned = self._call_checked("read", lambda journal: call_recover(journal, self.scope), undo=release_all)
        self._errors.pop("claim", None)
        recovered = sort_entries(returned, self.scope, self._kind)
        kept = {entry.job.job_id for entry in recovered.entries}
        wrong: list[object] = [entry.job.job_id for entry in returned.entries]
        for job_id in wrong:
            if isinstance(job_id, str) and job_id not in kept:
                self.release(job_id)  # so that the next `recover` returns the job again
        return recovered

    def hold(self, job: ClaimedJob) -> float:
        """Return for how many seconds no other worker can take a job over; 0 if another worker has it."""
        if not self._is_leased or not job.is_recorded:
            return math.inf
        # A kind of its own: a write that succeeds does not show that `hold` works.
        return self._call_checked("hold", lambda journal: call_hold(cast("LeasedJournal", journal), job.offer.job_id))

    def find_unfinished(self) -> set[str]:
        """Return the ids of the unfinished jobs in the journal."""
        return self._call_checked(
            "read",
            lambda journal: {entry.job.job_id for entry in read_jobs(journal, unfinished_only=True)},
        )

    def is_finished(self, job_id: str) -> bool:
        """Return whether a job of this scope is recorded as finished."""
        return self._call_checked("read", lambda journal: has_finished(journal, job_id, self.scope))

    def find_result(self, job_id: str) -> Result | None:
        """Return the last result of a finished job; this reads all jobs of the journal."""

        def find(journal: Journal) -> Result | None:
            entries = find_finished(journal, job_id, self.scope)
            last = max(entries, key=lambda entry: entry.changed_at, default=None)
            return None if last is None else last.result

        return self._call_checked("read", find)

    def count_unowned(self) -> Counter[JobScope]:
        """Count the unfinished jobs of other scopes that no running worker has."""
        entries = self._call_checked("read", lambda journal: list(read_jobs(journal, unfinished_only=True)))
        unowned = (entry.scope for entry in entries if not entry.is_owner_alive)
        return Counter(scope for scope in unowned if scope not in (None, self.scope))

    def prune(self, *, older_than: float, limit: int) -> int:
        """Delete finished jobs, and return how many."""
        return self._call_checked("write", lambda journal: journal.prune(older_than=older_than, limit=limit))

    def claim(self, job: ClaimedJob) -> bool:
        """Record that the job is about to be acknowledged; return whether no other worker of the journal has it."""
        job_id = job.offer.job_id
        had_to_repair = job_id in self._to_repair
        self._to_repair.setdefault(job_id, None)  # a claim that raises may have been written

        def undo(is_free: bool) -> None:  # noqa: FBT001 - the result of the call
            if is_free:
                self._journal.withdraw(job_id)

        # Claims have their own kind of error: after a failure of the disk, `SqliteJournal` refuses claims and
        # `recover`, but writes other changes.  A successful `recover` shows that the next claim may succeed.
        is_free = self._call_checked("claim", lambda journal: call_claim(journal, job.offer, self.scope), undo=undo)
        # Another delivery of the event may have finished the job meanwhile.  A job from a poll is claimed even if it is
        # recorded as finished, because CodePipeline offers it again.
        if is_free and job.is_from_event and self.is_finished(job_id):
            self.withdraw(job_id)
            return False
        if is_free or not had_to_repair:  # otherwise, an earlier claim may have been written, and must be released
            self._mark_written(job_id)
        return is_free

    def withdraw(self, job_id: str) -> None:
        """Remove the claim of a job that is already finished; if this fails, `repair` releases the job later."""
        self._to_repair[job_id] = None
        self._call_checked("write", lambda journal: journal.withdraw(job_id))
        self._mark_written(job_id)

    def release(self, job_id: str) -> bool:
        """Release a job for the next `recover`; return ``False`` if this failed and `repair` must retry it."""
        self._to_repair[job_id] = None
        return self._repair(job_id, None)

    def repair(self, is_in_work: Callable[[str], bool]) -> None:
        """Retry changes that failed: write the outcomes of ended jobs, and release the other jobs."""
        rest = ((job_id, job) for job_id, job in tuple(self._to_repair.items()) if not is_in_work(job_id))
        all(self._repair(job_id, job) for job_id, job in rest)  # stops at a failure: the others would fail too

    def record(self, job: ClaimedJob) -> bool:
        """Record the stage of a job if the journal has the job; return ``False``, and do not raise, if this failed."""
        if not job.is_recorded:
            return True
        try:
            self._call_checked("write", lambda journal: _write(journal, job))
        except JournalError as failure:
            self._unwritten.add(job.offer.job_id)
            if job.stage is Stage.ENDED:
                self._to_repair[job.offer.job_id] = job
            self._notify("journal_failed", job, f"{job.stage.value}: {failure}")
            return False
        self._unwritten.discard(job.offer.job_id)
        return True

    def _repair(self, job_id: str, job: ClaimedJob | None) -> bool:
        kind = "release" if job is None else "write"
        try:
            self._call_checked(kind, lambda journal: journal.release(job_id) if job is None else _write(journal, job))
        except JournalError as failure:
            if self._logged.get(job_id) != str(failure):
                self._logged[job_id] = str(failure)
                self._emitter.log(logging.ERROR, "job=%s: %s", job_id, failure, job_id=job_id)
            return False
        self._mark_written(job_id)
        return True

    def _mark_written(self, job_id: str) -> None:
        """Note that the stage of a job was written; if no job is left to repair, clear the error of releases."""
        self._to_repair.pop(job_id, None)
        self._logged.pop(job_id, None)
        self._unwritten.discard(job_id)
        if not self._to_repair:
            self._errors.pop("release", None)

    def _call_checked(
        self, kind: str, method: Callable[[Journal], _T], *, undo: Callable[[_T], object] = lambda _: None
    ) -> _T:
        """
        Call the journal with a timeout, and store its error for `error`.

        Args:
            kind: The kind of call.  A success clears the stored error of the same kind.
            method: Calls a method of the journal.
            undo: Called with a result that arrives after the timeout.

        Raises:
            JournalError: The journal has raised an exception, or has not returned in time.
        """

        def undo_result(result: _T | JournalError | Raised) -> None:
            if not isinstance(result, (JournalError, Raised)):
                undo(result)

        seconds = _READ_SECONDS if kind == "read" else _WRITE_SECONDS
        result = self._call(seconds, partial(_call_journal, method, self._journal), undo_result)
        if isinstance(result, NotReturned):
            result = JournalError(_NOT_RETURNED)
        if isinstance(result, Raised):
            result = JournalError(f"the journal raised {result.name}")
        if isinstance(result, JournalError):
            self._errors[kind] = str(result)
            raise result
        self._errors.pop(kind, None)
        return result

    def _call(
        self, seconds: float, function: Callable[[], _T], undo: Callable[[_T | Raised], object] = lambda _: None
    ) -> _T | Raised | NotReturned:
        # The journal in memory cannot hang.  In another thread its calls would cost a job 5 % more processor time.
        if type(self._journal) is MemoryJournal:
            return call_partner(function)
        return self._calls.call(seconds, function, undo)


def _call_journal(method: Callable[[Journal], _T], journal: Journal) -> _T | JournalError:
    try:
        return method(journal)
    except JournalError as failure:
        forget_frames(failure)
        # The class may be the partner's.  An empty message would look like no error in the health.
        text = call_partner(str, failure)
        if not isinstance(text, str) or not text.strip():
            return JournalError(f"the journal raised {type(failure).__name__}")
        shown = show(text)
        return failure if text == shown else JournalError(shown)


def _write(journal: Journal, job: ClaimedJob) -> None:
    job_id = job.offer.job_id
    if job.stage is Stage.DECIDED:
        journal.result(job_id, cast("Result", job.result), may_be_accepted=job.may_be_accepted)
    elif job.stage is Stage.ENDED:
        _write_outcome(journal, job_id, job)
    else:
        is_alone = job.stage is Stage.RUNNING and job.must_run_alone
        journal.running(job_id, crashes=job.crashes, is_suspect=job.is_suspect, is_alone=is_alone)


def is_released(job: ClaimedJob) -> bool:
    """Return whether a job that has ended stays in the journal, so that the next `recover` takes it over."""
    is_over = isinstance(job.outcome, (Reported, Gone, Uncertain))
    return not is_over and (isinstance(job.outcome, (Unsent, Released)) or job.is_inherited)


def _write_outcome(journal: Journal, job_id: str, job: ClaimedJob) -> None:
    if isinstance(job.outcome, Reported):
        journal.finish(job_id, "reported")
    elif isinstance(job.outcome, Gone):
        journal.finish(job_id, "gone")
    elif isinstance(job.outcome, Uncertain):
        if job.entry is None or job.entry.state is not JournalState.UNCERTAIN:  # keep the time of the first entry
            journal.uncertain(job_id)
    elif is_released(job):
        journal.release(job_id, has_begun=job.has_begun)
    else:
        journal.withdraw(job_id)
