"""
Describe why a configuration class refused its values: the key and the rule, but not the value.

Exceptions of the partner's code and of pydantic may hold values, so their messages are not used.  A rule is described
with the constant of an attrs validator or of a pydantic field.
"""

from __future__ import annotations

import contextlib
import sys
import typing
from collections.abc import Iterator, Mapping
from enum import Enum
from itertools import islice
from typing import Any, Final

import attrs

from cp_thirdparty.exceptions import ConfigurationError, JobFailedError

_ATTRS_MODULES: Final = ("attr.validators", "attr._make")
_MOST_OPTIONS: Final = 20

# Name of a constant -> rule.  These are the names in validators of attrs, and in the metadata of pydantic's fields.
_RULES: Final = {
    "gt": "must be more than {}",
    "ge": "must be at least {}",
    "lt": "must be less than {}",
    "le": "must be at most {}",
    "multiple_of": "must be a multiple of {}",
    "min_length": "must have at least {} characters or items",
    "max_length": "must have at most {} characters or items",
    "pattern": "must match {}",
    "options": "must be one of: {}",
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
    core = sys.modules.get("pydantic_core")
    problems: list[str] = []
    if core is not None and type(failure) is core.ValidationError:
        problems = list(dict.fromkeys(_pydantic_problems(model, keys, failure)))
    elif attrs.has(model):
        problems = [f"{keys[name]}: {rule}" for name, rule in _attrs_problems(model, arguments, failure)]
    return ConfigurationError(problems or [f"the class refused the values ({type(failure).__name__})"])


def _attrs_problems(model: Any, arguments: Mapping[str, Any], failure: Exception) -> Iterator[tuple[str, str]]:
    """
    Construct the object again, and yield the name and the rule of each field that fails.

    The ``__init__`` of attrs assigns all fields and then calls the validators, so a field that is not assigned is the
    one whose converter raised.
    """
    instance: Any = None
    with contextlib.suppress(Exception):  # code of the partner
        instance = model.__new__(model)
        instance.__init__(**arguments)
        return
    for field in attrs.fields(model) if instance is not None else ():
        if not hasattr(instance, field.name):
            if field.init and field.converter is not None:
                yield field.name, _refusal(type(failure).__name__)
            return
        rule = _broken_rule(field.validator, instance, field) if field.init and field.validator is not None else None
        if rule is not None:
            yield field.name, rule


def _broken_rule(validator: Any, instance: Any, field: Any) -> str | None:
    """Return the rule of a validator if it refuses the field of an object."""
    try:
        validator(instance, field, getattr(instance, field.name))
    except Exception as failure:  # noqa: BLE001 - code of the partner
        kind = type(validator).__name__ if type(validator).__module__ in _ATTRS_MODULES else ""
        if kind == "_AndValidator":
            rules = (_broken_rule(one, instance, field) for one in validator._validators)  # noqa: SLF001 - not public
            return next(filter(None, rules), None)
        if kind == "_OptionalValidator":
            return _broken_rule(validator.validator, instance, field)
        return (_attrs_rule(validator) if kind else None) or _refusal(type(failure).__name__)
    return None


def _attrs_rule(validator: Any) -> str | None:
    with contextlib.suppress(Exception):  # options of the partner need not be iterable, or strings
        if hasattr(validator, "compare_func"):
            return _describe(validator.compare_func.__name__, validator.bound)
        for name in _RULES:
            if hasattr(validator, name):
                return _describe(name, getattr(validator, name))
    return None


def _pydantic_problems(model: Any, keys: Mapping[str, str], failure: Any) -> Iterator[str]:
    fields: Mapping[str, Any] = getattr(model, "__pydantic_fields__", {})
    metadata = {keys[name]: field.metadata for name, field in fields.items() if name in keys}
    known_kinds = typing.get_args(sys.modules["pydantic_core.core_schema"].ErrorType)
    for problem in failure.errors(include_input=False, include_url=False):
        place, kind, context = problem["loc"], problem["type"], problem.get("ctx", {})
        key = keys.get(place[0]) if place else None
        error = context.get("error")
        name = kind if kind in known_kinds else "ValidationError"  # an unknown kind is a string of the partner
        if isinstance(error, Exception):
            name = type(error).__name__
        if key is None:
            yield f"the class refused the values ({name})"
        else:
            # The context may have values, so the constant is that of the field, which has no rules for items of a list.
            constraints = metadata.get(key, ()) if len(place) == 1 and kind in known_kinds else ()
            constants = ((rule, getattr(one, rule, None)) for one in constraints for rule in _RULES if rule in context)
            described = (_describe(rule, constant) for rule, constant in constants if constant is not None)
            yield f"{key}: {next(described, _refusal(name))}"


def _describe(rule: str, constant: Any) -> str:
    if rule == "options":
        options = [str(one.value if isinstance(one, Enum) else one) for one in islice(constant, _MOST_OPTIONS + 1)]
        constant = ", ".join([*options[:_MOST_OPTIONS], *["..." for _ in options[_MOST_OPTIONS:]]])
    return _RULES[rule].format(getattr(constant, "pattern", constant))  # a pattern may be compiled


def _refusal(name: str) -> str:
    return f"the class refused the value ({name})"
