"""An asynchronous handler that blocks the event loop: other jobs are not failed, not claimed, and not forgotten."""

from __future__ import annotations

import asyncio
import functools
import inspect
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import attrs
import pytest
from support import handlers
from support.worker_service import (
    ACTION_TYPE,
    CLIENT_ID,
    TOKENS,
    AnyJob,
    SharedJournal,
    make_worker,
    running,
    succeed,
    until,
)

from cp_thirdparty import FailureDetails, FailureType, JobWorker, Succeeded, ThirdPartyJob
from cp_thirdparty.exceptions import WorkerStuckError
from cp_thirdparty.testing import LocalCodePipeline, samples
from cp_thirdparty.worker import HandedBack, JobEvent, JobProcessor, JournalState, Reported, _poller, _recovery, _steps
from cp_thirdparty.worker._async_handlers import AsyncHandlers
from cp_thirdparty.worker._claimed_job import ClaimedJob
from cp_thirdparty.worker._coroutines import BLOCKED, HandlerNotBegunError, begins_in_loop
from cp_thirdparty.worker._emit import Emitter
from cp_thirdparty.worker._engines import ThreadEngine
from cp_thirdparty.worker._journal_values import read_jobs
from cp_thirdparty.worker._start_permit import WITHDRAWN
from cp_thirdparty.worker.runner import Runner

_TOO_LATE = "The action's worker could not start the job in time."


class _Clock:
    """A clock that a test sets forward."""

    seconds = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.seconds


class _Blocking:
    """A handler whose first call blocks the event loop until a test releases it."""

    def __init__(self) -> None:
        self.is_blocked, self.release = threading.Event(), threading.Event()
        self.begun: list[str] = []
        self.events: list[JobEvent] = []

    async def handle(self, job: AnyJob) -> Succeeded:
        """Block the loop in the first call, and succeed."""
        self.begun.append(job.id)
        if len(self.begun) == 1:
            self.is_blocked.set()
            assert self.release.wait(120)
        return Succeeded()


@pytest.fixture
def blocking() -> Iterator[_Blocking]:
    """Give a handler that blocks the loop, and release it at the end."""
    handler = _Blocking()
    yield handler
    handler.release.set()


def _start(service: LocalCodePipeline, **settings: Any) -> Any:
    return service.start_action(ACTION_TYPE, client_id=CLIENT_ID, **settings)


def _worker(
    service: LocalCodePipeline, blocking: _Blocking, *, blocked_after: float = 0.3, **settings: Any
) -> JobWorker[Any]:
    worker = make_worker(
        service,
        blocking.handle,
        **{"concurrency": 2, "job_timeout": 60, "on_event": blocking.events.append, **settings},
    )
    worker._coroutines = AsyncHandlers(tick=0.01, blocked_after=blocked_after)
    return worker


def _is_claimed(action: Any, blocking: _Blocking) -> bool:
    job_id = action.jobs[0].id
    return any(event.name == "claimed" and event.job_id == job_id for event in blocking.events)


# --- a worker


def test_the_handler_of_a_waiting_job_begins_when_the_loop_is_free(
    service: LocalCodePipeline, blocking: _Blocking
) -> None:
    """Until then health has the error, which ends without another job."""
    _start(service)
    worker = _worker(service, blocking)
    with running(worker):
        assert blocking.is_blocked.wait(30)
        other = _start(service)
        until(lambda: worker.health().executor_error == BLOCKED)
        assert not worker.health().is_ready
        assert other.status != "Failed"
        blocking.release.set()
        until(lambda: worker.health().executor_error is None)
        until(lambda: other.status == "Succeeded")


def test_a_job_whose_handler_cannot_begin_is_not_failed(service: LocalCodePipeline, blocking: _Blocking) -> None:
    """Only the job that blocks the loop fails at its timeout; the handler of the other never begins after its own."""
    first = _start(service)
    clock = _Clock()
    worker = _worker(service, blocking, blocked_after=3.0, clock=clock, grace=30.0, concurrency=3)
    with running(worker):
        assert blocking.is_blocked.wait(30)
        other = _start(service)
        until(lambda: _is_claimed(other, blocking))
        clock.seconds = 61.0
        until(lambda: first.status == "Failed")
        until(lambda: worker.health().stalled == (other.jobs[0].id,))
        assert other.status == "InProgress"
        blocking.release.set()
        until(lambda: worker.health().executor_error is None)
        third = _start(service)
        until(lambda: third.status == "Succeeded")
        clock.seconds = 3_700.0
        until(lambda: worker.health().in_flight == 0)
    assert blocking.begun == [first.jobs[0].id, third.jobs[0].id]


