"""The journal in a file: what survives, what is never written, and what happens to a file that is damaged."""

from __future__ import annotations

import errno
import multiprocessing
import os
import pickle
import shutil
import sqlite3
import stat
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import attrs
import pytest
from support.journals import OTHER_SCOPE, SCOPE, run_process, start_process
from support.slow_rows import slow_unless
from support.worker_service import until

from cp_thirdparty import Succeeded, ThirdPartyJob
from cp_thirdparty.exceptions import JournalError
from cp_thirdparty.worker import JournalState, MemoryJournal, SetAside, SqliteJournal, _private_files, _sqlite_file
from cp_thirdparty.worker._sqlite_rows import read_journal

_JOB = ThirdPartyJob(client_id="client-1", job_id="job-1")


class _Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def _job(job_id: str) -> ThirdPartyJob:
    return ThirdPartyJob(client_id="c", job_id=job_id)


def _execute(path: Path, statement: str, *parameters: object) -> None:
    connection = sqlite3.connect(path)
    with connection:
        connection.execute(statement, parameters)
    connection.close()


def _recover(path: Path, scope: Any = SCOPE) -> dict[str, tuple[JournalState, int, bool]]:
    """Recover in another process's place; return state, crashes and suspicion of each job."""
    with closing(SqliteJournal(path)) as journal:
        return {each.job.job_id: (each.state, each.crashes, each.is_suspect) for each in journal.recover(scope).entries}


def test_memory_keeps_the_last_thousand() -> None:
    """Finished jobs do not fill the memory."""
    journal = MemoryJournal()
    for number in range(1500):
        journal.claim(_job(str(number)), SCOPE)
        journal.finish(str(number), "reported")
    assert [entry.job.job_id for entry in journal.jobs()] == [str(number) for number in range(500, 1500)]


def test_what_a_journal_can_do_is_known() -> None:
    """A worker releases jobs only into a journal from which another process takes them."""
    memory = MemoryJournal()
    assert (memory.is_durable, memory.is_shared) == (False, False)


# --- processes that die


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "state", "crashes"),
    [
        ("journal.claim(job, SCOPE)", JournalState.CLAIMING, 0),
        ("journal.claim(job, SCOPE); journal.running('job-1')", JournalState.RUNNING, 1),
        ("journal.claim(job, SCOPE); journal.result('job-1', Succeeded())", JournalState.RESULT, 0),
        ("journal.claim(job, SCOPE); journal.uncertain('job-1')", JournalState.UNCERTAIN, 0),
    ],
)
def test_what_a_killed_process_had_is_recovered(tmp_path: Path, code: str, state: JournalState, crashes: int) -> None:
    """Each state survives SIGKILL and is taken over once; only a job that ran counts a crash."""
    path = tmp_path / "j.db"
    run_process(path, code)
    with closing(SqliteJournal(path)) as journal, closing(SqliteJournal(path)) as other:
        entries = journal.recover(SCOPE).entries
        assert [(entry.job, entry.state, entry.crashes) for entry in entries] == [(_JOB, state, crashes)]
        assert other.recover(SCOPE).entries == ()
    assert [path.name for path in tmp_path.iterdir()] == ["j.db"]


def test_crashes_add_up(tmp_path: Path) -> None:
    """A job that kills each of its workers is known by it."""
    path = tmp_path / "j.db"
    run_process(path, "journal.claim(job, SCOPE); journal.running('job-1')")
    again = "(entry,) = journal.recover(SCOPE).entries; journal.running('job-1', crashes=entry.crashes)"
    run_process(path, again)
    assert _recover(path) == {"job-1": (JournalState.RUNNING, 2, False)}


def test_jobs_that_died_together_are_suspects(tmp_path: Path) -> None:
    """One death takes several jobs: none of them counts a crash, in whatever scope it is."""
    path = tmp_path / "j.db"
    code = (
        "other = ThirdPartyJob(client_id='c', job_id='job-2')\n"
        "journal.claim(job, SCOPE); journal.running('job-1')\n"
        "journal.claim(other, OTHER_SCOPE); journal.running('job-2')"
    )
    run_process(path, code)
    assert _recover(path) == {"job-1": (JournalState.RUNNING, 0, True)}
    assert _recover(path, OTHER_SCOPE) == {"job-2": (JournalState.RUNNING, 0, True)}


def test_another_scope_does_not_take_the_job_and_counts_its_crash_once(tmp_path: Path) -> None:
    """A worker of another action type leaves the job alone, whichever worker looks first."""
    path = tmp_path / "j.db"
    run_process(path, "journal.claim(job, SCOPE); journal.running('job-1')")
    assert _recover(path, OTHER_SCOPE) == {}
    assert _recover(path, OTHER_SCOPE) == {}
    assert _recover(path) == {"job-1": (JournalState.RUNNING, 1, False)}


def test_a_scope_that_was_recorded_in_another_spelling_is_the_same(tmp_path: Path) -> None:
    """A file that was written before endpoints were normalised loses no job."""
    path = tmp_path / "j.db"
    run_process(path, "journal.claim(job, SCOPE); journal.running('job-1')")
    _execute(path, "UPDATE scopes SET key = 'old', scope = replace(scope, '.com', '.COM:443/')")
    _execute(path, "UPDATE entries SET scope = 'old'")
    with closing(SqliteJournal(path)) as journal:
        assert journal.recover(attrs.evolve(SCOPE, endpoint_url="https://another.example")).entries == ()
        (entry,) = journal.recover(SCOPE).entries
        assert (entry.job, entry.scope, entry.crashes) == (_JOB, SCOPE, 1)
        assert not journal.claim(_JOB, SCOPE)
        journal.finish("job-1", "reported")
        assert journal.claim(_JOB, SCOPE)


def test_two_recover_at_once(tmp_path: Path) -> None:
    """Of 8 journals that look at once, one gets each job."""
    path = tmp_path / "j.db"
    run_process(path, "[journal.claim(ThirdPartyJob(client_id='c', job_id=str(n)), SCOPE) for n in range(100)]")
    journals = [SqliteJournal(path) for _ in range(8)]
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda each: each.recover(SCOPE).entries, journals))
    assert sorted(entry.job.job_id for entries in found for entry in entries) == sorted(map(str, range(100)))
    for each in journals:
        each.close()


