"""`JobProcessor` and event loops: on the loop of the caller, and what is refused there."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from types import SimpleNamespace
from typing import Any, TypeVar

import pytest
from support.worker_service import ACTION_TYPE, CLIENT_ID, TOKENS, AnyJob, Before, succeed, until

from cp_thirdparty import FailureDetails, FailureType, Succeeded, ThirdPartyJob
from cp_thirdparty.exceptions import TransportError
from cp_thirdparty.testing import LocalCodePipeline
from cp_thirdparty.testing.faults import ServerError
from cp_thirdparty.worker import (
    HandedBack,
    JobEvent,
    JobProcessor,
    Outcome,
    Rejected,
    Reported,
    Unsent,
    _processing,
    tokens,
)

_VARIABLE: ContextVar[str] = ContextVar("_VARIABLE", default="unset")
_ACKNOWLEDGE = "AcknowledgeThirdPartyJob"
_DETAILS = "GetThirdPartyJobDetails"
_POLL = "PollForThirdPartyJobs"
_FAILURE = "PutThirdPartyJobFailureResult"
_T = TypeVar("_T")


@pytest.fixture(autouse=True)
def _short_ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_processing, "_CHECK_INTERVAL", 0.01)


def _processor(service: LocalCodePipeline, handler: Any = succeed, **settings: Any) -> JobProcessor[Any]:
    every: dict[str, Any] = {"client_tokens": TOKENS, **settings}
    return JobProcessor(service.client, handler, **every)


def _start(service: LocalCodePipeline) -> tuple[Any, ThirdPartyJob]:
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    return action, ThirdPartyJob(client_id=CLIENT_ID, job_id=action.jobs[0].id)


def _operations(service: LocalCodePipeline) -> list[str | None]:
    return [record.operation_name for record in service.requests]


def _run_with_limit(work: Coroutine[Any, Any, _T]) -> _T:
    async def run() -> _T:
        return await asyncio.wait_for(work, 30)

    return asyncio.run(run())


async def _wait_until(condition: Callable[[], bool]) -> None:
    for _ in range(3000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("waited in vain")


# --- on the loop of the caller


def test_a_coroutine_runs_in_the_loop_of_the_caller(service: LocalCodePipeline) -> None:
    """It may use what belongs to that loop, and has the context variables of the caller."""
    seen: list[object] = []

    async def handle(_job: AnyJob) -> Succeeded:
        seen.extend([asyncio.get_running_loop(), threading.current_thread(), _VARIABLE.get()])
        return Succeeded()

    async def run() -> tuple[Outcome, list[object]]:
        _VARIABLE.set("of the caller")
        outcome = await _processor(service, handle).process_async(offer)
        return outcome, [asyncio.get_running_loop(), threading.current_thread(), "of the caller"]

    _, offer = _start(service)
    outcome, expected = _run_with_limit(run())
    assert outcome == Reported(job=offer, result=Succeeded())
    assert seen == expected


def test_a_function_runs_in_a_thread(service: LocalCodePipeline) -> None:
    """The loop of the caller goes on meanwhile; the context variables are those of the caller."""
    seen: list[object] = []
    ticks = threading.Semaphore(0)

    def handle(_job: AnyJob) -> Succeeded:
        seen.extend([threading.current_thread() is threading.main_thread(), _VARIABLE.get()])
        assert all(ticks.acquire(timeout=30) for _ in range(3))
        return Succeeded()

    async def tick() -> None:
        while True:
            await asyncio.sleep(0.01)
            ticks.release()

    async def run() -> Outcome:
        _VARIABLE.set("of the caller")
        task = asyncio.create_task(tick())
        try:
            return await _processor(service, handle).process_async(offer)
        finally:
            task.cancel()

    _, offer = _start(service)
    assert _run_with_limit(run()) == Reported(job=offer, result=Succeeded())
    assert seen == [False, "of the caller"]


def test_many_jobs_leave_threads_to_their_handlers(service: LocalCodePipeline) -> None:
    """Handlers that use `asyncio.to_thread` do not wait for the threads of their own jobs."""

    async def handle(_job: AnyJob) -> Succeeded:
        await asyncio.to_thread(time.sleep, 0)
        return Succeeded()

    async def run() -> list[Outcome]:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
        processor = _processor(service, handle)
        return await asyncio.gather(*(processor.process_async(offer) for offer in offers))

    offers = [_start(service)[1] for _ in range(3)]
    assert [type(outcome) for outcome in _run_with_limit(run())] == [Reported] * 3


def test_polling_processes_jobs_in_the_loop(service: LocalCodePipeline) -> None:
    """Each job of the batch has its outcome."""

    async def handle(_job: AnyJob) -> Succeeded:
        await asyncio.sleep(0)
        return Succeeded()

    async def run() -> list[Outcome]:
        processor = _processor(service, handle)
        return [outcome async for outcome in processor.poll_async(ACTION_TYPE, max_batch_size=2, seconds_left=60)]

    actions = [_start(service)[0] for _ in range(3)]
    assert [type(outcome) for outcome in _run_with_limit(run())] == [Reported, Reported]
    assert [action.status for action in actions] == ["Succeeded", "Succeeded", "Queued"]


def test_what_connect_raises_is_raised(service: LocalCodePipeline) -> None:
    """Before anything is claimed."""

    def connect() -> Any:
        raise KeyError

    _, offer = _start(service)
    processor: JobProcessor[Any] = JobProcessor(connect, succeed, client_tokens=TOKENS)
    with pytest.raises(KeyError):
        _run_with_limit(processor.process_async(offer))


def test_a_mistake_of_the_library_is_raised(service: LocalCodePipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """The awaiting task does not wait without limit."""

    def fail(*_: object) -> None:
        raise AssertionError("a mistake")

    monkeypatch.setattr("cp_thirdparty.worker._flow.JobFlow.work", fail)
    _, offer = _start(service)
    with pytest.raises(AssertionError, match="a mistake"):
        _run_with_limit(_processor(service).process_async(offer))


# --- what blocks a loop is refused


async def _succeed_async(_job: AnyJob) -> Succeeded:
    return Succeeded()


def test_a_coroutine_is_refused_before_the_claim(service: LocalCodePipeline) -> None:
    """The synchronous calls would block the loop; the error names the method to use."""

    async def run() -> None:
        processor = _processor(service, _succeed_async)
        with pytest.raises(RuntimeError, match="use `process_async` instead"):
            processor.process(offer)
        with pytest.raises(RuntimeError, match="use `poll_async` instead"):
            processor.poll(ACTION_TYPE)

    action, offer = _start(service)
    _run_with_limit(run())
    assert _operations(service) == []
    assert action.status == "Queued"


def _return_coroutine(job: AnyJob) -> Any:
    return _succeed_async(job)


@pytest.mark.parametrize("handler", [succeed, _return_coroutine])
def test_other_handlers_may_block_a_loop(service: LocalCodePipeline, handler: Any) -> None:
    """It is the caller's choice; a coroutine that is known only after the claim runs in a loop of the processor."""

    async def run() -> Outcome:
        return _processor(service, handler).process(offer)

    _, offer = _start(service)
    assert _run_with_limit(run()) == Reported(job=offer, result=Succeeded())


