"""`AsyncThirdPartyJobClient`: the five operations for asyncio, over aiobotocore."""

from __future__ import annotations

import asyncio
import inspect
import os
import sys
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, TypeVar, cast

import attrs
from botocore.config import Config
from typing_extensions import Self, Unpack

from cp_thirdparty._core import events, operations, redaction
from cp_thirdparty._core.backoff import FATAL, PollPace
from cp_thirdparty._core.call import CURRENT, Call, CallStoppedError
from cp_thirdparty._core.caller_code import forget
from cp_thirdparty._core.errors import configuration_error_of
from cp_thirdparty._core.facts import unsent_facts
from cp_thirdparty._core.operations import Request
from cp_thirdparty._core.send import (
    JobClientBase,
    Result,
    decode_response,
    find_method,
    is_codepipeline,
    plain_parameters,
    result_of_failure,
)
from cp_thirdparty._core.settings import check_settings, own_config, prepare
from cp_thirdparty._core.sources import find_refused_setting
from cp_thirdparty._lazy import missing_extra
from cp_thirdparty.enums import JobStatus
from cp_thirdparty.exceptions import CallFacts, InvalidRequestError, ThirdPartyError
from cp_thirdparty.models import (
    ActionTypeId,
    CurrentRevision,
    ExecutionDetails,
    FailureDetails,
    JobDetails,
    ThirdPartyJob,
)
from cp_thirdparty.secrets import SecretStr
from cp_thirdparty.telemetry import CallRecord

try:
    from aiobotocore.client import AioBaseClient
    from aiobotocore.config import AioConfig
    from aiobotocore.session import AioSession

    from cp_thirdparty._core import aio
except ImportError:
    raise missing_extra("aiobotocore") from None

__all__ = ["AsyncThirdPartyJobClient"]

_T = TypeVar("_T")
_Method = TypeVar("_Method", bound=Callable[..., Coroutine[Any, Any, object]])

_sleep = asyncio.sleep


def _like_async_def(function: _Method) -> _Method:
    """
    Mark a function that returns a coroutine as one, for `unittest.mock` and others who ask.

    The methods are not ``async def``: their coroutine would hold a plain client token until it first runs, and a task
    that is cancelled before shows it in its traceback.
    """
    if sys.version_info >= (3, 12):
        inspect.markcoroutinefunction(function)
    else:  # pragma: no cover - measured with a newer one
        vars(function)["_is_coroutine"] = vars(asyncio.coroutines)["_is_coroutine"]
    return function


