"""The types of the public surface.  Checked by mypy and pyright, both strict; never run."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Mapping
from datetime import datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal

import attrs
from typing_extensions import assert_type

from cp_thirdparty import (
    ActionCategory,
    ActionConfiguration,
    ActionContext,
    ActionOwner,
    ActionTypeId,
    Artifact,
    ArtifactCredentials,
    ArtifactLocation,
    ArtifactLocationType,
    ArtifactStore,
    CodePipelineJobError,
    ConfigurationKey,
    CurrentRevision,
    CustomJob,
    CustomJobClient,
    CustomJobDetails,
    EncryptionKey,
    EncryptionKeyType,
    ExecutionDetails,
    FailureDetails,
    FailureType,
    JobData,
    JobDetails,
    JobFailedError,
    JobStatus,
    Key,
    LambdaJobEvent,
    PipelineContext,
    S3Location,
    SecretStr,
    StageContext,
    ThirdPartyError,
    ThirdPartyJob,
    ThirdPartyJobClient,
    __version__,
    action_type_properties,
    converter,
    exceptions,
    structure_configuration,
)
from cp_thirdparty.configuration import CustomActionProperty, ThirdPartyActionProperty, check_configuration_class
from cp_thirdparty.converter import structure, unstructure
from cp_thirdparty.enums import Delivery
from cp_thirdparty.telemetry import CallRecord

VERSION: str = __version__


# --- the client ------------------------------------------------------------------------------------------------------


class OwnClient(ThirdPartyJobClient):
    """A partner's subclass."""


def clients(mine: ActionTypeId) -> None:
    """Make clients of our own; ``wrapped.py`` has those that need botocore's types."""
    assert_type(ThirdPartyJobClient.create(), ThirdPartyJobClient)
    assert_type(OwnClient.create(), OwnClient)
    created = ThirdPartyJobClient.create(
        region_name="us-east-1",
        profile_name=None,
        endpoint_url="http://127.0.0.1:8000",
        verify=Path("ca.pem"),
        sign_request=False,
        connect_timeout=timedelta(seconds=1),
        read_timeout=None,
        deadline=timedelta(seconds=30),
        session=None,
        config=None,
        wire_logs=False,
        on_call=record,
    )
    assert_type(created, ThirdPartyJobClient)
    assert_type(ThirdPartyJobClient.create(verify=False), ThirdPartyJobClient)
    assert_type(ThirdPartyJobClient.create(verify="ca.pem", on_call=print), ThirdPartyJobClient)
    assert_type(created.iter_third_party_jobs(mine), Generator[ThirdPartyJob, None, None])
    for job in created.iter_third_party_jobs(mine, max_batch_size=5, poll_interval=timedelta(seconds=1)):
        assert_type(job, ThirdPartyJob)
    created.close()
    with OwnClient.create() as own:
        assert_type(own, OwnClient)


def artifacts(client: ThirdPartyJobClient, details: JobDetails, token: SecretStr) -> None:
    """Move the artifacts of a job."""
    store = ArtifactStore.for_job(
        client,
        details,
        client_token=token,
        expected_bucket_owner="123456789012",
        endpoint_url=None,
        region_name="us-east-1",
        config=None,
        allow_http=False,
        deadline=1.0,
        is_cancelled=bool,
    )
    assert_type(store, ArtifactStore)
    assert_type(store.inputs, Mapping[str, Artifact])
    assert_type(store.outputs, Mapping[str, Artifact])
    with store.open("MyApp") as stream:
        assert_type(stream, BinaryIO)
    assert_type(store.download("MyApp", to=Path("MyApp.zip"), progress=print, max_bytes=None), Path)
    store.upload("Report", Path("report.zip"), progress=None)
    assert_type(store.extract("MyApp", to=Path("src")), Path)
    store.archive("Report", Path("out"), progress=print)
    with ArtifactStore.for_job(client, details, client_token="plain") as opened:
        assert_type(opened, ArtifactStore)
    assert_type(client.region_name, str)


