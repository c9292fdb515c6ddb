"""
Read the records of a zip archive's central directory, with the names and the extra fields of its headers.

The format is described in PKWARE's APPNOTE 6.3.10.
"""

from __future__ import annotations

import re
import stat
import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO, Final, cast

import attrs

from cp_thirdparty.artifacts import _archive_rules as rules
from cp_thirdparty.artifacts._archive_rules import rule_error
from cp_thirdparty.artifacts._zip_layout import MAX_UINT16, MAX_UINT32, CentralDirectory, read_at
from cp_thirdparty.artifacts.limits import ArchiveLimits

_CENTRAL: Final = struct.Struct("<4s6H3L5H2L")
_EXTRA: Final = struct.Struct("<2H")

# The general purpose flag of names in UTF-8.
_UTF8: Final = 1 << 11

# Tags of extra fields.
ZIP64: Final = 0x0001
UNICODE_PATH: Final = 0x7075
_USED_EXTRAS: Final = (ZIP64, UNICODE_PATH)

# Ids of the systems whose entries have a Unix mode in their attributes: Unix and macOS.
_UNIX: Final = (3, 19)

# Ids of the systems whose file names cannot contain a backslash: FAT, NTFS in APPNOTE, NTFS in Info-ZIP, and VFAT.  A
# backslash in a name from these systems is a separator, because PowerShell 5 and .NET 4.5 write it instead of a slash.
DOS_SYSTEMS: Final = (0, 10, 11, 14)
_DOS_DIRECTORY: Final = 0x10

# The maximum size of the central directory in bytes, because it is read into memory completely.  This is enough for
# 100,000 entries with long names.
LONGEST_DIRECTORY: Final = 128 << 20
# The maximum number of extra fields in one header, which limits the time to read them.  Programs write about five, and
# a header has space for 16,000.
_MAX_EXTRAS: Final = 100
_ZEROS: Final = re.compile(rb"\0*")


@attrs.frozen(kw_only=True)
class Record:
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
        return stat.S_ISDIR(self.mode) or (self.system in DOS_SYSTEMS and bool(self.attributes & _DOS_DIRECTORY))


def read_records(file: BinaryIO, central_directory: CentralDirectory, limits: ArchiveLimits) -> list[Record]:
    """Read the records of the central directory, and return them in the order of their data in the archive."""
    if central_directory.count > limits.max_entries:
        raise rule_error(rules.ENTRIES, "", limits)
    length = central_directory.end - central_directory.begin
    if length > LONGEST_DIRECTORY:
        raise rule_error(rules.CENTRAL, hint="it has more than 128 MiB")
    data = read_at(file, central_directory.begin, length)
    return sorted(_parse_records(data, central_directory, limits), key=lambda record: record.offset)


def _parse_records(data: bytes, central_directory: CentralDirectory, limits: ArchiveLimits) -> Iterator[Record]:
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
        extras = read_extras(data[begin + name_length : begin + name_length + extra_length])
        decoded = decode_name(raw_name, flags, extras, system=made_by >> 8)
        name = raw_name.decode("latin-1") if decoded is None else decoded
        if decoded is None:
            raise rule_error(rules.NOT_UTF8, name)
        if extras is None:
            raise rule_error(rules.EXTRA, name)
        size, packed, offset = read_zip64(name, extras, (size, packed, offset))
        if disk not in (0, MAX_UINT16):
            raise rule_error(rules.SPLIT, name)
        yield Record(
            name=name,
            unicode_path=extras.get(UNICODE_PATH, b""),
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


def read_extras(data: bytes) -> dict[int, bytes] | None:
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


def decode_name(raw: bytes, flags: int, extras: dict[int, bytes] | None, *, system: int) -> str | None:
    """
    Decode a name in the same way as Info-ZIP; return ``None`` if the flag for UTF-8 is set and the name is not UTF-8.

    The encoding is UTF-8 if the flag is set, if there is an extra field with a Unicode path, or if the entry comes from
    Unix and the name is valid UTF-8.  Otherwise the encoding is the DOS code page 437.
    """
    unicode_path = (extras or {}).get(UNICODE_PATH, b"")
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
    return name.replace("\\", "/") if system in DOS_SYSTEMS and "/" not in name else name


def read_zip64(name: str, extras: dict[int, bytes], values: tuple[int, int, int]) -> tuple[int, int, int]:
    """Return the values, with each value that does not fit into 32 bits replaced by that of the ZIP64 field."""
    wide = iter(struct.iter_unpack("<Q", extras.get(ZIP64, b"")[: len(extras.get(ZIP64, b"")) // 8 * 8]))
    found: list[int] = []
    for value in values:
        if value == MAX_UINT32:
            following = next(wide, None)
            if following is None:
                raise rule_error(rules.ZIP64, name)
            (value,) = following  # noqa: PLW2901 - it replaces the same value
        found.append(value)
    return found[0], found[1], found[2]
