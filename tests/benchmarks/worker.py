"""
Measure the worker beside a loop without any safety, an idle worker, and the journal.

A server with constant responses, in a process of its own, stands for the service: the local CodePipeline would be the
limit.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import sqlite3
import tempfile
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from distributed import Client, LocalCluster

from benchmarks.constant_service import CREDENTIALS, Server
from benchmarks.measure import (
    FEWEST_PAIRS,
    Target,
    choose_pairs,
    judge,
    main,
    print_table,
    seconds,
    take_turns,
)
from cp_thirdparty import ActionTypeId, Job, JobWorker, Succeeded, ThirdPartyJob, ThirdPartyJobClient
from cp_thirdparty.worker import JobEvent, JobScope, Journal, MemoryJournal, SqliteJournal

_ACTION_TYPE = ActionTypeId(category="Test", owner="ThirdParty", provider="ExampleScan", version="1")


# --- throughput


def _by_hand(server: Server, jobs: int, threads: int) -> None:
    """Poll, read, acknowledge and put with botocore, and handle no error."""
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


def throughput(server: Server, *, short: bool) -> None:
    """Compare the jobs a second with a loop by hand, with a handler that does nothing."""
    jobs, threads = 200 if short else 1000, 8
    with tempfile.TemporaryDirectory() as directory:
        numbers = iter(range(1000))

        def journal_file() -> SqliteJournal:
            return SqliteJournal(Path(directory) / f"{next(numbers)}.db")

        works: dict[str, Callable[[], None]] = {
            "by hand, no safety": lambda: _by_hand(server, jobs, threads),
            "worker, journal in memory": lambda: _by_worker(server, jobs, threads, MemoryJournal),
            "worker, journal in SQLite": lambda: _by_worker(server, jobs, threads, journal_file),
        }

        def speed_of(work: Callable[[], None]) -> Callable[[], float]:
            def measure() -> float:
                server.offer(jobs)
                return jobs / seconds(work)()

            return measure

        samples = take_turns(
            {name: speed_of(work) for name, work in works.items()}, pairs=choose_pairs(30, short=short)
        )
    print_table(
        f"{jobs:,} jobs by {threads} threads, jobs a second",
        "by hand, no safety",
        samples,
        {"worker, journal in memory": Target(">=", 0.9), "worker, journal in SQLite": Target(">=", 0.75)},
        is_judged=not short,
    )


# --- many slots and customers


def many(server: Server, *, short: bool) -> None:
    """Let 500 slots do the jobs of 10,000 customers, and measure how much the memory grows with them."""
    jobs, slots = 2_000 if short else 10_000, 500
    done, sizes = itertools.count(1), []
    ended = threading.Event()

    def count(event: JobEvent) -> None:
        if event.name != "reported":
            return
        number = next(done)
        if number in (jobs // 5, jobs):  # by the first number, each slot has a thread and a connection
            sizes.append(_resident())
        if number == jobs:
            ended.set()

    server.offer(jobs)
    before, begin = _resident(), time.perf_counter()
    worker = JobWorker(
        partial(server.client, slots),
        _ACTION_TYPE,
        nothing,
        client_tokens=no_secret,
        concurrency=slots,
        on_event=count,
    )
    thread = threading.Thread(target=worker.run)
    thread.start()
    ended.wait()
    elapsed = time.perf_counter() - begin
    worker.stop()
    thread.join()
    print(f"\n{jobs:,} jobs of as many customers, {slots} slots: {jobs / elapsed:.0f} jobs a second")
    print(f"{(sizes[0] - before) / slots / 1024:.0f} KiB for each slot; from job {jobs // 5:,} to the last, ", end="")
    print(f"{(sizes[1] - sizes[0]) / (jobs - jobs // 5):.0f} bytes for each job", flush=True)
    assert server.puts() == jobs


def _resident() -> int:
    """Return the bytes of memory that this process has, on Linux."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


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
    """Return the token of any client."""
    return "t"


def _measure_jobs(server: Server, jobs: int, handler: Any, executor: Callable[[], Executor] | None) -> float:
    """Return the jobs a second after the first eight, during which the processes start."""
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
    elapsed = time.perf_counter() - begin
    worker.stop()
    thread.join()
    return jobs / elapsed


