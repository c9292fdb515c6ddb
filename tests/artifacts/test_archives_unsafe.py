"""Hostile archives: each is refused by the rule that it breaks, and nothing is left on the disk."""

from __future__ import annotations

import bz2
import errno
import gzip
import importlib
import io
import lzma
import pickle
import random
import shutil
import struct
import sys
import tarfile
import traceback
import tracemalloc
import zipfile
import zlib
from pathlib import Path
from typing import Any

import attrs
import pytest
from long.mutated_archives import mutate, seeds, survive
from support.zip_records import (
    DIRECTORY,
    FILE,
    LINK,
    Record,
    built,
    deflated,
    descriptor,
    end64,
    padding_entry,
    signing_block,
    zip64,
)

from cp_thirdparty.artifacts import ArchiveLimits, create_archive, extract_archive
from cp_thirdparty.artifacts import _archive_rules as rules
from cp_thirdparty.artifacts._archive_rules import Rule
from cp_thirdparty.artifacts._archive_tree import Tree
from cp_thirdparty.exceptions import ArtifactError, ArtifactFileError, InvalidRequestError, UnsafeArchiveError

_GOOD = Record(name=b"good.txt")
_MIB = 1 << 20
_TEXT = b"content\n"
_DEFAULT = ArchiveLimits()
_PORTABLE = ArchiveLimits(names="portable")
_DOS: dict[str, Any] = {"made_by": 20, "attributes": 0x20}


def _named(name: str | bytes, **more: object) -> bytes:
    raw = name if isinstance(name, bytes) else name.encode()
    settings: dict[str, Any] = {"flags": 0 if raw.isascii() else 1 << 11, **more}
    return built(_GOOD, Record(name=raw, **settings))


def _link(target: bytes, name: bytes = b"link") -> bytes:
    return built(_GOOD, Record(name=name, content=target, attributes=LINK))


def _two(first: str, second: str) -> bytes:
    records = [
        Record(
            name=name.encode(),
            content=b"" if name.endswith("/") else b"x",
            attributes=DIRECTORY if name.endswith("/") else FILE,
            flags=1 << 11,
        )
        for name in (first, second)
    ]
    return built(*records)


def _link_record(name: str, target: str) -> Record:
    return Record(name=name.encode(), content=target.encode(), attributes=LINK)


def _doubling() -> bytes:
    """Let each of 30 directories have two links to the next one."""
    links = [_link_record(f"{n:02}/{m}", f"../{n + 1:02}") for n in range(30) for m in range(2)]
    return built(*links, Record(name=b"30/f"))


def _overlapping() -> bytes:
    inner = Record(name=b"inner", content=b"i" * 100)
    inner_bytes = built(inner)[: 30 + 5 + 100]
    return built(
        Record(name=b"outer", content=inner_bytes, central={"offset": 0}), Record(name=b"inner", central={"offset": 35})
    )


def _outside(packed: int) -> bytes:
    """Let the descriptor of one entry, and with it the next entry, lie where the archive has ended."""
    lies = {"packed": 0xFFFFFFFF, "extra": zip64(packed)}
    offset = {"offset": 0xFFFFFFFF, "extra": zip64(31 + packed + 16)}
    return built(
        Record(name=b"a", method=8, flags=8, local={"packed": 0}, central=lies), Record(name=b"b", central=offset)
    )


def _cut_comment() -> bytes:
    data = bytearray(built(Record()))
    at = data.index(b"PK\1\2")
    data[at + 32 : at + 34] = b"\xff\0"
    return bytes(data)


def _unicode_path(raw: bytes, name: bytes) -> bytes:
    """Make the extra field that gives a raw name another one."""
    return struct.pack("<2HBL", 0x7075, 5 + len(name), 1, zlib.crc32(raw)) + name


def _lzma(content: bytes, *, dictionary: int = 1 << 16) -> bytes:
    """Pack with LZMA and an end marker, as Python does; the dictionary is only stated."""
    packed = lzma.compress(content, lzma.FORMAT_RAW, filters=[{"id": lzma.FILTER_LZMA1}])
    return struct.pack("<2BHBL", 9, 4, 5, 0x5D, dictionary) + packed


