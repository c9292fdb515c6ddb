"""
Run the benchmarks and print their tables, each figure beside a peer in the same run.

``python tests/benchmarks/run.py`` runs everything in about an hour; ``--short`` takes fewer rounds and less work; names
pick some: ``run.py documents calls``.  It exits with 1 if a target is missed.  A noisy machine makes intervals wider
and so leaves targets undecided, which is not a failure.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

_NAMES = (
    *("instructions", "documents", "memory", "calls", "starts", "cli"),
    *("artifacts", "extraction", "worker", "local_service", "scale"),
)
_PEERS = (
    *("botocore", "boto3", "pydantic", "aws-resource-validator-codepipeline", "boto3-dataclass-codepipeline"),
    *("capo-codepipeline", "msgspec", "aiobotocore", "awscli", "attrs", "cattrs", "s3transfer"),
)


def main() -> int:
    """Run all benchmarks, or those that are named, each in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="fewer rounds and less work")
    parser.add_argument("--record", action="store_true", help="store the ratios of the benchmark `instructions`")
    parser.add_argument("names", nargs="*", help=f"some of: {', '.join(_NAMES)}")
    options = parser.parse_args()
    unknown = set(options.names) - {*_NAMES}
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    if options.record and options.names != ["instructions"]:
        parser.error("--record: only `instructions` stores ratios, so it must be the only name")
    print(f"Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} processors")
    print(", ".join(f"{name} {version(name)}" for name in _PEERS))
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    failed: list[str] = []
    for name in options.names or _NAMES:
        print(f"\n{name}", flush=True)
        passed = [f"--{option}" for option in ("short", "record") if getattr(options, option)]
        command = [sys.executable, "-m", f"benchmarks.{name}", *passed]
        if subprocess.run(command, env=environment, check=False).returncode:
            failed.append(name)
    print(f"\nfailed: {', '.join(failed)}" if failed else "\nno target was missed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
