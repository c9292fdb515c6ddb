"""What a worker does with the jobs that an earlier one has left in the journal."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import pytest
from botocore.config import Config
from support.worker_service import (
    ACTION_TYPE,
    CLIENT_ID,
    CLIENT_TOKEN,
    AnyJob,
    Before,
    Instead,
    claim,
    make_worker,
    running,
    scope_of,
    until,
)

from cp_thirdparty import (
    CustomJob,
    FailureDetails,
    FailureType,
    JobWorker,
    Succeeded,
    ThirdPartyJob,
    ThirdPartyJobClient,
)
from cp_thirdparty.exceptions import JournalError
from cp_thirdparty.testing import Action, LocalCodePipeline
from cp_thirdparty.testing._wire import error_response
from cp_thirdparty.testing.faults import LostAnswer, ServerError
from cp_thirdparty.worker import (
    Gone,
    JobEvent,
    JobScope,
    JournalEntry,
    JournalState,
    MemoryJournal,
    Outcome,
    Recovered,
    Released,
    Reported,
    SqliteJournal,
    Uncertain,
    Unsent,
    _loop,
    _poller,
    _recovery,
)
from cp_thirdparty.worker._claimed_job import ClaimedJob
from cp_thirdparty.worker._clients import Clients
from cp_thirdparty.worker._emit import Emitter
from cp_thirdparty.worker._journal_writer import JournalWriter
from cp_thirdparty.worker._recovery import Recovery

_DETAILS = "GetThirdPartyJobDetails"
_ACKNOWLEDGE = "AcknowledgeThirdPartyJob"
_REFUSED = Instead(error_response("InvalidClientTokenException", "no"))
_REFUSED_WITHOUT_REASON = Instead(error_response("SerializationException", "no"))


@pytest.fixture
def service() -> Iterator[LocalCodePipeline]:
    """Give a running service that never offers a job again, so that only the journal brings it back."""
    with LocalCodePipeline(redelivery_delay=1000.0) as made:
        made.register_client(CLIENT_ID, CLIENT_TOKEN)
        yield made


class _Left:
    """An action whose job another worker has brought to some state, with the journal that it has left."""

    def __init__(self, service: LocalCodePipeline) -> None:
        self.service = service
        self.action: Action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
        self.offer = ThirdPartyJob(client_id=CLIENT_ID, job_id=self.action.jobs[0].id)
        self.journal = MemoryJournal()
        with service.client() as client:
            self.journal.claim(self.offer, scope_of(client))
            client.poll_for_third_party_jobs(ACTION_TYPE)

    def grow_old(self, seconds: float) -> None:
        """Let what the journal has be older, as at a later start."""
        for key, entry in self.journal._unfinished.items():
            claimed_at = None if entry.claimed_at is None else entry.claimed_at - seconds
            old = attrs.evolve(entry, changed_at=entry.changed_at - seconds, claimed_at=claimed_at)
            self.journal._unfinished[key] = old
            if entry.job.job_id in self.journal._owned:
                self.journal._owned[entry.job.job_id] = old

    def acknowledge(self) -> None:
        with self.service.client() as client:
            claim(client, self.offer.job_id)

    def put(self) -> None:
        with self.service.client() as client:
            client.put_third_party_job_success_result(self.offer.job_id, client_token=CLIENT_TOKEN)

    def run_once(self, handler: Any = lambda _: Succeeded(), **settings: Any) -> Outcome:
        self.journal.release(self.offer.job_id)
        (outcome,) = make_worker(self.service, handler, journal=self.journal, **settings).run_once()
        assert outcome.job == self.offer
        return outcome

    @property
    def state(self) -> JournalState:
        (entry,) = self.journal.jobs()
        return entry.state


@pytest.fixture
def left(service: LocalCodePipeline) -> _Left:
    """Give a job that was about to be acknowledged."""
    return _Left(service)


def _never(_job: AnyJob) -> Succeeded:
    pytest.fail("it ran")


def test_a_claim_that_was_not_sent_is_sent(left: _Left) -> None:
    """The acknowledgement is accepted, so the job is run."""
    assert isinstance(left.run_once(), Reported)
    assert (left.action.status, left.state) == ("Succeeded", JournalState.DONE)


def test_a_claim_that_was_taken_is_uncertain(left: _Left) -> None:
    """An invalid nonce may be our own claim or another's: nothing is run and nothing reported."""
    left.acknowledge()
    assert left.run_once(_never) == Uncertain(job=left.offer)
    assert (left.action.status, left.state) == ("InProgress", JournalState.UNCERTAIN)


