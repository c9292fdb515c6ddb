"""The iterator of the blocking client: when it polls, for how much, how long it pauses, and what ends it."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.config import Config
from support import both_clients as both
from support.scripted_server import ReceivedRequest, Response, ScriptedServer, error, ok

from cp_thirdparty import ActionTypeId, ThirdPartyJobClient, exceptions
from cp_thirdparty._core import blocking_client
from cp_thirdparty._core.backoff import LONGEST_PAUSE

_TYPE = ActionTypeId(category="Test", owner="ThirdParty", provider="p", version="1")


class _Clock:
    """A clock that only pauses move, and what they were."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.pauses: list[float] = []
        self.during: Any = None

    def sleep(self, seconds: float) -> None:
        """Pause without taking time."""
        self.pauses.append(seconds)
        self.seconds += seconds
        if self.during is not None:
            self.during()

    @property
    def total(self) -> float:
        """Seconds of all pauses."""
        return sum(self.pauses)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> _Clock:
    """Let no pause take time."""
    made = _Clock()
    monkeypatch.setattr(blocking_client, "_clock", lambda: made.seconds)
    monkeypatch.setattr(blocking_client, "_sleep", made.sleep)
    return made


class _Service:
    """Offers jobs once each, after some polls without one and some that fail."""

    def __init__(self, jobs: int, *, empty: int = 0, failures: int = 0, failure: Response | None = None) -> None:
        self.left = [{"clientId": "c", "jobId": str(number)} for number in range(jobs)]
        self.empty = empty
        self.failures = failures
        self.failure = failure

    def __call__(self, request: ReceivedRequest) -> Response:
        if self.failure is not None and self.failures:
            self.failures -= 1
            return self.failure
        if self.empty:
            self.empty -= 1
            return ok({"jobs": []})
        count = request.parameters["maxBatchSize"]
        found, self.left = self.left[:count], self.left[count:]
        return ok({"jobs": found})


def _client(server: ScriptedServer) -> ThirdPartyJobClient:
    return ThirdPartyJobClient.create(
        region_name="us-east-1",
        endpoint_url=server.endpoint_url,
        session=both.session("blocking", "AKIDEXAMPLE", "made up"),
        config=Config(proxies={}, retries={"mode": "standard", "total_max_attempts": 1}),
    )


def _take_jobs(service: _Service, count: int, **settings: Any) -> tuple[list[str], list[ReceivedRequest]]:
    """Take so many jobs, and return their ids and the requests."""
    with ScriptedServer(service) as server, _client(server) as polling:
        jobs = itertools.islice(polling.iter_third_party_jobs(_TYPE, **settings), count)
        return [job.job_id for job in jobs], server.requests


def test_it_yields_each_job(clock: _Clock) -> None:
    """Jobs come in their order, one a poll, without a pause between them."""
    taken, request = _take_jobs(_Service(5), 5)
    assert taken == ["0", "1", "2", "3", "4"]
    assert [each.parameters["maxBatchSize"] for each in request] == [1] * 5
    assert clock.pauses == []


def test_it_polls_when_a_batch_is_used_up() -> None:
    """It does not poll while the loop is busy or has jobs of the last poll."""
    with ScriptedServer(_Service(4)) as server, _client(server) as polling:
        jobs = polling.iter_third_party_jobs(_TYPE, max_batch_size=2)
        for number in range(4):
            assert next(jobs).job_id == str(number)
            assert len(server.requests) == number // 2 + 1


def test_it_takes_no_more_than_it_asked_for() -> None:
    """Jobs beyond the batch are not taken: CodePipeline offers them again."""
    sent = [{"clientId": "c", "jobId": str(number)} for number in range(5)]
    with ScriptedServer(lambda _: ok({"jobs": sent})) as server, _client(server) as polling:
        jobs = itertools.islice(polling.iter_third_party_jobs(_TYPE, max_batch_size=2), 4)
        assert [job.job_id for job in jobs] == ["0", "1", "0", "1"]


def test_it_pauses_when_no_job_waits(clock: _Clock) -> None:
    """After a poll without a job it pauses for the interval, a fifth more or less."""
    taken, request = _take_jobs(_Service(1, empty=20), 1, poll_interval=10.0)
    assert (taken, len(request)) == (["0"], 21)
    assert 160.0 <= clock.total <= 240.0
    assert clock.total != pytest.approx(200.0, abs=1e-6)


_PASSING: dict[str, Response] = {
    "500": error("InternalFailure", status=500),
    "throttled": error("ThrottlingException"),
    "page": Response(body=b"<html>"),
    "expired": error("ExpiredTokenException"),
    "wrong shape": ok({}),
}