def _flushed(content: bytes) -> bytes:
    """Deflate without the block that is marked as the last one."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(content) + packer.flush(zlib.Z_SYNC_FLUSH)


def _inner(content: bytes, *, wide: bool = False) -> bytes:
    """Put a data descriptor and an entry after a content."""
    return content + descriptor(content, wide=wide) + built(Record(name=b"evil"))


def _sizes(size: int) -> dict[str, Any]:
    """State a size in both headers."""
    return {"local": {"size": size}, "central": {"size": size}}


_ROWS: dict[str, tuple[bytes, str, Rule]] = {
    # names
    "..": (_named("../evil"), "../evil", rules.PARENT),
    ".. inside": (_named("a/../../evil"), "a/../../evil", rules.PARENT),
    "absolute": (_named("/etc/evil"), "/etc/evil", rules.ABSOLUTE),
    "drive": (_named("c:/evil"), "c:/evil", rules.ABSOLUTE),
    "drive with a backslash": (_named("c:\\evil"), "c:\\\\evil", rules.ABSOLUTE),
    "drive made by DOS": (_named("c:\\evil", **_DOS), "c:/evil", rules.ABSOLUTE),
    "share made by DOS": (_named("\\\\server\\evil", **_DOS), "//server/evil", rules.ABSOLUTE),
    ".. made by DOS": (_named("a\\..\\..\\evil", **_DOS), "a/../../evil", rules.PARENT),
    "..\\ made by DOS": (_named("..\\evil/..", **_DOS), "..\\\\evil/..", rules.PARENT),
    ".. made by NTFS": (_named("..\\evil", made_by=10 << 8), "../evil", rules.PARENT),
    ".. after nothing": (_named(".//../evil"), ".//../evil", rules.PARENT),
    "only a dot": (_named("."), ".", rules.EMPTY_NAME),
    "empty": (_named(""), "", rules.EMPTY_NAME),
    "only a slash": (_named("/", content=b"", attributes=DIRECTORY), "/", rules.ABSOLUTE),
    "NUL": (_named("a\0.txt"), "a\\x00.txt", rules.NUL),
    "long part": (_named("x" * 256), "x" * 200, rules.LONG_NAME),
    "long part in bytes": (_named("é" * 128), "\\xe9" * 50, rules.LONG_NAME),
    "long name": (
        _named("a/" * 40 + ("b" * 200 + "/") * 15 + "c"),
        "a/" * 40 + "b" * 120,
        rules.LONG_NAME,
    ),
    "no UTF-8": (_named(b"a\xff"), "a\\xff", rules.NOT_UTF8),
    "deep": (_named("a/" * 64 + "b"), "a/" * 64 + "b", rules.DEPTH),
    # names that meet
    "duplicate": (_two("a", "a"), "a", rules.DUPLICATE),
    "duplicate in another spelling": (_two("a/b", "./a//b"), "./a//b", rules.DUPLICATE),
    "duplicate by backslashes": (
        built(Record(name=b"a/b", **_DOS), Record(name=b"a\\b", **_DOS)),
        "a/b",
        rules.DUPLICATE,
    ),
    "file below a link": (
        built(Record(name=b"d", content=b".", attributes=LINK), Record(name=b"d/evil")),
        "d/evil",
        rules.BELOW_FILE,
    ),
    "link over a directory": (
        built(Record(name=b"d/f"), Record(name=b"d", content=b".", attributes=LINK)),
        "d",
        rules.FILE_AND_DIRECTORY,
    ),
    "file, then directory": (_two("a", "a/"), "a/", rules.FILE_AND_DIRECTORY),
    "directory, then file": (_two("a/", "a"), "a", rules.FILE_AND_DIRECTORY),
    "parent, then file": (_two("a/b", "a"), "a", rules.FILE_AND_DIRECTORY),
    "file, then parent": (_two("a", "a/b"), "a/b", rules.BELOW_FILE),
    # kinds
    "character device": (_named("dev", content=b"", attributes=0o020644 << 16), "dev", rules.DEVICE),
    "block device": (_named("dev", content=b"", attributes=0o060644 << 16), "dev", rules.DEVICE),
    "directory with a checksum": (
        _named("a/", content=b"", attributes=DIRECTORY, local={"crc": 1}, central={"crc": 1}),
        "a",
        rules.CHECKSUM,
    ),
    "directory with hidden bytes": (
        _named("a/", content=b"", method=8, packed=b"hidden", attributes=DIRECTORY),
        "a",
        rules.DATA,
    ),
    "directory without a slash, with bytes": (_named("a", attributes=DIRECTORY), "a", rules.DIRECTORY_DATA),
    "directory with bytes": (_named("a/", attributes=DIRECTORY), "a/", rules.DIRECTORY_DATA),
    # links
    "link out of the tree behind more links than the system follows": (
        built(
            Record(name=b"a/b/f"),
            *(_link_record(f"c{number}", f"c{number + 1}") for number in range(44)),
            _link_record("c44", "a/b"),
            _link_record("esc", "c0/../../../../../../../../../etc/hostname"),
        ),
        "esc",
        rules.LINK_OUTSIDE,
    ),
    "link without a target": (_link(b""), "link", rules.LINK_TARGET),
    "link with a NUL": (_link(b"a\0b"), "link", rules.LINK_TARGET),
    "link with a long target": (_link(b"x" * 4096), "link", rules.LINK_TARGET),
    "link with a lying target": (
        built(Record(name=b"link", attributes=LINK, local={"crc": 1}, central={"crc": 1})),
        "link",
        rules.CHECKSUM,
    ),
    "absolute link": (_link(b"/etc/passwd"), "link", rules.LINK_OUTSIDE),
    "link outside": (_link(b"../evil"), "link", rules.LINK_OUTSIDE),
    "link outside from below": (_link(b"../../evil", b"a/link"), "a/link", rules.LINK_OUTSIDE),
    "link outside and in again": (_link(b"../out/good.txt"), "link", rules.LINK_OUTSIDE),
    # Its string stays inside, but the other link makes it lead outside.
    "link outside through a link": (
        built(_link_record("a/y", "../b/c"), Record(name=b"b/c/f"), _link_record("x", "a/y/../../../evil")),
        "x",
        rules.LINK_OUTSIDE,
    ),
    "link through an absolute link": (
        built(_link_record("x", "y/passwd"), _link_record("y", "/etc")),
        "y",
        rules.LINK_OUTSIDE,
    ),
    # Nothing is there, but there may be something later.
    "link outside by way of nothing": (_link(b"a/../../evil"), "link", rules.LINK_OUTSIDE),
    "link outside by way of a file": (_link(b"good.txt/../../evil"), "link", rules.LINK_OUTSIDE),
    "link up from itself": (_link(b"link/../good.txt"), "link", rules.LINK_OUTSIDE),
    # os.path.realpath() of Python 3.10 to 3.12 finds /etc/hostname, and /.
    **{
        f"circle with an empty part: {target}": (_link(target.encode()), "link", rules.LINK_OUTSIDE)
        for target in ("link//etc/hostname", "./link//etc/hostname", "link//", "link/a//b")
    },
    # os.path.realpath() finds ../b/m for a.
    "links up from each other": (
        built(_link_record("b", "a/../../b"), _link_record("a", "b/m")),
        "b",
        rules.LINK_OUTSIDE,
    ),
    "link up from two others that lead to each other": (
        built(_link_record("a", "b/x"), _link_record("b", "a"), _link_record("c", "a/y/..")),
        "c",
        rules.LINK_OUTSIDE,
    ),
    "link outside by way of a link to nothing": (
        built(
            _link_record("a/x", "y/../../evil"),
            _link_record("a/y", "../b/c/d"),
            _link_record("z", "a/y/../../../../evil"),
        ),
        "z",
        rules.LINK_OUTSIDE,
    ),
    "link to its directory by way of nothing": (_link(b"a/..", b"b/link"), "b/link", rules.LINK_CYCLE),
    "link to its directory": (_link(b".", b"a/link"), "a/link", rules.LINK_CYCLE),
    "link to the root": (_link(b"..", b"a/link"), "a/link", rules.LINK_CYCLE),
    "link to the root through a link": (
        built(Record(name=b"b/f"), _link_record("a/y", "../b"), _link_record("x", "a/y/..")),
        "x",
        rules.LINK_CYCLE,
    ),
    "links that contain each other": (
        built(_link_record("a/x", "../b"), _link_record("b/y", "../a")),
        "b/y",
        rules.LINK_CYCLE,
    ),
    "links that contain each other, from below": (
        built(_link_record("a/x", "../b/c"), Record(name=b"b/c/f"), _link_record("b/c/y", "..")),
        "b/c/y",
        rules.LINK_CYCLE,
    ),
    "links that double the tree": (_doubling(), "", rules.LINK_COPIES),
    # packing
    "encrypted": (_named("e", flags=1), "e", rules.ENCRYPTED),
    "strongly encrypted": (_named("e", flags=1 << 6 | 1), "e", rules.ENCRYPTED),
    "masked": (_named("e", flags=1 << 13), "e", rules.ENCRYPTED),
    "patch": (_named("e", flags=1 << 5), "e", rules.FLAG),
    "unknown method": (_named("e", method=99, packed=b"x"), "e", rules.METHOD),
    **{
        f"{name} that is damaged": (_named("e", method=method, packed=packed), "e", rules.DATA)
        for name, method, packed in (
            ("bzip2", 12, b"BZh9" + bytes(20)),
            ("LZMA", 14, _lzma(_TEXT)[:9] + b"\xff" * 20),
            ("LZMA without its head", 14, b"\x09\x04\5\0\x5d"),
            ("LZMA with other properties", 14, b"\x09\x04\6\0" + _lzma(_TEXT)[4:]),
        )
    },
    **{
        f"{name}, {lie}": (
            built(Record(name=b"e", method=method, flags=flags, packed=packed[:end] + more, **_sizes(size))),
            "e",
            rules.SIZE,
        )
        for name, method, flags, packed in (
            ("deflated", 8, 0, deflated(_TEXT)),
            ("bzip2", 12, 0, bz2.compress(_TEXT)),
            ("LZMA", 14, 2, _lzma(_TEXT)),
        )
        for lie, size, end, more in (
            ("to more than stated", 3, None, b""),
            ("to less than stated", 99, None, b""),
            ("and more", 8, None, b"more"),
            ("and cut", 8, -8, b""),
        )
    },
    "LZMA without an end marker": (built(Record(name=b"e", method=14, packed=_lzma(_TEXT)[:-8])), "e", rules.SIZE),
    "LZMA with a large dictionary": (
        built(Record(name=b"e", method=14, packed=_lzma(_TEXT, dictionary=(64 << 20) + 1), **_sizes((64 << 20) + 1))),
        "e",
        rules.DICTIONARY,
    ),
    "wrong checksum": (built(Record(local={"crc": 1}, central={"crc": 1})), "file.txt", rules.CHECKSUM),
    "stored size lies": (built(Record(local={"size": 9}, central={"size": 9})), "file.txt", rules.SIZE),
    "no deflated data": (built(Record(method=8, packed=b"")), "file.txt", rules.SIZE),
    "no deflated data with a checksum": (
        built(Record(method=8, content=b"", packed=b"", local={"crc": 1}, central={"crc": 1})),
        "file.txt",
        rules.CHECKSUM,
    ),
    "not deflated": (built(Record(method=8, packed=b"\xff" * 8)), "file.txt", rules.DATA),
    # two headers
    "names disagree": (built(Record(local={"name": b"evil.txt"})), "file.txt", rules.HEADERS),
    "methods disagree": (built(Record(local={"method": 8})), "file.txt", rules.HEADERS),
    "encryption in one header": (built(Record(local={"flags": 1})), "file.txt", rules.HEADERS),
    "patch in one header": (built(Record(local={"flags": 1 << 5})), "file.txt", rules.HEADERS),
    "UTF-8 in one header": (
        built(Record(name="\u00fc".encode(), flags=1 << 11, local={"flags": 0}, **_DOS)),
        "\\xfc",
        rules.HEADERS,
    ),
    "descriptor in the local header only that lies": (
        built(Record(local={"flags": 8}, descriptor=descriptor(b"other"))),
        "file.txt",
        rules.DESCRIPTOR,
    ),
    "descriptor in the central header only that lies": (
        built(Record(central={"flags": 8}, descriptor=descriptor(b"other"))),
        "file.txt",
        rules.DESCRIPTOR,
    ),
    "checksums disagree": (built(Record(local={"crc": 1})), "file.txt", rules.HEADERS),
    "sizes disagree": (built(Record(local={"size": 1})), "file.txt", rules.HEADERS),
    "packed sizes disagree": (built(Record(local={"packed": 1})), "file.txt", rules.HEADERS),
    "no local header": (built(Record(central={"offset": 1})), "file.txt", rules.HEADERS),
    "no local signature": (b"XX" + built(Record())[2:], "file.txt", rules.HEADERS),
    "broken extra": (built(Record(extra=b"\1\0\xff\0x")), "file.txt", rules.EXTRA),
    "broken local extra": (built(Record(local={"extra": b"\1\0\xff\0x"})), "file.txt", rules.EXTRA),
    "truncated Unicode path": (built(Record(extra=b"\x75\x70\x07\0\1")), "file.txt", rules.EXTRA),
    "Unicode path twice": (built(Record(extra=b"\x75\x70\1\0\0" * 2)), "file.txt", rules.EXTRA),
    "many extra fields": (built(Record(extra=b"AA\0\0" * 101)), "file.txt", rules.EXTRA),
    "another Unicode path in the local header": (
        built(
            Record(
                name=b"u", local={"extra": _unicode_path(b"u", b"evil")}, central={"extra": _unicode_path(b"u", b"v")}
            )
        ),
        "v",
        rules.HEADERS,
    ),
    # bsdtar extracts it as the other entry.
    "Unicode path of another entry in the local header alone": (
        built(Record(name=b"setup.py"), Record(name=b"u", local={"extra": _unicode_path(b"u", b"setup.py")})),
        "u",
        rules.HEADERS,
    ),
    "ZIP64 field twice": (built(Record(extra=zip64(8) * 2)), "file.txt", rules.EXTRA),
    "descriptor lies": (
        built(Record(flags=8, descriptor=descriptor(b"other"))),
        "file.txt",
        rules.DESCRIPTOR,
    ),
    "no descriptor but other bytes": (
        built(Record(flags=8, local={"size": 0}, descriptor=b"x" * 13)),
        "file.txt",
        rules.DESCRIPTOR,
    ),
    "sizes of 32 bits without a descriptor": (
        built(Record(local={"packed": 0xFFFFFFFF, "size": 0xFFFFFFFF})),
        "file.txt",
        rules.ZIP64,
    ),
    "unknown sizes without a descriptor": (
        built(Record(flags=8, local={"packed": 0xFFFFFFFF, "size": 0xFFFFFFFF})),
        "file.txt",
        rules.DESCRIPTOR,
    ),
    "sizes that differ, with a descriptor": (
        built(Record(flags=8, local={"size": 7}, descriptor=descriptor(b"content\n"))),
        "file.txt",
        rules.HEADERS,
    ),
    # A program that reads from the first byte on takes the data for other entries.
    "descriptor missing after data of unknown size": (
        built(Record(content=built(Record(name=b"evil")), flags=8, local={"crc": 0, "packed": 0, "size": 0})),
        "file.txt",
        rules.DESCRIPTOR,
    ),
    # A program that reads from a pipe takes the descriptor in the data for the end.
    **{
        f"descriptor in stored data, {form}": (
            built(_GOOD, Record(name=b"s", content=data, flags=8, local=local, descriptor=descriptor(data))),
            "s",
            rules.DESCRIPTOR,
        )
        for form, data, local in (
            ("32 bits", _inner(b"content"), {"crc": 0, "packed": 0, "size": 0}),
            ("64 bits", _inner(b"content", wide=True), {"crc": 0, "packed": 0, "size": 0}),
            ("sizes in the header", _inner(b"content"), {}),
            ("after another signature", _inner(b"PK\7\10PK\7\10" + bytes(9)), {}),
            ("at the beginning", _inner(b""), {}),
        )
    },
    "descriptor with a wrong signature": (
        built(Record(flags=8, local={"size": 0}, descriptor=descriptor(b"content\n", signature=b"PK\7\7"))),
        "file.txt",
        rules.DESCRIPTOR,
    ),
    "another disk": (built(Record(central={"disk": 1})), "file.txt", rules.SPLIT),
    # the complete archive
    "overlapping": (_overlapping(), "outer", rules.OVERLAP),
    "two at one place": (
        built(Record(name=b"a"), Record(name=b"b", central={"offset": 0})),
        "a",
        rules.OVERLAP,
    ),
    "outside": (built(_GOOD, Record(central={"offset": 1 << 20})), "file.txt", rules.OUTSIDE),
    "a descriptor outside": (_outside(1 << 20), "b", rules.OUTSIDE),
    "a descriptor beyond all files": (_outside(1 << 63), "b", rules.OUTSIDE),
    "in the directory": (built(_GOOD, Record(central={"offset": 92})), "file.txt", rules.OUTSIDE),
    **{
        f"{name} between entries": (built(_GOOD, Record(before=bytes(5) + gap + bytes(5))), "good.txt", rules.GAP)
        for name, gap in {
            "an archive": built(Record(name=b"evil")),
            "a local header": b"PK\3\4",
            "a record of a directory": b"PK\1\2",
            "an end record": b"PK\5\6",
            "a ZIP64 end record": b"PK\6\6",
        }.items()
    },
    # Java's ZipInputStream does not find what follows.
    **{
        f"{name} between entries": (built(_GOOD, Record(before=gap)), "good.txt", rules.GAP)
        for name, gap in {"a byte": b"\0", "zeros": bytes(4096), "text": b"text"}.items()
    },
    # What could be taken for an entry that only fills a gap.
    **{
        f"padding with {name}": (built(_GOOD, Record(before=padding)), "good.txt", rules.GAP)
        for name, padding in {
            "a byte": padding_entry(8)[:-1] + b"x",
            "a byte after it": padding_entry(8) + b"\0",
            "a name": padding_entry(8)[:26] + b"\1\0\7\0" + bytes(8),
            "a byte that is missing": padding_entry(8)[:-1],
            "small entries without end": padding_entry(0) * 3,
            **{fact: padding_entry(8, **{fact: 1}) for fact in ("flags", "method", "crc", "packed", "size")},
        }.items()
    },
    "backslashes in the local header only": (
        built(Record(name=b"d/a", **_DOS, local={"name": b"d\\a"})),
        "d/a",
        rules.HEADERS,
    ),
    "bytes after a descriptor": (
        built(Record(flags=8, descriptor=descriptor(_TEXT) + b"x"), _GOOD),
        "file.txt",
        rules.GAP,
    ),
    "an entry before the directory": (
        built(_GOOD, before_directory=bytes(16) + built(Record(name=b"evil"))),
        "good.txt",
        rules.GAP,
    ),
    "an archive in a signing block": (
        built(_GOOD, before_directory=signing_block(built(Record(name=b"evil"))[:-22])),
        "good.txt",
        rules.GAP,
    ),
    "an archive far before the first entry": (
        built(Record(name=b"evil")) + bytes(300_000) + built(_GOOD),
        "",
        rules.GAP,
    ),
    # What is searched is read in pieces.
    **{
        f"a header before the first entry, {more:+} bytes": (
            bytes((512 << 10) + more) + b"PK\3\4" + bytes(300_000) + built(_GOOD),
            "",
            rules.GAP,
        )
        for more in range(-5, 3)
    },
    "an archive before": (built(Record(name=b"evil")) + built(_GOOD), "", rules.GAP),
    "a directory where the offset leads": (
        b"#" * 92 + built(Record(content=b"x" * 68 + b"PK\1\2" + b"x" * 88)),
        "",
        rules.CENTRAL,
    ),
    "an entry before no entry": (built(before_directory=built(_GOOD)), "", rules.GAP),
    "bytes after": (built(_GOOD, after=b"x" + b"PK\3\4"), "", rules.TRUNCATED),
    "bytes before the end": (built(_GOOD, before_end=b"x"), "", rules.CENTRAL),
    "two archives": (built(_GOOD) + built(Record(name=b"evil")), "", rules.GAP),
    "an archive in the comment": (built(_GOOD, comment=built(Record(name=b"evil"))), "", rules.TWO_ENDS),
    "cut": (built(_GOOD)[:-5], "", rules.TRUNCATED),
    "cut in the middle": (built(_GOOD, Record())[:60], "", rules.TRUNCATED),
    "too many zeros": (built(_GOOD, after=b"\0" * 200_000), "", rules.TRUNCATED),
    "empty file": (b"", "", rules.NOT_ZIP),
    "no archive": (b"<html>" * 100, "", rules.NOT_ZIP),
    "fewer entries": (built(_GOOD, end={"count": 2}), "", rules.CENTRAL),
    "more entries": (built(_GOOD, Record(), end={"count": 1}), "", rules.CENTRAL),
    "a count that differs by 65,536 with ZIP64": (
        built(_GOOD, before_end=end64(count=65_537, length=54, begin=46, at=100), end={"count": 0xFFFF}),
        "",
        rules.CENTRAL,
    ),
    "split": (built(_GOOD, end={"disk": 1}), "", rules.SPLIT),
    "counts disagree": (built(_GOOD, end={"here": 0}), "", rules.SPLIT),
    "directory of a wrong length": (built(_GOOD, end={"length": 3}), "", rules.CENTRAL),
    "directory that is too long": (built(_GOOD, end={"length": 300}), "", rules.CENTRAL),
    "comment of an entry that is cut": (_cut_comment(), "", rules.CENTRAL),
    # ZIP64
    "no ZIP64 field": (built(Record(central={"size": 0xFFFFFFFF})), "file.txt", rules.ZIP64),
    "short ZIP64 field": (
        built(Record(central={"size": 0xFFFFFFFF, "packed": 0xFFFFFFFF, "extra": zip64(8)})),
        "file.txt",
        rules.ZIP64,
    ),
    "forged locator": (
        built(_GOOD, before_end=end64(count=1, length=54, begin=46, at=100, locator_at=3)),
        "",
        rules.CENTRAL,
    ),
    "locator without a record": (
        built(_GOOD, before_end=b"x" * 56 + struct.pack("<4sLQL", b"PK\6\7", 0, 100, 1)),
        "",
        rules.ZIP64,
    ),
    "locator of two disks": (
        built(_GOOD, before_end=b"x" * 56 + struct.pack("<4sLQL", b"PK\6\7", 1, 100, 2)),
        "",
        rules.ZIP64,
    ),
    "ZIP64 record that disagrees": (
        built(_GOOD, before_end=end64(count=7, length=54, begin=46, at=100)),
        "",
        rules.ZIP64,
    ),
    "ZIP64 record of a wrong length": (
        built(_GOOD, before_end=end64(count=1, length=54, begin=46, at=100, size=45)),
        "",
        rules.ZIP64,
    ),
}


_TAR = io.BytesIO()
with tarfile.open(fileobj=_TAR, mode="w") as _opened:
    _opened.addfile(tarfile.TarInfo("a"))
# What the error states -> the file.
_NOT_ARCHIVES = {
    "it is empty": b"",
    "it looks like gzip, as in .tar.gz": gzip.compress(b"x"),
    "it looks like tar": _TAR.getvalue(),
    "it looks like bzip2": bz2.compress(b"x"),
    "it looks like xz": lzma.compress(b"x"),
    "it looks like Zstandard": b"\x28\xb5\x2f\xfd",
    "it looks like 7-Zip": b"7z\xbc\xaf\x27\x1c\0\4",
    "it looks like RAR": b"Rar!\x1a\x07\x01\0",
    "it looks like PDF": b"%PDF-1.7",
    "it looks like the first part of a split zip archive": b"PK\7\x08PK\3\4",
    "it looks like HTML": b"\xef\xbb\xbf\n<!DOCTYPE html>",
    "it looks like XML": b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>',
    "it looks like JSON": b' {"message": "Forbidden"}',
    "it looks like text": b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n",
    "": b"\0" * 600,
}

# Accepted as it is with names="posix".
_NOT_PORTABLE: dict[str, tuple[bytes, str, Rule]] = {
    "backslash": (_named("a\\evil"), "a\\\\evil", rules.SEPARATOR),
    "stream": (_named("file.txt:evil"), "file.txt:evil", rules.SEPARATOR),
    "newline": (_named("a\nb"), "a\\nb", rules.CONTROL),
    "escape": (_named("a\x1b[31m"), "a\\x1b[31m", rules.CONTROL),
    "C1": (_named("a\x9bb"), "a\\x9bb", rules.CONTROL),
    "DEL": (_named("a\x7f"), "a\\x7f", rules.CONTROL),
    "reserved": (_named("a/CON"), "a/CON", rules.RESERVED),
    "reserved with an extension": (_named("nul.txt"), "nul.txt", rules.RESERVED),
    "reserved port": (_named("Lpt1.tar.gz"), "Lpt1.tar.gz", rules.RESERVED),
    "reserved directory": (_named("aux/x"), "aux/x", rules.RESERVED),
    "trailing dot": (_named("evil."), "evil.", rules.TRAILING),
    "trailing blank": (_named("evil /x"), "evil /x", rules.TRAILING),
    "twins in case": (_two("readme", "README"), "README", rules.TWIN),
    "twins in composition": (_two("\u00e9", "e\u0301"), "e\\u0301", rules.TWIN),
    "twins in case folding": (_two("stra\u00dfe", "STRASSE"), "STRASSE", rules.TWIN),
    "twins of directories": (_two("a/x", "A/y"), "A/y", rules.TWIN),
    "long path": (_named("a/" * 50 + ("b" * 200 + "/") * 5 + "c"), "a/" * 50 + "b" * 100, rules.LONG_NAME),
    "link with a backslash": (_link(b"a\\b"), "link", rules.LINK_TARGET),
    "link with a colon": (_link(b"a:b"), "link", rules.LINK_TARGET),
    **{f"name with {each}": (_named(f"a{each}b"), f"a{each}b", rules.SEPARATOR) for each in '<>"|?*'},
    # The lookup here ignores case, but the file system may not.
    "link through a link in another case": (
        built(Record(name=b"a/b/c/f"), _link_record("link", "a/b/c"), _link_record("x", "LINK/../secret")),
        "x",
        rules.LINK_SPELLING,
    ),
    "link to a file in another case": (_link(b"GOOD.txt"), "link", rules.LINK_SPELLING),
    "link with a control character": (_link(b"a\nb"), "link", rules.LINK_TARGET),
    "link that is not UTF-8": (_link(b"a\xff"), "link", rules.LINK_TARGET),
}

# The limits that refuse an archive with two small files and a large one.
_LIMITS: dict[str, tuple[ArchiveLimits, str, Rule]] = {
    "max_entries": (ArchiveLimits(max_entries=2), "", rules.ENTRIES),
    "max_total_bytes": (ArchiveLimits(max_total_bytes=_MIB), "c", rules.TOTAL_BYTES),
    "max_entry_bytes": (ArchiveLimits(max_entry_bytes=_MIB), "c", rules.ENTRY_BYTES),
    "max_depth": (ArchiveLimits(max_depth=1), "b/b", rules.DEPTH),
}


def test_every_rule_has_a_row() -> None:
    """No rule is without an archive that it refuses, but for those that have a test of their own."""
    every = {value for value in vars(rules).values() if isinstance(value, Rule)}
    tables = (_ROWS, _NOT_PORTABLE, _LIMITS)
    tested = {row[2] for table in tables for row in table.values()}
    assert every - tested == {rules.LINK, rules.LINK_BYTES, rules.LINK_THROUGH, rules.RATIO, rules.SPECIAL_FILE}


@pytest.mark.parametrize("row", _NOT_PORTABLE)
def test_a_name_that_is_not_portable_is_refused_by_choice(tmp_path: Path, row: str) -> None:
    """On POSIX such names are harmless, and usual in the Linux kernel, systemd and CMake."""
    data, entry, rule = _NOT_PORTABLE[row]
    _refuse(tmp_path, data, entry, rule, _PORTABLE)
    (tmp_path / "a.zip").write_bytes(data)
    assert extract_archive(tmp_path / "a.zip", to=tmp_path / "out").is_dir()


@pytest.mark.parametrize("row", _ROWS)
def test_a_hostile_archive_is_refused(tmp_path: Path, row: str) -> None:
    """The error names the entry and the rule; of the archive, nothing is on the disk."""
    data, entry, rule = _ROWS[row]
    _refuse(tmp_path, data, entry, rule)


def _refuse(tmp_path: Path, data: bytes, entry: str, rule: Rule, limits: ArchiveLimits = _DEFAULT) -> None:
    archive = tmp_path / "a.zip"
    archive.write_bytes(data)
    with pytest.raises(UnsafeArchiveError) as caught:
        extract_archive(archive, to=tmp_path / "out", limits=limits)
    assert (caught.value.rule, caught.value.entry) == (rule.text, entry)
    hint = f" ({caught.value.hint})" if caught.value.hint else ""
    assert str(caught.value) == (f"{entry}: " if entry else "") + rule.text + hint
    assert caught.value.__cause__ is caught.value.__context__ is None
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]
    again = pickle.loads(pickle.dumps(caught.value))
    assert (vars(again), str(again)) == (vars(caught.value), str(caught.value))


@pytest.mark.parametrize("limit", _LIMITS)
def test_too_much_is_refused(tmp_path: Path, limit: str) -> None:
    """Each limit can be set, and the error names it and its value; without it the archive is accepted."""
    limits, entry, rule = _LIMITS[limit]
    data = built(Record(name=b"a"), Record(name=b"b/b"), Record(name=b"c", content=b"\0" * (3 * _MIB), method=8))
    _refuse(tmp_path, data, entry, rule, limits)
    with pytest.raises(UnsafeArchiveError, match=f"{limit}={getattr(limits, limit):,}"):
        extract_archive(tmp_path / "a.zip", to=tmp_path / "out", limits=limits)
    extract_archive(tmp_path / "a.zip", to=tmp_path / "out")


@pytest.mark.parametrize("names", [(b"bomb",), (b"one", b"two")], ids=["one file", "all files"])
def test_the_ratio_counts_above_256_mib(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: tuple[bytes, ...]
) -> None:
    """Zeros deflate a thousandfold, which is harmless below 256 MiB, here 1 MiB."""
    assert rules._RATIO_BYTES == 256 * _MIB
    monkeypatch.setattr(rules, "_RATIO_BYTES", _MIB)
    content = b"\0" * (_MIB // len(names))
    records = [Record(name=name, content=content, method=8) for name in names]
    (tmp_path / "a.zip").write_bytes(built(*records))
    assert extract_archive(tmp_path / "a.zip", to=tmp_path / "out").is_dir()
    shutil.rmtree(tmp_path / "out")
    more = Record(name=names[0], content=content + b"\0", method=8)
    entry = names[0].decode() if len(names) == 1 else ""
    _refuse(tmp_path, built(more, *records[1:]), entry, rules.RATIO)
    extract_archive(tmp_path / "a.zip", to=tmp_path / "out", limits=ArchiveLimits(max_ratio=2000))


def test_targets_of_links_are_limited_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They stay in memory, and the time for all links grows with them."""
    monkeypatch.setattr("cp_thirdparty.artifacts._archive_tree._TARGET_CHARACTERS", 20)
    monkeypatch.setattr("cp_thirdparty.artifacts._archive_tree._TARGET_CHARACTERS_PER_ENTRY", 0)
    links = [_link_record(f"{n}", "x" * 7) for n in range(3)]
    _refuse(tmp_path, built(*links), "2", rules.LINK_BYTES)
    (tmp_path / "a.zip").write_bytes(built(*links[:2]))
    source = extract_archive(tmp_path / "a.zip", to=tmp_path / "out")
    (source / "2").symlink_to("x" * 7)
    with pytest.raises(UnsafeArchiveError, match=rules.LINK_BYTES.text):
        create_archive(source, to=tmp_path / "b.zip", on_skip=lambda _: None)


