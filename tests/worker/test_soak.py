"""Short forms of the long runs in ``tests/long``, and workers as processes: killed, stopped, several at a time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from long import faults, soak
from long.fleet import Seen, end, look, start_child, wait_for_end
from long.kills import kills
from long.open_jobs import Offers, describe, find_rest
from long.restarts import restarts
from support.worker_service import ACTION_TYPE, CLIENT_ID, CLIENT_TOKEN, Before, until

from cp_thirdparty import JobStatus
from cp_thirdparty.testing import Action, LocalCodePipeline
from cp_thirdparty.worker import JournalState, SqliteJournal

pytestmark = pytest.mark.slow

_JOBS = 6


@pytest.fixture
def service() -> Iterator[LocalCodePipeline]:
    """Give a running service with one customer, which soon offers a job again."""
    with LocalCodePipeline(redelivery_delay=0.3) as made:
        made.register_client(CLIENT_ID, CLIENT_TOKEN)
        yield made


def _states(path: Path) -> dict[str, JournalState]:
    journal = SqliteJournal(path)
    states = {entry.job.job_id: entry.state for entry in journal.jobs()}
    journal.close()
    return states


def _is_final(action: Action) -> bool:
    return action.status in ("Succeeded", "Failed")


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", ["claim", "running", "result", "finish"])
def test_a_worker_killed_at_a_step_loses_no_job(
    service: LocalCodePipeline, tmp_path: Path, when: str, step: str
) -> None:
    """Whatever was seen to be acknowledged has one result after the restart; the rest is uncertain and reported."""
    journal = tmp_path / "j.db"
    actions = [service.start_action(ACTION_TYPE, client_id=CLIENT_ID) for _ in range(_JOBS)]
    assert start_child(service, journal, f"kill={when}:{step}:3").wait(60) == -9
    claimed = {
        job_id
        for job_id, state in _states(journal).items()
        if state in (JournalState.RUNNING, JournalState.RESULT, JournalState.DONE)
    }
    child = start_child(service, journal)
    wait_for_end(actions, journal, lambda: child.poll() is None)
    code = end(child)
    seen = look(service, actions, journal)
    assert seen.is_right, seen
    assert seen.succeeded + seen.failed + seen.uncertain == _JOBS
    assert claimed <= {action.jobs[-1].id for action in actions if _is_final(action)}
    assert code == (1 if seen.uncertain else 0)


# For each engine: jobs and kills.
_KILLS = {"threads": (120, 6), "processes": (80, 8), "dask": (40, 4)}


@pytest.mark.parametrize(
    ("engine", "kind"),
    [*((engine, "third-party") for engine in _KILLS), ("threads", "custom"), ("processes", "custom")],
)
def test_workers_killed_at_random_lose_no_job(tmp_path: Path, engine: str, kind: str) -> None:
    """Three workers share a journal; they, their groups, and the processes of their jobs are killed."""
    jobs, number = _KILLS[engine]
    killed = kills(jobs=jobs, kills=number, seed=7, directory=tmp_path, engine=engine, kind=kind)
    assert killed.is_right, killed
    assert killed.seen.succeeded + killed.seen.failed + killed.seen.uncertain == jobs


@pytest.mark.parametrize("engine", ["threads", "processes"])
def test_a_run_finds_the_jobs_that_workers_lose(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], engine: str
) -> None:
    """If no worker takes over the jobs of a killed one, the run stops waiting for them, fails, and names them."""
    killed = kills(
        jobs=40, kills=4, seed=7, directory=tmp_path, engine=engine, patience=8, settings=("recovery=never",)
    )
    assert not killed.is_right
    lost = [job for job in killed.rest if job.place == "lost"]
    assert lost, killed
    assert {job.owner for job in lost} == {"ended"}
    assert {job.job_id for job in lost} <= set(killed.seen.lost)
    printed = capsys.readouterr().out
    assert f"{len(lost)} lost" in printed
    assert all(job.job_id in printed for job in lost)


def test_open_jobs_are_queued_held_or_lost(service: LocalCodePipeline, tmp_path: Path) -> None:
    """One job waits in CodePipeline, one is with a running worker, one was with a killed worker."""
    journal, begun = tmp_path / "j.db", tmp_path / "begun.txt"
    offers = Offers.of(service)
    settings = ("handler=hang", "concurrency=1", f"begun={begun}", "recovery=never")
    actions, children = [], []
    for _ in range(2):
        actions.append(service.start_action(ACTION_TYPE, client_id=CLIENT_ID))
        children.append(start_child(service, journal, *settings))
        until(lambda: len(begun.read_text(encoding="utf-8").splitlines() if begun.exists() else ()) == len(actions))
    children[0].kill()
    children[0].wait()
    actions.append(service.start_action(ACTION_TYPE, client_id=CLIENT_ID))
    assert wait_for_end(actions, journal, lambda: True, patience=0.5) > 0.5
    rest = find_rest(service, actions, journal, offers, begun)
    found = [(job.place, job.status, job.state, job.owner, job.offers, job.request) for job in rest]
    claimed = "AcknowledgeThirdPartyJob"
    assert found == [
        ("lost", "InProgress", "RUNNING", "ended", 1, claimed),
        ("held", "InProgress", "RUNNING", "running", 1, claimed),
        ("queued", "Queued", "", "", 0, ""),
    ]
    assert [job.handlers for job in rest] == [(f"{children[0].pid} ended",), (f"{children[1].pid} running",), ()]
    assert describe(rest).startswith("3 jobs have no result: 1 lost, 1 held, 1 queued\n")
    (tmp_path / "release").touch()
    end(children[1])


def test_a_job_whose_ownership_is_unknown_is_not_open(service: LocalCodePipeline, tmp_path: Path) -> None:
    """The worker reports it, so the run does not wait for it."""
    journal = tmp_path / "j.db"
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    offers = Offers.of(service)
    assert start_child(service, journal, "kill=before:running:1").wait(60) == -9
    child = start_child(service, journal)
    until(lambda: JournalState.UNCERTAIN in _states(journal).values())
    wait_for_end([action], journal, lambda: child.poll() is None)
    rest = find_rest(service, [action], journal, offers, tmp_path / "begun.txt")
    assert describe(rest) == "each job has its result, or its ownership is unknown"
    assert end(child) == 1
    assert look(service, [action], journal) == Seen(succeeded=0, failed=0, uncertain=1, accepted_twice=(), lost=())


def test_each_row_of_the_failure_policy_loses_no_job(tmp_path: Path) -> None:
    """One worker gets what each row of the failure policy is about, and each job ends as it should."""
    assert faults.rows(tmp_path) == faults.Played(wrong=(), unused=())


@pytest.mark.parametrize("engine", ["threads", "processes"])
def test_everything_goes_wrong_and_no_job_is_lost(tmp_path: Path, engine: str) -> None:
    """Network, service, token store, journal, hook and log handler fail: each job has its one result."""
    soaked = faults.faults(jobs=200, slots=16, seed=3, directory=tmp_path, engine=engine)
    assert soaked.is_right, soaked
    assert soaked.seen.succeeded + soaked.seen.failed == 200
    assert soaked.events["call_failed"] > 0
    assert soaked.events["journal_failed"] > 0


@pytest.mark.parametrize(
    ("engine", "kind", "is_idempotent"),
    [
        ("threads", "third-party", True),
        ("threads", "third-party", False),
        ("processes", "third-party", True),
        ("processes", "third-party", False),
        ("threads", "custom", True),
    ],
)
def test_a_rolling_restart_is_not_seen_by_customers(
    tmp_path: Path, *, engine: str, kind: str, is_idempotent: bool
) -> None:
    """Only a handler that may not run again, and that goes on beyond the grace, costs its customer a failure."""
    found = restarts(
        jobs=24,
        seconds=4.0,
        grace=1.5,
        engine=engine,
        kind=kind,
        is_idempotent=is_idempotent,
        directory=tmp_path,
    )
    assert found.is_right, found
    assert found.interrupted > 0


def test_several_workers_share_an_action_type(tmp_path: Path) -> None:
    """Each job has one result, and a lost race is not a failure."""
    seen, _ = soak.race(jobs=60, workers=3, directory=tmp_path)
    assert seen == Seen(succeeded=60, failed=0, uncertain=0, accepted_twice=(), lost=())


# --- SIGTERM


@pytest.mark.parametrize(
    ("operation_name", "status"),
    [
        ("PollForThirdPartyJobs", "Dispatched"),
        ("GetThirdPartyJobDetails", "Dispatched"),
        ("AcknowledgeThirdPartyJob", "Succeeded"),
        ("PutThirdPartyJobSuccessResult", "Succeeded"),
    ],
)
def test_sigterm_drains_or_hands_back(
    service: LocalCodePipeline, tmp_path: Path, operation_name: str, status: str
) -> None:
    """Before the claim the job goes back to the service, after it the job is finished; the exit code is 0."""
    journal = tmp_path / "j.db"
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    child = start_child(service, journal)

    def stop() -> None:
        child.terminate()
        time.sleep(1.0)  # the process has seen the signal by then, or the test fails

    service.faults.add(operation_name, Before(stop))
    assert child.wait(60) == 0
    assert action.status == JobStatus(status)
    assert set(_states(journal).values()) <= {JournalState.DONE}


def test_sigterm_lets_a_handler_end(service: LocalCodePipeline, tmp_path: Path) -> None:
    """A running job is finished within the grace."""
    journal = tmp_path / "j.db"
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    child = start_child(service, journal, "handler=hang")
    until(lambda: action.status == "InProgress")
    child.terminate()
    (tmp_path / "release").touch()
    assert child.wait(60) == 0
    assert action.status == "Succeeded"


@pytest.mark.parametrize("settings", [("grace=0.2",), ("grace=1000", "again")], ids=str)
def test_after_the_grace_a_handler_is_given_up(
    service: LocalCodePipeline, tmp_path: Path, settings: tuple[str, ...]
) -> None:
    """When the grace ends, or with a second signal, the job is failed and the process ends; nothing is left."""
    journal = tmp_path / "j.db"
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    child = start_child(service, journal, "handler=hang", settings[0])
    until(lambda: action.status == "InProgress")
    child.terminate()
    if len(settings) > 1:
        time.sleep(1.0)
        child.terminate()
    assert child.wait(60) == 0
    assert action.status == "Failed"
    assert list(_states(journal).values()) == [JournalState.DONE]
