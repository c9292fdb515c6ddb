"""The compression methods of zip archives, and a decompressor for each supported method."""

from __future__ import annotations

import zlib
from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from bz2 import BZ2Decompressor
    from lzma import LZMADecompressor

STORED: Final = 0
DEFLATED: Final = 8
BZIP2: Final = 12
LZMA: Final = 14

# The names of methods in error messages.  Deflate64 is frequent: Windows Explorer uses it for files of more than 2 GiB.
_NAMES: Final = {9: "Deflate64", BZIP2: "bzip2", LZMA: "LZMA", 93: "Zstandard", 95: "xz", 98: "PPMd"}
# Python can be built without these modules.
_MODULES: Final = {BZIP2: "bz2", LZMA: "lzma"}


class _Inflater:
    """The decompressor of Deflate, with the interface of `bz2.BZ2Decompressor`."""

    def __init__(self) -> None:
        self._stream = zlib.decompressobj(-zlib.MAX_WBITS)

    @property
    def eof(self) -> bool:
        return self._stream.eof

    @property
    def unused_data(self) -> bytes:
        return self._stream.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._stream.decompress(self._stream.unconsumed_tail + data, max_length)


def create_decompressor(method: int) -> tuple[_Inflater | BZ2Decompressor | LZMADecompressor, type[Exception]]:
    """
    Return a decompressor, and the class of the exception that it raises for damaged data.

    The decompressor of LZMA needs input in the format of ``.lzma`` files.
    """
    if method == DEFLATED:
        return _Inflater(), zlib.error
    if method == BZIP2:
        import bz2  # noqa: PLC0415 - Python can be built without it

        return bz2.BZ2Decompressor(), OSError
    import lzma  # noqa: PLC0415 - Python can be built without it

    return lzma.LZMADecompressor(lzma.FORMAT_ALONE), lzma.LZMAError


def is_supported(method: int) -> bool:
    """Return whether this Python can decompress data of a method."""
    if method in (STORED, DEFLATED):
        return True
    module = _MODULES.get(method)
    try:
        return module is not None and bool(import_module(module))
    except ImportError:
        return False


def name_of(method: int) -> str:
    """Return the name of a method for error messages."""
    return _NAMES.get(method, f"method {method}")
