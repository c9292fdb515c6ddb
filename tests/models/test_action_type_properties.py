"""`action_type_properties`: the properties of an action type, from the class that its configuration fills."""

from __future__ import annotations

import dataclasses
import enum
import keyword
from datetime import timedelta
from typing import Annotated, Any, Literal

import attrs
import botocore.session
import botocore.validate
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cp_thirdparty import (
    ActionConfiguration,
    ConfigurationKey,
    Key,
    SecretStr,
    action_type_properties,
    structure_configuration,
)
from cp_thirdparty._base import limits
from cp_thirdparty.exceptions import ConfigurationError, InvalidRequestError

_SERVICE = botocore.session.get_session().get_service_model("codepipeline")


class Level(enum.Enum):
    """An enum of strings."""

    LOW = "low"
    HIGH = "high"


@attrs.frozen
class Scan:
    """A class with each kind of property."""

    project: Annotated[str, ConfigurationKey(description="What to scan", queryable=True, key=True)]
    api_key: Annotated[SecretStr, Key("APIKey")]
    backup_keys: list[SecretStr] | None
    paths: tuple[str, ...] = ()
    percent: float = 0.5
    tries: int = 3
    pause: timedelta = timedelta(seconds=5)
    is_fast: bool = False
    level: Level = Level.HIGH
    depth: Literal["quick", "full"] = "full"


_Shown = tuple[str, bool, bool, bool, str]
_EXPECTED: list[_Shown] = [
    ("Project", True, True, False, "String"),
    ("APIKey", True, False, True, "String"),
    ("BackupKeys", False, False, True, "String"),
    ("Paths", False, False, False, "String"),
    ("Percent", False, False, False, "Number"),
    ("Tries", False, False, False, "Number"),
    ("Pause", False, False, False, "Number"),
    ("IsFast", False, False, False, "Boolean"),
    ("Level", False, False, False, "String"),
    ("Depth", False, False, False, "String"),
]


def _problems_of_input(operation: str, document: dict[str, Any]) -> str:
    """Return what botocore's own validator finds in the input of an operation."""
    shape: Any = _SERVICE.operation_model(operation).input_shape
    report: str = botocore.validate.ParamValidator().validate(document, shape).generate_report()
    return report


def _custom_document(model: type[Any]) -> dict[str, Any]:
    counts = {"minimumCount": 0, "maximumCount": 1}
    return {
        "category": "Test",
        "provider": "p",
        "version": "1",
        "inputArtifactDetails": counts,
        "outputArtifactDetails": counts,
        "configurationProperties": action_type_properties(model, for_="custom"),
    }


def _third_party_document(model: type[Any]) -> dict[str, Any]:
    counts = {"minimumCount": 0, "maximumCount": 1}
    return {
        "actionType": {
            "id": {"category": "Test", "owner": "ThirdParty", "provider": "p", "version": "1"},
            "executor": {"type": "JobWorker", "configuration": {"jobWorkerExecutorConfiguration": {}}},
            "inputArtifactDetails": counts,
            "outputArtifactDetails": counts,
            "properties": action_type_properties(model, for_="third-party"),
        }
    }


def test_a_custom_action_gets_its_properties() -> None:
    """Each field is a property with its key, whether it is required and secret, and its type."""
    found = action_type_properties(Scan, for_="custom")
    shown = [(one["name"], one["required"], one["key"], one["secret"], one.get("type")) for one in found]
    assert shown == _EXPECTED
    assert found[0] == {
        "name": "Project",
        "required": True,
        "key": True,
        "secret": False,
        "queryable": True,
        "description": "What to scan",
        "type": "String",
    }


def test_a_third_party_action_gets_its_properties() -> None:
    """The same facts in the words of ``UpdateActionType``, which has no types."""
    found = action_type_properties(Scan, for_="third-party")
    expected = [(name, not is_required, is_key, is_secret) for name, is_required, is_key, is_secret, _ in _EXPECTED]
    assert [(one["name"], one["optional"], one["key"], one["noEcho"]) for one in found] == expected
    assert found[0] == {
        "name": "Project",
        "optional": False,
        "key": True,
        "noEcho": False,
        "queryable": True,
        "description": "What to scan",
    }


def test_botocore_accepts_the_properties() -> None:
    """The inputs of both operations have the members and the types that AWS describes."""
    assert _problems_of_input("CreateCustomActionType", _custom_document(Scan)) == ""
    assert _problems_of_input("UpdateActionType", _third_party_document(Scan)) == ""
    assert "name" in _problems_of_input("UpdateActionType", {"actionType": {"properties": [{}]}})  # it looks at items


# --- limits ----------------------------------------------------------------------------------------------------------


def test_the_limits_are_those_of_the_service() -> None:
    """The numbers are in botocore's model of the service."""
    for shape, limit in {
        "ActionConfigurationPropertyList": limits.MAX_PROPERTIES,
        "ActionTypeProperties": limits.MAX_PROPERTIES,
        "ActionConfigurationKey": limits.CONFIGURATION_KEY,
        "Description": limits.CUSTOM_PROPERTY_DESCRIPTION,
        "PropertyDescription": limits.PROPERTY_DESCRIPTION,
        "MaximumArtifactCount": limits.MAX_CUSTOM_ARTIFACTS,
        "MaximumActionTypeArtifactCount": limits.MAX_ARTIFACTS,
    }.items():
        metadata: Any = _SERVICE.shape_for(shape).metadata
        assert (shape, metadata["max"]) == (shape, limit)


def _class(**annotations: Any) -> type[Any]:
    return dataclasses.make_dataclass("Made", annotations.items(), kw_only=True)