def test_targets_of_links_may_have_168_characters_for_each_entry() -> None:
    """Who accepts more entries accepts longer targets in all; a link that was removed does not count."""
    tree = Tree(ArchiveLimits(max_entries=200_000))
    target = "é" * 168_000
    links = [tree.add(f"{number}", "link") for number in range(202)]
    for link in links[:200]:
        tree.set_target(link, target)
    tree.remove(links[0])
    tree.set_target(links[200], target)
    with pytest.raises(UnsafeArchiveError, match="168 times max_entries=200,000 if that is more"):
        tree.set_target(links[201], "x")


def test_missing_parts_of_targets_take_no_memory() -> None:
    """A link to thousands of missing directories needs no more than its target."""
    tree = Tree(ArchiveLimits())
    for number in range(20):
        tree.set_target(tree.add(f"{number}", "link"), "m/" * 2047)
    tracemalloc.start()
    try:
        assert tree.find_link_violations(lambda: None) == {}
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_links_are_refused_by_choice(tmp_path: Path) -> None:
    """The error names the option that accepts them."""
    _refuse(tmp_path, _link(b"good.txt"), "link", rules.LINK, ArchiveLimits(symlinks="refuse"))
    deprecated = r'^symlinks= is deprecated: use limits=ArchiveLimits\(symlinks="refuse"\)$'
    with pytest.warns(DeprecationWarning, match=deprecated), pytest.raises(UnsafeArchiveError):
        extract_archive(tmp_path / "a.zip", to=tmp_path / "out", symlinks=False)
    with pytest.warns(DeprecationWarning, match='symlinks="keep"'):
        extract_archive(tmp_path / "a.zip", to=tmp_path / "out", symlinks=True)


