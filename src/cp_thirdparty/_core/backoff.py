"""Every pause: how long to wait before the next poll or attempt, and after which errors of a poll not to poll again."""

from __future__ import annotations

import logging
import random
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Final

from cp_thirdparty._base import limits
from cp_thirdparty._base.durations import seconds_rule, to_seconds
from cp_thirdparty._core.caller_code import write_log
from cp_thirdparty.exceptions import (
    AccessDeniedError,
    ActionTypeNotFoundException,
    CodePipelineJobError,
    InvalidRequestError,
)

# Errors of a poll that do not go away by themselves.
FATAL: Final = (ActionTypeNotFoundException, AccessDeniedError, InvalidRequestError)

# Seconds to which the pause after failed polls grows.
LONGEST_PAUSE: Final = 60.0

# Seconds between two attempts to claim a job or to report its result, with full jitter: a random part of a time that
# doubles up to the longest.
FIRST_RETRY_PAUSE: Final = 0.5
LONGEST_RETRY_PAUSE: Final = 30.0

# Seconds before a request to S3 is resent whose response is not accepted; doubled each time.
FIRST_S3_PAUSE: Final = 0.1

# The most seconds that botocore's standard mode waits before it sends for the second, third, ... time, and how many
# more when a response asks for it (botocore.retries.standard of 1.44).
LONGEST_BOTOCORE_PAUSE: Final = 20.0
LONGEST_REQUESTED_PAUSE: Final = 5.0

# Seconds between two batches of rows that a journal deletes, in which other threads can write.
DELETION_PAUSE: Final = 0.01

# Doubling more often than this changes nothing, and overflows in the end.
_MOST_DOUBLINGS: Final = 20


def pause_before_poll(interval: float, failures: int, jitter: random.Random) -> float:
    """
    Return how many seconds to pause after a poll that brought nothing.

    Each pause is up to a fifth shorter or longer, so that many workers do not poll at once.  It doubles with each
    failure in a row, up to a minute, of which a random half is taken off; it is never shorter than without failures.
    """
    pause = interval * jitter.uniform(0.8, 1.2)
    if not failures:
        return pause
    longer = min(pause * float(2 ** min(failures, _MOST_DOUBLINGS)), LONGEST_PAUSE)
    return max(longer * jitter.uniform(0.5, 1), pause)


def retry_pauses(first: float, longest: float) -> Iterator[float]:
    """Yield how many seconds to wait before each further attempt: a random part of a time that doubles."""
    while True:
        yield random.uniform(0, first)  # noqa: S311 - jitter
        first = min(first * 2, longest)


class PollPace:
    """How fast an iterator of jobs polls.  An argument that breaks its rule is an `InvalidRequestError`."""

    def __init__(self, *, max_batch_size: int, poll_interval: float | timedelta) -> None:
        self._interval = to_seconds(poll_interval)
        for name, rule in (
            ("max_batch_size", limits.int_in_range(max_batch_size, 1)),
            ("poll_interval", seconds_rule(self._interval, is_optional=False)),
        ):
            if rule is not None:
                raise InvalidRequestError(name, rule)
        self._failures = 0
        self._jitter = random.Random()  # noqa: S311 - jitter

    @contextmanager
    def count_failures(self) -> Generator[None]:
        """Log an error of a poll, and poll more slowly after it; raise one that does not go away by itself."""
        try:
            yield
        except FATAL:
            raise
        except CodePipelineJobError as failure:
            write_log(logging.WARNING, "poll failed: %s", failure)
            self._failures += 1
        else:
            self._failures = 0

    def pause(self) -> float:
        """Return how many seconds to pause before the next poll."""
        return pause_before_poll(self._interval, self._failures, self._jitter)
