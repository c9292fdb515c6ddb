"""Every journal passes the public suite, and the suite finds journals that break a rule."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import attrs
import pytest
from support.journals import SCOPE, SetAsideJobs, close_without_cleanup
from support.slow_rows import slow_unless

from cp_thirdparty import CustomJob, Succeeded, ThirdPartyJob
from cp_thirdparty.testing.journal_conformance import JournalConformance
from cp_thirdparty.worker import (
    JobScope,
    Journal,
    JournalEntry,
    JournalState,
    MemoryJournal,
    Recovered,
    Result,
    SqliteJournal,
)
from cp_thirdparty.worker._bounded_calls import BoundedCalls
from cp_thirdparty.worker._emit import Emitter
from cp_thirdparty.worker._journal_writer import JournalWriter

_TESTS = [name for name in vars(JournalConformance) if name.startswith("test_")]


class TestMemoryJournal(JournalConformance):
    """The journal in memory."""

    def open_journal(self, clock: Callable[[], float]) -> Journal:
        """Return a new journal."""
        return MemoryJournal(clock=clock)


class TestSqliteJournal(SetAsideJobs):
    """The journal in a file."""

    journal_class: type[SqliteJournal] = SqliteJournal

    @pytest.fixture(autouse=True)
    def _path(self, tmp_path: Path) -> None:
        self.path = tmp_path / "jobs.db"

    def open_journal(self, clock: Callable[[], float]) -> Journal:
        """Open the file of the test."""
        return self.journal_class(self.path, clock=clock)

    def crash(self, journal: Journal) -> None:
        """Let the owner end without a release."""
        assert isinstance(journal, SqliteJournal)
        close_without_cleanup(journal)


def test_the_suite_must_define_how_to_open_and_crash() -> None:
    """A subclass that does not override a method gets an error that names it."""
    with pytest.raises(NotImplementedError, match=r"override open_journal\(\)"):
        JournalConformance().open_journal(lambda: 0.0)
    with pytest.raises(NotImplementedError, match=r"override crash\(\)"):
        JournalConformance().crash(MemoryJournal())


# --- scopes


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("https://codepipeline.us-east-1.amazonaws.com", "https://codepipeline.us-east-1.amazonaws.com/"),
        ("https://codepipeline.us-east-1.amazonaws.com", "HTTPS://CodePipeline.US-East-1.amazonaws.com:443//"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000/"),
        ("http://127.0.0.1", "http://127.0.0.1:80"),
        ("http://[::1]:8000", "HTTP://[::1]:8000/"),
        ("https://[fe80::a]", "https://[FE80::A]:443"),
        ("https://example.com/Path", "https://example.com:443/Path/"),
        ("https://example.com", "https://user:xMARKERx@example.com/#part"),
    ],
)
def test_each_spelling_of_an_endpoint_is_one_scope(one: str, other: str) -> None:
    """Otherwise a slash in the settings of a worker hides the jobs of the one before."""
    first, second = (attrs.evolve(SCOPE, endpoint_url=url) for url in (one, other))
    assert first == second
    assert (first.endpoint_url, second.endpoint_url) == (one, one)
    journal = MemoryJournal()
    journal.claim(ThirdPartyJob(client_id="c", job_id="job-1"), first)
    journal.release("job-1")
    assert len(journal.recover(second).entries) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("https://example.com", "http://example.com"),
        ("https://example.com", "https://example.com:80"),
        ("https://example.com/path", "https://example.com/Path"),
        ("https://example.com/?a", "https://example.com/?b"),
        ("https://a.example.com", "https://b.example.com"),
    ],
)
def test_another_endpoint_is_another_scope(one: str, other: str) -> None:
    """Only what HTTP does not distinguish is the same."""
    assert attrs.evolve(SCOPE, endpoint_url=one) != attrs.evolve(SCOPE, endpoint_url=other)


@pytest.mark.parametrize("text", ["", "codepipeline", "https://example.com:port", "https://[", "/a/"])
def test_what_is_not_a_url_stays_as_it_is(text: str) -> None:
    """A row of a journal may hold anything."""
    assert attrs.evolve(SCOPE, endpoint_url=text).endpoint_url == text


# --- journals that break a rule


def _execute(journal: SqliteJournal, statement: str, *parameters: object) -> None:
    journal._file.write((statement, parameters))


class _ClaimsAll(SqliteJournal):
    """It gives a job to whoever asks."""

    def claim(self, job: ThirdPartyJob | CustomJob, scope: JobScope) -> bool:
        super().claim(job, scope)
        return True


class _KeepsWithdrawn(SqliteJournal):
    """It does not remove a withdrawn job."""

    def withdraw(self, job_id: str) -> None:
        pass


class _ForgetsCrashes(SqliteJournal):
    """It does not record what is known about crashes."""

    def running(self, job_id: str, **_: Any) -> None:
        super().running(job_id)


class _MovesClaimTime(SqliteJournal):
    """It sets the time of the claim each time."""

    def running(self, job_id: str, *, crashes: int = 0, is_suspect: bool = False, is_alone: bool = False) -> None:
        super().running(job_id, crashes=crashes, is_suspect=is_suspect, is_alone=is_alone)
        _execute(self, "UPDATE entries SET claimed_at = changed_at")


class _LosesDetails(SqliteJournal):
    """It keeps of a success only that it is one."""

    def result(self, job_id: str, result: Result, *, may_be_accepted: bool = True) -> None:
        super().result(
            job_id, Succeeded() if isinstance(result, Succeeded) else result, may_be_accepted=may_be_accepted
        )


class _ForgetsFailedReports(SqliteJournal):
    """It does not record that each attempt to report is known to have failed."""

    def result(self, job_id: str, result: Result, *, may_be_accepted: bool = True) -> None:  # noqa: ARG002 - dropped
        super().result(job_id, result)


class _DropsUncertain(SqliteJournal):
    """It takes an uncertain job for a finished one."""

    def uncertain(self, job_id: str) -> None:
        self.finish(job_id, "uncertain")


class _ReleasesNothing(SqliteJournal):
    """It keeps what is released."""

    def release(self, job_id: str, *, has_begun: bool = True) -> None:
        pass


class _TakesAllForBegun(SqliteJournal):
    """It drops that a handler never began."""

    def release(self, job_id: str, *, has_begun: bool = True) -> None:  # noqa: ARG002 - dropped
        super().release(job_id)


class _MixesScopes(SqliteJournal):
    """It has one scope for all."""

    def claim(self, job: ThirdPartyJob | CustomJob, scope: JobScope) -> bool:
        return super().claim(job, attrs.evolve(scope, action_type_id=SCOPE.action_type_id))

    def recover(self, scope: JobScope) -> Recovered:
        return super().recover(attrs.evolve(scope, action_type_id=SCOPE.action_type_id))


class _CountsEveryCrash(SqliteJournal):
    """It counts a crash for each job that ran."""

    def recover(self, scope: JobScope) -> Recovered:
        found = super().recover(scope)
        entries = tuple(
            attrs.evolve(entry, crashes=entry.crashes + entry.is_suspect, is_suspect=False) for entry in found.entries
        )
        return attrs.evolve(found, entries=entries)


class _CountsReleases(SqliteJournal):
    """It takes a release for a crash."""

    def recover(self, scope: JobScope) -> Recovered:
        found = super().recover(scope)
        entries = tuple(
            attrs.evolve(entry, crashes=entry.crashes or int(entry.state is JournalState.RUNNING))
            for entry in found.entries
        )
        return attrs.evolve(found, entries=entries)


class _TakesFromTheLiving(SqliteJournal):
    """It takes every owner for dead."""

    def _find_dead(self) -> set[object]:
        super()._find_dead()
        rows = sqlite3.connect(self._path)
        owners = {owner for (owner,) in rows.execute("SELECT owner FROM entries WHERE owner IS NOT NULL")}
        rows.close()
        return owners - {self._owner.name}


class _LeavesTheDead(SqliteJournal):
    """It takes every owner for alive."""

    def _find_dead(self) -> set[object]:
        super()._find_dead()
        return set()


class _ChangesAll(SqliteJournal):
    """Its methods change jobs of other workers."""

    def finish(self, job_id: str, outcome: str) -> None:
        super().finish(job_id, outcome)
        _execute(self, "UPDATE entries SET state = 'DONE' WHERE job_id = ?", job_id)


class _LosesAtClose(SqliteJournal):
    """It deletes its jobs when it is closed."""

    def close(self) -> None:
        if not self._file.is_closed:
            _execute(self, "DELETE FROM entries WHERE owner = ?", self._owner.name)
            super().close()


class _PrunesAll(SqliteJournal):
    """It deletes more than it should."""

    def prune(self, *, older_than: float, limit: int) -> int:
        return super().prune(older_than=older_than + 1, limit=limit + 1)


class _ListsFinished(SqliteJournal):
    """It lists all jobs, although only the unfinished ones were asked for."""

    def jobs(self, **_: Any) -> Iterator[JournalEntry]:
        return super().jobs()


class _RecoversLess(SqliteJournal):
    """It returns recovered jobs without a part of what it knows."""

    lost: ClassVar[dict[str, Any]] = {"result": None}

    def recover(self, scope: JobScope) -> Recovered:
        found = super().recover(scope)
        return attrs.evolve(found, entries=tuple(attrs.evolve(entry, **self.lost) for entry in found.entries))


class _RecoversNoScope(_RecoversLess):
    """It returns recovered jobs without their scope."""

    lost: ClassVar[dict[str, Any]] = {"scope": None}


class _RecoversNoTime(_RecoversLess):
    """It returns recovered jobs without the time of their claim."""

    lost: ClassVar[dict[str, Any]] = {"claimed_at": None}


class _StoresNoCrash(SqliteJournal):
    """It returns crashes, and does not keep them."""

    def recover(self, scope: JobScope) -> Recovered:
        found = super().recover(scope)
        _execute(self, "UPDATE entries SET crashes = 0 WHERE owner = ?", self._owner.name)
        return found


class _StoresNoSuspicion(SqliteJournal):
    """It returns suspects, and does not keep that they are."""

    def recover(self, scope: JobScope) -> Recovered:
        found = super().recover(scope)
        _execute(self, "UPDATE entries SET is_suspect = 0")
        return found


class _KeepsTheFirstResult(SqliteJournal):
    """It ignores a second result."""

    def result(self, job_id: str, result: Result, *, may_be_accepted: bool = True) -> None:
        entries = [entry for entry in self.jobs(unfinished_only=True) if entry.job.job_id == job_id]
        kept = next((entry.result for entry in entries if entry.result is not None), result)
        super().result(job_id, kept, may_be_accepted=may_be_accepted)


class _HasOneOutcome(SqliteJournal):
    """It drops how a job ended."""

    def finish(self, job_id: str, outcome: str) -> None:  # noqa: ARG002 - dropped
        super().finish(job_id, "reported")


class _FindsNothingFinished(SqliteJournal):
    """It does not find a finished job."""

    def is_finished(self, job_id: str, scope: JobScope) -> bool:  # noqa: ARG002 - dropped
        return False


class _FindsInEachScope(SqliteJournal):
    """It finds a finished job of another scope."""

    def is_finished(self, job_id: str, scope: JobScope) -> bool:  # noqa: ARG002 - dropped
        return super().is_finished(job_id, SCOPE)


_BROKEN: list[type[SqliteJournal]] = [
    _ClaimsAll,
    _KeepsWithdrawn,
    _ForgetsCrashes,
    _MovesClaimTime,
    _LosesDetails,
    _ForgetsFailedReports,
    _DropsUncertain,
    _ReleasesNothing,
    _TakesAllForBegun,
    _MixesScopes,
    _CountsEveryCrash,
    _CountsReleases,
    _TakesFromTheLiving,
    _LeavesTheDead,
    _ChangesAll,
    _LosesAtClose,
    _PrunesAll,
    _ListsFinished,
    _RecoversLess,
    _RecoversNoScope,
    _RecoversNoTime,
    _StoresNoCrash,
    _StoresNoSuspicion,
    _KeepsTheFirstResult,
    _HasOneOutcome,
    _FindsNothingFinished,
    _FindsInEachScope,
]


def _failures(suite: type[TestSqliteJournal], directory: Path) -> list[str]:
    failed: list[str] = []
    for name in _TESTS:
        test: Any = suite()
        test.path = directory / f"{name}.db"
        try:
            getattr(test, name)()
        except (AssertionError, ValueError):  # ValueError: a test takes the one job that must be there
            failed.append(name)
    return failed


@pytest.mark.parametrize(
    "broken", slow_unless(lambda row: row is _BROKEN[0], _BROKEN), ids=lambda broken: broken.__name__
)
def test_the_suite_finds_a_broken_journal(broken: type[SqliteJournal], tmp_path: Path) -> None:
    """A journal that breaks one rule fails a test."""

    class Suite(TestSqliteJournal):
        journal_class = broken

    assert _failures(Suite, tmp_path)


def test_the_suite_finds_nothing_in_a_sound_journal(tmp_path: Path) -> None:
    """It also runs without pytest's fixtures."""
    assert _failures(TestSqliteJournal, tmp_path) == []


