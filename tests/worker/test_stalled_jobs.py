"""Claimed jobs that wait for something of the partner's: a token, AWS credentials, a journal.  None of them is lost."""

from __future__ import annotations

import logging
import pickle
import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.worker_service import (
    ACTION_TYPE,
    CLIENT_ID,
    CLIENT_TOKEN,
    TOKENS,
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
    CustomJob,
    ExecutionDetails,
    FailureDetails,
    FailureType,
    JobWorker,
    Succeeded,
    ThirdPartyJob,
    ThirdPartyJobClient,
)
from cp_thirdparty.exceptions import CredentialsError, JournalError
from cp_thirdparty.testing import LocalCodePipeline, ManualClock
from cp_thirdparty.testing._wire import error_response
from cp_thirdparty.testing.faults import ExpiredCredentials, ServerError
from cp_thirdparty.worker import (
    FinishedOutcome,
    Gone,
    JobEvent,
    JobProcessor,
    JobScope,
    JournalState,
    MemoryJournal,
    Recovered,
    Reported,
    SetAside,
    Uncertain,
    _poller,
    _recovery,
    _steps,
)
from cp_thirdparty.worker._claimed_job import ClaimedJob
from cp_thirdparty.worker._emit import Emitter
from cp_thirdparty.worker._journal_writer import JournalWriter
from cp_thirdparty.worker.tokens import TokenLookup

_DETAILS = "GetThirdPartyJobDetails"
_ACKNOWLEDGE = "AcknowledgeThirdPartyJob"
_SUCCESS = "PutThirdPartyJobSuccessResult"


@pytest.fixture
def service() -> Iterator[LocalCodePipeline]:
    """Give a running service with one customer, which soon offers a job again."""
    with LocalCodePipeline(redelivery_delay=0.05) as made:
        made.register_client(CLIENT_ID, CLIENT_TOKEN)
        yield made


class _Store:
    """A token store whose token changes, vanishes or cannot be read."""

    def __init__(self) -> None:
        self.found: Any = CLIENT_TOKEN

    def __call__(self, _client_id: str) -> str | None:
        if isinstance(self.found, Exception):
            raise self.found
        token: str | None = self.found
        return token


@pytest.mark.parametrize(
    "found", ["the old one", "", None, ConnectionError("no")], ids=["old", "empty", "none", "raises"]
)
def test_a_result_waits_for_a_good_token(service: LocalCodePipeline, found: Any) -> None:
    """The token was changed while the handler ran: health names the job, and the new token sends the result."""
    store = _Store()

    def handle(_job: AnyJob) -> Succeeded:
        service.register_client(CLIENT_ID, "the new one")
        store.found = found
        return Succeeded()

    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    worker = make_worker(service, handle, client_tokens=store)
    with running(worker) as it:
        until(lambda: worker.health().stalled == (action.jobs[0].id,))
        assert action.status == "InProgress"
        store.found = "the new one"
        until(lambda: action.status == "Succeeded")
        until(lambda: worker.health().stalled == ())
    assert it.is_clean is True


def test_a_result_without_a_token_ends_with_codepipelines_timeout(service: LocalCodePipeline) -> None:
    """After an hour no result can arrive: the job ends as gone, with the reason for the operator."""
    clock = ManualClock()
    store = _Store()
    events: list[JobEvent] = []

    def handle(_job: AnyJob) -> Succeeded:
        store.found = None
        service.register_client(CLIENT_ID, "the new one")
        return Succeeded()

    service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    worker = make_worker(service, handle, client_tokens=store, clock=clock, on_event=events.append)
    with running(worker):
        until(lambda: bool(worker.health().stalled))
        clock.advance(3599)
        time.sleep(0.1)
        assert worker.health().stalled
        clock.advance(2)
        until(lambda: not worker.health().stalled)
    assert ("gone", "NoTokenError") in [(event.name, event.detail) for event in events]


def test_a_result_that_codepipeline_never_accepted_is_not_a_clean_end(service: LocalCodePipeline) -> None:
    """CodePipeline fails for an hour: the job ends as gone, and the return value shows that a result was lost."""
    clock = ManualClock()
    service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    service.faults.add(_SUCCESS, ServerError(), times=None)
    worker = make_worker(service, clock=clock)
    with running(worker) as it:
        until(lambda: worker.health().oldest_unsent_result is not None)
        clock.advance(3601)
        until(lambda: worker.health().in_flight == 0)
    assert it.is_clean is False


