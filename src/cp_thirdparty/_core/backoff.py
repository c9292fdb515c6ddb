"""All pauses: how long to wait before the next poll or attempt, and which errors of a poll end the polling."""

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

# Errors of a poll that end the polling, because a later poll would fail in the same way.
FATAL: Final = (ActionTypeNotFoundException, AccessDeniedError, InvalidRequestError)

# The longest pause in seconds after failed polls.
LONGEST_PAUSE: Final = 60.0

# Seconds between two attempts to claim a job or to report its result.  The maximum of the pause doubles with each
# attempt, from the first to the longest value; each pause is a random time between 0 and this maximum ("full jitter").
FIRST_RETRY_PAUSE: Final = 0.5
LONGEST_RETRY_PAUSE: Final = 30.0

# Seconds before a request to S3 is resent because its response was not accepted.  The pause doubles each time.
FIRST_S3_PAUSE: Final = 0.1

# The longest time in seconds that botocore's standard retry mode waits before a retry, and the longest additional time
# that a response can request (botocore.retries.standard of botocore 1.44).
LONGEST_BOTOCORE_PAUSE: Final = 20.0
LONGEST_REQUESTED_PAUSE: Final = 5.0

# Seconds between two batches of rows that a journal deletes.  In this pause, other threads can write to the journal.
DELETION_PAUSE: Final = 0.01

# After this many doublings the pause has reached its maximum.  Without a limit, the number would overflow.
_MAX_DOUBLINGS: Final = 20


def pause_before_poll(interval: float, failures: int, jitter: random.Random) -> float:
    """
    Return how many seconds to pause after a poll that returned no jobs or failed.

    Each pause is randomly up to 20 % shorter or longer, so that many workers do not poll at the same time.  It doubles
    with each failed poll in a row, up to 60 seconds.  After a failure, the pause is shortened by a random part of at
    most 50 %, but it is never shorter than the pause without failures.

    Args:
        interval: The pause in seconds without failures.
        failures: The number of polls that have failed in a row.
        jitter: The source of random numbers.
    """
    pause = interval * jitter.uniform(0.8, 1.2)
    if not failures:
        return pause
    longer = min(pause * float(2 ** min(failures, _MAX_DOUBLINGS)), LONGEST_PAUSE)
    return max(longer * jitter.uniform(0.5, 1), pause)


def retry_pauses(first: float, longest: float) -> Iterator[float]:
    """Yield the seconds to wait before each further attempt: a random part of a time that doubles up to ``longest``."""
    while True:
        yield random.uniform(0, first)  # noqa: S311 - jitter
        first = min(first * 2, longest)


class PollPace:
    """
    The pauses of an iterator that polls for jobs.

    Raises:
        InvalidRequestError: An argument breaks its rule.
    """

    def __init__(self, *, max_batch_size: int, poll_interval: float | timedelta) -> None:
        self._interval = to_seconds(poll_interval)
        for name, rule in (
            ("max_batch_size", limits.check_int_range(max_batch_size, 1)),
            ("poll_interval", seconds_rule(self._interval, is_optional=False)),
        ):
            if rule is not None:
                raise InvalidRequestError(name, rule)
        self._failures = 0
        self._jitter = random.Random()  # noqa: S311 - jitter

    @contextmanager
    def count_failures(self) -> Generator[None]:
        """Log an error of a poll, and make the following pauses longer; raise an error that ends the polling."""
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
