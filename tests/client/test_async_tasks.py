"""Calls in tasks: many at once, cancelled, stopped by the deadline, failing in groups; what asyncio shows."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import io
import logging
import socket
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
from botocore.config import Config
from support.async_scripted_server import GOOD, STEM, TOKEN, TYPE, Script, client_of, get, good, late, raw_client
from support.marker_surfaces import ERROR_SURFACES, logged, reachable, with_locals
from support.scripted_server import ReceivedRequest, Response, ScriptedServer, error, ok

from cp_thirdparty import AsyncThirdPartyJobClient, FailureDetails, FailureType
from cp_thirdparty.exceptions import JobNotFoundException, ThirdPartyError, TransportError
from cp_thirdparty.telemetry import CallRecord

_FAILURE = FailureDetails(type=FailureType.JOB_FAILED, message="no")

# With plain strings for the token, as a caller may have it.
_CALLS: dict[str, Callable[[AsyncThirdPartyJobClient], Coroutine[Any, Any, object]]] = {
    "poll": lambda client: client.poll_for_third_party_jobs(TYPE),
    "get": get,
    "acknowledge": lambda client: client.acknowledge_third_party_job(
        "job-1", nonce="1", client_token=TOKEN.get_secret_value()
    ),
    "succeed": lambda client: client.put_third_party_job_success_result("job-1", client_token=TOKEN.get_secret_value()),
    "fail": lambda client: client.put_third_party_job_failure_result(
        "job-1", client_token=TOKEN.get_secret_value(), failure_details=_FAILURE
    ),
}
each_operation = pytest.mark.parametrize("operation", _CALLS)


def _show_error(raised: BaseException) -> str:
    return "".join(show(raised) for name, show in ERROR_SURFACES.items() if name != "pickle")


@pytest.fixture
def seen(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], str]]:
    """Log everything, asyncio's debug mode included, and return what was logged; no marker is in it at the end."""
    caplog.set_level(logging.DEBUG)
    yield lambda: logged(caplog.records)
    assert STEM not in logged(caplog.get_records("call"))


def _run(main: Coroutine[Any, Any, None]) -> None:
    asyncio.run(main, debug=True)


# --- many at once ----------------------------------------------------------------------------------------------------


def test_a_hundred_calls_at_once(server: ScriptedServer, script: Script) -> None:
    """A hundred tasks that share a client each get the response to their own question."""

    def respond(request: ReceivedRequest) -> Response:
        job_id = request.parameters["jobId"]
        return ok({"jobDetails": {"id": job_id, "data": {}, "nonce": job_id}})

    async def main() -> None:
        async with client_of(server.endpoint_url) as client:
            numbers = [str(number) for number in range(100)]
            details = await asyncio.gather(
                *(client.get_third_party_job_details(number, client_token=TOKEN) for number in numbers)
            )
        assert [each.nonce for each in details] == numbers

    script.respond = respond
    _run(main())


@pytest.mark.skipif(sys.version_info < (3, 12), reason="a record tells its task since Python 3.12")
def test_tasks_do_not_share_what_belongs_to_a_call(server: ScriptedServer) -> None:
    """Two clients in one loop, one of them with wire logs: each record of the other is withheld."""
    records: list[tuple[str, str]] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append((str(vars(record)["taskName"]), logged([record])))

    async def main() -> None:
        async with client_of(server.endpoint_url) as quiet, client_of(server.endpoint_url, wire_logs=True) as loud:
            for _ in range(5):
                await asyncio.gather(
                    asyncio.create_task(get(quiet), name="quiet"), asyncio.create_task(get(loud), name="loud")
                )

    root, handler = logging.getLogger(), Kept()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        asyncio.run(main())
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
    assert STEM in "".join(text for name, text in records if name == "loud")
    assert STEM not in "".join(text for name, text in records if name != "loud")


# --- cancelled -------------------------------------------------------------------------------------------------------


@each_operation
@pytest.mark.parametrize("when", ["before it starts", "while it waits"])
def test_a_cancelled_call_ends_at_once(
    when: str, operation: str, server: ScriptedServer, script: Script, seen: Callable[[], str]
) -> None:
    """CancelledError comes out, shows no secret in any frame, and the client goes on with another connection."""
    records: list[CallRecord] = []

    async def main() -> None:
        received = asyncio.Event()
        async with client_of(server.endpoint_url, on_call=records.append) as client:
            script.respond = late(received)
            task = asyncio.create_task(_CALLS[operation](client))
            if when == "while it waits":
                await received.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError) as caught:
                await task
            assert STEM not in with_locals(caught.value) + reachable(caught.value) + repr(task)
            assert task.cancelled()
            script.respond = good
            assert await client.poll_for_third_party_jobs(TYPE) == ()

    _run(main())
    assert [record.error for record in records] == ["CancelledError"] * (when == "while it waits") + [None]
    assert {record.attempts for record in records} == {1}
    assert "Traceback" not in seen()


