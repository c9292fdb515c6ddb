"""The event loop of asynchronous handlers.  A worker or a processor has one loop, which runs in a separate thread."""

from __future__ import annotations

import asyncio
import inspect
import logging
import sys
import threading
import time
import traceback
import weakref
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from itertools import takewhile
from types import FrameType
from typing import Any, Final, TypeAlias

from cp_thirdparty._base.text import show, show_value
from cp_thirdparty.worker._coroutines import BLOCKED, HandlerNotBegunError, HandlerStart, HandlerTimeoutError
from cp_thirdparty.worker._handler_failures import format_place
from cp_thirdparty.worker._isolation import ExitInFork, call_partner
from cp_thirdparty.worker._start_permit import WITHDRAWN

# Seconds between two checks of whether the result of a coroutine is still needed.
_TICK: Final = 0.25

# Seconds after its cancellation at which a coroutine that still runs is logged, because it may never end.
_HANGS_AFTER: Final = 5.0

# Seconds after which a blocked event loop is logged.  The handlers of all other jobs wait while the loop is blocked.
_BLOCKED_AFTER: Final = 2.0

# Seconds in which all coroutines must end after the loop has cancelled them at its end.  The sum of these seconds, the
# worker's grace and the time for its last reports must be less than the time in which a container must stop.
_CLOSE_SECONDS: Final = 2.0


Log = Callable[..., object]
"""Writes a log record: a level, a message and its arguments."""


def write_log(level: int, message: str, *arguments: object) -> None:
    """
    Write a log record in the calling thread.  It is used in the process of a handler.

    Raises:
        KeyboardInterrupt: Ctrl-C, in the main thread.
    """
    call_partner(logging.getLogger("cp_thirdparty.worker").log, level, message, *map(show_value, arguments))


