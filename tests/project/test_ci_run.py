"""``.ci/run`` installs missing programs, and fails in CI if it cannot."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

_SCRIPT = Path(__file__).parents[2] / ".ci" / "run"
# Other work would change what these benchmarks judge.
_TIMED = "benchmarks -- --short documents local_service"

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the script is for Linux")


def _write(path: Path, body: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/bash\n{body}\n", encoding="utf-8")
    path.chmod(0o755)


@pytest.fixture(name="machine")
def _machine(tmp_path: Path) -> Path:
    """A project whose sessions only print, on a machine without Chromium and bsdtar, used by a normal user."""
    programs = tmp_path / "bin"
    _write(tmp_path / ".ci" / "pythons", "")
    for name, body in (
        ("id", "echo 1000"),
        ("python3", '[ "$2" = interpreters ] && echo "Rows: 3.15"; true'),
        *((name, "") for name in ("valgrind", "zip", "unzip", "git", "7zz", "jar", "go")),
        ("sudo", '[ "$1" = -n ] && printf "%s\\n" "$*" >> calls && [ ! -e no-sudo ]'),
    ):
        _write(programs / name, body)
    for name in ("bash", "cat", "dirname", "mkdir", "mktemp", "rm", "touch"):
        (programs / name).symlink_to(shutil.which(name) or name)
    shutil.copy(_SCRIPT, tmp_path / ".ci")
    return tmp_path


def _run(machine: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", ".ci/run"],
        cwd=machine,
        env={"PATH": str(machine / "bin"), **settings},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_a_normal_user_installs_programs_with_sudo(machine: Path) -> None:
    """Without root, sudo runs apt-get and asks for no password; the last line has the rows that are skipped."""
    result = _run(machine, CI="true")
    assert result.returncode == 0, result.stdout + result.stderr
    calls = (machine / "calls").read_text(encoding="utf-8")
    assert "apt-get -qq install --no-install-recommends chromium libarchive-tools\n" in calls
    assert result.stdout.endswith("total\nRows: 3.15\n")


@pytest.mark.parametrize(("settings", "code"), [({}, 0), ({"CI": "true"}, 1)], ids=["a clone", "CI"])
def test_a_missing_program_fails_in_ci(machine: Path, settings: dict[str, str], code: int) -> None:
    """If apt-get cannot install a program, CI fails and another run goes on."""
    (machine / "no-sudo").touch()
    result = _run(machine, **settings)
    assert result.returncode == code
    assert "chromium libarchive-tools not found, and apt-get could not install them.\n" in result.stdout
    assert ("programs FAILED" in result.stdout) == bool(code)


@pytest.mark.parametrize("session", ["tests", "lint", "docs", "slow"])
def test_a_failure_is_the_last_check(machine: Path, session: str) -> None:
    """The output of a check that fails is printed, with the seconds of all that ended; the matrix does not run."""
    _write(machine / "bin" / "python3", f'echo "out of $2"; [ "$2" != {session} ]')
    result = _run(machine)
    assert result.returncode == 1
    assert f"out of {session}\n" in result.stdout
    assert f"  {session} FAILED\n" in result.stdout
    assert "  programs\n" in result.stdout
    assert "  matrix\n" not in result.stdout


def test_two_lanes_share_the_checks(machine: Path) -> None:
    """While one lane has a long check, the other takes the rest; each check runs once, and later ones wait for both."""
    body = (
        'echo "begin $*" >> calls\n'
        'while [ "$3" = slow ] && ! grep -q "end noxfile.py lint" calls; do sleep 0.01; done\n'
        'echo "end $*" >> calls'
    )
    _write(machine / "bin" / "python3", body)
    for name in ("grep", "sleep"):
        (machine / "bin" / name).symlink_to(shutil.which(name) or name)
    result = _run(machine)
    assert result.returncode == 0, result.stderr
    calls = (machine / "calls").read_text(encoding="utf-8").splitlines()
    begun = [call.removeprefix("begin noxfile.py ") for call in calls if call.startswith("begin ")]
    shared = ["matrix slow --install-only", "docs", "benchmarks -- --short", "release", "types"]
    shared += ["corpus", "clients", "dynamodb", "examples", "lint"]
    assert (begun[0], begun[-4:]) == ("tests", [_TIMED, "slow", "interpreters", "matrix"])
    assert sorted(begun[1:-4]) == sorted(shared)
    alone = calls.index(f"begin noxfile.py {_TIMED}")
    assert calls[alone - 1].startswith("end ")
    assert calls[alone : alone + 2] == [f"begin noxfile.py {_TIMED}", f"end noxfile.py {_TIMED}"]
    assert alone > calls.index("end noxfile.py matrix slow --install-only")
