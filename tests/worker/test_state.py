"""`Continued(state=...)` and `Job.state`: an object of the partner's class from one job of an action to the next."""

from __future__ import annotations

import dataclasses
import enum
import pickle
from datetime import datetime, timedelta, timezone
from typing import Any, ClassVar

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.states import job_of, token_of
from support.worker_service import ACTION_TYPE, CLIENT_ID, CLIENT_TOKEN, AnyJob, make_worker

from cp_thirdparty import Continued, ExecutionDetails, SecretStr, Succeeded
from cp_thirdparty.exceptions import ContinuationStateError, InvalidRequestError
from cp_thirdparty.testing import LocalCodePipeline
from cp_thirdparty.worker.results import accept_result

_MARKER = "xMARKERx"


class Phase(enum.Enum):
    """How far a scan is."""

    UPLOAD = "upload"
    SCAN = "scan"


@attrs.frozen
class Part:
    """A part of a state."""

    name: str
    size: int = 0


@attrs.frozen
class Scan:
    """A state of an attrs class."""

    run_id: str
    phase: Phase = Phase.UPLOAD
    parts: tuple[Part, ...] = ()
    started: datetime | None = None
    pause: timedelta = timedelta(0)
    share: float = 0.0
    is_fast: bool = False


@dataclasses.dataclass
class Data:
    """A state of a dataclass."""

    run_id: str
    numbers: list[int] = dataclasses.field(default_factory=list)


@attrs.frozen
class Second:
    """The second version of a state."""

    __state_version__: ClassVar[int] = 2

    run_ids: list[str]


@attrs.frozen(eq=False)
class Identity:
    """A state that is compared by identity."""

    run_id: str


_STATES: list[Any] = [
    Scan("run-1"),
    Scan(
        "run ü\n",
        Phase.SCAN,
        (Part("a", 1), Part("b")),
        datetime(2026, 11, 26, 5, 0, 1, 5, tzinfo=timezone.utc),
        timedelta(seconds=1.5),
        0.25,
        is_fast=True,
    ),
    Data("run-1", [1, 2]),
    Second(["run-1"]),
]


@pytest.mark.parametrize("state", _STATES, ids=lambda state: type(state).__name__)
def test_a_state_is_restored(state: Any) -> None:
    """The next job has an equal object of the same class."""
    read = job_of(token_of(state)).state(type(state))
    assert (type(read), read) == (type(state), state)


def test_a_state_without_a_comparison_is_restored() -> None:
    """Objects that are compared by identity are written and read too."""
    read = job_of(token_of(Identity("run-1"))).state(Identity)
    assert read is not None
    assert read.run_id == "run-1"


def test_a_model_of_pydantic_is_restored() -> None:
    """A model of pydantic is a state, in strict mode as well; a secret in it is not."""
    pydantic = pytest.importorskip("pydantic", reason="pydantic has no wheel for this Python")
    options = pydantic.ConfigDict(strict=True, extra="forbid")
    model = pydantic.create_model("Model", __config__=options, run_id=(str, ...), phase=(Phase, Phase.UPLOAD))
    read = job_of(token_of(model(run_id="run-1", phase=Phase.SCAN))).state(model)
    assert read == model(run_id="run-1", phase=Phase.SCAN)
    with pytest.raises(ContinuationStateError, match=r"does not fit Model \(ValidationError\)"):
        job_of(token_of(Data("run-1"))).state(model)
    for secret in (pydantic.SecretStr, SecretStr):
        hidden = pydantic.create_model("Hidden", key=(secret, ...))
        with pytest.raises(
            TypeError, match="field 'key' has a secret, and a continuation token is not treated"
        ) as caught:
            Continued(state=hidden(key=_MARKER))
        assert _MARKER not in str(caught.value)


def test_a_model_of_pydantic_in_a_state_is_restored() -> None:
    """A field of an attrs class or of a dataclass may be a model of pydantic."""
    pydantic = pytest.importorskip("pydantic", reason="pydantic has no wheel for this Python")
    model = pydantic.create_model("Model", run_id=(str, ...), phase=(Phase, Phase.UPLOAD))
    fields: Any = [("step", model)]
    state = dataclasses.make_dataclass("State", fields)
    value = state(model(run_id="run-1", phase=Phase.SCAN))
    assert job_of(token_of(value)).state(state) == value


