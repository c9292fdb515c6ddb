"""
Reads the whole directory of a zip archive, and believes it only when every record agrees with every other.

Zip says most things twice, and readers differ in what they believe.  Here the records must cover the file from its
first byte to its last, in order and without a gap, and the two headers of an entry must say the same.  The format is
that of PKWARE's APPNOTE 6.3.10.
"""

from __future__ import annotations

import stat
import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO, Final

import attrs

from cp_thirdparty.artifacts._zip_names import Names
from cp_thirdparty.artifacts.limits import ArchiveLimits
from cp_thirdparty.exceptions import UnsafeArchiveError

STORED: Final = 0
DEFLATED: Final = 8

_END: Final = struct.Struct("<4s4H2LH")
_END64_LOCATOR: Final = struct.Struct("<4sLQL")
_END64: Final = struct.Struct("<4sQ2H2L4Q")
_CENTRAL: Final = struct.Struct("<4s6H3L5H2L")
_LOCAL: Final = struct.Struct("<4s5H3L2H")
_EXTRA: Final = struct.Struct("<2H")

_FULL16: Final = 0xFFFF
_FULL32: Final = 0xFFFFFFFF

# General purpose flags.
_ENCRYPTED: Final = 1 << 0 | 1 << 6 | 1 << 13
_DEFLATE_OPTIONS: Final = 1 << 1 | 1 << 2
_DESCRIPTOR: Final = 1 << 3
_UTF8: Final = 1 << 11
_SAID_TWICE: Final = _DESCRIPTOR | _UTF8

_ZIP64: Final = 0x0001
_UNICODE_PATH: Final = 0x7075

# Systems whose attributes have a Unix mode: Unix and macOS.
_UNIX: Final = (3, 19)

# Enough for 100,000 entries with long names; it is read at once.
_LONGEST_DIRECTORY: Final = 128 << 20
_COMMENT: Final = 0xFFFF
_SMALL: Final = 1 << 20

# Bytes that a data descriptor may have: 32 or 64 bits, with or without a signature.
_DESCRIPTORS: Final = {12: "<3L", 16: "<4s3L", 20: "<L2Q", 24: "<4sL2Q"}


@attrs.frozen(kw_only=True)
class Entry:
    """
    One entry, checked.

    Attributes:
        path: Where it belongs in the tree.

        kind: ``"file"``, ``"directory"`` or ``"link"``.

        is_executable: Whether its owner may execute it.

        method: `STORED` or `DEFLATED`.

        data_offset: Where its packed bytes begin.

        packed: How many there are.

        size: How many bytes they unpack to.

        crc: Their CRC-32.
    """

    path: str
    kind: str
    is_executable: bool
    method: int
    data_offset: int
    packed: int
    size: int
    crc: int


@attrs.frozen(kw_only=True)
class _Central:
    """One record of the central directory."""

    name: str
    raw_name: bytes
    system: int
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    attributes: int
    offset: int


def read_directory(file: BinaryIO, size: int, limits: ArchiveLimits) -> list[Entry]:
    """
    Read and check all entries, in the order of their data.

    Args:
        file: The archive.

        size: How many bytes it has.

        limits: What it may hold.

    Raises:
        cp_thirdparty.exceptions.UnsafeArchiveError: Something is wrong with it.
    """
    count, begin, end = _place(file, size)
    if count > limits.max_entries:
        raise UnsafeArchiveError("", f"more than {limits.max_entries:,} entries")
    if end - begin > _LONGEST_DIRECTORY:
        raise UnsafeArchiveError("", "a directory that is too long")
    records = sorted(_central_records(_bytes_at(file, begin, end - begin), count), key=lambda record: record.offset)
    if records and records[-1].offset >= begin:
        raise UnsafeArchiveError(records[-1].name, "a place outside of the archive")
    names = Names(max_depth=limits.max_depth, max_directories=limits.max_entries)
    total = 0
    entries: list[Entry] = []
    position = 0
    for record, following in zip(records, [*(record.offset for record in records[1:]), begin], strict=False):
        if record.offset != position:
            raise UnsafeArchiveError(record.name, "bytes that belong to no entry, or to two, before it")
        entry = _entry(file, record, following, names)
        total += entry.size
        rule = _broken_limit(entry, total, limits)
        if rule is not None:
            raise UnsafeArchiveError(record.name, rule)
        entries.append(entry)
        position = following
    if position != begin:
        raise UnsafeArchiveError("", "bytes before the first record")
    if total > _SMALL and total > begin * limits.max_ratio:
        raise UnsafeArchiveError("", f"packed more than {limits.max_ratio} times")
    return entries


