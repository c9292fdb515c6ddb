"""Find the fields of a configuration class, with names, keys, types and defaults: attrs, dataclasses or pydantic."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import sys
import types
import typing
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, TypeVar, cast

import attrs

from cp_thirdparty._structuring.field_types import SUPPORTED, FieldType, find_type, strip_annotation


@attrs.frozen(kw_only=True)
class Field:
    """A field of a configuration class."""

    name: str
    argument: str  # the name of the constructor's argument
    key: str  # the configuration key that the customer knows
    type: FieldType
    description: Any  # a `ConfigurationKey`
    make_absent: Callable[[], Any] | None  # None if the constructor has a default for an absent key
    is_required: bool


def fields_of(model: Any, key_class: Any) -> tuple[Field, ...]:
    """Return the fields of a configuration class; ``key_class`` is `ConfigurationKey`, which ``Annotated`` may have."""
    if not isinstance(model, type):
        raise TypeError(f"the class must be {_CLASSES}, not {_describe_object(model)}")
    return _fields_of_class(model, key_class)


_CLASSES: Final = "an attrs class, a dataclass or a pydantic model"


def _describe_object(model: object) -> str:
    origin = typing.get_origin(model)
    if isinstance(origin, type):
        return f"{origin.__qualname__}[...]: derive a class from it"
    return f"an object of type {type(model).__name__}"


@functools.lru_cache(maxsize=256)
def _fields_of_class(model: type[Any], key_class: Any) -> tuple[Field, ...]:
    declared = _declared_fields(model)
    if declared is None:
        raise TypeError(
            f"the class must be {_CLASSES}, not {model.__qualname__}; TypedDict and other classes are not supported"
        )
    fields = tuple(_field(model, one, key_class) for one in declared)
    twins = {field.key for field in fields if sum(other.key == field.key for other in fields) > 1}
    if twins:
        raise TypeError(f"{model.__qualname__}: more than one field has the key {', '.join(sorted(twins))}")
    if inspect.isabstract(model):
        raise TypeError(f"{model.__qualname__}: the class is abstract")
    if not _is_pydantic(model) and not _takes(model, {field.argument for field in fields}):
        raise TypeError(f"{model.__qualname__}: its __init__ must take the fields by name, and nothing else")
    return fields


def _takes(model: type[Any], arguments: Iterable[str]) -> bool:
    try:
        inspect.signature(model).bind(**dict.fromkeys(arguments))
    except TypeError:
        return False
    return True


@attrs.frozen(kw_only=True)
class _Declaration:
    """The declaration of a field, in the same form for all kinds of classes."""

    name: str
    argument: str
    annotation: Any
    extras: tuple[Any, ...] = ()
    has_default: bool
    alias: str | None = None
    make_default: Callable[[], Any] | None = None


def _declared_fields(model: Any) -> Iterable[_Declaration] | None:
    """Return the declarations of the fields of a class; ``None`` if this kind of class is not supported."""
    if _is_pydantic(model):
        return _pydantic_fields(model)
    name: str = model.__qualname__
    if not (attrs.has(model) or dataclasses.is_dataclass(model)):
        return None
    hints = typing.get_type_hints(model, include_extras=True)
    if any(isinstance(hint, dataclasses.InitVar) for hint in hints.values()):
        raise TypeError(f"{name}: a configuration class has no InitVar")
    return [
        _Declaration(name=field, argument=argument, annotation=hints.get(field), has_default=has_default)
        for field, argument, has_default in _init_fields(model)
    ]


def _init_fields(model: Any) -> Iterator[tuple[str, str, bool]]:
    if attrs.has(model):
        for field in attrs.fields(model):
            if field.init:
                yield field.name, field.alias or field.name, field.default is not attrs.NOTHING
    else:
        for item in dataclasses.fields(model):
            if item.init:
                missing = item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
                yield item.name, item.name, not missing


def _is_pydantic(model: type[Any]) -> bool:
    """Return whether a class is a model of pydantic 2.  If pydantic is not imported yet, there is no such class."""
    base = getattr(sys.modules.get("pydantic"), "BaseModel", None)
    return base is not None and issubclass(model, base) and hasattr(base, "model_fields")


def _pydantic_fields(model: Any) -> Iterator[_Declaration]:
    if model.__pydantic_root_model__:
        raise TypeError(f"{model.__qualname__}: a RootModel has no fields")
    model.model_rebuild()  # an annotation may name a class that was defined later
    reads_environment = hasattr(model, "settings_customise_sources")
    for name, field in model.model_fields.items():
        alias = field.validation_alias
        if not isinstance(alias, (str, types.NoneType)):
            raise TypeError(f"{model.__qualname__}.{name}: the alias of a configuration field must be a string")
        by_alias = alias is not None and model.model_config.get("validate_by_alias") is not False
        has_default = not field.is_required()
        # A pydantic settings class would read absent fields from the worker's environment variables.  The customer has
        # not set these, so the default of the field is passed to the constructor.
        is_known = has_default and not field.default_factory_takes_validated_data
        default = functools.partial(field.get_default, call_default_factory=True)
        yield _Declaration(
            name=name,
            argument=cast("str", alias) if by_alias else name,
            annotation=field.annotation,
            extras=tuple(field.metadata),
            has_default=has_default,
            alias=alias,
            make_default=default if reads_environment and is_known else None,
        )


def _field(model: type[Any], declared: _Declaration, key_class: Any) -> Field:
    place = f"{model.__qualname__}.{declared.name}"
    bare, extras, is_optional = strip_annotation(declared.annotation)
    found = find_type(bare) or (_pydantic_type(bare) if _is_pydantic(model) else None)
    if isinstance(bare, TypeVar):
        raise TypeError(f"{place}: {bare.__name__} is a type variable; derive a class that gives the field a type")
    if found is None:
        raise TypeError(f"{place}: {SUPPORTED}")
    description = _description(place, (*extras, *declared.extras), key_class)
    return Field(
        name=declared.name,
        argument=declared.argument,
        key=description.name or declared.alias or _pascal_case(declared.name),
        type=found,
        description=description,
        make_absent=declared.make_default if declared.has_default else types.NoneType,
        is_required=not (is_optional or declared.has_default),
    )


def _description(place: str, extras: Iterable[Any], key_class: Any) -> Any:
    """Return the outermost `ConfigurationKey`."""
    found = [extra for extra in extras if isinstance(extra, key_class)]
    wrong = [extra for extra in extras if isinstance(extra, str) or extra is key_class]
    if wrong and not found:
        raise TypeError(f'{place}: write Annotated[..., ConfigurationKey("Name")] to name the key of a field')
    return found[-1] if found else key_class()


def _pydantic_type(bare: Any) -> FieldType | None:
    """Return the type ``str`` for pydantic's secrets, URLs and addresses, because pydantic converts the strings."""
    place = (getattr(bare, "__module__", None), getattr(bare, "__name__", None))
    is_secret = place in {("pydantic.types", "SecretStr"), ("pydantic.types", "SecretBytes")}
    return FieldType(str, is_secret=is_secret) if is_secret or place[0] == "pydantic.networks" else None


def _pascal_case(name: str) -> str:
    return "".join(word[:1].upper() + word[1:] for word in name.split("_"))
