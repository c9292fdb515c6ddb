"""The commands about journals, with a journal in a DynamoDB table."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from support.command_line import run_command
from support.dynamodb import Fleet, moto_client
from support.journals import SCOPE

from cp_thirdparty import Succeeded, ThirdPartyJob
from cp_thirdparty._cli import journal_sources
from cp_thirdparty.worker import DynamoDBJournal

_REGION = "us-east-1"
_ACCOUNT = "123456789012"


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    """Create a client of moto's tables."""
    with moto_client() as created:
        yield created


@pytest.fixture
def fleet(client: Any, monkeypatch: pytest.MonkeyPatch) -> Fleet:
    """Create a table, and point the environment at it."""
    variables = {"AWS_DEFAULT_REGION": _REGION, "AWS_ACCESS_KEY_ID": "made-up", "AWS_SECRET_ACCESS_KEY": "made-up"}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_REGION", "AWS_PROFILE", "AWS_DEFAULT_OUTPUT"):
        monkeypatch.delenv(name, raising=False)
    return Fleet(client)


def _claim(journal: DynamoDBJournal, job_id: str) -> None:
    journal.claim(ThirdPartyJob(client_id="c", job_id=job_id), SCOPE)
    journal.running(job_id)


def _wait_with(monkeypatch: pytest.MonkeyPatch, wait: Callable[[float], object]) -> None:
    monkeypatch.setattr(journal_sources, "time", SimpleNamespace(sleep=wait))


def _die(fleet: Fleet, journal: DynamoDBJournal) -> None:
    """End a worker so that another one has removed its lease, and not yet taken its jobs."""
    journal._lease.stop()
    key = {"pk": {"S": "open"}, "sk": {"S": f"lease#{journal._lease.name}"}}
    fleet.client.delete_item(TableName=fleet.table_name, Key=key)


