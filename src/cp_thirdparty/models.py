"""
The shapes of the five operations: frozen, typed, redacted.

They mirror the ``jobDetails`` tree of the service; a field is the snake_case of its member.  What the service sends has
no limits here, because the service has outgrown its own model before.  What we send (`CurrentRevision`,
`ExecutionDetails`, `FailureDetails`) is checked when it is made.

Models know nothing of JSON: `cp_thirdparty.converter` reads and writes them.  All are immutable, hashable and safe to
share between threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, TypeVar

import attrs

from cp_thirdparty import _limits
from cp_thirdparty._frames import hide_init_arguments
from cp_thirdparty._text import show_repr
from cp_thirdparty.enums import (
    ActionCategory,
    ActionOwner,
    ArtifactLocationType,
    EncryptionKeyType,
    FailureType,
)
from cp_thirdparty.exceptions import InvalidRequestError
from cp_thirdparty.secrets import SecretMapping, SecretStr

__all__ = [
    "ActionConfiguration",
    "ActionContext",
    "ActionTypeId",
    "Artifact",
    "ArtifactCredentials",
    "ArtifactLocation",
    "CurrentRevision",
    "EncryptionKey",
    "ExecutionDetails",
    "FailureDetails",
    "JobData",
    "JobDetails",
    "PipelineContext",
    "S3Location",
    "StageContext",
    "ThirdPartyJob",
]

_T = TypeVar("_T")


def _wrapped(value: str | SecretStr | None) -> SecretStr | None:
    return None if value is None else SecretStr.wrap(value)


def _wrapped_values(value: Mapping[str, str | SecretStr]) -> Mapping[str, SecretStr]:
    return value if isinstance(value, SecretMapping) else SecretMapping(value)


def _category(value: ActionCategory | str) -> ActionCategory:
    return _member(ActionCategory, value, "category")


def _owner(value: ActionOwner | str) -> ActionOwner:
    return _member(ActionOwner, value, "owner")


def _location_type(value: ArtifactLocationType | str | None) -> ArtifactLocationType | None:
    return None if value is None else _member(ArtifactLocationType, value, "type")


def _key_type(value: EncryptionKeyType | str) -> EncryptionKeyType:
    return _member(EncryptionKeyType, value, "type")


_OpenEnumT = TypeVar("_OpenEnumT", ActionCategory, ActionOwner, ArtifactLocationType, EncryptionKeyType)


def _member(enum: type[_OpenEnumT], value: object, field: str) -> _OpenEnumT:
    if isinstance(value, enum):
        return value
    if isinstance(value, str):
        return enum(value)
    raise InvalidRequestError(field, f"must be an {enum.__name__} or a str")


def _artifacts(value: Iterable[Artifact]) -> tuple[Artifact, ...]:
    return tuple(value)


def _checked(check: Callable[[object], str | None]) -> Callable[[Any, attrs.Attribute[_T], _T], None]:
    """Make an attrs validator of a check of `_limits`; it lets an optional field be ``None``."""

    def validate(_instance: object, field: attrs.Attribute[_T], value: _T) -> None:
        if value is None and field.default is None:
            return
        broken = check(value)
        if broken is not None:
            raise InvalidRequestError(field.name, broken)

    return validate


def _limit(check: Callable[..., str | None], *limits: int) -> dict[str, Callable[[object], str | None]]:
    """Create the metadata of a field with a limit, which is checked in what a person wrote; see `_input`."""
    return {"limit": lambda value: check(value, *limits)}


def _failure_type(value: object) -> str | None:
    return None if isinstance(value, FailureType) else "must be a FailureType"


def _shown(model: type[_T]) -> type[_T]:
    """Let a model show itself in Jupyter and in rich: no base class, which drafts that answers are read into lack."""
    for name, show in (("__repr__", _repr), ("_repr_html_", _html), ("__rich__", _rich_tree)):
        setattr(model, name, show)
    return model


def _repr(model: Any) -> str:
    """Return what attrs would, with each string truncated: a peer may send one of 20 MiB."""
    values = ((field.name, getattr(model, field.name, attrs.NOTHING)) for field in attrs.fields(type(model)))
    parts = (f"{name}={show_repr(value) if type(value) is str else repr(value)}" for name, value in values)
    return f"{type(model).__name__}({', '.join(parts)})"


def _html(model: object) -> str:
    from cp_thirdparty._display import html  # noqa: PLC0415 - workers never need it

    return html(model)


def _rich_tree(model: object) -> object:
    from cp_thirdparty._display import rich_tree  # noqa: PLC0415 - likewise

    return rich_tree(model)


@_shown
@attrs.frozen(kw_only=True, weakref_slot=False)
class S3Location:
    """
    Where an object lies in S3.

    Attributes:
        bucket_name: The bucket, named by the pipeline's owner: a stranger.

        object_key: The key of the object.  Never use it as a local path.
    """

    bucket_name: str
    object_key: str


@_shown
@attrs.frozen(kw_only=True, weakref_slot=False)
class ArtifactLocation:
    """
    Where an artifact lies.

    Attributes:
        type: The kind of store, or ``None``.  It may be given as text.

        s3_location: The place in S3, or ``None``.

    Raises:
        cp_thirdparty.exceptions.InvalidRequestError: The type is no text.
    """

    type: ArtifactLocationType | None = attrs.field(default=None, converter=_location_type)
    s3_location: S3Location | None = None


@_shown
@attrs.frozen(kw_only=True, weakref_slot=False)
class Artifact:
    """
    Files that an action takes or makes, most often one ZIP archive.

    Attributes:
        name: The name that the pipeline gives it, or ``None``.

        revision: A commit id, an S3 version or the like, or ``None``.

        location: Where it lies, or ``None``.
    """

    name: str | None = None
    revision: str | None = None
    location: ArtifactLocation | None = None


@_shown
@hide_init_arguments
@attrs.frozen(kw_only=True, weakref_slot=False)
class ArtifactCredentials:
    """
    Temporary AWS credentials for the job's artifacts.  They live 15 minutes; reading the details again renews them.

    The service tells no expiry; the 15 minutes were seen in AWS's own Jenkins plug-in.

    Attributes:
        access_key_id: The access key, or ``None``.

        secret_access_key: The secret key, or ``None``.

        session_token: The session token, or ``None``.

    Raises:
        TypeError: A value is not a text.
    """

    access_key_id: SecretStr | None = attrs.field(default=None, converter=_wrapped)
    secret_access_key: SecretStr | None = attrs.field(default=None, converter=_wrapped)
    session_token: SecretStr | None = attrs.field(default=None, converter=_wrapped)


@_shown
@attrs.frozen(kw_only=True, weakref_slot=False)
class EncryptionKey:
    """
    The key that encrypts the pipeline's artifacts.

    Attributes:
        id: A key id, a key ARN or an alias ARN.  An alias is known only in the account that made the key.

        type: The kind of key.  It may be given as text.

    Raises:
        cp_thirdparty.exceptions.InvalidRequestError: The type is no text.
    """

    id: str
    type: EncryptionKeyType = attrs.field(converter=_key_type)


@_shown
@attrs.frozen(kw_only=True, weakref_slot=False)
class ActionTypeId:
    """
    The four parts that name an action type.  ``category`` and ``owner`` take a plain text too.

    Attributes:
        category: What kind of action it is.

        owner: Who made it: ``ThirdParty`` for a partner's action.

        provider: The partner's name of the action.

        version: The version, a text such as ``"1"``.

    Raises:
        cp_thirdparty.exceptions.InvalidRequestError: The category or the owner is no text.
    """

    category: ActionCategory = attrs.field(converter=_category)
    owner: ActionOwner = attrs.field(converter=_owner)
    provider: str
    version: str


@_shown
@hide_init_arguments
@attrs.frozen(kw_only=True, weakref_slot=False)
class ActionConfiguration:
    """
    What the customer entered for the action.

    Every value is secret until `cp_thirdparty.structure_configuration` says otherwise: the service sends protected
    values in clear and never tells which they are.

    Attributes:
        configuration: Values by key.  Immutable.

    Raises:
        TypeError: A value is not a text.
    """

    configuration: Mapping[str, SecretStr] = attrs.field(factory=dict, converter=_wrapped_values)


@_shown
@attrs.frozen(kw_only=True, weakref_slot=False)
class StageContext:
    """
    The stage of the pipeline.

    Attributes:
        name: Its name, or ``None``.
    """

    name: str | None = None


@_shown
@attrs.frozen(kw_only=True, weakref_slot=False)
class ActionContext:
    """
    The action within its stage.

    Attributes:
        name: Its name, or ``None``.

        action_execution_id: The id of this run of the action, or ``None``.
    """

    name: str | None = None
    action_execution_id: str | None = None


@_shown
@attrs.frozen(kw_only=True, weakref_slot=False)
class PipelineContext:
    """
    The pipeline that the job belongs to.

    Attributes:
        pipeline_name: Its name, unique in the customer's account, or ``None``.

        stage: The stage, or ``None``.

        action: The action, or ``None``.

        pipeline_arn: Never sent for third-party jobs.

        pipeline_execution_id: Never sent for third-party jobs.
    """

    pipeline_name: str | None = None
    stage: StageContext | None = None
    action: ActionContext | None = None
    pipeline_arn: str | None = None
    pipeline_execution_id: str | None = None


@_shown
@attrs.frozen(kw_only=True, weakref_slot=False)
class JobData:
    """
    What a job is about.  The service documents every part as optional.

    Attributes:
        action_type_id: The action type, or ``None``.

        action_configuration: What the customer entered, or ``None``.

        pipeline_context: Where the job comes from, or ``None``.

        input_artifacts: What the action takes; may be empty.

        output_artifacts: What the action must make; may be empty.

        artifact_credentials: Credentials for the artifacts, or ``None``.

        continuation_token: The partner's own text from an earlier job of this action, or ``None`` for the first.
            It is shown in clear: keep secrets out of it.

        encryption_key: The key to encrypt output artifacts with; ``None`` means the AWS managed key.
    """

    action_type_id: ActionTypeId | None = None
    action_configuration: ActionConfiguration | None = None
    pipeline_context: PipelineContext | None = None
    input_artifacts: tuple[Artifact, ...] = attrs.field(default=(), converter=_artifacts)
    output_artifacts: tuple[Artifact, ...] = attrs.field(default=(), converter=_artifacts)
    artifact_credentials: ArtifactCredentials | None = None
    continuation_token: str | None = None
    encryption_key: EncryptionKey | None = None


@_shown
@attrs.frozen(kw_only=True, weakref_slot=False)
class JobDetails:
    """
    The answer to ``GetThirdPartyJobDetails``.

    Attributes:
        id: The id of the job.

        data: What the job is about.

        nonce: A fence number for the acknowledgement: it lets one worker have the job.  Not a secret.
    """

    id: str
    data: JobData
    nonce: str


@_shown
@attrs.frozen(kw_only=True, weakref_slot=False)
class ThirdPartyJob:
    """
    What a poll returns.  It holds no secret, so it is what travels between processes.

    Attributes:
        client_id: Names the customer to the partner, who looks up the client token by it.

        job_id: The id of the job.
    """

    client_id: str
    job_id: str


@_shown
@attrs.frozen(kw_only=True, weakref_slot=False)
class CurrentRevision:
    """
    The revision that a successful job has produced.

    The client truncates longer strings when it sends them, the last character is then ``…``.  A revision without
    `revision` or `change_identifier` is not sent, because the service would refuse the result.

    Attributes:
        revision: The revision id, up to 1,500 characters.

        change_identifier: What changed, up to 100 characters.

        created: When the revision was made, with a time zone; fractions of a second may get lost.

        revision_summary: A description of it, up to 2,048 characters.

    Raises:
        cp_thirdparty.exceptions.InvalidRequestError: A field has a wrong type.
    """

    revision: str = attrs.field(validator=_checked(_limits.string), metadata=_limit(_limits.text, _limits.REVISION))
    change_identifier: str = attrs.field(
        validator=_checked(_limits.string), metadata=_limit(_limits.text, _limits.CHANGE_IDENTIFIER)
    )
    created: datetime | None = attrs.field(default=None, validator=_checked(_limits.aware_datetime))
    revision_summary: str | None = attrs.field(
        default=None, validator=_checked(_limits.string), metadata=_limit(_limits.text, _limits.REVISION_SUMMARY)
    )


@_shown
@attrs.frozen(kw_only=True, weakref_slot=False)
class ExecutionDetails:
    """
    What the customer's console shows of the work.

    The client truncates longer strings when it sends them, the last character is then ``…``.  It leaves out empty ones.

    Attributes:
        summary: A description of the state, up to 2,048 characters.

        external_execution_id: The partner's own id of the work, up to 1,500 characters; links to its page.

        percent_complete: 0 to 100.  The client sends a number outside of this range as the nearest end of it.

    Raises:
        cp_thirdparty.exceptions.InvalidRequestError: A field has a wrong type.
    """

    summary: str | None = attrs.field(
        default=None, validator=_checked(_limits.string), metadata=_limit(_limits.text, _limits.EXECUTION_SUMMARY)
    )
    external_execution_id: str | None = attrs.field(
        default=None, validator=_checked(_limits.string), metadata=_limit(_limits.text, _limits.EXTERNAL_EXECUTION_ID)
    )
    percent_complete: int | None = attrs.field(
        default=None, validator=_checked(_limits.integer), metadata=_limit(_limits.whole_number, 0, _limits.MAX_PERCENT)
    )


@_shown
@attrs.frozen(kw_only=True, weakref_slot=False)
class FailureDetails:
    """
    Why a job failed.

    The client truncates longer strings when it sends them, the last character is then ``…``.  It replaces an empty
    message, because the service would refuse it.

    Attributes:
        type: The kind of failure.

        message: What the customer reads, up to 5,000 characters.  Keep secrets out of it.

        external_execution_id: The partner's own id of the work, up to 1,500 characters.

    Raises:
        cp_thirdparty.exceptions.InvalidRequestError: A field has a wrong type.
    """

    type: FailureType = attrs.field(validator=_checked(_failure_type))
    message: str = attrs.field(
        validator=_checked(_limits.string), metadata=_limit(_limits.text, _limits.FAILURE_MESSAGE)
    )
    external_execution_id: str | None = attrs.field(
        default=None, validator=_checked(_limits.string), metadata=_limit(_limits.text, _limits.EXTERNAL_EXECUTION_ID)
    )
