"""The mistakes of `ours.py`, with capo-codepipeline."""

from __future__ import annotations

from capo_codepipeline import CodePipelineClient
from capo_codepipeline.types.action_type_id import ActionTypeId as ActionTypeIdTypeDef

ACTION: ActionTypeIdTypeDef = {"category": "Test", "owner": "ThirdParty", "provider": "ExampleScan", "version": "1"}
TOKENS = {"client-1": "token"}


def takes_int(number: int) -> None:
    """Require a number."""


def trap_01_method(client: CodePipelineClient) -> None:
    client.poll_for_thirdparty_jobs(action_type_id=ACTION)


def trap_02_parameter(client: CodePipelineClient) -> None:
    client.poll_for_third_party_jobs(action_type_id=ACTION, max_batchsize=5)


def trap_03_no_action_type(client: CodePipelineClient) -> None:
    client.poll_for_third_party_jobs(max_batch_size=5)


def trap_04_batch_size_as_string(client: CodePipelineClient) -> None:
    client.poll_for_third_party_jobs(action_type_id=ACTION, max_batch_size="5")


def trap_05_no_client_token(client: CodePipelineClient) -> None:
    client.get_third_party_job_details(job_id="job-1")


def trap_06_client_token_as_number(client: CodePipelineClient) -> None:
    client.get_third_party_job_details(job_id="job-1", client_token=7)


def trap_07_client_token_may_be_none(client: CodePipelineClient) -> None:
    client.get_third_party_job_details(job_id="job-1", client_token=TOKENS.get("client-1"))


def trap_08_no_nonce(client: CodePipelineClient) -> None:
    client.acknowledge_third_party_job(job_id="job-1", client_token="t")


def trap_09_nonce_as_number(client: CodePipelineClient) -> None:
    client.acknowledge_third_party_job(job_id="job-1", nonce=1, client_token="t")


def trap_10_category(client: CodePipelineClient) -> None:
    client.poll_for_third_party_jobs(
        action_type_id={"category": "Tset", "owner": "ThirdParty", "provider": "p", "version": "1"}
    )


def trap_11_owner(client: CodePipelineClient) -> None:
    client.poll_for_third_party_jobs(
        action_type_id={"category": "Test", "owner": "Thirdparty", "provider": "p", "version": "1"}
    )


def trap_12_no_version(client: CodePipelineClient) -> None:
    client.poll_for_third_party_jobs(action_type_id={"category": "Test", "owner": "ThirdParty", "provider": "p"})


def trap_13_unknown_part(client: CodePipelineClient) -> None:
    client.poll_for_third_party_jobs(
        action_type_id={"category": "Test", "owner": "ThirdParty", "provider": "p", "version": "1", "verison": "1"}
    )


def trap_14_failure_type(client: CodePipelineClient) -> None:
    client.put_third_party_job_failure_result(
        job_id="job-1", client_token="t", failure_details={"type": "JobFaild", "message": "m"}
    )


def trap_15_no_message(client: CodePipelineClient) -> None:
    client.put_third_party_job_failure_result(
        job_id="job-1", client_token="t", failure_details={"type": "JobFailed"}
    )


def trap_16_percent_as_string(client: CodePipelineClient) -> None:
    client.put_third_party_job_success_result(
        job_id="job-1", client_token="t", execution_details={"percent_complete": "50"}
    )


def trap_17_unknown_detail(client: CodePipelineClient) -> None:
    client.put_third_party_job_success_result(
        job_id="job-1", client_token="t", execution_details={"sumary": "done"}
    )


def trap_18_member_of_response(client: CodePipelineClient) -> None:
    response = client.get_third_party_job_details(job_id="job-1", client_token="t")
    print(response["job_details"]["data"]["artifact_credential"])


def trap_19_absent_member(client: CodePipelineClient) -> None:
    response = client.get_third_party_job_details(job_id="job-1", client_token="t")
    print(response["job_details"]["data"]["artifact_credentials"]["session_token"])


def trap_20_unknown_status(client: CodePipelineClient) -> None:
    response = client.acknowledge_third_party_job(job_id="job-1", nonce="1", client_token="t")
    if response["status"] == "InProgres":
        print("work")


def trap_21_status_as_condition(client: CodePipelineClient) -> None:
    if (client.acknowledge_third_party_job(job_id="job-1", nonce="1", client_token="t"))["status"]:
        print("work")


def trap_22_member_of_another_type(client: CodePipelineClient) -> None:
    for job in (client.poll_for_third_party_jobs(action_type_id=ACTION))["jobs"]:
        takes_int(job["job_id"])


def right(client: CodePipelineClient) -> None:
    """Use correctly what the mistakes are about."""
    for job in (client.poll_for_third_party_jobs(action_type_id=ACTION))["jobs"]:
        print(job["job_id"])
    if client.acknowledge_third_party_job(job_id="job-1", nonce="1", client_token="t")["status"] == "InProgress":
        print(client.get_third_party_job_details(job_id="job-1", client_token="t")["job_details"]["id"])
