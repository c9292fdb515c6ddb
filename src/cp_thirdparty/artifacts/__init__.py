"""Artifacts: in and out of S3 with the job's own credentials."""

from cp_thirdparty.artifacts.store import ArtifactStore

__all__ = ["ArtifactStore"]
