"""Download and upload of artifacts with an S3 server, with credentials of a role that may use one bucket."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.artifact_jobs import artifact, kms_key, open_store
from support.seaweedfs import BUCKET, FOREIGN_BUCKET, Seaweed

from cp_thirdparty import ArtifactStore
from cp_thirdparty.exceptions import (
    AccessDeniedError,
    ArtifactNotFoundError,
)

_MIB = 1 << 20
# Sizes around the smallest part that S3 accepts, and around eight parts of 8 MiB.
_SIZES = [
    *(0, 1, 5 * _MIB),
    *(pytest.param(size, marks=pytest.mark.slow) for size in (5 * _MIB - 1, 5 * _MIB + 1)),
    *(pytest.param(64 * _MIB + difference, marks=pytest.mark.slow) for difference in (-1, 0, 1)),
]


def _bytes(size: int) -> bytes:
    """Return bytes of which each MiB is different."""
    block = hashlib.shake_256(b"artifact").digest(min(size, _MIB))
    blocks = (bytes([number]) + block[1:] for number in range(size // _MIB + 1)) if size > _MIB else (block,)
    return b"".join(blocks)[:size]


@pytest.fixture
def artifact_store(seaweed: Seaweed) -> Iterator[ArtifactStore]:
    """Yield the store of a job with two inputs, of which S3 has one, and one output."""
    with open_store(
        seaweed.assume_role(),
        seaweed.endpoint_url,
        inputs=[artifact("MyApp", "demo/MyApp", bucket=BUCKET), artifact("Gone", "demo/gone", bucket=BUCKET)],
        outputs=[artifact("Report", "demo/Report", bucket=BUCKET)],
        encryption_key=kms_key("test-key-1"),
    ) as made:
        yield made


@pytest.mark.parametrize("size", _SIZES)
def test_a_download_has_the_bytes_of_the_object(
    size: int, artifact_store: ArtifactStore, seaweed: Seaweed, tmp_path: Path
) -> None:
    """An object of any size is downloaded as it is, under a KMS key, and its bytes are counted."""
    body = _bytes(size)
    seaweed.put("demo/MyApp", body, ServerSideEncryption="aws:kms", SSEKMSKeyId="test-key-1")
    counted: list[int] = []
    path = artifact_store.download("MyApp", to=tmp_path / "MyApp.zip", progress=counted.append)
    assert path.read_bytes() == body
    assert sum(counted) == size
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("size", _SIZES)
def test_a_stream_has_the_bytes_of_the_object(size: int, artifact_store: ArtifactStore, seaweed: Seaweed) -> None:
    """An object of any size is read as a stream."""
    body = _bytes(size)
    seaweed.put("demo/MyApp", body)
    with artifact_store.open("MyApp") as stream:
        assert stream.read() == body


@pytest.mark.parametrize("size", _SIZES)
def test_an_upload_has_the_bytes_of_the_file(
    size: int, artifact_store: ArtifactStore, seaweed: Seaweed, tmp_path: Path
) -> None:
    """A file of any size is uploaded as it is, encrypted with the key of the job, and its bytes are counted."""
    path = tmp_path / "report.zip"
    path.write_bytes(_bytes(size))
    counted: list[int] = []
    artifact_store.upload("Report", path, progress=counted.append)
    stored = seaweed.get("demo/Report")
    assert stored["Body"] == path.read_bytes()
    assert (stored["ServerSideEncryption"], stored["SSEKMSKeyId"]) == ("aws:kms", "test-key-1")
    assert sum(counted) == size


def test_a_missing_object_is_reported(artifact_store: ArtifactStore, tmp_path: Path) -> None:
    """An object that is not there is an error that names the artifact."""
    with pytest.raises(ArtifactNotFoundError, match="input artifact 'Gone': S3 has no such object"):
        artifact_store.download("Gone", to=tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


def test_a_foreign_bucket_is_refused_by_the_server(seaweed: Seaweed, tmp_path: Path) -> None:
    """What the role may not read or write is an error that names what to allow."""
    path = tmp_path / "x"
    path.write_bytes(b"1")
    with open_store(
        seaweed.assume_role(),
        seaweed.endpoint_url,
        inputs=[artifact("MyApp", "first", bucket=FOREIGN_BUCKET)],
        outputs=[artifact("Report", "first", bucket=FOREIGN_BUCKET)],
        encryption_key=kms_key("test-key-1"),
    ) as artifact_store:
        with pytest.raises(AccessDeniedError, match=f"allow s3:GetObject on arn:aws:s3:::{FOREIGN_BUCKET}/first"):
            artifact_store.download("MyApp", to=tmp_path / "y")
        with pytest.raises(AccessDeniedError, match=f"allow s3:PutObject on arn:aws:s3:::{FOREIGN_BUCKET}/first"):
            artifact_store.upload("Report", path)
