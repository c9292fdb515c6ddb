"""Call the handler of a job and return its result.  `Runner.run` never raises."""

from __future__ import annotations

import functools
import inspect
import pickle
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final, Generic, TypeAlias, TypeVar

import attrs

from cp_thirdparty.artifacts.store import ArtifactStore
from cp_thirdparty.configuration import structure_configuration
from cp_thirdparty.enums import FailureType
from cp_thirdparty.exceptions import CodePipelineJobError
from cp_thirdparty.models import AnyJob, AnyJobDetails, FailureDetails
from cp_thirdparty.secrets import SecretStr
from cp_thirdparty.worker._async_handlers import AsyncHandlers, CoroutineRunner
from cp_thirdparty.worker._coroutines import (
    HandlerNotBegunError,
    HandlerStart,
    HandlerTimeoutError,
    begins_in_loop,
    is_async_callable,
)
from cp_thirdparty.worker._handler_failures import (
    HandlerRun,
    class_name,
    explain,
    explain_unreadable,
    timeout_message,
)
from cp_thirdparty.worker._isolation import ExitInFork
from cp_thirdparty.worker._kinds import AnyClient, JobKind, kind_of
from cp_thirdparty.worker._start_permit import WITHDRAWN
from cp_thirdparty.worker.job import Job
from cp_thirdparty.worker.results import Result, accept_result
from cp_thirdparty.worker.tokens import LookUpCalls, TokenLookup

__all__ = ["ArtifactsFactory", "Handler", "HandlerRun", "NotStarted", "Runner", "run_in_executor", "run_in_process"]

_ConfigurationT = TypeVar("_ConfigurationT")

Handler: TypeAlias = Callable[[Job[_ConfigurationT]], Result | Awaitable[Result]]
"""
A function of yours, or an ``async def``, that does the work of one job.

The handler returns a `Succeeded`, a `Continued` or a `cp_thirdparty.FailureDetails`.  All coroutines of a worker run in
one event loop, so they may share objects that belong to this loop, such as an HTTP session.
"""

ArtifactsFactory: TypeAlias = Callable[..., ArtifactStore]
"""
Creates the artifact store of a job: `ArtifactStore.for_job`, or a ``functools.partial`` of it with more settings.

If a factory has parameters ``deadline`` and ``is_cancelled`` with the default ``None``, it is called with the deadline
of the job and a function that returns whether the job was cancelled.
"""


