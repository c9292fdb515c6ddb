"""
Typed, immutable models of jobs, of their details and of their results.  Secrets are redacted.

Each field is named like the service's member, in snake_case.  Strings from the service have no limits here, because
the service has exceeded its documented limits before.  The models that a client sends (`CurrentRevision`,
`ExecutionDetails`, `FailureDetails`) are checked when they are created.

`cp_thirdparty.converter` reads and writes models as JSON.  All models are hashable and safe to share between threads.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TypeAlias, cast

import attrs

from cp_thirdparty._base import limits
from cp_thirdparty._base.frames import hide_init_arguments
from cp_thirdparty._rendering.views import Model
from cp_thirdparty._structuring.model_fields import ByName, WeaklyReferenced, limit, to_member, verify
from cp_thirdparty.enums import (
    ActionCategory,
    ActionCategoryName,
    ActionOwner,
    ActionOwnerName,
    ArtifactLocationType,
    ArtifactLocationTypeName,
    EncryptionKeyType,
    EncryptionKeyTypeName,
    FailureType,
    FailureTypeName,
)
from cp_thirdparty.secrets import SecretMapping, SecretStr

__all__ = [
    "ActionConfiguration",
    "ActionContext",
    "ActionTypeId",
    "Artifact",
    "ArtifactCredentials",
    "ArtifactLocation",
    "CurrentRevision",
    "CustomJob",
    "CustomJobDetails",
    "EncryptionKey",
    "ExecutionDetails",
    "FailureDetails",
    "JobData",
    "JobDetails",
    "LambdaJobEvent",
    "PipelineContext",
    "S3Location",
    "StageContext",
    "ThirdPartyJob",
]

_NO_CONFIGURATION = SecretMapping({})

# These converters are in this module, because `typing.get_type_hints` looks up the types of their arguments here.


def _wrap(value: str | SecretStr | None) -> SecretStr | None:
    return None if value is None else SecretStr.wrap(value)


def _wrap_values(value: Mapping[str, str | SecretStr]) -> Mapping[str, SecretStr]:
    return value if isinstance(value, SecretMapping) else SecretMapping(value)


def _to_category(value: ActionCategory | ActionCategoryName) -> ActionCategory:
    return to_member(ActionCategory, value, "category")


def _to_owner(value: ActionOwner | ActionOwnerName) -> ActionOwner:
    return to_member(ActionOwner, value, "owner")


def _to_location_type(value: ArtifactLocationType | ArtifactLocationTypeName | None) -> ArtifactLocationType | None:
    return None if value is None else to_member(ArtifactLocationType, value, "type")


def _to_key_type(value: EncryptionKeyType | EncryptionKeyTypeName) -> EncryptionKeyType:
    return to_member(EncryptionKeyType, value, "type")


def _to_failure_type(value: FailureType | FailureTypeName) -> FailureType:
    try:
        return FailureType(value)
    except ValueError:
        return cast("FailureType", value)  # the validator refuses it


def _to_tuple(value: Iterable[Artifact]) -> tuple[Artifact, ...]:
    return tuple(value)


def _failure_type_rule(value: object) -> str | None:
    return None if isinstance(value, FailureType) else "must be a FailureType"


@attrs.frozen(kw_only=True, weakref_slot=False, repr=False)
class S3Location(Model):
    """The bucket and the key of an object in S3."""

    bucket_name: str
    """The bucket.  Its name comes from the pipeline's owner, so it is untrusted."""
    object_key: str
    """The key of the object.  Never use it as a local path."""


@attrs.frozen(kw_only=True, weakref_slot=False, repr=False)
class ArtifactLocation(Model):
    """
    The location of an artifact.

    Raises:
        cp_thirdparty.exceptions.InvalidRequestError: The type is not a string.
    """

    type: ArtifactLocationType | None = attrs.field(default=None, converter=_to_location_type)
    """The kind of store, or ``None``.  A plain string is accepted too."""
    s3_location: S3Location | None = None
    """The location in S3, or ``None``."""


