"""The journals: what survives, who may take a job over, and what is never written."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cp_thirdparty import Continued, FailureDetails, FailureType, Succeeded, ThirdPartyJob
from cp_thirdparty.exceptions import JournalError
from cp_thirdparty.worker import Journal, JournalEntry, JournalState, MemoryJournal, SqliteJournal, sqlite_journal

_JOB = ThirdPartyJob(client_id="client-1", job_id="job-1")
_FAILURE = FailureDetails(type=FailureType.JOB_FAILED, message="no")


class _Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


_clock = _Clock()


@pytest.fixture(params=["memory", "sqlite"])
def journal(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Journal]:
    """Give an empty journal of each kind."""
    made: Journal = (
        MemoryJournal(clock=_clock) if request.param == "memory" else SqliteJournal(tmp_path / "j.db", clock=_clock)
    )
    yield made
    made.close()


def _entry(state: JournalState, **more: object) -> JournalEntry:
    return JournalEntry(job=_JOB, state=state, changed_at=1000.0, **more)  # type: ignore[arg-type]


# --- both kinds


def test_a_job_goes_from_claim_to_done(journal: Journal) -> None:
    """Each step shows in ``jobs()``, with what is known by then."""
    assert journal.claim(_JOB)
    assert list(journal.jobs()) == [_entry(JournalState.CLAIMING)]
    journal.running(_JOB.job_id)
    assert list(journal.jobs()) == [_entry(JournalState.RUNNING)]
    journal.result(_JOB.job_id, _FAILURE)
    assert list(journal.jobs()) == [_entry(JournalState.RESULT, result=_FAILURE)]
    journal.finish(_JOB.job_id, "reported")
    assert list(journal.jobs()) == [_entry(JournalState.DONE, result=_FAILURE, outcome="reported")]
    assert list(journal.jobs(unfinished_only=True)) == []


def test_a_job_in_work_is_not_claimed_again(journal: Journal) -> None:
    """A second claim is refused until the job is done."""
    assert journal.claim(_JOB)
    assert not journal.claim(_JOB)
    journal.running(_JOB.job_id)
    assert not journal.claim(_JOB)
    journal.result(_JOB.job_id, Succeeded())
    assert not journal.claim(_JOB)
    journal.finish(_JOB.job_id, "gone")
    assert journal.claim(_JOB)
    assert list(journal.jobs()) == [_entry(JournalState.CLAIMING)]


def test_a_withdrawn_job_is_forgotten(journal: Journal) -> None:
    """A lost race leaves nothing."""
    journal.claim(_JOB)
    journal.withdraw(_JOB.job_id)
    assert list(journal.jobs()) == []
    assert journal.claim(_JOB)


def test_an_uncertain_job_may_be_claimed_when_it_is_offered_again(journal: Journal) -> None:
    """Another offer tells that the acknowledgement never arrived."""
    journal.claim(_JOB)
    journal.uncertain(_JOB.job_id)
    assert list(journal.jobs(unfinished_only=True)) == [_entry(JournalState.UNCERTAIN)]
    assert journal.claim(_JOB)


def test_a_released_job_is_recovered_once(journal: Journal) -> None:
    """Who stops leaves its job to the next; a release is no crash."""
    journal.claim(_JOB)
    journal.result(_JOB.job_id, Continued(continuation_token="t"))
    assert journal.recover() == ()
    journal.release(_JOB.job_id)
    (entry,) = journal.recover()
    assert entry == _entry(JournalState.RESULT, result=Continued(continuation_token="t"))
    assert journal.recover() == ()
    assert not journal.claim(_JOB)


def test_a_released_job_may_be_claimed(journal: Journal) -> None:
    """A released claim is free for the next offer, and is then recovered by nobody."""
    journal.claim(_JOB)
    journal.release(_JOB.job_id)
    assert journal.claim(_JOB)
    assert journal.recover() == ()


def test_what_is_not_there_changes_nothing(journal: Journal) -> None:
    """Steps of an unknown job have no effect."""
    journal.running("other")
    journal.result("other", Succeeded())
    journal.uncertain("other")
    journal.finish("other", "gone")
    journal.release("other")
    journal.withdraw("other")
    assert list(journal.jobs()) == []
    assert journal.recover() == ()


def test_many_threads_claim_one_job(journal: Journal) -> None:
    """One of 16 threads gets each job."""
    jobs = [ThirdPartyJob(client_id="c", job_id=f"job-{number}") for number in range(50)]
    barrier = threading.Barrier(16)

    def claim_all(_: int) -> int:
        barrier.wait()
        return sum(journal.claim(job) for job in jobs)

    with ThreadPoolExecutor(16) as threads:
        assert sum(threads.map(claim_all, range(16))) == len(jobs)
    assert len(list(journal.jobs())) == len(jobs)


# --- in memory


def test_memory_remembers_the_last_thousand() -> None:
    """Past jobs do not fill the memory."""
    journal = MemoryJournal()
    for number in range(1500):
        job = ThirdPartyJob(client_id="c", job_id=str(number))
        journal.claim(job)
        journal.finish(job.job_id, "reported")
    assert [entry.job.job_id for entry in journal.jobs()] == [str(number) for number in range(500, 1500)]


def test_a_job_that_ran_when_it_was_released_in_memory_counts_a_crash() -> None:
    """A worker that was ended in the middle of a handler counts, for want of a process that dies."""
    journal = MemoryJournal()
    journal.claim(_JOB)
    journal.running(_JOB.job_id)
    journal.release(_JOB.job_id)
    assert [entry.crashes for entry in journal.recover()] == [1]


# --- in a file


def _in_child(path: Path, code: str) -> None:
    """Run code with a journal in another process that then dies without a word."""
    program = (
        "import os, sys\n"
        "from cp_thirdparty import ThirdPartyJob, Succeeded\n"
        "from cp_thirdparty.worker import SqliteJournal\n"
        "journal = SqliteJournal(sys.argv[1])\n"
        "job = ThirdPartyJob(client_id='client-1', job_id='job-1')\n"
        f"{code}\n"
        "sys.stdout.flush()\n"
        "os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", program, str(path)], check=False, timeout=60)


@pytest.mark.parametrize(
    ("code", "state", "crashes"),
    [
        ("journal.claim(job)", JournalState.CLAIMING, 0),
        ("journal.claim(job); journal.running('job-1')", JournalState.RUNNING, 1),
        ("journal.claim(job); journal.result('job-1', Succeeded())", JournalState.RESULT, 0),
        ("journal.claim(job); journal.uncertain('job-1')", JournalState.UNCERTAIN, 0),
    ],
)
def test_what_a_killed_process_had_is_recovered(tmp_path: Path, code: str, state: JournalState, crashes: int) -> None:
    """Each state survives SIGKILL and is taken over once; only a job that ran counts a crash."""
    path = tmp_path / "j.db"
    _in_child(path, code)
    journal, other = SqliteJournal(path), SqliteJournal(path)
    entries = journal.recover()
    assert [(entry.job, entry.state, entry.crashes) for entry in entries] == [(_JOB, state, crashes)]
    assert other.recover() == ()
    journal.close()
    assert len(other.recover()) == 1  # a closed journal's jobs are free, too
    other.close()


def test_crashes_add_up(tmp_path: Path) -> None:
    """A job that kills each of its workers is known by it."""
    path = tmp_path / "j.db"
    _in_child(path, "journal.claim(job); journal.running('job-1')")
    _in_child(path, "assert [entry.crashes for entry in journal.recover()] == [1]")
    with_journal = SqliteJournal(path)
    assert [entry.crashes for entry in with_journal.recover()] == [2]
    with_journal.close()


def test_a_living_process_keeps_its_jobs(tmp_path: Path) -> None:
    """Nobody takes over, or claims, what a living worker of the same file has."""
    one, other = SqliteJournal(tmp_path / "j.db"), SqliteJournal(tmp_path / "j.db")
    assert one.claim(_JOB)
    assert other.recover() == ()
    assert not other.claim(_JOB)
    other.withdraw(_JOB.job_id)
    other.finish(_JOB.job_id, "gone")
    assert [entry.state for entry in other.jobs()] == [JournalState.CLAIMING]
    one.close()
    other.close()


def test_two_recover_at_once(tmp_path: Path) -> None:
    """Of 8 journals that look at once, one gets each job."""
    path = tmp_path / "j.db"
    _in_child(path, "[journal.claim(ThirdPartyJob(client_id='c', job_id=str(n))) for n in range(100)]")
    journals = [SqliteJournal(path) for _ in range(8)]
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda each: each.recover(), journals))
    assert sorted(entry.job.job_id for entries in found for entry in entries) == sorted(map(str, range(100)))
    for each in journals:
        each.close()


def _open_and_claim(path: str, start: str) -> None:
    while not os.path.exists(start):  # noqa: PTH110 - as short as can be
        pass
    journal = SqliteJournal(path)
    for number in range(20):
        journal.claim(ThirdPartyJob(client_id=str(os.getpid()), job_id=str(number)))
    journal.close()


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
    journal = SqliteJournal(path)
    assert len(list(journal.jobs())) == 20
    journal.close()


def test_old_jobs_are_forgotten_when_asked(tmp_path: Path) -> None:
    """Only finished jobs go, and only old ones."""
    clock = _Clock()
    journal = SqliteJournal(tmp_path / "j.db", clock=clock)
    for name in ("old", "unfinished"):
        journal.claim(ThirdPartyJob(client_id="c", job_id=name))
    journal.finish("old", "reported")
    clock.now += 60
    journal.claim(_JOB)
    journal.finish(_JOB.job_id, "reported")
    assert journal.forget(older_than=30) == 1
    assert sorted(entry.job.job_id for entry in journal.jobs()) == ["job-1", "unfinished"]
    journal.close()


def _as_directory(path: Path) -> None:
    path.mkdir()


def _as_text(path: Path) -> None:
    path.write_text("this is no database, but it is long enough to be read as one " * 20)


def _as_other_format(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()


@pytest.mark.parametrize("make", [_as_directory, _as_text, _as_other_format])
def test_a_file_that_is_no_journal_is_refused(tmp_path: Path, make: Callable[[Path], None]) -> None:
    """It is a typed error without a cause, and the file stays as it was."""
    path = tmp_path / "j.db"
    make(path)
    with pytest.raises(JournalError, match=r"^the journal cannot be opened: ") as caught:
        SqliteJournal(path)
    assert caught.value.__cause__ is caught.value.__context__ is None


def test_a_broken_file_is_a_journal_error(tmp_path: Path) -> None:
    """What SQLite says at reading and writing is told as a typed error."""
    journal = SqliteJournal(tmp_path / "j.db")
    other = sqlite3.connect(tmp_path / "j.db")
    other.execute("DROP TABLE jobs")
    other.close()
    with pytest.raises(JournalError, match=r"^the journal cannot be written: OperationalError: no such table: jobs$"):
        journal.claim(_JOB)
    with pytest.raises(JournalError, match="cannot be read"):
        journal.recover()
    with pytest.raises(JournalError, match="cannot be read"):
        list(journal.jobs())
    journal.close()


def test_a_journal_that_cannot_take_over_is_a_journal_error(tmp_path: Path) -> None:
    """A take-over that fails half-way changes nothing."""
    journal = SqliteJournal(tmp_path / "j.db")
    journal.claim(_JOB)
    journal.running(_JOB.job_id)
    journal.release(_JOB.job_id)
    other = sqlite3.connect(tmp_path / "j.db")
    other.execute("CREATE TRIGGER full BEFORE UPDATE OF owner ON jobs BEGIN SELECT RAISE(ABORT, 'disk full'); END")
    with pytest.raises(JournalError, match=r"^the journal cannot be written: IntegrityError: disk full$"):
        journal.recover()
    other.execute("DROP TRIGGER full")
    other.close()
    assert [entry.state for entry in journal.recover()] == [JournalState.RUNNING]
    journal.close()


def test_a_journal_that_another_holds_for_too_long_is_a_journal_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change that cannot even begin is told."""
    monkeypatch.setattr(sqlite_journal, "_BUSY", 0.05)
    journal = SqliteJournal(tmp_path / "j.db")
    other = sqlite3.connect(tmp_path / "j.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(JournalError, match="database is locked"):
        journal.claim(_JOB)
    other.close()
    journal.close()


def test_an_unknown_result_is_a_journal_error(tmp_path: Path) -> None:
    """A result that nobody can read is told, not dropped."""
    journal = SqliteJournal(tmp_path / "j.db")
    journal.claim(_JOB)
    other = sqlite3.connect(tmp_path / "j.db")
    with other:
        other.execute("UPDATE jobs SET result = 'nonsense'")
    other.close()
    with pytest.raises(JournalError, match="a result that cannot be read"):
        list(journal.jobs())
    journal.close()


def test_a_journal_stays_in_its_process(tmp_path: Path) -> None:
    """Pickling is refused with the remedy, and a forked child may not use it."""
    journal = SqliteJournal(tmp_path / "j.db")
    with pytest.raises(TypeError, match="make one in each process"):
        pickle.dumps(journal)
    journal._process_id -= 1  # as a child of a fork sees it
    with pytest.raises(JournalError, match="opened by another process"):
        journal.claim(_JOB)
    journal._process_id += 1
    journal.close()


def test_changes_are_on_the_disk(tmp_path: Path) -> None:
    """The file is in write-ahead mode, and each commit waits for the disk."""
    journal = SqliteJournal(tmp_path / "j.db")
    assert journal._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert journal._connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
    journal.close()


def test_nothing_is_left_beside_a_closed_journal(tmp_path: Path) -> None:
    """The file that tells who lives goes with its worker."""
    SqliteJournal(tmp_path / "j.db").close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["j.db"]
