"""No constructor and no method of the client for asyncio shows a secret in a frame when another argument is wrong."""

from __future__ import annotations

import asyncio
import inspect
import traceback
from typing import Any

import pytest
from support.async_scripted_server import client_of
from support.marker_surfaces import reachable_frames

from cp_thirdparty import AsyncCustomJobClient, AsyncThirdPartyJobClient, FailureDetails, FailureType
from cp_thirdparty.exceptions import InvalidRequestError
from cp_thirdparty.testing import LocalCodePipeline

_MARKER = "xMARKERx"
_WRONG: tuple[Any, ...] = (None, -1, 3.5, True, "", object(), [], {}, len, [_MARKER], {_MARKER: 1}, _MARKER.encode())

_JOB = {"job_id": "job-1", "client_token": _MARKER}
_CALLS: dict[str, dict[str, Any]] = {
    "get_third_party_job_details": _JOB,
    "acknowledge_third_party_job": {**_JOB, "nonce": "1"},
    "put_third_party_job_success_result": {
        **_JOB,
        "continuation_token": None,
        "current_revision": None,
        "execution_details": None,
    },
    "put_third_party_job_failure_result": {
        **_JOB,
        "failure_details": FailureDetails(type=FailureType.JOB_FAILED, message="no"),
    },
}


def _all_that_shows(failure: BaseException) -> str:
    frames = [frame for frame in reachable_frames(failure) if frame.f_code.co_filename != __file__]
    return f"{failure} {failure!r} {failure.args} {vars(failure)} {[frame.f_locals for frame in frames]}"


def test_no_wrong_argument_of_a_method_shows_a_secret() -> None:
    """Neither in a message nor in a frame, and every method refuses something."""
    shown: list[str] = []

    async def main(endpoint_url: str) -> None:
        async with client_of(endpoint_url) as client:
            for name, valid in _CALLS.items():
                failures = 0
                for argument in valid:
                    for wrong in _WRONG:
                        try:
                            await getattr(client, name)(**{**valid, argument: wrong})
                        except Exception as failure:  # noqa: BLE001, PERF203 - the test looks at it
                            failures += 1
                            if _MARKER in _all_that_shows(failure):
                                shown.append(f"{name}({argument}={type(wrong).__name__}): {failure!r}")
                assert failures, name

    with LocalCodePipeline() as service:
        service.register_client("client-1", "t")
        asyncio.run(main(service.endpoint_url))
    assert shown == []


def test_every_secret_parameter_has_a_marker() -> None:
    """A new method or constructor with a parameter for a secret must be in the table."""
    secret = {
        f"{name}({parameter.name}=)"
        for name, function in inspect.getmembers(AsyncThirdPartyJobClient, inspect.isroutine)
        if not name.startswith("_")
        for parameter in inspect.signature(function).parameters.values()
        if "SecretStr" in str(parameter.annotation)
    }
    assert secret == {f"{name}(client_token=)" for name in _CALLS}


@pytest.mark.parametrize("client", [AsyncThirdPartyJobClient, AsyncCustomJobClient])
def test_the_password_of_a_url_is_not_shown(client: type[AsyncThirdPartyJobClient | AsyncCustomJobClient]) -> None:
    """A URL with a password is refused, without the password in the error or a frame."""
    with pytest.raises(InvalidRequestError, match=r"endpoint_url: must be .* without a password") as caught:
        client.create(region_name="us-east-1", endpoint_url=f"https://user:{_MARKER}@127.0.0.1")
    assert _MARKER not in _all_that_shows(caught.value)


def test_a_client_that_is_not_created_can_be_shown() -> None:
    """A traceback with locals calls `repr`, which would raise `AttributeError` for an incomplete object."""
    with pytest.raises(Exception) as caught:  # noqa: PT011 - what is raised does not matter here
        AsyncThirdPartyJobClient(None, deadline="no")  # type: ignore[arg-type]
    for frame, _ in traceback.walk_tb(caught.value.__traceback__):
        for value in dict(frame.f_locals).values():
            repr(value)