def _open_and_claim(path: str, start: str) -> None:
    while not os.path.exists(start):  # noqa: PTH110 - as short as can be
        pass
    journal = SqliteJournal(path)
    for number in range(20):
        journal.claim(ThirdPartyJob(client_id=str(os.getpid()), job_id=str(number)), SCOPE)
    journal.close()


@pytest.mark.slow
def test_several_processes_open_a_new_file_at_once(tmp_path: Path) -> None:
    """The first opening of a file is safe, and each job is claimed by one of four processes."""
    path, start = tmp_path / "j.db", tmp_path / "start"
    context = multiprocessing.get_context("spawn")
    children = [context.Process(target=_open_and_claim, args=(str(path), str(start))) for _ in range(4)]
    for child in children:
        child.start()
    start.touch()
    for child in children:
        child.join(60)
    assert [child.exitcode for child in children] == [0, 0, 0, 0]
    with closing(SqliteJournal(path)) as journal:
        assert len(list(journal.jobs())) == 20


# --- the path


def test_a_relative_path_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A handler that changes the directory affects neither the journal nor the files beside it."""
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "first")
    with closing(SqliteJournal("j.db")) as journal:
        monkeypatch.chdir(tmp_path / "second")
        assert journal.claim(_JOB, SCOPE)
        journal.running(_JOB.job_id)
        assert _recover(tmp_path / "first" / "j.db") == {}
        assert journal.recover(SCOPE).entries == ()
        assert [entry.job for entry in journal.jobs()] == [_JOB]
    assert list((tmp_path / "second").iterdir()) == []


def _delete(path: Path) -> None:
    path.unlink()


def _replace(path: Path) -> None:
    shutil.copy(path, path.with_name("copy"))
    path.with_name("copy").rename(path)


def _empty(path: Path) -> None:
    os.truncate(path, 0)


def _shorten(path: Path) -> None:
    os.truncate(path, 99)


def _move_folder(path: Path) -> None:
    path.parent.rename(path.parent.with_name("moved"))


@pytest.mark.parametrize("change", [_delete, _replace, _move_folder, _empty, _shorten])
def test_a_file_that_is_gone_takes_no_new_jobs(tmp_path: Path, change: Callable[[Path], None]) -> None:
    """A claim that the next start would not find is refused; the running jobs continue."""
    (tmp_path / "folder").mkdir()
    path = tmp_path / "folder" / "j.db"
    with closing(SqliteJournal(path)) as journal:
        journal.claim(_JOB, SCOPE)
        change(path)
        with pytest.raises(JournalError, match=r"^a file of the journal .* or emptied; restart the worker$"):
            journal.claim(_job("job-2"), SCOPE)
        with pytest.raises(JournalError, match="was moved, deleted, replaced or emptied"):
            journal.recover(SCOPE)
        journal.running(_JOB.job_id)
        journal.finish(_JOB.job_id, "reported")


@pytest.mark.parametrize("mask", [0, 0o022, 0o077, 0o777])
def test_files_are_private(tmp_path: Path, mask: int) -> None:
    """Nobody else can read them, or lock them and so keep the worker from its jobs, whatever the umask is."""
    before = os.umask(mask)
    try:
        with closing(SqliteJournal(tmp_path / "j.db")) as journal:
            journal.claim(_JOB, SCOPE)
            modes = {stat.S_IMODE(each.stat().st_mode) for each in tmp_path.iterdir()}
            assert (len(list(tmp_path.iterdir())), modes) == (4, {0o600})
    finally:
        os.umask(before)


@pytest.mark.slow
@pytest.mark.parametrize(("mode", "expected"), [(0o644, 0o600), (0o666, 0o600), (0o640, 0o640), (0o660, 0o660)])
def test_a_file_that_everybody_can_read_becomes_private(tmp_path: Path, mode: int, expected: int) -> None:
    """Version 0.1 followed the umask; a file for a group keeps its mode.  Its side files have the same."""
    path = tmp_path / "j.db"
    run_process(path, "journal.claim(job, SCOPE)")
    assert (tmp_path / "j.db-wal").exists()
    for each in tmp_path.iterdir():
        each.chmod(mode)
    with closing(SqliteJournal(path)) as journal:
        journal.recover(SCOPE)
        modes = {
            each.name: stat.S_IMODE(each.stat().st_mode) for each in tmp_path.glob("j.db*") if "alive" not in each.name
        }
        assert modes == dict.fromkeys(("j.db", "j.db-wal", "j.db-shm"), expected)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be two users")
def test_another_user_cannot_lock_the_journal(tmp_path: Path) -> None:
    """The worker goes on while another user tries to open its files."""
    for folder in (tmp_path, *tmp_path.parents):
        folder.chmod(folder.stat().st_mode | 0o011)
    with closing(SqliteJournal(tmp_path / "j.db")) as journal:
        names = sorted(path.name for path in tmp_path.iterdir())
        os.seteuid(65534)
        try:
            for name in names:
                with pytest.raises(PermissionError):
                    os.open(tmp_path / name, os.O_RDONLY)
        finally:
            os.seteuid(0)
        assert journal.claim(_JOB, SCOPE)


@pytest.fixture
def give_away(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Return a function that lets a file look as if it belonged to another user."""
    others: set[str] = set()
    lstat = os.lstat

    def change_owner(file: Any, **arguments: Any) -> os.stat_result:
        status = lstat(file, **arguments)
        is_other = os.fspath(file) in others
        return os.stat_result((*status[:4], 54321, *status[5:])) if is_other else status

    monkeypatch.setattr(os, "lstat", change_owner)
    return lambda path: others.add(str(path))


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm", "-journal"])
def test_a_file_that_another_user_has_created_is_refused(
    tmp_path: Path, give_away: Callable[[Path], None], suffix: str
) -> None:
    """That user could read the continuation tokens; nothing is written to the file."""
    (tmp_path / "j.db").touch(0o600)
    file = tmp_path / f"j.db{suffix}"
    file.touch()
    file.chmod(0o666)
    give_away(file)
    with pytest.raises(JournalError, match=rf"^the journal cannot be opened: 'j\.db{suffix}' belongs to another user"):
        SqliteJournal(tmp_path / "j.db")
    assert (file.stat().st_size, stat.S_IMODE(file.stat().st_mode)) == (0, 0o666)


