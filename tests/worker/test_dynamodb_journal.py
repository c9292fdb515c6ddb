"""The journal in a DynamoDB table, on moto: leases, takeovers, and requests that fail."""

from __future__ import annotations

import functools
import gc
import itertools
import logging
import pickle
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import attrs
import pytest
import yaml
from botocore.config import Config
from botocore.exceptions import ClientError, EndpointConnectionError
from support.dynamodb import Fleet, create_client, moto_client
from support.journals import OTHER_SCOPE, SCOPE, SetAsideJobs
from support.scripted_server import Response, ScriptedServer, ok
from support.worker_service import (
    ACTION_TYPE,
    CLIENT_ID,
    CLIENT_TOKEN,
    AnyJob,
    Before,
    claim,
    make_worker,
    scope_of,
    until,
)

from cp_thirdparty import ExecutionDetails, Succeeded, ThirdPartyJob
from cp_thirdparty.exceptions import InvalidRequestError, JournalError
from cp_thirdparty.testing import LocalCodePipeline
from cp_thirdparty.worker import (
    DynamoDBJournal,
    Journal,
    JournalState,
    LostRace,
    Reported,
    SetAside,
    dynamodb_table,
    journal_policy,
)
from cp_thirdparty.worker._dynamodb_table import EXPIRY
from cp_thirdparty.worker._lease import read_timer

_THROTTLED = "ProvisionedThroughputExceededException"


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    """Create a client of moto's tables."""
    with moto_client() as created:
        yield created


class TestDynamoDBJournal(SetAsideJobs):
    """The public suite."""

    @pytest.fixture(autouse=True)
    def _table(self, client: Any) -> None:
        self.fleet = Fleet(client)

    def open_journal(self, clock: Callable[[], float]) -> Journal:
        """Open the table of the test."""
        return self.fleet.open(clock)

    def crash(self, journal: Journal) -> None:
        """Let the owner beat no more."""
        assert isinstance(journal, DynamoDBJournal)
        self.fleet.crash(journal)


# --- one journal


@pytest.fixture
def fleet(client: Any) -> Fleet:
    """Create a table for one test."""
    return Fleet(client)


def _job(job_id: str = "job-1") -> ThirdPartyJob:
    return ThirdPartyJob(client_id="client-1", job_id=job_id)


def _fail(client: Any, operation: str, *, times: int = 1, is_done: bool = False, error: Exception | None = None) -> Any:
    """Return a client whose next calls of an operation fail, before or after the table has done what they ask for."""
    refusal = {"Error": {"Code": _THROTTLED, "Message": "xMARKERx"}}
    failure = ClientError(refusal, operation) if error is None else error  # type: ignore[arg-type] # as botocore
    left = itertools.count(times, -1)

    class _Failing:
        def __getattr__(self, name: str) -> Any:
            method = getattr(client, name)
            if name != operation:
                return method

            def call(**request: Any) -> Any:
                if next(left) <= 0:
                    return method(**request)
                if is_done:
                    method(**request)
                raise failure

            return call

    return _Failing()


def test_a_short_job_needs_six_write_units(fleet: Fleet) -> None:
    """Each change is one item of less than 1 KB; the end is three."""
    units: list[float] = []

    class _Counting:
        def __getattr__(self, name: str) -> Any:
            def call(**request: Any) -> Any:
                more = {} if name == "query" else {"ReturnConsumedCapacity": "TOTAL"}
                response = getattr(fleet.client, name)(**request, **more)
                if more:
                    units.append(response["ConsumedCapacity"]["CapacityUnits"])
                return response

            return call

    with closing(fleet.open(client=_Counting())) as journal:
        journal.recover(SCOPE)
        units.clear()
        journal.claim(_job(), SCOPE)
        journal.running("job-1")
        journal.result("job-1", Succeeded(execution_details=ExecutionDetails(summary="done")))
        assert journal.hold("job-1") > 0
        journal.finish("job-1", "reported")
    assert len(units) == 6 + 1  # the last one is the end of the lease
    assert len(fleet.items()) == 2
    assert all(len(str(item)) < 1024 for item in fleet.items())


def test_what_a_table_keeps_has_no_owner_when_it_is_done(fleet: Fleet) -> None:
    """A finished job has the time at which DynamoDB deletes it."""
    with closing(fleet.open(lambda: 1000.5, keep_finished=2.0)) as journal:
        journal.claim(_job(), SCOPE)
        journal.finish("job-1", "reported")
    assert {item["pk"]["S"][:5] for item in fleet.items()} == {"done", "done#"}
    for item in fleet.items():
        assert item["expires_at"] == {"N": str(1000 + 2 * 86_400)}
        assert "owner" not in item


@pytest.mark.parametrize(("now", "expected"), [(500.0, 1), (1000.0 + 86_401.0, 0)])
def test_an_expired_job_is_not_yielded(fleet: Fleet, now: float, expected: int) -> None:
    """DynamoDB deletes it some days later."""
    with closing(fleet.open(lambda: 1000.0, keep_finished=1.0)) as journal:
        journal.claim(_job(), SCOPE)
        journal.finish("job-1", "reported")
    assert len(list(fleet.open(lambda: now).jobs())) == expected


def test_finished_jobs_may_be_kept_forever(fleet: Fleet) -> None:
    """Then they have no time at which they are deleted."""
    with closing(fleet.open(keep_finished=None)) as journal:
        journal.claim(_job(), SCOPE)
        journal.finish("job-1", "reported")
        assert [item.get("expires_at") for item in fleet.items() if item["sk"]["S"][:6] != "lease#"] == [None, None]
        assert len(list(journal.jobs())) == 1


def test_a_finished_job_is_found_by_one_read(fleet: Fleet) -> None:
    """However many jobs have finished, a Lambda function reads one item for each event."""
    read: list[int] = []

    class _Counting:
        def __getattr__(self, name: str) -> Any:
            def call(**request: Any) -> Any:
                response = getattr(fleet.client, name)(**request)
                if name == "query":
                    read.append(response["ScannedCount"])
                return response

            return call

    with closing(fleet.open(client=_Counting())) as journal:
        for number in range(5):
            journal.claim(_job(str(number)), SCOPE)
            journal.finish(str(number), "reported")
        read.clear()
        assert [journal.is_finished(job_id, SCOPE) for job_id in ("3", "6")] == [True, False]
        assert read == [1, 0]


def test_a_job_that_finished_twice_is_pruned(fleet: Fleet) -> None:
    """CodePipeline may offer a job again; it has two items and one mark, which one request must not have twice."""
    now = [1000.0]
    with closing(fleet.open(lambda: now[0])) as journal:
        for now[0] in (1000.0, 1001.0):
            journal.claim(_job(), SCOPE)
            journal.finish("job-1", "gone")
        assert journal.prune(older_than=2000.0, limit=10) == 2
        assert [item["pk"]["S"] for item in fleet.items()] == ["open"]  # the lease


