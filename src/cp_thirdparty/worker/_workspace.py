"""The workspace of a job: a directory for the files of its handler.  The worker removes it with all files in it."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

from cp_thirdparty.artifacts._temporary import PrivateDirectory, sweep

_NAME: Final = "workspace"
_PRIVATE: Final = 0o700


class Workspace:
    """
    An empty directory that only the user of this process can read.

    The directory is inside a private temporary directory.  The private directory is removed at the end even if the
    handler has removed the workspace or changed its mode.

    Attributes:
        path: The path of the workspace.
    """

    def __init__(self) -> None:
        # The directory is not hidden, because many build tools ignore directories whose names start with a dot.
        self._outer = PrivateDirectory(Path(tempfile.gettempdir()), is_hidden=False)
        try:
            self._outer.opened.make_directory(_NAME, _PRIVATE)
        except BaseException:
            self._outer.close()
            raise
        self.path = self._outer.path / _NAME

    def remove(self) -> str:
        """Remove the workspace and all files in it; return an error message, or an empty string if all is removed."""
        return self._outer.close()


def sweep_workspaces() -> tuple[str, ...]:
    """
    Remove the temporary directories of processes that have ended, and return the names of these directories.

    Only the system's directory for temporary files is searched.
    """
    # If the directory for temporary files does not exist or cannot be listed, the worker must start all the same.
    with suppress(OSError):
        return sweep(Path(tempfile.gettempdir())).removed
    return ()
