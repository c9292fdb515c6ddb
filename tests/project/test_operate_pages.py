"""The tables of docs/operate have what the code has: defaults, events, errors, variables and names."""

from __future__ import annotations

import inspect
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

import cp_thirdparty
from cp_thirdparty import artifacts, exceptions, worker
from cp_thirdparty.worker import _emit

_ROOT: Final = Path(__file__).parents[2]
_OPERATE: Final = _ROOT / "docs" / "operate"
_SOURCES: Final = sorted((_ROOT / "src").rglob("*.py"))

# "Arguments of `JobWorker()`:", and below it "`grace=20.0`" in the cells of a table.
_OWNER: Final = re.compile(r"^Arguments of `([\w.]+)\(\)`:$", re.MULTILINE)
_DEFAULT: Final = re.compile(r"`(\w+)=(\d+\.\d+)`")


def _read(name: str) -> str:
    return (_OPERATE / f"{name}.md").read_text(encoding="utf-8")


def _first_cells(page: str) -> Iterator[list[str]]:
    """Yield the names in the first cell of each row of the tables."""
    for cell in re.findall(r"^\| (.+?) \|", page, re.MULTILINE):
        if names := re.findall(r"`([^`]+)`", cell):
            yield names


def _find(name: str) -> Any:
    return getattr(cp_thirdparty, name, None) or getattr(worker, name, None) or getattr(exceptions, name, None)


def _defaults() -> Iterator[tuple[str, str, float]]:
    for section in _read("timeouts").split("\n## "):
        rows = _DEFAULT.findall(section)
        if rows:
            (owner,) = _OWNER.findall(section)
            yield from ((owner, argument, float(seconds)) for argument, seconds in rows)


@pytest.mark.parametrize(("owner", "argument", "seconds"), [*_defaults()])
def test_a_default_is_that_of_the_code(owner: str, argument: str, seconds: float) -> None:
    """Each argument in the tables of timeouts has the default of the code."""
    name, _, method = owner.partition(".")
    function = getattr(_find(name), method or "__init__")
    assert inspect.signature(function).parameters[argument].default == seconds


def test_each_event_has_its_level() -> None:
    """The table of events has each event once, in the order of the levels, with its level."""
    rows = re.findall(r"^\| `(\w+)` \| ([A-Z]+) \|", _read("events").partition("## Loggers")[0], re.MULTILINE)
    assert [(name, getattr(logging, level)) for name, level in rows] == list(_emit.LEVELS.items())


def test_each_error_is_listed() -> None:
    """The tables of errors have each error of the library once, and no other but those of Python."""
    names = [name for cell in _first_cells(_read("errors")) for name in cell if name.isidentifier()]
    errors = [name for name in exceptions.__all__ if isinstance(getattr(exceptions, name), type)]
    roots = {"CallFacts", "CodePipelineJobError", "ThirdPartyError"}
    assert sorted({*names} - {"TypeError", "ValueError"}) == sorted({*errors} - roots)
    assert len(names) == len({*names})


def test_each_variable_that_the_code_names_is_listed() -> None:
    """The page has each environment variable whose name is in the code."""
    page = _read("environment-variables")
    pattern = re.compile(r'"((?:AWS|CP|REQUESTS|NO|TMP|TEMP)(?:_?[A-Z]+)*_?)"')
    named = {name for path in _SOURCES for name in pattern.findall(path.read_text(encoding="utf-8"))}
    assert {"CP_CLIENT_TOKEN_", "AWS_CA_BUNDLE", "TMPDIR", "NO_COLOR"} <= named
    assert [name for name in sorted(named - {"AWS"}) if f"`{name}" not in page] == []


def test_the_replacements_exist() -> None:
    """Each class of the library that the page of changes names exists, with the method or argument after it."""
    page = _read("changes-0.2")
    named = set(re.findall(r"`([A-Z]\w+)(?:\.(\w+))?", page))
    others = {"OSError", "TypeError", "ValueError", "RuntimeError", "ImportError", "Annotated", "None", "Host"}
    missing = []
    for name, member in sorted(named):
        found = _find(name) or getattr(artifacts, name, None)
        if name not in others and (found is None or (member and not hasattr(found, member))):
            missing.append(f"{name}.{member}")
    assert missing == []


def test_each_page_can_be_searched_for() -> None:
    """Each page of the folder has index entries, which the site's search prefers, and is in the site's navigation."""
    index = (_ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    pages = sorted(path.stem for path in _OPERATE.glob("*.md"))
    assert [page for page in pages if "```{index} ! " not in _read(page)] == []
    assert [page for page in pages if f"operate/{page}" not in index] == []
