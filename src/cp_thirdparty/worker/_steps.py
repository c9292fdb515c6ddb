"""
The calls to CodePipeline for one job: read its details, claim it, report its result.

The failure policy decides whether a failed call is retried.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from typing import Final, TypeVar

import attrs

from cp_thirdparty._base.text import show
from cp_thirdparty._core.backoff import FIRST_RETRY_PAUSE, LONGEST_RETRY_PAUSE, retry_pauses
from cp_thirdparty.enums import FailureType, JobStatus
from cp_thirdparty.exceptions import JournalError, ThirdPartyError, may_have_been_accepted
from cp_thirdparty.models import AnyJob, AnyJobDetails, FailureDetails
from cp_thirdparty.secrets import SecretStr
from cp_thirdparty.worker._claimed_job import ClaimedJob, Stage
from cp_thirdparty.worker._clients import Clients, find_limit, limit_calls
from cp_thirdparty.worker._failure_policy import (
    Next,
    NotHeldError,
    Party,
    Row,
    Situation,
    Step,
    classify,
    needs_new_clients,
)
from cp_thirdparty.worker._journal_writer import Notify
from cp_thirdparty.worker._kinds import AnyClient, kind_of
from cp_thirdparty.worker.outcomes import (
    Gone,
    HandedBack,
    LostRace,
    Outcome,
    Rejected,
    Released,
    Reported,
    Uncertain,
    Unsent,
)
from cp_thirdparty.worker.results import Result, without_optional_parts
from cp_thirdparty.worker.tokens import NoTokenError, TokenLookup

_T = TypeVar("_T")

# Seconds before the first retry, and maximum number of seconds before a retry.  Tests replace these two.
_FIRST_PAUSE: Final = FIRST_RETRY_PAUSE
_LONGEST_PAUSE: Final = LONGEST_RETRY_PAUSE

# Seconds for all attempts to claim a job.  CodePipeline offers the job to other workers after about 30 seconds.
_CLAIM_SECONDS: Final = 25.0

_RETRIES: Final = (Next.RETRY, Next.RENEW_TOKEN, Next.RECONNECT)


Wait = Callable[[float], bool]
"""Waits for the given number of seconds; returns ``False`` if there is no time left for another attempt."""

HoldJob = Callable[[ClaimedJob], float]
"""
Returns for how many seconds no other worker can take the job over, or 0 if another worker has it.

