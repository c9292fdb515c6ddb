"""
What must be otherwise in aiobotocore's use of aiohttp during a call of ours.

It follows redirects, and so would send a client token and a session token to wherever a proxy says.  It reads an answer
to its end however long it is.  It takes a connection that broke for one that was never made, so that a result which may
have been accepted would seem safe to send again.  It sends the cookies of whoever answered before, and leaves a
connection taken whose answer has headers that it cannot read.
"""

from __future__ import annotations

import asyncio
import functools
import sys
from typing import Any

import aiohttp
from aiobotocore.httpsession import AIOHTTPSession
from botocore.client import BaseClient

from cp_thirdparty._core.call import CURRENT, Call

if sys.version_info >= (3, 11):
    from asyncio import timeout
else:  # pragma: no cover - measured with a newer one
    from async_timeout import timeout

__all__ = ["install", "timeout"]


def install(client: BaseClient) -> bool:
    """Prepare a client for our calls; tell whether it could be done.  A second time changes nothing."""
    session: Any = client._endpoint.http_session  # type: ignore[attr-defined] # noqa: SLF001 - no public way
    get = getattr(session, "_get_session", None)
    if not isinstance(session, AIOHTTPSession) or get is None:
        return False
    if not isinstance(get, _GetSession):
        vars(session)["_get_session"] = _GetSession(get)
    return True


class _GetSession:
    """Stands before the method that gives aiohttp's session."""

    def __init__(self, get: Any) -> None:
        self._get = get

    async def __call__(self, proxy_url: str | None) -> Any:
        session = await self._get(proxy_url)
        call = CURRENT.get()
        return session if call is None else _Session(session, call)


class _Session:
    """What aiobotocore needs of aiohttp's session, for one request."""

    def __init__(self, session: aiohttp.ClientSession, call: Call) -> None:
        self._session = session
        self._call = call

    async def request(self, *arguments: Any, **settings: Any) -> aiohttp.ClientResponse:
        self._call.attempts += 1
        self._session.cookie_jar.clear()
        try:
            answer = await self._session.request(*arguments, allow_redirects=False, **settings)
        except aiohttp.ClientConnectionError as failure:
            raise _told(failure) from None
        except asyncio.CancelledError:
            # To close the session cancels what waits for a connection, in a task that nobody has cancelled.
            if self._session.closed and not _is_cancelled():
                raise aiohttp.ClientConnectionError("the client was closed") from None
            raise
        if not _is_readable(answer):
            answer.close()
            raise aiohttp.ClientPayloadError("the headers are not UTF-8")
        vars(answer)["read"] = functools.partial(_body, answer, self._call)
        return answer


def _is_cancelled() -> bool:
    """Tell whether the task was cancelled: before Python 3.11 it may have been, and no cancellation may be lost."""
    task: Any = asyncio.current_task()
    return sys.version_info < (3, 11) or bool(task.cancelling())


def _is_readable(answer: aiohttp.ClientResponse) -> bool:
    try:
        b"\n".join(map(b" ".join, answer.raw_headers)).decode()
    except UnicodeDecodeError:
        return False
    return True


async def _body(answer: aiohttp.ClientResponse, call: Call) -> bytes:
    try:
        body = b"".join([_counted(piece, call) async for piece in answer.content.iter_any()])
    except BaseException as failure:  # noqa: BLE001 - raised again below
        answer.close()  # so that nobody gets a connection with the rest of this answer in it
        raise _told(failure) from None
    answer.release()  # nothing else does it for a 101
    return body


def _counted(piece: bytes, call: Call) -> bytes:
    call.bytes_left -= len(piece)
    if call.bytes_left < 0:
        raise aiohttp.ClientPayloadError("the answer is too long")
    return piece


def _told(failure: BaseException) -> BaseException:
    """Make another error of a connection that was made and broke."""
    is_known = isinstance(failure, (aiohttp.ClientConnectorError, aiohttp.ServerConnectionError))
    has_broken = isinstance(failure, aiohttp.ClientConnectionError) and not is_known
    return aiohttp.ServerDisconnectedError() if has_broken else failure
