"""`create_archive()`: create a zip archive of a directory, with the same bytes for the same content."""

from __future__ import annotations

import os
import stat
import zipfile
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple, TypeVar

from cp_thirdparty.artifacts import _archive_rules as rules
from cp_thirdparty.artifacts._archive_rules import is_ratio_exceeded, rule_error
from cp_thirdparty.artifacts._archive_tree import Kind, Node, Tree
from cp_thirdparty.artifacts._bounds import Bounds
from cp_thirdparty.artifacts._local_files import LocalPath, OnSkip, check_limits, file_error, replace_failure, to_path
from cp_thirdparty.artifacts._temporary import PrivateDirectory
from cp_thirdparty.artifacts._transfer import ProgressCallback, Reporter, check_callback
from cp_thirdparty.artifacts._zip_records import LONGEST_DIRECTORY
from cp_thirdparty.artifacts.limits import ArchiveLimits
from cp_thirdparty.exceptions import ArtifactError, ArtifactFileError, UnsafeArchiveError

__all__ = ["create_archive", "write_archive"]

_T = TypeVar("_T")

_PIECE_BYTES: Final = 256 << 10
_UNIX_SYSTEM: Final = 3  # the operating system of an entry, which decides how its mode is read
_TEMPORARY_NAME: Final = "archive"
# The time of each entry, which is the earliest time that a zip archive can store.  With the real modification times,
# two archives of the same content would differ.
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
_DOS_DIRECTORY: Final = 0x10  # the DOS attribute of a directory
# Maximum number of bytes that one entry needs in the central directory, without its name: the record, the extra field
# with 64-bit sizes, and the slash at the end of a directory's name.
_RECORD_BYTES: Final = 46 + 28 + 1
# For a larger file, zipfile must write a header with 64-bit sizes.  If zipfile decides this itself, it does so from
# 95 % of this size, and Python 3.10 and 3.13 write different headers.  So this module decides.
_ZIP64_LIMIT: Final = (1 << 31) - 1
_NO_WAIT: Final = getattr(os, "O_NONBLOCK", 0)  # open() must not block if a FIFO has replaced a file
_FILE_FLAGS: Final = os.O_RDONLY | _NO_WAIT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
_CAN_LIST_DESCRIPTOR: Final = os.scandir in os.supports_fd  # false on Windows
# The path of the source directory may be a symbolic link; a directory inside it must not have been replaced by one.
_ROOT_FLAGS: Final = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0)
_DIRECTORY_FLAGS: Final = _ROOT_FLAGS | getattr(os, "O_NOFOLLOW", 0)


def create_archive(
    directory: LocalPath,
    *,
    to: LocalPath,
    limits: ArchiveLimits | None = None,
    progress: ProgressCallback | None = None,
    on_skip: OnSkip | None = None,
    deadline: float | None = None,
    is_cancelled: Callable[[], bool] | None = None,
) -> Path:
    """
    Create a zip archive of everything in a directory, and return its path.

    Directories with the same content give archives with the same bytes, as long as the version of zlib is the same.
    For this, entries are sorted, and each has the time 1980-01-01.  The mode of a file is 0755 if its owner may execute
    it, and 0644 otherwise.  Empty directories are part of the archive.  Symbolic links that lead to a place inside the
    directory are stored as links.

    With the same limits, `extract_archive()` accepts the archive.  There is one exception: on a file system that
    ignores case, it may refuse names and links that ``names="posix"`` allows.

    The archive appears only when it is complete, with the permissions that the umask of the process allows.  Files are
    read in pieces, so large files need no more memory than small ones.  Thread-safe.

    Args:
        directory: Path of the directory to archive.  The name of this directory is not part of the archive.
        to: Path of the file to write.  It must be outside of ``directory``, and its own directory must exist.  An
            existing file is replaced.
        limits: What the archive may contain; ``None`` for the defaults of `ArchiveLimits`.

            .. versionadded:: 0.2.0

        progress: Called in this thread with the number of bytes read since the last call.  If it raises an exception,
            the creation is aborted and this function raises that exception.

            .. versionadded:: 0.2.0

        on_skip: Called with an error for each entry that the archive cannot contain.  Such entries are sockets, FIFOs,
            devices, names and symbolic links that break a rule, and files and directories that cannot be read or have
            been replaced.  The entry is not put into the archive; a directory is left out with all its content.  With
            ``None``, the first of these errors is raised.  Errors about a file that can be read only in part, and about
            content that exceeds a limit, are always raised.

            .. versionadded:: 0.2.0

        deadline: The time at which the creation must end, in seconds since 1970; ``None`` for no limit.  A handler of
            jobs should pass ``job.deadline``.

            .. versionadded:: 0.2.0

        is_cancelled: Returns whether the creation must be aborted.  It is called in this thread, for each piece of a
            file.

            .. versionadded:: 0.2.0

    Raises:
        cp_thirdparty.exceptions.UnsafeArchiveError: The directory contains an entry that `extract_archive()` would
            refuse with these limits.  The error names the entry and the rule.
        cp_thirdparty.exceptions.ArtifactFileError: A file or directory cannot be read, or the archive cannot be
            written.
        cp_thirdparty.exceptions.ArtifactError: A file was changed or replaced while it was read, or ``to`` is inside
            the directory.
        cp_thirdparty.exceptions.ArtifactTransferError: The deadline was reached, or ``is_cancelled`` returned true.
        TypeError: An argument has the wrong type.
    """
    source, target, limits = to_path(directory, "directory"), to_path(to, "to"), check_limits(limits)
    bounds = Bounds(deadline=deadline, is_cancelled=is_cancelled)
    write_archive(source, target, limits, Reporter(progress, bounds.start("creation").check_deadline), on_skip)
    return target


