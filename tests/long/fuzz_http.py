"""Fuzzers of HTTP over raw sockets on loopback: responses of CodePipeline and S3, requests to the local service."""

from __future__ import annotations

import functools
import gzip
import http.client
import io
import json
import random
import re
import socket
import socketserver
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

from botocore.config import Config
from botocore.session import Session
from support import artifact_jobs
from support.scripted_s3 import ReceivedRequest, Response, ScriptedS3, crc32, failed
from support.worker_service import ACTION_TYPE, CLIENT_ID

from cp_thirdparty import (
    ArtifactCredentials,
    ArtifactStore,
    FailureDetails,
    FailureType,
    SecretStr,
    ThirdPartyJobClient,
)
from cp_thirdparty.testing import LocalCodePipeline
from long.fuzz_checks import MARKER, Case, Hidden, ending_of, junk, mutate_bytes, mutate_document
from long.fuzz_documents import DETAILS

# An error of AWS may have any code; these have a meaning.
_CODES = (
    *("AccessDeniedException", "ExpiredTokenException", "InvalidClientTokenException", "InvalidJobStateException"),
    *("InvalidNonceException", "JobNotFoundException", "RequestTimeTooSkewed", "ThrottlingException", "SlowDown"),
    *("ValidationException", "InternalFailure", "PermanentRedirect", "NoSuchKey", "\x1b[2J", "x" * 5_000, ""),
)
_STATUSES = (b"200 OK", b"200 OK", b"200 OK", b"400 Bad Request", b"403 Forbidden", b"500 No", b"503 No", b"302 Found")
_ODD_STATUSES = (b"204 No", b"304 No", b"100 Continue", b"99 ?", b"999 ?", b"abc", b"", b"200", b"200 \xff\x1b[2J")
# Seconds; no server here is slow, so nothing waits for them.
_ONCE = Config(retries={"mode": "standard", "total_max_attempts": 1}, connect_timeout=20, read_timeout=20)

Respond = Callable[[bytes, bytes], bytes]
"""Returns the bytes of a response to the head and the body of a request."""


class _RawServer(socketserver.ThreadingTCPServer):
    """Reads one request of each connection, sends the bytes of a response, and closes the connection."""

    request_queue_size = 64
    block_on_close = True

    def __init__(self, respond: Respond) -> None:
        self.respond = respond
        super().__init__(("127.0.0.1", 0), _Connection)

    @property
    def endpoint_url(self) -> str:
        """The URL of this server."""
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Connection(socketserver.StreamRequestHandler):
    timeout = 20

    def handle(self) -> None:
        with suppress(OSError):  # the client has closed the connection
            head = b"".join(iter(self.rfile.readline, b"\r\n"))
            if not head:
                return
            if b"\nexpect:" in head.lower():
                self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            length = re.search(rb"(?i)\ncontent-length: *(\d+)", head)
            body = self.rfile.read(int(length[1])) if length else b""
            self.wfile.write(cast("_RawServer", self.server).respond(head, body))
            self.connection.shutdown(socket.SHUT_WR)
            while self.connection.recv(65536):  # a connection that is closed with unread bytes is reset
                pass


@contextmanager
def _raw_server(respond: Respond) -> Generator[str]:
    with _RawServer(respond) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.endpoint_url
        finally:
            server.shutdown()
            thread.join()


