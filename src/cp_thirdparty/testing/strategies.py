"""
Hypothesis strategies: `instances` of every model, for property tests of a partner's own code.

They need the extra ``testing``.
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
from cp_thirdparty.enums import (
    ActionCategory,
    ActionOwner,
    ArtifactLocationType,
    EncryptionKeyType,
    FailureType,
)

__all__ = ["instances"]

_T = TypeVar("_T")

# Any text that can be encoded; long enough to differ, short enough to be quick.
_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_some_text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


def _or_none(strategy: SearchStrategy[_T]) -> SearchStrategy[_T | None]:
    return st.none() | strategy


def _open(enum: Any) -> SearchStrategy[Any]:
    """Return a strategy for known and unknown members."""
    return st.sampled_from(enum) | _text.map(enum)


def _models() -> dict[type[Any], SearchStrategy[Any]]:
    s3_location = st.builds(models.S3Location, bucket_name=_text, object_key=_text)
    location = st.builds(
        models.ArtifactLocation, type=_or_none(_open(ArtifactLocationType)), s3_location=_or_none(s3_location)
    )
    artifact = st.builds(models.Artifact, name=_or_none(_text), revision=_or_none(_text), location=_or_none(location))
    credentials = st.builds(
        models.ArtifactCredentials,
        access_key_id=_or_none(_text),
        secret_access_key=_or_none(_text),
        session_token=_or_none(_text),
    )
    key = st.builds(models.EncryptionKey, id=_text, type=_open(EncryptionKeyType))
    action_type = st.builds(
        models.ActionTypeId, category=_open(ActionCategory), owner=_open(ActionOwner), provider=_text, version=_text
    )
    configuration = st.builds(models.ActionConfiguration, configuration=st.dictionaries(_text, _text, max_size=5))
    stage = st.builds(models.StageContext, name=_or_none(_text))
    action = st.builds(models.ActionContext, name=_or_none(_text), action_execution_id=_or_none(_text))
    pipeline = st.builds(
        models.PipelineContext,
        pipeline_name=_or_none(_text),
        stage=_or_none(stage),
        action=_or_none(action),
        pipeline_arn=_or_none(_text),
        pipeline_execution_id=_or_none(_text),
    )
    data = st.builds(
        models.JobData,
        action_type_id=_or_none(action_type),
        action_configuration=_or_none(configuration),
        pipeline_context=_or_none(pipeline),
        input_artifacts=st.lists(artifact, max_size=3),
        output_artifacts=st.lists(artifact, max_size=3),
        artifact_credentials=_or_none(credentials),
        continuation_token=_or_none(_text),
        encryption_key=_or_none(key),
    )
    zones = st.timedeltas(timedelta(hours=-12), timedelta(hours=12)).map(timezone)
    times = st.datetimes(datetime(2, 1, 1), datetime(9998, 12, 31), timezones=zones)  # noqa: DTZ001 - the strategy adds the zone
    revision = st.builds(
        models.CurrentRevision,
        revision=_some_text,
        change_identifier=_some_text,
        created=_or_none(times),
        revision_summary=_or_none(_some_text),
    )
    execution = st.builds(
        models.ExecutionDetails,
        summary=_or_none(_some_text),
        external_execution_id=_or_none(_some_text),
        percent_complete=_or_none(st.integers(0, 100)),
    )
    failure = st.builds(
        models.FailureDetails,
        type=st.sampled_from(FailureType),
        message=_some_text,
        external_execution_id=_or_none(_some_text),
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
        models.CustomJob: st.builds(models.CustomJob, id=_text, data=data, nonce=_text, account_id=_or_none(_text)),
        models.CustomJobDetails: st.builds(models.CustomJobDetails, id=_text, data=data, account_id=_or_none(_text)),
        models.LambdaJobEvent: st.builds(
            models.LambdaJobEvent,
            id=_text,
            data=data,
            account_id=_or_none(_text),
            credentials_expire_at=_or_none(times),
        ),
        models.ThirdPartyJob: st.builds(models.ThirdPartyJob, client_id=_text, job_id=_text),
        models.CurrentRevision: revision,
        models.ExecutionDetails: execution,
        models.FailureDetails: failure,
    }


# Every class of `cp_thirdparty.models`, with the strategy for it.
MODELS: dict[type[Any], SearchStrategy[Any]] = _models()


def instances(model: type[_T]) -> SearchStrategy[_T]:
    """
    Return a strategy for valid instances of a model, with unknown members of enumerations and any text.

    Args:
        model: A class of `cp_thirdparty.models`.

    Raises:
        TypeError: It is not a class of `cp_thirdparty.models`.
    """
    if model not in MODELS:
        raise TypeError("instances() takes a class of cp_thirdparty.models")
    return cast("SearchStrategy[_T]", MODELS[model])
