"""Reading a journal while other processes change it: all rows are of the same moment."""

from __future__ import annotations

import itertools
import shutil
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from cp_thirdparty.exceptions import ArtifactError, JournalError
from cp_thirdparty.worker import JournalEntry, SqliteJournal, _sqlite_reader
from cp_thirdparty.worker._sqlite_rows import read_journal

_ROWS = 300
_INSERT = (
    "INSERT INTO entries (scope, job_id, client_id, state, changed_at, outcome) VALUES ('', ?, 'c', 'DONE', 1.0, ?)"
)


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=0, isolation_level=None)
    connection.execute("PRAGMA synchronous = OFF")
    return connection


def _change(connection: sqlite3.Connection, letter: str) -> None:
    connection.execute("UPDATE entries SET outcome = ?", (letter * 1000,))


@pytest.fixture(params=["WAL", "DELETE"])
def mode(request: pytest.FixtureRequest) -> str:
    """Give a mode of SQLite: with a write-ahead log, or without one, as on some network file systems."""
    return str(request.param)


@pytest.fixture
def path(tmp_path: Path, mode: str) -> Path:
    """Give a journal of many pages that no process has open."""
    path = tmp_path / "journal" / "j.db"
    path.parent.mkdir()
    SqliteJournal(path).close()
    with closing(_connect(path)) as connection:
        connection.execute(f"PRAGMA journal_mode = {mode}")
        connection.execute("BEGIN")
        connection.executemany(_INSERT, [(f"job-{number}", "A" * 1000) for number in range(_ROWS)])
        connection.execute("COMMIT")
    return path


def _count(found: Iterator[Any]) -> Counter[str]:
    """Count the jobs by the letter of their outcome."""
    return Counter((each.outcome or "?")[0] for each in found if isinstance(each, JournalEntry))


def test_a_worker_that_starts_meanwhile_is_not_seen_and_does_not_wait(path: Path) -> None:
    """The rows are those at the start, and the reader keeps no lock that would make the worker's change fail."""
    found = read_journal(path)
    first = next(found)
    assert isinstance(first, JournalEntry)
    with closing(_connect(path)) as connection:
        _change(connection, "B")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        assert _count(found) == {"A": _ROWS - 1}
    assert _count(read_journal(path)) == {"B": _ROWS}


def test_nothing_is_left(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither beside the journal nor in the directory for temporary files."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = {file: file.stat().st_mtime_ns for file in path.parent.iterdir()}
    assert _count(read_journal(path)) == {"A": _ROWS}
    assert {file: file.stat().st_mtime_ns for file in path.parent.iterdir()} == before
    assert list(tmp_path.iterdir()) == [path.parent]


def test_a_reader_waits_for_the_end_of_a_change(path: Path, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a log, a change that fills the file keeps readers out; with one, they read what was before."""
    monkeypatch.setattr(_sqlite_reader, "BUSY_TIMEOUT", 0)
    with closing(_connect(path)) as connection:
        connection.execute("PRAGMA cache_size = 1")
        connection.execute("BEGIN")
        _change(connection, "B")
        if mode == "WAL":
            assert _count(read_journal(path)) == {"A": _ROWS}
        else:
            with pytest.raises(
                JournalError, match=r"^the journal cannot be read: OperationalError: database is locked$"
            ):
                list(read_journal(path))
        connection.execute("COMMIT")
        assert _count(read_journal(path)) == {"B": _ROWS}


def _change_at_copies(monkeypatch: pytest.MonkeyPatch, times: int, change: Callable[[], None]) -> None:
    """Let another process change the journal during the first copies."""
    usage = shutil.disk_usage
    rest = [change] * times

    def interrupt(place: Path) -> Any:
        if rest:
            rest.pop()()
        return usage(place)

    monkeypatch.setattr(shutil, "disk_usage", interrupt)


@pytest.mark.parametrize("mode", ["WAL"], indirect=True)
@pytest.mark.parametrize("is_kept_open", [True, False])
@pytest.mark.parametrize("has_log", [True, False])
def test_a_file_that_changes_while_it_is_copied_is_read_again(
    path: Path, monkeypatch: pytest.MonkeyPatch, *, is_kept_open: bool, has_log: bool
) -> None:
    """A worker opens the journal, which nothing locks, and may have closed it before the copy is complete."""
    if has_log:
        path.with_name("j.db-wal").touch()
    opened: list[sqlite3.Connection] = []

    def change() -> None:
        opened.append(_connect(path))
        _change(opened[-1], "B")
        if not is_kept_open:
            opened.pop().close()

    _change_at_copies(monkeypatch, 1, change)
    assert _count(read_journal(path)) == {"B": _ROWS}
    for each in opened:
        each.close()


@pytest.mark.parametrize("mode", ["WAL"], indirect=True)
def test_a_file_that_always_changes_is_a_journal_error(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No mixture is returned."""
    letters = itertools.cycle("BC")  # SQLite writes nothing if a value stays the same

    def change() -> None:
        with closing(_connect(path)) as connection:
            _change(connection, next(letters))

    _change_at_copies(monkeypatch, 100, change)
    with pytest.raises(
        JournalError, match=r"^the journal cannot be read: it was changed during each of several copies; "
    ):
        list(read_journal(path))


def test_a_reader_of_the_same_process_keeps_the_locks_of_a_worker(path: Path) -> None:
    """POSIX ends the locks of a process when it closes any descriptor of the file."""
    with closing(_connect(path)) as worker:
        worker.execute("BEGIN IMMEDIATE")
        assert _count(read_journal(path)) == {"A": _ROWS}
        code = "import sqlite3, sys; sqlite3.connect(sys.argv[1], timeout=0).execute('BEGIN IMMEDIATE')"
        other = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)
    assert other.stderr.endswith("database is locked\n")


@pytest.mark.parametrize("is_empty", [True, False])
def test_a_reader_leaves_the_log_of_an_unfinished_change(tmp_path: Path, *, is_empty: bool) -> None:
    """Without locks SQLite deletes the rollback journal of an empty file, which a writer may just fill."""
    path, log = tmp_path / "j.db", tmp_path / "j.db-journal"
    if not is_empty:
        with closing(_connect(path)) as connection:
            connection.execute("CREATE TABLE x (y)")
    path.touch()
    log.write_bytes(b"x" * 512)
    with suppress(JournalError):
        list(read_journal(path))
    assert log.read_bytes() == b"x" * 512


@pytest.mark.parametrize("mode", ["WAL"], indirect=True)
def test_a_copy_that_cannot_be_made_is_a_journal_error(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another user has exchanged its directory."""

    def refuse(_: Path) -> None:
        raise ArtifactError("the directory is another user's")

    monkeypatch.setattr(_sqlite_reader, "PrivateDirectory", refuse)
    with pytest.raises(JournalError, match=r"^the journal cannot be read: the directory is another user's$"):
        list(read_journal(path))
