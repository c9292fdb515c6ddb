"""
Find the fields of a configuration class, their keys and types, and how a string becomes the value of a field.

The class is an attrs class, a dataclass or a pydantic model.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import inspect
import math
import re
import sys
import types
import typing
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import Annotated, Any, Final, Literal, NewType, TypeAlias, TypeVar

import attrs

from cp_thirdparty._base import limits
from cp_thirdparty._structuring.converter import MismatchError
from cp_thirdparty._structuring.model_fields import verify
from cp_thirdparty.secrets import SecretStr

CLASSES: Final = "an attrs class, a dataclass or a pydantic model"

PropertyType: TypeAlias = Literal["String", "Number", "Boolean"]


@attrs.frozen
class ConfigurationKey:
    """
    Describe the configuration key of a field: ``api_key: Annotated[SecretStr, ConfigurationKey("APIKey")]``.

    ``Key`` is the same class under a shorter name.

    Raises:
        cp_thirdparty.exceptions.InvalidRequestError: The name is not a string of 1 to 50 characters.

    .. versionchanged:: 0.2.0
        Added ``description``, ``queryable`` and ``key``; the name may be left out.
    """

    name: str | None = attrs.field(default=None, validator=verify(limits.check_text, limits.CONFIGURATION_KEY))
    """The key as the customer sees it; ``None`` for the field's name in PascalCase."""
    description: str | None = attrs.field(default=None, kw_only=True)
    """The description of the key that the customer reads in the console."""
    queryable: bool = attrs.field(default=False, kw_only=True)
    """
    Whether polls can request only jobs with a given value of this key.  At most one field can be queryable; it must be
    required and not secret.
    """
    key: bool = attrs.field(default=False, kw_only=True)
    """Whether CodePipeline counts the property as a key."""


@attrs.frozen
class FieldType:
    """How a string is converted to the value of a field, and the type of CodePipeline's property for the field."""

    convert: Callable[[str], Any]  # returns ``None``, or raises `MismatchError`, for a string that breaks the rule
    rule: str = ""
    property_type: PropertyType = "String"
    is_secret: bool = False
    item_type: FieldType | None = None  # of a list
    item_metadata: tuple[Any, ...] = ()  # the arguments of Annotated for the items of a list

    def read(self, text: str) -> Any:
        """Return the value of a string; raise `MismatchError` if the string breaks the rule."""
        value = self.convert(text)
        if value is None:
            raise MismatchError(self.rule)
        return value


@attrs.frozen(kw_only=True)
class Field:
    name: str
    argument: str  # the name of the constructor's argument
    key: str  # the configuration key that the customer knows
    type: FieldType
    key_settings: ConfigurationKey
    description: str | None
    metadata: tuple[Any, ...]  # the arguments of Annotated, and the rules of a pydantic field
    is_required: bool
    create_default: Callable[[], Any] | None  # for an absent key; ``None``: the constructor has a default


def fields_of(model: Any) -> tuple[Field, ...]:
    if has_fields(model):
        return _fields_of_class(model)
    origin = typing.get_origin(model)
    kind = f"an object of type {type(model).__name__}"
    if isinstance(model, type):
        kind = f"{model.__qualname__}; TypedDict and other classes are not supported"
    elif isinstance(origin, type):
        kind = f"{origin.__qualname__}[...]: derive a class that gives each of its fields a type"
    raise TypeError(f"the class must be {CLASSES}, not {kind}")


def has_fields(model: Any) -> bool:
    return isinstance(model, type) and (attrs.has(model) or dataclasses.is_dataclass(model) or is_pydantic(model))


def is_pydantic(model: Any) -> bool:
    """Return whether a class is a model of pydantic 2; do not import pydantic."""
    return hasattr(model, "__pydantic_complete__") and hasattr(model, "model_validate_json")


def is_settings(model: Any) -> bool:
    """Return whether a class is a settings class of pydantic-settings."""
    return is_pydantic(model) and hasattr(model, "settings_customise_sources")


def _is_validated(model: Any) -> bool:
    """Return whether pydantic checks the fields of a class: a model, or a dataclass of pydantic."""
    declared = next((each for each in model.__mro__ if "__dataclass_fields__" in vars(each)), model)
    return is_pydantic(model) or "__pydantic_fields__" in vars(declared)


@functools.lru_cache(maxsize=256)
def _fields_of_class(model: Any) -> tuple[Field, ...]:
    name = model.__qualname__
    fields = tuple(_pydantic_fields(model) if _is_validated(model) else _init_fields(model))
    duplicate_keys = {field.key for field in fields if sum(other.key == field.key for other in fields) > 1}
    if duplicate_keys:
        raise TypeError(f"{name}: more than one field has the key {', '.join(sorted(duplicate_keys))}")
    if inspect.isabstract(model):
        raise TypeError(f"{name}: the class is abstract")
    if not is_settings(model):  # `structure_configuration` does not call the `__init__` of settings
        # The signature of a pydantic class describes its fields, and not its `__init__`.
        signature = inspect.signature(functools.partial(model.__init__, None) if _is_validated(model) else model)
        try:
            signature.bind(**{field.argument: None for field in fields})
        except TypeError:
            problem = "its __init__ must accept each field as a keyword argument, and need no other one"
            raise TypeError(f"{name}: {problem}") from None
    return fields


