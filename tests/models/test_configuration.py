"""`structure_configuration`: action configurations to the partner's own class, with no value in an error."""

# ruff: noqa: UP007, UP045 - both spellings of unions are tested

from __future__ import annotations

import dataclasses
import enum
import math
import re
import traceback
import typing
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, NamedTuple, NewType, Optional, TypedDict, TypeVar, Union

import attrs
import cattrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

import cp_thirdparty
from cp_thirdparty import ActionCategory, ActionConfiguration, Key, SecretStr, structure_configuration
from cp_thirdparty.exceptions import ConfigurationError

_PACKAGE = str(Path(cp_thirdparty.__file__).parent)
_MARKER = "xMARKERx"
_T = TypeVar("_T")


class Level(enum.Enum):
    """An enum of strings."""

    LOW = "low"
    HIGH = "high"
    TOP = "high"  # noqa: PIE796 - an alias


class Colour(str, enum.Enum):
    """An enum that is a string."""

    RED = "red"


class Number(enum.Enum):
    """An enum that no text can name."""

    ONE = 1


class Mixed(enum.Enum):
    """An enum that a string can name in part."""

    TEXT = "text"
    ONE = 1


def _class(annotation: Any, *default: Any) -> type[Any]:
    """Make an attrs class with the field ``value`` of the given type."""
    field = attrs.field(default=default[0]) if default else attrs.field()
    return attrs.frozen(type("Made", (), {"__annotations__": {"value": annotation}, "value": field}))


def _read(text: str, annotation: Any) -> Any:
    return structure_configuration(ActionConfiguration(configuration={"Value": text}), _class(annotation)).value


def _catch_refusal(configuration: dict[str, str], model: type[Any]) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        structure_configuration(ActionConfiguration(configuration=configuration), model)
    return caught.value


# --- what a string becomes -------------------------------------------------------------------------------------------

_GOOD: list[tuple[Any, str, Any]] = [
    (str, "", ""),
    (str, " a \n\u00fc\0", " a \n\u00fc\0"),
    (SecretStr, "s", SecretStr("s")),
    (SecretStr, "", SecretStr("")),
    (int, "45", 45),
    (int, "0", 0),
    (int, "-7", -7),
    (int, "-0", 0),
    (int, "007", 7),
    (int, "9" * 18, 10**18 - 1),
    (int, "-" + "9" * 18, 1 - 10**18),
    (float, "1", 1.0),
    (float, "-0.5", -0.5),
    (float, "+1.25", 1.25),
    (float, "1e3", 1000.0),
    (float, "1.5E-3", 0.0015),
    (float, "1" * 300, float("1" * 300)),
    (float, "1e-999", 0.0),
    (float, f"{'0' * 399}1.{'0' * 400}e0002", 100.0),
    (bool, "true", True),
    (bool, "false", False),
    (bool, "TRUE", True),
    (bool, "False", False),
    (Level, "low", Level.LOW),
    (Level, "high", Level.HIGH),
    (Colour, "red", Colour.RED),
    (ActionCategory, "Test", ActionCategory.TEST),
    (Literal["low", "high"], "high", "high"),
    (Literal[Colour.RED, "blue"], "red", Colour.RED),
    (Literal["a", "b", "c"], "b", "b"),
    (Literal[""], "", ""),
]


def _name_parameter(value: object) -> str:
    """Name a parameter without addresses: processes that share the tests must agree on the names."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))


@pytest.mark.parametrize(("annotation", "text", "expected"), _GOOD)
def test_reads(annotation: Any, text: str, expected: Any) -> None:
    """A string that fits becomes a value of exactly the field's type."""
    value = _read(text, annotation)
    assert (type(expected), expected) == (type(value), value)


_INT = "must be an integer of at most 18 digits"
_FLOAT = "must be a finite decimal number"
_BOOL = "must be true or false"
_ARABIC = "\u0664\u0665"

