"""Code of the partner may hang at the start and at the end of a worker: its methods return, and report that."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from typing import Any

import attrs
import pytest
from support import handlers
from support.worker_service import (
    ACTION_TYPE,
    CLIENT_ID,
    CLIENT_TOKEN,
    TOKENS,
    AnyJob,
    Running,
    SharedJournal,
    make_worker,
    running,
    scope_of,
    succeed,
    until,
)

from cp_thirdparty import ActionTypeId, JobWorker, Succeeded, ThirdPartyJob, ThirdPartyJobClient, exceptions
from cp_thirdparty.testing import LocalCodePipeline, ManualClock
from cp_thirdparty.testing.faults import ExpiredCredentials
from cp_thirdparty.worker import (
    JobEvent,
    Journal,
    Reported,
    WorkerHealth,
    _bounded_calls,
    _clients,
    _journal_writer,
    _loop,
    _recovery,
    processes,
)
from cp_thirdparty.worker import worker as worker_module
from cp_thirdparty.worker._async_handlers import AsyncHandlers
from cp_thirdparty.worker._claimed_job import Stage
from cp_thirdparty.worker._clients import Clients
from cp_thirdparty.worker._emit import Emitter
from cp_thirdparty.worker._engines import ThreadEngine
from cp_thirdparty.worker._executors import ExecutorEngine
from cp_thirdparty.worker._poller import Poller
from cp_thirdparty.worker._processes import ProcessEngine, _Child
from cp_thirdparty.worker._start_permit import Permits
from cp_thirdparty.worker.runner import Runner


@pytest.fixture(autouse=True)
def _short_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_bounded_calls, "_MIN_SECONDS", 0.05)
    monkeypatch.setattr(_bounded_calls, "_TICK", 0.01)
    monkeypatch.setattr(worker_module, "_START_SECONDS", 0.05)
    monkeypatch.setattr(_loop, "_MIN_END_SECONDS", 0.05)
    monkeypatch.setattr(_clients, "_CLOSE_SECONDS", 0.05)


class _Refuses(Executor):
    """An executor that accepts nothing."""

    def submit(self, *_: Any, **__: Any) -> Any:
        """Refuse."""
        raise RuntimeError("cannot schedule new futures")


@attrs.define
class Hanging:
    """A function that hangs from a call on, until the end of the test."""

    function: Callable[..., Any]
    calls: int = 1
    entered: threading.Event = attrs.field(factory=threading.Event)
    release: threading.Event = attrs.field(factory=threading.Event)

    def __call__(self, *arguments: Any, **parameters: Any) -> Any:
        """Hang, then call the function."""
        self.calls -= 1
        if self.calls <= 0:
            self.entered.set()
            self.release.wait()
        return self.function(*arguments, **parameters)


@pytest.fixture
def hang() -> Iterator[Callable[..., Hanging]]:
    """Give what lets functions hang until the end of the test."""
    created: list[Hanging] = []

    def create(function: Callable[..., Any], calls: int = 1) -> Hanging:
        created.append(Hanging(function, calls))
        return created[-1]

    yield create
    for each in created:
        each.release.set()


def _hanging_journal(hang: Callable[..., Hanging], method: str, calls: int = 1) -> tuple[Any, Hanging]:
    journal: Any = SharedJournal()
    hanging = hang(getattr(journal, method), calls)
    setattr(journal, method, hanging)
    return journal, hanging


def _leave_job(journal: Journal, service: LocalCodePipeline, *, has_begun: bool = True) -> str:
    """Let a worker that has ended leave a running job in a journal; return its id."""
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    with service.client() as client:
        offer = ThirdPartyJob(client_id=CLIENT_ID, job_id=action.jobs[0].id)
        journal.claim(offer, scope_of(client))
        nonce = client.get_third_party_job_details(offer.job_id, client_token=CLIENT_TOKEN).nonce
        client.acknowledge_third_party_job(offer.job_id, nonce=nonce, client_token=CLIENT_TOKEN)
    journal.running(offer.job_id)
    journal.release(offer.job_id, has_begun=has_begun)
    return offer.job_id


@pytest.mark.parametrize("method", ["claim", "running", "result", "finish"])
def test_a_journal_that_hangs_ends_with_the_grace(
    service: LocalCodePipeline, hang: Callable[..., Hanging], method: str
) -> None:
    """A write that does not return costs no result: a claimed job is reported after the grace."""
    journal, hanging = _hanging_journal(hang, method)
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    worker = make_worker(service, journal=journal, grace=0.0)
    with running(worker) as it:
        assert hanging.entered.wait(30)
        worker.stop()
        it.join()
    assert it.is_clean is False
    assert action.status.value == {"claim": "Dispatched", "running": "Failed"}.get(method, "Succeeded")
    hanging.release.set()
    # A claim that was written too late is withdrawn: its job was not acknowledged.
    until(lambda: method != "claim" or not list(journal.jobs()))


@pytest.mark.parametrize("raises", [False, True])
def test_a_claim_that_is_refused_too_late_withdraws_nothing(
    service: LocalCodePipeline, hang: Callable[..., Hanging], *, raises: bool
) -> None:
    """The row belongs to another worker."""
    journal, hanging = _hanging_journal(hang, "claim")
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    worker = make_worker(service, journal=journal, grace=0.0)
    with running(worker) as it:
        assert hanging.entered.wait(30)
        worker.stop()
        it.join()
    with service.client() as client:
        assert hanging.function(ThirdPartyJob(client_id=CLIENT_ID, job_id=action.jobs[0].id), scope_of(client))
    if raises:
        hanging.function = next  # which raises for what a claim is called with
    hanging.release.set()
    until(lambda: all(thread.name != "cp-thirdparty-journal" for thread in threading.enumerate()))
    assert len(list(journal.jobs())) == 1


def test_a_journal_that_hangs_while_the_worker_runs_delays_its_job_only(
    service: LocalCodePipeline, hang: Callable[..., Hanging], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The result is reported without the journal, health reports the journal, and nothing more is claimed."""
    journal, hanging = _hanging_journal(hang, "result")

    def handle(_job: AnyJob) -> Succeeded:
        monkeypatch.setattr(_journal_writer, "_WRITE_SECONDS", 60.0 if hanging.entered.is_set() else 0.05)
        return Succeeded()

    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    worker = make_worker(service, handle, journal=journal)
    with running(worker) as it:
        until(lambda: action.status == "Succeeded")
        assert worker.health().journal_error == "the journal has not returned in time"
        monkeypatch.setattr(_journal_writer, "_WRITE_SECONDS", 60.0)
        second = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
        hanging.release.set()
        until(lambda: second.status == "Succeeded" and worker.health().in_flight == 0)
        until(lambda: worker.health().journal_error is None)
    assert it.is_clean is False  # the operator must look at the journal


