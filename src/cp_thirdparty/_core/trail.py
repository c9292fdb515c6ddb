"""Find out from the frames of a failure what botocore was doing.  Errors get names and statuses, never a value."""

from __future__ import annotations

import traceback
from collections.abc import Collection, Iterator, Mapping
from types import FrameType
from typing import Any

import attrs
import botocore.session

from cp_thirdparty._core.caller_code import causes

# A fetcher of credentials has no session, but the function with which it creates clients has.
_CREATOR = "_client_creator"

# The function of botocore that reads a response.  It catches what fails before there is one.
_READING = {("botocore.endpoint", "_get_response")}


@attrs.frozen
class Trail:
    """The frames of a failure; the first is the one that raised."""

    frames: tuple[FrameType, ...] = attrs.field(repr=False)

    @classmethod
    def of(cls, failure: BaseException) -> Trail:
        """Return the trail of a failure."""
        return cls(tuple(frame for frame, _ in traceback.walk_tb(failure.__traceback__))[::-1])

    @classmethod
    def of_causes(cls, failure: BaseException) -> Trail:
        """Return the trail of a failure and of all that led to it."""
        return cls(tuple(frame for each in causes(failure) for frame in cls.of(each).frames))

    def has_function(self, functions: Collection[tuple[str, str]]) -> bool:
        """Return whether one of these functions ran; each has its module and its name."""
        return any((frame.f_globals.get("__name__"), frame.f_code.co_name) in functions for frame in self.frames)

    def is_reading(self) -> bool:
        """Return whether botocore was reading a response."""
        return self.has_function(_READING)

    def find_status(self, modules: Collection[str]) -> int | None:
        """Return the HTTP status of a response that code of these modules was reading; ``None`` if there was none."""
        for frame in self.frames:
            response = frame.f_locals.get("response") if frame.f_globals.get("__name__") in modules else None
            status = (
                response.get("status_code") if isinstance(response, dict) else getattr(response, "status_code", None)
            )
            if status is not None:
                return int(status)
        return None

    def methods_of(self, *kinds: type) -> Iterator[tuple[Any, Mapping[str, Any]]]:
        """Yield the objects of these classes whose methods ran, each with the variables of the method."""
        for frame in self.frames:
            variables = frame.f_locals
            if "self" in variables and isinstance(variables["self"], kinds):
                yield variables["self"], variables

    def find_creation(self) -> Mapping[str, Any]:
        """Return the arguments of the client that was being created; the client may be one that another one needs."""
        sessions = self.methods_of(botocore.session.Session)
        return next((variables for _, variables in sessions if "service_name" in variables), {})

    def find_session(self) -> botocore.session.Session | None:
        """Return the session in use; ``None`` if it is unknown."""
        for owner, _ in self.methods_of(object):
            creator = getattr(owner, _CREATOR, None)
            cells = getattr(creator, "__closure__", None) or ()
            for each in (owner, getattr(creator, "__self__", None), *(cell.cell_contents for cell in cells)):
                if isinstance(each, botocore.session.Session):
                    return each
        return None
