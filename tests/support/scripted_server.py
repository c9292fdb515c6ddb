"""An HTTP server on loopback that returns what a test wants and keeps the requests."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from typing_extensions import Self


@attrs.frozen
class ReceivedRequest:
    """One request: its operation, its parameters and its headers in lower case."""

    operation: str
    parameters: dict[str, Any]
    headers: dict[str, str]


@attrs.frozen(kw_only=True)
class Response:
    """One response."""

    body: bytes
    status: int = 200
    headers: Mapping[str, str] = {"x-amzn-RequestId": "req-0001"}


def ok(document: object) -> Response:
    """Make a good response of a document."""
    return Response(body=json.dumps(document).encode())


def error(code: str, message: str = "no", *, status: int = 400, headers: Mapping[str, str] | None = None) -> Response:
    """Make an error of the service."""
    body = json.dumps({"__type": code, "message": message}).encode()
    return Response(body=body, status=status, headers={"x-amzn-RequestId": "req-0001", **(headers or {})})


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print the traceback of an error; a client that has disconnected is none, and another test may run by then."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class ScriptedServer:
    """Respond to each request with what ``respond`` returns."""

    def __init__(self, respond: Callable[[ReceivedRequest], Response]) -> None:
        self.requests: list[ReceivedRequest] = []
        requests = self.requests

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # else each response waits 40 ms for an acknowledgement

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                is_json = headers.get("content-type", "").startswith("application/x-amz-json")
                parameters = json.loads(body) if is_json else {}
                request = ReceivedRequest(headers.get("x-amz-target", "").partition(".")[2], parameters, headers)
                requests.append(request)
                response = respond(request)
                self.send_response_only(response.status)  # no Date: the test decides which
                for name, value in response.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(response.body)))
                self.end_headers()
                self.wfile.write(response.body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name in http.server
                """Keep quiet."""

        self._server = _Server(("127.0.0.1", 0), Handler)
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self.endpoint_url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
