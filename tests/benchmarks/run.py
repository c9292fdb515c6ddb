"""
Runs the benchmarks and prints their tables, each figure beside a peer measured in the same run.

``python tests/benchmarks/run.py`` runs everything in half an hour; ``--short`` takes a little of each, to see that it
runs; names pick some: ``run.py documents calls``.  At the end it tells what was wanted and did not hold, and in a long
run it fails then.  Do it on a quiet machine.
"""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from measure import missed

# Those that say what a call costs, with a table; and those that run by themselves.
_TABLES = ("documents", "calls", "starts")
_PROGRAMS = ("artifacts", "extraction", "worker", "local_service", "scale")
_PEERS = (
    *("botocore", "boto3", "pydantic", "aws-resource-validator-codepipeline", "boto3-dataclass-codepipeline"),
    *("capo-codepipeline", "msgspec", "aiobotocore", "awscli", "attrs", "cattrs", "s3transfer"),
)


def main() -> int:
    """Run all, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="a little of each")
    parser.add_argument("names", nargs="*", help=f"some of: {', '.join(_TABLES + _PROGRAMS)}")
    options = parser.parse_args()
    unknown = set(options.names) - {*_TABLES, *_PROGRAMS}
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    print(f"Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} processors")
    print(", ".join(f"{name} {version(name)}" for name in _PEERS))
    for name in _TABLES:
        if name in (options.names or _TABLES):
            importlib.import_module(name).run(short=options.short)
    for name in _PROGRAMS:
        if name in (options.names or _PROGRAMS):
            print(f"\n{name}", flush=True)
            program = [sys.executable, str(Path(__file__).with_name(f"{name}.py"))]
            subprocess.run([*program, "--short"] if options.short else program, check=True)
    print("\nwanted and missed:\n" + "\n".join(missed) if missed else "\nall that was wanted holds")
    return 1 if missed and not options.short else 0


if __name__ == "__main__":
    sys.exit(main())
