"""`JobWorker`: poll for jobs of one action type, claim, run and report them, until the worker is stopped."""

from __future__ import annotations

import logging
import math
import random
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor
from datetime import timedelta
from functools import partial
from types import TracebackType
from typing import Any, Generic, TypeVar, overload

import attrs
from typing_extensions import Self

from cp_thirdparty._base.durations import read_days, read_seconds
from cp_thirdparty._base.frames import hide_arguments
from cp_thirdparty.client import CustomJobClient, ThirdPartyJobClient
from cp_thirdparty.exceptions import JournalError
from cp_thirdparty.models import ActionConfiguration, ActionTypeId
from cp_thirdparty.worker._arguments import (
    check_callable,
    check_count,
    check_handling,
    check_instance,
    check_journal,
    read_tokens,
)
from cp_thirdparty.worker._async_handlers import AsyncHandlers
from cp_thirdparty.worker._bounded_calls import BoundedCalls, NotReturned, SafeClock
from cp_thirdparty.worker._clients import Clients
from cp_thirdparty.worker._emit import Emitter
from cp_thirdparty.worker._engines import Engine, ThreadEngine
from cp_thirdparty.worker._executors import ExecutorEngine, pickle_runner
from cp_thirdparty.worker._kinds import kind_of_type
from cp_thirdparty.worker._loop import Loop
from cp_thirdparty.worker._processes import ProcessEngine, ProcessPerJob
from cp_thirdparty.worker._settings import Settings
from cp_thirdparty.worker.events import EventHook, WorkerMetrics
from cp_thirdparty.worker.health import STOPPED_HEALTH, WorkerHealth
from cp_thirdparty.worker.journal import Journal, MemoryJournal
from cp_thirdparty.worker.outcomes import Outcome
from cp_thirdparty.worker.runner import ArtifactsFactory, Handler, Runner
from cp_thirdparty.worker.tokens import ClientTokens

__all__ = ["JobWorker"]

_ConfigurationT = TypeVar("_ConfigurationT")

# Maximum number of seconds between two checks of signals and deadlines.
_TICK = 0.25

# Seconds that `connect` and `executor` have to return if the worker is stopped while it starts.
_START_SECONDS = 5.0

_CLOCK_FAILS = "clock %s; until it works again, the worker computes the time without it"


