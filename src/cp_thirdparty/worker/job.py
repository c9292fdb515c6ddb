"""`Job`: the argument of a handler."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, MutableMapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic

from typing_extensions import TypeVar

from cp_thirdparty._base.durations import MAX_SECONDS, read_seconds
from cp_thirdparty._base.text import show
from cp_thirdparty._structuring.state import decode_state
from cp_thirdparty.artifacts.store import ArtifactStore
from cp_thirdparty.models import ActionConfiguration, AnyJob, AnyJobDetails
from cp_thirdparty.worker._emit import job_fields
from cp_thirdparty.worker._isolation import Raised, call_partner
from cp_thirdparty.worker._workspace import Workspace

if TYPE_CHECKING:
    _LoggerAdapter = logging.LoggerAdapter[logging.Logger]
else:
    _LoggerAdapter = logging.LoggerAdapter  # no generic before Python 3.11

__all__ = ["Job"]

_ConfigurationT_co = TypeVar("_ConfigurationT_co", covariant=True, default="ActionConfiguration | None")

_StateT = TypeVar("_StateT")

_log = logging.getLogger("cp_thirdparty.job")


class Job(Generic[_ConfigurationT_co]):
    """
    A claimed job, for its handler.

    The object belongs to one call of the handler.  After the call, its workspace is removed and its artifacts are
    closed.  During the call, the object is thread-safe.  It cannot be pickled.

    Args:
        offer: The job that the poll returned.
        details: The details of the job from CodePipeline.
        configuration: The action configuration, as an object of your class.
        open_artifacts: Creates the artifact store at its first use.
        seconds_left: Seconds or a ``timedelta`` that the handler has.
        cancelled: Set when the result is no longer needed.
        stopping: Set when the worker stops.
    """

    def __init__(
        self,
        offer: AnyJob,
        details: AnyJobDetails,
        configuration: _ConfigurationT_co,
        *,
        open_artifacts: Callable[[], ArtifactStore],
        seconds_left: float | timedelta,
        cancelled: threading.Event,
        stopping: threading.Event,
    ) -> None:
        self._offer = offer
        self._details = details
        self._configuration = configuration
        self._open_artifacts = open_artifacts
        self._deadline = time.time() + read_seconds("seconds_left", seconds_left, least=-MAX_SECONDS)
        self._cancelled = cancelled
        self._stopping = stopping
        self._lock = threading.Lock()
        self._artifacts: ArtifactStore | None = None
        self._workspace: Workspace | None = None
        self._has_ended = False
        self._logger = _JobLogger(_log, job_fields(offer, details))

    @property
    def id(self) -> str:
        """The id of the job."""
        return self._offer.job_id

    @property
    def client_id(self) -> str:
        """The client id of the customer; for a custom job, the AWS account of the pipeline."""
        return self._offer.client_id

    @property
    def details(self) -> AnyJobDetails:
        """The details of the job that CodePipeline returned."""
        return self._details

    @property
    def configuration(self) -> _ConfigurationT_co:
        """The action configuration as your class, or as CodePipeline's strings; ``None`` if the action has none."""
        return self._configuration

    @property
    def continuation_token(self) -> str | None:
        """The continuation token of the earlier job of this action, or ``None`` for the first job of the action."""
        return self._details.data.continuation_token

    def state(
        self,
        model: type[_StateT],
        *,
        upgrade: Callable[[int, dict[str, Any]], _StateT | dict[str, Any]] | None = None,
    ) -> _StateT | None:
        """
        Return the state from the continuation token of the earlier job, or ``None`` for the first job of the action.

        Args:
            model: The class of the object in ``Continued(state=...)``.
            upgrade: Converts a state of another version.  It is called with the version and the JSON object of a state
                whose version is not ``model.__state_version__``.  It returns an object of ``model``, or a JSON object
                of the version ``model.__state_version__``.

        Raises:
            cp_thirdparty.exceptions.ContinuationStateError: The token was not created from a state, was changed, or
                has a version or fields that the class does not have.
            TypeError: The class is not an attrs class, a dataclass or a pydantic model.

        .. versionadded:: 0.2.0
        """
        state: _StateT | None = decode_state(self.continuation_token, model, upgrade, self.id)
        return state

    @property
    def artifacts(self) -> ArtifactStore:
        """
        The artifact store of the job, which is created at the first use.

        Raises:
            ImportError: The extra ``artifacts`` is not installed.
            cp_thirdparty.exceptions.CredentialsError: The job has no credentials for its artifacts.
            RuntimeError: The handler has ended, and a thread that it started still uses the job.
        """
        with self._lock:
            self._refuse_after_end()
            if self._artifacts is None:
                self._artifacts = self._open_artifacts()
            return self._artifacts

    @property
    def workspace(self) -> Path:
        """
        An empty directory of this job, created at the first use and removed after the handler has ended.

        Read-only directories in it are removed too, at any depth.  Files that cannot be removed within 60 seconds stay
        in the temporary directory, and the worker logs this; the result of the job does not change.  If the process is
        killed, the workspace is removed by the next worker of this machine and user, or by ``cp-thirdparty sweep``.

        Raises:
            RuntimeError: The handler has ended, and a thread that it started still uses the job.
        """
        with self._lock:
            self._refuse_after_end()
            if self._workspace is None:
                self._workspace = Workspace()
            return self._workspace.path

    @property
    def deadline(self) -> float:
        """When the job's time is over, in seconds since 1970 (``time.time``)."""
        return self._deadline

    @property
    def cancelled(self) -> bool:
        """
        Whether the result is no longer needed, because the time is over or the worker stops at once.

        Check it in long loops, and return when it is true.  It is never true in a process other than the worker's.
        """
        return self._cancelled.is_set()

    @property
    def stopping(self) -> bool:
        """
        Whether the worker stops.  The time of the job then ends with the worker's grace.

        A handler may save its progress and return a `cp_thirdparty.Continued` with a continuation token.  CodePipeline
        then offers a new job with this token, which another worker can continue.  In a process other than the worker's,
        this is never true, except with `cp_thirdparty.worker.processes`.

        .. versionadded:: 0.2.0
        """
        return self._stopping.is_set()

    @property
    def logger(self) -> _LoggerAdapter:
        """
        The logger ``cp_thirdparty.job``.

        Each message starts with the job's id.  Each record has ``job_id``, ``client_id``, ``pipeline`` and
        ``action_execution_id``, as the records of the worker have.
        """
        return self._logger

    def close(self) -> tuple[str, ...]:
        """
        Remove the workspace and close the artifact store; return messages about the steps that failed.

        The code that runs the handler calls it.
        """
        with self._lock:
            artifacts, workspace = self._artifacts, self._workspace
            self._artifacts = self._workspace = None
            self._has_ended = True
        try:
            closed = None if artifacts is None else call_partner(artifacts.close)
        finally:  # also after Ctrl-C
            problem = "" if workspace is None else workspace.remove()
        problems = []
        if isinstance(closed, Raised):
            problems.append(f"the artifacts could not be closed: {closed.name}")
        if workspace is not None and problem:
            problems.append(f"the workspace could not be removed completely ({problem}): {workspace.path}")
        return tuple(problems)

    def _refuse_after_end(self) -> None:
        if self._has_ended:  # a store or a workspace that is created now would never be closed or removed
            raise RuntimeError("the handler of this job has ended")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {show(self.id)}>"

    def __getstate__(self) -> None:
        raise TypeError("a Job cannot be pickled, because it has secrets and open files; send the values that you need")


class _JobLogger(_LoggerAdapter):
    """Adds the job's id to the start of each message, and the job's fields to the ``extra`` of the caller."""

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        kwargs["extra"] = {**(self.extra or {}), **kwargs.get("extra", {})}
        # A percent sign in an untrusted id would be a placeholder of the message, and logging would fail.
        job_id = str((self.extra or {})["job_id"]).replace("%", r"\x25")
        return f"[{job_id}] {msg}", kwargs
