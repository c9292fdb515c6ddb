"""An HTTP server that limits the number of connections, and the time and the size of each request."""

from __future__ import annotations

import http.client
import io
import re
import socket
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any, ClassVar, Final

from cp_thirdparty._core.call import now

# The values of the Host header that a server on the loopback interface accepts.  This prevents DNS rebinding: a web
# page lets its own domain name resolve to 127.0.0.1, and the browser then sends that domain name as the Host header.
LOCAL_HOST: Final = re.compile(r"(localhost|127(\.[0-9]{1,3}){3}|\[::1\])(:[0-9]{1,5})?", re.IGNORECASE)

# `http.server` accepts 100 header lines of 64 KiB, so 64 connections could use 400 MiB of memory.  The limit is above
# 64 KiB, because `http.server` responds to a longer request line with the status 414, and to this limit with 431.
_MAX_HEADER_BYTES: Final = 128 << 10


class BoundedServer(ThreadingHTTPServer):
    """Serve each connection in its own thread, and close new connections while `max_connections` are open."""

    max_connections: int = 256
    daemon_threads = True
    block_on_close = False  # server_close() closes all connections, and so ends their threads

    def __init__(self, address: tuple[str, int], handler: type[BoundedHandler]) -> None:
        self._connections: set[socket.socket] = set()
        super().__init__(address, handler)

    def server_bind(self) -> None:
        """Bind the socket without a DNS lookup."""
        # Without a network, socket.getfqdn() in HTTPServer.server_bind() may take seconds.
        TCPServer.server_bind(self)
        self.server_port: int = self.server_address[1]

    def serve_forever(self, poll_interval: float = 0.05) -> None:
        """Serve until `shutdown()` is called; the server checks for it at least every ``poll_interval`` seconds."""
        super().serve_forever(poll_interval)

    def shutdown(self) -> None:
        """Stop `serve_forever()` at once; except on Linux, this takes up to one poll interval."""
        with suppress(OSError):  # only Linux can shut down a listening socket
            self.socket.shutdown(socket.SHUT_RDWR)
        super().shutdown()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve the connection in its own thread, or close it if too many connections are open."""
        if len(self._connections) >= self.max_connections:
            self.shutdown_request(request)
            return
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Shut down a connection, and remove it from the set of open connections."""
        self._connections.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        """Stop listening, and close all connections."""
        super().server_close()
        for connection in tuple(self._connections):
            with suppress(OSError):  # the client has already closed the connection
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Do nothing: the method of `socketserver` prints a traceback for each client that disconnects."""


class _TimedReader(io.RawIOBase):
    """
    Read from a connection, with a time limit and a size limit for each complete request.

    A client that sends its bytes slowly cannot extend the time limit, unlike the timeout of a socket.

    Raises:
        http.client.LineTooLong: The request is too long; `http.server` responds to it with the status 431.
        TimeoutError: The time limit of the request was reached.
    """

    def __init__(self, connection: socket.socket, seconds: float) -> None:
        self._connection = connection
        self._seconds = seconds
        self._ends_at: float | None = None
        self._bytes_left = 0

    def reset(self) -> None:
        """Prepare for the next request; its time limit starts with its first byte."""
        self._ends_at = None
        self._bytes_left = _MAX_HEADER_BYTES

    def allow_bytes(self, size: int) -> None:
        """Raise the limit of the current request by ``size`` bytes, for its body."""
        self._bytes_left += size

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
        self._bytes_left -= count
        if self._bytes_left < 0:
            raise http.client.LineTooLong("head")
        return count


class BoundedHandler(BaseHTTPRequestHandler):
    """
    Serve the requests of one connection, with time limits.

    Attributes:
        seconds: Limit in seconds for each of three steps: until the first byte of a request arrives, from the first to
            the last byte of the request, and for each write of the response.
    """

    seconds: ClassVar[float] = 60.0

    def setup(self) -> None:
        """Replace the reader of the connection with one that has limits."""
        super().setup()
        self.rfile.close()
        self._reader = _TimedReader(self.connection, self.seconds)
        # By default, Python 3.14 reads 128 KiB ahead, so the bytes of a body would count as bytes of its header.
        self.rfile = io.BufferedReader(self._reader, 8192)

    def handle_one_request(self) -> None:
        """Restart the limits, and serve one request."""
        self._reader.reset()
        super().handle_one_request()

    def read_body(self, size: int) -> bytes:
        """Read and return the body of the current request, which has ``size`` bytes."""
        self._reader.allow_bytes(size)
        return self.rfile.read(size)

    def set_response_timeout(self) -> None:
        """Set the time limit for each write of the response."""
        self.connection.settimeout(self.seconds)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the parameter's name in http.server
        """Log nothing: after a malformed request, the request line may be part of a body that has a client token."""
