"""Options that may be given once, while click would use the last value without a message."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypedDict

import click

from cp_thirdparty._cli.errors import CommandError

__all__ = ["single"]


class _Attributes(TypedDict):
    multiple: bool
    callback: Callable[[click.Context, click.Parameter, Sequence[Any]], Any]
    default: Sequence[Any] | None


def single(default: Any = None) -> _Attributes:
    """Return the attributes of an option that is refused if it is given more than once."""
    return {"multiple": True, "callback": _require_one, "default": None if default is None else (default,)}


def _require_one(_context: click.Context, option: click.Parameter, values: Sequence[Any]) -> Any:
    if len(values) > 1:
        raise CommandError(f"{option.opts[0]}: is given more than once")
    return values[0] if values else None
