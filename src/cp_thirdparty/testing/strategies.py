"""
Hypothesis strategies: `instances` of every model, for property tests of a partner's own code.

They need the extra ``testing``.
"""

from __future__ import annotations

import functools
import typing
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from enum import Enum
from types import UnionType
from typing import Any, TypeVar, Union, cast

import attrs

from cp_thirdparty._base.lazy import missing_extra

try:
    from hypothesis import strategies as st
    from hypothesis.strategies import SearchStrategy
except ModuleNotFoundError:
    raise missing_extra("hypothesis") from None

from cp_thirdparty import models
from cp_thirdparty._base import limits
from cp_thirdparty.enums import FailureType
from cp_thirdparty.secrets import SecretStr

__all__ = ["instances"]

_T = TypeVar("_T")

# Any text that can be encoded; long enough to differ, short enough to be quick.
_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_some_text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


def _strategy(kind: Any, field: attrs.Attribute[Any]) -> SearchStrategy[Any]:
    """Return a strategy for the values of a field, or for a part of them that has this type."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (Union, UnionType):
        return st.none() | _strategy(arguments[0], field)
    if origin is tuple:
        return st.lists(_strategy(arguments[0], field), max_size=3)
    if origin is Mapping:
        return st.dictionaries(_text, _text, max_size=5)
    if kind is str and "limit" in field.metadata:  # the service refuses an empty one
        return _some_text
    return _BY_TYPE[kind] if kind in _BY_TYPE else _instances(kind)


@functools.cache
def _instances(model: type[Any]) -> SearchStrategy[Any]:
    if issubclass(model, Enum):  # known and unknown members
        return st.sampled_from(model) | _text.map(model)
    fields = attrs.fields(attrs.resolve_types(model))
    return st.builds(model, **{field.name: _strategy(field.type, field) for field in fields})


_zones = st.timedeltas(timedelta(hours=-12), timedelta(hours=12)).map(timezone)
_BY_TYPE: dict[type[Any], SearchStrategy[Any]] = {
    str: _text,
    SecretStr: _text,
    FailureType: st.sampled_from(FailureType),  # which has no unknown members
    int: st.integers(0, limits.MAX_PERCENT),  # the only number of the models is a percentage
    datetime: st.datetimes(datetime(2, 1, 1), datetime(9998, 12, 31), timezones=_zones),  # noqa: DTZ001 - the strategy adds the zone
}

# Every class of `cp_thirdparty.models`, with the strategy for it.
MODELS: dict[type[Any], SearchStrategy[Any]] = {
    model: _instances(model) for model in (getattr(models, name) for name in models.__all__)
}


def instances(model: type[_T]) -> SearchStrategy[_T]:
    """
    Return a strategy for valid instances of a model, with unknown members of enumerations and any text.

    Args:
        model: A class of `cp_thirdparty.models`.

    Raises:
        TypeError: It is not a class of `cp_thirdparty.models`.
    """
    if model not in MODELS:
        raise TypeError("instances() takes a class of cp_thirdparty.models")
    return cast("SearchStrategy[_T]", MODELS[model])
