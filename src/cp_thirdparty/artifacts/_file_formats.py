"""Recognise the format of a file that is not a zip archive, so that an error message can name it."""

from __future__ import annotations

import re
from typing import Final

# The first bytes of a file -> the name of its format.
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
# The first characters in lower case, without white space before them -> the name of its format.
_TEXTS: Final = ((b"<!doctype html", "HTML"), (b"<html", "HTML"), (b"<", "XML"), (b"{", "JSON"), (b"[", "JSON"))
_PRINTABLE: Final = re.compile(rb"[\t\n\r\x20-\x7e]+")
# The position of the field `magic` in a tar file, from "ustar Interchange Format" in POSIX 1003.1.
_TAR: Final = slice(257, 262)


def describe_format(head: bytes) -> str:
    """
    Return a part of an error message that names the format of a file; an empty string if the format is unknown.

    Args:
        head: The first 512 bytes of the file, or all bytes of a shorter file.
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
