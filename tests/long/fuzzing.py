"""
Give parsers and servers of the library input that was changed at random.

    PYTHONPATH=tests python -m long.fuzzing [NAME ...] [--count N] [--seed N]

Each case must end in a value or in an error of this library: without a secret, a foreign exception, a thread, a socket
or a file that stays, and within a bound of time and memory.  A failure names its case, which `--only` runs alone.
"""

from __future__ import annotations

import argparse
import faulthandler
import gc
import random
import resource
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, suppress
from pathlib import Path

import attrs

from long import fuzz_documents, fuzz_http, fuzz_journals, mutated_archives
from long.fuzz_checks import Case

# What a machine that does other work besides needs for the slowest case is a fraction of this.
_MAX_SECONDS = 20.0
_MAX_GROWTH = 512 << 20

# Cases before the count of threads and sockets.
_WARM_UP = 20


@attrs.frozen
class Fuzzer:
    """
    One kind of input.

    Attributes:
        count: Cases of a long run.

        start: Opens what the cases need; its argument is an empty directory.
    """

    count: int
    start: Callable[[Path], AbstractContextManager[Case]]


FUZZERS: Mapping[str, Fuzzer] = {
    "archives": Fuzzer(10_000, mutated_archives.archives),
    "structure": Fuzzer(15_000, fuzz_documents.structures),
    "codepipeline": Fuzzer(5_000, fuzz_http.codepipeline_responses),
    "s3": Fuzzer(1_500, fuzz_http.s3_responses),
    "journals": Fuzzer(3_000, fuzz_journals.journals),
    "documents": Fuzzer(1_500, fuzz_documents.command_line_documents),
    "scenarios": Fuzzer(1_500, fuzz_documents.scenarios),
    "service": Fuzzer(3_000, fuzz_http.service_requests),
}


@attrs.frozen(kw_only=True)
class Summary:
    """What became of a run."""

    endings: Mapping[str, int]
    slowest: float
    growth: int


def run(name: str, *, cases: Iterable[int], seed: int, directory: Path) -> Summary:
    """Run cases of one fuzzer, and fail at the first that ends wrongly, or if something stays."""
    endings: Counter[str] = Counter()
    slowest = 0.0
    with FUZZERS[name].start(directory) as case:  # starts the threads that the library keeps, such as that of deadlines
        for number in range(_WARM_UP):
            case(random.Random(f"{name} {number}"))
    before, memory = _resources(), _peak_memory()
    with FUZZERS[name].start(directory) as case:
        for number in cases:
            began_at = time.monotonic()
            try:
                endings[case(random.Random(f"{name} {seed} {number}"))] += 1
            except BaseException as failure:
                raise AssertionError(f"fuzzer {name}, seed {seed}, case {number}: {failure!r}") from failure
            slowest = max(slowest, time.monotonic() - began_at)
    gc.collect()
    # Threads and sockets end a moment after their last use.
    gives_up_at = time.monotonic() + _MAX_SECONDS
    while (left := _resources() - before) and time.monotonic() < gives_up_at:
        time.sleep(0.01)
    assert not left, f"left behind: {left}, {threading.enumerate()}"
    assert list(directory.iterdir()) == []
    summary = Summary(endings=dict(endings.most_common()), slowest=slowest, growth=_peak_memory() - memory)
    assert summary.slowest < _MAX_SECONDS, summary
    assert summary.growth < _MAX_GROWTH, summary
    return summary


def _resources() -> Counter[str]:
    """Count the threads and the open files of this process."""
    found = Counter(f"thread {type(thread).__name__}" for thread in threading.enumerate())
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # the descriptor that reads this directory
            found[str(descriptor.readlink()).partition(":")[0]] += 1
    return found


def _peak_memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10  # Linux counts it in KiB


def main() -> None:
    """Run fuzzers, and print what became of their cases."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(FUZZERS)}; all by default")
    parser.add_argument("--count", type=int, help="cases of each")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int, help="the number of one case")
    chosen = parser.parse_args()
    for name in chosen.names or FUZZERS:
        cases = range(chosen.count or FUZZERS[name].count) if chosen.only is None else [chosen.only]
        faulthandler.dump_traceback_later(1800, exit=True)  # a case that never ends shows where it is
        began_at = time.monotonic()
        with tempfile.TemporaryDirectory() as directory:
            summary = run(name, cases=cases, seed=chosen.seed, directory=Path(directory))
        seconds = time.monotonic() - began_at
        print(
            f"{name}: {len(cases)} cases in {seconds:.0f} s, slowest {summary.slowest:.2f} s, "
            f"peak memory +{summary.growth >> 20} MiB: {dict(summary.endings)}",
            flush=True,
        )
    sys.stdout.flush()


if __name__ == "__main__":
    main()
