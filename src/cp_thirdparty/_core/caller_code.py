"""
Exceptions that the caller's own code raises inside of a call: in a handler of botocore's events, a tracer, a stub.

They leave as they are, with their own traceback.  The frames of botocore and of this library above them hold secrets,
so those are cleared and taken out of the traceback.
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
_STUBS: Final = "botocore.stub"  # botocore's code, but its errors are for whoever set a stub up

# Methods of botocore, which aiobotocore overrides.  Their names are written out, because what is found under a name may
# be a wrapper: of a tracer, and in `BaseClient` of botocore itself.
_EMIT: Final = "_emit"
_CALL: Final = "_make_api_call"


def write_log(level: int, message: str, *arguments: object) -> None:
    """Write a log record.  Handlers of logs are the caller's code too: what they raise must not cost a result."""
    with suppress(Exception):
        _log.log(level, message, *arguments, stacklevel=2)


def find_caller_code(failure: BaseException, operation_name: str) -> TracebackType | None:
    """
    Return where the caller's own code begins in the traceback of what it raised; ``None`` if botocore raised it.

    A handler is what botocore's emitter calls.  A tracer is what stands between a client's method and the call itself;
    what comes through it from below is botocore's.  A tracer may call AWS itself, which is not the call of the
    operation.
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
    """Whether an error comes from botocore's parser, which fails on unexpected types."""
    return any(_module(node) in _PARSERS for node in _nodes(failure.__traceback__))


def hide_library(failure: BaseException, place: TracebackType, operation_name: str) -> None:
    """
    Take everything above this place out of an exception's traceback, and out of reach of its frames.

    Failures of botocore to which the exception refers as its cause or context are taken out too.
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
    """Clear the frames that an error and its causes lead to: they hold secrets, and sockets that wait to be closed."""
    for each in tuple(causes(failure)):
        traceback.clear_frames(each.__traceback__)
        each.__traceback__ = each.__cause__ = each.__context__ = None


def causes(failure: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and what has led to it, the latest first; each one once, because causes may form a circle."""
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
    """Whether this is the frame of a client's call of the operation, as far as the frame still shows its name."""
    if not _is_library(node) or _name(node) != _CALL:
        return False
    called: str = node.tb_frame.f_locals.get("operation_name", operation_name)
    return called == operation_name


def _is_library(node: TracebackType) -> bool:
    module = _module(node)
    return module.partition(".")[0] in _LIBRARIES and module != _STUBS


def _clear(frame: FrameType) -> bool:
    """Clear a frame; return ``False`` if it is still running, which is the first one outside of the call."""
    try:
        frame.clear()
    except RuntimeError:
        return False
    return True
