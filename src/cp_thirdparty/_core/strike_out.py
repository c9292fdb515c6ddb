"""
Takes secrets out of what a peer has written, however it has escaped them.

A peer may repeat a secret URL-escaped, JSON-escaped, as HTML entities, in a mixture of these, and escaped twice.  So
the text is unescaped step by step, secrets are looked for in each of the versions, and each find is mapped back to the
bytes of the original.  Each step takes linear time.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from typing import Final

import attrs

from cp_thirdparty.secrets import SecretStr

_MASK: Final = str(SecretStr("")).encode()
# A shorter value occurs by chance: striking out "t" would ruin every text.
_MIN_CHARACTERS: Final = 4
_MAX_STEPS: Final = 5

_ESCAPE: Final = re.compile(
    rb"%[0-9A-Fa-f]{2}"
    rb"|\\u[Dd][89ABab][0-9A-Fa-f]{2}\\u[Dd][C-Fc-f][0-9A-Fa-f]{2}"
    rb"|\\u[0-9A-Fa-f]{4}"
    rb"|\\x[0-9A-Fa-f]{2}"
    rb"|\\[\"'\\/bfnrt]"
    rb"|&#[0-9]{1,7};?"
    rb"|&#[Xx][0-9A-Fa-f]{1,6};?"
    rb"|&[A-Za-z][0-9A-Za-z]{1,31};"
)
_JSON: Final = {
    b'\\"': b'"',
    b"\\'": b"'",
    b"\\\\": b"\\",
    b"\\/": b"/",
    b"\\b": b"\b",
    b"\\f": b"\f",
    b"\\n": b"\n",
    b"\\r": b"\r",
    b"\\t": b"\t",
}


def strike_out(text: str, secrets: Iterable[SecretStr]) -> str:
    """Return the string without the secrets."""
    return strike_out_of_bytes(_encode(text), secrets).decode("utf-8", "surrogatepass")


def strike_out_of_bytes(data: bytes, secrets: Iterable[SecretStr], *, keep_length: bool = False) -> bytes:
    """Return the bytes without the secrets; with ``keep_length`` each is replaced by as many asterisks."""
    wanted = [_encode(value) for value in (secret.get_secret_value() for secret in secrets) if _is_findable(value)]
    if not wanted or not data:
        return data
    struck = _merge(sorted(set(_find(data, wanted))))
    if not struck:
        return data
    kept, end = [], 0
    for first, last in struck:
        kept += [data[end:first], b"*" * (last - first) if keep_length else _MASK]
        end = last
    return b"".join([*kept, data[end:]])


def _is_findable(value: str) -> bool:
    return len(value) >= _MIN_CHARACTERS


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _find(data: bytes, wanted: list[bytes]) -> Iterator[tuple[int, int]]:
    """Yield where a secret begins and ends in the data, in any version of both."""
    versions = {version for secret in wanted for version in _versions(secret)}
    steps: list[_Step] = []
    for _ in range(_MAX_STEPS):
        folded = _fold(data)
        for version in versions:
            for first, last in _occurrences(folded, version):
                for step in reversed(steps):
                    first, last = step.first(first), step.last(last)  # noqa: PLW2901 - mapped back step by step
                yield first, last
        unescaped = _unescape(data)
        if unescaped is None:
            return
        steps.append(unescaped)
        data = unescaped.data


def _versions(secret: bytes) -> list[bytes]:
    """Return the secret and what it becomes when it is unescaped: it may itself look as if it were escaped."""
    versions = [_fold(secret)]
    step = _unescape(secret)
    while step is not None and len(versions) < _MAX_STEPS and _is_findable(step.data.decode("utf-8", "replace")):
        versions.append(_fold(step.data))
        step = _unescape(step.data)
    return versions


def _fold(data: bytes) -> bytes:
    """Treat a blank and a plus sign alike: one stands for the other in a query string."""
    return data.replace(b"+", b" ")


def _occurrences(data: bytes, version: bytes) -> Iterator[tuple[int, int]]:
    first = data.find(version)
    while first >= 0:
        yield first, first + len(version)
        first = data.find(version, first + len(version))


@attrs.frozen
class _Step:
    """
    Data after one step of unescaping, and where each of its parts comes from.

    Attributes:
        data: The unescaped bytes.

        starts: Where each part begins in them.

        origins: Where each part begins in the data before.

        is_escape: Whether a part was an escape, whose bytes belong together.
    """

    data: bytes
    starts: list[int]
    origins: list[int]
    is_escape: list[bool]

    def first(self, position: int) -> int:
        """Return where the byte at this position begins in the data before."""
        part = bisect_right(self.starts, position) - 1
        return self.origins[part] + (0 if self.is_escape[part] else position - self.starts[part])

    def last(self, position: int) -> int:
        """Return where the byte before this position ends in the data before."""
        part = bisect_right(self.starts, position - 1) - 1
        if self.is_escape[part]:
            return self.origins[part + 1]
        return self.origins[part] + position - self.starts[part]


def _unescape(data: bytes) -> _Step | None:
    """Undo one level of escapes of all kinds; ``None`` if there is none."""
    pieces: list[bytes] = []
    starts: list[int] = []
    origins: list[int] = []
    is_escape: list[bool] = []
    length = end = 0

    def add(piece: bytes, origin: int, *, escaped: bool) -> None:
        nonlocal length
        pieces.append(piece)
        starts.append(length)
        origins.append(origin)
        is_escape.append(escaped)
        length += len(piece)

    for match in _ESCAPE.finditer(data):
        meaning = _meaning(match.group())
        if meaning is not None:
            if match.start() > end:
                add(data[end : match.start()], end, escaped=False)
            add(meaning, match.start(), escaped=True)
            end = match.end()
    if not end:
        return None
    add(data[end:], end, escaped=False)
    return _Step(b"".join(pieces), starts, origins, is_escape)


def _meaning(escape: bytes) -> bytes | None:
    """Return what an escape stands for; ``None`` if it stands for nothing."""
    if escape.startswith(b"%"):
        return bytes.fromhex(escape[1:].decode())
    if escape.startswith(b"\\u"):
        units = b"".join(bytes.fromhex(unit.decode()) for unit in escape.split(b"\\u")[1:])
        return _encode(units.decode("utf-16-be", "surrogatepass"))
    if escape.startswith(b"\\x"):
        return bytes.fromhex(escape[2:].decode())
    if escape.startswith(b"\\"):
        return _JSON[escape]
    return _character(escape.decode())


def _character(entity: str) -> bytes | None:
    """Return what an HTML entity stands for."""
    import html  # noqa: PLC0415 - its table of entities is loaded for errors only

    character = html.unescape(entity)
    return None if character == entity else _encode(character)


def _merge(places: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Join places that overlap or touch each other's bytes."""
    merged: list[tuple[int, int]] = []
    for first, last in places:
        if merged and first < merged[-1][1]:
            merged[-1] = merged[-1][0], max(last, merged[-1][1])
        else:
            merged.append((first, last))
    return merged
