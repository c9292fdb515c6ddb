"""Events and log records of a worker: hooks and handlers of logs that misbehave, fields, levels, start and end."""

from __future__ import annotations

import asyncio
import builtins
import io
import logging
import re
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, cast

import attrs
import pytest
from support.worker_service import (
    ACTION_TYPE,
    CLIENT_ID,
    CLIENT_TOKEN,
    TOKENS,
    AnyJob,
    Instead,
    SharedJournal,
    make_worker,
    running,
    succeed,
    until,
)

from cp_thirdparty import (
    ActionContext,
    FailureDetails,
    FailureType,
    JobFailedError,
    PipelineContext,
    Succeeded,
    ThirdPartyJob,
)
from cp_thirdparty.exceptions import ActionTypeNotFoundException, ArtifactNotFoundError, JournalError
from cp_thirdparty.testing import LocalCodePipeline, ManualClock, samples
from cp_thirdparty.testing._wire import error_response
from cp_thirdparty.testing.faults import ServerError
from cp_thirdparty.worker import JobEvent, JobProcessor, MemoryJournal, Reported, _emit
from cp_thirdparty.worker._emit import LEVELS, Emitter
from cp_thirdparty.worker._event_queue import EventQueue

_LOG = logging.getLogger("cp_thirdparty.worker")
_TRACE: ContextVar[str] = ContextVar("_TRACE", default="none")

# Seconds for the end of a run whose hook blocks, on a busy machine.
_PATIENCE = 15.0


@pytest.fixture(autouse=True)
def _short_flush(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_emit, "_FLUSH_SECONDS", 0.1)


