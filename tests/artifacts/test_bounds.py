"""No transfer takes more time, memory or disk than it may, whatever S3 sends."""

from __future__ import annotations

import errno
import itertools
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import attrs
import pytest
from botocore.config import Config
from support.artifact_jobs import TOKEN, artifact, job, open_store
from support.scripted_s3 import Change, ReceivedRequest, Response, ScriptedS3
from support.zip_records import Record, built, deflated

from cp_thirdparty import ArtifactCredentials, ArtifactStore
from cp_thirdparty._core.deadline import WATCHDOG
from cp_thirdparty.artifacts import create_archive, extract_archive
from cp_thirdparty.exceptions import (
    ArtifactError,
    ArtifactFileError,
    ArtifactTooLargeError,
    ArtifactTransferError,
    InvalidRequestError,
)

_BUCKET = "codepipeline-us-east-1-1"
_PATH = f"/{_BUCKET}/MyApp"
_CREDENTIALS = ArtifactCredentials(access_key_id="ASIAJOB", secret_access_key="secret", session_token="token")
_MIB = 1 << 20
_SMALL = b"x" * 100_000
_LARGE = b"x" * (9 * _MIB)
_DEADLINE = r"put artifact '\w+': the deadline of the transfer was reached$"
_CANCELLED = r"put artifact '\w+': the transfer was stopped because the job was cancelled$"


@contextmanager
def _open_store(
    body: bytes, change: Change | None = None, **options: Any
) -> Generator[tuple[ArtifactStore, ScriptedS3], None, None]:
    with (
        ScriptedS3({_PATH: body}, change) as s3,
        open_store(
            _CREDENTIALS,
            s3.endpoint_url,
            inputs=[artifact("MyApp", "MyApp", bucket=_BUCKET)],
            outputs=[artifact("Report", "Report", bucket=_BUCKET)],
            options={"config": Config(proxies={}), **options},
        ) as artifact_store,
    ):
        yield artifact_store, s3


def _without_checksum(_: ReceivedRequest, right: Response) -> Response:
    return right.with_headers(x_amz_checksum_crc32=None)


def _read(artifact_store: ArtifactStore) -> bytes:
    with artifact_store.open("MyApp") as stream:
        return stream.read()


def _upload(artifact_store: ArtifactStore, path: Path, body: bytes) -> None:
    (path / "report").write_bytes(body)
    try:
        artifact_store.upload("Report", path / "report")
    finally:
        (path / "report").unlink()


_WAYS: dict[str, Callable[[ArtifactStore, Path], object]] = {
    "size": lambda artifact_store, _: artifact_store.size("MyApp"),
    "open": lambda artifact_store, _: _read(artifact_store),
    "download": lambda artifact_store, path: artifact_store.download("MyApp", to=path / "x"),
    "extract": lambda artifact_store, path: artifact_store.extract("MyApp", to=path / "x"),
    "upload": lambda artifact_store, path: _upload(artifact_store, path, _SMALL),
    "upload in parts": lambda artifact_store, path: _upload(artifact_store, path, _LARGE),
}


# --- responses that are too long


def _error(request: ReceivedRequest, right: Response) -> Response:
    """Fail with a body of which the rest would never come."""
    if request.method == "HEAD":
        return right
    return Response(status=500, body=b"x" * _MIB, then="stall").with_headers(content_length=str(300 * _MIB))


def _chunked_error(request: ReceivedRequest, right: Response) -> Response:
    if request.method == "HEAD":
        return right
    body = b"100000\r\n" + b"x" * _MIB + b"\r\n"
    return Response(status=403, body=body, then="stall").with_headers(content_length="-", transfer_encoding="chunked")


def _long_headers(_: ReceivedRequest, right: Response) -> Response:
    return right.with_headers(**{f"x_amz_meta_{number}": "x" * 60_000 for number in range(4)})


def _long_document(request: ReceivedRequest, right: Response) -> Response:
    if request.method in ("HEAD", "GET"):
        return _error(request, right)
    return attrs.evolve(right, body=b" " * _MIB, then="stall").with_headers(content_length=str(300 * _MIB))


