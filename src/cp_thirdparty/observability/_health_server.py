"""An HTTP server for health probes, such as those of Kubernetes, and for the scrapes of Prometheus."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from functools import partial
from ipaddress import ip_address
from typing import Any, Final, TypeVar

from typing_extensions import Self

from cp_thirdparty._base.lazy import is_installed, missing_extra
from cp_thirdparty._base.text import show
from cp_thirdparty._core.http_server import LOCAL_HOST, BoundedHandler, BoundedServer
from cp_thirdparty.worker import WorkerHealth
from cp_thirdparty.worker._isolation import Raised, call_partner

_T = TypeVar("_T")

_log = logging.getLogger("cp_thirdparty.observability")

_TEXT: Final = "text/plain; charset=utf-8"


class HealthServer:
    """
    Serves ``/live``, ``/ready`` and, with a registry, ``/metrics``.  A context manager.

    The status of ``/live`` is 200 while `WorkerHealth.is_alive` is true, and the status of ``/ready`` is 200 while
    `WorkerHealth.is_ready` is true; otherwise the status is 503.  If ``health`` or the registry raises, the status is
    500, and the class of the error is logged.  The responses contain no ids of jobs.  The server has its own threads,
    so it responds even if all slots of the worker are busy.

    It accepts at most 64 connections, and a client has 5 seconds to send its request.  If the server listens on a
    loopback address, it refuses requests whose ``Host`` header names another host.  A web page in a browser on this
    machine could send such requests.

    Args:
        health: Returns the health of the worker, such as ``worker.health``.
        registry: The registry of prometheus_client whose metrics are served; ``None`` to serve no metrics.
        host: The address to listen on.  The default is reachable from this machine only.  Use ``"0.0.0.0"`` in a
            container that is probed from outside.
        port: The port; 0 for a free port.

    Raises:
        ImportError: ``registry`` is given, but prometheus_client is not installed.
        OSError: The port cannot be used.

    .. versionadded:: 0.2.0
    """

    def __init__(
        self, health: Callable[[], WorkerHealth], *, registry: Any = None, host: str = "127.0.0.1", port: int = 8080
    ) -> None:
        if registry is not None and not is_installed("prometheus_client"):
            raise missing_extra("prometheus_client")
        self._server = _Server((host, port), health, registry)
        self._thread = threading.Thread(target=self._server.serve_forever, name="cp-thirdparty-health", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """The port on which the server listens."""
        return self._server.server_port

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Server(BoundedServer):
    max_connections = 64

    def __init__(self, address: tuple[str, int], health: Callable[[], WorkerHealth], registry: Any) -> None:
        self.health = health
        self.registry = registry
        super().__init__(address, _Handler)
        self._name = address[0].lower()
        self._is_local = ip_address(str(self.server_address[0])).is_loopback

    def has_name(self, host: str) -> bool:
        """Return whether a Host header may be that of this server: any one if other machines reach it."""
        is_own = host.partition(":")[0].lower() == self._name
        return is_own or not self._is_local or LOCAL_HOST.fullmatch(host) is not None


class _Handler(BoundedHandler):
    server: _Server  # pyright: ignore[reportIncompatibleVariableOverride] - only this server creates handlers
    seconds = 5.0
    server_version = "cp-thirdparty"
    sys_version = ""

    def do_GET(self) -> None:  # noqa: N802 - the name that `http.server` calls
        """Respond to a probe or a scrape."""
        path = self.path.partition("?")[0]
        # A browser always sends the header.  Some probes that use HTTP 1.0 do not send it, and are accepted.
        if not self.server.has_name(self.headers.get("Host", "localhost")):
            self._send(421, b"the Host header must be localhost, 127.0.0.1 or [::1]\n")
        elif path == "/live":
            self._send_state(lambda: self.server.health().is_alive)
        elif path == "/ready":
            self._send_state(lambda: self.server.health().is_ready)
        elif path == "/metrics" and self.server.registry is not None:
            from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest  # noqa: PLC0415 - an extra

            metrics = self._call("registry", partial(generate_latest, self.server.registry))
            if not isinstance(metrics, Raised):
                self._send(200, metrics, CONTENT_TYPE_LATEST)
        else:
            self._send(404, b"not found\n")

    do_HEAD = do_GET  # noqa: N815 - see above

    def _call(self, name: str, function: Callable[[], _T]) -> _T | Raised:
        """Call ``health`` or the registry; if it raises, log the error and send the status 500."""
        found = call_partner(function)
        if isinstance(found, Raised):
            call_partner(_log.error, "HealthServer: %s has failed with %s", name, show(found.name))
            self._send(500, f"{name} has failed\n".encode())
        return found

    def _send_state(self, read: Callable[[], bool]) -> None:
        is_healthy = self._call("health", read)
        if not isinstance(is_healthy, Raised):
            self._send(200 if is_healthy else 503, b"yes\n" if is_healthy else b"no\n")

    def _send(self, status: int, body: bytes, content_type: str = _TEXT) -> None:
        self.set_response_timeout()
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
