"""Models of pydantic as configuration classes: the same keys, types and errors as of attrs classes and dataclasses."""

from __future__ import annotations

import dataclasses
import enum
import re
import traceback
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar

import attrs
import pytest
from typing_extensions import TypeAliasType

import cp_thirdparty
from cp_thirdparty import (
    ActionConfiguration,
    JobFailedError,
    Key,
    SecretStr,
    action_type_properties,
    structure_configuration,
)
from cp_thirdparty.configuration import check_configuration_class
from cp_thirdparty.exceptions import ConfigurationError

pytest.importorskip("pydantic", reason="pydantic has no wheel for this Python")

import pydantic
import pydantic_core
import pydantic_settings

_PACKAGE = str(Path(cp_thirdparty.__file__).parent)
_MARKER = "xMARKERx"
_T = TypeVar("_T")


class Level(enum.Enum):
    """An enum of strings."""

    LOW = "low"
    HIGH = "high"


def _structure(model: type[_T], values: dict[str, str]) -> _T:
    return structure_configuration(ActionConfiguration(configuration=values), model)


def _problems(model: type[Any], values: dict[str, str]) -> tuple[str, ...]:
    """Return the problems, after a look at all places where a value could be."""
    with pytest.raises(ConfigurationError) as caught:
        _structure(model, values)
    error = caught.value
    shown = [repr([error, error.__dict__, error.__cause__, error.__context__, getattr(error, "__notes__", ())])]
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if frame.f_code.co_filename.startswith(_PACKAGE):
            shown += [repr(value) for value in frame.f_locals.values()]
    assert _MARKER not in "".join(shown)
    return error.problems


def _make_model(annotation: Any) -> type[Any]:
    """Create a model with the field ``value`` of the given type."""
    field: Any = (annotation, ...)
    return pydantic.create_model("Made", value=field)


class Model(pydantic.BaseModel):
    """A model."""

    project_name: str
    api_key: Annotated[SecretStr, Key("APIKey")]
    timeout: timedelta = timedelta(minutes=30)
    fail_on: Level = Level.HIGH
    paths: tuple[str, ...] = ()
    branch: str | None = None


class Settings(pydantic_settings.BaseSettings):
    """A model that reads the environment."""

    project_name: str
    api_key: Annotated[SecretStr, Key("APIKey")]
    timeout: timedelta = timedelta(minutes=30)
    fail_on: Level = Level.HIGH
    paths: tuple[str, ...] = pydantic.Field(default_factory=tuple)
    branch: str | None = None


class Strict(Model):
    """A model that converts nothing and forbids what it does not know."""

    model_config = pydantic.ConfigDict(strict=True, extra="forbid", frozen=True)


@dataclasses.dataclass
class Data:
    """A dataclass."""

    project_name: str
    api_key: Annotated[SecretStr, Key("APIKey")]
    timeout: timedelta = timedelta(minutes=30)
    fail_on: Level = Level.HIGH
    paths: tuple[str, ...] = ()
    branch: str | None = None


@pydantic.dataclasses.dataclass
class PydanticData:
    """A dataclass of pydantic."""

    project_name: str
    api_key: Annotated[SecretStr, Key("APIKey")]
    timeout: timedelta = timedelta(minutes=30)
    fail_on: Level = Level.HIGH
    paths: tuple[str, ...] = ()
    branch: str | None = None


@attrs.frozen
class Attrs:
    """An attrs class."""

    project_name: str
    api_key: Annotated[SecretStr, Key("APIKey")]
    timeout: timedelta = timedelta(minutes=30)
    fail_on: Level = Level.HIGH
    paths: tuple[str, ...] = ()
    branch: str | None = None


each_kind = pytest.mark.parametrize(
    "model", [Attrs, Data, Model, Settings, Strict, PydanticData], ids=lambda model: model.__name__
)


