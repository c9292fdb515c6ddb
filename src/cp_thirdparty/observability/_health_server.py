"""An HTTP server for the probes of an orchestrator and for scrapes of Prometheus."""

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

    ``/live`` is 200 while `WorkerHealth.is_alive`, and ``/ready`` while `WorkerHealth.is_ready`; otherwise both are
    503.  If ``health`` or the registry raises, the response is 500, and the log has the class of the error.  The
    responses hold no id of a job.  The server has threads of its own, so a worker whose slots are all busy still
    responds.

    It has at most 64 connections, and a client has 5 seconds to send its request.  On an address of this machine only,
    it refuses requests with the name of another host, which a page in a browser could send.

    Args:
        health: Returns the health, such as ``worker.health``.
        registry: The registry of prometheus_client whose metrics are served; ``None`` for none.
        host: The address to listen on.  The default is reachable from this machine only; give ``"0.0.0.0"`` in a
            container whose probes come from outside.
        port: The port; 0 for a free one.

    Raises:
        ImportError: There is a registry, but prometheus_client is not installed.
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
        """The port that it listens on."""
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
    most_connections = 64

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
        # A browser always sends the header; some probes of HTTP 1.0 do not.
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
        """Call a function of the caller; if it raises, log that and send an error."""
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
