"""One run of a worker: it polls, takes jobs over from the journal, ends jobs at their timeouts, and stops."""

from __future__ import annotations

import logging
import random
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Final

import attrs

from cp_thirdparty._core.backoff import pause_before_poll
from cp_thirdparty.client import ThirdPartyJobClient
from cp_thirdparty.enums import FailureType
from cp_thirdparty.exceptions import JournalError, ThirdPartyError
from cp_thirdparty.models import ActionTypeId, FailureDetails, ThirdPartyJob
from cp_thirdparty.worker._claimed_job import ClaimedJob, Stage
from cp_thirdparty.worker._clients import Clients, call_client
from cp_thirdparty.worker._emit import emit, emit_outcome
from cp_thirdparty.worker._executors import Engine
from cp_thirdparty.worker._failure_policy import Next, Situation, Step, classify
from cp_thirdparty.worker._flow import Flow
from cp_thirdparty.worker._journal_writer import JournalWriter
from cp_thirdparty.worker._slots import Slots
from cp_thirdparty.worker._steps import Steps
from cp_thirdparty.worker.events import EventHook
from cp_thirdparty.worker.health import WorkerHealth, WorkerState
from cp_thirdparty.worker.journal import JobScope, Journal, JournalEntry, JournalState
from cp_thirdparty.worker.outcomes import Gone, HandedBack, Outcome, Rejected, Released, Uncertain, Unsent
from cp_thirdparty.worker.tokens import TokenLookup

_log = logging.getLogger("cp_thirdparty.worker")

# Seconds for the last attempts to report, after the grace.
_LAST_SECONDS: Final = 5.0

# Seconds between two checks for jobs that a dead worker of the same journal has left.
_RECOVERY_INTERVAL: Final = 30.0

# Seconds after which CodePipeline is asked again about a job whose ownership is unknown.
_UNCERTAIN_INTERVAL: Final = 300.0

# How many finished jobs are deleted at a time: few enough that no claim waits for it.
_PRUNED_AT_ONCE: Final = 1000

_SECONDS_OF_A_DAY: Final = 86_400.0

_REMEMBERED: Final = 1000


@attrs.frozen(kw_only=True)
class Settings:
    """The arguments of a `cp_thirdparty.worker.JobWorker`."""

    action_type_id: ActionTypeId
    concurrency: int
    poll_interval: float
    job_timeout: float
    grace: float
    is_idempotent: bool
    max_crashes: int
    keep_finished: float | None
    hook: EventHook | None
    clock: Callable[[], float]
    jitter: random.Random


