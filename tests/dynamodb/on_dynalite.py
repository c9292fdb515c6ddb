"""The journal against dynalite, a DynamoDB behind HTTP; `nox -s dynamodb` installs it."""

from __future__ import annotations

import http.client
import itertools
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from botocore.config import Config
from long.fleet import end, find_unfinished, look, start_child, wait_for_end
from long.kills import kills
from long.restarts import restarts
from long.table import count_units, share, take_over
from support import lambda_functions as functions
from support.dynamodb import TABLE_NAME, Fleet, create_table, dynalite, dynalite_client
from support.journals import SetAsideJobs
from support.lambda_child import create_function
from support.lambda_functions import FakeClient, make_event
from support.worker_service import ACTION_TYPE, CLIENT_ID, CLIENT_TOKEN, until

from cp_thirdparty import FailureDetails
from cp_thirdparty.exceptions import JournalError
from cp_thirdparty.testing import LambdaContext, LocalCodePipeline
from cp_thirdparty.worker import DynamoDBJournal, JobEvent, Journal, JournalState


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Start dynalite."""
    with dynalite() as started:
        yield started


class TestOnDynalite(SetAsideJobs):
    """The public suite."""

    @pytest.fixture(autouse=True)
    def _table(self, url: str) -> None:
        self.fleet = Fleet(dynalite_client(url))

    def open_journal(self, clock: Callable[[], float]) -> Journal:
        """Open the table of the test."""
        return self.fleet.open(clock)

    def crash(self, journal: Journal) -> None:
        """Let the owner beat no more."""
        assert isinstance(journal, DynamoDBJournal)
        self.fleet.crash(journal)


@contextmanager
def _cutting(url: str) -> Generator[str, None, None]:
    """Start a proxy that loses one response in five, after the table has done what it was asked for."""
    target = urlsplit(url).netloc
    numbers = itertools.count(1)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            upstream = http.client.HTTPConnection(target)
            upstream.request("POST", "/", body, dict(self.headers))
            response = upstream.getresponse()
            content = response.read()
            upstream.close()
            if next(numbers) % 5 == 0:
                self.close_connection = True
                return
            self.send_response(response.status)
            for name, value in response.getheaders():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class TestCutConnections(TestOnDynalite):
    """The public suite where responses are lost: a request that botocore repeats recognises its own effect."""

    @pytest.fixture(autouse=True)
    def _table(self, url: str) -> Iterator[None]:
        with _cutting(url) as cutting:
            config = Config(max_pool_connections=50, retries={"mode": "legacy", "max_attempts": 9})
            self.fleet = Fleet(dynalite_client(cutting, config=config))
            yield


def test_a_job_needs_at_most_six_write_units(url: str) -> None:
    """For a short result, by the capacity that dynalite reports; a lost race and a wait cost more."""
    assert count_units(url) <= 6


def test_killed_workers_lose_no_job(tmp_path: Path) -> None:
    """Three workers share a table; they and their groups are killed."""
    killed = kills(jobs=60, kills=6, seed=7, directory=tmp_path, database="dynamodb")
    assert killed.is_right, killed
    assert killed.seen.succeeded + killed.seen.failed + killed.seen.uncertain == 60


def test_several_workers_share_a_table(tmp_path: Path) -> None:
    """Each job has one result."""
    seen, _ = share(jobs=100, workers=3, directory=tmp_path)
    assert (seen.succeeded, seen.lost, seen.accepted_twice) == (100, (), ())


def test_the_jobs_of_a_killed_worker_are_taken_over_in_time(tmp_path: Path) -> None:
    """Another worker runs them again."""
    assert 0 < take_over(takeover_seconds=6.0, directory=tmp_path) <= 6.0


def test_a_rolling_restart_is_not_seen_by_customers(tmp_path: Path) -> None:
    """What an old worker releases at the end of its grace, a new one runs again."""
    found = restarts(
        jobs=24, seconds=4.0, grace=1.5, engine="threads", is_idempotent=True, directory=tmp_path, database="dynamodb"
    )
    assert found.is_right, found
    assert found.interrupted > 0


def test_a_paused_worker_reports_nothing_that_was_taken_over(tmp_path: Path) -> None:
    """It stands still while its handler runs; another worker has the job when it goes on."""
    journal = tmp_path / "jobs"
    with dynalite() as url, LocalCodePipeline() as service:
        create_table(dynalite_client(url))
        journal.with_suffix(".url").write_text(url, encoding="utf-8")
        service.register_client(CLIENT_ID, CLIENT_TOKEN)
        action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
        paused = start_child(service, journal, "handler=hang", "takeover=2")
        until(lambda: find_unfinished(journal).get(action.jobs[-1].id) is JournalState.RUNNING)
        paused.send_signal(signal.SIGSTOP)
        other = start_child(service, journal, "takeover=2")
        wait_for_end([action], journal, lambda: other.poll() is None)
        assert action.status == "Failed"  # its handler may not run again
        (tmp_path / "release").touch()
        paused.send_signal(signal.SIGCONT)
        end(paused)
        end(other)
        seen = look(service, [action], journal)
        assert (seen.lost, seen.accepted_twice, seen.uncertain) == ((), (), 0)
        puts = [record for record in service.requests if str(record.operation_name).startswith("Put")]
        assert len(puts) == 1


# --- environments of a Lambda function


@contextmanager
def _environment(url: str, note: Path, step: str) -> Generator[subprocess.Popen[bytes], None, None]:
    """Start an environment that stands still at a step of the job of an event, and kill it at the end."""
    command = [sys.executable, "-m", "support.lambda_child", url, str(note), step]
    environment = {**os.environ, "AWS_REGION": "us-east-1", "PYTHONPATH": os.pathsep.join(sys.path)}
    # A group of its own: Lambda ends an environment with all its processes.
    with subprocess.Popen(command, env=environment, start_new_session=True) as child:
        try:
            yield child
        finally:
            os.killpg(child.pid, signal.SIGKILL)


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Start a database with the table of jobs, and return its URL."""
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    with dynalite() as started:
        create_table(dynalite_client(started))
        yield started