class HandlerLoop:
    """
    An event loop that runs coroutines of handlers.  Thread-safe.

    Args:
        loop: The event loop.
        thread_id: Identifier of the thread in which the loop runs.
        blocked_after: Seconds after which a blocked loop is logged.
        hangs_after: Seconds after its cancellation at which a coroutine that still runs is logged.
        tick: Seconds between two checks of whether the result of a coroutine is still needed.
        log: Writes a log record.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        thread_id: int | None,
        *,
        log: Log = write_log,
        blocked_after: float = _BLOCKED_AFTER,
        hangs_after: float = _HANGS_AFTER,
        tick: float = _TICK,
    ) -> None:
        self.loop = loop
        self._hangs_after = hangs_after
        self._tick = tick
        self._log = log
        self._block_detector = _BlockDetector(loop, thread_id, blocked_after, tick, log)
        self.calls: set[_Call] = set()

    @property
    def is_blocked(self) -> bool:
        """Whether the loop is blocked, so that no coroutine can start or continue."""
        return self._block_detector.check()

    def start(self) -> None:
        """Do nothing, because the loop already runs."""

    def run(
        self,
        awaitable: Awaitable[Any],
        job_id: str,
        *,
        cancelled: threading.Event,
        seconds_left: float,
        cancel_timeout: float | None,
        start: HandlerStart | None = None,
    ) -> Any:
        """
        Wait for an awaitable, and return its value or raise its exception.

        Args:
            awaitable: The awaitable that a handler returned.
            job_id: Id of the job.
            cancelled: Set when the result is no longer needed.
            seconds_left: Seconds until the awaitable is cancelled.
            cancel_timeout: Seconds to wait until a cancelled awaitable ends; ``None`` for no limit.
            start: Called in the event loop just before the awaitable starts; ``None`` if the handler has begun already.

        Raises:
            HandlerNotBegunError: The awaitable was not started, and will not start.
            HandlerTimeoutError: The awaitable was cancelled, and did not return a value.
        """
        call = _Call(self, awaitable, job_id, start)
        ends_at = time.monotonic() + seconds_left  # before `submit`, so that the time limit includes the start
        self.submit(call)
        try:
            if self._is_late(call, cancelled, ends_at):
                call.cancel()
                if call.has_begun:
                    self._wait_for_end(call, job_id, cancel_timeout)
        except BaseException:  # Ctrl-C, in the thread of a processor
            call.cancel()
            raise
        return call.result(is_wanted=not cancelled.is_set())

    def _is_late(self, call: _Call, cancelled: threading.Event, ends_at: float) -> bool:
        """Wait for a call; return ``True`` if it has timed out or its result is no longer needed."""
        while not call.ended.wait(max(0.0, min(self._tick, ends_at - time.monotonic()))):
            if cancelled.is_set() or call.is_withdrawn or time.monotonic() >= ends_at:
                return True
            self._block_detector.check()
        return False

    def submit(self, call: _Call) -> None:
        """Schedule a call in the loop, with a copy of the context variables of the calling thread."""
        self.calls.add(call)
        self.loop.call_soon_threadsafe(call.start)

    def _wait_for_end(self, call: _Call, job_id: str, cancel_timeout: float | None) -> None:
        """Wait for a cancelled call, at most `cancel_timeout` seconds, and log it if it still runs."""
        began_at = time.monotonic()
        is_logged = False
        while not call.ended.wait(self._tick if cancel_timeout is None else min(self._tick, cancel_timeout)):
            self._block_detector.check()
            seconds = time.monotonic() - began_at
            is_over = cancel_timeout is not None and seconds >= cancel_timeout
            if not is_logged and (is_over or seconds >= self._hangs_after):
                is_logged = True
                message = "job=%s the coroutine of its handler still runs %.1f seconds after it was cancelled, at %s"
                self._log(logging.ERROR, message, job_id, seconds, call.find_place())
            if is_over:
                return


class _Call:
    """
    An awaitable that a handler returned, and its value or exception after its end.

    Attributes:
        ended: Set when the awaitable has ended.
        has_begun: Whether the awaitable was started, or could not become a task, which is a failure of the handler.
    """

    def __init__(
        self, owner: HandlerLoop, awaitable: Awaitable[Any], job_id: str, start: HandlerStart | None = None
    ) -> None:
        self.ended: threading.Event = threading.Event()
        self.has_begun: bool = start is None
        self._start = start
        self._lock = threading.Lock()  # held while the awaitable starts or is cancelled
        self._job_id = job_id
        self._owner = owner
        self._awaitable = awaitable
        self._task: asyncio.Task[None] | None = None
        self._value: Any = None
        self._failure: BaseException | None = None
        self._is_cancelled = False

    def start(self) -> None:
        """Create the task that waits for the awaitable; the loop calls it in its thread."""
        waiting = self._wait()
        try:
            self._task = self._owner.loop.create_task(waiting, name=f"cp-thirdparty-{show(self._job_id)}")
        except Exception as failure:  # noqa: BLE001 - a handler may have set a task factory that raises
            self.has_begun = True
            waiting.close()
            self.end(failure)
        else:
            self._task.add_done_callback(self._finish)

    def end(self, failure: BaseException | None) -> None:
        """Record that the call has ended, so that the waiting thread continues."""
        if inspect.iscoroutine(self._awaitable):
            with suppress(Exception):
                self._awaitable.close()  # avoids the warning "never awaited" if the coroutine was not started
        self._failure = self._failure or failure
        self._owner.calls.discard(self)
        self.ended.set()

    def cancel(self) -> None:
        """
        Cancel the awaitable; if it returns a value nevertheless, `result` returns that value.

        An awaitable that has not begun does not begin after this method has returned.
        """
        with self._lock:
            self._is_cancelled = True
        with suppress(RuntimeError):  # the loop has ended
            self._owner.loop.call_soon_threadsafe(lambda: self._task and self._task.cancel())

    def result(self, *, is_wanted: bool) -> Any:
        """Return the value, or raise the exception."""
        failure, self._failure = self._failure, None  # avoids a reference cycle with the frames of the exception
        has_value = self.ended.is_set() and failure is None
        try:
            if not self.has_begun:
                reason = BLOCKED if self._is_cancelled else WITHDRAWN
                raise HandlerNotBegunError(reason if failure is None else type(failure).__name__)
            if not has_value and (self._is_cancelled or not is_wanted):
                raise HandlerTimeoutError
            if failure is not None:
                raise failure
            return self._value
        finally:
            del failure

    def find_place(self) -> str:
        """Return the lines of code at which the awaitable waits, for a log record."""
        return format_place((frame, frame.f_lineno) for frame in _frames_of(self._awaitable)) or "its start"

    async def _wait(self) -> None:
        # All exceptions are caught, because SystemExit and KeyboardInterrupt would end the loop and thereby the
        # coroutines of all jobs.
        try:
            if self._begin():
                with ExitInFork():  # a forked child must not run the loop, whose selector and wake-ups the parent needs
                    self._value = await self._awaitable
        except BaseException as failure:  # noqa: BLE001 - the waiting thread raises it
            self._failure = failure

    @property
    def is_withdrawn(self) -> bool:
        """Whether the awaitable has not started, and must not start any more."""
        return not self.has_begun and self._start is not None and self._start.is_withdrawn

    def _begin(self) -> bool:
        """Return whether the awaitable may start; the loop calls this method just before the start."""
        if self._start is not None:
            with self._lock:
                # `is_withdrawn` is read first, because `begin` waits for a thread that writes the result of the job.
                self.has_begun = not (self._is_cancelled or self._start.is_withdrawn) and self._start.begin()
        return self.has_begun

    def _finish(self, task: asyncio.Task[None]) -> None:
        self.end(asyncio.CancelledError() if task.cancelled() else None)


def _frames_of(awaitable: Any) -> Iterator[FrameType]:
    """Yield the frame of a coroutine, and the frames of the coroutines and generators that it awaits."""
    while awaitable is not None:
        frame = getattr(awaitable, "cr_frame", None) or getattr(awaitable, "gi_frame", None)
        if frame is not None:
            yield frame
        awaitable = getattr(awaitable, "cr_await", None) or getattr(awaitable, "gi_yieldfrom", None)


class _BlockDetector:
    """
    Detects that the event loop is blocked, because code in a coroutine waits without ``await``.

    The threads that wait for coroutines, and the threads that ask whether the loop is blocked, call `check`.  At most
    once a tick, `check` schedules `_note_turn` in the loop.  If `_note_turn` was not called within `blocked_after`
    seconds, the loop is blocked until it calls `_note_turn`.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, thread_id: int | None, blocked_after: float, tick: float, log: Log
    ) -> None:
        self._log = log
        self.thread_id = thread_id
        self._loop = loop
        self._blocked_after = blocked_after
        self._tick = tick
        self._lock = threading.RLock()  # reentrant, because a signal handler may call `health`, which calls `check`
        self._scheduled_at = 0.0
        self._is_waiting = False
        self._is_blocked = False

    def check(self) -> bool:
        """Return whether the loop is blocked, and log it once."""
        now = time.monotonic()
        with self._lock:
            if not self._is_waiting and now >= self._scheduled_at + self._tick:
                self._is_waiting, self._scheduled_at = True, now
                try:
                    self._loop.call_soon_threadsafe(self._note_turn)
                except RuntimeError:  # the loop has ended
                    self._is_waiting = False
            seconds = now - self._scheduled_at
            if not self._is_waiting or self._is_blocked or seconds < self._blocked_after:
                return self._is_blocked
            self._is_blocked = True
        message = "the event loop of the handlers has been blocked for %.1f seconds, at %s; its other coroutines wait"
        self._log(logging.ERROR, message, seconds, self._find_place())
        return True

    def _note_turn(self) -> None:
        with self._lock:
            self._is_waiting = False
            was_blocked, self._is_blocked = self._is_blocked, False
        if was_blocked:
            seconds = time.monotonic() - self._scheduled_at
            self._log(logging.WARNING, "the event loop of the handlers was blocked for %.1f seconds", seconds)

    def _find_place(self) -> str:
        frame = sys._current_frames().get(self.thread_id or 0)  # pyright: ignore[reportPrivateUsage] # noqa: SLF001 - documented
        stack = takewhile(lambda pair: pair[0].f_code.co_filename not in _LOOP_FILES, traceback.walk_stack(frame))
        return format_place(reversed(list(stack))) if frame is not None else "an unknown place"


