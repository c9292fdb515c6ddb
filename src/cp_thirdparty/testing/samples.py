"""
Jobs and models with made-up values for tests of handlers: each is valid, and a test sets only the values that matter.

`job()` returns the job of a handler, without S3 and without a service.  The other functions return what the service
sends.  Models that a handler creates, such as `ExecutionDetails`, have few fields and no sample.
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
# CodePipeline's timeout of a third-party action.
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
        category: Such as ``Build``.
        owner: ``ThirdParty`` for partners, ``Custom`` for an action of your own account.
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
    Create an artifact in S3.

    Args:
        name: As the pipeline calls it.
        bucket_name: Its bucket.
        object_key: Its key, or ``None`` for one that has the name.
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
    session_token: str | SecretStr = "example-session-token",  # noqa: S107 - of no use anywhere
) -> ArtifactCredentials:
    """
    Create artifact credentials, which AWS does not accept.

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
    Create the context of an action, with the members that third-party jobs have.

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
    Create what a poll returns, for the same job as `job_details`.

    Args:
        client_id: The customer.
        job_id: The job.
    """
    return ThirdPartyJob(client_id=client_id, job_id=job_id)


def custom_job(*, details: JobDetails | None = None, account_id: str | None = _ACCOUNT_ID) -> CustomJob:
    """
    Create what a poll for jobs of a custom action returns.

    Args:
        details: The job, as `job_details` returns it; ``None`` for one whose action type has the owner ``Custom``.
        account_id: The AWS account of the pipeline, or ``None``.

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
        id: The job.
        nonce: Its nonce.
        configuration: What the customer has entered, or ``None`` for nothing.
        action_type: The action type, or ``None`` for `action_type_id()`.
        context: The pipeline, or ``None`` for `pipeline_context()`.
        input_artifacts: The artifacts that the action reads, or ``None`` for one `artifact()`.
        output_artifacts: The artifacts that the action must write.
        credentials: Credentials for the artifacts, or ``None`` for `artifact_credentials()`.
        continuation_token: The token from the job before, or ``None`` for a first job.
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


class SampleJob(Job[_ConfigurationT]):
    """
    The job of a handler, in a test; `job()` creates it.

    Its workspace and its folder of artifacts are temporary.  They are removed when nothing refers to the job any more,
    so a test can read what the handler has written.

    Args:
        details: The details of the job.
        configuration: The action configuration as the handler sees it.
        client_id: The customer.
        folder: The folder of the artifacts, or ``None`` for a temporary one.
        seconds_left: Seconds or a ``timedelta`` that the handler has.
        cancelled: Set when the result is no longer wanted.
        stopping: Set when the worker stops.

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
            weakref.finalize(artifacts, temporary.remove)  # they may outlive the job
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
        The artifacts in a folder.

        ``job.artifacts.files("Report")`` returns the files of an output artifact.
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
    Create the job of a handler, with its artifacts in a local folder.

    The handler is called as a function: ``result = handler(samples.job(inputs={"Source": {"app.py": "x = 1"}}))``.

    Args:
        configuration: What the customer has entered, or ``None`` for nothing.
        configuration_class: The class for the action configuration, as `cp_thirdparty.JobWorker` takes it; ``None`` for
            the strings.
        inputs: The input artifacts by name: a directory, a file, bytes, or the files of a zip archive by name, as
            `cp_thirdparty.testing.FolderArtifacts.put` takes them.
        outputs: Names of the output artifacts.
        folder: The folder of the artifacts, or ``None`` for a temporary one.
        client_id: The customer.
        context: The pipeline, or ``None`` for `pipeline_context()`.
        continuation_token: The token from the job before, or ``None`` for a first job.
        seconds_left: Seconds or a ``timedelta`` that the handler has.
        cancelled: Set it when the result is no longer wanted.
        stopping: Set it when the worker stops.

    Raises:
        cp_thirdparty.exceptions.ConfigurationError: The configuration does not fit the class.  With a worker, the
            action fails with this message before the handler is called.
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
