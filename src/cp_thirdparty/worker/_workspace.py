"""The workspace of a job: a temporary directory, and its removal whatever the handler has left in it."""

from __future__ import annotations

import os
import tempfile
import time
import uuid
from pathlib import Path
from typing import Final

# The result of a job waits for the removal, so the removal must end long before CodePipeline's timeout of an hour.
_SECONDS: Final = 60.0

_PRIVATE: Final = 0o700


def create_workspace() -> Path:
    """Create an empty directory that only its user can read."""
    return Path(tempfile.mkdtemp(prefix="cp-thirdparty-"))


def remove_workspace(root: Path, *, seconds: float = _SECONDS) -> str:
    """
    Remove a directory with its content, and return what prevented that; empty if nothing is left.

    Read-only directories are made writable, and symbolic links are removed, not followed.  Each directory is moved to
    the top before its content is removed, so neither the depth nor the length of a path has a limit.

    Args:
        root: The directory.

        seconds: After how many seconds the rest is left.
    """
    removal = _Removal(root, time.monotonic() + seconds)
    removal.run()
    return removal.problem


class _Removal:
    """The removal of one directory, and the first problem of it."""

    def __init__(self, root: Path, ends_at: float) -> None:
        self.problem = ""
        self._root = root
        self._ends_at = ends_at
        self._waiting = [root]

    def run(self) -> None:
        while self._waiting and not self._is_late():
            folder = self._waiting.pop()
            try:
                folder.chmod(_PRIVATE)
                self._empty(folder)
                if folder is not self._root:
                    folder.rmdir()
            except OSError as failure:
                self._note(failure)
        try:
            self._root.rmdir()
        except OSError as failure:
            self._note(failure)

    def _empty(self, folder: Path) -> None:
        for entry in list(os.scandir(folder)):  # a list: entries of the root are moved within it
            if self._is_late():
                return
            try:
                self._remove(entry)
            except OSError as failure:
                self._note(failure)

    def _remove(self, entry: os.DirEntry[str]) -> None:
        """Remove a file or a link, and move a directory to the top."""
        path = Path(entry)
        if not entry.is_dir(follow_symlinks=False):
            path.unlink()
            return
        path.chmod(_PRIVATE)  # the system writes the entry ".." of a directory that it moves
        self._waiting.append(path.rename(self._root / uuid.uuid4().hex))

    def _is_late(self) -> bool:
        is_late = time.monotonic() >= self._ends_at
        if is_late:
            self.problem = self.problem or "it took too long"
        return is_late

    def _note(self, failure: OSError) -> None:
        self.problem = self.problem or type(failure).__name__