def _init_fields(model: Any) -> Iterator[Field]:
    """Yield the fields of an attrs class or a dataclass that are arguments of its ``__init__``."""
    hints = typing.get_type_hints(model, include_extras=True)
    if any(isinstance(hint, dataclasses.InitVar) for hint in hints.values()):
        raise TypeError(f"{model.__qualname__}: InitVar is not supported; use a normal field")
    declared: Iterable[Any] = attrs.fields(model) if attrs.has(model) else dataclasses.fields(model)
    for field in declared:
        if field.init:
            # Only attrs fields have an alias.  A dataclass stores the factory in `default_factory`, attrs in `default`.
            argument = getattr(field, "alias", None) or field.name
            defaults = (field.default, getattr(field, "default_factory", dataclasses.MISSING))
            has_default = any(one is not attrs.NOTHING and one is not dataclasses.MISSING for one in defaults)
            yield _field(model, field.name, hints.get(field.name), argument, has_default=has_default)


def _pydantic_fields(model: Any) -> Iterator[Field]:
    if is_pydantic(model):
        if model.__pydantic_root_model__:
            raise TypeError(f"{model.__qualname__}: RootModel is not supported; derive the class from BaseModel")
        model.model_rebuild()  # an annotation may name a class that was defined later
        fields, config = model.model_fields, model.model_config
    else:
        sys.modules["pydantic.dataclasses"].rebuild_dataclass(model)
        fields, config = model.__pydantic_fields__, getattr(model, "__pydantic_config__", {})
    for name, field in fields.items():
        if field.init_var:
            raise TypeError(f"{model.__qualname__}: InitVar is not supported; use a normal field")
        alias: Any = field.validation_alias
        if not isinstance(alias, (str, types.NoneType)):
            raise TypeError(f"{model.__qualname__}.{name}: validation_alias must be a string")
        argument = name if alias is None or config.get("validate_by_alias") is False else alias
        annotation = Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation
        if getattr(field, "init", None) is not False:  # new in pydantic 2.7
            has_default = not field.is_required()
            description = field.description
            yield _field(
                model, name, annotation, argument, has_default=has_default, alias=alias, description=description
            )


def _field(
    model: Any,
    name: str,
    annotation: Any,
    argument: str,
    *,
    has_default: bool,
    alias: str | None = None,
    description: str | None = None,
) -> Field:
    place = f"{model.__qualname__}.{name}"
    bare, metadata, is_optional = _strip_annotation(annotation)
    if isinstance(bare, TypeVar):
        raise TypeError(f"{place}: {bare.__name__} is a type variable; derive a class that gives the field a type")
    found = _find_type(bare) or (_pydantic_type(bare) if _is_validated(model) else None)
    if found is None:
        raise TypeError(
            f"{place}: the type is not supported; use str, SecretStr, int, float, bool, timedelta, an enum or a "
            "Literal of strings, a list[X] or tuple[X, ...] of one of them, or one of them | None"
        )
    is_list = found.item_type is not None
    is_ours = (found.item_type if is_list else found) is _TYPES[SecretStr]
    if is_ours and _is_validated(model) and any(map(_is_rule, found.item_metadata if is_list else metadata)):
        raise TypeError(f"{place}: pydantic cannot apply a rule to a SecretStr; use a validator, or pydantic.SecretStr")
    settings = [each for each in metadata if isinstance(each, ConfigurationKey)]
    if not settings and any(isinstance(each, str) or each is ConfigurationKey for each in metadata):
        raise TypeError(f'{place}: Annotated needs a ConfigurationKey; write Annotated[..., ConfigurationKey("Name")]')
    key_settings = settings[-1] if settings else ConfigurationKey()
    return Field(
        name=name,
        argument=argument,
        key=key_settings.name or alias or "".join(word[:1].upper() + word[1:] for word in name.split("_")),
        type=found,
        key_settings=key_settings,
        description=description if key_settings.description is None else key_settings.description,
        metadata=metadata,
        is_required=not has_default and not is_optional,
        create_default=None if has_default else types.NoneType,
    )


def _is_rule(metadata: Any) -> bool:
    """Return whether an argument of Annotated is a rule that pydantic applies to strings, but not to a SecretStr."""
    module, name = type(metadata).__module__, type(metadata).__name__
    is_constant = module == "annotated_types" and name != "Predicate"
    return is_constant or module == "pydantic.types" or module.startswith("pydantic._internal")


# --- types