def test_nothing_is_claimed_while_the_loop_is_blocked(service: LocalCodePipeline, blocking: _Blocking) -> None:
    """A job that was offered before is handed back, and a new job is not requested."""
    worker: JobWorker[Any]
    looked_up: list[str] = []

    def look_up(client_id: str) -> str:
        looked_up.append(client_id)
        if len(looked_up) == 2:
            until(lambda: worker.health().executor_error is not None)
        return TOKENS[client_id]

    _start(service)
    worker = _worker(service, blocking, client_tokens=look_up, concurrency=3)
    with running(worker):
        assert blocking.is_blocked.wait(30)
        offered = _start(service)
        until(lambda: "handed_back" in {event.name for event in blocking.events})
        until(lambda: (worker.health().seconds_since_poll or 0.0) > 1.0)
        later = _start(service)
        until(lambda: (worker.health().seconds_since_poll or 0.0) > 2.0)
        assert (offered.status, later.status) == ("Dispatched", "Queued")
        blocking.release.set()
        until(lambda: later.status == "Succeeded")


@pytest.mark.parametrize("concurrency", [2, 5])
def test_a_worker_whose_loop_stays_blocked_ends(
    service: LocalCodePipeline, blocking: _Blocking, concurrency: int
) -> None:
    """A free slot cannot be used either.  A later process runs the job whose handler has not begun."""
    first = _start(service)
    journal, clock = SharedJournal(), _Clock()
    worker = _worker(
        service, blocking, blocked_after=3.0, clock=clock, journal=journal, grace=1.0, concurrency=concurrency
    )
    with running(worker) as run:
        assert blocking.is_blocked.wait(30)
        other = _start(service)
        until(lambda: _is_claimed(other, blocking))
        clock.seconds = 61.0
        run.join()
    assert isinstance(run.failure, WorkerStuckError)
    assert set(run.failure.job_ids) == {first.jobs[0].id, other.jobs[0].id}
    assert (first.status, other.status) == ("Failed", "InProgress")
    assert [entry.state for entry in read_jobs(journal, unfinished_only=True)] == [JournalState.CLAIMED]
    blocking.release.set()
    with running(make_worker(service, blocking.handle, journal=journal)):
        until(lambda: other.status == "Succeeded")
    assert blocking.begun == [first.jobs[0].id, other.jobs[0].id]


