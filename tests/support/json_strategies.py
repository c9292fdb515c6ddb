"""A hypothesis strategy for any JSON value; those for models are in `cp_thirdparty.testing.strategies`."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

# What json.loads can give, NaN and lone surrogates included.
_any_text = st.text(st.characters(), max_size=10)
JSON_VALUES: SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _any_text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_any_text, inner, max_size=4),
    max_leaves=10,
)
