"""Files of version 0.1: converted with jobs in flight, and used by workers of both versions during a deployment."""

from __future__ import annotations

import shutil
import sqlite3
import tracemalloc
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from support.journals import OTHER_SCOPE, SCOPE, OldJournal, close_without_cleanup, run_process

from cp_thirdparty import Succeeded, ThirdPartyJob
from cp_thirdparty.exceptions import JournalError
from cp_thirdparty.worker import JobScope, JournalEntry, JournalState, SetAside, SqliteJournal
from cp_thirdparty.worker._sqlite_rows import read_journal


def _job(job_id: str) -> ThirdPartyJob:
    return ThirdPartyJob(client_id="c", job_id=job_id)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the journal is."""
    return tmp_path / "jobs.db"


@pytest.fixture
def old(path: Path) -> Iterator[OldJournal]:
    """Open the journal as a worker of version 0.1 does."""
    with closing(OldJournal(path)) as opened:
        yield opened


@pytest.fixture
def new(old: OldJournal, path: Path) -> Iterator[SqliteJournal]:
    """Open the same file as a worker of this version does, after the old one."""
    assert old.owner
    with closing(SqliteJournal(path)) as opened:
        yield opened


def _recover(journal: SqliteJournal, scope: JobScope = SCOPE) -> dict[str, tuple[JournalState, int, bool]]:
    entries = journal.recover(scope).entries
    return {entry.job.job_id: (entry.state, entry.crashes, entry.is_suspect) for entry in entries}


def test_jobs_of_a_dead_old_worker_are_recovered(old: OldJournal, new: SqliteJournal) -> None:
    """They have no scope; each state is kept, and a job that ran alone counts a crash."""
    for job_id, state, result in (
        ("claiming", "CLAIMING", None),
        ("running", "RUNNING", None),
        ("result", "RESULT", '{"success": {}}'),
        ("uncertain", "UNCERTAIN", None),
        ("done", "DONE", None),
    ):
        old.claim(job_id)
        old.change(job_id, state, result)
    assert _recover(new) == {}
    old.close_without_cleanup()
    entries = {entry.job.job_id: entry for entry in new.recover(SCOPE).entries}
    assert {job_id: (entry.state.value, entry.crashes) for job_id, entry in entries.items()} == {
        "claiming": ("CLAIMING", 0),
        "running": ("RUNNING", 1),
        "result": ("RESULT", 0),
        "uncertain": ("UNCERTAIN", 0),
    }
    assert entries["result"].result == Succeeded()
    assert {(entry.scope, entry.claimed_at, entry.is_owner_alive) for entry in entries.values()} == {(None, None, True)}
    new.running("running", crashes=1)
    new.finish("running", "reported")
    finished = [entry.job.job_id for entry in new.jobs() if entry.state is JournalState.DONE]
    assert sorted(finished) == ["done", "running"]


def test_jobs_that_an_old_worker_released_are_recovered(old: OldJournal, new: SqliteJournal) -> None:
    """A release is not a crash, and the old worker may be alive."""
    old.claim("job-1")
    old.change("job-1", "RUNNING")
    old.release("job-1")
    assert _recover(new) == {"job-1": (JournalState.RUNNING, 0, False)}


def test_several_running_jobs_of_a_dead_old_worker_are_suspects(old: OldJournal, new: SqliteJournal) -> None:
    """The rule is the same as for jobs of this version."""
    for job_id in ("job-1", "job-2"):
        old.claim(job_id)
        old.change(job_id, "RUNNING")
    old.close_without_cleanup()
    assert set(_recover(new).values()) == {(JournalState.RUNNING, 0, True)}


@pytest.mark.parametrize("was_recovered", [False, True])
def test_crashes_of_version_0_1_make_suspects(old: OldJournal, new: SqliteJournal, *, was_recovered: bool) -> None:
    """It counted each job of a dead worker, so such a job may be innocent, and gets all its tries."""
    for job_id, crashes in (("counted", 2), ("new", 0)):
        old.claim(job_id)
        old.change(job_id, "RUNNING")
        old.connection.execute("UPDATE jobs SET crashes = ? WHERE job_id = ?", (crashes, job_id))
        old.release(job_id)
    if was_recovered:
        new.recover(SCOPE)
    found = {entry.job.job_id: (entry.crashes, entry.is_suspect) for entry in new.jobs()}
    assert found == {"counted": (0, True), "new": (0, False)}


def test_a_counted_job_that_ran_alone_in_version_0_1_has_one_crash(old: OldJournal, new: SqliteJournal) -> None:
    """Its last death is its own; those before may not be."""
    old.claim("job-1")
    old.change("job-1", "RUNNING")
    old.connection.execute("UPDATE jobs SET crashes = 2")
    old.close_without_cleanup()
    assert _recover(new) == {"job-1": (JournalState.RUNNING, 1, True)}


def test_an_old_worker_goes_on_while_a_new_one_has_the_file(old: OldJournal, new: SqliteJournal, path: Path) -> None:
    """Neither takes jobs from the other."""
    old.claim("old")
    new.claim(_job("new"), SCOPE)
    assert not new.claim(_job("old"), SCOPE)
    assert _recover(new) == {}
    assert {entry.job.job_id: entry.is_owner_alive for entry in new.jobs()} == {"old": True, "new": True}
    assert old.change("old", "DONE") == 1
    assert old.claim("old-2")
    with closing(OldJournal(path)) as another:
        assert another.unfinished() == [("old-2", "CLAIMING")]
        assert another.claim("old-3")
    new.finish("new", "reported")
    assert sorted(_recover(new)) == ["old-3"]


def test_an_old_worker_may_start_on_a_file_of_this_version(path: Path) -> None:
    """After a rollback it works with its own table; it does not see the jobs of this version."""
    with closing(SqliteJournal(path)) as journal:
        journal.claim(_job("new"), SCOPE)
    with closing(OldJournal(path)) as old:
        assert old.unfinished() == []
        assert old.claim("old")
    with closing(SqliteJournal(path)) as journal:
        assert sorted(_recover(journal)) == ["new", "old"]


def test_a_job_of_another_action_type_is_released_for_its_worker(old: OldJournal, path: Path) -> None:
    """Version 0.1 did not record the action type, so a worker gives up what is not its own."""
    old.claim("job-1")
    old.close_without_cleanup()
    with closing(SqliteJournal(path)) as first, closing(SqliteJournal(path)) as second:
        assert sorted(_recover(first)) == ["job-1"]
        assert _recover(second, OTHER_SCOPE) == {}
        assert not second.claim(_job("job-1"), OTHER_SCOPE)
        first.release("job-1")
        assert sorted(_recover(second, OTHER_SCOPE)) == ["job-1"]
        second.running("job-1")
        close_without_cleanup(second)
        assert _recover(first) == {"job-1": (JournalState.RUNNING, 1, False)}


@pytest.mark.parametrize("is_converted", [False, True])
@pytest.mark.parametrize("state", ["CLAIMING", "UNCERTAIN", "DONE"])
def test_a_job_that_nobody_has_is_claimed_when_it_is_offered(
    old: OldJournal, new: SqliteJournal, state: str, *, is_converted: bool
) -> None:
    """The claim replaces the old row, so that the job is not recovered beside it."""
    old.claim("job-1")
    old.change("job-1", state)
    old.release("job-1")
    if is_converted:
        _recover(new)
        new.release("job-1")
    assert new.claim(_job("job-1"), SCOPE)
    assert [(entry.state, entry.scope) for entry in new.jobs()] == [(JournalState.CLAIMING, SCOPE)]
    assert _recover(new) == {}


def test_one_object_recovers_a_job_id_once(old: OldJournal, new: SqliteJournal, path: Path) -> None:
    """Its methods find jobs by their ids, so the job without a scope waits until the other one is finished."""
    other = SqliteJournal(path)
    other.claim(_job("job-1"), SCOPE)
    close_without_cleanup(other)
    old.claim("job-1")
    old.release("job-1")
    (entry,) = new.recover(SCOPE).entries
    assert entry.scope == SCOPE
    assert _recover(new) == {}
    new.finish("job-1", "reported")
    (entry,) = new.recover(SCOPE).entries
    assert entry.scope is None


def test_finished_jobs_of_version_0_1_are_pruned(old: OldJournal, new: SqliteJournal) -> None:
    """The limit is for both tables together."""
    for number in range(4):
        old.claim(f"old-{number}")
        old.change(f"old-{number}", "DONE")
    new.claim(_job("new"), SCOPE)
    new.finish("new", "reported")
    assert [new.prune(older_than=1e12, limit=2) for _ in range(4)] == [2, 2, 1, 0]
    assert list(new.jobs()) == []


def test_a_bad_row_of_version_0_1_costs_one_job(old: OldJournal, new: SqliteJournal) -> None:
    """It is set aside for the workers of every scope, because its action type is unknown."""
    for job_id in ("bad", "good"):
        old.claim(job_id)
    old.change("bad", "RESULT", "nonsense")
    old.close_without_cleanup()
    recovered = new.recover(SCOPE)
    assert [entry.job.job_id for entry in recovered.entries] == ["good"]
    set_aside = (SetAside(job_id="bad", problem="its result cannot be read"),)
    assert recovered.set_aside == set_aside
    assert new.recover(OTHER_SCOPE).set_aside == set_aside
    new.end("bad")
    assert new.recover(SCOPE).set_aside == ()


def test_an_operator_ends_a_job_of_version_0_1(old: OldJournal, new: SqliteJournal) -> None:
    """Not before the old worker has ended."""
    old.claim("job-1")
    old.change("job-1", "UNCERTAIN")
    with pytest.raises(JournalError, match="a running worker has the job"):
        new.end("job-1")
    old.close_without_cleanup()
    new.end("job-1")
    assert [(entry.state, entry.outcome) for entry in new.jobs()] == [(JournalState.DONE, "ended by an operator")]


def test_a_file_without_the_old_table_is_read(path: Path) -> None:
    """A later version may remove it."""
    run_process(path, "journal.claim(job, SCOPE)")
    connection = sqlite3.connect(path)
    connection.execute("DROP TABLE jobs")
    connection.close()
    with closing(SqliteJournal(path)) as journal:
        found: list[JournalEntry] = list(journal.jobs())
    assert [entry.job.job_id for entry in found] == ["job-1"]


_COLUMNS = "job_id, client_id, state, result, outcome, crashes, owner, changed_at"
_HUGE = "zeroblob(900000000)"
_JOBS = f"CREATE TABLE jobs ({_COLUMNS})"
_FOREIGN = {
    "generated": [f"CREATE TABLE jobs ({_COLUMNS}, more GENERATED ALWAYS AS ({_HUGE}))"],
    "stored": [f"CREATE TABLE jobs ({_COLUMNS}, more GENERATED ALWAYS AS (1) STORED)"],
    "virtual": [f"CREATE VIRTUAL TABLE jobs USING fts5({_COLUMNS})"],
    "scopes": [_JOBS, f"CREATE TABLE scopes (key, scope AS ({_HUGE}))"],
    "format": [_JOBS, f"CREATE TABLE format (x, version AS (length({_HUGE})))", "INSERT INTO format VALUES (1)"],
    "virtual format": [_JOBS, "CREATE VIRTUAL TABLE format USING fts5(version)"],
    "trigger": [_JOBS, f"CREATE TRIGGER t BEFORE UPDATE ON jobs BEGIN SELECT {_HUGE}; END"],
    "view": [_JOBS, f"CREATE VIEW scopes AS SELECT 'k' AS key, {_HUGE} AS scope"],
    "check": [f"CREATE TABLE jobs ({_COLUMNS}, CHECK (length({_HUGE}) > 1))"],
    "default": [_JOBS, f"CREATE TABLE scopes (key, scope, more DEFAULT ({_HUGE}))"],
    "index": [_JOBS, "CREATE INDEX i ON jobs (job_id || client_id)"],
    "condition": [_JOBS, "CREATE INDEX i ON jobs (owner) WHERE job_id LIKE '%a%a%a%a'"],
    "bytes": [_JOBS, "PRAGMA writable_schema = 1", "UPDATE sqlite_master SET sql = CAST(sql AS BLOB)"],
}


@pytest.mark.parametrize("way", _FOREIGN)
def test_a_file_whose_values_are_computed_is_not_a_journal(path: Path, way: str) -> None:
    """A file of somebody else costs neither memory nor time when it is read, or when a job in it is ended."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in _FOREIGN[way]:
            connection.execute(statement)
    before = path.read_bytes()
    for read in (lambda: list(read_journal(path)), lambda: SqliteJournal(path)):
        with pytest.raises(JournalError, match="a database, but not a journal"):
            read()
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("mode", "files"),
    [("wal", ["jobs.db-shm", "jobs.db-wal"]), ("wal", ["jobs.db-wal"]), ("delete", ["jobs.db-journal"])],
)
def test_what_another_program_left_beside_its_database_stays(
    path: Path, tmp_path: Path, mode: str, files: list[str]
) -> None:
    """After a crash, SQLite would write to the file, or undo what was written, as soon as it is opened for writing."""
    other = tmp_path / "other" / path.name
    other.parent.mkdir()
    with closing(sqlite3.connect(other, isolation_level=None)) as connection:
        for statement in (f"PRAGMA journal_mode = {mode}", "PRAGMA cache_size = 1", "CREATE TABLE customers (name)"):
            connection.execute(statement)
        connection.execute("BEGIN")
        connection.execute("INSERT INTO customers VALUES (hex(randomblob(20000)))")
        if mode == "wal":
            connection.execute("COMMIT")
        for name in (path.name, *files):
            shutil.copy(other.with_name(name), path.with_name(name))
    before = {name: path.with_name(name).read_bytes() for name in (path.name, *files) if not name.endswith("-shm")}
    with pytest.raises(JournalError, match="a database, but not a journal"):
        SqliteJournal(path)
    assert {name: path.with_name(name).read_bytes() for name in before} == before
    assert sorted(each.name for each in tmp_path.glob("jobs.db*")) == sorted([path.name, *files])


