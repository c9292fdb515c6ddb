"""When to poll again: how long to pause after a poll, and which of its errors no further poll can mend."""

from __future__ import annotations

import random
from typing import Final

from cp_thirdparty.exceptions import AccessDeniedError, ActionTypeNotFoundException, InvalidRequestError

# Errors of a poll that do not go away by themselves.
FATAL: Final = (ActionTypeNotFoundException, AccessDeniedError, InvalidRequestError)

# Seconds to which the pause after failed polls grows.
LONGEST_PAUSE: Final = 60.0

# Doubling more often than this changes nothing, and overflows in the end.
_MOST_DOUBLINGS: Final = 20


def pause_before_poll(interval: float, failures: int, jitter: random.Random) -> float:
    """
    Tell how many seconds to pause after a poll that brought nothing.

    Each pause is up to a fifth shorter or longer, so that many workers do not poll at once.  It doubles with each poll
    that failed, up to a minute, of which a random half is taken off; it is never shorter than without failures.

    Args:
        interval: Seconds between two polls that go well.

        failures: How many polls have failed in a row.

        jitter: Where chance comes from.
    """
    pause = interval * jitter.uniform(0.8, 1.2)
    if not failures:
        return pause
    longer = min(pause * float(2 ** min(failures, _MOST_DOUBLINGS)), LONGEST_PAUSE)
    return max(longer * jitter.uniform(0.5, 1), pause)
