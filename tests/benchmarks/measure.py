"""
Measure candidates in turn, and judge targets by a confidence interval.

A machine that is busy changes every figure.  Candidates therefore take turns, and each round gives one ratio of two
candidates that ran within a moment of each other.  The median of the ratios has an interval from order statistics,
which assumes nothing about their distribution.  A target is missed only if the complete interval misses it.
"""

from __future__ import annotations

import argparse
import gc
import math
import operator
import re
import statistics
import sys
import time
import timeit
import tracemalloc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Literal

__all__ = [
    "Estimate",
    "Samples",
    "Target",
    "Verdict",
    "bytes_each",
    "choose_pairs",
    "estimate_median",
    "exit_status",
    "judge",
    "main",
    "microseconds",
    "peak_memory",
    "print_table",
    "seconds",
    "take_turns",
]

# The interval contains the median with at least this probability.  Every CI run judges some ten targets, so 95 % would
# fail one run in five for no reason if the ratios were at their limits.
CONFIDENCE = 0.99

# The fewest pairs that give an interval at this confidence: the range of n values misses the median with 2 / 2**n.
FEWEST_PAIRS = 8

Sign = Literal["<=", ">="]


class Verdict(Enum):
    """What an interval shows about a target."""

    HOLDS = "holds"
    UNDECIDED = "undecided: the interval contains the limit"
    MISSED = "missed"
    NOT_JUDGED = "not judged: a short run does too little work"


@dataclass(frozen=True)
class Estimate:
    """A median and its confidence interval."""

    median: float
    low: float
    high: float

    def verdict(self, sign: Sign, limit: float) -> Verdict:
        """
        Compare the complete interval with a limit.

        Raises:
            ValueError: The figures were too few for an interval.
        """
        if math.isinf(self.high):
            raise ValueError(f"a verdict needs at least {FEWEST_PAIRS} pairs")
        worst, best = (self.high, self.low) if sign == "<=" else (-self.low, -self.high)
        bound = limit if sign == "<=" else -limit
        if worst <= bound:
            return Verdict.HOLDS
        return Verdict.MISSED if best > bound else Verdict.UNDECIDED

    def text(self, digits: int = 2) -> str:
        """Return the median with its interval, if it has one."""
        if math.isinf(self.high):
            return f"{self.median:,.{digits}f}"
        return f"{self.median:,.{digits}f} ({self.low:,.{digits}f} to {self.high:,.{digits}f})"


def estimate_median(values: Sequence[float]) -> Estimate:
    """
    Return the median of independent values with a distribution-free confidence interval.

    A value is below the true median as often as a coin shows heads, so the number of values below it is binomial.
    Fewer than `FEWEST_PAIRS` values limit the median to nothing, and the interval is infinite.
    """
    ordered = sorted(values)
    if len(ordered) < FEWEST_PAIRS:
        return Estimate(statistics.median(ordered), -math.inf, math.inf)
    rank = _lowest_rank(len(ordered))
    return Estimate(statistics.median(ordered), ordered[rank], ordered[-1 - rank])


def _lowest_rank(count: int) -> int:
    """Return how many values to leave out at each end."""
    allowed = (1 - CONFIDENCE) / 2 * 2**count
    rank, tail = 0, math.comb(count, 0)
    while tail + math.comb(count, rank + 1) <= allowed:
        rank += 1
        tail += math.comb(count, rank)
    return rank


class Samples:
    """The figures of candidates that took turns, one of each in every round."""

    def __init__(self, figures: Mapping[str, Sequence[float]]) -> None:
        self.figures = figures

    def estimate(self, name: str) -> Estimate:
        """Return the median figure of one candidate."""
        return estimate_median(self.figures[name])

    def ratio(self, name: str, to: str) -> Estimate:
        """Return the median ratio of two candidates, round by round."""
        return self._by_round(operator.truediv, name, to)

    def difference(self, name: str, to: str) -> Estimate:
        """Return the median difference of two candidates, round by round."""
        return self._by_round(operator.sub, name, to)

    def _by_round(self, combine: Callable[[float, float], float], name: str, to: str) -> Estimate:
        pairs = zip(self.figures[name], self.figures[to], strict=True)
        return estimate_median([combine(figure, other) for figure, other in pairs])


def choose_pairs(full: int, *, short: bool) -> int:
    """Return the number of rounds of a full run, or one round for a short run, which judges nothing."""
    return 1 if short else full


