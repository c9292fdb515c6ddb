"""Harmless archives, whoever made them, and archives of our own: the same bytes each time, and back again."""

from __future__ import annotations

import hashlib
import importlib
import io
import os
import random
import shutil
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
from support.zip_records import DIRECTORY, EXECUTABLE, LINK, Record, built, deflated, descriptor, end64, zip64

from cp_thirdparty.artifacts import ArchiveLimits, create_archive, extract_archive
from cp_thirdparty.exceptions import ArtifactError, UnsafeArchiveError

_TREE = {
    "README.md": b"# A project\n" * 100,
    "src/main.py": b"print('hello')\n",
    "src/deep/er/data.bin": bytes(range(256)) * 40,
    "empty.txt": b"",
    "name with blanks.txt": b"x",
    "\u00fcmlaut-\u65e5\u672c.txt": b"y",
}


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
    """Each file comes back byte by byte, and what was executable is."""
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
# The layouts of tools that not every machine has, and of rare settings of those that it has.
_LAYOUTS: Mapping[str, tuple[bytes, dict[str, bytes]]] = {
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
    "Unicode path": (
        built(
            Record(
                name=b"#U00fc", extra=b"\x75\x70\x07\0\1" + struct.pack("<L", zlib.crc32(b"#U00fc")) + "\u00fc".encode()
            )
        ),
        {"\u00fc": _TEXT},
    ),
    "Unicode path of another name": (
        built(Record(name=b"plain", extra=b"\x75\x70\x07\0\1\0\0\0\0" + "\u00fc".encode())),
        {"plain": _TEXT},
    ),
}


@pytest.mark.parametrize("layout", _LAYOUTS)
def test_other_layouts_are_extracted(tmp_path: Path, layout: str) -> None:
    """What is harmless is taken, however it is written."""
    data, files = _LAYOUTS[layout]
    (tmp_path / "a.zip").write_bytes(data)
    assert extract_archive(tmp_path / "a.zip", to=tmp_path / "out") == tmp_path / "out"
    assert _files(tmp_path / "out") == files


def test_modes_are_those_of_source_code(tmp_path: Path) -> None:
    """Only the owner's execution bit counts, whatever the mask of the process is."""
    records = [
        Record(name=b"p/q/f"),
        Record(name=b"x", attributes=EXECUTABLE),
        Record(name=b"s", attributes=0o104755 << 16),
        Record(name=b"r", attributes=0o100400 << 16),
    ]
    (tmp_path / "a.zip").write_bytes(built(*records, Record(name=b"d/", content=b"", attributes=DIRECTORY)))
    before = os.umask(0o077)
    try:
        extract_archive(tmp_path / "a.zip", to=tmp_path / "out")
    finally:
        os.umask(before)
    assert [_mode(tmp_path / "out" / name) for name in "xsr"] == [0o755, 0o755, 0o644]
    assert [_mode(tmp_path / "out" / name) for name in ("", "d", "p", "p/q")] == [0o755] * 4


@pytest.mark.parametrize("more", [*range(-2, 3), *range(100, 1300, 100)])
@pytest.mark.parametrize("unit", [b"\0", b"ab"])
def test_what_is_packed_very_tightly_comes_back(tmp_path: Path, unit: bytes, more: int) -> None:
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


def test_links_inside_the_tree_are_made_when_wanted(tmp_path: Path) -> None:
    """They are links, and lead where they did."""
    records = [
        Record(name=b"d/file.txt"),
        Record(name=b"d/l", content=b"../d/file.txt", attributes=LINK),
        Record(name=b"m", content=b"d", attributes=LINK),
    ]
    (tmp_path / "a.zip").write_bytes(built(*records))
    extract_archive(tmp_path / "a.zip", to=tmp_path / "out", symlinks=True)
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
    monkeypatch.setattr(importlib.import_module("cp_thirdparty.artifacts.create"), "_LARGE", 4_000_000)
    (tmp_path / "d").mkdir()
    content = random.Random(1).randbytes(size)
    (tmp_path / "d" / "a").write_bytes(content)
    create_archive(tmp_path / "d", to=tmp_path / "a.zip")
    header = struct.unpack("<4s5H3L2H", (tmp_path / "a.zip").read_bytes()[:30])
    version, method, extra = header[1], header[3], header[10]
    assert (version, method, extra) == expected
    extract_archive(tmp_path / "a.zip", to=tmp_path / "out")
    assert (tmp_path / "out" / "a").read_bytes() == content


