"""`LambdaHandler`: the event of a Lambda function becomes one job with one result."""

from __future__ import annotations

import contextlib
import functools
import gc
import io
import json
import logging
import math
import multiprocessing.synchronize
import operator
import os
import re
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import wait
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar, get_args

import attrs
import pytest
from support import lambda_functions as functions
from support.handlers import fill_workspace, find_in_frames, hang_in_clean_up
from support.lambda_functions import ARTIFACT, CREDENTIALS, DATA, MARKER, Configuration, FakeClient, make_event
from support.marker_surfaces import ERROR_SURFACES, logged
from support.worker_service import SharedJournal, until

from cp_thirdparty import ActionTypeId, ArtifactStore, CustomJob, CustomJobClient, FailureDetails, FailureType
from cp_thirdparty._core.call import now
from cp_thirdparty._core.send import CALLS_END_AT
from cp_thirdparty.converter import structure, unstructure
from cp_thirdparty.enums import Delivery
from cp_thirdparty.exceptions import (
    AccessDeniedError,
    InvalidJobStateException,
    InvalidRequestError,
    JobNotFoundException,
    JournalError,
    ResponseDecodeError,
    TransportError,
    ValidationException,
)
from cp_thirdparty.models import JobData, LambdaJobEvent
from cp_thirdparty.testing import LambdaContext, LocalCodePipeline, LocalLambda
from cp_thirdparty.worker import (
    Gone,
    HandedBack,
    JobEvent,
    JobScope,
    LambdaHandler,
    LostRace,
    MemoryJournal,
    Outcome,
    Recovered,
    Rejected,
    Released,
    Reported,
    Succeeded,
    Uncertain,
    Unsent,
    _bounded_calls,
    _emit,
    _invocation,
    _lambda_job,
    _lambda_metrics,
    _processes,
    _steps,
)
from cp_thirdparty.worker._flow import JobFlow
from cp_thirdparty.worker._invocation import Invocation
from cp_thirdparty.worker._isolation import Raised, call_partner
from cp_thirdparty.worker._lambda_job import find_details
from cp_thirdparty.worker._processes import ProcessEngine
from cp_thirdparty.worker.lambda_handler import NEEDS_REDELIVERY

# An event that is reported at once, without a process for its handler.
_STALE_EVENT = make_event(artifactCredentials={**CREDENTIALS, "expirationTime": 1})


@pytest.fixture(autouse=True)
def _region(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "us-east-1")


@pytest.fixture
def note(tmp_path: Path) -> Path:
    """Return the file that handlers write."""
    return tmp_path / "note"


@pytest.fixture
def client() -> FakeClient:
    """Return what takes results."""
    return FakeClient()


def _function(client: FakeClient, handler: Any = functions.describe, **settings: Any) -> LambdaHandler[Any]:
    every: dict[str, Any] = {"connect": lambda: client, **settings}
    return LambdaHandler(handler, **every)


def _message(client: FakeClient) -> str:
    ((_, result),) = client.results
    assert isinstance(result, FailureDetails)
    assert result.type is FailureType.SYSTEM_UNAVAILABLE
    return result.message


def test_an_event_is_one_job(client: FakeClient) -> None:
    """The handler has what the event has, in another process, and its result is put."""
    assert _function(client)(make_event(), LambdaContext()) is None
    ((job_id, result),) = client.results
    details = result["execution_details"]
    assert job_id == "job-1"
    assert details.summary.startswith("job-1 111122223333 token")
    assert "ApiKey" in details.summary
    assert int(details.external_execution_id) != os.getpid()


def test_no_files_of_a_job_stay(client: FakeClient) -> None:
    """The next invocation in this environment gets the space, and finds no source code of another pipeline."""

    def find_folders() -> set[Path]:
        return set(Path(tempfile.gettempdir()).glob(f"cp-thirdparty-tmp-{os.getpid()}-*"))

    before = find_folders()
    _function(client, fill_workspace)(make_event(), LambdaContext())
    assert [job_id for job_id, _ in client.results] == ["job-1"]
    assert find_folders() - before == set()


def test_a_clean_up_that_hangs_ends_with_the_time_of_the_function(client: FakeClient) -> None:
    """The result was reported before."""
    began_at = time.monotonic()
    _function(client, hang_in_clean_up)(make_event(), LambdaContext(seconds=4))
    assert time.monotonic() - began_at < 4.5
    assert [job_id for job_id, _ in client.results] == ["job-1"]


def test_no_frame_above_a_handler_has_the_event(client: FakeClient) -> None:
    """A tool that shows the stack of a log record with local variables shows no secret of the event."""
    _function(client, partial(find_in_frames, parts=("xMARKER", "x")))(make_event(), LambdaContext())
    ((_, result),) = client.results
    assert result["execution_details"].summary == "none"


@pytest.mark.parametrize("absent", [None, *DATA])
def test_each_part_of_an_event_may_be_absent(absent: str | None, client: FakeClient, note: Path) -> None:
    """Without a member, or with null in its place, the handler is called."""
    data = {} if absent is None else {absent: None}
    event = make_event(**data) if absent else {"CodePipeline.job": {"id": "job-1"}}
    _function(client, partial(functions.count, note=str(note)))(event, LambdaContext())
    assert [job_id for job_id, _ in client.results] == ["job-1"]
    assert note.read_text(encoding="utf-8") == "job-1\n"


_CONTEXT = {
    "pipelineName": "p",
    "pipelineArn": "arn",
    "pipelineExecutionId": "x",
    "stage": {"name": "s"},
    "action": {"name": "a", "actionExecutionId": "e"},
}
_FULL_DATA: dict[str, Any] = {
    **DATA,
    "actionTypeId": {"category": "Invoke", "owner": "AWS", "provider": "Lambda", "version": "1"},
    "artifactCredentials": {**CREDENTIALS, "expirationTime": 4_102_444_800_000},
    "outputArtifacts": [{**ARTIFACT, "name": "Out"}],
    "pipelineContext": _CONTEXT,
}
_FULL_EVENTS: dict[str, dict[str, Any]] = {
    "invoke action": make_event(**_FULL_DATA),
    "action type": {
        "jobId": "job-1",
        "accountId": "111122223333",
        "data": {
            **_FULL_DATA,
            "actionConfiguration": {"ApiKey": f"{MARKER}-key"},
            "actionCredentials": _FULL_DATA["artifactCredentials"],
            "actionExecutionId": "execution",
        },
    },
}

# Without these, or with null in their place, a part of an event means nothing.
_REQUIRED = {
    *(("id",), ("jobId",), ("CodePipeline.job",)),
    *(("s3Location", name) for name in ("bucketName", "objectKey")),
    *(("encryptionKey", name) for name in ("id", "type")),
    *(("actionTypeId", name) for name in ("category", "owner", "provider", "version")),
}


