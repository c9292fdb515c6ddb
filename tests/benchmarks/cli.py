"""Measure how long the command line takes, beside the AWS CLI of the same environment."""

from __future__ import annotations

import os
import subprocess
import sysconfig
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from benchmarks.measure import Target, choose_pairs, main, print_table, seconds, take_turns
from cp_thirdparty import ActionTypeId
from cp_thirdparty.testing import LocalCodePipeline

_SCRIPTS = Path(sysconfig.get_path("scripts"))
_CLIENT_ID = "00000000-0000-4000-8000-000000000001"
_TYPE = ActionTypeId(category="Test", owner="ThirdParty", provider="ExampleScan", version="1")


def run(*, short: bool) -> None:
    """Print both tables."""
    with LocalCodePipeline() as service:
        service.register_client(_CLIENT_ID, "token")
        job = service.start_action(_TYPE, client_id=_CLIENT_ID, configuration={"ProjectName": "demo"}).jobs[0]
        environment = {**os.environ, **service.environment()}
        environment.pop("AWS_PROFILE", None)
        call = ("get-third-party-job-details", "--job-id", job.id, "--client-token", "token")
        for title, aws, ours, limit in (
            ("--version", ("--version",), ("--version",), 0.5),
            ("a complete call", ("codepipeline", *call), call, 0.7),
        ):
            candidates = {
                "AWS CLI": _process("aws", *aws, env=environment),
                "cp-thirdparty": _process("cp-thirdparty", *ours, env=environment),
            }
            samples = take_turns(candidates, pairs=choose_pairs(21, short=short))
            targets = {"cp-thirdparty": Target("<=", limit)}
            print_table(f"command line, {title}, ms", "AWS CLI", samples, targets, is_judged=not short)


def _process(program: str, *arguments: str, env: Mapping[str, str]) -> Callable[[], float]:
    command = [str(_SCRIPTS / program), *arguments]
    measure = seconds(partial(subprocess.run, command, env=env, stdout=subprocess.DEVNULL, check=True))
    return lambda: measure() * 1000


if __name__ == "__main__":
    main(run, __doc__)
