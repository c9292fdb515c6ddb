"""The report of a call: one DEBUG record and one `CallRecord`, whatever came of it, and nothing secret."""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import botocore.session
import pytest
from botocore.config import Config
from botocore.stub import Stubber
from support import both_clients as both
from support.scripted_server import ReceivedRequest, Response, ScriptedServer, error, ok

from cp_thirdparty import ActionTypeId, FailureDetails, FailureType, SecretStr, ThirdPartyJobClient
from cp_thirdparty.exceptions import (
    AccessDeniedError,
    InvalidRequestError,
    JobNotFoundException,
    ThirdPartyError,
    UntrustedResponseError,
)
from cp_thirdparty.telemetry import CallRecord

_TYPE = ActionTypeId(category="Test", owner="ThirdParty", provider="p", version="1")
_MARKER = "xMARKERx"
_TOKEN = SecretStr(_MARKER)
_GOOD = {"jobDetails": {"id": "job-1", "data": {}, "nonce": "1"}, "jobs": [], "status": "InProgress"}

# Method -> the operation as the service spells it, the job it names, and a call of it.
_CALLS: dict[str, tuple[str, str | None, Callable[[ThirdPartyJobClient], object]]] = {
    "poll": ("PollForThirdPartyJobs", None, lambda client: client.poll_for_third_party_jobs(_TYPE)),
    "get": (
        "GetThirdPartyJobDetails",
        "job-1",
        lambda client: client.get_third_party_job_details("job-1", client_token=_TOKEN),
    ),
    "acknowledge": (
        "AcknowledgeThirdPartyJob",
        "job-1",
        lambda client: client.acknowledge_third_party_job("job-1", nonce="1", client_token=_TOKEN),
    ),
    "succeed": (
        "PutThirdPartyJobSuccessResult",
        "job-1",
        lambda client: client.put_third_party_job_success_result("job-1", client_token=_TOKEN),
    ),
    "fail": (
        "PutThirdPartyJobFailureResult",
        "job-1",
        lambda client: client.put_third_party_job_failure_result(
            "job-1", client_token=_TOKEN, failure_details=FailureDetails(type=FailureType.JOB_FAILED, message="no")
        ),
    ),
}
_get = _CALLS["get"][2]

# What is returned -> status, request id and name of the error that are reported.
_OUTCOMES: dict[str, tuple[Response, int | None, str | None, str | None]] = {
    "success": (ok(_GOOD), 200, "req-0001", None),
    "service error": (error("JobNotFoundException"), 400, "req-0001", "JobNotFoundException"),
    "unknown error": (error("Strange", status=500), 500, "req-0001", "ServiceError"),
    "throttling": (error("ThrottlingException"), 400, "req-0001", "ThrottledError"),
    "access denied": (error("AccessDeniedException"), 400, "req-0001", "AccessDeniedError"),
    "503 without a body": (Response(body=b"", status=503), 503, "req-0001", "ServiceError"),
    "403 page": (Response(body=b"<html>", status=403, headers={}), 403, None, "UntrustedResponseError"),
    "HTML with 200": (Response(body=b"<html>"), 200, "req-0001", "UntrustedResponseError"),
    "wrong shapes": (ok({"jobDetails": 5, "jobs": 5, "status": 5}), 200, "req-0001", "ResponseDecodeError"),
}


class _Script:
    """What the server returns, one after the other; the last one again and again."""

    def __init__(self) -> None:
        self.responses: list[Response] = []

    def __call__(self, _: ReceivedRequest) -> Response:
        return self.responses.pop(0) if len(self.responses) > 1 else self.responses[0]


@pytest.fixture(scope="module")
def script() -> _Script:
    """Give what the server returns."""
    return _Script()


@pytest.fixture(scope="module")
def server(script: _Script) -> Iterator[ScriptedServer]:
    """Give a server for all tests."""
    with ScriptedServer(script) as running:
        yield running


def _connect(kind: str, endpoint_url: str, attempts: int = 1, **settings: Any) -> ThirdPartyJobClient:
    return both.create(
        kind,
        region_name="us-east-1",
        endpoint_url=endpoint_url,
        session=both.session(kind, "AKIDEXAMPLE", "example"),
        config=Config(retries={"mode": "standard", "total_max_attempts": attempts}),
        **settings,
    )


