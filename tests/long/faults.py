"""One worker among faults of every row of the failure policy, its memory, and what it uses without a job."""

from __future__ import annotations

import json
import os
import random
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import attrs
from support.long_handlers import fails_as_planned
from support.worker_service import ACTION_TYPE, CLIENT_ID, CLIENT_TOKEN, Instead, until

from cp_thirdparty import FailureDetails, ThirdPartyJobClient
from cp_thirdparty.exceptions import OutputVariablesSizeExceededException
from cp_thirdparty.testing import Action, LocalCodePipeline, RequestRecord
from cp_thirdparty.testing._wire import Response, error_response
from cp_thirdparty.testing.faults import (
    Delay,
    ExpiredCredentials,
    Fault,
    HtmlPage,
    LostAnswer,
    ServerError,
    Throttling,
    TruncatedBody,
)
from cp_thirdparty.worker import JournalState, _failure_policy
from long.fleet import (
    FINAL,
    Seen,
    count_accepted,
    end,
    find_open,
    find_unfinished,
    settle,
    start_child,
    until_busy,
    wait_until_none,
)

_POLL = "PollForThirdPartyJobs"
_READ = "GetThirdPartyJobDetails"
_CLAIM = "AcknowledgeThirdPartyJob"
_PUT = "PutThirdPartyJobSuccessResult"
_FAIL = "PutThirdPartyJobFailureResult"


def _refuse(code: str, message: str = "Injected fault") -> Instead:
    return Instead(error_response(code, message))


_GONE = _refuse("JobNotFoundException")
_BAD_TOKEN = _refuse("InvalidClientTokenException")
_BAD_SUMMARY = _refuse("ValidationException", "1 validation error detected: Value at 'executionDetails' is not valid")
_PASS = Delay(0.0)


class _Undecodable:
    """The service returns with something else than details."""

    def play(self, serve: Callable[[], Response]) -> Response:
        """Serve, and replace the body."""
        response, body = serve(), b'{"jobDetails": 1}'
        headers = {name: value for name, value in response.headers.items() if name != "x-amz-crc32"}
        return attrs.evolve(response, body=body, headers={**headers, "Content-Length": str(len(body))})


_UNDECODABLE = _Undecodable()


@attrs.frozen
class _EndFirst:
    """The job ends before the service plays another fault."""

    end_job: Callable[[], object]
    fault: Fault

    def play(self, serve: Callable[[], Response]) -> Response:
        """End the job, and play the fault."""
        self.end_job()
        return self.fault.play(serve)


# --- each row of the failure policy


@attrs.frozen(kw_only=True)
class Scene:
    """
    What goes wrong for one job.

    Attributes:
        name: What the rows are about.

        faults: What happens to the next calls of operations.

        token: What the token store returns until the rows were used.

        is_held: Whether the journal can confirm that the worker has the job; if not, it can once the rows were used.

        kill: At which step of the journal the worker kills itself; the faults are for the next one.

        deaths: How often the process of the job dies.

        is_ended: Whether CodePipeline ends the job just before the last fault.

        status: How the job ends; ``"Uncertain"`` if its ownership becomes unknown.
    """

    name: str
    faults: Mapping[str, Sequence[Fault]] = {}
    token: str = CLIENT_TOKEN
    is_held: bool = True
    kill: str = ""
    deaths: int = 0
    is_ended: bool = False
    status: str = "Succeeded"


