"""Each guarantee in SECURITY.md names tests, and these tests exist."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]
_PAGE = (_ROOT / "SECURITY.md").read_text(encoding="utf-8")
_GUARANTEES = re.findall(
    r"^\* (.+(?:\n  .+)*)", _PAGE.partition("## Guarantees")[2].partition("## Limits")[0], re.MULTILINE
)
_NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py::\w+)`", _PAGE)))


@cache
def _tests_of(path: str) -> frozenset[str]:
    tree = ast.parse((_ROOT / path).read_text(encoding="utf-8"))
    return frozenset(each.name for each in tree.body if isinstance(each, (ast.FunctionDef, ast.AsyncFunctionDef)))


@pytest.mark.parametrize("guarantee", _GUARANTEES, ids=lambda text: str(text)[:40])
def test_each_guarantee_names_a_check(guarantee: str) -> None:
    """A test of this project, or a session of nox."""
    assert re.search(r"\n  Tests: `tests/|`nox -s \w+` checks this", guarantee)


@pytest.mark.parametrize("name", _NAMED)
def test_each_named_test_exists(name: str) -> None:
    """A test that was renamed or removed is not a check."""
    path, _, test = name.partition("::")
    assert test in _tests_of(path)


def test_the_page_is_read() -> None:
    """The patterns above find all of it."""
    assert len(_GUARANTEES) == _PAGE.partition("## Limits")[0].count("\n* ")
    assert len(_NAMED) > 30
    assert _PAGE.count("::") == len(re.findall(r"`tests/[\w/]+\.py::\w+`", _PAGE))
