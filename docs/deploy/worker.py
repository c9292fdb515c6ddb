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
from functools import partial
from itertools import product
from typing import Any

from prometheus_client import REGISTRY

from cp_thirdparty import ActionTypeId, Job, JobWorker, Succeeded, ThirdPartyJobClient
from cp_thirdparty.models import ActionConfiguration
from cp_thirdparty.observability import HealthServer, prometheus_metrics
from cp_thirdparty.worker import DynamoDBJournal, EnvironmentTokens, Journal, SqliteJournal, WorkerHealth


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


def least(workers: list[JobWorker[Any]]) -> WorkerHealth:
    """Return the health of the first worker that is not alive or not ready."""
    healths = [worker.health() for worker in workers]
    return min(healths, key=lambda health: (health.is_alive, health.is_ready))


def main() -> int:
    """Run a worker for each region and action type until SIGTERM; return the exit code."""
    stream = logging.StreamHandler(sys.stdout)
    stream.setFormatter(JsonFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[stream])
    metrics = prometheus_metrics(REGISTRY)
    providers = os.environ.get("EXAMPLE_PROVIDERS", "ExampleScan").split(",")
    regions = os.environ["EXAMPLE_REGIONS"].split(",")
    workers: list[JobWorker[Any]] = []
    is_clean: list[bool] = []

    def stop(_number: int, _frame: object) -> None:
        for worker in workers:
            worker.stop()

    with contextlib.ExitStack() as stack:
        for region_name, provider in product(regions, providers):
            journal = stack.enter_context(contextlib.closing(open_journal()))
            connect = partial(ThirdPartyJobClient.create, region_name=region_name, on_call=metrics.on_call)
            action_type_id = ActionTypeId(category="Test", owner="ThirdParty", provider=provider, version="1")
            tokens = EnvironmentTokens()
            workers.append(
                JobWorker(
                    connect, action_type_id, handle, client_tokens=tokens, journal=journal, metrics=metrics, grace=20.0
                )
            )
        threads = [threading.Thread(target=lambda worker=worker: is_clean.append(worker.run())) for worker in workers]
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, stop)
        for thread in threads:
            thread.start()
        host, port = os.environ.get("EXAMPLE_HOST", "127.0.0.1"), int(os.environ.get("EXAMPLE_PORT", "8080"))
        with HealthServer(lambda: least(workers), registry=REGISTRY, host=host, port=port):
            for thread in threads:
                while thread.is_alive():
                    thread.join(0.5)  # a signal handler runs in between
    return 0 if is_clean == [True] * len(workers) else 1


if __name__ == "__main__":
    sys.exit(main())
