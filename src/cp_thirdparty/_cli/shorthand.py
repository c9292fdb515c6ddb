"""Parse the shorthand syntax of the AWS CLI: ``NAME=VALUE,NAME=VALUE``, with lists and objects."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from cp_thirdparty._structuring.strict_input import InputError, check_unique

# Each pattern can match a string in only one way.  So the time of a match is linear in the length of the string.
_NAME = re.compile(r"""(?P<name>[^=,"'\[\]{}]+)=\s*""")
_QUOTED = re.compile(r"""(?P<quote>["'])(?P<text>(?:\\.|(?!(?P=quote))[^\\])*)(?P=quote)""", re.DOTALL)
_PLAIN = re.compile(r"""(?![=\[{])(?:\\,|\\(?!,)|[^\\,"'\]}])*""")
# The second or a later value of a list without brackets.  If `=` follows, it is the name of the next member instead.
_NEXT_PLAIN = re.compile(r"""(?:\\,|\\(?!,)|[^\\,"'\[\]{}=])+""")
_COMMA = re.compile(r"\s*,\s*")
_SPACE = re.compile(r"\s*")
_SYNTAX_RULE = "must be JSON or NAME=VALUE,NAME=VALUE; a VALUE that has , = \" ' [ ] { } may need quotes"


def parse_shorthand(text: str, read_file: Callable[[str], str]) -> dict[str, Any]:
    """
    Parse a string in shorthand syntax, and return its members; `read_file` returns the value of ``NAME@=PATH``.

    Raises:
        InputError: The string is not valid shorthand.
    """
    try:
        return _Parser(text, read_file).parse_all()
    except RecursionError:
        raise InputError("has too many nested lists or objects") from None


class _Parser:
    def __init__(self, text: str, read_file: Callable[[str], str]) -> None:
        self._text = text
        self._read_file = read_file
        self._at = 0

    def parse_all(self) -> dict[str, Any]:
        members = [self._parse_member(self._parse_value)]
        while self._at < len(self._text):
            self._take(_COMMA)
            members.append(self._parse_member(self._parse_value))
        return _to_object(members)

    def _parse_member(self, parse: Callable[[Callable[[str], str]], Any]) -> tuple[str, Any]:
        name = self._take(_NAME)["name"].rstrip()
        is_file = name.endswith("@") and name != "@"
        return (name[:-1].rstrip(), parse(self._read_file)) if is_file else (name, parse(str))

    def _parse_value(self, convert: Callable[[str], str]) -> Any:
        """
        Parse a value, or a list without brackets, whose values are separated by commas.

        Args:
            convert: `str`, or `read_file` for ``NAME@=``.
        """
        value = self._parse_single_value(convert)
        if isinstance(value, (list, dict)):
            return value
        values = [value]
        while (comma := _COMMA.match(self._text, self._at)) and not _NAME.match(self._text, comma.end()):
            self._at = comma.end()
            values.append(convert(self._parse_quoted() if self._is_quote() else self._parse_plain(_NEXT_PLAIN)))
        return value if len(values) == 1 else values

    def _parse_single_value(self, convert: Callable[[str], str]) -> Any:
        """Parse one value: a list in brackets, an object in braces, or a quoted or unquoted string."""
        first = self._text[self._at : self._at + 1]
        if first == "[":
            return self._parse_items("]", lambda: self._parse_single_value(convert))
        if first == "{":
            return _to_object(self._parse_items("}", lambda: self._parse_member(self._parse_single_value)))
        value = convert(self._parse_quoted() if self._is_quote() else self._parse_plain(_PLAIN))
        self._take(_SPACE)
        return value

    def _parse_items(self, end: str, parse: Callable[[], Any]) -> list[Any]:
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

    def _parse_plain(self, pattern: re.Pattern[str]) -> str:
        return self._take(pattern)[0].replace("\\,", ",").rstrip()

    def _take(self, pattern: re.Pattern[str]) -> re.Match[str]:
        match = pattern.match(self._text, self._at)
        if match is None:
            raise InputError(_SYNTAX_RULE)
        self._at = match.end()
        return match


def _to_object(members: list[tuple[str, Any]]) -> dict[str, Any]:
    check_unique(name for name, _ in members)
    return dict(members)