# Each column, and what is wrong with a row whose value is too large.  A dead owner may have any name.
_PROBLEMS = {
    **dict.fromkeys(("job_id", "client_id", "nonce"), "its ids cannot be read"),
    **dict.fromkeys(("claimed_at", "changed_at"), "its times cannot be read"),
    "scope": "its scope cannot be read",
    "state": "its state is unknown",
    "result": "its result cannot be read",
    "may_be_accepted": "its attempts to report cannot be read",
    "outcome": "its outcome cannot be read",
    "crashes": "its crashes cannot be read",
    "is_suspect": "its mark as a suspect cannot be read",
    "owner": None,
}
# More than 2 MiB, and the first bytes as they are shown in place of an id.
_LARGE = {"bytes": ("zeroblob(2100000)", "\\x00"), "string": ("'x' || hex(zeroblob(1050000))", "x0")}


@pytest.mark.parametrize("kind", ["bytes", pytest.param("string", marks=pytest.mark.slow)])
def test_a_large_value_costs_one_job(path: Path, kind: str) -> None:
    """It is not read: the job is set aside with its name, and the others are shown and recovered."""
    value, first = _LARGE[kind]
    with closing(SqliteJournal(path)) as journal:
        for job_id in (*_PROBLEMS, "good"):
            journal.claim(_job(job_id), SCOPE)
        close_without_cleanup(journal)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA synchronous = OFF")
        for column in _PROBLEMS:
            connection.execute(f"UPDATE entries SET {column} = {value} WHERE job_id = '{column}'")
    tracemalloc.start()
    found = list(read_journal(path))
    with closing(SqliteJournal(path)) as journal:
        recovered = journal.recover(SCOPE)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        set_aside = [each for each in found if isinstance(each, SetAside)]
        assert sorted(recovered.set_aside, key=repr) == sorted(set_aside, key=repr)
        (nameless,) = [each for each in set_aside if each.job_id not in _PROBLEMS]
        assert nameless.job_id.startswith(first)
        problems = {"job_id" if each is nameless else each.job_id: each.problem for each in set_aside}
        assert problems == {column: problem for column, problem in _PROBLEMS.items() if problem is not None}
        readable = sorted(each.job.job_id for each in found if isinstance(each, JournalEntry))
        assert readable == sorted(each.job.job_id for each in recovered.entries) == ["good", "owner"]
        for each in set_aside:
            journal.end(each.job_id)
        assert journal.recover(SCOPE).set_aside == ()
    assert peak < 2 << 20


