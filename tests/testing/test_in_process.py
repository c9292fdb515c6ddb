"""The local CodePipeline without a socket: the same responses through botocore's ``before-send`` event."""

from __future__ import annotations

import json
import socket
from typing import Any

import botocore.session
import pytest
from botocore.awsrequest import AWSPreparedRequest
from botocore.config import Config
from botocore.exceptions import ClientError

from cp_thirdparty import ActionTypeId, FailureDetails, FailureType, exceptions
from cp_thirdparty.testing import LocalCodePipeline
from cp_thirdparty.testing._in_process import _to_http_request

_ACTION_TYPE = ActionTypeId(category="Test", owner="ThirdParty", provider="ExampleScan", version="1")
_TYPE_ID = {"category": "Test", "owner": "ThirdParty", "provider": "ExampleScan", "version": "1"}
_TOKEN = "xMARKERx-token"


@pytest.fixture
def service() -> LocalCodePipeline:
    """Return a service that is not started, with one registered client id."""
    local = LocalCodePipeline()
    local.register_client("client-1", _TOKEN)
    return local


@pytest.fixture(autouse=True)
def forbid_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail each test of this file that opens a connection or looks up a name."""

    def refuse(*_: object) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def _create_attached_client(service: LocalCodePipeline, **settings: Any) -> Any:
    defaults: dict[str, Any] = {
        "region_name": service.region_name,
        "aws_access_key_id": service.access_key_id,
        "aws_secret_access_key": service.secret_access_key.get_secret_value(),
    }
    raw: Any = botocore.session.Session().create_client("codepipeline", **{**defaults, **settings})
    service.attach(raw)
    return raw


def test_a_job_is_polled_claimed_and_reported_without_a_socket(service: LocalCodePipeline) -> None:
    """A client of this library polls, reads, acknowledges and reports, and raises the service's errors."""
    action = service.start_action(_ACTION_TYPE, client_id="client-1", configuration={"ApiKey": "xMARKERx"})
    with service.client(in_process=True) as client:
        (job,) = client.poll_for_third_party_jobs(_ACTION_TYPE)
        details = client.get_third_party_job_details(job.job_id, client_token=_TOKEN)
        assert client.acknowledge_third_party_job(job.job_id, nonce=details.nonce, client_token=_TOKEN) == "InProgress"
        failure = FailureDetails(type=FailureType.JOB_FAILED, message="no")
        client.put_third_party_job_failure_result(job.job_id, client_token=_TOKEN, failure_details=failure)
        with pytest.raises(exceptions.InvalidJobStateException):
            client.put_third_party_job_success_result(job.job_id, client_token=_TOKEN)
    assert (action.status, action.result) == ("Failed", failure)
    assert [record.accepted for record in service.requests] == [True, True, True, True, False]


@pytest.mark.parametrize("endpoint_url", [None, "https://vpce-1.example.com/some/path?a=1"])
def test_a_client_of_botocore_can_be_attached(service: LocalCodePipeline, endpoint_url: str | None) -> None:
    """A client of botocore reaches the service with any endpoint URL, and the service checks its signatures."""
    action = service.start_action(_ACTION_TYPE, client_id="client-1")
    raw = _create_attached_client(service, endpoint_url=endpoint_url)
    expected = [{"clientId": "client-1", "jobId": action.jobs[0].id}]
    response = raw.poll_for_third_party_jobs(actionTypeId=_TYPE_ID)
    assert response["jobs"] == expected
    assert {"x-amzn-requestid", "x-amz-crc32", "date"} <= response["ResponseMetadata"]["HTTPHeaders"].keys()
    raw.close()


def test_an_attached_client_must_sign_correctly(service: LocalCodePipeline) -> None:
    """The service refuses a wrong secret key, as it does over HTTP."""
    raw = _create_attached_client(service, aws_secret_access_key="another")
    with pytest.raises(ClientError, match="InvalidSignatureException"):
        raw.poll_for_third_party_jobs(actionTypeId=_TYPE_ID)
    raw.close()


def test_other_operations_are_not_sent_to_aws(service: LocalCodePipeline) -> None:
    """An operation that the service does not have is refused, and not sent to AWS."""
    raw = _create_attached_client(service, config=Config(retries={"total_max_attempts": 1}))
    with pytest.raises(ClientError, match="UnknownOperationException"):
        raw.list_pipelines()
    assert [(record.operation_name, record.status_code) for record in service.requests] == [(None, 400)]
    raw.close()


def test_a_client_reaches_only_its_own_service(service: LocalCodePipeline) -> None:
    """If there are two services, a client polls the one that created it."""
    action = service.start_action(_ACTION_TYPE, client_id="client-1")
    other = LocalCodePipeline()
    with other.client(in_process=True) as other_client, service.client(in_process=True) as client:
        assert other_client.poll_for_third_party_jobs(_ACTION_TYPE) == ()
        assert [job.job_id for job in client.poll_for_third_party_jobs(_ACTION_TYPE)] == [action.jobs[0].id]
    assert (len(other.requests), len(service.requests)) == (1, 1)


@pytest.mark.parametrize("body", [b'{"a": 1}', '{"a": 1}', bytearray(b'{"a": 1}'), None])
def test_bytes_and_strings_in_a_request_are_converted(body: Any) -> None:
    """A body and headers that are bytes or strings are converted to what a server would receive."""
    headers: Any = {"X-Text": "a", "X-Bytes": b"b"}
    received = _to_http_request(
        AWSPreparedRequest("POST", "https://example.com?b=1", headers, body, stream_output=False)
    )
    assert (received.method, received.target) == ("POST", "/?b=1")
    assert dict(received.headers) == {"host": "example.com", "x-text": "a", "x-bytes": "b"}
    assert received.body == (b"" if body is None else json.dumps({"a": 1}).encode())
