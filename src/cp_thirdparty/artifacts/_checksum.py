"""The checksums that S3 sends for an object: their form, and their comparison with its bytes."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import Any, Final

from botocore import httpchecksum

__all__ = ["Comparison", "find_checksum_fault", "read_checksums"]

# Without the package awscrt there are CRC32, SHA1, SHA256 and perhaps SHA512; with it the others too.
_ALGORITHMS: Mapping[str, Any] = vars(httpchecksum)["_CHECKSUM_CLS"]  # no public way to know what can be computed

# The bytes of each checksum, from the page "Checking object integrity" of S3's user guide.
_DIGEST_BYTES: Final = {
    "crc32": 4,
    "crc32c": 4,
    "crc64nvme": 8,
    "md5": 16,
    "sha1": 20,
    "sha256": 32,
    "sha512": 64,
    "xxhash3": 8,
    "xxhash64": 8,
    "xxhash128": 16,
}
# A checksum of the checksums of parts has their number at its end.
_PARTS: Final = re.compile(r"-[1-9][0-9]{0,4}")
_ETAG_PARTS: Final = re.compile(r"(-[1-9][0-9]{0,4})\"$")
_TYPE: Final = "x-amz-checksum-type"
_TYPES: Final = {"FULL_OBJECT": False, "COMPOSITE": True}  # whether the checksum is one of parts


def read_checksums(headers: Mapping[str, str]) -> dict[str, str]:
    """
    Return the checksums in the headers of a response by algorithm.

    Some servers omit the number of parts at the end of a checksum of parts.  If the response does not state the type of
    its checksums, the number of the ETag is added to each that may be one of parts.
    """
    found = {name: headers.get(f"x-amz-checksum-{name}", "").strip() for name in _DIGEST_BYTES}
    parts = _ETAG_PARTS.search(headers.get("etag", ""))
    number = parts[1] if parts is not None and _TYPE not in headers else ""
    return {name: value + number * _may_be_of_parts(name, value) for name, value in found.items() if value}


def _may_be_of_parts(algorithm: str, value: str) -> bool:
    return "-" not in value and algorithm != "crc64nvme"  # S3 has no checksums of parts of that algorithm


def find_checksum_fault(
    headers: Mapping[str, str], reported: Mapping[str, str] | None, *, is_complete: bool
) -> str | None:
    """
    Return why the checksums in a response are not accepted, or ``None``.

    Botocore compares no checksum that has a hyphen, so a damaged one would be accepted with any bytes.

    Args:
        headers: Those of the response.
        reported: The checksums that S3 has reported before, if it has.
        is_complete: Whether the response is about the complete object.  That to a range may have a checksum of its own.
    """
    found = read_checksums(headers)
    for name, value in found.items():
        if name in _ALGORITHMS and not _is_well_formed(name, value):  # servers may have other forms of the others
            return f"the header x-amz-checksum-{name} is malformed"
    if not is_complete:
        return None
    is_composite = _TYPES.get(headers.get(_TYPE, ""))
    if is_composite is not None and any(("-" in value) is not is_composite for value in found.values()):
        return "a checksum of the response is not of the type that the response states"
    for name, value in found.items():
        if reported is not None and _digest(reported.get(name, value)) != _digest(value):
            return (
                f"the object does not have the checksum that S3 has reported before with HEAD (x-amz-checksum-{name})"
            )
    return None


def _digest(value: str) -> str:
    return value.partition("-")[0]


def _is_well_formed(algorithm: str, value: str) -> bool:
    digest, hyphen, parts = value.partition("-")
    if hyphen and not _PARTS.fullmatch(hyphen + parts):
        return False
    try:
        decoded = base64.b64decode(digest, validate=True)
    except ValueError:
        return False
    return len(decoded) == _DIGEST_BYTES[algorithm] and base64.b64encode(decoded).decode() == digest


class Comparison:
    """
    Compares bytes with the checksums of the object, as far as this machine can compute them.

    The checksum of an upload in parts may be one of the checksums of the parts.  Such a one cannot be compared, because
    the bounds of the parts are unknown.

    Args:
        checksums: The checksums by algorithm, well-formed.
    """

    def __init__(self, checksums: Mapping[str, str]) -> None:
        self._running = [
            (_ALGORITHMS[name](), value)
            for name, value in checksums.items()
            if name in _ALGORITHMS and "-" not in value
        ]

    @property
    def is_possible(self) -> bool:
        """Whether there is a checksum to compare the bytes with."""
        return bool(self._running)

    def update(self, data: Any) -> None:
        """Add bytes."""
        for running, _ in self._running:
            running.update(data)

    def is_equal(self) -> bool:
        """Return whether the bytes have each checksum."""
        return all(running.b64digest() == expected for running, expected in self._running)
