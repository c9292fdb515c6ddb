"""Action configurations to the partner's own class, and the class to the properties of an action type."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import sys
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, Literal, TypeVar, cast, overload

import attrs
from typing_extensions import NotRequired, TypedDict

from cp_thirdparty import _limits
from cp_thirdparty._class_rules import describe_refusal
from cp_thirdparty._field_types import SUPPORTED, FieldType, PropertyType, find_type, strip_annotation
from cp_thirdparty._frames import hide_arguments
from cp_thirdparty._hooks import MismatchError
from cp_thirdparty.exceptions import ConfigurationError, InvalidRequestError
from cp_thirdparty.models import ActionConfiguration
from cp_thirdparty.secrets import SecretStr

__all__ = [
    "ConfigurationKey",
    "CustomActionProperty",
    "Key",
    "ThirdPartyActionProperty",
    "action_type_properties",
    "check_configuration_class",
    "structure_configuration",
]

_T = TypeVar("_T")


def _check_name(_instance: object, field: attrs.Attribute[Any], value: object) -> None:
    broken = None if value is None else _limits.text(value, _limits.CONFIGURATION_KEY)
    if broken is not None:
        raise InvalidRequestError(field.name, broken)


@attrs.frozen
class ConfigurationKey:
    """
    Describes the configuration key of a field: ``api_key: Annotated[SecretStr, ConfigurationKey("APIKey")]``.

    ``Key`` is the same class under a shorter name.

    Raises:
        cp_thirdparty.exceptions.InvalidRequestError: The name is not a string of 1 to 50 characters.
    """

    name: str | None = attrs.field(default=None, validator=_check_name)
    """The key as the customer sees it; ``None`` for the field's name in PascalCase."""

    description: str | None = attrs.field(default=None, kw_only=True)
    """
    What the customer's console shows about the key.

    .. versionadded:: 0.2.0
    """

    queryable: bool = attrs.field(default=False, kw_only=True)
    """
    Whether polls can ask for jobs by the value.  At most one field is; it must be required and not secret.

    .. versionadded:: 0.2.0
    """

    key: bool = attrs.field(default=False, kw_only=True)
    """
    Whether CodePipeline counts the property as a key.

    .. versionadded:: 0.2.0
    """


Key = ConfigurationKey
"""`ConfigurationKey` under a shorter name."""


@hide_arguments
def structure_configuration(configuration: ActionConfiguration | None, model: type[_T]) -> _T:
    r"""
    Read the partner's own class from an action configuration.

    The key of a field is what a `ConfigurationKey` says, the alias of a pydantic field, or else the field's name in
    PascalCase: ``project_name`` is ``"ProjectName"``.  Values are strings and are converted strictly:

    ==============================  =========================================================
    field type                      strings that it accepts
    ==============================  =========================================================
    ``SecretStr``, ``str``          any; a ``str`` is not hidden
    ``int``                         ``-?`` and 1 to 18 of the digits 0 to 9
    ``float``                       a finite decimal number, such as ``-0.5`` or ``1e3``
    ``bool``                        ``true`` or ``false``, in any case
    ``datetime.timedelta``          a decimal number of seconds, at least 0
    an enum, ``Literal``            one of its values, which must be strings
    ``list[X]``, ``tuple[X, ...]``  items of these types, separated by commas.  Spaces around
                                    an item are dropped, ``\,`` is a comma in an item, ``\\``
                                    is a backslash.  The empty string is the empty list.
    ==============================  =========================================================

    Each may be ``| None``, which also makes the key optional, as a default does.  `typing.NewType` and ``Annotated`` of
    these types are the same types.  Unknown keys are ignored.  A pydantic model may also have pydantic's own secrets,
    URLs and addresses, such as ``pydantic.SecretStr`` and ``pydantic.HttpUrl``.

    Args:
        configuration: The configuration of a job; ``None`` counts as an empty one.

        model: An attrs class, a dataclass or a model of pydantic 2.

    Raises:
        cp_thirdparty.exceptions.ConfigurationError: Keys are missing, or values do not fit or are refused by a
            validator of the class.  It lists every problem by key, and never a value.  The class may raise it too, as
            well as `cp_thirdparty.JobFailedError`; such an error is raised as it is.

        TypeError: The class cannot be filled from strings, which is seen at its first use, whatever the values; or the
            configuration is not a `cp_thirdparty.models.ActionConfiguration`.

        NameError: A name in an annotation of the class is not known where the class is defined.
    """
    if not isinstance(configuration, (ActionConfiguration, types.NoneType)):
        raise TypeError("structure_configuration() takes an ActionConfiguration or None")
    fields = _fields_of(model)
    arguments, problems = _read_fields(fields, {} if configuration is None else configuration.configuration)
    if problems:
        raise ConfigurationError(problems)
    try:
        return model(**arguments)
    except Exception as error:  # noqa: BLE001 - code of the partner
        failure = error
    keys = {name: field.key for field in fields for name in (field.name, field.argument)}
    raise describe_refusal(model, arguments, keys, failure)


