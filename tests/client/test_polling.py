"""When to poll again."""

from __future__ import annotations

import random

import pytest

from cp_thirdparty._core.backoff import LONGEST_PAUSE, pause_before_poll


def _pauses(interval: float, failures: int) -> list[float]:
    jitter = random.Random(1)
    return [pause_before_poll(interval, failures, jitter) for _ in range(500)]


def test_a_pause_is_a_fifth_shorter_or_longer() -> None:
    """Workers that began at the same time soon poll at different times, on average at the configured interval."""
    pauses = _pauses(5.0, 0)
    assert 4.0 <= min(pauses) < 4.2
    assert 5.8 < max(pauses) <= 6.0


@pytest.mark.parametrize(("failures", "shortest", "longest"), [(1, 4.0, 12.0), (2, 8.0, 24.0), (3, 16.0, 48.0)])
def test_a_pause_doubles_with_each_failure(failures: int, shortest: float, longest: float) -> None:
    """A service that fails is asked less and less often, with more chance in it."""
    pauses = _pauses(5.0, failures)
    assert shortest <= min(pauses) < shortest * 1.3
    assert longest * 0.9 < max(pauses) <= longest


@pytest.mark.parametrize("failures", [5, 2000, 10**9])
def test_a_pause_grows_to_a_minute(failures: int) -> None:
    """However long the service fails, it is asked each minute or half minute."""
    pauses = _pauses(5.0, failures)
    assert LONGEST_PAUSE / 2 <= min(pauses) <= max(pauses) <= LONGEST_PAUSE


def test_a_longer_interval_stays() -> None:
    """Who polls more seldom than each minute does so after a failure, too."""
    assert min(_pauses(600.0, 3)) >= 480.0
