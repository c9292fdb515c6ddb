"""What a handler gives back, and how failures are put into words that the service takes."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cp_thirdparty import (
    Continued,
    CurrentRevision,
    ExecutionDetails,
    FailureDetails,
    FailureType,
    JobFailedError,
    SecretStr,
    Succeeded,
)
from cp_thirdparty.exceptions import InvalidRequestError, JournalError
from cp_thirdparty.exceptions._job_failures import ResultTypeError
from cp_thirdparty.worker import Result
from cp_thirdparty.worker._result_text import result_of, text_of
from cp_thirdparty.worker.results import accept_result, failure_details, without_optional_parts
from cp_thirdparty.worker.tokens import TokenLookup

_DETAILS = ExecutionDetails(summary="half", external_execution_id="run 1", percent_complete=50)
_RESULTS: list[Result] = [
    Succeeded(),
    Succeeded(
        current_revision=CurrentRevision(revision="r", change_identifier="c", revision_summary="s"),
        execution_details=_DETAILS,
    ),
    Continued(continuation_token="go on \u2026"),
    Continued(continuation_token="t", execution_details=_DETAILS),
    FailureDetails(type=FailureType.JOB_FAILED, message="no", external_execution_id="run 1"),
    FailureDetails(type=FailureType.PERMISSION_ERROR, message="\N{PILE OF POO}"),
]


def _anything(value: object) -> Any:
    """Return a value as one of any type."""
    return value


@pytest.mark.parametrize("token", ["", "x" * 2049, 7, None, "\ud800"])
def test_a_token_that_the_service_would_refuse_is_refused_when_made(token: Any) -> None:
    """A continuation token has 1 to 2,048 characters; the error names the field and not the value."""
    with pytest.raises(InvalidRequestError, match=r"^continuation_token: ") as caught:
        Continued(continuation_token=token)
    assert "xxx" not in str(caught.value)


def test_the_longest_token_is_taken() -> None:
    """2,048 characters are code points, not bytes."""
    assert Continued(continuation_token="é" * 2048).continuation_token == "é" * 2048


@pytest.mark.parametrize("result", _RESULTS, ids=lambda result: type(result).__name__)
def test_a_result_survives_text_and_pickle(result: Result) -> None:
    """A result survives a journal and another process unchanged."""
    assert result_of(text_of(result)) == result
    assert pickle.loads(pickle.dumps(result)) == result


@pytest.mark.parametrize(
    "text",
    ["", "[]", "null", "{}", '{"success": 7}', '{"failure": {}}', '{"success": {"continuationToken": ""}}', "\x00"],
)
def test_a_broken_text_is_a_journal_error(text: str) -> None:
    """What is not a result is an error without its content."""
    with pytest.raises(JournalError, match=r"^the journal has a result that cannot be read$") as caught:
        result_of(text)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_a_failure_keeps_the_partners_words() -> None:
    """Type, message and id go through as they are."""
    failure = JobFailedError(FailureType.PERMISSION_ERROR, "no rights", "run 1")
    assert failure_details(failure) == FailureDetails(
        type=FailureType.PERMISSION_ERROR, message="no rights", external_execution_id="run 1"
    )


@given(st.text(min_size=1, max_size=9))
def test_a_long_message_is_truncated_on_a_code_point(part: str) -> None:
    """5,000 characters are left, the last of which shows that there was more."""
    text = part * 5001
    message = failure_details(JobFailedError(FailureType.JOB_FAILED, text)).message
    assert len(message) == 5000
    assert message[:-1] == text.encode(errors="replace").decode()[:4999]
    assert message[-1] == "…"


def test_a_message_of_the_longest_length_is_not_truncated() -> None:
    """5,000 characters go through unchanged, and so do 1,500 of an id."""
    details = failure_details(JobFailedError(FailureType.JOB_FAILED, "é" * 5000, "x" * 1500))
    assert (details.message, details.external_execution_id) == ("é" * 5000, "x" * 1500)


def test_a_long_id_is_truncated() -> None:
    """An id keeps 1,500 characters."""
    details = failure_details(JobFailedError(FailureType.JOB_FAILED, "no", "x" * 1501))
    assert details.external_execution_id == "x" * 1499 + "…"


def test_an_empty_message_is_replaced() -> None:
    """Botocore refuses an empty message, so there is always one."""
    details = failure_details(JobFailedError(FailureType.JOB_FAILED, "", ""))
    assert details == FailureDetails(type=FailureType.JOB_FAILED, message="The job failed; the worker gave no reason.")


def test_lone_surrogates_are_replaced() -> None:
    """What cannot be encoded does not keep a failure from being reported."""
    assert failure_details(JobFailedError(FailureType.JOB_FAILED, "a\ud800b")).message == "a?b"


# --- the arguments of a failure


@pytest.mark.parametrize(
    "arguments",
    [
        (FailureType.PERMISSION_ERROR, "no rights"),
        ("PermissionError", "no rights"),
        ("no rights", FailureType.PERMISSION_ERROR),
        ("no rights", "PermissionError"),
    ],
    ids=repr,
)
def test_a_failure_type_is_a_member_or_its_value(arguments: Any) -> None:
    """The type may be a string, and the first two arguments may be swapped if only one of them is a type."""
    failure = JobFailedError(*_anything((*arguments, "run 1")))
    assert (failure.failure_type, failure.message) == (FailureType.PERMISSION_ERROR, "no rights")
    assert isinstance(failure.failure_type, FailureType)
    assert failure.external_execution_id == "run 1"
    assert str(failure) == "PermissionError: no rights"


def test_two_types_are_taken_in_their_order() -> None:
    """A message may be the name of a failure type."""
    failure = JobFailedError("JobFailed", "PermissionError")
    assert (failure.failure_type, failure.message) == (FailureType.JOB_FAILED, "PermissionError")


_TYPES = "JobFailed, ConfigurationError, PermissionError, RevisionOutOfSync, RevisionUnavailable, SystemUnavailable"
_BAD_TYPE = f"failure_type must be a FailureType or one of {_TYPES}"


@pytest.mark.parametrize(
    ("arguments", "problem", "kind", "message"),
    [
        (("PermissionsError", "no rights"), _BAD_TYPE, "JobFailed", "no rights"),
        ((None, "no rights"), _BAD_TYPE, "JobFailed", "no rights"),
        (("PermissionError", None), "message must be a str, not NoneType", "PermissionError", ""),
        (("PermissionError", ValueError("x")), "message must be a str, not ValueError", "PermissionError", ""),
        ((7, FailureType.PERMISSION_ERROR), "message must be a str, not int", "PermissionError", ""),
        ((7, b"x"), f"{_BAD_TYPE}; message must be a str, not bytes", "JobFailed", ""),
        (
            ("PermissionError", "no rights", 7),
            "external_execution_id must be a str, not int",
            "PermissionError",
            "no rights",
        ),
    ],
    ids=repr,
)
def test_wrong_arguments_are_a_type_error(arguments: Any, problem: str, kind: str, message: str) -> None:
    """The error names what is wrong, and keeps what is correct for the report."""
    with pytest.raises(TypeError) as caught:
        JobFailedError(*arguments)
    assert str(caught.value) == f"JobFailedError: {problem}"
    assert isinstance(caught.value, ResultTypeError)
    for error in (caught.value, pickle.loads(pickle.dumps(caught.value))):
        failure: Any = error.failure
        assert (failure.failure_type, failure.message, failure.external_execution_id) == (kind, message, None)


def test_changed_attributes_are_checked_when_reported() -> None:
    """What is wrong is replaced, and what is correct stays."""
    failure: Any = JobFailedError(FailureType.PERMISSION_ERROR, "no rights", "run 1")
    failure.failure_type = "no type"
    assert failure_details(failure) == FailureDetails(
        type=FailureType.JOB_FAILED, message="no rights", external_execution_id="run 1"
    )


# --- what is accepted


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (
            lambda: Succeeded(execution_details=_anything({"summary": "x"})),
            "Succeeded: execution_details must be of type ExecutionDetails or None, not dict",
        ),
        (
            lambda: Continued(continuation_token="t", current_revision=_anything("r")),
            "Continued: current_revision must be of type CurrentRevision or None, not str",
        ),
        (
            lambda: Succeeded(current_revision=_anything(_DETAILS)),
            "Succeeded: current_revision must be of type CurrentRevision or None, not ExecutionDetails",
        ),
    ],
)
def test_a_part_of_a_wrong_type_is_refused_when_made(make: Callable[[], object], problem: str) -> None:
    """The handler's traceback leads to the line that made it."""
    with pytest.raises(TypeError) as caught:
        make()
    assert str(caught.value) == problem


