"""The health of a worker, for probes and alerts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal, TypeAlias

import attrs

from cp_thirdparty._base.frames import hide_init_arguments
from cp_thirdparty._base.text import show

__all__ = ["WorkerHealth", "WorkerState"]

# Seconds after which a worker without a sign of activity is not alive.  The default deadline of a call is 60 seconds,
# and the worker waits at most 30 seconds for anything else.
_LONGEST_SILENCE: Final = 120.0

WorkerState: TypeAlias = Literal["stopped", "running", "draining"]
"""A stopped worker, a running worker that accepts jobs, and a worker that only finishes its jobs (draining)."""


def _show_ids(job_ids: Iterable[str]) -> tuple[str, ...]:
    return tuple(map(show, job_ids))


@hide_init_arguments
@attrs.frozen(kw_only=True)
class WorkerHealth:
    """
    The health of a worker at one moment.

    Attributes:
        state: Whether the worker runs, and whether it accepts jobs.
        in_flight: How many jobs of the worker have not ended.
        seconds_since_poll: Seconds since the last successful poll; ``None`` before the first.
        poll_error: Name of the error of the last poll; ``None`` if it was successful.
        oldest_unsent_result: Seconds for which the oldest result has waited for CodePipeline to accept it; ``None`` if
            no result waits.
        uncertain: Ids of the jobs whose ownership is unknown.  CodePipeline is asked about them every five minutes.
        undecodable: Ids of the jobs whose details could not be decoded since the start; at most the last 1,000.
        stalled: Ids of the claimed jobs that wait because of a failure that you must fix, such as a client token that
            CodePipeline refuses.
        journal_error: Why the last access to the journal failed; ``None`` if it succeeded.  Until the journal works
            again, the worker requests only one job in each poll, and claims it only if the journal can be written.
        executor_error: Why handlers cannot be started: no thread, event loop or process could be started for the last
            one, or a handler blocks the event loop; ``None`` if handlers can be started.  While no event loop or
            process can be started, or the event loop is blocked, the worker claims no more jobs.  The claimed jobs
            retry the start, or wait until the event loop is free.

            .. versionadded:: 0.2.0

        kept: Ids of the jobs that this worker has given up before CodePipeline accepted a result, and that the journal
            keeps for a later attempt.

            .. versionadded:: 0.2.0

        set_aside: Ids of the jobs whose entries in the journal cannot be read; an operator should check them.
        overdue: Ids of the jobs that have ended, but whose handlers still run, or whose clean-up takes more than 70
            seconds.  Each of them uses a slot.
        free_slots: How many more jobs the worker can accept now.
        seconds_since_loop: Seconds since the last activity of the worker's two threads: of the thread that polls or the
            thread that watches deadlines, whichever was active longer ago.  ``None`` if the worker does not run.  A
            thread may wait for CodePipeline until the deadline of its client, 60 seconds by default.  A wait for the
            journal counts as activity: see `journal_error`.
        dropped_events: How many events and log records were dropped since the worker was created, because ``on_event``
            or a handler of logs was too slow; and how many events were not counted, because ``metrics`` was too slow.

            .. versionadded:: 0.2.0
    """

    state: WorkerState
    in_flight: int
    seconds_since_poll: float | None
    poll_error: str | None
    oldest_unsent_result: float | None
    uncertain: tuple[str, ...] = attrs.field(converter=_show_ids)
    undecodable: tuple[str, ...] = attrs.field(converter=_show_ids)
    overdue: tuple[str, ...] = attrs.field(converter=_show_ids)
    stalled: tuple[str, ...] = attrs.field(default=(), converter=_show_ids)
    journal_error: str | None = None
    set_aside: tuple[str, ...] = ()
    free_slots: int = 0
    seconds_since_loop: float | None = None
    dropped_events: int = 0
    executor_error: str | None = None
    kept: tuple[str, ...] = attrs.field(default=(), converter=_show_ids)

    @property
    def is_alive(self) -> bool:
        """
        Whether the worker runs and its threads are active, even if all slots are busy.

        Use it for a liveness probe.  ``False`` if `seconds_since_loop` is more than 120: 60 seconds for the deadline of
        a call, and 60 seconds for everything else.

        .. versionadded:: 0.2.0
        """
        return self.seconds_since_loop is not None and self.seconds_since_loop <= _LONGEST_SILENCE

    @property
    def is_ready(self) -> bool:
        """
        Whether the worker accepts jobs, because it runs, its last poll succeeded, its journal works and handlers start.

        .. versionadded:: 0.2.0
        """
        is_polling = self.seconds_since_poll is not None and self.poll_error is None
        has_error = self.journal_error is not None or self.executor_error is not None
        return self.state == "running" and self.is_alive and is_polling and not has_error


# The health of a worker that does not run.
STOPPED_HEALTH: Final = WorkerHealth(
    state="stopped",
    in_flight=0,
    seconds_since_poll=None,
    poll_error=None,
    oldest_unsent_result=None,
    uncertain=(),
    undecodable=(),
    overdue=(),
)