@pytest.mark.parametrize("hint", _NOT_ARCHIVES)
def test_a_file_that_is_not_an_archive_is_named(tmp_path: Path, hint: str) -> None:
    """The error states what the file looks like."""
    (tmp_path / "a.zip").write_bytes(_NOT_ARCHIVES[hint])
    with pytest.raises(UnsafeArchiveError) as caught:
        extract_archive(tmp_path / "a.zip", to=tmp_path / "out")
    assert (caught.value.rule, caught.value.hint) == ("not a zip archive", hint)


# What the error states -> an archive whose data has another size.
_SIZE_HINTS = {
    "there is more data than the headers state": Record(method=8, packed=deflated(_TEXT), **_sizes(3)),
    "there is less data than the headers state": Record(method=8, packed=deflated(_TEXT), **_sizes(99)),
    "bytes follow the end of the compressed data": Record(method=8, packed=deflated(_TEXT) + b"BZ"),
    "a second stream of bzip2 follows; the data must be one stream": Record(
        method=12, packed=bz2.compress(_TEXT) + bz2.compress(b"")
    ),
    "the compressed data is truncated": Record(method=12, packed=bz2.compress(_TEXT)[:-20]),
    # An empty block that is not the last one follows the data.
    "the compressed data is complete, but has no end marker": Record(method=8, packed=_flushed(_TEXT)),
    "the two sizes of stored data differ": Record(**_sizes(9)),
}


