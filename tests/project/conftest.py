"""What the tests of the project's own files share."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def children_without_coverage(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not measure coverage in child processes, of which each would need 0.1 s for it: they are pip, nox and git."""
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