def test_a_connection_with_half_a_response_is_not_used_again(server: ScriptedServer, script: Script) -> None:
    """After a call that was cancelled in the midst of its response, the next one gets its own."""

    async def main() -> None:
        loop, half = asyncio.get_running_loop(), asyncio.Event()
        with _peer(lambda connection: _half(connection, loop, half)) as endpoint_url:
            async with client_of(endpoint_url) as client:
                task = asyncio.create_task(get(client))
                await half.wait()
                await asyncio.sleep(0.02)  # until the half has been read
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                for _ in range(3):
                    assert await client.poll_for_third_party_jobs(TYPE) == ()

    del server, script
    _run(main())


class _peer:  # noqa: N801 - a context manager in the shape of a function
    """Serve each connection with a function, on a raw socket."""

    def __init__(self, play: Callable[[socket.socket], None]) -> None:
        self._play = play
        self._listening = socket.create_server(("127.0.0.1", 0))

    def __enter__(self) -> str:
        threading.Thread(target=self._serve, daemon=True).start()
        return f"http://127.0.0.1:{self._listening.getsockname()[1]}"

    def __exit__(self, *_: object) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._respond, args=(connection,), daemon=True).start()

    def _respond(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):  # the client may disconnect at any time
            self._play(connection)


_HEAD = b"HTTP/1.1 200 OK\r\nx-amzn-RequestId: r\r\nContent-Length: %d\r\n\r\n"


def _half(connection: socket.socket, loop: asyncio.AbstractEventLoop, half: asyncio.Event) -> None:
    """Send half of the first response, and complete ones after it."""
    body = b'{"jobs": []}'
    with connection:
        while connection.recv(65536):
            if not half.is_set():
                connection.sendall(_HEAD % len(body) + body[:6])
                loop.call_soon_threadsafe(half.set)
            else:
                connection.sendall(_HEAD % len(body) + body)


@pytest.mark.parametrize(
    ("head", "error"),
    [
        (b"HTTP/1.1 200 OK\r\nx-amzn-RequestId: r\r\nX-Bad: \xff\r\nContent-Length: 1000\r\n\r\n", TransportError),
        (b"HTTP/1.1 101 Switching\r\nx-amzn-RequestId: r\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", None),
    ],
    ids=["header in no encoding", "101"],
)
def test_no_response_takes_a_connection_away(head: bytes, error: type[Exception] | None) -> None:
    """What aiobotocore cannot read, or does not release, leaves the connections free for the next calls."""

    def play(connection: socket.socket) -> None:
        with connection:
            while connection.recv(65536):
                connection.sendall(head)

    async def main() -> None:
        config = Config(max_pool_connections=1, retries={"mode": "standard", "total_max_attempts": 1})
        with _peer(play) as endpoint_url:
            async with client_of(endpoint_url, config=config, deadline=60) as client:
                for _ in range(3):
                    begin = time.monotonic()
                    with contextlib.nullcontext() if error is None else pytest.raises(error) as caught:
                        await _CALLS["succeed"](client)
                    assert time.monotonic() - begin < 50
                    if caught is not None:
                        assert "is_retry_safe=True" not in repr(vars(caught.value))

    _run(main())


# --- stopped by the deadline -----------------------------------------------------------------------------------------


def _drip(connection: socket.socket) -> None:
    """Send a byte of a response every 20 milliseconds, for a minute at most."""
    with connection:
        try:
            connection.recv(65536)
            connection.sendall(_HEAD % 10_000)
            for _ in range(3000):
                connection.sendall(b" ")
                time.sleep(0.02)
        except OSError:
            return


@each_operation
def test_a_slow_peer_cannot_outlive_the_deadline(operation: str, seen: Callable[[], str]) -> None:
    """A peer that sends byte after byte beats every read timeout, and not the deadline, in which it was sent once."""
    records: list[CallRecord] = []

    async def main() -> None:
        with _peer(_drip) as endpoint_url:
            async with client_of(endpoint_url, deadline=1.0, on_call=records.append) as client:
                with pytest.raises(TransportError, match="no response before the deadline") as caught:
                    await _CALLS[operation](client)
        assert (caught.value.__cause__, caught.value.__context__, caught.value.attempts) == (None, None, 1)
        assert caught.value.is_retry_safe is (True if operation in ("poll", "get") else None)
        assert STEM not in _show_error(caught.value)

    _run(main())
    assert [(record.attempts, record.error) for record in records] == [(1, "TransportError")]
    assert records[0].seconds < 50  # the peer goes on for a minute
    assert "Traceback" not in seen()


