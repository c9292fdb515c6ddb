"""`processes`: run each handler in its own process, and kill the process when the result is no longer needed."""

from __future__ import annotations

import atexit
import logging
import multiprocessing
import pickle
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Final

import attrs

from cp_thirdparty._base.text import show
from cp_thirdparty.worker._child import END, READY, RECORD, STOP, Order, kill_group, run_order
from cp_thirdparty.worker._child_logs import Levels, write_record
from cp_thirdparty.worker._claimed_job import ClaimedJob
from cp_thirdparty.worker._emit import Emitter
from cp_thirdparty.worker._engines import Engine
from cp_thirdparty.worker._event_queue import EventQueue
from cp_thirdparty.worker._executors import pickle_runner
from cp_thirdparty.worker._failure_policy import NotStartedError, ProcessDiedError
from cp_thirdparty.worker._start_permit import WITHDRAWN
from cp_thirdparty.worker._workspace import Workspace
from cp_thirdparty.worker.runner import HandlerRun, NotStarted, Runner

# Seconds between two checks of whether the result of a job is still needed.
_TICK: Final = 0.1

# Seconds for the start of a handler: 60 for the imports, 60 for `connect` and the look-up of the client token, and 60
# to read the details, which is the default deadline of a call.
_START_SECONDS: Final = 180.0

# Seconds for a process to end by itself after it has sent its result, including its clean-up and `atexit` functions.
# The worker removes files that the process leaves.
_EXIT_SECONDS: Final = 5.0

# Seconds that the end of a process waits for the start of another process.  That start may hang, and must not delay a
# job that has its result.
_TURN_SECONDS: Final = 1.0

# Seconds to wait until a killed process has ended.  Only an overloaded system takes longer.
_KILL_SECONDS: Final = 5.0

# Maximum number of log records of children that wait for the log handlers.  They usually need about 10 MiB.
_RECORDS: Final = 5000

# Seconds to write the last log records at the end of the run.
_FLUSH_SECONDS: Final = 1.0

# The longest message of a child in bytes.  A log record from `RecordSender` has at most a third of this size.
_LONGEST_MESSAGE: Final = 4 * 1024 * 1024

# The exit code that multiprocessing returns when it does not know the real exit code.
_UNKNOWN: Final = 255

# Held for each start and end of a process, because multiprocessing changes the set of its children without a lock.
_MULTIPROCESSING: Final = threading.Lock()


@attrs.frozen
class ProcessPerJob:
    """
    The setting that runs each job in its own process.  Create it with `processes`.

    Attributes:
        count: Maximum number of processes at a time.
        preload: Names of modules that are imported once, before the processes are forked.

    .. versionadded:: 0.2.0
    """

    count: int
    preload: tuple[str, ...] = ()


def processes(n: int, *, preload: list[str] | tuple[str, ...] = ()) -> ProcessPerJob:
    """
    Return a value for ``executor=`` of a `JobWorker` that runs each handler in its own process.

    The process is killed at the timeout of its job, even if the handler hangs or ignores signals, and the slot is free
    again.  If the process crashes, other jobs are not affected.  The process ends when the worker's process ends.  A
    signal to the process group of the worker does not reach it.

    The process reads the details of the job itself, so no secret is sent to it, with one exception: if the tokens are
    `EnvironmentTokens`, it gets the present client token of its job.

    Args:
        n: Maximum number of processes at a time, at least 1 and at most the ``concurrency`` of the worker.  The worker
            then works on at most ``n`` jobs at a time, whatever its ``concurrency`` is.
        preload: Names of modules that are imported once, before the processes are forked, such as the module of the
            handler.  These modules must not start threads at import.  ``preload`` has no effect on Windows, where
            processes are not forked, or if the program has used the start method ``"forkserver"`` of
            ``multiprocessing`` before.

    Raises:
        TypeError: ``n`` is not an integer, or ``preload`` is a string.
        ValueError: ``n`` is less than 1.

    .. versionadded:: 0.2.0
    """
    if not isinstance(n, int) or isinstance(n, bool):
        raise TypeError("n: must be an integer")
    if n < 1:
        raise ValueError("n: must be at least 1")
    if isinstance(preload, str):
        raise TypeError("preload: must be a sequence of module names, not a string")
    return ProcessPerJob(n, tuple(preload))


