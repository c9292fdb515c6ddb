"""
The service's limits for requests.  Each check returns the rule that a value breaks, or ``None``, and never the value.

Botocore does not check the maximum lengths.  If the service refused a result, the job would run until its timeout.
Therefore the strings of results are truncated when they are sent, see `_core.truncation`.
The numbers come from botocore's ``codepipeline/2015-07-09/service-2.json``; a test compares them.
Limits for responses are not checked, because the service has exceeded its documented limits before.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

JOB_ID = 512
CLIENT_TOKEN = 256
NONCE = 50
CONTINUATION_TOKEN = 2048
ACTION_PROVIDER = 35
ACTION_VERSION = 9
REVISION = 1500
CHANGE_IDENTIFIER = 100
REVISION_SUMMARY = 2048
EXECUTION_SUMMARY = 2048
EXTERNAL_EXECUTION_ID = 1500
FAILURE_MESSAGE = 5000
MAX_PERCENT = 100
CONFIGURATION_KEY = 50
QUERYABLE_VALUE = 50
# The total size of all names and values in bytes, from the page about quotas in AWS's user guide.
OUTPUT_VARIABLES_BYTES = 122_880
CUSTOM_PROPERTY_DESCRIPTION = 160
PROPERTY_DESCRIPTION = 250
MAX_PROPERTIES = 10
MAX_CUSTOM_ARTIFACTS = 5
MAX_ARTIFACTS = 10

ACCOUNT_ID = re.compile(r"[0-9]{12}")  # pattern of AccountId

_NAME = re.compile(r"[0-9A-Za-z_-]+")  # pattern of ActionProvider and Version
_QUERYABLE = re.compile(r"[a-zA-Z0-9_-]+")  # pattern of ActionConfigurationQueryableValue
_VARIABLE = re.compile(r"[A-Za-z0-9@\-_]+")  # pattern of OutputVariablesKey


def check_text(value: object, maximum: int) -> str | None:
    """Check a string of 1 to ``maximum`` code points."""
    if not isinstance(value, str):
        return "must be a str"
    if not 1 <= len(value) <= maximum:
        return f"must have 1 to {maximum} characters"
    if not (value.isascii() or is_unicode(value)):
        return "must not contain lone surrogates"
    return None


def check_string(value: object) -> str | None:
    """Check that a value is a string, of any length, because the client truncates it."""
    return None if isinstance(value, str) else "must be a str"


def check_name(value: object, maximum: int) -> str | None:
    """Check a provider or version: a string of letters, digits, ``_`` and ``-``."""
    return _check_letters(value, maximum, _NAME)


def _check_letters(value: object, maximum: int, letters: re.Pattern[str]) -> str | None:
    broken = check_text(value, maximum)
    if broken is None and isinstance(value, str) and not letters.fullmatch(value):
        return "must have only letters, digits, '_' and '-'"
    return broken


def check_int(value: object) -> str | None:
    """Check that a value is an ``int``.  A ``bool`` is not accepted."""
    return None if isinstance(value, int) and not isinstance(value, bool) else "must be an int"


def check_int_range(value: object, minimum: int, maximum: int | None = None) -> str | None:
    """Check that a value is an ``int`` from ``minimum`` to ``maximum``.  A ``bool`` is not accepted."""
    if not isinstance(value, int) or isinstance(value, bool):
        return "must be an int"
    if maximum is None:
        return None if value >= minimum else f"must be at least {minimum}"
    return None if minimum <= value <= maximum else f"must be from {minimum} to {maximum}"


def check_aware_datetime(value: object) -> str | None:
    """Check a ``datetime`` with a time zone and a value that UTC can represent."""
    if not isinstance(value, datetime):
        return "must be a datetime"
    if value.utcoffset() is None:
        return "must have a time zone"
    try:
        value.astimezone(timezone.utc)
    except OverflowError:
        return "must be within the years 1 to 9999 in UTC"
    return None


def check_query_param(value: object) -> str | None:
    """Check the query of a poll: at most one queryable configuration value by its key."""
    pairs = _pairs(value)
    if pairs is None:
        return "must be a mapping"
    if len(pairs) > 1:
        return "must have at most one entry"
    for key, item in pairs:
        broken = check_text(key, CONFIGURATION_KEY)
        if broken is not None:
            return f"its key {broken}"
        broken = _check_letters(item, QUERYABLE_VALUE, _QUERYABLE)
        if broken is not None:
            return f"its value {broken}"
    return None


def check_output_variables(value: object) -> str | None:
    """Check the output variables of an action.  AWS documents only a limit for their total size."""
    pairs = _pairs(value)
    if pairs is None:
        return "must be a mapping"
    size = 0
    for key, item in pairs:
        if not (isinstance(key, str) and _VARIABLE.fullmatch(key)):
            return "each name must be a str of letters, digits, '@', '-' and '_'"
        if not (isinstance(item, str) and is_unicode(item)):
            return "each value must be a str without lone surrogates"
        size += len(key) + len(item.encode())
    return None if size <= OUTPUT_VARIABLES_BYTES else f"must have at most {OUTPUT_VARIABLES_BYTES:,} bytes"


def _pairs(value: object) -> list[tuple[Any, Any]] | None:
    if not isinstance(value, Mapping):
        return None
    entries: Mapping[Any, Any] = value
    return list(entries.items())


def is_unicode(value: str) -> bool:
    """Return whether a string can be encoded.  JSON documents may have lone surrogates, which cannot be encoded."""
    if value.isascii():
        return True
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
