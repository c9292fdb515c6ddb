"""What the fuzzers share: values and bytes that are changed at random, and what an error must not show."""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Callable, Iterator
from typing import Any

from support.marker_surfaces import ERROR_SURFACES

from cp_thirdparty.exceptions import CodePipelineJobError

Case = Callable[[random.Random], str]
"""Runs one case, and returns how it ended."""

# It is in what is secret, so that no error may show it.
MARKER = "xMARKERx"

# Each secret starts with it, and no string that a peer may choose at random.
SECRET = f"{MARKER}-"

_STRINGS = ("", " ", "\x1b[2J", "\x9b31m", "\u202e", "\n", "\x00", "\ud800", "ä東😀", "x" * 5_000, "%s{}", MARKER)
_NAMES = _STRINGS[:-1]  # an error about the input of a user may name an unknown member
_NUMBERS = (0, -1, 1, 2**31, 2**63, -(2**70), 10**400, 0.5, -0.0, 1e308, math.inf, math.nan, True, False)


class Hidden:
    """Keeps a value out of the local variables that a traceback shows, because its ``repr`` does not show it."""

    def __init__(self, value: Any) -> None:
        self.value = value


def check_error(error: BaseException, *, is_peer_shown: bool) -> str:
    """Return the name of the error's class, if the error is one of this library and can be shown to anybody."""
    assert isinstance(error, CodePipelineJobError), repr(error)
    shown = {name: show(error) for name, show in ERROR_SURFACES.items()}
    marker = SECRET if is_peer_shown else MARKER
    assert [name for name, text in shown.items() if marker in text] == []
    assert str(error).isprintable()
    assert len(str(error)) < 25_000
    return type(error).__name__


def ending_of(call: Callable[[], object], *, is_peer_shown: bool = False) -> str:
    """
    Call something that has its data from a `Hidden`, and return how it ended.

    Args:
        call: Returns anything, or raises an error.

        is_peer_shown: Whether an error may repeat what a peer sends, other than secrets.
    """
    try:
        call()
    except Exception as error:  # noqa: BLE001 - only those of this library pass the check
        return check_error(error, is_peer_shown=is_peer_shown)
    return "accepted"


def junk(chance: random.Random, depth: int = 0) -> Any:
    """Return any value that a JSON document may have, and some that none may have."""
    kind = chance.randrange(6 if depth < 3 else 4)
    if kind == 0:
        return None
    if kind == 1:
        return chance.choice(_NUMBERS)
    if kind in (2, 3):
        return chance.choice(_STRINGS)
    if kind == 4:
        return [junk(chance, depth + 1) for _ in range(chance.choice((0, 1, 3)))]
    return {chance.choice(_NAMES): junk(chance, depth + 1) for _ in range(chance.choice((0, 1, 3)))}


def mutate_document(chance: random.Random, document: Any) -> Any:
    """Return a copy of a document with a few members replaced, removed, renamed, repeated or nested deeply."""
    root = [copy.deepcopy(document)]
    for _ in range(chance.choice((1, 1, 2, 4))):
        parent, key = chance.choice(list(_places(root)))
        how = chance.randrange(8)
        if how in (0, 1, 2):
            parent[key] = junk(chance)
        elif how == 3 and parent is not root:
            del parent[key]
        elif how == 4 and isinstance(parent, dict):
            parent[chance.choice((*_NAMES, str(key).upper()))] = parent.pop(key)
        elif how == 5 and isinstance(parent, list) and parent is not root:
            parent.extend([parent[key]] * chance.choice((1, 50)))
        elif how == 6:
            parent[key] = [parent[key]]
        elif how == 7:
            for _ in range(chance.choice((3, 400))):
                parent[key] = {"a": parent[key]} if chance.random() < 0.5 else [parent[key]]
    return root[0]


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield each place of a document: its container, and the key or index in it."""
    waiting = [value]
    while waiting:
        container = waiting.pop()
        for key in list(container) if isinstance(container, dict) else range(len(container)):
            yield container, key
            if isinstance(container[key], (dict, list)):
                waiting.append(container[key])


def mutate_bytes(chance: random.Random, data: bytes) -> bytes:
    """Return a copy of bytes with a few places changed, removed, repeated or truncated."""
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 5))):
        at = chance.randrange(len(changed) + 1)
        how = chance.randrange(6)
        if how == 0:
            changed[at : at + 1] = bytes([chance.randrange(256)])
        elif how == 1:
            del changed[at : at + chance.choice((1, 2, 20, 200))]
        elif how == 2:
            changed[at:at] = changed[at : at + chance.choice((1, 60))]
        elif how == 3:
            changed[at:at] = chance.choice(
                (b"\r\n", b"\n", b"\0", b"\xff\xfe", b"\x1b[2J", b"9" * 30, b'"', b"{", b":")
            )
        elif how == 4:
            del changed[at:]
        elif at < len(changed):
            changed[at] ^= 1 << chance.randrange(8)
    return bytes(changed)
