"""
Faults on the wire: a table of what a peer may send, played by a raw socket for each operation.

Each ends, within its deadline, in the right value or in exactly one typed error: never in ``{}``, never in an error of
botocore or of Python.  With DEBUG on everywhere, no fault brings a secret of the call or of its response to light.
"""

from __future__ import annotations

import itertools
import json
import logging
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from botocore.config import Config
from support import both_clients as both
from support.marker_surfaces import ERROR_SURFACES, logged
from support.slow_rows import slow_pairs, slow_unless

from cp_thirdparty import (
    ActionTypeId,
    FailureDetails,
    FailureType,
    ThirdPartyJobClient,
)
from cp_thirdparty.enums import Delivery
from cp_thirdparty.exceptions import (
    AccessDeniedError,
    ClockSkewError,
    CredentialsError,
    InvalidJobStateException,
    InvalidNonceException,
    ResponseDecodeError,
    ServiceError,
    ThirdPartyError,
    ThrottledError,
    TransportError,
    UntrustedResponseError,
    ValidationException,
    is_already_reported,
)

# Seconds for a call: of those that play with the connection, and of those that send bytes at once.
_DEADLINE = 1.0
_LONG_DEADLINE = 20.0
_STEM = "xMARKERx"


def _add_markers(document: Any) -> Any:
    """Plant a marker in each secret of the details of a job."""
    data = document["jobDetails"]["data"]
    for secrets in (data["actionConfiguration"]["configuration"], data["artifactCredentials"]):
        secrets.update({name: f"{_STEM}-{value}" for name, value in secrets.items()})
    return document


_DOCUMENT: dict[str, Any] = _add_markers(
    json.loads((Path(__file__).parents[1] / "data" / "job_details.json").read_text(encoding="utf-8"))
)
_JOB_ID = _DOCUMENT["jobDetails"]["id"]
_TOKEN = f"{_STEM}-token"
_TYPE = ActionTypeId(category="Test", owner="ThirdParty", provider="p", version="1")
_FAILURE = FailureDetails(type=FailureType.JOB_FAILED, message="no")

_CALLS: dict[str, Callable[[ThirdPartyJobClient], object]] = {
    "poll": lambda client: client.poll_for_third_party_jobs(_TYPE),
    "get": lambda client: client.get_third_party_job_details(_JOB_ID, client_token=_TOKEN),
    "acknowledge": lambda client: client.acknowledge_third_party_job(_JOB_ID, nonce="3", client_token=_TOKEN),
    "succeed": lambda client: client.put_third_party_job_success_result(_JOB_ID, client_token=_TOKEN),
    "fail": lambda client: client.put_third_party_job_failure_result(
        _JOB_ID, client_token=_TOKEN, failure_details=_FAILURE
    ),
}
_READS = ("poll", "get", "PollForJobs", "GetJobDetails")
_PUTS = ("succeed", "fail", "PutJobSuccessResult", "PutJobFailureResult")
# The same code: all faults of custom jobs are slow.
_OPERATIONS = [*_CALLS, *(pytest.param(name, marks=pytest.mark.slow) for name in both.custom_calls(""))]
_CALLS.update(both.custom_calls(_JOB_ID))
# Each operation of custom jobs -> the operation of third-party jobs with the same response.
_SAME = dict(zip(both.custom_calls(""), _CALLS, strict=False))
# They send no token, so they know none to strike out.
_WITHOUT_TOKEN = {"poll", *both.custom_calls("")}
# Faults of the nonce, which the details of a custom job do not have.
_OF_NONCE = ("number for a text", "NaN", "lone surrogate")

# One document that satisfies every operation.
_GOOD = {**_DOCUMENT, "jobs": [], "status": "InProgress"}

# What is sent: bytes at once, or something that plays with the connection.
_Fault = bytes | Callable[[socket.socket], None]

_ID = "x-amzn-RequestId: req-1\r\n"


