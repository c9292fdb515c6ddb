"""The HTTP server for probes."""

from __future__ import annotations

import http.client
import logging
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import attrs
import pytest
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.registry import Collector
from support.worker_service import until

from cp_thirdparty.observability import HealthServer, _health_server, prometheus_metrics
from cp_thirdparty.worker import WorkerHealth

_GOOD = WorkerHealth(
    state="running",
    in_flight=0,
    seconds_since_poll=1.0,
    poll_error=None,
    oldest_unsent_result=None,
    uncertain=(),
    undecodable=(),
    overdue=(),
    seconds_since_loop=0.0,
)


def _request(
    port: int, path: str, method: str = "GET", *, address: str = "127.0.0.1", **headers: str
) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(address, port, timeout=10)
    connection.request(method, path, headers=headers)
    response = connection.getresponse()
    found = response.status, response.read()
    connection.close()
    return found


@pytest.mark.parametrize(
    ("health", "live", "ready"),
    [
        (_GOOD, 200, 200),
        (attrs.evolve(_GOOD, poll_error="ThrottledError"), 200, 503),
        (attrs.evolve(_GOOD, state="stopped", seconds_since_loop=None), 503, 503),
    ],
)
def test_probes_have_the_health(health: WorkerHealth, live: int, ready: int) -> None:
    """Each probe has one field of the health."""
    with HealthServer(lambda: health, port=0) as server:
        assert _request(server.port, "/live")[0] == live
        assert _request(server.port, "/ready?x=1")[0] == ready
        assert _request(server.port, "/ready", "HEAD") == (ready, b"")
        assert _request(server.port, "/metrics")[0] == 404
        assert _request(server.port, "/live", "POST")[0] == 501


def test_metrics_are_served() -> None:
    """In the format of Prometheus."""
    registry = CollectorRegistry()
    prometheus_metrics(registry)
    with HealthServer(lambda: _GOOD, registry=registry, port=0) as server:
        status, body = _request(server.port, "/metrics")
    assert (status, b"# TYPE cp_thirdparty_calls_total counter" in body) == (200, True)


class _BrokenCollector(Collector):
    """Raises when it is scraped, but not when it is registered."""

    def collect(self) -> Iterator[Metric]:
        raise ZeroDivisionError("a secret")

    def describe(self) -> Iterator[Metric]:
        return iter(())


class _BrokenHandler(logging.Handler):
    """Raises for each record, in the thread of the request."""

    def emit(self, record: logging.LogRecord) -> None:
        raise ZeroDivisionError(record)


def test_a_health_or_collector_that_raises_is_logged(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Only the class of the error is logged, nothing is printed, and the next request is served."""
    registry = CollectorRegistry()
    registry.register(_BrokenCollector())
    healths: dict[str, Any] = {"/live": None, "/ready": _GOOD}
    paths = iter(["/live", "/live", "/missing", "/ready"])
    log, broken = logging.getLogger("cp_thirdparty.observability"), _BrokenHandler()
    with HealthServer(lambda: healths[next(paths)], registry=registry, port=0) as server:
        assert _request(server.port, "/live") == (500, b"health has failed\n")
        assert _request(server.port, "/ready", "HEAD") == (500, b"")
        assert _request(server.port, "/ready?x=1") == (500, b"health has failed\n")
        assert _request(server.port, "/metrics") == (500, b"registry has failed\n")
        assert _request(server.port, "/ready")[0] == 200
        log.addHandler(broken)
        assert _request(server.port, "/metrics")[0] == 500
        log.removeHandler(broken)
    failures = ["health has failed with AttributeError"] * 2
    failures += ["health has failed with KeyError", "registry has failed with ZeroDivisionError"]
    assert [record.getMessage() for record in caplog.records[:4]] == [f"HealthServer: {text}" for text in failures]
    assert {(record.name, record.levelno, record.exc_info) for record in caplog.records} == {(log.name, 40, None)}
    assert capfd.readouterr() == ("", "")


def test_it_listens_on_this_machine_only_and_can_be_closed() -> None:
    """The port is free afterwards."""
    server = HealthServer(lambda: _GOOD, port=0)
    assert server._server.server_address[0] == "127.0.0.1"
    server.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port), timeout=5)
    until(lambda: not server._thread.is_alive())


@pytest.mark.parametrize(
    ("listens_on", "host", "status"),
    [
        ("127.0.0.1", "localhost:1", 200),
        ("127.0.0.1", "rebound.example", 421),
        ("127.0.0.1", "127.0.0.1.rebound.example:80", 421),
        ("127.0.0.1", "127.0.0.2:1", 200),
        ("127.1", "rebound.example", 421),
        ("127.1", "127.1:1", 200),  # as the name of this machine, if that is what the server was given
        ("0.0.0.0", "worker.example", 200),
    ],
)
def test_the_name_of_another_host_is_refused_on_this_machine(listens_on: str, host: str, status: int) -> None:
    """A page of another site whose name resolves to 127.0.0.1 can read neither health nor metrics."""
    with HealthServer(lambda: _GOOD, host=listens_on, port=0) as server:
        address = str(server._server.server_address[0])
        assert _request(server.port, "/live", address=address, Host=host)[0] == status


def test_a_probe_without_a_host_is_served() -> None:
    """As some probes of HTTP 1.0 are."""
    with HealthServer(lambda: _GOOD, port=0) as server, socket.create_connection(("127.0.0.1", server.port)) as probe:
        probe.sendall(b"GET /live HTTP/1.0\r\n\r\n")
        assert probe.recv(100).startswith(b"HTTP/1.0 200 ")


def test_clients_that_send_nothing_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """One too many is closed, and the others after a time, also if they send a byte now and then."""
    monkeypatch.setattr(_health_server._Server, "max_connections", 2)
    monkeypatch.setattr(_health_server._Handler, "seconds", 0.2)
    with HealthServer(lambda: _GOOD, port=0) as server, ExitStack() as stack:
        address = "127.0.0.1", server.port
        slow, *others = [stack.enter_context(socket.create_connection(address, timeout=10)) for _ in range(3)]
        assert others[-1].recv(1) == b""
        slow.settimeout(0.01)
        slow.sendall(b"GET /live HTTP/1.1\r\nX: ")

        def is_closed() -> bool:
            try:
                slow.sendall(b"x")
                return slow.recv(1) == b""
            except TimeoutError:
                return False
            except ConnectionError:
                return True

        until(is_closed)
        assert others[0].recv(1) == b""
        assert _request(server.port, "/live")[0] == 200


def test_a_request_that_is_too_long_is_not_read() -> None:
    """Many clients with long headers cannot fill the memory of the worker."""
    with (
        HealthServer(lambda: _GOOD, port=0) as server,
        socket.create_connection(("127.0.0.1", server.port), timeout=10) as client,
    ):
        client.sendall(b"GET /live HTTP/1.1\r\nHost: localhost\r\n" + b"X: " + b"x" * 60_000 + b"\r\n")
        client.sendall(b"X: " + b"x" * 60_000 + b"\r\n")
        client.sendall(b"X: " + b"x" * 11_100)
        assert client.recv(100).startswith(b"HTTP/1.0 431 ")


def test_closing_closes_connections() -> None:
    """A client that waits does not keep its thread."""
    with HealthServer(lambda: _GOOD, port=0) as server:
        waiting = socket.create_connection(("127.0.0.1", server.port), timeout=10)
        waiting.sendall(b"GET /live HTTP/1.1\r\n")
        until(lambda: len(server._server._connections) == 1)
    with waiting:
        assert waiting.recv(1) == b""
