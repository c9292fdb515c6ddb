"""The local CodePipeline on its socket: what clients send that is not a good request, hanging up, and closing."""

from __future__ import annotations

import http.client
import json
import logging
import os
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from threading import Thread
from typing import Any

import botocore.session
import pytest
from botocore.exceptions import ClientError
from support.worker_service import until

from cp_thirdparty import ActionTypeId, PipelineContext, ThirdPartyJob, exceptions
from cp_thirdparty._core import http_server
from cp_thirdparty.testing import LocalCodePipeline, _http_server

_ACTION_TYPE = ActionTypeId(category="Test", owner="ThirdParty", provider="ExampleScan", version="1")
_TYPE_ID = {"category": "Test", "owner": "ThirdParty", "provider": "ExampleScan", "version": "1"}
_TOKEN = "xMARKERx-token"
_POLL = json.dumps({"actionTypeId": _TYPE_ID}).encode()
_HEADERS = {
    "Content-Type": "application/x-amz-json-1.1",
    "X-Amz-Target": "CodePipeline_20150709.PollForThirdPartyJobs",
}


@pytest.fixture(autouse=True)
def silence(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Hold each test of this file to the rule that the service neither prints nor logs."""
    caplog.set_level(logging.DEBUG, logger="cp_thirdparty.testing")
    yield
    assert capfd.readouterr() == ("", "")
    assert [record for record in caplog.records if record.name.startswith("cp_thirdparty.testing")] == []


@pytest.fixture
def service() -> Iterator[LocalCodePipeline]:
    """Give a running service with one client, which takes requests that are not signed too."""
    with LocalCodePipeline(verify_signatures=False) as running:
        running.register_client("client-1", _TOKEN)
        yield running


def _address(service: LocalCodePipeline) -> tuple[str, int]:
    host, _, port = service.endpoint_url.removeprefix("http://").partition(":")
    return host, int(port)


def _raw_client(service: LocalCodePipeline) -> Any:
    return botocore.session.Session().create_client(
        "codepipeline",
        endpoint_url=service.endpoint_url,
        region_name="us-east-1",
        aws_access_key_id=service.access_key_id,
        aws_secret_access_key=service.secret_access_key.get_secret_value(),
    )


def _exchange(service: LocalCodePipeline, request: bytes) -> bytes:
    """Send bytes and read all that comes until the service closes the connection."""
    with socket.create_connection(_address(service), timeout=60) as connection:
        connection.sendall(request)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def _poll_over(connection: http.client.HTTPConnection) -> Any:
    connection.request("POST", "/", _POLL, _HEADERS)
    return json.loads(connection.getresponse().read())


def test_a_connection_is_kept(service: LocalCodePipeline) -> None:
    """Several calls go over one connection."""
    connection = http.client.HTTPConnection(*_address(service), timeout=60)
    assert _poll_over(connection) == {"jobs": []}
    first = connection.sock
    assert _poll_over(connection) == {"jobs": []}
    assert first is connection.sock
    connection.close()


def test_the_rest_of_a_body_is_neither_returned_nor_logged(service: LocalCodePipeline) -> None:
    """Bytes beyond Content-Length, which may hold a client token, are in no response."""
    response = _exchange(service, b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}xMARKERx\r\n\r\n")
    assert response.endswith(b'{"__type": "UnknownOperationException", "message": "400 Bad Request"}')
    assert b"xMARKERx" not in response


@pytest.mark.parametrize(
    ("request_line", "status"),
    [(b"GET / HTTP/1.1", b"501"), (b"POST / HTTP/9.9", b"505"), (b"POST /" + b"x" * 70_000, b"414")],
)
def test_what_is_not_a_post_gets_an_error_in_json(
    service: LocalCodePipeline, request_line: bytes, status: bytes
) -> None:
    """Other methods and versions, and lines that never end, get an error of the protocol, and the connection ends."""
    head, _, body = _exchange(service, request_line + b"\r\n\r\n").partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 " + status)
    assert b"Connection: close" in head
    assert json.loads(body)["__type"] == "UnknownOperationException"


@pytest.mark.parametrize("length", ["", "Content-Length: -1", "Content-Length: x", "Content-Length: " + "9" * 5000])
def test_a_body_without_a_good_length_is_not_read(service: LocalCodePipeline, length: str) -> None:
    """A length that is missing, negative, no number or absurd is refused, and the connection ends."""
    response = _exchange(service, f"POST / HTTP/1.1\r\nHost: localhost\r\n{length}\r\n\r\n".encode())
    assert response.startswith(b"HTTP/1.1 413 ")
    assert b"at most 1 MiB" in response


def test_headers_that_are_too_long_are_not_read(service: LocalCodePipeline) -> None:
    """Each line is short enough, but together they are longer than any request."""
    response = _exchange(service, b"POST / HTTP/1.1\r\n" + b"X: " + b"x" * 60_000 + b"\r\nY: " + b"x" * 71_100)
    assert response.startswith(b"HTTP/1.1 431 ")


def test_a_body_of_1_mib_is_read(service: LocalCodePipeline) -> None:
    """The limit of the headers is not that of the body, also for the second request of a connection."""
    connection = http.client.HTTPConnection(*_address(service), timeout=60)
    for _ in range(2):
        connection.request("POST", "/", b" " * (1 << 20), _HEADERS)
        assert b"SerializationException" in connection.getresponse().read()
    connection.close()


def test_a_client_that_disconnects_has_no_effect_on_others(service: LocalCodePipeline) -> None:
    """A connection that is reset in the middle of a request leaves no trace, and others are served."""
    connection = socket.create_connection(_address(service), timeout=60)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.sendall(b"POST / HTT")
    connection.close()
    with service.client() as client:
        assert client.poll_for_third_party_jobs(_ACTION_TYPE) == ()


def test_connections_that_ended_are_forgotten(service: LocalCodePipeline) -> None:
    """The service keeps nothing of a connection that its client has closed."""
    server = service._server
    assert server is not None
    connection = http.client.HTTPConnection(*_address(service), timeout=60)
    _poll_over(connection)
    assert len(server._connections) == 1
    connection.close()
    give_up = time.monotonic() + 60
    while server._connections and time.monotonic() < give_up:
        time.sleep(0.001)
    assert server._connections == set()


def test_closing_closes_connections(service: LocalCodePipeline) -> None:
    """After ``close()`` a connection that was kept alive is dead, not served on."""
    connection = http.client.HTTPConnection(*_address(service), timeout=60)
    assert _poll_over(connection) == {"jobs": []}
    service.close()
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        _poll_over(connection)
    connection.close()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems wait for the end of the poll interval")
def test_closing_does_not_wait_for_the_poll_interval() -> None:
    """The thread that waits for a connection ends at once, also with an interval that is longer than any test."""
    server = http_server.BoundedServer(("127.0.0.1", 0), http_server.BoundedHandler)
    thread = Thread(target=server.serve_forever, args=(1e6,), daemon=True)
    thread.start()
    with socket.create_connection(("127.0.0.1", server.server_port)):
        until(lambda: bool(server._connections))  # the thread serves
    closer = Thread(target=server.shutdown, daemon=True)
    closer.start()
    closer.join(60)
    thread.join(60)  # `shutdown` returns in the last moments of the thread
    assert not thread.is_alive()
    server.server_close()


def test_closing_accepts_a_connection_that_its_client_has_closed(service: LocalCodePipeline) -> None:
    """A connection that its client has closed at the same moment does not make ``close()`` fail."""
    assert service._server is not None
    gone = socket.socket()
    gone.close()
    service._server._connections.add(gone)
    service.close()


def test_jobs_survive_closing(service: LocalCodePipeline) -> None:
    """After ``close()`` and ``start()`` it offers the jobs that it had."""
    action = service.start_action(_ACTION_TYPE, client_id="client-1")
    service.close()
    service.start()
    with service.client() as client:
        expected = (ThirdPartyJob(client_id="client-1", job_id=action.jobs[0].id),)
        assert expected == client.poll_for_third_party_jobs(_ACTION_TYPE)


def test_an_error_of_the_clock_reaches_the_caller() -> None:
    """What goes wrong inside is a 500 that names the error's type, and neither its text nor a traceback on stderr."""

    def broken_clock() -> float:
        raise LookupError("xMARKERx")

    with LocalCodePipeline(clock=broken_clock, verify_signatures=False) as service:
        connection = http.client.HTTPConnection(*_address(service), timeout=60)
        assert _poll_over(connection) == {
            "__type": "InternalFailure",
            "message": "The local CodePipeline failed with LookupError",
        }
        connection.close()


def test_a_huge_batch_cannot_be_read(service: LocalCodePipeline) -> None:
    """A batch size beyond 32 bits is refused in the service's words, and botocore makes its error of it."""
    raw = _raw_client(service)
    with pytest.raises(ClientError, match=r"SerializationException\).*'maxBatchSize' must be of type integer"):
        raw.poll_for_third_party_jobs(actionTypeId=_TYPE_ID, maxBatchSize=10**30)
    raw.close()


def test_botocore_puts_results_of_every_kind(service: LocalCodePipeline) -> None:
    """A partner's own botocore client acknowledges and reports, with a time, and gets the modelled errors."""
    action = service.start_action(_ACTION_TYPE, client_id="client-1")
    job, raw = action.jobs[0], _raw_client(service)
    who = {"jobId": job.id, "clientToken": _TOKEN}
    assert raw.acknowledge_third_party_job(nonce=job.nonce, **who)["status"] == "InProgress"
    with pytest.raises(raw.exceptions.InvalidNonceException):
        raw.acknowledge_third_party_job(nonce=job.nonce, **who)
    raw.put_third_party_job_success_result(
        currentRevision={"revision": "r", "changeIdentifier": "c", "created": "2026-01-02T03:04:05Z"}, **who
    )
    with pytest.raises(raw.exceptions.InvalidJobStateException):
        raw.put_third_party_job_failure_result(failureDetails={"type": "JobFailed", "message": "late"}, **who)
    result: Any = action.result
    assert result.current_revision.created.isoformat() == "2026-01-02T03:04:05+00:00"
    raw.close()


def test_a_pipeline_context_reaches_the_worker(service: LocalCodePipeline) -> None:
    """The context that an action was started with is in the details."""
    context = PipelineContext(pipeline_name="mine")
    action = service.start_action(_ACTION_TYPE, client_id="client-1", pipeline_context=context)
    with service.client() as client:
        details = client.get_third_party_job_details(action.jobs[0].id, client_token=_TOKEN)
    assert details.data.pipeline_context == context


def test_its_client_ignores_proxies(service: LocalCodePipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy in the environment, which could not reach 127.0.0.1 on this machine, is not asked."""
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with service.client() as client:
        assert client.poll_for_third_party_jobs(_ACTION_TYPE) == ()


def test_the_environment_is_complete(service: LocalCodePipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child process gets the endpoint, both names of the region, credentials, no search on EC2 and no proxy."""
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    assert service.environment() == {
        "AWS_ENDPOINT_URL_CODEPIPELINE": service.endpoint_url,
        "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "false",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "AKIDLOCALCODEPIPELINE",
        "AWS_SECRET_ACCESS_KEY": "local-codepipeline",
        "AWS_SESSION_TOKEN": "",
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
    }


def test_a_child_of_a_busy_environment_reaches_it() -> None:
    """Proxies, a session token and a switch of this process's environment do not keep a child from the service."""
    program = (
        "import botocore.session; client = botocore.session.Session().create_client('codepipeline');"
        f"print(client.poll_for_third_party_jobs(actionTypeId={_TYPE_ID!r})['jobs'])"
    )
    busy = {
        "HTTP_PROXY": "http://127.0.0.1:9",
        "http_proxy": "http://127.0.0.1:9",
        "AWS_SESSION_TOKEN": "another",
        "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true",
    }
    with LocalCodePipeline() as service:
        child = subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, **busy, **service.environment()},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
    assert child.stdout == "[]\n"
    assert [record.accepted for record in service.requests] == [True]


@pytest.mark.parametrize("name", ["NO_PROXY", "no_proxy"])
def test_other_exceptions_from_proxies_stay(
    service: LocalCodePipeline, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Hosts that the environment excepts from its proxies stay excepted, in either spelling."""
    for other in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setenv(name, "example.com")
    environment = service.environment()
    assert environment["NO_PROXY"] == environment["no_proxy"] == "example.com,127.0.0.1"


def test_a_wrong_token_through_our_client(service: LocalCodePipeline) -> None:
    """Our client's error of a wrong token holds neither the right token nor the wrong one."""
    action = service.start_action(_ACTION_TYPE, client_id="client-1")
    with service.client() as client, pytest.raises(exceptions.InvalidClientTokenException) as caught:
        client.get_third_party_job_details(action.jobs[0].id, client_token="xMARKERx-wrong")
    assert "xMARKERx" not in str(caught.value)


# --- others on the machine, and pages in its browser


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:65535", "[::1]:80"])
def test_a_name_of_this_machine_is_served(service: LocalCodePipeline, host: str) -> None:
    """Whatever a client calls it."""
    connection = http.client.HTTPConnection(*_address(service), timeout=60)
    connection.request("POST", "/", _POLL, {**_HEADERS, "Host": host})
    assert connection.getresponse().status == 200
    connection.close()


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "127.0.0.1:80:80", ""])
def test_another_host_is_refused(service: LocalCodePipeline, host: str) -> None:
    """A page of another site whose name leads to 127.0.0.1 can neither read nor claim jobs."""
    connection = http.client.HTTPConnection(*_address(service), timeout=60)
    connection.request("POST", "/", _POLL, {**_HEADERS, "Host": host})
    assert connection.getresponse().status == 421
    connection.close()


