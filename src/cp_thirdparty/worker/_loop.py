"""One run of a worker: watch the deadlines of jobs, record their outcomes, and stop."""

from __future__ import annotations

import logging
import threading
import traceback
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, suppress
from queue import Empty, SimpleQueue
from typing import Any, Final

from cp_thirdparty.exceptions import WorkerStuckError
from cp_thirdparty.models import ActionTypeId, AnyJobDetails
from cp_thirdparty.worker._bounded_calls import BoundedCalls, NotReturned
from cp_thirdparty.worker._claimed_job import ClaimedJob, Stage
from cp_thirdparty.worker._clients import Clients
from cp_thirdparty.worker._engines import Engine
from cp_thirdparty.worker._failure_policy import UNDECODABLE
from cp_thirdparty.worker._flow import JobFlow
from cp_thirdparty.worker._handler_failures import timeout_message
from cp_thirdparty.worker._isolation import Raised
from cp_thirdparty.worker._journal_writer import JournalWriter, is_released
from cp_thirdparty.worker._poller import Poller
from cp_thirdparty.worker._recovery import STOPPED, Recovery, outcome_at_stop
from cp_thirdparty.worker._settings import Settings
from cp_thirdparty.worker._slots import Slots
from cp_thirdparty.worker._steps import Steps
from cp_thirdparty.worker._workspace import sweep_workspaces
from cp_thirdparty.worker.events import JobEventName
from cp_thirdparty.worker.health import WorkerHealth, WorkerState
from cp_thirdparty.worker.journal import JobScope, Journal
from cp_thirdparty.worker.outcomes import Gone, HandedBack, Outcome, Rejected, Released, Uncertain, Unsent
from cp_thirdparty.worker.tokens import TokenLookup

# Seconds for the last attempts to report results, after the grace has ended.
_LAST_SECONDS: Final = 5.0

# Minimum number of seconds to write the outcomes of unfinished jobs to the journal, even if the last attempts have used
# all time.
_MIN_END_SECONDS: Final = 0.5

# Minimum number of seconds of attempts for a job whose deadline has passed.  The deadline of a job from the journal is
# computed with the system clock, which may have jumped.
_MIN_SECONDS: Final = 300.0

# Maximum number of ids of undecodable jobs that the health lists.
_MAX_UNDECODABLE: Final = 1000


