"""What a worker does with the jobs that it, or another of its journal, has left behind."""

from __future__ import annotations

import attrs

from cp_thirdparty.enums import FailureType
from cp_thirdparty.models import FailureDetails, ThirdPartyJob
from cp_thirdparty.worker._lifecycle import Flight, Lifecycle, Wait
from cp_thirdparty.worker.journal import JournalEntry, JournalState
from cp_thirdparty.worker.outcomes import Gone, LostRace, Outcome, Rejected, Uncertain, Unsent


@attrs.frozen(kw_only=True)
class Left:
    """
    A job that goes on.

    Attributes:
        flight: With a result to report, or without one to run.

        was_sent: Whether the result may have been sent before.
    """

    flight: Flight
    was_sent: bool


@attrs.frozen(kw_only=True)
class Recovery:
    """
    Brings jobs back from a journal.

    Attributes:
        lifecycle: The steps of a job.

        is_idempotent: Whether a handler may run again.

        max_crashes: How many workers a job may kill.
    """

    lifecycle: Lifecycle
    is_idempotent: bool
    max_crashes: int

    def resume(self, entry: JournalEntry, wait: Wait) -> Left | Outcome:
        """Tell how a job goes on, or that it ends here."""
        if entry.state is JournalState.UNCERTAIN:
            return Uncertain(job=entry.job)
        if entry.state is JournalState.CLAIMING:
            return self._claimed_again(entry, wait)
        if entry.state is JournalState.RUNNING and self.is_idempotent and entry.crashes < self.max_crashes:
            return self._run_again(entry)
        result = self.lost(entry.job) if entry.result is None else entry.result
        client_token = self.lifecycle.token(entry.job)
        if isinstance(client_token, Rejected):
            self.lifecycle.note("release", entry.job)
            return Unsent(job=entry.job, result=result, error=client_token.error or "LookupError")
        flight = Flight(offer=entry.job, client_token=client_token, details=None)
        flight.decide(result)
        return Left(flight=flight, was_sent=entry.state is JournalState.RESULT)

    def lost(self, offer: ThirdPartyJob) -> FailureDetails:
        """Make the failure of a job whose worker has died."""
        message = f"The action's worker was lost in the middle of job {offer.job_id[:100]}."
        return FailureDetails(type=FailureType.SYSTEM_UNAVAILABLE, message=message)

    def _claimed_again(self, entry: JournalEntry, wait: Wait) -> Left | Outcome:
        """Acknowledge once more: it is known only now whether the service took the first one, and from whom."""
        flight = self._read(entry)
        if not isinstance(flight, Flight):
            return flight
        outcome = self.lifecycle.acknowledge(flight, wait)
        if outcome is None:
            self.lifecycle.note("running", entry.job)
            return Left(flight=flight, was_sent=False)
        if isinstance(outcome, (LostRace, Uncertain)):
            # Another worker may have it, so a failure might end that one's job.
            self.lifecycle.note("uncertain", entry.job)
            return Uncertain(job=entry.job)
        self.lifecycle.note("gone" if isinstance(outcome, Gone) else "release", entry.job)
        return outcome

    def _run_again(self, entry: JournalEntry) -> Left | Outcome:
        flight = self._read(entry)
        return Left(flight=flight, was_sent=False) if isinstance(flight, Flight) else flight

    def _read(self, entry: JournalEntry) -> Flight | Outcome:
        flight = self.lifecycle.read(entry.job)
        if isinstance(flight, Flight):
            flight.crashes = entry.crashes
            return flight
        self.lifecycle.note("gone" if isinstance(flight, Gone) else "release", entry.job)
        return flight
