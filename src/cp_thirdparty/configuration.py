"""Read action configurations into the partner's own class, and derive the properties of an action type from it."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator, Mapping
from typing import Any, Literal, TypeVar, overload

from typing_extensions import NotRequired, TypedDict

from cp_thirdparty._base import limits
from cp_thirdparty._base.frames import hide_arguments
from cp_thirdparty._structuring.class_rules import describe_refusal
from cp_thirdparty._structuring.configuration_fields import (
    ConfigurationKey,
    Field,
    PropertyType,
    fields_of,
    is_settings,
)
from cp_thirdparty._structuring.converter import MismatchError
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

Key = ConfigurationKey
"""`ConfigurationKey` under a shorter name."""


@hide_arguments
def structure_configuration(configuration: ActionConfiguration | None, model: type[_T]) -> _T:
    r"""
    Read the partner's own class from an action configuration.

    The key of a field is what a `ConfigurationKey` sets, the alias of a pydantic field, or else the field's name in
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
        model: An attrs class, a dataclass or a model of pydantic 2.  A settings class of pydantic-settings reads
            nothing from the environment, and its ``__init__`` is not called.

    Raises:
        cp_thirdparty.exceptions.ConfigurationError: Keys are missing, or values do not fit or are refused by a
            validator of the class.  It lists every problem by key, and never a value.  The class may raise it too, as
            well as `cp_thirdparty.JobFailedError`; such an error is raised as it is.
        TypeError: No strings can fill the class; or the configuration is not a
            `cp_thirdparty.models.ActionConfiguration`.
        NameError: A name in an annotation of the class is not known where the class is defined.
    """
    if not isinstance(configuration, (ActionConfiguration, types.NoneType)):
        raise TypeError("structure_configuration() takes an ActionConfiguration or None")
    fields = fields_of(model)
    values: Mapping[str, SecretStr] = {} if configuration is None else configuration.configuration
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
        elif field.create_default is not None:
            arguments[field.argument] = field.create_default()
    if problems:
        raise ConfigurationError(problems)
    try:
        return _create(model, arguments)
    except Exception as error:  # noqa: BLE001 - code of the partner
        failure = error
    raise describe_refusal(model, arguments, fields, failure)


def _create(model: type[_T], arguments: Mapping[str, Any]) -> _T:
    if not is_settings(model):
        return model(**arguments)
    # The `__init__` of settings would also read the worker's environment, files and command line.
    instance = model.__new__(model)
    sys.modules["pydantic"].BaseModel.__init__(instance, **arguments)
    return instance


def check_configuration_class(model: Any) -> None:
    """
    Check that `structure_configuration` can fill a class, without creating an object of it.

    `cp_thirdparty.JobWorker` and `cp_thirdparty.worker.JobProcessor` call it.

    Args:
        model: An attrs class, a dataclass or a model of pydantic 2.

    Raises:
        TypeError: No configuration can fill the class.  The message names the field.
        NameError: A name in an annotation of the class is not known where the class is defined.

    .. versionadded:: 0.2.0
    """
    fields_of(model)


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
    secret.  For custom actions, CodePipeline returns secret values only to workers.  For third-party actions,
    CodePipeline leaves them out of the logs of CloudTrail.  The description of a property is that of its
    `ConfigurationKey`, or of its pydantic field.

    Args:
        model: The class, as for `structure_configuration`.
        for_: ``"custom"`` for ``configurationProperties`` of ``CreateCustomActionType``, ``"third-party"`` for
            ``properties`` of ``UpdateActionType``.

    Raises:
        cp_thirdparty.exceptions.InvalidRequestError: The class breaks a limit of the service: at most 10 properties;
            1 to 50 characters of a name; 1 to 160 characters of a description, 250 for third-party actions; at most
            one queryable property, which is required and not secret.
        ValueError: ``for_`` is another string.
        TypeError: As `check_configuration_class`.
        NameError: As `check_configuration_class`.

    .. versionadded:: 0.2.0
    """
    if for_ not in ("custom", "third-party"):
        raise ValueError('for_ must be "custom" or "third-party"')
    is_custom = for_ == "custom"
    fields = fields_of(model)
    description_length = limits.CUSTOM_PROPERTY_DESCRIPTION if is_custom else limits.PROPERTY_DESCRIPTION
    broken = "; ".join(_broken_limits(fields, description_length))
    if broken:
        raise InvalidRequestError(model.__qualname__, broken)
    return [_property(field, is_custom=is_custom) for field in fields]


def _broken_limits(fields: tuple[Field, ...], description_length: int) -> Iterator[str]:
    if len(fields) > limits.MAX_PROPERTIES:
        yield f"has {len(fields)} fields, and an action type has at most {limits.MAX_PROPERTIES} properties"
    for field in fields:
        description = field.description
        if broken := limits.check_text(field.key, limits.CONFIGURATION_KEY):
            yield f"{field.name}: its key {broken}"
        if description is not None and (broken := limits.check_text(description, description_length)):
            yield f"{field.name}: its description {broken}"
    queryable = [field for field in fields if field.key_settings.queryable]
    if len(queryable) > 1:
        yield f"at most one key is queryable, not {', '.join(field.key for field in queryable)}"
    for field in queryable:
        if not field.is_required or field.type.is_secret:
            yield f"{field.name}: a queryable key must be required and not secret"


def _property(field: Field, *, is_custom: bool) -> Any:
    described = field.key_settings
    return {
        "name": field.key,
        **({"required": field.is_required} if is_custom else {"optional": not field.is_required}),
        "key": described.key,
        "secret" if is_custom else "noEcho": field.type.is_secret,
        "queryable": described.queryable,
        **({"type": field.type.property_type} if is_custom else {}),
        **({} if field.description is None else {"description": field.description}),
    }
