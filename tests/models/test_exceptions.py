"""The error tree: as drawn, with every fact kept in pickles and copies, and readable."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from cp_thirdparty import exceptions
from cp_thirdparty.enums import FailureType
from cp_thirdparty.exceptions import (
    AccessDeniedError,
    ClockSkewError,
    ConfigurationError,
    CredentialsError,
    InvalidRequestError,
    JobFailedError,
    ResponseDecodeError,
    ServiceError,
    ThirdPartyError,
    ThrottledError,
    TransportError,
    UntrustedResponseError,
    ValidationException,
)

_CLASSES: dict[str, type[ThirdPartyError]] = {name: getattr(exceptions, name) for name in exceptions.__all__}

_FACTS: dict[str, Any] = {"operation_name": "GetThirdPartyJobDetails", "status_code": 503, "request_id": "r-1"}
_SERVICE: dict[str, Any] = {**_FACTS, "code": "SomeCode", "attempts": 3, "is_retry_safe": False}


# Class -> makes an error of it or of a class below it; the first that fits is used.
_MAKERS: dict[type[ThirdPartyError], Callable[[Any], ThirdPartyError]] = {
    ClockSkewError: lambda cls: cls("late", offset=-901.5, **_SERVICE),
    ServiceError: lambda cls: cls("gone", **_SERVICE),
    TransportError: lambda cls: cls("reset", attempts=3, is_retry_safe=True, **_FACTS),
    AccessDeniedError: lambda cls: cls(action="codepipeline:PollForThirdPartyJobs", resource="arn:aws:x", **_FACTS),
    CredentialsError: lambda cls: cls("no AWS credentials", attempts=3, **_FACTS),
    InvalidRequestError: lambda cls: cls("client_token", "must have 1 to 256 characters"),
    ResponseDecodeError: lambda cls: cls(["a: must be a text", "b: must be a list"]),
    ConfigurationError: lambda cls: cls(["a: must be a text", "b: must be a list"]),
    JobFailedError: lambda cls: cls(FailureType.CONFIGURATION_ERROR, "no such project", "run-1"),
    exceptions.UnsafeArchiveError: lambda cls: cls("../evil", "leaves the tree"),
    ThirdPartyError: lambda cls: cls("something is wrong"),
}


def _made(cls: Any) -> ThirdPartyError:
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
    """Tell the nearest public parent of each class."""
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
    """The reader of the drawing is not blind: where a class hangs changes what is read."""
    assert tree == drawn_tree(drawing)


def test_every_error_has_one_root() -> None:
    """``except ThirdPartyError`` catches all, and is no error of Python's own but Exception."""
    assert all(issubclass(cls, ThirdPartyError) for cls in _CLASSES.values())
    assert ThirdPartyError.__bases__ == (Exception,)


# --- pickles and copies ----------------------------------------------------------------------------------------------


def _pickled(error: ThirdPartyError, *, protocol: int) -> Any:
    return pickle.loads(pickle.dumps(error, protocol))


_TRANSPORTS: dict[str, Callable[[Any], Any]] = {
    **{f"pickle {protocol}": partial(_pickled, protocol=protocol) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)},
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
}


@pytest.mark.parametrize("transport", _TRANSPORTS.values(), ids=_TRANSPORTS)
@each_class
def test_errors_travel_whole(cls: Any, transport: Callable[[Any], Any]) -> None:
    """Class, text, arguments, every attribute and the notes come out of each pickle and copy as they went in."""
    error = _made(cls)
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
    error = _made(cls)
    twice = pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(error))))
    assert (type(error), error.args, vars(error)) == (type(twice), twice.args, vars(twice))


def test_an_own_subclass_travels_too() -> None:
    """A partner's subclass with keyword-only parameters pickles without doing anything for it."""
    arrived = pickle.loads(pickle.dumps(OwnError(findings=3)))
    assert OwnError is type(arrived)
    assert (arrived.findings, arrived.failure_type) == (3, FailureType.JOB_FAILED)


class OwnError(JobFailedError):
    """A partner's own error."""

    def __init__(self, *, findings: int) -> None:
        super().__init__(FailureType.JOB_FAILED, f"{findings} findings")
        self.findings = findings


# --- attributes and texts --------------------------------------------------------------------------------------------

