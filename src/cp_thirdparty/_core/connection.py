"""
Observe botocore's connections during a call of this library.

This module observes whether bytes of the request were sent, why no byte could be sent, how long the call takes, and how
many bytes a response has.

`botocore.awsrequest.AWSConnection` is the base class of all connections of botocore, so its methods are wrapped once in
each process.  They behave as before if no call of this library is running.  No class of a connection pool is replaced,
so tools that replace such classes still work.
"""

from __future__ import annotations

import functools
import io
import re
import ssl
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from http.client import HTTPException
from typing import Any, Final
from urllib.parse import urlsplit

from botocore.awsrequest import AWSConnection
from botocore.exceptions import HTTPClientError
from urllib3.exceptions import HTTPError

from cp_thirdparty._core.call import CURRENT, MAX_HEADER_BYTES, SENDING, SENT, SIGNING, Call, Obstacle
from cp_thirdparty._core.caller_code import causes
from cp_thirdparty._core.deadline import WATCHDOG

_Method = Callable[..., Any]

_LOCK: Final = threading.Lock()
_OWNER: Final = object()
_wrappers: Final[dict[str, Callable[..., Any]]] = {}
_TUNNEL_REFUSED: Final = re.compile(r"Tunnel connection failed: (\d{3})")  # a message of http.client and urllib3
_NETWORK_MODULES: Final = frozenset({"http", "socket", "ssl"})
_REQUEST_METHOD: Final = "_make_request"  # the method in which urllib3's pools pass a request to a connection
# The size of the buffer of a response.  It must be small, because a part of the body that is read into it with the
# headers counts as headers.  Newer versions of Python have a default of 128 KiB.
_BUFFER_BYTES: Final = 8 << 10
# TLS errors that a peer causes when it closes the connection.
_CLOSED_BY_PEER: Final = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)


def install() -> None:
    """
    Wrap the methods of botocore's connections, if they are not wrapped.

    Each call of the library calls this function, because a tool that restores a method, such as ``mock.patch``, may
    have removed a wrapper.
    """
    methods = vars(AWSConnection)
    if len(_wrappers) == len(_REPLACEMENTS) and _wrappers.items() <= methods.items():
        return
    for name, replacement in _REPLACEMENTS.items():
        method = methods.get(name)
        if not is_wrapper(method, _OWNER):
            with _LOCK:
                _wrappers[name] = _wrap(name, method, replacement)
                setattr(AWSConnection, name, _wrappers[name])


def is_wrapper(method: object, owner: object) -> bool:
    """Return whether a method is, or contains, a wrapper of `owner`, which stands for one copy of this library."""
    while method is not None:
        if getattr(method, "cp_thirdparty_owner", None) is owner:
            return True
        method = getattr(method, "__wrapped__", None)
    return False


def _wrap(name: str, own_method: _Method | None, replacement: Callable[..., Any]) -> _Method:
    def method(self: Any, *arguments: Any, **settings: Any) -> Any:
        call = CURRENT.get()
        original = getattr(super(AWSConnection, self), name) if own_method is None else own_method.__get__(self)
        if call is None or call.is_finished:
            return original(*arguments, **settings)
        is_used = _is_used_by(self, call)
        if self.debuglevel and (is_used or call.request is None) and not call.wire_logs:
            self.debuglevel = 0  # http.client would print requests and responses
        if not is_used:
            return original(*arguments, **settings)
        return replacement(self, call, original, *arguments, **settings)

    method.__name__ = name
    vars(method).update(cp_thirdparty_owner=_OWNER, __wrapped__=own_method)
    return method


def _is_used_by(connection: Any, call: Call) -> bool:
    """Return whether a call uses this connection, and record it; if not, an event handler of the caller uses it."""
    if call.step is SIGNING:
        return call.request is not None
    if call.target is None or call.step not in (SENDING, SENT):
        return False
    if call.connection is not connection and _has_target(connection, call.target):
        call.connection = connection
    return call.connection is connection


def _has_target(connection: Any, target: tuple[str, str, int | None]) -> bool:
    scheme, host, port = target
    tunnel: str | None = getattr(connection, "_tunnel_host", None)
    if tunnel:
        return (_normalize_host(tunnel), connection._tunnel_port) == (host, port)  # noqa: SLF001 - no public way
    if scheme == "http" and getattr(connection, "proxy", None) is not None:
        return True  # a proxy without a tunnel may connect to any host
    return (_normalize_host(connection.host), connection.port) == (host, port)


@functools.lru_cache(maxsize=16)  # a program calls few endpoints
def target_of(url: str) -> tuple[str, str, int | None]:
    """Return scheme, host and port of a URL in the form in which a connection stores them."""
    parts = urlsplit(url)
    return parts.scheme, _normalize_host(parts.hostname or ""), parts.port or (443 if parts.scheme == "https" else 80)


def _normalize_host(host: str) -> str:
    return host.strip("[]").rstrip(".").lower()


def is_unsent(failure: BaseException) -> bool:
    """
    Return whether a failure proves that no connection got the request.  This matters if no connection was observed.

    There are two such cases.  Urllib3 may fail before it has a connection, for example because of an invalid proxy URL.
    Code that replaces a connection, such as that of vcrpy, may raise an error that is not a network error.
    """
    chain = tuple(causes(failure))
    frames = [frame for each in reversed(chain) for frame, _ in traceback.walk_tb(each.__traceback__)]
    modules = [frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(chain[-1].__traceback__)]
    if "botocore.httpsession" not in modules:
        return False
    package = modules[-1].partition(".")[0]
    if package in ("botocore", "urllib3"):
        return all(frame.f_code.co_name != _REQUEST_METHOD for frame in frames)
    is_network_error = isinstance(chain[-1], (OSError, HTTPException, HTTPError, HTTPClientError))
    return package not in _NETWORK_MODULES and "urllib3.connectionpool" in modules and not is_network_error


