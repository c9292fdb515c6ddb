"""
Adjust how aiobotocore uses aiohttp during a call of this library.

Without these adjustments, aiobotocore would:

* follow redirects, so that a proxy could redirect a client token and a session token to any host
* read a complete response, however long the response is
* send the cookies of earlier responses
* keep a connection open if it cannot read the headers of the response

Two methods of aiohttp are wrapped once in each process: the method that writes bytes of a request, to observe whether
bytes were sent, and the method that reads a response, to observe the status of a proxy.  The second wrapper also limits
the size of responses with AWS credentials, which other clients than those of this library read.  Unless a call of this
library runs, both methods behave as before.
"""

from __future__ import annotations

import asyncio
import functools
import ssl
import sys
from collections.abc import Callable
from typing import Any, Final

import aiohttp
from aiobotocore.httpsession import AIOHTTPSession
from aiohttp.http_writer import StreamWriter
from botocore.client import BaseClient

from cp_thirdparty._core.call import Call, Obstacle, Step, current_call
from cp_thirdparty._core.caller_code import causes
from cp_thirdparty._core.connection import handshake_obstacle, is_wrapper

if sys.version_info >= (3, 11):
    from asyncio import timeout
else:  # pragma: no cover - coverage is measured on a newer Python
    from async_timeout import timeout

__all__ = ["install", "observe_aiohttp", "timeout"]


_OWNER: Final = object()
_OK: Final = 200
_PYTHON_ERRORS: Final = (OSError, asyncio.TimeoutError)
_AIOHTTP_ERROR: Final = aiohttp.ClientError


def install(client: BaseClient) -> bool:
    """Prepare a client for calls of this library; return ``False`` if that is not possible.  Idempotent."""
    session: Any = client._endpoint.http_session  # type: ignore[attr-defined] # noqa: SLF001 - no public way
    get = getattr(session, "_get_session", None)
    if not isinstance(session, AIOHTTPSession) or get is None:
        return False
    if not isinstance(get, _GetSession):
        vars(session)["_get_session"] = _GetSession(get)
    observe_aiohttp()
    return True


def observe_aiohttp() -> None:
    """Wrap the methods of aiohttp, if they are not wrapped.  This is fast enough to be done before each call."""
    for name in ("_write", "_writelines"):
        original = vars(StreamWriter).get(name)  # older versions of aiohttp have only `_write`
        if original is not None and not is_wrapper(original, _OWNER):
            setattr(StreamWriter, name, _observe_writes(original))
    if not is_wrapper(aiohttp.ClientResponse.start, _OWNER):
        setattr(aiohttp.ClientResponse, "start", _observe_responses(aiohttp.ClientResponse.start))  # noqa: B010 - typed


def _observe_writes(original: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(original)
    def write(self: Any, data: Any) -> None:
        call = current_call()
        if call is not None and call.step is Step.SENDING and call.is_watched:
            first = data if isinstance(data, (bytes, bytearray, memoryview)) else next(iter(data), b"")
            is_open = self.transport is not None and not self.transport.is_closing()
            if is_open and bytes(first[:8]) != b"CONNECT ":  # a CONNECT request is for a proxy
                call.note_sent()
        original(self, data)

    vars(write)["cp_thirdparty_owner"] = _OWNER
    return write


def _observe_responses(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    async def start(self: Any, connection: Any) -> Any:
        response = await original(self, connection)
        call = current_call()
        if call is None or call.request is None:
            return response
        if self.method == "CONNECT":
            if call.is_watched and self.status != _OK:
                call.proxy_status = self.status
        elif call.step is Step.SIGNING:  # the response may have AWS credentials
            vars(self)["read"] = functools.partial(_read_credentials, self, call)
        return response

    vars(start)["cp_thirdparty_owner"] = _OWNER
    return start


class _GetSession:
    """Wrap the method that returns aiohttp's session."""

    def __init__(self, get: Any) -> None:
        self._get = get

    async def __call__(self, proxy_url: str | None) -> Any:
        session = await self._get(proxy_url)
        call = current_call()
        return session if call is None or call.step is not Step.SENDING else _Session(session, call)


class _Session:
    """Wrap aiohttp's session for one request, with the one method that aiobotocore calls."""

    def __init__(self, session: aiohttp.ClientSession, call: Call) -> None:
        self._session = session
        self._call = call

    async def request(self, *arguments: Any, **settings: Any) -> aiohttp.ClientResponse:
        self._session.cookie_jar.clear()
        self._call.is_watched = True
        try:
            response = await self._session.request(*arguments, allow_redirects=False, **settings)
        except Exception as failure:
            self._call.obstacle = _find_obstacle(failure, self._call, settings.get("proxy"))
            raise
        except asyncio.CancelledError:
            # If aiohttp's session is closed, aiohttp raises CancelledError in a task that waits for a connection,
            # although the task was not cancelled.
            if self._session.closed and not _is_cancelled():
                raise aiohttp.ClientConnectionError("the client was closed") from None
            raise
        if not _is_readable(response):
            response.close()
            raise aiohttp.ClientPayloadError("the headers are not UTF-8")
        vars(response)["read"] = functools.partial(_read_body, response, self._call)
        return response


def _find_obstacle(failure: Exception, call: Call, proxy: object) -> Obstacle:
    """Return why the request could not be sent.  The errors of aiohttp have an error of Python as their cause."""
    if call.proxy_status is not None:
        return Obstacle.PROXY_REFUSAL
    cause = next(
        (each for each in causes(failure) if isinstance(each, _PYTHON_ERRORS) and not isinstance(each, _AIOHTTP_ERROR)),
        None,
    )
    if isinstance(cause, asyncio.TimeoutError):  # before Python 3.11, this is not `TimeoutError`
        return Obstacle.TIMEOUT
    if isinstance(cause, (ssl.SSLError, TimeoutError)):
        return handshake_obstacle(cause)
    return Obstacle.PROXY if proxy else Obstacle.CONNECT


def _is_cancelled() -> bool:
    """Return whether the task may have been cancelled; always ``True`` before Python 3.11, which does not record it."""
    task: Any = asyncio.current_task()
    return sys.version_info < (3, 11) or bool(task.cancelling())


def _is_readable(response: aiohttp.ClientResponse) -> bool:
    try:
        b"\n".join(map(b" ".join, response.raw_headers)).decode()
    except UnicodeDecodeError:
        return False
    return True


async def _read_body(response: aiohttp.ClientResponse, call: Call) -> bytes:
    body = await _read_pieces(response, call)
    response.release()  # aiohttp does not release the connection of a response with the status 101
    return body


async def _read_credentials(response: aiohttp.ClientResponse, call: Call) -> bytes:
    # The caller's own source of credentials may call `json()` or `text()`, which need the attribute that aiohttp's own
    # `read()` sets.
    vars(response)["_body"] = await _read_pieces(response, call)
    return await response.read()


async def _read_pieces(response: aiohttp.ClientResponse, call: Call) -> bytes:
    # The attribute and the response refer to each other.  Without this line, only the garbage collector frees them.
    del vars(response)["read"]
    try:
        return b"".join([_count_piece(piece, call) async for piece in response.content.iter_any()])
    except BaseException:
        response.close()  # so that no later request gets a connection with the rest of this response
        raise


def _count_piece(piece: bytes, call: Call) -> bytes:
    call.count_bytes(len(piece))
    return piece