def check_configuration_class(model: Any) -> None:
    """
    Check that `structure_configuration` can fill a class, without creating an object of it.

    `cp_thirdparty.JobWorker` and `cp_thirdparty.worker.JobProcessor` call it.

    Args:
        model: An attrs class, a dataclass or a model of pydantic 2.

    Raises:
        TypeError: It cannot, whatever the values.  The message names the field.

        NameError: A name in an annotation of the class is not known where the class is defined.

    .. versionadded:: 0.2.0
    """
    _fields_of(model)


class CustomActionProperty(TypedDict):
    """
    An item of ``configurationProperties`` of ``CreateCustomActionType``.

    .. versionadded:: 0.2.0
    """

    name: str
    required: bool
    key: bool
    secret: bool
    queryable: NotRequired[bool]
    description: NotRequired[str]
    type: NotRequired[PropertyType]


class ThirdPartyActionProperty(TypedDict):
    """
    An item of ``properties`` of ``UpdateActionType``.

    .. versionadded:: 0.2.0
    """

    name: str
    optional: bool
    key: bool
    noEcho: bool
    queryable: NotRequired[bool]
    description: NotRequired[str]


@overload
def action_type_properties(model: type[Any], *, for_: Literal["custom"]) -> list[CustomActionProperty]: ...


@overload
def action_type_properties(model: type[Any], *, for_: Literal["third-party"]) -> list[ThirdPartyActionProperty]: ...


def action_type_properties(
    model: type[Any], *, for_: Literal["custom", "third-party"]
) -> list[CustomActionProperty] | list[ThirdPartyActionProperty]:
    """
    Return the properties that an action type needs, so that its configuration fills a class.

    A field without a default that may not be ``None`` is required.  A field of a secret type, such as `SecretStr`, is
    secret: CodePipeline shows its value to the worker only.

    Args:
        model: The class, as for `structure_configuration`.

        for_: ``"custom"`` for ``configurationProperties`` of ``CreateCustomActionType``, ``"third-party"`` for
            ``properties`` of ``UpdateActionType``.

    Raises:
        cp_thirdparty.exceptions.InvalidRequestError: The class breaks a limit of the service: at most 10 properties;
            1 to 50 characters of a name; 1 to 160 characters of a description, 250 for third-party actions; at most
            one queryable property, which is required and not secret.

        ValueError: ``for_`` is neither word.

        TypeError: As `check_configuration_class`.

        NameError: As `check_configuration_class`.

    .. versionadded:: 0.2.0
    """
    if for_ not in _DESCRIPTION_LENGTHS:
        raise ValueError('for_ must be "custom" or "third-party"')
    fields = _fields_of(model)
    broken = list(_broken_limits(fields, _DESCRIPTION_LENGTHS[for_]))
    if broken:
        raise InvalidRequestError(model.__qualname__, "; ".join(broken))
    if for_ == "custom":
        return [_custom_property(field) for field in fields]
    return [_third_party_property(field) for field in fields]


