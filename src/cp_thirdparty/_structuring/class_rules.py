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
from datetime import timedelta
from enum import Enum
from itertools import islice
from typing import Any, Final

import attrs

from cp_thirdparty._structuring.configuration_fields import Field
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
    model: type[Any], arguments: Mapping[str, Any], fields: Iterable[Field], failure: Exception
) -> ConfigurationError | JobFailedError:
    """Return the error to raise after a class has refused its arguments."""
    if isinstance(failure, (ConfigurationError, JobFailedError)):
        return failure
    by_name = {name: field for field in fields for name in (field.name, field.argument)}
    core = sys.modules.get("pydantic_core")
    problems: list[str] = []
    with contextlib.suppress(Exception):  # code of the partner may raise here too; then no key is known
        if core is not None and type(failure) is core.ValidationError:
            problems = [*_pydantic_problems(by_name, failure)]
        elif attrs.has(model):
            problems = [*_attrs_problems(model, arguments, by_name, failure)]
    return ConfigurationError([*dict.fromkeys(problems)] or [_refusal(failure, "values")])


def _attrs_problems(
    model: Any, arguments: Mapping[str, Any], by_name: Mapping[str, Field], failure: Exception
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
                yield f"{by_name[field.name].key}: {_refusal(failure)}"
            return
        value = getattr(instance, field.name)
        if field.init and field.validator and (rule := _broken_rule(field.validator, instance, field, value)):
            yield f"{by_name[field.name].key}: {rule}"


def _broken_rule(validator: Any, instance: Any, field: Any, value: Any) -> str | None:
    try:
        validator(instance, field, value)
    except Exception as failure:  # noqa: BLE001 - code of the partner
        kind = type(validator).__name__ if type(validator).__module__.startswith("attr.") else ""
        rules = (
            (place, _broken_rule(part, instance, field, each)) for place, part, each in _parts(validator, kind, value)
        )
        broken = next((f"{place}{rule}" for place, rule in rules if rule is not None), None)
        return broken or _constant_rule(validator, kind, failure) or _refusal(failure)
    return None


def _parts(validator: Any, kind: str, value: Any) -> Iterator[tuple[str, Any, Any]]:
    """Yield the validators that a validator of attrs calls: the place in the value, the validator and its value."""
    if kind == "_AndValidator":
        yield from (("", part, value) for part in validator._validators)  # noqa: SLF001 - not public
    elif kind == "_OptionalValidator":
        yield "", validator.validator, value
    elif kind == "_DeepIterable":
        if validator.iterable_validator is not None:
            yield "", validator.iterable_validator, value
        yield from ((f"item {number}: ", validator.member_validator, item) for number, item in enumerate(value, 1))


def _constant_rule(validator: Any, kind: str, failure: Exception) -> str | None:
    if not kind or not isinstance(failure, ValueError):  # attrs raises other errors for a value of a wrong type
        return None
    if kind == "_NumberValidator":
        return _RULES[validator.compare_func.__name__].format(_show(validator.bound))
    return _find_rule(validator, _RULES)


def _pydantic_problems(by_name: Mapping[str, Field], failure: Any) -> Iterator[str]:
    known_kinds = typing.get_args(sys.modules["pydantic_core.core_schema"].ErrorType)
    for problem in failure.errors(include_input=False, include_url=False):
        place, kind, context = problem["loc"], problem["type"], problem.get("ctx", {})
        is_known = kind in known_kinds  # an unknown kind is a string of the partner
        error = context.get("error")
        cause = error if isinstance(error, Exception) else kind if is_known else failure
        field = by_name.get(place[0]) if place else None
        if field is None:
            yield _refusal(cause, "values")
            continue
        is_item = isinstance(place[-1], int)
        metadata = field.type.item_metadata if is_item else field.metadata
        # The context may have values, so the constant is that of the annotation.
        names = [name for name in _RULES if name in context] if is_known else []
        rule = next(filter(None, (_find_rule(each, names) for each in metadata)), _refusal(cause))
        yield f"{field.key}: item {place[-1] + 1}: {rule}" if is_item else f"{field.key}: {rule}"


def _find_rule(source: Any, names: Iterable[str]) -> str | None:
    """Return the first of the named rules for which a validator of attrs or a constraint of pydantic has a constant."""
    with contextlib.suppress(Exception):  # objects and options of the partner may raise, or need not be iterable
        for name in names:
            constant = getattr(source, name, None)
            if name == "options" and constant is not None:
                constant = _join(constant)
            if constant is not None:
                return _RULES[name].format(_show(constant))
    return None


def _join(options: Iterable[Any]) -> str:
    shown = [_show(each) for each in islice(options, _MAX_OPTIONS + 1)]
    return ", ".join([*shown[:_MAX_OPTIONS], *["..." for _ in shown[_MAX_OPTIONS:]]])


def _show(constant: Any) -> str:
    """Write a constant of a rule as the customer writes a value."""
    if isinstance(constant, Enum):
        return str(constant.value)
    if isinstance(constant, timedelta):
        return f"{constant / timedelta(seconds=1):.15g}"
    return str(getattr(constant, "pattern", constant))  # a pattern may be compiled


def _refusal(cause: object, refused: str = "value") -> str:
    name = cause if isinstance(cause, str) else type(cause).__name__
    return f"the class refused the {refused} ({name})"