def test_claims_continue_when_the_loop_is_free_although_a_slot_was_freed_before(
    service: LocalCodePipeline, blocking: _Blocking, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The slot was freed while nothing could be claimed, and no other slot is freed later."""
    monkeypatch.setattr(_poller, "_CHECK_INTERVAL", 1_000.0)
    monkeypatch.setattr(_recovery, "_INTERVAL", 1_000.0)
    worker: JobWorker[Any]
    is_done = threading.Event()
    looked_up: list[str] = []

    def look_up(client_id: str) -> str:
        looked_up.append(client_id)
        if len(looked_up) == 2:
            until(lambda: worker.health().executor_error is not None)
        return TOKENS[client_id]

    async def handle(job: AnyJob) -> Succeeded:
        await blocking.handle(job)
        if job.id == blocking.begun[0]:
            await asyncio.to_thread(is_done.wait, 60)
        return Succeeded()

    _start(service)
    worker = _worker(service, blocking, client_tokens=look_up, job_timeout=1_000)
    worker._runner = attrs.evolve(worker._runner, handler=handle)
    with running(worker):
        assert blocking.is_blocked.wait(30)
        _start(service)
        until(lambda: "handed_back" in {event.name for event in blocking.events})
        later = _start(service)
        blocking.release.set()
        until(lambda: later.status == "Succeeded")
        is_done.set()


def test_code_before_an_asynchronous_handler_that_hangs_counts_as_the_handler(service: LocalCodePipeline) -> None:
    """A configuration class may hang for a value of a customer: the job fails, and its slot does not stay silent."""
    action = _start(service, configuration={"Name": "a value"})
    clock = _Clock()
    worker = _worker(service, _Blocking(), configuration=_Configuration, clock=clock, concurrency=1, grace=0.2)
    with running(worker) as run:
        assert _CONVERTING.wait(30)
        clock.seconds = 61.0
        run.join()
        _RELEASE.set()
    assert isinstance(run.failure, WorkerStuckError)
    assert action.status == "Failed"
    assert action.result == FailureDetails(
        type=FailureType.SYSTEM_UNAVAILABLE, message="The job took longer than 60 seconds."
    )


_CONVERTING, _RELEASE = threading.Event(), threading.Event()


def _convert(value: str) -> str:
    _CONVERTING.set()
    assert _RELEASE.wait(60)
    return value


@attrs.frozen
class _Configuration:
    Name: str = attrs.field(converter=_convert)


def test_a_loop_that_a_task_without_a_job_blocks_ends_the_worker(service: LocalCodePipeline) -> None:
    """The task outlives the handler that has created it, so no job is named."""
    release = threading.Event()

    async def handle(_job: AnyJob) -> Succeeded:
        tasks.append(asyncio.get_running_loop().call_later(0.2, release.wait, 120))
        return Succeeded()

    tasks: list[Any] = []
    action = _start(service)
    worker = make_worker(service, handle, grace=0.5)
    worker._coroutines = AsyncHandlers(tick=0.01, blocked_after=0.3)
    with running(worker) as run:
        until(lambda: action.status == "Succeeded")
        run.join()
        release.set()
    assert isinstance(run.failure, WorkerStuckError)
    assert run.failure.job_ids == ()
    assert str(run.failure) == "each slot of the worker has a handler that hangs"


def test_a_worker_without_a_shared_journal_reports_jobs_that_could_not_begin(
    service: LocalCodePipeline, blocking: _Blocking
) -> None:
    """No later process could run them."""
    _start(service)
    clock = _Clock()
    worker = _worker(service, blocking, clock=clock, grace=1.0)
    with running(worker) as run:
        assert blocking.is_blocked.wait(30)
        other = _start(service)
        until(lambda: _is_claimed(other, blocking))
        clock.seconds = 61.0
        run.join()
    assert isinstance(run.failure, WorkerStuckError)
    message = "The action's worker was stopped."
    assert other.result == FailureDetails(type=FailureType.SYSTEM_UNAVAILABLE, message=message)


def test_a_job_whose_handler_has_not_begun_is_released_at_a_stop(
    service: LocalCodePipeline, blocking: _Blocking
) -> None:
    """Another worker runs it, even if its handler must not run twice, because the handler has not run once."""
    first = _start(service)
    journal = SharedJournal()
    worker = _worker(service, blocking, grace=0.2, journal=journal)
    with running(worker):
        assert blocking.is_blocked.wait(30)
        other = _start(service)
        until(lambda: _is_claimed(other, blocking))
    blocking.release.set()
    assert (first.status, other.status) == ("Failed", "InProgress")
    with running(make_worker(service, blocking.handle, journal=journal)):
        until(lambda: other.status == "Succeeded")
    assert blocking.begun == [first.jobs[0].id, other.jobs[0].id]


def _pool_worker(service: LocalCodePipeline, blocking: _Blocking, **settings: Any) -> JobWorker[Any]:
    _BLOCKING["handler"] = blocking
    return JobWorker(
        functools.partial(handlers.connect_with, service.environment()),
        *(ACTION_TYPE, _handle),
        client_tokens=handlers.token_of,
        poll_interval=0.05,
        executor=functools.partial(ThreadPoolExecutor, 3),
        concurrency=3,
        job_timeout=60,
        on_event=blocking.events.append,
        **settings,
    )


def _wait_until_read(service: LocalCodePipeline, jobs: int) -> None:
    """Wait until the worker and its pool have read the details of so many jobs."""
    until(lambda: [record.operation_name for record in service.requests].count("GetThirdPartyJobDetails") == 2 * jobs)


def test_a_pool_of_threads_does_not_fail_a_job_whose_handler_cannot_begin(
    service: LocalCodePipeline, blocking: _Blocking
) -> None:
    """Its threads share one event loop.  Nothing is claimed while this loop is blocked."""
    first = _start(service)
    clock = _Clock()
    worker = _pool_worker(service, blocking, clock=clock, grace=30.0)
    with running(worker):
        assert blocking.is_blocked.wait(30)
        other = _start(service)
        until(lambda: _is_claimed(other, blocking))
        _wait_until_read(service, 2)
        until(lambda: worker.health().executor_error == BLOCKED)
        later = _start(service)
        clock.seconds = 61.0
        until(lambda: first.status == "Failed")
        until(lambda: worker.health().stalled == (other.jobs[0].id,))
        assert (other.status, later.status) == ("InProgress", "Queued")
        blocking.release.set()
        until(lambda: later.status == "Succeeded")
        assert worker.health().executor_error is None
        clock.seconds = 3_700.0
        until(lambda: worker.health().in_flight == 0)
    assert blocking.begun == [first.jobs[0].id, later.jobs[0].id]


def test_a_pool_of_threads_whose_loop_stays_blocked_ends_the_worker(
    service: LocalCodePipeline, blocking: _Blocking
) -> None:
    """The jobs whose handlers have not begun are named too."""
    first = _start(service)
    clock = _Clock()
    worker = _pool_worker(service, blocking, clock=clock, grace=0.5)
    with running(worker) as run:
        assert blocking.is_blocked.wait(30)
        other = _start(service)
        until(lambda: _is_claimed(other, blocking))
        _wait_until_read(service, 2)
        clock.seconds = 61.0
        run.join()
        blocking.release.set()
    assert isinstance(run.failure, WorkerStuckError)
    assert set(run.failure.job_ids) == {first.jobs[0].id, other.jobs[0].id}
    assert blocking.begun == [first.jobs[0].id]


_BLOCKING: dict[str, _Blocking] = {}


async def _handle(job: AnyJob) -> Succeeded:
    return await _BLOCKING["handler"].handle(job)


# --- a processor


def test_a_processor_reports_a_job_that_could_not_begin_before_its_time_is_over(
    service: LocalCodePipeline, blocking: _Blocking, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has no journal; no pause before a retry lasts longer than the time that is left."""
    monkeypatch.setattr(_steps, "_FIRST_PAUSE", 60.0)
    monkeypatch.setattr(_steps, "_LONGEST_PAUSE", 60.0)
    processor = JobProcessor(service.client, blocking.handle, client_tokens=TOKENS)
    processor._coroutines = AsyncHandlers(blocked_after=60.0)  # otherwise a slow computer would not claim the job
    first, second = (ThirdPartyJob(client_id=CLIENT_ID, job_id=_start(service).jobs[0].id) for _ in range(2))
    with ThreadPoolExecutor() as threads:
        blocked = threads.submit(processor.process, first)
        assert blocking.is_blocked.wait(30)
        outcome = processor.process(second, seconds_left=4.0)
        blocking.release.set()
        blocked.result()
    assert isinstance(outcome, Reported)
    assert outcome.result == FailureDetails(type=FailureType.SYSTEM_UNAVAILABLE, message=_TOO_LATE)
    assert blocking.begun == [first.job_id]


def test_a_processor_claims_nothing_while_its_loop_is_blocked(service: LocalCodePipeline, blocking: _Blocking) -> None:
    """Another process can run the job, which would fail here."""
    processor = JobProcessor(service.client, blocking.handle, client_tokens=TOKENS)
    processor._coroutines = AsyncHandlers(tick=0.01, blocked_after=0.3)
    first, action = (_start(service) for _ in range(2))
    second = ThirdPartyJob(client_id=CLIENT_ID, job_id=action.jobs[0].id)
    with ThreadPoolExecutor() as threads:
        blocked = threads.submit(processor.process, ThirdPartyJob(client_id=CLIENT_ID, job_id=first.jobs[0].id))
        assert blocking.is_blocked.wait(30)
        until(lambda: processor._coroutines.is_blocked)
        outcome = processor.process(second)
        blocking.release.set()
        blocked.result()
    assert outcome == HandedBack(job=second)
    assert action.status == "Queued"
    until(lambda: not processor._coroutines.is_blocked)
    assert isinstance(processor.process(second), Reported)


def test_a_retry_never_waits_beyond_the_time_that_is_left(
    service: LocalCodePipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The event loop cannot be started, and the job is reported before the process ends."""
    monkeypatch.setattr(_steps, "_FIRST_PAUSE", 60.0)
    monkeypatch.setattr(_steps, "_LONGEST_PAUSE", 60.0)

    def fail(_coroutines: AsyncHandlers) -> None:
        raise OSError("too many open files")

    async def handle(_job: AnyJob) -> Succeeded:
        return Succeeded()

    monkeypatch.setattr(AsyncHandlers, "start", fail)
    processor = JobProcessor(service.client, handle, client_tokens=TOKENS)
    outcome = processor.process(ThirdPartyJob(client_id=CLIENT_ID, job_id=_start(service).jobs[0].id), seconds_left=8.0)
    assert isinstance(outcome, Reported)
    assert outcome.result == FailureDetails(type=FailureType.SYSTEM_UNAVAILABLE, message=_TOO_LATE)


# --- the start of a coroutine


@attrs.define
class _Start:
    """A start that is prevented, in one of two ways."""

    is_withdrawn: bool = False
    may_begin: bool = True

    def note_wait(self) -> None:
        """Do nothing."""

    def begin(self) -> bool:
        """Return whether the coroutine may begin."""
        return self.may_begin


_PREVENTED = pytest.mark.parametrize("start", [_Start(is_withdrawn=True), _Start(may_begin=False)])


@_PREVENTED
def test_a_coroutine_that_must_not_begin_does_not_begin(start: _Start) -> None:
    """The loop asks when it would start the coroutine, because the job may have ended since it was submitted."""
    began = threading.Event()

    async def begin() -> None:
        began.set()

    loop = AsyncHandlers(tick=0.01)
    limits: dict[str, Any] = {"cancelled": threading.Event(), "seconds_left": 30.0, "cancel_timeout": None}
    with pytest.raises(HandlerNotBegunError, match=WITHDRAWN):
        loop.run(begin(), "job-1", start=start, **limits)
    loop.close()
    assert not began.is_set()


def test_a_loop_that_has_ended_is_not_blocked() -> None:
    """It runs nothing, so nothing waits for it."""
    loop = AsyncHandlers(tick=0.0, blocked_after=0.0)
    assert not loop.is_blocked
    loop.start()
    current = loop._current
    assert current is not None
    loop.close()
    current.thread.join(30)
    assert not current.is_blocked
    assert not loop.is_blocked


def test_a_function_that_must_not_begin_is_not_called() -> None:
    """Its job was withdrawn before the thread of the job could call it."""
    nothing: Any = None
    runner: Runner[Any] = Runner(connect=lambda: nothing, handler=succeed, configuration=None, tokens=None)
    engine = ThreadEngine(runner, nothing, AsyncHandlers(), threading.Event(), Emitter())
    job = ClaimedJob(ThirdPartyJob(client_id=CLIENT_ID, job_id="j"), recorder=nothing, began_at=0.0)
    job.details = samples.job_details()
    job.withdraw()
    assert str(engine.run(job, 30.0)) == WITHDRAWN


class _Callable:
    async def __call__(self, _job: AnyJob) -> Succeeded:
        return Succeeded()

    def call(self, _job: AnyJob) -> Succeeded:
        """Return a result at once."""
        return Succeeded()


@pytest.mark.parametrize(
    ("handler", "is_late"),
    [
        (_handle, True),
        (_Blocking().handle, True),
        (functools.partial(_handle), True),
        (_Callable(), True),
        (_Callable().call, False),
        (functools.partial(_Callable().call), False),
        (len, False),
        (None, False),
    ],
)
def test_the_code_of_a_coroutine_function_begins_in_the_loop(handler: object, *, is_late: bool) -> None:
    """A call of another function runs its code at once."""
    assert begins_in_loop(handler) is is_late


@pytest.mark.skipif(not hasattr(inspect, "markcoroutinefunction"), reason="new in Python 3.12")
def test_a_function_that_is_only_marked_as_asynchronous_begins_at_its_call(service: LocalCodePipeline) -> None:
    """Its code runs before the loop starts the awaitable, so a job that times out then has begun."""
    began, release = threading.Event(), threading.Event()

    def handle(job: AnyJob) -> Any:
        began.set()
        release.wait(60)
        return _Callable()(job)

    marked = getattr(inspect, "markcoroutinefunction")(handle)  # noqa: B009 - the oldest Python has no such name
    assert not begins_in_loop(marked)
    action = _start(service)
    clock = _Clock()
    with running(make_worker(service, marked, job_timeout=60, clock=clock)):
        assert began.wait(30)
        clock.seconds = 61.0
        until(lambda: action.status == "Failed")
        release.set()
