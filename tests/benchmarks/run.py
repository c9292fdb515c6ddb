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
import sys
import timeit
import tracemalloc
from collections.abc import Callable
from pathlib import Path

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


def _interleaved(candidates: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    calls = 200
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
