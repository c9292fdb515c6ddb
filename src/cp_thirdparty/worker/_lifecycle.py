"""The steps of one job, from its offer to its accepted result: read, claim, report.  Each ends in a typed outcome."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import Final

import attrs

from cp_thirdparty.client import ThirdPartyJobClient
from cp_thirdparty.enums import FailureType, JobStatus
from cp_thirdparty.exceptions import (
    InvalidClientTokenException,
    InvalidJobException,
    InvalidJobStateException,
    InvalidNonceException,
    InvalidRequestError,
    JobNotFoundException,
    JournalError,
    ResponseDecodeError,
    ThirdPartyError,
    ValidationException,
    is_already_reported,
    may_have_been_accepted,
)
from cp_thirdparty.models import FailureDetails, JobDetails, ThirdPartyJob
from cp_thirdparty.secrets import SecretStr
from cp_thirdparty.worker._calls import call_client
from cp_thirdparty.worker.events import EventHook, tell
from cp_thirdparty.worker.journal import JobScope, Journal
from cp_thirdparty.worker.outcomes import Gone, HandedBack, LostRace, Outcome, Rejected, Reported, Uncertain, Unsent
from cp_thirdparty.worker.results import Continued, Result, Succeeded
from cp_thirdparty.worker.tokens import TokenLookup

# Seconds between two attempts, with full jitter: a random part of a time that doubles up to the longest.
_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 30.0

# Seconds to try to claim a job.  The service offers it to others after about 30.
_CLAIM_SECONDS: Final = 25.0

Wait = Callable[[float], bool]
"""Waits that many seconds; ``False`` when there is no time left to try again."""


@attrs.define(kw_only=True)
class Flight:
    """
    A job that is in work in this process.  The first to decide its result wins.

    Attributes:
        offer: What the poll brought.

        client_token: The token of its client.

        details: What the service says of the job.

        cancelled: Set when the handler's result is no longer wanted.

        crashes: How many times a worker died while it ran the job.
    """

    offer: ThirdPartyJob
    client_token: SecretStr
    details: JobDetails | None
    cancelled: threading.Event = attrs.field(factory=threading.Event)
    crashes: int = 0
    result: Result | None = None
    _lock: threading.Lock = attrs.field(factory=threading.Lock, init=False)

    def decide(self, result: Result) -> bool:
        """Make this the job's result; ``False`` when it has one."""
        with self._lock:
            if self.result is not None:
                return False
            self.result = result
            return True


