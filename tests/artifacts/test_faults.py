"""Each fault of S3 and of what stands between ends in the right bytes or in one typed error, never in a short file."""

from __future__ import annotations

import base64
import hashlib
import io
import itertools
import os
import re
import time
import zipfile
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
from botocore.config import Config
from support.artifact_jobs import artifact, kms_key, open_store
from support.scripted_s3 import Change, ReceivedRequest, Response, ScriptedS3, crc32, etag, failed
from support.slow_rows import slow_pairs

from cp_thirdparty import ArtifactCredentials, ArtifactStore
from cp_thirdparty.artifacts._bounds import Bounds
from cp_thirdparty.artifacts._checksum import find_checksum_fault, read_checksums
from cp_thirdparty.artifacts._place import ObjectLocation
from cp_thirdparty.artifacts._reader import ArtifactReader
from cp_thirdparty.artifacts._responses import Facts
from cp_thirdparty.exceptions import (
    AccessDeniedError,
    ArtifactNotFoundError,
    ArtifactTransferError,
    ClockSkewError,
    CodePipelineJobError,
    CredentialsError,
    ThirdPartyError,
    ThrottledError,
)

_BUCKET = "codepipeline-us-east-1-1"
_PATH = f"/{_BUCKET}/MyApp"
# One that comes at once, and one that comes in two ranges.
_SMALL = bytes(range(256)) * 8
_LARGE = bytes(range(251)) * 34_000
_CREDENTIALS = ArtifactCredentials(access_key_id="ASIAJOB", secret_access_key="secret", session_token="token")
_SMALL_OR_LARGE = [pytest.param(_SMALL, id="small"), pytest.param(_LARGE, id="large", marks=pytest.mark.slow)]

# For the faults that are silences.
_IMPATIENT = 0.3


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let retries follow each other at once."""
    monkeypatch.setattr("cp_thirdparty.artifacts._s3.FIRST_S3_PAUSE", 0.001)


@contextmanager
def _open_store(
    s3: ScriptedS3,
    *,
    key_id: str | None = "test-key-1",
    read_timeout: float = 20.0,
    region_name: str | None = None,
    **bounds: Any,
) -> Generator[ArtifactStore]:
    with open_store(
        _CREDENTIALS,
        s3.endpoint_url,
        inputs=[artifact("MyApp", "MyApp", bucket=_BUCKET)],
        outputs=[artifact("Report", "Report", bucket=_BUCKET)],
        encryption_key=None if key_id is None else kms_key(key_id),
        options={"config": Config(read_timeout=read_timeout, proxies={}), "region_name": region_name, **bounds},
    ) as artifact_store:
        yield artifact_store


def _on(method: str, change: Change, *, times: int | None = None) -> Change:
    """Change the responses to one method: the first few, or all."""
    counter = itertools.count()

    def changed(request: ReceivedRequest, right: Response) -> Response:
        if request.method != method or (times is not None and next(counter) >= times):
            return right
        return change(request, right)

    return changed


def _instead(response: Response) -> Change:
    return lambda _, __: response.with_headers(x_amz_request_id="req-0001")


_PAGE = Response(body=b"<html><body>Please log in</body></html>", headers={"content-type": "text/html"})

_Change = Callable[[ReceivedRequest, Response], Response]


def _cut(_: ReceivedRequest, right: Response) -> Response:
    return attrs.evolve(right, sent=len(right.body) // 2, then="close")


def _stall(_: ReceivedRequest, right: Response) -> Response:
    return attrs.evolve(right, sent=len(right.body) // 2, then="stall")


def _short(_: ReceivedRequest, right: Response) -> Response:
    return attrs.evolve(right, body=right.body[:-1])


def _chunked(_: ReceivedRequest, right: Response) -> Response:
    body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(right.body), right.body)
    return attrs.evolve(right, body=body).with_headers(content_length="-", transfer_encoding="chunked")


def _no_length(_: ReceivedRequest, right: Response) -> Response:
    return attrs.evolve(right, then="close").with_headers(content_length="-")


def _page(_: ReceivedRequest, __: Response) -> Response:
    return _PAGE


def _page_of_its_own(_: ReceivedRequest, __: Response) -> Response:
    return _PAGE.with_headers(x_amz_request_id="req-0001")


def _error_with_200(_: ReceivedRequest, __: Response) -> Response:
    return failed("InternalError", 200).with_headers(x_amz_request_id="req-0001")


def _other_etag(_: ReceivedRequest, right: Response) -> Response:
    return right.with_headers(etag='"another"')


def _no_etag(_: ReceivedRequest, right: Response) -> Response:
    return right.with_headers(etag=None)


def _no_request_id(_: ReceivedRequest, right: Response) -> Response:
    return right.with_headers(x_amz_request_id=None)


def _garbled(_: ReceivedRequest, right: Response) -> Response:
    return attrs.evolve(right, body=right.body[:-1] + b"?")


def _reset(_: ReceivedRequest, right: Response) -> Response:
    return attrs.evolve(right, status=0)


# What may happen once and costs nothing but time.
_PASSING: dict[str, _Change] = {
    "cut": _cut,
    "stall": _stall,
    "page": _page,
    "page with a request id": _page_of_its_own,
    "error body with 200": _error_with_200,
    "no request id": _no_request_id,
    "no length": _no_length,
    "chunked": _chunked,
    "500": _instead(failed("InternalError", 500)),
    "503": _instead(failed("SlowDown", 503)),
    "connection closed": _reset,
}

_WAYS: dict[str, Callable[[ArtifactStore, Path], bytes]] = {
    "download": lambda artifact_store, to: artifact_store.download("MyApp", to=to).read_bytes(),
    "open": lambda artifact_store, _: _read(artifact_store),
}


def _read(artifact_store: ArtifactStore) -> bytes:
    with artifact_store.open("MyApp") as stream:
        return stream.read()


def _fitting(s3: ScriptedS3, fault: str) -> AbstractContextManager[ArtifactStore]:
    return _open_store(s3, read_timeout=_IMPATIENT) if fault == "stall" else _open_store(s3)


@pytest.mark.slow
@pytest.mark.parametrize("way", _WAYS)
@pytest.mark.parametrize("body", _SMALL_OR_LARGE)
@pytest.mark.parametrize("fault", _PASSING)
def test_a_passing_fault_costs_no_byte(fault: str, body: bytes, way: str, tmp_path: Path) -> None:
    """After a fault that passes the bytes are right."""
    with ScriptedS3({_PATH: body}, _on("GET", _PASSING[fault], times=1)) as s3, _fitting(s3, fault) as artifact_store:
        assert _WAYS[way](artifact_store, tmp_path / "MyApp") == body
        assert len(s3.requests) > 2


@pytest.mark.parametrize("fault", _PASSING)
def test_a_read_keeps_no_view_of_its_buffer(fault: str) -> None:
    """After a passing fault the caller's buffer can be resized, which `read()` does on Python 3.15."""
    buffer = bytearray(1024)
    with ScriptedS3({_PATH: _SMALL}, _on("GET", _PASSING[fault], times=1)) as s3, _fitting(s3, fault) as artifact_store:
        with artifact_store.open("MyApp") as stream:
            assert isinstance(stream, io.BufferedReader)
            while stream.raw.readinto(buffer):
                buffer.append(0)
        assert len(s3.requests) > 2


