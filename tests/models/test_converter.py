"""`structure` and `unstructure`: documents to models and back, and the problems of a wrong document."""

from __future__ import annotations

import contextlib
import copy
import json
import traceback
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone, tzinfo
from pathlib import Path
from types import FrameType
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.json_strategies import JSON_VALUES

import cp_thirdparty
from cp_thirdparty import (
    ActionConfiguration,
    ActionTypeId,
    Artifact,
    ArtifactCredentials,
    ArtifactLocation,
    CurrentRevision,
    EncryptionKey,
    ExecutionDetails,
    FailureDetails,
    FailureType,
    JobData,
    JobDetails,
    PipelineContext,
    S3Location,
    SecretStr,
    ThirdPartyJob,
)
from cp_thirdparty._structuring.converter import make_converter
from cp_thirdparty.converter import structure, unstructure
from cp_thirdparty.exceptions import ResponseDecodeError
from cp_thirdparty.testing.strategies import MODELS

_PACKAGE = str(Path(cp_thirdparty.__file__).parent)
_MARKER = "xMARKERx"
_MASK = "**********"
_SURROGATE = "\ud800"

_any_class: st.SearchStrategy[Any] = st.sampled_from(list(MODELS))


def _read_details() -> Any:
    return json.loads((Path(__file__).parents[1] / "data" / "job_details.json").read_text())


@pytest.fixture
def response() -> Any:
    """Give a saved response of the AWS CLI, with every member that the service sends."""
    return _read_details()


def _job(**data: Any) -> dict[str, Any]:
    return {"id": "job-1", "data": data, "nonce": "1"}


def _catch_refusal(document: Any, model: type[Any]) -> ResponseDecodeError:
    with pytest.raises(ResponseDecodeError) as caught:
        structure(document, model)
    return caught.value


def _problems(document: Any, model: type[Any]) -> tuple[str, ...]:
    return _catch_refusal(document, model).problems


# --- documents that fit ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [JobDetails, ThirdPartyJob])
def test_a_good_document_is_read_once(model: type[Any]) -> None:
    """The second reading, which explains faults, takes four times as long, and must not be necessary."""
    document = _read_details()["jobDetails"] if model is JobDetails else {"clientId": "c", "jobId": "j"}
    assert make_converter(detailed=False).structure(document, model) == structure(document, model)


@pytest.mark.parametrize("has_envelope", [True, False])
def test_reads_the_saved_response(response: Any, *, has_envelope: bool) -> None:
    """The response of the AWS CLI is read completely, with the envelope around it and without."""
    details = structure(response if has_envelope else response["jobDetails"], JobDetails)
    data = details.data
    inputs = [(item.name, item.revision, item.location and item.location.type) for item in data.input_artifacts]
    assert (details.id, details.nonce) == ("11111111-2222-4333-8444-555555555555", "3")
    assert ActionTypeId(category="Test", owner="ThirdParty", provider="ExampleScan", version="1") == data.action_type_id
    assert data.action_configuration is not None
    assert SecretStr("example-api-key-0001") == data.action_configuration.configuration["ApiKey"]
    assert data.pipeline_context is not None
    assert data.pipeline_context.action is not None
    assert data.pipeline_context.action.action_execution_id == "66666666-7777-4888-9999-000000000000"
    assert inputs == [
        ("MyApp", "3f2a9c1d5e7b8a6c4d2e1f0a9b8c7d6e5f4a3b2c", "S3"),
        ("MyConfig", "c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00", "S3"),
    ]
    assert data.output_artifacts[0].name == "Report"
    assert data.artifact_credentials is not None
    assert SecretStr("ASIAEXAMPLE000000001") == data.artifact_credentials.access_key_id
    assert data.continuation_token == "run-0001"
    assert data.encryption_key is not None
    assert data.encryption_key.type == "KMS"


def test_writes_the_saved_response_as_it_was(response: Any) -> None:
    """Nothing of the response is lost: what is written with its secrets is what was read."""
    assert response["jobDetails"] == unstructure(structure(response, JobDetails), secrets="reveal")


def test_only_the_envelope_of_job_details_is_opened() -> None:
    """An envelope belongs to `JobDetails` and to no other class."""
    assert JobData() == structure({"jobDetails": {"continuationToken": "t"}}, JobData)


_KMS = cp_thirdparty.EncryptionKeyType.KMS

