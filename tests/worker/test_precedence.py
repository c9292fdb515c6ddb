"""
Whatever goes wrong, and whoever is responsible: the four promises about jobs hold, in their order of precedence.

1. No result for a job that another worker owns.
2. A handler that is not idempotent runs at most once.
3. Each acknowledged job gets exactly one accepted result, or is in the journal and is reported.
4. The customer reads the true cause.
"""

from __future__ import annotations

import io
import itertools
import logging
import os
import sys
import tempfile
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TextIO

import attrs
import botocore.session
import pytest
from botocore.config import Config
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st
from support.worker_service import ACTION_TYPE, CLIENT_ID, CLIENT_TOKEN, AnyJob, Before, SharedJournal, claim, scope_of

from cp_thirdparty import (
    CustomJob,
    FailureDetails,
    FailureType,
    JobFailedError,
    Succeeded,
    ThirdPartyJob,
    ThirdPartyJobClient,
)
from cp_thirdparty.exceptions import JournalError
from cp_thirdparty.testing import Action, LocalCodePipeline
from cp_thirdparty.testing.faults import ExpiredCredentials, HtmlPage, LostAnswer, ServerError, Throttling
from cp_thirdparty.worker import (
    JobEventName,
    JournalEntry,
    JournalState,
    Outcome,
    Uncertain,
)
from cp_thirdparty.worker._async_handlers import AsyncHandlers
from cp_thirdparty.worker._bounded_calls import BoundedCalls, SafeClock
from cp_thirdparty.worker._claimed_job import ClaimedJob
from cp_thirdparty.worker._clients import Clients
from cp_thirdparty.worker._emit import Emitter
from cp_thirdparty.worker._engines import ThreadEngine
from cp_thirdparty.worker._flow import JobFlow
from cp_thirdparty.worker._isolation import call_partner
from cp_thirdparty.worker._journal_writer import JournalWriter
from cp_thirdparty.worker._kinds import THIRD_PARTY
from cp_thirdparty.worker._steps import Steps
from cp_thirdparty.worker.runner import Runner
from cp_thirdparty.worker.tokens import TokenLookup

_OPERATIONS: Final = (
    "GetThirdPartyJobDetails",
    "AcknowledgeThirdPartyJob",
    "PutThirdPartyJobSuccessResult",
    "PutThirdPartyJobFailureResult",
)
# Of the network, of the service, and of the partner.
_FAULTS: Final = (LostAnswer(), HtmlPage(), ServerError(), Throttling(), ExpiredCredentials())
_WRITES: Final = ("claim", "running", "result", "finish", "withdraw", "release", "uncertain")
_JOBS: Final = 3
_LIVES: Final = 8
# How often one life of the worker tries again before its time is over.
_PATIENCE: Final = 4


class _DiedError(KeyboardInterrupt):
    """
    The process of the worker has died.

    The worker isolates itself from all that the journal raises, except for Ctrl-C in the main thread.
    """


@attrs.frozen(kw_only=True)
class _Scenario:
    """
    What goes wrong.

    Attributes:
        faults: Operations and what happens to their next calls.

        rivals: Numbers of the jobs that another worker claims first.

        deaths: How many writes of the journal each life survives, and whether the last one is done.

        disk: Numbers of the writes that fail, over all runs.

        tokens: Numbers of the look-ups of a token that fail, over all runs but the last two.

        failing: Numbers of the jobs whose handlers fail.

        crashing: Numbers of the jobs whose handlers raise what no handler should.

        raised: What these handlers, the look-ups that fail, and the clock in its second call raise.

        disk_error: What the journal raises when a write fails.

        deeds: What parts of the partner do at their first calls, by their names.

        is_idempotent: Whether a handler may run again.
    """

    faults: Sequence[tuple[str, Any]]
    rivals: frozenset[int]
    deaths: Sequence[tuple[int, bool]]
    disk: frozenset[int]
    tokens: frozenset[int]
    failing: frozenset[int]
    crashing: frozenset[int]
    raised: BaseException
    disk_error: BaseException
    deeds: Mapping[str, str]
    is_idempotent: bool


