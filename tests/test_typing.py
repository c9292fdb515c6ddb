"""What type checkers say: of the public surface, of a partner's program, and of misuse."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from typing import Any

import pytest

_HERE = Path(__file__).parent
_ROOT = _HERE.parent
_TYPING = _HERE / "typing"
_MARK = re.compile(r"# E: (?P<checkers>[a-z ]+)$")
_MYPY_ERROR = re.compile(r"^(?P<file>[^:]+):(?P<line>\d+): error: (?P<rule>.*)$")


def _mypy(*arguments: str, **environment: str) -> str:
    pytest.importorskip("mypy", reason="mypy is not installed: it comes with the dependency group types")
    command = [sys.executable, "-m", "mypy", "--no-error-summary", "--hide-error-context", *arguments]
    done = _run(command, environment)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.stdout


def _pyright(*arguments: str) -> Any:
    pytest.importorskip("pyright", reason="pyright is not installed: it comes with the dependency group types")
    done = _run([sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "--outputjson", *arguments], {})
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return json.loads(done.stdout[done.stdout.index("{") :])


def _run(command: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=_ROOT, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )


def _mypy_errors(*files: Path) -> list[tuple[str, int, str]]:
    matches = map(_MYPY_ERROR.match, _mypy(*map(str, files)).splitlines())
    return sorted((Path(found["file"]).name, int(found["line"]), found["rule"]) for found in matches if found)


def _pyright_errors(*files: Path) -> list[tuple[str, int, str]]:
    diagnostics = _pyright(*map(str, files))["generalDiagnostics"]
    return sorted((Path(d["file"]).name, d["range"]["start"]["line"] + 1, d["message"]) for d in diagnostics)


# Checker -> what it says of files, as (file, line, message).
_CHECKERS: dict[str, Callable[..., list[tuple[str, int, str]]]] = {"mypy": _mypy_errors, "pyright": _pyright_errors}
each_checker = pytest.mark.parametrize("checker", _CHECKERS)


@each_checker
def test_the_public_surface_has_the_types_that_it_should(checker: str) -> None:
    """The types of all that is public are what api.py says, and a partner's program needs no cast and no ignore."""
    assert _CHECKERS[checker](_TYPING / "api.py", _TYPING / "partner.py") == []


@each_checker
def test_clients_of_boto_can_be_wrapped(checker: str) -> None:
    """With their stubs installed, clients of botocore and boto3 are accepted."""
    pytest.importorskip("types_boto3_codepipeline", reason="types-boto3 is not installed: see the dependency group types")
    assert _CHECKERS[checker](_TYPING / "wrapped.py") == []


@each_checker
def test_misuse_does_not_type_check(checker: str) -> None:
    """Each line that is marked for a checker is refused by it, and no other line is."""
    lines = (_TYPING / "misuse.py").read_text().splitlines()
    marks = {number: mark for number, line in enumerate(lines, 1) if (mark := _MARK.search(line))}
    marked = {number for number, mark in marks.items() if checker in mark["checkers"].split()}
    errors = _CHECKERS[checker](_TYPING / "misuse.py")
    refused = {line for _, line, _ in errors}
    assert [lines[number - 1] for number in sorted(marked - refused)] == [], "marked, but not refused"
    assert [error for error in errors if error[1] not in marked] == [], "refused, but not marked"
    assert len(marked) > 80  # the marks are found


@pytest.fixture
def without_stubs(tmp_path: Path) -> Path:
    """Make an environment with all that is installed here but the stubs of boto, and give its Python."""
    venv.create(tmp_path / "env", with_pip=False)
    (site,) = (tmp_path / "env").glob("[Ll]ib/**/site-packages")
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if not re.match(r"botocore.stubs|boto3.stubs|types.boto3|mypy.boto3", entry.name):
            (site / entry.name).symlink_to(entry)
    return next(python for name in ("bin/python", "Scripts/python.exe") if (python := tmp_path / "env" / name).exists())


@each_checker
def test_types_are_exact_without_the_stubs_of_boto(checker: str, without_stubs: Path, tmp_path: Path) -> None:
    """Who has no stubs of boto installed has the same types of `create()`, the operations and all else."""
    probe = "import botocore.client\nreveal_type(botocore.client.BaseClient.exceptions)\n"
    (tmp_path / "probe.py").write_text(probe)
