"""
Create jobs and models with valid made-up values for tests of handlers; a test sets only the values that it needs.

`job()` returns the job that a handler receives.  It needs neither S3 nor CodePipeline.  The other functions return
models that CodePipeline sends.  There are no samples of models that a handler creates, such as `ExecutionDetails`,
because those have only few fields.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

from typing_extensions import TypeVar

from cp_thirdparty._base.frames import hide_arguments
from cp_thirdparty.converter import structure_configuration
from cp_thirdparty.enums import ActionCategory, ActionCategoryName, ActionOwner, ActionOwnerName, ArtifactLocationType
from cp_thirdparty.models import (
    ActionConfiguration,
    ActionContext,
    ActionTypeId,
    Artifact,
    ArtifactCredentials,
    ArtifactLocation,
    CustomJob,
    EncryptionKey,
    JobData,
    JobDetails,
    PipelineContext,
    S3Location,
    StageContext,
    ThirdPartyJob,
)
from cp_thirdparty.secrets import SecretStr
from cp_thirdparty.testing.folder_artifacts import ArtifactContent, FolderArtifacts
from cp_thirdparty.worker._workspace import Workspace
from cp_thirdparty.worker.job import Job

__all__ = [
    "SampleJob",
    "action_type_id",
    "artifact",
    "artifact_credentials",
    "custom_job",
    "job",
    "job_details",
    "pipeline_context",
    "third_party_job",
]

_CLIENT_ID = "b2a1c0de-0000-4000-8000-000000000001"
_JOB_ID = "b2a1c0de-0000-4000-8000-000000000002"
_EXECUTION_ID = "b2a1c0de-0000-4000-8000-000000000003"
_ACCOUNT_ID = "111122223333"
_BUCKET = "codepipeline-us-east-1-000000000000"
# CodePipeline's timeout for a third-party job, in seconds.
_SECONDS = 3600.0

_ConfigurationT = TypeVar("_ConfigurationT", default="ActionConfiguration | None")


def action_type_id(
    *,
    category: ActionCategory | ActionCategoryName = "Test",
    owner: ActionOwner | ActionOwnerName = "ThirdParty",
    provider: str = "ExampleScan",
    version: str = "1",
) -> ActionTypeId:
    """
    Create an action type.

    Args:
        category: The category of the action, for example ``Build``.
        owner: ``ThirdParty`` for an action of a partner, ``Custom`` for a custom action in your own AWS account.
        provider: The name of the action's provider.
        version: The version of the action type.
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
    Create an artifact in S3.

    Args:
        name: The name of the artifact in the pipeline.
        bucket_name: The S3 bucket of the artifact.
        object_key: The S3 key of the artifact, or ``None`` for a key that contains the artifact's name.
        revision: The revision of an input artifact; output artifacts have none.
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
    secret_access_key: str | SecretStr = "example-secret-access-key",  # noqa: S107 - not a real secret
    session_token: str | SecretStr = "example-session-token",  # noqa: S107 - not a real secret
) -> ArtifactCredentials:
    """
    Create artifact credentials.  AWS does not accept the default values.

    Args:
        access_key_id: The access key ID.
        secret_access_key: The secret access key that belongs to the access key ID.
        session_token: The session token that belongs to the access key ID.
    """
    return ArtifactCredentials(
        access_key_id=access_key_id, secret_access_key=secret_access_key, session_token=session_token
    )


def pipeline_context(
    *, pipeline_name: str = "example-pipeline", stage_name: str = "Test", action_name: str = "Scan"
) -> PipelineContext:
    """
    Create the pipeline context of an action, with the fields that CodePipeline sends for third-party jobs.

    Args:
        pipeline_name: The name of the pipeline.
        stage_name: The name of the stage that has the action.
        action_name: The name of the action.
    """
    return PipelineContext(
        pipeline_name=pipeline_name,
        stage=StageContext(name=stage_name),
        action=ActionContext(name=action_name, action_execution_id=_EXECUTION_ID),
    )


def third_party_job(*, client_id: str = _CLIENT_ID, job_id: str = _JOB_ID) -> ThirdPartyJob:
    """
    Create a job as a poll for third-party jobs returns it; by default it has the same id as `job_details`.

    Args:
        client_id: The id of the customer.
        job_id: The id of the job.
    """
    return ThirdPartyJob(client_id=client_id, job_id=job_id)


def custom_job(*, details: JobDetails | None = None, account_id: str | None = _ACCOUNT_ID) -> CustomJob:
    """
    Create a job as a poll for jobs of a custom action returns it.

    Args:
        details: The details of the job, as `job_details` returns them; ``None`` for details whose action type has the
            owner ``Custom``.
        account_id: The id of the AWS account of the pipeline, or ``None`` for a job without one.

    .. versionadded:: 0.2.0
    """
    if details is None:
        details = job_details(action_type=action_type_id(owner="Custom"))
    return CustomJob(id=details.id, data=details.data, nonce=details.nonce, account_id=account_id)


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
    Create the details of a job.

    Args:
        id: The id of the job.
        nonce: The nonce of the job.
        configuration: The action configuration that the customer has entered, or ``None`` for an empty one.
        action_type: The action type, or ``None`` for `action_type_id()`.
        context: The pipeline context, or ``None`` for `pipeline_context()`.
        input_artifacts: The artifacts that the action reads, or ``None`` for one `artifact()`.
        output_artifacts: The artifacts that the action must write.
        credentials: Credentials for the artifacts, or ``None`` for `artifact_credentials()`.
        continuation_token: The continuation token that the previous job of the action returned, or ``None`` for the
            first job of an action.
        encryption_key: The KMS key of the artifacts, or ``None`` if artifacts are encrypted with the default key of S3.
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