def _http(body: str | bytes | object, *, status: str = "200 OK", headers: str = _ID, length: object = None) -> bytes:
    """Make a response of a body, which a dictionary or list is in JSON."""
    content = body if isinstance(body, bytes) else (body if isinstance(body, str) else json.dumps(body)).encode()
    declared = len(content) if length is None else length
    head = f"HTTP/1.1 {status}\r\nConnection: close\r\n{headers}Content-Length: {declared}\r\n\r\n"
    return head.encode() + content


def _error(code: str, message: object = "no", *, status: str = "400 Bad Request", headers: str = _ID) -> bytes:
    return _http({"__type": code, "message": message}, status=status, headers=headers)


def _without_length(body: str, *, version: str = "1.1", headers: str = _ID) -> bytes:
    return f"HTTP/{version} 200 OK\r\nConnection: close\r\n{headers}\r\n{body}".encode()


def _chunked_response(body: str) -> bytes:
    return _without_length(body, headers=f"{_ID}Transfer-Encoding: chunked\r\n")


def _cut_after(count: int) -> bytes:
    return _http(_GOOD)[:count]


def _reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _reset_in_body(connection: socket.socket) -> None:
    connection.sendall(_cut_after(300))
    time.sleep(0.02)
    _reset(connection)


def _drip(text: bytes) -> Callable[[socket.socket], None]:
    def play(connection: socket.socket) -> None:
        for byte in text[:300]:
            connection.sendall(bytes([byte]))
            time.sleep(0.05)

    return play


def _stall(connection: socket.socket) -> None:
    connection.sendall(_cut_after(60))
    time.sleep(_DEADLINE * 4)


def _continue(connection: socket.socket) -> None:
    while True:  # until the client has had enough
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        time.sleep(0.01)


def _change_document(**members: object) -> dict[str, Any]:
    """Change members of the good document; of the details with a leading underscore."""
    details = {name[1:]: value for name, value in members.items() if name.startswith("_")}
    rest = {name: value for name, value in members.items() if not name.startswith("_")}
    return {**_GOOD, "jobDetails": {**_DOCUMENT["jobDetails"], **details}, **rest}


_OLD_DATE = f"{_ID}Date: Mon, 01 Jan 2024 00:00:00 GMT\r\n"
_ECHO = f"Value '{_TOKEN}' at 'clientToken' failed"

