"""The names of `cp_thirdparty.testing`, and the modules that they load."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import cp_thirdparty.testing as package


@pytest.mark.parametrize("name", package.__all__)
def test_each_name_loads(name: str) -> None:
    """Each name can be used, twice as well as once, and is what its module has."""
    value = getattr(package, name)
    assert value is getattr(package, name)
    (module,) = [module for module, names in package._NAMES.items() if name in names]
    assert value is getattr(import_module(f"cp_thirdparty.{module}"), name)


def test_the_package_shows_its_names() -> None:
    """``dir()`` lists what completion should offer, and a wrong name is an AttributeError that names it."""
    assert dir(package) == sorted([*package.__all__, *package._MODULES])
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        package.nothing  # type: ignore[attr-defined] # noqa: B018 - on purpose


def test_type_checkers_see_what_is_loaded() -> None:
    """The imports for type checkers, the table of lazy names and ``__all__`` are the same."""
    tree = ast.parse(Path(package.__file__).read_text(encoding="utf-8"))
    typed = {
        alias.name: str(node.module).removeprefix("cp_thirdparty.")
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("cp_thirdparty.testing.")
        for alias in node.names
    }
    assert typed == {name: module for module, names in package._NAMES.items() for name in names}
    assert sorted(typed) == package.__all__


def test_importing_the_package_loads_nothing_heavy() -> None:
    """A test runner that imports the package loads neither botocore nor a model."""
    program = "import sys, cp_thirdparty.testing; print(*sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert {"botocore", "attrs", "cattrs", "http"} & set(loaded) == set()
    ours = [name for name in loaded if name.startswith("cp_thirdparty")]
    assert ours == ["cp_thirdparty", "cp_thirdparty._base", "cp_thirdparty._base.lazy", "cp_thirdparty.testing"]
