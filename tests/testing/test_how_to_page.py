"""The files of the page "Test your handler" run as a partner would run them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

_PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "test-your-handler.md").read_text(encoding="utf-8")
_FILES = dict(re.findall(r"```python\n# (\w+\.py)\n(.*?)```", _PAGE, flags=re.DOTALL))


def test_the_page_has_a_handler_and_its_tests() -> None:
    """Each block of the page is a file."""
    assert list(_FILES) == ["scan.py", "test_handler.py", "test_scan.py", "test_worker.py"]
    assert _PAGE.count("```python") == len(_FILES)


@pytest.mark.slow
def test_the_tests_of_the_page_pass(pytester: pytest.Pytester) -> None:
    """A partner's own test files pass, in a process of their own."""
    for name, text in _FILES.items():
        pytester.path.joinpath(name).write_text(text, encoding="utf-8")
    pytester.runpytest_subprocess("-p", "cp_thirdparty.testing.plugin").assert_outcomes(passed=10)


@pytest.mark.slow
@pytest.mark.parametrize("broken", ["return Succeeded()", "raise JobFailedError("])
def test_the_tests_of_the_page_find_a_broken_handler(pytester: pytest.Pytester, broken: str) -> None:
    """The tests of the page fail when the handler does the opposite."""
    handler = _FILES["scan.py"].replace(broken, "raise ValueError(")
    if broken == "return Succeeded()":
        handler = _FILES["scan.py"].replace(broken, 'return Continued(continuation_token="run-1")')
    pytester.path.joinpath("scan.py").write_text(handler, encoding="utf-8")
    pytester.path.joinpath("test_scan.py").write_text(_FILES["test_scan.py"], encoding="utf-8")
    pytester.runpytest_subprocess("-p", "cp_thirdparty.testing.plugin").assert_outcomes(passed=4, failed=1)