@attrs.frozen(kw_only=True)
class Runner(Generic[_ConfigurationT]):
    """
    Runs the handler of one action type.

    Attributes:
        connect: Creates a client.  It is called if the runner runs in another process.
        handler: Does the work of a job.
        configuration: The class for the action configuration; ``None`` for the strings that CodePipeline returned.
        tokens: Returns the client token for a client id; ``None`` for custom jobs, which have no client tokens.
        artifacts: Creates the artifact store of a job, or ``None`` for `ArtifactStore.for_job`.
    """

    connect: Callable[[], AnyClient]
    handler: Handler[_ConfigurationT]
    configuration: type[_ConfigurationT] | None
    tokens: TokenLookup | None
    artifacts: ArtifactsFactory | None = None

    def prepare(self, coroutines: CoroutineRunner) -> NotStarted | None:
        """Start the event loop if the handler is asynchronous; return an error if it cannot be started."""
        if is_async_callable(self.handler):
            try:
                coroutines.start()
            except (OSError, RuntimeError) as failure:
                return _not_started(failure)
        return None

    def run(
        self,
        offer: AnyJob,
        details: AnyJobDetails,
        *,
        client: AnyClient,
        client_token: SecretStr | None,
        seconds_left: float,
        cancelled: threading.Event,
        coroutines: CoroutineRunner,
        stopping: threading.Event,
        cancel_timeout: float | None = None,
        start: HandlerStart | None = None,
    ) -> HandlerRun | NotStarted:
        """
        Run the handler, after `prepare`.

        This method never raises: each exception of the handler, and each value that it returns, becomes a result.  The
        customer reads the message of a failure.  So the message comes only from this library or from a
        `cp_thirdparty.JobFailedError`, and never from another exception, which could contain secrets.

        Args:
            offer: The job.
            details: The details of the job.
            client: The client that reads the details again, to get new artifact credentials.
            client_token: The client token of the job; ``None`` for a custom job.
            seconds_left: Seconds that the handler has.  After these seconds, a coroutine is cancelled.
            cancelled: Set when the result is no longer needed.
            coroutines: Runs the coroutine of an asynchronous handler.
            stopping: Set when the worker stops.
            cancel_timeout: Seconds to wait for the end of a coroutine that was cancelled; ``None`` for no limit.
            start: Notes when the coroutine waits for the event loop and when it starts; ``None`` if the caller has
                noted the start.

        Returns:
            The result of the handler, or a `NotStarted` if its coroutine did not start and will not start.
        """
        try:
            with ExitInFork():
                configuration = self._read_configuration(details)
                deadline = time.time() + seconds_left
                job: Job[Any] = Job(
                    offer,
                    details,
                    configuration,
                    open_artifacts=functools.partial(
                        self._open_artifacts, client, details, client_token, deadline, cancelled.is_set
                    ),
                    seconds_left=seconds_left,
                    cancelled=cancelled,
                    stopping=stopping,
                )
        except BaseException as failure:  # noqa: BLE001 - the configuration class may raise anything
            return _failure_result(failure, offer.job_id)
        if start is not None:
            start.note_wait()
        handler_run = self._call(
            job,
            kind_of(offer),
            functools.partial(
                coroutines.run,
                job_id=offer.job_id,
                cancelled=cancelled,
                seconds_left=seconds_left,
                cancel_timeout=cancel_timeout,
                start=start,
            ),
            seconds_left,
        )
        if isinstance(handler_run, NotStarted):
            return handler_run
        return attrs.evolve(handler_run, clean_up=functools.partial(_close, job))

    @property
    def begins_in_loop(self) -> bool:
        """Whether the code of the handler begins in the event loop, which must then note the start."""
        return begins_in_loop(self.handler)

    def _read_configuration(self, details: AnyJobDetails) -> Any:
        given = details.data.action_configuration
        return given if self.configuration is None else structure_configuration(given, self.configuration)

    def _call(
        self, job: Job[Any], kind: JobKind, wait_for: Callable[[Awaitable[Result]], Result], seconds_left: float
    ) -> HandlerRun | NotStarted:
        try:
            with ExitInFork():
                returned = self.handler(job)
                if inspect.isawaitable(returned):
                    returned = wait_for(returned)
                return HandlerRun(result=kind.check_result(accept_result(returned)))
        except HandlerTimeoutError:
            late = FailureDetails(type=FailureType.SYSTEM_UNAVAILABLE, message=timeout_message(seconds_left))
            return HandlerRun(result=late, has_timed_out=True)
        except HandlerNotBegunError as failure:
            return NotStarted(error=None, error_name=str(failure))
        except BaseException as failure:  # noqa: BLE001 - the job must get a result, even after SystemExit
            return _failure_result(failure, job.id)

    def _open_artifacts(
        self,
        client: AnyClient,
        details: AnyJobDetails,
        client_token: SecretStr | None,
        deadline: float,
        is_cancelled: Callable[[], bool],
    ) -> ArtifactStore:
        make: ArtifactsFactory = ArtifactStore.for_job if self.artifacts is None else self.artifacts
        bounds = {"deadline": deadline, "is_cancelled": is_cancelled}
        taken: dict[str, Any] = {name: bound for name, bound in bounds.items() if name in _open_parameters(make)}
        if client_token is not None:
            taken["client_token"] = client_token
        return make(client, details, **taken)


def _open_parameters(function: Callable[..., object]) -> frozenset[str]:
    """Return the names of the parameters whose default is ``None``.  A factory of the partner may not have them all."""
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):  # raised for a function that is not written in Python
        return frozenset()
    return frozenset(name for name, parameter in parameters.items() if parameter.default is None)


def _failure_result(failure: BaseException, job_id: str) -> HandlerRun:
    try:
        return explain(failure, job_id)
    except BaseException as obstacle:  # noqa: BLE001 - properties of the handler's exception may raise anything
        return explain_unreadable(failure, obstacle, job_id)


def _close(job: Job[Any]) -> tuple[str, ...]:
    try:
        return job.close()
    except KeyboardInterrupt:
        raise
    except BaseException as failure:  # noqa: BLE001 - a handler may have replaced parts of the job
        return (f"the job could not be closed: {class_name(failure)}",)


# --- code for other processes, which get only the ids of the job and the pickled runner

# Seconds after the timeout of a job at which the worker has certainly withdrawn a handler that was not called.
_WITHDRAWN_AFTER: Final = 60.0

# One event loop for the jobs of all runners in this process.
_COROUTINES: Final = AsyncHandlers()


def is_blocked() -> bool:
    """Return whether a coroutine blocks the event loop of this process in which `run_in_executor` runs coroutines."""
    return _COROUTINES.is_blocked


@attrs.frozen(kw_only=True)
class NotStarted:
    """
    The handler was not called, because its process could not prepare the job.  Another process may succeed.

    Attributes:
        error: The error if it is an error of this library, because these can be pickled; otherwise ``None``.
        error_name: Name of the error's class.
        is_initialised: Whether the process has loaded the handler and created a client.  If not, it cannot run any job.
    """

    error: CodePipelineJobError | None
    error_name: str
    is_initialised: bool = True


@functools.lru_cache(maxsize=8)
def _load(runner: bytes) -> tuple[Runner[Any], AnyClient]:
    """Load the runner and create its client, and keep both for the next job with the same pickled runner."""
    loaded: Runner[Any] = pickle.loads(runner)  # noqa: S301 - the worker has pickled it
    if loaded.tokens is not None:
        loaded.tokens.calls = _find_calls(runner)
    return loaded, loaded.connect()