def test_an_action_type_that_is_missing_after_a_claim_is_the_partners(service: LocalCodePipeline) -> None:
    """Health names the job, and its result arrives when the action type is there again."""
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    service.faults.add(_SUCCESS, Instead(error_response("ActionTypeNotFoundException", "no")), times=None)
    worker = make_worker(service)
    with running(worker) as it:
        until(lambda: worker.health().stalled == (action.jobs[0].id,))
        service.faults.clear()
        until(lambda: action.status == "Succeeded")
    assert it.is_clean is True


@pytest.mark.parametrize("code", ["SerializationException", "InvalidParameterException"])
def test_a_result_is_reported_without_refused_optional_parts(service: LocalCodePipeline, code: str) -> None:
    """Whatever the reason, the result is reported without them.  A result without them never becomes a failure."""
    plain = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    service.faults.add(_SUCCESS, Instead(error_response(code, "no")), times=3)
    (outcome,) = make_worker(service).run_once()
    assert (outcome, plain.status) == (Reported(job=outcome.job, result=Succeeded()), "Succeeded")
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    service.faults.add(_SUCCESS, Instead(error_response(code, "no")), times=1)
    detailed = Succeeded(execution_details=ExecutionDetails(summary="fine"))
    (outcome,) = make_worker(service, lambda _: detailed).run_once()
    assert (outcome, action.status) == (Reported(job=outcome.job, result=Succeeded()), "Succeeded")


def test_health_names_the_jobs_that_the_journal_keeps(service: LocalCodePipeline) -> None:
    """A job that an earlier worker may have claimed, of a customer without a token, waits for a later attempt."""
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    offer = ThirdPartyJob(client_id=CLIENT_ID, job_id=action.jobs[0].id)
    journal = SharedJournal()
    with service.client() as client:
        journal.claim(offer, scope_of(client))
        claim(client, offer.job_id)
    journal.release(offer.job_id)
    worker = make_worker(service, journal=journal, client_tokens={}, grace=0.1)
    with running(worker) as it:
        until(lambda: worker.health().kept == (offer.job_id,))
    assert it.is_clean is False


def test_the_end_of_a_job_is_written_when_the_journal_works_again(service: LocalCodePipeline) -> None:
    """The row of a reported job would stay as it was, and be uncertain at each later start."""

    class FullDisk(MemoryJournal):
        is_full = False

        def running(self, job_id: str, **more: Any) -> None:
            self.is_full = True
            self.fail_if_full()
            super().running(job_id, **more)

        def result(self, job_id: str, result: Any, **more: Any) -> None:
            self.fail_if_full()
            super().result(job_id, result, **more)

        def finish(self, job_id: str, outcome: FinishedOutcome) -> None:
            self.fail_if_full()
            super().finish(job_id, outcome)

        def fail_if_full(self) -> None:
            if self.is_full:
                raise JournalError("the journal cannot be written: the disk is full")

    journal = FullDisk()
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    worker = make_worker(service, journal=journal)
    with running(worker):
        until(lambda: action.status == "Succeeded" and worker.health().in_flight == 0)
        assert [entry.state for entry in journal.jobs()] == [JournalState.CLAIMING]
        journal.is_full = False
        until(lambda: [entry.state for entry in journal.jobs()] == [JournalState.DONE])
        until(lambda: worker.health().journal_error is None)


def test_a_result_waits_for_good_aws_credentials(service: LocalCodePipeline) -> None:
    """The clients are created again, which is how new credentials get in; polling recovers in the same way."""
    made: list[ThirdPartyJobClient] = []

    def connect() -> ThirdPartyJobClient:
        made.append(service.client())
        return made[-1]

    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    service.faults.add(_SUCCESS, ExpiredCredentials(), times=3)
    worker: JobWorker[Any] = JobWorker(connect, ACTION_TYPE, lambda _: Succeeded(), client_tokens=_Store())
    (outcome,) = worker.run_once()
    assert isinstance(outcome, Reported)
    assert action.status == "Succeeded"
    assert len(made) == 8  # two at the start, and two after each refusal


def test_a_connect_that_raises_keeps_the_clients(service: LocalCodePipeline, caplog: pytest.LogCaptureFixture) -> None:
    """The next attempt tries it again, and the error's text stays out of the log."""
    calls: list[int] = []

    def connect() -> ThirdPartyJobClient:
        calls.append(1)
        if len(calls) == 3:
            raise OSError(CLIENT_TOKEN)
        return service.client()

    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    service.faults.add(_SUCCESS, ExpiredCredentials(), times=2)
    worker: JobWorker[Any] = JobWorker(connect, ACTION_TYPE, lambda _: Succeeded(), client_tokens=_Store())
    worker.run_once()
    assert action.status == "Succeeded"
    assert "connect raised OSError" in caplog.text
    assert CLIENT_TOKEN not in caplog.text


