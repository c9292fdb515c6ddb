"""The state of one job, from the time a poll returns it to its outcome, and the transitions between its stages."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping
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
    """The stages that a job passes through in this process."""

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

# The stage at which a job from the journal continues.  An unfinished claim starts again at the first stage, because
# only CodePipeline knows whether the earlier process acknowledged the job.
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
        """
        Record that the worker is about to acknowledge the job.

        It returns ``False`` if another worker that uses the same journal has the job.
        """
        ...

    def record(self, job: ClaimedJob) -> bool:
        """
        Record the current stage of the job; return ``False`` if the journal could not be written.

        It raises no exception, because the worker processes a claimed job even if the journal fails.
        """
        ...


class ClaimedJob:
    """
    The state of one job in this process.

    Only the methods of this class change the stage.  Each method writes the new stage to the journal if a later process
    needs it.  Thread-safe: the thread that runs the job and the thread that ends the job at its timeout may set a
    result at the same time.  The first result is kept.

    Attributes:
        offer: The job, as the poll or the journal returned it.
        is_from_event: Whether the job comes from the event of a Lambda function.  CodePipeline has confirmed neither
            the id nor the claim of such a job, so the next delivery of the event can only learn from the journal that
            the handler was started.
        began_at: Time at which this process started to work on the job, by the worker's clock.
        entry: The entry of the job in the journal at that time; ``None`` for a job that a poll returned.
        stage: The current stage of the job.
        client_token: The client token for the job; ``None`` before the first look-up, and after CodePipeline refused
            the token.
        details: The details of the job; ``None`` before they were read.
        claimed_at: Time of the claim, by the worker's clock.
        decided_at: Time at which this process set the result, by the worker's clock.
        result: The result to report.
        may_be_accepted: Whether CodePipeline may have accepted the result.  The value is set to true before each
            attempt to report, so that the journal contains it if the process ends during the attempt.
        outcome: How the job ended; ``None`` before its end.
        is_closed: Whether the outcome was recorded and emitted.  Nothing more happens to the job after that.
        service_deadline: Time after which CodePipeline has certainly timed the job out, by the worker's clock; infinity
            before the claim.
        is_recorded: Whether the journal contains the job.
        crashes: Number of processes that ended unexpectedly while they ran only the handler of this job.
        isolated_crashes: How many of these processes could run no other job.
        has_begun: Whether the handler may have been called, in this process or in an earlier one.
        is_unstarted_in_journal: Whether the journal shows that the handler was not started.  A later process that reads
            the journal would then call the handler.
        has_crashed: Whether a process of this worker ended unexpectedly while it ran the handler.
        is_suspect: Whether the handler ran in a process that ended unexpectedly while it also ran other handlers.
        cancelled: Set when the result of the handler is no longer needed.
        is_given_up: Whether a thread other than the one that runs the handler has set the result or ended the job.
        was_interrupted: Whether Ctrl-C ended the handler.
        clean_up: Removes what the handler has left, and returns a message for each file or connection that remains.
            ``None`` before the end of the handler, and after `clean_up` has ended.  If the handler has its own process,
            which the worker can kill, it is set from the start of the process.
        clean_up_ends_at: Time until which the worker waits for `clean_up`, by its clock; infinity before its start.
        failing_since: Time of the first failure since the last successful attempt; ``None`` after a success.
        problem: Description of the failure that delays the job and that has its cause outside the job; empty if there
            is none.
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
        self.service_deadline = math.inf
        self.is_recorded = entry is not None
        self.crashes = 0 if entry is None else entry.crashes
        self.isolated_crashes = 0
        self.has_begun = entry is not None and entry.state is JournalState.RUNNING
        self.is_unstarted_in_journal = entry is not None and entry.state is JournalState.CLAIMED
        self.has_crashed = False
        self.is_suspect = False if entry is None else entry.is_suspect
        self.cancelled = threading.Event()
        self.is_given_up = False
        self.was_interrupted = False
        self.clean_up: Callable[[], tuple[str, ...]] | None = None
        self.clean_up_ends_at = math.inf
        self.failing_since = None if self.may_be_accepted else began_at
        self.problem = ""
        self._recorder = recorder
        self._had_begun = self.has_begun
        self._may_begin = False  # whether `start` was called for the handler and `begin` was not
        self._is_withdrawn = False
        self._lock = threading.RLock()

    @property
    def is_claimed(self) -> bool:
        """Whether this worker has claimed the job, and the job has not ended."""
        return self.stage in (Stage.CLAIMED, Stage.RUNNING, Stage.DECIDED)

    @property
    def is_inherited(self) -> bool:
        """Whether the job comes from the journal, because an earlier process started to claim it."""
        return self.entry is not None

    @property
    def may_have_been_claimed(self) -> bool:
        """Whether this or an earlier process may have claimed the job, so that CodePipeline expects a result."""
        return self.is_claimed or self.is_inherited

    @property
    def may_be_reported(self) -> bool:
        """Whether an earlier process may have reported the result of the job."""
        return self.entry is not None and self.entry.state is JournalState.RESULT and self.entry.may_be_accepted

    @property
    def was_running(self) -> bool:
        """Whether the handler may have been called in a process that ended unexpectedly."""
        return self.has_crashed or (self.entry is not None and self.entry.state is JournalState.RUNNING)

    @property
    def must_run_alone(self) -> bool:
        """Whether the handler may crash its process, so that no other handler should run in the same process."""
        return self.is_suspect or self.crashes > self.isolated_crashes

    def is_cleaning_up(self, now: float) -> bool:
        """Return whether the worker waits until `clean_up` has removed what the handler has left."""
        return self.clean_up is not None and now < self.clean_up_ends_at

    def is_out_of_time(self, now: float) -> bool:
        """Return whether CodePipeline has certainly timed the job out; it is never true before the claim."""
        return now >= self.service_deadline

    def accept_details(self, details: AnyJobDetails) -> None:
        """Store the details of the job, and change the stage from `OFFERED` to `READ`; other stages do not change."""
        self.details = details
        if self.stage is Stage.OFFERED:
            self._move(Stage.READ)

    def start_claim(self) -> bool:
        """
        Record that the worker is about to acknowledge the job.

        Return ``False`` if another worker that uses the same journal has the job.
        """
        self.is_recorded = self.is_inherited or self._recorder.claim(self)
        if self.is_recorded:
            self._move(Stage.CLAIMING)
        return self.is_recorded

    def claim(self, now: float) -> None:
        """Record that this worker has claimed the job."""
        self.claimed_at = now
        is_written = self._move(Stage.CLAIMED, is_recorded=True)
        self.is_unstarted_in_journal = self.is_from_event and not is_written

    def start(self, *, may_run_twice: bool) -> bool:
        """
        Prepare to run the handler; return ``False`` if the job already has a result or has ended.

        Args:
            may_run_twice: Whether a later process may run the handler a second time.

        Raises:
            JournalError: The journal could not be written, and the handler must not run twice.  The handler must not
                be called, because a later process would not know about this call and would call the handler again.
        """
        with self._lock:
            if self.stage in (Stage.DECIDED, Stage.ENDED):
                return False
            self._had_begun, self._may_begin = self.has_begun, True
            # The journal must show which handler ran alone in a process that crashed.  It must also not show a handler
            # as not started although the handler was called.
            is_written = self._move(Stage.RUNNING, is_recorded=self.must_run_alone or self.is_unstarted_in_journal)
            self.is_unstarted_in_journal = self.is_unstarted_in_journal and not is_written
            if self.is_unstarted_in_journal and not may_run_twice:
                self._may_begin = False
                self._move(Stage.CLAIMED)
                raise JournalError("the start of the handler could not be written to the journal")
            return True

    @property
    def is_starting(self) -> bool:
        """Whether `start` was called, and the handler has not been called yet."""
        return self._may_begin

    @property
    def is_waiting(self) -> bool:
        """Whether the job is claimed, and its handler was not called since the last `start`."""
        return self.stage is Stage.CLAIMED or (self.stage is Stage.RUNNING and self._may_begin)

    @property
    def is_withdrawn(self) -> bool:
        """Whether the handler must not be called any more.  This property takes no lock, so it never waits."""
        return self._is_withdrawn or self.cancelled.is_set()

    def begin(self) -> bool:
        """
        Note that the handler is called now.

        Return ``False`` if the handler must not be called, because the job was withdrawn or has ended.
        """
        with self._lock:
            may_begin = self._may_begin and self.stage is Stage.RUNNING and not self._is_withdrawn
            self._may_begin = False
            self.has_begun = self.has_begun or may_begin
            return may_begin

    def note_wait(self) -> None:
        """Note that the handler waits for the event loop, so that `begin` is called again when the loop is free."""
        with self._lock:
            if self.stage is Stage.RUNNING:
                self.has_begun, self._may_begin = self._had_begun, True

    def withdraw(self) -> None:
        """Prevent a call of the handler in this process from now on; a handler that already runs continues."""
        with self._lock:
            self._is_withdrawn = True
            if self._may_begin:
                self.stop()

    def stop(self) -> bool:
        """
        Change the stage back to `CLAIMED`, because the handler was not called.

        Return ``False`` if the job already has a result or has ended.
        """
        with self._lock:
            if self.stage is not Stage.RUNNING:
                return self.stage is Stage.CLAIMED
            self.has_begun, self._may_begin = self._had_begun, False
            self._move(Stage.CLAIMED, is_recorded=self.must_run_alone)
            return True

    def count_crash(self, *, is_alone: bool, is_isolated: bool = False) -> bool:
        """
        Record that the process of the handler ended unexpectedly.

        It returns ``False`` if the job already has a result or has ended.

        Args:
            is_alone: Whether no other handler ran in that process.  The crash is then counted for this job; otherwise
                each job of the process is a suspect.
            is_isolated: Whether that process could run no other handler.
        """
        with self._lock:
            if self.stage in (Stage.DECIDED, Stage.ENDED):
                return False
            self.has_crashed = True
            self.crashes += is_alone
            self.isolated_crashes += is_isolated
            self.is_suspect = self.is_suspect or not is_alone
            self._move(Stage.CLAIMED, is_recorded=True)
            return True

    def decide(self, result: Result, now: float, *, is_given_up: bool = False) -> bool:
        """
        Set and record the result; return ``False`` if the job already has a result or has ended.

        Args:
            result: The result to report.
            now: The current time, by the worker's clock.
            is_given_up: Whether the worker sets the result while the handler may still run, because the handler has
                timed out or the worker stops.
        """
        with self._lock:
            if self.stage in (Stage.DECIDED, Stage.ENDED):
                return False
            self.result, self.decided_at = result, now
            if is_given_up:
                self._give_up()  # before other threads can see the new stage
            self._move(Stage.DECIDED, is_recorded=True)
            return True

    def give_up(self, outcome: Outcome, *, may_have_begun: bool) -> bool:
        """
        End a claimed job whose handler may still run; return ``False`` if the job has a result or has ended.

        Args:
            outcome: The outcome of the job.
            may_have_begun: ``False`` to end the job only if its handler was never called.
        """
        with self._lock:
            if self.stage in (Stage.DECIDED, Stage.ENDED) or (self.has_begun and not may_have_begun):
                return False
            self._give_up()
            return self.end(outcome)

    def note_failure(self, now: float, problem: str) -> None:
        """
        Note that an attempt has failed.

        Args:
            now: The current time, by the worker's clock.
            problem: Description of the failure; empty if the partner cannot fix the cause.
        """
        self.problem = problem
        self.failing_since = now if self.failing_since is None else self.failing_since

    def note_success(self) -> None:
        """Note that an attempt has succeeded."""
        self.problem, self.failing_since = "", None

    def replace_result(self, result: Result) -> None:
        """Record another result, because CodePipeline refused the previous one; do nothing if the job has ended."""
        with self._lock:
            if self.stage is not Stage.ENDED:
                self.result, self.may_be_accepted = result, True
                self._move(Stage.DECIDED, is_recorded=True)

    def note_report(self, *, may_be_accepted: bool) -> bool:
        """
        Record whether CodePipeline may have accepted the result.

        The worker calls it before each attempt to report, and after a failed attempt.  It returns ``False`` if the job
        has ended, because another thread gave the job up during a long attempt.
        """
        with self._lock:
            if self.stage is Stage.ENDED:
                return False
            if self.may_be_accepted is not may_be_accepted:
                self.may_be_accepted = may_be_accepted
                self._move(Stage.DECIDED, is_recorded=True)
            return True

    def end(self, outcome: Outcome) -> bool:
        """Record the outcome; return ``False`` if the job has already ended with a different outcome."""
        with self._lock:
            if self.stage is Stage.ENDED:
                return self.outcome is outcome
            self.outcome = outcome
            self._move(Stage.ENDED, is_recorded=True)
            return True

    def _give_up(self) -> None:
        self.is_given_up = True
        self.cancelled.set()

    def _move(self, stage: Stage, *, is_recorded: bool = False) -> bool:
        """Change the stage; return ``False`` if `is_recorded` is true and the journal could not be written."""
        with self._lock:
            assert stage in TRANSITIONS[self.stage], f"invalid transition from {self.stage} to {stage}"  # noqa: S101 - a bug in this library
            self.stage = stage
            # Written while the lock is held, so that the journal receives the transitions in the right order.
            return not is_recorded or self._recorder.record(self)
