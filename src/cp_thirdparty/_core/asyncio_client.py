"""The base class of both clients for asyncio: it creates, opens and closes a client, sends requests, and polls."""

from __future__ import annotations

import asyncio
import inspect
import os
import sys
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Any, ClassVar, Final, TypeVar, cast

import attrs
from botocore.config import Config
from typing_extensions import Self, Unpack

from cp_thirdparty._base.frames import hide_arguments
from cp_thirdparty._base.lazy import missing_extra
from cp_thirdparty._core import events, redaction
from cp_thirdparty._core.backoff import PollPace
from cp_thirdparty._core.call import CURRENT, Call, CallStoppedError
from cp_thirdparty._core.caller_code import clear_frames
from cp_thirdparty._core.errors import configuration_error_of
from cp_thirdparty._core.facts import unsent_facts
from cp_thirdparty._core.operations import Operations, Request
from cp_thirdparty._core.send import (
    JobClientBase,
    Result,
    decode_response,
    find_method,
    is_codepipeline,
    plain_parameters,
    result_of_failure,
)
from cp_thirdparty._core.sessions import prepare
from cp_thirdparty._core.settings import base_config, check_settings
from cp_thirdparty._core.sources import check_client_settings
from cp_thirdparty.exceptions import CallFacts, InvalidRequestError, ThirdPartyError
from cp_thirdparty.telemetry import CallRecord

try:
    from aiobotocore.client import AioBaseClient
    from aiobotocore.config import AioConfig
    from aiobotocore.session import AioSession

    from cp_thirdparty._core import aio
except ImportError:
    raise missing_extra("aiobotocore") from None

_T = TypeVar("_T")
_Method = TypeVar("_Method", bound=Callable[..., Coroutine[Any, Any, object]])

_sleep = asyncio.sleep
_NOT_OPEN: Final = "must be open: use it inside `async with`"


def mark_coroutine_function(function: _Method) -> _Method:
    """
    Mark a function that returns a coroutine as a coroutine function, which `unittest.mock` and others check.

    The methods are not ``async def``: until its first step, the coroutine of such a method would hold a plain client
    token.  If its task is cancelled before that step, the traceback would show the token.
    """
    if sys.version_info >= (3, 12):
        inspect.markcoroutinefunction(function)
    else:  # pragma: no cover - coverage is measured on a newer Python
        vars(function)["_is_coroutine"] = vars(asyncio.coroutines)["_is_coroutine"]
    return function