class _Group(BaseException):
    exceptions = (ConnectionError(), SystemExit(1))


class _UnreadableError(Exception):
    def __str__(self) -> str:
        raise ZeroDivisionError


# Not `KeyboardInterrupt`: in the main thread, where this test runs, it is the user's.
_RAISED: Final = (ConnectionError(), SystemExit(1), GeneratorExit(), _Group(), _UnreadableError())


def _fork() -> None:
    """Leave a copy of the process, which must not go on, and wait for its end."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a fork in a process with threads
        child = os.fork()
    if child:
        os.waitpid(child, 0)


def _close_stream() -> None:
    sys.stderr.close()


# What does not change how a call ends.
_DEEDS: Final[Mapping[str, Callable[[], object]]] = {
    "block": lambda: time.sleep(0.005),
    "chdir": lambda: os.chdir(tempfile.gettempdir()),
    "close": _close_stream,
    **({"fork": _fork} if hasattr(os, "fork") else {}),
}
# The job does not depend on how calls of these end.
_BYSTANDERS: Final = ("hook", "log")
_PARTS: Final = ("handler", "token store", "journal", *_BYSTANDERS)

_SCENARIOS = st.builds(
    _Scenario,
    faults=st.lists(st.tuples(st.sampled_from(_OPERATIONS), st.sampled_from(_FAULTS)), max_size=8),
    rivals=st.frozensets(st.integers(0, _JOBS - 1), max_size=1),
    deaths=st.lists(st.tuples(st.integers(0, 9), st.booleans()), max_size=_LIVES - 2),
    disk=st.frozensets(st.integers(0, 12), max_size=2),
    tokens=st.frozensets(st.integers(0, 12), max_size=3),
    failing=st.frozensets(st.integers(0, _JOBS - 1), max_size=1),
    crashing=st.frozensets(st.integers(0, _JOBS - 1), max_size=1),
    raised=st.sampled_from(_RAISED),
    disk_error=st.sampled_from((JournalError("disk full"), *_RAISED)),
    deeds=st.fixed_dictionaries(
        {},
        optional={part: st.sampled_from((*_DEEDS, *(["raise"] if part in _BYSTANDERS else []))) for part in _PARTS},
    ),
    is_idempotent=st.booleans(),
)


class _Partner:
    """What the parts of the partner do at their first calls."""

    def __init__(self, scenario: _Scenario) -> None:
        self._scenario = scenario
        self._left = dict(scenario.deeds)
        self.done: set[str] = set()

    def act(self, part: str) -> None:
        """Do what this part does at its first call."""
        deed = self._left.pop(part, None)
        if deed is None:
            return
        self.done.add(part)
        if deed == "raise":
            raise self._scenario.raised
        _DEEDS[deed]()


if TYPE_CHECKING:
    _StreamHandler = logging.StreamHandler[TextIO]
else:
    _StreamHandler = logging.StreamHandler  # Python 3.10 has no generic one


class _LogHandler(_StreamHandler):
    """The partner's handler of logs: it writes to `sys.stderr`."""

    def __init__(self, partner: _Partner) -> None:
        super().__init__(sys.stderr)
        self._partner = partner

    def handle(self, record: logging.LogRecord) -> bool:
        """Act, and write the record."""
        self._partner.act("log")
        return super().handle(record)


@contextmanager
def _surroundings(partner: _Partner) -> Generator[None, None, None]:
    """Attach the partner's handler of logs, and restore what the partner may change for the complete process."""
    log, directory = logging.getLogger("cp_thirdparty.worker"), Path.cwd()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stderr", io.StringIO())
        handler, level = _LogHandler(partner), log.level
        log.addHandler(handler)
        log.setLevel(logging.DEBUG)
        try:
            yield
        finally:
            log.setLevel(level)
            log.removeHandler(handler)
            os.chdir(directory)