class AsyncThirdPartyJobClient(JobClientBase):
    """
    Call the five operations of CodePipeline's third-party jobs, for asyncio.

    Make one with `create()`, or wrap a client of aiobotocore that you have entered.  Parameters, results and errors are
    those of `cp_thirdparty.ThirdPartyJobClient`, and so are the checks of responses, what is logged, and what is not.

    It belongs to the event loop in which it was made: any number of tasks there may call it at once, of which 64 have a
    connection and the others wait for one.  It is not thread-safe.  A call that is cancelled ends at once, and its
    connection is closed; whether the service has acted on it is not known.

    Every method also raises `cp_thirdparty.exceptions.InvalidRequestError` when the client is not open, or is used in
    another event loop.

    Args:
        client: A CodePipeline client of aiobotocore, on aiohttp.  Its configuration is left unchanged, and it stays
            open: you close it.  Its five third-party operations get the checks that this library's own clients have;
            nothing else of it changes.

        deadline: Seconds, more than 0, that a call may take with all its attempts, from the look-up of the host's name
            on; ``None`` for no limit.

        wire_logs: ``True`` to let botocore write the requests and responses of this client, secrets included, into its
            DEBUG log.

        on_call: Called with a `cp_thirdparty.telemetry.CallRecord` after each call that was sent, in the task of the
            call.  It must not be a coroutine function and must not block.  What it raises is logged and dropped.

    Raises:
        cp_thirdparty.exceptions.InvalidRequestError: The client is not a CodePipeline client of aiobotocore on
            aiohttp, or a setting breaks a rule.
    """

    def __init__(
        self,
        client: AioBaseClient,
        *,
        deadline: float | None = 60.0,
        wire_logs: bool = False,
        on_call: Callable[[CallRecord], object] | None = None,
    ) -> None:
        super().__init__(deadline=deadline, wire_logs=wire_logs, on_call=on_call)
        self._recipe = client if isinstance(client, _Recipe) else None
        self._client: AioBaseClient | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        if not isinstance(client, _Recipe):
            self._adopt(client)

    @classmethod
    def create(
        cls,
        *,
        region_name: str | None = None,
        profile_name: str | None = None,
        endpoint_url: str | None = None,
        verify: bool | str | os.PathLike[str] | None = None,
        sign_request: bool = True,
        connect_timeout: float | None = 5.0,
        read_timeout: float | None = 20.0,
        deadline: float | None = 60.0,
        session: AioSession | None = None,
        config: Config | None = None,
        wire_logs: bool = False,
        on_call: Callable[[CallRecord], object] | None = None,
    ) -> Self:
        """
        Describe a client with an aiobotocore client of its own, which ``async with`` makes and closes.

        ``async with AsyncThirdPartyJobClient.create(...) as client:`` is how it is used.  After it was closed it may be
        entered again, in another event loop too.

        Args:
            region_name: As for `cp_thirdparty.ThirdPartyJobClient.create`, like all that is not described here.

            profile_name: A profile of AWS's shared files.

            endpoint_url: An endpoint to use instead of AWS's own.

            verify: ``False`` or the path of a CA bundle for TLS.

            sign_request: ``False`` to send requests without a signature.

            connect_timeout: Seconds to wait for a connection.

            read_timeout: Seconds to wait between two reads of a response.

            deadline: As for the class.

            session: An aiobotocore session to use instead of a new one; a botocore or boto3 session cannot be used.

            config: Settings of botocore or aiobotocore that override all others of this list.

            wire_logs: As for the class.

            on_call: As for the class.

        Raises:
            cp_thirdparty.exceptions.InvalidRequestError: A setting breaks a rule.  What only botocore can
                detect, such as an unknown profile or a missing region, is raised by ``async with``.

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
            raise refused
        recipe = _Recipe(
            session=session,
            profile_name=profile_name,
            config=_merged(
                own_config(connect_timeout=connect_timeout, read_timeout=read_timeout, sign_request=sign_request),
                config,
            ),
            settings={
                "region_name": region_name,
                "endpoint_url": endpoint_url,
                "verify": os.fspath(verify) if isinstance(verify, os.PathLike) else verify,
            },
        )
        return cls(cast("AioBaseClient", recipe), deadline=deadline, wire_logs=wire_logs, on_call=on_call)

    @_like_async_def
    def poll_for_third_party_jobs(
        self, action_type_id: ActionTypeId, *, max_batch_size: int | None = None
    ) -> Coroutine[Any, Any, tuple[ThirdPartyJob, ...]]:
        """Ask for jobs that wait for a worker: `cp_thirdparty.ThirdPartyJobClient.poll_for_third_party_jobs`."""
        return self._call(operations.poll_for_third_party_jobs(action_type_id, max_batch_size=max_batch_size))

    @_like_async_def
    def get_third_party_job_details(
        self, job_id: str, *, client_token: str | SecretStr
    ) -> Coroutine[Any, Any, JobDetails]:
        """Read the details of a job: `cp_thirdparty.ThirdPartyJobClient.get_third_party_job_details`."""
        return self._call(operations.get_third_party_job_details(job_id, client_token=client_token))

    @_like_async_def
    def acknowledge_third_party_job(
        self, job_id: str, *, nonce: str, client_token: str | SecretStr
    ) -> Coroutine[Any, Any, JobStatus]:
        """
        Claim a job: `cp_thirdparty.ThirdPartyJobClient.acknowledge_third_party_job`.

        Work on it only when the result is `JobStatus.IN_PROGRESS`.
        """
        return self._call(operations.acknowledge_third_party_job(job_id, nonce=nonce, client_token=client_token))

    @_like_async_def
    def put_third_party_job_success_result(
        self,
        job_id: str,
        *,
        client_token: str | SecretStr,
        continuation_token: str | None = None,
        current_revision: CurrentRevision | None = None,
        execution_details: ExecutionDetails | None = None,
    ) -> Coroutine[Any, Any, None]:
        """Report that a job has succeeded: `cp_thirdparty.ThirdPartyJobClient.put_third_party_job_success_result`."""
        return self._call(
            operations.put_third_party_job_success_result(
                job_id,
                client_token=client_token,
                continuation_token=continuation_token,
                current_revision=current_revision,
                execution_details=execution_details,
            )
        )

    @_like_async_def
    def put_third_party_job_failure_result(
        self, job_id: str, *, client_token: str | SecretStr, failure_details: FailureDetails
    ) -> Coroutine[Any, Any, None]:
        """Report that a job has failed: `cp_thirdparty.ThirdPartyJobClient.put_third_party_job_failure_result`."""
        return self._call(
            operations.put_third_party_job_failure_result(
                job_id, client_token=client_token, failure_details=failure_details
            )
        )

    async def iter_third_party_jobs(
        self, action_type_id: ActionTypeId, *, max_batch_size: int = 1, poll_interval: float = 5.0
    ) -> AsyncGenerator[ThirdPartyJob, None]:
        """
        Poll until stopped, and yield each job.

        ``async for job in client.iter_third_party_jobs(mine):`` polls when the loop asks for a job and those of the
        last poll are used up, so it does not poll while the loop is busy.  It pauses after a poll without a job.  While
        polls fail it pauses for longer, up to a minute, and logs each failure as a warning.  CodePipeline offers a job
        that is not acknowledged again.  ``break``, or a cancellation of the task, ends it; after `close()` it raises an
        InvalidRequestError instead of polling.

        Args:
            action_type_id: The action type whose jobs are wanted.

            max_batch_size: The most jobs of one poll, at least 1.  CodePipeline offers jobs that are not acknowledged
                to other workers after about 30 seconds, so ask for as many as you can begin.

            poll_interval: Seconds, more than 0, between two polls when no job waits; each pause is up to a fifth
                shorter or longer, so that many workers do not poll at once.

        Raises:
            cp_thirdparty.exceptions.ActionTypeNotFoundException: There is no such action type for the caller.

            cp_thirdparty.exceptions.AccessDeniedError: The caller may not poll.

            cp_thirdparty.exceptions.InvalidRequestError: A parameter breaks a rule, or the client is not open.
        """
        pace = PollPace(max_batch_size=max_batch_size, poll_interval=poll_interval)
        while True:
            jobs: tuple[ThirdPartyJob, ...] = ()
            try:
                jobs = await self.poll_for_third_party_jobs(action_type_id, max_batch_size=max_batch_size)
            except FATAL:
                raise
            except ThirdPartyError as failure:
                pace.note_failure(failure)
            else:
                pace.note_success()
            for job in jobs[:max_batch_size]:
                yield job
            if not jobs:
                await _sleep(pace.pause())

    async def close(self) -> None:
        """
        Close the connections of a client that `create()` made; leave a wrapped client alone.

        Calls that are under way fail with a `cp_thirdparty.exceptions.TransportError`.

        Raises:
            cp_thirdparty.exceptions.InvalidRequestError: It was entered in another event loop.
        """
        if self._recipe is None or self._client is None:
            return
        client = self._open_client()
        self._client = self._loop = None
        await client.close()

    async def __aenter__(self) -> Self:
        if self._recipe is None:
            return self
        if self._client is not None:
            raise InvalidRequestError("client", "must not be entered again before it is closed")
        client = await self._recipe.create_client()
        if isinstance(client, ThirdPartyError):
            raise client
        if self._client is not None:  # another task was faster
            await client.close()
            raise InvalidRequestError("client", "must not be entered again before it is closed")
        try:
            self._adopt(client)
        except InvalidRequestError:
            await client.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {'not open' if self._client is None else self._client.meta.endpoint_url}>"

    def _adopt(self, client: AioBaseClient) -> None:
        if not is_codepipeline(client, is_async=True) or not aio.install(client):
            raise InvalidRequestError("client", "must be a CodePipeline client of aiobotocore, on aiohttp")
        events.install(client)
        self._client = client
        self._loop = _running_loop()

    def _open_client(self, **facts: Unpack[CallFacts]) -> AioBaseClient:
        if self._client is None:
            raise InvalidRequestError("client", "must be open: use it inside `async with`", **facts)
        loop = _running_loop()
        self._loop = self._loop or loop
        if loop is not self._loop:
            raise InvalidRequestError("client", "must be used in the event loop in which it was made", **facts)
        return self._client

    async def _call(self, request: Request[_T]) -> _T:
        client = self._open_client(**unsent_facts(request.operation_name, request.job_id))
        call = self._start_call(request)
        aio.observe_aiohttp()
        return self._finish_call(request, call, await _send_request(client, request, call))


async def _send_request(client: AioBaseClient, request: Request[_T], call: Call) -> Result[_T]:
    """Send the request.  It returns every error, so that its frame and those below are gone when one is raised."""
    current = CURRENT.set(call)
    try:
        async with aio.timeout(call.seconds_left()):
            parsed = await find_method(client, request)(**plain_parameters(request))
        return decode_response(request, call, parsed)
    except BaseException as failure:  # noqa: BLE001 - a cancellation too is raised again by the caller
        if isinstance(failure, asyncio.TimeoutError) and call.is_over():
            forget(failure)
            return result_of_failure(request, call, CallStoppedError())
        return result_of_failure(request, call, failure)
    finally:
        call.is_finished = True
        call.forget_response()
        with suppress(ValueError):  # a task whose loop is gone ends in another context
            CURRENT.reset(current)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _merged(settings: Config, others: Config | None) -> AioConfig:
    # Aiobotocore before 3.1 takes its own part, such as ``connector_args``, from the first alone.
    merged: Any = others if isinstance(others, AioConfig) else AioConfig()
    for each in (settings, others or settings):
        merged = merged.merge(each)  # its stubs ask for an AioConfig, and it takes any
    return cast("AioConfig", merged)


@attrs.frozen(kw_only=True)
class _Recipe:
    """The settings with which a client is created when it is entered."""

    session: AioSession | None
    profile_name: str | None
    config: AioConfig
    settings: Mapping[str, Any]

    async def create_client(self) -> AioBaseClient | ThirdPartyError:
        """Create a client of aiobotocore, or return the error."""
        redaction.install()
        session = self.session
        try:
            with Call():  # botocore may load credentials, and log responses
                if session is None:
                    session = AioSession(profile=self.profile_name)
                    prepare(session)
                client = await session.create_client("codepipeline", config=self.config, **self.settings).__aenter__()
        except Exception as failure:  # noqa: BLE001 - returned as an error of this library
            return configuration_error_of(failure)
        refused = find_refused_setting(
            client, session, endpoint_url=self.settings["endpoint_url"], verify=self.settings["verify"]
        )
        if refused is not None:
            await client.close()
        return refused or client
