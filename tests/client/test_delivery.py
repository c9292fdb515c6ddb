"""
What a call reports of its request, compared with what arrived at real servers and proxies on loopback.

Each row of the table is a way to lose a call. In the default run each has one operation; all of them are slow.
"""

from __future__ import annotations

import inspect
import socket
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import attrs
import pytest
from botocore.config import Config
from support import both_clients as both
from support import lossy_network as net
from support.lossy_network import AUTHORITY, Behaviour, FullListener, Server
from support.slow_rows import slow_pairs
from support.worker_service import until

from cp_thirdparty import ActionTypeId, FailureDetails, FailureType, ThirdPartyJobClient
from cp_thirdparty.enums import Delivery
from cp_thirdparty.exceptions import (
    CodePipelineJobError,
    CredentialsError,
    InvalidJobStateException,
    InvalidNonceException,
    ServiceError,
    ThrottledError,
    TransportError,
    UntrustedResponseError,
)

# asyncio of Python 3.10 leaves the transport of a tunnel open if the peer closes it.
_OPEN_TRANSPORT = "ignore:Exception ignored in. <function _SSLProtocolTransport:pytest.PytestUnraisableExceptionWarning"
pytestmark = [pytest.mark.filterwarnings(_OPEN_TRANSPORT)] if sys.version_info < (3, 11) else []

_TYPE = ActionTypeId(category="Test", owner="ThirdParty", provider="p", version="1")
_FAILURE = FailureDetails(type=FailureType.JOB_FAILED, message="no")
_CALLS: dict[str, Callable[[ThirdPartyJobClient], object]] = {
    "poll": lambda client: client.poll_for_third_party_jobs(_TYPE),
    "get": lambda client: client.get_third_party_job_details("job-1", client_token="token"),
    "acknowledge": lambda client: client.acknowledge_third_party_job("job-1", nonce="3", client_token="token"),
    "succeed": lambda client: client.put_third_party_job_success_result("job-1", client_token="token"),
    "fail": lambda client: client.put_third_party_job_failure_result(
        "job-1", client_token="token", failure_details=_FAILURE
    ),
}
_CALLS.update(both.custom_calls("job-1"))
_READS = ("poll", "get", "PollForJobs", "GetJobDetails")


class HookError(Exception):
    """Raised by a handler of the caller."""


@attrs.define
class Network:
    """The peers of one test, and the settings of a client that calls through them."""

    stack: ExitStack
    monkeypatch: pytest.MonkeyPatch
    folder: Path
    settings: dict[str, Any] = attrs.field(factory=dict)
    config: dict[str, Any] = attrs.field(factory=lambda: {"proxies": {}})
    session: Callable[[str], Any] = lambda kind: both.session(kind, "AKIDEXAMPLE", "made up")
    hook: str | None = None
    servers: list[Server] = attrs.field(factory=list)

    def serve(self, *behaviours: Behaviour) -> int:
        """Start a server, and return its port."""
        server = self.stack.enter_context(Server(*behaviours))
        self.servers.append(server)
        return server.port

    def client(self, kind: str, *, attempts: int = 1) -> ThirdPartyJobClient:
        """Return a client."""
        settings: dict[str, Any] = {"verify": AUTHORITY, "connect_timeout": 2, "read_timeout": 2, **self.settings}
        client = both.create(
            kind,
            region_name="us-east-1",
            session=self.session(kind),
            config=Config(retries={"mode": "standard", "total_max_attempts": attempts}, **self.config),
            **settings,
        )
        if self.hook is not None:
            client._client.meta.events.register(self.hook, _fail)
        return client

    def seen(self) -> bytes:
        """Return what has arrived of CodePipeline's requests."""
        return b"".join(data for server in self.servers for data in server.log)


def _fail(**_: object) -> None:
    raise HookError


Arrange = Callable[[Network], None]


def _tls(behaviour: Behaviour) -> Behaviour:
    def play(peer: net.Peer) -> None:
        peer.handshake()
        behaviour(peer)

    return play


def _https(*behaviours: Behaviour, **settings: Any) -> Arrange:
    """Return an origin with TLS; each behaviour follows a handshake."""
    return _tcp(*map(_tls, behaviours), **settings)


def _tcp(*behaviours: Behaviour, host: str = "127.0.0.1", **settings: Any) -> Arrange:
    """Return an origin that is expected to have TLS; a behaviour has the connection as it was accepted."""

    def arrange(network: Network) -> None:
        port = network.serve(*behaviours)
        network.settings |= {"endpoint_url": f"https://{host}:{port}", **settings}

    return arrange


