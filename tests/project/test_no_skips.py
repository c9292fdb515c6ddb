"""The option --no-skips of these tests."""

from __future__ import annotations

import pytest

_SKIPS = """
    import pytest

    def test_skips():
        pytest.skip("no compiler")

    @pytest.mark.skipif(True, reason="no browser")
    def test_is_marked(): ...

    @pytest.mark.xfail(strict=True)
    def test_fails():
        assert False
"""


_SKIPPED_MODULE = """
    import pytest

    pytest.skip("no valgrind", allow_module_level=True)
"""


@pytest.mark.parametrize(
    ("options", "expected"),
    [([], {"skipped": 2, "xfailed": 1}), (["--no-skips"], {"failed": 1, "errors": 1, "xfailed": 1})],
    ids=["default", "no skips"],
)
def test_a_skip_is_a_failure(pytester: pytest.Pytester, options: list[str], expected: dict[str, int]) -> None:
    """With the option a skipped test fails, and the report has its reason."""
    pytester.makepyfile(_SKIPS)
    result = pytester.runpytest_inprocess("-rfEs", "-p", "support.no_skips", *options)
    result.assert_outcomes(**expected)
    for reason in ("no compiler", "no browser"):
        assert reason in result.stdout.str()


@pytest.mark.parametrize(("options", "expected"), [([], {"skipped": 1}), (["--no-skips"], {"errors": 1})], ids=str)
def test_a_skipped_module_is_an_error(pytester: pytest.Pytester, options: list[str], expected: dict[str, int]) -> None:
    """With the option a module that skips all its tests at import fails the run, and the report has its reason."""
    pytester.makepyfile(_SKIPPED_MODULE)
    result = pytester.runpytest_inprocess("-rfEs", "-p", "support.no_skips", *options)
    result.assert_outcomes(**expected)
    assert "no valgrind" in result.stdout.str()