_DESCRIPTION_LENGTHS: Final[Mapping[str, int]] = {
    "custom": _limits.CUSTOM_PROPERTY_DESCRIPTION,
    "third-party": _limits.PROPERTY_DESCRIPTION,
}


def _broken_limits(fields: tuple[_Field, ...], most_characters: int) -> Iterator[str]:
    if len(fields) > _limits.MAX_PROPERTIES:
        yield f"has {len(fields)} fields, and an action type has at most {_limits.MAX_PROPERTIES} properties"
    for field in fields:
        broken = _limits.text(field.key, _limits.CONFIGURATION_KEY)
        if broken is not None:
            yield f"{field.name}: its key {broken}"
        text = field.description.description
        broken = None if text is None else _limits.text(text, most_characters)
        if broken is not None:
            yield f"{field.name}: its description {broken}"
    queryable = [field for field in fields if field.description.queryable]
    if len(queryable) > 1:
        yield f"at most one key is queryable, not {', '.join(field.key for field in queryable)}"
    for field in queryable:
        if not field.is_required or field.type.is_secret:
            yield f"{field.name}: a queryable key must be required and not secret"


def _custom_property(field: _Field) -> CustomActionProperty:
    described: CustomActionProperty = {
        "name": field.key,
        "required": field.is_required,
        "key": field.description.key,
        "secret": field.type.is_secret,
        "queryable": field.description.queryable,
        "type": field.type.property_type,
    }
    if field.description.description is not None:
        described["description"] = field.description.description
    return described


def _third_party_property(field: _Field) -> ThirdPartyActionProperty:
    described: ThirdPartyActionProperty = {
        "name": field.key,
        "optional": not field.is_required,
        "key": field.description.key,
        "noEcho": field.type.is_secret,
        "queryable": field.description.queryable,
    }
    if field.description.description is not None:
        described["description"] = field.description.description
    return described


@attrs.frozen(kw_only=True)
class _Field:
    """
    A field of a configuration class.

    Attributes:
        name: Its name.

        argument: Name of the argument of the constructor.

        key: What the customer knows it as.

        type: How it is read.

        description: What a `ConfigurationKey` says.

        make_absent: Returns the value for an absent key; ``None`` if the constructor has a default for it.

        is_required: Whether an absent key is an error.
    """

    name: str
    argument: str
    key: str
    type: FieldType
    description: ConfigurationKey
    make_absent: Callable[[], Any] | None
    is_required: bool


def _read_fields(fields: Iterable[_Field], values: Mapping[str, SecretStr]) -> tuple[dict[str, Any], list[str]]:
    arguments: dict[str, Any] = {}
    problems: list[str] = []
    for field in fields:
        if field.key in values:
            try:
                arguments[field.argument] = field.type.read(values[field.key].get_secret_value())
            except MismatchError as error:
                problems.append(f"{field.key}: {error.rule}")
        elif field.is_required:
            problems.append(f"{field.key}: required key missing")
        elif field.make_absent is not None:
            arguments[field.argument] = field.make_absent()
    return arguments, problems


def _fields_of(model: Any) -> tuple[_Field, ...]:
    """
    Return the fields of a configuration class.

    Raises:
        TypeError: The class cannot be filled from strings.

        NameError: A name in an annotation of the class is not known.
    """
    if not isinstance(model, type):
        raise TypeError(f"the class must be {_CLASSES}, not {_describe_object(model)}")
    return _fields_of_class(model)


_CLASSES: Final = "an attrs class, a dataclass or a pydantic model"


def _describe_object(model: object) -> str:
    origin = typing.get_origin(model)
    if isinstance(origin, type):
        return f"{origin.__qualname__}[...]: derive a class from it"
    return f"an object of type {type(model).__name__}"


