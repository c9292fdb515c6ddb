"""An action of the local CodePipeline with its jobs and results, for a test to read and to wait for."""

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
    What a worker reported about a job that succeeded.

    Attributes:
        continuation_token: For the next job of the action, or ``None`` when the action has ended.
        current_revision: The revision, or ``None``.
        execution_details: What the console shows, or ``None``.
        output_variables: What later actions can use of a custom action.

            .. versionadded:: 0.2.0
    """

    continuation_token: str | None
    current_revision: CurrentRevision | None
    execution_details: ExecutionDetails | None
    output_variables: Mapping[str, str] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class Job:
    """
    One job of an action, as it was when it was read.

    Attributes:
        id: The id that polls return.
        nonce: The nonce that an acknowledgement must have.
        status: Queued, Dispatched, InProgress, Succeeded, Failed or TimedOut.
        continuation_token: The token from the job before it, or ``None`` for the first job of an action.
        result: What a worker reported: the continuation token, the revision and the execution details of a success, or
            the details of a failure.  ``None`` while there is none.
    """

    id: str
    nonce: str
    status: JobStatus
    continuation_token: str | None
    result: Success | FailureDetails | None

    @property
    def is_unclaimed(self) -> bool:
        """Whether it waits for a worker."""
        return self.status in _UNCLAIMED

    @property
    def has_ended(self) -> bool:
        """Whether it has succeeded, failed or timed out."""
        return self.status in _ENDED


class _JobSource(Protocol):
    """What an `Action` reads. `States` provides it and creates actions, so importing it here would be circular."""

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
        """The jobs so far, oldest first; the next one of a continued action is there before polls offer it."""
        return self._states.jobs_of(self)

    @property
    def status(self) -> JobStatus:
        """The status of the latest job; ``InProgress`` while the next job of a continued action waits."""
        *earlier, last = self.jobs
        return JobStatus.IN_PROGRESS if earlier and last.is_unclaimed else last.status

    @property
    def result(self) -> Success | FailureDetails | None:
        """What was reported last, or ``None``."""
        return next((job.result for job in reversed(self.jobs) if job.result is not None), None)

    def wait(
        self,
        status: JobStatus | str | None = None,
        *,
        until: Callable[[Action], object] | None = None,
        timeout: float | timedelta = 10.0,
    ) -> JobStatus:
        """
        Wait for the action; each change of the service ends the wait, so nothing is polled.

        The timeout of a job ends the wait too, with a `ManualClock` or a real clock.  If a clock of another kind
        jumps, the wait notices it at the next change of the service.

        Args:
            status: The status to wait for; ``None`` waits until the action has ended.
            until: Called with the action after each change, until it returns a true value; in place of a status.
            timeout: Real seconds, or a ``timedelta``, to wait at most.

        Returns:
            The status at the end.

        Raises:
            TimeoutError: The timeout has ended.
            RuntimeError: The action has ended with another status than the one that is waited for.
            ValueError: Both a status and a condition were given, or a status that the service does not have.
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
