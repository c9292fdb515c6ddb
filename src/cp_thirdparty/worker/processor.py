"""`JobProcessor`: work on single jobs, from the offer to the accepted result, without a journal."""

from __future__ import annotations

import asyncio
import functools
import math
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from typing import Any, Final, Generic, TypeVar, cast, overload

from cp_thirdparty._base.durations import MAX_SECONDS, read_seconds
from cp_thirdparty._base.frames import hide_arguments
from cp_thirdparty.client import CustomJobClient, ThirdPartyJobClient
from cp_thirdparty.exceptions import ThirdPartyError
from cp_thirdparty.models import ActionConfiguration, ActionTypeId, AnyJob
from cp_thirdparty.worker._arguments import check_handling, read_tokens
from cp_thirdparty.worker._async_handlers import AsyncHandlers, CoroutineRunner, HandlerLoop
from cp_thirdparty.worker._clients import Clients, Connector, limit_calls
from cp_thirdparty.worker._coroutines import is_async_callable
from cp_thirdparty.worker._emit import Emitter
from cp_thirdparty.worker._engines import ThreadEngine
from cp_thirdparty.worker._failure_policy import needs_new_clients
from cp_thirdparty.worker._kinds import CUSTOM, THIRD_PARTY, kind_of, kind_of_type
from cp_thirdparty.worker._processing import Processing, find_cancel_timeout, has_time, run_in_thread
from cp_thirdparty.worker.events import EventHook, WorkerMetrics
from cp_thirdparty.worker.outcomes import Outcome
from cp_thirdparty.worker.runner import ArtifactsFactory, Handler, Runner
from cp_thirdparty.worker.tokens import ClientTokens

__all__ = ["JobProcessor"]

_ConfigurationT = TypeVar("_ConfigurationT")

_BY_TOKENS = "because the processor has client_tokens for third-party jobs, and none for custom jobs"

# Seconds before the end of the process at which it no longer waits for ``connect``.
_RETURN_SECONDS: Final = 0.5

# Seconds that ``connect`` has at least, so that a job for which no time is left is handed back.
_MIN_CONNECT_SECONDS: Final = 0.5