@attrs.frozen(kw_only=True, weakref_slot=False, repr=False)
class Artifact(Model):
    """An input or an output of an action, most often one ZIP archive."""

    name: str | None = None
    """The name of the artifact in the pipeline, or ``None``."""
    revision: str | None = None
    """A commit id, an S3 version or the like, or ``None``."""
    location: ArtifactLocation | None = None
    """The location of the artifact, or ``None``."""

    @property
    def s3(self) -> S3Location | None:
        """
        The location in S3, or ``None``.

        .. versionadded:: 0.2.0
        """
        return None if self.location is None else self.location.s3_location


@hide_init_arguments
@attrs.frozen(kw_only=True, weakref_slot=False, repr=False)
class ArtifactCredentials(Model):
    """
    Temporary AWS credentials for the job's artifacts.  They expire after 15 minutes; new job details have new ones.

    The service does not send the expiration time; the 15 minutes come from AWS's own Jenkins plug-in.

    Raises:
        TypeError: A value is not a string.
    """

    access_key_id: SecretStr | None = attrs.field(default=None, converter=_wrap)
    """The access key ID, or ``None``."""
    secret_access_key: SecretStr | None = attrs.field(default=None, converter=_wrap)
    """The secret key, or ``None``."""
    session_token: SecretStr | None = attrs.field(default=None, converter=_wrap)
    """The session token, or ``None``."""


@attrs.frozen(kw_only=True, weakref_slot=False, repr=False)
class EncryptionKey(Model):
    """
    The key that encrypts the pipeline's artifacts.

    Raises:
        cp_thirdparty.exceptions.InvalidRequestError: The type is not a string.
    """

    id: str
    """A key id, a key ARN or an alias ARN.  An alias is valid only in the account that owns the key."""
    type: EncryptionKeyType = attrs.field(converter=_to_key_type)
    """The kind of key.  A plain string is accepted too."""


@attrs.frozen(kw_only=True, weakref_slot=False, repr=False)
class ActionTypeId(Model):
    """
    The four parts that name an action type.  ``category`` and ``owner`` accept a plain string too.

    Raises:
        cp_thirdparty.exceptions.InvalidRequestError: The category or the owner is not a string.
    """

    category: ActionCategory = attrs.field(converter=_to_category)
    """The kind of action."""
    owner: ActionOwner = attrs.field(converter=_to_owner)
    """Who created the action type, such as ``ThirdParty`` for a partner's action."""
    provider: str
    """The name that the partner gave to the action type."""
    version: str
    """The version, a string such as ``"1"``."""


@hide_init_arguments
@attrs.frozen(kw_only=True, weakref_slot=False, repr=False)
class ActionConfiguration(Model):
    """
    The values that the customer entered for the action.

    Each value is secret, unless a class for `cp_thirdparty.structure_configuration` declares it public.  The service
    sends secret values too as plain text, and does not mark them.

    Raises:
        TypeError: A value is not a string.
    """

    configuration: Mapping[str, SecretStr] = attrs.field(factory=dict, converter=_wrap_values)
    """Values by key.  Immutable."""


@attrs.frozen(kw_only=True, weakref_slot=False, repr=False)
class StageContext(Model):
    """The stage of the pipeline."""

    name: str | None = None
    """The name of the stage, or ``None``."""


@attrs.frozen(kw_only=True, weakref_slot=False, repr=False)
class ActionContext(Model):
    """The action within its stage."""

    name: str | None = None
    """The name of the action, or ``None``."""
    action_execution_id: str | None = None
    """The id of this run of the action, or ``None``."""


@attrs.frozen(kw_only=True, weakref_slot=False, repr=False)
class PipelineContext(Model):
    """The pipeline that the job belongs to."""

    pipeline_name: str | None = None
    """The name of the pipeline, unique in the customer's account, or ``None``."""
    stage: StageContext | None = None
    """The stage, or ``None``."""
    action: ActionContext | None = None
    """The action, or ``None``."""
    pipeline_arn: str | None = None
    """The ARN of the pipeline.  The service does not send it for third-party jobs."""
    pipeline_execution_id: str | None = None
    """The id of this run of the pipeline.  The service does not send it for third-party jobs."""

    @property
    def path(self) -> str:
        """
        ``"pipeline / stage / action"`` in one line.  A part without a name is left out.

        .. versionadded:: 0.2.0
        """
        names = (self.pipeline_name, self.stage and self.stage.name, self.action and self.action.name)
        return " / ".join(name for name in names if name)


