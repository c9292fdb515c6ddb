"""
Open directories: everything is created, renamed and removed relative to a descriptor.

Other users may be able to write in the directory around one, and to exchange what is there.  What has a path is looked
up again by each call; what has a descriptor stays the same.
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

__all__ = ["PRIVATE", "OpenDirectory", "remove_tree"]

# Windows has none of them; there, paths are used.
_HAS_DESCRIPTORS: Final = {os.open, os.mkdir, os.rename, os.symlink} <= os.supports_dir_fd
_NO_FOLLOW: Final = getattr(os, "O_NOFOLLOW", 0)
_DIRECTORY: Final = os.O_RDONLY | _NO_FOLLOW | getattr(os, "O_DIRECTORY", 0)
# The parent may be one that the user may not list.
_PARENT: Final = getattr(os, "O_PATH", os.O_RDONLY) | getattr(os, "O_DIRECTORY", 0)
_NEW_FILE: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | _NO_FOLLOW | getattr(os, "O_BINARY", 0)
# The mode of a directory that only its user can read.
PRIVATE: Final = 0o700


@attrs.frozen
class OpenDirectory:
    """
    A directory in which files, directories and links are created.  The umask of the process applies.

    Attributes:
        path: Its path with a slash at the end, if there are no descriptors; otherwise empty.
        descriptor: Its descriptor, if there are any.
    """

    path: str
    descriptor: int | None

    @classmethod
    def open(cls, path: Path) -> OpenDirectory:
        """Open a directory, also by a symbolic link."""
        if not _HAS_DESCRIPTORS:  # pragma: no cover - only Windows
            return cls(f"{path}/", None)
        return cls("", os.open(path, _PARENT))

    def open_directory(self, name: str) -> OpenDirectory:
        """Open a directory in it, which is not a symbolic link."""
        if self.descriptor is None:  # pragma: no cover - only Windows
            return OpenDirectory(f"{self.path}{name}/", None)
        return OpenDirectory("", os.open(name, _DIRECTORY, dir_fd=self.descriptor))

    def names(self) -> Generator[str]:
        """Return the names in it."""
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
        """Create a directory."""
        os.mkdir(self.path + name, mode, dir_fd=self.descriptor)

    def open_file(self, name: str, mode: int) -> int:
        """Create a file and return its descriptor."""
        return os.open(self.path + name, _NEW_FILE, mode, dir_fd=self.descriptor)

    def make_link(self, name: str, target: str) -> None:
        """Create a symbolic link."""
        os.symlink(target, self.path + name, dir_fd=self.descriptor)

    def status(self, name: str) -> os.stat_result:
        """Return what the system states about a name; a symbolic link is not followed."""
        return os.stat(self.path + name, dir_fd=self.descriptor, follow_symlinks=False)

    def remove_directory(self, name: str) -> None:
        """Remove an empty directory."""
        os.rmdir(self.path + name, dir_fd=self.descriptor)

    def close(self) -> None:
        """Close the descriptor."""
        if self.descriptor is not None:  # pragma: no branch - all but Windows
            os.close(self.descriptor)


def remove_tree(
    parent: OpenDirectory, name: str, opened: OpenDirectory, *, last: str, is_over: Callable[[], bool]
) -> str:
    """
    Remove a directory with its content, and return what prevented that; empty if nothing is left.

    Read-only directories are made writable, and symbolic links are removed, not followed.

    Args:
        parent: The directory that contains it.
        name: Its name there.
        opened: The directory itself.  If the name leads to another one now, that one stays.
        last: The file in it that is removed when nothing else is left.
        is_over: Returns whether the rest is left.
    """
    if opened.descriptor is None:  # pragma: no cover - only Windows
        shutil.rmtree(opened.path, ignore_errors=True)
        return ""
    removal = _Removal(opened.descriptor, last, is_over)
    removal.run()
    try:
        if not removal.problem:  # otherwise a later removal goes on
            with suppress(FileNotFoundError):
                os.unlink(last, dir_fd=opened.descriptor)
        with suppress(FileNotFoundError):  # it was moved
            if os.path.samestat(parent.status(name), os.fstat(opened.descriptor)):
                parent.remove_directory(name)
    except OSError as failure:
        removal.note(failure)
    return removal.problem


class _Removal:
    """
    The removal of everything in a directory, and the first problem of it.

    Each directory is moved to the top before its content is removed, so neither the depth nor the length of a path has
    a limit.
    """

    def __init__(self, root: int, last: str, is_over: Callable[[], bool]) -> None:
        self.problem = ""
        self._root = root
        self._last = last
        self._is_over = is_over
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
            entries = list(scanned)  # entries of the root are moved within it
        for entry in entries:
            if folder == self._root and entry.name == self._last:
                continue
            if self._is_late():
                return
            self._attempt(self._remove, folder, entry)

    def _remove(self, folder: int, entry: os.DirEntry[str]) -> None:
        """Remove a file or a link, and move a directory to the top."""
        if not entry.is_dir(follow_symlinks=False):
            os.unlink(entry.name, dir_fd=folder)
            return
        _make_writable(folder, entry.name)  # the system writes the entry ".." of a directory that it moves
        moved = secrets.token_hex(16)
        os.rename(entry.name, moved, src_dir_fd=folder, dst_dir_fd=self._root)
        self._waiting.append(moved)

    def _attempt(self, step: Callable[..., None], *arguments: Any) -> None:
        try:
            step(*arguments)
        except OSError as failure:
            self.note(failure)

    def _is_late(self) -> bool:
        is_late = self._is_over()
        if is_late:
            self.problem = self.problem or "it took too long"
        return is_late


def _make_writable(folder: int, name: str) -> None:
    """Let the user change a directory, if that is possible; if it is not, the next step fails."""
    try:
        descriptor = os.open(name, _DIRECTORY, dir_fd=folder)
    except PermissionError:  # nobody may list it
        # The C library needs Linux 6.6 or /proc for this, and versions before 2.32 always refuse it.
        with suppress(OSError, NotImplementedError, ValueError):
            os.chmod(name, PRIVATE, dir_fd=folder, follow_symlinks=False)
        return
    try:
        with suppress(OSError):  # its file system has no modes
            os.fchmod(descriptor, PRIVATE)
    finally:
        os.close(descriptor)
