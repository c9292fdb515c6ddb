"""Fuzzer of journals: SQLite files with changed bytes, and rows and tables with values of any type."""

from __future__ import annotations

import random
import shutil
import sqlite3
import tempfile
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from support.journals import SCOPE, OldJournal

from cp_thirdparty import Succeeded, ThirdPartyJob
from cp_thirdparty.worker import SqliteJournal
from cp_thirdparty.worker._sqlite_rows import read_journal
from long.fuzz_checks import Case, ending_of, mutate_bytes

_VALUES = (
    *(None, "", "x", "\x1b[2J\n", "\x00", b"\xff\x00", b"", 0, -1, 1, 2, 2**62, -(2**63), 1e308, float("inf"), 0.5),
    *("{}", "[]", "null", '{"success": []}', '{"failure": {"type": 1}}', "[" * 50_000, '{"success": {"a": NaN}}'),
    *("RUNNING", "RESULT", "DONE", "CLAIMING", "UNCERTAIN", "x" * 100_000),
)
_STATEMENTS = (
    *("DROP TABLE {table}", "DELETE FROM {table}", "ALTER TABLE {table} RENAME TO other"),
    *("ALTER TABLE {table} RENAME COLUMN {column} TO other", "ALTER TABLE {table} ADD COLUMN other"),
    *("CREATE TABLE other (a)", "PRAGMA user_version = {number}", "PRAGMA application_id = {number}"),
    "CREATE TRIGGER t BEFORE UPDATE ON {table} BEGIN SELECT RAISE(ABORT, 'x'); END",
    *("PRAGMA journal_mode = DELETE", "INSERT INTO {table} SELECT * FROM {table} WHERE FALSE"),
)


def _job(number: int) -> ThirdPartyJob:
    return ThirdPartyJob(client_id="client-1", job_id=f"job-{number}")


def _fill(path: Path) -> None:
    """Write a journal with a job in each state, and close it."""
    with closing(SqliteJournal(path)) as journal:
        for number in range(6):
            journal.claim(_job(number), SCOPE)
        for number in range(1, 5):
            journal.running(f"job-{number}")
        journal.result("job-2", Succeeded())
        journal.result("job-3", Succeeded())
        journal.finish("job-3", "reported")
        journal.uncertain("job-5")


def _fill_old(path: Path) -> None:
    """Write a journal of version 0.1."""
    old = OldJournal(path)
    for number, state in enumerate(("RUNNING", "DONE", "CLAIMING")):
        old.claim(f"job-{number}")
        old.change(f"job-{number}", state)
    old.close()


@contextmanager
def journals(directory: Path) -> Generator[Case]:
    """Open the cases: a mutated journal for each, of this version or of 0.1."""
    with tempfile.TemporaryDirectory() as templates:
        filled = [Path(templates) / name for name in ("new.db", "old.db")]
        _fill(filled[0])
        _fill_old(filled[1])
        for path in filled:
            with closing(sqlite3.connect(path, isolation_level=None)) as connection:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        yield lambda chance: _case(chance, chance.choice(filled), directory / "jobs.db")


def _case(chance: random.Random, template: Path, path: Path) -> str:
    shutil.copy(template, path)
    if chance.random() < 0.5:
        _mutate_rows(chance, path)
    else:
        path.write_bytes(mutate_bytes(chance, _mutate_header(chance, path.read_bytes())))
    endings = [ending_of(lambda: list(read_journal(path))), ending_of(lambda: _work(path))]
    left = sorted(each.name for each in path.parent.iterdir())
    # SQLite keeps these beside a file that it cannot open or that another program has open.
    assert set(left) <= {"jobs.db", "jobs.db-wal", "jobs.db-shm", "jobs.db-journal"}, left
    for each in path.parent.iterdir():
        each.unlink()
    return f"read: {endings[0]}, work: {endings[1]}"


def _work(path: Path) -> None:
    """Do what a worker does."""
    with closing(SqliteJournal(path)) as journal:
        recovered = journal.recover(SCOPE)
        list(journal.jobs())
        for entry in recovered.entries:
            journal.release(entry.job.job_id)
        if journal.claim(_job(99), SCOPE):
            journal.running("job-99")
            journal.result("job-99", Succeeded())
            journal.finish("job-99", "reported")
        journal.prune(older_than=0, limit=100)


def _mutate_header(chance: random.Random, data: bytes) -> bytes:
    """Change a number of the header of the file, or nothing."""
    if chance.random() < 0.5:
        return data
    at = chance.randrange(16, 100)
    return data[:at] + bytes([chance.randrange(256)]) + data[at + 1 :]


def _mutate_rows(chance: random.Random, path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        names = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name").fetchall()
        tables = [name for (name,) in names if not name.startswith("sqlite_")]
        for _ in range(chance.choice((1, 1, 3))):
            table = chance.choice(tables)
            columns: list[Any] = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
            if not columns:
                return  # an earlier statement has removed or renamed the table
            column, value = chance.choice(columns), chance.choice(_VALUES)
            values: tuple[Any, ...]
            statement, values = f"UPDATE {table} SET {column} = ? WHERE rowid % ? = 0", (value, chance.choice((1, 2)))
            if chance.random() < 0.25:
                number = chance.choice((-1, 0, 1, 2, 99))
                statement = chance.choice(_STATEMENTS).format(table=table, column=column, number=number)
                values = ()
            try:
                connection.execute(statement, values)
            except sqlite3.Error:  # a constraint of the table
                continue