@pytest.mark.parametrize("failure", _PASSING)
def test_it_continues_after_a_temporary_failure(failure: str, clock: _Clock, caplog: pytest.LogCaptureFixture) -> None:
    """A failed poll is logged as a warning, and the pauses grow, up to a minute each."""
    taken, request = _take_jobs(_Service(1, failures=8, failure=_PASSING[failure]), 1, poll_interval=1.0)
    assert (taken, len(request)) == (["0"], 9)
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert [(record.name, record.getMessage()[:13]) for record in warnings] == [("cp_thirdparty", "poll failed: ")] * 8
    assert LONGEST_PAUSE < clock.total < 8 * LONGEST_PAUSE


def test_a_success_restores_the_plain_interval(clock: _Clock) -> None:
    """After failures and one good poll, pauses are as long as without failures."""
    service = _Service(2, failures=8, failure=_PASSING["500"])
    with ScriptedServer(service) as server, _client(server) as polling:
        jobs = polling.iter_third_party_jobs(_TYPE, poll_interval=1.0)
        next(jobs)
        clock.pauses.clear()
        service.empty = 1
        next(jobs)
    assert 0.8 <= clock.total <= 1.2


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("ActionTypeNotFoundException", exceptions.ActionTypeNotFoundException),
        ("AccessDeniedException", exceptions.AccessDeniedError),
    ],
)
def test_it_ends_with_a_lasting_failure(code: str, kind: type[exceptions.CodePipelineJobError]) -> None:
    """An action type that is missing, or that the caller may not poll, is raised, without cause and context."""
    with ScriptedServer(lambda _: error(code)) as server, _client(server) as polling:
        with pytest.raises(kind) as caught:
            next(polling.iter_third_party_jobs(_TYPE))
        assert len(server.requests) == 1
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)


@pytest.mark.parametrize(
    ("settings", "parameter"),
    [
        ({"poll_interval": 0}, "poll_interval"),
        ({"poll_interval": -1.0}, "poll_interval"),
        ({"poll_interval": None}, "poll_interval"),
        ({"poll_interval": float("nan")}, "poll_interval"),
        ({"max_batch_size": 0}, "max_batch_size"),
        ({"max_batch_size": None}, "max_batch_size"),
    ],
)
def test_a_bad_setting_is_refused(settings: dict[str, Any], parameter: str) -> None:
    """It asks for at least one job, and pauses for more than no time."""
    with ScriptedServer(_Service(1)) as server, _client(server) as polling:
        with pytest.raises(exceptions.InvalidRequestError) as caught:
            next(polling.iter_third_party_jobs(_TYPE, **settings))
        assert (caught.value.parameter, server.requests) == (parameter, [])


@pytest.fixture
def empty() -> Iterator[ScriptedServer]:
    """Serve no jobs, and an error that ends the iterator after five polls, so that no test polls without limit."""

    def respond(_: ReceivedRequest) -> Response:
        return ok({"jobs": []}) if len(server.requests) <= 5 else error("ActionTypeNotFoundException")

    with ScriptedServer(respond) as server:
        yield server


def test_closing_the_client_ends_a_pause(clock: _Clock, empty: ScriptedServer) -> None:
    """After `close()` the iterator raises within a quarter of a second, and polls no more."""
    polling = _client(empty)
    clock.during = polling.close
    jobs = polling.iter_third_party_jobs(_TYPE, poll_interval=1000.0)
    with pytest.raises(exceptions.InvalidRequestError, match="client: must be open") as caught:
        next(jobs)
    assert (clock.pauses, len(empty.requests)) == ([0.25], 1)
    assert (caught.value.operation_name, caught.value.attempts) == ("PollForThirdPartyJobs", 0)
    assert list(jobs) == []  # it is over


def test_a_client_that_was_closed_is_not_polled(empty: ScriptedServer) -> None:
    """An iterator that is used after its client was closed raises and sends nothing."""
    with _client(empty) as polling:
        jobs = polling.iter_third_party_jobs(_TYPE)
    with pytest.raises(exceptions.InvalidRequestError, match="client: must be open"):
        next(jobs)
    assert empty.requests == []


def test_closing_a_wrapped_client_ends_its_iterators() -> None:
    """`close()` ends the iterators of a wrapped client.  The caller's client stays open, and calls still work."""
    with ScriptedServer(_Service(2)) as server:
        raw: Any = both.session("blocking", "AKIDEXAMPLE", "made up").create_client(
            "codepipeline", region_name="us-east-1", endpoint_url=server.endpoint_url, config=Config(proxies={})
        )
        with ThirdPartyJobClient(raw) as polling:
            jobs = polling.iter_third_party_jobs(_TYPE)
            next(jobs)
        with pytest.raises(exceptions.InvalidRequestError, match="client: must be open"):
            next(jobs)
        assert polling.poll_for_third_party_jobs(_TYPE, max_batch_size=1)[0].job_id == "1"
        raw.close()
