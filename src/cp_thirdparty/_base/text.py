"""Show untrusted strings: escape what a log, terminal or notebook would interpret, and truncate long strings."""

from __future__ import annotations

import re
from typing import Final

MAXIMUM: Final = 1000
"""The most characters of a string that are shown."""

_ELLIPSIS: Final = "…"

# Ten problems of 1,000 characters each, with our own words.
_LONGEST_MESSAGE: Final = 20_000

# Most strings have only these characters; `str.isprintable` is exact, and is called for the others.
_HARMLESS: Final = re.compile(r"[ -\[\]-~]*")


def escape(text: str) -> str:
    r"""
    Return a string whose control, C1, bidirectional and other invisible characters are escaped: ``\x1b``.

    A line break is such a character, so the result is one line.
    """
    plain = str.__str__(text)  # a subclass may have methods of its own
    if _HARMLESS.fullmatch(plain) or plain.isprintable():
        return plain
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in plain)


def show(text: str, maximum: int = MAXIMUM) -> str:
    """Escape a string; truncate a longer one, whose characters are counted before they are escaped, and add ``…``."""
    plain = str.__str__(text)
    return escape(plain) if len(plain) <= maximum else escape(plain[:maximum]) + _ELLIPSIS


def show_all(text: str) -> str:
    """Escape a string that this library has composed of limited parts, such as the message of an error."""
    return show(text, _LONGEST_MESSAGE)


def show_optional(text: str | None) -> str | None:
    """Escape and truncate a string, if there is one."""
    return None if text is None else show(text)


def show_value(value: object) -> object:
    """Return an argument of a log record as a safe string; of an exception only the message, without its frames."""
    if isinstance(value, str):
        return show(value)
    if isinstance(value, (list, tuple)):
        return [show_value(each) for each in value]
    return show_all(str(value)) if isinstance(value, BaseException) else value


def show_repr(text: str) -> str:
    """Return the ``repr`` of a string, truncated; the number after it is the complete length."""
    plain = str.__str__(text)
    return repr(plain) if len(plain) <= MAXIMUM else f"{plain[:MAXIMUM]!r}{_ELLIPSIS} ({len(plain):,} characters)"


def escape_json(document: str) -> str:
    r"""Escape the characters of a JSON document that a terminal may interpret, such as ``\u009b``."""
    return "".join(each if each == "\n" or each.isprintable() else escape_for_json(each) for each in document)


def escape_for_json(character: str) -> str:
    r"""Return the escape of a character in a JSON string, such as ``\u2713``."""
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))