# What stays, and the error that reports it.
_TRANSFER = ArtifactTransferError
_STAYING: dict[str, tuple[str, _Change, type[ThirdPartyError], str]] = {
    "cut": ("GET", _cut, _TRANSFER, "the connection was closed before the end|the connection failed"),
    "stall": ("GET", _stall, _TRANSFER, "no response within the timeout|the connection was closed before the end"),
    "a byte too few": ("GET", _short, _TRANSFER, "not have the size|not send the requested part"),
    "page": ("GET", _page, _TRANSFER, "a response without a request id is not from S3"),
    "page with a request id": ("GET", _page_of_its_own, _TRANSFER, "not about the requested object"),
    "error body with 200": ("GET", _error_with_200, _TRANSFER, "not about the requested object"),
    "no length": ("GET", _no_length, _TRANSFER, "a response without a length cannot be checked"),
    "chunked": ("GET", _chunked, _TRANSFER, "a response without a length cannot be checked"),
    "another object": ("GET", _other_etag, _TRANSFER, "not about the requested object"),
    "replaced": ("GET", _instead(failed("PreconditionFailed", 412)), _TRANSFER, "the object was replaced"),
    "garbled": ("GET", _garbled, _TRANSFER, "the bytes do not have the checksum that S3 reports"),
    "connection closed": ("GET", _reset, _TRANSFER, "closed before a response|the connection failed"),
    "page for HEAD": ("HEAD", _page, _TRANSFER, "a response without a request id is not from S3"),
    "HEAD without ETag": ("HEAD", _no_etag, _TRANSFER, "not about the requested object"),
    "HEAD without length": ("HEAD", _no_length, _TRANSFER, "a response without a length cannot be checked"),
    "500": ("GET", _instead(failed("InternalError", 500)), _TRANSFER, "S3 returned InternalError with status 500"),
    "unknown code": ("GET", _instead(failed("xMARK", 418)), _TRANSFER, "S3 returned status 418"),
    "no code": ("GET", _instead(Response(status=400)), _TRANSFER, "S3 returned status 400"),
    "KMS": ("GET", _instead(failed("KMS.DisabledException")), _TRANSFER, "KMS.DisabledException with status 400"),
    "throttled": ("GET", _instead(failed("SlowDown", 503)), ThrottledError, "GetObject: SlowDown"),
    "gone": ("HEAD", _instead(failed("NoSuchKey", 404)), ArtifactNotFoundError, "S3 has no such object"),
    "gone in between": ("GET", _instead(failed("NoSuchKey", 404)), ArtifactNotFoundError, "S3 has no such object"),
    "denied": ("GET", _instead(failed("AccessDenied", 403)), AccessDeniedError, f"s3:GetObject on .*{_BUCKET}/MyApp"),
    "denied by HEAD": ("HEAD", _instead(failed("AccessDenied", 403)), AccessDeniedError, "allow s3:GetObject"),
    "expired": ("GET", _instead(failed("ExpiredToken")), CredentialsError, "S3 does not accept the credentials"),
    "unknown key": ("GET", _instead(failed("InvalidAccessKeyId", 403)), CredentialsError, "does not accept"),
    "bad signature": ("GET", _instead(failed("SignatureDoesNotMatch", 403)), CredentialsError, "does not accept"),
    "elsewhere": ("GET", _instead(failed("PermanentRedirect", 301)), _TRANSFER, "the bucket is in another region"),
    "elsewhere for now": ("GET", _instead(failed("TemporaryRedirect", 307)), _TRANSFER, "in another region"),
}