It may raise `JournalError`.
"""


def hold_without_lease(_job: ClaimedJob) -> float:
    """Return infinity: without a shared journal, no other worker can take the job over."""
    return math.inf


def _no_limit() -> float:
    return math.inf


@attrs.frozen
class StepFailure:
    """
    The failure of a step, after its last attempt.

    Attributes:
        error: The error of the last attempt.
        row: The row of the failure policy for this error.
        may_be_accepted: Whether CodePipeline may have accepted one of the attempts.
    """

    error: Exception
    row: Row
    may_be_accepted: bool

    @property
    def name(self) -> str:
        """Name of the error for messages and outcomes."""
        return error_name(self.error)


@attrs.frozen(kw_only=True)
class Steps:
    """
    The steps of a job.  Thread-safe.

    Attributes:
        clients: The clients that make the calls.
        tokens: Finds the client token for a client id; ``None`` for custom jobs, which have no client tokens.
        notify: Called with each event of a job.
        hold: Confirms that this worker still has the job.  It is called directly before a result is sent.  For a job
            from the journal it is also called before the job is acknowledged and before its handler runs.
        clock: Returns the time in seconds.
        look_up_seconds: Returns how many seconds are left for the look-up of a client token, if the process ends then.
    """

    clients: Clients
    tokens: TokenLookup | None
    notify: Notify
    hold: HoldJob = hold_without_lease
    clock: Callable[[], float] = time.monotonic
    look_up_seconds: Callable[[], float] = _no_limit

    def read(self, job: ClaimedJob, wait: Wait) -> Outcome | None:
        """Read the details of a job; return its outcome if the job cannot be continued, or ``None``."""
        if job.details is not None and job.stage is Stage.OFFERED:  # the poll has returned the details
            job.accept_details(job.details)
            return None

        def send(client: AnyClient, client_token: SecretStr | None) -> AnyJobDetails | ThirdPartyError:
            return self.clients.call(kind_of(job.offer).read, client, job.offer.job_id, client_token)

        response: AnyJobDetails | StepFailure = self._attempt(job, Step.READ, lambda: self.clients.reader, send, wait)
        if not isinstance(response, StepFailure):
            job.accept_details(response)
            return None
        failure = response
        if failure.row.next is Next.END:
            return Gone(job=job.offer, error=failure.name)
        if job.may_have_been_claimed:
            return self.give_up(job, failure.name)
        no_token = failure.error if isinstance(failure.error, NoTokenError) else None
        reason = failure.row.reason if no_token is None else str(no_token)
        return Rejected(job=job.offer, reason=reason, error=failure.name if no_token is None else no_token.error)

    def claim(self, job: ClaimedJob, wait: Wait, may_claim: Callable[[], bool]) -> Outcome | None:
        """Acknowledge a job; return ``None`` if this worker has claimed it, or the outcome of the job if not."""
        try:
            is_free = job.start_claim() and self.is_ours(job)
        except JournalError as failure:
            name = type(failure).__name__
            rejected = Rejected(job=job.offer, reason=show(str(failure)), error=name)
            return Released(job=job.offer, error=name) if job.is_inherited else rejected
        if not is_free:
            return LostRace(job=job.offer)
        if not job.is_inherited and not may_claim():  # the worker was stopped while this thread waited for the journal
            return HandedBack(job=job.offer)
        claim_deadline = self.clock() + _CLAIM_SECONDS

        def send(client: AnyClient, client_token: SecretStr | None) -> JobStatus | Exception:
            return self.clients.call(kind_of(job.offer).acknowledge, client, job.offer, job.details, client_token)

        def wait_for_claim(seconds: float) -> bool:
            return self.clock() + seconds <= claim_deadline and wait(seconds)

        response: JobStatus | StepFailure = self._attempt(
            job, Step.CLAIM, lambda: self.clients.reporter, send, wait_for_claim
        )
        outcome = _claim_outcome(job, response)
        if isinstance(outcome, (Uncertain, Released)) and job.is_out_of_time(self.clock()):
            outcome = Gone(job=job.offer, error="" if isinstance(response, JobStatus) else response.name)
        if outcome is None:
            job.claim(self.clock())
        return outcome

    def is_ours(self, job: ClaimedJob) -> bool:
        """
        Return whether the job still belongs to this worker, because no other worker has taken it over.

        Only a job of the journal and a job of a Lambda event can be taken over while it waits in this worker.

        Raises:
            JournalError: The journal cannot be read or written.
        """
        return not (job.is_inherited or job.is_from_event) or self.hold(job) > 0

    def report(self, job: ClaimedJob, wait: Wait) -> Outcome:
        """
        Report the result of a job, and return the outcome of the job.

        The report is retried until CodePipeline accepts the result, refuses every result, or no time is left.
        """
        may_be_accepted = job.may_be_reported
        while True:
            response = self._put(job, wait, may_be_accepted=may_be_accepted)
            result = _get_result(job)
            if response is None:
                return LostRace(job=job.offer)
            if not isinstance(response, StepFailure):
                return Reported(job=job.offer, result=result)
            failure = response
            if failure.row.next is Next.END_AS_REPORTED and not job.is_out_of_time(self.clock()):
                return Reported(job=job.offer, result=result, is_confirmed=False)
            if failure.row.next in (Next.END_AS_REPORTED, Next.END):
                return Gone(job=job.offer, error=failure.name)
            if failure.row.next not in (Next.SIMPLIFY_RESULT, Next.DROP_OPTIONAL_PARTS) or job.stage is Stage.ENDED:
                return self.give_up(job, failure.name)
            self.notify("call_failed", job, f"CodePipeline refused the result: {failure.name}")
            may_be_accepted = failure.may_be_accepted
            is_simplified = failure.row.next is Next.SIMPLIFY_RESULT
            simplified = _simplify_result(job.offer, result) if is_simplified else without_optional_parts(result)
            if simplified is not None:
                job.replace_result(simplified)
                continue
            job.note_failure(self.clock(), failure.name)
            job.note_report(may_be_accepted=may_be_accepted)
            if not wait(_LONGEST_PAUSE):
                return self.give_up(job, failure.name)

    def give_up(self, job: ClaimedJob, error: str) -> Outcome:
        """Return the outcome of a job that is or may be claimed, and that this worker cannot continue now."""
        if job.is_out_of_time(self.clock()):
            return Gone(job=job.offer, error=error)
        if job.result is not None:
            return Unsent(job=job.offer, result=job.result, error=error)
        return Released(job=job.offer, error=error)

    def _put(self, job: ClaimedJob, wait: Wait, *, may_be_accepted: bool) -> bool | StepFailure | None:
        """Send the result; return ``None`` if another worker has taken the job over."""
        is_lost = False

        def send(client: AnyClient, client_token: SecretStr | None) -> bool | Exception:
            nonlocal is_lost
            if not job.note_report(may_be_accepted=True):
                return NotHeldError("the job has ended")
            now = time.monotonic()
            try:
                seconds = self.hold(job)
            except JournalError as failure:
                return NotHeldError(str(failure))
            if not seconds:
                is_lost = True
                return NotHeldError("another worker has taken the job over")
            report = kind_of(job.offer).report
            # The call must end before another worker can take the job over.
            with limit_calls(min(now + seconds, find_limit())):
                return self.clients.call(report, client, job.offer.job_id, _get_result(job), client_token) or True

        def wait_if_ours(seconds: float) -> bool:
            return not is_lost and wait(seconds)

        reporter = lambda: self.clients.reporter  # noqa: E731
        response = self._attempt(job, Step.REPORT, reporter, send, wait_if_ours, may_be_accepted=may_be_accepted)
        return None if is_lost else response

    def _attempt(
        self,
        job: ClaimedJob,
        step: Step,
        find_client: Callable[[], AnyClient],
        send: Callable[[AnyClient, SecretStr | None], _T | Exception],
        wait: Wait,
        *,
        may_be_accepted: bool = False,
    ) -> _T | StepFailure:
        """
        Call ``send`` until it succeeds, the failure policy allows no retry, or no time is left.

        Args:
            job: The job.
            step: The step, for the failure policy.
            find_client: Returns the client for the next attempt; it may change after a reconnect.
            send: Makes one attempt with a client and a client token; returns the response or the error.
            wait: Waits before the next attempt.
            may_be_accepted: Whether CodePipeline may have accepted an earlier attempt.
        """
        has_renewed = False
        for pause in pauses():
            client = find_client()
            response = self._send_once(job, client, send)
            if not isinstance(response, Exception):
                job.note_success()
                return response
            situation = Situation(
                is_claimed=job.is_claimed,
                is_inherited=job.is_inherited,
                is_from_event=job.is_from_event,
                may_be_accepted=may_be_accepted,
            )
            row = classify(step, response, situation)
            may_be_accepted = may_be_accepted or (
                isinstance(response, ThirdPartyError) and may_have_been_accepted(response)
            )
            failure = StepFailure(response, row, may_be_accepted)
            if row.next not in _RETRIES or job.stage is Stage.ENDED:
                self._prepare_next_job(failure, client)
                return failure
            job.note_failure(self.clock(), failure.name if row.party is Party.PARTNER else "")
            if step is Step.REPORT:
                job.note_report(may_be_accepted=may_be_accepted)
            self.notify("call_failed", job, _describe(step, response), party=row.party.value)
            if row.next is Next.RECONNECT:
                self.clients.reconnect(client)
            if row.next is Next.RENEW_TOKEN:
                if self._renew_token(job) and not has_renewed:
                    has_renewed = True
                    continue
                if step is Step.READ and not job.is_claimed:
                    return failure
            if not wait(pause):
                return failure
        raise AssertionError("pauses never end")  # pragma: no cover

    def _prepare_next_job(self, failure: StepFailure, client: AnyClient) -> None:
        """Let the next job have new clients if this one stays unclaimed because of the credentials or the clock."""
        if failure.row.next is Next.REJECT and needs_new_clients(failure.error):
            self.clients.note_outdated(client)

    def _send_once(
        self,
        job: ClaimedJob,
        client: AnyClient,
        send: Callable[[AnyClient, SecretStr | None], _T | Exception],
    ) -> _T | Exception:
        if job.client_token is None and self.tokens is not None:
            client_token = self._look_up(job, self.tokens)
            if isinstance(client_token, NoTokenError):
                return client_token
            job.client_token = client_token
        return send(client, job.client_token)

    def _look_up(self, job: ClaimedJob, tokens: TokenLookup, *, is_refused: bool = False) -> SecretStr | NoTokenError:
        problem = tokens.refresh(job.offer.client_id, self.look_up_seconds()) if is_refused else None
        if problem is not None:
            self.notify("call_failed", job, str(problem))
        return tokens.find(job.offer.client_id, self.look_up_seconds())

    def _renew_token(self, job: ClaimedJob) -> bool:
        """Look up the client token again; return whether the token has changed."""
        if self.tokens is None:
            return False
        before = job.client_token
        client_token = self._look_up(job, self.tokens, is_refused=True)
        job.client_token = client_token if isinstance(client_token, SecretStr) else None
        return client_token != before


def error_name(error: Exception) -> str:
    """Return the class name of an error; for a failed look-up of a client token, of the error that it raised."""
    return (isinstance(error, NoTokenError) and error.error) or type(error).__name__


def _describe(step: Step, error: Exception) -> str:
    has_message = isinstance(error, (ThirdPartyError, NoTokenError, NotHeldError))
    return f"{step.name.lower()}: {error if has_message else error_name(error)}"


def _claim_outcome(job: ClaimedJob, response: JobStatus | StepFailure) -> Outcome | None:
    """Return the outcome of a job from the response to its acknowledgement; ``None`` if this worker has claimed it."""
    offer = job.offer
    if isinstance(response, JobStatus):
        return None if response == JobStatus.IN_PROGRESS else Gone(job=offer, error=show(response))
    next_step = response.row.next
    if next_step is Next.CONTINUE:
        return None
    if next_step is Next.LOSE_RACE:
        return LostRace(job=offer)
    if next_step is Next.END:
        return Gone(job=offer, error=response.name)
    if next_step is Next.END_AS_UNCERTAIN or response.may_be_accepted:
        return Uncertain(job=offer)
    rejected = Rejected(job=offer, reason=response.row.reason, error=response.name)
    return Released(job=offer, error=response.name) if job.is_inherited else rejected


def _get_result(job: ClaimedJob) -> Result:
    assert job.result is not None, "report() was called before the job had a result"  # noqa: S101 - a mistake of this library
    return job.result


def _simplify_result(offer: AnyJob, result: Result) -> Result | None:
    """
    Return a simpler result to report in place of one that CodePipeline refuses.

    Return ``None`` if the refused result was already the simplest one.
    """
    message = f"CodePipeline refused the result of job {offer.job_id[:100]}."
    shortest = FailureDetails(type=FailureType.JOB_FAILED, message=message)
    return without_optional_parts(result) or (None if result == shortest else shortest)


def pauses() -> Iterator[float]:
    """Yield the seconds to wait before each retry."""
    return retry_pauses(_FIRST_PAUSE, _LONGEST_PAUSE)
