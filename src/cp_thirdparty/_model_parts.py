"""What the models share: how they show themselves, how fields are checked, and references to them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import attrs

from cp_thirdparty._text import show_repr
from cp_thirdparty.exceptions import InvalidRequestError

_T = TypeVar("_T")


class WeaklyReferenced:
    """
    The base of models to which weak references are possible.  They cost 8 bytes.

    The slot is in a base, because Python lets a draft (see `_hooks`) become a model only if both inherit it.
    """

    __slots__ = ("__weakref__",)


def verify(check: Callable[[object], str | None]) -> Callable[[Any, attrs.Attribute[_T], _T], None]:
    """Create an attrs validator of a check of `_limits`; it lets an optional field be ``None``."""

    def validate(_instance: object, field: attrs.Attribute[_T], value: _T) -> None:
        if value is None and field.default is None:
            return
        broken = check(value)
        if broken is not None:
            raise InvalidRequestError(field.name, broken)

    return validate


def limit(check: Callable[..., str | None], *limits: int) -> dict[str, Callable[[object], str | None]]:
    """Create the metadata of a field with a limit, which is checked in what a person wrote; see `_input`."""
    return {"limit": lambda value: check(value, *limits)}


def add_views(model: type[_T]) -> type[_T]:
    """Add the views for Jupyter and rich to a model: not a base class, which drafts of models lack."""
    methods = {"__repr__": _repr, "_repr_html_": _html, "_repr_pretty_": _pretty, "__rich__": _rich_tree}
    for name, show in methods.items():
        setattr(model, name, show)
    return model


def _repr(model: Any) -> str:
    """Return what attrs would, with each string truncated: a peer may send one of 20 MiB."""
    values = ((field.name, getattr(model, field.name, attrs.NOTHING)) for field in attrs.fields(type(model)))
    parts = (f"{name}={show_repr(value) if type(value) is str else repr(value)}" for name, value in values)
    return f"{type(model).__name__}({', '.join(parts)})"


def _pretty(model: object, printer: Any, _is_cycle: bool) -> None:  # noqa: FBT001 - IPython calls it
    """Write the text that a notebook keeps beside the tree: a job with 500 artifacts would have 160 kB."""
    text = repr(model)
    longest = 4_000
    printer.text(text if len(text) <= longest else f"{text[:longest]}… {len(text):,} characters")


def _html(model: object) -> str:
    from cp_thirdparty._display import html  # noqa: PLC0415 - workers never need it

    return html(model)


def _rich_tree(model: object) -> object:
    from cp_thirdparty._display import rich_tree  # noqa: PLC0415 - workers never need it

    return rich_tree(model)
