"""The thread that ends calls at their deadline: which connections it shuts down, and which it leaves alone."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from cp_thirdparty._core.call import Call, now
from cp_thirdparty._core.deadline import Watchdog

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Give both ends of a connection."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(10)
        theirs.settimeout(10)
        yield ours, theirs


def _start(watchdog: Watchdog, seconds: float) -> Call:
    call = Call(ends_at=now() + seconds)
    watchdog.start(call)
    return call


def _wait(watchdog: Watchdog) -> None:
    """Wait until the watchdog has ended a call that begins now, and so all that were over before."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        call = _start(watchdog, 0.01)
        watchdog.use(call, ours)
        theirs.settimeout(10)
        assert theirs.recv(1) == b""
        watchdog.stop(call)


def test_a_read_ends_at_the_deadline(pair: Pair) -> None:
    """Both ends see the end of the connection, and the descriptor of the call stays open."""
    watchdog = Watchdog()
    call = _start(watchdog, 0.05)
    watchdog.use(call, pair[0])
    assert (pair[0].recv(1), pair[1].recv(1)) == (b"", b"")
    watchdog.stop(call)
    assert pair[0].fileno() >= 0


def test_a_released_connection_is_left_alone(pair: Pair) -> None:
    """When the response is complete, another call may use the connection."""
    watchdog = Watchdog()
    call = _start(watchdog, 0.02)
    watchdog.use(call, pair[0])
    watchdog.release(call)
    _wait(watchdog)
    pair[1].sendall(b"x")
    assert pair[0].recv(1) == b"x"
    watchdog.stop(call)


def test_only_the_latest_connection_is_shut_down(pair: Pair) -> None:
    """A call uses one connection at a time: that of STS, for example, goes back before its own is used."""
    watchdog = Watchdog()
    own, other = socket.socketpair()
    with own, other:
        call = _start(watchdog, 0.05)
        watchdog.use(call, pair[0])
        watchdog.use(call, own)
        other.settimeout(10)
        assert other.recv(1) == b""
        pair[1].sendall(b"x")
        assert pair[0].recv(1) == b"x"
        watchdog.stop(call)


def test_a_call_that_is_over_is_left_alone(pair: Pair) -> None:
    """After its end a call has no deadline, whatever becomes of its connection."""
    watchdog = Watchdog()
    call = _start(watchdog, 0.02)
    watchdog.use(call, pair[0])
    watchdog.stop(call)
    _wait(watchdog)
    pair[1].sendall(b"x")
    assert pair[0].recv(1) == b"x"


def test_a_connection_that_is_gone_is_no_failure() -> None:
    """A deadline that comes when the peer has gone, or before there is a connection, ends nothing else."""
    watchdog = Watchdog()
    unconnected = socket.socket()
    early, late = _start(watchdog, 0.01), _start(watchdog, 0.01)
    watchdog.use(late, unconnected)
    _wait(watchdog)
    unconnected.close()
    for call in (early, late):
        watchdog.stop(call)


def test_a_call_without_a_deadline_is_not_watched(pair: Pair) -> None:
    """Nothing is kept of it, and no thread is started."""
    before = threading.active_count()
    watchdog, call = Watchdog(), Call()
    watchdog.start(call)
    watchdog.use(call, pair[0])
    watchdog.release(call)
    watchdog.stop(call)
    assert (call.watch, threading.active_count()) == (None, before)


def test_an_earlier_deadline_wakes_the_thread(pair: Pair) -> None:
    """A call with less time than those before it ends in time."""
    watchdog = Watchdog()
    long = _start(watchdog, 60)
    short = _start(watchdog, 0.02)
    watchdog.use(short, pair[0])
    assert pair[1].recv(1) == b""
    watchdog.stop(long)
    watchdog.stop(short)


def test_a_system_without_threads_still_makes_calls(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """When no thread can be started, a warning says what is missing, and the next call tries again."""

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    watchdog = Watchdog()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        first = _start(watchdog, 60)
    assert "no thread for deadlines could be started" in caplog.text
    second = _start(watchdog, 0.02)
    watchdog.use(second, pair[0])
    assert pair[1].recv(1) == b""
    watchdog.stop(first)
    watchdog.stop(second)
