"""What an archive may cost, and what an end at any moment leaves behind."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.zip_records import DIRECTORY, Record, built

from cp_thirdparty.artifacts import ArchiveLimits, create_archive, extract_archive
from cp_thirdparty.artifacts._zip_directory import read_directory
from cp_thirdparty.exceptions import UnsafeArchiveError

_MIB = 1 << 20


def _refused(tmp_path: Path, data: bytes, limits: ArchiveLimits) -> UnsafeArchiveError:
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(UnsafeArchiveError) as caught:
        extract_archive(tmp_path / "a.zip", to=tmp_path / "out", limits=limits)
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]
    return caught.value


def test_many_small_bombs_are_one_bomb(tmp_path: Path) -> None:
    """Files that are too small for the limit of one file are counted together."""
    records = [Record(name=b"%d" % number, content=b"\0" * _MIB, method=8) for number in range(3)]
    refused = _refused(tmp_path, built(*records), ArchiveLimits())
    assert (refused.entry, refused.rule) == ("", "packed more than 200 times")
    (tmp_path / "a.zip").write_bytes(built(records[0]))
    assert extract_archive(tmp_path / "a.zip", to=tmp_path / "out").is_dir()


def test_directories_that_only_names_make_are_counted(tmp_path: Path) -> None:
    """An entry with a long name would else make as many directories as the name has parts."""
    records = [Record(name=b"1/2/3/f"), Record(name=b"1/2/g")]
    refused = _refused(tmp_path, built(*records), ArchiveLimits(max_entries=2))
    assert (refused.entry, refused.rule) == ("1/2/3/f", "too many directories that are only part of a name")
    (tmp_path / "a.zip").write_bytes(built(*records))
    extract_archive(tmp_path / "a.zip", to=tmp_path / "out", limits=ArchiveLimits(max_entries=3))


def test_directories_with_entries_count_as_entries(tmp_path: Path) -> None:
    """It does not matter which comes first, the directory or what is in it."""
    directories = [Record(name=b"%d/" % number, content=b"", attributes=DIRECTORY) for number in range(3)]
    files = [Record(name=b"%d/f" % number) for number in range(3)]
    mixed = [record for pair in zip(files, directories, strict=True) for record in pair]
    for number, records in enumerate(([*directories, *files], mixed)):
        (tmp_path / "a.zip").write_bytes(built(*records))
        extract_archive(tmp_path / "a.zip", to=tmp_path / f"{number}", limits=ArchiveLimits(max_entries=6))
    assert len(list(tmp_path.rglob("f"))) == 6


def test_an_archive_that_is_shorter_than_its_size_is_refused() -> None:
    """A file that is cut between the look at its size and the reading is told like any other that is cut."""
    with pytest.raises(UnsafeArchiveError, match=r"^it is cut$"):
        read_directory(io.BytesIO(built(Record())[:-1]), len(built(Record())), ArchiveLimits())


# Writes one piece, tells it, and waits for the signal.
_CHILD = """
import os, sys, time
from pathlib import Path
from cp_thirdparty.artifacts import extract_archive

write = os.write

def told(descriptor, data):
    written = write(descriptor, data)
    print("written", flush=True)
    time.sleep(60)
    return written

os.write = told
extract_archive(Path(sys.argv[1]), to=Path(sys.argv[2]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
@pytest.mark.parametrize(("number", "left"), [(signal.SIGINT, 0), (signal.SIGKILL, 1)], ids=["interrupted", "killed"])
def test_a_process_that_is_ended_leaves_no_part_of_a_directory(tmp_path: Path, number: int, left: int) -> None:
    """Ctrl-C removes what was written; who is killed leaves a hidden neighbour, never a directory that looks whole."""
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "data.bin").write_bytes(b"x" * _MIB)
    create_archive(tmp_path / "source", to=tmp_path / "a.zip")
    command = [sys.executable, "-c", _CHILD, str(tmp_path / "a.zip"), str(tmp_path / "out")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"written\n"
        child.send_signal(number)
        assert child.wait(60) != 0
    assert not (tmp_path / "out").exists()
    assert len(list(tmp_path.glob(".cp-thirdparty-*"))) == left