@each_kind
def test_each_kind_of_class_is_filled_alike(model: type[Any]) -> None:
    """One declaration gives the same object, whatever library makes the class."""
    values = {"ProjectName": "demo", "APIKey": "k", "Timeout": "90", "FailOn": "low", "Paths": "a, b", "Else": "x"}
    read = _structure(model, values)
    assert type(read) is model
    assert (read.project_name, read.api_key, read.timeout) == ("demo", SecretStr("k"), timedelta(seconds=90))
    assert (read.fail_on, read.paths, read.branch) == (Level.LOW, ("a", "b"), None)
    assert "APIKey" not in repr(read)
    assert _structure(model, {"ProjectName": "demo", "APIKey": "k"}).timeout == timedelta(minutes=30)


@each_kind
def test_each_kind_of_class_has_the_same_problems(model: type[Any]) -> None:
    """Missing keys and values of other forms are reported in the same words."""
    assert set(_problems(model, {"Timeout": _MARKER, "FailOn": _MARKER})) == {
        "ProjectName: required key missing",
        "APIKey: required key missing",
        "Timeout: must be a number of seconds from 0 to 10,000,000,000",
        "FailOn: must be one of: low, high",
    }


# --- keys ------------------------------------------------------------------------------------------------------------


class _Aliases(pydantic.BaseModel):
    url: str = pydantic.Field(alias="Endpoint URL")
    name: Annotated[str, Key("Title")] = pydantic.Field(alias="Name")
    read_by: str = pydantic.Field("nobody", validation_alias="Reader")
    other_name: str = ""