@pytest.mark.skipif(sys.version_info < (3, 11), reason="asyncio.timeout is as old as Python 3.11")
def test_the_timeout_of_a_caller_is_the_callers(server: ScriptedServer, script: Script) -> None:
    """`asyncio.timeout` around a call ends it with TimeoutError, though the call has a deadline of its own."""

    async def main() -> None:
        received = asyncio.Event()
        script.respond = late(received, 60.0)
        async with client_of(server.endpoint_url) as client:
            with pytest.raises(TimeoutError) as caught:
                async with vars(asyncio)["timeout"](0.1):
                    await get(client)
            assert STEM not in _show_error(caught.value)
            task: Any = asyncio.current_task()
            assert task.cancelling() == 0
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(get(client), 0.1)

    _run(main())


def test_the_deadline_of_one_call_cancels_no_other(server: ScriptedServer, script: Script) -> None:
    """Two calls at once, with deadlines of their own, end as each of them must."""

    async def main() -> None:
        received = asyncio.Event()
        script.respond = late(received, 0.6)
        async with client_of(server.endpoint_url, deadline=0.2) as hasty, client_of(server.endpoint_url) as patient:
            outcomes = await asyncio.gather(
                hasty.poll_for_third_party_jobs(TYPE), patient.poll_for_third_party_jobs(TYPE), return_exceptions=True
            )
        assert (type(outcomes[0]), outcomes[1]) == (TransportError, ())

    _run(main())


# --- what asyncio shows ----------------------------------------------------------------------------------------------


def _echo(request: ReceivedRequest) -> Response:
    return error("JobNotFoundException", f"no job for {request.parameters.get('clientToken')}")


@pytest.mark.skipif(sys.version_info < (3, 11), reason="TaskGroup is as old as Python 3.11")
def test_a_group_of_tasks_shows_no_secret(server: ScriptedServer, script: Script, seen: Callable[[], str]) -> None:
    """The errors of a TaskGroup come as one group, in whose members and traceback there is no marker."""

    async def main() -> None:
        async with client_of(server.endpoint_url) as client, vars(asyncio)["TaskGroup"]() as group:
            for call in _CALLS.values():
                group.create_task(call(client))

    script.respond = _echo
    with pytest.raises(Exception, match="unhandled errors in a TaskGroup") as caught:
        _run(main())
    members: tuple[Exception, ...] = getattr(caught.value, "exceptions", ())
    assert JobNotFoundException in {type(member) for member in members}
    for raised in (caught.value, *members):
        assert STEM not in _show_error(raised)
    assert "Traceback" not in seen()


@pytest.mark.parametrize("outcome", ["good", "error", "cancelled"])
def test_a_task_shows_no_secret(outcome: str, server: ScriptedServer, script: Script, seen: Callable[[], str]) -> None:
    """The repr and the printed stack of a task show where it is and what came of it, with no marker."""

    async def main() -> None:
        received = asyncio.Event()
        script.respond = late(received, 0.1) if outcome != "error" else _echo
        async with client_of(server.endpoint_url) as client:
            task = asyncio.create_task(get(client))
            shown = [repr(task)]
            if outcome != "error":
                await received.wait()
            else:
                await asyncio.sleep(0)
            stack = io.StringIO()
            task.print_stack(file=stack)
            shown += [repr(task), stack.getvalue()]
            if outcome == "cancelled":
                task.cancel()
            await asyncio.wait([task])
            shown += [repr(task), str(task)]
        assert "AsyncioClient" in shown[0]
        assert STEM not in "".join(shown)

    _run(main())
    assert seen()


def test_an_error_that_nobody_asks_for_shows_no_secret(
    server: ScriptedServer, script: Script, seen: Callable[[], str]
) -> None:
    """What asyncio logs of a task whose exception was never retrieved names the error, and has no marker."""

    async def main() -> None:
        async with client_of(server.endpoint_url) as client:
            task = asyncio.create_task(get(client))
            await asyncio.wait([task])
            del task
            gc.collect()

    script.respond = _echo
    _run(main())
    assert "Task exception was never retrieved" in seen()
    assert "no job for **********" in seen()


