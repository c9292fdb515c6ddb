"""Botocore's exceptions to ours, called directly: messages, and edges that no peer can be made to play."""

from __future__ import annotations

from typing import Any

import pytest
from botocore import exceptions as botocore_exceptions

from cp_thirdparty import SecretStr
from cp_thirdparty._core.call import Call, Obstacle, Step, now
from cp_thirdparty._core.errors import configuration_error_of, error_of
from cp_thirdparty._core.operations import THIRD_PARTY
from cp_thirdparty.enums import Delivery
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


def _call(step: Step = Step.PREPARING, **facts: Any) -> Call:
    return Call(request=THIRD_PARTY.request_details("job-1", client_token=_TOKEN), step=step, **facts)


def _response(code: str, *, status: int = 400, operation: str = "GetThirdPartyJobDetails") -> Exception:
    response: Any = {
        "Error": {"Code": code, "Message": "say xMARKERx"},
        "ResponseMetadata": {"HTTPStatusCode": status, "RequestId": "req-1", "HTTPHeaders": {}},
    }
    return botocore_exceptions.ClientError(response, operation)


_NO_FILES = "/a (does not exist) or /b (does not exist)"

_CREATIONS: dict[str, tuple[Exception, str]] = {
    "region": (
        botocore_exceptions.NoRegionError(),
        "region_name: must be given, here or in the AWS configuration: AWS_DEFAULT_REGION, or region in the profile",
    ),
    "bad region": (
        botocore_exceptions.InvalidRegionError(region_name="!"),
        "region_name: must be the name of a region",
    ),
    "profile": (
        botocore_exceptions.ProfileNotFound(profile="p"),
        "profile_name: must be a profile of " + _NO_FILES,
    ),
    "anything": (LookupError("xMARKERx"), "client: botocore could not create it (LookupError)"),
}


