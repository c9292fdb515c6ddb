"""How a worker stops, what its health shows, and what handlers that hang leave for others."""

from __future__ import annotations

import pickle
import threading
import time
from collections.abc import Iterator
from typing import Any

import attrs
import pytest
from support.worker_service import (
    ACTION_TYPE,
    CLIENT_ID,
    CLIENT_TOKEN,
    TOKENS,
    AnyJob,
    Instead,
    make_worker,
    running,
    succeed,
    until,
)

from cp_thirdparty import Continued, Succeeded, ThirdPartyJob, ThirdPartyJobClient
from cp_thirdparty.exceptions import WorkerStuckError
from cp_thirdparty.testing import Action, LocalCodePipeline, ManualClock
from cp_thirdparty.testing._wire import error_response
from cp_thirdparty.testing.faults import ServerError
from cp_thirdparty.worker import HandedBack, JobWorker, Outcome, WorkerHealth, _loop
from cp_thirdparty.worker._engines import ThreadEngine
from cp_thirdparty.worker._journal_writer import JournalWriter
from cp_thirdparty.worker._slots import Slots


@pytest.fixture
def service() -> Iterator[LocalCodePipeline]:
    """Give a running service with two customers."""
    with LocalCodePipeline(redelivery_delay=0.05, continuation_delay=0.0) as made:
        made.register_client(CLIENT_ID, CLIENT_TOKEN)
        made.register_client("client-2", "token-2")
        yield made


@pytest.fixture
def end() -> Iterator[threading.Event]:
    """Give an event that ends handlers, at the latest when the test ends."""
    event = threading.Event()
    yield event
    event.set()


_BOTH = {**TOKENS, "client-2": "token-2"}


# --- stop


def test_a_handler_sees_that_its_worker_stops(service: LocalCodePipeline) -> None:
    """It may save its progress, and another worker goes on from there."""
    began = threading.Event()

    def handle(job: AnyJob) -> Succeeded | Continued:
        if job.continuation_token:
            return Succeeded()
        began.set()
        until(lambda: job.stopping)
        return Continued(continuation_token="half")

    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    with running(make_worker(service, handle)) as first:
        assert began.wait(10)
    assert first.is_clean
    assert action.status not in ("Succeeded", "Failed")
    with running(make_worker(service, handle)):
        until(lambda: action.status == "Succeeded")


def test_a_worker_is_a_context_manager(service: LocalCodePipeline) -> None:
    """Its end stops a run of another thread, waits for it, and closes the clients; then the worker may run again."""
    clients: list[ThirdPartyJobClient] = []

    def connect() -> ThirdPartyJobClient:
        clients.append(service.client())
        return clients[-1]

    worker: JobWorker[Any] = JobWorker(connect, ACTION_TYPE, succeed, client_tokens=TOKENS, poll_interval=0.05)
    with worker as entered:
        assert entered is worker
        thread = threading.Thread(target=worker.run)
        thread.start()
        until(lambda: worker.health().is_ready)
    assert worker.health().state == "stopped"
    thread.join(10)
    assert not thread.is_alive()
    service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    with worker:
        assert len(worker.run_once()) == 1
    assert len(clients) == 4
    worker.close()


