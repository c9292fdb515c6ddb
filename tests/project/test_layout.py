"""The layout of the source: layers and circles of imports, and the length of modules."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from cp_thirdparty._core.operations import OPERATION_NAMES

_ROOT = Path(__file__).parents[2]
_SOURCE = _ROOT / "src" / "cp_thirdparty"

# Most of the longest, models.py and exceptions, is docstrings.
_MAX_LINES = 500

_LINT_IMPORTS = "from importlinter.cli import lint_imports_command; lint_imports_command()"

_ADDITIONS = [
    ("models.py", "from cp_thirdparty.client import X", "models is not allowed to import cp_thirdparty.client:"),
    ("models.py", "import cp_thirdparty.converter", "models is not allowed to import cp_thirdparty.converter:"),
    ("models.py", "from cp_thirdparty import JobWorker", "models is not allowed to import cp_thirdparty.worker:"),
    (
        "models.py",
        "def f():\n from cp_thirdparty import client",
        "models is not allowed to import cp_thirdparty.client:",
    ),
    (
        "models.py",
        "if TYPE_CHECKING:\n import cp_thirdparty._cli",
        "models is not allowed to import cp_thirdparty._cli:",
    ),
    ("secrets.py", "from cp_thirdparty.enums import X", "secrets is not allowed to import cp_thirdparty.enums:"),
    ("worker/new.py", "from cp_thirdparty.testing import X", "worker is not allowed to import cp_thirdparty.testing:"),
    ("new.py", "", "The following modules are not listed as layers: - cp_thirdparty.new"),
    ("new/__init__.py", "", "The following modules are not listed as layers: - cp_thirdparty.new"),
    ("testing/_wire.py", "import cp_thirdparty.testing.server", "No cycles are allowed in cp_thirdparty.testing."),
]


def _lint_imports(directory: Path) -> tuple[int, str]:
    """Run import-linter on the package in a directory, with the project's contracts."""
    pytest.importorskip("importlinter", reason="import-linter comes with the dependency groups lint and types")
    done = subprocess.run(
        [sys.executable, "-c", _LINT_IMPORTS, "--no-cache", _ROOT / "pyproject.toml"],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(directory), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, " ".join((done.stdout + done.stderr).split())


def _copy_source(directory: Path) -> Path:
    return shutil.copytree(_SOURCE, directory / "cp_thirdparty", ignore=shutil.ignore_patterns("__pycache__"))


@pytest.mark.slow
def test_source_keeps_the_layers() -> None:
    """The source imports only from lower layers, lists every module, and has no circle."""
    code, output = _lint_imports(_SOURCE.parent)
    assert (code, "Contracts: 2 kept, 0 broken." in output) == (0, True), output


@pytest.mark.slow
@pytest.mark.parametrize(("file", "code", "expected"), _ADDITIONS)
def test_wrong_import_breaks_a_contract(tmp_path: Path, file: str, code: str, expected: str) -> None:
    """An import from a higher or the same layer, a module without a layer and a circle make import-linter fail."""
    path = _copy_source(tmp_path) / file
    path.parent.mkdir(exist_ok=True)
    with path.open("a", encoding="utf-8") as stream:
        stream.write(f"\n{code}\n")
    status, output = _lint_imports(tmp_path)
    assert (status, expected in output) == (1, True), output


@pytest.mark.slow
def test_layer_without_a_module_breaks_the_contract(tmp_path: Path) -> None:
    """A layer whose module was removed must leave the list."""
    (_copy_source(tmp_path) / "telemetry.py").unlink()
    status, output = _lint_imports(tmp_path)
    assert (status, "module cp_thirdparty.telemetry does not exist" in output) == (1, True), output


def _modules(source: Path) -> dict[str, Path]:
    names = {path: ".".join(path.relative_to(source.parent).with_suffix("").parts) for path in source.rglob("*.py")}
    return {name.removesuffix(".__init__"): path for path, name in sorted(names.items())}


@cache
def _parse(code: str) -> ast.Module:
    """Parse a module; several tests look at all of them, and change a copy of one."""
    return ast.parse(code)


def _imported_modules(path: Path, modules: dict[str, Path]) -> Iterator[str]:
    for node in ast.walk(_parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names = (f"{node.module}.{alias.name}" for alias in node.names)
            yield from (name if name in modules else str(node.module) for name in names)


# Pytest loads the plugin into every run, so it may load nothing else; the package loads the service at its first use.
_LAZY_IMPORTS = {("cp_thirdparty.testing.plugin", "cp_thirdparty.testing")}


def _imports_of_own_package(source: Path) -> list[str]:
    """Return the imports that import-linter cannot forbid in general: a module's import of a package around it."""
    modules = _modules(source)
    return [
        f"{name} imports {imported}"
        for name, path in modules.items()
        for imported in _imported_modules(path, modules)
        if name.startswith(f"{imported}.") and (name, imported) not in _LAZY_IMPORTS
    ]


def test_no_module_imports_its_own_package() -> None:
    """A package may import its modules, so a module that imports its package would close a circle."""
    assert _imports_of_own_package(_SOURCE) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "imported"),
    [
        ("from cp_thirdparty.worker import JobWorker", "cp_thirdparty.worker"),
        ("from cp_thirdparty import worker", "cp_thirdparty.worker"),
        ("def f():\n import cp_thirdparty", "cp_thirdparty"),
    ],
)
def test_import_of_own_package_is_found(tmp_path: Path, code: str, imported: str) -> None:
    """The search reports a package by either kind of import, also inside a function."""
    source = _copy_source(tmp_path)
    (source / "worker" / "new.py").write_text(code, encoding="utf-8")
    assert _imports_of_own_package(source) == [f"cp_thirdparty.worker.new imports {imported}"]


