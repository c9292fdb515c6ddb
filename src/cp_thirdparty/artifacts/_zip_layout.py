"""
Find the central directory of a zip archive, and check the bytes that belong to no entry.

Such bytes are accepted before the first entry, before the central directory and at the end, if no reader can take them
for a part of an archive: a start script, zeros that align the data, Android's signing block.
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
from cp_thirdparty.artifacts._file_formats import looks_like

__all__ = [
    "FULL16",
    "FULL32",
    "CentralDirectory",
    "bytes_at",
    "end_of_padding",
    "find_directory",
    "has_archive_part",
    "has_descriptor",
]

FULL16: Final = 0xFFFF
FULL32: Final = 0xFFFFFFFF

_END: Final = struct.Struct("<4s4H2LH")
_END64_LOCATOR: Final = struct.Struct("<4sLQL")
_END64: Final = struct.Struct("<4sQ2H2L4Q")

# The local header of an entry that only fills a gap: its signature, version, flags and method, four bytes of the time,
# checksum, sizes and length of the name, and the length of the extra field.
_PADDING: Final = struct.Struct("<4s3H4x3L2H")

_COMMENT: Final = 0xFFFF
# Storage and transfer may fill up the last block with zeros; the largest usual block has 64 KiB.  unzip accepts more,
# but less than 80 KiB.
_LONGEST_END: Final = 80 << 10
_SIGNATURES: Final = (b"PK\1\2", b"PK\3\4", b"PK\5\6", b"PK\6\6")
_SIGNATURE: Final = re.compile(b"|".join(_SIGNATURES))
_SIGNATURE_BYTES: Final = 4
_PIECE: Final = 256 << 10
# The signature of a data descriptor, the checksum, and the lowest 32 bits of the length.  Matches may overlap.
_DESCRIPTOR: Final = re.compile(b"(?=PK\7\10(.{8}))", re.DOTALL)
_DESCRIPTOR_BYTES: Final = 12


@attrs.frozen
class CentralDirectory:
    """
    Where the central directory of a zip archive is, and how many entries it should have.

    Attributes:
        count: How many entries the end record states.
        is_exact: Whether the end record has space for any count.  Without ZIP64 it has 16 bits, and some programs, such
            as the Archive Utility of macOS, write the lowest 16 bits of a larger count.
        begin: Its first byte.
        end: The byte after its last one.
        shift: How many bytes were put before the archive after it was made, so that its offsets do not count them.
    """

    count: int
    is_exact: bool
    begin: int
    end: int
    shift: int

    def has_count(self, count: int) -> bool:
        """Whether the end record states this number of entries."""
        return count == self.count or (not self.is_exact and count & FULL16 == self.count)


def find_directory(file: BinaryIO, size: int) -> CentralDirectory:
    """Find the end records, and what they state about the central directory."""
    tail_length = min(size, _END.size + _COMMENT + _LONGEST_END)
    tail = bytes_at(file, size - tail_length, tail_length)
    found = next((at for at in _positions(tail, b"PK\5\6") if _ends_after(tail, at)), None)
    if found is None:
        head = bytes_at(file, 0, min(size, 512))
        if head[:4] in _SIGNATURES:
            raise rule_error(rules.TRUNCATED)
        raise rule_error(rules.NOT_ZIP, hint=looks_like(head))
    if tail.find(b"PK\5\6", found + 4) >= 0:
        raise rule_error(rules.TWO_ENDS)
    end = size - tail_length + found
    _, disk, first_disk, here, count, length, begin, _ = _END.unpack_from(tail, found)
    locator_at = end - _END64_LOCATOR.size
    locator = bytes_at(file, locator_at, _END64_LOCATOR.size) if locator_at >= 0 else b""
    stated_end = None
    if locator[:4] == b"PK\6\7":
        end = locator_at - _END64.size
        values, stated_end = _zip64_values(file, locator, end)
        old, full = (disk, first_disk, here, count, length, begin), (FULL16,) * 4 + (FULL32,) * 2
        if any(value not in (wide, limit) for value, wide, limit in zip(old, values, full, strict=True)):
            raise rule_error(rules.ZIP64)
        disk, first_disk, here, count, length, begin = values
    if (disk, first_disk) != (0, 0) or here != count:
        raise rule_error(rules.SPLIT)
    shift = end - length - begin
    if shift < 0 or stated_end not in (None, end - shift):
        raise rule_error(rules.CENTRAL)
    # Other readers may use the offset as it is, if there is a directory.
    if shift and bytes_at(file, begin, 4) in _SIGNATURES:
        raise rule_error(rules.CENTRAL)
    return CentralDirectory(count, stated_end is not None, begin + shift, end, shift)


def _ends_after(tail: bytes, at: int) -> bool:
    """Whether an end record has nothing after it but its comment and bytes that no reader takes for an archive."""
    if at + _END.size > len(tail):
        return False
    end: int = at + _END.size + _END.unpack_from(tail, at)[-1]
    rest = tail[end:]
    return end <= len(tail) and len(rest) <= _LONGEST_END and not _SIGNATURE.search(rest)


def _positions(data: bytes, signature: bytes) -> Iterator[int]:
    at = data.find(signature)
    while at >= 0:
        yield at
        at = data.find(signature, at + 1)


def _zip64_values(file: BinaryIO, locator: bytes, at: int) -> tuple[tuple[int, int, int, int, int, int], int]:
    """Return what the ZIP64 end record before the locator states, and where the locator states that it is."""
    _, disk, stated, disks = _END64_LOCATOR.unpack(locator)
    record = bytes_at(file, at, _END64.size) if at >= 0 else b""
    if disk != 0 or disks > 1 or record[:4] != b"PK\6\6":
        raise rule_error(rules.ZIP64)
    _, length, _, _, disk, first_disk, here, count, size, begin = _END64.unpack(record)
    if length != _END64.size - 12:
        raise rule_error(rules.ZIP64)
    return (disk, first_disk, here, count, size, begin), stated


def end_of_padding(file: BinaryIO, begin: int, end: int) -> int:
    """
    Return where entries end that only fill a gap: without a name or data, and with zeros as their extra field.

    The Android Gradle Plugin writes them.  A program that reads from a pipe finds nothing in them, and goes on.
    """
    while end - begin >= _PADDING.size:
        signature, _, *facts, length = _PADDING.unpack(bytes_at(file, begin, _PADDING.size))
        following = begin + _PADDING.size + length
        if signature != b"PK\3\4" or any(facts) or following > end:
            break
        if any(bytes_at(file, begin + _PADDING.size, length)):
            break
        begin = following
    return begin


def has_archive_part(file: BinaryIO, begin: int, end: int) -> bool:
    """Whether another reader can take something between two places for a part of an archive."""
    overlap = b""
    while begin < end:
        piece = overlap + bytes_at(file, begin, min(end - begin, _PIECE))
        if _SIGNATURE.search(piece):
            return True
        begin += len(piece) - len(overlap)
        overlap = piece[1 - _SIGNATURE_BYTES :]
    return False


def has_descriptor(file: BinaryIO, begin: int, end: int) -> bool:
    """Whether stored data has a data descriptor of the data before it, where bsdtar ends if it reads from a pipe."""
    crc, length, overlap = 0, 0, b""
    while begin < end:
        piece = bytes_at(file, begin, min(end - begin, _PIECE))
        begin += len(piece)
        data = overlap + piece
        at = 0  # how many bytes of the data are counted in the checksum and the length
        for match in _DESCRIPTOR.finditer(data):
            crc = zlib.crc32(data[at : match.start()], crc)
            length += match.start() - at
            at = match.start()
            if match[1] == struct.pack("<2L", crc, length & FULL32):
                return True
        rest = max(len(data) - _DESCRIPTOR_BYTES + 1, 0)
        crc = zlib.crc32(data[at:rest], crc)
        length += rest - at
        overlap = data[rest:]
    return False


def bytes_at(file: BinaryIO, at: int, length: int) -> bytes:
    """Return a part of the file."""
    file.seek(at)
    data = file.read(length)
    if len(data) != length:
        raise rule_error(rules.TRUNCATED)
    return data
