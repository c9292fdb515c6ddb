"""``noxfile.py`` runs its sessions on a machine without nox."""

from __future__ import annotations

import ast
import os
import runpy
import shutil
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest

_NOXFILE = Path(__file__).parents[2] / "noxfile.py"
# Run the noxfile as if the modules named first were not installed.
_WITHOUT = "import runpy, sys; sys.modules.update(dict.fromkeys({!r})); runpy.run_path({!r}, {{}}, '__main__')"


@pytest.fixture(name="project")
def _project(tmp_path: Path) -> Path:
    """A folder with the noxfile only."""
    shutil.copy(_NOXFILE, tmp_path)
    return tmp_path


@pytest.fixture(name="wheels")
def _wheels(tmp_path: Path) -> Path:
    """A folder with a nox that prints its arguments."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    with zipfile.ZipFile(folder / "nox-9999-py3-none-any.whl", "w") as wheel:
        wheel.writestr("nox/__init__.py", "")
        wheel.writestr("nox/__main__.py", "import sys; print(sys.argv[1:]); sys.exit(len(sys.argv) - 1)")
        wheel.writestr("nox-9999.dist-info/METADATA", "Metadata-Version: 2.1\nName: nox\nVersion: 9999\n")
        wheel.writestr("nox-9999.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("nox-9999.dist-info/RECORD", "")
    return folder


def _run(project: Path, *arguments: str, without: tuple[str, ...] = (), **settings: str) -> tuple[int, str, str]:
    program = [sys.executable, "-c", _WITHOUT.format(without, str(project / "noxfile.py"))]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("COV", "NOX"))}
    result = subprocess.run(
        [*program, *arguments],
        cwd=project,
        env={**environment, **settings},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    return result.returncode, result.stdout.strip(), result.stderr


@pytest.mark.slow
def test_nox_is_installed_once(project: Path, wheels: Path) -> None:
    """The first run installs nox without ensurepip; each run passes sessions, options and nox's exit code on."""
    offline = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels), "PIP_USER": "1", "PIP_REQUIRE_VIRTUALENV": "1"}
    file = ["-f", str(project / "noxfile.py")]
    first = _run(project, without=("ensurepip",), **offline)
    assert first[:2] == (2, str(file)), first[2]
    shutil.rmtree(wheels)
    for arguments, expected in (
        (["tests"], ["-s", "tests"]),
        (["tests", "lint", "--", "-k", "name"], ["-s", "tests", "lint", "--", "-k", "name"]),
        (["--list"], ["--list"]),
    ):
        again = _run(project, *arguments, without=("ensurepip", "pip"), **offline)
        assert again[:2] == (len(file + expected), str(file + expected)), again[2]


@pytest.mark.slow
@pytest.mark.skipif(find_spec("ensurepip") is None, reason="this Python has no ensurepip")
def test_ensurepip_replaces_a_missing_pip(project: Path, wheels: Path) -> None:
    """A Python without pip installs nox with the pip of ensurepip."""
    code, output, error = _run(project, without=("pip",), PIP_NO_INDEX="1", PIP_FIND_LINKS=str(wheels))
    assert (code, output) == (2, str(["-f", str(project / "noxfile.py")])), error


@pytest.mark.slow
def test_a_failed_installation_is_reported(project: Path, wheels: Path) -> None:
    """If nox cannot be installed, the command fails with the reason, and the next run tries again."""
    code, _, error = _run(project, PIP_NO_INDEX="1", PIP_FIND_LINKS=str(project))
    assert code == 1
    assert "No matching distribution found for nox" in error
    assert "noxfile.py could not install nox" in error
    assert _run(project, PIP_NO_INDEX="1", PIP_FIND_LINKS=str(wheels))[0] == 2


def test_a_python_without_pip_is_reported(project: Path) -> None:
    """A Python with neither pip nor ensurepip gets one sentence that names the package to install."""
    code, _, error = _run(project, without=("pip", "ensurepip"))
    assert code == 1
    assert error.startswith("noxfile.py needs pip")
    assert "apt-get install python3-pip" in error


def test_an_old_python_is_reported(project: Path) -> None:
    """Python 3.8 can parse the file, and gets one line that names the version it needs."""
    ast.parse(_NOXFILE.read_text(encoding="utf-8"), feature_version=(3, 8))
    program = "import runpy, sys; sys.version_info = (3, 9, 2); runpy.run_path('noxfile.py', {}, '__main__')"
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=project, capture_output=True, text=True, check=False, timeout=60
    )
    assert result.returncode == 1
    assert result.stderr.startswith("noxfile.py needs Python 3.10 or newer; ")
    assert result.stderr.count("\n") == 1


