"""An action of the local CodePipeline with its jobs and results; a test reads it and waits for its status."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Protocol

import attrs

from cp_thirdparty._base.durations import MAX_SECONDS, read_seconds
from cp_thirdparty.enums import JobStatus
from cp_thirdparty.models import CurrentRevision, ExecutionDetails, FailureDetails

__all__ = ["Action", "Job", "Success"]

_UNCLAIMED = (JobStatus.QUEUED, JobStatus.DISPATCHED)
_ENDED = (JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.TIMED_OUT)


@attrs.frozen(kw_only=True)
class Success:
    """
    The result of a successful job, as the worker reported it.

    Attributes:
        continuation_token: The continuation token for the next job of the action; ``None`` if the action has ended.
        current_revision: The revision, or ``None``.
        execution_details: The execution details that the console shows, or ``None``.
        output_variables: The output variables of a custom action, which later actions can use.

            .. versionadded:: 0.2.0
    """

    continuation_token: str | None
    current_revision: CurrentRevision | None
    execution_details: ExecutionDetails | None
    output_variables: Mapping[str, str] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class Job:
    """
    One job of an action, with its state at the time of reading; the object does not change later.

    Attributes:
        id: The job id that polls return.
        nonce: The nonce that an acknowledgement must contain.
        status: Queued, Dispatched, InProgress, Succeeded, Failed or TimedOut.
        continuation_token: The continuation token that the previous job of the action returned; ``None`` for the first
            job of an action.
        result: The result that a worker reported: a `Success`, or the details of a failure.  ``None`` while the job has
            no result.
    """

    id: str
    nonce: str
    status: JobStatus
    continuation_token: str | None
    result: Success | FailureDetails | None

    @property
    def is_unclaimed(self) -> bool:
        """Whether no worker has claimed the job."""
        return self.status in _UNCLAIMED

    @property
    def has_ended(self) -> bool:
        """Whether the job has succeeded, failed or timed out."""
        return self.status in _ENDED


class _JobSource(Protocol):
    """The part of `States` that an `Action` uses.  `States` imports this module, so this module cannot import it."""

    version: int

    def jobs_of(self, action: Action) -> tuple[Job, ...]:
        """Return the jobs of an action, oldest first."""
        ...

    def wait_for_change(self, action: Action, version: int, timeout: float) -> None:
        """Wait until the version changes or the timeout in seconds ends."""
        ...


class Action:
    """
    An action that a pipeline runs: it has one job, and one more for each continuation.

    Created by `LocalCodePipeline.start_action`.  Thread-safe.
    """

    def __init__(self, states: _JobSource) -> None:
        self._states = states

    @property
    def jobs(self) -> tuple[Job, ...]:
        """The jobs so far, oldest first.  They include the next job of a continued action before polls return it."""
        return self._states.jobs_of(self)

    @property
    def status(self) -> JobStatus:
        """The status of the latest job; ``InProgress`` while the next job of a continued action waits."""
        *earlier, last = self.jobs
        return JobStatus.IN_PROGRESS if earlier and last.is_unclaimed else last.status

    @property
    def result(self) -> Success | FailureDetails | None:
        """
        The result that was reported last, or ``None``.

        A success is a `cp_thirdparty.testing.Success`, with the output variables and the execution details.  A failure
        is a `cp_thirdparty.FailureDetails`.
        """
        return next((job.result for job in reversed(self.jobs) if job.result is not None), None)

    def wait(
        self,
        status: JobStatus | str | None = None,
        *,
        until: Callable[[Action], object] | None = None,
        timeout: float | timedelta = 10.0,
    ) -> JobStatus:
        """
        Wait until the action has a status, or fulfils a condition.

        The status is checked after each change of the service, and when a job times out by a `ManualClock` or a real
        clock.  If another kind of clock jumps, the status is checked only after the next change of the service.

        Args:
            status: The status to wait for; ``None`` waits until the action has ended.
            until: A condition instead of a status: a function that is called with the action after each change, until
                it returns a true value.
            timeout: The longest time to wait, in real seconds or as a ``timedelta``.

        Returns:
            The status of the action at the end of the wait.

        Raises:
            TimeoutError: The timeout was reached.
            RuntimeError: The action has ended with another status than ``status``.
            ValueError: Both ``status`` and ``until`` were given, or the service does not have this status.
        """
        if status is not None and (until is not None or not JobStatus(status).is_known):
            raise ValueError("status: must be a status of the service, and not together with until")
        wanted = None if status is None else JobStatus(status)
        timeout = read_seconds("timeout", timeout, least=-MAX_SECONDS)
        deadline = time.monotonic() + timeout
        while True:
            version = self._states.version
            if self._is_reached(wanted, until):
                return self.status
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise TimeoutError(f"after {timeout:g} seconds the action is {self.status}")
            self._states.wait_for_change(self, version, remaining)

    def _is_reached(self, status: JobStatus | None, until: Callable[[Action], object] | None) -> bool:
        if until is not None:
            return bool(until(self))
        now = self.status
        if status is not None and now in _ENDED and now != status:
            raise RuntimeError(f"the action has ended as {now} and will not be {status}")
        return now in _ENDED if status is None else now == status

    def __repr__(self) -> str:
        return f"<Action: {self.status}>"
