"""Claim one job, run its handler and report its result."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from functools import partial
from typing import Final

import attrs

from cp_thirdparty.enums import FailureType
from cp_thirdparty.exceptions import JournalError
from cp_thirdparty.models import ActionTypeId, AnyJob, FailureDetails
from cp_thirdparty.worker._claimed_job import ClaimedJob, Stage
from cp_thirdparty.worker._engines import Engine
from cp_thirdparty.worker._failure_policy import (
    Next,
    NotHeldError,
    NotStartedError,
    ProcessDiedError,
    Situation,
    Step,
    classify,
)
from cp_thirdparty.worker._kinds import kind_of
from cp_thirdparty.worker._recovery import STOPPED
from cp_thirdparty.worker._steps import Steps, pauses
from cp_thirdparty.worker.journal import JournalEntry
from cp_thirdparty.worker.outcomes import Gone, HandedBack, LostRace, Outcome, Released
from cp_thirdparty.worker.runner import HandlerRun

# Seconds after the timeout of a job in which its result may still be reported: the 3,600 seconds that CodePipeline
# waits for a third-party job, less the default `job_timeout` of 3,300.
_REPORT_SECONDS: Final = 300.0

# Seconds in which the details of a job from the journal must be read if its action type is not known.
_READ_SECONDS: Final = 25.0

# Seconds in which a worker waits for the end of `JobFlow.clean_up`: 60 for the files, see `Job.workspace`, and the rest
# for connections.
CLEAN_UP_SECONDS: Final = 70.0

# Stages in which the handler has been started, or is no longer needed.
_STARTED: Final = (Stage.RUNNING, Stage.DECIDED, Stage.ENDED)

# The error of a job whose handler could not start before its timeout.
_TOO_LATE: Final = "its handler could not start in time"


@attrs.frozen(kw_only=True)
class JobFlow:
    """
    Processes jobs from a poll or from the journal: claims a job, runs its handler and reports the result.

    Each thread processes one job at a time.  Thread-safe.

    Attributes:
        steps: The calls to CodePipeline.
        engine: Runs handlers.
        action_type_id: The action type of the jobs.
        is_idempotent: Whether the handler of a job may run a second time.
        max_crashes: How many processes may crash while they run only this job.  After that the job fails.
        job_timeout: Seconds that a job may take after its claim.
        ends_at: The time, by `clock`, at which the process ends, as a Lambda function does; infinity for no limit.
        log_problem: Logs a problem that was found after a handler has ended.
        may_claim: Returns whether the worker still claims jobs.
        wait: Waits before the next attempt for a job; returns ``False`` if it must not be made.
        enter_turn: Returns a context manager that waits until the handler may run beside the running handlers.  Its
            value is ``False`` if the handler must no longer be called.
        clock: Returns the time in seconds.
    """

    steps: Steps
    engine: Engine
    action_type_id: ActionTypeId | None
    is_idempotent: bool
    max_crashes: int
    job_timeout: float
    log_problem: Callable[[ClaimedJob, str], object]
    may_claim: Callable[[], bool]
    wait: Callable[[ClaimedJob, float], bool]
    enter_turn: Callable[[ClaimedJob], AbstractContextManager[bool]]
    ends_at: float = math.inf
    clock: Callable[[], float] = time.monotonic

    def work(self, job: ClaimedJob) -> Outcome | None:
        """Process a job and return its outcome; return ``None`` if another thread has set and reports the result."""
        outcome = self.claim(job)
        return self.finish(job) if outcome is None else outcome

    def claim(self, job: ClaimedJob) -> Outcome | None:
        """
        Claim a job, unless an earlier process has claimed it.

        Returns:
            The outcome if this worker does not own the job; ``None`` if the job is claimed and `finish` must follow.
        """
        outcome = None if job.entry is None else self._restore(job, job.entry)
        return self._claim(job) if outcome is None and not job.is_claimed else outcome

    def finish(self, job: ClaimedJob) -> Outcome | None:
        """Run the handler of a claimed job and report the result; return the same values as `work`."""
        outcome = self._decide(job) if job.stage is Stage.CLAIMED else None
        if outcome is not None:
            return outcome
        return self.report(job) if job.stage is Stage.DECIDED and not job.is_given_up else None

    def clean_up(self, job: ClaimedJob) -> bool:
        """
        Remove what the handler of a job has left; return whether a problem was logged.

        It is called after the report, in the thread that has called `work`, so that a large workspace or a connection
        that hangs cannot change or delay the result.
        """
        if job.clean_up is None:
            return False
        job.clean_up_ends_at = self.clock() + CLEAN_UP_SECONDS
        try:
            problems = job.clean_up()
        except KeyboardInterrupt:
            job.was_interrupted = True
            problems = ("the job could not be closed: KeyboardInterrupt",)
        job.clean_up = None
        for problem in problems:
            self.log_problem(job, problem)
        return bool(problems)

    def report(self, job: ClaimedJob) -> Outcome:
        """Report the result of a job."""
        return self.steps.report(job, partial(self.wait, job))

    def fail(self, job: ClaimedJob, message: str) -> Outcome | None:
        """
        Report a job as failed and do not wait for its handler, whose thread may continue to run.

        Return ``None`` if the job is not claimed, or already has a result.
        """
        failure = FailureDetails(type=FailureType.SYSTEM_UNAVAILABLE, message=message)
        if not job.is_claimed or not job.decide(failure, self.clock(), is_given_up=True):
            return None
        self.steps.notify("timed_out", job, message, failure_type=failure.type)
        return self.report(job)

    def seconds_left(self, job: ClaimedJob) -> float:
        """Return the seconds until the timeout of a claimed job, or until the process ends if that is earlier."""
        ends_at = min(self.claim_time(job) + self.job_timeout, self.ends_at)
        return max(0.0, ends_at - self.clock())

    def may_start(self, jobs: Iterable[ClaimedJob]) -> bool:
        """
        Return whether another job may be claimed.

        After handlers could not be started, only one job at a time is claimed, to test whether handlers can be started.
        """
        if self.engine.error is None:
            return True
        return self.engine.may_claim and all(job.stage in _STARTED and not job.is_starting for job in jobs)

    def withdraw(self, job: ClaimedJob) -> None:
        """Prevent the call of a job's handler; a handler that already runs continues."""
        job.withdraw()  # first, because a handler that was given to the engine before is then found by the engine
        if self.engine.withdraw(job):
            job.stop()

    def claim_time(self, job: ClaimedJob) -> float:
        """Return the time of a job's claim; the present time if the job is not claimed."""
        return self.clock() if job.claimed_at is None else job.claimed_at

    def _set_service_deadline(self, job: ClaimedJob) -> None:
        job.service_deadline = self.claim_time(job) + max(
            kind_of(job.offer).service_timeout, self.job_timeout + _REPORT_SECONDS
        )

    def _claim(self, job: ClaimedJob) -> Outcome | None:
        wait = partial(self.wait, job)
        outcome = self.steps.read(job, wait)
        if outcome is None and not job.is_inherited and not self.may_claim():
            outcome = HandedBack(job=job.offer)
        outcome = self.steps.claim(job, wait, self.may_claim) if outcome is None else outcome
        if outcome is None:
            self._set_service_deadline(job)
            self.steps.notify("claimed", job)
        return outcome

    def _restore(self, job: ClaimedJob, entry: JournalEntry) -> Outcome | None:
        """Restore the times of a job from the journal; return its outcome if this worker must not process it."""
        if job.is_claimed:
            age = max(0.0, time.time() - (entry.changed_at if entry.claimed_at is None else entry.claimed_at))
            job.claimed_at = self.clock() - age
            job.decided_at = None if job.result is None else self.clock() - max(0.0, time.time() - entry.changed_at)
            self._set_service_deadline(job)
        else:
            age = max(0.0, time.time() - entry.changed_at)
            longest = kind_of(job.offer).longest_timeout
            job.service_deadline = self.clock() - age + max(longest, self.job_timeout) + _REPORT_SECONDS
        if entry.scope is None:
            outcome = self._read_action_type(job)
            if outcome is not None:
                return outcome
            if job.details is None or job.details.data.action_type_id != self.action_type_id:
                return LostRace(job=job.offer)
        self.steps.notify("recovered", job, f"{entry.state.value} crashes={entry.crashes}")
        return None

    def _read_action_type(self, job: ClaimedJob) -> Outcome | None:
        """Read the details of a job that may belong to another worker; release it if they cannot be read soon."""
        ends_at = self.clock() + _READ_SECONDS
        outcome = self.steps.read(job, lambda seconds: self.clock() < ends_at and self.wait(job, seconds))
        if outcome is None or job.is_out_of_time(self.clock()):
            return outcome
        # CodePipeline may not find the job although it has not ended, because the job may be in another region.
        return Released(job=job.offer, error=getattr(outcome, "error", None) or "its details could not be read")

    def _decide(self, job: ClaimedJob) -> Outcome | None:
        """
        Run the handler of a claimed job, or set a failure as its result.

        Returns:
            The outcome if the job ended without a result; otherwise ``None``.
        """
        if job.was_running and not (self._can_run_again(job) and self.seconds_left(job)):
            job.decide(lost_failure(job.offer), self.clock())
            return None
        if job.details is None:
            outcome = self.steps.read(job, partial(self.wait, job))
            if outcome is not None:
                return outcome
        return self._run(job)

    def _can_run_again(self, job: ClaimedJob) -> bool:
        return self.is_idempotent and job.crashes < self.max_crashes

    def _run(self, job: ClaimedJob) -> Outcome | None:
        """Run the handler, and retry if it was not called or crashed; return the outcome if the handler cannot run."""
        for pause in pauses():
            with self.enter_turn(job) as may_run:
                if may_run and not self.seconds_left(job):
                    return self._end_after_timeout(job)
                if not may_run and job.stage is Stage.CLAIMED:
                    return self.steps.give_up(job, STOPPED)
                handler_run = self._start(job) if may_run else None
            if handler_run is None or isinstance(handler_run, LostRace):
                return handler_run
            if isinstance(handler_run, HandlerRun):
                self._accept(job, handler_run)
                return None
            if isinstance(handler_run, ProcessDiedError):
                is_open = job.count_crash(is_alone=handler_run.is_alone, is_isolated=handler_run.is_isolated)
            else:
                is_open = job.stop()
            outcome = self._handle_run_error(job, handler_run, pause) if is_open else None
            if outcome is not None or job.stage is not Stage.CLAIMED:
                return outcome
        raise AssertionError("pauses never end")  # pragma: no cover

    def _start(self, job: ClaimedJob) -> HandlerRun | Exception | LostRace | None:
        """
        Run the handler if this worker owns the job.

        Returns:
            The value of `Engine.run`; `NotHeldError` if the journal could not be written; `LostRace` if another worker
            owns the job; ``None`` if the job already has a result or has ended.
        """
        try:
            is_started = job.start(may_run_twice=self.is_idempotent)
            # The ownership is checked after `start`, because `start` may have written to the journal, which makes a
            # separate check unnecessary.
            if is_started and not self.steps.is_ours(job):
                return LostRace(job=job.offer)
        except JournalError as failure:
            return NotHeldError(str(failure))
        return self.engine.run(job, self.seconds_left(job)) if is_started else None

    def _end_after_timeout(self, job: ClaimedJob) -> Outcome | None:
        """
        End a job that timed out before its handler was called.

        The job is reported as failed only if a process ended unexpectedly while it ran the handler.  Otherwise the
        worker reports nothing, because the customer is not responsible, and waits until CodePipeline has timed the job
        out.
        """
        if job.was_running:
            job.decide(lost_failure(job.offer), self.clock())
            return None
        job.note_failure(self.clock(), _TOO_LATE)
        all(self.wait(job, pause) for pause in pauses())  # ends when the job has no time left, or the worker stops
        return self.steps.give_up(job, _TOO_LATE) if job.stage is Stage.CLAIMED else None

    def _accept(self, job: ClaimedJob, handler_run: HandlerRun) -> None:
        job.was_interrupted, job.clean_up = handler_run.was_interrupted, handler_run.clean_up  # before any Ctrl-C
        failure_type = handler_run.result.type if isinstance(handler_run.result, FailureDetails) else None
        if handler_run.failure:
            self.steps.notify(
                *("handler_failed", job, handler_run.error),
                failure_type=failure_type,
                where=handler_run.where,
                text=handler_run.failure,
            )
        job.note_success()
        if job.decide(handler_run.result, self.clock()) and handler_run.has_timed_out:
            message = str(getattr(handler_run.result, "message", ""))
            self.steps.notify("timed_out", job, message, failure_type=failure_type)

    def _handle_run_error(self, job: ClaimedJob, error: Exception, pause: float) -> Outcome | None:
        """Apply the failure policy to a handler that was not called, or whose process ended unexpectedly."""
        is_ours = isinstance(error, (NotHeldError, NotStartedError, ProcessDiedError))
        name = str(error) if is_ours else type(error).__name__
        row = classify(Step.RUN, error, Situation(is_claimed=True, can_run_again=self._can_run_again(job)))
        next_step = row.next
        detail = f"{name}: {row.reason}" if row.reason else name
        self.steps.notify("executor_failed", job, detail, party=row.party.value)
        if next_step is Next.END:
            return Gone(job=job.offer, error=name)
        if next_step is Next.FAIL:
            job.decide(lost_failure(job.offer), self.clock())
        if next_step in (Next.RETRY, Next.RENEW_TOKEN):  # the next process looks the token up again
            job.note_failure(self.clock(), name)
            # A processor must report the job before its process ends.
            if not self.wait(job, min(pause, self.seconds_left(job))):
                return self.steps.give_up(job, name)
        return None


def lost_failure(offer: AnyJob) -> FailureDetails:
    """Return the failure for a job whose worker or process ended unexpectedly while the handler ran."""
    message = f"The action's worker ended unexpectedly during job {offer.job_id[:100]}."
    return FailureDetails(type=FailureType.SYSTEM_UNAVAILABLE, message=message)
