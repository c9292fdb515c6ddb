"""Action configurations to the partner's own class: its fields, their keys, how a text becomes a field's type."""

from __future__ import annotations

import dataclasses
import enum
import functools
import math
import re
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, Literal, TypeVar, cast

import attrs
from cattrs import Converter
from cattrs.errors import ClassValidationError
from cattrs.gen import make_dict_structure_fn, override

from cp_thirdparty._frames import hide_arguments
from cp_thirdparty._hooks import Hook, MismatchError
from cp_thirdparty.exceptions import ConfigurationError
from cp_thirdparty.models import ActionConfiguration
from cp_thirdparty.secrets import SecretStr

__all__ = ["Key", "check_configuration_class", "structure_configuration"]

_T = TypeVar("_T")

# int() itself takes "٤٥" and "4_5", and a text of any length.
_INTEGER = re.compile(r"-?[0-9]{1,18}")
_FLOAT = re.compile(r"[+-]?[0-9]{1,400}(\.[0-9]{1,400})?([eE][+-]?[0-9]{1,4})?")
_BOOLS = {"true": True, "false": False}


@attrs.frozen
class Key:
    """
    Names the configuration key of a field: ``api_key: Annotated[SecretStr, Key("APIKey")]``.

    Attributes:
        name: The key as the customer sees it.
    """

    name: str


@hide_arguments
def structure_configuration(configuration: ActionConfiguration | None, model: type[_T]) -> _T:
    """
    Read the partner's own class from an action configuration.

    The key of a field is its PascalCase (``project_name`` is ``"ProjectName"``) or what a `Key` says.  Values are texts
    and are converted strictly:

    ========================  ==========================================================
    field type                texts that it takes
    ========================  ==========================================================
    ``SecretStr``, ``str``    any; ``str`` takes the value out of hiding
    ``int``                   ``-?`` and 1 to 18 of the digits 0 to 9
    ``float``                 a finite decimal number, such as ``-0.5`` or ``1e3``
    ``bool``                  ``true`` or ``false``, in any case
    an enum, ``Literal``      one of its values, which must be texts
    ========================  ==========================================================

    Each may be ``| None``, which also makes the key optional, as a default does.  Unknown keys are ignored.

    Args:
        configuration: The configuration of a job; ``None`` counts as an empty one.

        model: An attrs class or a dataclass.

    Raises:
        cp_thirdparty.exceptions.ConfigurationError: Keys are missing or values do not fit.  It lists every problem by
            key, and never a value.

        TypeError: The class cannot be filled from texts, which is seen at its first use, whatever the values; or the
            configuration is no `cp_thirdparty.models.ActionConfiguration`.

        NameError: A name in an annotation of the class is not known where the class is defined.
    """
    if not isinstance(configuration, (ActionConfiguration, types.NoneType)):
        raise TypeError("structure_configuration() takes an ActionConfiguration or None")
    value, problems = _structured_configuration(configuration, model)
    if value is None:
        raise ConfigurationError(problems)
    return value


def check_configuration_class(model: Any) -> None:
    """
    Check that `structure_configuration` can fill a class, without creating an object of it.

    `cp_thirdparty.JobWorker` and `cp_thirdparty.worker.JobProcessor` call it.

    Args:
        model: An attrs class or a dataclass.

    Raises:
        TypeError: It cannot, whatever the values.  The message names the field.

        NameError: A name in an annotation of the class is not known where the class is defined.

    .. versionadded:: 0.2.0
    """
    _fields_of(model)  # before the cache, which takes only what has a hash
    _configuration_hook(model)


def _structured_configuration(
    configuration: ActionConfiguration | None, model: type[_T]
) -> tuple[_T | None, tuple[str, ...]]:
    fields, structure_fields = _configuration_hook(cast("Any", model))
    values: dict[str, SecretStr | None] = {field.key: None for field in fields if field.may_be_absent}
    if configuration is not None:
        values.update(configuration.configuration)
    try:
        return structure_fields(values, model), ()
    except ClassValidationError as error:
        return None, tuple(_configuration_problems(error, {field.name: field.key for field in fields}))


@functools.lru_cache(maxsize=256)
def _configuration_hook(model: type[Any]) -> tuple[tuple[_Field, ...], Hook]:
    fields = _fields_of(model)
    overrides = {field.name: override(rename=field.key, struct_hook=field.read) for field in fields}
    converter = Converter(detailed_validation=True)
    return fields, make_dict_structure_fn(model, converter, **overrides)  # type: ignore[arg-type] # of all fields


def _configuration_problems(error: ClassValidationError, keys: Mapping[str, str]) -> Iterator[str]:
    with_field, others = error.group_exceptions()
    for inner, field in with_field:
        if isinstance(inner, MismatchError):
            yield f"{keys[field.name]}: {inner.rule}"
        elif isinstance(inner, KeyError):
            yield f"{keys[field.name]}: required key missing"
        else:
            others.append(inner)
    for inner in others:
        # The class's own code, which may use cattrs itself: its texts may hold the value.
        yield f"the class refused the values ({type(inner).__name__})"


