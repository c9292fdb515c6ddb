"""
Encode objects of the partner's classes as continuation tokens, and decode the tokens.

A token is ``cp-state1:<version>:<checksum>:<JSON>``.  The version is the version of the partner's class, so that a
later version of the class can read older tokens.  The checksum detects changed and truncated tokens; it is not a
signature.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from typing import Any, Final

from cp_thirdparty._base import limits
from cp_thirdparty._structuring.configuration_fields import CLASSES, has_fields, is_settings
from cp_thirdparty._structuring.state_values import find_difference, find_failure, find_secret, read_json, write_json
from cp_thirdparty.exceptions import ContinuationStateError, InvalidRequestError
from cp_thirdparty.exceptions._job_failures import ResultTypeError

_TOKEN: Final = re.compile(r"cp-state1:(?P<version>\d{1,9}):(?P<checksum>[0-9a-f]{8}):(?P<json>.*)", re.DOTALL)


def encode_state(state: object) -> str:
    """Return the continuation token of an object; raise an error if the object cannot be restored from it."""
    if isinstance(state, type):
        raise ResultTypeError(f"state: must be an object, not the class {state.__qualname__}")
    model = type(state)
    version = _version_of(model)
    secret = find_secret(state)
    if secret is not None:
        raise _not_kept(model, secret, "has a secret, and a continuation token is not treated as one")
    token, place, problem = "", None, ""
    try:
        text = write_json(state, model)
        token = f"cp-state1:{version}:{_checksum(version, text)}:{text}"
        if len(token) <= limits.CONTINUATION_TOKEN:
            place = find_difference(state, read_json(json.loads(text), model))
            problem = "is not the same after it was written as JSON and read"
    except Exception as error:  # noqa: BLE001 - code of the partner, and values in the error
        place = find_failure(state, error)
        problem = f"cannot be written as JSON and read ({type(error).__name__})"
    if place is not None:
        raise _not_kept(model, place, problem)
    broken = limits.check_text(token, limits.CONTINUATION_TOKEN)
    if broken is not None:
        raise InvalidRequestError("state", f"its continuation token has {len(token):,} characters and {broken}")
    return token


def _not_kept(model: type[Any], place: str, problem: str) -> ResultTypeError:
    subject = f"field {place!r}" if place else "it"
    return ResultTypeError(f"state: an object of {model.__qualname__} cannot be kept: {subject} {problem}")


def decode_state(
    token: str | None, model: type[Any], upgrade: Callable[[int, dict[str, Any]], Any] | None, job_id: str
) -> Any:
    """Return the object of a continuation token; the errors are those of `cp_thirdparty.worker.Job.state`."""
    expected = _version_of(model)  # also without a token, so that a wrong class is an error in the first job
    if token is None:
        return None
    version, document, problem = _parse(token)
    advice = "a changed class needs another __state_version__"
    if problem is None and version != expected:
        if upgrade is None:
            versions = f"version {version}, and {model.__qualname__} has version {expected}"
            problem = f"state has {versions}; pass upgrade= to Job.state"
        else:
            document = upgrade(version, document)
            advice = "correct what upgrade= returns"
    if problem is None:
        if isinstance(document, model):
            return document
        try:
            return read_json(document, model)
        except Exception as error:  # noqa: BLE001 - code of the partner, and values in the error
            problem = f"state does not fit {model.__qualname__} ({type(error).__name__}); {advice}"
    raise ContinuationStateError(f"the continuation {problem}", job_id=job_id)


def _parse(token: str) -> tuple[int, Any, str | None]:
    """Return the version and the JSON value of a token, and its problem."""
    found = _TOKEN.fullmatch(token)
    if found is None:
        return 0, None, "token was not made by Continued(state=...); Job.continuation_token has it as a string"
    version = int(found["version"])
    if _checksum(version, found["json"]) != found["checksum"]:
        return version, None, "token was changed or truncated"
    try:
        return version, json.loads(found["json"]), None
    except (ValueError, RecursionError):  # another program has computed the checksum
        return version, None, "token has no correct JSON"


def _version_of(model: Any) -> int:
    name = model.__qualname__ if isinstance(model, type) else type(model).__qualname__
    if not has_fields(model):
        raise ResultTypeError(f"state: must be of {CLASSES}, not {name}")
    if is_settings(model):
        raise ResultTypeError(f"state: {name} is a settings class, which reads the environment; use a BaseModel")
    version: int = getattr(model, "__state_version__", 1)
    if limits.check_int_range(version, 0, 10**9 - 1) is not None:
        raise ResultTypeError(f"state: {name}.__state_version__ must be an int from 0 to 999,999,999")
    return version


def _checksum(version: int, text: str) -> str:
    return hashlib.sha256(f"{version}:{text}".encode("utf-8", "surrogatepass")).hexdigest()[:8]
