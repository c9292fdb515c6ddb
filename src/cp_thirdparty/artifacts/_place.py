"""Find the S3 object of an artifact, and check where it is before a request is sent."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from itertools import islice
from types import MappingProxyType
from typing import Final
from urllib.parse import urlsplit

import attrs

from cp_thirdparty._base import limits
from cp_thirdparty._base.text import show_repr
from cp_thirdparty.exceptions import ArtifactError, ArtifactNotFoundError, InvalidRequestError
from cp_thirdparty.models import Artifact

# Bucket names come from customers and are untrusted.  Only names that follow the "General purpose bucket naming rules"
# of the S3 user guide are accepted.  So ARNs are refused.  Names with the suffixes below are refused too, because they
# name access points, table buckets, or directory buckets of S3 Express, for which botocore signs with other
# credentials.
_BUCKET = re.compile(r"(?!.*\.\.)[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_ADDRESS = re.compile(r"[0-9]+(\.[0-9]+){3}")
_RESERVED_SUFFIXES: Final = ("-s3alias", "--ol-s3", "--op-s3", ".mrap", "--x-s3", "--xa-s3", "--table-s3")
# The limit of S3, in bytes of UTF-8: "Creating object key names" in the S3 user guide.
_MAX_KEY_BYTES: Final = 1024
# Maximum number of names of artifacts that an error message shows.
_MAX_NAMES: Final = 10


@attrs.frozen
class ObjectLocation:
    """
    The S3 object of one artifact of a job.

    Attributes:
        direction: ``"input"`` or ``"output"``.
        name: Name of the artifact.
        bucket: Name of the bucket.
        key: Key of the object.  It is untrusted, and must not be used as a local path.
        job_id: Id of the job that the artifact belongs to.
        partition: The AWS partition of the bucket's region, such as ``"aws-cn"``.
    """

    direction: str
    name: str
    bucket: str
    key: str
    job_id: str
    partition: str

    def __str__(self) -> str:
        return f"{self.direction} artifact {show_repr(self.name)}"


def map_by_name(artifacts: Iterable[Artifact], direction: str) -> Mapping[str, Artifact]:
    """
    Return a mapping from names to artifacts.

    Raises:
        cp_thirdparty.exceptions.ArtifactError: Two artifacts have the same name.
    """
    found: dict[str, Artifact] = {}
    for artifact in artifacts:
        if artifact.name in found:
            raise ArtifactError(f"the job has two {direction} artifacts {show_repr(artifact.name)}")
        if artifact.name is not None:
            found[artifact.name] = artifact
    return MappingProxyType(found)


def find_location(
    artifacts: Mapping[str, Artifact], name: str, direction: str, job_id: str, partition: str
) -> ObjectLocation | ArtifactError:
    """
    Return the location of the artifact with the given name, or an error if there is none or its location is invalid.

    Raises:
        TypeError: `name` is not a string.
    """
    if not isinstance(name, str):
        raise TypeError(f"name: must be a str, not {type(name).__name__}")
    artifact = artifacts.get(name)
    if artifact is None:
        names = ", ".join(map(show_repr, islice(artifacts, _MAX_NAMES))) or "none"
        names += f" and {len(artifacts) - _MAX_NAMES:,} more" if len(artifacts) > _MAX_NAMES else ""
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
    if not _BUCKET.fullmatch(bucket) or _ADDRESS.fullmatch(bucket) or bucket.endswith(_RESERVED_SUFFIXES):
        return "its bucket must have the name of a general purpose bucket, 3 to 63 characters, and no ARN"
    if not 1 <= len(key.encode("utf-8", "surrogatepass")) <= _MAX_KEY_BYTES:
        return "its object key must have 1 to 1,024 bytes"
    if {".", ".."} & set(key.split("/")):
        return "its object key must have no segment '.' or '..', which clients remove from URLs"
    return None


def check_bucket_owner(expected_bucket_owner: str | None) -> InvalidRequestError | None:
    """Return an error if the argument is not the id of an AWS account, and ``None`` otherwise."""
    if expected_bucket_owner is None or limits.ACCOUNT_ID.fullmatch(expected_bucket_owner):
        return None
    return InvalidRequestError("expected_bucket_owner", "must be an account id of 12 digits")


def check_endpoint(endpoint_url: str | None, *, allow_http: bool) -> InvalidRequestError | None:
    """Return an error if requests to the URL could be read on the network and the caller has not allowed that."""
    if not isinstance(endpoint_url, str) or allow_http or _is_private(endpoint_url):
        return None
    return InvalidRequestError("endpoint_url", "must be an https URL; allow_http=True accepts http to another machine")


def _is_private(url: str) -> bool:
    """
    Return whether requests to a URL cannot be read on the network.

    This is so for every scheme except ``http``, and for a URL of this machine.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:  # botocore refuses an invalid URL later, with an error that names the argument
        return True
    if parts.scheme.lower() != "http" or host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
