"""A journal with leases: the last thing before a result is sent is the check that this worker still has the job."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import attrs
import pytest
from support.worker_service import ACTION_TYPE, CLIENT_ID, CLIENT_TOKEN, SharedJournal, make_worker

from cp_thirdparty.testing import LocalCodePipeline
from cp_thirdparty.testing._wire import Response
from cp_thirdparty.testing.faults import ExpiredCredentials
from cp_thirdparty.worker import LostRace, Reported, Result

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

    def result(self, job_id: str, result: Result, *, may_be_accepted: bool = True) -> None:
        """Record the result."""
        self.calls.append(f"result {may_be_accepted}")
        super().result(job_id, result, may_be_accepted=may_be_accepted)

    def hold(self, _job_id: str) -> float:
        """Return for how long this worker has the job."""
        self.calls.append("hold")
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
