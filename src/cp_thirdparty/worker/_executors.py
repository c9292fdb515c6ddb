"""Where handlers run: in the thread that has the job, or in an executor of other processes."""

from __future__ import annotations

import logging
import pickle
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any, Final, Protocol

import attrs

from cp_thirdparty.worker._claimed_job import ClaimedJob
from cp_thirdparty.worker._clients import Clients
from cp_thirdparty.worker._emit import Emitter
from cp_thirdparty.worker._failure_policy import NotStartedError, ProcessDiedError
from cp_thirdparty.worker.runner import NotStarted, Ran, Runner, run_elsewhere

# Seconds between two checks of whether the result of a job in another process is still wanted.
_TICK: Final = 0.5

# Executors that cancel only what has not begun.  Dask also cancels what runs, for example when its client is closed.
_CANCELS_BEFORE_START: Final = (ProcessPoolExecutor, ThreadPoolExecutor)


class Engine(Protocol):
    """Runs handlers."""

    def run(self, job: ClaimedJob, seconds_left: float) -> Ran | Exception | None:
        """
        Run the handler of a claimed job, and return how it ended.

        It returns a `ProcessDiedError` if the process died, another exception if the handler did not start, and
        ``None`` if its result is no longer wanted.
        """
        ...

    def close(self) -> None:
        """Release what it holds."""
        ...


class ThreadEngine:
    """Runs handlers in the calling thread."""

    def __init__(self, runner: Runner[Any], clients: Clients, stopping: threading.Event) -> None:
        self._runner = runner
        self._clients = clients
        self._stopping = stopping

    def run(self, job: ClaimedJob, seconds_left: float) -> Ran:
        """Run the handler."""
        assert job.details is not None, "the job was read"  # noqa: S101 - a mistake of this library
        assert job.client_token is not None, "the job was read"  # noqa: S101 - a mistake of this library
        return self._runner.run(
            job.offer,
            job.details,
            client=self._clients.reader,
            client_token=job.client_token,
            seconds_left=seconds_left,
            cancelled=job.cancelled,
            stopping=self._stopping,
        )

    def close(self) -> None:
        """Do nothing: there is nothing to release."""


@attrs.define(eq=False)
class _Pool:
    """An executor, the ids of the jobs that it has, and how many it had when it broke."""

    executor: Executor
    jobs: set[str] = attrs.field(factory=set)
    died_with: int | None = None


class ExecutorEngine:
    """Runs handlers in an executor, which is created again when it breaks."""

    def __init__(self, runner: Runner[Any], make_executor: Callable[[], Executor], emitter: Emitter) -> None:
        self._runner = pickle_runner(runner)
        self._make_executor = make_executor
        self._emitter = emitter
        self._lock = threading.Lock()
        self._pool: _Pool | None = _Pool(make_executor())

    def run(self, job: ClaimedJob, seconds_left: float) -> Ran | Exception | None:
        """Send the ids of the job to the executor and wait."""
        job_id = job.offer.job_id
        pool: _Pool | None = None
        try:
            pool = self._enter(job_id)
            future = pool.executor.submit(run_elsewhere, self._runner, job.offer, time.time() + seconds_left)
        except Exception as error:  # noqa: BLE001 - it is broken or shut down, or cannot be created: nothing started
            self._leave(pool, job_id, is_broken=True)
            return error.with_traceback(None)
        try:
            ran = _wait_for(future, job)
        except Exception as error:  # noqa: BLE001 - Dask has errors of its own
            if isinstance(error, CancelledError) and isinstance(pool.executor, _CANCELS_BEFORE_START):
                self._leave(pool, job_id, is_broken=False)
                return error.with_traceback(None)
            died_with = self._leave(pool, job_id, is_broken=isinstance(error, RuntimeError))
            return ProcessDiedError(type(error).__name__, is_alone=died_with == 1)
        self._leave(pool, job_id, is_broken=False)
        if isinstance(ran, NotStarted):
            return NotStartedError(ran.error_name) if ran.error is None else ran.error
        return ran

    def close(self) -> None:
        """Shut the executor down without waiting for handlers that hang."""
        if self._pool is not None:
            _shut_down(self._pool, self._emitter)

    def _enter(self, job_id: str) -> _Pool:
        with self._lock:
            if self._pool is None:
                self._pool = _Pool(self._make_executor())
            self._pool.jobs.add(job_id)
            return self._pool

    def _leave(self, pool: _Pool | None, job_id: str, *, is_broken: bool) -> int:
        """Remove a job from its executor, and replace a broken one; return how many jobs it has, or had then."""
        with self._lock:
            if pool is None:
                return 0
            if is_broken and pool.died_with is None:
                pool.died_with = len(pool.jobs)
            if is_broken and self._pool is pool:
                _shut_down(pool, self._emitter)
                self._pool = None
            jobs = len(pool.jobs)
            pool.jobs.discard(job_id)
            return jobs if pool.died_with is None else pool.died_with


def _shut_down(pool: _Pool, emitter: Emitter) -> None:
    try:
        pool.executor.shutdown(wait=False)
    except Exception as failure:  # noqa: BLE001 - the partner's own executor
        emitter.log(logging.WARNING, "the executor's shutdown raised %s", type(failure).__name__)


def _wait_for(future: Future[Ran | NotStarted], job: ClaimedJob) -> Ran | NotStarted | None:
    ended = threading.Event()
    future.add_done_callback(lambda _: ended.set())
    while not ended.wait(_TICK):
        if job.cancelled.is_set() and future.cancel():
            return None
    return future.result()


def pickle_runner(runner: Runner[Any]) -> bytes:
    """
    Pickle what goes to other processes.

    Raises:
        TypeError: A part cannot be pickled.
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