@pytest.mark.parametrize("hint", _SIZE_HINTS)
def test_the_cause_of_another_size_is_named(tmp_path: Path, hint: str) -> None:
    """The reader of the error sees what to look for in the program that made the archive."""
    _refuse(tmp_path, built(_SIZE_HINTS[hint]), "file.txt", rules.SIZE)
    with pytest.raises(UnsafeArchiveError) as caught:
        extract_archive(tmp_path / "a.zip", to=tmp_path / "out")
    assert caught.value.hint == hint


@pytest.mark.parametrize(
    "record",
    [
        Record(method=8, packed=deflated(_TEXT)),
        Record(method=12, packed=bz2.compress(_TEXT)),
        Record(method=14, flags=2, packed=_lzma(_TEXT)),
    ],
    ids=["deflated", "bzip2", "LZMA"],
)
def test_pieces_may_end_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record: Record) -> None:
    """Large data is read and written in pieces, here of one byte; what follows its end is refused as in one piece."""
    monkeypatch.setattr("cp_thirdparty.artifacts._zip_content._PIECE", 1)
    (tmp_path / "a.zip").write_bytes(built(record))
    extract_archive(tmp_path / "a.zip", to=tmp_path / "out")
    assert (tmp_path / "out" / "file.txt").read_bytes() == _TEXT
    shutil.rmtree(tmp_path / "out")
    _refuse(tmp_path, built(attrs.evolve(record, packed=record.data() + b"x")), "file.txt", rules.SIZE)


