"""
Count the processor's instructions of one structuring and of one call, which a busy machine does not change.

valgrind's callgrind counts.  Each count is divided by that of similar work in the same process: structuring by a plain
reading of the same document, a call by the same call of botocore.  A build of Python or a release of botocore changes
both, so the ratio hardly changes: by 1.8 % between two builds of Python 3.11, by 0.4 % from botocore 1.35 to 1.44.  It
must stay within 3 % of the one in ``instructions.json``, which has an entry for each minor version of Python and
machine.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from benchmarks.constant_service import CREDENTIAL_VARIABLES, Server
from benchmarks.measure import FEWEST_PAIRS, Samples

_STORED = Path(__file__).with_name("instructions.json")
_TESTS = Path(__file__).parents[1]
_TOLERANCE = 0.03
_REFERENCES = {"structuring": "plain reading", "client call": "botocore call"}
_RECORD = "nox -s benchmarks -- instructions --record"


def main() -> int:
    """Count, and compare with the stored ratios or record them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="accepted as by all benchmarks; changes nothing")
    parser.add_argument("--record", action="store_true", help="store the ratios of this run")
    is_record = parser.parse_args().record
    if not shutil.which("valgrind"):
        return report_missing("valgrind is not installed (on Debian: apt-get install valgrind)", os.environ)
    samples = count_instructions()
    ratios = print_counts(samples)
    key = f"{platform.python_version().rpartition('.')[0]} {platform.machine()}"
    stored: dict[str, dict[str, float]] = json.loads(_STORED.read_text(encoding="utf-8"))
    if is_record:
        stored[key] = ratios
        _STORED.write_text(json.dumps(stored, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        return 0
    if key not in stored:
        return report_missing(f"no ratios are stored for Python {key}; to store them: {_RECORD}", os.environ)
    return compare(ratios, stored[key])


def report_missing(reason: str, environment: Mapping[str, str]) -> int:
    """Print that nothing was checked; return 1 in CI, where the check must not disappear unnoticed."""
    print(f"\nINSTRUCTIONS WERE NOT CHECKED: {reason}", flush=True)
    return 1 if environment.get("CI", "") not in {"", "0", "false"} else 0


def count_instructions() -> Samples:
    """Run the work under callgrind, and return the instructions of one call by name."""
    server = Server()
    try:
        with tempfile.TemporaryDirectory() as directory:
            command = [
                *("valgrind", "--tool=callgrind", "--dump-before=getsid", f"--callgrind-out-file={directory}/count"),
                *(sys.executable, "-m", "benchmarks.counted_work", server.endpoint_url, str(FEWEST_PAIRS)),
            ]
            result = subprocess.run(
                command, env=_environment(), capture_output=True, text=True, check=False, timeout=600
            )
            if result.returncode:
                raise RuntimeError(f"valgrind exited with {result.returncode}: {result.stderr[-2000:]}")
            return read_counts(Path(directory), json.loads(result.stdout))
    finally:
        server.close()


def _environment() -> dict[str, str]:
    """Return an environment that fixes the order of sets, and in which nothing else measures."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "COVERAGE", "PYTHON"))}
    own = {"NO_PROXY": "127.0.0.1", "PYTHONHASHSEED": "0", "PYTHONPATH": str(_TESTS)}
    return {**kept, **own, **CREDENTIAL_VARIABLES}


def read_counts(directory: Path, blocks: list[tuple[str, int]]) -> Samples:
    """
    Return the instructions of one call by name from callgrind's files `count.1`, `count.2`, ...

    The first file has what came before the first marker.

    Raises:
        RuntimeError: There is not one file for each block, so a marker was not seen.
    """
    files = sorted(directory.glob("count.*"), key=lambda file: int(file.suffix[1:]))[1:]
    if len(files) != len(blocks):
        raise RuntimeError(f"callgrind counted {len(files)} blocks of {len(blocks)}: it did not see each getsid()")
    figures: dict[str, list[float]] = {}
    for file, (name, calls) in zip(files, blocks, strict=True):
        counts = re.findall(r"^(?:summary|totals): (\d+)", file.read_text(encoding="utf-8"), re.MULTILINE)
        figures.setdefault(name, []).append(int(counts[0]) / calls)
    return Samples(figures)


def print_counts(samples: Samples) -> dict[str, float]:
    """Print the counts of one call, and return the ratios to their references."""
    print("\n| instructions of one call | | ratio |\n| --- | ---: | --- |")
    for name in samples.figures:
        reference = _REFERENCES.get(name)
        ratio = f"{samples.ratio(name, reference).text(4)} x {reference}" if reference else ""
        print(f"| {name} | {samples.estimate(name).median:,.0f} | {ratio} |", flush=True)
    return {name: round(samples.ratio(name, other).median, 4) for name, other in _REFERENCES.items()}


def compare(ratios: Mapping[str, float], stored: Mapping[str, float]) -> int:
    """
    Print how far each ratio is from the stored one; return 1 if one is too far.

    The median decides, without an interval: the same code executes the same instructions.  Fewer instructions fail
    too, because a stored ratio that is too high would hide the next loss.
    """
    status = 0
    print()
    for name, ratio in ratios.items():
        change = ratio / stored[name] - 1
        is_held = abs(change) <= _TOLERANCE
        line = f"{name}: {ratio:.4f} x {_REFERENCES[name]}, stored {stored[name]:.4f}, {change:+.1%}"
        print(f"{line}: {'holds' if is_held else f'missed; if this is intended: {_RECORD}'}", flush=True)
        status |= not is_held
    return int(status)


if __name__ == "__main__":
    sys.exit(main())
