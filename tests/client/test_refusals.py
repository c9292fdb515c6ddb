"""Handlers and tracers see of a refused call what botocore shows of it, but for secrets; and it is not resent."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from support import both_clients as both
from support.scripted_server import ScriptedServer, error

from cp_thirdparty import ActionTypeId, FailureDetails, ThirdPartyJobClient
from cp_thirdparty._core import events
from cp_thirdparty._core.call import Call
from cp_thirdparty.enums import FailureType
from cp_thirdparty.exceptions import InvalidNonceException, ServiceError, ThirdPartyError

_TOKEN = "xMARKERx-token"
_TYPE = ActionTypeId(category="Test", owner="ThirdParty", provider="p", version="1")
_FAILURE = FailureDetails(type=FailureType.JOB_FAILED, message="no")
_CALLS: dict[str, Callable[[ThirdPartyJobClient], object]] = {
    "poll": lambda client: client.poll_for_third_party_jobs(_TYPE),
    "read": lambda client: client.get_third_party_job_details("job-1", client_token=_TOKEN),
    "acknowledge": lambda client: client.acknowledge_third_party_job("job-1", nonce="3", client_token=_TOKEN),
    "succeed": lambda client: client.put_third_party_job_success_result("job-1", client_token=_TOKEN),
    "fail": lambda client: client.put_third_party_job_failure_result(
        "job-1", client_token=_TOKEN, failure_details=_FAILURE
    ),
}
_CALLS.update(both.custom_calls("job-1"))
_REFUSALS = [
    ("InvalidNonceException", 400),
    ("JobNotFoundException", 400),
    ("SomethingNew", 400),
    ("InternalFailure", 500),
    ("ServiceUnavailable", 503),
    ("ThrottlingException", 400),
    ("TooManyRequestsException", 429),
]
_EVENTS = ("before-parse", "response-received", "needs-retry", "after-call", "after-call-error")


def _client(kind: str, endpoint_url: str, **settings: Any) -> ThirdPartyJobClient:
    session = both.session(kind, "AKIDEXAMPLE", "made up")
    retries: Any = settings
    config = Config(proxies={}, retries=retries)
    return both.create(kind, region_name="us-east-1", endpoint_url=endpoint_url, session=session, config=config)


class _Observer:
    """Records what handlers and a tracer see of the calls of a client."""

    def __init__(self, kind: str, client: Any) -> None:
        self.seen: list[Any] = []
        self.sent: list[Any] = []
        self._original = client._make_api_call
        client._make_api_call = self._call if kind == "blocking" else self._call_async
        for event in _EVENTS:
            client.meta.events.register(f"{event}.codepipeline", self._note_event)

    def _note_event(self, event_name: str, **_: object) -> None:
        self.seen.append(event_name)

    def _note_error(self, failure: ClientError) -> None:
        names = [kind.__name__ for kind in type(failure).__mro__]
        self.seen.append((names, failure.operation_name, str(failure), failure.response))

    def _call(self, operation_name: str, parameters: Any) -> Any:
        self.sent[:] = operation_name, dict(parameters)
        try:
            return self._original(operation_name, parameters)
        except ClientError as failure:
            self._note_error(failure)
            raise

    async def _call_async(self, operation_name: str, parameters: Any) -> Any:
        self.sent[:] = operation_name, dict(parameters)
        try:
            return await self._original(operation_name, parameters)
        except ClientError as failure:
            self._note_error(failure)
            raise


def _call_botocore(client: Any, operation_name: str, parameters: Any) -> None:
    """Call without this library, but with a client like the one that it uses."""
    call = client._client._make_api_call
    with pytest.raises(ClientError):
        _result(client, call(operation_name, parameters))


def _result(client: Any, result: Any) -> Any:
    return client._runner.run_until_complete(result) if inspect.isawaitable(result) else result


@pytest.mark.slow
@both.each_kind
@pytest.mark.parametrize("mode", ["legacy", "standard", "adaptive"])
@pytest.mark.parametrize("name", _CALLS)
def test_tools_see_of_a_refusal_what_botocore_shows(name: str, mode: str, kind: str) -> None:
    """The events, the class of the exception and the metadata are those of a call of botocore's own client."""
    responses: list[Any] = []
    with ScriptedServer(lambda _: responses[-1]) as server:
        ours, plain = (_client(kind, server.endpoint_url, mode=mode, total_max_attempts=1) for _ in range(2))
        observer, expected = (_Observer(kind, client._client) for client in (ours, plain))
        # The adaptive mode waits after a client was throttled.
        for code, status in _REFUSALS[: -1 if mode == "adaptive" else None]:
            responses.append(error(code, status=status))
            with pytest.raises(ThirdPartyError):
                _CALLS[name](ours)
            _call_botocore(plain, *observer.sent)
            assert observer.seen == expected.seen
            assert observer.seen[-1][-1]["Error"]["Code"] == code
            assert observer.seen[-1][-1]["ResponseMetadata"]["RetryAttempts"] == 0


