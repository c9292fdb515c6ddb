"""The queue of events: calls that block, raise, fork or come too fast, and a system without threads."""

from __future__ import annotations

import gc
import subprocess
import sys
import textwrap
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from functools import partial

import pytest
from support.worker_service import until

from cp_thirdparty.worker import _event_queue
from cp_thirdparty.worker._event_queue import EventQueue

_TRACE: ContextVar[str] = ContextVar("_TRACE", default="none")


class _UnreadableError(BaseException):
    def __str__(self) -> str:
        raise SystemExit


class _Blocked:
    """A call that blocks until it is released."""

    def __init__(self) -> None:
        self.has_started = threading.Event()
        self.may_end = threading.Event()

    def __call__(self) -> None:
        self.has_started.set()
        assert self.may_end.wait(30)


@pytest.fixture
def blocked() -> Iterator[_Blocked]:
    """Give a call that blocks, and release it at the end."""
    call = _Blocked()
    yield call
    call.may_end.set()


@pytest.fixture
def reports() -> list[int]:
    """Give the list of the numbers of dropped calls."""
    return []


@pytest.fixture
def queue(reports: list[int]) -> EventQueue:
    """Give a small queue."""
    return EventQueue(3, reports.append)


def _raise(failure: BaseException) -> None:
    raise failure


def test_calls_are_made_in_their_order_in_one_thread(queue: EventQueue) -> None:
    """The thread has a name and does not keep the process alive."""
    made: list[tuple[int, threading.Thread]] = []
    for number in range(3):
        queue.put(lambda number=number: made.append((number, threading.current_thread())))  # type: ignore[misc]
    assert queue.flush(30)
    assert [number for number, _ in made] == [0, 1, 2]
    (thread,) = {thread for _, thread in made}
    assert (thread.name, thread.daemon) == ("cp-thirdparty-events", True)


