"""Workers whose handlers run in other processes: nothing secret crosses, and a process that dies loses no job."""

from __future__ import annotations

import os
import pickle
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support import handlers
from support.worker_service import (
    ACTION_TYPE,
    CLIENT_ID,
    CLIENT_TOKEN,
    TOKENS,
    Instead,
    SharedJournal,
    make_worker,
    running,
    succeed,
    until,
)

from cp_thirdparty import (
    FailureDetails,
    FailureType,
    JobStatus,
    JobWorker,
    Succeeded,
    ThirdPartyJob,
    ThirdPartyJobClient,
)
from cp_thirdparty.artifacts._temporary import sweep
from cp_thirdparty.exceptions import JobNotFoundException, TransportError
from cp_thirdparty.testing import LocalCodePipeline, ManualClock, Success
from cp_thirdparty.testing._wire import Response, error_response
from cp_thirdparty.worker import (
    Gone,
    JobEvent,
    JournalState,
    Released,
    Reported,
    _executors,
    _steps,
    tokens,
)
from cp_thirdparty.worker._async_handlers import AsyncHandlers
from cp_thirdparty.worker._start_permit import Permits, take_permit
from cp_thirdparty.worker.runner import HandlerRun, NotStarted, Runner, run_in_executor
from cp_thirdparty.worker.tokens import TokenLookup

# Processes that start in some milliseconds.
_CONTEXT = get_context("forkserver")
_CONTEXT.set_forkserver_preload(["cp_thirdparty.worker._forked"])
_POOL = partial(ProcessPoolExecutor, max_workers=2, mp_context=_CONTEXT)


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_steps, "_FIRST_PAUSE", 0.01)
    monkeypatch.setattr(_steps, "_LONGEST_PAUSE", 0.1)


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalCodePipeline]:
    """Give a running service with one customer, which the environment describes."""
    with LocalCodePipeline(redelivery_delay=1000.0, continuation_delay=0.0) as made:
        for name in made.environment():
            monkeypatch.setenv(name, "")  # so that the test's own changes are taken back
        made.register_client(CLIENT_ID, CLIENT_TOKEN)
        yield made


def _worker(service: LocalCodePipeline, handler: Any, executor: Any = _POOL, **settings: Any) -> JobWorker[Any]:
    every: dict[str, Any] = {"client_tokens": handlers.token_of, "poll_interval": 0.05, "concurrency": 4, **settings}
    connect = partial(handlers.connect_with, service.environment())
    return JobWorker(connect, ACTION_TYPE, handler, executor=executor, **every)


def test_handlers_run_in_other_processes(service: LocalCodePipeline) -> None:
    """Results arrive as those of threads do: success, continuation and failure."""
    actions = [service.start_action(ACTION_TYPE, client_id=CLIENT_ID) for _ in range(4)]
    outcomes = _worker(service, handlers.tell_process).run_once()
    assert len(outcomes) == 4
    for action in actions:
        assert isinstance(action.result, Success)
        assert action.result.execution_details is not None
        assert action.result.execution_details.external_execution_id != str(os.getpid())


@pytest.mark.parametrize(("handler", "status"), [(handlers.in_steps, "Succeeded"), (handlers.fail, "Failed")])
def test_every_result_crosses(service: LocalCodePipeline, handler: Any, status: str) -> None:
    """A continuation goes on, and a failure keeps its words."""
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    with running(_worker(service, handler)):
        until(lambda: action.status == JobStatus(status))


def test_a_process_that_dies_fails_its_job(service: LocalCodePipeline, caplog: pytest.LogCaptureFixture) -> None:
    """The pool is created again, the job is reported, and the next job is done."""
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    worker = _worker(service, handlers.die)
    with running(worker):
        until(lambda: action.status == "Failed")
    assert isinstance(action.result, FailureDetails)
    assert action.result.type is FailureType.SYSTEM_UNAVAILABLE
    assert "executor_failed job=" in caplog.text


def test_an_idempotent_handler_runs_again_after_a_death(service: LocalCodePipeline, tmp_path: Path) -> None:
    """Each job that a dead process had is run again in a new pool."""
    actions = [service.start_action(ACTION_TYPE, client_id=CLIENT_ID) for _ in range(3)]
    handler = partial(handlers.die_once, directory=str(tmp_path))
    with running(_worker(service, handler, is_idempotent=True, max_crashes=10)):
        until(lambda: all(action.status == "Succeeded" for action in actions))


def test_a_job_that_kills_each_process_takes_no_other_with_it(service: LocalCodePipeline, tmp_path: Path) -> None:
    """The jobs that were beside it run again, one at a time, and only the one that ends its process alone is failed."""
    actions = [service.start_action(ACTION_TYPE, client_id=CLIENT_ID) for _ in range(4)]
    (tmp_path / actions[1].jobs[0].id).touch()
    handler = partial(handlers.die_for, directory=str(tmp_path))
    with running(_worker(service, handler, is_idempotent=True, max_crashes=2)):
        until(lambda: all(action.status in ("Succeeded", "Failed") for action in actions))
    assert [action.status for action in actions] == ["Succeeded", "Failed", "Succeeded", "Succeeded"]


def test_a_job_that_kills_each_process_is_failed(service: LocalCodePipeline) -> None:
    """After so many deaths even an idempotent handler is not run again."""
    events: list[JobEvent] = []
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    with running(_worker(service, handlers.die, is_idempotent=True, max_crashes=2, on_event=events.append)):
        until(lambda: action.status == "Failed")
    assert [event.name for event in events].count("executor_failed") == 2


