"""The models: frozen, hashable, copyable; what we send is checked, what we receive is not."""

from __future__ import annotations

import ast
import copy
import inspect
import itertools
import pickle
import types
import weakref
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any, get_type_hints

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cp_thirdparty import models
from cp_thirdparty.converter import structure, unstructure
from cp_thirdparty.enums import (
    ActionCategory,
    ActionOwner,
    ArtifactLocationType,
    EncryptionKeyType,
    FailureType,
)
from cp_thirdparty.exceptions import InvalidRequestError
from cp_thirdparty.models import (
    ActionConfiguration,
    ActionContext,
    ActionTypeId,
    Artifact,
    ArtifactCredentials,
    ArtifactLocation,
    CurrentRevision,
    CustomJob,
    CustomJobDetails,
    EncryptionKey,
    ExecutionDetails,
    FailureDetails,
    JobData,
    JobDetails,
    LambdaJobEvent,
    PipelineContext,
    S3Location,
    StageContext,
    ThirdPartyJob,
)
from cp_thirdparty.secrets import SecretMapping, SecretStr
from cp_thirdparty.testing.strategies import MODELS

_CLASSES: list[Any] = [getattr(models, name) for name in models.__all__]
each_class = pytest.mark.parametrize("model", _CLASSES, ids=models.__all__)
_model = st.one_of(*MODELS.values())


def test_every_class_has_a_strategy() -> None:
    """A new model gets a strategy: the properties below hold for every class of the module."""
    assert set(_CLASSES) == set(MODELS)


# --- construction ----------------------------------------------------------------------------------------------------

# Class -> what it is with only what it requires: required arguments, and the fields that then have a default.
_DEFAULTS: dict[type, tuple[dict[str, Any], dict[str, Any]]] = {
    ActionConfiguration: ({}, {"configuration": SecretMapping({})}),
    ActionContext: ({}, {"name": None, "action_execution_id": None}),
    ActionTypeId: ({"category": "Test", "owner": "ThirdParty", "provider": "p", "version": "1"}, {}),
    Artifact: ({}, {"name": None, "revision": None, "location": None}),
    ArtifactCredentials: ({}, {"access_key_id": None, "secret_access_key": None, "session_token": None}),
    ArtifactLocation: ({}, {"type": None, "s3_location": None}),
    CurrentRevision: ({"revision": "r", "change_identifier": "c"}, {"created": None, "revision_summary": None}),
    CustomJob: ({"id": "1", "data": JobData(), "nonce": "n"}, {"account_id": None}),
    CustomJobDetails: ({"id": "1", "data": JobData()}, {"account_id": None}),
    LambdaJobEvent: ({"id": "1", "data": JobData()}, {"account_id": None, "credentials_expire_at": None}),
    EncryptionKey: ({"id": "k", "type": EncryptionKeyType.KMS}, {}),
    ExecutionDetails: ({}, {"summary": None, "external_execution_id": None, "percent_complete": None}),
    FailureDetails: ({"type": FailureType.JOB_FAILED, "message": "m"}, {"external_execution_id": None}),
    JobData: (
        {},
        {
            "action_type_id": None,
            "action_configuration": None,
            "pipeline_context": None,
            "input_artifacts": (),
            "output_artifacts": (),
            "artifact_credentials": None,
            "continuation_token": None,
            "encryption_key": None,
        },
    ),
    JobDetails: ({"id": "1", "data": JobData(), "nonce": "n"}, {}),
    PipelineContext: (
        {},
        {
            "pipeline_name": None,
            "stage": None,
            "action": None,
            "pipeline_arn": None,
            "pipeline_execution_id": None,
        },
    ),
    S3Location: ({"bucket_name": "b", "object_key": "o"}, {}),
    StageContext: ({}, {"name": None}),
    ThirdPartyJob: ({"client_id": "c", "job_id": "j"}, {}),
}


@each_class
def test_construction(model: Any) -> None:
    """A model takes what it requires, keeps it, and has defaults for all else."""
    required, defaults = _DEFAULTS[model]
    made = model(**required)
    assert {**required, **defaults} == {field.name: getattr(made, field.name) for field in attrs.fields(model)}


@each_class
def test_what_is_required_must_be_given(model: Any) -> None:
    """Leaving out any required field is a TypeError that names it."""
    required, _ = _DEFAULTS[model]
    for name in required:
        with pytest.raises(TypeError, match=f"'{name}'"):
            model(**{other: value for other, value in required.items() if other != name})


