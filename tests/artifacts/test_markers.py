"""A planted marker in each secret of a job's artifacts, and each place in which it must not appear."""

from __future__ import annotations

import copy
import http.client
import logging
import pickle
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import cast

import attrs
import pytest
from botocore.config import Config
from opentelemetry.instrumentation.botocore import BotocoreInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from support.artifact_jobs import artifact, kms_key, s3_client
from support.marker_surfaces import ALL_ERROR_SURFACES, catch, reachable, with_locals
from support.scripted_s3 import Change, ReceivedRequest, Response, ScriptedS3, failed

from cp_thirdparty import ActionTypeId, ArtifactCredentials, ArtifactStore, SecretStr
from cp_thirdparty.exceptions import ThirdPartyError
from cp_thirdparty.testing import LocalCodePipeline

_BUCKET = "codepipeline-us-east-1-1"
_PATH = f"/{_BUCKET}/MyApp"
_STEM = "xMARK"
_CREDENTIALS = ArtifactCredentials(
    access_key_id=f"{_STEM}access", secret_access_key=f"{_STEM}secret", session_token=f"{_STEM}/session"
)
_TOKEN = SecretStr(f"{_STEM}client")
_TYPE = ActionTypeId(category="Test", owner="ThirdParty", provider="Scan", version="1")
_LARGE = bytes(range(251)) * 34_000


def _always(response: Response) -> Change:
    return lambda _, __: response


def _echo(request: ReceivedRequest, _: Response) -> Response:
    """Return what was sent, in each place that an error has."""
    token = request.headers["x-amz-security-token"]
    text = f"{request.headers['authorization']} {token}"
    return failed(token, 403, message=text, x_amz_request_id=token)


def _denied(request: ReceivedRequest, _: Response) -> Response:
    return failed("AccessDenied", 403, x_amz_request_id=request.headers["x-amz-security-token"])


def _cut(request: ReceivedRequest, right: Response) -> Response:
    return right if request.method == "HEAD" else Response(status=0)


_CHANGES: dict[str, Change] = {
    "echo": _echo,
    "denied": _denied,
    "expired": _always(failed("ExpiredToken", x_amz_request_id="req-0001")),
    "signature": _always(failed("SignatureDoesNotMatch", 403, message=_STEM, x_amz_request_id="req-0001")),
    "cut": _cut,
    "page": _always(Response(body=_STEM.encode())),
    "404": _always(failed("NoSuchKey", 404, x_amz_request_id="req-0001")),
}

_CALLS: dict[str, Callable[[ArtifactStore, Path], object]] = {
    "download": lambda store, path: store.download("MyApp", to=path / "x"),
    "open": lambda store, _: _read(store),
    "upload": lambda store, path: store.upload("Report", path / "report"),
}


def _read(store: ArtifactStore) -> None:
    with store.open("MyApp") as stream:
        stream.read()


@contextmanager
def _opened(change: Change | None, path: Path) -> Generator[ArtifactStore]:
    (path / "report").write_bytes(_LARGE)
    with ScriptedS3({_PATH: _LARGE}, change) as s3, LocalCodePipeline() as service, service.client() as client:
        service.register_client("client", _TOKEN)
        action = service.start_action(
            _TYPE,
            client_id="client",
            input_artifacts=[artifact("MyApp", "MyApp", bucket=_BUCKET)],
            output_artifacts=[artifact("Report", "Report", bucket=_BUCKET)],
            artifact_credentials=_CREDENTIALS,
            encryption_key=kms_key("test-key-1"),
        )
        details = client.get_third_party_job_details(action.jobs[0].id, client_token=_TOKEN)
        # One attempt each: the faults stay.
        once = Config(proxies={}, retries={"mode": "standard", "total_max_attempts": 1})
        with ArtifactStore.for_job(
            client, details, client_token=_TOKEN, endpoint_url=s3.endpoint_url, config=once
        ) as store:
            yield store


def test_an_error_of_a_stream_does_not_show_its_buffer(tmp_path: Path) -> None:
    """A buffer to read into has what was in memory before, so it is not left for a traceback."""
    with _opened(_cut, tmp_path) as store, store.open("MyApp") as stream:
        with pytest.raises(ThirdPartyError) as caught:
            cast("BufferedReader", stream).raw.readinto(bytearray(_STEM.encode()))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        assert caught.traceback[-1].name == "readinto"
        assert _STEM not in with_locals(caught.value) + reachable(caught.value)


@pytest.mark.parametrize(
    "change",
    [name if name == "echo" else pytest.param(name, marks=pytest.mark.slow) for name in _CHANGES],
)
def test_no_error_shows_a_secret(change: str, tmp_path: Path) -> None:
    """No tool that shows errors finds a marker in any error of any way of moving an artifact."""
    with _opened(_CHANGES[change], tmp_path) as store:
        for call in _CALLS.values():
            with pytest.raises(ThirdPartyError) as caught:
                call(store, tmp_path)
            shown = {name: surface(caught.value) for name, surface in ALL_ERROR_SURFACES.items()}
            assert [name for name, text in shown.items() if _STEM in text] == []


