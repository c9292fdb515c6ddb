"""The types of the client for asyncio.  Checked by mypy and pyright, both strict, where aiobotocore's are known."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import timedelta
from pathlib import Path

from typing_extensions import assert_type

from cp_thirdparty import (
    ActionTypeId,
    AsyncCustomJobClient,
    AsyncThirdPartyJobClient,
    CurrentRevision,
    CustomJob,
    CustomJobDetails,
    ExecutionDetails,
    FailureDetails,
    JobDetails,
    JobStatus,
    SecretStr,
    ThirdPartyJob,
)
from cp_thirdparty import async_client as module
from cp_thirdparty.telemetry import CallRecord


class OwnClient(AsyncThirdPartyJobClient):
    """A partner's subclass."""


def record(call: CallRecord) -> None:
    """Take the facts about a call."""
    assert_type(call.attempts, int)


async def clients() -> None:
    """Create clients."""
    created = AsyncThirdPartyJobClient.create(
        region_name="us-east-1",
        profile_name=None,
        endpoint_url="http://127.0.0.1:8000",
        verify=Path("ca.pem"),
        sign_request=False,
        connect_timeout=timedelta(seconds=1),
        read_timeout=None,
        deadline=30,
        session=None,
        config=None,
        wire_logs=False,
        on_call=record,
    )
    assert_type(created, AsyncThirdPartyJobClient)
    assert_type(OwnClient.create(), OwnClient)
    async with OwnClient.create() as own:
        assert_type(own, OwnClient)
        assert_type(own.region_name, str)
    await own.close()
    assert_type(module.AsyncThirdPartyJobClient.create(on_call=print), AsyncThirdPartyJobClient)


async def operations(client: AsyncThirdPartyJobClient, mine: ActionTypeId, token: SecretStr) -> None:
    """Call each operation."""
    assert_type(await client.poll_for_third_party_jobs(mine), tuple[ThirdPartyJob, ...])
    assert_type(await client.poll_for_third_party_jobs(mine, max_batch_size=5), tuple[ThirdPartyJob, ...])
    details = await client.get_third_party_job_details("job", client_token=token)
    assert_type(details, JobDetails)
    assert_type(await client.get_third_party_job_details("job", client_token="plain"), JobDetails)
    assert_type(await client.acknowledge_third_party_job("job", nonce=details.nonce, client_token=token), JobStatus)
    await client.put_third_party_job_success_result("job", client_token=token)
    await client.put_third_party_job_success_result(
        "job",
        client_token=token,
        continuation_token="run-1",
        current_revision=CurrentRevision(revision="1", change_identifier="2"),
        execution_details=ExecutionDetails(summary="done"),
    )


async def failure(client: AsyncThirdPartyJobClient, details: FailureDetails) -> None:
    """Report a failure."""
    await client.put_third_party_job_failure_result("job", client_token="plain", failure_details=details)


async def polls(client: AsyncThirdPartyJobClient, mine: ActionTypeId) -> None:
    """Iterate over jobs."""
    assert_type(client.iter_third_party_jobs(mine), AsyncGenerator[ThirdPartyJob, None])
    async for job in client.iter_third_party_jobs(mine, max_batch_size=5, poll_interval=timedelta(seconds=1)):
        assert_type(job, ThirdPartyJob)


async def custom(client: AsyncCustomJobClient, mine: ActionTypeId, details: FailureDetails) -> None:
    """Call the operations of custom jobs."""
    assert_type(AsyncCustomJobClient.create(on_call=record), AsyncCustomJobClient)
    assert_type(await client.poll_for_jobs(mine, max_batch_size=5, query_param={"a": "b"}), tuple[CustomJob, ...])
    assert_type(await client.get_job_details("job"), CustomJobDetails)
    assert_type(await client.acknowledge_job("job", nonce="1"), JobStatus)
    await client.put_job_success_result("job", output_variables={"a": "b"})
    await client.put_job_failure_result("job", failure_details=details)
    assert_type(client.iter_jobs(mine, query_param={"a": "b"}), AsyncGenerator[CustomJob, None])