def test_a_job_that_no_process_can_read_is_released(service: LocalCodePipeline) -> None:
    """Its handler never began, so no failure is reported: it is tried again until there is no time left."""
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    tokens = partial(handlers.token_in_this_process, process_id=os.getpid())
    events: list[JobEvent] = []
    worker = _worker(service, succeed, client_tokens=tokens, on_event=events.append, grace=0.1)
    (outcome,) = worker.run_once()
    assert outcome == Released(job=outcome.job, error="LookupError")
    assert action.status == "InProgress"
    assert [(event.name, event.detail) for event in events][1] == ("executor_failed", "LookupError")


def test_a_handler_that_never_began_is_not_a_failure_of_the_customer(service: LocalCodePipeline) -> None:
    """It waits until CodePipeline has ended the job, and no failure is reported; the end of the run is not clean."""
    clock = ManualClock()
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    tokens = partial(handlers.token_in_this_process, process_id=os.getpid())
    events: list[tuple[str, str]] = []
    worker = _worker(
        *(service, succeed),
        client_tokens=tokens,
        clock=clock,
        job_timeout=60,
        on_event=lambda event: events.append((event.name, event.detail)),
    )
    with running(worker) as it:
        until(lambda: ("executor_failed", "LookupError") in events)
        clock.advance(61)
        until(lambda: bool(worker.health().stalled))
        assert "gone" not in {name for name, _ in events}
        clock.advance(3600)
        until(lambda: "gone" in {name for name, _ in events})
    assert (action.status, it.is_clean) == ("InProgress", False)


def test_a_handler_elsewhere_that_takes_too_long_is_given_up(service: LocalCodePipeline) -> None:
    """The job is failed at its deadline, and one that has not begun is cancelled."""
    service.register_client("client-2", "t")
    actions = [service.start_action(ACTION_TYPE, client_id=CLIENT_ID) for _ in range(3)]
    made: list[_Held] = []
    clock = ManualClock()

    def make() -> Executor:
        made.append(_Held(clock, jobs=3))
        return made[-1]

    outcomes = _worker(service, succeed, make, job_timeout=60, clock=clock).run_once()
    assert [type(outcome) for outcome in outcomes] == [Reported] * 3
    assert [action.status for action in actions] == ["Failed"] * 3
    until(lambda: all(future.cancelled() for future in made[0].futures))
    assert made[0].was_shut_down


def test_a_loss_after_the_deadline_is_nobodys(service: LocalCodePipeline) -> None:
    """A job that was given up is not run again when its executor dies later."""
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    clock = ManualClock()
    made = _Held(clock, begins=True)
    worker = _worker(service, succeed, lambda: made, job_timeout=60, clock=clock, is_idempotent=True)
    with running(worker):
        until(lambda: action.status == "Failed")
        made.futures[0].set_exception(MemoryError())
        until(lambda: worker.health().overdue == ())
    assert len(made.sent) == 1


class _Held(Executor):
    """An executor that keeps what it was sent; when it has all jobs, more time passes than the 60 seconds of a job."""

    def __init__(self, clock: ManualClock, *, begins: bool = False, jobs: int = 1) -> None:
        self.clock = clock
        self.jobs = jobs
        self.begins = begins
        self.futures: list[Future[Any]] = []
        self.sent: list[bytes] = []
        self.was_shut_down = False

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **more: Any) -> Future[Any]:
        self.sent.append(pickle.dumps((function, arguments, more)))
        self.futures.append(Future())
        if self.begins:
            self.futures[-1].set_running_or_notify_cancel()
        if len(self.futures) >= self.jobs:
            self.clock.advance(61)
        return self.futures[-1]

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002, ARG002 - as its parent
        self.was_shut_down = True


