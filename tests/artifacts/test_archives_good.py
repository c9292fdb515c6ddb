"""Harmless archives, whoever made them, and archives of our own: the same bytes each time, and back again."""

from __future__ import annotations

import bz2
import errno
import hashlib
import importlib
import io
import lzma
import os
import random
import shutil
import socket
import stat
import struct
import subprocess
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.trees import find_ways_out, read_tree
from support.zip_records import (
    DIRECTORY,
    EXECUTABLE,
    FIFO,
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

from cp_thirdparty.artifacts import ArchiveLimits, _archive_tree, create_archive, extract_archive
from cp_thirdparty.artifacts import _archive_rules as rules
from cp_thirdparty.artifacts._archive_rules import Rule
from cp_thirdparty.exceptions import (
    ArtifactError,
    ArtifactFileError,
    ArtifactTransferError,
    InvalidRequestError,
    UnsafeArchiveError,
)

_TREE = {
    "README.md": b"# A project\n" * 100,
    "src/main.py": b"print('hello')\n",
    "src/deep/er/data.bin": bytes(range(256)) * 40,
    "empty.txt": b"",
    "name with blanks.txt": b"x",
    "\u00fcmlaut-\u65e5\u672c.txt": b"y",
}


# Files with some bytes, of which the system states that they are empty.
_VERSIONS = "/proc/sys/kernel/random"


def _make(directory: Path) -> Path:
    for name, content in _TREE.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (directory / "run.sh").write_bytes(b"#!/bin/sh\n")
    (directory / "run.sh").chmod(0o755)
    return directory


def _files(directory: Path) -> dict[str, bytes]:
    return {
        path.relative_to(directory).as_posix(): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# --- tools


def _by_zipfile(source: Path, archive: Path) -> None:
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as made:
        for path in sorted(source.rglob("*")):
            made.write(path, path.relative_to(source))


def _by_zipfile_streaming(source: Path, archive: Path) -> None:
    class Stream(io.RawIOBase):
        def __init__(self) -> None:
            self.data = bytearray()

        def writable(self) -> bool:
            return True

        def write(self, data: Any) -> int:
            self.data += data
            return len(data)

    stream = Stream()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as made:
        for path in sorted(source.rglob("*")):
            if path.is_file():
                made.write(path, path.relative_to(source))
    archive.write_bytes(bytes(stream.data))


def _by_zipfile_zip64(source: Path, archive: Path) -> None:
    with zipfile.ZipFile(archive, "w") as made:
        for path in sorted(source.rglob("*")):
            if path.is_file():
                info = zipfile.ZipInfo.from_file(path, str(path.relative_to(source)))
                with made.open(info, "w", force_zip64=True) as packed:
                    packed.write(path.read_bytes())


def _by_make_archive(source: Path, archive: Path) -> None:
    shutil.make_archive(str(archive.with_suffix("")), "zip", source)


def _by_git(source: Path, archive: Path) -> None:
    git = ["git", "-C", str(source), "-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "core.autocrlf=false"]
    for arguments in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "x"]):
        subprocess.run([*git, *arguments], check=True, capture_output=True)
    subprocess.run([*git, "archive", "--format=zip", "-o", str(archive), "HEAD"], check=True)
    shutil.rmtree(source / ".git")


def _by_jar(source: Path, archive: Path) -> None:
    subprocess.run(["jar", "-cfM", str(archive), "."], cwd=source, check=True, env={**os.environ, "LC_ALL": "C.UTF-8"})


def _by_info_zip_streaming(source: Path, archive: Path) -> None:
    made = subprocess.run(["zip", "-q", "-r", "-", "."], cwd=source, check=True, stdout=subprocess.PIPE)
    archive.write_bytes(made.stdout)


def _by_info_zip(source: Path, archive: Path) -> None:
    subprocess.run(["zip", "-q", "-r", str(archive), "."], cwd=source, check=True)


_TOOLS: dict[str, Callable[[Path, Path], None]] = {
    "zipfile": _by_zipfile,
    "zipfile, streaming": _by_zipfile_streaming,
    "zipfile, ZIP64": _by_zipfile_zip64,
    "make_archive": _by_make_archive,
    "git archive": _by_git,
    "zip": _by_info_zip,
    "zip, streaming": _by_info_zip_streaming,
    "jar": _by_jar,
}
_PROGRAMS = {"git archive": "git", "zip": "zip", "zip, streaming": "zip", "jar": "jar"}
_WITHOUT_MODES = ("zipfile, ZIP64", "jar")


@pytest.mark.parametrize("tool", _TOOLS)
def test_what_tools_make_is_extracted(tmp_path: Path, tool: str) -> None:
    """Each file is the same byte by byte, and what was executable is."""
    program = _PROGRAMS.get(tool)
    if program is not None and shutil.which(program) is None:
        pytest.skip(f"{program} is not installed; its layout is among those built by hand")
    source = _make(tmp_path / "source")
    _TOOLS[tool](source, tmp_path / "a.zip")
    extract_archive(tmp_path / "a.zip", to=tmp_path / "out")
    assert _files(tmp_path / "out") == _files(source)
    assert _mode(tmp_path / "out" / "src" / "main.py") == 0o644
    if tool not in _WITHOUT_MODES:
        assert _mode(tmp_path / "out" / "run.sh") == 0o755


_TEXT = b"content\n"
_PACKED = deflated(_TEXT)
_UNKNOWN = {"crc": 0, "packed": 0, "size": 0}
# LZMA as a zip archive has it, with an end marker and a dictionary of 2 GiB, most of which is not used; and `_TEXT` a
# hundred times as 7-Zip has packed it, without an end marker.
_LZMA = b"\x09\x04\5\0\x5d\0\0\0\x80" + lzma.compress(_TEXT, lzma.FORMAT_RAW, filters=[{"id": lzma.FILTER_LZMA1}])
_LZMA_OF_7_ZIP = bytes.fromhex("1a0205005d0000010000319bca19daeda4e9aa520f7cf95927c44000")
# The layouts of tools that not every machine has, and of rare settings of those that it has.
LAYOUTS: Mapping[str, tuple[bytes, dict[str, bytes]]] = {
    "jar": (
        built(
            Record(name=b"META-INF/", content=b"", extra=b"\xfe\xca\0\0", attributes=0, made_by=20),
            Record(
                name=b"A.class",
                method=8,
                flags=8 | 1 << 11,
                descriptor=descriptor(_TEXT, len(_PACKED)),
                local=_UNKNOWN,
                attributes=0,
                made_by=20,
            ),
        ),
        {"A.class": _TEXT},
    ),
    "zip, streaming": (
        built(
            Record(
                flags=8, method=8, descriptor=descriptor(_TEXT, len(_PACKED)), local={"crc": 0, "packed": 0, "size": 8}
            )
        ),
        {"file.txt": _TEXT},
    ),
    "directory that is deflated": (
        built(Record(name=b"d/", content=b"", method=8, attributes=DIRECTORY), Record()),
        {"file.txt": _TEXT},
    ),
    "descriptor without a signature": (
        built(Record(flags=8, method=8, descriptor=descriptor(_TEXT, len(_PACKED), signature=b""), local=_UNKNOWN)),
        {"file.txt": _TEXT},
    ),
    "descriptor of 64 bits": (
        built(
            Record(
                flags=8,
                method=8,
                descriptor=descriptor(_TEXT, len(_PACKED), wide=True),
                local={"crc": 0, "packed": 0xFFFFFFFF, "size": 0xFFFFFFFF, "extra": zip64(0, 0)},
            )
        ),
        {"file.txt": _TEXT},
    ),
    "ZIP64 in both headers": (
        built(
            Record(
                local={"packed": 0xFFFFFFFF, "size": 0xFFFFFFFF, "extra": zip64(8, 8)},
                central={"size": 0xFFFFFFFF, "extra": zip64(8)},
            )
        ),
        {"file.txt": _TEXT},
    ),
    "ZIP64 end record": (
        built(
            Record(), end={"count": 0xFFFF, "begin": 0xFFFFFFFF}, before_end=end64(count=1, length=54, begin=46, at=100)
        ),
        {"file.txt": _TEXT},
    ),
    "comment": (built(Record(), comment=b"0123456789abcdef" * 2), {"file.txt": _TEXT}),
    "no entries": (built(), {}),
    "made on Unix without a hint": (built(Record(name="\u00fc.txt".encode())), {"\u00fc.txt": _TEXT}),
    "no UTF-8 on Unix": (built(Record(name=b"\x81.txt")), {"\u00fc.txt": _TEXT}),
    "made by DOS": (built(Record(made_by=20, attributes=0x20)), {"file.txt": _TEXT}),
    "made by macOS": (built(Record(made_by=19 << 8 | 20)), {"file.txt": _TEXT}),
    "old code page": (built(Record(name=b"\x81.txt", made_by=20)), {"\u00fc.txt": _TEXT}),
    "./ and //": (
        built(
            Record(name=b"./", content=b"", attributes=DIRECTORY),
            Record(name=b"./d/", content=b"", attributes=DIRECTORY),
            Record(name=b"./d/./a"),
            Record(name=b"d//b"),
            Record(name=b"d/./", content=b"", attributes=DIRECTORY),
            Record(name=b"././x"),
        ),
        {"d/a": _TEXT, "d/b": _TEXT, "x": _TEXT},
    ),
    "directory twice": (
        built(*[Record(name=b"d/", content=b"", attributes=DIRECTORY)] * 2, Record(name=b"d/a")),
        {"d/a": _TEXT},
    ),
    "Maven": (built(Record(name=b"d/", content=b"", attributes=FILE), Record(name=b"d/a")), {"d/a": _TEXT}),
    "attributes of a directory, no slash and nothing below": (
        built(
            Record(name=b"a", content=b"", attributes=DIRECTORY),
            Record(name=b"a.txt"),
            Record(name=b"b", content=b"", made_by=20, attributes=0x10),
            Record(name=b"c", made_by=20, attributes=0x10),
            Record(name=b"d", content=b"", attributes=DIRECTORY),
            Record(name=b"d./e"),
        ),
        {"a": b"", "a.txt": _TEXT, "b": b"", "c": _TEXT, "d": b"", "d./e": _TEXT},
    ),
    "zip of a pipe": (built(Record(name=b"-", attributes=FIFO)), {"-": _TEXT}),
    "socket": (built(Record(attributes=0o140644 << 16)), {"file.txt": _TEXT}),
    "empty file without deflated data": (built(Record(content=b"", method=8, packed=b"")), {"file.txt": b""}),
    "PowerShell 5": (
        built(
            Record(name=b"d\\", content=b"", made_by=20, attributes=0x10),
            Record(name=b"d\\e\\a", made_by=20, attributes=0),
            Record(name="d\\ü".encode(), made_by=20, attributes=0, flags=1 << 11),
        ),
        {"d/e/a": _TEXT, "d/ü": _TEXT},
    ),
    "backslash by Git": (
        built(Record(name=b"units/dev-disk-by\\x2duuid.swap", made_by=20, attributes=0)),
        {"units/dev-disk-by\\x2duuid.swap": _TEXT},
    ),
    "macOS Archive Utility": (
        built(
            Record(name=b"d/", content=b"", made_by=3 << 8 | 21, extra=b"UX\x08\0" + b"\0" * 8),
            Record(
                name="d/ü".encode(),
                method=8,
                flags=8,
                made_by=3 << 8 | 21,
                extra=b"UX\x0c\0" + b"\0" * 12,
                descriptor=descriptor(_TEXT, len(_PACKED)),
                local=_UNKNOWN,
                central={"extra": b"UX\x08\0" + b"\0" * 8},
            ),
            Record(name=b"__MACOSX/d/._u", made_by=3 << 8 | 21),
        ),
        {"d/ü": _TEXT, "__MACOSX/d/._u": _TEXT},
    ),
    "Windows Explorer": (
        built(
            Record(name=b"d/", content=b"", made_by=20, attributes=0x10),
            Record(name=b"d/a.txt", made_by=20, attributes=0x20, method=8),
            Record(name="d/日.txt".encode(), made_by=11 << 8 | 20, attributes=0x20, flags=1 << 11, method=8),
        ),
        {"d/a.txt": _TEXT, "d/日.txt": _TEXT},
    ),
    ".NET, not seekable": (
        built(
            Record(name=b"d/", content=b"", made_by=20, attributes=0),
            Record(
                name=b"d/a",
                method=8,
                flags=8,
                made_by=20,
                attributes=0,
                descriptor=descriptor(_TEXT, len(_PACKED)),
                local=_UNKNOWN,
            ),
        ),
        {"d/a": _TEXT},
    ),
    "backslash on Unix": (built(Record(name=b"dev-disk-by\\x2duuid.swap")), {"dev-disk-by\\x2duuid.swap": _TEXT}),
    "line break at the end": (built(Record(), after=b"\r\n"), {"file.txt": _TEXT}),
    "zeros at the end": (built(Record(), after=b"\0" * 65_536), {"file.txt": _TEXT}),
    "bytes at the end": (built(Record(), after=b"\0signed by a mail program\n"), {"file.txt": _TEXT}),
    "zeros after a comment": (built(Record(), comment=b"ends in zeros\0\0", after=b"\0" * 512), {"file.txt": _TEXT}),
    "aligned data": (built(Record(extra=b"UT\0\0UT\0\0\0\0\0")), {"file.txt": _TEXT}),
    "start script": (b"#!/bin/sh\n" + built(Record()), {"file.txt": _TEXT}),
    "start script, ZIP64": (
        b"#!/bin/sh\n" + built(Record(), before_end=end64(count=1, length=54, begin=46, at=100)),
        {"file.txt": _TEXT},
    ),
    "zipapp": (built(Record(before=b"#!/usr/bin/env python3\n")), {"file.txt": _TEXT}),
    "Unicode path": (
        built(
            Record(
                name=b"#U00fc", extra=b"\x75\x70\x07\0\1" + struct.pack("<L", zlib.crc32(b"#U00fc")) + "\u00fc".encode()
            )
        ),
        {"\u00fc": _TEXT},
    ),
    "UTF-8 in one header": (
        built(Record(name=b"a", central={"flags": 1 << 11}), Record(name=b"b", local={"flags": 1 << 11})),
        {"a": _TEXT, "b": _TEXT},
    ),
    "descriptor in the local header only": (
        built(Record(local={**_UNKNOWN, "flags": 8}, descriptor=descriptor(_TEXT))),
        {"file.txt": _TEXT},
    ),
    "descriptor in the central header only": (built(Record(central={"flags": 8})), {"file.txt": _TEXT}),
    "flags without a meaning": (
        built(*(Record(name=b"%d" % bit, method=8, flags=1 << bit) for bit in (1, 2, 4, 7, 8, 9, 10, 12, 14, 15))),
        {f"{bit}": _TEXT for bit in (1, 2, 4, 7, 8, 9, 10, 12, 14, 15)},
    ),
    "ZIP64 locator without a count of disks": (
        built(Record(), before_end=end64(count=1, length=54, begin=46, at=100)[:-4] + bytes(4)),
        {"file.txt": _TEXT},
    ),
    "flag of a descriptor, and none follows": (
        built(
            Record(name=b"stored", flags=8),
            Record(name=b"deflated", flags=8, method=8),
            Record(name=b"sizes in the central directory only", flags=8, method=8, local=_UNKNOWN),
            Record(name=b"d/", content=b"", flags=8, attributes=DIRECTORY),
            Record(name=b"last", flags=8),
        ),
        dict.fromkeys(("stored", "deflated", "sizes in the central directory only", "last"), _TEXT),
    ),
    "Android": (
        built(Record(name=b"a"), Record(method=8), before_directory=signing_block(b"signature", b"")),
        {"a": _TEXT, "file.txt": _TEXT},
    ),
    "Android, aligned": (
        built(
            Record(method=8, flags=8, local=_UNKNOWN, descriptor=descriptor(_TEXT, len(_PACKED))),
            before_directory=bytes(4_000) + signing_block(b"signature"),
        ),
        {"file.txt": _TEXT},
    ),
    "Android Gradle Plugin, padding": (
        built(
            Record(name=b"a", before=padding_entry(102)),
            Record(name=b"b", before=padding_entry(0) + padding_entry(65_535)),
            before_directory=padding_entry(7),
        ),
        {"a": _TEXT, "b": _TEXT},
    ),
    "IZArc": (
        built(Record(name=b"d/e/a", made_by=20, attributes=0x20, central={"name": b"d\\e\\a"})),
        {"d/e/a": _TEXT},
    ),
    "zeros before the directory": (built(Record(), before_directory=bytes(65_536)), {"file.txt": _TEXT}),
    "Unicode path in the local header only": (
        built(
            Record(
                name="\u00fc".encode(),
                flags=1 << 11,
                local={
                    "extra": b"\x75\x70\x07\0\1" + struct.pack("<L", zlib.crc32("\u00fc".encode())) + "\u00fc".encode()
                },
            )
        ),
        {"\u00fc": _TEXT},
    ),
    "sizes of 32 bits before a descriptor": (
        built(
            *(
                Record(
                    name=b"%d" % method,
                    method=method,
                    flags=8,
                    descriptor=descriptor(_TEXT, len(_PACKED) if method else 8),
                    local={"crc": crc, "packed": 0xFFFFFFFF, "size": 0xFFFFFFFF},
                )
                for method, crc in ((0, 0), (8, 0xFFFFFFFF))
            )
        ),
        {"0": _TEXT, "8": _TEXT},
    ),
    "directories without a slash": (
        built(
            Record(name=b"a", content=b"", attributes=DIRECTORY),
            Record(name=b"a/b"),
            Record(name=b"c/d"),
            Record(name=b"c", content=b"", attributes=0o040755 << 16),
            Record(name=b"e", content=b"", made_by=20, attributes=0x10),
            Record(name=b"e/", content=b"", attributes=DIRECTORY),
            Record(name=b"e/f"),
            # Only the mode counts on Unix.
            Record(name=b"g", content=b"", attributes=FILE | 0x10),
        ),
        {"a/b": _TEXT, "c/d": _TEXT, "e/f": _TEXT, "g": b""},
    ),
    "directories without a slash, and other spellings of their names": (
        built(
            Record(name=b"a", content=b"", attributes=DIRECTORY),
            Record(name=b"./a/b"),
            Record(name=b"c", content=b"", attributes=DIRECTORY),
            Record(name=b"c//d"),
            Record(name=b"./e", content=b"", attributes=DIRECTORY),
            Record(name=b"e/f"),
            Record(name=b"g", content=b"", attributes=DIRECTORY),
            Record(name=b"./g/", content=b"", attributes=DIRECTORY),
        ),
        {"a/b": _TEXT, "c/d": _TEXT, "e/f": _TEXT},
    ),
    "bytes before and after the entries": (
        built(
            Record(name=b"a", before=b"MZ" * 600_000),
            Record(name=b"b", method=8, flags=8, descriptor=descriptor(_TEXT, len(_PACKED)), local=_UNKNOWN),
            Record(name=b"c", flags=8),
            before_directory=b"PK\0 text" + bytes(100_000),
        ),
        dict.fromkeys("abc", _TEXT),
    ),
    "descriptor for the central header only": (
        built(Record(name=b"a"), Record(central={"flags": 8}, descriptor=descriptor(_TEXT))),
        {"a": _TEXT, "file.txt": _TEXT},
    ),
    "circles of links": (
        built(
            *(
                Record(name=name, content=target, attributes=LINK)
                for name, target in ((b"a", b"a"), (b"b", b"b/"), (b"c", b"b/missing/part"))
            ),
            Record(),
        ),
        {"file.txt": _TEXT},
    ),
    "bytes and no entry": (built(before_directory=b"text"), {}),
    "bzip2": (built(Record(method=12, packed=bz2.compress(_TEXT))), {"file.txt": _TEXT}),
    "LZMA": (built(Record(content=_TEXT * 100, method=14, packed=_LZMA_OF_7_ZIP)), {"file.txt": _TEXT * 100}),
    "LZMA with the flag of an end marker and none": (
        built(Record(content=_TEXT * 100, method=14, flags=2, packed=_LZMA_OF_7_ZIP)),
        {"file.txt": _TEXT * 100},
    ),
    "empty files in LZMA": (
        built(
            *(
                Record(name=b"%d %d" % (flags, length), content=b"", method=14, flags=flags, packed=_LZMA[:length])
                for flags in (0, 2)
                for length in (0, 9)
            )
        ),
        {"0 0": b"", "0 9": b"", "2 0": b"", "2 9": b""},
    ),
    "LZMA with an end marker": (built(Record(method=14, flags=2, packed=_LZMA)), {"file.txt": _TEXT}),
    "Unicode path in the central directory only": (
        built(
            Record(
                name=b"#U00fc",
                central={"extra": b"\x75\x70\x07\0\1" + struct.pack("<L", zlib.crc32(b"#U00fc")) + "\u00fc".encode()},
            )
        ),
        {"\u00fc": _TEXT},
    ),
    "bytes after the extra fields": (
        built(Record(name=b"a", extra=b"UT\1\0\0\1\0\xff"), Record(name=b"b", local={"extra": b"x"})),
        {"a": _TEXT, "b": _TEXT},
    ),
    "an extra field that is longer than all": (
        built(Record(name=b"a", extra=b"UT\xff\0\0"), Record(name=b"b", extra=b"UT\1\0\0AA\4\0abc")),
        {"a": _TEXT, "b": _TEXT},
    ),
    "a path of 3,071 bytes": (
        built(Record(name=(b"d" * 255 + b"/") * 11 + b"f" * 255)),
        {("d" * 255 + "/") * 11 + "f" * 255: _TEXT},
    ),
    "Unicode path of another name": (
        built(Record(name=b"plain", extra=b"\x75\x70\x07\0\1\0\0\0\0" + "\u00fc".encode())),
        {"plain": _TEXT},
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_other_layouts_are_extracted(tmp_path: Path, layout: str) -> None:
    """What is harmless is taken, however it is written."""
    data, files = LAYOUTS[layout]
    (tmp_path / "a.zip").write_bytes(data)
    assert extract_archive(tmp_path / "a.zip", to=tmp_path / "out") == tmp_path / "out"
    assert _files(tmp_path / "out") == files


def test_a_count_of_16_bits_may_be_the_lowest_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Archive Utility of macOS writes no ZIP64 record for many entries; here, a count has 2 bits instead of 16."""
    monkeypatch.setattr("cp_thirdparty.artifacts._zip_layout.MAX_UINT16", 0b11)
    archive, limits = tmp_path / "a.zip", ArchiveLimits(max_entries=5)
    records = [Record(name=b"%d" % number) for number in range(6)]
    archive.write_bytes(built(*records[:5], end={"count": 1}))
    extract_archive(archive, to=tmp_path / "out", limits=limits)
    assert len(_files(tmp_path / "out")) == 5
    archive.write_bytes(built(*records, end={"count": 2}))
    with pytest.raises(UnsafeArchiveError, match=r"^too many entries"):
        extract_archive(archive, to=tmp_path / "more", limits=limits)


_MODES = {
    b"p/q/f": (FILE, 0o644),
    b"x": (EXECUTABLE, 0o755),
    b"setuid": (0o104755 << 16, 0o755),
    b"private": (0o100600 << 16, 0o600),
    b"private program": (0o100700 << 16, 0o700),
    b"read-only": (0o100444 << 16, 0o444),
    b"read-only program": (0o100555 << 16, 0o555),
    b"read-only for its owner": (0o100400 << 16, 0o400),
    b"for no one": (0o100001 << 16, 0o400),
    b"writable": (0o100666 << 16, 0o644),
    b"without a mode": (0, 0o644),
    b"without permissions": (0o100000 << 16, 0o400),
    b"d/": (DIRECTORY, 0o755),
    b"private d/": (0o040700 << 16, 0o700),
    b"d with the mode of a file/": (FILE, 0o755),
    b"d with the mode of a private file/": (0o100600 << 16, 0o700),
    b"d without a mode/": (0x10, 0o755),
    b"d without permissions/": (0o040000 << 16, 0o700),
}


@pytest.mark.parametrize("mask", [0, 0o022, 0o077])
def test_modes_are_never_wider_than_the_archive_and_the_umask(tmp_path: Path, mask: int) -> None:
    """The archive decides what is executable and writable; the owner can always read."""
    records = [
        Record(name=name, content=b"" if name.endswith(b"/") else b"x", attributes=attributes)
        for name, (attributes, _) in _MODES.items()
    ]
    (tmp_path / "a.zip").write_bytes(built(*records))
    before = os.umask(mask)
    try:
        extract_archive(tmp_path / "a.zip", to=tmp_path / "out")
        create_archive(tmp_path / "out", to=tmp_path / "b.zip")
    finally:
        os.umask(before)
    found = {name: _mode(tmp_path / "out" / name.decode()) for name in _MODES}
    assert found == {name: mode & ~mask for name, (_, mode) in _MODES.items()}
    assert [_mode(tmp_path / "out" / name) for name in ("", "p", "p/q")] == [0o755 & ~mask] * 3
    assert _mode(tmp_path / "b.zip") == 0o666 & ~mask


@pytest.mark.parametrize("more", [*range(-2, 3), *range(100, 1300, 100)])
@pytest.mark.parametrize("unit", [b"\0", b"ab"])
def test_what_is_packed_very_tightly_is_restored(tmp_path: Path, unit: bytes, more: int) -> None:
    """One byte of an archive may stand for a thousand, also where it is the last and the piece before is full."""
    content = unit * (((256 << 10) + more) // len(unit))
    (tmp_path / "a.zip").write_bytes(built(Record(content=content, method=8)))
    extract_archive(tmp_path / "a.zip", to=tmp_path / "out", limits=ArchiveLimits(max_ratio=2000))
    assert (tmp_path / "out" / "file.txt").read_bytes() == content


def test_the_directory_may_have_any_name(tmp_path: Path) -> None:
    """A name as long as the file system takes leaves room for what is written beside it."""
    name = "\u65e5" * 84
    (tmp_path / "source").mkdir()
    create_archive(tmp_path / "source", to=tmp_path / f"{name}z")
    assert extract_archive(tmp_path / f"{name}z", to=tmp_path / name).is_dir()
    assert len(list(tmp_path.iterdir())) == 3


def test_links_inside_the_tree_are_kept(tmp_path: Path) -> None:
    """They are links, and lead where they did."""
    records = [
        Record(name=b"d/file.txt"),
        Record(name=b"d/l", content=b"../d/file.txt", attributes=LINK),
        Record(name=b"m", content=b"d", attributes=LINK),
        # As a shared library and its versions have them, in any order.
        Record(name=b"so", content=b"so.1", attributes=LINK),
        Record(name=b"so.1", content=b"d/../d/file.txt", attributes=LINK),
        Record(name=b"nowhere", content=b"d/missing", attributes=LINK),
        Record(name=b"itself", content=b"itself", attributes=LINK),
        Record(name=b"sub/up", content=b"../m/../d/.", attributes=LINK),
        # Nothing is there, and whatever appears there, the link stays inside.
        Record(name=b"sub/later", content=b"missing/../../d/file.txt", attributes=LINK),
        Record(name=b"sub/by way of a file", content=b"../d/file.txt/../file.txt", attributes=LINK),
    ]
    (tmp_path / "a.zip").write_bytes(built(*records))
    extract_archive(tmp_path / "a.zip", to=tmp_path / "out")
    assert (tmp_path / "out" / "so").read_bytes() == _TEXT
    assert (tmp_path / "out" / "so").readlink() == Path("so.1")
    assert (tmp_path / "out" / "sub" / "up").resolve() == (tmp_path / "out" / "d").resolve()
    assert not (tmp_path / "out" / "nowhere").exists()
    assert (tmp_path / "out" / "itself").is_symlink()
    assert (tmp_path / "out" / "d" / "l").readlink() == Path("../d/file.txt")
    assert (tmp_path / "out" / "m" / "file.txt").read_bytes() == _TEXT


# --- archives of our own


def test_the_same_tree_gives_the_same_bytes(tmp_path: Path) -> None:
    """Neither time stamps nor the order of making matter; a changed file does."""
    one, other = _make(tmp_path / "one"), tmp_path / "other"
    for name in sorted(_files(one), reverse=True):
        (other / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(one / name, other / name)
        os.utime(other / name, (0, 0))  # before 1980, which zipfile refuses
    create_archive(one, to=tmp_path / "one.zip")
    create_archive(other, to=tmp_path / "other.zip")
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "other.zip").read_bytes()
    (other / "empty.txt").write_bytes(b"no more")
    create_archive(other, to=tmp_path / "other.zip")
    assert (tmp_path / "one.zip").read_bytes() != (tmp_path / "other.zip").read_bytes()


def test_the_bytes_are_those_of_every_python(tmp_path: Path) -> None:
    """The structure does not depend on the version of Python; stored bytes alone are compared, as zlib's may differ."""
    (tmp_path / "d" / "sub").mkdir(parents=True)
    (tmp_path / "d" / "a").write_bytes(b"")
    create_archive(tmp_path / "d", to=tmp_path / "a.zip")
    digest = hashlib.sha256((tmp_path / "a.zip").read_bytes()).hexdigest()
    assert digest == "d4408929d53b0a5d36bf77e11bec6bc60487031c69a092bdb451379e8fddd20f"


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (3_900_000, (20, zipfile.ZIP_DEFLATED, 0)),
        (3_999_999, (20, zipfile.ZIP_STORED, 0)),
        (4_000_000, (20, zipfile.ZIP_STORED, 0)),
        (4_000_001, (45, zipfile.ZIP_DEFLATED, 20)),
    ],
)
def test_the_headers_of_large_files_are_those_of_every_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, expected: tuple[int, int, int]
) -> None:
    """Around the size that needs 64 bits, here 4 MB instead of 2 GiB, zipfile would decide by its version."""
    monkeypatch.setattr("zipfile.ZIP64_LIMIT", 4_000_000)
    monkeypatch.setattr(importlib.import_module("cp_thirdparty.artifacts.create"), "_ZIP64_LIMIT", 4_000_000)
    (tmp_path / "d").mkdir()
    content = random.Random(1).randbytes(size)
    (tmp_path / "d" / "a").write_bytes(content)
    create_archive(tmp_path / "d", to=tmp_path / "a.zip")
    header = struct.unpack("<4s5H3L2H", (tmp_path / "a.zip").read_bytes()[:30])
    version, method, extra = header[1], header[3], header[10]
    assert (version, method, extra) == expected
    extract_archive(tmp_path / "a.zip", to=tmp_path / "out")
    assert (tmp_path / "out" / "a").read_bytes() == content


