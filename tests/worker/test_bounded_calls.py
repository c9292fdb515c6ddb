"""Calls of the partner's code in threads of their own: the caller waits for a limited time."""

from __future__ import annotations

import contextvars
import os
import threading
from collections.abc import Iterator
from queue import Empty, SimpleQueue
from typing import Any

import pytest
from support.worker_service import until

from cp_thirdparty.worker import _bounded_calls
from cp_thirdparty.worker._bounded_calls import BoundedCalls, NotReturned, SafeClock, _Call
from cp_thirdparty.worker._isolation import Raised

_NAME = "cp-thirdparty-bounded"
_VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("_VARIABLE", default="")


@pytest.fixture
def calls() -> Iterator[BoundedCalls]:
    """Give an object whose threads have ended after the test."""
    created = BoundedCalls(_NAME)
    yield created
    created.close()
    until(lambda: _count_threads() == 0)


@pytest.fixture
def release() -> Iterator[threading.Event]:
    """Give an event that is set at the end of the test at the latest."""
    event = threading.Event()
    yield event
    event.set()


def _count_threads() -> int:
    return sum(thread.name == _NAME for thread in threading.enumerate())


def _raise() -> None:
    raise SystemExit(3)


def test_a_call_returns_what_the_function_returned_or_raised(calls: BoundedCalls) -> None:
    """It runs with the context variables of the caller, and calls one after the other share a thread."""
    _VARIABLE.set("mine")
    assert calls.call(30, _VARIABLE.get) == "mine"
    assert calls.call(30, _raise) == Raised("SystemExit")
    assert _count_threads() == 1


def test_a_call_may_raise_what_the_function_raised(calls: BoundedCalls) -> None:
    """A function of the program's own start is not isolated."""
    assert calls.call_or_raise(30, lambda: 5) == 5
    with pytest.raises(SystemExit):
        calls.call_or_raise(30, _raise)


def test_only_a_result_that_comes_too_late_is_undone(calls: BoundedCalls, release: threading.Event) -> None:
    """A late call that raises has nothing to undo."""
    undone: list[object] = []

    def fail_late() -> None:
        release.wait()
        raise SystemExit

    assert calls.call_or_raise(0, fail_late, undone.append) == NotReturned()
    release.set()
    until(lambda: not calls.is_hanging)
    assert undone == []
    release.clear()
    assert calls.call_or_raise(0, release.wait, undone.append) == NotReturned()
    release.set()
    until(lambda: not calls.is_hanging)
    assert undone == [True]


def test_calls_beside_each_other_have_threads(calls: BoundedCalls, release: threading.Event) -> None:
    """One that takes long delays no other one."""
    found: list[object] = []
    thread = threading.Thread(target=lambda: found.append(calls.call(30, release.wait)))
    thread.start()
    until(lambda: _count_threads() == 1)
    assert calls.call(30, lambda: 5) == 5
    release.set()
    thread.join()
    assert found == [True]


def test_after_a_call_that_hangs_no_other_one_is_made(calls: BoundedCalls, release: threading.Event) -> None:
    """Its result is undone when it comes, and calls are made again."""
    undone: list[object] = []
    assert calls.call(0, release.wait, undone.append) == NotReturned()
    assert calls.is_hanging
    assert calls.call(30, lambda: undone.append("overtaken")) == NotReturned()
    release.set()
    until(lambda: not calls.is_hanging)
    assert undone == [True]
    assert calls.call(30, lambda: 5) == 5


def test_a_result_that_comes_at_the_last_moment_counts(calls: BoundedCalls) -> None:
    """It is not undone."""
    call = _Call(lambda: None, lambda _: None)
    call.result.put(5)
    assert calls._stop_waiting(call) == 5
    assert not calls.is_hanging


