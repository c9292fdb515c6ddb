"""
Read the directory of a zip archive, and accept it only if each record agrees with every other.

A zip archive states most facts twice, and readers differ in which of them they use.  Here the entries must not overlap,
and the two headers of an entry must be equal.  The format is that of PKWARE's APPNOTE 6.3.10.
"""

from __future__ import annotations

import re
import stat
import struct
import zlib
from bisect import bisect_left
from collections.abc import Iterator
from typing import BinaryIO, Final, cast

import attrs

from cp_thirdparty.artifacts import _archive_rules as rules
from cp_thirdparty.artifacts._archive_rules import Rule, is_ratio_exceeded, rule_error
from cp_thirdparty.artifacts._archive_tree import Kind, Node, Tree
from cp_thirdparty.artifacts._zip_layout import (
    FULL16,
    FULL32,
    CentralDirectory,
    bytes_at,
    end_of_padding,
    find_directory,
    has_archive_part,
    has_descriptor,
)
from cp_thirdparty.artifacts._zip_methods import STORED, is_supported, name_of
from cp_thirdparty.artifacts.limits import ArchiveLimits

_CENTRAL: Final = struct.Struct("<4s6H3L5H2L")
_LOCAL: Final = struct.Struct("<4s5H3L2H")
_EXTRA: Final = struct.Struct("<2H")

# General purpose flags.
_ENCRYPTED: Final = 1 << 0 | 1 << 6 | 1 << 13
_END_MARKER: Final = 1 << 1
_DESCRIPTOR: Final = 1 << 3
_PATCH: Final = 1 << 5
_UTF8: Final = 1 << 11

_ZIP64: Final = 0x0001
_UNICODE_PATH: Final = 0x7075
_USED_EXTRAS: Final = (_ZIP64, _UNICODE_PATH)

# Systems whose attributes have a Unix mode: Unix and macOS.
_UNIX: Final = (3, 19)

# Systems whose names cannot contain a backslash: FAT, NTFS by APPNOTE, NTFS by Info-ZIP, and VFAT.  PowerShell 5 and
# .NET 4.5 write backslashes for slashes.
_DOS: Final = (0, 10, 11, 14)
_DOS_DIRECTORY: Final = 0x10

# Enough for 100,000 entries with long names; it is read at once.
LONGEST_DIRECTORY: Final = 128 << 20
# Programs write a handful; each of 100,000 headers may have 16,000.
_MOST_EXTRAS: Final = 100
_ZEROS: Final = re.compile(rb"\0*")

_DEVICES: Final = (stat.S_IFBLK, stat.S_IFCHR)

# The data descriptor after an entry has 32 or 64 bits, with or without a signature; this one is the longest.
_DESCRIPTOR32: Final = struct.Struct("<3L")
_DESCRIPTOR64: Final = struct.Struct("<L2Q")
_DESCRIPTOR_SIGNATURE: Final = b"PK\7\10"
_LONGEST_DESCRIPTOR: Final = 24


@attrs.frozen(kw_only=True)
class Entry:
    """
    One entry, checked.

    Attributes:
        node: Its place in the tree.
        mode: The file mode of Unix with the type; 0 if the archive has none.
        method: The compression method.
        has_end_marker: Whether its data has an end marker, if it is compressed with LZMA.
        data_offset: Where its compressed bytes begin.
        packed: How many there are.
        size: How many bytes they are when extracted.
        crc: Their CRC-32.
    """

    node: Node
    mode: int
    method: int
    has_end_marker: bool
    data_offset: int
    packed: int
    size: int
    crc: int


@attrs.frozen(kw_only=True)
class _Central:
    """One record of the central directory."""

    name: str
    unicode_path: bytes
    raw_name: bytes
    system: int
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    attributes: int
    offset: int

    @property
    def mode(self) -> int:
        """The file mode of Unix with the type; 0 if there is none."""
        return self.attributes >> 16 if self.system in _UNIX else 0

    @property
    def is_marked_as_directory(self) -> bool:
        """Whether the attributes are those of a directory."""
        return stat.S_ISDIR(self.mode) or (self.system in _DOS and bool(self.attributes & _DOS_DIRECTORY))


