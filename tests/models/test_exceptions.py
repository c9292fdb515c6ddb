"""The error tree: as drawn, with every fact kept in pickles and copies, and readable."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from functools import partial
from typing import Any, get_type_hints

import pytest

import cp_thirdparty
from cp_thirdparty import exceptions
from cp_thirdparty.enums import Delivery, FailureType
from cp_thirdparty.exceptions import (
    AccessDeniedError,
    CallFacts,
    ClockSkewError,
    CodePipelineJobError,
    ConfigurationError,
    CredentialsError,
    InvalidJobStateException,
    InvalidRequestError,
    JobFailedError,
    ResponseDecodeError,
    ServiceError,
    ThirdPartyError,
    ThrottledError,
    TransportError,
    UntrustedResponseError,
    ValidationException,
    is_already_reported,
)

# Name of the class -> the class.  An alias is not a class of its own.
_CLASSES: dict[str, type[Exception]] = {
    name: cls
    for name, cls in ((name, getattr(exceptions, name)) for name in exceptions.__all__)
    if isinstance(cls, type) and issubclass(cls, Exception) and cls.__name__ == name
}
_OF_CALLS = {name: cls for name, cls in _CLASSES.items() if issubclass(cls, CodePipelineJobError)}

_FACTS: CallFacts = {
    "operation_name": "GetThirdPartyJobDetails",
    "job_id": "job-1",
    "status_code": 503,
    "request_id": "r-1",
    "attempts": 3,
    "delivery": Delivery.RESPONDED,
    "is_retry_safe": False,
}
_UNKNOWN = dict.fromkeys(_FACTS)
_SERVICE: dict[str, Any] = {**_FACTS, "code": "SomeCode"}


# Class -> makes an error of it or of a class below it; the first that fits is used.
_MAKERS: dict[type[Exception], Callable[[Any], Exception]] = {
    AccessDeniedError: lambda cls: cls("no", action="codepipeline:PollForThirdPartyJobs", resource="arn:x", **_SERVICE),
    ClockSkewError: lambda cls: cls("late", offset=-901.5, **_SERVICE),
    ServiceError: lambda cls: cls("gone", **_SERVICE),
    InvalidRequestError: lambda cls: cls("client_token", "must have 1 to 256 characters", **_FACTS),
    ResponseDecodeError: lambda cls: cls(["a: must be a string", "b: must be a list"], **_FACTS),
    ConfigurationError: lambda cls: cls(["a: must be a string", "b: must be a list"], **_FACTS),
    JobFailedError: lambda cls: cls(FailureType.CONFIGURATION_ERROR, "no such project", "run-1"),
    exceptions.ArtifactFileError: lambda cls: cls(28, "No space left on device", "/tmp/a", **_FACTS),
    exceptions.UnsafeArchiveError: lambda cls: cls("../evil", "leaves the tree", hint="no"),
    exceptions.WorkerStuckError: lambda cls: cls(["job-1", "job-2"]),
    CodePipelineJobError: lambda cls: cls("something is wrong", **_FACTS),
}


def _make_error(cls: Any) -> Any:
    """Make an error of a class with a value for each of its attributes."""
    for base, make in _MAKERS.items():
        if issubclass(cls, base):
            return make(cls)
    raise AssertionError(cls)


each_class = pytest.mark.parametrize("cls", _CLASSES.values(), ids=_CLASSES)


# --- the tree --------------------------------------------------------------------------------------------------------


def drawn_tree(drawing: str) -> dict[str, str | None]:
    """Read the parent of each class from a drawing."""
    tree: dict[str, str | None] = {}
    ancestors: list[str] = []
    for line in drawing.splitlines():
        stem = line.lstrip("│├└─ ")
        if not stem:
            continue
        depth = (len(line) - len(stem)) // 3
        name = stem.split()[0]
        tree[name] = ancestors[depth - 1] if depth else None
        ancestors[depth:] = [name]
    return tree


def actual_tree() -> dict[str, str | None]:
    """Return the nearest public parent of each class."""
    return {
        name: next((base.__name__ for base in cls.__mro__[1:] if base.__name__ in _CLASSES), None)
        for name, cls in _CLASSES.items()
    }


def test_the_tree_is_as_drawn() -> None:
    """The drawing in the module's docstring has each class below its parent, and no other."""
    _, _, rest = str(exceptions.__doc__).partition(".. code-block:: text\n\n")
    drawing = "\n".join(line[4:] for line in rest.partition("\n\n")[0].splitlines())
    drawn = drawn_tree(drawing)
    actual = actual_tree()
    assert drawn == actual


