"""The facts of an error: each error of each operation names the call that failed, and what is known about it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import botocore.session
import pytest
from botocore.config import Config
from support import both_clients as both
from support.scripted_server import ReceivedRequest, Response, ScriptedServer, error, ok

from cp_thirdparty import ActionTypeId, FailureDetails, FailureType, ThirdPartyJobClient
from cp_thirdparty.exceptions import (
    AccessDeniedError,
    CodePipelineJobError,
    CredentialsError,
    InvalidRequestError,
    JobNotFoundException,
    ResponseDecodeError,
    ServiceError,
    ThrottledError,
    TransportError,
    UntrustedResponseError,
)

_TYPE = ActionTypeId(category="Test", owner="ThirdParty", provider="p", version="1")
_FAILURE = FailureDetails(type=FailureType.JOB_FAILED, message="no")

# Operation -> a call of it with a client token, its job, and whether the service may be asked twice.
_CALLS: dict[str, tuple[Callable[[ThirdPartyJobClient, str], object], str | None, bool]] = {
    "PollForThirdPartyJobs": (lambda client, _: client.poll_for_third_party_jobs(_TYPE), None, True),
    "GetThirdPartyJobDetails": (
        lambda client, token: client.get_third_party_job_details("job-1", client_token=token),
        "job-1",
        True,
    ),
    "AcknowledgeThirdPartyJob": (
        lambda client, token: client.acknowledge_third_party_job("job-1", nonce="1", client_token=token),
        "job-1",
        False,
    ),
    "PutThirdPartyJobSuccessResult": (
        lambda client, token: client.put_third_party_job_success_result("job-1", client_token=token),
        "job-1",
        False,
    ),
    "PutThirdPartyJobFailureResult": (
        lambda client, token: client.put_third_party_job_failure_result(
            "job-1", client_token=token, failure_details=_FAILURE
        ),
        "job-1",
        False,
    ),
}
_READS = ("PollForJobs", "GetJobDetails")


def _without_token(call: Callable[[Any], object]) -> Callable[[Any, str], object]:
    return lambda client, _: call(client)


_CALLS.update(
    {
        name: (_without_token(call), None if name == "PollForJobs" else "job-1", name in _READS)
        for name, call in both.custom_calls("job-1").items()
    }
)
each_operation = pytest.mark.parametrize("operation", _CALLS)


def _reset(_: ReceivedRequest) -> Response:
    raise ConnectionAbortedError


# A resend of the last is safe where the operation can be repeated; for the others it is unknown.
_BY_OPERATION: Any = object()

# What the service does -> the class, status, request id, and whether a resend is safe.
_RESPONSES: dict[
    str, tuple[Callable[[ReceivedRequest], Response] | Response, type, int | None, str | None, bool | None]
] = {
    "not found": (error("JobNotFoundException"), JobNotFoundException, 400, "req-0001", False),
    "denied": (error("AccessDeniedException"), AccessDeniedError, 400, "req-0001", False),
    "expired": (error("ExpiredTokenException"), CredentialsError, 400, "req-0001", False),
    "throttled": (error("ThrottlingException"), ThrottledError, 400, "req-0001", True),
    "page": (Response(body=b"<html>", status=502, headers={}), UntrustedResponseError, 502, None, _BY_OPERATION),
    "reset": (_reset, TransportError, None, None, _BY_OPERATION),
    "wrong shape": (
        ok({"jobs": 1, "jobDetails": {}, "status": 1}),
        ResponseDecodeError,
        200,
        "req-0001",
        _BY_OPERATION,
    ),
}


def _client(kind: str, server: ScriptedServer) -> Any:
    return both.create(
        kind,
        region_name="us-east-1",
        endpoint_url=server.endpoint_url,
        session=both.session(kind, "AKIDEXAMPLE", "made up"),
        config=Config(proxies={}, retries={"mode": "standard", "total_max_attempts": 1}),
    )


def _facts(raised: CodePipelineJobError) -> dict[str, object]:
    return {
        "operation_name": raised.operation_name,
        "job_id": raised.job_id,
        "status_code": raised.status_code,
        "request_id": raised.request_id,
        "attempts": raised.attempts,
        "is_retry_safe": raised.is_retry_safe,
    }


@both.each_kind
@each_operation
@pytest.mark.parametrize("outcome", _RESPONSES)
def test_an_error_of_a_sent_call_has_all_facts(outcome: str, operation: str, kind: str) -> None:
    """Operation, job, status, request id, attempts and the safety of a resend are on every error of every operation."""
    response, cls, status_code, request_id, is_retry_safe = _RESPONSES[outcome]
    call, job_id, is_repeatable = _CALLS[operation]
    if cls is ResponseDecodeError and operation.startswith("Put"):
        pytest.skip("a result has no output that could have a wrong shape")
    script = response if callable(response) else lambda _: response
    with (
        ScriptedServer(script) as server,
        _client(kind, server) as client,
        pytest.raises(CodePipelineJobError) as caught,
    ):
        call(client, "token")
    assert type(caught.value) is cls
    assert _facts(caught.value) == {
        "operation_name": operation,
        "job_id": job_id,
        "status_code": status_code,
        "request_id": request_id,
        "attempts": 1,
        "is_retry_safe": (True if is_repeatable else None) if is_retry_safe is _BY_OPERATION else is_retry_safe,
    }


def _not_sent(operation: str) -> dict[str, object]:
    return {
        "operation_name": operation,
        "job_id": _CALLS[operation][1],
        "status_code": None,
        "request_id": None,
        "attempts": 0,
        "is_retry_safe": False,
    }


@both.each_kind
@pytest.mark.parametrize(
    "operation", [operation for operation, (_, job_id, _) in _CALLS.items() if job_id and "Third" in operation]
)
def test_an_error_of_a_refused_parameter_has_all_facts(operation: str, kind: str) -> None:
    """A call that was refused before it was sent has no status, no attempts, and fails in the same way again."""
    with ScriptedServer(lambda _: ok({})) as server, _client(kind, server) as client:
        with pytest.raises(InvalidRequestError, match="client_token") as caught:
            _CALLS[operation][0](client, "")
        assert server.requests == []
    assert _facts(caught.value) == _not_sent(operation)


@both.each_kind
def test_a_job_id_that_breaks_its_rule_is_not_kept(kind: str) -> None:
    """A refused job id may be a secret in the wrong place, so the error does not have it."""
    with (
        ScriptedServer(lambda _: ok({})) as server,
        _client(kind, server) as client,
        pytest.raises(InvalidRequestError, match="job_id") as caught,
    ):
        client.get_third_party_job_details("x" * 513, client_token="token")
    assert _facts(caught.value) == {**_not_sent("GetThirdPartyJobDetails"), "job_id": None}


@each_operation
def test_an_error_without_credentials_has_all_facts(operation: str) -> None:
    """A call that could not be signed was not sent."""
    session = botocore.session.Session()
    session.get_component("credential_provider").providers.clear()
    with (
        ScriptedServer(lambda _: ok({})) as server,
        ThirdPartyJobClient.create(
            region_name="us-east-1", endpoint_url=server.endpoint_url, session=session
        ) as client,
    ):
        with pytest.raises(CredentialsError) as caught:
            _CALLS[operation][0](client, "token")
        assert server.requests == []
    assert _facts(caught.value) == _not_sent(operation)


@pytest.mark.skipif("asyncio" not in both.KINDS, reason="needs the extra async")
@pytest.mark.parametrize("operation", [operation for operation in _CALLS if "ThirdParty" in operation])
def test_an_error_of_a_closed_async_client_has_all_facts(operation: str) -> None:
    """A call of an asyncio client that is not open was not sent."""
    with ScriptedServer(lambda _: ok({})) as server:
        client = _client("asyncio", server)
        client.close()
        with pytest.raises(InvalidRequestError, match="client: must be open") as caught:
            _CALLS[operation][0](client, "token")
    assert _facts(caught.value) == _not_sent(operation)


def test_access_denied_keeps_code_and_message() -> None:
    """Access denied is an error of the service, so it has its code and its message, without the call's secrets."""
    response = error("AccessDeniedException", "token-1 may not")
    with (
        ScriptedServer(lambda _: response) as server,
        _client("blocking", server) as client,
        pytest.raises(ServiceError) as caught,
    ):
        client.get_third_party_job_details("job-1", client_token="token-1")
    assert isinstance(caught.value, AccessDeniedError)
    assert (caught.value.code, caught.value.message) == ("AccessDeniedException", "********** may not")
    assert str(caught.value) == (
        "GetThirdPartyJobDetails: not allowed; allow codepipeline:GetThirdPartyJobDetails on the action type"
    )
