"""
Find out from the stack frames of an exception what botocore was doing when it failed.

The local variables of the frames may hold secrets.  Error messages get only names and HTTP statuses from them.
"""

from __future__ import annotations

import traceback
from collections.abc import Collection, Iterator, Mapping
from types import FrameType
from typing import Any

import attrs
import botocore.session

from cp_thirdparty._core.caller_code import causes

# A botocore object that fetches credentials has no session.  It has a function that creates clients in this attribute,
# and that function refers to the session.
_CLIENT_CREATOR = "_client_creator"

# The function of botocore that reads a response.  It catches the errors of sending, so an exception that has a frame of
# this function was raised while the response was read.
_RESPONSE_READERS = {("botocore.endpoint", "_get_response")}


@attrs.frozen
class FailureFrames:
    """The stack frames of an exception; the first frame is the one that raised the exception."""

    frames: tuple[FrameType, ...] = attrs.field(repr=False)

    @classmethod
    def from_failure(cls, failure: BaseException) -> FailureFrames:
        """Return the frames of an exception, without the frames of its causes."""
        return cls(tuple(frame for frame, _ in traceback.walk_tb(failure.__traceback__))[::-1])

    @classmethod
    def from_causes(cls, failure: BaseException) -> FailureFrames:
        """Return the frames of an exception and of all its causes."""
        return cls(tuple(frame for each in causes(failure) for frame in cls.from_failure(each).frames))

    def has_function(self, functions: Collection[tuple[str, str]]) -> bool:
        """Return whether one of these functions was running; each is a pair of module name and function name."""
        return any((frame.f_globals.get("__name__"), frame.f_code.co_name) in functions for frame in self.frames)

    def is_reading(self) -> bool:
        """Return whether botocore was reading a response."""
        return self.has_function(_RESPONSE_READERS)

    def find_status(self, modules: Collection[str]) -> int | None:
        """Return the HTTP status of the response that one of these modules was reading, or ``None``."""
        for frame in self.frames:
            response = frame.f_locals.get("response") if frame.f_globals.get("__name__") in modules else None
            status = (
                response.get("status_code") if isinstance(response, dict) else getattr(response, "status_code", None)
            )
            if status is not None:
                return int(status)
        return None

    def find_objects(self, *kinds: type) -> Iterator[tuple[Any, Mapping[str, Any]]]:
        """Yield each object of these classes whose method was running, with the local variables of that method."""
        for frame in self.frames:
            variables = frame.f_locals
            if "self" in variables and isinstance(variables["self"], kinds):
                yield variables["self"], variables

    def find_client_arguments(self) -> Mapping[str, Any]:
        """
        Return the arguments of the client that botocore was creating; empty if it was creating none.

        While botocore creates an STS client to load the credentials of another client, these are the arguments of the
        STS client.
        """
        sessions = self.find_objects(botocore.session.Session)
        return next((variables for _, variables in sessions if "service_name" in variables), {})

    def find_session(self) -> botocore.session.Session | None:
        """Return the botocore session that was in use, or ``None`` if no frame refers to one."""
        for owner, _ in self.find_objects(object):
            creator = getattr(owner, _CLIENT_CREATOR, None)
            cells = getattr(creator, "__closure__", None) or ()
            for each in (owner, getattr(creator, "__self__", None), *(cell.cell_contents for cell in cells)):
                if isinstance(each, botocore.session.Session):
                    return each
        return None
