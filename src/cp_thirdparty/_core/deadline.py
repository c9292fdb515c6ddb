"""A thread that shuts down the connection of each call that has reached its deadline."""

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

_NO_THREAD: Final = "could not start the thread for deadlines; a deadline does not end a read that hangs"


class _HasDescriptor(Protocol):
    def fileno(self) -> int: ...


class Watch:
    """
    The deadline of one call, and the connection that the call currently uses.

    This class keeps a duplicate of the connection's file descriptor.  Otherwise,
    after the call has closed its connection, a new connection could get the same descriptor and be shut down.
    """

    __slots__ = ("_descriptors", "ends_at", "is_used")

    def __init__(self, ends_at: float) -> None:
        self.ends_at = ends_at
        self.is_used = False
        self._descriptors: list[int] = []  # at most one; `pop` is atomic, so signal handlers cannot interrupt it

    def use(self, connection: _HasDescriptor) -> None:
        """Watch only this connection, or none if the process cannot open another file descriptor."""
        self.release()
        self.is_used = True
        try:  # not `suppress`, which would take longer than the call itself
            self._descriptors.append(socket.dup(connection.fileno()))
        except OSError:
            return

    def shut_down(self) -> None:
        """Shut down the connection, so that the code that waits for it fails at once."""
        while self._descriptors:
            # The peer may have closed the connection, or other code may have closed the descriptor.
            with suppress(OSError), socket.socket(fileno=self._descriptors.pop()) as connection:
                connection.shutdown(socket.SHUT_RDWR)

    def release(self) -> None:
        """Stop watching the connection, because other calls may use it from now on."""
        while self._descriptors:
            try:
                socket.close(self._descriptors.pop())
            except (IndexError, OSError):  # noqa: PERF203 - the loop runs once
                continue  # a signal handler has removed it, or other code has closed all descriptors
        self.is_used = False


class Watchdog:
    """
    Shut down the connection of each call that has reached its deadline.

    This is necessary because botocore's read timeout restarts with each piece of a response, and botocore has no limit
    for loading credentials.  A shutdown ends each kind of wait: for a TLS handshake, a proxy, a response, or STS.

    A signal handler may make a call while the interrupted thread is in one of these methods.  Therefore the lock is
    reentrant, and nothing is logged while the lock is held.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Discard all calls and the thread, because a forked child has no such thread."""
        self._lock = threading.RLock()
        self._watches: set[Watch] = set()
        self._wakes_at = math.inf
        self._thread: threading.Thread | None = None
        # The thread waits for this lock, so releasing the lock wakes the thread.  `Condition` and `Event` are not used,
        # because they are not reentrant.
        self._sleep = threading.Lock()
        self._sleep.acquire()

    def start(self, call: Call) -> None:
        """Prepare a call for `use`, if the call has a deadline."""
        if call.ends_at is not None:
            call.watch = Watch(call.ends_at)

    def use(self, call: Call, connection: _HasDescriptor) -> None:
        """Watch this connection of a call, and no other connection of the call."""
        watch = call.watch
        if watch is None:
            return
        with self._lock:
            watch.use(connection)
            self._watches.add(watch)
            if watch.ends_at < self._wakes_at:
                self._wakes_at = watch.ends_at
                with suppress(RuntimeError):  # the lock was already released
                    self._sleep.release()
            # `_thread` is also set if this code runs in a signal handler that has interrupted `_start_thread`.
            has_thread = self._thread is not None or self._start_thread()
        if not has_thread:
            write_log(logging.WARNING, _NO_THREAD)

    def _start_thread(self) -> bool:
        self._thread = threading.Thread(target=self._run_to_end, name="cp-thirdparty-deadlines", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # the system cannot start another thread
            self._thread = None
        return self._thread is not None

    def release(self, call: Call) -> None:
        """Stop watching the connection of a call: the response is complete, and other calls may use the connection."""
        watch = call.watch
        if watch is not None and watch.is_used:
            with self._lock:  # a shutdown that has begun must end before other calls use the connection
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
                # The call that has set `_wakes_at` may have ended.  If no other call is watched, sleep until that time
                # anyway.  Otherwise each of many short calls would have to wake the thread.
                planned = self._wakes_at if self._wakes_at > time else math.inf
                self._wakes_at = min((watch.ends_at for watch in self._watches), default=planned)
                left = -1 if self._wakes_at == math.inf else self._wakes_at - time
            self._sleep.acquire(timeout=min(left, threading.TIMEOUT_MAX))


WATCHDOG = Watchdog()

if hasattr(os, "register_at_fork"):  # pragma: no branch - not on Windows
    os.register_at_fork(after_in_child=WATCHDOG.reset)
