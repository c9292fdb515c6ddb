"""
Calls the partner's code, so that neither its exceptions nor its forks affect the worker.

An exception is returned as a value.  If the code called `os.fork`, the child process exits as soon as the code returns
in the child.
"""

from __future__ import annotations

import os
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
    try:
        with ExitInFork():
            return function(*arguments, **parameters)
    except BaseException as failure:
        if is_ctrl_c(failure):
            raise
        forget_frames(failure)
        return Raised(type(failure).__name__)


def forget_frames(failure: BaseException) -> None:
    """
    Remove the traceback of an exception of the partner.

    The partner's code may keep the exception, and the frames of the traceback have the customer's data.
    """
    BaseException.with_traceback(failure, None)  # a class of the partner may override the method


def call_with_timeout(
    seconds: float, function: Callable[..., object], *arguments: Any, **parameters: Any
) -> str | None:
    """
    Call a function of the partner in a separate thread, and wait at most `seconds` seconds until it returns.

    Returns:
        The problem as a predicate, such as ``"raised ValueError"``; ``None`` if the function returned.
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


class ExitInFork:
    """
    A context manager for the partner's code, which exits if the current process is a fork at the end of the block.

    The process is a fork if the partner's code called `os.fork` and then returned or raised an exception in the child.
    The child has copies of its parent's journal and connections, so it must not continue.  It exits with `os._exit`.
    The exit status is the argument of `sys.exit` if the code called that; otherwise it is 1 after an exception and 0
    without one.
    """

    def __enter__(self) -> None:
        self._process_id = os.getpid()

    def __exit__(self, _kind: object, failure: BaseException | None, _trace: object) -> None:
        if os.getpid() == self._process_id:
            return
        status = failure.code if isinstance(failure, SystemExit) else failure is not None
        os._exit(status if isinstance(status, int) else status is not None)  # pragma: no cover - in a forked child