@given(run_id=st.text(), number=st.integers(0, 10**9), share=st.floats(allow_nan=False, allow_infinity=False))
def test_any_state_is_restored_or_is_refused(run_id: str, number: int, share: float) -> None:
    """Any string and number is read as it was, or is refused before the job ends."""
    state = Scan(run_id, parts=(Part("p", number),), share=share)
    try:
        token = token_of(state)
    except InvalidRequestError:
        assert not run_id.isascii() or len(run_id) > 1000  # lone surrogates and long strings are refused
    else:
        assert job_of(token).state(Scan) == state


def test_the_first_job_has_no_state() -> None:
    """Before there is a token there is no state."""
    assert job_of(None).state(Scan) is None


def test_a_result_with_a_state_is_a_result() -> None:
    """The worker, the journal and other processes see the token only."""
    details = ExecutionDetails(summary="half")
    continued: Any = Continued(state=Data("run-1"), execution_details=details)
    assert continued == Continued(continuation_token=continued.continuation_token, execution_details=details)
    assert pickle.loads(pickle.dumps(continued)) == continued
    assert accept_result(continued) == continued
    assert attrs.evolve(continued, execution_details=None).continuation_token == continued.continuation_token


def test_a_token_is_short() -> None:
    """The token is the JSON of the state and 21 characters more."""
    assert token_of(Data("run-1")) == 'cp-state1:1:bf8a35a2:{"run_id":"run-1","numbers":[]}'


# --- refused when it is created --------------------------------------------------------------------------------------


@dataclasses.dataclass
class Anything:
    """A state with a field of any type."""

    value: Any


@dataclasses.dataclass
class Numbers:
    """A state that JSON changes."""

    value: float


@attrs.frozen
class WrongVersion:
    """A state whose version is not a number."""

    __state_version__ = "2"


_NOT_KEPT = "state: an object of {} cannot be kept: field 'value' "
_REFUSED: list[tuple[object, str]] = [
    ({"run_id": "r"}, "state: must be of an attrs class, a dataclass or a pydantic model, not dict"),
    ("run-1", "state: must be of an attrs class, a dataclass or a pydantic model, not str"),
    (Scan, "state: must be an object, not the class Scan"),
    (WrongVersion(), "state: WrongVersion.__state_version__ must be an int from 0 to 999,999,999"),
    (
        Anything(SecretStr(_MARKER)),
        _NOT_KEPT.format("Anything") + "has a secret, and a continuation token is not treated as one",
    ),
    (Anything(object()), _NOT_KEPT.format("Anything") + "cannot be written as JSON and read (TypeError)"),
    (Anything((1, 2)), _NOT_KEPT.format("Anything") + "is not the same after it was written as JSON and read"),
    (Numbers(float("nan")), _NOT_KEPT.format("Numbers") + "cannot be written as JSON and read (ValueError)"),
    (Numbers("5"), _NOT_KEPT.format("Numbers") + "cannot be written as JSON and read ("),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("state", "message"), _REFUSED, ids=[message for _, message in _REFUSED])
def test_what_cannot_be_read_again_is_refused(state: Any, message: str) -> None:
    """The mistake is seen where the result is created, before anything has been started."""
    with pytest.raises(TypeError) as caught:
        Continued(state=state)
    assert str(caught.value).startswith(message)
    assert _MARKER not in repr([caught.value, caught.value.__cause__, caught.value.__context__])


@pytest.mark.parametrize("state", [Data("r" * 2100), Data("\ud800")], ids=["long", "surrogate"])
def test_a_state_that_the_service_would_refuse_is_refused(state: Data) -> None:
    """A token has at most 2,048 characters, and no lone surrogates."""
    with pytest.raises(
        InvalidRequestError, match=r"^state: its continuation token has [\d,]+ characters and must "
    ) as e:
        Continued(state=state)
    assert "rrr" not in str(e.value)


