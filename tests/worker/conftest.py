"""Fixtures of the tests of the worker; a module whose tests need another service or other pauses has its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.worker_service import CLIENT_ID, CLIENT_TOKEN

from cp_thirdparty.testing import LocalCodePipeline
from cp_thirdparty.worker import _steps


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let attempts follow each other as fast as the machine can."""
    monkeypatch.setattr(_steps, "_FIRST_PAUSE", 0.001)
    monkeypatch.setattr(_steps, "_LONGEST_PAUSE", 0.01)


@pytest.fixture
def service() -> Iterator[LocalCodePipeline]:
    """Give a running service with one customer."""
    with LocalCodePipeline() as started:
        started.register_client(CLIENT_ID, CLIENT_TOKEN)
        yield started
