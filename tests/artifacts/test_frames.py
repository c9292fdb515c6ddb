"""
No frame of this library holds bytes of a customer's file or a secret when something of `artifacts` raises.

Each error class is provoked, with markers in the content of files and in all credentials.  Then everything is looked at
that a crash reporter can reach: the frames, their callers, causes, contexts, and what their variables refer to.
"""

from __future__ import annotations

import errno
import gc
import os
import zipfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, FunctionType, ModuleType
from typing import Any

import attrs
import pytest
from botocore.config import Config
from support.artifact_jobs import artifact, kms_key
from support.marker_surfaces import ALL_ERROR_SURFACES, reachable_frames
from support.scripted_s3 import Change, ReceivedRequest, Response, ScriptedS3, failed
from support.zip_records import LINK, Record, built, deflated

from cp_thirdparty import ActionTypeId, ArtifactCredentials, ArtifactStore, SecretStr, exceptions
from cp_thirdparty.artifacts import ArchiveLimits, create_archive, extract_archive
from cp_thirdparty.exceptions import (
    AccessDeniedError,
    ArtifactError,
    ArtifactFileError,
    ArtifactNotFoundError,
    ArtifactTooLargeError,
    ArtifactTransferError,
    ClockSkewError,
    CodePipelineJobError,
    CredentialsError,
    ThrottledError,
    UnsafeArchiveError,
)
from cp_thirdparty.testing import LocalCodePipeline

_STEM = "xMARK"
_CONTENT = f"{_STEM}content".encode() * 2000
_CREDENTIALS = ArtifactCredentials(
    access_key_id=f"{_STEM}access", secret_access_key=f"{_STEM}secret", session_token=f"{_STEM}session"
)
_TOKEN = SecretStr(f"{_STEM}client")
_TYPE = ActionTypeId(category="Test", owner="ThirdParty", provider="Scan", version="1")
_BUCKET = "codepipeline-us-east-1-1"

# --- what raises


def _archive(**changes: Any) -> bytes:
    record = attrs.evolve(Record(name=b"f", content=_CONTENT, method=8), **changes)
    return built(Record(name=b"g", content=_CONTENT, extra=b"UT\x05\0xMARK"), record, comment=_STEM.encode())


_ARCHIVES: dict[str, bytes] = {
    "good": _archive(),
    "checksum": _archive(local={"crc": 1}, central={"crc": 1}),
    "size": _archive(local={"size": 9}, central={"size": 9}),
    "larger size": _archive(local={"size": 1 << 20}, central={"size": 1 << 20}),
    "broken deflate": _archive(packed=deflated(_CONTENT)[:20] + b"\xff" * 20),
    "cut deflate": _archive(packed=deflated(_CONTENT)[:-5]),
    "stored checksum": _archive(method=0, local={"crc": 1}, central={"crc": 1}),
    "link": _archive(content=_STEM.encode() * 3 + b"\0", method=0, attributes=LINK),
    "link checksum": _archive(
        content=_STEM.encode() * 3, method=0, attributes=LINK, local={"crc": 1}, central={"crc": 1}
    ),
    "headers": _archive(local={"size": 5}),
    "extra field": _archive(extra=b"\1\0\xff\0xMARK"),
    "central directory": _archive()[:-60] + b"\0" * 60,
    "truncated": _archive()[:-5],
    "no archive": _STEM.encode() * 100,
}


def _full_disk(*_: object) -> int:
    raise OSError(errno.ENOSPC, "No space left on device")


def _interrupt(*_: object) -> int:
    raise KeyboardInterrupt


def _bug(*_: object) -> int:
    raise ZeroDivisionError


def _extract(name: str, write: Callable[..., int] | None = None) -> Callable[[Path], object]:
    def act(path: Path) -> object:
        (path / "a.zip").write_bytes(_ARCHIVES[name])  # in no variable of this frame
        with pytest.MonkeyPatch.context() as context:
            if write is not None:
                context.setattr("os.write", write)
            return extract_archive(path / "a.zip", to=path / "out")

    return act


class _Full(zipfile.ZipFile):
    """A disk that is full when the first file has been read."""

    failure: type[BaseException] | BaseException = OSError(errno.ENOSPC, "No space left on device")

    def open(self, *arguments: Any, **settings: Any) -> Any:
        opened = super().open(*arguments, **settings)
        failure = self.failure

        def write(_: bytes) -> int:
            raise failure

        opened.write = write  # type: ignore[assignment,method-assign]
        return opened


