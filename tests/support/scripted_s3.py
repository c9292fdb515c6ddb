"""A small S3 on loopback that works, unless a test changes a response."""

from __future__ import annotations

import base64
import hashlib
import re
import threading
import zlib
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

import attrs

if TYPE_CHECKING:
    from typing_extensions import Self

_KMS = {
    "x-amz-server-side-encryption": "aws:kms",
    "x-amz-server-side-encryption-aws-kms-key-id": "arn:aws:kms:us-east-1:123456789012:key/test-key-1",
}


@attrs.frozen
class ReceivedRequest:
    """One request; the names of its headers are in lower case."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes


@attrs.frozen(kw_only=True)
class Response:
    """
    One response.

    Attributes:
        status: The HTTP status; 0 for no response at all.

        sent: How many bytes of the body are sent; ``None`` for all.

        then: What happens after them: ``"keep"`` the connection, ``"close"`` it, or ``"stall"`` until it is closed.
    """

    status: int = 200
    headers: Mapping[str, str] = {}
    body: bytes = b""
    sent: int | None = None
    then: str = "keep"

    def with_headers(self, **changed: str | None) -> Response:
        """Change headers, whose names have underscores here; ``None`` takes one out."""
        headers: dict[str, Any] = {**self.headers, **{name.replace("_", "-"): each for name, each in changed.items()}}
        return attrs.evolve(self, headers={name: each for name, each in headers.items() if each is not None})


# Gets the request and the response that is right, and returns what is sent instead.
Change = Callable[[ReceivedRequest, Response], Response]


def etag(body: bytes) -> str:
    """Return the ETag of an object."""
    return f'"{hashlib.md5(body).hexdigest()}"'


def crc32(body: bytes) -> str:
    """Return the CRC32 of an object as S3 writes it."""
    return base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode()


def failed(code: str, status: int = 400, *, message: str = "no", **headers: str) -> Response:
    """Return an error of S3."""
    body = f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>{message}</Message></Error>'.encode()
    return Response(status=status, body=body, headers={"content-type": "application/xml"}).with_headers(**headers)


class ScriptedS3:
    """
    Holds objects by path, such as ``"/bucket/key"``.

    Attributes:
        objects: What there is.

        requests: The requests so far.

        change: Changes a response.
    """

    def __init__(self, objects: Mapping[str, bytes] | None = None, change: Change | None = None) -> None:
        self.objects = dict(objects or {})
        self.requests: list[ReceivedRequest] = []
        self.change = change
        self._parts: dict[int, bytes] = {}
        self._over = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("_HandlerOfOne", (_Handler,), {"s3": self}))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self.endpoint_url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def operations(self) -> list[str]:
        """Return the methods of the requests, each with the name of their first query parameter."""
        return [" ".join([request.method, *list(request.query)[:1]]) for request in self.requests]

    def respond(self, request: ReceivedRequest) -> Response:
        """Return the response to a request."""
        self.requests.append(request)
        right = self._right(request)
        if "x-amz-request-id" not in right.headers:
            right = right.with_headers(x_amz_request_id="req-0001")
        return right if self.change is None else self.change(request, right)

    def _right(self, request: ReceivedRequest) -> Response:
        if request.method in ("HEAD", "GET"):
            return self._read(request)
        if request.method == "PUT" and "partNumber" in request.query:
            self._parts[int(request.query["partNumber"])] = request.body
            return Response(headers={"etag": etag(request.body), **_KMS})
        if request.method == "PUT":
            self.objects[request.path] = request.body
            return Response(headers={"etag": etag(request.body), **_KMS})
        if request.method == "DELETE":
            self._parts.clear()
            return Response(status=204)
        if "uploads" in request.query:
            return _document("InitiateMultipartUploadResult", UploadId="upload-1")
        self.objects[request.path] = b"".join(body for _, body in sorted(self._parts.items()))
        return _document("CompleteMultipartUploadResult", ETag="&quot;whole-2&quot;")

    def _read(self, request: ReceivedRequest) -> Response:
        body = self.objects.get(request.path)
        if body is None:
            return failed("NoSuchKey", 404)
        headers = {"etag": etag(body), "last-modified": "Mon, 23 Nov 2026 16:00:00 GMT"}
        if request.headers.get("if-match", headers["etag"]) != headers["etag"]:
            return failed("PreconditionFailed", 412)
        span = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("range", ""))
        if span is None:
            return Response(body=body, headers={**headers, "x-amz-checksum-crc32": crc32(body)})
        begin, end = int(span[1]), min(int(span[2] or len(body)), len(body) - 1)
        headers["content-range"] = f"bytes {begin}-{end}/{len(body)}"
        return Response(status=206, body=body[begin : end + 1], headers=headers)


def _document(root: str, **members: str) -> Response:
    inner = "".join(f"<{name}>{text}</{name}>" for name, text in members.items())
    return Response(body=f'<?xml version="1.0"?><{root}>{inner}</{root}>'.encode())


class _Handler(BaseHTTPRequestHandler):
    s3: ScriptedS3
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each response waits 40 ms for an acknowledgement

    def _do(self) -> None:
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        headers = {name.lower(): value for name, value in self.headers.items()}
        length = int(headers.get("content-length", "0"))
        body = self.rfile.read(length)
        if len(body) < length:  # the client has closed the connection
            self.close_connection = True
            return
        self._send(self.s3.respond(ReceivedRequest(self.command, unquote(parts.path), query, headers, body)))

    do_HEAD = do_GET = do_PUT = do_POST = do_DELETE = _do  # noqa: N815 - http.server's names

    def _send(self, response: Response) -> None:
        if response.status == 0:
            self.close_connection = True
            return
        lines = [f"HTTP/1.1 {response.status} {HTTPStatus(response.status).phrase}"]
        headers = {"content-length": str(len(response.body)), **response.headers}
        lines += [f"{name}: {value}" for name, value in headers.items() if value != "-"]
        body = b"" if self.command == "HEAD" else response.body[: response.sent]
        self.wfile.write("\r\n".join([*lines, "", ""]).encode() + body)
        self.close_connection = response.then != "keep"
        if response.then == "stall":
            self.connection.settimeout(0.05)
            while not self.s3._over.is_set() and not self._is_closed():
                pass

    def _is_closed(self) -> bool:
        try:
            return not self.connection.recv(1)
        except TimeoutError:
            return False
        except OSError:
            return True

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except OSError:  # the client has closed the connection
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name in http.server
        """Log nothing."""
