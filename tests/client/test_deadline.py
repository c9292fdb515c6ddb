"""The thread that ends calls at their deadline: which connections it shuts down, and which it leaves alone."""

from __future__ import annotations

import errno
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import botocore.session
import pytest
from botocore.config import Config
from support.scripted_server import ReceivedRequest, Response, ScriptedServer, ok

from cp_thirdparty import ThirdPartyJobClient
from cp_thirdparty._core.call import CURRENT, Call, now
from cp_thirdparty._core.deadline import WATCHDOG, Watch, Watchdog
from cp_thirdparty.exceptions import TransportError

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Give both ends of a connection."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(60)
        theirs.settimeout(60)
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
        theirs.settimeout(60)
        assert theirs.recv(1) == b""
        watchdog.release(call)


def test_a_read_ends_at_the_deadline(pair: Pair) -> None:
    """Both ends see the end of the connection, and the descriptor of the call stays open."""
    watchdog = Watchdog()
    call = _start(watchdog, 0.05)
    watchdog.use(call, pair[0])
    assert (pair[0].recv(1), pair[1].recv(1)) == (b"", b"")
    watchdog.release(call)
    assert pair[0].fileno() >= 0


def test_a_released_connection_is_left_alone(pair: Pair) -> None:
    """When the response is complete, the deadline is over, and another call may use the connection."""
    watchdog = Watchdog()
    call = _start(watchdog, 0.02)
    with watchdog._lock:  # the deadline has no effect before the release, however slow the machine is
        watchdog.use(call, pair[0])
        watchdog.release(call)
    _wait(watchdog)
    pair[1].sendall(b"x")
    assert pair[0].recv(1) == b"x"
    watchdog.release(call)


def test_only_the_latest_connection_is_shut_down(pair: Pair) -> None:
    """A call uses one connection at a time: that of STS, for example, goes back before its own is used."""
    watchdog = Watchdog()
    own, other = socket.socketpair()
    with own, other:
        call = _start(watchdog, 0.05)
        with watchdog._lock:  # the deadline has no effect before the second connection
            watchdog.use(call, pair[0])
            watchdog.use(call, own)
        other.settimeout(10)
        assert other.recv(1) == b""
        pair[1].sendall(b"x")
        assert pair[0].recv(1) == b"x"
        watchdog.release(call)


def test_a_connection_that_is_gone_is_not_a_failure() -> None:
    """A deadline that comes when the peer has gone, or before there is a connection, ends nothing else."""
    watchdog = Watchdog()
    unconnected = socket.socket()
    early, late = _start(watchdog, 0.01), _start(watchdog, 0.01)
    watchdog.use(late, unconnected)
    _wait(watchdog)
    unconnected.close()
    for call in (early, late):
        watchdog.release(call)


def test_a_call_without_a_deadline_is_not_watched(pair: Pair) -> None:
    """Nothing is kept of it, and no thread is started."""
    watchdog, call = Watchdog(), Call()
    watchdog.start(call)
    watchdog.use(call, pair[0])
    watchdog.release(call)
    watchdog.release(call)
    assert (call.watch, watchdog._thread) == (None, None)


def test_an_earlier_deadline_wakes_the_thread(pair: Pair) -> None:
    """A call with less time than those before it ends in time."""
    watchdog = Watchdog()
    long = _start(watchdog, 60)
    short = _start(watchdog, 0.02)
    watchdog.use(short, pair[0])
    assert pair[1].recv(1) == b""
    watchdog.release(long)
    watchdog.release(short)