def test_a_large_scope_costs_its_jobs(path: Path) -> None:
    """The jobs of the other scopes are shown and recovered."""
    with closing(SqliteJournal(path)) as journal:
        for job_id, scope in (("bad", OTHER_SCOPE), ("good", SCOPE)):
            journal.claim(_job(job_id), scope)
        close_without_cleanup(journal)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE scopes SET scope = zeroblob(2100000) WHERE scope LIKE '%ExampleDeploy%'")
    problems = {
        each.job_id if isinstance(each, SetAside) else each.job.job_id: isinstance(each, SetAside)
        for each in read_journal(path)
    }
    assert problems == {"bad": True, "good": False}
    with closing(SqliteJournal(path)) as journal:
        assert [each.job.job_id for each in journal.recover(SCOPE).entries] == ["good"]


def test_a_large_value_of_version_0_1_costs_one_job(old: OldJournal, new: SqliteJournal, path: Path) -> None:
    """Also if it is the name of the owner."""
    for job_id in ("bad", "good", "of a dead owner"):
        old.claim(job_id)
    old.connection.execute("UPDATE jobs SET outcome = zeroblob(2100000) WHERE job_id = 'bad'")
    old.connection.execute("UPDATE jobs SET owner = hex(zeroblob(1050000)) WHERE job_id = 'of a dead owner'")
    old.close_without_cleanup()
    found = [each for each in read_journal(path) if isinstance(each, SetAside)]
    assert found == [SetAside(job_id="bad", problem="its outcome cannot be read")]
    recovered = new.recover(SCOPE)
    assert sorted(entry.job.job_id for entry in recovered.entries) == ["good", "of a dead owner"]
    assert recovered.set_aside == tuple(found)
