"""
Other programs that extract archives: the judges of what is harmless.

An archive is harmless if at least two of Info-ZIP's unzip, bsdtar, Go and Python extract it without an error to a tree
without a way out.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from support.trees import find_ways_out

HERE = Path(__file__).parent
_SECONDS = 120
# Without it, unzip does not know how to show names.
_ENVIRONMENT = {**os.environ, "LC_ALL": "C.UTF-8"}
# 1: it has warned, and extracted everything.
_WARNING = 1

_PYTHON = "import sys, zipfile; zipfile.ZipFile(sys.argv[1]).extractall(sys.argv[2])"


@cache
def build_go(name: str) -> Path:
    """Build a program of this folder, and return its path."""
    go = shutil.which("go")
    if go is None:
        pytest.skip("go is not installed")
    program = Path(tempfile.mkdtemp(prefix="corpus-")) / name
    subprocess.run([go, "build", "-o", str(program), str(HERE / f"{name}.go")], check=True, cwd=program.parent)
    return program


def _run(*command: str | Path) -> int | None:
    """Return the exit status of a program, or ``None`` if it did not end in time."""
    try:
        return subprocess.run(
            command,
            check=False,
            env=_ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_SECONDS,
        ).returncode
    except subprocess.TimeoutExpired:
        return None


def _unzip(archive: Path, to: Path) -> bool:
    return _run("unzip", "-q", "-o", archive, "-d", to) in (0, _WARNING)


def _bsdtar(archive: Path, to: Path) -> bool:
    # Without a password, it asks for the one of an encrypted archive again and again.
    return _run("bsdtar", "--passphrase", "unknown", "-xf", archive, "-C", to) == 0


def _go(archive: Path, to: Path) -> bool:
    return _run(build_go("extract"), archive, to) == 0


def _python(archive: Path, to: Path) -> bool:
    return _run(sys.executable, "-c", _PYTHON, archive, to) == 0


READERS: dict[str, Callable[[Path, Path], bool]] = {"unzip": _unzip, "bsdtar": _bsdtar, "go": _go, "python": _python}


def extract_by(name: str, archive: Path, to: Path) -> bool:
    """Extract with another program, and return whether it was harmless."""
    to.mkdir()
    return READERS[name](archive, to) and find_ways_out(to) == []


def find_harmless(archive: Path) -> list[str]:
    """Return the programs for which an archive is harmless."""
    found: list[str] = []
    for name in READERS:
        with tempfile.TemporaryDirectory(prefix="corpus-") as directory:
            if extract_by(name, archive.resolve(), Path(directory) / "out"):
                found.append(name)
    return found