def write_archive(
    source: Path,
    target: Path,
    limits: ArchiveLimits,
    reporter: Reporter,
    on_skip: OnSkip | None,
    *,
    file: BinaryIO | None = None,
) -> None:
    """
    Create an archive, as `create_archive` does, with checked arguments.

    If ``file`` is ``None``, the archive is a new file at ``target``.  Otherwise it is written to ``file``, an open
    temporary file in the directory ``target``.

    Raises:
        cp_thirdparty.exceptions.ArtifactError: As `create_archive` does.
    """
    check_callback(on_skip, "on_skip")
    error: BaseException | None = None
    try:
        _check_and_write(source, target, file, _ArchiveWriter(source, limits, reporter, on_skip))
    except BaseException as failure:  # noqa: BLE001 - raised below, without the frames, which hold bytes of files
        error = replace_failure(failure, reporter, target)
    if error is not None:
        raise error


def _check_and_write(source: Path, target: Path, file: BinaryIO | None, writer: _ArchiveWriter) -> None:
    # For a symbolic link to itself, Path.resolve() raises RuntimeError in some versions of Python; realpath() does not.
    root = _read_source(source, lambda: os.path.realpath(source, strict=True))
    if any(Path(os.path.realpath(path)).is_relative_to(root) for path in (target, target.parent)):
        raise ArtifactError("to: must not be inside the directory")
    if file is not None:
        writer.write(file)
        file.flush()
        return
    with PrivateDirectory(target.parent, is_aborted=writer.reporter.is_aborted) as private:
        with private.create_file(_TEMPORARY_NAME) as temporary:
            writer.write(temporary)
        private.publish(_TEMPORARY_NAME, target.name)


class _ListedEntry(NamedTuple):
    """What was known about a file, directory or link when the directory that contains it was listed."""

    is_executable: bool
    device: int
    inode: int


