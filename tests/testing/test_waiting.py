"""`Action.wait`, which waits until an action of the local CodePipeline has a status, and `ManualClock`."""

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
_LONG = 60.0  # a timeout in seconds that is never reached while the tests pass


@pytest.fixture
def clock() -> ManualClock:
    """Return a clock whose time changes only when a test advances it."""
    return ManualClock(1000.0)


@pytest.fixture
def states(clock: ManualClock) -> States:
    """Return the states of a local CodePipeline that has one client."""
    return _states(clock)


@pytest.fixture
def action(states: States) -> Action:
    """Return an action with a job that was not polled."""
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
    """Call ``act`` in another thread as soon as the current thread waits for a change of the states."""

    def run() -> None:
        waiters = states._changed._waiters  # type: ignore[attr-defined]
        ends_at = time.monotonic() + _LONG
        while not waiters and time.monotonic() < ends_at:
            time.sleep(0.001)
        act()

    thread = threading.Thread(target=run)
    thread.start()
    yield
    thread.join()


def test_a_wait_for_a_status_that_is_reached_ends_at_once(states: States, action: Action) -> None:
    """If the action has the status already, `wait` returns at once, even with a timeout of 0."""
    assert action.wait("Queued", timeout=0) == "Queued"
    _succeed(states, _claim(states))
    assert action.wait(timeout=0) == "Succeeded"


def test_a_change_ends_a_wait(states: States, action: Action) -> None:
    """A poll, a claim and a reported result in another thread each end a `wait` for the new status."""
    with _meanwhile(states, lambda: states.poll(_ACTION_TYPE, 1)):
        assert action.wait("Dispatched", timeout=_LONG) == "Dispatched"
    job = action.jobs[0]
    with _meanwhile(states, lambda: states.acknowledge(job.id, job.nonce, _TOKEN)):
        assert action.wait("InProgress", timeout=_LONG) == "InProgress"
    with _meanwhile(states, lambda: _succeed(states, job.id)):
        assert action.wait(timeout=_LONG) == "Succeeded"


def test_a_condition_is_waited_for(states: States, action: Action, clock: ManualClock) -> None:
    """`wait` can wait for any condition on the action, for example that it has a second job."""
    job_id = _claim(states)
    with _meanwhile(states, lambda: _succeed(states, job_id, "run-1")):
        assert action.wait(until=lambda it: len(it.jobs) == 2, timeout=_LONG) == "InProgress"
    clock.advance(7)
    assert states.poll(_ACTION_TYPE, 1)[0].job_id == action.jobs[1].id


def test_a_condition_may_call_the_service_in_another_thread(states: States, action: Action) -> None:
    """The service does not hold its lock while it evaluates a condition."""

    def is_offered(_: Action) -> bool:
        offered: list[object] = []
        thread = threading.Thread(target=lambda: offered.extend(states.poll(_ACTION_TYPE, 1)))
        thread.start()
        thread.join(_LONG)
        return bool(offered)

    assert action.wait(until=is_offered, timeout=_LONG) == "Dispatched"


def test_an_advanced_clock_ends_a_wait(states: States, action: Action, clock: ManualClock) -> None:
    """If the job times out because a test advances the clock, the wait ends."""
    begin = time.monotonic()
    with _meanwhile(states, lambda: clock.advance(100)):
        assert action.wait(timeout=_LONG) == "TimedOut"
    assert time.monotonic() - begin < _LONG


def test_the_timeout_of_a_job_ends_a_wait_with_a_real_clock() -> None:
    """If the job times out by the real clock, the wait ends, although no request changes the action."""
    action = _start(_states(time.monotonic, job_timeout=0.1))
    begin = time.monotonic()
    assert action.wait(timeout=_LONG) == "TimedOut"
    assert time.monotonic() - begin < _LONG


def test_a_wait_with_a_stopped_clock_is_not_a_busy_loop() -> None:
    """If the clock stops just before the job's timeout, `wait` reads it only a few times until its own timeout."""
    readings: list[float] = []

    def clock() -> float:
        readings.append(0.0)
        return 0.0

    action = _start(_states(clock, job_timeout=1e-9))
    with pytest.raises(TimeoutError):
        action.wait(timeout=0.2)
    assert len(readings) < 50


def test_an_end_with_another_status_is_an_error(states: States, action: Action) -> None:
    """If the action has ended with another status than the expected one, `wait` raises an error at once."""
    states.put_failure(_claim(states), _TOKEN, FailureDetails(type=FailureType.JOB_FAILED, message="no"))
    with pytest.raises(RuntimeError, match="has ended as Failed and will not be Succeeded"):
        action.wait("Succeeded", timeout=_LONG)


def test_a_wait_ends_at_its_timeout(action: Action) -> None:
    """If nothing changes until the timeout, `wait` raises an error that names the action's current status."""
    with pytest.raises(TimeoutError, match=r"after 0\.01 seconds the action is Queued"):
        action.wait(timeout=0.01)
    with pytest.raises(TimeoutError):
        action.wait(until=lambda _: False, timeout=0.01)


def test_a_wait_for_an_ended_action_ends_at_its_timeout() -> None:
    """If a condition is never true, `wait` raises TimeoutError, also for an action that has ended."""
    states = _states(time.monotonic)
    action = _start(states)
    _succeed(states, _claim(states))
    with pytest.raises(TimeoutError):
        action.wait(until=lambda _: False, timeout=0.01)


def test_invalid_arguments_of_a_wait_are_refused(action: Action) -> None:
    """A status that does not exist, and a status together with a condition, raise ValueError."""
    with pytest.raises(ValueError, match="must be a status of the service"):
        action.wait("Done")
    with pytest.raises(ValueError, match="not together with until"):
        action.wait("Succeeded", until=lambda _: True)


def test_a_manual_clock_advances_by_the_added_seconds() -> None:
    """A manual clock returns the initial time plus all added seconds, and refuses negative ones."""
    clock = ManualClock(5.0)
    clock.advance(0)
    clock.advance(2.5)
    assert (clock(), repr(clock)) == (7.5, "<ManualClock at 7.5 s>")
    with pytest.raises(ValueError, match="must be at least 0 seconds"):
        clock.advance(-0.1)
    assert clock() == 7.5


def test_an_advanced_clock_calls_its_listeners() -> None:
    """Each listener is called after each change of the time, and reads the new time."""
    clock = ManualClock()
    times: list[float] = []
    clock.listen(lambda: times.append(clock()))
    clock.advance(1)
    clock.advance(2)
    assert times == [1, 3]


def test_a_change_before_the_wait_is_not_missed(states: States, action: Action) -> None:
    """`wait_for_change` returns at once if the states have changed since the given version."""
    version = states.version
    states.poll(_ACTION_TYPE, 1)
    begin = time.monotonic()
    states.wait_for_change(action, version, _LONG)
    assert time.monotonic() - begin < _LONG