@pytest.mark.parametrize(
    ("drawing", "tree"),
    [
        ("A\n├─ B\n│  └─ C   with a note\n└─ D", {"A": None, "B": "A", "C": "B", "D": "A"}),
        ("A\n├─ B\n└─ D\n   └─ C", {"A": None, "B": "A", "D": "A", "C": "D"}),
    ],
)
def test_the_drawing_is_read_as_a_tree(drawing: str, tree: dict[str, str | None]) -> None:
    """The place of a class in the drawing changes the tree that is read."""
    assert tree == drawn_tree(drawing)


def test_every_error_has_one_root() -> None:
    """The root catches every error except JobFailedError, under its name of version 0.1 too."""
    assert CodePipelineJobError is ThirdPartyError is cp_thirdparty.ThirdPartyError
    assert set(_CLASSES) - set(_OF_CALLS) == {"JobFailedError"}
    assert CodePipelineJobError.__bases__ == JobFailedError.__bases__ == (Exception,)


def test_a_handler_that_catches_errors_of_calls_fails_its_job_in_its_own_words() -> None:
    """``except ThirdPartyError`` in a handler leaves the handler's own JobFailedError alone."""

    def handler() -> None:
        try:
            raise JobFailedError(FailureType.JOB_FAILED, "3 findings")
        except ThirdPartyError:
            raise AssertionError from None

    with pytest.raises(JobFailedError, match="3 findings"):
        handler()


# --- pickles and copies ----------------------------------------------------------------------------------------------


def _pickle_and_read(error: Exception, *, protocol: int) -> Any:
    return pickle.loads(pickle.dumps(error, protocol))


_TRANSPORTS: dict[str, Callable[[Any], Any]] = {
    **{
        f"pickle {protocol}": partial(_pickle_and_read, protocol=protocol)
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
    },
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
}


@pytest.mark.parametrize("transport", _TRANSPORTS.values(), ids=_TRANSPORTS)
@each_class
def test_errors_are_pickled_completely(cls: Any, transport: Callable[[Any], Any]) -> None:
    """Class, text, arguments, every attribute and the notes come out of each pickle and copy as they went in."""
    error = _make_error(cls)
    _add_note(error, "while reading job 1")
    arrived = transport(error)
    assert cls is type(arrived)
    assert error.args == arrived.args
    assert vars(error) == vars(arrived)
    assert arrived.__notes__ == ["while reading job 1"]
    assert (str(error), repr(error)) == (str(arrived), repr(arrived))


@each_class
def test_a_second_journey_changes_nothing(cls: Any) -> None:
    """An error that came out of a pickle can be pickled again."""
    error = _make_error(cls)
    twice = pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(error))))
    assert (type(error), error.args, vars(error)) == (type(twice), twice.args, vars(twice))


def test_a_subclass_of_the_caller_is_pickled_too() -> None:
    """A partner's subclass with keyword-only parameters pickles without doing anything for it."""
    arrived = pickle.loads(pickle.dumps(OwnError(findings=3)))
    assert OwnError is type(arrived)
    assert (arrived.findings, arrived.failure_type) == (3, FailureType.JOB_FAILED)


class OwnError(JobFailedError):
    """A partner's own error."""

    def __init__(self, *, findings: int) -> None:
        super().__init__(FailureType.JOB_FAILED, f"{findings} findings")
        self.findings = findings


# --- attributes and messages -----------------------------------------------------------------------------------------

# Error -> its text.
_TEXTS: list[tuple[Exception, str]] = [
    (ServiceError("gone", code="C"), "C: gone"),
    (
        AccessDeniedError("not in its message", action="codepipeline:Op", resource="arn:aws:x"),
        "not allowed; allow codepipeline:Op on arn:aws:x",
    ),
    (ServiceError("gone", code="C", operation_name="Op"), "Op: C: gone"),
    (ServiceError("", code="C", operation_name="Op"), "Op: C"),
    (
        ValidationException("1 error", code="ValidationException", operation_name="Op"),
        "Op: ValidationException: 1 error",
    ),
    (
        ClockSkewError("late", offset=900.4, code="C", operation_name="Op"),
        "Op: C: late (this machine's clock is 900 s ahead)",
    ),
    (ClockSkewError("", offset=-0.2, code="C", operation_name="Op"), "Op: C (this machine's clock is right)"),
    (ClockSkewError("", offset=-900.6, code="C", operation_name="Op"), "Op: C (this machine's clock is 901 s behind)"),
    (TransportError("no response", operation_name="Op"), "Op: no response"),
    (UntrustedResponseError("a page", operation_name="Op"), "Op: a page"),
    (
        AccessDeniedError(action="codepipeline:Op", resource="arn:aws:x", operation_name="Op"),
        "Op: not allowed; allow codepipeline:Op on arn:aws:x",
    ),
    (
        AccessDeniedError(action="codepipeline:Op", resource=None, operation_name="Op"),
        "Op: not allowed; allow codepipeline:Op on the action type",
    ),
    (InvalidRequestError("nonce", "must be a str"), "nonce: must be a str"),
    (ResponseDecodeError(["id: must be a string"]), "id: must be a string"),
    (ConfigurationError(iter(["A: 1", "B: 2"])), "A: 1; B: 2"),
    (JobFailedError(FailureType.JOB_FAILED, "3 findings"), "JobFailed: 3 findings"),
    (JobFailedError(FailureType.PERMISSION_ERROR, "no", "run-1"), "PermissionError: no"),
    (CredentialsError("no AWS credentials"), "no AWS credentials"),
    (CredentialsError("no AWS credentials", operation_name="Op"), "Op: no AWS credentials"),
    (exceptions.UnsafeArchiveError("..", "leaves the tree"), "..: leaves the tree"),
    (exceptions.UnsafeArchiveError("", "empty", hint="it has no entry"), "empty (it has no entry)"),
    (exceptions.ArtifactFileError(28, "No space left on device", "/a\nb"), "No space left on device: '/a\\nb'"),
    (exceptions.ArtifactFileError(None, "OSError", None), "OSError"),
]