# Fault -> what each operation ends in: a class of error, or None for a good value.  A dictionary is by
# operation; what it does not name is good.
_UNTRUSTED: dict[str, _Fault] = {
    "header of 100,000 bytes": _http(_GOOD, headers=_ID + "x: " + "y" * 100_000 + "\r\n"),
    "HTML page": _http("<html>hello</html>"),
    "HTML page without request id": _http("<html>hello</html>", headers=""),
    "good without request id": _http(_GOOD, headers=""),
    "request id of two lines": _http(_GOOD, headers="x-amzn-RequestId: req-1\r\n WARNING all is lost\r\n"),
    "request id of 129 characters": _http(_GOOD, headers=f"x-amzn-RequestId: {'r' * 129}\r\n"),
    "array": _http("[]"),
    "null": _http("null"),
    "text": _http('"text"'),
    "number": _http("5"),
    "malformed JSON": _http("{'jobs': []}"),
    "truncated JSON": _http(json.dumps(_GOOD)[:200]),
    "bad UTF-8": _http(b'{"status": "\xff"}'),
    "UTF-16": _http(json.dumps(_GOOD).encode("utf-16")),
    "200,000 nested arrays": _http("[" * 200_000),
    "100,000 nested objects": _http('{"a":' * 100_000),
    "number of 5,000 digits": _http('{"a":' + "9" * 5000 + "}"),
    "error type that is a number": _http({**_GOOD, "__type": 5}),
    "gzip": _http(b"\x1f\x8b\x08" + bytes(40), headers=f"{_ID}Content-Encoding: gzip\r\n"),
    "gzip noise": _http(b"\x1f\x8b\x08" + bytes(40)),
    "negative length": _http(_GOOD, length=-5),
    "length that is no number": _http(_GOOD, length="many"),
    "64 MB": _http(b" " * (64 << 20)),
    "302": _http("", status="302 Found", headers="Location: http://127.0.0.1:9/\r\n"),
    "304": b"HTTP/1.1 304 Not Modified\r\nConnection: close\r\n\r\n",
    "403 page": _http("<html>SECRETPAGE</html>", status="403 Forbidden", headers=""),
    "403 page with request id": _http("<html>SECRETPAGE</html>", status="403 Forbidden"),
    "407 page": _http("<html>SECRETPAGE</html>", status="407 Proxy Authentication Required", headers=""),
    "404 page": _http("<html>SECRETPAGE</html>", status="404 Not Found", headers=""),
    "413 page": _http("<html>SECRETPAGE</html>", status="413 Too Large", headers=""),
    "503 page": _http("<html>SECRETPAGE</html>", status="503 Busy", headers=""),
    "502 page with request id": _http("<html>SECRETPAGE</html>", status="502 Bad Gateway"),
    "400 with an array": _http("[]", status="400 Bad Request"),
    "400 with an error type that is a number": _http({"__type": 5}, status="400 Bad Request"),
    "error of 100,000 bytes": _http({"__type": "ValidationException", "message": "x" * 100_000}, status="400 Bad"),
    "error of 100,000 bytes with status 200": _http({"__type": "ValidationException", "message": "x" * 100_000}),
    "cut in the headers": _cut_after(50),
    "status line alone": b"HTTP/1.1 200\r\n\r\n",
}
_TRANSPORT: dict[str, _Fault] = {
    "closed at once": b"",
    "reset at once": _reset,
    "reset in the body": _reset_in_body,
    "cut in the status line": _cut_after(10),
    "bad chunk": _chunked_response("zz\r\nxx"),
    "cut chunk": _chunked_response("50\r\n{"),
    "two lengths": _http(_GOOD, headers=f"{_ID}Content-Length: 5\r\n"),
    "500 headers": _http(_GOOD, headers=_ID + "x: y\r\n" * 500),
    "garbage": b"\x00\x01garbage\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(40),
    "dripping headers": _drip(_http(_GOOD)),
    "dripping body": _drip(_http(_GOOD)[-100:]),
    "stall": _stall,
    "100 Continue for ever": _continue,
}
_OUTCOMES: dict[str, tuple[_Fault, type[Exception] | dict[str, type[Exception]] | None]] = {
    **{name: (fault, UntrustedResponseError) for name, fault in _UNTRUSTED.items()},
    **{name: (fault, TransportError) for name, fault in _TRANSPORT.items()},
    # good, whatever else
    "good": (_http(_GOOD), None),
    "unknown members": (_http({**_GOOD, "new": {"a": 1}}), None),
    "unknown status": (_http({**_GOOD, "status": "Paused"}), None),
    "null members": (_http(_change_document(_data={"inputArtifacts": None, "encryptionKey": None})), None),
    "100 Continue first": (b"HTTP/1.1 100 Continue\r\n\r\n" + _http(_GOOD), None),
    "good chunks": (_chunked_response(f"{len(json.dumps(_GOOD)):x}\r\n{json.dumps(_GOOD)}\r\n0\r\n\r\n"), None),
    "closed by HTTP/1.0": (_without_length(json.dumps(_GOOD), version="1.0"), None),
    # wrong for those that have an output
    "empty": (_http(""), dict.fromkeys(("poll", "get", "acknowledge"), UntrustedResponseError)),
    "204": (
        f"HTTP/1.1 204 No Content\r\nConnection: close\r\n{_ID}\r\n".encode(),
        dict.fromkeys(("poll", "get", "acknowledge"), UntrustedResponseError),
    ),
    "empty object": (_http({}), dict.fromkeys(("poll", "get", "acknowledge"), ResponseDecodeError)),
    "array for an object": (_http({**_GOOD, "jobDetails": []}), {"get": ResponseDecodeError}),
    "object for a list": (_http({**_GOOD, "jobs": {}}), {"poll": ResponseDecodeError}),
    "text in a list": (_http({**_GOOD, "jobs": ["job"]}), {"poll": ResponseDecodeError}),
    "number for a text": (
        _http(_change_document(_nonce=3, status=3)),
        dict.fromkeys(("get", "acknowledge"), ResponseDecodeError),
    ),
    "NaN": (_http(_change_document(_nonce=float("nan"))), {"get": ResponseDecodeError}),
    "lone surrogate": (_http(_change_document(_nonce="\ud800")), {"get": ResponseDecodeError}),
    "another job": (_http(_change_document(_id="another")), {"get": ResponseDecodeError}),
    "members of the envelope": (_http({**_GOOD, "ResponseMetadata": 5, "Error": []}), None),
    # errors of the service
    "error with 200": (_error("InvalidNonceException", status="200 OK"), InvalidNonceException),
    "modelled error": (_error("InvalidJobStateException"), InvalidJobStateException),
    "error with a namespace": (_error("com.amazonaws#ValidationException"), ValidationException),
    "error that echoes the token": (_error("ValidationException", _ECHO), ValidationException),
    "request id that echoes the token": (
        _error("ValidationException", headers=f"x-amzn-RequestId: {_TOKEN}\r\n"),
        ValidationException,
    ),
    "good with a request id that echoes the token": (
        _http(_GOOD, headers=f"x-amzn-RequestId: {_TOKEN}\r\n"),
        None,
    ),
    "code that echoes the token": (_error(f"{_TOKEN} is bad"), ServiceError),
    "message that is an object": (_error("ValidationException", {"a": _TOKEN}), ValidationException),
    "throttling": (_error("ThrottlingException"), ThrottledError),
    "429": (_error("Slow", status="429 Too Many"), ThrottledError),
    "500": (_error("InternalFailure", status="500 Oops"), ServiceError),
    "503 without body": (_http("", status="503 Busy"), ServiceError),
    "999": (_http({}, status="999 What"), ServiceError),
    "300 without body": (_http("", status="300 Multiple Choices"), ServiceError),
    "300": (_http(_GOOD, status="300 Multiple Choices"), ServiceError),
    "expired token": (_error("ExpiredTokenException"), CredentialsError),
    "unknown key": (_error("UnrecognizedClientException"), CredentialsError),
    "access denied": (_error("AccessDeniedException"), AccessDeniedError),
    "request id of 128 characters": (_http(_GOOD, headers=f"x-amzn-RequestId: {'r' * 128}\r\n"), None),
    "error with a date that is none": (
        _error("ExpiredTokenException", headers=f"{_ID}Date: soon\r\n"),
        CredentialsError,
    ),
    "error with a date out of range": (
        _error("ExpiredTokenException", headers=f"{_ID}Date: Mon, 01 Jan 2024 00:00:00 +{'9' * 20}\r\n"),
        CredentialsError,
    ),
    "skewed clock": (_error("InvalidSignatureException", headers=_OLD_DATE), ClockSkewError),
}

