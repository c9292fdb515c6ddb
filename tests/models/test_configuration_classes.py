"""Types of configuration fields that are made of others, and what a class itself refuses: described without a value."""

from __future__ import annotations

import abc
import dataclasses
import enum
import sys
from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated, Any, ClassVar, Final, Generic, Literal, NewType, TypeVar

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import Self, TypeAliasType

from cp_thirdparty import ActionConfiguration, ConfigurationKey, FailureType, JobFailedError, Key, SecretStr
from cp_thirdparty.configuration import check_configuration_class, structure_configuration
from cp_thirdparty.exceptions import ConfigurationError, InvalidRequestError

_MARKER = "xMARKERx"
_T = TypeVar("_T")
_ProjectName = NewType("_ProjectName", str)
_Region = NewType("_Region", _ProjectName)
_Minutes = TypeAliasType("_Minutes", int)
_Names = TypeAliasType("_Names", Annotated[tuple[str, ...] | None, Key("Value")])


class Level(enum.Enum):
    """An enum of strings."""

    LOW = "low"
    HIGH = "high"


def _class(annotation: Any, **options: Any) -> type[Any]:
    """Create an attrs class with the field ``value`` of the given type."""
    members = {"__annotations__": {"value": annotation}, "value": attrs.field(**options)}
    return attrs.frozen(type("Made", (), members))


def _structure(model: type[_T], **values: str) -> _T:
    return structure_configuration(ActionConfiguration(configuration=values), model)


def _problems(model: type[Any], **values: str) -> tuple[str, ...]:
    with pytest.raises(ConfigurationError) as caught:
        _structure(model, **values)
    assert _MARKER not in repr([caught.value, caught.value.__dict__])
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)
    return caught.value.problems


# --- types -----------------------------------------------------------------------------------------------------------

_READ: list[tuple[Any, str, Any]] = [
    (list[str], "a,b", ["a", "b"]),
    (list[str], "", []),
    (list[str], "  ", []),
    (list[str], "one", ["one"]),
    (list[str], " a , b c ,d", ["a", "b c", "d"]),
    (list[str], r"a\,b,c\\,d\e", ["a,b", "c\\", "d\\e"]),
    (list[str], r"\\\,", ["\\,"]),
    (list[str], "a\\", ["a\\"]),
    (tuple[str, ...], "a,b", ("a", "b")),
    (tuple[int, ...], "1, 2,3", (1, 2, 3)),
    (tuple[Level, ...], "low,high", (Level.LOW, Level.HIGH)),
    (list[Literal["a", "b"]], "b", ["b"]),
    (list[bool], "true,FALSE", [True, False]),
    (list[SecretStr], "a,b", [SecretStr("a"), SecretStr("b")]),
    (list[_ProjectName], "a", ["a"]),
    (list[Annotated[int, "whole"]], "1", [1]),
    (list[int] | None, "1", [1]),
    (timedelta, "0", timedelta(0)),
    (timedelta, "90", timedelta(seconds=90)),
    (timedelta, "0.5", timedelta(milliseconds=500)),
    (timedelta, "1e3", timedelta(seconds=1000)),
    (timedelta, "10000000000", timedelta(seconds=10**10)),
    (_ProjectName, "a", "a"),
    (_Region, "a", "a"),
    (_Region | None, "a", "a"),
    (_Minutes, "5", 5),
    (_Names, "a,b", ("a", "b")),
    (Final[int], "5", 5),
]


@pytest.mark.parametrize(("annotation", "text", "expected"), _READ, ids=str)
def test_reads(annotation: Any, text: str, expected: Any) -> None:
    """Lists, durations, new types and aliases become values of exactly the field's type."""
    value = _structure(_class(annotation), Value=text).value
    assert (type(value), value) == (type(expected), expected)


_SECONDS = "must be a number of seconds from 0 to 10,000,000,000"
_REFUSED: list[tuple[Any, str, str]] = [
    (list[str], "a,,b", "item 2: must not be empty"),
    (list[str], "a,", "item 2: must not be empty"),
    (list[str], ",", "item 1: must not be empty"),
    (list[int], "1,x", "item 2: must be an integer of at most 18 digits"),
    (list[int], r"1\,2", "item 1: must be an integer of at most 18 digits"),
    (tuple[Level, ...], "low, top", "item 2: must be one of: low, high"),
    *((timedelta, text, _SECONDS) for text in ("", "-1", "nan", "inf", "1e99", "00:01", "5m", "10000000001")),
]


@pytest.mark.parametrize(("annotation", "text", "rule"), _REFUSED, ids=str)
def test_refuses(annotation: Any, text: str, rule: str) -> None:
    """A string that does not fit is refused by the key, the item and the rule."""
    assert _problems(_class(annotation), Value=text) == (f"Value: {rule}",)


