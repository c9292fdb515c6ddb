"""
Serve the local CodePipeline over HTTP on 127.0.0.1.

It uses the standard library's ``http.server``, which adds no dependency, keeps connections alive, gives each connection
a thread, and has access to the socket, so that a fault can end the connection.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import cast

from cp_thirdparty._core.http_server import LOCAL_HOST, BoundedHandler, BoundedServer
from cp_thirdparty.testing._exchange import Exchange
from cp_thirdparty.testing._wire import HttpRequest, Response

# All valid requests are much shorter: in the service's model, the longest strings of a request have 12,000 characters.
_MAX_BODY_BYTES = 1 << 20
_LENGTH = re.compile(r"[0-9]{1,7}")


class HttpServer(BoundedServer):
    """
    Listen on 127.0.0.1, and pass each request to an exchange.

    Raises:
        OSError: The port is in use.
    """

    # Some versions of http.server set it to True.  Then two services can use the same port without an error.
    allow_reuse_port = False
    max_connections = 256  # each connection has a thread; the largest test has 64 clients with two connections each
    # With the default of 5, some of 64 simultaneous clients wait 1 to 4 s; with 128, 0.05 s.
    request_queue_size = 128

    def __init__(self, exchange: Exchange, port: int) -> None:
        self.exchange = exchange
        super().__init__(("127.0.0.1", port), Handler)


class Handler(BoundedHandler):
    """Respond to the requests of one connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # without it, a response that is sent in two writes waits 40 ms for a TCP ACK

    def do_POST(self) -> None:  # noqa: N802 - `http.server` calls a method of this name
        """Respond to a call of an operation."""
        if not LOCAL_HOST.fullmatch(self.headers.get("Host", "")):
            self.close_connection = True
            message = "The Host header must be localhost, 127.0.0.1 or [::1]"
            self._send(self._exchange.refuse("UnknownOperationException", message, status=421))
            return
        length = self.headers.get("Content-Length", "")
        if not _LENGTH.fullmatch(length) or int(length) > _MAX_BODY_BYTES:
            self.close_connection = True  # the body is not read, so no further request can be read
            message = "There must be a Content-Length of at most 1 MiB"
            self._send(self._exchange.refuse("SerializationException", message, status=413))
            return
        body = self.read_body(int(length))
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
        self.set_response_timeout()
        self.send_response_only(response.status)
        for name, value in response.headers.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(response.body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002 - they contain parts of the request
        """Refuse an invalid request or another method than POST, with a JSON body that does not repeat the request."""
        self.close_connection = True
        self.request_version = self.protocol_version  # otherwise, no headers are sent if the request is invalid
        self._send(self._exchange.refuse("UnknownOperationException", f"{code} {HTTPStatus(code).phrase}", status=code))
