"""How a worker is: what an operator's probe asks for."""

from __future__ import annotations

from typing import Literal, TypeAlias

import attrs

__all__ = ["WorkerHealth", "WorkerState"]

WorkerState: TypeAlias = Literal["stopped", "running", "draining"]
"""What a worker does, which is nothing, everything, or finishing what it has."""


@attrs.frozen(kw_only=True)
class WorkerHealth:
    """
    A worker at one moment.

    Attributes:
        state: What it does.

        in_flight: Jobs that it has in work.

        seconds_since_poll: Seconds since the last poll that was answered; ``None`` before the first.

        poll_error: Name of the error of the last poll, or ``None`` when it was answered.

        oldest_unsent_result: Seconds that the oldest result waits to be accepted; ``None`` when none waits.

        uncertain: Ids of the jobs of which nobody knows whose they are, seen since the start; at most the last 1,000.

        undecodable: Ids of the jobs whose details could not be decoded, likewise.

        stalled: Ids of the claimed jobs that wait because of a failure that is yours to end, such as a client token
            that CodePipeline refuses.

        journal_error: Why the journal could not be read or written the last time; ``None`` if it could.  No job is
            claimed while there is one.

        set_aside: Ids of the jobs whose entries in the journal cannot be read; an operator should look at them.

        overdue: Ids of the jobs whose handlers run although their time is over.  Each holds a slot.
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
