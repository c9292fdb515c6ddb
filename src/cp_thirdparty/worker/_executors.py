"""The engine that runs handlers in an executor: a pool of processes or threads, or a Dask cluster."""

from __future__ import annotations

import logging
import pickle
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from typing import Any, Final, cast

import attrs

from cp_thirdparty.worker._claimed_job import ClaimedJob, Stage
from cp_thirdparty.worker._coroutines import is_async_callable
from cp_thirdparty.worker._emit import Emitter
from cp_thirdparty.worker._engines import Engine
from cp_thirdparty.worker._failure_policy import NotStartedError, ProcessDiedError
from cp_thirdparty.worker._handler_failures import class_name
from cp_thirdparty.worker._isolation import Raised, call_partner, call_with_timeout
from cp_thirdparty.worker._start_permit import (
    WITHDRAWN,
    BegunBeforeError,
    Permits,
    begin_once,
    is_taken,
    remove_note,
    take_permit,
)
from cp_thirdparty.worker.runner import HandlerRun, NotStarted, Runner, is_blocked, run_in_executor

# Seconds between two checks of whether the job still needs the result of its handler in another process.
_TICK: Final = 0.5

# Seconds after which a task without a permit is treated as started if it has not failed.
_START_SECONDS: Final = 30.0

# Seconds for which `withdraw` waits if the executor is about to report whether the handler was called.
_REPORT_SECONDS: Final = 1.5

# Seconds for which a note stays in Dask's scheduler after the end of its task.  Dask may repeat the task just then, and
# the repeated task needs some time until it reads the note.
_NOTE_SECONDS: Final = 600.0

# Seconds to wait for the executor's `shutdown(wait=False)`, which should return at once.
_SHUTDOWN_SECONDS: Final = 2.0

# Executors whose workers run on this machine, so that they can read the files of this process.
_LOCAL_EXECUTORS: Final = (ProcessPoolExecutor, ThreadPoolExecutor)


@attrs.define(eq=False)
class _Task:
    """
    A job that was given to an executor.

    Attributes:
        job: The job.
        permit: The file that the executor's process must remove before it calls the handler.  If this process removes
            the file first, the handler is never called.  ``None`` for executors that may run on other machines.
        future: The future that the executor returned; ``None`` before that, or if `submit` raised an exception.
        remove_note: Removes the note of the start from Dask's scheduler; ``None`` for other executors.
        is_withdrawn: Whether this process removed the permit, so that the handler is never called for this task.
        is_started: Whether the call of the handler was noted in `Starts`.
    """

    job: ClaimedJob
    permit: str | None = None
    future: Future[HandlerRun | NotStarted] | None = None
    remove_note: Callable[[], object] | None = None
    is_withdrawn: bool = False
    is_started: bool = False
    _is_submitted: threading.Event = attrs.field(factory=threading.Event)
    _has_ended: threading.Event = attrs.field(factory=threading.Event)
    _lock: threading.Lock = attrs.field(factory=threading.Lock)

    def withdraw(self) -> bool:
        """Prevent the call of the handler; return ``False`` if the handler was called, or may have been."""
        with self._lock:
            if self.permit is not None and take_permit(self.permit):
                self.is_withdrawn = True
            return self.is_withdrawn

    def note_submit(self, future: Future[HandlerRun | NotStarted] | None) -> None:
        """
        Note that `submit` of the executor has ended.

        Args:
            future: The future that `submit` returned; ``None`` if it raised, so that the handler is never called.
        """
        if future is None:
            self.job.stop()
        self.future = future
        self._is_submitted.set()

    def note_end(self) -> None:
        """Note that the task has ended; the stage of its job now shows whether the handler was called."""
        self._is_submitted.set()
        self._has_ended.set()

    def wait_for_report(self) -> None:
        """Wait a short time until the task ends, if the executor is about to report whether the handler was called."""
        if self._is_submitted.wait(_REPORT_SECONDS) and self.future is not None and self.future.done():
            self._has_ended.wait(_REPORT_SECONDS)


@attrs.define(eq=False)
class _Pool:
    """
    An executor and its tasks.

    Attributes:
        executor: The executor.
        tasks: The tasks that have not ended.
        running_at_break: How many handlers were running, or may have been, when the executor broke; ``None`` before.
    """

    executor: Executor
    tasks: set[_Task] = attrs.field(factory=set)
    running_at_break: int | None = None