@pytest.mark.parametrize("what", _CREATIONS)
def test_a_client_that_cannot_be_made_gives_the_reason(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the setting and the rule."""
    monkeypatch.setenv("AWS_CONFIG_FILE", "/a")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/b")
    for name in ("AWS_DEFAULT_REGION", "AWS_DEFAULT_PROFILE", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    failure, text = _CREATIONS[what]
    error = configuration_error_of(failure)
    assert (type(error), str(error)) == (InvalidRequestError, text)


# Code, status -> the class of the error and its text.
_RESPONSES: list[tuple[str, int, type[ThirdPartyError], str]] = [
    ("ThrottlingException", 400, ThrottledError, "ThrottlingException: say **********"),
    ("Strange", 429, ThrottledError, "Strange: say **********"),
    ("Strange", 500, ServiceError, "Strange: say **********"),
    ("Strange xMARKERx", 500, ServiceError, "Strange **********: say **********"),
    ("ExpiredToken", 403, CredentialsError, "ExpiredToken: AWS does not accept the credentials"),
]


@pytest.mark.parametrize(("code", "status", "kind", "text"), _RESPONSES)
def test_the_text_of_a_service_error_is_kept(code: str, status: int, kind: type[ThirdPartyError], text: str) -> None:
    """The service's text is kept without the secret, with status and request id; a stub counts as an attempt."""
    error: Any = error_of(_response(code, status=status), _call())
    assert (type(error), str(error)) == (kind, f"GetThirdPartyJobDetails: {text}")
    assert (error.status_code, error.request_id, error.attempts) == (status, "req-1", 1)
    assert error.delivery is Delivery.RESPONDED


# Step at which botocore failed, its failure -> the text of the CredentialsError.
_CREDENTIALS: dict[str, tuple[Step, Exception, str]] = {
    "missing": (Step.SIGNING, botocore_exceptions.NoCredentialsError(), "no AWS credentials were found"),
    "role": (
        Step.SIGNING,
        _response("AccessDenied", operation="AssumeRole"),
        "the AWS credentials could not be loaded: AssumeRole failed with AccessDenied",
    ),
    "endpoint of an account": (
        Step.PREPARING,
        botocore_exceptions.NoCredentialsError(),
        "no AWS credentials were found",
    ),
    "unknown class": (
        Step.SIGNING,
        LookupError("xMARKERx"),
        "the AWS credentials could not be loaded (LookupError)",
    ),
}


@pytest.mark.parametrize("what", _CREDENTIALS)
def test_credentials_that_cannot_be_loaded_have_no_response(what: str) -> None:
    """CodePipeline was not asked, so there is neither status nor request id, and nothing was sent."""
    step, failure, text = _CREDENTIALS[what]
    error: Any = error_of(failure, _call(step))
    assert (type(error), str(error)) == (CredentialsError, f"GetThirdPartyJobDetails: {text}")
    assert (error.operation_name, error.attempts, error.delivery) == ("GetThirdPartyJobDetails", 0, Delivery.NOT_SENT)
    assert (error.status_code, error.request_id) == (None, None)


def test_a_failure_before_anything_is_sent_is_an_invalid_request() -> None:
    """What botocore raises while it prepares a request is about the client, not about a response."""
    error = error_of(LookupError("xMARKERx"), _call())
    assert (type(error), str(error)) == (
        InvalidRequestError,
        "client: botocore could not prepare the request (LookupError)",
    )
    assert error.delivery is Delivery.NOT_SENT


# Step, seconds and bytes left -> the class of the error and its text.
_LIMITS: list[tuple[Step, float | None, int, type[ThirdPartyError], str]] = [
    (Step.SENT, None, 0, TransportError, "no response within the timeout"),
    (Step.SENT, 60.0, 0, TransportError, "no response within the timeout"),
    (Step.SENT, -1.0, 0, TransportError, "no response before the deadline"),
    (Step.SENT, None, -1, UntrustedResponseError, "the response is too long"),
    (Step.SENT, -1.0, -1, UntrustedResponseError, "the response is too long"),
    (Step.UNSENT, None, 0, TransportError, "no connection to the endpoint"),
    (Step.UNSENT, -1.0, 0, TransportError, "no connection before the deadline"),
    (Step.SIGNING, -1.0, 0, CredentialsError, "the AWS credentials could not be loaded before the deadline"),
]


@pytest.mark.parametrize(("step", "seconds", "bytes_left", "kind", "text"), _LIMITS)
def test_the_limits_of_a_call_are_named(
    step: Step, seconds: float | None, bytes_left: int, kind: type[ThirdPartyError], text: str
) -> None:
    """A call that has used up its time or its bytes names that limit, and not what botocore made of it."""
    ends_at = None if seconds is None else now() + seconds
    call = _call(step, ends_at=ends_at, bytes_left=bytes_left, obstacle=Obstacle.CONNECT)
    error = error_of(botocore_exceptions.ReadTimeoutError(endpoint_url="http://127.0.0.1"), call)
    assert (type(error), str(error)) == (kind, f"GetThirdPartyJobDetails: {text}")


def test_what_takes_the_place_of_a_connection_is_named_by_its_failure() -> None:
    """Without a connection nothing was observed, so only the class of the failure is known."""
    error = error_of(LookupError("xMARKERx"), _call(Step.UNSENT))
    assert (type(error), str(error)) == (
        TransportError,
        "GetThirdPartyJobDetails: the request could not be sent (LookupError)",
    )
    assert error.is_retry_safe is False


def test_a_failure_without_evidence_may_have_been_sent() -> None:
    """Botocore gave up while it sent, and nothing shows that no byte has left."""
    error: Any = error_of(botocore_exceptions.ReadTimeoutError(endpoint_url="http://127.0.0.1"), _call(Step.SENDING))
    assert (error.delivery, error.attempts, error.is_retry_safe) == (Delivery.SENT, 1, True)
