"""`create_archive()`: a directory as a zip archive, the same bytes each time."""

from __future__ import annotations

import os
import stat
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from cp_thirdparty.artifacts._zip_names import Names, broken_target
from cp_thirdparty.exceptions import ArtifactError, UnsafeArchiveError

__all__ = ["create_archive"]

_PIECE: Final = 256 << 10
_UNIX: Final = 3
# The first moment that zip can tell; the real ones would make each archive another one.
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
_DIRECTORY: Final = 0x10  # the attribute of DOS
# Beyond it zipfile must be told to leave room for the 64-bit sizes.  Where it decides by itself, from 5 % before on,
# Python 3.10 and 3.13 write different headers.
_LARGE: Final = (1 << 31) - 1
_DEEPEST: Final = 1000


def create_archive(directory: Path, *, to: Path) -> Path:
    """
    Make a zip archive of all that is in a directory, and return where it was written.

    The same tree gives the same bytes, with one version of zlib: entries are sorted, have the time stamp 1980-01-01 and
    the mode 0644, or 0755 for what its owner may execute.  Empty directories are kept.  Symbolic links are stored as
    such when they stay inside the directory; `extract_archive()` must be told to make them.

    The file appears only when complete.  Memory is bounded, whatever the size.  Thread-safe.

    Args:
        directory: What to pack; its own name is not part of the archive.

        to: The file to write, outside of the directory; one that is there is replaced.  Its directory must exist.

    Raises:
        cp_thirdparty.exceptions.UnsafeArchiveError: An entry has a name that `extract_archive()` refuses, is neither a
            file nor a directory nor a link, or is a link that leaves the directory.

        cp_thirdparty.exceptions.ArtifactError: A file cannot be read, or changed meanwhile; the archive cannot be
            written, or would be inside the directory.
    """
    problem: str | None = None
    try:
        if to.resolve().is_relative_to(directory.resolve(strict=True)):
            problem = "it would be inside the directory"
        else:
            _write(directory, to)
    except OSError as failure:
        problem = f"{type(failure).__name__}: {os.strerror(failure.errno or 0)}"
    if problem is not None:
        raise ArtifactError(f"the archive cannot be made: {problem}")
    return to


def _write(directory: Path, to: Path) -> None:
    descriptor, name = tempfile.mkstemp(prefix=".cp-thirdparty-", dir=to.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for path, found in _tree(directory):
                _add(archive, path, found)
        temporary.chmod(0o644)
        temporary.replace(to)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _tree(directory: Path) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Go through the tree in the order of the names, and check them."""
    names = Names(max_depth=_DEEPEST)
    waiting = [("", os.fspath(directory))]
    while waiting:
        prefix, parent = waiting.pop()
        with os.scandir(parent) as scanned:
            entries = sorted(scanned, key=lambda entry: os.fsencode(entry.name))
        below: list[tuple[str, str]] = []
        for entry in entries:
            is_directory = entry.is_dir(follow_symlinks=False)
            path = f"{prefix}{entry.name}{'/' * is_directory}"
            names.add(path, is_directory=is_directory)
            yield path, entry
            if is_directory:
                below.append((path, entry.path))
        waiting.extend(reversed(below))


def _add(archive: zipfile.ZipFile, path: str, found: os.DirEntry[str]) -> None:
    status = found.stat(follow_symlinks=False)
    info = zipfile.ZipInfo(path, date_time=_EPOCH)
    info.create_system = _UNIX
    if stat.S_ISDIR(status.st_mode):
        info.external_attr = (stat.S_IFDIR | 0o755) << 16 | _DIRECTORY
        archive.writestr(info, b"", zipfile.ZIP_STORED)
    elif stat.S_ISLNK(status.st_mode):
        target = os.readlink(found.path)  # noqa: PTH115 - a Path would tidy it up
        rule = broken_target(target, path.count("/"))
        if rule is not None:
            raise UnsafeArchiveError(path, rule)
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, os.fsencode(target), zipfile.ZIP_STORED)
    elif stat.S_ISREG(status.st_mode):
        info.external_attr = (stat.S_IFREG | (0o755 if status.st_mode & stat.S_IXUSR else 0o644)) << 16
        _add_file(archive, info, found.path)
    else:
        raise UnsafeArchiveError(path, "neither a file nor a directory nor a symbolic link")


def _add_file(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: str) -> None:
    source = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0))
    with os.fdopen(source, "rb", buffering=0) as file:
        before = os.fstat(source)
        info.compress_type = _method(before.st_size)
        with archive.open(info, "w", force_zip64=before.st_size > _LARGE) as packed:
            left = before.st_size
            while left and (piece := file.read(min(left, _PIECE))):
                packed.write(piece)
                left -= len(piece)
        after = os.fstat(source)
    if left or (before.st_mtime_ns, before.st_size) != (after.st_mtime_ns, after.st_size):
        raise ArtifactError(f"the archive cannot be made: {info.filename!a} changed while it was read")


def _method(size: int) -> int:
    """Deflate, unless that could lift a file over the limit: what does not get smaller grows by up to 1/3,000."""
    return zipfile.ZIP_STORED if size <= _LARGE < size + (size >> 10) else zipfile.ZIP_DEFLATED
