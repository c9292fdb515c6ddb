"""
Wire dictionaries to models and back, and action configurations to the partner's own class.

One set of cattrs hooks, strict about every leaf.  No error of this module holds a value.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, TypeVar, cast

import attrs
from cattrs import Converter
from cattrs.errors import ClassValidationError, IterableValidationError
from cattrs.gen import make_dict_structure_fn, override

from cp_thirdparty import models
from cp_thirdparty._configuration import Field, Key, fields_of
from cp_thirdparty._hooks import Hook, MismatchError, make_converter, member_name
from cp_thirdparty.exceptions import ConfigurationError, InvalidRequestError, ResponseDecodeError
from cp_thirdparty.models import ActionConfiguration, JobDetails
from cp_thirdparty.secrets import SecretStr

__all__ = ["Key", "structure", "structure_configuration", "unstructure"]

_T = TypeVar("_T")

# A structure hook of cattrs: (value, type) -> structured value.
Hook = Callable[[Any, Any], Any]

_MODELS = frozenset(getattr(models, name) for name in models.__all__)


def structure(data: object, model: type[_T]) -> _T:
    """
    Read a model from a dictionary with the service's member names.

    Unknown members are ignored, unknown enum values survive, ``None`` members count as absent.  For `JobDetails` the
    whole answer of ``aws codepipeline get-third-party-job-details`` will do too.

    Args:
        data: What `json.loads` gives: dictionaries, lists, texts, numbers.

        model: A class of `cp_thirdparty.models`.

    Raises:
        cp_thirdparty.exceptions.ResponseDecodeError: The data does not have the shape.  It lists each problem by path.

        TypeError: The class is none of `cp_thirdparty.models`.

    .. versionadded:: 0.1.0
    """
    if model not in _MODELS:
        del data
        raise TypeError("structure() takes a class of cp_thirdparty.models")
    value, problems = _structured(data, model)
    if value is None:
        del data  # a traceback that prints locals must not find it here
        raise ResponseDecodeError(problems)
    return value


def unstructure(model: attrs.AttrsInstance, *, secrets: Literal["mask", "reveal"] = "mask") -> dict[str, Any]:
    """
    Write a model as a dictionary with the service's member names, ready for `json.dumps`.

    Absent members and empty lists are left out; times become ISO 8601 texts in UTC.

    Args:
        model: An instance of a class of `cp_thirdparty.models`.

        secrets: ``"mask"`` writes the mask of each secret, ``"reveal"`` its value.

    Raises:
        TypeError: The model is none of `cp_thirdparty.models`, or ``secrets`` is neither word.

    .. versionadded:: 0.1.0
    """
    if type(model) not in _MODELS:
        raise TypeError("unstructure() takes an instance of a class of cp_thirdparty.models")
    if secrets not in ("mask", "reveal"):
        raise TypeError('secrets must be "mask" or "reveal"')
    show = str if secrets == "mask" else SecretStr.get_secret_value
    document: dict[str, Any] = _shown(make_converter(detailed=False).unstructure(model), show)
    return document


def _shown(document: Any, show: Callable[[SecretStr], str]) -> Any:
    if isinstance(document, SecretStr):
        return show(document)
    if isinstance(document, dict):
        return {key: _shown(value, show) for key, value in cast("dict[str, Any]", document).items()}
    if isinstance(document, list):
        return [_shown(value, show) for value in document]
    return document


# --- reading: any failure of the fast converter is explained by the detailed one -------------------------------------


def _structured(data: Any, model: type[_T]) -> tuple[_T | None, tuple[str, ...]]:
    if model is JobDetails and isinstance(data, dict) and "jobDetails" in data:
        data = cast("dict[str, Any]", data)["jobDetails"]
    try:
        return make_converter(detailed=False).structure(data, model), ()
    except Exception:  # noqa: BLE001, S110 - whatever it was, the second reading tells where; nothing here may escape,
        pass  # because frames, arguments and notes of these errors hold the data
    try:
        return make_converter(detailed=True).structure(data, model), ()
    except Exception as error:  # noqa: BLE001 - as above
        return None, tuple(_problems(error, "", member_name))


def _problems(error: BaseException, path: str, name_of: Callable[[str], str]) -> Iterator[str]:
    """Tell cattrs' nested errors as lines of ``path: rule``; only our own rules and names go in, never a value."""
    if isinstance(error, ClassValidationError):
        with_field, others = error.group_exceptions()
        for inner, field in with_field:
            yield from _problems(inner, f"{path}.{name_of(field.name)}".lstrip("."), name_of)
        for inner in others:
            yield from _problems(inner, path, name_of)
    elif isinstance(error, IterableValidationError):
        for inner, item in error.group_exceptions()[0]:
            yield from _problems(inner, f"{path}[{item.index}]", name_of)
    elif isinstance(error, KeyError):
        yield f"required field missing: {path}"
    elif isinstance(error, InvalidRequestError):
        yield f"{path}.{name_of(error.parameter)}".lstrip(".") + f": {error.rule}"
    elif isinstance(error, MismatchError):
        yield f"{path or 'the document'}: {error.rule}"
    else:
        yield f"{path or 'the document'}: cannot be read ({type(error).__name__})"


# --- action configurations -------------------------------------------------------------------------------------------


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

        TypeError: The class cannot be filled from texts.  Raised when the class is first seen, whatever the values.

    .. versionadded:: 0.1.0
    """
    value, problems = _structured_configuration(configuration, model)
    if value is None:
        raise ConfigurationError(problems)
    return value


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
def _configuration_hook(model: type[Any]) -> tuple[tuple[Field, ...], Hook]:
    fields = fields_of(model)
    overrides = {field.name: override(rename=field.key, struct_hook=field.read) for field in fields}
    converter = Converter(detailed_validation=True)
    return fields, make_dict_structure_fn(model, converter, **overrides)  # type: ignore[arg-type] # of all fields


def _configuration_problems(error: ClassValidationError, keys: Mapping[str, str]) -> Iterator[str]:
    with_field, others = error.group_exceptions()
    for inner, field in with_field:
        rule = inner.rule if isinstance(inner, MismatchError) else "required key missing"
        yield f"{keys[field.name]}: {rule}"
    for inner in others:
        # The class's own validators: their texts may hold the value.
        yield f"the class refused the values ({type(inner).__name__})"
