"""The runner: a job's details to a result.  Nothing that a handler does gets past it."""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
import pickle
import threading
import time
import traceback
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeAlias, TypeVar

import attrs

from cp_thirdparty.artifacts.store import ArtifactStore
from cp_thirdparty.client import ThirdPartyJobClient
from cp_thirdparty.configuration import structure_configuration
from cp_thirdparty.enums import FailureType
from cp_thirdparty.exceptions import ConfigurationError, JobFailedError
from cp_thirdparty.models import JobDetails, ThirdPartyJob
from cp_thirdparty.secrets import SecretStr
from cp_thirdparty.worker.job import Job
from cp_thirdparty.worker.results import Continued, Result, Succeeded, failure_details
from cp_thirdparty.worker.tokens import TokenLookup

__all__ = ["ArtifactsFactory", "Handler", "Ran", "Runner", "run_elsewhere"]

_ConfigurationT = TypeVar("_ConfigurationT")

Handler: TypeAlias = Callable[[Job[_ConfigurationT]], Succeeded | Continued | Awaitable[Succeeded | Continued]]
"""The partner's function, or ``async def``, that does the work of one job."""

ArtifactsFactory: TypeAlias = Callable[..., ArtifactStore]
"""`ArtifactStore.for_job`, or a ``functools.partial`` of it with more settings, makes the artifact store of a job."""

_log = logging.getLogger("cp_thirdparty.worker")


@attrs.frozen(kw_only=True)
class Ran:
    """
    How a handler ended.

    Attributes:
        result: What to report.

        failure: What has gone wrong in the handler, for the log; empty when nothing has.

        was_interrupted: Whether Ctrl-C ended it.
    """

    result: Result
    failure: str = ""
    was_interrupted: bool = False


@attrs.frozen(kw_only=True)
class Runner(Generic[_ConfigurationT]):
    """
    Runs the handler of one action type.

    Attributes:
        connect: Makes a client, for a runner in another process.

        handler: What does the work.

        configuration: The partner's class, or ``None`` for the service's texts.

        tokens: Client ids to client tokens.

        artifacts: Makes the artifact store of a job, or ``None`` for `ArtifactStore.for_job`.
    """

    connect: Callable[[], ThirdPartyJobClient]
    handler: Handler[_ConfigurationT]
    configuration: type[_ConfigurationT] | None
    tokens: TokenLookup
    artifacts: ArtifactsFactory | None = None

    def run(
        self,
        offer: ThirdPartyJob,
        details: JobDetails,
        *,
        client: ThirdPartyJobClient,
        client_token: SecretStr,
        seconds_left: float,
        cancelled: threading.Event,
    ) -> Ran:
        """
        Run the handler.

        It raises nothing: whatever a handler raises becomes a failure.  The customer reads the failure, so its text has
        the type of an unknown error and never its message.
        """
        try:
            data = details.data
            configuration: Any = data.action_configuration
            if self.configuration is not None:
                configuration = structure_configuration(data.action_configuration, self.configuration)
            job: Job[Any] = Job(
                offer,
                details,
                configuration,
                open_artifacts=functools.partial(self._open_artifacts, client, details, client_token),
                seconds_left=seconds_left,
                cancelled=cancelled,
            )
            try:
                result = self.handler(job)
                if inspect.isawaitable(result):
                    result = asyncio.run(_awaited(result))
            finally:
                job.close()
        except BaseException as failure:  # noqa: BLE001 - SystemExit of a handler must not cost the job either
            return _failed(failure, offer)
        if isinstance(result, (Succeeded, Continued)):
            return Ran(result=result)
        return _no_result(result, offer)

    def _open_artifacts(
        self, client: ThirdPartyJobClient, details: JobDetails, client_token: SecretStr
    ) -> ArtifactStore:
        make = ArtifactStore.for_job if self.artifacts is None else self.artifacts
        return make(client, details, client_token=client_token)


async def _awaited(result: Awaitable[Succeeded | Continued]) -> Succeeded | Continued:
    return await result


def _failed(failure: BaseException, offer: ThirdPartyJob) -> Ran:
    if isinstance(failure, JobFailedError):
        return Ran(result=failure_details(failure))
    if isinstance(failure, ConfigurationError):
        error = JobFailedError(FailureType.CONFIGURATION_ERROR, str(failure))  # keys and rules, never a value
        return Ran(result=failure_details(error))
    name = type(failure).__name__
    was_interrupted = isinstance(failure, KeyboardInterrupt)
    kind = FailureType.SYSTEM_UNAVAILABLE if was_interrupted else FailureType.JOB_FAILED
    message = f"The action's worker met {name} in job {offer.job_id}."
    return Ran(
        result=failure_details(JobFailedError(kind, message)),
        failure=f"{name} at {_where(failure)}",
        was_interrupted=was_interrupted,
    )


def _where(failure: BaseException) -> str:
    """Tell the way to an error by lines of code; its message may hold anything."""
    frames = traceback.extract_tb(failure.__traceback__)[1:]  # the first is the runner's
    return " > ".join(f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames) or "its start"


def _no_result(result: object, offer: ThirdPartyJob) -> Ran:
    found = type(result).__name__
    message = f"The action's worker gave no result for job {offer.job_id}."
    return Ran(
        result=failure_details(JobFailedError(FailureType.JOB_FAILED, message)),
        failure=f"it returned a {found}, which is neither a Succeeded nor a Continued",
    )


# --- in another process: only the job's ids and the pickled runner get there


@functools.lru_cache(maxsize=8)
def _unpickled(runner: bytes) -> tuple[Runner[Any], ThirdPartyJobClient]:
    """Keep the runner and its client for the next job; equal runners pickle alike."""
    loaded: Runner[Any] = pickle.loads(runner)  # noqa: S301 - the worker itself has sent it
    return loaded, loaded.connect()


def run_elsewhere(runner: bytes, offer: ThirdPartyJob, deadline: float) -> Ran:
    """
    Run a pickled runner in a process that is not the worker's.  It reads the details of the job itself.

    Args:
        runner: A pickled `Runner`.

        offer: The job, already acknowledged.

        deadline: When the job's time is over, in seconds since 1970.

    Raises:
        cp_thirdparty.exceptions.ThirdPartyError: The details could not be read here.

        LookupError: There is no client token here.
    """
    loaded, client = _unpickled(runner)
    client_token = loaded.tokens(offer.client_id)
    if client_token is None:
        raise LookupError("no client token in this process")
    details = client.get_third_party_job_details(offer.job_id, client_token=client_token)
    return loaded.run(
        offer,
        details,
        client=client,
        client_token=client_token,
        seconds_left=deadline - time.time(),
        cancelled=threading.Event(),
    )
