"""
Exceptions that the caller's own code raises during a call: in a handler of a botocore event or of logs, in a tracer, or
in a stub.

The client raises these exceptions unchanged.  Their tracebacks begin at the caller's own code: the frames of botocore
and of this library above it hold secrets, so these frames are cleared and removed from the traceback.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator
from contextlib import suppress
from itertools import takewhile
from types import FrameType, TracebackType
from typing import Final

_log = logging.getLogger("cp_thirdparty")

_LIBRARIES: Final = frozenset({"aiobotocore", "botocore", "cp_thirdparty"})
_PARSERS: Final = frozenset({"aiobotocore.parsers", "botocore.parsers"})
_STUBS: Final = "botocore.stub"  # its errors are for the author of the stub, so it counts as code of the caller

# Names of methods of botocore, which aiobotocore overrides.  They are constants, because a tracer, or botocore itself
# in `BaseClient`, may have replaced a method by a wrapper with another name.
_EMIT_METHOD: Final = "_emit"
_CALL_METHOD: Final = "_make_api_call"


def write_log(level: int, message: str, *arguments: object) -> None:
    """Write a log record.  Exceptions of log handlers are ignored, because they must not prevent a result."""
    with suppress(Exception):
        _log.log(level, message, *arguments, stacklevel=2)


def find_caller_code(failure: BaseException, operation_name: str) -> TracebackType | None:
    """
    Return the traceback entry at which the caller's own code begins; ``None`` if botocore raised the exception.

    The function that botocore's event emitter calls is an event handler of the caller, and a function that `logging`
    calls is a log handler or filter of the caller.  A tracer is code that runs between a client's method and the frame
    of the call itself.  If the exception comes from below that frame, botocore raised the exception, and not the
    tracer.  A tracer may also make other AWS calls; their frames are not the call of ``operation_name``.
    """
    entries = _traceback_entries(failure.__traceback__)
    calls = [index for index, entry in enumerate(entries) if _is_call_of(entry, operation_name)]
    if not calls:
        return next((entry for entry in entries if not _is_library(entry)), None)
    for index in range(calls[0], len(entries)):
        is_emitter = _is_library(entries[index]) and _function_name(entries[index]) == _EMIT_METHOD
        if is_emitter or _is_logging(entries[index]):
            below = [entry for entry in entries[index + 1 :] if not _is_between(entry)]
            if is_emitter and not below:
                return entries[index]  # a handler that is not written in Python, or that does not take the arguments
            if below and not _is_library(below[0]):
                return below[0]
    return None


def is_parser_error(failure: BaseException) -> bool:
    """Return whether botocore's response parser raised an error, as for a value of an unexpected type."""
    return any(_module_name(entry) in _PARSERS for entry in _traceback_entries(failure.__traceback__))


def hide_library_frames(failure: BaseException, first_entry: TracebackType, operation_name: str) -> None:
    """
    Remove and clear all frames above ``first_entry`` of an exception's traceback, so that no frame leads to secrets.

    If botocore raised the cause or the context of the exception, these references are removed too.
    """
    first_entries = {id(failure): first_entry}
    todo = [failure]
    while todo:
        error = todo.pop()
        _hide_frames_above(first_entries[id(error)], error)
        for link in ("__cause__", "__context__"):
            linked: BaseException | None = getattr(error, link)
            if linked is None or id(linked) in first_entries:  # causes may form a circle
                continue
            linked_entry = find_caller_code(linked, operation_name)
            if linked_entry is not None:
                first_entries[id(linked)] = linked_entry
                todo.append(linked)
            else:
                clear_frames(linked)
                setattr(error, link, None)


def _hide_frames_above(first_entry: TracebackType, failure: BaseException) -> None:
    for entry in takewhile(lambda entry: entry is not first_entry, _traceback_entries(failure.__traceback__)):
        _clear_frame(entry.tb_frame)
    frame = first_entry.tb_frame.f_back
    while frame is not None and _clear_frame(frame):
        frame = frame.f_back
    failure.__traceback__ = first_entry


def clear_frames(failure: BaseException | None) -> None:
    """Clear the frames of an error and of its causes, and remove the causes: frames hold secrets and open sockets."""
    for each in tuple(causes(failure)):
        traceback.clear_frames(each.__traceback__)
        each.__traceback__ = each.__cause__ = each.__context__ = None


def causes(failure: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and all its causes, the latest first, each only once, because causes may form a circle."""
    seen: set[int] = set()
    while failure is not None and id(failure) not in seen:
        seen.add(id(failure))
        yield failure
        failure = failure.__cause__ or failure.__context__


def _traceback_entries(entry: TracebackType | None) -> list[TracebackType]:
    entries = []
    while entry is not None:
        entries.append(entry)
        entry = entry.tb_next
    return entries


def _function_name(entry: TracebackType) -> str:
    return entry.tb_frame.f_code.co_name


def _module_name(entry: TracebackType) -> str:
    module: str = entry.tb_frame.f_globals.get("__name__", "")
    return module


def _is_logging(entry: TracebackType) -> bool:
    return _module_name(entry) == logging.__name__


def _is_between(entry: TracebackType) -> bool:
    """Return whether an entry is of code between botocore's emitter or a logger and the handler that it calls."""
    return _is_logging(entry) or _function_name(entry) == "resolve_awaitable"


def _is_call_of(entry: TracebackType, operation_name: str) -> bool:
    """Return whether an entry has the frame of a client's call of the operation, or a cleared frame."""
    if not _is_library(entry) or _function_name(entry) != _CALL_METHOD:
        return False
    called: str = entry.tb_frame.f_locals.get("operation_name", operation_name)
    return called == operation_name


def _is_library(entry: TracebackType) -> bool:
    module = _module_name(entry)
    return module.partition(".")[0] in _LIBRARIES and module != _STUBS


def _clear_frame(frame: FrameType) -> bool:
    """Clear a frame, or return ``False`` if the frame is still running and so is outside of the call."""
    try:
        frame.clear()
    except RuntimeError:
        return False
    return True
