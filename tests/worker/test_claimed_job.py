"""One job's state: its stages, the transitions between them, and what of them the journal gets."""

from __future__ import annotations

import re
import threading
from pathlib import Path
from typing import Any

import attrs
import pytest

from cp_thirdparty import FailureDetails, FailureType, Succeeded, ThirdPartyJob
from cp_thirdparty.exceptions import JournalError
from cp_thirdparty.testing.samples import job_details
from cp_thirdparty.worker import Gone, JournalEntry, JournalState, Released, Reported
from cp_thirdparty.worker._claimed_job import TRANSITIONS, ClaimedJob, Stage

_OFFER = ThirdPartyJob(client_id="client-1", job_id="job-1")
_FAILURE = FailureDetails(type=FailureType.JOB_FAILED, message="no")
_PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "life-of-a-job.md"


@attrs.define
class _Recorder:
    is_free: bool = True
    is_written: bool = True
    stages: list[Stage] = attrs.field(factory=list)

    def claim(self, job: ClaimedJob) -> bool:
        self.stages.append(job.stage)
        return self.is_free

    def record(self, job: ClaimedJob) -> bool:
        self.stages.append(job.stage)
        return self.is_written


def _job(recorder: _Recorder | None = None, state: JournalState | None = None, **more: Any) -> ClaimedJob:
    entry = None if state is None else JournalEntry(job=_OFFER, scope=None, state=state, changed_at=0.0, **more)
    return ClaimedJob(_OFFER, recorder=recorder or _Recorder(), began_at=0.0, entry=entry)


def _claimed(recorder: _Recorder | None = None) -> ClaimedJob:
    job = _job(recorder)
    job.accept_details(job_details())
    assert job.start_claim()
    job.claim(1.0)
    return job