_item = st.text(min_size=1).filter(lambda text: text == text.strip())


@given(items=st.lists(_item))
def test_each_list_of_strings_can_be_written(items: list[str]) -> None:
    """With the escapes, each list of strings without spaces around them has a string that is read as this list."""
    text = ",".join(item.replace("\\", "\\\\").replace(",", "\\,") for item in items)
    assert _structure(_class(list[str]), Value=text).value == items


@given(text=st.text(st.sampled_from(",\\ ab")))
def test_any_list_is_read_or_refused(text: str) -> None:
    """Any string gives a list of strings that are not empty, or a problem of one item."""
    try:
        value = _structure(_class(list[str]), Value=text).value
    except ConfigurationError as refused:
        assert len(refused.problems) == 1  # noqa: PT017 - either way is right
    else:
        assert all(value)


# --- classes that cannot work ----------------------------------------------------------------------------------------


@attrs.frozen
class _Generic(Generic[_T]):
    value: _T


class _Derived(_Generic[int]):
    pass


@attrs.frozen
class _Abstract(abc.ABC):
    value: str

    @abc.abstractmethod
    def work(self) -> None: ...


@attrs.frozen(init=False)
class _OtherInit:
    value: str

    def __init__(self, text: str) -> None:
        getattr(self, "__attrs_init__")(text)  # noqa: B009 - type checkers do not know it


@dataclasses.dataclass
class _MoreArguments:
    value: str
    more: int = dataclasses.field(init=False)

    def __init__(self, value: str, more: int) -> None:
        self.value, self.more = value, more


_NAME_A_KEY = 'Made.value: Annotated needs a ConfigurationKey; write Annotated[..., ConfigurationKey("Name")]'
_INIT = "its __init__ must accept each field as a keyword argument, and need no other one"
_MUST_BE = "the class must be an attrs class, a dataclass or a pydantic model"
_BROKEN: list[tuple[Any, str]] = [
    (_Generic, "_Generic.value: _T is a type variable; derive a class that gives the field a type"),
    (_Derived, "_Derived.value: _T is a type variable; derive a class that gives the field a type"),
    (_Generic[int], f"{_MUST_BE}, not _Generic[...]: derive a class that gives each of its fields a type"),
    (_Abstract, "_Abstract: the class is abstract"),
    (_OtherInit, f"_OtherInit: {_INIT}"),
    (_MoreArguments, f"_MoreArguments: {_INIT}"),
    (_class(Annotated[SecretStr, "APIKey"]), _NAME_A_KEY),
    (_class(Annotated[SecretStr, Key]), _NAME_A_KEY),
]


@pytest.mark.parametrize(("model", "message"), _BROKEN, ids=[message for _, message in _BROKEN])
def test_a_class_that_cannot_work_is_refused(model: Any, message: str) -> None:
    """What no configuration can fill is found when the class is first given."""
    with pytest.raises(TypeError) as caught:
        check_configuration_class(model)
    assert str(caught.value) == message


@pytest.mark.parametrize("options", [{"name": 5}, {"name": ""}, {"name": "n" * 51}], ids=str)
def test_a_name_that_no_key_can_have_is_refused(options: dict[str, Any]) -> None:
    """A key of CodePipeline has 1 to 50 characters."""
    with pytest.raises(InvalidRequestError, match=r"^name: must "):
        ConfigurationKey(**options)


@attrs.frozen
class _Constants:
    kind: ClassVar[str] = "scan"
    value: str


def test_constants_of_a_class_are_not_fields() -> None:
    """A class variable has no key."""
    assert _structure(_Constants, Value="v", Kind="other") == _Constants("v")


@dataclasses.dataclass
class _Factory:
    values: list[str] = dataclasses.field(default_factory=lambda: ["a"])


def test_a_factory_of_a_dataclass_is_a_default() -> None:
    """The key of a field with a factory may be absent."""
    assert _structure(_Factory) == _Factory(["a"])
    assert _structure(_Factory, Values="b") == _Factory(["b"])


# --- validators of attrs ---------------------------------------------------------------------------------------------

_VALIDATORS = attrs.validators


class _Even:
    """Options that can only be asked for one value."""

    def __contains__(self, value: object) -> bool:
        return value == "even"


def _refuse(_instance: object, _field: object, value: object) -> None:
    raise LookupError(value)


class _OwnPattern:
    """A validator of the partner that has the attributes of one of attrs, and a module with a similar name."""

    __module__ = "attributes"
    pattern = _MARKER

    def __call__(self, _instance: object, _field: object, _value: object) -> None:
        raise LookupError(_MARKER)


