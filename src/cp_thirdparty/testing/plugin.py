"""
The pytest plugin: the fixture `local_codepipeline`.

Pytest loads it by its entry point into every run where the library is installed, so it imports nothing of the library
until a fixture is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from cp_thirdparty.testing.server import LocalCodePipeline

__all__ = ["local_codepipeline", "local_codepipeline_settings"]


@pytest.fixture
def local_codepipeline_settings() -> Mapping[str, Any]:
    """
    Return the arguments of the `LocalCodePipeline` of a test: none.

    Override it in a test module or a ``conftest.py`` to set some, such as ``{"redelivery_delay": 1.0}``.

    .. versionadded:: 0.1.0
    """
    return {}


@pytest.fixture
def local_codepipeline(local_codepipeline_settings: Mapping[str, Any]) -> Iterator[LocalCodePipeline]:
    """
    A local CodePipeline that listens on 127.0.0.1 for one test.

    .. versionadded:: 0.1.0
    """
    from cp_thirdparty.testing.server import LocalCodePipeline  # noqa: PLC0415 - only for a test that asks for it

    with LocalCodePipeline(**local_codepipeline_settings) as service:
        yield service