class _Generated(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(alias_generator=str.upper, validate_by_alias=False, validate_by_name=True)

    api_url: str


def test_an_alias_is_the_key() -> None:
    """The key of a field is that of a `Key`, its alias or its name in PascalCase."""
    values = {"Endpoint URL": "u", "Title": "t", "Name": "no", "Reader": "r", "OtherName": "o"}
    assert _structure(_Aliases, values).model_dump() == {"url": "u", "name": "t", "read_by": "r", "other_name": "o"}
    assert _structure(_Generated, {"API_URL": "u"}).api_url == "u"


# --- types -----------------------------------------------------------------------------------------------------------


class _Later(pydantic.BaseModel):
    value: _Number


class _OwnTypes(pydantic.BaseModel):
    key: pydantic.SecretStr
    raw: Annotated[pydantic.SecretBytes | None, pydantic.Strict()] = None
    url: pydantic.HttpUrl
    address: pydantic.IPvAnyAddress | None = None


_Number = int


def test_types_of_pydantic_read_their_strings() -> None:
    """Pydantic's own secrets, URLs and addresses get the string."""
    read = _structure(_OwnTypes, {"Key": "k", "Raw": "r", "Url": "https://a.example/b", "Address": "10.0.0.1"})
    assert (read.key.get_secret_value(), read.url.host, str(read.address)) == ("k", "a.example", "10.0.0.1")
    assert read.raw is not None
    assert read.raw.get_secret_value() == b"r"
    problems = _problems(_OwnTypes, {"Key": _MARKER, "Url": _MARKER, "Address": _MARKER})
    assert problems[0] == "Url: the class refused the value (url_parsing)"
    assert problems[1].startswith("Address: the class refused the value (")


def test_secrets_of_pydantic_are_not_shown_in_the_console() -> None:
    """The properties of an action type name the values that the console must hide."""
    properties = action_type_properties(_OwnTypes, for_="third-party")
    assert [(one["name"], one["noEcho"]) for one in properties] == [
        ("Key", True),
        ("Raw", True),
        ("Url", False),
        ("Address", False),
    ]


def test_an_annotation_may_name_what_follows() -> None:
    """A model whose annotations could not be read when it was created is completed."""
    assert _structure(_Later, {"Value": "5"}).value == 5


class _Unknown(pydantic.BaseModel):
    value: _Missing  # type: ignore[name-defined] # noqa: F821 # pyright: ignore[reportUndefinedVariable] - on purpose


class _Nested(pydantic.BaseModel):
    value: Model


class _Import(pydantic.BaseModel):
    value: pydantic.ImportString  # type: ignore[type-arg]


class _Choices(pydantic.BaseModel):
    value: str = pydantic.Field(validation_alias=pydantic.AliasChoices("a", "b"))


class _Generic(pydantic.BaseModel, Generic[_T]):
    value: _T


class _Text(pydantic.BaseModel):
    value: Annotated[str, "Name"]


class _ShortSecret(pydantic.BaseModel):
    value: Annotated[SecretStr, pydantic.Field(min_length=8)]


class _PatternOfASecret(pydantic.BaseModel):
    value: SecretStr | None = pydantic.Field(pattern="x")


class _StrippedSecret(pydantic.BaseModel):
    value: Annotated[SecretStr, pydantic.StringConstraints(strip_whitespace=True)]


class _UpperSecret(pydantic.BaseModel):
    value: Annotated[SecretStr, pydantic.StringConstraints(to_upper=True)]


class _NumericSecret(pydantic.BaseModel):
    value: SecretStr = pydantic.Field(multiple_of=5)


class _ShortSecrets(pydantic.BaseModel):
    values: list[Annotated[SecretStr, pydantic.Field(min_length=8)]]


class _PositionalInit(pydantic.BaseModel):
    value: str

    def __init__(self, value: str, /) -> None:
        super().__init__(value=value)


@pydantic.dataclasses.dataclass
class _InitVar:
    value: dataclasses.InitVar[str]


_Root = pydantic.RootModel[str]
_ARBITRARY = pydantic.ConfigDict(arbitrary_types_allowed=True)
_OTHER_SECRET: Any = (type("SecretStr", (), {}), ...)
_NamedLikeASecret = pydantic.create_model("_NamedLikeASecret", __config__=_ARBITRARY, value=_OTHER_SECRET)

_BROKEN: list[tuple[type[Any], type[Exception], str]] = [
    (_Unknown, NameError, "_Missing"),
    (_Nested, TypeError, "_Nested.value: the type is not supported; use str"),
    (_Import, TypeError, "_Import.value: the type is not supported; use str"),
    (_NamedLikeASecret, TypeError, "_NamedLikeASecret.value: the type is not supported; use str"),
    (_Choices, TypeError, "_Choices.value: validation_alias must be a string"),
    (_Generic, TypeError, "_Generic.value: _T is a type variable"),
    (_Text, TypeError, "_Text.value: Annotated needs a ConfigurationKey"),
    (_ShortSecret, TypeError, "_ShortSecret.value: pydantic cannot apply a rule to a SecretStr; use a val"),
    (_PatternOfASecret, TypeError, "_PatternOfASecret.value: pydantic cannot apply a rule to a SecretStr"),
    (_StrippedSecret, TypeError, "_StrippedSecret.value: pydantic cannot apply a rule to a SecretStr"),
    (_UpperSecret, TypeError, "_UpperSecret.value: pydantic cannot apply a rule to a SecretStr"),
    (_NumericSecret, TypeError, "_NumericSecret.value: pydantic cannot apply a rule to a SecretStr"),
    (_ShortSecrets, TypeError, "_ShortSecrets.values: pydantic cannot apply a rule to a SecretStr"),
    (_PositionalInit, TypeError, "_PositionalInit: its __init__ must accept each field as a keyword argument"),
    (_InitVar, TypeError, "_InitVar: InitVar is not supported"),
    (_Root, TypeError, "RootModel is not supported; derive the class from BaseModel"),
]


@pytest.mark.parametrize(("model", "kind", "message"), _BROKEN, ids=lambda value: getattr(value, "__name__", ""))
def test_a_model_that_cannot_work_is_refused(model: type[Any], kind: type[Exception], message: str) -> None:
    """What no string can fill is found when the class is first given."""
    with pytest.raises(kind, match=message):
        check_configuration_class(model)


def test_a_validator_may_check_a_secret() -> None:
    """A validator gets the secret itself, and a predicate too."""
    check = pydantic.AfterValidator(lambda secret: secret)
    assert _structure(_make_model(Annotated[SecretStr, check]), {"Value": "k"}).value == SecretStr("k")


def test_a_parameter_of_a_generic_model_is_a_type() -> None:
    """A generic model with a type is a class of its own."""
    assert _structure(_Generic[int], {"Value": "5"}).value == 5


# --- rules -----------------------------------------------------------------------------------------------------------


class _OwnError(ValueError):
    pass


def _refuse(value: str) -> str:
    raise _OwnError(value)


def _refuse_custom(value: str) -> str:
    raise pydantic_core.PydanticCustomError("my_rule", "bad: {value}", {"value": value})


def _refuse_known(value: str) -> str:
    raise pydantic_core.PydanticKnownError("greater_than", {"gt": value})


def _refuse_under_a_known_name(value: str) -> str:
    raise pydantic_core.PydanticCustomError("my_rule", "bad", {"min_length": value})


def _refuse_with_options(value: str) -> str:
    raise pydantic_core.PydanticCustomError("enum", "bad", {"options": value})


def _assert(value: str) -> str:
    raise AssertionError(value)


def _break(value: str) -> str:
    raise LookupError(value)


class _Raising:
    """Metadata with an attribute that raises."""

    @property
    def pattern(self) -> str:
        raise LookupError(_MARKER)


_F = pydantic.Field
_AtMost60: Any = Annotated[int, _F(le=60)]
_Minutes = TypeAliasType("_Minutes", Annotated[int, _F(le=60)])
_RULES: list[tuple[Any, str, str]] = [
    (Annotated[int, _F(gt=5)], "5", "must be more than 5"),
    (Annotated[int, _F(ge=5)], "4", "must be at least 5"),
    (Annotated[int, _F(lt=5)], "5", "must be less than 5"),
    (Annotated[int, _F(le=60)], "61", "must be at most 60"),
    (Annotated[int, _F(multiple_of=5)], "6", "must be a multiple of 5"),
    (pydantic.PositiveInt, "0", "must be more than 0"),
    (Annotated[str, _F(min_length=9)], _MARKER, "must have at least 9 characters or items"),
    (Annotated[str, _F(max_length=1)], _MARKER, "must have at most 1 characters or items"),
    (Annotated[list[str], _F(max_length=1)], "a,b", "must have at most 1 characters or items"),
    (Annotated[list[str], _F(min_length=1)], "", "must have at least 1 characters or items"),
    (Annotated[str, _F(pattern="^[a-z]+$")], _MARKER, "must match ^[a-z]+$"),
    (Annotated[str, _F(pattern=re.compile("^[a-z]+$"))], _MARKER, "must match ^[a-z]+$"),
    (Annotated[pydantic.SecretBytes, _F(min_length=9)], _MARKER, "must have at least 9 characters or items"),
    (
        Annotated[str, _F(min_length=1), pydantic.AfterValidator(_refuse_under_a_known_name)],
        _MARKER,
        "the class refused the value (ValidationError)",
    ),
    (
        Annotated[str, _F(min_length=1), pydantic.AfterValidator(_refuse_with_options)],
        _MARKER,
        "the class refused the value (enum)",
    ),
    (
        Annotated[list[Annotated[str, _F(max_length=1)]], _F(max_length=2)],
        f"a,{_MARKER}",
        "item 2: must have at most 1 characters or items",
    ),
    (_AtMost60 | None, "61", "must be at most 60"),
    (pydantic.PositiveInt | None, "0", "must be more than 0"),
    (_Minutes, "61", "must be at most 60"),
    (Annotated[timedelta, _F(le=timedelta(minutes=5))], "300.5", "must be at most 300"),
    (Annotated[str, _Raising(), _F(pattern="^[a-z]+$")], _MARKER, "must match ^[a-z]+$"),
    (Annotated[str, pydantic.AfterValidator(_refuse)], _MARKER, "the class refused the value (_OwnError)"),
    (Annotated[str, pydantic.AfterValidator(_assert)], _MARKER, "the class refused the value (AssertionError)"),
    (Annotated[str, pydantic.AfterValidator(_refuse_custom)], _MARKER, "the class refused the value (ValidationError)"),
    (Annotated[str, pydantic.AfterValidator(_refuse_known)], _MARKER, "the class refused the value (greater_than)"),
]


@pytest.mark.parametrize(("annotation", "text", "rule"), _RULES, ids=[rule for *_, rule in _RULES])
def test_a_rule_of_the_model_is_described(annotation: Any, text: str, rule: str) -> None:
    """A rule of a field is described by its own constants, and any other failure by its class."""
    model = _make_model(Annotated[annotation, Key("My Key")])
    assert _problems(model, {"My Key": text}) == (f"My Key: {rule}",)


class _Together(pydantic.BaseModel):
    first: int = _F(alias="First Number")
    second: Annotated[int, _F(lt=5)]

    @pydantic.model_validator(mode="after")
    def _check(self) -> _Together:
        raise _OwnError(_MARKER)


class _OtherFailure(pydantic.BaseModel):
    value: Annotated[str, pydantic.AfterValidator(_break)]


def test_a_rule_of_the_class_names_no_key() -> None:
    """A failure of the complete model is reported by the class of the exception."""
    assert _problems(_Together, {"First Number": "1", "Second": "9"}) == ("Second: must be less than 5",)
    assert _problems(_Together, {"First Number": "1", "Second": "1"}) == ("the class refused the values (_OwnError)",)
    assert _problems(_OtherFailure, {"Value": _MARKER}) == ("the class refused the values (LookupError)",)


@pydantic.dataclasses.dataclass
class _Limited:
    percent: Annotated[int, _F(le=100)]
    fixed: int = dataclasses.field(default=1, init=False)


def test_a_rule_of_a_dataclass_of_pydantic_is_described() -> None:
    """A dataclass of pydantic has the same rules as a model."""
    assert _problems(_Limited, {"Percent": "101"}) == ("Percent: must be at most 100",)


@pydantic.dataclasses.dataclass
class _WithFields:
    url: str = _F(min_length=3, description="The address.")
    name: str = _F("n", alias="Title")
    percent: int | None = _F(default=None, le=100)
    later: _Number | None = _F(ge=1)  # pyright: ignore[reportGeneralTypeIssues] - arguments have names


class _Derived(_WithFields):
    """A subclass that is not a new dataclass."""


def test_fields_of_a_dataclass_of_pydantic_are_those_of_a_model() -> None:
    """`pydantic.Field` is not a default, and its alias is the key."""
    properties = action_type_properties(_WithFields, for_="third-party")
    assert [(each["name"], each["optional"]) for each in properties] == [
        ("Url", False),
        ("Title", True),
        ("Percent", True),
        ("Later", True),
    ]
    assert properties[0].get("description") == "The address."
    assert action_type_properties(_Derived, for_="third-party") == properties
    read = _structure(_WithFields, {"Url": "abc", "Title": "t"})
    assert (read.url, read.name, read.percent, read.later) == ("abc", "t", None, None)
    assert _problems(_WithFields, {}) == ("Url: required key missing",)
    assert _problems(_WithFields, {"Url": "abc", "Percent": "101", "Later": "0"}) == (
        "Percent: must be at most 100",
        "Later: must be at least 1",
    )


def test_a_description_of_pydantic_is_that_of_the_property() -> None:
    """The description of a `Key` replaces that of a pydantic field."""

    class Described(pydantic.BaseModel):
        url: str = _F(description="of the field")
        name: Annotated[str, Key(description="of the key")] = _F(description="of the field")

    properties = action_type_properties(Described, for_="custom")
    assert [each.get("description") for each in properties] == ["of the field", "of the key"]


def test_a_model_may_raise_an_error_of_its_own() -> None:
    """`ConfigurationError` and `JobFailedError` of a validator are raised as they are."""

    def fail(value: str) -> str:
        raise JobFailedError("PermissionError", "no such project") from ValueError(value)

    model = _make_model(Annotated[str, pydantic.AfterValidator(fail)])
    with pytest.raises(JobFailedError, match="no such project") as caught:
        _structure(model, {"Value": _MARKER})
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)
    assert "fail" not in [entry.name for entry in caught.traceback]


