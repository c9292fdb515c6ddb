"""
Simulate how many workers and calls a number of customers needs, with the states of the local CodePipeline.

It prints the table of ``docs/explanation/scale.md``.  Nothing is measured, so two runs print the same: the clock is
the local CodePipeline's, and an hour passes in seconds.  Workers poll as `JobWorker` does: for their free slots,
immediately after a poll that returned jobs, otherwise after the interval with a fifth of jitter.
"""

from __future__ import annotations

import heapq
import itertools
import random
import statistics
from collections.abc import Callable
from functools import partial

import attrs

from benchmarks.measure import main
from cp_thirdparty import ActionTypeId, JobData, SecretStr, ThirdPartyJob
from cp_thirdparty.testing import ManualClock, Success
from cp_thirdparty.testing._states import States

_ACTION_TYPE = ActionTypeId(category="Test", owner="ThirdParty", provider="ExampleScan", version="1")
_TOKEN = SecretStr("t")
_POLL_INTERVAL = 5.0

# A call of CodePipeline within its region, in seconds: an assumption.
_CALL = 0.05


@attrs.frozen
class Load:
    """
    What customers do.

    Attributes:
        customers: How many there are.

        actions_a_day: How many actions each runs.

        peak: How many times the average the busiest hour has.

        seconds: How long a handler works.

        workers: Processes.

        slots: Jobs at a time in each.
    """

    customers: int
    workers: int
    slots: int
    actions_a_day: float = 10.0
    peak: float = 3.0
    seconds: float = 60.0


@attrs.define
class Seen:
    """What a simulation counted."""

    jobs: int = 0
    polls: int = 0
    empty_polls: int = 0
    calls: int = 0
    busiest: int = 0
    waits: list[float] = attrs.field(factory=list)


class Simulation:
    """An hour of the busiest kind."""

    def __init__(self, load: Load, *, hours: float, seed: int) -> None:
        self._load = load
        self._ends_at = hours * 3600
        self._chance = random.Random(seed)
        self._clock = ManualClock()
        self._states = States(clock=self._clock)
        self._states.register_client("c", _TOKEN)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._queued: dict[str, float] = {}
        self._free = [load.slots] * load.workers
        self._busy = 0
        self.seen = Seen()

    def run(self) -> Seen:
        """Let the time pass."""
        self._at(0, self._start)
        for worker in range(self._load.workers):
            self._at(self._chance.uniform(0, _POLL_INTERVAL), partial(self._poll, worker))
        while self._events and self._events[0][0] < self._ends_at:
            moment, _, happen = heapq.heappop(self._events)
            self._clock.advance(moment - self._clock())
            happen()
        return self.seen

    def _at(self, seconds: float, happen: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self._clock() + seconds, next(self._order), happen))

    def _start(self) -> None:
        data = JobData(action_type_id=_ACTION_TYPE)
        action = self._states.start_action(data, client_id="c", artifact_credentials=lambda: None)
        self._queued[action.jobs[0].id] = self._clock()
        rate = self._load.customers * self._load.actions_a_day * self._load.peak / 86_400
        self._at(self._chance.expovariate(rate), self._start)

    def _poll(self, worker: int) -> None:
        found: tuple[ThirdPartyJob, ...] = ()
        if self._free[worker]:
            found = self._states.poll(_ACTION_TYPE, self._free[worker])
            self.seen.polls += 1
            self.seen.calls += 1
            self.seen.empty_polls += not found
        for job in found:
            self._free[worker] -= 1
            self._at(2 * _CALL, partial(self._claim, worker, job))
        pause = _CALL if found else _POLL_INTERVAL * self._chance.uniform(0.8, 1.2)
        self._at(pause, partial(self._poll, worker))

    def _claim(self, worker: int, job: ThirdPartyJob) -> None:
        details = self._states.details(job.job_id, _TOKEN)
        self._states.acknowledge(job.job_id, details.nonce, _TOKEN)
        self._busy += 1
        self.seen.calls += 2
        self.seen.busiest = max(self.seen.busiest, self._busy)
        self.seen.waits.append(self._clock() - self._queued.pop(job.job_id))
        self._at(self._chance.expovariate(1 / self._load.seconds), partial(self._report, worker, job))

    def _report(self, worker: int, job: ThirdPartyJob) -> None:
        self._states.put_success(
            job.job_id, _TOKEN, Success(current_revision=None, execution_details=None, continuation_token=None)
        )
        self._busy -= 1
        self._free[worker] += 1
        self.seen.calls += 1
        self.seen.jobs += 1


_LOADS = (
    Load(customers=10, workers=1, slots=10),
    Load(customers=100, workers=2, slots=10),
    Load(customers=1_000, workers=2, slots=32),
    Load(customers=10_000, workers=8, slots=48),
    Load(customers=100_000, workers=40, slots=80),
)


def run(*, short: bool) -> None:
    """Print the table."""
    titles = "customers", "workers x slots", "jobs/h", "busiest", "polls/s", "empty polls", "calls/job", "calls/s"
    print(f"| {' | '.join(titles)} | wait, median | wait, 99 % |\n|{' --- |' * 10}")
    for load in _LOADS[:2] if short else _LOADS:
        hours = 0.2 if short else 1.0
        seen = Simulation(load, hours=hours, seed=1).run()
        print(f"| {' | '.join(_row(load, seen, hours))} |")


def _row(load: Load, seen: Seen, hours: float) -> tuple[str, ...]:
    waits = sorted(seen.waits)
    return (
        f"{load.customers:,}",
        f"{load.workers} x {load.slots}",
        f"{seen.jobs / hours:,.0f}",
        f"{seen.busiest:,}",
        f"{seen.polls / hours / 3600:.2f}",
        f"{seen.empty_polls / seen.polls:.0%}",
        f"{seen.calls / max(seen.jobs, 1):.1f}",
        f"{seen.calls / hours / 3600:.1f}",
        f"{statistics.median(waits):.1f} s",
        f"{waits[int(len(waits) * 0.99)]:.1f} s",
    )


if __name__ == "__main__":
    main(run, __doc__)