@pytest.mark.parametrize(("error", "text"), _TEXTS, ids=[text for _, text in _TEXTS])
def test_errors_read_well(error: Exception, text: str) -> None:
    """The message names what was done and what is wrong."""
    assert text == str(error)


# Class -> the attributes of an error of it that was made with a value for each.
_ATTRIBUTES: dict[Any, dict[str, Any]] = {
    ServiceError: {"message": "gone", **_SERVICE},
    ThrottledError: {"message": "gone", **_SERVICE},
    ClockSkewError: {"message": "late", "offset": -901.5, **_SERVICE},
    AccessDeniedError: {
        "message": "no",
        "action": "codepipeline:PollForThirdPartyJobs",
        "resource": "arn:x",
        **_SERVICE,
    },
    TransportError: {**_FACTS},
    UntrustedResponseError: {**_FACTS},
    exceptions.ArtifactFileError: {
        "errno": 28,
        "strerror": "No space left on device",
        "filename": "/tmp/a",
        **_FACTS,
    },
    exceptions.UnsafeArchiveError: {"entry": "../evil", "rule": "leaves the tree", "hint": "no"},
    CredentialsError: {**_FACTS},
    InvalidRequestError: {"parameter": "client_token", "rule": "must have 1 to 256 characters", **_FACTS},
    ResponseDecodeError: {"problems": ("a: must be a string", "b: must be a list"), **_FACTS},
    ConfigurationError: {"problems": ("a: must be a string", "b: must be a list"), **_FACTS},
    JobFailedError: {
        "failure_type": FailureType.CONFIGURATION_ERROR,
        "message": "no such project",
        "external_execution_id": "run-1",
    },
}


@pytest.mark.parametrize("cls", _ATTRIBUTES, ids=lambda cls: cls.__name__)
def test_errors_keep_their_facts(cls: Any) -> None:
    """Each fact is an attribute of the name that the constructor and the docstring give it."""
    assert _ATTRIBUTES[cls] == vars(_make_error(cls))


# Errors made without facts.
_WITHOUT_FACTS: list[CodePipelineJobError] = [
    CodePipelineJobError("m"),
    ServiceError("m", code="C"),
    ClockSkewError("m", code="C", offset=1.0),
    AccessDeniedError(action="a", resource=None),
    TransportError("m"),
    CredentialsError("m"),
    InvalidRequestError("p", "r"),
    ResponseDecodeError(["p"]),
    ConfigurationError(["p"]),
    exceptions.ContinuationStateError("m"),
    exceptions.ArtifactError("m"),
    exceptions.ArtifactFileError(2, "s", None),
    exceptions.UnsafeArchiveError("e", "r"),
    exceptions.JournalError("m"),
]


@pytest.mark.parametrize("error", _WITHOUT_FACTS, ids=lambda error: type(error).__name__)
def test_a_fact_that_is_not_known_is_none(error: CodePipelineJobError) -> None:
    """Every error has all facts; those that it was made without are None."""
    assert {name: getattr(error, name) for name in _FACTS} == _UNKNOWN


@pytest.mark.parametrize("cls", _OF_CALLS.values(), ids=_OF_CALLS)
def test_every_error_of_a_call_takes_the_facts(cls: Any) -> None:
    """The facts that an error was made with are its attributes, by the same names."""
    error = _make_error(cls)
    is_without_call = cls in (exceptions.UnsafeArchiveError, exceptions.WorkerStuckError)
    expected = _UNKNOWN if is_without_call else _FACTS
    assert {name: getattr(error, name) for name in _FACTS} == expected


