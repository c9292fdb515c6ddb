"""
Measure what limits a client of the local CodePipeline, and the import time that the pytest plugin adds.

The baseline is the same server without the service in it: it sends the same bytes for each request.  Both run in a
process of their own, so that the client does not share an interpreter with them.
"""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

import botocore.session
from botocore.config import Config

from benchmarks.measure import FEWEST_PAIRS, choose_pairs, judge, main, print_table, seconds, take_turns
from cp_thirdparty.testing import LocalCodePipeline, samples
from cp_thirdparty.testing._exchange import Exchange
from cp_thirdparty.testing._wire import HttpRequest, Response, ok_response

_THREADS = 32
_TOKEN = "token"
_TYPE = samples.action_type_id()
_DETAILS = ok_response(
    {"jobDetails": {"id": "1", "nonce": "1", "data": {"actionConfiguration": {"configuration": {"Key": "value" * 20}}}}}
)


def run(*, short: bool) -> None:
    """Run both benchmarks and print their tables."""
    calls_per_second(100 if short else 1000, pairs=choose_pairs(FEWEST_PAIRS, short=short))
    plugin(pairs=FEWEST_PAIRS if short else 40)


def calls_per_second(jobs: int, *, pairs: int) -> None:
    """Compare the local CodePipeline with the same server that only sends bytes."""
    candidates = {
        "the same bytes each time": partial(_rate, jobs, has_fixed_responses=True),
        "the local CodePipeline": partial(_rate, jobs, has_fixed_responses=False),
    }
    title = f"details of {jobs:,} jobs by {_THREADS} threads, calls a second"
    print_table(title, "the same bytes each time", take_turns(candidates, pairs=pairs))


def _rate(jobs: int, *, has_fixed_responses: bool) -> float:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, jobs, has_fixed_responses), daemon=True)
    process.start()
    theirs.close()  # recv() raises EOFError if the process ends first, instead of a wait without end
    url, access_key_id, secret, job_ids = ours.recv()
    session = botocore.session.Session()
    session.set_credentials(access_key_id, secret)
    config = Config(proxies={}, max_pool_connections=_THREADS)
    client: Any = session.create_client("codepipeline", region_name="us-east-1", endpoint_url=url, config=config)

    def read(job_id: str) -> None:
        client.get_third_party_job_details(jobId=job_id, clientToken=_TOKEN)

    with closing(client), ThreadPoolExecutor(_THREADS) as threads:
        list(threads.map(read, job_ids[:_THREADS]))  # open the connections
        elapsed = seconds(lambda: list(threads.map(read, job_ids)))()  # list() raises the error of a call
    ours.send(None)
    process.join()
    return jobs / elapsed


def _serve(pipe: Connection, jobs: int, has_fixed_responses: bool) -> None:  # noqa: FBT001 - goes to another process
    with LocalCodePipeline() as service:
        service.register_client("client-1", _TOKEN)
        actions = [
            service.start_action(_TYPE, client_id="client-1", configuration={"Key": "value" * 20}) for _ in range(jobs)
        ]
        job_ids = [action.jobs[0].id for action in actions]
        secret = service.secret_access_key.get_secret_value()
        if has_fixed_responses:  # no `patch`: mypy must see a method that has another name now
            Exchange.respond = _same_bytes  # type: ignore[method-assign, assignment]
        pipe.send((service.endpoint_url, service.access_key_id, secret, job_ids))
        pipe.recv()


def _same_bytes(_exchange: Any, _request: HttpRequest) -> Response:
    return _DETAILS


def plugin(*, pairs: int) -> None:
    """Measure the time that the plugin adds to the start of pytest."""
    codes = {"without the plugin": "import pytest", "with the plugin": "import pytest, cp_thirdparty.testing.plugin"}
    measured = take_turns({name: partial(_milliseconds, code) for name, code in codes.items()}, pairs=pairs)
    print_table("start of pytest, ms", "without the plugin", measured)
    judge("the plugin, ms more", measured.difference("with the plugin", "without the plugin"), "<=", 30)


def _milliseconds(code: str) -> float:
    return seconds(partial(subprocess.run, [sys.executable, "-c", code], check=True))() * 1000


if __name__ == "__main__":
    main(run, __doc__)