_MAX_ARROWS = 90


def _top_level(name: str) -> str:
    """Return the module or package at the top of ``cp_thirdparty`` that a module belongs to; empty for the root."""
    return name.split(".")[1] if "." in name else ""


def _arrows(source: Path) -> set[tuple[str, str]]:
    """Return the imports between modules at the top of the package; the root is none of them."""
    modules = _modules(source)
    found = {
        (_top_level(name), _top_level(imported))
        for name, path in modules.items()
        for imported in _imported_modules(path, modules)
        if imported.partition(".")[0] == "cp_thirdparty"
    }
    return {(importer, imported) for importer, imported in found if importer not in ("", imported)}


def test_few_imports_between_top_level_modules() -> None:
    """No more than 90 pairs of top-level modules import each other, which counts a package as one."""
    arrows = _arrows(_SOURCE)
    assert len(arrows) <= _MAX_ARROWS, sorted(arrows)


def test_arrow_of_an_import_is_counted(tmp_path: Path) -> None:
    """An import from another top-level module is an arrow, also inside a function; one within a package is none."""
    source = _copy_source(tmp_path)
    before = _arrows(source)
    (source / "_base" / "new.py").write_text(
        "from cp_thirdparty._base import text\ndef f():\n import cp_thirdparty._cli"
    )
    assert _arrows(source) - before == {("_base", "_cli")}


def _strings(path: Path) -> Iterator[str]:
    """Yield the strings of a module, except docstrings."""
    tree = _parse(path.read_text(encoding="utf-8"))
    documentation = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
            yield node.value


def _operations_elsewhere(source: Path) -> list[str]:
    """Return the modules in which an operation is named as the service spells it, except the one that lists them."""
    return [
        f"{name} names {operation}"
        for name, path in _modules(source).items()
        for text in _strings(path)
        for operation in OPERATION_NAMES
        if operation in text and name != "cp_thirdparty._core.operations"
    ]


def test_operations_are_named_in_one_module() -> None:
    """Code takes the name of an operation from ``_core.operations``; docstrings may name one."""
    assert _operations_elsewhere(_SOURCE) == []


def test_operation_in_another_module_is_found(tmp_path: Path) -> None:
    """The search finds a name in a longer string, and in a part of an f-string, and none in a docstring."""
    source = _copy_source(tmp_path)
    code = '"""PollForJobs"""\nx = f"{1} codepipeline:GetJobDetails"'
    (source / "_base" / "new.py").write_text(code, encoding="utf-8")
    assert _operations_elsewhere(source) == ["cp_thirdparty._base.new names GetJobDetails"]


def _pauses_elsewhere(source: Path) -> list[str]:
    """Return the constants of a module that give a pause a number, except in the module that has all pauses."""
    return [
        f"{name}.{target.id}"
        for name, path in _modules(source).items()
        if name != "cp_thirdparty._core.backoff"
        for node in ast.walk(_parse(path.read_text(encoding="utf-8")))
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and isinstance(node.value, ast.Constant)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name) and "PAUSE" in target.id
    ]


def test_pauses_are_in_one_module() -> None:
    """The pauses before polls, attempts and deletions are numbers of ``_core.backoff``."""
    assert _pauses_elsewhere(_SOURCE) == []


def test_pause_in_another_module_is_found(tmp_path: Path) -> None:
    """The search finds a constant with and without an annotation."""
    source = _copy_source(tmp_path)
    (source / "_base" / "new.py").write_text("_FIRST_PAUSE: Final = 1\nLONG_PAUSE = 2\n", encoding="utf-8")
    assert _pauses_elsewhere(source) == ["cp_thirdparty._base.new._FIRST_PAUSE", "cp_thirdparty._base.new.LONG_PAUSE"]


def test_modules_stay_short() -> None:
    """No module has more lines than one idea needs."""
    lengths = {name: path.read_text(encoding="utf-8").count("\n") for name, path in _modules(_SOURCE).items()}
    assert {name: lines for name, lines in lengths.items() if lines > _MAX_LINES} == {}
