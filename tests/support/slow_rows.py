"""Long tables of cases of which the default run has only a few."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest


def slow_unless(is_fast: Callable[[Any], bool], rows: Iterable[Any]) -> list[Any]:
    """Return the rows for `pytest.mark.parametrize`, all slow except those that the default run needs."""
    return [
        pytest.param(*(row if isinstance(row, tuple) else (row,)), marks=() if is_fast(row) else pytest.mark.slow)
        for row in rows
    ]


def slow_pairs(first: Iterable[Any], second: Iterable[Any]) -> list[Any]:
    """Return all pairs for `pytest.mark.parametrize`, all slow except one for each value of the longer table."""
    rows, columns = [*first], [*second]
    size = min(len(rows), len(columns))
    return [
        pytest.param(row, column, marks=() if i % size == j % size else pytest.mark.slow)
        for i, row in enumerate(rows)
        for j, column in enumerate(columns)
    ]
