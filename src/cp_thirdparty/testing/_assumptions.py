"""Behaviour of CodePipeline that AWS does not document, with the defaults that the local CodePipeline assumes."""

from __future__ import annotations

import math
import sys
from collections.abc import Collection
from typing import Any, Final

import attrs

from cp_thirdparty._base.durations import read_seconds
from cp_thirdparty.models import ActionTypeId

# The largest number of seconds.  An int may be too large for a float, so a larger int is replaced by this number.
_MAX_SECONDS: Final = 1e300


def _seconds(default: float) -> Any:
    def check(_instance: object, field: attrs.Attribute[float], value: float) -> None:
        read_seconds(field.name, value, least=0, most=math.inf)

    def limit(value: float) -> float:
        return min(value, _MAX_SECONDS) if isinstance(value, int) else value

    return attrs.field(default=default, converter=limit, validator=check)


def _limit_size(value: int) -> int:
    return min(value, sys.maxsize)


def _check_size(_instance: object, field: attrs.Attribute[int], value: int) -> None:
    if value < 1:
        raise ValueError(f"{field.name}: must be at least 1")


def _freeze(value: Collection[ActionTypeId] | None) -> frozenset[ActionTypeId] | None:
    return None if value is None else frozenset(value)


@attrs.frozen(kw_only=True)
class Assumptions:
    """
    The arguments of `LocalCodePipeline` that decide how the service behaves.  `LocalCodePipeline` describes them.

    Raises:
        ValueError: A number is too small.
    """

    redelivery_delay: float = _seconds(30.0)
    continuation_delay: float = _seconds(30.0)
    job_timeout: float = _seconds(3600.0)
    custom_job_timeout: float = _seconds(86_400.0)
    wrong_owner_error: str = "ActionTypeNotFoundException"
    default_batch_size: int = attrs.field(default=10, converter=_limit_size, validator=_check_size)
    credential_lifetime: float = _seconds(900.0)
    action_types: frozenset[ActionTypeId] | None = attrs.field(default=None, converter=_freeze)
    readable_after_acknowledgement: bool = True
    readable_after_end: bool = True
    stable_nonce: bool = True
