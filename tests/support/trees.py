"""Compares trees of files, and finds the ways out of one, independently of the code that is tested."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path


def find_ways_out(root: Path, *, most: int = 100_000) -> list[str]:
    """
    Return what is wrong with an extracted tree.

    A link leads outside, a program that follows links does not come to an end, or something is neither a file nor a
    directory nor a link.

    Args:
        root: The tree.

        most: How many files and directories a program that follows links may find.
    """
    found: list[str] = []
    real = os.path.realpath(root)
    seen = 0
    for directory, directories, files in os.walk(root, followlinks=True):
        seen += len(directories) + len(files)
        if seen > most:
            return [*found, f"{directory}: no end"]
        for name in directories + files:
            path = os.path.join(directory, name)  # noqa: PTH118 - pathlib would take time
            mode = os.lstat(path).st_mode
            if os.path.commonpath([real, os.path.realpath(path)]) != real:
                found.append(f"{path}: outside")
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode)):
                found.append(f"{path}: a special file")
    return found


def read_tree(root: Path) -> dict[str, tuple[str, str, bool]]:
    """Return for each path its kind, the hash of its data or its target, and whether its owner may execute it."""
    found: dict[str, tuple[str, str, bool]] = {}
    for path in root.rglob("*"):
        status = path.lstat()
        name = path.relative_to(root).as_posix()
        if stat.S_ISLNK(status.st_mode):
            found[name] = ("link", os.readlink(path), False)  # noqa: PTH115 - a Path changes it
        elif stat.S_ISDIR(status.st_mode):
            found[name] = ("directory", "", False)
        else:
            is_executable = bool(status.st_mode & stat.S_IXUSR)
            found[name] = ("file", hashlib.sha256(path.read_bytes()).hexdigest(), is_executable)
    return found