@pytest.mark.parametrize("is_left", [False, True], ids=["at the claim", "at the start of the handler"])
def test_a_journal_that_hangs_does_not_keep_the_thread_that_watches(
    service: LocalCodePipeline, hang: Callable[..., Hanging], *, is_left: bool
) -> None:
    """The thread goes on after the timeout of the job, so it notices a stop, and the timeouts of other jobs."""
    clock, journal = ManualClock(), SharedJournal()
    if is_left:
        _leave_job(journal, service, has_begun=False)
    else:
        service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    hanging = hang(journal.running)
    journal.running = hanging  # type: ignore[method-assign]
    worker = make_worker(service, journal=journal, job_timeout=60.0, grace=0.0, clock=clock)
    with running(worker):
        assert hanging.entered.wait(30)
        clock.advance(61)
        loop = worker._loop
        assert loop is not None
        for _ in range(2):
            clock.advance(1)
            loop.wake()
            until(lambda: loop._watched_at == clock())
        hanging.release.set()


def test_a_worker_that_waits_for_its_journal_is_alive(
    service: LocalCodePipeline, hang: Callable[..., Hanging], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A liveness probe must not end it: its jobs go on, and the wait has a timeout of its own."""
    monkeypatch.setattr(_recovery, "_INTERVAL", 0.0)
    clock = ManualClock()
    journal, hanging = _hanging_journal(hang, "recover", 2)
    worker = make_worker(service, journal=journal, grace=0.0, clock=clock)
    with running(worker):
        assert hanging.entered.wait(30)
        loop = worker._loop
        assert loop is not None
        clock.advance(200)
        loop.wake()
        until(lambda: worker.health().is_alive)
        assert worker.health().seconds_since_loop == 0.0
        hanging.release.set()


def test_a_journal_that_hangs_at_the_last_writes_ends_the_worker(
    service: LocalCodePipeline, hang: Callable[..., Hanging], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The jobs that the worker did not take up cannot be released."""
    monkeypatch.setattr(Poller, "start", lambda *_: None)  # it takes no job up
    journal = SharedJournal()
    _leave_job(journal, service)
    hanging = hang(journal.release)
    journal.release = hanging  # type: ignore[method-assign]
    worker = make_worker(service, journal=journal, grace=0.0)
    assert worker.run() is False
    assert hanging.entered.is_set()


def test_a_journal_that_hangs_is_not_called_by_the_next_run(
    service: LocalCodePipeline, hang: Callable[..., Hanging], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each run would leave one more thread that hangs, until the first call has returned."""
    monkeypatch.setattr(_journal_writer, "_READ_SECONDS", 0.05)
    journal, hanging = _hanging_journal(hang, "recover")
    service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    with make_worker(service, journal=journal) as worker:
        for _ in range(3):
            with pytest.raises(exceptions.JournalError, match="the journal has not returned in time"):
                worker.run_once()
        assert hanging.calls == 0
        hanging.release.set()
        monkeypatch.undo()
        until(lambda: not worker._journal_calls.is_hanging)
        (outcome,) = worker.run_once()
        assert isinstance(outcome, Reported)


@pytest.mark.parametrize("calls", [1, 2])
def test_a_look_for_jobs_that_hangs_ends_with_the_worker(
    service: LocalCodePipeline, hang: Callable[..., Hanging], monkeypatch: pytest.MonkeyPatch, calls: int
) -> None:
    """What the journal returns too late is released, so that the next look finds it."""
    monkeypatch.setattr(_recovery, "_INTERVAL", 0.0)
    monkeypatch.setattr(_loop, "_LAST_SECONDS", 0.05)
    journal, hanging = _hanging_journal(hang, "recover", calls)
    released: list[str] = []
    release = journal.release
    worker = make_worker(service, journal=journal, grace=0.0)
    with running(worker) as it:
        assert hanging.entered.wait(30)
        job_id = _leave_job(journal, service)

        def release_and_note(job_id: str, **more: Any) -> None:
            release(job_id, **more)
            released.append(job_id)

        journal.release = release_and_note
        worker.stop()
        it.join()
    assert (it.is_clean, it.failure) == (False, None)
    hanging.release.set()
    until(lambda: released == [job_id])
    assert [entry.is_owner_alive for entry in journal.jobs()] == [None]


@pytest.mark.parametrize("name", ["connect", "executor"])
def test_a_start_that_hangs_ends_with_a_stop(
    service: LocalCodePipeline, hang: Callable[..., Hanging], name: str
) -> None:
    """Nothing was claimed.  The worker may run again."""
    connect: Any = partial(handlers.connect_with, service.environment())
    hanging = hang(connect if name == "connect" else _Refuses)
    worker: JobWorker[Any] = JobWorker(
        hanging if name == "connect" else connect,
        ACTION_TYPE,
        handlers.tell_process,
        client_tokens=handlers.token_of,
        executor=hanging if name == "executor" else None,
    )
    it = Running(worker)
    assert hanging.entered.wait(30)
    with pytest.raises(RuntimeError, match="the worker is already running"):
        worker.run()
    worker.close()
    it.join()
    assert (it.is_clean, it.failure) == (False, None)
    hanging.calls = 1000
    worker._executor = None
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    worker.run_once()
    assert action.status == "Succeeded"


@attrs.define
class _Closed(Executor):
    """An executor and a client's end that a test sees."""

    ends: list[str] = attrs.field(factory=list)

    def shutdown(self, *_: Any, **__: Any) -> None:
        """Note it."""
        self.ends.append("executor")


@pytest.mark.parametrize(("name", "ends"), [("connect", ["clients"]), ("executor", ["executor", "clients"])])
def test_a_start_that_returns_too_late_is_undone(
    service: LocalCodePipeline,
    hang: Callable[..., Hanging],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    ends: list[str],
) -> None:
    """The clients and the executor of a run that never was are closed, and the next run does not get them."""
    executor = _Closed()
    close = Clients.close

    def note_close(clients: Clients) -> None:
        if clients.reader.endpoint_url == service.endpoint_url:  # a worker of an earlier test may end late
            executor.ends.append("clients")
        close(clients)

    monkeypatch.setattr(Clients, "close", note_close)
    connect: Any = partial(handlers.connect_with, service.environment())
    hanging = hang(connect if name == "connect" else lambda: executor)
    worker: JobWorker[Any] = JobWorker(
        hanging if name == "connect" else connect,
        ACTION_TYPE,
        handlers.tell_process,
        client_tokens=handlers.token_of,
        executor=hanging if name == "executor" else None,
    )
    worker.stop()
    assert worker.run() is False
    assert executor.ends == []
    hanging.release.set()
    until(lambda: executor.ends == ends)
    assert worker._clients is None


def test_an_executor_that_cannot_be_created_leaves_no_client_open(
    service: LocalCodePipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its error is raised."""
    closed: list[Clients] = []

    def note_close(clients: Clients) -> None:
        if clients.reader.endpoint_url == service.endpoint_url:  # a worker of an earlier test may end late
            closed.append(clients)

    monkeypatch.setattr(Clients, "close", note_close)
    connect: Any = partial(handlers.connect_with, service.environment())
    worker: JobWorker[Any] = JobWorker(
        connect, ACTION_TYPE, handlers.tell_process, client_tokens=handlers.token_of, executor=_fail
    )
    with pytest.raises(OSError, match="no processes"):
        worker.run_once()
    assert len(closed) == 1


def _fail() -> Executor:
    raise OSError("no processes")


def test_a_stop_before_a_start_that_hangs_ends_it(service: LocalCodePipeline, hang: Callable[..., Hanging]) -> None:
    """A signal may come before the worker runs."""
    connect = hang(service.client)
    worker: JobWorker[Any] = JobWorker(connect, ACTION_TYPE, succeed, client_tokens=TOKENS)
    worker.stop()
    assert worker.run() is False


def _stop_while_clients_are_created(
    service: LocalCodePipeline, connect: Hanging, close: Callable[[], object]
) -> Running:
    """Run a worker whose clients close by a function, and stop it when `connect` hangs after a poll was refused."""

    def connect_with_close() -> ThirdPartyJobClient:
        client: ThirdPartyJobClient = connect()
        setattr(client, "close", close)  # noqa: B010 - mypy refuses an assignment
        return client

    service.faults.add("PollForThirdPartyJobs", ExpiredCredentials(), times=None)
    worker: JobWorker[Any] = JobWorker(
        connect_with_close, ACTION_TYPE, succeed, client_tokens=TOKENS, poll_interval=0.05, grace=0.0
    )
    with running(worker) as it:
        assert connect.entered.wait(30)
        worker.stop()
        it.join()
    return it


def test_clients_that_hang_are_left(service: LocalCodePipeline, hang: Callable[..., Hanging]) -> None:
    """A connection that does not close, and clients that are just created again, do not keep the worker."""
    closing = hang(lambda: None)
    it = _stop_while_clients_are_created(service, hang(service.client, 3), closing)
    assert closing.entered.is_set()
    assert it.failure is None


def test_clients_that_are_created_too_late_are_closed(service: LocalCodePipeline, hang: Callable[..., Hanging]) -> None:
    """Their worker has ended meanwhile."""
    connect = hang(service.client, 3)
    closed: list[int] = []
    _stop_while_clients_are_created(service, connect, partial(closed.append, 1))
    assert len(closed) == 2
    connect.release.set()
    until(lambda: len(closed) == 4)


class _Metrics:
    def __init__(self, record: Callable[..., Any]) -> None:
        self._record = record

    def record(self, event: JobEvent, _action_type_id: ActionTypeId) -> None:
        if event.name == "released":
            self._record()

    def watch(self, _action_type_id: ActionTypeId, _health: Callable[[], WorkerHealth], _journal: Journal) -> None:
        pass


def test_metrics_that_hang_at_the_end_are_left(
    service: LocalCodePipeline, hang: Callable[..., Hanging], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job is released."""
    monkeypatch.setattr(_loop, "_LAST_SECONDS", 0.3)
    monkeypatch.setattr(_bounded_calls, "_MIN_SECONDS", 30.0)  # the journal does not hang
    monkeypatch.setattr(Poller, "start", lambda *_: None)  # it takes no job up
    journal = SharedJournal()
    _leave_job(journal, service)
    record = hang(lambda: None)
    worker = make_worker(service, journal=journal, grace=0.0, metrics=_Metrics(record))
    assert worker.run() is False
    assert record.entered.is_set()
    assert [entry.is_owner_alive for entry in journal.jobs()] == [None]


def test_after_the_end_nothing_more_is_released(
    service: LocalCodePipeline, hang: Callable[..., Hanging], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a large backlog would use the journal for as long as it takes; others take the jobs over."""
    monkeypatch.setattr(_loop, "_LAST_SECONDS", 0.3)
    monkeypatch.setattr(_bounded_calls, "_MIN_SECONDS", 30.0)  # the wait for the journal is longer than the end
    monkeypatch.setattr(Poller, "start", lambda *_: None)  # it takes no job up
    journal = SharedJournal()
    for _ in range(2):
        _leave_job(journal, service)
    hanging = hang(journal.release)
    journal.release = hanging  # type: ignore[method-assign]
    assert make_worker(service, journal=journal, grace=0.0).run() is False
    hanging.release.set()
    until(lambda: all(thread.name != "cp-thirdparty-end" for thread in threading.enumerate()))
    assert [entry.is_owner_alive for entry in journal.jobs()] == [None, True]


def test_clients_that_are_being_created_keep_nobody(service: LocalCodePipeline, hang: Callable[..., Hanging]) -> None:
    """Other threads go on with the present ones."""
    connect = hang(service.client, 3)
    clients = Clients(connect, Emitter())
    before = clients.reader
    thread = threading.Thread(target=clients.reconnect, args=(before,))
    thread.start()
    assert connect.entered.wait(30)
    clients.reconnect(before)
    assert clients.reader is before
    connect.release.set()
    thread.join()
    assert clients.reader is not before
    clients.close()


# --- a stop at the moment of a start


def _pause_before_the_process(monkeypatch: pytest.MonkeyPatch, pause: Callable[[], object]) -> None:
    monkeypatch.setattr("cp_thirdparty.worker._processes._create_folder", pause)


def _pause_before_the_task(monkeypatch: pytest.MonkeyPatch, pause: Callable[[], object]) -> None:
    monkeypatch.setattr(Permits, "create", lambda _permits: pause())


def _pause_before_the_handler(monkeypatch: pytest.MonkeyPatch, pause: Callable[[], object]) -> None:
    monkeypatch.setattr(Runner, "prepare", lambda _runner, _coroutines: pause())


def _pause_after_failure(engine: type, monkeypatch: pytest.MonkeyPatch, pause: Callable[[], object]) -> None:
    """Let each handler fail to start, and pause when its engine has noted that."""
    run = engine.run  # type: ignore[attr-defined]

    def run_and_pause(*arguments: Any) -> Any:
        found = run(*arguments)
        pause()
        return found

    def fail(_: Any) -> None:
        raise RuntimeError("can't start new thread")

    def fail_child(child: _Child) -> None:
        child.ended.set()
        fail(child)

    monkeypatch.setattr(engine, "run", run_and_pause)
    monkeypatch.setattr(_Child, "start", fail_child)
    monkeypatch.setattr(AsyncHandlers, "start", fail)


_SETTINGS: dict[str, dict[str, Any]] = {
    "threads": {},
    "processes": {"executor": processes(1)},
    "executor": {"executor": _Refuses},
    "pool": {"executor": partial(ThreadPoolExecutor, 1)},
}


@pytest.mark.parametrize(
    ("engine", "delay"),
    [
        ("processes", _pause_before_the_process),
        ("pool", _pause_before_the_task),
        ("threads", _pause_before_the_handler),
        ("processes", partial(_pause_after_failure, ProcessEngine)),
        ("executor", partial(_pause_after_failure, ExecutorEngine)),
        ("threads", partial(_pause_after_failure, ThreadEngine)),
    ],
    ids=[
        "before the process",
        "before the task",
        "before the handler",
        "after its failure",
        "after the executor's failure",
        "without an event loop",
    ],
)
def test_a_job_that_could_not_start_is_released_at_a_stop(
    service: LocalCodePipeline,
    hang: Callable[..., Hanging],
    monkeypatch: pytest.MonkeyPatch,
    engine: str,
    delay: Callable[[pytest.MonkeyPatch, Hanging], None],
) -> None:
    """Its handler never began, so the customer must not read a failure."""
    pause = hang(lambda: None)
    delay(monkeypatch, pause)
    journal = SharedJournal()
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    worker: JobWorker[Any] = JobWorker(
        partial(handlers.connect_with, service.environment()),
        ACTION_TYPE,
        handlers.sleep_once if engine == "threads" else handlers.tell_process,
        client_tokens=handlers.token_of,
        journal=journal,
        concurrency=1,
        poll_interval=0.05,
        grace=0.0,
        **_SETTINGS[engine],
    )
    with running(worker) as it:
        assert pause.entered.wait(30)
        worker.stop()
        it.join()
    assert (action.status, action.result) == ("InProgress", None)
    assert [entry.is_owner_alive for entry in journal.jobs()] == [None]
    pause.release.set()
    name = f"cp-thirdparty-{action.jobs[0].id}"
    until(lambda: all(thread.name != name for thread in threading.enumerate()))
    assert action.status == "InProgress"  # the handler did not begin later either


def test_a_job_whose_process_is_not_there_at_its_timeout_is_not_failed(
    service: LocalCodePipeline, hang: Callable[..., Hanging], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its handler never began and never does, so the job waits until CodePipeline has ended it."""
    pause, clock = hang(lambda: None), ManualClock()
    _pause_before_the_process(monkeypatch, pause)
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    worker: JobWorker[Any] = JobWorker(
        partial(handlers.connect_with, service.environment()),
        ACTION_TYPE,
        handlers.tell_process,
        client_tokens=handlers.token_of,
        executor=processes(1),
        concurrency=1,
        poll_interval=0.05,
        job_timeout=60.0,
        grace=0.0,
        clock=clock,
    )
    with running(worker):
        assert pause.entered.wait(30)
        clock.advance(61)
        loop = worker._loop
        assert loop is not None
        (job,) = loop._slots.jobs()
        until(lambda: job.stage is not Stage.RUNNING)
        pause.release.set()
        until(lambda: job.offer.job_id in worker.health().stalled)
        assert action.status == "InProgress"