@pytest.mark.parametrize("result", _RESULTS, ids=lambda result: type(result).__name__)
def test_a_correct_result_is_accepted_as_it_is(result: Result) -> None:
    """An accepted result is equal to what the handler returned, and has the classes of this library."""
    accepted = accept_result(result)
    assert accepted == result
    assert type(accepted) is type(result)


def _create_unchecked(model: type[Any], **fields: Any) -> Any:
    """Create a model without its constructor."""
    made: Any = object.__new__(model)
    for name in attrs.fields_dict(model):
        object.__setattr__(made, name, fields.get(name))
    return made


_NO_RESULT = "a handler must return Succeeded, Continued or FailureDetails, not"


@pytest.mark.parametrize(
    ("returned", "problem"),
    [
        (None, f"{_NO_RESULT} NoneType"),
        ("done", f"{_NO_RESULT} str"),
        (Succeeded, f"{_NO_RESULT} type"),
        (FailureType.JOB_FAILED, f"{_NO_RESULT} FailureType"),
        (
            _create_unchecked(Succeeded, execution_details={"summary": "x"}),
            "Succeeded: execution_details must be of type ExecutionDetails or None, not dict",
        ),
        (
            _create_unchecked(Succeeded, execution_details=_create_unchecked(ExecutionDetails, percent_complete=5.5)),
            "percent_complete: must be an int",
        ),
        (
            _create_unchecked(Succeeded, current_revision=_create_unchecked(CurrentRevision, revision=7)),
            "revision: must be a str",
        ),
        (_create_unchecked(Continued, continuation_token=7), "continuation_token: must be a str"),
        (_create_unchecked(FailureDetails, type="JobFailed", message="m"), "type: must be a FailureType"),
        (_create_unchecked(FailureDetails, type=FailureType.JOB_FAILED, message=7), "message: must be a str"),
    ],
)
def test_what_is_not_a_result_is_refused_when_returned(returned: object, problem: str) -> None:
    """An object that was created or changed without its constructor is checked too, and the problem is named."""
    with pytest.raises((ResultTypeError, InvalidRequestError)) as caught:
        accept_result(returned)
    assert str(caught.value) == problem


