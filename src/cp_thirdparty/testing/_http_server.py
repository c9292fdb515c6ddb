"""
The local CodePipeline's HTTP on 127.0.0.1.

By the standard library's ``http.server``: it adds no dependency, keeps connections alive, gives each a thread, and
leaves the socket within reach for playing faults.
"""

from __future__ import annotations

import io
import re
import socket
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any, cast

from cp_thirdparty._core.call import now
from cp_thirdparty.testing._exchange import Exchange
from cp_thirdparty.testing._wire import HttpRequest, Response

__all__ = ["HttpServer"]

# No third-party request comes near it: the longest strings of the service's model add up to 12,000 characters.
_MAX_BODY_BYTES = 1 << 20
_LENGTH = re.compile(r"[0-9]{1,7}")

# A web page that a browser shows may resolve a name of its own to 127.0.0.1, but it cannot choose the Host header.
_HOST = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:[0-9]{1,5})?", re.IGNORECASE)

# Each connection has a thread.  The 64 clients of the largest test here have two connections each.
_MOST_CONNECTIONS = 256

# Seconds to wait for a request, and for all of it from its first byte on.
_IDLE_SECONDS = 60.0


class HttpServer(ThreadingHTTPServer):
    """
    Listen on 127.0.0.1 and pass each request to an exchange.

    Args:
        exchange: Responds to the requests.
        port: Where to listen; 0 for a free port.

    Raises:
        OSError: Somebody else listens there.
    """

    allow_reuse_port = False  # of some versions of http.server: two services would share a port unnoticed
    daemon_threads = True
    block_on_close = False  # a thread ends with its connection, which server_close() closes
    request_queue_size = 128  # of 64 clients at once, some waited 1 to 4 s with the default of 5, and 0.05 s with this

    def __init__(self, exchange: Exchange, port: int) -> None:
        self._connections: set[socket.socket] = set()
        self.exchange = exchange
        super().__init__(("127.0.0.1", port), _Handler)

    def server_bind(self) -> None:
        """Bind without looking up a name."""
        # HTTPServer's own looks up the name of the address, which may take seconds without a network.
        TCPServer.server_bind(self)
        self.server_port: int = self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        """Remember the connection, and serve it in a thread of its own; close one too many."""
        if len(self._connections) >= _MOST_CONNECTIONS:
            self.shutdown_request(request)
            return
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Forget a connection that has ended."""
        self._connections.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        """Stop listening, and close the connections."""
        super().server_close()
        for connection in tuple(self._connections):
            with suppress(OSError):  # its client was quicker
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print nothing: a client has hung up, and socketserver would print a traceback."""


class _Received(io.RawIOBase):
    """What a connection receives; a request has a time limit, however slowly its bytes come."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._ends_at: float | None = None

    def start_request(self) -> None:
        """Wait for another request; its time begins with its first byte."""
        self._ends_at = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = _IDLE_SECONDS if self._ends_at is None else self._ends_at - now()
        if left <= 0:
            raise TimeoutError
        self._connection.settimeout(left)
        count = self._connection.recv_into(buffer)
        if self._ends_at is None:
            self._ends_at = now() + _IDLE_SECONDS
        return count


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # without it, each response of two writes waits 40 ms for an acknowledgement

    def setup(self) -> None:
        super().setup()
        self.rfile.close()
        self._received = _Received(self.connection)
        self.rfile = io.BufferedReader(self._received)

    def handle_one_request(self) -> None:
        self._received.start_request()
        super().handle_one_request()

    def do_POST(self) -> None:
        if not _HOST.fullmatch(self.headers.get("Host", "")):
            self.close_connection = True
            message = "The Host header must be localhost, 127.0.0.1 or [::1]"
            self._send(self._exchange.refuse("UnknownOperationException", message, status=421))
            return
        length = self.headers.get("Content-Length", "")
        if not _LENGTH.fullmatch(length) or int(length) > _MAX_BODY_BYTES:
            self.close_connection = True  # the body stays unread
            message = "There must be a Content-Length of at most 1 MiB"
            self._send(self._exchange.refuse("SerializationException", message, status=413))
            return
        body = self.rfile.read(int(length))
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = HttpRequest(method=self.command, target=self.path, headers=headers, body=body)
        self._send(self._exchange.respond(request))

    @property
    def _exchange(self) -> Exchange:
        return cast("HttpServer", self.server).exchange

    def _send(self, response: Response) -> None:
        if response.ending != "keep":
            self.close_connection = True
        if response.ending == "lost":
            return
        self.connection.settimeout(_IDLE_SECONDS)  # for the response
        self.send_response_only(response.status)
        for name, value in response.headers.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(response.body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002 - they echo
        """Refuse what is not a request or not a POST: in JSON, without http.server's echo of what was sent."""
        self.close_connection = True
        self.request_version = self.protocol_version  # of a request that it cannot read, it would send no headers
        self._send(self._exchange.refuse("UnknownOperationException", f"{code} {HTTPStatus(code).phrase}", status=code))

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name that http.server has
        """Log nothing: a request line may be the rest of a body, with a client token in it."""