@each_class
def test_fields_are_given_by_keyword(model: Any) -> None:
    """Positional arguments, which a new field would shift, are refused."""
    required, defaults = _DEFAULTS[model]
    with pytest.raises(TypeError):
        model(*required.values(), *defaults.values())


@each_class
def test_annotations_can_be_read(model: Any) -> None:
    """``typing.get_type_hints()`` resolves every annotation, which cattrs and notebooks need."""
    assert [field.name for field in attrs.fields(model)] == list(get_type_hints(model))


# --- values: frozen, equal, hashable, copyable -----------------------------------------------------------------------


@each_class
def test_models_are_frozen(model: Any) -> None:
    """No attribute can be set, deleted or added, and there is no ``__dict__``."""
    made = model(**_DEFAULTS[model][0])
    for name in [*(field.name for field in attrs.fields(model)), "new"]:
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            setattr(made, name, None)
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            delattr(made, name)
    assert not hasattr(made, "__dict__")


@given(_model)
def test_models_are_values(model: Any) -> None:
    """A model rebuilt of its fields is equal and hashes alike, and one of another class is not equal."""
    rebuilt = type(model)(**_fields(model))
    assert model == rebuilt
    assert hash(model) == hash(rebuilt)
    assert model != _fields(model)
    assert {model: 1}[rebuilt] == 1


@given(_model)
def test_models_copy(model: Any) -> None:
    """``copy``, ``deepcopy`` and ``attrs.evolve`` give an equal model of the same class."""
    for copied in (copy.copy(model), copy.deepcopy(model), attrs.evolve(model)):
        assert type(model) is type(copied)
        assert model == copied
        assert hash(model) == hash(copied)


@given(_model)
def test_models_without_secrets_pickle(model: Any) -> None:
    """A model survives a pickle exactly when it holds no secret; one that does refuses."""
    if _holds_secret(model):
        with pytest.raises(TypeError, match="send the ThirdPartyJob"):
            pickle.dumps(model)
    else:
        assert model == pickle.loads(pickle.dumps(model))


def test_repr_shows_what_is_public_and_masks_the_rest() -> None:
    """``repr`` is the constructor's call, with the mask in place of each secret."""
    data = JobData(
        action_configuration=ActionConfiguration(configuration={"ApiKey": "hunter2"}),
        artifact_credentials=ArtifactCredentials(session_token="hunter2"),
        continuation_token="run-1",
    )
    expected = (
        "JobDetails(id='1', data=JobData(action_type_id=None, "
        "action_configuration=ActionConfiguration(configuration=SecretMapping({'ApiKey': **********})), "
        "pipeline_context=None, input_artifacts=(), output_artifacts=(), "
        "artifact_credentials=ArtifactCredentials(access_key_id=None, secret_access_key=None, "
        "session_token=**********), continuation_token='run-1', encryption_key=None), nonce='3')"
    )
    assert expected == repr(JobDetails(id="1", data=data, nonce="3"))


# --- what constructors convert ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("container", [list, tuple, iter], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("field", ["input_artifacts", "output_artifacts"])
def test_lists_become_tuples(field: str, container: Callable[[Any], Any]) -> None:
    """Any iterable of artifacts becomes a tuple, and changing the list afterwards changes nothing."""
    given_artifacts = [Artifact(name="a"), Artifact(name="b")]
    data: Any = JobData(**{field: container(given_artifacts)})
    expected = tuple(given_artifacts)
    given_artifacts.clear()
    assert expected == getattr(data, field)
    assert tuple is type(getattr(data, field))


@pytest.mark.parametrize("field", ["access_key_id", "secret_access_key", "session_token"])
@pytest.mark.parametrize(("value", "expected"), [("s", SecretStr("s")), (SecretStr("s"), SecretStr("s")), (None, None)])
def test_credentials_wrap_plain_strings(field: str, value: object, expected: SecretStr | None) -> None:
    """A credential may be given plain, hidden or not at all; it comes out hidden."""
    credentials: Any = ArtifactCredentials(**{field: value})  # type: ignore[arg-type] # a table's
    actual = getattr(credentials, field)
    assert type(expected) is type(actual)
    assert expected == actual