@pytest.mark.slow
def test_no_log_and_no_output_shows_a_secret(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """With DEBUG on everywhere, also in the threads of s3transfer, no log and no output has a marker."""
    caplog.set_level(logging.DEBUG)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        for change in (None, *_CHANGES.values()):
            with _opened(change, tmp_path) as store:
                for call in _CALLS.values():
                    raised = catch(lambda call=call, store=store: call(store, tmp_path))  # type: ignore[misc]
                    assert (raised is None) == (change is None)
    logged = [f"{record.name} {record.getMessage()} {record.__dict__}" for record in caplog.records]
    out = "".join(capfd.readouterr()) + repr([str(warning.message) for warning in warned])
    assert {"botocore.endpoint", "s3transfer.tasks", "s3transfer.futures"} <= {each.name for each in caplog.records}
    assert {each.name for each in caplog.records if str(each.threadName).startswith("ThreadPool")} >= {
        "botocore.auth",
        "botocore.endpoint",
        "s3transfer.tasks",
    }
    assert [text for text in (*logged, out) if _STEM in text] == []


def test_the_debug_level_of_http_client_shows_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """``http.client`` prints all that it sends and receives, but nothing of a transfer of ours."""
    monkeypatch.setattr(http.client.HTTPConnection, "debuglevel", 1)
    for change in (None, _echo):
        with _opened(change, tmp_path) as store:
            for call in _CALLS.values():
                catch(lambda call=call, store=store: call(store, tmp_path))  # type: ignore[misc]
    assert "".join(capfd.readouterr()) == ""


@pytest.mark.slow
def test_opentelemetry_sees_no_secret_of_a_transfer(tmp_path: Path) -> None:
    """The spans of its instrumentation of botocore have the operations of S3, and no marker in any error."""
    spans, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    instrumentor = BotocoreInstrumentor()  # type: ignore[no-untyped-call]
    instrumentor.instrument(tracer_provider=provider)
    try:
        for change in (None, *_CHANGES.values()):
            with _opened(change, tmp_path) as store:
                for call in _CALLS.values():
                    catch(lambda call=call, store=store: call(store, tmp_path))  # type: ignore[misc]
    finally:
        instrumentor.uninstrument()
    shown = [span.to_json() for span in spans.get_finished_spans()]
    assert any("GetObject" in text for text in shown)
    secrets = [secret.get_secret_value() for secret in attrs.asdict(_CREDENTIALS).values()]
    assert [text for text in shown if any(secret in text for secret in secrets)] == []


def test_a_callback_sees_no_secret_in_its_traceback(tmp_path: Path) -> None:
    """What a progress callback raises comes out with its own frames and none of those that hold requests."""

    def stop(_: int) -> None:
        raise ValueError("stopped")

    calls: list[Callable[[ArtifactStore], object]] = [
        lambda store: store.download("MyApp", to=tmp_path / "x", progress=stop),
        lambda store: store.upload("Report", tmp_path / "report", progress=stop),
    ]
    with _opened(None, tmp_path) as store:
        for call in calls:
            with pytest.raises(ValueError, match="stopped") as caught:
                call(store)
            assert caught.traceback[-1].name == "stop"
            assert (caught.value.__cause__, caught.value.__context__) == (None, None)
            assert [name for name, surface in ALL_ERROR_SURFACES.items() if _STEM in surface(caught.value)] == []


def test_ctrl_c_shows_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An interruption comes out of a call without the frames of the call."""

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with _opened(None, tmp_path) as store:
        monkeypatch.setattr(s3_client(store)._endpoint.http_session, "send", interrupt)
        with pytest.raises(KeyboardInterrupt) as caught:
            store.download("MyApp", to=tmp_path / "x")
    assert _STEM not in with_locals(caught.value) + reachable(caught.value)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["report"]


def test_a_store_shows_and_pickles_no_secret(tmp_path: Path) -> None:
    """Neither a store nor what it holds shows a marker, and it refuses to be pickled and copied."""
    with _opened(None, tmp_path) as store:
        assert _STEM not in repr(store) + str(vars(store)) + str(store.inputs)
        for way in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError, match="an ArtifactStore cannot be pickled"):
                way(store)


def test_the_logs_of_others_stay(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """After a call of ours the same loggers log everything for others."""
    caplog.set_level(logging.DEBUG)
    with _opened(None, tmp_path) as store:
        store.download("MyApp", to=tmp_path / "x")
    caplog.clear()
    logging.getLogger("s3transfer.tasks").debug("Executing %s", "a task of another")
    assert caplog.messages == ["Executing a task of another"]
