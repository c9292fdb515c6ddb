"""
The models against botocore's installed service model, member by member.

A new botocore that adds a member, an error, a limit or a mark of secrecy to the operations fails here by name.
"""

from __future__ import annotations

import copy
import inspect
import types
import typing
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import attrs
import pytest
from botocore import xform_name
from botocore.loaders import Loader

from cp_thirdparty import enums, exceptions, models
from cp_thirdparty._base import limits
from cp_thirdparty._core.operations import CUSTOM, THIRD_PARTY
from cp_thirdparty._structuring.converter import make_converter
from cp_thirdparty.client import CustomJobClient, ThirdPartyJobClient
from cp_thirdparty.converter import structure
from cp_thirdparty.secrets import SecretStr

_OPERATIONS = {
    **dict.fromkeys(THIRD_PARTY.names, ThirdPartyJobClient),
    **dict.fromkeys(CUSTOM.names, CustomJobClient),
}

# Shapes whose class has another name.
_CLASS_NAMES = {
    "Job": "CustomJob",
    "JobDetails": "CustomJobDetails",
    "AWSSessionCredentials": "ArtifactCredentials",
    "S3ArtifactLocation": "S3Location",
    "ThirdPartyJobDetails": "JobDetails",
    "ThirdPartyJobData": "JobData",
}

# What `cp_thirdparty._core.operations` reads of each response.
_RESPONSES = {
    "PollForThirdPartyJobs": {"jobs"},
    "GetThirdPartyJobDetails": {"jobDetails"},
    "AcknowledgeThirdPartyJob": {"status"},
    "PollForJobs": {"jobs"},
    "GetJobDetails": {"jobDetails"},
    "AcknowledgeJob": {"status"},
}

# Members that the service may leave out and we require: without them a job can be neither read nor reported.
_REQUIRED_BY_US = {
    "ThirdPartyJobDetails.id",
    "ThirdPartyJobDetails.data",
    "ThirdPartyJobDetails.nonce",
    "ThirdPartyJob.client_id",
    "ThirdPartyJob.job_id",
    "Job.id",
    "Job.data",
    "Job.nonce",
    "JobDetails.id",
    "JobDetails.data",
}

# Members that the service's model requires and we do not: who needs all three checks that they are there.
_OPTIONAL_TO_US = {
    "AWSSessionCredentials.access_key_id",
    "AWSSessionCredentials.secret_access_key",
    "AWSSessionCredentials.session_token",
}

# Every field: must it never be shown?  A new field fails until someone has decided.
_IS_SECRET = {
    models.S3Location: {"bucket_name": False, "object_key": False},
    models.ArtifactLocation: {"type": False, "s3_location": False},
    models.Artifact: {"name": False, "revision": False, "location": False},
    models.ArtifactCredentials: {"access_key_id": True, "secret_access_key": True, "session_token": True},
    models.EncryptionKey: {"id": False, "type": False},
    models.ActionTypeId: {"category": False, "owner": False, "provider": False, "version": False},
    models.ActionConfiguration: {"configuration": True},
    models.StageContext: {"name": False},
    models.ActionContext: {"name": False, "action_execution_id": False},
    models.PipelineContext: {
        "pipeline_name": False,
        "stage": False,
        "action": False,
        "pipeline_arn": False,
        "pipeline_execution_id": False,
    },
    models.JobData: {
        "action_type_id": False,
        "action_configuration": False,
        "pipeline_context": False,
        "input_artifacts": False,
        "output_artifacts": False,
        "artifact_credentials": False,
        "continuation_token": False,
        "encryption_key": False,
    },
    models.JobDetails: {"id": False, "data": False, "nonce": False},
    models.CustomJob: {"id": False, "data": False, "nonce": False, "account_id": False},
    models.CustomJobDetails: {"id": False, "data": False, "account_id": False},
    models.LambdaJobEvent: {"id": False, "data": False, "account_id": False, "credentials_expire_at": False},
    models.ThirdPartyJob: {"client_id": False, "job_id": False},
    models.CurrentRevision: {
        "revision": False,
        "change_identifier": False,
        "created": False,
        "revision_summary": False,
    },
    models.ExecutionDetails: {"summary": False, "external_execution_id": False, "percent_complete": False},
    models.FailureDetails: {"type": False, "message": False, "external_execution_id": False},
}