@pytest.mark.parametrize(
    "entries",
    [{"k": "v"}, {"k": SecretStr("v")}, SecretMapping({"k": "v"}), types.MappingProxyType({"k": "v"})],
    ids=lambda entries: type(entries).__name__,
)
def test_configurations_wrap_plain_strings(entries: Mapping[str, Any]) -> None:
    """A configuration takes any mapping of plain or hidden strings, copies it and hides the values."""
    configuration = ActionConfiguration(configuration=entries).configuration
    assert SecretMapping is type(configuration)
    assert {"k": SecretStr("v")} == dict(configuration)


def test_a_configuration_keeps_a_secret_mapping() -> None:
    """A mapping that is immutable already is not copied again."""
    mapping = SecretMapping({"k": "v"})
    assert mapping is ActionConfiguration(configuration=mapping).configuration


@pytest.mark.parametrize(
    ("category", "owner", "known"),
    [
        ("Test", "ThirdParty", True),
        (ActionCategory.TEST, ActionOwner.THIRD_PARTY, True),
        ("Odd", "Even", False),
        (ActionCategory("Odd"), ActionOwner("Even"), False),
    ],
    ids=ascii,
)
def test_an_action_type_takes_strings(category: Any, owner: Any, *, known: bool) -> None:
    """Category and owner may be plain strings, known or not; they come out as members."""
    made = ActionTypeId(category=category, owner=owner, provider="p", version="1")
    assert (ActionCategory, ActionOwner) == (type(made.category), type(made.owner))
    assert (known, known) == (made.category.is_known, made.owner.is_known)
    assert (category, owner) == (made.category, made.owner)


# --- types and limits -------------------------------------------------------------------------------------------------

_HUNTER = "hunter2"
_AWARE = datetime(2024, 2, 29, 12, tzinfo=timezone.utc)
_NAIVE = _AWARE.replace(tzinfo=None)
_TOO_EARLY = datetime.min.replace(tzinfo=timezone(timedelta(hours=1)))


def _strings(model: type, field: str) -> list[tuple[type, str, Any, str | None]]:
    return [
        (model, field, "x", None),
        (model, field, "", None),
        (model, field, "€" * 10_000, None),
        (model, field, f"{_HUNTER}\udc80", None),
        (model, field, _HUNTER.encode(), "must be a str"),
        (model, field, SecretStr(_HUNTER), "must be a str"),
    ]


# Class, field, value, and the rule that it breaks.
_LIMITS: list[tuple[type, str, Any, str | None]] = [
    *_strings(CurrentRevision, "revision"),
    *_strings(CurrentRevision, "change_identifier"),
    *_strings(CurrentRevision, "revision_summary"),
    *_strings(ExecutionDetails, "summary"),
    *_strings(ExecutionDetails, "external_execution_id"),
    *_strings(FailureDetails, "message"),
    *_strings(FailureDetails, "external_execution_id"),
    (CurrentRevision, "revision", None, "must be a str"),
    (CurrentRevision, "change_identifier", None, "must be a str"),
    (CurrentRevision, "revision_summary", None, None),
    (CurrentRevision, "created", None, None),
    (CurrentRevision, "created", _AWARE, None),
    (CurrentRevision, "created", _NAIVE, "must have a time zone"),
    (CurrentRevision, "created", _TOO_EARLY, "must be within the years 1 to 9999 in UTC"),
    (CurrentRevision, "created", _AWARE.isoformat(), "must be a datetime"),
    (ExecutionDetails, "summary", None, None),
    (ExecutionDetails, "external_execution_id", None, None),
    (ExecutionDetails, "percent_complete", None, None),
    (ExecutionDetails, "percent_complete", 0, None),
    (ExecutionDetails, "percent_complete", 100, None),
    (ExecutionDetails, "percent_complete", -1, None),
    (ExecutionDetails, "percent_complete", 101, None),
    (ExecutionDetails, "percent_complete", 50.0, "must be an int"),
    (ExecutionDetails, "percent_complete", True, "must be an int"),
    (ExecutionDetails, "percent_complete", "50", "must be an int"),
    *((FailureDetails, "type", failure_type, None) for failure_type in FailureType),
    *((FailureDetails, "type", failure_type.value, None) for failure_type in FailureType),
    (FailureDetails, "type", "JobFaild", "must be a FailureType"),
    (FailureDetails, "type", [], "must be a FailureType"),
    (FailureDetails, "type", None, "must be a FailureType"),
    (FailureDetails, "message", None, "must be a str"),
    (FailureDetails, "external_execution_id", None, None),
]