@pytest.mark.parametrize("body", _SMALL_OR_LARGE)
@pytest.mark.parametrize(("fault", "way"), slow_pairs(_STAYING, _WAYS))
def test_a_staying_fault_is_one_typed_error(fault: str, body: bytes, way: str, tmp_path: Path) -> None:
    """After a fault that stays there is one error of this library, without a cause, and no file."""
    method, change, expected, text = _STAYING[fault]
    with ScriptedS3({_PATH: body}, _on(method, change)) as s3, _fitting(s3, fault) as artifact_store:
        with pytest.raises(expected, match=text) as caught:
            _WAYS[way](artifact_store, tmp_path / "MyApp")
        assert type(caught.value) is expected
        assert caught.value.is_retry_safe is not None
        assert (caught.value.__cause__, caught.value.__context__) == (None, None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("status", "text"), [(301, "the bucket is in another region"), (302, "status 302"), (307, "in another region")]
)
def test_a_redirect_of_every_request_without_a_region_ends_soon(status: int, text: str, tmp_path: Path) -> None:
    """Botocore would ask for the region of the bucket once more for each response that has none."""
    (tmp_path / "report").write_bytes(b"x")
    redirect = Response(status=status, headers={"location": "http://127.0.0.1:1/"})
    with ScriptedS3(change=lambda *_: redirect) as s3, _open_store(s3) as artifact_store:
        for call in (
            lambda: artifact_store.size("MyApp"),
            lambda: artifact_store.download("MyApp", to=tmp_path / "MyApp"),
            lambda: artifact_store.upload("Report", tmp_path / "report"),
        ):
            s3.requests.clear()
            with pytest.raises(ArtifactTransferError, match=text):
                call()
            assert len(s3.requests) == 2


@pytest.mark.parametrize("way", _WAYS)
def test_wrong_bytes_of_a_large_object_are_one_typed_error(way: str, tmp_path: Path) -> None:
    """The checksum of an object that is transferred in several parts is that of all its bytes."""
    test_a_staying_fault_is_one_typed_error("garbled", _LARGE, way, tmp_path)


# Fault -> operation, status, attempts and safety of a resend, as an error of reading has them.
# botocore sends HEAD twice after 400, because the bucket may be in another region, and three times after 5xx.
_FACTS: dict[str, tuple[Response, str | None, int | None, int | None, bool | None]] = {
    "gone": (failed("NoSuchKey", 404), "HeadObject", 404, 1, False),
    "denied": (failed("AccessDenied", 403), "GetObject", 403, 1, False),
    "expired": (failed("ExpiredToken"), "HeadObject", 400, 2, False),
    "throttled": (failed("SlowDown", 503), "HeadObject", 503, 3, True),
    "500": (failed("InternalError", 500), "HeadObject", 500, 3, True),
    "400": (failed("InvalidRequest", 400), "HeadObject", 400, 2, False),
    "page": (_PAGE, None, None, None, True),
}


_KEY_ARN = "arn:aws-cn:kms:cn-north-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
_REFUSAL = (
    "User: arn:aws-cn:sts::111122223333:assumed-role/Secret/session is not authorized to perform: {} on {} because no "
    "identity-based policy allows the action"
)
# Region, message of S3 -> what must be allowed when reading, and when writing.
_DENIED: dict[str, tuple[str, str, tuple[str, str], tuple[str, str]]] = {
    "S3": (
        "us-east-1",
        "Access Denied",
        ("s3:GetObject", f"arn:aws:s3:::{_BUCKET}/MyApp"),
        ("s3:PutObject", f"arn:aws:s3:::{_BUCKET}/Report"),
    ),
    "S3 in GovCloud": (
        "us-gov-west-1",
        "Access Denied",
        ("s3:GetObject", f"arn:aws-us-gov:s3:::{_BUCKET}/MyApp"),
        ("s3:PutObject", f"arn:aws-us-gov:s3:::{_BUCKET}/Report"),
    ),
    "KMS": (
        "cn-north-1",
        _REFUSAL.format("kms:Decrypt", f"resource: {_KEY_ARN}"),
        ("kms:Decrypt", _KEY_ARN),
        ("kms:Decrypt", _KEY_ARN),
    ),
    "KMS without the action": (
        "us-gov-west-1",
        "The ciphertext refers to a customer master key that does not exist, or you are not allowed to access it.",
        ("kms:Decrypt", "arn:aws-us-gov:kms:*:*:key/*"),
        ("kms:GenerateDataKey", "arn:aws-us-gov:kms:*:*:key/*"),
    ),
    "KMS with an alias": (
        "us-gov-east-1",
        "Access to alias arn:aws-us-gov:kms:us-gov-east-1:111122223333:alias/customer/key denied by Secret",
        ("kms:Decrypt", "arn:aws-us-gov:kms:us-gov-east-1:111122223333:alias/customer/key"),
        ("kms:GenerateDataKey", "arn:aws-us-gov:kms:us-gov-east-1:111122223333:alias/customer/key"),
    ),
    "S3 in China": (
        "cn-northwest-1",
        "User: arn:aws-cn:sts::111122223333:assumed-role/kms-Secret/x is not authorized to perform: s3:GetObject",
        ("s3:GetObject", f"arn:aws-cn:s3:::{_BUCKET}/MyApp"),
        ("s3:PutObject", f"arn:aws-cn:s3:::{_BUCKET}/Report"),
    ),
    "KMS without the key": (
        "cn-north-1",
        _REFUSAL.format("kms:GenerateDataKey", "the resource associated with this ciphertext"),
        ("kms:GenerateDataKey", "arn:aws-cn:kms:*:*:key/*"),
        ("kms:GenerateDataKey", "arn:aws-cn:kms:*:*:key/*"),
    ),
}


