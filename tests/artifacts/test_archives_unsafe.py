"""Hostile archives: each is refused by the rule that it breaks, and nothing is left on the disk."""

from __future__ import annotations

import importlib
import pickle
import random
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest
from long.mutated_archives import mutate, seeds, survive
from support.zip_records import (
    DIRECTORY,
    FIFO,
    FILE,
    LINK,
    Record,
    built,
    deflated,
    descriptor,
    end64,
    zip64,
)

from cp_thirdparty.artifacts import ArchiveLimits, extract_archive
from cp_thirdparty.exceptions import ArtifactError, InvalidRequestError, UnsafeArchiveError

_GOOD = Record(name=b"good.txt")
_MIB = 1 << 20
_DEFAULT = ArchiveLimits()


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


_ROWS: dict[str, tuple[bytes, str, str]] = {
    # names
    "..": (_named("../evil"), "../evil", "a part '..' in the name"),
    ".. inside": (_named("a/../../evil"), "a/../../evil", "a part '..' in the name"),
    ".": (_named("./evil"), "./evil", "a part '.' in the name"),
    "empty part": (_named("a//evil"), "a//evil", "a part '' in the name"),
    "absolute": (_named("/etc/evil"), "/etc/evil", "an absolute name"),
    "backslash": (_named("a\\evil"), "a\\\\evil", "a backslash or a colon"),
    "drive": (_named("c:evil"), "c:evil", "a backslash or a colon"),
    "stream": (_named("file.txt:evil"), "file.txt:evil", "a backslash or a colon"),
    "empty": (_named(""), "", "an empty name"),
    "only a slash": (_named("/", content=b"", attributes=DIRECTORY), "/", "an empty name"),
    "NUL": (_named("a\0.txt"), "a\\x00.txt", "a control character"),
    "newline": (_named("a\nb"), "a\\nb", "a control character"),
    "escape": (_named("a\x1b[31m"), "a\\x1b[31m", "a control character"),
    "C1": (_named("a\x9bb"), "a\\x9bb", "a control character"),
    "DEL": (_named("a\x7f"), "a\\x7f", "a control character"),
    "reserved": (_named("a/CON"), "a/CON", "a name that Windows reserves"),
    "reserved with an extension": (_named("nul.txt"), "nul.txt", "a name that Windows reserves"),
    "reserved port": (_named("Lpt1.tar.gz"), "Lpt1.tar.gz", "a name that Windows reserves"),
    "reserved directory": (_named("aux/x"), "aux/x", "a name that Windows reserves"),
    "trailing dot": (_named("evil."), "evil.", "ends in a dot or a blank"),
    "trailing blank": (_named("evil /x"), "evil /x", "ends in a dot or a blank"),
    "long part": (_named("x" * 256), "x" * 200, "a part of more than 255 bytes"),
    "long part in bytes": (_named("é" * 128), "\\xe9" * 50, "a part of more than 255 bytes"),
    "long name": (
        _named("a/" * 60 + ("b" * 200 + "/") * 5 + "c"),
        "a/" * 60 + "b" * 80,
        "a name of more than 1,024 bytes",
    ),
    "no UTF-8": (_named(b"a\xff"), "a\\xff", "a name that is not the UTF-8"),
    "deep": (_named("a/" * 64 + "b"), "a/" * 64 + "b", "more than 64 directories deep"),
    # names that meet
    "duplicate": (_two("a", "a"), "a", "there twice"),
    "duplicate directory": (_two("a/", "a/"), "a/", "there twice"),
    "twins in case": (_two("readme", "README"), "README", "the twin of another name"),
    "twins in composition": (_two("\u00e9", "e\u0301"), "e\\u0301", "the twin of another name"),
    "twins in case folding": (_two("stra\u00dfe", "STRASSE"), "STRASSE", "the twin of another name"),
    "twins of directories": (_two("a/x", "A/y"), "A/y", "the twin of another name"),
    "file, then directory": (_two("a", "a/"), "a/", "a file and a directory of one name"),
    "directory, then file": (_two("a/", "a"), "a", "a file and a directory of one name"),
    "parent, then file": (_two("a/b", "a"), "a", "a file and a directory of one name"),
    "file, then parent": (_two("a", "a/b"), "a/b", "below a file"),
    # kinds
    "FIFO": (_named("fifo", content=b"", attributes=FIFO), "fifo", "neither a file nor a directory"),
    "device": (_named("dev", content=b"", attributes=0o020644 << 16), "dev", "neither a file nor a directory"),
    "file with a slash": (_named("a/", content=b"", attributes=FILE), "a/", "neither a file nor a directory"),
    "directory without a slash": (
        _named("a", content=b"", attributes=DIRECTORY),
        "a",
        "neither a file nor a directory",
    ),
    "directory with a checksum": (
        _named("a/", content=b"", attributes=DIRECTORY, local={"crc": 1}, central={"crc": 1}),
        "a",
        "a wrong checksum",
    ),
    "directory with hidden bytes": (
        _named("a/", content=b"", method=8, packed=b"hidden", attributes=DIRECTORY),
        "a",
        "packed bytes that are broken",
    ),
    "directory with bytes": (_named("a/", attributes=DIRECTORY), "a/", "a directory with bytes"),
    "link": (_link(b"good.txt"), "link", "a symbolic link"),
    # packing
    "encrypted": (_named("e", flags=1), "e", "encrypted"),
    "strongly encrypted": (_named("e", flags=1 << 6 | 1), "e", "encrypted"),
    "masked": (_named("e", flags=1 << 13), "e", "encrypted"),
    "unknown flag": (_named("e", flags=1 << 5), "e", "an unknown flag"),
    "unknown method": (_named("e", method=99, packed=b"x"), "e", "an unknown method"),
    "LZMA": (_named("e", method=14, packed=b"x"), "e", "an unknown method"),
    "wrong checksum": (built(Record(local={"crc": 1}, central={"crc": 1})), "file.txt", "a wrong checksum"),
    "stored size lies": (built(Record(local={"size": 9}, central={"size": 9})), "file.txt", "sizes that disagree"),
    "deflated to more": (
        built(Record(method=8, local={"size": 3}, central={"size": 3})),
        "file.txt",
        "sizes that disagree",
    ),
    "deflated to less": (
        built(Record(method=8, local={"size": 99}, central={"size": 99})),
        "file.txt",
        "sizes that disagree",
    ),
    "deflated and more": (
        built(Record(method=8, packed=deflated(b"content\n") + b"more")),
        "file.txt",
        "sizes that disagree",
    ),
    "deflated and cut": (
        built(Record(method=8, packed=deflated(b"content\n")[:-3])),
        "file.txt",
        "sizes that disagree",
    ),
    "not deflated": (built(Record(method=8, packed=b"\xff" * 8)), "file.txt", "packed bytes that are broken"),
    # two headers
    "names disagree": (built(Record(local={"name": b"evil.txt"})), "file.txt", "two headers with different names"),
    "methods disagree": (built(Record(local={"method": 8})), "file.txt", "two headers that disagree"),
    "flags disagree": (built(Record(local={"flags": 1 << 11})), "file.txt", "two headers that disagree"),
    "checksums disagree": (built(Record(local={"crc": 1})), "file.txt", "two headers that disagree"),
    "sizes disagree": (built(Record(local={"size": 1})), "file.txt", "two headers that disagree"),
    "packed sizes disagree": (built(Record(local={"packed": 1})), "file.txt", "two headers that disagree"),
    "no local header": (built(Record(central={"offset": 1})), "file.txt", "bytes that belong to no entry"),
    "no local signature": (b"XX" + built(Record())[2:], "file.txt", "no local header"),
    "broken extra": (built(Record(extra=b"\1\0\xff\0x")), "file.txt", "a broken extra field"),
    "broken local extra": (built(Record(local={"extra": b"\1\0\xff\0x"})), "file.txt", "a broken extra field"),
    "cut extra": (built(Record(extra=b"\1\0")), "file.txt", "a broken extra field"),
    "extra twice": (built(Record(extra=b"UT\0\0UT\0\0")), "file.txt", "a broken extra field"),
    "descriptor lies": (
        built(Record(flags=8, descriptor=descriptor(b"other"))),
        "file.txt",
        "a data descriptor that disagrees",
    ),
    "descriptor of a wrong length": (built(Record(flags=8, descriptor=b"x" * 13)), "file.txt", "a data descriptor"),
    "descriptor missing": (built(Record(flags=8)), "file.txt", "a data descriptor that disagrees"),
    "descriptor with a wrong signature": (
        built(Record(flags=8, descriptor=descriptor(b"content\n", signature=b"PK\7\7"))),
        "file.txt",
        "a data descriptor",
    ),
    "another disk": (built(Record(central={"disk": 1})), "file.txt", "a part of a split archive"),
    # the archive as a whole
    "overlapping": (_overlapping(), "outer", "it overlaps what follows"),
    "two at one place": (
        built(Record(name=b"a"), Record(name=b"b", central={"offset": 0})),
        "a",
        "it overlaps what follows",
    ),
    "outside": (built(_GOOD, Record(central={"offset": 1 << 20})), "file.txt", "a place outside of the archive"),
    "a descriptor outside": (_outside(1 << 20), "b", "a place outside of the archive"),
    "a descriptor beyond all files": (_outside(1 << 63), "b", "a place outside of the archive"),
    "in the directory": (built(_GOOD, Record(central={"offset": 92})), "file.txt", "a place outside of the archive"),
    "gap": (built(_GOOD, Record(before=b"gap")), "good.txt", "bytes after it that belong to no entry"),
    "gap before the directory": (built(_GOOD, before_directory=b"gap"), "good.txt", "bytes after it"),
    "bytes before": (b"#!/bin/sh\n" + built(_GOOD), "", "a directory that does not end"),
    "bytes before, and offsets that know": (
        built(Record(before=b"#!/bin/sh\n")),
        "file.txt",
        "bytes that belong to no entry",
    ),
    "bytes before no entry": (built(before_directory=b"junk"), "", "bytes before the first record"),
    "bytes after": (built(_GOOD, after=b"x"), "", "no end record, or bytes after it"),
    "bytes before the end": (built(_GOOD, before_end=b"x"), "", "a directory that does not end"),
    "two archives": (built(_GOOD) + built(Record(name=b"evil")), "", "a directory that does not end"),
    "an archive in the comment": (built(_GOOD, comment=built(Record(name=b"evil"))), "", "two end records"),
    "cut": (built(_GOOD)[:-5], "", "no end record"),
    "cut in the middle": (built(_GOOD, Record())[:60], "", "no end record"),
    "empty file": (b"", "", "no end record"),
    "no archive": (b"<html>" * 100, "", "no end record"),
    "fewer entries": (built(_GOOD, end={"count": 2}), "", "fewer entries than it says"),
    "more entries": (built(_GOOD, Record(), end={"count": 1}), "", "more than it says"),
    "split": (built(_GOOD, end={"disk": 1}), "", "a part of a split archive"),
    "counts disagree": (built(_GOOD, end={"here": 0}), "", "a part of a split archive"),
    "directory of a wrong length": (built(_GOOD, end={"length": 3}), "", "a directory that does not end"),
    "comment of an entry that is cut": (_cut_comment(), "", "fewer entries than it says"),
    # ZIP64
    "no ZIP64 field": (built(Record(central={"size": 0xFFFFFFFF})), "file.txt", "a ZIP64 field that is missing"),
    "short ZIP64 field": (
        built(Record(central={"size": 0xFFFFFFFF, "packed": 0xFFFFFFFF, "extra": zip64(8)})),
        "file.txt",
        "a ZIP64 field that is missing",
    ),
    "forged locator": (
        built(_GOOD, before_end=end64(count=1, length=54, begin=46, at=100, locator_at=3)),
        "",
        "a ZIP64 locator",
    ),
    "locator without a record": (
        built(_GOOD, before_end=b"x" * 56 + struct.pack("<4sLQL", b"PK\6\7", 0, 100, 1)),
        "",
        "a ZIP64 locator",
    ),
    "locator of two disks": (
        built(_GOOD, before_end=b"x" * 56 + struct.pack("<4sLQL", b"PK\6\7", 1, 100, 2)),
        "",
        "a ZIP64 locator",
    ),
    "ZIP64 record that disagrees": (
        built(_GOOD, before_end=end64(count=7, length=54, begin=46, at=100)),
        "",
        "a ZIP64 record that disagrees",
    ),
    "ZIP64 record of a wrong length": (
        built(_GOOD, before_end=end64(count=1, length=54, begin=46, at=100, size=45)),
        "",
        "a ZIP64 locator",
    ),
}


