"""Clients that need their own versions of botocore, in the environments that the nox session `clients` creates."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

_VARIABLE = "CP_THIRDPARTY_CLIENTS"
_PROGRAMS = "Scripts" if os.name == "nt" else "bin"


def environments() -> Path:
    """Return the folder of the environments."""
    folder = os.environ.get(_VARIABLE)
    if folder is None:
        raise RuntimeError(f"{_VARIABLE} is not set: run these tests with `python3 noxfile.py clients`")
    return Path(folder)


def find_program(environment: str, program: str) -> Path:
    """Return the path of a program of an environment."""
    return environments() / environment / _PROGRAMS / program


class ForkedProgram:
    """
    A command line that starts in a fifth of the time.

    Each run is a fork of one process, which has imported the command line.  Runs with another encoding need a process
    of their own: Python chooses the encoding when it starts.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def run(self, *arguments: str, env: Mapping[str, str], check: bool = True) -> subprocess.CompletedProcess[bytes]:
        """Run the command line as `subprocess.run` does."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(json.dumps({"arguments": arguments, "environment": dict(env)}) + "\n")
        stdin.flush()
        response = json.loads(stdout.readline())
        outputs = (response[name].encode("latin-1") for name in ("stdout", "stderr"))
        result = subprocess.CompletedProcess(arguments, response["returncode"], *outputs)
        if check:
            result.check_returncode()
        return result


@contextmanager
def start_forked(python: Path | str, module: str, *first_arguments: str) -> Generator[ForkedProgram]:
    """Start a process that imports the function `main` of a module, and runs it once with the arguments."""
    program = Path(__file__).parents[1] / "clients" / "forked_program.py"
    with subprocess.Popen(
        [python, program, module, *first_arguments],
        env={**os.environ, "PYTHONUTF8": "1", "AWS_DEFAULT_REGION": "us-east-1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield ForkedProgram(process)
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(60) == 0
