"""`ArchiveLimits`: which entries an archive may contain, and how much data."""

from __future__ import annotations

import os
from typing import Any, Final, Literal

import attrs

from cp_thirdparty._base import limits
from cp_thirdparty.exceptions import InvalidRequestError

__all__ = ["ArchiveLimits"]

# CodePipeline's quota for a source artifact in S3.
MAX_BYTES: Final = 5 << 30

# Windows cannot store all names that "posix" accepts, and by default only its administrators may create symbolic links.
_IS_WINDOWS: Final = os.name == "nt"
_NAMES: Final[Literal["posix", "portable"]] = "portable" if _IS_WINDOWS else "posix"
_SYMLINKS: Final[Literal["keep", "refuse"]] = "refuse" if _IS_WINDOWS else "keep"
# "posix" accepts names with backslashes.  On Windows, such a name could lead out of the extracted directory.
_CHOICES: Final = {"names": ("portable",) if _IS_WINDOWS else ("posix", "portable"), "symlinks": ("keep", "refuse")}


def _positive(_instance: object, field: attrs.Attribute[int], value: int) -> None:
    broken = limits.check_int_range(value, 1)
    if broken is not None:
        raise InvalidRequestError(field.name, broken)


def _choice(_instance: object, field: attrs.Attribute[Any], value: object) -> None:
    choices = _CHOICES[field.name]
    if value not in choices:
        raise InvalidRequestError(field.name, "must be " + " or ".join(map(repr, choices)))


@attrs.frozen(kw_only=True)
class ArchiveLimits:
    """
    The limits of archives: which entries an archive may contain, and how much data.

    `extract_archive()`, `create_archive()`, `ArtifactStore.extract()` and `ArtifactStore.archive()` use these limits.
    An archive that was created with some limits can be extracted with the same limits.

    Attributes:
        names: ``"posix"`` accepts every name that Linux accepts.  ``"portable"`` accepts only names that are valid and
            distinct on Linux, macOS and Windows.  For example, it refuses two names that differ only in case, the
            reserved name ``aux.c``, colons, control characters, and a space or dot at the end of a name.  The default
            is ``"posix"``; on Windows only ``"portable"`` is allowed.

            .. versionadded:: 0.2.0

        symlinks: ``"keep"`` accepts symbolic links that lead to a place inside the archive.  ``"refuse"`` accepts no
            symbolic links.  The default is ``"keep"``; on Windows it is ``"refuse"``.

            .. versionadded:: 0.2.0

        max_entries: Maximum number of files, directories and links.  The default, 100,000, is CodePipeline's quota for
            the files of an artifact.  Directories that are only part of other names and have no entry are counted
            separately, with the same limit.
        max_total_bytes: Maximum size of all extracted files together, in bytes.  The default, 5 GiB, is CodePipeline's
            quota for a source artifact in S3.
        max_entry_bytes: Maximum size of one extracted file, in bytes.
        max_ratio: Maximum compression ratio: the extracted size divided by the compressed size.  It applies to each
            file of more than 256 MiB, and to all files together if they have more than 256 MiB.  Source code has a
            ratio of about 5, logs have up to 200, and a file of zeros has 1,030.
        max_depth: Maximum number of parts of a path: the nested directories and the file itself.

    Raises:
        cp_thirdparty.exceptions.InvalidRequestError: A limit is not an integer of at least 1, or ``names`` or
            ``symlinks`` has an unknown value.
    """

    names: Literal["posix", "portable"] = attrs.field(default=_NAMES, validator=_choice)
    symlinks: Literal["keep", "refuse"] = attrs.field(default=_SYMLINKS, validator=_choice)
    max_entries: int = attrs.field(default=100_000, validator=_positive)
    max_total_bytes: int = attrs.field(default=MAX_BYTES, validator=_positive)
    max_entry_bytes: int = attrs.field(default=MAX_BYTES, validator=_positive)
    max_ratio: int = attrs.field(default=200, validator=_positive)
    max_depth: int = attrs.field(default=64, validator=_positive)
