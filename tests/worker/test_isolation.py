"""Code of the partner may raise anything, hang or fork: jobs end as if it had not."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import attrs
import pytest
from support.worker_service import (
    ACTION_TYPE,
    CLIENT_ID,
    CLIENT_TOKEN,
    TOKENS,
    AnyJob,
    Instead,
    make_worker,
    running,
    scope_of,
    until,
)

from cp_thirdparty import (
    FailureDetails,
    FailureType,
    JobWorker,
    SecretStr,
    Succeeded,
    ThirdPartyJob,
    ThirdPartyJobClient,
)
from cp_thirdparty.testing import LocalCodePipeline, ManualClock
from cp_thirdparty.testing._wire import error_response
from cp_thirdparty.testing.faults import ExpiredCredentials, LostAnswer
from cp_thirdparty.worker import (
    JobProcessor,
    JournalState,
    MemoryJournal,
    Rejected,
    Released,
    Reported,
    Uncertain,
    Unsent,
    _steps,
    tokens,
)
from cp_thirdparty.worker._bounded_calls import SafeClock
from cp_thirdparty.worker._clients import Clients
from cp_thirdparty.worker._emit import Emitter
from cp_thirdparty.worker._isolation import Raised, call_partner, call_with_timeout
from cp_thirdparty.worker._processing import Processing
from cp_thirdparty.worker.tokens import NoTokenError, TokenLookup

_SUCCESS = "PutThirdPartyJobSuccessResult"


class _UnreadableError(Exception):
    """An exception whose own code raises."""

    def __str__(self) -> str:
        raise ZeroDivisionError


class _Group(BaseException):
    exceptions = (SystemExit(1), KeyboardInterrupt())


_RAISED = (SystemExit(3), KeyboardInterrupt(), GeneratorExit(), _UnreadableError(), _Group(), ValueError("xMARKERx"))
each_raised = pytest.mark.parametrize("raised", _RAISED, ids=lambda raised: type(raised).__name__)


class _Sometimes:
    """Partner's code that raises in its first calls."""

    def __init__(self, raised: BaseException, function: Callable[..., Any], *, calls: int = 1, begin: int = 0) -> None:
        self.left = calls
        self._begin = begin
        self._raised = raised
        self._function = function

    def __call__(self, *arguments: Any, **parameters: Any) -> Any:
        """Raise, or call the function."""
        if self._begin:
            self._begin -= 1
        elif self.left:
            self.left -= 1
            raise self._raised
        return self._function(*arguments, **parameters)


@pytest.fixture
def service() -> Iterator[LocalCodePipeline]:
    """Give a running service with one customer."""
    with LocalCodePipeline(redelivery_delay=0.2) as made:
        made.register_client(CLIENT_ID, CLIENT_TOKEN)
        yield made


def _check_success(service: LocalCodePipeline, worker: JobWorker[Any]) -> None:
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    with running(worker):
        until(lambda: action.status not in ("Queued", "Dispatched", "InProgress"))
    assert action.status == "Succeeded"


@each_raised
def test_a_token_store_may_raise(service: LocalCodePipeline, raised: BaseException) -> None:
    """Before the claim the job is offered again; for the report the token is looked up again."""
    look_up = _Sometimes(raised, TOKENS.get)
    _check_success(service, make_worker(service, client_tokens=look_up))
    assert look_up.left == 0


@pytest.mark.parametrize("raised", _RAISED[:1])
def test_a_token_store_may_raise_when_a_token_is_renewed(service: LocalCodePipeline, raised: BaseException) -> None:
    """The result is kept until the token can be looked up again."""
    look_up = _Sometimes(raised, TOKENS.get, begin=1)

    def handle(_job: AnyJob) -> Succeeded:
        service.faults.add(_SUCCESS, Instead(error_response("InvalidClientTokenException", "no")))
        return Succeeded()

    _check_success(service, make_worker(service, handle, client_tokens=look_up))
    assert look_up.left == 0


