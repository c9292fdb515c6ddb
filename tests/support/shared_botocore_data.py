"""All botocore sessions of a test process share botocore's parsed data files: tests create many clients."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import botocore.loaders
import botocore.session
import pytest


@pytest.fixture(scope="session", autouse=True)
def shared_botocore_data() -> Iterator[None]:
    """Give the sessions of one data path one loader; a loader parses 2 MB of JSON for a client."""
    with pytest.MonkeyPatch.context() as patch:
        create = functools.lru_cache(maxsize=4)(botocore.loaders.create_loader)
        patch.setattr(botocore.session, "create_loader", create)
        yield
