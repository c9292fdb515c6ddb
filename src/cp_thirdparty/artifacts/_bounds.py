"""
The limits that stop work on artifacts: a deadline, the cancellation of the job, and the size of S3's responses.

Transfers, extractions and creations of archives call `TransferCall.check_deadline` for each piece of data.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, Literal, TypeAlias

import attrs

from cp_thirdparty._core.call import MAX_BODY_BYTES, SENDING, Call, CallStoppedError, now
from cp_thirdparty.exceptions import InvalidRequestError

# The default limit of one transfer.  It is CodePipeline's default timeout of a job: after it, CodePipeline does not
# accept a result, and the credentials of the job cannot be renewed.
_SECONDS: Final = 3600.0
# The limit of a response of S3 that contains no object.  Such responses, for example errors, have less than 10 kB.
_DOCUMENT_BYTES: Final = 256 << 10
# 10000-01-01 00:00 UTC in seconds since 1970.  Python's `datetime` cannot represent this time or a later one.
_YEAR_10000: Final = 253_402_300_800

Activity: TypeAlias = Literal["transfer", "extraction", "creation"]


class TransferStoppedError(CallStoppedError):
    """The work was stopped; the message is the reason.  Neither botocore nor s3transfer retries after this error."""


@attrs.define(kw_only=True)
class TransferCall(Call):
    """
    The limits of one activity, or of one HTTP request of a transfer.

    An activity is a transfer, an extraction of an archive, or a creation of an archive.

    Attributes:
        bytes_left: How many more bytes of the response are accepted.
        is_cancelled: Returns whether the job was cancelled.
        activity: The name of the activity in error messages.
    """

    bytes_left: int = MAX_BODY_BYTES  # declared again, because pyright requires it in a class that assigns it
    is_cancelled: Callable[[], bool]
    activity: Activity = "transfer"

    def for_request(self, target: tuple[str, str, int | None]) -> TransferCall:
        """Return the limits of one HTTP request of this transfer to the scheme, host and port of ``target``."""
        return TransferCall(
            ends_at=self.ends_at,
            is_cancelled=self.is_cancelled,
            step=SENDING,
            target=target,
            bytes_left=_DOCUMENT_BYTES,
        )

    def allow_bytes(self, size: int) -> None:
        """Raise the limit of the response to at least `size` bytes."""
        self.bytes_left = max(self.bytes_left, size)

    def check_deadline(self) -> None:
        """Raise `TransferStoppedError` if the deadline was reached or the job was cancelled."""
        if self.is_past_deadline():
            raise TransferStoppedError(f"the deadline of the {self.activity} was reached")
        if self.is_cancelled():
            raise TransferStoppedError(f"the {self.activity} was stopped because the job was cancelled")

    def count_bytes(self, count: int) -> None:
        """
        Count the received bytes of a response.

        Raises:
            TransferStoppedError: The response has too many bytes, the deadline was reached, or the job was cancelled.
        """
        self.bytes_left -= count
        self.check_deadline()
        if self.bytes_left < 0:
            raise TransferStoppedError("a response of S3 is too long")


def never() -> bool:
    """Return ``False``, as `is_cancelled` of a job that cannot be cancelled."""
    return False


@attrs.frozen(kw_only=True)
class Bounds:
    """
    The deadline of all work on the artifacts of one job, and the function that reports that the job was cancelled.

    Attributes:
        deadline: The time at which all work must end, in seconds since 1970.  With ``None``, each transfer must end one
            hour after its start, and extractions and creations of archives have no deadline.
        clock: Returns the current time in seconds since 1970.
        is_cancelled: Returns whether the job was cancelled; ``None`` if the job cannot be cancelled.

    Raises:
        TypeError: ``deadline`` or ``is_cancelled`` has the wrong type.
        cp_thirdparty.exceptions.InvalidRequestError: The deadline is negative, NaN, or after the year 9999.
    """

    deadline: float | None = None
    clock: Callable[[], float] = time.time
    is_cancelled: Callable[[], bool] | None = None

    def __attrs_post_init__(self) -> None:
        deadline, is_cancelled = self.deadline, self.is_cancelled
        if isinstance(deadline, bool) or not isinstance(deadline, (int, float, type(None))):
            raise TypeError(f"deadline: must be a float, an int or None, not {type(deadline).__name__}")
        if deadline is not None and not 0 <= deadline < _YEAR_10000:  # a NaN fails this comparison too
            raise InvalidRequestError("deadline", "must be a time in seconds since 1970, before the year 10000")
        if is_cancelled is not None and not callable(is_cancelled):
            raise TypeError(f"is_cancelled: must be a callable or None, not {type(is_cancelled).__name__}")

    def start(self, activity: Activity = "transfer") -> TransferCall:
        """
        Return the limits of an activity that starts now.

        Without a deadline, a transfer must end after one hour, and the other activities have no limit of time.
        """
        left = _SECONDS if activity == "transfer" else None
        if self.deadline is not None:
            left = self.deadline - self.clock()
        return TransferCall(
            ends_at=None if left is None else now() + left,
            is_cancelled=self.is_cancelled or never,
            activity=activity,
        )