def test_a_job_whose_mark_was_not_deleted_is_kept(fleet: Fleet) -> None:
    """DynamoDB deletes a part of a batch if the table is throttled; without its job, the mark would stay forever."""
    batches: list[int] = []

    class _Throttled:
        def __getattr__(self, name: str) -> Any:
            method = getattr(fleet.client, name)

            def batch_write_item(**request: Any) -> Any:
                ((table_name, requests),) = request["RequestItems"].items()
                batches.append(len(requests))
                rest = requests[:1] if len(batches) == 1 else []
                response = method(RequestItems={table_name: requests[len(rest) :]})
                return {**response, "UnprocessedItems": {table_name: rest} if rest else {}}

            return batch_write_item if name == "batch_write_item" else method

    with closing(fleet.open(client=_Throttled(), keep_finished=None)) as journal:
        for number in range(3):
            journal.claim(_job(str(number)), SCOPE)
            journal.finish(str(number), "reported")
        assert journal.prune(older_than=1e11, limit=10) == 2
        (entry,) = journal.jobs()
        assert journal.is_finished(entry.job.job_id, SCOPE)
        assert journal.prune(older_than=1e11, limit=10) == 1
        assert batches == [3, 2, 1, 1]
        assert [item["pk"]["S"] for item in fleet.items()] == ["open"]  # the lease


def test_many_jobs_are_pruned(fleet: Fleet) -> None:
    """A request deletes 25; a job that finished later than the time stays, whenever it was claimed."""
    now = [1000.0]
    with closing(fleet.open(lambda: now[0])) as journal:
        journal.claim(_job("late"), SCOPE)
        for number in range(30):
            journal.claim(_job(str(number)), SCOPE)
            journal.finish(str(number), "reported")
        now[0] += 100
        journal.finish("late", "reported")
        assert journal.prune(older_than=1050.0, limit=1000) == 30
        assert [entry.job.job_id for entry in journal.jobs()] == ["late"]


def test_jobs_come_in_pages(fleet: Fleet) -> None:
    """A response of DynamoDB has at most 1 MB."""

    class _Pages:
        def __getattr__(self, name: str) -> Any:
            method = getattr(fleet.client, name)
            return functools.partial(method, Limit=2) if name == "query" else method

    with closing(fleet.open(client=_Pages())) as journal:
        for number in range(5):
            journal.claim(_job(str(number)), SCOPE)
        assert sorted(entry.job.job_id for entry in journal.jobs()) == list(map(str, range(5)))


def test_a_journal_without_a_use_has_no_lease(fleet: Fleet) -> None:
    """Its end writes nothing."""
    fleet.open().close()
    assert fleet.items() == []


def test_arguments_are_checked(fleet: Fleet) -> None:
    """A wrong number is refused at once."""
    with pytest.raises(ValueError, match="takeover_seconds: must be more than 0"):
        fleet.open(takeover_seconds=0)
    with pytest.raises(TypeError, match="keep_finished"):
        fleet.open(keep_finished="30")


def test_it_cannot_be_pickled(fleet: Fleet) -> None:
    """It has a lease."""
    with pytest.raises(TypeError, match="create one in each process"):
        pickle.dumps(fleet.open())


def test_a_forked_child_can_neither_write_nor_close_it(fleet: Fleet) -> None:
    """The jobs and the lease are the parent's."""
    with closing(fleet.open()) as journal:
        journal.claim(_job(), SCOPE)
        before = fleet.items()
        journal._lease._process_id += 1
        for use in (lambda: journal.claim(_job("2"), SCOPE), lambda: journal.finish("job-1", "gone")):
            with pytest.raises(JournalError, match="open it after the fork"):
                use()
        journal.close()
        assert fleet.items() == before
        journal._lease._process_id -= 1
    assert [item["sk"]["S"][:4] for item in fleet.items()] == ["job#"]


def test_the_default_client_has_short_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that hangs ends before the lease."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    config = DynamoDBJournal("jobs")._table._client.meta.config
    assert (config.region_name, config.connect_timeout, config.read_timeout) == ("eu-central-1", 2, 4)


def test_the_default_timer_goes_on() -> None:
    """It is the system's."""
    assert DynamoDBJournal("jobs", client=object())._timer() <= read_timer()


# --- requests that fail


_NO_ID = "a response without a request id is not from DynamoDB"


def _not_dynamodb(reason: str) -> str:
    return rf"the response is not from DynamoDB \({reason}\)$"


def _page(*, _last: object = None, **item: object) -> Response:
    """Return a page with one item, and perhaps a last key."""
    return ok({"Items": [item], **({} if _last is None else {"LastEvaluatedKey": _last})})


# Response, and the reasons why a write and a read of it fail; no reason for a write that is accepted.
_FOREIGN_RESPONSES = {
    "page": (Response(body=b"<html>log in</html>", headers={}), _NO_ID, _NO_ID),
    "empty": (Response(body=b"{}", headers={}), _NO_ID, _NO_ID),
    "list": (Response(body=b"[]"), _not_dynamodb("AttributeError"), _not_dynamodb("AttributeError")),
    "bytes": (Response(body=b"\xff\xfe"), _not_dynamodb("UnicodeDecodeError"), _not_dynamodb("UnicodeDecodeError")),
    "no items": (ok({}), None, _not_dynamodb("KeyError")),
    "no sort key": (_page(a={"S": "x"}), None, _not_dynamodb("KeyError")),
    "a number as sort key": (_page(sk={"N": "1"}), None, _not_dynamodb("TypeError")),
    "a list as string": (_page(sk={"S": ["x"]}), None, _not_dynamodb("TypeError")),
    **{
        f"number {value}": (_page(sk={"S": "x"}, a={"N": value}), None, _not_dynamodb(kind))
        for value, kind in (("x", "ValueError"), ("1e400", "ValueError"), ("nan", "ValueError"), (True, "TypeError"))
    },
    "no end": (_page(sk={"S": "x"}, _last={"sk": {"S": "x"}}), None, _not_dynamodb("its pages have no end")),
    "last key": (_page(sk={"S": "x"}, _last={"a": {"S": "x"}}), None, _not_dynamodb("KeyError")),
}


@pytest.mark.parametrize("way", _FOREIGN_RESPONSES)
def test_a_response_that_is_not_from_dynamodb_is_a_journal_error(way: str) -> None:
    """Botocore takes the page of a proxy for a success without content; the job would run without a record."""
    response, written, read = _FOREIGN_RESPONSES[way]
    with ScriptedServer(lambda _: response) as server:
        settings = Config(retries={"total_max_attempts": 1})
        client = create_client(endpoint_url=server.endpoint_url, config=settings)
        journal = DynamoDBJournal("jobs", client=client)
        if written is not None:
            with pytest.raises(JournalError, match=f"table jobs cannot be written: {written}"):
                journal.claim(_job(), SCOPE)
        for call in (lambda: [*journal.jobs()], lambda: journal.end("job-1")):
            with pytest.raises(JournalError, match=f"table jobs cannot be read: {read}"):
                call()
        journal._lease.stop()


