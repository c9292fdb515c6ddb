"""`extract_archive()`: all of an archive into a fresh directory, or nothing."""

from __future__ import annotations

import os
import shutil
import tempfile
import zlib
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from cp_thirdparty.artifacts._zip_directory import DEFLATED, Entry, read_directory
from cp_thirdparty.artifacts._zip_names import broken_target
from cp_thirdparty.artifacts.limits import ArchiveLimits
from cp_thirdparty.exceptions import ArtifactError, UnsafeArchiveError

__all__ = ["extract_archive"]

_PIECE: Final = 256 << 10

# What Linux takes for the target of a link.
_LONGEST_TARGET: Final = 4095

# Windows has neither links to refuse nor a mode to set.
_NO_FOLLOW: Final = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)


def extract_archive(
    archive: Path,
    *,
    to: Path,
    limits: ArchiveLimits = ArchiveLimits(),  # noqa: B008 - it is frozen
    symlinks: bool = False,
) -> Path:
    """
    Extract a zip archive into a fresh directory and return it.

    The directory appears whole or not at all: first everything that the archive says of itself is checked, then it is
    unpacked beside ``to``, with each size and checksum checked, and renamed at the end.  Memory is bounded, whatever
    the archive holds.  Files get the mode 0644, or 0755 when the archive says that they are executable.

    A process that is killed leaves a directory ``.cp-thirdparty-…`` beside ``to``, and nothing else.

    Entries must be stored or deflated: nothing else is made by the tools that make artifacts (``zip``, Python, Git,
    Java).  Thread-safe.

    Args:
        archive: The archive.

        to: The directory to make.  It must not exist; its parent must.

        limits: What the archive may hold.

        symlinks: ``True`` to make symbolic links that stay inside the directory; else they are refused.

    Raises:
        cp_thirdparty.exceptions.UnsafeArchiveError: The archive is broken, or breaks a rule or a limit.  The error
            names the entry and the rule.

        cp_thirdparty.exceptions.ArtifactError: ``to`` exists, the archive cannot be read, or the files cannot be
            written.
    """
    if os.path.lexists(to):
        raise ArtifactError("to: must not exist")
    problem: str | None = None
    try:
        with archive.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            entries = read_directory(file, size, limits)
            links = _links(file, entries, symlinks=symlinks)
            _unpack(file, entries, links, to)
    except OSError as failure:
        problem = f"{type(failure).__name__}: {os.strerror(failure.errno or 0)}"
    if problem is not None:
        raise ArtifactError(f"the archive cannot be extracted: {problem}")
    return to


def _links(file: BinaryIO, entries: list[Entry], *, symlinks: bool) -> dict[str, str]:
    """Read where the symbolic links lead, before anything is written."""
    links: dict[str, str] = {}
    for entry in entries:
        if entry.kind != "link":
            continue
        if not symlinks:
            raise UnsafeArchiveError(entry.path, "a symbolic link")
        if entry.size > _LONGEST_TARGET:
            raise UnsafeArchiveError(entry.path, f"a link to a name of more than {_LONGEST_TARGET:,} bytes")
        target = b"".join(_content(file, entry)).decode("utf-8", "surrogateescape")
        rule = broken_target(target, entry.path.count("/"))
        if rule is not None:
            raise UnsafeArchiveError(entry.path, rule)
        links[entry.path] = target
    return links


def _unpack(file: BinaryIO, entries: list[Entry], links: dict[str, str], to: Path) -> None:
    """Unpack into a neighbour, and rename it at the end; whatever happens, nothing else is left."""
    staging = Path(tempfile.mkdtemp(prefix=".cp-thirdparty-", dir=to.parent))
    try:
        made: set[str] = {""}
        for entry in entries:
            parent, _, _ = entry.path.rpartition("/")
            _make_directories(staging, entry.path if entry.kind == "directory" else parent, made)
            if entry.kind == "file":
                _write(file, entry, f"{staging}/{entry.path}")
            elif entry.kind == "directory" and (entry.packed or entry.crc):
                deque(
                    _content(file, entry), maxlen=0
                )  # Java deflates nothing to two bytes; they are checked like others
        for path, target in links.items():
            (staging / path).symlink_to(target)
        staging.chmod(0o755)
        staging.rename(to)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise


def _make_directories(staging: Path, path: str, made: set[str]) -> None:
    if path in made:
        return
    parent, _, _ = path.rpartition("/")
    _make_directories(staging, parent, made)
    os.mkdir(f"{staging}/{path}")  # noqa: PTH102 - twice as fast, for 20,000 files
    os.chmod(f"{staging}/{path}", 0o755)  # noqa: PTH101, S103 - likewise; the mode does not depend on the process
    made.add(path)


def _write(file: BinaryIO, entry: Entry, path: str) -> None:
    target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_FOLLOW, 0o600)
    try:
        for piece in _content(file, entry):
            view = memoryview(piece)
            while view:
                view = view[os.write(target, view) :]
        if hasattr(os, "fchmod"):  # pragma: no branch - all but Windows
            os.fchmod(target, 0o755 if entry.is_executable else 0o644)
    finally:
        os.close(target)


def _content(file: BinaryIO, entry: Entry) -> Iterator[bytes]:
    """
    Give the bytes of an entry in pieces.

    Raises:
        cp_thirdparty.exceptions.UnsafeArchiveError: They are more or fewer than was said, or others.
    """
    crc, size = 0, 0
    for piece in _inflated(file, entry) if entry.method == DEFLATED else _packed(file, entry):
        crc = zlib.crc32(piece, crc)
        size += len(piece)
        yield piece
    if size != entry.size:
        raise UnsafeArchiveError(entry.path, "sizes that disagree")
    if crc != entry.crc:
        raise UnsafeArchiveError(entry.path, "a wrong checksum")


def _packed(file: BinaryIO, entry: Entry) -> Iterator[bytes]:
    file.seek(entry.data_offset)
    left = entry.packed
    while left:
        piece = file.read(min(left, _PIECE))
        if not piece:
            raise UnsafeArchiveError(entry.path, "it is cut")
        left -= len(piece)
        yield piece


def _inflated(file: BinaryIO, entry: Entry) -> Iterator[bytes]:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    left = entry.size
    is_broken = False
    try:
        for piece in _packed(file, entry):
            waiting, is_full = piece, False
            while waiting or is_full:
                room = min(_PIECE, left + 1)
                found = inflater.decompress(waiting, room)
                waiting = inflater.unconsumed_tail
                # zlib may have taken all that is packed, and have more to give: its last byte can stand for 1,000.
                is_full = len(found) == room
                left -= len(found)
                if left < 0 or inflater.unused_data:
                    break
                if found:
                    yield found
            if left < 0 or inflater.unused_data:
                break
    except zlib.error:
        is_broken = True
    if is_broken:
        raise UnsafeArchiveError(entry.path, "packed bytes that are broken")
    if left < 0 or inflater.unused_data or not inflater.eof:
        raise UnsafeArchiveError(entry.path, "sizes that disagree")
