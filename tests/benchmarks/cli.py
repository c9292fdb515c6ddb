"""
Prints how long the command line takes, as ratios to the AWS CLI in one run.

``python tests/benchmarks/cli.py`` compares with the AWS CLI that ``nox -s clients`` installs, or with that of
``CP_THIRDPARTY_AWS``; ``--short`` takes fewer rounds.  The two take turns, and the figures are medians.  A long run
fails when ``--version`` takes more than 0.5 x, or a whole call more than 0.7 x, of the AWS CLI's time.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import sysconfig
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from cp_thirdparty import ActionTypeId
from cp_thirdparty.testing import LocalCodePipeline

_ROOT = Path(__file__).parents[2]
_AWS = os.environ.get("CP_THIRDPARTY_AWS", str(_ROOT / ".nox" / "clients" / "beside" / "awscli" / "bin" / "aws"))
_OURS = str(Path(sysconfig.get_path("scripts")) / "cp-thirdparty")
_CLIENT_ID = "00000000-0000-4000-8000-000000000001"
_TYPE = ActionTypeId(category="Test", owner="ThirdParty", provider="ExampleScan", version="1")


def main() -> int:
    """Run both benchmarks; return 1 when one is too slow, which a short run on a busy machine cannot tell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="5 rounds rather than 21, and only errors fail")
    short = parser.parse_args().short
    rounds = 5 if short else 21
    with LocalCodePipeline() as service:
        service.register_client(_CLIENT_ID, "token")
        job = service.start_action(_TYPE, client_id=_CLIENT_ID, configuration={"ProjectName": "demo"}).jobs[0]
        env = {**os.environ, **service.environment()}
        env.pop("AWS_PROFILE", None)
        call = ["get-third-party-job-details", "--job-id", job.id, "--client-token", "token"]
        held = [
            _compare("--version", [_AWS, "--version"], [_OURS, "--version"], 0.5, rounds=rounds, env=env),
            _compare("a whole call", [_AWS, "codepipeline", *call], [_OURS, *call], 0.7, rounds=rounds, env=env),
        ]
    return 0 if short or all(held) else 1


def _compare(
    name: str, theirs: Sequence[str], ours: Sequence[str], wanted: float, *, rounds: int, env: Mapping[str, str]
) -> bool:
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds + 1):  # the first reads the files from the disk
        for command, seconds in zip((theirs, ours), times, strict=True):
            begin = time.perf_counter()
            subprocess.run(command, env=env, stdout=subprocess.DEVNULL, check=True)
            seconds.append(time.perf_counter() - begin)
    aws, own = (statistics.median(seconds[1:]) for seconds in times)
    print(
        f"{name}: AWS CLI {aws * 1000:.0f} ms, cp-thirdparty {own * 1000:.0f} ms, {own / aws:.2f} x ({wanted} x wanted)"
    )
    return own <= wanted * aws


if __name__ == "__main__":
    sys.exit(main())
