"""Where handlers run: in the thread that has the job, or in an executor of other processes."""

from __future__ import annotations

import pickle
import threading
import time
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future
from typing import Any, Protocol

from cp_thirdparty.client import ThirdPartyJobClient
from cp_thirdparty.worker._lifecycle import Flight
from cp_thirdparty.worker.runner import Ran, Runner, run_elsewhere

# Seconds between two looks at whether anybody still wants the result of a job that runs elsewhere.
_TICK = 0.5


class LostError(Exception):
    """The executor has lost a job: its process died, or the job could not be begun there."""


class Engine(Protocol):
    """Runs handlers."""

    def run(self, flight: Flight, seconds_left: float) -> Ran | None:
        """
        Run the handler of a claimed job; ``None`` when its result was decided before it ended.

        Raises:
            LostError: The handler did not end.
        """
        ...

    def close(self) -> None:
        """Stop."""
        ...


class Here:
    """Runs handlers in the calling thread."""

    def __init__(self, runner: Runner[Any], client: ThirdPartyJobClient) -> None:
        self._runner = runner
        self._client = client

    def run(self, flight: Flight, seconds_left: float) -> Ran | None:
        """Run the handler."""
        assert flight.details is not None, "a job that is run has been read"  # noqa: S101 - a mistake of this library
        return self._runner.run(
            flight.offer,
            flight.details,
            client=self._client,
            client_token=flight.client_token,
            seconds_left=seconds_left,
            cancelled=flight.cancelled,
        )

    def close(self) -> None:
        """Do nothing."""


class Elsewhere:
    """Runs handlers in an executor, which is made anew when it breaks."""

    def __init__(self, runner: Runner[Any], make_executor: Callable[[], Executor]) -> None:
        self._runner = pickled(runner)
        self._make_executor = make_executor
        self._lock = threading.Lock()
        self._executor = make_executor()

    def run(self, flight: Flight, seconds_left: float) -> Ran | None:
        """Send the job's ids to the executor and wait."""
        executor = self._executor
        lost: str | None = None
        try:
            future: Future[Ran] = executor.submit(run_elsewhere, self._runner, flight.offer, time.time() + seconds_left)
            return _awaited(future, flight)
        except (BrokenExecutor, RuntimeError) as failure:  # RuntimeError: another thread has just shut it down
            lost = type(failure).__name__
            self._rebuild(executor)
        except Exception as failure:  # noqa: BLE001 - Dask's own errors, and what the details could not be read for
            lost = type(failure).__name__
        raise LostError(lost)

    def close(self) -> None:
        """Shut the executor down without waiting for handlers that hang."""
        self._executor.shutdown(wait=False)

    def _rebuild(self, broken: Executor) -> None:
        with self._lock:
            if self._executor is broken:
                broken.shutdown(wait=False)
                self._executor = self._make_executor()


def _awaited(future: Future[Ran], flight: Flight) -> Ran | None:
    ended = threading.Event()
    future.add_done_callback(lambda _: ended.set())
    while not ended.wait(_TICK):
        if flight.cancelled.is_set() and future.cancel():
            return None
    return future.result()


def pickled(runner: Runner[Any]) -> bytes:
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


_ARGUMENTS = {"tokens": "client_tokens"}
_IMPORTABLE = "use a function or class that can be imported by its name"
_ADVICE = {
    "handler": _IMPORTABLE,
    "configuration": _IMPORTABLE,
    "connect": "use functools.partial(ThirdPartyJobClient.create, ...)",
    "tokens": "give a callable that looks tokens up in each process, not the tokens",
    "artifacts": "use functools.partial(ArtifactStore.for_job, ...)",
}
