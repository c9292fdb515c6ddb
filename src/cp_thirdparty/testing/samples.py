"""
Models with made-up values for tests of handlers: each is valid, and a test names only what it is about.

For what the service sends.  What a handler makes itself, such as `ExecutionDetails`, has few fields and no sample.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from cp_thirdparty._frames import hide_arguments
from cp_thirdparty.enums import ActionCategory, ActionCategoryName, ActionOwner, ActionOwnerName, ArtifactLocationType
from cp_thirdparty.models import (
    ActionConfiguration,
    ActionContext,
    ActionTypeId,
    Artifact,
    ArtifactCredentials,
    ArtifactLocation,
    EncryptionKey,
    JobData,
    JobDetails,
    PipelineContext,
    S3Location,
    StageContext,
    ThirdPartyJob,
)
from cp_thirdparty.secrets import SecretStr

__all__ = [
    "action_type_id",
    "artifact",
    "artifact_credentials",
    "job_details",
    "pipeline_context",
    "third_party_job",
]

_CLIENT_ID = "b2a1c0de-0000-4000-8000-000000000001"
_JOB_ID = "b2a1c0de-0000-4000-8000-000000000002"
_EXECUTION_ID = "b2a1c0de-0000-4000-8000-000000000003"
_BUCKET = "codepipeline-us-east-1-000000000000"


def action_type_id(
    *,
    category: ActionCategory | ActionCategoryName = "Test",
    owner: ActionOwner | ActionOwnerName = "ThirdParty",
    provider: str = "ExampleScan",
    version: str = "1",
) -> ActionTypeId:
    """
    Make an action type.

    Args:
        category: Such as ``Build``.

        owner: ``ThirdParty`` in all that a partner sees.

        provider: The partner's name of the action.

        version: Its version.
    """
    return ActionTypeId(category=category, owner=owner, provider=provider, version=version)


def artifact(
    name: str = "SourceOutput",
    *,
    bucket_name: str = _BUCKET,
    object_key: str | None = None,
    revision: str | None = None,
) -> Artifact:
    """
    Make an artifact in S3.

    Args:
        name: As the pipeline calls it.

        bucket_name: Its bucket.

        object_key: Its key, or ``None`` for one that is made of the name.

        revision: The revision, which only an input artifact has.
    """
    key = f"example-pipeline/{name[:10]}/EXAMPLE" if object_key is None else object_key
    location = ArtifactLocation(
        type=ArtifactLocationType.S3, s3_location=S3Location(bucket_name=bucket_name, object_key=key)
    )
    return Artifact(name=name, revision=revision, location=location)


@hide_arguments
def artifact_credentials(
    *,
    access_key_id: str = "ASIAEXAMPLE",
    secret_access_key: str | SecretStr = "example-secret-access-key",  # noqa: S107 - of no use anywhere
    session_token: str | SecretStr = "example-session-token",  # noqa: S107 - likewise
) -> ArtifactCredentials:
    """
    Make artifact credentials, which no AWS takes.

    Args:
        access_key_id: The access key.

        secret_access_key: The secret of that key.

        session_token: The session token that belongs to the key.
    """
    return ArtifactCredentials(
        access_key_id=access_key_id, secret_access_key=secret_access_key, session_token=session_token
    )


def pipeline_context(
    *, pipeline_name: str = "example-pipeline", stage_name: str = "Test", action_name: str = "Scan"
) -> PipelineContext:
    """
    Make the context of an action, with the members that third-party jobs have.

    Args:
        pipeline_name: The pipeline.

        stage_name: Its stage.

        action_name: The action in that stage.
    """
    return PipelineContext(
        pipeline_name=pipeline_name,
        stage=StageContext(name=stage_name),
        action=ActionContext(name=action_name, action_execution_id=_EXECUTION_ID),
    )


def third_party_job(*, client_id: str = _CLIENT_ID, job_id: str = _JOB_ID) -> ThirdPartyJob:
    """
    Make what a poll brings, for the same job as `job_details`.

    Args:
        client_id: The customer.

        job_id: The job.
    """
    return ThirdPartyJob(client_id=client_id, job_id=job_id)


@hide_arguments
def job_details(
    *,
    id: str = _JOB_ID,  # noqa: A002 - the service's name
    nonce: str = "3",
    configuration: Mapping[str, str | SecretStr] | None = None,
    action_type: ActionTypeId | None = None,
    context: PipelineContext | None = None,
    input_artifacts: Iterable[Artifact] | None = None,
    output_artifacts: Iterable[Artifact] = (),
    credentials: ArtifactCredentials | None = None,
    continuation_token: str | None = None,
    encryption_key: EncryptionKey | None = None,
) -> JobDetails:
    """
    Make the details of a job.

    Args:
        id: The job.

        nonce: Its nonce.

        configuration: What the customer has entered, or ``None`` for nothing.

        action_type: The action type, or ``None`` for `action_type_id()`.

        context: The pipeline, or ``None`` for `pipeline_context()`.

        input_artifacts: What the action takes, or ``None`` for one `artifact()`.

        output_artifacts: What the action must make.

        credentials: Credentials for the artifacts, or ``None`` for `artifact_credentials()`.

        continuation_token: That of the action's job before, or ``None`` for a first job.

        encryption_key: The key of the artifacts, or ``None`` for that of S3.
    """
    data = JobData(
        action_type_id=action_type_id() if action_type is None else action_type,
        action_configuration=ActionConfiguration(configuration=configuration or {}),
        pipeline_context=pipeline_context() if context is None else context,
        input_artifacts=(artifact(),) if input_artifacts is None else input_artifacts,
        output_artifacts=output_artifacts,
        artifact_credentials=artifact_credentials() if credentials is None else credentials,
        continuation_token=continuation_token,
        encryption_key=encryption_key,
    )
    return JobDetails(id=id, data=data, nonce=nonce)
