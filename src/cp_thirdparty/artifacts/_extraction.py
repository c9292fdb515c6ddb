"""The extraction of one archive: it creates the complete directory, or nothing."""

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
from cp_thirdparty.artifacts._local_files import check_space, replace_failure
from cp_thirdparty.artifacts._staging import Staging
from cp_thirdparty.artifacts._temporary import PrivateDirectory
from cp_thirdparty.artifacts._transfer import Reporter
from cp_thirdparty.artifacts._zip_content import copy_content
from cp_thirdparty.artifacts._zip_entries import Entry, read_entries
from cp_thirdparty.artifacts.limits import ArchiveLimits

_FILE: Final = 0o644
_DIRECTORY: Final = 0o755


def extract_file(archive: BinaryIO, target: Path, limits: ArchiveLimits, reporter: Reporter) -> None:
    """
    Extract an open archive that has no path, such as a temporary file.

    Raises:
        cp_thirdparty.exceptions.ArtifactError: The extraction failed; see `extract_archive` for the subclasses.
    """
    error = Extraction(target, target, limits, reporter).run(lambda: nullcontext(archive))
    if error is not None:
        raise error


class Extraction:
    """
    The extraction of one archive.

    Args:
        source: The path of the archive, for error messages.
        target: The path of the directory to create.
        limits: What the archive may contain.
        reporter: Reports the bytes that were written, and raises an error if the extraction must be aborted.
    """

    def __init__(self, source: Path, target: Path, limits: ArchiveLimits, reporter: Reporter) -> None:
        self._target = target
        self._limits = limits
        self._reporter = reporter
        # The path for error messages: the archive or the target, and the path inside it that is being written.
        self._root = source
        self._within = ("", "")

    def run(self, open_archive: Callable[[], AbstractContextManager[BinaryIO]]) -> BaseException | None:
        """
        Extract the archive, and return the error if it fails.

        The error is not raised here, because the frames of these functions hold bytes of the customer's files.
        """
        try:
            with open_archive() as file:
                self._root = self._target
                self._extract(cast("BinaryIO", _CheckedFile(file, self._reporter.check)))
        except BaseException as failure:  # noqa: BLE001 - it is raised by the caller
            return replace_failure(failure, self._reporter, self._root.joinpath(*self._within))
        return None

    def _extract(self, file: BinaryIO) -> None:
        with PrivateDirectory(self._target.parent, is_aborted=self._reporter.is_aborted) as private:
            staging = Staging(private, self._target)
            tree = Tree(self._limits, is_folding=staging.is_case_insensitive())
            check_space(self._target.parent, self._check(file, tree))
            self._write(file, tree, staging)
            self._within = ("", "")
            staging.finish()

    def _check(self, file: BinaryIO, tree: Tree) -> int:
        """Check all that can be checked before something is written; return the total size of the files in bytes."""
        size = 0
        for entry in read_entries(file, os.fstat(file.fileno()).st_size, self._limits, tree):
            size += entry.size
            rule = None
            if entry.node.kind == "link":
                rule = _read_target(file, entry, tree)
            elif entry.node.kind == "directory" and (entry.packed or entry.crc):
                # Java compresses the empty data of a directory to two bytes, so the data must be checked too.
                rule = copy_content(file, entry, lambda _: None)
            if rule is not None:
                raise rule_error(rule, entry.node.path)
        for link, rule in tree.find_link_violations(self._reporter.check).items():
            raise rule_error(rule, link.path)
        return size

    def _write(self, file: BinaryIO, tree: Tree, staging: Staging) -> None:
        """Create the directories and their files, and afterwards the symbolic links."""
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
            self._reporter.report_bytes(len(piece))

        try:
            return copy_content(file, entry, write)
        finally:
            os.close(descriptor)


class _CheckedFile:
    """An archive whose method `read` raises an error if the extraction must be aborted."""

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
    """Return the mode for a new file.  The owner may always read it.  If the archive has no modes, it is 0644."""
    entry: Entry = node.content
    wanted = _DIRECTORY if entry.mode & stat.S_IXUSR else _FILE
    permissions = stat.S_IMODE(entry.mode) if entry.mode else wanted
    return wanted & permissions | stat.S_IRUSR


def _directory_mode(node: Node) -> int:
    """
    Return the mode for a new directory.

    Everyone who may list the directory may also enter it, because some archives give a directory the mode of a file.
    """
    entry: Entry | None = node.content
    permissions = stat.S_IMODE(entry.mode) if entry and entry.mode else _DIRECTORY
    return _DIRECTORY & (permissions | (permissions & 0o444) >> 2) | stat.S_IRWXU