class AsyncioClient(JobClientBase):
    """The base class of a client for one kind of job; each subclass defines the operations that it calls."""

    _operations: ClassVar[Operations[Any, Any]]

    @hide_arguments
    def __init__(
        self,
        client: AioBaseClient,
        *,
        deadline: float | timedelta | None = 60.0,
        wire_logs: bool = False,
        on_call: Callable[[CallRecord], object] | None = None,
    ) -> None:
        super().__init__(deadline=deadline, wire_logs=wire_logs, on_call=on_call)
        self._settings = client if isinstance(client, _ClientSettings) else None
        self._client: AioBaseClient | None = None
        self._is_closed = False  # ``True`` after `close` of a wrapped client, which stays open
        self._loop: asyncio.AbstractEventLoop | None = None
        if not isinstance(client, _ClientSettings):
            self._use_client(client)

    @classmethod
    def create(
        cls,
        *,
        region_name: str | None = None,
        profile_name: str | None = None,
        endpoint_url: str | None = None,
        verify: bool | str | os.PathLike[str] | None = None,
        sign_request: bool = True,
        connect_timeout: float | timedelta | None = 5.0,
        read_timeout: float | timedelta | None = 20.0,
        deadline: float | timedelta | None = 60.0,
        session: AioSession | None = None,
        config: Config | None = None,
        wire_logs: bool = False,
        on_call: Callable[[CallRecord], object] | None = None,
    ) -> Self:
        """
        Return a client that is not open yet: ``async with`` creates its aiobotocore client, and closes it at the end.

        Use it as ``async with cls.create(...) as client:``, where ``cls`` is the class.  A closed client may be entered
        again, also in another event loop.

        The arguments are those of `cp_thirdparty.ThirdPartyJobClient.create`.  ``session`` must be an aiobotocore
        session if it is given, and ``config`` may have settings of aiobotocore too.

        Raises:
            cp_thirdparty.exceptions.InvalidRequestError: A setting breaks a rule.  If only botocore can find the
                problem, such as an unknown profile or a missing region, ``async with`` raises the error.
            cp_thirdparty.exceptions.CredentialsError: By ``async with``: the AWS credentials cannot be loaded.
        """
        refused = check_settings(
            endpoint_url=endpoint_url,
            verify=verify,
            connect_timeout=connect_timeout,
            read_timeout=read_timeout,
            profile_name=profile_name,
            session=session,
        )
        if refused is None and not isinstance(session, AioSession | None):
            refused = InvalidRequestError("session", "must be an aiobotocore session")
        if refused is not None:
            del endpoint_url  # it may have a password
            raise refused
        settings = _ClientSettings(
            session=session,
            profile_name=profile_name,
            config=_merge_config(
                base_config(connect_timeout=connect_timeout, read_timeout=read_timeout, sign_request=sign_request),
                config,
            ),
            arguments={
                "region_name": region_name,
                "endpoint_url": endpoint_url,
                "verify": os.fspath(verify) if isinstance(verify, os.PathLike) else verify,
            },
        )
        return cls(cast("AioBaseClient", settings), deadline=deadline, wire_logs=wire_logs, on_call=on_call)

    async def close(self) -> None:
        """
        End the iterators that poll for jobs, and close the connections of a client that `create()` returned.

        The iterators raise an error instead of polling.  A wrapped client stays open, and this class can still call its
        operations.  Running calls of a client from `create()` fail with a `cp_thirdparty.exceptions.TransportError`.

        Raises:
            cp_thirdparty.exceptions.InvalidRequestError: The client was entered in another event loop.
        """
        self._is_closed = self._settings is None
        if self._settings is None or self._client is None:
            return
        client = self._open_client()
        self._client = self._loop = None
        await client.close()

    async def __aenter__(self) -> Self:
        if self._settings is None:
            self._is_closed = False
            return self
        if self._client is not None:
            raise InvalidRequestError("client", "must not be entered again before it is closed")
        client = await self._settings.create()
        if isinstance(client, ThirdPartyError):
            raise client
        if self._client is not None:  # another task has entered the client meanwhile
            await client.close()
            raise InvalidRequestError("client", "must not be entered again before it is closed")
        try:
            self._use_client(client)
        except InvalidRequestError:
            await client.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {'not open' if self._client is None else self._client.meta.endpoint_url}>"

    async def _iterate(
        self,
        poll: Callable[[], Coroutine[Any, Any, tuple[_T, ...]]],
        *,
        max_batch_size: int,
        poll_interval: float | timedelta,
    ) -> AsyncGenerator[_T, None]:
        """Poll until the client is closed, and yield each job."""
        pace = PollPace(max_batch_size=max_batch_size, poll_interval=poll_interval)
        while True:
            if self._is_closed:
                raise InvalidRequestError("client", _NOT_OPEN, **unsent_facts(self._operations.poll, None))
            jobs: tuple[_T, ...] = ()
            with pace.count_failures():
                jobs = await poll()
            for job in jobs[:max_batch_size]:
                yield job
            if not jobs:
                await _sleep(pace.pause())

    def _use_client(self, client: AioBaseClient) -> None:
        if not is_codepipeline(client, is_async=True) or not aio.install(client):
            raise InvalidRequestError("client", "must be a CodePipeline client of aiobotocore that uses aiohttp")
        events.install(client, self._operations.names)
        self._client = client
        self._loop = _running_loop()

    def _open_client(self, **facts: Unpack[CallFacts]) -> AioBaseClient:
        if self._client is None:
            raise InvalidRequestError("client", _NOT_OPEN, **facts)
        loop = _running_loop()
        self._loop = self._loop or loop
        if loop is not self._loop:
            raise InvalidRequestError("client", "must be used in the event loop in which it was opened", **facts)
        return self._client

    async def _call(self, request: Request[_T]) -> _T:
        client = self._open_client(**unsent_facts(request.operation_name, request.job_id))
        call = self._start_call(request)
        aio.observe_aiohttp()
        return self._finish_call(request, call, await _send_request(client, request, call))


async def _send_request(client: AioBaseClient, request: Request[_T], call: Call) -> Result[_T]:
    """
    Send the request, and return its value or its error.

    The caller raises the error, so that the error's traceback has no frame of this function or below, with secrets.
    """
    current = CURRENT.set(call)
    try:
        async with aio.timeout(call.seconds_left()):
            parsed = await find_method(client, request)(**plain_parameters(request))
        return decode_response(request, call, parsed)
    except BaseException as failure:  # noqa: BLE001 - the caller raises it again, even a cancellation
        if isinstance(failure, asyncio.TimeoutError) and call.is_past_deadline():
            clear_frames(failure)
            return result_of_failure(request, call, CallStoppedError())
        return result_of_failure(request, call, failure)
    finally:
        call.is_finished = True
        call.discard_response()
        with suppress(ValueError):  # if its event loop was closed, a task ends in another context
            CURRENT.reset(current)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _merge_config(settings: Config, others: Config | None) -> AioConfig:
    # Aiobotocore before 3.1 takes its own settings, such as ``connector_args``, only from the first configuration.
    merged: Any = others if isinstance(others, AioConfig) else AioConfig()
    for each in (settings, others or settings):
        merged = merged.merge(each)  # the type stubs require an AioConfig, but the method accepts any Config
    return cast("AioConfig", merged)


@attrs.frozen(kw_only=True)
class _ClientSettings:
    """The settings with which ``async with`` creates the aiobotocore client."""

    session: AioSession | None
    profile_name: str | None
    config: AioConfig
    arguments: Mapping[str, Any]

    async def create(self) -> AioBaseClient | ThirdPartyError:
        redaction.install()
        session = self.session
        try:
            with Call():  # botocore may load credentials, and log responses
                if session is None:
                    session = AioSession(profile=self.profile_name)
                    prepare(session)
                client = await session.create_client("codepipeline", config=self.config, **self.arguments).__aenter__()
        except Exception as failure:  # noqa: BLE001 - returned as an error of this library
            return configuration_error_of(failure)
        refused = check_client_settings(
            client, session, endpoint_url=self.arguments["endpoint_url"], verify=self.arguments["verify"]
        )
        if refused is not None:
            await client.close()
        return refused or client
