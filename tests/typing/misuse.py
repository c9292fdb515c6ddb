"""
Lines that must not type-check.

Each is marked with the checkers that must refuse it; no other line may be refused.  A line is one statement, because
the checkers place an error at different lines of a long one.
"""

# ruff: noqa: B015, B018, FLY002, PLR0124 - it is wrong on purpose

from __future__ import annotations

import os

import attrs

from cp_thirdparty import (
    ActionConfiguration,
    ActionTypeId,
    Artifact,
    Continued,
    ExecutionDetails,
    FailureDetails,
    FailureType,
    JobDetails,
    JobFailedError,
    JobStatus,
    Key,
    S3Location,
    SecretStr,
    ThirdPartyJob,
    ThirdPartyJobClient,
    exceptions,
    structure_configuration,
)
from cp_thirdparty.converter import structure, unstructure


def takes_text(text: str) -> None:
    """Accept a plain string."""


def secrets(secret: SecretStr) -> None:
    """Take a secret for a string."""
    takes_text(secret)  # E: mypy pyright ty
    text: str = secret  # E: mypy pyright ty
    "token=" + secret  # E: mypy pyright ty
    ",".join([secret])  # E: mypy pyright ty
    os.environ["TOKEN"] = secret  # E: mypy pyright ty
    len(secret)  # E: mypy pyright ty
    secret < secret  # E: mypy pyright ty
    "x" in secret  # E: mypy pyright ty
    list(secret)  # E: mypy pyright ty
    print(secret == "token")  # E: mypy pyright
    print("token" == secret)  # E: mypy
    SecretStr(5)  # E: mypy pyright ty
    SecretStr(b"bytes")  # E: mypy pyright ty
    SecretStr()  # E: mypy pyright ty
    SecretStr.wrap(None)  # E: mypy pyright ty
    takes_text(text)


def optional_fields(details: JobDetails, artifact: Artifact) -> None:
    """Use what may be absent without a look."""
    details.data.action_configuration.configuration  # E: mypy pyright ty
    details.data.artifact_credentials.access_key_id  # E: mypy pyright ty
    takes_text(details.data.continuation_token)  # E: mypy pyright ty
    takes_text(artifact.name)  # E: mypy pyright ty
    artifact.location.s3_location.bucket_name  # E: mypy pyright ty
    structure_configuration(details, ActionConfiguration)  # E: mypy pyright ty


def frozen_fields(details: JobDetails, secret: SecretStr, configuration: ActionConfiguration) -> None:
    """Change what is frozen."""
    details.nonce = "2"  # E: mypy pyright ty
    details.data.continuation_token = None  # E: mypy pyright ty
    details.data.input_artifacts[0] = Artifact()  # E: mypy pyright ty
    details.data.input_artifacts.append(Artifact())  # E: mypy pyright ty
    configuration.configuration["A"] = secret  # E: mypy pyright ty
    Key("A").name = "B"  # E: mypy pyright ty


def constructors() -> None:
    """Make models of the wrong parts."""
    ActionTypeId(category=1, owner="ThirdParty", provider="p", version="1")  # E: mypy pyright ty
    ActionTypeId(category="Test", owner=None, provider="p", version="1")  # E: mypy pyright ty
    ActionTypeId(category="Test", owner="ThirdParty", provider="p", version=1)  # E: mypy pyright ty
    ActionTypeId(category="Test", owner="ThirdParty", provider="p")  # E: mypy pyright ty
    ActionTypeId("Test", "ThirdParty", "p", "1")  # E: mypy pyright ty
    ActionTypeId(category="Tset", owner="ThirdParty", provider="p", version="1")  # E: mypy pyright ty
    ActionTypeId(category="Test", owner="Thirdparty", provider="p", version="1")  # E: mypy pyright ty
    FailureDetails(type="JobFaild", message="m")  # E: mypy pyright ty
    FailureDetails(type=FailureType.JOB_FAILED)  # E: mypy pyright ty
    FailureDetails(type=JobStatus.FAILED, message="m")  # E: mypy pyright ty
    ExecutionDetails(percent_complete="50")  # E: mypy pyright ty
    ExecutionDetails(percent_complete=0.5)  # E: mypy pyright ty
    ExecutionDetails(externalExecutionId="e")  # E: mypy pyright ty
    ActionConfiguration(configuration={"A": 1})  # E: mypy pyright ty
    ActionConfiguration(configuration={"A": None})  # E: mypy pyright ty
    S3Location("bucket", "key")  # E: mypy pyright ty
    ThirdPartyJob(client_id=SecretStr("c"), job_id="j")  # E: mypy pyright ty
    JobFailedError("JobFaild", "m")  # E: mypy pyright ty
    exceptions.TransportError("m", operation="PollForThirdPartyJobs")  # E: mypy pyright
    exceptions.TransportError("m", attempts="1")  # E: mypy pyright ty
    Key(5)  # E: mypy pyright ty