def test_the_end_of_all_calls_ends_those_that_wait(
    calls: BoundedCalls, release: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call that begins later has a short time of its own."""
    monkeypatch.setattr(_bounded_calls, "_MIN_SECONDS", 0.0)
    found: list[object] = []
    thread = threading.Thread(target=lambda: found.append(calls.call(1000, release.wait)))
    thread.start()
    until(lambda: _count_threads() == 1)
    calls.end_within(0)
    thread.join(30)
    assert found == [NotReturned()]
    release.set()
    until(lambda: not calls.is_hanging)
    monkeypatch.setattr(_bounded_calls, "_MIN_SECONDS", 30.0)
    assert calls.call(1000, lambda: 5) == 5


def test_ctrl_c_leaves_a_call(calls: BoundedCalls, release: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it has done is undone when it returns."""

    def interrupt(call: _Call, _deadline: float) -> None:
        until(lambda: call.has_begun)
        raise KeyboardInterrupt

    undone: list[object] = []
    monkeypatch.setattr(calls, "_wait", interrupt)
    with pytest.raises(KeyboardInterrupt):
        calls.call(30, release.wait, undone.append)
    release.set()
    until(lambda: undone == [True])


def test_ctrl_c_undoes_a_call_that_has_just_returned(calls: BoundedCalls, monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller never gets its result, so nobody else would undo it."""

    def interrupt(call: _Call, _deadline: float) -> None:
        until(lambda: not call.result.empty())
        monkeypatch.undo()
        raise KeyboardInterrupt

    undone: list[object] = []
    monkeypatch.setattr(calls, "_wait", interrupt)
    with pytest.raises(KeyboardInterrupt):
        calls.call(30, lambda: 5, undone.append)
    assert undone == [5]
    assert not calls.is_hanging


def test_ctrl_c_keeps_a_call_from_being_made(calls: BoundedCalls, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its thread has not begun: nothing is made that nobody waits for, and nothing counts as hanging."""

    class Interrupted(SimpleQueue[Any]):
        """The queue of a thread."""

        def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:  # noqa: FBT001, FBT002, ARG002
            """Let Ctrl-C come just after the call was added."""
            super().put(item)
            raise KeyboardInterrupt

    made: list[None] = []
    queue = Interrupted()
    monkeypatch.setattr(calls, "_reserve_thread", lambda: queue)
    with pytest.raises(KeyboardInterrupt):
        calls.call(30, lambda: made.append(None))
    calls._run_calls(queue)
    assert made == []
    assert not calls.is_hanging
    assert not calls._waiting


def test_without_a_thread_the_caller_makes_the_call(calls: BoundedCalls, monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit of the system on threads has no effect on a job's end."""

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert calls.call(30, threading.get_ident) == threading.get_ident()


def test_a_thread_without_calls_ends(calls: BoundedCalls, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next call starts another one."""
    monkeypatch.setattr(_bounded_calls, "_IDLE_SECONDS", 0.0)
    assert calls.call(30, lambda: 5) == 5
    until(lambda: _count_threads() == 0)
    assert calls.call(30, lambda: 5) == 5


class _Slow(SimpleQueue[Any]):
    """A queue whose call comes just after its thread has waited in vain."""

    def get(self, block: bool = True, timeout: float | None = None) -> Any:  # noqa: FBT001, FBT002 - as in its base
        """Return an item only to a caller that waits without a limit."""
        if timeout is not None:
            raise Empty
        return super().get(block)


def test_a_thread_that_was_chosen_waits_for_its_call(calls: BoundedCalls) -> None:
    """It must not end between the choice and the call."""
    queue, call = _Slow(), _Call(lambda: None, lambda _: None)
    queue.put(call)
    assert calls._next(queue) is call


def test_the_wait_for_the_end_of_calls_has_a_limit(calls: BoundedCalls, release: threading.Event) -> None:
    """A thread that makes one call after another would keep the caller."""
    entered = threading.Event()

    def wait() -> None:
        entered.set()
        release.wait()

    thread = threading.Thread(target=calls.call, args=(60.0, wait))
    thread.start()
    assert entered.wait(30)
    calls.wait_for_end(0.05)
    assert not calls.is_hanging
    release.set()
    calls.wait_for_end(60.0)
    thread.join()


def test_a_thread_ends_after_its_call_once_all_is_closed(calls: BoundedCalls, release: threading.Event) -> None:
    """Calls can still be made: a job that was left behind may end late."""
    assert calls.call(0, release.wait) == NotReturned()
    calls.close()
    release.set()
    until(lambda: _count_threads() == 0)
    assert calls.call(30, lambda: 5) == 5
    until(lambda: _count_threads() == 0)


def test_a_call_is_made_although_all_is_closed_meanwhile(calls: BoundedCalls, monkeypatch: pytest.MonkeyPatch) -> None:
    """A caller has reserved the thread that has just noted itself as idle."""
    hand_over = calls._hand_over
    is_idle, is_closed = threading.Event(), threading.Event()

    def pause(*arguments: Any) -> bool:
        is_taken = hand_over(*arguments)
        is_idle.set()
        is_closed.wait()
        return is_taken

    monkeypatch.setattr(calls, "_hand_over", pause)
    assert calls.call(30, lambda: 1) == 1
    is_idle.wait()
    reserved, call = calls._reserve_thread(), _Call(lambda: 2, lambda _: None)
    calls.close()
    is_closed.set()
    reserved.put(call)
    assert call.result.get(timeout=30) == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_has_threads_of_its_own(calls: BoundedCalls, release: threading.Event) -> None:
    """Neither an idle thread of the parent, nor a call that hangs there, nor its lock keeps the child from a call."""
    assert calls.call(30, lambda: 5) == 5
    other = BoundedCalls("cp-thirdparty-other")
    assert other.call(0, release.wait) == NotReturned()
    with calls._lock:
        child = os.fork()
    if not child:  # pragma: no cover - in the child
        found = [each.call(5, lambda: 7) for each in (calls, other)]
        os._exit(found != [7, 7])
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert calls.call(30, lambda: 5) == 5


def test_a_handler_of_a_signal_ends_although_it_has_interrupted_a_call(calls: BoundedCalls) -> None:
    """It runs in the main thread, which may have the lock at that moment: its own call times out."""
    with calls._lock:
        assert calls.call(0, lambda: 5) == NotReturned()
    until(lambda: not calls.is_hanging)
    assert calls.call(30, lambda: 5) == 5


def test_a_clock_that_hangs_is_passed_over(release: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time goes on from its last reading."""
    hangs = threading.Event()

    def read() -> float:
        if hangs.is_set():
            release.wait()
        return 1000.0

    clock = SafeClock(read)
    assert clock() == 1000.0
    hangs.set()
    monkeypatch.setattr(_bounded_calls, "_CLOCK_SECONDS", 0.0)
    first, second = clock(), clock()
    assert 1000.0 < first < second
    release.set()
    monkeypatch.undo()
    until(lambda: not clock._calls.is_hanging)
    assert second <= clock() < 2000.0


def test_a_clock_that_begins_late_lets_no_time_pass(release: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise all jobs would time out at its first reading."""
    readings = iter([2e9, 2e9 + 5.0])

    def read() -> float:
        release.wait()
        return next(readings)

    clock = SafeClock(read)
    monkeypatch.setattr(_bounded_calls, "_CLOCK_SECONDS", 0.0)
    first = clock()
    release.set()
    until(lambda: not clock._calls.is_hanging)
    monkeypatch.undo()
    assert first <= clock() < 1e9


def test_a_clock_goes_on_by_its_own_seconds_after_a_failure() -> None:
    """It may be one that a test sets."""
    readings: list[Any] = [1000.0, None, 5000.0, 5007.0]
    clock = SafeClock(lambda: readings.pop(0))
    before, _, after, later = [clock() for _ in range(4)]
    assert before == 1000.0
    assert 1000.0 <= after < 2000.0
    assert later - after == pytest.approx(7.0)


@pytest.mark.parametrize(
    ("read", "problem"),
    [
        (lambda: 10**400, "returned no finite number"),
        (lambda: "12", "returned no finite number"),
        (lambda: 1 // 0, "raised ZeroDivisionError"),
    ],
)
def test_a_clock_that_fails_is_reported_once(read: Any, problem: str) -> None:
    """It is read several times for each job."""
    problems: list[str] = []
    clock = SafeClock(read, problems.append)
    assert clock() <= clock()
    assert problems == [problem]


def test_a_clock_that_hangs_is_reported(release: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    """The partner sees why the times differ from the clock."""
    monkeypatch.setattr(_bounded_calls, "_CLOCK_SECONDS", 0.0)
    problems: list[str] = []
    SafeClock(release.wait, problems.append)()
    assert problems == ["has not returned in time"]
