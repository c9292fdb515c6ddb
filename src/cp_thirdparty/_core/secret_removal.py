"""
Remove secrets from the data of a response, even if the server or a proxy has escaped the secrets.

A server may repeat a secret URL-escaped, JSON-escaped, as HTML entities, in any mixture of these, and escaped more than
once.  The bytes around a secret may look like a part of an escape, so the data can be unescaped in several ways.
Therefore this module collects the "readings" of the data: each byte, and each part that can be read as an escape.  It
removes a secret wherever any sequence of readings results in the secret.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Iterator
from heapq import heappop, heappush
from itertools import islice
from typing import Final

from cp_thirdparty.secrets import SecretStr

_MASK: Final = str(SecretStr("")).encode()
# Shorter values are not removed, because they occur by chance: without each "t", a message could not be understood.
_MIN_CHARACTERS: Final = 4

# The position at which a part of the data ends, and the bytes that this part stands for.
_Reading = tuple[int, bytes]

_ESCAPE_START: Final = re.compile(rb"[%\\&]")
_BACKSLASH: Final = ord("\\")
# What follows a backslash in JSON -> its meaning.
_JSON: Final = {
    b'"': b'"',
    b"'": b"'",
    b"\\": b"\\",
    b"/": b"/",
    b"b": b"\b",
    b"f": b"\f",
    b"n": b"\n",
    b"r": b"\r",
    b"t": b"\t",
}
_JSON_ESCAPE: Final = re.compile(rb"\\(?:u[0-9A-Fa-f]{4}|[\"\\/bfnrt])")
_DIGITS: Final = {digit.encode(): int(digit, 16) for digit in "0123456789abcdefABCDEF"}
_LAST_CHARACTER: Final = 0x10FFFF
_FIRST_BEYOND_ASCII: Final = 0x80
_HIGH_SURROGATES: Final = range(0xD800, 0xDC00)
_SURROGATE_BYTE: Final = b"\xed"  # the first byte of each surrogate in UTF-8
# The maximum number of readings at one position.  Without it, the time would be quadratic.  No program escapes a string
# so often that it needs more.
_MAX_READINGS: Final = 50
# The maximum number of readings that a search uses is a base and a number for each byte.  Data that programs have
# escaped up to four times has at most 5 readings for each byte.  The longest error, of 64 KiB, may have 5.5 for each
# byte.  Without the limit, a hostile server could send data with 500 readings for each byte.
_BASE_READINGS: Final = 100_000
_READINGS_PER_BYTE: Final = 4


class TooManyEscapesError(Exception):
    """The data has too many escapes for its length.  No usual program creates so many."""


def remove_secrets(text: str, secrets: Iterable[SecretStr]) -> str:
    """Return the string without the secrets; if it has too many escapes, return only a mask."""
    try:
        return remove_secrets_from_bytes(_encode(text), secrets).decode("utf-8", "surrogatepass")
    except TooManyEscapesError:
        return _MASK.decode()


def remove_secrets_from_bytes(data: bytes, secrets: Iterable[SecretStr], *, keep_length: bool = False) -> bytes:
    """
    Replace each secret by a mask, or with ``keep_length`` each byte of a secret by an asterisk.

    Raises:
        TooManyEscapesError: The data has so many escapes that the search would take too long.
    """
    strings = (secret.get_secret_value() for secret in secrets)
    values = [_plus_to_space(_encode(string)) for string in strings if len(string) >= _MIN_CHARACTERS]
    has_escapes = _ESCAPE_START.search(data) is not None
    if not has_escapes and not any(secret in _plus_to_space(data) for secret in values):
        return data
    readings = _Readings(data)
    is_secret = bytearray(len(data))
    for secret in values:
        for start, end in _Search(secret).find(readings):
            is_secret[start:end] = b"\1" * (end - start)
    if has_escapes and any(is_secret):
        _extend_to_complete_escapes(data, is_secret)

    pieces, kept_from = [], 0
    for match in re.finditer(b"\1+", is_secret):
        start, end = match.span()
        pieces += [data[kept_from:start], b"*" * (end - start) if keep_length else _MASK]
        kept_from = end
    return b"".join([*pieces, data[kept_from:]])


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _plus_to_space(data: bytes) -> bytes:
    """Replace plus signs by spaces, because a plus sign stands for a space in a query string."""
    return data.replace(b"+", b" ")


def _extend_to_complete_escapes(data: bytes, is_secret: bytearray) -> None:
    """Mark the complete JSON escape if a part of it is removed, so that a JSON document stays valid."""
    for escape in _JSON_ESCAPE.finditer(data):
        start, end = escape.span()
        if b"\1" in is_secret[start:end]:
            is_secret[start:end] = b"\1" * (end - start)


class _Search:
    """
    The search for one secret.

    A set of states is stored as one number: bit *k* means that the first *k* bytes of the secret were found.  So each
    step advances all partial matches at once, in a time that does not depend on the number of partial matches.
    """

    def __init__(self, secret: bytes) -> None:
        self._complete = 1 << len(secret)
        self._positions = [0] * 256  # byte -> bit set of the byte's positions in the secret
        for position, byte in enumerate(secret):
            self._positions[byte] |= 1 << position
        self._positions[ord("+")] = self._positions[ord(" ")]
        first = b" +" if secret[:1] == b" " else re.escape(secret[:1])
        self._start = re.compile(b"[%s%s" % (first, _ESCAPE_START.pattern[1:]))

    def find(self, readings: _Readings) -> Iterator[tuple[int, int]]:
        """Yield start and end of each part of the data that belongs to the secret."""
        prefixes = self._find_prefixes(readings)
        suffixes: dict[int, int] = {}  # position -> set of k for which all but the first k bytes of the secret follow
        for position in sorted(prefixes, reverse=True):
            for end, meaning in readings.find_at(position):
                states = self._step_back(suffixes.get(end, 0) | self._complete, meaning) & prefixes[position]
                if states:
                    suffixes[position] = suffixes.get(position, 0) | states
                    yield position, end

    def _find_prefixes(self, readings: _Readings) -> dict[int, int]:
        """Return for each position the set of *k* for which the first *k* bytes of the secret may end there."""
        prefixes: dict[int, int] = {}
        todo = [match.start() for match in self._start.finditer(readings.data)]
        while todo:
            position = heappop(todo)
            if prefixes.get(position, 0) & 1:  # the position was already processed
                continue
            prefixes[position] = prefixes.get(position, 0) | 1
            for end, meaning in readings.find_at(position):
                states = self._advance(prefixes[position], meaning)
                if states:
                    if end not in prefixes:
                        heappush(todo, end)
                    prefixes[end] = prefixes.get(end, 0) | states
        return prefixes

    def _advance(self, states: int, meaning: bytes) -> int:
        for byte in meaning:
            states = (states & self._positions[byte]) << 1 | self._ignore_backslash(states, byte)
        return states

    def _step_back(self, states: int, meaning: bytes) -> int:
        for byte in reversed(meaning):
            states = states >> 1 & self._positions[byte] | self._ignore_backslash(states, byte)
        return states

    def _ignore_backslash(self, states: int, byte: int) -> int:
        """Return the states that a backslash keeps, because an additional backslash in a secret is ignored."""
        return states & (self._complete - 2) if byte == _BACKSLASH else 0


class _Readings:
    """
    Data, and all parts of the data that can be read as an escape.

    A part of an escape may be escaped itself, so the escapes are searched from the end of the data to its beginning.
    """

    def __init__(self, data: bytes) -> None:
        self.data = data
        self._readings_left = _BASE_READINGS + _READINGS_PER_BYTE * len(data)
        self._escapes: dict[int, list[_Reading]] = {}
        self._short_escapes: dict[int, list[_Reading]] = {}  # such as \n; not a part of other escapes
        self._readers: dict[bytes, Callable[[int], Iterator[_Reading]]] = {
            b"%": self._read_percent,
            b"\\": self._read_backslash,
            b"&": self._read_entity,
        }
        for match in reversed(list(_ESCAPE_START.finditer(data))):
            self._read_escapes(match.start())

    def find_at(self, position: int) -> list[_Reading]:
        """Return every reading that begins at a position: the byte itself, and escapes."""
        return [*self._byte_and_escapes(position), *self._short_escapes.get(position, ())]

    def _use_parts_at(self, position: int) -> list[_Reading]:
        """Return and count the readings at a position that may be a part of an escape; raise if there are too many."""
        parts = self._byte_and_escapes(position)
        self._readings_left -= len(parts)
        if self._readings_left < 0:
            raise TooManyEscapesError
        return parts

    def _byte_and_escapes(self, position: int) -> list[_Reading]:
        byte = self.data[position : position + 1]
        return [(position + 1, byte), *self._escapes.get(position, ())] if byte else []

    def _read_escapes(self, position: int) -> None:
        escapes: dict[_Reading, None] = {}
        short: dict[_Reading, None] = {}
        starts = [(position + 1, self.data[position : position + 1])]
        while starts and len(escapes) < _MAX_READINGS:
            start, first = starts.pop()
            for escape in islice(self._readers[first](start), _MAX_READINGS):
                if escape not in escapes and escape[1] in self._readers:  # it may begin another escape: %25 in %2541
                    starts.append(escape)
                escapes[escape] = None
            if first == b"\\":
                short |= {(end, _JSON[each]): None for end, each in self._use_parts_at(start) if each in _JSON}
        if escapes:
            self._escapes[position] = list(escapes)
        if short:
            self._short_escapes[position] = list(short)

    def _find_ends(self, position: int, *meanings: bytes) -> list[int]:
        return [end for end, meaning in self._use_parts_at(position) if meaning in meanings]

    def _read_percent(self, position: int) -> Iterator[_Reading]:
        for end, value in self._read_digits(position, 2):
            yield end, bytes([value])

    def _read_backslash(self, position: int) -> Iterator[_Reading]:
        yield from self._escapes.get(position, ())  # an escape that was escaped again may have further backslashes
        for start in self._find_ends(position, b"x"):
            for end, value in self._read_digits(start, 2):
                yield end, bytes([value])
                if value >= _FIRST_BEYOND_ASCII:
                    yield end, chr(value).encode()
        for start in self._find_ends(position, b"u"):
            for end, unit in self._read_digits(start, 4):
                yield end, _encode(chr(unit))
                if unit in _HIGH_SURROGATES:
                    yield from self._read_low_surrogate(end, chr(unit))

    def _read_low_surrogate(self, position: int, high: str) -> Iterator[_Reading]:
        """Read the second of two escapes that stand for one character."""
        for end, meaning in self._use_parts_at(position):
            if meaning[:1] == _SURROGATE_BYTE:
                pair = high + meaning.decode("utf-8", "surrogatepass")
                yield end, _encode(pair.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass"))

    def _read_digits(self, position: int, count: int) -> list[tuple[int, int]]:
        """Return the readings of a hexadecimal number that has ``count`` digits."""
        numbers = [(position, 0)]
        for _ in range(count):
            numbers = [
                (end, value * 16 + _DIGITS[digit])
                for start, value in numbers
                for end, digit in self._use_parts_at(start)
                if digit in _DIGITS
            ]
        return numbers

    def _read_entity(self, position: int) -> Iterator[_Reading]:
        """Read an HTML entity, whose semicolon may be missing."""
        for start in self._find_ends(position, b"#"):
            yield from self._read_entity_number(start, 10)
            for digits in self._find_ends(start, b"x", b"X"):
                yield from self._read_entity_number(digits, 16)
        names, prefixes = _entities()
        todo = [(position, b"")]
        while todo:
            start, prefix = todo.pop()
            for end, letter in self._use_parts_at(start):
                name = prefix + letter
                if name in names:
                    yield end, names[name]
                if name in prefixes:
                    todo.append((end, name))

    def _read_entity_number(self, position: int, base: int) -> Iterator[_Reading]:
        todo = [(position, 0)]
        while todo:
            start, number = todo.pop()
            for end, digit in self._use_parts_at(start):
                value = number * base + _DIGITS.get(digit, base)
                if _DIGITS.get(digit, base) < base and value <= _LAST_CHARACTER:
                    todo.append((end, value))
                    if value:  # a value of 0 is only a leading zero
                        meaning = _encode(chr(value))
                        yield from ((last, meaning) for last in (end, *self._find_ends(end, b";")))


@functools.cache
def _entities() -> tuple[dict[bytes, bytes], set[bytes]]:
    """Return the named HTML entities, some of which need no semicolon, and the beginnings of their names."""
    from html.entities import html5  # noqa: PLC0415 - a large table, which only escaped errors need

    names = {name.encode(): character.encode() for name, character in html5.items()}
    return names, {name[:length] for name in names for length in range(1, len(name))}