@pytest.mark.parametrize(
    "begin",
    [b"POST / HTTP/1.1\r\nHost: localhost\r\nX: ", b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n"],
)
def test_a_request_that_comes_byte_by_byte_has_an_end(
    service: LocalCodePipeline, monkeypatch: pytest.MonkeyPatch, begin: bytes
) -> None:
    """The time is that of the complete request: each byte would start a timeout of the socket again."""
    monkeypatch.setattr(_http_server.Handler, "seconds", 0.2)
    with socket.create_connection(_address(service), timeout=0.01) as connection:
        connection.sendall(begin)
        sent = 0
        while sent < 90:  # fewer than the body has
            try:
                assert connection.recv(1) == b""
                break
            except TimeoutError:
                connection.sendall(b"x")
                sent += 1
            except ConnectionError:
                break
        assert sent < 90


def test_a_time_that_has_passed_before_a_read_ends_the_request(
    service: LocalCodePipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A negative timeout would be an error of the socket."""
    times = iter([0.0, 1000.0])
    monkeypatch.setattr(http_server, "now", lambda: next(times))
    with socket.create_connection(_address(service), timeout=60) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\n")
        assert connection.recv(1) == b""


def test_connections_that_send_nothing_are_bounded(service: LocalCodePipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """One too many is closed, and the others after a time."""
    monkeypatch.setattr(_http_server.HttpServer, "max_connections", 4)
    monkeypatch.setattr(_http_server.Handler, "seconds", 0.2)
    halves = [socket.create_connection(_address(service), timeout=60) for _ in range(6)]
    try:
        for half in halves:
            half.sendall(b"POST / HTTP/1.1\r\n")
        closed = [half.recv(1) for half in halves]
        assert closed == [b""] * 6
        assert _exchange(service, b"POST / HTTP/1.1\r\n") == b""
    finally:
        for half in halves:
            half.close()