@attrs.frozen(kw_only=True)
class _Field:
    """One field of a configuration class."""

    name: str
    key: str
    may_be_absent: bool
    read: Hook


def _fields_of(model: type[Any]) -> tuple[_Field, ...]:
    """
    Tell the fields of a configuration class.

    Raises:
        TypeError: It is no attrs class or dataclass, a field's type cannot be read from a text, or two fields have one
            key.
    """
    if not (isinstance(model, type) and (attrs.has(model) or dataclasses.is_dataclass(model))):
        name = model.__qualname__ if isinstance(model, type) else f"an object of type {type(model).__name__}"
        raise TypeError(
            f"the class must be an attrs class or a dataclass, not {name}; pydantic models, TypedDict and other "
            "classes are not supported"
        )
    hints = typing.get_type_hints(model, include_extras=True)
    if any(isinstance(hint, dataclasses.InitVar) for hint in hints.values()):
        raise TypeError(f"{model.__qualname__}: a configuration class has no InitVar")
    fields = tuple(
        _field(model, name, hints.get(name), has_default=has_default) for name, has_default in _init_fields(model)
    )
    twins = {field.key for field in fields if sum(other.key == field.key for other in fields) > 1}
    if twins:
        raise TypeError(f"{model.__qualname__}: more than one field has the key {', '.join(sorted(twins))}")
    return fields


def _init_fields(model: type[Any]) -> Iterator[tuple[str, bool]]:
    if attrs.has(model):
        yield from ((field.name, field.default is not attrs.NOTHING) for field in attrs.fields(model) if field.init)
    else:
        for field in dataclasses.fields(model):
            if field.init:
                missing = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
                yield field.name, not missing


def _field(model: type[Any], name: str, annotation: Any, *, has_default: bool) -> _Field:
    bare, key, optional = _bare(annotation)
    read = _reader(bare)
    if read is None:
        raise TypeError(
            f"{model.__qualname__}.{name}: a configuration field is str, SecretStr, int, float, bool, an enum or a "
            "Literal of texts, or one of them | None"
        )
    return _Field(
        name=name,
        key=_pascal_case(name) if key is None else key.name,
        may_be_absent=optional and not has_default,
        read=_optional(read) if optional else read,
    )


def _optional(read: Hook) -> Hook:
    def read_optional(value: SecretStr | None, annotation: Any) -> Any:
        return None if value is None else read(value, annotation)

    return read_optional


def _pascal_case(name: str) -> str:
    return "".join(word[:1].upper() + word[1:] for word in name.split("_"))


def _bare(annotation: Any) -> tuple[Any, Key | None, bool]:
    """Take ``Annotated`` and ``| None`` off, however they are nested; the outermost key counts."""
    if typing.get_origin(annotation) is Annotated:
        inner, *extras = typing.get_args(annotation)
        bare, key, optional = _bare(inner)
        keys = [extra for extra in extras if isinstance(extra, Key)]
        return bare, keys[-1] if keys else key, optional
    members = [member for member in typing.get_args(annotation) if member is not types.NoneType]
    if typing.get_origin(annotation) in (types.UnionType, typing.Union) and len(members) == 1:
        bare, key, _ = _bare(members[0])
        return bare, key, True
    return annotation, None, False


def _reader(annotation: Any) -> Hook | None:
    if annotation in _READERS:
        return _READERS[annotation]
    if typing.get_origin(annotation) is Literal:
        choices = {choice: choice for choice in typing.get_args(annotation)}
    elif isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        choices = {member.value: member for member in annotation.__members__.values()}
    else:
        return None
    return _choice_reader(choices) if all(isinstance(choice, str) for choice in choices) else None


def _choice_reader(choices: dict[str, _T]) -> Callable[[SecretStr, Any], _T]:
    def read_choice(value: SecretStr, _: Any) -> _T:
        text = value.get_secret_value()
        if text not in choices:
            raise MismatchError(f"must be one of: {', '.join(map(str.__str__, choices))}")
        return choices[text]

    return read_choice


def _read_secret(value: SecretStr, _: Any) -> SecretStr:
    return value


def _read_str(value: SecretStr, _: Any) -> str:
    return value.get_secret_value()


def _read_int(value: SecretStr, _: Any) -> int:
    text = value.get_secret_value()
    if not _INTEGER.fullmatch(text):
        raise MismatchError("must be a whole number of at most 18 digits")
    return int(text)


def _read_float(value: SecretStr, _: Any) -> float:
    text = value.get_secret_value()
    number = float(text) if _FLOAT.fullmatch(text) else math.inf
    if not math.isfinite(number):
        raise MismatchError("must be a finite decimal number")
    return number


def _read_bool(value: SecretStr, _: Any) -> bool:
    text = value.get_secret_value().lower()
    if text not in _BOOLS:
        raise MismatchError("must be true or false")
    return _BOOLS[text]


_READERS: dict[Any, Hook] = {
    SecretStr: _read_secret,
    str: _read_str,
    int: _read_int,
    float: _read_float,
    bool: _read_bool,
}
