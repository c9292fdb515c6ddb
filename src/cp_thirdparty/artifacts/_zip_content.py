"""
Decompress the data of an entry in pieces, and compare it with the size and the checksum that the archive states.

A violation of a rule is returned and not raised, so that no traceback holds bytes of the customer's files.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO, Final

import attrs

from cp_thirdparty.artifacts import _archive_rules as rules
from cp_thirdparty.artifacts._archive_rules import Rule
from cp_thirdparty.artifacts._zip_entries import Entry
from cp_thirdparty.artifacts._zip_methods import BZIP2, LZMA, STORED, create_decompressor

_PIECE: Final = 256 << 10
# In a zip archive, LZMA data begins with a version, the length of the properties, and the properties, which are one
# byte and the size of the dictionary.  A file `.lzma` begins with the same properties and the size of the data.  If the
# data has an end marker, all bits of this size are set.
_LZMA_HEAD: Final = struct.Struct("<2xHBL")
_LZMA_FILE: Final = struct.Struct("<BLQ")
_LZMA_PROPERTIES: Final = 5
_UNKNOWN_SIZE: Final = (1 << 64) - 1
# The decompressor needs memory of the size of the dictionary.  7-Zip uses up to 64 MiB at its levels up to 6.
_LARGEST_DICTIONARY: Final = 64 << 20

_MORE: Final = attrs.evolve(rules.SIZE, hint="there is more data than the headers state")
_LESS: Final = attrs.evolve(rules.SIZE, hint="there is less data than the headers state")
_AFTER_END: Final = attrs.evolve(rules.SIZE, hint="bytes follow the end of the compressed data")
_SECOND_STREAM: Final = attrs.evolve(rules.SIZE, hint="a second stream of bzip2 follows; the data must be one stream")
_NO_END: Final = attrs.evolve(rules.SIZE, hint="the compressed data is truncated")
_NO_END_MARKER: Final = attrs.evolve(rules.SIZE, hint="the compressed data is complete, but has no end marker")


class _BrokenRuleError(Exception):
    """The data breaks a rule."""

    def __init__(self, rule: Rule) -> None:
        super().__init__()
        self.rule = rule


def copy_content(file: BinaryIO, entry: Entry, write: Callable[[bytes], object]) -> Rule | None:
    """
    Decompress the data of an entry, and call `write` for each piece; return the rule that the data breaks, or ``None``.

    If the data is longer than the archive states, at most one more byte than stated is decompressed.
    """
    crc, size = 0, 0
    file.seek(entry.data_offset)
    try:
        for piece in _read(file, entry.packed) if entry.method == STORED else _decompress(file, entry):
            crc = zlib.crc32(piece, crc)
            size += len(piece)
            write(piece)
    except _BrokenRuleError as failure:
        return failure.rule
    if size != entry.size:
        return _LESS
    return None if crc == entry.crc else rules.CHECKSUM


def _read(file: BinaryIO, left: int) -> Iterator[bytes]:
    while left:
        piece = file.read(min(left, _PIECE))
        if not piece:
            raise _BrokenRuleError(rules.TRUNCATED)
        left -= len(piece)
        yield piece


def _decompress(file: BinaryIO, entry: Entry) -> Iterator[bytes]:
    decompressor, damage = create_decompressor(entry.method)
    left = entry.size
    for piece in _read_lzma(file, entry) if entry.method == LZMA else _read(file, entry.packed):
        waiting, has_more = piece, True
        while has_more:
            if decompressor.eof:
                raise _BrokenRuleError(_rule_after_end(entry, waiting))
            room = min(_PIECE, left + 1)
            try:
                found = decompressor.decompress(waiting, room)
            except damage:
                raise _BrokenRuleError(rules.DATA) from None
            waiting = b""
            left -= len(found)
            if left < 0:
                raise _BrokenRuleError(_MORE)
            if decompressor.unused_data:
                raise _BrokenRuleError(_rule_after_end(entry, decompressor.unused_data))
            if found:
                yield found
            # The decompressor may have read all input and still have output to return, because one byte of input can
            # give 1,000 bytes of output.
            has_more = len(found) == room and not decompressor.eof
    # An empty file may have no compressed data, because bsdtar and Python accept that too.  Some programs set the flag
    # of LZMA's end marker and write no end marker.  That is accepted if the data has the stated size.
    if entry.packed and not decompressor.eof and (left or entry.method != LZMA):
        raise _BrokenRuleError(_NO_END if left else _NO_END_MARKER)


def _rule_after_end(entry: Entry, rest: bytes) -> Rule:
    return _SECOND_STREAM if entry.method == BZIP2 and rest.startswith(b"BZ") else _AFTER_END


def _read_lzma(file: BinaryIO, entry: Entry) -> Iterator[bytes]:
    """
    Read LZMA data in the format of a file ``.lzma``.

    As with the other methods, an empty file may have no compressed data.
    """
    if not entry.packed:
        return
    if entry.packed < _LZMA_HEAD.size:
        raise _BrokenRuleError(rules.DATA)
    head = b"".join(_read(file, _LZMA_HEAD.size))
    length, properties, dictionary = _LZMA_HEAD.unpack(head)
    if length != _LZMA_PROPERTIES:
        raise _BrokenRuleError(rules.DATA)
    # The decompressor does not need a larger dictionary than the data.
    dictionary = min(dictionary, entry.size)
    if dictionary > _LARGEST_DICTIONARY:
        raise _BrokenRuleError(rules.DICTIONARY)
    yield _LZMA_FILE.pack(properties, dictionary, _UNKNOWN_SIZE if entry.has_end_marker else entry.size)
    yield from _read(file, entry.packed - _LZMA_HEAD.size)
