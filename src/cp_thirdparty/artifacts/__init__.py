"""Artifacts: in and out of S3 with the job's own credentials."""

__all__: list[str] = []
