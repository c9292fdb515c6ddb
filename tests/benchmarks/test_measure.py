"""The measuring core: intervals, verdicts and turns, on figures that are made up."""

from __future__ import annotations

import gc
import itertools
import math
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks import measure
from benchmarks.measure import (
    CONFIDENCE,
    FEWEST_PAIRS,
    Estimate,
    Samples,
    Sign,
    Target,
    Verdict,
    bytes_each,
    choose_pairs,
    estimate_median,
    exit_status,
    judge,
    main,
    microseconds,
    peak_memory,
    print_table,
    seconds,
    take_turns,
)


@pytest.fixture(autouse=True)
def no_verdicts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start each test without the verdicts of another one."""
    monkeypatch.setattr(measure, "_verdicts", [])


def _coverage(count: int, rank: int) -> float:
    """Return how often the median lies between the values that `rank` leaves at both ends."""
    missing = sum(math.comb(count, below) for below in range(rank + 1))
    return 1 - 2 * missing / int(2**count)


@pytest.mark.parametrize("count", [*range(FEWEST_PAIRS, 40), 60, 200])
def test_the_interval_is_the_narrowest_with_the_confidence(count: int) -> None:
    """The interval leaves out as many values at each end as the confidence allows, and no more."""
    estimate = estimate_median([float(value) for value in range(count)])
    rank = int(estimate.low)
    assert (estimate.median, estimate.high) == ((count - 1) / 2, count - 1 - rank)
    assert _coverage(count, rank) >= CONFIDENCE > _coverage(count, rank + 1)


def test_too_few_pairs_give_no_verdict() -> None:
    """Seven values have a median and no interval, because their complete range misses the median too often."""
    estimate = estimate_median([1.0] * 7)
    assert estimate.text() == "1.00"
    with pytest.raises(ValueError, match="at least 8 pairs"):
        estimate.verdict("<=", 2.0)


def test_the_interval_contains_the_median_as_often_as_it_should() -> None:
    """Of 1,000 seeded samples from a skewed distribution, at least 99 % have intervals around its true median."""
    chance = random.Random(1)
    samples = [estimate_median([chance.expovariate(1) for _ in range(20)]) for _ in range(1000)]
    assert sum(each.low <= math.log(2) <= each.high for each in samples) >= 990


@pytest.mark.parametrize(
    ("sign", "low", "high", "expected"),
    [
        ("<=", 0.90, 0.95, Verdict.HOLDS),
        ("<=", 0.90, 1.00, Verdict.HOLDS),
        ("<=", 0.90, 1.01, Verdict.UNDECIDED),
        ("<=", 1.00, 1.50, Verdict.UNDECIDED),
        ("<=", 1.01, 1.50, Verdict.MISSED),
        (">=", 1.01, 1.50, Verdict.HOLDS),
        (">=", 1.00, 1.50, Verdict.HOLDS),
        (">=", 0.99, 1.50, Verdict.UNDECIDED),
        (">=", 0.50, 1.00, Verdict.UNDECIDED),
        (">=", 0.50, 0.99, Verdict.MISSED),
    ],
)
def test_only_a_complete_interval_decides(sign: Sign, low: float, high: float, expected: Verdict) -> None:
    """A target holds or is missed only if the complete interval is on one side."""
    assert Estimate((low + high) / 2, low, high).verdict(sign, 1.0) is expected


def test_candidates_take_turns_forwards_and_backwards() -> None:
    """The order is A B, B A, A B, after one round that does not count."""
    order: list[str] = []

    def candidate(name: str) -> Callable[[], float]:
        def run() -> float:
            order.append(name)
            return float(len(order))

        return run

    samples = take_turns({"a": candidate("a"), "b": candidate("b")}, pairs=3)
    assert "".join(order) == "ab" + "ab" + "ba" + "ab"
    assert samples.figures == {"a": [3.0, 6.0, 7.0], "b": [4.0, 5.0, 8.0]}


@pytest.mark.slow
def test_the_garbage_collector_sees_all_objects_again_after_an_error() -> None:
    """An error of a candidate leaves no object frozen."""
    frozen: list[int] = []

    def fail() -> float:
        frozen.append(gc.get_freeze_count())
        if len(frozen) == 2:
            raise OSError("no server")
        return 1.0

    gc.unfreeze()  # the tests themselves, which are frozen after their collection
    with pytest.raises(OSError, match="no server"):
        take_turns({"a": fail}, pairs=8)
    assert frozen[0] == 0 < frozen[1]
    assert gc.get_freeze_count() == 0


def _busy_machine(costs: dict[str, float], noise: Callable[[], float]) -> Samples:
    """Take turns on a machine that becomes slower with each measurement, and disturbs some of them."""
    clock = itertools.count()

    def candidate(cost: float) -> Callable[[], float]:
        return lambda: cost * (1 + 0.01 * next(clock)) * noise()

    return take_turns({name: candidate(cost) for name, cost in costs.items()}, pairs=30)


@pytest.mark.slow
def test_a_slowing_and_disturbed_machine_does_not_change_the_ratio() -> None:
    """The true ratio is in a narrow interval, though single figures vary by a factor of three."""
    chance = random.Random(1)
    samples = _busy_machine({"a": 10.0, "b": 11.0}, lambda: 3.0 if chance.random() < 0.1 else 1.0)
    ratio = samples.ratio("b", "a")
    assert max(samples.figures["a"]) > 3 * min(samples.figures["a"])
    assert ratio.low <= 1.1 <= ratio.high
    assert ratio.high - ratio.low < 0.03
    assert ratio.verdict("<=", 1.05) is Verdict.MISSED


@pytest.mark.slow
def test_a_very_noisy_machine_leaves_a_target_undecided(capsys: pytest.CaptureFixture[str]) -> None:
    """Noise widens the interval, so that the target is undecided, which is printed and is not a failure."""
    chance = random.Random(1)
    samples = _busy_machine({"a": 10.0, "b": 10.4}, lambda: chance.uniform(1.0, 2.0))
    print_table("work, µs", "a", samples, {"b": Target("<=", 1.0)})
    assert exit_status() == 0
    output = capsys.readouterr().out
    assert "<= 1.00: undecided: the interval contains the limit" in output
    assert "work, µs: b x a:" in output.rpartition("\nundecided")[2]


def _steady(**figures: float) -> Samples:
    return Samples({name: [figure + step for step in range(8)] for name, figure in figures.items()})


def test_every_ratio_is_printed_with_its_interval(capsys: pytest.CaptureFixture[str]) -> None:
    """A table has the median figure, the ratio with its interval, and the verdict."""
    samples = Samples({"a": [10.0] * 8, "b": [20.0 + step for step in range(8)]})
    print_table("work, µs", "a", samples, {"b": Target(">=", 2.0)})
    assert capsys.readouterr().out.splitlines()[3:] == [
        "| a | 10.0 | 1 |  |",
        "| b | 23.5 | 2.35 (2.00 to 2.70) | >= 2.00: holds |",
    ]
    assert exit_status() == 0


def test_a_target_may_compare_with_another_candidate(capsys: pytest.CaptureFixture[str]) -> None:
    """The target of a candidate is judged by its ratio to the one that the target names."""
    samples = Samples({"a": [10.0] * 8, "b": [20.0] * 8, "c": [30.0] * 8})
    print_table("work, µs", "a", samples, {"c": Target("<=", 1.4, to="b")})
    line = "| c | 30.0 | 3.00 (3.00 to 3.00) | <= 1.40 x b, is 1.50 (1.50 to 1.50): missed |"
    assert line in capsys.readouterr().out
    assert exit_status() == 1
    assert "missed:\n  work, µs: c x b: 1.50 (1.50 to 1.50), target <= 1.40" in capsys.readouterr().out


def test_a_run_with_too_little_work_is_not_judged(capsys: pytest.CaptureFixture[str]) -> None:
    """Targets of a short run that does less work are printed and do not fail."""
    samples = _steady(a=10.0, b=100.0)
    print_table("work, µs", "a", samples, {"b": Target("<=", 1.0)}, is_judged=False)
    judge("more work", samples.difference("b", "a"), "<=", 1.0, is_judged=False)
    assert exit_status() == 0
    assert capsys.readouterr().out.count("not judged: a short run does too little work") == 2


@pytest.mark.parametrize(("limit", "status"), [(90.0, 0), (89.0, 1)])
def test_a_difference_may_have_a_target(limit: float, status: int, capsys: pytest.CaptureFixture[str]) -> None:
    """A figure that is not a ratio is judged by the same rule."""
    judge("the plugin, ms more", _steady(a=10.0, b=100.0).difference("b", "a"), "<=", limit)
    assert "the plugin, ms more: 90.00 (90.00 to 90.00), target <=" in capsys.readouterr().out
    assert exit_status() == status


@pytest.mark.parametrize(("limit", "status"), [(1.0, 0), (0.5, 1)])
def test_a_benchmark_exits_with_1_if_it_misses_a_target(
    limit: float, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A benchmark run as a program fails if a target is missed; it knows whether the run is short."""
    monkeypatch.setattr("sys.argv", ["benchmark", "--short"])
    is_short: list[bool] = []

    def run(*, short: bool) -> None:
        is_short.append(short)
        print_table("work", "a", _steady(a=10.0, b=10.0), {"b": Target("<=", limit)})

    with pytest.raises(SystemExit) as exit_:
        main(run, "description")
    assert (exit_.value.code, is_short) == (status, [True])


