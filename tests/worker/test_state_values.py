"""The values that a state of `Continued(state=...)` may have, and the errors that name the others."""

from __future__ import annotations

import dataclasses
import enum
import math
import sys
import threading
import types
import warnings
from collections import deque
from collections.abc import Iterable, Mapping
from datetime import datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from typing import Any, ClassVar, Generic, TypeVar
from uuid import UUID

import attrs
import pytest
from support.states import job_of, token_of

from cp_thirdparty import ActionCategory, Continued, FailureType, SecretStr
from cp_thirdparty._structuring.state import _checksum
from cp_thirdparty.exceptions import ContinuationStateError

_MARKER = "xMARKERx"


class Plain(enum.Enum):
    """An enumeration whose members are not numbers, but have numbers."""

    ONE = 1


class Phase(str, enum.Enum):
    """An enumeration of strings."""

    UPLOAD = "upload"


class Level(enum.IntEnum):
    """An enumeration of integers."""

    HIGH = 3


class Options(enum.IntFlag):
    """Flags."""

    FAST = 1
    FULL = 2


class RunId(str):
    """A string of its own class."""

    __slots__ = ()


_T = TypeVar("_T")


@attrs.frozen
class Holder(Generic[_T]):
    """A class with a type variable."""

    value: _T


@attrs.frozen
class HolderOfInt(Holder[int]):
    """A class that gives the type variable a type."""

    other: int


def _restore(state: Any) -> Any:
    return job_of(token_of(state)).state(type(state))


def _problem_of(state: Any) -> str:
    """Return what the error reports about a state that cannot be kept; it has no value of the state."""
    with pytest.raises(TypeError) as caught:
        Continued(state=state)
    assert _MARKER not in repr([caught.value, caught.value.__cause__, caught.value.__context__])
    before, _, problem = str(caught.value).partition(" cannot be kept: ")
    assert before == f"state: an object of {type(state).__qualname__}"
    return problem


@pytest.fixture
def pydantic() -> types.ModuleType:
    """Give pydantic, which is not a dependency."""
    module: types.ModuleType = pytest.importorskip("pydantic", reason="pydantic has no wheel for this Python")
    return module


# --- types -----------------------------------------------------------------------------------------------------------


_VALUES: list[tuple[Any, Any]] = [
    (Plain, Plain.ONE),
    (Phase, Phase.UPLOAD),
    (Level, Level.HIGH),
    (Options, Options.FAST | Options.FULL),
    (FailureType, FailureType.JOB_FAILED),
    (ActionCategory, ActionCategory.TEST),
    (ActionCategory, ActionCategory("New")),
    (list[Phase], [Phase.UPLOAD]),
    (tuple[Level, ...], (Level.HIGH,)),
    (Phase | None, Phase.UPLOAD),
    (Level | None, None),
    (dict[Phase, Level], {Phase.UPLOAD: Level.HIGH}),
    (dict[Level, Phase], {Level.HIGH: Phase.UPLOAD}),
    (dict[str, Phase], {"3": Phase.UPLOAD}),
    (dict[int, str], {1: "a", -2: "b"}),
    (dict[bool, str], {True: "a"}),
    (dict[float, str], {1.5: "a"}),
    (dict[UUID, list[dict[int, int]]], {UUID(int=1): [{1: 2}]}),
    (Mapping[int, str], {1: "a"}),
    (dict[str, Any], {"a": [{"b": None}]}),
    (time, time(1, 2, 3, 4, timezone(timedelta(hours=2)))),
    (time | None, time(1)),
    (UUID, UUID(int=5)),
    (Decimal, Decimal("1.10")),
]
if sys.version_info >= (3, 11):
    _NEW = enum.StrEnum("_NEW", {"UPLOAD": "upload"})
    _VALUES.append((_NEW, _NEW("upload")))


@pytest.mark.parametrize(
    ("kind", "value"), _VALUES, ids=[f"{kind}-{number}" for number, (kind, _) in enumerate(_VALUES)]
)
@pytest.mark.parametrize("library", ["attrs", "dataclasses", "pydantic"])
def test_a_value_is_restored(library: str, kind: Any, value: Any) -> None:
    """Each type is restored in classes of each library."""
    if library == "attrs":
        model: Any = attrs.make_class("State", {"value": attrs.field(type=kind)})
    elif library == "dataclasses":
        model = dataclasses.make_dataclass("State", [("value", kind)])
    else:
        pydantic = pytest.importorskip("pydantic", reason="pydantic has no wheel for this Python")
        model = pydantic.create_model("State", value=(kind, ...))
    read = _restore(model(value=value))
    assert (type(read.value), read) == (type(value), model(value=value))