_LOW_HIGH = "must be one of: low, high"
_ODD_INTS = ["4_5", _ARABIC, "\uff14", "\u00b2", "\u22124", "4\u200b", "\ud800", "9" * 19, "-" + "9" * 19, "9" * 5000]
_ODD_FLOATS = ["1_0", _ARABIC, "\uff11", "\ud800", "1" * 400, "9" * 5000, "1e99999", "1e999", "-1e999"]
_LONG_FLOATS = ["0" * 401, "0." + "0" * 401, "0e00000"]

_BAD: list[tuple[Any, str, str]] = [
    *((int, text, _INT) for text in ["", " 4", "4 ", "4\n", "+4", "4.0", "1e3", "0x1F", "--4", "-", "x", "nan"]),
    *((int, text, _INT) for text in _ODD_INTS),
    *((float, text, _FLOAT) for text in ["", " 1", "1 ", "1\n", ".5", "5.", "1e", "e3", "0x1p3", "1,5", "-", "x"]),
    *((float, text, _FLOAT) for text in ["nan", "NaN", "-nan", "inf", "-inf", "Infinity"]),
    *((float, text, _FLOAT) for text in _ODD_FLOATS),
    *((float, text, _FLOAT) for text in _LONG_FLOATS),
    *(
        (bool, text, _BOOL)
        for text in ["", "yes", "no", "on", "1", "0", "t", " true", "true\n", "\uff54rue", "fal\u017fe"]
    ),
    *((Level, text, _LOW_HIGH) for text in ["", "LOW", " low", "HIGH", "Level.LOW", "middle"]),
    *((Colour, text, "must be one of: red") for text in ["", "RED", "blue", "Colour.RED"]),
    *((Literal["low", "high"], text, _LOW_HIGH) for text in ["", "High", "low ", "middle"]),
    (Literal[Colour.RED, "blue"], "RED", "must be one of: red, blue"),
]


@pytest.mark.parametrize(("annotation", "text", "rule"), _BAD)
def test_refuses(annotation: Any, text: str, rule: str) -> None:
    """A string that does not fit is refused by the key and the rule, optional or not."""
    assert _catch_refusal({"Value": text}, _class(annotation)).problems == (f"Value: {rule}",)
    assert _catch_refusal({"Value": text}, _class(Optional[annotation], None)).problems == (f"Value: {rule}",)


@pytest.mark.parametrize("annotation", [int, float, bool, Level, Literal["low"]], ids=str)
@given(text=st.text() | st.from_regex(r"\s?[+-]?\d*[._]?\d*([eE][+-]?\d+)?\s?", fullmatch=True))
def test_any_text_is_a_value_or_refused(annotation: Any, text: str) -> None:
    """Any text gives a value of the type or a `ConfigurationError`, and nothing else."""
    try:
        value = _read(text, annotation)
    except ConfigurationError as refused:
        assert len(refused.problems) == 1  # noqa: PT017 - either way is right
    else:
        assert isinstance(value, str if annotation == Literal["low"] else annotation)
        assert not isinstance(value, float) or math.isfinite(value)


@given(number=st.integers(1 - 10**18, 10**18 - 1))
def test_reads_each_integer_of_18_digits(number: int) -> None:
    """An integer that Python writes is read as it was."""
    assert number == _read(str(number), int)


@given(number=st.floats(allow_nan=False, allow_infinity=False))
def test_reads_each_finite_number(number: float) -> None:
    """A finite number that Python writes is read as it was."""
    assert number == _read(repr(number), float)


@given(text=st.text(st.characters(exclude_categories=["Cs"])))
def test_reads_each_string(text: str) -> None:
    """A string is read as it was, hidden or plain."""
    assert text == _read(text, str)
    assert SecretStr(text) == _read(text, SecretStr)


# --- keys ------------------------------------------------------------------------------------------------------------


@attrs.frozen
class Keys:
    """Fields whose keys the rule gives."""

    name: str
    project_name: str
    x: str
    api_key2: str
    trailing_: str
    _private: str
    aliased: str = attrs.field(alias="other")
    __very_private: str = attrs.field(alias="very")


