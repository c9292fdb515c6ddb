"""Jobs that ran in a process that died: those that may be the cause run alone, so that the others keep their tries."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import attrs
import pytest
from support.worker_service import (
    ACTION_TYPE,
    CLIENT_ID,
    CLIENT_TOKEN,
    AnyJob,
    Instead,
    SharedJournal,
    claim,
    make_worker,
    running,
    scope_of,
    succeed,
    until,
)

from cp_thirdparty import (
    ActionTypeId,
    FailureDetails,
    FailureType,
    JobDetails,
    SecretStr,
    Succeeded,
    ThirdPartyJob,
    ThirdPartyJobClient,
)
from cp_thirdparty.testing import Action, LocalCodePipeline, ManualClock
from cp_thirdparty.testing._wire import error_response
from cp_thirdparty.testing.faults import ServerError
from cp_thirdparty.worker import (
    Gone,
    JobScope,
    JournalEntry,
    JournalState,
    LostRace,
    MemoryJournal,
    Recovered,
    Released,
    Reported,
    _recovery,
)
from cp_thirdparty.worker._async_handlers import AsyncHandlers
from cp_thirdparty.worker._claimed_job import ClaimedJob
from cp_thirdparty.worker._clients import Clients
from cp_thirdparty.worker._emit import Emitter
from cp_thirdparty.worker._engines import ThreadEngine
from cp_thirdparty.worker._flow import JobFlow
from cp_thirdparty.worker._journal_writer import JournalWriter
from cp_thirdparty.worker._steps import Steps
from cp_thirdparty.worker.runner import Runner
from cp_thirdparty.worker.tokens import TokenLookup


@pytest.fixture
def service() -> Iterator[LocalCodePipeline]:
    """Give a running service that never offers a job again, so that only the journal brings it back."""
    with LocalCodePipeline(redelivery_delay=1000.0) as made:
        made.register_client(CLIENT_ID, CLIENT_TOKEN)
        yield made


class _Left(SharedJournal):
    """The journal of a worker that died with claimed jobs."""

    def __init__(self) -> None:
        super().__init__()
        self.changes: dict[str, dict[str, Any]] = {}

    def recover(self, scope: JobScope) -> Recovered:
        found = super().recover(scope).entries
        entries = tuple(attrs.evolve(entry, **self.changes.get(entry.job.job_id, {})) for entry in found)
        return Recovered(entries=entries, set_aside=())


def _leave(service: LocalCodePipeline, journal: _Left, **changes: Any) -> Action:
    """Claim a job as a worker that died in the middle of it."""
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    offer = ThirdPartyJob(client_id=CLIENT_ID, job_id=action.jobs[0].id)
    with service.client() as client:
        journal.claim(offer, scope_of(client))
        client.poll_for_third_party_jobs(ACTION_TYPE)
        claim(client, offer.job_id)
    journal.running(offer.job_id)
    journal.release(offer.job_id)
    journal.changes[offer.job_id] = changes
    return action


@attrs.define
class _Together:
    """A handler that notes which jobs run at the same time; one that need not run alone waits for another one."""

    alone: set[str] = attrs.field(factory=set)
    most: int = 0
    seen: list[frozenset[str]] = attrs.field(factory=list)
    _running: set[str] = attrs.field(factory=set)
    _lock: threading.Lock = attrs.field(factory=threading.Lock)

    def __call__(self, job: AnyJob) -> Succeeded:
        with self._lock:
            self._running.add(job.id)
            self.seen.append(frozenset(self._running))
            self.most = max(self.most, len(self._running))
        if job.id in self.alone:
            time.sleep(0.1)  # another handler could begin
        else:
            until(lambda: self.most > 1)
        with self._lock:
            self._running.discard(job.id)
        return Succeeded()


@pytest.mark.parametrize("changes", [{"is_suspect": True}, {"crashes": 1}], ids=str)
def test_suspects_run_one_at_a_time(service: LocalCodePipeline, changes: dict[str, Any]) -> None:
    """No other handler runs beside one of them, and none is claimed meanwhile."""
    journal = _Left()
    suspects = [_leave(service, journal, **changes) for _ in range(3)]
    others = [service.start_action(ACTION_TYPE, client_id=CLIENT_ID) for _ in range(3)]
    handler = _Together(alone={action.jobs[0].id for action in suspects})
    with running(make_worker(service, handler, journal=journal, is_idempotent=True, concurrency=8)):
        until(lambda: all(action.status == "Succeeded" for action in (*suspects, *others)))
    assert all(len(seen) == 1 for seen in handler.seen if seen & handler.alone)
    assert handler.most > 1  # the others ran together


def test_jobs_of_a_stopped_worker_run_together(service: LocalCodePipeline) -> None:
    """A job that was released is not a suspect."""
    journal = _Left()
    actions = [_leave(service, journal) for _ in range(3)]
    handler = _Together()
    with running(make_worker(service, handler, journal=journal, is_idempotent=True)):
        until(lambda: all(action.status == "Succeeded" for action in actions))
    assert handler.most > 1


def test_results_do_not_wait_for_a_suspect(service: LocalCodePipeline) -> None:
    """What needs no handler is reported at once, even if a suspect was left before it."""
    journal = _Left()
    suspect = _leave(service, journal, is_suspect=True)
    decided = _leave(service, journal)
    with service.client() as client:
        (entry,) = [
            entry for entry in journal.recover(scope_of(client)).entries if entry.job.job_id == decided.jobs[0].id
        ]
    journal.result(entry.job.job_id, Succeeded())
    for action in (suspect, decided):
        journal.release(action.jobs[0].id)
    release = threading.Event()

    def handle(_job: AnyJob) -> Succeeded:
        release.wait(30)
        return Succeeded()

    with running(make_worker(service, handle, journal=journal, is_idempotent=True, concurrency=2)):
        until(lambda: decided.status == "Succeeded")
        assert suspect.status == "InProgress"
        release.set()
        until(lambda: suspect.status == "Succeeded")


def test_a_suspect_that_cannot_start_before_the_stop_is_left(service: LocalCodePipeline) -> None:
    """It waits for a handler that hangs; the stop leaves it in the journal as it is."""
    journal = _Left()
    suspects = [_leave(service, journal, is_suspect=True) for _ in range(2)]
    release = threading.Event()

    def handle(_job: AnyJob) -> Succeeded:
        release.wait(30)
        return Succeeded()

    events: list[str] = []
    worker = make_worker(
        service,
        handle,
        journal=journal,
        is_idempotent=True,
        grace=0.1,
        on_event=lambda event: events.append(event.name),
    )
    with running(worker) as it:
        until(lambda: worker.health().in_flight == 2)
        time.sleep(0.2)
        worker.stop()
        it.join()
    release.set()
    assert it.is_clean is False
    assert [action.status for action in suspects] == ["InProgress", "InProgress"]
    assert events.count("released") == 2


def test_a_suspect_of_a_handler_that_may_not_run_again_is_failed(service: LocalCodePipeline) -> None:
    """The customer reads that the worker was lost."""
    journal = _Left()
    action = _leave(service, journal, is_suspect=True)
    make_worker(service, lambda _: pytest.fail("it ran"), journal=journal).run_once()
    assert isinstance(action.result, FailureDetails)
    assert action.result.type is FailureType.SYSTEM_UNAVAILABLE


# --- jobs that version 0.1 recorded, without their scope


def _entry(service: LocalCodePipeline, action: Action, state: JournalState, **more: Any) -> JournalEntry:
    offer = ThirdPartyJob(client_id=CLIENT_ID, job_id=action.jobs[0].id)
    with service.client() as client:
        client.poll_for_third_party_jobs(ACTION_TYPE, max_batch_size=1)
        claim(client, offer.job_id)
    return JournalEntry(job=offer, scope=None, state=state, changed_at=time.time(), **more)


class _Old(MemoryJournal):
    """A journal with one job of version 0.1."""

    def __init__(self, entry: JournalEntry) -> None:
        super().__init__()
        self.entry = entry
        self.released: list[str] = []

    def recover(self, scope: JobScope) -> Recovered:  # noqa: ARG002 - the entry has none
        return Recovered(entries=(self.entry,), set_aside=())

    def release(self, job_id: str, *, has_begun: bool = True) -> None:  # noqa: ARG002 - as its protocol has it
        self.released.append(job_id)


@pytest.mark.parametrize("state", [JournalState.RUNNING, JournalState.RESULT])
def test_an_old_job_of_another_action_type_is_left_alone(service: LocalCodePipeline, state: JournalState) -> None:
    """Its details name its owner: nothing is run and nothing reported."""
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    entry = _entry(service, action, state, result=Succeeded() if state is JournalState.RESULT else None)
    journal = _Old(entry)
    other = ActionTypeId(category="Test", owner="ThirdParty", provider="Another", version="1")
    worker = make_worker(service, lambda _: pytest.fail("it ran"), journal=journal, is_idempotent=True)
    worker._settings = attrs.evolve(worker._settings, action_type_id=other)
    (outcome,) = worker.run_once()
    assert outcome == LostRace(job=entry.job)
    assert (action.status, journal.released) == ("InProgress", [entry.job.job_id])


def test_an_old_job_of_this_action_type_goes_on(service: LocalCodePipeline) -> None:
    """A worker of this version finishes what one of version 0.1 has left."""
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    journal = _Old(_entry(service, action, JournalState.RUNNING))
    (outcome,) = make_worker(service, journal=journal, is_idempotent=True).run_once()
    assert isinstance(outcome, Reported)
    assert action.status == "Succeeded"


def test_a_job_that_is_in_work_is_not_taken_twice(service: LocalCodePipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """A journal that returns a job again does not make the worker run it again."""
    monkeypatch.setattr(_recovery, "_INTERVAL", 0.01)
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    journal = _Old(_entry(service, action, JournalState.RUNNING))
    release = threading.Event()
    runs: list[str] = []

    def handle(job: AnyJob) -> Succeeded:
        runs.append(job.id)
        release.wait(30)
        return Succeeded()

    with running(make_worker(service, handle, journal=journal, is_idempotent=True, poll_interval=0.01)) as it:
        until(lambda: len(runs) == 1)
        time.sleep(0.3)
        assert len(runs) == 1
        it.worker.stop()
        release.set()
        it.join()
    assert action.status == "Succeeded"


def test_a_suspect_that_waits_beyond_its_timeout_is_failed(service: LocalCodePipeline) -> None:
    """Its worker died in the middle of it, so the customer reads of it; its handler does not start any more."""
    clock = ManualClock()
    journal = _Left()
    actions = [_leave(service, journal, is_suspect=True) for _ in range(2)]
    release = threading.Event()
    runs: list[str] = []

    def handle(job: AnyJob) -> Succeeded:
        runs.append(job.id)
        release.wait(30)
        return Succeeded()

    with running(make_worker(service, handle, journal=journal, is_idempotent=True, clock=clock, job_timeout=60)):
        until(lambda: len(runs) == 1)
        clock.advance(61)
        until(lambda: all(action.status == "Failed" for action in actions))
        release.set()
    assert len(runs) == 1


def test_a_suspect_that_is_given_up_does_not_delay_the_next_one(
    service: LocalCodePipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next one begins although the failure of the first one cannot be reported."""
    clock = ManualClock()
    journal = _Left()
    now = time.time()
    first = _leave(service, journal, is_suspect=True, claimed_at=now - 50)
    second = _leave(service, journal, is_suspect=True, claimed_at=now)
    release = threading.Event()
    runs: list[str] = []

    def handle(job: AnyJob) -> Succeeded:
        runs.append(job.id)
        if job.id == first.jobs[0].id:
            release.wait(300)
        return Succeeded()

    read_details = ThirdPartyJobClient.get_third_party_job_details

    def read_in_order(client: ThirdPartyJobClient, job_id: str, *, client_token: SecretStr) -> JobDetails:
        if job_id == second.jobs[0].id:
            until(lambda: len(runs) == 1)
        return read_details(client, job_id, client_token=client_token)

    monkeypatch.setattr(ThirdPartyJobClient, "get_third_party_job_details", read_in_order)
    service.faults.add("PutThirdPartyJobFailureResult", ServerError(), times=None)
    with running(make_worker(service, handle, journal=journal, is_idempotent=True, clock=clock, job_timeout=60)):
        until(lambda: len(runs) == 1)
        time.sleep(0.2)  # the second one waits for its turn now; if not yet, the test is only less strict
        clock.advance(30)
        until(lambda: second.status == "Succeeded")
        assert first.status == "InProgress"
        service.faults.clear()
        until(lambda: first.status == "Failed")
        release.set()
    assert runs == [first.jobs[0].id, second.jobs[0].id]


