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

# Module -> its names here.
_NAMES = {
    "artifacts.create": ("create_archive",),
    "artifacts.extract": ("extract_archive",),
    "artifacts.limits": ("ArchiveLimits",),
    "artifacts.store": ("ArtifactStore",),
}

if not TYPE_CHECKING:  # pragma: no branch - otherwise type checkers would accept any name
    from cp_thirdparty._base import lazy as _lazy

    __getattr__, __dir__ = _lazy.attach(__name__, __all__, _NAMES, needs={"ArtifactStore": "s3transfer"})
    del __all__  # `__getattr__` returns it without the name whose extra is not installed