def _frame(chance: random.Random, headers: Mapping[str, str], body: bytes, status: bytes = b"200 OK") -> bytes:
    """Return a response whose headers, framing and bytes may be wrong in any way."""
    lines = [f"{name}: {value}".encode() for name, value in headers.items() if chance.random() < 0.97]
    if chance.random() < 0.1:
        packed = gzip.compress(body or b"x", 1)
        body = chance.choice(
            (packed, body, packed[:-5], gzip.compress(b"\0" * (40 << 20), 1) if _rare(chance) else b"")
        )
        lines.append(b"Content-Encoding: " + chance.choice((b"gzip", b"deflate", b"br", b"gzip, gzip", b"\xff")))
    framing = chance.randrange(12)
    size = str(len(body)).encode()
    if framing == 0:
        step = chance.choice((1, 7, 1000))
        chunks = [body[at : at + step] for at in range(0, min(len(body), 5000), step)]
        body = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)
        body += chance.choice((b"0\r\n\r\n", b"", b"zz\r\n", b"0\r\nx: y\r\n\r\n", b"ffffffffffffffffff\r\n"))
        lines.append(b"Transfer-Encoding: chunked")
    elif framing == 1:
        odd = (b"-1", b"0", b"9" * 30, size + b"0", b"1", b"x", b"", size + b", " + size, b"+" + size, b" " + size)
        lines.append(b"Content-Length: " + chance.choice(odd))
    elif framing == 2:
        lines += [b"Content-Length: " + size, b"Content-Length: " + chance.choice((size, b"5"))]
    elif framing != 3:
        lines.append(b"Content-Length: " + size)
    if chance.random() < 0.1:
        odd_lines = (b"x", b": y", b" folded", b"a" * 70_000 + b": b", b"\xff\x1b: \x9b", b"Location: http://[::1")
        lines += [chance.choice(odd_lines)] * chance.choice((1, 1, 150))
    status = chance.choice(_ODD_STATUSES) if chance.random() < 0.05 else status
    version = (
        chance.choice((b"HTTP/1.0", b"HTTP/2", b"ICY", b"\x16\x03\x01")) if chance.random() < 0.03 else b"HTTP/1.1"
    )
    data = b"\r\n".join([version + b" " + status, *lines, b"", body])
    return mutate_bytes(chance, data) if chance.random() < 0.25 else data


def _rare(chance: random.Random) -> bool:
    return chance.random() < 0.05


def _document(chance: random.Random, request_body: bytes) -> bytes:
    """Return the body of a response of CodePipeline, most often of the right shape."""
    base: dict[str, Any] = {
        "jobDetails": DETAILS,
        "jobs": [{"clientId": CLIENT_ID, "jobId": "job-1"}],
        "status": "InProgress",
    }
    if chance.random() < 0.3:  # an error that repeats the request, with its token
        text = chance.choice((request_body.decode(errors="replace"), "no", "\x1b[2J\n", "x" * 70_000))
        base = {"__type": chance.choice(_CODES), "message": text}
    odd = (b"", b"<html>", b"null", b"[" * 100_000, b'{"a":' * 3_000, b"\xff\xfe{", b'{"jobs": NaN}', b"{}" * 2)
    if chance.random() < 0.1:
        return chance.choice(odd)
    if chance.random() < 0.003:
        return b'{"jobs": [%s]}' % b",".join([b'{"clientId": "c", "jobId": "j"}'] * 400_000)  # 12 MB
    document = base if chance.random() < 0.4 else mutate_document(chance, base)
    try:
        return json.dumps(document, ensure_ascii=chance.random() < 0.5).encode(errors="surrogatepass")
    except RecursionError:  # several mutations have nested it, each inside of another one
        return b'{"jobDetails":' * 2_000 + b"}" * 2_000


_TOKEN = SecretStr(f"{MARKER}-client-token")
_CALLS: dict[str, Callable[[ThirdPartyJobClient], object]] = {
    "poll": lambda client: client.poll_for_third_party_jobs(ACTION_TYPE),
    "details": lambda client: client.get_third_party_job_details("job-1", client_token=_TOKEN),
    "acknowledge": lambda client: client.acknowledge_third_party_job("job-1", nonce="1", client_token=_TOKEN),
    "success": lambda client: client.put_third_party_job_success_result("job-1", client_token=_TOKEN),
    "failure": lambda client: client.put_third_party_job_failure_result(
        "job-1", client_token=_TOKEN, failure_details=FailureDetails(type=FailureType.JOB_FAILED, message="no")
    ),
}


@contextmanager
def codepipeline_responses(_directory: Path) -> Generator[Case]:
    """Open the cases: a response of CodePipeline for each."""
    current = Hidden(None)

    def respond(_head: bytes, body: bytes) -> bytes:
        chance: random.Random = current.value
        headers = {"x-amzn-RequestId": "request-1", "Content-Type": "application/x-amz-json-1.1"}
        return _frame(chance, headers, _document(chance, body), chance.choice(_STATUSES))

    with _raw_server(respond) as endpoint_url:
        session = Session()
        session.set_credentials("AKIDEXAMPLE", f"{MARKER}-secret", f"{MARKER}-session")
        settings: dict[str, Any] = {"region_name": "us-east-1", "endpoint_url": endpoint_url, "session": session}
        with ThirdPartyJobClient.create(config=_ONCE, **settings) as client:

            def case(chance: random.Random) -> str:
                current.value = chance
                call = chance.choice(list(_CALLS.values()))
                return ending_of(lambda: call(client), is_peer_shown=True)

            yield case


