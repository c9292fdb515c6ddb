"""Waiting for an action of the local CodePipeline, and the clock that a test moves."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import pytest

from cp_thirdparty import ActionTypeId, FailureDetails, FailureType, JobData, SecretStr
from cp_thirdparty.testing import Action, ManualClock, Success
from cp_thirdparty.testing._assumptions import Assumptions
from cp_thirdparty.testing._states import States

_ACTION_TYPE = ActionTypeId(category="Test", owner="ThirdParty", provider="ExampleScan", version="1")
_TOKEN = SecretStr("xMARKERx-token")
_LONG = 60.0  # seconds that nobody waits when all is well


@pytest.fixture
def clock() -> ManualClock:
    """Give a clock that stands still until it is moved."""
    return ManualClock(1000.0)


@pytest.fixture
def states(clock: ManualClock) -> States:
    """Give states with one client."""
    return _states(clock)


@pytest.fixture
def action(states: States) -> Action:
    """Give an action whose job waits."""
    return _start(states)


def _states(clock: Callable[[], float], **settings: float) -> States:
    arguments: dict[str, Any] = {"redelivery_delay": 5, "continuation_delay": 7, "job_timeout": 100, **settings}
    made = States(clock=clock, assumptions=Assumptions(**arguments))
    made.register_client("client-1", _TOKEN)
    return made


def _start(states: States) -> Action:
    return states.start_action(JobData(action_type_id=_ACTION_TYPE), client_id="client-1")


def _claim(states: States) -> str:
    (job,) = states.poll(_ACTION_TYPE, 1)
    states.acknowledge(job.job_id, states.details(job.job_id, _TOKEN).nonce, _TOKEN)
    return job.job_id


def _succeed(states: States, job_id: str, token: str | None = None) -> None:
    success = Success(continuation_token=token, current_revision=None, execution_details=None)
    states.put_success(job_id, _TOKEN, success)


@contextmanager
def _meanwhile(states: States, act: Callable[[], object]) -> Generator[None]:
    """Act in another thread as soon as somebody waits."""

    def run() -> None:
        waiters = states._changed._waiters  # type: ignore[attr-defined]
        give_up = time.monotonic() + _LONG
        while not waiters and time.monotonic() < give_up:
            time.sleep(0.001)
        act()

    thread = threading.Thread(target=run)
    thread.start()
    yield
    thread.join()


def test_a_wait_for_a_status_that_is_reached_ends_at_once(states: States, action: Action) -> None:
    """A status that is there is returned at once, even without time."""
    assert action.wait("Queued", timeout=0) == "Queued"
    _succeed(states, _claim(states))
    assert action.wait(timeout=0) == "Succeeded"


def test_a_change_ends_a_wait(states: States, action: Action) -> None:
    """Polling, claiming and reporting in another thread each wake who waits for them."""
    with _meanwhile(states, lambda: states.poll(_ACTION_TYPE, 1)):
        assert action.wait("Dispatched", timeout=_LONG) == "Dispatched"
    job = action.jobs[0]
    with _meanwhile(states, lambda: states.acknowledge(job.id, job.nonce, _TOKEN)):
        assert action.wait("InProgress", timeout=_LONG) == "InProgress"
    with _meanwhile(states, lambda: _succeed(states, job.id)):
        assert action.wait(timeout=_LONG) == "Succeeded"


def test_a_condition_is_waited_for(states: States, action: Action, clock: ManualClock) -> None:
    """Any condition on the action can be waited for, such as its second job."""
    job_id = _claim(states)
    with _meanwhile(states, lambda: _succeed(states, job_id, "run-1")):
        assert action.wait(until=lambda it: len(it.jobs) == 2, timeout=_LONG) == "InProgress"
    clock.advance(7)
    assert states.poll(_ACTION_TYPE, 1)[0].job_id == action.jobs[1].id


def test_a_condition_may_ask_the_service_from_another_thread(states: States, action: Action) -> None:
    """A condition is looked at outside of the service's lock."""

    def is_offered(_: Action) -> bool:
        offered: list[object] = []
        thread = threading.Thread(target=lambda: offered.extend(states.poll(_ACTION_TYPE, 1)))
        thread.start()
        thread.join(_LONG)
        return bool(offered)

    assert action.wait(until=is_offered, timeout=_LONG) == "Dispatched"


