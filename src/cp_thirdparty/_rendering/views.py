"""The base class of all models, with the methods that terminals, Jupyter and rich call to show a model."""

from __future__ import annotations

from typing import Any, Protocol

import attrs

from cp_thirdparty._base.text import show_repr


class _Printer(Protocol):
    def text(self, text: str) -> None: ...


class Model:
    """The base class of all models."""

    __slots__ = ()

    def __repr__(self) -> str:
        # The same form as the ``__repr__`` of attrs, but long strings are truncated: a server may send 20 MiB.
        kind: Any = type(self)
        values = ((field.name, getattr(self, field.name, attrs.NOTHING)) for field in attrs.fields(kind))
        parts = (f"{name}={show_repr(value) if type(value) is str else repr(value)}" for name, value in values)
        return f"{kind.__name__}({', '.join(parts)})"

    def _repr_pretty_(self, printer: _Printer, _is_cycle: bool) -> None:  # noqa: FBT001 - IPython calls it
        # A notebook stores this form in addition to the HTML tree.  A job with 500 artifacts would have 160 kB.
        shown = repr(self)
        maximum = 4_000
        printer.text(shown if len(shown) <= maximum else f"{shown[:maximum]}… {len(shown):,} characters")

    def _repr_html_(self) -> str:
        from cp_thirdparty._rendering.tree import html  # noqa: PLC0415 - workers never need it

        return html(self)

    def __rich__(self) -> object:
        from cp_thirdparty._rendering.tree import rich_tree  # noqa: PLC0415 - workers never need it

        return rich_tree(self)
