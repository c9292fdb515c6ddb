"""
Artifacts: in and out of S3 with the job's own credentials, in and out of archives.

`ArtifactStore` needs the extra ``artifacts``.  Every name is loaded when it is first used.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cp_thirdparty.artifacts.create import create_archive
    from cp_thirdparty.artifacts.extract import extract_archive
    from cp_thirdparty.artifacts.limits import ArchiveLimits
    from cp_thirdparty.artifacts.store import ArtifactStore

__all__ = ["ArchiveLimits", "ArtifactStore", "create_archive", "extract_archive"]

_HOMES = {
    "ArchiveLimits": "artifacts.limits",
    "ArtifactStore": "artifacts.store",
    "create_archive": "artifacts.create",
    "extract_archive": "artifacts.extract",
}

if not TYPE_CHECKING:  # pragma: no branch - else type checkers would take any name for one of ours
    from cp_thirdparty._base import lazy as _lazy

    __getattr__, __dir__ = _lazy.attach(__name__, __all__, _HOMES, needs={"ArtifactStore": "s3transfer"})
    del __all__  # `__getattr__` gives it, without the name whose extra is not installed
