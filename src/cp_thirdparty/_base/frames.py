"""
Keep the arguments of a function out of the traceback of its error.

Crash reporters send the local variables of each frame of a traceback.  If a function raises because one argument is
wrong, they would send its other arguments, such as a table of client tokens.  Some crash reporters also fail if they
call the ``repr`` of an object whose ``__init__`` has raised.
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
    Wrap a function so that the tracebacks of its errors have no frames with its arguments.

    The causes of the errors are removed too, so the message must describe the problem completely.
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
    """Wrap ``__init__`` of a class so that the tracebacks of its errors have no frames with its arguments."""
    cls.__init__ = hide_arguments(cls.__init__)  # type: ignore[misc]
    return cls