class JobWorker(Generic[_ConfigurationT]):
    """
    Works on the jobs of one action type.

    Every acknowledged job gets exactly one accepted result.  If that is impossible, the job stays in the journal and
    the worker reports it.  A handler may run twice for one job in two cases: its worker or process crashes while it
    runs and ``is_idempotent`` is set, or the response to an acknowledgement is lost and another worker claims the job
    at that moment.

    Many workers, in many processes and on many machines, may work on one action type.  `stop()` and `health()` may be
    called from any thread; one worker runs at most once at a time.

    Args:
        connect: Creates a `cp_thirdparty.ThirdPartyJobClient`, or for a custom action, whose owner is ``Custom``, a
            `cp_thirdparty.CustomJobClient`.  It is called once for a client that polls and once for one that reports,
            again if AWS refuses their credentials or clock, and in each process of an executor.
        action_type_id: The action type.
        handler: A function, or an ``async def``, that does the work of one job.
        configuration: Your class for the action configuration; ``None`` for the strings that CodePipeline returned.
        client_tokens: A mapping or a callable from client id to client token; ``None`` for custom actions.
        journal: Records the jobs, so that they survive a crash; ``None`` for a `MemoryJournal`, which is lost in a
            crash.  The worker does not close it.
        concurrency: Maximum number of jobs at a time, at least 1.  Polls request as many jobs as there are free slots.
        max_jobs_per_client: Maximum number of jobs of one customer at a time, at least 1; ``None`` for no limit.  With
            a limit, a customer whose jobs hang cannot use all slots.  More jobs of this customer are not claimed, so
            CodePipeline offers them again, also to other workers.
        poll_interval: Seconds or a ``timedelta`` between two polls if a poll led to no claim.  Each pause is up to a
            fifth shorter or longer, so that many workers do not poll at the same time.  AWS's own sample worker polls
            each second, its Jenkins plug-in up to once a minute.
        job_timeout: Seconds or a ``timedelta`` after the claim at which the worker reports the job as failed; ``None``
            for 3,300, or 85,000 for custom actions.  It must be less than CodePipeline's own timeout, which is the
            action type's ``jobTimeout``, or by default 3,600 seconds, and 86,400 for custom actions.
        grace: Seconds or a ``timedelta`` that running jobs have after `stop()`, at least 0.  After it, 5 seconds are
            left for the last attempts to report.  The default fits into the 30 seconds between SIGTERM and SIGKILL of
            Kubernetes.  Docker waits 10 seconds unless ``--stop-timeout`` is given.
        is_idempotent: Whether the handler may run again for a job whose worker or process crashed while it ran.
        max_crashes: How many times the process may crash while it runs this job alone, before the job is reported as
            failed, at least 1.  If a process crashes with several jobs, these jobs run again one at a time.
        keep_finished: Days or a ``timedelta`` for which the journal keeps finished jobs, at least 0; ``None`` to keep
            them forever.
        executor: ``processes(n)`` to run each job in its own process, which is killed at the timeout; or a callable
            that creates an executor, such as ``partial(ProcessPoolExecutor, mp_context=get_context("spawn"))`` or a
            Dask client's ``get_executor``; ``None`` for threads.  Each process reads the details of its jobs itself, so
            no secret is sent to it.  The worker shuts the executor down.
        artifacts: Creates the artifact store of a job, such as ``partial(ArtifactStore.for_job,
            expected_bucket_owner="111122223333")``; ``None`` for `cp_thirdparty.artifacts.ArtifactStore.for_job`.
        on_event: Called in a separate thread with a `cp_thirdparty.worker.events.JobEvent` for each event of a job.  It
            may block or raise; `run` and `run_once` wait at most 2 seconds for it before they return.
        metrics: Counts each event, in a separate thread, such as
            `cp_thirdparty.observability.prometheus_metrics`; ``None`` to count nothing.

            .. versionadded:: 0.2.0

        clock: Returns the time in seconds, for intervals and deadlines.

    Raises:
        TypeError: An argument has a wrong type, a callable does not accept the arguments with which it is called, a
            field of the configuration class has a type that `cp_thirdparty.structure_configuration` does not read, or
            an argument cannot be pickled for the processes of the executor.
        ValueError: A number is out of its range.  Seconds are at most 1,000,000, days at most 36,500.
    """

    @overload
    def __init__(
        self: JobWorker[ActionConfiguration | None],
        connect: Callable[[], ThirdPartyJobClient],
        action_type_id: ActionTypeId,
        handler: Handler[ActionConfiguration | None],
        *,
        configuration: None = None,
        client_tokens: ClientTokens,
        journal: Journal | None = None,
        concurrency: int = 10,
        max_jobs_per_client: int | None = None,
        poll_interval: float | timedelta = 5.0,
        job_timeout: float | timedelta | None = None,
        grace: float | timedelta = 20.0,
        is_idempotent: bool = False,
        max_crashes: int = 3,
        keep_finished: float | timedelta | None = 30.0,
        executor: Callable[[], Executor] | ProcessPerJob | None = None,
        artifacts: ArtifactsFactory | None = None,
        on_event: EventHook | None = None,
        metrics: WorkerMetrics | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None: ...

    @overload
    def __init__(
        self,
        connect: Callable[[], ThirdPartyJobClient],
        action_type_id: ActionTypeId,
        handler: Handler[_ConfigurationT],
        *,
        configuration: type[_ConfigurationT],
        client_tokens: ClientTokens,
        journal: Journal | None = None,
        concurrency: int = 10,
        max_jobs_per_client: int | None = None,
        poll_interval: float | timedelta = 5.0,
        job_timeout: float | timedelta | None = None,
        grace: float | timedelta = 20.0,
        is_idempotent: bool = False,
        max_crashes: int = 3,
        keep_finished: float | timedelta | None = 30.0,
        executor: Callable[[], Executor] | ProcessPerJob | None = None,
        artifacts: ArtifactsFactory | None = None,
        on_event: EventHook | None = None,
        metrics: WorkerMetrics | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None: ...

    @overload
    def __init__(
        self: JobWorker[ActionConfiguration | None],
        connect: Callable[[], CustomJobClient],
        action_type_id: ActionTypeId,
        handler: Handler[ActionConfiguration | None],
        *,
        configuration: None = None,
        client_tokens: None = None,
        journal: Journal | None = None,
        concurrency: int = 10,
        max_jobs_per_client: int | None = None,
        poll_interval: float | timedelta = 5.0,
        job_timeout: float | timedelta | None = None,
        grace: float | timedelta = 20.0,
        is_idempotent: bool = False,
        max_crashes: int = 3,
        keep_finished: float | timedelta | None = 30.0,
        executor: Callable[[], Executor] | ProcessPerJob | None = None,
        artifacts: ArtifactsFactory | None = None,
        on_event: EventHook | None = None,
        metrics: WorkerMetrics | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None: ...

    @overload
    def __init__(
        self,
        connect: Callable[[], CustomJobClient],
        action_type_id: ActionTypeId,
        handler: Handler[_ConfigurationT],
        *,
        configuration: type[_ConfigurationT],
        client_tokens: None = None,
        journal: Journal | None = None,
        concurrency: int = 10,
        max_jobs_per_client: int | None = None,
        poll_interval: float | timedelta = 5.0,
        job_timeout: float | timedelta | None = None,
        grace: float | timedelta = 20.0,
        is_idempotent: bool = False,
        max_crashes: int = 3,
        keep_finished: float | timedelta | None = 30.0,
        executor: Callable[[], Executor] | ProcessPerJob | None = None,
        artifacts: ArtifactsFactory | None = None,
        on_event: EventHook | None = None,
        metrics: WorkerMetrics | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None: ...

    @hide_arguments
    def __init__(
        self,
        connect: Callable[[], ThirdPartyJobClient | CustomJobClient],
        action_type_id: ActionTypeId,
        handler: Handler[Any],
        *,
        configuration: type[Any] | None = None,
        client_tokens: ClientTokens | None = None,
        journal: Journal | None = None,
        concurrency: int = 10,
        max_jobs_per_client: int | None = None,
        poll_interval: float | timedelta = 5.0,
        job_timeout: float | timedelta | None = None,
        grace: float | timedelta = 20.0,
        is_idempotent: bool = False,
        max_crashes: int = 3,
        keep_finished: float | timedelta | None = 30.0,
        executor: Callable[[], Executor] | ProcessPerJob | None = None,
        artifacts: ArtifactsFactory | None = None,
        on_event: EventHook | None = None,
        metrics: WorkerMetrics | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        check_instance("action_type_id", action_type_id, ActionTypeId)
        kind = kind_of_type(action_type_id)
        tokens = read_tokens(client_tokens, kind)
        check_handling(
            kind, connect=connect, handler=handler, configuration=configuration, artifacts=artifacts, on_event=on_event
        )
        check_instance("is_idempotent", is_idempotent, bool)
        check_count("concurrency", concurrency)
        if max_jobs_per_client is not None:
            check_count("max_jobs_per_client", max_jobs_per_client)
        check_count("max_crashes", max_crashes)
        poll_interval = read_seconds("poll_interval", poll_interval)
        job_timeout = read_seconds("job_timeout", kind.job_timeout if job_timeout is None else job_timeout)
        grace = read_seconds("grace", grace, least=0)
        keep_finished = read_days("keep_finished", keep_finished)
        check_callable("clock", clock, "no arguments")
        if journal is not None:
            check_journal(journal)
        if isinstance(executor, ProcessPerJob):
            if executor.count > concurrency:
                raise ValueError("executor: must not have more processes than concurrency")
            concurrency = executor.count
        elif executor is not None:
            check_callable("executor", executor, "no arguments, and return an Executor")
        self._runner: Runner[Any] = Runner(
            connect=connect, handler=handler, configuration=configuration, tokens=tokens, artifacts=artifacts
        )
        self._journal: Journal = MemoryJournal() if journal is None else journal
        self._journal_calls = BoundedCalls("cp-thirdparty-journal")  # for all runs, because a call may outlast its run
        self._executor = executor
        if executor is not None:
            pickle_runner(self._runner)  # raises here, and not at the first job, if something cannot be pickled
        count = None if metrics is None else lambda event, _: metrics.record(event, action_type_id)
        emitter = Emitter(on_event, count)
        if clock is not time.monotonic:  # `time.monotonic` never fails, and is read about thirty times for each job
            clock = SafeClock(clock, partial(emitter.log, logging.ERROR, _CLOCK_FAILS))
        self._settings = Settings(
            action_type_id=action_type_id,
            concurrency=concurrency,
            max_jobs_per_client=max_jobs_per_client,
            poll_interval=poll_interval,
            job_timeout=job_timeout,
            grace=grace,
            is_idempotent=is_idempotent,
            max_crashes=max_crashes,
            keep_finished=keep_finished,
            emitter=emitter,
            clock=clock,
            jitter=random.Random(),  # noqa: S311 - jitter
        )
        self._coroutines = AsyncHandlers(emitter.log)
        self._lock = threading.Lock()
        self._ended = threading.Condition(self._lock)
        self._turn = threading.Lock()  # held by a call of `run_once`, so that other calls wait
        self._clients: Clients | None = None
        self._is_running = False
        self._start = BoundedCalls("cp-thirdparty-start")
        self._loop: Loop | None = None
        self._stops = 0
        if metrics is not None:
            metrics.watch(action_type_id, self.health, self._journal)

    def run(self, *, handle_signals: bool = False) -> bool:
        """
        Work until `stop()`, then drain.

        The worker first takes over the unfinished jobs of this journal that no running worker has.  A failed poll ends
        the run only if later polls would fail too.

        Args:
            handle_signals: ``True`` to stop the worker at SIGTERM and SIGINT (Ctrl-C); a second signal ends the grace
                at once.  Works in the main thread only.

        Returns:
            ``True`` if all jobs have ended and CodePipeline has all results.  ``False`` if the journal keeps an
            unfinished job, if an operator should check a job, or if the journal failed.

        Raises:
            cp_thirdparty.exceptions.ActionTypeNotFoundException: The caller has no such action type.
            cp_thirdparty.exceptions.AccessDeniedError: The caller may not poll.
            cp_thirdparty.exceptions.JournalError: The journal cannot be read at the start.
            cp_thirdparty.exceptions.WorkerStuckError: The handlers in all slots have hung for at least the seconds of
                the grace.  Let the process end: the hanging threads do not prevent that.
            RuntimeError: The worker is already running.
        """
        previous = (
            {number: signal.signal(number, lambda *_: self.stop()) for number in _SIGNALS} if handle_signals else {}
        )
        try:
            return self._run(polls=None, on_outcome=None)
        finally:
            for number, handler in previous.items():
                # Python can neither read nor restore a handler that a C library has installed.
                signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def run_once(self) -> tuple[Outcome, ...]:
        """
        Take over unfinished jobs of the journal, poll once, and return when the jobs have ended.

        Calls from several threads take turns.  The clients stay open for the next call, until `close()`.

        Returns:
            The outcome of each job.

        Raises:
            cp_thirdparty.exceptions.ThirdPartyError: The poll failed, or the journal could not be read.
            RuntimeError: The worker is already running.
        """
        outcomes: list[Outcome] = []
        with self._turn:
            self._run(polls=1, on_outcome=outcomes.append)
        return tuple(outcomes)

    def stop(self) -> None:
        """
        Start to stop a running worker, and return at once.  A second call ends the grace at once.

        The worker stops polling, hands back the jobs that it has not acknowledged, and waits for the others until the
        grace ends.  Jobs that run longer are released if they are idempotent and the journal is durable and shared, so
        that another worker runs them.  Other jobs are reported as failed.  A result that CodePipeline has not accepted
        five seconds after the grace stays in the journal.
        """
        self._stops += 1  # without the lock: a signal handler may have interrupted the thread that holds the lock
        self._start.end_within(_START_SECONDS)
        loop = self._loop
        if loop is not None:
            loop.note_stop()

    def close(self) -> None:
        """
        Stop the worker if it runs in another thread, wait for its end, and close its clients and its event loop.

        The end of a ``with`` block does the same.  The worker may run again.  The journal stays open.

        .. versionadded:: 0.2.0
        """
        with self._ended:
            if self._is_running:
                self.stop()
            self._ended.wait_for(lambda: not self._is_running)
        self._release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def health(self) -> WorkerHealth:
        """Return the worker's health."""
        loop = self._loop
        if loop is None:
            return attrs.evolve(STOPPED_HEALTH, dropped_events=self._settings.emitter.dropped)
        return loop.health()

    def __repr__(self) -> str:
        state = "stopped" if self._loop is None else "running"  # health() could wait for a lock
        return f"JobWorker({self._settings.action_type_id!r}, {state})"

    def _run(self, *, polls: int | None, on_outcome: Callable[[Outcome], object] | None) -> bool:
        with self._lock:
            if self._is_running:
                raise RuntimeError("the worker is already running")
            self._is_running = True
        try:
            loop = self._loop = self._open(on_outcome)
            return loop is not None and self._follow(loop, polls)
        finally:
            if self._loop is None or polls is None:
                self._release()
            with self._ended:
                self._loop = None
                self._is_running = False
                self._stops = 0
                self._ended.notify_all()

    def _open(self, on_outcome: Callable[[Outcome], object] | None) -> Loop | None:
        """Create a run; return ``None`` if the worker was stopped while ``connect`` or ``executor`` hung."""
        calls = self._start = BoundedCalls("cp-thirdparty-start")
        if self._stops:
            calls.end_within(_START_SECONDS)
        self._journal_calls.reopen()
        loop = calls.call_or_raise(math.inf, partial(self._create_loop, on_outcome), Loop.abandon)
        calls.close()
        if isinstance(loop, NotReturned):
            self._settings.emitter.log(logging.ERROR, "the worker was stopped before connect or executor had returned")
            self._settings.emitter.flush()
            return None
        self._clients = loop.clients
        return loop

    def _follow(self, loop: Loop, polls: int | None) -> bool:
        try:
            if self._stops:
                loop.note_stop()
            try:
                loop.start(polls)
            except JournalError as failure:
                if not self._stops:
                    raise
                # The stop has ended the wait for the journal, so this is not a failure of the start.
                self._settings.emitter.log(
                    logging.ERROR, "the worker was stopped before the journal could be read: %s", failure
                )
                return False
            while not loop.is_over(stops=self._stops):
                loop.wait(_TICK)
        finally:
            loop.close()
        return loop.is_clean

    def _release(self) -> None:
        """Close the event loop of the handlers and the clients."""
        self._coroutines.close()
        with self._lock:
            clients, self._clients = self._clients, None
        if clients is not None:
            clients.close()

    def _create_loop(self, on_outcome: Callable[[Outcome], object] | None) -> Loop:
        runner, settings = self._runner, self._settings
        clients = self._clients or Clients(runner.connect, settings.emitter, kind_of_type(settings.action_type_id))
        try:
            return Loop(
                settings=settings,
                clients=clients,
                create_engine=self._create_engine,
                tokens=runner.tokens,
                journal=self._journal,
                journal_calls=self._journal_calls,
                on_outcome=on_outcome,
            )
        except BaseException:
            clients.close()
            raise

    def _create_engine(self, clients: Clients, stopping: threading.Event) -> Engine:
        if self._executor is None:
            return ThreadEngine(self._runner, clients, self._coroutines, stopping, self._settings.emitter)
        if isinstance(self._executor, ProcessPerJob):
            return ProcessEngine(self._runner, self._executor, self._settings.emitter, stopping)
        return ExecutorEngine(self._runner, self._executor, self._settings.emitter)


_SIGNALS = (signal.SIGTERM, signal.SIGINT)