def test_an_archive_is_restored(tmp_path: Path) -> None:
    """Files, modes, empty directories and links survive the way there and back."""
    source = _make(tmp_path / "source")
    (source / "void" / "er").mkdir(parents=True)
    (source / "src" / "link").symlink_to("../README.md")
    assert create_archive(source, to=tmp_path / "a.zip") == tmp_path / "a.zip"
    extract_archive(tmp_path / "a.zip", to=tmp_path / "out")
    assert _files(tmp_path / "out") == _files(source)
    assert (tmp_path / "out" / "void" / "er").is_dir()
    assert (tmp_path / "out" / "src" / "link").readlink() == Path("../README.md")
    assert _mode(tmp_path / "out" / "run.sh") == 0o755
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert archive.testzip() is None
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


_PARTS = st.text(st.sampled_from("abA\u00e9\u65e5-_ 1.:\\\n\x7f"), min_size=1, max_size=6).filter(
    lambda part: part not in (".", "..")
) | st.sampled_from(["aux.c", "con", "a" * 255, "C:"])
_TARGETS = st.lists(_PARTS | st.sampled_from(["..", ".", ""]), min_size=1, max_size=4).map("/".join)
_DATA = st.binary(max_size=300) | st.integers(1, 2000).map(bytes)
_NODES = st.recursive(
    st.tuples(_DATA, st.booleans()) | _TARGETS.map(Path),
    lambda inner: st.dictionaries(_PARTS, inner, max_size=4),
    max_leaves=8,
)