def _refuse_once() -> Any:
    """Create a validator that refuses its first value only."""
    failures: Iterator[Exception] = iter([LookupError(_MARKER)])

    def refuse(_instance: object, _field: object, _value: object) -> None:
        for failure in failures:
            raise failure

    return refuse


def _convert(value: str) -> str:
    raise KeyError(value)


_WORDS = "must have at least 9 characters or items"
_RULES: list[tuple[dict[str, Any], Any, str, str]] = [
    ({"validator": _VALIDATORS.le(60)}, int, "61", "must be at most 60"),
    ({"validator": _VALIDATORS.lt(60)}, int, "60", "must be less than 60"),
    ({"validator": _VALIDATORS.ge(0.5)}, float, "0.1", "must be at least 0.5"),
    ({"validator": _VALIDATORS.gt(5)}, int, "5", "must be more than 5"),
    ({"validator": _VALIDATORS.min_len(9)}, str, _MARKER, _WORDS),
    ({"validator": _VALIDATORS.max_len(1)}, list[str], "a,b", "must have at most 1 characters or items"),
    ({"validator": _VALIDATORS.matches_re("[a-z]+")}, str, _MARKER, r"must match [a-z]+"),
    ({"validator": _VALIDATORS.in_(["a", "b"])}, str, _MARKER, "must be one of: a, b"),
    ({"validator": _VALIDATORS.in_([Level.LOW])}, Level, "high", "must be one of: low"),
    ({"validator": _VALIDATORS.in_(range(30))}, int, "30", f"must be one of: {', '.join(map(str, range(20)))}, ..."),
    ({"validator": _VALIDATORS.in_(_Even())}, str, _MARKER, "the class refused the value (ValueError)"),
    ({"validator": _VALIDATORS.instance_of(int)}, str, _MARKER, "the class refused the value (TypeError)"),
    ({"validator": _VALIDATORS.optional(_VALIDATORS.min_len(9))}, str | None, _MARKER, _WORDS),
    ({"validator": [_VALIDATORS.max_len(99), _VALIDATORS.min_len(9)]}, str, _MARKER, _WORDS),
    ({"validator": [_VALIDATORS.min_len(9), _VALIDATORS.in_(["a"])]}, str, _MARKER, _WORDS),
    ({"validator": _refuse}, str, _MARKER, "the class refused the value (LookupError)"),
    ({"validator": _OwnPattern()}, str, _MARKER, "the class refused the value (LookupError)"),
    ({"converter": _convert}, str, _MARKER, "the class refused the value (KeyError)"),
    ({"validator": _VALIDATORS.deep_iterable(_VALIDATORS.in_(["a"]))}, list[str], _MARKER, "item 1: must be one of: a"),
    (
        {"validator": _VALIDATORS.deep_iterable(_refuse, _VALIDATORS.max_len(0))},
        list[str],
        f"{_MARKER},b",
        "must have at most 0 characters or items",
    ),
    (
        {"validator": _VALIDATORS.deep_iterable(_refuse)},
        list[str],
        f"{_MARKER},b",
        "item 1: the class refused the value (LookupError)",
    ),
    (
        {"validator": _VALIDATORS.deep_iterable(_VALIDATORS.min_len(1), _VALIDATORS.max_len(1))},
        list[str],
        "a,b",
        "must have at most 1 characters or items",
    ),
    ({"validator": _VALIDATORS.le(timedelta(minutes=5))}, timedelta, "301", "must be at most 300"),
    # These validators cannot be called with such a value, so the value does not break their rule.
    ({"validator": _VALIDATORS.min_len(1)}, SecretStr, _MARKER, "the class refused the value (TypeError)"),
    ({"validator": _VALIDATORS.matches_re("x")}, SecretStr, _MARKER, "the class refused the value (TypeError)"),
]


@pytest.mark.parametrize(("options", "annotation", "text", "rule"), _RULES, ids=[rule for *_, rule in _RULES])
def test_a_rule_of_the_class_is_described(options: dict[str, Any], annotation: Any, text: str, rule: str) -> None:
    """A known validator of attrs is described by its own constants, and any other failure by its class."""
    assert _problems(_class(annotation, **options), Value=text) == (f"Value: {rule}",)


@attrs.frozen
class _Limits:
    name: str = attrs.field(validator=_VALIDATORS.max_len(3))
    fixed: int = attrs.field(init=False, default=1)
    percent: Annotated[int, Key("Percent %")] = attrs.field(validator=_VALIDATORS.le(100))
    level: Level = attrs.field(default=Level.LOW, validator=_VALIDATORS.in_([Level.LOW]))