_METHODS = {9: "Deflate64", 12: "bzip2", 14: "LZMA", 42: "method 42"}


@pytest.mark.parametrize("method", _METHODS)
def test_the_method_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: int) -> None:
    """The reader of the error sees which setting of the packing program to change; Python may lack a module."""
    for module in ("bz2", "lzma"):
        monkeypatch.setitem(sys.modules, module, None)
    (tmp_path / "a.zip").write_bytes(built(Record(method=method, packed=b"x")))
    with pytest.raises(UnsafeArchiveError) as caught:
        extract_archive(tmp_path / "a.zip", to=tmp_path / "out")
    assert caught.value.rule == "an unknown compression method"
    assert caught.value.hint == f"it is {_METHODS[method]}; {rules.METHOD.hint}"


def test_a_directory_of_the_archive_that_is_too_long_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The directory of an archive is read at once, so it is bounded."""
    monkeypatch.setattr("cp_thirdparty.artifacts._zip_records.LONGEST_DIRECTORY", 50)
    _refuse(tmp_path, built(_GOOD), "", rules.CENTRAL)


@pytest.mark.parametrize("limit", ["max_entries", "max_total_bytes", "max_entry_bytes", "max_ratio", "max_depth"])
@pytest.mark.parametrize("value", [0, -1, 1.5, True, None])
def test_a_bad_limit_is_refused(limit: str, value: object) -> None:
    """A limit is a complete number of at least 1."""
    with pytest.raises(InvalidRequestError, match=f"^{limit}: must be "):
        ArchiveLimits(**{limit: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("choice", ["names", "symlinks"])
@pytest.mark.parametrize("value", ["", "Posix", None, True])
def test_an_unknown_choice_is_refused(choice: str, value: object) -> None:
    """The error names the choices."""
    with pytest.raises(InvalidRequestError, match=f"^{choice}: must be '[a-z]+' or '[a-z]+'$"):
        ArchiveLimits(**{choice: value})  # type: ignore[arg-type]


# --- what is not a fault of the archive


def test_a_directory_that_exists_is_left_alone(tmp_path: Path) -> None:
    """Not even an empty one is filled."""
    (tmp_path / "a.zip").write_bytes(built(_GOOD))
    (tmp_path / "out").mkdir()
    with pytest.raises(ArtifactError, match=r"^to: must not exist$"):
        extract_archive(tmp_path / "a.zip", to=tmp_path / "out")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ArtifactError, match=r"^to: must not exist$"):
        extract_archive(tmp_path / "a.zip", to=tmp_path / "dangling")


def test_an_archive_that_is_not_there_is_reported(tmp_path: Path) -> None:
    """A missing file and a missing parent are typed errors with the path, without a cause."""
    with pytest.raises(ArtifactFileError, match=r"^No such file or directory: '.*/a.zip'$") as caught:
        extract_archive(tmp_path / "a.zip", to=tmp_path / "out")
    assert caught.value.__context__ is None
    assert (caught.value.errno, caught.value.filename) == (errno.ENOENT, str(tmp_path / "a.zip"))
    (tmp_path / "a.zip").write_bytes(built(_GOOD))
    with pytest.raises(ArtifactFileError, match=r"^No such file or directory: '.*/no/out'$"):
        extract_archive(tmp_path / "a.zip", to=tmp_path / "no" / "out")


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was written before is removed."""

    def write(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "a.zip").write_bytes(built(_GOOD))
    monkeypatch.setattr("os.write", write)
    with pytest.raises(ArtifactFileError, match=r"^No space left on device: '.*/out/good.txt'$") as caught:
        extract_archive(tmp_path / "a.zip", to=tmp_path / "out")
    assert caught.value.errno == errno.ENOSPC
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