def _write_tree(directory: Path, tree: Mapping[str, Any]) -> None:
    """Write a tree of files with an executable bit, links and directories."""
    directory.mkdir()
    for name, content in tree.items():
        if isinstance(content, tuple):
            (directory / name).write_bytes(content[0])
            (directory / name).chmod(0o755 if content[1] else 0o644)
        elif isinstance(content, Path):
            (directory / name).symlink_to(content)
        else:
            _write_tree(directory / name, content)


_CHOICES = st.builds(
    ArchiveLimits,
    names=st.sampled_from(["posix", "portable"]),
    symlinks=st.sampled_from(["keep", "refuse"]),
    max_entries=st.sampled_from([5, 100_000]),
    max_total_bytes=st.sampled_from([3, 1000, 5 << 30]),
    max_entry_bytes=st.sampled_from([3, 4 << 30]),
    max_depth=st.sampled_from([2, 64]),
)


@given(st.dictionaries(_PARTS, _NODES, max_size=5), _CHOICES)
def test_what_is_created_is_extracted_with_the_same_limits(
    tmp_path_factory: pytest.TempPathFactory, tree: dict[str, Any], limits: ArchiveLimits
) -> None:
    """Any tree, links and unusual names included, is refused with the name of the entry, or extracted as it was."""
    directory = tmp_path_factory.mktemp("tree")
    _write_tree(directory / "source", tree)
    try:
        create_archive(directory / "source", to=directory / "a.zip", limits=limits)
    except UnsafeArchiveError as refused:
        assert refused.entry  # noqa: PT017 - or it is a success
        assert [path.name for path in directory.iterdir()] == ["source"]
    else:
        extract_archive(directory / "a.zip", to=directory / "out", limits=limits)
        assert read_tree(directory / "out") == read_tree(directory / "source")
        assert find_ways_out(directory / "out") == []
    shutil.rmtree(directory)


