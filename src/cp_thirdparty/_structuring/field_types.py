"""The types that a field of a configuration class may have, and how a string becomes a value of each of them."""

from __future__ import annotations

import enum
import math
import re
import types
import typing
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Annotated, Any, Final, Literal, NewType, TypeAlias, cast

import attrs

from cp_thirdparty._structuring.converter import MismatchError
from cp_thirdparty.secrets import SecretStr

PropertyType: TypeAlias = Literal["String", "Number", "Boolean"]

SUPPORTED: Final = (
    "a configuration field is str, SecretStr, int, float, bool, timedelta, an enum or a Literal of strings, a list[X] "
    "or tuple[X, ...] of one of them, or one of them | None"
)

# int() itself accepts "٤٥" and "4_5", and a string of any length.
_INTEGER = re.compile(r"-?[0-9]{1,18}")
_FLOAT = re.compile(r"[+-]?[0-9]{1,400}(\.[0-9]{1,400})?([eE][+-]?[0-9]{1,4})?")
_BOOLS = {"true": True, "false": False}
_MAX_SECONDS = 10**10  # about 300 years
# The pattern of an item of a list.  It takes linear time, because no part can match the same string in two ways.
_ITEM = re.compile(r"(?:\\[\\,]|[^,\\]|\\(?![\\,]))*")


@attrs.frozen
class FieldType:
    """How a string is converted to the value of a field, and the type of CodePipeline's property for the field."""

    read: Callable[[str], Any]  # raises `MismatchError`
    property_type: PropertyType = "String"
    is_secret: bool = False


def strip_annotation(annotation: Any) -> tuple[Any, tuple[Any, ...], bool]:
    """
    Return a type without ``Annotated`` and ``None``, the arguments of ``Annotated``, and whether it may be ``None``.

    This function removes ``Annotated``, ``| None``, ``Final``, `typing.NewType` and aliases, also if they are nested.
    Of nested ``Annotated``, the arguments of the outer one are returned after those of the inner one.
    """
    origin = typing.get_origin(annotation)
    if origin is Annotated:
        inner, *extras = typing.get_args(annotation)
        bare, inner_extras, is_optional = strip_annotation(inner)
        return bare, (*inner_extras, *extras), is_optional
    members = [member for member in typing.get_args(annotation) if member is not types.NoneType]
    if origin in (types.UnionType, typing.Union) and len(members) == 1:
        bare, inner_extras, _ = strip_annotation(members[0])
        return bare, inner_extras, True
    if origin is Final:
        return strip_annotation(members[0])
    if isinstance(annotation, NewType):
        return strip_annotation(annotation.__supertype__)
    if type(annotation).__name__ == "TypeAliasType" and origin is None:  # of typing since Python 3.12
        return strip_annotation(annotation.__value__)
    return annotation, (), False


def find_type(bare: Any) -> FieldType | None:
    """Return the `FieldType` of a type that is not optional; ``None`` if a string cannot be converted to the type."""
    origin: Any = typing.get_origin(bare)
    arguments = typing.get_args(bare)
    if origin is Literal:
        return _choice(dict(zip(arguments, arguments, strict=True)))
    if origin is list and len(arguments) == 1:
        return _sequence(list, arguments[0])
    if origin is tuple and len(arguments) == 2 and arguments[1] is ...:  # noqa: PLR2004 - tuple[X, ...]
        return _sequence(tuple, arguments[0])
    if isinstance(bare, type) and origin is None and issubclass(bare, enum.Enum):
        return _choice({member.value: member for member in bare.__members__.values()})
    return _TYPES.get(bare) if isinstance(bare, type) else None


def _choice(choices: dict[Any, Any]) -> FieldType | None:
    if not all(isinstance(choice, str) for choice in choices):
        return None

    def read_choice(text: str) -> Any:
        if text not in choices:
            raise MismatchError(f"must be one of: {', '.join(map(str.__str__, choices))}")
        return choices[text]

    return FieldType(read_choice)


def _sequence(container: Callable[[list[Any]], Any], item: Any) -> FieldType | None:
    bare, _, is_optional = strip_annotation(item)
    item_type = None if is_optional or typing.get_origin(bare) in (list, tuple) else find_type(bare)
    if item_type is None:
        return None

    def read_sequence(text: str) -> Any:
        return container([_read_item(item_type, *one) for one in enumerate(_split(text), 1)])

    return FieldType(read_sequence, is_secret=item_type.is_secret)


def _read_item(item_type: FieldType, number: int, text: str) -> Any:
    if not text:
        raise MismatchError(f"item {number}: must not be empty")
    try:
        return item_type.read(text)
    except MismatchError as error:
        rule = error.rule
    raise MismatchError(f"item {number}: {rule}")


def _split(text: str) -> Iterator[str]:
    r"""Yield the items of a comma-separated list; ``\,`` is a comma in an item, and ``\\`` is a backslash."""
    if not text.strip():
        return
    start = 0
    while start <= len(text):
        item = cast("re.Match[str]", _ITEM.match(text, start))
        yield re.sub(r"\\([\\,])", r"\1", item[0].strip())
        start = item.end() + 1


def _read_int(text: str) -> int:
    if not _INTEGER.fullmatch(text):
        raise MismatchError("must be an integer of at most 18 digits")
    return int(text)


def _read_float(text: str) -> float:
    number = float(text) if _FLOAT.fullmatch(text) else math.inf
    if not math.isfinite(number):
        raise MismatchError("must be a finite decimal number")
    return number


def _read_bool(text: str) -> bool:
    value = _BOOLS.get(text.lower())
    if value is None:
        raise MismatchError("must be true or false")
    return value


def _read_seconds(text: str) -> timedelta:
    number = float(text) if _FLOAT.fullmatch(text) else math.inf
    if not 0 <= number <= _MAX_SECONDS:
        raise MismatchError(f"must be a number of seconds from 0 to {_MAX_SECONDS:,}")
    return timedelta(seconds=number)


_TYPES: dict[type[Any], FieldType] = {
    SecretStr: FieldType(SecretStr, is_secret=True),
    str: FieldType(str),
    int: FieldType(_read_int, "Number"),
    float: FieldType(_read_float, "Number"),
    bool: FieldType(_read_bool, "Boolean"),
    timedelta: FieldType(_read_seconds, "Number"),
}
