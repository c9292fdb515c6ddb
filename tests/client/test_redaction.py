"""
Botocore's DEBUG log during a call of ours: its templates stay, what it sends and receives does not.

The filter sits on the loggers that leak, acts on our calls alone, and survives a new configuration of logging.
"""

from __future__ import annotations

import functools
import importlib
import io
import json
import logging
import logging.config
import pkgutil
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import datetime, timezone
from importlib.metadata import version
from typing import Any

import botocore
import botocore.session
import pytest
import urllib3
from botocore.config import Config
from botocore.credentials import RefreshableCredentials
from botocore.history import get_global_history_recorder
from botocore.monitoring import CSMSerializer, Monitor, MonitorEventAdapter, SocketPublisher
from botocore.parsers import ResponseParserError
from botocore.retries.standard import ExponentialBackoff
from botocore.tokens import DeferredRefreshableToken
from botocore.utils import ContainerMetadataFetcher
from support.marker_surfaces import logged
from support.scripted_server import ReceivedRequest, Response, ScriptedServer, error, ok

from cp_thirdparty import ActionTypeId, SecretStr, ThirdPartyJobClient
from cp_thirdparty.exceptions import ThirdPartyError

_STEM = "xMARKERx"
# What must not be in a log, by where it comes from.
_MARKERS = {
    "client token": f"{_STEM}-token",
    "key id": f"{_STEM}-key-id",
    "secret key": f"{_STEM}-secret-key",
    "session token": f"{_STEM}-session-token",
    "response": f"{_STEM}-response",
}
_TYPE = ActionTypeId(category="Test", owner="ThirdParty", provider="p", version="1")
_WIRE_TYPE = {"category": "Test", "owner": "ThirdParty", "provider": "p", "version": "1"}
_TOKEN = SecretStr(_MARKERS["client token"])
_DATA = {"actionConfiguration": {"configuration": {"ApiKey": _MARKERS["response"]}}}
_GOOD = {"jobDetails": {"id": "job-1", "data": _DATA, "nonce": "1"}, "jobs": [], "status": "InProgress"}

# Loggers that were seen to log what is sent and received, some by a traceback whose frames hold it.
_WITHHELD = (
    "botocore.auth",
    "botocore.credentials",
    "botocore.endpoint",
    "botocore.history",
    "botocore.httpsession",
    "botocore.monitoring",
    "botocore.parsers",
    "botocore.retries.standard",
    "botocore.retryhandler",
    "botocore.tokens",
    "botocore.utils",
    "urllib3.connection",
)
# This one logs no secret except in urllib3 1.26, in records that have a traceback.
_FAILURES = "urllib3.connectionpool"
_LEAKING = (*_WITHHELD, _FAILURES)

# Those of S3 and s3transfer, which the tests of artifacts look at, and those of aiobotocore, which have their own.
_ARTIFACTS = ("botocore.handlers", "s3transfer.download", "s3transfer.futures", "s3transfer.tasks", "s3transfer.utils")
_ASYNCHRONOUS = (
    "aiobotocore.credentials",
    "aiobotocore.tokens",
    "aiobotocore.utils",
    "aiohttp.client",
    "aiohttp.internal",
)


# --- what is called --------------------------------------------------------------------------------------------------


def _session() -> botocore.session.Session:
    session = botocore.session.Session()
    session.set_credentials(_MARKERS["key id"], _MARKERS["secret key"], _MARKERS["session token"])
    return session


def _raw(endpoint_url: str, service: str = "codepipeline", **settings: Any) -> Any:
    all_settings: dict[str, Any] = {"retries": {"mode": "standard", "total_max_attempts": 1}, **settings}
    config = Config(**all_settings)
    return _session().create_client(service, region_name="us-east-1", endpoint_url=endpoint_url, config=config)


def _get(client: ThirdPartyJobClient) -> object:
    """Read details: the call that sends and brings most."""
    return client.get_third_party_job_details("job-1", client_token=_TOKEN)


def _get_raw(raw: Any) -> object:
    return raw.get_third_party_job_details(jobId="job-1", clientToken=_MARKERS["client token"])


class _Script:
    """What the server returns now."""

    def __init__(self) -> None:
        self.respond: Callable[[ReceivedRequest], Response] = lambda _: ok(_GOOD)

    def __call__(self, request: ReceivedRequest) -> Response:
        return self.respond(request)


@pytest.fixture(scope="module")
def script() -> _Script:
    """Give what the server returns."""
    return _Script()