def _http(*behaviours: Behaviour, **settings: Any) -> Arrange:
    """Return an origin without TLS."""

    def arrange(network: Network) -> None:
        network.settings |= {"endpoint_url": f"http://127.0.0.1:{network.serve(*behaviours)}", **settings}

    return arrange


def _proxy(proxy: Any, origin: Arrange, **settings: Any) -> Arrange:
    """Return an origin behind a proxy; `net.tunnel` and `net.forward` get its port; ``None`` sets no proxy."""

    def arrange(network: Network) -> None:
        origin(network)
        origin_port = int(network.settings["endpoint_url"].rpartition(":")[2])
        if proxy is None:
            port = _closed_port()
        else:
            port = network.serve(proxy(origin_port) if proxy in (net.tunnel, net.forward) else proxy)
        url = f"http://127.0.0.1:{port}"
        network.config["proxies"] = {"http": url, "https": url}
        network.settings |= settings

    return arrange


def _closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


def _nobody(network: Network) -> None:
    network.settings["endpoint_url"] = f"https://127.0.0.1:{_closed_port()}"


def _unknown_host(network: Network) -> None:
    look_up = socket.getaddrinfo

    def fail(host: Any, *arguments: Any, **settings: Any) -> Any:
        if host == "codepipeline.invalid":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return look_up(host, *arguments, **settings)

    network.monkeypatch.setattr(socket, "getaddrinfo", fail)
    network.settings["endpoint_url"] = "https://codepipeline.invalid"


def _full(**settings: Any) -> Arrange:
    def arrange(network: Network) -> None:
        port = network.stack.enter_context(FullListener()).port
        network.settings |= {"endpoint_url": f"https://127.0.0.1:{port}", **settings}

    return arrange


def _role(*behaviours: Behaviour, **settings: Any) -> Arrange:
    """Return an origin that responds well, and a profile whose role STS returns as the behaviours require."""

    def arrange(network: Network) -> None:
        _http(net.respond(net.http(net.GOOD)), **settings)(network)
        port = network.stack.enter_context(Server(*behaviours)).port if behaviours else _closed_port()
        net.use_role(network.folder, network.monkeypatch, port)
        network.session = lambda kind: both.profile_session(kind, "partner")

    return arrange


def _no_credentials(network: Network) -> None:
    _role(net.close_at_once)(network)
    network.session = lambda kind: both.profile_session(kind, None)


def _hook(event: str, arrange: Arrange) -> Arrange:
    def hooked(network: Network) -> None:
        arrange(network)
        network.hook = event

    return hooked


_GOOD = net.respond(net.http(net.GOOD))
_PAGE = net.http(b"<html>hello</html>", headers="")
_BY_OPERATION = "by operation"
_SOON = 1.5  # seconds; enough to send a request on a busy machine


@attrs.frozen
class Row:
    """A way to lose a call, and what the call reports."""

    arrange: Arrange
    delivery: Delivery
    is_retry_safe: bool | str
    error: type[Exception] = TransportError
    is_seen: bool | None = None  # whether bytes of the request arrive, where that does not follow from the delivery


def _passing(arrange: Arrange, error: type[Exception] = TransportError) -> Row:
    return Row(arrange, Delivery.NOT_SENT, is_retry_safe=True, error=error)


def _lasting(arrange: Arrange, error: type[Exception] = TransportError) -> Row:
    return Row(arrange, Delivery.NOT_SENT, is_retry_safe=False, error=error)


def _sent_row(arrange: Arrange, *, is_seen: bool | None = None) -> Row:
    return Row(arrange, Delivery.SENT, is_retry_safe=_BY_OPERATION, is_seen=is_seen)


def _responded_row(
    arrange: Arrange, error: type[Exception] = UntrustedResponseError, *, safe: bool | str = _BY_OPERATION
) -> Row:
    return Row(arrange, Delivery.RESPONDED, is_retry_safe=safe, error=error)