class ProcessEngine(Engine):
    """Runs each handler in its own process."""

    def __init__(
        self, runner: Runner[Any], settings: ProcessPerJob, emitter: Emitter, stopping: threading.Event
    ) -> None:
        super().__init__(emitter)
        self._runner = pickle_runner(runner)
        self._tokens = runner.tokens
        self._stopping = stopping
        self._context = _find_context(settings.preload)
        self._records = EventQueue(_RECORDS, self._report_dropped)  # not the worker's queue: handlers may log too much
        self._children: dict[str, _Child] = {}
        self._is_closed = False
        # When Python ends, multiprocessing waits for all processes.  `close` runs before that and kills them, because
        # functions run in reverse order, and multiprocessing was imported and has registered its function earlier.
        atexit.register(self.close)

    def run(self, job: ClaimedJob, seconds_left: float) -> HandlerRun | Exception | None:
        """Start a process for the job, and wait until it ends or its result is no longer needed."""
        self._starts.note_attempt(job)
        folder = _create_folder()
        order = Order(
            runner=self._runner,
            offer=job.offer,
            deadline=time.time() + seconds_left,
            folder=None if folder is None else str(folder.path),
            levels=Levels.read(),
        )
        child = _Child(
            *(self._context, order),
            read_variables=partial(self._read_variables, job.offer.client_id),
            on_record=self._write_record,
            on_start=self._starts.note_start,
            may_begin=job.begin,
        )
        self._children[job.offer.job_id] = child
        clean_up = partial(self._clean_up, child, job, folder)
        job.clean_up = clean_up  # if another thread ends the job, the worker waits until the files are removed
        handler_run = self._follow(child, job)
        if isinstance(handler_run, HandlerRun):
            return attrs.evolve(handler_run, clean_up=partial(self._wait_and_clean_up, child, clean_up))
        if handler_run is None:
            child.kill()
        else:
            clean_up()
            job.clean_up = None
        return handler_run

    def _read_variables(self, client_id: str) -> dict[str, str]:
        return {} if self._tokens is None else self._tokens.read_environment(client_id)

    def withdraw(self, job: ClaimedJob) -> bool:
        """Prevent the handler of a job from beginning; return ``False`` if it has begun."""
        child = self._children.get(job.offer.job_id)
        return child is not None and child.withdraw()

    def close(self) -> None:
        """Kill all processes that still run."""
        self._is_closed = True
        atexit.unregister(self.close)
        children = tuple(self._children.values())
        for child in children:
            child.kill()
        ends_at = time.monotonic() + _KILL_SECONDS
        for child in children:
            child.ended.wait(max(0.0, ends_at - time.monotonic()))
        self._records.flush(_FLUSH_SECONDS)

    def _follow(self, child: _Child, job: ClaimedJob) -> HandlerRun | Exception | None:
        try:
            child.start()
        except RuntimeError as failure:  # the system has no thread left
            return self._starts.note_failure(job, type(failure).__name__)
        started_at = time.monotonic()
        while not child.handler_ended.wait(_TICK):
            if self._stopping.is_set():
                child.send_stop()
            if job.cancelled.is_set() or child.is_withdrawn:
                break
            if not child.has_begun and time.monotonic() - started_at >= _START_SECONDS and child.withdraw():
                return self._starts.note_failure(job, f"the handler did not begin within {_START_SECONDS:.0f} seconds")
        if child.is_withdrawn:
            return NotStartedError(WITHDRAWN)
        if job.cancelled.is_set() or self._is_closed:
            return None
        return child.end if isinstance(child.end, HandlerRun) else self._note_end(child, job)

    def _wait_and_clean_up(self, child: _Child, clean_up: Callable[[], tuple[str, ...]]) -> tuple[str, ...]:
        """Wait until the process of a job has ended by itself, and clean up."""
        child.ended.wait(_EXIT_SECONDS + _KILL_SECONDS)
        return clean_up()

    def _clean_up(self, child: _Child, job: ClaimedJob, folder: Workspace | None) -> tuple[str, ...]:
        """Kill the process of a job, and remove its folder; return a message if files remain."""
        child.kill()
        child.ended.wait(_KILL_SECONDS)
        del self._children[job.offer.job_id]
        problem = "" if folder is None else folder.remove()
        if folder is None or not problem:
            return ()
        return (f"the temporary files could not be removed completely ({problem}): {folder.path}",)

    def _note_end(self, child: _Child, job: ClaimedJob) -> Exception:
        """Return the error of a job whose process has ended without a result."""
        end = child.end
        if isinstance(end, NotStarted):
            return self._starts.find_error(job, end)
        if not child.has_begun:
            return self._starts.note_failure(job, child.problem)
        return ProcessDiedError(child.problem, is_alone=True, is_isolated=True)

    def _write_record(self, data: bytes) -> None:
        self._records.put(partial(write_record, data))

    def _report_dropped(self, count: int) -> None:
        self._emitter.log(logging.WARNING, "%d log records of handlers were dropped, because too many wait", count)


