"""The workspace of a job: a directory for its handler, which is removed whatever the handler has left in it."""

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
    An empty directory that only its user can read.

    It is inside a temporary directory, so a handler may also remove it or change its mode.

    Attributes:
        path: Its path.
    """

    def __init__(self) -> None:
        # Not hidden: many tools that read sources leave out directories whose names start with a dot.
        self._outer = PrivateDirectory(Path(tempfile.gettempdir()), is_hidden=False)
        try:
            self._outer.inner.make_directory(_NAME, _PRIVATE)
        except BaseException:
            self._outer.close()
            raise
        self.path = self._outer.path / _NAME

    def remove(self) -> str:
        """Remove it, and return what prevented that; empty if nothing is left."""
        return self._outer.close()


def sweep_workspaces() -> tuple[str, ...]:
    """Remove the temporary directories of dead processes from the directory for temporary files; return their names."""
    with suppress(OSError):  # there is none, or it cannot be listed: that must not keep a worker from its start
        return sweep(Path(tempfile.gettempdir())).removed
    return ()
