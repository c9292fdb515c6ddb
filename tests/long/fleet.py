"""Worker processes of one journal, and what became of their jobs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

import attrs
from support.dynamodb import TABLE_NAME, create_table, dynalite, dynalite_client
from support.worker_service import ACTION_TYPE, CLIENT_ID, CUSTOM_TYPE

from cp_thirdparty.testing import Action, Job, LocalCodePipeline, RequestRecord
from cp_thirdparty.worker import DynamoDBJournal, JournalEntry, JournalState, SqliteJournal

FINAL = ("Succeeded", "Failed")

KINDS = ("third-party", "custom")

# Seconds without a new claim and without a new result after which a run stops waiting.  A worker looks for the jobs of
# ended workers every 30 seconds, and pauses for at most 30 seconds before it retries a call.
PATIENCE = 120.0

# The file with the log of all workers of a run.
LOG = "workers.log"

_TESTS = str(Path(__file__).parents[1])

# The variable by which all processes of one run are found, those included that others have started.
_RUN = "CP_THIRDPARTY_RUN"


def start_child(service: LocalCodePipeline, journal: Path, *settings: str) -> subprocess.Popen[bytes]:
    """Start a worker process of the service, in a group of its own."""
    url = journal.with_suffix(".url")
    settings = (*settings, f"dynamodb={url.read_text(encoding='utf-8')}") if url.exists() else settings
    environment = {**os.environ, **service.environment(), "PYTHONPATH": _TESTS, _RUN: str(journal.parent)}
    with (journal.parent / LOG).open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "support.worker_child", journal, *settings],
            env=environment,
            stderr=log,
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


def end(child: subprocess.Popen[bytes], patience: float = PATIENCE) -> int:
    """Let a worker drain, and return its exit code."""
    child.send_signal(signal.SIGTERM)
    return child.wait(patience)


def until_busy(service: LocalCodePipeline, child: subprocess.Popen[bytes]) -> None:
    """Wait until a new worker has asked for something: its start takes longer than its work."""
    before = _last_request(service)
    gives_up_at = time.monotonic() + PATIENCE
    while _last_request(service) is before and child.poll() is None and time.monotonic() < gives_up_at:
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


Place = Literal["uncertain", "queued", "held", "lost"]
"""
Where a job without a result is.