def test_an_old_job_of_a_handler_that_may_not_run_again_is_failed(service: LocalCodePipeline) -> None:
    """Its details are read to find out whose it is; that does not make its handler run a second time."""
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    journal = _Old(_entry(service, action, JournalState.RUNNING))
    make_worker(service, lambda _: pytest.fail("it ran"), journal=journal).run_once()
    assert action.status == "Failed"


@pytest.mark.parametrize("state", [JournalState.CLAIMING, JournalState.RUNNING, JournalState.RESULT])
def test_an_old_job_whose_details_cannot_be_read_is_left_alone(service: LocalCodePipeline, state: JournalState) -> None:
    """Without its action type nobody knows which handler is the right one."""
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    entry = _entry(service, action, state, result=Succeeded() if state is JournalState.RESULT else None)
    service.faults.add("GetThirdPartyJobDetails", ServerError(), times=None)
    journal = _Old(entry)
    worker = make_worker(service, lambda _: pytest.fail("it ran"), journal=journal, is_idempotent=True, grace=0.05)
    worker.run_once()
    assert (action.status, journal.released) == ("InProgress", [entry.job.job_id])


def test_jobs_that_were_not_taken_up_before_the_stop_are_left(service: LocalCodePipeline) -> None:
    """There is room for one job: the others are released, reported, and taken up by the next run."""
    journal = _Left()
    actions = [_leave(service, journal) for _ in range(3)]
    decided = [_leave(service, journal) for _ in range(2)]
    with service.client() as client:
        journal.recover(scope_of(client))
    for action in decided:
        journal.result(action.jobs[0].id, Succeeded())
    journal.uncertain(actions[2].jobs[0].id)
    for action in (*actions, *decided):
        journal.release(action.jobs[0].id)
    service.faults.add("PutThirdPartyJobSuccessResult", ServerError(), times=None)
    events: list[str] = []
    worker = make_worker(
        *(service, succeed),
        journal=journal,
        is_idempotent=True,
        concurrency=1,
        grace=1.0,
        on_event=lambda event: events.append(event.name),
    )
    with running(worker) as it:
        until(lambda: worker.health().in_flight == 1)
        worker.stop()
        it.join()
    assert it.is_clean is False
    until(lambda: (events.count("released"), events.count("uncertain"), "unsent" in events) == (2, 1, True))
    service.faults.clear()

    def are_done_after_a_run() -> bool:
        make_worker(service, journal=journal, is_idempotent=True, concurrency=8).run_once()
        return [action.status for action in (*actions[:2], *decided)] == ["Succeeded"] * 4

    until(are_done_after_a_run)  # the thread of a job may release it a moment after the end of its run


