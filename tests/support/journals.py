"""Journals for tests: of version 0.1.0, of a process that was killed, and of a separate process."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
import uuid
from contextlib import closing
from pathlib import Path

from cp_thirdparty import ActionTypeId, ThirdPartyJob
from cp_thirdparty.testing.journal_conformance import JournalConformance
from cp_thirdparty.worker import JobScope, Recovered, SqliteJournal, _owners

SCOPE = JobScope(
    region_name="us-east-1",
    endpoint_url="https://codepipeline.us-east-1.amazonaws.com",
    action_type_id=ActionTypeId(category="Test", owner="ThirdParty", provider="ExampleScan", version="1"),
)
OTHER_SCOPE = JobScope(
    region_name="us-east-1",
    endpoint_url="https://codepipeline.us-east-1.amazonaws.com",
    action_type_id=ActionTypeId(category="Deploy", owner="ThirdParty", provider="ExampleDeploy", version="1"),
)

# The SQL statements of version 0.1.0, unchanged.
_OLD_SCHEMA = (
    """
    CREATE TABLE IF NOT EXISTS jobs (
        job_id     TEXT PRIMARY KEY,
        client_id  TEXT NOT NULL,
        state      TEXT NOT NULL,
        result     TEXT,
        outcome    TEXT,
        crashes    INTEGER NOT NULL DEFAULT 0,
        owner      TEXT,
        changed_at REAL NOT NULL
    ) WITHOUT ROWID
    """,
    "CREATE INDEX IF NOT EXISTS unfinished ON jobs (owner) WHERE state <> 'DONE'",
    "PRAGMA user_version = 1",
)
_OLD_CLAIM = """
    INSERT INTO jobs (job_id, client_id, state, owner, changed_at) VALUES (?, ?, 'CLAIMING', ?, ?)
    ON CONFLICT (job_id) DO UPDATE SET
        client_id = excluded.client_id, state = excluded.state, result = NULL, outcome = NULL, crashes = 0,
        owner = excluded.owner, changed_at = excluded.changed_at
    WHERE jobs.owner IS NULL OR jobs.state IN ('DONE', 'UNCERTAIN')
