"""A temporary directory that is renamed to its final path when its content is complete."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path
from typing import Final

from cp_thirdparty.artifacts._archive_tree import Node, Tree
from cp_thirdparty.artifacts._open_directory import OpenDirectory
from cp_thirdparty.artifacts._temporary import PrivateDirectory
from cp_thirdparty.exceptions import ArtifactError

_TREE: Final = "tree"


class Staging:
    """
    The temporary directory, which is removed together with its private directory if `finish` has not renamed it.

    Args:
        private: The private directory in which the temporary directory is created.
        to: The final path, beside the private directory.
    """

    def __init__(self, private: PrivateDirectory, to: Path) -> None:
        self._private = private
        self._to = to
        private.opened.make_directory(_TREE, 0o755)

    def is_case_insensitive(self) -> bool:
        """Return whether the file system ignores the case of names."""
        return os.path.lexists(self._private.path / _TREE.upper())

    def open_directories(self, tree: Tree) -> Generator[tuple[str, Node, OpenDirectory], None, None]:
        """
        Open each directory of a tree, and yield its path, its node and the open directory.

        A parent comes before its subdirectories.  Before the caller asks for the next directory, it must create the
        subdirectories of the current one.  `OSError` is raised if another user has replaced one by a symbolic link.
        """
        # The current directory and all its parents.  Each directory is opened relative to its open parent.
        opened: list[OpenDirectory] = []
        try:
            for path, node in tree.directories():
                while len(opened) > node.depth:
                    opened.pop().close()
                parent = opened[-1] if opened else self._private.opened
                opened.append(parent.open_directory(node.name or _TREE))
                yield path, node, opened[-1]
        finally:
            for each in opened:
                each.close()

    def finish(self) -> None:
        """
        Rename the temporary directory to its final path.

        Raises:
            cp_thirdparty.exceptions.ArtifactError: The final path exists, or another user has replaced a directory.
        """
        if os.path.lexists(self._to):
            raise ArtifactError("to: must not exist")
        self._private.publish(_TREE, self._to.name)