def read_directory(file: BinaryIO, size: int, limits: ArchiveLimits, tree: Tree) -> list[Entry]:
    """
    Read and check all entries, in the order of their data, and add each to the tree.

    Args:
        file: The archive.
        size: How many bytes it has.
        limits: What it may contain.
        tree: Is empty; the content of each node is its entry.

    Raises:
        cp_thirdparty.exceptions.UnsafeArchiveError: It breaks a rule.
    """
    central_directory = find_directory(file, size)
    if central_directory.count > limits.max_entries:
        raise rule_error(rules.ENTRIES, "", limits)
    if central_directory.end - central_directory.begin > LONGEST_DIRECTORY:
        raise rule_error(rules.CENTRAL, hint="it has more than 128 MiB")
    data = bytes_at(file, central_directory.begin, central_directory.end - central_directory.begin)
    records = sorted(_central_records(data, central_directory, limits), key=lambda record: record.offset)
    if records and records[-1].offset >= central_directory.begin:
        raise rule_error(rules.OUTSIDE, records[-1].name)
    begins = [*(record.offset for record in records), central_directory.begin]
    if has_archive_part(file, end_of_padding(file, 0, begins[0]), begins[0]):
        raise rule_error(rules.GAP, hint="before the first entry")
    parents = _names_of_parents(records)
    total = 0
    entries: list[Entry] = []
    for record, end in zip(records, begins[1:], strict=True):
        node = _add(record, tree, has_entries=record.name in parents)
        entry = _entry(file, record, node, end, is_last=record is records[-1])
        total += entry.size
        rule = _exceeded_limit(entry, total, limits)
        if rule is not None:
            raise rule_error(rule, record.name, limits)
        entries.append(entry)
    if is_ratio_exceeded(limits, total, central_directory.begin):
        raise rule_error(rules.RATIO, "", limits)
    return entries


def _exceeded_limit(entry: Entry, total: int, limits: ArchiveLimits) -> Rule | None:
    if entry.size > limits.max_entry_bytes:
        return rules.ENTRY_BYTES
    if total > limits.max_total_bytes:
        return rules.TOTAL_BYTES
    return rules.RATIO if is_ratio_exceeded(limits, entry.size, entry.packed) else None


# --- the central directory


def _central_records(data: bytes, central_directory: CentralDirectory, limits: ArchiveLimits) -> Iterator[_Central]:
    at = count = 0
    while at < len(data):
        count += 1
        if count > limits.max_entries:
            raise rule_error(rules.ENTRIES, "", limits)
        if at + _CENTRAL.size > len(data) or data[at : at + 4] != b"PK\1\2":
            raise rule_error(rules.CENTRAL)
        _, made_by, _, flags, method, _, _, crc, packed, size, *rest = _CENTRAL.unpack_from(data, at)
        name_length, extra_length, comment_length, disk, _, attributes, offset = rest
        begin = at + _CENTRAL.size
        at = begin + name_length + extra_length + comment_length
        if at > len(data):
            raise rule_error(rules.CENTRAL)
        raw_name = data[begin : begin + name_length]
        extras = _extras(data[begin + name_length : begin + name_length + extra_length])
        decoded = _decode_name(raw_name, flags, extras, system=made_by >> 8)
        name = raw_name.decode("latin-1") if decoded is None else decoded
        if decoded is None:
            raise rule_error(rules.NOT_UTF8, name)
        if extras is None:
            raise rule_error(rules.EXTRA, name)
        size, packed, offset = _read_zip64(name, extras, (size, packed, offset))
        if disk not in (0, FULL16):
            raise rule_error(rules.SPLIT, name)
        yield _Central(
            name=name,
            unicode_path=extras.get(_UNICODE_PATH, b""),
            raw_name=raw_name,
            system=made_by >> 8,
            flags=flags,
            method=method,
            crc=crc,
            packed=packed,
            size=size,
            attributes=attributes,
            offset=offset + central_directory.shift,
        )
    if not central_directory.has_count(count):
        raise rule_error(rules.CENTRAL)


def _extras(data: bytes) -> dict[int, bytes] | None:
    """
    Read extra fields; ``None`` if they are too many, or one that is used here is truncated or there twice.

    Of the other fields, a truncated one is the last: some programs write other bytes there.
    """
    found: dict[int, bytes] = {}
    at = 0
    for _ in range(_MOST_EXTRAS + 1):
        # Programs that align the data fill up with zeros.
        zeros = cast("re.Match[bytes]", _ZEROS.match(data, at)).end()
        if zeros == len(data):
            return found
        at += (zeros - at) // _EXTRA.size * _EXTRA.size  # an empty field with the tag 0 has four
        if at + _EXTRA.size > len(data):
            return found
        tag, length = _EXTRA.unpack_from(data, at)
        at += _EXTRA.size + length
        if tag in _USED_EXTRAS and (at > len(data) or tag in found):
            return None
        if at > len(data):
            return found
        found[tag] = data[at - length : at]
    return None