def test_a_job_that_runs_alone_is_marked_in_the_journal(service: LocalCodePipeline) -> None:
    """If the process dies, only that job may be the cause: the others wait."""
    marks: list[tuple[str, bool]] = []

    class Marking(_Left):
        def running(self, job_id: str, *, crashes: int = 0, is_suspect: bool = False, is_alone: bool = False) -> None:
            marks.append((job_id, is_alone))
            super().running(job_id, crashes=crashes, is_suspect=is_suspect)

    journal = Marking()
    action = _leave(service, journal, is_suspect=True)
    marks.clear()
    make_worker(service, journal=journal, is_idempotent=True).run_once()
    assert action.status == "Succeeded"
    assert marks == [(action.jobs[0].id, True)]


def test_an_old_job_that_codepipeline_has_ended_for_sure_is_gone(service: LocalCodePipeline) -> None:
    """More than an hour after its last change nobody needs it any more, whoever had it."""
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    entry = attrs.evolve(_entry(service, action, JournalState.RUNNING), changed_at=time.time() - 4000)
    service.faults.add("GetThirdPartyJobDetails", Instead(error_response("JobNotFoundException", "no")))
    (outcome,) = make_worker(service, lambda _: pytest.fail("it ran"), journal=_Old(entry)).run_once()
    assert outcome == Gone(job=entry.job, error="JobNotFoundException")


