"""The clients of custom jobs: what they send, what they return, and which parameters they refuse."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from botocore.config import Config
from support import both_clients as both
from support.scripted_server import ScriptedServer, error, ok

from cp_thirdparty import (
    ActionTypeId,
    CustomJob,
    CustomJobClient,
    CustomJobDetails,
    ExecutionDetails,
    FailureDetails,
    JobStatus,
    exceptions,
)
from cp_thirdparty.converter import structure, unstructure
from cp_thirdparty.enums import Delivery

_TYPE = ActionTypeId(category="Test", owner="Custom", provider="p", version="1")
_MARKER = "xMARKERx"
_DATA = {
    "actionConfiguration": {"configuration": {"ApiKey": _MARKER}},
    "artifactCredentials": {"accessKeyId": _MARKER, "secretAccessKey": _MARKER, "sessionToken": _MARKER},
    "pipelineContext": {"pipelineArn": "arn:aws:codepipeline:us-east-1:111122223333:p", "pipelineExecutionId": "e"},
}
_JOB = {"id": "job-1", "data": _DATA, "nonce": "3", "accountId": "111122223333"}
_DETAILS = {"jobDetails": {"id": "job-1", "data": _DATA, "accountId": "111122223333"}}

Call = Callable[[CustomJobClient], object]


def _client(kind: str, server: ScriptedServer) -> CustomJobClient:
    client = both.create(
        kind,
        region_name="us-east-1",
        endpoint_url=server.endpoint_url,
        session=both.session(kind, "AKIDEXAMPLE", "made up"),
        config=Config(proxies={}, retries={"mode": "standard", "total_max_attempts": 1}),
    )
    return both.custom(client)


_SENT: dict[str, tuple[Call, object, object, dict[str, Any]]] = {
    "PollForJobs": (
        lambda client: client.poll_for_jobs(_TYPE, max_batch_size=5, query_param={"ProjectName": "my-project_1"}),
        {"jobs": [_JOB]},
        (structure(_JOB, CustomJob),),
        {
            "actionTypeId": {"category": "Test", "owner": "Custom", "provider": "p", "version": "1"},
            "maxBatchSize": 5,
            "queryParam": {"ProjectName": "my-project_1"},
        },
    ),
    "GetJobDetails": (
        lambda client: client.get_job_details("job-1"),
        _DETAILS,
        structure(_DETAILS, CustomJobDetails),
        {"jobId": "job-1"},
    ),
    "AcknowledgeJob": (
        lambda client: client.acknowledge_job("job-1", nonce="3"),
        {"status": "InProgress"},
        JobStatus.IN_PROGRESS,
        {"jobId": "job-1", "nonce": "3"},
    ),
    "PutJobSuccessResult": (
        lambda client: client.put_job_success_result(
            "job-1",
            execution_details=ExecutionDetails(summary="done"),
            output_variables={"Findings": "3 → ü", "A@b-c_9": ""},
        ),
        {},
        None,
        {
            "jobId": "job-1",
            "executionDetails": {"summary": "done"},
            "outputVariables": {"Findings": "3 → ü", "A@b-c_9": ""},
        },
    ),
    "PutJobFailureResult": (
        lambda client: client.put_job_failure_result(
            "job-1", failure_details=FailureDetails(type="JobFailed", message="no")
        ),
        {},
        None,
        {"jobId": "job-1", "failureDetails": {"type": "JobFailed", "message": "no"}},
    ),
}


@both.each_kind
@pytest.mark.parametrize("operation", _SENT)
def test_a_call_sends_its_parameters_and_returns_the_model(operation: str, kind: str) -> None:
    """Each operation sends what it was given, without a client token, and returns the frozen model."""
    call, response, expected, parameters = _SENT[operation]
    with ScriptedServer(lambda _: ok(response)) as server:
        assert call(_client(kind, server)) == expected
    assert [(request.operation, request.parameters) for request in server.requests] == [(operation, parameters)]


@both.each_kind
@pytest.mark.parametrize("variables", [None, {}])
def test_empty_output_variables_are_not_sent(variables: dict[str, str] | None, kind: str) -> None:
    """No variables are the same as none given, with a continuation token too."""
    with ScriptedServer(lambda _: ok({})) as server:
        client = _client(kind, server)
        client.put_job_success_result("job-1", output_variables=variables)
        client.put_job_success_result("job-1", continuation_token="run-1", output_variables=variables)
    assert [set(request.parameters) for request in server.requests] == [{"jobId"}, {"jobId", "continuationToken"}]


def test_a_job_hides_its_secrets_and_names_its_customer() -> None:
    """A polled job masks its secrets, and has the names that jobs of both kinds share."""
    job = structure(_JOB, CustomJob)
    assert _MARKER not in repr(job) + repr(unstructure(job))
    assert unstructure(job, secrets="reveal")["data"]["actionConfiguration"] == _DATA["actionConfiguration"]
    assert (job.job_id, job.client_id) == ("job-1", "111122223333")
    assert CustomJob(id="1", data=job.data, nonce="1").client_id == ""


def _query(value: Any) -> Call:
    return lambda client: client.poll_for_jobs(_TYPE, query_param=value)


def _variables(value: Any, **more: Any) -> Call:
    return lambda client: client.put_job_success_result("job-1", output_variables=value, **more)


_LETTERS = "must have only letters, digits, '_' and '-'"
_NAMES = "each name must be a str of letters, digits, '@', '-' and '_'"
_VALUES = "each value must be a str without lone surrogates"
_HALF = 122_880 // 2


@both.each_kind
@pytest.mark.parametrize(
    ("call", "parameter", "rule"),
    [
        (lambda client: client.get_job_details(""), "job_id", "must have 1 to 512 characters"),
        (lambda client: client.acknowledge_job("job-1", nonce=""), "nonce", "must have 1 to 50 characters"),
        (_query("ProjectName=a"), "query_param", "must be a mapping"),
        (_query({"a": "1", "b": "2"}), "query_param", "must have at most one entry"),
        (_query({"x" * 51: "1"}), "query_param", "its key must have 1 to 50 characters"),
        (_query({"a": "x" * 51}), "query_param", "its value must have 1 to 50 characters"),
        (_query({"a": "b c"}), "query_param", f"its value {_LETTERS}"),
        (_query({"a": 1}), "query_param", "its value must be a str"),
        (_variables([("a", "b")]), "output_variables", "must be a mapping"),
        (_variables({"": "1"}), "output_variables", _NAMES),
        (_variables({"a b": "1"}), "output_variables", _NAMES),
        (_variables({1: "1"}), "output_variables", _NAMES),
        (_variables({"a": 1}), "output_variables", _VALUES),
        (_variables({"a": "\ud800"}), "output_variables", _VALUES),
        (_variables({"a": "x" * 122_880}), "output_variables", "must have at most 122,880 bytes"),
        (_variables({"a": "ü" * _HALF}), "output_variables", "must have at most 122,880 bytes"),
        (
            _variables({"a": "1"}, continuation_token="run-1"),
            "output_variables",
            "must not be given with a continuation_token",
        ),
    ],
)
def test_a_bad_parameter_is_refused_before_sending(call: Call, parameter: str, rule: str, kind: str) -> None:
    """A parameter that breaks a rule is an InvalidRequestError that names both, and nothing is sent."""
    with ScriptedServer(lambda _: ok({})) as server, pytest.raises(exceptions.InvalidRequestError) as caught:
        call(_client(kind, server))
    assert (caught.value.parameter, caught.value.rule) == (parameter, rule)
    assert server.requests == []


def test_output_variables_at_their_limit_are_sent() -> None:
    """Names and values count together, in bytes of UTF-8."""
    with ScriptedServer(lambda _: ok({})) as server:
        _variables({"ab": "ü" * (_HALF - 1)})(_client("blocking", server))
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("operation", "response", "problems"),
    [
        ("PollForJobs", {}, ("required field missing: jobs",)),
        ("PollForJobs", {"jobs": [{"id": "1", "data": {}}]}, ("required field missing: jobs[0].nonce",)),
        ("PollForJobs", {"jobs": [{"id": "1", "nonce": "1"}]}, ("required field missing: jobs[0].data",)),
        ("GetJobDetails", {}, ("required field missing: jobDetails",)),
        ("GetJobDetails", {"jobDetails": {"id": "job-1"}}, ("required field missing: data",)),
        ("GetJobDetails", {"jobDetails": {"id": "2", "data": {}}}, ("id: must be the id of the requested job",)),
        ("AcknowledgeJob", {}, ("required field missing: status",)),
    ],
)
def test_a_response_of_the_wrong_shape_is_refused(operation: str, response: object, problems: tuple[str, ...]) -> None:
    """A response without what the operation must return is a ResponseDecodeError with each problem and its path."""
    with ScriptedServer(lambda _: ok(response)) as server, pytest.raises(exceptions.ResponseDecodeError) as caught:
        _SENT[operation][0](_client("blocking", server))
    assert caught.value.problems == problems


def test_too_large_variables_have_an_error_of_their_own() -> None:
    """The service may count the size of output variables in another way."""
    refused = error("OutputVariablesSizeExceededException", "too large")
    with (
        ScriptedServer(lambda _: refused) as server,
        pytest.raises(exceptions.OutputVariablesSizeExceededException) as caught,
    ):
        _variables({"a": "1"})(_client("blocking", server))
    assert (caught.value.operation_name, caught.value.is_retry_safe) == ("PutJobSuccessResult", False)


def test_a_repeated_result_is_recognised() -> None:
    """A lost response and then an InvalidJobStateException mean that the first result was accepted."""
    lost = exceptions.TransportError("no response", operation_name="PutJobSuccessResult", job_id="job-1")
    lost.delivery, lost.is_retry_safe = Delivery.SENT, None
    again = exceptions.InvalidJobStateException(
        "no", code="InvalidJobStateException", operation_name="PutJobSuccessResult", job_id="job-1"
    )
    assert exceptions.is_already_reported(again, lost)


def test_it_iterates_over_jobs() -> None:
    """The iterator polls for the jobs that have the queryable value."""
    with ScriptedServer(lambda _: ok({"jobs": [_JOB]})) as server, _client("blocking", server) as client:
        jobs = itertools.islice(client.iter_jobs(_TYPE, query_param={"a": "1"}), 2)
        assert [job.id for job in jobs] == ["job-1", "job-1"]
    assert {request.operation for request in server.requests} == {"PollForJobs"}
    assert [request.parameters["queryParam"] for request in server.requests] == [{"a": "1"}] * 2


def test_it_iterates_over_jobs_in_asyncio() -> None:
    """The asyncio client does the same."""
    if "asyncio" not in both.KINDS:
        pytest.skip("needs the extra async")
    with ScriptedServer(lambda _: ok({"jobs": [_JOB]})) as server:
        client: Any = _client("asyncio", server)
        jobs = client._asynchronous.iter_jobs(_TYPE)
        assert client._runner.run_until_complete(jobs.__anext__()).id == "job-1"
        client._runner.run_until_complete(jobs.aclose())


def test_a_context_closes_the_client_and_ends_its_iterators() -> None:
    """The context of a client that `create` has created closes it, and its iterators end."""
    session = both.session("blocking", "AKIDEXAMPLE", "made up")
    with (
        ScriptedServer(lambda _: ok({"jobs": []})) as server,
        CustomJobClient.create(region_name="us-east-1", endpoint_url=server.endpoint_url, session=session) as client,
    ):
        assert client.poll_for_jobs(_TYPE) == ()
    with pytest.raises(exceptions.InvalidRequestError, match="client: must be open") as caught:
        next(client.iter_jobs(_TYPE))
    assert caught.value.operation_name == "PollForJobs"