# Class, document, the model that it is.
_GOOD: dict[str, tuple[Any, Any, Any]] = {
    "only the required members": (JobDetails, _job(), JobDetails(id="job-1", data=JobData(), nonce="1")),
    "empty texts": (JobDetails, {"id": "", "data": {}, "nonce": ""}, JobDetails(id="", data=JobData(), nonce="")),
    "unknown member": (EncryptionKey, {"id": "k", "type": "KMS", "x": [1]}, EncryptionKey(id="k", type=_KMS)),
    "unknown members for absent ones": (Artifact, {"name": "MyApp", "x": 1, "y": 2}, Artifact(name="MyApp")),
    "unknown member within": (JobDetails, _job(new={"a": None}), JobDetails(id="job-1", data=JobData(), nonce="1")),
    "field name is no member name": (PipelineContext, {"pipeline_name": 5}, PipelineContext()),
    "null for optional text": (JobData, {"continuationToken": None}, JobData()),
    "null for optional object": (JobData, {"encryptionKey": None, "actionTypeId": None}, JobData()),
    "null for optional secret": (ArtifactCredentials, {"sessionToken": None}, ArtifactCredentials()),
    "null for optional enum": (ArtifactLocation, {"type": None}, ArtifactLocation()),
    "null for optional number": (ExecutionDetails, {"percentComplete": None}, ExecutionDetails()),
    "null list": (JobData, {"inputArtifacts": None, "outputArtifacts": None}, JobData()),
    "empty list": (JobData, {"inputArtifacts": []}, JobData()),
    "empty object in a list": (JobData, {"inputArtifacts": [{}]}, JobData(input_artifacts=(Artifact(),))),
    "no configuration": (ActionConfiguration, {}, ActionConfiguration()),
    "null for the configuration": (ActionConfiguration, {"configuration": None}, ActionConfiguration()),
    "empty configuration": (ActionConfiguration, {"configuration": {}}, ActionConfiguration()),
    "texts beyond ASCII": (
        ActionConfiguration,
        {"configuration": {"Gr\u00f6\u00dfe": "\u00fc\U0001f600", "": "\0"}},
        ActionConfiguration(configuration={"Gr\u00f6\u00dfe": "\u00fc\U0001f600", "": "\0"}),
    ),
    "0 %": (ExecutionDetails, {"percentComplete": 0}, ExecutionDetails(percent_complete=0)),
    "100 %": (ExecutionDetails, {"percentComplete": 100}, ExecutionDetails(percent_complete=100)),
    "longer than the model of the service allows": (
        S3Location,
        {"bucketName": "b" * 9999, "objectKey": "k" * 99999},
        S3Location(bucket_name="b" * 9999, object_key="k" * 99999),
    ),
    "failure": (
        FailureDetails,
        {"type": "JobFailed", "message": "m"},
        FailureDetails(type=FailureType.JOB_FAILED, message="m"),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("model", "document", "expected"), _GOOD.values(), ids=_GOOD)
def test_reads(model: type[Any], document: Any, expected: Any) -> None:
    """A document that fits becomes the model; what is unknown is ignored, and what is null is absent."""
    assert expected == structure(document, model)


# Class, document without the value, member.
_OPEN: dict[str, tuple[type[Any], dict[str, Any], str]] = {
    "ActionCategory": (ActionTypeId, {"owner": "AWS", "provider": "p", "version": "1"}, "category"),
    "ActionOwner": (ActionTypeId, {"category": "Test", "provider": "p", "version": "1"}, "owner"),
    "ArtifactLocationType": (ArtifactLocation, {}, "type"),
    "EncryptionKeyType": (EncryptionKey, {"id": "k"}, "type"),
}


@pytest.mark.parametrize("value", ["Brand-new", "", "test", "\u00fc"])
@pytest.mark.parametrize(("model", "document", "member"), _OPEN.values(), ids=_OPEN)
def test_keeps_an_unknown_enum_value(model: type[Any], document: dict[str, Any], member: str, value: str) -> None:
    """A value that this version does not know survives reading and writing."""
    read = structure({**document, member: value}, model)
    assert (False, value) == (getattr(read, member).is_known, getattr(read, member))
    assert value == unstructure(read)[member]


def test_reads_strings_of_a_subclass_as_plain_strings() -> None:
    """Strings of a library's own class become plain ones, whatever their methods return."""

    class Odd(str):
        __slots__ = ()

        def __str__(self) -> str:
            return "something else"

    job = structure({"clientId": Odd("c"), "jobId": Odd("j")}, ThirdPartyJob)
    located = structure({"type": Odd("S3")}, ArtifactLocation)
    assert (str, "c", str, "j") == (type(job.client_id), job.client_id, type(job.job_id), job.job_id)
    assert ArtifactLocation(type=cp_thirdparty.ArtifactLocationType.S3) == located


def test_keeps_the_order_of_the_configuration() -> None:
    """The keys of a configuration come in the order in which they were sent, and are written in it."""
    keys = ["Zeta", "alpha", "Mid", "\u00fc", "0"]
    read = structure({"configuration": dict.fromkeys(keys, "v")}, ActionConfiguration)
    assert keys == list(read.configuration)
    assert keys == list(unstructure(read)["configuration"])


def test_reads_ten_thousand_artifacts() -> None:
    """A list may be long."""
    artifacts = [{"name": f"a{number}"} for number in range(10_000)]
    read = structure(_job(inputArtifacts=artifacts), JobDetails)
    assert [f"a{number}" for number in range(10_000)] == [artifact.name for artifact in read.data.input_artifacts]


def test_reads_a_large_configuration_value() -> None:
    """A value may be of 5 MB."""
    value = "v" * 5_000_000
    read = structure({"configuration": {"Large": value}}, ActionConfiguration)
    assert value == read.configuration["Large"].get_secret_value()


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_the_document_stays_as_it_was(model: type[Any], response: Any) -> None:
    """Reading changes nothing of the document, whether it fits or not."""
    before = copy.deepcopy(response)
    with contextlib.suppress(ResponseDecodeError):
        structure(response, model)
    with contextlib.suppress(ResponseDecodeError):
        structure(response["jobDetails"]["data"], model)
    assert before == response


def test_the_configuration_is_a_copy() -> None:
    """Who changes the document later does not change the model."""
    values = {"A": "1"}
    read = structure({"configuration": values}, ActionConfiguration)
    values["A"] = "2"
    assert SecretStr("1") == read.configuration["A"]


# --- times -----------------------------------------------------------------------------------------------------------


def _revision(created: Any) -> dict[str, Any]:
    return {"revision": "r", "changeIdentifier": "c", "created": created}


_NOON = datetime(2024, 2, 29, 12, 0, tzinfo=timezone.utc)
_TIMES: list[tuple[Any, datetime | None]] = [
    ("2024-02-29T12:00:00+00:00", _NOON),
    ("2024-02-29T12:00:00Z", _NOON),
    ("2024-02-29T13:30:00+01:30", _NOON),
    ("2024-02-29 12:00:00+00:00", _NOON),
    ("2024-02-29T12:00:00.250000Z", _NOON + timedelta(seconds=0.25)),
    (1709208000, _NOON),
    (1709208000.25, _NOON + timedelta(seconds=0.25)),
    (0, datetime(1970, 1, 1, tzinfo=timezone.utc)),
    (_NOON, _NOON),
    (None, None),
]


@pytest.mark.parametrize(("created", "expected"), _TIMES)
def test_reads_a_time(created: Any, expected: datetime | None) -> None:
    """Times are read from ISO 8601 with an offset or Z, from seconds since 1970, and as they are."""
    assert expected == structure(_revision(created), CurrentRevision).created


_NOT_TIMES: list[tuple[Any, str]] = [
    ("yesterday", "created: must be a time"),
    ("", "created: must be a time"),
    ("Z", "created: must be a time"),
    ("2024-02-30T12:00:00Z", "created: must be a time"),
    ("2024-02-29T12:00:00+00:00Z", "created: must be a time"),
    (_SURROGATE, "created: must be a time"),
    (float("nan"), "created: must be a time"),
    (float("inf"), "created: must be a time"),
    (1e300, "created: must be a time"),
    (10**17, "created: must be a time"),  # an OSError on Linux
    (10**400, "created: must be a time"),
    (-(10**12), "created: must be a time"),
    (True, "created: must be a time"),
    ([], "created: must be a time"),
    ({}, "created: must be a time"),
    ("2024-02-29T12:00:00", "created: must have a time zone"),
    ("2024-02-29", "created: must have a time zone"),
    (datetime(2024, 2, 29), "created: must have a time zone"),  # noqa: DTZ001 - which is the point
    ("0001-01-01T00:00:00+12:00", "created: must be within the years 1 to 9999 in UTC"),
]


@pytest.mark.parametrize(("created", "problem"), _NOT_TIMES)
def test_refuses_what_is_not_a_time(created: Any, problem: str) -> None:
    """What is not a moment in time, on every machine the same, is refused."""
    assert (problem,) == _problems(_revision(created), CurrentRevision)


def test_writes_a_time_in_utc() -> None:
    """A time is written as ISO 8601 in UTC, which the AWS CLI takes."""
    there = datetime(2024, 2, 29, 13, 30, tzinfo=timezone(timedelta(hours=1, minutes=30)))
    revision = CurrentRevision(revision="r", change_identifier="c", created=there)
    assert _revision("2024-02-29T12:00:00+00:00") == unstructure(revision)


# --- documents that do not fit ---------------------------------------------------------------------------------------

_FAILURE_TYPES = "must be one of " + ", ".join(member.value for member in FailureType)

# Class, document, problems.
_BAD: dict[str, tuple[type[Any], Any, tuple[str, ...]]] = {
    # not even an object
    "null": (JobDetails, None, ("the document: must be an object",)),
    "a list": (JobDetails, [], ("the document: must be an object",)),
    "a text": (S3Location, _MARKER, ("the document: must be an object",)),
    "a number": (Artifact, 5, ("the document: must be an object",)),
    "NaN": (JobData, float("nan"), ("the document: must be an object",)),
    "null in the envelope": (JobDetails, {"jobDetails": None}, ("the document: must be an object",)),
    "a list in the envelope": (JobDetails, {"jobDetails": [_MARKER]}, ("the document: must be an object",)),
    # required
    "nothing": (
        JobDetails,
        {},
        ("required field missing: id", "required field missing: data", "required field missing: nonce"),
    ),
    "no nonce": (JobDetails, {"id": "j", "data": {}}, ("required field missing: nonce",)),
    "no nonce in the envelope": (
        JobDetails, {"jobDetails": {"id": "j", "data": {}}}, ("required field missing: nonce",)
    ),
    "no provider": (
        JobDetails,
        _job(actionTypeId={"category": "Test", "owner": "AWS", "version": "1"}),
        ("required field missing: data.actionTypeId.provider",),
    ),
    "nothing in the action type": (
        JobData,
        {"actionTypeId": {}},
        tuple(f"required field missing: actionTypeId.{name}" for name in ("category", "owner", "provider", "version")),
    ),
    "nothing in a place": (
        JobData,
        {"outputArtifacts": [{}, {"location": {"s3Location": {}}}]},
        (
            "required field missing: outputArtifacts[1].location.s3Location.bucketName",
            "required field missing: outputArtifacts[1].location.s3Location.objectKey",
        ),
    ),
    "null for required text": (JobDetails, {**_job(), "nonce": None}, ("nonce: must be a string",)),
    "null for required object": (JobDetails, {**_job(), "data": None}, ("data: must be an object",)),
    "null for required enum": (EncryptionKey, {"id": "k", "type": None}, ("type: must be a string",)),
    "null in a list": (JobData, {"inputArtifacts": [{}, None]}, ("inputArtifacts[1]: must be an object",)),
    # of another type
    "number for a text": (JobDetails, {**_job(), "id": 4711}, ("id: must be a string",)),
    "bool for a text": (JobData, {"continuationToken": True}, ("continuationToken: must be a string",)),
    "NaN for a text": (Artifact, {"name": float("nan")}, ("name: must be a string",)),
    "list for a text": (Artifact, {"revision": [_MARKER]}, ("revision: must be a string",)),
    "number for a secret": (ArtifactCredentials, {"sessionToken": 1}, ("sessionToken: must be a string",)),
    "number for an enum": (ArtifactLocation, {"type": 3}, ("type: must be a string",)),
    "list for an enum": (EncryptionKey, {"id": "k", "type": [_MARKER]}, ("type: must be a string",)),
    "text for a list": (JobData, {"inputArtifacts": _MARKER}, ("inputArtifacts: must be a list",)),
    "object for a list": (JobData, {"inputArtifacts": {_MARKER: 1}}, ("inputArtifacts: must be a list",)),
    "list for an object": (JobDetails, {**_job(), "data": []}, ("data: must be an object",)),
    "list for an optional object": (JobData, {"pipelineContext": []}, ("pipelineContext: must be an object",)),
    "text for an item": (JobData, {"inputArtifacts": [_MARKER]}, ("inputArtifacts[0]: must be an object",)),
    "list for the configuration": (
        ActionConfiguration, {"configuration": [_MARKER]}, ("configuration: must be an object",)
    ),
    "number in the configuration": (
        ActionConfiguration, {"configuration": {_MARKER: 1}}, ("configuration: must be a string",)
    ),
    "null in the configuration": (
        ActionConfiguration, {"configuration": {"A": _MARKER, _MARKER: None}}, ("configuration: must be a string",)
    ),
    "number as key of the configuration": (
        ActionConfiguration, {"configuration": {1: _MARKER}}, ("configuration: must be a string",)
    ),
    "bool for a number": (
        ExecutionDetails, {"percentComplete": True}, ("percentComplete: must be an integer",)
    ),
    "text for a number": (
        ExecutionDetails, {"percentComplete": "50"}, ("percentComplete: must be an integer",)
    ),
    "fraction for a number": (
        ExecutionDetails, {"percentComplete": 50.0}, ("percentComplete: must be an integer",)
    ),
    "NaN for a number": (
        ExecutionDetails, {"percentComplete": float("nan")}, ("percentComplete: must be an integer",)
    ),
    # lone surrogates
    "surrogate in a text": (
        Artifact, {"name": _MARKER + _SURROGATE}, ("name: must not contain lone surrogates",)
    ),
    "surrogate in a secret": (
        ArtifactCredentials,
        {"accessKeyId": _MARKER + _SURROGATE},
        ("accessKeyId: must not contain lone surrogates",),
    ),
    "surrogate in an enum": (
        ArtifactLocation, {"type": _MARKER + _SURROGATE}, ("type: must not contain lone surrogates",)
    ),
    "surrogate in a configuration value": (
        ActionConfiguration,
        {"configuration": {"A": _MARKER + _SURROGATE}},
        ("configuration: must not contain lone surrogates",),
    ),
    "surrogate in a configuration key": (
        ActionConfiguration,
        {"configuration": {_MARKER + _SURROGATE: ""}},
        ("configuration: must not contain lone surrogates",),
    ),
    "unknown failure type": (FailureDetails, {"type": _MARKER, "message": "m"}, (f"type: {_FAILURE_TYPES}",)),
    "null for a failure type": (FailureDetails, {"type": None, "message": "m"}, (f"type: {_FAILURE_TYPES}",)),
    "list for a failure type": (FailureDetails, {"type": [1], "message": "m"}, (f"type: {_FAILURE_TYPES}",)),
    "nothing in a revision": (
        CurrentRevision, {}, ("required field missing: revision", "required field missing: changeIdentifier")
    ),
    # all at once
    "all at once": (
        JobDetails,
        {
            "id": 1,
            "data": {
                "actionTypeId": {"category": 1, "owner": "AWS", "provider": None},
                "actionConfiguration": {"configuration": {"A": 1}},
                "pipelineContext": {"stage": {"name": 1}, "action": _MARKER},
                "inputArtifacts": [{}, {"name": 1}, 2],
                "outputArtifacts": 3,
                "artifactCredentials": {"accessKeyId": 1, "secretAccessKey": _MARKER, "sessionToken": []},
                "encryptionKey": {"type": "KMS"},
            },
        },
        (
            "id: must be a string",
            "data.actionTypeId.category: must be a string",
            "data.actionTypeId.provider: must be a string",
            "required field missing: data.actionTypeId.version",
            "data.actionConfiguration.configuration: must be a string",
            "data.pipelineContext.stage.name: must be a string",
            "data.pipelineContext.action: must be an object",
            "data.inputArtifacts[1].name: must be a string",
            "data.inputArtifacts[2]: must be an object",
            "data.outputArtifacts: must be a list",
            "data.artifactCredentials.accessKeyId: must be a string",
            "data.artifactCredentials.sessionToken: must be a string",
            "required field missing: data.encryptionKey.id",
            "required field missing: nonce",
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("model", "document", "problems"), _BAD.values(), ids=_BAD)
def test_refuses(model: type[Any], document: Any, problems: tuple[str, ...]) -> None:
    """A document that does not fit is refused, with each problem by its path in the service's names."""
    assert problems == _problems(document, model)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_refuses_a_number_for_each_member(model: type[Any]) -> None:
    """A member of any class that gets a fraction is a problem, but for a time, which may be one."""
    names = {_member(field.name) for field in attrs.fields(model)}
    problems = _problems(dict.fromkeys(names, -0.5), model)
    assert names - {"created", "credentialsExpireAt"} == {problem.split(":")[0] for problem in problems}


def _member(field: str) -> str:
    head, *tail = field.split("_")
    return head + "".join(word.capitalize() for word in tail)


def test_reports_each_of_a_thousand_problems() -> None:
    """Every item of a long list is listed; the message stays short."""
    refused = _catch_refusal(_job(inputArtifacts=[{"name": 1}] * 1_000), JobDetails)
    expected = tuple(f"data.inputArtifacts[{index}].name: must be a string" for index in range(1_000))
    assert expected == refused.problems
    assert str(refused).endswith("data.inputArtifacts[9].name: must be a string; and 990 more")


@pytest.mark.parametrize(("good", "bad", "listed"), [(0, 50_000, 1_000), (25_000, 1, 1), (999, 2, 1)])
def test_lists_the_problems_of_at_most_a_thousand_items(good: int, bad: int, listed: int) -> None:
    """Problems of a long list have the right places, and are no more than memory has room for."""
    refused = _catch_refusal(_job(inputArtifacts=[{}] * good + [{"name": 1}] * bad), JobDetails)
    expected = tuple(f"data.inputArtifacts[{good + index}].name: must be a string" for index in range(listed))
    assert expected == refused.problems


def test_refuses_a_document_of_great_depth() -> None:
    """A document nested deeper than any stack is refused like another."""
    deep: Any = _MARKER
    for _ in range(100_000):
        deep = [deep]
    assert _problems(_job(continuationToken=deep), JobDetails) == ("data.continuationToken: must be a string",)


class _Lazy(dict[str, Any]):
    """A document of some library that reads its members late, and fails."""

    def __getitem__(self, key: str) -> Any:
        raise RuntimeError(_MARKER + key)


class _OddZone(tzinfo):
    """A time zone that fails."""

    def utcoffset(self, _: datetime | None) -> timedelta:
        raise RuntimeError(_MARKER)

    def dst(self, _: datetime | None) -> None:
        """Return nothing."""

    def tzname(self, _: datetime | None) -> None:
        """Return nothing."""


_FAILING: dict[str, tuple[type[Any], Any, tuple[str, ...]]] = {
    "in a member": (
        S3Location,
        _Lazy(),
        ("bucketName: cannot be read (RuntimeError)", "objectKey: cannot be read (RuntimeError)"),
    ),
    "in the model": (
        CurrentRevision,
        _revision(datetime(2024, 1, 1, tzinfo=_OddZone())),
        ("the document: cannot be read (RuntimeError)",),
    ),
}


@pytest.mark.parametrize(("model", "document", "problems"), _FAILING.values(), ids=_FAILING)
def test_reports_only_the_type_of_a_foreign_error(model: type[Any], document: Any, problems: tuple[str, ...]) -> None:
    """Of an error that is not ours only the type is shown, because its message may be a value."""
    assert problems == _problems(document, model)


# --- no value in an error --------------------------------------------------------------------------------------------


def _add_markers(value: Any) -> Any:
    """Put a marker beside each leaf, each item and each member."""
    if isinstance(value, dict):
        marked = {name: _add_markers(inner) for name, inner in value.items()}
        return {**marked, f"{_MARKER}-extra": _MARKER}
    if isinstance(value, list):
        return [*map(_add_markers, value), _MARKER]
    return [_MARKER, value]


_LEAKS: dict[str, tuple[type[Any], Any]] = {
    **{name: (model, document) for name, (model, document, _) in {**_BAD, **_FAILING}.items()},
    **{f"marked: {name}": (model, _add_markers(document)) for name, (model, document, _) in _BAD.items()},
    **{f"time: {time!r:.20}": (CurrentRevision, {**_revision(time), _MARKER: _MARKER}) for time, _ in _NOT_TIMES},
    "response": (JobDetails, _add_markers(_read_details()["jobDetails"])),
    "response in the envelope": (JobDetails, {"jobDetails": _add_markers(_read_details()["jobDetails"])}),
}


def _our_frames(error: BaseException) -> Iterator[FrameType]:
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if frame.f_code.co_filename.startswith(_PACKAGE):
            yield frame


def _leaks(error: BaseException) -> list[str]:
    """Return where the marker is: in the error, in what hangs on it, or in a local of a frame of ours."""
    shown = {"error": repr([str(error), repr(error), error.args, error.__dict__, getattr(error, "__notes__", ())])}
    shown |= {"cause": repr(error.__cause__), "context": repr(error.__context__)}
    for frame in _our_frames(error):
        shown |= {f"{frame.f_code.co_name}.{name}": repr(value) for name, value in frame.f_locals.items()}
    summary = traceback.TracebackException.from_exception(error, capture_locals=True)
    ours = [frame for frame in summary.stack if frame.filename.startswith(_PACKAGE)]
    shown |= {f"{frame.name} as captured": repr(frame.locals) for frame in ours}
    return [place for place, text in shown.items() if _MARKER in text]


@pytest.mark.parametrize(("model", "document"), _LEAKS.values(), ids=_LEAKS)
def test_an_error_holds_no_value(model: type[Any], document: Any) -> None:
    """Neither the error, nor what led to it, nor a local of a frame of ours holds a value of the document."""
    refused = _catch_refusal(document, model)
    assert _leaks(refused) == []
    assert (refused.__cause__, refused.__context__) == (None, None)
    assert list(_our_frames(refused)) != []


# --- writing ---------------------------------------------------------------------------------------------------------


def _credentials(value: str) -> dict[str, Any]:
    return {
        "actionConfiguration": {"configuration": {"ApiKey": value}},
        "artifactCredentials": {"accessKeyId": value, "secretAccessKey": value, "sessionToken": value},
    }


def test_masks_secrets_unless_asked() -> None:
    """A written document has the mask for each secret."""
    details = structure(_job(**_credentials("value")), JobDetails)
    assert _job(**_credentials(_MASK)) == unstructure(details)
    assert _job(**_credentials(_MASK)) == unstructure(details, secrets="mask")


def test_reveals_secrets_when_asked() -> None:
    """A written document has each secret in plain text when that is asked for."""
    assert _job(**_credentials("value")) == unstructure(
        structure(_job(**_credentials("value")), JobDetails), secrets="reveal"
    )


# Model, document.
_WRITTEN: dict[str, tuple[Any, dict[str, Any]]] = {
    "nothing": (JobData(), {}),
    "required": (JobDetails(id="j", data=JobData(), nonce="n"), {"id": "j", "data": {}, "nonce": "n"}),
    "empty list": (JobData(input_artifacts=(), output_artifacts=(Artifact(),)), {"outputArtifacts": [{}]}),
    "empty text": (JobData(continuation_token=""), {"continuationToken": ""}),
    "empty configuration": (JobData(action_configuration=ActionConfiguration()), {"actionConfiguration": {}}),
    "zero": (ExecutionDetails(percent_complete=0), {"percentComplete": 0}),
    "enum": (
        FailureDetails(type=FailureType.JOB_FAILED, message="m"),
        {"type": "JobFailed", "message": "m"},
    ),
}


@pytest.mark.parametrize(("model", "document"), _WRITTEN.values(), ids=_WRITTEN)
def test_writes_without_what_is_absent(model: Any, document: dict[str, Any]) -> None:
    """None and empty lists are left out; all else is written, in plain types."""
    assert document == unstructure(model)
    assert json.dumps(document) == json.dumps(unstructure(model))


@pytest.mark.parametrize("secrets", ["mask", "reveal"])
@given(model=_any_class.flatmap(MODELS.__getitem__))
def test_what_is_written_is_plain(secrets: Any, model: Any) -> None:
    """A written document has only objects, lists, strings and numbers, of exactly those types."""

    def kinds(value: Any) -> Iterator[type[Any]]:
        yield type(value)
        inner: Any = ()
        if isinstance(value, dict):
            inner = [*value, *value.values()]
        elif isinstance(value, list):
            inner = value
        for element in inner:
            yield from kinds(element)

    assert set(kinds(unstructure(model, secrets=secrets))) <= {dict, list, str, int}


# --- misuse ----------------------------------------------------------------------------------------------------------


class _Sub(Artifact):
    """A partner's subclass of a model."""


_NO_MODELS: list[Any] = [
    int,
    dict,
    _Sub,
    SecretStr,
    FailureType,
    ResponseDecodeError,
    "JobDetails",
    None,
    list[Artifact],
    [],
    {},
]


@pytest.mark.parametrize("model", [*_NO_MODELS, Artifact()], ids=repr)
def test_structure_takes_a_class_of_the_models(model: Any) -> None:
    """What is not a class of the models is refused, and the error does not hold the document."""
    with pytest.raises(TypeError, match=r"^structure\(\) takes a class of cp_thirdparty\.models$") as caught:
        structure({"secret": _MARKER}, model)
    assert _leaks(caught.value) == []


@pytest.mark.parametrize("instance", [*_NO_MODELS, _Sub(), _MARKER, {"secret": _MARKER}, JobDetails], ids=repr)
def test_unstructure_takes_an_instance_of_the_models(instance: Any) -> None:
    """What is not an instance of the models is refused, and the error does not hold it."""
    expected = r"^unstructure\(\) takes an instance of a class of cp_thirdparty\.models$"
    with pytest.raises(TypeError, match=expected) as caught:
        unstructure(instance)
    assert _leaks(caught.value) == []


@pytest.mark.parametrize("secrets", ["show", "", "MASK", None, True, []])
def test_unstructure_takes_two_words_for_secrets(secrets: Any) -> None:
    """Any other word than mask and reveal is refused, so that a slip never reveals a secret."""
    with pytest.raises(TypeError, match=r'^secrets must be "mask" or "reveal"$'):
        unstructure(Artifact(), secrets=secrets)


# --- properties ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
@given(data=st.data())
def test_what_was_written_is_read_as_it_was(model: type[Any], data: st.DataObject) -> None:
    """A model written with its secrets and read again is equal to what it was, also by way of JSON."""
    original = data.draw(MODELS[model])
    document = unstructure(original, secrets="reveal")
    assert original == structure(document, model)
    assert original == structure(json.loads(json.dumps(document)), model)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
@given(document=JSON_VALUES)
def test_any_document_is_a_model_or_refused(model: type[Any], document: Any) -> None:
    """Whatever JSON can hold becomes a model or a `ResponseDecodeError`, and nothing else."""
    _read_or_refused(document, model)


@given(model=_any_class, data=st.data())
def test_any_members_are_a_model_or_refused(model: type[Any], data: st.DataObject) -> None:
    """The same holds for an object with the right members and any values."""
    names = [_member(field.name) for field in attrs.fields(model)]
    _read_or_refused(data.draw(st.fixed_dictionaries({}, optional=dict.fromkeys(names, JSON_VALUES))), model)


def _read_or_refused(document: Any, model: type[Any]) -> None:
    try:
        read = structure(document, model)
    except ResponseDecodeError as refused:
        assert refused.problems  # noqa: PT017 - either way is right
    else:
        assert type(read) is model
        assert read == structure(unstructure(read, secrets="reveal"), model)


def _places(document: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Return the path of each member and each item."""
    children: Any = ()
    if isinstance(document, dict):
        children = document.items()
    elif isinstance(document, list):
        children = enumerate(document)
    for key, child in children:
        yield (*path, key)
        yield from _places(child, (*path, key))


def _mutate_copy(document: Any, path: tuple[Any, ...], mutate: Callable[[Any, Any], None]) -> Any:
    document = copy.deepcopy(document)
    parent = document
    for key in path[:-1]:
        parent = parent[key]
    mutate(parent, path[-1])
    return document


_PLACES = list(_places(_read_details()))


@given(path=st.sampled_from(_PLACES), value=JSON_VALUES)
def test_any_changed_response_is_a_model_or_refused(path: tuple[Any, ...], value: Any) -> None:
    """The saved response with one member replaced is read or refused, and nothing else."""
    _read_or_refused(
        _mutate_copy(_read_details(), path, lambda parent, key: parent.__setitem__(key, value)), JobDetails
    )


@pytest.mark.parametrize("path", _PLACES, ids=lambda path: ".".join(map(str, path)))
def test_a_response_without_a_member_is_a_model_or_refused(path: tuple[Any, ...]) -> None:
    """The saved response with one member left out is read, or refused by the name of that member."""
    document = _mutate_copy(_read_details(), path, lambda parent, key: parent.__delitem__(key))
    dropped = ".".join(map(str, path[1:])).replace(".0", "[0]").replace(".1", "[1]")
    try:
        read = structure(document, JobDetails)
    except ResponseDecodeError as refused:
        expected = {f"required field missing: {dropped}"} if dropped else {"required field missing: id"}
        assert expected <= set(refused.problems)  # noqa: PT017 - either way is right
    else:
        assert document["jobDetails"] != unstructure(structure(_read_details(), JobDetails), secrets="reveal")
        assert structure(document, JobDetails) == read


@attrs.frozen(kw_only=True, weakref_slot=False)
class _WithDefault:
    number: int = 5


@attrs.frozen(kw_only=True, weakref_slot=False)
class _WithPrivateField:
    _name: str


@attrs.frozen(kw_only=True, weakref_slot=False)
class _WithStep:
    name: str

    def __attrs_post_init__(self) -> None:
        """Do what a draft would leave out."""


@attrs.frozen(kw_only=True, weakref_slot=False)
class _WithUnsetField:
    name: str = attrs.field(init=False)


@pytest.mark.parametrize("model", [_WithDefault, _WithPrivateField, _WithStep, _WithUnsetField, _Sub])
def test_class_that_a_draft_would_build_wrongly_is_refused(model: type[Any]) -> None:
    """The fast hook assigns what was read and calls no ``__init__``, so it is not made for a class that needs one."""
    with pytest.raises(TypeError, match=f"{model.__name__}: cannot be read as a draft"):
        make_converter(detailed=False).get_structure_hook(model)
