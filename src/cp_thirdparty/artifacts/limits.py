"""`ArchiveLimits`: what an archive may contain, and how much."""

from __future__ import annotations

import os
from typing import Any, Final, Literal

import attrs

from cp_thirdparty._base import limits
from cp_thirdparty.exceptions import InvalidRequestError

__all__ = ["ArchiveLimits"]

# CodePipeline's quota for a source artifact in S3.
MAX_BYTES: Final = 5 << 30

# Windows cannot store what "posix" accepts, and only administrators may create symbolic links there.
_IS_WINDOWS: Final = os.name == "nt"
_NAMES: Final[Literal["posix", "portable"]] = "portable" if _IS_WINDOWS else "posix"
_SYMLINKS: Final[Literal["keep", "refuse"]] = "refuse" if _IS_WINDOWS else "keep"
# On Windows, a backslash in a name that "posix" accepts would lead outside.
_CHOICES: Final = {"names": ("portable",) if _IS_WINDOWS else ("posix", "portable"), "symlinks": ("keep", "refuse")}


def _positive(_instance: object, field: attrs.Attribute[int], value: int) -> None:
    broken = limits.int_in_range(value, 1)
    if broken is not None:
        raise InvalidRequestError(field.name, broken)


def _choice(_instance: object, field: attrs.Attribute[Any], value: object) -> None:
    choices = _CHOICES[field.name]
    if value not in choices:
        raise InvalidRequestError(field.name, "must be " + " or ".join(map(repr, choices)))


@attrs.frozen(kw_only=True)
class ArchiveLimits:
    """
    What an archive may contain, and how much.

    `extract_archive()`, `create_archive()`, `ArtifactStore.extract()` and `ArtifactStore.archive()` take the same
    limits.  What is created with some limits can be extracted with them.

    Attributes:
        names: ``"posix"`` accepts every name that Linux accepts.  ``"portable"`` accepts only names that are distinct
            and valid on Linux, macOS and Windows: no two that differ in case only, no ``aux.c``, no colon, no blank or
            dot at the end, no control character.  The default is ``"posix"``; Windows has only ``"portable"``.

            .. versionadded:: 0.2.0

        symlinks: ``"keep"`` accepts symbolic links that lead to a place inside the tree, ``"refuse"`` accepts none.
            The default is ``"keep"``, on Windows ``"refuse"``.

            .. versionadded:: 0.2.0

        max_entries: Files, directories and links.  100,000 is CodePipeline's own quota for the files of an artifact.
            The archive may imply as many directories that have no entry of their own.
        max_total_bytes: Bytes of all files, extracted.  5 GiB is CodePipeline's quota for a source artifact in S3.
        max_entry_bytes: Bytes of one file, extracted.
        max_ratio: Extracted size divided by compressed size, for a file of more than 256 MiB, and for all files
            together if they have more.  Source code has about 5, logs up to 200, and zeros 1,030.
        max_depth: Nested directories, the file itself included.

    Raises:
        cp_thirdparty.exceptions.InvalidRequestError: A limit is not an integer of at least 1, or a choice is unknown.
    """

    names: Literal["posix", "portable"] = attrs.field(default=_NAMES, validator=_choice)
    symlinks: Literal["keep", "refuse"] = attrs.field(default=_SYMLINKS, validator=_choice)
    max_entries: int = attrs.field(default=100_000, validator=_positive)
    max_total_bytes: int = attrs.field(default=MAX_BYTES, validator=_positive)
    max_entry_bytes: int = attrs.field(default=MAX_BYTES, validator=_positive)
    max_ratio: int = attrs.field(default=200, validator=_positive)
    max_depth: int = attrs.field(default=64, validator=_positive)