def test_the_longest_state_is_accepted() -> None:
    """The limit is that of the service: 2,048 characters of the token."""
    empty = len(token_of(Data("")))
    assert len(token_of(Data("r" * (2048 - empty)))) == 2048
    with pytest.raises(InvalidRequestError, match="2,049 characters and must have 1 to 2048 characters"):
        Continued(state=Data("r" * (2049 - empty)))


def test_a_result_has_a_token_or_a_state() -> None:
    """Both at once contradict each other."""
    with pytest.raises(TypeError, match="Continued: takes either continuation_token or state, not both"):
        Continued(continuation_token="t", state=Data("r"))  # type: ignore[call-overload] # pyright: ignore[reportCallIssue]


# --- refused when it is read -----------------------------------------------------------------------------------------


_NOT_OURS = r"was not made by Continued\(state=\.\.\.\); Job\.continuation_token has it as a string"
_CHANGED = "the continuation token was changed or truncated"
_GOOD = token_of(Data("run-1"))
_FOREIGN: list[tuple[str, str]] = [
    ("run-1", _NOT_OURS),
    ("{}", _NOT_OURS),
    ("arn:aws:states:us-east-1:123456789012:execution:a:b", _NOT_OURS),
    (_GOOD.upper(), _NOT_OURS),
    (_GOOD.replace("cp-state1", "cp-state2"), _NOT_OURS),
    (_GOOD.replace(":1:", "::", 1), _NOT_OURS),
    (_GOOD.replace(":1:", ":1234567890:", 1), _NOT_OURS),
    (_GOOD[:-1], _CHANGED),
    (_GOOD.replace("run-1", "run-2"), _CHANGED),
    (_GOOD.replace(":1:", ":2:", 1), _CHANGED),
    (_GOOD + " ", _CHANGED),
]


@pytest.mark.parametrize(("token", "message"), _FOREIGN)
def test_a_token_of_another_form_is_refused(token: str, message: str) -> None:
    """A foreign or changed token is an error that shows nothing of it."""
    job = job_of(token)
    with pytest.raises(ContinuationStateError, match=message) as caught:
        job.state(Data)
    assert (caught.value.job_id, caught.value.__context__) == (job.id, None)
    assert job.continuation_token == token


@pytest.mark.parametrize("position", range(len(_GOOD)))
def test_each_changed_character_is_found(position: int) -> None:
    """A token in which one character is another one is never read as a state."""
    changed = _GOOD[:position] + ("x" if _GOOD[position] != "x" else "y") + _GOOD[position + 1 :]
    with pytest.raises(ContinuationStateError):
        job_of(changed).state(Data)


@pytest.mark.parametrize("state", [Part("a"), Scan("r"), Identity("r")], ids=lambda state: type(state).__name__)
def test_a_state_of_another_class_is_refused(state: object) -> None:
    """Fields that the class does not have, and missing ones, are refused."""

    @attrs.frozen
    class Other:
        other: int
        run_id: str = ""

    with pytest.raises(ContinuationStateError, match=r"the continuation state does not fit .*Other \("):
        job_of(token_of(state)).state(Other)


def _read_as(kind: type[Any], value: object) -> Any:
    """Read a state with a value by a class whose field has the type."""
    model: Any = attrs.make_class("Typed", {"value": attrs.field(type=kind)})
    read: Any = job_of(token_of(Anything(value))).state(model)
    return read.value


@pytest.mark.parametrize(("kind", "value"), [(str, "1"), (int, 1), (bool, True), (float, 1.5), (float, 1)])
def test_a_value_of_the_type_of_a_field_is_read(kind: type[Any], value: object) -> None:
    """An int is also accepted as a float."""
    read = _read_as(kind, value)
    assert (type(read), read) == (type(value), value)


@pytest.mark.parametrize(
    ("kind", "value"),
    [(str, 1), (int, "1"), (int, True), (int, 1.0), (bool, 1), (bool, "true"), (float, "1.5"), (float, True)],
)
def test_a_value_of_another_type_is_refused(kind: type[Any], value: object) -> None:
    """A value is never converted."""
    expected = r"the continuation state does not fit Typed \(TypeError\); a changed class needs another __state_vers"
    with pytest.raises(ContinuationStateError, match=expected):
        _read_as(kind, value)