@pytest.mark.parametrize("document", [{}, {"UnprocessedItems": []}, {"UnprocessedItems": {"jobs": 3}}])
def test_a_deletion_without_a_good_response_is_a_journal_error(document: object) -> None:
    """Nobody knows what was deleted."""
    item = {"pk": {"S": "done"}, "sk": {"S": "x"}}
    responses = iter([ok({"Items": [item]}), *[ok(document)] * 2])
    with ScriptedServer(lambda _: next(responses)) as server:
        journal = DynamoDBJournal("jobs", client=create_client(endpoint_url=server.endpoint_url))
        with pytest.raises(JournalError, match=r"table jobs cannot be written: the response is not from DynamoDB \("):
            journal.prune(older_than=1.0, limit=10)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (None, "ProvisionedThroughputExceededException"),
        (EndpointConnectionError(endpoint_url="u"), "EndpointConn"),
        (ValueError("xMARKERx"), "ValueError$"),
    ],
)
def test_a_failed_request_is_a_journal_error(fleet: Fleet, error: Exception | None, reason: str) -> None:
    """It names the table and the reason, and no value."""
    journal = fleet.open(client=_fail(fleet.client, "put_item", error=error))
    with pytest.raises(JournalError, match=f"table {fleet.table_name} cannot be written: {reason}") as caught:
        journal.claim(_job(), SCOPE)
    assert "xMARKERx" not in str(caught.value)
    assert caught.value.__cause__ is caught.value.__context__ is None
    assert journal.claim(_job(), SCOPE)
    with pytest.raises(JournalError, match="cannot be read"):
        list(fleet.open(client=_fail(fleet.client, "query")).jobs())


def test_a_claim_whose_response_was_lost_can_be_released(fleet: Fleet) -> None:
    """The worker releases a claim that may have been written."""
    journal = fleet.open()
    journal.claim(_job("other"), SCOPE)
    journal._table._client = _fail(fleet.client, "put_item", is_done=True)
    with pytest.raises(JournalError):
        journal.claim(_job(), SCOPE)
    journal.release("job-1")
    assert [entry.job.job_id for entry in fleet.open().recover(SCOPE).entries] == ["job-1"]