@functools.lru_cache(maxsize=256)
def _fields_of_class(model: type[Any]) -> tuple[_Field, ...]:
    declared = _declared_fields(model)
    if declared is None:
        raise TypeError(
            f"the class must be {_CLASSES}, not {model.__qualname__}; TypedDict and other classes are not supported"
        )
    fields = tuple(_field(model, one) for one in declared)
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
class _Declared:
    """What a class of any kind says about a field."""

    name: str
    argument: str
    annotation: Any
    extras: tuple[Any, ...] = ()
    has_default: bool
    alias: str | None = None
    make_default: Callable[[], Any] | None = None


def _declared_fields(model: Any) -> Iterable[_Declared] | None:
    """Return what a class says about its fields; ``None`` if it is a class of another kind."""
    if _is_pydantic(model):
        return _pydantic_fields(model)
    name: str = model.__qualname__
    if not (attrs.has(model) or dataclasses.is_dataclass(model)):
        return None
    hints = typing.get_type_hints(model, include_extras=True)
    if any(isinstance(hint, dataclasses.InitVar) for hint in hints.values()):
        raise TypeError(f"{name}: a configuration class has no InitVar")
    return [
        _Declared(name=field, argument=argument, annotation=hints.get(field), has_default=has_default)
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
    """Return whether a class is a model of pydantic 2, without importing pydantic: its models need it loaded."""
    base = getattr(sys.modules.get("pydantic"), "BaseModel", None)
    return base is not None and issubclass(model, base) and hasattr(base, "model_fields")


def _pydantic_fields(model: Any) -> Iterator[_Declared]:
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
        # An object of settings fills absent fields from the environment of the worker, which is not the customer's.
        is_known = has_default and not field.default_factory_takes_validated_data
        default = functools.partial(field.get_default, call_default_factory=True)
        yield _Declared(
            name=name,
            argument=cast("str", alias) if by_alias else name,
            annotation=field.annotation,
            extras=tuple(field.metadata),
            has_default=has_default,
            alias=alias,
            make_default=default if reads_environment and is_known else None,
        )


def _field(model: type[Any], declared: _Declared) -> _Field:
    place = f"{model.__qualname__}.{declared.name}"
    bare, extras, is_optional = strip_annotation(declared.annotation)
    found = find_type(bare) or (_pydantic_type(bare) if _is_pydantic(model) else None)
    if isinstance(bare, TypeVar):
        raise TypeError(f"{place}: {bare.__name__} is a type variable; derive a class that gives the field a type")
    if found is None:
        raise TypeError(f"{place}: {SUPPORTED}")
    description = _description(place, (*extras, *declared.extras))
    return _Field(
        name=declared.name,
        argument=declared.argument,
        key=description.name or declared.alias or _pascal_case(declared.name),
        type=found,
        description=description,
        make_absent=declared.make_default if declared.has_default else _none,
        is_required=not (is_optional or declared.has_default),
    )


def _none() -> None:
    return None


def _description(place: str, extras: Iterable[Any]) -> ConfigurationKey:
    """Return the outermost `ConfigurationKey`."""
    found = [extra for extra in extras if isinstance(extra, ConfigurationKey)]
    wrong = [extra for extra in extras if isinstance(extra, str) or extra is ConfigurationKey]
    if wrong and not found:
        raise TypeError(f'{place}: write Annotated[..., ConfigurationKey("Name")] to name the key of a field')
    return found[-1] if found else ConfigurationKey()


def _pydantic_type(bare: Any) -> FieldType | None:
    """Return how pydantic's secrets, URLs and addresses are read: pydantic itself reads them from a string."""
    place = (getattr(bare, "__module__", None), getattr(bare, "__name__", None))
    is_secret = place in {("pydantic.types", "SecretStr"), ("pydantic.types", "SecretBytes")}
    return FieldType(str, is_secret=is_secret) if is_secret or place[0] == "pydantic.networks" else None


def _pascal_case(name: str) -> str:
    return "".join(word[:1].upper() + word[1:] for word in name.split("_"))
