"""What only the client for asyncio does: loops, cancellation, tasks, and the polls of an iterator."""

from __future__ import annotations

import asyncio
import gc
import inspect
import pickle
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import botocore.session
import pytest
from aiobotocore.config import AioConfig
from aiobotocore.credentials import AioRefreshableCredentials
from aiobotocore.session import AioSession
from botocore.config import Config
from support import both_clients as both
from support.async_scripted_server import STEM, TOKEN, TYPE, Script, client_of, get, late, raw_client, session
from support.marker_surfaces import reachable, with_locals
from support.scripted_server import Response, ScriptedServer, ok

from cp_thirdparty import (
    ActionTypeId,
    AsyncThirdPartyJobClient,
    FailureDetails,
    FailureType,
    JobStatus,
    ThirdPartyJobClient,
    exceptions,
)
from cp_thirdparty._core import aio
from cp_thirdparty.testing import LocalCodePipeline

# --- open and closed -------------------------------------------------------------------------------------------------


def test_a_client_is_made_by_entering_it(server: ScriptedServer) -> None:
    """It has a region and an endpoint inside of ``async with``, and calls; outside, it is not open."""

    async def main() -> None:
        client = client_of(server.endpoint_url)
        assert repr(client) == "<AsyncThirdPartyJobClient not open>"
        async with client as entered:
            assert entered is client
            assert (client.region_name, await client.poll_for_third_party_jobs(TYPE)) == ("us-east-1", ())
            assert repr(client) == f"<AsyncThirdPartyJobClient {server.endpoint_url}>"
        assert repr(client) == "<AsyncThirdPartyJobClient not open>"

    asyncio.run(main())


_NOT_OPEN: dict[str, Callable[[AsyncThirdPartyJobClient], Awaitable[object]]] = {
    "poll": lambda client: client.poll_for_third_party_jobs(TYPE),
    "get": get,
    "iterate": lambda client: client.iter_third_party_jobs(TYPE).__anext__(),
}


@pytest.mark.parametrize("what", _NOT_OPEN)
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_client_that_is_not_open_is_an_error(when: str, what: str, server: ScriptedServer) -> None:
    """Before it is entered and after it was closed, a call is an InvalidRequestError that names the remedy."""

    async def main() -> None:
        client = client_of(server.endpoint_url)
        if when == "after":
            async with client:
                await client.poll_for_third_party_jobs(TYPE)
            await client.close()  # a second time changes nothing
            server.requests.clear()
        with pytest.raises(exceptions.InvalidRequestError) as caught:
            await _NOT_OPEN[what](client)
        with pytest.raises(exceptions.InvalidRequestError, match="must be open"):
            client.region_name  # noqa: B018 - it is the case
        assert str(caught.value) == "client: must be open: use it inside `async with`"
        assert STEM not in reachable(caught.value)

    asyncio.run(main())
    assert server.requests == []


def test_a_client_may_be_entered_again(server: ScriptedServer) -> None:
    """After it was closed a client can be entered again, in another event loop too; twice at once it cannot."""
    client = client_of(server.endpoint_url)

    async def main() -> None:
        async with client:
            assert await client.poll_for_third_party_jobs(TYPE) == ()
            with pytest.raises(exceptions.InvalidRequestError, match="must not be entered again before it is closed"):
                await client.__aenter__()
            assert await client.poll_for_third_party_jobs(TYPE) == ()

    asyncio.run(main())
    asyncio.run(main())
    assert len(server.requests) == 4