def test_a_late_claim_forgets_no_later_one(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker has given the first call up, released the job and claimed it again."""
    journal = fleet.open()
    journal.claim(_job("other"), SCOPE)  # creates the lease
    put = journal._table.put

    def take_long(*_: Any, **__: Any) -> bool:
        monkeypatch.setattr(journal._table, "put", put)
        journal.release("job-1")
        assert journal.claim(_job(), SCOPE)
        return False

    monkeypatch.setattr(journal._table, "put", take_long)
    assert not journal.claim(_job(), SCOPE)
    assert journal.hold("job-1") > 0


def test_a_change_that_was_not_written_is_in_the_next_one(fleet: Fleet) -> None:
    """The confirmation before a report writes the result."""
    journal = fleet.open()
    journal.claim(_job(), SCOPE)
    journal._table._client = _fail(fleet.client, "put_item")
    with pytest.raises(JournalError):
        journal.result("job-1", Succeeded())
    fleet.timer.now += 2
    assert journal.hold("job-1") > 0
    assert [(entry.state, entry.result) for entry in fleet.open().jobs()] == [(JournalState.RESULT, Succeeded())]


def test_a_take_whose_response_was_lost_is_found(fleet: Fleet) -> None:
    """The next look takes the job that has this worker's name."""
    journal, other = fleet.open(), fleet.open()
    for number in range(2):
        journal.claim(_job(str(number)), SCOPE)
    journal.close()
    other.recover(OTHER_SCOPE)
    other._table._client = _fail(fleet.client, "put_item", is_done=True)
    with pytest.raises(JournalError):
        other.recover(SCOPE)
    assert [entry.job.job_id for entry in other.recover(SCOPE).entries] == ["0", "1"]
    assert other.recover(SCOPE).entries == ()


def test_jobs_that_were_taken_go_on_if_the_table_fails_then(fleet: Fleet) -> None:
    """The next look takes the others."""
    journal, other = fleet.open(), fleet.open()
    for number in range(3):
        journal.claim(_job(str(number)), SCOPE)
    journal.close()
    other.recover(OTHER_SCOPE)
    puts = itertools.count()

    class _Second:
        def __getattr__(self, name: str) -> Any:
            client = _fail(fleet.client, "put_item") if name == "put_item" and next(puts) == 1 else fleet.client
            return getattr(client, name)

    other._table._client = _Second()
    assert [entry.job.job_id for entry in other.recover(SCOPE).entries] == ["0"]
    assert [entry.job.job_id for entry in other.recover(SCOPE).entries] == ["1", "2"]


def test_a_close_that_fails_ends_the_lease(fleet: Fleet) -> None:
    """Other workers take the jobs over when the lease is over."""
    journal = fleet.open()
    journal.claim(_job(), SCOPE)
    journal._table._client = _fail(fleet.client, "put_item")
    with pytest.raises(JournalError):
        journal.close()
    other = fleet.open()
    fleet.wait(fleet.takeover_seconds)
    assert len(other.recover(SCOPE).entries) == 1
    with pytest.raises(JournalError, match="the journal is closed"):
        journal._lease.beat()


# --- leases


def test_a_closed_journal_refuses_jobs(fleet: Fleet) -> None:
    """Its lease is gone, so another worker would take a job over that it claims, and run it a second time."""
    journal, other = fleet.open(), fleet.open()
    assert journal.claim(_job(), SCOPE)
    journal.running("job-1")
    journal.close()
    uses: list[Callable[[], object]] = [
        lambda: journal.claim(_job("job-2"), SCOPE),
        lambda: journal.hold("job-1"),
        lambda: journal.recover(SCOPE),
    ]
    for use in uses:
        with pytest.raises(JournalError, match="the journal is closed"):
            use()
    assert [entry.job.job_id for entry in other.recover(SCOPE).entries] == ["job-1"]


def _find_beats(journals: list[DynamoDBJournal]) -> int:
    return journals[0]._lease._beats


def test_a_thread_beats_and_ends_with_the_journal(client: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A beat that fails is logged, and the next one follows."""
    fleet = Fleet(client, takeover_seconds=0.12, timer=read_timer)  # type: ignore[arg-type] # any timer
    before = set(threading.enumerate())
    journals = fleet.journals
    fleet.open().claim(_job(), SCOPE)
    (thread,) = set(threading.enumerate()) - before
    until(lambda: _find_beats(journals) > 2)
    journals[0]._table._client = _fail(client, "put_item", error=EndpointConnectionError(endpoint_url="u"))
    until(lambda: "the lease of this worker was not renewed" in caplog.text)
    first = _find_beats(journals)
    until(lambda: _find_beats(journals) > first)
    journals.clear()
    until(lambda: gc.collect() >= 0 and not thread.is_alive())


class _LogHandler(logging.Handler):
    """A handler of logs that raises, or blocks until the end of the test."""

    def __init__(self, raised: BaseException | None) -> None:
        super().__init__()
        self.called = threading.Event()
        self.ended = threading.Event()
        self._raised = raised

    def emit(self, record: logging.LogRecord) -> None:  # noqa: ARG002 - as logging has it
        self.called.set()
        if self._raised is not None:
            raise self._raised
        self.ended.wait()


@pytest.fixture(params=[ValueError(), SystemExit(), None], ids=["raises", "exits", "blocks"])
def log_handler(request: pytest.FixtureRequest) -> Iterator[_LogHandler]:
    """Give a handler of logs of the partner that does not work."""
    handler, logger = _LogHandler(request.param), logging.getLogger("cp_thirdparty.worker")
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)
    handler.ended.set()


def test_a_handler_of_logs_costs_no_lease(client: Any, log_handler: _LogHandler) -> None:
    """A beat that failed is logged; although the handler raises or blocks, the worker beats on."""
    fleet = Fleet(client, takeover_seconds=0.12, timer=read_timer)  # type: ignore[arg-type] # any timer
    fleet.open().claim(_job(), SCOPE)
    fleet.journals[0]._table._client = _fail(client, "put_item", error=EndpointConnectionError(endpoint_url="u"))
    until(log_handler.called.is_set)
    first = _find_beats(fleet.journals)
    until(lambda: _find_beats(fleet.journals) > first + 2)


def test_a_handler_of_logs_costs_no_new_lease(fleet: Fleet, log_handler: _LogHandler) -> None:
    """A worker that another one has taken for dead logs it, and claims under a new name."""
    journal, other = fleet.open(), fleet.open()
    journal.claim(_job(), SCOPE)
    other.recover(SCOPE)
    fleet.journals.remove(journal)  # paused
    fleet.wait(fleet.takeover_seconds)
    assert len(other.recover(SCOPE).entries) == 1
    assert journal.claim(_job("job-2"), SCOPE)
    until(log_handler.called.is_set)


def test_a_timer_that_raises_costs_no_lease(client: Any, caplog: pytest.LogCaptureFixture) -> None:
    """The timer is the partner's; the thread goes on, and renews the lease when the timer can be read again."""
    is_broken = threading.Event()

    def read() -> float:
        if is_broken.is_set():
            raise SystemExit
        return read_timer()

    fleet = Fleet(client, takeover_seconds=0.12, timer=read)  # type: ignore[arg-type] # any timer
    fleet.open().claim(_job(), SCOPE)
    is_broken.set()
    until(lambda: "the lease of this worker was not renewed: SystemExit" in caplog.text)
    is_broken.clear()
    first = _find_beats(fleet.journals)
    until(lambda: _find_beats(fleet.journals) > first + 2)


def test_a_job_is_taken_over_in_time(fleet: Fleet) -> None:
    """A worker that looks as often as it should has the jobs of a dead one within the time, and not too early."""
    journal, other = fleet.open(), fleet.open()
    other.recover(SCOPE)
    journal.claim(_job(), SCOPE)
    journal._lease.stop()
    died_at = fleet.timer.now
    while not other.recover(SCOPE).entries:
        for _ in range(2):
            fleet.timer.now += other.recovery_seconds / 2
            other._lease.beat()
    assert fleet.takeover_seconds / 2 < fleet.timer.now - died_at <= fleet.takeover_seconds


def test_a_paused_worker_loses_its_jobs(fleet: Fleet, caplog: pytest.LogCaptureFixture) -> None:
    """What it writes has no effect, it may not report, and it goes on with a new lease."""
    journal, other = fleet.open(), fleet.open()
    journal.claim(_job(), SCOPE)
    journal.running("job-1")
    other.recover(SCOPE)
    assert journal.hold("job-1") > 0
    fleet.journals.remove(journal)  # paused
    fleet.wait(fleet.takeover_seconds)
    (entry,) = other.recover(SCOPE).entries
    assert (entry.state, entry.crashes) == (JournalState.RUNNING, 1)
    before = list(other.jobs())
    assert journal.hold("job-1") == 0
    until(lambda: "takes its jobs over" in caplog.text)
    journal.result("job-1", Succeeded())
    journal.finish("job-1", "reported")
    journal.withdraw("job-1")
    assert list(other.jobs()) == before
    assert journal.claim(_job("job-2"), SCOPE)
    assert journal.hold("job-2") > 0
    assert journal.recover(SCOPE).entries == ()
    assert other.hold("job-1") > 0


def test_a_machine_that_was_paused_renews_its_lease(fleet: Fleet, caplog: pytest.LogCaptureFixture) -> None:
    """The timer may stand still while Lambda or a hypervisor pauses a machine; the clock shows that time has passed."""
    now = [1000.0]
    journal, other = fleet.open(lambda: now[0], timer=lambda: 1.0), fleet.open()
    journal.claim(_job(), SCOPE)
    journal.finish("job-1", "reported")
    fleet.journals.remove(journal)  # paused
    other.recover(SCOPE)
    fleet.wait(fleet.takeover_seconds)
    other.recover(SCOPE)
    now[0] += fleet.takeover_seconds
    journal.recover(SCOPE)
    journal.claim(_job("job-2"), SCOPE)
    assert other.recover(SCOPE).entries == ()
    assert journal.hold("job-2") > 0
    assert caplog.records == []  # it had no job, so nothing is wrong


@pytest.mark.parametrize("is_set_back", [False, True])
def test_an_environment_that_is_used_often_keeps_its_lease(fleet: Fleet, *, is_set_back: bool) -> None:
    """Lambda freezes it between its events, so its timer and its thread stand still; only the clock has this time."""
    now = [1000.0]
    journal, other = fleet.open(lambda: now[0], timer=lambda: 1.0), fleet.open()
    journal.recover(SCOPE)
    fleet.journals.remove(journal)  # no beats but its own
    for number in range(8):
        other.recover(SCOPE)
        fleet.wait(fleet.takeover_seconds * 0.2)
        now[0] += -1.0 if is_set_back else fleet.takeover_seconds * 0.2
        assert journal.claim(_job(f"job-{number}"), SCOPE)
        assert other.recover(SCOPE).entries == ()
        left = journal.hold(f"job-{number}")
        assert fleet.takeover_seconds / 4 <= left <= fleet.takeover_seconds / 2
        journal.finish(f"job-{number}", "reported")


def test_a_beat_that_failed_is_repeated_at_the_next_use(fleet: Fleet) -> None:
    """The clock of the failed beat does not count, because the table does not have it."""
    now = [1000.0]
    journal, other = fleet.open(lambda: now[0], timer=lambda: 1.0), fleet.open()
    journal.recover(SCOPE)
    fleet.journals.remove(journal)  # frozen
    other.recover(SCOPE)
    fleet.wait(fleet.takeover_seconds)
    now[0] += fleet.takeover_seconds
    journal._table._client = _fail(fleet.client, "put_item")
    with pytest.raises(JournalError, match="cannot be written"):
        journal.recover(SCOPE)
    journal._table._client = fleet.client
    assert journal.claim(_job(), SCOPE)
    assert other.recover(SCOPE).entries == ()
    assert journal.hold("job-1") > 0


def test_a_job_that_another_worker_took_is_not_held(fleet: Fleet) -> None:
    """The conditional write fails, although the lease is valid: the job was uncertain, and offered again."""
    journal, other = fleet.open(), fleet.open()
    journal.claim(_job(), SCOPE)
    journal.uncertain("job-1")
    assert other.claim(_job(), SCOPE)
    fleet.timer.now += 2
    assert journal.hold("job-1") == 0
    assert journal.hold("job-1") == 0
    assert other.hold("job-1") > 0


def test_a_lease_that_cannot_be_renewed_allows_no_report(fleet: Fleet) -> None:
    """The worker does not know whether another one has the job."""
    journal = fleet.open(takeover_seconds=4)
    journal.claim(_job(), SCOPE)
    fleet.timer.now += 0.9
    assert journal.hold("job-1") == pytest.approx(1.1)
    fleet.timer.now += 0.2
    journal._table._client = _fail(fleet.client, "put_item")
    with pytest.raises(JournalError, match="cannot be written"):
        journal.hold("job-1")
    journal._table._client = fleet.client
    assert journal.hold("job-1") > 0


def test_a_confirmation_that_takes_too_long_allows_no_report(fleet: Fleet) -> None:
    """The lease is nearly over when its response is there."""
    journal = fleet.open()
    journal.claim(_job(), SCOPE)
    fleet.timer.now += fleet.takeover_seconds / 5

    class _Slow:
        def __getattr__(self, name: str) -> Any:
            fleet.timer.now += fleet.takeover_seconds / 5
            return getattr(fleet.client, name)

    journal._table._client = _Slow()
    with pytest.raises(JournalError, match="ends before a result can be reported"):
        journal.hold("job-1")


def test_a_worker_that_could_not_beat_does_not_judge_others(fleet: Fleet) -> None:
    """The table may have failed for all of them: nobody is dead when it works again."""
    journal, other = fleet.open(), fleet.open()
    journal.claim(_job(), SCOPE)
    other.recover(SCOPE)
    fleet.timer.now += fleet.takeover_seconds  # nobody beats
    assert other.recover(SCOPE).entries == ()
    fleet.timer.now += fleet.takeover_seconds / 12
    other._lease.beat()
    assert other.recover(SCOPE).entries == ()
    fleet.wait(fleet.takeover_seconds)
    assert other.recover(SCOPE).entries == ()
    assert journal.hold("job-1") > 0


def test_a_takeover_that_died_is_continued(fleet: Fleet) -> None:
    """The second worker has the first one's verdict on which jobs are suspects, though it sees only the rest."""
    dead, taker, other = fleet.open(), fleet.open(), fleet.open()
    for number in range(2):
        dead.claim(_job(str(number)), SCOPE)
        dead.running(str(number))
    other.recover(OTHER_SCOPE)
    taker.recover(OTHER_SCOPE)
    fleet.crash(dead)
    puts = itertools.count()

    class _Third:
        def __getattr__(self, name: str) -> Any:
            is_last = name == "put_item" and next(puts) == 2
            return getattr(_fail(fleet.client, "put_item") if is_last else fleet.client, name)

    taker._table._client = _Third()
    assert [entry.is_suspect for entry in taker.recover(SCOPE).entries] == [True]
    assert other.recover(SCOPE).entries == ()
    fleet.crash(taker)
    found = sorted((entry.job.job_id, entry.crashes, entry.is_suspect) for entry in other.recover(SCOPE).entries)
    assert found == [("0", 1, True), ("1", 0, True)]  # the taker had the first one alone
    assert [item["sk"]["S"] for item in fleet.items() if "lease#" in item["sk"]["S"]] == ["lease#" + other._lease.name]


def test_a_worker_that_beats_just_in_time_keeps_its_jobs(fleet: Fleet) -> None:
    """The other worker has judged it by what it read before."""
    paused, other = fleet.open(), fleet.open()
    paused.claim(_job(), SCOPE)
    other.recover(SCOPE)
    fleet.journals.remove(paused)
    fleet.wait(fleet.takeover_seconds)

    class _Late:
        def __getattr__(self, name: str) -> Any:
            if name == "put_item":
                other._table._client = fleet.client
                paused._lease.beat()
            return getattr(fleet.client, name)

    other._table._client = _Late()
    assert other.recover(SCOPE).entries == ()
    assert other._table._client is fleet.client
    assert paused.hold("job-1") > 0


def test_a_job_of_a_worker_without_a_lease_is_taken_over(fleet: Fleet) -> None:
    """A worker that was paused in a claim goes on after its lease was removed."""
    paused, other = fleet.open(), fleet.open()
    paused.claim(_job(), SCOPE)
    key = {"pk": {"S": "open"}, "sk": {"S": "lease#" + paused._lease.name}}
    fleet.client.delete_item(TableName=fleet.table_name, Key=key)
    assert len(other.recover(SCOPE).entries) == 1
    assert paused.hold("job-1") > 0  # its lease is not over by its own timer
    fleet.timer.now += 2
    assert paused.hold("job-1") == 0


def test_a_job_that_changes_during_a_takeover_waits_for_the_next_look(fleet: Fleet) -> None:
    """A worker that was paused in the middle of a write goes on."""
    dead, other = fleet.open(), fleet.open()
    dead.claim(_job(), SCOPE)
    dead.running("job-1")
    other.recover(SCOPE)
    fleet.crash(dead)

    class _Late:
        def __getattr__(self, name: str) -> Any:
            if name == "put_item":
                dead.result("job-1", Succeeded())
                other._table._client = fleet.client
            return getattr(fleet.client, name)

    lease_item = next(item for item in other._table.query("open") if item["sk"] == "lease#" + dead._lease.name)
    other._lease.seize(lease_item, "none")
    other._table._client = _Late()
    assert other._lease.seize({**lease_item, "beat": -1}, "none") is None
    other._table._client = _Late()
    takeover_entries = other.recover(SCOPE).entries
    assert [entry.state for entry in (*takeover_entries, *other.recover(SCOPE).entries)] == [JournalState.RESULT]


# --- items that cannot be read


@pytest.mark.parametrize(
    ("attribute", "value", "is_of_scope"),
    [
        ("state", {"S": "LATER"}, True),
        ("result", {"S": "{"}, True),
        ("changed_at", {"BOOL": True}, True),
        ("scope", {"S": "{"}, False),
        ("scope", {"N": "1"}, False),
    ],
)
def test_an_item_that_cannot_be_read_is_set_aside(
    fleet: Fleet, attribute: str, value: dict[str, Any], *, is_of_scope: bool
) -> None:
    """The others are taken over; an operator ends it."""
    journal, other = fleet.open(), fleet.open()
    for number in range(2):
        journal.claim(_job(str(number)), SCOPE)
    journal.close()
    item = next(item for item in fleet.items() if item["sk"]["S"].endswith("#0"))
    fleet.client.put_item(TableName=fleet.table_name, Item={**item, attribute: value})
    assert len(other.recover(OTHER_SCOPE).set_aside) == (0 if is_of_scope else 1)
    recovered = other.recover(SCOPE)
    assert [entry.job.job_id for entry in recovered.entries] == ["1"]
    assert [row.job_id for row in recovered.set_aside] == ["0"]
    assert [entry.job.job_id for entry in other.jobs()] == ["1"]
    other.end("0")
    assert other.recover(SCOPE).set_aside == ()


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        *(("state", None), ("changed_at", None), ("changed_at", {"NULL": True})),
        *(("job_id", {"L": []}), ("scope", {"S": "{"})),
    ],
)
def test_a_job_that_is_set_aside_has_no_owner_after_its_worker_has_ended(
    fleet: Fleet, attribute: str, value: dict[str, Any] | None
) -> None:
    """An offer of the job is not refused, whatever is damaged, and the lease of the ended worker is removed."""
    journal, other = fleet.open(), fleet.open()
    for job_id in ("bad", "good"):
        journal.claim(_job(job_id), SCOPE)
    item = next(item for item in fleet.items() if item["sk"]["S"].endswith("#bad"))
    changed = {name: kept for name, kept in item.items() if name != attribute}
    fleet.client.put_item(TableName=fleet.table_name, Item=changed if value is None else {**changed, attribute: value})
    assert [row.job_id for row in other.recover(SCOPE).set_aside] == []
    assert not other.claim(_job("bad"), SCOPE)
    fleet.crash(journal)
    recovered = other.recover(SCOPE)
    assert [entry.job.job_id for entry in recovered.entries] == ["good"]
    assert [row.job_id for row in recovered.set_aside] == ["bad"]
    assert [item["sk"]["S"] for item in fleet.items() if item["sk"]["S"].startswith("lease#")] == [
        "lease#" + other._lease.name
    ]
    assert other.claim(_job("bad"), SCOPE)


