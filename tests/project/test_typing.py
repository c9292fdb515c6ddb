"""
What type checkers report about the public surface, a partner's program, and misuse.

They look from outside: the package is installed in an environment of its own, with and without the stubs of boto.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import attrs
import pytest
from support.public_surface import FILE

import cp_thirdparty

_TYPING = Path(__file__).parents[1] / "typing"
_PACKAGE = Path(cp_thirdparty.__file__).parent
_STUBS = re.compile(r"(aiobotocore|botocore|boto3)[-_]stubs|types[-_](aiobotocore|boto3)|mypy[-_]boto3")
_MARK = re.compile(r"# E: (?P<checkers>[a-z ]+)$")
_TY_ERROR = re.compile(r"^(?P<file>[^:]+):(?P<line>\d+):\d+: error(?P<message>.*)$")
_MYPY_ERROR = re.compile(r"^(?P<file>[^:]+):(?P<line>\d+): error: (?P<message>.*)$")

_SURFACE = ("api.py", "partner.py", "testing_api.py", "worker_api.py")

# File, line, message.
_Error = tuple[str, int, str]


@attrs.frozen
class Environment:
    """A directory with a virtual environment in it."""

    directory: Path
    scripts: Path

    @classmethod
    def make(cls, directory: Path, *, has_stubs: bool) -> Environment:
        """Make one with the package and all that is installed here, with the stubs of boto or without."""
        venv.create(directory / "env", with_pip=False)
        paths = sysconfig.get_paths("venv", vars={"base": str(directory / "env")}) if _HAS_VENV_SCHEME else None
        site = Path(paths["purelib"]) if paths else next((directory / "env").glob("lib/python*/site-packages"))
        scripts = Path(paths["scripts"]) if paths else directory / "env" / "bin"
        for installed in Path(sysconfig.get_path("purelib")).iterdir():
            is_ours = "cp_thirdparty" in installed.name or installed.suffix == ".pth"
            if not is_ours and (has_stubs or not _STUBS.match(installed.name)):
                (site / installed.name).symlink_to(installed)
        (site / "cp_thirdparty").symlink_to(_PACKAGE)
        (directory / "pyrightconfig.json").write_text('{"typeCheckingMode": "strict"}')
        return cls(directory, scripts)

    def run(self, *arguments: str) -> str:
        """Run a module of this Python in the directory, with the environment in force."""
        path = os.pathsep.join((str(self.scripts), os.environ["PATH"]))
        environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "MYPYPATH")}
        done = subprocess.run(
            [sys.executable, "-m", *arguments],
            cwd=self.directory,
            env={**environment, "PATH": path},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode in (0, 1), done.stdout + done.stderr  # 1: it found errors
        return done.stdout

    def pyright(self, *arguments: str) -> Any:
        """Run pyright and give its report."""
        output = self.run("pyright", "--outputjson", *arguments)
        return json.loads(output[output.index("{") :])


_HAS_VENV_SCHEME = "venv" in sysconfig.get_scheme_names()  # since Python 3.11


def _mypy_errors(environment: Environment, files: list[str]) -> list[_Error]:
    python = str(environment.scripts / "python")
    output = environment.run("mypy", "--strict", "--config-file=", "--python-executable", python, *files)
    found = [match for line in output.splitlines() if (match := _MYPY_ERROR.match(line))]
    return [(match["file"], int(match["line"]), match["message"]) for match in found]


def _pyright_errors(environment: Environment, files: list[str]) -> list[_Error]:
    report = environment.pyright(*files)
    assert report["summary"]["filesAnalyzed"] == len(files)
    found = report["generalDiagnostics"]
    return [(Path(one["file"]).name, one["range"]["start"]["line"] + 1, one["message"]) for one in found]


def _ty_errors(environment: Environment, files: list[str]) -> list[_Error]:
    python = str(environment.directory / "env")
    output = environment.run("ty", "check", "--python", python, "--output-format", "concise", *files)
    assert "diagnostic" in output or "All checks passed" in output, output
    found = [match for line in output.splitlines() if (match := _TY_ERROR.match(line))]
    return [(match["file"], int(match["line"]), match["message"]) for match in found]


_CHECKERS: dict[str, Callable[[Environment, list[str]], list[_Error]]] = {
    "mypy": _mypy_errors,
    "pyright": _pyright_errors,
    "ty": _ty_errors,
}
each_checker = pytest.mark.parametrize("checker", _CHECKERS)


def _errors(checker: str, environment: Environment, *files: str) -> list[_Error]:
    """Check files of the directory ``typing`` as somebody else's program."""
    for file in files:
        shutil.copy(_TYPING / file, environment.directory)
    return _CHECKERS[checker](environment, list(files))


@pytest.fixture(scope="module")
def _types_are_installed() -> None:
    missing = [name for name in (*_CHECKERS, "types_boto3_codepipeline") if find_spec(name) is None]
    if missing:
        pytest.fail(f"the dependency group types is not installed: {', '.join(missing)}")