_ROWS: dict[str, Row] = {
    # before a connection
    "unknown host": _passing(_unknown_host),
    "nobody listens": _passing(_nobody),
    "connect timeout": _passing(_full(connect_timeout=0.2)),
    "deadline while connecting": _passing(_full(deadline=0.3)),
    # TLS handshake
    "closed in the handshake": _passing(_tcp(net.close_at_once)),
    "reset in the handshake": _passing(_tcp(net.reset_in_handshake)),
    "timeout in the handshake": _passing(_tcp(net.stall, connect_timeout=0.3)),
    "deadline in the handshake": _passing(_tcp(net.stall, deadline=0.3)),
    "another protocol": _lasting(_tcp(net.speak_something_else)),
    "untrusted certificate": _lasting(_https(_GOOD, verify=None)),
    "certificate of another host": _lasting(_https(_GOOD, host="localhost")),
    # CONNECT proxy
    "no proxy listens": _passing(_proxy(None, _https(_GOOD))),
    "proxy closes": _passing(_proxy(net.close_at_once, _https(_GOOD))),
    "proxy closes after CONNECT": _passing(_proxy(net.close_after_head, _https(_GOOD))),
    "proxy resets after CONNECT": _passing(_proxy(net.reset_after_head, _https(_GOOD))),
    "proxy is silent": _passing(_proxy(net.stall_after_head, _https(_GOOD), connect_timeout=0.3)),
    "deadline at a silent proxy": _passing(_proxy(net.stall_after_head, _https(_GOOD), deadline=0.3)),
    "proxy requires a password": _lasting(_proxy(net.refuse("407 Proxy Authentication Required"), _https(_GOOD))),
    "proxy forbids": _lasting(_proxy(net.refuse("403 Forbidden"), _https(_GOOD))),
    "proxy redirects": _lasting(_proxy(net.refuse("302 Found"), _https(_GOOD))),
    "proxy has a bad gateway": _lasting(_proxy(net.refuse("502 Bad Gateway"), _https(_GOOD))),
    "tunnel closes before the handshake": _passing(_proxy(net.tunnel(0, net.close_at_once), _https(_GOOD))),
    "tunnel is reset before the handshake": _passing(_proxy(net.tunnel(0, net.reset_in_handshake), _https(_GOOD))),
    "tunnel is silent in the handshake": _passing(_proxy(net.tunnel(0, net.stall), _https(_GOOD), connect_timeout=0.3)),
    "deadline in the handshake through a tunnel": _passing(
        _proxy(net.tunnel(0, net.stall), _https(_GOOD), deadline=0.3)
    ),
    "origin closes in the handshake through a tunnel": _passing(_proxy(net.tunnel, _tcp(net.close_at_once))),
    "untrusted certificate through a tunnel": _lasting(_proxy(net.tunnel, _https(_GOOD, verify=None))),
    "origin closes after the request through a tunnel": _sent_row(_proxy(net.tunnel, _https(net.close_after_request))),
    "origin resets after the request through a tunnel": _sent_row(_proxy(net.tunnel, _https(net.reset_after_request))),
    "origin resets in the request through a tunnel": _sent_row(_proxy(net.tunnel, _https(net.reset_within_request))),
    "TLS garbage through a tunnel": _sent_row(_proxy(net.tunnel, _https(net.tls_garbage_after_request))),
    "silence through a tunnel": _sent_row(_proxy(net.tunnel, _https(net.stall_after_request), read_timeout=0.3)),
    "deadline through a tunnel": _sent_row(_proxy(net.tunnel, _https(net.stall_after_request), deadline=_SOON)),
    # proxy that forwards plain HTTP
    "no forwarding proxy listens": _passing(_proxy(None, _http(_GOOD))),
    "forwarding proxy closes in the request": _sent_row(_proxy(net.reset_within_request, _http(_GOOD))),
    "forwarding proxy closes after the request": _sent_row(_proxy(net.close_after_request, _http(_GOOD))),
    "forwarding proxy resets after the request": _sent_row(_proxy(net.reset_after_request, _http(_GOOD))),
    "origin closes behind a forwarding proxy": _sent_row(_proxy(net.forward, _http(net.close_after_request))),
    "origin resets behind a forwarding proxy": _sent_row(_proxy(net.forward, _http(net.reset_after_request))),
    "deadline at a forwarding proxy": _sent_row(_proxy(net.stall_after_request, _http(_GOOD), deadline=_SOON)),
    "forwarding proxy requires a password": _responded_row(
        _proxy(net.respond(net.http(b"", status="407 Proxy Authentication Required", headers="")), _http(_GOOD))
    ),
    # the request and its response
    "closed without reading": _sent_row(_http(net.close_unread), is_seen=False),
    "TLS closed without reading": _sent_row(_https(net.close_unread), is_seen=False),
    "reset in the request": _sent_row(_http(net.reset_within_request)),
    "closed after the request": _sent_row(_http(net.close_after_request)),
    "TLS closed after the request": _sent_row(_https(net.close_after_request)),
    "reset after the request": _sent_row(_http(net.reset_after_request)),
    "TLS reset after the request": _sent_row(_https(net.reset_after_request)),
    "TLS garbage": _sent_row(_https(net.tls_garbage_after_request)),
    "garbage": _sent_row(_http(net.garbage_after_request)),
    "cut in the status line": _sent_row(_https(net.cut_in_status_line)),
    "reset in the headers": _sent_row(_http(net.cut_in_headers)),
    "reset in the body": _sent_row(_http(net.reset_in_body)),
    "TLS reset in the body": _sent_row(_https(net.reset_in_body)),
    "chunk cut": _sent_row(_http(net.cut_in_body)),
    "read timeout": _sent_row(_https(net.stall_after_request, read_timeout=0.3)),
    "deadline before the response": _sent_row(_https(net.stall_after_request, deadline=_SOON)),
    "deadline in the body": _sent_row(_https(net.drip, deadline=_SOON)),
    # responses
    "page": _responded_row(_https(net.respond(_PAGE))),
    "page of a gateway": _responded_row(_http(net.respond(net.http(b"<html>", status="502 Bad Gateway", headers="")))),
    "redirect": _responded_row(
        _http(net.respond(net.http(b"", status="302 Found", headers="Location: http://127.0.0.1:9/\r\n")))
    ),
    "throttled": _responded_row(
        _http(net.respond(net.service_error("ThrottlingException"))), ThrottledError, safe=True
    ),
    "500": _responded_row(_http(net.respond(net.service_error("InternalFailure", "500 Oops"))), ServiceError),
    "lost race": _responded_row(
        _http(net.respond(net.service_error("InvalidNonceException"))), InvalidNonceException, safe=False
    ),
    "result reported before": _responded_row(
        _http(net.respond(net.service_error("InvalidJobStateException"))), InvalidJobStateException, safe=False
    ),
    # credentials
    "no credentials": _lasting(_no_credentials, CredentialsError),
    "STS closes": _passing(_role(net.close_at_once), CredentialsError),
    "STS closes after its request": _passing(_role(net.close_after_head), CredentialsError),
    "STS resets": _passing(_role(net.reset_after_head), CredentialsError),
    "STS denies": _lasting(_role(net.sts(net.DENIED, "403 Forbidden")), CredentialsError),
    "STS has a page": _passing(_role(net.sts("<html>", "503 Busy")), CredentialsError),
    "STS has a page instead of a role": _lasting(_role(net.sts("<html>", "200 OK")), CredentialsError),
    "STS has many requests": _passing(_role(net.sts(net.DENIED, "429 Too Many Requests")), CredentialsError),
    "nobody is STS": _passing(_role(), CredentialsError),
    "deadline at STS": _passing(_role(net.stall_after_head, deadline=0.4), CredentialsError),
    # handlers of the caller
    "handler before parameters": _lasting(_hook("provide-client-params.codepipeline", _http(_GOOD)), HookError),
    "handler before the call": _lasting(_hook("before-call.codepipeline", _http(_GOOD)), HookError),
    "handler before signing": _lasting(_hook("before-sign.codepipeline", _http(_GOOD)), HookError),
    "handler of a new request": _lasting(_hook("request-created.codepipeline", _http(_GOOD)), HookError),
    "handler before sending": _lasting(_hook("before-send.codepipeline", _http(_GOOD)), HookError),
    "handler before parsing": _responded_row(_hook("before-parse.codepipeline", _http(_GOOD)), HookError),
    "handler after a response": _responded_row(_hook("response-received.codepipeline", _http(_GOOD)), HookError),
    "handler after a retry decision": _responded_row(_hook("needs-retry.codepipeline", _http(_GOOD)), HookError),
    "handler after the call": _responded_row(_hook("after-call.codepipeline", _http(_GOOD)), HookError),
}


