"""
A directory that is filled beside its final place and renamed when it is complete.

Other users may be able to write in the parent directory and to exchange what is there.  So everything is created in a
private directory, relative to its descriptor, and the descriptor also is the source of the last rename.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Final

import attrs
from typing_extensions import Self

from cp_thirdparty.artifacts._local_files import lock, new_temporary_path, remove_leftovers
from cp_thirdparty.exceptions import ArtifactError

__all__ = ["OpenDirectory", "Staging"]

# Windows has none of them; there, paths are used.
_HAS_DESCRIPTORS: Final = {os.open, os.mkdir, os.rename, os.symlink} <= os.supports_dir_fd
_NO_FOLLOW: Final = getattr(os, "O_NOFOLLOW", 0)
_DIRECTORY: Final = os.O_RDONLY | _NO_FOLLOW | getattr(os, "O_DIRECTORY", 0)
_NEW_FILE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_FOLLOW | getattr(os, "O_BINARY", 0)
_TREE: Final = "tree"


@attrs.frozen
class OpenDirectory:
    """
    A directory in which files, directories and links are created.  The umask of the process applies.

    Attributes:
        path: Its path, if there are no descriptors; otherwise empty.

        descriptor: Its descriptor, if there are any.
    """

    path: str
    descriptor: int | None

    def make_directory(self, name: str, mode: int) -> None:
        """Create a directory."""
        os.mkdir(self.path + name, mode, dir_fd=self.descriptor)

    def open_file(self, name: str, mode: int) -> int:
        """Create a file and return its descriptor."""
        return os.open(self.path + name, _NEW_FILE, mode, dir_fd=self.descriptor)

    def make_link(self, name: str, target: str) -> None:
        """Create a symbolic link."""
        os.symlink(target, self.path + name, dir_fd=self.descriptor)


class Staging:
    """
    A context manager that creates the directory, and removes it if it was not renamed.

    Args:
        to: The final path.  Its parent must exist.
    """

    def __init__(self, to: Path) -> None:
        self._to = to
        self._path = new_temporary_path(to.parent)
        self._descriptors: list[int] = []

    def __enter__(self) -> Self:
        remove_leftovers(self._to.parent)
        os.mkdir(self._path, 0o700)  # noqa: PTH102 - all in this file use one module
        try:
            if _HAS_DESCRIPTORS:  # pragma: no branch - all but Windows
                self._descriptors.append(os.open(self._to.parent, _DIRECTORY & ~_NO_FOLLOW))
                self._descriptors.append(os.open(self._path, _DIRECTORY))
                self._check_owner()
                lock(self._descriptors[1])
            self._outer.make_directory(_TREE, 0o755)
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._remove()

    def folds_case(self) -> bool:
        """Whether the file system takes names that differ only in case for one."""
        return os.path.lexists(self._path.with_name(self._path.name.upper()))

    @contextmanager
    def open(self, path: str) -> Generator[OpenDirectory]:
        """Open a directory of the tree; no part of its path may be a symbolic link."""
        if not _HAS_DESCRIPTORS:  # pragma: no cover - only Windows
            yield OpenDirectory(f"{self._path}/{_TREE}/{path}/", None)
            return
        descriptor = os.open(_TREE, _DIRECTORY, dir_fd=self._descriptors[1])
        try:
            for part in filter(None, path.split("/")):
                before, descriptor = descriptor, os.open(part, _DIRECTORY, dir_fd=descriptor)
                os.close(before)
            yield OpenDirectory("", descriptor)
        finally:
            os.close(descriptor)

    def finish(self) -> None:
        """
        Rename the tree to its final path.

        Raises:
            cp_thirdparty.exceptions.ArtifactError: The path exists.
        """
        if os.path.lexists(self._to):
            raise ArtifactError("to: must not exist")
        if _HAS_DESCRIPTORS:  # pragma: no branch - all but Windows
            parent, outer = self._descriptors
            os.rename(_TREE, self._to.name, src_dir_fd=outer, dst_dir_fd=parent)
        else:  # pragma: no cover - only Windows
            os.rename(f"{self._path}/{_TREE}", self._to)  # noqa: PTH104

    @property
    def _outer(self) -> OpenDirectory:
        return OpenDirectory("", self._descriptors[1]) if self._descriptors else OpenDirectory(f"{self._path}/", None)

    def _check_owner(self) -> None:
        status = os.fstat(self._descriptors[1])
        if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o077:
            raise ArtifactError("to: another user has exchanged a directory beside it")

    def _remove(self) -> None:
        """Remove the directory, but nothing that another user has put in its place."""
        with suppress(OSError):
            if not self._descriptors[1:] or os.path.samestat(os.lstat(self._path), os.fstat(self._descriptors[1])):
                shutil.rmtree(self._path, ignore_errors=True)
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors.clear()
