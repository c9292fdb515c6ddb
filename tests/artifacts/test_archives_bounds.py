"""What an archive may cost, and what an end at any moment leaves behind."""

from __future__ import annotations

import errno
import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.zip_records import DIRECTORY, Record, built, descriptor

from cp_thirdparty.artifacts import ArchiveLimits, create_archive, extract_archive
from cp_thirdparty.artifacts import _archive_rules as rules
from cp_thirdparty.artifacts._archive_tree import Tree
from cp_thirdparty.artifacts._staging import Staging
from cp_thirdparty.artifacts._temporary import PrivateDirectory
from cp_thirdparty.artifacts._zip_entries import read_entries
from cp_thirdparty.artifacts._zip_layout import has_descriptor
from cp_thirdparty.exceptions import ArtifactError, ArtifactFileError, UnsafeArchiveError

_MIB = 1 << 20


def _refused(tmp_path: Path, data: bytes, limits: ArchiveLimits) -> UnsafeArchiveError:
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(UnsafeArchiveError) as caught:
        extract_archive(tmp_path / "a.zip", to=tmp_path / "out", limits=limits)
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]
    return caught.value


def test_directories_that_only_names_make_are_counted(tmp_path: Path) -> None:
    """An entry with a long name would else make as many directories as the name has parts."""
    records = [Record(name=b"1/2/3/f"), Record(name=b"1/2/g")]
    refused = _refused(tmp_path, built(*records), ArchiveLimits(max_entries=2))
    assert (refused.entry, refused.rule) == ("1/2/3/f", "too many entries")
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
    """A file that is truncated after its size was read is refused like any other truncated one."""
    with pytest.raises(UnsafeArchiveError, match=r"^a truncated archive"):
        read_entries(io.BytesIO(built(Record())[:-1]), len(built(Record())), ArchiveLimits(), Tree(ArchiveLimits()))


@pytest.mark.parametrize("piece", range(1, 40))
def test_a_descriptor_in_data_is_found_in_pieces(monkeypatch: pytest.MonkeyPatch, piece: int) -> None:
    """Its place in the pieces that are read does not matter, nor do signatures without a descriptor."""
    monkeypatch.setattr("cp_thirdparty.artifacts._zip_layout._CHUNK_SIZE", piece)
    content = b"content" + b"PK\7\10" * 2
    data = b"#" + content + descriptor(content)
    assert has_descriptor(io.BytesIO(data), 1, len(data))
    assert not has_descriptor(io.BytesIO(data), 0, len(data))
    assert not has_descriptor(io.BytesIO(data), 1, len(data) - 5)


def test_each_link_is_followed_once() -> None:
    """A chain of links takes a time that grows with their number, and not with its square; it is not limited to 40."""
    tree = Tree(ArchiveLimits())
    checks: list[None] = []
    for number in range(5000):
        tree.set_target(tree.add(f"{number}", "link"), f"{number + 1}")
    tree.set_target(tree.add("5000", "link"), "../outside")
    broken = tree.find_link_violations(lambda: checks.append(None))
    assert [node.name for node in broken] == [f"{number}" for number in reversed(range(5001))]
    assert set(broken.values()) == {rules.LINK_OUTSIDE, rules.LINK_THROUGH}
    assert len(checks) < 4 * 5001


def test_all_links_to_one_directory_above_are_found_at_once() -> None:
    """`create_archive` searches again after it has left out what was found, so one at a time would be quadratic."""
    tree = Tree(ArchiveLimits())
    targets = {"a/x": "../p/q/r", **{f"p/q/r/{number}": ".." if number % 2 else "../.." for number in range(6)}}
    for name, target in targets.items():
        tree.set_target(tree.add(name, "link"), target)
    broken = tree.find_link_violations(lambda: None)
    assert [node.path for node in broken] == [f"p/q/r/{number}" for number in range(6)]
    assert set(broken.values()) == {rules.LINK_CYCLE}
    for node in broken:
        tree.remove(node)
    assert tree.find_link_violations(lambda: None) == {}


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no FIFOs")
@pytest.mark.parametrize("kind", ["FIFO", "device"])
def test_an_archive_must_be_a_regular_file(tmp_path: Path, kind: str) -> None:
    """A FIFO without a writer would block beyond the deadline, and some devices have no end."""
    archive = Path("/dev/zero") if kind == "device" else tmp_path / "pipe"
    if kind == "FIFO":
        os.mkfifo(archive)
    with pytest.raises(ArtifactFileError, match=f"^Not a regular file: '{archive}'$") as caught:
        extract_archive(archive, to=tmp_path / "out")
    assert (caught.value.errno, caught.value.filename) == (errno.EINVAL, str(archive))
    assert caught.value.__context__ is None


def test_a_directory_that_appears_meanwhile_stays(tmp_path: Path) -> None:
    """Not even an empty directory is replaced."""
    (tmp_path / "a.zip").write_bytes(built(Record()))
    with pytest.raises(ArtifactError, match=r"^to: must not exist$"):
        extract_archive(tmp_path / "a.zip", to=tmp_path / "out", progress=lambda _: (tmp_path / "out").mkdir())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip", "out"]


def test_a_file_system_that_ignores_case_has_no_twins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There, two names that differ in case would be one file, whatever the limits accept."""
    (tmp_path / "a.zip").write_bytes(built(Record(name=b"a"), Record(name=b"A")))
    extract_archive(tmp_path / "a.zip", to=tmp_path / "out")
    monkeypatch.setattr("cp_thirdparty.artifacts._staging.Staging.is_case_insensitive", lambda _: True)
    with pytest.raises(UnsafeArchiveError, match="differs from another one only in case"):
        extract_archive(tmp_path / "a.zip", to=tmp_path / "again")


def test_the_case_of_a_file_system_is_probed(tmp_path: Path) -> None:
    """The file system of the tests distinguishes case if two names that differ in case are two files."""
    (tmp_path / "a").touch()
    with PrivateDirectory(tmp_path) as private:
        assert Staging(private, tmp_path / "out").is_case_insensitive() == (tmp_path / "A").exists()


# Writes one piece, and sends itself a signal. A signal of another process can come just before a call that blocks. The
# call then does not return earlier, and Python has no chance to raise `KeyboardInterrupt`.
_CHILD = """
import os, signal, sys
from pathlib import Path
from cp_thirdparty.artifacts import extract_archive

write = os.write

def write_and_end(descriptor, data):
    write(descriptor, data)
    signal.raise_signal(int(sys.argv[3]))
    sys.exit("the signal did not end the process")

os.write = write_and_end
extract_archive(Path(sys.argv[1]), to=Path(sys.argv[2]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
@pytest.mark.parametrize(("number", "left"), [(signal.SIGINT, 0), (signal.SIGKILL, 1)], ids=["interrupted", "killed"])
def test_a_process_that_is_ended_leaves_no_part_of_a_directory(tmp_path: Path, number: int, left: int) -> None:
    """Ctrl-C removes what was written; a killed process leaves a hidden neighbour, never a complete directory."""
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "data.bin").write_bytes(b"x" * _MIB)
    create_archive(tmp_path / "source", to=tmp_path / "a.zip")
    command = [sys.executable, "-c", _CHILD, str(tmp_path / "a.zip"), str(tmp_path / "out"), str(int(number))]
    child = subprocess.run(command, stderr=subprocess.DEVNULL, timeout=60, check=False)
    assert child.returncode == -number
    assert not (tmp_path / "out").exists()
    assert len(list(tmp_path.glob(".cp-thirdparty-*"))) == left