# Aiohttp, which is under the client for asyncio, takes these for no HTTP at all.
_NO_HTTP = ("header of 100,000 bytes", "negative length", "length that is no number", "cut in the headers")

# urllib3 looks at lengths since botocore 1.40; before, it is what finds a short body.
_LENGTHS: dict[str, _Fault] = {
    "body shorter than its length": _http(_GOOD, length=len(json.dumps(_GOOD)) + 10),
    "body longer than its length": _http(_GOOD, length=len(json.dumps(_GOOD)) - 10),
}


def _read_request(connection: socket.socket) -> None:
    """Read a complete request: closing with unread bytes would reset the connection."""
    with connection.makefile("rb") as stream:
        length = 0
        for line in iter(stream.readline, b"\r\n"):
            if line.lower().startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
            if not line:
                return
        stream.read(length)


class RawServer:
    """Plays a fault to each connection; the fault can be exchanged."""

    def __init__(self) -> None:
        self.faults: list[_Fault] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.endpoint_url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        """Stop listening."""
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._play, args=(connection,), daemon=True).start()

    def _play(self, connection: socket.socket) -> None:
        with connection:
            try:
                connection.settimeout(5)
                _read_request(connection)
                fault = self.faults.pop(0) if len(self.faults) > 1 else self.faults[0]
                if callable(fault):
                    fault(connection)
                else:
                    connection.sendall(fault)
                    connection.shutdown(socket.SHUT_WR)
                    connection.recv(1)  # until the client has read it all and closes
            except OSError:
                return  # the client has had enough