SCENES = (
    Scene(name="poll", faults={_POLL: (ServerError(), ExpiredCredentials())}),
    Scene(name="job that is gone when it is read", faults={_READ: (_GONE,)}),
    Scene(name="token that is refused when the job is read", faults={_READ: (_BAD_TOKEN,)}),
    Scene(name="no token", token=""),
    Scene(name="token that breaks a rule", token="x" * 300),
    Scene(name="details that cannot be decoded", faults={_READ: (_UNDECODABLE,)}),
    Scene(name="details that cannot be read", faults={_READ: (ServerError(),)}),
    Scene(name="lost race", faults={_CLAIM: (_refuse("InvalidNonceException"),)}),
    Scene(name="lost response of a claim", faults={_CLAIM: (LostAnswer(),)}),
    Scene(name="job that is gone when it is claimed", faults={_CLAIM: (_GONE,)}),
    Scene(name="token that is refused after an unknown outcome", faults={_CLAIM: (HtmlPage(), _BAD_TOKEN)}),
    Scene(name="credentials that expire after an unknown outcome", faults={_CLAIM: (HtmlPage(), ExpiredCredentials())}),
    Scene(name="claim that is refused", faults={_CLAIM: (_refuse("ValidationException"),)}),
    Scene(name="claim that is throttled", faults={_CLAIM: (Throttling(),)}),
    Scene(name="process that dies", deaths=1),
    Scene(name="process that dies each time", deaths=3, status="Failed"),
    Scene(name="job that is gone before its process begins", faults={_READ: (_PASS, _GONE)}, is_ended=True),
    Scene(name="process that cannot read", faults={_READ: (_PASS, ExpiredCredentials())}),
    Scene(name="process whose token is refused", faults={_READ: (_PASS, _BAD_TOKEN)}),
    Scene(name="lost response of a result", faults={_PUT: (LostAnswer(),)}),
    Scene(name="job that has ended before its result", faults={_PUT: (_PASS,)}, is_ended=True),
    Scene(name="result that is refused", faults={_PUT: (_BAD_SUMMARY,)}),
    Scene(name="result that is refused for an unknown reason", faults={_PUT: (_refuse("SerializationException"),)}),
    Scene(name="token that is refused with a result", faults={_PUT: (_BAD_TOKEN,)}),
    Scene(name="credentials that expire before a result", faults={_PUT: (ExpiredCredentials(),)}),
    Scene(name="result that is throttled", faults={_PUT: (Throttling(), ServerError())}),
    Scene(name="lease that cannot be renewed before a result", is_held=False),
    Scene(name="claimed job without a token", kill="after:running:1", token=""),
    Scene(name="claimed job without credentials", kill="after:running:1", faults={_READ: (ExpiredCredentials(),)}),
    Scene(name="claimed job that cannot be read", kill="after:running:1", faults={_READ: (ServerError(),)}),
    Scene(name="claim whose outcome died with the worker", kill="before:running:1", status="Uncertain"),
)


@attrs.frozen(kw_only=True)
class Played:
    """
    What became of the scenes.

    Attributes:
        wrong: Names of the scenes whose job did not end as it should, and how it ended.

        unused: Rows of the failure policy that no scene has used.
    """

    wrong: tuple[str, ...]
    unused: tuple[str, ...]


def rows(directory: Path) -> Played:
    """Play each scene with a worker that has a process for each job, and end it by an error that ends it."""
    wrong = []
    with LocalCodePipeline(redelivery_delay=0.1, journal_size=1000) as service, service.client() as client:
        service.register_client(CLIENT_ID, CLIENT_TOKEN)
        stage = _Stage(directory, service, client)
        for scene in SCENES:
            status = stage.play(scene)
            if status != scene.status:
                wrong.append(f"{scene.name}: {status}")
        service.faults.add(_POLL, _refuse("AccessDeniedException"), times=None)
        if stage.child.wait(60) == 0:
            wrong.append("poll that is refused: exit code 0")
        used = stage.used()
    # The scenes have third-party jobs, which have no output variables and are not of an event.
    unused = [
        row
        for number, row in enumerate(_failure_policy.TABLE)
        if number not in used
        and row.errors != (OutputVariablesSizeExceededException,)
        and row.condition is not _failure_policy._is_about_id_of_event
    ]
    return Played(wrong=tuple(wrong), unused=tuple(map(str, unused)))


