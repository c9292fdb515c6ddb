"""`JobProcessor`: one job from its offer to its accepted result, in the calling thread and without a journal."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar, overload

from cp_thirdparty._frames import hide_arguments
from cp_thirdparty.client import ThirdPartyJobClient
from cp_thirdparty.models import ActionConfiguration, ActionTypeId, ThirdPartyJob
from cp_thirdparty.worker._claimed_job import ClaimedJob
from cp_thirdparty.worker._clients import Clients
from cp_thirdparty.worker._emit import Emitter
from cp_thirdparty.worker._executors import ThreadEngine
from cp_thirdparty.worker._flow import Flow
from cp_thirdparty.worker._steps import Steps
from cp_thirdparty.worker.events import EventHook
from cp_thirdparty.worker.outcomes import Outcome
from cp_thirdparty.worker.runner import ArtifactsFactory, Handler, Runner
from cp_thirdparty.worker.tokens import ClientTokens, TokenLookup

__all__ = ["JobProcessor"]

_ConfigurationT = TypeVar("_ConfigurationT")


class JobProcessor(Generic[_ConfigurationT]):
    """
    Does all steps of a job: details, acknowledgement, handler, result.  For Lambda functions and batch jobs.

    A process that dies in the middle of a job loses it; use a `cp_thirdparty.worker.JobWorker` with a journal where
    that matters.  Thread-safe when the handler is.  It keeps its clients, so make one outside of a Lambda's handler.

    Args:
        connect: Makes a client.  It is called twice, at the first use: for a client that reads and one that reports.

        handler: A function, or an ``async def``, that does the work of one job.

        configuration: The partner's class for the action configuration, or ``None`` to get the service's texts.

        client_tokens: A mapping or a callable from client id to client token.

        job_timeout: Seconds that a handler is told to have.

        artifacts: Makes the artifact store of a job; ``None`` for `cp_thirdparty.artifacts.ArtifactStore.for_job`.

        on_event: Called with a `cp_thirdparty.worker.events.JobEvent` for each event of a job, for metrics, in a thread
            of its own.  It may block or raise; `process` waits at most 2 seconds for it before it returns.

    Raises:
        TypeError: The client tokens are neither a mapping nor a callable.

        ValueError: A number is out of its range.
    """

    @overload
    def __init__(
        self: JobProcessor[ActionConfiguration | None],
        connect: Callable[[], ThirdPartyJobClient],
        handler: Handler[ActionConfiguration | None],
        *,
        configuration: None = None,
        client_tokens: ClientTokens,
        job_timeout: float = 3300.0,
        artifacts: ArtifactsFactory | None = None,
        on_event: EventHook | None = None,
    ) -> None: ...

    @overload
    def __init__(
        self,
        connect: Callable[[], ThirdPartyJobClient],
        handler: Handler[_ConfigurationT],
        *,
        configuration: type[_ConfigurationT],
        client_tokens: ClientTokens,
        job_timeout: float = 3300.0,
        artifacts: ArtifactsFactory | None = None,
        on_event: EventHook | None = None,
    ) -> None: ...

    @hide_arguments
    def __init__(
        self,
        connect: Callable[[], ThirdPartyJobClient],
        handler: Handler[Any],
        *,
        configuration: type[Any] | None = None,
        client_tokens: ClientTokens,
        job_timeout: float = 3300.0,
        artifacts: ArtifactsFactory | None = None,
        on_event: EventHook | None = None,
    ) -> None:
        if job_timeout <= 0:
            raise ValueError("job_timeout: must be more than 0 seconds")
        self._runner: Runner[Any] = Runner(
            connect=connect,
            handler=handler,
            configuration=configuration,
            tokens=TokenLookup(client_tokens),
            artifacts=artifacts,
        )
        self._job_timeout = job_timeout
        self._emitter = Emitter(on_event)
        self._lock = threading.Lock()
        self._clients: Clients | None = None

    def process(self, job: ThirdPartyJob, *, seconds_left: float | None = None) -> Outcome:
        """
        Do all steps of one job.

        Args:
            job: What a poll brought.

            seconds_left: Seconds until this process ends, such as a Lambda invocation's
                ``context.get_remaining_time_in_millis() / 1000``; ``None`` for no end.  The handler is told of it, and
                with less than a second left the job is handed back.  A handler that does not look at its deadline is
                not stopped.

        Returns:
            What became of the job.  Nothing that the service or the handler does is raised.

        Raises:
            cp_thirdparty.exceptions.InvalidRequestError: ``connect`` could not make a client.

            KeyboardInterrupt: Ctrl-C came while the handler ran; the job has been reported as failed.
        """
        ends_at = None if seconds_left is None else time.monotonic() + seconds_left
        claimed = ClaimedJob(job, recorder=_NoJournal(), began_at=time.monotonic())
        try:
            outcome = self._create_flow(ends_at).work(claimed)
            assert outcome is not None, "no other thread decides"  # noqa: S101 - a mistake of this library
            seconds = time.monotonic() - claimed.began_at
            self._emitter.emit_outcome(outcome, details=claimed.details, seconds=seconds)
        finally:
            self._emitter.flush(math.inf if ends_at is None else ends_at - time.monotonic())
        if claimed.was_interrupted:
            raise KeyboardInterrupt
        return outcome

    def poll(
        self, action_type_id: ActionTypeId, *, max_batch_size: int = 1, seconds_left: float | None = None
    ) -> Iterator[Outcome]:
        """
        Poll once and process what that brings, one job after the other.

        Args:
            action_type_id: The action type.

            max_batch_size: The most jobs, at least 1.

            seconds_left: As for `process`.  Jobs for which no time is left are handed back.

        Yields:
            What became of each job.

        Raises:
            cp_thirdparty.exceptions.ThirdPartyError: The poll failed.
        """
        ends_at = None if seconds_left is None else time.monotonic() + seconds_left
        reader = self._connect().reader
        for job in reader.poll_for_third_party_jobs(action_type_id, max_batch_size=max_batch_size):
            yield self.process(job, seconds_left=None if ends_at is None else ends_at - time.monotonic())

    def _create_flow(self, ends_at: float | None) -> Flow:
        def wait(job: ClaimedJob, seconds: float) -> bool:
            ends = [each for each in (ends_at, job.gives_up_at) if each is not None]
            left = min((end - time.monotonic() for end in ends), default=seconds)
            if left <= 0:
                return False
            time.sleep(min(seconds, left))
            return True

        def notify(name: str, job: ClaimedJob, detail: str = "", **fields: Any) -> None:
            self._emitter.emit(name, job.offer, detail, details=job.details, **fields)

        clients = self._connect()
        return Flow(
            steps=Steps(clients=clients, tokens=self._runner.tokens, notify=notify, clock=time.monotonic),
            engine=ThreadEngine(self._runner, clients, threading.Event()),
            action_type_id=None,
            is_idempotent=False,
            max_crashes=1,
            job_timeout=self._job_timeout,
            may_claim=lambda: ends_at is None or ends_at - time.monotonic() >= _LEAST,
            wait=wait,
            ends_at=ends_at,
            clock=time.monotonic,
        )

    def _connect(self) -> Clients:
        with self._lock:
            if self._clients is None:
                self._clients = Clients(self._runner.connect, self._emitter)
            return self._clients


class _NoJournal:
    """Records nothing."""

    def claim(self, job: ClaimedJob) -> bool:  # noqa: ARG002 - as its protocol has it
        return True

    def record(self, job: ClaimedJob) -> None:
        pass


# Seconds without which a job is not begun: two calls of the service and a report take a tenth of it.
_LEAST = 1.0
