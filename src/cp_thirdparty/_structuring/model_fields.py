"""Code that the models share: checks of fields, open enumerations, mappings by name, and weak references."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import Enum
from typing import Any, Protocol, TypeVar

import attrs

from cp_thirdparty.exceptions import InvalidRequestError

_T = TypeVar("_T")
_OpenEnumT = TypeVar("_OpenEnumT", bound=Enum)


class _HasName(Protocol):
    @property
    def name(self) -> str | None: ...


_NamedT = TypeVar("_NamedT", bound=_HasName)


class WeaklyReferenced:
    """
    The base class of models that support weak references, which takes 8 bytes for each object.

    The slot is in a base class, because a draft (see `_structuring.converter`) can become a model only if both classes
    inherit the slot from the same class.
    """

    __slots__ = ("__weakref__",)


def verify(check: Callable[..., str | None], *limits: int) -> Callable[[Any, attrs.Attribute[_T], _T], None]:
    """Create an attrs validator from a check of `_base.limits`; it accepts ``None`` for an optional field."""

    def validate(_instance: object, field: attrs.Attribute[_T], value: _T) -> None:
        if value is None and field.default is None:
            return
        broken = check(value, *limits)
        if broken is not None:
            raise InvalidRequestError(field.name, broken)

    return validate


def limit(check: Callable[..., str | None], *limits: int) -> dict[str, Callable[[object], str | None]]:
    """Create the metadata of a field that has a limit; `_structuring.strict_input` checks the limit."""
    return {"limit": lambda value: check(value, *limits)}


def to_member(enum: type[_OpenEnumT], value: object, field: str) -> _OpenEnumT:
    """Return the member of an open enumeration for the value of a field."""
    if isinstance(value, enum):
        return value
    if isinstance(value, str):
        return enum(value)
    raise InvalidRequestError(field, f"must be an {enum.__name__} or a str")


class ByName(Mapping[str, _NamedT]):
    """A mapping of names to artifacts or other objects; IPython completes the names.  Nameless objects are left out."""

    def __init__(self, items: Iterable[_NamedT]) -> None:
        self._items = {item.name: item for item in items if item.name is not None}

    def __getitem__(self, name: str) -> _NamedT:
        return self._items[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __repr__(self) -> str:
        return repr(self._items)

    def _ipython_key_completions_(self) -> list[str]:
        return list(self._items)
