"""
Prints what the library costs, each figure as a ratio to a baseline measured in the same run.

``python tests/benchmarks/run.py`` runs everything; ``--short`` does so with a tenth of the rounds, to see that it runs.
Candidates take turns, so that a machine that slows down slows all of them; the figures are medians.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import subprocess
import sys
import timeit
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path

import botocore.session
from botocore.awsrequest import AWSHTTPConnectionPool, AWSHTTPSConnectionPool
from botocore.client import BaseClient

from cp_thirdparty import ThirdPartyJobClient
from cp_thirdparty._botocore import guard
from cp_thirdparty._botocore.call import Call
from cp_thirdparty._connection import answered
from cp_thirdparty._operations import get_third_party_job_details
from cp_thirdparty.converter import structure
from cp_thirdparty.models import JobDetails

_TEXT = json.dumps(
    json.loads((Path(__file__).parents[1] / "data" / "job_details.json").read_text(encoding="utf-8"))["jobDetails"]
)


def main() -> None:
    """Run all benchmarks and print their tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="a tenth of the rounds")
    rounds = 10 if parser.parse_args().short else 100
    print(f"Python {sys.version.split()[0]}, a jobDetails document of {len(_TEXT)} characters")
    structuring(rounds)
    memory(rounds)
    call(rounds)


def structuring(rounds: int) -> None:
    """Time from dictionary to model; at most 2.0 x json.loads of the same text is wanted."""
    document = json.loads(_TEXT)
    _print_table(
        "structuring, microseconds",
        "json.loads",
        _interleaved(
            {"json.loads": lambda: json.loads(_TEXT), "structure": lambda: structure(document, JobDetails)}, rounds
        ),
    )


def memory(rounds: int) -> None:
    """Memory of one document; at most 0.70 x the dictionary is wanted."""
    _print_table(
        "memory of one document, bytes",
        "dictionary",
        {
            "dictionary": _bytes_each(lambda: json.loads(_TEXT), rounds),
            "model": _bytes_each(lambda: structure(json.loads(_TEXT), JobDetails), rounds),
        },
    )


def call(rounds: int) -> None:
    """Time of a call over loopback; guard, deadline and redaction together may cost 5 %."""
    process, endpoint_url, job_id = _service()
    session = botocore.session.Session()
    session.set_credentials("AKIDBENCHMARK", "example")
    connect = partial(ThirdPartyJobClient.create, region_name="us-east-1", endpoint_url=endpoint_url, session=session)
    with connect() as trusting, connect() as client:
        bare = _without_trust(trusting)
        unlimited = Call(ends_at=None, wire_logs=True)

        def untrusted() -> object:
            return answered(bare, get_third_party_job_details(job_id, client_token="token"), unlimited)

        def trusted() -> object:
            return client.get_third_party_job_details(job_id, client_token="token")

        _print_table(
            "a call over loopback, microseconds",
            "without guard",
            _interleaved({"without guard": untrusted, "with guard": trusted}, rounds, calls=20),
        )
    process.stdin.close()  # type: ignore[union-attr] # it was given a pipe
    process.wait(10)


def _service() -> tuple[subprocess.Popen[str], str, str]:
    """Start a local service in a process of its own, so that it shares no interpreter lock with the client."""
    process = subprocess.Popen(
        [sys.executable, "-c", _SERVICE, _TEXT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    endpoint_url, job_id = process.stdout.readline().split()
    return process, endpoint_url, job_id


_SERVICE = """
import sys
from cp_thirdparty import JobDetails
from cp_thirdparty.converter import structure
from cp_thirdparty.testing import LocalCodePipeline
import json
data = structure(json.loads(sys.argv[1]), JobDetails).data
with LocalCodePipeline(verify_signatures=False) as service:
    service.register_client("client", "token")
    action = service.start_action(
        data.action_type_id, client_id="client", configuration=data.action_configuration.configuration,
        input_artifacts=data.input_artifacts, output_artifacts=data.output_artifacts,
        artifact_credentials=data.artifact_credentials, encryption_key=data.encryption_key,
    )
    print(service.endpoint_url, action.jobs[0].id, flush=True)
    sys.stdin.read()
"""


def _without_trust(client: ThirdPartyJobClient) -> BaseClient:
    """Take everything of ours out of the botocore client of a client of ours."""
    bare = client._client
    for operation in guard._OPERATIONS:
        for event, handler in (("before-parse", guard._look_at_answer), ("needs-retry", guard._tell_status)):
            bare.meta.events.unregister(
                f"{event}.codepipeline.{operation}", handler, unique_id=f"cp_thirdparty.{event}.{operation}"
            )
    session = bare._endpoint.http_session  # type: ignore[attr-defined] # botocore's inside
    session._pool_classes_by_scheme.update(http=AWSHTTPConnectionPool, https=AWSHTTPSConnectionPool)
    return bare


def _interleaved(candidates: dict[str, Callable[[], object]], rounds: int, calls: int = 200) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for candidate in candidates.values():
        candidate()  # what is done once is not what is measured
    for _ in range(rounds):
        for name, candidate in candidates.items():
            times[name].append(timeit.timeit(candidate, number=calls, setup=gc.enable) / calls * 1e6)
    return {name: statistics.median(each) for name, each in times.items()}


def _bytes_each(make: Callable[[], object], count: int) -> float:
    make()
    gc.collect()
    tracemalloc.start()
    kept = [make() for _ in range(count)]
    gc.collect()
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return (size - sys.getsizeof(kept)) / count


def _print_table(title: str, baseline: str, figures: dict[str, float]) -> None:
    print(f"\n{title}")
    for name, figure in figures.items():
        print(f"  {name:<24}{figure:>12.1f}   {figure / figures[baseline]:.2f} x {baseline}")


if __name__ == "__main__":
    main()
