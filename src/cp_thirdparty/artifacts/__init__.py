"""
Download and upload the artifacts of a job, and create and extract zip archives.

`ArtifactStore` needs the extra ``artifacts``.  Each class and function is imported at its first use.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cp_thirdparty.artifacts.create import create_archive
    from cp_thirdparty.artifacts.extract import extract_archive
    from cp_thirdparty.artifacts.limits import ArchiveLimits
    from cp_thirdparty.artifacts.store import ArtifactStore

__all__ = ["ArchiveLimits", "ArtifactStore", "create_archive", "extract_archive"]

# Module -> the names that this package exports from it.
_NAMES = {
    "artifacts.create": ("create_archive",),
    "artifacts.extract": ("extract_archive",),
    "artifacts.limits": ("ArchiveLimits",),
    "artifacts.store": ("ArtifactStore",),
}

if not TYPE_CHECKING:  # pragma: no branch - otherwise type checkers would accept any name
    from cp_thirdparty._base import lazy as _lazy

    __getattr__, __dir__ = _lazy.attach(__name__, __all__, _NAMES, needs={"ArtifactStore": "s3transfer"})
    # `__getattr__` returns an `__all__` without `ArtifactStore` if the extra is not installed.
    del __all__