@pytest.mark.parametrize("way", [way for way in _WAYS if way != "size"])
@pytest.mark.parametrize("change", [_error, _chunked_error, _long_headers, _long_document])
def test_a_response_that_is_too_long_is_not_read(change: Change, way: str, tmp_path: Path) -> None:
    """Errors and documents have less than 256 KiB; the error is ours, and the connection is closed."""
    with _open_store(_SMALL, change) as (artifact_store, s3):
        with pytest.raises(ArtifactTransferError, match=r"a response of S3 is too long$") as caught:
            _WAYS[way](artifact_store, tmp_path)
        assert (caught.value.is_retry_safe, caught.value.__context__) == (False, None)
        # Botocore before 1.36 tries three times.
        assert len([request for request in s3.requests if request.method in ("GET", "PUT", "POST")]) <= 3
    assert list(tmp_path.iterdir()) == []


def test_a_long_object_is_not_a_long_response(tmp_path: Path) -> None:
    """The limit of documents is not that of objects."""
    with _open_store(_LARGE) as (artifact_store, _):
        assert _read(artifact_store) == _LARGE
        assert artifact_store.download("MyApp", to=tmp_path / "x").read_bytes() == _LARGE


def test_no_connection_stays_watched(tmp_path: Path) -> None:
    """When a transfer has ended, nothing keeps its connections open until the deadline."""
    for change in (None, _error, _stall, lambda _, __: Response(status=0)):
        with _open_store(_LARGE, change, deadline=time.time() + (0.3 if change is _stall else 3600)) as (
            artifact_store,
            _,
        ):
            for way in ("open", "download", "upload in parts"):
                with suppress(ArtifactError):
                    _WAYS[way](artifact_store, tmp_path)
        assert WATCHDOG._watches == set()


# --- time