def test_a_system_without_threads_still_makes_calls(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """When no thread can be started, a warning names what is missing, and the next call tries again."""

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    watchdog = Watchdog()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        first = _start(watchdog, 60)
        watchdog.use(first, pair[0])
    assert "could not start the thread for deadlines" in caplog.text
    second = _start(watchdog, 0.02)
    watchdog.use(second, pair[0])
    assert pair[1].recv(1) == b""
    watchdog.release(first)
    watchdog.release(second)


@pytest.mark.parametrize("body", [b"{}", b""])
def test_a_connection_in_the_pool_is_left_alone(body: bytes) -> None:
    """Another call gets the connection when the body ends, while handlers of the first call still run."""
    watches: list[Watch] = []

    def respond(request: ReceivedRequest) -> Response:
        if request.operation == "PutThirdPartyJobSuccessResult":
            return Response(body=body)
        watches[0].ends_at = now()  # the deadline of the first call comes while the second one waits
        _wait(WATCHDOG)
        return ok({"status": "InProgress"})

    with ScriptedServer(respond) as server:
        existing = _existing_client(server.endpoint_url)
        client = ThirdPartyJobClient(existing, deadline=60)
        statuses: list[object] = []

        def use_connection(**_: object) -> None:
            call = CURRENT.get()
            assert call is not None
            assert call.watch is not None
            watches.append(call.watch)
            statuses.append(client.acknowledge_third_party_job("job-1", nonce="3", client_token="token"))

        existing.meta.events.register("before-parse.codepipeline.PutThirdPartyJobSuccessResult", use_connection)
        client.put_third_party_job_success_result("job-1", client_token="token")
        assert (statuses, len(server.requests)) == (["InProgress"], 2)


def test_no_address_is_tried_after_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """The timeout of a connection holds for each address of a host; the deadline holds for all of them."""
    tried: list[object] = []

    def find_addresses(*_: object, **__: object) -> list[tuple[Any, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"127.0.0.{number}", 9)) for number in range(1, 5)]

    def connect(_: socket.socket, address: object) -> None:
        tried.append(address)
        call = CURRENT.get()
        assert call is not None
        call.ends_at = now()  # the first address takes all the time
        raise TimeoutError

    client = ThirdPartyJobClient(_existing_client("http://several.test:9"), deadline=60)
    monkeypatch.setattr(socket, "getaddrinfo", find_addresses)
    monkeypatch.setattr(socket.socket, "connect", connect)
    with pytest.raises(TransportError, match="no connection before the deadline") as caught:
        client.acknowledge_third_party_job("job-1", nonce="3", client_token="token")
    assert (tried, caught.value.is_retry_safe) == ([("127.0.0.1", 9)], True)


def _existing_client(endpoint_url: str) -> Any:
    session = botocore.session.Session()
    session.set_credentials("AKIDEXAMPLE", "secret")
    config = Config(region_name="us-east-1", max_pool_connections=1)
    return session.create_client("codepipeline", endpoint_url=endpoint_url, config=config)


class _Reentered:
    """Code that a signal handler may interrupt: it makes another call in the same thread."""

    def __init__(self, watchdog: Watchdog, pair: Pair) -> None:
        self.watchdog = watchdog
        self.pair = pair
        self.count = 0

    def __call__(self) -> None:
        if not self.count:
            self.count = 1
            call = _start(self.watchdog, 30)
            self.watchdog.use(call, self.pair[1])
            self.watchdog.release(call)
            self.watchdog.release(call)


def _before(original: Callable[..., Any], first: Callable[[], None]) -> Callable[..., Any]:
    def function(*arguments: Any) -> Any:
        first()
        return original(*arguments)

    return function


@pytest.mark.parametrize("place", [(socket, "dup"), (socket, "close"), (threading.Thread, "start")])
def test_a_signal_handler_may_make_a_call(pair: Pair, monkeypatch: pytest.MonkeyPatch, place: tuple[Any, str]) -> None:
    """No lock is held that the call in the handler waits for, and one thread is started."""
    watchdog = Watchdog()
    reenter = _Reentered(watchdog, pair)
    started: list[int] = []

    def make_call() -> None:
        call = _start(watchdog, 30)
        watchdog.use(call, pair[0])
        watchdog.release(call)

    thread = threading.Thread(target=make_call, daemon=True)
    thread_start = threading.Thread.start
    monkeypatch.setattr(threading.Thread, "start", _before(thread_start, lambda: started.append(1)))
    monkeypatch.setattr(*place, _before(getattr(*place), reenter))
    thread_start(thread)
    thread.join(60)
    assert (thread.is_alive(), reenter.count, len(started)) == (False, 1, 1)