def calls(client: ThirdPartyJobClient, action: ActionTypeId, token: SecretStr, failure: FailureDetails) -> None:
    """Call the operations in wrong ways."""
    client.poll_for_third_party_jobs()  # E: mypy pyright ty
    client.poll_for_third_party_jobs("Test")  # E: mypy pyright ty
    client.poll_for_third_party_jobs(action, 5)  # E: mypy pyright ty
    client.poll_for_third_party_jobs(action, max_batch_size="5")  # E: mypy pyright ty
    client.get_third_party_job_details("j", token)  # E: mypy pyright ty
    client.get_third_party_job_details("j")  # E: mypy pyright ty
    client.get_third_party_job_details("j", clientToken=token)  # E: mypy pyright ty
    client.get_third_party_job_details("j", client_token=None)  # E: mypy pyright ty
    client.acknowledge_third_party_job("j", client_token=token)  # E: mypy pyright ty
    client.acknowledge_third_party_job("j", nonce=1, client_token=token)  # E: mypy pyright ty
    client.acknowledge_third_party_job("j", "1", token)  # E: mypy pyright ty
    client.acknowledge_third_party_job("j", nonce=token, client_token=token)  # E: mypy pyright ty
    client.put_third_party_job_success_result("j", client_token=token, continuation_token=token)  # E: mypy pyright ty
    client.put_third_party_job_success_result("j", client_token=token, execution_details={})  # E: mypy pyright ty
    client.put_third_party_job_success_result("j", token)  # E: mypy pyright ty
    client.put_third_party_job_failure_result("j", client_token=token)  # E: mypy pyright ty
    client.put_third_party_job_failure_result("j", client_token=token, failure_details="m")  # E: mypy pyright ty
    client.put_third_party_job_failure_result("j", token, failure)  # E: mypy pyright ty
    client.get_job("j")  # E: mypy pyright ty
    print("yes" if client.acknowledge_third_party_job("j", nonce="1", client_token=token) else "no")  # E: pyright ty


def clients() -> None:
    """Make clients in wrong ways."""
    ThirdPartyJobClient("us-east-1")  # E: mypy pyright ty
    ThirdPartyJobClient()  # E: mypy pyright ty
    ThirdPartyJobClient.create("us-east-1")  # E: mypy pyright ty
    ThirdPartyJobClient.create(region="us-east-1")  # E: mypy pyright ty
    ThirdPartyJobClient.create(verify=1.5)  # E: mypy pyright ty
    ThirdPartyJobClient.create(read_timeout="20")  # E: mypy pyright ty
    ThirdPartyJobClient.create(sign_request=None)  # E: mypy pyright ty


def documents(details: JobDetails) -> None:
    """Read and write in wrong ways."""
    takes_text(structure({}, JobDetails))  # E: mypy pyright ty
    structure({}, "JobDetails")  # E: mypy pyright ty
    unstructure(details, "reveal")  # E: mypy pyright ty
    unstructure(details, secrets="show")  # E: mypy pyright ty
    unstructure(details, secrets=True)  # E: mypy pyright ty
    unstructure({"id": "j"})  # E: mypy pyright ty
    structure_configuration({"A": "1"}, ActionTypeId)  # E: mypy pyright ty
    structure_configuration(details.data.action_configuration)  # E: mypy pyright ty


@attrs.frozen
class State:
    """A state of a job."""

    run_id: str


def states() -> None:
    """Continue with what is not a state."""
    Continued(state={"run_id": "r"})  # E: mypy pyright ty
    Continued(state="r")  # E: mypy pyright ty
    Continued(state=State)  # E: mypy pyright ty
    Continued(state=[State("r")])  # E: mypy pyright ty
    Continued(state=None)  # E: mypy pyright ty
    Continued(state=State("r"), continuation_token="t")  # E: mypy pyright ty


def errors(error: exceptions.ServiceError, invalid: exceptions.InvalidRequestError) -> None:
    """Read what an error does not have, or has not surely."""
    takes_text(error.status_code)  # E: mypy pyright ty
    takes_text(error.request_id)  # E: mypy pyright ty
    error.response  # E: mypy pyright ty
    invalid.value  # E: mypy pyright ty
    exceptions.NoSuchError  # E: mypy pyright ty


def right(client: ThirdPartyJobClient, details: JobDetails, secret: SecretStr) -> str:
    """Do as one should: no line of it is refused."""
    if details.data.action_configuration is not None:
        takes_text(details.data.action_configuration.configuration["A"].get_secret_value())
    status = client.acknowledge_third_party_job(details.id, nonce=details.nonce, client_token=secret)
    print(secret == details.data.configuration["A"], status == "InProgress", Continued(state=State("r")))
    return status if status == JobStatus.IN_PROGRESS else ""
