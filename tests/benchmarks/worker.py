"""
What the worker costs: beside a loop without any safety, when it idles, and what its journal costs.

``python tests/benchmarks/worker.py`` runs everything in some minutes; ``--short`` runs a little of each.  A server that
answers from constants, in a process of its own, stands for the service: the local CodePipeline would be the limit.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sqlite3
import statistics
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from constant_service import CREDENTIALS, Server
from distributed import Client, LocalCluster

from cp_thirdparty import ActionTypeId, Job, JobWorker, Succeeded, ThirdPartyJob, ThirdPartyJobClient
from cp_thirdparty.worker import Journal, MemoryJournal, SqliteJournal

_ACTION_TYPE = ActionTypeId(category="Test", owner="ThirdParty", provider="ExampleScan", version="1")


# --- throughput


def _by_hand(server: Server, jobs: int, threads: int) -> None:
    """Poll, read, acknowledge and put with botocore, and hope."""
    client = server.raw(threads)
    free = threading.Semaphore(threads)

    def work(job: dict[str, str]) -> None:
        details = client.get_third_party_job_details(jobId=job["jobId"], clientToken="t")["jobDetails"]
        status = client.acknowledge_third_party_job(jobId=job["jobId"], nonce=details["nonce"], clientToken="t")
        if status["status"] == "InProgress":
            client.put_third_party_job_success_result(jobId=job["jobId"], clientToken="t")
        free.release()

    action_type_id = {"category": "Test", "owner": "ThirdParty", "provider": "ExampleScan", "version": "1"}
    with ThreadPoolExecutor(threads) as pool:
        begun = 0
        while begun < jobs:
            free.acquire()
            batch = 1
            while free.acquire(blocking=False):
                batch += 1
            found = client.poll_for_third_party_jobs(actionTypeId=action_type_id, maxBatchSize=batch)["jobs"]
            for _ in range(batch - len(found)):
                free.release()
            for job in found:
                pool.submit(work, job)
            begun += len(found)
    client.close()


def _by_worker(server: Server, jobs: int, threads: int, journal: Callable[[], Journal]) -> None:
    opened = journal()
    done = threading.Semaphore(0)
    worker = JobWorker(
        partial(server.client, threads),
        _ACTION_TYPE,
        lambda _: Succeeded(),
        client_tokens=lambda _: "t",
        concurrency=threads,
        journal=opened,
        on_event=lambda event: done.release() if event.name == "reported" else None,
    )
    thread = threading.Thread(target=worker.run)
    thread.start()
    for _ in range(jobs):
        done.acquire()
    worker.stop()
    thread.join()
    opened.close()


def throughput(server: Server, *, jobs: int, rounds: int, threads: int) -> None:
    """Jobs a second with a handler that does nothing; at least 0.9 x the loop by hand is wanted."""
    with tempfile.TemporaryDirectory() as directory:
        numbers = iter(range(1000))
        candidates: dict[str, Callable[[], None]] = {
            "by hand, no safety": lambda: _by_hand(server, jobs, threads),
            "worker, journal in memory": lambda: _by_worker(server, jobs, threads, MemoryJournal),
            "worker, journal in SQLite": lambda: _by_worker(
                server, jobs, threads, lambda: SqliteJournal(Path(directory) / f"{next(numbers)}.db")
            ),
        }
        seconds: dict[str, list[float]] = {name: [] for name in candidates}
        for _ in range(rounds):
            for name, run in candidates.items():
                server.offer(jobs)
                begin = time.perf_counter()
                run()
                seconds[name].append(time.perf_counter() - begin)
    base = statistics.median(seconds["by hand, no safety"])
    print(f"\nthroughput, jobs a second, {threads} threads, {jobs} jobs, median of {rounds}")
    for name, taken in seconds.items():
        median = statistics.median(taken)
        print(f"  {name:28} {jobs / median:8.0f}  {base / median:5.2f} x")


# --- processes


def compute(_job: Job[Any]) -> Succeeded:
    """Keep a processor busy for 50 ms."""
    ends_at = time.process_time() + 0.05
    while time.process_time() < ends_at:
        pass
    return Succeeded()


def nothing(_job: Job[Any]) -> Succeeded:
    """Do nothing."""
    return Succeeded()


def no_secret(_client_id: str) -> str:
    """Tell the token of any client."""
    return "t"


def _elsewhere(server: Server, jobs: int, handler: Any, executor: Callable[[], Executor] | None) -> float:
    """Tell the seconds that so many jobs take, from the first one's report: processes take their time to start."""
    done = threading.Semaphore(0)
    connect = partial(ThirdPartyJobClient.create, region_name="us-east-1", endpoint_url=server.endpoint_url)
    worker = JobWorker(
        connect,
        _ACTION_TYPE,
        handler,
        client_tokens=no_secret,
        concurrency=4,
        executor=executor,
        on_event=lambda event: done.release() if event.name == "reported" else None,
    )
    server.offer(jobs + 8)
    thread = threading.Thread(target=worker.run)
    thread.start()
    for _ in range(8):
        done.acquire()
    begin = time.perf_counter()
    for _ in range(jobs):
        done.acquire()
    seconds = time.perf_counter() - begin
    worker.stop()
    thread.join()
    return seconds