def test_a_handler_of_logs_may_make_a_call(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """The warning about a missing thread is logged when no lock is held."""
    watchdog = Watchdog()
    others: list[threading.Thread] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:  # noqa: ARG002 - its name in logging
            other = threading.Thread(target=_Reentered(watchdog, pair), daemon=True)
            with monkeypatch.context() as patch:
                patch.setattr(threading.Thread, "start", start)
                other.start()
                other.join(60)
            others.append(other)

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    start, handler = threading.Thread.start, Handler()
    logging.getLogger("cp_thirdparty").addHandler(handler)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            call = _start(watchdog, 30)
            watchdog.use(call, pair[0])
            watchdog.release(call)
    finally:
        logging.getLogger("cp_thirdparty").removeHandler(handler)
    assert [other.is_alive() for other in others] == [False]


def test_a_connection_of_which_a_signal_handler_took_the_descriptor(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A handler that uses the connection of the same call leaves nothing to close."""
    watchdog = Watchdog()
    call = _start(watchdog, 30)
    closed: list[int] = []

    class Descriptors(list[int]):
        def pop(self, *arguments: Any) -> int:
            closed.append(super().pop(*arguments))
            socket.close(closed[-1])
            return super().pop(*arguments)

    watchdog.use(call, pair[0])
    watch = call.watch
    assert watch is not None
    monkeypatch.setattr(watch, "_descriptors", Descriptors(watch._descriptors))
    watchdog.release(call)
    assert len(closed) == 1


def test_a_descriptor_that_other_code_has_replaced_ends_nothing(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread goes on, and the deadlines of other calls are kept."""
    watchdog = Watchdog()
    with open(os.devnull, "rb") as null:  # noqa: PTH123 - no path
        duplicate = os.dup(null.fileno())
    with monkeypatch.context() as patch:
        patch.setattr(socket, "dup", lambda _: duplicate)
        call = _start(watchdog, 0.01)
        watchdog.use(call, pair[0])
    _wait(watchdog)
    _wait(watchdog)
    os.close(duplicate)
    watchdog.release(call)


def test_a_descriptor_that_other_code_has_closed_fails_no_call(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs that start as a service close all descriptors."""
    watchdog = Watchdog()
    duplicate = socket.dup(pair[0].fileno())
    call = _start(watchdog, 30)
    with monkeypatch.context() as patch:
        patch.setattr(socket, "dup", lambda _: duplicate)
        watchdog.use(call, pair[0])
    socket.close(duplicate)
    watchdog.release(call)


def test_a_process_without_descriptors_still_makes_calls(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """The call is not watched until its next connection."""

    def refuse(_: int) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    watchdog = Watchdog()
    call = _start(watchdog, 0.1)
    with monkeypatch.context() as patch:
        patch.setattr(socket, "dup", refuse)
        watchdog.use(call, pair[0])
    watchdog.use(call, pair[0])
    assert pair[1].recv(1) == b""
    watchdog.release(call)


def test_a_thread_that_has_ended_is_replaced(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next call starts a new one."""
    watchdog = Watchdog()
    has_ended = threading.Event()
    with monkeypatch.context() as patch:
        patch.setattr(Watchdog, "_run", lambda _: has_ended.wait(60))
        call = _start(watchdog, 30)
        watchdog.use(call, pair[0])
        watchdog.release(call)
        thread = watchdog._thread
        assert thread is not None
        has_ended.set()
        thread.join(60)
    assert watchdog._thread is None
    _wait(watchdog)


def test_a_short_call_wakes_the_thread_once(pair: Pair) -> None:
    """When the thread finds that the call is over, it sleeps until its deadline, so the next call does not wake it."""
    watchdog = Watchdog()
    with watchdog._lock:  # the thread looks afterwards
        call = _start(watchdog, 30)
        watchdog.use(call, pair[0])
        watchdog.release(call)
    ends_at = time.monotonic() + 60
    while not watchdog._sleep.locked() and time.monotonic() < ends_at:
        time.sleep(0.001)
    assert watchdog._wakes_at == call.ends_at
