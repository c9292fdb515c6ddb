"""
Describe why a configuration class refused its values: the key and the rule, but not the value.

Exceptions of the partner's code and of pydantic may hold values, so their messages are not used.  A rule is described
with the constants of an attrs validator or of a pydantic field.
"""

from __future__ import annotations

import sys
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import Enum
from itertools import islice
from typing import Any, Final

import attrs

from cp_thirdparty.exceptions import ConfigurationError, JobFailedError

_MODULES: Final = ("attr.validators", "attr._make")
_MOST_OPTIONS: Final = 20

_COMPARISONS: Final = {"<": "less than", "<=": "at most", ">": "more than", ">=": "at least"}

# Class name of an attrs validator -> function that returns its rule.
_ATTRS_RULES: Final[dict[str, Callable[[Any], str]]] = {
    "_NumberValidator": lambda rule: f"must be {_COMPARISONS[rule.compare_op]} {rule.bound}",
    "_MinLengthValidator": lambda rule: f"must have at least {rule.min_length} characters or items",
    "_MaxLengthValidator": lambda rule: f"must have at most {rule.max_length} characters or items",
    "_MatchesReValidator": lambda rule: f"must match {rule.pattern.pattern}",
    "_InValidator": lambda rule: f"must be one of: {_join_options(rule.options)}",
}

# Type of a pydantic error -> the name of the field's constant, and the rule.
_PYDANTIC_RULES: Final = {
    "greater_than": ("gt", "must be more than {}"),
    "greater_than_equal": ("ge", "must be at least {}"),
    "less_than": ("lt", "must be less than {}"),
    "less_than_equal": ("le", "must be at most {}"),
    "multiple_of": ("multiple_of", "must be a multiple of {}"),
    "string_too_short": ("min_length", "must have at least {} characters or items"),
    "string_too_long": ("max_length", "must have at most {} characters or items"),
    "too_short": ("min_length", "must have at least {} characters or items"),
    "too_long": ("max_length", "must have at most {} characters or items"),
    "string_pattern_mismatch": ("pattern", "must match {}"),
}


def describe_refusal(
    model: type[Any], arguments: Mapping[str, Any], keys: Mapping[str, str], failure: Exception
) -> ConfigurationError | JobFailedError:
    """
    Return the error to raise after the constructor of a class has refused its arguments.

    ``keys`` maps the name of a field, and of an argument, to the configuration key that the customer knows.
    """
    if isinstance(failure, (ConfigurationError, JobFailedError)):
        return failure
    if _is_pydantic(failure):
        problems = list(dict.fromkeys(_pydantic_problems(model, keys, failure)))
    elif attrs.has(model):
        problems = [f"{keys[name]}: {rule}" for name, rule in _attrs_problems(model, arguments)]
    else:
        problems = []
    return ConfigurationError(problems or [f"the class refused the values ({type(failure).__name__})"])


# --- attrs


def _attrs_problems(model: Any, arguments: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """
    Construct the object again, and yield the name and the rule of each field that fails.

    The ``__init__`` of attrs assigns all fields and then calls the validators, so a field that is not assigned is the
    one whose converter raised.
    """
    try:
        instance = model.__new__(model)
    except Exception:  # noqa: BLE001 - code of the partner
        return
    try:
        instance.__init__(**arguments)
    except Exception as error:  # noqa: BLE001 - code of the partner
        failure = error
    else:
        return
    for field in attrs.fields(model):
        try:
            value = getattr(instance, field.name)
        except AttributeError:
            if field.init and field.converter is not None:
                yield field.name, _refusal(failure)
            return
        if field.init and field.validator is not None:
            yield from ((field.name, rule) for rule in _broken_rules(field.validator, instance, field, value))


def _broken_rules(validator: Any, instance: Any, field: Any, value: Any) -> Iterator[str]:
    try:
        validator(instance, field, value)
    except Exception as failure:  # noqa: BLE001 - code of the partner
        inner = _inner_validators(validator)
        broken = [rule for one in inner for rule in _broken_rules(one, instance, field, value)]
        yield from broken[:1] if inner else [_attrs_rule(validator) or _refusal(failure)]


def _inner_validators(validator: Any) -> tuple[Any, ...]:
    if type(validator).__module__ not in _MODULES:
        return ()
    name = type(validator).__name__
    if name == "_AndValidator":
        return tuple(validator._validators)  # noqa: SLF001 - attrs has no public name for it
    return (validator.validator,) if name == "_OptionalValidator" else ()


def _attrs_rule(validator: Any) -> str | None:
    describe = _ATTRS_RULES.get(type(validator).__name__) if type(validator).__module__ in _MODULES else None
    try:
        return None if describe is None else describe(validator)
    except Exception:  # noqa: BLE001 - options of the partner need not be iterable, or strings
        return None


def _join_options(options: Iterable[object]) -> str:
    shown = [str(one.value if isinstance(one, Enum) else one) for one in islice(options, _MOST_OPTIONS + 1)]
    return ", ".join([*shown[:_MOST_OPTIONS], *(["..."] if len(shown) > _MOST_OPTIONS else [])])


def _refusal(failure: Exception) -> str:
    return f"the class refused the value ({type(failure).__name__})"


# --- pydantic


def _is_pydantic(failure: Exception) -> bool:
    core = sys.modules.get("pydantic_core")
    return core is not None and type(failure) is core.ValidationError


def _pydantic_problems(model: Any, keys: Mapping[str, str], failure: Any) -> Iterator[str]:
    fields: Mapping[str, Any] = getattr(model, "__pydantic_fields__", {})
    by_key = {keys[name]: field for name, field in fields.items() if name in keys}
    for problem in failure.errors(include_input=False, include_url=False):
        key = keys.get(problem["loc"][0]) if problem["loc"] else None
        if key is None:
            yield f"the class refused the values ({_pydantic_error(problem)})"
        else:
            # The metadata of a field has no rules for the items of a list.
            metadata = getattr(by_key.get(key), "metadata", ()) if len(problem["loc"]) == 1 else ()
            rule = _pydantic_rule(problem["type"], metadata)
            yield f"{key}: {rule or f'the class refused the value ({_pydantic_error(problem)})'}"


def _pydantic_rule(kind: str, metadata: Any) -> str | None:
    attribute, rule = _PYDANTIC_RULES.get(kind, ("", ""))
    constants = [getattr(one, attribute, None) for one in metadata] if attribute else []
    return next((rule.format(constant) for constant in constants if constant is not None), None)


def _pydantic_error(problem: Mapping[str, Any]) -> str:
    """Return the class name of the partner's exception, or pydantic's type of the error."""
    error = problem.get("ctx", {}).get("error")
    if isinstance(error, Exception):
        return type(error).__name__
    known = typing.get_args(sys.modules["pydantic_core.core_schema"].ErrorType)
    return problem["type"] if problem["type"] in known else "ValidationError"