_KEYS = {
    "Name": "1",
    "ProjectName": "2",
    "X": "3",
    "ApiKey2": "4",
    "Trailing": "5",
    "Private": "6",
    "Aliased": "7",
    "KeysVeryPrivate": "8",
}


def test_a_key_is_the_pascal_case_of_the_field() -> None:
    """The key comes of the field's name: neither an alias of attrs nor a leading underscore changes it."""
    read = structure_configuration(ActionConfiguration(configuration=_KEYS), Keys)
    assert tuple("12345678") == attrs.astuple(read)


@dataclasses.dataclass
class _PrivateData:
    _value: str


def test_a_private_field_of_a_dataclass_is_read() -> None:
    """A leading underscore is not a part of the key in a dataclass either."""
    assert structure_configuration(ActionConfiguration(configuration={"Value": "v"}), _PrivateData) == _PrivateData("v")


_K = Key("APIKey")
_KEYED: dict[str, Any] = {
    "plain": Annotated[str, _K],
    "among others": Annotated[str, "a text", _K, 5],
    "last of two": Annotated[str, Key("Other"), _K],
    "nested": Annotated[Annotated[str, "a text"], _K],
    "outer of two": Annotated[Annotated[str, Key("Other")], _K],
    "union within": Annotated[str | None, _K],
    "Optional within": Annotated[Optional[str], _K],
    "Optional around": Optional[Annotated[str, _K]],
    "None first": Union[None, Annotated[str, _K]],
    "Optional around and a text": Annotated[Optional[Annotated[str, _K]], "a text"],
    "Optional within and a text": Annotated[Optional[Annotated[str, "a text"]], _K],
    "keys around and within": Annotated[Optional[Annotated[str, Key("Other")]], _K],
    "deep": Optional[Annotated[Optional[Annotated[str, _K]], "a text"]],
}


@pytest.mark.parametrize("annotation", _KEYED.values(), ids=_KEYED)
def test_a_key_may_be_named(annotation: Any) -> None:
    """A `Key` names the key wherever it stands around the type; of two the outer one counts."""
    configuration = ActionConfiguration(configuration={"APIKey": "v", "Other": "no", "Value": "no"})
    assert structure_configuration(configuration, _class(annotation)).value == "v"


def test_other_annotations_leave_the_key_alone() -> None:
    """Annotated without a `Key` changes nothing."""
    assert _read("5", Annotated[int, 60]) == 5
    assert _read("5", Optional[Annotated[int, 60]]) == 5


def test_a_problem_names_the_key() -> None:
    """A problem names the key as the customer sees it, not the field."""
    model = _class(Annotated[int, Key("Time-out (min)")])
    assert _catch_refusal({}, model).problems == ("Time-out (min): required key missing",)
    assert _catch_refusal({"Time-out (min)": "x"}, model).problems == (f"Time-out (min): {_INT}",)


def test_keys_are_compared_exactly() -> None:
    """A key in another case is another key."""
    assert _catch_refusal({"value": "v", "VALUE": "v"}, _class(str)).problems == ("Value: required key missing",)


# --- what may be absent ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("configuration", [None, ActionConfiguration()], ids=["None", "empty"])
@pytest.mark.parametrize(
    ("annotation", "default", "expected"),
    [
        (str, ("d",), "d"),
        (int, (attrs.Factory(lambda: 7),), 7),
        (str | None, (), None),
        (Optional[SecretStr], (), None),
        (Optional[Annotated[int, _K]], (), None),
        (Annotated[int | None, _K], (), None),
        (str | None, (None,), None),
        (int | None, (30,), 30),
        (Level | None, (Level.LOW,), Level.LOW),
    ],
    ids=_name_parameter,
)
def test_an_absent_key_gives_the_default(
    annotation: Any, default: tuple[Any, ...], expected: Any, configuration: ActionConfiguration | None
) -> None:
    """A field with a default gets it; one that may be None and has no default gets None."""
    assert expected == structure_configuration(configuration, _class(annotation, *default)).value