@pytest.fixture(scope="module")
def server() -> Iterator[RawServer]:
    """Give a server for all faults."""
    running = RawServer()
    yield running
    running.close()


def _connect(kind: str, server: RawServer, attempts: int) -> ThirdPartyJobClient:
    return both.create(
        kind,
        region_name="us-east-1",
        endpoint_url=server.endpoint_url,
        session=both.session(kind, "AKIDEXAMPLE", f"{_STEM}-key", f"{_STEM}-session"),
        deadline=_DEADLINE,
        config=Config(retries={"mode": "standard", "total_max_attempts": attempts}),
    )


@pytest.fixture(scope="module")
def client(kind: str, server: RawServer) -> ThirdPartyJobClient:
    """Give a client that tries once.  It has made a call: the first one imports, on a busy machine for a second."""
    made = _connect(kind, server, 1)
    server.faults = [_http(_GOOD)]
    with suppress(TransportError):
        made.poll_for_third_party_jobs(_TYPE)
    return made


@pytest.fixture
def nothing_shown(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> Iterator[set[str]]:
    """Log everything, and find no marker in the log, the output and warnings, but for those that the test allows."""
    caplog.set_level(logging.DEBUG)
    allowed: set[str] = set()
    yield allowed
    records = caplog.get_records("call")
    shown = logged(records) + "".join(capfd.readouterr())
    for text in allowed:
        shown = shown.replace(text, "")
    assert _STEM not in shown
    assert [str(warning.message) for warning in recwarn] == []
    assert {"botocore.endpoint", "cp_thirdparty"} <= {record.name for record in records}


def _outcome(client: ThirdPartyJobClient, operation: str) -> tuple[type[Exception] | None, Any]:
    """Make a call and return the class of its error, and the error or the value."""
    begin = time.monotonic()
    assert client._deadline is not None
    try:
        value = _CALLS[operation](client)
    except ThirdPartyError as raised:
        value = raised
    assert time.monotonic() - begin < client._deadline * 3  # those that do not end by themselves go on for longer
    if not isinstance(value, ThirdPartyError):
        assert _STEM not in repr(value)
        return None, value
    assert (value.__cause__, value.__context__) == (None, None)
    shown = "".join(show(value) for show in ERROR_SURFACES.values())
    assert "SECRETPAGE" not in shown
    assert _STEM not in (shown.replace(_TOKEN, "") if operation in _WITHOUT_TOKEN else shown)
    return type(value), value


@pytest.mark.parametrize(("fault", "operation"), slow_pairs(_OUTCOMES, [*_CALLS, *both.custom_calls("")]))
def test_a_fault_has_one_outcome(
    fault: str, operation: str, server: RawServer, client: ThirdPartyJobClient, nothing_shown: set[str]
) -> None:
    """Each fault ends in the right value or in exactly one typed error, within the deadline, and shows no secret."""
    played, expected = _OUTCOMES[fault]
    if not isinstance(client, ThirdPartyJobClient) and fault in _NO_HTTP:
        expected = TransportError
    if operation in _WITHOUT_TOKEN:
        nothing_shown.add(_TOKEN)  # as in `_outcome`
    if operation == "GetJobDetails" and fault in _OF_NONCE:
        expected = None
    server.faults = [played]
    client._deadline = _DEADLINE if callable(played) else _LONG_DEADLINE
    error, value = _outcome(client, operation)
    assert error is (expected.get(_SAME.get(operation, operation)) if isinstance(expected, dict) else expected)
    if error is None:
        assert (value is None) == (operation in _PUTS)
    elif error in (TransportError, UntrustedResponseError):
        assert value.is_retry_safe is (True if operation in _READS else None)


@pytest.mark.parametrize("operation", _OPERATIONS)
@pytest.mark.parametrize("fault", _LENGTHS)
@pytest.mark.usefixtures("nothing_shown")
def test_a_wrong_length_is_not_a_response(
    fault: str, operation: str, server: RawServer, client: ThirdPartyJobClient
) -> None:
    """A truncated response is incomplete; one that is too long is not trusted."""
    server.faults = [_LENGTHS[fault]]
    client._deadline = _LONG_DEADLINE
    error, value = _outcome(client, operation)
    if fault == "body longer than its length" and isinstance(client, ThirdPartyJobClient):  # aiohttp refuses to read it
        assert (error, value.delivery) == (UntrustedResponseError, Delivery.RESPONDED)
    else:
        assert (error, value.delivery) == (TransportError, Delivery.SENT)


@pytest.mark.parametrize(
    ("fault", "operation"),
    slow_unless(
        # botocore waits up to a second before it sends a throttled call again.
        lambda row: row[1] not in _SAME and (row[0] != "throttling" or row[1] in ("acknowledge", "poll")),
        itertools.product(
            ("HTML page", "array", "good without request id", "closed at once", "500", "throttling"),
            _CALLS,
        ),
    ),
)
def test_a_bad_response_is_resent_only_if_that_is_safe(
    fault: str, operation: str, kind: str, server: RawServer
) -> None:
    """Reads are resent; acknowledgements and results only if CodePipeline has throttled them."""
    played, expected = _OUTCOMES[fault]
    server.faults = [played, _http(_GOOD)]
    records: list[Any] = []
    client = _connect(kind, server, 2)
    client._on_call = records.append
    client._deadline = 10.0
    error: Any = None
    try:
        _CALLS[operation](client)
    except ThirdPartyError as raised:
        error = raised
    is_resent = operation in _READS or fault == "throttling"
    assert [record.attempts for record in records] == [2 if is_resent else 1]
    if is_resent:
        assert error is None
    else:
        assert (type(error), error.is_retry_safe) == (expected, None)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("good without request id", "a response without a request id does not come from CodePipeline"),
        ("request id of two lines", "a response without a request id does not come from CodePipeline"),
        ("negative length", "the response does not have the length that it declares"),
        ("HTML page", "the response does not have the form that the protocol requires"),
        ("error type that is a number", "the response has an error type that is not a string"),
    ],
)
def test_the_error_of_a_refused_response_has_the_reason(
    fault: str, reason: str, kind: str, server: RawServer, client: ThirdPartyJobClient
) -> None:
    """The error names the rule that the response breaks, and the status that it had."""
    if kind == "asyncio" and fault in _NO_HTTP:
        pytest.skip("aiohttp does not take it for HTTP; the table of outcomes has it")
    server.faults = [_OUTCOMES[fault][0]]
    with pytest.raises(UntrustedResponseError) as caught:
        _CALLS["get"](client)
    assert caught.value.request_id == (None if "request id" in fault else "req-1")
    assert (str(caught.value), caught.value.status_code) == (f"GetThirdPartyJobDetails: {reason}", 200)


def test_a_result_whose_response_was_lost(kind: str, server: RawServer) -> None:
    """A result whose response is lost is not resent; reported again, the service's error shows that it was accepted."""
    server.faults = [b"", _error("InvalidJobStateException")]
    client = _connect(kind, server, 2)
    client._deadline = 10.0
    with pytest.raises(TransportError) as lost:
        _CALLS["succeed"](client)
    assert (lost.value.attempts, lost.value.is_retry_safe, lost.value.delivery) == (1, None, Delivery.SENT)
    with pytest.raises(InvalidJobStateException) as second:
        _CALLS["succeed"](client)
    assert second.value.attempts == 1
    assert is_already_reported(second.value, lost.value)
    assert not is_already_reported(second.value, None)
    assert not is_already_reported(lost.value, lost.value)


def test_the_table_is_large_enough() -> None:
    """At least fifty faults are played for each operation."""
    assert len(_OUTCOMES) + len(_LENGTHS) >= 50