@pytest.fixture(scope="module")
def shared(kind: str, server: ScriptedServer) -> ThirdPartyJobClient:
    """Give a client that tries once; `client` and `records` set its hook."""
    return _connect(kind, server.endpoint_url)


@pytest.fixture
def records(shared: ThirdPartyJobClient) -> Iterator[list[CallRecord]]:
    """Collect what the hook of the client gets."""
    records: list[CallRecord] = []
    shared._on_call = records.append
    yield records
    shared._on_call = None


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """Collect what is logged on ``cp_thirdparty``."""
    caplog.set_level(logging.DEBUG)
    return lambda: [record.getMessage() for record in caplog.records if record.name == "cp_thirdparty"]


def _try(call: Callable[[], object]) -> None:
    try:
        call()
    except ThirdPartyError:
        return


def _line(record: CallRecord) -> str:
    return (
        f"{record.operation_name} job={record.job_id} status={record.status_code} request={record.request_id} "
        f"attempts={record.attempts} {record.seconds * 1000:.0f} ms"
    )


# --- the facts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", _CALLS)
@pytest.mark.parametrize("outcome", [name for name in _OUTCOMES if name != "wrong shapes"])
def test_a_call_reports_its_facts(
    outcome: str, method: str, script: _Script, shared: ThirdPartyJobClient, records: list[CallRecord]
) -> None:
    """The hook gets operation, job, status, request id, attempts, time and the class of the error."""
    response, status, request_id, name = _OUTCOMES[outcome]
    operation, job_id, call = _CALLS[method]
    script.responses = [response]
    _try(lambda: call(shared))
    (record,) = records
    assert record == CallRecord(
        operation_name=operation,
        job_id=job_id,
        status_code=status,
        request_id=request_id,
        attempts=1,
        seconds=record.seconds,
        error=name,
    )
    assert 0 < record.seconds < 5


@pytest.mark.parametrize("method", ["poll", "get", "acknowledge"])
def test_a_response_of_the_wrong_shape_reports_its_facts(
    method: str, script: _Script, shared: ThirdPartyJobClient, records: list[CallRecord]
) -> None:
    """A response that CodePipeline gave and that cannot be decoded has its status and its request id."""
    script.responses = [_OUTCOMES["wrong shapes"][0]]
    _try(lambda: _CALLS[method][2](shared))
    (record,) = records
    assert (record.status_code, record.request_id, record.error) == (200, "req-0001", "ResponseDecodeError")


@pytest.mark.parametrize("outcome", _OUTCOMES)
def test_the_log_has_the_same_facts(
    outcome: str,
    script: _Script,
    shared: ThirdPartyJobClient,
    records: list[CallRecord],
    lines: Callable[[], list[str]],
) -> None:
    """One DEBUG record has what the hook gets, and nothing else is logged on the library's logger."""
    script.responses = [_OUTCOMES[outcome][0]]
    _try(lambda: _get(shared))
    assert lines() == [_line(record) for record in records]
    assert len(records) == 1