def test_a_short_run_has_one_round_for_what_it_does_not_judge(capsys: pytest.CaptureFixture[str]) -> None:
    """One round is printed without an interval and without a verdict."""
    assert (choose_pairs(60, short=False), choose_pairs(60, short=True)) == (60, 1)
    samples = Samples({"a": [10.0], "b": [30.0]})
    print_table("work", "a", samples, {"b": Target("<=", 1.0)}, is_judged=False)
    assert "| b | 30.0 | 3.00 | <= 1.00: not judged: a short run does too little work |" in capsys.readouterr().out
    assert exit_status() == 0


def test_candidates_measure_time_and_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Candidates return microseconds and bytes of one call, and seconds of one work."""
    clock: Iterator[float] = itertools.count(step=0.5)
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    assert seconds(lambda: None)() == 0.5
    calls: list[None] = []
    assert microseconds(lambda: calls.append(None), 10)() > 0
    assert len(calls) == 10
    assert 1_000_000 <= bytes_each(lambda: bytearray(1_000_000), 3)() < 1_100_000


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_peak_memory_is_that_of_the_process_alone() -> None:
    """A small child of a large process reports its own peak."""
    large = bytearray(200 << 20)
    code = "from benchmarks.measure import peak_memory; print(peak_memory())"
    environment = {**os.environ, "PYTHONPATH": str(Path(measure.__file__).parents[1])}
    child = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True)
    assert float(child.stdout) < 100 < len(large) >> 20 <= peak_memory()
