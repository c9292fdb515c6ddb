"""
Decide whether a handler in a process pool may begin.

A pool does not report when a task begins: its future counts as running while it still waits for a process.  So each
task has a file, its permit.  If the process of the pool removes the permit first, it calls the handler.  If the worker
removes the permit first, the handler is never called.

On a Dask cluster, a handler must begin only once.  Dask runs a task again if a process has ended that ran the task or
stored its result.  Dask never runs a task in two processes at the same time, so it is enough to note the start of the
handler in the scheduler of Dask.  A repeated task can fail before it reads the note, for example because it has no
client token.  So if a task reports that it did not call the handler, the worker tries to set the note itself: then a
task that still runs does not call the handler any more, and the worker knows whether another one has.
"""

from __future__ import annotations

import secrets
import tempfile
from pathlib import Path
from typing import Final

from cp_thirdparty.artifacts._temporary import PrivateDirectory
from cp_thirdparty.exceptions import ArtifactError

# The reason if a handler was not called because the worker had removed the permit.
WITHDRAWN: Final = "the handler was not called in time"


class Permits:
    """The permits of a worker: files in a temporary directory, which a later sweep removes if the worker was killed."""

    def __init__(self) -> None:
        self._directory: PrivateDirectory | None = None

    def create(self) -> str | None:
        """Create a permit and return its path; return ``None`` if the file cannot be created."""
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
    """Remove a permit; return ``False`` if this fails, because then the other side may have removed it."""
    try:
        Path(path).unlink()
    except OSError:
        return False
    return True


class BegunBeforeError(Exception):
    """The handler of a repeated task has begun before, or may have.  Events and logs have the name of this class."""


def begin_once(note: str) -> bool:
    """Note in Dask's scheduler that a handler begins; return ``False`` if it has already begun in another process."""
    from distributed import Event  # noqa: PLC0415 - only where Dask runs the handler

    event = Event(note)
    if event.is_set():
        return False
    event.set()
    return True


def remove_note(note: str) -> None:
    """Remove the note of `begin_once` from Dask's scheduler."""
    from distributed import Event  # noqa: PLC0415

    Event(note).clear()


def is_taken(path: str) -> bool:
    """Return whether a permit was removed."""
    return not Path(path).exists()