@pytest.mark.parametrize("case", _DENIED)
def test_a_refusal_names_the_action_and_the_resource(case: str, tmp_path: Path) -> None:
    """S3 or KMS, in the partition of the region; nothing else of S3's message is kept."""
    region, message, reading, writing = _DENIED[case]
    refusal = failed("AccessDenied", 403, message=message)
    (tmp_path / "report").write_bytes(b"x")
    with (
        ScriptedS3({_PATH: _SMALL}, lambda _, __: refusal) as s3,
        _open_store(s3, region_name=region) as artifact_store,
    ):
        for call, expected in (
            (lambda: artifact_store.download("MyApp", to=tmp_path / "x"), reading),
            (lambda: artifact_store.size("MyApp"), reading),
            (lambda: artifact_store.upload("Report", tmp_path / "report"), writing),
        ):
            with pytest.raises(AccessDeniedError) as caught:
                call()
            assert (caught.value.action, caught.value.resource) == expected
            assert "Secret" not in f"{caught.value} {vars(caught.value)}"


def _job_id(artifact_store: ArtifactStore) -> str:
    return repr(artifact_store).split()[-1].rstrip(">")


@pytest.mark.parametrize("fault", _FACTS)
def test_an_error_of_s3_has_the_facts_of_its_call(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Operation, job, status, attempts and the safety of a resend are on errors of S3 too."""
    monkeypatch.setattr("time.sleep", lambda _: None)
    response, operation_name, status_code, attempts, is_retry_safe = _FACTS[fault]
    with (
        ScriptedS3({_PATH: _SMALL}, lambda _, __: response) as s3,
        _open_store(s3) as artifact_store,
        pytest.raises(CodePipelineJobError) as caught,
    ):
        artifact_store.open("MyApp")
    error = caught.value
    assert (error.operation_name, error.status_code) == (operation_name, status_code)
    assert (error.attempts, error.is_retry_safe) == (attempts, is_retry_safe)
    assert error.job_id == _job_id(artifact_store)


def test_an_artifact_that_the_job_does_not_have_names_the_job() -> None:
    """An error before any call has the job, and nothing of a call."""
    with ScriptedS3() as s3, _open_store(s3) as artifact_store, pytest.raises(ArtifactNotFoundError) as caught:
        artifact_store.open("Nothing")
    assert (caught.value.job_id, caught.value.operation_name, caught.value.attempts) == (
        _job_id(artifact_store),
        None,
        None,
    )


def _whole(_: ReceivedRequest, right: Response) -> Response:
    return attrs.evolve(right, status=200).with_headers(content_range=None)


def _another_part(_: ReceivedRequest, right: Response) -> Response:
    return right.with_headers(content_range=f"bytes 1-{len(right.body)}/{len(_LARGE)}")


def _no_part(_: ReceivedRequest, right: Response) -> Response:
    return right.with_headers(content_range=None)


@pytest.mark.parametrize("way", _WAYS)
@pytest.mark.parametrize("change", [_whole, _another_part, _no_part])
def test_another_part_than_the_asked_one_is_refused(change: Change, way: str, tmp_path: Path) -> None:
    """A response to a range is that range, or an error."""
    with (
        ScriptedS3({_PATH: _LARGE}, _on("GET", change)) as s3,
        _open_store(s3) as artifact_store,
        pytest.raises(ArtifactTransferError, match="S3 did not send the requested part of the object"),
    ):
        _WAYS[way](artifact_store, tmp_path / "x")


def test_a_part_in_place_of_an_object_is_refused(tmp_path: Path) -> None:
    """A response with a part of the object, where all of it was asked for, is an error."""

    def part(_: ReceivedRequest, right: Response) -> Response:
        return attrs.evolve(right, status=206)

    with (
        ScriptedS3({_PATH: _SMALL}, _on("GET", part)) as s3,
        _open_store(s3) as artifact_store,
        pytest.raises(ArtifactTransferError, match="S3 sent a part of the object instead of all of it"),
    ):
        artifact_store.download("MyApp", to=tmp_path / "x")


def test_a_response_that_cannot_be_read_is_one_typed_error(tmp_path: Path) -> None:
    """A response that botocore's parser falls over is reported by the kind of failure."""

    def undated(_: ReceivedRequest, right: Response) -> Response:
        return right.with_headers(last_modified="never")

    with (
        ScriptedS3({_PATH: _SMALL}, _on("HEAD", undated)) as s3,
        _open_store(s3) as artifact_store,
        pytest.raises(ArtifactTransferError, match=r"the response could not be read \([A-Za-z]+Error\)"),
    ):
        artifact_store.download("MyApp", to=tmp_path / "x")


def test_an_object_may_have_no_checksum(tmp_path: Path) -> None:
    """Where S3 sends no checksum the bytes count by their length and ETag."""

    def without(_: ReceivedRequest, right: Response) -> Response:
        return right.with_headers(x_amz_checksum_crc32=None)

    for way in _WAYS.values():
        with ScriptedS3({_PATH: _LARGE}, without) as s3, _open_store(s3) as artifact_store:
            assert way(artifact_store, tmp_path / "x") == _LARGE


def test_a_skewed_clock_is_reported_with_its_offset(tmp_path: Path) -> None:
    """The error of a refused time stamp has the offset of the clock."""
    skewed = failed("RequestTimeTooSkewed", 403, Date="Mon, 01 Jan 2024 00:00:00 GMT")
    with (
        ScriptedS3({_PATH: _SMALL}, _on("GET", _instead(skewed))) as s3,
        _open_store(s3) as artifact_store,
        pytest.raises(ClockSkewError) as caught,
    ):
        artifact_store.download("MyApp", to=tmp_path / "x")
    assert caught.value.offset > 365 * 24 * 3600


@pytest.mark.parametrize("body", _SMALL_OR_LARGE)
def test_a_composite_checksum_is_ignored(body: bytes, tmp_path: Path) -> None:
    """A checksum of checksums of parts is not a reason to refuse the bytes."""

    def composite(_: ReceivedRequest, right: Response) -> Response:
        return right.with_headers(x_amz_checksum_crc32=f"{crc32(b'other')}-2", x_amz_checksum_type="COMPOSITE")

    for way in _WAYS.values():
        with ScriptedS3({_PATH: body}, composite) as s3, _open_store(s3) as artifact_store:
            assert way(artifact_store, tmp_path / "x") == body


def _sha1(body: bytes) -> str:
    return base64.b64encode(hashlib.sha1(body).digest()).decode()


_WRONG = _SMALL[:-1] + b"?"
_NOT_EQUAL = "the bytes do not have the checksum that S3 reports"
_MALFORMED = "the header x-amz-checksum-crc32 is malformed"
_OTHER_TYPE = "not of the type that the response states"
_REPORTED_BEFORE = (
    r"the object does not have the checksum that S3 has reported before with HEAD \(x-amz-checksum-crc32\)$|"
    f"{_NOT_EQUAL}"
)
# Fault -> headers of the response to HEAD, headers of that to GET, and the error that reports it.
_CHECKSUMS: dict[str, tuple[dict[str, str | None], dict[str, str | None], str]] = {
    "none with GET": ({}, {"x_amz_checksum_crc32": None}, _NOT_EQUAL),
    "another algorithm with GET": (
        {},
        {"x_amz_checksum_crc32": None, "x_amz_checksum_sha1": _sha1(_WRONG)},
        _NOT_EQUAL,
    ),
    "another one with GET": ({}, {"x_amz_checksum_crc32": crc32(_WRONG)}, _REPORTED_BEFORE),
    "composite with GET": ({}, {"x_amz_checksum_crc32": f"{crc32(_WRONG)}-2"}, _REPORTED_BEFORE),
    "the second of two": (
        {"x_amz_checksum_crc32": crc32(_WRONG), "x_amz_checksum_sha1": _sha1(_SMALL)},
        {"x_amz_checksum_crc32": crc32(_WRONG)},
        _NOT_EQUAL,
    ),
    "composite of a complete object": (
        {"x_amz_checksum_crc32": f"{crc32(_SMALL)}-2", "x_amz_checksum_type": "FULL_OBJECT"},
        {},
        _OTHER_TYPE,
    ),
    "complete of parts": ({"x_amz_checksum_type": "COMPOSITE"}, {}, _OTHER_TYPE),
    "malformed with HEAD": ({"x_amz_checksum_crc32": "bytes 5-1/9"}, {}, _MALFORMED),
    # S3 sends no checksum with a range, so only `download` gets two.
    "sent twice": ({}, {"X_Amz_Checksum_CRC32": crc32(_SMALL)}, f"{_MALFORMED}|{_NOT_EQUAL}"),
    "malformed with GET": ({}, {"x_amz_checksum_crc32": "bytes 5-1/9"}, _MALFORMED),
}


@pytest.mark.parametrize(("fault", "way"), slow_pairs(_CHECKSUMS, _WAYS))
def test_wrong_bytes_are_refused_whatever_the_checksum_of_the_response_is(fault: str, way: str, tmp_path: Path) -> None:
    """Wrong bytes are refused although their response has no checksum, or one that botocore does not compare."""
    head, get, text = _CHECKSUMS[fault]

    def change(request: ReceivedRequest, right: Response) -> Response:
        if request.method == "HEAD":
            return right.with_headers(**head)
        return _garbled(request, right).with_headers(**get)

    with (
        ScriptedS3({_PATH: _SMALL}, change) as s3,
        _open_store(s3) as artifact_store,
        pytest.raises(ArtifactTransferError, match=text) as caught,
    ):
        _WAYS[way](artifact_store, tmp_path / "MyApp")
    assert caught.value.is_retry_safe is True
    assert list(tmp_path.iterdir()) == []


def test_wrong_bytes_are_refused_by_a_checksum_that_only_the_response_to_get_has(tmp_path: Path) -> None:
    """A download compares the bytes with the checksum that comes with them, too."""

    def change(request: ReceivedRequest, right: Response) -> Response:
        return right.with_headers(x_amz_checksum_crc32=None) if request.method == "HEAD" else _garbled(request, right)

    with (
        ScriptedS3({_PATH: _SMALL}, change) as s3,
        _open_store(s3) as artifact_store,
        pytest.raises(ArtifactTransferError, match=_NOT_EQUAL),
    ):
        artifact_store.download("MyApp", to=tmp_path / "MyApp")


_MALFORMED_VALUES = (
    "x",
    "-1",
    "AAAA==",
    "AAA=",
    "AAAAAB==",
    "AAAAAA==-0",
    "AAAAAA==-1-2",
    "AAAAAA==,AAAAAA==",
    "\xff",
)


@pytest.mark.parametrize("value", _MALFORMED_VALUES)
def test_a_checksum_has_the_form_that_s3_gives_it(value: str) -> None:
    """A checksum is Base64 of as many bytes as its algorithm has, and the number of parts if it is one of parts."""
    checksums = {"x-amz-checksum-crc32": value, "x-amz-checksum-sha1": _sha1(b"")}
    assert find_checksum_fault(checksums, None, is_complete=False) == _MALFORMED


# Headers of the response to HEAD, and of that to GET, of servers that are right but for their form.
_UNUSUAL: dict[str, tuple[dict[str, str | None], dict[str, str | None]]] = {
    "empty": ({"x_amz_checksum_sha256": ""}, {"x_amz_checksum_sha256": ""}),
    "spaces": ({"x_amz_checksum_crc32": f" {crc32(_SMALL)} "}, {}),
    "hexadecimal": ({"x_amz_checksum_md5": "00" * 16}, {"x_amz_checksum_md5": "00" * 16}),
    "number of parts only with GET": ({}, {"x_amz_checksum_crc32": f"{crc32(_SMALL)}-1"}),
}


@pytest.mark.parametrize("case", _UNUSUAL)
def test_an_unusual_form_of_a_checksum_is_accepted(case: str, tmp_path: Path) -> None:
    """Servers that are compatible with S3 write what nobody compares in their own way."""
    head, get = _UNUSUAL[case]

    def change(request: ReceivedRequest, right: Response) -> Response:
        return right.with_headers(**(head if request.method == "HEAD" else get))

    for way in _WAYS.values():
        with ScriptedS3({_PATH: _SMALL}, change) as s3, _open_store(s3) as artifact_store:
            assert way(artifact_store, tmp_path / "MyApp") == _SMALL


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"x-amz-checksum-crc32": "AAAAAA=="}, "AAAAAA==-12"),
        ({"x-amz-checksum-crc32": "AAAAAA==-3"}, "AAAAAA==-3"),
        ({"x-amz-checksum-crc32": "AAAAAA==", "x-amz-checksum-type": "FULL_OBJECT"}, "AAAAAA=="),
        ({"x-amz-checksum-crc64nvme": "AAAAAAAAAAA="}, "AAAAAAAAAAA="),
    ],
)
def test_a_checksum_may_be_that_of_parts_without_their_number(headers: dict[str, str], expected: str) -> None:
    """The ETag has the number, unless S3 states the type, or the algorithm has no checksums of parts."""
    assert list(read_checksums({"etag": '"0123456789abcdef0123456789abcdef-12"', **headers}).values()) == [expected]