def test_a_member_that_the_class_does_not_have_is_refused() -> None:
    """A state of a newer class is not read in part."""
    model = attrs.make_class("Typed", {"run_id": attrs.field(type=str)})
    with pytest.raises(ContinuationStateError, match="the continuation state does not fit Typed"):
        job_of(token_of(Data("run-1"))).state(model)


def test_a_class_that_cannot_be_a_state_is_refused() -> None:
    """A class of another kind is a mistake of the caller."""
    for model in (dict, int, "Scan", None):
        with pytest.raises(TypeError, match="state: must be of an attrs class, a dataclass or a pydantic model, not "):
            job_of(_GOOD).state(model)  # type: ignore[arg-type] # on purpose


# --- versions --------------------------------------------------------------------------------------------------------


def _class_of_version(number: Any) -> type[Any]:
    return attrs.make_class("Versioned", {"run_id": attrs.field(type=str)}, class_body={"__state_version__": number})


@pytest.mark.parametrize("number", [0, 1, 999_999_999])
def test_a_version_has_at_most_nine_digits(number: int) -> None:
    """The lowest and the highest version are written and read."""
    model = _class_of_version(number)
    token = token_of(model("r"))
    assert token.startswith(f"cp-state1:{number}:")
    assert job_of(token).state(model) == model("r")


@pytest.mark.parametrize("number", [-1, 1_000_000_000, True, 1.0, "2", None])
def test_another_version_is_refused(number: object) -> None:
    """A version is an int from 0 to 999,999,999."""
    with pytest.raises(TypeError, match=r"Versioned\.__state_version__ must be an int from 0 to 999,999,999"):
        token_of(_class_of_version(number)("r"))


def _upgrade(version: int, document: dict[str, Any]) -> dict[str, Any]:
    assert version == 1
    return {"run_ids": [document["run_id"]]}


def test_an_older_state_is_read_by_a_function() -> None:
    """A function makes the JSON object of the present version, or the object itself."""
    assert job_of(_GOOD).state(Second, upgrade=_upgrade) == Second(["run-1"])
    assert job_of(_GOOD).state(Second, upgrade=lambda _, old: Second([old["run_id"]])) == Second(["run-1"])
    assert job_of(token_of(Second(["r"]))).state(Second, upgrade=_upgrade) == Second(["r"])  # not called


def test_a_newer_state_is_read_by_the_same_function() -> None:
    """After a rollback an older class may meet a newer state."""
    read = job_of(token_of(Second(["r"]))).state(Data, upgrade=lambda _, new: Data(new["run_ids"][0]))
    assert read == Data("r")


def test_another_version_without_a_function_is_refused() -> None:
    """The error names both versions."""
    with pytest.raises(ContinuationStateError, match="has version 1, and Second has version 2; pass upgrade= to Job"):
        job_of(_GOOD).state(Second)
    with pytest.raises(ContinuationStateError, match=r"does not fit Second \(TypeError\); correct what upgrade= re"):
        job_of(_GOOD).state(Second, upgrade=lambda _version, _old: {"run_ids": [5]})


# --- in a worker -----------------------------------------------------------------------------------------------------


def test_a_worker_continues_with_a_state() -> None:
    """The state goes through the worker and CodePipeline into the next job of the action."""
    seen: list[Data | None] = []

    def handle(job: AnyJob) -> Succeeded | Continued:
        state = job.state(Data)
        seen.append(state)
        numbers = [] if state is None else state.numbers
        return Succeeded() if len(numbers) == 2 else Continued(state=Data("run-1", [*numbers, len(numbers)]))

    with LocalCodePipeline(continuation_delay=0.0) as service:
        service.register_client(CLIENT_ID, CLIENT_TOKEN)
        action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
        worker = make_worker(service, handle)
        for _ in range(3):
            worker.run_once()
        worker.close()
        assert action.status == "Succeeded"
    assert seen == [None, Data("run-1", [0]), Data("run-1", [0, 1])]
