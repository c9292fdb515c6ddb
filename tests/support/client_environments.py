"""Clients that need their own versions of botocore, in the environments that the nox session `clients` creates."""

from __future__ import annotations

import os
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
