"""A rolling restart of three workers of one journal while each slot has a job."""

from __future__ import annotations

import math
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import attrs
from support.worker_service import CLIENT_ID, CLIENT_TOKEN

from cp_thirdparty.testing import LocalCodePipeline
from long.fleet import (
    KINDS,
    Seen,
    end,
    find_processes,
    look,
    open_database,
    send,
    start_action,
    start_child,
    wait_for_end,
)

# Seconds after the grace in which a worker that reports and releases its jobs must end.
_LAST_SECONDS = 10

# A handler that ends so shortly before the grace may be too late for it.
_MARGIN = 0.5

# A worker that starts on a busy machine must not look dead to the others; released jobs do not wait for it.
_TAKEOVER_SECONDS = 10.0


@attrs.frozen(kw_only=True)
class Restarted:
    """
    What became of the jobs of workers that were restarted.

    Attributes:
        seen: How they ended.

        interrupted: How many handlers had no end when the grace of their worker ended.

        unjust: The failures of jobs that failed although the handler ended within the grace, or may run again.

        twice: Ids of the jobs whose handlers began twice although they may not.

        slow: Names of the workers that did not end in time.

        orphans: Processes that outlived their workers.
    """

    seen: Seen
    interrupted: int
    unjust: tuple[str, ...]
    twice: tuple[str, ...]
    slow: tuple[str, ...]
    orphans: tuple[int, ...]

    @property
    def is_right(self) -> bool:
        """Whether customers saw no failure that they should not, and each job has one result."""
        is_one = self.seen.is_right and not (self.seen.uncertain or self.twice)
        return is_one and not (self.unjust or self.slow or self.orphans)


def restarts(
    *,
    jobs: int,
    seconds: float,
    grace: float,
    engine: str,
    is_idempotent: bool,
    directory: Path,
    workers: int = 3,
    kind: str = KINDS[0],
    database: str = "sqlite",
) -> Restarted:
    """Restart each worker in turn by a signal to its group, while all jobs are in flight."""
    journal = directory / "restarts.db"
    notes = {name: directory / f"{name}.txt" for name in ("begun", "ended")}
    for path in notes.values():
        path.touch()
    settings = [f"{name}={path}" for name, path in notes.items()]
    settings += [f"engine={engine}", f"seconds={seconds}", f"grace={grace}", f"concurrency={-(-jobs // workers)}"]
    settings += [f"kind={kind}", f"takeover={_TAKEOVER_SECONDS}"]
    settings += ["idempotent=yes"] if is_idempotent else []
    stopped: dict[str, float] = {}
    slow = []
    with (
        open_database(database, journal),
        LocalCodePipeline(redelivery_delay=1.0, journal_size=jobs * 100) as service,
    ):
        service.register_client(CLIENT_ID, CLIENT_TOKEN)
        children = {
            str(number): start_child(service, journal, f"name={number}", *settings) for number in range(workers)
        }
        actions = [start_action(service, kind) for _ in range(jobs)]
        gives_up_at = time.monotonic() + 60
        while len(_read(notes["begun"])) < jobs and time.monotonic() < gives_up_at:
            time.sleep(0.05)
        for number in range(workers):
            name = str(number)
            child = children.pop(name)
            stopped[name] = time.time()
            send(child, signal.SIGTERM)
            try:
                child.wait(grace + _LAST_SECONDS)
            except subprocess.TimeoutExpired:
                slow.append(name)
                child.kill()
                child.wait()
            children[f"new-{name}"] = start_child(service, journal, f"name=new-{name}", *settings)
        wait_for_end(actions, journal, lambda: True)
        for child in children.values():
            end(child)
        seen = look(service, actions, journal)
        failed = {action.jobs[-1].id: action.result for action in actions if action.status == "Failed"}
    ends = {(job_id, name): at for job_id, name, at in _read(notes["ended"])}
    begun = _read(notes["begun"])
    counts = Counter(job_id for job_id, _, _ in begun)
    late = {
        (job_id, name): ends.get((job_id, name), math.inf) - stopped[name] - grace
        for job_id, name, _ in begun
        if name in stopped
    }
    interrupted = {job_id for (job_id, _), seconds in late.items() if seconds > -_MARGIN}
    unjust = failed if is_idempotent else failed.keys() - interrupted
    return Restarted(
        seen=seen,
        interrupted=len(interrupted),
        unjust=tuple(
            f"{failed[job_id]}, ended seconds after the grace: {[late[key] for key in late if key[0] == job_id]}"
            for job_id in unjust
        ),
        twice=() if is_idempotent else tuple(job_id for job_id, count in counts.items() if count > 1),
        slow=tuple(slow),
        orphans=find_processes(directory),
    )


def _read(path: Path) -> list[tuple[str, str, float]]:
    """Return the job, the worker and the time of each line."""
    lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines()]
    return [(job_id, name, float(at)) for job_id, name, _, at in lines]
