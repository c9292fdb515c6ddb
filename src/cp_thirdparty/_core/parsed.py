"""
Create botocore's parsed response from the checked document, with the same result as botocore's own parser.

Tracers and event handlers of the caller get this parsed response.  Botocore's parser looks up a shape for each value,
which took 10 % of the time of a call.  This module converts the shapes of each operation to functions only once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

Filter = Callable[[Any], Any]

# The types for which botocore's parser returns the JSON value unchanged.
_PLAIN: Final = frozenset({"string", "integer", "long", "boolean"})

# Name of an operation -> its filter; ``None`` if its output has a type that botocore's parser converts.
_FILTERS: Final[dict[str, Filter | None]] = {}


def find_filter(operation_model: Any) -> Filter | None:
    """Return a function that keeps the members that botocore's parser keeps; ``None`` if values must be converted."""
    name: str = operation_model.name
    if name not in _FILTERS:
        shape = operation_model.output_shape
        _FILTERS[name] = None if shape is None else _create_filter(shape)
    return _FILTERS[name]


def _create_filter(shape: Any) -> Filter | None:
    if shape.type_name in _PLAIN:
        return _keep
    if shape.type_name == "structure":
        members = {
            member.serialization.get("name", name): (name, _create_filter(member))
            for name, member in shape.members.items()
        }
        return None if any(part is None for _, part in members.values()) else _structure_filter(members)
    if shape.type_name not in _COLLECTIONS:
        return None
    attribute, create_filter = _COLLECTIONS[shape.type_name]
    part = _create_filter(getattr(shape, attribute))
    return None if part is None else create_filter(part)


def _keep(value: Any) -> Any:
    return value


def _structure_filter(members: Mapping[str, tuple[str, Any]]) -> Filter:
    # ``None`` replaces `_keep`, because most members are strings, and a call of `_keep` for each took most of the time.
    parts = [(wire_name, name, None if part is _keep else part) for wire_name, (name, part) in members.items()]

    def apply(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {
            name: item if part is None else part(item)
            for wire_name, name, part in parts
            if (item := value.get(wire_name)) is not None
        }

    return apply


def _list_filter(part: Filter) -> Filter:
    return lambda value: [part(each) for each in value] if isinstance(value, list) else value


def _map_filter(part: Filter) -> Filter:
    return lambda value: {key: part(each) for key, each in value.items()} if isinstance(value, dict) else value


# Type -> the attribute of its shape that has the shape of the items, and the function that creates its filter.
_COLLECTIONS: Final[Mapping[str, tuple[str, Callable[[Filter], Filter]]]] = {
    "list": ("member", _list_filter),
    "map": ("value", _map_filter),
}
