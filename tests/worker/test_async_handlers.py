"""The event loop of asynchronous handlers: what is shared, cancelled, detected and survived."""

from __future__ import annotations

import asyncio
import functools
import gc
import logging
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import ContextVar
from types import SimpleNamespace
from typing import Any

import attrs
import pytest
from support.worker_service import ACTION_TYPE, CLIENT_ID, AnyJob, make_worker, running, until

from cp_thirdparty import FailureDetails, Succeeded
from cp_thirdparty.testing import LocalCodePipeline
from cp_thirdparty.worker import JobEvent, Reported, _async_handlers, _steps
from cp_thirdparty.worker._async_handlers import AsyncHandlers
from cp_thirdparty.worker._coroutines import HandlerTimeoutError, is_async_callable

_VARIABLE: ContextVar[str] = ContextVar("_VARIABLE", default="unset")


@pytest.fixture
def loop() -> Iterator[AsyncHandlers]:
    """Give an event loop that checks often, and counts as blocked only after a jump of its clock."""
    created = AsyncHandlers(tick=0.01, blocked_after=60.0, hangs_after=0.05)
    yield created
    created.close()


@pytest.fixture
def passed(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Give the seconds that the clock of the library is ahead of the system's."""
    seconds: list[float] = []
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + sum(seconds))
    monkeypatch.setattr(_async_handlers, "time", clock)
    return seconds


@attrs.define
class _Waiting:
    """A thread that waits for a coroutine, as that of a job does."""

    loop: AsyncHandlers
    awaitable: Awaitable[Any]
    seconds_left: float = 30.0
    cancel_timeout: float | None = None
    cancelled: threading.Event = attrs.field(factory=threading.Event)
    value: Any = None
    failure: BaseException | None = None
    thread: threading.Thread = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.thread = threading.Thread(target=self._wait)
        self.thread.start()

    def _wait(self) -> None:
        try:
            self.value = _run(self.loop, self.awaitable, self.seconds_left, self.cancel_timeout, self.cancelled)
        except BaseException as failure:  # noqa: BLE001 - the test looks at it
            self.failure = failure

    def join(self) -> BaseException | None:
        """Wait for its end, and return what it raised."""
        self.thread.join(30)
        assert not self.thread.is_alive()
        return self.failure


def _run(
    loop: AsyncHandlers,
    awaitable: Awaitable[Any],
    seconds_left: float = 30.0,
    cancel_timeout: float | None = None,
    cancelled: threading.Event | None = None,
) -> Any:
    event = threading.Event() if cancelled is None else cancelled
    return loop.run(awaitable, "job-1", cancelled=event, seconds_left=seconds_left, cancel_timeout=cancel_timeout)


async def _sleep(began: threading.Event, ended: threading.Event | None = None) -> None:
    began.set()
    try:
        await asyncio.sleep(60)
    finally:
        if ended is not None:
            ended.set()


async def _refuse_to_end(began: threading.Event, release: threading.Event) -> str:
    began.set()
    while not release.is_set():
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(0.01)
    return "late"


def _start_sleeping(loop: AsyncHandlers, **settings: Any) -> tuple[_Waiting, threading.Event]:
    began, ended = threading.Event(), threading.Event()
    waiting = _Waiting(loop, _sleep(began, ended), **settings)
    assert began.wait(30)
    return waiting, ended


# --- one loop


def test_all_coroutines_share_one_loop(loop: AsyncHandlers) -> None:
    """What belongs to a loop, such as a lock or a session of aiohttp, works in each coroutine."""

    async def find() -> tuple[int, int]:
        return id(asyncio.get_running_loop()), threading.get_ident()

    places = {_run(loop, find()) for _ in range(3)}
    with ThreadPoolExecutor(2) as threads:
        places.update(threads.map(lambda _: _run(loop, find()), range(4)))
    assert len(places) == 1
    assert places.pop()[1] != threading.get_ident()


def test_a_coroutine_has_the_context_of_its_thread(loop: AsyncHandlers) -> None:
    """Trace ids that the thread of a job has are those of its coroutine; changes stay in the coroutine."""

    async def change() -> str:
        before = _VARIABLE.get()
        _VARIABLE.set("changed")
        return before

    token = _VARIABLE.set("of the job")
    assert _run(loop, change()) == "of the job"
    assert _VARIABLE.get() == "of the job"
    _VARIABLE.reset(token)


def test_any_awaitable_is_awaited(loop: AsyncHandlers) -> None:
    """A handler may return an object that is not a coroutine."""

    class Ready:
        def __await__(self) -> Generator[Any, Any, str]:
            yield from asyncio.sleep(0).__await__()
            return "ready"

    assert _run(loop, Ready()) == "ready"


