"""One extraction: all of an open archive in a new directory, or nothing."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path
from typing import BinaryIO, Final, cast

from cp_thirdparty.artifacts import _archive_rules as rules
from cp_thirdparty.artifacts._archive_rules import Rule, rule_error
from cp_thirdparty.artifacts._archive_tree import LONGEST_TARGET, Node, Tree
from cp_thirdparty.artifacts._local_files import check_space, error_of
from cp_thirdparty.artifacts._staging import Staging
from cp_thirdparty.artifacts._transfer import Reporter
from cp_thirdparty.artifacts._zip_content import copy_content
from cp_thirdparty.artifacts._zip_directory import Entry, read_directory
from cp_thirdparty.artifacts.limits import ArchiveLimits

__all__ = ["Extraction", "extract_file"]

_FILE: Final = 0o644
_DIRECTORY: Final = 0o755


def extract_file(archive: BinaryIO, target: Path, limits: ArchiveLimits, reporter: Reporter) -> None:
    """
    Extract an open archive, which no path leads to.

    Raises:
        cp_thirdparty.exceptions.ArtifactError: As `extract_archive` does.
    """
    error = Extraction(target, target, limits, reporter).run(lambda: nullcontext(archive))
    if error is not None:
        raise error


class Extraction:
    """
    One extraction.

    Args:
        source: The archive, for errors.
        target: The directory to create.
        limits: What the archive may contain.
        reporter: Counts the bytes that are written, and ends an extraction that must not go on.
    """

    def __init__(self, source: Path, target: Path, limits: ArchiveLimits, reporter: Reporter) -> None:
        self._target = target
        self._limits = limits
        self._reporter = reporter
        # What is read or written at the moment: one of the two, and a path within it.
        self._root = source
        self._within = ("", "")

    def run(self, open_archive: Callable[[], AbstractContextManager[BinaryIO]]) -> BaseException | None:
        """Extract the archive.  The error is returned, because frames here and below hold bytes of the customer."""
        try:
            with open_archive() as file:
                self._root = self._target
                self._extract(cast("BinaryIO", _CheckedFile(file, self._reporter.check)))
        except BaseException as failure:  # noqa: BLE001 - it is raised by the caller
            return error_of(failure, self._reporter, self._root.joinpath(*self._within))
        return None

    def _extract(self, file: BinaryIO) -> None:
        with Staging(self._target, self._reporter.is_over) as staging:
            tree = Tree(self._limits, is_folding=staging.folds_case())
            check_space(self._target.parent, self._check(file, tree))
            self._write(file, tree, staging)
            self._within = ("", "")
            staging.finish()

    def _check(self, file: BinaryIO, tree: Tree) -> int:
        """Check everything that can be checked before something is written, and return the bytes of all files."""
        size = 0
        for entry in read_directory(file, os.fstat(file.fileno()).st_size, self._limits, tree):
            size += entry.size
            rule = None
            if entry.node.kind == "link":
                rule = _read_target(file, entry, tree)
            elif entry.node.kind == "directory" and (entry.packed or entry.crc):
                # Java deflates the missing data of a directory to two bytes.
                rule = copy_content(file, entry, lambda _: None)
            if rule is not None:
                raise rule_error(rule, entry.node.path)
        for link, rule in tree.find_link_violations(self._reporter.check).items():
            raise rule_error(rule, link.path)
        return size

    def _write(self, file: BinaryIO, tree: Tree, staging: Staging) -> None:
        """Write the directories with their files; links are created when all files are complete."""
        has_links = False
        with closing(staging.open_directories(tree)) as directories:
            for path, directory, opened in directories:
                for child in directory.children.values():
                    self._reporter.check()
                    self._within = (path, child.name)
                    if child.kind == "directory":
                        opened.make_directory(child.name, _directory_mode(child))
                    elif child.kind == "link":
                        has_links = True
                    else:
                        rule = self._write_file(file, child.content, opened.open_file(child.name, _file_mode(child)))
                        if rule is not None:
                            raise rule_error(rule, child.path)
        if has_links:
            self._write_links(tree, staging)

    def _write_links(self, tree: Tree, staging: Staging) -> None:
        with closing(staging.open_directories(tree)) as directories:
            for path, directory, opened in directories:
                for child in directory.children.values():
                    if child.kind == "link":
                        self._reporter.check()
                        self._within = (path, child.name)
                        opened.make_link(child.name, child.target)

    def _write_file(self, file: BinaryIO, entry: Entry, descriptor: int) -> Rule | None:
        def write(piece: bytes) -> None:
            view = memoryview(piece)
            while view:
                view = view[os.write(descriptor, view) :]
            self._reporter.add(len(piece))

        try:
            return copy_content(file, entry, write)
        finally:
            os.close(descriptor)


class _CheckedFile:
    """An archive of which nothing is read when the extraction must not go on."""

    def __init__(self, file: BinaryIO, check: Callable[[], object]) -> None:
        self._file = file
        self._check = check
        self.seek = file.seek
        self.fileno = file.fileno

    def read(self, size: int) -> bytes:
        self._check()
        return self._file.read(size)


def _read_target(file: BinaryIO, entry: Entry, tree: Tree) -> Rule | None:
    if entry.size > LONGEST_TARGET:
        return rules.LINK_TARGET
    pieces: list[bytes] = []
    rule = copy_content(file, entry, pieces.append)
    if rule is None:
        tree.set_target(entry.node, b"".join(pieces).decode("utf-8", "surrogateescape"))
    return rule


def _file_mode(node: Node) -> int:
    """Return the mode of a file, which its owner may read; that of an archive without modes is `_FILE`."""
    entry: Entry = node.content
    wanted = _DIRECTORY if entry.mode & stat.S_IXUSR else _FILE
    permissions = stat.S_IMODE(entry.mode) if entry.mode else wanted
    return wanted & permissions | stat.S_IRUSR


def _directory_mode(node: Node) -> int:
    """Return the mode of a directory: who may list it may also enter it, as some archives have the mode of a file."""
    entry: Entry | None = node.content
    permissions = stat.S_IMODE(entry.mode) if entry and entry.mode else _DIRECTORY
    return _DIRECTORY & (permissions | (permissions & 0o444) >> 2) | stat.S_IRWXU
