"""Connect a client to the local CodePipeline in the same process, through botocore's event ``before-send``."""

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

# RFC 2606 reserves the domain "invalid", so no host has this name.  A request that bypasses the event handler fails.
IN_PROCESS_URL = "http://local-codepipeline.invalid"
"""The endpoint URL of clients that call the local service in the same process, without HTTP."""


def connect(client: BaseClient | Session, exchange: Exchange) -> None:
    """Let ``exchange`` respond to the CodePipeline requests of a client, or of all clients that a session creates."""
    sender: Any = functools.partial(_send, exchange)  # `Any`: the type stubs declare that event handlers return `None`
    events = client if isinstance(client, Session) else client.meta.events
    events.register("before-send.codepipeline", sender)


def _send(exchange: Exchange, request: AWSPreparedRequest, **_: object) -> AWSResponse:
    response = exchange.respond(_to_http_request(request))
    if response.ending == "lost":
        # botocore raises this error if a connection is closed before the response.  It must be raised here, because
        # botocore does not notice that the body of this stream is incomplete, as with most versions of urllib3.
        raise ConnectionClosedError(endpoint_url=request.url, request=request)
    headers: Any = response.headers  # botocore accepts any mapping, but its type stubs do not
    return AWSResponse(request.url, response.status, headers, _Body(response.body))


class _Body:
    """The stream from which botocore reads a response."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def stream(self, *_: Any, **__: Any) -> Iterator[bytes]:
        yield self._body


def _to_http_request(request: AWSPreparedRequest) -> HttpRequest:
    url = urlsplit(request.url)
    headers = {str(name).lower(): _to_string(value) for name, value in request.headers.items()}
    body: Any = request.body or b""
    return HttpRequest(
        method=request.method,
        target=(url.path or "/") + (f"?{url.query}" if url.query else ""),
        headers={"host": url.netloc, **headers},
        body=body.encode() if isinstance(body, str) else bytes(body),
    )


def _to_string(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)
