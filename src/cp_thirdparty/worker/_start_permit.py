"""
Whether a handler in a process pool has begun.

A pool does not report when a task begins: its future counts as running while it still waits for a process.  So each
task has a file, its permit.  Who removes the file decides: the process, which then calls the handler, or the worker,
after which the handler is never called.

On a Dask cluster a handler begins once.  Dask runs a task again if the process dies that runs it, or that has its
result.  Dask never runs a task at two places at a time, so a note in its scheduler is enough.
"""

from __future__ import annotations

import secrets
import tempfile
from pathlib import Path
from typing import Final

from cp_thirdparty.artifacts._temporary import PrivateDirectory
from cp_thirdparty.exceptions import ArtifactError

# Why a handler was not called whose worker has removed the permit.
WITHDRAWN: Final = "the handler was not called in time"


class Permits:
    """The permits of a worker, in a temporary directory: a sweep removes those of a killed worker."""

    def __init__(self) -> None:
        self._directory: PrivateDirectory | None = None

    def create(self) -> str | None:
        """Create a permit; return ``None`` if there is no place for a file."""
        name = secrets.token_hex(8)
        try:
            if self._directory is None:
                self._directory = PrivateDirectory(Path(tempfile.gettempdir()))
            self._directory.create_file(name).close()
        except (OSError, ArtifactError):
            return None
        return str(self._directory.path / name)

    def remove(self) -> None:
        """Remove all permits."""
        directory, self._directory = self._directory, None
        if directory is not None:
            directory.close()


def take_permit(path: str) -> bool:
    """Remove a permit; return ``False`` if the other side has removed it, or may have."""
    try:
        Path(path).unlink()
    except OSError:
        return False
    return True


class BegunBeforeError(Exception):
    """A handler has begun before, in a process of the cluster that has died."""


def begin_once(note: str) -> bool:
    """
    Note in Dask's scheduler that a handler begins.

    Raises:
        BegunBeforeError: It has begun before.
    """
    from distributed import Event  # noqa: PLC0415 - only where Dask runs the handler

    event = Event(note)
    if event.is_set():
        raise BegunBeforeError
    event.set()
    return True


def remove_note(note: str) -> None:
    """Remove what `begin_once` has noted."""
    from distributed import Event  # noqa: PLC0415

    Event(note).clear()


def is_taken(path: str) -> bool:
    """Return whether a permit was removed."""
    return not Path(path).exists()
