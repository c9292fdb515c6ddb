"""Write the object of a state as JSON and read it; find what JSON does not keep."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import json
import sys
import typing
from collections import deque
from collections.abc import Iterator, Mapping, MutableMapping
from collections.abc import Set as AbstractSet
from datetime import datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

import attrs

from cp_thirdparty._structuring.configuration_fields import has_fields, is_pydantic

if TYPE_CHECKING:
    from cattrs import Converter


def write_json(value: object, kind: Any) -> str:
    """Return the JSON of a value of a type; raise any error if it cannot be written."""
    document = _converter().unstructure(value, unstructure_as=kind)
    return json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def read_json(document: Any, kind: Any) -> Any:
    """Return the value of a type from JSON values, such as `json.loads` returns; raise any error if it does not fit."""
    # What `upgrade=` returns may have tuples and integers as keys.
    document = json.loads(json.dumps(document, allow_nan=False))
    read = _converter().structure(document, kind)
    written = json.loads(json.dumps(_converter().unstructure(read, unstructure_as=kind)))
    # Pydantic ignores unknown fields, and cattrs would read a string as a list of characters.
    if not {*_kinds(document)} <= {*_kinds(written)}:
        raise TypeError
    return read


def _kinds(document: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """Yield the place and the kind of each value of a document.  All items of an array have the same place."""
    kind = "value"
    if isinstance(document, dict):
        kind = "object"
        for name, value in document.items():
            yield from _kinds(value, f"{place}.{name}")
    elif isinstance(document, list):
        kind = "array"
        for item in document:
            yield from _kinds(item, f"{place}[]")
    yield place, kind


@functools.cache
def _converter() -> Converter:
    from cattrs.preconf.json import make_converter  # noqa: PLC0415 - only continued jobs need it

    converter = make_converter(forbid_extra_keys=True, detailed_validation=False)
    # cattrs also uses the hook of a class for its subclasses, such as an enumeration of strings.
    for json_type in (str, int, float, bool):
        converter.register_structure_hook(json_type, functools.partial(_read_primitive, json_type))
    for kind in (UUID, Decimal):
        converter.register_unstructure_hook(kind, str)
        converter.register_structure_hook(kind, functools.partial(_read_primitive, str))
    converter.register_unstructure_hook(time, time.isoformat)
    converter.register_structure_hook(time, lambda value, _: time.fromisoformat(value))
    converter.register_unstructure_hook(timedelta, timedelta.total_seconds)
    converter.register_structure_hook(
        timedelta, lambda value, _: timedelta(seconds=_read_primitive(float, value, float))
    )
    converter.register_structure_hook_factory(_has_keys, _mapping_hook)
    converter.register_unstructure_hook_func(is_pydantic, _write_pydantic)
    converter.register_structure_hook_func(is_pydantic, _read_pydantic)
    return converter


def _read_primitive(json_type: type[Any], value: object, kind: type[Any]) -> Any:
    # cattrs itself would convert values of other types.
    if type(value) is not json_type and not (json_type is float and type(value) is int):
        raise TypeError
    return value if kind is json_type else kind(value)


def _has_keys(kind: Any) -> bool:
    return typing.get_origin(kind) in (dict, Mapping, MutableMapping) and len(typing.get_args(kind)) > 1


def _mapping_hook(kind: Any) -> Any:
    """Return a hook that reads keys of any type; JSON writes the key 5 as ``"5"``."""
    structure = _converter().structure
    key_type, value_type = typing.get_args(kind)

    def read_key(key: Any) -> Any:
        try:
            return structure(key, key_type)
        except Exception:  # noqa: BLE001 - the error depends on the type
            return structure(json.loads(key), key_type)

    return lambda document, _: {read_key(key): structure(value, value_type) for key, value in document.items()}


# --- models of pydantic


def _write_pydantic(model: Any, **options: Any) -> Any:
    # The class may override its method.  `round_trip` leaves out computed fields.  A warning would have a value.
    dump = sys.modules["pydantic"].BaseModel.model_dump
    return dump(model, mode="json", by_alias=False, round_trip=True, warnings=False, **options)


def _read_pydantic(document: Any, kind: Any) -> Any:
    """Return the model of a document with the names of the fields."""
    has_names = "by_name" in inspect.signature(kind.model_validate_json).parameters  # since pydantic 2.11
    names = {"by_name": True, "by_alias": False} if has_names else {}
    return kind.model_validate_json(json.dumps(document), **names)


# --- what JSON does not keep


def find_difference(first: object, second: object, place: str = "") -> str | None:
    """
    Return the name of the first field whose value is not the same in two objects; ``None`` if each value is.

    All fields are compared, also those that ``__eq__`` of the class leaves out.  A field that is also not an argument
    of the class, such as a cache or a lock, is not compared.
    """
    (kind, parts), (other_kind, others) = _take_apart(first), _take_apart(second)
    if kind != other_kind:
        return place
    for key in {**parts, **others}:
        name = _find_name(first, place, key)
        in_both = key in parts and key in others
        found = find_difference(parts[key], others[key], name) if in_both else name
        if found is not None:
            return found
    return None


def find_secret(state: object) -> str | None:
    """Return the name of the first field with a secret; ``None`` if there is none."""
    try:
        return next(_find_secrets(state, ""), None)
    except Exception:  # noqa: BLE001 - code of the partner, or an object that contains itself
        return None


def _find_secrets(value: object, place: str) -> Iterator[str]:
    if hasattr(value, "get_secret_value"):
        yield place
    for key, part in _take_apart(value)[1].items():
        name = _find_name(value, place, key)
        yield from _find_secrets(key, name)
        yield from _find_secrets(part, name)


def _take_apart(value: Any) -> tuple[object, dict[Any, Any]]:
    """Return what is compared in place of a value, and its parts by field, key or number."""
    if has_fields(type(value)):
        return type(value), dict(_field_values(value))
    if isinstance(value, Mapping):
        return Mapping, {_to_plain(key): part for key, part in value.items()}
    if isinstance(value, AbstractSet):
        return AbstractSet, dict.fromkeys(map(_to_plain, value))
    if isinstance(value, (list, tuple, deque)):
        return (list if isinstance(value, list) else tuple), dict(enumerate(value))
    return _to_plain(value), {}


def _find_name(value: object, place: str, key: object) -> str:
    if not has_fields(type(value)):
        return place
    return f"{place}.{key}" if place else str(key)


def _to_plain(value: Any) -> Any:
    # Python compares times of the hour that a zone repeats as never equal.
    return value.isoformat() if isinstance(value, (datetime, time)) else value


def find_failure(state: object, error: Exception) -> str:
    """Return the name of the first field that is not written or not read; an empty string if it is unknown."""
    model: Any = type(state)
    try:
        if is_pydantic(model):
            wrong = [one["loc"][0] for one in getattr(error, "errors", list)() if one["loc"]]
            unwritten = (name for name in model.model_fields if not _is_written(state, name))
            return next((name for name in (*wrong, *unwritten) if name in model.model_fields), "")
        hints = typing.get_type_hints(model, include_extras=True)
        for field in _declared_fields(model):
            kind = hints[field.name]
            # The values of type variables are known only to cattrs.
            if field.init and not isinstance(kind, typing.TypeVar) and not _is_kept(getattr(state, field.name), kind):
                return str(field.name)
    except Exception:  # noqa: BLE001 - code of the partner
        return ""
    return ""


def _is_written(model: Any, name: str) -> bool:
    try:
        json.dumps(_write_pydantic(model, include={name}), allow_nan=False)
    except Exception:  # noqa: BLE001 - the caller reports the error
        return False
    return True


def _is_kept(value: object, kind: Any) -> bool:
    try:
        read_json(json.loads(write_json(value, kind)), kind)
    except Exception:  # noqa: BLE001 - the caller reports the error
        return False
    return True


def _field_values(value: Any) -> Iterator[tuple[str, object]]:
    if is_pydantic(type(value)):
        yield from ((name, vars(value).get(name)) for name in type(value).model_fields)
        yield "model_extra", value.model_extra
        yield from (value.__pydantic_private__ or {}).items()
    else:
        for field in _declared_fields(type(value)):
            if field.init or (field.eq if attrs.has(type(value)) else field.compare):
                yield field.name, getattr(value, field.name, None)  # it may be absent until the class assigns it


def _declared_fields(model: Any) -> tuple[Any, ...]:
    return attrs.fields(model) if attrs.has(model) else dataclasses.fields(model)