def _cases() -> list[Any]:
    """Return each row with each operation; all but one of a row are slow."""
    return [
        pytest.param(name, operation, id=f"{name}-{operation}", marks=() if chosen == place else pytest.mark.slow)
        for index, name in enumerate(_ROWS)
        for chosen in [index % len(_CALLS)]
        for place, operation in enumerate(_CALLS)
    ]


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Give a network without peers."""
    with ExitStack() as stack:
        yield Network(stack, monkeypatch, tmp_path)


def _call(client: ThirdPartyJobClient, operation: str) -> Any:
    with pytest.raises((CodePipelineJobError, HookError)) as caught:
        _CALLS[operation](client)
    return caught.value


@both.each_kind
@pytest.mark.parametrize(("name", "operation"), _cases())
def test_a_lost_call_reports_what_was_observed(name: str, operation: str, kind: str, network: Network) -> None:
    """Delivery, class, retry safety and attempts are those of the table, and the logs of the servers agree."""
    row = _ROWS[name]
    row.arrange(network)
    error = _call(network.client(kind), operation)
    is_sent = row.delivery is not Delivery.NOT_SENT
    assert type(error) is row.error, error
    is_seen = is_sent if row.is_seen is None else row.is_seen
    if is_seen:
        until(lambda: bool(network.seen()))  # the server's thread may read later than the client gives up
    assert bool(network.seen()) == is_seen
    if isinstance(error, CodePipelineJobError):
        safe = (operation in _READS or None) if row.is_retry_safe == _BY_OPERATION else row.is_retry_safe
        assert (error.delivery, error.is_retry_safe) == (row.delivery, safe), error
        assert error.attempts == int(is_sent)


# What happens to AssumeRole over HTTPS -> whether the same call may succeed later.
_ROLE_OBSTACLES: dict[str, tuple[Behaviour, bool, bool]] = {
    # name: behaviour of STS or of the proxy, whether it is the proxy, whether the cause may pass
    "closed in the handshake": (net.close_at_once, False, True),
    "untrusted certificate": (_tls(net.sts(net.DENIED)), False, False),
    "proxy closes": (net.close_at_once, True, True),
    "proxy requires a password": (net.refuse("407 Proxy Authentication Required"), True, False),
}


@both.each_kind
@pytest.mark.parametrize("name", _ROLE_OBSTACLES)
def test_a_failure_of_sts_is_temporary_or_lasting(name: str, kind: str, network: Network) -> None:
    """A connection to STS that was closed may be made later; one that a certificate or a proxy forbids may not."""
    behaviour, is_proxy, may_pass = _ROLE_OBSTACLES[name]
    _role()(network)
    port = network.stack.enter_context(Server(behaviour)).port
    network.monkeypatch.setenv("AWS_ENDPOINT_URL_STS", f"https://127.0.0.1:{_closed_port() if is_proxy else port}")
    if is_proxy:
        network.monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
        network.monkeypatch.delenv("NO_PROXY", raising=False)
        network.monkeypatch.delenv("no_proxy", raising=False)
    error = _call(network.client(kind), "acknowledge")
    assert (type(error), error.delivery, error.attempts) == (CredentialsError, Delivery.NOT_SENT, 0)
    assert error.is_retry_safe is may_pass, error


def test_the_table_is_large_enough() -> None:
    """There are at least forty ways to lose a call."""
    assert len(_ROWS) >= 40


# --- resending


_THROTTLED = net.respond_once(net.service_error("ThrottlingException"))
_BROKEN = net.respond_once(net.service_error("InternalFailure", "500 Oops"))
_EVERY, _SOME, _NONE = "every", "reads", "none"

# What the first connection does, before one with a good response -> which operations are resent, and the attempts of
# those that succeed: attempts in which nothing was sent do not count.
_RESENT: dict[str, tuple[Behaviour, str, int]] = {
    "closed in the handshake": (net.close_at_once, _EVERY, 1),
    "reset in the handshake": (net.reset_in_handshake, _EVERY, 1),
    "another protocol": (net.speak_something_else, _NONE, 0),
    "throttled": (_tls(_THROTTLED), _EVERY, 2),
    "500": (_tls(_BROKEN), _SOME, 2),
    "page": (_tls(net.respond_once(_PAGE)), _SOME, 2),
    "closed after the request": (_tls(net.close_after_request), _SOME, 2),
    "reset after the request": (_tls(net.reset_after_request), _SOME, 2),
    "cut in the body": (_tls(net.cut_in_body), _SOME, 2),
    "refused": (_tls(net.respond(net.service_error("InvalidJobStateException"))), _NONE, 1),
}


@both.each_kind
@pytest.mark.parametrize(("name", "operation"), slow_pairs(_RESENT, _CALLS))
def test_a_request_is_resent_only_if_that_is_safe(name: str, operation: str, kind: str, network: Network) -> None:
    """Reads are resent; acknowledgements and results only if nothing was sent or CodePipeline has throttled them."""
    first, which, attempts = _RESENT[name]
    _tcp(first, _tls(_GOOD))(network)
    network.settings["deadline"] = 30
    records: list[Any] = []
    client = network.client(kind, attempts=2)
    client._on_call = records.append
    if which == _EVERY or (which == _SOME and operation in _READS):
        _CALLS[operation](client)
        assert (records[0].attempts, network.servers[0].connections) == (attempts, 2)
    else:
        error = _call(client, operation)
        assert error.attempts == records[0].attempts == (0 if error.delivery is Delivery.NOT_SENT else 1)
        assert network.servers[0].connections == 1


@both.each_kind
def test_the_delivery_of_a_call_is_the_worst_of_its_attempts(kind: str, network: Network) -> None:
    """A poll that was sent, then refused with an error, was sent as far as anybody knows."""
    _tcp(_tls(net.close_after_request), _tls(_BROKEN))(network)
    network.settings["deadline"] = 30
    error = _call(network.client(kind, attempts=2), "poll")
    assert (type(error), error.delivery, error.attempts) == (ServiceError, Delivery.SENT, 2)


@both.each_kind
def test_a_result_that_was_throttled_and_then_not_sent_may_be_sent_again(kind: str, network: Network) -> None:
    """A response is worse than an attempt in which nothing was sent, and neither makes resending unsafe."""
    _tcp(_tls(_THROTTLED), net.close_at_once)(network)
    network.settings["deadline"] = 30
    error = _call(network.client(kind, attempts=2), "succeed")
    assert (type(error), error.delivery, error.attempts) == (TransportError, Delivery.RESPONDED, 1)
    assert error.is_retry_safe is True


# --- classes of exceptions decide nothing


class UnrelatedError(Exception):
    """Takes the place of every exception of botocore, urllib3 and aiohttp."""


def _hide_class(monkeypatch: pytest.MonkeyPatch, target: str, *, keep_context: bool) -> None:
    """Let a function raise `UnrelatedError` instead of any exception."""
    module, _, name = target.rpartition(".")
    original = getattr(pytest.importorskip(module.rpartition(".")[0]), module.rpartition(".")[2])
    function = getattr(original, name)

    def translate(failure: Exception) -> Exception:
        other = UnrelatedError()
        other.__context__ = failure if keep_context else None
        return other

    if inspect.iscoroutinefunction(function):

        async def call_async(*arguments: Any, **settings: Any) -> Any:
            try:
                return await function(*arguments, **settings)
            except Exception as failure:  # noqa: BLE001 - whatever it is
                error = translate(failure)
            raise error

        monkeypatch.setattr(original, name, call_async)
        return

    def call(*arguments: Any, **settings: Any) -> Any:
        try:
            return function(*arguments, **settings)
        except Exception as failure:  # noqa: BLE001 - whatever it is
            error = translate(failure)
        raise error

    monkeypatch.setattr(original, name, call)


_SEAMS = {
    "blocking": {
        "botocore": ("botocore.httpsession.URLLib3Session.send", False),
        "urllib3": ("urllib3.connectionpool.HTTPConnectionPool.urlopen", False),
    },
    "asyncio": {
        "botocore": ("aiobotocore.httpsession.AIOHTTPSession.send", False),
        "aiohttp": ("aiohttp.client.ClientSession._request", True),  # Python's own errors stay its context
    },
}


def _seams() -> list[Any]:
    return [(kind, seam) for kind in both.KINDS for seam in _SEAMS[kind]]


_LATE = ("deadline through a tunnel", "deadline before the response")


@pytest.mark.parametrize(("kind", "seam"), _seams())
@pytest.mark.parametrize(
    "name",
    [
        # Those with a deadline after the request take 1.5 seconds.
        pytest.param(name, marks=() if index % 4 == 0 and name not in _LATE else pytest.mark.slow)
        for index, (name, row) in enumerate(_ROWS.items())
        if row.error is not HookError
    ],
)
def test_no_verdict_depends_on_a_class(
    name: str, kind: str, seam: str, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an unrelated class for each exception of the layers below, each row of the table stays as it is."""
    target, keep_context = _SEAMS[kind][seam]
    _hide_class(monkeypatch, target, keep_context=keep_context)
    test_a_lost_call_reports_what_was_observed(name, "succeed", kind, network)