def _broken_limit(entry: Entry, total: int, limits: ArchiveLimits) -> str | None:
    if entry.size > limits.max_entry_bytes:
        return f"more than {limits.max_entry_bytes:,} bytes in one file"
    if total > limits.max_total_bytes:
        return f"more than {limits.max_total_bytes:,} bytes in all files"
    if entry.size > _SMALL and entry.size > entry.packed * limits.max_ratio:
        return f"packed more than {limits.max_ratio} times"
    return None


# --- where the central directory is


def _place(file: BinaryIO, size: int) -> tuple[int, int, int]:
    """Find the end records, and tell how many entries there are and where the central directory begins and ends."""
    tail_length = min(size, _END.size + _COMMENT)
    tail = _bytes_at(file, size - tail_length, tail_length)
    found = [at for at in _positions(tail, b"PK\5\6") if _comment_fits(tail, at)]
    if not found:
        raise UnsafeArchiveError("", "no end record, or bytes after it")
    at = size - tail_length + found[0]
    if tail.find(b"PK\5\6", found[0] + 4) >= 0:
        raise UnsafeArchiveError("", "two end records")
    _, disk, first_disk, here, count, length, begin, _ = _END.unpack_from(tail, found[0])
    locator = _bytes_at(file, at - _END64_LOCATOR.size, _END64_LOCATOR.size) if at >= _END64_LOCATOR.size else b""
    end = at
    if locator[:4] == b"PK\6\7":
        values = _zip64_values(file, locator, at - _END64_LOCATOR.size)
        old, full = (disk, first_disk, here, count, length, begin), (_FULL16,) * 4 + (_FULL32,) * 2
        if any(value not in (wide, limit) for value, wide, limit in zip(old, values[:6], full, strict=True)):
            raise UnsafeArchiveError("", "a ZIP64 record that disagrees with the end record")
        disk, first_disk, here, count, length, begin, end = values
    if (disk, first_disk) != (0, 0) or here != count:
        raise UnsafeArchiveError("", "a part of a split archive")
    if begin + length != end:
        raise UnsafeArchiveError("", "a directory that does not end where the end record begins")
    return count, begin, end


def _comment_fits(tail: bytes, at: int) -> bool:
    return at + _END.size <= len(tail) and at + _END.size + _END.unpack_from(tail, at)[-1] == len(tail)


def _positions(data: bytes, signature: bytes) -> Iterator[int]:
    at = data.find(signature)
    while at >= 0:
        yield at
        at = data.find(signature, at + 1)


def _zip64_values(file: BinaryIO, locator: bytes, locator_at: int) -> tuple[int, int, int, int, int, int, int]:
    _, disk, at, disks = _END64_LOCATOR.unpack(locator)
    if disk != 0 or disks != 1 or at + _END64.size != locator_at:
        raise UnsafeArchiveError("", "a ZIP64 locator that leads elsewhere")
    signature, length, _, _, disk, first_disk, here, count, size, begin = _END64.unpack(
        _bytes_at(file, at, _END64.size)
    )
    if signature != b"PK\6\6" or length != _END64.size - 12:
        raise UnsafeArchiveError("", "a ZIP64 locator that leads elsewhere")
    return disk, first_disk, here, count, size, begin, at


# --- the central directory