class Loop:
    """
    One run of a worker.

    One thread polls, and other threads work on jobs.  The thread that calls `wait` and `is_over` ends the jobs whose
    time is over.

    Args:
        settings: The arguments of the worker.
        clients: The clients that make the calls.
        create_engine: Creates the engine that runs handlers, from the clients and an event that is set when the worker
            stops.
        tokens: Finds the client token for a client id; ``None`` for custom jobs, which have no client tokens.
        journal: Records the jobs.
        journal_calls: Calls the journal with timeouts.
        on_outcome: Called with each outcome, for a run of one poll; ``None`` for a run until `stop`.

    Raises:
        cp_thirdparty.exceptions.JournalError: The journal cannot be used.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        clients: Clients,
        create_engine: Callable[[Clients, threading.Event], Engine],
        tokens: TokenLookup | None,
        journal: Journal,
        journal_calls: BoundedCalls,
        on_outcome: Callable[[Outcome], object] | None,
    ) -> None:
        self._settings = settings
        self._emitter = settings.emitter
        self.clients = clients
        self._stopping = threading.Event()
        self._writer = JournalWriter(
            journal, _find_scope(clients, settings.action_type_id), self._notify, self._emitter, journal_calls
        )
        self._engine = create_engine(clients, self._stopping)  # last, because it would stay open if the writer raised
        self._recovery = Recovery(
            self._writer, self._emitter, keep_finished=settings.keep_finished, clock=settings.clock
        )
        self._flow = JobFlow(
            steps=Steps(
                clients=clients, tokens=tokens, notify=self._notify, hold=self._writer.hold, clock=settings.clock
            ),
            engine=self._engine,
            action_type_id=settings.action_type_id,
            is_idempotent=settings.is_idempotent,
            max_crashes=settings.max_crashes,
            job_timeout=settings.job_timeout,
            log_problem=self._emitter.log_problem,
            may_claim=lambda: not (self._stopping.is_set() or self._engine.is_blocked),
            wait=self._wait,
            enter_turn=self._enter_turn,
            clock=settings.clock,
        )
        self._slots = Slots(settings.concurrency, self._work, self._emitter)
        self._changes: SimpleQueue[None] = SimpleQueue()  # wakes the thread that watches, before its timeout
        self._poller = Poller(
            settings=settings,
            clients=clients,
            flow=self._flow,
            writer=self._writer,
            recovery=self._recovery,
            slots=self._slots,
            stopping=self._stopping,
            hand_back=lambda offer: self._emit(HandedBack(job=offer)),
            note_end=self.wake,
        )
        self._on_outcome = on_outcome
        self._watched_at = settings.clock()  # when the thread that watches was last active
        self._stuck: tuple[tuple[str, ...], float] | None = None  # the jobs of all slots, and since when
        self._stuck_error: WorkerStuckError | None = None
        self._grace_ends: float | None = None
        self._forced_at: float | None = None
        self._given_up = threading.Event()
        self._undecodable: deque[str] = deque(maxlen=_MAX_UNDECODABLE)
        self._ending: set[str] = set()  # ids of the jobs that `_end` is ending in other threads
        self._delayed: set[str] = set()  # ids of the jobs for which `_end` could not start a thread
        self._kept: set[str] = set()  # ids of the jobs that the journal keeps
        self._has_lost = False

    @property
    def is_clean(self) -> bool:
        """Whether all jobs have ended, CodePipeline has all results, and the journal has no job to be checked."""
        recovery = self._recovery
        return not (self._has_lost or self._kept or recovery.uncertain or recovery.set_aside or self._writer.error)

    def abandon(self) -> None:
        """Release the executor and the clients of a run that was created too late to start."""
        try:
            self._engine.close()
        finally:
            self.clients.close()

    # --- the thread that watches the deadlines

    def start(self, polls: int | None) -> None:
        """
        Take over jobs of workers that have ended, then poll until `stop`, or a given number of times.

        Raises:
            cp_thirdparty.exceptions.JournalError: The journal cannot be read.
        """
        self._log_state("running", "the worker has started: concurrency %d", self._settings.concurrency)
        self._sweep()
        self._recovery.start()
        self._poller.start(polls)

    def note_stop(self) -> None:
        """Wake the run after `JobWorker.stop` was called.  A signal handler may call this: it takes no lock."""
        if not self._poller.is_started:  # a journal that hangs at the start must not delay the stop
            self._writer.end_within(_LAST_SECONDS)
        self.wake()

    def wake(self) -> None:
        """End the present `wait`, or the next one.  A signal handler may call this: it takes no lock."""
        self._changes.put(None)

    def wait(self, seconds: float) -> None:
        """Wait for a change, or for the given seconds; then end the jobs whose time is over."""
        with suppress(Empty):
            self._changes.get(timeout=seconds)
            while True:
                self._changes.get_nowait()
        self._watched_at = self._settings.clock()
        for job in self._slots.in_work():
            if self._forced_at is not None:
                self._end(job, self._end_after_grace)
            self._watch(job)

    def is_over(self, *, stops: int) -> bool:
        """
        Return whether the run is over: all jobs have ended, or the remaining jobs were given up.

        Raises:
            cp_thirdparty.exceptions.ThirdPartyError: A poll has failed, and later polls would fail too.
            cp_thirdparty.exceptions.WorkerStuckError: No slot is left.
        """
        now = self._settings.clock()
        self._check_slots(now)
        if stops:
            self._begin_stop(now)
        if self._grace_ends is not None and self._forced_at is None and (stops > 1 or now >= self._grace_ends):
            self._force_end(now)
        # Read this before the list of jobs: the poller may start a job just before its thread ends.
        is_polling = self._poller.is_alive
        in_work = self._slots.in_work()
        if in_work and self._forced_at is not None and now >= self._forced_at + _LAST_SECONDS:
            self._given_up.set()
            self._has_lost = True
        elif in_work or (is_polling and self._forced_at is None) or self._waits_for_clean_up(now):
            return False
        failure = self._stuck_error or (None if in_work else self._poller.fatal)
        if failure is not None:
            raise failure
        return True

    def _waits_for_clean_up(self, now: float) -> bool:
        is_over = self._grace_ends is not None and self._seconds_to_end() <= _MIN_END_SECONDS
        return not is_over and any(job.is_cleaning_up(now) for job in self._slots.jobs())

    def close(self) -> None:
        """
        Release the jobs that were not started, and close the executor.

        Threads whose handlers hang are not joined.
        """
        self._given_up.set()
        now = self._settings.clock()
        self._begin_stop(now)
        with ExitStack() as ends:  # each callback runs, even if Ctrl-C has interrupted the callback before it
            ends.callback(self._emitter.flush)
            ends.callback(self._log_end)
            ends.callback(lambda: self._writer.close(self._seconds_to_end()))
            ends.callback(self._engine.close)
            self._slots.close()  # a poller whose thread still runs can then start no more jobs
            self._has_lost = self._has_lost or bool(self._slots.in_work())
            self._end_waiting_jobs_within(self._seconds_to_end())

    def _end_waiting_jobs_within(self, seconds: float) -> None:
        """Call `_end_waiting_jobs` with a timeout, because it calls the journal and event handlers, which may hang."""
        calls, is_over = BoundedCalls("cp-thirdparty-end"), threading.Event()
        result = calls.call(seconds, lambda: self._end_waiting_jobs(is_over.is_set))
        is_over.set()  # after a timeout, the thread may still run: it must write nothing more
        calls.close()
        if isinstance(result, (NotReturned, Raised)):
            self._has_lost = True
            problem = f"raised {result.name}" if isinstance(result, Raised) else "has not ended in time"
            self._emitter.log(logging.CRITICAL, "writing the outcomes of the remaining jobs %s", problem)

    def _end_waiting_jobs(self, is_over: Callable[[], bool]) -> None:
        """Write and emit the outcomes of the jobs that no thread works on."""
        for entry in self._recovery.close(is_over):
            if is_over():
                return
            job = ClaimedJob(entry.job, recorder=self._writer, began_at=self._settings.clock(), entry=entry)
            self._close(job, outcome_at_stop(entry))
        self._writer.repair(lambda job_id: is_over() or self._slots.has(job_id))

    def _seconds_to_end(self) -> float:
        """Return the seconds that are left for the end of the run: the grace plus the time for the last attempts."""
        ends_at = self._grace_ends if self._forced_at is None else self._forced_at
        left = 0.0 if ends_at is None else ends_at + _LAST_SECONDS - self._settings.clock()
        return max(_MIN_END_SECONDS, left)

    def health(self) -> WorkerHealth:
        """Return the worker's health."""
        now = self._settings.clock()
        jobs = self._slots.jobs()
        polled_at = self._poller.polled_at
        unsent = [job.decided_at for job in jobs if job.decided_at is not None and job.outcome is None]
        state: WorkerState = "running" if self._grace_ends is None else "draining"
        return WorkerHealth(
            state=state,
            in_flight=sum(job.outcome is None for job in jobs),
            seconds_since_poll=None if polled_at is None else now - polled_at,
            poll_error=self._poller.error,
            oldest_unsent_result=now - min(unsent) if unsent else None,
            uncertain=self._recovery.uncertain,
            undecodable=tuple(dict.fromkeys(self._undecodable)),
            overdue=tuple(job.offer.job_id for job in jobs if job.outcome is not None and not job.is_cleaning_up(now)),
            stalled=tuple(job.offer.job_id for job in jobs if job.is_claimed and job.problem),
            journal_error=self._writer.error,
            set_aside=self._recovery.set_aside,
            free_slots=self._slots.count_free(),
            seconds_since_loop=now - self._last_active_at(),
            dropped_events=self._emitter.dropped,
            executor_error=self._engine.error or self._poller.start_error,
            kept=tuple(self._kept),
        )

    def _last_active_at(self) -> float:
        return min(self._watched_at, self._poller.active_at) if self._poller.is_alive else self._watched_at

    def _begin_stop(self, now: float) -> None:
        if self._grace_ends is None:
            self._grace_ends = now + self._settings.grace
            self._writer.end_within(self._settings.grace)
            self._stopping.set()
            if self._poller.is_started and not self._given_up.is_set():
                message = "the worker stops: %d running jobs, grace of %.0f seconds"
                self._log_state("draining", message, len(self._slots.in_work()), self._settings.grace)
            self._slots.notify()

    def _force_end(self, now: float) -> None:
        self._forced_at = now
        self._writer.end_within(0.0)  # results that still wait for the journal must be sent to CodePipeline now
        self.wake()  # `wait` ends the jobs

    def _check_slots(self, now: float) -> None:
        """End the run with `WorkerStuckError` if no slot could be used for at least the seconds of the grace."""
        hanging = self._slots.find_hanging(now, is_blocked=self._engine.is_blocked)
        if hanging is None or self._stopping.is_set():
            self._stuck = None
            return
        if self._stuck is None or self._stuck[0] != hanging:
            self._stuck = (hanging, now)
        if now - self._stuck[1] >= self._settings.grace:
            self._has_lost = True
            message = "each slot has a handler that hangs; end the process: jobs %s"
            self._emitter.log(logging.CRITICAL, message, hanging)
            self._stuck_error = WorkerStuckError(hanging)
            self._begin_stop(now)
            self._force_end(now)

    def _end_after_grace(self, job: ClaimedJob) -> Outcome | None:
        """End a job that has no result when the grace ends: release it for another worker, or report it as failed."""
        self._flow.withdraw(job)
        if job.is_claimed and self._writer.can_release(job):
            outcome = Released(job=job.offer, error=STOPPED)
            if job.give_up(outcome, may_have_begun=self._settings.is_idempotent):
                return outcome
        return self._flow.fail(job, "The action's worker was stopped.")

    def _watch(self, job: ClaimedJob) -> None:
        """End a job whose time is over."""
        if not job.is_claimed or job.stage is Stage.DECIDED or self._flow.seconds_left(job):
            return
        if job.stage is Stage.RUNNING:
            self._end(job, self._time_out)
        else:
            self._slots.skip_wait(job)  # the handler will not be called, so its thread need not wait for a free turn

    def _time_out(self, job: ClaimedJob) -> Outcome | None:
        """Report a job whose time is over as failed, unless its handler has not begun and can still be withdrawn."""
        self._flow.withdraw(job)
        if job.stage is Stage.RUNNING:
            return self._flow.fail(job, timeout_message(self._settings.job_timeout))
        self._ending.discard(job.offer.job_id)
        return None

    def _end(self, job: ClaimedJob, end: Callable[[ClaimedJob], Outcome | None]) -> None:
        """End a job in a new thread, because the calling thread must not wait for the journal or for CodePipeline."""
        if job.offer.job_id in self._ending:
            return
        self._ending.add(job.offer.job_id)
        try:
            threading.Thread(target=self._run_and_close, args=(job, end), daemon=True).start()
        except RuntimeError as failure:  # the system has no thread left: the next tick tries again
            if job.offer.job_id not in self._delayed:
                self._emitter.log_job(logging.ERROR, job, "cannot be ended now: %s", type(failure).__name__)
            self._delayed.add(job.offer.job_id)
            self._ending.discard(job.offer.job_id)

    # --- the threads of the jobs

    def _work(self, job: ClaimedJob) -> None:
        self._run_and_close(job, self._flow.work)
        self._flow.clean_up(job)
        self._wake_if_ending()

    def _enter_turn(self, job: ClaimedJob) -> AbstractContextManager[bool]:
        if self._forced_at is not None:
            self._run_and_close(job, self._end_after_grace)
        return self._slots.enter_turn(job)

    def _run_and_close(self, job: ClaimedJob, work: Callable[[ClaimedJob], Outcome | None]) -> None:
        try:
            outcome = work(job)
        except BaseException as failure:  # noqa: BLE001 - a bug of this library; its message may contain secrets
            where = traceback.extract_tb(failure.__traceback__)[-1]
            name = type(failure).__name__
            arguments = (name, where.name, where.lineno or 0)
            self._emitter.log_job(logging.CRITICAL, job, "a bug of cp-thirdparty: %s at %s:%d", *arguments)
            self._has_lost = True
            outcome = _outcome_after_bug(job, name)
        if outcome is not None:
            self._close(job, outcome)

    def _wait(self, job: ClaimedJob, seconds: float) -> bool:
        """Wait between two attempts for a job; return ``False`` if there is no time left for another one."""
        ends_at = max(job.service_deadline, job.began_at + _MIN_SECONDS)
        failing_since = job.failing_since
        if self._on_outcome is not None and failing_since is not None:
            ends_at = min(ends_at, failing_since + self._settings.grace)
        left = ends_at - self._settings.clock()
        return left > 0 and not self._given_up.wait(min(seconds, left))

    def _close(self, job: ClaimedJob, outcome: Outcome) -> None:
        if not job.end(outcome):
            return  # another thread has ended it
        self._ending.discard(job.offer.job_id)
        self._delayed.discard(job.offer.job_id)
        try:
            self._note_outcome(job, outcome)
            self._emit(outcome, details=job.details, seconds=self._settings.clock() - job.began_at)
        finally:
            job.is_closed = True
            self._slots.remove(job)
            self._wake_if_ending()

    def _wake_if_ending(self) -> None:
        if self._on_outcome is not None or self._stopping.is_set():
            self.wake()

    def _note_outcome(self, job: ClaimedJob, outcome: Outcome) -> None:
        if not job.is_recorded:
            return  # this run has not written the job to the journal
        if isinstance(outcome, Gone) and job.failing_since is not None:
            self._has_lost = True  # CodePipeline has ended the job while the attempts to report it failed
        is_kept = isinstance(outcome, (Unsent, Released))
        (self._kept.add if is_kept else self._kept.discard)(job.offer.job_id)
        if isinstance(outcome, Uncertain):
            self._recovery.note_uncertain(job.offer, since=None if job.entry is None else job.entry.changed_at)
        elif is_released(job):
            self._recovery.note_release(job.offer)
        else:
            self._recovery.forget(job.offer)

    # --- events

    def _sweep(self) -> None:
        """Remove temporary directories of workers that have ended: they may contain source code of customers."""
        names = sweep_workspaces()
        if names and self._on_outcome is None:  # a run of one poll is not logged
            self._emitter.log(logging.INFO, "removed %d temporary directories of processes that have ended", len(names))

    def _log_end(self) -> None:
        is_clean = self.is_clean and self._poller.fatal is None and not self._slots.in_work()
        how = "clean" if is_clean else "not clean, see the errors in the log"
        self._log_state("stopped", "the worker has ended: %s", how, is_clean=is_clean)

    def _log_state(self, state: WorkerState, message: str, *arguments: object, **fields: Any) -> None:
        """Log the start, the stop and the end of a run until `stop`."""
        if self._on_outcome is None:
            self._emitter.log(logging.INFO, message, *arguments, worker_state=state, **fields)

    def _notify(self, name: JobEventName, job: ClaimedJob, detail: str = "", **fields: Any) -> None:
        if name == "claimed":
            self._recovery.forget(job.offer)
            self._poller.note_claim()
        if name == "journal_failed":
            self._has_lost = True
        if name == "timed_out":
            self._slots.notify()  # a handler that was given up no longer delays those that wait for their turn
        self._emitter.emit_job(name, job, detail, **fields)

    def _emit(self, outcome: Outcome, *, details: AnyJobDetails | None = None, seconds: float | None = None) -> None:
        if isinstance(outcome, Rejected) and outcome.reason == UNDECODABLE:
            self._undecodable.append(outcome.job.job_id)
        self._emitter.emit_outcome(outcome, details=details, seconds=seconds)
        if self._on_outcome is not None:
            self._on_outcome(outcome)


def _find_scope(clients: Clients, action_type_id: ActionTypeId) -> JobScope:
    client = clients.reader
    return JobScope(region_name=client.region_name, endpoint_url=client.endpoint_url, action_type_id=action_type_id)


def _outcome_after_bug(job: ClaimedJob, name: str) -> Outcome:
    """Return the outcome of a job whose thread was ended by a bug of this library."""
    if job.stage is Stage.CLAIMING:  # the acknowledgement may have been sent
        return Uncertain(job=job.offer)
    if job.may_have_been_claimed:
        return Released(job=job.offer, error=name)
    return Rejected(job=job.offer, reason="the worker failed", error=name)
