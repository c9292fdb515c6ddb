"""Which names may be in an archive: those that mean one and the same place on every system, inside the tree."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from cp_thirdparty.exceptions import UnsafeArchiveError

# Bytes of UTF-8.  255 is what Linux, macOS and Windows take for one part of a path.
_LONGEST_PART: Final = 255
_LONGEST_NAME: Final = 1024

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
# "Naming Files, Paths, and Namespaces" of Windows' documentation; with any extension, too.
_RESERVED: Final = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])([ .].*)?", re.IGNORECASE)


class Names:
    """The names of one archive: each is checked by itself, then against all before it."""

    def __init__(self, max_depth: int) -> None:
        self._max_depth = max_depth
        self._written: dict[str, str] = {}  # folded path -> path as written
        self._files: set[str] = set()
        self._directories: set[str] = set()  # those that have an entry
        self._parents: set[str] = set()

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
            rule = self._meeting(path, parts, is_directory=is_directory)
        if rule is not None:
            raise UnsafeArchiveError(name, rule)
        return path

    def _meeting(self, path: str, parts: list[str], *, is_directory: bool) -> str | None:
        parents = ["/".join(parts[:count]) for count in range(1, len(parts))]
        for each in (*parents, path):
            folded = unicodedata.normalize("NFC", unicodedata.normalize("NFC", each).casefold())
            if self._written.setdefault(folded, each) != each:
                return "the twin of another name, but for case or composition"
        if path in self._files or (is_directory and path in self._directories):
            return "there twice" if (path in self._files) != is_directory else "a file and a directory of one name"
        if not is_directory and (path in self._directories or path in self._parents):
            return "a file and a directory of one name"
        if any(parent in self._files for parent in parents):
            return "below a file"
        (self._directories if is_directory else self._files).add(path)
        self._parents.update(parents)
        return None


def _broken_rule(path: str) -> str | None:
    if not path:
        return "an empty name"
    if _CONTROL.search(path):
        return "a control character in the name"
    if "\\" in path or ":" in path:
        return "a backslash or a colon in the name"
    if path.startswith("/"):
        return "an absolute name"
    if len(_encoded(path)) > _LONGEST_NAME:
        return f"a name of more than {_LONGEST_NAME:,} bytes"
    return None


def _broken_part(part: str) -> str | None:
    if part in ("", ".", ".."):
        return f"a part {part!r} in the name"
    if part[-1] in ". ":
        return "a part that ends in a dot or a blank, which Windows drops"
    if _RESERVED.fullmatch(part):
        return "a name that Windows reserves"
    if len(_encoded(part)) > _LONGEST_PART:
        return f"a part of more than {_LONGEST_PART} bytes"
    return None


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


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