def record(call: CallRecord) -> None:
    """Take the facts about a call."""
    assert_type(call.operation_name, str)
    assert_type(call.job_id, str | None)
    assert_type(call.status_code, int | None)
    assert_type(call.request_id, str | None)
    assert_type(call.attempts, int)
    assert_type(call.seconds, float)
    assert_type(call.error, str | None)


def operations(client: ThirdPartyJobClient, action_type_id: ActionTypeId, token: SecretStr) -> None:
    """Call the five operations."""
    assert_type(client.poll_for_third_party_jobs(action_type_id), tuple[ThirdPartyJob, ...])
    assert_type(client.poll_for_third_party_jobs(action_type_id, max_batch_size=5), tuple[ThirdPartyJob, ...])
    assert_type(client.poll_for_third_party_jobs(action_type_id, max_batch_size=None), tuple[ThirdPartyJob, ...])
    assert_type(client.get_third_party_job_details("job-1", client_token=token), JobDetails)
    assert_type(client.get_third_party_job_details(job_id="job-1", client_token="plain"), JobDetails)
    assert_type(client.acknowledge_third_party_job("job-1", nonce="1", client_token=token), JobStatus)
    assert_type(client.acknowledge_third_party_job("job-1", nonce="1", client_token="plain"), JobStatus)
    client.put_third_party_job_success_result("job-1", client_token=token)
    client.put_third_party_job_success_result(
        "job-1",
        client_token="plain",
        continuation_token="run-1",
        current_revision=CurrentRevision(revision="r", change_identifier="c"),
        execution_details=ExecutionDetails(percent_complete=100),
    )
    client.put_third_party_job_success_result(
        "job-1", client_token=token, continuation_token=None, current_revision=None, execution_details=None
    )
    client.put_third_party_job_failure_result(
        "job-1", client_token=token, failure_details=FailureDetails(type=FailureType.JOB_FAILED, message="m")
    )


def custom_operations(client: CustomJobClient, action_type_id: ActionTypeId) -> None:
    """Call the five operations of custom jobs."""
    assert_type(CustomJobClient.create(region_name="us-east-1", on_call=print), CustomJobClient)
    assert_type(client.poll_for_jobs(action_type_id), tuple[CustomJob, ...])
    assert_type(client.poll_for_jobs(action_type_id, max_batch_size=5, query_param={"a": "b"}), tuple[CustomJob, ...])
    assert_type(client.get_job_details("job-1"), CustomJobDetails)
    assert_type(client.acknowledge_job("job-1", nonce="1"), JobStatus)
    client.put_job_success_result("job-1", continuation_token="run-1")
    client.put_job_success_result("job-1", output_variables={"Findings": "3"})
    client.put_job_failure_result("job-1", failure_details=FailureDetails(type="JobFailed", message="m"))
    assert_type(client.iter_jobs(action_type_id, query_param={"a": "b"}), Generator[CustomJob, None, None])


def custom_details(polled: CustomJob, details: CustomJobDetails) -> None:
    """Read what a custom job is about."""
    assert_type(polled.id, str)
    assert_type(polled.job_id, str)
    assert_type(polled.client_id, str)
    assert_type(polled.nonce, str)
    assert_type(polled.data, JobData)
    assert_type(details.id, str)
    assert_type(details.account_id, str | None)
    assert_type(details.data.inputs["MyApp"], Artifact)


def lambda_event(event: LambdaJobEvent) -> None:
    """Read the event of a Lambda function."""
    assert_type(structure({}, LambdaJobEvent), LambdaJobEvent)
    assert_type(event.id, str)
    assert_type(event.account_id, str | None)
    assert_type(event.credentials_expire_at, datetime | None)
    assert_type(event.data, JobData)


# --- the models ------------------------------------------------------------------------------------------------------