_QUERYABLE = ConfigurationKey(queryable=True)
_BROKEN: list[tuple[type[Any], str]] = [
    (_class(**{f"f{number}": str for number in range(11)}), "has 11 fields, and an action type has at most 10 prop"),
    (_class(**{"n" * 51: str}), f"{'n' * 51}: its key must have 1 to 50 characters"),
    (_class(a=Annotated[str, Key(description="")]), "a: its description must have 1 to 250 characters"),
    (_class(a=Annotated[str, Key(description="d" * 251)]), "a: its description must have 1 to 250 characters"),
    (_class(a=Annotated[str, Key(description=5)]), "a: its description must be a str"),  # type: ignore[arg-type]
    (_class(a=Annotated[str, _QUERYABLE], b=Annotated[str, _QUERYABLE]), "at most one key is queryable, not A, B"),
    (_class(a=Annotated[str | None, _QUERYABLE]), "a: a queryable key must be required and not secret"),
    (_class(a=Annotated[SecretStr, _QUERYABLE]), "a: a queryable key must be required and not secret"),
]


@pytest.mark.parametrize(("model", "problem"), _BROKEN, ids=[problem[:40] for _, problem in _BROKEN])
def test_a_limit_is_named_before_the_service_refuses(model: type[Any], problem: str) -> None:
    """What CodePipeline would refuse is an error that names the class, the field and the limit."""
    with pytest.raises(InvalidRequestError) as caught:
        action_type_properties(model, for_="third-party")
    assert caught.value.parameter == "Made"
    assert caught.value.rule.startswith(problem)


def test_a_description_of_a_custom_action_is_shorter() -> None:
    """Custom actions have 160 characters for a description, third-party actions have 250."""
    model = _class(a=Annotated[str, Key(description="d" * 161)])
    assert len(action_type_properties(model, for_="third-party")) == 1
    with pytest.raises(InvalidRequestError, match="Made: a: its description must have 1 to 160 characters"):
        action_type_properties(model, for_="custom")


def test_every_broken_limit_is_named() -> None:
    """All problems come in one error."""
    model = _class(a=Annotated[str, Key(description="")], b=Annotated[str | None, _QUERYABLE])
    with pytest.raises(InvalidRequestError) as caught:
        action_type_properties(model, for_="custom")
    assert caught.value.rule.count("; ") == 1


def test_other_arguments_are_refused() -> None:
    """A class that cannot be filled and another kind of action are refused."""
    with pytest.raises(TypeError, match="must be an attrs class"):
        action_type_properties(dict, for_="custom")
    with pytest.raises(ValueError, match='for_ must be "custom" or "third-party"'):
        action_type_properties(Scan, for_="thirdparty")  # type: ignore[call-overload] # pyright: ignore[reportArgumentType, reportCallIssue]


# --- round trip ------------------------------------------------------------------------------------------------------

# Type -> strings that a customer may enter for it.
_TYPES: dict[Any, st.SearchStrategy[str]] = {
    str: st.text(max_size=20),
    SecretStr: st.text(max_size=20),
    int: st.integers(-(10**17), 10**17).map(str),
    float: st.floats(allow_nan=False, allow_infinity=False).map(repr),
    bool: st.sampled_from(["true", "False"]),
    timedelta: st.integers(0, 10**6).map(str),
    Level: st.sampled_from(["low", "high"]),
    Literal["a", "b"]: st.sampled_from(["a", "b"]),
    list[int]: st.lists(st.integers(0, 9).map(str)).map(",".join),
    tuple[Level, ...]: st.lists(st.sampled_from(["low", "high"])).map(",".join),
}
_NAME = st.from_regex(r"[a-z]{1,8}(_[a-z]{1,8})?", fullmatch=True).filter(lambda name: not keyword.iskeyword(name))
_NAMES = st.lists(_NAME, max_size=10, unique_by=str.lower)


@st.composite
def _classes_and_values(draw: st.DrawFn) -> tuple[type[Any], dict[str, str]]:
    """Draw a class, and what a customer enters who fills every required property of its action type."""
    fields: list[tuple[str, Any]] = []
    strings: dict[str, st.SearchStrategy[str]] = {}
    for number, name in enumerate(draw(_NAMES)):
        annotation = draw(st.sampled_from(list(_TYPES)))
        key = Key(f"{name} {number}", description=draw(st.none() | st.text("ab", min_size=1, max_size=160)))
        strings[f"{name} {number}"] = _TYPES[annotation]
        fields.append((name, Annotated[(annotation | None) if draw(st.booleans()) else annotation, key]))
    model = dataclasses.make_dataclass("Drawn", fields, kw_only=True)
    properties = action_type_properties(model, for_="custom")
    chosen = [one["name"] for one in properties if one["required"] or draw(st.booleans())]
    return model, {name: draw(strings[name]) for name in chosen}


@given(drawn=_classes_and_values())
def test_what_satisfies_the_properties_fills_the_class(drawn: tuple[type[Any], dict[str, str]]) -> None:
    """Class, properties, a configuration that has each required property, and an object of the class."""
    model, values = drawn
    read = structure_configuration(ActionConfiguration(configuration=values), model)
    assert type(read) is model
    assert _problems_of_input("CreateCustomActionType", _custom_document(model)) == ""
    assert _problems_of_input("UpdateActionType", _third_party_document(model)) == ""
    for one, other in zip(
        action_type_properties(model, for_="custom"), action_type_properties(model, for_="third-party"), strict=True
    ):
        assert (one["name"], one["required"], one["secret"]) == (other["name"], not other["optional"], other["noEcho"])
        if one["required"]:
            fewer = {name: value for name, value in values.items() if name != one["name"]}
            with pytest.raises(ConfigurationError, match="required key missing"):
                structure_configuration(ActionConfiguration(configuration=fewer), model)
