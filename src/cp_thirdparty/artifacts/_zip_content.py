"""
Decompress the data of an entry in pieces, and compare it with the size and the checksum that the archive states.

What is wrong is returned, not raised, so that no traceback holds bytes of the customer.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO, Final

from cp_thirdparty.artifacts import _archive_rules as rules
from cp_thirdparty.artifacts._archive_rules import Rule
from cp_thirdparty.artifacts._zip_directory import DEFLATED, Entry

__all__ = ["copy_content"]

_PIECE: Final = 256 << 10


class _BrokenRuleError(Exception):
    """The data breaks a rule."""

    def __init__(self, rule: Rule) -> None:
        super().__init__()
        self.rule = rule


def copy_content(file: BinaryIO, entry: Entry, write: Callable[[bytes], object]) -> Rule | None:
    """
    Write the data of an entry in pieces, and return the rule that it breaks or ``None``.

    At most one piece more than the stated size is decompressed.
    """
    crc, size = 0, 0
    try:
        for piece in _inflate(file, entry) if entry.method == DEFLATED else _read(file, entry):
            crc = zlib.crc32(piece, crc)
            size += len(piece)
            write(piece)
    except _BrokenRuleError as failure:
        return failure.rule
    if size != entry.size:
        return rules.SIZE
    return None if crc == entry.crc else rules.CHECKSUM


def _read(file: BinaryIO, entry: Entry) -> Iterator[bytes]:
    file.seek(entry.data_offset)
    left = entry.packed
    while left:
        piece = file.read(min(left, _PIECE))
        if not piece:
            raise _BrokenRuleError(rules.TRUNCATED)
        left -= len(piece)
        yield piece


def _inflate(file: BinaryIO, entry: Entry) -> Iterator[bytes]:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    left = entry.size
    try:
        for piece in _read(file, entry):
            waiting, is_full = piece, False
            while waiting or is_full:
                room = min(_PIECE, left + 1)
                found = inflater.decompress(waiting, room)
                waiting = inflater.unconsumed_tail
                # zlib may have read all that is packed and have more to return: its last byte can stand for 1,000.
                is_full = len(found) == room
                left -= len(found)
                if left < 0 or inflater.unused_data:
                    raise _BrokenRuleError(rules.SIZE)
                if found:
                    yield found
    except zlib.error:
        raise _BrokenRuleError(rules.DATA) from None
    # bsdtar and Python accept an empty file without the two bytes of a deflate stream.
    if entry.packed and not inflater.eof:
        raise _BrokenRuleError(rules.SIZE)