def details(job: JobDetails, polled: ThirdPartyJob) -> None:
    """Read what a job is about."""
    assert_type(polled.client_id, str)
    assert_type(polled.job_id, str)
    assert_type(job.id, str)
    assert_type(job.nonce, str)
    assert_type(job.data, JobData)
    assert_type(job.data.action_type_id, ActionTypeId | None)
    assert_type(job.data.action_configuration, ActionConfiguration | None)
    assert_type(job.data.pipeline_context, PipelineContext | None)
    assert_type(job.data.input_artifacts, tuple[Artifact, ...])
    assert_type(job.data.output_artifacts, tuple[Artifact, ...])
    assert_type(job.data.artifact_credentials, ArtifactCredentials | None)
    assert_type(job.data.continuation_token, str | None)
    assert_type(job.data.inputs["MyApp"], Artifact)
    assert_type(job.data.outputs, Mapping[str, Artifact])
    assert_type(job.data.outputs["MyApp"].s3, S3Location | None)
    assert_type(job.data.configuration, Mapping[str, SecretStr])
    assert_type(PipelineContext().path, str)
    assert_type(FailureDetails(type="JobFailed", message="m").type, FailureType)
    assert_type(ActionTypeId(category=ActionCategory("New"), owner="Custom", provider="p", version="1"), ActionTypeId)
    assert_type(job.data.encryption_key, EncryptionKey | None)


def parts(
    action_type_id: ActionTypeId,
    configuration: ActionConfiguration,
    credentials: ArtifactCredentials,
    encryption_key: EncryptionKey,
) -> None:
    """Read the parts of a job that stand alone."""
    assert_type(action_type_id.category, ActionCategory)
    assert_type(action_type_id.owner, ActionOwner)
    assert_type(action_type_id.provider, str)
    assert_type(action_type_id.version, str)
    assert_type(configuration.configuration, Mapping[str, SecretStr])
    assert_type(configuration.configuration["ApiKey"].get_secret_value(), str)
    assert_type(credentials.access_key_id, SecretStr | None)
    assert_type(credentials.secret_access_key, SecretStr | None)
    assert_type(credentials.session_token, SecretStr | None)
    assert_type(encryption_key.id, str)
    assert_type(encryption_key.type, EncryptionKeyType)


def artifact_parts(artifact: Artifact, location: ArtifactLocation, s3_location: S3Location) -> None:
    """Read where files lie."""
    assert_type(artifact.name, str | None)
    assert_type(artifact.revision, str | None)
    assert_type(artifact.location, ArtifactLocation | None)
    assert_type(location.type, ArtifactLocationType | None)
    assert_type(location.s3_location, S3Location | None)
    assert_type(s3_location.bucket_name, str)
    assert_type(s3_location.object_key, str)


def pipeline_parts(context: PipelineContext, stage: StageContext, action: ActionContext) -> None:
    """Read where a job comes from."""
    assert_type(context.pipeline_name, str | None)
    assert_type(context.stage, StageContext | None)
    assert_type(context.action, ActionContext | None)
    assert_type(context.pipeline_arn, str | None)
    assert_type(context.pipeline_execution_id, str | None)
    assert_type(stage.name, str | None)
    assert_type(action.name, str | None)
    assert_type(action.action_execution_id, str | None)


def result_parts(revision: CurrentRevision, execution: ExecutionDetails, failure: FailureDetails) -> None:
    """Read what a result is made of."""
    assert_type(revision.revision, str)
    assert_type(revision.change_identifier, str)
    assert_type(revision.created, datetime | None)
    assert_type(revision.revision_summary, str | None)
    assert_type(execution.summary, str | None)
    assert_type(execution.external_execution_id, str | None)
    assert_type(execution.percent_complete, int | None)
    assert_type(failure.type, FailureType)
    assert_type(failure.message, str)
    assert_type(failure.external_execution_id, str | None)


