"""
Hypothesis strategies for every model, for property tests of your own code.

This module needs the extra ``testing``.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any, TypeVar, cast

from cp_thirdparty._base.lazy import missing_extra

try:
    from hypothesis import strategies as st
    from hypothesis.strategies import SearchStrategy
except ModuleNotFoundError:
    raise missing_extra("hypothesis") from None

from cp_thirdparty import models
from cp_thirdparty.enums import ActionCategory, ActionOwner, ArtifactLocationType, EncryptionKeyType, FailureType

__all__ = ["instances"]

_T = TypeVar("_T")

# Any string that can be encoded.  Strings are short, so that tests are fast.
_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_non_empty_text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


def _optional(strategy: SearchStrategy[_T]) -> SearchStrategy[_T | None]:
    return st.none() | strategy


def _any_member(enum: Any) -> SearchStrategy[Any]:
    """Return a strategy for known and unknown members of an enumeration."""
    return st.sampled_from(enum) | _text.map(enum)


# The fields are listed here.  If their types were read when this module is imported, for example by a pytest plugin
# while freezegun has replaced `datetime`, the models would keep the replaced type.
def _create_strategies() -> dict[type[Any], SearchStrategy[Any]]:
    s3_location = st.builds(models.S3Location, bucket_name=_text, object_key=_text)
    location = st.builds(
        models.ArtifactLocation, type=_optional(_any_member(ArtifactLocationType)), s3_location=_optional(s3_location)
    )
    artifact = st.builds(
        models.Artifact, name=_optional(_text), revision=_optional(_text), location=_optional(location)
    )
    credentials = st.builds(
        models.ArtifactCredentials,
        access_key_id=_optional(_text),
        secret_access_key=_optional(_text),
        session_token=_optional(_text),
    )
    key = st.builds(models.EncryptionKey, id=_text, type=_any_member(EncryptionKeyType))
    action_type = st.builds(
        models.ActionTypeId,
        category=_any_member(ActionCategory),
        owner=_any_member(ActionOwner),
        provider=_text,
        version=_text,
    )
    configuration = st.builds(models.ActionConfiguration, configuration=st.dictionaries(_text, _text, max_size=5))
    stage = st.builds(models.StageContext, name=_optional(_text))
    action = st.builds(models.ActionContext, name=_optional(_text), action_execution_id=_optional(_text))
    pipeline = st.builds(
        models.PipelineContext,
        pipeline_name=_optional(_text),
        stage=_optional(stage),
        action=_optional(action),
        pipeline_arn=_optional(_text),
        pipeline_execution_id=_optional(_text),
    )
    data = st.builds(
        models.JobData,
        action_type_id=_optional(action_type),
        action_configuration=_optional(configuration),
        pipeline_context=_optional(pipeline),
        input_artifacts=st.lists(artifact, max_size=3),
        output_artifacts=st.lists(artifact, max_size=3),
        artifact_credentials=_optional(credentials),
        continuation_token=_optional(_text),
        encryption_key=_optional(key),
    )
    zones = st.timedeltas(timedelta(hours=-12), timedelta(hours=12)).map(timezone)
    times = st.datetimes(datetime(2, 1, 1), datetime(9998, 12, 31), timezones=zones)  # noqa: DTZ001 - the strategy adds the zone
    revision = st.builds(
        models.CurrentRevision,
        revision=_non_empty_text,
        change_identifier=_non_empty_text,
        created=_optional(times),
        revision_summary=_optional(_non_empty_text),
    )
    execution = st.builds(
        models.ExecutionDetails,
        summary=_optional(_non_empty_text),
        external_execution_id=_optional(_non_empty_text),
        percent_complete=_optional(st.integers(0, 100)),
    )
    failure = st.builds(
        models.FailureDetails,
        type=st.sampled_from(FailureType),
        message=_non_empty_text,
        external_execution_id=_optional(_non_empty_text),
    )
    return {
        models.S3Location: s3_location,
        models.ArtifactLocation: location,
        models.Artifact: artifact,
        models.ArtifactCredentials: credentials,
        models.EncryptionKey: key,
        models.ActionTypeId: action_type,
        models.ActionConfiguration: configuration,
        models.StageContext: stage,
        models.ActionContext: action,
        models.PipelineContext: pipeline,
        models.JobData: data,
        models.JobDetails: st.builds(models.JobDetails, id=_text, data=data, nonce=_text),
        models.CustomJob: st.builds(models.CustomJob, id=_text, data=data, nonce=_text, account_id=_optional(_text)),
        models.CustomJobDetails: st.builds(models.CustomJobDetails, id=_text, data=data, account_id=_optional(_text)),
        models.LambdaJobEvent: st.builds(
            models.LambdaJobEvent,
            id=_text,
            data=data,
            account_id=_optional(_text),
            credentials_expire_at=_optional(times),
        ),
        models.ThirdPartyJob: st.builds(models.ThirdPartyJob, client_id=_text, job_id=_text),
        models.CurrentRevision: revision,
        models.ExecutionDetails: execution,
        models.FailureDetails: failure,
    }


# Every class of `cp_thirdparty.models`, with the strategy for it.
MODELS: dict[type[Any], SearchStrategy[Any]] = _create_strategies()


def instances(model: type[_T]) -> SearchStrategy[_T]:
    """
    Return a strategy for valid instances of a model, with unknown members of enumerations and any strings.

    Args:
        model: A class of `cp_thirdparty.models`.

    Raises:
        TypeError: ``model`` is not a class of `cp_thirdparty.models`.
    """
    if model not in MODELS:
        raise TypeError("model: must be a class of cp_thirdparty.models")
    return cast("SearchStrategy[_T]", MODELS[model])
