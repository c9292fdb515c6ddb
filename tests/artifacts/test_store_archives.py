"""Archives in and out of S3: the store's own part, which is to put them where they belong and leave nothing else."""

from __future__ import annotations

import errno
import io
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.artifact_jobs import artifact, kms_key, store
from support.seaweedfs import BUCKET, Seaweed

from cp_thirdparty import ArtifactStore
from cp_thirdparty.artifacts import ArchiveLimits
from cp_thirdparty.exceptions import (
    ArtifactError,
    ArtifactFileError,
    ArtifactNotFoundError,
    ArtifactTooLargeError,
    UnsafeArchiveError,
)


@pytest.fixture
def opened(seaweed: Seaweed) -> Iterator[ArtifactStore]:
    """Give the store of a job with one input and one output."""
    with store(
        seaweed.assume_role,
        seaweed.endpoint_url,
        inputs=[artifact("MyApp", "archives/MyApp", bucket=BUCKET)],
        outputs=[artifact("Report", "archives/Report", bucket=BUCKET)],
        encryption_key=kms_key("test-key-1"),
    ) as made:
        yield made


def _zip(**files: str) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return made.getvalue()


def test_a_source_is_extracted(opened: ArtifactStore, seaweed: Seaweed, tmp_path: Path) -> None:
    """An input artifact becomes a directory, and nothing else stays."""
    seaweed.put("archives/MyApp", _zip(**{"app/main.py": "print()"}))
    source = opened.extract("MyApp", to=tmp_path / "src")
    assert (source / "app" / "main.py").read_text(encoding="utf-8") == "print()"
    assert list(tmp_path.iterdir()) == [source]


def test_a_directory_that_exists_is_refused_before_the_download(seaweed: Seaweed, tmp_path: Path) -> None:
    """What is there stays, and S3, which has no such object, is not asked."""
    (tmp_path / "mine.txt").write_text("mine", encoding="utf-8")
    missing = artifact("Missing", "archives/Missing", bucket=BUCKET)
    with store(seaweed.assume_role, seaweed.endpoint_url, inputs=[missing]) as opened:
        with pytest.raises(ArtifactNotFoundError):
            opened.extract("Missing", to=tmp_path / "src")
        with pytest.raises(ArtifactError, match="to: must not exist"):
            opened.extract("Missing", to=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_an_unsafe_source_leaves_nothing(opened: ArtifactStore, seaweed: Seaweed, tmp_path: Path) -> None:
    """An archive that breaks a rule leaves neither a directory nor itself."""
    seaweed.put("archives/MyApp", _zip(**{"../evil.py": "print()"}))
    with pytest.raises(UnsafeArchiveError):
        opened.extract("MyApp", to=tmp_path / "src")
    assert list(tmp_path.iterdir()) == []


def test_a_source_that_is_too_large_is_not_downloaded(opened: ArtifactStore, seaweed: Seaweed, tmp_path: Path) -> None:
    """An object that is larger than all its files may be is refused by its length."""
    seaweed.put("archives/MyApp", _zip(a="1" * 1000))
    with pytest.raises(ArtifactTooLargeError, match="input artifact 'MyApp': the object has more than 100 bytes"):
        opened.extract("MyApp", to=tmp_path / "src", limits=ArchiveLimits(max_total_bytes=100))
    assert list(tmp_path.iterdir()) == []


def test_a_report_is_archived(opened: ArtifactStore, seaweed: Seaweed, tmp_path: Path) -> None:
    """A directory becomes an output artifact, encrypted, the same bytes each time."""
    (tmp_path / "findings.txt").write_text("none", encoding="utf-8")
    counted: list[int] = []
    opened.archive("Report", tmp_path, progress=counted.append)
    first = seaweed.get("archives/Report")
    opened.archive("Report", tmp_path)
    assert seaweed.get("archives/Report")["Body"] == first["Body"]
    assert first["ServerSideEncryption"] == "aws:kms"
    assert sum(counted) == len(first["Body"])
    with zipfile.ZipFile(io.BytesIO(first["Body"])) as archive:
        assert archive.read("findings.txt") == b"none"


def test_the_options_reach_both_directions(opened: ArtifactStore, seaweed: Seaweed, tmp_path: Path) -> None:
    """The store takes the same limits and callbacks as the functions without S3; paths may be strings."""
    source = tmp_path / "report"
    source.mkdir()
    (source / "aux.c").write_text("int x;", encoding="utf-8")
    (source / "link").symlink_to("aux.c")
    (source / "outside").symlink_to("/etc")
    skipped: list[ArtifactError] = []
    opened.archive("Report", str(source), on_skip=skipped.append)
    assert [str(error).partition(":")[0] for error in skipped] == ["outside"]
    with pytest.raises(UnsafeArchiveError, match="a name that Windows reserves"):
        opened.archive("Report", source, limits=ArchiveLimits(names="portable"))
    packed = seaweed.get("archives/Report")["Body"]
    seaweed.put("archives/MyApp", packed)
    counted: list[int] = []
    assert opened.size("MyApp") == len(packed)
    tree = opened.extract("MyApp", to=str(tmp_path / "tree"), progress=counted.append)
    assert (tree / "link").read_text(encoding="utf-8") == "int x;"
    assert sum(counted) == len(packed)
    with pytest.raises(UnsafeArchiveError, match="a name that Windows reserves"):
        opened.extract("MyApp", to=tmp_path / "again", limits=ArchiveLimits(names="portable"))
    assert opened.download("MyApp", to=str(tmp_path / "a.zip")) == tmp_path / "a.zip"
    opened.upload("Report", str(tmp_path / "a.zip"))


# Argument -> a call in which it has the wrong type.
_WRONG_TYPES: dict[str, Callable[[ArtifactStore, Any], object]] = {
    "name": lambda opened, wrong: opened.open(wrong),
    "to": lambda opened, wrong: opened.download("MyApp", to=wrong),
    "path": lambda opened, wrong: opened.upload("Report", wrong),
    "directory": lambda opened, wrong: opened.archive("Report", wrong),
    "limits": lambda opened, wrong: opened.extract("MyApp", to="x", limits=wrong),
    "progress": lambda opened, wrong: opened.download("MyApp", to="x", progress=wrong),
    "on_skip": lambda opened, wrong: opened.archive("Report", ".", on_skip=wrong),
}


@pytest.mark.parametrize("argument", _WRONG_TYPES)
def test_a_wrong_type_is_a_type_error(opened: ArtifactStore, argument: str) -> None:
    """A mistake of the caller is neither a transfer that failed nor safe to retry."""
    with pytest.raises(TypeError, match=f"^{argument}: must be "):
        _WRONG_TYPES[argument](opened, 1)


def test_a_missing_parent_is_named(opened: ArtifactStore, tmp_path: Path) -> None:
    """The directory for the tree needs a parent, which is checked before the download."""
    with pytest.raises(ArtifactFileError, match=r"^No such file or directory: '.*/nowhere'$") as caught:
        opened.extract("MyApp", to=tmp_path / "nowhere" / "src")
    assert (caught.value.errno, caught.value.__context__) == (errno.ENOENT, None)


def test_a_report_needs_a_name(opened: ArtifactStore, tmp_path: Path) -> None:
    """A name that the job does not have is an error before anything is archived."""
    with pytest.raises(ArtifactNotFoundError, match="it has 'Report'"):
        opened.archive("Rapport", tmp_path / "nowhere")