class ExecutorEngine(Engine):
    """Runs handlers in an executor.  If the executor breaks, the engine creates a new one for the next job."""

    def __init__(self, runner: Runner[Any], make_executor: Callable[[], Executor], emitter: Emitter) -> None:
        super().__init__(emitter)
        self._runner = pickle_runner(runner)
        self._is_async = is_async_callable(runner.handler)
        self._make_executor = make_executor
        self._lock = threading.Lock()
        self._pool: _Pool | None = self._create_pool()
        self._tasks: dict[str, _Task] = {}
        self._permits = Permits()
        self._removals: deque[tuple[float, Callable[[], object]]] = deque()  # since when a note is not needed

    @property
    def is_blocked(self) -> bool:
        """Whether a coroutine blocks the event loop of this process, if the executor runs the handlers here."""
        pool = self._pool
        return self._is_async and pool is not None and isinstance(pool.executor, ThreadPoolExecutor) and is_blocked()

    def run(self, job: ClaimedJob, seconds_left: float) -> HandlerRun | Exception | None:
        """Send the job, without its details and secrets, to the executor, and wait until the handler ends."""
        self._starts.note_attempt(job)
        task = self._tasks[job.offer.job_id] = _Task(job)
        try:
            handler_run = self._run(task, time.time() + seconds_left)
            if isinstance(handler_run, Exception) and not isinstance(handler_run, ProcessDiedError):
                # Before the task is removed: a `withdraw` at the same time must see that the handler was not called.
                job.stop()
            return handler_run
        finally:
            task.withdraw()  # removes the permit, if the executor has not
            task.note_end()
            with self._lock:
                del self._tasks[job.offer.job_id]
                if not self._tasks:
                    self._permits.remove()
            if task.remove_note is not None:
                self._remove_old_notes(task.remove_note)

    def withdraw(self, job: ClaimedJob) -> bool:
        """Prevent the call of a job's handler; return ``False`` if the handler was called, or may have been."""
        task = self._tasks.get(job.offer.job_id)
        if task is not None and not task.withdraw() and job.stage is Stage.RUNNING:
            task.wait_for_report()
        return task is not None and task.withdraw()

    def close(self) -> None:
        """
        Shut the executor down, and kill the processes whose handlers still run.

        Otherwise the interpreter would wait for these handlers when it exits.
        """
        if self._pool is not None:
            _shut_down(self._pool, self._emitter)

    def _run(self, task: _Task, deadline: float) -> HandlerRun | Exception | None:
        pool = call_partner(self._add_task, task)
        if isinstance(pool, Raised):
            return self._starts.note_failure(task.job, pool.name)
        note = f"cp-thirdparty-{uuid.uuid4()}" if type(pool.executor).__module__.startswith("distributed.") else ""
        may_begin = None if task.permit is None else partial(take_permit, task.permit)
        if note:
            may_begin = partial(begin_once, note)
            task.remove_note = lambda: pool.executor.submit(remove_note, note)
        offer = task.job.offer
        if not task.job.begin():
            self._remove_task(pool, task, is_broken=False)
            return NotStartedError(WITHDRAWN)
        run = partial(run_in_executor, shares_loop=not isinstance(pool.executor, ProcessPoolExecutor))
        future = call_partner(lambda: _as_future(pool.executor.submit(run, self._runner, offer, deadline, may_begin)))
        task.note_submit(None if isinstance(future, Raised) else future)
        if isinstance(future, Raised):  # the executor is broken, or was shut down
            self._remove_task(pool, task, is_broken=True)
            return self._starts.note_failure(task.job, future.name)
        return self._find_end(pool, task, future, note)

    def _find_end(
        self, pool: _Pool, task: _Task, future: Future[HandlerRun | NotStarted], note: str
    ) -> HandlerRun | Exception | None:
        """Wait for the end of a task, and return what `run` returns."""
        try:
            handler_run = self._wait_for(future, task)
            if note and isinstance(handler_run, NotStarted) and self._may_have_begun(pool, task, note):
                return self._note_end(pool, task, BegunBeforeError())
        except BaseException as error:  # noqa: BLE001 - Dask raises its own error classes
            return self._note_end(pool, task, error)
        self._remove_task(pool, task, is_broken=False)
        if isinstance(handler_run, NotStarted):
            return self._starts.find_error(task.job, handler_run)
        if handler_run is not None:
            self._note_start(task)
        return handler_run

    def _remove_old_notes(self, remove: Callable[[], object]) -> None:
        """Remove the notes of tasks that ended some time ago; ``remove`` does it for the task that ends now."""
        old: list[Callable[[], object]] = []
        with self._lock:
            self._removals.append((time.monotonic(), remove))
            while self._removals and self._removals[0][0] <= time.monotonic() - _NOTE_SECONDS:
                old.append(self._removals.popleft()[1])
        for each in old:
            call_partner(each)

    def _may_have_begun(self, pool: _Pool, task: _Task, note: str) -> bool:
        """Return whether the handler of a task was called, or may have been; otherwise prevent that it is called."""
        future: Future[bool] | Raised = call_partner(lambda: _as_future(pool.executor.submit(begin_once, note)))
        if isinstance(future, Raised):
            return True
        ended = _end_event(future)
        while not ended.wait(_TICK):
            if task.job.cancelled.is_set():
                future.cancel()
                return True
        return future.cancelled() or future.exception() is not None or future.result() is not True

    def _note_end(self, pool: _Pool, task: _Task, error: BaseException) -> Exception:
        """Return the error for a task whose future failed, which shows that the executor has lost the task."""
        name = type(error).__name__
        running = self._remove_task(pool, task, is_broken=isinstance(error, RuntimeError))
        if not task.withdraw():
            return ProcessDiedError(name, is_alone=running == 1)
        if pool.running_at_break == 0:  # no handler ran, so none can be the cause
            return self._starts.note_failure(task.job, name)
        return NotStartedError(name)

    def _create_pool(self) -> _Pool:
        executor: object = self._make_executor()
        if not isinstance(executor, Executor):
            raise TypeError(f"executor: must return an Executor, not {class_name(executor)}")
        return _Pool(executor)

    def _add_task(self, task: _Task) -> _Pool:
        with self._lock:
            if self._pool is None:
                self._pool = self._create_pool()
            if isinstance(self._pool.executor, _LOCAL_EXECUTORS):
                task.permit = self._permits.create()
            self._pool.tasks.add(task)
            return self._pool

    def _remove_task(self, pool: _Pool, task: _Task, *, is_broken: bool) -> int:
        """
        Remove a task from its pool, and shut the executor down if it is broken.

        Returns:
            The number of handlers that were running when the executor broke, or the number of its tasks if it is not
            broken.
        """
        with self._lock:
            if is_broken and pool.running_at_break is None:
                pool.running_at_break = sum(not each.withdraw() for each in pool.tasks)
            if is_broken and self._pool is pool:
                _shut_down(pool, self._emitter)
                self._pool = None
            tasks = len(pool.tasks)
            pool.tasks.discard(task)
            return tasks if pool.running_at_break is None else pool.running_at_break

    def _wait_for(self, future: Future[HandlerRun | NotStarted], task: _Task) -> HandlerRun | NotStarted | None:
        began_at = time.monotonic()
        ended = _end_event(future)
        while not ended.wait(_TICK):
            if task.is_withdrawn:
                future.cancel()
                return NotStarted(error=None, error_name=WITHDRAWN)
            if task.job.cancelled.is_set() and future.cancel():
                return None
            if time.monotonic() - began_at > _START_SECONDS if task.permit is None else is_taken(task.permit):
                self._note_start(task)
        result: object = future.result()
        if not isinstance(result, (HandlerRun, NotStarted)):
            raise TypeError  # the executor returned something else than the result; the handler may have run
        return result

    def _note_start(self, task: _Task) -> None:
        # Only once for each task.  If other handlers fail to start later, this earlier start does not prove that
        # handlers can be started again.
        if not task.is_started:
            task.is_started = True
            self._starts.note_start()


