"""
When work on artifacts ends that does not end by itself: its deadline, a cancelled job, responses that are too long.

A transfer, the extraction of an archive and the creation of one all use `TransferCall.check_deadline`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, Literal, TypeAlias

import attrs

from cp_thirdparty._core.call import MAX_BODY_BYTES, SENDING, Call, CallStoppedError, now
from cp_thirdparty.exceptions import InvalidRequestError

__all__ = ["Bounds", "TransferCall", "TransferStoppedError", "never"]

# CodePipeline's default timeout of a job; the credentials for its artifacts are worth nothing after it.
_SECONDS: Final = 3600.0
# Errors of S3, and its responses without an object, have less than 10 kB.
_DOCUMENT_BYTES: Final = 256 << 10
_YEAR_10000: Final = 253_402_300_800

Activity: TypeAlias = Literal["transfer", "extraction", "creation"]


class TransferStoppedError(CallStoppedError):
    """Work was stopped; its text is the reason.  Neither botocore nor s3transfer retries it."""


@attrs.define(kw_only=True)
class TransferCall(Call):
    """
    One transfer or one of its requests, one extraction or one creation: its limits apply to each piece of data.

    Attributes:
        bytes_left: How many bytes of responses it still accepts.
        is_cancelled: Whether nobody wants the result any more.
        activity: What it is, for errors.
    """

    bytes_left: int = MAX_BODY_BYTES
    is_cancelled: Callable[[], bool]
    activity: Activity = "transfer"

    def for_request(self, target: tuple[str, str, int | None]) -> TransferCall:
        """Return the call of one request of this transfer, which goes to a scheme, a host and a port."""
        return TransferCall(
            ends_at=self.ends_at,
            is_cancelled=self.is_cancelled,
            step=SENDING,
            target=target,
            bytes_left=_DOCUMENT_BYTES,
        )

    def expect(self, size: int) -> None:
        """Accept an object of so many bytes as the body."""
        self.bytes_left = max(self.bytes_left, size)

    def check_deadline(self) -> None:
        """Raise `TransferStoppedError` if the work must end."""
        if self.is_over():
            raise TransferStoppedError(f"the deadline of the {self.activity} was reached")
        if self.is_cancelled():
            raise TransferStoppedError(f"the {self.activity} was stopped because the job was cancelled")

    def count_bytes(self, count: int) -> None:
        """Count received bytes; raise `TransferStoppedError` if they are too many, or the transfer must end."""
        self.bytes_left -= count
        self.check_deadline()
        if self.bytes_left < 0:
            raise TransferStoppedError("a response of S3 is too long")


def never() -> bool:
    """Return ``False``: nobody cancels the job."""
    return False


@attrs.frozen(kw_only=True)
class Bounds:
    """
    The bounds of all work on the artifacts of one job.

    Attributes:
        deadline: When it must end, by the clock; ``None`` for an hour after each transfer has begun.
        clock: Returns the time in seconds since 1970.
        is_cancelled: Whether the job was cancelled; ``None`` if nobody can cancel it.

    Raises:
        TypeError: ``deadline`` or ``is_cancelled`` has the wrong type.
        cp_thirdparty.exceptions.InvalidRequestError: The deadline is not a time.
    """

    deadline: float | None = None
    clock: Callable[[], float] = time.time
    is_cancelled: Callable[[], bool] | None = None

    def __attrs_post_init__(self) -> None:
        deadline, is_cancelled = self.deadline, self.is_cancelled
        if isinstance(deadline, bool) or not isinstance(deadline, (int, float, type(None))):
            raise TypeError(f"deadline: must be a float, an int or None, not {type(deadline).__name__}")
        if deadline is not None and not 0 <= deadline < _YEAR_10000:  # also NaN
            raise InvalidRequestError("deadline", "must be a time in seconds since 1970, before the year 10000")
        if is_cancelled is not None and not callable(is_cancelled):
            raise TypeError(f"is_cancelled: must be a callable or None, not {type(is_cancelled).__name__}")

    def start(self, activity: Activity = "transfer") -> TransferCall:
        """Begin a transfer, an extraction or a creation; without a deadline, only a transfer has a limit."""
        left = _SECONDS if activity == "transfer" else None
        if self.deadline is not None:
            left = self.deadline - self.clock()
        return TransferCall(
            ends_at=None if left is None else now() + left,
            is_cancelled=self.is_cancelled or never,
            activity=activity,
        )