class JobProcessor(Generic[_ConfigurationT]):
    """
    Does all steps of a job: reads the details, acknowledges the job, calls the handler and reports the result.  Use it
    in Lambda functions, batch jobs, notebooks and web applications.

    If the process crashes while it works on a job, the job is lost and times out in CodePipeline.  If that matters, use
    a `cp_thirdparty.worker.JobWorker` with a journal.  The processor is thread-safe if the handler is.  It keeps its
    clients, and the event loop for coroutines that `process` runs.  In a Lambda function, create it at the top level
    of the module, so that invocations share it.

    Args:
        connect: Creates a `cp_thirdparty.ThirdPartyJobClient`, or a `cp_thirdparty.CustomJobClient`.  It is called
            twice, at the first use: for a client that reads and a client that reports.  After AWS has refused their
            credentials or clock, it is called again for the next job.
        handler: A function, or an ``async def``, that does the work of one job.
        configuration: Your class for the action configuration; ``None`` for the strings that CodePipeline returned.
        client_tokens: A mapping or a callable from client id to client token; ``None`` for jobs of custom actions.
        job_timeout: Seconds or a ``timedelta`` that a handler has; ``None`` for 3,300, or 85,000 for jobs of custom
            actions.
        artifacts: Creates the artifact store of a job; ``None`` for `cp_thirdparty.artifacts.ArtifactStore.for_job`.
        on_event: Called in a separate thread with a `cp_thirdparty.worker.events.JobEvent` for each event of a job.  It
            may block or raise; `process` waits at most 2 seconds for it before it returns.
        metrics: Counts each event, in a separate thread, such as
            `cp_thirdparty.observability.prometheus_metrics`; ``None`` to count nothing.  A processor has no health and
            no journal, so it calls only ``record``.

            .. versionadded:: 0.2.0

    Raises:
        TypeError: An argument has a wrong type, a callable does not accept the arguments with which it is called, or a
            field of the configuration class has a type that `cp_thirdparty.structure_configuration` does not read.
        ValueError: ``job_timeout`` is out of its range: more than 0 and at most 1,000,000.
    """

    @overload
    def __init__(
        self: JobProcessor[ActionConfiguration | None],
        connect: Callable[[], ThirdPartyJobClient],
        handler: Handler[ActionConfiguration | None],
        *,
        configuration: None = None,
        client_tokens: ClientTokens,
        job_timeout: float | timedelta | None = None,
        artifacts: ArtifactsFactory | None = None,
        on_event: EventHook | None = None,
        metrics: WorkerMetrics | None = None,
    ) -> None: ...

    @overload
    def __init__(
        self,
        connect: Callable[[], ThirdPartyJobClient],
        handler: Handler[_ConfigurationT],
        *,
        configuration: type[_ConfigurationT],
        client_tokens: ClientTokens,
        job_timeout: float | timedelta | None = None,
        artifacts: ArtifactsFactory | None = None,
        on_event: EventHook | None = None,
        metrics: WorkerMetrics | None = None,
    ) -> None: ...

    @overload
    def __init__(
        self: JobProcessor[ActionConfiguration | None],
        connect: Callable[[], CustomJobClient],
        handler: Handler[ActionConfiguration | None],
        *,
        configuration: None = None,
        client_tokens: None = None,
        job_timeout: float | timedelta | None = None,
        artifacts: ArtifactsFactory | None = None,
        on_event: EventHook | None = None,
        metrics: WorkerMetrics | None = None,
    ) -> None: ...

    @overload
    def __init__(
        self,
        connect: Callable[[], CustomJobClient],
        handler: Handler[_ConfigurationT],
        *,
        configuration: type[_ConfigurationT],
        client_tokens: None = None,
        job_timeout: float | timedelta | None = None,
        artifacts: ArtifactsFactory | None = None,
        on_event: EventHook | None = None,
        metrics: WorkerMetrics | None = None,
    ) -> None: ...

    @hide_arguments
    def __init__(
        self,
        connect: Callable[[], ThirdPartyJobClient | CustomJobClient],
        handler: Handler[Any],
        *,
        configuration: type[Any] | None = None,
        client_tokens: ClientTokens | None = None,
        job_timeout: float | timedelta | None = None,
        artifacts: ArtifactsFactory | None = None,
        on_event: EventHook | None = None,
        metrics: WorkerMetrics | None = None,
    ) -> None:
        # A processor has no action type.  With client tokens, it is for third-party jobs, otherwise for custom jobs.
        self._kind = CUSTOM if client_tokens is None else THIRD_PARTY
        tokens = read_tokens(client_tokens, self._kind)
        check_handling(
            self._kind,
            connect=connect,
            handler=handler,
            configuration=configuration,
            artifacts=artifacts,
            on_event=on_event,
        )
        self._runner: Runner[Any] = Runner(
            connect=connect, handler=handler, configuration=configuration, tokens=tokens, artifacts=artifacts
        )
        self._job_timeout = read_seconds("job_timeout", self._kind.job_timeout if job_timeout is None else job_timeout)
        self._emitter = Emitter(on_event, None if metrics is None else metrics.record)
        self._lock = threading.Lock()
        self._clients: Clients | None = None
        self._connector = Connector()
        self._coroutines = AsyncHandlers(self._emitter.log)

    def process(self, job: AnyJob, *, seconds_left: float | timedelta | None = None) -> Outcome:
        """
        Do all steps of one job.

        Args:
            job: A job that a poll has returned.
            seconds_left: Seconds or a ``timedelta`` until this process ends, such as a Lambda invocation's
                ``context.get_remaining_time_in_millis() / 1000``; ``None`` if it does not end.  If less than a second
                is left, the job is handed back.  The deadline of the handler is half a second before the end: then a
                coroutine is cancelled, and the job is reported as failed.  A function cannot be cancelled; it must
                check `Job.deadline`.  All calls to CodePipeline end before the process, even if the deadline of the
                client is later.

        Returns:
            The outcome of the job.  Errors of CodePipeline and of the handler are not raised.

        Raises:
            cp_thirdparty.exceptions.InvalidRequestError: ``connect`` could not create a client.
            cp_thirdparty.exceptions.TransportError: ``connect`` did not return before the process ends.  The job was
                not claimed.
            TypeError: The job is a custom job but the processor has client tokens, or the reverse.
            RuntimeError: An event loop runs in this thread, and the handler is asynchronous: await `process_async`.
            KeyboardInterrupt: Ctrl-C was pressed while the handler ran; the job was reported as failed.
        """
        self._refuse_in_loop("process_async")
        processing = self._start(job, self._coroutines, _end_of(seconds_left))
        processing.run()
        return _result(processing, processing.outcome.result(timeout=0))

    async def process_async(self, job: AnyJob, *, seconds_left: float | timedelta | None = None) -> Outcome:
        """
        Do all steps of one job without blocking the event loop.

        If the handler is an ``async def``, it runs in the event loop of the caller.  A handler that is a function, and
        the calls to CodePipeline, run in another thread, with the context variables of the caller.

        If the awaiting task is cancelled, the job is not lost.  A job that is not claimed yet is handed back.  For a
        claimed job without a result, the handler is cancelled and the job is reported as failed.  After that, within
        about 10 seconds, `asyncio.CancelledError` is raised.  If the task is cancelled a second time,
        `asyncio.CancelledError` is raised at once, and a thread continues to report.

        Args:
            job: A job that a poll has returned.
            seconds_left: As for `process`.  If a handler that is a function does not end in time, the job is reported
                as failed, and the function continues to run in its thread.

        Returns:
            The outcome of the job.  Errors of CodePipeline and of the handler are not raised.

        Raises:
            cp_thirdparty.exceptions.InvalidRequestError: ``connect`` could not create a client.
            cp_thirdparty.exceptions.TransportError: ``connect`` did not return before the process ends.  The job was
                not claimed.
            TypeError: The job is a custom job but the processor has client tokens, or the reverse.
            asyncio.CancelledError: The awaiting task was cancelled.
            KeyboardInterrupt: Ctrl-C was pressed while the handler ran; the job was reported as failed.

        .. versionadded:: 0.2.0
        """
        ends_at = _end_of(seconds_left)
        clients = await run_in_thread(functools.partial(self._connect, ends_at))
        loop = HandlerLoop(asyncio.get_running_loop(), threading.get_ident(), log=self._emitter.log)
        processing = self._start(job, loop, ends_at, clients)
        return _result(processing, await processing.run_async())

    def poll(
        self, action_type_id: ActionTypeId, *, max_batch_size: int = 1, seconds_left: float | timedelta | None = None
    ) -> Iterator[Outcome]:
        """
        Poll once and process the jobs that the poll returns, one after the other.

        Args:
            action_type_id: The action type.
            max_batch_size: Maximum number of jobs, at least 1.
            seconds_left: As for `process`, but for the poll and all its jobs together.  Jobs for which no time is left
                are handed back.  If less than a second is left at the start, there is no poll and no outcome.

        Yields:
            The outcome of each job.

        Raises:
            cp_thirdparty.exceptions.ThirdPartyError: The poll failed, or it or ``connect`` did not end in time.
            RuntimeError: An event loop runs in this thread, and the handler is asynchronous: use `poll_async`.
        """
        self._refuse_in_loop("poll_async")
        return self._process_poll(action_type_id, max_batch_size, _end_of(seconds_left))

    async def poll_async(
        self, action_type_id: ActionTypeId, *, max_batch_size: int = 1, seconds_left: float | timedelta | None = None
    ) -> AsyncIterator[Outcome]:
        """
        Poll once and process the jobs that the poll returns, without blocking the event loop.

        It does the same as `poll`, but calls `process_async` for each job.  A cancelled poll claims no job.

        Args:
            action_type_id: The action type.
            max_batch_size: Maximum number of jobs, at least 1.
            seconds_left: As for `poll`.

        Yields:
            The outcome of each job.

        Raises:
            cp_thirdparty.exceptions.ThirdPartyError: The poll failed, or it or ``connect`` did not end in time.
            asyncio.CancelledError: The awaiting task was cancelled.

        .. versionadded:: 0.2.0
        """
        ends_at = _end_of(seconds_left)
        for job in await run_in_thread(functools.partial(self._poll, action_type_id, max_batch_size, ends_at)):
            yield await self.process_async(job, seconds_left=_seconds_until(ends_at))

    def _process_poll(self, action_type_id: ActionTypeId, max_batch_size: int, ends_at: float) -> Iterator[Outcome]:
        for job in self._poll(action_type_id, max_batch_size, ends_at):
            yield self.process(job, seconds_left=_seconds_until(ends_at))

    def _poll(self, action_type_id: ActionTypeId, max_batch_size: int, ends_at: float) -> tuple[AnyJob, ...]:
        if kind_of_type(action_type_id) is not self._kind:
            raise TypeError(f"action_type_id: must be one of {self._kind.name} jobs, {_BY_TOKENS}")
        if not has_time(ends_at):
            return ()
        clients = self._connect(ends_at)
        client = clients.reader
        try:
            with limit_calls(ends_at):
                return self._kind.poll(client, action_type_id, max_batch_size)
        except ThirdPartyError as failure:
            if needs_new_clients(failure):
                clients.note_outdated(client)
            raise

    def _start(
        self, job: AnyJob, coroutines: CoroutineRunner, ends_at: float, clients: Clients | None = None
    ) -> Processing:
        if kind_of(job) is not self._kind:
            raise TypeError(f"job: must be a {self._kind.job_class.__name__}, {_BY_TOKENS}")
        used = self._connect(ends_at) if clients is None else clients

        def create_engine(stopping: threading.Event) -> ThreadEngine:
            cancel_timeout = find_cancel_timeout(ends_at)
            return ThreadEngine(self._runner, used, coroutines, stopping, self._emitter, cancel_timeout=cancel_timeout)

        return Processing(
            job,
            tokens=self._runner.tokens,
            clients=used,
            create_engine=create_engine,
            job_timeout=self._job_timeout,
            ends_at=ends_at,
            emitter=self._emitter,
        )

    def _refuse_in_loop(self, name: str) -> None:
        """
        Raise if an asynchronous handler would block the event loop of this thread.

        This is checked before a job is claimed.  The handler may wait for the blocked loop, and would never end.
        """
        if not is_async_callable(self._runner.handler):
            return
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return
        raise RuntimeError(f"the handler is asynchronous and an event loop runs in this thread: use `{name}` instead")

    def _connect(self, ends_at: float) -> Clients:
        seconds = max(_MIN_CONNECT_SECONDS, ends_at - time.monotonic() - _RETURN_SECONDS)
        self._connector.call_or_raise(seconds, self._create_clients, self._needs_clients)
        return cast("Clients", self._clients)

    def _needs_clients(self) -> bool:
        return self._clients is None or self._clients.is_outdated

    def _create_clients(self) -> None:
        if self._clients is not None:
            self._clients.refresh()
            return
        created = Clients(self._runner.connect, self._emitter, self._kind)
        with self._lock:
            is_first = self._clients is None
            if is_first:
                self._clients = created
        if not is_first:  # an earlier call of `connect` has returned meanwhile
            created.close()


def _end_of(seconds_left: float | timedelta | None) -> float:
    if seconds_left is None:
        return math.inf
    return time.monotonic() + read_seconds("seconds_left", seconds_left, least=-MAX_SECONDS)


def _seconds_until(ends_at: float) -> float | None:
    return None if math.isinf(ends_at) else ends_at - time.monotonic()


def _result(processing: Processing, outcome: Outcome) -> Outcome:
    if processing.job.was_interrupted:
        raise KeyboardInterrupt
    return outcome
