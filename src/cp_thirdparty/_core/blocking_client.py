"""The base class of both blocking clients: it creates and closes a client, sends requests, polls, and handles forks."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Generator
from datetime import timedelta
from typing import Any, ClassVar, TypeVar

import botocore.session
from botocore.client import BaseClient
from botocore.config import Config
from typing_extensions import Self

from cp_thirdparty._base.frames import hide_arguments
from cp_thirdparty._core import events
from cp_thirdparty._core.backoff import PollPace
from cp_thirdparty._core.facts import unsent_facts
from cp_thirdparty._core.operations import Operations, Request
from cp_thirdparty._core.send import JobClientBase, is_codepipeline, send_request
from cp_thirdparty._core.settings import Boto3Session, base_config, check_settings, create_botocore_client, is_session
from cp_thirdparty.exceptions import InvalidRequestError, ThirdPartyError
from cp_thirdparty.telemetry import CallRecord

_T = TypeVar("_T")

_clock = time.monotonic
_sleep = time.sleep
# Seconds between two checks whether the client was closed.
_CHECK_INTERVAL = 0.25


class BlockingClient(JobClientBase):
    """The base class of a client for one kind of job; each subclass defines the operations that it calls."""

    _operations: ClassVar[Operations[Any, Any]]

    @hide_arguments
    def __init__(
        self,
        client: BaseClient,
        *,
        deadline: float | timedelta | None = 60.0,
        wire_logs: bool = False,
        on_call: Callable[[CallRecord], object] | None = None,
    ) -> None:
        if not is_codepipeline(client, is_async=False):
            raise InvalidRequestError("client", "must be a CodePipeline client of botocore or boto3")
        super().__init__(deadline=deadline, wire_logs=wire_logs, on_call=on_call)
        self._client = client
        self._create_client: Callable[[], BaseClient | ThirdPartyError] | None = None
        self._process_id = os.getpid()
        self._is_closed = False
        events.install(client, self._operations.names)

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
        session: botocore.session.Session | Boto3Session | None = None,
        config: Config | None = None,
        wire_logs: bool = False,
        on_call: Callable[[CallRecord], object] | None = None,
    ) -> Self:
        """
        Create a client, together with its botocore client.

        botocore's *standard* retry mode resends requests, and connections are kept alive.  This library checks the
        parameters instead of botocore, because the errors of botocore show their values.

        Args:
            region_name: AWS region; by default, the region of the environment or of the profile.
            profile_name: Profile of the AWS configuration; by default, the profile of the environment.
            endpoint_url: URL of another endpoint, such as a VPC endpoint or a local service.
            verify: ``False`` to trust any TLS certificate, or the path of a CA bundle; ``None`` for the setting of the
                AWS configuration.
            sign_request: ``False`` to send requests unsigned, without loading credentials.
            connect_timeout: Limit for opening a connection: seconds or a ``timedelta``, more than 0; ``None`` for no
                limit.
            read_timeout: Limit for the time between two pieces of a response: seconds or a ``timedelta``, more than 0;
                ``None`` for no limit.
            deadline: Limit for a call with all its attempts, as for the class: seconds or a ``timedelta``.
            session: A botocore or boto3 session to use instead of a new one.
            config: Botocore settings, which override all other arguments.
            wire_logs: The same as the argument of the class.
            on_call: The same as the argument of the class.

        Raises:
            cp_thirdparty.exceptions.InvalidRequestError: A setting breaks a rule, or no region is known.
            cp_thirdparty.exceptions.CredentialsError: The AWS credentials cannot be loaded.
        """
        refused = check_settings(
            endpoint_url=endpoint_url,
            verify=verify,
            connect_timeout=connect_timeout,
            read_timeout=read_timeout,
            profile_name=profile_name,
            session=session,
        )
        if refused is None and session is not None and not is_session(session):
            refused = InvalidRequestError("session", "must be a botocore or boto3 session")
        if refused is not None:
            del endpoint_url  # it may have a password
            raise refused
        settings = base_config(connect_timeout=connect_timeout, read_timeout=read_timeout, sign_request=sign_request)
        create_client = functools.partial(
            create_botocore_client,
            session,
            profile_name,
            region_name=region_name,
            endpoint_url=endpoint_url,
            verify=os.fspath(verify) if isinstance(verify, os.PathLike) else verify,
            config=settings.merge(config) if config is not None else settings,
        )
        client = create_client()
        if isinstance(client, ThirdPartyError):
            raise client
        self = cls(client, deadline=deadline, wire_logs=wire_logs, on_call=on_call)
        self._create_client = create_client
        return self

    def close(self) -> None:
        """
        End the iterators that poll for jobs, and close the connections of a client that `create()` returned.

        The iterators raise an error.  A wrapped client stays open, and this class can still call its operations.
        """
        self._is_closed = True
        if self._create_client is not None:
            self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._client.meta.endpoint_url}>"

    def _iterate(
        self, poll: Callable[[], tuple[_T, ...]], *, max_batch_size: int, poll_interval: float | timedelta
    ) -> Generator[_T, None, None]:
        """Poll until the client is closed, and yield each job."""
        pace = PollPace(max_batch_size=max_batch_size, poll_interval=poll_interval)
        while True:
            if self._is_closed:
                facts = unsent_facts(self._operations.poll, None)
                raise InvalidRequestError("client", "must be open, but was closed while it polled for jobs", **facts)
            jobs: tuple[_T, ...] = ()
            with pace.count_failures():
                jobs = poll()
            yield from jobs[:max_batch_size]
            if not jobs:
                self._pause(pace.pause())

    def _pause(self, seconds: float) -> None:
        ends_at = _clock() + seconds
        while not self._is_closed and (left := ends_at - _clock()) > 0:
            _sleep(min(left, _CHECK_INTERVAL))

    def _call(self, request: Request[_T]) -> _T:
        call = self._start_call(request)
        return self._finish_call(request, call, send_request(self._open_client(), request, call))

    def _open_client(self) -> BaseClient:
        if self._process_id != os.getpid():
            self._replace_client()
        return self._client

    def _replace_client(self) -> None:
        """Replace the botocore client in a forked child, because its connections belong to the parent process."""
        client = None if self._create_client is None else self._create_client()
        if isinstance(client, BaseClient):
            events.install(client, self._operations.names)
            self._client = client
        else:
            self._client.close()
        self._process_id = os.getpid()
