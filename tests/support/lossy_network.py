"""
Peers on loopback that lose a call in every way: an origin with or without TLS, proxies, and AWS STS.

Each logs the bytes of requests that reached it, so that a test compares what the client reports with what arrived.
`tests/data/tls` has a certificate for 127.0.0.1 and the authority that signed it, both valid until 2120.
"""

from __future__ import annotations

import json
import os
import select
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    import pytest
    from typing_extensions import Self

_TLS = Path(__file__).parents[1] / "data" / "tls"
AUTHORITY = str(_TLS / "authority.pem")

GOOD = {
    "jobs": [],
    "status": "InProgress",
    "jobDetails": {"id": "job-1", "nonce": "3", "data": {}},
}


def http(body: object, *, status: str = "200 OK", headers: str = "x-amzn-RequestId: req-1\r\n") -> bytes:
    """Return a response; a body that is not bytes is sent as JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return f"HTTP/1.1 {status}\r\n{headers}Content-Length: {len(content)}\r\n\r\n".encode() + content


def service_error(code: str, status: str = "400 Bad Request") -> bytes:
    """Return an error of CodePipeline."""
    return http({"__type": code, "message": "no"}, status=status)


class Peer:
    """One connection that a client has made."""

    def __init__(self, connection: socket.socket, log: list[bytes]) -> None:
        self.connection = connection
        self.log = log

    def handshake(self) -> None:
        """Do the TLS handshake."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(_TLS / "server.pem")
        secured = context.wrap_socket(self.connection, server_side=True, do_handshake_on_connect=False)
        self.connection = secured
        secured.do_handshake()

    def read_head(self) -> bytes:
        """Read the head of a request, byte by byte, so that nothing after it is read."""
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            byte = self.connection.recv(1)
            if not byte:
                raise ConnectionError
            head += byte
        return head

    def read_request(self) -> bytes:
        """Read and log a complete request."""
        head = self.read_head()
        self.log.append(head)
        length = next(int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
        body = b""
        while len(body) < length:
            body += self.connection.recv(length - len(body))
        self.log.append(body)
        return head + body

    def read_some(self) -> None:
        """Read and log the first bytes of a request."""
        self.log.append(self.connection.recv(10))

    def send(self, data: bytes) -> None:
        """Send these bytes."""
        self.connection.sendall(data)

    def send_below_tls(self, data: bytes) -> None:
        """Send these bytes as they are, where the client expects TLS."""
        with socket.socket(fileno=os.dup(self.connection.fileno())) as raw:
            raw.sendall(data)

    def reset(self) -> None:
        """Let the system send RST instead of FIN when the connection is closed."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def wait(self) -> None:
        """Do nothing until the client closes the connection."""
        self.connection.settimeout(5)
        while self.connection.recv(1 << 16):
            pass

    def relay(self, port: int, watch: Callable[[bytes], None] = lambda _: None) -> None:
        """Pass bytes between the client and a port until one of them closes."""
        with socket.create_connection(("127.0.0.1", port)) as other:
            back = threading.Thread(target=_pump, args=(other, self.connection, lambda _: None), daemon=True)
            back.start()
            _pump(self.connection, other, watch)
            back.join(5)


def _pump(source: socket.socket, target: socket.socket, watch: Callable[[bytes], None]) -> None:
    try:
        while data := source.recv(1 << 16):
            watch(data)
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        for each in (source, target):
            with suppress(OSError):  # it may be closed already
                each.shutdown(socket.SHUT_RDWR)


Behaviour = Callable[[Peer], None]


class Server:
    """Listens on loopback and treats each connection by the next behaviour; the last one stays."""

    def __init__(self, *behaviours: Behaviour) -> None:
        self.log: list[bytes] = []
        self.connections = 0
        self._behaviours = list(behaviours)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join(5)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            behaviour = self._behaviours[min(self.connections, len(self._behaviours) - 1)]
            self.connections += 1
            threading.Thread(target=self._play, args=(connection, behaviour), daemon=True).start()

    def _play(self, connection: socket.socket, behaviour: Behaviour) -> None:
        connection.settimeout(5)
        peer = Peer(connection, self.log)
        try:
            behaviour(peer)
        except (OSError, ValueError):
            pass  # the client has closed the connection
        finally:
            peer.connection.close()


# --- origins: what they do with a connection


def respond(response: bytes) -> Behaviour:
    """Read requests, and respond to each in the same way."""

    def play(peer: Peer) -> None:
        while True:
            peer.read_request()
            peer.send(response)

    return play


def respond_once(response: bytes) -> Behaviour:
    """Read a request, respond, and let the client make another connection for the next."""
    status, _, rest = response.partition(b"\r\n")
    return respond(status + b"\r\nConnection: close\r\n" + rest)


def close_at_once(_: Peer) -> None:
    """Close the connection."""


def reset_in_handshake(peer: Peer) -> None:
    """Reset the connection when the TLS handshake begins."""
    peer.connection.recv(10)
    peer.reset()


def close_unread(peer: Peer) -> None:
    """Close the connection when a request has arrived, without reading it."""
    select.select([peer.connection], [], [], 5)


def speak_something_else(peer: Peer) -> None:
    """Send what is neither TLS nor HTTP."""
    peer.send(b"220 mail.example ESMTP\r\n" * 10)
    peer.wait()


def stall(peer: Peer) -> None:
    """Send nothing."""
    peer.wait()


def close_after_request(peer: Peer) -> None:
    """Close the connection instead of responding."""
    peer.read_request()


def reset_after_request(peer: Peer) -> None:
    """Reset the connection instead of responding."""
    peer.read_request()
    peer.reset()


def reset_within_request(peer: Peer) -> None:
    """Reset the connection before the request is complete."""
    peer.read_some()
    peer.reset()


def stall_after_request(peer: Peer) -> None:
    """Read the request, and send nothing."""
    peer.read_request()
    peer.wait()


def garbage_after_request(peer: Peer) -> None:
    """Respond with what is not HTTP."""
    peer.read_request()
    peer.send(b"\x00\x01garbage\r\n\r\n")


def tls_garbage_after_request(peer: Peer) -> None:
    """Respond with what is not TLS."""
    peer.read_request()
    peer.send_below_tls(b"garbage" * 20)
    peer.wait()


def cut_in_status_line(peer: Peer) -> None:
    """Close the connection within the status line."""
    peer.read_request()
    peer.send(b"HTTP/1.1 20")


def cut_in_headers(peer: Peer) -> None:
    """Reset the connection within the headers."""
    peer.read_request()
    peer.send(b"HTTP/1.1 200 OK\r\nx-amzn-RequestId: r")
    peer.reset()


def reset_in_body(peer: Peer) -> None:
    """Reset the connection within the body."""
    peer.read_request()
    peer.send(http(GOOD)[:-10])
    peer.reset()


def cut_in_body(peer: Peer) -> None:
    """Close the connection within a chunked body."""
    peer.read_request()
    peer.send(b"HTTP/1.1 200 OK\r\nx-amzn-RequestId: r\r\nTransfer-Encoding: chunked\r\n\r\n50\r\n{")


def drip(peer: Peer) -> None:
    """Respond byte by byte, for longer than any deadline of a test."""
    peer.read_request()
    peer.send(b"HTTP/1.1 200 OK\r\nx-amzn-RequestId: r\r\nContent-Length: 100000\r\n\r\n")
    while True:
        peer.send(b" ")
        threading.Event().wait(0.02)


# --- proxies: what they do with a connection


def tunnel(port: int, then: Behaviour | None = None) -> Behaviour:
    """Accept a CONNECT request and pass bytes on to a port."""

    def play(peer: Peer) -> None:
        peer.read_head()
        peer.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
        if then is not None:
            then(peer)
        else:
            peer.relay(port)

    return play


def refuse(status: str) -> Behaviour:
    """Refuse a CONNECT request."""

    def play(peer: Peer) -> None:
        peer.read_head()
        peer.send(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())

    return play


def close_after_head(peer: Peer) -> None:
    """Close the connection instead of responding to CONNECT."""
    peer.read_head()


def reset_after_head(peer: Peer) -> None:
    """Reset the connection instead of responding to CONNECT."""
    peer.read_head()
    peer.reset()


def stall_after_head(peer: Peer) -> None:
    """Do not respond to CONNECT."""
    peer.read_head()
    peer.wait()


def forward(port: int) -> Behaviour:
    """Pass requests of plain HTTP on to a port, and log them."""

    def play(peer: Peer) -> None:
        peer.relay(port, peer.log.append)

    return play


# --- AWS STS


def sts(body: str, status: str = "200 OK") -> Behaviour:
    """Respond to AssumeRole; the request is not one of CodePipeline's, so it is not logged."""

    def play(peer: Peer) -> None:
        Peer(peer.connection, []).read_request()
        peer.send(http(body.encode(), status=status, headers="x-amzn-RequestId: sts-1\r\nContent-Type: text/xml\r\n"))

    return play


def credentials_of(seconds: int = 3600) -> str:
    """Return the response of AssumeRole with credentials that are valid for so long."""
    until = (datetime.now(timezone.utc) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")
    return (
        '<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials>'
        "<AccessKeyId>ASIAEXAMPLE</AccessKeyId><SecretAccessKey>made up</SecretAccessKey>"
        f"<SessionToken>made up</SessionToken><Expiration>{until}</Expiration>"
        "</Credentials></AssumeRoleResult></AssumeRoleResponse>"
    )


def use_role(folder: Path, monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    """Configure a profile ``partner`` whose role STS gives out at a port."""
    file = folder / "config"
    file.write_text(
        "[profile partner]\nrole_arn = arn:aws:iam::111122223333:role/partner\nsource_profile = base\n"
        "[profile base]\naws_access_key_id = AKIDEXAMPLE\naws_secret_access_key = made up\n"
    )
    for name, value in {
        "AWS_CONFIG_FILE": str(file),
        "AWS_SHARED_CREDENTIALS_FILE": str(folder / "none"),
        "AWS_ENDPOINT_URL_STS": f"http://127.0.0.1:{port}",
        "AWS_MAX_ATTEMPTS": "1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)


DENIED = (
    '<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>'
    "<Code>AccessDenied</Code><Message>no</Message></Error></ErrorResponse>"
)


@attrs.define
class FullListener:
    """A port whose queue of connections is full, so that another connection is never made."""

    port: int = 0
    _sockets: list[Any] = attrs.field(factory=list)

    def __enter__(self) -> Self:
        listening = socket.socket()
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        self.port = listening.getsockname()[1]
        self._sockets.append(listening)
        for _ in range(3):
            waiting = socket.socket()
            waiting.setblocking(False)
            waiting.connect_ex(("127.0.0.1", self.port))
            self._sockets.append(waiting)
        return self

    def __exit__(self, *_: object) -> None:
        for each in self._sockets:
            each.close()