@pytest.fixture(scope="module")
def with_stubs(tmp_path_factory: pytest.TempPathFactory, _types_are_installed: None) -> Environment:
    """Give an environment with the stubs of boto."""
    return Environment.make(tmp_path_factory.mktemp("with_stubs"), has_stubs=True)


@pytest.fixture(scope="module")
def without_stubs(tmp_path_factory: pytest.TempPathFactory, _types_are_installed: None) -> Environment:
    """Give an environment without the stubs of boto."""
    return Environment.make(tmp_path_factory.mktemp("without_stubs"), has_stubs=False)


@pytest.mark.slow
@each_checker
def test_the_public_surface_has_the_types_that_it_should(checker: str, with_stubs: Environment) -> None:
    """The types of all that is public are what api.py asserts, and a partner's program needs no cast and no ignore."""
    assert _errors(checker, with_stubs, *_SURFACE) == []


@pytest.mark.slow
@each_checker
def test_the_types_are_exact_without_the_stubs_of_boto(checker: str, without_stubs: Environment) -> None:
    """Who has no stubs of boto installed sees the same types of `create()`, of the operations and of all else."""
    (without_stubs.directory / "untyped.py").write_text("from botocore.client import BaseClient as BaseClient\n")
    untyped = {file for file, _, _ in _CHECKERS[checker](without_stubs, ["untyped.py"])}
    assert untyped == (set() if checker == "ty" else {"untyped.py"})  # ty reads the source of botocore
    own = [file for file in _SURFACE if file != "testing_api.py"]  # it takes a client of botocore
    assert _errors(checker, without_stubs, *own) == []


@pytest.mark.slow
@each_checker
def test_clients_of_boto_can_be_wrapped(checker: str, with_stubs: Environment) -> None:
    """With their stubs installed, clients of botocore and boto3 are accepted."""
    assert _errors(checker, with_stubs, "wrapped.py") == []


@pytest.mark.slow
@each_checker
def test_the_client_for_asyncio_has_the_types_that_it_should(checker: str, with_stubs: Environment) -> None:
    """With the stubs of aiobotocore installed, its clients and sessions are accepted, and the responses have types."""
    assert _errors(checker, with_stubs, "async_api.py", "async_wrapped.py") == []


@pytest.mark.slow
@each_checker
def test_misuse_does_not_type_check(checker: str, with_stubs: Environment) -> None:
    """Each line that is marked for a checker is refused by it, and no other line is."""
    lines = (_TYPING / "misuse.py").read_text().splitlines()
    marks = {number: mark["checkers"].split() for number, line in enumerate(lines, 1) if (mark := _MARK.search(line))}
    marked = {number for number, checkers in marks.items() if checker in checkers}
    errors = _errors(checker, with_stubs, "misuse.py")
    not_refused = sorted(marked - {line for _, line, _ in errors})
    assert [f"{number}: {lines[number - 1].strip()}" for number in not_refused] == []
    assert [(line, message) for _, line, message in errors if line not in marked] == []
    assert sum(line.count("# E:") for line in lines) == len(marks)  # none is misspelt
    assert {name for names in marks.values() for name in names} == set(_CHECKERS)


def test_every_public_name_is_used_where_types_are_checked() -> None:
    """Each public name, and each field and method of a public class, stands in code whose types are checked."""
    used: set[str] = set()
    for path in _TYPING.glob("*.py"):
        if path.name != "misuse.py":
            used |= _used_names(ast.parse(path.read_text(encoding="utf-8")))
    lines = [line.split(" ") for line in FILE.read_text(encoding="utf-8").splitlines()]
    names = {name for _, name, kind, *_ in lines if kind != "is" and name != "__version__"}
    assert len(names) > 400
    assert sorted(name for name in names if name.rpartition(".")[2] not in used) == []


def _used_names(tree: ast.Module) -> set[str]:
    """Return the names that code uses, not those in its comments and docstrings."""
    nodes = list(ast.walk(tree))
    return (
        {node.attr for node in nodes if isinstance(node, ast.Attribute)}
        | {node.id for node in nodes if isinstance(node, ast.Name)}
        | {node.arg for node in nodes if isinstance(node, ast.keyword) and node.arg is not None}
    )


@pytest.mark.slow
def test_every_public_name_has_a_known_type(with_stubs: Environment) -> None:
    """Pyright knows the type of every symbol of the package."""
    report = with_stubs.pyright("--verifytypes", "cp_thirdparty", "--ignoreexternal")["typeCompleteness"]
    unknown = [symbol["name"] for symbol in report["symbols"] if symbol["isExported"] and not symbol["isTypeKnown"]]
    assert unknown == []
    assert report["completenessScore"] == 1
    names = {symbol["name"].rpartition(".")[2] for symbol in report["symbols"]}
    assert {
        "AsyncThirdPartyJobClient",
        "ThirdPartyJobClient",
        "JobDetails",
        "structure_configuration",
    } <= names  # it has looked at the package