def test_a_log_that_another_user_creates_while_the_journal_is_opened_is_refused(
    tmp_path: Path, give_away: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite opens whatever file is there."""

    def make_private_first(path: Path) -> None:
        _private_files.make_private(path)
        give_away(tmp_path / "j.db-wal")

    monkeypatch.setattr(_sqlite_file, "make_private", make_private_first)
    with pytest.raises(JournalError, match=r"'j\.db-wal' belongs to another user"):
        SqliteJournal(tmp_path / "j.db")
    assert (tmp_path / "j.db").stat().st_size <= 4096  # no table


def test_a_journal_of_another_user_is_shared_by_its_group(tmp_path: Path, give_away: Callable[[Path], None]) -> None:
    """That user may have created its other files."""
    SqliteJournal(tmp_path / "j.db").close()
    (tmp_path / "j.db").chmod(0o660)
    for name in ("j.db", "j.db-wal", "j.db-shm"):
        give_away(tmp_path / name)
    with closing(SqliteJournal(tmp_path / "j.db")) as journal:
        assert journal.claim(_JOB, SCOPE)


def test_a_file_system_without_owners_has_no_other_users(
    tmp_path: Path, give_away: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """There, each new file belongs to somebody else."""
    give_away(tmp_path / "j.db-wal")
    user = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: user + 1)
    with closing(SqliteJournal(tmp_path / "j.db")) as journal:
        assert journal.claim(_JOB, SCOPE)


def test_nothing_is_left_beside_a_closed_journal(tmp_path: Path) -> None:
    """The owner's file goes with its worker, and a second close does nothing."""
    journal = SqliteJournal(tmp_path / "j.db")
    journal.close()
    journal.close()
    assert [path.name for path in tmp_path.iterdir()] == ["j.db"]
    with pytest.raises(JournalError, match="closed database"):
        journal.claim(_JOB, SCOPE)


# --- rows that cannot be read


@pytest.mark.parametrize(
    ("change", "problem"),
    slow_unless(
        lambda row: "x'ff'" in row[0] or "[" in row[0],
        [
            ("state = 'PAUSED'", "its state is unknown"),
            ("state = x'00'", "its state is unknown"),
            ("state = CAST(x'ff' AS TEXT)", "its state is unknown"),
            ("result = 'nonsense'", "its result cannot be read"),
            ("result = x'7b7d'", "its result cannot be read"),
            ("result = '{}'", "its result cannot be read"),
            ("result = '[]'", "its result cannot be read"),
            ("result = replace(hex(zeroblob(50000)), '0', '[')", "its result cannot be read"),
            ('result = \'{"success": {"continuationToken": 5}}\'', "its result cannot be read"),
            ("state = 'RESULT', result = NULL", "its result cannot be read"),
            ("client_id = x'00'", "its ids cannot be read"),
            ("outcome = x'00'", "its outcome cannot be read"),
            ("crashes = 'many'", "its crashes cannot be read"),
            ("crashes = 9223372036854775807", "its crashes cannot be read"),
            ("crashes = -1", "its crashes cannot be read"),
            ("is_suspect = 'yes'", "its mark as a suspect cannot be read"),
            ("changed_at = 'now'", "its times cannot be read"),
            ("changed_at = 9e999", "its times cannot be read"),
            ("claimed_at = -1.0", "its times cannot be read"),
            ("claimed_at = x'00'", "its times cannot be read"),
            ("changed_at = x'00'", "its times cannot be read"),
            ("state = 5", "its state is unknown"),
            ("state = x'444f4e45'", "its state is unknown"),  # DONE
            ("may_be_accepted = x'00'", "its attempts to report cannot be read"),
            ("scope = 'unknown'", "its scope cannot be read"),
            ("scope = x'00'", "its scope cannot be read"),
        ],
    ),
)
def test_a_bad_row_costs_one_job(tmp_path: Path, change: str, problem: str) -> None:
    """It is named each time and belongs to nobody, and others are recovered."""
    path = tmp_path / "j.db"
    code = "[journal.claim(ThirdPartyJob(client_id='c', job_id=each), SCOPE) for each in ('bad', 'good')]"
    run_process(path, code)
    _execute(path, f"UPDATE entries SET {change} WHERE job_id = 'bad'")
    set_aside = (SetAside(job_id="bad", problem=problem),)
    for _ in range(2):
        with closing(SqliteJournal(path)) as journal:
            recovered = journal.recover(SCOPE)
            assert [entry.job.job_id for entry in recovered.entries] == ["good"]
            assert recovered.set_aside == set_aside
            assert journal.recover(SCOPE).set_aside == set_aside
            assert [entry.job.job_id for entry in journal.jobs()] == ["good"]
            assert journal.recover(OTHER_SCOPE).set_aside == (set_aside if "scope" in change else ())
    with closing(SqliteJournal(path)) as journal:
        journal.end("bad")
        assert journal.recover(SCOPE).set_aside == ()


@pytest.mark.parametrize("table", ["entries", "jobs"])
@pytest.mark.parametrize("owner", ["x'00'", "5", "NULL", "'unknown'", "zeroblob(3000000)", "CAST(x'ff' AS TEXT)"])
def test_a_job_whose_owner_is_no_name_of_an_owner_is_taken_over(tmp_path: Path, table: str, owner: str) -> None:
    """No running worker can have such a name, and an operator can end the job."""
    path = tmp_path / "j.db"
    with closing(SqliteJournal(path)) as journal, closing(SqliteJournal(path)) as other:
        for job_id in ("bad", "good"):
            journal.claim(ThirdPartyJob(client_id="c", job_id=job_id), SCOPE)
        if table == "jobs":
            columns = "job_id, client_id, state, owner, changed_at"
            _execute(path, f"INSERT INTO jobs ({columns}) SELECT {columns} FROM entries WHERE job_id = 'bad'")
            _execute(path, "DELETE FROM entries WHERE job_id = 'bad'")
        _execute(path, f"UPDATE {table} SET owner = {owner} WHERE job_id = 'bad'")
        (listed,) = (entry for entry in journal.jobs() if entry.job.job_id == "bad")
        assert listed.is_owner_alive is (None if owner == "NULL" else False)
        recovered = other.recover(SCOPE)
        assert ([entry.job.job_id for entry in recovered.entries], recovered.set_aside) == (["bad"], ())
        _execute(path, f"UPDATE entries SET owner = {owner} WHERE job_id = 'bad'")
        other.end("bad")
        assert [entry.job.job_id for entry in other.jobs(unfinished_only=True)] == ["good"]


def test_a_bad_id_is_shown_without_control_characters(tmp_path: Path) -> None:
    """An operator can end the job by the name that the journal shows."""
    path = tmp_path / "j.db"
    run_process(path, "journal.claim(job, SCOPE)")
    _execute(path, "UPDATE entries SET job_id = x'1b5b324aff61'")
    with closing(SqliteJournal(path)) as journal:
        (found,) = journal.recover(SCOPE).set_aside
        assert found == SetAside(job_id="\\x1b[2J\ufffda", problem="its ids cannot be read")
        journal.end(found.job_id)
        assert journal.recover(SCOPE).set_aside == ()


def test_a_bad_row_may_have_been_running(tmp_path: Path) -> None:
    """A job that ran beside one whose state cannot be read is a suspect: either may be the cause."""
    path = tmp_path / "j.db"
    code = "[journal.claim(ThirdPartyJob(client_id='c', job_id=each), SCOPE) for each in ('bad', 'good')]"
    run_process(path, f"{code}; journal.running('bad'); journal.running('good')")
    _execute(path, "UPDATE entries SET state = 'PAUSED' WHERE job_id = 'bad'")
    assert _recover(path) == {"good": (JournalState.RUNNING, 0, True)}


@pytest.mark.parametrize("suffix", ["-wal", "-shm"])
@pytest.mark.parametrize("lose", [Path.unlink, lambda path: path.rename(path.with_suffix(".old"))])
def test_a_log_that_is_lost_is_noticed(tmp_path: Path, lose: Callable[[Path], object], suffix: str) -> None:
    """SQLite goes on to write what nobody could read after a restart."""
    with closing(SqliteJournal(tmp_path / "j.db")) as journal:
        journal.claim(_JOB, SCOPE)
        lose(tmp_path / f"j.db{suffix}")
        with pytest.raises(JournalError, match=r"^a file of the journal .* or emptied; restart the worker$"):
            journal.claim(_job("2"), SCOPE)
        with pytest.raises(JournalError, match="was moved, deleted, replaced or emptied"):
            journal.recover(SCOPE)


def test_a_bad_row_is_replaced_when_its_job_is_offered(tmp_path: Path) -> None:
    """CodePipeline offers it because nobody has acknowledged it."""
    path = tmp_path / "j.db"
    run_process(path, "journal.claim(job, SCOPE)")
    _execute(path, "UPDATE entries SET state = 'PAUSED'")
    with closing(SqliteJournal(path)) as journal:
        journal.recover(SCOPE)
        assert journal.claim(_JOB, SCOPE)
        assert [entry.state for entry in journal.jobs()] == [JournalState.CLAIMING]


_ACTION_TYPE = '{"category": "Test", "owner": "ThirdParty", "provider": "ExampleScan", "version": "1"}'


@pytest.mark.parametrize(
    "text",
    slow_unless(
        lambda row: "nonsense" in str(row) or '": 1' in str(row),
        [
            "nonsense",
            "{}",
            "[]",
            b"{}",
            '{"regionName": "r", "endpointUrl": "e", "actionTypeId": {}}',
            f'{{"regionName": 1, "endpointUrl": "e", "actionTypeId": {_ACTION_TYPE}}}',
            f'{{"regionName": "r", "endpointUrl": null, "actionTypeId": {_ACTION_TYPE}}}',
        ],
    ),
)
def test_a_bad_scope_is_repaired_by_its_worker(tmp_path: Path, text: str | bytes) -> None:
    """A worker knows its own scope; until it starts, the job cannot be shown or taken by others."""
    path = tmp_path / "j.db"
    run_process(path, "journal.claim(job, SCOPE)")
    _execute(path, "UPDATE scopes SET scope = ?", text)
    with closing(SqliteJournal(path)) as journal:
        assert list(journal.jobs()) == []
        assert [entry.scope for entry in journal.recover(SCOPE).entries] == [SCOPE]


def test_a_finished_row_has_no_owner(tmp_path: Path) -> None:
    """The name of an owner is long, and finished jobs are many."""
    with closing(SqliteJournal(tmp_path / "j.db")) as journal:
        journal.claim(_JOB, SCOPE)
        journal.finish(_JOB.job_id, "reported")
        assert journal._file.transact(lambda each: each.execute("SELECT owner FROM entries").fetchall()) == [(None,)]


def test_a_finished_row_that_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    """Nothing is left to do for it."""
    path = tmp_path / "j.db"
    with closing(SqliteJournal(path)) as journal:
        journal.claim(_JOB, SCOPE)
        journal.finish(_JOB.job_id, "reported")
        _execute(path, "UPDATE entries SET result = 'nonsense'")
        assert list(journal.jobs()) == []
        assert journal.recover(SCOPE).set_aside == ()


# --- an operator


def test_an_uncertain_job_is_ended_by_an_operator(tmp_path: Path) -> None:
    """It is finished, and the outcome names who ended it."""
    path = tmp_path / "j.db"
    run_process(path, "journal.claim(job, SCOPE); journal.uncertain('job-1')")
    with closing(SqliteJournal(path)) as journal:
        journal.end("job-1")
        (entry,) = journal.jobs()
        assert (entry.state, entry.outcome) == (JournalState.DONE, "ended by an operator")
        with pytest.raises(JournalError, match=r"^there is no unfinished job with this id$"):
            journal.end("job-1")


@pytest.mark.slow
@pytest.mark.parametrize(
    "code",
    [
        "",
        "journal.running('job-1')",
        "journal.result('job-1', Succeeded())",
        "journal.running('job-1'); journal.release('job-1', has_begun=False)",
        "journal.result('job-1', Succeeded()); journal.release('job-1')",
    ],
)
def test_a_job_that_no_living_worker_has_is_ended(tmp_path: Path, code: str) -> None:
    """Whatever its state, whether its worker died or released it: no worker takes it over later."""
    path = tmp_path / "j.db"
    run_process(path, f"journal.claim(job, SCOPE); {code}")
    with closing(SqliteJournal(path)) as journal:
        journal.end("job-1")
        assert [(entry.state, entry.outcome) for entry in journal.jobs()] == [
            (JournalState.DONE, "ended by an operator")
        ]
        assert journal.recover(SCOPE).entries == ()


def test_a_job_of_a_living_worker_is_not_ended(tmp_path: Path) -> None:
    """Its worker reports it.  A job of the same id in another scope, which nobody has, is ended alone."""
    path = tmp_path / "j.db"
    with closing(SqliteJournal(path)) as journal, closing(SqliteJournal(path)) as other:
        journal.claim(_JOB, SCOPE)
        for _ in range(2):
            with pytest.raises(JournalError, match=r"^a running worker has the job; stop the worker, then end the job"):
                other.end("job-1")
            journal.result("job-1", Succeeded())
        other.claim(_JOB, OTHER_SCOPE)
        other.release("job-1")
        other.end("job-1")
        assert {(entry.scope, entry.state) for entry in journal.jobs()} == {
            (SCOPE, JournalState.RESULT),
            (OTHER_SCOPE, JournalState.DONE),
        }


# --- pruning


def test_forget_prunes_in_batches_and_warns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The old method takes an age, and deletes all."""
    monkeypatch.setattr("cp_thirdparty.worker.sqlite_journal._BATCH", 2)
    clock = _Clock()
    with closing(SqliteJournal(tmp_path / "j.db", clock=clock)) as journal:
        for name in ("1", "2", "3", "unfinished"):
            journal.claim(_job(name), SCOPE)
        for name in ("1", "2", "3"):
            journal.finish(name, "reported")
        clock.now += 60
        journal.claim(_JOB, SCOPE)
        journal.finish(_JOB.job_id, "reported")
        with pytest.warns(DeprecationWarning, match=r"use prune\(\)"):
            assert journal.forget(older_than=30) == 3
        assert sorted(entry.job.job_id for entry in journal.jobs()) == ["job-1", "unfinished"]


def test_the_write_ahead_log_does_not_stay_large(tmp_path: Path) -> None:
    """A large transaction leaves a log that the next one shortens."""
    path = tmp_path / "j.db"
    with closing(SqliteJournal(path)) as journal:
        halves = "SELECT zeroblob(10000000) AS data UNION ALL SELECT zeroblob(10000000)"
        journal._file.write((f"CREATE TABLE large AS {halves}", ()))
        assert path.with_name("j.db-wal").stat().st_size > 20_000_000
        for _ in range(2):
            journal.claim(_JOB, SCOPE)
            journal.withdraw(_JOB.job_id)
        assert path.with_name("j.db-wal").stat().st_size <= 4 * 1024 * 1024


# --- files that are damaged, or of another kind


def _as_directory(path: Path) -> None:
    path.mkdir()


def _as_text(path: Path) -> None:
    path.write_text("this is no database, but it is long enough to be read as one " * 20)


def _as_database(path: Path) -> None:
    _execute(path, "CREATE TABLE customers (name TEXT)")


def _as_database_with_jobs(path: Path) -> None:
    _execute(path, "CREATE TABLE jobs (id INTEGER, state TEXT)")


def _as_newer_user_version(path: Path) -> None:
    _execute(path, "PRAGMA user_version = 99")


def _as_newer_format(path: Path) -> None:
    SqliteJournal(path).close()
    _execute(path, "UPDATE format SET version = 3")


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (_as_directory, "'j.db' is not a regular file"),
        (_as_text, "DatabaseError: file is not a database"),
        (_as_database, "the file is a database, but not a journal"),
        (_as_database_with_jobs, "the file is a database, but not a journal"),
        (_as_newer_user_version, "its format is newer than format 2, .* install the version that wrote it, or use"),
        (_as_newer_format, "its format is newer than format 2, .* install the version that wrote it, or use"),
    ],
)
def test_a_file_that_is_not_a_journal_is_refused(tmp_path: Path, make: Callable[[Path], None], reason: str) -> None:
    """It is a typed error without a cause, and the file stays as it was."""
    path = tmp_path / "j.db"
    make(path)
    path.chmod(0o755)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(JournalError, match=rf"^the journal cannot be opened: {reason}") as caught:
        SqliteJournal(path)
    assert caught.value.__cause__ is caught.value.__context__ is None
    assert [each.name for each in tmp_path.iterdir()] == ["j.db"]
    assert before == (path.read_bytes() if path.is_file() else None)
    assert stat.S_IMODE(path.stat().st_mode) == 0o755


def test_a_missing_directory_is_a_journal_error(tmp_path: Path) -> None:
    """The journal does not create it."""
    with pytest.raises(JournalError, match=r"^the journal cannot be opened: FileNotFoundError: "):
        SqliteJournal(tmp_path / "missing" / "j.db")


def test_an_owner_file_that_cannot_be_created_is_a_journal_error(tmp_path: Path) -> None:
    """Nobody could see that the worker is alive; nothing is left open."""
    path = tmp_path / ("j" * 200)
    with pytest.raises(JournalError, match=r"^the journal cannot be opened: OSError: \[Errno 36\] File name too long"):
        SqliteJournal(path)
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_a_damaged_name_of_a_table_is_a_journal_error(tmp_path: Path) -> None:
    """SQLite's message repeats the name, with bytes that Python cannot decode."""
    path = tmp_path / "j.db"
    SqliteJournal(path).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    data = path.read_bytes()
    assert b"ON jobs (owner)" in data
    path.write_bytes(data.replace(b"ON jobs (owner)", b"ON job\xa5 (owner)"))
    with pytest.raises(JournalError, match=r"UnicodeDecodeError|DatabaseError"):
        SqliteJournal(path)
    with pytest.raises(JournalError, match=r"UnicodeDecodeError|DatabaseError"):
        list(read_journal(path))


def test_a_damaged_file_is_a_journal_error(tmp_path: Path) -> None:
    """Whatever is called, SQLite's reason is reported as a typed error without a cause."""
    path = tmp_path / "j.db"
    with closing(SqliteJournal(path)) as journal:
        journal.claim(_JOB, SCOPE)
        _execute(path, "ALTER TABLE entries RENAME TO others")
        calls: list[Callable[[], object]] = [
            lambda: journal.claim(_JOB, SCOPE),
            lambda: journal.running(_JOB.job_id),
            lambda: journal.recover(SCOPE),
            lambda: journal.prune(older_than=0, limit=1),
            lambda: journal.end(_JOB.job_id),
        ]
        for call in calls:
            with pytest.raises(JournalError, match=r"^the journal cannot be written: Operat.*: no such") as caught:
                call()
            assert caught.value.__cause__ is caught.value.__context__ is None
        assert list(journal.jobs()) == []
        _execute(path, "ALTER TABLE others RENAME TO entries")


def test_a_corrupt_file_is_a_journal_error(tmp_path: Path) -> None:
    """Pages that are overwritten are found when they are read."""
    path = tmp_path / "j.db"
    SqliteJournal(path).close()
    journal = SqliteJournal(path)
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"x" * 40_960)
    calls: list[Callable[[], object]] = [
        lambda: journal.claim(_JOB, SCOPE),
        lambda: journal.recover(SCOPE),
        lambda: list(journal.jobs()),
        journal.close,
    ]
    for call in calls:
        with pytest.raises(JournalError, match="DatabaseError: database disk image is malformed"):
            call()
    journal.close()