def test_of_two_tasks_one_enters(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a client is being made another task may enter it; one gets it, and the other leaves nothing open."""
    opened: list[Any] = []
    made = AioSession.create_client

    def create_client(*arguments: Any, **settings: Any) -> Any:
        return _Slowly(made(*arguments, **settings), opened)

    async def main() -> None:
        client = client_of(server.endpoint_url)
        entered = await asyncio.gather(client.__aenter__(), client.__aenter__(), return_exceptions=True)
        (refused,) = (each for each in entered if isinstance(each, Exception))
        assert str(refused) == "client: must not be entered again before it is closed"
        assert client in entered
        assert await client.poll_for_third_party_jobs(TYPE) == ()
        await client.close()

    monkeypatch.setattr(AioSession, "create_client", create_client)
    asyncio.run(main())
    assert [raw._endpoint.http_session._sessions for raw in opened] == [None, None]


class _Slowly:
    """A client of aiobotocore that takes its time to be entered, as one does that asks for credentials."""

    def __init__(self, made: Any, opened: list[Any]) -> None:
        self._made = made
        self._opened = opened

    async def __aenter__(self) -> Any:
        await asyncio.sleep(0.05)
        self._opened.append(await self._made.__aenter__())
        return self._opened[-1]


@pytest.mark.parametrize("kind", ["created", "wrapped"])
def test_a_client_belongs_to_one_loop(kind: str, server: ScriptedServer) -> None:
    """In another event loop a call and closing are an InvalidRequestError, and nothing is sent."""
    loop = asyncio.new_event_loop()

    async def make() -> tuple[AsyncThirdPartyJobClient, Any]:
        if kind == "created":
            return await client_of(server.endpoint_url).__aenter__(), None
        raw = await raw_client(server.endpoint_url).__aenter__()
        return AsyncThirdPartyJobClient(raw), raw

    async def elsewhere() -> None:
        with pytest.raises(exceptions.InvalidRequestError, match="client: must be used in the event loop"):
            await client.poll_for_third_party_jobs(TYPE)
        if kind == "created":
            with pytest.raises(exceptions.InvalidRequestError, match="client: must be used in the event loop"):
                await client.close()

    client, raw = loop.run_until_complete(make())
    asyncio.run(elsewhere())
    assert server.requests == []
    loop.run_until_complete(client.poll_for_third_party_jobs(TYPE))
    loop.run_until_complete(client.close() if raw is None else raw.close())
    loop.close()


def test_a_client_that_was_wrapped_outside_of_a_loop_belongs_to_that_of_its_first_call(server: ScriptedServer) -> None:
    """Where no loop runs when it is wrapped, its first call decides to which loop it belongs."""
    loop = asyncio.new_event_loop()
    raw = loop.run_until_complete(raw_client(server.endpoint_url).__aenter__())
    client = AsyncThirdPartyJobClient(raw)
    loop.run_until_complete(client.poll_for_third_party_jobs(TYPE))
    with pytest.raises(exceptions.InvalidRequestError, match="client: must be used in the event loop"):
        asyncio.run(_poll(client))
    loop.run_until_complete(raw.close())
    loop.close()


async def _poll(client: AsyncThirdPartyJobClient) -> object:
    return await client.poll_for_third_party_jobs(TYPE)


def test_closing_ends_calls_that_are_under_way(server: ScriptedServer, script: Script) -> None:
    """A call that waits for its response when the client is closed is a TransportError, and hangs no longer."""

    async def main() -> None:
        asked = asyncio.Event()
        script.respond = late(asked, 60.0)
        async with client_of(server.endpoint_url) as client:
            call = asyncio.create_task(_in_task(client))
            await asked.wait()
        with pytest.raises(exceptions.TransportError) as caught:
            await asyncio.wait_for(call, 50)
        assert STEM not in reachable(caught.value)

    asyncio.run(main())


@pytest.mark.skipif(sys.version_info < (3, 11), reason="a task tells whether it was cancelled since Python 3.11")
def test_closing_cancels_no_task(server: ScriptedServer, script: Script) -> None:
    """A call that waits for a connection when the client is closed is a TransportError; a cancelled one stays so."""

    async def main() -> None:
        asked = asyncio.Event()
        script.respond = late(asked, 60.0)
        config = Config(max_pool_connections=1, retries={"mode": "standard", "total_max_attempts": 1})
        async with client_of(server.endpoint_url, config=config) as client:
            first, waiting, cancelled = (asyncio.create_task(_in_task(client)) for _ in range(3))
            await asked.wait()
            await asyncio.sleep(0.05)  # until the others wait for the connection
            cancelled.cancel()
        done = await asyncio.wait_for(asyncio.gather(first, waiting, cancelled, return_exceptions=True), 50)
        assert [type(each) for each in done] == [
            exceptions.TransportError,
            exceptions.TransportError,
            asyncio.CancelledError,
        ]
        assert STEM not in "".join(reachable(each) for each in done[:2] if isinstance(each, BaseException))
        assert not waiting.cancelled()

    asyncio.run(main())


async def _in_task(client: AsyncThirdPartyJobClient) -> object:
    return await client.get_third_party_job_details("job-1", client_token=TOKEN)


def _responses() -> int:
    """Return how many responses of aiohttp are in memory."""
    # Not isinstance: objects of other tests may have a `__class__` that raises.
    return sum(issubclass(type(each), aiohttp.ClientResponse) for each in gc.get_objects())


def test_a_response_is_freed_without_a_garbage_collection(server: ScriptedServer) -> None:
    """No reference cycle keeps aiohttp's response alive after the call."""

    async def main() -> None:
        async with client_of(server.endpoint_url) as client:
            gc.collect()
            gc.disable()
            before = _responses()
            try:
                assert await client.poll_for_third_party_jobs(TYPE) == ()
                assert _responses() == before
            finally:
                gc.enable()

    asyncio.run(main())


# --- what it is made of ----------------------------------------------------------------------------------------------


def test_a_wrapped_client_is_used_and_left_open(server: ScriptedServer, script: Script) -> None:
    """A client that was wrapped keeps its settings, gets the guard, and outlives the wrapper."""

    async def main() -> None:
        async with raw_client(server.endpoint_url, config=Config(retries={"total_max_attempts": 1})) as raw:
            async with AsyncThirdPartyJobClient(raw) as client, AsyncThirdPartyJobClient(raw):
                assert await client.poll_for_third_party_jobs(TYPE) == ()
                script.respond = lambda _: Response(body=b"<html>")
                with pytest.raises(exceptions.UntrustedResponseError):
                    await client.put_third_party_job_success_result("job-1", client_token=TOKEN)
            script.respond = lambda _: ok({"pipelines": []})
            assert (await raw.list_pipelines())["pipelines"] == []

    asyncio.run(main())


def test_other_operations_of_a_wrapped_client_are_left_alone(server: ScriptedServer, script: Script) -> None:
    """A wrapped client follows redirects of another operation, and reads its responses, as it always did."""

    async def main() -> None:
        async with raw_client(server.endpoint_url) as raw:
            AsyncThirdPartyJobClient(raw)
            script.respond = lambda _: Response(body=b"{}", headers={})
            assert (await raw.list_pipelines())["ResponseMetadata"]["HTTPStatusCode"] == 200

    asyncio.run(main())


def test_only_a_client_of_aiobotocore_is_wrapped(server: ScriptedServer) -> None:
    """One of botocore, of another service, or anything else is refused, and the other way round."""

    async def main() -> None:
        of_botocore: Any = botocore.session.Session().create_client("codepipeline", region_name="us-east-1")
        async with raw_client(server.endpoint_url, "sts") as sts, raw_client(server.endpoint_url) as raw:
            wrong: Any
            for wrong in (of_botocore, sts, "codepipeline"):
                with pytest.raises(
                    exceptions.InvalidRequestError, match="client: must be a CodePipeline client of aio"
                ):
                    AsyncThirdPartyJobClient(wrong)
            with pytest.raises(exceptions.InvalidRequestError, match="client: must be a CodePipeline client of botoc"):
                ThirdPartyJobClient(raw)
        of_botocore.close()

    asyncio.run(main())


def test_an_aiobotocore_that_is_not_known_is_refused(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where aiobotocore does not use aiohttp, redirects and sizes could not be guarded, so nothing is called."""
    monkeypatch.setattr(aio, "AIOHTTPSession", str)

    async def main() -> None:
        client = client_of(server.endpoint_url)
        with pytest.raises(
            exceptions.InvalidRequestError, match="client: must be a CodePipeline client of aiobotocore"
        ):
            await client.__aenter__()
        assert repr(client) == "<AsyncThirdPartyJobClient not open>"

    asyncio.run(main())


@pytest.mark.parametrize(
    ("settings", "parameter"),
    [
        ({"endpoint_url": "ftp://example"}, "endpoint_url"),
        ({"verify": "/no/such/bundle"}, "verify"),
        ({"connect_timeout": 0}, "connect_timeout"),
        ({"deadline": 0}, "deadline"),
        ({"profile_name": "p"}, "profile_name"),
    ],
)
def test_a_bad_setting_is_refused_at_once(settings: dict[str, Any], parameter: str) -> None:
    """A setting that cannot work is refused by ``create()``, where no loop runs yet."""
    with pytest.raises(exceptions.InvalidRequestError) as caught:
        AsyncThirdPartyJobClient.create(session=session(), **settings)
    assert caught.value.parameter == parameter


@pytest.mark.parametrize("wrong", [botocore.session.Session(), "a session"], ids=["botocore", "str"])
def test_a_session_that_is_not_of_aiobotocore_is_refused(wrong: Any) -> None:
    """A session of botocore makes clients that block, so it is refused by name."""
    with pytest.raises(exceptions.InvalidRequestError) as caught:
        AsyncThirdPartyJobClient.create(session=wrong)
    assert str(caught.value) == "session: must be an aiobotocore session"


def test_what_aiobotocore_refuses_is_reported_when_it_is_entered(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No region, an unknown profile and half of the credentials are our errors, without cause and context."""
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", STEM)

    async def main(settings: dict[str, Any]) -> exceptions.ThirdPartyError:
        with pytest.raises(exceptions.ThirdPartyError) as caught:
            await client_of(server.endpoint_url, **settings).__aenter__()
        assert (caught.value.__cause__, caught.value.__context__) == (None, None)
        assert STEM not in with_locals(caught.value)
        return caught.value

    no_region = asyncio.run(main({"region_name": None}))
    assert str(no_region).startswith("region_name: must be given, here or in the AWS configuration")
    no_profile = asyncio.run(main({"session": None, "profile_name": "nobody"}))
    assert str(no_profile).startswith("profile_name: must be a profile of ")
    assert type(asyncio.run(main({"session": None}))) is exceptions.CredentialsError


def test_our_settings_and_those_of_the_caller_reach_aiobotocore(server: ScriptedServer) -> None:
    """Our settings are in force; a configuration of botocore or of aiobotocore overrides them, with its own part."""

    async def main() -> None:
        async with client_of(server.endpoint_url, config=None, connect_timeout=1.5, read_timeout=None) as client:
            config: Any = client._client.meta.config  # type: ignore[union-attr] # it is open
            assert (config.connect_timeout, config.read_timeout, config.retries["mode"]) == (1.5, None, "standard")
            assert config.user_agent.startswith("cp-thirdparty/")
        theirs = AioConfig(connector_args={"keepalive_timeout": 3}, read_timeout=7, max_pool_connections=3)
        async with client_of(server.endpoint_url, config=theirs, sign_request=False) as client:
            config = client._client.meta.config  # type: ignore[union-attr]
            assert (config.read_timeout, config.max_pool_connections) == (7, 3)
            assert config.connector_args["keepalive_timeout"] == 3
            await client.poll_for_third_party_jobs(TYPE)
        assert "authorization" not in server.requests[0].headers

    asyncio.run(main())


def test_a_session_may_be_left_out(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a session the AWS configuration of the environment is used."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDENVIRONMENT")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "example")

    async def main() -> None:
        async with client_of(server.endpoint_url, session=None) as client:
            await client.poll_for_third_party_jobs(TYPE)

    asyncio.run(main())
    assert "Credential=AKIDENVIRONMENT/" in server.requests[0].headers["authorization"]


def test_a_source_of_credentials_may_read_responses_of_aiohttp(server: ScriptedServer, script: Script) -> None:
    """The limit of such a response leaves aiohttp's methods as they are, in each order."""
    found = {"access_key": "AKIDFOUND", "secret_key": "s", "token": "t", "expiry_time": "2099-01-01T00:00:00Z"}
    script.respond = lambda request: ok({"jobs": []} if request.operation else found)

    async def refresh() -> Any:
        async with aiohttp.ClientSession() as http, http.post(server.endpoint_url) as response:
            assert await response.read() == await response.read()
            assert "AKIDFOUND" in await response.text()
            return await response.json(content_type=None)

    async def main() -> None:
        made: Any = AioSession()
        expired = {**found, "access_key": "AKIDOLD", "expiry_time": "2000-01-01T00:00:00Z"}
        made._credentials = AioRefreshableCredentials.create_from_metadata(expired, refresh, "made-up")
        async with client_of(server.endpoint_url, session=made) as client:
            await client.poll_for_third_party_jobs(TYPE)

    asyncio.run(main())
    assert "Credential=AKIDFOUND/" in server.requests[-1].headers["authorization"]


def test_a_client_is_not_pickled(server: ScriptedServer) -> None:
    """Pickling refuses and names the alternative."""
    with pytest.raises(TypeError, match=r"AsyncThirdPartyJobClient cannot be pickled.*create a client in each process"):
        pickle.dumps(client_of(server.endpoint_url))


@pytest.mark.parametrize(
    "name", [name for name in dir(AsyncThirdPartyJobClient) if name.startswith(("poll", "get", "ack", "put"))]
)
def test_both_clients_have_the_same_operations(name: str) -> None:
    """Each operation has the parameters of the client that blocks, and is a coroutine function to those who ask."""
    ours, theirs = getattr(AsyncThirdPartyJobClient, name), getattr(ThirdPartyJobClient, name)
    assert inspect.signature(ours).parameters == inspect.signature(theirs).parameters
    returned = str(inspect.signature(theirs).return_annotation)
    assert inspect.signature(ours).return_annotation == f"Coroutine[Any, Any, {returned}]"
    is_one = inspect.iscoroutinefunction if sys.version_info >= (3, 12) else asyncio.iscoroutinefunction
    assert is_one(ours)


def test_create_has_the_settings_of_the_other_client() -> None:
    """Both ``create()`` take the same settings with the same defaults."""
    ours, theirs = (
        inspect.signature(each.create).parameters for each in (AsyncThirdPartyJobClient, ThirdPartyJobClient)
    )
    assert {name: each.default for name, each in ours.items()} == {name: each.default for name, each in theirs.items()}


def test_the_five_operations_against_the_local_service() -> None:
    """A job is polled, read, acknowledged and reported, and another one is reported as failed."""
    action_type = ActionTypeId(category="Test", owner="ThirdParty", provider="ExampleScan", version="1")

    async def main(service: LocalCodePipeline) -> None:
        credentials = (service.access_key_id, service.secret_access_key.get_secret_value())
        async with AsyncThirdPartyJobClient.create(
            region_name=service.region_name,
            endpoint_url=service.endpoint_url,
            session=both.session("asyncio", *credentials),
        ) as client:
            first, second = await client.poll_for_third_party_jobs(action_type, max_batch_size=2)
            for job in (first, second):
                details = await client.get_third_party_job_details(job.job_id, client_token="token")
                status = await client.acknowledge_third_party_job(job.job_id, nonce=details.nonce, client_token="token")
                assert status is JobStatus.IN_PROGRESS
            await client.put_third_party_job_success_result(first.job_id, client_token="token")
            await client.put_third_party_job_failure_result(
                second.job_id,
                client_token="token",
                failure_details=FailureDetails(type=FailureType.JOB_FAILED, message="no"),
            )

    with LocalCodePipeline(session_token=None) as service:
        service.register_client("client-1", "token")
        actions = [service.start_action(action_type, client_id="client-1") for _ in range(2)]
        asyncio.run(main(service))
        assert sorted(str(action.status) for action in actions) == ["Failed", "Succeeded"]
