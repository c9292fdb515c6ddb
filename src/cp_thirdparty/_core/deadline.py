"""One thread that shuts down the connections of calls whose deadline was reached."""

from __future__ import annotations

import logging
import math
import os
import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Protocol

from cp_thirdparty._core.call import now
from cp_thirdparty._core.caller_code import write_log

if TYPE_CHECKING:
    from cp_thirdparty._core.call import Call

_NO_THREAD: Final = "no thread for deadlines could be started; a deadline does not end a read that hangs"


class _HasDescriptor(Protocol):
    def fileno(self) -> int: ...


class Watch:
    """
    The deadline of one call, and the connection that the call uses now.

    A call uses one connection at a time.  The descriptor is a duplicate of the connection's own, so that no other
    connection is shut down when the call has closed its own.
    """

    __slots__ = ("_descriptors", "ends_at", "is_used")

    def __init__(self, ends_at: float) -> None:
        self.ends_at = ends_at
        self.is_used = False
        self._descriptors: list[int] = []  # `pop` takes one in a single step, which no signal handler interrupts

    def use(self, connection: _HasDescriptor) -> None:
        """Watch this connection and no other; none if the process has no descriptor left."""
        self.release()
        self.is_used = True
        try:  # not `suppress`, which takes longer than the rest
            self._descriptors.append(socket.dup(connection.fileno()))
        except OSError:
            return

    def shut_down(self) -> None:
        """Shut down the connection: whoever waits for it fails at once."""
        while self._descriptors:
            # The peer may have closed the connection, or other code the descriptor.
            with suppress(OSError), socket.socket(fileno=self._descriptors.pop()) as connection:
                connection.shutdown(socket.SHUT_RDWR)

    def release(self) -> None:
        """Forget the connection, which others may use from now on."""
        while self._descriptors:
            try:
                socket.close(self._descriptors.pop())
            except (IndexError, OSError):  # noqa: PERF203 - the loop runs once
                continue  # a signal handler of the caller was faster, or code that closes all descriptors
        self.is_used = False


class Watchdog:
    """
    Shut down the connections of calls whose deadline was reached.

    Botocore's read timeout starts again with each piece of a response, and nothing bounds the loading of credentials.
    A shutdown ends whatever the call waits for: a TLS handshake, a proxy, a response, or the response of STS.

    A signal handler may make a call while the thread that it interrupts is in one of these methods.  So the lock is
    reentrant, and nothing is logged while it is held.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all calls and the thread, which does not exist in the child of a fork."""
        self._lock = threading.RLock()
        self._watches: set[Watch] = set()
        self._wakes_at = math.inf
        self._thread: threading.Thread | None = None
        # Wakes the thread when it is released.  `Condition` and `Event` are not reentrant.
        self._sleep = threading.Lock()
        self._sleep.acquire()

    def start(self, call: Call) -> None:
        """Let `use` watch the connections of a call, if it has a deadline."""
        if call.ends_at is not None:
            call.watch = Watch(call.ends_at)

    def use(self, call: Call, connection: _HasDescriptor) -> None:
        """Watch this connection of a call, and no other."""
        watch = call.watch
        if watch is None:
            return
        with self._lock:
            watch.use(connection)
            self._watches.add(watch)
            if watch.ends_at < self._wakes_at:
                self._wakes_at = watch.ends_at
                with suppress(RuntimeError):  # the thread was woken already
                    self._sleep.release()
            # It has a thread, too, if a signal has interrupted the code that starts one.
            has_thread = self._thread is not None or self._start_thread()
        if not has_thread:
            write_log(logging.WARNING, _NO_THREAD)

    def _start_thread(self) -> bool:
        self._thread = threading.Thread(target=self._run_to_end, name="cp-thirdparty-deadlines", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # the system has no thread left
            self._thread = None
        return self._thread is not None

    def release(self, call: Call) -> None:
        """Leave the connection of a call alone: its response is complete, and others may use the connection."""
        watch = call.watch
        if watch is not None and watch.is_used:
            with self._lock:  # wait for a shutdown that has begun, so that nobody uses the connection before its end
                watch.release()
                self._watches.discard(watch)

    def _run_to_end(self) -> None:
        try:
            self._run()
        finally:
            self._thread = None  # the next call starts another one

    def _run(self) -> None:
        while True:
            with self._lock:
                time = now()
                for watch in [each for each in self._watches if each.ends_at <= time]:
                    watch.shut_down()
                    self._watches.remove(watch)
                # A call that woke the thread may be over by now: without others, sleep until its deadline all the same,
                # or each of many short calls would wake the thread.
                known = self._wakes_at if self._wakes_at > time else math.inf
                self._wakes_at = min((watch.ends_at for watch in self._watches), default=known)
                left = -1 if self._wakes_at == math.inf else self._wakes_at - time
            self._sleep.acquire(timeout=min(left, threading.TIMEOUT_MAX))


WATCHDOG = Watchdog()

if hasattr(os, "register_at_fork"):  # pragma: no branch - not on Windows
    os.register_at_fork(after_in_child=WATCHDOG.reset)
