"""
Fill botocore's parsed response from the checked document, as botocore's own parser would.

Tracers and handlers of the caller see what botocore parses.  Its parser looks up each shape by name for each value,
which was a tenth of a call; here, the shapes of an operation become functions once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

Filter = Callable[[Any], Any]

# Types whose JSON value is the parsed value.
_PLAIN: Final = frozenset({"string", "integer", "long", "boolean"})

# By name of the operation; ``None`` if its output has a type that botocore converts.
_FILTERS: Final[dict[str, Filter | None]] = {}


def find_filter(operation_model: Any) -> Filter | None:
    """Return what keeps the members of a document that botocore's parser keeps; ``None`` if that takes a conversion."""
    name: str = operation_model.name
    if name not in _FILTERS:
        shape = operation_model.output_shape
        _FILTERS[name] = None if shape is None else _compile(shape)
    return _FILTERS[name]


def _compile(shape: Any) -> Filter | None:
    if shape.type_name in _PLAIN:
        return _keep
    if shape.type_name == "structure":
        members = {
            member.serialization.get("name", name): (name, _compile(member)) for name, member in shape.members.items()
        }
        return None if any(part is None for _, part in members.values()) else _structure_filter(members)
    if shape.type_name not in _COLLECTIONS:
        return None
    attribute, make = _COLLECTIONS[shape.type_name]
    part = _compile(getattr(shape, attribute))
    return None if part is None else make(part)


def _keep(value: Any) -> Any:
    return value


def _structure_filter(members: Mapping[str, tuple[str, Any]]) -> Filter:
    # ``None`` for what is kept as it is: most members are strings, and a call for each was most of the work.
    parts = [(wire_name, name, None if part is _keep else part) for wire_name, (name, part) in members.items()]

    def apply(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {
            name: found if part is None else part(found)
            for wire_name, name, part in parts
            if (found := value.get(wire_name)) is not None
        }

    return apply


def _list_filter(part: Filter) -> Filter:
    return lambda value: [part(each) for each in value] if isinstance(value, list) else value


def _map_filter(part: Filter) -> Filter:
    return lambda value: {key: part(each) for key, each in value.items()} if isinstance(value, dict) else value


# Type -> the attribute of its shape that has the shape of its parts, and what creates its filter.
_COLLECTIONS: Final[Mapping[str, tuple[str, Callable[[Filter], Filter]]]] = {
    "list": ("member", _list_filter),
    "map": ("value", _map_filter),
}