@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_a_response_with_a_malformed_checksum_is_asked_for_again(method: str, tmp_path: Path) -> None:
    """A checksum that was damaged on its way costs one more request."""

    def damaged(_: ReceivedRequest, right: Response) -> Response:
        return right.with_headers(x_amz_checksum_crc32="bytes 5-1/9")

    for way in _WAYS.values():
        with ScriptedS3({_PATH: _SMALL}, _on(method, damaged, times=1)) as s3, _open_store(s3) as artifact_store:
            assert way(artifact_store, tmp_path / "MyApp") == _SMALL
            assert [request.method for request in s3.requests].count(method) == 2


@pytest.mark.parametrize("body", [b"", _SMALL])
def test_an_empty_object_is_not_only_reported_by_head(body: bytes, tmp_path: Path) -> None:
    """Some proxies send a response to HEAD with the length 0, and an object may have no checksum."""

    def empty(_: ReceivedRequest, right: Response) -> Response:
        return right.with_headers(content_length="0", x_amz_checksum_crc32=None)

    ways: dict[str, Callable[[ArtifactStore, Path], bytes]] = {
        **_WAYS,
        "size": lambda artifact_store, _: bytes(artifact_store.size("MyApp")),
    }
    for way in ways.values():
        with ScriptedS3({_PATH: body}, _on("HEAD", empty)) as s3, _open_store(s3) as artifact_store:
            if not body:
                assert way(artifact_store, tmp_path / "MyApp") == b""
                continue
            with pytest.raises(ArtifactTransferError, match="the object does not have the size that S3 has reported"):
                way(artifact_store, tmp_path / "x")


