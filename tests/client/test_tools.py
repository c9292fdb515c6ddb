"""Test tools and tracers work with created and wrapped clients as they work with botocore's own clients."""

from __future__ import annotations

import json
import socket
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import botocore.session
import freezegun
import pytest
import responses
import time_machine
import vcr  # type: ignore[import-untyped]
from botocore.config import Config
from botocore.exceptions import StubAssertionError
from botocore.stub import Stubber
from moto import mock_aws
from opentelemetry.instrumentation.botocore import BotocoreInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from support.scripted_server import ScriptedServer, error, ok

from cp_thirdparty import ActionTypeId, ThirdPartyJobClient
from cp_thirdparty.enums import Delivery
from cp_thirdparty.exceptions import TransportError, ValidationException

_TYPE = ActionTypeId(category="Test", owner="ThirdParty", provider="p", version="1")
_TOKEN = "xMARKERx/a+b"
_DETAILS = {"jobDetails": {"id": "job-1", "nonce": "3", "data": {}}}


def _session() -> botocore.session.Session:
    session = botocore.session.Session()
    session.set_credentials("AKIDEXAMPLE", "made up")
    return session


def _create(endpoint_url: str | None, **settings: Any) -> ThirdPartyJobClient:
    return ThirdPartyJobClient.create(
        region_name="us-east-1", endpoint_url=endpoint_url, session=_session(), config=_ONE_ATTEMPT, **settings
    )


def _wrap(endpoint_url: str | None, **settings: Any) -> ThirdPartyJobClient:
    raw = _session().create_client(
        "codepipeline", region_name="us-east-1", endpoint_url=endpoint_url, config=_ONE_ATTEMPT
    )
    return ThirdPartyJobClient(raw, **settings)


_ONE_ATTEMPT = Config(proxies={}, retries={"total_max_attempts": 1})
each_client = pytest.mark.parametrize("make", [_create, _wrap], ids=["created", "wrapped"])


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    """Give a server whose response is valid for both a poll and a request for job details."""
    with ScriptedServer(lambda _: ok({"jobs": [], **_DETAILS})) as running:
        yield running


# --- recording and replaying


# vcrpy 8, the newest version for Python 3.10, does not close a recorded connection, also with plain botocore.
@pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning")
@each_client
@pytest.mark.parametrize("is_made_before", [False, True])
def test_vcrpy_records_and_replays(make: Any, server: ScriptedServer, tmp_path: Path, *, is_made_before: bool) -> None:
    """A cassette records a call; to replay the call, no request is sent, and the recorded response is returned."""
    cassette = str(tmp_path / "cassette.yaml")
    for mode in ("once", "none"):
        with ExitStack() as stack:
            client = make(server.endpoint_url) if is_made_before else None
            tape = stack.enter_context(vcr.use_cassette(cassette, record_mode=mode))
            client = client or make(server.endpoint_url)
            assert client.poll_for_third_party_jobs(_TYPE) == ()
            assert (len(tape), len(server.requests)) == (1, 1)


@each_client
def test_a_request_that_is_not_on_the_cassette_was_not_sent(make: Any, server: ScriptedServer, tmp_path: Path) -> None:
    """If vcrpy refuses a request, the error shows that it was not sent, and the client does not resend it."""
    cassette = str(tmp_path / "empty.yaml")
    with vcr.use_cassette(cassette, record_mode="none"), pytest.raises(TransportError) as caught:
        make(server.endpoint_url).poll_for_third_party_jobs(_TYPE)
    assert (caught.value.delivery, caught.value.is_retry_safe, caught.value.attempts) == (Delivery.NOT_SENT, False, 0)
    assert "the request could not be sent (CannotOverwriteExistingCassetteException)" in str(caught.value)
    assert server.requests == []


@each_client
def test_responses_does_not_affect_calls(make: Any, server: ScriptedServer) -> None:
    """The package responses replaces the package requests, which botocore does not use."""
    with responses.RequestsMock(assert_all_requests_are_fired=False):
        assert make(server.endpoint_url).poll_for_third_party_jobs(_TYPE) == ()


# --- stubs


@each_client
def test_moto_raises_its_error_for_an_operation_that_it_lacks(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client raises moto's NotImplementedError unchanged, with moto's frames in the traceback."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "made up")
    with mock_aws(), pytest.raises(NotImplementedError) as caught:
        make(None).poll_for_third_party_jobs(_TYPE)
    modules = [frame.frame.f_globals["__name__"].partition(".")[0] for frame in caught.traceback]
    assert "moto" in modules
    assert "botocore" not in modules


@each_client
def test_other_parameters_than_a_stub_expects_are_an_error(make: Any) -> None:
    """The client raises the error of `Stubber` unchanged."""
    client = make("http://127.0.0.1:9")
    with Stubber(client._client) as stub:
        stub.add_response("get_third_party_job_details", {}, {"jobId": "another", "clientToken": "t"})
        with pytest.raises(StubAssertionError, match="Expected parameters"):
            client.get_third_party_job_details("job-1", client_token=_TOKEN)


# --- frozen clocks

_FREEZE: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "freezegun": lambda: freezegun.freeze_time("2020-01-01"),
    "time-machine": lambda: time_machine.travel(0, tick=False),
}