def _find_parts(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of each member at any depth."""
    for key, part in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        if isinstance(key, str):
            yield (*path, key)
        yield from _find_parts(part, (*path, key))


def _change(event: dict[str, Any], path: tuple[Any, ...], *, is_null: bool) -> dict[str, Any]:
    """Return an event without a part, or with null in its place."""
    changed: dict[str, Any] = json.loads(json.dumps(event))
    *parents, name = path
    parent = functools.reduce(operator.getitem, parents, changed)
    if is_null:
        parent[name] = None
    else:
        del parent[name]
    return changed


@pytest.mark.parametrize("form", _FULL_EVENTS)
@pytest.mark.parametrize("is_null", [False, True])
def test_each_optional_part_may_be_absent_at_any_depth(form: str, *, is_null: bool) -> None:
    """Only what gives its part a meaning is required."""

    def is_refused(path: tuple[Any, ...]) -> bool:
        changed = _change(_FULL_EVENTS[form], path, is_null=is_null)
        return isinstance(call_partner(structure, changed, LambdaJobEvent), Raised)

    found = filter(is_refused, _find_parts(_FULL_EVENTS[form]))
    refused = {path[-2:] if path[-2:] in _REQUIRED else path[-1:] for path in found}
    assert refused <= _REQUIRED
    assert {("s3Location", "objectKey"), ("encryptionKey", "id")} < refused


@pytest.mark.parametrize(
    ("parameters", "summary"),
    [
        (f'{{"ApiKey": "{MARKER}-key"}}', "[] 0"),
        (f'{{"ApiKey": "{MARKER}-key", "Flags": ["a,b", "c\\\\d"], "Limit": 3}}', "['a,b', 'c\\\\d'] 3"),
        (f'{{"ApiKey": "{MARKER}-key", "Flags": null, "Other": {{"x": 1}}}}', "[] 0"),
    ],
)
def test_user_parameters_fill_the_configuration(parameters: str, summary: str, client: FakeClient) -> None:
    """A JSON object has values of the configuration; a list is what a customer separates by commas."""
    configuration = {"configuration": {"FunctionName": "f", "UserParameters": parameters}}
    function = _function(client, functions.read_configuration, configuration=Configuration)
    function(make_event(actionConfiguration=configuration), LambdaContext())
    assert client.results[0][1]["execution_details"].summary == summary


@pytest.mark.parametrize("parameters", ["text", "[1]", "[" * 100_000, "3"])
def test_other_user_parameters_are_one_value(parameters: str) -> None:
    """What is not a JSON object stays a string."""
    event = make_event(actionConfiguration={"configuration": {"UserParameters": parameters}})
    details = find_details(structure(event, LambdaJobEvent))
    assert list(details.data.configuration) == ["UserParameters"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ('[["a,b"], "c"]', '["a\\,b"],c'),
        ('{"b": ["c,d"]}', '{"b": ["c,d"]}'),
        ("[" * 450 + '"a,b"' + "]" * 450, "[" * 449 + '"a\\,b"' + "]" * 449),
    ],
)
def test_user_parameters_may_be_nested(value: str, expected: str) -> None:
    """Only the items of a list are separated, so the length does not grow with the depth."""
    event = make_event(actionConfiguration={"configuration": {"UserParameters": f'{{"A": {value}}}'}})
    details = find_details(structure(event, LambdaJobEvent))
    assert details.data.configuration["A"].get_secret_value() == expected


@pytest.mark.slow
def test_a_handler_that_hangs_is_killed_and_reported(client: FakeClient, note: Path) -> None:
    """Its process is gone when the function returns, so it cannot go on in the next invocation."""
    _function(client)(make_event(), LambdaContext())  # its first process is slow to start
    client.results.clear()
    _function(client, partial(functions.hang, note=str(note)))(make_event(), LambdaContext(12.0))
    assert _message(client) == "The job took longer than 7 seconds."
    with pytest.raises(ProcessLookupError):
        os.kill(int(note.read_text(encoding="utf-8")), 0)


@pytest.mark.parametrize("seconds", [0.0, 0.4, -5.0])
def test_without_time_the_job_is_reported(seconds: float, client: FakeClient) -> None:
    """Nobody else takes the job, so it is not handed back."""
    _function(client)(make_event(), LambdaContext(seconds))
    assert len(client.results) == 1


def test_a_process_that_does_not_start_in_time_is_reported(client: FakeClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time covers the start of the process."""
    gate = threading.Event()
    monkeypatch.setattr(_processes._Child, "_start_process", lambda _: gate.wait(30))
    monkeypatch.setattr(_processes, "_KILL_SECONDS", 0.01)
    _function(client)(make_event(), LambdaContext(1.0))
    gate.set()
    assert _message(client) == "The action's worker could not start the job in time."


def test_a_handler_that_cannot_start_is_reported(client: FakeClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment without threads has a result for its job too."""
    _refuse_threads(monkeypatch)
    _function(client)(make_event(), LambdaContext(1.0))
    assert _message(client) == "The action's worker could not start the job."


def test_a_job_of_a_journal_that_cannot_start_is_reported_by_the_next_delivery(
    client: FakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next environment may have threads, so the first one releases the job."""
    journal = SharedJournal()
    _refuse_threads(monkeypatch)
    with pytest.raises(JournalError, match="the journal keeps it"):
        _function(client, journal=lambda: journal)(make_event(), LambdaContext(1.0))
    assert client.results == []
    _function(client, journal=lambda: journal)(make_event(), LambdaContext(1.0))
    assert _message(client) == "The action's worker could not start the job."


def _refuse_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name == "cp-thirdparty-invocation":
            raise RuntimeError
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)


def test_a_report_that_fails_is_repeated(client: FakeClient) -> None:
    """An attempt that may have been accepted is repeated, and CodePipeline then returns whether it was."""
    client.errors = [
        TransportError("lost", delivery=Delivery.SENT, is_retry_safe=None),
        InvalidJobStateException("it has a result", code="InvalidJobStateException"),
    ]
    events: list[JobEvent] = []
    _function(client, on_event=events.append)(make_event(), LambdaContext())
    until(lambda: bool(events) and events[-1].name == "reported")
    assert events[-1].detail == "Succeeded (not confirmed)"


def test_a_report_ends_with_the_time_of_the_function(client: FakeClient, caplog: pytest.LogCaptureFixture) -> None:
    """A service that cannot be reached does not let Lambda end the function; the log has it."""
    client.errors = [TransportError("unreachable") for _ in range(10_000)]
    context = LambdaContext(0.8)
    _function(client)(make_event(), context)
    assert context.get_remaining_time_in_millis() > 0
    until(lambda: any("unsent job=job-1" in record.getMessage() for record in caplog.records))


@pytest.mark.parametrize("has_failed", [True, False], ids=["a failed job", "a job whose time is over"])
def test_a_report_that_hangs_is_left(client: FakeClient, monkeypatch: pytest.MonkeyPatch, *, has_failed: bool) -> None:
    """The function returns, although its thread still reports."""
    gate = threading.Event()
    client.on_put = lambda: gate.wait(30)
    monkeypatch.setattr(ProcessEngine, "run", lambda *_: gate.wait(30) and None)  # until the time is over
    _function(client)(_STALE_EVENT if has_failed else make_event(), LambdaContext(0.8))
    assert client.results == []
    gate.set()


@attrs.frozen
class _Late:
    """Something that hangs in the thread of a job until the function has given the job up."""

    has_begun: threading.Event = attrs.field(factory=threading.Event)
    gate: threading.Event = attrs.field(factory=threading.Event)

    def hang(self) -> None:
        """Hang."""
        self.has_begun.set()
        assert self.gate.wait(60)

    def end(self) -> None:
        """Go on, and wait for the end of the thread."""
        self.gate.set()
        for thread in threading.enumerate():
            if thread.name == "cp-thirdparty-invocation":
                thread.join()


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> _Late:
    """Return what hangs; the function gives its job up as soon as it does."""
    made = _Late()
    monkeypatch.setattr(_invocation, "wait", lambda *_: made.has_begun.wait(60))
    return made


@pytest.mark.parametrize("place", ["attempt", "pause"])
@pytest.mark.parametrize(
    "error",
    [
        TransportError("late"),
        ValidationException("summary is too long", code="ValidationException"),
        AccessDeniedError(
            "not allowed", code="AccessDeniedException", action="codepipeline:PutJobSuccessResult", resource=None
        ),
        None,
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_late_end_of_a_report_changes_nothing(
    client: FakeClient, late: _Late, monkeypatch: pytest.MonkeyPatch, error: Exception | None, place: str
) -> None:
    """The thread sends nothing more and emits nothing; the function has returned."""
    events: list[JobEvent] = []
    puts: list[None] = []
    client.errors = [TransportError("first"), *([] if error is None else [error])]
    if place == "attempt":
        client.errors = client.errors[1:]

    def wait_late(*_: object) -> bool:
        late.hang()
        return True

    def put() -> None:
        puts.append(None)
        if place == "attempt":
            late.hang()

    client.on_put = put
    monkeypatch.setattr(Invocation, "_wait", wait_late)
    function = _function(client, on_event=events.append)
    assert function(_STALE_EVENT, LambdaContext()) is None
    late.end()
    until(function._emitter.flush)
    names = [event.name for event in events]
    assert names == (["claimed", "unsent"] if place == "attempt" else ["claimed", "call_failed", "unsent"])
    assert len(puts) == 1


def test_a_late_mistake_of_the_library_is_logged(
    client: FakeClient, late: _Late, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody waits for the job any more."""

    def finish(*_: object) -> None:
        late.hang()
        raise OSError

    monkeypatch.setattr(JobFlow, "finish", finish)
    _function(client)(_STALE_EVENT, LambdaContext())
    late.end()
    until(lambda: "job=job-1 a thread failed after the job had ended: OSError" in caplog.text)


def test_refused_credentials_are_loaded_again(client: FakeClient) -> None:
    """The client is created again, and kept for the next event."""
    action = "codepipeline:PutJobSuccessResult"
    client.errors = [AccessDeniedError("expired", action=action, resource=None) for _ in range(2)]
    made: list[FakeClient] = []

    def connect() -> Any:
        made.append(client)
        if len(made) == 2:
            raise OSError
        return client

    function = LambdaHandler(functions.describe, connect=connect)
    function(make_event(), LambdaContext())
    function(make_event(), LambdaContext())
    assert (len(made), len(client.results)) == (3, 2)


def test_without_a_client_the_handler_is_not_called(note: Path) -> None:
    """The error of `connect` is the error of the invocation."""

    def connect() -> Any:
        raise OSError("no region")

    with pytest.raises(OSError, match="no region"):
        LambdaHandler(partial(functions.count, note=str(note)), connect=connect)(make_event(), LambdaContext())
    assert not note.exists()


@pytest.mark.parametrize("context", [None, SimpleNamespace(get_remaining_time_in_millis=lambda: math.inf)])
def test_without_a_known_time_connect_has_a_limit_too(client: FakeClient, context: Any) -> None:
    """It runs in its own thread, so that it may run an event loop."""
    threads: list[str] = []

    def connect() -> Any:
        threads.append(threading.current_thread().name)
        return client

    LambdaHandler(functions.describe, connect=connect)(make_event(), context)
    assert threads == ["cp-thirdparty-connect"]


def test_a_connect_that_hangs_ends_before_the_time_of_the_function(client: FakeClient, note: Path) -> None:
    """The handler is not called.  The next event calls `connect` again, because the first call may never return."""
    release = threading.Event()
    calls: list[float] = []

    def connect() -> Any:
        calls.append(time.monotonic())
        if len(calls) == 1:
            release.wait(60)
        return client

    function = LambdaHandler(partial(functions.count, note=str(note)), connect=connect)
    began_at = time.monotonic()
    with pytest.raises(TransportError, match="connect has not returned in time") as caught:
        function(make_event(), LambdaContext(12.0))
    assert 5 < time.monotonic() - began_at < 11
    assert (caught.value.delivery, caught.value.is_retry_safe) == (Delivery.NOT_SENT, True)
    assert not note.exists()
    for _ in range(2):
        function(make_event(), LambdaContext())
    assert (len(calls), len(client.results)) == (2, 2)
    release.set()


def test_the_client_of_a_late_connect_is_used(client: FakeClient) -> None:
    """Two events waited for a client, and the third one does not call `connect`."""
    release = threading.Event()
    ended: list[float] = []

    def connect() -> Any:
        release.wait(60)
        ended.append(time.monotonic())
        return client

    function = LambdaHandler(functions.describe, connect=connect)
    for _ in range(2):
        with pytest.raises(TransportError):
            function(make_event(), LambdaContext(3.0))
    release.set()
    until(lambda: len(ended) == 2)
    function(make_event(), LambdaContext())
    assert (len(ended), len(client.results)) == (2, 1)


@pytest.mark.parametrize("returns", [True, False])
def test_a_connect_that_raises_late_is_called_again(client: FakeClient, *, returns: bool) -> None:
    """Its error has no reader."""
    release = threading.Event()
    made: list[int] = []

    def connect() -> Any:
        made.append(1)
        if len(made) == 1:
            release.wait(60)
            if not returns:
                raise OSError
        return client

    function = LambdaHandler(functions.describe, connect=connect)
    with pytest.raises(TransportError):
        function(make_event(), LambdaContext(3.0))
    release.set()
    until(lambda: not function._client._connector._calls.is_hanging)
    function(make_event(), LambdaContext())
    assert (len(made), len(client.results)) == (1 if returns else 2, 1)


@pytest.mark.parametrize("returns", [True, False])
def test_a_second_connect_that_hangs_does_not_hold_the_report_up(
    client: FakeClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, *, returns: bool
) -> None:
    """The report is retried with the client that is there."""
    monkeypatch.setattr(_lambda_job, "_RENEW_SECONDS", 0.2)
    client.errors = [AccessDeniedError("expired", action="codepipeline:PutJobSuccessResult", resource=None)]
    release, late = threading.Event(), FakeClient()
    made: list[int] = []

    def connect() -> Any:
        made.append(1)
        if len(made) == 2:
            release.wait(60)
            if not returns:
                raise OSError
            return late
        return client

    function = LambdaHandler(functions.describe, connect=connect)
    function(make_event(), LambdaContext())
    assert len(client.results) == 1
    assert "connect has not returned in time" in caplog.text
    release.set()
    until(lambda: not function._client._connector._calls.is_hanging)
    function(make_event(), LambdaContext())
    assert (len(client.results), len(late.results)) == ((1, 1) if returns else (2, 0))


def test_a_process_that_dies_is_reported(client: FakeClient) -> None:
    """The handler is not called again."""
    _function(client, functions.die)(make_event(), LambdaContext())
    assert _message(client) == "The action's worker ended unexpectedly during job job-1."


def test_a_coroutine_is_run(client: FakeClient) -> None:
    """An ``async def`` is a handler too."""
    _function(client, functions.wait)(make_event(), None)
    assert client.results[0][1]["output_variables"] == {"Findings": "3"}


# --- events that are not handled


def test_an_event_without_a_job_is_an_error(client: FakeClient) -> None:
    """There is nothing to report to."""
    without_id: tuple[dict[str, Any], ...] = ({}, {"jobId": ""}, {"jobId": "", "data": []})
    for event in (*without_id, {"CodePipeline.job": None}, {"CodePipeline.job": {"id": 1}}):
        with pytest.raises(ResponseDecodeError):
            _function(client)(event, LambdaContext())
    assert client.results == []


_EVENTS_OF_OTHERS: dict[str, Any] = {
    "EventBridge": {"id": "1-2", "detail-type": "Scheduled Event", "source": "aws.events", "detail": {}},
    "pipeline of EventBridge": {"id": "1-2", "source": "aws.codepipeline", "detail": {"pipeline": "p"}},
    "SNS": {"Records": [{"EventSource": "aws:sns", "Sns": {"MessageId": "1-2", "Message": "{}"}}]},
    "SQS": {"Records": [{"eventSource": "aws:sqs", "messageId": "1-2", "body": "{}"}]},
    "S3": {"Records": [{"eventSource": "aws:s3", "s3": {"object": {"key": "k"}}}]},
    "API Gateway": {"version": "2.0", "routeKey": "$default", "requestContext": {"requestId": "1-2"}, "body": "{}"},
    "test": {"key1": "value1"},
    "list": [{"id": "1-2"}],
}


@pytest.mark.parametrize("event", _EVENTS_OF_OTHERS.values(), ids=_EVENTS_OF_OTHERS)
def test_an_event_of_another_service_is_an_error(event: Any, client: FakeClient, note: Path) -> None:
    """A trigger of the function by mistake must not run the work of a job, also if its event has an id."""
    with pytest.raises(ResponseDecodeError, match="must be the event of a job"):
        _function(client, partial(functions.count, note=str(note)))(event, LambdaContext())
    assert client.results == []
    assert not note.exists()


def test_a_job_that_was_unstructured_is_an_event(client: FakeClient) -> None:
    """The document of the model has an id and data, in place of a job id."""
    event = unstructure(structure({"jobId": "job-1"}, LambdaJobEvent))
    document = _function(client)(event, LambdaContext())
    assert document is not None
    assert document["result"] == "Success"


def test_an_event_that_cannot_be_read_is_reported(client: FakeClient, note: Path) -> None:
    """The customer reads which part is wrong, and no value of it."""
    _function(client, partial(functions.count, note=str(note)))(make_event(inputArtifacts=MARKER), LambdaContext())
    assert _message(client) == "The event of job job-1 cannot be read: data.inputArtifacts: must be a list."
    assert not note.exists()


@pytest.mark.parametrize(("age", "is_stale"), [(-100, 0), (1, 1)])
def test_an_event_with_expired_credentials_is_not_handled(
    age: float, is_stale: int, client: FakeClient, note: Path
) -> None:
    """It is old, and the artifacts cannot be read any more."""
    expiry = int((time.time() - age) * 1000)
    event = make_event(artifactCredentials={**CREDENTIALS, "expirationTime": expiry})
    _function(client, partial(functions.count, note=str(note)))(event, LambdaContext())
    assert note.exists() == (not is_stale)
    assert len(client.results) == 1


def _expired_store(*arguments: Any, **settings: Any) -> ArtifactStore:
    return ArtifactStore.for_job(*arguments, **settings, clock=lambda: time.time() + 86_400)


def test_artifacts_need_credentials_that_hold(client: FakeClient) -> None:
    """After their end nothing is sent, because they cannot be renewed."""
    expiry = int((time.time() + 600) * 1000)
    event = make_event(artifactCredentials={**CREDENTIALS, "expirationTime": expiry})
    _function(client, functions.open_artifact, artifacts=_expired_store)(event, LambdaContext())
    summary = client.results[0][1]["execution_details"].summary
    assert "have expired, and those of a Lambda function's event cannot be renewed" in summary


# --- more than one delivery


def test_a_finished_job_is_not_handled_again(client: FakeClient, note: Path) -> None:
    """Lambda may deliver an event twice; the journal knows it."""
    journal = SharedJournal()
    function = _function(client, partial(functions.count, note=str(note)), journal=lambda: journal)
    for _ in range(2):
        function(make_event(), LambdaContext())
    assert len(client.results) == 1
    assert note.read_text(encoding="utf-8") == "job-1\n"


def test_a_job_that_another_environment_has_is_left_alone(client: FakeClient, note: Path) -> None:
    """Its handler runs there.  The event must come again, because only a finished job needs it no more."""
    journal = SharedJournal()
    other = _function(client, partial(functions.count, note=str(note)), journal=lambda: journal)
    errors: list[object] = []
    client.on_put = lambda: errors.append(call_partner(other, make_event(), LambdaContext()))
    _function(client, partial(functions.count, note=str(note)), journal=lambda: journal)(make_event(), LambdaContext())
    assert note.read_text(encoding="utf-8") == "job-1\n"
    assert len(client.results) == 1
    assert [error.name for error in errors if isinstance(error, Raised)] == ["JournalError"]


_SCOPE = JobScope(
    region_name="us-east-1",
    endpoint_url="",
    action_type_id=ActionTypeId(category="Invoke", owner="AWS", provider="Lambda", version="1"),
)


_JournalT = TypeVar("_JournalT", bound=SharedJournal)


def _left_by_another(create: Callable[[], _JournalT], *, has_result: bool) -> _JournalT:
    """Return a journal with two jobs of an environment that has ended."""
    journal = create()
    for job_id in ("job-1", "job-2"):
        journal.claim(CustomJob(id=job_id, data=JobData(), nonce=""), _SCOPE)
        journal.running(job_id)
        if has_result:
            journal.result(job_id, Succeeded())
        journal.release(job_id)
    return journal


def test_a_result_that_was_not_sent_is_reported_by_the_next_delivery(client: FakeClient, note: Path) -> None:
    """The handler is not called again; other jobs are left to their own events."""
    journal = _left_by_another(SharedJournal, has_result=True)
    function = _function(client, partial(functions.count, note=str(note)), journal=lambda: journal)
    function(make_event(), LambdaContext())
    assert [job_id for job_id, _ in client.results] == ["job-1"]
    assert not note.exists()
    function(make_event("job-2"), LambdaContext())
    assert [job_id for job_id, _ in client.results] == ["job-1", "job-2"]


def test_a_job_of_an_environment_that_ended_is_reported_as_failed(client: FakeClient, note: Path) -> None:
    """Its handler may have run."""
    journal = _left_by_another(SharedJournal, has_result=False)
    _function(client, partial(functions.count, note=str(note)), journal=lambda: journal)(make_event(), LambdaContext())
    assert _message(client) == "The action's worker ended unexpectedly during job job-1."
    assert not note.exists()


class _FailingJournal(SharedJournal):
    """One of its methods fails for a number of calls."""

    def __init__(self, method: str, failures: float = math.inf) -> None:
        super().__init__()
        self._method: Any = getattr(self, method)
        self._failures = failures
        setattr(self, method, self._fail)

    def _fail(self, *arguments: Any, **settings: Any) -> Any:
        self._failures -= 1
        if self._failures >= 0:
            raise JournalError("full")
        return self._method(*arguments, **settings)


class _UnreadableJournal(SharedJournal):
    """Has no index, and cannot be read."""

    is_finished: Any = None

    def jobs(self, **_: Any) -> Any:
        raise OSError(MARKER)


def _no_journal() -> MemoryJournal:
    raise OSError(MARKER)


@pytest.mark.parametrize(
    ("journal", "why"),
    [
        (partial(_FailingJournal, "claim"), "full"),
        (partial(_FailingJournal, "is_finished"), "full"),
        (partial(_FailingJournal, "recover"), "full"),
        (_UnreadableJournal, "the journal raised OSError"),
        (_no_journal, "journal raised OSError"),
    ],
)
def test_without_its_journal_an_event_must_come_again(
    journal: Any, why: str, client: FakeClient, note: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another environment may have the job, so the handler is not called, and no result is reported."""
    events: list[JobEvent] = []
    handler = partial(functions.count, note=str(note))
    function = _function(client, handler, journal=journal, on_event=events.append)
    monkeypatch.setattr(_emit, "_FLUSH_SECONDS", 60.0)
    with pytest.raises(JournalError) as caught:
        function(make_event(), LambdaContext())
    assert str(caught.value) == f"job job-1 has no result yet: {why}; Lambda must deliver the event again"
    # When the function raises, the hook has had the event, because Lambda stops the environment then.
    assert [(event.name, event.detail) for event in events] == [("rejected", f"{why} (JournalError)")]
    assert not note.exists()
    assert client.results == []


def test_a_claimed_job_goes_on_without_its_journal(client: FakeClient) -> None:
    """The result is reported, and the failure of the journal is an event."""
    events: list[JobEvent] = []
    journal = partial(_FailingJournal, "result")
    _function(client, journal=journal, on_event=events.append)(make_event(), LambdaContext())
    assert len(client.results) == 1
    until(lambda: [event.name for event in events] == ["claimed", "journal_failed", "reported"])


@pytest.fixture
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_FIRST_PAUSE", "_LONGEST_PAUSE"):
        monkeypatch.setattr(_steps, name, 0.01)


@pytest.mark.usefixtures("_short_pauses")
def test_a_handler_begins_when_the_journal_has_it(client: FakeClient, note: Path) -> None:
    """The next delivery would run it a second time, because only the journal shows that it has begun."""
    function = _function(
        client, partial(functions.count, note=str(note)), journal=lambda: _FailingJournal("running", 4)
    )
    function(make_event(), LambdaContext())
    assert note.read_text(encoding="utf-8") == "job-1\n"
    assert len(client.results) == 1


@pytest.mark.usefixtures("_short_pauses")
def test_a_handler_that_could_not_begin_runs_at_the_next_delivery(client: FakeClient, note: Path) -> None:
    """The job is released, and no failure is reported: the customer cannot change the reason."""
    journal = _FailingJournal("running")
    handler = partial(functions.count, note=str(note))
    events: list[JobEvent] = []
    with pytest.raises(JournalError, match="job job-1 has no result yet: the journal keeps it"):
        _function(client, handler, journal=lambda: journal, on_event=events.append)(make_event(), LambdaContext(0.6))
    until(lambda: bool(events) and events[-1].name == "released")
    assert (note.exists(), client.results) == (False, [])
    assert [entry.is_owner_alive for entry in journal.jobs()] == [None]
    journal.running = SharedJournal.running.__get__(journal)  # type: ignore[method-assign]
    _function(client, handler, journal=lambda: journal)(make_event(), LambdaContext())
    assert note.read_text(encoding="utf-8") == "job-1\n"
    assert len(client.results) == 1


@pytest.mark.usefixtures("_short_pauses")
def test_a_handler_that_cannot_begin_at_a_later_delivery_either_is_reported(client: FakeClient, note: Path) -> None:
    """Otherwise each delivery would raise, and the job would time out in CodePipeline."""
    journal = _FailingJournal("running")
    handler = partial(functions.count, note=str(note))
    with pytest.raises(JournalError, match="the journal keeps it"):
        _function(client, handler, journal=lambda: journal)(make_event(), LambdaContext(0.3))
    _function(client, handler, journal=lambda: journal)(make_event(), LambdaContext(0.6))
    assert _message(client) == "The action's worker could not start the job in time."
    assert not note.exists()


@pytest.mark.usefixtures("_short_pauses")
def test_a_handler_that_has_no_time_to_begin_is_released(client: FakeClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its thread finds out before the function does that the time is over."""
    threads: list[str] = []
    end_in_time = Invocation._end_in_time

    def end(invocation: Invocation) -> None:
        threads.append(threading.current_thread().name)
        end_in_time(invocation)

    monkeypatch.setattr(Invocation, "_end_in_time", end)
    monkeypatch.setattr(_invocation, "wait", lambda futures, _: wait(futures, 60.0))
    with pytest.raises(JournalError, match="the journal keeps it"):
        _function(client, journal=lambda: _FailingJournal("running"))(make_event(), LambdaContext(0.2))
    assert len(threads) == 1
    assert client.results == []


@pytest.mark.usefixtures("_short_pauses")
def test_a_handler_that_the_journal_has_as_running_is_released_if_it_has_not_begun(
    client: FakeClient, note: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table fails after that write, so the lease cannot be confirmed; the customer cannot change that."""
    has_failed = threading.Event()

    class Failing(_LeasesOfOthers):
        def running(self, job_id: str, **settings: Any) -> None:
            super().running(job_id, **settings)
            self.is_broken = True

        def hold(self, _job_id: str) -> float:
            if self.is_broken:
                has_failed.set()
                raise JournalError("throttled")
            return 60.0

    journal = Failing(looks=math.inf)
    journal.withdraw("job-1")
    handler = partial(functions.count, note=str(note))
    monkeypatch.setattr(_invocation, "wait", lambda *_: has_failed.wait(60))
    with pytest.raises(JournalError, match="no result yet: the journal keeps it"):
        _function(client, handler, journal=lambda: journal)(make_event(), LambdaContext())
    assert (client.results, note.exists()) == ([], False)
    assert [(entry.state.value, entry.is_owner_alive) for entry in journal.jobs()] == [("CLAIMED", None)]


@pytest.mark.parametrize("method", ["", "is_finished", "recover", "claim", "running", "result", "finish"])
def test_a_journal_that_hangs_does_not_hold_the_function_up(
    client: FakeClient, note: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """Before the handler begins, the event must come again; then the result of the handler is reported."""
    monkeypatch.setattr(_bounded_calls, "_MIN_SECONDS", 0.01)
    release = threading.Event()
    journal: Any = SharedJournal()

    def hang(*_: Any, **__: Any) -> Any:
        entry_point._journal_calls.end_within(0.0)  # this call times out; those before it had their time
        release.wait()
        return journal

    if method:
        setattr(journal, method, hang)
    handler = partial(functions.count, note=str(note))
    entry_point = _function(client, handler, journal=(lambda: journal) if method else hang)
    has_begun = method in ("result", "finish")
    with contextlib.nullcontext() if has_begun else pytest.raises(JournalError, match="job job-1 has no result yet"):
        entry_point(make_event(), LambdaContext(1.0 if method == "running" else 60.0))
    release.set()
    assert [isinstance(result, FailureDetails) for _, result in client.results] == [False] * has_begun
    assert note.exists() is has_begun


class _LostLease(SharedJournal):
    """A journal with leases, of which another environment takes the job over after some confirmations."""

    recovery_seconds = 60.0

    def __init__(self, confirmations: int) -> None:
        super().__init__()
        self.confirmations = confirmations

    def hold(self, _job_id: str) -> float:
        self.confirmations -= 1
        return 60.0 if self.confirmations >= 0 else 0.0


@pytest.mark.parametrize(
    ("confirmations", "names"),
    [(0, ["lost_race"]), (1, ["claimed", "lost_race"]), (2, ["claimed", "call_failed", "lost_race"])],
    ids=["before the claim counts", "before the handler", "before the report"],
)
def test_a_job_that_was_taken_over_is_left(
    client: FakeClient, note: Path, confirmations: int, names: list[str]
) -> None:
    """This environment stood still for longer than its lease; the other one runs the handler, and reports."""
    events: list[JobEvent] = []
    handler = partial(functions.count, note=str(note))
    function = _function(client, handler, journal=lambda: _LostLease(confirmations), on_event=events.append)
    with pytest.raises(JournalError, match="job job-1 has no result yet: another environment has it; Lambda must"):
        function(make_event(), LambdaContext())
    until(lambda: [event.name for event in events] == names)
    assert (client.results, note.exists()) == ([], confirmations == 2)


def test_a_report_ends_with_the_function_and_not_with_the_lease(client: FakeClient) -> None:
    """A lease of a minute gives a call no more time than the function has."""
    seconds: list[float] = []
    client.on_put = lambda: seconds.append((CALLS_END_AT.get() or math.inf) - now())
    _function(client, journal=lambda: _LostLease(100))(_STALE_EVENT, LambdaContext(20.0))
    assert len(seconds) == 1
    assert 0 < seconds[0] <= 20


def test_a_result_that_was_not_accepted_in_time_is_reported_by_the_next_delivery(client: FakeClient) -> None:
    """The function raises, so that Lambda delivers the event again, and leaves the job to any environment."""
    journal = SharedJournal()
    events: list[JobEvent] = []
    function = _function(client, journal=lambda: journal, on_event=events.append)
    client.errors = [TransportError("unreachable") for _ in range(10_000)]
    with pytest.raises(JournalError, match="job job-1 has no result yet: the journal keeps it"):
        function(_STALE_EVENT, LambdaContext(0.8))
    until(lambda: "unsent" in [event.name for event in events])
    assert [entry.is_owner_alive for entry in journal.jobs()] == [None]
    client.errors = []
    _function(client, journal=lambda: journal)(_STALE_EVENT, LambdaContext())
    assert [job_id for job_id, _ in client.results] == ["job-1"]


def test_a_job_whose_report_hangs_is_left_in_the_journal(client: FakeClient) -> None:
    """The thread of the report has not ended the job, so the function does."""
    gate = threading.Event()
    journal = SharedJournal()
    events: list[JobEvent] = []
    client.on_put = lambda: gate.wait(30)
    with pytest.raises(JournalError, match="the journal keeps it"):
        _function(client, journal=lambda: journal, on_event=events.append)(_STALE_EVENT, LambdaContext(0.8))
    until(lambda: "unsent" in [event.name for event in events])
    assert [entry.is_owner_alive for entry in journal.jobs()] == [None]
    gate.set()


class _LeasesOfOthers(SharedJournal):
    """A journal with leases of which another environment has a job, until it counts as dead after some looks."""

    recovery_seconds = 0.001
    is_broken = False

    def __init__(self, *, looks: float, happen: Callable[[SharedJournal], object] | None = None) -> None:
        super().__init__()
        self.looks = looks
        self.happen = happen
        self.claim(CustomJob(id="job-1", data=JobData(), nonce=""), _SCOPE)

    def recover(self, scope: JobScope) -> Recovered:
        self.looks -= 1
        if not self.looks and self.happen is not None:
            self.happen(self)
        return super().recover(scope)

    def hold(self, _job_id: str) -> float:
        return 60.0


def test_a_job_of_an_environment_that_was_killed_is_taken_over(client: FakeClient, note: Path) -> None:
    """Lambda delivers its event to a new environment, which sees the lease of the dead one for the first time."""
    journal = _LeasesOfOthers(looks=4, happen=lambda journal: journal.release("job-1"))
    function = _function(client, partial(functions.count, note=str(note)), journal=lambda: journal)
    function(make_event(), LambdaContext())
    assert note.read_text(encoding="utf-8") == "job-1\n"
    assert len(client.results) == 1


@pytest.mark.parametrize(
    ("looks", "happen"),
    [(math.inf, None), (3, lambda journal: journal.finish("job-1", "reported"))],
    ids=["it lives", "it has reported the job"],
)
def test_a_job_of_an_environment_that_lives_is_left_to_it(
    client: FakeClient, note: Path, looks: float, happen: Any
) -> None:
    """Lambda delivers the event again until the job is finished: that one may not work on the job any more."""
    journal = _LeasesOfOthers(looks=looks, happen=happen)
    function = _function(client, partial(functions.count, note=str(note)), journal=lambda: journal)
    is_left = pytest.raises(JournalError, match="job job-1 has no result yet: another environment has it; Lambda must")
    with is_left if happen is None else contextlib.nullcontext():
        assert function(make_event(), LambdaContext()) is None
    assert not note.exists()
    assert client.results == []


class _FinishedMeanwhile(SharedJournal):
    """Has a mark of a finished job, which a claim does not remove; the claim takes so long that another one ends."""

    has_mark = False
    problem: Exception | None = None

    def claim(self, job: Any, scope: JobScope) -> bool:
        is_free = super().claim(job, scope)
        self.has_mark = True
        return is_free

    def is_finished(self, *_: Any, **__: Any) -> bool:
        if self.has_mark and self.problem is not None:
            raise self.problem
        return self.has_mark


def test_a_job_that_was_finished_during_the_claim_is_not_handled(client: FakeClient, note: Path) -> None:
    """Another delivery of the event was handled meanwhile, and its job was removed before this claim was written."""
    journal = _FinishedMeanwhile()
    function = _function(client, partial(functions.count, note=str(note)), journal=lambda: journal)
    assert function(make_event(), LambdaContext()) is None
    assert (client.results, note.exists(), list(journal.jobs())) == ([], False, [])


def test_a_claim_of_a_job_that_may_be_finished_is_withdrawn_later(client: FakeClient, note: Path) -> None:
    """The journal cannot be read after the claim.  Its next use finds the job as claimed and as finished."""
    journal = _FinishedMeanwhile()
    journal.problem = OSError(MARKER)
    function = _function(client, partial(functions.count, note=str(note)), journal=lambda: journal)
    for _ in range(2):
        with pytest.raises(JournalError, match="job job-1 has no result yet: the journal "):
            function(make_event(), LambdaContext())
    journal.problem = None
    assert function(make_event(), LambdaContext()) is None
    assert (client.results, note.exists(), list(journal.jobs())) == ([], False, [])


@pytest.mark.parametrize("is_readable", [True, False])
def test_a_job_that_was_taken_over_and_finished_needs_no_other_event(
    client: FakeClient, monkeypatch: pytest.MonkeyPatch, *, is_readable: bool
) -> None:
    """Otherwise, or if the journal cannot be read, it must come again."""
    journal = _FinishedMeanwhile()
    journal.problem = None if is_readable else OSError(MARKER)

    def lose(*_: object) -> Outcome:
        journal.has_mark = True
        return LostRace(job=CustomJob(id="job-1", data=JobData(), nonce=""))

    monkeypatch.setattr(Invocation, "run_in_time", lose)
    function = _function(client, journal=lambda: journal)
    with contextlib.nullcontext() if is_readable else pytest.raises(JournalError, match="another environment has it"):
        assert function(make_event(), LambdaContext()) is None


def test_each_event_repairs_the_journal_for_all_action_types(client: FakeClient) -> None:
    """An event of an action type may be the last one for a long time."""
    journal = _NoRelease()
    function = _function(client, journal=lambda: journal)
    client.errors = [TransportError("unreachable") for _ in range(10_000)]
    journal.failures = 1
    with pytest.raises(JournalError, match="job job-1 has no result yet"):
        function(_STALE_EVENT, LambdaContext(0.8))
    assert [entry.is_owner_alive for entry in journal.jobs()] == [True]
    client.errors = []
    other = {"category": "Test", "owner": "AWS", "provider": "Other", "version": "1"}
    function(
        make_event("job-2", **{**_STALE_EVENT["CodePipeline.job"]["data"], "actionTypeId": other}), LambdaContext()
    )
    assert [entry.is_owner_alive for entry in journal.jobs(unfinished_only=True)] == [None]


def test_without_time_to_wait_the_event_must_come_again(client: FakeClient, note: Path) -> None:
    """A return would be a success for Lambda, and the job would have no result if its environment is dead."""
    journal = _LeasesOfOthers(looks=math.inf)
    journal.recovery_seconds = 60.0
    function = _function(client, partial(functions.count, note=str(note)), journal=lambda: journal)
    with pytest.raises(JournalError, match="job-1 has no result yet: another environment has it, and the time of the"):
        function(make_event(), LambdaContext(30.0))
    assert not note.exists()
    assert client.results == []


class _NoRelease(SharedJournal):
    """Cannot release a job for a while."""

    failures = 0

    def release(self, job_id: str, *, has_begun: bool = True) -> None:
        if self.failures:
            self.failures -= 1
            raise JournalError("throttled")
        super().release(job_id, has_begun=has_begun)


@pytest.mark.parametrize("failures", [1, 2])
def test_a_job_of_another_event_that_was_not_released_is_released_later(
    client: FakeClient, note: Path, failures: int
) -> None:
    """Its own event may come to this environment, which must not take it for the job of another one."""
    journal = _left_by_another(_NoRelease, has_result=False)
    journal.failures = failures
    function = _function(client, partial(functions.count, note=str(note)), journal=lambda: journal)
    function(make_event(), LambdaContext())
    if failures == 2:
        with pytest.raises(JournalError, match="job-2 has no result yet: the entry of this job in the"):
            function(make_event("job-2"), LambdaContext())
    function(make_event("job-2"), LambdaContext())
    message = "The action's worker ended unexpectedly during job job-2."
    assert [(job_id, failure.message) for job_id, failure in client.results[1:]] == [("job-2", message)]
    assert not note.exists()


def test_a_journal_that_hangs_is_not_called_for_the_next_event(
    client: FakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each call would leave one more thread that hangs, and cost the time of one more event."""
    monkeypatch.setattr(_bounded_calls, "_MIN_SECONDS", 0.01)
    release = threading.Event()
    calls: list[None] = []

    class Hanging(SharedJournal):
        def recover(self, scope: JobScope) -> Recovered:
            calls.append(None)
            if not release.is_set():
                entry_point._journal_calls.end_within(0.0)
            release.wait()
            return super().recover(scope)

    entry_point = _function(client, journal=Hanging)
    for _ in range(2):
        with pytest.raises(JournalError, match="the journal has not returned in time"):
            entry_point(make_event(), LambdaContext())
        assert len(calls) == 1
    release.set()
    until(lambda: not entry_point._journal_calls.is_hanging)
    entry_point(make_event(), LambdaContext())
    assert len(calls) == 2
    assert len(client.results) == 1


# --- what each outcome means for Lambda


_RESULT = Succeeded()
_OFFER = CustomJob(id="job-1", data=JobData(), nonce="")
_OUTCOMES: tuple[Outcome, ...] = (
    Reported(job=_OFFER, result=_RESULT),
    Gone(job=_OFFER, error="JobNotFoundException"),
    LostRace(job=_OFFER),
    Rejected(job=_OFFER, reason="the journal cannot be written"),
    Released(job=_OFFER, error="full"),
    Unsent(job=_OFFER, result=_RESULT, error="TransportError"),
    Uncertain(job=_OFFER),
    HandedBack(job=_OFFER),
)


@pytest.mark.parametrize("outcome", _OUTCOMES, ids=lambda outcome: type(outcome).__name__)
@pytest.mark.parametrize("has_journal", [True, False])
def test_an_outcome_without_a_result_must_come_again(
    client: FakeClient, monkeypatch: pytest.MonkeyPatch, outcome: Outcome, *, has_journal: bool
) -> None:
    """Without a journal nothing must: the next delivery would run the handler again."""
    monkeypatch.setattr(Invocation, "run_in_time", lambda *_: outcome)
    function = _function(client, journal=SharedJournal if has_journal else None)
    must_come_again = has_journal and not isinstance(outcome, (Reported, Gone))
    with pytest.raises(JournalError, match="job-1 has no") if must_come_again else contextlib.nullcontext():
        assert function(make_event(), LambdaContext()) is None


def test_the_page_has_each_outcome() -> None:
    """Its table is the one of the code."""
    page = (Path(__file__).parents[2] / "docs/how-to/lambda-action.md").read_text(encoding="utf-8")
    found = re.findall(r"^\| `(\w+)` \|.*\| (returns|raises) \|$", page, flags=re.MULTILINE)
    assert dict(found) == {
        kind.__name__: "raises" if raises else "returns" for kind, raises in NEEDS_REDELIVERY.items()
    }
    assert set(NEEDS_REDELIVERY) == set(map(type, _OUTCOMES)) == set(get_args(Outcome))


def test_a_job_that_is_gone_does_not_come_again(client: FakeClient) -> None:
    """CodePipeline accepts no result any more."""
    client.errors = [JobNotFoundException("gone", code="JobNotFoundException")]
    journal = SharedJournal()
    assert _function(client, journal=lambda: journal)(_STALE_EVENT, LambdaContext()) is None
    assert [entry.outcome for entry in journal.jobs()] == ["gone"]


@pytest.mark.parametrize(
    "refusal",
    [
        ValidationException("Value 'x' at 'jobId' failed to satisfy constraint", code="ValidationException"),
        InvalidRequestError("job_id", "must have at most 512 characters"),
    ],
    ids=lambda refusal: type(refusal).__name__,
)
def test_an_event_with_an_id_that_codepipeline_refuses_is_gone(client: FakeClient, refusal: Exception) -> None:
    """Someone has written it to try the function, so further attempts until the end of its time cannot succeed."""
    client.errors = [refusal]
    events: list[JobEvent] = []
    _function(client, on_event=events.append)(_STALE_EVENT, LambdaContext())
    until(lambda: [(event.name, event.detail) for event in events[1:]] == [("gone", type(refusal).__name__)])
    assert client.results == []


# --- metrics


class _Metrics:
    """Counts events."""

    def __init__(self, act: Callable[[], object] = lambda: None) -> None:
        self.act = act
        self.counted: list[tuple[str, str | None]] = []

    def record(self, event: JobEvent, action_type_id: ActionTypeId | None) -> None:
        self.act()
        self.counted.append((event.name, None if action_type_id is None else action_type_id.provider))

    def watch(self, *_: Any, **__: Any) -> None:
        raise AssertionError("a function has no health")


@pytest.fixture
def _patient_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a busy machine take its time."""
    for name in ("_METRICS_SECONDS", "_LAST_METRICS_SECONDS"):
        monkeypatch.setattr(_lambda_metrics, name, 60.0)


@pytest.mark.usefixtures("_patient_metrics")
def test_metrics_have_each_event_when_the_function_returns(client: FakeClient) -> None:
    """Lambda stops the environment then.  An event of a finished job is counted too."""
    metrics = _Metrics()
    journal = SharedJournal()
    function = _function(client, journal=lambda: journal, metrics=metrics)
    function(_STALE_EVENT, LambdaContext())
    assert metrics.counted == [("claimed", "Lambda"), ("reported", "Lambda")]
    function(_STALE_EVENT, LambdaContext())
    assert metrics.counted[2:] == [("lost_race", "Lambda")]


@pytest.mark.usefixtures("_patient_metrics")
def test_an_event_that_must_come_again_is_counted(client: FakeClient) -> None:
    """An alert on it finds a journal that fails."""
    metrics = _Metrics()
    with pytest.raises(JournalError):
        _function(client, journal=_no_journal, metrics=metrics)(_STALE_EVENT, LambdaContext())
    assert metrics.counted == [("rejected", "Lambda")]


@pytest.mark.usefixtures("_patient_metrics")
def test_a_lost_job_whose_result_is_not_found_has_one_event(client: FakeClient) -> None:
    """An alert must not count it as a job of a journal that fails."""
    metrics = _Metrics()
    function = _function(client, journal=_FinishedMeanwhile, metrics=metrics)
    with pytest.raises(JournalError, match="no result yet: another environment has it"):
        function(_ACTION_TYPE_EVENT, LambdaContext())
    assert [name for name, _ in metrics.counted] == ["lost_race"]


@pytest.mark.usefixtures("_patient_metrics")
def test_a_hook_that_hangs_does_not_hold_the_function_up(client: FakeClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lambda stops its thread with the environment; metrics are counted all the same."""
    gate = threading.Event()
    monkeypatch.setattr(_emit, "_FLUSH_SECONDS", 0.01)
    metrics = _Metrics()
    _function(client, on_event=lambda _: gate.wait(30), metrics=metrics)(_STALE_EVENT, LambdaContext())
    assert [name for name, _ in metrics.counted] == ["claimed", "reported"]
    assert not gate.is_set()
    gate.set()
    assert len(client.results) == 1


def test_metrics_that_fail_or_hang_cost_no_report(
    client: FakeClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The log has it."""
    gate = threading.Event()

    def fail() -> None:
        raise OSError

    for act, seconds in ((fail, 60.0), (gate.wait, 0.01)):
        monkeypatch.setattr(_lambda_metrics, "_METRICS_SECONDS", seconds)
        _function(client, metrics=_Metrics(act))(_STALE_EVENT, LambdaContext())
    gate.set()
    assert len(client.results) == 2
    expected = {f"metrics raised {name} at the event claimed" for name in ("OSError", "TimeoutError")}
    expected.add("events are not counted: the time for metrics, 1 second, is used up")
    until(lambda: expected <= {record.getMessage() for record in caplog.records})


def test_the_metrics_of_an_invocation_have_one_second() -> None:
    """Each event costs the time for the report otherwise; at the end of the function it has nearly none."""
    now = 0.0
    seconds: list[float] = []
    warnings: list[str] = []

    def call(limit: float, function: Callable[[], object]) -> object:
        nonlocal now
        now += 0.75
        seconds.append(limit)
        return function()

    metrics = _Metrics()
    counter = _lambda_metrics.EventCounter(metrics, warnings.append, lambda: now)
    counter._calls.call_or_raise = call  # type: ignore[method-assign, assignment]
    event = JobEvent(name="claimed", job_id="job-1", client_id="")
    for ends_at, expected in ((math.inf, [1.0, 0.25]), (100.0, [1.0, 0.25]), (3.5, [0.5, 0.05]), (0.0, [0.05, 0.05])):
        seconds.clear()
        counter.begin(ends_at)
        counter(event, None)
        counter(event, None)
        counter(event, None)
        counter(event, None)
        assert seconds == expected
        assert warnings == ["events are not counted: the time for metrics, 1 second, is used up"]
        warnings.clear()
    assert len(metrics.counted) == 8


# --- action types with a Lambda executor: the result is returned

_ACTION_TYPE_EVENT = {
    "jobId": "job-1",
    "accountId": "111122223333",
    "data": {
        "actionConfiguration": {"ApiKey": f"{MARKER}-key"},
        "actionCredentials": CREDENTIALS,
        "actionExecutionId": "execution",
        "continuationToken": "1",
    },
}


@pytest.mark.parametrize(
    ("handler", "result"),
    [
        (
            functions.step,
            {
                "result": "Continue",
                "failureType": None,
                "continuation": {"state": "2"},
                "status": {"externalExecutionId": None, "summary": None},
                "outputVariables": None,
            },
        ),
        (
            functions.wait,
            {
                "result": "Success",
                "failureType": None,
                "continuation": None,
                "status": {"externalExecutionId": None, "summary": None},
                "outputVariables": {"Findings": "3"},
            },
        ),
        (
            functions.refuse,
            {
                "result": "Fail",
                "failureType": "ConfigurationError",
                "continuation": None,
                "status": {"externalExecutionId": "run-1", "summary": "no"},
                "outputVariables": None,
            },
        ),
    ],
)
def test_the_result_of_an_action_type_is_returned(handler: Any, result: dict[str, Any], client: FakeClient) -> None:
    """No call is made; JSON has the document."""
    returned = _function(client, handler)(_ACTION_TYPE_EVENT, LambdaContext())
    assert json.loads(json.dumps(returned)) == result
    assert client.results == []


def test_a_second_delivery_returns_the_result_of_the_first(client: FakeClient) -> None:
    """It is not known whether CodePipeline has that one.  Without a result the function must not return."""
    journal = SharedJournal()
    event = {**_ACTION_TYPE_EVENT, "credentialsExpireAt": 1}
    function = _function(client, journal=lambda: journal)
    first = function(event, LambdaContext())
    assert first is not None
    assert function(event, LambdaContext()) == first
    (entry,) = journal.jobs()
    journal.jobs = lambda **_: iter([attrs.evolve(entry, result=None)])  # type: ignore[method-assign]
    with pytest.raises(JournalError, match="no result yet: the journal has no result of this finished job"):
        function(event, LambdaContext())


def test_both_forms_of_an_event_have_the_same_parts() -> None:
    """Their names differ."""
    job = structure(_ACTION_TYPE_EVENT, LambdaJobEvent)
    assert job.data.configuration["ApiKey"].get_secret_value() == f"{MARKER}-key"
    assert job.data.artifact_credentials is not None
    context = job.data.pipeline_context
    assert context is not None
    assert context.action is not None
    assert context.action.action_execution_id == "execution"


@pytest.mark.parametrize("data", [[], {"artifactCredentials": []}, {"actionConfiguration": {"configuration": 3}}])
def test_other_shapes_are_problems(data: Any) -> None:
    """The reading of the model finds what is wrong."""
    with pytest.raises(ResponseDecodeError, match="data"):
        structure({"jobId": "job-1", "data": data}, LambdaJobEvent)


# --- secrets


def test_no_surface_shows_a_secret(client: FakeClient, capfd: pytest.CaptureFixture[str], caplog: Any) -> None:
    """The log of the function, as CloudWatch has it, has no secret of the event; nor has its result."""
    log = logging.getLogger()
    stream = logging.StreamHandler(io.StringIO())
    log.addHandler(stream)
    caplog.set_level(logging.DEBUG)
    try:
        events: list[JobEvent] = []
        function = _function(client, functions.leak, on_event=events.append)
        function(make_event(), LambdaContext())
        until(lambda: bool(events) and events[-1].name == "reported")
        logging.getLogger("function").info("%s", structure(make_event(), LambdaJobEvent))
    finally:
        log.removeHandler(stream)
    shown = [stream.stream.getvalue(), logged(caplog.records), *capfd.readouterr(), repr(events), repr(client.results)]
    assert "job-1" in shown[0]
    assert MARKER not in "".join(shown)


@pytest.mark.parametrize("surface", ERROR_SURFACES)
def test_no_error_shows_a_secret(surface: str) -> None:
    """Events that cannot be read, and clients and journals that fail, do not lead to the event."""

    def connect() -> Any:
        raise OSError("no region")

    function = LambdaHandler(functions.describe, connect=connect)
    for job_id in (None, "job-1"):
        with pytest.raises((OSError, ResponseDecodeError)) as caught:
            function(make_event(job_id), LambdaContext())
        assert MARKER not in ERROR_SURFACES[surface](caught.value)
    with pytest.raises(JournalError) as failed:
        _function(FakeClient(), journal=_no_journal)(make_event(), LambdaContext())
    assert MARKER not in ERROR_SURFACES[surface](failed.value)


def test_nothing_of_an_event_is_left(client: FakeClient) -> None:
    """The next invocation of the environment, which may be of another customer, cannot reach it."""
    function = _function(client)
    function(make_event(), LambdaContext())

    def is_left() -> bool:
        gc.collect()
        return any(type(each) is LambdaJobEvent for each in gc.get_objects())

    until(lambda: not is_left())


def test_no_semaphore_is_created(client: FakeClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lambda has no /dev/shm, which those of multiprocessing need."""

    def refuse(*_: object) -> None:
        raise OSError

    monkeypatch.setattr(multiprocessing.synchronize.SemLock, "__init__", refuse)
    _function(client, functions.find_semaphores)(make_event(), LambdaContext())
    assert client.results[0][1]["execution_details"].summary == "False"


# --- arguments


@pytest.mark.parametrize(
    ("handler", "settings", "message"),
    [
        (lambda _: Succeeded(), {}, "handler: cannot go to another process"),
        (functions.describe, {"journal": MemoryJournal()}, "journal: must be a callable"),
        (functions.describe, {"connect": 3}, "connect: must be a callable"),
        (functions.describe, {"metrics": 1}, "metrics.record: must be a callable; NoneType is not callable"),
        (functions.describe, {"metrics": _Metrics}, "metrics.record: .* it must take two positional arguments"),
        (functions.describe, {"report_seconds": "5"}, "report_seconds: must be"),
    ],
)
def test_wrong_arguments_are_refused(handler: Any, settings: Any, message: str) -> None:
    """They are found out when the function is loaded."""
    with pytest.raises(TypeError, match=message):
        LambdaHandler(handler, **settings)


def test_the_default_client_has_short_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A report is tried more than once in its time."""
    created: list[dict[str, Any]] = []

    def create(**settings: Any) -> FakeClient:
        created.append(settings)
        return FakeClient()

    monkeypatch.setattr(CustomJobClient, "create", create)
    LambdaHandler(functions.describe)(make_event(), LambdaContext())
    assert created == [{"connect_timeout": 2.0, "read_timeout": 3.0}]


# --- with the local CodePipeline


@pytest.fixture
def service() -> Iterator[LocalCodePipeline]:
    """Give a running service without delays."""
    with LocalCodePipeline(continuation_delay=0.0) as started:
        yield started


def test_a_continuation_is_another_job_with_the_token(service: LocalCodePipeline) -> None:
    """The event of each job has the token that the job before has left."""
    function = LambdaHandler(functions.step, connect=partial(service.custom_client, in_process=True))
    local = LocalLambda(service, function)
    action = local.start_action(user_parameters="{}")
    while action.status != "Succeeded":
        assert local.invoke() == 1
    assert [job.continuation_token for job in action.jobs] == [None, "1", "2"]
    assert len({job.id for job in action.jobs}) == 3


def test_a_second_delivery_changes_nothing(service: LocalCodePipeline) -> None:
    """Without a journal the handler runs again, and CodePipeline refuses its result."""
    events: list[JobEvent] = []
    connect = partial(service.custom_client, in_process=True)
    local = LocalLambda(
        service, LambdaHandler(functions.step, connect=connect, on_event=events.append), credentials_lifetime=900
    )
    action = local.start_action()
    local.invoke(deliveries=2)
    until(lambda: [event.name for event in events if event.name in ("reported", "gone")] == ["reported", "gone"])
    assert [record.operation_name for record in service.requests] == ["PutJobSuccessResult"] * 2
    assert len(action.jobs) == 2


def test_a_stale_event_of_the_local_service_is_reported(service: LocalCodePipeline) -> None:
    """The events of the local function can have the end of the credentials."""
    function = LambdaHandler(functions.step, connect=partial(service.custom_client, in_process=True))
    local = LocalLambda(service, function, credentials_lifetime=-1)
    action = local.start_action()
    local.invoke()
    assert action.status == "Failed"