@pytest.mark.parametrize("limits", [None, ArchiveLimits(max_depth=5)])
def test_progress_counts_the_bytes_of_files(tmp_path: Path, limits: ArchiveLimits | None) -> None:
    """It is called in the caller's thread; paths may be strings."""
    source = _make(tmp_path / "source")
    size = sum(map(len, _files(source).values()))
    read: list[int] = []
    written: list[int] = []
    create_archive(str(source), to=str(tmp_path / "a.zip"), limits=limits, progress=read.append)
    made = extract_archive(str(tmp_path / "a.zip"), to=str(tmp_path / "out"), limits=limits, progress=written.append)
    assert made == tmp_path / "out"
    assert (sum(read), sum(written)) == (size, size)


@pytest.mark.parametrize("failure", [OSError(errno.ENOSPC, "mine"), KeyboardInterrupt("mine")])
def test_what_progress_raises_is_raised(tmp_path: Path, failure: BaseException) -> None:
    """It ends the work, nothing is left, and an OSError of the caller is not taken for one of the files."""
    source = _make(tmp_path / "source")

    def raise_it(_count: int) -> None:
        raise failure

    with pytest.raises(type(failure), match="mine"):
        create_archive(source, to=tmp_path / "a.zip", progress=raise_it)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]
    create_archive(source, to=tmp_path / "a.zip")
    with pytest.raises(type(failure), match="mine"):
        extract_archive(tmp_path / "a.zip", to=tmp_path / "out", progress=raise_it)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip", "source"]


