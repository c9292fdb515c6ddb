"""What a call reports when others send at the same time, or when its own traffic cannot be observed."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import http.client
import io
import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from types import SimpleNamespace
from typing import Any
from unittest import mock
from urllib.parse import urlsplit

import botocore.session
import pytest
from botocore.awsrequest import AWSConnection
from botocore.client import BaseClient
from botocore.config import Config
from botocore.exceptions import ConnectionClosedError
from support import both_clients as both
from support import lossy_network as net

from cp_thirdparty import ThirdPartyJobClient
from cp_thirdparty._core import connection
from cp_thirdparty._core.call import CURRENT, Call, CallStoppedError
from cp_thirdparty.enums import Delivery
from cp_thirdparty.exceptions import (
    JobNotFoundException,
    ResponseDecodeError,
    ThirdPartyError,
    TransportError,
    UntrustedResponseError,
)

_STATUS = {"status": "InProgress", "jobs": []}
_POLL = {"actionTypeId": {"category": "Test", "owner": "ThirdParty", "provider": "p", "version": "1"}}
_ONCE = Config(retries={"max_attempts": 1}, proxies={})


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")


@pytest.fixture
def server() -> Iterator[net.Server]:
    """Serve a status to every request."""
    with net.Server(net.respond(net.http(_STATUS))) as server:
        yield server


@pytest.fixture
def closer() -> Iterator[net.Server]:
    """Close each connection after the request has arrived."""
    with net.Server(net.close_after_request) as server:
        yield server


def _url(server: net.Server) -> str:
    return f"http://127.0.0.1:{server.port}"


def _plain_client(server: net.Server, service: str = "codepipeline") -> Any:
    return botocore.session.Session().create_client(service, endpoint_url=_url(server), config=_ONCE)


def _acknowledge(client: ThirdPartyJobClient) -> Any:
    return client.acknowledge_third_party_job("job-1", nonce="3", client_token="token")


def _error(client: ThirdPartyJobClient, call: Callable[[ThirdPartyJobClient], object] = _acknowledge) -> Any:
    with pytest.raises(ThirdPartyError) as caught:
        call(client)
    return caught.value


def _run_elsewhere(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run each call of botocore outside of its context, as tools for timeouts do."""
    if kind == "blocking":
        original = BaseClient._make_api_call  # type: ignore[attr-defined]

        def call(*arguments: Any) -> Any:
            with ThreadPoolExecutor(1) as pool:
                return pool.submit(original, *arguments).result()

        monkeypatch.setattr(BaseClient, "_make_api_call", call)
        return
    from aiobotocore.client import AioBaseClient  # noqa: PLC0415 - not installed everywhere

    original_coroutine: Any = AioBaseClient._make_api_call  # type: ignore[attr-defined]

    async def call_task(*arguments: Any) -> Any:
        loop = asyncio.get_running_loop()
        return await contextvars.Context().run(loop.create_task, original_coroutine(*arguments))

    monkeypatch.setattr(AioBaseClient, "_make_api_call", call_task)