class Loop:
    """
    One run of a worker.

    One thread polls, others work on jobs, and the thread that calls `wait` and `is_over` watches their time.

    Args:
        settings: The arguments of the worker.

        connect: Creates the clients.

        create_engine: Creates what runs handlers.

        tokens: Client ids to client tokens.

        journal: Remembers jobs.

        on_outcome: Called with each outcome, for a run of one poll; ``None`` for a run until `stop`.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        clients: Clients,
        create_engine: Callable[[Clients], Engine],
        tokens: TokenLookup,
        journal: Journal,
        on_outcome: Callable[[Outcome], object] | None,
    ) -> None:
        self._settings = settings
        self._clients = clients
        self._engine = create_engine(clients)
        self._writer = JournalWriter(journal, _find_scope(clients, settings.action_type_id), self._notify)
        self._flow = Flow(
            steps=Steps(clients=clients, tokens=tokens, notify=self._notify, clock=settings.clock),
            engine=self._engine,
            action_type_id=settings.action_type_id,
            is_idempotent=settings.is_idempotent,
            max_crashes=settings.max_crashes,
            job_timeout=settings.job_timeout,
            may_claim=lambda: not self._is_stopping(),
            wait=self._wait,
            make_room=self._make_room,
            clock=settings.clock,
        )
        self._slots = Slots(settings.concurrency, self._work)
        self._on_outcome = on_outcome
        self._look = threading.Event()  # wakes the thread that watches before its time
        self._to_resume: deque[JournalEntry] = deque()
        self._poller: threading.Thread | None = None
        self._polled_at: float | None = None
        self._poll_error: str | None = None
        self._recovered_at = settings.clock()
        self._claims = 0
        self._grace_ends: float | None = None
        self._forced_at: float | None = None
        self._given_up = threading.Event()
        self._fatal: BaseException | None = None
        self._uncertain: dict[str, tuple[float, JournalEntry]] = {}
        self._undecodable: deque[str] = deque(maxlen=_REMEMBERED)
        self._set_aside: dict[str, None] = {}
        self._ending: set[str] = set()
        self._has_lost = False

    @property
    def is_clean(self) -> bool:
        """Whether all jobs have ended, CodePipeline has all results, and the journal has no job to look at."""
        return not (self._has_lost or self._uncertain or self._set_aside or self._writer.error)

    # --- the thread that watches

    def start(self, polls: int | None) -> None:
        """
        Take over the jobs of dead workers, then poll: until `stop`, or so many times.

        Raises:
            cp_thirdparty.exceptions.JournalError: The journal cannot be read.
        """
        self._recover()
        self._poller = threading.Thread(target=self._fill, args=(polls,), name="cp-thirdparty-poller", daemon=True)
        self._poller.start()

    def wait(self, seconds: float) -> None:
        """Wait for a change, then end the jobs whose time is over."""
        self._look.wait(seconds)
        self._look.clear()
        for job in self._in_work():
            self._watch(job)

    def is_over(self, *, stops: int) -> bool:
        """
        Return whether all is done, or given up.

        Raises:
            cp_thirdparty.exceptions.ThirdPartyError: A poll has failed, and later polls would fail too.
        """
        now = self._settings.clock()
        if stops and self._grace_ends is None:
            self._grace_ends = now + self._settings.grace
            self._slots.notify()
        if self._grace_ends is not None and self._forced_at is None and (stops > 1 or now >= self._grace_ends):
            self._forced_at = now
            for job in self._in_work():
                self._end(job, self._leave)
        in_work = self._in_work()
        if in_work and self._forced_at is not None and now >= self._forced_at + _LAST_SECONDS:
            self._given_up.set()
            self._has_lost = True
            return True
        if in_work or (self._poller is not None and self._poller.is_alive() and self._forced_at is None):
            return False
        if self._fatal is not None:
            raise self._fatal
        return True

    def close(self) -> None:
        """Release executor and clients; threads whose handlers hang are left behind."""
        self._given_up.set()
        if self._grace_ends is None:
            self._grace_ends = self._settings.clock()
        self._slots.close()
        self._engine.close()
        self._clients.close()

    def health(self) -> WorkerHealth:
        """Return the worker's health."""
        now = self._settings.clock()
        jobs = self._slots.jobs()
        unsent = [job.decided_at for job in jobs if job.decided_at is not None and job.outcome is None]
        state: WorkerState = "running" if self._grace_ends is None else "draining"
        return WorkerHealth(
            state=state,
            in_flight=sum(job.outcome is None for job in jobs),
            seconds_since_poll=None if self._polled_at is None else now - self._polled_at,
            poll_error=self._poll_error,
            oldest_unsent_result=now - min(unsent) if unsent else None,
            uncertain=tuple(self._uncertain),
            undecodable=tuple(self._undecodable),
            overdue=tuple(job.offer.job_id for job in jobs if job.outcome is not None),
            stalled=tuple(job.offer.job_id for job in jobs if job.is_claimed and job.problem),
            journal_error=self._writer.error,
            set_aside=tuple(self._set_aside),
        )

    def _in_work(self) -> list[ClaimedJob]:
        return [job for job in self._slots.jobs() if not job.is_closed]

    def _leave(self, job: ClaimedJob) -> Outcome | None:
        """End a job without a result after the grace: leave it to another worker, or report it as failed."""
        can_run_again = self._settings.is_idempotent or job.stage is Stage.CLAIMED
        if not job.is_claimed or not (self._writer.can_release and can_run_again):
            return self._fail(job, "The action's worker was stopped.")
        outcome = Released(job=job.offer, error="the worker was stopped")
        return outcome if job.give_up(outcome) else None

    def _fail(self, job: ClaimedJob, message: str) -> Outcome | None:
        """Report a job whose handler is given up as failed; its thread is left to itself."""
        failure = FailureDetails(type=FailureType.SYSTEM_UNAVAILABLE, message=message)
        if not job.is_claimed or not job.decide(failure, self._settings.clock(), is_given_up=True):
            return None
        self._notify("timed_out", job.offer, message)
        self._slots.notify()
        return self._flow.report(job)

    def _watch(self, job: ClaimedJob) -> None:
        """End a job whose time is over."""
        if job.stage is Stage.RUNNING and not self._flow.seconds_left(job):
            message = f"The job took longer than {self._settings.job_timeout:.0f} seconds."
            self._end(job, lambda job: self._fail(job, message))
        elif job.stage is Stage.CLAIMED and self._flow.is_out_of_time(job):
            self._end(job, self._forget)

    def _forget(self, job: ClaimedJob) -> Outcome | None:
        outcome = Gone(job=job.offer, error="its handler could not start in time")
        return outcome if job.give_up(outcome) else None

    def _end(self, job: ClaimedJob, end: Callable[[ClaimedJob], Outcome | None]) -> None:
        """End a job in a thread of its own: this one must not wait for the journal or for CodePipeline."""
        if job.offer.job_id not in self._ending:
            self._ending.add(job.offer.job_id)
            threading.Thread(target=self._guard, args=(job, end), daemon=True).start()

    # --- the thread that polls

    def _is_stopping(self) -> bool:
        return self._grace_ends is not None

    def _fill(self, polls: int | None) -> None:
        failures = 0
        try:
            while not self._is_stopping():
                self._look_after_journal()
                if not self._wait_for_room():
                    continue
                if self._to_resume:
                    self._resume(self._to_resume.popleft())
                    continue
                failures = self._poll(failures, is_patient=polls is None)
                if polls == 1 or self._fatal is not None:
                    return
        except BaseException as failure:  # noqa: BLE001 - a poller that ends in silence would look like a stopped worker
            self._fatal = failure.with_traceback(None)
        finally:
            self._look.set()

    def _look_after_journal(self) -> None:
        now = self._settings.clock()
        if now - self._recovered_at < _RECOVERY_INTERVAL:
            return
        self._recovered_at = now
        try:
            self._recover()
            if self._settings.keep_finished is not None:
                older_than = time.time() - self._settings.keep_finished * _SECONDS_OF_A_DAY
                self._writer.prune(older_than=older_than, limit=_PRUNED_AT_ONCE)
        except JournalError as failure:
            _log.error("%s", failure)

    def _recover(self) -> None:
        """Take over the jobs that dead workers have left, results first: these need no handler."""
        recovered = self._writer.recover()
        for row in recovered.set_aside:
            if row.job_id not in self._set_aside:
                _log.error("job=%s is set aside: %s", row.job_id, row.problem)
                self._set_aside[row.job_id] = None
        self._to_resume.extend(sorted(recovered.entries, key=lambda entry: entry.result is None))
        self._ask_again()

    def _ask_again(self) -> None:
        """Take up the jobs again whose owner is unknown, unless an operator has ended them."""
        now = self._settings.clock()
        due = [job_id for job_id, (seen_at, _) in self._uncertain.items() if now - seen_at >= _UNCERTAIN_INTERVAL]
        unfinished = self._writer.find_unfinished() if due else set()
        for job_id in due:
            _, entry = self._uncertain.pop(job_id)
            if job_id in unfinished:
                self._uncertain[job_id] = (now, entry)
                self._to_resume.append(entry)

    def _wait_for_room(self) -> int:
        """Wait until there is room for a job of the journal or of a poll; return for how many."""
        self._slots.wait(lambda: bool(self._room()) or self._is_stopping(), _RECOVERY_INTERVAL)
        return self._room()

    def _room(self) -> int:
        # Nothing is claimed while a job runs alone, because it would wait.
        return 0 if self._slots.has_alone() and not self._to_resume else self._slots.free()

    def _resume(self, entry: JournalEntry) -> None:
        if not self._slots.has(entry.job.job_id):
            self._launch(entry.job, entry)

    def _poll(self, failures: int, *, is_patient: bool) -> int:
        """Poll once, take what that brings, and pause; return how many polls have failed in a row."""
        is_broken = self._writer.error is not None
        room = 1 if is_broken else self._slots.free()  # one job finds out whether the journal works again
        client = self._clients.reader
        found = call_client(
            client.poll_for_third_party_jobs, self._settings.action_type_id, max_batch_size=max(room, 1)
        )
        claims = self._claims
        if isinstance(found, ThirdPartyError):
            self._note_failure(found, client, is_patient=is_patient)
            offers: tuple[ThirdPartyJob, ...] = ()
        else:
            self._polled_at, self._poll_error = self._settings.clock(), None
            offers = found
        for offer in offers:
            self._take(offer)
        failures = failures + 1 if is_broken or isinstance(found, ThirdPartyError) else 0
        if is_patient and self._fatal is None:
            # After a poll that led to no claim, CodePipeline may offer the same jobs at once.
            self._pause(failures, lambda: bool(offers) and self._claims > claims)
        return failures

    def _note_failure(self, failure: ThirdPartyError, client: ThirdPartyJobClient, *, is_patient: bool) -> None:
        self._poll_error = type(failure).__name__
        _log.warning("poll failed: %s", failure)
        following = classify(Step.POLL, failure, Situation()).next
        if following is Next.STOP or not is_patient:
            self._fatal = failure
        elif following is Next.RECONNECT:
            self._clients.reconnect(client)

    def _take(self, offer: ThirdPartyJob) -> None:
        """Start on a job, unless it is in work here, or the worker stops, or the poll brought too many."""
        if self._slots.has(offer.job_id):
            return
        if self._is_stopping() or not self._slots.free():
            self._emit(HandedBack(job=offer))
        else:
            self._launch(offer, None)

    def _launch(self, offer: ThirdPartyJob, entry: JournalEntry | None) -> None:
        now = self._settings.clock()
        self._slots.launch(ClaimedJob(offer, recorder=self._writer, began_at=now, entry=entry))

    def _pause(self, failures: int, is_enough: Callable[[], bool]) -> None:
        pause = pause_before_poll(self._settings.poll_interval, failures, self._settings.jitter)
        ends_at = self._settings.clock() + pause
        while not (self._is_stopping() or is_enough()):
            left = ends_at - self._settings.clock()
            if left <= 0:
                return
            self._slots.wait(lambda: self._is_stopping() or is_enough(), left)

    # --- the threads of the jobs

    def _work(self, job: ClaimedJob) -> None:
        self._guard(job, self._flow.work)

    def _make_room(self, job: ClaimedJob) -> AbstractContextManager[bool]:
        if self._forced_at is not None:
            self._guard(job, self._leave)
        return self._slots.make_room(job)

    def _guard(self, job: ClaimedJob, work: Callable[[ClaimedJob], Outcome | None]) -> None:
        try:
            outcome = work(job)
        except BaseException as failure:  # noqa: BLE001 - a mistake of this library; its text may hold anything
            where = traceback.extract_tb(failure.__traceback__)[-1]
            name = type(failure).__name__
            _log.critical("job=%s %s at %s:%d", job.offer.job_id, name, where.name, where.lineno or 0)
            self._has_lost = True
            outcome = (
                Released(job=job.offer, error=name)
                if job.is_claimed
                else Rejected(job=job.offer, reason="the worker failed", error=name)
            )
        if outcome is not None:
            self._close(job, outcome)

    def _wait(self, job: ClaimedJob, seconds: float) -> bool:
        """Wait between two attempts for a job; return ``False`` if there is no time left for another one."""
        now = self._settings.clock()
        ends = [] if job.gives_up_at is None else [job.gives_up_at]
        if self._on_outcome is not None and job.failing_since is not None:
            ends.append(job.failing_since + self._settings.grace)
        left = min((end - now for end in ends), default=seconds)
        return left > 0 and not self._given_up.wait(min(seconds, left))

    def _close(self, job: ClaimedJob, outcome: Outcome) -> None:
        if job.stage is not Stage.ENDED:
            job.end(outcome)
        self._ending.discard(job.offer.job_id)
        self._note_uncertain(job, outcome)
        if job.is_inherited and isinstance(outcome, Rejected):
            self._has_lost = True  # the journal keeps it
        self._emit(outcome, self._settings.clock() - job.began_at)
        job.is_closed = True
        self._slots.leave(job)
        if self._on_outcome is not None or self._is_stopping():
            self._look.set()

    def _note_uncertain(self, job: ClaimedJob, outcome: Outcome) -> None:
        job_id = job.offer.job_id
        if isinstance(outcome, Uncertain):
            entry = JournalEntry(
                job=job.offer, scope=self._writer.scope, state=JournalState.UNCERTAIN, changed_at=time.time()
            )
            self._uncertain[job_id] = (self._settings.clock(), entry)
        else:
            self._uncertain.pop(job_id, None)

    # --- events

    def _notify(self, name: str, offer: ThirdPartyJob, detail: str) -> None:
        if name == "claimed":
            self._claims += 1
            self._slots.notify()
        if name == "journal_failed":
            self._has_lost = True
        emit(name, offer, detail, hook=self._settings.hook)

    def _emit(self, outcome: Outcome, seconds: float | None = None) -> None:
        if isinstance(outcome, (Unsent, Released)):
            self._has_lost = True
        if isinstance(outcome, Rejected) and outcome.error == "ResponseDecodeError":
            self._undecodable.append(outcome.job.job_id)
        emit_outcome(outcome, seconds=seconds, hook=self._settings.hook)
        if self._on_outcome is not None:
            self._on_outcome(outcome)


def _find_scope(clients: Clients, action_type_id: ActionTypeId) -> JobScope:
    client = clients.reader
    return JobScope(region_name=client.region_name, endpoint_url=client.endpoint_url, action_type_id=action_type_id)