# Argument -> a call in which it has the wrong type.
_WRONG_TYPES: dict[str, Callable[[Path, Any], object]] = {
    "archive": lambda path, wrong: extract_archive(wrong, to=path / "out"),
    "to": lambda path, wrong: extract_archive(path / "a.zip", to=wrong),
    "directory": lambda path, wrong: create_archive(wrong, to=path / "a.zip"),
    "limits": lambda path, wrong: create_archive(path, to=path / "a.zip", limits=wrong),
    "progress": lambda path, wrong: create_archive(path, to=path / "a.zip", progress=wrong),
    "on_skip": lambda path, wrong: create_archive(path, to=path / "a.zip", on_skip=wrong),
}
_PATHS = ("archive", "directory", "to")


@pytest.mark.parametrize("wrong", [1, b"bytes", [""]], ids=["int", "bytes", "list"])
@pytest.mark.parametrize("argument", _WRONG_TYPES)
def test_a_wrong_type_is_a_type_error(tmp_path: Path, argument: str, wrong: Any) -> None:
    """A mistake of the caller is not a fault of the archive; the error names the argument."""
    with pytest.raises(TypeError, match=rf"^{argument}: must be [A-Za-z. ]+, not {type(wrong).__name__}$"):
        _WRONG_TYPES[argument](tmp_path, wrong)


