"""
Accept the entries of a zip archive only if all records about them agree.

A zip archive states most facts about an entry twice: in the central directory, and in a local header before the data.
Programs differ in which of the two they use, so both must be equal.  Entries must not overlap.
"""

from __future__ import annotations

import stat
import struct
from bisect import bisect_left
from collections.abc import Iterator
from typing import BinaryIO, Final

import attrs

from cp_thirdparty.artifacts import _archive_rules as rules
from cp_thirdparty.artifacts._archive_rules import Rule, is_ratio_exceeded, rule_error
from cp_thirdparty.artifacts._archive_tree import Kind, Node, Tree
from cp_thirdparty.artifacts._zip_layout import (
    MAX_UINT32,
    end_of_padding,
    find_directory,
    has_archive_part,
    has_descriptor,
    read_at,
)
from cp_thirdparty.artifacts._zip_methods import STORED, is_supported, name_of
from cp_thirdparty.artifacts._zip_records import (
    DOS_SYSTEMS,
    UNICODE_PATH,
    ZIP64,
    Record,
    decode_name,
    read_extras,
    read_records,
    read_zip64,
)
from cp_thirdparty.artifacts.limits import ArchiveLimits

_LOCAL: Final = struct.Struct("<4s5H3L2H")

# General purpose flags.
_ENCRYPTED: Final = 1 << 0 | 1 << 6 | 1 << 13
_END_MARKER: Final = 1 << 1
_DESCRIPTOR: Final = 1 << 3
_PATCH: Final = 1 << 5

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


def read_entries(file: BinaryIO, size: int, limits: ArchiveLimits, tree: Tree) -> list[Entry]:
    """
    Read and check all entries of an archive, and return them in the order of their data in the archive.

    Each entry is added to the empty tree, and stored as the `content` of its node.
    """
    central_directory = find_directory(file, size)
    records = read_records(file, central_directory, limits)
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


def _names_of_parents(records: list[Record]) -> set[str]:
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


def _add(record: Record, tree: Tree, *, has_entries: bool) -> Node:
    """Check one record of the central directory, and add its name to the tree."""
    kind = _kind(record, has_entries=has_entries)
    rule = _find_record_violation(record, kind)
    if rule is rules.METHOD:
        raise rule_error(rules.METHOD, record.name, hint=f"it is {name_of(record.method)}; {rules.METHOD.hint}")
    if rule is not None:
        raise rule_error(rule, record.name)
    return tree.add(record.name, kind)


def _entry(file: BinaryIO, record: Record, node: Node, end: int, *, is_last: bool) -> Entry:
    """
    Compare a record of the central directory with its local header, check the bytes after its data, and return the
    entry.

    ``end`` is the offset of the next entry, or of the central directory after the last entry.
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


def _kind(record: Record, *, has_entries: bool) -> Kind:
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


def _find_record_violation(record: Record, kind: Kind) -> Rule | None:
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


def _check_local_header(file: BinaryIO, record: Record, end: int) -> tuple[int, bool, bool]:
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
    extras = read_extras(rest[name_length:])
    if extras is None:
        raise rule_error(rules.EXTRA, record.name)
    # bsdtar uses the Unicode path of the local header, and other programs use that of the central directory.
    unicode_path = extras.get(UNICODE_PATH, record.unicode_path)
    name = decode_name(rest[:name_length], flags, {UNICODE_PATH: unicode_path}, system=record.system)
    if not _has_name(rest[:name_length], record) or name != record.name:
        raise rule_error(rules.HEADERS, record.name, hint="the names differ")
    if (flags ^ record.flags) & (_ENCRYPTED | _PATCH) or method != record.method:
        raise rule_error(rules.HEADERS, record.name, hint="the methods or flags differ")
    # With a data descriptor, the local header may have 0 or all bits set instead of the checksum and the sizes.
    # Info-ZIP writes the size, other programs do not.
    unknown = (0, MAX_UINT32) if flags & _DESCRIPTOR else ()
    if ZIP64 in extras or not unknown:
        size, packed, _ = read_zip64(record.name, extras, (size, packed, 0))
    stated, known = (crc, size, packed), (record.crc, record.size, record.packed)
    if any(value != fact and value not in unknown for value, fact in zip(stated, known, strict=True)):
        raise rule_error(rules.HEADERS, record.name, hint="the sizes or checksums differ")
    # A program that reads the archive from a pipe finds the end of compressed data by itself.  It finds the end of
    # stored data only if the local header states the size, so otherwise a descriptor must follow.
    is_streamed = bool(flags & _DESCRIPTOR)
    return length, is_streamed, is_streamed and record.method == STORED and stated != known


def _has_name(raw_name: bytes, record: Record) -> bool:
    """
    Return whether a local header has the same name as its record in the central directory.

    IZArc, on DOS systems, writes backslashes into the central directory only.
    """
    if record.system in DOS_SYSTEMS and raw_name == record.raw_name.replace(b"\\", b"/"):
        return True
    return raw_name == record.raw_name


def _descriptor_length(file: BinaryIO, record: Record, begin: int, end: int, *, needs_descriptor: bool) -> int:
    """Check the data descriptor after the data of an entry, and return its length; 0 if there is no descriptor."""
    head = read_at(file, begin, min(end - begin, _LONGEST_DESCRIPTOR))
    length = max((len(each) for each in _descriptors(record) if head.startswith(each)), default=0)
    if not length and (needs_descriptor or head.startswith(_DESCRIPTOR_SIGNATURE)):
        raise rule_error(rules.DESCRIPTOR, record.name)
    return length


def _descriptors(record: Record) -> Iterator[bytes]:
    """Yield the possible forms of the data descriptor of an entry, as bytes."""
    values = (record.crc, record.packed, record.size)
    layouts = (_DESCRIPTOR64,) if max(values) > MAX_UINT32 else (_DESCRIPTOR32, _DESCRIPTOR64)
    for layout in layouts:
        yield _DESCRIPTOR_SIGNATURE + layout.pack(*values)
        yield layout.pack(*values)
