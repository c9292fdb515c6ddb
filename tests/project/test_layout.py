"""The floors: a file imports only from lower ones, and every file has its place."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

_SOURCE = Path(__file__).parents[2] / "src" / "cp_thirdparty"

# A name with a slash is a package: imports within it are free.  CONTRIBUTING.md says what each is for.
_FLOORS: dict[str, int] = {
    "_version": 0,
    "secrets": 0,
    "enums": 0,
    "_limits": 0,
    "telemetry": 0,
    "exceptions": 1,
    "_display": 1,
    "_hooks": 1,
    "models": 2,
    "_reading": 2,
    "configuration": 3,
    "converter": 4,
    "_core/": 5,
    "async_client": 8,
    "client": 8,
    "artifacts/": 9,
    "worker/": 10,
    "testing/": 11,
    "cli/": 12,
    "__main__": 13,
}

# Most of the longest, models.py and exceptions.py, is docstrings.
_MAX_LINES = 500


def _unit(parts: tuple[str, ...]) -> str:
    """Tell the row of the table that a module belongs to."""
    return f"{parts[0]}/" if f"{parts[0]}/" in _FLOORS else parts[0]


def _imports(tree: ast.AST) -> Iterator[tuple[str, ...]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module == "cp_thirdparty":
            names = [f"cp_thirdparty.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names = [str(node.module)]
        else:
            continue
        for name in names:
            root, *parts = name.split(".")
            if root == "cp_thirdparty" and parts:
                yield tuple(parts)


def _problems(module: str, source: str) -> list[str]:
    parts = tuple(module.split("/"))
    unit = _unit(parts)
    if unit not in _FLOORS:
        return [f"{module} is on no floor"]
    found: list[str] = []
    for imported in _imports(ast.parse(source)):
        other = _unit(imported)
        if other != unit and _FLOORS.get(other, 99) >= _FLOORS[unit]:
            found.append(f"{module} imports {'.'.join(imported)}, which is not on a lower floor")
    return found


def _modules() -> dict[str, str]:
    return {
        path.relative_to(_SOURCE).with_suffix("").as_posix(): path.read_text(encoding="utf-8")
        for path in sorted(_SOURCE.rglob("*.py"))
        if path != _SOURCE / "__init__.py"
    }


def test_imports_lead_downwards() -> None:
    """No module imports from its own floor or a higher one."""
    assert [problem for module, source in _modules().items() for problem in _problems(module, source)] == []


@pytest.mark.parametrize(
    ("module", "source", "expected"),
    [
        ("models", "from cp_thirdparty.client import X", ["models imports client, which is not on a lower floor"]),
        ("models", "import cp_thirdparty.converter", ["models imports converter, which is not on a lower floor"]),
        (
            "models",
            "def f():\n from cp_thirdparty import client",
            ["models imports client, which is not on a lower floor"],
        ),
        ("secrets", "from cp_thirdparty.enums import X", ["secrets imports enums, which is not on a lower floor"]),
        ("testing/wire", "from cp_thirdparty.testing.states import X", []),
        ("client", "from cp_thirdparty.new import X", ["client imports new, which is not on a lower floor"]),
        ("new", "", ["new is on no floor"]),
    ],
)
def test_a_wrong_import_is_found(module: str, source: str, expected: list[str]) -> None:
    """The check sees an import upwards, sideways, inside a function, and a file without a floor."""
    assert _problems(module, source) == expected


def test_every_floor_has_its_file() -> None:
    """The table names nothing that is not there."""
    assert {_unit(tuple(module.split("/"))) for module in _modules()} == set(_FLOORS)


def test_contributing_lists_the_floors() -> None:
    """CONTRIBUTING.md has each file with its floor."""
    text = (_SOURCE.parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| `([^`]+)` \|", text, flags=re.MULTILINE)
    assert {name.removesuffix(".py"): int(floor) for floor, name in rows} == _FLOORS


def test_no_module_outgrows_one_idea() -> None:
    """Modules stay short enough to read."""
    assert [name for name, source in _modules().items() if source.count("\n") > _MAX_LINES] == []


def test_every_exemption_has_a_code() -> None:
    """Each ``noqa`` and ``type: ignore`` says which rule it means."""
    bare = re.compile(r"#\s*(noqa(?!:)|type:\s*ignore(?!\[))")
    root = _SOURCE.parents[1]
    found = [
        f"{path.relative_to(root)}: {line}"
        for directory in (_SOURCE, root / "tests", root / "examples")
        for path in sorted(directory.rglob("*.py"))
        for line in path.read_text(encoding="utf-8").splitlines()
        if bare.search(line)
    ]
    assert found == []