def test_a_moved_clock_ends_a_wait(states: States, action: Action, clock: ManualClock) -> None:
    """A job that times out because the clock was moved ends the wait."""
    begin = time.monotonic()
    with _meanwhile(states, lambda: clock.advance(100)):
        assert action.wait(timeout=_LONG) == "TimedOut"
    assert time.monotonic() - begin < _LONG


def test_the_timeout_of_a_job_ends_a_wait_with_a_real_clock() -> None:
    """A job that times out by the real clock ends the wait, though nothing else happens."""
    action = _start(_states(time.monotonic, job_timeout=0.1))
    begin = time.monotonic()
    assert action.wait(timeout=_LONG) == "TimedOut"
    assert time.monotonic() - begin < _LONG


def test_a_wait_on_a_clock_that_stands_still_uses_no_processor() -> None:
    """Just before a timeout that never comes, a wait looks at the clock a few times and gives up in time."""
    looked: list[float] = []

    def clock() -> float:
        looked.append(0.0)
        return 0.0

    action = _start(_states(clock, job_timeout=1e-9))
    with pytest.raises(TimeoutError):
        action.wait(timeout=0.2)
    assert len(looked) < 50


def test_another_end_than_the_expected_one_is_an_error(states: States, action: Action) -> None:
    """Who waits for a success of an action that has failed hears of it, and does not wait on."""
    states.put_failure(_claim(states), _TOKEN, FailureDetails(type=FailureType.JOB_FAILED, message="no"))
    with pytest.raises(RuntimeError, match="has ended as Failed and will not be Succeeded"):
        action.wait("Succeeded", timeout=_LONG)


def test_a_wait_ends_at_its_timeout(action: Action) -> None:
    """When nothing happens the wait ends with an error that names the status."""
    with pytest.raises(TimeoutError, match=r"after 0\.01 seconds the action is Queued"):
        action.wait(timeout=0.01)
    with pytest.raises(TimeoutError):
        action.wait(until=lambda _: False, timeout=0.01)


def test_an_action_that_has_ended_is_not_watched_for_its_time() -> None:
    """A condition that never comes true ends in a TimeoutError after the action's end, too."""
    states = _states(time.monotonic)
    action = _start(states)
    _succeed(states, _claim(states))
    with pytest.raises(TimeoutError):
        action.wait(until=lambda _: False, timeout=0.01)


def test_what_cannot_be_waited_for_is_refused(action: Action) -> None:
    """A status that the service does not have, and a status beside a condition, are ValueErrors."""
    with pytest.raises(ValueError, match="must be a status of the service"):
        action.wait("Done")
    with pytest.raises(ValueError, match="not together with until"):
        action.wait("Succeeded", until=lambda _: True)


def test_a_clock_moves_forward_only() -> None:
    """A manual clock returns what it was moved to, and does not go back."""
    clock = ManualClock(5.0)
    clock.advance(0)
    clock.advance(2.5)
    assert (clock(), repr(clock)) == (7.5, "<ManualClock at 7.5 s>")
    with pytest.raises(ValueError, match="must be at least 0 seconds"):
        clock.advance(-0.1)
    assert clock() == 7.5


def test_a_moved_clock_calls_its_listeners() -> None:
    """Each move is notified after it has happened."""
    clock = ManualClock()
    heard: list[float] = []
    clock.listen(lambda: heard.append(clock()))
    clock.advance(1)
    clock.advance(2)
    assert heard == [1, 3]


def test_a_change_that_came_before_the_wait_is_not_missed(states: States, action: Action) -> None:
    """When something has changed since it was looked at, there is no wait."""
    seen = states.version
    states.poll(_ACTION_TYPE, 1)
    begin = time.monotonic()
    states.wait_for_change(action, seen, _LONG)
    assert time.monotonic() - begin < _LONG
