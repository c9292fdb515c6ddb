"""The clean-up after a handler: it starts after the report, so that it cannot change or delay the result of the job."""

from __future__ import annotations

import asyncio
import os
import pickle
import tempfile
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
from support import handlers
from support.worker_service import (
    ACTION_TYPE,
    CLIENT_ID,
    CLIENT_TOKEN,
    TOKENS,
    AnyJob,
    make_worker,
    running,
    succeed,
    until,
)

from cp_thirdparty import JobWorker, Succeeded, ThirdPartyJob
from cp_thirdparty.exceptions import WorkerStuckError
from cp_thirdparty.testing import LocalCodePipeline
from cp_thirdparty.worker import JobProcessor, Outcome, Reported, _flow, _processes, _processing, _workspace, processes
from cp_thirdparty.worker.runner import HandlerRun, NotStarted, Runner, run_in_executor
from cp_thirdparty.worker.tokens import TokenLookup


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalCodePipeline]:
    """A running service with one customer."""
    with LocalCodePipeline(redelivery_delay=1000.0) as local:
        for name in local.environment():
            monkeypatch.setenv(name, "")  # `connect_with` changes it
        local.register_client(CLIENT_ID, CLIENT_TOKEN)
        yield local


class _SlowCleanUp:
    """A handler whose clean-up waits until the test releases it."""

    def __init__(self) -> None:
        self.has_begun = threading.Event()
        self.release = threading.Event()
        self.paths: list[Path] = []

    def __call__(self, job: AnyJob) -> Succeeded:
        """Create a workspace, and return a success."""
        self.paths.append(job.workspace)
        close = job.close

        def wait() -> tuple[str, ...]:
            self.has_begun.set()
            self.release.wait(120)
            return close()

        cast("Any", job).close = wait
        return Succeeded()


@pytest.fixture
def slow() -> Iterator[_SlowCleanUp]:
    """A handler whose clean-up is slow."""
    handler = _SlowCleanUp()
    yield handler
    handler.release.set()


def test_a_slow_clean_up_changes_no_result(service: LocalCodePipeline, slow: _SlowCleanUp) -> None:
    """The timeout of the job passes during the clean-up; the slot is free only after the clean-up."""
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    worker = make_worker(service, slow, concurrency=1, job_timeout=3, grace=1)
    with running(worker) as run:
        until(lambda: action.status == "Succeeded")
        assert slow.has_begun.wait(60)
        time.sleep(3)  # the job timed out, and the worker would be stuck if the handler still ran
        health = worker.health()
        assert (health.free_slots, health.in_flight, health.overdue) == (0, 0, ())
        assert slow.paths[0].exists()
        slow.release.set()
        until(lambda: worker.health().free_slots == 1)
    assert run.is_clean is True
    assert not slow.paths[0].exists()


def test_a_stop_waits_for_the_clean_up(service: LocalCodePipeline, slow: _SlowCleanUp) -> None:
    """No files of a customer stay behind."""
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    worker = make_worker(service, slow, grace=60)
    with running(worker) as run:
        assert slow.has_begun.wait(60)
        worker.stop()
        run.thread.join(1)
        assert run.thread.is_alive()
        slow.release.set()
    assert (run.is_clean, action.status) == (True, "Succeeded")
    assert not slow.paths[0].exists()


def test_a_stop_does_not_wait_forever_for_the_clean_up(service: LocalCodePipeline, slow: _SlowCleanUp) -> None:
    """The worker ends after the grace; the result was accepted, so nothing is lost."""
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    worker = make_worker(service, slow, grace=0.5)
    with running(worker) as run:
        assert slow.has_begun.wait(60)
        worker.stop()
        run.thread.join(60)
        assert not run.thread.is_alive()
    assert (run.is_clean, action.status) == (True, "Succeeded")


def test_a_run_of_one_poll_ends_after_the_clean_up(service: LocalCodePipeline) -> None:
    """The caller finds no files of the job."""
    paths: list[Path] = []

    def handle(job: AnyJob) -> Succeeded:
        paths.append(job.workspace)
        for number in range(300):
            (job.workspace / str(number)).touch()
        return Succeeded()

    service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    (outcome,) = make_worker(service, handle).run_once()
    assert isinstance(outcome, Reported)
    assert not paths[0].exists()


