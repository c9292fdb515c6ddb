"""Make untrusted strings safe to show: escape characters that a log, terminal or notebook interprets, and truncate."""

from __future__ import annotations

import re
from typing import Final

MAXIMUM: Final = 1000
"""The maximum number of characters of a string that are shown."""

_ELLIPSIS: Final = "…"

# The maximum length of a message: ten problems of 1,000 characters each, and the text of this library around them.
_LONGEST_MESSAGE: Final = 20_000

# Most strings have only these characters.  `str.isprintable` is called only for the other strings.
_HARMLESS: Final = re.compile(r"[ -\[\]-~]*")


def escape(text: str) -> str:
    r"""
    Return a string whose control, C1, bidirectional and other invisible characters are escaped: ``\x1b``.

    Line breaks are escaped too, so the result is one line.
    """
    plain = str.__str__(text)  # a subclass may override methods
    if _HARMLESS.fullmatch(plain) or plain.isprintable():
        return plain
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in plain)


def show(text: str, maximum: int = MAXIMUM) -> str:
    """Truncate a string to ``maximum`` characters, with ``…`` at the end if it was longer, and escape it."""
    plain = str.__str__(text)
    return escape(plain) if len(plain) <= maximum else escape(plain[:maximum]) + _ELLIPSIS


def show_message(text: str) -> str:
    """Escape a string that this library has composed of limited parts, such as the message of an error."""
    return show(text, _LONGEST_MESSAGE)


def show_optional(text: str | None) -> str | None:
    """Escape and truncate a string; return ``None`` for ``None``."""
    return None if text is None else show(text)


def show_value(value: object) -> object:
    """Return an argument of a log record with safe strings; for an exception, return only its message."""
    if isinstance(value, str):
        return show(value)
    if isinstance(value, (list, tuple)):
        return [show_value(each) for each in value]
    return show_message(str(value)) if isinstance(value, BaseException) else value


def show_repr(text: str) -> str:
    """Return the ``repr`` of a string; a long string is truncated, and its complete length is added."""
    plain = str.__str__(text)
    return repr(plain) if len(plain) <= MAXIMUM else f"{plain[:MAXIMUM]!r}{_ELLIPSIS} ({len(plain):,} characters)"


def escape_json(document: str) -> str:
    r"""Escape the characters of a JSON document that a terminal may interpret, such as ``\u009b``."""
    return "".join(each if each == "\n" or each.isprintable() else escape_for_json(each) for each in document)


def escape_for_json(character: str) -> str:
    r"""Return the escape of a character in a JSON string, such as ``\u2713``."""
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))
