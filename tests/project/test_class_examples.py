"""Each public class has an example in its reference, and the example runs."""

from __future__ import annotations

import doctest
import importlib
import inspect
import re
import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import get_origin

import pytest
from support.introspection import MODULES
from support.public_surface import list_missing

_FILE = Path(__file__).parents[2] / "docs" / "class_examples.txt"
_PARTS = re.split(r"^## ", _FILE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
_EXAMPLES = {name: text for name, _, text in (part.partition("\n") for part in _PARTS)}
_RUN = {name: text for name, text in _EXAMPLES.items() if not name.startswith("Async") or find_spec("aiobotocore")}


def test_each_public_class_has_an_example() -> None:
    """The file has an example for each public class, and for nothing else."""
    modules = [importlib.import_module(name) for name in sorted(set(MODULES) - list_missing())]
    values = [getattr(module, name, None) for module in modules for name in module.__all__]
    # For Python 3.10, an alias such as Callable[[int], int] is a class.
    found = {value.__name__ for value in values if inspect.isclass(value) and get_origin(value) is None}
    classes = found | (set(_EXAMPLES) - set(_RUN))
    assert sorted(classes - set(_EXAMPLES)) == []
    assert sorted(set(_EXAMPLES) - classes) == []


@pytest.mark.parametrize("name", _RUN)
def test_the_example_of_a_class_runs(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example prints what the page shows."""
    module = ModuleType("class_example")  # a handler of the example can be imported by its name
    monkeypatch.setitem(sys.modules, "class_example", module)
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    test = doctest.DocTestParser().get_doctest(_RUN[name], module.__dict__, name, str(_FILE), 0)
    test.globs = module.__dict__
    assert test.examples
    runner = doctest.DocTestRunner(verbose=False)
    report: list[str] = []
    assert (runner.run(test, out=report.append, clear_globs=False).failed, report) == (0, [])
