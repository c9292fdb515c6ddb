"""
The pytest plugin: the fixture `local_codepipeline`.

pytest loads this module in every test run of an environment with this library.  So the module imports other modules of
the library only when a test uses a fixture.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cp_thirdparty import testing
from cp_thirdparty._base.lazy import missing_extra

try:
    import pytest
except ModuleNotFoundError:
    raise missing_extra("pytest") from None

__all__ = ["local_codepipeline", "local_codepipeline_settings"]


@pytest.fixture
def local_codepipeline_settings() -> Mapping[str, Any]:
    """
    Return the arguments for the fixture `local_codepipeline`; by default, there are none.

    Override this fixture in a test module or a ``conftest.py`` to set some, such as ``{"redelivery_delay": 1.0}``.
    """
    return {}


@pytest.fixture
def local_codepipeline(local_codepipeline_settings: Mapping[str, Any]) -> Iterator[testing.LocalCodePipeline]:
    """A local CodePipeline that listens on 127.0.0.1 for one test."""
    with testing.LocalCodePipeline(**local_codepipeline_settings) as service:
        yield service