class _Child:
    """
    The process of one job, and the thread that starts it and reads its messages.

    Attributes:
        handler_ended: Set when the process has sent its last message, has ended, or could not be started.
        ended: Set when the process has ended, or could not be started.
        end: The last message of the process: how the handler ended, or why it was not started.  ``None`` if the process
            has sent no such message, or none that can be read.
        has_begun: Whether the handler was allowed to begin.
        is_withdrawn: Whether the handler was prevented from beginning.
        problem: How the process ended or failed to start, for the error message of a job without a result.
    """

    def __init__(
        self,
        context: Any,
        order: Order,
        *,
        on_record: Callable[[bytes], object],
        on_start: Callable[[], object],
        read_variables: Callable[[], Mapping[str, str]] = dict,
        may_begin: Callable[[], bool] = lambda: True,
    ) -> None:
        self._context = context
        self._order = order
        self._read_variables = read_variables
        self._on_record = on_record
        self._on_start = on_start
        self._may_begin = may_begin
        self._lock = threading.Lock()
        self._process_id: int | None = None  # the id of the process; ``None`` before its start and after its end
        self._is_unwanted = False  # whether the process was killed, or must be killed as soon as it has started
        self._connection: Connection | None = None  # set while the handler runs, until it was informed of the stop
        self.handler_ended = threading.Event()
        self.ended = threading.Event()
        self.end: HandlerRun | NotStarted | None = None
        self.has_begun = False
        self.is_withdrawn = False
        self.problem = ""

    def start(self) -> None:
        """
        Start the process.

        Raises:
            RuntimeError: The system has no thread left.
        """
        try:
            name = f"cp-thirdparty-{show(self._order.offer.job_id)}-process"
            threading.Thread(target=self._run, name=name, daemon=True).start()
        except RuntimeError:
            self._set_ended()
            raise

    def withdraw(self) -> bool:
        """Prevent the handler from beginning; return ``False`` if it has begun."""
        with self._lock:
            self.is_withdrawn = not self.has_begun
            if self.is_withdrawn:
                self._kill()
            return self.is_withdrawn

    def send_stop(self) -> None:
        """Send the message that the worker stops, if the handler has begun; the message is sent only once."""
        with self._lock:
            connection, self._connection = self._connection, None
            if connection is not None:
                with suppress(OSError):  # the process has ended
                    connection.send_bytes(STOP)

    def kill(self) -> None:
        """Kill the process, if it has not ended, and all processes of its process group."""
        with self._lock:
            self._kill()

    def _kill(self) -> None:
        self._is_unwanted = True
        if self._process_id is not None:
            kill_group(self._process_id)

    def _run(self) -> None:
        try:
            connection, process = self._start_process()
            try:
                self._read(connection, process)
            finally:
                self._end(connection, process)
        except Exception as failure:  # noqa: BLE001 - multiprocessing, or reading a child's message, may raise anything
            self.problem = self.problem or type(failure).__name__
        finally:
            self._set_ended()

    def _set_ended(self) -> None:
        self.handler_ended.set()
        self.ended.set()

    def _start_process(self) -> tuple[Connection, BaseProcess]:
        ours, theirs = self._context.Pipe()
        try:
            with _take_turn(_START_SECONDS) as has_turn:
                if not has_turn:
                    raise TimeoutError  # noqa: TRY301 - the `except` clause below then closes the connection
                process = self._context.Process(
                    target=run_order,
                    args=(theirs, self._order, self._read_variables()),  # multiprocessing deletes them after the start
                    name=f"cp-thirdparty-{show(self._order.offer.job_id)}",
                )
                process.start()
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()  # then only the child has this end open, and the connection ends when the child ends
        with self._lock:
            self._process_id = process.pid
            if self._is_unwanted:
                self._kill()
        return ours, process

    def _read(self, connection: Connection, process: BaseProcess) -> None:
        """
        Read the messages of the process until it has ended.

        After the end of its handler, the process has `_EXIT_SECONDS`.  Its last log records are read in this time.
        """
        sources: list[Any] = [connection, process.sentinel]
        exit_at: float | None = None
        while exit_at is None or time.monotonic() < exit_at:  # pragma: no branch - a child may send without a pause
            ready = wait(sources, None if exit_at is None else max(0.0, exit_at - time.monotonic()))
            if connection not in ready:
                if not ready or _has_ended(process):
                    return
                sources.remove(process.sentinel)
                continue
            try:
                message = connection.recv_bytes(_LONGEST_MESSAGE)
            except EOFError:
                if exit_at is not None:
                    wait([process.sentinel], max(0.0, exit_at - time.monotonic()))
                return
            kind, data = message[:1], message[1:]
            if kind == RECORD:
                self._on_record(data)
            elif kind == READY:
                self._begin(connection)
            elif kind == END and exit_at is None:
                self.end = _load_end(data)
                exit_at = time.monotonic() + _EXIT_SECONDS
                self.handler_ended.set()
            else:
                raise ValueError

    def _begin(self, connection: Connection) -> None:
        may_begin = self._may_begin()
        with self._lock:
            if self._is_unwanted:
                return  # the process was killed
            if not may_begin:
                self.is_withdrawn = True
                self._kill()
                return
            self.has_begun = True
            connection.send_bytes(READY)
            self._connection = connection
        self._on_start()

    def _end(self, connection: Connection, process: BaseProcess) -> None:
        """Make sure that the process has ended."""
        if self.end is None or not _has_ended(process):
            self.kill()
        wait([process.sentinel], _KILL_SECONDS)
        with self._lock:
            self._process_id = self._connection = None
        connection.close()
        with (
            _take_turn(_TURN_SECONDS) as has_turn,
            suppress(ValueError),
        ):  # `close` raises ValueError if the killed process has still not ended
            self.problem = self.problem or _describe_end(process.exitcode if has_turn else None)
            if has_turn:
                process.close()  # frees its resources now; multiprocessing would do it at the next start of a process


