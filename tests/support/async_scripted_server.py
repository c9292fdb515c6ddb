"""What the tests of the client for asyncio share: a server with a script, and clients of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
from botocore.config import Config

from cp_thirdparty import ActionTypeId, AsyncThirdPartyJobClient, SecretStr
from support import both_clients as both
from support.scripted_server import ReceivedRequest, Response, ScriptedServer, ok

STEM = "xMARKERx"
TYPE = ActionTypeId(category="Test", owner="ThirdParty", provider="p", version="1")
TOKEN = SecretStr(f"{STEM}-token")
_DATA = {"actionConfiguration": {"configuration": {"ApiKey": f"{STEM}-response"}}}
GOOD = {"jobDetails": {"id": "job-1", "data": _DATA, "nonce": "1"}, "jobs": [], "status": "InProgress"}


class Script:
    """What the server returns."""

    def __init__(self) -> None:
        self.respond: Callable[[ReceivedRequest], Response] = good

    def __call__(self, request: ReceivedRequest) -> Response:
        """Return what the test wants."""
        return self.respond(request)


def good(_: ReceivedRequest) -> Response:
    """Return what satisfies every operation."""
    return ok(GOOD)


def late(event: asyncio.Event, seconds: float = 0.5) -> Callable[[ReceivedRequest], Response]:
    """Respond after a given number of seconds, and set the event in the loop that runs now when a request has come."""
    loop = asyncio.get_running_loop()

    def respond(request: ReceivedRequest) -> Response:
        loop.call_soon_threadsafe(event.set)
        time.sleep(seconds)
        return good(request)

    return respond


@pytest.fixture(scope="module")
def _serve_script() -> Iterator[tuple[Script, ScriptedServer]]:
    script = Script()
    with ScriptedServer(script) as server:
        yield script, server


@pytest.fixture
def script(_serve_script: tuple[Script, ScriptedServer]) -> Script:
    """Give what the server returns; a test starts with good responses."""
    _serve_script[0].respond = good
    return _serve_script[0]


@pytest.fixture
def server(_serve_script: tuple[Script, ScriptedServer], script: Script) -> ScriptedServer:  # noqa: ARG001 - puts it back
    """Return the server, which has had no requests so far."""
    _serve_script[1].requests.clear()
    return _serve_script[1]


def session() -> Any:
    """Make a session with markers in its credentials."""
    return both.session("asyncio", "AKIDEXAMPLE", f"{STEM}-key", f"{STEM}-session")


def client_of(endpoint_url: str, **settings: Any) -> AsyncThirdPartyJobClient:
    """Make a client that tries once, to be entered."""
    all_settings: dict[str, Any] = {
        "region_name": "us-east-1",
        "endpoint_url": endpoint_url,
        "session": session(),
        "config": Config(retries={"mode": "standard", "total_max_attempts": 1}),
        **settings,
    }
    return AsyncThirdPartyJobClient.create(**all_settings)


def raw_client(endpoint_url: str, service: str = "codepipeline", **settings: Any) -> Any:
    """Make a client of aiobotocore, to be entered."""
    return session().create_client(service, region_name="us-east-1", endpoint_url=endpoint_url, **settings)


def get(client: AsyncThirdPartyJobClient) -> Coroutine[Any, Any, object]:
    """Read details with a plain text for the token: the frames of the client must not have it either."""
    return client.get_third_party_job_details("job-1", client_token=TOKEN.get_secret_value())