@pytest.mark.parametrize("error", [KeyError, SystemExit, KeyboardInterrupt, asyncio.CancelledError])
@pytest.mark.parametrize("is_in_task", [False, True])
def test_an_exception_costs_only_its_own_coroutine(
    loop: AsyncHandlers, error: type[BaseException], *, is_in_task: bool
) -> None:
    """The thread of the job gets it; coroutines of other jobs go on."""

    async def fail() -> None:
        raise error

    async def fail_in_task() -> None:
        await asyncio.create_task(fail())

    other, _ = _start_sleeping(loop)
    with pytest.raises(error):
        _run(loop, fail_in_task() if is_in_task else fail())
    assert other.thread.is_alive()
    other.cancelled.set()
    assert isinstance(other.join(), HandlerTimeoutError)


@pytest.mark.parametrize(
    ("handler", "is_async"),
    [
        (_sleep, True),
        (functools.partial(functools.partial(_sleep), ended=None), True),
        (type("_Object", (), {"__call__": _refuse_to_end})(), True),
        (_start_sleeping, False),
        (max, False),
        (None, False),
    ],
    ids=["function", "partial", "object", "not a coroutine", "built-in", "None"],
)
def test_asynchronous_handlers_are_recognised(handler: object, *, is_async: bool) -> None:
    """Functions, partials and objects; what returns an awaitable is known only after its call."""
    assert is_async_callable(handler) is is_async


# --- cancellation


def test_a_result_that_is_not_wanted_cancels_the_coroutine(loop: AsyncHandlers) -> None:
    """Its ``finally`` blocks run."""
    waiting, ended = _start_sleeping(loop)
    waiting.cancelled.set()
    assert isinstance(waiting.join(), HandlerTimeoutError)
    assert ended.is_set()


def test_a_deadline_cancels_the_coroutine(loop: AsyncHandlers, passed: list[float]) -> None:
    """Its ``finally`` blocks run."""
    waiting, ended = _start_sleeping(loop, seconds_left=60.0)
    passed.append(61.0)
    assert isinstance(waiting.join(), HandlerTimeoutError)
    assert ended.is_set()