@pytest.fixture
def long_flush(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for all events."""
    monkeypatch.setattr(_emit, "_FLUSH_SECONDS", 30.0)


class _Handler(logging.Handler):
    """A handler of logs that does what a test wants."""

    def __init__(self, act: Callable[[logging.LogRecord], object]) -> None:
        super().__init__()
        self._act = act

    def emit(self, record: logging.LogRecord) -> None:
        """Do it."""
        self._act(record)


@contextmanager
def _logging_to(handler: logging.Handler) -> Generator[None, None, None]:
    level = _LOG.level
    _LOG.addHandler(handler)
    _LOG.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        _LOG.removeHandler(handler)
        _LOG.setLevel(level)


class _UnreadableError(Exception):
    def __str__(self) -> str:
        raise SystemExit

    __repr__ = __str__


def _failures() -> list[BaseException]:
    group = getattr(builtins, "BaseExceptionGroup", None)  # from Python 3.11
    groups = [] if group is None else [group("", [SystemExit(), ValueError(CLIENT_TOKEN)])]
    return [ValueError(CLIENT_TOKEN), SystemExit(), KeyboardInterrupt(), GeneratorExit(), _UnreadableError(), *groups]


# --- hooks and handlers of logs that misbehave


@pytest.mark.usefixtures("long_flush")
@pytest.mark.parametrize("place", ["hook", "log"])
def test_what_partner_code_raises_at_an_event_changes_nothing(
    service: LocalCodePipeline, place: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Each event raises another exception, and the worker polls, runs and reports jobs, and ends clean."""
    failures = _failures()
    left = iter(failures)

    names: list[str] = []

    def fail(_: object) -> None:
        raise next(left, OSError(CLIENT_TOKEN))

    def hook(event: JobEvent) -> None:
        names.append(event.name)
        if place == "hook":
            fail(event)

    worker = make_worker(service, concurrency=1, on_event=hook)
    with _logging_to(_Handler(fail) if place == "log" else logging.NullHandler()), running(worker) as it:
        for _ in range(3):
            action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
            until(lambda action=action: action.status == "Succeeded")  # type: ignore[misc]
        health = worker.health()
        worker.stop()
        it.join()
    assert (it.is_clean, health.dropped_events, next(left, None)) == (True, 0, None)
    assert names == ["claimed", "reported"] * 3
    if place == "hook":
        for failure in failures:
            assert f"on_event raised {type(failure).__name__} at the event " in caplog.text
    assert CLIENT_TOKEN not in caplog.text


def test_a_closed_stream_of_the_log_changes_nothing(
    service: LocalCodePipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A handler closes `sys.stderr`, to which the log goes: logging raises ValueError for each record."""
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)

    def handle(_job: AnyJob) -> Succeeded:
        stream.close()
        return Succeeded()

    worker = make_worker(service, handle, concurrency=1)
    with _logging_to(logging.StreamHandler(stream)), running(worker) as it:
        for _ in range(3):
            action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
            until(lambda action=action: action.status == "Succeeded")  # type: ignore[misc]
        worker.stop()
        it.join()
    assert it.is_clean is True


def _fail(_job: AnyJob) -> Succeeded:
    raise ZeroDivisionError


@attrs.frozen
class _Block:
    """Partner code that blocks at one event."""

    name: str
    has_begun: threading.Event = attrs.field(factory=threading.Event)
    may_end: threading.Event = attrs.field(factory=threading.Event)

    def call(self, event: JobEvent | None) -> None:
        """Block at the event."""
        if event is not None and event.name == self.name:
            self.has_begun.set()
            self.may_end.wait(60)


@pytest.mark.parametrize(("place", "name"), [("hook", "claimed"), ("hook", "reported"), ("log", "handler_failed")])
def test_partner_code_that_blocks_at_an_event_delays_nothing(service: LocalCodePipeline, place: str, name: str) -> None:
    """Jobs are claimed and reported, `health` and `stop` work, and the run ends in time."""
    block = _Block(name)
    handler = _Handler(lambda record: block.call(record.__dict__["job_event"]))
    worker = make_worker(service, _fail, concurrency=1, on_event=block.call if place == "hook" else None)
    try:
        with _logging_to(handler if place == "log" else logging.NullHandler()), running(worker) as it:
            for _ in range(2):
                action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
                until(lambda action=action: action.status == "Failed")  # type: ignore[misc]
            assert block.has_begun.wait(_PATIENCE)
            assert worker.health().state == "running"
            stopped_at = time.monotonic()
            worker.stop()
            it.join()
            assert time.monotonic() - stopped_at < _PATIENCE
        assert it.is_clean is True
    finally:
        block.may_end.set()


def test_a_log_handler_that_blocks_at_the_end_of_a_job_delays_no_result(service: LocalCodePipeline) -> None:
    """The worker logs what a job leaves behind, and the result is reported meanwhile."""
    has_begun, may_end = threading.Event(), threading.Event()

    def block(record: logging.LogRecord) -> None:
        if "could not be closed: ZeroDivisionError" in record.getMessage():
            assert record.__dict__["client_id"] == CLIENT_ID
            has_begun.set()
            may_end.wait(60)

    def handle(job: AnyJob) -> Succeeded:
        def close() -> None:
            raise ZeroDivisionError

        cast("Any", job).close = close
        return Succeeded()

    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    try:
        with _logging_to(_Handler(block)), running(make_worker(service, handle)):
            until(lambda: action.status == "Succeeded")
            assert has_begun.wait(_PATIENCE)
    finally:
        may_end.set()


def test_a_hook_that_blocks_at_a_timeout_does_not_keep_a_worker_from_stopping(service: LocalCodePipeline) -> None:
    """The job is reported, and a stop ends the run although the handler hangs too."""
    clock, block, release = ManualClock(), _Block("timed_out"), threading.Event()
    begun = threading.Event()

    def handle(_job: AnyJob) -> Succeeded:
        begun.set()
        release.wait(60)
        return Succeeded()

    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    worker = make_worker(service, handle, clock=clock, job_timeout=60, on_event=block.call)
    try:
        with running(worker) as it:
            until(begun.is_set)
            clock.advance(61)
            until(lambda: action.status == "Failed")
            assert block.has_begun.wait(_PATIENCE)
            worker.stop()
            it.join()
        assert it.is_clean is True
    finally:
        block.may_end.set()
        release.set()


def test_a_hook_that_blocks_does_not_outlast_a_process(
    service: LocalCodePipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A processor does not wait for its events longer than its process has."""
    monkeypatch.setattr(_emit, "_FLUSH_SECONDS", 1000.0)
    waits: list[float] = []
    monkeypatch.setattr(EventQueue, "flush", lambda _, seconds: waits.append(seconds))
    processor: JobProcessor[Any] = JobProcessor(service.client, succeed, client_tokens=TOKENS)
    service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    assert [type(outcome) for outcome in processor.poll(ACTION_TYPE, seconds_left=60.0)] == [Reported]
    assert len(waits) == 2  # for metrics and for events
    assert all(0 < seconds < 60 for seconds in waits)


@pytest.mark.usefixtures("long_flush")
def test_a_slow_hook_has_all_events_at_the_end(service: LocalCodePipeline) -> None:
    """The run, and a processor, wait for it."""
    names: list[str] = []

    def hook(event: JobEvent) -> None:
        time.sleep(0.05)
        names.append(event.name)

    service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    make_worker(service, on_event=hook).run_once()
    assert names == ["claimed", "reported"]
    service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    processor: JobProcessor[Any] = JobProcessor(service.client, succeed, client_tokens=TOKENS, on_event=hook)
    list(processor.poll(ACTION_TYPE))
    assert names == ["claimed", "reported"] * 2


def test_dropped_events_are_counted(
    service: LocalCodePipeline, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Health has the number, also after the run, and the log when the queue moves again."""
    monkeypatch.setattr(_emit, "_SIZE", 2)
    block = _Block("claimed")
    worker = make_worker(service, on_event=block.call)
    try:
        with running(worker):
            action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
            until(lambda: action.status == "Succeeded" and block.has_begun.is_set())
            later = [service.start_action(ACTION_TYPE, client_id=CLIENT_ID) for _ in range(2)]
            until(lambda: {action.status for action in later} == {"Succeeded"})
            until(lambda: worker.health().dropped_events >= 2)
        dropped = worker.health().dropped_events
        assert dropped >= 2
        assert "were dropped" not in caplog.text
    finally:
        block.may_end.set()
    until(lambda: f"{dropped} events or log records were dropped" in caplog.text)


def test_a_worker_whose_hook_blocks_holds_up_no_other_worker(service: LocalCodePipeline) -> None:
    """Each worker has a thread of its own for events."""
    block, names = _Block("claimed"), list[str]()
    try:
        service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
        make_worker(service, on_event=block.call).run_once()
        service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
        make_worker(service, on_event=lambda event: names.append(event.name)).run_once()
        assert names == ["claimed", "reported"]
    finally:
        block.may_end.set()


# --- the place of an event


@pytest.mark.usefixtures("long_flush")
def test_an_event_has_the_context_variables_of_its_job(service: LocalCodePipeline) -> None:
    """What a handler sets reaches hook and log of its own job, and not the next job."""
    seen: list[tuple[str, tuple[str, str, str]]] = []
    own_jobs: list[str] = []  # the log may also get late records of earlier tests

    def handle(job: AnyJob) -> Succeeded:
        _TRACE.set(job.id)
        return Succeeded()

    def see(place: str, event: JobEvent | None) -> None:
        if event is not None:
            seen.append((event.job_id, (place, event.name, _TRACE.get().replace(event.job_id, "its job"))))

    worker = make_worker(service, handle, concurrency=1, on_event=lambda event: see("hook", event))
    with _logging_to(_Handler(lambda record: see("log", record.__dict__["job_event"]))), running(worker):
        for _ in range(2):
            action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
            until(lambda action=action: action.status == "Succeeded")  # type: ignore[misc]
            own_jobs.append(action.jobs[-1].id)
    one_job = [
        *(("log", "claimed", "none"), ("hook", "claimed", "none")),
        *(("log", "reported", "its job"), ("hook", "reported", "its job")),
    ]
    assert [place for job_id, place in seen if job_id in own_jobs] == one_job * 2


def test_a_processor_has_the_context_variables_of_its_caller(service: LocalCodePipeline) -> None:
    """The trace of a Lambda invocation is there in the hook, in another thread."""
    seen: list[tuple[str, str, bool]] = []

    def hook(event: JobEvent) -> None:
        seen.append((event.name, _TRACE.get(), threading.current_thread() is threading.main_thread()))

    service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    processor: JobProcessor[Any] = JobProcessor(service.client, succeed, client_tokens=TOKENS, on_event=hook)
    token = _TRACE.set("of the caller")
    list(processor.poll(ACTION_TYPE))
    _TRACE.reset(token)
    assert seen == [("claimed", "of the caller", False), ("reported", "of the caller", False)]


def test_a_record_has_time_and_thread_of_its_event(service: LocalCodePipeline) -> None:
    """Although another thread writes it, later."""
    block, records = _Block("claimed"), list[logging.LogRecord]()

    def keep_events(record: logging.LogRecord) -> None:
        if "job_event" in record.__dict__:
            records.append(record)

    before = time.time()
    with _logging_to(_Handler(keep_events)):
        worker = make_worker(service, on_event=block.call)
        action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
        worker.run_once()
        ended = time.time()
        block.may_end.set()
        until(lambda: len(records) == 2)
    assert action.status == "Succeeded"
    for record in records:
        event: JobEvent = record.__dict__["job_event"]
        assert before <= record.created == event.emitted_at <= ended
        assert record.msecs == int(record.created % 1 * 1000)
        # Milliseconds since logging was imported: the second record was written at least a flush too late.
        since_first = record.created - records[0].created
        assert abs(record.relativeCreated - records[0].relativeCreated - since_first * 1000) < 20
        assert record.threadName == f"cp-thirdparty-{event.job_id}"
        assert record.thread != threading.main_thread().ident


def test_events_wait_for_a_thread(service: LocalCodePipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """A system without threads for events: the job is reported, and nothing is called in the job's thread."""
    start = threading.Thread.start
    names: list[str] = []
    has_threads = False

    def refuse(thread: threading.Thread) -> None:
        if thread.name == "cp-thirdparty-events" and not has_threads:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    worker = make_worker(service, on_event=lambda event: names.append(event.name))
    for status in ("Succeeded", "Succeeded"):
        action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
        worker.run_once()
        assert (action.status, names) == (status, [])
    has_threads = True
    worker.run_once()
    assert worker._settings.emitter.flush()
    assert names == ["claimed", "reported"] * 2


# --- fields

_OPTIONAL = {"seconds": None, "failure_type": None, "where": ""}


def _table() -> dict[str, tuple[str, set[str]]]:
    """Read the table of the class: level and fields of each event."""
    rows = re.findall(r"^ *``(\w+)`` +([A-Z]+) +(?:``([\w, ]+)``)? ", JobEvent.__doc__ or "", re.MULTILINE)
    return {name: (level, set(filter(None, fields.split(", ")))) for name, level, fields in rows}


def test_the_table_has_each_event_with_its_level() -> None:
    """The documentation has what the code has."""
    assert {name: level for name, (level, _) in _table().items()} == {
        name: logging.getLevelName(level) for name, level in LEVELS.items()
    }


def _fields(event: JobEvent) -> set[str]:
    return {name for name, default in _OPTIONAL.items() if getattr(event, name) != default}


def _run(service: LocalCodePipeline, handler: Any = succeed, **settings: Any) -> dict[str, JobEvent]:
    """Poll once; return the events, which have the fields of the table and the attributes of their log records."""
    events: list[JobEvent] = []
    records: list[logging.LogRecord] = []
    with _logging_to(_Handler(records.append)):
        make_worker(service, handler, on_event=events.append, **settings).run_once()
    with_events = [record.__dict__ for record in records if record.__dict__["job_event"] is not None]
    assert [fields["job_event"] for fields in with_events] == events
    for event, fields in zip(events, with_events, strict=True):
        level, optional = _table()[event.name]
        assert fields["levelname"] == level
        assert _fields(event) <= optional
        for name in ("job_id", "client_id", "pipeline", "action_execution_id", "failure_type"):
            assert fields[name] == getattr(event, name)
    return {event.name: event for event in events}


@pytest.mark.usefixtures("long_flush")
def test_the_events_of_a_success(service: LocalCodePipeline) -> None:
    """Every event after the details were read has the pipeline; a success has no failure type."""
    context = PipelineContext(pipeline_name="web", action=ActionContext(action_execution_id="run-1"))
    service.start_action(ACTION_TYPE, client_id=CLIENT_ID, pipeline_context=context)
    events = _run(service)
    assert list(events) == ["claimed", "reported"]
    for event in events.values():
        assert (event.pipeline, event.action_execution_id) == ("web", "run-1")
    assert _fields(events["reported"]) == {"seconds"}
    assert events["claimed"].emitted_at <= events["reported"].emitted_at


@pytest.mark.usefixtures("long_flush")
def test_the_events_of_a_failure(service: LocalCodePipeline) -> None:
    """The failure type is in the event of the exception and in that of the report; the stack is in neither's detail."""

    def handle(job: AnyJob) -> Succeeded:
        cause = ArtifactNotFoundError("the job has no input artifact 'A'", job_id=job.id)
        raise RuntimeError(CLIENT_TOKEN) from cause

    service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    events = _run(service, handle)
    event = events["handler_failed"]
    assert event.detail.startswith("ArtifactNotFoundError: the job has no input artifact 'A'")
    assert "\n" not in event.detail
    assert re.fullmatch(r"\S*test_events\.py:\d+ handle", event.where)
    assert event.failure_type is events["reported"].failure_type is FailureType.CONFIGURATION_ERROR
    assert _fields(event) == {"failure_type", "where"}
    assert _fields(events["reported"]) == {"seconds", "failure_type"}


@attrs.frozen
class _Configuration:
    name: str


@pytest.mark.usefixtures("long_flush")
def test_a_wrong_configuration_has_no_place(service: LocalCodePipeline, caplog: pytest.LogCaptureFixture) -> None:
    """No line of the partner leads to the error, and a line of this library helps nobody."""
    service.start_action(ACTION_TYPE, client_id=CLIENT_ID, configuration={"Other": "a"})
    event = _run(service, lambda _: Succeeded(), configuration=_Configuration)["handler_failed"]
    assert event.where == ""
    assert event.detail.startswith("ConfigurationError: ")
    (message,) = (record.getMessage() for record in caplog.records if "handler_failed" in record.getMessage())
    assert ".py" not in message
    assert " at its start" not in message


@pytest.mark.usefixtures("long_flush")
def test_the_failure_type_of_a_failure_that_was_raised_or_returned(service: LocalCodePipeline) -> None:
    """A failure in the partner's words counts as a success of the handler."""
    details = FailureDetails(type=FailureType.REVISION_UNAVAILABLE, message="m")

    def fail(_job: AnyJob) -> Succeeded:
        raise JobFailedError(FailureType.PERMISSION_ERROR, "no rights")

    for handler, failure_type in ((fail, FailureType.PERMISSION_ERROR), (lambda _: details, details.type)):
        service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
        events = _run(service, handler)
        assert list(events) == ["claimed", "reported"]
        assert events["reported"].failure_type is failure_type


@pytest.mark.usefixtures("long_flush")
def test_the_event_of_the_timeout_of_a_coroutine(service: LocalCodePipeline) -> None:
    """It has the failure type of the report, as that of a function."""

    async def handle(_job: AnyJob) -> Succeeded:
        await asyncio.sleep(60)
        return Succeeded()

    service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    events = _run(service, handle, job_timeout=1)
    assert events["timed_out"].failure_type is events["reported"].failure_type is FailureType.SYSTEM_UNAVAILABLE


@pytest.mark.usefixtures("long_flush")
def test_the_events_of_a_timeout(service: LocalCodePipeline) -> None:
    """The failure type is that of the report."""
    clock = ManualClock()

    def handle(job: AnyJob) -> Succeeded:
        clock.advance(61)
        until(lambda: job.cancelled)
        return Succeeded()

    service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    events = _run(service, handle, clock=clock, job_timeout=60)
    assert _fields(events["timed_out"]) == {"failure_type"}
    assert events["timed_out"].failure_type is events["reported"].failure_type is FailureType.SYSTEM_UNAVAILABLE


@pytest.mark.usefixtures("long_flush")
def test_the_events_of_a_result_that_is_not_accepted(service: LocalCodePipeline) -> None:
    """The failure type is that of the result that waits; a later run reports it without reading the details."""
    journal = SharedJournal()
    service.faults.add("PutThirdPartyJobFailureResult", ServerError(), times=None)
    service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    details = FailureDetails(type=FailureType.JOB_FAILED, message="m")
    events = _run(service, lambda _: details, journal=journal, grace=0.1)
    assert events["unsent"].failure_type is FailureType.JOB_FAILED
    assert _fields(events["call_failed"]) == set()
    service.faults.clear()
    events = _run(service, journal=journal)
    assert list(events) == ["recovered", "reported"]
    assert events["reported"].failure_type is FailureType.JOB_FAILED
    assert {(event.pipeline, event.action_execution_id) for event in events.values()} == {(None, None)}


@pytest.mark.usefixtures("long_flush")
def test_an_event_before_the_details_were_read(service: LocalCodePipeline) -> None:
    """Pipeline and execution are not known; the time is."""
    before = time.time()
    service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    (event,) = _run(service, client_tokens={}).values()
    assert (event.name, event.pipeline, event.action_execution_id, event.failure_type) == ("rejected", None, None, None)
    assert before <= event.emitted_at <= time.time()


def test_the_pipeline_of_a_peer_is_cleaned() -> None:
    """Text from outside must not break a line of a log or fill a disk."""
    details = samples.job_details(context=samples.pipeline_context(pipeline_name="a\n\x1b[1m" + "x" * 5000))
    pipeline = _emit.job_fields(ThirdPartyJob(client_id="c", job_id="j"), details)["pipeline"]
    assert pipeline is not None
    assert pipeline.startswith(r"a\n\x1b[1mxxx")
    assert pipeline.isprintable()
    assert len(pipeline) < 1100


@pytest.mark.usefixtures("long_flush")
def test_records_of_handlers_and_of_the_worker_can_be_joined(
    service: LocalCodePipeline, caplog: pytest.LogCaptureFixture
) -> None:
    """They have the same attributes with the same values, so that one format fits both loggers."""
    caplog.set_level(logging.INFO)

    def handle(job: AnyJob) -> Succeeded:
        job.logger.info("at work", extra={"mine": 1})
        return Succeeded()

    service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    make_worker(service, handle).run_once()
    records = {record.name: record.__dict__ for record in caplog.records if record.name.startswith("cp_thirdparty.")}
    names = ("job_id", "client_id", "pipeline", "action_execution_id")
    mine, worker = (records[f"cp_thirdparty.{name}"] for name in ("job", "worker"))
    assert [mine[name] for name in names] == [worker[name] for name in names]
    assert None not in [mine[name] for name in names]
    assert mine["mine"] == 1


def test_a_record_about_no_job_has_the_same_attributes() -> None:
    """A format with a job's fields fits all records, also if the partner's factory sets one of them."""
    factory = logging.getLogRecordFactory()

    def create(*arguments: Any, **more: Any) -> logging.LogRecord:
        record = factory(*arguments, **more)
        record.__dict__["pipeline"] = "of the partner"
        return record

    records: list[logging.LogRecord] = []
    emitter = Emitter()
    logging.setLogRecordFactory(create)
    try:
        with _logging_to(_Handler(records.append)):
            emitter.log(logging.ERROR, "%d of %s", 1, "two")
            until(emitter.flush)
    finally:
        logging.setLogRecordFactory(factory)
    (record,) = records
    assert record.getMessage() == "1 of two"
    fields = ("job_id", "client_id", "pipeline", "action_execution_id", "failure_type", "job_event")
    assert [record.__dict__[name] for name in fields] == [None] * 6


# --- start, stop and end


def _states(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str, object]]:
    return [
        (record.levelname, record.__dict__["worker_state"], record.__dict__.get("is_clean"))
        for record in caplog.records
        if "worker_state" in record.__dict__
    ]


@pytest.mark.usefixtures("long_flush")
def test_start_stop_and_end_are_logged(service: LocalCodePipeline, caplog: pytest.LogCaptureFixture) -> None:
    """At INFO, with the states of `health`; a run of one poll is not logged."""
    caplog.set_level(logging.INFO)
    worker = make_worker(service, grace=7)
    worker.run_once()
    assert _states(caplog) == []
    with running(worker):
        until(lambda: worker.health().seconds_since_poll is not None)
    assert _states(caplog) == [("INFO", "running", None), ("INFO", "draining", None), ("INFO", "stopped", True)]
    assert [record.getMessage() for record in caplog.records if "worker_state" in record.__dict__] == [
        "the worker has started: concurrency 4",
        "the worker stops: 0 running jobs, grace of 7 seconds",
        "the worker has ended: clean",
    ]


@pytest.mark.usefixtures("long_flush")
def test_an_end_that_is_not_clean_is_logged(service: LocalCodePipeline, caplog: pytest.LogCaptureFixture) -> None:
    """A journal that cannot be read and a poll that is refused end a worker, and the log has that."""
    caplog.set_level(logging.INFO)

    class Broken(MemoryJournal):
        def recover(self, scope: object) -> Any:  # noqa: ARG002 - as its protocol has it
            raise JournalError("the journal cannot be read")

    with pytest.raises(JournalError):
        make_worker(service, journal=Broken()).run()
    service.faults.add("PollForThirdPartyJobs", Instead(error_response("ActionTypeNotFoundException", "no")))
    with pytest.raises(ActionTypeNotFoundException):
        make_worker(service).run()
    assert _states(caplog) == [("INFO", "running", None), ("INFO", "stopped", False)] * 2
    assert caplog.text.count("the worker has ended: not clean") == 2