def test_the_record_is_one_of_debug(
    script: _Script, shared: ThirdPartyJobClient, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is logged above DEBUG, whether a call succeeds or not."""
    caplog.set_level(logging.INFO)
    for response in (ok(_GOOD), error("JobNotFoundException")):
        script.responses = [response]
        _try(lambda: _get(shared))
    assert caplog.records == []


def test_a_failed_connection_reports_its_facts(kind: str, lines: Callable[[], list[str]]) -> None:
    """A call whose connection was reset has neither status nor request id."""
    records: list[CallRecord] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def reset() -> None:
            connection, _ = listening.accept()
            connection.recv(1 << 16)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()

        thread = threading.Thread(target=reset)
        thread.start()
        client = _connect(kind, f"http://127.0.0.1:{listening.getsockname()[1]}", on_call=records.append)
        _try(lambda: _get(client))
        thread.join()
        client.close()
    (record,) = records
    assert attrs.evolve(record, seconds=0) == CallRecord(
        operation_name="GetThirdPartyJobDetails",
        job_id="job-1",
        status_code=None,
        request_id=None,
        attempts=1,
        seconds=0,
        error="TransportError",
    )
    assert lines() == [_line(record)]


def test_all_attempts_are_counted(kind: str, server: ScriptedServer, script: _Script) -> None:
    """A call that botocore resent is one call of two attempts, with the facts of the last response."""
    records: list[CallRecord] = []
    script.responses = [Response(body=b"<html>"), ok(_GOOD)]
    with _connect(kind, server.endpoint_url, 2, on_call=records.append) as client:
        _get(client)
    assert [(record.attempts, record.status_code, record.error) for record in records] == [(2, 200, None)]


def test_the_last_error_counts(kind: str, server: ScriptedServer, script: _Script) -> None:
    """A call that failed twice reports the second failure."""
    records: list[CallRecord] = []
    script.responses = [Response(body=b"<html>"), error("JobNotFoundException")]
    with _connect(kind, server.endpoint_url, 2, on_call=records.append) as client:
        _try(lambda: _get(client))
    assert [(record.attempts, record.status_code, record.error) for record in records] == [
        (2, 400, "JobNotFoundException")
    ]


@pytest.mark.parametrize(
    "refused",
    [
        lambda client: client.get_third_party_job_details("", client_token=_TOKEN),
        lambda client: client.get_third_party_job_details("job-1", client_token=SecretStr("")),
        lambda client: client.acknowledge_third_party_job("job-1", nonce="", client_token=_TOKEN),
        lambda client: client.poll_for_third_party_jobs(_TYPE, max_batch_size=0),
    ],
    ids=["job id", "client token", "nonce", "batch size"],
)
def test_a_refused_request_reports_nothing(
    refused: Callable[[ThirdPartyJobClient], object],
    shared: ThirdPartyJobClient,
    records: list[CallRecord],
    lines: Callable[[], list[str]],
) -> None:
    """What was not sent is not a call."""
    with pytest.raises(InvalidRequestError):
        refused(shared)
    assert (records, lines()) == ([], [])


def test_a_stubbed_call_reports_its_facts() -> None:
    """A client whose responses come from botocore's Stubber reports its calls as well."""
    records: list[CallRecord] = []
    raw: Any = botocore.session.Session().create_client(
        "codepipeline", region_name="us-east-1", endpoint_url="http://127.0.0.1:9"
    )
    with Stubber(raw) as stub:
        stub.add_client_error("acknowledge_third_party_job", "InvalidNonceException", "no", 400)
        _try(lambda: _CALLS["acknowledge"][2](ThirdPartyJobClient(raw, on_call=records.append)))
    raw.close()
    assert [(record.operation_name, record.status_code, record.error) for record in records] == [
        ("AcknowledgeThirdPartyJob", 400, "InvalidNonceException")
    ]


def test_a_record_is_frozen(script: _Script, shared: ThirdPartyJobClient, records: list[CallRecord]) -> None:
    """A hook cannot change what another reader of the record sees."""
    script.responses = [ok(_GOOD)]
    _get(shared)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        records[0].attempts = 5  # type: ignore[misc] # on purpose


@pytest.mark.parametrize("outcome", _OUTCOMES)
def test_the_facts_hold_no_secret(
    outcome: str,
    script: _Script,
    shared: ThirdPartyJobClient,
    records: list[CallRecord],
    lines: Callable[[], list[str]],
) -> None:
    """Neither the records nor the lines have the client token, though the service repeats it."""
    response = _OUTCOMES[outcome][0]
    script.responses = [attrs.evolve(response, body=response.body.replace(b"no", _MARKER.encode()))]
    for _, _, call in _CALLS.values():
        _try(lambda call=call: call(shared))  # type: ignore[misc] # mypy knows no type of it
    assert len(records) == len(lines()) == len(_CALLS)
    assert _MARKER not in f"{records} {lines()}"


# --- the hook --------------------------------------------------------------------------------------------------------


def test_the_hook_runs_in_the_calling_thread(
    script: _Script, shared: ThirdPartyJobClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hook is called in the thread of the call, before the call returns."""
    threads: list[int] = []
    monkeypatch.setattr(shared, "_on_call", lambda _: threads.append(threading.get_ident()))
    script.responses = [ok(_GOOD)]
    callers: list[int] = []

    def call() -> None:
        _get(shared)
        callers.append(threading.get_ident())
        assert threads == callers

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    call_here = threading.get_ident()
    _get(shared)
    assert threads == [*callers, call_here]


@pytest.mark.parametrize("outcome", ["success", "service error"])
def test_a_hook_may_call_the_service(
    outcome: str, script: _Script, shared: ThirdPartyJobClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hook that makes a call of its own does not disturb the one that it was called for."""
    if not isinstance(shared, ThirdPartyJobClient):
        pytest.skip("the hook of a client for asyncio cannot wait for a call")
    names: list[str] = []

    def hook(record: CallRecord) -> None:
        names.append(record.operation_name)
        if record.operation_name == "GetThirdPartyJobDetails":
            script.responses = [ok(_GOOD)]
            _CALLS["poll"][2](shared)

    monkeypatch.setattr(shared, "_on_call", hook)
    script.responses = [_OUTCOMES[outcome][0]]
    if outcome == "success":
        _get(shared)
    else:
        with pytest.raises(JobNotFoundException):
            _get(shared)
    assert names == ["GetThirdPartyJobDetails", "PollForThirdPartyJobs"]


@pytest.mark.parametrize("raised", [LookupError(_MARKER), RecursionError(_MARKER)], ids=repr)
def test_what_a_hook_raises_is_dropped(
    raised: Exception,
    script: _Script,
    shared: ThirdPartyJobClient,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A hook that fails costs no result, and its text, which may hold anything, is not logged."""

    def hook(_: CallRecord) -> None:
        raise raised

    monkeypatch.setattr(shared, "_on_call", hook)
    script.responses = [ok(_GOOD)]
    assert _CALLS["poll"][2](shared) == ()
    (record,) = [each for each in caplog.records if each.name == "cp_thirdparty"]
    assert (record.getMessage(), record.levelname) == (f"on_call raised {type(raised).__name__}", "WARNING")
    assert (record.exc_info, _MARKER in repr(record.__dict__)) == (None, False)


@pytest.mark.usefixtures("caplog")
def test_a_failing_hook_leaves_the_error_as_it_is(
    script: _Script, shared: ThirdPartyJobClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error of a call does not lead to what its hook raised."""

    def hook(_: CallRecord) -> None:
        raise LookupError(_MARKER)

    monkeypatch.setattr(shared, "_on_call", hook)
    script.responses = [error("JobNotFoundException")]
    with pytest.raises(JobNotFoundException) as caught:
        _get(shared)
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)


@pytest.mark.parametrize("raised", [KeyboardInterrupt, SystemExit, GeneratorExit, asyncio.CancelledError])
@pytest.mark.parametrize("outcome", ["success", "service error"])
def test_a_hook_may_end_the_program(
    outcome: str,
    raised: type[BaseException],
    script: _Script,
    shared: ThirdPartyJobClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is not an `Exception` goes through: Ctrl-C does not wait for a hook to end."""

    def hook(_: CallRecord) -> None:
        raise raised

    monkeypatch.setattr(shared, "_on_call", hook)
    script.responses = [_OUTCOMES[outcome][0]]
    with pytest.raises(raised):
        _get(shared)


def test_without_a_reader_no_record_is_made(
    script: _Script, shared: ThirdPartyJobClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a hook and without DEBUG a call does no work for it."""
    monkeypatch.setattr("cp_thirdparty._core.send.CallRecord", None)
    script.responses = [ok(_GOOD)]
    _get(shared)


@pytest.mark.parametrize("error_kind", [UntrustedResponseError, AccessDeniedError])
def test_the_errors_agree_with_the_facts(
    error_kind: type[ThirdPartyError], script: _Script, shared: ThirdPartyJobClient, records: list[CallRecord]
) -> None:
    """Where an error has a status, a request id and attempts, they are those of the record."""
    (response,) = [each[0] for name, each in _OUTCOMES.items() if each[3] == error_kind.__name__ and name != "403 page"]
    script.responses = [response]
    with pytest.raises(error_kind) as caught:
        _get(shared)
    for name in ("operation_name", "status_code", "request_id", "attempts"):
        assert getattr(caught.value, name, getattr(records[0], name)) == getattr(records[0], name)