def test_the_time_of_a_coroutine_begins_before_it_runs(
    loop: AsyncHandlers, passed: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop may run it before the thread of the job goes on."""
    began = threading.Event()
    submit = _async_handlers.HandlerLoop.submit

    def submit_and_wait(handlers: _async_handlers.HandlerLoop, call: _async_handlers._Call) -> None:
        submit(handlers, call)
        assert began.wait(30)
        passed.append(61.0)

    monkeypatch.setattr(_async_handlers.HandlerLoop, "submit", submit_and_wait)
    with pytest.raises(HandlerTimeoutError):
        _run(loop, _sleep(began), seconds_left=60.0)


def test_a_deadline_that_is_over_begins_nothing(loop: AsyncHandlers) -> None:
    """The coroutine is closed without a warning."""
    cancelled = threading.Event()
    cancelled.set()
    began = threading.Event()
    loop.start()
    with pytest.raises(HandlerTimeoutError):
        _run(loop, _sleep(began), seconds_left=-1)


def test_a_result_after_the_cancellation_counts(loop: AsyncHandlers, passed: list[float]) -> None:
    """A handler may return `Continued` when it is cancelled."""

    async def go_on() -> str:
        passed.append(61.0)
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            return "continued"
        return ""

    assert _run(loop, go_on(), seconds_left=60.0) == "continued"


def test_an_exception_after_the_cancellation_is_a_timeout(loop: AsyncHandlers, passed: list[float]) -> None:
    """The customer reads the cause, and not what failed because of it."""

    async def fail() -> None:
        passed.append(61.0)
        try:
            await asyncio.sleep(60)
        finally:
            raise KeyError

    with pytest.raises(HandlerTimeoutError):
        _run(loop, fail(), seconds_left=60.0)


def test_a_coroutine_that_goes_on_is_logged_and_waited_for(
    loop: AsyncHandlers, caplog: pytest.LogCaptureFixture
) -> None:
    """The log has the job and the line; the thread of the job stays taken until the end."""
    began, release = threading.Event(), threading.Event()
    waiting = _Waiting(loop, _refuse_to_end(began, release))
    assert began.wait(30)
    waiting.cancelled.set()
    until(lambda: "still runs" in caplog.text)
    assert waiting.thread.is_alive()
    release.set()
    waiting.join()
    assert waiting.value == "late"
    (message,) = [text for record in caplog.records if "still runs" in (text := record.getMessage())]
    assert message.startswith("job=job-1 the coroutine of its handler still runs ")
    assert "test_async_handlers.py" in message
    assert "_refuse_to_end" in message


def test_a_coroutine_that_goes_on_is_left(
    loop: AsyncHandlers, passed: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    """A thread that has no time waits no longer than its cancel timeout."""
    began, release = threading.Event(), threading.Event()
    waiting = _Waiting(loop, _refuse_to_end(began, release), seconds_left=60.0, cancel_timeout=0.02)
    assert began.wait(30)
    passed.append(61.0)
    assert isinstance(waiting.join(), HandlerTimeoutError)
    assert "still runs" in caplog.text
    release.set()


def test_ctrl_c_in_the_waiting_thread_cancels_the_coroutine(
    loop: AsyncHandlers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A processor waits in the main thread."""

    def interrupt(_: object) -> None:
        assert began.wait(30)
        raise KeyboardInterrupt

    began, ended = threading.Event(), threading.Event()
    monkeypatch.setattr(_async_handlers._BlockDetector, "check", interrupt)
    with pytest.raises(KeyboardInterrupt):
        _run(loop, _sleep(began, ended))
    assert ended.wait(30)


# --- a loop that is blocked


def test_a_blocked_loop_is_logged_once(
    loop: AsyncHandlers, passed: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    """The log has the line that blocks, and how long it took."""
    began, release = threading.Event(), threading.Event()

    async def block() -> None:
        began.set()
        release.wait(30)

    def is_logged() -> bool:
        passed.append(61.0)
        return "has been blocked" in caplog.text

    other, _ = _start_sleeping(loop, seconds_left=1e9)
    waiting = _Waiting(loop, block(), seconds_left=1e9)
    assert began.wait(30)
    until(is_logged)
    release.set()
    waiting.join()
    until(lambda: "was blocked" in caplog.text)
    other.cancelled.set()
    other.join()
    messages = [record.getMessage() for record in caplog.records]
    assert [message.split(" for ")[0] for message in messages] == [
        "the event loop of the handlers has been blocked",
        "the event loop of the handlers was blocked",
    ]
    assert "test_async_handlers.py" in messages[0]
    assert " block > " in messages[0]
    assert "asyncio" not in messages[0]


def test_the_end_of_a_thread_is_an_unknown_place() -> None:
    """The thread of the loop may end while another one looks at it."""
    loop = asyncio.new_event_loop()
    assert _async_handlers._BlockDetector(loop, None, 0, 0, print)._find_place() == "an unknown place"
    loop.close()


# --- the end of a loop


def test_a_loop_ends_with_all_that_runs_in_it(loop: AsyncHandlers) -> None:
    """Tasks that a handler has left are cancelled, and generators are closed; the next use starts another loop."""
    cancelled, closed = threading.Event(), threading.Event()
    kept: list[Any] = []

    async def generate() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            closed.set()

    async def leave_task() -> threading.Thread:
        kept.extend([asyncio.create_task(_sleep(threading.Event(), cancelled)), generate()])
        await anext(kept[1])
        return threading.current_thread()

    thread: threading.Thread = _run(loop, leave_task())
    loop.close()
    assert [cancelled.is_set(), closed.is_set(), thread.is_alive()] == [True, True, False]
    assert _run(loop, asyncio.sleep(0, "again")) == "again"


def test_a_thread_is_left_behind_if_a_coroutine_hangs(
    loop: AsyncHandlers, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The end of a worker waits a short time; the coroutine may still end."""
    monkeypatch.setattr(_async_handlers, "_CLOSE_SECONDS", 0.05)
    began, release = threading.Event(), threading.Event()
    waiting = _Waiting(loop, _refuse_to_end(began, release))
    assert began.wait(30)
    loop.close()
    assert "the event loop of the handlers still runs" in caplog.text
    release.set()
    waiting.join()
    assert waiting.value == "late"


def test_a_loop_that_ends_takes_no_coroutine(loop: AsyncHandlers) -> None:
    """The thread of a job does not wait without limit for a loop that has ended."""
    loop.start()
    current = loop._current
    assert current is not None
    current.stop()
    with pytest.raises(RuntimeError, match="the event loop of the handlers has ended"):
        current.run(asyncio.sleep(0), "j", cancelled=threading.Event(), seconds_left=30, cancel_timeout=None)
    current.close()


def test_a_loop_ends_with_its_owner() -> None:
    """A processor need not be closed."""
    owner = AsyncHandlers()
    owner.start()
    assert owner._current is not None
    thread = owner._current.thread
    del owner
    gc.collect()
    thread.join(30)
    assert not thread.is_alive()


async def _stop_loop() -> str:
    asyncio.get_running_loop().stop()
    await asyncio.sleep(0)
    return "goes on"


def test_a_handler_cannot_stop_the_loop(loop: AsyncHandlers) -> None:
    """The loop goes on."""
    assert _run(loop, _stop_loop()) == "goes on"


def test_a_loop_that_a_handler_breaks_is_replaced(loop: AsyncHandlers, caplog: pytest.LogCaptureFixture) -> None:
    """The threads that wait for it go on, and the next job has another loop."""

    async def break_loop() -> None:
        asyncio.get_running_loop()._selector.close()  # type: ignore[attr-defined]
        await asyncio.sleep(0)
        await asyncio.sleep(60)

    assert isinstance(_Waiting(loop, break_loop()).join(), Exception)
    assert "the event loop of the handlers raised" in caplog.text
    until(lambda: loop._current is None or not loop._current.thread.is_alive())
    assert _run(loop, asyncio.sleep(0, "again")) == "again"


def test_a_factory_of_tasks_that_raises_fails_the_job(loop: AsyncHandlers) -> None:
    """The thread of the job does not wait for a task that was never created."""

    async def install() -> None:
        asyncio.get_running_loop().set_task_factory(lambda *_, **__: 1 / 0)  # type: ignore[arg-type]

    _run(loop, install())
    with pytest.raises(ZeroDivisionError):
        _run(loop, asyncio.sleep(0))


def test_a_forked_process_has_a_loop_of_its_own(loop: AsyncHandlers) -> None:
    """The thread of the parent's loop is not there, and that loop is not touched."""
    loop.start()
    parent = loop._current
    assert parent is not None
    thread, parent.thread = parent.thread, threading.Thread()  # as a fork leaves it
    assert _run(loop, asyncio.sleep(0, "here")) == "here"
    assert loop._current is not parent
    assert not parent.loop.is_closed()
    parent.thread = thread
    parent.close()


# --- in a worker


def _start(service: LocalCodePipeline) -> Any:
    return service.start_action(ACTION_TYPE, client_id=CLIENT_ID)


class _Clock:
    """A clock that a test can advance."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.seconds


def test_jobs_share_what_belongs_to_a_loop(service: LocalCodePipeline) -> None:
    """A session that the first job creates is used by the others, in all polls of a worker."""
    created: list[asyncio.Queue[str]] = []

    async def handle(job: AnyJob) -> Succeeded:
        if not created:
            created.append(asyncio.Queue(1))
        await created[0].put(job.id)  # a queue belongs to the first loop in which it waits
        await asyncio.sleep(0.01)
        await created[0].get()
        return Succeeded()

    worker = make_worker(service, handle)
    actions = [_start(service) for _ in range(4)]
    worker.run_once()
    actions.append(_start(service))
    worker.run_once()
    assert [action.status for action in actions] == ["Succeeded"] * 5


def test_a_coroutine_is_cancelled_at_the_timeout_of_its_job(service: LocalCodePipeline) -> None:
    """The job is reported once, its ``finally`` blocks run, and its slot is free again."""
    began, ended = threading.Event(), threading.Event()
    clock = _Clock()
    events: list[JobEvent] = []

    async def handle(job: AnyJob) -> Succeeded:
        if job.continuation_token is None and not ended.is_set():
            await _sleep(began, ended)
        return Succeeded()

    action = _start(service)
    worker = make_worker(service, handle, concurrency=1, job_timeout=60, clock=clock, on_event=events.append)
    with running(worker):
        assert began.wait(30)
        clock.seconds = 61.0
        until(lambda: action.status == "Failed")
        assert ended.wait(30)
        other = _start(service)
        until(lambda: other.status == "Succeeded")
    assert isinstance(action.result, FailureDetails)
    assert action.result.message == "The job took longer than 60 seconds."
    names = [event.name for event in events if event.job_id == action.jobs[0].id]
    assert names == ["claimed", "timed_out", "reported"]


def test_a_coroutine_that_goes_on_keeps_its_slot(service: LocalCodePipeline, caplog: pytest.LogCaptureFixture) -> None:
    """Health has its job as overdue; the other slot goes on."""
    began, release = threading.Event(), threading.Event()
    clock = _Clock()

    async def handle(_job: AnyJob) -> Succeeded:
        if not began.is_set():
            await _refuse_to_end(began, release)
        return Succeeded()

    action = _start(service)
    worker = make_worker(service, handle, concurrency=2, job_timeout=60, clock=clock)
    worker._coroutines = AsyncHandlers(tick=0.01, hangs_after=0.02)
    with running(worker):
        assert began.wait(30)
        clock.seconds = 61.0
        until(lambda: worker.health().overdue == (action.jobs[0].id,))
        assert action.status == "Failed"
        until(lambda: "still runs" in caplog.text)
        other = _start(service)
        until(lambda: other.status == "Succeeded")
        release.set()
        until(lambda: worker.health().overdue == ())


def test_jobs_end_at_their_timeout_although_the_loop_is_blocked(
    service: LocalCodePipeline, caplog: pytest.LogCaptureFixture
) -> None:
    """A handler that waits without ``await`` costs no other job its report."""
    began, is_blocked, release = threading.Event(), threading.Event(), threading.Event()
    clock = _Clock()

    async def handle(job: AnyJob) -> Succeeded:
        if job.id == patient.jobs[0].id:
            await _sleep(began)
        else:
            is_blocked.set()
            release.wait(30)
        return Succeeded()

    patient = _start(service)
    events: list[JobEvent] = []
    worker = make_worker(service, handle, concurrency=2, job_timeout=60, clock=clock, on_event=events.append)
    worker._coroutines = AsyncHandlers(tick=0.01, blocked_after=0.02)
    with running(worker):
        assert began.wait(30)
        blocking = _start(service)
        assert is_blocked.wait(30)
        until(lambda: [event.name for event in events] == ["claimed", "claimed"])
        clock.seconds = 61.0
        until(lambda: (patient.status, blocking.status) == ("Failed", "Failed"))
        until(lambda: "has been blocked" in caplog.text)
        release.set()


def test_a_forced_stop_cancels_coroutines(service: LocalCodePipeline) -> None:
    """The job is reported as failed, its ``finally`` blocks run, and the thread of the loop ends."""
    began, ended = threading.Event(), threading.Event()
    threads: list[threading.Thread] = []

    async def handle(_job: AnyJob) -> Succeeded:
        threads.append(threading.current_thread())
        await _sleep(began, ended)
        return Succeeded()

    action = _start(service)
    with running(make_worker(service, handle, grace=0)):
        assert began.wait(30)
    assert action.status == "Failed"
    assert ended.is_set()
    assert not threads[0].is_alive()


def test_a_job_waits_for_a_loop_that_cannot_start(
    service: LocalCodePipeline, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The limits of the machine are not the customer's failure."""
    failures = [OSError("too many open files"), RuntimeError("can't start new thread")]
    new_event_loop = asyncio.new_event_loop

    def create() -> asyncio.AbstractEventLoop:
        if failures:
            raise failures.pop()
        return new_event_loop()

    async def handle(_job: AnyJob) -> Succeeded:
        return Succeeded()

    monkeypatch.setattr(_steps, "_FIRST_PAUSE", 0.001)
    monkeypatch.setattr(asyncio, "new_event_loop", create)
    _start(service)
    (outcome,) = make_worker(service, handle).run_once()
    assert isinstance(outcome, Reported)
    assert outcome.result == Succeeded()
    assert [record.getMessage().split(" ")[0] for record in caplog.records if record.levelno == logging.ERROR] == [
        "handlers",
        "executor_failed",
        "executor_failed",
    ]


def test_health_reports_that_no_loop_can_be_started(
    service: LocalCodePipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker claims nothing until the claimed job has its loop."""
    new_event_loop, may_start = asyncio.new_event_loop, threading.Event()

    def create() -> asyncio.AbstractEventLoop:
        if not may_start.is_set():
            raise OSError("too many open files")
        return new_event_loop()

    async def handle(_job: AnyJob) -> Succeeded:
        return Succeeded()

    monkeypatch.setattr(_steps, "_FIRST_PAUSE", 0.01)
    monkeypatch.setattr(asyncio, "new_event_loop", create)
    first = _start(service)
    worker = make_worker(service, handle)
    with running(worker):
        until(lambda: worker.health().executor_error == "OSError")
        second = _start(service)
        polls = sum(request.operation_name == "PollForThirdPartyJobs" for request in service.requests)
        until(lambda: not worker.health().is_ready)
        time.sleep(0.3)
        assert (first.status, second.status) == ("InProgress", "Queued")
        assert sum(request.operation_name == "PollForThirdPartyJobs" for request in service.requests) <= polls + 1
        may_start.set()
        until(lambda: first.status == second.status == "Succeeded")
        assert worker.health().executor_error is None


def test_a_thread_that_cannot_start_leaves_no_loop(loop: AsyncHandlers, monkeypatch: pytest.MonkeyPatch) -> None:
    """The descriptors of the loop are closed."""

    def fail(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", fail)
    with pytest.raises(RuntimeError, match="new thread"):
        loop.start()