def made(created: datetime) -> None:
    """Make models with all that they take."""
    ActionTypeId(category="Test", owner="ThirdParty", provider="ExampleScan", version="1")
    ActionTypeId(category=ActionCategory.TEST, owner=ActionOwner.THIRD_PARTY, provider="ExampleScan", version="1")
    ActionConfiguration()
    ActionConfiguration(configuration={"A": "plain", "B": SecretStr("hidden")})
    ActionConfiguration(configuration={"A": "plain"})
    ActionConfiguration(configuration={"B": SecretStr("hidden")})
    ArtifactCredentials()
    ArtifactCredentials(access_key_id="plain", secret_access_key=SecretStr("hidden"), session_token=None)
    JobData(input_artifacts=[Artifact()], output_artifacts=(Artifact(name="a") for _ in range(2)))
    JobDetails(id="job-1", data=JobData(), nonce="1")
    CurrentRevision(revision="r", change_identifier="c", created=created, revision_summary="s")
    ExecutionDetails(summary="s", external_execution_id="e", percent_complete=50)
    FailureDetails(type=FailureType.JOB_FAILED, message="m", external_execution_id="e")
    assert_type(attrs.evolve(JobData(), continuation_token="t"), JobData)


# --- enums and secrets -----------------------------------------------------------------------------------------------


def enums(status: JobStatus, category: ActionCategory, owner: ActionOwner, failure: FailureType) -> None:
    """Use the enums as enums and as strings."""
    assert_type(JobStatus("Brand-new"), JobStatus)
    assert_type(status.is_known, bool)
    assert_type(category.is_known, bool)
    assert_type(owner.is_known, bool)
    values: list[str] = [status.value, category.value, owner.value, failure.value]
    texts: list[str] = [status, category, owner, failure, *values]
    members: list[Enum] = [status, category, owner, failure]
    assert_type((texts, members), tuple[list[str], list[Enum]])
    assert_type(status == JobStatus.IN_PROGRESS, bool)
    assert_type(str(status), str)
    assert_type(list(FailureType), list[FailureType])


def members() -> None:
    """Name each member that the service, or we, have today."""
    built = [ActionCategory.SOURCE, ActionCategory.BUILD, ActionCategory.COMPUTE, ActionCategory.TEST]
    others = [ActionCategory.DEPLOY, ActionCategory.INVOKE, ActionCategory.APPROVAL]
    assert_type((built, others), tuple[list[ActionCategory], list[ActionCategory]])
    assert_type([ActionOwner.AWS, ActionOwner.CUSTOM, ActionOwner.THIRD_PARTY], list[ActionOwner])
    assert_type([JobStatus.CREATED, JobStatus.QUEUED, JobStatus.DISPATCHED, JobStatus.IN_PROGRESS], list[JobStatus])
    assert_type([JobStatus.TIMED_OUT, JobStatus.SUCCEEDED, JobStatus.FAILED], list[JobStatus])
    locations: list[ArtifactLocationType] = [ArtifactLocationType.S3]
    keys: list[EncryptionKeyType] = [EncryptionKeyType.KMS]
    assert_type((locations[0], keys[0]), tuple[ArtifactLocationType, EncryptionKeyType])
    theirs = [FailureType.CONFIGURATION_ERROR, FailureType.PERMISSION_ERROR, FailureType.REVISION_OUT_OF_SYNC]
    ours = [FailureType.JOB_FAILED, FailureType.REVISION_UNAVAILABLE, FailureType.SYSTEM_UNAVAILABLE]
    assert_type((theirs, ours), tuple[list[FailureType], list[FailureType]])


def job_status(status: JobStatus) -> str:
    """Treat each member, with a branch for those to come."""
    if status is JobStatus.IN_PROGRESS:
        return "work"
    if status in (JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.TIMED_OUT):
        return "over"
    return "wait"


def secrets(secret: SecretStr, optional: SecretStr | None) -> None:
    """Hide and show strings."""
    assert_type(SecretStr("value"), SecretStr)
    assert_type(SecretStr.wrap("value"), SecretStr)
    assert_type(SecretStr.wrap(secret), SecretStr)
    assert_type(secret.get_secret_value(), str)
    assert_type(secret == secret, bool)  # noqa: PLR0124 - for its type
    assert_type(hash(secret), int)
    if optional:
        assert_type(optional, SecretStr)