@pytest.mark.parametrize("wrong", ["", "a\0b"], ids=["empty", "NUL"])
@pytest.mark.parametrize("argument", _PATHS)
def test_a_string_that_is_not_a_path_is_refused(tmp_path: Path, argument: str, wrong: str) -> None:
    """No operating system has such a path; the error names the argument."""
    with pytest.raises(InvalidRequestError, match=rf"^{argument}: must not be empty and must have no NUL character$"):
        _WRONG_TYPES[argument](tmp_path, wrong)


@pytest.mark.parametrize("argument", _PATHS)
def test_a_string_that_the_file_system_cannot_encode_is_refused(tmp_path: Path, argument: str) -> None:
    """A lone surrogate is in no name; one that stands for a byte is."""
    message = rf"^{argument}: must have only characters that a file name can have$"
    with pytest.raises(InvalidRequestError, match=message) as caught:
        _WRONG_TYPES[argument](tmp_path, "\ud800")
    assert caught.value.__context__ is None
    create_archive(_make(tmp_path / "source"), to=os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))


@pytest.mark.parametrize("argument", ["directory", "to"])
def test_a_link_to_itself_is_no_foreign_error(tmp_path: Path, argument: str) -> None:
    """As a directory it cannot be read, as a file it is replaced, and as the parent of one it cannot be opened."""
    loop, source = tmp_path / "loop", _make(tmp_path / "source")
    loop.symlink_to("loop")
    if argument == "directory":
        with pytest.raises(ArtifactFileError, match=r"^Too many levels of symbolic links: '.*/loop'$"):
            create_archive(loop, to=tmp_path / "a.zip")
    else:
        with pytest.raises(ArtifactFileError, match=r"^Too many levels of symbolic links: '.*/loop/a.zip'$"):
            create_archive(source, to=loop / "a.zip")
        assert create_archive(source, to=loop).is_file()


class _OwnPath:
    """A path of another library."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __fspath__(self) -> str:
        return str(self._path)


def test_any_path_like_object_is_a_path(tmp_path: Path) -> None:
    """It needs only to be an `os.PathLike` of a string."""
    source = _make(tmp_path / "source")
    archive = create_archive(_OwnPath(source), to=_OwnPath(tmp_path / "a.zip"))
    tree = extract_archive(_OwnPath(archive), to=_OwnPath(tmp_path / "out"))
    assert (tree, _files(tree)) == (tmp_path / "out", _files(source))


def _make_fifo(source: Path) -> None:
    os.mkfifo(source / "bad")


def _make_socket(source: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        before = Path.cwd()
        os.chdir(source)  # the path of a socket may have 107 bytes
        try:
            made.bind("bad")
        finally:
            os.chdir(before)


def _make_no_utf8(source: Path) -> None:
    (source / os.fsdecode(b"bad\xff")).write_bytes(b"")


def _make_link(target: str) -> Callable[[Path], None]:
    return lambda source: (source / "bad").symlink_to(target)


def _make_loop(source: Path) -> None:
    (source / "bad").mkdir()
    (source / "bad" / "link").symlink_to("../bad")


def _make_deep(source: Path) -> None:
    (source / "bad/bad").mkdir(parents=True)
    (source / "bad/bad/f").write_bytes(b"")


def _make_reserved(source: Path) -> None:
    (source / "bad:").mkdir()
    (source / "bad:" / "f").write_bytes(b"")


# What is in the directory -> the rule.
_NOT_ARCHIVED: dict[str, tuple[Callable[[Path], None], Rule]] = {
    "FIFO": (_make_fifo, rules.SPECIAL_FILE),
    "socket": (_make_socket, rules.SPECIAL_FILE),
    "absolute link": (_make_link("/etc/passwd"), rules.LINK_OUTSIDE),
    "link outside": (_make_link("../outside"), rules.LINK_OUTSIDE),
    "link to its directory": (_make_link("."), rules.LINK_CYCLE),
    "link to a directory above": (_make_loop, rules.LINK_CYCLE),
    "name that is not UTF-8": (_make_no_utf8, rules.NOT_UTF8),
    "directory with a name that Windows does not allow": (_make_reserved, rules.SEPARATOR),
    "too deep": (_make_deep, rules.DEPTH),
}


@pytest.mark.parametrize("case", _NOT_ARCHIVED)
def test_what_would_not_be_extracted_is_not_archived(tmp_path: Path, case: str) -> None:
    """The error names the entry and the rule, and there is no archive, or the entry is left out by choice."""
    make, rule = _NOT_ARCHIVED[case]
    limits = ArchiveLimits(max_depth=2, names="portable" if rule is rules.SEPARATOR else "posix")
    source = tmp_path / "source"
    source.mkdir()
    (source / "good").write_bytes(_TEXT)
    make(source)
    with pytest.raises(UnsafeArchiveError) as caught:
        create_archive(source, to=tmp_path / "a.zip", limits=limits)
    assert caught.value.rule == rule.text
    assert caught.value.entry.startswith("bad")
    assert "\\\\" not in caught.value.entry
    assert caught.value.hint.endswith("on_skip= leaves it out")
    assert caught.value.__context__ is None
    assert [path.name for path in tmp_path.iterdir()] == ["source"]
    skipped: list[ArtifactError] = []
    create_archive(source, to=tmp_path / "a.zip", limits=limits, on_skip=skipped.append)
    assert [str(error) for error in skipped] == [str(caught.value)]
    extract_archive(tmp_path / "a.zip", to=tmp_path / "out")
    assert _files(tmp_path / "out") == {"good": _TEXT}


def _make_links(source: Path, links: Mapping[str, str]) -> Path:
    for name, target in links.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).symlink_to(target)
    return source


# Links -> those that are left out, with the rule.
_BROKEN_LINKS: dict[str, tuple[dict[str, str], dict[str, Rule]]] = {
    "through one that leads outside": (
        {"a": "b/x", "b": "c", "c": "/etc", "d": "nowhere/../a", "e": "f"},
        {"c": rules.LINK_OUTSIDE, "b": rules.LINK_THROUGH, "a": rules.LINK_THROUGH, "d": rules.LINK_THROUGH},
    ),
    "through one to its directory": (
        {"d/c": "../d", "d/e/l": "../c/../d/c/../x", "ok": "d/e/l", "x/kept": "nowhere"},
        {"d/c": rules.LINK_CYCLE, "d/e/l": rules.LINK_THROUGH, "ok": rules.LINK_THROUGH},
    ),
    # One link closes two cycles.
    "to a directory with two others on the way": (
        {"a/l": "../c/Y", "c/Y/n": "../X", "c/X/m": ".."},
        {"c/X/m": rules.LINK_CYCLE},
    ),
}


@pytest.mark.parametrize("case", _BROKEN_LINKS)
def test_links_that_are_left_out_are_named_once(tmp_path: Path, case: str) -> None:
    """The cause comes first, and the rest is extracted as it was."""
    links, left_out = _BROKEN_LINKS[case]
    source = _make_links(tmp_path / "source", links)
    skipped: list[ArtifactError] = []
    create_archive(source, to=tmp_path / "a.zip", on_skip=skipped.append)
    found = [(error.entry, error.rule) for error in skipped if isinstance(error, UnsafeArchiveError)]
    assert found == [(name, rule.text) for name, rule in left_out.items()]
    for name in left_out:
        (source / name).unlink()
    assert read_tree(extract_archive(tmp_path / "a.zip", to=tmp_path / "out")) == read_tree(source)


_WAYS: dict[str, Callable[[Path, Callable[[], bool]], object]] = {
    "creation": lambda path, stop: create_archive(path / "source", to=path / "b.zip", is_cancelled=stop),
    "extraction": lambda path, stop: extract_archive(path / "a.zip", to=path / "out", is_cancelled=stop),
}


@pytest.mark.parametrize("way", _WAYS)
def test_a_cancelled_job_ends_the_check_of_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    """It is asked for each link, because many links take long; so is the deadline."""
    create_archive(_make_links(tmp_path / "source", {"a": "b", "b": "c"}), to=tmp_path / "a.zip")
    seen: list[str] = []
    follow = _archive_tree._Resolution.follow

    def record(resolution: Any, link: Any) -> Any:
        seen.append(link.name)
        return follow(resolution, link)

    monkeypatch.setattr(_archive_tree._Resolution, "follow", record)
    with pytest.raises(ArtifactTransferError, match=rf"^the {way} was stopped because the job was cancelled$"):
        _WAYS[way](tmp_path, lambda: bool(seen))
    assert seen == ["a"]


def test_a_target_may_have_any_bytes(tmp_path: Path) -> None:
    """The target of a link from a system with another encoding is kept."""
    source = _make_links(tmp_path / "source", {"link": os.fsdecode(b"caf\xe9")})
    create_archive(source, to=tmp_path / "a.zip")
    extract_archive(tmp_path / "a.zip", to=tmp_path / "out")
    assert os.readlink(os.fsencode(tmp_path / "out" / "link")) == b"caf\xe9"  # noqa: PTH115 - as bytes
    with pytest.raises(UnsafeArchiveError, match=r"^link: a symbolic link with an invalid target"):
        extract_archive(tmp_path / "a.zip", to=tmp_path / "more", limits=ArchiveLimits(names="portable"))


def test_links_are_not_archived_by_choice(tmp_path: Path) -> None:
    """The limits of both directions are the same."""
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "link").symlink_to("file")
    with pytest.raises(
        UnsafeArchiveError, match=r'^link: a symbolic link \(symlinks="keep" accepts it; on_skip= leaves it out\)$'
    ):
        create_archive(tmp_path / "source", to=tmp_path / "a.zip", limits=ArchiveLimits(symlinks="refuse"))


@pytest.mark.parametrize("kind", ["file", "directory", "list"])
def test_what_cannot_be_read_is_named_or_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """The error has the path and the error number."""
    source = _make(tmp_path / "source")
    bad = source / "src" / ("main.py" if kind == "file" else "deep")
    open_file, scan = os.open, os.scandir

    def refuse(path: Any, *arguments: Any, **settings: Any) -> Any:
        if path == str(bad) or (isinstance(path, int) and os.path.samestat(os.fstat(path), bad.stat())):
            raise PermissionError(errno.EACCES, "no", path)
        function: Any = open_file if arguments else scan
        return function(path, *arguments, **settings)

    monkeypatch.setattr("os.scandir" if kind == "list" else "os.open", refuse)
    with pytest.raises(ArtifactFileError, match=f"^Permission denied: '{bad}'$") as caught:
        create_archive(source, to=tmp_path / "a.zip")
    assert (caught.value.errno, caught.value.filename) == (errno.EACCES, str(bad))
    assert caught.value.__context__ is None
    skipped: list[ArtifactError] = []
    create_archive(source, to=tmp_path / "a.zip", on_skip=skipped.append)
    monkeypatch.undo()
    assert [str(error) for error in skipped] == [str(caught.value)]
    extract_archive(tmp_path / "a.zip", to=tmp_path / "out")
    missing = f"src/{bad.name}"
    assert _files(tmp_path / "out") == {k: v for k, v in _files(source).items() if not k.startswith(missing)}


def test_a_file_that_vanishes_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is removed after its directory was listed is an error with its path."""
    source = _make(tmp_path / "source")
    scan = os.scandir

    class Scan:
        """Lists a directory in which a file then vanishes."""

        def __init__(self, descriptor: int) -> None:
            with scan(descriptor) as found:
                self._entries = list(found)
            if os.path.samestat(os.fstat(descriptor), source.stat()):
                (source / "empty.txt").unlink()

        def __enter__(self) -> list[os.DirEntry[str]]:
            return self._entries

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr("cp_thirdparty.artifacts.create.os.scandir", Scan)
    with pytest.raises(ArtifactFileError, match=r"^No such file or directory: '.*/source/empty.txt'$"):
        create_archive(source, to=tmp_path / "a.zip")


