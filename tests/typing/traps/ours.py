"""
Mistakes against this library, one in each function.

`report.py` counts which of them a type checker refuses.  The first 22 can be made with other libraries as well; their
files have functions of the same names.
"""

from __future__ import annotations

import os
from typing import Literal

import attrs

from cp_thirdparty import (
    ActionConfiguration,
    ActionTypeId,
    AsyncThirdPartyJobClient,
    Continued,
    ExecutionDetails,
    FailureDetails,
    Job,
    JobDetails,
    JobFailedError,
    JobWorker,
    S3Location,
    SecretStr,
    Succeeded,
    ThirdPartyJob,
    ThirdPartyJobClient,
    action_type_properties,
    structure_configuration,
)
from cp_thirdparty.artifacts import ArchiveLimits
from cp_thirdparty.converter import unstructure

ACTION = ActionTypeId(category="Test", owner="ThirdParty", provider="ExampleScan", version="1")
TOKENS = {"client-1": "token"}


@attrs.frozen
class Scan:
    """A configuration class."""

    project_name: str
    api_key: SecretStr
    fail_on: Literal["low", "high"] = "high"


def takes_str(text: str) -> None:
    """Require a string."""


def takes_int(number: int) -> None:
    """Require a number."""


def connect() -> ThirdPartyJobClient:
    """Create a client."""
    return ThirdPartyJobClient.create(region_name="us-east-1")


# --- shared with others


def trap_01_method(client: ThirdPartyJobClient) -> None:
    client.poll_for_thirdparty_jobs(ACTION)


def trap_02_parameter(client: ThirdPartyJobClient) -> None:
    client.poll_for_third_party_jobs(ACTION, max_batchsize=5)


def trap_03_no_action_type(client: ThirdPartyJobClient) -> None:
    client.poll_for_third_party_jobs(max_batch_size=5)


def trap_04_batch_size_as_string(client: ThirdPartyJobClient) -> None:
    client.poll_for_third_party_jobs(ACTION, max_batch_size="5")


def trap_05_no_client_token(client: ThirdPartyJobClient) -> None:
    client.get_third_party_job_details("job-1")


def trap_06_client_token_as_number(client: ThirdPartyJobClient) -> None:
    client.get_third_party_job_details("job-1", client_token=7)


def trap_07_client_token_may_be_none(client: ThirdPartyJobClient) -> None:
    client.get_third_party_job_details("job-1", client_token=TOKENS.get("client-1"))


def trap_08_no_nonce(client: ThirdPartyJobClient) -> None:
    client.acknowledge_third_party_job("job-1", client_token="t")


def trap_09_nonce_as_number(client: ThirdPartyJobClient) -> None:
    client.acknowledge_third_party_job("job-1", nonce=1, client_token="t")


def trap_10_category(client: ThirdPartyJobClient) -> None:
    client.poll_for_third_party_jobs(ActionTypeId(category="Tset", owner="ThirdParty", provider="p", version="1"))


def trap_11_owner(client: ThirdPartyJobClient) -> None:
    client.poll_for_third_party_jobs(ActionTypeId(category="Test", owner="Thirdparty", provider="p", version="1"))


def trap_12_no_version(client: ThirdPartyJobClient) -> None:
    client.poll_for_third_party_jobs(ActionTypeId(category="Test", owner="ThirdParty", provider="p"))


def trap_13_unknown_part(client: ThirdPartyJobClient) -> None:
    client.poll_for_third_party_jobs(
        ActionTypeId(category="Test", owner="ThirdParty", provider="p", version="1", verison="1")
    )


def trap_14_failure_type(client: ThirdPartyJobClient) -> None:
    client.put_third_party_job_failure_result(
        "job-1", client_token="t", failure_details=FailureDetails(type="JobFaild", message="m")
    )


def trap_15_no_message(client: ThirdPartyJobClient) -> None:
    client.put_third_party_job_failure_result(
        "job-1", client_token="t", failure_details=FailureDetails(type="JobFailed")
    )


def trap_16_percent_as_string(client: ThirdPartyJobClient) -> None:
    client.put_third_party_job_success_result(
        "job-1", client_token="t", execution_details=ExecutionDetails(percent_complete="50")
    )