def _has_begun(url: str, note: Path, step: str) -> bool:
    items = dynalite_client(url).scan(TableName=TABLE_NAME, ConsistentRead=True)["Items"]
    return note.exists() if step == "handler" else any("state" in item for item in items)


@pytest.mark.parametrize("step", ["claim", "handler"])
def test_the_event_of_a_killed_environment_is_handled_by_another_one(tmp_path: Path, table: str, step: str) -> None:
    """Its handler runs if it has not begun; otherwise the job is lost.  A third delivery changes nothing."""
    killed, note = tmp_path / "killed", tmp_path / "note"
    with _environment(table, killed, step):
        until(lambda: _has_begun(table, killed, step))
    client = FakeClient()
    events: list[JobEvent] = []
    function = create_function(table, partial(functions.count, note=str(note)), client, on_event=events.append)
    for _ in range(2):
        assert function(make_event(), LambdaContext()) is None
    assert [isinstance(result, FailureDetails) for _, result in client.results] == [step == "handler"]
    assert note.exists() is (step == "claim")
    assert [event.name for event in events][-2:] == ["reported", "lost_race"]


def test_the_event_of_a_living_environment_is_left_to_it(tmp_path: Path, table: str) -> None:
    """Lambda has delivered it twice; it must be delivered once more, as the other environment may not end its job."""
    living, note = tmp_path / "living", tmp_path / "note"
    client = FakeClient()
    function = create_function(table, partial(functions.count, note=str(note)), client)
    with _environment(table, living, "handler"):
        until(lambda: _has_begun(table, living, "handler"))
        for context in (LambdaContext(0.5), LambdaContext()):  # the first has too little time to find out
            with pytest.raises(JournalError, match="another environment has it"):
                function(make_event(), context)
    assert (note.exists(), client.results) == (False, [])
