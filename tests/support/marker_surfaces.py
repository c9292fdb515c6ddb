"""What someone may see of an error and of a log: each surface makes a text of it, in which a marker is looked for."""

from __future__ import annotations

import logging
import pickle
import traceback
from collections.abc import Callable


def with_locals(raised: BaseException) -> str:
    """Format a traceback as the standard library does when it shows locals."""
    return "".join(traceback.TracebackException.from_exception(raised, capture_locals=True).format())


def reachable(raised: BaseException) -> str:
    """Tell all locals of all frames of this error and of what it leads to."""
    shown: list[str] = []
    errors = [raised]
    while errors:
        one = errors.pop()
        errors += [other for other in (one.__cause__, one.__context__) if other is not None]
        shown += [repr(frame.f_locals) for frame, _ in traceback.walk_tb(one.__traceback__)]
    return "".join(shown)


# Those that cost next to nothing.
ERROR_SURFACES: dict[str, Callable[[BaseException], str]] = {
    "str": str,
    "repr": repr,
    "args": lambda raised: repr(raised.args),
    "vars": lambda raised: repr(vars(raised)),
    "notes": lambda raised: repr(getattr(raised, "__notes__", ())),
    "pickle": lambda raised: repr(pickle.dumps(raised)),
    "traceback": lambda raised: "".join(traceback.format_exception(raised)),
    "traceback with locals": with_locals,
    "reachable locals": reachable,
}


def logged(records: list[logging.LogRecord]) -> str:
    """Tell all that a handler, a formatter or a tool that shows locals can find in records."""
    shown: list[str] = []
    for record in records:
        shown += [record.getMessage(), repr(record.__dict__), logging.Formatter("%(message)s").format(record)]
        failure = record.exc_info[1] if record.exc_info else None
        arguments = record.args if isinstance(record.args, tuple) else ()
        for each in (failure, *arguments):
            if isinstance(each, BaseException):
                shown += [with_locals(each), reachable(each), repr(vars(each))]
    return "".join(shown)
