"""
Tests that every journal must pass, for example your own journal in a database.

Define a subclass of `JournalConformance` in a test module.  Override `open_journal` to open a journal, and `crash` to
simulate that the worker with a journal was killed.

The tests need neither pytest nor the pytest plugin of this library: `unittest.TestCase` may be a second base class.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from typing import Final

import attrs

from cp_thirdparty.models import CustomJob, JobData, ThirdPartyJob
from cp_thirdparty.testing._journal_samples import (
    CUSTOM_SCOPE,
    JOB,
    OTHER,
    OTHER_SCOPE,
    RESULTS,
    SCOPE,
    STARTED,
)
from cp_thirdparty.testing.clock import ManualClock
from cp_thirdparty.worker import IndexedJournal, Journal, JournalEntry, JournalState, Recovered, Succeeded

__all__ = ["JournalConformance"]

_THREADS: Final = 8

# Job id, which is also the name of a state -> the function that changes a claimed job to this state.
_CHANGES: Final[Mapping[str, Callable[[Journal], object]]] = {
    "claiming": lambda _: None,
    "running": lambda journal: journal.running("running"),
    "result": lambda journal: journal.result("result", Succeeded()),
    "uncertain": lambda journal: journal.uncertain("uncertain"),
}


def _check(what: str, actual: object, expected: object) -> None:
    if actual != expected:
        raise AssertionError(f"{what}: {actual!r}, expected {expected!r}")


def _states(entries: Iterable[JournalEntry]) -> dict[str, JournalState]:
    return {entry.job.job_id: entry.state for entry in entries}


def _ids(recovered: Recovered) -> list[str]:
    _check("set_aside", recovered.set_aside, ())
    return sorted(entry.job.job_id for entry in recovered.entries)


def _call_is_finished(journal: IndexedJournal) -> list[bool]:
    return [journal.is_finished(job.job_id, scope) for job in (JOB, OTHER) for scope in (SCOPE, OTHER_SCOPE)]


class JournalConformance:
    """
    Tests of a journal.  Each test opens journals with `open_journal` and closes them.

    A journal that several processes share (`Journal.is_shared`) is also tested with several workers.
    """

    def open_journal(self, clock: Callable[[], float]) -> Journal:
        """
        Open the journal of a test.

        The first call in a test must return an empty journal.  Each later call must return a new object with the same
        records, as another worker would open it.  There are later calls only if a journal is durable and shared.

        Args:
            clock: Returns the time in seconds since 1970; the journal must use it.

        Raises:
            NotImplementedError: The subclass does not override this method.
        """
        raise NotImplementedError("override open_journal()")

    def crash(self, journal: Journal) -> None:
        """
        End the worker of a journal as SIGKILL does: it releases no job.  Called only for a shared journal.

        Args:
            journal: The journal.  After this, the tests call only its `Journal.close`.

        Raises:
            NotImplementedError: The subclass does not override this method.
        """
        raise NotImplementedError("override crash()")

    # --- one worker

    def test_a_job_goes_from_claim_to_done(self) -> None:
        """`jobs` returns each state of a job, with its times and its result."""
        with self._open() as (journal, clock):
            _check("claim()", journal.claim(JOB, SCOPE), True)
            entry = JournalEntry(
                job=JOB, scope=SCOPE, state=JournalState.CLAIMING, is_owner_alive=True, changed_at=STARTED
            )
            _check("jobs() after claim()", list(journal.jobs()), [entry])
            clock.advance(1)
            journal.running(JOB.job_id)
            entry = attrs.evolve(entry, state=JournalState.RUNNING, claimed_at=clock(), changed_at=clock())
            _check("jobs() after running()", list(journal.jobs()), [entry])
            clock.advance(1)
            journal.result(JOB.job_id, Succeeded())
            entry = attrs.evolve(entry, state=JournalState.RESULT, result=Succeeded(), changed_at=clock())
            _check("jobs() after result()", list(journal.jobs(unfinished_only=True)), [entry])
            clock.advance(1)
            journal.finish(JOB.job_id, "reported")
            entry = attrs.evolve(entry, state=JournalState.DONE, is_owner_alive=None, changed_at=clock())
            _check("jobs() after finish()", list(journal.jobs()), [attrs.evolve(entry, outcome="reported")])
            _check("jobs(unfinished_only=True) after finish()", list(journal.jobs(unfinished_only=True)), [])

    def test_each_kind_of_result_is_kept(self) -> None:
        """A recorded result is read unchanged."""
        with self._open() as (journal, _):
            for number, result in enumerate(RESULTS):
                journal.claim(ThirdPartyJob(client_id="c", job_id=str(number)), SCOPE)
                journal.result(str(number), result)
            found = {entry.job.job_id: entry.result for entry in journal.jobs()}
            _check("results", found, {str(number): result for number, result in enumerate(RESULTS)})

    def test_a_later_result_replaces_the_first(self) -> None:
        """The worker records a simpler result if CodePipeline refuses the first one."""
        with self._open() as (journal, _):
            journal.claim(JOB, SCOPE)
            for result in RESULTS:
                journal.result(JOB.job_id, result)
                _check("result", [entry.result for entry in journal.jobs()], [result])

    def test_failed_attempts_to_report_are_recorded(self) -> None:
        """After a restart, the worker must know whether CodePipeline may have accepted the result."""
        with self._open() as (journal, _):
            for may_be_accepted in (False, True, False):
                journal.claim(JOB, SCOPE)
                journal.result(JOB.job_id, Succeeded(), may_be_accepted=may_be_accepted)
                _check("may_be_accepted", [entry.may_be_accepted for entry in journal.jobs()], [may_be_accepted])
            journal.release(JOB.job_id)
            recovered = [entry.may_be_accepted for entry in journal.recover(SCOPE).entries]
            _check("may_be_accepted after recover()", recovered, [False])
            journal.release(JOB.job_id)
            journal.claim(JOB, SCOPE)
            _check("may_be_accepted after claim()", [entry.may_be_accepted for entry in journal.jobs()], [True])

    def test_the_outcome_is_kept(self) -> None:
        """Each finished job has its own outcome."""
        with self._open() as (journal, _):
            for outcome in ("reported", "gone"):
                journal.claim(ThirdPartyJob(client_id="c", job_id=outcome), SCOPE)
                journal.finish(outcome, outcome)
            found = {entry.job.job_id: entry.outcome for entry in journal.jobs()}
            _check("outcomes", found, {"reported": "reported", "gone": "gone"})

    def test_a_custom_job_is_kept(self) -> None:
        """The nonce is stored too, because only a poll returns it, and a later worker acknowledges the job with it."""
        job = CustomJob(id="job-1", nonce="3", account_id="111122223333", data=JobData())
        with self._open() as (journal, _):
            _check("claim()", journal.claim(job, CUSTOM_SCOPE), True)
            _check("jobs", [entry.job for entry in journal.jobs()], [job])
            journal.release(job.id)
            _check("recover()", [entry.job for entry in journal.recover(CUSTOM_SCOPE).entries], [job])

    def test_a_recovered_job_is_complete(self) -> None:
        """`recover` returns all values that were recorded."""
        with self._open() as (journal, clock):
            for number, result in enumerate(RESULTS):
                job = ThirdPartyJob(client_id=f"client-{number}", job_id=str(number))
                is_suspect = number % 2 == 1
                journal.claim(job, SCOPE)
                journal.running(job.job_id, crashes=number, is_suspect=is_suspect)
                clock.advance(1)
                journal.result(job.job_id, result)
                clock.advance(1)
                journal.release(job.job_id)
                entry = JournalEntry(
                    job=job,
                    scope=SCOPE,
                    state=JournalState.RESULT,
                    result=result,
                    crashes=number,
                    is_suspect=is_suspect,
                    is_owner_alive=True,
                    claimed_at=clock() - 2,
                    changed_at=clock() - 1,
                )
                _check("recover()", journal.recover(SCOPE), Recovered(entries=(entry,), set_aside=()))
                _check("jobs() after recover()", [each for each in journal.jobs() if each.job == job], [entry])

    def test_an_unfinished_job_is_not_claimed(self) -> None:
        """A claim is refused until the job is finished, and then starts a new entry."""
        with self._open() as (journal, clock):
            journal.claim(JOB, SCOPE)
            _check("claim() of a job that is CLAIMING", journal.claim(JOB, SCOPE), False)
            journal.running(JOB.job_id, crashes=2, is_suspect=True)
            _check("claim() of a job that is RUNNING", journal.claim(JOB, SCOPE), False)
            journal.result(JOB.job_id, Succeeded())
            _check("claim() of a job that is RESULT", journal.claim(JOB, SCOPE), False)
            journal.finish(JOB.job_id, "gone")
            clock.advance(1)
            _check("claim() of a finished job", journal.claim(JOB, SCOPE), True)
            entry = JournalEntry(
                job=JOB, scope=SCOPE, state=JournalState.CLAIMING, is_owner_alive=True, changed_at=clock()
            )
            _check("jobs() after the second claim()", list(journal.jobs()), [entry])

    def test_an_uncertain_job_is_claimed_when_it_is_offered(self) -> None:
        """A new claim is accepted, because CodePipeline offers only jobs that no worker has acknowledged."""
        with self._open() as (journal, _):
            journal.claim(JOB, SCOPE)
            journal.uncertain(JOB.job_id)
            _check("jobs()", _states(journal.jobs(unfinished_only=True)), {JOB.job_id: JournalState.UNCERTAIN})
            _check("claim() of a job that is UNCERTAIN", journal.claim(JOB, SCOPE), True)
            _check("jobs()", _states(journal.jobs()), {JOB.job_id: JournalState.CLAIMING})

    def test_a_withdrawn_job_is_removed(self) -> None:
        """`withdraw` removes the entry of a job that another worker acknowledged."""
        with self._open() as (journal, _):
            journal.claim(JOB, SCOPE)
            journal.withdraw(JOB.job_id)
            _check("jobs() after withdraw()", list(journal.jobs()), [])
            _check("claim() after withdraw()", journal.claim(JOB, SCOPE), True)

    def test_crashes_and_suspects_are_recorded(self) -> None:
        """`recover` returns the values that `running` recorded; claimed_at keeps its first value."""
        with self._open() as (journal, clock):
            journal.claim(JOB, SCOPE)
            journal.running(JOB.job_id)
            clock.advance(1)
            journal.running(JOB.job_id, crashes=2, is_suspect=True)
            journal.release(JOB.job_id)
            (entry,) = journal.recover(SCOPE).entries
            found = (entry.crashes, entry.is_suspect, entry.claimed_at)
            _check("crashes, is_suspect and claimed_at", found, (2, True, STARTED))

    def test_a_released_job_is_recovered_once(self) -> None:
        """A released job is recovered unchanged, because a release is not a crash."""
        with self._open() as (journal, _):
            journal.claim(JOB, SCOPE)
            journal.running(JOB.job_id)
            _check("recover() of a running job", _ids(journal.recover(SCOPE)), [])
            journal.release(JOB.job_id)
            _check("is_owner_alive after release()", [entry.is_owner_alive for entry in journal.jobs()], [None])
            recovered = journal.recover(SCOPE)
            _check("recover() after release()", _ids(recovered), [JOB.job_id])
            (entry,) = recovered.entries
            found = (entry.state, entry.crashes, entry.is_suspect, entry.is_owner_alive, entry.claimed_at)
            _check("the recovered job", found, (JournalState.RUNNING, 0, False, True, STARTED))
            _check("the second recover()", _ids(journal.recover(SCOPE)), [])
            _check("claim() of a recovered job", journal.claim(JOB, SCOPE), False)
            journal.finish(JOB.job_id, "reported")
            _check("jobs() after finish()", _states(journal.jobs()), {JOB.job_id: JournalState.DONE})

    def test_a_released_job_whose_handler_never_began_is_claimed(self) -> None:
        """`recover` returns the job with the state ``CLAIMED``, and a worker can run it."""
        with self._open() as (journal, _):
            journal.claim(JOB, SCOPE)
            journal.release(JOB.job_id, has_begun=False)
            _check("release() after claim()", _states(journal.jobs()), {JOB.job_id: JournalState.CLAIMING})
            journal.recover(SCOPE)
            journal.running(JOB.job_id)
            journal.release(JOB.job_id, has_begun=False)
            (entry,) = journal.recover(SCOPE).entries
            found = (entry.state, entry.crashes, entry.is_suspect, entry.claimed_at)
            _check("release() after running()", found, (JournalState.CLAIMED, 0, False, STARTED))
            journal.running(JOB.job_id)
            journal.release(JOB.job_id)
            _check("running() and release()", _states(journal.jobs()), {JOB.job_id: JournalState.RUNNING})

    def test_a_released_job_may_be_claimed(self) -> None:
        """After a new claim, no worker recovers the job."""
        with self._open() as (journal, _):
            journal.claim(JOB, SCOPE)
            journal.release(JOB.job_id)
            journal.finish(JOB.job_id, "reported")
            _check("finish() after release()", _states(journal.jobs()), {JOB.job_id: JournalState.CLAIMING})
            _check("claim() after release()", journal.claim(JOB, SCOPE), True)
            _check("recover() after claim()", _ids(journal.recover(SCOPE)), [])

    def test_a_worker_recovers_its_own_scope_only(self) -> None:
        """A job of another action type is left to the workers of that type."""
        with self._open() as (journal, _):
            journal.claim(JOB, SCOPE)
            journal.release(JOB.job_id)
            _check("recover() of another scope", _ids(journal.recover(OTHER_SCOPE)), [])
            _check("recover() of its scope", _ids(journal.recover(SCOPE)), [JOB.job_id])

    def test_a_journal_refuses_a_second_job_with_the_same_id(self) -> None:
        """A journal object finds its jobs by id, so it refuses a second job with the id of a job that it has."""
        with self._open() as (journal, _):
            journal.claim(JOB, SCOPE)
            _check("claim() in a second scope", journal.claim(JOB, OTHER_SCOPE), False)
            journal.uncertain(JOB.job_id)
            _check("claim() in a second scope", journal.claim(JOB, OTHER_SCOPE), False)
            journal.release(JOB.job_id)
            _check("claim() after release()", journal.claim(JOB, OTHER_SCOPE), True)
            _check("recover() of the first scope", _ids(journal.recover(SCOPE)), [])
            journal.finish(JOB.job_id, "reported")
            found = sorted((entry.scope == SCOPE, entry.state) for entry in journal.jobs())
            _check("jobs()", found, [(False, JournalState.DONE), (True, JournalState.UNCERTAIN)])
            _check("recover() of the first scope", _ids(journal.recover(SCOPE)), [JOB.job_id])

    def test_an_unknown_or_finished_job_does_not_change(self) -> None:
        """Methods have no effect on a job that this journal object does not have."""
        with self._open() as (journal, _):
            journal.claim(OTHER, SCOPE)
            journal.finish(OTHER.job_id, "reported")
            before = list(journal.jobs())
            for job_id in (JOB.job_id, OTHER.job_id):
                journal.running(job_id)
                journal.result(job_id, Succeeded())
                journal.uncertain(job_id)
                journal.finish(job_id, "gone")
                journal.release(job_id)
                journal.withdraw(job_id)
            _check("jobs()", list(journal.jobs()), before)
            _check("recover()", _ids(journal.recover(SCOPE)), [])

    def test_many_threads_claim_one_job(self) -> None:
        """Exactly one of several threads claims each job."""
        jobs = [ThirdPartyJob(client_id="c", job_id=f"job-{number}") for number in range(20)]
        with self._open() as (journal, _):

            def claim_all(_: int) -> int:
                return sum(journal.claim(job, SCOPE) for job in jobs)

            with ThreadPoolExecutor(_THREADS) as threads:
                _check("claims", sum(threads.map(claim_all, range(_THREADS))), len(jobs))
            _check("jobs", len(list(journal.jobs())), len(jobs))

    def test_old_finished_jobs_are_pruned(self) -> None:
        """Only jobs that finished before ``older_than`` are deleted, and at most ``limit`` in one call."""
        with self._open() as (journal, clock):
            journal.claim(JOB, SCOPE)
            for number in range(5):
                journal.claim(ThirdPartyJob(client_id="c", job_id=str(number)), SCOPE)
                journal.finish(str(number), "reported")
                clock.advance(1)
            _check("prune()", [journal.prune(older_than=STARTED + 3, limit=2) for _ in range(3)], [2, 1, 0])
            _check("jobs", sorted(_states(journal.jobs())), ["3", "4", JOB.job_id])

    def test_a_finished_job_is_found_by_its_id(self) -> None:
        """`IndexedJournal.is_finished` finds a finished job in its own scope, until the job is deleted."""
        with self._open() as (journal, _):
            if not isinstance(journal, IndexedJournal):
                return
            for job in (JOB, OTHER):
                journal.claim(job, SCOPE)
            _check("is_finished() after claim()", _call_is_finished(journal), [False] * 4)
            journal.finish(JOB.job_id, "gone")
            _check("is_finished() after finish()", _call_is_finished(journal), [True, False, False, False])
            journal.prune(older_than=STARTED + 1, limit=1)
            _check("is_finished() after prune()", _call_is_finished(journal), [False] * 4)

    # --- several workers

    def test_a_running_worker_keeps_its_jobs(self) -> None:
        """No other worker claims, recovers or changes the jobs of a running worker."""
        for journal, other in self._open_several(2):
            journal.claim(JOB, SCOPE)
            journal.running(JOB.job_id)
            before = list(journal.jobs())
            _check("claim() by another worker", other.claim(JOB, SCOPE), False)
            _check("recover() by another worker", _ids(other.recover(SCOPE)), [])
            other.result(JOB.job_id, Succeeded())
            other.release(JOB.job_id)
            other.finish(JOB.job_id, "gone")
            other.withdraw(JOB.job_id)
            _check("jobs()", list(other.jobs()), before)

    def test_closing_releases_the_jobs(self) -> None:
        """Another worker recovers the jobs of a closed journal unchanged, without a crash."""
        for journal, other in self._open_several(2):
            journal.claim(JOB, SCOPE)
            journal.running(JOB.job_id)
            journal.claim(OTHER, OTHER_SCOPE)
            journal.close()
            found = [(entry.job, entry.state, entry.crashes) for entry in other.recover(SCOPE).entries]
            _check("recover() after close()", found, [(JOB, JournalState.RUNNING, 0)])
            _check("jobs", sorted(_states(other.jobs())), [JOB.job_id, OTHER.job_id])

    def test_a_crash_is_counted_if_one_job_ran(self) -> None:
        """Only ``crashes`` of the running job increases; the other jobs of the crashed worker do not change."""
        for journal, other in self._open_several(2):
            for job_id, change in _CHANGES.items():
                journal.claim(ThirdPartyJob(client_id="c", job_id=job_id), SCOPE)
                change(journal)
            self.crash(journal)
            _check("is_owner_alive", {entry.is_owner_alive for entry in other.jobs()}, {False})
            job = ThirdPartyJob(client_id="c", job_id="running")
            _check("claim() of a crashed worker's job", other.claim(job, SCOPE), False)
            found = {entry.job.job_id: (entry.crashes, entry.is_suspect) for entry in other.recover(SCOPE).entries}
            _check("crashes and is_suspect", found, {job_id: (job_id == "running", False) for job_id in _CHANGES})
            _check("the second recover()", _ids(other.recover(SCOPE)), [])

    def test_several_running_jobs_become_suspects(self) -> None:
        """Each running job, in any scope, may be the cause, so all are suspects, and no ``crashes`` increases."""
        for journal, other in self._open_several(2):
            for job, scope in ((JOB, SCOPE), (OTHER, OTHER_SCOPE)):
                journal.claim(job, scope)
                journal.running(job.job_id, crashes=1)
            self.crash(journal)
            for scope in (SCOPE, OTHER_SCOPE):
                found = [(entry.crashes, entry.is_suspect) for entry in other.recover(scope).entries]
                _check("crashes and is_suspect", found, [(1, True)])
                stored = [(entry.crashes, entry.is_suspect) for entry in other.jobs()]
                _check("crashes and is_suspect of jobs()", stored, [(1, True), (1, True)])

    def test_a_crash_is_stored(self) -> None:
        """The crash is stored at once, because the worker that takes the job over may crash too."""
        for journal, other, third in self._open_several(3):
            journal.claim(JOB, SCOPE)
            journal.running(JOB.job_id)
            self.crash(journal)
            recovered = other.recover(SCOPE)
            _check("jobs() after recover()", tuple(other.jobs()), recovered.entries)
            self.crash(other)
            found = [(entry.crashes, entry.is_suspect) for entry in third.recover(SCOPE).entries]
            _check("crashes and is_suspect after two crashes", found, [(2, False)])

    def test_a_crash_is_counted_if_one_suspect_ran(self) -> None:
        """``crashes`` of a suspect that ran alone increases, and the job stays a suspect."""
        for journal, other in self._open_several(2):
            journal.claim(JOB, SCOPE)
            journal.running(JOB.job_id, is_suspect=True)
            self.crash(journal)
            (entry,) = other.recover(SCOPE).entries
            _check("crashes and is_suspect", (entry.crashes, entry.is_suspect), (1, True))
            other.running(JOB.job_id, crashes=1, is_suspect=True)
            other.release(JOB.job_id)
            (entry,) = other.recover(SCOPE).entries
            _check("crashes and is_suspect after release()", (entry.crashes, entry.is_suspect), (1, True))

    def test_a_crash_is_counted_only_for_the_job_that_ran_alone(self) -> None:
        """If one job ran alone, other running jobs, which waited for its end, do not change."""
        for journal, other in self._open_several(2):
            for job in (JOB, OTHER):
                journal.claim(job, SCOPE)
                journal.running(job.job_id)
            journal.running(JOB.job_id, crashes=1, is_suspect=True, is_alone=True)
            self.crash(journal)
            found = {entry.job.job_id: (entry.crashes, entry.is_suspect) for entry in other.recover(SCOPE).entries}
            _check("crashes and is_suspect", found, {JOB.job_id: (2, True), OTHER.job_id: (0, False)})

    def test_two_scopes_may_have_one_job_id(self) -> None:
        """Jobs with the same id in two scopes do not affect each other."""
        for journal, other in self._open_several(2):
            _check("claim() in the first scope", journal.claim(JOB, SCOPE), True)
            _check("claim() in the second scope", other.claim(JOB, OTHER_SCOPE), True)
            journal.finish(JOB.job_id, "reported")
            found = sorted((entry.scope == SCOPE, entry.state) for entry in other.jobs())
            _check("jobs()", found, [(False, JournalState.CLAIMING), (True, JournalState.DONE)])

    def test_each_job_is_recovered_by_one_worker(self) -> None:
        """If several workers recover at once, exactly one of them gets each job."""
        job_ids = [f"job-{number}" for number in range(20)]
        for journal, *others in self._open_several(4):
            for job_id in job_ids:
                journal.claim(ThirdPartyJob(client_id="c", job_id=job_id), SCOPE)
            self.crash(journal)
            with ThreadPoolExecutor(len(others)) as threads:
                found = list(threads.map(lambda other: _ids(other.recover(SCOPE)), others))
            _check("recovered jobs", sorted(job_id for each in found for job_id in each), sorted(job_ids))

    def _open_several(self, number: int) -> Iterator[list[Journal]]:
        """Yield the journals of several workers once; yield nothing if workers cannot share the journal."""
        with self._open() as (journal, clock), ExitStack() as stack:
            if journal.is_durable and journal.is_shared:
                yield [journal, *(stack.enter_context(closing(self.open_journal(clock))) for _ in range(number - 1))]

    @contextmanager
    def _open(self) -> Generator[tuple[Journal, ManualClock]]:
        clock = ManualClock(STARTED)
        with closing(self.open_journal(clock)) as journal:
            yield journal, clock
