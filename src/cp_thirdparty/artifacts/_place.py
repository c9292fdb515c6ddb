"""The S3 object of an artifact; its bucket and key are checked before a request is sent."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from itertools import islice
from typing import Final
from urllib.parse import urlsplit

import attrs

from cp_thirdparty._base.text import show_repr
from cp_thirdparty.exceptions import ArtifactError, ArtifactNotFoundError
from cp_thirdparty.models import Artifact

__all__ = ["ObjectLocation", "find_location", "is_private_endpoint"]

# Buckets are named by untrusted customers.  These are the "General purpose bucket naming rules" of S3's user guide.  So
# ARNs are excluded, as are the suffixes of other things: access points, directory buckets of S3 Express and their
# access points, for which botocore would sign with other credentials, and table buckets.
_BUCKET = re.compile(r"(?!.*\.\.)[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_ADDRESS = re.compile(r"[0-9]+(\.[0-9]+){3}")
_OTHERS: Final = ("-s3alias", "--ol-s3", "--op-s3", ".mrap", "--x-s3", "--xa-s3", "--table-s3")
# "Creating object key names" of S3's user guide: 1,024 bytes of UTF-8.
_MAX_KEY_BYTES: Final = 1024
# How many names an error shows.
_MOST_NAMES: Final = 10


@attrs.frozen
class ObjectLocation:
    """
    The S3 object of one artifact of a job.

    Attributes:
        direction: ``"input"`` or ``"output"``.
        name: Name of the artifact.
        bucket: Name of the bucket.
        key: Key of the object; never a local path.
        job_id: The job that has the artifact.
        partition: The partition of the bucket's region, such as ``"aws-cn"``.
    """

    direction: str
    name: str
    bucket: str
    key: str
    job_id: str
    partition: str

    def __str__(self) -> str:
        return f"{self.direction} artifact {show_repr(self.name)}"


def find_location(
    artifacts: Mapping[str, Artifact], name: str, direction: str, job_id: str, partition: str
) -> ObjectLocation | ArtifactError:
    """
    Return the location of an artifact, found by its name, or the error.

    Raises:
        TypeError: The name is not a string.
    """
    if not isinstance(name, str):
        raise TypeError(f"name: must be a str, not {type(name).__name__}")
    artifact = artifacts.get(name)
    if artifact is None:
        names = ", ".join(map(show_repr, islice(artifacts, _MOST_NAMES))) or "none"
        names += f" and {len(artifacts) - _MOST_NAMES:,} more" if len(artifacts) > _MOST_NAMES else ""
        message = f"the job has no {direction} artifact {show_repr(name)}; it has {names}"
        return ArtifactNotFoundError(message, job_id=job_id)
    s3_location = None if artifact.location is None else artifact.location.s3_location
    if s3_location is None:
        return ArtifactNotFoundError(f"{direction} artifact {show_repr(name)} has no place in S3", job_id=job_id)
    rule = _find_violation(s3_location.bucket_name, s3_location.object_key)
    if rule is not None:
        return ArtifactError(f"{direction} artifact {show_repr(name)}: {rule}", job_id=job_id)
    return ObjectLocation(direction, name, s3_location.bucket_name, s3_location.object_key, job_id, partition)


def _find_violation(bucket: str, key: str) -> str | None:
    if not _BUCKET.fullmatch(bucket) or _ADDRESS.fullmatch(bucket) or bucket.endswith(_OTHERS):
        return "its bucket must have the name of a general purpose bucket, 3 to 63 characters, and no ARN"
    if not 1 <= len(key.encode("utf-8", "surrogatepass")) <= _MAX_KEY_BYTES:
        return "its object key must have 1 to 1,024 bytes"
    if {".", ".."} & set(key.split("/")):
        return "its object key must have no segment '.' or '..', which would be taken out on the way"
    return None


def is_private_endpoint(url: str) -> bool:
    """Whether nobody on the way can read what is sent to a URL: it is encrypted, or leads to this machine."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:  # botocore refuses it, and the error names the argument
        return True
    if parts.scheme.lower() != "http" or host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