class _WithoutIndex(SqliteJournal):
    """It is not an `IndexedJournal`."""

    is_finished: Any = None


def test_the_index_is_optional(tmp_path: Path) -> None:
    """The suite does not ask for it."""

    class Suite(TestSqliteJournal):
        journal_class = _WithoutIndex
        path = tmp_path / "jobs.db"

    Suite().test_a_finished_job_is_found_by_its_id()


@pytest.mark.parametrize("journal_class", [SqliteJournal, _WithoutIndex, MemoryJournal])
def test_a_finished_job_is_found_in_each_journal(journal_class: Any, tmp_path: Path) -> None:
    """Without the method, the jobs of the journal are read."""
    journal = journal_class() if journal_class is MemoryJournal else journal_class(tmp_path / "jobs.db")
    writer = JournalWriter(journal, SCOPE, lambda *_, **__: None, Emitter())
    journal.claim(ThirdPartyJob(client_id="c", job_id="job-1"), SCOPE)
    assert not writer.is_finished("job-1")
    journal.finish("job-1", "reported")
    assert [writer.is_finished(job_id) for job_id in ("job-1", "job-2")] == [True, False]
    journal.close()
    writer.close(5.0)


def test_a_worker_calls_a_journal_in_memory_in_its_own_thread() -> None:
    """It cannot hang, and a switch of threads costs more than what it does."""
    calls = BoundedCalls("cp-thirdparty-test")
    writer = JournalWriter(MemoryJournal(), SCOPE, lambda *_, **__: None, Emitter(), calls)
    assert writer.recover().entries == ()
    assert not calls._idle  # it has started no thread