def _strip_annotation(annotation: Any) -> tuple[Any, tuple[Any, ...], bool]:
    """
    Return a type without ``Annotated`` and ``None``, the arguments of ``Annotated``, and whether it may be ``None``.

    ``Final``, `typing.NewType` and aliases are removed too, also if they are nested in each other.
    """
    metadata: list[Any] = []
    is_optional = False
    while True:
        origin, members = typing.get_origin(annotation), typing.get_args(annotation)
        others = [member for member in members if member is not types.NoneType]
        if origin is Annotated:
            # A `Field` of pydantic has rules of its own.
            given = (each for member in members[1:] for each in (member, *_rules_of(member)))
            annotation, metadata = members[0], [*given, *metadata]  # the outermost argument is the last one
        elif origin in (types.UnionType, typing.Union) and len(others) == 1:
            annotation, is_optional = others[0], True
        elif origin is Final:
            annotation = members[0]
        elif isinstance(annotation, NewType):
            annotation = annotation.__supertype__
        elif type(annotation).__name__ == "TypeAliasType" and origin is None:  # of typing since Python 3.12
            annotation = annotation.__value__
        else:
            return annotation, tuple(metadata), is_optional


def _rules_of(member: Any) -> Iterable[Any]:
    rules: Iterable[Any] = member.metadata if type(member).__module__ == "pydantic.fields" else ()
    return rules


def _find_type(bare: Any) -> FieldType | None:
    """Return the `FieldType` of a type that is not optional; ``None`` if a string cannot be converted to the type."""
    origin: Any = typing.get_origin(bare)
    arguments = typing.get_args(bare)
    if origin is Literal:
        return _choice(dict(zip(arguments, arguments, strict=True)))
    if arguments and (origin, arguments[1:]) in ((list, ()), (tuple, (...,))):
        return _sequence(origin, arguments[0])
    if not isinstance(bare, type) or origin is not None:
        return None
    if issubclass(bare, enum.Enum):
        return _choice({member.value: member for member in bare.__members__.values()})
    return _TYPES.get(bare)


def _pydantic_type(bare: Any) -> FieldType | None:
    """Return a string type for the secrets, URLs, email and IP types of pydantic, which converts the strings."""
    module, name = getattr(bare, "__module__", None), getattr(bare, "__name__", None)
    if module == "pydantic.types" and name in {"SecretStr", "SecretBytes"}:
        # A strict model does not convert a string to bytes.
        return FieldType(str if name == "SecretStr" else str.encode, is_secret=True)
    return FieldType(str) if module == "pydantic.networks" else None


def _choice(choices: dict[Any, Any]) -> FieldType | None:
    if not all(isinstance(choice, str) for choice in choices):
        return None
    return FieldType(choices.get, f"must be one of: {', '.join(map(str.__str__, choices))}")


def _sequence(container: type[Any], item: Any) -> FieldType | None:
    bare, metadata, is_optional = _strip_annotation(item)
    item_type = None if is_optional or typing.get_origin(bare) in (list, tuple) else _find_type(bare)
    if item_type is None:
        return None

    def convert_items(text: str) -> Any:
        values = []
        for number, one in enumerate(_split(text), 1):
            value = item_type.convert(one) if one else None
            if value is None:
                raise MismatchError(f"item {number}: {item_type.rule if one else 'must not be empty'}")
            values.append(value)
        return container(values)

    return FieldType(convert_items, is_secret=item_type.is_secret, item_type=item_type, item_metadata=metadata)


# An item of a list and the comma after it.  The pattern takes linear time: it backtracks by at most one character.
_ITEM: Final = re.compile(r"([^\\,]*(?:\\[\\,]?[^\\,]*)*),")


def _split(text: str) -> list[str]:
    r"""Return the items of a comma-separated list; ``\,`` is a comma in an item, and ``\\`` is a backslash."""
    items = _ITEM.findall(f"{text},") if text.strip() else []
    return [re.sub(r"\\([\\,])", r"\1", item.strip()) for item in items]


# int() itself accepts "٤٥" and "4_5", and a string of any length.
_INTEGER: Final = re.compile(r"-?[0-9]{1,18}")
_FLOAT: Final = re.compile(r"[+-]?[0-9]{1,400}(\.[0-9]{1,400})?([eE][+-]?[0-9]{1,4})?")
_BOOLS: Final = {"true": True, "false": False}
_MAX_SECONDS: Final = 10**10  # about 300 years


def _to_int(text: str) -> int | None:
    return int(text) if _INTEGER.fullmatch(text) else None


def _to_float(text: str, minimum: float = -sys.float_info.max, maximum: float = sys.float_info.max) -> float | None:
    number = float(text) if _FLOAT.fullmatch(text) else math.nan
    return number if minimum <= number <= maximum else None


def _to_timedelta(text: str) -> timedelta | None:
    seconds = _to_float(text, 0, _MAX_SECONDS)
    return None if seconds is None else timedelta(seconds=seconds)


_TYPES: Final[dict[type[Any], FieldType]] = {
    SecretStr: FieldType(SecretStr, is_secret=True),
    str: FieldType(str),
    int: FieldType(_to_int, "must be an integer of at most 18 digits", "Number"),
    float: FieldType(_to_float, "must be a finite decimal number", "Number"),
    bool: FieldType(lambda text: _BOOLS.get(text.lower()), "must be true or false", "Boolean"),
    timedelta: FieldType(_to_timedelta, f"must be a number of seconds from 0 to {_MAX_SECONDS:,}", "Number"),
}
