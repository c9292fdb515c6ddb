"""Calls code of the partner: what it raises does not escape, and a copy of the process that it leaves behind ends."""

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
    What code of the partner raised, without its message, which may hold anything.

    Attributes:
        name: The name of the class.
    """

    name: str


def call_partner(function: Callable[..., _T], *arguments: Any, **parameters: Any) -> _T | Raised:
    """
    Call a function of the partner, and return what it returned or raised.

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
    Call a function of the partner in a thread of its own, and wait at most that many seconds for it.

    Returns:
        What went wrong; ``None`` if the function returned.
    """
    ended = threading.Event()
    found: list[object] = []

    def work() -> None:
        found.append(call_partner(function, *arguments, **parameters))
        ended.set()

    try:
        threading.Thread(target=work, name="cp-thirdparty-partner", daemon=True).start()
    except RuntimeError as failure:  # the system has no thread left
        return f"was not called: {type(failure).__name__}"
    if not ended.wait(seconds):
        return f"has not returned after {seconds:.0f} seconds"
    return f"raised {found[0].name}" if isinstance(found[0], Raised) else None


def is_ctrl_c(failure: BaseException) -> bool:
    """Whether it is the user who interrupts the program, which Python raises in the main thread only."""
    return isinstance(failure, KeyboardInterrupt) and threading.current_thread() is threading.main_thread()


def end_copy(process_id: int) -> None:
    """
    End the process if it is another one: code of the partner called `os.fork`, and the child returned or raised.

    The child has the journal and the connections of its parent, so it must not go on.  It ends at once, as with
    `os._exit`, with the status that `sys.exit` asked for.
    """
    if os.getpid() == process_id:
        return
    failure = sys.exc_info()[1]
    status = failure.code if isinstance(failure, SystemExit) else failure is not None
    os._exit(status if isinstance(status, int) else status is not None)  # pragma: no cover - in a forked child