def _limit_id(row: tuple[type, str, Any, str | None]) -> str:
    model, field, value, rule = row
    return f"{model.__name__}.{field}={ascii(value)[:12]}: {rule or 'taken'}"


@pytest.mark.parametrize("row", _LIMITS, ids=_limit_id)
def test_what_we_send_has_checked_types(row: tuple[Any, str, Any, str | None]) -> None:
    """A wrong type is refused with field and rule, and never shown.  No length is refused."""
    model, field, value, rule = row
    arguments = {**_DEFAULTS[model][0], field: value}
    if rule is None:
        assert value == getattr(model(**arguments), field)
        return
    with pytest.raises(InvalidRequestError) as caught:
        model(**arguments)
    assert (field, rule) == (caught.value.parameter, caught.value.rule)
    assert f"{field}: {rule}" == str(caught.value)
    assert _HUNTER not in repr((caught.value, vars(caught.value), caught.value.__cause__, caught.value.__context__))


def test_every_field_that_we_send_is_checked() -> None:
    """The table above has each field of the three inputs, with a value that is taken and one that is refused."""
    outcomes = {(model, field, rule is None) for model, field, _, rule in _LIMITS}
    fields = {
        (model, field.name)
        for model in (CurrentRevision, ExecutionDetails, FailureDetails)
        for field in attrs.fields(model)
    }
    assert {(model, field, taken) for model, field in fields for taken in (True, False)} == outcomes


def test_a_type_is_checked_in_evolve() -> None:
    """A changed copy is checked too."""
    details = ExecutionDetails(percent_complete=1)
    wrong: Any = "1"
    with pytest.raises(InvalidRequestError, match=r"^percent_complete: must be an int$"):
        attrs.evolve(details, percent_complete=wrong)


@pytest.mark.parametrize("field", ["category", "owner"])
@pytest.mark.parametrize("value", [None, 5, b"Test"], ids=repr)
def test_an_action_type_refuses_what_is_not_a_string(field: str, value: object) -> None:
    """A category or owner that is not a string is refused by the field's name."""
    arguments: dict[str, Any] = {"category": "Test", "owner": "AWS", "provider": "p", "version": "1", field: value}
    with pytest.raises(InvalidRequestError) as caught:
        ActionTypeId(**arguments)
    expected = {"category": "must be an ActionCategory or a str", "owner": "must be an ActionOwner or a str"}
    assert (field, expected[field]) == (caught.value.parameter, caught.value.rule)


def test_kinds_may_be_strings() -> None:
    """A kind of store or key in a test or a notebook may be a string, which becomes the member."""
    location, key = ArtifactLocation(type="S3"), EncryptionKey(id="alias/demo", type="KMS")
    assert (location.type, key.type) == (ArtifactLocationType.S3, EncryptionKeyType.KMS)
    assert unstructure(location) == {"type": "S3"}
    refused: dict[Any, dict[str, Any]] = {ArtifactLocation: {"type": 5}, EncryptionKey: {"id": "x", "type": 5}}
    for model, arguments in refused.items():
        with pytest.raises(InvalidRequestError, match=f"^type: must be an {model.__name__}Type or a str$"):
            model(**arguments)


@pytest.mark.parametrize("length", [0, 100_000])
def test_what_we_receive_has_no_limits(length: int) -> None:
    """The service may outgrow its own model: empty and huge strings, unknown kinds and long lists are taken."""
    text = "x" * length
    assert text == Artifact(name=text, revision=text).name
    assert text == S3Location(bucket_name=text, object_key=text).object_key
    assert text == EncryptionKey(id=text, type=EncryptionKeyType(text)).type
    assert text == ArtifactLocation(type=ArtifactLocationType(text)).type
    category, owner = ActionCategory(text), ActionOwner(text)
    assert text == ActionTypeId(category=category, owner=owner, provider=text, version=text).provider
    assert text == JobDetails(id=text, data=JobData(continuation_token=text), nonce=text).data.continuation_token
    assert text == ThirdPartyJob(client_id=text, job_id=text).job_id
    assert SecretStr(text) == ActionConfiguration(configuration={text: text}).configuration[text]
    assert length == len(JobData(input_artifacts=[Artifact()] * length).input_artifacts)


