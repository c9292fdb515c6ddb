"""The checks on what we send: each names the broken rule, and never the value."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone, tzinfo
from enum import IntEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cp_thirdparty._base import limits

_LONE = "must not contain lone surrogates"
_NAME = "must have only letters, digits, '_' and '-'"
_YEARS = "must be within the years 1 to 9999 in UTC"


class _Number(IntEnum):
    THREE = 3


class _NoOffset(tzinfo):
    """A zone that does not return its offset."""

    def utcoffset(self, dt: datetime | None) -> None:
        """Return nothing."""

    dst = tzname = utcoffset


# value, maximum -> broken rule
_TEXTS: list[tuple[object, int, str | None]] = [
    ("x", 3, None),
    ("xxx", 3, None),
    ("€€€", 3, None),
    ("𝄞𝄞𝄞", 3, None),  # code points, not UTF-16 units or bytes
    (" ", 3, None),
    ("\0\n", 3, None),
    ("", 3, "must have 1 to 3 characters"),
    ("xxxx", 3, "must have 1 to 3 characters"),
    ("𝄞𝄞𝄞𝄞", 3, "must have 1 to 3 characters"),
    ("\udc80", 3, _LONE),
    ("a\ud800b", 3, _LONE),
    ("\ud834\udd1e", 3, _LONE),  # two halves are not a character
    (None, 3, "must be a str"),
    (3, 3, "must be a str"),
    (b"x", 3, "must be a str"),
    (["x"], 3, "must be a str"),
]
_NAMES: list[tuple[object, int, str | None]] = [
    ("a-Z_09", 6, None),
    ("a-Z_09x", 6, "must have 1 to 6 characters"),
    ("", 6, "must have 1 to 6 characters"),
    ("a b", 6, _NAME),
    ("a\n", 6, _NAME),  # `$` would let it through
    ("é", 6, _NAME),
    ("٤", 6, _NAME),
    ("a.b", 6, _NAME),
    ("\udc80", 6, _LONE),
    (1, 6, "must be a str"),
]
_NUMBERS: list[tuple[object, int, int | None, str | None]] = [
    (0, 0, 100, None),
    (100, 0, 100, None),
    (_Number.THREE, 0, 100, None),
    (-1, 0, 100, "must be from 0 to 100"),
    (101, 0, 100, "must be from 0 to 100"),
    (1, 1, None, None),
    (10**30, 1, None, None),
    (0, 1, None, "must be at least 1"),
    (True, 0, 100, "must be an int"),
    (False, 0, 100, "must be an int"),
    (50.0, 0, 100, "must be an int"),
    ("50", 0, 100, "must be an int"),
    (None, 0, 100, "must be an int"),
]
_TIMES: list[tuple[object, str | None]] = [
    (datetime(2024, 2, 29, 12, tzinfo=timezone.utc), None),
    (datetime(2024, 2, 29, 12, tzinfo=timezone(timedelta(hours=-9, minutes=-30))), None),
    (datetime.min.replace(tzinfo=timezone.utc), None),
    (datetime.max.replace(tzinfo=timezone.utc), None),
    (datetime.min.replace(tzinfo=timezone(timedelta(minutes=1))), _YEARS),
    (datetime.max.replace(tzinfo=timezone(-timedelta(minutes=1))), _YEARS),
    (datetime(2024, 2, 29, 12), "must have a time zone"),  # noqa: DTZ001 - it is what is tried
    (datetime(2024, 2, 29, 12, tzinfo=_NoOffset()), "must have a time zone"),
    (datetime(2024, 2, 29, tzinfo=timezone.utc).date(), "must be a datetime"),
    ("2024-02-29T12:00:00Z", "must be a datetime"),
    (1_709_208_000.0, "must be a datetime"),
]


@pytest.mark.parametrize(("value", "maximum", "broken"), _TEXTS, ids=ascii)
def test_text(value: object, maximum: int, broken: str | None) -> None:
    """A string has 1 to so many code points, all of which can be sent."""
    assert broken == limits.check_text(value, maximum)


@pytest.mark.parametrize(("value", "maximum", "broken"), _NAMES, ids=ascii)
def test_name(value: object, maximum: int, broken: str | None) -> None:
    """A name is a string of ASCII letters, digits, ``_`` and ``-``, to its very end."""
    assert broken == limits.check_name(value, maximum)


@pytest.mark.parametrize(("value", "minimum", "maximum", "broken"), _NUMBERS, ids=repr)
def test_int_in_range(value: object, minimum: int, maximum: int | None, broken: str | None) -> None:
    """A number is an ``int`` within its range, ends included, and no ``bool``."""
    assert broken == limits.check_int_range(value, minimum, maximum)


@pytest.mark.parametrize(("value", "broken"), _TIMES, ids=str)
def test_aware_datetime(value: object, broken: str | None) -> None:
    """A time has a zone and a year in UTC."""
    assert broken == limits.check_aware_datetime(value)


@given(st.text(st.characters()))
def test_is_unicode(value: str) -> None:
    """A string is Unicode exactly when UTF-8 takes it."""
    assert limits.is_unicode(value) is ("?" not in value.replace("?", "").encode("utf-8", "replace").decode())


@given(
    st.one_of(st.text(st.characters(), min_size=4), st.integers(min_value=10_000), st.binary(min_size=4)),
    st.sampled_from([limits.check_text, limits.check_name, limits.check_int_range]),
)
def test_no_rule_holds_the_value(value: Any, check: Any) -> None:
    """The rules for two values of one kind are the same: they are made of the limits alone."""
    assert check(value, 1) in {
        None,
        "must be a str",
        "must be an int",
        "must have 1 to 1 characters",
        _LONE,
        _NAME,
        "must be at least 1",
    }