def test_a_default_factory_runs_for_each_configuration() -> None:
    """A factory is asked each time."""
    numbers = iter(range(5))
    model = _class(int, attrs.Factory(lambda: next(numbers)))
    assert [structure_configuration(None, model).value for _ in range(3)] == [0, 1, 2]


def test_a_value_wins_over_a_default() -> None:
    """A default is for an absent key only: an empty text is a value."""
    assert structure_configuration(ActionConfiguration(configuration={"Value": ""}), _class(str, "d")).value == ""
    assert _catch_refusal({"Value": ""}, _class(int, 30)).problems == (f"Value: {_INT}",)


def test_unknown_keys_are_ignored() -> None:
    """The customer may have entered more than the class knows."""
    configuration = ActionConfiguration(configuration={"Value": "1", "value": "2", "Else": "3", "": "4"})
    assert structure_configuration(configuration, _class(int)).value == 1


def test_no_configuration_is_an_empty_one() -> None:
    """Without a configuration each required key is missing."""
    with pytest.raises(ConfigurationError) as caught:
        structure_configuration(None, _class(str))
    assert caught.value.problems == ("Value: required key missing",)


# --- kinds of classes ------------------------------------------------------------------------------------------------


@attrs.frozen
class Frozen:
    """A frozen attrs class."""

    project_name: str
    api_key: SecretStr
    timeout_minutes: int = 30
    fail_on: Literal["low", "high"] = "high"
    made: int = attrs.field(init=False, default=1)


@attrs.define(kw_only=True)
class KeywordOnly:
    """A mutable attrs class whose required field follows a default."""

    timeout_minutes: int = 30
    project_name: str
    api_key: SecretStr
    fail_on: Literal["low", "high"] = "high"


@dataclasses.dataclass(frozen=True)
class Data:
    """A frozen dataclass."""

    project_name: str
    api_key: SecretStr
    timeout_minutes: int = dataclasses.field(default_factory=lambda: 30)
    fail_on: Literal["low", "high"] = "high"
    made: int = dataclasses.field(init=False, default=1)


@dataclasses.dataclass(kw_only=True)
class KeywordOnlyData:
    """A dataclass whose required field follows a default."""

    timeout_minutes: int = 30
    project_name: str
    api_key: SecretStr
    fail_on: Literal["low", "high"] = "high"


@attrs.frozen
class Base:
    """What two classes have in common."""

    project_name: str
    fail_on: str


@attrs.frozen
class Derived(Base):
    """A class that adds fields and narrows one."""

    api_key: SecretStr
    timeout_minutes: int = 30
    fail_on: Literal["low", "high"] = "high"


@attrs.frozen
class Strings:
    """A class whose annotations are strings twice over."""

    project_name: "str"  # noqa: UP037 - which is the point
    api_key: "SecretStr"  # noqa: UP037
    timeout_minutes: "int" = 30  # noqa: UP037
    fail_on: "Literal['low', 'high']" = "high"  # noqa: UP037


_CLASSES: list[type[Any]] = [Frozen, KeywordOnly, Data, KeywordOnlyData, Derived, Strings]
each_class = pytest.mark.parametrize("model", _CLASSES, ids=lambda model: model.__name__)


@each_class
def test_reads_any_kind_of_class(model: type[Any]) -> None:
    """An attrs class or a dataclass of any kind is filled: keyword-only, derived, with strings as types."""
    configuration = ActionConfiguration(
        configuration={"ProjectName": "demo", "ApiKey": "k", "TimeoutMinutes": "45", "FailOn": "low", "Made": "2"}
    )
    expected = model(project_name="demo", api_key=SecretStr("k"), timeout_minutes=45, fail_on="low")
    read = structure_configuration(configuration, model)
    assert (model, expected) == (type(read), read)
    assert getattr(read, "made", 1) == 1


