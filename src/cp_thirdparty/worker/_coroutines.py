"""The interface of what runs the coroutines of handlers, its errors, and which handlers are asynchronous."""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Awaitable
from types import CodeType
from typing import Any, Final, Protocol

# The error of jobs whose handlers cannot begin, because code in a coroutine waits without ``await``.
BLOCKED: Final = "the event loop of the handlers is blocked"


class HandlerTimeoutError(Exception):
    """The coroutine of a handler was cancelled, because it has timed out or its result is no longer needed."""


class HandlerNotBegunError(Exception):
    """The coroutine of a handler was never started; the message is the reason."""


class HandlerStart(Protocol):
    """Decides whether the coroutine of a handler may start, and notes its start."""

    @property
    def is_withdrawn(self) -> bool:
        """Whether the coroutine must not start any more."""
        ...

    def note_wait(self) -> None:
        """Note that the job is ready, and that the coroutine waits for the event loop."""
        ...

    def begin(self) -> bool:
        """Note that the coroutine starts now; return ``False`` if it must not start."""
        ...


class CoroutineRunner(Protocol):
    """Runs the coroutines of handlers, while the threads of the jobs wait for the results."""

    @property
    def is_blocked(self) -> bool:
        """Whether the event loop is blocked, so that no coroutine can start or continue."""
        ...

    def start(self) -> None:
        """
        Prepare to run a coroutine.

        Raises:
            OSError: The process cannot open another file descriptor.
            RuntimeError: The system cannot start a thread.
        """
        ...

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
        ...


def is_async_callable(value: object) -> bool:
    """Return whether a value is declared as a coroutine function, or as an object with an ``async def __call__``."""
    while isinstance(value, functools.partial):
        value = value.func
    return inspect.iscoroutinefunction(value) or inspect.iscoroutinefunction(getattr(value, "__call__", None))  # noqa: B004 - `callable()` does not show whether it is async


def begins_in_loop(handler: object) -> bool:
    """
    Return whether a call of a handler runs none of its code, because the code begins with its coroutine.

    Functions that only `inspect.markcoroutinefunction` has declared as asynchronous run when they are called.
    """
    while isinstance(handler, functools.partial):
        handler = handler.func
    codes = (getattr(each, "__code__", None) for each in (handler, getattr(handler, "__call__", None)))  # noqa: B004 - `callable()` does not show whether it is async
    return any(isinstance(code, CodeType) and bool(code.co_flags & inspect.CO_COROUTINE) for code in codes)