def test_a_job_that_is_set_aside_stays_with_a_worker_that_writes_it(fleet: Fleet) -> None:
    """The worker did not know that it counts as ended, and its write has repaired the item."""
    journal = fleet.open()
    journal.claim(_job(), SCOPE)
    item = next(item for item in fleet.items() if item["sk"]["S"].endswith("#job-1"))
    fleet.client.put_item(TableName=fleet.table_name, Item={**item, "state": {"S": "LATER"}})

    class _Paused:
        def __getattr__(self, name: str) -> Any:
            if name == "put_item":
                journal.running("job-1")
            return getattr(fleet.client, name)

    other, desk = fleet.open(), fleet.open()
    fleet.crash(journal)
    other._table._client = _Paused()
    assert other.recover(SCOPE).entries == ()
    assert [(entry.state, entry.is_owner_alive) for entry in desk.jobs()] == [(JournalState.RUNNING, False)]
    other._table._client = fleet.client
    assert [entry.job.job_id for entry in other.recover(SCOPE).entries] == ["job-1"]


def test_a_job_that_is_set_aside_and_cannot_be_written_costs_one_job(fleet: Fleet) -> None:
    """DynamoDB refuses an item that would become too large; the job keeps its owner, and the others are taken over."""
    journal = fleet.open()
    for job_id in ("a", "b"):
        journal.claim(_job(job_id), SCOPE)
    item = next(item for item in fleet.items() if item["sk"]["S"].endswith("#a"))
    fleet.client.put_item(TableName=fleet.table_name, Item={**item, "state": {"S": "LATER"}})
    other = fleet.open()
    other.claim(_job("own"), OTHER_SCOPE)
    fleet.crash(journal)

    class _Full:
        def __getattr__(self, name: str) -> Any:
            method = getattr(fleet.client, name)

            def call(**request: Any) -> Any:
                if request.get("Item", {}).get("job_id") == {"S": "a"}:
                    raise ClientError({"Error": {"Code": "ValidationException", "Message": "too large"}}, "PutItem")
                return method(**request)

            return call

    other._table._client = _Full()
    for expected in (["b"], []):
        recovered = other.recover(SCOPE)
        assert [entry.job.job_id for entry in recovered.entries] == expected
        assert [row.job_id for row in recovered.set_aside] == ["a"]


