"""``noxfile.py`` runs its sessions on a machine without nox."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

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


@pytest.mark.slow
def test_the_sessions_are_listed(project: Path) -> None:
    """Real nox from the package index reads the noxfile and lists every session that CONTRIBUTING.md names."""
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
        "benchmarks",
        "release",
        "matrix",
        "kill",
        "soak",
        "fuzz",
    }
    assert wanted <= listed