def _create(failure: type[BaseException] | BaseException) -> Callable[[Path], object]:
    def act(path: Path) -> object:
        (path / "source").mkdir()
        (path / "source" / "f").write_bytes(_CONTENT)
        with pytest.MonkeyPatch.context() as context:
            context.setattr("zipfile.ZipFile", type("_Failing", (_Full,), {"failure": failure}))
            return create_archive(path / "source", to=path / "a.zip")

    return act


def _create_with(limits: ArchiveLimits) -> Callable[[Path], object]:
    def act(path: Path) -> object:
        (path / "source").mkdir()
        for name in ("f", "g"):
            (path / "source" / name).write_bytes(_CONTENT)
        return create_archive(path / "source", to=path / "a.zip", limits=limits)

    return act


def _stop(_: object) -> None:
    raise LookupError("stop")


def _progress(path: Path) -> object:
    (path / "a.zip").write_bytes(_archive())
    return extract_archive(path / "a.zip", to=path / "out", progress=_stop)


def _skip(path: Path) -> object:
    (path / "source").mkdir()
    os.mkfifo(path / "source" / "pipe")
    (path / "source" / "f").write_bytes(_CONTENT)
    return create_archive(path / "source", to=path / "a.zip", on_skip=_stop)


def _progress_of_create(path: Path) -> object:
    (path / "source").mkdir()
    (path / "source" / "f").write_bytes(_CONTENT)
    return create_archive(path / "source", to=path / "a.zip", progress=_stop)


# Fault -> the class of the error, and what raises it.
_LOCAL: dict[str, tuple[type[BaseException], Callable[[Path], object]]] = {
    **{name: (UnsafeArchiveError, _extract(name)) for name in _ARCHIVES if name != "good"},
    "full disk": (ArtifactFileError, _extract("good", _full_disk)),
    "interrupt": (KeyboardInterrupt, _extract("good", _interrupt)),
    "a bug": (ZeroDivisionError, _extract("good", _bug)),
    "progress": (LookupError, _progress),
    "create on a full disk": (ArtifactFileError, _create(OSError(errno.ENOSPC, "No space left on device"))),
    "interrupted creation": (KeyboardInterrupt, _create(KeyboardInterrupt)),
    "a bug in a creation": (ZeroDivisionError, _create(ZeroDivisionError)),
    "too large to create": (UnsafeArchiveError, _create_with(ArchiveLimits(max_entry_bytes=100))),
    "too much to create": (UnsafeArchiveError, _create_with(ArchiveLimits(max_total_bytes=len(_CONTENT) + 1))),
    "progress of a creation": (LookupError, _progress_of_create),
    "on_skip": (LookupError, _skip),
}


def _on(method: str, response: Response) -> Change:
    return lambda request, right: response if request.method == method else right


def _garble(request: ReceivedRequest, right: Response) -> Response:
    return right if request.method == "HEAD" else attrs.evolve(right, body=right.body[:-1] + b"?")


