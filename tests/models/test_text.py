"""Strings of a peer are shown, and nobody obeys them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cp_thirdparty._text import MAXIMUM, escape, escape_json, show


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text", "plain text"),
        ("Zoë 東京 😀", "Zoë 東京 😀"),
        ("a\nb\r\tc", r"a\nb\r\tc"),
        ("\x1b[2J\x07", r"\x1b[2J\x07"),
        ("\x9b31m\x85", r"\x9b31m\x85"),
        ("user\u202egpj.exe\u2066", r"user\u202egpj.exe\u2066"),
        ("\u2028\u200b\ufeff", r"\u2028\u200b\ufeff"),
        ("\ud800\U000e0001", r"\ud800\U000e0001"),
        ("", ""),
    ],
)
def test_what_nobody_sees_is_escaped(text: str, shown: str) -> None:
    """Letters of every language stay."""
    assert escape(text) == shown


@given(st.text(st.characters()))
def test_any_string_is_one_printable_line(text: str) -> None:
    """Also lone surrogates, which a log could not write."""
    assert escape(text).isprintable()
    assert len(show(text, 10)) <= 10 * len(r"\U000e0001") + 1


def test_a_long_string_is_truncated() -> None:
    """The last character shows that more followed."""
    assert show("a" * MAXIMUM) == "a" * MAXIMUM
    assert show("a" * (MAXIMUM + 1)) == "a" * MAXIMUM + "…"


@given(st.dictionaries(st.text(st.characters()), st.text(st.characters()), max_size=3))
def test_escaped_json_is_the_same_document(document: dict[str, str]) -> None:
    """Nothing in it does anything to a terminal."""
    text = escape_json(json.dumps(document, indent=4, ensure_ascii=False))
    assert json.loads(text) == document
    assert text.replace("\n", "").isprintable()
