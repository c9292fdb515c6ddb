"""
The code that runs in the separate process of one job.

The process from which the processes of jobs are forked imports this module before the first fork.

Each message is one byte for its kind, followed by data.  The process of a job sends log records (`RECORD`), the request
to start the handler (`READY`), and how the handler ended (`END`).  The worker sends the permission to start the
handler, and the request to stop (`STOP`).
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import pickle
import signal
import tempfile
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection, wait
from typing import Any, Final

import attrs

from cp_thirdparty.models import AnyJob
from cp_thirdparty.worker._async_handlers import write_log
from cp_thirdparty.worker._child_logs import Levels, RecordSender
from cp_thirdparty.worker.runner import HandlerRun, NotStarted, run_in_process

RECORD: Final = b"R"
READY: Final = b"B"
END: Final = b"E"
STOP: Final = b"S"


@attrs.frozen(kw_only=True)
class Order:
    """
    The instructions for the process of one job.

    An order contains no secret, unless the job comes from the event of a Lambda function.

    Attributes:
        runner: A pickled `cp_thirdparty.worker.runner.Runner`.
        offer: The job, which is already acknowledged.
        deadline: Time at which the job times out, in seconds since 1970.
        folder: A folder for temporary files, which the worker removes; ``None`` for the default folder of the system.
        levels: The log levels of the worker, which determine which log records the process sends.
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
        variables: The current environment variables of the worker.  The process from which this one was forked may have
            older values.
    """
    _leave_group()
    os.environ.update(variables)
    del variables  # they may contain a client token, which the handler's traceback could show from this frame
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
        order.levels.apply()  # after the handler was imported, because the import may configure logging
        logging.getLogger().addHandler(RecordSender(partial(channel.send, RECORD), order.offer.job_id))
        channel.send(READY)
        return started.wait()  # if the worker no longer needs the job, it kills this process

    with suppress(OSError):  # the worker has ended
        handler_run = run_in_process(order.runner, order.offer, order.deadline, may_begin, stopping)
        clean_up: Callable[[], tuple[str, ...]] = handler_run.clean_up if isinstance(handler_run, HandlerRun) else tuple
        channel.end(handler_run)  # first, because the clean-up may take long
        for problem in clean_up():
            write_log(logging.WARNING, "job=%s %s", order.offer.job_id, problem)


class _Channel:
    """Sends messages to the worker.  Thread-safe."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()

    def send(self, kind: bytes, data: bytes = b"") -> None:
        """Send a message."""
        with self._lock:
            self._connection.send_bytes(kind + data)

    def end(self, handler_run: HandlerRun | NotStarted) -> None:
        """Send how the handler ended."""
        end = attrs.evolve(handler_run, clean_up=tuple) if isinstance(handler_run, HandlerRun) else handler_run
        self.send(END, pickle.dumps(end))


def _leave_group() -> None:
    """
    Prevent signals that stop the worker from stopping the processes of its jobs.

    The signals are ignored by a Python function and not by `signal.SIG_IGN`.  A program that the handler starts would
    inherit `signal.SIG_IGN`, and the handler could not terminate the program.
    """
    with suppress(AttributeError, OSError):  # not on Windows
        os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _ignore)


def _ignore(_number: int, _frame: object) -> None:
    pass


def _follow_worker(connection: Connection, started: threading.Event, stopping: threading.Event) -> None:
    """Read the worker's messages; when the worker's process ends, kill this process and the programs in its group."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "multiprocessing has started this process"  # noqa: S101 - a bug in this library
    sources: list[Any] = [parent.sentinel, connection]
    while parent.sentinel not in wait(sources):
        message = _receive(connection)
        if message:
            (stopping if message == STOP else started).set()
        else:
            sources.remove(connection)
    kill_group(os.getpid())


def _receive(connection: Connection) -> bytes:
    """Return the next message; it is empty if the worker has closed its end of the pipe."""
    try:
        return connection.recv_bytes()
    except (EOFError, OSError):
        return b""


def kill_group(process_id: int) -> None:
    """Kill the process of a job, and the processes that it has started and that are still in its process group."""
    if hasattr(os, "killpg"):  # pragma: no branch - not on Windows
        with suppress(OSError):  # the process has no group of its own yet, or the group is empty
            os.killpg(process_id, signal.SIGKILL)
    with suppress(OSError):
        os.kill(process_id, getattr(signal, "SIGKILL", signal.SIGTERM))
