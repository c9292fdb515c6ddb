"""What all tests share; helpers beside this file are imported by their names."""

from __future__ import annotations

import re

pytest_plugins = ["pytester", "seaweed"]


def pytest_make_parametrize_id(val: object) -> str | None:
    """Name parameters without addresses: processes that share the tests must agree on the names."""
    name = repr(val)
    return re.sub(r" at 0x[0-9a-f]+", "", name) if " at 0x" in name else None
