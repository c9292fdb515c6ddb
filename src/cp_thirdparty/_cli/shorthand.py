"""Parse the shorthand syntax of the AWS CLI: ``NAME=VALUE,NAME=VALUE``, with lists and objects."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from cp_thirdparty._structuring.strict_input import InputError, check_unique

__all__ = ["parse_shorthand"]

# Each pattern can match a string in only one way.  So there is no backtracking, and the time is linear in the length.
_NAME = re.compile(r"""(?P<name>[^=,"'\[\]{}]+?)(?P<is_file>@?)\s*=\s*""")
_QUOTED = re.compile(r"""(?P<quote>["'])(?P<text>(?:\\.|(?!(?P=quote))[^\\])*)(?P=quote)""", re.DOTALL)
_PLAIN = re.compile(r"""(?![=\[{])(?:\\,|\\(?!,)|[^\\,"'\]}])*""")
# The second or a later value of a list without brackets.  If `=` follows, it is the name of the next member instead.
_NEXT_PLAIN = re.compile(r"""(?:\\,|\\(?!,)|[^\\,"'\[\]{}=])+""")
_COMMA = re.compile(r"\s*,\s*")
_SPACE = re.compile(r"\s*")
_FORM = "must be JSON or NAME=VALUE,NAME=VALUE; a VALUE that has , = \" ' [ ] { } may need quotes"


def parse_shorthand(text: str, read_file: Callable[[str], str]) -> dict[str, Any]:
    """
    Parse a string in shorthand syntax, and return its members; `read_file` returns the value of ``NAME@=PATH``.

    Raises:
        InputError: The string is not valid shorthand.
    """
    try:
        return _Parser(text, read_file).parse_all()
    except RecursionError:
        raise InputError(_FORM) from None


class _Parser:
    def __init__(self, text: str, read_file: Callable[[str], str]) -> None:
        self._text = text
        self._read_file = read_file
        self._at = 0

    def parse_all(self) -> dict[str, Any]:
        members = [self._member(self._value)]
        while self._at < len(self._text):
            self._take(_COMMA)
            members.append(self._member(self._value))
        return _to_object(members)

    def _member(self, parse: Callable[[Callable[[str], str]], Any]) -> tuple[str, Any]:
        name = self._take(_NAME)
        value = parse(self._read_file if name["is_file"] else str)
        return name["name"].rstrip(), value

    def _value(self, read: Callable[[str], str]) -> Any:
        """Parse a value, or a list without brackets, whose values are separated by commas."""
        value = self._bounded_value(read)
        if isinstance(value, (list, dict)):
            return value
        values = [value]
        while (comma := _COMMA.match(self._text, self._at)) and not _NAME.match(self._text, comma.end()):
            self._at = comma.end()
            values.append(read(self._parse_quoted() if self._is_quote() else self._plain(_NEXT_PLAIN)))
        return value if len(values) == 1 else values

    def _bounded_value(self, read: Callable[[str], str]) -> Any:
        """Parse a value that ends before a comma, a bracket or a brace."""
        first = self._text[self._at : self._at + 1]
        if first == "[":
            return self._items("]", lambda: self._bounded_value(read))
        if first == "{":
            return _to_object(self._items("}", lambda: self._member(self._bounded_value)))
        value = read(self._parse_quoted() if self._is_quote() else self._plain(_PLAIN))
        self._take(_SPACE)
        return value

    def _items(self, end: str, parse: Callable[[], Any]) -> list[Any]:
        """Parse the items between two brackets or braces."""
        items: list[Any] = []
        self._at += 1
        self._take(_SPACE)
        while not self._text.startswith(end, self._at):
            items.append(parse())
            self._take(_SPACE)
            if not self._text.startswith(end, self._at):
                self._take(_COMMA)
        self._at += 1
        self._take(_SPACE)
        return items

    def _is_quote(self) -> bool:
        return self._text.startswith(("'", '"'), self._at)

    def _parse_quoted(self) -> str:
        """Parse a quoted value.  As in the AWS CLI, a backslash escapes only the quote and a backslash."""
        match = self._take(_QUOTED)
        return re.sub(rf"\\([\\{match['quote']}])", r"\1", match["text"])

    def _plain(self, pattern: re.Pattern[str]) -> str:
        return self._take(pattern)[0].replace("\\,", ",").rstrip()

    def _take(self, pattern: re.Pattern[str]) -> re.Match[str]:
        match = pattern.match(self._text, self._at)
        if match is None:
            raise InputError(_FORM)
        self._at = match.end()
        return match


def _to_object(members: list[tuple[str, Any]]) -> dict[str, Any]:
    check_unique(name for name, _ in members)
    return dict(members)
