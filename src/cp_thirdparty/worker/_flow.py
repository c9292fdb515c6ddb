"""The way of one job from its offer, or from the journal, to its outcome."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Final

import attrs

from cp_thirdparty.enums import FailureType
from cp_thirdparty.models import ActionTypeId, AnyJob, FailureDetails
from cp_thirdparty.worker._claimed_job import ClaimedJob, Stage
from cp_thirdparty.worker._executors import Engine
from cp_thirdparty.worker._failure_policy import Next, NotStartedError, ProcessDiedError, Situation, Step, classify
from cp_thirdparty.worker._kinds import kind_of
from cp_thirdparty.worker._recovery import STOPPED
from cp_thirdparty.worker._steps import Steps, Wait, pauses
from cp_thirdparty.worker.journal import JournalEntry
from cp_thirdparty.worker.outcomes import Gone, HandedBack, LostRace, Outcome, Released
from cp_thirdparty.worker.runner import Ran

# How much longer CodePipeline waits than a worker with the default timeout, so that its report arrives.
_MARGIN: Final = 300.0


# Seconds to find out whose a job is.
_READ_SECONDS: Final = 25.0

# Stages of jobs whose handlers need not be started any more.
_STARTED: Final = (Stage.RUNNING, Stage.DECIDED, Stage.ENDED)

# The error of a job whose handler could not start before its timeout.
_TOO_LATE: Final = "its handler could not start in time"


def _make_room(_job: ClaimedJob) -> AbstractContextManager[bool]:
    return contextlib.nullcontext(True)


@attrs.frozen(kw_only=True)
class Flow:
    """
    Takes jobs through their steps.  Thread-safe.

    Attributes:
        steps: What is done against CodePipeline.
        engine: Runs handlers.
        action_type_id: Whose jobs these are.
        is_idempotent: Whether a handler may run again.
        max_crashes: In how many processes of its own a job may die.
        job_timeout: Seconds that a job may take after its claim.
        ends_at: When the process ends, by the clock; ``None`` if it has no end.
        log_problem: Logs what the end of a job left behind.
        may_claim: Returns whether the worker still claims jobs.
        wait: Waits between two attempts for a job.
        make_room: Returns a context that is entered when a handler may run beside the others.  Its value is ``False``
            if the handler must not run any more.
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
    make_room: Callable[[ClaimedJob], AbstractContextManager[bool]] = _make_room
    ends_at: float | None = None
    clock: Callable[[], float] = time.monotonic

    def work(self, job: ClaimedJob) -> Outcome | None:
        """Take a job to its outcome; return ``None`` if another thread has decided its result, and reports it."""
        outcome = self.claim(job)
        return self.finish(job) if outcome is None else outcome

    def claim(self, job: ClaimedJob) -> Outcome | None:
        """Claim a job, unless the journal has it as claimed; return its outcome if it is not this worker's."""
        outcome = None if job.entry is None else self._restore(job, job.entry)
        return self._claim(job) if outcome is None and not job.is_claimed else outcome

    def finish(self, job: ClaimedJob) -> Outcome | None:
        """Take a claimed job to its outcome, as `work` does."""
        outcome = self._decide(job) if job.stage is Stage.CLAIMED else None
        if outcome is not None:
            return outcome
        return self.report(job) if job.stage is Stage.DECIDED and not job.is_given_up else None

    def report(self, job: ClaimedJob) -> Outcome:
        """Report the result of a job."""
        return self.steps.report(job, self._wait_for(job))

    def seconds_left(self, job: ClaimedJob) -> float:
        """Return how many seconds a claimed job has before its timeout, or before the end of the process."""
        ends_at = self._claim_time(job) + self.job_timeout
        return max(0.0, (ends_at if self.ends_at is None else min(ends_at, self.ends_at)) - self.clock())

    def may_start(self, jobs: Iterable[ClaimedJob]) -> bool:
        """Whether handlers can be started, or none of the jobs in work finds out whether they can."""
        return self.engine.error is None or (self.engine.may_claim and all(job.stage in _STARTED for job in jobs))

    def withdraw(self, job: ClaimedJob) -> None:
        """Take a job back from where its handler waits for a process; one that has begun stays there."""
        if job.stage is Stage.RUNNING and self.engine.withdraw(job):
            job.stop()
        else:
            job.withdraw()

    def _wait_for(self, job: ClaimedJob) -> Wait:
        return lambda seconds: self.wait(job, seconds)

    def _claim_time(self, job: ClaimedJob) -> float:
        return self.clock() if job.claimed_at is None else job.claimed_at

    def _note_claim(self, job: ClaimedJob) -> None:
        job.gives_up_at = self._claim_time(job) + max(kind_of(job.offer).service_timeout, self.job_timeout + _MARGIN)

    def _claim(self, job: ClaimedJob) -> Outcome | None:
        wait = self._wait_for(job)
        outcome = self.steps.read(job, wait)
        if outcome is None and not job.is_inherited and not self.may_claim():
            outcome = HandedBack(job=job.offer)
        outcome = self.steps.claim(job, wait) if outcome is None else outcome
        if outcome is None:
            self._note_claim(job)
            self.steps.notify("claimed", job)
        return outcome

    def _restore(self, job: ClaimedJob, entry: JournalEntry) -> Outcome | None:
        """Prepare a job of the journal; return its outcome if it does not go on here."""
        if job.is_claimed:
            age = max(0.0, time.time() - (entry.changed_at if entry.claimed_at is None else entry.claimed_at))
            job.claimed_at = self.clock() - age
            job.decided_at = None if job.result is None else self.clock() - max(0.0, time.time() - entry.changed_at)
            self._note_claim(job)
        else:
            age = max(0.0, time.time() - entry.changed_at)
            longest = kind_of(job.offer).longest_timeout
            job.gives_up_at = self.clock() - age + max(longest, self.job_timeout) + _MARGIN
        if entry.scope is None:
            outcome = self._read_action_type(job)
            if outcome is not None:
                return outcome
            if job.details is None or job.details.data.action_type_id != self.action_type_id:
                return LostRace(job=job.offer)
        self.steps.notify("recovered", job, f"{entry.state.value} crashes={entry.crashes}")
        return None

    def _read_action_type(self, job: ClaimedJob) -> Outcome | None:
        """Read the details of a job that may be of another worker; leave it alone if they cannot be read soon."""
        ends_at = self.clock() + _READ_SECONDS
        outcome = self.steps.read(job, lambda seconds: self.clock() < ends_at and self.wait(job, seconds))
        if outcome is None or job.is_out_of_time(self.clock()):
            return outcome
        # Even a job that is not found may be one of another region, which this worker cannot see.
        return Released(job=job.offer, error=getattr(outcome, "error", None) or "its details could not be read")

    def _decide(self, job: ClaimedJob) -> Outcome | None:
        """Find the result of a claimed job; return its outcome if there is none."""
        if job.was_running and not (self._can_run_again(job) and self.seconds_left(job)):
            job.decide(lost_failure(job.offer), self.clock())
            return None
        if job.details is None:
            outcome = self.steps.read(job, self._wait_for(job))
            if outcome is not None:
                return outcome
        return self._run(job)

    def _can_run_again(self, job: ClaimedJob) -> bool:
        return self.is_idempotent and job.crashes < self.max_crashes

    def _run(self, job: ClaimedJob) -> Outcome | None:
        """Run the handler until it has ended; return the outcome of a job for which it cannot."""
        for pause in pauses():
            with self.make_room(job) as may_run:
                if may_run and not self.seconds_left(job):
                    return self._end_late(job)
                if not may_run and job.stage is Stage.CLAIMED:
                    return self.steps.give_up(job, STOPPED)
                if not may_run or not job.start():
                    return None
                ran = self.engine.run(job, self.seconds_left(job))
            if ran is None:
                return None
            if isinstance(ran, Ran):
                self._accept(job, ran)
                return None
            if isinstance(ran, ProcessDiedError):
                is_open = job.count_death(is_alone=ran.is_alone, is_isolated=ran.is_isolated)
            else:
                is_open = job.stop()
            outcome = self._go_on(job, ran, pause) if is_open else None
            if outcome is not None or job.stage is not Stage.CLAIMED:
                return outcome
        raise AssertionError("pauses never end")  # pragma: no cover

    def _end_late(self, job: ClaimedJob) -> Outcome | None:
        """
        End a job whose time is over.

        Only if a process died in the middle of it, the customer reads a failure.  A handler that never began is not the
        customer's fault: the job waits until CodePipeline has ended it.
        """
        if job.was_running:
            job.decide(lost_failure(job.offer), self.clock())
            return None
        job.note_failure(self.clock(), _TOO_LATE)
        all(self.wait(job, pause) for pause in pauses())  # until there is no time left, or the worker stops
        return self.steps.give_up(job, _TOO_LATE) if job.stage is Stage.CLAIMED else None

    def _accept(self, job: ClaimedJob, ran: Ran) -> None:
        for problem in ran.problems:
            self.log_problem(job, problem)
        if ran.failure:
            failure_type = ran.result.type if isinstance(ran.result, FailureDetails) else None
            self.steps.notify(
                *("handler_failed", job, ran.error), failure_type=failure_type, where=ran.where, text=ran.failure
            )
        job.note_success()
        job.was_interrupted = ran.was_interrupted
        if job.decide(ran.result, self.clock()) and ran.has_timed_out:
            self.steps.notify("timed_out", job, str(getattr(ran.result, "message", "")))

    def _go_on(self, job: ClaimedJob, error: Exception, pause: float) -> Outcome | None:
        """Apply the failure policy to a handler that did not end."""
        name = str(error) if isinstance(error, (NotStartedError, ProcessDiedError)) else type(error).__name__
        row = classify(Step.RUN, error, Situation(is_claimed=True, can_run_again=self._can_run_again(job)))
        following = row.next
        detail = f"{name}: {row.reason}" if row.reason else name
        self.steps.notify("executor_failed", job, detail, party=row.party.value)
        if following is Next.END:
            return Gone(job=job.offer, error=name)
        if following is Next.FAIL:
            job.decide(lost_failure(job.offer), self.clock())
        if following in (Next.RETRY, Next.RENEW_TOKEN):  # the next process looks the token up again
            job.note_failure(self.clock(), name)
            if not self.wait(job, pause):
                return self.steps.give_up(job, name)
        return None


def lost_failure(offer: AnyJob) -> FailureDetails:
    """Return the failure of a job whose worker or process has died while its handler ran."""
    message = f"The action's worker was lost in the middle of job {offer.job_id[:100]}."
    return FailureDetails(type=FailureType.SYSTEM_UNAVAILABLE, message=message)