@attrs.frozen(kw_only=True)
class Lifecycle:
    """
    The steps of a job.  Thread-safe.

    Attributes:
        reader: Reads details.

        reporter: Acknowledges and reports; not the reader, with which it would share a quota of retries.

        tokens: Client ids to client tokens.

        journal: Remembers jobs, or ``None``.

        scope: The scope of the jobs in the journal; ``None`` without a journal.

        hook: Gets each event.
    """

    reader: ThirdPartyJobClient
    reporter: ThirdPartyJobClient
    tokens: TokenLookup
    journal: Journal | None
    scope: JobScope | None
    hook: EventHook | None

    # --- read

    def read(self, offer: ThirdPartyJob) -> Flight | Outcome:
        """Look up the token of a job and read its details."""
        client_token = self.token(offer)
        if not isinstance(client_token, SecretStr):
            return client_token
        found = self._details(offer, client_token)
        if isinstance(found, InvalidClientTokenException) and self.tokens.refresh(offer.client_id):
            client_token = self.token(offer)
            if not isinstance(client_token, SecretStr):
                return client_token
            found = self._details(offer, client_token)
        if isinstance(found, JobDetails):
            return Flight(offer=offer, client_token=client_token, details=found)
        error = type(found).__name__
        if isinstance(found, (JobNotFoundException, InvalidJobException)):
            return Gone(job=offer, error=error)
        reason = _READ_REASONS.get(type(found), "its details could not be read")
        return Rejected(job=offer, reason=reason, error=error)

    def token(self, offer: ThirdPartyJob) -> SecretStr | Rejected:
        """Look up the client token of a job."""
        try:
            client_token = self.tokens(offer.client_id)
        except Exception as failure:  # noqa: BLE001 - the partner's own code: one failed look-up costs one job
            error = type(failure).__name__
            return Rejected(job=offer, reason="its client token could not be looked up", error=error)
        return Rejected(job=offer, reason="no client token") if client_token is None else client_token

    def _details(self, offer: ThirdPartyJob, client_token: SecretStr) -> JobDetails | ThirdPartyError:
        read = self.reader.get_third_party_job_details
        return call_client(read, offer.job_id, client_token=client_token)

    # --- claim

    def claim(self, flight: Flight, wait: Wait) -> Outcome | None:
        """Acknowledge a job.  It is this worker's when there is no outcome yet."""
        offer = flight.offer
        try:
            if self.journal is not None and self.scope is not None and not self.journal.claim(offer, self.scope):
                return LostRace(job=offer)
        except JournalError as failure:
            return Rejected(job=offer, reason="the journal cannot be written", error=type(failure).__name__)
        outcome = self.acknowledge(flight, wait)
        if outcome is None:
            self.note("running", offer)
        elif isinstance(outcome, Uncertain):
            self.note("uncertain", offer)
        else:
            self.note("withdraw", offer)
        return outcome

    def acknowledge(self, flight: Flight, wait: Wait) -> Outcome | None:
        """Send the acknowledgement until its answer is known."""
        offer = flight.offer
        may_be_ours = False  # an earlier attempt of this call may have been accepted
        gives_up_at = time.monotonic() + _CLAIM_SECONDS
        for pause in _pauses():
            answer = self._acknowledge_once(flight)
            if answer is None:
                return None
            if isinstance(answer, JobStatus):
                return Gone(job=offer, error=str(answer))
            error = type(answer).__name__
            if isinstance(answer, InvalidNonceException):
                return None if may_be_ours else LostRace(job=offer)
            if isinstance(answer, (JobNotFoundException, InvalidJobException, InvalidJobStateException)):
                return Gone(job=offer, error=error)
            may_be_ours = may_be_ours or may_have_been_accepted(answer)
            # What may be ours is asked for to the end; what is not, the service offers again.
            is_final = answer.is_retry_safe is False and not may_be_ours
            self.tell("call_failed", offer, f"AcknowledgeThirdPartyJob {error}")
            if is_final or time.monotonic() + pause > gives_up_at or not wait(pause):
                rejected = Rejected(job=offer, reason="it could not be acknowledged", error=error)
                return Uncertain(job=offer) if may_be_ours else rejected
        raise AssertionError("pauses never end")  # pragma: no cover

    def _acknowledge_once(self, flight: Flight) -> ThirdPartyError | JobStatus | None:
        nonce = "" if flight.details is None else flight.details.nonce
        acknowledge = self.reporter.acknowledge_third_party_job
        status = call_client(acknowledge, flight.offer.job_id, nonce=nonce, client_token=flight.client_token)
        return None if status == JobStatus.IN_PROGRESS else status

    # --- report

    def report(self, flight: Flight, wait: Wait, *, was_sent: bool = False) -> Outcome:
        """
        Put the result of a job until it is accepted.

        Args:
            flight: A job whose result is decided.

            wait: Waits between two attempts.

            was_sent: Whether an earlier process may have put it.
        """
        result = flight.result
        assert result is not None, "the result is decided"  # noqa: S101 - a mistake of this library
        self.note("result", flight.offer, result)
        outcome = self._put(flight, result, wait, is_unsure=was_sent)
        if isinstance(outcome, Unsent):
            self.note("release", flight.offer)
        else:
            self.note("reported" if isinstance(outcome, Reported) else "gone", flight.offer)
        return outcome

    def _put(self, flight: Flight, result: Result, wait: Wait, *, is_unsure: bool) -> Outcome:
        offer = flight.offer
        may_refresh = True
        unknown: ThirdPartyError | None = None  # the latest failure after which the result may have been accepted
        for pause in _pauses():
            failure = self._put_once(flight, result)
            if failure is None:
                return Reported(job=offer, result=result)
            error = type(failure).__name__
            if isinstance(failure, InvalidClientTokenException) and may_refresh:
                may_refresh = False
                if self._refreshed(flight):
                    continue
            is_ours = is_unsure and isinstance(failure, InvalidJobStateException)
            if is_ours or is_already_reported(failure, unknown):
                return Reported(job=offer, result=result, is_confirmed=False)
            if isinstance(failure, _FINAL):
                return Gone(job=offer, error=error)
            if _is_about_result(failure):
                if result == _refused(offer):
                    return Gone(job=offer, error=error)
                result = flight.result = _refused(offer)
                self.note("result", flight.offer, result)
                self.tell("call_failed", offer, f"the result was refused: {error}")
                continue
            unknown = failure if may_have_been_accepted(failure) else unknown
            self.tell("call_failed", offer, f"{_operation_of(result)} {error}")
            if not wait(pause):
                return Unsent(job=offer, result=result, error=error)
        raise AssertionError("pauses never end")  # pragma: no cover

    def _put_once(self, flight: Flight, result: Result) -> ThirdPartyError | None:
        job_id, client_token = flight.offer.job_id, flight.client_token
        if isinstance(result, FailureDetails):
            put_failure = self.reporter.put_third_party_job_failure_result
            return call_client(put_failure, job_id, client_token=client_token, failure_details=result)
        return call_client(
            self.reporter.put_third_party_job_success_result,
            job_id,
            client_token=client_token,
            continuation_token=result.continuation_token if isinstance(result, Continued) else None,
            current_revision=result.current_revision,
            execution_details=result.execution_details,
        )

    def _refreshed(self, flight: Flight) -> bool:
        if not self.tokens.refresh(flight.offer.client_id):
            return False
        client_token = self.token(flight.offer)
        if not isinstance(client_token, SecretStr):
            return False
        flight.client_token = client_token
        return True

    # --- journal and events

    def note(self, step: str, offer: ThirdPartyJob, result: Result | None = None) -> None:
        """Write a step into the journal.  A claimed job goes on without: it must be reported all the same."""
        if self.journal is None:
            return
        try:
            if result is not None:
                self.journal.result(offer.job_id, result)
            elif step in ("reported", "gone"):
                self.journal.finish(offer.job_id, step)
            else:
                _STEPS[step](self.journal, offer.job_id)
        except JournalError as failure:
            self.tell("journal_failed", offer, f"{step}: {failure}")

    def tell(self, name: str, offer: ThirdPartyJob, detail: str = "", *, seconds: float | None = None) -> None:
        """Tell an event."""
        tell(name, offer, detail, seconds=seconds, hook=self.hook)

    def tell_outcome(self, outcome: Outcome, seconds: float | None = None) -> None:
        """Tell how a job ended."""
        name, detail = _told(outcome)
        self.tell(name, outcome.job, detail, seconds=seconds if name == "reported" else None)