def test_many_jobs_create_the_clients_once(service: LocalCodePipeline) -> None:
    """A client that was replaced since a call began is not replaced because of that call."""
    from cp_thirdparty.worker._clients import Clients  # noqa: PLC0415 - only here
    from cp_thirdparty.worker._emit import Emitter  # noqa: PLC0415 - only here

    made: list[ThirdPartyJobClient] = []

    def connect() -> ThirdPartyJobClient:
        made.append(service.client())
        return made[-1]

    clients = Clients(connect, Emitter())
    before = clients.reader
    clients.reconnect(before)
    clients.reconnect(before)
    assert len(made) == 4
    assert (clients.reader, clients.reporter) == tuple(made[2:])
    clients.close()


def test_a_job_that_waits_at_its_timeout_is_ended_once(service: LocalCodePipeline) -> None:
    """The report of a job that ran out of time is still being sent when the worker stops."""
    clock = ManualClock()
    events: list[JobEvent] = []

    def handle(job: AnyJob) -> Succeeded:
        clock.advance(61)
        until(lambda: job.cancelled)
        return Succeeded()

    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    service.faults.add("PutThirdPartyJobFailureResult", ServerError(), times=None)
    worker = make_worker(service, handle, job_timeout=60, clock=clock, on_event=events.append)
    with running(worker) as it:
        until(lambda: worker.health().oldest_unsent_result is not None)
        worker.stop()
        worker.stop()
        until(lambda: worker.health().state == "draining")
        service.faults.clear()
        it.join()
    assert action.status == "Failed"
    assert [event.name for event in events].count("timed_out") == 1


class _RefusingRefresh(_Store):
    """A token store whose `refresh` raises."""

    def refresh(self, client_id: str) -> None:
        raise ConnectionError(client_id)


def test_a_store_may_fail_to_refresh(service: LocalCodePipeline, caplog: pytest.LogCaptureFixture) -> None:
    """The next look-up counts, in the worker and in the processor."""
    store = _RefusingRefresh()

    def handle(_job: AnyJob) -> Succeeded:
        service.register_client(CLIENT_ID, "new")
        threading.Timer(0.3, lambda: setattr(store, "found", "new")).start()
        return Succeeded()

    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    make_worker(service, handle, client_tokens=store).run_once()
    assert action.status == "Succeeded"
    store.found = "new"
    second = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    processor: JobProcessor[Any] = JobProcessor(service.client, handle, client_tokens=store)
    (outcome,) = processor.poll(ACTION_TYPE)
    assert isinstance(outcome, Reported)
    assert second.status == "Succeeded"
    assert "refresh of the client token raised ConnectionError" in caplog.text


def test_a_token_that_changes_in_a_mapping_counts(service: LocalCodePipeline) -> None:
    """The mapping is the partner's own, and is looked up each time."""
    tokens = {CLIENT_ID: CLIENT_TOKEN}

    def handle(_job: AnyJob) -> Succeeded:
        service.register_client(CLIENT_ID, "new")
        threading.Timer(0.2, lambda: tokens.update({CLIENT_ID: "new"})).start()
        return Succeeded()

    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    make_worker(service, handle, client_tokens=tokens).run_once()
    assert action.status == "Succeeded"
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(TokenLookup(tokens))


def test_a_refused_token_is_not_a_refused_result(service: LocalCodePipeline) -> None:
    """CodePipeline names the member that it refuses: the result stays as it is."""
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    refused = error_response("ValidationException", "Value at 'clientToken' failed to satisfy constraint")
    service.faults.add(_SUCCESS, Instead(refused), times=3)
    (outcome,) = make_worker(service).run_once()
    assert outcome == Reported(job=outcome.job, result=Succeeded())
    assert action.status == "Succeeded"


# --- the journal


class _FullDisk(MemoryJournal):
    """A journal that is read-only while its disk is full."""

    def __init__(self) -> None:
        super().__init__()
        self.is_full = True

    def claim(self, job: ThirdPartyJob | CustomJob, scope: JobScope) -> bool:
        if self.is_full:
            raise JournalError("the journal cannot be written: disk full")
        return super().claim(job, scope)


def test_a_journal_that_cannot_be_written_slows_the_claims(service: LocalCodePipeline) -> None:
    """One job at a time finds out whether the journal works again; health has the reason."""
    actions = [service.start_action(ACTION_TYPE, client_id=CLIENT_ID) for _ in range(8)]
    journal = _FullDisk()
    events: list[JobEvent] = []
    worker = make_worker(service, journal=journal, on_event=events.append)
    with running(worker) as it:
        until(lambda: worker.health().journal_error == "the journal cannot be written: disk full")
        time.sleep(0.5)
        assert [event.name for event in events].count("rejected") <= 12
        assert {action.status for action in actions} <= {"Queued", "Dispatched"}
        journal.is_full = False
        until(lambda: all(action.status == "Succeeded" for action in actions))
        assert worker.health().journal_error is None
    assert it.is_clean is True