def _replace_by_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _replace_by_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _replace_by_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc/passwd")


# How a file is replaced after its directory was listed -> the error.
_REPLACED: dict[str, tuple[Callable[[Path], None], str]] = {
    "FIFO": (_replace_by_fifo, r"^the archive cannot be created: 'empty.txt' is not the same file any more$"),
    "directory": (_replace_by_directory, r"^Is a directory: '.*/source/empty.txt'$"),
    "link": (_replace_by_link, r"^Too many levels of symbolic links: '.*/source/empty.txt'$"),
    "nothing": (Path.unlink, r"^No such file or directory: '.*/source/empty.txt'$"),
}


@pytest.mark.parametrize("case", _REPLACED)
def test_a_file_that_is_replaced_is_named_or_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    """Nothing is read from what has replaced it, and a FIFO without a writer does not block."""
    replace, message = _REPLACED[case]
    source = _make(tmp_path / "source")
    bad = source / "empty.txt"
    open_file = os.open

    def replace_then_open(path: Any, *arguments: Any, **settings: Any) -> int:
        if path == str(bad) and stat.S_ISREG(bad.lstat().st_mode):
            replace(bad)
        return open_file(path, *arguments, **settings)

    monkeypatch.setattr("os.open", replace_then_open)
    with pytest.raises(ArtifactError, match=message):
        create_archive(source, to=tmp_path / "a.zip")
    if bad.is_dir():
        bad.rmdir()
    bad.unlink(missing_ok=True)
    bad.write_bytes(b"")
    skipped: list[ArtifactError] = []
    create_archive(source, to=tmp_path / "a.zip", on_skip=skipped.append)
    monkeypatch.undo()
    assert len(skipped) == 1
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert sorted(info.filename for info in archive.infolist() if not info.is_dir()) == sorted(
            {*_TREE, "run.sh"} - {"empty.txt"}
        )


@pytest.mark.parametrize("opened", ["src/deep", "src/deep/er", "src/deep/er/data.bin"])
def test_a_directory_that_is_replaced_by_a_link_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opened: str
) -> None:
    """Who may write in the source gets no file of another directory into the archive, at whatever moment."""
    source, other = _make(tmp_path / "source"), tmp_path / "other"
    (other / "er").mkdir(parents=True)
    (other / "er" / "data.bin").write_bytes(b"secret")
    open_file = os.open

    def replace_then_open(path: Any, *arguments: Any, **settings: Any) -> int:
        if path == str(source / opened) and not (source / "src" / "deep").is_symlink():
            (source / "src" / "deep").rename(tmp_path / "stolen")
            (source / "src" / "deep").symlink_to(other)
        return open_file(path, *arguments, **settings)

    monkeypatch.setattr("os.open", replace_then_open)
    skipped: list[ArtifactError] = []
    create_archive(source, to=tmp_path / "a.zip", on_skip=skipped.append)
    assert len(skipped) == 1
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert "src/deep/er/data.bin" not in archive.namelist()
        assert "src/main.py" in archive.namelist()