def test_a_clean_up_that_hangs_uses_its_slot(
    service: LocalCodePipeline, slow: _SlowCleanUp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If no slot is left, the worker ends, as if the handlers hung."""
    monkeypatch.setattr(_flow, "CLEAN_UP_SECONDS", 0.1)
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    with running(make_worker(service, slow, concurrency=1, grace=0.2)) as run:
        run.thread.join(60)
    assert isinstance(run.failure, WorkerStuckError)
    assert action.status == "Succeeded"


def test_a_processor_reports_before_the_clean_up(service: LocalCodePipeline) -> None:
    """Ctrl-C during the clean-up loses no result, and reaches the caller."""
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    handler = partial(handlers.raise_in_clean_up, failure=KeyboardInterrupt)
    processor = JobProcessor(service.client, handler, client_tokens=TOKENS)
    offer = ThirdPartyJob(client_id=CLIENT_ID, job_id=action.jobs[0].id)
    with pytest.raises(KeyboardInterrupt):
        processor.process(offer)
    assert action.status == "Succeeded"


@pytest.mark.parametrize("seconds_left", [None, 60])
def test_process_async_returns_after_the_clean_up(
    service: LocalCodePipeline, slow: _SlowCleanUp, seconds_left: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The program may end as soon as the method returns, and would leave files of the customer."""
    monkeypatch.setattr(_processing, "_CANCEL_TIMEOUT", 0.1)
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    processor = JobProcessor(service.client, slow, client_tokens=TOKENS)
    offer = ThirdPartyJob(client_id=CLIENT_ID, job_id=action.jobs[0].id)

    async def process() -> Outcome:
        task = asyncio.create_task(processor.process_async(offer, seconds_left=seconds_left))
        await asyncio.to_thread(slow.has_begun.wait, 60)
        await asyncio.sleep(1)
        assert (task.done(), action.status) == (False, "Succeeded")
        slow.release.set()
        outcome = await task
        assert not slow.paths[0].exists()
        return outcome

    assert isinstance(asyncio.run(process()), Reported)


def test_process_async_does_not_wait_for_the_clean_up_after_its_time(
    service: LocalCodePipeline, slow: _SlowCleanUp
) -> None:
    """The process would end before the method has returned."""
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    processor = JobProcessor(service.client, slow, client_tokens=TOKENS)
    offer = ThirdPartyJob(client_id=CLIENT_ID, job_id=action.jobs[0].id)
    assert isinstance(asyncio.run(processor.process_async(offer, seconds_left=4)), Reported)
    assert slow.paths[0].exists()


def test_a_processor_has_logged_the_problems_of_the_clean_up_when_it_returns(
    service: LocalCodePipeline, caplog: pytest.LogCaptureFixture
) -> None:
    """Otherwise a program that ends after the job would lose the messages."""
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    handler = partial(handlers.raise_in_clean_up, failure=ZeroDivisionError)
    JobProcessor(service.client, handler, client_tokens=TOKENS).process(
        ThirdPartyJob(client_id=CLIENT_ID, job_id=action.jobs[0].id)
    )
    assert "the job could not be closed: ZeroDivisionError" in caplog.text


# --- other processes


def _worker(service: LocalCodePipeline, handler: Any, **settings: Any) -> JobWorker[Any]:
    return JobWorker(
        partial(handlers.connect_with, service.environment()),
        ACTION_TYPE,
        handler,
        client_tokens=handlers.token_of,
        executor=processes(1),
        **settings,
    )


def _folders() -> set[Path]:
    return set(Path(tempfile.gettempdir()).glob(f"cp-thirdparty-tmp-{os.getpid()}-*"))


def test_no_files_of_a_job_that_was_stopped_stay(service: LocalCodePipeline) -> None:
    """The worker's process may end as soon as the run has ended."""
    before = _folders()
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    with running(_worker(service, handlers.fill_workspace_and_hang, grace=0)):
        until(lambda: any(list(each.glob("*/*/workspace/999")) for each in _folders() - before))
    assert action.status == "Failed"
    assert _folders() - before == set()


def test_files_that_the_worker_cannot_remove_are_logged(
    service: LocalCodePipeline, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The process may have been killed during its own clean-up, so that it has logged nothing."""
    monkeypatch.setattr(_workspace.Workspace, "remove", lambda self: self._outer.close() or "stays")
    service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    (outcome,) = _worker(service, handlers.fill_workspace).run_once()
    assert isinstance(outcome, Reported)
    assert "the temporary files could not be removed completely (stays): " in caplog.text


def test_a_thread_that_logs_without_a_pause_does_not_keep_its_process(
    service: LocalCodePipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process is killed although its messages never end."""
    monkeypatch.setattr(_processes, "_EXIT_SECONDS", 0.5)
    monkeypatch.setattr(_processes, "_KILL_SECONDS", 60.0)
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    began_at = time.monotonic()
    _worker(service, handlers.leave_busy_thread).run_once()
    assert action.status == "Succeeded"
    assert time.monotonic() - began_at < 40


def test_a_process_sends_its_result_before_the_clean_up(
    service: LocalCodePipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The result does not wait for the end of the process."""
    monkeypatch.setattr(_processes, "_EXIT_SECONDS", 1.0)
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    (outcome,) = _worker(service, handlers.hang_in_clean_up, job_timeout=60).run_once()
    assert isinstance(outcome, Reported)
    assert action.status == "Succeeded"


def test_a_problem_of_the_clean_up_in_a_process_is_logged(
    service: LocalCodePipeline, caplog: pytest.LogCaptureFixture
) -> None:
    """The worker reads log records after the result."""
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    _worker(service, partial(handlers.raise_in_clean_up, failure=ZeroDivisionError)).run_once()
    job_id = action.jobs[0].id
    until(lambda: f"job={job_id} the job could not be closed: ZeroDivisionError" in caplog.text)
    assert action.status == "Succeeded"


@pytest.mark.parametrize("failure", [ZeroDivisionError, KeyboardInterrupt])
def test_a_problem_of_the_clean_up_in_a_pool_keeps_the_result(
    service: LocalCodePipeline, failure: type[BaseException]
) -> None:
    """The result and the message can be sent to the worker."""
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    runner: Runner[Any] = Runner(
        connect=handlers.connect_to(service),
        handler=partial(handlers.raise_in_clean_up, failure=failure),
        configuration=None,
        tokens=TokenLookup(handlers.token_of),
    )
    offer = ThirdPartyJob(client_id=CLIENT_ID, job_id=action.jobs[0].id)
    with service.client() as client:
        client.poll_for_third_party_jobs(ACTION_TYPE)
        client.acknowledge_third_party_job(offer.job_id, nonce="1", client_token=CLIENT_TOKEN)
    returned = run_in_executor(pickle.dumps(runner), offer, time.time() + 60)
    handler_run = pickle.loads(pickle.dumps(returned))
    assert isinstance(handler_run, HandlerRun)
    assert handler_run.result == Succeeded()
    assert handler_run.clean_up() == (f"the job could not be closed: {failure.__name__}",)


def test_a_process_whose_clock_is_ahead_calls_no_handler(service: LocalCodePipeline) -> None:
    """Otherwise a coroutine would be cancelled at once, and the customer would read that the job took too long."""
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    runner: Runner[Any] = Runner(
        connect=handlers.connect_to(service),
        handler=succeed,
        configuration=None,
        tokens=TokenLookup(handlers.token_of),
    )
    asked: list[bool] = []

    def may_begin() -> bool:
        asked.append(True)
        return True

    offer = ThirdPartyJob(client_id=CLIENT_ID, job_id=action.jobs[0].id)
    for seconds in (5.0, 4000.0):
        not_started = run_in_executor(pickle.dumps(runner), offer, time.time() - seconds, may_begin)
        assert isinstance(not_started, NotStarted)
        assert "compare the machines' clocks" in not_started.error_name
        assert not_started.is_initialised is (seconds < 60)
    assert asked == []