def _central_records(data: bytes, count: int) -> Iterator[_Central]:
    at = 0
    for _ in range(count):
        if at + _CENTRAL.size > len(data) or data[at : at + 4] != b"PK\1\2":
            raise UnsafeArchiveError("", "a directory that is cut, or has fewer entries than it says")
        _, made_by, _, flags, method, _, _, crc, packed, size, *rest = _CENTRAL.unpack_from(data, at)
        name_length, extra_length, comment_length, disk, _, attributes, offset = rest
        begin = at + _CENTRAL.size
        at = begin + name_length + extra_length + comment_length
        if at > len(data):
            raise UnsafeArchiveError("", "a directory that is cut, or has fewer entries than it says")
        raw_name = data[begin : begin + name_length]
        extras = _extras(data[begin + name_length : begin + name_length + extra_length])
        name = _decoded(raw_name, flags, extras, system=made_by >> 8)
        if extras is None:
            raise UnsafeArchiveError(name, "a broken extra field")
        size, packed, offset = _widened(name, extras, (size, packed, offset))
        if disk not in (0, _FULL16):
            raise UnsafeArchiveError(name, "a part of a split archive")
        yield _Central(
            name=name,
            raw_name=raw_name,
            system=made_by >> 8,
            flags=flags,
            method=method,
            crc=crc,
            packed=packed,
            size=size,
            attributes=attributes,
            offset=offset,
        )
    if at != len(data):
        raise UnsafeArchiveError("", "a directory with more than it says")


def _extras(data: bytes) -> dict[int, bytes] | None:
    """Read extra fields; ``None`` when they are broken or one is there twice."""
    found: dict[int, bytes] = {}
    at = 0
    while at < len(data):
        if at + _EXTRA.size > len(data):
            return None
        tag, length = _EXTRA.unpack_from(data, at)
        at += _EXTRA.size + length
        if at > len(data) or tag in found:
            return None
        found[tag] = data[at - length : at]
    return found


def _decoded(raw: bytes, flags: int, extras: dict[int, bytes] | None, *, system: int) -> str:
    """
    Read a name as Info-ZIP does.

    It is UTF-8 when a flag or an extra field says so, or when it comes from Unix and can be; else the code page of DOS.
    """
    unicode_path = (extras or {}).get(_UNICODE_PATH, b"")
    if unicode_path[:1] == b"\1" and unicode_path[1:5] == struct.pack("<L", zlib.crc32(raw)):
        raw, flags = unicode_path[5:], _UTF8
    is_broken = False
    try:
        if flags & _UTF8 or system in _UNIX:
            return raw.decode("utf-8")
    except UnicodeDecodeError:
        is_broken = bool(flags & _UTF8)
    if is_broken:
        raise UnsafeArchiveError(raw.decode("latin-1"), "a name that is not the UTF-8 that it says it is")
    return raw.decode("cp437")


