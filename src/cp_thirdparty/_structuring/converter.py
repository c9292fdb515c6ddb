"""
The cattrs converter of this library: read a document into a model and report each problem with its path, or write it.

The hooks check the type of each value strictly, and use functions that cattrs generates, for speed.  They implement the
service's rules for names and absent members, and do not depend on single models.  If a value breaks a rule, a hook
raises `MismatchError`, which contains the rule and never the value.  A path contains only the service's member names.
"""

from __future__ import annotations

import functools
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from operator import attrgetter
from typing import Any, TypeVar, cast

import attrs
from cattrs import Converter
from cattrs.errors import ClassValidationError, IterableValidationError
from cattrs.gen import make_dict_structure_fn_from_attrs, make_dict_unstructure_fn, override

from cp_thirdparty._base.limits import is_unicode
from cp_thirdparty.enums import (
    ActionCategory,
    ActionOwner,
    ArtifactLocationType,
    EncryptionKeyType,
    FailureType,
    JobStatus,
)
from cp_thirdparty.exceptions import InvalidRequestError
from cp_thirdparty.secrets import SecretMapping, SecretStr

_T = TypeVar("_T")

# A structure hook of cattrs: (value, type) -> structured value.
Hook = Callable[[Any, Any], Any]

# The maximum number of items of a list that are read at once to find all problems.  A list may have millions of items,
# and each item takes a kilobyte and 9 µs.
_MAX_PART_LENGTH = 1_000


class MismatchError(ValueError):
    """A value breaks a rule.  The error contains the rule and not the value.  Users of the library never get it."""

    def __init__(self, rule: str) -> None:
        super().__init__()
        self.rule = rule


@functools.cache
def make_converter(*, detailed: bool) -> Converter:
    """Create the fast converter, or, if ``detailed``, the slower one that reports all problems with their paths."""
    converter = Converter(detailed_validation=detailed)
    leaves: dict[Any, Hook] = {str: _text, int: _integer, datetime: _time}
    leaves[FailureType] = _failure_type
    for enum in (ActionCategory, ActionOwner, ArtifactLocationType, EncryptionKeyType, JobStatus):
        leaves[enum] = _open_enum(enum)
        converter.register_unstructure_hook(enum, attrgetter("value"))
    for leaf, hook in leaves.items():
        converter.register_structure_hook(leaf, hook)
    converter.register_unstructure_hook(FailureType, attrgetter("value"))
    converter.register_unstructure_hook(datetime, _utc)
    converter.register_unstructure_hook(SecretStr, lambda secret: secret)  # `write` masks or reveals it
    _register_shapes(converter)
    return converter


def _register_shapes(converter: Converter) -> None:
    """Register hook factories, which create the hook of a class or a container when it is first used."""

    def optional(annotation: Any) -> Hook:
        inner = typing.get_args(annotation)[0]
        if attrs.has(inner):
            return _object(inner, converter, optional=True)
        return _OPTIONAL_LEAVES.get(inner) or _or_none(converter.get_structure_hook(inner))

    def unstructure_members(model: Any) -> Callable[[Any], Any]:
        return make_dict_unstructure_fn(model, converter, _cattrs_omit_if_default=True, **_renames(attrs.fields(model)))

    converter.register_structure_hook_factory(attrs.has, lambda model: _object(model, converter))
    converter.register_structure_hook_factory(_is_optional, optional)
    converter.register_structure_hook_factory(_is_tuple, lambda kind: _list(typing.get_args(kind)[0], converter))
    converter.register_structure_hook_factory(_is_mapping, lambda _: _secrets)
    converter.register_unstructure_hook_factory(attrs.has, unstructure_members)
    converter.register_unstructure_hook_factory(_is_mapping, lambda _: dict)


def _utc(value: datetime) -> str:
    return value.astimezone(timezone.utc).isoformat()


def _has_origin(*origins: Any) -> Callable[[Any], bool]:
    return lambda annotation: typing.get_origin(annotation) in origins


_is_optional = _has_origin(types.UnionType, typing.Union)
_is_tuple = _has_origin(tuple)
_is_mapping = _has_origin(Mapping)


def _renames(fields: Sequence[Any]) -> dict[str, Any]:
    return {field.name: override(rename=member_name(field.name)) for field in fields}


@functools.cache
def member_name(field: str) -> str:
    """Return the service's name of a field: the field's name in camelCase."""
    head, *tail = field.split("_")
    return head + "".join(word.capitalize() for word in tail)


def _text(value: Any, _: Any = None) -> str:
    if value.__class__ is str and value.isascii():
        return value
    if not isinstance(value, str):
        raise MismatchError("must be a string")
    if not is_unicode(value):
        raise MismatchError("must not contain lone surrogates")
    return str.__str__(value)