def _claim_many(journal: SqliteJournal) -> None:
    for number in range(100):
        journal.claim(_job(str(number)), SCOPE)


def test_a_full_disk_is_a_journal_error(tmp_path: Path) -> None:
    """A claim that is not on the disk is refused, and is possible when there is space."""
    with closing(SqliteJournal(tmp_path / "j.db")) as journal:
        connection = journal._file._connection
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(
            JournalError, match=r"^the journal cannot be written: OperationalError: database or disk is"
        ):
            _claim_many(journal)
        connection.execute("PRAGMA max_page_count = 100000")
        assert journal.claim(_JOB, SCOPE)


def test_a_take_over_that_fails_changes_nothing(tmp_path: Path) -> None:
    """Jobs have no owner before all rows were read."""
    path = tmp_path / "j.db"
    with closing(SqliteJournal(path)) as journal:
        for name in ("1", "2"):
            journal.claim(_job(name), SCOPE)
            journal.release(name)
        _execute(
            path,
            "CREATE TRIGGER full BEFORE UPDATE OF owner ON entries WHEN OLD.job_id = '2' "
            "BEGIN SELECT RAISE(ABORT, 'disk full'); END",
        )
        with pytest.raises(JournalError, match=r"^the journal cannot be written: IntegrityError: disk full$"):
            journal.recover(SCOPE)
        _execute(path, "DROP TRIGGER full")
        assert len(journal.recover(SCOPE).entries) == 2


