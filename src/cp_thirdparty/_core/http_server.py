"""The HTTP server of the standard library, with limits of the connections and of the time of a request."""

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

# A web page may let its own name resolve to 127.0.0.1 (DNS rebinding); the browser then sends that name as the Host.
LOCAL_HOST: Final = re.compile(r"(localhost|127(\.[0-9]{1,3}){3}|\[::1\])(:[0-9]{1,5})?", re.IGNORECASE)

# `http.server` accepts 100 lines of 64 KiB, of which 64 clients could fill 400 MiB of the worker's memory.  One such
# line is a request line that is too long, which has a status of its own.
_LONGEST_HEAD: Final = 128 << 10


class BoundedServer(ThreadingHTTPServer):
    """Serves each connection in a thread, and closes new ones above `most_connections`."""

    most_connections: int = 256
    daemon_threads = True
    block_on_close = False  # server_close() closes the connections, with which the threads end

    def __init__(self, address: tuple[str, int], handler: type[BoundedHandler]) -> None:
        self._connections: set[socket.socket] = set()
        super().__init__(address, handler)

    def server_bind(self) -> None:
        """Bind without a look-up in DNS."""
        # HTTPServer.server_bind() calls socket.getfqdn(), which may take seconds without a network.
        TCPServer.server_bind(self)
        self.server_port: int = self.server_address[1]

    def serve_forever(self, poll_interval: float = 0.05) -> None:
        """Serve until `shutdown()`, for which it looks 20 times a second where it cannot be interrupted."""
        super().serve_forever(poll_interval)

    def shutdown(self) -> None:
        """Stop `serve_forever()` at once, without waiting for the end of its poll interval."""
        with suppress(OSError):  # only Linux allows this for a socket that listens
            self.socket.shutdown(socket.SHUT_RDWR)
        super().shutdown()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve the connection in a thread of its own, or close it if there are too many."""
        if len(self._connections) >= self.most_connections:
            self.shutdown_request(request)
            return
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Shut a connection down, and remove it from the open ones."""
        self._connections.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        """Stop listening, and close the connections."""
        super().server_close()
        for connection in tuple(self._connections):
            with suppress(OSError):  # its client has closed it already
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print no traceback, as socketserver does for each client that disconnects."""


class _TimedReader(io.RawIOBase):
    """
    Reads from a connection; each request has a time limit, however slowly its bytes come, and a limit of its bytes.

    Raises:
        http.client.LineTooLong: The request is too long; `http.server` responds with the status 431 to it.
        TimeoutError: The time is over.
    """

    def __init__(self, connection: socket.socket, seconds: float) -> None:
        self._connection = connection
        self._seconds = seconds
        self._ends_at: float | None = None
        self._bytes_left = 0

    def reset(self) -> None:
        """Prepare for the next request, whose time begins with its first byte."""
        self._ends_at = None
        self._bytes_left = _LONGEST_HEAD

    def expect(self, size: int) -> None:
        """Accept a body of so many bytes."""
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
    Serves a connection, with a time limit for each request.

    Attributes:
        seconds: Seconds in which a client must begin a request, and then send all of it; also for each piece of the
            response.
    """

    seconds: ClassVar[float] = 60.0

    def setup(self) -> None:
        """Read with the time limit."""
        super().setup()
        self.rfile.close()
        self._reader = _TimedReader(self.connection, self.seconds)
        self.rfile = io.BufferedReader(self._reader)

    def handle_one_request(self) -> None:
        """Serve one request."""
        self._reader.reset()
        super().handle_one_request()

    def read_body(self, size: int) -> bytes:
        """Return the body of a request."""
        self._reader.expect(size)
        return self.rfile.read(size)

    def start_response(self) -> None:
        """Set the time limit of each piece of the response."""
        self.connection.settimeout(self.seconds)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name that http.server has
        """Log nothing: after a malformed request, the request line may be a part of a body, with a client token."""
