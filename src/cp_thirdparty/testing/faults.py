"""Faults that a test injects into the local CodePipeline."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from datetime import timedelta
from typing import Literal, Protocol, runtime_checkable

import attrs

from cp_thirdparty._base.durations import read_seconds
from cp_thirdparty._base.frames import hide_init_arguments
from cp_thirdparty._core.operations import OPERATION_NAMES
from cp_thirdparty.testing._wire import Response, error_response

__all__ = [
    "Delay",
    "ExpiredCredentials",
    "Fault",
    "Faults",
    "HtmlPage",
    "LostAnswer",
    "Response",
    "ServerError",
    "Throttling",
    "TruncatedBody",
]


@runtime_checkable
class Fault(Protocol):
    """The interface of a fault: implemented by the classes of this module, or by your own."""

    def play(self, serve: Callable[[], Response]) -> Response:
        """
        Return the response to a request.

        Args:
            serve: Function that executes the request in the service, and returns the service's response.  If you do not
                call it, the request has no effect.
        """
        ...


@attrs.frozen(kw_only=True)
class Throttling:
    """
    The service refuses the request, because there are too many requests.  The request has no effect.

    Attributes:
        code: The error code.  AWS documents none for these operations; the default is the code of newer AWS services.
        status: The HTTP status: 400, which JSON services of AWS return, or 429.
    """

    code: str = "ThrottlingException"
    status: int = 400

    def play(self, serve: Callable[[], Response]) -> Response:  # noqa: ARG002 - the request has no effect
        """Return the error."""
        return error_response(self.code, "Rate exceeded", status=self.status)


@attrs.frozen(kw_only=True)
class ServerError:
    """
    The service fails.  The request has no effect.

    Attributes:
        status: The HTTP status, 500 or more.
        code: The code in the response.
    """

    status: int = 500
    code: str = "InternalFailure"

    def play(self, serve: Callable[[], Response]) -> Response:  # noqa: ARG002 - the request has no effect
        """Return the error."""
        return error_response(self.code, "Injected fault", status=self.status)


@attrs.frozen
class ExpiredCredentials:
    """The service reports that the caller's own AWS credentials have expired.  The request has no effect."""

    def play(self, serve: Callable[[], Response]) -> Response:  # noqa: ARG002 - the request has no effect
        """Return the error."""
        return error_response("ExpiredTokenException", "The security token included in the request is expired")


@attrs.frozen
class LostAnswer:
    """The service executes the request, and the connection is closed before the response is sent."""

    def play(self, serve: Callable[[], Response]) -> Response:
        """Execute the request, and send no response."""
        return attrs.evolve(serve(), ending="lost")


@attrs.frozen(kw_only=True)
class TruncatedBody:
    """
    The service executes the request, and sends only the beginning of the response's body.

    Attributes:
        length: The number of bytes of the body that are sent.
        content_length: The value of the Content-Length header.  ``"whole"``: the length of the complete body; then the
            connection is closed.  A client finds the error if it compares the length with the received bytes; botocore
            does so only with some versions of urllib3.  ``"cut"``: the number of bytes that are sent.  A client finds
            the error only if it parses the body, and never if the body is empty.
    """

    length: int = 10
    content_length: Literal["whole", "cut"] = "whole"

    def play(self, serve: Callable[[], Response]) -> Response:
        """Execute the request, and truncate the response."""
        response = serve()
        body = response.body[: self.length]
        if self.content_length == "cut":
            return attrs.evolve(response, body=body, headers={**response.headers, "Content-Length": str(len(body))})
        length = max(len(response.body), len(body) + 1)
        return attrs.evolve(
            response, body=body, headers={**response.headers, "Content-Length": str(length)}, ending="close"
        )


@attrs.frozen(kw_only=True)
class HtmlPage:
    """
    A proxy, a captive portal or a load balancer returns an HTML page.  The request has no effect.

    Attributes:
        status: The HTTP status.
        page: The HTML document.
    """

    status: int = 200
    page: str = "<!DOCTYPE html><html><body><h1>Please sign in to the network</h1></body></html>"

    def play(self, serve: Callable[[], Response]) -> Response:  # noqa: ARG002 - the request has no effect
        """Return the page."""
        body = self.page.encode()
        headers = {"Content-Type": "text/html; charset=utf-8", "Content-Length": str(len(body))}
        return Response(status=self.status, headers=headers, body=body)


def _read_delay(seconds: float | timedelta) -> float:
    return read_seconds("seconds", seconds, least=0)


@hide_init_arguments
@attrs.frozen
class Delay:
    """
    The service executes the request after a delay, even if the client has closed the connection before that.

    Attributes:
        seconds: The delay in real seconds, because the timeouts of a client do not use the clock of a test.
    """

    seconds: float = attrs.field(converter=_read_delay)

    def play(self, serve: Callable[[], Response]) -> Response:
        """Wait, and execute the request."""
        time.sleep(self.seconds)
        return serve()


class Faults:
    """
    The faults that were added and not played yet.  Each request plays the oldest remaining fault of its operation.

    Thread-safe.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._planned: dict[str, deque[_PlannedFault]] = {name: deque() for name in OPERATION_NAMES}

    def add(self, operation_name: str, fault: Fault, times: int | None = 1) -> None:
        """
        Inject a fault into the next requests of an operation.

        Args:
            operation_name: The service's name of the operation, such as ``"GetThirdPartyJobDetails"``.
            fault: The fault.  It is played after the faults that were added before for this operation.
            times: The number of requests that play the fault, at least 1; ``None`` for all requests until `clear()`.

        Raises:
            ValueError: There is no such operation, or ``times`` is less than 1.
            TypeError: ``fault`` is not a fault.
        """
        if operation_name not in OPERATION_NAMES:
            raise ValueError(f"operation_name: must be one of {', '.join(OPERATION_NAMES)}")
        if isinstance(fault, type) or not isinstance(fault, Fault):
            raise TypeError("fault: must be an object with a play(), such as LostAnswer()")
        if times is not None and times < 1:
            raise ValueError("times: must be at least 1, or None for all requests")
        with self._lock:
            self._planned[operation_name].append(_PlannedFault(fault, times))

    def clear(self) -> None:
        """Remove all faults that were not played yet."""
        with self._lock:
            for planned in self._planned.values():
                planned.clear()

    def take(self, operation_name: str) -> Fault | None:
        """Return and remove the next fault of an operation, or ``None``."""
        with self._lock:
            planned = self._planned[operation_name]
            if not planned:
                return None
            first = planned[0]
            if first.times is not None:
                first.times -= 1
                if first.times == 0:
                    planned.popleft()
            return first.fault

    def __repr__(self) -> str:
        with self._lock:
            planned = {name: list(queue) for name, queue in self._planned.items() if queue}
        return f"<Faults: {planned}>"


@attrs.define
class _PlannedFault:
    fault: Fault
    times: int | None
