"""An HTTP server of the standard library with bounds: how many connections, and the time of a complete request."""

from __future__ import annotations

import io
import re
import socket
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any, ClassVar, Final

from cp_thirdparty._core.call import now

__all__ = ["LOCAL_HOST", "BoundedHandler", "BoundedServer"]

# A web page that a browser shows may resolve a name of its own to 127.0.0.1, but it cannot choose the Host header.
LOCAL_HOST: Final = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:[0-9]{1,5})?", re.IGNORECASE)


class BoundedServer(ThreadingHTTPServer):
    """
    Serve each connection in a thread, and close what is more than `most_connections`.

    Args:
        address: The address and the port to listen on; 0 for a free port.
        handler: The class of the handlers.

    Raises:
        OSError: The port cannot be used.
    """

    most_connections: int = 256
    daemon_threads = True
    block_on_close = False  # a thread ends with its connection, which server_close() closes

    def __init__(self, address: tuple[str, int], handler: type[BoundedHandler]) -> None:
        self._connections: set[socket.socket] = set()
        super().__init__(address, handler)

    def server_bind(self) -> None:
        """Bind without looking up a name."""
        # HTTPServer's own looks up the name of the address, which may take seconds without a network.
        TCPServer.server_bind(self)
        self.server_port: int = self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        """Remember the connection, and serve it in a thread of its own; close one too many."""
        if len(self._connections) >= self.most_connections:
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

    def __init__(self, connection: socket.socket, seconds: float) -> None:
        self._connection = connection
        self._seconds = seconds
        self._ends_at: float | None = None

    def start_request(self) -> None:
        """Wait for another request; its time begins with its first byte."""
        self._ends_at = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self._seconds if self._ends_at is None else self._ends_at - now()
        if left <= 0:
            raise TimeoutError
        self._connection.settimeout(left)
        count = self._connection.recv_into(buffer)
        if self._ends_at is None:
            self._ends_at = now() + self._seconds
        return count


class BoundedHandler(BaseHTTPRequestHandler):
    """
    Serves a connection.

    Attributes:
        seconds: Seconds in which a client must begin a request, then send all of it, and then take the response.
    """

    seconds: ClassVar[float] = 60.0

    def setup(self) -> None:
        """Read through the limit of time."""
        super().setup()
        self.rfile.close()
        self._received = _Received(self.connection, self.seconds)
        self.rfile = io.BufferedReader(self._received)

    def handle_one_request(self) -> None:
        """Serve one request."""
        self._received.start_request()
        super().handle_one_request()

    def start_response(self) -> None:
        """Give the response a time of its own."""
        self.connection.settimeout(self.seconds)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name that http.server has
        """Log nothing: a request line may be the rest of a body, with a client token in it."""