@contextmanager
def _take_turn(seconds: float) -> Generator[bool, None, None]:
    """
    Wait until no other thread starts or ends a process; yield ``False`` if one still does after the given seconds.

    The wait is limited because the start of a process may hang, for example in a module of ``preload``.
    """
    has_turn = _MULTIPROCESSING.acquire(timeout=seconds)
    try:
        yield has_turn
    finally:
        if has_turn:
            _MULTIPROCESSING.release()


def _find_context(preload: Sequence[str]) -> Any:
    """Return the multiprocessing context: ``"forkserver"`` where the system has it, otherwise ``"spawn"``."""
    if "forkserver" not in multiprocessing.get_all_start_methods():  # pragma: no cover - Windows
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    # multiprocessing preloads `__main__` by default, so the list must contain it.
    context.set_forkserver_preload(["__main__", "cp_thirdparty.worker._forked", *preload])
    return context


def _has_ended(process: BaseProcess) -> bool:
    """
    Return whether a process has really ended; ``False`` if another thread uses multiprocessing for too long.

    multiprocessing alone is not enough: if the fork server has ended, it reports all processes as ended, with an
    unknown exit code.
    """
    with _take_turn(_TURN_SECONDS) as has_turn:
        code = process.exitcode if has_turn else None
    return code is not None and code != _UNKNOWN


def _describe_end(code: int | None) -> str:
    if code is None or code >= 0:
        return f"the process ended with exit code {code}"
    return f"the process was ended by signal {-code}"


def _load_end(data: bytes) -> HandlerRun | NotStarted:
    end = pickle.loads(data)  # noqa: S301 - the child runs the same trusted code of the partner as this process
    if not isinstance(end, (HandlerRun, NotStarted)):
        raise TypeError
    return end


def _create_folder() -> Workspace | None:
    """Create a folder for the temporary files of a job; return ``None`` if it cannot be created."""
    try:
        return Workspace()
    except Exception:  # noqa: BLE001 - a handler that creates no file works without a folder
        return None