def test_the_facts_are_attributes_with_a_description() -> None:
    """`CallFacts` names the attributes of the root, with the same types."""
    assert list(CallFacts.__annotations__) == list(_FACTS)
    assert get_type_hints(CallFacts) == get_type_hints(CodePipelineJobError)


def test_an_unknown_fact_is_a_type_error() -> None:
    """A misspelt fact is refused by name, not kept as an attribute."""
    facts: Any = {"attempt": 1, "operation": "Op"}
    with pytest.raises(TypeError, match=r"^TransportError\(\) has no argument attempt, operation$"):
        TransportError("m", **facts)


def test_an_error_pickled_by_version_0_1_can_be_read() -> None:
    """An error in a pickle of version 0.1 arrives with the facts that it had; the others are None."""
    old = (
        b"\x80\x04\x8c\x18cp_thirdparty.exceptions\x8c\x08_rebuild\x93\x8c\x18cp_thirdparty.exceptions"
        b"\x8c\x0fThirdPartyError\x93\x8c\x05wrong\x85}\x8c\x08attempts\x4b\x02s\x87R."
    )
    arrived = pickle.loads(old)
    assert (type(arrived), str(arrived), arrived.attempts) == (CodePipelineJobError, "wrong", 2)
    assert arrived.job_id is None


def test_a_failed_job_needs_no_external_id() -> None:
    """The partner's own id is optional."""
    assert JobFailedError(FailureType.JOB_FAILED, "m").external_execution_id is None


@pytest.mark.parametrize("cls", [ResponseDecodeError, ConfigurationError])
@pytest.mark.parametrize(
    ("count", "shown", "tail"), [(1, 1, ""), (10, 10, ""), (11, 10, "; and 1 more"), (5000, 10, "; and 4990 more")]
)
def test_a_message_shows_ten_problems_and_keeps_all(cls: Any, count: int, shown: int, tail: str) -> None:
    """The text stays short however much is wrong; ``problems`` has all of it."""
    problems = tuple(f"p{number}: must be a string" for number in range(count))
    error = cls(iter(problems))
    assert problems == error.problems
    assert "; ".join(problems[:shown]) + tail == str(error)


def _add_note(error: BaseException, note: str) -> None:
    """Do what Python 3.11's ``add_note()`` does, on Python 3.10 too."""
    error.__dict__.setdefault("__notes__", []).append(note)


_PUT = "PutThirdPartyJobSuccessResult"


def _unknown(operation_name: str | None = _PUT, job_id: str | None = "job-1", **facts: Any) -> TransportError:
    known: Any = {"delivery": Delivery.SENT, "is_retry_safe": None, **facts}
    return TransportError("the connection failed", operation_name=operation_name, job_id=job_id, **known)


def _state(operation_name: str | None = _PUT, job_id: str | None = "job-1") -> InvalidJobStateException:
    return InvalidJobStateException("", code="InvalidJobStateException", operation_name=operation_name, job_id=job_id)


_THROTTLED = ThrottledError(
    "",
    code="Throttling",
    operation_name=_PUT,
    job_id="job-1",
    delivery=Delivery.RESPONDED,
    is_retry_safe=True,
)


@pytest.mark.parametrize(
    ("error", "earlier", "expected"),
    [
        (_state(), [_unknown()], True),
        (_state(), [_unknown(delivery=Delivery.RESPONDED)], True),
        (_state(), [_unknown(), _THROTTLED], True),
        (_state(), [_THROTTLED, _unknown()], True),
        (_state("PutThirdPartyJobFailureResult"), [_unknown()], True),
        (_state(), [], False),
        (_state(), [None], False),
        (_state(), [_THROTTLED], False),
        (_state(), [ValueError()], False),
        (_state(), [_unknown(job_id="job-2")], False),
        (_state(), [_unknown("AcknowledgeThirdPartyJob")], False),
        (_state(), [_unknown(None)], False),
        (_state(), [_unknown(delivery=Delivery.NOT_SENT)], False),
        (_state(), [_unknown(is_retry_safe=False)], False),
        (_state("AcknowledgeThirdPartyJob"), [_unknown()], False),
        (_state(job_id=None), [_unknown(job_id=None)], False),
        (_unknown(), [_unknown()], False),
    ],
)
def test_a_result_was_accepted_before(error: Exception, earlier: list[Exception | None], *, expected: bool) -> None:
    """Only an unknown outcome of the same job's result counts, with other errors before or after it."""
    assert is_already_reported(error, *earlier) is expected
