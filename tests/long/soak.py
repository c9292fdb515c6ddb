"""
Long runs of the worker, and short ones of the same for the tests.

    PYTHONPATH=tests python -m long.soak kills --engine processes --jobs 2000 --kills 200
    PYTHONPATH=tests python -m long.soak kills --database dynamodb --jobs 2000 --kills 200
    PYTHONPATH=tests python -m long.soak rows
    PYTHONPATH=tests python -m long.soak faults --jobs 9000
    PYTHONPATH=tests python -m long.soak idle --seconds 60
    PYTHONPATH=tests python -m long.soak race --jobs 500
    PYTHONPATH=tests python -m long.soak restarts --engine processes --jobs 200
    PYTHONPATH=tests python -m long.soak restarts --database dynamodb --jobs 200
    PYTHONPATH=tests python -m long.soak table --jobs 2000

``kills`` kills workers at random moments, ``rows`` uses each row of the failure policy, ``faults`` lets everything go
wrong for one worker with many jobs, ``idle`` watches a worker without jobs, ``race`` lets four processes work on one
action type, ``restarts`` restarts workers whose slots are full, and
``table`` measures a journal in DynamoDB and lets 8 workers share it.  Each prints what it saw, and fails when a job was
lost, had two results, or failed without a reason, or when the workers made no progress for two minutes.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from support.worker_service import ACTION_TYPE, CLIENT_ID, CLIENT_TOKEN

from cp_thirdparty.testing import LocalCodePipeline
from long import fleet
from long.faults import faults, idle, rows
from long.kills import ENGINES, kills
from long.restarts import restarts
from long.table import measure_throughput, share, take_over

# The part of a core that a worker without jobs may use.
MOST_IDLE = 0.005


def race(*, jobs: int, workers: int, directory: Path) -> tuple[fleet.Seen, int]:
    """Let several processes with one journal each work on one action type; return also how many races were lost."""
    with LocalCodePipeline(redelivery_delay=0.05, journal_size=jobs * 200) as service:
        service.register_client(CLIENT_ID, CLIENT_TOKEN)
        journals = [directory / f"race-{number}.db" for number in range(workers)]
        children = [fleet.start_child(service, journal, "concurrency=8") for journal in journals]
        for child in children:
            fleet.until_busy(service, child)
        actions = [service.start_action(ACTION_TYPE, client_id=CLIENT_ID) for _ in range(jobs)]
        fleet.wait_for_end(actions, journals[0], lambda: True)
        codes = [fleet.end(child) for child in children]
        assert codes == [0] * workers, codes
        lost = sum(record.error_code == "InvalidNonceException" for record in service.requests)
        return fleet.look(service, actions, journals[0]), lost


def _run_kills(chosen: argparse.Namespace, directory: Path) -> tuple[object, bool]:
    chosen_settings = {name: getattr(chosen, name) for name in ("jobs", "kills", "seed", "engine", "kind", "database")}
    killed = kills(directory=directory, **chosen_settings)
    return killed, killed.is_right


def _run_rows(_chosen: argparse.Namespace, directory: Path) -> tuple[object, bool]:
    played = rows(directory)
    return played, not (played.wrong or played.unused)


def _run_faults(chosen: argparse.Namespace, directory: Path) -> tuple[object, bool]:
    soaked = faults(jobs=chosen.jobs, slots=chosen.slots, seed=chosen.seed, directory=directory, engine=chosen.engine)
    return soaked, soaked.is_right and soaked.seen.succeeded + soaked.seen.failed == chosen.jobs


def _run_idle(chosen: argparse.Namespace, directory: Path) -> tuple[object, bool]:
    used = idle(seconds=chosen.seconds, directory=directory, engine=chosen.engine)
    return f"{used:.2%} of a core", used < MOST_IDLE


def _run_race(chosen: argparse.Namespace, directory: Path) -> tuple[object, bool]:
    seen, lost = race(jobs=chosen.jobs, workers=chosen.workers, directory=directory)
    return (seen, f"{lost} races were lost"), seen.is_right


def _run_restarts(chosen: argparse.Namespace, directory: Path) -> tuple[object, bool]:
    found = restarts(
        jobs=chosen.jobs,
        seconds=chosen.seconds,
        grace=chosen.grace,
        engine=chosen.engine,
        is_idempotent=chosen.idempotent,
        directory=directory,
        kind=chosen.kind,
        database=chosen.database,
    )
    return found, found.is_right


def _run_table(chosen: argparse.Namespace, directory: Path) -> tuple[object, bool]:
    found = measure_throughput(directory, jobs=chosen.jobs, threads=chosen.slots)
    takeover = take_over(takeover_seconds=chosen.seconds, directory=directory)
    seen, seconds = share(jobs=chosen.jobs, workers=8, directory=directory)
    is_right = seen.is_right and seen.succeeded == chosen.jobs and takeover <= chosen.seconds
    return {**found, "takeover seconds": takeover, "seconds of 8 workers": seconds, "seen": seen}, is_right


_RUNS: Mapping[str, Callable[[argparse.Namespace, Path], tuple[object, bool]]] = {
    "kills": _run_kills,
    "rows": _run_rows,
    "faults": _run_faults,
    "idle": _run_idle,
    "race": _run_race,
    "restarts": _run_restarts,
    "table": _run_table,
}


def main() -> None:
    """Run one of the long runs, and fail if the worker did what it should not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", choices=tuple(_RUNS))
    parser.add_argument("--engine", choices=ENGINES, default="threads")
    parser.add_argument("--kind", choices=fleet.KINDS, default=fleet.KINDS[0])
    parser.add_argument("--database", choices=("sqlite", "dynamodb"), default="sqlite")
    parser.add_argument("--jobs", type=int, default=2000)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--slots", type=int, default=32)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--grace", type=float, default=10.0)
    parser.add_argument("--idempotent", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        found, is_right = _RUNS[chosen.run](chosen, Path(name))
    print(found)
    sys.exit(0 if is_right else 1)


if __name__ == "__main__":
    main()
