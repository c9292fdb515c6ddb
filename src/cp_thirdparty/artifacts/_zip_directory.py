"""
Read the entries of a zip archive, and accept the archive only if all its records agree.

A zip archive states most facts about an entry twice: in the central directory, and in a local header before the data.
Programs differ in which of the two they use, so both must be equal.  Entries must not overlap.  The format is described
in PKWARE's APPNOTE 6.3.10.
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
    MAX_UINT16,
    MAX_UINT32,
    CentralDirectory,
    end_of_padding,
    find_directory,
    has_archive_part,
    has_descriptor,
    read_at,
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

# Ids of the systems whose entries have a Unix mode in their attributes: Unix and macOS.
_UNIX: Final = (3, 19)

# Ids of the systems whose file names cannot contain a backslash: FAT, NTFS in APPNOTE, NTFS in Info-ZIP, and VFAT.  A
# backslash in a name from these systems is a separator, because PowerShell 5 and .NET 4.5 write it instead of a slash.
_DOS: Final = (0, 10, 11, 14)
_DOS_DIRECTORY: Final = 0x10

# The maximum size of the central directory in bytes, because it is read into memory completely.  This is enough for
# 100,000 entries with long names.
LONGEST_DIRECTORY: Final = 128 << 20
# The maximum number of extra fields in one header, which limits the time to read them.  Programs write about five, and
# a header has space for 16,000.
_MAX_EXTRAS: Final = 100
_ZEROS: Final = re.compile(rb"\0*")

_DEVICES: Final = (stat.S_IFBLK, stat.S_IFCHR)

# The data descriptor after an entry has sizes of 32 or 64 bits, with or without a signature.  The longest form, with 64
# bits and a signature, has 24 bytes.
_DESCRIPTOR32: Final = struct.Struct("<3L")
_DESCRIPTOR64: Final = struct.Struct("<L2Q")
_DESCRIPTOR_SIGNATURE: Final = b"PK\7\10"
_LONGEST_DESCRIPTOR: Final = 24


@attrs.frozen(kw_only=True)
class Entry:
    """
    One checked entry of an archive.

    Attributes:
        node: The node of the entry in the tree.
        mode: The Unix mode with the file type; 0 if the archive has no mode for the entry.
        method: The compression method.
        has_end_marker: Whether the compressed data ends with an end marker.  Only LZMA has such markers.
        data_offset: The offset of the compressed data in the archive.
        packed: The size of the compressed data in bytes.
        size: The size of the extracted data in bytes.
        crc: The CRC-32 of the extracted data.
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
        """The Unix mode with the file type; 0 if the record has no mode."""
        return self.attributes >> 16 if self.system in _UNIX else 0

    @property
    def is_marked_as_directory(self) -> bool:
        """Whether the attributes state that the entry is a directory."""
        return stat.S_ISDIR(self.mode) or (self.system in _DOS and bool(self.attributes & _DOS_DIRECTORY))


