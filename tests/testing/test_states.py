"""The states of the local CodePipeline without HTTP: what time, tokens and other workers do to a job."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from cp_thirdparty import (
    ActionContext,
    ActionTypeId,
    FailureDetails,
    FailureType,
    JobData,
    JobStatus,
    PipelineContext,
    SecretStr,
    StageContext,
)
from cp_thirdparty.testing import Action, ManualClock, Success
from cp_thirdparty.testing._assumptions import Assumptions
from cp_thirdparty.testing._states import States
from cp_thirdparty.testing._wire import RefusedError

_ACTION_TYPE = ActionTypeId(category="Test", owner="ThirdParty", provider="ExampleScan", version="1")
_TOKEN = SecretStr("xMARKERx-token")
_WRONG = SecretStr("xMARKERx-wrong")
_DONE = Success(continuation_token=None, current_revision=None, execution_details=None)
_CONTINUED = Success(continuation_token="run-1", current_revision=None, execution_details=None)
_FAILURE = FailureDetails(type=FailureType.JOB_FAILED, message="no")


@pytest.fixture
def clock() -> ManualClock:
    """Give a clock that stands still until it is moved."""
    return ManualClock(1000.0)


@pytest.fixture
def states(clock: ManualClock) -> States:
    """Give states with one client, and delays that differ from each other."""
    made = States(clock=clock, assumptions=Assumptions(redelivery_delay=5, continuation_delay=7, job_timeout=100))
    made.register_client("client-1", _TOKEN)
    return made


def _start(states: States, pipeline_context: PipelineContext | None = None) -> Action:
    data = JobData(action_type_id=_ACTION_TYPE, pipeline_context=pipeline_context)
    return states.start_action(data, client_id="client-1")


def _claim(states: States) -> str:
    (job,) = states.poll(_ACTION_TYPE, 1)
    states.acknowledge(job.job_id, states.details(job.job_id, _TOKEN).nonce, _TOKEN)
    return job.job_id


def _code(call: Callable[..., object], *arguments: object) -> str:
    with pytest.raises(RefusedError) as caught:
        call(*arguments)
    assert "xMARKERx" not in str(caught.value) + repr(caught.value)
    return caught.value.code


def test_the_delays_are_settable(states: States, clock: ManualClock) -> None:
    """A job is offered again, continued and timed out after the delay that is set."""
    action = _start(states)
    states.poll(_ACTION_TYPE, 1)
    clock.advance(4.9)
    assert states.poll(_ACTION_TYPE, 1) == ()
    clock.advance(0.1)
    states.put_success(_claim(states), _TOKEN, _CONTINUED)
    clock.advance(6.9)
    assert states.poll(_ACTION_TYPE, 1) == ()
    clock.advance(0.1)
    second = _claim(states)
    clock.advance(99.9)
    assert action.status == "InProgress"
    clock.advance(0.1)
    assert [(job.id, job.status) for job in action.jobs][1:] == [(second, JobStatus.TIMED_OUT)]


def test_a_job_that_is_claimed_or_done_is_not_offered_again(states: States, clock: ManualClock) -> None:
    """Only jobs that wait are offered, however much time goes by."""
    _start(states)
    job_id = _claim(states)
    clock.advance(50)
    assert states.poll(_ACTION_TYPE, 1) == ()
    states.put_success(job_id, _TOKEN, _DONE)
    clock.advance(50)
    assert states.poll(_ACTION_TYPE, 1) == ()


def test_polls_do_not_read_claimed_jobs(states: States, clock: ManualClock) -> None:
    """The time of a poll does not depend on the number of jobs that were claimed or timed out."""
    _start(states)
    _claim(states)
    _start(states)
    clock.advance(100)
    states.poll(_ACTION_TYPE, 1)
    assert (len(states._entries), states._unclaimed) == (2, {})


def test_a_job_that_nobody_claimed_times_out(states: States, clock: ManualClock) -> None:
    """A job that waited too long is offered no more, cannot be claimed, and can still be read."""
    action = _start(states)
    (job,) = action.jobs
    clock.advance(100)
    assert states.poll(_ACTION_TYPE, 1) == ()
    assert _code(states.acknowledge, job.id, job.nonce, _TOKEN) == "InvalidNonceException"
    assert states.details(job.id, _TOKEN).id == job.id
    assert action.status == "TimedOut"


def test_a_late_result_is_refused(states: States, clock: ManualClock) -> None:
    """A result that comes when the time is over is refused, even when nobody has looked at the job since."""
    _start(states)
    job_id = _claim(states)
    clock.advance(100)
    assert _code(states.put_success, job_id, _TOKEN, _DONE) == "InvalidJobStateException"


def test_time_does_not_change_a_result(states: States, clock: ManualClock) -> None:
    """A job that has a result never times out."""
    action = _start(states)
    states.put_failure(_claim(states), _TOKEN, _FAILURE)
    clock.advance(1000)
    assert (action.status, action.result) == ("Failed", _FAILURE)


def test_each_job_of_a_continued_action_has_its_own_time(states: States, clock: ManualClock) -> None:
    """The time of a continued job begins when polls offer it, not with the action."""
    action = _start(states)
    job_id = _claim(states)
    clock.advance(99)
    states.put_success(job_id, _TOKEN, _CONTINUED)
    clock.advance(7 + 99)
    assert action.status == "InProgress"
    clock.advance(1)
    assert action.status == "TimedOut"


def test_a_continued_job_has_the_new_token_only(states: States, clock: ManualClock) -> None:
    """Each continuation replaces the token of the one before it, and the last success ends the action."""
    action = _start(states)
    for token in ("run-1", "run-2"):
        success = Success(continuation_token=token, current_revision=None, execution_details=None)
        states.put_success(_claim(states), _TOKEN, success)
        clock.advance(7)
    states.put_success(_claim(states), _TOKEN, _DONE)
    assert [job.continuation_token for job in action.jobs] == [None, "run-1", "run-2"]
    assert (action.status, action.result) == ("Succeeded", _DONE)
    assert len({job.id for job in action.jobs}) == len({job.nonce for job in action.jobs}) == 3


def test_only_one_acknowledgement_counts(states: States) -> None:
    """Once a job is claimed its nonce is of no use, neither to others nor to the winner, nor when the job is done."""
    (job,) = _start(states).jobs
    job_id = _claim(states)
    assert _code(states.acknowledge, job_id, job.nonce, _TOKEN) == "InvalidNonceException"
    states.put_success(job_id, _TOKEN, _DONE)
    assert _code(states.acknowledge, job_id, job.nonce, _TOKEN) == "InvalidNonceException"


def test_a_wrong_nonce_leaves_the_job_to_others(states: States) -> None:
    """The nonce of another job claims nothing, and the right one still does."""
    first, second = _start(states), _start(states)
    job, other = first.jobs[0], second.jobs[0]
    assert _code(states.acknowledge, job.id, other.nonce, _TOKEN) == "InvalidNonceException"
    assert states.acknowledge(job.id, job.nonce, _TOKEN) == "InProgress"
    assert second.status == "Queued"


def test_a_result_of_a_job_that_was_only_offered_is_refused(states: States) -> None:
    """A worker that did not acknowledge cannot report."""
    action = _start(states)
    (job,) = states.poll(_ACTION_TYPE, 1)
    assert _code(states.put_success, job.job_id, _TOKEN, _DONE) == "InvalidJobStateException"
    assert _code(states.put_failure, job.job_id, _TOKEN, _FAILURE) == "InvalidJobStateException"
    assert (action.status, action.result) == ("Dispatched", None)


@pytest.mark.parametrize(("job", "code"), [("known", "InvalidClientTokenException"), ("none", "JobNotFoundException")])
def test_each_operation_asks_for_job_and_token(states: States, job: str, code: str) -> None:
    """Each operation on a job refuses an unknown id and a wrong token, and changes nothing."""
    action = _start(states)
    job_id = {"known": _claim(states)}.get(job, "unknown")
    before = action.jobs
    assert _code(states.details, job_id, _WRONG) == code
    assert _code(states.acknowledge, job_id, before[0].nonce, _WRONG) == code
    assert _code(states.put_success, job_id, _WRONG, _DONE) == code
    assert _code(states.put_failure, job_id, _WRONG, _FAILURE) == code
    assert action.jobs == before


def test_a_client_can_get_a_new_token(states: States) -> None:
    """Registering a client again replaces its token, for jobs that are under way too."""
    (job,) = _start(states).jobs
    states.register_client("client-1", "another")
    assert _code(states.details, job.id, _TOKEN) == "InvalidClientTokenException"
    assert states.details(job.id, SecretStr("another")).id == job.id


def test_a_token_of_another_type_is_refused_unseen(states: States) -> None:
    """A token that is not a string is a TypeError that names its type only."""
    wrong: Any = b"xMARKERx"
    with pytest.raises(TypeError, match="not bytes") as caught:
        states.register_client("client-2", wrong)
    assert "xMARKERx" not in str(caught.value)


def test_a_pipeline_context_is_kept(states: States) -> None:
    """A context that a test gives comes out of the details, in place of the made-up one."""
    context = PipelineContext(pipeline_name="p", stage=StageContext(name="s"), action=ActionContext(name="a"))
    (job,) = _start(states, pipeline_context=context).jobs
    assert states.details(job.id, _TOKEN).data.pipeline_context == context


def test_polls_at_once_share_the_jobs(states: States) -> None:
    """Of many polls at the same time, each job goes to one."""
    expected = {_start(states).jobs[0].id for _ in range(40)}
    start = threading.Barrier(8)

    def poll(_: int) -> list[str]:
        start.wait()
        return [job.job_id for job in states.poll(_ACTION_TYPE, 5)]

    with ThreadPoolExecutor(8) as pool:
        offered = [job_id for batch in pool.map(poll, range(8)) for job_id in batch]
    assert (len(offered), set(offered)) == (40, expected)


def test_a_poll_without_a_size_returns_ten_jobs(states: States) -> None:
    """Without a batch size a poll brings ten jobs at most."""
    for _ in range(11):
        _start(states)
    assert [len(states.poll(_ACTION_TYPE, None)) for _ in range(2)] == [10, 1]
