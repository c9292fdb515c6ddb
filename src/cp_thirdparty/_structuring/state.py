"""
Encode objects of the partner's classes as continuation tokens, and decode the tokens.

A token is ``cp-state1:<version>:<checksum>:<JSON>``.  The version is the version of the partner's class, so that a
later version of the class can read older tokens.  The checksum detects changed and truncated tokens; it is not a
signature.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from cp_thirdparty._base import limits
from cp_thirdparty._structuring.configuration_fields import CLASSES, has_fields, is_pydantic
from cp_thirdparty.exceptions import ContinuationStateError, InvalidRequestError
from cp_thirdparty.exceptions._job_failures import ResultTypeError

if TYPE_CHECKING:
    from cattrs import Converter

_TOKEN: Final = re.compile(r"cp-state1:(?P<version>\d{1,9}):(?P<checksum>[0-9a-f]{8}):(?P<json>.*)", re.DOTALL)


def encode_state(state: object) -> str:
    """Return the continuation token of an object; raise an error if the object cannot be restored from it."""
    if isinstance(state, type):
        raise ResultTypeError(f"state: must be an object, not the class {state.__qualname__}")
    model = type(state)
    version = _version_of(model)
    try:
        text = json.dumps(_converter().unstructure(state), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        read: Any = _converter().structure(json.loads(text), model)
    except Exception as error:  # noqa: BLE001 - code of the partner, and values in the error
        problem = f"it cannot be written as JSON and read ({type(error).__name__})"
    else:
        if read == state or model.__eq__ is object.__eq__:  # objects without ``__eq__`` cannot be compared
            token = f"cp-state1:{version}:{_checksum(version, text)}:{text}"
            broken = limits.check_text(token, limits.CONTINUATION_TOKEN)
            if broken is None:
                return token
            raise InvalidRequestError("state", f"its continuation token has {len(token):,} characters and {broken}")
        problem = "it is not the same after it was written as JSON and read; a state has no secrets"
    raise ResultTypeError(f"state: an object of {model.__qualname__} cannot be kept: {problem}")


def decode_state(
    token: str, model: type[Any], upgrade: Callable[[int, dict[str, Any]], Any] | None, job_id: str
) -> Any:
    """Return the object of a continuation token; the errors are those of `cp_thirdparty.worker.Job.state`."""
    expected = _version_of(model)
    found = _TOKEN.fullmatch(token)
    if found is None:
        problem = "token was not made by Continued(state=...); Job.continuation_token has it as a string"
    elif _checksum(version := int(found["version"]), found["json"]) != found["checksum"]:
        problem = "token was changed or truncated"
    elif version != expected and upgrade is None:
        versions = f"version {version}, and {model.__qualname__} has version {expected}"
        problem = f"state has {versions}; pass upgrade= to Job.state"
    else:
        document = json.loads(found["json"])
        advice = "a changed class needs another __state_version__"
        if upgrade is not None and version != expected:
            document = upgrade(version, document)
            advice = "correct what upgrade= returns"
        if isinstance(document, model):
            return document
        try:
            return _converter().structure(document, model)
        except Exception as error:  # noqa: BLE001 - code of the partner, and values in the error
            problem = f"state does not fit {model.__qualname__} ({type(error).__name__}); {advice}"
    raise ContinuationStateError(f"the continuation {problem}", job_id=job_id)


def _version_of(model: Any) -> int:
    name = model.__qualname__ if isinstance(model, type) else type(model).__qualname__
    if not has_fields(model):
        raise ResultTypeError(f"state: must be of {CLASSES}, not {name}")
    version: int = getattr(model, "__state_version__", 1)
    if limits.check_int_range(version, 0, 10**9 - 1) is not None:
        raise ResultTypeError(f"state: {name}.__state_version__ must be an int from 0 to 999,999,999")
    return version


def _checksum(version: int, text: str) -> str:
    return hashlib.sha256(f"{version}:{text}".encode("utf-8", "surrogatepass")).hexdigest()[:8]


@functools.cache
def _converter() -> Converter:
    from cattrs.preconf.json import make_converter  # noqa: PLC0415 - only continued jobs need it

    converter = make_converter(forbid_extra_keys=True, detailed_validation=False)
    for kind in (str, int, float, bool):
        converter.register_structure_hook(kind, _primitive)
    converter.register_unstructure_hook(timedelta, timedelta.total_seconds)
    converter.register_structure_hook(timedelta, lambda value, _: timedelta(seconds=value))
    converter.register_unstructure_hook_func(is_pydantic, lambda model: model.model_dump(mode="json"))
    converter.register_structure_hook_func(
        is_pydantic, lambda value, model: model.model_validate_json(json.dumps(value))
    )
    return converter


def _primitive(value: object, kind: type[Any]) -> object:
    # cattrs itself would convert values of other types.
    if type(value) is kind or (kind is float and type(value) is int):
        return value
    raise TypeError