def read_directory(file: BinaryIO, size: int, limits: ArchiveLimits, tree: Tree) -> list[Entry]:
    """
    Read and check all entries of an archive, and add each to the tree.

    Args:
        file: The archive.
        size: The size of the archive in bytes.
        limits: What the archive may contain.
        tree: An empty tree.  Each entry is stored as the `content` of its node.

    Returns:
        The entries, in the order of their data in the archive.

    Raises:
        cp_thirdparty.exceptions.UnsafeArchiveError: The archive breaks a rule.
    """
    central_directory = find_directory(file, size)
    if central_directory.count > limits.max_entries:
        raise rule_error(rules.ENTRIES, "", limits)
    if central_directory.end - central_directory.begin > LONGEST_DIRECTORY:
        raise rule_error(rules.CENTRAL, hint="it has more than 128 MiB")
    data = read_at(file, central_directory.begin, central_directory.end - central_directory.begin)
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
        if disk not in (0, MAX_UINT16):
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
    Read the extra fields of a header, and return them: tag -> data.

    ``None`` is returned if there are too many fields, or if a field that this module uses is truncated or duplicate.
    Reading ends at another field that is truncated, because some programs write arbitrary bytes after the last field.
    """
    found: dict[int, bytes] = {}
    at = 0
    for _ in range(_MAX_EXTRAS + 1):
        # Programs that align the data of an entry fill up the extra fields with zeros.
        zeros = cast("re.Match[bytes]", _ZEROS.match(data, at)).end()
        if zeros == len(data):
            return found
        at += (zeros - at) // _EXTRA.size * _EXTRA.size  # four zeros are an empty field with the tag 0
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
    Decode a name in the same way as Info-ZIP; return ``None`` if the flag for UTF-8 is set and the name is not UTF-8.

    The encoding is UTF-8 if the flag is set, if there is an extra field with a Unicode path, or if the entry comes from
    Unix and the name is valid UTF-8.  Otherwise the encoding is the DOS code page 437.
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
    # Git also states FAT as the system, but a backslash in a name of Git is not a separator.  Git separates with
    # slashes, so backslashes are replaced only in names without a slash.
    return name.replace("\\", "/") if system in _DOS and "/" not in name else name


def _read_zip64(name: str, extras: dict[int, bytes], values: tuple[int, int, int]) -> tuple[int, int, int]:
    """Return the values, with each value that does not fit into 32 bits replaced by that of the ZIP64 field."""
    wide = iter(struct.iter_unpack("<Q", extras.get(_ZIP64, b"")[: len(extras.get(_ZIP64, b"")) // 8 * 8]))
    found: list[int] = []
    for value in values:
        if value == MAX_UINT32:
            following = next(wide, None)
            if following is None:
                raise rule_error(rules.ZIP64, name)
            (value,) = following  # noqa: PLW2901 - it replaces the same value
        found.append(value)
    return found[0], found[1], found[2]


# --- one entry


def _names_of_parents(records: list[_Central]) -> set[str]:
    """Return the names whose attributes state a directory, and which are the parent directory of another entry."""
    names = sorted(_plain_name(record.name) for record in records)
    parents: set[str] = set()
    for name in (record.name for record in records if record.is_marked_as_directory):
        prefix = f"{_plain_name(name)}/"
        at = bisect_left(names, prefix)
        if at < len(names) and names[at].startswith(prefix):
            parents.add(name)
    return parents


def _plain_name(name: str) -> str:
    """Return a name without empty parts and without the part ``.``; a slash at the end remains."""
    if "//" not in name and "./" not in name:
        return name
    parts = [part for part in name.split("/") if part not in ("", ".")]
    return "/".join([*parts, ""] if name.endswith("/") else parts)


def _add(record: _Central, tree: Tree, *, has_entries: bool) -> Node:
    """Check one record of the central directory, and add its name to the tree."""
    kind = _kind(record, has_entries=has_entries)
    rule = _find_record_violation(record, kind)
    if rule is rules.METHOD:
        raise rule_error(rules.METHOD, record.name, hint=f"it is {name_of(record.method)}; {rules.METHOD.hint}")
    if rule is not None:
        raise rule_error(rule, record.name)
    return tree.add(record.name, kind)


def _entry(file: BinaryIO, record: _Central, node: Node, end: int, *, is_last: bool) -> Entry:
    """
    Compare a record of the central directory with its local header, check the bytes after its data, and return the
    entry.

    Args:
        file: The archive.
        record: The record.  It states the offset of the local header.
        node: The node of the entry in the tree.
        end: The offset of the next entry, or of the central directory after the last entry.
        is_last: Whether this is the last entry.
    """
    length, is_streamed, needs_descriptor = _check_local_header(file, record, end)
    data_offset = record.offset + length
    data_end = data_offset + record.packed
    if is_streamed and record.method == STORED and has_descriptor(file, data_offset, data_end):
        raise rule_error(rules.DESCRIPTOR, record.name, hint="one is in the data, for the bytes before it")
    if data_end != end or needs_descriptor:
        begin = data_end + _descriptor_length(file, record, data_end, end, needs_descriptor=needs_descriptor)
        begin = end_of_padding(file, begin, end)
        # A program that reads the archive from a pipe, such as Java's ZipInputStream, stops at bytes between entries.
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

    An entry is a directory if its name ends with a slash, whatever its mode is: Maven gives directories the mode of a
    file.  Without a slash, most programs extract a file.  So the attributes make it a directory only if other entries
    are in it (`has_entries`).  A FIFO is accepted as a file: a program that archives its standard input writes this
    mode.
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
    Compare the local header of an entry with its record in the central directory.

    Three differences are accepted, because some programs write them in one of the two headers only: the flag of the
    data descriptor, the flag of UTF-8 for an ASCII name, and the extra field with a Unicode path.

    Returns:
        The length of the local header, whether a data descriptor may follow the data, and whether one must follow.
    """
    header = read_at(file, record.offset, _LOCAL.size)
    if header[:4] != b"PK\3\4":
        raise rule_error(rules.HEADERS, record.name, hint="there is no local header")
    _, _, flags, method, _, _, crc, packed, size, name_length, extra_length = _LOCAL.unpack(header)
    length: int = _LOCAL.size + name_length + extra_length
    if record.offset + length + record.packed > end:
        raise rule_error(rules.OVERLAP, record.name)
    rest = read_at(file, record.offset + _LOCAL.size, name_length + extra_length)
    extras = _extras(rest[name_length:])
    if extras is None:
        raise rule_error(rules.EXTRA, record.name)
    # bsdtar uses the Unicode path of the local header, and other programs use that of the central directory.
    unicode_path = extras.get(_UNICODE_PATH, record.unicode_path)
    name = _decode_name(rest[:name_length], flags, {_UNICODE_PATH: unicode_path}, system=record.system)
    if not _has_name(rest[:name_length], record) or name != record.name:
        raise rule_error(rules.HEADERS, record.name, hint="the names differ")
    if (flags ^ record.flags) & (_ENCRYPTED | _PATCH) or method != record.method:
        raise rule_error(rules.HEADERS, record.name, hint="the methods or flags differ")
    # With a data descriptor, the local header may have 0 or all bits set instead of the checksum and the sizes.
    # Info-ZIP writes the size, other programs do not.
    unknown = (0, MAX_UINT32) if flags & _DESCRIPTOR else ()
    if _ZIP64 in extras or not unknown:
        size, packed, _ = _read_zip64(record.name, extras, (size, packed, 0))
    stated, known = (crc, size, packed), (record.crc, record.size, record.packed)
    if any(value != fact and value not in unknown for value, fact in zip(stated, known, strict=True)):
        raise rule_error(rules.HEADERS, record.name, hint="the sizes or checksums differ")
    # A program that reads the archive from a pipe finds the end of compressed data by itself.  It finds the end of
    # stored data only if the local header states the size, so otherwise a descriptor must follow.
    is_streamed = bool(flags & _DESCRIPTOR)
    return length, is_streamed, is_streamed and record.method == STORED and stated != known