# What we send: shape -> (least, most) that we check.
_SENT = {
    "ThirdPartyJobId": (1, limits.JOB_ID),
    "JobId": (None, None),  # the model has a pattern only; ours are the limits of the other kind of job
    "QueryParamMap": (0, 1),
    "ActionConfigurationKey": (1, limits.CONFIGURATION_KEY),
    "ActionConfigurationQueryableValue": (1, limits.QUERYABLE_VALUE),
    "OutputVariablesMap": (None, None),
    "OutputVariablesKey": (None, None),
    "OutputVariablesValue": (None, None),
    "ClientToken": (1, limits.CLIENT_TOKEN),
    "Nonce": (1, limits.NONCE),
    "ContinuationToken": (1, limits.CONTINUATION_TOKEN),
    "ActionProvider": (1, limits.ACTION_PROVIDER),
    "Version": (1, limits.ACTION_VERSION),
    "MaxBatchSize": (1, None),
    "Revision": (1, limits.REVISION),
    "RevisionChangeIdentifier": (1, limits.CHANGE_IDENTIFIER),
    "RevisionSummary": (1, limits.REVISION_SUMMARY),
    "ExecutionSummary": (1, limits.EXECUTION_SUMMARY),
    "ExecutionId": (1, limits.EXTERNAL_EXECUTION_ID),
    "Percentage": (0, limits.MAX_PERCENT),
    "Message": (1, limits.FAILURE_MESSAGE),
    "Time": (None, None),
}
_SENT_PATTERNS = {
    "ActionProvider": limits._NAME.pattern,
    "Version": limits._NAME.pattern,
    "ActionConfigurationQueryableValue": limits._QUERYABLE.pattern,
    "OutputVariablesKey": limits._VARIABLE.pattern,
    # The service may have ids of another form one day, and a worker sends what the service has sent.
    "JobId": "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
}


@pytest.fixture(scope="module")
def service() -> dict[str, Any]:
    """Give the service model of the installed botocore."""
    model: dict[str, Any] = Loader().load_service_model("codepipeline", "service-2")
    return model


def _problems(service: dict[str, Any]) -> list[str]:
    shapes: dict[str, Any] = service["shapes"]
    found: list[str] = []
    for name, client in _OPERATIONS.items():
        operation = service["operations"][name]
        if not hasattr(client, xform_name(name)):
            found.append(f"operation without a method: {name}")
        else:
            found += _parameter_problems(shapes[operation["input"]["shape"]], name)
        found += [
            f"error without a class: {error['shape']}"
            for error in operation["errors"]
            if not hasattr(exceptions, error["shape"])
        ]
        for member in shapes[operation["input"]["shape"]]["members"].values():
            found += _input_problems(shapes, member["shape"])
        if "output" in operation:
            members = shapes[operation["output"]["shape"]]["members"]
            found += [f"response that is not read: {name}.{member}" for member in members.keys() ^ _RESPONSES[name]]
            for member in members.values():
                found += _shape_problems(shapes, member["shape"])
    return sorted(set(found))


def _parameter_problems(shape: dict[str, Any], name: str) -> Iterator[str]:
    parameters = inspect.signature(getattr(_OPERATIONS[name], xform_name(name))).parameters.keys() - {"self"}
    members = {xform_name(member) for member in shape["members"]}
    yield from (f"member without a parameter: {name}.{member}" for member in members - parameters)
    yield from (f"parameter without a member: {name}.{parameter}" for parameter in parameters - members)


def _input_problems(shapes: dict[str, Any], name: str) -> Iterator[str]:
    shape = shapes[name]
    if shape["type"] == "structure":
        yield from _shape_problems(shapes, name)
        for member in shape["members"].values():
            yield from _input_problems(shapes, member["shape"])
        return
    if shape["type"] == "map":
        for part in ("key", "value"):
            yield from _input_problems(shapes, shape[part]["shape"])
    if "enum" not in shape:
        if _SENT.get(name) != (shape.get("min"), shape.get("max")):
            yield f"limits not checked before sending: {name}"
        if _SENT_PATTERNS.get(name) != shape.get("pattern"):
            yield f"pattern not checked before sending: {name}"