class _Stage:
    """The files of the run with scenes, its workers, and its customer."""

    def __init__(self, directory: Path, service: LocalCodePipeline, client: ThirdPartyJobClient) -> None:
        self.journal = directory / "rows.db"
        self._service = service
        self._client = client
        self._rows = directory / "rows.txt"
        self._token = directory / "token.txt"
        self._lease = directory / "lease"
        self._deaths = directory / "die"
        self._actions: list[Action] = []
        self._rows.touch()
        self._token.write_text(CLIENT_TOKEN, encoding="utf-8")
        self._deaths.touch()
        self.child = self._start()

    def used(self) -> set[int]:
        """Return the numbers of the rows that were used."""
        return {int(line) for line in self._rows.read_text(encoding="utf-8").splitlines()}

    def play(self, scene: Scene) -> str:
        """Play one scene, and return how its job ended."""
        before = self.used()
        if scene.kill:
            end(self.child)
            child = self._start(f"kill={scene.kill}")
            self._start_action()
            child.wait(60)
        self._set_up(scene)
        if scene.kill:
            self.child = self._start()
        else:
            self._start_action()
        if scene.token != CLIENT_TOKEN or not scene.is_held:
            until(lambda: self.used() > before)
            self._replace_token(CLIENT_TOKEN)
            self._lease.unlink(missing_ok=True)
        status = self._wait_for_end(self._actions[-1])
        self._service.faults.clear()
        return status

    def _wait_for_end(self, action: Action) -> str:
        """Wait until the worker has finished the job too: it may still retry what CodePipeline has accepted."""
        gives_up_at = time.monotonic() + 60
        while time.monotonic() < gives_up_at:
            states = find_unfinished(self.journal)
            if states.get(action.jobs[-1].id) is JournalState.UNCERTAIN:
                return "Uncertain"
            if action.status in FINAL and not states:
                break
            time.sleep(0.02)
        return action.status

    def _start(self, *settings: str) -> subprocess.Popen[bytes]:
        files = (f"rows={self._rows}", f"tokens={self._token}", f"lease={self._lease}")
        options = ("engine=processes", "concurrency=2", "idempotent=yes", "handler=die", "attempts=1")
        return start_child(self._service, self.journal, *options, *files, *settings)

    def _start_action(self) -> None:
        self._actions.append(self._service.start_action(ACTION_TYPE, client_id=CLIENT_ID))

    def _set_up(self, scene: Scene) -> None:
        self._deaths.write_text("x" * scene.deaths, encoding="utf-8")
        if not scene.is_held:
            self._lease.touch()
        if scene.token != CLIENT_TOKEN:
            self._replace_token(scene.token)
        count = len(self._actions)
        for operation_name, faults in scene.faults.items():
            for fault in faults[:-1]:
                self._service.faults.add(operation_name, fault)
            self._service.faults.add(
                operation_name, _EndFirst(partial(self._end_job, count), faults[-1]) if scene.is_ended else faults[-1]
            )

    def _replace_token(self, token: str) -> None:
        new = self._token.with_suffix(".new")
        new.write_text(token, encoding="utf-8")
        new.replace(self._token)

    def _end_job(self, count: int) -> None:
        """End the job of the next action, as an operator or the timeout of CodePipeline may do."""
        until(lambda: len(self._actions) > count)
        self._client.put_third_party_job_success_result(self._actions[-1].jobs[-1].id, client_token=CLIENT_TOKEN)


# --- many jobs


# What goes wrong.
_FAULTS: Mapping[str, tuple[Fault, ...]] = {
    _POLL: (Throttling(), ServerError(), HtmlPage(), ExpiredCredentials()),
    _READ: (Throttling(), ServerError(), HtmlPage(), LostAnswer(), TruncatedBody(), _GONE, _BAD_TOKEN, _UNDECODABLE),
    _CLAIM: (Throttling(), ServerError(), HtmlPage(), LostAnswer(), ExpiredCredentials()),
    _PUT: (Throttling(), ServerError(), HtmlPage(), LostAnswer(), ExpiredCredentials(), _BAD_TOKEN, _BAD_SUMMARY),
    _FAIL: (Throttling(), ServerError(), HtmlPage(), LostAnswer(), TruncatedBody(), _BAD_TOKEN),
}

# How many requests the service remembers: more than a round has.
_RECORDS = 50_000

# Jobs that wait at a time.
_ROUND = 200

# Bytes by which a worker's memory may grow from job 2,000 to job 10,000.
MOST_GROWTH = 5 * 2**20


@attrs.frozen(kw_only=True)
class Soaked:
    """
    What became of a soak.

    Attributes:
        seen: How the jobs ended.

        events: How often each event was emitted, and how many claims were written although they raised.

        exit_code: Of the worker.

        left: The jobs that the journal had not finished after one more worker.

        growth: By how many bytes the memory grew.
    """

    seen: Seen
    events: Mapping[str, int]
    exit_code: int
    left: tuple[str, ...]
    growth: int

    @property
    def unexplained(self) -> dict[str, int]:
        """The ends that a job should not have taken."""
        unexplained = {name: count for name, count in self.events.items() if name in _UNEXPLAINED}
        # The worker releases a job whose claim was written and raised.  Its next look for jobs of dead workers may find
        # the job before CodePipeline offers it again.
        if unexplained.get("recovered", 0) <= self.events["unknown_claims"]:
            unexplained.pop("recovered", None)
        return unexplained

    @property
    def is_right(self) -> bool:
        """Whether each job has its one result, and the worker ended as it should."""
        is_one = not (self.seen.lost or self.seen.accepted_twice or self.seen.uncertain or self.left)
        # The journal of these runs fails now and then, which the exit code of the worker reports.
        return is_one and not self.unexplained and self.exit_code == 1 and self.growth < MOST_GROWTH


_UNEXPLAINED = ("uncertain", "unsent", "timed_out", "recovered", "released")