def test_the_documentation_has_each_transition() -> None:
    """The table of the page has exactly the transitions that the code allows."""
    rows = re.findall(r"^\| (\w+) \| (\w+) \|", _PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    documented = {(Stage(start), Stage(end)) for start, end in rows if start in {stage.value for stage in Stage}}
    assert documented == {(start, end) for start, ends in TRANSITIONS.items() for end in ends}


@pytest.mark.parametrize(("may_be_accepted", "failing_since"), [(True, None), (False, 0.0)])
def test_a_result_that_was_refused_has_failed_before(*, may_be_accepted: bool, failing_since: float | None) -> None:
    """If CodePipeline has ended the job meanwhile, the result is lost, and the run reports that."""
    job = _job(state=JournalState.RESULT, result=Succeeded(), may_be_accepted=may_be_accepted)
    assert (job.may_be_reported, job.failing_since) == (may_be_accepted, failing_since)


def test_a_job_goes_from_its_offer_to_its_end() -> None:
    """The journal gets the stages that must survive a crash, in their order."""
    recorder = _Recorder()
    job = _claimed(recorder)
    assert job.start(may_run_twice=True)
    assert job.decide(Succeeded(), 2.0)
    job.end(Reported(job=_OFFER, result=Succeeded()))
    assert recorder.stages == [Stage.READ, Stage.CLAIMED, Stage.DECIDED, Stage.ENDED]
    assert (job.claimed_at, job.decided_at, job.result) == (1.0, 2.0, Succeeded())


def test_a_job_that_another_worker_of_the_journal_has_is_not_claimed() -> None:
    """It stays where it is, and the journal's row is not touched any more."""
    job = _job(_Recorder(is_free=False))
    job.accept_details(job_details())
    assert not job.start_claim()
    assert (job.stage, job.is_recorded) == (Stage.READ, False)


@pytest.mark.parametrize(
    ("state", "stage", "is_claimed"),
    [
        (JournalState.CLAIMING, Stage.OFFERED, False),
        (JournalState.UNCERTAIN, Stage.OFFERED, False),
        (JournalState.RUNNING, Stage.CLAIMED, True),
        (JournalState.RESULT, Stage.DECIDED, True),
    ],
)
def test_a_job_of_the_journal_goes_on_where_it_was(state: JournalState, stage: Stage, is_claimed: bool) -> None:  # noqa: FBT001 - a parameter of the table
    """A claim that was not finished begins again, because only CodePipeline knows its outcome."""
    job = _job(state=state, result=Succeeded() if state is JournalState.RESULT else None)
    assert (job.stage, job.is_claimed, job.is_inherited) == (stage, is_claimed, True)
    assert job.may_be_reported is (state is JournalState.RESULT)


def test_the_first_decision_wins() -> None:
    """Many threads decide at once; one of them succeeds, and its result stays."""
    job = _claimed()
    assert job.start(may_run_twice=True)
    barrier = threading.Barrier(8)
    winners: list[FailureDetails] = []

    def decide(number: int) -> None:
        result = FailureDetails(type=FailureType.JOB_FAILED, message=str(number))
        barrier.wait()
        if job.decide(result, float(number)):
            winners.append(result)

    threads = [threading.Thread(target=decide, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [job.result] == winners


@pytest.mark.parametrize("is_ended", [False, True])
def test_nothing_starts_after_a_decision(is_ended: bool) -> None:  # noqa: FBT001 - a parameter of the table
    """A job that was decided or left meanwhile does not run, counts no crash and keeps its result."""
    job = _claimed()
    if is_ended:
        assert job.give_up(Released(job=_OFFER, error="the worker was stopped"), may_have_begun=True)
    else:
        assert job.decide(_FAILURE, 2.0, is_given_up=True)
    assert job.cancelled.is_set()
    assert not job.start(may_run_twice=True)
    assert not job.count_crash(is_alone=True)
    assert not job.decide(Succeeded(), 3.0)
    assert not job.give_up(Gone(job=_OFFER, error="no"), may_have_begun=True)
    assert (job.crashes, job.result) == (0, None if is_ended else _FAILURE)


def test_a_death_alone_is_a_crash_and_one_among_others_is_a_suspicion() -> None:
    """Both are written to the journal, and after both the job runs alone."""
    recorder = _Recorder()
    job = _claimed(recorder)
    assert (job.start(may_run_twice=True), job.must_run_alone, job.was_running) == (True, False, False)
    assert job.count_crash(is_alone=False)
    assert job.was_running
    assert (job.crashes, job.is_suspect, job.must_run_alone) == (0, True, True)
    assert job.start(may_run_twice=True)
    assert job.count_crash(is_alone=True)
    assert (job.crashes, job.is_suspect, job.must_run_alone) == (1, True, True)
    assert job.start(may_run_twice=True)
    assert job.stop()
    assert job.stop()  # the thread that watches has taken it back before
    # The journal has the one that runs alone, in case that it ends the process.
    assert recorder.stages[2:] == [Stage.CLAIMED, Stage.RUNNING, Stage.CLAIMED, Stage.RUNNING, Stage.CLAIMED]


def test_a_job_ends_once() -> None:
    """A second outcome, of another thread, does not take the place of the first."""
    job = _claimed()
    first = Gone(job=_OFFER, error="no")
    assert job.end(first)
    assert job.end(first)
    assert not job.end(Gone(job=_OFFER, error="another"))
    assert job.outcome == first


def test_a_report_that_ends_late_changes_nothing() -> None:
    """Another thread has ended the job, and its result is in the journal."""
    recorder = _Recorder()
    job = _claimed(recorder)
    job.decide(Succeeded(), 2.0)
    assert job.note_report(may_be_accepted=False)
    job.end(Gone(job=_OFFER, error="x"))
    before = list(recorder.stages)
    assert not job.note_report(may_be_accepted=True)
    job.replace_result(FailureDetails(type=FailureType.JOB_FAILED, message="m"))
    assert (job.result, job.may_be_accepted, recorder.stages) == (Succeeded(), False, before)


def test_a_stage_that_cannot_follow_is_a_mistake_of_the_library() -> None:
    """A job that was not read cannot be claimed."""
    with pytest.raises(AssertionError, match=r"invalid transition from Stage\.OFFERED to Stage\.CLAIMED"):
        _job().claim(1.0)


def test_a_handler_that_ran_counts_as_begun() -> None:
    """A job may be given up only before its handler begins; one that could not start has not begun."""
    job = _claimed()
    assert job.start(may_run_twice=True)
    assert job.begin()
    assert job.stop()
    assert not job.has_begun
    assert job.start(may_run_twice=True)
    assert job.begin()
    job.withdraw()  # too late
    assert job.stage is Stage.RUNNING
    assert not job.give_up(Released(job=_OFFER, error="stop"), may_have_begun=False)
    assert job.count_crash(is_alone=True)
    assert job.start(may_run_twice=True)
    assert job.stop()
    assert job.has_begun
    other = _claimed()
    assert other.start(may_run_twice=True)
    assert other.give_up(Released(job=_OFFER, error="stop"), may_have_begun=False)
    assert not other.begin()


def test_a_handler_begins_once() -> None:
    """A second begin of the same start is refused, and the next start may begin."""
    job = _claimed()
    assert not job.begin()
    assert job.start(may_run_twice=True)
    assert job.begin()
    assert not job.begin()
    assert job.stop()
    assert job.start(may_run_twice=True)
    assert job.begin()


@pytest.mark.parametrize("is_started", [False, True])
def test_a_handler_that_was_withdrawn_never_begins(*, is_started: bool) -> None:
    """The thread of the job may be just about to start it: then the start does not lead to a begin either."""
    job = _claimed()
    assert not is_started or job.start(may_run_twice=True)
    job.withdraw()
    assert job.stage is Stage.CLAIMED
    assert job.start(may_run_twice=True)
    assert not job.begin()
    assert job.give_up(Released(job=_OFFER, error="stop"), may_have_begun=False)


def test_a_job_that_was_left_unbegun_is_not_started_without_the_journal() -> None:
    """A later process would see that its handler never began, and would run it a second time."""
    recorder = _Recorder(is_written=False)
    job = _job(recorder, JournalState.CLAIMED)
    with pytest.raises(JournalError, match="the start of the handler could not be written to the journal"):
        job.start(may_run_twice=False)
    assert (job.stage, job.begin(), job.has_begun) == (Stage.CLAIMED, False, False)
    assert job.start(may_run_twice=True)
    assert job.begin()


@pytest.mark.parametrize("state", [None, JournalState.RUNNING])
def test_another_job_is_started_without_the_journal(state: JournalState | None) -> None:
    """Its state in the journal is not that of a job whose handler never began."""
    job = _claimed(_Recorder(is_written=False)) if state is None else _job(_Recorder(is_written=False), state)
    assert job.start(may_run_twice=False)