def _shape_problems(shapes: dict[str, Any], name: str) -> Iterator[str]:
    shape = shapes[name]
    if shape["type"] == "list":
        yield from _shape_problems(shapes, shape["member"]["shape"])
    elif "enum" in shape:
        ours = {member.value for member in getattr(enums, name)}
        yield from (f"enum value without a member: {name}.{value}" for value in set(shape["enum"]) - ours)
        yield from (f"member that the service does not know: {name}.{value}" for value in ours - set(shape["enum"]))
    elif shape["type"] == "structure":
        model = getattr(models, _CLASS_NAMES.get(name, name), None)
        if model is None:
            yield f"structure without a class: {name}"
            return
        yield from _member_problems(shapes, name, model)


def _member_problems(shapes: dict[str, Any], name: str, model: Any) -> Iterator[str]:
    fields = {field.name: field for field in attrs.fields(attrs.resolve_types(model))}
    members = {xform_name(member): rest["shape"] for member, rest in shapes[name]["members"].items()}
    yield from (f"member without a field: {name}.{member}" for member in members.keys() - fields.keys())
    yield from (f"field without a member: {name}.{field}" for field in fields.keys() - members.keys())
    for field in members.keys() & fields.keys():
        yield from _field_problems(shapes, name, members[field], fields[field])
        yield from _shape_problems(shapes, members[field])


def _field_problems(shapes: dict[str, Any], name: str, member: str, field: Any) -> Iterator[str]:
    place = f"{name}.{field.name}"
    types_of_field = _types_of(field.type)
    is_part = shapes[member]["type"] == "structure"  # its own members are asked for themselves
    is_sensitive = shapes[member].get("sensitive") or shapes[name].get("sensitive")
    if is_sensitive and not is_part and SecretStr not in types_of_field:
        yield f"sensitive member that is no secret: {place}"
    elif not {_type_of(shapes, member), SecretStr} & types_of_field:
        yield f"member of another type: {place}"
    is_required = field.name in map(xform_name, shapes[name].get("required", ())) or place in _REQUIRED_BY_US
    if (is_required and place not in _OPTIONAL_TO_US) is not (field.default is attrs.NOTHING):
        yield f"field that should {'' if is_required else 'not '}be required: {place}"


def _type_of(shapes: dict[str, Any], name: str) -> Any:
    """Return what a shape is in Python; of a list, what its items are."""
    shape = shapes[name]
    if shape["type"] == "list":
        return _type_of(shapes, shape["member"]["shape"])
    if "enum" in shape:
        return getattr(enums, name, None)
    if shape["type"] == "structure":
        return getattr(models, _CLASS_NAMES.get(name, name), None)
    return {"string": str, "integer": int, "timestamp": datetime, "map": SecretStr}.get(shape["type"])


def _types_of(annotation: Any) -> set[Any]:
    """Return the types of an annotation, those of its arguments included."""
    return {annotation}.union(*(_types_of(argument) for argument in typing.get_args(annotation)))


def test_each_member_has_its_counterpart(service: dict[str, Any]) -> None:
    """Operations, errors, structures, members, enums, secrets and limits all have a counterpart."""
    assert _problems(service) == []


