"""The place of an artifact: untrusted, so checked before anything is sent."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest
from support.artifact_jobs import artifact, open_store
from support.scripted_s3 import ReceivedRequest, Response, ScriptedS3

from cp_thirdparty import Artifact, ArtifactCredentials, ArtifactLocation, ArtifactStore
from cp_thirdparty.exceptions import ArtifactError, ArtifactFileError, ArtifactNotFoundError

_BUCKET = "codepipeline-us-east-1-1"
_CREDENTIALS = ArtifactCredentials(access_key_id="ASIAJOB", secret_access_key="secret", session_token="token")

_CALLS: dict[str, Callable[[ArtifactStore, Path], object]] = {
    "download": lambda artifact_store, path: artifact_store.download("A", to=path),
    "open": lambda artifact_store, _: artifact_store.open("A"),
    "upload": lambda artifact_store, path: artifact_store.upload("A", path),
}


@pytest.mark.slow
@pytest.mark.parametrize("call", _CALLS)
@pytest.mark.parametrize(
    "bucket",
    [
        "",
        "ab",
        "a" * 64,
        "Bucket",
        "a_b",
        "-ab",
        "ab-",
        ".ab",
        "a/b",
        "a\nb",
        "abc\n",
        "a b",
        "abc?x",
        "äbc",
        "bucket--use1-az4--x-s3",
        "point--use1-az4--xa-s3",
        "point-1234567890-s3alias",
        "point-1234567890--ol-s3",
        "point-1234567890--op-s3",
        "mfzwi23gnjvgw.mrap",
        "table--table-s3",
        "a..b",
        "192.168.5.4",
        "arn:aws:s3:us-east-1:123456789012:accesspoint/ap",
        "arn:aws:s3-object-lambda:us-east-1:123456789012:accesspoint/ap",
    ],
)
def test_a_bucket_has_the_name_of_a_bucket(bucket: str, call: str, tmp_path: Path) -> None:
    """What is not a name of a general purpose bucket is refused, and nothing is sent."""
    place = [artifact("A", "key", bucket=bucket)]
    with (
        ScriptedS3() as s3,
        open_store(_CREDENTIALS, s3.endpoint_url, inputs=place, outputs=place) as artifact_store,
        pytest.raises(ArtifactError, match="put artifact 'A': its bucket must have the name"),
    ):
        _CALLS[call](artifact_store, tmp_path / "x")
    assert s3.requests == []


@pytest.mark.parametrize(
    "bucket",
    ["abc", "a" * 63, "a.b-c", "0-9", "1.2.3.4.5", "1.2.3", "s3alias", "x-s3", "codepipeline-us-east-1-123456789012"],
)
def test_a_name_of_a_bucket_is_taken(bucket: str, tmp_path: Path) -> None:
    """Each name that S3 allows is asked for."""
    place = [artifact("A", "key", bucket=bucket)]
    with (
        ScriptedS3({f"/{bucket}/key": b"bytes"}) as s3,
        open_store(_CREDENTIALS, s3.endpoint_url, inputs=place) as artifact_store,
    ):
        assert artifact_store.download("A", to=tmp_path / "x").read_bytes() == b"bytes"


@pytest.mark.parametrize(
    ("key", "rule"),
    [
        ("", "1 to 1,024 bytes"),
        ("k" * 1025, "1 to 1,024 bytes"),
        ("ä" * 513, "1 to 1,024 bytes"),
        ("..", "no segment"),
        ("a/../../other/key", "no segment"),
        ("./a", "no segment"),
    ],
)
def test_a_key_is_one_that_can_be_asked_for(key: str, rule: str, tmp_path: Path) -> None:
    """A key that S3 does not have, or that would be changed on the way, is refused, and nothing is sent."""
    place = [artifact("A", key, bucket=_BUCKET)]
    with (
        ScriptedS3() as s3,
        open_store(_CREDENTIALS, s3.endpoint_url, inputs=place) as artifact_store,
        pytest.raises(ArtifactError, match=rule),
    ):
        artifact_store.download("A", to=tmp_path / "x")
    assert s3.requests == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "key", ["k" * 1024, "a b+c%20d", "/leading", "a//b", "ä/\U0001f600", "...", "a/..b", "a?b#c&d=e", "C:\\x"]
)
def test_any_other_key_is_asked_for_as_it_is(key: str, tmp_path: Path) -> None:
    """A key is neither unquoted nor cleaned, and it names no file here."""
    place = [artifact("A", key, bucket=_BUCKET)]
    with (
        ScriptedS3({f"/{_BUCKET}/{key}": b"bytes"}) as s3,
        open_store(_CREDENTIALS, s3.endpoint_url, inputs=place) as artifact_store,
    ):
        assert artifact_store.download("A", to=tmp_path / "x").read_bytes() == b"bytes"
    assert list(tmp_path.iterdir()) == [tmp_path / "x"]


def test_an_error_reports_which_names_there_are(tmp_path: Path) -> None:
    """A name that the job does not have is returned with those that it has."""
    places = [artifact(name, name, bucket=_BUCKET) for name in ("MyApp", "Lib")]
    with ScriptedS3() as s3, open_store(_CREDENTIALS, s3.endpoint_url, inputs=places) as artifact_store:
        with pytest.raises(ArtifactNotFoundError, match="no input artifact 'Myapp'; it has 'MyApp', 'Lib'"):
            artifact_store.download("Myapp", to=tmp_path / "x")
        with pytest.raises(ArtifactNotFoundError, match="no output artifact 'MyApp'; it has none"):
            artifact_store.upload("MyApp", tmp_path / "x")


def test_an_error_names_ten_of_many_artifacts(tmp_path: Path) -> None:
    """A job may have thousands, with long names."""
    places = [artifact(f"{number}{'x' * 2000}", "key", bucket=_BUCKET) for number in range(12)]
    expected = r"9x+'… \(2,001 characters\) and 2 more$"
    with (
        ScriptedS3() as s3,
        open_store(_CREDENTIALS, s3.endpoint_url, inputs=places) as artifact_store,
        pytest.raises(ArtifactNotFoundError, match=expected) as caught,
    ):
        artifact_store.download("a", to=tmp_path / "x")
    assert len(str(caught.value)) < 11_000


@pytest.mark.parametrize("location", [None, ArtifactLocation()])
def test_an_artifact_may_have_no_place(location: ArtifactLocation | None, tmp_path: Path) -> None:
    """An artifact without a place in S3 is an error that names the reason."""
    nowhere = [Artifact(name="A", location=location)]
    with (
        ScriptedS3() as s3,
        open_store(_CREDENTIALS, s3.endpoint_url, inputs=nowhere) as artifact_store,
        pytest.raises(ArtifactNotFoundError, match="input artifact 'A' has no place in S3"),
    ):
        artifact_store.download("A", to=tmp_path / "x")


def test_the_local_file_is_the_caller_s_business(tmp_path: Path) -> None:
    """A file that cannot be read or written is one typed error with the path of the caller, and nothing is left."""
    place = [artifact("A", "key", bucket=_BUCKET)]
    with (
        ScriptedS3({f"/{_BUCKET}/key": b"bytes"}) as s3,
        open_store(_CREDENTIALS, s3.endpoint_url, inputs=place, outputs=place) as artifact_store,
    ):
        for way, path, number in (
            (lambda path: artifact_store.download("A", to=path), tmp_path / "nowhere" / "x", errno.ENOENT),
            (lambda path: artifact_store.download("A", to=path), tmp_path, errno.EISDIR),
            (lambda path: artifact_store.upload("A", path), tmp_path / "nothing", errno.ENOENT),
        ):
            with pytest.raises(ArtifactFileError) as caught:
                way(path)
            assert (caught.value.errno, caught.value.filename) == (number, str(path))
            assert (caught.value.__cause__, caught.value.__context__) == (None, None)
    assert list(tmp_path.iterdir()) == []


def test_a_file_replaces_another_only_when_complete(tmp_path: Path) -> None:
    """What was there stays until the download is complete."""
    path = tmp_path / "x"
    path.write_bytes(b"before")
    place = [artifact("A", "key", bucket=_BUCKET)]

    def vanish(request: ReceivedRequest, right: Response) -> Response:
        return Response(status=0) if request.method == "GET" and not gone else right

    gone: list[bool] = []
    with (
        ScriptedS3({f"/{_BUCKET}/key": b"after"}, vanish) as s3,
        open_store(_CREDENTIALS, s3.endpoint_url, inputs=place) as artifact_store,
    ):
        with pytest.raises(ArtifactError):
            artifact_store.download("A", to=path)
        assert path.read_bytes() == b"before"
        gone.append(True)
        artifact_store.download("A", to=path)
        assert path.read_bytes() == b"after"
