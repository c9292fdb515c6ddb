"""Which names may be in an archive: those that mean one and the same place on every system, inside the tree."""

from __future__ import annotations

import re
import sys
import unicodedata
from typing import Final, Literal

import attrs

from cp_thirdparty.exceptions import UnsafeArchiveError

# Bytes of UTF-8.  255 is what Linux, macOS and Windows take for one part of a path.
_LONGEST_PART: Final = 255
_LONGEST_NAME: Final = 1024

_TWIN: Final = "the twin of another name, but for case or composition"

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_BROKEN: Final = (
    (re.compile(r"\A\Z"), "an empty name"),
    (_CONTROL, "a control character in the name"),
    (re.compile(r"[\ud800-\udfff]"), "a name that is not UTF-8"),  # how Python shows the other bytes of a file's name
    (re.compile(r"[\\:]"), "a backslash or a colon in the name"),
    (re.compile(r"\A/"), "an absolute name"),
)
# "Naming Files, Paths, and Namespaces" of Windows' documentation; with any extension, too.
_RESERVED: Final = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])([ .].*)?", re.IGNORECASE)


@attrs.define
class _Place:
    """What lies at one place of the tree: a file, a directory with an entry, or one that is only part of a name."""

    part: str
    number: int
    kind: Literal["file", "directory", "parent"]


class Names:
    """
    The names of one archive: each is checked by itself, then against all before it.

    Args:
        max_depth: How many parts a name may have.

        max_directories: How many directories may be there only as parts of names.
    """

    def __init__(self, *, max_depth: int, max_directories: int = sys.maxsize) -> None:
        self._max_depth = max_depth
        self._left = max_directories
        # By the number of the directory and the folded name in it, so that long paths cost no more than short ones.
        self._places: dict[tuple[int, str], _Place] = {}

    def add(self, name: str, *, is_directory: bool) -> str:
        """
        Check a name and return it without the slash of a directory.

        Raises:
            cp_thirdparty.exceptions.UnsafeArchiveError: It breaks a rule, or meets another name.
        """
        path = name[:-1] if is_directory else name
        parts = path.split("/")
        rule = _broken_rule(path) or next(filter(None, map(_broken_part, parts)), None)
        if rule is None and len(parts) > self._max_depth:
            rule = f"more than {self._max_depth} directories deep"
        if rule is None:
            rule = self._meeting(parts, is_directory=is_directory)
        if rule is not None:
            raise UnsafeArchiveError(name, rule)
        return path

    def _meeting(self, parts: list[str], *, is_directory: bool) -> str | None:
        directory = 0
        for part in parts[:-1]:
            place, is_new = self._place(directory, part, "parent")
            self._left -= is_new
            if self._left < 0:
                return "too many directories that are only part of a name"
            if place.part != part or place.kind == "file":
                return _TWIN if place.part != part else "below a file"
            directory = place.number
        kind: Literal["file", "directory"] = "directory" if is_directory else "file"
        place, is_new = self._place(directory, parts[-1], kind)
        if place.part != parts[-1]:
            return _TWIN
        if place.kind == "parent" and is_directory:
            self._left += 1
            place.kind = kind
        elif not is_new:
            return "there twice" if place.kind == kind else "a file and a directory of one name"
        return None

    def _place(self, directory: int, part: str, kind: Literal["file", "directory", "parent"]) -> tuple[_Place, bool]:
        """Find what is there, or put it there; tell also whether it is new."""
        key = directory, unicodedata.normalize("NFC", unicodedata.normalize("NFC", part).casefold())
        place = self._places.get(key)
        if place is not None:
            return place, False
        place = self._places[key] = _Place(part, len(self._places) + 1, kind)
        return place, True


def _broken_rule(path: str) -> str | None:
    for pattern, rule in _BROKEN:
        if pattern.search(path):
            return rule
    return f"a name of more than {_LONGEST_NAME:,} bytes" if len(path.encode()) > _LONGEST_NAME else None


def _broken_part(part: str) -> str | None:
    if part in ("", ".", ".."):
        return f"a part {part!r} in the name"
    if part[-1] in ". ":
        return "a part that ends in a dot or a blank, which Windows drops"
    if _RESERVED.fullmatch(part):
        return "a name that Windows reserves"
    if len(part.encode()) > _LONGEST_PART:
        return f"a part of more than {_LONGEST_PART} bytes"
    return None


def broken_target(target: str, depth: int) -> str | None:
    """
    Tell what is wrong with where a symbolic link leads, or ``None``.

    Args:
        target: What the link says.

        depth: In how many directories of the tree the link lies.
    """
    if _CONTROL.search(target) or "\\" in target or ":" in target:
        return "a link with a control character, a backslash or a colon"
    parts = target.split("/")
    ups = 0
    while ups < len(parts) and parts[ups] == "..":
        ups += 1
    # Further on, ".." may lead through another link, and then elsewhere than it reads.
    if not target or target.startswith("/") or ups > depth or ".." in parts[ups:]:
        return "a link that leaves the tree"
    return None