def test_an_uncertain_job_stays_and_is_reported_at_each_start(left: _Left) -> None:
    """Only an operator ends it."""
    left.acknowledge()
    left.journal.uncertain(left.offer.job_id)
    for _ in range(2):
        assert left.run_once(_never) == Uncertain(job=left.offer)
        assert left.state is JournalState.UNCERTAIN


def test_an_uncertain_job_ends_when_codepipeline_has_ended_it_for_sure(left: _Left) -> None:
    """No action type has more than twelve hours; its time counts from the first doubt, not from the last start."""
    left.acknowledge()
    left.journal.uncertain(left.offer.job_id)
    changed_at = next(iter(left.journal.jobs())).changed_at
    assert left.run_once(_never) == Uncertain(job=left.offer)
    assert next(iter(left.journal.jobs())).changed_at == changed_at
    left.grow_old(13 * 3600)
    assert left.run_once(_never) == Gone(job=left.offer, error="InvalidNonceException")
    assert left.state is JournalState.DONE


def test_a_claim_of_a_customer_who_left_ends_after_twelve_hours(left: _Left, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody can find out whether it was claimed.  Its row would be taken up at each start."""
    monkeypatch.setattr(_loop, "_MIN_SECONDS", 0.0)
    settings: dict[str, Any] = {"client_tokens": {}, "grace": 0.0}
    for hours, kind in ((11, Released), (2, Gone)):
        left.grow_old(hours * 3600)
        assert isinstance(left.run_once(_never, **settings), kind)
    assert left.state is JournalState.DONE


def test_a_result_that_is_refused_after_its_time_is_not_called_reported(left: _Left) -> None:
    """CodePipeline has ended the job: more likely by its timeout than by a result of the worker that died."""
    left.acknowledge()
    left.journal.running(left.offer.job_id)
    left.journal.result(left.offer.job_id, Succeeded())
    left.grow_old(2 * 3600)
    left.put()
    assert left.run_once(_never) == Gone(job=left.offer, error="InvalidJobStateException")


def test_a_result_that_seems_old_is_put_for_some_minutes(left: _Left) -> None:
    """The clock of the system may have jumped, so one failed attempt does not end the job."""
    left.acknowledge()
    left.journal.running(left.offer.job_id)
    left.journal.result(left.offer.job_id, Succeeded())
    left.grow_old(2 * 3600)
    left.service.faults.add("PutThirdPartyJobSuccessResult", ServerError(), times=4)
    assert isinstance(left.run_once(_never), Reported)
    assert left.action.status == "Succeeded"


def test_a_job_that_cannot_be_read_is_logged(left: _Left, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is named, and the worker goes on."""
    with closing(SqliteJournal(tmp_path / "jobs.db")) as journal, left.service.client() as client:
        journal.claim(ThirdPartyJob(client_id=CLIENT_ID, job_id="bad"), scope_of(client))
        journal.release("bad")
        journal._file.write(("UPDATE entries SET state = 'PAUSED'", ()))
        assert make_worker(left.service, journal=journal).run_once() == ()
    assert "job=bad is set aside: its state is unknown" in caplog.text


def test_jobs_that_no_worker_takes_over_are_logged(
    left: _Left, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Each scope has one line at the start.  Jobs of a living worker are its own business."""
    with (
        closing(SqliteJournal(tmp_path / "jobs.db")) as journal,
        closing(SqliteJournal(tmp_path / "jobs.db")) as other,
        left.service.client() as client,
    ):
        scope = scope_of(client)
        old_version = attrs.evolve(scope, action_type_id=attrs.evolve(ACTION_TYPE, version="0"))
        old_endpoint = attrs.evolve(scope, endpoint_url="https://old.example")
        for number, (each, is_left) in enumerate(
            [(old_version, True), (old_version, True), (old_version, False), (old_endpoint, True), (old_endpoint, True)]
        ):
            other.claim(ThirdPartyJob(client_id=CLIENT_ID, job_id=str(number)), each)
            if is_left:
                other.release(str(number))
        other.claim(ThirdPartyJob(client_id=CLIENT_ID, job_id="finished"), old_endpoint)
        other.finish("finished", "reported")
        journal.end("4")
        with running(make_worker(left.service, journal=journal)) as it:
            until(lambda: "unfinished jobs of another scope" in caplog.text)
        assert it.is_clean
    found = [(record.levelname, record.args) for record in caplog.records if "another scope" in record.getMessage()]
    assert sorted(found, key=str) == [
        ("WARNING", (1, scope.region_name, "https://old.example", "Test ThirdParty ExampleScan 1")),
        ("WARNING", (2, scope.region_name, scope.endpoint_url, "Test ThirdParty ExampleScan 0")),
    ]


@pytest.mark.parametrize("change", [lambda url: f"{url}/", str.upper])
def test_another_spelling_of_the_endpoint_takes_the_jobs_over(
    left: _Left, change: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slash that is added to the settings of a worker strands no job."""
    left.acknowledge()
    left.journal.result(left.offer.job_id, Succeeded())
    left.journal.release(left.offer.job_id)
    for name, value in left.service.environment().items():
        monkeypatch.setenv(name, value)
    url = change(left.service.endpoint_url).replace("HTTP", "http")
    connect = partial(ThirdPartyJobClient.create, endpoint_url=url, config=Config(proxies={}))
    worker = JobWorker(connect, ACTION_TYPE, _never, client_tokens={CLIENT_ID: CLIENT_TOKEN}, journal=left.journal)
    assert worker.run_once() == (Reported(job=left.offer, result=Succeeded()),)


def test_health_names_uncertain_jobs(left: _Left) -> None:
    """A worker that goes on shows what an operator should look at, and its end is not clean."""
    left.acknowledge()
    left.journal.release(left.offer.job_id)
    worker = make_worker(left.service, journal=left.journal)
    with running(worker) as it:
        until(lambda: worker.health().uncertain == (left.offer.job_id,))
    assert it.is_clean is False


def test_a_claim_of_a_job_that_is_gone_ends(left: _Left) -> None:
    """What the service does not know any more is done."""
    left.service.faults.add(_DETAILS, Instead(error_response("JobNotFoundException", "no")))
    assert left.run_once(_never) == Gone(job=left.offer, error="JobNotFoundException")
    assert left.state is JournalState.DONE


def test_a_claim_that_the_service_calls_gone_ends(left: _Left) -> None:
    """The same, when it is the acknowledgement that fails."""
    left.service.faults.add(_ACKNOWLEDGE, Instead(error_response("JobNotFoundException", "no")))
    assert left.run_once(_never) == Gone(job=left.offer, error="JobNotFoundException")
    assert left.state is JournalState.DONE


@pytest.mark.parametrize("operation_name", [_DETAILS, _ACKNOWLEDGE])
def test_a_claim_that_cannot_be_sent_now_is_left_for_later(left: _Left, operation_name: str) -> None:
    """An error that does not concern the job leaves it in the journal."""
    left.service.faults.add(operation_name, Instead(error_response("AccessDeniedException", "no")))
    assert isinstance(left.run_once(_never), Released)
    assert left.state is JournalState.CLAIMING
    assert isinstance(left.run_once(), Reported)


def test_a_job_that_was_running_is_failed(left: _Left) -> None:
    """A handler that is not idempotent is not run again; the customer reads why."""
    left.acknowledge()
    left.journal.running(left.offer.job_id)
    assert isinstance(left.run_once(_never), Reported)
    assert left.action.result == FailureDetails(
        type=FailureType.SYSTEM_UNAVAILABLE,
        message=f"The action's worker ended unexpectedly during job {left.offer.job_id}.",
    )


def test_an_idempotent_handler_runs_again(left: _Left) -> None:
    """A job that was running is run from its start."""
    left.acknowledge()
    left.journal.running(left.offer.job_id)
    seen: list[Any] = []

    def handle(job: AnyJob) -> Succeeded:
        seen.append(job.details)
        return Succeeded()

    assert isinstance(left.run_once(handle, is_idempotent=True), Reported)
    assert [details.id for details in seen] == [left.offer.job_id]
    assert left.action.status == "Succeeded"


def test_a_job_that_kills_its_workers_is_failed(left: _Left) -> None:
    """After so many crashes even an idempotent handler is not run again."""
    left.acknowledge()
    left.journal.running(left.offer.job_id, crashes=1)
    assert isinstance(left.run_once(_never, is_idempotent=True, max_crashes=1), Reported)
    assert left.action.status == "Failed"


def test_a_running_job_whose_details_cannot_be_read_now_is_left_for_later(left: _Left) -> None:
    """It is run again when they can, and the run that could not is not clean."""
    left.acknowledge()
    left.journal.running(left.offer.job_id)
    left.service.faults.add(_DETAILS, Instead(error_response("AccessDeniedException", "no")), times=None)
    outcome = left.run_once(_never, is_idempotent=True, grace=0.05)
    assert outcome == Released(job=left.offer, error="AccessDeniedError")
    assert left.state is JournalState.RUNNING
    left.service.faults.clear()
    assert isinstance(left.run_once(is_idempotent=True), Reported)


def test_a_result_is_put_again(left: _Left) -> None:
    """What the journal has is what is reported."""
    left.acknowledge()
    failure = FailureDetails(type=FailureType.JOB_FAILED, message="as it was")
    left.journal.result(left.offer.job_id, failure)
    assert left.run_once(_never) == Reported(job=left.offer, result=failure)
    assert (left.action.result, left.state) == (failure, JournalState.DONE)


def test_a_result_that_had_arrived_is_reported(left: _Left) -> None:
    """A worker that died after its put was accepted has reported; the worker cannot know it."""
    left.acknowledge()
    left.journal.result(left.offer.job_id, Succeeded())
    left.put()
    assert left.run_once(_never) == Reported(job=left.offer, result=Succeeded(), is_confirmed=False)


@pytest.mark.parametrize(
    ("faults", "expected"),
    [
        pytest.param((_REFUSED,), Gone, id="refused"),
        pytest.param((_REFUSED_WITHOUT_REASON,), Gone, id="refused without a reason"),
        pytest.param((ServerError(), _REFUSED), Reported, id="unknown, then refused"),
    ],
)
def test_a_result_that_codepipeline_refused_is_not_called_reported(
    left: _Left, faults: tuple[Any, ...], expected: type[Outcome]
) -> None:
    """The next worker knows from the journal whether the job may have ended by this result."""
    left.acknowledge()
    left.journal.result(left.offer.job_id, Succeeded(), may_be_accepted=False)
    for fault in faults:
        left.service.faults.add("PutThirdPartyJobSuccessResult", fault, times=None if isinstance(fault, Instead) else 1)
    assert isinstance(left.run_once(grace=0.05), Unsent)
    left.service.faults.clear()
    left.put()
    outcome = left.run_once(_never)
    assert isinstance(outcome, expected)
    assert getattr(outcome, "is_confirmed", False) is False


def test_a_result_that_is_being_reported_again_may_be_accepted(left: _Left) -> None:
    """If the worker dies during this attempt, the next one must not take the job for lost."""
    left.acknowledge()
    left.journal.result(left.offer.job_id, Succeeded(), may_be_accepted=False)
    during: list[bool] = []
    look = Before(lambda: during.extend(entry.may_be_accepted for entry in left.journal.jobs()))
    left.service.faults.add("PutThirdPartyJobSuccessResult", look)
    assert left.run_once(_never) == Reported(job=left.offer, result=Succeeded())
    assert during == [True]


def test_a_result_without_a_token_stays(left: _Left) -> None:
    """A token that is missing now may be there at the next start."""
    left.acknowledge()
    left.journal.result(left.offer.job_id, Succeeded())
    outcome = left.run_once(client_tokens={}, grace=0.05)
    assert outcome == Unsent(job=left.offer, result=Succeeded(), error="NoTokenError")
    assert left.state is JournalState.RESULT
    assert isinstance(left.run_once(), Reported)


def test_a_worker_takes_over_while_it_works(left: _Left, monkeypatch: pytest.MonkeyPatch) -> None:
    """What another worker of the journal leaves is found without a restart."""
    monkeypatch.setattr(_recovery, "_INTERVAL", 0.01)
    left.acknowledge()
    left.journal.result(left.offer.job_id, Succeeded())
    worker = make_worker(left.service, _never, journal=left.journal)
    with running(worker):
        until(lambda: worker.health().seconds_since_poll is not None)
        left.journal.release(left.offer.job_id)
        until(lambda: left.action.status == "Succeeded")


def _count_polls(service: LocalCodePipeline) -> int:
    return sum(record.operation_name == "PollForThirdPartyJobs" for record in service.requests)


def test_a_job_of_the_journal_does_not_shorten_the_pause_between_polls(
    left: _Left, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pause goes on when the job is taken up: CodePipeline counts the polls."""
    monkeypatch.setattr(_recovery, "_INTERVAL", 0.0)
    monkeypatch.setattr(_poller, "_CHECK_INTERVAL", 0.001)
    left.acknowledge()
    left.journal.result(left.offer.job_id, Succeeded())
    looks: list[int] = []
    recover = left.journal.recover

    def count(scope: JobScope) -> Recovered:
        looks.append(1)
        return recover(scope)

    monkeypatch.setattr(left.journal, "recover", count)
    worker = make_worker(left.service, _never, journal=left.journal, poll_interval=1000.0)
    before = _count_polls(left.service)
    with running(worker):
        until(lambda: worker.health().seconds_since_poll is not None)
        left.journal.release(left.offer.job_id)
        until(lambda: left.action.status == "Succeeded")
        seen = len(looks)
        until(lambda: len(looks) > seen + 3)
    assert _count_polls(left.service) == before + 1


def test_a_lost_response_of_a_recovered_claim_leaves_the_owner_unknown(left: _Left) -> None:
    """Its own attempt may have been accepted; but so may that of the worker before, or another one's."""
    left.service.faults.add(_ACKNOWLEDGE, LostAnswer())
    assert left.run_once(_never) == Uncertain(job=left.offer)


def test_the_journal_knows_that_a_job_begins_which_was_left_before_its_handler_began(left: _Left) -> None:
    """Otherwise the handler would run a second time if this worker dies too."""
    left.acknowledge()
    left.journal.running(left.offer.job_id)
    left.journal.release(left.offer.job_id, has_begun=False)
    assert left.state is JournalState.CLAIMED
    states: list[JournalState] = []

    def handle(_job: AnyJob) -> Succeeded:
        states.append(left.state)
        return Succeeded()

    assert isinstance(left.run_once(handle), Reported)
    assert states == [JournalState.RUNNING]


def _leave_unbegun(left: _Left) -> None:
    left.acknowledge()
    left.journal.running(left.offer.job_id)
    left.journal.release(left.offer.job_id, has_begun=False)


def _fail_writes(journal: MemoryJournal, failures: int) -> None:
    """Let a journal fail that many times to record that a job is running."""
    running_before = journal.running
    left = iter(range(failures))

    def fail(job_id: str, **more: Any) -> None:
        if next(left, None) is not None:
            raise JournalError("the disk is full")
        running_before(job_id, **more)

    journal.running = fail  # type: ignore[method-assign]


def test_a_job_that_was_left_unbegun_waits_for_the_journal(left: _Left) -> None:
    """Without its write the handler would run a second time if this worker dies too."""
    _leave_unbegun(left)
    _fail_writes(left.journal, 3)
    states: list[JournalState] = []

    def handle(_job: AnyJob) -> Succeeded:
        states.append(left.state)
        return Succeeded()

    events: list[JobEvent] = []
    assert isinstance(left.run_once(handle, on_event=events.append), Reported)
    assert states == [JournalState.RUNNING]
    detail = "the start of the handler could not be written to the journal"
    assert [event.detail for event in events if event.name == "executor_failed"] == [detail] * 3


def test_an_idempotent_job_that_was_left_unbegun_needs_no_journal(left: _Left) -> None:
    """Its handler may run again."""
    _leave_unbegun(left)
    _fail_writes(left.journal, 1)
    assert isinstance(left.run_once(is_idempotent=True), Reported)


# --- jobs that come too late


def _create_recovery(left: _Left) -> Recovery:
    with left.service.client() as client:
        writer = JournalWriter(left.journal, scope_of(client), lambda *_, **__: None, Emitter())
    return Recovery(writer, Emitter(), keep_finished=None, clock=time.monotonic)


def test_health_waits_for_no_lock_of_its_own_thread(left: _Left) -> None:
    """A handler of a signal may call it, and interrupts the thread that changes what it reads."""
    recovery = _create_recovery(left)
    found: list[object] = []

    def interrupt() -> None:
        with recovery._lock:
            found.append(recovery.uncertain)

    thread = threading.Thread(target=interrupt, daemon=True)
    thread.start()
    thread.join(5)
    assert found == [()]


def test_a_job_that_is_taken_over_after_the_end_is_released(left: _Left) -> None:
    """The thread that polls may still be reading the journal when the run ends."""
    left.journal.release(left.offer.job_id)
    recovery = _create_recovery(left)
    recovery.close()
    recovery.start()
    assert recovery.take() is None
    assert left.run_once().job == left.offer


@pytest.mark.parametrize("is_over", [False, True])
def test_a_job_whose_owner_is_unknown_is_released_while_there_is_time(left: _Left, *, is_over: bool) -> None:
    """The end of a run must not take as long as a large backlog does."""
    recovery = _create_recovery(left)
    recovery.note_uncertain(left.offer, since=None)
    recovery.close(lambda: is_over)
    assert [entry.is_owner_alive for entry in left.journal.jobs()] == [True if is_over else None]


def test_a_job_whose_owner_is_found_unknown_after_the_end_is_released(left: _Left) -> None:
    """The next run of the same process asks for it."""
    recovery = _create_recovery(left)
    recovery.close()
    recovery.note_uncertain(left.offer, since=None)
    with left.service.client() as client:
        (entry,) = left.journal.recover(scope_of(client)).entries
    assert entry.job == left.offer


@pytest.mark.parametrize("looks", [0, 1], ids=["postponed", "waiting"])
def test_a_job_that_was_claimed_anew_is_not_taken_up_again(
    left: _Left, looks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An offer has brought the job while its entry of the journal waited: the entry is of the time before."""
    monkeypatch.setattr("cp_thirdparty.worker._recovery._INTERVAL", 0.0)
    left.journal.release(left.offer.job_id)
    recovery = _create_recovery(left)
    recovery.start()
    entry = recovery.take()
    assert entry is not None
    recovery.postpone(entry)
    for _ in range(looks):
        recovery.check_journal()
    recovery.forget(left.offer)
    recovery.check_journal()
    assert recovery.take() is None


def test_a_claimed_job_whose_ownership_was_unknown_is_not_asked_for(
    left: _Left, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new offer of it was claimed, so the handler runs; what was unknown is of the time before."""
    monkeypatch.setattr("cp_thirdparty.worker._recovery._INTERVAL", 0.0)
    monkeypatch.setattr("cp_thirdparty.worker._recovery._UNCERTAIN_INTERVAL", 0.0)
    recovery = _create_recovery(left)
    recovery.note_uncertain(left.offer, since=None)
    recovery.forget(left.offer)
    recovery.check_journal()
    assert recovery.uncertain == ()
    assert recovery.take() is None


def _set_interval(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Let a worker look for jobs of dead workers after the seconds in the list, which the test may change."""
    interval = [0.0]
    monkeypatch.setattr(Recovery, "interval", property(lambda _: interval[0], lambda *_: None), raising=False)
    return interval


def test_an_offer_that_is_claimed_replaces_what_the_journal_had(
    service: LocalCodePipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The journal gives the job back while its offer waits for a token; CodePipeline would refuse a second claim."""
    interval = _set_interval(monkeypatch)
    looking_up, found = threading.Event(), threading.Event()
    journal = MemoryJournal()
    looks: list[bool] = []  # each look for jobs since the look-up of the token
    recover = journal.recover

    def give_back(scope: JobScope) -> Recovered:
        looks.extend([True] * looking_up.is_set())
        if len(looks) == 1 and not found.is_set():
            interval[0] = 1000.0
            entry = JournalEntry(job=offer, scope=scope, state=JournalState.CLAIMING, changed_at=time.time())
            return Recovered(entries=(entry,), set_aside=())
        return recover(scope)

    def look_up(_client_id: str) -> str:
        looking_up.set()
        found.wait(30)
        return CLIENT_TOKEN

    monkeypatch.setattr(journal, "recover", give_back)
    events: list[JobEvent] = []
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    offer = ThirdPartyJob(client_id=CLIENT_ID, job_id=action.jobs[0].id)
    worker = make_worker(service, journal=journal, client_tokens=look_up, on_event=events.append)
    with running(worker) as it:
        until(lambda: len(looks) == 1)
        polls = len(service.requests)
        until(lambda: len(service.requests) > polls + 1)  # what the journal gave back is postponed
        found.set()
        until(lambda: action.status == "Succeeded" and worker.health().in_flight == 0)
        interval[0] = 0.0
        until(lambda: len(looks) > 3)
    assert [event.name for event in events] == ["claimed", "reported"]
    assert it.is_clean is True


def test_a_job_that_waits_is_not_released(service: LocalCodePipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """The claim of an offer of the same job raises: the job is still this worker's, and another must not take it."""
    interval = _set_interval(monkeypatch)
    looking_up, found = threading.Event(), threading.Event()
    released: list[str] = []
    given: list[JournalEntry] = []

    class Journal(MemoryJournal):
        def recover(self, scope: JobScope) -> Recovered:
            if not looking_up.is_set() or given:
                return super().recover(scope)
            super().claim(offer, scope)
            given.append(JournalEntry(job=offer, scope=scope, state=JournalState.CLAIMING, changed_at=time.time()))
            interval[0] = 1000.0
            return Recovered(entries=tuple(given), set_aside=())

        def claim(self, job: ThirdPartyJob | CustomJob, scope: JobScope) -> bool:
            super().claim(job, scope)
            raise SystemExit

        def release(self, job_id: str, *, has_begun: bool = True) -> None:
            released.append(job_id)
            super().release(job_id, has_begun=has_begun)

    def look_up(_client_id: str) -> str:
        looking_up.set()
        found.wait(30)
        return CLIENT_TOKEN

    events: list[JobEvent] = []
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    offer = ThirdPartyJob(client_id=CLIENT_ID, job_id=action.jobs[0].id)
    worker = make_worker(service, journal=Journal(), client_tokens=look_up, on_event=events.append)
    with running(worker):
        until(lambda: len(given) == 1)
        polls = len(service.requests)
        until(lambda: len(service.requests) > polls + 1)  # what the journal gave back is postponed
        found.set()
        until(lambda: [event.name for event in events] == ["rejected"] and worker.health().in_flight == 0)
        polls = len(service.requests)
        until(lambda: len(service.requests) > polls + 1)  # the worker has repaired the journal meanwhile
        assert released == []
        interval[0] = 0.0
        until(lambda: action.status == "Succeeded" and worker.health().in_flight == 0)
    assert [event.name for event in events] == ["rejected", "recovered", "claimed", "reported"]


def test_a_job_that_waits_is_not_asked_about_twice(left: _Left, monkeypatch: pytest.MonkeyPatch) -> None:
    """All slots are busy, so an uncertain job waits from one look to the next."""
    monkeypatch.setattr("cp_thirdparty.worker._recovery._INTERVAL", 0.0)
    monkeypatch.setattr("cp_thirdparty.worker._recovery._UNCERTAIN_INTERVAL", 0.0)
    recovery = _create_recovery(left)
    recovery.note_uncertain(left.offer, since=None)
    for _ in range(3):
        recovery.check_journal()
    entry = recovery.take()
    assert entry is not None
    assert entry.job == left.offer
    assert recovery.take() is None


def test_a_job_that_is_postponed_after_the_end_is_released(left: _Left) -> None:
    """The poller may come to it late, and nobody would take the job over while this process is alive."""
    left.journal.release(left.offer.job_id)
    recovery = _create_recovery(left)
    recovery.start()
    entry = recovery.take()
    assert entry is not None
    assert recovery.close() == []
    recovery.postpone(entry)
    assert [each.is_owner_alive for each in left.journal.jobs()] == [None]


def test_a_job_that_was_postponed_comes_again(left: _Left, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the next look it is there, and at the end it is among the rest."""
    monkeypatch.setattr("cp_thirdparty.worker._recovery._INTERVAL", 0.0)
    left.journal.release(left.offer.job_id)
    recovery = _create_recovery(left)
    recovery.start()
    entry = recovery.take()
    assert entry is not None
    recovery.postpone(entry)
    assert recovery.take() is None
    recovery.check_journal()
    assert recovery.take() == entry
    recovery.postpone(entry)
    assert recovery.close() == [entry]


def test_a_job_that_is_taken_over_again_during_its_release_is_not_forgotten(
    left: _Left, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look for jobs may find it before its end was noted; no other worker takes it over while this one runs."""
    monkeypatch.setattr(_recovery, "_INTERVAL", 0.01)
    left.service.faults.add(_ACKNOWLEDGE, _REFUSED_WITHOUT_REASON)
    release, recover = left.journal.release, left.journal.recover
    looks: list[JobScope] = []

    def release_slowly(job_id: str, *, has_begun: bool = True) -> None:
        release(job_id, has_begun=has_begun)
        before = len(looks)
        until(lambda: len(looks) > before + 2)

    def look(scope: JobScope) -> Recovered:
        looks.append(scope)
        return recover(scope)

    left.journal.release(left.offer.job_id)
    monkeypatch.setattr(left.journal, "release", release_slowly)
    monkeypatch.setattr(left.journal, "recover", look)
    events: list[JobEvent] = []
    with running(make_worker(left.service, journal=left.journal, on_event=events.append)):
        until(lambda: left.action.status == "Succeeded")
    assert [event.name for event in events] == ["recovered", "released", "recovered", "claimed", "reported"]


def test_a_job_that_is_released_is_not_asked_about(left: _Left, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker that takes it over next asks about it."""
    monkeypatch.setattr("cp_thirdparty.worker._recovery._INTERVAL", 0.0)
    monkeypatch.setattr("cp_thirdparty.worker._recovery._UNCERTAIN_INTERVAL", 0.0)
    recovery = _create_recovery(left)
    recovery.note_uncertain(left.offer, since=None)
    recovery.check_journal()
    recovery.note_release(left.offer)
    assert recovery.take() is None
    assert recovery.uncertain == ()


def test_a_mistake_after_the_acknowledgement_leaves_the_owner_unknown(
    left: _Left, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exit in a hook may come after the request was sent."""
    call = Clients.call

    def leave(self: Clients, method: Any, *arguments: Any, **more: Any) -> Any:
        found = call(self, method, *arguments, **more)
        if method.__name__ == "acknowledge":
            raise SystemExit
        return found

    monkeypatch.setattr(Clients, "call", leave)
    assert left.run_once(_never) == Uncertain(job=left.offer)
    assert left.state is JournalState.UNCERTAIN


def test_a_release_concerns_one_job(left: _Left) -> None:
    """Another job, whose claim is being written, stays this worker's."""
    offers = [ThirdPartyJob(client_id=CLIENT_ID, job_id=name) for name in ("late", "claiming")]
    late, claiming = offers
    released: list[str] = []

    class Journal(MemoryJournal):
        def claim(self, job: ThirdPartyJob | CustomJob, scope: JobScope) -> bool:
            writer.release(late.job_id)
            return super().claim(job, scope)

        def release(self, job_id: str, *, has_begun: bool = True) -> None:  # noqa: ARG002 - as its protocol has it
            released.append(job_id)

    with left.service.client() as client:
        writer = JournalWriter(Journal(), scope_of(client), lambda *_, **__: None, Emitter())
    assert writer.claim(ClaimedJob(claiming, recorder=writer, began_at=0.0))
    assert released == [late.job_id]