@each_class
def test_all_problems_come_at_once(model: type[Any]) -> None:
    """Every problem is listed by its key, in one error."""
    wrong = {"TimeoutMinutes": "soon", "FailOn": "always", "ApiKey": "k"}
    assert set(_catch_refusal(wrong, model).problems) == {
        "ProjectName: required key missing",
        f"TimeoutMinutes: {_INT}",
        "FailOn: must be one of: low, high",
    }


@attrs.frozen
class Empty:
    """A class without fields."""


def test_a_class_without_fields_takes_any_configuration() -> None:
    """A class that wants nothing gets nothing."""
    assert structure_configuration(ActionConfiguration(configuration={"A": "1"}), Empty) == Empty()


def _upper(value: str) -> str:
    return value.upper()


@attrs.frozen
class Converted:
    """A class with a converter and a validator of its own."""

    names: str = attrs.field(converter=_upper, validator=attrs.validators.min_len(2))


def test_the_own_converters_and_validators_run() -> None:
    """What the class does with a value of its type still happens."""
    assert structure_configuration(ActionConfiguration(configuration={"Names": "ab"}), Converted).names == "AB"
    assert _catch_refusal({"Names": "a"}, Converted).problems == ("Names: must have at least 2 characters or items",)


# --- no value in an error --------------------------------------------------------------------------------------------


def _check(_instance: object, _field: object, value: str) -> None:
    raise ValueError(f"bad value: {value}")


@attrs.frozen
class _Validated:
    value: str = attrs.field(validator=_check)


@attrs.frozen
class _PostInit:
    value: str

    def __attrs_post_init__(self) -> None:
        raise LookupError(self.value)


@dataclasses.dataclass
class _DataPostInit:
    value: str

    def __post_init__(self) -> None:
        raise TypeError(self.value, self)


@attrs.frozen
class _Chained:
    value: str

    def __attrs_post_init__(self) -> None:
        try:
            int(self.value)
        except ValueError as error:
            raise RuntimeError(self.value) from error


def _fail(value: str) -> str:
    raise KeyError(value)


@attrs.frozen
class _OwnConverter:
    value: str = attrs.field(converter=_fail)


@attrs.frozen
class _Inner:
    number: int


@attrs.frozen
class _OwnCattrs:
    value: str

    def __attrs_post_init__(self) -> None:
        cattrs.structure({"number": self.value}, _Inner)


@attrs.frozen
class _OwnCattrsPart:
    value: str

    def __attrs_post_init__(self) -> None:
        try:
            cattrs.structure({"number": self.value}, _Inner)
        except cattrs.ClassValidationError as error:
            raise error.exceptions[0]  # noqa: B904 - it keeps the notes of cattrs


class _OddError(Exception):
    def __str__(self) -> str:
        raise RuntimeError(_MARKER)

    __repr__ = __str__


@attrs.frozen
class _Odd:
    value: str

    def __attrs_post_init__(self) -> None:
        raise _OddError(self.value)


_REFUSED = "the class refused the values ({})"
# Class, problems of it when "Value" is a marker.
_FAILING: list[tuple[type[Any], str]] = [
    (_class(int), f"Value: {_INT}"),
    (_class(float), f"Value: {_FLOAT}"),
    (_class(bool), f"Value: {_BOOL}"),
    (_class(Level), "Value: must be one of: low, high"),
    (_class(Literal["low"]), "Value: must be one of: low"),
    (_class(int | None, None), f"Value: {_INT}"),
    (_class(Annotated[str, Key("Missing")]), "Missing: required key missing"),
    (_Validated, "Value: the class refused the value (ValueError)"),
    (_PostInit, _REFUSED.format("LookupError")),
    (_DataPostInit, _REFUSED.format("TypeError")),
    (_Chained, _REFUSED.format("RuntimeError")),
    (_OwnConverter, "Value: the class refused the value (KeyError)"),
    (_OwnCattrs, _REFUSED.format("ClassValidationError")),
    (_OwnCattrsPart, _REFUSED.format("ValueError")),
    (_Odd, _REFUSED.format("_OddError")),
]


