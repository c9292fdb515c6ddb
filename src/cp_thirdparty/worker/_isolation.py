"""
Calls the partner's code, so that neither its exceptions nor its forks affect the worker.

An exception is returned as a value.  If the code called `os.fork`, the child process ends when the code returns in it.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import attrs

_T = TypeVar("_T")


@attrs.frozen
class Raised:
    """
    An exception that the partner's code raised.  Its message is not kept, because the message may contain secrets.

    Attributes:
        name: The name of the exception's class.
    """

    name: str


def call_partner(function: Callable[..., _T], *arguments: Any, **parameters: Any) -> _T | Raised:
    """
    Call a function of the partner, and return its value, or `Raised` if it raised an exception.

    Raises:
        KeyboardInterrupt: Ctrl-C, in the main thread.
    """
    process_id = os.getpid()
    try:
        return function(*arguments, **parameters)
    except BaseException as failure:
        if is_ctrl_c(failure):
            raise
        return Raised(type(failure).__name__)
    finally:
        end_copy(process_id)


def call_for(seconds: float, function: Callable[..., object], *arguments: Any, **parameters: Any) -> str | None:
    """
    Call a function of the partner in a separate thread, and wait at most so many seconds until it returns.

    Returns:
        A description of the problem; ``None`` if the function returned.
    """
    ended = threading.Event()
    found: list[object] = []

    def work() -> None:
        found.append(call_partner(function, *arguments, **parameters))
        ended.set()

    try:
        threading.Thread(target=work, name="cp-thirdparty-partner", daemon=True).start()
    except RuntimeError as failure:  # the system cannot start a thread
        return f"was not called: {type(failure).__name__}"
    if not ended.wait(seconds):
        return f"has not returned after {seconds:.0f} seconds"
    return f"raised {found[0].name}" if isinstance(found[0], Raised) else None


def is_ctrl_c(failure: BaseException) -> bool:
    """
    Return whether an exception comes from Ctrl-C.

    Python raises `KeyboardInterrupt` for Ctrl-C only in the main thread.  In another thread, the partner's code raised
    it.
    """
    return isinstance(failure, KeyboardInterrupt) and threading.current_thread() is threading.main_thread()


def end_copy(process_id: int) -> None:
    """
    End the current process if it is a fork of the process with this id.

    That happens if the partner's code called `os.fork`, and the child then returned from the code or raised an
    exception.  The child has copies of its parent's journal and connections, so it must not continue.  It ends at once
    with `os._exit`.  The status is the one of `sys.exit` if the code called that; otherwise it is 1 after an exception
    and 0 without one.

    Args:
        process_id: The id of the process before the partner's code was called.
    """
    if os.getpid() == process_id:
        return
    failure = sys.exc_info()[1]
    status = failure.code if isinstance(failure, SystemExit) else failure is not None
    os._exit(status if isinstance(status, int) else status is not None)  # pragma: no cover - in a forked child
