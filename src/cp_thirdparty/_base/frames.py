"""
Keep the arguments of a call out of the traceback of its error.

Crash reporters send the locals of each frame of a traceback.  A function that raises because one argument is wrong
would show its other arguments there, such as a table of client tokens.  Some reporters fail if an object there has no
``repr`` yet, because its ``__init__`` has raised.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

_P = ParamSpec("_P")
_R = TypeVar("_R")
_C = TypeVar("_C", bound=type)


def hide_arguments(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """
    Let a function raise without the frames that hold its arguments.

    The cause of the error is dropped too, so the message must describe the problem completely.
    """

    @functools.wraps(function)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            return function(*args, **kwargs)
        except BaseException as error:  # noqa: BLE001 - raised again below
            failure = error.with_traceback(None)
        del args, kwargs
        failure.__cause__ = failure.__context__ = None
        raise failure

    return call


def hide_init_arguments(cls: _C) -> _C:
    """Let ``__init__`` of a class raise without the frames that hold its arguments."""
    cls.__init__ = hide_arguments(cls.__init__)  # type: ignore[misc]
    return cls