``"uncertain"``: the journal has its ownership as unknown, which the worker reports.  ``"queued"``: CodePipeline offers
it, and no worker has claimed it.  ``"held"``: a running worker has it in the journal.  ``"lost"``: it was claimed or
acknowledged, and no running worker has it.
"""


def find_place(job: Job, entry: JournalEntry | None) -> Place:
    """Return where a job without a result is, from its state in CodePipeline and its entry in the journal."""
    if entry is None or entry.state is JournalState.DONE:
        return "queued" if job.is_unclaimed else "lost"
    if entry.state is JournalState.UNCERTAIN:
        return "uncertain"
    return "held" if entry.is_owner_alive else "lost"


@attrs.frozen(kw_only=True)
class Seen:
    """
    What became of all jobs.

    Attributes:
        succeeded: How many have succeeded.

        failed: How many have failed.

        uncertain: How many have no result, and their ownership is unknown.

        accepted_twice: Ids of the jobs with more than one accepted result.

        lost: Ids of the jobs that were claimed, and have no result.

        queued: Ids of the jobs that were not claimed.
    """

    succeeded: int
    failed: int
    uncertain: int
    accepted_twice: tuple[str, ...]
    lost: tuple[str, ...]
    queued: tuple[str, ...] = ()

    @property
    def is_right(self) -> bool:
        """Whether no job has two results, and no job is open whose ownership is known."""
        return not (self.accepted_twice or self.lost or self.queued)


def look(service: LocalCodePipeline, actions: Sequence[Action], journal: Path) -> Seen:
    """Compare what the service accepted with what the journal has."""
    accepted = count_accepted(service.requests)
    entries = find_entries(journal, unfinished_only=True)
    places: dict[Place, list[str]] = {"uncertain": [], "queued": [], "held": [], "lost": []}
    for job in find_open_jobs(actions):
        places[find_place(job, entries.get(job.id))].append(job.id)
    return Seen(
        succeeded=sum(action.status == "Succeeded" for action in actions),
        failed=sum(action.status == "Failed" for action in actions),
        uncertain=len(places["uncertain"]),
        accepted_twice=tuple(job_id for job_id, count in accepted.items() if count > 1),
        lost=tuple(sorted(places["lost"] + places["held"])),
        queued=tuple(sorted(places["queued"])),
    )


def count_accepted(records: Sequence[RequestRecord]) -> Counter[str]:
    """Return how many results the service accepted, by job id."""
    return Counter(
        record.parameters["jobId"]
        for record in records
        if record.accepted and record.parameters is not None and str(record.operation_name).startswith("Put")
    )


def find_open_jobs(actions: Iterable[Action]) -> list[Job]:
    """Return the jobs without a result."""
    return [action.jobs[-1] for action in actions if action.status not in FINAL]


def find_open(actions: Iterable[Action]) -> set[str]:
    """Return the ids of the jobs without a result."""
    return {job.id for job in find_open_jobs(actions)}


def find_entries(journal: Path, *, unfinished_only: bool = False) -> dict[str, JournalEntry]:
    """Return the entries of the journal by the ids of their jobs."""
    url = journal.with_suffix(".url")  # of a table in place of the file
    book = (
        DynamoDBJournal(TABLE_NAME, client=dynalite_client(url.read_text(encoding="utf-8")))
        if url.exists()
        else SqliteJournal(journal)
    )
    try:
        return {entry.job.job_id: entry for entry in book.jobs(unfinished_only=unfinished_only)}
    finally:
        book.close()


def find_unfinished(journal: Path) -> dict[str, JournalState]:
    """Return the state of each job that the journal does not have as finished."""
    return {job_id: entry.state for job_id, entry in find_entries(journal, unfinished_only=True).items()}


def find_uncertain(journal: Path) -> set[str]:
    """Return the ids of the jobs whose ownership the journal has as unknown."""
    return {job_id for job_id, state in find_unfinished(journal).items() if state is JournalState.UNCERTAIN}


def wait_for_end(
    actions: Sequence[Action], journal: Path, is_alive: Callable[[], bool], patience: float = PATIENCE
) -> float:
    """
    Wait until each action has its result or its job is uncertain.

    A slow machine makes progress: it claims jobs and reports results.  So the wait has no limit as long as there is
    progress.

    Args:
        actions: The actions.
        journal: The journal of the workers.
        is_alive: Returns whether a worker is left; without one, the wait ends.
        patience: Seconds without a new claim and without a new result after which the wait ends.

    Returns:
        The longest time without progress, in seconds.
    """
    rest = list(actions)
    longest, before, since = 0.0, (-1, -1, -1), time.monotonic()
    while is_alive():
        rest = [action for action in rest if action.status not in FINAL]  # only these are read again
        open_jobs = [action.jobs[-1] for action in rest]
        uncertain = find_uncertain(journal)
        if {job.id for job in open_jobs} <= uncertain:
            break
        progress = (len(rest), sum(job.is_unclaimed for job in open_jobs), len(uncertain))
        if progress != before:
            before, since = progress, time.monotonic()
        longest = max(longest, time.monotonic() - since)
        if longest > patience:
            break
        time.sleep(0.1)
    return longest


def settle(service: LocalCodePipeline, journal: Path, *settings: str, patience: float = PATIENCE) -> int:
    """
    Let one more worker finish what is left; return its exit code.

    The code reports jobs of unknown ownership, which only CodePipeline or an operator can end.
    """
    child = start_child(service, journal, *settings)
    until_busy(service, child)
    wait_until_none(lambda: len(set(find_unfinished(journal)) - find_uncertain(journal)), patience)
    return end(child)


def wait_until_none(count: Callable[[], int], patience: float = PATIENCE) -> None:
    """Wait until a count is 0, or has not changed for so many seconds."""
    before, changed_at = -1, 0.0
    while rest := count():
        if rest != before:
            before, changed_at = rest, time.monotonic()
        if time.monotonic() - changed_at > patience:
            return
        time.sleep(0.1)
