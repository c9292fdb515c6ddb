"""
A wall-clock limit for a call, which a peer that sends a byte at a time cannot outlive.

Botocore's ``read_timeout`` starts anew with each piece.  Here the socket's time-out is set to what is left of the call
before each piece is read, and the bytes are counted.  It does not bound the look-up of the host's name, nor a TLS
handshake that is fed piece by piece.
"""

from __future__ import annotations

import http.client
import io
import socket
import warnings
from typing import Any

from botocore import awsrequest
from botocore.client import BaseClient

from cp_thirdparty._core.call import CURRENT, Call

# As much as urllib3 asks for at once, so that a body is not read in small pieces.
_BUFFER_BYTES = 64 << 10


def install(client: BaseClient) -> None:
    """Let a client's connections keep the limit of the call that uses them; a second time changes nothing."""
    session: Any = client._endpoint.http_session  # type: ignore[attr-defined] # noqa: SLF001 - no public way
    pools: dict[str, Any] | None = getattr(session, "_pool_classes_by_scheme", None)
    if pools is None:
        text = "this botocore is not known: a deadline does not bound an answer that comes byte by byte"
        warnings.warn(text, RuntimeWarning, stacklevel=3)
    elif pools.get("http") is not _TimedHTTPPool:
        pools.update(http=_TimedHTTPPool, https=_TimedHTTPSPool)
        session.close()  # connections that were made before


class _TimedReader(io.RawIOBase):
    def __init__(self, sock: socket.socket, call: Call) -> None:
        self._sock = sock
        self._raw: Any = sock.makefile("rb", buffering=0)
        self._call = call
        self._pause = sock.gettimeout()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._call.seconds_left()
        if left is not None:
            if left <= 0:
                raise TimeoutError
            self._sock.settimeout(left if self._pause is None else min(left, self._pause))
        count: int | None = self._raw.readinto(buffer)
        self._call.bytes_left -= count or 0
        if self._call.bytes_left < 0:
            raise OSError("the answer is too long")
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


class _TimedSocket:
    """What `http.client.HTTPResponse` needs of a socket."""

    def __init__(self, sock: socket.socket, call: Call) -> None:
        self._sock = sock
        self._call = call

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_TimedReader(self._sock, self._call), _BUFFER_BYTES)


class _TimedResponse(http.client.HTTPResponse):
    def __init__(self, sock: Any, *args: Any, **settings: Any) -> None:
        call = CURRENT.get()
        super().__init__(sock if call is None else _TimedSocket(sock, call), *args, **settings)  # type: ignore[arg-type]


class _TimedConnect:
    """The part that the two kinds of connection share."""

    response_class = _TimedResponse
    timeout: Any

    def connect(self) -> None:
        call = CURRENT.get()
        left = None if call is None else call.seconds_left()
        if left is not None:
            if left <= 0:
                raise TimeoutError
            self.timeout = left if self.timeout is None else min(left, self.timeout)
        super().connect()  # type: ignore[misc] # of the connection that it is mixed into


class _TimedHTTPConnection(_TimedConnect, awsrequest.AWSHTTPConnection):  # type: ignore[misc]
    pass


class _TimedHTTPSConnection(_TimedConnect, awsrequest.AWSHTTPSConnection):  # type: ignore[misc]
    pass


class _TimedHTTPPool(awsrequest.AWSHTTPConnectionPool):
    ConnectionCls = _TimedHTTPConnection


class _TimedHTTPSPool(awsrequest.AWSHTTPSConnectionPool):
    ConnectionCls = _TimedHTTPSConnection
