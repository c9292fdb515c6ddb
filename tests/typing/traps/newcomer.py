"""
Mistakes that an engineer wrote down from the README and the documentation alone, before reading the types.

`report.py` counts which of them a type checker refuses, in a table of its own.
"""

from __future__ import annotations

from functools import partial

import attrs

from cp_thirdparty import (
    ActionTypeId,
    AsyncThirdPartyJobClient,
    Continued,
    FailureType,
    Job,
    JobDetails,
    JobFailedError,
    JobWorker,
    SecretStr,
    Succeeded,
    ThirdPartyJobClient,
    structure_configuration,
)
from cp_thirdparty.testing import LocalCodePipeline
from cp_thirdparty.worker import EnvironmentTokens, processes

ACTION = ActionTypeId(category="Test", owner="ThirdParty", provider="ExampleScan", version="1")
TOKENS = {"client-1": "token"}


@attrs.frozen
class Scan:
    """A configuration class."""

    project_name: str
    api_key: SecretStr


def connect() -> ThirdPartyJobClient:
    """Create a client."""
    return ThirdPartyJobClient.create(region_name="us-east-1")


def handle(job: Job[Scan]) -> Succeeded:
    """Handle a job."""
    return Succeeded()


def trap_01_class_as_result(job: Job[Scan]) -> Succeeded:
    return Succeeded


def trap_02_client_as_function() -> None:
    client = ThirdPartyJobClient.create(region_name="us-east-1")
    JobWorker(client, ACTION, handle, configuration=Scan, client_tokens=TOKENS)


def trap_03_class_as_tokens() -> None:
    JobWorker(connect, ACTION, handle, configuration=Scan, client_tokens=EnvironmentTokens)


def trap_04_swapped_arguments() -> None:
    raise JobFailedError("3 findings", FailureType.JOB_FAILED)


def trap_05_target_by_position(job: Job[Scan]) -> None:
    job.artifacts.extract("MyApp", job.workspace / "src")


def trap_06_artifact_by_name(details: JobDetails) -> None:
    print(details.data.input_artifacts["MyApp"])


def trap_07_call_of_property(job: Job[Scan]) -> None:
    if job.stopping():
        print("stop")


def trap_08_nonce_of_offer(client: ThirdPartyJobClient) -> None:
    for job in client.poll_for_third_party_jobs(ACTION):
        client.acknowledge_third_party_job(job.job_id, nonce=job.nonce, client_token="t")


def trap_09_secret_in_headers(configuration: Scan) -> dict[str, str]:
    return {"X-Api-Key": configuration.api_key}


def trap_10_dictionary_as_token() -> Continued:
    return Continued(continuation_token={"run": 7})


def trap_11_details_as_configuration(details: JobDetails) -> None:
    print(structure_configuration(details, Scan))


def trap_12_one_string_for_names() -> None:
    JobWorker(
        connect, ACTION, handle, configuration=Scan, client_tokens=TOKENS, executor=processes(8, preload="scanner")
    )


def trap_13_message_as_failure(client: ThirdPartyJobClient) -> None:
    client.put_third_party_job_failure_result("job-1", client_token="t", failure_details="scan failed")


def trap_14_secret_and_number(details: JobDetails) -> None:
    if details.data.configuration["TimeoutMinutes"] > 30:
        print("long")


def trap_15_unknown_status_of_action(service: LocalCodePipeline) -> None:
    action = service.start_action(ACTION, client_id="client-1")
    if action.status == "Success":
        print("done")


async def right(client: AsyncThirdPartyJobClient, service: LocalCodePipeline, details: JobDetails) -> None:
    """Use correctly what the mistakes are about."""
    JobWorker(
        partial(ThirdPartyJobClient.create, region_name="us-east-1"),
        ACTION,
        handle,
        configuration=Scan,
        client_tokens=EnvironmentTokens(),
        executor=processes(8, preload=["scanner"]),
    )
    await client.put_third_party_job_success_result("job-1", client_token="t")
    action = service.start_action(ACTION, client_id="client-1")
    if action.status == "Succeeded":
        print(details.data.inputs["MyApp"], structure_configuration(details.data.action_configuration, Scan))