_FOREIGN: tuple[dict[str, Any], ...] = ({"L": []}, {"M": {"a": {"S": "b"}}}, {"SS": ["a"]}, {"B": b"a"}, {"NULL": True})
_PROBLEMS = {
    **dict.fromkeys(("job_id", "client_id", "nonce"), "its ids cannot be read"),
    "scope": "its scope cannot be read",
    "state": "its state is unknown",
    "result": "its result cannot be read",
    "may_be_accepted": "its attempts to report cannot be read",
    "crashes": "its crashes cannot be read",
    "is_suspect": "its mark as a suspect cannot be read",
    "claimed_at": "its times cannot be read",
    "changed_at": "its times cannot be read",
}


def test_values_of_foreign_types_cost_one_job_each(fleet: Fleet) -> None:
    """Each is set aside, and the others are taken over."""
    journal, other = fleet.open(), fleet.open()
    for job_id in (*_PROBLEMS, "good"):
        journal.claim(_job(job_id), SCOPE)
    journal.close()
    for number, attribute in enumerate(_PROBLEMS):
        item = next(item for item in fleet.items() if item["sk"]["S"].endswith(f"#{attribute}"))
        value = _FOREIGN[number % len(_FOREIGN)]
        fleet.client.put_item(TableName=fleet.table_name, Item={**item, attribute: value})
    recovered = other.recover(SCOPE)
    assert [entry.job.job_id for entry in recovered.entries] == ["good"]
    assert sorted(row.problem for row in recovered.set_aside) == sorted(_PROBLEMS.values())
    assert {row.job_id for row in recovered.set_aside} >= _PROBLEMS.keys() - {"job_id"}


@pytest.mark.parametrize("value", [*_FOREIGN, {"N": "5"}, {"S": ""}, {"S": "unknown"}, None])
def test_a_job_whose_owner_is_no_lease_is_taken_over(fleet: Fleet, value: dict[str, Any] | None) -> None:
    """No running worker can have such a name; each change of the job by the first worker fails."""
    journal, other, desk = fleet.open(), fleet.open(), fleet.open()
    for job_id in ("bad", "good"):
        journal.claim(_job(job_id), SCOPE)
    journal.running("bad")
    item = next(item for item in fleet.items() if item["sk"]["S"].endswith("#bad"))
    fleet.client.put_item(TableName=fleet.table_name, Item={**item, "owner": value} if value else _without_owner(item))
    listed = {entry.job.job_id: entry.is_owner_alive for entry in desk.jobs()}
    assert listed == {"bad": None if value is None else False, "good": True}
    (entry,) = other.recover(SCOPE).entries
    assert (entry.job.job_id, entry.crashes) == ("bad", 0 if value is None else 1)
    assert journal.hold("good") > 0
    fleet.timer.now += 2
    assert journal.hold("bad") == 0
    assert other.hold("bad") > 0


def _without_owner(item: dict[str, Any]) -> dict[str, Any]:
    """Return an item of a job that has been released."""
    return {name: value for name, value in item.items() if name != "owner"}


@pytest.mark.parametrize("value", [*_FOREIGN, {"N": "5"}, {"S": ""}])
def test_an_operator_ends_a_job_whose_owner_is_no_lease(fleet: Fleet, value: dict[str, Any]) -> None:
    """The command that waits for signs of life of the workers does not wait for such an owner."""
    journal, desk = fleet.open(), fleet.open()
    journal.claim(_job(), SCOPE)
    item = next(item for item in fleet.items() if item["sk"]["S"].endswith("#job-1"))
    fleet.client.put_item(TableName=fleet.table_name, Item={**item, "owner": value})
    assert list(desk._observe_owners()) == []
    desk.end("job-1")
    assert [entry.state for entry in desk.jobs()] == [JournalState.DONE]


# Each attribute of an item whose absence or other value leaves a job that can be continued.
_OPTIONAL = {"owner", "write", "began_at", "nonce", "result", "outcome", "claimed_at"}