def _has_name(raw_name: bytes, record: _Central) -> bool:
    """
    Return whether a local header has the same name as its record in the central directory.

    IZArc, on DOS systems, writes backslashes into the central directory only.
    """
    if record.system in _DOS and raw_name == record.raw_name.replace(b"\\", b"/"):
        return True
    return raw_name == record.raw_name


def _descriptor_length(file: BinaryIO, record: _Central, begin: int, end: int, *, needs_descriptor: bool) -> int:
    """Check the data descriptor after the data of an entry, and return its length; 0 if there is no descriptor."""
    head = read_at(file, begin, min(end - begin, _LONGEST_DESCRIPTOR))
    length = max((len(each) for each in _descriptors(record) if head.startswith(each)), default=0)
    if not length and (needs_descriptor or head.startswith(_DESCRIPTOR_SIGNATURE)):
        raise rule_error(rules.DESCRIPTOR, record.name)
    return length


def _descriptors(record: _Central) -> Iterator[bytes]:
    """Yield the possible forms of the data descriptor of an entry, as bytes."""
    values = (record.crc, record.packed, record.size)
    layouts = (_DESCRIPTOR64,) if max(values) > MAX_UINT32 else (_DESCRIPTOR32, _DESCRIPTOR64)
    for layout in layouts:
        yield _DESCRIPTOR_SIGNATURE + layout.pack(*values)
        yield layout.pack(*values)