def _plant(service: dict[str, Any], *path: str, value: Any) -> dict[str, Any]:
    planted = copy.deepcopy(service)
    place = planted
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return planted


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        (
            ("shapes", "Artifact", "members", "checksum"),
            {"shape": "Revision"},
            "member without a field: Artifact.checksum",
        ),
        (
            ("shapes", "S3ObjectKey", "sensitive"),
            True,
            "sensitive member that is no secret: S3ArtifactLocation.object_key",
        ),
        (
            ("shapes", "ArtifactList", "sensitive"),
            True,
            "sensitive member that is no secret: ThirdPartyJobData.input_artifacts",
        ),
        (
            ("shapes", "S3ArtifactLocation", "sensitive"),
            True,
            "sensitive member that is no secret: S3ArtifactLocation.bucket_name",
        ),
        (("shapes", "Percentage", "type"), "string", "member of another type: ExecutionDetails.percent_complete"),
        (("shapes", "EncryptionKey", "required"), ["id"], "field that should not be required: EncryptionKey.type"),
        (("shapes", "Artifact", "required"), ["name"], "field that should be required: Artifact.name"),
        (
            ("shapes", "PutThirdPartyJobSuccessResultInput", "members", "note"),
            {"shape": "Revision"},
            "member without a parameter: PutThirdPartyJobSuccessResult.note",
        ),
        (
            ("shapes", "GetThirdPartyJobDetailsInput", "members"),
            {"jobId": {"shape": "ThirdPartyJobId"}},
            "parameter without a member: GetThirdPartyJobDetails.client_token",
        ),
        (
            ("shapes", "PutJobSuccessResultInput", "members", "note"),
            {"shape": "Revision"},
            "member without a parameter: PutJobSuccessResult.note",
        ),
        (("shapes", "Job", "members", "note"), {"shape": "Revision"}, "member without a field: Job.note"),
        (("shapes", "QueryParamMap", "max"), 2, "limits not checked before sending: QueryParamMap"),
        (
            ("shapes", "OutputVariablesKey", "pattern"),
            "[a-z]+",
            "pattern not checked before sending: OutputVariablesKey",
        ),
        (
            ("operations", "PutJobSuccessResult", "errors"),
            [{"shape": "TooLateException"}],
            "error without a class: TooLateException",
        ),
        (
            ("shapes", "PollForThirdPartyJobsOutput", "members", "nextToken"),
            {"shape": "Revision"},
            "response that is not read: PollForThirdPartyJobs.nextToken",
        ),
        (("shapes", "ClientToken", "max"), 512, "limits not checked before sending: ClientToken"),
        (("shapes", "Version", "pattern"), "[0-9]+", "pattern not checked before sending: Version"),
        (("shapes", "JobStatus", "enum"), ["InProgress", "Paused"], "enum value without a member: JobStatus.Paused"),
        (
            ("operations", "AcknowledgeThirdPartyJob", "errors"),
            [{"shape": "TooLateException"}],
            "error without a class: TooLateException",
        ),
        (
            ("shapes", "ThirdPartyJobData", "members", "encryptionKey"),
            {"shape": "CurrentRevisionMap"},
            "structure without a class: CurrentRevisionMap",
        ),
    ],
)
def test_a_change_of_the_service_is_found(
    service: dict[str, Any], path: tuple[str, ...], value: Any, expected: str
) -> None:
    """The walk is not blind: it names what a changed service model has and we have not."""
    planted = _plant(service, *path, value=value)
    planted["shapes"]["CurrentRevisionMap"] = {"type": "structure", "members": {}}
    assert expected in _problems(planted)


def test_every_field_is_public_or_secret_and_typed_so() -> None:
    """Each field of each model is classified, and exactly the secret ones hold SecretStr."""
    classes = [getattr(models, name) for name in models.__all__]
    assert {model: {field.name for field in attrs.fields(model)} for model in classes} == {
        model: set(fields) for model, fields in _IS_SECRET.items()
    }
    for model, fields in _IS_SECRET.items():
        hints = typing.get_type_hints(model)
        assert {name: SecretStr in _types_of(hints[name]) for name in fields} == fields


def test_models_are_frozen_slotted_and_keyword_only() -> None:
    """All models are made alike."""
    for name in models.__all__:
        model = getattr(models, name)
        assert not hasattr(model, "__dict__") or isinstance(model.__dict__, types.MappingProxyType)
        assert all(field.kw_only for field in attrs.fields(model))
        assert "__dict__" not in model.__slots__


@pytest.mark.parametrize("value", ["InProgress", "Odd"])
@pytest.mark.parametrize("detailed", [False, True])
@pytest.mark.parametrize("name", sorted(set(enums.__all__) - {"Delivery", "FailureType"}))
def test_responses_hold_members_of_the_enumerations(name: str, value: str, *, detailed: bool) -> None:
    """A value of a response becomes a member of its enumeration, known or not, and no plain text."""
    enum = getattr(enums, name)
    assert type(make_converter(detailed=detailed).structure(value, enum)) is enum


@pytest.mark.parametrize("document", [{}, {"configuration": None}, {"configuration": {}}], ids=str)
def test_an_absent_configuration_is_an_empty_one(document: dict[str, Any]) -> None:
    """A response without entries gives the same immutable, hashable model as the constructor does."""
    expected = models.ActionConfiguration()
    actual = structure(document, models.ActionConfiguration)
    assert actual == expected
    assert hash(actual) == hash(expected)
    assert type(actual.configuration) is type(expected.configuration)
