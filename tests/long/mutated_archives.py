"""Archives that were changed at random: each ends in a tree without a way out or in one typed error."""

from __future__ import annotations

import io
import random
import re
import shutil
import struct
import zipfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from support.trees import find_ways_out
from support.zip_records import (
    DIRECTORY,
    EXECUTABLE,
    FIFO,
    LINK,
    Record,
    built,
    deflated,
    descriptor,
    end64,
    zip64,
)

from cp_thirdparty.artifacts import extract_archive
from cp_thirdparty.exceptions import UnsafeArchiveError


def mutate(chance: random.Random, data: bytes) -> bytes:
    """Change an archive at random places: bytes, numbers, truncation, copies."""
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 5))):
        at = chance.randrange(len(changed))
        how = chance.randrange(6)
        if how == 0:
            changed[at] = chance.randrange(256)
        elif how == 1:
            changed[at : at + 4] = chance.choice((b"\0\0\0\0", b"\xff\xff\xff\xff", b"PK\5\6", b"PK\1\2", b"PK\3\4"))
        elif how == 2:
            del changed[at : at + chance.randrange(1, 20)]
        elif how == 3:
            changed[at:at] = changed[at : at + chance.randrange(1, 60)]
        elif how == 4:
            _set_number(chance, changed)
        else:
            changed[at] ^= 1 << chance.randrange(8)
    return bytes(changed) or b"x"


def _set_number(chance: random.Random, data: bytearray) -> None:
    """Set one field of one record to another plausible number."""
    begin = chance.choice(
        [found.start() for found in re.finditer(rb"PK(\x01\x02|\x03\x04|\x05\x06|\x06\x06|\x06\x07)", data)] or [0]
    )
    layout = chance.choice(("<H", "<L", "<L", "<Q"))
    number = chance.choice((0, 1, len(data), chance.randrange(2 * len(data)), 1 << 31, 1 << 62, 1 << 63, (1 << 64) - 1))
    raw = struct.pack(layout, number % (1 << 8 * struct.calcsize(layout)))
    at = begin + 4 + 2 * chance.randrange(24)
    data[at : at + len(raw)] = raw[: max(0, len(data) - at)]


def seeds() -> list[bytes]:
    """Make the archives that are mutated."""
    return [
        built(
            Record(name=b"a/b.txt", content=b"hello " * 50, method=8),
            Record(name=b"a/", content=b"", attributes=DIRECTORY),
            Record(name=b"run.sh", attributes=EXECUTABLE),
        ),
        built(
            Record(
                flags=8,
                method=8,
                descriptor=descriptor(b"content\n", len(deflated(b"content\n"))),
                local={"crc": 0, "packed": 0, "size": 0},
            ),
            comment=b"c" * 40,
        ),
        built(Record(name="ä".encode(), flags=1 << 11), Record(name=b"z", extra=b"UT\5\0\3abcd")),
        built(Record(name=b"good.txt"), before_end=end64(count=1, length=54, begin=46, at=100)),
        _wide(),
        built(
            Record(name=b"a/b/f"),
            Record(name=b"a/l", content=b"b/../b/f", attributes=LINK),
            Record(name=b"m", content=b"a/b", attributes=LINK),
            Record(name=b"n", content=b"m/f", attributes=LINK),
        ),
        b"#!/bin/sh\n"
        + built(
            Record(name=b"./", content=b"", attributes=DIRECTORY),
            Record(name=b"d\\e\\f", made_by=20, attributes=0),
            Record(name=b"d//x", attributes=FIFO),
            after=b"\0" * 16,
        ),
        built(Record(name=b"a"), Record(name=b"b", before=b"between"), before_directory=b"before"),
        _packed(zipfile.ZIP_BZIP2),
        _packed(zipfile.ZIP_LZMA),
    ]


def survive(tmp_path: Path, data: bytes) -> bool:
    """Extract a mutated archive: it ends in a tree without a way out or in one typed error, and nothing is left."""
    archive, to = tmp_path / "a.zip", tmp_path / "out"
    archive.write_bytes(data)
    try:
        extract_archive(archive, to=to)
    except UnsafeArchiveError as refused:
        assert refused.__context__ is None  # noqa: PT017 - or it is a success
        assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]
        return False
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip", "out"]
    assert find_ways_out(to) == []
    shutil.rmtree(to)
    return True


def _packed(method: int) -> bytes:
    """Return an archive with another method than Deflate."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        archive.writestr(zipfile.ZipInfo("a/b.txt"), b"hello " * 50, method)
    return file.getvalue()


def _wide() -> bytes:
    """Return an archive with all numbers in 64 bits, of two entries with descriptors."""
    packed = len(deflated(b"content\n"))
    return built(
        *(
            Record(
                name=name,
                method=8,
                flags=8,
                descriptor=descriptor(b"content\n", packed, wide=True),
                local={"crc": 0, "packed": 0xFFFFFFFF, "size": 0xFFFFFFFF, "extra": zip64(0, 0)},
                central={
                    "packed": 0xFFFFFFFF,
                    "size": 0xFFFFFFFF,
                    "offset": 0xFFFFFFFF,
                    "extra": zip64(8, packed, at * (30 + 1 + 20 + packed + 24)),
                },
            )
            for at, name in enumerate((b"a", b"b"))
        )
    )


@contextmanager
def archives(directory: Path) -> Generator[Callable[[random.Random], str]]:
    """Open the cases of the fuzzer: a mutated archive for each."""

    def case(chance: random.Random) -> str:
        is_extracted = survive(directory, mutate(chance, chance.choice(seeds())))
        (directory / "a.zip").unlink()
        return "extracted" if is_extracted else "refused"

    yield case