def test_a_journal_that_another_process_holds_for_too_long_is_a_journal_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change that cannot even begin is reported."""
    monkeypatch.setattr(_sqlite_file, "BUSY_TIMEOUT", 0.05)
    with closing(SqliteJournal(tmp_path / "j.db")) as journal:
        other = sqlite3.connect(tmp_path / "j.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(JournalError, match="database is locked"):
            journal.claim(_JOB, SCOPE)
        other.close()


# --- changes of several threads


class _Interrupt:
    """A parameter at which Ctrl-C comes."""

    def __conform__(self, _: object) -> None:
        raise KeyboardInterrupt


def _write_together(journal: SqliteJournal, bad: Any) -> dict[str, BaseException | None]:
    """Let threads change several jobs in one transaction, one of them in a way that fails."""
    names = ["1", "2", "3"]
    for name in names:
        journal.claim(_job(name), SCOPE)
    failures: dict[str, BaseException | None] = {}

    def finish(name: str) -> None:
        failures[name] = None
        try:
            journal.finish(name, bad if name == "2" else "reported")
        except BaseException as error:  # noqa: BLE001 - the test looks at it
            failures[name] = error

    threads = [threading.Thread(target=finish, args=(name,)) for name in names]
    with journal._file._lock:
        for number, thread in enumerate(threads, 1):
            thread.start()
            while len(journal._file._waiting) < number:
                pass
    for thread in threads:
        thread.join()
    return failures


def test_a_change_that_cannot_be_written_fails_alone(tmp_path: Path) -> None:
    """The changes of other threads are committed, and the error holds no value."""
    with closing(SqliteJournal(tmp_path / "j.db")) as journal:
        failures = _write_together(journal, "MARK\ud800")
        assert (failures["1"], failures["3"]) == (None, None)
        assert str(failures["2"]) == "the journal cannot be written: UnicodeEncodeError"
        assert sorted(entry.job.job_id for entry in journal.jobs(unfinished_only=True)) == ["2"]


def test_ctrl_c_ends_no_other_change(tmp_path: Path) -> None:
    """The thread that commits gets it, after the changes of the others; the journal works on."""
    with closing(SqliteJournal(tmp_path / "j.db")) as journal:
        failures = _write_together(journal, _Interrupt())
        found = [type(failure).__name__ for failure in failures.values()]
        assert found.count("KeyboardInterrupt") == 1
        assert sorted(entry.job.job_id for entry in journal.jobs(unfinished_only=True)) == ["2"]
        assert journal.claim(_JOB, SCOPE)


def test_ctrl_c_before_a_commit_fails_the_changes_of_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their threads learn that the journal does not have them."""
    commit = _sqlite_file._commit

    def interrupt(connection: sqlite3.Connection, together: list[Any]) -> None:
        if len(together) == 3:
            raise KeyboardInterrupt
        commit(connection, together)

    monkeypatch.setattr(_sqlite_file, "_commit", interrupt)
    with closing(SqliteJournal(tmp_path / "j.db")) as journal:
        failures = _write_together(journal, "reported")
        found = sorted(f"{type(failure).__name__} {failure}" for failure in failures.values())
        error = "JournalError the journal cannot be written: interrupted"
        assert found == [error, error, "KeyboardInterrupt "]
        assert len(list(journal.jobs(unfinished_only=True))) == 3


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The files, by inode, whose data the disk got by a call of this library."""
    files: list[int] = []
    sync = _sqlite_file._sync_data

    def record(descriptor: int) -> None:
        sync(descriptor)
        files.append(os.fstat(descriptor).st_ino)

    monkeypatch.setattr(_sqlite_file, "_sync_data", record)
    return files


def test_a_claim_and_a_start_wait_for_the_disk(tmp_path: Path, synced: list[int]) -> None:
    """After a power loss, CodePipeline can report what became of a result, but not that a job was never claimed."""
    with closing(SqliteJournal(tmp_path / "j.db")) as journal:
        assert (journal.is_durable, journal.is_shared) == (True, True)
        assert journal._file._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        log = (tmp_path / "j.db-wal").stat().st_ino

        def is_synced(change: Callable[..., object], *arguments: object) -> bool:
            synced.clear()
            change(*arguments)
            assert set(synced) <= {log}
            return bool(synced)

        job_id = _JOB.job_id
        assert is_synced(journal.claim, _JOB, SCOPE)
        assert not is_synced(journal.uncertain, job_id)
        assert is_synced(journal.running, job_id)
        assert not is_synced(journal.result, job_id, Succeeded())
        assert not is_synced(journal.release, job_id)
        assert not is_synced(journal.recover, SCOPE)
        journal.release(job_id)
        assert is_synced(journal.end, job_id)
        assert journal.claim(_JOB, SCOPE)
        assert not is_synced(journal.finish, job_id, "reported")
        # Otherwise SQLite, too, would wait in each commit.
        assert journal._file._connection.execute("PRAGMA synchronous").fetchone() == (1,)  # NORMAL


@pytest.mark.parametrize("first", ["finish", "claim"])
def test_changes_that_are_committed_together_wait_for_the_disk_if_one_must(
    tmp_path: Path, synced: list[int], first: str
) -> None:
    """A claim is on the disk although the end of another job leads the commit."""
    with closing(SqliteJournal(tmp_path / "j.db")) as journal:
        journal.claim(_job("old"), SCOPE)
        synced.clear()
        changes = {"finish": lambda: journal.finish("old", "reported"), "claim": lambda: journal.claim(_JOB, SCOPE)}
        threads = [threading.Thread(target=changes[name]) for name in (first, *(changes.keys() - {first}))]
        with journal._file._lock:
            for number, thread in enumerate(threads, 1):
                thread.start()
                until(lambda number=number: len(journal._file._waiting) == number)  # type: ignore[misc]
        for thread in threads:
            thread.join()
        assert len(synced) == 1


def test_threads_wait_for_the_disk_together(tmp_path: Path, synced: list[int]) -> None:
    """A wait takes milliseconds; it is for all that was committed before it, and others write meanwhile."""
    with closing(SqliteJournal(tmp_path / "j.db")) as journal:
        journal.claim(_job("old"), SCOPE)
        synced.clear()
        before = journal._file._commits
        threads = [threading.Thread(target=journal.claim, args=(_job(str(number)), SCOPE)) for number in range(4)]
        with journal._file._sync_lock:
            for number, thread in enumerate(threads, 1):
                thread.start()
                until(lambda number=number: journal._file._commits == before + number)  # type: ignore[misc]
            journal.finish("old", "reported")
        for thread in threads:
            thread.join()
        assert len(synced) == 1


def test_a_disk_that_failed_is_not_trusted_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system may have dropped what it could not write; the running jobs are still recorded in the file."""

    def fail(_descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    path = tmp_path / "j.db"
    expected = r"cannot be written to the disk: OSError: \[Errno 5\] .*; restart the worker$"
    with closing(SqliteJournal(path)) as journal:
        journal.claim(_JOB, SCOPE)
        with monkeypatch.context() as broken:
            broken.setattr(_sqlite_file, "_sync_data", fail)
            with pytest.raises(JournalError, match=expected):
                journal.running(_JOB.job_id)
        with pytest.raises(JournalError, match=expected):
            journal.claim(_job("2"), SCOPE)
        with pytest.raises(JournalError, match=expected):
            journal.recover(SCOPE)
        with pytest.raises(JournalError, match=expected):
            journal.running(_JOB.job_id)
        journal.result(_JOB.job_id, Succeeded())
        journal.finish(_JOB.job_id, "reported")
    with closing(SqliteJournal(path)) as journal:
        assert {entry.job.job_id: entry.state for entry in journal.jobs()} == {_JOB.job_id: JournalState.DONE}
        assert journal.claim(_job("3"), SCOPE)


def test_jobs_that_were_taken_over_are_returned_although_the_disk_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are this process's as soon as they are in the file, so no other process would take them."""

    def fail(_descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with closing(SqliteJournal(tmp_path / "j.db")) as journal:
        journal.claim(_JOB, SCOPE)
        journal.release(_JOB.job_id)
        monkeypatch.setattr(_sqlite_file, "_sync_data", fail)
        assert [entry.job.job_id for entry in journal.recover(SCOPE).entries] == [_JOB.job_id]
        with pytest.raises(JournalError, match="cannot be written to the disk"):
            journal.running(_JOB.job_id)


def test_a_journal_that_is_closed_during_a_claim_refuses_it(tmp_path: Path) -> None:
    """The claim is in the file, but nobody has waited for the disk."""
    journal = SqliteJournal(tmp_path / "j.db")
    failures: list[JournalError] = []

    def claim() -> None:
        try:
            journal.claim(_JOB, SCOPE)
        except JournalError as failure:
            failures.append(failure)

    journal.claim(_job("old"), SCOPE)
    thread = threading.Thread(target=claim)
    with journal._file._sync_lock:
        before = journal._file._commits
        thread.start()
        until(lambda: journal._file._commits > before)
        assert journal._file._log is not None
        journal._file._log.close()  # as `close` does
    thread.join()
    journal.close()
    assert "cannot be written to the disk: ValueError" in str(failures[0])


def test_each_commit_waits_for_the_disk_where_no_log_is_possible(
    tmp_path: Path, synced: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a file system without shared memory, SQLite keeps its older kind of journal and syncs by itself."""
    connect: Any = sqlite3.connect

    def connect_without_memory(path: Path | str, **settings: Any) -> sqlite3.Connection:
        name = f"{path.as_uri()}?vfs=unix-none" if isinstance(path, Path) else path
        connection: sqlite3.Connection = connect(name, **{**settings, "uri": True})
        return connection

    with monkeypatch.context() as patched:
        patched.setattr(sqlite3, "connect", connect_without_memory)
        journal = SqliteJournal(tmp_path / "j.db")
    with closing(journal):
        assert journal._file._connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
        assert journal._file._connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
        assert journal.claim(_JOB, SCOPE)
        journal.running(_JOB.job_id)
        assert not synced
    assert _recover(tmp_path / "j.db") == {_JOB.job_id: (JournalState.RUNNING, 0, False)}


# --- other processes


def test_a_journal_is_not_pickled(tmp_path: Path) -> None:
    """The error names the remedy."""
    with (
        closing(SqliteJournal(tmp_path / "j.db")) as journal,
        pytest.raises(TypeError, match="create one in each process"),
    ):
        pickle.dumps(journal)


_FORK = """
import gc, threading
from cp_thirdparty.exceptions import JournalError
journal.claim(job, SCOPE)
held = journal._file._lock
held.acquire()  # as another thread may at the moment of the fork
child = os.fork()
if child == 0:
    for call in (lambda: journal.running("job-1"), lambda: journal.recover(SCOPE), lambda: journal.claim(job, SCOPE)):
        try:
            call()
        except JournalError as error:
            print(error)
    journal.close()
    del journal, held
    gc.collect()
    sys.exit(0)  # closes what is open, unlike os._exit
os.waitpid(child, 0)
held.release()
print("parent", flush=True)
sys.stdin.read()
"""


def test_a_forked_child_neither_writes_nor_unlocks(tmp_path: Path) -> None:
    """When it ends, its parent still has its jobs and its write-ahead log."""
    path = tmp_path / "j.db"
    with start_process(path, _FORK, is_measured=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(4)]
        refused = "the journal was opened by another process; open it after the fork\n"
        assert lines == [refused, refused, refused, "parent\n"]
        assert _recover(path) == {}
        assert path.with_name("j.db-wal").exists()
        process.communicate("")
    assert _recover(path) == {"job-1": (JournalState.CLAIMING, 0, False)}


@pytest.mark.slow
def test_a_forked_child_that_outlives_its_parent_deletes_no_log(tmp_path: Path) -> None:
    """A child that ends after its parent was killed does not touch the file that others use by then."""
    path = tmp_path / "j.db"
    code = (
        "journal.claim(job, SCOPE)\n"
        "if os.fork() == 0:\n"
        "    os.close(1)\n"
        "    while not os.path.exists(sys.argv[1] + '.go'): time.sleep(0.01)\n"
        "    open(sys.argv[1] + '.done', 'w').close()\n"
        "    sys.exit(0)"
    )
    run_process(path, code)
    run_process(path, "journal.recover(SCOPE); journal.running('job-1')")
    log = path.with_name("j.db-wal")
    before = log.stat()
    path.with_name("j.db.go").touch()
    until(lambda: path.with_name("j.db.done").exists())
    time.sleep(0.5)  # Python ends
    assert (log.stat().st_ino, log.stat().st_size) == (before.st_ino, before.st_size)
    assert _recover(path) == {"job-1": (JournalState.RUNNING, 1, False)}


def test_reading_a_copy_creates_nothing_beside_it(tmp_path: Path) -> None:
    """A copy of a journal that is in use has a write-ahead log, but no index of it."""
    (tmp_path / "copy").mkdir()
    with closing(SqliteJournal(tmp_path / "j.db")) as journal:
        journal.claim(ThirdPartyJob(client_id="c", job_id="j"), SCOPE)
        for name in ("j.db", "j.db-wal"):
            shutil.copy(tmp_path / name, tmp_path / "copy" / name)
    assert len(list(read_journal(tmp_path / "copy" / "j.db"))) == 1
    assert sorted(path.name for path in (tmp_path / "copy").iterdir()) == ["j.db", "j.db-wal"]


def test_a_change_that_was_not_finished_is_not_read(tmp_path: Path) -> None:
    """Where a write-ahead log is not possible, a killed process leaves a part of its change in the file."""
    path, copy = tmp_path / "j.db", tmp_path / "copy" / "j.db"
    copy.parent.mkdir()
    with closing(SqliteJournal(path)) as journal:
        journal.claim(_JOB, SCOPE)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in ("PRAGMA journal_mode = DELETE", "PRAGMA cache_size = 1", "BEGIN"):
            connection.execute(statement)
        connection.execute("UPDATE entries SET job_id = 'other', outcome = hex(zeroblob(100000))")
        for name in ("j.db", "j.db-journal"):
            shutil.copy(tmp_path / name, copy.with_name(name))
    before = {file.name: file.read_bytes() for file in copy.parent.iterdir()}
    assert sorted(before) == ["j.db", "j.db-journal"]
    with pytest.raises(JournalError, match="the journal cannot be read: a change is not finished; if no worker"):
        list(read_journal(copy))
    assert {file.name: file.read_bytes() for file in copy.parent.iterdir()} == before
    SqliteJournal(copy).close()
    assert [each.job for each in read_journal(copy) if not isinstance(each, SetAside)] == [_JOB]


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm", "-journal"])
def test_only_regular_files_are_read(tmp_path: Path, suffix: str) -> None:
    """A pipe would block, and a device would fill the memory or the disk."""
    SqliteJournal(tmp_path / "j.db").close()
    file = tmp_path / f"j.db{suffix}"
    makes: list[Callable[[Path], None]] = [os.mkfifo, lambda path: path.symlink_to("/dev/zero")]
    for make in makes if suffix else makes[:1]:  # a journal may have another name
        file.unlink(missing_ok=True)
        make(file)
        for read in (lambda: list(read_journal(tmp_path / "j.db")), lambda: SqliteJournal(tmp_path / "j.db")):
            with pytest.raises(JournalError, match=f"'j.db{suffix}' is not a regular file"):
                read()


def test_a_copy_for_which_the_disk_has_no_space_is_not_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The temporary disk is not filled by the write-ahead log of a copied journal."""
    usage = shutil.disk_usage(tmp_path)
    SqliteJournal(tmp_path / "j.db").close()
    (tmp_path / "j.db-wal").write_bytes(bytes(1000))
    free = (tmp_path / "j.db").stat().st_size + 999
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=free))
    with pytest.raises(JournalError, match=r"^the journal cannot be read: OSError: .* No space left") as caught:
        list(read_journal(tmp_path / "j.db"))
    assert str(caught.value).endswith(f": {tempfile.gettempdir()!r}")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=free + 1))
    assert list(read_journal(tmp_path / "j.db")) == []