# In the stack of the loop's thread, the frames of handlers are above the first frame from one of these files.
_LOOP_FILES: Final = (asyncio.Handle._run.__code__.co_filename, _Call.start.__code__.co_filename)  # noqa: SLF001 - there is no public name


class _LoopThread(HandlerLoop):
    """A new event loop, and the thread in which it runs."""

    def __init__(self, log: Log, **seconds: float) -> None:
        super().__init__(asyncio.new_event_loop(), None, log=log, **seconds)
        self.thread = threading.Thread(target=self._run_loop, name="cp-thirdparty-asyncio", daemon=True)
        self._lock = threading.Lock()
        self._is_stopping = False
        self._has_ended = False
        self._finish_task: asyncio.Task[None] | None = None
        try:
            self.thread.start()
        except RuntimeError:
            self.loop.close()
            raise
        self._block_detector.thread_id = self.thread.ident

    def submit(self, call: _Call) -> None:
        """Schedule a call in the loop; if the loop is ending, end the call with a `RuntimeError`."""
        with self._lock:
            if not self._is_stopping:
                super().submit(call)
                return
        call.end(RuntimeError("the event loop of the handlers has ended"))

    def stop(self) -> None:
        """Cancel all tasks, and end the loop after the tasks have ended; do not wait for that."""
        with self._lock:
            if self._is_stopping:
                return
            self._is_stopping = True
        with suppress(RuntimeError):  # the loop is already closed, because it was broken
            self.loop.call_soon_threadsafe(self._start_finish)

    def close(self) -> None:
        """End the loop; if a coroutine hangs, log that, and do not wait longer for the thread of the loop."""
        self.stop()
        self.thread.join(_CLOSE_SECONDS)
        if self.thread.is_alive():
            self._log(logging.ERROR, "the event loop of the handlers still runs, because a coroutine does not end")

    def _run_loop(self) -> None:
        failure: BaseException | None = None
        while failure is None and not self._has_ended:
            failure = self._run_forever()
        with self._lock:
            self._is_stopping = True
        with suppress(Exception):  # the loop may be broken
            self.loop.close()
        for call in tuple(self.calls):
            call.end(failure)

    def _run_forever(self) -> BaseException | None:
        """Run the loop until it stops; return the exception that broke it, or ``None`` if it can run again."""
        try:
            self.loop.run_forever()
        except (SystemExit, KeyboardInterrupt) as raised:  # raised by a task that a handler has created
            self._log(logging.ERROR, "a task of a handler raised %s", type(raised).__name__)
        except BaseException as raised:  # noqa: BLE001 - a handler has broken the loop, for example its selector
            self._log(logging.CRITICAL, "the event loop of the handlers raised %s", type(raised).__name__)
            return raised
        return None

    def _start_finish(self) -> None:
        self.loop.set_task_factory(None)  # a handler may have set a task factory that raises
        self._finish_task = self.loop.create_task(self._finish())

    async def _finish(self) -> None:
        cancelled: set[asyncio.Task[Any]] = set()
        while tasks := {task for task in asyncio.all_tasks() if task is not asyncio.current_task()}:
            for task in tasks - cancelled:  # only once, because a second cancellation would interrupt their cleanup
                task.cancel()
            cancelled |= tasks
            await asyncio.wait(tasks, timeout=_TICK)
        with suppress(Exception):
            await self.loop.shutdown_asyncgens()
        self._has_ended = True
        self.loop.stop()