def test_every_validator_is_reported() -> None:
    """All fields whose validators fail are reported at once, by their keys."""
    configuration = ActionConfiguration(configuration={"Name": _MARKER, "Percent %": "101", "Level": "high"})
    with pytest.raises(ConfigurationError) as caught:
        structure_configuration(configuration, _Limits)
    assert caught.value.problems == (
        "Name: must have at most 3 characters or items",
        "Percent %: must be at most 100",
        "Level: must be one of: low",
    )


@attrs.frozen
class _LateField:
    name: str = attrs.field(validator=_VALIDATORS.max_len(3))
    length: int = attrs.field(init=False, converter=int)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "length", len(self.name))


def test_a_field_that_the_class_assigns_later_has_no_problem() -> None:
    """Only the validator is reported, which fails before the class assigns a field that is not an argument."""
    assert _problems(_LateField, Name=_MARKER) == ("Name: must have at most 3 characters or items",)


@attrs.frozen
class _Delegating:
    part: str = attrs.field(converter=_convert)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.part, name)


def test_a_class_whose_attributes_raise_is_reported() -> None:
    """Whatever code of the class raises while its refusal is described, the error is that of this library."""
    assert _problems(_Delegating, Part=_MARKER) == ("the class refused the values (KeyError)",)


@attrs.frozen
class _NoNew:
    value: str = attrs.field(validator=_VALIDATORS.max_len(3))

    def __new__(cls, value: str) -> Self:
        assert value
        return object.__new__(cls)


@attrs.frozen
class _Setting:
    value: str
    other: str = attrs.field(default="", init=False)

    def __attrs_post_init__(self) -> None:
        raise LookupError(self.value)


@attrs.frozen
class _PreInit:
    value: str

    def __attrs_pre_init__(self) -> None:
        raise LookupError(_MARKER)


@attrs.frozen
class _NotAnArgument:
    value: str
    fixed: int = attrs.field(init=False, default=5, validator=_VALIDATORS.le(1))


_CLASS_LEVEL: list[tuple[type[Any], str]] = [
    (_NotAnArgument, "ValueError"),
    (_PreInit, "LookupError"),
    (_class(str, validator=_refuse_once()), "LookupError"),
    (_Setting, "LookupError"),
]


@pytest.mark.parametrize(("model", "error"), _CLASS_LEVEL, ids=["no argument", "before", "once", "after"])
def test_a_failure_of_no_field_is_one_of_the_class(model: type[Any], error: str) -> None:
    """What cannot be assigned to a field is reported by the class of the exception."""
    assert _problems(model, Value=_MARKER) == (f"the class refused the values ({error})",)


def test_a_class_that_cannot_be_constructed_twice_is_reported() -> None:
    """The search for the validator that failed has no effect on the report."""
    assert _problems(_NoNew, Value=_MARKER) == ("the class refused the values (ValueError)",)


# --- errors that the class raises on purpose -------------------------------------------------------------------------

_OWN_ERRORS = (
    ConfigurationError(["ProjectName: has no project"]),
    ConfigurationError("ProjectName: has no project"),
    JobFailedError(FailureType.PERMISSION_ERROR, "no such project"),
)


@pytest.mark.parametrize("error", _OWN_ERRORS, ids=repr)
@pytest.mark.parametrize("kind", ["attrs", "dataclass", "validator", "converter"])
def test_the_class_may_raise_an_error_of_its_own(error: Exception, kind: str) -> None:
    """`ConfigurationError` and `JobFailedError` are raised as they are, without the frames of the class."""

    def fail(*_: object) -> Any:
        raise error from ValueError(_MARKER)

    if kind == "validator":
        model = _class(str, validator=fail)
    elif kind == "converter":
        model = _class(str, converter=fail)
    elif kind == "attrs":
        model = attrs.frozen(type("Made", (), {"__annotations__": {"value": str}, "__attrs_post_init__": fail}))
    else:
        model = dataclasses.dataclass(type("Made", (), {"__annotations__": {"value": str}, "__post_init__": fail}))
    with pytest.raises(type(error)) as caught:
        _structure(model, Value=_MARKER)
    assert caught.value is error
    assert (error.__cause__, error.__context__) == (None, None)
    assert "fail" not in [entry.name for entry in caught.traceback]


def test_one_problem_may_be_a_string() -> None:
    """A class that raises one problem need not write a list."""
    assert ConfigurationError("Name: is taken").problems == ("Name: is taken",)


def test_a_class_needs_no_pydantic(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without pydantic, attrs classes are read and other classes are refused."""
    monkeypatch.setitem(sys.modules, "pydantic", None)
    monkeypatch.setitem(sys.modules, "pydantic_core", None)
    assert _problems(_class(str, validator=_refuse, default="x"), Value="v") != ()
    with pytest.raises(TypeError, match="not dict; TypedDict and other classes"):
        check_configuration_class(dict)
