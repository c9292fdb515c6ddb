"""A journal with leases: the last thing before a result is sent is the check that this worker still has the job."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import attrs
import pytest
from support.worker_service import (
    ACTION_TYPE,
    CLIENT_ID,
    CLIENT_TOKEN,
    AnyJob,
    SharedJournal,
    claim,
    make_worker,
    scope_of,
)

from cp_thirdparty import Succeeded
from cp_thirdparty.exceptions import JournalError
from cp_thirdparty.testing import LocalCodePipeline
from cp_thirdparty.testing._wire import Response
from cp_thirdparty.testing.faults import ExpiredCredentials
from cp_thirdparty.worker import LostRace, Outcome, Released, Reported, Result

_SUCCESS = "PutThirdPartyJobSuccessResult"


@pytest.fixture
def service() -> Iterator[LocalCodePipeline]:
    """Give a running service with one customer."""
    with LocalCodePipeline() as made:
        made.register_client(CLIENT_ID, CLIENT_TOKEN)
        yield made


class _Leases(SharedJournal):
    """A journal that notes what is written before a result is sent, and for how long this worker has its jobs."""

    recovery_seconds = 1000.0

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []
        self.seconds = 60.0
        self.failures = 0

    def result(self, job_id: str, result: Result, *, may_be_accepted: bool = True) -> None:
        """Record the result."""
        self.calls.append(f"result {may_be_accepted}")
        super().result(job_id, result, may_be_accepted=may_be_accepted)

    def hold(self, _job_id: str) -> float:
        """Return for how long this worker has the job."""
        self.calls.append("hold")
        if self.failures:
            self.failures -= 1
            raise JournalError("the table cannot be written")
        return self.seconds


@attrs.frozen
class _Refused:
    """Something happens, and the service refuses the request, which takes no effect."""

    happen: Callable[[], object]

    def play(self, serve: Callable[[], Response]) -> Response:
        """Refuse."""
        self.happen()
        return ExpiredCredentials().play(serve)


def _run(service: LocalCodePipeline, journal: _Leases, happen: Callable[[], object]) -> Any:
    """Let the first attempt to report a job be refused; return its outcome."""
    service.faults.add(_SUCCESS, _Refused(happen))
    service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    with make_worker(service, journal=journal) as worker:
        (outcome,) = worker.run_once()
    return outcome


def test_nothing_is_between_the_check_and_the_attempt(service: LocalCodePipeline) -> None:
    """That an attempt follows is written before the check: a write that takes long must not outlast the lease."""
    journal = _Leases()
    assert isinstance(_run(service, journal, lambda: journal.calls.append("attempt")), Reported)
    assert journal.calls == ["result True", "hold", "attempt", "result False", "result True", "hold"]


def test_a_lease_that_is_lost_between_two_attempts_ends_the_job(service: LocalCodePipeline) -> None:
    """Another worker has the job, so the result is not resent."""
    journal = _Leases()
    assert isinstance(_run(service, journal, lambda: setattr(journal, "seconds", 0.0)), LostRace)
    assert [record.operation_name for record in service.requests].count(_SUCCESS) == 1


def _run_left(service: LocalCodePipeline, journal: _Leases, *, is_claimed: bool) -> tuple[Outcome, list[str]]:
    """Take over a job that another worker has left; return its outcome, and the ids for which the handler ran."""
    service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    with service.client() as client:
        # It was offered, so the poll of this worker does not return it a second time.
        (offer,) = client.poll_for_third_party_jobs(ACTION_TYPE)
        journal.claim(offer, scope_of(client))
        if is_claimed:
            claim(client, offer.job_id)
            journal.running(offer.job_id)
    journal.release(offer.job_id, has_begun=False)
    ran: list[str] = []

    def handle(job: AnyJob) -> Succeeded:
        ran.append(job.id)
        return Succeeded()

    with make_worker(service, handle, journal=journal) as worker:
        outcomes = worker.run_once()
    return outcomes[0], ran


def test_a_job_that_was_taken_over_while_it_waited_here_is_not_run(service: LocalCodePipeline) -> None:
    """This worker stood still after it had taken the job over, and another worker has taken it over since."""
    journal = _Leases()
    journal.seconds = 0.0
    outcome, ran = _run_left(service, journal, is_claimed=True)
    assert isinstance(outcome, LostRace)
    assert ran == []


def test_a_handler_waits_until_the_journal_confirms_that_the_job_is_ours(service: LocalCodePipeline) -> None:
    """The check fails twice, then the handler runs once."""
    journal = _Leases()
    journal.failures = 2
    outcome, ran = _run_left(service, journal, is_claimed=True)
    assert isinstance(outcome, Reported)
    assert ran == [outcome.job.job_id]


@pytest.mark.parametrize(("seconds", "failures", "outcome_type"), [(0.0, 0, LostRace), (60.0, 1, Released)])
def test_a_claim_that_may_be_another_workers_is_not_sent(
    service: LocalCodePipeline, seconds: float, failures: int, outcome_type: type[Outcome]
) -> None:
    """Otherwise this worker would run a job whose result it must not report."""
    journal = _Leases()
    journal.seconds, journal.failures = seconds, failures
    outcome, ran = _run_left(service, journal, is_claimed=False)
    assert isinstance(outcome, outcome_type)
    assert ran == []
    assert "AcknowledgeThirdPartyJob" not in [record.operation_name for record in service.requests]
