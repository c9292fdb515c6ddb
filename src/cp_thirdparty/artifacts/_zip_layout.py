"""
Find the central directory of a zip archive, and check bytes that belong to no entry.

Such bytes are accepted before the first entry, before the central directory, and at the end of the file.  Examples are
a start script, zeros that align the data, and Android's signing block.  They are refused if another program could
interpret them as a part of an archive.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO, Final

import attrs

from cp_thirdparty.artifacts import _archive_rules as rules
from cp_thirdparty.artifacts._archive_rules import rule_error
from cp_thirdparty.artifacts._file_formats import describe_format

MAX_UINT16: Final = 0xFFFF
MAX_UINT32: Final = 0xFFFFFFFF

_END: Final = struct.Struct("<4s4H2LH")
_END64_LOCATOR: Final = struct.Struct("<4sLQL")
_END64: Final = struct.Struct("<4sQ2H2L4Q")

# The local header of a padding entry, which only fills a gap: the signature, version, flags and method, four bytes of
# the time (skipped), the checksum, the two sizes, the length of the name, and the length of the extra field.
_PADDING: Final = struct.Struct("<4s3H4x3L2H")

_MAX_COMMENT: Final = 0xFFFF
# The maximum number of bytes after the end record and its comment.  Programs that store or transfer an archive may fill
# the last block with zeros, and blocks usually have up to 64 KiB.  unzip accepts almost 80 KiB.
_MAX_TRAILER: Final = 80 << 10
_SIGNATURES: Final = (b"PK\1\2", b"PK\3\4", b"PK\5\6", b"PK\6\6")
_SIGNATURE: Final = re.compile(b"|".join(_SIGNATURES))
_SIGNATURE_BYTES: Final = 4
_CHUNK_SIZE: Final = 256 << 10
# A data descriptor: its signature, the checksum, and the lowest 32 bits of the length.  The pattern is a lookahead,
# because matches may overlap.
_DESCRIPTOR: Final = re.compile(b"(?=PK\7\10(.{8}))", re.DOTALL)
_DESCRIPTOR_BYTES: Final = 12


@attrs.frozen
class CentralDirectory:
    """
    The position of the central directory in a zip archive, and the number of entries that it should have.

    Attributes:
        count: The number of entries that the end record states.
        is_exact: Whether `count` is the exact number.  Without ZIP64, the end record stores only 16 bits.  For a
            larger number, some programs, such as the Archive Utility of macOS, store the lowest 16 bits.
        begin: The offset of the first byte of the central directory.
        end: The offset of the byte after the central directory.
        shift: The number of bytes that were put before the archive after its creation.  The offsets in the archive do
            not include them.
    """

    count: int
    is_exact: bool
    begin: int
    end: int
    shift: int

    def has_count(self, count: int) -> bool:
        """Return whether the end record states this number of entries."""
        return count == self.count or (not self.is_exact and count & MAX_UINT16 == self.count)


def find_directory(file: BinaryIO, size: int) -> CentralDirectory:
    """Find the end records, and return the position of the central directory that they state."""
    tail_length = min(size, _END.size + _MAX_COMMENT + _MAX_TRAILER)
    tail = read_at(file, size - tail_length, tail_length)
    found = next((at for at in _find_all(tail, b"PK\5\6") if _is_end_record(tail, at)), None)
    if found is None:
        head = read_at(file, 0, min(size, 512))
        if head[:4] in _SIGNATURES:
            raise rule_error(rules.TRUNCATED)
        raise rule_error(rules.NOT_ZIP, hint=describe_format(head))
    if tail.find(b"PK\5\6", found + 4) >= 0:
        raise rule_error(rules.TWO_ENDS)
    end = size - tail_length + found
    _, disk, first_disk, count_on_disk, count, length, begin, _ = _END.unpack_from(tail, found)
    locator_at = end - _END64_LOCATOR.size
    locator = read_at(file, locator_at, _END64_LOCATOR.size) if locator_at >= 0 else b""
    stated_end = None
    if locator[:4] == b"PK\6\7":
        end = locator_at - _END64.size
        values, stated_end = _zip64_values(file, locator, end)
        short_values = (disk, first_disk, count_on_disk, count, length, begin)
        limits = (MAX_UINT16,) * 4 + (MAX_UINT32,) * 2
        if any(short not in (value, limit) for short, value, limit in zip(short_values, values, limits, strict=True)):
            raise rule_error(rules.ZIP64)
        disk, first_disk, count_on_disk, count, length, begin = values
    if (disk, first_disk) != (0, 0) or count_on_disk != count:
        raise rule_error(rules.SPLIT)
    shift = end - length - begin
    if shift < 0 or stated_end not in (None, end - shift):
        raise rule_error(rules.CENTRAL)
    # Another program may use the stated offset without the shift, and must not find a record there.
    if shift and read_at(file, begin, 4) in _SIGNATURES:
        raise rule_error(rules.CENTRAL)
    return CentralDirectory(count, stated_end is not None, begin + shift, end, shift)


def _is_end_record(tail: bytes, at: int) -> bool:
    """Return whether the record at an offset is followed by its complete comment and by no other part of an archive."""
    if at + _END.size > len(tail):
        return False
    end: int = at + _END.size + _END.unpack_from(tail, at)[-1]
    rest = tail[end:]
    return end <= len(tail) and len(rest) <= _MAX_TRAILER and not _SIGNATURE.search(rest)


def _find_all(data: bytes, signature: bytes) -> Iterator[int]:
    at = data.find(signature)
    while at >= 0:
        yield at
        at = data.find(signature, at + 1)


def _zip64_values(file: BinaryIO, locator: bytes, at: int) -> tuple[tuple[int, int, int, int, int, int], int]:
    """Return the values of the ZIP64 end record, and the offset of this record that its locator states."""
    _, disk, stated, disks = _END64_LOCATOR.unpack(locator)
    record = read_at(file, at, _END64.size) if at >= 0 else b""
    if disk != 0 or disks > 1 or record[:4] != b"PK\6\6":
        raise rule_error(rules.ZIP64)
    _, length, _, _, disk, first_disk, count_on_disk, count, size, begin = _END64.unpack(record)
    if length != _END64.size - 12:
        raise rule_error(rules.ZIP64)
    return (disk, first_disk, count_on_disk, count, size, begin), stated


def end_of_padding(file: BinaryIO, begin: int, end: int) -> int:
    """
    Return the offset after the padding entries that start at an offset.

    A padding entry only fills a gap: it has no name and no data, and its extra field contains zeros.  The Android
    Gradle Plugin writes such entries.  A program that reads the archive from a pipe ignores them.
    """
    # One entry can fill 64 KiB.  The number of entries is limited, because a gap can have millions of small ones.
    for _ in range(2 + (end - begin) // 0xFFFF):
        if end - begin < _PADDING.size:
            break
        signature, _, *fields, length = _PADDING.unpack(read_at(file, begin, _PADDING.size))
        next_begin = begin + _PADDING.size + length
        if signature != b"PK\3\4" or any(fields) or next_begin > end:
            break
        if any(read_at(file, begin + _PADDING.size, length)):
            break
        begin = next_begin
    return begin


def has_archive_part(file: BinaryIO, begin: int, end: int) -> bool:
    """Return whether another program could interpret bytes between two offsets as a part of an archive."""
    overlap = b""
    while begin < end:
        chunk = overlap + read_at(file, begin, min(end - begin, _CHUNK_SIZE))
        if _SIGNATURE.search(chunk):
            return True
        begin += len(chunk) - len(overlap)
        overlap = chunk[1 - _SIGNATURE_BYTES :]
    return False


def has_descriptor(file: BinaryIO, begin: int, end: int) -> bool:
    """
    Return whether the data of an uncompressed entry contains a data descriptor that is valid for the bytes before it.

    If bsdtar reads an archive from a pipe, it ends the entry at such a descriptor.
    """
    crc, length, overlap = 0, 0, b""
    while begin < end:
        chunk = read_at(file, begin, min(end - begin, _CHUNK_SIZE))
        begin += len(chunk)
        data = overlap + chunk
        at = 0  # the number of bytes of `data` that the checksum and the length already include
        for match in _DESCRIPTOR.finditer(data):
            crc = zlib.crc32(data[at : match.start()], crc)
            length += match.start() - at
            at = match.start()
            if match[1] == struct.pack("<2L", crc, length & MAX_UINT32):
                return True
        overlap_begin = max(len(data) - _DESCRIPTOR_BYTES + 1, 0)
        crc = zlib.crc32(data[at:overlap_begin], crc)
        length += overlap_begin - at
        overlap = data[overlap_begin:]
    return False


def read_at(file: BinaryIO, at: int, length: int) -> bytes:
    """Read `length` bytes at an offset of the file; raise an error if the file has fewer."""
    file.seek(at)
    data = file.read(length)
    if len(data) != length:
        raise rule_error(rules.TRUNCATED)
    return data
