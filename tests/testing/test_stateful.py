"""
Several workers, lost responses and moving time: what holds of the local CodePipeline after any sequence of calls.

``python -m pytest --hypothesis-profile=fuzz tests/testing/test_stateful.py`` tries 5,000 sequences.
"""

from __future__ import annotations

import functools
from typing import Any

import botocore.session
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from cp_thirdparty._core.operations import CUSTOM, THIRD_PARTY, Operations
from cp_thirdparty.enums import ActionOwnerName
from cp_thirdparty.testing import Action, Job, LocalCodePipeline, ManualClock, samples
from cp_thirdparty.testing.faults import LostAnswer

_REDELIVERY, _CONTINUATION, _TIMEOUT = 30.0, 20.0, 100.0
_ENDED = ("Succeeded", "Failed", "TimedOut")
_WORKERS = 3

_lost = st.sampled_from([False, False, True])
_workers = st.integers(0, _WORKERS - 1)
_picks = st.sampled_from([0, 0, 0, 1, 2, 5])  # of the jobs that are known, the newest first


class Workers(RuleBasedStateMachine):
    """Workers that call in any order, and what each of them, and an onlooker, knows."""

    operations: Operations[Any, Any] = THIRD_PARTY
    owner: ActionOwnerName = "ThirdParty"

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock()
        self.service = LocalCodePipeline(
            clock=self.clock,
            redelivery_delay=_REDELIVERY,
            continuation_delay=_CONTINUATION,
            job_timeout=_TIMEOUT,
            custom_job_timeout=_TIMEOUT,
            journal_size=1,
        )
        self.service.register_client("client-1", "token")
        self.client: Any = _client_of(self.service)
        self.actions: list[Action] = []
        self.nonces: dict[str, str] = {}  # of custom jobs, which only polls bring
        self.known: list[str] = []  # job ids that a poll has brought to any worker
        self.winners: dict[str, int] = {}  # worker by job id
        self.results: dict[str, Job] = {}  # jobs as they were when their result was accepted
        self.tokens = 0

    def send(self, operation: str, *, lost: bool, **parameters: Any) -> tuple[bool, Any]:
        """Call, and return whether the service took it, and its response or ``None`` when none came."""
        if lost:
            self.service.faults.add(operation, LostAnswer())
        try:
            response = getattr(self.client, botocore.xform_name(operation))(**parameters)
        except ClientError as refused:
            response = refused.response
        except ConnectionClosedError:
            response = None
        assert (response is None) == lost
        return self.service.requests[-1].accepted, response

    def pick(self, pick: int) -> str:
        """Choose a job that is known, a late one rather than an early one."""
        return self.known[-1 - pick % len(self.known)]

    def pick_to_report(self, pick: int) -> str:
        """Choose a job to report on: mostly the one that was claimed last."""
        return next(reversed(self.winners)) if self.winners and pick == 0 else self.pick(pick)

    @initialize()
    def start_and_poll(self) -> None:
        """From the first call on there is a job to race for."""
        self.start()
        self.poll(1, lost=False)

    @rule()
    @precondition(lambda self: len(self.actions) < 4)
    def start(self) -> None:
        """A pipeline reaches an action."""
        client_id = "client-1" if self.operations.has_client_token else None
        self.actions.append(self.service.start_action(samples.action_type_id(owner=self.owner), client_id=client_id))

    @rule(seconds=st.sampled_from([1.0, _CONTINUATION, _REDELIVERY, _TIMEOUT]))
    def time_goes_by(self, seconds: float) -> None:
        """Time moves."""
        self.clock.advance(seconds)

    @rule(size=st.integers(1, 3), lost=_lost)
    def poll(self, size: int, lost: bool) -> None:  # noqa: FBT001 - hypothesis calls it by name
        """A worker learns of jobs, unless the response is lost."""
        jobs = self.ask(size, lost=lost)
        assert len(jobs) <= size
        self.nonces.update({self.id_of(job): job.get("nonce", "") for job in jobs})
        self.known += [self.id_of(job) for job in jobs if self.id_of(job) not in self.known]

    def ask(self, size: int, *, lost: bool) -> list[dict[str, Any]]:
        """Poll; return no jobs if the response is lost."""
        mine = {"category": "Test", "owner": self.owner, "provider": "ExampleScan", "version": "1"}
        _, response = self.send(self.operations.poll, lost=lost, actionTypeId=mine, maxBatchSize=size)
        return [] if response is None else list(response["jobs"])

    def id_of(self, job: dict[str, Any]) -> str:
        """Return the id of a job of a poll."""
        return str(job["jobId" if self.operations.has_client_token else "id"])

    def mine(self, job_id: str) -> dict[str, str]:
        """Return the parameters of each call about a job."""
        return {"jobId": job_id, **({"clientToken": "token"} if self.operations.has_client_token else {})}

    @rule(worker=_workers, pick=_picks, lost=_lost)
    @precondition(lambda self: self.known)
    def acknowledge(self, worker: int, pick: int, lost: bool) -> None:  # noqa: FBT001 - hypothesis passes it by name
        """A worker reads the details and tries to claim the job."""
        job_id = self.pick(pick)
        _, read = self.send(self.operations.details, lost=False, **self.mine(job_id))
        nonce = read["jobDetails"].get("nonce", self.nonces[job_id])
        accepted, response = self.send(self.operations.acknowledge, lost=lost, nonce=nonce, **self.mine(job_id))
        if accepted:
            assert job_id not in self.winners, "two winners"
            self.winners[job_id] = worker
        elif response is not None:
            assert response["Error"]["Code"] == "InvalidNonceException"

    @rule(lost=_lost)
    def claim_what_waits(self, lost: bool) -> None:  # noqa: FBT001 - hypothesis passes it by name
        """Time moves, and a worker does at once what it takes to claim the newest job."""
        self.time_goes_by(_REDELIVERY)
        self.poll(3, lost=False)
        self.acknowledge(0, 0, lost=lost)

    @rule(pick=_picks, lost=_lost, continues=st.booleans())
    @precondition(lambda self: self.known)
    def succeed(self, pick: int, lost: bool, continues: bool) -> None:  # noqa: FBT001 - hypothesis passes it by name
        """A worker reports a success, whether it has claimed the job or not."""
        job_id = self.pick_to_report(pick)
        action = self.action_of(job_id)
        before = action.jobs
        self.tokens += 1
        token = {"continuationToken": f"token-{self.tokens}"} if continues else {}
        self.put(self.operations.success, job_id, lost=lost, **token)
        new = action.jobs[len(before) :]
        if continues and self.service.requests[-1].accepted:
            (brought,) = new
            assert brought.continuation_token == f"token-{self.tokens}"
            assert brought.id not in {job.id for job in before}
            assert brought.nonce not in {job.nonce for job in before}
        else:
            assert new == ()

    @rule(pick=_picks, lost=_lost)
    @precondition(lambda self: self.known)
    def fail(self, pick: int, lost: bool) -> None:  # noqa: FBT001 - hypothesis passes it by name
        """A worker reports a failure, whether it has claimed the job or not."""
        failure = {"type": "JobFailed", "message": "no"}
        self.put(self.operations.failure, self.pick_to_report(pick), lost=lost, failureDetails=failure)

    def put(self, operation: str, job_id: str, *, lost: bool, **result: Any) -> None:
        """Report, and see that only a job in progress takes it."""
        status = self.job(job_id).status
        accepted, response = self.send(operation, lost=lost, **self.mine(job_id), **result)
        assert accepted == (status == "InProgress")
        if accepted:
            self.results[job_id] = self.job(job_id)
        elif response is not None:
            assert response["Error"]["Code"] == "InvalidJobStateException"

    def action_of(self, job_id: str) -> Action:
        """Find the action of a job."""
        return next(action for action in self.actions if any(job.id == job_id for job in action.jobs))

    def job(self, job_id: str) -> Job:
        """Find a job as it is now."""
        return next(job for job in self.action_of(job_id).jobs if job.id == job_id)

    @invariant()
    def accepted_results_are_final(self) -> None:
        """What was accepted stays."""
        for job_id, then in self.results.items():
            assert self.job(job_id) == then
            assert then.status in ("Succeeded", "Failed")
            assert then.result is not None

    @invariant()
    def results_come_from_claimed_jobs(self) -> None:
        """Nobody's job takes no result."""
        assert set(self.results) <= set(self.winners)

    @invariant()
    def an_action_has_one_living_job_or_has_ended(self) -> None:
        """Each job but the last has succeeded; the action runs as long as the last one."""
        for action in self.actions:
            *earlier, last = action.jobs
            assert all(job.status == "Succeeded" for job in earlier)
            assert (action.status in _ENDED) == (last.status in _ENDED)

    @invariant()
    def only_winners_work(self) -> None:
        """A job that was ever in progress has its winner."""
        for job in (job for action in self.actions for job in action.jobs):
            if job.status in ("InProgress", "Succeeded", "Failed"):
                assert job.id in self.winners

    def teardown(self) -> None:
        """Look whether polls still offer each job that nobody has claimed, whatever was lost."""
        self.clock.advance(_REDELIVERY)  # more than the next job of an action waits
        waiting = {job.id for action in self.actions for job in action.jobs if job.is_unclaimed}
        assert {self.id_of(job) for job in self.ask(100, lost=False)} == waiting
        self.client.close()


class CustomWorkers(Workers):
    """The same for jobs of a custom action."""

    operations = CUSTOM
    owner = "Custom"


@functools.cache
def _session() -> botocore.session.Session:
    """One for all, as it reads the service's model."""
    return botocore.session.get_session()


def _client_of(service: LocalCodePipeline) -> Any:
    """Botocore's own client, which tries once, and reaches the service without a socket."""
    client = _session().create_client(
        "codepipeline",
        region_name=service.region_name,
        aws_access_key_id=service.access_key_id,
        aws_secret_access_key=service.secret_access_key.get_secret_value(),
        config=Config(retries={"total_max_attempts": 1}),
    )
    service.attach(client)
    return client


@pytest.mark.hypothesis
@pytest.mark.parametrize("workers", [Workers, pytest.param(CustomWorkers, marks=pytest.mark.slow)])
def test_workers_that_race(workers: type[Workers]) -> None:
    """At most one winner a job, no job lost, each accepted result final, one new job for each continuation."""
    run_state_machine_as_test(workers, settings=settings(stateful_step_count=40))