@pytest.mark.parametrize(
    ("method", "raised"),
    list(zip(("claim", "running", "result", "finish", "recover", "prune"), _RAISED, strict=True)),
)
def test_a_journal_may_raise(service: LocalCodePipeline, method: str, raised: BaseException) -> None:
    """A claimed job goes on, and one that cannot be recorded is offered again."""
    journal = MemoryJournal()
    begin = 1 if method == "recover" else 0  # a worker does not start with a journal that cannot be read
    broken = _Sometimes(raised, getattr(journal, method), begin=begin)
    setattr(journal, method, broken)
    _check_success(service, make_worker(service, journal=journal))


@pytest.mark.parametrize("raised", _RAISED[:1])
def test_a_hook_of_botocore_may_raise(service: LocalCodePipeline, raised: BaseException) -> None:
    """The result is sent once more."""
    hook = _Sometimes(raised, lambda **_: None)

    def connect() -> ThirdPartyJobClient:
        client = service.client()
        client._client.meta.events.register_first(f"before-send.codepipeline.{_SUCCESS}", hook)
        return client

    worker = JobWorker(connect, ACTION_TYPE, lambda _: Succeeded(), client_tokens=TOKENS, poll_interval=0.05)
    _check_success(service, worker)
    assert hook.left == 0


@pytest.mark.parametrize("raised", _RAISED[:1])
def test_connect_may_raise_when_it_is_called_again(service: LocalCodePipeline, raised: BaseException) -> None:
    """The clients are kept until new ones can be created."""
    connect = _Sometimes(raised, service.client, begin=2)

    def handle(_job: AnyJob) -> Succeeded:
        service.faults.add(_SUCCESS, ExpiredCredentials())
        service.faults.add(_SUCCESS, ExpiredCredentials())
        return Succeeded()

    worker: JobWorker[Any] = JobWorker(connect, ACTION_TYPE, handle, client_tokens=TOKENS, poll_interval=0.05)
    _check_success(service, worker)
    assert connect.left == 0


@pytest.mark.parametrize("raised", _RAISED[:1])
def test_a_clock_may_raise(service: LocalCodePipeline, raised: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    """The worker goes on by the time since the last reading."""
    clock = _Sometimes(raised, time.monotonic, calls=1000, begin=5)
    _check_success(service, make_worker(service, clock=clock))
    assert clock.left < 1000
    problem = f"clock raised {type(raised).__name__}; until it works again, the worker computes the time without it"
    assert [record.getMessage() for record in caplog.records].count(problem) == 1


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None, "12"])
def test_a_clock_that_returns_no_number_is_passed_over(value: object) -> None:
    """Time goes on from the last number."""
    readings: list[Any] = [100.0, value]
    clock = SafeClock(lambda: readings[0])
    assert clock() == 100.0
    readings.pop(0)
    assert 100.0 <= clock() < 101.0
    assert clock() >= 100.0


