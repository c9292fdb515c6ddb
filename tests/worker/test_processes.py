"""Workers with a process for each job: it is killed when its result is not wanted, and costs no other job anything."""

from __future__ import annotations

import json
import logging
import multiprocessing.forkserver
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Any

import attrs
import pytest
from support import handlers
from support.worker_service import ACTION_TYPE, CLIENT_ID, CLIENT_TOKEN, SharedJournal, running, until

from cp_thirdparty import FailureDetails, FailureType, JobStatus, JobWorker, ThirdPartyJob, ThirdPartyJobClient
from cp_thirdparty.testing import Action, LocalCodePipeline, ManualClock, Success
from cp_thirdparty.testing._wire import Response
from cp_thirdparty.worker import (
    EnvironmentTokens,
    JobEvent,
    JournalState,
    Released,
    _child,
    _child_logs,
    _processes,
    _steps,
    processes,
)
from cp_thirdparty.worker._claimed_job import ClaimedJob
from cp_thirdparty.worker._steps import Steps
from cp_thirdparty.worker.tokens import TokenLookup


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_steps, "_FIRST_PAUSE", 0.01)
    monkeypatch.setattr(_steps, "_LONGEST_PAUSE", 0.05)


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalCodePipeline]:
    """Give a running service with one customer."""
    with LocalCodePipeline(redelivery_delay=1000.0, continuation_delay=0.0) as made:
        for name in made.environment():
            monkeypatch.setenv(name, "")  # `connect_with` changes it
        made.register_client(CLIENT_ID, CLIENT_TOKEN)
        yield made


def _worker(service: LocalCodePipeline, handler: Any, count: int = 2, **settings: Any) -> JobWorker[Any]:
    every: dict[str, Any] = {
        "connect": partial(handlers.connect_with, service.environment()),
        "client_tokens": handlers.token_of,
        "poll_interval": 0.05,
        "executor": processes(count),
        **settings,
    }
    return JobWorker(action_type_id=ACTION_TYPE, handler=handler, **every)


def _read_lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def _count(actions: list[Action], status: str) -> int:
    return sum(action.status == JobStatus(status) for action in actions)