@pytest.mark.parametrize("repair", ["claim", "recover"])
def test_a_claim_that_failed_is_an_error_until_claims_may_succeed(service: LocalCodePipeline, repair: str) -> None:
    """After a failure of its disk, a journal still records the ends of jobs, so their success shows nothing."""
    journal = _FullDisk()
    with service.client() as client:
        writer = JournalWriter(journal, scope_of(client), lambda *_, **__: None, Emitter())

    def create(job_id: str) -> ClaimedJob:
        return ClaimedJob(ThirdPartyJob(client_id=CLIENT_ID, job_id=job_id), recorder=writer, began_at=0.0)

    job, other = create("job-1"), create("job-2")
    job.is_recorded = True
    with pytest.raises(JournalError):
        writer.claim(other)
    assert job.end(Gone(job=job.offer, error="no"))
    assert writer.error == "the journal cannot be written: disk full"
    journal.is_full = False
    if repair == "claim":
        assert writer.claim(other)
    else:
        writer.recover()
    assert writer.error is None


def test_a_run_that_ends_with_a_broken_journal_is_not_clean(service: LocalCodePipeline) -> None:
    """The caller learns that something needs a look."""
    service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    worker = make_worker(service, journal=_FullDisk())
    with running(worker) as it:
        until(lambda: worker.health().journal_error is not None)
    assert it.is_clean is False


class _Rude(MemoryJournal):
    """A journal of the partner's that raises what it likes."""

    def running(self, job_id: str, **_: object) -> None:  # noqa: ARG002 - it raises, whatever it gets
        raise ZeroDivisionError(CLIENT_TOKEN)


def test_a_journal_may_raise_anything(service: LocalCodePipeline, caplog: pytest.LogCaptureFixture) -> None:
    """The job goes on, and the log has the class of the error only."""
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    make_worker(service, journal=_Rude()).run_once()
    assert action.status == "Succeeded"
    assert "the journal raised ZeroDivisionError" in caplog.text
    assert CLIENT_TOKEN not in caplog.text


class _OneBadRow(MemoryJournal):
    rows: tuple[SetAside, ...] = (SetAside(job_id="job-7", problem="its state is unknown"),)

    def recover(self, scope: JobScope) -> Recovered:
        return Recovered(entries=super().recover(scope).entries, set_aside=self.rows)


