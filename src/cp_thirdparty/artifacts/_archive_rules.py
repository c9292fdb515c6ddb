"""
The rules of archives: for each one, the description of the violation, and a hint how to correct it.

The page docs/how-to/customers-archives.md has a reason and an example for each rule.  A test compares it with this
list.
"""

from __future__ import annotations

from typing import Final

import attrs

from cp_thirdparty.artifacts.limits import ArchiveLimits
from cp_thirdparty.exceptions import UnsafeArchiveError

# Up to this extracted size, the compression ratio is not checked.  256 MiB fit on every disk, and high ratios are usual
# for small files: a file of zeros has 1,030, logs have up to 200.
_RATIO_BYTES: Final = 256 << 20


@attrs.frozen(eq=False)
class Rule:
    """
    One rule of archives.

    Attributes:
        text: The description of the violation.  Every error of this rule has it.
        hint: What is expected, or which option accepts the archive.  Names of `ArchiveLimits` fields in braces are
            replaced by their values.
    """

    text: str
    hint: str = ""


def rule_error(
    rule: Rule, entry: str = "", limits: ArchiveLimits | None = None, *, hint: str = ""
) -> UnsafeArchiveError:
    """
    Return the error for the violation of a rule.

    Args:
        rule: The rule.
        entry: The name of the entry that breaks the rule; empty if the complete archive breaks it.
        limits: The values for the names in braces in the hint; ``None`` if the hint has no such names.
        hint: A more exact hint, which replaces the hint of the rule if `limits` is ``None``.
    """
    if limits is not None:
        hint = rule.hint.format_map(attrs.asdict(limits))
    return UnsafeArchiveError(entry, rule.text, hint=hint or rule.hint)


def is_ratio_exceeded(limits: ArchiveLimits, size: int, packed: int) -> bool:
    """Return whether more than 256 MiB are compressed with a ratio of more than `limits.max_ratio`."""
    return size > _RATIO_BYTES and size > packed * limits.max_ratio


_POSIX: Final = 'names="posix" accepts it'

# Rules for one name.
EMPTY_NAME: Final = Rule("an empty name")
NUL: Final = Rule("a NUL character in the name")
NOT_UTF8: Final = Rule("a name that is not valid UTF-8")
ABSOLUTE: Final = Rule("an absolute path", "paths must be relative, without a drive letter")
PARENT: Final = Rule("'..' in the name")
LONG_NAME: Final = Rule(
    "a name that is too long", 'at most 255 bytes in each part, and in all 3,072 or, with names="portable", 1,024'
)
DEPTH: Final = Rule("too many nested directories", "the limit is max_depth={max_depth:,}")
CONTROL: Final = Rule("a control character in the name", _POSIX)
SEPARATOR: Final = Rule("a character in the name that Windows does not allow", _POSIX)
TRAILING: Final = Rule("a name that ends in a dot or a blank", _POSIX)
RESERVED: Final = Rule("a name that Windows reserves", _POSIX)

# Rules for several names.
TWIN: Final = Rule(
    "a name that differs from another one only in case or composition",
    f"{_POSIX} if the file system distinguishes the two",
)
DUPLICATE: Final = Rule("two entries with one path")
FILE_AND_DIRECTORY: Final = Rule("a file and a directory with one path")
BELOW_FILE: Final = Rule("an entry inside a file or a symbolic link")

# Rules for the kind of an entry.
DEVICE: Final = Rule("a device")
SPECIAL_FILE: Final = Rule("a socket, a FIFO or a device", "on_skip= leaves it out")
DIRECTORY_DATA: Final = Rule("a directory with data")

# Rules for symbolic links.
LINK: Final = Rule("a symbolic link", 'symlinks="keep" accepts it')
LINK_TARGET: Final = Rule(
    "a symbolic link with an invalid target",
    'a target has 1 to 4,095 bytes, no NUL and, with names="portable", "/" only',
)
LINK_OUTSIDE: Final = Rule("a symbolic link that leads outside", "targets must be relative and inside the archive")
LINK_THROUGH: Final = Rule("a symbolic link through one that breaks a rule")
LINK_SPELLING: Final = Rule(
    "a symbolic link to a name that differs from an entry only in case or composition",
    f"spell the target as the entry; {_POSIX} if the file system distinguishes the two",
)
LINK_BYTES: Final = Rule(
    "symbolic links with targets that are too long in all",
    "at most 16,777,216 characters, or 168 times max_entries={max_entries:,} if that is more",
)
LINK_CYCLE: Final = Rule("a symbolic link to a directory that contains it")
LINK_COPIES: Final = Rule(
    "symbolic links that repeat the tree too often",
    "a program that follows them may see at most 100 times max_entries={max_entries:,}",
)

# Rules for the data of an entry.
ENCRYPTED: Final = Rule("encrypted data")
FLAG: Final = Rule("an unknown flag")
METHOD: Final = Rule(
    "an unknown compression method",
    "entries must be stored or compressed with Deflate, or with bzip2 or LZMA if Python has the module bz2 or lzma",
)
DICTIONARY: Final = Rule(
    "an LZMA dictionary that is too large", "compress with a dictionary of at most 64 MiB (7-Zip: -md=64m)"
)
SIZE: Final = Rule("a size that is not true", "the two sizes of stored data differ")
CHECKSUM: Final = Rule("a wrong checksum")
DATA: Final = Rule("damaged data")

# Rules for the structure of the archive.
NOT_ZIP: Final = Rule("not a zip archive")
TRUNCATED: Final = Rule("a truncated archive", "bytes are missing at the end, or there are others after it")
TWO_ENDS: Final = Rule("two end records")
SPLIT: Final = Rule("a part of a split archive")
CENTRAL: Final = Rule("a damaged central directory")
ZIP64: Final = Rule("a damaged ZIP64 record")
EXTRA: Final = Rule("a damaged extra field")
HEADERS: Final = Rule("a local header that contradicts the central directory")
DESCRIPTOR: Final = Rule("a data descriptor that contradicts the central directory")
OUTSIDE: Final = Rule("an entry outside of the archive")
OVERLAP: Final = Rule("entries that overlap")
GAP: Final = Rule("bytes that belong to no entry")

# The limits of `ArchiveLimits`.
ENTRIES: Final = Rule(
    "too many entries",
    "the limit is max_entries={max_entries:,}, and as many directories without an entry of their own",
)
ENTRY_BYTES: Final = Rule("a file that is too large", "the limit is max_entry_bytes={max_entry_bytes:,}")
TOTAL_BYTES: Final = Rule("files that are too large in all", "the limit is max_total_bytes={max_total_bytes:,}")
RATIO: Final = Rule(
    "more than 256 MiB with a compression ratio that is too high", "the limit is max_ratio={max_ratio:,}"
)