"""
_OLD_COLUMNS = "job_id, client_id, state, result, outcome, crashes, changed_at"


class SetAsideJobs(JournalConformance):
    """Tests of both journals of this library that the public suite does not have: not every journal sets jobs aside."""

    def test_a_job_that_is_set_aside_is_claimed_when_it_is_offered(self) -> None:
        """No worker has it after its worker has ended, so an offer of CodePipeline is not refused."""
        now = -1.0  # a time that no journal of this library reads

        def clock() -> float:
            return now

        job = ThirdPartyJob(client_id="c", job_id="job-1")
        with closing(self.open_journal(clock)) as journal, closing(self.open_journal(clock)) as other:
            journal.claim(job, SCOPE)
            assert not other.claim(job, SCOPE)
            self.crash(journal)
            now = 1_700_000_000.0
            found = [(row.job_id, row.problem) for row in other.recover(SCOPE).set_aside]
            assert found == [("job-1", "its times cannot be read")]
            assert other.claim(job, SCOPE)
            assert [(entry.job, entry.is_owner_alive) for entry in other.jobs()] == [(job, True)]
            assert other.recover(SCOPE) == Recovered(entries=(), set_aside=())


class OldJournal:
    """The journal of version 0.1.0, with its SQL statements and only the methods that the tests need."""

    def __init__(self, path: Path) -> None:
        self.owner = uuid.uuid4().hex
        self.connection = sqlite3.connect(path, timeout=30.0, isolation_level=None, check_same_thread=False)
        self.connection.execute("PRAGMA journal_mode = WAL")
        self.connection.execute("PRAGMA synchronous = FULL")
        (found,) = self.connection.execute("PRAGMA user_version").fetchone()
        assert found in (0, 1), f"its format is {found} and not 1"
        self._execute(*((statement, ()) for statement in _OLD_SCHEMA))
        self._lock_path = path.with_name(f"{path.name}-alive-{self.owner}")
        self._alive = sqlite3.connect(self._lock_path, isolation_level=None, check_same_thread=False)
        self._alive.execute("BEGIN EXCLUSIVE")

    def claim(self, job_id: str) -> bool:
        """Claim a job; return whether the claim succeeded."""
        return self._execute((_OLD_CLAIM, (job_id, "c", self.owner, time.time()))) == 1

    def change(self, job_id: str, state: str, result: str | None = None) -> int:
        """Store the state and the result of a job; return the number of changed rows."""
        statement = "UPDATE jobs SET state = ?, result = ?, changed_at = ? WHERE job_id = ? AND owner = ?"
        return self._execute((statement, (state, result, time.time(), job_id, self.owner)))

    def release(self, job_id: str) -> None:
        """Remove the owner of a job that is not done."""
        statement = "UPDATE jobs SET owner = NULL WHERE job_id = ? AND owner = ? AND state <> 'DONE'"
        self._execute((statement, (job_id, self.owner)))

    def unfinished(self) -> list[tuple[str, str]]:
        """Return the id and the state of each job that is not done."""
        rows = self.connection.execute(f"SELECT {_OLD_COLUMNS} FROM jobs WHERE state <> 'DONE'")
        return [(row[0], row[2]) for row in rows]

    def close_without_cleanup(self) -> None:
        """Close the files as SIGKILL does: the lock of the owner is released, and its lock file is not removed."""
        self.connection.close()
        self._alive.close()

    def close(self) -> None:
        """Close the journal, and remove the lock file of its owner."""
        self.close_without_cleanup()
        self._lock_path.unlink(missing_ok=True)

    def _execute(self, *statements: tuple[str, tuple[object, ...]]) -> int:
        """Execute statements in one transaction; return the number of rows that the last one changed."""
        self.connection.execute("BEGIN IMMEDIATE")
        rows = 0
        for statement, parameters in statements:
            rows = self.connection.execute(statement, parameters).rowcount
        self.connection.execute("COMMIT")
        return rows


_PROGRAM = """
import os, sys, time
from cp_thirdparty import Succeeded, ThirdPartyJob
from cp_thirdparty.worker import SqliteJournal
from support.journals import OTHER_SCOPE, SCOPE
journal = SqliteJournal(sys.argv[1])
job = ThirdPartyJob(client_id="client-1", job_id="job-1")
{code}
sys.stdout.flush()
os.kill(os.getpid(), 9)
"""


def close_without_cleanup(journal: SqliteJournal) -> None:
    """Close a journal as if its process were killed: no job is released, and the owner's lock file is not removed."""
    _owners._OWNERS.pop(journal._owner.name)
    journal._owner._lock.close()
    journal._file._connection.close()
    journal._file._is_closed = True


def start_process(path: Path, code: str, *arguments: str, is_measured: bool = False) -> subprocess.Popen[str]:
    """
    Start a process that opens a journal, runs ``code``, and then kills itself with SIGKILL.

    ``is_measured`` measures coverage in the process and takes 0.2 s.  A process that is killed writes no coverage data,
    so this is useful only if ``code`` ends a process in another way, for example a forked child.
    """
    program = _PROGRAM.format(code=code)
    tests = str(Path(__file__).parents[1])
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([tests, os.environ.get("PYTHONPATH", "")])}
    if not is_measured:
        environment.pop("COVERAGE_PROCESS_CONFIG", None)
    return subprocess.Popen(
        [sys.executable, "-c", program, str(path), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )


def run_process(path: Path, code: str, *arguments: str) -> str:
    """Run the process of `start_process` until it ends, and return its standard output."""
    with start_process(path, code, *arguments) as process:
        output, _ = process.communicate(timeout=60)
    return output