@both.each_kind
@pytest.mark.parametrize("mode", ["legacy", "standard", "adaptive"])
def test_a_result_is_not_resent(mode: str, kind: str) -> None:
    """Botocore resends after a status of 500, and any handler may want to; for a result none of them can."""
    with ScriptedServer(lambda _: error("InternalFailure", status=500)) as server:
        client = _client(kind, server.endpoint_url, mode=mode)
        hooks: Any = client._client.meta.events
        # The last one comes before the handler of this library.
        hooks.register("needs-retry", lambda **_: 0)
        hooks.register("needs-retry.codepipeline.PutThirdPartyJobSuccessResult", lambda **_: 0)
        seen: list[str] = []
        hooks.register("after-call.codepipeline", lambda event_name, **_: seen.append(event_name))
        for _ in range(2):
            with pytest.raises(ServiceError) as caught:
                _CALLS["succeed"](client)
            assert (caught.value.status_code, caught.value.attempts) == (500, 1)
        assert seen == ["after-call.codepipeline.PutThirdPartyJobSuccessResult"] * 2
        hooks.register_first("needs-retry.codepipeline.PutThirdPartyJobSuccessResult", lambda **_: 0)
        with pytest.raises(ServiceError) as caught:
            _CALLS["succeed"](client)
        assert (caught.value.status_code, caught.value.attempts) == (500, 1)
        assert len(server.requests) == 3


@both.each_kind
@pytest.mark.parametrize("with_request_id", [True, False])
def test_handlers_see_no_secret_in_a_body(kind: str, *, with_request_id: bool) -> None:
    """The bytes of an error are clean for handlers too, and those of a response that is not trusted are gone."""
    headers = {} if with_request_id else {"x-amzn-RequestId": ""}
    response = error("InvalidNonceException", f"bad {_TOKEN}", headers=headers)
    seen: list[Any] = []
    with ScriptedServer(lambda _: response) as server:
        client = _client(kind, server.endpoint_url, total_max_attempts=1)
        hooks: Any = client._client.meta.events
        hooks.register("response-received.codepipeline", lambda response_dict, **_: seen.append(response_dict["body"]))
        hooks.register("after-call.codepipeline", lambda http_response, **_: seen.append(http_response._content))
        with pytest.raises(InvalidNonceException if with_request_id else ThirdPartyError):
            _CALLS["acknowledge"](client)
    assert len(seen) == 2
    assert all((b"InvalidNonceException" in body) is with_request_id for body in seen)
    assert not any(b"MARKER" in body for body in seen)


@pytest.mark.parametrize("is_last", [False, True])
def test_a_decision_may_be_awaited(*, is_last: bool) -> None:
    """The endpoints of aiobotocore decide in a coroutine."""

    async def decide(*_: object) -> bool:
        return True

    endpoint: Any = SimpleNamespace(_needs_retry=decide)
    context: dict[str, Any] = {}
    for _ in range(2):
        events._prevent_retry_after_last_attempt(endpoint)
    with Call(is_last_attempt=is_last, context=context):
        assert asyncio.run(endpoint._needs_retry(1, None, {"context": context})) is not is_last
    assert asyncio.run(endpoint._needs_retry(1, None, {"context": context}))