def processes(server: Server, *, short: bool) -> None:
    """Compare one process with two that compute, and the executors with handlers that do nothing."""
    os.environ.update(AWS_ACCESS_KEY_ID=CREDENTIALS[0], AWS_SECRET_ACCESS_KEY=CREDENTIALS[1], NO_PROXY="127.0.0.1")
    jobs, pairs = 20 if short else 100, choose_pairs(FEWEST_PAIRS, short=short)
    pools = {
        name: partial(ProcessPoolExecutor, max_workers=count, mp_context=multiprocessing.get_context("spawn"))
        for name, count in (("one process", 1), ("two processes", 2))
    }
    measure = partial(_measure_jobs, server)
    samples = take_turns({name: partial(measure, jobs, compute, pool) for name, pool in pools.items()}, pairs=pairs)
    targets = {"two processes": Target(">=", 1.7)}
    print_table("handlers of 50 ms, jobs a second", "one process", samples, targets, is_judged=not short)
    with (
        LocalCluster(n_workers=1, threads_per_worker=4, host="127.0.0.1", dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster) as client,
    ):
        executors: dict[str, Callable[[], Executor] | None] = {
            "threads": None,
            "process pool": pools["one process"],
            "Dask": client.get_executor,
        }
        candidates = {name: partial(measure, jobs * 4, nothing, executor) for name, executor in executors.items()}
        samples = take_turns(candidates, pairs=pairs)
    print_table("handlers that do nothing, four at a time, jobs a second", "threads", samples)


# --- idling


def idling(server: Server, *, short: bool) -> None:
    """Measure the processor time of a worker that finds no job, at the default interval."""
    server.offer(0)
    worker = JobWorker(partial(server.client, 10), _ACTION_TYPE, lambda _: Succeeded(), client_tokens={})
    thread = threading.Thread(target=worker.run)
    thread.start()
    time.sleep(2)  # the first poll opens connections

    def measure() -> float:
        cpu, begin = time.process_time(), time.perf_counter()
        time.sleep(1 if short else 15)
        return (time.process_time() - cpu) / (time.perf_counter() - begin) * 100

    samples = take_turns({"idle": measure}, pairs=choose_pairs(FEWEST_PAIRS, short=short))
    worker.stop()
    thread.join()
    judge("idle worker, % of a core", samples.estimate("idle"), "<=", 0.5, is_judged=not short)


# --- the journal


_SCOPE = JobScope(region_name="us-east-1", endpoint_url="http://127.0.0.1", action_type_id=_ACTION_TYPE)


def _create_journal(path: Path, jobs: int) -> None:
    """Create a journal with finished jobs."""
    SqliteJournal(path).close()
    connection = sqlite3.connect(path)
    rows = ((str(uuid.uuid4()), str(uuid.uuid4())) for _ in range(jobs))
    with connection:
        connection.executemany(
            "INSERT INTO entries (scope, job_id, client_id, state, outcome, changed_at)"
            " VALUES ('0123456789abcdef', ?, ?, 'DONE', 'reported', 0)",
            rows,
        )
    connection.close()


def journals(*, short: bool) -> None:
    """Measure one job's four steps, and the recovery at a start, with few and with many past jobs."""
    sizes = (1_000, 10_000) if short else (10_000, 100_000, 1_000_000)
    with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
        opened: dict[str, SqliteJournal] = {}
        for size in sizes:
            path = Path(directory) / f"{size}.db"
            _create_journal(path, size)
            name = f"{size:,} past jobs, {path.stat().st_size / 1e6:.1f} MB"
            opened[name] = SqliteJournal(path)
            stack.callback(opened[name].close)
        for title, work in (("one job, ms", _record_job), ("recovery, ms", _recover)):
            candidates = {name: partial(_milliseconds, work, journal) for name, journal in opened.items()}
            samples = take_turns(candidates, pairs=choose_pairs(200, short=short))
            print_table(f"journal in SQLite, {title}", next(iter(opened)), samples)


def _milliseconds(work: Callable[[SqliteJournal], None], journal: SqliteJournal) -> float:
    return seconds(partial(work, journal))() * 1000


def _record_job(journal: SqliteJournal) -> None:
    job = ThirdPartyJob(client_id=str(uuid.uuid4()), job_id=str(uuid.uuid4()))
    journal.claim(job, _SCOPE)
    journal.running(job.job_id)
    journal.result(job.job_id, Succeeded())
    journal.finish(job.job_id, "reported")


def _recover(journal: SqliteJournal) -> None:
    journal.recover(_SCOPE)


def run(*, short: bool) -> None:
    """Run all and print the tables."""
    server = Server()
    for benchmark in (throughput, many, processes, idling):
        benchmark(server, short=short)
    journals(short=short)
    server.close()


if __name__ == "__main__":
    main(run, __doc__)
