"""One call in progress: its limits, and what was observed of each of its attempts."""

from __future__ import annotations

import concurrent.futures
import functools
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

import attrs
from typing_extensions import Self

from cp_thirdparty.enums import Delivery

if TYPE_CHECKING:
    from cp_thirdparty._core.operations import Request
    from cp_thirdparty.secrets import SecretStr

# freezegun replaces functions of `time` in every module, and time-machine replaces them in C.  A deadline on a clock
# that stands still would never come, so the clock is one that neither of them reaches.
now: Final[Callable[[], float]] = (
    functools.partial(time.clock_gettime, time.CLOCK_MONOTONIC)
    if hasattr(time, "clock_gettime")
    else functools.partial(time.monotonic)  # pragma: no cover - Windows
)

# The longest response of the service's model is far below 1 MiB; configurations have grown to 50 kB a value since.
MAX_BODY_BYTES: Final = 32 << 20
# The service sends less than 1 KiB of headers.
MAX_HEADER_BYTES: Final = 64 << 10


class CallStoppedError(concurrent.futures.CancelledError):
    """
    The library stops the call: its deadline was reached, or its response is too long.

    Botocore passes on a `CancelledError` as it is; it would retry other errors after a pause, beyond the deadline.
    """


class Step(Enum):
    """How far the current attempt of a call has come."""

    PREPARING = 1
    """Parameters and endpoint; nothing was signed."""
    SIGNING = 2
    """AWS credentials are being loaded, or the request is being signed."""
    SENDING = 3
    """The request was handed to the HTTP layer; none of its bytes has left."""
    UNSENT = 4
    """The attempt has failed, and none of its bytes has left."""
    SENT = 5
    """At least one byte of the request has left; no complete response has arrived."""
    RESPONDED = 6
    """A complete response has arrived."""


# Before Python 3.12, to look up a member of an Enum takes as long as a call of a function.  A call looks up some 35.
PREPARING, SIGNING, SENDING, UNSENT, SENT, RESPONDED = Step


class Obstacle(Enum):
    """Why no byte of a request could be sent, with the text for an error."""

    CONNECT = "no connection to the endpoint"
    PROXY = "no connection to the proxy"
    TIMEOUT = "no connection within the timeout"
    HANDSHAKE = "the connection was closed during the TLS handshake"
    TLS = "the TLS connection could not be made"
    CERTIFICATE = "the TLS certificate is not trusted"
    PROXY_REFUSAL = "the proxy refused the connection"

    @property
    def may_pass(self) -> bool:
        """Whether the same request may succeed later without a change of settings."""
        return self not in _LASTING


_LASTING: Final = frozenset({Obstacle.TLS, Obstacle.CERTIFICATE, Obstacle.PROXY_REFUSAL})


