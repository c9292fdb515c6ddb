"""Connect a client with the local CodePipeline in one process, by botocore's event ``before-send``."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.client import BaseClient
from botocore.exceptions import ConnectionClosedError
from botocore.session import Session

from cp_thirdparty.testing._exchange import Exchange
from cp_thirdparty.testing._wire import HttpRequest

# No resolver has names of this domain (RFC 2606), so a request that bypasses the event reaches no host.
IN_PROCESS_URL = "http://local-codepipeline.invalid"
"""The endpoint of clients that reach the service without HTTP; no host has this name."""


def connect(client: BaseClient | Session, exchange: Exchange) -> None:
    """Let an exchange respond to the CodePipeline requests of a client, or of all clients that a session creates."""
    sender: Any = functools.partial(_send, exchange)  # type stubs declare that handlers return nothing
    events = client if isinstance(client, Session) else client.meta.events
    events.register("before-send.codepipeline", sender)


def _send(exchange: Exchange, request: AWSPreparedRequest, **_: object) -> AWSResponse:
    response = exchange.respond(_to_http_request(request))
    if response.ending == "lost":
        # botocore raises this when a socket ends too early.  It accepts a body that ends too early, as it does with
        # most versions of urllib3.
        raise ConnectionClosedError(endpoint_url=request.url, request=request)
    headers: Any = response.headers  # any mapping works
    return AWSResponse(request.url, response.status, headers, _Body(response.body))


class _Body:
    """The stream from which botocore reads a response."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def stream(self, *_: Any, **__: Any) -> Iterator[bytes]:
        yield self._body


def _to_http_request(request: AWSPreparedRequest) -> HttpRequest:
    """Return what a server would have received."""
    url = urlsplit(request.url)
    headers = {str(name).lower(): _text(value) for name, value in request.headers.items()}
    body: Any = request.body or b""
    return HttpRequest(
        method=request.method,
        target=(url.path or "/") + (f"?{url.query}" if url.query else ""),
        headers={"host": url.netloc, **headers},
        body=body.encode() if isinstance(body, str) else bytes(body),
    )


def _text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)