@pytest.mark.parametrize("attribute", [*_PROBLEMS, *sorted(_OPTIONAL - _PROBLEMS.keys())])
@pytest.mark.parametrize("value", [None, *_FOREIGN, {"N": "-5"}, {"N": "1e99"}, {"S": "x"}])
def test_each_attribute_of_each_type_costs_at_most_its_job(
    fleet: Fleet, attribute: str, value: dict[str, Any] | None
) -> None:
    """The job is taken over, or set aside by its id in one scope at least; an operator can end it by that id."""
    journal, other, another = fleet.open(), fleet.open(), fleet.open()
    for job_id in ("bad", "good"):
        journal.claim(_job(job_id), SCOPE)
    journal.close()
    item = next(item for item in fleet.items() if item["sk"]["S"].endswith("#bad"))
    changed = {name: kept for name, kept in item.items() if name != attribute}
    fleet.client.put_item(TableName=fleet.table_name, Item=changed if value is None else {**changed, attribute: value})
    first, second = other.recover(SCOPE), another.recover(SCOPE)
    assert "good" in {entry.job.job_id for entry in first.entries}
    taken, set_aside = {entry.job.job_id for entry in first.entries}, {row.job_id for row in first.set_aside}
    assert "bad" in taken or set_aside == {"bad"} == {row.job_id for row in second.set_aside}
    other.close()
    another.end("bad")
    assert another.recover(SCOPE).set_aside == ()
    assert another.is_finished("bad", SCOPE)


def test_a_time_with_more_digits_than_python_reads_is_set_aside(fleet: Fleet) -> None:
    """The condition of a takeover would never hold for it."""
    journal, other = fleet.open(), fleet.open()
    journal.claim(_job(), SCOPE)
    journal.close()
    item = next(item for item in fleet.items() if item["sk"]["S"].endswith("#job-1"))
    number = {"N": "1700000000.1234567890123456789"}
    fleet.client.put_item(TableName=fleet.table_name, Item={**item, "changed_at": number, "tag": number})
    assert [row.problem for row in other.recover(SCOPE).set_aside] == ["its times cannot be read"]
    fleet.client.put_item(TableName=fleet.table_name, Item={**item, "tag": number})
    assert [entry.job.job_id for entry in other.recover(SCOPE).entries] == ["job-1"]
    assert next(item for item in fleet.items() if item["sk"]["S"].endswith("#job-1"))["tag"] == number


@pytest.mark.parametrize("key", ["job#", "job#x", "job#x#", "job#x#other"])
def test_an_item_under_the_key_of_another_job_is_set_aside(fleet: Fleet, key: str) -> None:
    """It has a name by which an operator ends it."""
    journal, other = fleet.open(), fleet.open()
    journal.claim(_job(), SCOPE)
    journal.close()
    item = next(item for item in fleet.items() if item["sk"]["S"].endswith("#job-1"))
    fleet.client.put_item(TableName=fleet.table_name, Item={**item, "sk": {"S": key}})
    recovered = other.recover(SCOPE)
    assert [entry.job.job_id for entry in recovered.entries] == ["job-1"]
    (row,) = recovered.set_aside
    assert row == SetAside(
        job_id="other" if key.endswith("other") else key, problem="its id or scope contradicts its key"
    )
    other.end(row.job_id)
    assert other.recover(SCOPE).set_aside == ()


def test_an_item_in_the_wrong_partition_is_set_aside(fleet: Fleet) -> None:
    """A finished job among the unfinished ones is not taken over, and an unfinished one among the others not listed."""
    journal, other = fleet.open(), fleet.open()
    for job_id in ("a", "b"):
        journal.claim(_job(job_id), SCOPE)
    journal.finish("b", "reported")
    journal.close()
    a, b = (next(item for item in fleet.items() if item["sk"]["S"].endswith(f"#{name}")) for name in ("a", "b"))
    for item, state in ((a, "DONE"), (b, "RUNNING")):
        fleet.client.put_item(TableName=fleet.table_name, Item={**item, "state": {"S": state}})
    recovered = other.recover(SCOPE)
    assert recovered.entries == ()
    assert [(row.job_id, row.problem) for row in recovered.set_aside] == [("a", "its state contradicts its key")]
    assert list(other.jobs()) == []
    other.end("a")
    assert [entry.job.job_id for entry in other.jobs()] == ["a"]


def test_a_foreign_attribute_is_kept(fleet: Fleet) -> None:
    """A program of the partner may have added it; the job is taken over all the same."""
    journal, other = fleet.open(), fleet.open()
    journal.claim(_job(), SCOPE)
    other.recover(SCOPE)
    item = next(item for item in fleet.items() if item["sk"]["S"].endswith("#job-1"))
    tags = {"M": {"team": {"SS": ["a"]}}}
    fleet.client.put_item(TableName=fleet.table_name, Item={**item, "tags": tags})
    fleet.crash(journal)
    assert [entry.job.job_id for entry in other.recover(SCOPE).entries] == ["job-1"]
    other.finish("job-1", "reported")
    assert [item["tags"] for item in fleet.items() if "tags" in item] == [tags]


@pytest.mark.parametrize("seconds", ["-5", "0", "1e99", "1000000000000"])
def test_the_seconds_of_a_lease_that_no_worker_writes_are_not_used(fleet: Fleet, seconds: str) -> None:
    """Otherwise the jobs of a running worker would be taken over, or those of an ended one never."""
    journal, other = fleet.open(), fleet.open()
    journal.claim(_job(), SCOPE)
    lease = next(item for item in fleet.items() if item["sk"]["S"] == "lease#" + journal._lease.name)
    fleet.client.put_item(TableName=fleet.table_name, Item={**lease, "seconds": {"N": seconds}})
    assert other.recover(SCOPE).entries == ()
    journal._lease.stop()
    fleet.wait(fleet.takeover_seconds)
    assert [entry.job.job_id for entry in other.recover(SCOPE).entries] == ["job-1"]


@pytest.mark.parametrize("attribute", ["dead_by", "beat", "seconds", "other"])
def test_a_lease_with_a_foreign_value_costs_no_job(fleet: Fleet, attribute: str) -> None:
    """Nor does one without its attributes."""
    journal, other = fleet.open(), fleet.open()
    journal.claim(_job(), SCOPE)
    other.recover(SCOPE)
    for name, number in (("a", {}), ("b", {"beat": {"N": "1"}})):
        damaged: dict[str, Any] = {"pk": {"S": "open"}, "sk": {"S": f"lease#{name}"}, **number, attribute: {"M": {}}}
        fleet.client.put_item(TableName=fleet.table_name, Item=damaged)
    other.recover(SCOPE)
    fleet.crash(journal)
    assert [entry.job.job_id for entry in other.recover(SCOPE).entries] == ["job-1"]