@pytest.fixture
def end(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Give an event that ends what hangs; a look-up may take a moment only."""
    monkeypatch.setattr(tokens, "MAX_SECONDS", 0.5)  # a good look-up takes less on a busy machine, too
    event = threading.Event()
    yield event
    event.set()


def test_a_token_store_that_hangs_costs_only_its_client(monkeypatch: pytest.MonkeyPatch, end: threading.Event) -> None:
    """Its jobs are rejected after a time, the next one at once, and a later one is looked up again."""
    clock = ManualClock()
    with LocalCodePipeline(clock=clock) as service:
        service.register_client(CLIENT_ID, CLIENT_TOKEN)
        service.register_client("client-2", "token-2")
        calls: list[str] = []
        hangs_at = 0.0

        def look_up(client_id: str) -> str:
            nonlocal hangs_at
            calls.append(client_id)
            if client_id == CLIENT_ID:
                hangs_at = time.monotonic() + tokens.MAX_SECONDS
                end.wait(20)
            return "token-2"

        worker = make_worker(service, client_tokens=look_up, concurrency=2)
        for _ in range(2):
            service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
        late = [
            Rejected(job=outcome.job, reason=tokens.TOOK_TOO_LONG, error="TimeoutError")
            for outcome in worker.run_once()
        ]
        assert len(late) == len(calls) == 2
        other = service.start_action(ACTION_TYPE, client_id="client-2")
        until(lambda: time.monotonic() > hangs_at)
        clock.advance(31)  # CodePipeline offers the two again, once
        outcomes = [*worker.run_once(), *worker.run_once()]
        assert other.status == "Succeeded"
        reason = "the look-up of its client token does not return"
        rejected = [outcome for outcome in outcomes if isinstance(outcome, Rejected)]
        assert {(outcome.reason, outcome.error) for outcome in rejected} == {(reason, "TimeoutError")}
        assert calls.count(CLIENT_ID) == 2
        monkeypatch.setattr(tokens, "_RETRY_SECONDS", 0.0)
        clock.advance(31)
        assert {type(outcome) for outcome in worker.run_once()} == {Rejected}
        assert calls.count(CLIENT_ID) > 2


def _token_threads() -> int:
    return sum(thread.name == "cp-thirdparty-tokens" for thread in threading.enumerate())


def test_look_ups_of_many_clients_keep_nothing() -> None:
    """A worker of many customers neither has a thread for each of them nor uses more memory with each of them."""
    lookup = TokenLookup(lambda client_id: f"token of {client_id}")
    before = _token_threads()
    for number in range(100):
        assert isinstance(lookup.find(f"client-{number}"), SecretStr)
    assert _token_threads() - before < 50
    assert lookup.calls._clients == {}


def test_a_look_up_may_begin_while_another_one_of_its_client_ends() -> None:
    """The one that ends removes what it used, which the other one still uses."""
    lookup = TokenLookup(lambda client_id: f"token of {client_id}")
    with lookup.calls.open("client-1") as calls:
        assert isinstance(lookup.find("client-1"), SecretStr)
        assert lookup.calls._clients == {}
        assert calls.call(30.0, lambda: "token") == "token"
    assert lookup.calls._clients == {}


def test_a_look_up_that_always_hangs_keeps_few_threads(monkeypatch: pytest.MonkeyPatch, end: threading.Event) -> None:
    """The pause before each further attempt is twice as long, because each attempt keeps its thread."""
    now = 0.0
    monkeypatch.setattr(tokens, "time", SimpleNamespace(monotonic=lambda: now))

    def look_up(_client_id: str) -> str:
        end.wait(60)
        return "token"

    lookup = TokenLookup(look_up)
    attempts: dict[object, float] = {}
    for _ in range(240):
        assert isinstance(lookup.find("client-1", 0.0), NoTokenError)
        attempts.setdefault(lookup.calls._clients["client-1"].latest, now)
        now += 30.0
    assert list(attempts.values()) == [0.0, 330.0, 960.0, 2190.0, 4620.0]
    end.set()
    until(lambda: lookup.calls._clients["client-1"].latest.is_hanging is False)
    assert isinstance(lookup.find("client-1"), SecretStr)
    assert lookup.calls._clients == {}


def test_a_look_up_that_returns_too_late_starts_nothing(service: LocalCodePipeline, end: threading.Event) -> None:
    """The job was given up, and its slot has another thread; the late one ends."""
    begun = threading.Event()

    def look_up(client_id: str) -> str | None:
        if not begun.is_set():
            begun.set()
            end.wait(20)
        return TOKENS.get(client_id)

    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    job_id = action.jobs[0].id
    with running(make_worker(service, client_tokens=look_up, concurrency=1)) as run:
        until(lambda: run.worker.health().in_flight == 0 and begun.is_set())
        end.set()
        until(lambda: action.status == "Succeeded")
        until(lambda: sum(thread.name.startswith("cp-thirdparty-" + job_id) for thread in threading.enumerate()) == 1)
    operations = [record.operation_name for record in service.requests]
    assert operations.count("AcknowledgeThirdPartyJob") == 1


class _Rotated:
    """A token store and a handler: the token changes while the job runs, and the next look-up hangs."""

    def __init__(self, service: LocalCodePipeline, end: threading.Event) -> None:
        self._service, self._end = service, end
        self.token = CLIENT_TOKEN
        self.calls = 0

    def look_up(self, _client_id: str) -> str:
        """Return the token; hang in the second call."""
        self.calls += 1
        if self.calls == 2:
            self._end.wait(60)
        return self.token

    def handle(self, _job: AnyJob) -> Succeeded:
        """Change the token."""
        self.token = "the new one"
        self._service.register_client(CLIENT_ID, self.token)
        return Succeeded()


def test_a_run_of_one_poll_does_not_wait_for_a_look_up_that_hangs(
    service: LocalCodePipeline, monkeypatch: pytest.MonkeyPatch, end: threading.Event
) -> None:
    """The result stays in the journal, and the next run reports it."""
    store = _Rotated(service, end)
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    worker = make_worker(service, store.handle, client_tokens=store.look_up, grace=0.2)
    (outcome,) = worker.run_once()
    assert outcome == Unsent(job=outcome.job, result=Succeeded(), error="TimeoutError")
    monkeypatch.setattr(tokens, "MAX_SECONDS", 30.0)
    monkeypatch.setattr(tokens, "_RETRY_SECONDS", 0.0)
    (outcome,) = worker.run_once()
    assert isinstance(outcome, Reported)
    assert action.status == "Succeeded"


def test_a_look_up_that_hangs_frees_its_slot_when_the_job_is_over(
    service: LocalCodePipeline, monkeypatch: pytest.MonkeyPatch, end: threading.Event
) -> None:
    """CodePipeline has timed the job out, so its result need not wait for the token any more."""
    monkeypatch.setattr(_steps, "_LONGEST_PAUSE", 0.1)
    clock = ManualClock()
    store = _Rotated(service, end)
    service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    worker = make_worker(service, store.handle, client_tokens=store.look_up, concurrency=1, clock=clock)
    with running(worker) as run:
        until(lambda: store.calls == 2)
        clock.advance(3601)
        until(lambda: worker.health().free_slots == 1)
    assert run.is_clean is False


def test_a_claimed_job_whose_look_up_hangs_is_kept(service: LocalCodePipeline, end: threading.Event) -> None:
    """Health names it, and its result is reported as soon as the look-up returns."""
    calls: list[str] = []

    def look_up(client_id: str) -> str | None:
        calls.append(client_id)
        if len(calls) == 2:
            end.wait(20)
        return TOKENS.get(client_id)

    def handle(_job: AnyJob) -> Succeeded:
        service.faults.add(_SUCCESS, Instead(error_response("InvalidClientTokenException", "no")))
        return Succeeded()

    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    with running(make_worker(service, handle, client_tokens=look_up)) as run:
        until(lambda: len(calls) == 2)
        until(lambda: run.worker.health().stalled == (action.jobs[0].id,))
        time.sleep(1.2)  # until the worker has looked at its times
        end.set()
        until(lambda: action.status == "Succeeded")


def test_a_job_that_may_be_claimed_while_its_look_up_hangs_is_uncertain(
    service: LocalCodePipeline, monkeypatch: pytest.MonkeyPatch, end: threading.Event
) -> None:
    """CodePipeline has accepted the acknowledgement, whose response was lost, so the journal must keep the job."""
    calls: list[str] = []

    def look_up(client_id: str) -> str | None:
        calls.append(client_id)
        if len(calls) == 2:
            end.wait(20)
        return TOKENS.get(client_id)

    monkeypatch.setattr(_steps, "_CLAIM_SECONDS", 3.0)
    service.faults.add("AcknowledgeThirdPartyJob", LostAnswer())
    service.faults.add(
        "AcknowledgeThirdPartyJob", Instead(error_response("InvalidClientTokenException", "no")), times=None
    )
    service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    journal = MemoryJournal()
    (outcome,) = make_worker(service, journal=journal, client_tokens=look_up).run_once()
    assert isinstance(outcome, Uncertain)
    assert [entry.state for entry in journal.jobs()] == [JournalState.UNCERTAIN]


def test_an_inherited_job_whose_look_up_hangs_is_released(service: LocalCodePipeline, end: threading.Event) -> None:
    """An earlier worker may have claimed it, so the journal keeps it."""
    journal = MemoryJournal()
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    with service.client() as client:
        (offer,) = client.poll_for_third_party_jobs(ACTION_TYPE)
        journal.claim(offer, scope_of(client))
        journal.release(offer.job_id)
    worker = make_worker(service, journal=journal, client_tokens=lambda _: end.wait(20) and None)
    assert worker.run_once() == (Released(job=offer, error="TimeoutError"),)
    assert [entry.state for entry in journal.jobs()] == [JournalState.CLAIMING]
    assert action.status != "Succeeded"


def test_ctrl_c_in_the_main_thread_is_the_users() -> None:
    """In any other thread it was raised by code, and is an error like others."""

    def interrupt() -> None:
        raise KeyboardInterrupt

    found: list[object] = []
    thread = threading.Thread(target=lambda: found.append(call_partner(interrupt)))
    thread.start()
    thread.join(5)
    assert found == [Raised("KeyboardInterrupt")]
    assert threading.current_thread() is threading.main_thread()
    with pytest.raises(KeyboardInterrupt):
        call_partner(interrupt)
    with LocalCodePipeline() as service:
        clients = Clients(service.client, Emitter())
        with pytest.raises(KeyboardInterrupt):
            clients.call(interrupt)
        clients.close()


class _Forking:
    """Partner's code that forks once.  In the child it returns, raises or exits; the parent waits for the child."""

    def __init__(self, end: str) -> None:
        self.statuses: list[int] = []
        self._end = end

    def __call__(self, *_: object, **__: object) -> bool:
        """Return whether this process is the child."""
        if self.statuses:
            return False
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of a fork in a process with threads
            child = os.fork()
        if child == 0:
            if self._end == "raise":
                raise ValueError
            if self._end == "exit":
                raise SystemExit(3)
            return True
        self.statuses.append(_wait_for_child(child))
        return False


def _wait_for_child(child: int) -> int:
    """Return the exit status of a child; kill a child that does not end, which gives another status."""
    for _ in range(6000):
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _count_puts(service: LocalCodePipeline) -> int:
    """Return how many results were sent."""
    return sum(str(record.operation_name).startswith("Put") for record in service.requests)


each_end = pytest.mark.parametrize(("end", "status"), [("return", 0), ("raise", 1), ("exit", 3)])
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")


@needs_fork
@each_end
def test_a_child_that_a_handler_forks_reports_nothing(service: LocalCodePipeline, end: str, status: int) -> None:
    """It ends where the handler ends in it, and the parent's job goes on."""
    fork = _Forking(end)

    def handle(_job: AnyJob) -> Succeeded | FailureDetails:
        return FailureDetails(type=FailureType.JOB_FAILED, message="of the child") if fork() else Succeeded()

    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    (outcome,) = make_worker(service, handle).run_once()
    assert isinstance(outcome, Reported)
    assert action.status == "Succeeded"
    assert fork.statuses == [status]
    assert _count_puts(service) == 1


@needs_fork
@each_end
@pytest.mark.parametrize("entry_point", ["worker", "processor"])
def test_a_child_that_a_coroutine_forks_reports_nothing(
    service: LocalCodePipeline, end: str, status: int, entry_point: str
) -> None:
    """It ends where the coroutine ends in it.  Otherwise it would take the wake-ups of the event loop of its parent."""
    fork = _Forking(end)

    async def handle(_job: AnyJob) -> Succeeded | FailureDetails:
        return FailureDetails(type=FailureType.JOB_FAILED, message="of the child") if fork() else Succeeded()

    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    if entry_point == "worker":
        (outcome,) = make_worker(service, handle, job_timeout=20).run_once()
    else:
        processor = JobProcessor(service.client, handle, client_tokens=TOKENS, job_timeout=20)
        offer = ThirdPartyJob(client_id=CLIENT_ID, job_id=action.jobs[0].id)
        outcome = asyncio.run(processor.process_async(offer))
    assert isinstance(outcome, Reported)
    assert action.status == "Succeeded"
    assert fork.statuses == [status]
    assert _count_puts(service) == 1


@needs_fork
@pytest.mark.skipif(sys.version_info >= (3, 14), reason="asyncio.run of a forked child does not end")
def test_a_child_of_the_application_reports_nothing(service: LocalCodePipeline) -> None:
    """`asyncio.run` of the child cancels the task that awaits the job, whose result belongs to the parent."""
    began, release = threading.Event(), threading.Event()

    def handle(_job: AnyJob) -> Succeeded:
        began.set()
        release.wait(90)
        return Succeeded()

    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    offer = ThirdPartyJob(client_id=CLIENT_ID, job_id=action.jobs[0].id)
    processor = JobProcessor(service.client, handle, client_tokens=TOKENS)
    fork = _Forking("exit")

    async def fork_beside_the_job() -> object:
        task = asyncio.create_task(processor.process_async(offer))
        while not (began.is_set() or task.done()):  # noqa: ASYNC110 - an event of a thread
            await asyncio.sleep(0.01)
        fork()
        release.set()
        return await task

    try:
        outcome = asyncio.run(fork_beside_the_job())
    except SystemExit as end:  # in the child
        os._exit(int(str(end.code)))
    assert isinstance(outcome, Reported)
    assert action.status == "Succeeded"
    assert fork.statuses == [3]


@needs_fork
def test_a_child_cannot_give_a_job_up(service: LocalCodePipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child that runs the event loop on would report the job at its timeout, while the parent works on it."""
    run, fork = Processing.run, _Forking("return")
    started: list[Processing] = []

    def run_and_keep(self: Processing) -> None:
        started.append(self)
        run(self)

    def handle(_job: AnyJob) -> Succeeded:
        if fork():
            started[0].give_up("of the child")
        return Succeeded()

    monkeypatch.setattr(Processing, "run", run_and_keep)
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    processor = JobProcessor(service.client, handle, client_tokens=TOKENS)
    processor.process(ThirdPartyJob(client_id=CLIENT_ID, job_id=action.jobs[0].id))
    assert action.status == "Succeeded"
    assert fork.statuses == [0]


@needs_fork
@each_end
def test_a_child_ends_with_the_status_of_the_code_that_forked_it(
    service: LocalCodePipeline, end: str, status: int
) -> None:
    """Every call of the partner's code sets the same status: after an exception it is 1, or that of `sys.exit`."""
    alone, hook, configured = _Forking(end), _Forking(end), _Forking(end)
    call_partner(alone)
    clients = Clients(service.client, Emitter())
    clients.call(hook)
    clients.close()

    @attrs.frozen
    class Configuration:
        def __attrs_post_init__(self) -> None:
            configured()

    service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    make_worker(service, configuration=Configuration).run_once()
    assert (alone.statuses, hook.statuses, configured.statuses) == ([status], [status], [status])


def test_a_system_without_threads_calls_nothing_that_may_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of a run must not depend on code of the partner."""

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert call_with_timeout(1.0, pytest.fail, "it was called") == "was not called: RuntimeError"


@needs_fork
def test_a_child_that_another_part_forks_ends(service: LocalCodePipeline) -> None:
    """A token store is code of the partner too."""

    def look_up(client_id: str) -> str | None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if child:
            os.waitpid(child, 0)
        return TOKENS.get(client_id)

    service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    (outcome,) = make_worker(service, client_tokens=look_up).run_once()
    assert isinstance(outcome, Reported)
    with contextlib.suppress(ChildProcessError):
        assert os.waitpid(-1, os.WNOHANG) == (0, 0)


@needs_fork
def test_a_child_that_connect_forks_reports_nothing(service: LocalCodePipeline) -> None:
    """Also if a processor calls it in its own thread, because its time has no limit."""
    fork = _Forking("return")

    def connect() -> ThirdPartyJobClient:
        fork()
        return service.client()

    job_id = service.start_action(ACTION_TYPE, client_id=CLIENT_ID).jobs[0].id
    processor = JobProcessor(connect, lambda _: Succeeded(), client_tokens=TOKENS)
    outcome = processor.process(ThirdPartyJob(client_id=CLIENT_ID, job_id=job_id))
    assert isinstance(outcome, Reported)
    assert fork.statuses == [0]
    assert _count_puts(service) == 1
