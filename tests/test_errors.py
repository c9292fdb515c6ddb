"""Botocore's exceptions to ours, asked directly: texts, and edges that no peer can be made to play."""

from __future__ import annotations

from typing import Any

import pytest
from botocore import exceptions as botocore_exceptions

from cp_thirdparty import SecretStr
from cp_thirdparty._botocore.call import Call
from cp_thirdparty._errors import configuration_error_of, error_of
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


@pytest.mark.parametrize(("bytes_left", "kind"), [(0, TransportError), (-1, UntrustedResponseError)])
def test_an_answer_may_have_as_many_bytes_as_are_left(bytes_left: int, kind: type[ThirdPartyError]) -> None:
    """An answer is too long when it has more than the call still takes."""
    call = Call(ends_at=None, wire_logs=False, bytes_left=bytes_left)
    failure = botocore_exceptions.ReadTimeoutError(endpoint_url="http://127.0.0.1")
    assert kind is type(_error_of(failure, call))
