"""Workers of one journal that are killed at random moments under load, with their groups, jobs and clusters."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import attrs
from support.worker_service import CLIENT_ID, CLIENT_TOKEN

from cp_thirdparty.testing import Action, LocalCodePipeline
from long.fleet import (
    FINAL,
    KINDS,
    PATIENCE,
    Seen,
    end,
    find_processes,
    is_of_run,
    look,
    open_database,
    send,
    settle,
    start_action,
    start_child,
    until_busy,
    wait_for_end,
)
from long.open_jobs import Offers, OpenJob, describe, find_rest

ENGINES = ("threads", "processes", "dask")

# The requests that the service keeps beside those of jobs: while a run waits, idle workers poll 20 times a second.
_RECORDS = 50_000


@attrs.frozen(kw_only=True)
class Killed:
    """
    What became of the jobs of killed workers.

    Attributes:
        seen: How they ended.

        rest: The jobs without a result when the run stopped waiting.  If they are queued or held, the workers were
            stuck: none of them has claimed a job or reported a result for some time.

        twice: Ids of the jobs whose handlers, which may not run again, began twice.

        orphans: Processes that outlived their workers.

        is_reported: Whether the next worker reports jobs of unknown ownership if and only if there are any.
    """

    seen: Seen
    rest: tuple[OpenJob, ...] = attrs.field(repr=lambda rest: f"{len(rest)} jobs")  # the table has them
    twice: tuple[str, ...]
    orphans: tuple[int, ...]
    is_reported: bool

    @property
    def is_right(self) -> bool:
        """Whether the promises hold."""
        is_one = self.seen.is_right and not (self.rest or self.twice)
        return is_one and not self.orphans and self.is_reported


def kills(
    *,
    jobs: int,
    kills: int,
    seed: int,
    directory: Path,
    engine: str = "threads",
    workers: int = 3,
    kind: str = KINDS[0],
    database: str = "sqlite",
    patience: float = PATIENCE,
    settings: Sequence[str] = (),
) -> Killed:
    """
    Kill workers of one journal at random moments under load, and start them again each time.

    Some are killed alone, others with all of their group, and others just after a signal to the group that should stop
    them.  Where handlers run in other processes, some kills hit these.

    At the end, the run waits for the results of all jobs, until there was no new claim and no new result for
    ``patience`` seconds.  It prints each job that is then open.  The workers get the ``settings`` too.
    """
    chance = random.Random(seed)
    journal, begun = directory / "kills.db", directory / "begun.txt"
    begun.touch()
    with (
        open_database(database, journal),
        LocalCodePipeline(redelivery_delay=0.5, journal_size=_RECORDS + jobs * 100) as service,
        _engine(engine, service) as used,
    ):
        service.register_client(CLIENT_ID, CLIENT_TOKEN)
        offers = Offers.of(service)
        settings = (f"begun={begun}", f"engine={used.name}", "seconds=0.2", f"kind={kind}", *settings)
        actions: list[Action] = []
        children = [start_child(service, journal, *settings) for _ in range(workers)]
        for number in range(kills):
            actions += [start_action(service, kind) for _ in range(-(-jobs // kills))]
            until_busy(service, children[0])
            time.sleep(chance.uniform(0, 0.3))
            if chance.random() < used.share and used.kill_job(chance, directory):
                continue
            oldest = children.pop(0)  # the others are still starting, or have begun not long ago
            if oldest.poll() is not None:
                print(f"  a worker has ended before its kill, with exit code {oldest.returncode}", flush=True)
            _kill(oldest, chance)
            children.append(start_child(service, journal, *settings))
            if number % 20 == 0:
                print(f"  {number} kills, {_count_done(actions)} jobs done", flush=True)
        print(f"  {kills} kills, {_count_done(actions)} jobs done", flush=True)
        waits_since = time.monotonic()
        longest = wait_for_end(actions, journal, lambda: _count_running(children) > 0, patience)
        rest = find_rest(service, actions, journal, offers, begun)
        waited = time.monotonic() - waits_since
        print(f"  waited {waited:.0f} s for the other jobs, with no progress for at most {longest:.1f} s")
        print(f"  {_count_running(children)} of {workers} workers run")
        print(describe(rest), flush=True)
        for child in children:
            end(child)
        seen = look(service, actions, journal)
        code = settle(service, journal, f"kind={kind}", patience=patience)
    counts = Counter(line.split()[0] for line in begun.read_text(encoding="utf-8").splitlines())
    return Killed(
        seen=seen,
        rest=rest,
        twice=tuple(job_id for job_id, count in counts.items() if count > 1),
        orphans=find_processes(directory),
        is_reported=code == (1 if seen.uncertain else 0),
    )


def _count_done(actions: Sequence[Action]) -> int:
    return sum(action.status in FINAL for action in actions)


def _count_running(children: Sequence[subprocess.Popen[bytes]]) -> int:
    return sum(child.poll() is None for child in children)


def _kill(child: subprocess.Popen[bytes], chance: random.Random) -> None:
    """Kill a worker in one of four ways."""
    way = chance.randrange(4)
    if way == 0:
        child.kill()
    else:
        if way > 1:
            send(child, signal.SIGTERM if way == 2 else signal.SIGINT)
            time.sleep(chance.uniform(0, 0.5))
        send(child, signal.SIGKILL)
    child.wait()


@attrs.frozen
class _Engine:
    """Where handlers run, and how one of them is killed without its worker: in which share of all kills."""

    name: str
    share: float
    kill_job: Callable[[random.Random, Path], bool]


@contextmanager
def _engine(name: str, service: LocalCodePipeline) -> Generator[_Engine, None, None]:
    if name == "dask":
        with _cluster(service) as client:
            address = str(client.scheduler_info()["address"])
            yield _Engine(address, 0.3, lambda chance, _: _kill_member(client, chance))
    else:
        yield _Engine(name, 0.2 if name == "processes" else 0.0, _kill_newest)


@contextmanager
def _cluster(service: LocalCodePipeline) -> Generator[Any, None, None]:
    """Create a Dask cluster of two processes, which repeats tasks whose process has died, as it does by default."""
    from distributed import Client, LocalCluster  # noqa: PLC0415 - only this engine needs it

    with (
        LocalCluster(
            n_workers=2,
            threads_per_worker=4,
            processes=True,
            dashboard_address="127.0.0.1:0",
            host="127.0.0.1",
            env=service.environment(),
        ) as made,
        Client(made) as client,
    ):
        yield client


def _kill_member(client: Any, chance: random.Random) -> bool:
    """Kill a process of the cluster, which starts another one."""
    process_ids = sorted(client.run(os.getpid).values())
    if not process_ids:
        return False
    os.kill(chance.choice(process_ids), signal.SIGKILL)
    return True


def _kill_newest(_chance: random.Random, directory: Path) -> bool:
    """Kill the process of the job that has begun last, if it still runs."""
    lines = (directory / "begun.txt").read_text(encoding="utf-8").splitlines()
    process_id = int(lines[-1].split()[2]) if lines else 0
    if not is_of_run(process_id, directory):
        return False
    with suppress(ProcessLookupError):
        os.kill(process_id, signal.SIGKILL)
    return True