def _leaks(error: BaseException) -> list[str]:
    """Return where the marker is: in the error, in what hangs on it, or in a local of a frame of ours."""
    shown = {"error": repr([str(error), repr(error), error.args, error.__dict__, getattr(error, "__notes__", ())])}
    shown |= {"cause": repr(error.__cause__), "context": repr(error.__context__)}
    for frame, _ in traceback.walk_tb(error.__traceback__):
        code = frame.f_code
        if code.co_filename.startswith(_PACKAGE):
            shown |= {f"{code.co_name}.{name}": repr(value) for name, value in frame.f_locals.items()}
    shown["lines"] = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    return [place for place, text in shown.items() if _MARKER in text]


@pytest.mark.parametrize(("model", "problem"), _FAILING)
def test_an_error_holds_no_value(model: type[Any], problem: str) -> None:
    """Neither the error, nor what led to it, nor a local of a frame of ours holds a value, whoever raised it."""
    refused = _catch_refusal({"Value": _MARKER, "Else": _MARKER}, model)
    assert refused.problems == (problem,)
    assert _leaks(refused) == []
    assert (refused.__cause__, refused.__context__) == (None, None)


@attrs.frozen
class _NotFilled:
    value: str
    items: set[str]


def test_a_type_error_holds_no_value() -> None:
    """The error about a class holds no value of the configuration either."""
    with pytest.raises(TypeError) as caught:
        structure_configuration(ActionConfiguration(configuration={"Value": _MARKER}), _NotFilled)
    assert _leaks(caught.value) == []


# --- classes that cannot be filled -----------------------------------------------------------------------------------

_SUPPORTED = (
    "the type is not supported; use str, SecretStr, int, float, bool, timedelta, an enum or a Literal of strings, a "
    "list[X] or tuple[X, ...] of one of them, or one of them | None"
)
_Path = NewType("_Path", Path)


class _Record(NamedTuple):
    value: str


class _Typed(TypedDict):
    value: str


_UNSUPPORTED: list[Any] = [
    list,
    typing.List,  # noqa: UP006 - an alias without an item type
    list[int | None],
    list[list[str]],
    list[tuple[str, ...]],
    list[Number],
    dict[str, str],
    tuple,
    tuple[()],
    tuple[str],
    tuple[str, str],
    Sequence[str],
    set[str],
    str | int,
    Union[str, int],
    str | int | None,
    str | SecretStr,
    Literal[1, 2],
    Literal["a", 1],
    Literal["a", None],  # noqa: PYI061 - a literal that is not a string
    Literal[True],
    Number,
    Mixed,
    Number | None,
    Annotated[set[str], Key("Items")],
    Optional[Annotated[Number, Key("N")]],
    datetime,
    Path,
    bytes,
    complex,
    object,
    Any,
    None,
    _Path,
    type,
    Callable[[], str],
    ActionConfiguration,
    Frozen,
    _Record,
]


@pytest.mark.parametrize("default", [(), (None,)], ids=["required", "with a default"])
@pytest.mark.parametrize("annotation", _UNSUPPORTED, ids=str)
def test_an_unsupported_type_is_refused_at_first_sight(annotation: Any, default: tuple[Any, ...]) -> None:
    """A field that no string can fill is a fault of the class, named by the field, whatever the configuration holds."""
    model = _class(annotation, *default)
    for configuration in (None, ActionConfiguration(), ActionConfiguration(configuration={"Value": "v"})):
        with pytest.raises(TypeError) as caught:
            structure_configuration(configuration, model)
        assert str(caught.value) == f"Made.value: {_SUPPORTED}"


class _Plain:
    value: Any = attrs.field()


del _Plain.__annotations__["value"]
_Unannotated = attrs.define(_Plain)