def test_without_a_loop_coroutines_share_one(service: LocalCodePipeline) -> None:
    """All calls of `process` of one processor use one event loop."""
    loops: list[object] = []

    async def handle(_job: AnyJob) -> Succeeded:
        loops.append(asyncio.get_running_loop())
        return Succeeded()

    processor = _processor(service, handle)
    assert [type(processor.process(_start(service)[1])) for _ in range(2)] == [Reported, Reported]
    assert loops[0] is loops[1]


# --- a cancelled task


async def _cancel(
    work: Coroutine[Any, Any, object], condition: Callable[[], bool], release: threading.Event | None = None
) -> None:
    """Cancel a task when something is so, and let the service go on after that."""
    task = asyncio.create_task(work)
    await _wait_until(condition)
    task.cancel()
    await asyncio.sleep(0.01)  # more than one iteration of the loop, so that the task has seen it
    if release is not None:
        release.set()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_a_job_whose_task_is_cancelled_is_reported(service: LocalCodePipeline) -> None:
    """The coroutine is cancelled, its ``finally`` blocks run, and the error comes after the report."""
    steps: list[str] = []
    events: list[JobEvent] = []

    async def handle(_job: AnyJob) -> Succeeded:
        steps.append("began")
        try:
            await asyncio.sleep(60)
        finally:
            steps.append("cleaned up")
        return Succeeded()

    async def run() -> None:
        processor = _processor(service, handle, on_event=events.append)
        await _cancel(processor.process_async(offer), lambda: bool(steps))
        steps.append(action.status)

    action, offer = _start(service)
    _run_with_limit(run())
    assert steps == ["began", "cleaned up", "Failed"]
    assert isinstance(action.result, FailureDetails)
    assert action.result.type is FailureType.SYSTEM_UNAVAILABLE
    assert [event.name for event in events] == ["claimed", "timed_out", "reported"]
    assert events[1].failure_type is FailureType.SYSTEM_UNAVAILABLE


