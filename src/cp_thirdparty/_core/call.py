"""The call in progress: what our handlers inside botocore must know of it, and what they have seen."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar

import attrs


@attrs.define(kw_only=True)
class Call:
    """
    One call of ours.

    Attributes:
        ends_at: When it must be over, by `time.monotonic`; ``None`` for never.

        began_at: When it began, by the same clock.

        wire_logs: Whether botocore may log what it sends and receives.

        attempts: How often the request was sent so far.

        bytes_left: How many bytes of answers it still takes.
    """

    ends_at: float | None
    wire_logs: bool
    began_at: float = attrs.field(factory=time.monotonic)
    attempts: int = 0
    # The longest answer of the service's model is far below 1 MiB; configurations have grown to 50 kB a value since.
    bytes_left: int = 32 << 20

    def seconds_left(self) -> float | None:
        """Tell how many seconds the call still has; ``None`` for any number."""
        return None if self.ends_at is None else self.ends_at - time.monotonic()


# Only calls of ours set it, so other users of a wrapped client keep their logs and their time.
CURRENT: ContextVar[Call | None] = ContextVar("cp_thirdparty_call", default=None)

_SINGLE_ATTEMPT: ContextVar[bool] = ContextVar("cp_thirdparty_single_attempt", default=False)


@contextmanager
def single_attempt() -> Generator[None, None, None]:
    """Let calls in this block be sent once: who claims jobs or reports results must know of each attempt."""
    token = _SINGLE_ATTEMPT.set(True)
    try:
        yield
    finally:
        _SINGLE_ATTEMPT.reset(token)


def is_single_attempt() -> bool:
    """Tell whether the call in progress may be sent once only."""
    return _SINGLE_ATTEMPT.get()
