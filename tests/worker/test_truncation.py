"""Strings of results have the service's limits when they are sent: length never refuses a result."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.worker_service import ACTION_TYPE, CLIENT_ID, CLIENT_TOKEN, AnyJob, claim, make_worker

from cp_thirdparty import Continued, CurrentRevision, ExecutionDetails, FailureDetails, FailureType, Succeeded
from cp_thirdparty._core.truncation import (
    fit_current_revision,
    fit_execution_details,
    fit_failure_details,
    truncate,
)
from cp_thirdparty.testing import LocalCodePipeline, Success

_FIT: dict[type, Callable[[Any], Any]] = {
    CurrentRevision: fit_current_revision,
    ExecutionDetails: fit_execution_details,
    FailureDetails: fit_failure_details,
}
_REQUIRED: dict[type, dict[str, Any]] = {
    CurrentRevision: {"revision": "r", "change_identifier": "c"},
    ExecutionDetails: {},
    FailureDetails: {"type": FailureType.JOB_FAILED, "message": "m"},
}
# Class, field, and the longest string that the service accepts.
_STRINGS = [
    (CurrentRevision, "revision", 1500),
    (CurrentRevision, "change_identifier", 100),
    (CurrentRevision, "revision_summary", 2048),
    (ExecutionDetails, "summary", 2048),
    (ExecutionDetails, "external_execution_id", 1500),
    (FailureDetails, "message", 5000),
    (FailureDetails, "external_execution_id", 1500),
]


def _fit(model: type, field: str, value: Any) -> Any:
    return getattr(_FIT[model](model(**{**_REQUIRED[model], field: value})), field)


class _OddStr(str):
    """A string whose methods raise."""

    __slots__ = ()

    def __len__(self) -> int:
        raise ValueError

    def __getitem__(self, _key: Any) -> str:
        raise ValueError

    def __str__(self) -> str:
        raise ValueError

    def encode(self, *_arguments: Any, **_more: Any) -> bytes:
        raise ValueError


@pytest.mark.parametrize(("model", "field", "maximum"), _STRINGS)
def test_a_long_string_is_truncated(model: type, field: str, maximum: int) -> None:
    """A string keeps as many characters as the service accepts, and ends in an ellipsis if it was longer."""
    assert _fit(model, field, "é" * maximum) == "é" * maximum
    assert _fit(model, field, "é" * (maximum + 1)) == "é" * (maximum - 1) + "…"


@pytest.mark.parametrize(("model", "field", "maximum"), _STRINGS)
def test_the_methods_of_a_string_do_not_matter(model: type, field: str, maximum: int) -> None:
    """The value of a subclass of ``str`` is sent as a plain string."""
    value = _fit(model, field, _OddStr("x" * (maximum + 1)))
    assert type(value) is str
    assert value == "x" * (maximum - 1) + "…"


@pytest.mark.parametrize(
    ("model", "field"), [(model, field) for model, field, _ in _STRINGS if field not in _REQUIRED[model]]
)
def test_an_empty_string_is_left_out(model: type, field: str) -> None:
    """The service would refuse an empty string."""
    assert _fit(model, field, "") is None


@pytest.mark.parametrize("field", ["revision", "change_identifier"])
def test_a_revision_without_a_required_part_is_left_out(field: str) -> None:
    """The service would refuse the result because of it."""
    parts: dict[str, Any] = {**_REQUIRED[CurrentRevision], field: ""}
    assert fit_current_revision(CurrentRevision(**parts)) is None


def test_an_empty_message_is_replaced() -> None:
    """The customer reads that there was no reason."""
    assert _fit(FailureDetails, "message", "") == "The job failed; the worker gave no reason."


@pytest.mark.parametrize(
    ("given_percent", "sent"), [(-1, 0), (0, 0), (50, 50), (100, 100), (101, 100), (1 << 80, 100), (None, None)]
)
def test_a_percentage_is_within_its_range(given_percent: int | None, sent: int | None) -> None:
    """A number outside of 0 to 100 becomes the nearest end."""
    assert fit_execution_details(ExecutionDetails(percent_complete=given_percent)).percent_complete == sent


@given(st.text(st.characters(), max_size=20), st.integers(1, 12))
def test_a_truncated_string_can_be_encoded(value: str, maximum: int) -> None:
    """Lone surrogates are replaced, the length has the limit, and a second time changes nothing."""
    truncated = truncate(value, maximum)
    truncated.encode()
    assert len(truncated) == min(len(value), maximum)
    assert truncate(truncated, maximum) == truncated
    assert (truncated[-1:] == "…") >= (len(value) > maximum)


def test_surrogates_become_question_marks() -> None:
    """A character that cannot be encoded does not keep a result from being reported."""
    assert truncate("a\ud800b", 3) == "a?b"


# --- in a worker and in a client


@pytest.fixture
def service() -> Iterator[LocalCodePipeline]:
    """Provide a running service with one customer."""
    with LocalCodePipeline(redelivery_delay=1000.0, continuation_delay=1000.0) as made:
        made.register_client(CLIENT_ID, CLIENT_TOKEN)
        yield made


_LONG = "x" * 10_000
_DETAILS = ExecutionDetails(summary="", external_execution_id=_LONG, percent_complete=101)
_REVISION = CurrentRevision(revision=_LONG, change_identifier=_LONG, revision_summary="\ud800")
_SENT_DETAILS = ExecutionDetails(external_execution_id="x" * 1499 + "…", percent_complete=100)
_SENT_REVISION = CurrentRevision(revision="x" * 1499 + "…", change_identifier="x" * 99 + "…", revision_summary="?")


@pytest.mark.parametrize("token", [None, "t" * 2048])
def test_a_success_stays_a_success(service: LocalCodePipeline, token: str | None) -> None:
    """No length of a summary or an id turns a success into a failure."""
    parts: dict[str, Any] = {"current_revision": _REVISION, "execution_details": _DETAILS}

    def handle(_job: AnyJob) -> Succeeded | Continued:
        return Succeeded(**parts) if token is None else Continued(continuation_token=token, **parts)

    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    make_worker(service, handle).run_once()
    assert action.jobs[0].result == Success(
        continuation_token=token, current_revision=_SENT_REVISION, execution_details=_SENT_DETAILS
    )


def test_a_client_truncates_too(service: LocalCodePipeline) -> None:
    """The client sends what fits, and a revision that the service would refuse is left out."""
    succeeded, failed = (service.start_action(ACTION_TYPE, client_id=CLIENT_ID) for _ in range(2))
    client = service.client()
    for action in (succeeded, failed):
        claim(client, action.jobs[0].id)
    client.put_third_party_job_success_result(
        succeeded.jobs[0].id,
        client_token=CLIENT_TOKEN,
        current_revision=CurrentRevision(revision="", change_identifier="c"),
        execution_details=_DETAILS,
    )
    client.put_third_party_job_failure_result(
        failed.jobs[0].id,
        client_token=CLIENT_TOKEN,
        failure_details=FailureDetails(type=FailureType.JOB_FAILED, message=_LONG),
    )
    assert succeeded.result == Success(continuation_token=None, current_revision=None, execution_details=_SENT_DETAILS)
    assert failed.result == FailureDetails(type=FailureType.JOB_FAILED, message="x" * 4999 + "…")