# Error -> its text.
_TEXTS: list[tuple[ThirdPartyError, str]] = [
    (ServiceError("gone", code="C", operation_name="Op"), "Op: C: gone"),
    (ServiceError("", code="C", operation_name="Op"), "Op: C"),
    (
        ValidationException("1 error", code="ValidationException", operation_name="Op"),
        "Op: ValidationException: 1 error",
    ),
    (ClockSkewError("late", offset=900.4, code="C", operation_name="Op"), "Op: C: late (this clock is +900 s off)"),
    (ClockSkewError("", offset=-900.6, code="C", operation_name="Op"), "Op: C (this clock is -901 s off)"),
    (TransportError("no answer", operation_name="Op"), "Op: no answer"),
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
    (ResponseDecodeError(["id: must be a text"]), "id: must be a text"),
    (ConfigurationError(iter(["A: 1", "B: 2"])), "A: 1; B: 2"),
    (JobFailedError(FailureType.JOB_FAILED, "3 findings"), "JobFailed: 3 findings"),
    (JobFailedError(FailureType.PERMISSION_ERROR, "no", "run-1"), "PermissionError: no"),
    (CredentialsError("no AWS credentials"), "no AWS credentials"),
    (CredentialsError("no AWS credentials", operation_name="Op"), "Op: no AWS credentials"),
    (exceptions.UnsafeArchiveError("..", "leaves the tree"), "..: leaves the tree"),
]


@pytest.mark.parametrize(("error", "text"), _TEXTS, ids=[text for _, text in _TEXTS])
def test_errors_read_well(error: ThirdPartyError, text: str) -> None:
    """The text says what was done and what is wrong."""
    assert text == str(error)


# Class -> the attributes of an error of it that was made with a value for each.
_ATTRIBUTES: dict[Any, dict[str, Any]] = {
    ServiceError: {"message": "gone", **_SERVICE},
    ThrottledError: {"message": "gone", **_SERVICE},
    ClockSkewError: {"message": "late", "offset": -901.5, **_SERVICE},
    TransportError: {"attempts": 3, "is_retry_safe": True, **_FACTS},
    UntrustedResponseError: {"attempts": 3, "is_retry_safe": True, **_FACTS},
    exceptions.UnsafeArchiveError: {"entry": "../evil", "rule": "leaves the tree"},
    AccessDeniedError: {"action": "codepipeline:PollForThirdPartyJobs", "resource": "arn:aws:x", **_FACTS},
    CredentialsError: {"attempts": 3, **_FACTS},
    InvalidRequestError: {"parameter": "client_token", "rule": "must have 1 to 256 characters"},
    ResponseDecodeError: {"problems": ("a: must be a text", "b: must be a list")},
    ConfigurationError: {"problems": ("a: must be a text", "b: must be a list")},
    JobFailedError: {
        "failure_type": FailureType.CONFIGURATION_ERROR,
        "message": "no such project",
        "external_execution_id": "run-1",
    },
}


@pytest.mark.parametrize("cls", _ATTRIBUTES, ids=lambda cls: cls.__name__)
def test_errors_keep_their_facts(cls: Any) -> None:
    """Each fact is an attribute of the name that the constructor and the docstring give it."""
    assert _ATTRIBUTES[cls] == vars(_made(cls))


@pytest.mark.parametrize("cls", [ServiceError, TransportError, AccessDeniedError], ids=lambda cls: cls.__name__)
def test_what_is_not_known_is_none(cls: Any) -> None:
    """Facts that an answer did not bring are None, and there was one attempt."""
    errors: dict[Any, ThirdPartyError] = {
        ServiceError: ServiceError("m", code="C", operation_name="Op"),
        TransportError: TransportError("m", operation_name="Op"),
        AccessDeniedError: AccessDeniedError(action="a", resource=None, operation_name="Op"),
    }
    facts = vars(errors[cls])
    assert facts["status_code"] is facts["request_id"] is facts.get("is_retry_safe") is None
    assert facts.get("attempts", 1) == 1


def test_missing_credentials_were_never_sent() -> None:
    """Without credentials nothing is known but that there are none."""
    assert vars(CredentialsError("no AWS credentials")) == {
        "operation_name": None,
        "status_code": None,
        "request_id": None,
        "attempts": 0,
    }


def test_a_failed_job_needs_no_external_id() -> None:
    """The partner's own id is optional."""
    assert JobFailedError(FailureType.JOB_FAILED, "m").external_execution_id is None


@pytest.mark.parametrize("cls", [ResponseDecodeError, ConfigurationError])
@pytest.mark.parametrize(
    ("count", "shown", "tail"), [(1, 1, ""), (10, 10, ""), (11, 10, "; and 1 more"), (5000, 10, "; and 4990 more")]
)
def test_a_message_shows_ten_problems_and_keeps_all(cls: Any, count: int, shown: int, tail: str) -> None:
    """The text stays short however much is wrong; ``problems`` has all of it."""
    problems = tuple(f"p{number}: must be a text" for number in range(count))
    error = cls(iter(problems))
    assert problems == error.problems
    assert "; ".join(problems[:shown]) + tail == str(error)


def _add_note(error: BaseException, note: str) -> None:
    """Do what Python 3.11's ``add_note()`` does, on Python 3.10 too."""
    error.__dict__.setdefault("__notes__", []).append(note)