def test_a_job_that_waits_when_the_slots_close_is_left(service: LocalCodePipeline) -> None:
    """A run that ends by an exception does not wait for handlers."""
    journal = _Left()
    action = _leave(service, journal)
    with service.client() as client:
        (entry,) = journal.recover(scope_of(client)).entries
        clients = Clients(service.client, Emitter())
        tokens = TokenLookup({CLIENT_ID: CLIENT_TOKEN})
        runner: Runner[Any] = Runner(connect=service.client, handler=succeed, configuration=None, tokens=tokens)
        flow = JobFlow(
            steps=Steps(clients=clients, tokens=tokens, notify=lambda *_, **__: None),
            engine=ThreadEngine(runner, clients, AsyncHandlers(), threading.Event(), Emitter()),
            action_type_id=ACTION_TYPE,
            is_idempotent=True,
            max_crashes=3,
            job_timeout=60.0,
            log_problem=lambda *_: None,
            may_claim=lambda: True,
            wait=lambda *_: False,
            enter_turn=lambda _: nullcontext(False),
        )
        writer = JournalWriter(journal, scope_of(client), lambda *_, **__: None, Emitter())
        job = ClaimedJob(entry.job, recorder=writer, began_at=0.0, entry=entry)
        assert flow.work(job) == Released(job=entry.job, error="the worker was stopped")
        clients.close()
    assert action.status == "InProgress"