def test_an_accepted_result_is_truncated() -> None:
    """The journal and the outcome have what is sent."""
    long = "x" * 10_000
    details = ExecutionDetails(summary=long)
    revision = CurrentRevision(revision=long, change_identifier="c")
    accepted: Any = accept_result(Succeeded(execution_details=details, current_revision=revision))
    assert len(accepted.execution_details.summary) == 2048
    assert len(accepted.current_revision.revision) == 1500
    failure: Any = accept_result(FailureDetails(type=FailureType.JOB_FAILED, message=long))
    assert len(failure.message) == 5000


@attrs.frozen(kw_only=True)
class _OwnSuccess(Succeeded):
    note: str = ""


def test_a_subclass_is_reported_as_its_base() -> None:
    """The worker needs no class of the partner to read its journal."""
    assert accept_result(_OwnSuccess(note="x", execution_details=_DETAILS)) == Succeeded(execution_details=_DETAILS)


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (_RESULTS[1], Succeeded()),
        (Succeeded(), None),
        (Continued(continuation_token="t", execution_details=_DETAILS), Continued(continuation_token="t")),
        (Continued(continuation_token="t"), None),
        (_RESULTS[4], FailureDetails(type=FailureType.JOB_FAILED, message="no")),
        (FailureDetails(type=FailureType.PERMISSION_ERROR, message="no"), None),
    ],
)
def test_optional_parts_can_be_left_out(result: Result, expected: Result | None) -> None:
    """What the action depends on stays: the token, and the type and message of a failure."""
    assert without_optional_parts(result) == expected


# --- client tokens


def test_tokens_come_from_a_mapping_or_a_callable() -> None:
    """Both are looked up by client id and hidden; an unknown id has none."""
    for tokens in (TokenLookup({"c": "t"}), TokenLookup(lambda client_id: "t" if client_id == "c" else None)):
        assert tokens("c") == SecretStr("t")
        assert tokens("other") is None


def test_a_mapping_of_tokens_is_looked_up_each_time() -> None:
    """What the partner changes later counts."""
    tokens: dict[str, str | SecretStr] = {"c": "t"}
    lookup = TokenLookup(tokens)
    tokens["c"] = "new"
    assert lookup("c") == SecretStr("new")


@pytest.mark.parametrize("tokens", [7, None, "c", {"c": 7}, {"c": None}, {"c": b"t"}])
def test_what_cannot_be_tokens_is_refused(tokens: Any) -> None:
    """Neither a mapping nor a callable, or a token that is not a string, is a TypeError."""
    with pytest.raises(TypeError):
        TokenLookup(tokens)


def test_a_callable_that_gives_something_else_is_a_type_error() -> None:
    """A token that is not a string is an error when it is looked up."""
    wrong: Any = lambda _: b"t"  # noqa: E731 - as a partner might write it
    with pytest.raises(TypeError):
        TokenLookup(wrong)("c")


def test_a_mapping_of_tokens_cannot_leave_its_process() -> None:
    """Pickling it is refused, because tokens are secret."""
    with pytest.raises(TypeError, match="client tokens in a mapping cannot be pickled"):
        pickle.dumps(TokenLookup({"c": "xMARKERx"}))


class _Refreshing:
    def __init__(self) -> None:
        self.refreshed: list[str] = []

    def __call__(self, client_id: str) -> str:
        return f"{client_id} {len(self.refreshed)}"

    def refresh(self, client_id: str) -> None:
        self.refreshed.append(client_id)


def test_a_source_that_can_refresh_is_asked_to() -> None:
    """Only a source with ``refresh`` gives another token afterwards."""
    source = _Refreshing()
    lookup = TokenLookup(source)
    assert lookup.refresh("c") is None
    assert lookup("c") == SecretStr("c 1")
    assert TokenLookup({"c": "t"}).refresh("c") is None


def test_a_failure_that_was_returned_counts_as_raised() -> None:
    """A handler that forgot ``raise`` loses no words."""
    failure = JobFailedError(FailureType.PERMISSION_ERROR, "no rights")
    assert accept_result(failure) == FailureDetails(type=FailureType.PERMISSION_ERROR, message="no rights")