# One that comes at once, and one that comes in two ranges.
_OBJECTS = {"in": b"content of an artifact\n" * 100, "large": b"content of an artifact\n" * 400_000}
_CHECKSUM = "x-amz-checksum-crc32"
# Values of a header; botocore compares no checksum with a hyphen.
_ODD_HEADERS = (
    *("", "x", "\x7f", "bytes 0-1/2", "bytes 5-1/9", '"other"', "AAAA==", "-1", "AAAAAA==-2", "9" * 40, "x" * 5_000),
    *("COMPOSITE", "FULL_OBJECT"),
)
_CREDENTIALS = ArtifactCredentials(
    access_key_id=f"{MARKER}-id", secret_access_key=f"{MARKER}-secret", session_token=f"{MARKER}-session"
)


@contextmanager
def s3_responses(directory: Path) -> Generator[Case]:
    """Open the cases: a response of S3 for each request of an upload or a download."""
    current, lock = Hidden(None), threading.Lock()
    bucket = "example-bucket"
    inputs = [artifact_jobs.artifact(name, name, bucket=bucket) for name in _OBJECTS]
    outputs = [artifact_jobs.artifact("out", "out", bucket=bucket)]
    source, target = directory / "source", directory / "target"
    source.write_bytes(_OBJECTS["in"])
    announced = Hidden(None)  # the checksum in the newest response to HEAD, as the library reads it

    with ScriptedS3({f"/{bucket}/{name}": content for name, content in _OBJECTS.items()}) as s3:

        def respond(head: bytes, body: bytes) -> bytes:
            with lock:  # the threads of one transfer share the random numbers
                response = _s3_response(current.value, s3, head, body)
                if head.startswith(b"HEAD "):
                    announced.value = _read_checksum(response)
                return response

        with (
            _raw_server(respond) as endpoint_url,
            artifact_jobs.open_store(
                _CREDENTIALS, endpoint_url, inputs=inputs, outputs=outputs, options={"config": _ONCE}
            ) as store,
        ):
            calls: list[Callable[[str], object]] = [
                lambda name: store.download(name, to=target),
                lambda _: store.upload("out", source),
                lambda name: target.write_bytes(_read(store, name)),
            ]

            def case(chance: random.Random) -> str:
                current.value = chance
                name = "large" if _rare(chance) else "in"
                ending = ending_of(functools.partial(chance.choice(calls), name), is_peer_shown=True)
                if target.exists():
                    content, checksum = target.read_bytes(), crc32(_OBJECTS[name])
                    target.unlink()
                    # Without a checksum, other bytes of the same length are accepted.
                    assert len(content) == len(_OBJECTS[name])
                    assert content == _OBJECTS[name] or announced.value != [checksum], announced.value
                assert [path.name for path in directory.iterdir()] == ["source"]
                return ending

            yield case
    source.unlink()


def _read(store: ArtifactStore, name: str) -> bytes:
    with store.open(name) as stream:
        return stream.read()


def _read_checksum(response: bytes) -> list[str]:
    stream = io.BytesIO(response)
    stream.readline()
    try:
        return http.client.parse_headers(stream).get_all(_CHECKSUM, [])
    except http.client.HTTPException:
        return []


def _s3_response(chance: random.Random, s3: ScriptedS3, head: bytes, body: bytes) -> bytes:
    line, *lines = head.decode("latin-1").splitlines()
    method, path, _ = line.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (each.partition(":") for each in lines)}
    response = s3.respond(ReceivedRequest(method, path.partition("?")[0], {}, headers, body))
    s3.requests.clear()
    content = response.body
    if chance.random() < 0.25:
        message = chance.choice((headers.get("x-amz-security-token", ""), "no", "\x1b[2J", "&#27;[2J", "x" * 9_000))
        code = chance.choice((*_CODES, "AccessDenied", "InvalidToken", "RequestTimeout", "KMS.DisabledException"))
        response = failed(code, chance.choice((400, 403, 404, 412, 500, 503)), message=message)
        content = response.body
    elif chance.random() < 0.1:
        content = chance.choice((b"", b"<html>", b"<?xml", b"<a>" * 50_000, content * 2, mutate_bytes(chance, content)))
    given = _with_odd_header(chance, response)
    data = _frame(chance, given, content, f"{response.status} Status".encode())
    return data.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" if method == "HEAD" else data


