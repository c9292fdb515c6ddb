"""Which owners of jobs are alive: seen by their processes and by the files beside the journal."""

from __future__ import annotations

import gc
import os
import shutil
import sqlite3
import subprocess
import sys
import warnings
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from support.journals import SCOPE, OldJournal, close_without_cleanup, run_process, start_process

from cp_thirdparty import ThirdPartyJob
from cp_thirdparty.exceptions import JournalError
from cp_thirdparty.worker import SqliteJournal, _owners

_JOB = ThirdPartyJob(client_id="client-1", job_id="job-1")


class _Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the journal is."""
    (tmp_path / "folder").mkdir()
    return tmp_path / "folder" / "jobs.db"


@contextmanager
def _living_worker(path: Path) -> Generator[int]:
    """Run another process that has a job, and return its id."""
    code = "journal.claim(job, SCOPE); journal.running('job-1'); print(os.getpid(), flush=True); sys.stdin.read()"
    with start_process(path, code) as process:
        assert process.stdout is not None
        yield int(process.stdout.readline())
        process.communicate("")


def _recover(path: Path) -> list[str]:
    with closing(SqliteJournal(path)) as journal:
        return [entry.job.job_id for entry in journal.recover(SCOPE).entries]


def _owner_files(path: Path) -> list[Path]:
    return sorted(path.parent.glob("*-alive-*"))


def _is_alive(path: Path) -> bool | None:
    with closing(SqliteJournal(path)) as journal:
        (entry,) = journal.jobs()
        return entry.is_owner_alive


def test_a_cleaner_that_deletes_the_owner_file_makes_no_job_free(path: Path) -> None:
    """The process is there; when it ends, its job is free at once."""
    with _living_worker(path):
        for file in _owner_files(path):
            file.unlink()
        assert _recover(path) == []
        assert _is_alive(path) is True
    assert _is_alive(path) is False
    assert _recover(path) == ["job-1"]


def test_a_copied_or_moved_journal_does_not_run_the_jobs_twice(path: Path, tmp_path: Path) -> None:
    """The worker of the original is alive, so nobody takes its jobs from a copy, nor from a new place."""
    with _living_worker(path):
        shutil.copytree(path.parent, tmp_path / "copy")
        assert _recover(tmp_path / "copy" / "jobs.db") == []
        path.parent.rename(tmp_path / "moved")
        assert _recover(tmp_path / "moved" / "jobs.db") == []
    for name in ("copy", "moved"):
        assert _recover(tmp_path / name / "jobs.db") == ["job-1"]


def test_code_that_reads_the_owner_file_in_its_process_makes_no_job_free(path: Path) -> None:
    """Closing a file ends the locks that its process has on it, such as after a backup by the worker itself."""
    code = (
        "import glob\n"
        "journal.claim(job, SCOPE)\n"
        "[open(each, 'rb').close() for each in glob.glob(sys.argv[1] + '-alive-*')]\n"
        "print('closed', flush=True); sys.stdin.read()"
    )
    with start_process(path, code) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "closed\n"
        assert _recover(path) == []
        process.communicate("")


@pytest.mark.parametrize(("ticks", "expected"), [(0, []), (1, ["job-1"])])
def test_a_process_that_got_the_id_of_a_dead_one_is_not_the_owner(
    path: Path, monkeypatch: pytest.MonkeyPatch, ticks: int, expected: list[str]
) -> None:
    """The start time distinguishes them."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        started = _owners._find_start_time(str(other.pid))
        assert started is not None
        name = f"{'0' * 32}.{_owners._identify_machine()}.{other.pid}.{int(started) - ticks}"
        monkeypatch.setattr(_owners, "_create_name", lambda: name)
        journal = SqliteJournal(path)
        monkeypatch.undo()
        journal.claim(_JOB, SCOPE)
        close_without_cleanup(journal)
        assert _recover(path) == expected
        other.communicate(b"\n")


def test_a_zombie_is_dead(path: Path) -> None:
    """A process that has ended is dead, although its parent has not asked for its exit code."""
    with start_process(path, "journal.claim(job, SCOPE)") as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert Path(f"/proc/{process.pid}/stat").exists()
        assert _recover(path) == ["job-1"]


