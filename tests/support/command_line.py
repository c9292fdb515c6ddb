"""Run the command line, in this process or in another, and return what it prints."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping

import attrs
import pytest

from cp_thirdparty.__main__ import main

DETAILS = "get-third-party-job-details"


@attrs.frozen
class Result:
    """The exit code and the output of a command."""

    code: int
    out: str
    err: str


def run_command(capsys: pytest.CaptureFixture[str], *arguments: str) -> Result:
    """Run a command in this process."""
    capsys.readouterr()
    code = main(arguments)
    shown = capsys.readouterr()
    return Result(code, shown.out, shown.err)


def run_program(*arguments: str, env: Mapping[str, str | None] | None = None, text: str = "") -> Result:
    """Run a command in another process; remove each variable whose value is ``None``."""
    environment = {**os.environ, **(env or {})}
    done = subprocess.run(
        [sys.executable, "-m", "cp_thirdparty", *arguments],
        env={name: value for name, value in environment.items() if value is not None},
        input=text,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return Result(done.returncode, done.stdout, done.stderr)
