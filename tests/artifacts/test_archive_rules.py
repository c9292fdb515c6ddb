"""The page about customers' archives has every rule, and how to accept what breaks it."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import attrs
import pytest

from cp_thirdparty import ArtifactStore
from cp_thirdparty.artifacts import ArchiveLimits, create_archive, extract_archive
from cp_thirdparty.artifacts import _archive_rules as rules
from cp_thirdparty.artifacts._archive_rules import Rule, rule_error

_PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "customers-archives.md").read_text(encoding="utf-8")
_ROW = re.compile(
    r"^\| `(?P<rule>[^`]+)` \| (?P<reason>[^|]+) \| (?P<example>[^|]*) ?\| (?P<accept>[^|]*) ?\|$", re.MULTILINE
)
_ROWS = {match["rule"]: match for match in _ROW.finditer(_PAGE)}
_RULES = {value.text: value for value in vars(rules).values() if isinstance(value, Rule)}
_OPTION = re.compile(r"(?<![\w-])([a-z_]+)=")
_FIELDS = {field.name for field in attrs.fields(ArchiveLimits)}


def test_the_page_has_every_rule() -> None:
    """In the same order as the code, and no other."""
    assert list(_ROWS) == list(_RULES)


@pytest.mark.parametrize("text", _RULES)
def test_the_page_has_the_options_of_a_rule(text: str) -> None:
    """Where the error names an option, the page does too."""
    hinted, documented = (set(_OPTION.findall(value)) for value in (_RULES[text].hint, _ROWS[text]["accept"]))
    assert hinted >= documented - {"names"}
    assert hinted <= documented | ({"names"} if text == rules.LINK_TARGET.text else set())
    assert hinted <= _FIELDS | {"on_skip"}


def test_the_hint_of_a_limit_has_its_value() -> None:
    """The reader of the error sees which limit was exceeded, and that it can be set."""
    error = rule_error(rules.DEPTH, "a", ArchiveLimits(max_depth=1234))
    assert str(error) == "a: too many nested directories (the limit is max_depth=1,234)"


def test_all_options_reach_all_functions() -> None:
    """Extraction and creation, with and without S3, have the same options."""
    extraction = [inspect.signature(call).parameters for call in (extract_archive, ArtifactStore.extract)]
    creation = [inspect.signature(call).parameters for call in (create_archive, ArtifactStore.archive)]
    for parameters in extraction + creation:
        assert {"limits", "progress"} <= set(parameters)
        assert parameters["limits"].default is None
    assert all("on_skip" in parameters for parameters in creation)


def test_every_option_is_on_the_page() -> None:
    """Each field of the limits is documented as a way to accept an archive."""
    accepted = " ".join(row["accept"] for row in _ROWS.values())
    assert {field for field in _FIELDS if f"{field}=" not in accepted} == set()