@both.each_kind
def test_a_call_in_another_context_has_an_unknown_outcome(
    kind: str, closer: net.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request may have arrived, more than once."""
    client = both.create(kind, endpoint_url=_url(closer), config=_ONCE)
    _run_elsewhere(kind, monkeypatch)
    error = _error(client)
    assert (type(error), error.delivery, error.is_retry_safe) == (UntrustedResponseError, Delivery.SENT, None)
    error = _error(client, lambda client: client.get_third_party_job_details("job-1", client_token="token"))
    assert (type(error), error.delivery, error.is_retry_safe) == (UntrustedResponseError, Delivery.SENT, True)


@both.each_kind
@pytest.mark.parametrize("response", [net.http(b"<html>"), net.service_error("InvalidNonceException")])
def test_a_response_in_another_context_is_not_trusted(
    kind: str, response: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a success nor an error of the service was checked, and either may be of a second attempt."""
    with net.Server(net.respond(response)) as server:
        client = both.create(kind, endpoint_url=_url(server), config=_ONCE)
        _run_elsewhere(kind, monkeypatch)
        error = _error(client)
    assert (type(error), error.is_retry_safe) == (UntrustedResponseError, None)
    assert "the response was not checked" in str(error)


def test_a_request_in_another_context_has_an_unknown_outcome(closer: net.Server) -> None:
    """A tool that moves only the sending of a request leaves the call in its first step, but the request may arrive."""
    client = _plain_client(closer)
    # A built-in function has no frame, which would show that the failure comes from code of the caller.
    client._endpoint.make_request = functools.partial(contextvars.Context().run, client._endpoint.make_request)
    error = _error(ThirdPartyJobClient(client))
    assert (type(error), error.delivery, error.is_retry_safe) == (UntrustedResponseError, Delivery.SENT, None)


class _HttpSession:
    """Sends without botocore's connections."""

    def send(self, request: Any) -> None:
        """Send a request, and fail when no response comes."""
        url = urlsplit(request.url)
        with closing(http.client.HTTPConnection(url.netloc)) as opened:
            opened.request(request.method, url.path or "/", request.body, dict(request.headers.items()))
            try:
                opened.getresponse()
            except OSError as failure:
                raise ConnectionClosedError(error=failure, endpoint_url=request.url) from None

    def close(self) -> None:
        """Do nothing."""


def test_an_unknown_http_layer_may_have_sent_the_request(closer: net.Server) -> None:
    """Nothing shows that it has not, so the outcome is unknown, and the request is not resent."""
    client = _plain_client(closer)
    client._endpoint.http_session = _HttpSession()
    error = _error(ThirdPartyJobClient(client))
    assert (error.delivery, error.is_retry_safe, error.attempts) == (Delivery.SENT, None, 1)


def test_a_wrapper_that_a_patch_has_removed_is_put_back(closer: net.Server) -> None:
    """A patch that ends restores what was there before, which may be without the wrapper."""
    kept = vars(AWSConnection)["send"]
    with mock.patch.object(AWSConnection, "send", kept.__wrapped__):
        client = ThirdPartyJobClient(_plain_client(closer))
        assert _error(client).delivery is Delivery.SENT
        AWSConnection.send = kept.__wrapped__  # type: ignore[method-assign]
        assert _error(client).attempts == 1
    assert vars(AWSConnection)["send"] is kept
    assert _error(client).attempts == 1
    assert vars(AWSConnection)["send"] is kept


def test_a_wrapper_below_a_tool_is_not_added_again() -> None:
    """Tools that wrap a method name what they wrap."""
    own = vars(AWSConnection)["send"]
    tool = mock.Mock(spec=["__wrapped__"], __wrapped__=own)
    assert connection.is_wrapper(tool, own.cp_thirdparty_owner)
    assert not connection.is_wrapper(tool, object())


_SECOND_COPY = """
import os, sys
os.environ.update(AWS_ACCESS_KEY_ID="key", AWS_SECRET_ACCESS_KEY="secret", AWS_DEFAULT_REGION="us-east-1")
import cp_thirdparty
first = cp_thirdparty.ThirdPartyJobClient.create(endpoint_url=sys.argv[1])
for name in [name for name in sys.modules if name.startswith("cp_thirdparty")]:
    del sys.modules[name]
import cp_thirdparty
second = cp_thirdparty.ThirdPartyJobClient.create(endpoint_url=sys.argv[1])
for client in (first, second, first):
    try:
        client.acknowledge_third_party_job("job-1", nonce="3", client_token="token")
    except Exception as error:
        print(error.delivery.name, error.is_retry_safe, error.attempts)
"""


def test_two_copies_of_the_library_observe_their_own_calls(closer: net.Server) -> None:
    """A tool that imports modules again, such as a reloader, makes a second copy."""
    command = [sys.executable, "-c", _SECOND_COPY, _url(closer)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.splitlines() == ["SENT None 1"] * 3


def _end_time(context: contextvars.Context) -> None:
    """Let the deadline of the call of a context be over."""
    call = context.get(CURRENT)
    assert call is not None
    call.ends_at = 0.0


@pytest.mark.parametrize("event", ["before-call", "before-sign", "after-call"])
def test_the_deadline_leaves_the_class_of_its_own_error(event: str, server: net.Server) -> None:
    """A handler that sends with another client after the deadline gets no error of this library's inside."""
    other = _plain_client(server)
    client = _plain_client(server)

    def handle(**_: object) -> None:
        _end_time(contextvars.copy_context())
        other.poll_for_third_party_jobs(**_POLL)

    client.meta.events.register(f"{event}.codepipeline", handle)
    ours = ThirdPartyJobClient(client)
    if event == "after-call":
        _acknowledge(ours)
        return
    error = _error(ours)
    assert (type(error), error.delivery, error.is_retry_safe) == (TransportError, Delivery.NOT_SENT, True)


def test_a_thread_that_outlives_the_call_is_not_a_part_of_it(server: net.Server) -> None:
    """A copy of the context keeps neither the deadline nor the redaction of the call."""
    client, other = _plain_client(server), _plain_client(server)
    contexts: list[contextvars.Context] = []
    client.meta.events.register("before-call.codepipeline", lambda **_: contexts.append(contextvars.copy_context()))
    _acknowledge(ThirdPartyJobClient(client))
    _end_time(contexts[0])
    results: list[Any] = []
    thread = threading.Thread(
        target=contexts[0].run, args=(lambda: results.append(other.poll_for_third_party_jobs(**_POLL)),)
    )
    thread.start()
    thread.join()
    assert results[0]["jobs"] == []


@pytest.mark.parametrize("event", ["before-call", "before-sign"])
def test_a_direct_call_inside_a_handler_is_plain(event: str) -> None:
    """Its response is botocore's business, and it does not count."""

    def respond(peer: net.Peer) -> None:
        while True:
            is_direct = b".Poll" in peer.read_request()
            peer.send(net.http(b"<html>", headers="") if is_direct else net.http(_STATUS))

    with net.Server(respond) as server:
        client = _plain_client(server)
        results: list[Any] = []

        def handle(**_: object) -> None:
            results.append(client.poll_for_third_party_jobs(**_POLL))

        client.meta.events.register(f"{event}.codepipeline.AcknowledgeThirdPartyJob", handle)
        assert _acknowledge(ThirdPartyJobClient(client)) == "InProgress"
        assert results[0]["ResponseMetadata"]["HTTPStatusCode"] == 200


def test_what_a_log_handler_sends_does_not_count(server: net.Server, caplog: pytest.LogCaptureFixture) -> None:
    """Another client that sends between the hand-over and the connection is not the request."""
    other = _plain_client(server)
    sent: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if not sent:
                sent.append(record.name)
                other.poll_for_third_party_jobs(**_POLL)

    logger = logging.getLogger("urllib3.connectionpool")
    caplog.set_level(logging.DEBUG, logger.name)
    handler = Handler()
    logger.addHandler(handler)
    try:
        error = _error(ThirdPartyJobClient.create(endpoint_url="http://127.0.0.1:9", config=_ONCE))
    finally:
        logger.removeHandler(handler)
    assert sent == [logger.name]
    assert (error.delivery, error.attempts, error.is_retry_safe) == (Delivery.NOT_SENT, 0, True)


def _connect(url: str) -> ThirdPartyJobClient:
    return ThirdPartyJobClient.create(region_name="us-east-1", endpoint_url=url, config=_ONCE)


def test_a_stop_that_comes_out_of_a_handler_is_an_error_of_ours(server: net.Server) -> None:
    """A handler that makes a call of ours after the deadline passes its private exception on."""

    def stop(**_: object) -> None:
        raise CallStoppedError

    with _connect(_url(server)) as client:
        hooks: Any = client._client.meta.events
        hooks.register("before-send.codepipeline", stop)
        with pytest.raises(TransportError) as caught:
            client.get_third_party_job_details("job-1", client_token="token")
    assert (caught.value.delivery, caught.value.job_id) == (Delivery.NOT_SENT, "job-1")


def test_a_handler_may_make_up_any_response(server: net.Server) -> None:
    """A response that is not botocore's own class has the error of the service."""
    body = b'{"__type": "JobNotFoundException", "message": "no"}'
    made_up = SimpleNamespace(
        status_code=400, headers={"x-amzn-requestid": "req-1"}, content=body, raw=None, url=_url(server)
    )
    with _connect(_url(server)) as client:
        hooks: Any = client._client.meta.events
        hooks.register("before-send.codepipeline", lambda **_: made_up)
        with pytest.raises(JobNotFoundException):
            client.get_third_party_job_details("job-1", client_token="token")


def test_a_stream_is_bounded_once() -> None:
    """A response that is bounded already, as by a second copy of the library, stays as it is."""
    call = Call()
    response = SimpleNamespace(fp=io.BytesIO(b"12345"))
    for _ in range(2):
        response = connection._make_bounded_response(lambda response=response: response, call)
    before = call.bytes_left
    assert (response.fp.read(), before - call.bytes_left) == (b"12345", 5)


def test_a_stream_of_another_tool_is_bounded() -> None:
    """A stream that is not Python's own, as that of a tool which replaces sockets, may end with no bytes."""

    class Stream(io.RawIOBase):
        def readinto(self, buffer: Any) -> int | None:  # noqa: ARG002 - its name in `io`
            return None

        def fileno(self) -> int:
            return 5

    response = connection._make_bounded_response(lambda: SimpleNamespace(fp=Stream()), Call())
    assert (response.fp.read(), response.fp.fileno()) == (None, 5)


@pytest.mark.parametrize(
    ("token", "request_id", "expected"),
    [
        ("secret-token", "req-secret-token", "req-**********"),
        ("secret-token", "req-secret%2Dtoken", "req-**********"),
        ("secret-token", "8b9d3a50-1b2c-4d5e-8f90-123456789abc", "8b9d3a50-1b2c-4d5e-8f90-123456789abc"),
        ("secret+token", "req-1", "req-1"),
    ],
)
def test_a_token_in_a_request_id_is_struck_out(token: str, request_id: str, expected: str) -> None:
    """However the token or the request id is escaped; other request ids stay as they are."""
    seen: list[str | None] = []
    response = net.http({"status": "InProgress"}, headers=f"x-amzn-RequestId: {request_id}\r\n")
    with net.Server(net.respond(response)) as server:
        settings: Any = {"region_name": "us-east-1", "endpoint_url": _url(server), "config": _ONCE}
        with ThirdPartyJobClient.create(on_call=lambda record: seen.append(record.request_id), **settings) as client:
            client.acknowledge_third_party_job("job-1", nonce="3", client_token=token)
    assert seen == [expected]


def test_a_document_that_botocore_cannot_parse_is_checked_by_the_models() -> None:
    """Botocore's parser runs if it may log the response, and raises foreign errors for unexpected types."""
    with net.Server(net.respond(net.http({"jobDetails": {"data": []}}))) as server:
        settings: Any = {"region_name": "us-east-1", "endpoint_url": _url(server), "config": _ONCE}
        with ThirdPartyJobClient.create(wire_logs=True, **settings) as client, pytest.raises(ResponseDecodeError):
            client.get_third_party_job_details("job-1", client_token="token")
