"""Exceptions of the caller's own code inside of a call leave as they are, and lead to no secret of the call."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ClientError
from support import both_clients as both
from support.marker_surfaces import reachable_frames
from support.scripted_server import ScriptedServer, error, ok

from cp_thirdparty import ThirdPartyJobClient
from cp_thirdparty._core import events
from cp_thirdparty._core.secret_removal import remove_secrets_from_bytes
from cp_thirdparty._core.send import is_codepipeline
from cp_thirdparty.enums import Delivery
from cp_thirdparty.exceptions import TransportError, UntrustedResponseError, ValidationException

_TOKEN = "xMARKERx-token"


class HookError(Exception):
    """Raised by a handler of the caller."""


def _fail(**_: object) -> None:
    raise HookError


def _fail_while_handling(**_: object) -> None:
    try:
        next(iter(()))
    except StopIteration as failure:
        raise HookError from failure


def _fail_in_a_circle(**_: object) -> None:
    failure = HookError()
    try:
        next(iter(()))
    except StopIteration as first:
        first.__cause__ = failure
        raise failure from first


@pytest.fixture
def script() -> SimpleNamespace:
    """Give what the server responds; a test starts with a good response."""
    return SimpleNamespace(response=ok({"jobDetails": {"id": "job-1", "nonce": "3", "data": {}}}))


@pytest.fixture
def server(script: SimpleNamespace) -> Iterator[ScriptedServer]:
    """Give a server with this script."""
    with ScriptedServer(lambda _: script.response) as running:
        yield running


def _client(kind: str, endpoint_url: str) -> ThirdPartyJobClient:
    session = both.session(kind, "AKIDEXAMPLE", "xMARKERx-key")
    return both.create(kind, region_name="us-east-1", endpoint_url=endpoint_url, session=session)


def _catch_error(
    kind: str, server: ScriptedServer, hooks: dict[str, Callable[..., Any]], error: Any = HookError
) -> Any:
    """Return what a call raises whose client has these handlers."""
    client = _client(kind, server.endpoint_url)
    for event, hook in hooks.items():
        client._client.meta.events.register(event, hook)
    return _call(client, error)


def _call(client: ThirdPartyJobClient, error: Any) -> Any:
    with pytest.raises(error) as caught:
        client.get_third_party_job_details("job-1", client_token=_TOKEN)
    return caught.value


_EVENTS = (
    "provide-client-params",
    "before-parameter-build",
    "before-call",
    "request-created",
    "before-sign",
    "before-send",
    "before-parse",
    "response-received",
    "needs-retry",
    "after-call",
)


@both.each_kind
@pytest.mark.parametrize("event", _EVENTS)
def test_the_exception_of_a_handler_leaves_as_it_is(event: str, kind: str, server: ScriptedServer) -> None:
    """It has the frames of the caller and of the handler, none of botocore, and leads to no secret."""
    raised = _catch_error(kind, server, {f"{event}.codepipeline": _fail})
    modules = [frame.f_globals["__name__"] for frame, _ in traceback.walk_tb(raised.__traceback__)]
    assert modules[-1] == __name__
    assert not any(module.startswith(("botocore", "aiobotocore")) for module in modules)
    assert (raised.__cause__, raised.__context__) == (None, None)
    # The arguments of a handler hold the request: its frame is the caller's own.
    frames = [frame for frame in reachable_frames(raised) if frame.f_globals["__name__"] != __name__]
    assert "xMARKERx" not in "".join(repr(frame.f_locals) for frame in frames)


class _RaisingLogHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:  # noqa: ARG002 - it only raises
        raise HookError


@both.each_kind
@pytest.mark.parametrize("name", ["botocore.hooks", "botocore.endpoint", "botocore.auth", "botocore.parsers"])
def test_the_exception_of_a_log_handler_leaves_as_it_is(name: str, kind: str, server: ScriptedServer) -> None:
    """It is not an error of a request, and has no frame of botocore, and no secret in a frame of `logging`."""
    client = _client(kind, server.endpoint_url)
    logger, handler = logging.getLogger(name), _RaisingLogHandler()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        raised = _call(client, HookError)
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
    modules = [frame.f_globals["__name__"] for frame, _ in traceback.walk_tb(raised.__traceback__)]
    assert modules[-1] == __name__
    assert not any(module.startswith(("botocore", "aiobotocore")) for module in modules)
    frames = [frame for frame in reachable_frames(raised) if frame.f_globals["__name__"] != __name__]
    assert "xMARKERx" not in "".join(repr(frame.f_locals) for frame in frames)


@both.each_kind
def test_a_handler_keeps_its_own_context(kind: str, server: ScriptedServer) -> None:
    """What the handler itself was handling stays with its exception."""
    raised = _catch_error(kind, server, {"before-send.codepipeline": _fail_while_handling})
    assert isinstance(raised.__cause__, StopIteration)
    assert traceback.extract_tb(raised.__cause__.__traceback__)[-1].name == "_fail_while_handling"


@both.each_kind
def test_a_circle_of_causes_ends(kind: str, server: ScriptedServer) -> None:
    """Exceptions of a handler may name each other as causes."""
    raised = _catch_error(kind, server, {"before-send.codepipeline": _fail_in_a_circle})
    assert raised.__cause__.__cause__ is raised
    assert traceback.extract_tb(raised.__cause__.__traceback__)[-1].name == "_fail_in_a_circle"


@both.each_kind
def test_a_failure_of_botocore_does_not_leave_with_it(
    kind: str, server: ScriptedServer, script: SimpleNamespace
) -> None:
    """A handler that is called because of an error of the service raises its own exception only."""
    script.response = error("ValidationException", _TOKEN)
    hooks = {"needs-retry.codepipeline": _fail, "after-call-error.codepipeline": _fail_while_handling}
    raised = _catch_error(kind, server, hooks)
    assert isinstance(raised.__cause__, StopIteration)
    assert isinstance(raised.__cause__.__context__, HookError)
    assert raised.__cause__.__context__.__context__ is None
    client = _client(kind, "http://127.0.0.1:9")
    client._client.meta.events.register("after-call-error.codepipeline", _fail)
    raised = _call(client, HookError)
    assert raised.__context__ is None


@both.each_kind
def test_a_handler_that_takes_other_arguments_leaves_as_it_is(kind: str, server: ScriptedServer) -> None:
    """A TypeError about the arguments of a handler leaves as itself, although no frame of the handler exists."""

    def of_another_event(model: object, **_: object) -> None:
        raise AssertionError(model)

    raised = _catch_error(kind, server, {"before-send.codepipeline": of_another_event}, TypeError)
    assert "of_another_event" in str(raised)


@both.each_kind
def test_a_handler_sees_what_botocore_parsed(kind: str, server: ScriptedServer) -> None:
    """A handler after the call gets the members of the service, and nothing of this library."""
    seen: list[Any] = []
    client = _client(kind, server.endpoint_url)
    client._client.meta.events.register("after-call.codepipeline", lambda parsed, **_: seen.append(dict(parsed)))
    client.get_third_party_job_details("job-1", client_token=_TOKEN)
    assert seen[0]["jobDetails"] == {"id": "job-1", "nonce": "3", "data": {}}
    assert set(seen[0]) == {"jobDetails", "ResponseMetadata"}


@both.each_kind
def test_a_handler_sees_no_secret_that_the_service_repeats(
    kind: str, server: ScriptedServer, script: SimpleNamespace
) -> None:
    """Errors are clean before botocore parses them: the message, the request id and every other header."""
    headers = {"x-amzn-RequestId": _TOKEN, "x-echo": "xMARKERx%2dtoken"}
    script.response = error("ValidationException", f"{_TOKEN} xMARKERx%2Dtoken", headers=headers)
    seen: list[Any] = []
    client = _client(kind, server.endpoint_url)
    client._client.meta.events.register(
        "needs-retry.codepipeline", lambda response, **_: seen.extend([response[1], dict(response[0].headers)])
    )
    client._client.meta.events.register("after-call.codepipeline", lambda parsed, **_: seen.append(dict(parsed)))
    _call(client, ValidationException)
    assert len(seen) == 3
    assert "xMARKERx" not in repr(seen)
    assert "ValidationException" in repr(seen)


@both.each_kind
def test_the_body_of_an_error_is_searched_once(
    kind: str, server: ScriptedServer, script: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is parsed is also what each handler of the caller gets."""
    script.response = error("ValidationException", f"{_TOKEN} is not valid")
    searched: list[bytes] = []

    def search(data: bytes, *args: Any, **options: Any) -> bytes:
        searched.append(data)
        return remove_secrets_from_bytes(data, *args, **options)

    monkeypatch.setattr(events, "remove_secrets_from_bytes", search)
    seen: list[bytes] = []
    client = _client(kind, server.endpoint_url)
    hooks = client._client.meta.events
    hooks.register("response-received.codepipeline", lambda response_dict, **_: seen.append(response_dict["body"]))
    hooks.register("after-call.codepipeline", lambda http_response, **_: seen.append(http_response._content))
    _call(client, ValidationException)
    assert [b"is not valid" in data for data in searched] == [False, True]  # the headers and the body
    assert len(seen) == 2
    assert [b"********** is not valid" in body for body in seen] == [True, True]


