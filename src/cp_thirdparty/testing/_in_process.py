"""A client and the local CodePipeline in one process, without a socket: by botocore's ``before-send`` event."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.client import BaseClient
from botocore.exceptions import ConnectionClosedError
from botocore.session import Session

from cp_thirdparty.testing._exchange import Exchange
from cp_thirdparty.testing._wire import HttpRequest

__all__ = ["IN_PROCESS_URL", "connect"]

# No resolver knows names that end so (RFC 2606): a request that came past the event would reach nobody.
IN_PROCESS_URL = "http://local-codepipeline.invalid"
"""The endpoint of clients that reach the service without HTTP; no host has this name."""


def connect(client: BaseClient | Session, exchange: Exchange) -> None:
    """
    Handle the CodePipeline requests of a client, or of all clients that a session makes, in this process.

    Args:
        client: A client or a session of botocore.
        exchange: Responds to the requests.
    """
    sender: Any = _Sender(exchange)  # stubs have it that handlers return nothing
    events = client if isinstance(client, Session) else client.meta.events
    events.register("before-send.codepipeline", sender)


class _Sender:
    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def __call__(self, request: AWSPreparedRequest, **_: object) -> AWSResponse:
        response = self._exchange.respond(_to_http_request(request))
        if response.ending == "lost":
            # What a socket that ends too early comes to in botocore.  A body that ends too early is taken as it is, as
            # with most versions of urllib3.
            raise ConnectionClosedError(endpoint_url=request.url, request=request)
        headers: Any = response.headers  # any mapping will do
        return AWSResponse(request.url, response.status, headers, _Body(response.body))


class _Body:
    """What botocore reads a response from."""

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