@pytest.fixture
def living(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> DynamoDBJournal:
    """Fill the table with a job of each kind, and return the journal of a worker that renews its lease."""
    living, dead = fleet.open(), fleet.open()
    for job_id in ("done", "released", "running", "broken"):
        _claim(living, job_id)
    _claim(dead, "lost")
    living.result("done", Succeeded())
    living.finish("done", "reported")
    living.release("released")
    item = {**living._owned["broken"].item, "state": "UNKNOWN"}
    living._table.put(item)
    _die(fleet, dead)
    waits = itertools.count(1)
    _wait_with(monkeypatch, lambda _seconds: living._lease.beat() if next(waits) % 2 == 0 else None)
    return living


def test_jobs_of_a_table_are_shown(
    fleet: Fleet, living: DynamoDBJournal, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each job has its state and its owner, and the table stays as it is, but for the leases of workers."""
    del living
    name = f"dynamodb://{fleet.table_name}"
    before = [item for item in fleet.items() if "beat" not in item]
    shown = run_command(capsys, "jobs", name, "--output", "json")
    found = {
        job["jobId"]: (job["state"], job.get("owner"), job.get("problem")) for job in json.loads(shown.out)["jobs"]
    }
    assert (shown.code, found) == (
        0,
        {
            "done": ("DONE", "", None),
            "released": ("RUNNING", "", None),
            "running": ("RUNNING", "alive", None),
            "lost": ("RUNNING", "dead", None),
            "broken": ("SET_ASIDE", None, "its state is unknown"),
        },
    )
    assert shown.err == "cp-thirdparty: looking for signs of life of the workers, for up to 33000 seconds\n"
    assert [item for item in fleet.items() if "beat" not in item] == before
    unfinished = run_command(capsys, "jobs", name, "--unfinished", "--query", "length(jobs)", "--output", "text")
    assert unfinished.out == "4\n"
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    monkeypatch.setenv("AWS_REGION", _REGION)
    # The other lines are those of CodePipeline, which moto does not play.
    missing = run_command(capsys, "doctor", "--journal", "dynamodb://nothing", "--endpoint-url", "ftp://x")
    assert missing.out.splitlines()[-1] == (
        "FAIL  journal      the journal's table nothing cannot be read: ResourceNotFoundException. Remedy: correct "
        "--journal to the worker's file or dynamodb://TABLE, and give this user read access"
    )
    doctor = run_command(capsys, "doctor", "--journal", name, "--endpoint-url", "ftp://x")
    assert doctor.out.splitlines()[-1] == ("ok    journal      4 unfinished jobs, 1 of them to resolve by hand")


def test_a_job_of_a_table_is_ended(fleet: Fleet, living: DynamoDBJournal, capsys: pytest.CaptureFixture[str]) -> None:
    """If no worker has it, and not if a worker that is alive has it."""
    name = f"dynamodb://{fleet.table_name}"
    for job_id in ("lost", "released"):
        assert run_command(capsys, "resolve", name, job_id, "--yes").out == f"{job_id}: ended in the journal\n"
    refused = run_command(capsys, "resolve", name, "running", "--yes")
    assert (refused.code, "a running worker has the job" in refused.err) == (255, True)
    states = {entry.job.job_id: entry.outcome for entry in living.jobs()}
    assert states == {
        "done": "reported",
        "lost": "ended by an operator",
        "released": "ended by an operator",
        "running": None,
    }


def test_a_worker_that_is_silent_for_its_lease_is_dead(fleet: Fleet) -> None:
    """The command waits until each worker has renewed its lease, or its lease has ended."""
    living, dead, operator = fleet.open(), fleet.open(), fleet.open()
    _claim(living, "running")
    _claim(dead, "lost")
    dead._lease.stop()
    looks = 0
    for wait, longest in operator._observe_owners():
        assert [wait, longest] == pytest.approx([33_000 / 6, 33_000])
        fleet.timer.now += wait
        living._lease.beat()
        looks += 1
    assert looks == 6
    owners = {entry.job.job_id: entry.is_owner_alive for entry in operator.jobs()}
    assert owners == {"running": True, "lost": False}
    operator.end("lost")


def test_the_region_of_a_table_is_that_of_its_arn(
    fleet: Fleet, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An option overrides it; a table name has the region of the environment."""
    regions: list[str | None] = []

    def query(**request: Any) -> Any:
        # moto takes a name only.
        return fleet.client.query(**{**request, "TableName": request["TableName"].removeprefix(prefix)})

    def create(_session: Any, region: str | None) -> Any:
        regions.append(region)
        return SimpleNamespace(query=query)

    monkeypatch.setattr("cp_thirdparty._cli.journal_sources.create_client", create)
    prefix = f"arn:aws:dynamodb:eu-west-1:{_ACCOUNT}:table/"
    arn = prefix + fleet.table_name
    for arguments in ((arn,), (arn, "--region", "eu-west-2"), (f"dynamodb://{fleet.table_name}",)):
        shown = run_command(capsys, "jobs", *arguments, "--output", "json")
        assert (shown.code, json.loads(shown.out)) == (0, {"jobs": []}), shown
    assert regions == ["eu-west-1", "eu-west-2", None]


@pytest.mark.parametrize(
    ("variables", "arguments", "code", "message"),
    [
        ({}, ("dynamodb://x",), 252, "JOURNAL: must be a file, dynamodb://TABLE, or the ARN of a DynamoDB table"),
        ({}, (f"arn:aws:sqs:us-east-1:{_ACCOUNT}:jobs",), 252, "JOURNAL: must be a file, dynamodb://TABLE, or"),
        ({}, ("dynamodb://nothing",), 255, "the journal's table nothing cannot be read: ResourceNotFoundException"),
        (
            {"AWS_DEFAULT_REGION": None},
            ("dynamodb://jobs",),
            253,
            "--region: must be given, here or in the AWS conf",
        ),
        (
            {},
            ("dynamodb://jobs", "--profile", "MARK"),
            253,
            "--profile: must be a profile of /nothing (does not ex",
        ),
        ({}, ("dynamodb://jobs", "--region", "MARK!"), 253, "--region: must be the name of a region"),
        ({"AWS_REGION": "MARK!"}, ("dynamodb://jobs",), 253, "AWS_REGION: must be the name of a region"),
        (
            {"AWS_ENDPOINT_URL_DYNAMODB": "MARK"},
            ("dynamodb://jobs",),
            253,
            "AWS_ENDPOINT_URL_DYNAMODB: must be an http",
        ),
    ],
)
def test_a_table_that_cannot_be_read(  # noqa: PLR0917 - fixtures
    variables: dict[str, str | None],
    arguments: tuple[str, ...],
    code: int,
    message: str,
    fleet: Fleet,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The error names what is wrong, and no value."""
    del fleet
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nothing")
    for name, value in variables.items():
        if value is None:
            monkeypatch.delenv(name)
        else:
            monkeypatch.setenv(name, value)
    for name in ("jobs", "resolve"):
        job_id = ("job-1", "--yes") if name == "resolve" else ()
        shown = run_command(capsys, name, *arguments, *job_id)
        assert (shown.code, message in shown.err, "MARK" in shown.err, shown.out) == (code, True, False, ""), shown