def test_a_damaged_lease_does_not_stop_a_takeover(fleet: Fleet) -> None:
    """Its time is then the own one; a finished item that is damaged is left out."""
    journal, other = fleet.open(), fleet.open()
    journal.claim(_job(), SCOPE)
    other.recover(SCOPE)
    lease = next(item for item in fleet.items() if item["sk"]["S"] == "lease#" + journal._lease.name)
    damaged = {**lease, "seconds": {"S": "x"}}
    fleet.client.put_item(TableName=fleet.table_name, Item=damaged)
    fleet.client.put_item(TableName=fleet.table_name, Item={"pk": {"S": "done"}, "sk": {"S": "x#y"}})
    fleet.crash(journal)
    assert len(other.recover(SCOPE).entries) == 1
    assert len(list(other.jobs())) == 1


# --- an operator


def test_an_operator_ends_jobs(fleet: Fleet) -> None:
    """Uncertain jobs, released ones, and those of workers that are seen to be dead; not those of living ones."""
    journal, desk = fleet.open(), fleet.open()
    for name in ("running", "uncertain", "released"):
        journal.claim(_job(name), SCOPE)
    journal.uncertain("uncertain")
    journal.release("released")
    desk.end("uncertain")
    desk.end("released")
    with pytest.raises(JournalError, match="a running worker has the job"):
        desk.end("running")
    with pytest.raises(JournalError, match="no unfinished job"):
        desk.end("unknown")
    fleet.crash(journal)
    desk.end("running")
    found = {entry.job.job_id: (entry.state, entry.outcome) for entry in desk.jobs()}
    assert found == dict.fromkeys(("running", "uncertain", "released"), (JournalState.DONE, "ended by an operator"))


# --- with a worker


def test_a_result_of_a_job_that_was_taken_over_is_not_reported(fleet: Fleet) -> None:
    """The worker that has lost the job ends it as another worker's, and tries again while it cannot know."""
    journal, other = fleet.open(), fleet.open()
    journal._table._client = fleet.client
    events: list[tuple[str, str]] = []
    with LocalCodePipeline() as service:
        service.register_client(CLIENT_ID, CLIENT_TOKEN)
        action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)

        def handle(_job: AnyJob) -> Succeeded:
            other.recover(SCOPE)
            fleet.journals.remove(journal)
            fleet.wait(fleet.takeover_seconds)
            other.recover(attrs.evolve(SCOPE, endpoint_url=service.client().endpoint_url))
            journal._lease._table._client = _fail(fleet.client, "put_item")
            return Succeeded()

        worker = make_worker(
            service, handle, journal=journal, on_event=lambda event: events.append((event.name, event.detail))
        )
        outcomes = worker.run_once()
        worker.close()
        assert action.status == "InProgress"
    assert [type(outcome) for outcome in outcomes] == [LostRace]
    assert events == [
        ("claimed", ""),
        ("journal_failed", f"decided: the journal's table {fleet.table_name} cannot be written: {_THROTTLED}"),
        ("call_failed", "report: another worker has taken the job over"),
        ("lost_race", ""),
    ]


def test_a_job_that_was_taken_over_twice_is_run_once(fleet: Fleet) -> None:
    """A worker stands still after it has taken the job over, so that another worker takes it over and runs it."""
    first, second, third = fleet.open(), fleet.open(), fleet.open()
    ran: list[str] = []
    with LocalCodePipeline() as service, service.client() as partner:
        service.register_client(CLIENT_ID, CLIENT_TOKEN)
        scope = scope_of(partner)
        action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
        offer = ThirdPartyJob(client_id=CLIENT_ID, job_id=action.jobs[0].id)
        first.claim(offer, scope)
        claim(partner, offer.job_id)
        first.running(offer.job_id)
        first.release(offer.job_id, has_begun=False)

        def handle(job: AnyJob) -> Succeeded:
            ran.append(job.id)
            return Succeeded()

        def take_over() -> None:
            third.recover(scope)
            fleet.journals.remove(second)  # it stands still
            fleet.wait(fleet.takeover_seconds)
            with make_worker(service, handle, journal=third) as worker:
                assert [type(outcome) for outcome in worker.run_once()] == [Reported]

        service.faults.add("GetThirdPartyJobDetails", Before(take_over))
        with make_worker(service, handle, journal=second) as worker:
            assert [type(outcome) for outcome in worker.run_once()] == [LostRace]
    assert ran == [offer.job_id]


def test_a_worker_reports_while_it_holds_a_job(fleet: Fleet) -> None:
    """A confirmation that fails is tried again; the report ends with the lease."""
    journal = fleet.open()
    events: list[str] = []
    with LocalCodePipeline() as service:
        service.register_client(CLIENT_ID, CLIENT_TOKEN)
        action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)

        def handle(_job: AnyJob) -> Succeeded:
            fleet.timer.now += 2
            journal._table._client = _fail(fleet.client, "put_item", times=2)
            return Succeeded()

        worker = make_worker(service, handle, journal=journal, on_event=lambda event: events.append(event.name))
        outcomes = worker.run_once()
        worker.close()
        assert action.status == "Succeeded"
    assert [type(outcome) for outcome in outcomes] == [Reported]
    assert events == ["claimed", "journal_failed", "call_failed", "reported"]


def test_a_journal_whose_leases_cannot_be_found_out_is_refused(fleet: Fleet) -> None:
    """A worker that does not know of the leases would not ask whether it still has its jobs."""

    class _Raising(DynamoDBJournal):
        @property
        def recovery_seconds(self) -> float:
            raise ZeroDivisionError

    journal = _Raising(fleet.table_name, client=fleet.client)
    with pytest.raises(ZeroDivisionError):
        _ = journal.recovery_seconds
    with LocalCodePipeline() as service:
        worker = make_worker(service, journal=journal)
        with pytest.raises(JournalError, match="the journal raised ZeroDivisionError"):
            worker.run()


# --- the table


def test_the_template_has_the_same_table() -> None:
    """So do its rights and those of the policy; and DynamoDB deletes what has expired."""
    text = (Path(__file__).parents[2] / "docs/deploy/journal-table.yaml").read_text(encoding="utf-8")
    template = yaml.safe_load(re.sub(r"!\w+ ", "", text))
    table = dict(template["Resources"]["Journal"]["Properties"])
    expiry = {"AttributeName": EXPIRY, "Enabled": True}
    assert table.pop("TimeToLiveSpecification") == expiry
    assert table == dynamodb_table("TableName")
    (statement,) = template["Resources"]["WorkerPolicy"]["Properties"]["PolicyDocument"]["Statement"]
    policy = journal_policy("jobs", region="us-east-1", account="123456789012")
    assert policy["Statement"] == [
        {**statement, "Resource": ["arn:aws:dynamodb:us-east-1:123456789012:table/jobs"]},
    ]


@pytest.mark.parametrize("table_name", ["*", "jobs/index/*", "ab"])
def test_nothing_widens_the_policy(table_name: str) -> None:
    """A wildcard is refused."""
    with pytest.raises(InvalidRequestError, match="table_name: must be the name of a DynamoDB table"):
        journal_policy(table_name, region="us-east-1", account="123456789012")


@pytest.mark.slow
def test_a_linter_takes_the_template() -> None:
    """AWS's own linter finds nothing."""
    path = Path(__file__).parents[2] / "docs/deploy/journal-table.yaml"
    done = subprocess.run(
        [Path(sys.executable).with_name("cfn-lint"), path], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.returncode) == ("", 0)
