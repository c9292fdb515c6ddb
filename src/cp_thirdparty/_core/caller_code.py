"""
Exceptions that the caller's own code raises during a call: in a handler of a botocore event, in a tracer, or in a stub.

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
_STUBS: Final = "botocore.stub"  # a module of botocore, but its errors are for the author of the stub

# Names of methods of botocore, which aiobotocore overrides.  They are not read from the methods, because a method may
# have been replaced by a wrapper with another name: by a tracer, and for `BaseClient` also by botocore itself.
_EMIT: Final = "_emit"
_CALL: Final = "_make_api_call"


def write_log(level: int, message: str, *arguments: object) -> None:
    """Write a log record.  Exceptions of log handlers are ignored, because they must not prevent a result."""
    with suppress(Exception):
        _log.log(level, message, *arguments, stacklevel=2)


def find_caller_code(failure: BaseException, operation_name: str) -> TracebackType | None:
    """
    Return the traceback entry at which the caller's own code begins; ``None`` if botocore raised the exception.

    The function that botocore's event emitter calls is an event handler of the caller.  A tracer is code that runs
    between a client's method and the frame of the call itself.  If the exception comes from below that frame, botocore
    raised it, and not the tracer.  A tracer may also make other AWS calls; their frames are not the call of
    ``operation_name``.
    """
    nodes = _nodes(failure.__traceback__)
    calls = [index for index, node in enumerate(nodes) if _is_call(node, operation_name)]
    if not calls:
        return next((node for node in nodes if not _is_library(node)), None)
    for index in range(calls[0], len(nodes)):
        if _is_library(nodes[index]) and _name(nodes[index]) == _EMIT:
            below = [node for node in nodes[index + 1 :] if _name(node) != "resolve_awaitable"]
            if not below:
                return nodes[index]  # a handler that is not written in Python, or that does not take the arguments
            if not _is_library(below[0]):
                return below[0]
    return None


def is_of_parser(failure: BaseException) -> bool:
    """Return whether botocore's response parser raised an error; it does so for unexpected types of values."""
    return any(_module(node) in _PARSERS for node in _nodes(failure.__traceback__))


def hide_library(failure: BaseException, place: TracebackType, operation_name: str) -> None:
    """
    Remove all frames above ``place`` from an exception's traceback, and clear them, so that no frame leads to secrets.

    If botocore raised the cause or the context of the exception, these references are removed too.
    """
    places = {id(failure): place}
    todo = [failure]
    while todo:
        error = todo.pop()
        _hide_frames_above(places[id(error)], error)
        for link in ("__cause__", "__context__"):
            linked: BaseException | None = getattr(error, link)
            if linked is None or id(linked) in places:  # causes may form a circle
                continue
            linked_place = find_caller_code(linked, operation_name)
            if linked_place is not None:
                places[id(linked)] = linked_place
                todo.append(linked)
            else:
                forget(linked)
                setattr(error, link, None)


def _hide_frames_above(place: TracebackType, failure: BaseException) -> None:
    for node in takewhile(lambda node: node is not place, _nodes(failure.__traceback__)):
        _clear(node.tb_frame)
    frame = place.tb_frame.f_back
    while frame is not None and _clear(frame):
        frame = frame.f_back
    failure.__traceback__ = place


def forget(failure: BaseException | None) -> None:
    """Clear the frames of an error and of its causes, because they hold secrets and keep sockets open."""
    for each in tuple(causes(failure)):
        traceback.clear_frames(each.__traceback__)
        each.__traceback__ = each.__cause__ = each.__context__ = None


def causes(failure: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and all its causes, the latest first.  Each is yielded once, because causes may form a circle."""
    seen: set[int] = set()
    while failure is not None and id(failure) not in seen:
        seen.add(id(failure))
        yield failure
        failure = failure.__cause__ or failure.__context__


def _nodes(node: TracebackType | None) -> list[TracebackType]:
    nodes = []
    while node is not None:
        nodes.append(node)
        node = node.tb_next
    return nodes


def _name(node: TracebackType) -> str:
    return node.tb_frame.f_code.co_name


def _module(node: TracebackType) -> str:
    module: str = node.tb_frame.f_globals.get("__name__", "")
    return module


def _is_call(node: TracebackType, operation_name: str) -> bool:
    """Return whether this is the frame of a client's call of the operation; a cleared frame counts as one."""
    if not _is_library(node) or _name(node) != _CALL:
        return False
    called: str = node.tb_frame.f_locals.get("operation_name", operation_name)
    return called == operation_name


def _is_library(node: TracebackType) -> bool:
    module = _module(node)
    return module.partition(".")[0] in _LIBRARIES and module != _STUBS


def _clear(frame: FrameType) -> bool:
    """Clear a frame; return ``False`` if the frame is still running, because it is then outside of the call."""
    try:
        frame.clear()
    except RuntimeError:
        return False
    return True
