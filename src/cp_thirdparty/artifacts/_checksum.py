"""Read and check the checksums that S3 sends for an object, and compare them with the bytes of the object."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import Any, Final

from botocore import httpchecksum

# The algorithms that this machine can compute: CRC32, SHA1, SHA256 and, in newer versions of botocore, SHA512.  With
# the package awscrt there are more.  botocore has no public name for this mapping.
_ALGORITHMS: Mapping[str, Any] = vars(httpchecksum)["_CHECKSUM_CLS"]

# Algorithm -> size of its checksum in bytes, from the page "Checking object integrity" of the S3 user guide.
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
# The end of a composite checksum: a hyphen and the number of parts.  It is a checksum of the checksums of the parts.
_PARTS: Final = re.compile(r"-[1-9][0-9]{0,4}")
_ETAG_PARTS: Final = re.compile(r"(-[1-9][0-9]{0,4})\"$")
_TYPE: Final = "x-amz-checksum-type"
_TYPES: Final = {"FULL_OBJECT": False, "COMPOSITE": True}  # value of the header -> whether the checksum is composite


def read_checksums(headers: Mapping[str, str]) -> dict[str, str]:
    """
    Return the checksums in the headers of a response: name of the algorithm -> checksum.

    Some servers omit the number of parts at the end of a composite checksum.  If the response does not state the type
    of its checksums, the number of parts in the ETag is added to each checksum that may be composite.
    """
    found = {name: headers.get(f"x-amz-checksum-{name}", "").strip() for name in _DIGEST_BYTES}
    parts = _ETAG_PARTS.search(headers.get("etag", ""))
    number = parts[1] if parts is not None and _TYPE not in headers else ""
    return {name: value + number * _may_be_of_parts(name, value) for name, value in found.items() if value}


def _may_be_of_parts(algorithm: str, value: str) -> bool:
    return "-" not in value and algorithm != "crc64nvme"  # S3 has no composite checksums of that algorithm


def find_checksum_fault(
    headers: Mapping[str, str], reported: Mapping[str, str] | None, *, is_complete: bool
) -> str | None:
    """
    Return the reason why the checksums in a response are not accepted; ``None`` if they are accepted.

    botocore ignores each checksum that contains a hyphen.  So a damaged checksum with a hyphen would be accepted with
    any content.

    Args:
        headers: The headers of the response.
        reported: The checksums that an earlier response of S3 reported for this object; ``None`` if there was none.
        is_complete: Whether the response contains the complete object.  A response with a range of the object may have
            a checksum of that range.
    """
    found = read_checksums(headers)
    for name, value in found.items():
        # Other servers may use other forms for the algorithms that are not compared.
        if name in _ALGORITHMS and not _is_well_formed(name, value):
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
    Compares bytes with all checksums of an object that this machine can compute.

    An object that was uploaded in parts may have a composite checksum.  It cannot be compared, because the sizes of the
    parts are unknown.

    Args:
        checksums: Name of the algorithm -> checksum.  The checksums must be well-formed.
    """

    def __init__(self, checksums: Mapping[str, str]) -> None:
        self._running = [
            (_ALGORITHMS[name](), value)
            for name, value in checksums.items()
            if name in _ALGORITHMS and "-" not in value
        ]

    @property
    def is_possible(self) -> bool:
        """Whether there is at least one checksum that can be compared."""
        return bool(self._running)

    def update(self, data: Any) -> None:
        """Add the next bytes of the object."""
        for running, _ in self._running:
            running.update(data)

    def is_equal(self) -> bool:
        """Return whether the added bytes have all the checksums."""
        return all(running.b64digest() == expected for running, expected in self._running)