def _cut(request: ReceivedRequest, right: Response) -> Response:
    return right if request.method == "HEAD" else attrs.evolve(right, sent=len(right.body) // 2, then="close")


def _long(request: ReceivedRequest, right: Response) -> Response:
    return right if request.method == "HEAD" else Response(status=500, body=_CONTENT * 20)


def _echo(request: ReceivedRequest, _: Response) -> Response:
    return failed("AccessDenied", 403, message=request.headers["x-amz-security-token"])


# Fault -> the class of the error, what S3 holds, and what it sends instead.
_S3: dict[str, tuple[type[BaseException], bytes, Change | None]] = {
    "wrong checksum": (UnsafeArchiveError, _ARCHIVES["checksum"], None),
    "broken deflate": (UnsafeArchiveError, _ARCHIVES["broken deflate"], None),
    "404": (ArtifactNotFoundError, _CONTENT, _on("HEAD", failed("NoSuchKey", 404))),
    "echo": (AccessDeniedError, _CONTENT, _echo),
    "500": (ArtifactTransferError, _CONTENT, _on("GET", failed("InternalError", 500, message=_STEM))),
    "throttled": (ThrottledError, _CONTENT, _on("GET", failed("SlowDown", 503))),
    "clock": (ClockSkewError, _CONTENT, _on("GET", failed("RequestTimeTooSkewed", 403))),
    "expired": (CredentialsError, _CONTENT, _on("GET", failed("ExpiredToken"))),
    "garbled": (ArtifactTransferError, _CONTENT, _garble),
    "cut": (ArtifactTransferError, _CONTENT, _cut),
    "long error": (ArtifactTransferError, _CONTENT, _long),
    "too large": (ArtifactTooLargeError, _CONTENT * 10, None),
}


def _extract_from_s3(store: ArtifactStore, path: Path) -> object:
    return store.extract("MyApp", to=path / "out", limits=ArchiveLimits(max_total_bytes=100_000))


# --- what can be reached


def _is_shown(value: object, seen: set[int], depth: int = 6) -> bool:
    """Whether a marker is in a value, or in what it refers to."""
    if isinstance(value, str):
        return _STEM in value
    if isinstance(value, (bytes, bytearray, memoryview)):
        return _STEM.encode() in bytes(value)
    if depth == 0 or id(value) in seen or isinstance(value, (type, ModuleType, FunctionType, FrameType, SecretStr)):
        return False
    seen.add(id(value))
    return any(_is_shown(each, seen, depth - 1) for each in gc.get_referents(value))


def _find(error: BaseException) -> list[str]:
    """Return the variables of frames of ours, and the attributes of the error, from which a marker can be reached."""
    found = [name for name, surface in ALL_ERROR_SURFACES.items() if _STEM in surface(error)]
    seen: set[int] = set()
    for frame in reachable_frames(error):
        if "/cp_thirdparty/" in frame.f_code.co_filename:
            for name, value in frame.f_locals.items():
                # The store itself has the credentials, which nobody sees without looking into it.
                depth = 0 if isinstance(value, ArtifactStore) else 6
                if _is_shown(value, seen, depth):
                    found.append(f"{frame.f_code.co_name}.{name}")
    found += [name for name, value in vars(error).items() if _is_shown(value, seen)]
    chain = (error.__cause__, error.__context__)
    return [*found, *(f"chained {type(each).__name__}" for each in chain if each is not None)]


@pytest.mark.slow
@pytest.mark.parametrize("fault", _LOCAL)
def test_no_error_of_an_archive_shows_the_file(fault: str, tmp_path: Path) -> None:
    """Neither of extraction nor of creation, nor Ctrl-C, nor a mistake of this library."""
    expected, act = _LOCAL[fault]
    with pytest.raises(expected) as caught:
        act(tmp_path)
    assert type(caught.value) is expected
    assert _find(caught.value) == []


@contextmanager
def _opened(fault: str) -> Generator[ArtifactStore, None, None]:
    with (
        ScriptedS3({f"/{_BUCKET}/MyApp": _S3[fault][1]}, _S3[fault][2]) as s3,
        LocalCodePipeline() as service,
        service.client() as client,
    ):
        service.register_client("client", _TOKEN)
        action = service.start_action(
            _TYPE,
            client_id="client",
            input_artifacts=[artifact("MyApp", "MyApp", bucket=_BUCKET)],
            artifact_credentials=_CREDENTIALS,
            encryption_key=kms_key("test-key-1"),
        )
        details = client.get_third_party_job_details(action.jobs[0].id, client_token=_TOKEN)
        once = Config(proxies={}, retries={"mode": "standard", "total_max_attempts": 1})
        with ArtifactStore.for_job(
            client, details, client_token=_TOKEN, endpoint_url=s3.endpoint_url, config=once
        ) as store:
            yield store


@pytest.mark.slow
@pytest.mark.parametrize("fault", _S3)
def test_no_error_of_a_transfer_shows_the_file_or_a_secret(fault: str, tmp_path: Path) -> None:
    """A damaged object, and every error of S3."""
    with _opened(fault) as store:
        with pytest.raises(CodePipelineJobError) as caught:
            _extract_from_s3(store, tmp_path)
        assert type(caught.value) is _S3[fault][0]
        assert _find(caught.value) == []


def test_every_error_of_artifacts_is_provoked() -> None:
    """A new class needs a row above."""
    provoked = {row[0] for row in (*_LOCAL.values(), *_S3.values())}
    classes = {each for each in vars(exceptions).values() if isinstance(each, type) and issubclass(each, ArtifactError)}
    assert classes - provoked == {ArtifactError}  # the root


def test_the_search_finds_a_marker() -> None:
    """In a variable of a frame of ours, directly and behind another object."""
    for holder in ("data = 'xMARK'", "data = [object(), {1: b'xMARK'}]"):
        source = f"def fail():\n {holder}\n raise ValueError\n"
        scope: dict[str, Any] = {}
        exec(compile(source, "/src/cp_thirdparty/x.py", "exec"), scope)
        with pytest.raises(ValueError) as caught:  # noqa: PT011 - it has no text
            scope["fail"]()
        assert any(name.endswith("data") for name in _find(caught.value))