def trap_17_unknown_detail(client: ThirdPartyJobClient) -> None:
    client.put_third_party_job_success_result(
        "job-1", client_token="t", execution_details=ExecutionDetails(sumary="done")
    )


def trap_18_member_of_response(details: JobDetails) -> None:
    print(details.data.artifact_credential)


def trap_19_absent_member(details: JobDetails) -> None:
    print(details.data.artifact_credentials.session_token)


def trap_20_unknown_status(client: ThirdPartyJobClient) -> None:
    status = client.acknowledge_third_party_job("job-1", nonce="1", client_token="t")
    if status == "InProgres":
        print("work")


def trap_21_status_as_condition(client: ThirdPartyJobClient) -> None:
    if client.acknowledge_third_party_job("job-1", nonce="1", client_token="t"):
        print("work")


def trap_22_member_of_another_type(job: ThirdPartyJob) -> None:
    takes_int(job.job_id)


# --- of this library only


def trap_23_secret_as_string(secret: SecretStr) -> None:
    takes_str(secret)


def trap_24_secret_compared_with_string(secret: SecretStr) -> None:
    if secret == "token":
        print("the same")


def trap_25_secret_joined(secret: SecretStr) -> None:
    print(",".join([secret]))


def trap_26_secret_in_environment(secret: SecretStr) -> None:
    os.environ["TOKEN"] = secret


def trap_27_length_of_secret(secret: SecretStr) -> None:
    print(len(secret))


def trap_28_assignment_to_model(details: JobDetails) -> None:
    details.nonce = "2"


def trap_29_append_to_artifacts(details: JobDetails) -> None:
    details.data.input_artifacts.append(details.data.input_artifacts[0])


def trap_30_positional_fields() -> None:
    print(S3Location("bucket", "key"))


def trap_31_field_of_configuration(job: Job[Scan]) -> None:
    print(job.configuration.projct_name)


def trap_32_configuration_may_be_none(job: Job[ActionConfiguration | None]) -> None:
    print(job.configuration.configuration)


def _no_result(job: Job[Scan]) -> None:
    print(job.id)


def trap_33_handler_without_result() -> None:
    JobWorker(connect, ACTION, _no_result, configuration=Scan, client_tokens=TOKENS)


def _string_result(job: Job[Scan]) -> str:
    return job.id


def trap_34_handler_with_another_result() -> None:
    JobWorker(connect, ACTION, _string_result, configuration=Scan, client_tokens=TOKENS)


def _right(job: Job[Scan]) -> Succeeded:
    return Succeeded()


def trap_35_handler_of_another_configuration() -> None:
    JobWorker(connect, ACTION, _right, client_tokens=TOKENS)


def trap_36_continued_without_token() -> Continued:
    return Continued()


def trap_37_continued_with_two_tokens() -> Continued:
    return Continued(continuation_token="t", state=ACTION)


def trap_38_unknown_part_of_success() -> Succeeded:
    return Succeeded(summary="done")


def trap_39_failure_type_of_error() -> None:
    raise JobFailedError("JobFaild", "m")


def trap_40_configuration_as_dictionary() -> None:
    print(structure_configuration({"ProjectName": "p"}, Scan))


def trap_41_kind_of_action_type() -> None:
    print(action_type_properties(Scan, for_="thirdparty"))


def trap_42_state_may_be_none(job: Job[Scan]) -> None:
    print(job.state(Scan).project_name)


def trap_43_word_for_secrets(details: JobDetails) -> None:
    print(unstructure(details, secrets="show"))


def trap_44_rule_for_links() -> None:
    print(ArchiveLimits(symlinks="follow"))


async def trap_45_not_awaited(client: AsyncThirdPartyJobClient) -> None:
    client.put_third_party_job_success_result("job-1", client_token="t")


def right(client: ThirdPartyJobClient, job: Job[Scan]) -> Succeeded | Continued:
    """Use correctly what the mistakes are about."""
    for offer in client.poll_for_third_party_jobs(ACTION, max_batch_size=1):
        takes_str(offer.job_id)
    status = client.acknowledge_third_party_job("job-1", nonce="1", client_token="t")
    if status == "InProgress" and job.configuration.project_name:
        takes_str(status)
    state = job.state(Scan)
    takes_str(job.configuration.api_key.get_secret_value())
    return Succeeded() if state is None else Continued(state=state)