def test_a_stream_resumes_after_a_dropped_connection() -> None:
    """After a dropped connection only the rest is asked for, of the same version of the object."""
    with ScriptedS3({_PATH: _LARGE}, _on("GET", _cut, times=1)) as s3, _open_store(s3) as artifact_store:
        assert _read(artifact_store) == _LARGE
    ranges = [request.headers["range"] for request in s3.requests if request.method == "GET"]
    assert ranges == ["bytes=0-", f"bytes={len(_LARGE) // 2}-"]
    assert {request.headers["if-match"] for request in s3.requests if request.method == "GET"} == {etag(_LARGE)}


def test_a_silent_stream_is_not_the_end() -> None:
    """A body that ends early without an error is gone on with, and is an error when it stays so."""
    bodies = [b"", b"by", b"", b"tes"]

    class Silent:
        def get_object(self, **_: object) -> dict[str, object]:
            return {"Body": io.BytesIO(bodies.pop(0))} if bodies else {"Body": io.BytesIO()}

    location = ObjectLocation("input", "MyApp", _BUCKET, "MyApp", "job-1", "aws")
    call = Bounds(deadline=None, clock=time.time, is_cancelled=lambda: False).start()
    assert ArtifactReader(Silent(), location, Facts(5, "etag", {}), call).read() == b"bytes"
    with pytest.raises(ArtifactTransferError, match="the connection was closed before the end"):
        ArtifactReader(Silent(), location, Facts(5, "etag", {}), call).read()