@pytest.mark.parametrize(
    "model", [_Unannotated, attrs.make_class("Made", ["value"]), attrs.make_class("Made", {"value": attrs.field()})]
)
def test_a_field_without_a_type_is_refused_at_first_sight(model: type[Any]) -> None:
    """A field must have a type, because a hidden string is not revealed unasked."""
    with pytest.raises(TypeError) as caught:
        structure_configuration(ActionConfiguration(configuration={"Value": "v"}), model)
    assert str(caught.value) == f"{model.__qualname__}.value: {_SUPPORTED}"


@attrs.frozen
class _Generic(Generic[_T]):
    value: _T


@attrs.frozen
class _Twins:
    api_key: str
    other: Annotated[str, Key("ApiKey")] = ""
    b: Annotated[int, Key("A")] = 1
    a: int = 2


@dataclasses.dataclass
class _UnderscoreTwins:
    value: str
    value_: str = ""


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (_Twins, "_Twins: more than one field has the key A, ApiKey"),
        (_UnderscoreTwins, "_UnderscoreTwins: more than one field has the key Value"),
    ],
)
def test_two_fields_cannot_have_one_key(model: type[Any], message: str) -> None:
    """A class with two fields of one key is refused at first sight, with all such keys."""
    for configuration in (None, ActionConfiguration(configuration={"ApiKey": "v", "A": "1", "Value": "v"})):
        with pytest.raises(TypeError) as caught:
            structure_configuration(configuration, model)
        assert str(caught.value) == message


_NO_CLASSES: list[Any] = [int, str, dict, object, Level, SecretStr, _Record, _Typed, type("Plain", (), {})]
_NO_INSTANCES: list[Any] = [None, 5, "Frozen", b"", 1.5, [], {}, (), [Frozen], list[int], str | None, lambda: None]


@pytest.mark.parametrize("model", [*_NO_CLASSES, *_NO_INSTANCES, _Generic, _Generic[int]], ids=_name_parameter)
def test_takes_an_attrs_class_or_a_dataclass(model: Any) -> None:
    """What is neither an attrs class nor a dataclass is a TypeError."""
    with pytest.raises(TypeError):
        structure_configuration(None, model)


@pytest.mark.parametrize("model", [Frozen, Data, KeywordOnly], ids=lambda model: model.__name__)
def test_takes_a_class_and_no_instance(model: type[Any]) -> None:
    """An instance where its class belongs is a TypeError."""
    instance: Any = model(project_name="p", api_key=SecretStr("k"))
    with pytest.raises(TypeError):
        structure_configuration(ActionConfiguration(configuration={"ProjectName": "p", "ApiKey": "k"}), instance)


def test_a_key_is_a_value() -> None:
    """Keys of one name are equal, hashable and immutable."""
    assert {Key("A"), Key("A")} == {Key("A")}
    assert repr(Key("A")) == "ConfigurationKey(name='A', description=None, queryable=False, key=False)"
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        Key("A").name = "B"  # type: ignore[misc] # pyright: ignore[reportAttributeAccessIssue]


@dataclasses.dataclass
class _WithInitVar:
    project_name: str
    extra: dataclasses.InitVar[int] = 0


def test_an_init_var_is_refused_at_first_sight() -> None:
    """What is not a field cannot be filled, and is the partner's mistake rather than the customer's."""
    with pytest.raises(TypeError, match="InitVar"):  # Python 3.10 itself refuses it, in other words
        structure_configuration(None, _WithInitVar)


def test_a_plain_dictionary_is_not_a_configuration() -> None:
    """A dictionary in place of the model is refused, and stays out of our frames."""
    with pytest.raises(TypeError, match="takes an ActionConfiguration or None") as caught:
        structure_configuration({"Value": _MARKER}, _NotFilled)  # type: ignore[arg-type] # on purpose
    assert _leaks(caught.value) == []


@attrs.frozen
class _WithCapitals:
    api_URL: str  # noqa: N815 - the name is the test


def test_capitals_of_a_field_stay() -> None:
    """Only the first letter of each word is made a capital."""
    values = ActionConfiguration(configuration={"ApiURL": "u"})
    assert structure_configuration(values, _WithCapitals) == _WithCapitals("u")