@pytest.mark.parametrize(("kind", "value"), [(RunId, RunId("run-1")), (dict[Plain, int], {Plain.ONE: 1})], ids=str)
def test_a_value_that_pydantic_does_not_read_is_restored(kind: Any, value: Any) -> None:
    """A class derived from a string gets the string, and a key that is not a string is read from one."""
    model: Any = attrs.make_class("State", {"value": attrs.field(type=kind)})
    read = _restore(model(value))
    assert (type(read.value), read) == (type(value), model(value))


@pytest.mark.parametrize("value", [{1: "a"}, {1: "a", "1": "b"}], ids=str)
def test_a_key_that_could_be_a_string_is_refused(value: Any) -> None:
    """JSON does not keep whether a key was a string."""
    model: Any = attrs.make_class("State", {"value": attrs.field(type=dict[int | str, str])})
    assert _problem_of(model(value)).startswith("field 'value' ")


@pytest.mark.parametrize(
    ("kind", "document"),
    [
        (Phase, '"other"'),
        (Phase, "1"),
        (Level, '"3"'),
        (Level, "true"),
        (Level, "4"),
        (time, "1"),
        (UUID, "5"),
        (Decimal, "1"),
        (dict[int, int], '{"x":1}'),
        (dict[int, int], '{"\\"1\\"":1}'),
        (dict[int, int], "[1]"),
        (list[str], '"run"'),
        (tuple[str, ...], '"run"'),
        (set[str], '"run"'),
        (list[str], '{"a":1}'),
        (list[list[str]], '["run"]'),
        (timedelta, "true"),
        (float, "NaN"),
    ],
)
def test_a_value_of_another_type_is_refused(kind: Any, document: str) -> None:
    """A value is never converted to the type of a field."""
    model: Any = attrs.make_class("State", {"value": attrs.field(type=kind)})
    with pytest.raises(ContinuationStateError, match=r"the continuation state does not fit State \("):
        job_of(_forge(f'{{"value":{document}}}')).state(model)


# --- models of pydantic ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["state", "dataclass", "model", "list", "dict"])
def test_a_member_that_a_model_does_not_have_is_refused(pydantic: Any, place: str) -> None:
    """A state of a newer class is not read in part, although a model ignores other fields."""

    def wrap(step: Any) -> Any:
        if place == "state":
            return step
        if place == "dataclass":
            return dataclasses.make_dataclass("State", [("step", step)])
        kind = {"model": step, "list": list[step], "dict": dict[str, step]}[place]
        return pydantic.create_model("State", step=(kind, ...))

    old = pydantic.create_model("Old", run_id=(str, ...))
    new = pydantic.create_model("New", run_id=(str, ...), done=(int, 0))
    step = new(run_id="r")
    value = {"list": [step], "dict": {"a": step}}.get(place, step)
    token = token_of(step if place == "state" else wrap(new)(step=value))
    with pytest.raises(ContinuationStateError, match=r"does not fit \w+ \(\w+\); a changed class"):
        job_of(token).state(wrap(old))
    assert job_of(token).state(wrap(new)) is not None


def test_a_default_of_a_model_is_used(pydantic: Any) -> None:
    """A newer class reads a state without a field that has a default."""
    old = pydantic.create_model("Old", run_id=(str, ...))
    new = pydantic.create_model("New", run_id=(str, ...), done=(list[str], []))
    assert job_of(token_of(old(run_id="r"))).state(new) == new(run_id="r", done=[])


def test_other_fields_of_a_model_are_kept(pydantic: Any) -> None:
    """A model may allow fields that its class does not have."""
    model = pydantic.create_model("Model", __config__=pydantic.ConfigDict(extra="allow"), run_id=(str, ...))
    state = model(run_id="r", other=[{"a": 1}])
    assert _restore(state) == state