def processes(server: Server, *, jobs: int, rounds: int) -> None:
    """Jobs a second of one and of two processes that compute; 1.7 x is wanted.  And what Dask costs a job."""
    os.environ.update(AWS_ACCESS_KEY_ID=CREDENTIALS[0], AWS_SECRET_ACCESS_KEY=CREDENTIALS[1], NO_PROXY="127.0.0.1")
    pools = {
        count: partial(ProcessPoolExecutor, max_workers=count, mp_context=multiprocessing.get_context("spawn"))
        for count in (1, 2)
    }
    taken: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(rounds):
        for count, pool in pools.items():
            taken[count].append(_elsewhere(server, jobs, compute, pool))
    one, two = (statistics.median(taken[count]) for count in (1, 2))
    print(f"\nhandlers of 50 ms: {jobs / one:.1f} jobs/s in one process, {jobs / two:.1f} in two: {one / two:.2f} x")
    with (
        LocalCluster(n_workers=1, threads_per_worker=4, host="127.0.0.1", dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster) as client,
    ):
        executors: dict[str, Callable[[], Executor] | None] = {
            "threads": None,
            "process pool": pools[1],
            "Dask": client.get_executor,
        }
        costs: dict[str, list[float]] = {name: [] for name in executors}
        for _ in range(rounds):
            for name, executor in executors.items():
                costs[name].append(_elsewhere(server, jobs * 4, nothing, executor) / jobs / 4)
    print("a job with a handler that does nothing, ms, four at a time")
    for name, seconds in costs.items():
        print(f"  {name:14} {statistics.median(seconds) * 1000:6.2f}")


# --- idling


def idling(server: Server, seconds: float) -> None:
    """Processor time of a worker that finds nothing, at the default interval; under 0.5 % of a core is wanted."""
    server.offer(0)
    worker = JobWorker(partial(server.client, 10), _ACTION_TYPE, lambda _: Succeeded(), client_tokens={})
    thread = threading.Thread(target=worker.run)
    thread.start()
    time.sleep(2)  # the first poll makes connections
    cpu, begin = time.process_time(), time.perf_counter()
    time.sleep(seconds)
    cpu, elapsed = time.process_time() - cpu, time.perf_counter() - begin
    worker.stop()
    thread.join()
    print(f"\nidle worker: {cpu / elapsed:.2%} of a core over {elapsed:.0f} s")


# --- the journal


def _past(path: Path, jobs: int) -> None:
    """Make a journal with so many finished jobs."""
    SqliteJournal(path).close()
    connection = sqlite3.connect(path)
    rows = ((str(uuid.uuid4()), str(uuid.uuid4())) for _ in range(jobs))
    with connection:
        connection.executemany(
            "INSERT INTO jobs (job_id, client_id, state, outcome, owner, changed_at)"
            " VALUES (?, ?, 'DONE', 'reported', 'past', 0)",
            rows,
        )
    connection.close()


def journals(sizes: tuple[int, ...], rounds: int) -> None:
    """Cost of one job's four steps, and of the recovery at a start, with so many past jobs."""
    print("\njournal in SQLite                past jobs   file, MB   a job, ms   recovery, ms")
    for size in sizes:
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "j.db"
            _past(path, size)
            journal = SqliteJournal(path)
            steps, recoveries = [], []
            for _ in range(rounds):
                job = ThirdPartyJob(client_id=str(uuid.uuid4()), job_id=str(uuid.uuid4()))
                begin = time.perf_counter()
                journal.claim(job)
                journal.running(job.job_id)
                journal.result(job.job_id, Succeeded())
                journal.finish(job.job_id, "reported")
                steps.append(time.perf_counter() - begin)
                begin = time.perf_counter()
                journal.recover()
                recoveries.append(time.perf_counter() - begin)
            journal.close()
            megabytes = path.stat().st_size / 1e6
        step, recovery = statistics.median(steps) * 1000, statistics.median(recoveries) * 1000
        print(f"{'':30} {size:11,} {megabytes:10.1f} {step:11.2f} {recovery:14.2f}")


def main() -> None:
    """Run all and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="a little of each")
    short = parser.parse_args().short
    print(f"Python {sys.version.split()[0]}, {os.cpu_count()} processors")
    server = Server()
    throughput(server, jobs=200 if short else 2000, rounds=1 if short else 5, threads=8)
    processes(server, jobs=20 if short else 100, rounds=1 if short else 3)
    idling(server, 5 if short else 60)
    journals((1_000,) if short else (10_000, 100_000, 1_000_000), 10 if short else 200)
    server.close()


if __name__ == "__main__":
    main()