def test_calls_of_run_once_share_clients_and_take_turns(service: LocalCodePipeline) -> None:
    """Each call returns the outcomes of its own jobs, and none is lost."""
    connected: list[int] = []

    def connect() -> ThirdPartyJobClient:
        connected.append(1)
        return service.client()

    worker: JobWorker[Any] = JobWorker(connect, ACTION_TYPE, succeed, client_tokens=TOKENS, concurrency=2)
    actions = [service.start_action(ACTION_TYPE, client_id=CLIENT_ID) for _ in range(6)]
    outcomes: list[Outcome] = []
    threads = [threading.Thread(target=lambda: outcomes.extend(worker.run_once())) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    worker.close()
    assert {action.status for action in actions} == {"Succeeded"}
    assert {outcome.job.job_id for outcome in outcomes} == {action.jobs[0].id for action in actions}
    assert len(outcomes) == 6
    assert len(connected) == 2


def test_a_second_run_leaves_the_first_its_clients(service: LocalCodePipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused and closes nothing, and the first one goes on."""
    closed: list[ThirdPartyJobClient] = []
    monkeypatch.setattr(ThirdPartyJobClient, "close", lambda client: closed.append(client))  # noqa: PLW0108 - a method must be a function
    worker = make_worker(service)
    with running(worker):
        until(lambda: worker.health().is_ready)
        with pytest.raises(RuntimeError, match="already running"):
            worker.run()
        assert closed == []
        action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
        until(lambda: action.status == "Succeeded")
    assert len(closed) == 2


# --- customers whose jobs hang


def test_one_customer_gets_no_more_slots_than_allowed(end: threading.Event) -> None:
    """Jobs that hang leave slots for others; further jobs of the customer are not claimed."""

    def handle(job: AnyJob) -> Succeeded:
        if job.client_id == CLIENT_ID:
            end.wait(60)
        return Succeeded()

    clock = ManualClock()
    with LocalCodePipeline(clock=clock) as service:
        for client_id, client_token in _BOTH.items():
            service.register_client(client_id, client_token)
        hanging = [service.start_action(ACTION_TYPE, client_id=CLIENT_ID) for _ in range(3)]
        worker = make_worker(service, handle, client_tokens=_BOTH, concurrency=3, max_jobs_per_client=2)
        with running(worker):
            until(lambda: _count(hanging, "InProgress") == 2)
            others = [service.start_action(ACTION_TYPE, client_id="client-2") for _ in range(2)]
            until(lambda: _count(others, "Succeeded") == 2)
            assert _count(hanging, "InProgress") == 2
            end.set()
            until(lambda: worker.health().free_slots == 3)
            clock.advance(31)  # CodePipeline offers the third one again
            until(lambda: _count(hanging, "Succeeded") == 3)


def _count(actions: list[Action], status: str) -> int:
    return sum(action.status.value == status for action in actions)


def test_a_job_beyond_the_limit_of_its_customer_is_handed_back(service: LocalCodePipeline) -> None:
    """A single poll returns it as an outcome."""
    for _ in range(2):
        service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    outcomes = make_worker(service, max_jobs_per_client=1).run_once()
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["HandedBack", "Reported"]
    assert any(isinstance(outcome, HandedBack) for outcome in outcomes)


def test_the_default_grace_fits_into_30_seconds(service: LocalCodePipeline) -> None:
    """Kubernetes kills a container 30 s after SIGTERM: by then a job that hangs is reported, and the run has ended."""
    clock, begun, release = ManualClock(), threading.Event(), threading.Event()

    def handle(_job: AnyJob) -> Succeeded:
        begun.set()
        release.wait(60)
        return Succeeded()

    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    worker = make_worker(service, handle, clock=clock)
    try:
        with running(worker) as it:
            until(begun.is_set)
            service.faults.add("PutThirdPartyJobFailureResult", ServerError(), times=None)
            worker.stop()
            until(lambda: worker.health().state == "draining")
            clock.advance(19.9)
            assert worker.health().in_flight == 1
            clock.advance(0.2)  # the grace is over, and the job is reported as failed
            until(lambda: worker.health().oldest_unsent_result is not None)
            clock.advance(5.0)  # no more attempts
            it.join()
        assert it.is_clean is False
        assert action.status == "InProgress"  # CodePipeline has not accepted the report
    finally:
        release.set()


class _HangPastTimeout:
    """A handler that hangs, and the clock of its worker, which passes the timeout when it runs for so many jobs."""

    job_timeout = 60.0

    def __init__(self, end: threading.Event, jobs: int) -> None:
        self._end = end
        self._all_run = threading.Barrier(jobs, action=lambda: passed.append(self.job_timeout + 1))
        passed: list[float] = []
        self.clock = lambda: time.monotonic() + sum(passed)

    def handle(self, _job: AnyJob) -> Succeeded:
        self._all_run.wait(30)
        self._end.wait(30)
        return Succeeded()


def test_a_worker_whose_slots_all_hang_ends(service: LocalCodePipeline, end: threading.Event) -> None:
    """Its jobs were reported, and a supervisor can start it again."""
    actions = [service.start_action(ACTION_TYPE, client_id=CLIENT_ID) for _ in range(2)]
    hang = _HangPastTimeout(end, jobs=2)
    settings: dict[str, Any] = {"clock": hang.clock, "job_timeout": hang.job_timeout}
    worker = make_worker(service, hang.handle, concurrency=2, grace=0.2, **settings)
    with pytest.raises(WorkerStuckError) as caught:
        worker.run()
    assert set(caught.value.job_ids) == {action.jobs[0].id for action in actions}
    assert {action.status for action in actions} == {"Failed"}
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (copy.job_ids, str(copy)) == (caught.value.job_ids, str(caught.value))


def test_a_slot_that_is_free_again_in_time_keeps_the_worker(service: LocalCodePipeline, end: threading.Event) -> None:
    """A handler that ends within the grace after its timeout does no harm."""
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    hang = _HangPastTimeout(end, jobs=1)
    settings: dict[str, Any] = {"clock": hang.clock, "job_timeout": hang.job_timeout}
    worker = make_worker(service, hang.handle, concurrency=1, grace=5.0, **settings)
    with running(worker) as run:
        until(lambda: bool(worker.health().overdue))
        time.sleep(0.3)  # some ticks
        end.set()
        until(lambda: worker.health().free_slots == 1)
    assert action.status == "Failed"
    assert run.failure is None


def test_ctrl_c_at_the_end_of_a_run_releases_the_rest(
    service: LocalCodePipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The executor is closed, and the end is logged."""
    closed: list[str] = []

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(_loop.Loop, "_end_waiting_jobs_within", interrupt)
    monkeypatch.setattr(ThreadEngine, "close", lambda _: closed.append("engine"))
    monkeypatch.setattr(JournalWriter, "close", lambda *_: closed.append("journal"))
    worker = make_worker(service)
    worker.stop()
    with pytest.raises(KeyboardInterrupt):
        worker.run()
    assert closed == ["engine", "journal"]


# --- health


def test_a_worker_whose_slots_are_busy_is_alive(service: LocalCodePipeline, end: threading.Event) -> None:
    """A probe must not end it, although it does not poll."""
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)

    def handle(_job: AnyJob) -> Succeeded:
        end.wait(20)
        return Succeeded()

    worker = make_worker(service, handle, concurrency=1)
    assert (worker.health().is_alive, worker.health().is_ready) == (False, False)
    with running(worker):
        until(lambda: action.status == "InProgress")
        health = worker.health()
        assert (health.free_slots, health.is_alive, health.is_ready) == (0, True, True)
        assert health.seconds_since_loop is not None
        assert health.seconds_since_loop < 5
        end.set()
        until(lambda: worker.health().free_slots == 1)


def test_a_worker_whose_poll_hangs_is_not_alive(service: LocalCodePipeline, end: threading.Event) -> None:
    """The thread that watches goes on, but nothing is polled."""
    now = [0.0]

    polls = threading.Event()

    def wait(**_: Any) -> None:
        polls.set()
        end.wait(20)

    def connect() -> ThirdPartyJobClient:
        client = service.client()
        client._client.meta.events.register("before-send.codepipeline.PollForThirdPartyJobs", wait)
        return client

    worker: JobWorker[Any] = JobWorker(
        *(connect, ACTION_TYPE, succeed), client_tokens=TOKENS, poll_interval=0.05, clock=lambda: now[0]
    )
    with running(worker):
        assert polls.wait(10)
        assert worker.health().is_alive
        now[0] = 200.0
        time.sleep(0.3)  # a tick
        assert worker.health().seconds_since_loop == 200.0
        assert not worker.health().is_alive
        end.set()


def test_a_worker_whose_polls_fail_is_alive_and_not_ready(service: LocalCodePipeline) -> None:
    """A restart would not help, and a load balancer may look elsewhere."""
    service.faults.add("PollForThirdPartyJobs", Instead(error_response("InvalidNonceException", "no")))
    worker = make_worker(service, poll_interval=20.0)
    with running(worker):
        until(lambda: worker.health().poll_error is not None)
        assert (worker.health().is_alive, worker.health().is_ready) == (True, False)


_HEALTHY = WorkerHealth(
    state="running",
    in_flight=0,
    seconds_since_poll=1.0,
    poll_error=None,
    oldest_unsent_result=None,
    uncertain=(),
    undecodable=(),
    overdue=(),
    seconds_since_loop=120.0,
)


@pytest.mark.parametrize(
    "change",
    [
        {"state": "draining"},
        {"seconds_since_loop": 121.0},
        {"seconds_since_poll": None},
        {"poll_error": "TransportError"},
        {"journal_error": "disk full"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_keeps_a_worker_from_being_ready(change: dict[str, Any]) -> None:
    """Each of the conditions is looked at."""
    assert _HEALTHY.is_ready
    assert not attrs.evolve(_HEALTHY, **change).is_ready


def test_a_job_that_is_started_at_the_last_moment_is_reported_as_left(
    service: LocalCodePipeline, end: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A poll that takes long may return after the grace, while the run ends: then the worker did not end clean."""
    close = Slots.close

    def look_up(_client_id: str) -> str:
        end.wait(30)
        return CLIENT_TOKEN

    def launch_and_close(slots: Slots) -> None:
        loop = worker._loop
        assert loop is not None
        assert loop._poller._start_job(ThirdPartyJob(client_id=CLIENT_ID, job_id="job-1"), None)
        close(slots)
        assert not loop._poller._start_job(ThirdPartyJob(client_id=CLIENT_ID, job_id="job-2"), None)
        assert loop._poller.start_error is None

    monkeypatch.setattr(Slots, "close", launch_and_close)
    worker = make_worker(service, client_tokens=look_up)
    worker.stop()
    assert worker.run() is False
