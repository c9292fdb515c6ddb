"""A response takes at most 64 MiB, or three times its own length and 49 MiB, whatever is in it."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.config import Config
from support import both_clients as both
from support.lossy_network import Peer, Server, use_role

from cp_thirdparty import ActionTypeId, ThirdPartyJobClient
from cp_thirdparty._core import guard
from cp_thirdparty.exceptions import CredentialsError, ResponseDecodeError, TransportError, UntrustedResponseError

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

# Above 16 MiB, they are not accepted.
_WIDE_BODIES: dict[str, tuple[bytes, bytes, bytes, bool]] = {
    "one string of emoji": (b'{"jobs":[],"a":"', "\U0001f600".encode(), b'"}', True),
    "one emoji in a string": ('{"jobs":[],"a":"\U0001f600'.encode(), b"abcdefgh", b'"}', True),
    "one escaped emoji in a string": (b'{"jobs":[],"a":"\\ud83d\\ude00', b"abcdefgh", b'"}', True),
    "one escaped character of two bytes": (b'{"jobs":[],"a":"\\u20ac', b"abcdefgh", b'"}', True),
    "configuration with an emoji": (_CONFIGURATION + "\U0001f600".encode(), b"abcdefgh", b'"}}}}}', True),
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


def _find_peak(body: tuple[bytes, bytes, bytes, bool], size: int, kind: str) -> tuple[int, int]:
    """Return the peak of all allocations while a call runs, the response itself included, and the body's length."""
    start, part, end, is_accepted = body
    play, length = _stream(start, part, end, size)
    with Server(play) as server:
        client = _poll(kind, f"http://127.0.0.1:{server.port}")
        tracemalloc.start()
        try:
            if not is_accepted:
                with pytest.raises((UntrustedResponseError, ResponseDecodeError)):
                    client.poll_for_third_party_jobs(_TYPE)
            elif start.startswith(_DETAILS):
                assert client.get_third_party_job_details("job-1", client_token="token-1").id == "job-1"
            else:
                client.poll_for_third_party_jobs(_TYPE)
            return tracemalloc.get_traced_memory()[1], length
        finally:
            tracemalloc.stop()


@both.each_kind
@pytest.mark.parametrize("size", [5, pytest.param(30, marks=pytest.mark.slow)])
@pytest.mark.parametrize("what", _BODIES)
def test_a_response_takes_four_times_its_length(what: str, size: int, kind: str) -> None:
    """A response of 5 MiB whose memory is in its strings stays far below 64 MiB."""
    peak, length = _find_peak(_BODIES[what], size * _MIB, kind)
    assert length > (size - 1) * _MIB
    assert peak < 4 * length


# As many values as a short response may have.  Each has its size, in kB.
_SHORT_BODIES: dict[str, tuple[tuple[bytes, bytes, bytes, bool], int]] = {
    "jobs": ((b'{"jobs":[{"clientId":"1","jobId":"1"}', b',{"clientId":"1","jobId":"1"}', b"]}", True), 1_500),
    "jobs without ids": ((b'{"jobs":[{}', b",{}", b"]}", False), 380),
    "jobs with wrong ids": ((b'{"jobs":[{}', b',{"clientId":1}', b"]}", False), 1_500),
    "artifacts": ((_DETAILS + b'"inputArtifacts":[{"name":"a"}', b',{"name":"a"}', b"]}}}", True), 1_350),
    "objects that are not read": ((b'{"jobs":[],"a":[{}', b',{"":0}', b"]}", True), 850),
}


@pytest.mark.slow
@both.each_kind
@pytest.mark.parametrize("what", _SHORT_BODIES)
def test_a_short_response_takes_64_mib(what: str, kind: str) -> None:
    """A bound of some times the length alone would refuse what the service sends."""
    body, size = _SHORT_BODIES[what]
    assert _find_peak(body, size * 1_000, kind)[0] < 64 * _MIB


@both.each_kind
@pytest.mark.parametrize("size", [5, pytest.param(15, marks=pytest.mark.slow)])
@pytest.mark.parametrize("what", _WIDE_BODIES)
def test_a_response_with_a_character_beyond_latin_1_takes_ten_times_its_length(what: str, size: int, kind: str) -> None:
    """The configuration of one job in a long poll may have such a character."""
    peak, length = _find_peak(_WIDE_BODIES[what], size * _MIB, kind)
    assert length > (size - 1) * _MIB
    assert peak < 10 * length


@pytest.mark.parametrize("what", _WIDE_BODIES)
def test_a_character_beyond_latin_1_is_refused_above_16_mib(what: str) -> None:
    """The sentence names the character and the length."""
    start, part, end, _ = _WIDE_BODIES[what]
    faults = [_judge(start + part * (size * _MIB // len(part)) + end) for size in (15, 17)]
    sentence = "the response has more than 16 MiB and a character beyond Latin-1, which multiplies its memory"
    assert faults == [None, sentence]


def _judge(body: bytes) -> str | None:
    response = {"status_code": 200, "headers": {"x-amzn-requestid": "r"}, "body": body}
    return guard.check_response(response, is_cbor=False, has_output=True).fault


@pytest.mark.parametrize("length", [20, 400, 1_000])
def test_a_poll_of_a_thousand_custom_jobs_is_accepted(length: int) -> None:
    """Each job has all that the service sends, ten artifacts, and ten values of this length in its configuration."""
    custom = json.loads((Path(__file__).parents[1] / "data" / "job_details.json").read_text(encoding="utf-8"))
    job: dict[str, Any] = {**custom["jobDetails"], "accountId": "111122223333"}
    job["data"]["actionConfiguration"]["configuration"] = {f"Key{number}": "v" * length for number in range(10)}
    for kind in ("inputArtifacts", "outputArtifacts"):
        job["data"][kind] = job["data"][kind][:1] * 5
    assert _judge(json.dumps({"jobs": [job] * 1_000}).encode()) is None


@pytest.mark.parametrize("size", [4, pytest.param(20, marks=pytest.mark.slow)])
def test_a_response_has_a_bounded_number_of_values(size: int) -> None:
    """The memory above three times the length is for values, 256 bytes for each; 200,000 are always accepted."""
    max_values = max((64 - 3 * size) * _MIB // 256, 200_000)
    rest = b"0" * (size * _MIB - 7 * max_values)
    bodies = [b'{"a":"%s","b":[%s1]}' % (rest, b"1,     " * count) for count in (max_values - 100, max_values + 1)]
    assert [_judge(body) for body in bodies] == [None, "the response has too many values for its length"]


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


@both.each_kind
@pytest.mark.parametrize("status", ["200 OK", "403 Forbidden"])
def test_a_long_response_with_credentials_is_not_read(
    status: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What takes the place of STS, or of a metadata service, cannot fill the memory of the program."""

    def play(peer: Peer) -> None:
        peer.read_request()
        peer.send(f"HTTP/1.1 {status}\r\nContent-Length: {200 * _MIB}\r\n\r\n".encode())
        for _ in range(200):
            peer.send(b" " * _MIB)
        peer.wait()

    with Server(play) as server:
        use_role(tmp_path, monkeypatch, server.port)
        client = both.create(kind, region_name="us-east-1", endpoint_url="http://127.0.0.1:9", profile_name="partner")
        tracemalloc.start()
        try:
            with pytest.raises(CredentialsError, match="the AWS credentials could not be loaded"):
                client.poll_for_third_party_jobs(_TYPE)
            assert tracemalloc.get_traced_memory()[1] < 100 * _MIB
        finally:
            tracemalloc.stop()