def faults(*, jobs: int, slots: int, seed: int, directory: Path, engine: str = "threads") -> Soaked:
    """Let one worker process do many jobs while everything goes wrong, and look at its memory on the way."""
    chance = random.Random(seed)
    journal, written = directory / "soak.db", directory / "events.json"
    clock = _Shifted()
    done: Counter[str] = Counter()
    accepted: Counter[str] = Counter()
    last: RequestRecord | None = None
    lost: list[str] = []
    before = after = 0
    options = (f"engine={engine}", "handler=fail", "partner=bad")
    with LocalCodePipeline(redelivery_delay=0.5, clock=clock, journal_size=_RECORDS) as service:
        service.register_client(CLIENT_ID, CLIENT_TOKEN)
        child = start_child(
            service, journal, f"concurrency={slots}", "poll_interval=0.1", f"events={written}", *options
        )
        for begin in range(0, jobs, _ROUND):
            actions = [service.start_action(ACTION_TYPE, client_id=CLIENT_ID) for _ in range(min(_ROUND, jobs - begin))]
            _let_go_wrong(service, chance, engine)
            clock.shift += chance.choice((0.0, 5.0))
            wait_until_none(partial(_count_open, actions))
            lost += sorted(find_open(actions))
            done.update(action.status for action in actions if _is_right(action))
            new = _after(last, service.requests)
            accepted += count_accepted(new)
            last = new[-1]
            if begin + _ROUND >= min(2000, jobs // 2):
                before = before or _resident(child.pid)
            after = _resident(child.pid)
            print(f"  {begin + len(actions)} jobs, {after / 2**20:.1f} MiB", flush=True)
        service.faults.clear()
        code = end(child)
        settle(service, journal)
        accepted += count_accepted(_after(last, service.requests))
    twice = tuple(job_id for job_id, count in accepted.items() if count > 1)
    return Soaked(
        seen=Seen(
            succeeded=done["Succeeded"], failed=done["Failed"], uncertain=0, accepted_twice=twice, lost=tuple(lost)
        ),
        events=json.loads(written.read_text(encoding="utf-8")),
        exit_code=code,
        left=tuple(find_unfinished(journal)),
        growth=after - before,
    )


def _after(last: RequestRecord | None, records: Sequence[RequestRecord]) -> Sequence[RequestRecord]:
    """Return the records after the last one of before."""
    places = [place for place, record in enumerate(records) if record is last]
    assert places or last is None, "the service has forgotten requests: raise _RECORDS"
    return records[places[0] + 1 :] if places else records


def _let_go_wrong(service: LocalCodePipeline, chance: random.Random, engine: str) -> None:
    for operation_name, all_kinds in _FAULTS.items():
        # The process of a handler reads the details after the claim.  If CodePipeline
        # responds that there is no such job, the worker ends the job, so that this response would cost a job.
        kinds = tuple(kind for kind in all_kinds if engine == "threads" or kind is not _GONE)
        # A round has few polls, and a worker that fails to poll many times in a row pauses for minutes, as it should.
        is_poll = operation_name == _POLL
        for _ in range(chance.randint(2, 4 if is_poll else 8)):
            service.faults.add(operation_name, chance.choice(kinds), times=1 if is_poll else chance.randint(1, 3))


def _count_open(actions: Sequence[Action]) -> int:
    return len(find_open(actions))


def _is_right(action: Action) -> bool:
    """Return whether the service has the result of the handler, or that it has refused two times."""
    result = action.result
    if isinstance(result, FailureDetails) and result.message.startswith("CodePipeline refused the result"):
        return True
    return action.status == ("Failed" if fails_as_planned(action.jobs[-1].id) else "Succeeded")


class _Shifted:
    """A clock that jumps ahead."""

    def __init__(self) -> None:
        self.shift = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.shift


def _resident(process_id: int) -> int:
    """Return the bytes of memory that a process has, on Linux."""
    return int(Path(f"/proc/{process_id}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


# --- no jobs


def idle(*, seconds: float, directory: Path, engine: str = "threads") -> float:
    """Return which part of a core a worker uses that has the default interval between polls and gets no job."""
    with LocalCodePipeline() as service:
        service.register_client(CLIENT_ID, CLIENT_TOKEN)
        child = start_child(service, directory / "idle.db", f"engine={engine}", "poll_interval=5", "concurrency=10")
        until_busy(service, child)
        time.sleep(2.0)  # what a start leaves to do
        before, began_at = _used_seconds(child.pid), time.monotonic()
        time.sleep(seconds)
        used = (_used_seconds(child.pid) - before) / (time.monotonic() - began_at)
        end(child)
    return used


def _used_seconds(process_id: int) -> float:
    """Return the seconds of a processor that a process has used, on Linux."""
    fields = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