class SampleJob(Job[_ConfigurationT]):
    """
    The job that a test passes to a handler; `job()` creates it.

    The workspace is a temporary directory, and so is the folder of the artifacts if ``folder`` is ``None``.  They are
    removed when no reference to the job is left, so a test can read the files that the handler has written.

    Args:
        details: The details of the job.
        configuration: The action configuration that the handler reads from the job.
        client_id: The id of the customer.
        folder: The folder of the artifacts, or ``None`` for a temporary folder.
        seconds_left: The time that the handler has, as seconds or a ``timedelta``.
        cancelled: An event that is set when the job is cancelled.
        stopping: An event that is set when the worker stops.

    .. versionadded:: 0.2.0
    """

    def __init__(
        self,
        details: JobDetails,
        configuration: _ConfigurationT,
        *,
        client_id: str,
        folder: str | os.PathLike[str] | None,
        seconds_left: float | timedelta,
        cancelled: threading.Event,
        stopping: threading.Event,
    ) -> None:
        if folder is None:
            temporary = Workspace()
            artifacts = FolderArtifacts(temporary.path, details)
            weakref.finalize(artifacts, temporary.remove)  # a test may use the artifacts longer than the job
        else:
            artifacts = FolderArtifacts(folder, details)
        super().__init__(
            third_party_job(client_id=client_id, job_id=details.id),
            details,
            configuration,
            open_artifacts=lambda: artifacts,
            seconds_left=seconds_left,
            cancelled=cancelled,
            stopping=stopping,
        )
        self._folder_artifacts = artifacts
        self._workspace = Workspace()
        weakref.finalize(self, self._workspace.remove)

    @property
    def artifacts(self) -> FolderArtifacts:
        """
        The input and output artifacts, which are stored in a local folder.

        ``job.artifacts.files("Report")`` returns the files of the output artifact ``Report``.
        """
        return self._folder_artifacts


@hide_arguments
def job(
    *,
    configuration: Mapping[str, str | SecretStr] | None = None,
    configuration_class: type[_ConfigurationT] | None = None,
    inputs: Mapping[str, ArtifactContent] | None = None,
    outputs: Iterable[str] = (),
    folder: str | os.PathLike[str] | None = None,
    client_id: str = _CLIENT_ID,
    context: PipelineContext | None = None,
    continuation_token: str | None = None,
    seconds_left: float | timedelta = _SECONDS,
    cancelled: threading.Event | None = None,
    stopping: threading.Event | None = None,
) -> SampleJob[_ConfigurationT]:
    """
    Create a job for a handler, with its artifacts in a local folder.

    Call the handler as a function: ``result = handler(samples.job(inputs={"Source": {"app.py": "x = 1"}}))``.

    Args:
        configuration: The action configuration that the customer has entered, or ``None`` for an empty one.
        configuration_class: The class for the action configuration, as `cp_thirdparty.JobWorker` accepts it; ``None``
            for `cp_thirdparty.ActionConfiguration`.
        inputs: The content of each input artifact by its name: a directory, a file, bytes, or a mapping with the files
            of a zip archive, as `cp_thirdparty.testing.FolderArtifacts.put` accepts them.
        outputs: Names of the output artifacts.
        folder: The folder of the artifacts, or ``None`` for a temporary folder.
        client_id: The id of the customer.
        context: The pipeline context, or ``None`` for `pipeline_context()`.
        continuation_token: The continuation token that the previous job of the action returned, or ``None`` for the
            first job of an action.
        seconds_left: The time that the handler has, as seconds or a ``timedelta``.
        cancelled: An event that the test sets to cancel the job; ``None`` for an event that is never set.
        stopping: An event that the test sets when the worker should stop; ``None`` for an event that is never set.

    Raises:
        cp_thirdparty.exceptions.ConfigurationError: The configuration cannot be converted to ``configuration_class``.
            A worker reports this message as the failure of the action, and does not call the handler.
        cp_thirdparty.exceptions.InvalidRequestError: CodePipeline does not accept the name of an input artifact.
        TypeError: ``outputs`` is one string, or the content of an input has a wrong type.

    .. versionadded:: 0.2.0
    """
    if isinstance(outputs, str):
        raise TypeError("outputs: must be a list of names, not one string")
    contents = inputs or {}
    details = job_details(
        configuration=configuration,
        context=context,
        input_artifacts=[artifact(name) for name in contents],
        output_artifacts=[artifact(name) for name in outputs],
        continuation_token=continuation_token,
    )
    structured: Any = details.data.action_configuration
    if configuration_class is not None:
        structured = structure_configuration(structured, configuration_class)
    sample: SampleJob[_ConfigurationT] = SampleJob(
        details,
        structured,
        client_id=client_id,
        folder=folder,
        seconds_left=seconds_left,
        cancelled=threading.Event() if cancelled is None else cancelled,
        stopping=threading.Event() if stopping is None else stopping,
    )
    for name, content in contents.items():
        sample.artifacts.put(name, content)
    return sample