def test_a_truncated_range_is_requested_again_and_uncounted(tmp_path: Path) -> None:
    """After a dropped connection the progress goes back, so that its sum is the size."""
    counted: list[int] = []
    with ScriptedS3({_PATH: _LARGE}, _on("GET", _cut, times=1)) as s3, _open_store(s3) as artifact_store:
        artifact_store.download("MyApp", to=tmp_path / "x", progress=counted.append)
    assert sum(counted) == len(_LARGE)
    assert min(counted) < 0
    assert {request.headers["if-match"] for request in s3.requests if request.method == "GET"} == {etag(_LARGE)}


def test_a_bucket_elsewhere_is_asked_there(tmp_path: Path) -> None:
    """When S3 sends the bucket's region, the requests are signed for that."""

    def elsewhere(request: ReceivedRequest, right: Response) -> Response:
        if "/eu-west-1/s3/aws4_request" in request.headers["authorization"]:
            return right
        moved = failed("PermanentRedirect", 301, x_amz_bucket_region="eu-west-1")
        return moved.with_headers(x_amz_request_id="req-0001")

    with ScriptedS3({_PATH: _SMALL}, elsewhere) as s3, _open_store(s3) as artifact_store:
        assert artifact_store.download("MyApp", to=tmp_path / "x").read_bytes() == _SMALL


@pytest.mark.parametrize("way", _WAYS)
@pytest.mark.parametrize("body", _SMALL_OR_LARGE)
@pytest.mark.parametrize("size", [10**12, 9 << 20])
def test_an_object_of_another_size_is_not_read(size: int, body: bytes, way: str, tmp_path: Path) -> None:
    """The size at the beginning was compared with limits and with the free space of the disk."""

    def resize(request: ReceivedRequest, right: Response) -> Response:
        span = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("range", ""))
        begin, end = (0, size - 1) if span is None else (int(span[1]), min(int(span[2] or size), size - 1))
        resized = attrs.evolve(right, body=b"x", then="stall").with_headers(content_length=str(end - begin + 1))
        return resized if span is None else resized.with_headers(content_range=f"bytes {begin}-{end}/{size}")

    with (
        ScriptedS3({_PATH: body}, _on("GET", resize)) as s3,
        _open_store(s3) as artifact_store,
        pytest.raises(ArtifactTransferError, match="the object does not have the size that S3 has reported") as caught,
    ):
        _WAYS[way](artifact_store, tmp_path / "x")
    assert caught.value.is_retry_safe is True
    assert list(tmp_path.iterdir()) == []


# --- uploads ---------------------------------------------------------------------------------------------------------

_REPORT = f"/{_BUCKET}/Report"
# A file with some bytes, of which the system states that it is empty.
_VERSION = "/proc/version"


def _plain(_: ReceivedRequest, right: Response) -> Response:
    return right.with_headers(x_amz_server_side_encryption="AES256")


def _other_key(_: ReceivedRequest, right: Response) -> Response:
    return right.with_headers(x_amz_server_side_encryption_aws_kms_key_id="arn:aws:kms:us-east-1:1:key/other")


_NOT_STORED: dict[str, tuple[_Change, type[ThirdPartyError], str]] = {
    "no request id": (_no_request_id, _TRANSFER, "a response without a request id is not from S3"),
    "page": (_page, _TRANSFER, "a response without a request id is not from S3"),
    "no ETag": (_no_etag, _TRANSFER, "S3 did not return the ETag of the stored object"),
    "not encrypted": (_plain, _TRANSFER, "S3 did not encrypt with KMS"),
    "another key": (_other_key, _TRANSFER, "S3 did not encrypt with the key of the job"),
    "denied": (_instead(failed("AccessDenied", 403)), AccessDeniedError, f"s3:PutObject on .*{_BUCKET}/Report"),
    "expired": (_instead(failed("ExpiredToken")), CredentialsError, "S3 does not accept the credentials"),
    "bad digest": (_instead(failed("BadDigest")), _TRANSFER, "BadDigest with status 400"),
    "closed": (_reset, _TRANSFER, "closed before a response|the connection failed"),
}


@pytest.mark.parametrize("body", _SMALL_OR_LARGE)
@pytest.mark.parametrize("fault", _NOT_STORED)
def test_an_upload_without_proof_is_one_typed_error(fault: str, body: bytes, tmp_path: Path) -> None:
    """An upload whose response does not show that it is stored and encrypted is an error; parts are removed."""
    path = tmp_path / "report"
    path.write_bytes(body)
    change, expected, text = _NOT_STORED[fault]
    with ScriptedS3(change=_on("PUT", change)) as s3, _open_store(s3) as artifact_store:
        with pytest.raises(expected, match=text) as caught:
            artifact_store.upload("Report", path)
        assert (caught.value.__cause__, caught.value.__context__) == (None, None)
        assert caught.value.is_retry_safe is not None
        assert ("DELETE uploadId" in s3.operations()) == (body is _LARGE)