# --- documents and configurations ------------------------------------------------------------------------------------


def documents(data: object, job: JobDetails) -> None:
    """Read and write documents."""
    assert_type(structure(data, JobDetails), JobDetails)
    assert_type(structure({"name": "a"}, Artifact), Artifact)
    assert_type(converter.structure(data, ThirdPartyJob), ThirdPartyJob)
    assert_type(unstructure(job), dict[str, Any])
    assert_type(unstructure(job, secrets="mask"), dict[str, Any])
    assert_type(unstructure(job.data, secrets="reveal"), dict[str, Any])


@attrs.frozen
class ScanConfiguration:
    """A partner's attrs class."""

    project_name: str
    api_key: Annotated[SecretStr, Key("APIKey")]
    timeout_minutes: int = 30
    branch: str | None = None
    fail_on: Literal["low", "high"] = "high"


@dataclasses.dataclass(frozen=True)
class DataConfiguration:
    """A partner's dataclass."""

    project_name: str
    api_key: Annotated[SecretStr, Key("APIKey")] | None = None


def configurations(configuration: ActionConfiguration, maybe: ActionConfiguration | None) -> None:
    """Read configurations into classes."""
    scan = structure_configuration(configuration, ScanConfiguration)
    assert_type(scan, ScanConfiguration)
    assert_type(scan.project_name, str)
    assert_type(scan.api_key, SecretStr)
    assert_type(scan.timeout_minutes, int)
    assert_type(scan.branch, str | None)
    assert_type(scan.fail_on, Literal["low", "high"])
    data = structure_configuration(maybe, DataConfiguration)
    assert_type(data, DataConfiguration)
    assert_type(data.api_key, SecretStr | None)
    assert_type(structure_configuration(None, model=ScanConfiguration), ScanConfiguration)
    check_configuration_class(ScanConfiguration)
    key = ConfigurationKey("APIKey", description="Where to scan", queryable=True, key=True)
    assert_type(key.name, str | None)
    assert_type(key.description, str | None)
    assert_type((key.queryable, key.key), tuple[bool, bool])
    assert_type(Key("APIKey"), ConfigurationKey)
    (custom, *_) = action_type_properties(ScanConfiguration, for_="custom")
    assert_type(custom, CustomActionProperty)
    assert_type(custom["required"], bool)
    assert_type(CustomActionProperty(name="A", required=True, key=False, secret=False), CustomActionProperty)
    assert_type(
        ThirdPartyActionProperty(name="A", optional=True, key=False, noEcho=True, queryable=False),
        ThirdPartyActionProperty,
    )
    assert_type(custom.get("type"), Literal["String", "Number", "Boolean"] | None)
    assert_type(action_type_properties(DataConfiguration, for_="third-party"), list[ThirdPartyActionProperty])
    assert_type(ConfigurationKey(queryable=True), ConfigurationKey)
    assert_type(converter.structure_configuration(None, DataConfiguration), DataConfiguration)


# --- errors ----------------------------------------------------------------------------------------------------------


def service_errors(
    error: exceptions.ServiceError, skew: exceptions.ClockSkewError, nonce: exceptions.InvalidNonceException
) -> None:
    """Read what CodePipeline returned."""
    assert_type(error.code, str)
    assert_type(error.message, str)
    assert_type(skew.offset, float)
    assert_type(nonce.code, str)


def facts_of_a_call(error: CodePipelineJobError) -> None:
    """Read the facts of every error about its call."""
    assert_type(error.operation_name, str | None)
    assert_type(error.job_id, str | None)
    assert_type(error.status_code, int | None)
    assert_type(error.request_id, str | None)
    assert_type(error.attempts, int | None)
    assert_type(error.is_retry_safe, bool | None)
    assert_type(error.delivery, Delivery | None)
    assert_type(exceptions.is_already_reported(error, None), bool)
    assert_type(exceptions.may_have_been_accepted(error), bool)
    assert_type(exceptions.is_already_reported(error, error, error), bool)