class _UncheckedDefault(pydantic.BaseModel):
    percent: Annotated[int, _F(ge=0)] = -1


def test_the_model_itself_has_the_defaults() -> None:
    """An absent key is not an argument, so pydantic does not check the default, and knows which fields were given."""
    read = _structure(_UncheckedDefault, {})
    assert (read.percent, read.model_fields_set) == (-1, set())
    assert _structure(_UncheckedDefault, {"Percent": "5"}).model_fields_set == {"percent"}
    assert _problems(_UncheckedDefault, {"Percent": "-1"}) == ("Percent: must be at least 0",)


# --- settings --------------------------------------------------------------------------------------------------------


class _Hostile(pydantic_settings.BaseSettings):
    model_config = pydantic_settings.SettingsConfigDict(
        env_file=".env", cli_parse_args=True, secrets_dir="secrets", extra="forbid"
    )

    name: str = "n"
    copy_name: str = pydantic.Field(default_factory=lambda data: data["name"])
    path: tuple[str, ...] = ()
    paths: list[str] = []
    branch: str | None

    @classmethod
    def settings_customise_sources(cls, *classes: Any, **sources: Any) -> Any:
        assert classes == (cls,)
        return *(source for name, source in sources.items() if name != "init_settings"), sources["init_settings"]


