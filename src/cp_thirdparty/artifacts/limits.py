"""`ArchiveLimits`: how much an archive may hold."""

from __future__ import annotations

import attrs

from cp_thirdparty import _limits
from cp_thirdparty.exceptions import InvalidRequestError

__all__ = ["ArchiveLimits"]


def _positive(_instance: object, field: attrs.Attribute[int], value: int) -> None:
    broken = _limits.whole_number(value, 1)
    if broken is not None:
        raise InvalidRequestError(field.name, broken)


@attrs.frozen(kw_only=True)
class ArchiveLimits:
    """
    How much an archive may hold.

    Attributes:
        max_entries: Files, directories and links.  100,000 is CodePipeline's own quota for the files of an artifact.
            As many directories may be there only as parts of names.

        max_total_bytes: Bytes of all files, unpacked.  5 GiB is CodePipeline's quota for a source artifact in S3.

        max_entry_bytes: Bytes of one file, unpacked.

        max_ratio: How many times its packed size a file of more than 1 MiB may have, or all files together.  Source
            code has about 5, and deflate cannot do more than 1,032.

        max_depth: Directories within each other, the file itself counted.

    Raises:
        cp_thirdparty.exceptions.InvalidRequestError: A limit is no whole number of at least 1.
    """

    max_entries: int = attrs.field(default=100_000, validator=_positive)
    max_total_bytes: int = attrs.field(default=5 << 30, validator=_positive)
    max_entry_bytes: int = attrs.field(default=5 << 30, validator=_positive)
    max_ratio: int = attrs.field(default=200, validator=_positive)
    max_depth: int = attrs.field(default=64, validator=_positive)