def test_an_error_with_200_completes_nothing(tmp_path: Path) -> None:
    """S3 may send 200 and then an error: the upload is completed again, or aborted."""
    path = tmp_path / "report"
    path.write_bytes(_LARGE)

    def change(request: ReceivedRequest, right: Response) -> Response:
        return _error_with_200(request, right) if "uploadId" in request.query and request.method == "POST" else right

    with ScriptedS3(change=change) as s3, _open_store(s3) as artifact_store:
        with pytest.raises(ArtifactTransferError, match="S3 returned InternalError"):
            artifact_store.upload("Report", path)
        assert s3.operations()[-1] == "DELETE uploadId"


@pytest.mark.parametrize("key_id", ["test-key-1", "arn:aws:kms:us-east-1:123456789012:key/test-key-1", "alias/a", None])
@pytest.mark.parametrize("body", _SMALL_OR_LARGE)
def test_an_upload_asks_for_encryption(body: bytes, key_id: str | None, tmp_path: Path) -> None:
    """Every upload asks for KMS, with the key of the job when it has one, by id, ARN or alias."""
    path = tmp_path / "report"
    path.write_bytes(body)
    with ScriptedS3() as s3, _open_store(s3, key_id=key_id) as artifact_store:
        artifact_store.upload("Report", path)
    asking = next(request for request in s3.requests if request.method in ("PUT", "POST"))
    assert asking.headers["x-amz-server-side-encryption"] == "aws:kms"
    assert asking.headers.get("x-amz-server-side-encryption-aws-kms-key-id") == key_id
    assert s3.objects[_REPORT] == body
    sent = [request for request in s3.requests if request.method == "PUT"]
    assert [request.headers["x-amz-checksum-crc32"] for request in sent] == [crc32(request.body) for request in sent]


_CHANGED = r"^output artifact 'Report': the file was changed while it was read$"


@pytest.mark.parametrize("size", [2048, 0])
def test_a_file_that_grows_during_the_upload_is_reported(size: int, tmp_path: Path) -> None:
    """S3 has stored only its beginning, which must not become the result of the job."""
    path = tmp_path / "report"
    path.write_bytes(bytes(size))

    def grow(_: ReceivedRequest, right: Response) -> Response:
        with path.open("ab") as file:
            file.write(b"more")
        return right

    with ScriptedS3(change=_on("PUT", grow)) as s3, _open_store(s3) as artifact_store:
        with pytest.raises(ArtifactTransferError, match=_CHANGED) as caught:
            artifact_store.upload("Report", path)
        assert caught.value.is_retry_safe is False


def test_a_file_that_shrinks_during_the_upload_is_reported(tmp_path: Path) -> None:
    """S3 would wait for the rest, and the error would be its timeout."""
    path = tmp_path / "report"
    path.write_bytes(_LARGE)
    with ScriptedS3() as s3, _open_store(s3) as artifact_store:
        with pytest.raises(ArtifactTransferError, match=_CHANGED) as caught:
            artifact_store.upload("Report", path, progress=lambda _: os.truncate(path, 10))
        assert caught.value.is_retry_safe is False


@pytest.mark.skipif(not Path(_VERSION).exists(), reason="the system has no such file")
def test_a_file_that_is_longer_than_its_size_is_not_uploaded_as_an_empty_one() -> None:
    """The system states 0 bytes for a file of /proc."""
    with ScriptedS3() as s3, _open_store(s3) as artifact_store, pytest.raises(ArtifactTransferError, match=_CHANGED):
        artifact_store.upload("Report", _VERSION)


def test_an_archive_that_another_user_replaces_is_not_uploaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who may rename a directory of the user may put another archive at its path before the upload."""
    temporary, source = tmp_path / "temporary", tmp_path / "source"
    temporary.mkdir()
    source.mkdir()
    (source / "mine").write_bytes(b"mine")
    replaced: list[Path] = []

    def replace() -> float:
        for archive in () if replaced else tuple(temporary.glob(".cp-thirdparty-tmp-*/artifact*")):
            replaced.append(archive.parent.rename(temporary / "stolen"))
            archive.parent.mkdir()
            archive.write_bytes(b"of another user")
        return 0.0

    monkeypatch.setattr("tempfile.gettempdir", lambda: str(temporary))
    with ScriptedS3() as s3, _open_store(s3, deadline=100.0, clock=replace) as artifact_store:
        artifact_store.archive("Report", source)
    assert len(replaced) == 1
    with zipfile.ZipFile(io.BytesIO(s3.objects[_REPORT])) as archive:
        assert archive.namelist() == ["mine"]


def test_a_stream_is_one_of_bytes() -> None:
    """An opened artifact can be read in pieces, cannot be written, and can be closed before its end."""
    with ScriptedS3({_PATH: _SMALL}) as s3, _open_store(s3) as artifact_store, artifact_store.open("MyApp") as stream:
        assert isinstance(stream, io.BufferedReader)
        assert stream.read(3) == _SMALL[:3]
        assert (stream.readable(), stream.writable(), stream.seekable()) == (True, False, False)