def test_the_environment_of_the_worker_is_not_the_customers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A model of settings takes absent values from its defaults, and never from the environment, files or arguments."""
    for name in ("PROJECT_NAME", "BRANCH", "TIMEOUT", "FAIL_ON", "NAME", "COPY_NAME", "PATHS"):
        monkeypatch.setenv(name, _MARKER)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["worker", "--verbose"])
    (tmp_path / ".env").write_text(f"DATABASE_URL={_MARKER}\nNAME={_MARKER}\n")
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "name").write_text(_MARKER)
    read = _structure(Settings, {"ProjectName": "demo", "APIKey": "k"})
    assert (read.branch, read.timeout, read.fail_on) == (None, timedelta(minutes=30), Level.HIGH)
    assert _problems(Settings, {"APIKey": "k"}) == ("ProjectName: required key missing",)
    hostile = _structure(_Hostile, {"Name": "customer", "Paths": "a,b"})
    assert hostile.model_dump() == {
        "name": "customer",
        "copy_name": "customer",
        "path": (),
        "paths": ["a", "b"],
        "branch": None,
    }
    assert _structure(_Hostile, {}).copy_name == "n"


# --- secrets in models -----------------------------------------------------------------------------------------------


def test_a_secret_is_a_type_of_pydantic() -> None:
    """A `SecretStr` of this library is the type of a field, and stays hidden in what pydantic writes."""
    model = Model(project_name="p", api_key="xMARKERx")  # type: ignore[arg-type] # pydantic converts it
    assert model.api_key == SecretStr(_MARKER)
    assert model.model_dump()["api_key"] is model.api_key
    assert _MARKER not in model.model_dump_json() + repr(model) + repr(model.model_dump())
    assert Model(project_name="p", api_key=SecretStr("k")).api_key == SecretStr("k")
    with pytest.raises(pydantic.ValidationError):
        Model(project_name="p", api_key=5)  # type: ignore[arg-type] # on purpose


def test_literals_are_read() -> None:
    """A `Literal` is one of its strings."""
    model = _make_model(Literal["a", "b"])
    assert _structure(model, {"Value": "b"}).value == "b"
