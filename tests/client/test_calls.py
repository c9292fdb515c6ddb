"""A complete call: its facts, its time, its log, its process, and a wrapped client that others use too."""

from __future__ import annotations

import logging
import logging.config
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import attrs
import pytest
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from botocore.stub import Stubber
from support import both_clients as both
from support.scripted_server import Response, ScriptedServer, error, ok

from cp_thirdparty import ActionTypeId, ThirdPartyJobClient, exceptions
from cp_thirdparty._core import events, guard, operations
from cp_thirdparty._core.call import CURRENT, Call, now
from cp_thirdparty._core.send import send_request
from cp_thirdparty.telemetry import CallRecord

_ACTION_TYPE = ActionTypeId(category="Test", owner="ThirdParty", provider="p", version="1")
_WIRE_TYPE = {"category": "Test", "owner": "ThirdParty", "provider": "p", "version": "1"}
_MARKER = "xMARKERx"
_LEAKING = tuple(f"botocore.{name}" for name in ("endpoint", "parsers", "auth", "httpsession", "retryhandler"))


def _session(kind: str = "blocking") -> Any:
    return both.session(kind, "AKIDEXAMPLE", "example", _MARKER)


def _client(endpoint_url: str, *, kind: str = "blocking", attempts: int = 1, **settings: Any) -> ThirdPartyJobClient:
    return both.create(
        kind,
        region_name="us-east-1",
        endpoint_url=endpoint_url,
        session=_session(kind),
        config=Config(retries={"mode": "standard", "total_max_attempts": attempts}),
        **settings,
    )


def _raw(endpoint_url: str, **settings: Any) -> Any:
    return _session().create_client("codepipeline", region_name="us-east-1", endpoint_url=endpoint_url, **settings)


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    """Give a server whose polls bring no job."""
    with ScriptedServer(lambda _: ok({"jobs": []})) as running:
        yield running