def _fields(model: Any) -> dict[str, Any]:
    return {field.name: getattr(model, field.name) for field in attrs.fields(type(model))}


def _holds_secret(value: Any) -> bool:
    if isinstance(value, (SecretStr, SecretMapping)):
        return True
    if isinstance(value, tuple):
        return any(map(_holds_secret, value))
    return attrs.has(type(value)) and any(map(_holds_secret, _fields(value).values()))


# --- conveniences ----------------------------------------------------------------------------------------------------

_PLACE = S3Location(bucket_name="b", object_key="k")
_NAMED = (
    Artifact(name="MyApp", location=ArtifactLocation(type="S3", s3_location=_PLACE)),
    Artifact(name="Tests", location=ArtifactLocation()),
    Artifact(),
)


def test_artifacts_are_found_by_name() -> None:
    """Inputs and outputs are mappings in the order of the artifacts, without those that have no name."""
    data = JobData(input_artifacts=_NAMED, output_artifacts=_NAMED[1:])
    assert data.inputs["MyApp"] is _NAMED[0]
    assert (list(data.inputs), list(data.outputs)) == (["MyApp", "Tests"], ["Tests"])
    assert (len(data.inputs), "MyApp" in data.outputs) == (2, False)
    assert data.inputs == {"MyApp": _NAMED[0], "Tests": _NAMED[1]}
    assert repr(data.outputs) == repr({"Tests": _NAMED[1]})
    assert JobData().inputs == {}
    with pytest.raises(KeyError, match="Other"):
        data.inputs["Other"]


def test_the_place_of_an_artifact_is_near() -> None:
    """``s3`` is the place in S3 where there is one."""
    assert [artifact.s3 for artifact in _NAMED] == [_PLACE, None, None]


def test_the_configuration_is_never_absent() -> None:
    """``configuration`` is an empty mapping where the job has none, and hides its values."""
    assert JobData().configuration == {}
    data = JobData(action_configuration=ActionConfiguration(configuration={"A": "xMARKERx"}))
    assert data.configuration["A"].get_secret_value() == "xMARKERx"
    assert "xMARKERx" not in repr(data.configuration)


@pytest.mark.parametrize(
    ("context", "path"),
    [
        (PipelineContext(), ""),
        (PipelineContext(pipeline_name="p"), "p"),
        (PipelineContext(pipeline_name="p", stage=StageContext(), action=ActionContext(name="a")), "p / a"),
        (PipelineContext(pipeline_name="p", stage=StageContext(name="s"), action=ActionContext(name="a")), "p / s / a"),
    ],
)
def test_the_place_in_a_pipeline_is_one_line(context: PipelineContext, path: str) -> None:
    """``path`` has the names that there are."""
    assert context.path == path


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")  # its other method is provisional
def test_ipython_completes_keys() -> None:
    """IPython offers the keys of a configuration and the names of artifacts after the bracket."""
    shell = pytest.importorskip("IPython.core.completer").IPCompleter(namespace={})
    data = JobData(input_artifacts=_NAMED, action_configuration=ActionConfiguration(configuration={"ApiKey": "k"}))
    shell.namespace = {"data": data, "inputs": data.inputs, "values": data.configuration}
    shell.use_jedi = False
    for line, expected in (("inputs['", {"MyApp", "Tests"}), ("values['", {"ApiKey"})):
        offered = {name.strip("'") for name in shell.complete(None, line_buffer=line, cursor_pos=len(line))[1]}
        assert {name.removeprefix(line).rstrip("']") for name in offered} == expected


def test_details_and_offers_have_weak_references() -> None:
    """What programs keep caches of can be referred to weakly, made or read."""
    for one in (structure({"id": "i", "data": {}, "nonce": "1"}, JobDetails), ThirdPartyJob(client_id="c", job_id="j")):
        assert weakref.ref(one)() is one


@each_class
def test_every_field_has_a_docstring(model: Any) -> None:
    """Editors show a string after a field when the pointer is on it."""
    (found,) = [
        node
        for node in ast.parse(inspect.getsource(models)).body
        if isinstance(node, ast.ClassDef) and node.name == model.__name__
    ]
    described = {
        ast.unparse(field.target)
        for field, text in itertools.pairwise(found.body)
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
    }
    assert described == {field.name for field in attrs.fields(model)}