def test_an_interrupt_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in the middle removes what was written, and goes on its way."""

    def write(*_: object) -> int:
        raise KeyboardInterrupt

    (tmp_path / "a.zip").write_bytes(built(_GOOD))
    monkeypatch.setattr("os.write", write)
    with pytest.raises(KeyboardInterrupt):
        extract_archive(tmp_path / "a.zip", to=tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


def test_a_file_that_shrinks_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An archive that is truncated while it is read is not a success."""
    module: Any = importlib.import_module("cp_thirdparty.artifacts._extraction")
    archive = tmp_path / "a.zip"
    archive.write_bytes(built(Record(content=b"x" * (1 << 20))))
    read = module.read_entries

    def cut(*arguments: object) -> object:
        entries: object = read(*arguments)
        archive.write_bytes(archive.read_bytes()[: 1 << 19])
        return entries

    monkeypatch.setattr(module, "read_entries", cut)
    with pytest.raises(UnsafeArchiveError, match="a truncated archive"):
        extract_archive(archive, to=tmp_path / "out")


@pytest.mark.parametrize("attributes", [FILE, LINK], ids=["file", "link"])
@pytest.mark.parametrize("lie", ["crc", "size"])
def test_no_frame_of_an_error_holds_data(tmp_path: Path, lie: str, attributes: int) -> None:
    """A report of an error may show local variables, and the data is the customer's."""
    wrong = {lie: 40}
    record = Record(content=b"MARKER" * 7, method=8, attributes=attributes, local=wrong, central=wrong)
    (tmp_path / "a.zip").write_bytes(built(record))
    with pytest.raises(UnsafeArchiveError) as caught:
        extract_archive(tmp_path / "a.zip", to=tmp_path / "out")
    frames = [frame for frame, _ in traceback.walk_tb(caught.value.__traceback__)][1:]
    assert frames
    for frame in frames:
        assert "MARKER" not in repr(frame.f_locals)
        assert not any(isinstance(value, bytes | memoryview | list) for value in frame.f_locals.values())


# --- any archive


@pytest.mark.parametrize("seed", range(7))
def test_mutated_archives_end_in_success_or_one_error(tmp_path: Path, seed: int) -> None:
    """A short form of the fuzzer, which does 10,000."""
    chance = random.Random(seed)
    assert survive(tmp_path, seeds()[seed])
    survived = sum(survive(tmp_path, mutate(chance, seeds()[seed])) for _ in range(60))
    assert survived < 60


def test_what_python_extracts_wrongly_is_refused(tmp_path: Path) -> None:
    """``zipfile`` renames ``..`` without a word, and leaves a file with a wrong checksum behind; this does not."""
    (tmp_path / "a.zip").write_bytes(_named("../evil"))
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        archive.extractall(tmp_path / "python")
    assert (tmp_path / "python" / "evil").exists()
    with pytest.raises(UnsafeArchiveError):
        extract_archive(tmp_path / "a.zip", to=tmp_path / "out")
