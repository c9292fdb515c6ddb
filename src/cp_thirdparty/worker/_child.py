"""
What runs in the process of one job.  It is imported before, in the process from which the others are forked.

The process sends messages of one kind and its data: log records, the question whether the handler may begin, and how
the handler ended.  It gets one message: the handler may begin.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import pickle
import signal
import tempfile
import threading
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection, wait
from typing import Any, Final

import attrs

from cp_thirdparty.models import AnyJob
from cp_thirdparty.worker._child_logs import Levels, RecordSender
from cp_thirdparty.worker.runner import HandlerRun, NotStarted, run_in_executor

RECORD: Final = b"R"
READY: Final = b"B"
END: Final = b"E"
STOP: Final = b"S"


@attrs.frozen(kw_only=True)
class Order:
    """
    What the process of a job is to do.  It holds no secret, except for a job of an event of Lambda.

    Attributes:
        runner: A pickled `cp_thirdparty.worker.runner.Runner`.
        offer: The job, already acknowledged.
        deadline: When the job times out, in seconds since 1970.
        folder: A folder for temporary files, which the worker removes; ``None`` for that of the system.
        levels: Which log records to send.
    """

    runner: bytes = attrs.field(repr=False)
    offer: AnyJob
    deadline: float
    folder: str | None
    levels: Levels


def run_order(connection: Connection, order: Order, variables: Mapping[str, str]) -> None:
    """
    Run the handler of one job, in the main thread of its own process.

    Args:
        connection: The pipe to the worker.
        order: The job.
        variables: Environment variables as they are now; this process may have been forked from an older environment.
    """
    _leave_group()
    os.environ.update(variables)
    del variables  # they hold the client token, and this frame stays above that of the handler
    started, stopping = threading.Event(), threading.Event()
    follow = threading.Thread(
        target=_follow_worker, args=(connection, started, stopping), name="cp-thirdparty-parent", daemon=True
    )
    follow.start()
    if order.folder is not None:
        tempfile.tempdir = order.folder
        os.environ.update(dict.fromkeys(("TMPDIR", "TEMP", "TMP"), order.folder))
    channel = _Channel(connection)

    def may_begin() -> bool:
        order.levels.apply()  # after the imports of the handler, which may configure logs
        logging.getLogger().addHandler(RecordSender(partial(channel.send, RECORD), order.offer.job_id))
        channel.send(READY)
        return started.wait()  # if the worker does not want the job any more, it kills this process

    with suppress(OSError):  # the worker has ended
        channel.end(run_in_executor(order.runner, order.offer, order.deadline, may_begin, stopping))


class _Channel:
    """Messages to the worker.  Thread-safe."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self._has_ended = False

    def send(self, kind: bytes, data: bytes = b"") -> None:
        """Send a message, unless the handler has ended: then nobody reads it."""
        with self._lock:
            if not self._has_ended:
                self._connection.send_bytes(kind + data)

    def end(self, handler_run: HandlerRun | NotStarted) -> None:
        """Send how the handler ended."""
        data = END + pickle.dumps(handler_run)
        with self._lock:
            self._has_ended = True
            self._connection.send_bytes(data)


def _leave_group() -> None:
    """
    Let signals that stop the worker not stop its jobs.

    Python functions ignore them, because a program that the handler starts would inherit `signal.SIG_IGN`, and could
    not be terminated by the handler.
    """
    with suppress(AttributeError, OSError):  # not on Windows
        os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _ignore)


def _ignore(_number: int, _frame: object) -> None:
    pass


def _follow_worker(connection: Connection, started: threading.Event, stopping: threading.Event) -> None:
    """Read what the worker sends; end this process, and the programs in its group, when the worker's process ends."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "multiprocessing has started this process"  # noqa: S101 - a mistake of this library
    sources: list[Any] = [parent.sentinel, connection]
    while parent.sentinel not in wait(sources):
        message = _receive(connection)
        if message:
            (stopping if message == STOP else started).set()
        else:
            sources.remove(connection)
    kill_group(os.getpid())


def _receive(connection: Connection) -> bytes:
    """Return the next message; it is empty if the worker has closed its side."""
    try:
        return connection.recv_bytes()
    except (EOFError, OSError):
        return b""


def kill_group(process_id: int) -> None:
    """Kill a process of a job, and the processes that it has started and that are still in its group."""
    if hasattr(os, "killpg"):  # pragma: no branch - not on Windows
        with suppress(OSError):  # it has no group of its own yet, or the group is empty
            os.killpg(process_id, signal.SIGKILL)
    with suppress(OSError):
        os.kill(process_id, getattr(signal, "SIGKILL", signal.SIGTERM))
