"""The profiles of Hypothesis in ``tests/conftest.py``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

_TESTS = Path(__file__).parents[1]
_PRINT = (
    "import json, runpy; runpy.run_path('conftest.py'); from hypothesis import settings; "
    "print(json.dumps({name: settings.get_profile(name).derandomize for name in ('fast', 'slow', 'fuzz')}))"
)


@pytest.mark.parametrize("ci", ["", "true"])
def test_only_the_default_run_repeats_its_examples(ci: str) -> None:
    """The long runs try new examples in CI too, where Hypothesis has a profile that repeats them."""
    environment = {name: value for name, value in os.environ.items() if name != "CI"}
    output = subprocess.run(
        [sys.executable, "-c", _PRINT],
        cwd=_TESTS,
        env={**environment, **({"CI": ci} if ci else {})},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout
    assert json.loads(output) == {"fast": True, "slow": False, "fuzz": False}
