"""Extract archives from S3 and archive directories to S3 with `ArtifactStore`."""

from __future__ import annotations

import errno
import io
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.artifact_jobs import artifact, kms_key, open_store
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
def artifact_store(seaweed: Seaweed) -> Iterator[ArtifactStore]:
    """Yield the artifact store of a job with one input and one output."""
    with open_store(
        seaweed.assume_role,
        seaweed.endpoint_url,
        inputs=[artifact("MyApp", "archives/MyApp", bucket=BUCKET)],
        outputs=[artifact("Report", "archives/Report", bucket=BUCKET)],
        encryption_key=kms_key("test-key-1"),
    ) as artifact_store:
        yield artifact_store


def _create_zip(**files: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return buffer.getvalue()


def test_an_input_artifact_is_extracted(artifact_store: ArtifactStore, seaweed: Seaweed, tmp_path: Path) -> None:
    """The store creates the directory and leaves no other file."""
    seaweed.put("archives/MyApp", _create_zip(**{"app/main.py": "print()"}))
    source = artifact_store.extract("MyApp", to=tmp_path / "src")
    assert (source / "app" / "main.py").read_text(encoding="utf-8") == "print()"
    assert list(tmp_path.iterdir()) == [source]


def test_an_existing_directory_is_refused_before_the_download(seaweed: Seaweed, tmp_path: Path) -> None:
    """The store keeps the files of the directory and sends no request to S3, where the object is missing."""
    (tmp_path / "mine.txt").write_text("mine", encoding="utf-8")
    missing = artifact("Missing", "archives/Missing", bucket=BUCKET)
    with open_store(seaweed.assume_role, seaweed.endpoint_url, inputs=[missing]) as artifact_store:
        with pytest.raises(ArtifactNotFoundError):
            artifact_store.extract("Missing", to=tmp_path / "src")
        with pytest.raises(ArtifactError, match="to: must not exist"):
            artifact_store.extract("Missing", to=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_an_unsafe_archive_leaves_nothing(artifact_store: ArtifactStore, seaweed: Seaweed, tmp_path: Path) -> None:
    """If an archive breaks a rule, the store leaves neither the directory nor the downloaded archive."""
    seaweed.put("archives/MyApp", _create_zip(**{"../evil.py": "print()"}))
    with pytest.raises(UnsafeArchiveError):
        artifact_store.extract("MyApp", to=tmp_path / "src")
    assert list(tmp_path.iterdir()) == []


def test_a_large_archive_is_not_downloaded(artifact_store: ArtifactStore, seaweed: Seaweed, tmp_path: Path) -> None:
    """The store refuses an object that is larger than the limit for the total size of its files."""
    seaweed.put("archives/MyApp", _create_zip(a="1" * 1000))
    with pytest.raises(ArtifactTooLargeError, match="input artifact 'MyApp': the object has more than 100 bytes"):
        artifact_store.extract("MyApp", to=tmp_path / "src", limits=ArchiveLimits(max_total_bytes=100))
    assert list(tmp_path.iterdir()) == []


def test_a_directory_is_archived(artifact_store: ArtifactStore, seaweed: Seaweed, tmp_path: Path) -> None:
    """The store uploads the same encrypted archive each time."""
    (tmp_path / "findings.txt").write_text("none", encoding="utf-8")
    progress: list[int] = []
    artifact_store.archive("Report", tmp_path, progress=progress.append)
    first = seaweed.get("archives/Report")
    artifact_store.archive("Report", tmp_path)
    assert seaweed.get("archives/Report")["Body"] == first["Body"]
    assert first["ServerSideEncryption"] == "aws:kms"
    assert sum(progress) == len(first["Body"])
    with zipfile.ZipFile(io.BytesIO(first["Body"])) as archive:
        assert archive.read("findings.txt") == b"none"


def test_options_work_for_archive_and_extract(artifact_store: ArtifactStore, seaweed: Seaweed, tmp_path: Path) -> None:
    """The store takes the same limits and callbacks as the functions without S3; paths may be strings."""
    source = tmp_path / "report"
    source.mkdir()
    (source / "aux.c").write_text("int x;", encoding="utf-8")
    (source / "link").symlink_to("aux.c")
    (source / "outside").symlink_to("/etc")
    skipped: list[ArtifactError] = []
    artifact_store.archive("Report", str(source), on_skip=skipped.append)
    assert [str(error).partition(":")[0] for error in skipped] == ["outside"]
    with pytest.raises(UnsafeArchiveError, match="a name that Windows reserves"):
        artifact_store.archive("Report", source, limits=ArchiveLimits(names="portable"))
    archive = seaweed.get("archives/Report")["Body"]
    seaweed.put("archives/MyApp", archive)
    progress: list[int] = []
    assert artifact_store.size("MyApp") == len(archive)
    tree = artifact_store.extract("MyApp", to=str(tmp_path / "tree"), progress=progress.append)
    assert (tree / "link").read_text(encoding="utf-8") == "int x;"
    assert sum(progress) == len(archive)
    with pytest.raises(UnsafeArchiveError, match="a name that Windows reserves"):
        artifact_store.extract("MyApp", to=tmp_path / "again", limits=ArchiveLimits(names="portable"))
    assert artifact_store.download("MyApp", to=str(tmp_path / "a.zip")) == tmp_path / "a.zip"
    artifact_store.upload("Report", str(tmp_path / "a.zip"))


# Argument -> a call in which it has the wrong type.
_WRONG_TYPES: dict[str, Callable[[ArtifactStore, Any], object]] = {
    "name": lambda artifact_store, wrong: artifact_store.open(wrong),
    "to": lambda artifact_store, wrong: artifact_store.download("MyApp", to=wrong),
    "path": lambda artifact_store, wrong: artifact_store.upload("Report", wrong),
    "directory": lambda artifact_store, wrong: artifact_store.archive("Report", wrong),
    "limits": lambda artifact_store, wrong: artifact_store.extract("MyApp", to="x", limits=wrong),
    "progress": lambda artifact_store, wrong: artifact_store.download("MyApp", to="x", progress=wrong),
    "on_skip": lambda artifact_store, wrong: artifact_store.archive("Report", ".", on_skip=wrong),
}


@pytest.mark.parametrize("argument", _WRONG_TYPES)
def test_an_argument_of_a_wrong_type_is_a_type_error(artifact_store: ArtifactStore, argument: str) -> None:
    """It is not an `ArtifactError`, because a retry cannot help."""
    with pytest.raises(TypeError, match=f"^{argument}: must be "):
        _WRONG_TYPES[argument](artifact_store, 1)


def test_a_missing_parent_directory_is_named(artifact_store: ArtifactStore, tmp_path: Path) -> None:
    """The store checks before the download that the parent of the new directory exists."""
    with pytest.raises(ArtifactFileError, match=r"^No such file or directory: '.*/nowhere'$") as caught:
        artifact_store.extract("MyApp", to=tmp_path / "nowhere" / "src")
    assert (caught.value.errno, caught.value.__context__) == (errno.ENOENT, None)


def test_an_unknown_output_artifact_is_refused(artifact_store: ArtifactStore, tmp_path: Path) -> None:
    """The store checks the name before it archives anything."""
    with pytest.raises(ArtifactNotFoundError, match="it has 'Report'"):
        artifact_store.archive("Rapport", tmp_path / "nowhere")
