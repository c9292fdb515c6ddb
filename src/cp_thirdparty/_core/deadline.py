"""One thread that shuts down the connections of calls whose deadline was reached."""

from __future__ import annotations

import logging
import math
import os
import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from cp_thirdparty._core.call import now

if TYPE_CHECKING:
    from cp_thirdparty._core.call import Call

_log = logging.getLogger("cp_thirdparty")


class _HasDescriptor(Protocol):
    def fileno(self) -> int: ...


class Watch:
    """
    The deadline of one call, and the connection that the call uses now.

    A call uses one connection at a time.  The descriptor is a duplicate of the connection's own, so that no other
    connection is shut down when the call has closed its own.
    """

    __slots__ = ("descriptor", "ends_at")

    def __init__(self, ends_at: float) -> None:
        self.ends_at = ends_at
        self.descriptor: int | None = None

    def shut_down(self) -> None:
        """Shut down the connection: whoever waits for it fails at once."""
        if self.descriptor is None:
            return
        with socket.socket(fileno=self.descriptor) as connection, suppress(OSError):  # the peer may have closed it
            connection.shutdown(socket.SHUT_RDWR)
        self.descriptor = None

    def release(self) -> None:
        """Forget the connection, which others may use from now on."""
        if self.descriptor is not None:
            socket.close(self.descriptor)
            self.descriptor = None


class Watchdog:
    """
    Shuts down the connections of calls whose deadline was reached.

    Botocore's read timeout starts again with each piece of a response, and nothing bounds the loading of credentials.
    A shutdown ends whatever the call waits for: a TLS handshake, a proxy, a response, or the response of STS.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all calls and the thread, which does not exist in the child of a fork."""
        self._changed = threading.Condition(threading.Lock())
        self._watches: set[Watch] = set()
        self._wakes_at = math.inf
        self._thread: threading.Thread | None = None

    def start(self, call: Call) -> None:
        """Watch a call, if it has a deadline."""
        if call.ends_at is None:
            return
        call.watch = Watch(call.ends_at)
        with self._changed:
            self._watches.add(call.watch)
            if call.ends_at < self._wakes_at:
                self._wakes_at = call.ends_at
                self._changed.notify()
            if self._thread is None:
                self._start_thread()

    def _start_thread(self) -> None:
        thread = threading.Thread(target=self._run, name="cp-thirdparty-deadlines", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the system has no thread left
            _log.warning("no thread for deadlines could be started; a deadline does not end a read that hangs")
        else:
            self._thread = thread

    def use(self, call: Call, connection: _HasDescriptor) -> None:
        """Watch this connection of a call, and no other."""
        if call.watch is not None:
            with self._changed:
                call.watch.release()
                call.watch.descriptor = socket.dup(connection.fileno())

    def release(self, call: Call) -> None:
        """Leave the connection of a call alone: its response is complete, and others may use the connection."""
        if call.watch is not None:
            with self._changed:
                call.watch.release()

    def stop(self, call: Call) -> None:
        """Watch a call no longer."""
        if call.watch is not None:
            with self._changed:
                call.watch.release()
                self._watches.discard(call.watch)

    def _run(self) -> None:
        with self._changed:
            while True:
                time = now()
                for watch in [each for each in self._watches if each.ends_at <= time]:
                    watch.shut_down()
                    self._watches.remove(watch)
                self._wakes_at = min((watch.ends_at for watch in self._watches), default=math.inf)
                self._changed.wait(None if self._wakes_at == math.inf else self._wakes_at - time)


WATCHDOG = Watchdog()

if hasattr(os, "register_at_fork"):  # pragma: no branch - not on Windows
    os.register_at_fork(after_in_child=WATCHDOG.reset)
