"""The state of one job, from its offer to its outcome, and the transitions between its stages."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from enum import Enum
from typing import Final, Protocol

from cp_thirdparty.exceptions import JournalError
from cp_thirdparty.models import AnyJob, AnyJobDetails
from cp_thirdparty.secrets import SecretStr
from cp_thirdparty.worker._kinds import kind_of
from cp_thirdparty.worker.journal import JournalEntry, JournalState
from cp_thirdparty.worker.outcomes import Outcome
from cp_thirdparty.worker.results import Result


class Stage(Enum):
    """How far a job has come in this process."""

    OFFERED = "offered"
    READ = "read"
    CLAIMING = "claiming"
    CLAIMED = "claimed"
    RUNNING = "running"
    DECIDED = "decided"
    ENDED = "ended"


TRANSITIONS: Final[Mapping[Stage, frozenset[Stage]]] = {
    Stage.OFFERED: frozenset({Stage.READ, Stage.ENDED}),
    Stage.READ: frozenset({Stage.CLAIMING, Stage.ENDED}),
    Stage.CLAIMING: frozenset({Stage.CLAIMED, Stage.ENDED}),
    Stage.CLAIMED: frozenset({Stage.RUNNING, Stage.DECIDED, Stage.ENDED}),
    Stage.RUNNING: frozenset({Stage.CLAIMED, Stage.DECIDED, Stage.ENDED}),
    Stage.DECIDED: frozenset({Stage.DECIDED, Stage.ENDED}),
    Stage.ENDED: frozenset(),
}

# Where a job of a journal goes on.  A claim is repeated from the start, because only CodePipeline knows its outcome.
_RESUME_AT: Final[Mapping[JournalState, Stage]] = {
    JournalState.CLAIMING: Stage.OFFERED,
    JournalState.UNCERTAIN: Stage.OFFERED,
    JournalState.CLAIMED: Stage.CLAIMED,
    JournalState.RUNNING: Stage.CLAIMED,
    JournalState.RESULT: Stage.DECIDED,
}


class Recorder(Protocol):
    """Writes each transition of a job into the journal."""

    def claim(self, job: ClaimedJob) -> bool:
        """Record that the job is about to be acknowledged; return whether no other worker of the journal has it."""
        ...

    def record(self, job: ClaimedJob) -> bool:
        """
        Record the stage that the job has reached; return ``False`` if that failed.

        It raises nothing: a claimed job goes on without a journal.
        """
        ...


class ClaimedJob:
    """
    One job in this process.

    Its methods are the only way to change its stage, and each of them records the transition.  Thread-safe: the
    thread that runs the job and the one that ends it at its timeout may decide at the same time, and the first wins.

    Attributes:
        offer: The job, as a poll or the journal has returned it.
        is_from_event: Whether the event of a Lambda function has brought it.  CodePipeline has confirmed neither its id
            nor its claim, so only the journal shows to the next delivery of the event that the handler has begun.
        began_at: When this process began to work on it, by the worker's clock.
        entry: Its entry in the journal at that time; ``None`` for a job that a poll has returned.
        stage: How far it has come.
        client_token: The token of its client; ``None`` before the first look-up and after a refused one.
        details: The details of the job; ``None`` before they were read.
        claimed_at: When it was claimed, by the worker's clock.
        decided_at: When its result was decided here.
        result: The result to report.
        may_be_accepted: Whether CodePipeline may have accepted the result.  It is true during an attempt, so that the
            journal has it if this process dies.
        outcome: How it ended.
        is_closed: Whether its outcome was recorded and emitted, so that nothing more happens to it.
        service_deadline: When CodePipeline has ended the job for sure, by `clock`; ``None`` before the claim.
        is_recorded: Whether the journal has the job.
        crashes: How many processes have died while its handler was the only one there.
        isolated_crashes: How many of these processes ran no other job, so that their death affected none.
        has_begun: Whether its handler may have run, here or in an earlier process.
        looks_unbegun: Whether a later process would find in the journal that the handler has not begun, and run it.
        has_died: Whether a process of this worker died while its handler ran there.
        is_suspect: Whether it ran in a process that died together with others.
        cancelled: Set when the result of its handler is no longer wanted.
        is_given_up: Whether another thread than that of its handler has decided or ended it.
        was_interrupted: Whether Ctrl-C ended its handler.
        looks_up_since: When the look-up of its client token began that has not returned; ``None`` if there is none.
        is_abandoned: Whether it ended while this look-up went on, so that its thread is left to itself.
        failing_since: When the first of the attempts failed that have failed in a row; ``None`` after a success.
        problem: What it waits for because of a failure that is not its own; empty if it waits for nothing.
    """

    def __init__(
        self, offer: AnyJob, *, recorder: Recorder, began_at: float, entry: JournalEntry | None = None
    ) -> None:
        self.offer, self.details = kind_of(offer).split(offer)
        self.is_from_event = False
        self.began_at = began_at
        self.entry = entry
        self.stage = Stage.OFFERED if entry is None else _RESUME_AT[entry.state]
        self.client_token: SecretStr | None = None
        self.claimed_at: float | None = None
        self.decided_at: float | None = None
        self.result: Result | None = None if entry is None else entry.result
        self.may_be_accepted = entry is None or entry.may_be_accepted
        self.outcome: Outcome | None = None
        self.is_closed = False
        self.service_deadline: float | None = None
        self.is_recorded = entry is not None
        self.crashes = 0 if entry is None else entry.crashes
        self.isolated_crashes = 0
        self.has_begun = entry is not None and entry.state is JournalState.RUNNING
        self.looks_unbegun = entry is not None and entry.state is JournalState.CLAIMED
        self.has_died = False
        self.is_suspect = False if entry is None else entry.is_suspect
        self.cancelled = threading.Event()
        self.is_given_up = False
        self.was_interrupted = False
        self.looks_up_since: float | None = None
        self.is_abandoned = False
        self.failing_since = None if self.may_be_accepted else began_at
        self.problem = ""
        self._recorder = recorder
        self._had_begun = self.has_begun
        self._may_begin = False  # whether it was started and has not begun
        self._is_withdrawn = False
        self._lock = threading.RLock()

    @property
    def is_claimed(self) -> bool:
        """Whether the job is this worker's."""
        return self.stage in (Stage.CLAIMED, Stage.RUNNING, Stage.DECIDED)

    @property
    def is_inherited(self) -> bool:
        """Whether the journal had the job: an earlier process began to claim it."""
        return self.entry is not None

    @property
    def may_be_claimed(self) -> bool:
        """Whether CodePipeline may wait for a result of this worker."""
        return self.is_claimed or self.is_inherited

    @property
    def may_be_reported(self) -> bool:
        """Whether an earlier process may have reported its result."""
        return self.entry is not None and self.entry.state is JournalState.RESULT and self.entry.may_be_accepted

    @property
    def was_running(self) -> bool:
        """Whether its handler may have run in a process that died."""
        return self.has_died or (self.entry is not None and self.entry.state is JournalState.RUNNING)

    @property
    def must_run_alone(self) -> bool:
        """Whether its handler may end the process, so that no other handler should run there."""
        return self.is_suspect or self.crashes > self.isolated_crashes

    def is_out_of_time(self, now: float) -> bool:
        """Return whether CodePipeline has ended a claimed job for sure."""
        return self.service_deadline is not None and now >= self.service_deadline

    def accept_details(self, details: AnyJobDetails) -> None:
        """Keep the details of the job; a job that was claimed before keeps its stage."""
        self.details = details
        if self.stage is Stage.OFFERED:
            self._move(Stage.READ)

    def start_claim(self) -> bool:
        """Record that the job is about to be acknowledged; return whether no other worker of the journal has it."""
        self.is_recorded = self.is_inherited or self._recorder.claim(self)
        if self.is_recorded:
            self._move(Stage.CLAIMING)
        return self.is_recorded

    def claim(self, now: float) -> None:
        """Record that the job is this worker's."""
        self.claimed_at = now
        is_known = self._move(Stage.CLAIMED, is_recorded=True)
        self.looks_unbegun = self.is_from_event and not is_known

    def start(self, *, may_run_twice: bool) -> bool:
        """
        Prepare to run the handler; return ``False`` if the result was decided before.

        Args:
            may_run_twice: Whether the handler may run again after the end of this process.

        Raises:
            JournalError: The handler must not run, because a later process could not know that it has run.
        """
        with self._lock:
            if self.stage in (Stage.DECIDED, Stage.ENDED):
                return False
            self._had_begun, self._may_begin = self.has_begun, True
            # If this process dies, the journal must have the one job that may be the cause, and must not show that a
            # handler has not begun that has.
            is_known = self._move(Stage.RUNNING, is_recorded=self.must_run_alone or self.looks_unbegun)
            self.looks_unbegun = self.looks_unbegun and not is_known
            if self.looks_unbegun and not may_run_twice:
                self._may_begin = False
                self._move(Stage.CLAIMED)
                raise JournalError("the journal does not have that the handler begins")
            return True

    @property
    def is_starting(self) -> bool:
        """Whether the handler was started and has not begun."""
        return self._may_begin

    def begin(self) -> bool:
        """Note that the handler begins; return ``False`` if it must not, because the job was taken back or ended."""
        with self._lock:
            may_begin = self._may_begin and self.stage is Stage.RUNNING and not self._is_withdrawn
            self._may_begin = False
            self.has_begun = self.has_begun or may_begin
            return may_begin

    def withdraw(self) -> None:
        """Let the handler never begin in this process from now on; a handler that has begun is left alone."""
        with self._lock:
            self._is_withdrawn = True
            if self._may_begin:
                self.stop()

    def stop(self) -> bool:
        """Go back, because the handler did not start; return ``False`` if the result was decided before."""
        with self._lock:
            if self.stage is not Stage.RUNNING:
                return self.stage is Stage.CLAIMED
            self.has_begun, self._may_begin = self._had_begun, False
            self._move(Stage.CLAIMED, is_recorded=self.must_run_alone)
            return True

    def count_death(self, *, is_alone: bool, is_isolated: bool = False) -> bool:
        """
        Record that the process of the handler has died; return ``False`` if the result was decided before.

        Args:
            is_alone: Whether no other handler ran there: it is a crash of this job, not of several suspects.
            is_isolated: Whether no other handler could have run there.
        """
        with self._lock:
            if self.stage in (Stage.DECIDED, Stage.ENDED):
                return False
            self.has_died = True
            self.crashes += is_alone
            self.isolated_crashes += is_isolated
            self.is_suspect = self.is_suspect or not is_alone
            self._move(Stage.CLAIMED, is_recorded=True)
            return True

    def decide(self, result: Result, now: float, *, is_given_up: bool = False) -> bool:
        """
        Record the result; return ``False`` if there is one, or if the job has ended.

        Args:
            result: The result to report.
            now: The time, by the worker's clock.
            is_given_up: Whether the handler did not return it: it has run out of time, or the worker stops.
        """
        with self._lock:
            if self.stage in (Stage.DECIDED, Stage.ENDED):
                return False
            self.result, self.decided_at = result, now
            self._give_up(is_given_up)  # before others can see the new stage
            self._move(Stage.DECIDED, is_recorded=True)
            return True

    def give_up(self, outcome: Outcome, *, may_have_begun: bool) -> bool:
        """
        End a claimed job whose handler may still run; return ``False`` if it is decided or has ended.

        Args:
            outcome: How it ends.
            may_have_begun: ``False`` to give it up only if its handler never began.
        """
        with self._lock:
            if self.stage in (Stage.DECIDED, Stage.ENDED) or (self.has_begun and not may_have_begun):
                return False
            self._give_up(True)
            return self.end(outcome)

    def start_look_up(self, now: float) -> None:
        """Note that the look-up of its client token begins, which is code of the partner and may hang."""
        self.looks_up_since = now

    def end_look_up(self) -> bool:
        """Note that the look-up has returned; return ``False`` if it took too long, and the job was given up."""
        with self._lock:
            self.looks_up_since = None
            return self.stage is not Stage.ENDED

    def give_up_look_up(self, outcome: Outcome) -> bool:
        """End a job whose look-up hangs; return ``False`` if it has returned meanwhile."""
        with self._lock:
            self.is_abandoned = self.looks_up_since is not None and self.end(outcome)
            return self.is_abandoned

    def note_failure(self, now: float, problem: str) -> None:
        """Note that an attempt has failed, and what the job waits for; empty if the failure is not the partner's."""
        self.problem = problem
        self.failing_since = now if self.failing_since is None else self.failing_since

    def note_success(self) -> None:
        """Note that an attempt has succeeded."""
        self.problem, self.failing_since = "", None

    def replace_result(self, result: Result) -> None:
        """Record another result, because CodePipeline refuses the one before; nothing if the job has ended."""
        with self._lock:
            if self.stage is not Stage.ENDED:
                self.result, self.may_be_accepted = result, True
                self._move(Stage.DECIDED, is_recorded=True)

    def note_report(self, *, may_be_accepted: bool) -> bool:
        """
        Record whether CodePipeline may have accepted the result: before each attempt, and after a failed one.

        It returns ``False`` if the job has ended: another thread has given it up while an attempt took long.
        """
        with self._lock:
            if self.stage is Stage.ENDED:
                return False
            if self.may_be_accepted is not may_be_accepted:
                self.may_be_accepted = may_be_accepted
                self._move(Stage.DECIDED, is_recorded=True)
            return True

    def end(self, outcome: Outcome) -> bool:
        """Record the outcome; return ``False`` if it has ended with another one."""
        with self._lock:
            if self.stage is Stage.ENDED:
                return self.outcome is outcome
            self.outcome = outcome
            self._move(Stage.ENDED, is_recorded=True)
            return True

    def _give_up(self, is_given_up: bool) -> None:  # noqa: FBT001 - passed on
        if is_given_up:
            self.is_given_up = True
            self.cancelled.set()

    def _move(self, stage: Stage, *, is_recorded: bool = False) -> bool:
        """Change the stage; return ``False`` if it must be recorded and that failed."""
        with self._lock:
            assert stage in TRANSITIONS[self.stage], f"no way from {self.stage} to {stage}"  # noqa: S101 - a mistake of this library
            self.stage = stage
            # Within the lock, so that the journal gets the transitions in their order.
            return not is_recorded or self._recorder.record(self)
