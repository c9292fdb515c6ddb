"""Strings of a peer are shown, and nobody obeys them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cp_thirdparty._base.text import MAXIMUM, escape, escape_json, show, show_repr, show_value


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
def test_invisible_characters_are_escaped(text: str, shown: str) -> None:
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


def test_the_repr_of_a_long_string_is_truncated() -> None:
    """The repr of a short one is Python's own, of a subclass too."""
    assert show_repr("it's\n") == repr("it's\n")
    assert show_repr("\x9b" * MAXIMUM) == repr("\x9b" * MAXIMUM)
    assert show_repr("a" * 12_345) == f"'{'a' * MAXIMUM}'… (12,345 characters)"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("a\nb", r"a\nb"),
        (("a\nb", 1), [r"a\nb", 1]),
        ([["\x1b"]], [[r"\x1b"]]),
        (ValueError("a\nb"), r"a\nb"),
        (1.5, 1.5),
        (None, None),
    ],
)
def test_arguments_of_a_log_record(value: object, shown: object) -> None:
    """Numbers stay numbers, and an exception leaves only its message."""
    assert show_value(value) == shown


@given(st.dictionaries(st.text(st.characters()), st.text(st.characters()), max_size=3))
def test_escaped_json_is_the_same_document(document: dict[str, str]) -> None:
    """Nothing in it does anything to a terminal."""
    text = escape_json(json.dumps(document, indent=4, ensure_ascii=False))
    assert json.loads(text) == document
    assert text.replace("\n", "").isprintable()