def _as_future(returned: Any) -> Future[Any]:
    """
    Return the object that `submit` returned, if it is a future; otherwise return a failed future.

    A failed future is treated like a lost task: the handler may have been called.
    """
    if callable(getattr(returned, "add_done_callback", None)):
        return cast("Future[Any]", returned)  # the futures of Dask do not inherit from `Future`
    failed: Future[Any] = Future()
    failed.set_exception(TypeError())
    return failed


def _end_event(future: Future[Any]) -> threading.Event:
    """Return an event that is set when a future ends."""
    ended = threading.Event()
    future.add_done_callback(lambda _: ended.set())
    return ended


def _shut_down(pool: _Pool, emitter: Emitter) -> None:
    # Read before the shutdown, which removes the references to the processes.
    processes: Mapping[int, Any] | None = getattr(pool.executor, "_processes", None)
    hanging = list((processes or {}).values()) if pool.tasks and pool.running_at_break is None else []
    problem = call_with_timeout(_SHUTDOWN_SECONDS, pool.executor.shutdown, wait=False)
    if problem is not None:
        emitter.log(logging.WARNING, "the executor's shutdown %s", problem)
    for process in hanging:
        call_partner(process.kill)


def pickle_runner(runner: Runner[Any]) -> bytes:
    """
    Pickle a runner, which is sent to other processes.

    Raises:
        TypeError: A part of the runner cannot be pickled; the message names the argument and what to use instead.
    """
    for name in ("handler", "configuration", "connect", "tokens", "artifacts"):
        try:
            pickle.dumps(getattr(runner, name))
        except Exception as failure:  # noqa: BLE001 - pickle raises almost anything
            reason = type(failure).__name__
        else:
            continue
        raise TypeError(f"{_ARGUMENTS.get(name, name)}: cannot go to another process ({reason}); {_ADVICE[name]}")
    return pickle.dumps(runner)


_ARGUMENTS: Final = {"tokens": "client_tokens"}
_IMPORTABLE: Final = "use a function or class that can be imported by its name"
_ADVICE: Final = {
    "handler": _IMPORTABLE,
    "configuration": _IMPORTABLE,
    "connect": "use functools.partial(ThirdPartyJobClient.create, ...)",
    "tokens": "give a callable that looks tokens up in each process, not the tokens",
    "artifacts": "use functools.partial(ArtifactStore.for_job, ...)",
}
