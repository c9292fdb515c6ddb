"""The worker: every acknowledged job ends in exactly one accepted result."""

__all__: list[str] = []
