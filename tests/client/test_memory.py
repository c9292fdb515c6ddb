"""A response takes at most four times its own length of memory, whatever is in it."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import pytest
from botocore.config import Config
from support import both_clients as both
from support.lossy_network import Peer, Server

from cp_thirdparty import ActionTypeId, ThirdPartyJobClient
from cp_thirdparty.exceptions import TransportError, UntrustedResponseError

_TYPE = ActionTypeId(category="Test", owner="ThirdParty", provider="p", version="1")
_MIB = 1 << 20

_DETAILS = b'{"jobDetails":{"id":"job-1","nonce":"1","data":{'
_CONFIGURATION = _DETAILS + b'"actionConfiguration":{"configuration":{"Key":"'
_ARTIFACT = b'{"name":"%s"}' % (b"a" * 3000)
_ERROR = b'{"__type":"JobNotFoundException","message":"'
_ERROR_PAGE = b"<html><title>Error</title>"

# What fills a response: its start, the part that is repeated, and its end; whether the response is accepted.  A body
# that starts as job details do is the response to a call for them; an error has status 400.
_BODIES: dict[str, tuple[bytes, bytes, bytes, bool]] = {
    "objects": (b'{"jobs":[{}', b",{}", b"]}", False),
    "arrays": (b'{"jobs":[[]', b",[]", b"]}", False),
    "nested arrays": (b'{"jobs":', b"[", b"", False),
    "nested objects": (b'{"jobs":', b'{"a":', b"", False),
    "numbers": (b'{"jobs":[1000', b",1000", b"]}", False),
    "strings": (b'{"jobs":["ab"', b',"ab"', b"]}", False),
    "keys": (b'{"jobs":[]', b',"abc":null', b"}", False),
    "one string": (b'{"jobs":[],"a":"', b"abcdefgh", b'"}', True),
    "one string with escapes": (b'{"jobs":[],"a":"', b'\\n\\"[{,\\\\', b'"}', True),
    "one string of Latin-1": (b'{"jobs":[],"a":"', "é".encode(), b'"}', True),
    "one string of emoji": (b'{"jobs":[],"a":"', "\U0001f600".encode(), b'"}', False),
    "one emoji in a string": ('{"jobs":[],"a":"\U0001f600'.encode(), b"abcdefgh", b'"}', False),
    "one escaped emoji in a string": (b'{"jobs":[],"a":"\\ud83d\\ude00', b"abcdefgh", b'"}', False),
    "one escaped character of two bytes": (b'{"jobs":[],"a":"\\u20ac', b"abcdefgh", b'"}', False),
    "escapes of ASCII and Latin-1": (b'{"jobs":[],"a":"', b"\\u0041\\u00e9\\\\u20ac", b'"}', True),
    "jobs": (b'{"jobs":[{}', b',{"clientId":"11111111","jobId":"11111111"}', b"]}", False),
    "no JSON": (b"<html>", b"<p>", b"", False),
    "configuration": (_CONFIGURATION, b"abcdefgh", b'"}}}}}', True),
    "configuration of Latin-1": (_CONFIGURATION, "é".encode(), b'"}}}}}', True),
    "artifacts": (_DETAILS + b'"inputArtifacts":[{}', b"," + _ARTIFACT, b"]}}}", True),
    "error": (_ERROR, b"abcdefgh", b'"}', False),
    "error with escapes": (_ERROR, b"\\u0041%41&amp;", b'"}', False),
    "error without JSON": (_ERROR_PAGE, b"<p>&amp;", b"", False),
}


def _stream(start: bytes, part: bytes, end: bytes, size: int) -> tuple[Callable[[Peer], None], int]:
    """Return what streams such a body without holding it, and its length."""
    count = (size - len(start) - len(end)) // len(part)
    length = len(start) + count * len(part) + len(end)
    block = part * (65_536 // len(part))
    blocks, rest = divmod(count, 65_536 // len(part))
    status = "400 Bad Request" if start in (_ERROR, _ERROR_PAGE) else "200 OK"

    def play(peer: Peer) -> None:
        peer.read_request()
        head = f"HTTP/1.1 {status}\r\nx-amzn-RequestId: r\r\nContent-Length: {length}\r\n\r\n"
        peer.send(head.encode() + start)
        for _ in range(blocks):
            peer.send(block)
        peer.send(part * rest + end)
        peer.wait()

    return play, length


def _poll(kind: str, endpoint_url: str) -> ThirdPartyJobClient:
    return both.create(
        kind,
        region_name="us-east-1",
        endpoint_url=endpoint_url,
        session=both.session(kind, "AKIDEXAMPLE", "made up"),
        config=Config(retries={"total_max_attempts": 1}, proxies={}),
    )


@both.each_kind
@pytest.mark.parametrize("size", [5, pytest.param(30, marks=pytest.mark.slow)])
@pytest.mark.parametrize("what", _BODIES)
def test_a_response_takes_four_times_its_length(what: str, size: int, kind: str) -> None:
    """The peak of all allocations while a call runs, the response itself included."""
    start, part, end, is_accepted = _BODIES[what]
    play, length = _stream(start, part, end, size * _MIB)
    with Server(play) as server:
        client = _poll(kind, f"http://127.0.0.1:{server.port}")
        tracemalloc.start()
        try:
            if start.startswith(_DETAILS):
                assert client.get_third_party_job_details("job-1", client_token="token-1").id == "job-1"
            elif is_accepted:
                assert client.poll_for_third_party_jobs(_TYPE) == ()
            else:
                with pytest.raises(UntrustedResponseError):
                    client.poll_for_third_party_jobs(_TYPE)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert length > (size - 1) * _MIB
    assert peak < 4 * length


@both.each_kind
def test_a_response_of_more_than_32_mib_is_not_read(kind: str) -> None:
    """A body is read up to its limit only."""
    play, _ = _stream(b"", b"x", b"", 40 * _MIB)
    with Server(play) as server, pytest.raises(TransportError, match="the response is too long") as caught:
        _poll(kind, f"http://127.0.0.1:{server.port}").poll_for_third_party_jobs(_TYPE)
    assert type(caught.value) is UntrustedResponseError


@both.each_kind
def test_a_poll_of_a_thousand_jobs_is_accepted(kind: str) -> None:
    """The limits are far from what the service sends."""
    job = b'{"clientId":"11111111-2222-4333-8444-555555555555","jobId":"11111111-2222-4333-8444-555555555555"}'
    play, _ = _stream(b'{"jobs":[' + job, b"," + job, b"]}", 1000 * (len(job) + 1))
    with Server(play) as server:
        jobs = _poll(kind, f"http://127.0.0.1:{server.port}").poll_for_third_party_jobs(_TYPE)
    assert len(jobs) > 990