class _ArchiveWriter:
    """Writes one archive.  Each node of the tree, except the root, has its `_ListedEntry` as `Node.content`."""

    def __init__(self, directory: Path, limits: ArchiveLimits, reporter: Reporter, on_skip: OnSkip | None) -> None:
        self._directory = directory
        self._limits = limits
        self.reporter = reporter
        self._on_skip = on_skip
        self._tree = Tree(limits)
        self._entry_count = 0
        self._total_bytes = 0
        self._directory_bytes = 0  # an upper bound of the size of the archive's central directory

    def write(self, file: BinaryIO) -> None:
        """Write the archive to an open file."""
        self._scan()
        self._check_links()
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for path, directory in self._tree.directories():
                for node in directory.children.values():
                    self._write_entry(archive, f"{path}/{node.name}" if path else node.name, node)
            if is_ratio_exceeded(self._limits, self._total_bytes, file.tell()):
                raise rule_error(rules.RATIO, "", self._limits)

    def _skip(self, error: ArtifactError) -> None:
        """Report the error of an entry that is not put into the archive; raise it if there is no `on_skip`."""
        if self._on_skip is None:
            raise error
        self.reporter.call(self._on_skip, error)

    # --- scan, before anything is written

    def _scan(self) -> None:
        """Add the complete content of the source directory to the tree, sorted by name, and check the names."""
        waiting: list[tuple[str, Node]] = [("", self._tree.root)]
        while waiting:
            prefix, node = waiting.pop()
            found = self._scan_directory(prefix, node)
            if isinstance(found, ArtifactError):
                if not prefix:
                    raise found
                self._skip(found)
                self._tree.remove(node)
                continue
            waiting.extend(reversed(found))

    def _scan_directory(self, prefix: str, node: Node) -> list[tuple[str, Node]] | ArtifactError:
        """Add the entries of one directory to the tree; return its subdirectories, or an error if it is unreadable."""
        local = os.fspath(self._directory / prefix)
        try:
            flags = _ROOT_FLAGS if node.content is None else _DIRECTORY_FLAGS
            descriptor = os.open(local, flags) if _CAN_LIST_DESCRIPTOR else None
        except OSError as failure:
            return file_error(failure, local)
        try:
            if descriptor is not None and not _is_same(node.content, os.fstat(descriptor)):
                return ArtifactError(f"the archive cannot be created: {prefix!a} is not the same directory any more")
            limit = 2 * self._limits.max_entries  # up to max_entries of them may be left out
            entries = _list_directory(local if descriptor is None else descriptor, local, limit + 1)
            if isinstance(entries, ArtifactFileError):
                return entries
            if len(entries) > limit:
                raise rule_error(rules.ENTRIES, prefix, self._limits)
            subdirectories: list[tuple[str, Node]] = []
            for entry in entries:
                self.reporter.check()
                added = self._add_or_skip(f"{prefix}{entry.name}", entry, descriptor)
                if added is not None and added.kind == "directory":
                    subdirectories.append((f"{prefix}{entry.name}/", added))
            return subdirectories
        finally:
            if descriptor is not None:  # pragma: no branch - only Windows has no descriptor
                os.close(descriptor)

    def _add_or_skip(self, name: str, entry: os.DirEntry[str], directory: int | None) -> Node | None:
        node = self._add_to_tree(name, entry, directory)
        if isinstance(node, ArtifactError):
            self._skip(node)
            return None
        self._entry_count += 1
        if self._entry_count > self._limits.max_entries:
            raise rule_error(rules.ENTRIES, name, self._limits)
        self._directory_bytes += _RECORD_BYTES + len(name.encode())
        if self._directory_bytes > LONGEST_DIRECTORY:
            raise rule_error(rules.LONG_NAME, name, hint="all names together may have about 128 MiB")
        return node

    def _add_to_tree(self, name: str, entry: os.DirEntry[str], directory: int | None) -> Node | ArtifactError:
        """Add an entry of an open directory to the tree; return its node, or an error if the entry must be left out."""
        try:
            status = entry.stat(follow_symlinks=False)
            target = os.readlink(entry.path, dir_fd=directory) if stat.S_ISLNK(status.st_mode) else ""
        except OSError as failure:
            return file_error(failure, self._directory / name)
        kind = _kind(status.st_mode)
        if kind is None:
            return rule_error(rules.SPECIAL_FILE, name)
        try:
            node = self._tree.add(f"{name}/" if kind == "directory" else name, kind)
        except UnsafeArchiveError as failure:
            return UnsafeArchiveError(name, failure.rule, hint=_add_skip_hint(failure.hint))
        node.content = _ListedEntry(bool(status.st_mode & stat.S_IXUSR), status.st_dev, status.st_ino)
        if kind == "link":
            self._tree.set_target(node, target)
        return node

    def _check_links(self) -> None:
        while links := self._tree.find_link_violations(self.reporter.check):
            for link, rule in links.items():
                self._skip(rule_error(rule, link.path, hint=_add_skip_hint(rule.hint)))
                self._tree.remove(link)

    # --- write

    def _write_entry(self, archive: zipfile.ZipFile, path: str, node: Node) -> None:
        self.reporter.check()
        info = zipfile.ZipInfo(path + "/" * (node.kind == "directory"), date_time=_EPOCH)
        info.create_system = _UNIX_SYSTEM
        if node.kind == "directory":
            info.external_attr = (stat.S_IFDIR | 0o755) << 16 | _DOS_DIRECTORY
            archive.writestr(info, b"", zipfile.ZIP_STORED)
        elif node.kind == "link":
            target = node.target.encode("utf-8", "surrogateescape")
            self._count_bytes(info, len(target))
            info.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(info, target, zipfile.ZIP_STORED)
        else:
            info.external_attr = (stat.S_IFREG | (0o755 if node.content.is_executable else 0o644)) << 16
            error = self._write_file(archive, info, node.content, f"{self._directory}/{path}")
            if error is not None:
                self._skip(error)

    def _write_file(
        self, archive: zipfile.ZipFile, info: zipfile.ZipInfo, entry: _ListedEntry, local: str
    ) -> ArtifactError | None:
        """Write a file into the archive; return an error, and write nothing, if its first bytes cannot be read."""
        try:
            file = open(local, "rb", buffering=0, opener=_open_file)  # noqa: SIM115 - closed below
        except OSError as failure:
            return file_error(failure, local)
        with file:
            before = os.fstat(file.fileno())
            # The inode alone does not prove that this is the file that was listed: the file may have been removed, and
            # another kind of file may have got the inode.
            if not stat.S_ISREG(before.st_mode) or not _is_same(entry, before):
                return ArtifactError(f"the archive cannot be created: {info.filename!a} is not the same file any more")
            remaining = before.st_size
            try:
                piece = _read_source(local, partial(file.read, min(remaining + 1, _PIECE_BYTES)))
            except ArtifactFileError as failure:
                return failure
            self._count_bytes(info, before.st_size)
            info.compress_type = _compression_method(before.st_size)
            with archive.open(info, "w", force_zip64=before.st_size > _ZIP64_LIMIT) as output:
                while 0 < len(piece) <= remaining:
                    output.write(piece)
                    remaining -= len(piece)
                    self.reporter.report_bytes(len(piece))
                    piece = _read_source(local, partial(file.read, min(remaining + 1, _PIECE_BYTES)))
            after = os.fstat(file.fileno())
        # Files in /proc and in some FUSE file systems contain more bytes than their status states.
        if piece or remaining or (before.st_mtime_ns, before.st_size) != (after.st_mtime_ns, after.st_size):
            raise ArtifactError(f"the archive cannot be created: {info.filename!a} was changed while it was read")
        if is_ratio_exceeded(self._limits, info.file_size, info.compress_size):
            raise rule_error(rules.RATIO, info.filename, self._limits)
        return None

    def _count_bytes(self, info: zipfile.ZipInfo, size: int) -> None:
        self._total_bytes += size
        if size > self._limits.max_entry_bytes:
            raise rule_error(rules.ENTRY_BYTES, info.filename, self._limits)
        if self._total_bytes > self._limits.max_total_bytes:
            raise rule_error(rules.TOTAL_BYTES, info.filename, self._limits)


