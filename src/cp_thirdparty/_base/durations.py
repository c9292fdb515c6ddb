"""Check and convert arguments that are durations: a number or a `datetime.timedelta`."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any, TypeGuard, TypeVar

_T = TypeVar("_T")

# The timeout of a socket is limited to 2**31 milliseconds, which is about twice this number of seconds.
MAX_SECONDS = 1_000_000

# The maximum is a hundred years.  For a longer time, the argument must be None.
_MAX_DAYS = 36_500

_DAY = timedelta(days=1)


def to_seconds(duration: _T | timedelta) -> _T | float:
    """Return the seconds of a ``timedelta``, and any other value unchanged."""
    return duration.total_seconds() if isinstance(duration, timedelta) else duration


def seconds_rule(value: Any, *, is_optional: bool = True) -> str | None:
    """Return the rule that a number of seconds breaks, or ``None``.  An optional value may be ``None`` for no limit."""
    if value is None and is_optional:
        return None
    or_none = ", or None for no limit" if is_optional else ""
    if not _is_number(value):
        return f"must be a number of seconds or a timedelta{or_none}"
    return None if 0 < value <= MAX_SECONDS else f"must be more than 0 and at most {MAX_SECONDS:,} seconds{or_none}"


def read_seconds(name: str, duration: Any, *, least: float | None = None, most: float = MAX_SECONDS) -> float:
    """
    Return an argument in seconds.

    Args:
        name: The name of the argument.
        duration: The value of the argument.
        least: The smallest allowed number of seconds; ``None`` if the value must be more than 0.
        most: The largest allowed number of seconds.

    Raises:
        TypeError: The value is neither a number nor a ``timedelta``.
        ValueError: The value is out of range.
    """
    seconds: Any = to_seconds(duration)
    _check(name, seconds, "seconds", least=least, most=most)
    return seconds  # type: ignore[no-any-return] # `_check` accepts only numbers


def read_days(name: str, duration: Any) -> float | None:
    """
    Return an argument in days, at least 0, or ``None``.

    Raises:
        TypeError: The value is neither a number nor a ``timedelta`` nor ``None``.
        ValueError: The value is out of range.
    """
    if duration is None:
        return None
    days: float = duration / _DAY if isinstance(duration, timedelta) else duration
    _check(name, days, "days", least=0, most=_MAX_DAYS, or_none=", or None")
    return days


def _check(name: str, value: Any, unit: str, *, least: float | None, most: float, or_none: str = "") -> None:
    if not _is_number(value):
        raise TypeError(f"{name}: must be a number of {unit} or a timedelta{or_none}, not {type(value).__name__}")
    if not (value <= most and (value > 0 if least is None else value >= least)):  # NaN fails each comparison
        start = "more than 0" if least is None else f"at least {least:,}"
        end = "" if math.isinf(most) else f" and at most {most:,}"
        raise ValueError(f"{name}: must be {start}{end} {unit}{or_none}")


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
