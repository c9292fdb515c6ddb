"""The health of a worker, for probes and alerts."""

from __future__ import annotations

from typing import Literal, TypeAlias

import attrs

__all__ = ["WorkerHealth", "WorkerState"]

WorkerState: TypeAlias = Literal["stopped", "running", "draining"]
"""A worker that does not run, one that accepts jobs, and one that only finishes its jobs."""


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

        stalled: Ids of the claimed jobs that wait because of a failure that is yours to end, such as a client token
            that CodePipeline refuses.

        journal_error: Why the last access to the journal failed; ``None`` if it did not.  Until it works again, the
            worker requests only one job in each poll, and claims it only if the journal can be written.

        set_aside: Ids of the jobs whose entries in the journal cannot be read; an operator should look at them.

        overdue: Ids of the jobs that have ended, but whose handlers still run.  Each uses a slot.
    """

    state: WorkerState
    in_flight: int
    seconds_since_poll: float | None
    poll_error: str | None
    oldest_unsent_result: float | None
    uncertain: tuple[str, ...]
    undecodable: tuple[str, ...]
    overdue: tuple[str, ...]
    stalled: tuple[str, ...] = ()
    journal_error: str | None = None
    set_aside: tuple[str, ...] = ()
