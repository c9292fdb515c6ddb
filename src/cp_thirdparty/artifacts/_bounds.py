"""When a transfer ends that does not end by itself: its deadline, a cancelled job, and responses that are too long."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import attrs

from cp_thirdparty._core.call import MAX_BODY_BYTES, SENDING, Call, CallStoppedError, now
from cp_thirdparty._core.connection import target_of

__all__ = ["Bounds", "TransferCall", "TransferStoppedError", "never"]

# CodePipeline's default timeout of a job; the credentials for its artifacts are worth nothing after it.
_SECONDS: Final = 3600.0
# Errors of S3, and its responses without an object, have less than 10 kB.
_DOCUMENT_BYTES: Final = 256 << 10


class TransferStoppedError(CallStoppedError):
    """A transfer was stopped; its text is the reason.  Neither botocore nor s3transfer retries it."""


@attrs.define(kw_only=True)
class TransferCall(Call):
    """
    One transfer, or one of its requests: its limits apply to each piece of a response.

    Attributes:
        bytes_left: How many bytes of responses it still accepts.

        is_cancelled: Whether nobody wants the transfer any more.
    """

    bytes_left: int = MAX_BODY_BYTES
    is_cancelled: Callable[[], bool]

    def for_request(self, url: str) -> TransferCall:
        """Return the call of one request of this transfer."""
        return TransferCall(
            ends_at=self.ends_at,
            is_cancelled=self.is_cancelled,
            step=SENDING,
            target=target_of(url),
            bytes_left=_DOCUMENT_BYTES,
        )

    def expect(self, size: int) -> None:
        """Accept an object of so many bytes as the body."""
        self.bytes_left = max(self.bytes_left, size)

    def check_deadline(self) -> None:
        """Raise `TransferStoppedError` if the transfer must end."""
        if self.is_over():
            raise TransferStoppedError("the deadline of the transfer was reached")
        if self.is_cancelled():
            raise TransferStoppedError("the transfer was stopped because the job was cancelled")

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
    The bounds of all transfers of one job.

    Attributes:
        deadline: When they must end, by the clock; ``None`` for an hour after each has begun.

        clock: Returns the time in seconds since 1970.

        is_cancelled: Whether the job was cancelled.
    """

    deadline: float | None = None
    clock: Callable[[], float] = time.time
    is_cancelled: Callable[[], bool] = never

    def start(self) -> TransferCall:
        """Begin a transfer."""
        left = _SECONDS if self.deadline is None else self.deadline - self.clock()
        return TransferCall(ends_at=now() + left, is_cancelled=self.is_cancelled)
