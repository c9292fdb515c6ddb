"""
Read the details of a third-party job; no secret is shown.

Runs offline: a local CodePipeline replaces the service.
"""

import pprint
from typing import Literal

import attrs

from cp_thirdparty import (
    ActionTypeId,
    Artifact,
    ArtifactCredentials,
    ArtifactLocation,
    ArtifactLocationType,
    EncryptionKey,
    EncryptionKeyType,
    JobStatus,
    S3Location,
    SecretStr,
    structure_configuration,
)
from cp_thirdparty.converter import unstructure
from cp_thirdparty.testing import LocalCodePipeline

ACTION_TYPE = ActionTypeId(
    category="Test", owner="ThirdParty", provider="ExampleScan", version="1"
)


@attrs.frozen
class ScanConfiguration:
    """What the customer enters; a `SecretStr` is masked."""

    project_name: str
    api_key: SecretStr
    timeout_minutes: int = 30
    fail_on: Literal["low", "high"] = "high"


def start_action(service: LocalCodePipeline) -> None:
    """Start the partner's action as a customer's pipeline does."""
    service.register_client("client-1", "the token that belongs to client-1")
    service.start_action(
        ACTION_TYPE,
        client_id="client-1",
        configuration={
            "ProjectName": "demo",
            "ApiKey": "not for your eyes",
            "TimeoutMinutes": "45",
        },
        input_artifacts=[
            Artifact(
                name="MyApp",
                location=ArtifactLocation(
                    type=ArtifactLocationType.S3,
                    s3_location=S3Location(
                        bucket_name="codepipeline-us-east-1-1",
                        object_key="demo/MyApp/a1b2c3.zip",
                    ),
                ),
            )
        ],
        artifact_credentials=ArtifactCredentials(
            access_key_id="ASIAEXAMPLE",
            secret_access_key="not for your eyes either",
            session_token="nor this",
        ),
        encryption_key=EncryptionKey(id="alias/demo", type=EncryptionKeyType.KMS),
    )


def main() -> None:
    """Poll, read, acknowledge, report."""
    # What a partner keeps for its customers.
    tokens = {"client-1": SecretStr("the token that belongs to client-1")}
    with LocalCodePipeline() as service, service.client() as client:
        start_action(service)
        for job in client.poll_for_third_party_jobs(ACTION_TYPE, max_batch_size=1):
            token = tokens[job.client_id]
            details = client.get_third_party_job_details(job.job_id, client_token=token)
            pprint.pp(unstructure(details), width=100)
            print(
                structure_configuration(
                    details.data.action_configuration, ScanConfiguration
                )
            )

            status = client.acknowledge_third_party_job(
                job.job_id, nonce=details.nonce, client_token=token
            )
            if status == JobStatus.IN_PROGRESS:
                client.put_third_party_job_success_result(
                    job.job_id, client_token=token
                )
                print(f"job {job.job_id} is done")


if __name__ == "__main__":
    main()
