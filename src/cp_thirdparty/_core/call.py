"""The state of one running call: its limits, and what was observed during each of its attempts."""

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

# The clock for deadlines.  If tests froze this clock, no deadline would be reached.  freezegun replaces the functions
# of `time` in every module, and time-machine replaces them in C; neither of them replaces this function.
now: Final[Callable[[], float]] = (
    functools.partial(time.clock_gettime, time.CLOCK_MONOTONIC)
    if hasattr(time, "clock_gettime")
    else functools.partial(time.monotonic)  # pragma: no cover - Windows
)

# According to the service's model, responses have far less than 1 MiB.  But CodePipeline has sent configuration
# values of 50 kB, which exceed the model's limits, so this limit is much higher.
MAX_BODY_BYTES: Final = 32 << 20
# The service sends less than 1 KiB of headers.
MAX_HEADER_BYTES: Final = 64 << 10


class CallStoppedError(concurrent.futures.CancelledError):
    """
    The library stops the call: its deadline was reached, or its response is too long.

    Botocore raises a `CancelledError` unchanged.  It would retry other errors after a pause, beyond the deadline.
    """


class Step(Enum):
    """The progress of the current attempt of a call."""

    PREPARING = 1
    """Botocore checks the parameters and finds the endpoint; the request is not signed yet."""
    SIGNING = 2
    """AWS credentials are being loaded, or the request is being signed."""
    SENDING = 3
    """The request was passed to the HTTP layer; no byte of it was sent."""
    UNSENT = 4
    """The attempt has failed, and no byte of the request was sent."""
    SENT = 5
    """At least one byte of the request was sent; no complete response has arrived."""
    RESPONDED = 6
    """A complete response has arrived."""


# Before Python 3.12, reading a member of an Enum takes as long as calling a function, and each call reads about 35
# members.  Modules read these names instead.
PREPARING, SIGNING, SENDING, UNSENT, SENT, RESPONDED = Step


class Obstacle(Enum):
    """Why no byte of a request could be sent, with the text for an error."""

    CONNECT = "no connection to the endpoint"
    PROXY = "no connection to the proxy"
    TIMEOUT = "no connection within the timeout"
    HANDSHAKE = "the connection was closed during the TLS handshake"
    TLS = "the TLS connection could not be opened"
    CERTIFICATE = "the TLS certificate is not trusted"
    PROXY_REFUSAL = "the proxy refused the connection"

    @property
    def is_temporary(self) -> bool:
        """Return whether the same request may succeed later without a change of settings."""
        return self not in _PERMANENT


_PERMANENT: Final = frozenset({Obstacle.TLS, Obstacle.CERTIFICATE, Obstacle.PROXY_REFUSAL})