def _decode_name(raw: bytes, flags: int, extras: dict[int, bytes] | None, *, system: int) -> str | None:
    """
    Return a name as Info-ZIP reads it, or ``None`` if it is not the UTF-8 that its flag promises.

    It is UTF-8 if it has a flag or an extra field for it, or if it comes from Unix and is valid.  Otherwise it has the
    code page of DOS.
    """
    unicode_path = (extras or {}).get(_UNICODE_PATH, b"")
    if unicode_path[:1] == b"\1" and unicode_path[1:5] == struct.pack("<L", zlib.crc32(raw)):
        raw, flags = unicode_path[5:], _UTF8
    try:
        name = raw.decode("utf-8" if flags & _UTF8 or system in _UNIX else "cp437")
    except UnicodeDecodeError:
        if flags & _UTF8:
            return None
        name = raw.decode("cp437")
    # Git marks archives as made on FAT too, and there a backslash belongs to the name; but it writes slashes.
    return name.replace("\\", "/") if system in _DOS and "/" not in name else name


def _read_zip64(name: str, extras: dict[int, bytes], values: tuple[int, int, int]) -> tuple[int, int, int]:
    """Take from the ZIP64 field what does not fit into 32 bits."""
    wide = iter(struct.iter_unpack("<Q", extras.get(_ZIP64, b"")[: len(extras.get(_ZIP64, b"")) // 8 * 8]))
    found: list[int] = []
    for value in values:
        if value == FULL32:
            following = next(wide, None)
            if following is None:
                raise rule_error(rules.ZIP64, name)
            (value,) = following  # noqa: PLW2901 - it stands for the same thing
        found.append(value)
    return found[0], found[1], found[2]


# --- one entry


def _names_of_parents(records: list[_Central]) -> set[str]:
    """Return the names without a slash that have the attributes of a directory and entries below them."""
    names = sorted(_plain_name(record.name) for record in records)
    parents: set[str] = set()
    for name in (record.name for record in records if record.is_marked_as_directory):
        prefix = f"{_plain_name(name)}/"
        at = bisect_left(names, prefix)
        if at < len(names) and names[at].startswith(prefix):
            parents.add(name)
    return parents


def _plain_name(name: str) -> str:
    """Return a name without the parts that mean nothing; a slash at the end remains."""
    if "//" not in name and "./" not in name:
        return name
    parts = [part for part in name.split("/") if part not in ("", ".")]
    return "/".join([*parts, ""] if name.endswith("/") else parts)


def _add(record: _Central, tree: Tree, *, has_entries: bool) -> Node:
    """Check a record by itself, and add its name to the tree."""
    kind = _kind(record, has_entries=has_entries)
    rule = _find_record_violation(record, kind)
    if rule is rules.METHOD:
        raise rule_error(rules.METHOD, record.name, hint=f"it is {name_of(record.method)}; {rules.METHOD.hint}")
    if rule is not None:
        raise rule_error(rule, record.name)
    return tree.add(record.name, kind)


def _entry(file: BinaryIO, record: _Central, node: Node, end: int, *, is_last: bool) -> Entry:
    """Check a record against its local header, which begins at its offset, and against the bytes up to its end."""
    length, is_streamed, needs_descriptor = _check_local_header(file, record, end)
    data_offset = record.offset + length
    data_end = data_offset + record.packed
    if is_streamed and record.method == STORED and has_descriptor(file, data_offset, data_end):
        raise rule_error(rules.DESCRIPTOR, record.name, hint="one is in the data, for the bytes before it")
    if data_end != end or needs_descriptor:
        begin = data_end + _descriptor_length(file, record, data_end, end, needs_descriptor=needs_descriptor)
        begin = end_of_padding(file, begin, end)
        # A program that reads the archive from a pipe, such as Java's ZipInputStream, ends at bytes between entries.
        if begin != end and not is_last:
            raise rule_error(rules.GAP, record.name, hint="between two entries")
        if has_archive_part(file, begin, end):
            raise rule_error(rules.GAP, record.name, hint="after its data")
    entry = node.content = Entry(
        node=node,
        mode=record.mode,
        method=record.method,
        has_end_marker=bool(record.flags & _END_MARKER),
        data_offset=data_offset,
        packed=record.packed,
        size=record.size,
        crc=record.crc,
    )
    return entry


def _kind(record: _Central, *, has_entries: bool) -> Kind:
    """
    Return the kind of an entry.

    A slash makes a directory, whatever the mode is: Maven gives directories the mode of a file.  Without a slash, most
    programs make a file, so the attributes make a directory only if other entries are below it.  A program that reads
    its input from a pipe gives a file the mode of a FIFO.
    """
    if record.name.endswith("/") or has_entries:
        return "directory"
    return "link" if stat.S_ISLNK(record.mode) else "file"


def _find_record_violation(record: _Central, kind: Kind) -> Rule | None:
    if record.flags & _ENCRYPTED:
        return rules.ENCRYPTED
    if record.flags & _PATCH:
        return rules.FLAG
    if not is_supported(record.method):
        return rules.METHOD
    if record.method == STORED and record.packed != record.size:
        return rules.SIZE
    if record.size and (kind == "directory" or stat.S_ISDIR(record.mode)):
        return rules.DIRECTORY_DATA
    return rules.DEVICE if kind == "file" and stat.S_IFMT(record.mode) in _DEVICES else None


def _check_local_header(file: BinaryIO, record: _Central, end: int) -> tuple[int, bool, bool]:
    """
    Check the local header, and return its length and whether a data descriptor may and must follow the data.

    Some programs set the flag of the descriptor, that of UTF-8 for a name in ASCII, and a name in Unicode in one of the
    headers only.
    """
    header = bytes_at(file, record.offset, _LOCAL.size)
    if header[:4] != b"PK\3\4":
        raise rule_error(rules.HEADERS, record.name, hint="there is no local header")
    _, _, flags, method, _, _, crc, packed, size, name_length, extra_length = _LOCAL.unpack(header)
    length: int = _LOCAL.size + name_length + extra_length
    if record.offset + length + record.packed > end:
        raise rule_error(rules.OVERLAP, record.name)
    rest = bytes_at(file, record.offset + _LOCAL.size, name_length + extra_length)
    extras = _extras(rest[name_length:])
    if extras is None:
        raise rule_error(rules.EXTRA, record.name)
    # bsdtar takes the name from the Unicode path of the local header, others take it from the central directory.
    unicode_path = extras.get(_UNICODE_PATH, record.unicode_path)
    name = _decode_name(rest[:name_length], flags, {_UNICODE_PATH: unicode_path}, system=record.system)
    if not _has_name(rest[:name_length], record) or name != record.name:
        raise rule_error(rules.HEADERS, record.name, hint="the names differ")
    if (flags ^ record.flags) & (_ENCRYPTED | _PATCH) or method != record.method:
        raise rule_error(rules.HEADERS, record.name, hint="the methods or flags differ")
    # What the descriptor after the data repeats may be unknown here; Info-ZIP writes the size, others nothing.
    unknown = (0, FULL32) if flags & _DESCRIPTOR else ()
    if _ZIP64 in extras or not unknown:
        size, packed, _ = _read_zip64(record.name, extras, (size, packed, 0))
    stated, known = (crc, size, packed), (record.crc, record.size, record.packed)
    if any(value != fact and value not in unknown for value, fact in zip(stated, known, strict=True)):
        raise rule_error(rules.HEADERS, record.name, hint="the sizes or checksums differ")
    # Without a descriptor, a program that reads from the first byte on can only find the end of compressed data.
    is_streamed = bool(flags & _DESCRIPTOR)
    return length, is_streamed, is_streamed and record.method == STORED and stated != known


def _has_name(raw_name: bytes, record: _Central) -> bool:
    """Whether a local header has the name of its record; IZArc writes backslashes into the central directory only."""
    if record.system in _DOS:
        return raw_name.replace(b"\\", b"/") == record.raw_name.replace(b"\\", b"/")
    return raw_name == record.raw_name


def _descriptor_length(file: BinaryIO, record: _Central, begin: int, end: int, *, needs_descriptor: bool) -> int:
    """Check the data descriptor after the data of an entry, and return its length; 0 if there is none."""
    head = bytes_at(file, begin, min(end - begin, _LONGEST_DESCRIPTOR))
    length = max((len(each) for each in _descriptors(record) if head.startswith(each)), default=0)
    if not length and (needs_descriptor or head.startswith(_DESCRIPTOR_SIGNATURE)):
        raise rule_error(rules.DESCRIPTOR, record.name)
    return length


def _descriptors(record: _Central) -> Iterator[bytes]:
    """Return each form of the data descriptor of an entry."""
    values = (record.crc, record.packed, record.size)
    layouts = (_DESCRIPTOR64,) if max(values) > FULL32 else (_DESCRIPTOR32, _DESCRIPTOR64)
    for layout in layouts:
        yield _DESCRIPTOR_SIGNATURE + layout.pack(*values)
        yield layout.pack(*values)
