"""Which format a file has that is not a zip archive, so that an error can name it."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["looks_like"]

# First bytes -> name.
_FORMATS: Final = (
    (b"\x1f\x8b", "gzip, as in .tar.gz"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\0", "xz"),
    (b"\x28\xb5\x2f\xfd", "Zstandard"),
    (b"7z\xbc\xaf\x27\x1c", "7-Zip"),
    (b"Rar!\x1a\x07", "RAR"),
    (b"%PDF-", "PDF"),
    (b"PK\7\x08PK\3\4", "the first part of a split zip archive"),
)
# First letters after blanks, in lower case -> name.
_TEXTS: Final = ((b"<!doctype html", "HTML"), (b"<html", "HTML"), (b"<", "XML"), (b"{", "JSON"), (b"[", "JSON"))
_PRINTABLE: Final = re.compile(rb"[\t\n\r\x20-\x7e]+")
# POSIX 1003.1, "ustar Interchange Format": where the field `magic` is.
_TAR: Final = slice(257, 262)


def looks_like(head: bytes) -> str:
    """
    Return what a file is, as part of an error message; empty if it is unknown.

    Args:
        head: The first 512 bytes, or all if there are less.
    """
    if not head:
        return "it is empty"
    if head[_TAR] == b"ustar":
        return "it looks like tar"
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    found = [name for magic, name in _FORMATS if head.startswith(magic)]
    found += [name for magic, name in _TEXTS if start.startswith(magic)]
    found += ["text"] if _PRINTABLE.fullmatch(head) else []
    return f"it looks like {found[0]}" if found else ""