def _is_alive(process_id: int) -> bool:
    """Whether a process is there that is not only waiting to be noticed."""
    try:
        state = Path(f"/proc/{process_id}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_each_job_has_a_process(service: LocalCodePipeline) -> None:
    """Results come from as many processes as there are jobs, never more at a time than allowed."""
    actions = [service.start_action(ACTION_TYPE, client_id=CLIENT_ID) for _ in range(3)]
    with running(_worker(service, handlers.tell_process)):
        until(lambda: all(action.status == "Succeeded" for action in actions))
    found = set()
    for action in actions:
        assert isinstance(action.result, Success)
        assert action.result.execution_details is not None
        found.add(action.result.execution_details.external_execution_id)
    assert len(found) == 3
    assert str(os.getpid()) not in found


def test_a_coroutine_runs_in_a_process_of_its_own(service: LocalCodePipeline) -> None:
    """Its event loop is in that process, and does not keep it from ending."""
    actions = [service.start_action(ACTION_TYPE, client_id=CLIENT_ID) for _ in range(2)]
    with running(_worker(service, handlers.describe_loop)) as it:
        until(lambda: all(action.status == "Succeeded" for action in actions))
    assert it.is_clean
    places = {action.result.execution_details for action in actions if isinstance(action.result, Success)}
    numbers = {int(str(each.external_execution_id).partition("-")[0]) for each in places if each is not None}
    assert len(numbers - {os.getpid()}) == 2
    until(lambda: not any(_is_alive(number) for number in numbers))


@pytest.mark.parametrize("executor", [processes(1), partial(ProcessPoolExecutor, 1)], ids=["processes", "pool"])
def test_a_crash_before_an_asynchronous_handler_is_one_of_its_job(service: LocalCodePipeline, executor: Any) -> None:
    """A value of a customer for which the configuration class crashes must not stop the claims of other jobs."""
    actions = [
        service.start_action(ACTION_TYPE, client_id=CLIENT_ID, configuration={"Name": name}) for name in ("die", "live")
    ]
    events: list[JobEvent] = []
    worker = _worker(
        service,
        handlers.succeed_later,
        executor=executor,
        concurrency=1,
        configuration=handlers.DyingConfiguration,
        on_event=events.append,
    )
    with running(worker):
        until(lambda: actions[0].status == "Failed")
        until(lambda: actions[1].status == "Succeeded")
    assert [event.name for event in events].count("executor_failed") == 1


def test_a_look_up_that_hangs_in_a_process_delays_only_its_job(service: LocalCodePipeline, tmp_path: Path) -> None:
    """The process ends long before the timeout of its job, health has the job, and another process runs it."""
    path = tmp_path / "token"
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    worker = _worker(
        service,
        handlers.tell_process,
        connect=partial(handlers.connect_without_patience, service.environment()),
        client_tokens=partial(handlers.token_late, path=str(path)),
    )
    with running(worker) as run:
        until(lambda: worker.health().stalled == (action.jobs[0].id,))
        until(lambda: len(_read_lines(tmp_path / "token-calls")) > 1)
        assert worker.health().executor_error is None
        assert action.status == "InProgress"
        path.touch()
        until(lambda: action.status == "Succeeded")
    assert run.is_clean
    until(lambda: not any(_is_alive(int(line)) for line in _read_lines(tmp_path / "token-calls")))


def test_no_more_jobs_are_claimed_than_there_are_processes(service: LocalCodePipeline, tmp_path: Path) -> None:
    """A claimed job would wait for a process while its time runs."""
    actions = [service.start_action(ACTION_TYPE, client_id=CLIENT_ID) for _ in range(2)]
    worker = _worker(service, partial(handlers.hold, directory=str(tmp_path)), 1)
    with running(worker):
        until(lambda: len(_read_lines(tmp_path / "begun")) == 1)
        time.sleep(0.2)
        assert sorted(action.status for action in actions) == ["InProgress", "Queued"]
        (tmp_path / "release").touch()
        until(lambda: all(action.status == "Succeeded" for action in actions))


def test_a_handler_that_hangs_is_killed_at_its_timeout(service: LocalCodePipeline, tmp_path: Path) -> None:
    """Its programs and its files are gone too, the customer reads why, and the slot is free for the next job."""
    clock = ManualClock()
    action, _next = (service.start_action(ACTION_TYPE, client_id=CLIENT_ID) for _ in range(2))
    handler = partial(handlers.hang_hard, directory=str(tmp_path))
    worker = _worker(service, handler, 1, clock=clock, job_timeout=60)
    with running(worker) as it:
        until(lambda: len(_read_lines(tmp_path / "begun")) == 1)
        clock.advance(61)
        until(lambda: action.status == "Failed")
        line = _read_lines(tmp_path / "begun")[0]
        process_id, program_id, workspace = line.split()
        until(lambda: not (_is_alive(int(process_id)) or _is_alive(int(program_id)) or Path(workspace).exists()))
        until(lambda: len(_read_lines(tmp_path / "begun")) == 2)
        clock.advance(61)
    assert it.is_clean
    assert isinstance(action.result, FailureDetails)
    assert action.result.type is FailureType.SYSTEM_UNAVAILABLE
    assert action.result.message == "The job took longer than 60 seconds."


def test_a_released_job_is_killed(service: LocalCodePipeline, tmp_path: Path) -> None:
    """After the grace an idempotent job belongs to another worker, so its process must not go on."""
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    handler = partial(handlers.hold, directory=str(tmp_path))
    with running(_worker(service, handler, journal=SharedJournal(), is_idempotent=True, grace=0)):
        until(lambda: len(_read_lines(tmp_path / "begun")) == 1)
    (line,) = _read_lines(tmp_path / "begun")
    until(lambda: not _is_alive(int(line.split()[0])))
    assert action.status == "InProgress"


def test_a_handler_sees_that_its_worker_stops(service: LocalCodePipeline, tmp_path: Path) -> None:
    """It may leave the rest to another worker."""
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    with running(_worker(service, partial(handlers.continue_at_stop, directory=str(tmp_path)))) as it:
        until((tmp_path / "begun").exists)
    assert it.is_clean
    assert len(action.jobs) == 2


def test_a_death_costs_one_job(service: LocalCodePipeline, tmp_path: Path) -> None:
    """A job that kills its process each time is rerun beside others, which go on, and is failed in the end."""
    events: list[JobEvent] = []
    actions = [service.start_action(ACTION_TYPE, client_id=CLIENT_ID) for _ in range(2)]
    (tmp_path / actions[0].jobs[0].id).touch()
    handler = partial(handlers.die_or_hold, directory=str(tmp_path))
    with running(_worker(service, handler, is_idempotent=True, max_crashes=2, on_event=events.append)):
        until(lambda: actions[0].status == "Failed")
        assert actions[1].status == "InProgress"
        (tmp_path / "release").touch()
        until(lambda: actions[1].status == "Succeeded")
    details = [event.detail for event in events if event.name == "executor_failed"]
    assert details == ["the process ended with exit code 9"] * 2
    assert len(_read_lines(tmp_path / "begun")) == 1


def test_a_signal_ends_a_job_and_no_other(service: LocalCodePipeline, tmp_path: Path) -> None:
    """The memory of the system may be full, so that it kills a process."""
    events: list[JobEvent] = []
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    worker = _worker(service, partial(handlers.hold, directory=str(tmp_path)), on_event=events.append)
    with running(worker):
        until(lambda: len(_read_lines(tmp_path / "begun")) == 1)
        (line,) = _read_lines(tmp_path / "begun")
        os.kill(int(line.split()[0]), signal.SIGKILL)
        until(lambda: action.status == "Failed")
    assert "the process was ended by signal 9" in [event.detail for event in events]


def test_signals_that_stop_a_worker_do_not_end_a_job(service: LocalCodePipeline, tmp_path: Path) -> None:
    """A service manager may send them to all processes of a service."""
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    with running(_worker(service, partial(handlers.hold, directory=str(tmp_path)))):
        until(lambda: len(_read_lines(tmp_path / "begun")) == 1)
        (line,) = _read_lines(tmp_path / "begun")
        for number in (signal.SIGTERM, signal.SIGINT):
            os.kill(int(line.split()[0]), number)
        (tmp_path / "release").touch()
        until(lambda: action.status == "Succeeded")


def test_a_job_needs_no_folder(service: LocalCodePipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where temporary files cannot be created, a handler that creates none works."""
    monkeypatch.setattr(_processes, "Workspace", _raise_os_error)
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    _worker(service, handlers.tell_process).run_once()
    assert action.status == "Succeeded"


def test_a_copy_that_a_handler_forks_does_not_keep_a_dead_job(
    service: LocalCodePipeline, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The copy has the pipe to the worker, which still sees the death; the copy ends too, and its log is lost."""
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    with running(_worker(service, partial(handlers.fork_and_die, directory=str(tmp_path)))):
        until(lambda: action.status == "Failed")
    (line,) = _read_lines(tmp_path / "begun")
    until(lambda: not _is_alive(int(line)))
    assert "from the copy" not in caplog.text


def test_jobs_go_on_when_the_process_dies_that_forks_them(service: LocalCodePipeline, tmp_path: Path) -> None:
    """A signal to the group of the worker ends it, because multiprocessing does not let it ignore SIGTERM."""
    actions = [service.start_action(ACTION_TYPE, client_id=CLIENT_ID) for _ in range(2)]
    handler = partial(handlers.hold, directory=str(tmp_path))
    with running(_worker(service, handler, 1)):
        until(lambda: len(_read_lines(tmp_path / "begun")) == 1)
        server: Any = multiprocessing.forkserver._forkserver
        os.kill(server._forkserver_pid, signal.SIGKILL)
        time.sleep(0.2)
        assert sorted(action.status for action in actions) == ["InProgress", "Queued"]
        (tmp_path / "release").touch()
        until(lambda: all(action.status == "Succeeded" for action in actions))


@pytest.mark.parametrize("message", handlers.MESSAGES)
def test_garbage_in_the_pipe_costs_its_own_job(service: LocalCodePipeline, message: str) -> None:
    """The process is killed, its job is failed, and the worker goes on."""
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    with running(_worker(service, partial(handlers.send_garbage, message=message))) as it:
        until(lambda: action.status == "Failed")
    assert it.is_clean
    assert isinstance(action.result, FailureDetails)
    assert action.result.type is FailureType.SYSTEM_UNAVAILABLE


def test_a_process_that_does_not_end_costs_no_result(
    service: LocalCodePipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is killed before the timeout of its job, which would report a failure in place of the result."""
    monkeypatch.setattr(_processes, "_EXIT_SECONDS", 600.0)
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    _worker(service, handlers.leave_thread, job_timeout=8).run_once()
    assert action.status == "Succeeded"


def test_a_thread_that_a_handler_leaves_ends(
    service: LocalCodePipeline, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The process does not end by itself, so it is killed; the result counts."""
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(_processes, "_EXIT_SECONDS", 0.1)
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    _worker(service, handlers.leave_thread).run_once()
    assert action.status == "Succeeded"


# --- client tokens in the environment


def test_a_process_has_the_present_token(
    service: LocalCodePipeline, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The processes are forked from one that has the environment of its own start."""
    caplog.set_level(logging.DEBUG)
    worker = _worker(service, handlers.tell_process, client_tokens=EnvironmentTokens())
    with running(worker) as it:
        for token in ("xMARKERx-1", "xMARKERx-2"):
            service.register_client(CLIENT_ID, token)
            monkeypatch.setenv("CP_CLIENT_TOKEN_CLIENT_1", token)
            action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
            assert action.wait(timeout=60) == "Succeeded"
    assert it.is_clean
    assert "xMARKERx" not in caplog.text


def test_no_frame_above_a_handler_has_the_token(service: LocalCodePipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tool that shows the stack of a log record with local variables shows no token."""
    service.register_client(CLIENT_ID, "xMARKERx")
    monkeypatch.setenv("CP_CLIENT_TOKEN_CLIENT_1", "xMARKERx")
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    handler = partial(handlers.find_in_frames, parts=("xMARKER", "x"))
    with running(_worker(service, handler, client_tokens=EnvironmentTokens())):
        assert action.wait(timeout=60) == "Succeeded"
    assert isinstance(action.result, Success)
    assert action.result.execution_details is not None
    assert action.result.execution_details.summary == "none"


def test_only_the_token_of_the_job_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that was removed is empty, which is not a token.  Other sources of tokens send nothing."""
    monkeypatch.setenv("CP_CLIENT_TOKEN_C", "xMARKERx")
    tokens = TokenLookup(EnvironmentTokens())
    assert tokens.read_environment("c") == {"CP_CLIENT_TOKEN_C": "xMARKERx"}
    assert tokens.read_environment("d") == {"CP_CLIENT_TOKEN_D": ""}
    assert TokenLookup(handlers.token_of).read_environment("c") == {}


# --- handlers that do not begin


def test_nothing_is_claimed_while_handlers_cannot_be_started(
    service: LocalCodePipeline, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Health has the reason, no crash is counted, and all jobs are done as soon as one handler begins."""
    caplog.set_level(logging.INFO)
    events: list[JobEvent] = []
    connect = partial(handlers.connect_if, service.environment(), os.getpid(), str(tmp_path / "works"))
    actions = [service.start_action(ACTION_TYPE, client_id=CLIENT_ID) for _ in range(4)]
    worker = _worker(service, handlers.tell_process, connect=connect, on_event=events.append)
    with running(worker) as it:
        until(lambda: worker.health().executor_error == "OSError")
        until(lambda: len([event for event in events if event.name == "executor_failed"]) > 3)
        assert sorted(action.status for action in actions) == ["InProgress"] * 2 + ["Queued"] * 2
        (tmp_path / "works").touch()
        until(lambda: all(action.status == "Succeeded" for action in actions))
        assert worker.health().executor_error is None
    assert it.is_clean
    assert caplog.text.count("handlers cannot be started: OSError") == 1
    assert caplog.text.count("handlers can be started again") == 1
    assert "xMARKERx" not in caplog.text


def test_one_job_finds_out_whether_handlers_can_be_started(
    service: LocalCodePipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If no claimed job is left that tries it, the worker claims one more, and no two."""
    is_ours = Steps.is_ours

    def check_slowly(steps: Steps, job: ClaimedJob) -> bool:
        time.sleep(0.3)  # between the start of a handler and the attempt of its engine
        return is_ours(steps, job)

    monkeypatch.setattr(Steps, "is_ours", check_slowly)
    skipped = [0.0]
    connect = partial(handlers.connect_if, service.environment(), os.getpid(), str(tmp_path / "works"))
    actions = [service.start_action(ACTION_TYPE, client_id=CLIENT_ID) for _ in range(5)]
    worker = _worker(service, handlers.tell_process, connect=connect, clock=lambda: time.monotonic() + skipped[0])
    with running(worker):
        until(lambda: len(worker.health().stalled) == 2)
        assert worker.health().executor_error == "OSError"
        # The third one takes a while from its claim to its start.
        service.faults.add("AcknowledgeThirdPartyJob", _After(lambda: time.sleep(0.3)))
        skipped[0] = 3700.0  # CodePipeline has ended both
        until(lambda: _count(actions, "InProgress") == 3)
        time.sleep(0.8)
        assert _count(actions, "InProgress") == 3
        (tmp_path / "works").touch()
        until(lambda: _count(actions, "Succeeded") == 3)


def test_a_start_that_hangs_stops_claims(
    service: LocalCodePipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Health has the reason, the process is killed, and the job is left to another worker: it never began."""
    # The stop comes between two starts.
    monkeypatch.setattr("cp_thirdparty.worker._flow.pauses", lambda: repeat(60.0))
    journal = SharedJournal()
    connect = partial(handlers.connect_late, service.environment(), os.getpid(), str(tmp_path / "begun"))
    actions = [service.start_action(ACTION_TYPE, client_id=CLIENT_ID) for _ in range(2)]
    worker = _worker(service, handlers.tell_process, 1, connect=connect, journal=journal, grace=0)
    with running(worker) as it:
        until((tmp_path / "begun").exists)
        monkeypatch.setattr(_processes, "_START_SECONDS", 0.3)
        until(lambda: bool(worker.health().stalled))
        assert worker.health().executor_error == "the handler did not begin within 0 seconds"
        assert sorted(action.status for action in actions) == ["InProgress", "Queued"]
    assert it.is_clean is False
    until(lambda: not any(_is_alive(int(line)) for line in _read_lines(tmp_path / "begun")))
    assert [entry.state for entry in journal.jobs()] == [JournalState.CLAIMED]


def test_a_process_does_not_wait_forever_for_the_start_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """A module of `preload` may hang in the process from which the others are forked."""
    monkeypatch.setattr(_processes, "_START_SECONDS", 0.01)
    order: Any = None
    child = _processes._Child(multiprocessing, order, on_record=lambda _: None, on_start=lambda: None)
    with _processes._MULTIPROCESSING:
        child._run()
    assert (child.ended.is_set(), child.has_begun, child.problem) == (True, False, "TimeoutError")


def test_a_result_does_not_wait_for_the_start_of_another_process(
    service: LocalCodePipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The start of a process may hang for minutes: the processes that end meanwhile are killed, and not waited for."""
    monkeypatch.setattr(_processes, "_TURN_SECONDS", 0.01)
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    worker = _worker(service, partial(handlers.hold, directory=str(tmp_path)), 1, concurrency=1)
    with running(worker):
        until((tmp_path / "begun").exists)
        with _processes._MULTIPROCESSING:
            (tmp_path / "release").touch()
            until(lambda: action.status == "Succeeded")
            until(lambda: worker.health().free_slots == 1)


def test_a_handler_that_does_not_begin_in_time_is_not_a_failure(service: LocalCodePipeline, tmp_path: Path) -> None:
    """Its process is killed, and the job waits until CodePipeline has ended it."""
    clock = ManualClock()
    events: list[tuple[str, str]] = []
    connect = partial(handlers.connect_late, service.environment(), os.getpid(), str(tmp_path / "begun"))
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    worker = _worker(
        *(service, handlers.tell_process),
        connect=connect,
        clock=clock,
        job_timeout=60,
        on_event=lambda event: events.append((event.name, event.detail)),
    )
    with running(worker):
        until(lambda: len(_read_lines(tmp_path / "begun")) == 1)
        clock.advance(61)
        until(lambda: bool(worker.health().stalled))
        (line,) = _read_lines(tmp_path / "begun")
        until(lambda: not _is_alive(int(line)))
        clock.advance(3600)
        until(lambda: "gone" in {name for name, _ in events})
    # The second reason is that of the killed process, if the worker has noticed its end by then.
    reasons = {"its handler could not start in time", "the handler was not called in time"}
    assert dict(events)["gone"] in reasons
    assert action.status == "InProgress"
    assert "timed_out" not in {name for name, _ in events}


def test_a_handler_that_has_not_begun_at_the_stop_is_left_to_another_worker(
    service: LocalCodePipeline, tmp_path: Path
) -> None:
    """It may begin there although it is not idempotent."""
    journal = SharedJournal()
    connect = partial(handlers.connect_late, service.environment(), os.getpid(), str(tmp_path / "begun"))
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    with running(_worker(service, handlers.tell_process, connect=connect, journal=journal, grace=0)):
        until(lambda: len(_read_lines(tmp_path / "begun")) == 1)
    (line,) = _read_lines(tmp_path / "begun")
    until(lambda: not _is_alive(int(line)))
    assert [entry.state for entry in journal.jobs()] == [JournalState.CLAIMED]
    _worker(service, handlers.tell_process, journal=journal).run_once()
    assert action.status == "Succeeded"


def test_a_job_whose_token_is_missing_elsewhere_stops_no_other(service: LocalCodePipeline) -> None:
    """This process can start handlers, so the worker goes on claiming."""
    tokens = partial(handlers.token_in_this_process, process_id=os.getpid())
    service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    worker = _worker(service, handlers.tell_process, client_tokens=tokens, grace=0.1)
    (outcome,) = worker.run_once()
    assert outcome == Released(job=outcome.job, error="LookupError")


def test_a_process_that_is_not_wanted_any_more_may_not_begin() -> None:
    """It asks although it is being killed."""
    order: Any = None
    child = _processes._Child(None, order, on_record=lambda _: None, on_start=lambda: None)
    child.kill()
    ours, theirs = multiprocessing.Pipe()
    child._begin(ours)
    child.send_stop()
    assert not child.has_begun
    assert not theirs.poll()
    ours.close()
    theirs.close()


def test_a_process_that_starts_too_late_is_killed(tmp_path: Path) -> None:
    """The job may have ended while the system was starting its process."""
    order = _child.Order(
        runner=pickle.dumps(partial(handlers.write_line, str(tmp_path / "begun"), "x")),
        offer=ThirdPartyJob(client_id="c", job_id="j"),
        deadline=0.0,
        folder=None,
        levels=_child_logs.Levels(0, {}),
    )
    context = _processes._find_context(())
    child = _processes._Child(context, order, on_record=lambda _: None, on_start=lambda: None)
    child.kill()
    child.start()
    assert child.ended.wait(30)
    assert (child.has_begun, child.end) == (False, None)


@attrs.frozen
class _Parent:
    """A parent process that ends when the test writes into a pipe."""

    sentinel: int


def test_a_child_ends_with_its_worker_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker may close the connection before, when it has the result."""
    killed: list[int] = []
    monkeypatch.setattr(_child, "kill_group", killed.append)
    sentinel, end = os.pipe()
    monkeypatch.setattr(multiprocessing, "parent_process", lambda: _Parent(sentinel))
    ours, theirs = multiprocessing.Pipe()
    started, stopping = threading.Event(), threading.Event()
    thread = threading.Thread(target=_child._follow_worker, args=(theirs, started, stopping))
    thread.start()
    ours.send_bytes(_child.READY)
    assert started.wait(30)
    assert not stopping.is_set()
    ours.send_bytes(_child.STOP)
    assert stopping.wait(30)
    ours.close()
    thread.join(0.05)
    assert killed == []
    os.write(end, b"x")
    thread.join(30)
    assert killed == [os.getpid()]
    theirs.close()
    os.close(end)
    os.close(sentinel)


@attrs.frozen
class _After:
    """A fault: something happens before the response."""

    happen: Callable[[], object]

    def play(self, serve: Callable[[], Response]) -> Response:
        """Serve, and let it happen."""
        response = serve()
        self.happen()
        return response


class _NoProcess:
    """A context of multiprocessing that keeps what it was to send, and can start no process."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def Pipe(self) -> Any:  # noqa: N802 - as multiprocessing has it
        return multiprocessing.Pipe()

    def Process(self, *, args: tuple[object, ...], **_: object) -> Any:  # noqa: N802 - as multiprocessing has it
        self.sent.append(pickle.dumps(args[1]))
        raise BlockingIOError("xMARKERx")


def test_a_process_that_cannot_be_started_gets_nothing_secret(
    service: LocalCodePipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job waits; what it would have sent holds its ids, and no token, credential or configuration value."""
    context = _NoProcess()
    monkeypatch.setattr(_processes, "_find_context", lambda _preload: context)
    monkeypatch.setattr(_processes, "Workspace", _raise_os_error)
    service.start_action(ACTION_TYPE, client_id=CLIENT_ID, configuration={"ApiKey": "xMARKERx-value"})
    connect = ThirdPartyJobClient.create
    handlers.connect_to(service)
    (outcome,) = _worker(service, handlers.tell_process, connect=connect, grace=0.1).run_once()
    assert outcome == Released(job=outcome.job, error="BlockingIOError")
    assert outcome.job.job_id.encode() in context.sent[0]
    assert b"xMARKERx" not in context.sent[0]


def _raise_os_error(**_: object) -> None:
    raise OSError


def test_a_system_without_threads_starts_no_process(
    service: LocalCodePipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job is tried again."""

    class NoThread(threading.Thread):
        def start(self) -> None:
            if self.name.endswith("-process") and not thrown:
                thrown.append(self.name)
                raise RuntimeError("can't start new thread")
            super().start()

    thrown: list[str] = []
    monkeypatch.setattr(threading, "Thread", NoThread)
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    _worker(service, handlers.tell_process).run_once()
    assert (action.status, len(thrown)) == ("Succeeded", 1)


# --- log records


def test_log_records_of_a_handler_reach_the_worker(
    service: LocalCodePipeline, caplog: pytest.LogCaptureFixture
) -> None:
    """With their level, job and traceback; what the worker does not want is not sent."""
    caplog.set_level(logging.INFO)
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    _worker(service, handlers.log_much).run_once()
    job_id = action.jobs[0].id
    records: list[Any] = [record for record in caplog.records if getattr(record, "job_id", None) == job_id]
    records = [record for record in records if record.processName != "MainProcess"]
    assert [(record.levelname, record.message, record.name) for record in records] == [
        ("INFO", f"[{job_id}] progress 5", "cp_thirdparty.job"),
        ("WARNING", "from a tool", "partner.tool"),
        ("ERROR", f"[{job_id}] failed", "cp_thirdparty.job"),
    ]
    assert (records[0].step, records[0].module, records[0].filename) == ("build", "handlers", "handlers.py")
    assert not hasattr(records[0], "secret")
    assert "ZeroDivisionError: division by zero" in records[2].exc_text
    assert isinstance(action.result, Success)
    assert action.result.execution_details is not None
    assert action.result.execution_details.summary == "debug=False"


def test_a_flood_of_records_blocks_nothing(
    service: LocalCodePipeline, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The log handler of the worker hangs: the job ends nevertheless, and what is too much is dropped and counted."""
    monkeypatch.setattr(_processes, "_RECORDS", 100)
    monkeypatch.setattr(_processes, "_FLUSH_SECONDS", 0.01)
    caplog.set_level(logging.INFO)
    may_go_on = threading.Event()

    class Blocking(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:  # noqa: ARG002 - it only blocks
            may_go_on.wait(60)

    handler, logger = Blocking(), logging.getLogger("cp_thirdparty.job")
    logger.addHandler(handler)
    try:
        action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
        _worker(service, handlers.flood).run_once()
        assert action.status == "Succeeded"
        may_go_on.set()
        until(lambda: "log records of handlers were dropped" in caplog.text)
    finally:
        may_go_on.set()
        logger.removeHandler(handler)


@pytest.mark.parametrize("data", [b"no JSON", b"[]", b'{"extras": {}}', b'{"extras": 5}'])
def test_a_record_that_is_none_is_dropped(data: bytes) -> None:
    """Partner code in a child can send anything."""
    _child_logs.write_record(data)


def test_a_child_creates_no_loggers_in_the_worker(caplog: pytest.LogCaptureFixture) -> None:
    """A record of an unknown logger is written by the nearest one above it, with its own name."""
    sent: list[bytes] = []
    record = logging.LogRecord("nobody.knows", logging.WARNING, __file__, 1, "x", None, None)
    _child_logs.RecordSender(sent.append, "j").emit(record)
    _child_logs.write_record(sent[0])
    assert [(each.name, each.message) for each in caplog.records] == [("nobody.knows", "x")]
    assert "nobody.knows" not in logging.Logger.manager.loggerDict


def test_a_record_of_a_child_has_a_maximum_size() -> None:
    """The worker refuses a longer message and ends the job, so a handler's long record would end it."""
    sent: list[bytes] = []
    long = "\U0001f600" * 50_000  # twelve bytes of JSON each
    record = logging.LogRecord(long, logging.WARNING, long, 1, long, None, None, func=long)
    vars(record).update({f"extra{number}": long for number in range(60)}, taskName=long, threadName=long, **{long: 1})
    record.exc_info = (ValueError, ValueError(long), None)
    _child_logs.RecordSender(sent.append, "j").emit(record)
    assert len(sent[0]) < _processes._LONGEST_MESSAGE / 3
    assert list(json.loads(sent[0])["extras"]) == ["job_id", "extra0", "extra1"]


def test_a_copy_of_a_child_sends_no_records(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has the pipe of the child, whose messages it would damage."""
    sent: list[bytes] = []
    sender = _child_logs.RecordSender(sent.append, "j")
    monkeypatch.setattr(os, "getpid", lambda: 0)
    sender.emit(logging.LogRecord("x", logging.WARNING, __file__, 1, "x", None, None))
    assert sent == []


def test_a_record_below_the_level_of_the_worker_is_not_written(caplog: pytest.LogCaptureFixture) -> None:
    """The level may have changed since the child began."""
    sent: list[bytes] = []
    record = logging.LogRecord("cp_thirdparty.job", logging.DEBUG, __file__, 1, "x", None, None)
    _child_logs.RecordSender(sent.append, "j").emit(record)
    _child_logs.write_record(sent[0])
    assert caplog.records == []


# --- arguments


@pytest.mark.parametrize(
    ("create", "error", "problem"),
    [
        (lambda: processes(0), ValueError, "n: must be at least 1"),
        (lambda: processes(True), TypeError, "n: must be an integer"),
        (lambda: processes("2"), TypeError, "n: must be an integer"),  # type: ignore[arg-type]
        (lambda: processes(2, preload="json"), TypeError, "preload: must be a sequence of"),  # type: ignore[arg-type]
    ],
)
def test_wrong_arguments_are_refused(create: Callable[[], object], error: type[Exception], problem: str) -> None:
    """The error names the argument."""
    with pytest.raises(error, match=f"^{problem}"):
        create()


@pytest.mark.parametrize(
    ("settings", "error", "problem"),
    [
        ({"executor": processes(11)}, ValueError, "executor: must not have more processes than concurrency"),
        ({"handler": lambda _: None}, TypeError, "handler: cannot go to another process"),
    ],
)
def test_a_worker_refuses_what_cannot_work(settings: dict[str, Any], error: type[Exception], problem: str) -> None:
    """At its construction, and not for the first job."""
    every: dict[str, Any] = {"handler": handlers.fail, "executor": processes(1), **settings}
    with pytest.raises(error, match=f"^{problem}"):
        JobWorker(ThirdPartyJobClient.create, ACTION_TYPE, client_tokens=handlers.token_of, **every)


# --- the end of the worker's process


@pytest.fixture
def start(service: LocalCodePipeline, tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Give a function that starts a worker in a process of its own session; all are killed at the end."""
    started: list[subprocess.Popen[bytes]] = []

    def start_worker(*arguments: str) -> subprocess.Popen[bytes]:
        environment = {**os.environ, **service.environment(), "PYTHONPATH": str(Path(__file__).parents[1])}
        command = [sys.executable, "-m", "support.processes_child", str(tmp_path), *arguments]
        started.append(subprocess.Popen(command, env=environment, start_new_session=True))
        return started[-1]

    yield start_worker
    for each in started:
        each.kill()
        each.wait(30)


def _begin(service: LocalCodePipeline, tmp_path: Path, jobs: int = 1) -> tuple[list[Any], list[int]]:
    """Start jobs; return them, and the ids of the processes in which they run."""
    actions = [service.start_action(ACTION_TYPE, client_id=CLIENT_ID) for _ in range(jobs)]
    until(lambda: len(_read_lines(tmp_path / "begun")) == jobs)
    return actions, [int(line.split()[0]) for line in _read_lines(tmp_path / "begun")]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_signal_to_the_group_lets_jobs_end(
    service: LocalCodePipeline, tmp_path: Path, start: Callable[..., Any], number: signal.Signals
) -> None:
    """As `timeout`, a terminal or a service manager sends it: the worker drains, and its jobs go on."""
    worker = start("run")
    actions, _ = _begin(service, tmp_path, 2)
    os.killpg(worker.pid, number)
    time.sleep(0.5)
    assert [action.status for action in actions] == ["InProgress"] * 2
    (tmp_path / "release").touch()
    assert worker.wait(30) == 0
    assert [action.status for action in actions] == ["Succeeded"] * 2


@pytest.mark.slow
def test_jobs_end_when_the_worker_is_killed(
    service: LocalCodePipeline, tmp_path: Path, start: Callable[..., Any]
) -> None:
    """No process of a job goes on without the worker that would report it."""
    worker = start("run")
    _, process_ids = _begin(service, tmp_path, 2)
    worker.kill()
    until(lambda: not any(_is_alive(process_id) for process_id in process_ids))


@pytest.mark.slow
def test_the_interpreter_ends_although_a_handler_hangs(
    service: LocalCodePipeline, tmp_path: Path, start: Callable[..., Any]
) -> None:
    """Also if the program ends without a stop of the worker, whose thread is a daemon; the job stays in the journal."""
    worker = start("thread")
    (action,), process_ids = _begin(service, tmp_path)
    (tmp_path / "end").touch()
    assert worker.wait(30) == 0
    until(lambda: not any(_is_alive(process_id) for process_id in process_ids))
    assert action.status == "InProgress"
