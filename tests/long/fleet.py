"""Worker processes of one journal, and what became of their jobs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import attrs
from support.dynamodb import TABLE_NAME, create_table, dynalite, dynalite_client
from support.worker_service import ACTION_TYPE, CLIENT_ID, CUSTOM_TYPE

from cp_thirdparty.testing import Action, LocalCodePipeline, RequestRecord
from cp_thirdparty.worker import DynamoDBJournal, JournalState, SqliteJournal

FINAL = ("Succeeded", "Failed")

KINDS = ("third-party", "custom")

_TESTS = str(Path(__file__).parents[1])

# The variable by which all processes of one run are found, those included that others have started.
_RUN = "CP_THIRDPARTY_RUN"


def start_child(service: LocalCodePipeline, journal: Path, *settings: str) -> subprocess.Popen[bytes]:
    """Start a worker process of the service, in a group of its own."""
    url = journal.with_suffix(".url")
    settings = (*settings, f"dynamodb={url.read_text(encoding='utf-8')}") if url.exists() else settings
    environment = {**os.environ, **service.environment(), "PYTHONPATH": _TESTS, _RUN: str(journal.parent)}
    return subprocess.Popen(
        [sys.executable, "-m", "support.worker_child", journal, *settings],
        env=environment,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def start_action(service: LocalCodePipeline, kind: str) -> Action:
    """Start an action whose jobs are of this kind."""
    if kind == "custom":
        return service.start_action(CUSTOM_TYPE)
    return service.start_action(ACTION_TYPE, client_id=CLIENT_ID)


@contextmanager
def open_database(name: str, journal: Path) -> Generator[None, None, None]:
    """Start dynalite for a journal in a table, and leave its URL for the workers."""
    if name == "sqlite":
        yield
        return
    with dynalite() as url:
        create_table(dynalite_client(url))
        journal.with_suffix(".url").write_text(url, encoding="utf-8")
        yield


def send(child: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Send a signal to the group of a worker, as a terminal, `timeout` or a service manager does."""
    with suppress(ProcessLookupError):
        os.killpg(child.pid, number)


def end(child: subprocess.Popen[bytes], patience: float = 60) -> int:
    """Let a worker drain, and return its exit code."""
    child.send_signal(signal.SIGTERM)
    return child.wait(patience)


def until_busy(service: LocalCodePipeline, child: subprocess.Popen[bytes]) -> None:
    """Wait until a new worker has asked for something: its start takes longer than its work."""
    before = _last_request(service)
    while _last_request(service) is before and child.poll() is None:
        time.sleep(0.002)


def _last_request(service: LocalCodePipeline) -> RequestRecord | None:
    requests = service.requests
    return requests[-1] if requests else None


def is_of_run(process_id: int, directory: Path) -> bool:
    """Return whether a process is one of a run's workers, or was started by one of them."""
    try:
        variables = Path(f"/proc/{process_id}/environ").read_bytes().split(b"\0")
    except OSError:
        return False
    return f"{_RUN}={directory}".encode() in variables


def find_processes(directory: Path, patience: float = 30) -> tuple[int, ...]:
    """Return the processes of a run that are left; wait until there are none."""
    gives_up_at = time.monotonic() + patience
    while True:
        numbers = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
        left = tuple(number for number in numbers if is_of_run(number, directory))
        if not left or time.monotonic() > gives_up_at:
            return left
        time.sleep(0.1)


@attrs.frozen(kw_only=True)
class Seen:
    """What became of all jobs."""

    succeeded: int
    failed: int
    uncertain: int
    accepted_twice: tuple[str, ...]
    lost: tuple[str, ...]


def look(service: LocalCodePipeline, actions: Sequence[Action], journal: Path) -> Seen:
    """Compare what the service accepted with what the journal has."""
    uncertain = find_uncertain(journal)
    accepted = count_accepted(service.requests)
    open_jobs = find_open(actions)
    return Seen(
        succeeded=sum(action.status == "Succeeded" for action in actions),
        failed=sum(action.status == "Failed" for action in actions),
        uncertain=len(open_jobs & uncertain),
        accepted_twice=tuple(job_id for job_id, count in accepted.items() if count > 1),
        lost=tuple(sorted(open_jobs - uncertain)),
    )


def count_accepted(records: Sequence[RequestRecord]) -> Counter[str]:
    """Return how many results the service accepted, by job id."""
    return Counter(
        record.parameters["jobId"]
        for record in records
        if record.accepted and record.parameters is not None and str(record.operation_name).startswith("Put")
    )


def find_open(actions: Sequence[Action]) -> set[str]:
    """Return the ids of the jobs without a result."""
    return {action.jobs[-1].id for action in actions if action.status not in FINAL}


def find_unfinished(journal: Path) -> dict[str, JournalState]:
    """Return the state of each job that the journal does not have as finished."""
    url = journal.with_suffix(".url")  # of a table in place of the file
    book = (
        DynamoDBJournal(TABLE_NAME, client=dynalite_client(url.read_text(encoding="utf-8")))
        if url.exists()
        else SqliteJournal(journal)
    )
    try:
        return {entry.job.job_id: entry.state for entry in book.jobs(unfinished_only=True)}
    finally:
        book.close()


def find_uncertain(journal: Path) -> set[str]:
    """Return the ids of the jobs whose ownership the journal has as unknown."""
    return {job_id for job_id, state in find_unfinished(journal).items() if state is JournalState.UNCERTAIN}


def wait_for_end(actions: Sequence[Action], journal: Path, is_alive: Callable[[], bool], patience: float) -> None:
    """Wait until each action has its result or its job is uncertain."""
    gives_up_at = time.monotonic() + patience
    while time.monotonic() < gives_up_at and is_alive():
        open_jobs = find_open(actions)
        if not open_jobs or open_jobs <= find_uncertain(journal):
            return
        time.sleep(0.1)


def settle(service: LocalCodePipeline, journal: Path, *settings: str) -> int:
    """
    Let one more worker finish what is left; return its exit code.

    The code reports jobs of unknown ownership, which only CodePipeline or an operator can end.
    """
    child = start_child(service, journal, *settings)
    until_busy(service, child)
    gives_up_at = time.monotonic() + 60
    while set(find_unfinished(journal)) - find_uncertain(journal) and time.monotonic() < gives_up_at:
        time.sleep(0.1)
    return end(child)