@pytest.mark.parametrize("row", _ROWS)
def test_a_hostile_archive_is_refused(tmp_path: Path, row: str) -> None:
    """The error names the entry and the rule; of the archive, nothing is on the disk."""
    data, entry, rule = _ROWS[row]
    _refuse(tmp_path, data, entry, rule)


def _refuse(tmp_path: Path, data: bytes, entry: str, rule: str, limits: ArchiveLimits = _DEFAULT) -> None:
    archive = tmp_path / "a.zip"
    archive.write_bytes(data)
    with pytest.raises(UnsafeArchiveError) as caught:
        extract_archive(archive, to=tmp_path / "out", limits=limits)
    assert rule in caught.value.rule
    if entry:
        assert caught.value.entry == entry
        assert str(caught.value) == f"{entry}: {caught.value.rule}"
    assert caught.value.__cause__ is caught.value.__context__ is None
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.entry, again.rule, str(again)) == (caught.value.entry, caught.value.rule, str(caught.value))


@pytest.mark.parametrize(
    ("limits", "entry", "rule"),
    [
        (ArchiveLimits(max_entries=2), "", "more than 2 entries"),
        (ArchiveLimits(max_total_bytes=_MIB), "c", "more than 1,048,576 bytes in all files"),
        (ArchiveLimits(max_entry_bytes=_MIB), "c", "more than 1,048,576 bytes in one file"),
        (ArchiveLimits(max_ratio=100), "c", "packed more than 100 times"),
        (ArchiveLimits(max_depth=1), "b/b", "more than 1 directories deep"),
    ],
    ids=lambda value: next(iter(str(value).partition("(")[2].split("="))) if isinstance(value, ArchiveLimits) else "",
)
def test_too_much_is_refused(tmp_path: Path, limits: ArchiveLimits, entry: str, rule: str) -> None:
    """Each limit can be set, and is named when it is exceeded; without it the archive is taken."""
    bomb = b"\0" * (3 * _MIB)
    data = built(Record(name=b"a"), Record(name=b"b/b"), Record(name=b"c", content=bomb, method=8))
    _refuse(tmp_path, data, entry, rule, limits)
    (tmp_path / "a.zip").write_bytes(data)
    extract_archive(tmp_path / "a.zip", to=tmp_path / "out", limits=ArchiveLimits(max_ratio=2000))