def _text_or_none(value: Any, _: Any) -> str | None:
    # `_or_none(_text)` is not used: most values are optional strings, and a further call for each takes 10 % more time.
    if value.__class__ is str and value.isascii():
        return value
    return None if value is None else _text(value)


def _secret_or_none(value: Any, _: Any) -> SecretStr | None:
    return None if value is None else SecretStr._of_plain(_text(value))  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - as fast as possible


_OPTIONAL_LEAVES: dict[Any, Hook] = {str: _text_or_none, SecretStr: _secret_or_none}


def _secrets(value: Any, _: Any) -> SecretMapping:
    """Check a mapping of strings.  The customer defines its keys, so no error contains a key."""
    if value is None:
        return SecretMapping({})
    if not isinstance(value, dict):
        raise MismatchError("must be an object")
    texts: dict[Any, Any] = value
    for key, text in texts.items():
        if not (key.__class__ is str and text.__class__ is str and key.isascii() and text.isascii()):
            return SecretMapping({_text(key): _text(text) for key, text in texts.items()})
    return SecretMapping._of_plain(texts.copy())  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - as fast as possible


def _integer(value: Any, _: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise MismatchError("must be an integer")
    return value


def _time(value: Any, _: Any) -> datetime:
    """Read ISO 8601 or seconds since 1970, the two ways in which the AWS CLI writes times."""
    if isinstance(value, datetime):
        return value
    try:
        if isinstance(value, str):
            return datetime.fromisoformat(value.removesuffix("Z") + "+00:00" * value.endswith("Z"))
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return datetime.fromtimestamp(value, timezone.utc)
    except (ValueError, OverflowError, OSError):
        pass  # the error holds the value, so it must not be the context of the error below
    raise MismatchError("must be a time")


def _failure_type(value: Any, _: Any) -> FailureType:
    for failure_type in FailureType:
        if failure_type == value:
            return failure_type
    raise MismatchError(f"must be one of {', '.join(FailureType)}")


def _open_enum(enum: Any) -> Hook:
    known: dict[str, Any] = {member.value: member for member in enum}

    def structure_member(value: Any, _: Any) -> Any:
        member = known.get(value) if value.__class__ is str else None
        return enum(_text(value)) if member is None else member

    return structure_member


def _or_none(structure_value: Hook) -> Hook:
    def structure_optional(value: Any, annotation: Any) -> Any:
        return None if value is None else structure_value(value, annotation)

    return structure_optional


def _object(model: Any, converter: Converter, *, optional: bool = False) -> Hook:
    """
    Create the hook of a class; cattrs generates the function that reads its members.

    The hook first adds absent members with the value ``None``, so that the generated function does not need to check
    for each member whether it is present.
    """
    attrs.resolve_types(model)
    fields = attrs.fields(model)
    absent: dict[str, None] = {member_name(field.name): None for field in fields if field.default is not attrs.NOTHING}
    if converter.detailed_validation or any(field.validator for field in fields):
        return _create_init_hook(_members(model, fields, converter), absent, optional=optional)
    return _create_fast_hook(model, converter, absent, optional=optional)


def _check_draft(model: Any) -> None:
    """Raise `TypeError` if ``__init__`` of a class does more than to assign the fields, which a draft would skip."""
    wrong = [
        field.name
        for field in attrs.fields(model)
        if not field.init or field.alias != field.name or not (_has_no_default(field) or _is_container(field.type))
    ]
    if wrong or "__attrs_post_init__" in dir(model) or "__init__" not in vars(model):
        raise TypeError(f"{model.__qualname__}: cannot be read as a draft{': ' if wrong else ''}{', '.join(wrong)}")


def _has_no_default(field: Any) -> bool:
    return field.default in (attrs.NOTHING, None)


def _is_container(annotation: Any) -> bool:
    """Return whether the type is a container, whose default is an empty one; ``None`` in a document means the same."""
    return _is_tuple(annotation) or _is_mapping(annotation)


def _create_fast_hook(model: Any, converter: Converter, absent: dict[str, None], *, optional: bool) -> Hook:
    """
    Create the fast hook, which collects no details of an error.

    The hook assigns the members to a draft: an object of a class that has the same slots and is not frozen.  At the
    end, the class of the object is changed to the model.  The ``__init__`` of a frozen attrs class is not called,
    because it calls ``object.__setattr__`` for each field, which took half of the total time.

    If a mapping has as many keys as the class has fields, the hook assumes that no member is absent.  If the mapping
    has an unknown key and an absent member, this hook fails, and then the slow hook reads the value.
    """
    _check_draft(model)
    fields = attrs.fields(model)
    draft = type(model.__name__, model.__bases__, {"__slots__": [field.name for field in fields]})
    members = [field.evolve(init=False, default=attrs.NOTHING) for field in fields]
    structure_members = _members(draft, members, converter, _cattrs_include_init_false=True)
    complete = len(fields)

    def structure_object(value: Any, _: Any) -> Any:
        if value is None and optional:
            return None
        if not isinstance(value, dict):
            raise MismatchError("must be an object")
        if absent and len(value) != complete:
            value = absent | value
        structured: Any = structure_members(value, model)
        structured.__class__ = model
        return structured

    return structure_object


def _create_init_hook(structure_members: Hook, absent: dict[str, None], *, optional: bool) -> Hook:
    """Create the hook that calls the ``__init__`` of the class, whose validators check the fields."""

    def structure_object(value: Any, annotation: Any) -> Any:
        if value is None and optional:
            return None
        if not isinstance(value, dict):
            raise MismatchError("must be an object")
        return structure_members(absent | value if absent else value, annotation)

    return structure_object


def _members(cls: Any, fields: Sequence[Any], converter: Converter, **options: Any) -> Hook:
    hook: Hook = make_dict_structure_fn_from_attrs(list(fields), cls, converter, **options, **_renames(fields))
    return hook


def _read_in_parts(explain: Hook, items: list[Any], item: Any) -> Iterator[Any]:
    """Read a list in parts, and report only the problems of the first part that has any."""
    start = 0
    try:
        for start in range(0, len(items), _MAX_PART_LENGTH):
            yield from explain(items[start : start + _MAX_PART_LENGTH], list[item])
    except IterableValidationError as failure:
        for _, place in failure.group_exceptions()[0]:
            place.index = start + int(place.index)
        raise


def _list(item: Any, converter: Converter) -> Hook:
    structure_item = converter.get_structure_hook(item)
    explain = converter.get_structure_hook(list[item]) if converter.detailed_validation else None

    def structure_list(value: Any, _: Any) -> tuple[Any, ...]:
        if value is None:
            return ()
        if not isinstance(value, list):
            raise MismatchError("must be a list")
        if explain is not None:
            return tuple(_read_in_parts(explain, value, item))
        return tuple([structure_item(element, item) for element in value])

    return structure_list


# --- documents


def write(model: object, *, is_masked: bool) -> dict[str, Any]:
    """Return a model as a document; each secret is masked or revealed."""
    show = str if is_masked else SecretStr.get_secret_value
    document: dict[str, Any] = _show(make_converter(detailed=False).unstructure(model), show)
    return document


def _show(document: Any, show: Callable[[SecretStr], str]) -> Any:
    if isinstance(document, SecretStr):
        return show(document)
    if isinstance(document, dict):
        return {key: _show(value, show) for key, value in cast("dict[str, Any]", document).items()}
    if isinstance(document, list):
        return [_show(value, show) for value in document]
    return document


def read(data: Any, model: type[_T], path: str = "") -> tuple[_T | None, tuple[str, ...]]:
    """
    Return the model and no problems, or ``None`` and the problems, whose paths start with ``path``.

    This function raises no exception, because the frames, arguments and notes of the caught exceptions hold the data.
    """
    try:
        return make_converter(detailed=False).structure(data, model), ()
    except Exception:  # noqa: BLE001, S110 - the second reading collects each problem with its path
        pass
    try:
        return make_converter(detailed=True).structure(data, model), ()
    except Exception as error:  # noqa: BLE001 - returned as problems
        return None, tuple(_problems(error, path))


def _problems(error: BaseException, path: str) -> Iterator[str]:
    """Yield each problem of cattrs' nested errors as a line that contains only names and rules of this library."""
    if isinstance(error, ClassValidationError):
        with_field, others = error.group_exceptions()
        for inner, field in with_field:
            yield from _problems(inner, _join(path, field.name))
        for inner in others:
            yield from _problems(inner, path)
    elif isinstance(error, IterableValidationError):
        for inner, item in error.group_exceptions()[0]:
            yield from _problems(inner, f"{path}[{item.index}]")
    elif isinstance(error, KeyError):
        yield f"required field missing: {path}"
    elif isinstance(error, InvalidRequestError):
        yield f"{_join(path, error.parameter)}: {error.rule}"
    elif isinstance(error, MismatchError):
        yield f"{path or 'the document'}: {error.rule}"
    else:
        yield f"{path or 'the document'}: cannot be read ({type(error).__name__})"


def _join(path: str, field: str) -> str:
    return f"{path}.{member_name(field)}" if path else member_name(field)