def _widened(name: str, extras: dict[int, bytes], values: tuple[int, int, int]) -> tuple[int, int, int]:
    """Take from the ZIP64 field what does not fit into 32 bits."""
    wide = iter(struct.iter_unpack("<Q", extras.get(_ZIP64, b"")[: len(extras.get(_ZIP64, b"")) // 8 * 8]))
    found: list[int] = []
    for value in values:
        if value == _FULL32:
            following = next(wide, None)
            if following is None:
                raise UnsafeArchiveError(name, "a ZIP64 field that is missing or too short")
            (value,) = following  # noqa: PLW2901 - it stands for the same thing
        found.append(value)
    return found[0], found[1], found[2]


# --- one entry


def _entry(file: BinaryIO, record: _Central, following: int, names: Names) -> Entry:
    """Check a record against its local header, which begins at its offset, and the entry after it."""
    rule = _broken_record(record)
    if rule is not None:
        raise UnsafeArchiveError(record.name, rule)
    kind, is_executable = _kind(record)
    path = names.add(record.name, is_directory=kind == "directory")
    data_offset = record.offset + _local_length(file, record, following)
    rest = following - data_offset - record.packed
    if rest and not record.flags & _DESCRIPTOR:
        raise UnsafeArchiveError(record.name, "bytes after it that belong to no entry")
    if record.flags & _DESCRIPTOR:
        _check_descriptor(file, record, data_offset + record.packed, rest)
    return Entry(
        path=path,
        kind=kind,
        is_executable=is_executable,
        method=record.method,
        data_offset=data_offset,
        packed=record.packed,
        size=record.size,
        crc=record.crc,
    )


def _broken_record(record: _Central) -> str | None:
    if record.flags & _ENCRYPTED:
        return "encrypted"
    if record.flags & ~(_DEFLATE_OPTIONS | _DESCRIPTOR | _UTF8):
        return "an unknown flag"
    if record.method not in (STORED, DEFLATED):
        return "an unknown method of packing"
    if record.method == STORED and record.packed != record.size:
        return "sizes that disagree"
    return None


def _kind(record: _Central) -> tuple[str, bool]:
    """Tell what an entry is, and whether it is executable."""
    mode = record.attributes >> 16 if record.system in _UNIX else 0
    is_directory = record.name.endswith("/")
    if is_directory and record.size:
        raise UnsafeArchiveError(record.name, "a directory with bytes")
    found = stat.S_IFMT(mode)
    if found == stat.S_IFLNK and not is_directory:
        return "link", False
    if found not in (0, stat.S_IFDIR if is_directory else stat.S_IFREG):
        return _refuse_kind(record.name)
    return ("directory" if is_directory else "file"), bool(mode & stat.S_IXUSR)


def _refuse_kind(name: str) -> tuple[str, bool]:
    raise UnsafeArchiveError(name, "neither a file nor a directory nor a symbolic link, or not what its name says")


def _local_length(file: BinaryIO, record: _Central, following: int) -> int:
    """Check the local header and tell how long it is."""
    header = _bytes_at(file, record.offset, _LOCAL.size)
    if header[:4] != b"PK\3\4":
        raise UnsafeArchiveError(record.name, "no local header")
    _, _, flags, method, _, _, crc, packed, size, name_length, extra_length = _LOCAL.unpack(header)
    length: int = _LOCAL.size + name_length + extra_length
    if record.offset + length + record.packed > following:
        raise UnsafeArchiveError(record.name, "it overlaps what follows")
    rest = _bytes_at(file, record.offset + _LOCAL.size, name_length + extra_length)
    extras = _extras(rest[name_length:])
    if extras is None:
        raise UnsafeArchiveError(record.name, "a broken extra field")
    if (
        rest[:name_length] != record.raw_name
        or _decoded(record.raw_name, flags, extras, system=record.system) != record.name
    ):
        raise UnsafeArchiveError(record.name, "two headers with different names")
    if (flags ^ record.flags) & (_SAID_TWICE | _ENCRYPTED) or method != record.method:
        raise UnsafeArchiveError(record.name, "two headers that disagree")
    said = (crc, *_widened(record.name, extras, (size, packed, 0))[:2])
    known = (record.crc, record.size, record.packed)
    # What a descriptor says after the data may be 0 here; Info-ZIP leaves the size in, others nothing.
    if any(value != fact and not (flags & _DESCRIPTOR and value == 0) for value, fact in zip(said, known, strict=True)):
        raise UnsafeArchiveError(record.name, "two headers that disagree")
    return length


def _check_descriptor(file: BinaryIO, record: _Central, at: int, length: int) -> None:
    layout = _DESCRIPTORS.get(length)
    values = () if layout is None else struct.unpack(layout, _bytes_at(file, at, length))
    signature = values[:-3]
    if signature not in ((), (b"PK\7\10",)) or values[-3:] != (record.crc, record.packed, record.size):
        raise UnsafeArchiveError(record.name, "a data descriptor that disagrees")


def _bytes_at(file: BinaryIO, at: int, length: int) -> bytes:
    file.seek(at)
    data = file.read(length)
    if len(data) != length:
        raise UnsafeArchiveError("", "it is cut")
    return data
