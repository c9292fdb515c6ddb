"""
Create, rename and remove files relative to the file descriptor of an open directory.

Other users may be able to write in the parent directory, and to replace the directories in it.  A call with a path
looks up each directory of the path again, so it may reach a replaced one.  A descriptor always refers to the same
directory.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Generator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import attrs

# Windows has no descriptors of directories, so paths are used there.
_HAS_DESCRIPTORS: Final = {os.open, os.mkdir, os.rename, os.symlink} <= os.supports_dir_fd
_NO_FOLLOW: Final = getattr(os, "O_NOFOLLOW", 0)
_DIRECTORY: Final = os.O_RDONLY | _NO_FOLLOW | getattr(os, "O_DIRECTORY", 0)
# O_PATH also opens a parent directory that the user may not list.
_PARENT: Final = getattr(os, "O_PATH", os.O_RDONLY) | getattr(os, "O_DIRECTORY", 0)
_NEW_FILE: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | _NO_FOLLOW | getattr(os, "O_BINARY", 0)
# The mode of a directory that only its user can read.
PRIVATE: Final = 0o700


@attrs.frozen
class OpenDirectory:
    """
    An open directory, and the operations on the names in it.  The umask of the process applies to new files.

    Attributes:
        path: On Windows, the path of the directory with a slash at the end; on other systems, an empty string.
        descriptor: The file descriptor of the directory; ``None`` on Windows.
    """

    path: str
    descriptor: int | None

    @classmethod
    def open(cls, path: Path) -> OpenDirectory:
        """Open a directory.  The path may be a symbolic link to it."""
        if not _HAS_DESCRIPTORS:  # pragma: no cover - only Windows
            return cls(f"{path}/", None)
        return cls("", os.open(path, _PARENT))

    def open_directory(self, name: str) -> OpenDirectory:
        """Open a subdirectory; raise `OSError` if the name is a symbolic link."""
        if self.descriptor is None:  # pragma: no cover - only Windows
            return OpenDirectory(f"{self.path}{name}/", None)
        return OpenDirectory("", os.open(name, _DIRECTORY, dir_fd=self.descriptor))

    def names(self) -> Generator[str]:
        """Yield the names of all files and directories in this directory."""
        if self.descriptor is None:  # pragma: no cover - only Windows
            with os.scandir(self.path) as entries:
                yield from (entry.name for entry in entries)
            return
        descriptor = os.open(".", _DIRECTORY, dir_fd=self.descriptor)
        try:
            with os.scandir(descriptor) as entries:
                yield from (entry.name for entry in entries)
        finally:
            os.close(descriptor)

    def make_directory(self, name: str, mode: int) -> None:
        """Create a subdirectory."""
        os.mkdir(self.path + name, mode, dir_fd=self.descriptor)

    def open_file(self, name: str, mode: int) -> int:
        """Create a file and return its file descriptor."""
        return os.open(self.path + name, _NEW_FILE, mode, dir_fd=self.descriptor)

    def make_link(self, name: str, target: str) -> None:
        """Create a symbolic link."""
        os.symlink(target, self.path + name, dir_fd=self.descriptor)

    def status(self, name: str) -> os.stat_result:
        """Return the status of a file in this directory; a symbolic link is not followed."""
        return os.stat(self.path + name, dir_fd=self.descriptor, follow_symlinks=False)

    def remove_directory(self, name: str) -> None:
        """Remove an empty subdirectory."""
        os.rmdir(self.path + name, dir_fd=self.descriptor)

    def close(self) -> None:
        """Close the descriptor."""
        if self.descriptor is not None:  # pragma: no branch - all but Windows
            os.close(self.descriptor)


def remove_tree(
    parent: OpenDirectory, name: str, opened: OpenDirectory, *, last: str, is_aborted: Callable[[], bool]
) -> str:
    """
    Remove a directory with its content.

    Read-only directories are made writable.  Symbolic links are removed and not followed.

    Args:
        parent: The parent directory.
        name: The name of the directory in its parent.
        opened: The open directory.  If another user has put another directory at `name`, that one is not removed.
        last: The name of the file that is removed after everything else.
        is_aborted: Returns whether the removal must stop before it is complete.

    Returns:
        The reason why the removal is not complete; an empty string if it is complete.
    """
    if opened.descriptor is None:  # pragma: no cover - only Windows
        shutil.rmtree(opened.path, ignore_errors=True)
        return ""
    removal = _Removal(opened.descriptor, last, is_aborted)
    removal.run()
    try:
        if not removal.problem:  # otherwise a later removal continues, and it finds the directory by this file
            with suppress(FileNotFoundError):
                os.unlink(last, dir_fd=opened.descriptor)
        with suppress(FileNotFoundError):  # another user has moved the directory
            if os.path.samestat(parent.status(name), os.fstat(opened.descriptor)):
                parent.remove_directory(name)
    except OSError as failure:
        removal.note(failure)
    return removal.problem


class _Removal:
    """
    The removal of everything in a directory.

    Each subdirectory is moved into the root of the removal before its content is removed.  So the depth of the tree and
    the length of its paths have no limit.

    Attributes:
        problem: The first problem that occurred; an empty string if there was none.
    """

    def __init__(self, root: int, last: str, is_aborted: Callable[[], bool]) -> None:
        self.problem = ""
        self._root = root
        self._last = last
        self._is_aborted = is_aborted
        self._waiting: list[str] = []

    def run(self) -> None:
        self._attempt(self._empty, self._root)
        while self._waiting and not self._is_late():
            self._attempt(self._remove_moved, self._waiting.pop())

    def note(self, failure: OSError) -> None:
        """Keep the first problem."""
        self.problem = self.problem or type(failure).__name__

    def _remove_moved(self, name: str) -> None:
        descriptor = os.open(name, _DIRECTORY, dir_fd=self._root)
        try:
            self._empty(descriptor)
        finally:
            os.close(descriptor)
        os.rmdir(name, dir_fd=self._root)

    def _empty(self, folder: int) -> None:
        with os.scandir(folder) as scanned:
            entries = list(scanned)  # read completely first, because the loop below adds names to the root
        for entry in entries:
            if folder == self._root and entry.name == self._last:
                continue
            if self._is_late():
                return
            self._attempt(self._remove, folder, entry)

    def _remove(self, folder: int, entry: os.DirEntry[str]) -> None:
        """Remove a file or a symbolic link, or move a subdirectory into the root of the removal."""
        if not entry.is_dir(follow_symlinks=False):
            os.unlink(entry.name, dir_fd=folder)
            return
        _make_writable(folder, entry.name)  # moving a directory changes its entry "..", so it must be writable
        moved = secrets.token_hex(16)
        os.rename(entry.name, moved, src_dir_fd=folder, dst_dir_fd=self._root)
        self._waiting.append(moved)

    def _attempt(self, step: Callable[..., None], *arguments: Any) -> None:
        try:
            step(*arguments)
        except OSError as failure:
            self.note(failure)

    def _is_late(self) -> bool:
        is_late = self._is_aborted()
        if is_late:
            self.problem = self.problem or "it took too long"
        return is_late


def _make_writable(folder: int, name: str) -> None:
    """Try to make a directory writable for its user.  Ignore a failure, because the next step reports it."""
    try:
        descriptor = os.open(name, _DIRECTORY, dir_fd=folder)
    except PermissionError:  # the directory may not be listed, so it has no descriptor
        # glibc supports this since version 2.32, with Linux 6.6 or /proc.
        with suppress(OSError, NotImplementedError, ValueError):
            os.chmod(name, PRIVATE, dir_fd=folder, follow_symlinks=False)
        return
    try:
        with suppress(OSError):  # the file system has no modes
            os.fchmod(descriptor, PRIVATE)
    finally:
        os.close(descriptor)