class AsyncHandlers:
    """
    Runs the coroutines of all handlers in one event loop, which is started at the first use.  Thread-safe.

    Handlers may share objects that belong to an event loop, such as a session of aiohttp.  After `close`, the next use
    starts a new loop.

    Args:
        log: Writes a log record.
        seconds: The arguments ``blocked_after``, ``hangs_after`` and ``tick`` of `HandlerLoop`, in seconds.
    """

    def __init__(self, log: Log = write_log, **seconds: float) -> None:
        self._log = log
        self._seconds = seconds
        self._lock = threading.Lock()
        self._current: _LoopThread | None = None
        self._finalizer: weakref.finalize[..., AsyncHandlers] | None = None

    @property
    def is_blocked(self) -> bool:
        """Whether the loop runs and is blocked."""
        current = self._current  # without the lock, because a signal handler may interrupt the thread that holds it
        return current is not None and current.thread.is_alive() and current.is_blocked

    def start(self) -> None:
        """
        Start the loop, unless it already runs.

        Raises:
            OSError: The process cannot open another file descriptor.
            RuntimeError: The system cannot start a thread.
        """
        self._open()

    def run(self, awaitable: Awaitable[Any], job_id: str, **limits: Any) -> Any:
        """Wait for an awaitable, as `HandlerLoop.run` does."""
        return self._open().run(awaitable, job_id, **limits)

    def close(self) -> None:
        """Cancel all coroutines, and end the loop."""
        with self._lock:
            current, self._current = self._current, None
        if current is not None:
            current.close()

    def _open(self) -> _LoopThread:
        with self._lock:
            if self._current is None or not self._current.thread.is_alive():
                if self._current is not None and not self._current.loop.is_closed():
                    _INHERITED.append(self._current)
                if self._finalizer is not None:
                    self._finalizer.detach()
                self._current = _LoopThread(self._log, **self._seconds)
                self._finalizer = weakref.finalize(self, self._current.stop)
            return self._current


CoroutineRunner: TypeAlias = HandlerLoop | AsyncHandlers
"""Runs the coroutines of handlers, while the threads of the jobs wait for the results."""


# Loops that a forked child has copied from its parent.  Their threads do not exist in the child.  They are kept here so
# that they are never closed: that would change the selector, which the child shares with the loop of the parent.
_INHERITED: Final[list[object]] = []
