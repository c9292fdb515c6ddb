"""
Describe why a configuration class refused its values: the key and the rule, but not the value.

Exceptions of the partner's code and of pydantic may hold values, so their messages are not used.  A rule is described
with the constant of an attrs validator or of a pydantic field.
"""

from __future__ import annotations

import contextlib
import sys
import typing
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from itertools import islice
from typing import Any, Final

import attrs

from cp_thirdparty.exceptions import ConfigurationError, JobFailedError

_MAX_OPTIONS: Final = 20

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
    Return the error to raise after a class has refused its arguments.

    ``keys`` maps names of fields and arguments to the keys that the customer knows.
    """
    if isinstance(failure, (ConfigurationError, JobFailedError)):
        return failure
    core = sys.modules.get("pydantic_core")
    problems: Iterable[str] = ()
    if core is not None and type(failure) is core.ValidationError:
        problems = _pydantic_problems(model, keys, failure)
    elif attrs.has(model):
        problems = _attrs_problems(model, arguments, keys, failure)
    return ConfigurationError([*dict.fromkeys(problems)] or [_refusal(failure, "values")])


def _attrs_problems(
    model: Any, arguments: Mapping[str, Any], keys: Mapping[str, str], failure: Exception
) -> Iterator[str]:
    # The object is constructed again, because validators need it.  The `__init__` of attrs assigns all fields and then
    # calls the validators, so a field that is not assigned is the one whose converter raised.
    instance: Any = None
    with contextlib.suppress(Exception):  # code of the partner
        instance = model.__new__(model)
        instance.__init__(**arguments)
        return
    for field in attrs.fields(model) if instance is not None else ():
        if not hasattr(instance, field.name):
            if field.init and field.converter is not None:
                yield f"{keys[field.name]}: {_refusal(failure)}"
            return
        if field.init and field.validator is not None and (rule := _broken_rule(field.validator, instance, field)):
            yield f"{keys[field.name]}: {rule}"


def _broken_rule(validator: Any, instance: Any, field: Any) -> str | None:
    try:
        validator(instance, field, getattr(instance, field.name))
    except Exception as failure:  # noqa: BLE001 - code of the partner
        kind = type(validator).__name__ if type(validator).__module__.startswith("attr.") else ""
        if kind == "_AndValidator":
            rules = (_broken_rule(one, instance, field) for one in validator._validators)  # noqa: SLF001 - not public
            return next(filter(None, rules), None)
        if kind == "_OptionalValidator":
            return _broken_rule(validator.validator, instance, field)
        rule = None
        with contextlib.suppress(Exception):  # options of the partner need not be iterable, or strings
            if kind == "_NumberValidator":
                return _RULES[validator.compare_func.__name__].format(validator.bound)
            rule = _find_rule(validator, _RULES) if kind else None
        return rule or _refusal(failure)
    return None


def _pydantic_problems(model: Any, keys: Mapping[str, str], failure: Any) -> Iterator[str]:
    fields: Mapping[str, Any] = getattr(model, "__pydantic_fields__", {})
    constraints = {keys[name]: field.metadata for name, field in fields.items() if name in keys}
    known_kinds = typing.get_args(sys.modules["pydantic_core.core_schema"].ErrorType)
    for problem in failure.errors(include_input=False, include_url=False):
        place, kind, context = problem["loc"], problem["type"], problem.get("ctx", {})
        is_known = kind in known_kinds  # an unknown kind is a string of the partner
        error = context.get("error")
        cause = error if isinstance(error, Exception) else kind if is_known else failure
        key = keys.get(place[0]) if place else None
        if key is None:
            yield _refusal(cause, "values")
            continue
        # The context may have values, so the constant is that of the field, which has no rules for items of a list.
        names = [name for name in _RULES if name in context] if len(place) == 1 and is_known else []
        rules = (_find_rule(constraint, names) for constraint in constraints.get(key, ()))
        yield f"{key}: {next(filter(None, rules), _refusal(cause))}"


def _find_rule(source: Any, names: Iterable[str]) -> str | None:
    """Return the first of the named rules for which a validator of attrs or a constraint of pydantic has a constant."""
    for name in names:
        constant = getattr(source, name, None)
        if name == "options" and constant is not None:
            options = [str(one.value if isinstance(one, Enum) else one) for one in islice(constant, _MAX_OPTIONS + 1)]
            constant = ", ".join([*options[:_MAX_OPTIONS], *["..." for _ in options[_MAX_OPTIONS:]]])
        if constant is not None:
            return _RULES[name].format(getattr(constant, "pattern", constant))  # a pattern may be compiled
    return None


def _refusal(cause: object, refused: str = "value") -> str:
    name = cause if isinstance(cause, str) else type(cause).__name__
    return f"the class refused the {refused} ({name})"
