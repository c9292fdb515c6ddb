"""The loggers of aiobotocore and aiohttp that log a secret, and do not during a call of ours."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime, timezone
from typing import Any

import pytest
from aiobotocore.credentials import AioRefreshableCredentials
from aiobotocore.tokens import AioDeferredRefreshableToken
from aiobotocore.utils import AioContainerMetadataFetcher
from botocore.config import Config
from support.async_scripted_server import GOOD, STEM, TOKEN, Script, get, raw_client, session
from support.marker_surfaces import logged
from support.scripted_server import ReceivedRequest, Response, ScriptedServer, ok

from cp_thirdparty import AsyncThirdPartyJobClient
from cp_thirdparty.exceptions import ThirdPartyError


def _fails() -> Awaitable[dict[str, str]]:
    """Fail with a secret in a frame, as a service of credentials may."""
    local = f"{STEM}-made"
    raise LookupError(local)


def _sign_in() -> Awaitable[dict[str, str]]:
    kind: Any = AioDeferredRefreshableToken
    token: Awaitable[dict[str, str]] = kind("made-up", _fails).get_frozen_token()
    return token


async def _container() -> dict[str, str]:
    """Ask the agent of a container, which returns what cannot be read."""

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = f"{STEM}-agent".encode()
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        await writer.drain()
        writer.close()

    async def no_pause(_: float) -> None:
        """Do not wait."""

    kind: Any = AioContainerMetadataFetcher
    async with await asyncio.start_server(respond, "127.0.0.1") as agent:
        port = agent.sockets[0].getsockname()[1]
        credentials: dict[str, str] = await kind(sleep=no_pause).retrieve_full_uri(f"http://127.0.0.1:{port}/")
        return credentials


def _expired_session(fetch: Callable[[], Awaitable[dict[str, str]]]) -> Any:
    """Make a session whose credentials have expired and must be fetched by the next call, which fails."""
    made = session()
    past = datetime(2020, 1, 1, tzinfo=timezone.utc)
    kind: Any = AioRefreshableCredentials
    made._credentials = kind("a", "b", "c", past, fetch, "made-up")
    return made


def _cookie(request: ReceivedRequest) -> Response:
    headers = {"x-amzn-RequestId": "r", "Set-Cookie": f"of {request.parameters['clientToken']}=1"}
    return Response(body=ok(GOOD).body, headers=headers)


# Logger -> a session with which a call makes it log a marker when nobody withholds it.
_SCENES: dict[str, Callable[[], Any]] = {
    "aiobotocore.credentials": lambda: _expired_session(_fails),
    "aiobotocore.tokens": lambda: _expired_session(_sign_in),
    "aiobotocore.utils": lambda: _expired_session(_container),
    "aiohttp": session,
}


@pytest.mark.parametrize("is_ours", [False, True], ids=["directly", "by us"])
@pytest.mark.parametrize("logger", _SCENES)
def test_a_logger_reports_nothing_of_our_calls(
    logger: str, *, is_ours: bool, server: ScriptedServer, script: Script, caplog: pytest.LogCaptureFixture
) -> None:
    """Each of them logs a secret of a client that is used directly, and withholds it in a call of ours."""

    async def main() -> None:
        # By its name, because aiohttp keeps no cookies of an address.
        settings: dict[str, Any] = {"endpoint_url": server.endpoint_url.replace("127.0.0.1", "localhost")}
        settings["config"] = Config(retries={"total_max_attempts": 1}, proxies={})
        async with _SCENES[logger]().create_client("codepipeline", region_name="us-east-1", **settings) as raw:
            if is_ours:
                with suppress(ThirdPartyError):
                    await get(AsyncThirdPartyJobClient(raw))
            else:
                with suppress(Exception):
                    await raw.get_third_party_job_details(jobId="job-1", clientToken=TOKEN.get_secret_value())

    script.respond = _cookie
    caplog.set_level(logging.DEBUG)
    asyncio.run(main())
    records = [record for record in caplog.records if record.name.startswith(logger)]
    assert (STEM in logged(records)) == (not is_ours)
    assert any("[withheld]" in record.getMessage() for record in records) == is_ours
    assert not is_ours or STEM not in logged(caplog.records)


@pytest.mark.parametrize("mode", ["legacy", "standard", "adaptive"])
def test_no_logger_leaks_in_any_retry_mode(
    mode: str, server: ScriptedServer, script: Script, caplog: pytest.LogCaptureFixture
) -> None:
    """In each of botocore's modes no record of any logger has a marker, whether the call ends well or not."""

    async def main() -> None:
        retries: Any = {"mode": mode, "total_max_attempts": 1}
        async with raw_client(server.endpoint_url, config=Config(retries=retries)) as raw:
            client = AsyncThirdPartyJobClient(raw)
            for response in (
                Response(body=STEM.encode()),
                Response(body=f'{{"a": "{STEM}"}}'.encode(), status=500),
                ok(GOOD),
            ):
                script.respond = lambda _, response=response: response  # type: ignore[misc] # mypy knows no type of it
                with suppress(ThirdPartyError):
                    await get(client)

    caplog.set_level(logging.DEBUG)
    asyncio.run(main())
    assert STEM not in logged(caplog.records)
    assert len(caplog.records) > 50
