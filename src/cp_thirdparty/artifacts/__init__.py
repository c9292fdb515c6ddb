"""
Artifacts: in and out of S3 with the job's own credentials, in and out of archives.

`ArtifactStore` needs the extra ``artifacts``, so it is loaded when it is first used.
"""

from typing import TYPE_CHECKING

from cp_thirdparty.artifacts.create import create_archive
from cp_thirdparty.artifacts.extract import extract_archive
from cp_thirdparty.artifacts.limits import ArchiveLimits

if TYPE_CHECKING:
    from cp_thirdparty.artifacts.store import ArtifactStore

__all__ = ["ArchiveLimits", "ArtifactStore", "create_archive", "extract_archive"]

if not TYPE_CHECKING:  # pragma: no branch - else type checkers would take any name for one of ours

    def __getattr__(name: str) -> object:
        if name != "ArtifactStore":
            raise AttributeError(f"module 'cp_thirdparty.artifacts' has no attribute {name!r}")
        from cp_thirdparty.artifacts.store import ArtifactStore  # noqa: PLC0415 - as the docstring says

        globals()[name] = ArtifactStore
        return ArtifactStore
