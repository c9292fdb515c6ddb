"""The start of the coroutines of handlers, their errors, and which handlers are asynchronous."""

from __future__ import annotations

import functools
import inspect
from types import CodeType
from typing import Final, Protocol

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
