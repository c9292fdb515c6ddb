"""What runs handlers: the base class of all engines, and the engine that uses no executor."""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from typing import Any

from cp_thirdparty.worker._async_handlers import CoroutineRunner
from cp_thirdparty.worker._claimed_job import ClaimedJob
from cp_thirdparty.worker._clients import Clients
from cp_thirdparty.worker._coroutines import BLOCKED
from cp_thirdparty.worker._emit import Emitter
from cp_thirdparty.worker._failure_policy import NotStartedError
from cp_thirdparty.worker._start_permit import WITHDRAWN
from cp_thirdparty.worker.runner import HandlerRun, NotStarted, Runner


class Starts:
    """
    Records whether handlers can be started.  Thread-safe.

    After a failed start, the jobs that try to start their handlers are tests of whether handlers can be started again.
    """

    def __init__(self, emitter: Emitter) -> None:
        self._emitter = emitter
        self._lock = threading.Lock()
        self._failing: set[ClaimedJob] = set()
        self.error: str | None = None

    @property
    def may_claim(self) -> bool:
        """Whether handlers can be started, or all jobs that tested it have ended."""
        with self._lock:
            return all(job.is_closed for job in self._failing)

    def note_attempt(self, job: ClaimedJob) -> None:
        """Note that a job tries to start its handler; the job is a test if the last handler could not be started."""
        with self._lock:
            if self.error is not None:
                self._failing.add(job)

    def note_failure(self, job: ClaimedJob, error: str) -> NotStartedError:
        """Note that no handler can be started at present, and return the error for this job."""
        with self._lock:
            is_new = self.error is None
            self.error = error
            self._failing = {job, *(each for each in self._failing if not each.is_closed)}
        if is_new:
            self._emitter.log(logging.ERROR, "handlers cannot be started: %s", error)
        return NotStartedError(error)

    def find_error(self, job: ClaimedJob, not_started: NotStarted) -> Exception:
        """Return the error of a handler that was not called, and note it if its process cannot run any handler."""
        if not not_started.is_initialised:
            self.note_failure(job, not_started.error_name)
        return NotStartedError(not_started.error_name) if not_started.error is None else not_started.error

    def note_start(self) -> None:
        """Note that a handler was called, so that handlers can be started."""
        with self._lock:
            is_new = self.error is not None
            self.error = None
            self._failing.clear()
        if is_new:
            self._emitter.log(logging.WARNING, "handlers can be started again")


class Engine(ABC):
    """Runs handlers."""

    def __init__(self, emitter: Emitter) -> None:
        self._emitter = emitter
        self._starts = Starts(emitter)

    @property
    def error(self) -> str | None:
        """Why handlers cannot be started; ``None`` if the last attempt succeeded and the event loop is not blocked."""
        return BLOCKED if self.is_blocked else self._starts.error

    @property
    def is_blocked(self) -> bool:
        """Whether no handler can start or continue at present, because a coroutine blocks the shared event loop."""
        return False

    @property
    def may_claim(self) -> bool:
        """Whether the event loop is not blocked, and handlers can be started or no job is testing whether they can."""
        return not self.is_blocked and self._starts.may_claim

    @abstractmethod
    def run(self, job: ClaimedJob, seconds_left: float) -> HandlerRun | Exception | None:
        """
        Run the handler of a claimed job, and return how it ended.

        Returns:
            A `HandlerRun` if the handler was called and ended; a `ProcessDiedError` if its process ended unexpectedly;
            another exception if the handler was not called; ``None`` if the result is no longer needed.
        """

    @abstractmethod
    def withdraw(self, job: ClaimedJob) -> bool:
        """Prevent the call of a job's handler; return ``False`` if the handler was called, or may have been."""

    @abstractmethod
    def close(self) -> None:
        """Release the processes and other resources of the engine."""


class ThreadEngine(Engine):
    """
    Runs handlers in the calling thread, and the coroutines of asynchronous handlers in an event loop.

    Args:
        runner: Runs a handler.
        clients: The worker's clients; handlers use the one that reads.
        coroutines: Runs the coroutines of asynchronous handlers.
        stopping: Set when the worker stops.
        emitter: Logs whether event loops can be started.
        cancel_timeout: Seconds to wait until a cancelled coroutine ends; ``None`` for no limit.
    """

    def __init__(
        self,
        runner: Runner[Any],
        clients: Clients,
        coroutines: CoroutineRunner,
        stopping: threading.Event,
        emitter: Emitter,
        *,
        cancel_timeout: float | None = None,
    ) -> None:
        super().__init__(emitter)
        self._runner = runner
        self._clients = clients
        self._coroutines = coroutines
        self._stopping = stopping
        self._cancel_timeout = cancel_timeout

    @property
    def is_blocked(self) -> bool:
        """Whether a coroutine blocks the event loop."""
        return self._coroutines.is_blocked

    def run(self, job: ClaimedJob, seconds_left: float) -> HandlerRun | Exception:
        """Run the handler in the calling thread, or in the event loop if it is asynchronous."""
        assert job.details is not None, "the job was read"  # noqa: S101 - a bug in this library
        self._starts.note_attempt(job)
        failure = self._runner.prepare(self._coroutines)
        if failure is not None:
            return self._starts.note_failure(job, failure.error_name)
        self._starts.note_start()
        # The code before the handler, such as a configuration class, may hang too, so that it counts as the handler.
        if not job.begin():
            return NotStartedError(WITHDRAWN)
        handler_run = self._runner.run(
            job.offer,
            job.details,
            client=self._clients.reader,
            client_token=job.client_token,
            seconds_left=seconds_left,
            cancelled=job.cancelled,
            stopping=self._stopping,
            coroutines=self._coroutines,
            cancel_timeout=self._cancel_timeout,
            # A coroutine begins when the event loop is free, which may be never, so only the loop can note the start.
            start=job if self._runner.begins_in_loop else None,
        )
        return NotStartedError(handler_run.error_name) if isinstance(handler_run, NotStarted) else handler_run

    def withdraw(self, job: ClaimedJob) -> bool:  # noqa: ARG002 - the base class requires it
        """Return ``False``, because `run` calls functions at once, and `ClaimedJob` itself prevents a coroutine."""
        return False

    def close(self) -> None:
        """Do nothing, because this engine has no resources of its own."""