@functools.lru_cache(maxsize=8)
def _find_calls(_runner: bytes) -> LookUpCalls:
    """Return what calls the token store of a runner; it stays the same if the runner is loaded again."""
    return LookUpCalls()


def run_in_executor(
    runner: bytes,
    offer: AnyJob,
    deadline: float,
    may_begin: Callable[[], bool] | None = None,
    *,
    shares_loop: bool = False,
) -> HandlerRun | NotStarted:
    """Run a pickled runner in an executor, and clean up; the arguments are those of `run_in_process`."""
    handler_run = run_in_process(runner, offer, deadline, may_begin, shares_loop=shares_loop)
    if isinstance(handler_run, NotStarted):
        return handler_run
    problems: tuple[str, ...] = ("the job could not be closed: KeyboardInterrupt",)
    with suppress(KeyboardInterrupt):  # a result must not be lost because of Ctrl-C
        problems = handler_run.clean_up()
    return attrs.evolve(handler_run, clean_up=functools.partial(tuple, problems))


def run_in_process(
    runner: bytes,
    offer: AnyJob,
    deadline: float,
    may_begin: Callable[[], bool] | None = None,
    stopping: threading.Event | None = None,
    *,
    shares_loop: bool = False,
) -> HandlerRun | NotStarted:
    """
    Run a pickled runner in a process other than the worker's.  This process reads the details of the job itself.

    Args:
        runner: A pickled `Runner`.
        offer: The job, already acknowledged.
        deadline: When the job times out, in seconds since 1970.
        may_begin: Called just before the handler; returns ``False`` if the handler must not be called any more.
        stopping: Set when the worker stops; ``None`` if this process is not informed of that.
        shares_loop: Whether this process may run several jobs at a time, so that the coroutine of another job may block
            the event loop.

    Returns:
        The result of the handler, or a `NotStarted` if the handler was not called.
    """
    loaded: Runner[Any] | None = None
    try:
        loaded, client = _load(runner)
        client_token = None if loaded.tokens is None else loaded.tokens.look_up(offer.client_id)
        if client_token is None and loaded.tokens is not None:
            return NotStarted(error=None, error_name="LookupError")
        details = kind_of(offer).read(client, offer.job_id, client_token)
    except BaseException as failure:  # noqa: BLE001 - the partner's code may raise anything, and the handler did not run
        _load.cache_clear()  # a new client loads the AWS credentials again
        if loaded is not None and loaded.tokens is not None:
            loaded.tokens.refresh(offer.client_id)  # CodePipeline may have refused an old token
        return _not_started(failure, is_initialised=loaded is not None)
    finally:
        del runner  # a runner of a Lambda event contains secrets, which the handler could read in this frame
    not_started = loaded.prepare(_COROUTINES) or _check_time(deadline)
    if not_started is not None:
        return not_started
    start = None if may_begin is None else _Start(may_begin)
    # A configuration class may crash the process.  If it has the process for its job, that must count as a crash.
    if start is not None and not (shares_loop and loaded.begins_in_loop):
        try:
            if not start.begin():
                return NotStarted(error=None, error_name=WITHDRAWN)
        except Exception as failure:  # noqa: BLE001 - the connection to Dask's scheduler may raise anything
            return _not_started(failure)
        start = None
    return loaded.run(
        offer,
        details,
        client=client,
        client_token=client_token,
        seconds_left=deadline - time.time(),
        cancelled=threading.Event(),
        coroutines=_COROUTINES,
        stopping=threading.Event() if stopping is None else stopping,
        start=start,
    )


def _check_time(deadline: float) -> NotStarted | None:
    """
    Return an error if a job has timed out by the clock of this machine.

    The worker withdraws a task that has waited for too long.  If it has not done that for a minute, the clocks differ,
    and the process cannot run any job.
    """
    seconds = time.time() - deadline
    if seconds < 0:
        return None
    problem = f"its process was ready {seconds:.0f} seconds after the timeout of the job; compare the machines' clocks"
    return NotStarted(error=None, error_name=problem, is_initialised=seconds < _WITHDRAWN_AFTER)


@attrs.frozen
class _Start:
    """The start of a handler that another process may prevent."""

    begin: Callable[[], bool]
    is_withdrawn: bool = False

    def note_wait(self) -> None:
        """Do nothing, because the other process can still prevent the start."""


def _not_started(failure: BaseException, *, is_initialised: bool = True) -> NotStarted:
    # The worker's process may not be able to load a partner's subclass of an error.
    is_ours = type(failure).__module__ == CodePipelineJobError.__module__
    error = failure if is_ours and isinstance(failure, CodePipelineJobError) else None
    return NotStarted(error=error, error_name=class_name(failure), is_initialised=is_initialised)
