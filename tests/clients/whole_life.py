"""
Clients that nobody here wrote drive a complete life of an action against the local CodePipeline, over HTTP.

``nox -s clients`` creates an environment for each client (aiobotocore and the AWS CLI require their own versions of
botocore) and runs this file.  pytest does not collect it by default.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.client_environments import environments, find_program

from cp_thirdparty import ActionTypeId, ExecutionDetails, FailureDetails, FailureType
from cp_thirdparty.testing import Action, LocalCodePipeline, Success, samples

_HERE = Path(__file__).parent
_COMMANDS: dict[str, list[Path | str]] = {
    **{name: [find_program(name, "python"), _HERE / f"with_{name}.py"] for name in ("boto3", "awscli", "aiobotocore")},
    "javascript": [find_program("javascript", "node"), _HERE / "with_javascript.mjs"],
}

_CLIENT_ID, _TOKEN = "client-1", "xMARKERx-token"
_TYPE = samples.action_type_id()
_WIRE_TYPE = {"category": "Test", "owner": "ThirdParty", "provider": "ExampleScan", "version": "1"}

_CUSTOM_TYPE = samples.action_type_id(owner="Custom")
_WIRE_CUSTOM_TYPE = {**_WIRE_TYPE, "owner": "Custom"}

Call = Callable[..., dict[str, Any]]


@pytest.fixture
def service() -> Iterator[LocalCodePipeline]:
    """A service with a client, whose next jobs come at once."""
    with LocalCodePipeline(continuation_delay=0, redelivery_delay=0) as service:
        service.register_client(_CLIENT_ID, _TOKEN)
        yield service


@pytest.fixture(params=_COMMANDS)
def call(request: pytest.FixtureRequest, service: LocalCodePipeline) -> Iterator[Call]:
    """Each client in a process of its own, as a function from an operation and its parameters to the response."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("AWS_")}
    with subprocess.Popen(
        _COMMANDS[request.param],
        cwd=environments(),
        env={**environment, **service.environment()},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        stdin, stdout = process.stdin, process.stdout

        def send(operation: str, **parameters: Any) -> dict[str, Any]:
            stdin.write(json.dumps([operation, parameters]) + "\n")
            stdin.flush()
            response: dict[str, Any] = json.loads(stdout.readline())
            return response

        yield send
        stdin.close()
        assert process.wait(60) == 0


def _claim_job(call: Call, *, continuation_token: str | None = None) -> str:
    """Poll, read the details and acknowledge."""
    (job,) = call("PollForThirdPartyJobs", actionTypeId=_WIRE_TYPE, maxBatchSize=1)["jobs"]
    assert job["clientId"] == _CLIENT_ID
    mine = {"jobId": job["jobId"], "clientToken": _TOKEN}
    details = call("GetThirdPartyJobDetails", **mine)["jobDetails"]
    assert details["id"] == job["jobId"]
    assert details["data"]["actionTypeId"] == _WIRE_TYPE
    assert details["data"]["actionConfiguration"] == {"configuration": {"ProjectName": "demo → ü"}}
    assert details["data"]["inputArtifacts"][0]["location"]["s3Location"]["bucketName"] == "bucket"
    assert details["data"].get("continuationToken") == continuation_token
    nonce = details["nonce"]
    assert call("AcknowledgeThirdPartyJob", **mine, nonce=nonce) == {"status": "InProgress"}
    assert call("AcknowledgeThirdPartyJob", **mine, nonce=nonce) == {"error": "InvalidNonceException"}
    return str(job["jobId"])


def _start(service: LocalCodePipeline, action_type: ActionTypeId = _TYPE) -> Action:
    return service.start_action(
        action_type,
        client_id=_CLIENT_ID,
        configuration={"ProjectName": "demo → ü"},
        input_artifacts=[samples.artifact(bucket_name="bucket")],
    )


def test_an_action_succeeds_in_two_jobs(service: LocalCodePipeline, call: Call) -> None:
    """Poll, details, acknowledge, success with a continuation token; the next job brings the token, and succeeds."""
    action = _start(service)
    first = _claim_job(call)
    running = {"summary": "running → ü", "externalExecutionId": "run-1", "percentComplete": 50}
    success = "PutThirdPartyJobSuccessResult"
    assert not call(success, jobId=first, clientToken=_TOKEN, continuationToken="run-1", executionDetails=running)
    assert action.result == Success(
        continuation_token="run-1",
        current_revision=None,
        execution_details=ExecutionDetails(summary="running → ü", external_execution_id="run-1", percent_complete=50),
    )
    second = _claim_job(call, continuation_token="run-1")
    assert second != first
    assert not call(success, jobId=second, clientToken=_TOKEN)
    assert call(success, jobId=second, clientToken=_TOKEN) == {"error": "InvalidJobStateException"}
    assert action.status == "Succeeded"
    assert call("PollForThirdPartyJobs", actionTypeId=_WIRE_TYPE) == {"jobs": []}


def test_an_action_fails(service: LocalCodePipeline, call: Call) -> None:
    """A failure that a client reports ends the action, with the client's own words."""
    action = _start(service)
    job_id = _claim_job(call)
    failure = {"type": "JobFailed", "message": "3 findings → ü", "externalExecutionId": "run-1"}
    assert not call("PutThirdPartyJobFailureResult", jobId=job_id, clientToken=_TOKEN, failureDetails=failure)
    assert action.status == "Failed"
    assert action.result == FailureDetails(
        type=FailureType.JOB_FAILED, message="3 findings → ü", external_execution_id="run-1"
    )


def _start_custom(service: LocalCodePipeline, **configuration: str) -> Action:
    return service.start_action(
        _CUSTOM_TYPE,
        configuration={"ProjectName": "demo → ü", **configuration},
        input_artifacts=[samples.artifact(bucket_name="bucket")],
    )


def _claim_custom(call: Call, *, continuation_token: str | None = None, **query: str) -> str:
    """Poll, acknowledge with the nonce of the poll, and read the details."""
    (job,) = call("PollForJobs", actionTypeId=_WIRE_CUSTOM_TYPE, maxBatchSize=1, queryParam=query)["jobs"]
    assert job["data"]["actionTypeId"] == _WIRE_CUSTOM_TYPE
    assert job["data"]["actionConfiguration"]["configuration"]["ProjectName"] == "demo → ü"
    assert job["data"].get("continuationToken") == continuation_token
    details = call("GetJobDetails", jobId=job["id"])["jobDetails"]
    assert (details["id"], details["accountId"]) == (job["id"], job["accountId"])
    assert details["data"]["inputArtifacts"][0]["location"]["s3Location"]["bucketName"] == "bucket"
    assert call("AcknowledgeJob", jobId=job["id"], nonce=job["nonce"]) == {"status": "InProgress"}
    assert call("AcknowledgeJob", jobId=job["id"], nonce=job["nonce"]) == {"error": "InvalidNonceException"}
    return str(job["id"])


def test_a_custom_action_succeeds_in_two_jobs(service: LocalCodePipeline, call: Call) -> None:
    """The second job has the continuation token of the first one, and sets output variables."""
    action = _start_custom(service)
    first = _claim_custom(call)
    assert not call("PutJobSuccessResult", jobId=first, continuationToken="run-1")
    second = _claim_custom(call, continuation_token="run-1")
    assert second != first
    assert not call("PutJobSuccessResult", jobId=second, outputVariables={"Findings": "3 → ü"})
    assert call("PutJobSuccessResult", jobId=second) == {"error": "InvalidJobStateException"}
    assert action.status == "Succeeded"
    assert isinstance(action.result, Success)
    assert action.result.output_variables == {"Findings": "3 → ü"}


def test_a_custom_action_fails(service: LocalCodePipeline, call: Call) -> None:
    """The poll asks for one value of a key, and the failure has the words of the client."""
    other, action = _start_custom(service, Region="a"), _start_custom(service, Region="b")
    job_id = _claim_custom(call, Region="b")
    failure = {"type": "JobFailed", "message": "3 findings → ü"}
    assert not call("PutJobFailureResult", jobId=job_id, failureDetails=failure)
    assert (other.status, action.status) == ("Queued", "Failed")
    assert action.result == FailureDetails(type=FailureType.JOB_FAILED, message="3 findings → ü")


def test_a_wrong_token_is_refused(service: LocalCodePipeline, call: Call) -> None:
    """A client understands what the service refuses."""
    action = _start(service)
    refused = call("GetThirdPartyJobDetails", jobId=action.jobs[0].id, clientToken="wrong")
    assert refused == {"error": "InvalidClientTokenException"}
