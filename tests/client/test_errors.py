"""Botocore's exceptions to ours, asked directly: texts, and edges that no peer can be made to play."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from botocore import exceptions as botocore_exceptions

from cp_thirdparty import SecretStr
from cp_thirdparty._core.call import Call
from cp_thirdparty._core.errors import configuration_error_of, error_of, struck_out
from cp_thirdparty.exceptions import (
    CredentialsError,
    InvalidRequestError,
    ServiceError,
    ThirdPartyError,
    ThrottledError,
    TransportError,
    UntrustedResponseError,
)

_TOKEN = SecretStr("xMARKERx")


def _error_of(failure: Exception, call: Call | None = None) -> Any:
    call = Call(ends_at=None, wire_logs=False, attempts=2) if call is None else call
    return error_of(failure, operation_name="GetThirdPartyJobDetails", secrets=[_TOKEN], is_repeatable=True, call=call)


def _answer(code: str, *, status: int = 400, operation: str = "GetThirdPartyJobDetails") -> Exception:
    answer: Any = {
        "Error": {"Code": code, "Message": "say xMARKERx"},
        "ResponseMetadata": {"HTTPStatusCode": status, "RequestId": "req-1", "HTTPHeaders": {}},
    }
    return botocore_exceptions.ClientError(answer, operation)


_CREATIONS: dict[str, tuple[Exception, str]] = {
    "region": (botocore_exceptions.NoRegionError(), "region_name: must be given, here or in the AWS configuration"),
    "bad region": (
        botocore_exceptions.InvalidRegionError(region_name="!"),
        "region_name: must be the name of a region",
    ),
    "profile": (
        botocore_exceptions.ProfileNotFound(profile="p"),
        "profile_name: must be a profile of the AWS configuration",
    ),
    "anything": (LookupError("xMARKERx"), "config: botocore refused it (LookupError)"),
}


@pytest.mark.parametrize("what", _CREATIONS)
def test_a_client_that_cannot_be_made_says_why(what: str) -> None:
    """The error names the setting and the rule."""
    failure, text = _CREATIONS[what]
    error = configuration_error_of(failure)
    assert (type(error), str(error)) == (InvalidRequestError, text)


# Code, status -> the class of the error and its text.
_ANSWERS: list[tuple[str, int, type[ThirdPartyError], str]] = [
    ("ThrottlingException", 400, ThrottledError, "ThrottlingException: say **********"),
    ("Strange", 429, ThrottledError, "Strange: say **********"),
    ("Strange", 500, ServiceError, "Strange: say **********"),
    ("Strange xMARKERx", 500, ServiceError, "Strange **********: say **********"),
    ("ExpiredToken", 403, CredentialsError, "ExpiredToken: AWS does not accept the credentials"),
]


@pytest.mark.parametrize(("code", "status", "kind", "text"), _ANSWERS)
def test_an_answer_keeps_its_text(code: str, status: int, kind: type[ThirdPartyError], text: str) -> None:
    """The service's text is kept without the secret, with status, request id and attempts."""
    error = _error_of(_answer(code, status=status))
    assert (type(error), str(error)) == (kind, f"GetThirdPartyJobDetails: {text}")
    assert (error.status_code, error.request_id, error.attempts) == (status, "req-1", 2)


@pytest.mark.parametrize(
    ("failure", "text"),
    [
        (botocore_exceptions.NoCredentialsError(), "no AWS credentials were found"),
        (_answer("AccessDenied", operation="AssumeRole"), "the AWS credentials could not be fetched"),
    ],
    ids=["missing", "role"],
)
def test_credentials_that_were_not_found_have_no_answer(failure: Exception, text: str) -> None:
    """Nothing was answered by CodePipeline, so there is neither status nor request id."""
    error = _error_of(failure)
    assert (type(error), str(error)) == (CredentialsError, f"GetThirdPartyJobDetails: {text}")
    assert (error.operation_name, error.attempts) == ("GetThirdPartyJobDetails", 2)
    assert (error.status_code, error.request_id) == (None, None)


@pytest.mark.parametrize(
    "written",
    ['é"/ x', 'é\\"/ x', '\\u00e9\\"/ x', "%C3%A9%22%2F%20x", "%C3%A9%22/%20x", "%C3%A9%22%2F+x", "%C3%A9%22/+x"],
)
def test_a_secret_is_struck_out_however_it_is_written(written: str) -> None:
    """Plain, in JSON with and without escapes, in a URL, in its path and in its query."""
    assert struck_out(f"a {written} b", [SecretStr('é"/ x')]) == "a ********** b"


# Seconds and bytes left -> the text.
_LEFT: list[tuple[float | None, int, str]] = [
    (None, 0, "no answer within the time-out"),
    (0.5, 0, "no answer within the time-out"),
    (0.0, 0, "no answer before the deadline"),
    (-1.0, 0, "no answer before the deadline"),
    (None, -1, "the answer is too long"),
    (0.0, -1, "the answer is too long"),
]


@pytest.mark.parametrize(("seconds", "bytes_left", "text"), _LEFT)
def test_the_limits_of_a_call_are_named(
    seconds: float | None, bytes_left: int, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call that has used up its time or its bytes says so, and not what botocore made of it."""
    monkeypatch.setattr("cp_thirdparty._core.call.time", SimpleNamespace(monotonic=lambda: 100.0))
    call = Call(ends_at=None if seconds is None else 100.0 + seconds, wire_logs=False, bytes_left=bytes_left)
    error = _error_of(botocore_exceptions.ReadTimeoutError(endpoint_url="http://127.0.0.1"), call)
    assert str(error) == f"GetThirdPartyJobDetails: {text}"
    assert type(error) is (TransportError if bytes_left == 0 else UntrustedResponseError)
