"""The mistakes of `ours.py`, with aiobotocore and types-aiobotocore."""

from __future__ import annotations

from types_aiobotocore_codepipeline import CodePipelineClient
from types_aiobotocore_codepipeline.type_defs import ActionTypeIdTypeDef

ACTION: ActionTypeIdTypeDef = {"category": "Test", "owner": "ThirdParty", "provider": "ExampleScan", "version": "1"}
TOKENS = {"client-1": "token"}


def takes_int(number: int) -> None:
    """Require a number."""


async def trap_01_method(client: CodePipelineClient) -> None:
    await client.poll_for_thirdparty_jobs(actionTypeId=ACTION)


async def trap_02_parameter(client: CodePipelineClient) -> None:
    await client.poll_for_third_party_jobs(actionTypeId=ACTION, maxBatchsize=5)


async def trap_03_no_action_type(client: CodePipelineClient) -> None:
    await client.poll_for_third_party_jobs(maxBatchSize=5)


async def trap_04_batch_size_as_string(client: CodePipelineClient) -> None:
    await client.poll_for_third_party_jobs(actionTypeId=ACTION, maxBatchSize="5")


async def trap_05_no_client_token(client: CodePipelineClient) -> None:
    await client.get_third_party_job_details(jobId="job-1")


async def trap_06_client_token_as_number(client: CodePipelineClient) -> None:
    await client.get_third_party_job_details(jobId="job-1", clientToken=7)


async def trap_07_client_token_may_be_none(client: CodePipelineClient) -> None:
    await client.get_third_party_job_details(jobId="job-1", clientToken=TOKENS.get("client-1"))


async def trap_08_no_nonce(client: CodePipelineClient) -> None:
    await client.acknowledge_third_party_job(jobId="job-1", clientToken="t")


async def trap_09_nonce_as_number(client: CodePipelineClient) -> None:
    await client.acknowledge_third_party_job(jobId="job-1", nonce=1, clientToken="t")


async def trap_10_category(client: CodePipelineClient) -> None:
    await client.poll_for_third_party_jobs(
        actionTypeId={"category": "Tset", "owner": "ThirdParty", "provider": "p", "version": "1"}
    )


async def trap_11_owner(client: CodePipelineClient) -> None:
    await client.poll_for_third_party_jobs(
        actionTypeId={"category": "Test", "owner": "Thirdparty", "provider": "p", "version": "1"}
    )


async def trap_12_no_version(client: CodePipelineClient) -> None:
    await client.poll_for_third_party_jobs(actionTypeId={"category": "Test", "owner": "ThirdParty", "provider": "p"})


async def trap_13_unknown_part(client: CodePipelineClient) -> None:
    await client.poll_for_third_party_jobs(
        actionTypeId={"category": "Test", "owner": "ThirdParty", "provider": "p", "version": "1", "verison": "1"}
    )


async def trap_14_failure_type(client: CodePipelineClient) -> None:
    await client.put_third_party_job_failure_result(
        jobId="job-1", clientToken="t", failureDetails={"type": "JobFaild", "message": "m"}
    )


async def trap_15_no_message(client: CodePipelineClient) -> None:
    await client.put_third_party_job_failure_result(
        jobId="job-1", clientToken="t", failureDetails={"type": "JobFailed"}
    )


async def trap_16_percent_as_string(client: CodePipelineClient) -> None:
    await client.put_third_party_job_success_result(
        jobId="job-1", clientToken="t", executionDetails={"percentComplete": "50"}
    )


async def trap_17_unknown_detail(client: CodePipelineClient) -> None:
    await client.put_third_party_job_success_result(
        jobId="job-1", clientToken="t", executionDetails={"sumary": "done"}
    )


async def trap_18_member_of_response(client: CodePipelineClient) -> None:
    response = await client.get_third_party_job_details(jobId="job-1", clientToken="t")
    print(response["jobDetails"]["data"]["artifactCredential"])


async def trap_19_absent_member(client: CodePipelineClient) -> None:
    response = await client.get_third_party_job_details(jobId="job-1", clientToken="t")
    print(response["jobDetails"]["data"]["artifactCredentials"]["sessionToken"])


async def trap_20_unknown_status(client: CodePipelineClient) -> None:
    response = await client.acknowledge_third_party_job(jobId="job-1", nonce="1", clientToken="t")
    if response["status"] == "InProgres":
        print("work")


async def trap_21_status_as_condition(client: CodePipelineClient) -> None:
    if (await client.acknowledge_third_party_job(jobId="job-1", nonce="1", clientToken="t"))["status"]:
        print("work")


async def trap_22_member_of_another_type(client: CodePipelineClient) -> None:
    for job in (await client.poll_for_third_party_jobs(actionTypeId=ACTION))["jobs"]:
        takes_int(job["jobId"])


async def right(client: CodePipelineClient) -> None:
    """Use correctly what the mistakes are about."""
    for job in (await client.poll_for_third_party_jobs(actionTypeId=ACTION))["jobs"]:
        print(job["jobId"])
    if (await client.acknowledge_third_party_job(jobId="job-1", nonce="1", clientToken="t"))["status"] == "InProgress":
        print((await client.get_third_party_job_details(jobId="job-1", clientToken="t"))["jobDetails"]["id"])