def _with_odd_header(chance: random.Random, response: Response) -> dict[str, str]:
    headers = {"x-amz-request-id": "request-1", **response.headers}
    if chance.random() < 0.2:
        headers[chance.choice([*headers, _CHECKSUM, "x-amz-checksum-type"])] = chance.choice(_ODD_HEADERS)
    return headers


_REQUESTS: dict[str, Any] = {
    "PollForThirdPartyJobs": {"actionTypeId": DETAILS["data"]["actionTypeId"]},
    "GetThirdPartyJobDetails": {"jobId": "job-1", "clientToken": f"{MARKER}-client-token"},
    "AcknowledgeThirdPartyJob": {"jobId": "job-1", "clientToken": f"{MARKER}-client-token", "nonce": "1"},
    "PutThirdPartyJobSuccessResult": {"jobId": "job-1", "clientToken": f"{MARKER}-client-token"},
    "PutThirdPartyJobFailureResult": {
        "jobId": "job-1",
        "clientToken": f"{MARKER}-client-token",
        "failureDetails": {"type": "JobFailed", "message": f"{MARKER}-message"},
    },
}


@contextmanager
def service_requests(_directory: Path) -> Generator[Case]:
    """Open the cases: a request to the local service for each, which still serves a correct call afterwards."""
    with (
        LocalCodePipeline() as checks,
        LocalCodePipeline(verify_signatures=False) as trusts,
        trusts.client() as client,
    ):
        trusts.register_client(CLIENT_ID, f"{MARKER}-client-token")
        client.poll_for_third_party_jobs(ACTION_TYPE)

        def case(chance: random.Random) -> str:
            service = chance.choice((checks, trusts, trusts, trusts))
            response = _exchange(service.endpoint_url, _request(chance, service))
            assert MARKER.encode() not in response
            assert b"Traceback" not in response
            if chance.random() < 0.02:
                assert client.poll_for_third_party_jobs(ACTION_TYPE) == ()
            status = re.match(rb"HTTP/1\.[01] (\d{3})", response)
            assert response == b"" or status is not None, response[:100]
            return f"status {status[1].decode()}" if status else "closed"

        yield case


def _request(chance: random.Random, service: LocalCodePipeline) -> bytes:
    name, parameters = chance.choice(list(_REQUESTS.items()))
    parameters = parameters if chance.random() < 0.3 else mutate_document(chance, parameters)
    parameters = junk(chance) if _rare(chance) else parameters
    body = json.dumps(parameters, ensure_ascii=chance.random() < 0.5).encode(errors="surrogatepass")
    body = mutate_bytes(chance, body) if chance.random() < 0.2 else body
    scope = f"{service.access_key_id}/20260101/us-east-1/codepipeline/aws4_request"
    headers = {
        "Host": chance.choice((*["127.0.0.1"] * 20, "localhost:1", "example.com", "\x1b")),
        "Content-Type": chance.choice((*["application/x-amz-json-1.1"] * 9, "application/cbor", "text/plain", "\xff")),
        "X-Amz-Target": f"CodePipeline_20150709.{name}",
        "X-Amz-Date": chance.choice(("20260101T000000Z", "x", "99999999T999999Z")),
        "Authorization": f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host;x-amz-date, Signature={'0' * 64}",
        "Content-Length": chance.choice((*[str(len(body))] * 9, "-1", "9" * 30, "99999999", "x", str(len(body) + 9))),
    }
    lines = [f"{key}: {value}".encode("latin-1") for key, value in headers.items() if chance.random() < 0.95]
    lines += [b"x" * 70_000 + b": y"] * _rare(chance) + [b"x: y"] * chance.choice((*[0] * 20, 150))
    method = chance.choice((*[b"POST"] * 40, b"GET", b"PUT", b"\x1b", b"CONNECT"))
    target = chance.choice((*[b"/"] * 40, b"http://example.com/", b"*", b"/" + b"x" * 70_000, b"/\xff"))
    data = b"\r\n".join([method + b" " + target + b" HTTP/1.1", *lines, b"", body])
    return mutate_bytes(chance, data) if chance.random() < 0.3 else data


def _exchange(endpoint_url: str, request: bytes) -> bytes:
    """Send bytes and nothing more, and return all that is received."""
    port = int(endpoint_url.rpartition(":")[2])
    received = bytearray()
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        with suppress(OSError):  # the service does not read a request that it refuses
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
        with suppress(ConnectionError):
            while piece := connection.recv(65536):
                received += piece
    return bytes(received)
