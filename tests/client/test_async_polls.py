"""The iterator that polls forever: when it polls, for how much, how long it waits, and what ends it."""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing
from typing import Any

import pytest
from support import both_clients as both
from support.async_scripted_server import TYPE, Script, client_of, raw_client
from support.scripted_server import ReceivedRequest, Response, ScriptedServer, error, ok

from cp_thirdparty import ActionTypeId, AsyncCustomJobClient, AsyncThirdPartyJobClient, exceptions
from cp_thirdparty._core import asyncio_client
from cp_thirdparty._core.backoff import LONGEST_PAUSE


class _Queue:
    """Return jobs to polls, each job once; or an error, as often as the test wants."""

    def __init__(self, count: int, *, failures: int = 0, response: Response | None = None) -> None:
        self.jobs = [{"clientId": "c", "jobId": str(number)} for number in range(count)]
        self.failures = failures
        self.response = error("InternalFailure", status=500) if response is None else response

    def __call__(self, request: ReceivedRequest) -> Response:
        if self.failures:
            self.failures -= 1
            return self.response
        count = request.parameters["maxBatchSize"]
        found, self.jobs = self.jobs[:count], self.jobs[count:]
        return ok({"jobs": found})


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Let no pause take time, and note how long each should have been."""
    pauses: list[float] = []
    real = asyncio.sleep

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        await real(0)

    monkeypatch.setattr(asyncio_client, "_sleep", sleep)
    return pauses


def _take_jobs(server: ScriptedServer, count: int, **settings: Any) -> list[str]:
    """Take so many jobs of the iterator."""

    async def main() -> list[str]:
        taken: list[str] = []
        async with client_of(server.endpoint_url) as client:
            async for job in client.iter_third_party_jobs(TYPE, **settings):
                taken.append(job.job_id)
                if len(taken) == count:
                    break
        return taken

    return asyncio.run(main())


def test_it_gives_each_job_as_it_comes(server: ScriptedServer, script: Script, pauses: list[float]) -> None:
    """Jobs come in their order, one a poll, and there is no pause while they do."""
    script.respond = _Queue(5)
    assert _take_jobs(server, 5) == ["0", "1", "2", "3", "4"]
    assert [request.parameters["maxBatchSize"] for request in server.requests] == [1] * 5
    assert pauses == []


def test_it_polls_when_a_batch_is_used_up(server: ScriptedServer, script: Script) -> None:
    """Nothing is asked for while the loop is busy, or has jobs of the last poll."""
    script.respond = _Queue(4)

    async def main() -> None:
        async with (
            client_of(server.endpoint_url) as client,
            aclosing(client.iter_third_party_jobs(TYPE, max_batch_size=2)) as jobs,
        ):
            for number in range(4):
                assert (await jobs.__anext__()).job_id == str(number)
                await asyncio.sleep(0.01)
                assert len(server.requests) == number // 2 + 1

    asyncio.run(main())


def test_it_takes_no_more_than_it_asked_for(server: ScriptedServer, script: Script) -> None:
    """A service that sends too many jobs has the others back: they are not acknowledged, so it offers them again."""
    sent = [{"clientId": "c", "jobId": str(number)} for number in range(5)]
    script.respond = lambda _: ok({"jobs": sent})
    assert _take_jobs(server, 4, max_batch_size=2) == ["0", "1", "0", "1"]


def test_it_waits_when_no_job_does(server: ScriptedServer, script: Script, pauses: list[float]) -> None:
    """After a poll that brought nothing it pauses for the interval, a fifth more or less."""
    empty, queue = 20, _Queue(1)

    def respond(request: ReceivedRequest) -> Response:
        return ok({"jobs": []}) if len(server.requests) <= empty else queue(request)

    script.respond = respond
    assert _take_jobs(server, 1, poll_interval=10.0) == ["0"]
    assert len(pauses) == empty
    assert all(8.0 <= pause <= 12.0 for pause in pauses)
    assert len(set(pauses)) == empty


_PASSING: dict[str, Response] = {
    "500": error("InternalFailure", status=500),
    "throttled": error("ThrottlingException"),
    "page": Response(body=b"<html>"),
    "expired": error("ExpiredTokenException"),
    "wrong shape": ok({}),
}


@pytest.mark.parametrize("failure", _PASSING)
def test_it_continues_after_a_temporary_failure(
    failure: str, server: ScriptedServer, script: Script, pauses: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    """A poll that fails is logged as a warning, and the pauses grow up to a minute, until a poll succeeds."""
    script.respond = _Queue(1, failures=8, response=_PASSING[failure])
    assert _take_jobs(server, 1, poll_interval=1.0) == ["0"]
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert [record.name for record in warnings] == ["cp_thirdparty"] * 8
    assert all(record.getMessage().startswith("poll failed: ") for record in warnings)
    assert len(pauses) == 8
    assert pauses[0] <= 2.4
    assert LONGEST_PAUSE / 2 <= pauses[-1] <= LONGEST_PAUSE


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("ActionTypeNotFoundException", exceptions.ActionTypeNotFoundException),
        ("AccessDeniedException", exceptions.AccessDeniedError),
    ],
)
def test_it_ends_with_a_lasting_failure(
    code: str, kind: type[exceptions.ThirdPartyError], server: ScriptedServer, script: Script
) -> None:
    """An action type that is not there, or that the caller may not poll, is raised, without cause and context."""
    script.respond = lambda _: error(code)
    with pytest.raises(kind) as caught:
        _take_jobs(server, 1)
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)
    assert len(server.requests) == 1


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
def test_a_bad_setting_is_refused(settings: dict[str, Any], parameter: str, server: ScriptedServer) -> None:
    """It asks for at least one job, and pauses for more than no time."""
    with pytest.raises(exceptions.InvalidRequestError) as caught:
        _take_jobs(server, 1, **settings)
    assert (caught.value.parameter, server.requests) == (parameter, [])


def test_a_cancellation_ends_it(server: ScriptedServer, script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    """A task that is cancelled while the iterator pauses ends with CancelledError, and polls no more."""
    script.respond = _Queue(0)

    async def main() -> None:
        pausing = asyncio.Event()

        async def sleep(seconds: float) -> None:
            pausing.set()
            await asyncio.sleep(seconds)

        monkeypatch.setattr(asyncio_client, "_sleep", sleep)
        async with client_of(server.endpoint_url) as client:
            jobs = client.iter_third_party_jobs(TYPE, poll_interval=1000.0)
            task = asyncio.ensure_future(jobs.__anext__())
            await pausing.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert [job async for job in jobs] == []  # it is over

    asyncio.run(main())
    assert len(server.requests) == 1


def test_closing_the_client_ends_it(server: ScriptedServer, script: Script, pauses: list[float]) -> None:
    """An iterator that goes on after its client was closed raises an error, and does not poll forever."""
    script.respond = _Queue(1)

    async def main() -> None:
        async with client_of(server.endpoint_url) as client:
            jobs = client.iter_third_party_jobs(TYPE)
            await jobs.__anext__()
        with pytest.raises(exceptions.InvalidRequestError, match="client: must be open"):
            await jobs.__anext__()

    asyncio.run(main())
    assert pauses == []


def test_closing_a_wrapped_client_ends_its_iterators(server: ScriptedServer, script: Script) -> None:
    """The caller's client stays open, calls still work, and `async with` allows iterators again."""
    script.respond = _Queue(3)

    async def main() -> list[str]:
        async with raw_client(server.endpoint_url) as raw:
            async with AsyncThirdPartyJobClient(raw) as client:
                jobs = client.iter_third_party_jobs(TYPE)
                found = [(await anext(jobs)).job_id]
            with pytest.raises(exceptions.InvalidRequestError, match="client: must be open"):
                await anext(jobs)
            found.append((await client.poll_for_third_party_jobs(TYPE, max_batch_size=1))[0].job_id)
            async with client:
                return [*found, (await anext(client.iter_third_party_jobs(TYPE))).job_id]

    assert asyncio.run(main()) == ["0", "1", "2"]


def test_an_iterator_of_custom_jobs_polls_for_them(server: ScriptedServer, script: Script) -> None:
    """It sends the query, and yields the jobs of a poll."""
    script.respond = lambda _: ok({"jobs": [{"id": "job-1", "nonce": "1", "data": {}, "accountId": "111122223333"}]})
    custom = ActionTypeId(category="Test", owner="Custom", provider="p", version="1")

    async def main() -> str:
        async with (
            AsyncCustomJobClient.create(
                region_name="us-east-1",
                endpoint_url=server.endpoint_url,
                session=both.session("asyncio", "AKIDEXAMPLE", "made up"),
            ) as client,
            aclosing(client.iter_jobs(custom, query_param={"Project": "demo"})) as jobs,
        ):
            return (await anext(jobs)).id

    assert asyncio.run(main()) == "job-1"
    assert server.requests[-1].parameters["queryParam"] == {"Project": "demo"}