def _read_source(path: LocalPath, read: Callable[[], _T]) -> _T:
    """
    Call a function that reads from the source directory; raise its `OSError` as an `ArtifactFileError` with the path.

    All other errors of the operating system are converted by `write_archive`, which names the archive in them.
    """
    try:
        return read()
    except OSError as failure:
        error = file_error(failure, path)
    raise error


def _is_same(entry: _ListedEntry | None, status: os.stat_result) -> bool:
    """
    Return whether an opened file or directory is the one that was listed before.

    In between, another program may have replaced any part of the path, also with a symbolic link.
    """
    if entry is None or not entry.inode:  # on Windows, a directory listing has no inodes
        return True
    return (entry.device, entry.inode) == (status.st_dev, status.st_ino)


def _list_directory(directory: int | str, local: str, limit: int) -> list[os.DirEntry[str]] | ArtifactFileError:
    try:
        with os.scandir(directory) as scanned:
            return sorted(islice(scanned, limit), key=lambda entry: os.fsencode(entry.name))
    except OSError as failure:
        return file_error(failure, local)


def _open_file(path: str, _flags: int) -> int:
    return os.open(path, _FILE_FLAGS)


def _add_skip_hint(hint: str) -> str:
    """Return the hint of a rule, followed by the hint that `on_skip` can leave the entry out."""
    return "; ".join(filter(None, (hint, rules.SPECIAL_FILE.hint)))


def _kind(mode: int) -> Kind | None:
    if stat.S_ISDIR(mode):
        return "directory"
    if stat.S_ISLNK(mode):
        return "link"
    return "file" if stat.S_ISREG(mode) else None


def _compression_method(size: int) -> int:
    """
    Return the compression method for a file of `size` bytes: Deflate, except just below the limit of 32-bit sizes.

    Incompressible data grows by up to 1/3,000, so Deflate could exceed the limit there.
    """
    return zipfile.ZIP_STORED if size <= _ZIP64_LIMIT < size + (size >> 10) else zipfile.ZIP_DEFLATED