@both.each_kind
def test_an_error_with_too_many_escapes_is_not_trusted(
    kind: str, server: ScriptedServer, script: SimpleNamespace
) -> None:
    """To search it would block the program beyond its deadline, so nothing of it is shown to anyone."""
    noise = "\\x5c\\" * 1_000
    script.response = error("ValidationException", f"xNOISEx {noise} {_TOKEN}", headers={"x-echo": f"xNOISEx {noise}"})
    seen: list[Any] = []
    client = _client(kind, server.endpoint_url)
    hooks = client._client.meta.events
    hooks.register("response-received.codepipeline", lambda response_dict, **_: seen.append(dict(response_dict)))
    hooks.register(
        "after-call.codepipeline",
        lambda http_response, parsed, **_: seen.extend(
            [http_response._content, dict(http_response.headers), dict(parsed)]
        ),
    )
    raised = _call(client, UntrustedResponseError)
    assert str(raised) == "GetThirdPartyJobDetails: the error has too many escapes"
    assert len(seen) == 4
    assert "xMARKERx" not in repr(seen)
    assert "xNOISEx" not in repr(seen)


@both.each_kind
def test_headers_with_too_many_escapes_are_searched_once(
    kind: str, server: ScriptedServer, script: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To search each header alone would take as much time again."""
    headers = {f"x-echo-{number}": "\\x5c\\" * 1_000 + _TOKEN for number in range(10)}
    script.response = error("ValidationException", "wrong", headers={"x-amzn-RequestId": "req-1", **headers})
    searched: list[bytes] = []

    def search(data: bytes, *args: Any, **options: Any) -> bytes:
        searched.append(data)
        return remove_secrets_from_bytes(data, *args, **options)

    monkeypatch.setattr(events, "remove_secrets_from_bytes", search)
    seen: list[dict[str, str]] = []
    client = _client(kind, server.endpoint_url)
    client._client.meta.events.register(
        "after-call.codepipeline", lambda http_response, **_: seen.append(dict(http_response.headers))
    )
    raised = _call(client, ValidationException)
    assert len(searched) == 2  # the headers and the body
    assert set(seen[0].values()) == {"**********"}
    assert raised.request_id == "req-1"


@pytest.mark.parametrize("status", [200, 400])
def test_handlers_see_the_body_of_a_response_of_the_caller(status: int) -> None:
    """Libraries that record or make up responses return them from ``before-send``."""
    error_body = b'{"__type":"ValidationException","message":"xMARKERx-token is not valid"}'
    body = b'{"jobDetails":{"id":"job-1","nonce":"1","data":{}}}' if status == 200 else error_body
    headers: Any = {"x-amzn-RequestId": "req-1"}
    response: Any = AWSResponse("http://127.0.0.1:9", status, headers, None)
    vars(response)["_content"] = body
    seen: list[bytes] = []
    client = _client("blocking", "http://127.0.0.1:9")
    hooks = client._client.meta.events
    hooks.register("before-send.codepipeline", lambda **_: response)
    hooks.register("after-call.codepipeline", lambda http_response, **_: seen.append(http_response._content))
    with nullcontext() if status == 200 else pytest.raises(ValidationException):
        client.get_third_party_job_details("job-1", client_token=_TOKEN)
    assert seen == [body.replace(_TOKEN.encode(), b"**********")]


def test_a_lost_call_of_the_caller_is_not_counted(server: ScriptedServer) -> None:
    """What a handler sends while a call runs is not a part of its request."""
    other = both.session("blocking", "AKID", "made up").create_client(
        "codepipeline", region_name="us-east-1", endpoint_url=server.endpoint_url
    )

    def call(**_: object) -> None:
        other.list_pipelines()
        raise HookError

    client = _client("blocking", "http://127.0.0.1:9")
    client._client.meta.events.register("before-send.codepipeline", call)
    records: list[Any] = []
    client._on_call = records.append
    _call(client, HookError)
    assert ([record.attempts for record in records], len(server.requests)) == ([0], 1)
    client._client.meta.events.unregister("before-send.codepipeline", call)
    assert _call(client, TransportError).delivery is Delivery.NOT_SENT


# --- tracers that call AWS themselves


def _trace(kind: str, monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    """Replace the method of all clients by a tracer that lists pipelines before or after each read of details."""
    if kind == "blocking":
        from botocore.client import BaseClient as Client  # noqa: PLC0415 - next to its other kind
    else:
        from aiobotocore.client import AioBaseClient as Client  # noqa: PLC0415 - not installed everywhere
    original: Any = vars(Client)["_make_api_call"]

    def tracer(self: Any, operation_name: str, parameters: Any) -> Any:
        is_read = operation_name == "GetThirdPartyJobDetails"
        if is_read and when == "before":
            self.list_pipelines()
        result = original(self, operation_name, parameters)
        if is_read and when == "after":
            self.list_pipelines()
        return result

    async def tracer_async(self: Any, operation_name: str, parameters: Any) -> Any:
        is_read = operation_name == "GetThirdPartyJobDetails"
        if is_read and when == "before":
            await self.list_pipelines()
        result = await original(self, operation_name, parameters)
        if is_read and when == "after":
            await self.list_pipelines()
        return result

    monkeypatch.setattr(Client, "_make_api_call", tracer if kind == "blocking" else tracer_async)


@both.each_kind
@pytest.mark.parametrize("when", ["before", "after"])
def test_the_refusal_of_a_tracers_own_call_leaves_as_it_is(
    when: str, kind: str, script: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not reported as an error of the credentials, and not dropped; the tracer's frame is the outermost."""
    refusal = error("AccessDeniedException")
    with ScriptedServer(lambda request: refusal if request.operation == "ListPipelines" else script.response) as server:
        client = _client(kind, server.endpoint_url)
        _trace(kind, monkeypatch, when)
        raised = _call(client, ClientError)
    assert (raised.operation_name, raised.response["Error"]["Code"]) == ("ListPipelines", "AccessDeniedException")
    assert len(server.requests) == (1 if when == "before" else 2)
    names = [frame.f_code.co_name for frame, _ in traceback.walk_tb(raised.__traceback__)]
    assert names[names.index("_finish_call") + 1].startswith("tracer")


async def _coroutine() -> None:
    """Do nothing, in a coroutine."""


@both.each_kind
def test_the_class_of_a_client_shows_its_kind(
    kind: str, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tracer may have put a function of the other kind in place of the client's method."""
    raw = _client(kind, server.endpoint_url)._client
    monkeypatch.setattr(raw, "_make_api_call", (lambda: None) if kind == "asyncio" else _coroutine, raising=True)
    assert is_codepipeline(raw, is_async=kind == "asyncio")
    assert not is_codepipeline(raw, is_async=kind != "asyncio")


def test_code_that_fails_after_a_success_is_not_ignored(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only a failure of botocore's parser is made up for by the document that this library has read itself."""

    def record(event: str, *_: object) -> None:
        if event == "PARSED_RESPONSE":
            raise HookError

    monkeypatch.setattr("botocore.endpoint.history_recorder", SimpleNamespace(record=record))
    raised = _call(_client("blocking", server.endpoint_url), UntrustedResponseError)
    assert "HookError" in str(raised)