@attrs.frozen(kw_only=True, weakref_slot=False, repr=False)
class JobData(Model):
    """The input of a job.  The service documents every part as optional."""

    action_type_id: ActionTypeId | None = None
    """The action type, or ``None``."""
    action_configuration: ActionConfiguration | None = None
    """The values that the customer entered, or ``None``."""
    pipeline_context: PipelineContext | None = None
    """The pipeline, stage and action of the job, or ``None``."""
    input_artifacts: tuple[Artifact, ...] = attrs.field(default=(), converter=_to_tuple)
    """The artifacts that the action reads; may be empty."""
    output_artifacts: tuple[Artifact, ...] = attrs.field(default=(), converter=_to_tuple)
    """The artifacts that the action must write; may be empty."""
    artifact_credentials: ArtifactCredentials | None = None
    """Credentials for the artifacts, or ``None``."""
    continuation_token: str | None = None
    """
    The partner's own string from an earlier job of this action; ``None`` for the first job.  It is shown unmasked,
    so it must not contain secrets.
    """
    encryption_key: EncryptionKey | None = None
    """The key to encrypt output artifacts with; ``None`` means the AWS managed key."""

    @property
    def configuration(self) -> Mapping[str, SecretStr]:
        """
        The values of `action_configuration` by key; empty without a configuration.

        .. versionadded:: 0.2.0
        """
        return _NO_CONFIGURATION if self.action_configuration is None else self.action_configuration.configuration

    @property
    def inputs(self) -> Mapping[str, Artifact]:
        """
        A mapping of names to input artifacts, in the order of `input_artifacts`.

        Artifacts without a name are left out.  Example: ``details.data.inputs["MyApp"]``.

        Each access creates a new mapping.  This takes only 1 to 4 µs, because an action has at most ten artifacts.

        .. versionadded:: 0.2.0
        """
        return ByName(self.input_artifacts)

    @property
    def outputs(self) -> Mapping[str, Artifact]:
        """
        A mapping of names to output artifacts, in the order of `output_artifacts`.

        Artifacts without a name are left out.  Each access creates a new mapping.

        .. versionadded:: 0.2.0
        """
        return ByName(self.output_artifacts)


@attrs.frozen(kw_only=True, weakref_slot=False, repr=False)
class JobDetails(WeaklyReferenced, Model):
    """The response of ``GetThirdPartyJobDetails``."""

    id: str
    """The id of the job."""
    data: JobData
    """Action type, configuration, pipeline, artifacts and credentials of the job."""
    nonce: str
    """A value for the acknowledgement, so that only one worker claims the job.  Not a secret."""


@attrs.frozen(kw_only=True, weakref_slot=False, repr=False)
class ThirdPartyJob(WeaklyReferenced, Model):
    """What a poll returns.  To pass a job to another process, send this object, which has no secret."""

    client_id: str
    """The id of the customer, with which the partner looks up the client token."""
    job_id: str
    """The id of the job."""


@attrs.frozen(kw_only=True, weakref_slot=False, repr=False)
class CustomJob(WeaklyReferenced, Model):
    """
    What a poll for jobs of a custom action returns.

    .. versionadded:: 0.2.0
    """

    id: str
    """The id of the job."""
    data: JobData
    """Action type, configuration, pipeline, artifacts and credentials of the job."""
    nonce: str
    """The same as `JobDetails.nonce`.  Only a poll returns it."""
    account_id: str | None = None
    """The AWS account of the pipeline, or ``None``."""

    @property
    def job_id(self) -> str:
        """The same as `id`, under the name that a `ThirdPartyJob` has."""
        return self.id

    @property
    def client_id(self) -> str:
        """The account id, in place of the client id of a `ThirdPartyJob`; empty without an account id."""
        return self.account_id or ""


@attrs.frozen(kw_only=True, weakref_slot=False, repr=False)
class CustomJobDetails(WeaklyReferenced, Model):
    """
    The response of ``GetJobDetails``.  It has no nonce.

    .. versionadded:: 0.2.0
    """

    id: str
    """The id of the job."""
    data: JobData
    """Action type, configuration, pipeline, artifacts and credentials of the job."""
    account_id: str | None = None
    """The AWS account of the pipeline, or ``None``."""


AnyJob: TypeAlias = ThirdPartyJob | CustomJob
"""What a poll returns, for both kinds of jobs."""