def test_a_computed_field_is_not_written(pydantic: Any) -> None:
    """The model computes it again, also if it forbids other fields."""

    class Model(pydantic.BaseModel):  # type: ignore[misc] # pydantic is of type Any
        model_config = pydantic.ConfigDict(extra="forbid")
        parts: int

    computed = pydantic.computed_field(return_type=int)(property(lambda self: self.parts * 2))
    model = type("Computed", (Model,), {"double": computed})
    assert token_of(model(parts=1)).endswith(':{"parts":1}')
    assert _restore(model(parts=1)).double == 2


@pytest.mark.parametrize("is_nested", [False, True])
@pytest.mark.parametrize(
    "names",
    [
        {"alias": "runId"},
        {"validation_alias": "runId"},
        {"serialization_alias": "runId"},
        {"validation_alias": "runId", "serialization_alias": "RUN"},
        {"alias": "other"},
    ],
    ids=str,
)
def test_an_alias_is_not_used(pydantic: Any, names: dict[str, str], *, is_nested: bool) -> None:
    """A token has the names of the fields, which the class itself can always read."""
    model = pydantic.create_model(
        "Model", run_id=(str, pydantic.Field(**names)), other=(int, pydantic.Field(5, alias="x"))
    )
    state = model.model_validate({"run_id": "r"}, by_name=True)
    if is_nested:
        steps: Any = list[model]  # type: ignore[valid-type]
        state = pydantic.create_model("Outer", steps=(steps, ...))(steps=[state])
    assert '"run_id":"r","other":5' in token_of(state)
    assert _restore(state) == state


def test_a_wrong_value_of_a_model_is_no_warning(pydantic: Any) -> None:
    """A warning of pydantic would have the value."""
    model = pydantic.create_model("Model", run_id=(int, ...))
    assert _problem_of(model.model_construct(run_id=_MARKER)).startswith(
        "field 'run_id' cannot be written as JSON and "
    )


# --- values that are lost --------------------------------------------------------------------------------------------


@attrs.define(eq=False)
class Uncompared:
    """A class without a comparison."""

    run_id: str
    done: int = attrs.field(init=False, default=0)
    other: int = attrs.field(init=False)
    cache: dict[str, int] = attrs.field(init=False, factory=dict, eq=False)


@dataclasses.dataclass
class PartlyCompared:
    """A class that does not compare all fields."""

    run_id: str
    hidden: Any = dataclasses.field(default=None, compare=False)
    done: int = dataclasses.field(default=0, init=False)
    lock: Any = dataclasses.field(default_factory=threading.Lock, init=False, compare=False)


@attrs.define(eq=False)
class Equal:
    """A class whose objects are all equal."""

    run_id: str
    done: int = attrs.field(init=False, default=0)

    def __eq__(self, other: object) -> bool:
        """Compare nothing."""
        return True

    __hash__ = None  # type: ignore[assignment]


@attrs.define(eq=False)
class NotComparable:
    """A class whose comparison fails."""

    run_id: str

    def __eq__(self, other: object) -> bool:
        """Fail with the value."""
        raise RuntimeError(self.run_id)

    __hash__ = None  # type: ignore[assignment]


@attrs.frozen
class Outer:
    """A class with other objects."""

    step: Any
    steps: list[PartlyCompared] = attrs.field(factory=list)


def _changed(state: Any) -> Any:
    state.done = 7
    return state


_LOST = "is not the same after it was written as JSON and read"
_FAILED = "cannot be written as JSON and read"
_SECRET = "has a secret, and a continuation token is not treated as one"