def test_nothing_secret_crosses(service: LocalCodePipeline) -> None:
    """What is sent holds the job's ids; no token, credential or configuration value."""
    clock = ManualClock()
    made = _Held(clock)
    service.start_action(ACTION_TYPE, client_id=CLIENT_ID, configuration={"ApiKey": "xMARKERx-value"})
    (outcome,) = _worker(service, succeed, lambda: made, job_timeout=60, clock=clock).run_once()
    (sent,) = made.sent
    assert outcome.job.job_id.encode() in sent
    assert b"xMARKERx" not in sent


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"handler": lambda _: Succeeded()}, "handler: cannot go to another process"),
        ({"client_tokens": TOKENS}, "client_tokens: cannot go to another process .*; give a callable"),
        ({"artifacts": lambda *_, **__: None}, "artifacts: cannot go to another process"),
        ({"connect": lambda: None}, r"connect: cannot go to another process .*ThirdPartyJobClient\.create"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_cannot_cross_is_reported_at_the_start(settings: dict[str, Any], problem: str) -> None:
    """The error names the argument and what to do instead."""
    every: dict[str, Any] = {
        "connect": ThirdPartyJobClient.create,
        "action_type_id": ACTION_TYPE,
        "handler": succeed,
        "client_tokens": handlers.token_of,
        "executor": _POOL,
        **settings,
    }
    with pytest.raises(TypeError, match=f"^{problem}") as caught:
        JobWorker(**every)
    assert CLIENT_TOKEN not in str(caught.value)
    assert caught.value.__context__ is None


def test_a_pool_that_another_thread_has_shut_down_is_created_again(service: LocalCodePipeline) -> None:
    """Two jobs that meet a broken pool make one new one."""
    pools: list[Executor] = []

    def make() -> Executor:
        pools.append(_POOL())
        return pools[-1]

    with running(_worker(service, handlers.die, make)):
        for _ in range(2):
            actions = [service.start_action(ACTION_TYPE, client_id=CLIENT_ID) for _ in range(4)]
            until(lambda: all(action.status == "Failed" for action in actions))  # noqa: B023 - it is used at once
    assert 2 <= len(pools) <= 9


def test_an_executor_that_cannot_be_created_is_tried_again(service: LocalCodePipeline) -> None:
    """A factory that raises after its first executor has died costs no job."""
    pools: list[Executor | None] = []

    def make() -> Executor:
        pools.append(None)
        if len(pools) == 2:
            raise OSError("no")
        return _POOL()

    events: list[JobEvent] = []
    with running(_worker(service, handlers.die, make, on_event=events.append)):
        failing = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
        until(lambda: failing.status == "Failed")
        second = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
        until(lambda: second.status == "Failed")
    details = [event.detail for event in events if event.name == "executor_failed"]
    assert details == ["BrokenProcessPool", "OSError", "BrokenProcessPool"]


@pytest.mark.parametrize("made", [None, 5, ThreadPoolExecutor], ids=["nothing", "a number", "a class"])
def test_a_factory_that_creates_no_executor_is_reported_at_the_start(service: LocalCodePipeline, made: Any) -> None:
    """No job is claimed, because no handler could run."""
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    with pytest.raises(TypeError, match="executor: must return an Executor, not "):
        _worker(service, handlers.tell_process, lambda: made).run_once()
    assert action.status == "Queued"


def test_a_factory_that_creates_no_executor_any_more_loses_no_job(
    service: LocalCodePipeline, caplog: pytest.LogCaptureFixture
) -> None:
    """The job waits until the factory creates one again."""
    made: list[Any] = [_POOL(), None, _POOL()]
    made[0].shutdown()
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    _worker(service, handlers.tell_process, lambda: made.pop(0)).run_once()
    assert (action.status, made) == ("Succeeded", [])
    assert "executor_failed" in caplog.text


class _Returns(Executor):
    """An executor that runs nothing, and returns the same for each task."""

    def __init__(self, returned: Any) -> None:
        self._returned = returned
        self.tasks = 0

    def submit(self, _function: Callable[..., Any], /, *_arguments: Any, **_more: Any) -> Any:
        self.tasks += 1
        return self._returned


def _finished(result: object) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_result(result)
    return future


@pytest.mark.parametrize("is_idempotent", [False, True])
@pytest.mark.parametrize(
    "returned",
    [None, "no future", _finished(None), _finished(object())],
    ids=["nothing", "no future", "no result", "another result"],
)
def test_an_executor_that_returns_something_else_leaves_no_job_without_a_result(
    service: LocalCodePipeline, returned: Any, *, is_idempotent: bool
) -> None:
    """The handler may have run there, so the job counts as one whose process has died."""
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    executor = _Returns(returned)
    worker = _worker(
        *(service, handlers.tell_process, lambda: executor), is_idempotent=is_idempotent, max_crashes=2, job_timeout=30
    )
    worker.run_once()
    assert isinstance(action.result, FailureDetails)
    assert action.result.message.startswith("The action's worker ended unexpectedly during job")
    assert executor.tasks == (2 if is_idempotent else 1)


class _BadShutdown(ProcessPoolExecutor):
    """An executor of the partner's whose shutdown raises, after it has shut down."""

    def __init__(self) -> None:
        super().__init__(max_workers=1, mp_context=_CONTEXT)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - as its parent
        super().shutdown(wait, cancel_futures=cancel_futures)
        raise ZeroDivisionError


def test_an_executor_may_raise_when_it_is_shut_down(
    service: LocalCodePipeline, caplog: pytest.LogCaptureFixture
) -> None:
    """The death of its process is reported all the same, and the run ends."""
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    _worker(service, handlers.die, _BadShutdown).run_once()
    assert action.status == "Failed"
    assert "the executor's shutdown raised ZeroDivisionError" in caplog.text


class _HangingShutdown(_BadShutdown):
    """An executor of the partner's whose shutdown returns when the test allows it."""

    may_return = threading.Event()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - as its parent
        assert self.may_return.wait(60)
        ProcessPoolExecutor.shutdown(self, wait, cancel_futures=cancel_futures)


def test_an_executor_may_hang_when_it_is_shut_down(
    service: LocalCodePipeline, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run ends without it."""
    monkeypatch.setattr(_executors, "_SHUTDOWN_SECONDS", 0.01)
    try:
        assert _worker(service, handlers.tell_process, _HangingShutdown).run_once() == ()
    finally:
        _HangingShutdown.may_return.set()
    assert "the executor's shutdown has not returned after 0 seconds" in caplog.text


class _Refuses(Executor):
    """An executor that begins nothing."""

    def submit(self, _function: Callable[..., Any], /, *_arguments: Any, **_more: Any) -> Future[Any]:
        raise OSError("no process")


def test_a_job_whose_handler_never_began_is_left_to_the_next_worker(service: LocalCodePipeline) -> None:
    """At the end of the grace it is not failed, although a handler may not run again: it never ran."""
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    events: list[str] = []
    journal = SharedJournal()
    worker = _worker(
        *(service, handlers.fail, _Refuses),
        journal=journal,
        grace=0.0,
        on_event=lambda event: events.append(event.name),
    )
    with running(worker) as started:
        until(lambda: "executor_failed" in events)
    assert (started.is_clean, events[-1]) == (False, "released")
    assert [entry.state for entry in journal.jobs()] == [JournalState.CLAIMED]
    (outcome,) = _worker(service, succeed, None, journal=journal).run_once()
    assert isinstance(outcome, Reported)
    assert action.status == "Succeeded"


class _Unknown:
    """The time in which only the executor knows that the handler has not begun."""

    def __init__(self) -> None:
        self.has_begun = threading.Event()
        self.is_decided = threading.Event()

    def pass_by(self) -> None:
        """Let a worker decide the job, which would be wrong."""
        self.has_begun.set()
        assert not self.is_decided.wait(0.2)


class _LateFuture(Future[Any]):
    """A future that takes long to return what it has."""

    def __init__(self, unknown: _Unknown) -> None:
        super().__init__()
        self._unknown = unknown
        self.set_result(NotStarted(error=None, error_name="OSError"))

    def result(self, timeout: float | None = None) -> Any:
        self._unknown.pass_by()
        return super().result(timeout)


class _RefusesLate(Executor):
    """An executor that takes long to find out that it can begin nothing."""

    def __init__(self, unknown: _Unknown, *, has_future: bool) -> None:
        self._unknown = unknown
        self._has_future = has_future

    def submit(self, _function: Callable[..., Any], /, *_arguments: Any, **_more: Any) -> Future[Any]:
        if self._has_future:
            return _LateFuture(self._unknown)
        self._unknown.pass_by()
        raise OSError("no process")


@pytest.mark.parametrize("has_future", [False, True])
@pytest.mark.parametrize("seconds", [0.0, 61.0])
def test_an_executor_that_is_about_to_report_a_failure_is_waited_for(
    service: LocalCodePipeline, monkeypatch: pytest.MonkeyPatch, seconds: float, *, has_future: bool
) -> None:
    """The worker stops, or the timeout passes, while only the executor knows that the handler has not begun."""
    monkeypatch.setattr(_executors, "_REPORT_SECONDS", 30.0)
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    clock, unknown, events = ManualClock(), _Unknown(), list[str]()

    def note(event: JobEvent) -> None:
        events.append(event.name)
        if event.name == "timed_out":
            unknown.is_decided.set()

    executor = partial(_RefusesLate, unknown, has_future=has_future)
    settings: dict[str, Any] = {"journal": SharedJournal(), "job_timeout": 60, "grace": 0.0, "on_event": note}
    worker = _worker(service, handlers.fail, executor, clock=clock, **settings)
    with running(worker) as started:
        assert unknown.has_begun.wait(30)
        clock.advance(seconds)
        if seconds:
            until(lambda: worker.health().stalled == (action.jobs[0].id,))
    assert (started.is_clean, events[-1]) == (False, "released")
    assert "timed_out" not in events
    assert action.status == "InProgress"


class _CancelOnce(ThreadPoolExecutor):
    """An executor that another thread shuts down before its first job begins."""

    has_cancelled = False

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **more: Any) -> Future[Any]:
        if self.has_cancelled:
            return super().submit(function, *arguments, **more)
        self.has_cancelled = True
        future: Future[Any] = Future()
        future.cancel()
        return future


def test_a_job_that_was_cancelled_before_it_began_is_run(service: LocalCodePipeline) -> None:
    """It counts no crash, although its handler may not run again."""
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    events: list[JobEvent] = []
    _worker(service, handlers.fail, _CancelOnce, on_event=events.append).run_once()
    assert isinstance(action.result, FailureDetails)
    assert action.result.message == "no"
    assert [event.detail for event in events if event.name == "executor_failed"] == ["CancelledError"]


class _CancelsRunning(Executor):
    """An executor like Dask's, whose client was closed while a job ran: its future is cancelled."""

    def submit(self, _function: Callable[..., Any], /, *_arguments: Any, **_more: Any) -> Future[Any]:
        future: Future[Any] = Future()
        threading.Timer(0.01, future.cancel).start()
        return future


def test_a_job_that_was_cancelled_while_it_may_run_is_not_run_again(service: LocalCodePipeline) -> None:
    """Only executors of the standard library never cancel a job that runs."""
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    _worker(service, handlers.tell_process, _CancelsRunning).run_once()
    assert isinstance(action.result, FailureDetails)
    assert action.result.type is FailureType.SYSTEM_UNAVAILABLE


def test_a_job_that_has_ended_before_a_process_reads_it_is_gone(service: LocalCodePipeline) -> None:
    """CodePipeline returns that to the other process, and the worker tries no more."""
    service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    # The worker's own look comes first, then that of the other process.
    service.faults.add("GetThirdPartyJobDetails", _Serve())
    service.faults.add("GetThirdPartyJobDetails", Instead(error_response("JobNotFoundException", "no")))
    (outcome,) = _worker(service, succeed).run_once()
    assert outcome == Gone(job=outcome.job, error="JobNotFoundException")


class _Serve:
    """No fault at all."""

    def play(self, serve: Callable[[], Response]) -> Response:
        return serve()


def test_threads_are_the_default(service: LocalCodePipeline) -> None:
    """Without an executor a handler sees this process."""
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    seen: list[str] = []

    def handle(_job: Any) -> Succeeded:
        seen.append(threading.current_thread().name)
        return Succeeded()

    make_worker(service, handle).run_once()
    assert seen == [f"cp-thirdparty-{action.jobs[0].id}"]


# --- a process that cannot prepare a job


class _PartnersError(TransportError):
    """A class that only the child may know."""


def _look_up(failure: BaseException) -> Callable[[str], str]:
    def tokens(_client_id: str) -> str:
        raise failure

    return tokens


@pytest.mark.parametrize(
    ("failure", "kept"),
    [
        (TransportError("no connection", job_id="j", is_retry_safe=True), TransportError),
        (_PartnersError("no connection"), None),
        (KeyError("xMARKERx"), None),
        (SystemExit("xMARKERx"), None),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_job_that_cannot_be_prepared_is_not_started(
    monkeypatch: pytest.MonkeyPatch, failure: BaseException, kept: type[BaseException] | None
) -> None:
    """An error of this library travels with its facts; of any other exception only the name of its class does."""
    nothing: Any = None
    runner: Runner[Any] = Runner(
        connect=lambda: nothing, handler=succeed, configuration=None, tokens=TokenLookup(_look_up(failure))
    )
    monkeypatch.setattr(pickle, "loads", lambda _: runner)
    started = run_in_executor(type(failure).__name__.encode(), ThirdPartyJob(client_id="c", job_id="j"), 0.0)
    monkeypatch.undo()
    assert isinstance(started, NotStarted)
    received = pickle.loads(pickle.dumps(started))
    assert received.error_name == type(failure).__name__
    assert (None if received.error is None else type(received.error)) is kept
    assert received.error is None or vars(received.error) == vars(failure)
    assert "xMARKERx" not in repr(received)


def test_a_process_without_the_token_does_not_start_a_job(service: LocalCodePipeline) -> None:
    """There is no exception then, but the same result."""
    runner = Runner[Any](
        connect=handlers.connect_to(service),
        handler=succeed,
        configuration=None,
        tokens=TokenLookup(partial(handlers.token_in_this_process, process_id=0)),
    )
    started = run_in_executor(pickle.dumps(runner), ThirdPartyJob(client_id=CLIENT_ID, job_id="j"), 0.0)
    assert started == NotStarted(error=None, error_name="LookupError")


class _HangingStore:
    """A token store that hangs, and whose cache hangs too."""

    def __init__(self) -> None:
        self.release = threading.Event()
        self.calls = 0

    def __call__(self, _client_id: str) -> str:
        self.calls += 1
        self.release.wait(60)
        return CLIENT_TOKEN

    def refresh(self, _client_id: str) -> None:
        """Hang."""
        self.calls += 1
        self.release.wait(60)


def test_a_look_up_that_hangs_in_a_process_starts_no_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """The job does not wait until its timeout, and the next jobs of the client add no thread that hangs."""
    store = _HangingStore()
    nothing: Any = None
    runner: Runner[Any] = Runner(
        connect=lambda: nothing, handler=succeed, configuration=None, tokens=TokenLookup(store)
    )
    monkeypatch.setattr(tokens, "MAX_SECONDS", 0.2)
    monkeypatch.setattr(pickle, "loads", lambda _: runner)
    offer = ThirdPartyJob(client_id=CLIENT_ID, job_id="j")
    started = [run_in_executor(b"a look-up that hangs", offer, 0.0) for _ in range(3)]
    store.release.set()
    assert started == [NotStarted(error=None, error_name="TimeoutError")] * 3
    assert store.calls == 1


def test_a_process_without_an_event_loop_does_not_ask_whether_the_handler_may_begin(
    service: LocalCodePipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A handler that was let begin counts as begun, so all that may fail before it comes first."""

    def fail(_coroutines: AsyncHandlers) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(AsyncHandlers, "start", fail)
    job_id = service.start_action(ACTION_TYPE, client_id=CLIENT_ID).jobs[0].id
    runner = Runner[Any](
        connect=handlers.connect_to(service),
        handler=handlers.sleep_once,
        configuration=None,
        tokens=TokenLookup(handlers.token_of),
    )
    asked: list[bool] = []

    def may_begin() -> bool:
        asked.append(True)
        return True

    offer = ThirdPartyJob(client_id=CLIENT_ID, job_id=job_id)
    started = run_in_executor(pickle.dumps(runner), offer, 0.0, may_begin)
    assert (started, asked) == (NotStarted(error=None, error_name="OSError"), [])


def test_details_that_cannot_be_read_keep_their_error(service: LocalCodePipeline) -> None:
    """The worker can decide by the error whether another process may read them."""
    runner = Runner[Any](
        connect=handlers.connect_to(service),
        handler=succeed,
        configuration=None,
        tokens=TokenLookup(handlers.token_of),
    )
    started = run_in_executor(pickle.dumps(runner), ThirdPartyJob(client_id=CLIENT_ID, job_id="no such job"), 0.0)
    assert isinstance(started, NotStarted)
    assert isinstance(started.error, JobNotFoundException)


def test_a_refused_token_is_refreshed_in_its_process(service: LocalCodePipeline) -> None:
    """The worker's process refreshes its own copy of a token source only."""
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    handlers.CachedTokens.cached = "old"
    runner = pickle.dumps(
        Runner[Any](
            connect=handlers.connect_to(service),
            handler=succeed,
            configuration=None,
            tokens=TokenLookup(handlers.CachedTokens()),
        )
    )
    offer = ThirdPartyJob(client_id=CLIENT_ID, job_id=action.jobs[0].id)
    deadline = time.time() + 60
    started = run_in_executor(runner, offer, deadline)
    assert isinstance(started, NotStarted)
    assert started.error_name == "InvalidClientTokenException"
    assert isinstance(run_in_executor(runner, offer, deadline), HandlerRun)


def test_a_pool_with_an_old_token_is_reported(service: LocalCodePipeline, caplog: pytest.LogCaptureFixture) -> None:
    """The job waits, and health and log name the reason: processes of a pool keep their environment."""
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    tokens = partial(handlers.old_token_elsewhere, process_id=os.getpid())
    worker = _worker(service, succeed, client_tokens=tokens, grace=0.1)
    with running(worker):
        until(lambda: worker.health().stalled == (action.jobs[0].id,))
        assert action.status == "InProgress"
    reason = "InvalidClientTokenException: CodePipeline refuses the client token in the process of its handler"
    assert f"client={CLIENT_ID} {reason}" in caplog.text


# --- pools: which handlers have begun


_ONE_PROCESS = partial(ProcessPoolExecutor, max_workers=1, mp_context=_CONTEXT)


def test_a_job_that_waits_in_a_pool_is_not_failed(service: LocalCodePipeline, tmp_path: Path) -> None:
    """A handler hangs in the only process: later jobs never began, and the customer reads no failure."""
    clock = ManualClock()
    actions = [service.start_action(ACTION_TYPE, client_id=CLIENT_ID) for _ in range(3)]
    handler = partial(handlers.hold, directory=str(tmp_path))
    events: list[str] = []
    settings: dict[str, Any] = {"on_event": lambda event: events.append(event.name), "clock": clock}
    worker = _worker(service, handler, _ONE_PROCESS, concurrency=3, job_timeout=60, **settings)
    with running(worker) as it:
        until((tmp_path / "begun").exists)
        until(lambda: events.count("claimed") == 3)
        clock.advance(61)
        until(lambda: len(worker.health().stalled) == 2)
        until(lambda: sum(action.status == "Failed" for action in actions) == 1)
        clock.advance(3600)
        until(lambda: worker.health().in_flight == 0)
    assert sorted(action.status for action in actions) == ["Failed", "InProgress", "InProgress"]
    assert it.is_clean is False
    process_id = (tmp_path / "begun").read_text(encoding="utf-8").split()[0]
    until(lambda: not Path(f"/proc/{process_id}/cmdline").exists())  # or the interpreter would wait for it


def test_a_job_that_waits_beside_one_that_dies_is_run(service: LocalCodePipeline, tmp_path: Path) -> None:
    """It never began, so it is neither lost nor a suspect, although its handler may not run again."""
    actions = [service.start_action(ACTION_TYPE, client_id=CLIENT_ID) for _ in range(3)]
    (tmp_path / actions[0].jobs[0].id).touch()
    handler = partial(handlers.die_or_hold, directory=str(tmp_path))
    (tmp_path / "release").touch()
    with running(_worker(service, handler, _ONE_PROCESS)):
        until(lambda: all(action.status in ("Failed", "Succeeded") for action in actions))
    assert [action.status for action in actions] == ["Failed", "Succeeded", "Succeeded"]


def test_a_pool_whose_initializer_fails_claims_no_more(service: LocalCodePipeline, tmp_path: Path) -> None:
    """No handler ever began: no job is failed, and all are done as soon as the initializer works."""
    path = tmp_path / "works"
    pool = partial(_ONE_PROCESS, initializer=handlers.fail_unless, initargs=(str(path),))
    actions = [service.start_action(ACTION_TYPE, client_id=CLIENT_ID) for _ in range(4)]
    worker = _worker(service, handlers.tell_process, pool, concurrency=2)
    with running(worker) as it:
        until(lambda: worker.health().executor_error == "BrokenProcessPool")
        time.sleep(0.3)
        assert sorted(action.status for action in actions) == ["InProgress", "InProgress", "Queued", "Queued"]
        path.touch()
        until(lambda: all(action.status == "Succeeded" for action in actions))
    assert it.is_clean


def test_a_pool_whose_processes_cannot_connect_claims_no_more(service: LocalCodePipeline, tmp_path: Path) -> None:
    """The same: no handler can begin."""
    path = tmp_path / "works"
    connect = partial(handlers.connect_if, service.environment(), os.getpid(), str(path))
    actions = [service.start_action(ACTION_TYPE, client_id=CLIENT_ID) for _ in range(4)]
    worker: JobWorker[Any] = JobWorker(
        connect,
        ACTION_TYPE,
        handlers.tell_process,
        client_tokens=handlers.token_of,
        poll_interval=0.05,
        concurrency=2,
        executor=_POOL,
    )
    with running(worker):
        until(lambda: worker.health().executor_error == "OSError")
        path.touch()
        until(lambda: all(action.status == "Succeeded" for action in actions))
        assert worker.health().executor_error is None


def test_a_long_handler_shows_that_handlers_can_be_started(
    service: LocalCodePipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker goes on claiming when it begins, and not when it ends, also where nothing reports its start."""
    monkeypatch.setattr(_executors, "_TICK", 0.02)
    monkeypatch.setattr(_executors, "_START_SECONDS", 0.1)
    for make in (_FailsOnce, _RemoteFailsOnce):
        directory = tmp_path / make.__name__
        directory.mkdir()
        service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
        worker = _worker(service, partial(handlers.hold, directory=str(directory)), make)
        with running(worker):
            until((directory / "begun").exists)
            until(lambda: worker.health().executor_error is None)  # noqa: B023 - it is used at once
            assert worker.health().in_flight == 1
            (directory / "release").touch()


class _FailsOnce(ThreadPoolExecutor):
    """An executor that cannot begin its first task."""

    has_failed = False

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **more: Any) -> Future[Any]:
        if not type(self).has_failed:
            type(self).has_failed = True
            raise RuntimeError("can't start new thread")
        return super().submit(function, *arguments, **more)


class _RemoteFailsOnce(Executor):
    """The same, of another machine for all that the worker knows."""

    has_failed = False

    def __init__(self) -> None:
        self.pool = ThreadPoolExecutor()

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **more: Any) -> Future[Any]:
        if not type(self).has_failed:
            type(self).has_failed = True
            raise RuntimeError("no machine")
        return self.pool.submit(function, *arguments, **more)


def test_without_a_place_for_files_a_job_counts_as_begun(
    service: LocalCodePipeline, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The worker does not know better, and must not run a handler twice."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    _worker(service, handlers.tell_process, _CancelOnce).run_once()
    assert isinstance(action.result, FailureDetails)
    assert action.result.type is FailureType.SYSTEM_UNAVAILABLE


_NOTES: set[str] = set()
_PROBLEMS: list[Exception | None] = []
_SUBMITTED: list[tuple[Any, ...]] = []  # arguments


class _Event:
    """Stands for Dask's, whose scheduler has the notes."""

    def __init__(self, name: str) -> None:
        self._name = name

    def is_set(self) -> bool:
        problem = _PROBLEMS.pop(0) if _PROBLEMS else None
        if problem is not None:
            raise problem
        return self._name in _NOTES

    def set(self) -> None:
        _NOTES.add(self._name)

    def clear(self) -> None:
        _NOTES.discard(self._name)


class _Cluster(Executor):
    """
    An executor of Dask.

    Args:
        repeats: How often it runs each task of a job again, as Dask does when the process dies that has the result.
    """

    __module__ = "distributed.cfexecutor"

    def __init__(self, repeats: int = 0) -> None:
        self._repeats = repeats
        self._pool = ThreadPoolExecutor(1)

    def submit(self, function: Any, /, *arguments: Any, **parameters: Any) -> Any:
        _SUBMITTED.append(arguments)

        def run() -> Any:
            for _ in range(self._repeats if len(arguments) > 1 else 0):
                function(*arguments, **parameters)
            return function(*arguments, **parameters)

        return self._pool.submit(run)

    def shutdown(self, *_: Any, **__: Any) -> None:
        self._pool.shutdown()


@pytest.mark.parametrize("is_idempotent", [False, True])
def test_a_task_that_dask_repeats_calls_its_handler_once(
    service: LocalCodePipeline, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, is_idempotent: bool
) -> None:
    """The customer reads that the worker was lost, unless the handler may run again; the scheduler keeps no note."""
    monkeypatch.setitem(sys.modules, "distributed", SimpleNamespace(Event=_Event))
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    handler = partial(handlers.note_job, path=str(tmp_path / "begun"))
    settings = {"executor": partial(_Cluster, 1), "is_idempotent": is_idempotent, "max_crashes": 2}
    with running(_worker(service, handler, **settings)):
        until(lambda: action.status == "Failed")
    assert isinstance(action.result, FailureDetails)
    assert action.result.message.startswith("The action's worker ended unexpectedly during job")
    assert len((tmp_path / "begun").read_text(encoding="utf-8").splitlines()) == 1 + is_idempotent


_MAY_BEGIN: list[Exception | None] = [None]
_UNREACHABLE: list[Exception | None] = [TimeoutError()]


@pytest.mark.parametrize(
    ("problems", "is_known"),
    [
        pytest.param([], False, id="no client token"),
        pytest.param(_MAY_BEGIN + _UNREACHABLE, True, id="no scheduler"),
        pytest.param(_MAY_BEGIN + _UNREACHABLE * 2, True, id="no scheduler, for the worker too"),
    ],
)
def test_a_repeated_task_that_fails_before_its_note_calls_no_handler_again(
    service: LocalCodePipeline,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    *,
    problems: list[Exception | None],
    is_known: bool,
) -> None:
    """The worker treats the handler as begun."""
    monkeypatch.setitem(sys.modules, "distributed", SimpleNamespace(Event=_Event))
    monkeypatch.setitem(globals(), "_PROBLEMS", list(problems))
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    handler = partial(handlers.note_job, path=str(tmp_path / "begun"))
    tokens = handlers.token_of if is_known else partial(handlers.token_before, path=str(tmp_path / "begun"))
    with running(_worker(service, handler, partial(_Cluster, 1), client_tokens=tokens)):
        until(lambda: action.status == "Failed")
    assert len((tmp_path / "begun").read_text(encoding="utf-8").splitlines()) == 1


class _Unreachable(_Cluster):
    """A cluster that accepts nothing, or does nothing, after the task of a job has ended."""

    __module__ = _Cluster.__module__

    def __init__(self, *, is_closed: bool) -> None:
        super().__init__()
        self._is_closed = is_closed

    def submit(self, function: Any, /, *arguments: Any, **parameters: Any) -> Any:
        if len(arguments) > 1:
            return super().submit(function, *arguments, **parameters)
        if self._is_closed:
            raise RuntimeError("closed")
        return Future()


@pytest.mark.parametrize("is_closed", [True, False])
def test_a_handler_may_have_begun_if_nobody_answers(
    service: LocalCodePipeline, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, is_closed: bool
) -> None:
    """Its task reports that it was not called, and the cluster cannot confirm this: it is not called again."""
    monkeypatch.setitem(sys.modules, "distributed", SimpleNamespace(Event=_Event))
    monkeypatch.setitem(globals(), "_PROBLEMS", [TimeoutError()])
    monkeypatch.setattr(_executors, "_TICK", 0.02)
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    handler = partial(handlers.note_job, path=str(tmp_path / "begun"))
    with running(_worker(service, handler, partial(_Unreachable, is_closed=is_closed), job_timeout=2.0)):
        until(lambda: action.status == "Failed")
    assert isinstance(action.result, FailureDetails)
    words = "ended unexpectedly" if is_closed else "took longer than 2 seconds"
    assert words in action.result.message
    assert not (tmp_path / "begun").exists()


def test_notes_are_removed_later(service: LocalCodePipeline, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A repeated task may still read the note of a task that has ended, so a later task removes it."""
    monkeypatch.setitem(sys.modules, "distributed", SimpleNamespace(Event=_Event))
    monkeypatch.setitem(globals(), "_NOTES", set())
    actions = [service.start_action(ACTION_TYPE, client_id=CLIENT_ID) for _ in range(2)]
    handler = partial(handlers.note_job, path=str(tmp_path / "begun"))
    with running(_worker(service, handler, _Cluster)):
        until(lambda: all(action.status == "Succeeded" for action in actions))
        assert len(_NOTES) == 2
        monkeypatch.setattr(_executors, "_NOTE_SECONDS", 0)
        actions.append(service.start_action(ACTION_TYPE, client_id=CLIENT_ID))
        until(lambda: actions[2].status == "Succeeded" and not _NOTES)


def test_a_job_waits_for_a_scheduler_that_cannot_be_reached(
    service: LocalCodePipeline, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its handler has not begun, so it is started again, and a repetition of the first task cannot call it."""
    monkeypatch.setitem(sys.modules, "distributed", SimpleNamespace(Event=_Event))
    monkeypatch.setitem(globals(), "_PROBLEMS", [TimeoutError()])
    monkeypatch.setitem(globals(), "_SUBMITTED", [])
    events: list[JobEvent] = []
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    handler = partial(handlers.note_job, path=str(tmp_path / "begun"))
    with running(_worker(service, handler, _Cluster, on_event=events.append)):
        until(lambda: action.status == "Succeeded")
    assert [event.detail for event in events if event.name == "executor_failed"] == ["TimeoutError"]
    assert len((tmp_path / "begun").read_text(encoding="utf-8").splitlines()) == 1
    may_begin = next(arguments[-1] for arguments in _SUBMITTED if len(arguments) > 1)
    assert not may_begin()


def test_a_process_may_not_begin_a_job_that_was_taken_back(service: LocalCodePipeline, tmp_path: Path) -> None:
    """Its permit is gone."""
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    runner = Runner[Any](
        connect=handlers.connect_to(service),
        handler=handlers.die,
        configuration=None,
        tokens=TokenLookup(handlers.token_of),
    )
    offer = ThirdPartyJob(client_id=CLIENT_ID, job_id=action.jobs[0].id)
    with service.client() as client:
        client.poll_for_third_party_jobs(ACTION_TYPE)
    permit = partial(take_permit, str(tmp_path / "gone"))
    started = run_in_executor(pickle.dumps(runner), offer, time.time() + 60, permit)
    assert started == NotStarted(error=None, error_name="the handler was not called in time")


def test_the_jobs_of_a_process_share_one_event_loop(service: LocalCodePipeline) -> None:
    """Coroutines may share what belongs to a loop, whichever runner they have."""
    outcomes: list[object] = []
    for handler in (handlers.describe_loop, partial(handlers.describe_loop)):
        for _ in range(2):
            service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
        outcomes.extend(_worker(service, handler, partial(ThreadPoolExecutor, 2)).run_once())
    results = [outcome.result for outcome in outcomes if isinstance(outcome, Reported)]
    assert len(results) == 4
    assert len(set(results)) == 1


@pytest.mark.slow
def test_a_coroutine_in_another_process_is_cancelled(service: LocalCodePipeline) -> None:
    """Its process runs further jobs."""
    late = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    worker = _worker(service, handlers.sleep_once, partial(_POOL, max_workers=1), job_timeout=5.0)
    with running(worker):
        until(lambda: late.status == "Failed")
        other = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
        until(lambda: other.status == "Succeeded")


def test_the_files_of_tasks_are_in_a_temporary_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """So the sweep of the next worker removes them if this one is killed."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    permits = Permits()
    first, second = permits.create(), permits.create()
    assert first is not None
    assert second is not None
    ((name, reason),) = sweep(tmp_path).kept
    assert (reason, Path(first).parent, Path(second).parent) == ("its process is alive", *[tmp_path / name] * 2)
    assert take_permit(first)
    assert not take_permit(first)
    permits.remove()
    assert list(tmp_path.iterdir()) == []
