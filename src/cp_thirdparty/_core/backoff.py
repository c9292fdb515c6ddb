"""When to poll again: how long to pause after a poll, and which of its errors are permanent."""

from __future__ import annotations

import logging
import random
from typing import Final

from cp_thirdparty._base import limits
from cp_thirdparty.exceptions import (
    AccessDeniedError,
    ActionTypeNotFoundException,
    CodePipelineJobError,
    InvalidRequestError,
)

_log = logging.getLogger("cp_thirdparty")

# Errors of a poll that do not go away by themselves.
FATAL: Final = (ActionTypeNotFoundException, AccessDeniedError, InvalidRequestError)

# Seconds to which the pause after failed polls grows.
LONGEST_PAUSE: Final = 60.0

# Doubling more often than this changes nothing, and overflows in the end.
_MOST_DOUBLINGS: Final = 20


def pause_before_poll(interval: float, failures: int, jitter: random.Random) -> float:
    """
    Return how many seconds to pause after a poll that brought nothing.

    Each pause is up to a fifth shorter or longer, so that many workers do not poll at once.  It doubles with each poll
    that failed, up to a minute, of which a random half is taken off; it is never shorter than without failures.

    Args:
        interval: Seconds between two polls that go well.

        failures: How many polls have failed in a row.

        jitter: Source of randomness.
    """
    pause = interval * jitter.uniform(0.8, 1.2)
    if not failures:
        return pause
    longer = min(pause * float(2 ** min(failures, _MOST_DOUBLINGS)), LONGEST_PAUSE)
    return max(longer * jitter.uniform(0.5, 1), pause)


class PollPace:
    """
    How fast an iterator of jobs polls.

    Args:
        max_batch_size: The most jobs of one poll, at least 1.

        poll_interval: Seconds, more than 0, between two polls when no job waits.

    Raises:
        InvalidRequestError: An argument breaks its rule.
    """

    def __init__(self, *, max_batch_size: int, poll_interval: float) -> None:
        for name, rule in (
            ("max_batch_size", limits.int_in_range(max_batch_size, 1)),
            ("poll_interval", limits.seconds(poll_interval, is_optional=False)),
        ):
            if rule is not None:
                raise InvalidRequestError(name, rule)
        self._interval = poll_interval
        self._failures = 0
        self._jitter = random.Random()  # noqa: S311 - jitter

    def note_success(self) -> None:
        """Poll at the plain interval again."""
        self._failures = 0

    def note_failure(self, failure: CodePipelineJobError) -> None:
        """Log a failed poll, and poll more slowly."""
        _log.warning("poll failed: %s", failure)
        self._failures += 1

    def pause(self) -> float:
        """Return how many seconds to pause before the next poll."""
        return pause_before_poll(self._interval, self._failures, self._jitter)
