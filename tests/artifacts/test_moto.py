"""Moto's S3 in the tests of partners: it sends no request ids, so a documented argument accepts responses without."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from moto import mock_aws
from support.artifact_jobs import artifact, job, kms_key

from cp_thirdparty import ArtifactCredentials, ArtifactStore
from cp_thirdparty.exceptions import ArtifactNotFoundError, ArtifactTransferError

_BUCKET = "customer-bucket"
_KEY = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
_CREDENTIALS = ArtifactCredentials(access_key_id="ASIAJOB", secret_access_key="secret", session_token="token")


@pytest.fixture
def s3() -> Iterator[Any]:
    """Moto's S3 with one bucket that has a source."""
    with mock_aws():
        session = botocore.session.Session()
        session.set_credentials("x", "y")
        client: Any = session.create_client("s3", region_name="us-east-1")
        client.create_bucket(Bucket=_BUCKET)
        source = io.BytesIO()
        with zipfile.ZipFile(source, "w") as archive:
            archive.writestr("app.py", "print()")
        client.put_object(Bucket=_BUCKET, Key="a/Source", Body=source.getvalue())
        yield client
        client.close()


@contextmanager
def _open(**settings: Any) -> Generator[ArtifactStore]:
    with (
        job(
            _CREDENTIALS,
            inputs=[artifact("Source", "a/Source", bucket=_BUCKET), artifact("No", "a/No", bucket=_BUCKET)],
            outputs=[artifact("Report", "a/Report", bucket=_BUCKET)],
            encryption_key=kms_key(_KEY),
        ) as (client, details),
        ArtifactStore.for_job(client, details, client_token="t", region_name="us-east-1", **settings) as store,
    ):
        yield store


@pytest.mark.slow
@pytest.mark.parametrize("size", [1000, 9 << 20])
def test_motos_s3_works_with_an_argument(s3: Any, tmp_path: Path, size: int) -> None:
    """Each method works, with one part and with several; all other checks stay."""
    large = tmp_path / "large"
    large.write_bytes(bytes(range(250)) * (size // 250))
    with _open(is_request_id_required=False) as store:
        tree = store.extract("Source", to=tmp_path / "source")
        assert (tree / "app.py").read_text(encoding="utf-8") == "print()"
        store.archive("Report", tree)
        with zipfile.ZipFile(io.BytesIO(s3.get_object(Bucket=_BUCKET, Key="a/Report")["Body"].read())) as report:
            assert report.namelist() == ["app.py"]
        store.upload("Report", large)
        stored = s3.get_object(Bucket=_BUCKET, Key="a/Report")
        assert (stored["ServerSideEncryption"], stored["SSEKMSKeyId"]) == ("aws:kms", _KEY)
        assert stored["Body"].read() == large.read_bytes()
        s3.put_object(Bucket=_BUCKET, Key="a/Source", Body=large.read_bytes())
        assert store.size("Source") == large.stat().st_size
        assert store.download("Source", to=tmp_path / "a").read_bytes() == large.read_bytes()
        with store.open("Source") as stream:
            assert stream.read() == large.read_bytes()
        with pytest.raises(ArtifactNotFoundError, match=r"^input artifact 'No': S3 has no such object$"):
            store.size("No")


@pytest.mark.usefixtures("s3")
def test_a_request_id_is_required_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page of a proxy has none either."""
    monkeypatch.setattr("time.sleep", lambda _: None)
    with _open() as store, pytest.raises(ArtifactTransferError, match="a request id"):
        store.size("Source")