def test_an_archive_comes_back(tmp_path: Path) -> None:
    """Files, modes, empty directories and links survive the way there and back."""
    source = _make(tmp_path / "source")
    (source / "void" / "er").mkdir(parents=True)
    (source / "src" / "link").symlink_to("../README.md")
    assert create_archive(source, to=tmp_path / "a.zip") == tmp_path / "a.zip"
    extract_archive(tmp_path / "a.zip", to=tmp_path / "out", symlinks=True)
    assert _files(tmp_path / "out") == _files(source)
    assert (tmp_path / "out" / "void" / "er").is_dir()
    assert (tmp_path / "out" / "src" / "link").readlink() == Path("../README.md")
    assert _mode(tmp_path / "out" / "run.sh") == 0o755
    assert _mode(tmp_path / "a.zip") == 0o644
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert archive.testzip() is None
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


_PARTS = st.text(st.sampled_from("ab\u00e9\u65e5-_ 1"), min_size=1, max_size=6).filter(lambda part: part[-1] != " ")


@given(
    st.dictionaries(
        _PARTS, st.binary(max_size=300) | st.dictionaries(_PARTS, st.binary(max_size=50), max_size=3), max_size=5
    )
)
def test_any_tree_comes_back(tmp_path_factory: pytest.TempPathFactory, tree: dict[str, Any]) -> None:
    """What can be archived is extracted as it was."""
    directory = tmp_path_factory.mktemp("tree")
    source = directory / "source"
    source.mkdir()
    for name, content in tree.items():
        if isinstance(content, bytes):
            (source / name).write_bytes(content)
        else:
            (source / name).mkdir()
            for inner, data in content.items():
                (source / name / inner).write_bytes(data)
    create_archive(source, to=directory / "a.zip")
    extract_archive(directory / "a.zip", to=directory / "out")
    assert _files(directory / "out") == _files(source)
    assert {path.relative_to(source) for path in source.rglob("*")} == {
        path.relative_to(directory / "out") for path in (directory / "out").rglob("*")
    }
    shutil.rmtree(directory)


def _fifo(source: Path) -> None:
    os.mkfifo(source / "fifo")


def _reserved(source: Path) -> None:
    (source / "nul.txt").write_bytes(b"")


def _control(source: Path) -> None:
    (source / "a\nb").write_bytes(b"")


def _no_utf8(source: Path) -> None:
    (source / os.fsdecode(b"a\xff")).write_bytes(b"")


def _twins(source: Path) -> None:
    (source / "a").write_bytes(b"")
    (source / "A").write_bytes(b"")


def _leaving(source: Path) -> None:
    (source / "link").symlink_to("../outside")


def _absolute(source: Path) -> None:
    (source / "link").symlink_to("/etc/passwd")


@pytest.mark.parametrize("make", [_fifo, _reserved, _control, _no_utf8, _twins, _leaving, _absolute])
def test_what_would_not_be_extracted_is_not_archived(tmp_path: Path, make: Callable[[Path], None]) -> None:
    """The error names the entry and the rule, and there is no archive."""
    source = tmp_path / "source"
    source.mkdir()
    make(source)
    with pytest.raises(UnsafeArchiveError) as caught:
        create_archive(source, to=tmp_path / "a.zip")
    assert caught.value.entry
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


@pytest.mark.parametrize("to", ["source/a.zip", "source"])
def test_an_archive_is_not_made_inside_its_directory(tmp_path: Path, to: str) -> None:
    """It would contain itself."""
    (tmp_path / "source").mkdir()
    with pytest.raises(ArtifactError, match="it would be inside the directory"):
        create_archive(tmp_path / "source", to=tmp_path / to)


def test_a_directory_that_is_not_there_is_told(tmp_path: Path) -> None:
    """It is a typed error without a cause."""
    with pytest.raises(ArtifactError, match="FileNotFoundError") as caught:
        create_archive(tmp_path / "no", to=tmp_path / "a.zip")
    assert caught.value.__context__ is None


@pytest.mark.parametrize("change", [b"more", b""])
def test_a_file_that_changes_meanwhile_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: bytes) -> None:
    """There is no archive of half a change."""
    source = _make(tmp_path / "source")
    fstat = os.fstat
    seen: list[int] = []

    def change_then_look(descriptor: int) -> os.stat_result:
        seen.append(descriptor)
        if len(seen) == 2:
            (source / "README.md").write_bytes(change)
        return fstat(descriptor)

    monkeypatch.setattr("os.fstat", change_then_look)
    with pytest.raises(ArtifactError, match=r"^the archive cannot be made: 'README.md' changed while it was read$"):
        create_archive(source, to=tmp_path / "a.zip")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_an_archive_that_is_there_is_replaced(tmp_path: Path) -> None:
    """The old one is there until the new one is whole."""
    (tmp_path / "a.zip").write_bytes(b"old")
    create_archive(_make(tmp_path / "source"), to=tmp_path / "a.zip")
    extract_archive(tmp_path / "a.zip", to=tmp_path / "out", limits=ArchiveLimits(max_entries=100))
