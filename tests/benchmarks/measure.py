"""How the benchmarks measure: candidates take turns, figures are medians, tables show ratios to one of them."""

from __future__ import annotations

import gc
import statistics
import sys
import timeit
import tracemalloc
from collections.abc import Callable, Mapping

__all__ = ["bytes_each", "microseconds", "missed", "table", "turns"]

# What was wanted and did not hold, over all tables of this run.
missed: list[str] = []


def turns(candidates: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """Let the candidates take turns, so that a machine that slows down slows all of them, and tell their medians."""
    figures: dict[str, list[float]] = {name: [] for name in candidates}
    for measure in candidates.values():
        measure()  # what is done once is not what is measured
    for _ in range(rounds):
        for name, measure in candidates.items():
            figures[name].append(measure())
    return {name: statistics.median(each) for name, each in figures.items()}


def microseconds(work: Callable[[], object], calls: int) -> Callable[[], float]:
    """Measure the time of one of so many calls, with the garbage collector on."""
    return lambda: timeit.timeit(work, number=calls, setup=gc.enable) / calls * 1e6


def bytes_each(make: Callable[[], object], count: int = 100) -> float:
    """Tell the memory of one of so many objects."""
    make()
    gc.collect()
    tracemalloc.start()
    kept = [make() for _ in range(count)]
    gc.collect()
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return (size - sys.getsizeof(kept)) / count


def table(
    title: str, baseline: str, figures: Mapping[str, float], wanted: Mapping[str, tuple[str, float]] | None = None
) -> None:
    """
    Print figures with their ratios to the baseline, and what is wanted of them.

    Args:
        title: What they are, with the unit.

        baseline: The name of one.

        figures: By name.

        wanted: By name: ``"<="`` or ``">="``, and a ratio.
    """
    print(f"\n| {title} | | x {baseline} | wanted |\n| --- | ---: | ---: | --- |")
    for name, figure in figures.items():
        ratio = figure / figures[baseline]
        sign, limit = (wanted or {}).get(name, ("", 0.0))
        held = ratio <= limit if sign == "<=" else ratio >= limit
        if not held:
            missed.append(f"{title}: {name}: {ratio:.2f} x {baseline}, wanted {sign} {limit:.2f}")
        note = f"{sign} {limit:.2f}{'' if held else ': missed'}" if sign else ""
        print(f"| {name} | {figure:,.1f} | {ratio:.2f} | {note} |", flush=True)