def test_an_object_that_was_dropped_has_no_jobs(path: Path) -> None:
    """A program that forgets to close a journal can still recover its jobs."""
    journal = SqliteJournal(path)
    journal.claim(_JOB, SCOPE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # of SQLite connections, from Python 3.13
        del journal
        gc.collect()
    assert _recover(path) == ["job-1"]


def test_a_program_that_replaced_itself_recovers_its_jobs(path: Path) -> None:
    """After ``exec`` the process has the same id and start time, but not the journal."""
    run_process(
        path,
        "if journal.claim(job, SCOPE):\n    os.execv(sys.executable, [sys.executable, '-c', sys.argv[2], sys.argv[1]])",
        "import sys; from support.journals import SCOPE; from cp_thirdparty.worker import SqliteJournal; "
        "journal = SqliteJournal(sys.argv[1]); found = journal.recover(SCOPE).entries; "
        "journal.finish(found[0].job.job_id, 'recovered'); journal.close()",
    )
    with closing(SqliteJournal(path)) as journal:
        assert [entry.outcome for entry in journal.jobs()] == ["recovered"]


# --- owners whose processes cannot be seen


@pytest.fixture
def container(path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SqliteJournal]:
    """Open a journal as a process of another container does, and claim a job."""
    monkeypatch.setattr(_owners, "_identify_machine", lambda: "f" * 16)
    opened = SqliteJournal(path)
    monkeypatch.undo()
    opened.claim(_JOB, SCOPE)
    yield opened
    opened.close()


def test_a_locked_file_shows_that_another_container_is_alive(container: SqliteJournal, path: Path) -> None:
    """Its process is not in the list of this one."""
    assert _recover(path) == []
    assert _is_alive(path) is True
    close_without_cleanup(container)
    assert _is_alive(path) is False
    assert _recover(path) == ["job-1"]
    assert _owner_files(path) == []


def test_a_symbolic_link_leads_to_the_same_owners(container: SqliteJournal, path: Path, tmp_path: Path) -> None:
    """A worker that opens the journal by another name looks beside the real file."""
    link = tmp_path / "link.db"
    link.symlink_to(path)
    clock = _Clock()
    with closing(SqliteJournal(link, clock=clock)) as journal:
        for _ in range(2):
            assert journal.recover(SCOPE).entries == ()
            assert len(_owner_files(path)) == 2
            clock.now += 61
    assert [entry.job for entry in container.jobs()] == [_JOB]


def _delete_other_files(journal: SqliteJournal, path: Path) -> None:
    for file in _owner_files(path):
        if journal._owner.name not in file.name:
            file.unlink()


def test_a_deleted_file_of_another_container_is_created_again(container: SqliteJournal, path: Path) -> None:
    """The owner does that when it looks for jobs to recover; until then nobody takes its jobs."""
    clock = _Clock()
    with closing(SqliteJournal(path, clock=clock)) as journal:
        for _ in range(2):
            _delete_other_files(journal, path)
            assert journal.recover(SCOPE).entries == ()
            container.recover(SCOPE)
            clock.now += 61
            assert journal.recover(SCOPE).entries == ()
        close_without_cleanup(container)
        assert len(journal.recover(SCOPE).entries) == 1


def test_a_file_of_another_container_that_stays_away_is_a_dead_owner(container: SqliteJournal, path: Path) -> None:
    """A cleaner may have deleted the file of an owner that is dead."""
    close_without_cleanup(container)
    clock = _Clock()
    with closing(SqliteJournal(path, clock=clock)) as journal:
        _delete_other_files(journal, path)
        assert journal.recover(SCOPE).entries == ()
        clock.now += 59
        assert journal.recover(SCOPE).entries == ()
        clock.now += 2
        assert len(journal.recover(SCOPE).entries) == 1


def test_an_owner_file_that_cannot_be_created_again_is_a_journal_error(path: Path) -> None:
    """Other containers may take the worker for dead, so it is reported."""
    with closing(SqliteJournal(path)) as journal:
        (file,) = _owner_files(path)
        file.unlink()
        file.mkdir()
        with pytest.raises(JournalError, match="unable to open database file") as caught:
            journal.recover(SCOPE)
        assert caught.value.__cause__ is caught.value.__context__ is None
        file.rmdir()
        assert journal.recover(SCOPE).entries == ()
        assert _owner_files(path) == [file]


def test_a_system_without_proc_goes_by_the_file(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name of an owner has no process there."""
    monkeypatch.setattr(_owners, "_PROC", tmp_path)
    journal = SqliteJournal(path)
    assert len(journal._owner.name) == 32
    journal.claim(_JOB, SCOPE)
    assert _recover(path) == []
    close_without_cleanup(journal)
    assert _recover(path) == ["job-1"]


def test_an_owner_that_is_not_a_name_is_dead(path: Path) -> None:
    """A damaged row is in nobody's hands, and no file of such a name is touched."""
    run_process(path, "journal.claim(job, SCOPE)")
    for owner in ("../jobs.db", b"\x00", ""):
        connection = sqlite3.connect(path)
        with connection:
            connection.execute("UPDATE entries SET owner = ?", (owner,))
        connection.close()
        assert _recover(path) == ["job-1"]
    assert path.exists()


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (b"7 (a) b (c) S" + b" 0" * 18 + b" 12345 0", "12345"),
        (b"7 (python) Z" + b" 0" * 18 + b" 12345 0", None),
        (b"7 (python) X" + b" 0" * 18 + b" 12345 0", None),
    ],
)
def test_the_start_time_of_any_program_is_read(
    status: bytes, expected: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program may have any name, with spaces and parentheses in it."""
    monkeypatch.setattr(_owners, "_PROC", tmp_path)
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "stat").write_bytes(status)
    assert _owners._find_start_time("7") == expected
    assert _owners._find_start_time("8") is None


def test_files_of_dead_owners_without_jobs_are_removed(path: Path) -> None:
    """Each process that was killed left one, and version 0.1 left two."""
    run_process(path, "")
    old = OldJournal(path)
    old.close_without_cleanup()
    _owner_files(path)[0].with_name(f"jobs.db-alive-{old.owner}-journal").touch()
    assert len(_owner_files(path)) == 3
    assert _recover(path) == []
    assert _owner_files(path) == []


def _as_text(file: Path) -> None:
    file.write_text("this is no database, but it is long enough to be read as one " * 20)


def _as_pipe(file: Path) -> None:
    os.mkfifo(file)


def _as_link(file: Path) -> None:
    file.symlink_to("/dev/zero")


@pytest.mark.parametrize("make", [_as_text, _as_pipe, _as_link])
def test_an_odd_file_in_place_of_an_owner_file_is_a_dead_owner(path: Path, make: Callable[[Path], None]) -> None:
    """Whoever has created it, the jobs are shown and recovered, and the file is removed."""
    old = OldJournal(path)
    old.claim("job-1")
    old.close_without_cleanup()
    for file in (*_owner_files(path), path.with_name(f"jobs.db-alive-{'0' * 32}")):
        file.unlink(missing_ok=True)
        make(file)
    assert _is_alive(path) is False
    assert _recover(path) == ["job-1"]
    assert _owner_files(path) == []
