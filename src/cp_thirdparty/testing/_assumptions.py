"""What AWS does not document about CodePipeline, with the default that the local one assumes for each."""

from __future__ import annotations

import sys
from collections.abc import Collection
from typing import Any, Final

import attrs

from cp_thirdparty.models import ActionTypeId

__all__ = ["Assumptions"]

# Seconds.  An int may have more digits than a float can have, and any time after this is never.
_LONGEST: Final = 1e300


def _number(default: float, *, least: int = 0, most: float = _LONGEST) -> Any:
    def check(_instance: object, field: attrs.Attribute[float], value: float) -> None:
        if value < least:
            raise ValueError(f"{field.name}: must be at least {least}")

    def limit(value: float) -> float:
        return min(value, most)

    return attrs.field(default=default, converter=limit, validator=check)


def _freeze(value: Collection[ActionTypeId] | None) -> frozenset[ActionTypeId] | None:
    return None if value is None else frozenset(value)


@attrs.frozen(kw_only=True)
class Assumptions:
    """
    The arguments of `LocalCodePipeline` that decide how the service behaves; it describes them.

    Raises:
        ValueError: A number is too small.
    """

    redelivery_delay: float = _number(30.0)
    continuation_delay: float = _number(30.0)
    job_timeout: float = _number(3600.0)
    custom_job_timeout: float = _number(86_400.0)
    wrong_owner_error: str = "ActionTypeNotFoundException"
    default_batch_size: int = _number(10, least=1, most=sys.maxsize)
    credential_lifetime: float = _number(900.0)
    action_types: frozenset[ActionTypeId] | None = attrs.field(default=None, converter=_freeze)
    readable_after_acknowledgement: bool = True
    readable_after_end: bool = True
    stable_nonce: bool = True