def test_options_without_a_separator_get_a_hint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """If nox fails and there was no `--`, the correct command is printed; otherwise nothing is."""
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\nexit 3\n", encoding="utf-8")
    program.chmod(0o755)
    noxfile = _load(monkeypatch)
    monkeypatch.setitem(noxfile["main"].__globals__, "install_nox", lambda: program)
    assert noxfile["main"](["tests", "-k", "x"]) == 3
    assert "after `--`: python3 noxfile.py tests -- -k x\n" in capsys.readouterr().out
    for arguments in (["tests"], ["tests", "--", "-k", "x"], ["--list"]):
        assert noxfile["main"](arguments) == 3
        assert capsys.readouterr().out == ""


class _SkipError(Exception):
    """What `session.skip` raises."""


def _load(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Load the noxfile with a nox that leaves each session a plain function."""
    nox = MagicMock()
    nox.session = lambda function=None, **_: function or (lambda decorated: decorated)
    nox.parametrize = lambda *_, **__: lambda decorated: decorated
    monkeypatch.setitem(sys.modules, "nox", nox)
    return runpy.run_path(str(_NOXFILE))


def test_the_newest_python_of_pyenv_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """3.13.10 is newer than 3.13.9 and than a candidate; a free-threaded build is not used."""
    for name in ("3.13.10", "3.13.9", "3.13.11rc1", "3.13.12t", "3.14.1t"):
        path = tmp_path / "versions" / name / "bin" / f"python{name[:4]}"
        path.parent.mkdir(parents=True)
        path.touch()
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    monkeypatch.setenv("CP_THIRDPARTY_PYTHONS", str(tmp_path / "none"))
    find_python = _load(monkeypatch)["find_python"]
    assert find_python("3.13") == str(tmp_path / "versions" / "3.13.10" / "bin" / "python3.13")
    assert find_python("3.14") == "3.14"


def test_options_after_the_separator_keep_the_tests_of_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """`nox -s matrix -- -k name` selects among the tests of the row."""
    noxfile = _load(monkeypatch)
    monkeypatch.setitem(noxfile["matrix"].__globals__, "install", lambda *_: None)
    session = MagicMock(posargs=["-k", "name"])
    noxfile["matrix"](session, noxfile["MATRIX"]["3.12"])
    assert session.run.call_args.args[-4:] == ("tests/client", "tests/models", "-k", "name")


def test_a_row_that_repeats_the_session_tests_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row with the Python and the requirements of the session `tests` installs nothing; another row of it does."""
    noxfile = _load(monkeypatch)
    installed: list[tuple[str, ...]] = []
    monkeypatch.setitem(
        noxfile["matrix"].__globals__, "install", lambda _, *requirements: installed.append(requirements)
    )
    rows = noxfile["MATRIX"]
    monkeypatch.setattr(sys, "version_info", SimpleNamespace(major=3, minor=13))
    session = MagicMock(posargs=[])
    session.skip.side_effect = _SkipError
    with pytest.raises(_SkipError):
        noxfile["matrix"](session, rows["3.13-newest"])
    assert not installed
    for name in ("3.13-middle", "3.12"):
        noxfile["matrix"](session, rows[name])
    assert installed == [rows["3.13-middle"].requirements, rows["3.12"].requirements]


@pytest.mark.parametrize(
    ("missing", "is_failed"), [((), False), (("3.14", "3.15"), False), (("3.11", "3.15"), True)], ids=str
)
@pytest.mark.parametrize("ci", ["", "true"])
def test_a_missing_interpreter_fails_in_ci(
    *,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    missing: tuple[str, ...],
    is_failed: bool,
    ci: str,
) -> None:
    """The rows without an interpreter are printed; in CI only Pythons that need root may be missing."""
    noxfile = _load(monkeypatch)
    monkeypatch.setenv("CI", ci)
    monkeypatch.setitem(noxfile["interpreters"].__globals__, "find_python", lambda version: version)
    monkeypatch.setattr(shutil, "which", lambda version: None if version in missing else version)
    session = MagicMock()
    noxfile["interpreters"](session)
    assert session.error.called == (is_failed and bool(ci))
    assert capsys.readouterr().out.endswith(f": {', '.join(missing)}\n" if missing else "")


@pytest.mark.slow
def test_the_sessions_are_listed(project: Path) -> None:
    """Real nox from the package index reads the noxfile and lists every session that CONTRIBUTING.md names."""
    shutil.copy(_NOXFILE.parent / "pyproject.toml", project)
    code, output, error = _run(project, "--list", without=("ensurepip",))
    assert code == 0, error
    listed = {line.split()[1].partition("(")[0] for line in output.splitlines() if line.startswith(("* ", "- "))}
    wanted = {
        "tests",
        "slow",
        "lint",
        "types",
        "docs",
        "clients",
        "corpus",
        "dynamodb",
        "benchmarks",
        "release",
        "matrix",
        "kill",
        "soak",
        "fuzz",
    }
    assert wanted <= listed