def _start_request(connection: Any, call: Call, original: _Method, *arguments: Any, **settings: Any) -> Any:  # noqa: ARG001
    call.is_watched = True
    return original(*arguments, **settings)


def _send(connection: Any, call: Call, original: _Method, data: Any) -> None:
    call.is_watched = True
    if connection.sock is None and connection.auto_open:
        connection.connect()  # before the bytes are recorded as sent, because connecting may fail
    # While connecting, the bytes are the CONNECT request for a proxy.  If a request is sent in several pieces, only the
    # first piece needs to be recorded.
    if not call.is_connecting and call.step is not SENT:
        opened: Any = connection.sock
        WATCHDOG.use(call, opened)
        call.check_deadline()
        call.note_sent()
    original(data)


def _connect(connection: Any, call: Call, original: _Method) -> None:
    call.check_deadline()
    seconds = call.seconds_left()
    if seconds is not None:
        connection.timeout = seconds if connection.timeout is None else min(seconds, connection.timeout)
    call.is_connecting = call.is_watched = True
    call.obstacle = call.proxy_status = None
    try:
        original()
    except Exception as failure:
        call.check_deadline()
        _note_obstacle(call, failure)
        raise
    finally:
        call.is_connecting = False


class _SocketOptions:
    """Socket options that check the deadline: urllib3 reads them before it connects to each address of a host."""

    def __init__(self, options: Iterable[Any] | None, call: Call) -> None:
        self._options = options
        self._call = call

    def __iter__(self) -> Iterator[Any]:
        if self._call.is_past_deadline():
            raise TimeoutError  # a subclass of `OSError`, so that urllib3 closes the socket
        return iter(self._options or ())


def _open_socket(connection: Any, call: Call, original: _Method) -> Any:
    options = connection.socket_options
    connection.socket_options = _SocketOptions(options, call)  # urllib3 restarts its timeout for each address
    try:
        opened = original()
    except Exception as failure:
        is_proxy = getattr(connection, "proxy", None) or getattr(connection, "_tunnel_host", None)
        call.obstacle = Obstacle.PROXY if is_proxy else Obstacle.CONNECT
        if isinstance(failure.__cause__ or failure.__context__, TimeoutError):
            call.obstacle = Obstacle.TIMEOUT
        raise
    finally:
        connection.socket_options = options
    WATCHDOG.use(call, opened)
    return opened


def _note_obstacle(call: Call, failure: Exception) -> None:
    """Record why a connection failed, unless the reason was already recorded when the socket was opened."""
    if call.obstacle is not None:
        return
    refused = _TUNNEL_REFUSED.match(str(failure)) if isinstance(failure, OSError) else None
    if refused is not None:
        call.obstacle, call.proxy_status = Obstacle.PROXY_REFUSAL, int(refused.group(1))
    else:
        call.obstacle = handshake_obstacle(failure)


def handshake_obstacle(failure: BaseException) -> Obstacle:
    """Return why a connection failed after its socket was opened and before the request was sent."""
    if isinstance(failure, ssl.SSLCertVerificationError):
        return Obstacle.CERTIFICATE
    if isinstance(failure, TimeoutError):
        return Obstacle.TIMEOUT
    if isinstance(failure, OSError) and (isinstance(failure, _CLOSED_BY_PEER) or not isinstance(failure, ssl.SSLError)):
        return Obstacle.HANDSHAKE
    return Obstacle.TLS


def _read(connection: Any, call: Call, original: _Method, *arguments: Any, **settings: Any) -> Any:
    """Read a response, of CodePipeline or of a service that supplies AWS credentials, within the limits of the call."""
    response_class = connection.response_class
    connection.response_class = bounded = functools.partial(_make_bounded_response, response_class, call)
    body_bytes = max(0, call.bytes_left - MAX_HEADER_BYTES)
    call.bytes_left -= body_bytes  # while the headers are read, no more than MAX_HEADER_BYTES may arrive
    try:
        return original(*arguments, **settings)
    finally:
        if call.bytes_left >= 0:  # the headers are not too long
            call.bytes_left += body_bytes
        if connection.response_class is bounded:  # botocore replaces it when it closes the connection
            connection.response_class = response_class


def _make_bounded_response(response_class: _Method, call: Call, *arguments: Any, **settings: Any) -> Any:
    response = response_class(*arguments, **settings)
    stream = response.fp
    source = stream.detach() if isinstance(stream, io.BufferedReader) else stream
    if not isinstance(source, _BoundedSource):
        source = _BoundedSource(source, call)
    response.fp = io.BufferedReader(source, _BUFFER_BYTES)
    return response


class _BoundedSource(io.RawIOBase):
    """The source of a response's bytes, which fails if the response is too long or the deadline was reached."""

    def __init__(self, source: Any, call: Call) -> None:
        self._source = source
        self._call = call

    def readable(self) -> bool:
        return True

    def fileno(self) -> int:
        descriptor: int = self._source.fileno()
        return descriptor

    def readinto(self, buffer: Any, /) -> int | None:
        try:
            count: int | None = self._source.readinto(buffer)
        except Exception:
            self._call.check_deadline()
            raise
        self._call.count_bytes(count or 0)
        return count

    def close(self) -> None:
        """Close the source, and stop watching the connection, because other calls may then use the connection."""
        WATCHDOG.release(self._call)
        self._source.close()
        super().close()


_REPLACEMENTS: Final[dict[str, Callable[..., Any]]] = {
    "connect": _connect,
    "_new_conn": _open_socket,
    "putrequest": _start_request,
    "send": _send,
    "getresponse": _read,
}