def test_a_directory_of_the_archive_that_is_too_long_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an archive says of itself is read at once, so it is bounded."""
    monkeypatch.setattr("cp_thirdparty.artifacts._zip_directory._LONGEST_DIRECTORY", 50)
    _refuse(tmp_path, built(_GOOD), "", "a directory that is too long")


def test_the_default_ratio_stops_a_bomb(tmp_path: Path) -> None:
    """Zeros deflate a thousandfold."""
    data = built(Record(name=b"bomb", content=b"\0" * (2 * _MIB), method=8))
    _refuse(tmp_path, data, "bomb", "packed more than 200 times")


@pytest.mark.parametrize("limit", ["max_entries", "max_total_bytes", "max_entry_bytes", "max_ratio", "max_depth"])
@pytest.mark.parametrize("value", [0, -1, 1.5, True, None])
def test_a_bad_limit_is_refused(limit: str, value: object) -> None:
    """A limit is a whole number of at least 1."""
    with pytest.raises(InvalidRequestError, match=f"^{limit}: must be "):
        ArchiveLimits(**{limit: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "target",
    [b"/etc/passwd", b"../evil", b"a/../../evil", b"", b"a\\b", b"c:x", b"a\0b", b"..", b"x" * 5000, b"d/../good.txt"],
)
def test_a_link_out_of_the_tree_is_refused(tmp_path: Path, target: bytes) -> None:
    """Even who wants links does not get one that may leave the tree."""
    archive = tmp_path / "a.zip"
    archive.write_bytes(_link(target))
    with pytest.raises(UnsafeArchiveError) as caught:
        extract_archive(archive, to=tmp_path / "out", symlinks=True)
    assert caught.value.entry == "link"
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


def test_a_link_cannot_lead_a_file_elsewhere(tmp_path: Path) -> None:
    """Nothing is written below a link."""
    archive = tmp_path / "a.zip"
    archive.write_bytes(built(Record(name=b"d", content=b".", attributes=LINK), Record(name=b"d/evil")))
    with pytest.raises(UnsafeArchiveError, match="below a file"):
        extract_archive(archive, to=tmp_path / "out", symlinks=True)


# --- what is no fault of the archive


def test_a_directory_that_exists_is_left_alone(tmp_path: Path) -> None:
    """Not even an empty one is filled."""
    (tmp_path / "a.zip").write_bytes(built(_GOOD))
    (tmp_path / "out").mkdir()
    with pytest.raises(ArtifactError, match=r"^to: must not exist$"):
        extract_archive(tmp_path / "a.zip", to=tmp_path / "out")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ArtifactError, match=r"^to: must not exist$"):
        extract_archive(tmp_path / "a.zip", to=tmp_path / "dangling")


def test_an_archive_that_is_not_there_is_told(tmp_path: Path) -> None:
    """A missing file and a missing parent are typed errors, without a cause."""
    with pytest.raises(ArtifactError, match="FileNotFoundError: No such file") as caught:
        extract_archive(tmp_path / "a.zip", to=tmp_path / "out")
    assert caught.value.__context__ is None
    (tmp_path / "a.zip").write_bytes(built(_GOOD))
    with pytest.raises(ArtifactError, match="FileNotFoundError"):
        extract_archive(tmp_path / "a.zip", to=tmp_path / "no" / "out")


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was written before is removed."""

    def write(*_: object) -> int:
        raise OSError(28, "No space left on device")

    (tmp_path / "a.zip").write_bytes(built(_GOOD))
    monkeypatch.setattr("os.write", write)
    with pytest.raises(ArtifactError, match="No space left on device"):
        extract_archive(tmp_path / "a.zip", to=tmp_path / "out")
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
    """An archive that is cut while it is read is no success."""
    module: Any = importlib.import_module("cp_thirdparty.artifacts.extract")
    archive = tmp_path / "a.zip"
    archive.write_bytes(built(Record(content=b"x" * (1 << 20))))
    read = module.read_directory

    def cut(*arguments: object) -> object:
        entries: object = read(*arguments)
        archive.write_bytes(archive.read_bytes()[: 1 << 19])
        return entries

    monkeypatch.setattr(module, "read_directory", cut)
    with pytest.raises(UnsafeArchiveError, match="it is cut"):
        extract_archive(archive, to=tmp_path / "out")


# --- any archive


@pytest.mark.parametrize("seed", range(5))
def test_mutated_archives_end_in_success_or_one_error(tmp_path: Path, seed: int) -> None:
    """A short form of ``python -m long.mutated_archives``, which does 10,000."""
    chance = random.Random(seed)
    assert survive(tmp_path, seeds()[seed])
    survived = sum(survive(tmp_path, mutate(chance, seeds()[seed])) for _ in range(125))
    assert survived < 125


def test_what_python_extracts_wrongly_is_refused(tmp_path: Path) -> None:
    """``zipfile`` renames ``..`` without a word, and leaves a file with a wrong checksum behind; this does not."""
    (tmp_path / "a.zip").write_bytes(_named("../evil"))
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        archive.extractall(tmp_path / "python")
    assert (tmp_path / "python" / "evil").exists()
    with pytest.raises(UnsafeArchiveError):
        extract_archive(tmp_path / "a.zip", to=tmp_path / "out")