def test_a_row_that_cannot_be_read_is_named(
    service: LocalCodePipeline, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Health, the log (once) and the end of the run show it; the other jobs are done."""
    monkeypatch.setattr(_recovery, "_INTERVAL", 0.01)
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    journal = _OneBadRow()
    worker = make_worker(service, journal=journal)
    with running(worker) as it:
        until(lambda: action.status == "Succeeded")
        time.sleep(0.2)
        assert worker.health().set_aside == ("job-7",)
    assert it.is_clean is False
    with running(worker) as it:
        until(lambda: worker.health().set_aside == ("job-7",))
        journal.rows = ()  # an operator has ended it
        until(lambda: worker.health().set_aside == ())
    assert it.is_clean is True
    assert caplog.text.count("job=job-7 is set aside: its state is unknown") == 2  # once in each run


class _Counting(MemoryJournal):
    def __init__(self) -> None:
        super().__init__()
        self.pruned: list[tuple[float, int]] = []

    def prune(self, *, older_than: float, limit: int) -> int:
        self.pruned.append((older_than, limit))
        return 0


@pytest.mark.parametrize("keep", [2.0, None])
def test_the_worker_prunes_its_journal(
    service: LocalCodePipeline, monkeypatch: pytest.MonkeyPatch, keep: float | None
) -> None:
    """Finished jobs are kept for so many days; a batch is small, so that no claim waits for it."""
    monkeypatch.setattr(_recovery, "_INTERVAL", 0.01)
    journal = _Counting()
    looked = threading.Event()

    def recover(_scope: JobScope) -> Recovered:
        looked.set()
        return Recovered(entries=(), set_aside=())

    monkeypatch.setattr(journal, "recover", recover)
    with running(make_worker(service, journal=journal, keep_finished=keep)):
        looked.wait(10)
        time.sleep(0.2)
    if keep is None:
        assert journal.pruned == []
    else:
        older_than, limit = journal.pruned[0]
        assert abs(time.time() - 2 * 86_400 - older_than) < 60
        assert limit <= 1000


# --- ownership that is unknown


def _uncertain(service: LocalCodePipeline) -> tuple[MemoryJournal, ThirdPartyJob, Any]:
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    offer = ThirdPartyJob(client_id=CLIENT_ID, job_id=action.jobs[0].id)
    journal = MemoryJournal()
    with service.client() as client:
        journal.claim(offer, scope_of(client))
    journal.uncertain(offer.job_id)
    journal.release(offer.job_id)
    with service.client() as client:
        client.poll_for_third_party_jobs(ACTION_TYPE)
        claim(client, offer.job_id)
    return journal, offer, action


@pytest.mark.parametrize("operation_name", [_DETAILS, _ACKNOWLEDGE])
def test_a_job_of_an_unknown_owner_ends_when_codepipeline_reports_it(
    service: LocalCodePipeline, monkeypatch: pytest.MonkeyPatch, operation_name: str
) -> None:
    """The worker asks again from time to time, and not only at its start."""
    monkeypatch.setattr(_recovery, "_INTERVAL", 0.01)
    monkeypatch.setattr(_recovery, "_UNCERTAIN_INTERVAL", 0.05)
    journal, offer, _ = _uncertain(service)
    worker = make_worker(service, lambda _: pytest.fail("it ran"), journal=journal)
    with running(worker) as it:
        until(lambda: worker.health().uncertain == (offer.job_id,))
        service.faults.add(operation_name, Instead(error_response("JobNotFoundException", "no")), times=None)
        until(lambda: worker.health().uncertain == ())
    (entry,) = journal.jobs()
    assert (entry.state, entry.outcome) == (JournalState.DONE, "gone")
    assert it.is_clean is True


def test_a_job_of_an_unknown_owner_ends_when_an_operator_ends_it(
    service: LocalCodePipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The running worker forgets a job that someone has ended in the journal."""
    monkeypatch.setattr(_recovery, "_INTERVAL", 0.01)
    monkeypatch.setattr(_recovery, "_UNCERTAIN_INTERVAL", 0.05)
    journal, offer, action = _uncertain(service)
    worker = make_worker(service, lambda _: pytest.fail("it ran"), journal=journal)
    with running(worker) as it:
        until(lambda: worker.health().uncertain == (offer.job_id,))
        journal.finish(offer.job_id, "ended by an operator")
        until(lambda: worker.health().uncertain == ())
    (entry,) = journal.jobs()
    assert (entry.state, entry.outcome) == (JournalState.DONE, "ended by an operator")
    assert (it.is_clean, action.status) == (True, "InProgress")


# --- the pace of polls


def test_offers_that_lead_to_no_claim_do_not_speed_up_the_polls() -> None:
    """A job without a token is offered again at once, repeatedly: the worker still pauses between polls."""
    with LocalCodePipeline(redelivery_delay=0.0) as eager:
        eager.register_client(CLIENT_ID, CLIENT_TOKEN)
        eager.start_action(ACTION_TYPE, client_id=CLIENT_ID)

        def count_polls() -> int:
            return sum(record.operation_name == "PollForThirdPartyJobs" for record in eager.requests)

        started = time.monotonic()
        with running(make_worker(eager, client_tokens={}, poll_interval=0.5)):
            until(lambda: count_polls() >= 4)
        assert time.monotonic() - started > 1.0  # three pauses; a slow machine only makes them longer


def test_offers_that_are_claimed_speed_up_the_polls(service: LocalCodePipeline) -> None:
    """A worker with free slots asks again as soon as it has claimed a job."""
    actions = [service.start_action(ACTION_TYPE, client_id=CLIENT_ID) for _ in range(6)]
    started = time.monotonic()
    with running(make_worker(service, poll_interval=30.0, concurrency=1)):
        until(lambda: all(action.status == "Succeeded" for action in actions))
    assert time.monotonic() - started < 25


class _FailedRelease(MemoryJournal):
    """A journal of which the first claim and the first release raise after they were written."""

    def __init__(self) -> None:
        super().__init__()
        self._failures = {"claim": 1, "release": 1}

    def claim(self, job: ThirdPartyJob | CustomJob, scope: JobScope) -> bool:
        is_free = super().claim(job, scope)
        self._fail_once("claim")
        return is_free

    def release(self, job_id: str, *, has_begun: bool = True) -> None:
        super().release(job_id, has_begun=has_begun)
        self._fail_once("release")

    def _fail_once(self, method: str) -> None:
        self._failures[method] -= 1
        if self._failures[method] == 0:
            raise JournalError(f"{method} failed")


def test_a_release_that_failed_is_no_error_after_the_next_claim() -> None:
    """CodePipeline offers the job again before the next attempt to release it: then there is nothing to release."""
    with LocalCodePipeline(redelivery_delay=0.0) as eager:
        eager.register_client(CLIENT_ID, CLIENT_TOKEN)
        action = eager.start_action(ACTION_TYPE, client_id=CLIENT_ID)
        worker = make_worker(eager, journal=_FailedRelease())
        with running(worker) as it:
            until(lambda: action.status == "Succeeded" and worker.health().in_flight == 0)
            assert worker.health().journal_error is None
    assert it.is_clean is True


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Pause shortly between polls, and note for how many failures the worker would pause longer."""
    noted: list[int] = []

    def pause(interval: float, failures: int, _jitter: random.Random) -> float:
        noted.append(failures)
        return interval

    monkeypatch.setattr(_poller, "pause_before_poll", pause)
    return noted


def test_a_poll_that_succeeds_ends_the_longer_pauses(service: LocalCodePipeline, pauses: list[int]) -> None:
    """The pause grows with the polls that fail in a row, and with no others."""
    service.faults.add("PollForThirdPartyJobs", Instead(error_response("SerializationException", "no")), times=2)
    with running(make_worker(service)):
        until(lambda: len(pauses) > 3)
    assert pauses[:4] == [1, 2, 0, 0]


def test_an_idle_worker_with_a_broken_journal_polls_at_its_interval(pauses: list[int]) -> None:
    """Only a poll that brings a job shows whether the journal works again, so only such polls become less frequent."""
    with LocalCodePipeline(redelivery_delay=1000.0) as slow:
        slow.register_client(CLIENT_ID, CLIENT_TOKEN)
        slow.start_action(ACTION_TYPE, client_id=CLIENT_ID)
        worker = make_worker(slow, journal=_FullDisk(), poll_interval=0.001)
        with running(worker):
            until(lambda: worker.health().journal_error is not None)
            seen = len(pauses)
            until(lambda: len(pauses) > seen + 10)
            assert max(pauses) == 0
            slow.start_action(ACTION_TYPE, client_id=CLIENT_ID)
            until(lambda: max(pauses) == 1)


# --- the end of the grace


def _hang(release: threading.Event) -> Callable[[AnyJob], Succeeded]:
    def handle(_job: AnyJob) -> Succeeded:
        release.wait(30)
        return Succeeded()

    return handle


@pytest.mark.parametrize("is_idempotent", [True, False])
def test_after_the_grace_an_idempotent_job_is_left_to_another_worker(
    service: LocalCodePipeline,
    is_idempotent: bool,  # noqa: FBT001 - a parameter of the table
) -> None:
    """Where another worker can run it again, the customer's action does not fail because of a stop."""
    release = threading.Event()
    journal = SharedJournal()
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    worker = make_worker(service, _hang(release), journal=journal, grace=0.1, is_idempotent=is_idempotent)
    with running(worker) as it:
        until(lambda: worker.health().in_flight == 1 and action.status == "InProgress")
        worker.stop()
        it.join()
    release.set()
    if not is_idempotent:
        assert isinstance(action.result, FailureDetails)
        assert action.result.type is FailureType.SYSTEM_UNAVAILABLE
        return
    assert (it.is_clean, action.status) == (False, "InProgress")
    (outcome,) = make_worker(service, journal=journal, is_idempotent=True).run_once()
    assert isinstance(outcome, Reported)
    assert action.status == "Succeeded"


class _Late(MemoryJournal):
    """A journal whose first write of a kind arrives although it raises."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._late: str | None = name

    def claim(self, job: ThirdPartyJob | CustomJob, scope: JobScope) -> bool:
        found = super().claim(job, scope)
        self._raise("claim")
        return found

    def withdraw(self, job_id: str) -> None:
        self._raise("withdraw")
        super().withdraw(job_id)

    def _raise(self, name: str) -> None:
        if self._late == name:
            self._late = None
            raise JournalError("no response")


@pytest.mark.parametrize("name", ["claim", "withdraw"])
def test_a_write_of_an_unknown_outcome_does_not_block_the_job(service: LocalCodePipeline, name: str) -> None:
    """The row is removed before the job is claimed again."""
    if name == "withdraw":
        service.faults.add(_ACKNOWLEDGE, Instead(error_response("AccessDeniedException", "no")))
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    with running(make_worker(service, journal=_Late(name))):
        until(lambda: action.status == "Succeeded")


def test_a_job_that_is_offered_before_its_row_is_repaired_is_not_blocked(service: LocalCodePipeline) -> None:
    """The row of the earlier claim stays to be repaired, although the journal refuses the new one."""
    offer = ThirdPartyJob(client_id=CLIENT_ID, job_id="job-1")
    with service.client() as client:
        writer = JournalWriter(_Late("claim"), scope_of(client), lambda *_, **__: None, Emitter())
    job = ClaimedJob(offer, recorder=writer, began_at=0.0)
    with pytest.raises(JournalError):
        writer.claim(job)
    assert writer.claim(job) is False
    writer.repair(lambda _: False)
    assert writer.claim(job) is True


def test_a_row_that_cannot_be_repaired_is_logged_once_for_each_error(
    service: LocalCodePipeline, caplog: pytest.LogCaptureFixture
) -> None:
    """The poller tries it at each turn, which may be ten times a second."""
    problem = ["no table"]

    class Broken(MemoryJournal):
        def release(self, job_id: str, *, has_begun: bool = True) -> None:
            if problem:
                raise JournalError(problem[0])
            super().release(job_id, has_begun=has_begun)

    emitter = Emitter()
    with service.client() as client:
        writer = JournalWriter(Broken(), scope_of(client), lambda *_, **__: None, emitter)
    for problem[:] in (["no table"], ["throttled"], [], ["throttled"]):
        writer.release("job-1")
        for _ in range(3):
            writer.repair(lambda _: False)
    assert emitter.flush()
    messages = [record.getMessage() for record in caplog.records]  # also of a lease that an earlier test has left
    assert [message for message in messages if "job-1" in message] == [
        "job=job-1: no table",
        "job=job-1: throttled",
        "job=job-1: throttled",
    ]
    assert writer.error == "throttled"


def test_a_job_whose_owner_is_unknown_is_asked_for_by_each_run(service: LocalCodePipeline) -> None:
    """A run leaves it to the next one of the same process, and reports it each time."""
    journal, offer, _ = _uncertain(service)
    worker = make_worker(service, lambda _: pytest.fail("it ran"), journal=journal)
    for _ in range(2):
        assert worker.run_once() == (Uncertain(job=offer),)


def test_a_result_of_the_journal_counts_its_age(service: LocalCodePipeline) -> None:
    """Health shows how long it waits, from the time when it was decided."""
    journal = SharedJournal(clock=lambda: time.time() - 100)
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    offer = ThirdPartyJob(client_id=CLIENT_ID, job_id=action.jobs[0].id)
    with service.client() as client:
        journal.claim(offer, scope_of(client))
        client.poll_for_third_party_jobs(ACTION_TYPE)
        claim(client, offer.job_id)
    journal.result(offer.job_id, Succeeded())
    journal.release(offer.job_id)
    service.faults.add(_SUCCESS, ServerError(), times=None)
    worker = make_worker(service, journal=journal)
    with running(worker) as it:
        until(lambda: (worker.health().oldest_unsent_result or 0) > 99)
        service.faults.clear()
        until(lambda: action.status == "Succeeded")
    assert it.is_clean is True


class _Loud(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        raise ZeroDivisionError(record.getMessage())


def test_a_log_handler_may_raise(service: LocalCodePipeline) -> None:
    """Neither an event nor a hook that raises beside it costs a job."""
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)

    def hook(_event: JobEvent) -> None:
        raise ZeroDivisionError

    log = logging.getLogger("cp_thirdparty.worker")
    handler = _Loud()
    log.addHandler(handler)
    try:
        make_worker(service, on_event=hook).run_once()
    finally:
        log.removeHandler(handler)
    assert action.status == "Succeeded"


def test_a_job_is_left_when_no_thread_can_be_started(
    service: LocalCodePipeline, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """CodePipeline offers it again, and a job of the journal waits; the worker goes on."""
    monkeypatch.setattr(_recovery, "_INTERVAL", 0.01)
    start = threading.Thread.start
    refusals = [2]

    def refuse(thread: threading.Thread) -> None:
        if "_run_jobs" in thread.name and refusals[0]:
            refusals[0] -= 1
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    journal = SharedJournal()
    left = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    offer = ThirdPartyJob(client_id=CLIENT_ID, job_id=left.jobs[0].id)
    with service.client() as client:
        journal.claim(offer, scope_of(client))
    journal.release(offer.job_id)
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    with running(make_worker(service, journal=journal)):
        until(lambda: action.status == left.status == "Succeeded")
    assert caplog.text.count("cannot be started, nor others: the system has no thread left") == 1
    assert caplog.text.count("jobs can be started again") == 1


def test_health_reports_that_no_thread_can_be_started(
    service: LocalCodePipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker hands jobs back and goes on to poll, but it is not ready."""
    start, may_start = threading.Thread.start, threading.Event()

    def refuse(thread: threading.Thread) -> None:
        if "_run_jobs" in thread.name and not may_start.is_set():
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    worker = make_worker(service)
    with running(worker):
        until(lambda: worker.health().executor_error == "RuntimeError")
        health = worker.health()
        assert (health.is_alive, health.is_ready, health.in_flight) == (True, False, 0)
        may_start.set()
        until(lambda: action.status == "Succeeded")
        assert worker.health().executor_error is None


def test_rotated_keys_need_no_restart(service: LocalCodePipeline, tmp_path: Path) -> None:
    """Polls fail with the old AWS credentials; `connect` reads the new ones from the file that has them."""
    keys = tmp_path / "credentials"
    keys.write_text("old", encoding="utf-8")
    connected: list[str] = []

    def connect() -> ThirdPartyJobClient:
        connected.append(keys.read_text(encoding="utf-8"))
        if connected[-1] == "new":
            service.faults.clear()
        return service.client()

    service.faults.add("PollForThirdPartyJobs", ExpiredCredentials(), times=None)
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    worker: JobWorker[Any] = JobWorker(connect, ACTION_TYPE, succeed, client_tokens=TOKENS, poll_interval=0.01)
    with running(worker):
        until(lambda: worker.health().poll_error == "CredentialsError")
        assert set(connected) == {"old"}
        keys.write_text("new", encoding="utf-8")
        until(lambda: action.status == "Succeeded")
        assert worker.health().poll_error is None


def test_rotated_keys_are_read_by_the_next_single_poll(service: LocalCodePipeline) -> None:
    """A poll that AWS refuses is raised; `run_once` keeps its clients, so it must connect for the next call."""
    connected: list[int] = []

    def connect() -> ThirdPartyJobClient:
        connected.append(1)
        if len(connected) == 3:
            service.faults.clear()
        return service.client()

    service.faults.add("PollForThirdPartyJobs", ExpiredCredentials(), times=None)
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    worker: JobWorker[Any] = JobWorker(connect, ACTION_TYPE, succeed, client_tokens=TOKENS)
    with worker:
        with pytest.raises(CredentialsError):
            worker.run_once()
        assert len(connected) == 2
        worker.run_once()
    assert action.status == "Succeeded"
    assert len(connected) == 4


def test_a_job_that_cannot_be_ended_now_is_ended_later(
    service: LocalCodePipeline, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The thread for the report of a timeout cannot be started at first."""
    start = threading.Thread.start
    refusals = [3]

    def refuse(thread: threading.Thread) -> None:
        if "_run_and_close" in thread.name and refusals[0]:
            refusals[0] -= 1
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    clock = ManualClock()

    def handle(job: AnyJob) -> Succeeded:
        clock.advance(61)
        until(lambda: job.cancelled)
        return Succeeded()

    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    make_worker(service, handle, job_timeout=60, clock=clock).run_once()
    assert action.status == "Failed"
    assert refusals == [0]
    assert caplog.text.count("cannot be ended now: RuntimeError") == 1


class _Failing(MemoryJournal):
    """A journal in which nothing can be deleted or released."""

    def prune(self, *, older_than: float, limit: int) -> int:
        raise JournalError(f"cannot delete: {older_than < time.time()} {limit > 0}")

    def release(self, job_id: str, *, has_begun: bool = True) -> None:  # noqa: ARG002 - as its protocol has it
        raise JournalError(f"cannot release {job_id}")


def test_a_journal_that_cannot_delete_or_release_is_logged(
    service: LocalCodePipeline, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The worker goes on, and its end is not clean."""
    monkeypatch.setattr(_steps, "_CLAIM_SECONDS", 0.05)
    service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    service.faults.add(_ACKNOWLEDGE, ServerError(), times=None)
    worker = make_worker(service, journal=_Failing())
    with running(worker) as it:
        until(lambda: len(worker.health().uncertain) == 1)
    assert it.is_clean is False
    assert "cannot delete: True True" in caplog.text
    assert "cannot release " in caplog.text


def test_a_job_that_was_left_ends_once(service: LocalCodePipeline) -> None:
    """A job whose details cannot be read is left at the stop, while its own thread still tries."""
    journal = SharedJournal()
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    offer = ThirdPartyJob(client_id=CLIENT_ID, job_id=action.jobs[0].id)
    with service.client() as client:
        journal.claim(offer, scope_of(client))
        client.poll_for_third_party_jobs(ACTION_TYPE)
        claim(client, offer.job_id)
    journal.running(offer.job_id)
    journal.release(offer.job_id)
    service.faults.add(_DETAILS, Instead(error_response("AccessDeniedException", "no")), times=None)
    events: list[str] = []
    worker = make_worker(
        service, journal=journal, is_idempotent=True, grace=0.1, on_event=lambda event: events.append(event.name)
    )
    with running(worker) as it:
        until(lambda: worker.health().stalled == (offer.job_id,))
        worker.stop()
        it.join()
    name = f"cp-thirdparty-{offer.job_id}"
    until(lambda: name not in {thread.name for thread in threading.enumerate()})
    assert events.count("released") == 1
    assert it.is_clean is False