def _stall(_: ReceivedRequest, right: Response) -> Response:
    """Send a half and then nothing, for longer than a test may take."""
    return attrs.evolve(right, sent=len(right.body) // 2, then="stall")


@pytest.mark.parametrize("way", ["open", "download", "extract", "upload", "upload in parts"])
def test_a_transfer_ends_at_its_deadline(way: str, tmp_path: Path) -> None:
    """Although botocore's read timeout starts again with each byte, and each retry."""

    def stall(request: ReceivedRequest, right: Response) -> Response:
        return right if request.method in ("HEAD", "DELETE") else _stall(request, attrs.evolve(right, body=b"x" * 100))

    with _open_store(_SMALL, stall, deadline=time.time() + 0.3) as (artifact_store, _):
        with pytest.raises(ArtifactTransferError, match=_DEADLINE) as caught:
            _WAYS[way](artifact_store, tmp_path)
        assert (caught.value.is_retry_safe, caught.value.__context__) == (False, None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("way", _WAYS)
def test_nothing_is_sent_after_the_deadline(way: str, tmp_path: Path) -> None:
    """A handler that goes on after its time starts no transfer."""
    with _open_store(_SMALL, deadline=time.time() - 1) as (artifact_store, s3):
        with pytest.raises(ArtifactTransferError, match=_DEADLINE):
            _WAYS[way](artifact_store, tmp_path)
        assert s3.requests == []


@pytest.mark.parametrize("way", _WAYS)
def test_nothing_is_sent_for_a_cancelled_job(way: str, tmp_path: Path) -> None:
    """A handler that does not look at ``job.cancelled`` starts no transfer."""
    with _open_store(_SMALL, is_cancelled=lambda: True) as (artifact_store, s3):
        with pytest.raises(ArtifactTransferError, match=_CANCELLED):
            _WAYS[way](artifact_store, tmp_path)
        assert s3.requests == []


@pytest.mark.parametrize("checks", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("way", ["open", "download", "upload in parts"])
def test_a_transfer_ends_when_the_job_is_cancelled(way: str, checks: int, tmp_path: Path) -> None:
    """Also in the middle of an object."""
    asks = itertools.count()
    with (
        _open_store(_LARGE, is_cancelled=lambda: next(asks) > checks) as (artifact_store, _),
        pytest.raises(ArtifactTransferError, match=_CANCELLED),
    ):
        _WAYS[way](artifact_store, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("has_checksum", [True, False])
def test_a_job_may_be_cancelled_while_the_bytes_are_compared(tmp_path: Path, *, has_checksum: bool) -> None:
    """A large object takes seconds, and its file must not appear after the job has ended."""
    received: list[int] = []
    asks = itertools.count()

    def is_cancelled() -> bool:
        return sum(received) == len(_LARGE) and next(asks) >= (5 if has_checksum else 0)

    with (
        _open_store(_LARGE, None if has_checksum else _without_checksum, is_cancelled=is_cancelled) as (
            artifact_store,
            _,
        ),
        pytest.raises(ArtifactTransferError, match=_CANCELLED),
    ):
        artifact_store.download("MyApp", to=tmp_path / "x", progress=received.append)
    assert sum(received) == len(_LARGE)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("is_cancelled", [True, False], ids=["cancelled", "deadline"])
def test_an_upload_that_is_stopped_leaves_no_parts(*, is_cancelled: bool, tmp_path: Path) -> None:
    """The customer would pay for them, and see them nowhere."""
    stopped: list[bool] = []

    def stop(request: ReceivedRequest, right: Response) -> Response:
        if request.method == "PUT":
            stopped.append(True)
            return right if is_cancelled else attrs.evolve(right, then="stall", sent=0)
        return right

    options: dict[str, Any] = {"is_cancelled": lambda: bool(stopped)}
    if not is_cancelled:
        options = {"deadline": time.time() + 2.5}
    with _open_store(_LARGE, stop, **options) as (artifact_store, s3):
        with pytest.raises(ArtifactTransferError):
            _WAYS["upload in parts"](artifact_store, tmp_path)
        assert s3.requests[-1].method == "DELETE"


def test_a_stream_ends_at_the_deadline_between_two_reads() -> None:
    """The time of a stream begins when it is opened."""
    cancelled: list[bool] = []
    with (
        _open_store(_LARGE, is_cancelled=lambda: bool(cancelled)) as (artifact_store, _),
        artifact_store.open("MyApp") as stream,
    ):
        assert stream.read(10) == b"x" * 10
        cancelled.append(True)
        with pytest.raises(ArtifactTransferError, match=_CANCELLED):
            stream.read()


def test_each_transfer_has_an_hour_without_a_deadline() -> None:
    """A job of CodePipeline has one, unless its action type has another timeout."""
    with _open_store(_SMALL) as (artifact_store, _):
        left = artifact_store._bounds.start().seconds_left()
        assert left is not None
        assert 3500 < left <= 3600


@pytest.mark.parametrize("argument", [{"deadline": "soon"}, {"deadline": True}, {"is_cancelled": True}])
def test_wrong_bounds_are_refused(argument: dict[str, Any], tmp_path: Path) -> None:
    """The error names the argument."""
    with job(_CREDENTIALS) as (client, details):
        for function in (
            partial(ArtifactStore.for_job, client, details, client_token=TOKEN),
            partial(extract_archive, tmp_path / "a.zip", to=tmp_path / "x"),
            partial(create_archive, tmp_path, to=tmp_path / "x"),
        ):
            with pytest.raises(TypeError, match=f"^{next(iter(argument))}: must be a .* or None, not (str|bool)$"):
                function(**argument)


@pytest.mark.parametrize("deadline", [float("nan"), float("inf"), -1.0, 10**400])
def test_a_deadline_that_is_not_a_time_is_refused(deadline: float) -> None:
    """A transfer would never end, or end in an error of Python."""
    with (
        job(_CREDENTIALS) as (client, details),
        pytest.raises(InvalidRequestError, match="deadline: must be a time in seconds since 1970"),
    ):
        ArtifactStore.for_job(client, details, client_token=TOKEN, deadline=deadline)


# --- archives, which take time of the processor


def _tree(path: Path) -> Path:
    """Create a tree with a file of three pieces, an empty one, a directory and a link."""
    (path / "tree" / "d" / "e").mkdir(parents=True)
    (path / "tree" / "d" / "large").write_bytes(b"x" * (600 << 10))
    (path / "tree" / "d" / "empty").touch()
    (path / "tree" / "link").symlink_to("d")
    return path / "tree"


def _hollow_archive(path: Path) -> Path:
    """Create an archive whose only entry is a directory that has deflated to two pieces of nothing."""
    packed = b"\0\0\0\xff\xff" * (100 << 10) + deflated(b"")
    path.write_bytes(built(Record(name=b"d/", content=b"", method=8, packed=packed)))
    return path


_LOCAL_WAYS: dict[str, tuple[Callable[[Path, Path], object], Callable[..., object]]] = {
    "create": (lambda path, _: _tree(path), create_archive),
    "extract": (lambda path, to: create_archive(_tree(path), to=to), extract_archive),
    "extract nothing": (lambda _, to: _hollow_archive(to), extract_archive),
}


@pytest.mark.parametrize(("way", "steps"), [("create", 13), ("extract", 25), ("extract nothing", 8)])
def test_local_work_ends_when_the_job_is_cancelled(way: str, steps: int, tmp_path: Path) -> None:
    """Between two entries and between two pieces of one; nothing stays, and there is no other error."""
    prepare, function = _LOCAL_WAYS[way]
    activity = "creation" if way == "create" else "extraction"
    prepare(tmp_path, tmp_path / "a.zip")
    source = tmp_path / ("tree" if way == "create" else "a.zip")
    before = sorted(tmp_path.iterdir())
    for step in range(steps):
        asks = itertools.count()
        with pytest.raises(ArtifactTransferError, match=f"^the {activity} was stopped because the job was") as caught:
            function(source, to=tmp_path / "x", is_cancelled=lambda step=step, asks=asks: next(asks) >= step)
        assert (caught.value.is_retry_safe, caught.value.__context__) == (False, None)
        assert sorted(tmp_path.iterdir()) == before
    with pytest.raises(ArtifactTransferError, match=f"^the deadline of the {activity} was reached$"):
        function(source, to=tmp_path / "x", deadline=time.time() - 1)
    function(source, to=tmp_path / "x", deadline=time.time() + 3600, is_cancelled=lambda: False)


@pytest.mark.parametrize("bound", ["cancelled", "deadline"])
@pytest.mark.parametrize("way", ["extract", "archive"])
def test_a_store_bounds_its_work_on_archives(
    way: str, bound: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The deadline and the cancellation of the job are those of the extraction and of the creation, too."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    (tmp_path / "parent").mkdir()
    create_archive(_tree(tmp_path), to=tmp_path / "a.zip")
    body = (tmp_path / "a.zip").read_bytes()
    is_over: list[bool] = []

    def note(count: int) -> None:
        counted.append(count)
        is_over.extend([True] * (sum(counted) == len(body)))

    counted: list[int] = []
    options: dict[str, Any] = {"is_cancelled": lambda: bool(is_over)}
    if bound == "deadline":
        options = {"deadline": 100.0, "clock": lambda: 200.0 if is_over else 0.0}
    with _open_store(body, _without_checksum, **options) as (artifact_store, s3):  # nothing is compared
        work: Callable[[], object] = partial(
            artifact_store.extract, "MyApp", to=tmp_path / "parent" / "x", progress=note
        )
        if way == "archive":
            is_over.append(True)
            work = partial(artifact_store.archive, "Report", tmp_path / "tree")
        with pytest.raises(ArtifactTransferError, match=r"^the (deadline of the )?(extraction|creation) was"):
            work()
        assert s3.operations() == (["HEAD", "GET"] if way == "extract" else [])
    assert [*(tmp_path / "tmp").iterdir(), *(tmp_path / "parent").iterdir()] == []


# --- sizes


def _huge(request: ReceivedRequest, right: Response) -> Response:
    return right.with_headers(content_length=str(900 << 30)) if request.method == "HEAD" else right


def test_an_object_that_is_too_large_is_not_downloaded(tmp_path: Path) -> None:
    """By default it may have 5 GiB."""
    with _open_store(_SMALL, _huge) as (artifact_store, s3):
        with pytest.raises(ArtifactTooLargeError, match=r"the object has more than 5368709120 bytes$"):
            artifact_store.download("MyApp", to=tmp_path / "x")
        with pytest.raises(ArtifactTooLargeError, match=r"the object has more than 99999 bytes$"):
            artifact_store.download("MyApp", to=tmp_path / "x", max_bytes=len(_SMALL) - 1)
        assert s3.operations() == ["HEAD", "HEAD"]
    with _open_store(_SMALL) as (artifact_store, _):
        assert artifact_store.download("MyApp", to=tmp_path / "x", max_bytes=len(_SMALL)).exists()


@pytest.mark.parametrize("way", ["download", "extract"])
def test_a_full_disk_ends_a_download_before_it_begins(
    way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The size of the object is known, so nothing is downloaded in vain."""
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=len(_SMALL) - 1))
    with _open_store(_SMALL) as (artifact_store, s3):
        with pytest.raises(ArtifactFileError, match=r"^No space left on device: '.*/x'$") as caught:
            _WAYS[way](artifact_store, tmp_path)
        assert caught.value.errno == errno.ENOSPC
        assert s3.operations() == ["HEAD"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("wrong", [0, -1, 1.5, "1", True])
def test_a_wrong_limit_is_refused(wrong: Any, tmp_path: Path) -> None:
    """The error names the argument."""
    with _open_store(_SMALL) as (artifact_store, _), pytest.raises(InvalidRequestError, match=r"^max_bytes: must be "):
        artifact_store.download("MyApp", to=tmp_path / "x", max_bytes=wrong)


# --- endpoints


_ENDPOINTS = {
    "https://minio.example": True,
    "HTTPS://minio.example:9000": True,
    "http://127.0.0.1:9000": True,
    "http://127.8.9.10": True,
    "http://[::1]:9000": True,
    "http://localhost:9000": True,
    "http://s3.localhost": True,
    "http://minio.example": False,
    "HTTP://minio.example": False,
    "http://10.0.0.1:9000": False,
    "http://127.0.0.1.example": False,
    "http://localhost.example": False,
    "http://user@minio.example": False,
    "http://127.0.0.1@minio.example": False,
    "http://[fe80::1]": False,
    "http://0.0.0.0": False,
}


@pytest.mark.parametrize("endpoint_url", _ENDPOINTS)
def test_plain_http_leads_only_to_this_machine(endpoint_url: str) -> None:
    """To another machine, artifacts and credentials would be readable on the way, so that needs an argument."""
    with job(_CREDENTIALS) as (client, details):
        settings: dict[str, Any] = {"client_token": TOKEN, "endpoint_url": endpoint_url}
        if not _ENDPOINTS[endpoint_url]:
            with pytest.raises(InvalidRequestError, match=r"^endpoint_url: must be an https URL; allow_http=True"):
                ArtifactStore.for_job(client, details, **settings)
            settings["allow_http"] = True
        with pytest.MonkeyPatch.context() as context:
            context.setattr("cp_thirdparty.artifacts.store.create_s3", lambda *_, **__: SimpleNamespace(close=list))
            ArtifactStore.for_job(client, details, **settings).close()


@pytest.mark.parametrize("endpoint_url", ["http://[", "ftp://x", "minio:9000", ""])
def test_what_is_not_a_url_is_an_error_of_the_setting(endpoint_url: str) -> None:
    """It is not taken for plain http."""
    with job(_CREDENTIALS) as (client, details), pytest.raises(InvalidRequestError, match=r"^endpoint_url: "):
        ArtifactStore.for_job(client, details, client_token=TOKEN, endpoint_url=endpoint_url)