AnyJobDetails: TypeAlias = JobDetails | CustomJobDetails
"""The details of a job, for both kinds of jobs."""


@attrs.frozen(kw_only=True, weakref_slot=False, repr=False)
class LambdaJobEvent(WeaklyReferenced, Model):
    """
    The event with which CodePipeline invokes a Lambda function.

    ``cp_thirdparty.converter.structure(event, LambdaJobEvent)`` reads it.

    .. versionadded:: 0.2.0
    """

    id: str
    """The id of the job."""
    data: JobData
    """Action type, configuration, pipeline, artifacts and credentials of the job.  The data may be empty."""
    account_id: str | None = None
    """The AWS account of the pipeline, or ``None``."""
    credentials_expire_at: datetime | None = None
    """When the artifact credentials expire, or ``None`` if the event does not have this time."""


@attrs.frozen(kw_only=True, weakref_slot=False, repr=False)
class CurrentRevision(Model):
    """
    The revision that a successful job has produced.

    The client truncates strings that exceed their limit, and ends them with ``…``.  If `revision` or
    `change_identifier` is an empty string, the client does not send the revision, because the service would refuse the
    result.

    Raises:
        cp_thirdparty.exceptions.InvalidRequestError: A field has a wrong type.
    """

    revision: str = attrs.field(
        validator=verify(limits.check_string), metadata=limit(limits.check_text, limits.REVISION)
    )
    """The revision id, up to 1,500 characters."""
    change_identifier: str = attrs.field(
        validator=verify(limits.check_string), metadata=limit(limits.check_text, limits.CHANGE_IDENTIFIER)
    )
    """The id of the change, such as a commit id, up to 100 characters."""
    created: datetime | None = attrs.field(default=None, validator=verify(limits.check_aware_datetime))
    """When the revision was created, with a time zone; fractions of a second may be lost."""
    revision_summary: str | None = attrs.field(
        default=None, validator=verify(limits.check_string), metadata=limit(limits.check_text, limits.REVISION_SUMMARY)
    )
    """A description of the revision, up to 2,048 characters."""


@attrs.frozen(kw_only=True, weakref_slot=False, repr=False)
class ExecutionDetails(Model):
    """
    The progress that the customer's console shows.

    The client truncates strings that exceed their limit, and ends them with ``…``.  It leaves out empty strings.

    Raises:
        cp_thirdparty.exceptions.InvalidRequestError: A field has a wrong type.
    """

    summary: str | None = attrs.field(
        default=None, validator=verify(limits.check_string), metadata=limit(limits.check_text, limits.EXECUTION_SUMMARY)
    )
    """A description of the state, up to 2,048 characters."""
    external_execution_id: str | None = attrs.field(
        default=None,
        validator=verify(limits.check_string),
        metadata=limit(limits.check_text, limits.EXTERNAL_EXECUTION_ID),
    )
    """The partner's own id of the work, up to 1,500 characters; the console links it to the partner's page."""
    percent_complete: int | None = attrs.field(
        default=None, validator=verify(limits.check_int), metadata=limit(limits.check_int_range, 0, limits.MAX_PERCENT)
    )
    """0 to 100.  For a smaller or larger number, the client sends 0 or 100."""


@attrs.frozen(kw_only=True, weakref_slot=False, repr=False)
class FailureDetails(Model):
    """
    Why a job failed.

    The client truncates strings that exceed their limit, and ends them with ``…``.  It replaces an empty message,
    because the service would refuse it.

    Raises:
        cp_thirdparty.exceptions.InvalidRequestError: A field has a wrong type.
    """

    type: FailureType = attrs.field(converter=_to_failure_type, validator=verify(_failure_type_rule))
    """The kind of failure.  Its value, such as ``"JobFailed"``, is accepted too."""
    message: str = attrs.field(
        validator=verify(limits.check_string), metadata=limit(limits.check_text, limits.FAILURE_MESSAGE)
    )
    """The message for the customer, up to 5,000 characters.  It must not contain secrets."""
    external_execution_id: str | None = attrs.field(
        default=None,
        validator=verify(limits.check_string),
        metadata=limit(limits.check_text, limits.EXTERNAL_EXECUTION_ID),
    )
    """The partner's own id of the work, up to 1,500 characters."""