@pytest.fixture
def debug(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """Collect every record of every logger."""
    caplog.set_level(logging.DEBUG)
    return caplog


def _text(caplog: pytest.LogCaptureFixture) -> str:
    return "".join(f"{record.getMessage()} {record.__dict__}" for record in caplog.records)


# --- facts -----------------------------------------------------------------------------------------------------------


@both.each_kind
def test_each_call_reports_its_facts(kind: str, server: ScriptedServer, debug: pytest.LogCaptureFixture) -> None:
    """The hook and one DEBUG record get operation, job, status, request id, attempts and time."""
    records: list[CallRecord] = []
    _client(server.endpoint_url, kind=kind, on_call=records.append).poll_for_third_party_jobs(_ACTION_TYPE)
    (record,) = records
    facts = (record.operation_name, record.job_id, record.status_code, record.request_id, record.attempts, record.error)
    assert facts == ("PollForThirdPartyJobs", None, 200, "req-0001", 1, None)
    assert record.seconds > 0
    (line,) = [each.getMessage() for each in debug.records if each.name == "cp_thirdparty"]
    assert line.startswith("PollForThirdPartyJobs job=None status=200 request=req-0001 attempts=1 ")
    assert line.endswith(" ms")


@both.each_kind
def test_a_failed_call_reports_its_facts(kind: str) -> None:
    """The record of a call that ends in an error names it."""
    records: list[CallRecord] = []
    with ScriptedServer(lambda _: error("JobNotFoundException")) as server:
        client = _client(server.endpoint_url, kind=kind, on_call=records.append)
        with pytest.raises(exceptions.JobNotFoundException):
            client.get_third_party_job_details("job-1", client_token="t")
    (record,) = records
    assert (record.job_id, record.status_code, record.request_id, record.error) == (
        "job-1",
        400,
        "req-0001",
        "JobNotFoundException",
    )


@both.each_kind
def test_a_refused_call_reports_nothing(kind: str, server: ScriptedServer) -> None:
    """What was not sent is not a call."""
    records: list[CallRecord] = []
    with pytest.raises(exceptions.InvalidRequestError):
        _client(server.endpoint_url, kind=kind, on_call=records.append).get_third_party_job_details(
            "", client_token="t"
        )
    assert records == []


@both.each_kind
def test_a_broken_hook_costs_no_result(kind: str, server: ScriptedServer, caplog: pytest.LogCaptureFixture) -> None:
    """What the hook raises is logged by its type and dropped."""

    def broken(_: CallRecord) -> None:
        raise LookupError(_MARKER)

    assert _client(server.endpoint_url, kind=kind, on_call=broken).poll_for_third_party_jobs(_ACTION_TYPE) == ()
    assert [record.getMessage() for record in caplog.records] == ["on_call raised LookupError"]


class _BrokenHandler(logging.Handler):
    """A handler of logs that raises, such as one whose stream is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())
        raise ValueError(_MARKER)


@pytest.fixture
def broken_handler() -> Iterator[_BrokenHandler]:
    """Add a handler that raises to the library's logger."""
    handler, logger = _BrokenHandler(), logging.getLogger("cp_thirdparty")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(level)


@both.each_kind
def test_a_broken_handler_of_logs_costs_no_result(
    kind: str, server: ScriptedServer, broken_handler: _BrokenHandler
) -> None:
    """What it raises for the record of a call, or of a hook that raised, is dropped."""

    def broken(_: CallRecord) -> None:
        raise LookupError

    assert _client(server.endpoint_url, kind=kind, on_call=broken).poll_for_third_party_jobs(_ACTION_TYPE) == ()
    call, hook = broken_handler.messages
    assert call.startswith("PollForThirdPartyJobs job=None status=200")
    assert hook == "on_call raised LookupError"


def test_a_broken_handler_of_logs_ends_no_iteration(broken_handler: _BrokenHandler) -> None:
    """A poll that failed is logged, and the next one follows."""
    responses = iter([error("ThrottlingException"), ok({"jobs": [{"clientId": "client-1", "jobId": "job-1"}]})])
    with ScriptedServer(lambda _: next(responses)) as server:
        jobs = _client(server.endpoint_url).iter_third_party_jobs(_ACTION_TYPE, poll_interval=0.01)
        assert next(iter(jobs)).job_id == "job-1"
    assert any(message.startswith("poll failed") for message in broken_handler.messages)


@both.each_kind
@pytest.mark.parametrize(
    ("seconds", "rule"),
    [
        *((seconds, "more than 0") for seconds in (0, -1.0, 1_000_001, float("inf"), float("nan"))),
        ("5", "a number of seconds or a timedelta"),
    ],
)
def test_a_bad_deadline_is_refused(kind: str, seconds: Any, rule: str) -> None:
    """A deadline must be more than 0 seconds, and what a socket takes."""
    with pytest.raises(exceptions.InvalidRequestError, match=f"deadline: must be {rule}"):
        _client("http://127.0.0.1:9", kind=kind, deadline=seconds)


@both.each_kind
@pytest.mark.parametrize("settings", [{"deadline": 1_000_000, "read_timeout": None}, {"read_timeout": 1_000_000}])
def test_the_longest_deadline_works(kind: str, settings: dict[str, Any], server: ScriptedServer) -> None:
    """A socket takes the longest timeout that is not refused."""
    with both.create(
        kind, region_name="us-east-1", endpoint_url=server.endpoint_url, session=_session(kind), **settings
    ) as client:
        assert client.poll_for_third_party_jobs(_ACTION_TYPE) == ()


def test_an_interruption_while_a_response_is_decoded_is_returned(server: ScriptedServer) -> None:
    """The frame that holds the parameters in plain is gone before anything is raised, Ctrl-C too."""

    def decode(_: object) -> Any:
        raise KeyboardInterrupt

    request: Any = operations.THIRD_PARTY.request_details("job-1", client_token=_MARKER)
    request = attrs.evolve(request, decode=decode)
    raw = _raw(server.endpoint_url)
    events.install(raw, operations.OPERATION_NAMES)
    result = send_request(raw, request, Call(request=request))
    raw.close()
    assert (result.value, result.status_code, result.request_id) == (None, None, None)
    assert isinstance(result.error, KeyboardInterrupt)


# --- wire logs -------------------------------------------------------------------------------------------------------


@both.each_kind
def test_wire_logs_keep_their_templates_only(
    kind: str, server: ScriptedServer, debug: pytest.LogCaptureFixture
) -> None:
    """At DEBUG botocore's records are there, without what was sent and received."""
    with pytest.raises(exceptions.ResponseDecodeError):
        _client(server.endpoint_url, kind=kind).get_third_party_job_details("job-1", client_token=_MARKER)
    leaking = [record.getMessage() for record in debug.records if record.name in _LEAKING]
    assert "Making request for %s with params: %s [withheld]" in leaking
    assert _MARKER not in _text(debug)


@both.each_kind
def test_wire_logs_can_be_turned_on(kind: str, server: ScriptedServer, debug: pytest.LogCaptureFixture) -> None:
    """The harness finds the token when one client asks for its wire logs, and another client stays silent."""
    _client(server.endpoint_url, kind=kind, wire_logs=True).poll_for_third_party_jobs(_ACTION_TYPE)
    assert _MARKER in _text(debug)
    debug.clear()
    _client(server.endpoint_url, kind=kind).poll_for_third_party_jobs(_ACTION_TYPE)
    assert _MARKER not in _text(debug)


@both.each_kind
def test_a_message_without_arguments_is_withheld_completely(
    kind: str, server: ScriptedServer, debug: pytest.LogCaptureFixture
) -> None:
    """A record that was put together before it was logged has no template to keep."""
    client = _client(server.endpoint_url, kind=kind)

    def log(**_: object) -> None:
        logging.getLogger("botocore.endpoint").debug(f"sending {_MARKER}")  # noqa: G004 - it is the case

    client._client.meta.events.register("before-send.codepipeline", log)
    client.poll_for_third_party_jobs(_ACTION_TYPE)
    assert "[withheld]" in [record.getMessage() for record in debug.records]
    assert _MARKER not in _text(debug)


@both.each_kind
def test_a_traceback_is_withheld_too(kind: str, debug: pytest.LogCaptureFixture) -> None:
    """Botocore logs some failures with their traceback, whose frames hold everything."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def hang_up() -> None:
            listening.accept()[0].close()

        threading.Thread(target=hang_up).start()
        client = _client(f"http://127.0.0.1:{listening.getsockname()[1]}", kind=kind)
        with pytest.raises(exceptions.TransportError):
            client.get_third_party_job_details("job-1", client_token=_MARKER)
    assert [record for record in debug.records if record.name in _LEAKING and record.exc_info] == []


def test_others_keep_their_wire_logs(server: ScriptedServer, debug: pytest.LogCaptureFixture) -> None:
    """Direct use of a wrapped client is logged as before."""
    raw = _raw(server.endpoint_url)
    ThirdPartyJobClient(raw).poll_for_third_party_jobs(_ACTION_TYPE)
    assert _MARKER not in _text(debug)
    raw.poll_for_third_party_jobs(actionTypeId=_WIRE_TYPE)
    assert _MARKER in _text(debug)


@both.each_kind
@pytest.mark.parametrize("how", ["dictConfig", "basicConfig", "cleared"])
def test_the_filter_survives(kind: str, how: str, server: ScriptedServer, debug: pytest.LogCaptureFixture) -> None:
    """Configuring logging again, or taking all filters off, does not bring the secrets back."""
    client = _client(server.endpoint_url, kind=kind)
    client.poll_for_third_party_jobs(_ACTION_TYPE)
    root = logging.getLogger()
    handlers = list(root.handlers)
    if how == "dictConfig":
        logging.config.dictConfig({"version": 1, "disable_existing_loggers": False, "root": {"level": "DEBUG"}})
    elif how == "basicConfig":
        logging.basicConfig(force=True, level=logging.DEBUG)
    else:
        for name in _LEAKING:
            logging.getLogger(name).filters.clear()
    root.handlers = handlers
    debug.clear()
    client.poll_for_third_party_jobs(_ACTION_TYPE)
    assert [record for record in debug.records if record.name == "botocore.endpoint"]
    assert _MARKER not in _text(debug)


# --- deadline --------------------------------------------------------------------------------------------------------


@contextmanager
def _serve_bytes(count: int) -> Generator[str]:
    """Give the address of a peer that sends a byte of a response every 20 milliseconds."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                threading.Thread(target=_drip, args=(connection, count), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def drip() -> Iterator[str]:
    """Give the address of a slow peer that stops after 1.5 seconds, before its response is complete."""
    with _serve_bytes(75) as endpoint_url:
        yield endpoint_url


@pytest.fixture
def endless_drip() -> Iterator[str]:
    """Give the address of a slow peer that goes on for a minute."""
    with _serve_bytes(3000) as endpoint_url:
        yield endpoint_url


def _drip(connection: socket.socket, count: int) -> None:
    with connection:
        try:
            connection.sendall(b"HTTP/1.1 200 OK\r\nx-amzn-RequestId: r\r\nContent-Length: 10000\r\n\r\n")
            for _ in range(count):
                connection.sendall(b" ")
                time.sleep(0.02)
        except OSError:
            return


@both.each_kind
def test_a_slow_peer_cannot_outlive_the_deadline(kind: str, endless_drip: str) -> None:
    """A peer that sends byte after byte beats every read timeout, and not the deadline."""
    client = _client(endless_drip, kind=kind, deadline=0.5)
    begin = time.monotonic()
    with pytest.raises(exceptions.TransportError, match="no response before the deadline"):
        client.poll_for_third_party_jobs(_ACTION_TYPE)
    assert 0.4 < time.monotonic() - begin < 50  # the peer goes on for a minute


@both.each_kind
def test_no_attempt_begins_when_no_time_is_left(kind: str, endless_drip: str) -> None:
    """Botocore's retries end with the deadline."""
    client = both.create(
        kind,
        region_name="us-east-1",
        endpoint_url=endless_drip,
        session=_session(kind),
        deadline=0.5,
        read_timeout=None,
    )
    with pytest.raises(exceptions.TransportError, match="no response before the deadline") as caught:
        client.poll_for_third_party_jobs(_ACTION_TYPE)
    assert caught.value.attempts == 1


def _leave_less_than_a_second(**_: object) -> None:
    call = CURRENT.get()
    assert call is not None
    call.ends_at = now() + 0.9


@both.each_kind
def test_a_busy_service_is_not_asked_again_without_time(kind: str) -> None:
    """An error that botocore would retry is raised at once when its pause may outlast the deadline."""
    with ScriptedServer(lambda _: error("InternalFailure", status=500)) as server:
        client = both.create(
            kind, region_name="us-east-1", endpoint_url=server.endpoint_url, session=_session(kind), deadline=60
        )
        client._client.meta.events.register("response-received.codepipeline", _leave_less_than_a_second)
        with pytest.raises(exceptions.ServiceError) as caught:
            client.poll_for_third_party_jobs(_ACTION_TYPE)
    assert (caught.value.status_code, caught.value.attempts, len(server.requests)) == (500, 1, 1)


@both.each_kind
@pytest.mark.parametrize(("headers", "attempts"), [({}, 2), ({"x-amz-retry-after": "4000"}, 1)], ids=["own", "asked"])
def test_a_pause_that_is_asked_for_counts(kind: str, headers: dict[str, str], attempts: int) -> None:
    """Botocore waits up to five seconds more when a response asks for it: not beyond the deadline."""
    responses = [error("InternalFailure", status=500, headers=headers), ok({"jobs": []})]
    records: list[CallRecord] = []
    with ScriptedServer(lambda _: responses.pop(0)) as server, suppress(exceptions.ServiceError):
        both.create(
            kind,
            region_name="us-east-1",
            endpoint_url=server.endpoint_url,
            session=_session(kind),
            deadline=5.5,
            on_call=records.append,
        ).poll_for_third_party_jobs(_ACTION_TYPE)
    assert [record.attempts for record in records] == [attempts]


@both.each_kind
def test_a_connection_after_the_deadline_is_not_made(kind: str, server: ScriptedServer) -> None:
    """When looking for credentials took all the time, nothing is sent."""
    client = _client(server.endpoint_url, kind=kind, deadline=0.05)
    client._client.meta.events.register("before-send.codepipeline", lambda **_: time.sleep(0.1))
    with pytest.raises(exceptions.TransportError):
        client.poll_for_third_party_jobs(_ACTION_TYPE)
    assert server.requests == []


@both.each_kind
def test_without_a_deadline_there_is_none(kind: str, drip: str) -> None:
    """``deadline=None`` lets the peer take its time, which here ends in a short response."""
    with pytest.raises(exceptions.ThirdPartyError) as caught:
        _client(drip, kind=kind, deadline=None, read_timeout=None).poll_for_third_party_jobs(_ACTION_TYPE)
    assert "deadline" not in str(caught.value)


def test_a_call_of_somebody_else_has_no_deadline(drip: str) -> None:
    """Other calls of a wrapped client are bounded by its own timeouts alone."""
    raw = _raw(drip, config=Config(retries={"total_max_attempts": 1}))
    ThirdPartyJobClient(raw, deadline=0.2)
    begin = time.monotonic()
    with pytest.raises(Exception):  # noqa: B017, PT011 - whatever botocore makes of the short response
        raw.list_pipelines()
    assert time.monotonic() - begin > 1


@both.each_kind
def test_an_endless_response_is_refused(kind: str) -> None:
    """A response of 64 MB is not read to its end."""
    with ScriptedServer(lambda _: Response(body=b" " * (64 << 20))) as server:
        client = _client(server.endpoint_url, kind=kind)
        with pytest.raises(exceptions.UntrustedResponseError, match="the response is too long") as caught:
            client.poll_for_third_party_jobs(_ACTION_TYPE)
    assert caught.value.attempts == 1


@pytest.mark.parametrize(("kind", "status"), [("blocking", 200), *((kind, 400) for kind in both.KINDS)])
def test_too_many_headers_are_refused(kind: str, status: int) -> None:
    """Secrets are not looked for in 600 kB of headers, and the blocking client does not read to their end."""
    headers = {"x-amzn-RequestId": "req-1", **{f"x-{number}": "%41" * 2000 for number in range(90)}}
    with ScriptedServer(lambda _: Response(body=b'{"jobs":[]}', status=status, headers=headers)) as server:
        client = _client(server.endpoint_url, kind=kind)
        with pytest.raises(exceptions.UntrustedResponseError, match="the response is too long"):
            client.poll_for_third_party_jobs(_ACTION_TYPE)
        assert len(server.requests) == 1


def test_too_many_headers_of_a_handler_are_refused() -> None:
    """A handler of the caller may take the place of the network."""
    headers: Any = {"x-amzn-RequestId": "req-1", "x-long": "%41" * 30_000}
    response = AWSResponse("http://127.0.0.1:9", 400, headers, None)
    vars(response)["_content"] = b"{}"
    raw = _raw("http://127.0.0.1:9")
    raw.meta.events.register("before-send.codepipeline", lambda **_: response)
    with pytest.raises(exceptions.UntrustedResponseError, match="the response is too long"):
        ThirdPartyJobClient(raw).poll_for_third_party_jobs(_ACTION_TYPE)


@both.each_kind
def test_long_headers_are_accepted(kind: str) -> None:
    """The limit is far from what the service and proxies send, and a body has a limit of its own."""
    headers = {"x-amzn-RequestId": "req-1", **{f"x-{number}": "x" * 4000 for number in range(12)}}
    body = b'{"jobs":[],"pad":"' + b"x" * 100_000 + b'"}'
    with ScriptedServer(lambda _: Response(body=body, headers=headers)) as server:
        assert _client(server.endpoint_url, kind=kind).poll_for_third_party_jobs(_ACTION_TYPE) == ()


# --- wrapped clients -------------------------------------------------------------------------------------------------


def test_the_handlers_are_installed_once(server: ScriptedServer) -> None:
    """Wrapping a client twice looks at each response once."""
    raw = _raw(server.endpoint_url)
    ThirdPartyJobClient(raw)
    ThirdPartyJobClient(raw).poll_for_third_party_jobs(_ACTION_TYPE)
    for event in ("request-created", "before-send", "response-received", "needs-retry"):
        handlers = raw.meta.events._emitter._handlers.prefix_search(f"{event}.codepipeline.PollForThirdPartyJobs")
        assert len([each for each in handlers if each.__module__ == "cp_thirdparty._core.events"]) == 1


def test_direct_calls_of_a_wrapped_client_are_left_alone() -> None:
    """What does not go through this library takes a strange response as it always did."""
    with ScriptedServer(lambda _: Response(body=b"{}", headers={})) as server:
        raw = _raw(server.endpoint_url)
        ThirdPartyJobClient(raw)
        response = raw.put_third_party_job_success_result(jobId="job-1", clientToken="t")
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 200


def test_other_operations_of_a_wrapped_client_are_left_alone() -> None:
    """A wrapped client takes a strange response to another operation as it always did."""
    with ScriptedServer(lambda _: Response(body=b"{}", headers={})) as server:
        raw = _raw(server.endpoint_url)
        ThirdPartyJobClient(raw)
        assert raw.list_pipelines()["ResponseMetadata"]["HTTPStatusCode"] == 200


def test_a_stubbed_client_works() -> None:
    """Botocore's Stubber bypasses parsing, and so the guard."""
    raw = _raw("http://127.0.0.1:9")
    with Stubber(raw) as stub:
        stub.add_response("poll_for_third_party_jobs", {"jobs": [{"clientId": _UUID, "jobId": _UUID}]})
        jobs = ThirdPartyJobClient(raw).poll_for_third_party_jobs(_ACTION_TYPE)
    assert [job.job_id for job in jobs] == [_UUID]


def test_a_stubbed_error_has_its_class() -> None:
    """An error that Stubber plays, which has no request id, becomes its class."""
    raw = _raw("http://127.0.0.1:9")
    with Stubber(raw) as stub:
        stub.add_client_error("acknowledge_third_party_job", "InvalidNonceException", "no", 400)
        with pytest.raises(exceptions.InvalidNonceException):
            ThirdPartyJobClient(raw).acknowledge_third_party_job("j", nonce="1", client_token="token")


_UUID = "11111111-2222-4333-8444-555555555555"


def test_a_stub_before_sending_needs_a_request_id() -> None:
    """A handler that returns in place of the network is looked at like the network."""
    raw = _raw("http://127.0.0.1:9", config=Config(retries={"total_max_attempts": 1}))
    headers: Any = {}

    class Body:
        def stream(self, **_: object) -> Iterator[bytes]:
            yield b'{"jobs": []}'

    raw.meta.events.register("before-send.codepipeline", lambda **_: AWSResponse("", 200, headers, Body()))
    client = ThirdPartyJobClient(raw)
    with pytest.raises(exceptions.UntrustedResponseError):
        client.poll_for_third_party_jobs(_ACTION_TYPE)
    headers["x-amzn-RequestId"] = "r"
    assert client.poll_for_third_party_jobs(_ACTION_TYPE) == ()


# Body, status -> whether it is trusted, and whether it is an error.
_CBOR: list[tuple[bytes, int, bool, bool]] = [
    (b"\xa1\x64jobs\x80", 200, True, False),
    (b"\xbf\xff", 200, True, False),
    (b"<html>", 200, False, False),
    (b"", 200, False, False),
    (b"\xa1\x66__type\x63abc", 200, True, True),
    (b"\xa1\x66__typo\x63abc", 200, True, False),
    (b"\x80", 500, False, True),
    (b"", 500, True, True),
]


@pytest.mark.parametrize(("body", "status", "is_trusted", "is_error"), _CBOR)
def test_cbor_is_judged_as_cbor(body: bytes, status: int, *, is_trusted: bool, is_error: bool) -> None:
    """When botocore has resolved CBOR, a response must be a CBOR map, and botocore parses it."""
    response: dict[str, Any] = {"status_code": status, "headers": {"x-amzn-requestid": "r"}, "body": body}
    verdict = guard.check_response(response, is_cbor=True, has_output=True)
    assert (verdict.fault is None, verdict.is_error, verdict.document) == (is_trusted, is_error, None)


# --- processes -------------------------------------------------------------------------------------------------------

_FORKING = """
import os, sys, warnings
import botocore.session
from cp_thirdparty import ActionTypeId, ThirdPartyJobClient
from cp_thirdparty.testing import LocalCodePipeline

warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of forking with threads
kind = ActionTypeId(category="Test", owner="ThirdParty", provider="p", version="1")
endpoint_url = sys.argv[1]
session = botocore.session.Session()
session.set_credentials("a", "b")
raw = session.create_client("codepipeline", region_name="us-east-1", endpoint_url=endpoint_url)
clients = [
    ThirdPartyJobClient.create(region_name="us-east-1", endpoint_url=endpoint_url, session=session),
    ThirdPartyJobClient(raw),
]
before = [client._client for client in clients]
for client in clients:
    client.poll_for_third_party_jobs(kind)
child = os.fork()
for _ in range(20):
    for client in clients:
        assert client.poll_for_third_party_jobs(kind) == ()
renewed = [client._client is not old for client, old in zip(clients, before)]
if child == 0:
    os._exit(0 if renewed == [True, False] else 1)
_, status = os.waitpid(child, 0)
print(os.waitstatus_to_exitcode(status), renewed)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_after_a_fork_both_processes_work(server: ScriptedServer) -> None:
    """A child makes connections of its own: a created client new ones, a wrapped one without its pooled ones."""
    done = subprocess.run(
        [sys.executable, "-c", _FORKING, server.endpoint_url], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split(maxsplit=1) == ["0", "[False, False]\n"]


def test_a_response_that_crashes_botocore_is_not_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever botocore raises about an error response becomes an UntrustedResponseError that names its type only."""

    def fall_over(*_: object) -> None:
        raise AttributeError(_MARKER)

    monkeypatch.setattr("botocore.endpoint.Endpoint._add_modeled_error_fields", fall_over)
    with ScriptedServer(lambda _: error("ValidationException")) as server:
        raw = _raw(server.endpoint_url)
        with pytest.raises(exceptions.UntrustedResponseError) as caught:
            ThirdPartyJobClient(raw).poll_for_third_party_jobs(_ACTION_TYPE)
    assert str(caught.value) == "PollForThirdPartyJobs: the response could not be read (AttributeError)"


def test_a_replacement_of_a_method_of_botocore_may_raise_any_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception of code that replaces a method of the wrapped client leaves as itself, with its own traceback."""
    raw = _raw("http://127.0.0.1:9")

    def fall_over(**_: object) -> None:
        raise AttributeError(_MARKER)

    monkeypatch.setattr(raw, "poll_for_third_party_jobs", fall_over)
    with pytest.raises(AttributeError, match=_MARKER) as caught:
        ThirdPartyJobClient(raw).poll_for_third_party_jobs(_ACTION_TYPE)
    assert caught.traceback[-1].name == "fall_over"
