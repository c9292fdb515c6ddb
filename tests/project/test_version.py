"""The version is written in one place, and the changelog and the lower bounds agree with what is tested."""

from __future__ import annotations

import importlib
import importlib.metadata
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from cp_thirdparty import __version__

_ROOT = Path(__file__).parents[2]


def test_the_changelog_begins_with_this_version() -> None:
    """The top entry of CHANGELOG.md is this version."""
    headings = re.findall("^## .*", (_ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    form = re.compile(r"## \[([^\]]+)\] - (?:unreleased|\d{4}-\d\d-\d\d)")
    versions = [match and match[1] for match in map(form.fullmatch, headings)]
    assert versions[0] == __version__
    assert None not in versions


def test_the_installed_version_is_this_one() -> None:
    """What pip shows is ``__version__``."""
    assert importlib.metadata.version("cp-thirdparty") == __version__


@pytest.mark.skipif(sys.version_info < (3, 11), reason="the parser came with Python 3.11")
def test_the_lower_bounds_are_those_that_are_tested() -> None:
    """Each lower bound of a dependency is the version in which the matrix runs the tests."""
    tomllib: Any = importlib.import_module("tomllib")
    project: dict[str, Any] = tomllib.loads((_ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = project["project"]["optional-dependencies"]
    # The other extras have no old version to hold.
    wanted = [*project["project"]["dependencies"], *extras["artifacts"], *extras["prometheus"]]
    bounds = dict(re.findall(r"([a-z0-9-]+)>=([0-9.]+)", " ".join(wanted)))
    tested = dict(dependency.split("==") for dependency in project["dependency-groups"]["lowest"])
    assert {dependency: _pad(version) for dependency, version in tested.items()} == {
        dependency: _pad(version) for dependency, version in bounds.items()
    }


@pytest.mark.skipif(sys.version_info < (3, 11), reason="the parser came with Python 3.11")
def test_the_matrix_has_each_declared_python() -> None:
    """The matrix runs with each declared Python and with no other."""
    tomllib: Any = importlib.import_module("tomllib")
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    classifiers = re.findall(r"Python :: (3\.\d+)", "\n".join(project["classifiers"]))
    declared = sorted(classifiers, key=_pad)
    tested = set(re.findall(r"Case\(\"(3\.\d+)\"", (_ROOT / "noxfile.py").read_text(encoding="utf-8")))
    assert tested == set(declared)
    assert project["requires-python"] == f">={declared[0]}"


def test_hooks_and_group_lint_use_the_same_versions() -> None:
    """Each tool of the pre-commit hooks has the version range of the dependency group ``lint``."""
    requirement = re.compile(r'"([a-z-]+>=[0-9.]+)"')
    hooks = requirement.findall((_ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    project = (_ROOT / "pyproject.toml").read_text(encoding="utf-8")
    group = requirement.findall(project.partition("\nlint = [")[2].partition("\n]")[0])
    assert set(hooks) == set(group) - {requirement for requirement in group if requirement.startswith("pre-commit>=")}


def _pad(version: str) -> tuple[int, ...]:
    numbers = [int(part) for part in version.split(".")]
    return tuple(numbers + [0] * (3 - len(numbers)))