@pytest.mark.parametrize(
    ("state", "problem"),
    [
        (_changed(Uncompared("r")), f"field 'done' {_LOST}"),
        (_changed(PartlyCompared("r")), f"field 'done' {_LOST}"),
        (_changed(Equal("r")), f"field 'done' {_LOST}"),
        (PartlyCompared("r", (1, 2)), f"field 'hidden' {_LOST}"),
        (PartlyCompared("r", {"a": [(1, 2)]}), f"field 'hidden' {_LOST}"),
        (Outer(None, [PartlyCompared("r"), _changed(PartlyCompared("r"))]), f"field 'steps.done' {_LOST}"),
        (Outer({"a": PartlyCompared("r")}), f"field 'step' {_LOST}"),
        (Outer(object()), f"field 'step' {_FAILED} (TypeError)"),
        (Outer(float("nan")), f"field 'step' {_FAILED} (ValueError)"),
        (Outer(None, steps=None), f"field 'steps' {_FAILED} (TypeError)"),  # type: ignore[arg-type]
        (Outer(SecretStr(_MARKER)), f"field 'step' {_SECRET}"),
        (Outer([{"a": SecretStr(_MARKER)}]), f"field 'step' {_SECRET}"),
        (Outer(None, [PartlyCompared("r", SecretStr(_MARKER))]), f"field 'steps.hidden' {_SECRET}"),
        (Holder(1), f"it {_FAILED} (StructureHandlerNotFoundError)"),
        (HolderOfInt(1, object()), f"field 'other' {_FAILED} (TypeError)"),  # type: ignore[arg-type]
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_a_value_that_would_be_lost_is_named(state: Any, problem: str) -> None:
    """All fields are compared, also those that the class does not compare, and the error has the name of the field."""
    assert _problem_of(state) == problem


def test_what_is_not_compared_is_restored() -> None:
    """A field that the class does not compare may be restored; a cache or a lock is not an argument, and is new."""
    state = PartlyCompared("r", {"a": [1, None]})
    assert _restore(state).hidden == state.hidden
    cached = Uncompared("r")
    cached.cache["r"] = 1
    assert (_restore(cached).run_id, _restore(cached).cache) == ("r", {})
    assert _restore(NotComparable(_MARKER)).run_id == _MARKER


def test_an_object_that_contains_itself_is_refused() -> None:
    """The search for the reason ends."""
    state = PartlyCompared("r")
    state.hidden = state
    assert _problem_of(state) == f"field 'hidden' {_FAILED} (RecursionError)"


def test_a_type_that_cannot_be_found_is_refused() -> None:
    """The error has no name of a field if the types are unknown."""
    missing: Any = "Missing"
    state: Any = attrs.make_class("State", {"value": attrs.field(type=missing)})(1)
    assert _problem_of(state).startswith(f"it {_FAILED} (")


def test_a_value_of_a_model_that_would_be_lost_is_named(pydantic: Any) -> None:
    """Masked secrets, excluded fields and private attributes are not restored."""

    class Model(pydantic.BaseModel):  # type: ignore[misc] # pydantic is of type Any
        key: Any = None
        hidden: int = pydantic.Field(5, exclude=True)
        _cache: int = pydantic.PrivateAttr(1)

        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = None  # type: ignore[assignment]

    class Revealing(Model):
        @pydantic.field_serializer("key", when_used="json")  # type: ignore[untyped-decorator] # pydantic is of type Any
        def show(self, key: Any) -> Any:
            return key.get_secret_value()

    class WithoutDefault(Model):
        _cursor: str | None

    private = Model()
    private._cache = 2
    assigned: Any = WithoutDefault()
    assigned._cursor = "page 7"
    for state, problem in [
        (Model(key=pydantic.SecretStr(_MARKER)), f"field 'key' {_SECRET}"),
        (Model(key=[SecretStr(_MARKER)]), f"field 'key' {_SECRET}"),
        (PartlyCompared("r", Model(key=pydantic.SecretStr(_MARKER))), f"field 'hidden.key' {_SECRET}"),
        (Model(hidden=6), f"field 'hidden' {_LOST}"),
        (private, f"field '_cache' {_LOST}"),
        (Model(key=object()), f"field 'key' {_FAILED} (PydanticSerializationError)"),
        (Model(key=float("nan")), f"field 'key' {_LOST}"),
        (Model(key=b"\xff"), f"field 'key' {_FAILED} (UnicodeDecodeError)"),
        (Revealing(key=pydantic.SecretStr(_MARKER)), f"field 'key' {_SECRET}"),
        (Model(key=pydantic.SecretStr("")), f"field 'key' {_SECRET}"),
        (Model(key={pydantic.SecretStr(_MARKER)}), f"field 'key' {_SECRET}"),
        (Model(key=deque([pydantic.SecretStr(_MARKER)])), f"field 'key' {_SECRET}"),
        (Model(key={pydantic.SecretStr(_MARKER): 1}), f"field 'key' {_SECRET}"),
        (assigned, f"field '_cursor' {_LOST}"),
    ]:
        assert _problem_of(state) == problem
    assert _restore(Model(key="k")).key == "k"


def test_a_model_may_override_its_methods(pydantic: Any) -> None:
    """A token has the names of fields, whatever other programs get; a deprecated field is read without a warning."""

    class Model(pydantic.BaseModel):  # type: ignore[misc] # pydantic is of type Any
        run_id: str = pydantic.Field(alias="runId")
        old: int = pydantic.Field(0, deprecated="not used")

        def model_dump(self, **options: Any) -> Any:
            return super().model_dump(by_alias=True, **options)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert _restore(Model(runId="r")).run_id == "r"


def test_settings_are_no_state() -> None:
    """They would be read from the environment of another worker."""
    settings: Any = pytest.importorskip("pydantic_settings", reason="pydantic has no wheel for this Python")
    with pytest.raises(TypeError, match="state: BaseSettings is a settings class, which reads the environment"):
        Continued(state=settings.BaseSettings())


class _Repeating(tzinfo):
    """A zone whose offset depends on the fold, as in the hour that a zone repeats in autumn."""

    def utcoffset(self, when: datetime | None) -> timedelta:
        return timedelta(hours=1 if when is not None and when.fold else 2)

    def dst(self, when: datetime | None) -> timedelta:
        return self.utcoffset(when) - timedelta(hours=1)

    def tzname(self, when: datetime | None) -> str:
        return str(self.utcoffset(when))


@attrs.frozen
class _Timed:
    at: datetime
    by_time: dict[datetime, int] = attrs.field(factory=dict)
    times: set[datetime] = attrs.field(factory=set)


@pytest.mark.parametrize("fold", [0, 1])
def test_a_time_of_the_hour_that_a_zone_repeats_is_restored(fold: int) -> None:
    """Python compares such times of different zones as never equal."""
    at = datetime(2026, 10, 25, 2, 30, tzinfo=_Repeating(), fold=fold)
    assert _restore(_Timed(at)).at.isoformat() == at.isoformat()
    assert [each.isoformat() for each in _restore(_Timed(at, {at: 1})).by_time] == [at.isoformat()]
    assert [each.isoformat() for each in _restore(_Timed(at, times={at})).times] == [at.isoformat()]


def _sort(given: dict[str, int]) -> dict[str, int]:
    return dict(sorted(given.items()))


@attrs.frozen
class _Sorted:
    by_name: dict[str, int] = attrs.field(converter=_sort)


def test_the_order_of_a_dictionary_is_not_compared() -> None:
    """The class may sort it."""
    state = _Sorted({"a": 1, "b": 2})
    state.by_name["A"] = 3
    assert _restore(state).by_name == {"A": 3, "a": 1, "b": 2}


def _unique(given: Iterable[str]) -> frozenset[str]:
    return frozenset(given)


@attrs.frozen
class _Seen:
    __state_version__: ClassVar[int] = 2

    seen: frozenset[str] = attrs.field(converter=_unique)
    limit: float = math.inf


def test_a_converter_may_drop_values_of_another_version() -> None:
    """A set has each value once, and a new field may have any default."""
    token = token_of(Outer(None, []))
    read = job_of(token).state(_Seen, upgrade=lambda _version, _old: {"seen": ["a", "b", "a"]})
    assert read == _Seen(["a", "b"])


# --- tokens and classes ----------------------------------------------------------------------------------------------


def _forge(text: str) -> str:
    return f"cp-state1:1:{_checksum(1, text)}:{text}"


@pytest.mark.parametrize("text", ["", "{", "[" * 1990, "9" * 1990, '{"run_id":"r"}}'], ids=lambda text: text[:2])
def test_a_forged_token_is_refused(text: str) -> None:
    """A correct checksum does not make correct JSON."""
    with pytest.raises(
        ContinuationStateError, match=r"^the continuation (token has no correct JSON|state does not fit)"
    ):
        job_of(_forge(text)).state(PartlyCompared)


@pytest.mark.parametrize("model", [dict, int, "Scan", None, list[int]], ids=str)
def test_a_wrong_class_is_refused_in_the_first_job(model: Any) -> None:
    """The mistake is seen before any work was done."""
    with pytest.raises(TypeError, match="state: must be of an attrs class, a dataclass or a pydantic model, not "):
        job_of(None).state(model)
