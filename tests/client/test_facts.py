"""The table of retry safety is the one that the documentation has, and no error is outside of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from cp_thirdparty import exceptions
from cp_thirdparty._core.call import Call, Step
from cp_thirdparty._core.errors import error_of
from cp_thirdparty._core.facts import RULES, Failure, facts_of
from cp_thirdparty._core.operations import THIRD_PARTY
from cp_thirdparty.enums import Delivery

_PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "trust.md"
_CODE = re.compile(r"`(\w+)`")
_VALUES: dict[str, bool | None] = {"True": True, "False": False, "None": None}


def _rows() -> Iterator[list[str]]:
    """Yield the rows of the table in the documentation."""
    lines = iter(_PAGE.read_text(encoding="utf-8").splitlines())
    assert any(line.startswith("| what happened |") for line in lines)
    next(lines)
    for line in lines:
        if not line.startswith("|"):
            return
        yield [cell.strip() for cell in line.strip("|").split("|")]


def test_the_documentation_has_the_same_table() -> None:
    """Each row has the same errors and the same safety, in the same order."""
    documented = [
        (
            what,
            tuple(getattr(exceptions, name) for name in _CODE.findall(errors)),
            *(_VALUES[_CODE.findall(cell)[0]] for cell in (reads, writes)),
        )
        for what, errors, reads, writes in _rows()
    ]
    assert documented == [(failure.value, *(getattr(RULES[failure], name) for name in _NAMES)) for failure in Failure]


def test_the_loop_for_an_unknown_outcome_is_the_one_that_runs() -> None:
    """The page has the code of the page about boto3, whose cells are executed."""
    (loop,) = re.findall(r"```python\n(.*?)```", _PAGE.read_text(encoding="utf-8"), re.DOTALL)
    executed = (_PAGE.parents[1] / "how-to" / "from-boto3.md").read_text(encoding="utf-8")
    assert loop in executed


_NAMES = ("errors", "reads", "writes")
_READ = THIRD_PARTY.request_details("job-1", client_token="token")
_WRITE = THIRD_PARTY.request_claim("job-1", nonce="1", client_token="token")


@pytest.mark.parametrize("failure", Failure)
def test_the_facts_of_a_call_follow_the_table(failure: Failure) -> None:
    """Operation and job are those of the request; the safety depends on whether the service may be asked twice."""
    for request, is_retry_safe in ((_READ, RULES[failure].reads), (_WRITE, RULES[failure].writes)):
        call = Call(request=request, step=Step.RESPONDED, attempts=2, status_code=400, request_id="req-1")
        assert facts_of(call, failure) == {
            "operation_name": request.operation_name,
            "job_id": "job-1",
            "attempts": 2,
            "delivery": Delivery.RESPONDED,
            "is_retry_safe": is_retry_safe,
            "status_code": 400,
            "request_id": "req-1",
        }


@pytest.mark.parametrize(
    ("code", "status", "failure"),
    [
        ("Throttling", 400, Failure.THROTTLED),
        ("InvalidJobStateException", 429, Failure.THROTTLED),
        ("RequestTimeout", 400, Failure.SERVICE_FAULT),
        ("InternalFailure", 500, Failure.SERVICE_FAULT),
        ("Strange", 300, Failure.SERVICE_FAULT),
        ("Strange", None, Failure.SERVICE_FAULT),
        ("InvalidJobStateException", 500, Failure.REFUSED),
        ("Strange", 400, Failure.REFUSED),
        ("AccessDenied", 500, Failure.REFUSED),
        ("ExpiredToken", 403, Failure.REFUSED),
    ],
)
def test_an_error_of_the_service_has_the_safety_of_its_row(code: str, status: int | None, failure: Failure) -> None:
    """A code decides before the status, but for 429."""
    response: Any = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    for request, is_retry_safe in ((_READ, RULES[failure].reads), (_WRITE, RULES[failure].writes)):
        error = error_of(ClientError(response, request.operation_name), Call(request=request))
        assert isinstance(error, RULES[failure].errors)
        assert (error.is_retry_safe, error.delivery) == (is_retry_safe, Delivery.RESPONDED)