def test_the_thread_ends_without_calls(queue: EventQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next call starts another one, and a queue that nobody has any more is freed."""
    monkeypatch.setattr(_event_queue, "_IDLE_SECONDS", 0.01)
    threads: list[threading.Thread] = []
    for _ in range(2):
        queue.put(lambda: threads.append(threading.current_thread()))
        assert queue.flush(30)
        threads[-1].join(30)
    assert len(set(threads)) == 2
    assert not any(thread.is_alive() for thread in threads)
    left = weakref.ref(EventQueue(1, _raise))  # type: ignore[arg-type]
    gc.collect()
    assert left() is None


def test_a_thread_that_was_forgotten_ends(queue: EventQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread of a call that forks is not the thread of the child: it must not make the child's calls."""
    monkeypatch.setattr(_event_queue, "_IDLE_SECONDS", 60.0)
    threads: list[threading.Thread] = []

    def forget() -> None:
        threads.append(threading.current_thread())
        queue.reset()

    queue.put(forget)
    until(lambda: bool(threads))
    threads[0].join(30)
    assert not threads[0].is_alive()


@pytest.mark.parametrize(
    "failure", [ValueError(), SystemExit(), KeyboardInterrupt(), GeneratorExit(), _UnreadableError()], ids=repr
)
def test_what_a_call_raises_is_dropped(queue: EventQueue, failure: BaseException) -> None:
    """The next call is made."""
    made: list[int] = []
    queue.put(partial(_raise, failure))
    queue.put(lambda: made.append(1))
    assert queue.flush(30)
    assert made == [1]


def test_a_call_has_the_context_variables_of_its_place(queue: EventQueue) -> None:
    """What a call sets is not there for the next one."""
    seen: list[str] = []

    def look() -> None:
        seen.append(_TRACE.get())
        _TRACE.set("of the call")

    queue.put(look)
    token = _TRACE.set("mine")
    queue.put(look)
    _TRACE.reset(token)
    queue.put(look)
    assert queue.flush(30)
    assert seen == ["none", "mine", "none"]


def test_a_call_that_blocks_delays_nobody(queue: EventQueue, blocked: _Blocked, reports: list[int]) -> None:
    """Calls beyond the size are dropped and reported when the queue moves again; a second flush does not wait."""
    made: list[int] = []
    queue.put(blocked)
    assert blocked.has_started.wait(30)
    started = time.monotonic()
    for number in range(5):
        queue.put(partial(made.append, number))
    assert queue.dropped == 2
    assert queue.flush(0.05) is False
    assert queue.flush(30) is False
    assert time.monotonic() - started < 10
    assert (made, reports) == ([], [])
    blocked.may_end.set()
    until(lambda: queue.flush(30))
    assert (made, reports, queue.dropped) == ([0, 1, 2], [2], 2)


def test_dropped_calls_are_reported_from_time_to_time(
    queue: EventQueue, blocked: _Blocked, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A queue that is never empty reports them too, but not after each call."""
    times = iter([100.0, 105.0, 111.0])
    queue.put(blocked)
    assert blocked.has_started.wait(30)
    for _ in range(4):
        queue.put(lambda: None)
    monkeypatch.setattr(_event_queue, "now", lambda: next(times))
    reported: list[int] = []
    monkeypatch.setattr(queue, "_report_dropped", reported.append)
    queue._reported_at = 95.0
    for expected in ([], [1], [1]):  # at 100, and at 105, which is noted at 111
        queue._report()
        assert reported == expected
    assert queue._reported_at == 111.0


def test_a_report_may_raise(blocked: _Blocked) -> None:
    """The calls after it are made."""
    queue = EventQueue(1, lambda _: _raise(SystemExit()))
    made: list[int] = []
    queue.put(blocked)
    assert blocked.has_started.wait(30)
    for number in range(2):
        queue.put(partial(made.append, number))
    blocked.may_end.set()
    assert queue.flush(30)
    queue.put(partial(made.append, 2))
    assert queue.flush(30)
    assert (made, queue.dropped) == ([0, 2], 1)


def test_a_flush_in_a_call_does_not_wait_for_itself(queue: EventQueue) -> None:
    """A hook may run a job of the same processor."""
    found: list[bool] = []
    started = time.monotonic()
    queue.put(lambda: found.append(queue.flush(30)))
    until(lambda: bool(found))
    assert found == [False]
    assert time.monotonic() - started < 10


def _refuse(count: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the system have no thread for events, a given number of times."""
    start = threading.Thread.start
    refusals = [count]

    def refuse(thread: threading.Thread) -> None:
        if thread.name == "cp-thirdparty-events" and refusals[0] > 0:
            refusals[0] -= 1
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)


def test_without_a_thread_the_calls_wait(queue: EventQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are never made in the calling thread, and a flush tries again until its time is over."""
    made: list[str] = []
    call: Callable[[], None] = lambda: made.append(threading.current_thread().name)  # noqa: E731
    _refuse(float("inf"), monkeypatch)
    queue.put(call)
    assert queue.flush(0.02) is False
    started = time.monotonic()
    assert queue.flush(30) is False  # the time is lost once
    assert time.monotonic() - started < 10
    assert made == []
    monkeypatch.undo()
    _refuse(3, monkeypatch)
    queue.put(call)
    queue._blocked_at = None
    assert queue.flush(30)
    assert made == ["cp-thirdparty-events"] * 2


# In a process of its own: the processes of the test run have other threads.
_FORK = """
import os, threading, warnings
from cp_thirdparty.worker._event_queue import EventQueue
warnings.simplefilter("ignore", DeprecationWarning)

def write(text):
    os.write(1, f"{text}\\n".encode())

def wait_for(child):
    write(f"child ended with {os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}")

queue = EventQueue(10, print)
"""
_FORK_BESIDE = """
has_started, may_end = threading.Event(), threading.Event()
queue.put(lambda: (has_started.set(), may_end.wait(30)))
queue.put(lambda: write(f"parent's {os.getpid() == parent}"))
has_started.wait(30)
parent = os.getpid()
queue._changed.acquire()  # as another thread may at the moment of the fork
child = os.fork()
if child == 0:
    queue.put(lambda: write("child's"))
    os._exit(0 if queue.flush(20) and queue.dropped == 0 else 1)
queue._changed.release()
wait_for(child)
may_end.set()
print(queue.flush(20))
"""
_FORK_WITHIN = """
def fork():
    child = os.fork()
    if child:
        wait_for(child)

queue.put(fork)
queue.put(lambda: write("parent's"))
print(queue.flush(20))
"""


@pytest.mark.parametrize(
    ("code", "output"),
    [
        (_FORK_BESIDE, ["child's", "child ended with 0", "parent's True", "True"]),
        (_FORK_WITHIN, ["child ended with 0", "parent's", "True"]),
    ],
    ids=["beside a call", "within a call"],
)
def test_a_child_of_a_fork_makes_no_call_of_its_parent(code: str, output: list[str]) -> None:
    """Its own calls are made; a child that was forked by a call ends with it."""
    script = textwrap.dedent(_FORK + code)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout.splitlines(), done.stderr) == (output, "")


def test_a_flush_does_not_wait_for_more_calls(queue: EventQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that was idle waits for calls that it can make together, but nobody waits for that."""
    monkeypatch.setattr(_event_queue, "_GATHER_SECONDS", 60.0)
    monkeypatch.setattr(_event_queue, "_IDLE_SECONDS", 60.0)
    made: list[int] = []
    queue.put(partial(made.append, 1))  # starts the thread
    until(lambda: queue._is_idle)
    for number in (2, 3):
        queue.put(partial(made.append, number))
    until(lambda: len(vars(queue._changed)["_waiters"]) == 1)  # the thread waits again
    assert made == [1]
    assert queue.flush(30.0)
    assert made == [1, 2, 3]
