"""Workers whose journal is a table of DynamoDB: what a job costs, how many share it, and how fast one takes over."""

from __future__ import annotations

import signal
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import attrs
from support.dynamodb import TABLE_NAME, create_table, dynalite, dynalite_client
from support.journals import SCOPE
from support.worker_service import ACTION_TYPE, CLIENT_ID, CLIENT_TOKEN

from cp_thirdparty import ExecutionDetails, Succeeded, ThirdPartyJob
from cp_thirdparty.testing import LocalCodePipeline
from cp_thirdparty.worker import DynamoDBJournal, Journal, JournalState, SqliteJournal
from long import fleet


@attrs.define
class _Counting:
    """A client that adds up the write units that the table reports."""

    client: Any
    units: float = 0.0

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.client, name)
        if name not in ("put_item", "delete_item"):
            return method

        def call(**request: Any) -> Any:
            response = method(**request, ReturnConsumedCapacity="TOTAL")
            self.units += response["ConsumedCapacity"]["CapacityUnits"]
            return response

        return call


def count_units(url: str) -> float:
    """Return the write units of one job with a short result."""
    counting = _Counting(dynalite_client(url))
    create_table(counting.client, "units")
    with closing(DynamoDBJournal("units", client=counting)) as journal:
        journal.recover(SCOPE)
        counting.units = 0.0
        _work(journal, "job-1")
        return counting.units


def _work(journal: Journal, job_id: str) -> None:
    """Take a job through the states of a worker."""
    journal.claim(ThirdPartyJob(client_id="client-1", job_id=job_id), SCOPE)
    journal.running(job_id)
    journal.result(job_id, Succeeded(execution_details=ExecutionDetails(summary="done")))
    if isinstance(journal, DynamoDBJournal):
        journal.hold(job_id)
    journal.finish(job_id, "reported")


def measure_throughput(directory: Path, *, jobs: int, threads: int) -> dict[str, float]:
    """Return the jobs per second of both journals alone, and the write units of a job."""
    with dynalite() as url:
        client = dynalite_client(url)
        create_table(client)
        found: dict[str, float] = {"write units of a job": count_units(url)}
        for name, journal in (
            ("SqliteJournal", SqliteJournal(directory / "jobs.db")),
            ("DynamoDBJournal on dynalite", DynamoDBJournal(TABLE_NAME, client=client)),
        ):
            with closing(journal), ThreadPoolExecutor(threads) as pool:
                began_at = time.monotonic()
                list(pool.map(lambda number, journal=journal: _work(journal, f"job-{number}"), range(jobs)))
                found[f"{name}, jobs/s"] = round(jobs / (time.monotonic() - began_at), 1)
        return found


@contextmanager
def _service(directory: Path, jobs: int) -> Generator[tuple[LocalCodePipeline, Path], None, None]:
    journal = directory / "jobs"
    with dynalite() as url, LocalCodePipeline(redelivery_delay=0.5, journal_size=jobs * 200) as service:
        create_table(dynalite_client(url))
        journal.with_suffix(".url").write_text(url, encoding="utf-8")
        service.register_client(CLIENT_ID, CLIENT_TOKEN)
        yield service, journal


def share(*, jobs: int, workers: int, directory: Path) -> tuple[fleet.Seen, float]:
    """Let several processes with one table work on one action type; return also the seconds."""
    with _service(directory, jobs) as (service, journal):
        children = [fleet.start_child(service, journal, "concurrency=8", "takeover=60") for _ in range(workers)]
        for child in children:
            fleet.until_busy(service, child)
        began_at = time.monotonic()
        actions = [service.start_action(ACTION_TYPE, client_id=CLIENT_ID) for _ in range(jobs)]
        fleet.wait_for_end(actions, journal, lambda: True)
        seconds = time.monotonic() - began_at
        codes = [fleet.end(child) for child in children]
        assert codes == [0] * workers, codes
        return fleet.look(service, actions, journal), seconds


def take_over(*, takeover_seconds: float, directory: Path) -> float:
    """Kill a worker in the middle of a job; return the seconds until another one has recorded that it runs it."""
    begun = directory / "begun.txt"
    begun.touch()
    settings = (f"takeover={takeover_seconds}", f"begun={begun}", "handler=hang", "idempotent=yes")
    with _service(directory, 1) as (service, journal):
        other = fleet.start_child(service, journal, "name=other", *settings)
        fleet.until_busy(service, other)
        other.send_signal(signal.SIGSTOP)  # the first worker gets the job
        first = fleet.start_child(service, journal, "name=first", *settings)
        action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
        gives_up_at = time.monotonic() + 60
        while fleet.find_unfinished(journal).get(action.jobs[-1].id) is not JournalState.RUNNING:
            assert time.monotonic() < gives_up_at
            time.sleep(0.05)
        other.send_signal(signal.SIGCONT)
        time.sleep(takeover_seconds)  # the other worker sees that the first one is alive
        first.kill()
        died_at = time.time()
        first.wait()
        while " other " not in begun.read_text(encoding="utf-8"):
            assert time.monotonic() < gives_up_at + 2 * takeover_seconds
            time.sleep(0.05)
        line = next(line for line in begun.read_text(encoding="utf-8").splitlines() if " other " in line)
        (directory / "release").touch()
        fleet.wait_for_end([action], journal, lambda: True)
        assert (fleet.end(other), action.status) == (0, "Succeeded")
        return float(line.split()[-1]) - died_at
