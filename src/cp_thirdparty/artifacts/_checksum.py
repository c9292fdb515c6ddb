"""The checksum that S3 sends for a complete object, where this machine can compute it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
from botocore import httpchecksum

__all__ = ["Checksum", "checksum_of"]

# Without the package awscrt there are CRC32, SHA1 and SHA256; with it CRC32C and CRC64NVME too.
_ALGORITHMS: Mapping[str, Any] = vars(httpchecksum)["_CHECKSUM_CLS"]  # no public way to know what can be computed


@attrs.frozen
class Checksum:
    """
    The expected checksum of an object.

    Attributes:
        algorithm: Its name in lower case.
        value: Base64 of its bytes.
    """

    algorithm: str
    value: str

    def start(self) -> Any:
        """Begin to compute: the returned object takes bytes by ``update()``."""
        return _ALGORITHMS[self.algorithm]()

    def is_met_by(self, running: Any) -> bool:
        """Return whether the computed checksum is the expected one."""
        return bool(running.b64digest() == self.value)


def checksum_of(response: Mapping[str, Any]) -> Checksum | None:
    """
    Return the checksum in a response to HEAD, or ``None``.

    That of a multipart upload may be composite, a checksum of checksums of parts whose bounds are unknown: such a
    one has a hyphen, which Base64 has not, and cannot be compared.
    """
    for algorithm in _ALGORITHMS:
        value = response.get(f"Checksum{algorithm.upper()}")
        if value and "-" not in value and response.get("ChecksumType") != "COMPOSITE":
            return Checksum(algorithm, value)
    return None
