"""Add the views of a model for terminals, Jupyter and rich.  `_rendering.tree` renders them when they are called."""

from __future__ import annotations

from typing import Any, TypeVar

import attrs

from cp_thirdparty._base.text import show_repr

_T = TypeVar("_T")


def add_views(model: type[_T]) -> type[_T]:
    """Add the views for Jupyter and rich to a model; drafts of models could not inherit them from a base class."""
    methods = {"__repr__": _repr, "_repr_html_": _html, "_repr_pretty_": _pretty, "__rich__": _rich_tree}
    for name, show in methods.items():
        setattr(model, name, show)
    return model


def _repr(model: Any) -> str:
    """Return the ``repr`` of attrs with each string truncated: a peer may send one of 20 MiB."""
    values = ((field.name, getattr(model, field.name, attrs.NOTHING)) for field in attrs.fields(type(model)))
    parts = (f"{name}={show_repr(value) if type(value) is str else repr(value)}" for name, value in values)
    return f"{type(model).__name__}({', '.join(parts)})"


def _pretty(model: object, printer: Any, _is_cycle: bool) -> None:  # noqa: FBT001 - IPython calls it
    """Write the plain form that a notebook stores beside the tree, truncated: 500 artifacts would have 160 kB."""
    text = repr(model)
    longest = 4_000
    printer.text(text if len(text) <= longest else f"{text[:longest]}… {len(text):,} characters")


def _html(model: object) -> str:
    from cp_thirdparty._rendering.tree import html  # noqa: PLC0415 - workers never need it

    return html(model)


def _rich_tree(model: object) -> object:
    from cp_thirdparty._rendering.tree import rich_tree  # noqa: PLC0415 - workers never need it

    return rich_tree(model)
