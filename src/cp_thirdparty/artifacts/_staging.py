"""A directory that is filled beside its final place and renamed when it is complete."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from pathlib import Path
from types import TracebackType
from typing import Final

from typing_extensions import Self

from cp_thirdparty.artifacts._archive_tree import Node, Tree
from cp_thirdparty.artifacts._bounds import never
from cp_thirdparty.artifacts._open_directory import OpenDirectory
from cp_thirdparty.artifacts._temporary import PrivateDirectory
from cp_thirdparty.exceptions import ArtifactError

__all__ = ["Staging"]

_TREE: Final = "tree"


class Staging:
    """
    A context manager that creates the directory, and removes it if it was not renamed.

    Args:
        to: The final path.  Its parent must exist.
        is_over: As for `PrivateDirectory`.
    """

    def __init__(self, to: Path, is_over: Callable[[], bool] = never) -> None:
        self._to = to
        self._is_over = is_over

    def __enter__(self) -> Self:
        self._outer = PrivateDirectory(self._to.parent, is_over=self._is_over)
        try:
            self._outer.inner.make_directory(_TREE, 0o755)
        except BaseException:
            self._outer.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._outer.close()

    def folds_case(self) -> bool:
        """Whether the file system takes names that differ only in case for one."""
        return os.path.lexists(self._outer.path / _TREE.upper())

    def open_directories(self, tree: Tree) -> Generator[tuple[str, Node, OpenDirectory], None, None]:
        """
        Open each directory of a tree, its parent before it; no part of a path may be a symbolic link.

        The caller creates the directories in one before it asks for the next one.
        """
        opened: list[OpenDirectory] = []  # the directory and those around it, so that none is looked up by its path
        try:
            for path, node in tree.directories():
                while len(opened) > node.depth:
                    opened.pop().close()
                around = opened[-1] if opened else self._outer.inner
                opened.append(around.open_directory(node.name or _TREE))
                yield path, node, opened[-1]
        finally:
            for each in opened:
                each.close()

    def finish(self) -> None:
        """
        Rename the tree to its final path.

        Raises:
            cp_thirdparty.exceptions.ArtifactError: The path exists, or another user has exchanged a directory.
        """
        if os.path.lexists(self._to):
            raise ArtifactError("to: must not exist")
        self._outer.publish(_TREE, self._to.name)
