"""
Shows what limits a client of the local CodePipeline: 1,000 jobs by 32 threads, and what the pytest plugin costs.

``python tests/benchmarks/local_service.py`` runs everything; ``--short`` does so with a tenth of the jobs.  The
baseline is the same server that answers each request with the same bytes and looks at nothing.  The service runs in a
process of its own, as its clients do elsewhere.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from multiprocessing.connection import Connection
from typing import Any
from unittest.mock import patch

import botocore.session
from botocore.config import Config

from cp_thirdparty.testing import LocalCodePipeline, samples
from cp_thirdparty.testing.exchange import Exchange
from cp_thirdparty.testing.wire import Answer, HttpRequest, ok

_THREADS = 32
_TOKEN = "token"
_TYPE = samples.action_type_id()
_DETAILS = ok(
    {"jobDetails": {"id": "1", "nonce": "1", "data": {"actionConfiguration": {"configuration": {"Key": "value" * 20}}}}}
)


def main() -> None:
    """Run all benchmarks and print their tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="a tenth of the jobs")
    short = parser.parse_args().short
    calls_per_second(100 if short else 1000, rounds=1 if short else 3)
    plugin(5 if short else 40)


def calls_per_second(jobs: int, rounds: int) -> None:
    """Calls of botocore's client for details; beside the same client and server without the service in it."""
    rates: dict[str, list[float]] = {"bytes": [], "service": []}
    for _ in range(rounds):
        for name, found in rates.items():
            found.append(_rate(jobs, answers_bytes=name == "bytes"))
    static, service = (statistics.median(found) for found in rates.values())
    print(f"\n{jobs} jobs by {_THREADS} threads: details, calls/s")
    print(f"  the same bytes each time  {static:8.0f}")
    print(f"  the local CodePipeline    {service:8.0f}   {service / static:.2f} x")


def _rate(jobs: int, *, answers_bytes: bool) -> float:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, jobs, answers_bytes), daemon=True)
    process.start()
    url, access_key_id, secret, job_ids = ours.recv()
    session = botocore.session.Session()
    session.set_credentials(access_key_id, secret)
    config = Config(proxies={}, max_pool_connections=_THREADS)
    client: Any = session.create_client("codepipeline", region_name="us-east-1", endpoint_url=url, config=config)

    def read(job_id: str) -> None:
        client.get_third_party_job_details(jobId=job_id, clientToken=_TOKEN)

    with closing(client), ThreadPoolExecutor(_THREADS) as threads:
        list(threads.map(read, job_ids[:_THREADS]))  # open the connections
        begin = time.perf_counter()
        list(threads.map(read, job_ids))  # raises the error of a call
        seconds = time.perf_counter() - begin
    ours.send(None)
    process.join()
    return jobs / seconds


def _serve(pipe: Connection, jobs: int, answers_bytes: bool) -> None:  # noqa: FBT001 - goes to another process
    with LocalCodePipeline() as service:
        service.register_client("client-1", _TOKEN)
        actions = [
            service.start_action(_TYPE, client_id="client-1", configuration={"Key": "value" * 20}) for _ in range(jobs)
        ]
        job_ids = [action.jobs[0].id for action in actions]
        secret = service.secret_access_key.get_secret_value()
        with patch.object(Exchange, "answer", _same_bytes if answers_bytes else Exchange.answer):
            pipe.send((service.endpoint_url, service.access_key_id, secret, job_ids))
            pipe.recv()


def _same_bytes(_exchange: Any, _request: HttpRequest) -> Answer:
    return _DETAILS


def plugin(rounds: int) -> None:
    """Time that the plugin adds to the start of pytest; at most 30 ms are wanted."""
    seconds: dict[str, list[float]] = {"import pytest": [], "import pytest, cp_thirdparty.testing.plugin": []}
    for _ in range(rounds):
        for code, found in seconds.items():
            begin = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True)
            found.append(time.perf_counter() - begin)
    without, with_plugin = (statistics.median(found) * 1000 for found in seconds.values())
    print("\nstart of pytest, milliseconds")
    print(f"  without the plugin        {without:8.1f}")
    print(f"  with the plugin           {with_plugin:8.1f}   {with_plugin - without:+.1f} ms")


if __name__ == "__main__":
    main()