@pytest.fixture(scope="module")
def server(script: _Script) -> Iterator[ScriptedServer]:
    """Give a server for all tests."""
    with ScriptedServer(script) as running:
        yield running


@pytest.fixture(autouse=True)
def _good(script: _Script) -> None:
    """Each test starts with good responses."""
    script.respond = lambda _: ok(_GOOD)


@pytest.fixture(scope="module")
def client(server: ScriptedServer) -> ThirdPartyJobClient:
    """Give a client of ours, its log withheld."""
    return ThirdPartyJobClient(_raw(server.endpoint_url))


@pytest.fixture(scope="module")
def loud(server: ScriptedServer) -> ThirdPartyJobClient:
    """Give a client of ours with wire logs."""
    return ThirdPartyJobClient(_raw(server.endpoint_url), wire_logs=True)


@pytest.fixture(scope="module")
def other(server: ScriptedServer) -> Any:
    """Give a client of botocore that nothing of ours has touched."""
    return _raw(server.endpoint_url)


class _Kept(logging.Handler):
    """A handler that keeps the records, each with what one can read in it at that moment."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []
        self.shown: list[tuple[str, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        self.records.append(record)
        self.shown.append((record.name, logged([record])))

    def __str__(self) -> str:
        return "".join(text for _, text in self.shown)

    def leaking(self) -> set[str]:
        """Return the loggers whose records have a marker."""
        return {name for name, text in self.shown if _STEM in text}


@pytest.fixture
def kept() -> Iterator[_Kept]:
    """Let every logger log everything, and keep it."""
    root = logging.getLogger()
    level, handler = root.level, _Kept()
    root.setLevel(1)
    root.addHandler(handler)
    yield handler
    root.removeHandler(handler)
    root.setLevel(level)


@contextmanager
def _peer(play: Callable[[socket.socket], None]) -> Generator[str]:
    """Serve each connection with a function, on a raw socket."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(65536)
                    play(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()


def _reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _bad_headers(connection: socket.socket) -> None:
    connection.sendall(f"HTTP/1.1 200 OK\r\n{_STEM} no colon\r\nContent-Length: 0\r\n\r\n".encode())


def _bad_chunk(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nx-amzn-RequestId: r\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")


# --- which loggers ---------------------------------------------------------------------------------------------------

_RESPONSES: dict[str, Callable[[ReceivedRequest], Response]] = {
    "good": lambda _: ok(_GOOD),
    "echo": lambda request: error("ValidationException", str(request.parameters.get("clientToken"))),
    "throttled": lambda _: error("ThrottlingException"),
    "error of the service": lambda _: Response(body=json.dumps({"a": _MARKERS["response"]}).encode(), status=500),
    "page": lambda _: Response(body=_MARKERS["response"].encode()),
    "odd retry header": lambda _: Response(
        body=b"{}", status=500, headers={"x-amzn-RequestId": "r", "x-amz-retry-after": _MARKERS["response"]}
    ),
}


@pytest.mark.parametrize("mode", ["legacy", "standard", pytest.param("adaptive", marks=pytest.mark.slow)])
def test_no_logger_of_any_library_leaks(mode: str, server: ScriptedServer, script: _Script, kept: _Kept) -> None:
    """Whatever is returned, in each retry mode of botocore, no record of any logger has a marker."""
    raw = _raw(server.endpoint_url, retries={"mode": mode, "total_max_attempts": 1})
    client = ThirdPartyJobClient(raw)
    for response in _RESPONSES.values():
        script.respond = response
        _try(lambda: _get(client))
    raw.close()
    assert kept.leaking() == set()
    assert len(kept.records) > 50


def _try(call: Callable[[], object]) -> None:
    try:
        call()
    except ThirdPartyError:
        return


@pytest.mark.parametrize("mode", ["legacy", "standard"])
@pytest.mark.parametrize("fault", [_reset, _bad_headers, _bad_chunk, lambda _: None], ids=lambda fault: fault.__name__)
def test_no_logged_traceback_leaks(mode: str, fault: Callable[[socket.socket], None], kept: _Kept) -> None:
    """What botocore and urllib3 log of a broken connection leads to no frame that holds a marker."""
    with _peer(fault) as endpoint_url:
        raw = _raw(endpoint_url, retries={"mode": mode, "total_max_attempts": 2})
        raw.meta.events.register("before-send.codepipeline", lambda **_: None)
        client = ThirdPartyJobClient(raw, deadline=1.5)
        _try(lambda: _get(client))
        raw.close()
    assert kept.leaking() == set()


@contextmanager
def _plain(server: ScriptedServer, _: _Script, __: pytest.MonkeyPatch) -> Generator[Any]:
    """Make a call that ends well."""
    yield _raw(server.endpoint_url)


@contextmanager
def _broken(mode: str, play: Callable[[socket.socket], None]) -> Generator[Any]:
    """Make a call to a peer that plays with the connection."""
    with _peer(play) as endpoint_url:
        yield _raw(endpoint_url, retries={"mode": mode, "total_max_attempts": 1 + (mode == "legacy")})


@contextmanager
def _record_events(server: ScriptedServer, _: _Script, __: pytest.MonkeyPatch) -> Generator[Any]:
    """Record what botocore does with a recorder that fails."""

    class Recorder:
        def emit(self, *_: object) -> None:
            raise LookupError

    history: Any = get_global_history_recorder()
    history.add_handler(Recorder())
    history.enable()
    yield _raw(server.endpoint_url)
    history.disable()
    history._handlers.clear()


@contextmanager
def _monitor_calls(server: ScriptedServer, script: _Script, _: pytest.MonkeyPatch) -> Generator[Any]:
    """Turn botocore's client-side monitoring on, which truncates a long message of the service, and logs it."""
    script.respond = lambda request: error("ValidationException", request.parameters["clientToken"] + "x" * 600)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sending:
        raw = _raw(server.endpoint_url)
        publisher = SocketPublisher(sending, "127.0.0.1", 9, CSMSerializer(csm_client_id=""))
        Monitor(adapter=MonitorEventAdapter(), publisher=publisher).register(raw.meta.events)
        yield raw


@contextmanager
def _unsendable(server: ScriptedServer, _: _Script, monkeypatch: pytest.MonkeyPatch) -> Generator[Any]:
    """Let something go wrong before the request is sent."""
    raw = _raw(server.endpoint_url)
    monkeypatch.setattr(raw._endpoint.http_session, "_get_connection_manager", _fail)
    yield raw


@contextmanager
def _ask_to_wait(server: ScriptedServer, script: _Script, _: pytest.MonkeyPatch) -> Generator[Any]:
    """Return the time to wait in words."""
    headers = {"x-amzn-RequestId": "r", "x-amz-retry-after": _MARKERS["response"]}
    script.respond = lambda _: Response(body=b"{}", status=500, headers=headers)
    yield _raw(server.endpoint_url, retries={"mode": "standard", "total_max_attempts": 2})


def _role(endpoint_url: str) -> dict[str, str]:
    """Assume a role by way of a service that hangs up."""
    sts = _raw(endpoint_url, "sts", retries={"mode": "legacy", "total_max_attempts": 1})
    try:
        credentials: dict[str, str] = sts.assume_role(RoleArn="arn:aws:iam::123456789012:role/x", RoleSessionName="xx")
    finally:
        sts.close()
    return credentials


def _sign_in(endpoint_url: str) -> dict[str, str]:
    """Ask for a token, which cannot be refreshed."""
    refresh: Any = functools.partial(_role, endpoint_url)
    DeferredRefreshableToken("made-up", refresh).get_frozen_token()
    raise AssertionError


def _container(endpoint_url: str) -> dict[str, str]:
    """Ask the agent of a container, which hangs up."""
    fetcher: Any = ContainerMetadataFetcher(sleep=lambda _: None)
    credentials: dict[str, str] = fetcher.retrieve_full_uri(
        endpoint_url, headers={"Authorization": _MARKERS["session token"]}
    )
    return credentials


@contextmanager
def _expired_client(fetch: Callable[[str], dict[str, str]]) -> Generator[Any]:
    """Make a client whose credentials have expired and must be fetched by the next call, which fails."""
    with _peer(_reset) as endpoint_url:
        session: Any = botocore.session.Session()
        past = datetime(2020, 1, 1, tzinfo=timezone.utc)
        session._credentials = RefreshableCredentials("a", "b", "c", past, lambda: fetch(endpoint_url), "made-up")
        yield session.create_client("codepipeline", region_name="us-east-1", endpoint_url=endpoint_url)


_Scene = Callable[[ScriptedServer, _Script, pytest.MonkeyPatch], AbstractContextManager[Any]]

# Logger -> a scene in which it logs a marker when nobody withholds it.
_SCENES: dict[str, _Scene] = {
    "botocore.auth": _plain,
    "botocore.credentials": lambda *_: _expired_client(_role),
    "botocore.endpoint": _plain,
    "botocore.history": _record_events,
    "botocore.httpsession": _unsendable,
    "botocore.monitoring": _monitor_calls,
    "botocore.parsers": _plain,
    "botocore.retries.standard": _ask_to_wait,
    "botocore.retryhandler": lambda *_: _broken("legacy", _reset),
    "botocore.tokens": lambda *_: _expired_client(_sign_in),
    "botocore.utils": lambda *_: _expired_client(_container),
    "urllib3.connection": lambda *_: _broken("standard", _bad_headers),
    _FAILURES: lambda *_: _broken("standard", _bad_headers),
}
# Not every supported version has the record.
_IS_THERE = {
    "botocore.retries.standard": hasattr(ExponentialBackoff, "_RETRY_AFTER_HEADER"),
    "urllib3.connection": version("urllib3") >= "2",
    _FAILURES: version("urllib3") < "2",
}


@pytest.mark.parametrize("logger", _LEAKING)
def test_each_logger_leaks_without_redaction(
    logger: str, server: ScriptedServer, script: _Script, monkeypatch: pytest.MonkeyPatch, kept: _Kept
) -> None:
    """Each of these loggers logs a secret of a client that is used directly, and no other logger does."""
    with _SCENES[logger](server, script, monkeypatch) as raw:
        with suppress(Exception):
            _get_raw(raw)
        raw.close()
    assert kept.leaking() <= set(_LEAKING)
    assert (logger in kept.leaking()) == _IS_THERE.get(logger, True)


@pytest.mark.parametrize("logger", _LEAKING)
def test_no_logger_leaks_with_redaction(
    logger: str, server: ScriptedServer, script: _Script, monkeypatch: pytest.MonkeyPatch, kept: _Kept
) -> None:
    """The same scenes in a call of ours: the loggers log, and reveal nothing."""
    with _SCENES[logger](server, script, monkeypatch) as raw:
        _try(lambda: _get(ThirdPartyJobClient(raw)))
        raw.close()
    assert kept.leaking() == set()
    names = {record.name for record in kept.records if "[withheld]" in record.getMessage()}
    assert logger in names or not _IS_THERE.get(logger, True)


def test_a_failure_to_fetch_credentials_is_still_logged(
    server: ScriptedServer, script: _Script, monkeypatch: pytest.MonkeyPatch, kept: _Kept
) -> None:
    """The warning that credentials could not be fetched stays, without what they are fetched with."""
    with _SCENES["botocore.credentials"](server, script, monkeypatch) as raw:
        _try(lambda: _get(ThirdPartyJobClient(raw)))
        raw.close()
    messages = [record.getMessage() for record in kept.records if record.name == "botocore.credentials"]
    assert set(messages) == {
        "Credentials need to be refreshed.",
        "Refreshing temporary credentials failed during %s refresh period. [withheld]",
    }


def _ours(logger: logging.Logger) -> list[object]:
    """Return which filters of ours a logger has."""
    return [each for each in logger.filters if "cp_thirdparty" in str(getattr(each, "__module__", ""))]


@pytest.mark.parametrize("logger", _LEAKING)
def test_each_leaking_logger_has_one_filter(logger: str, client: ThirdPartyJobClient) -> None:
    """After two calls the filter sits on each of these loggers, once."""
    _get(client)
    _get(client)
    assert len(_ours(logging.getLogger(logger))) == 1


def test_no_other_logger_has_a_filter(client: ThirdPartyJobClient) -> None:
    """Loggers that do not leak, and those of other libraries, are left as they are."""
    for package in (botocore, urllib3):
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            if module.name not in ("botocore.vendored", "urllib3.http2", "urllib3.contrib"):
                importlib.import_module(module.name)
    _get(client)
    loggers = [each for each in logging.Logger.manager.loggerDict.values() if isinstance(each, logging.Logger)]
    assert sorted(each.name for each in loggers if _ours(each)) == sorted((*_LEAKING, *_ARTIFACTS, *_ASYNCHRONOUS))
    assert _ours(logging.getLogger()) == []


# --- what is kept ----------------------------------------------------------------------------------------------------


def test_the_templates_stay(client: ThirdPartyJobClient, kept: _Kept) -> None:
    """The order of events can be read: each record has its template, a mark, and no arguments."""
    _get(client)
    messages = [record.getMessage() for record in kept.records if record.name in _WITHHELD]
    for template in (
        "Making request for %s with params: %s [withheld]",
        "CanonicalRequest:\n%s [withheld]",
        "StringToSign:\n%s [withheld]",
        "Signature:\n%s [withheld]",
        "Sending http request: %s [withheld]",
        "Response headers: %r [withheld]",
        "Response body:\n%r [withheld]",
    ):
        assert template in messages
    assert [record for record in kept.records if record.name in _WITHHELD and record.args] == []


def test_level_and_place_of_a_record_stay(client: ThirdPartyJobClient, kept: _Kept) -> None:
    """A withheld record still shows which level, module, line and thread it is of."""
    _get(client)
    (record,) = [each for each in kept.records if each.msg == "Signature:\n%s [withheld]"]
    assert (record.levelname, record.module, record.funcName, record.thread) == (
        "DEBUG",
        "auth",
        "add_auth",
        threading.get_ident(),
    )


@pytest.mark.parametrize("logger", ["botocore.hooks", "urllib3.connectionpool"])
def test_other_loggers_keep_their_arguments(logger: str, client: ThirdPartyJobClient, kept: _Kept) -> None:
    """What does not leak is logged in full during a call of ours."""
    _get(client)
    records = [record for record in kept.records if record.name == logger]
    assert [record for record in records if record.args] != []
    assert [record for record in records if "withheld" in record.getMessage()] == []


def _inside_a_call(log: Callable[[logging.Logger], None], logger: str, server: ScriptedServer) -> None:
    """Let something be logged in the midst of a call of ours."""
    raw = _raw(server.endpoint_url)
    raw.meta.events.register("before-send.codepipeline", lambda **_: log(logging.getLogger(logger)))
    _get(ThirdPartyJobClient(raw))
    raw.close()


def _fail(*_: object) -> None:
    local = _MARKERS["response"]
    raise LookupError(local)


def _with_exception(logger: logging.Logger) -> None:
    try:
        _fail()
    except LookupError as failure:
        logger.debug("failed: %s", failure, exc_info=True)


def _with_traceback(logger: logging.Logger) -> None:
    try:
        _fail()
    except LookupError:
        logger.debug("failed", exc_info=True)


def _with_record(logger: logging.Logger) -> None:
    logger.handle(logging.makeLogRecord({"name": logger.name, "levelno": logging.DEBUG, "msg": "a"}))


_CONSTANT = "made elsewhere"


# What is logged in the midst of a call -> the message that is left.
_LOGGED: dict[str, tuple[Callable[[logging.Logger], None], str]] = {
    "arguments": (lambda logger: logger.debug("a %s b %r", _STEM, 5), "a %s b %r [withheld]"),
    "one dictionary": (lambda logger: logger.debug("a %(b)s", {"b": _STEM}), "a %(b)s [withheld]"),
    "a constant": (lambda logger: logger.debug("a b"), "a b"),
    "a constant of another type": (lambda logger: logger.debug(5), "[withheld]"),
    "a constant with a traceback": (_with_traceback, "failed [withheld]"),
    "a constant of another place": (lambda logger: logger.debug(_CONSTANT), "[withheld]"),
    "a record from nowhere": (_with_record, "[withheld]"),
    "a made text with arguments": (lambda logger: logger.debug(f"a {_STEM} %s", 5), "[withheld]"),  # noqa: G004
    "made text": (lambda logger: logger.debug(f"a {_STEM}"), "[withheld]"),  # noqa: G004 - it is the row
    "an object": (lambda logger: logger.debug([_STEM]), "[withheld]"),
    "an exception": (_with_exception, "failed: %s [withheld]"),
    "an exception as message": (lambda logger: logger.debug(LookupError(_STEM)), "[withheld]"),
    "wrong arguments": (lambda logger: logger.debug("a", _STEM), "a [withheld]"),  # noqa: PLE1205 - it is the row
}


@pytest.mark.parametrize("logger", ["botocore.auth", "botocore.tokens", "urllib3.connection"])
@pytest.mark.parametrize("what", _LOGGED)
def test_a_record_keeps_its_template_only(what: str, logger: str, server: ScriptedServer, kept: _Kept) -> None:
    """Arguments, made strings, objects and tracebacks are withheld; the template stays."""
    log, expected = _LOGGED[what]
    _inside_a_call(log, logger, server)
    assert expected in [record.getMessage() for record in kept.records if record.name == logger]
    assert _STEM not in str(kept)
    assert [record for record in kept.records if record.exc_info or record.exc_text] == []
    assert [record.args for record in kept.records if record.name == logger and record.args] == []


def test_a_traceback_of_the_pool_of_connections_is_withheld(server: ScriptedServer, kept: _Kept) -> None:
    """Records of urllib3's pool that have a traceback are withheld, the others stay as they are."""
    _inside_a_call(_with_exception, _FAILURES, server)
    _inside_a_call(lambda logger: logger.debug("a %s", "b"), _FAILURES, server)
    messages = [record.getMessage() for record in kept.records if record.name == _FAILURES]
    assert {"failed: %s [withheld]", "a b"} <= set(messages)
    assert _STEM not in str(kept)


def test_a_formatter_that_caches_finds_nothing(
    client: ThirdPartyJobClient, monkeypatch: pytest.MonkeyPatch, kept: _Kept
) -> None:
    """A record whose traceback was formatted before, by the library's record factory, loses that text too."""
    made = logging.getLogRecordFactory()

    def factory(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = made(*args, **kwargs)
        record.exc_text = _STEM
        return record

    logging.setLogRecordFactory(factory)
    monkeypatch.setattr(logging, "raiseExceptions", False)
    _get(client)
    logging.setLogRecordFactory(made)
    assert {record.exc_text for record in kept.records if record.name in _WITHHELD} == {None}


# --- whose calls -----------------------------------------------------------------------------------------------------


def test_wire_logs_are_for_one_client(client: ThirdPartyJobClient, loud: ThirdPartyJobClient, kept: _Kept) -> None:
    """``wire_logs=True`` gives one client its full log; another one stays withheld, whichever is first."""
    _get(client)
    _get(loud)
    _get(client)
    first, second, third = _split(kept)
    assert (_STEM in first, _STEM in second, _STEM in third) == (False, True, False)


def _split(kept: _Kept) -> list[str]:
    """Split what was kept at our own record, which ends a call."""
    parts, part = [], ""
    for name, text in kept.shown:
        part += text
        if name == "cp_thirdparty":
            parts.append(part)
            part = ""
    return parts


@pytest.mark.parametrize("marker", [name for name in _MARKERS if name != "secret key"])
def test_wire_logs_show_all_that_is_sent_and_received(marker: str, loud: ThirdPartyJobClient, kept: _Kept) -> None:
    """The harness finds each marker when redaction is off; the secret key itself is never sent."""
    _get(loud)
    assert _MARKERS[marker] in str(kept)


@pytest.mark.parametrize("marker", [name for name in _MARKERS if name != "secret key"])
def test_another_client_keeps_its_log(marker: str, client: ThirdPartyJobClient, other: Any, kept: _Kept) -> None:
    """A client of botocore beside ours logs what it always did."""
    _get(client)
    assert _STEM not in str(kept)
    _get_raw(other)
    assert _MARKERS[marker] in str(kept)


def test_a_wrapped_client_used_directly_keeps_its_log(client: ThirdPartyJobClient, kept: _Kept) -> None:
    """The very client that we wrap, called without us, logs in full; called by us, not."""
    _get_raw(client._client)
    assert kept.leaking() >= {"botocore.endpoint", "botocore.parsers", "botocore.auth"}
    kept.shown.clear()
    _get(client)
    assert kept.leaking() == set()


def test_another_service_keeps_its_log(client: ThirdPartyJobClient, server: ScriptedServer, kept: _Kept) -> None:
    """A client of another service logs in full."""
    _get(client)
    kept.shown.clear()
    sts = _raw(server.endpoint_url, "sts")
    with pytest.raises(ResponseParserError):
        sts.get_caller_identity()
    sts.close()
    assert kept.leaking() >= {"botocore.endpoint", "botocore.parsers", "botocore.auth"}


@pytest.mark.parametrize("direct", ["another client", "the same client"])
def test_both_at_the_same_time(
    direct: str, client: ThirdPartyJobClient, other: Any, script: _Script, kept: _Kept
) -> None:
    """Two threads in the midst of a call at once: the records of ours are withheld, those of the other are not."""
    raw = other if direct == "another client" else client._client
    meeting = threading.Barrier(2, timeout=10)

    def respond(_: ReceivedRequest) -> Response:
        meeting.wait()  # both requests are under way
        return ok(_GOOD)

    script.respond = respond
    thread = threading.Thread(target=_get_raw, args=(raw,))
    thread.start()
    _get(client)
    thread.join()
    ours = [text for record, (_, text) in zip(kept.records, kept.shown, strict=True) if _is_of_here(record)]
    theirs = [text for record, (_, text) in zip(kept.records, kept.shown, strict=True) if record.thread == thread.ident]
    assert _STEM not in "".join(ours)
    assert [name for name in _MARKERS if _MARKERS[name] not in "".join(theirs)] == ["secret key"]


def _is_of_here(record: logging.LogRecord) -> bool:
    return record.thread == threading.get_ident()


def test_many_threads_at_once(client: ThirdPartyJobClient, loud: ThirdPartyJobClient, kept: _Kept) -> None:
    """Eight threads, half of them loud, twenty calls each: every record is of the right kind."""
    threads: dict[int, bool] = {}

    def run(caller: ThirdPartyJobClient, *, is_loud: bool) -> None:
        threads[threading.get_ident()] = is_loud
        start.wait()
        for _ in range(5):
            _get(caller)
        end.wait()  # so that no identity of a thread is used twice

    start, end = threading.Barrier(8, timeout=30), threading.Barrier(8, timeout=30)
    running = [
        threading.Thread(target=run, args=(caller,), kwargs={"is_loud": caller is loud})
        for caller in [client, loud] * 4
    ]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    for record, (name, text) in zip(kept.records, kept.shown, strict=True):
        if record.thread in threads and not threads[record.thread]:
            assert _STEM not in text
        elif record.thread in threads and name in _WITHHELD:
            assert "[withheld]" not in text
    assert len(threads) == 8


def test_after_a_failure_others_have_their_log(
    client: ThirdPartyJobClient, other: Any, script: _Script, kept: _Kept
) -> None:
    """A call that ended in an error no longer withholds anything."""
    script.respond = lambda _: error("JobNotFoundException")
    _try(lambda: _get(client))
    assert _STEM not in str(kept)
    script.respond = lambda _: ok(_GOOD)
    _get_raw(other)
    assert kept.leaking() >= {"botocore.endpoint", "botocore.parsers", "botocore.auth"}


def test_after_ctrl_c_others_have_their_log(
    client: ThirdPartyJobClient, other: Any, kept: _Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call that was interrupted no longer withholds anything."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    raw: Any = client._client
    monkeypatch.setattr(raw._endpoint.http_session, "send", interrupt)
    with pytest.raises(KeyboardInterrupt):
        _get(client)
    assert _STEM not in str(kept)
    _get_raw(other)
    assert _STEM in str(kept)


def test_the_hook_is_outside_of_the_call(server: ScriptedServer, other: Any, kept: _Kept) -> None:
    """A client that is used by ``on_call`` keeps its log: the call is over."""
    raw = _raw(server.endpoint_url)
    _get(ThirdPartyJobClient(raw, on_call=lambda _: _get_raw(other)))
    raw.close()
    assert kept.leaking() >= {"botocore.endpoint", "botocore.parsers", "botocore.auth"}


# --- logging configured again ----------------------------------------------------------------------------------------


def _dict_config(*, disable: bool, loggers: tuple[str, ...] = ()) -> Callable[[], None]:
    def configure() -> None:
        logging.config.dictConfig(
            {
                "version": 1,
                "disable_existing_loggers": disable,
                "root": {"level": 1},
                "loggers": {name: {"level": "DEBUG", "filters": []} for name in loggers},
            }
        )

    return configure


def _file_config() -> None:
    text = "[loggers]\nkeys=root\n[handlers]\nkeys=\n[formatters]\nkeys=\n[logger_root]\nlevel=DEBUG\nhandlers=\n"
    logging.config.fileConfig(io.StringIO(text), disable_existing_loggers=False)


def _clear_filters() -> None:
    for name in _LEAKING:
        logging.getLogger(name).filters.clear()


def _new_lists() -> None:
    for name in _LEAKING:
        logging.getLogger(name).filters = []


def _wake() -> None:
    for name in _LEAKING:
        logging.getLogger(name).disabled = False


# What programs do to logging at any time.
_CONFIGURATIONS: dict[str, Callable[[], None]] = {
    "dictConfig": _dict_config(disable=False),
    "dictConfig disables": _dict_config(disable=True),
    "dictConfig names them": _dict_config(disable=True, loggers=_LEAKING),
    "dictConfig names the parent": _dict_config(disable=True, loggers=("botocore",)),
    "fileConfig": _file_config,
    "basicConfig": lambda: logging.basicConfig(force=True, level=1),
    "filters cleared": _clear_filters,
    "filters replaced": _new_lists,
    "handler on the parent": lambda: logging.getLogger("botocore").setLevel(logging.DEBUG),
}


@pytest.fixture
def _logging_as_before() -> Iterator[None]:
    """Put handlers, levels and loggers back."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    loggers = [each for each in logging.Logger.manager.loggerDict.values() if isinstance(each, logging.Logger)]
    before = [(each, each.level, each.disabled, each.propagate) for each in loggers]
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for each, old_level, disabled, propagate in before:
        each.setLevel(old_level)
        each.disabled, each.propagate = disabled, propagate


@pytest.mark.usefixtures("_logging_as_before")
@pytest.mark.parametrize("how", _CONFIGURATIONS)
def test_it_survives_configuration(
    how: str, client: ThirdPartyJobClient, loud: ThirdPartyJobClient, kept: _Kept
) -> None:
    """However logging is configured between two calls, the second is withheld, and wire logs are still there."""
    _get(client)
    _CONFIGURATIONS[how]()
    _wake()
    logging.getLogger().addHandler(kept)
    kept.records.clear()
    kept.shown.clear()
    _get(client)
    assert [record for record in kept.records if record.name == "botocore.endpoint"] != []
    assert kept.leaking() == set()
    _get(loud)
    assert kept.leaking() >= {"botocore.endpoint", "botocore.parsers", "botocore.auth"}


@pytest.mark.usefixtures("_logging_as_before")
def test_a_disabled_logger_stays_disabled(client: ThirdPartyJobClient, kept: _Kept) -> None:
    """A program that silenced botocore's log does not get it back by us."""
    _dict_config(disable=True)()
    logging.getLogger().addHandler(kept)
    _get(client)
    assert [record for record in kept.records if record.name in _WITHHELD] == []


def test_filters_of_the_program_stay(client: ThirdPartyJobClient, kept: _Kept) -> None:
    """A filter that the program put on such a logger still works beside ours."""
    logger = logging.getLogger("botocore.parsers")

    def drop(record: logging.LogRecord) -> bool:
        return "headers" not in record.msg

    logger.addFilter(drop)
    _get(client)
    logger.removeFilter(drop)
    messages = [record.getMessage() for record in kept.records if record.name == "botocore.parsers"]
    assert messages == ["Response body:\n%r [withheld]"]


@pytest.mark.parametrize("when", ["before the first call", "after"])
def test_no_filter_of_the_program_sees_a_secret(when: str, client: ThirdPartyJobClient) -> None:
    """A filter that copies what it sees, put there sooner or later, sees what ours has left."""
    logger = logging.getLogger("botocore.auth")
    level, seen = logger.level, list[str]()

    def copy(record: logging.LogRecord) -> bool:
        seen.append(record.getMessage())
        return True

    if when == "before the first call":
        logger.filters.clear()
    logger.addFilter(copy)
    logger.setLevel(logging.DEBUG)
    _get(client)
    logger.setLevel(level)
    logger.removeFilter(copy)
    assert seen != []
    assert _STEM not in "".join(seen)


# --- a program of its own --------------------------------------------------------------------------------------------

_PROGRAM = """
import logging, sys
import botocore.session

logging.basicConfig(level=logging.DEBUG, stream=sys.stdout)
from cp_thirdparty import ActionTypeId, ThirdPartyJobClient

session = botocore.session.Session()
session.set_credentials("xMARKERx-id", "xMARKERx-key", "xMARKERx-session")
client = ThirdPartyJobClient.create(
    region_name="us-east-1", endpoint_url=sys.argv[1], session=session, wire_logs=sys.argv[2] == "loud"
)
client.get_third_party_job_details("job-1", client_token=sys.argv[3])
"""


@pytest.mark.parametrize("mode", ["quiet", "loud"])
def test_a_program_that_logs_all(mode: str, server: ScriptedServer) -> None:
    """A fresh process that logs all to its output, from the first line on, prints a marker only with wire logs."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _PROGRAM, server.endpoint_url, mode, _MARKERS["client token"]],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert (_STEM in done.stdout, done.stderr) == (mode == "loud", "")
    assert "GetThirdPartyJobDetails job=job-1 status=200" in done.stdout