@attrs.define(kw_only=True, eq=False)
class Call:
    """
    One call of this library.  In a ``with`` block it is the current call.

    Attributes:
        request: The request to send; ``None`` if the call sends nothing and only keeps secrets out of logs.
        ends_at: Time of `now` at which the call must end; ``None`` for no deadline.
        began_at: Time of `now` at which the call began.
        wire_logs: Whether botocore may log requests and responses.
        attempts: Number of attempts in which bytes were sent or a response arrived.
        step: Progress of the current attempt.
        earlier_delivery: The worst delivery of all attempts before the current one.
        obstacle: Why the current attempt could not send the request; ``None`` if no reason was observed.
        proxy_status: HTTP status with which a proxy refused the connection of the current attempt.
        fault: Why the response of the current attempt is not trusted, and its HTTP status.
        error_response: The error response of the current attempt, as botocore parsed it.
        error_body: The body of that error response without secrets; empty if the body must not be shown.
        is_last_attempt: Whether no further attempt is allowed.
        has_success: Whether the response of the current attempt is successful and trusted.
        document: The JSON document of such a successful response; ``None`` if the response is not JSON.
        parsed: The result that botocore's parser would return for the document, if the parser was skipped.
        status_code: HTTP status of the response of the current attempt.
        request_id: Request id of that response, for AWS Support.
        is_connecting: Whether a connection is being opened.  Bytes sent meanwhile belong to a proxy or to TLS.
        context: Botocore's ``context`` of the request; ``None`` if no event handler of this library has run for it.
        target: Scheme, host and port to which the current attempt is being sent; ``None`` before and after that.
        connection: The connection that sends the request of the current attempt; ``None`` if it is unknown.
        is_watched: Whether this library observes the HTTP layer of the current attempt, so that it notices sent bytes.
        is_finished: Whether the call has ended.  A thread that has inherited the context may still refer to the call.
        bytes_left: How many more bytes of responses the call may receive.
        watch: The `Watch` that ends the call at its deadline; ``None`` if the call has no deadline.
    """

    request: Request[Any] | None = attrs.field(default=None, repr=False)
    ends_at: float | None = None
    wire_logs: bool = False
    began_at: float = attrs.field(factory=now)
    attempts: int = 0
    step: Step = PREPARING
    earlier_delivery: Delivery = Delivery.NOT_SENT
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
    connection: object = attrs.field(default=None, repr=False)
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
        if self.step is SENT or self.earlier_delivery is Delivery.SENT:
            return Delivery.SENT
        return Delivery.RESPONDED if self.step is RESPONDED else self.earlier_delivery

    @property
    def secrets(self) -> tuple[SecretStr, ...]:
        """The secret parameters of the request."""
        return () if self.request is None else self.request.secrets

    def seconds_left(self) -> float | None:
        """Return the seconds until the deadline; ``None`` if the call has no deadline."""
        return None if self.ends_at is None else self.ends_at - now()

    def is_past_deadline(self) -> bool:
        """Return whether the deadline was reached."""
        return self.ends_at is not None and now() >= self.ends_at

    def check_deadline(self) -> None:
        """Raise `CallStoppedError` if the deadline was reached."""
        if self.ends_at is not None and now() >= self.ends_at:
            raise CallStoppedError

    def count_bytes(self, count: int) -> None:
        """Count bytes of a response; raise `CallStoppedError` if there are too many, or the deadline was reached."""
        # When the watchdog shuts down the connection at the deadline, this looks like the end of the response.
        self.bytes_left -= count
        if self.bytes_left < 0 or (self.ends_at is not None and now() >= self.ends_at):
            raise CallStoppedError

    def start_attempt(self) -> None:
        """Discard what was observed during the previous attempt, except its delivery."""
        self.earlier_delivery = self.delivery
        self.step = SIGNING
        self.is_last_attempt = False
        self.is_watched = False
        self.obstacle = self.proxy_status = self.fault = None
        self.status_code = self.request_id = None
        self.discard_response()

    def discard_response(self) -> None:
        """Discard the content of a response, because frames of a traceback may refer to the call after its end."""
        self.error_response = self.document = self.parsed = None
        self.error_body = b""
        self.has_success = False

    def note_sent(self) -> None:
        """Record that bytes of the request are sent now."""
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
        Record that the attempt has ended, so that later bytes are not counted as bytes of the request.

        If the HTTP layer was not observed and there is no other evidence that nothing was sent, the request counts as
        sent, because the service may have received it.
        """
        if self.step is SENDING:
            if is_unsent or self.is_watched or self.obstacle is not None:
                self.step = UNSENT
            else:
                self.note_sent()


# The current call.  Only this library sets it, so direct calls of a wrapped client have no deadline, and their logs are
# not changed.
CURRENT: ContextVar[Call | None] = ContextVar("cp_thirdparty_call", default=None)


def current_call() -> Call | None:
    """Return the running call of this context, or ``None``."""
    call = CURRENT.get()  # a copy of the context may have a call that has ended
    return None if call is None or call.is_finished else call
