"""
Long runs of the worker, and short ones of the same for the tests.

    PYTHONPATH=tests python -m long.soak kills --jobs 5000 --kills 300     workers are killed at random moments
    PYTHONPATH=tests python -m long.soak faults --jobs 10000               one worker, 32 slots, everything goes wrong
    PYTHONPATH=tests python -m long.soak race --jobs 500                   four processes work on one action type

Each prints what it saw and fails when a job was lost, or had two results.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import attrs
from support.worker_service import ACTION_TYPE, CLIENT_ID, CLIENT_TOKEN

from cp_thirdparty.testing import Action, LocalCodePipeline
from cp_thirdparty.testing.faults import (
    ExpiredCredentials,
    Fault,
    HtmlPage,
    LostAnswer,
    ServerError,
    Throttling,
    TruncatedBody,
)
from cp_thirdparty.worker import JournalState, SqliteJournal

_TESTS = str(Path(__file__).parents[1])
_FINAL = ("Succeeded", "Failed")

# Jobs that wait at a time in the run with faults.
_ROUND = 200

# Bytes by which a worker's memory may grow from job 2,000 to job 10,000.
_MOST_GROWTH = 5 * 2**20


def start_child(service: LocalCodePipeline, journal: Path, *settings: str) -> subprocess.Popen[bytes]:
    """Start a worker process of the service."""
    return subprocess.Popen(
        [sys.executable, "-m", "support.worker_child", journal, *settings],
        env={**os.environ, **service.environment(), "PYTHONPATH": _TESTS},
        stderr=subprocess.DEVNULL,
    )


@attrs.frozen(kw_only=True)
class Seen:
    """What became of all jobs."""

    succeeded: int
    failed: int
    uncertain: int
    accepted_twice: tuple[str, ...]
    lost: tuple[str, ...]


def look(service: LocalCodePipeline, actions: Sequence[Action], journal: Path) -> Seen:
    """Compare what the service accepted with what the journal says."""
    book = SqliteJournal(journal)
    uncertain = {entry.job.job_id for entry in book.jobs() if entry.state is JournalState.UNCERTAIN}
    book.close()
    accepted = Counter(
        record.parameters["jobId"]
        for record in service.requests
        if record.accepted and record.parameters is not None and str(record.operation_name).startswith("Put")
    )
    open_jobs = {action.jobs[-1].id for action in actions if action.status not in _FINAL}
    return Seen(
        succeeded=sum(action.status == "Succeeded" for action in actions),
        failed=sum(action.status == "Failed" for action in actions),
        uncertain=len(open_jobs & uncertain),
        accepted_twice=tuple(job_id for job_id, count in accepted.items() if count > 1),
        lost=tuple(sorted(open_jobs - uncertain)),
    )


def wait_for_end(actions: Sequence[Action], journal: Path, is_alive: Callable[[], bool], patience: float) -> None:
    """Wait until each action has its result or its job is uncertain."""
    gives_up_at = time.monotonic() + patience
    while time.monotonic() < gives_up_at and is_alive():
        open_jobs = {action.jobs[-1].id for action in actions if action.status not in _FINAL}
        if not open_jobs:
            return
        book = SqliteJournal(journal)
        uncertain = {
            entry.job.job_id for entry in book.jobs(unfinished_only=True) if entry.state is JournalState.UNCERTAIN
        }
        book.close()
        if open_jobs <= uncertain:
            return
        time.sleep(0.1)


def end(child: subprocess.Popen[bytes]) -> int:
    """Let a worker drain, and tell its exit code."""
    child.send_signal(signal.SIGTERM)
    return child.wait(60)


def kills(*, jobs: int, kills: int, seed: int, directory: Path, workers: int = 3) -> tuple[Seen, tuple[str, ...]]:
    """
    Kill workers of one journal at random moments under load, and start them again each time.

    Return what became of the jobs, and the ids of those whose handlers, which may not run again, began twice.
    """
    chance = random.Random(seed)
    journal, begun = directory / "kills.db", directory / "begun.txt"
    begun.touch()
    with LocalCodePipeline(redelivery_delay=0.5, journal_size=jobs * 100) as service:
        service.register_client(CLIENT_ID, CLIENT_TOKEN)
        actions: list[Action] = []
        children = [start_child(service, journal, f"begun={begun}") for _ in range(workers)]
        for number in range(kills):
            actions += [service.start_action(ACTION_TYPE, client_id=CLIENT_ID) for _ in range(-(-jobs // kills))]
            until_busy(service, children[0])
            time.sleep(chance.uniform(0, 0.3))
            oldest = children.pop(0)  # the others are still starting, or have begun not long ago
            oldest.kill()
            oldest.wait()
            children.append(start_child(service, journal, f"begun={begun}"))
            if number % 20 == 0:
                print(f"  {number} kills, {sum(action.status in _FINAL for action in actions)} jobs done", flush=True)
        wait_for_end(actions, journal, lambda: any(child.poll() is None for child in children), 60 + jobs * 0.1)
        for child in children:
            end(child)
        counts = Counter(begun.read_text(encoding="utf-8").split())
        return look(service, actions, journal), tuple(job_id for job_id, count in counts.items() if count > 1)


def until_busy(service: LocalCodePipeline, child: subprocess.Popen[bytes]) -> None:
    """Wait until a new worker has asked for something: its start takes longer than its work."""
    before = len(service.requests)
    while len(service.requests) == before and child.poll() is None:
        time.sleep(0.002)


def race(*, jobs: int, workers: int, directory: Path) -> tuple[Seen, int]:
    """Let several processes with one journal each work on one action type; tell also how many races were lost."""
    with LocalCodePipeline(redelivery_delay=0.05, journal_size=jobs * 200) as service:
        service.register_client(CLIENT_ID, CLIENT_TOKEN)
        journals = [directory / f"race-{number}.db" for number in range(workers)]
        children = [start_child(service, journal, "concurrency=8") for journal in journals]
        for child in children:
            until_busy(service, child)
        actions = [service.start_action(ACTION_TYPE, client_id=CLIENT_ID) for _ in range(jobs)]
        wait_for_end(actions, journals[0], lambda: True, 60 + jobs * 0.1)
        codes = [end(child) for child in children]
        assert codes == [0] * workers, codes
        lost = sum(record.error_code == "InvalidNonceException" for record in service.requests)
        return look(service, actions, journals[0]), lost


# What goes wrong.
_FAULTS: dict[str, tuple[Fault, ...]] = {
    "PollForThirdPartyJobs": (Throttling(), ServerError(), HtmlPage(), ExpiredCredentials()),
    "GetThirdPartyJobDetails": (Throttling(), ServerError(), HtmlPage(), LostAnswer(), TruncatedBody()),
    "AcknowledgeThirdPartyJob": (Throttling(), ServerError(), HtmlPage(), LostAnswer(), ExpiredCredentials()),
    "PutThirdPartyJobSuccessResult": (Throttling(), ServerError(), HtmlPage(), LostAnswer(), ExpiredCredentials()),
    "PutThirdPartyJobFailureResult": (Throttling(), ServerError(), HtmlPage(), LostAnswer(), TruncatedBody()),
}


@attrs.frozen(kw_only=True)
class Soaked:
    """What became of a soak."""

    seen: Seen
    events: dict[str, int]
    exit_code: int
    growth: int

    @property
    def unexplained(self) -> dict[str, int]:
        """The ends that a job should not have taken."""
        return {name: count for name, count in self.events.items() if name in _UNEXPLAINED}


_UNEXPLAINED = ("gone", "uncertain", "unsent", "journal_failed", "timed_out", "handler_failed", "recovered")


def faults(*, jobs: int, slots: int, seed: int, directory: Path) -> Soaked:
    """Let one worker process do many jobs while everything goes wrong, and look at its memory on the way."""
    chance = random.Random(seed)
    journal, told = directory / "soak.db", directory / "events.json"
    clock = _Shifted()
    done: Counter[str] = Counter()
    lost: list[str] = []
    before = after = 0
    with LocalCodePipeline(redelivery_delay=0.5, clock=clock, journal_size=1) as service:
        service.register_client(CLIENT_ID, CLIENT_TOKEN)
        child = start_child(
            service, journal, f"concurrency={slots}", "handler=fail", "poll_interval=0.1", f"events={told}"
        )
        for begin in range(0, jobs, _ROUND):
            actions = [service.start_action(ACTION_TYPE, client_id=CLIENT_ID) for _ in range(min(_ROUND, jobs - begin))]
            _let_go_wrong(service, chance)
            clock.shift += chance.choice((0.0, 5.0))
            lost += _left_after(actions, patience=120)
            done.update(action.status for action in actions if _is_right(action))
            if begin + _ROUND >= min(2000, jobs // 5):
                before = before or _resident(child.pid)
            if begin < 10_000:
                after = _resident(child.pid)
            print(f"  {begin + len(actions)} jobs, {_resident(child.pid) / 2**20:.1f} MiB", flush=True)
        service.faults.clear()
        code = end(child)
    seen = Seen(succeeded=done["Succeeded"], failed=done["Failed"], uncertain=0, accepted_twice=(), lost=tuple(lost))
    return Soaked(seen=seen, events=json.loads(told.read_text(encoding="utf-8")), exit_code=code, growth=after - before)


def _let_go_wrong(service: LocalCodePipeline, chance: random.Random) -> None:
    for operation_name, kinds in _FAULTS.items():
        # A round has few polls, and a worker that fails to poll many times in a row pauses for minutes, as it should.
        is_poll = operation_name == "PollForThirdPartyJobs"
        for _ in range(chance.randint(2, 4 if is_poll else 8)):
            service.faults.add(operation_name, chance.choice(kinds), times=1 if is_poll else chance.randint(1, 3))


def _left_after(actions: Sequence[Action], patience: float) -> list[str]:
    gives_up_at = time.monotonic() + patience
    while any(action.status not in _FINAL for action in actions) and time.monotonic() < gives_up_at:
        time.sleep(0.05)
    return [action.jobs[-1].id for action in actions if action.status not in _FINAL]


def _is_right(action: Action) -> bool:
    """Tell whether the service has the result that the handler gave."""
    return action.status == ("Failed" if fails_as_planned(action.jobs[-1].id) else "Succeeded")


def fails_as_planned(job_id: str) -> bool:
    """Tell whether a handler of the run with faults fails this job: one of sixteen."""
    return int(job_id[-1], 16) == 0


class _Shifted:
    """A clock that jumps ahead."""

    def __init__(self) -> None:
        self.shift = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.shift


def _resident(process_id: int) -> int:
    """Tell the bytes of memory that a process has, on Linux."""
    return int(Path(f"/proc/{process_id}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    """Run one of the long runs, and fail when a job was lost or the worker did what it should not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", choices=("kills", "faults", "race"))
    parser.add_argument("--jobs", type=int, default=2000)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--slots", type=int, default=32)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    is_wrong = False
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        if chosen.run == "kills":
            seen, twice = kills(jobs=chosen.jobs, kills=chosen.kills, seed=chosen.seed, directory=directory)
            print(f"{len(twice)} handlers began twice: {twice}")
            is_wrong = bool(twice)
        elif chosen.run == "race":
            seen, lost = race(jobs=chosen.jobs, workers=chosen.workers, directory=directory)
            print(f"{lost} races were lost")
        else:
            soaked = faults(jobs=chosen.jobs, slots=chosen.slots, seed=chosen.seed, directory=directory)
            print(f"{soaked.events}, exit code {soaked.exit_code}\nunexplained: {soaked.unexplained}")
            print(f"memory grew by {soaked.growth / 2**20:.1f} MiB")
            seen = soaked.seen
            is_wrong = bool(soaked.unexplained) or soaked.exit_code != 0 or soaked.growth >= _MOST_GROWTH
    print(seen)
    sys.exit(1 if is_wrong or seen.lost or seen.accepted_twice else 0)


if __name__ == "__main__":
    main()