def describe(delivery: Delivery) -> str:
    """Handle every member, which checkers require."""
    if delivery is Delivery.NOT_SENT:
        return "nothing left"
    if delivery is Delivery.SENT:
        return "some bytes left"
    assert_type(delivery, Literal[Delivery.RESPONDED])
    return "a response arrived"


def made_errors(facts: exceptions.CallFacts) -> list[ThirdPartyError]:
    """Make errors, as a test of a partner does."""
    return [
        exceptions.ServiceError("m", code="C", operation_name="PollForThirdPartyJobs", attempts=1),
        exceptions.AccessDeniedError(action="codepipeline:PollForThirdPartyJobs", resource=None, **facts),
        exceptions.TransportError("m", is_retry_safe=None, delivery=Delivery.SENT),
        exceptions.InvalidRequestError("nonce", "must be a str", job_id="job-1"),
        exceptions.ResponseDecodeError(["id: must be a str"], **facts),
    ]


def other_errors(
    untrusted: exceptions.UntrustedResponseError,
    denied: exceptions.AccessDeniedError,
    request: exceptions.InvalidRequestError,
    failed: JobFailedError,
) -> None:
    """Read what went wrong elsewhere."""
    assert_type(untrusted.is_retry_safe, bool | None)
    assert_type(denied.action, str)
    assert_type(denied.resource, str | None)
    assert_type(denied.code, str)
    assert_type(request.parameter, str)
    assert_type(request.rule, str)
    assert_type(failed.failure_type, FailureType)
    assert_type(failed.message, str)
    assert_type(failed.external_execution_id, str | None)


def caught(client: ThirdPartyJobClient) -> tuple[str, ...]:
    """Catch errors from the leaves to the root."""
    try:
        client.get_third_party_job_details("job-1", client_token="plain")
    except exceptions.InvalidNonceException as error:
        assert_type(error, exceptions.InvalidNonceException)
    except (exceptions.JobNotFoundException, exceptions.InvalidJobException) as error:
        assert_type(error.code, str)
    except exceptions.ResponseDecodeError as error:
        assert_type(error.problems, tuple[str, ...])
        return error.problems
    except exceptions.ConfigurationError as error:
        assert_type(error.problems, tuple[str, ...])
    except ThirdPartyError as error:
        root: Exception = error
        raise JobFailedError(FailureType.JOB_FAILED, "no details", external_execution_id="e") from root
    JobFailedError("ConfigurationError", "no such project")
    JobFailedError("no such project", FailureType.CONFIGURATION_ERROR)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType] # ty: ignore[invalid-argument-type]
    raise JobFailedError(FailureType.SYSTEM_UNAVAILABLE, "no details")


ROOT: type[CodePipelineJobError] = ThirdPartyError
ROOTS: list[type[ThirdPartyError]] = [
    exceptions.CodePipelineJobError,
    exceptions.ThirdPartyError,
    exceptions.ServiceError,
    exceptions.ActionTypeNotFoundException,
    exceptions.InvalidClientTokenException,
    exceptions.InvalidJobException,
    exceptions.InvalidJobStateException,
    exceptions.InvalidNonceException,
    exceptions.JobNotFoundException,
    exceptions.OutputVariablesSizeExceededException,
    exceptions.ValidationException,
    exceptions.ThrottledError,
    exceptions.ClockSkewError,
    exceptions.TransportError,
    exceptions.UntrustedResponseError,
    exceptions.CredentialsError,
    exceptions.AccessDeniedError,
    exceptions.InvalidRequestError,
    exceptions.ResponseDecodeError,
    exceptions.ConfigurationError,
    exceptions.ArtifactError,
    exceptions.ArtifactNotFoundError,
    exceptions.ArtifactTransferError,
    exceptions.ArtifactFileError,
    exceptions.UnsafeArchiveError,
    exceptions.ArtifactTooLargeError,
]