class _Disk(SharedJournal):
    """A journal that outlives the worker's processes, which die at its writes or fail them."""

    def __init__(self, scenario: _Scenario, partner: _Partner) -> None:
        super().__init__()
        self._scenario = scenario
        self._partner = partner
        self._writes = itertools.count()
        self.death: tuple[int, bool] | None = None

    def __getattribute__(self, name: str) -> Any:
        method = super().__getattribute__(name)
        return self._guard(method) if name in _WRITES else method

    def _guard(self, method: Any) -> Any:
        def write(*arguments: Any, **more: Any) -> Any:
            self._partner.act("journal")
            if next(self._writes) in self._scenario.disk:
                raise self._scenario.disk_error
            if self.death is None or self.death[0] > 0:
                self.death = None if self.death is None else (self.death[0] - 1, self.death[1])
                return method(*arguments, **more)
            if self.death[1]:
                method(*arguments, **more)
            raise _DiedError

        return write

    def bury(self) -> None:
        """Do for a dead process what the next `recover` of a journal in a file does."""
        running = [entry for entry in self._owned.values() if entry.state is JournalState.RUNNING]
        for entry in running:
            crashes = entry.crashes + (len(running) == 1)
            self._store(attrs.evolve(entry, crashes=crashes, is_suspect=entry.is_suspect or len(running) > 1))
        self._owned.clear()


class _DirectCalls(BoundedCalls):
    """Makes calls in the thread of the job, whose life a death ends."""

    def call(self, seconds: float, function: Callable[[], Any], undo: Callable[[Any], object] = repr) -> Any:  # noqa: ARG002
        """Make a call."""
        return call_partner(function)


@attrs.define
class _World:
    """A service with its customers, and all that the runs of a worker have done to them."""

    service: LocalCodePipeline
    scenario: _Scenario
    partner: _Partner
    journal: _Disk
    actions: list[Action]
    emitter: Emitter = attrs.field(init=False)
    runs: Counter[str] = attrs.field(factory=Counter)
    outcomes: list[Outcome] = attrs.field(factory=list)
    lives: list[int] = attrs.field(factory=list)
    looks: Iterator[int] = attrs.field(factory=itertools.count)
    readings: Iterator[int] = attrs.field(factory=itertools.count)
    rivals: set[str] = attrs.field(factory=set)
    is_calm: bool = False

    def __attrs_post_init__(self) -> None:
        self.emitter = Emitter(lambda _: self.partner.act("hook"))

    def notify(self, name: JobEventName, job: ClaimedJob, detail: str = "", **fields: Any) -> None:
        """Emit an event."""
        self.emitter.emit(name, job.offer, detail, details=job.details, **fields)

    def claim_first(self, client: ThirdPartyJobClient, job_id: str) -> None:
        """Claim a job as another worker."""
        claim(client, job_id)
        self.rivals.add(job_id)

    def number(self, job_id: str) -> int:
        return next(number for number, action in enumerate(self.actions) if action.jobs[0].id == job_id)

    def find_token(self, _client_id: str) -> str | None:
        self.partner.act("token store")
        if next(self.looks) in self.scenario.tokens and not self.is_calm:
            raise self.scenario.raised
        return CLIENT_TOKEN

    def handle(self, job: AnyJob) -> Succeeded:
        self.runs[job.id] += 1
        self.partner.act("handler")
        if self.number(job.id) in self.scenario.failing:
            raise JobFailedError(FailureType.JOB_FAILED, "as planned")
        if self.number(job.id) in self.scenario.crashing:
            raise self.scenario.raised
        return Succeeded()

    def live(self, clients: Clients, *, is_calm: bool) -> None:
        """Run a worker process: it takes over what is left, polls once, and works on all that."""
        self.is_calm = is_calm
        ended = len(self.outcomes)
        scope = scope_of(clients.reader)
        writer = JournalWriter(self.journal, scope, self.notify, self.emitter, _DirectCalls("cp-thirdparty-journal"))
        flow = self._create_flow(clients, is_calm=is_calm)
        try:
            entries: dict[str, JournalEntry | None] = {}
            work: list[ThirdPartyJob | CustomJob] = []
            for entry in writer.recover().entries:
                entries[entry.job.job_id] = entry
                work.append(entry.job)
            offers = THIRD_PARTY.poll(clients.reader, ACTION_TYPE, _JOBS)
            work.extend(offer for offer in offers if offer.job_id not in entries)
            for offer in work:
                job = ClaimedJob(offer, recorder=writer, began_at=0.0, entry=entries.get(offer.job_id))
                outcome = flow.work(job)
                assert outcome is not None
                job.end(outcome)
                self.emitter.emit_outcome(outcome, details=job.details)
                self.outcomes.append(outcome)
        except _DiedError:
            pass
        finally:
            self.lives.append(len(self.outcomes) - ended)
            self.journal.bury()

    def _read_clock(self) -> float:
        if next(self.readings) == 1:
            raise self.scenario.raised
        return time.monotonic()

    def _create_flow(self, clients: Clients, *, is_calm: bool) -> JobFlow:
        attempts = itertools.count()
        clock = SafeClock(self._read_clock)
        tokens = TokenLookup(self.find_token)
        runner: Runner[Any] = Runner(
            connect=self.service.client, handler=self.handle, configuration=None, tokens=tokens
        )
        return JobFlow(
            steps=Steps(clients=clients, tokens=tokens, notify=self.notify, clock=clock),
            engine=ThreadEngine(runner, clients, AsyncHandlers(), threading.Event(), self.emitter),
            action_type_id=ACTION_TYPE,
            is_idempotent=self.scenario.is_idempotent,
            max_crashes=100,
            job_timeout=1000.0,
            log_problem=self.emitter.log_problem,
            may_claim=lambda: True,
            wait=lambda _job, _seconds: is_calm or next(attempts) < _PATIENCE,
            enter_turn=lambda _job: nullcontext(True),
            clock=clock,
        )


