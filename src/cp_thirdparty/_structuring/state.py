"""
Encode objects of the partner's classes as continuation tokens, and decode the tokens.

A token is ``cp-state1:<version>:<checksum>:<JSON>``.  The version is the version of the partner's class, so that a
later version of the class can read older tokens.  The checksum detects changed and truncated tokens; it is not a
signature.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import re
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import attrs

from cp_thirdparty._base import limits
from cp_thirdparty.exceptions import ContinuationStateError, InvalidRequestError
from cp_thirdparty.exceptions._job_failures import ResultTypeError

if TYPE_CHECKING:
    from cattrs import Converter

_TOKEN: Final = re.compile(r"cp-state1:(?P<version>\d{1,9}):(?P<checksum>[0-9a-f]{8}):(?P<json>.*)", re.DOTALL)
_PRIMITIVES: Final = (str, int, float, bool)


def encode_state(state: object) -> str:
    """
    Return the continuation token of an object.

    Raises:
        TypeError: The kind of the object's class is not supported, or decoding the token returns a different object.
        cp_thirdparty.exceptions.InvalidRequestError: The token is longer than the service allows.
    """
    model = type(state)
    version = _version_of(model)
    try:
        text = json.dumps(_unstructure(state), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        read: Any = _structure(json.loads(text), model)
    except Exception as error:  # noqa: BLE001 - code of the partner, and values in the error
        problem = f"it cannot be written as JSON and read ({type(error).__name__})"
    else:
        # If the class defines no ``__eq__``, objects cannot be compared.
        if read == state or model.__eq__ is object.__eq__:
            return _check_length(f"cp-state1:{version}:{_checksum(version, text)}:{text}")
        problem = "it is not the same after it was written as JSON and read; a state has no secrets"
    raise ResultTypeError(f"state: an object of {model.__qualname__} cannot be kept: {problem}")


def decode_state(
    token: str, model: type[Any], upgrade: Callable[[int, dict[str, Any]], Any] | None, job_id: str
) -> Any:
    """
    Return the object of a continuation token.

    Raises:
        cp_thirdparty.exceptions.ContinuationStateError: The token has another form, was changed, or has a version or
            fields that the class does not have.
        TypeError: This kind of class is not supported.
    """
    expected = _version_of(model)
    found = _TOKEN.fullmatch(token)
    if found is None:
        problem = "was not made by Continued(state=...); Job.continuation_token has it as a string"
        raise ContinuationStateError(f"the continuation token {problem}", job_id=job_id)
    version, text = int(found["version"]), found["json"]
    if _checksum(version, text) != found["checksum"]:
        raise ContinuationStateError("the continuation token was changed or truncated", job_id=job_id)
    document = json.loads(text)
    if version != expected:
        if upgrade is None:
            problem = f"has version {version}, and {model.__qualname__} has version {expected}; pass upgrade="
            raise ContinuationStateError(f"the continuation state {problem}", job_id=job_id)
        document = upgrade(version, document)
        if isinstance(document, model):
            return document
    try:
        return _structure(document, model)
    except Exception as error:  # noqa: BLE001 - code of the partner, and values in the error
        problem = f"does not fit {model.__qualname__} ({type(error).__name__})"
    raise ContinuationStateError(f"the continuation state {problem}", job_id=job_id)


def _version_of(model: type[Any]) -> int:
    name = model.__qualname__ if isinstance(model, type) else type(model).__qualname__
    if not (_is_pydantic(model) or (isinstance(model, type) and (attrs.has(model) or dataclasses.is_dataclass(model)))):
        raise ResultTypeError(f"state: must be of an attrs class, a dataclass or a pydantic model, not {name}")
    version: object = getattr(model, "__state_version__", 1)
    if isinstance(version, int) and not isinstance(version, bool) and 0 <= version < 10**9:
        return version
    raise ResultTypeError(f"state: {name}.__state_version__ must be an int from 0 to 999,999,999")


def _is_pydantic(model: Any) -> bool:
    return hasattr(model, "__pydantic_complete__") and hasattr(model, "model_validate_json")


def _checksum(version: int, text: str) -> str:
    return hashlib.sha256(f"{version}:{text}".encode("utf-8", "surrogatepass")).hexdigest()[:8]


def _check_length(token: str) -> str:
    broken = limits.text(token, limits.CONTINUATION_TOKEN)
    if broken is not None:
        raise InvalidRequestError("state", f"its continuation token has {len(token):,} characters and {broken}")
    return token


def _unstructure(state: Any) -> Any:
    return state.model_dump(mode="json") if _is_pydantic(type(state)) else _converter().unstructure(state)


def _structure(document: Any, model: Any) -> Any:
    if _is_pydantic(model):
        return model.model_validate_json(json.dumps(document))
    return _converter().structure(document, model)


@functools.cache
def _converter() -> Converter:
    from cattrs.preconf.json import make_converter  # noqa: PLC0415 - only continued jobs need it

    converter = make_converter(forbid_extra_keys=True, detailed_validation=False)
    for kind in _PRIMITIVES:
        converter.register_structure_hook(kind, _primitive)
    converter.register_unstructure_hook(timedelta, timedelta.total_seconds)
    converter.register_structure_hook(timedelta, lambda value, _: timedelta(seconds=value))
    return converter


def _primitive(value: object, kind: type[Any]) -> object:
    """Accept only values of exactly this type; an ``int`` is also accepted as a ``float``."""
    if type(value) is kind or (kind is float and type(value) is int):
        return value
    raise TypeError