_STEPS: Final[dict[str, Callable[[Journal, str], None]]] = {
    "running": lambda journal, job_id: journal.running(job_id),
    "uncertain": lambda journal, job_id: journal.uncertain(job_id),
    "withdraw": lambda journal, job_id: journal.withdraw(job_id),
    "release": lambda journal, job_id: journal.release(job_id),
}

_READ_REASONS: Final[dict[type[BaseException], str]] = {
    InvalidClientTokenException: "the service does not take its client token",
    InvalidRequestError: "its client token or id breaks a rule",
    ResponseDecodeError: "its details cannot be decoded",
}

_RESULT_PARAMETERS: Final = ("continuation_token", "current_revision", "execution_details", "failure_details")

_FINAL: Final = (JobNotFoundException, InvalidJobException, InvalidJobStateException, InvalidClientTokenException)


def _refused(offer: ThirdPartyJob) -> FailureDetails:
    """Make the failure for a result that the service does not take: as short as can be, so that nothing hangs."""
    message = f"CodePipeline refused the result of job {offer.job_id[:100]}."
    return FailureDetails(type=FailureType.JOB_FAILED, message=message)


def _operation_of(result: Result) -> str:
    is_success = isinstance(result, (Succeeded, Continued))
    return "PutThirdPartyJobSuccessResult" if is_success else "PutThirdPartyJobFailureResult"


def _is_about_result(failure: ThirdPartyError) -> bool:
    """Whether a result was refused for what is in it, and not for a setting or a token of ours."""
    if isinstance(failure, InvalidRequestError):
        return failure.parameter in _RESULT_PARAMETERS
    return isinstance(failure, ValidationException)


def _pauses() -> Iterator[float]:
    longest = _FIRST_PAUSE
    while True:
        yield random.uniform(0, longest)  # noqa: S311 - jitter
        longest = min(longest * 2, _LONGEST_PAUSE)


def _told(outcome: Outcome) -> tuple[str, str]:
    """Name the event of an outcome, and what more there is to say."""
    if isinstance(outcome, Reported):
        return "reported", type(outcome.result).__name__ + ("" if outcome.is_confirmed else " (not confirmed)")
    if isinstance(outcome, Gone):
        return "gone", outcome.error
    if isinstance(outcome, Rejected):
        return "rejected", outcome.reason + (f" ({outcome.error})" if outcome.error else "")
    if isinstance(outcome, Unsent):
        return "unsent", outcome.error
    return {LostRace: ("lost_race", ""), HandedBack: ("handed_back", ""), Uncertain: ("uncertain", "")}[type(outcome)]
