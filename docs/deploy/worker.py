"""
A worker for a container or a service, with settings from the environment.

``EXAMPLE_PROVIDERS`` has the providers of its action types, ``EXAMPLE_REGIONS`` their regions, both with commas between
them.  ``EXAMPLE_TABLE`` is the table of the journal, or ``EXAMPLE_FILE`` its file.  ``EXAMPLE_HOST`` and
``EXAMPLE_PORT`` are where probes and Prometheus reach it.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial
from itertools import product
from typing import Any

from prometheus_client import REGISTRY

from cp_thirdparty import ActionTypeId, Job, JobWorker, Succeeded, ThirdPartyJobClient
from cp_thirdparty.models import ActionConfiguration
from cp_thirdparty.observability import HealthServer, prometheus_metrics
from cp_thirdparty.worker import DynamoDBJournal, EnvironmentTokens, Journal, SqliteJournal, WorkerHealth

LOG = logging.getLogger("example_scan")


def handle(job: Job[ActionConfiguration | None]) -> Succeeded:
    """Do the work of one job: here, wait until the worker stops or some seconds are over."""
    ends_at = time.monotonic() + float(os.environ.get("EXAMPLE_SECONDS", "1"))
    while time.monotonic() < ends_at and not job.cancelled:
        time.sleep(0.05)
    return Succeeded()


class JsonFormatter(logging.Formatter):
    """One JSON document on a line for each record, with the fields by which records of a job are joined."""

    FIELDS = ("job_id", "client_id", "pipeline", "action_execution_id", "failure_type", "worker_state")

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        fields = {name: getattr(record, name, None) for name in self.FIELDS}
        document = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **{name: str(value) for name, value in fields.items() if value is not None},
        }
        if record.exc_info:
            document["exception"] = self.formatException(record.exc_info)
        return json.dumps(document)


def open_journal() -> Journal:
    """Open the journal of one worker."""
    table_name = os.environ.get("EXAMPLE_TABLE")
    return SqliteJournal(os.environ["EXAMPLE_FILE"]) if table_name is None else DynamoDBJournal(table_name)


def create_workers(stack: contextlib.ExitStack) -> dict[str, JobWorker[Any]]:
    """Return the worker of each region and action type by its name; the stack closes their journals."""
    metrics = prometheus_metrics(REGISTRY)
    providers = os.environ.get("EXAMPLE_PROVIDERS", "ExampleScan").split(",")
    regions = os.environ["EXAMPLE_REGIONS"].split(",")
    workers: dict[str, JobWorker[Any]] = {}
    for region_name, provider in product(regions, providers):
        journal = stack.enter_context(contextlib.closing(open_journal()))
        connect = partial(ThirdPartyJobClient.create, region_name=region_name, on_call=metrics.on_call)
        action_type_id = ActionTypeId(category="Test", owner="ThirdParty", provider=provider, version="1")
        tokens = EnvironmentTokens()
        workers[f"{provider} in {region_name}"] = JobWorker(
            connect, action_type_id, handle, client_tokens=tokens, journal=journal, metrics=metrics, grace=20.0
        )
    return workers


def least(workers: Iterable[JobWorker[Any]]) -> WorkerHealth:
    """Return the health of the first worker that is not alive or not ready."""
    healths = [worker.health() for worker in workers]
    return min(healths, key=lambda health: (health.is_alive, health.is_ready))


def serve_probes(workers: Iterable[JobWorker[Any]]) -> HealthServer:
    """Start the server of probes and metrics."""
    host, port = os.environ.get("EXAMPLE_HOST", "127.0.0.1"), int(os.environ.get("EXAMPLE_PORT", "8080"))
    try:
        return HealthServer(lambda: least(workers), registry=REGISTRY, host=host, port=port)
    except OSError as error:
        raise RuntimeError(f"{host}:{port} cannot be used for probes: {error}") from None


def run(name: str, worker: JobWorker[Any]) -> bool:
    """Run one worker until it is stopped; log the error if it ends with one."""
    try:
        return worker.run()
    except BaseException as error:
        LOG.exception("the worker of %s has ended with %s; all workers stop", name, type(error).__name__)
        raise


def run_all(workers: dict[str, JobWorker[Any]]) -> bool:
    """
    Run workers until SIGTERM, or until one of them ends with an error.

    The process does not continue with the other workers, because its supervisor would not start it again then.

    Returns:
        Whether all workers have ended clean.
    """
    signals: list[int] = []
    has_failed = threading.Event()

    def stop() -> None:
        for worker in workers.values():
            worker.stop()

    def handle_signal(number: int, _frame: object) -> None:
        signals.append(number)
        if not has_failed.is_set() or len(signals) > 1:  # a second stop ends the grace at once
            stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handle_signal)
    with ThreadPoolExecutor(len(workers)) as pool:
        runs = [pool.submit(run, *entry) for entry in workers.items()]
        while wait(runs, timeout=0.5).not_done:  # a signal handler runs in between
            if any(each.done() for each in runs) and not signals and not has_failed.is_set():
                has_failed.set()
                stop()
    return all(each.exception() is None and each.result() for each in runs)


def main() -> int:
    """Run a worker for each region and action type; return the exit code."""
    stream = logging.StreamHandler(sys.stdout)
    stream.setFormatter(JsonFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[stream])
    try:
        with contextlib.ExitStack() as stack:
            workers = create_workers(stack)
            # Before the workers run: if the port is in use, no job was claimed.
            stack.enter_context(serve_probes(workers.values()))
            return 0 if run_all(workers) else 1
    except Exception as error:
        LOG.critical("the program ends with %s: %s", type(error).__name__, error, exc_info=True)
        return 1


if __name__ == "__main__":
    sys.exit(main())