@each_client
@pytest.mark.parametrize("tool", _FREEZE)
def test_a_call_works_with_a_frozen_clock(tool: str, make: Any, server: ScriptedServer) -> None:
    """A call returns its result although a tool has frozen the clock."""
    client = make(server.endpoint_url)
    with _FREEZE[tool]():
        assert client.poll_for_third_party_jobs(_TYPE) == ()


@each_client
@pytest.mark.parametrize("tool", _FREEZE)
def test_a_deadline_is_reached_with_a_frozen_clock(tool: str, make: Any) -> None:
    """A call to a peer that never responds ends at its deadline, although a tool has frozen the clock."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = make(f"http://127.0.0.1:{silent.getsockname()[1]}", deadline=0.5)
        begin = time.perf_counter()
        with _FREEZE[tool](), pytest.raises(TransportError, match="no response before the deadline"):
            client.poll_for_third_party_jobs(_TYPE)
    assert time.perf_counter() - begin < 50


# --- tracers


@pytest.fixture
def tracer() -> Iterator[tuple[BotocoreInstrumentor, TracerProvider, InMemorySpanExporter]]:
    """Give OpenTelemetry's instrumentation of botocore, its provider, and the collected spans."""
    spans, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    instrumentor = BotocoreInstrumentor()  # type: ignore[no-untyped-call]
    yield instrumentor, provider, spans
    instrumentor.uninstrument()


@each_client
def test_opentelemetry_sees_what_botocore_parsed(make: Any, server: ScriptedServer, tracer: Any) -> None:
    """The response hook gets only the members that CodePipeline sends, and nothing that this library adds."""
    seen: list[Any] = []
    instrumentor, provider, _ = tracer
    instrumentor.instrument(tracer_provider=provider, response_hook=lambda *arguments: seen.append(arguments[-1]))
    make(server.endpoint_url).get_third_party_job_details("job-1", client_token=_TOKEN)
    (result,) = seen
    assert result["jobDetails"] == _DETAILS["jobDetails"]
    assert set(result) == {"jobDetails", "ResponseMetadata"}


@each_client
def test_opentelemetry_sees_no_secret_in_an_error(make: Any, tracer: Any) -> None:
    """If the service repeats a client token in its error message, the token is not in OpenTelemetry's span."""
    instrumentor, provider, spans = tracer
    instrumentor.instrument(tracer_provider=provider)
    echo = json.dumps(_TOKEN).replace("/", "\\/")
    refusal = error("ValidationException", f"{_TOKEN} {echo}")
    with ScriptedServer(lambda _: refusal) as server, pytest.raises(ValidationException):
        make(server.endpoint_url).get_third_party_job_details("job-1", client_token=_TOKEN)
    (span,) = spans.get_finished_spans()
    assert "ValidationException" in span.to_json()
    assert "MARKER" not in span.to_json()


@each_client
def test_an_exception_of_an_opentelemetry_hook_is_raised_unchanged(
    make: Any, server: ScriptedServer, tracer: Any
) -> None:
    """The client raises the exception of a request hook unchanged, with the hook's frame in the traceback."""

    def bug(*_: object) -> None:
        raise LookupError("bug")

    instrumentor, provider, _ = tracer
    instrumentor.instrument(tracer_provider=provider, request_hook=bug)
    with pytest.raises(LookupError, match="bug") as caught:
        make(server.endpoint_url).poll_for_third_party_jobs(_TYPE)
    assert traceback.extract_tb(caught.value.__traceback__)[-1].name == "bug"
    assert server.requests == []


@each_client
def test_a_wrapper_of_all_calls_sees_them(make: Any, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tracer that replaces `_make_api_call` gets the result of each call, or an error without secrets."""
    from botocore.client import BaseClient  # noqa: PLC0415 - only this test needs it

    seen: list[Any] = []
    original = BaseClient._make_api_call  # type: ignore[attr-defined]

    def call(self: Any, operation_name: str, parameters: Any) -> Any:
        try:
            seen.append(original(self, operation_name, parameters))
        except Exception as failure:
            seen.append(failure)
            raise
        return seen[-1]

    monkeypatch.setattr(BaseClient, "_make_api_call", call)
    make(server.endpoint_url).get_third_party_job_details("job-1", client_token=_TOKEN)
    refusal = error("ValidationException", _TOKEN)
    with ScriptedServer(lambda _: refusal) as refusing, pytest.raises(ValidationException):
        make(refusing.endpoint_url).get_third_party_job_details("job-1", client_token=_TOKEN)
    assert seen[0]["jobDetails"] == _DETAILS["jobDetails"]
    assert "MARKER" not in str(seen[1]) + repr(seen[1].response)