def take_turns(candidates: Mapping[str, Callable[[], float]], *, pairs: int) -> Samples:
    """
    Measure the candidates in turn, forwards and backwards (A B, B A, A B, ...).

    The direction alternates because whatever runs second may gain or lose by it.  One round before the first does not
    count: it imports, connects and fills caches.
    """
    figures: dict[str, list[float]] = {name: [] for name in candidates}
    for measure in candidates.values():
        measure()
    gc.collect()
    gc.freeze()  # the objects that exist by now would make each collection below slow
    try:
        for number in range(pairs):
            for name in list(candidates)[:: -1 if number % 2 else 1]:
                gc.collect()  # no candidate pays for the garbage of another one
                figures[name].append(candidates[name]())
    finally:
        gc.unfreeze()
    return Samples(figures)


def microseconds(work: Callable[[], object], calls: int) -> Callable[[], float]:
    """Return a candidate: the time of one of `calls` calls, garbage collection included."""
    return lambda: timeit.timeit(work, number=calls, setup=gc.enable) / calls * 1e6


def seconds(work: Callable[[], object]) -> Callable[[], float]:
    """Return a candidate: the time of one call."""

    def measure() -> float:
        begin = time.perf_counter()
        work()
        return time.perf_counter() - begin

    return measure


def bytes_each(make: Callable[[], object], count: int = 100) -> Callable[[], float]:
    """Return a candidate: the memory of one of `count` objects."""

    def measure() -> float:
        tracemalloc.start()
        kept = [make() for _ in range(count)]
        gc.collect()
        size, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return (size - sys.getsizeof(kept)) / count

    return measure


def peak_memory() -> float:
    """
    Return the peak memory of this process in MiB, on Linux.

    ``getrusage()`` would include the peak of the parent process, which a child inherits.
    """
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) / 1024


# --- targets and tables


@dataclass(frozen=True)
class Target:
    """
    A limit of one candidate's ratio.

    Attributes:
        sign: ``"<="`` or ``">="``.

        limit: The ratio that is just good enough.

        to: The candidate to compare with; ``None`` for the table's baseline.
    """

    sign: Sign
    limit: float
    to: str | None = None


# Every verdict of this process, with the line that describes it.
_verdicts: list[tuple[Verdict, str]] = []


def print_table(
    title: str,
    baseline: str,
    samples: Samples,
    targets: Mapping[str, Target] | None = None,
    *,
    is_judged: bool = True,
) -> None:
    """
    Print the medians, their ratios to a baseline with intervals, and the verdicts.

    Args:
        title: What the figures are, with the unit.

        baseline: The candidate that the column of ratios compares with.

        samples: The figures.

        targets: By candidate.

        is_judged: ``False`` if the work is too little for the target, so that it is printed only.
    """
    print(f"\n| {title} | | x {baseline} | target |\n| --- | ---: | ---: | --- |")
    for name in samples.figures:
        target = (targets or {}).get(name)
        cell = ""
        if target:
            ratio = samples.ratio(name, target.to or baseline)
            line = f"{title}: {name} x {target.to or baseline}"
            verdict = _judge_ratio(line, ratio, target, is_judged=is_judged)
            other = f" x {target.to}, is {ratio.text()}" if target.to else ""
            cell = f"{target.sign} {target.limit:.2f}{other}: {verdict.value}"
        figure = samples.estimate(name).median
        ratio_text = "1" if name == baseline else samples.ratio(name, baseline).text()
        print(f"| {name} | {figure:,.1f} | {ratio_text} | {cell} |", flush=True)


def _judge_ratio(line: str, ratio: Estimate, target: Target, *, is_judged: bool) -> Verdict:
    verdict = ratio.verdict(target.sign, target.limit) if is_judged else Verdict.NOT_JUDGED
    _verdicts.append((verdict, f"{line}: {ratio.text()}, target {target.sign} {target.limit:.2f}"))
    return verdict


def judge(what: str, estimate: Estimate, sign: Sign, limit: float, *, is_judged: bool = True) -> Verdict:
    """Print a figure that has a target, with its interval and the verdict."""
    verdict = _judge_ratio(what, estimate, Target(sign, limit), is_judged=is_judged)
    print(f"\n{what}: {estimate.text()}, target {sign} {limit:.2f}: {verdict.value}", flush=True)
    return verdict


def exit_status() -> int:
    """Print what was missed and what is undecided; return 1 if a target was missed."""
    for verdict in (Verdict.MISSED, Verdict.UNDECIDED):
        lines = [line for each, line in _verdicts if each is verdict]
        if lines:
            print(f"\n{verdict.value}:\n" + "\n".join(f"  {line}" for line in lines), flush=True)
    return 1 if any(verdict is Verdict.MISSED for verdict, _ in _verdicts) else 0


def main(run: Callable[..., None], description: str | None) -> None:
    """Run one benchmark as a program, and exit with 1 if a target was missed."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--short", action="store_true", help="fewer rounds, and less work where it takes long")
    run(short=parser.parse_args().short)
    sys.exit(exit_status())
