"""Builds zip archives byte by byte, so that each record can lie."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import attrs

UNIX = 3 << 8 | 20
FILE = 0o100644 << 16
EXECUTABLE = 0o100755 << 16
DIRECTORY = 0o040755 << 16 | 0x10
LINK = 0o120777 << 16
FIFO = 0o010644 << 16


@attrs.define(kw_only=True)
class Record:
    """
    One entry.  ``local`` and ``central`` override the fields of one of its two headers.

    ``descriptor`` are the bytes after the data; with them, set bit 3 of ``flags``.
    """

    name: bytes = b"file.txt"
    content: bytes = b"content\n"
    method: int = 0
    flags: int = 0
    attributes: int = FILE
    made_by: int = UNIX
    extra: bytes = b""
    before: bytes = b""
    descriptor: bytes = b""
    packed: bytes | None = None
    local: dict[str, Any] = attrs.field(factory=dict)
    central: dict[str, Any] = attrs.field(factory=dict)

    def data(self) -> bytes:
        """Pack the content."""
        if self.packed is not None:
            return self.packed
        return deflated(self.content) if self.method == 8 else self.content

    def facts(self) -> dict[str, Any]:
        """Return what both headers hold."""
        data = self.data()
        return {
            "name": self.name,
            "flags": self.flags,
            "method": self.method,
            "crc": zlib.crc32(self.content),
            "packed": len(data),
            "size": len(self.content),
            "extra": self.extra,
        }


def deflated(content: bytes) -> bytes:
    """Deflate, without a header."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(content) + packer.flush()


def descriptor(
    content: bytes, packed: int | None = None, *, signature: bytes = b"PK\7\10", wide: bool = False
) -> bytes:
    """Make a data descriptor."""
    layout = "<L2Q" if wide else "<3L"
    sizes = len(content) if packed is None else packed, len(content)
    return signature + struct.pack(layout, zlib.crc32(content), *sizes)


def zip64(*values: int) -> bytes:
    """Make a ZIP64 extra field."""
    return struct.pack("<2H", 1, 8 * len(values)) + struct.pack(f"<{len(values)}Q", *values)


def built(
    *records: Record,
    comment: bytes = b"",
    end: dict[str, Any] | None = None,
    before_directory: bytes = b"",
    before_end: bytes = b"",
    after: bytes = b"",
) -> bytes:
    """Put an archive together."""
    body, directory = bytearray(), bytearray()
    for record in records:
        body += record.before
        offset = len(body)
        local = {**record.facts(), **record.local}
        body += local_header(**local) + record.data() + record.descriptor
        central: dict[str, Any] = {**record.facts(), "offset": offset, **record.central}
        directory += central_header(made_by=record.made_by, attributes=record.attributes, **central)
    body += before_directory
    begin = len(body)
    fields: dict[str, Any] = {"count": len(records), "length": len(directory), "begin": begin, "comment": comment}
    return bytes(body + directory + before_end) + end_record(**{**fields, **(end or {})}) + after


def local_header(*, name: bytes, flags: int, method: int, crc: int, packed: int, size: int, extra: bytes) -> bytes:
    """Make a local header."""
    fields = (b"PK\3\4", 20, flags, method, 0, 33, crc, packed, size, len(name), len(extra))
    return struct.pack("<4s5H3L2H", *fields) + name + extra


def padding_entry(length: int, **facts: int) -> bytes:
    """Make a local header without a name and data, with zeros as its extra field."""
    zeros = {"flags": 0, "method": 0, "crc": 0, "packed": 0, "size": 0}
    return local_header(name=b"", extra=bytes(length), **{**zeros, **facts})


def central_header(
    *,
    name: bytes,
    flags: int,
    method: int,
    crc: int,
    packed: int,
    size: int,
    extra: bytes,
    offset: int,
    made_by: int,
    attributes: int,
    disk: int = 0,
    comment: bytes = b"",
) -> bytes:
    """Make a record of the central directory."""
    fields = (b"PK\1\2", made_by, 20, flags, method, 0, 33, crc, packed, size)
    lengths = (len(name), len(extra), len(comment), disk, 0, attributes, offset)
    return struct.pack("<4s6H3L5H2L", *fields, *lengths) + name + extra + comment


def signing_block(*values: bytes, size: int | None = None, last_size: int | None = None) -> bytes:
    """Make the block with Android's signature, which is before the central directory."""
    pairs = b"".join(struct.pack("<QL", 4 + len(value), 0x7109871A) + value for value in values)
    size = len(pairs) + 24 if size is None else size
    last_size = size if last_size is None else last_size
    return struct.pack("<Q", size) + pairs + struct.pack("<Q", last_size) + b"APK Sig Block 42"


def end_record(
    *, count: int, length: int, begin: int, comment: bytes = b"", disk: int = 0, here: int | None = None
) -> bytes:
    """Make an end record."""
    here = count if here is None else here
    return struct.pack("<4s4H2LH", b"PK\5\6", disk, disk, here, count, length, begin, len(comment)) + comment


def end64(*, count: int, length: int, begin: int, at: int, size: int = 44, locator_at: int | None = None) -> bytes:
    """Make a ZIP64 end record that lies at an offset, and its locator."""
    record = struct.pack("<4sQ2H2L4Q", b"PK\6\6", size, 45, 45, 0, 0, count, count, length, begin)
    return record + struct.pack("<4sLQL", b"PK\6\7", 0, at if locator_at is None else locator_at, 1)
