"""Calls that are sent once: who claims jobs or reports results must know of each attempt."""

from __future__ import annotations

import pytest
from botocore.config import Config
from support import both_clients as both
from support.scripted_server import Answer, Asked, ScriptedServer, error

from cp_thirdparty._core.call import single_attempt
from cp_thirdparty.client import ThirdPartyJobClient
from cp_thirdparty.exceptions import ServiceError, ThrottledError, TransportError, UntrustedResponseError


def client_of(server: ScriptedServer, kind: str) -> ThirdPartyJobClient:
    """Make a client of this server."""
    session = both.session(kind, "AKIDEXAMPLE", "made up")
    return both.create(
        kind, region_name="us-east-1", endpoint_url=server.endpoint_url, session=session, config=Config(proxies={})
    )


_ANSWERS = {
    "500": (error("InternalFailure", status=500), ServiceError),
    "throttled": (error("ThrottlingException"), ThrottledError),
    "a proxy's page": (Answer(body=b"<html>", headers={}), UntrustedResponseError),
}


@both.each_kind
@pytest.mark.parametrize("name", _ANSWERS)
def test_a_call_is_sent_once(name: str, kind: str) -> None:
    """Inside the block a bad answer is raised at once, and the error tells of one attempt."""
    answer, raised = _ANSWERS[name]
    with ScriptedServer(lambda _: answer) as server, client_of(server, kind) as client:
        with single_attempt(), pytest.raises(raised) as caught:
            client.put_third_party_job_success_result("job", client_token="token")
        assert len(server.asked) == 1
    assert isinstance(caught.value, (ServiceError, TransportError))
    assert caught.value.attempts == 1


@both.each_kind
def test_a_lost_connection_is_not_tried_again(kind: str) -> None:
    """Inside the block a connection that breaks is raised at once."""

    def broken(_: Asked) -> Answer:
        raise ConnectionAbortedError

    with ScriptedServer(broken) as server, client_of(server, kind) as client:
        with single_attempt(), pytest.raises(TransportError):
            client.put_third_party_job_success_result("job", client_token="token")
        assert len(server.asked) == 1


@both.each_kind
def test_after_the_block_calls_are_sent_again(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Outside of the block botocore's retries are back."""
    monkeypatch.setattr("time.sleep", lambda _: None)
    with ScriptedServer(lambda _: error("InternalFailure", status=500)) as server, client_of(server, kind) as client:
        with single_attempt(), pytest.raises(ServiceError):
            client.put_third_party_job_success_result("job", client_token="token")
        with pytest.raises(ServiceError):
            client.put_third_party_job_success_result("job", client_token="token")
        assert len(server.asked) == 4