def _connect(service: LocalCodePipeline) -> ThirdPartyJobClient:
    """Create a client that leaves it to the worker to try again, which pauses for no time here."""
    environment = service.environment()
    session = botocore.session.Session()
    session.set_credentials(environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"])
    return ThirdPartyJobClient.create(
        region_name=environment["AWS_REGION"],
        endpoint_url=service.endpoint_url,
        session=session,
        config=Config(proxies={}, retries={"total_max_attempts": 1}),
    )


def _play(service: LocalCodePipeline, scenario: _Scenario) -> _World:
    actions = [service.start_action(ACTION_TYPE, client_id=CLIENT_ID) for _ in range(_JOBS)]
    partner = _Partner(scenario)
    world = _World(service, scenario, partner, _Disk(scenario, partner), actions)
    clients = Clients(partial(_connect, service), world.emitter)
    with service.client() as rival, _surroundings(partner):
        # Before the worker's first acknowledgement: only after one with an unknown outcome is a race undecidable.
        for number in scenario.rivals:
            job_id = actions[number].jobs[0].id
            service.faults.add("AcknowledgeThirdPartyJob", Before(partial(world.claim_first, rival, job_id)))
        for operation_name, fault in scenario.faults:
            # The fault of an acknowledgement would be played to the rival, whose claim would then be unknown.
            if not (scenario.rivals and operation_name == "AcknowledgeThirdPartyJob"):
                service.faults.add(operation_name, fault)
        for death in scenario.deaths:
            world.journal.death = death
            world.live(clients, is_calm=False)
        world.journal.death = None
        service.faults.clear()
        for _ in range(2):
            world.live(clients, is_calm=True)
        clients.close()
        assert world.emitter.flush()
    assert world.emitter.dropped == 0
    return world


_CALM: Final = _Scenario(
    faults=(),
    rivals=frozenset(),
    deaths=(),
    disk=frozenset(),
    tokens=frozenset(),
    failing=frozenset(),
    crashing=frozenset(),
    raised=ConnectionError(),
    disk_error=JournalError("disk full"),
    deeds={},
    is_idempotent=False,
)


@pytest.mark.slow
@settings(phases=[Phase.explicit, Phase.generate])  # shrinking would take minutes
@given(scenario=_SCENARIOS)
@example(scenario=attrs.evolve(_CALM, deaths=[(0, True), (99, False)], rivals=frozenset({0})))
@example(scenario=attrs.evolve(_CALM, deaths=[(2, True), (3, False)], is_idempotent=True))
@example(scenario=attrs.evolve(_CALM, deaths=[(1, False)], tokens=frozenset({1, 2}), is_idempotent=True))
def test_the_promises_hold_in_their_order(scenario: _Scenario) -> None:
    """Faults of the network, the service, the partner and the machine, deaths, and another worker."""
    with LocalCodePipeline(redelivery_delay=0.0) as service:
        service.register_client(CLIENT_ID, CLIENT_TOKEN)
        world = _play(service, scenario)
        accepted = Counter(
            record.parameters["jobId"]
            for record in service.requests
            if record.accepted and record.parameters is not None and str(record.operation_name).startswith("Put")
        )
        unfinished = {entry.job.job_id: entry.state for entry in world.journal.jobs(unfinished_only=True)}
        reported = {outcome.job.job_id for outcome in world.outcomes if isinstance(outcome, Uncertain)}
        for number, action in enumerate(world.actions):
            job_id = action.jobs[0].id
            if job_id in world.rivals:
                assert (accepted[job_id], world.runs[job_id]) == (0, 0)  # promises 1 and 2
                continue
            assert scenario.is_idempotent or world.runs[job_id] <= 1  # promise 2
            if action.status in ("Queued", "Dispatched"):
                continue  # nobody has acknowledged it
            # If the write of its end failed, the state is still CLAIMING, and the next worker finds it uncertain too.
            is_kept = unfinished.get(job_id) in (JournalState.UNCERTAIN, JournalState.CLAIMING) and job_id in reported
            assert accepted[job_id] == 1 or (accepted[job_id] == 0 and is_kept)  # promise 3
            if accepted[job_id]:
                _check_cause(world, action, number)  # promise 4


def _check_cause(world: _World, action: Action, number: int) -> None:
    if action.status == "Succeeded":
        assert number not in world.scenario.failing | world.scenario.crashing
        return
    assert isinstance(action.result, FailureDetails)
    if action.result.type is FailureType.SYSTEM_UNAVAILABLE:
        # Only a handler that may not run again, and whose worker has died.
        assert not world.scenario.is_idempotent
        assert world.scenario.deaths
    elif number in world.scenario.failing:
        assert action.result.message == "as planned"
    else:
        assert number in world.scenario.crashing
        assert action.result.message.startswith("The action's worker failed")


@pytest.mark.parametrize("name", _WRITES)
def test_a_scenario_can_fail_each_write(name: str) -> None:
    """The journal of the scenarios really fails and dies: a write that was not guarded would prove nothing."""
    full = attrs.evolve(_CALM, disk=frozenset({0}))
    with pytest.raises(JournalError):
        getattr(_Disk(full, _Partner(full)), name)("job-1")


def test_a_scenario_can_end_a_life() -> None:
    """A death ends a life of the worker at once: one that was isolated as an error would prove nothing."""
    with LocalCodePipeline(redelivery_delay=0.0) as service:
        service.register_client(CLIENT_ID, CLIENT_TOKEN)
        world = _play(service, attrs.evolve(_CALM, deaths=[(2, True)], is_idempotent=True))
        assert world.lives == [0, 3, 0]
        assert [action.status for action in world.actions] == ["Succeeded"] * 3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("part", "deed"), [*itertools.product(_PARTS, _DEEDS), *itertools.product(_BYSTANDERS, ["raise"])]
)
def test_a_scenario_has_each_deed_of_each_part(part: str, deed: str) -> None:
    """Each part of the partner really acts, and the jobs end as if it did not."""
    with LocalCodePipeline(redelivery_delay=0.0) as service:
        service.register_client(CLIENT_ID, CLIENT_TOKEN)
        world = _play(service, attrs.evolve(_CALM, deeds={part: deed}, raised=_Group()))
        assert world.partner.done == {part}
        assert [action.status for action in world.actions] == ["Succeeded"] * 3