def test_a_function_whose_task_is_cancelled_is_left(
    service: LocalCodePipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It sees that its result is not wanted; the job is reported."""
    monkeypatch.setattr(_processing, "_CANCEL_TIMEOUT", 0.05)
    began, release = threading.Event(), threading.Event()
    cancelled: list[bool] = []

    def handle(job: AnyJob) -> Succeeded:
        began.set()
        release.wait(30)
        cancelled.append(job.cancelled)
        return Succeeded()

    action, offer = _start(service)
    _run_with_limit(_cancel(_processor(service, handle).process_async(offer), began.is_set))
    assert action.status == "Failed"
    release.set()
    until(lambda: bool(cancelled))
    assert cancelled == [True]


def test_a_job_whose_task_is_cancelled_before_its_claim_is_not_claimed(service: LocalCodePipeline) -> None:
    """It is offered to another worker."""
    asked, release = threading.Event(), threading.Event()
    events: list[JobEvent] = []

    def hold() -> None:
        asked.set()
        release.wait(30)

    async def run() -> None:
        await _cancel(_processor(service, on_event=events.append).process_async(offer), asked.is_set, release)

    service.faults.add(_DETAILS, Before(hold))
    _, offer = _start(service)
    _run_with_limit(run())
    assert [event.name for event in events] == ["handed_back"]
    assert _ACKNOWLEDGE not in _operations(service)


def test_retries_of_an_unclaimed_job_end_with_its_task(service: LocalCodePipeline) -> None:
    """A service that fails keeps no thread."""
    events: list[str] = []
    service.faults.add(_ACKNOWLEDGE, ServerError(), times=None)
    _, offer = _start(service)
    processor = _processor(service, on_event=lambda event: events.append(event.name))
    _run_with_limit(_cancel(processor.process_async(offer), lambda: "call_failed" in events))
    assert events[-1] == "uncertain"


def test_a_job_whose_task_is_cancelled_in_its_claim_is_reported(service: LocalCodePipeline) -> None:
    """The acknowledgement may be accepted, so the job gets a result; the handler does not begin."""
    asked, release = threading.Event(), threading.Event()

    def hold() -> None:
        asked.set()
        release.wait(30)

    async def run() -> None:
        work = _processor(service, lambda _: pytest.fail("it ran")).process_async(offer)
        await _cancel(work, asked.is_set, release)

    service.faults.add(_ACKNOWLEDGE, Before(hold))
    action, offer = _start(service)
    _run_with_limit(run())
    assert isinstance(action.result, FailureDetails)
    assert action.result.message == "The action's worker was stopped."


def test_the_last_reports_have_an_end(service: LocalCodePipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that fails keeps the task for a few seconds only."""
    monkeypatch.setattr(_processing, "_STOP_SECONDS", 0.1)
    began = threading.Event()
    outcomes: list[str] = []

    async def handle(_job: AnyJob) -> Succeeded:
        began.set()
        await asyncio.sleep(60)
        return Succeeded()

    service.faults.add(_FAILURE, ServerError(), times=None)
    _, offer = _start(service)
    processor = _processor(service, handle, on_event=lambda event: outcomes.append(event.name))
    _run_with_limit(_cancel(processor.process_async(offer), began.is_set))
    until(lambda: outcomes[-1] == "unsent")


def test_a_last_report_that_fails_is_resent(service: LocalCodePipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stop does not end the pause before the next attempt."""
    monkeypatch.setattr(_processing, "_STOP_SECONDS", 60.0)
    began = threading.Event()

    async def handle(_job: AnyJob) -> Succeeded:
        began.set()
        await asyncio.sleep(60)
        return Succeeded()

    service.faults.add(_FAILURE, ServerError(), times=1)
    action, offer = _start(service)
    _run_with_limit(_cancel(_processor(service, handle).process_async(offer), began.is_set))
    assert _operations(service).count(_FAILURE) == 2
    assert isinstance(action.result, FailureDetails)


def test_a_second_cancellation_leaves_the_report_to_its_thread(service: LocalCodePipeline) -> None:
    """The task ends at once, and the job is reported."""
    began, release = threading.Event(), threading.Event()

    async def handle(_job: AnyJob) -> Succeeded:
        began.set()
        await asyncio.sleep(60)
        return Succeeded()

    async def run() -> None:
        task = asyncio.create_task(_processor(service, handle).process_async(offer))
        await _wait_until(began.is_set)
        task.cancel()
        await _wait_until(lambda: _FAILURE in _operations(service) or release_asked.is_set())
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert action.status == "InProgress"
        release.set()

    release_asked = threading.Event()

    def hold() -> None:
        release_asked.set()
        release.wait(30)

    service.faults.add(_FAILURE, Before(hold))
    action, offer = _start(service)
    _run_with_limit(run())
    until(lambda: action.status == "Failed")


# --- time


# Seconds until the process ends, and settings: the one or the other ends the handler first.
_LIMITS = pytest.mark.parametrize(
    ("seconds_left", "settings"),
    [(30.0, {"job_timeout": 0.6}), pytest.param(2.0, {}, marks=pytest.mark.slow)],
    ids=["timeout of the job", "end of the process"],
)


@_LIMITS
@pytest.mark.parametrize("is_async", [False, True], ids=["process", "process_async"])
def test_a_coroutine_without_time_is_cancelled(
    service: LocalCodePipeline, settings: dict[str, Any], *, seconds_left: float, is_async: bool
) -> None:
    """The job is reported in time, whichever way the coroutine runs."""

    async def handle(_job: AnyJob) -> Succeeded:
        await asyncio.sleep(60)
        return Succeeded()

    processor = _processor(service, handle, **settings)
    _, offer = _start(service)
    began_at = time.monotonic()
    if is_async:
        outcome = _run_with_limit(processor.process_async(offer, seconds_left=seconds_left))
    else:
        outcome = processor.process(offer, seconds_left=seconds_left)
    assert time.monotonic() - began_at < 10
    assert isinstance(outcome, Reported)
    assert isinstance(outcome.result, FailureDetails)
    assert outcome.result.message.startswith("The job took longer than ")


@_LIMITS
def test_a_function_that_takes_too_long_is_left(
    service: LocalCodePipeline, seconds_left: float, settings: dict[str, Any]
) -> None:
    """The job is reported in time, at the end of the process or at its timeout."""
    release = threading.Event()

    def handle(_job: AnyJob) -> Succeeded:
        release.wait(30)
        return Succeeded()

    _, offer = _start(service)
    outcome = _run_with_limit(_processor(service, handle, **settings).process_async(offer, seconds_left=seconds_left))
    release.set()
    assert isinstance(outcome, Reported)
    assert isinstance(outcome.result, FailureDetails)
    assert outcome.result.message.startswith("The job took longer than ")


class _HangingTokens:
    """A token store whose look-up hangs from the given one on, until it is released."""

    def __init__(self, first: int) -> None:
        self.release = threading.Event()
        self._left = first

    def __call__(self, _client_id: str) -> str:
        self._left -= 1
        if self._left <= 0:
            self.release.wait(60)
        return TOKENS[CLIENT_ID]


_IS_ASYNC = pytest.mark.parametrize("is_async", [False, True], ids=["process", "process_async"])


@_IS_ASYNC
@pytest.mark.parametrize("seconds_left", [3.0, None], ids=["the process ends", "the process goes on"])
def test_a_look_up_that_hangs_ends_an_unclaimed_job(
    service: LocalCodePipeline, monkeypatch: pytest.MonkeyPatch, seconds_left: float | None, *, is_async: bool
) -> None:
    """The job is left to others, and the caller has its outcome: before the process ends, or as in a worker."""
    monkeypatch.setattr(tokens, "MAX_SECONDS", 60.0 if seconds_left else 0.5)
    store = _HangingTokens(1)
    action, offer = _start(service)
    processor = _processor(service, client_tokens=store)
    if is_async:
        outcome = _run_with_limit(processor.process_async(offer, seconds_left=seconds_left))
    else:
        outcome = processor.process(offer, seconds_left=seconds_left)
    assert not store.release.is_set()
    store.release.set()
    assert outcome == Rejected(job=offer, reason=tokens.TOOK_TOO_LONG, error="TimeoutError")
    assert action.status == "Queued"


@_IS_ASYNC
def test_a_look_up_that_hangs_before_the_report_ends_with_the_process(
    service: LocalCodePipeline, monkeypatch: pytest.MonkeyPatch, *, is_async: bool
) -> None:
    """The caller and the event handler learn before the end that the result was not sent."""
    monkeypatch.setattr(_processing, "_FLUSH_SECONDS", 1.0)
    store = _HangingTokens(2)
    events: list[JobEvent] = []

    def handle(_job: AnyJob) -> Succeeded:
        service.register_client(CLIENT_ID, "the new one")
        return Succeeded()

    action, offer = _start(service)
    processor = _processor(service, handle, client_tokens=store, on_event=events.append)
    if is_async:
        outcome = _run_with_limit(processor.process_async(offer, seconds_left=4))
    else:
        outcome = processor.process(offer, seconds_left=4)
    names = [event.name for event in events]
    store.release.set()
    assert outcome == Unsent(job=offer, result=Succeeded(), error="TimeoutError")
    assert action.status == "InProgress"
    assert (names[:2], names[-1]) == (["claimed", "call_failed"], "unsent")


def _refuse_threads(monkeypatch: pytest.MonkeyPatch, count: int, left: list[int]) -> None:
    """Let the system have no thread left, for the next threads of processors; ``left`` gets how many are refused."""
    start = threading.Thread.start
    left.append(count)

    def refuse(thread: threading.Thread) -> None:
        if thread.name == "cp-thirdparty-processor" and left[0]:
            left[0] -= 1
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)


def test_a_function_that_takes_too_long_is_left_when_a_thread_can_be_started(
    service: LocalCodePipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until then the attempts are repeated; otherwise the job would have no result while its handler hangs."""
    release = threading.Event()
    left: list[int] = []

    def handle(_job: AnyJob) -> Succeeded:
        _refuse_threads(monkeypatch, 2, left)
        release.wait(30)
        return Succeeded()

    action, offer = _start(service)
    outcome = _run_with_limit(_processor(service, handle, job_timeout=2).process_async(offer))
    release.set()
    assert isinstance(outcome, Reported)
    assert isinstance(action.result, FailureDetails)
    assert left == [0]


def test_a_task_may_be_cancelled_while_its_job_is_given_up(service: LocalCodePipeline) -> None:
    """The thread that reports the timeout goes on, and raises nothing of its own."""
    service.faults.add("PutThirdPartyJobFailureResult", ServerError(), times=2)
    release = threading.Event()

    def handle(_job: AnyJob) -> Succeeded:
        release.wait(30)
        return Succeeded()

    def is_reporting() -> bool:
        return any(request.operation_name == "PutThirdPartyJobFailureResult" for request in service.requests)

    action, offer = _start(service)
    _run_with_limit(_cancel(_processor(service, handle, job_timeout=2).process_async(offer), is_reporting, release))
    assert isinstance(action.result, FailureDetails)


def test_a_job_whose_task_is_cancelled_is_reported_without_another_thread(
    service: LocalCodePipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread of the loop reports it, and the cancellation is raised."""
    began = threading.Event()
    left: list[int] = []

    async def handle(_job: AnyJob) -> Succeeded:
        _refuse_threads(monkeypatch, 1, left)
        began.set()
        await asyncio.sleep(60)
        return Succeeded()

    action, offer = _start(service)
    _run_with_limit(_cancel(_processor(service, handle).process_async(offer), began.is_set))
    assert isinstance(action.result, FailureDetails)
    assert left == [0]


def test_a_result_at_the_last_moment_counts(service: LocalCodePipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """The handler may return while its job is given up: one result is reported."""
    give_up = _processing.Processing.give_up

    def give_up_late(self: _processing.Processing, message: str) -> None:
        release.set()
        until(lambda: self.job.result is not None)
        give_up(self, message)

    monkeypatch.setattr(_processing.Processing, "give_up", give_up_late)
    release = threading.Event()

    def handle(_job: AnyJob) -> Succeeded:
        release.wait(30)
        return Succeeded()

    _, offer = _start(service)
    outcome = _run_with_limit(_processor(service, handle, job_timeout=0.6).process_async(offer))
    assert outcome == Reported(job=offer, result=Succeeded())


def test_a_slow_poll_ends_in_time(service: LocalCodePipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """The deadline of the client is a minute, that of the process comes first."""
    monkeypatch.setattr(_processing, "_MIN_SECONDS", 0.0)
    release = threading.Event()
    service.faults.add(_POLL, Before(lambda: release.wait(30)), times=None)
    began_at = time.monotonic()
    with pytest.raises(TransportError, match="before the deadline"):
        list(_processor(service).poll(ACTION_TYPE, seconds_left=0.2))
    assert time.monotonic() - began_at < 5
    release.set()


def test_jobs_without_time_are_handed_back(service: LocalCodePipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that takes the time of the next one costs it no claim."""
    passed: list[float] = []
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + sum(passed), sleep=time.sleep, time=time.time)
    for module in ("_processing", "processor"):
        monkeypatch.setattr(f"cp_thirdparty.worker.{module}.time", clock)

    def handle(_job: AnyJob) -> Succeeded:
        passed.append(59.5)
        return Succeeded()

    for _ in range(2):
        _start(service)
    outcomes = list(_processor(service, handle).poll(ACTION_TYPE, max_batch_size=2, seconds_left=60.0))
    assert [type(outcome) for outcome in outcomes] == [Reported, HandedBack]


def test_without_time_there_is_no_poll(service: LocalCodePipeline) -> None:
    """CodePipeline would offer the jobs to nobody else for half a minute."""
    _start(service)
    assert list(_processor(service).poll(ACTION_TYPE, seconds_left=0.9)) == []
    assert _operations(service) == []


def test_slow_details_claim_nothing(service: LocalCodePipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each call ends with the process."""
    monkeypatch.setattr(_processing, "_MIN_SECONDS", 0.0)
    release = threading.Event()
    processor = _processor(service)
    processor.process(_start(service)[1])  # creates the clients, which may take longer than the next job has
    service.faults.add(_DETAILS, Before(lambda: release.wait(30)), times=None)
    outcome = processor.process(_start(service)[1], seconds_left=1.0)
    release.set()
    assert isinstance(outcome, Rejected)


def test_a_slow_claim_ends_in_a_report(service: LocalCodePipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """If no time is left for the handler, the job gets a failure: no journal could keep it."""
    monkeypatch.setattr(_processing, "_MIN_SECONDS", 0.1)
    monkeypatch.setattr(_processing, "_REPORT_SECONDS", 5.0)
    action, offer = _start(service)
    outcome = _processor(service, lambda _: pytest.fail("it ran")).process(offer, seconds_left=5.0)
    assert isinstance(outcome, Reported)
    assert isinstance(action.result, FailureDetails)
    assert action.result.message == "The job took longer than 0 seconds."


def test_ctrl_c_in_a_coroutine_is_raised_after_the_report(service: LocalCodePipeline) -> None:
    """As for `process`: the job is reported first."""

    async def handle(_job: AnyJob) -> Succeeded:
        raise KeyboardInterrupt

    action, offer = _start(service)
    with pytest.raises(KeyboardInterrupt):
        _processor(service, handle).process(offer)
    assert action.status == "Failed"
    action, offer = _start(service)
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(_processor(service, handle).process_async(offer))
    assert action.status == "Failed"