def test_a_suspect_whose_time_is_over_waits_for_no_other(
    service: LocalCodePipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is reported at its timeout, although the handler beside which it must not run goes on."""
    monkeypatch.setattr(_recovery, "_INTERVAL", 0.0)
    clock = ManualClock()
    journal = _Left()
    suspect = _leave(service, journal, is_suspect=True, claimed_at=time.time() - 100)
    with service.client() as client:
        journal.recover(scope_of(client))  # the worker does not get it yet
    release = threading.Event()
    events: list[str] = []

    def handle(_job: AnyJob) -> Succeeded:
        release.wait(30)
        return Succeeded()

    def is_waiting() -> bool:
        clock.advance(0.1)  # the pauses between polls are by this clock
        return "recovered" in events

    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    settings: dict[str, Any] = {"clock": clock, "on_event": lambda event: events.append(event.name)}
    worker = make_worker(service, handle, journal=journal, is_idempotent=True, job_timeout=130, **settings)
    with running(worker):
        until(lambda: worker.health().in_flight == 1 and action.status == "InProgress")
        journal.release(suspect.jobs[0].id)
        until(is_waiting)
        clock.advance(40)
        until(lambda: suspect.status == "Failed")
        assert action.status == "InProgress"
        release.set()
        until(lambda: action.status == "Succeeded")