def test_a_slow_callback_shows_no_secret(server: ScriptedServer, seen: Callable[[], str]) -> None:
    """In its debug mode asyncio logs each step of a call that took long, with no marker."""

    async def main() -> None:
        asyncio.get_running_loop().slow_callback_duration = 0.0
        async with client_of(server.endpoint_url) as client:
            await asyncio.gather(*(asyncio.create_task(call(client)) for call in _CALLS.values()))

    _run(main())
    assert "AsyncioClient" in seen()
    assert seen().count("seconds") > 10


def test_a_call_that_is_never_awaited_shows_no_secret(
    server: ScriptedServer, recwarn: pytest.WarningsRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python warns of a call without ``await``; neither the warning nor what waits in the coroutine has a marker."""
    unraisable: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", unraisable.append)

    async def main() -> None:
        async with client_of(server.endpoint_url) as client:
            call: Any = get(client)
            assert STEM not in repr(call) + repr(call.cr_frame.f_locals)
            del call
            gc.collect()

    _run(main())
    shown = [str(warning.message) for warning in recwarn] + [repr(each.exc_value) for each in unraisable]
    assert "was never awaited" in "".join(shown)
    assert STEM not in "".join(shown)


def test_a_program_that_ends_in_the_midst_of_a_call(server: ScriptedServer, script: Script) -> None:
    """When the loop ends, the call is cancelled like any task, and no connection is left behind."""

    async def main() -> asyncio.Task[object]:
        received = asyncio.Event()
        script.respond = late(received)
        client = await client_of(server.endpoint_url).__aenter__()

        async def use() -> object:
            async with contextlib.AsyncExitStack() as stack:
                stack.push_async_exit(client.__aexit__)
                return await get(client)

        task = asyncio.create_task(use())
        await received.wait()
        return task

    task = asyncio.run(main())
    assert task.cancelled()


# --- where requests go -----------------------------------------------------------------------------------------------


@each_operation
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_request_follows_a_redirect(status: int, operation: str, server: ScriptedServer, script: Script) -> None:
    """Wherever a peer points to, neither the client token nor the session token of the headers goes there."""
    with ScriptedServer(good) as elsewhere:
        headers = {"Location": f"{elsewhere.endpoint_url}/", "x-amzn-RequestId": "r"}
        script.respond = lambda _: Response(body=b"", status=status, headers=headers)

        async def main() -> None:
            async with client_of(server.endpoint_url) as client:
                with pytest.raises(ThirdPartyError):
                    await _CALLS[operation](client)

        asyncio.run(main())
        assert (len(server.requests), elsewhere.requests) == (1, [])


def test_aiobotocore_follows_redirects_by_itself(server: ScriptedServer, script: Script) -> None:
    """The harness sees a redirect followed when a wrapped client is used directly: that is left as it is."""
    with ScriptedServer(good) as elsewhere:
        headers = {"Location": f"{elsewhere.endpoint_url}/", "x-amzn-RequestId": "r"}
        script.respond = lambda _: Response(body=b"", status=307, headers=headers)

        async def main() -> None:
            async with raw_client(server.endpoint_url) as raw:
                with pytest.raises(ThirdPartyError):  # and a call of ours, before it in this task, changes nothing
                    await AsyncThirdPartyJobClient(raw, deadline=0.5).poll_for_third_party_jobs(TYPE)
                await raw.get_third_party_job_details(jobId="job-1", clientToken=TOKEN.get_secret_value())

        asyncio.run(main())
        assert len(elsewhere.requests) == 1


def test_a_cookie_shows_no_secret(server: ScriptedServer, script: Script, seen: Callable[[], str]) -> None:
    """Aiohttp's log of a cookie that it cannot read does not repeat the token."""

    def respond(request: ReceivedRequest) -> Response:
        headers = {"x-amzn-RequestId": "r", "Set-Cookie": f"[{request.parameters['clientToken']}]=1; Max-Age={STEM}"}
        return Response(body=ok(GOOD).body, headers=headers)

    async def main() -> None:
        async with client_of(server.endpoint_url) as client:
            await get(client)

    script.respond = respond
    _run(main())
    assert "withheld" in seen()


def test_cookies_are_not_sent_back(server: ScriptedServer, script: Script) -> None:
    """A cookie of an earlier response, such as that of a proxy, is not in later requests."""

    def respond(_: ReceivedRequest) -> Response:
        return Response(body=ok(GOOD).body, headers={"x-amzn-RequestId": "r", "Set-Cookie": "proxy=1"})

    async def main() -> None:
        async with client_of(server.endpoint_url.replace("127.0.0.1", "localhost")) as client:
            await get(client)
            await get(client)

    script.respond = respond
    _run(main())
    assert [request.headers.get("cookie") for request in server.requests] == [None, None]
