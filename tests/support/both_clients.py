"""
Both kinds of client behind one face: what is true of the one must be true of the other.

A test that takes the kind of client from `KINDS` runs for each that is installed here.  The client for asyncio needs
aiobotocore, which requires its own version of botocore, so only ``nox -s matrix`` installs it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any, cast

import botocore.session
import pytest

from cp_thirdparty import ActionTypeId, CustomJobClient, FailureDetails, FailureType, ThirdPartyJobClient

KINDS = ["blocking", *(["asyncio"] if find_spec("aiobotocore") else [])]
each_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Give each kind of client."""
    return str(request.param)


class _Face:
    """A client for asyncio that blocks: it has a loop of its own, which runs while a call does."""

    __slots__ = ("__dict__", "_asynchronous", "_runner")

    def __init__(self, client: Any) -> None:
        self._runner = asyncio.new_event_loop()
        self._asynchronous = client
        self.__dict__ = client.__dict__  # tests look into it, and change it
        try:
            self._runner.run_until_complete(client.__aenter__())
        except BaseException:
            self._runner.close()
            raise

    def __getattr__(self, name: str) -> Any:
        value: Any = getattr(self._asynchronous, name)
        if not callable(value):
            return value

        def call(*arguments: Any, **more: Any) -> Any:
            coroutine: Any = value(*arguments, **more)
            del arguments, more  # this frame is in the traceback
            return self._runner.run_until_complete(coroutine)

        return call

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def custom(self, settings: dict[str, Any]) -> Any:
        """Return a client of custom jobs over the same connections."""
        from cp_thirdparty import AsyncCustomJobClient  # noqa: PLC0415 - not installed everywhere

        async def wrap() -> Any:
            return AsyncCustomJobClient(self._asynchronous._client, **settings)

        face = object.__new__(_Face)
        face._runner, face._asynchronous = self._runner, self._runner.run_until_complete(wrap())
        face.__dict__ = face._asynchronous.__dict__
        return face

    def end(self) -> None:
        """Close the client and its loop."""
        self.close()
        self._runner.close()


_OPEN: list[_Face] = []


@pytest.fixture(autouse=True, scope="module")
def _close_all() -> Iterator[None]:
    """Close all that the tests of a file have made."""
    yield
    while _OPEN:
        _OPEN.pop().end()


def session(kind: str, *credentials: str) -> Any:
    """Make a session of botocore or aiobotocore with these credentials."""
    if kind == "blocking":
        made: Any = botocore.session.Session()
    else:
        from aiobotocore.session import AioSession  # noqa: PLC0415 - not installed everywhere

        made = AioSession()
    made.set_credentials(*credentials)
    return made


def profile_session(kind: str, profile: str | None) -> Any:
    """Make a session of botocore or aiobotocore with this profile."""
    if kind == "blocking":
        return botocore.session.Session(profile=profile)
    from aiobotocore.session import AioSession  # noqa: PLC0415 - aiobotocore is an extra

    return AioSession(profile=profile)


def create(kind: str, **settings: Any) -> ThirdPartyJobClient:
    """Make a client of this kind with a client of its own."""
    if kind == "blocking":
        return ThirdPartyJobClient.create(**settings)
    from cp_thirdparty import AsyncThirdPartyJobClient  # noqa: PLC0415 - aiobotocore is an extra

    _OPEN.append(_Face(AsyncThirdPartyJobClient.create(**settings)))
    return cast("ThirdPartyJobClient", _OPEN[-1])


_CUSTOM_TYPE = ActionTypeId(category="Test", owner="Custom", provider="p", version="1")
_FAILURE = FailureDetails(type=FailureType.JOB_FAILED, message="no")


def custom(client: Any) -> CustomJobClient:
    """Return a client of custom jobs over the connections of another client, with its settings."""
    settings = {"deadline": client._deadline, "wire_logs": client._wire_logs, "on_call": client._on_call}
    if isinstance(client, _Face):
        return cast("CustomJobClient", client.custom(settings))
    return CustomJobClient(client._client, **settings)


def custom_calls(job_id: str) -> dict[str, Callable[[Any], object]]:
    """Return a call of each operation of custom jobs, over a client of any kind."""
    return {
        "PollForJobs": lambda client: custom(client).poll_for_jobs(_CUSTOM_TYPE),
        "GetJobDetails": lambda client: custom(client).get_job_details(job_id),
        "AcknowledgeJob": lambda client: custom(client).acknowledge_job(job_id, nonce="3"),
        "PutJobSuccessResult": lambda client: custom(client).put_job_success_result(job_id, output_variables={"a": ""}),
        "PutJobFailureResult": lambda client: custom(client).put_job_failure_result(job_id, failure_details=_FAILURE),
    }
