"""
Create botocore's parsed response from the JSON document that `_core.guard` has checked.

The result is the same as that of botocore's own parser.  Tracers and event handlers of the caller get this parsed
response.  Botocore's parser looks up a shape for each value, which took 10 % of the time of a call.  This module
converts the shapes of each operation to functions only once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

Filter = Callable[[Any], Any]

# The types for which botocore's parser returns the JSON value unchanged.
_PLAIN: Final = frozenset({"string", "integer", "long", "boolean"})

# Name of an operation -> the result of `find_filter`.
_FILTERS: Final[dict[str, Filter | None]] = {}


def find_filter(operation_model: Any) -> Filter | None:
    """
    Return a function that keeps the members that botocore's parser keeps.

    Returns:
        The function; ``None`` if the operation has no output, or its output has a type that botocore's parser converts.
    """
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
        has_all = all(member_filter is not None for _, member_filter in members.values())
        return _structure_filter(members) if has_all else None
    if shape.type_name not in _COLLECTIONS:
        return None
    attribute, create_filter = _COLLECTIONS[shape.type_name]
    item_filter = _create_filter(getattr(shape, attribute))
    return None if item_filter is None else create_filter(item_filter)


def _keep(value: Any) -> Any:
    return value


def _structure_filter(members: Mapping[str, tuple[str, Any]]) -> Filter:
    # ``None`` replaces `_keep`, because most members are strings, and a call of `_keep` for each took most of the time.
    filters = [
        (wire_name, name, None if member_filter is _keep else member_filter)
        for wire_name, (name, member_filter) in members.items()
    ]

    def apply(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {
            name: item if member_filter is None else member_filter(item)
            for wire_name, name, member_filter in filters
            if (item := value.get(wire_name)) is not None
        }

    return apply


def _list_filter(item_filter: Filter) -> Filter:
    return lambda value: [item_filter(item) for item in value] if isinstance(value, list) else value


def _map_filter(item_filter: Filter) -> Filter:
    return lambda value: {key: item_filter(item) for key, item in value.items()} if isinstance(value, dict) else value


# Type name -> the attribute of such a shape that has the shape of the items, and the function that creates a filter of
# this type.
_COLLECTIONS: Final[Mapping[str, tuple[str, Callable[[Filter], Filter]]]] = {
    "list": ("member", _list_filter),
    "map": ("value", _map_filter),
}