@attrs.define(kw_only=True)
class Call:
    """
    One call of ours.  In a ``with`` block it is the current call.

    Attributes:
        request: What is sent; ``None`` where a call only keeps secrets out of logs.
        ends_at: When it must be over, by `now`; ``None`` for never.
        began_at: When it began, by the same clock.
        wire_logs: Whether botocore may log what it sends and receives.
        attempts: In how many attempts bytes left or a response arrived.
        step: How far the current attempt has come.
        earlier: The worst delivery of the attempts before the current one.
        obstacle: Why the current attempt could not send, when that was observed.
        proxy_status: Status with which a proxy refused the current attempt's connection.
        fault: Why the response of the current attempt is not trusted, and its status.
        error_response: The error that botocore parsed, of the current attempt.
        error_body: The body of that error without the secrets; empty if nothing of it is shown.
        is_last_attempt: Whether no further attempt is allowed.
        has_success: Whether the response of the current attempt is a success that is trusted.
        document: Such a response as it arrived; ``None`` if it is not JSON.
        parsed: What botocore's parser would find in the document, if that was skipped.
        status_code: HTTP status of the response of the current attempt.
        request_id: What AWS Support asks for, of that response.
        is_connecting: Whether a connection is being made, so that bytes belong to a proxy or to TLS.
        context: Botocore's context of the request; ``None`` if the call did not reach botocore in this context.
        target: Scheme, host and port to which the current attempt is being sent; ``None`` before and after that.
        carrier: The connection that carries the request of the current attempt, when that is known.
        is_watched: Whether the HTTP layer of the current attempt is one that is observed, so that bytes would be seen.
        is_finished: Whether it is over; what inherited its context, such as a thread, is not a part of it.
        bytes_left: How many bytes of responses it still takes.
        watch: Ends the call at its deadline, if it has one.
    """

    request: Request[Any] | None = attrs.field(default=None, repr=False)
    ends_at: float | None = None
    wire_logs: bool = False
    began_at: float = attrs.field(factory=now)
    attempts: int = 0
    step: Step = PREPARING
    earlier: Delivery = Delivery.NOT_SENT
    obstacle: Obstacle | None = None
    proxy_status: int | None = None
    fault: tuple[str, int] | None = None
    error_response: Mapping[str, Any] | None = attrs.field(default=None, repr=False)
    error_body: bytes = attrs.field(default=b"", repr=False)
    is_last_attempt: bool = False
    document: Mapping[str, Any] | None = attrs.field(default=None, repr=False)
    parsed: Mapping[str, Any] | None = attrs.field(default=None, repr=False)
    has_success: bool = False
    status_code: int | None = None
    request_id: str | None = None
    is_connecting: bool = False
    context: object = attrs.field(default=None, repr=False)
    target: tuple[str, str, int | None] | None = None
    carrier: object = attrs.field(default=None, repr=False)
    is_watched: bool = False
    is_finished: bool = False
    bytes_left: int = MAX_BODY_BYTES
    watch: Any = None
    _token: Any = attrs.field(default=None, init=False, repr=False)

    def __enter__(self) -> Self:
        self._token = CURRENT.set(self)
        return self

    def __exit__(self, *_: object) -> None:
        self.is_finished = True
        CURRENT.reset(self._token)

    @property
    def delivery(self) -> Delivery:
        """The worst delivery of all attempts so far."""
        if self.step is SENT or self.earlier is Delivery.SENT:
            return Delivery.SENT
        return Delivery.RESPONDED if self.step is RESPONDED else self.earlier

    @property
    def secrets(self) -> tuple[SecretStr, ...]:
        """The secrets of the request."""
        return () if self.request is None else self.request.secrets

    def seconds_left(self) -> float | None:
        """Return how many seconds the call still has; ``None`` for any number."""
        return None if self.ends_at is None else self.ends_at - now()

    def is_over(self) -> bool:
        """Whether the deadline was reached."""
        return self.ends_at is not None and now() >= self.ends_at

    def check_deadline(self) -> None:
        """Raise `CallStoppedError` if the deadline was reached."""
        if self.ends_at is not None and now() >= self.ends_at:
            raise CallStoppedError

    def count_bytes(self, count: int) -> None:
        """Count bytes of a response; raise `CallStoppedError` if there are too many, or they come too late."""
        # A connection that was shut down at the deadline looks like the end of the response.
        self.bytes_left -= count
        if self.bytes_left < 0 or (self.ends_at is not None and now() >= self.ends_at):
            raise CallStoppedError

    def start_attempt(self) -> None:
        """Forget what was observed of the attempt before, but for its delivery."""
        self.earlier = self.delivery
        self.step = SIGNING
        self.is_last_attempt = False
        self.is_watched = False
        self.obstacle = self.proxy_status = self.fault = None
        self.status_code = self.request_id = None
        self.forget_response()

    def forget_response(self) -> None:
        """Drop the content of a response: frames that hold the call outlive it."""
        self.error_response = self.document = self.parsed = None
        self.error_body = b""
        self.has_success = False

    def note_sent(self) -> None:
        """Record that bytes of the request leave."""
        if self.step is SENDING:
            self.step = SENT
            self.attempts += 1

    def note_response(self) -> None:
        """Record that a complete response has arrived, from the network or from a handler of the caller."""
        if self.step is not SENT:
            self.attempts += 1
        self.step = RESPONDED

    def note_failure(self, *, is_unsent: bool) -> None:
        """
        Record that the attempt is over, so that traffic after it is not taken for the request.

        Without evidence that nothing was sent, the request may have arrived: an HTTP layer that is not observed has it.
        """
        if self.step is SENDING:
            if is_unsent or self.is_watched or self.obstacle is not None:
                self.step = UNSENT
            else:
                self.note_sent()


# Only calls of ours set it, so other users of a wrapped client keep their logs and their time.
CURRENT: ContextVar[Call | None] = ContextVar("cp_thirdparty_call", default=None)


def current_call() -> Call | None:
    """Return the call in progress in this context; a copy of the context may outlive it."""
    call = CURRENT.get()
    return None if call is None or call.is_finished else call