@pytest.mark.parametrize("good_reads", [0, 1], ids=["first piece", "second piece"])
def test_a_read_error_names_the_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, good_reads: int) -> None:
    """A file that cannot be read at all may be left out; one that fails later is an error."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "a").write_bytes(bytes(300_000))

    class File(io.FileIO):
        reads = 0

        def read(self, size: int | None = -1, /) -> bytes:
            self.reads += 1
            if self.reads > good_reads:
                raise OSError(errno.EIO, "no")
            return super().read(size)

    def open_file(path: str, mode: str, *, buffering: int, opener: Any) -> File:
        assert (mode, buffering) == ("rb", 0)
        return File(path, opener=opener)

    monkeypatch.setattr("cp_thirdparty.artifacts.create.open", open_file, raising=False)
    with pytest.raises(ArtifactFileError, match=f"^Input/output error: '{source / 'a'}'$") as caught:
        create_archive(source, to=tmp_path / "a.zip")
    assert caught.value.__context__ is None
    assert [path.name for path in tmp_path.iterdir()] == ["source"]
    skipped: list[ArtifactError] = []
    if good_reads:
        with pytest.raises(ArtifactFileError):
            create_archive(source, to=tmp_path / "a.zip", on_skip=skipped.append)
    else:
        create_archive(source, to=tmp_path / "a.zip", on_skip=skipped.append)
        assert [str(error) for error in skipped] == [str(caught.value)]


@pytest.mark.parametrize("limit", ["max_entries", "max_total_bytes", "max_entry_bytes", "max_ratio"])
@pytest.mark.parametrize("size", [1 << 20, (1 << 20) + 1])
def test_a_tree_that_is_too_large_is_not_archived(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, size: int
) -> None:
    """Creation and extraction refuse the same."""
    monkeypatch.setattr(rules, "_RATIO_BYTES", 1 << 20)
    source = tmp_path / "source"
    source.mkdir()
    for name in "abc":
        (source / name).write_bytes(bytes(size))
    values: dict[str, Any] = {
        "max_entries": 2,
        "max_total_bytes": 3 << 20,
        "max_entry_bytes": 1 << 20,
        "max_ratio": 100,
    }
    enough: dict[str, Any] = {"max_entries": 3, "max_ratio": 2000}
    limits = ArchiveLimits(**{**enough, limit: values[limit]})
    if limit in ("max_total_bytes", "max_entry_bytes"):
        (source / "b").write_bytes(bytes(size + 1))
    with pytest.raises(UnsafeArchiveError, match=f"the limit is {limit}={values[limit]:,}"):
        create_archive(source, to=tmp_path / "a.zip", limits=limits)
    create_archive(source, to=tmp_path / "a.zip", limits=ArchiveLimits(**enough))
    with pytest.raises(UnsafeArchiveError, match=f"the limit is {limit}={values[limit]:,}"):
        extract_archive(tmp_path / "a.zip", to=tmp_path / "out", limits=limits)


@pytest.mark.parametrize("to", ["source/a.zip", "source", "source/link", "link"])
def test_an_archive_is_not_made_inside_its_directory(tmp_path: Path, to: str) -> None:
    """It would contain itself."""
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "link").symlink_to(tmp_path / "a.zip")
    (tmp_path / "link").symlink_to(tmp_path / "source" / "a.zip")
    with pytest.raises(ArtifactError, match=r"^to: must not be inside the directory$"):
        create_archive(tmp_path / "source", to=tmp_path / to)


def test_a_directory_that_is_not_there_is_reported(tmp_path: Path) -> None:
    """It is a typed error with the path and without a cause; so is a directory for the archive."""
    with pytest.raises(ArtifactFileError, match=r"^No such file or directory: '.*/no'$") as caught:
        create_archive(tmp_path / "no", to=tmp_path / "a.zip")
    assert caught.value.__context__ is None
    with pytest.raises(ArtifactFileError, match=r"^No such file or directory: '.*/no/a.zip'$"):
        create_archive(tmp_path, to="/no/a.zip")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ArtifactFileError, match=r"^Not a directory: '.*/file'$"):
        create_archive(tmp_path / "file", to=tmp_path / "a.zip")


@pytest.mark.parametrize("change", [b"more", b""])
def test_a_file_that_changes_meanwhile_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: bytes
) -> None:
    """There is no archive of half a change."""
    source = _make(tmp_path / "source")
    fstat = os.fstat
    seen: list[int] = []

    def change_then_look(descriptor: int) -> os.stat_result:
        if Path(f"/proc/self/fd/{descriptor}").resolve() == source / "README.md":
            seen.append(descriptor)
            if len(seen) == 2:
                (source / "README.md").write_bytes(change)
        return fstat(descriptor)

    monkeypatch.setattr("os.fstat", change_then_look)
    with pytest.raises(
        ArtifactError, match=r"^the archive cannot be created: 'README.md' was changed while it was read$"
    ):
        create_archive(source, to=tmp_path / "a.zip")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


@pytest.mark.skipif(not Path(_VERSIONS).exists(), reason="the system has no such files")
def test_a_file_that_is_longer_than_its_size_is_reported(tmp_path: Path) -> None:
    """The system states 0 bytes for a file of /proc, which must not be archived as an empty one."""
    with pytest.raises(ArtifactError, match=r"^the archive cannot be created: '\w+' was changed while it was read$"):
        create_archive(_VERSIONS, to=tmp_path / "a.zip")
    assert list(tmp_path.iterdir()) == []


def test_an_archive_that_is_there_is_replaced(tmp_path: Path) -> None:
    """The old one is there until the new one is complete."""
    (tmp_path / "a.zip").write_bytes(b"old")
    create_archive(_make(tmp_path / "source"), to=tmp_path / "a.zip")
    extract_archive(tmp_path / "a.zip", to=tmp_path / "out", limits=ArchiveLimits(max_entries=100))


def test_a_created_archive_has_a_central_directory_that_is_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """100,000 long names need more memory than an extraction may take, so they are refused before."""
    source = _make(tmp_path / "source")
    endings: list[str] = []
    for longest in range(380, 1000, 40):
        for module in ("create", "_zip_records"):
            monkeypatch.setattr(f"cp_thirdparty.artifacts.{module}.LONGEST_DIRECTORY", longest)
        try:
            create_archive(source, to=tmp_path / f"{longest}.zip")
        except UnsafeArchiveError as error:
            endings.append(f"{error.rule} ({error.hint})")
        else:
            extract_archive(tmp_path / f"{longest}.zip", to=tmp_path / f"{longest}")
            endings.append("accepted")
    refused = "a name that is too long (all names together may have about 128 MiB)"
    assert set(endings) == {refused, "accepted"}
    assert endings == sorted(endings)


def test_a_directory_is_listed_up_to_a_limit(tmp_path: Path) -> None:
    """A directory may have more names than the memory can hold; as many as the entries may be left out."""
    (tmp_path / "source").mkdir()
    for number in range(8):
        os.mkfifo(tmp_path / "source" / f"{number}")
    skipped: list[ArtifactError] = []
    limits = ArchiveLimits(max_entries=4)
    create_archive(tmp_path / "source", to=tmp_path / "a.zip", limits=limits, on_skip=skipped.append)
    assert len(skipped) == 8
    (tmp_path / "source" / "file").touch()
    with pytest.raises(UnsafeArchiveError, match="too many entries"):
        create_archive(tmp_path / "source", to=tmp_path / "b.zip", limits=limits, on_skip=skipped.append)
    assert len(skipped) == 8
