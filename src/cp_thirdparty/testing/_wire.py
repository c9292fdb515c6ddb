"""
Read requests and write responses of AWS JSON 1.1, without sockets.

Parameters are checked against botocore's own service model, so the service's limits, patterns and enumerations apply.
The newest model also lists the protocol Smithy RPC v2 CBOR, but none of the tested SDKs sends it.
"""

from __future__ import annotations

import functools
import json
import re
import uuid
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import attrs
from botocore.loaders import Loader
from botocore.model import ServiceModel, Shape

from cp_thirdparty._base.limits import is_unicode
from cp_thirdparty._core.operations import OPERATION_NAMES

_TARGET_PREFIX = "CodePipeline_20150709."
_CONTENT_TYPE = "application/x-amz-json-1.1"

# Smithy's integers have 32 bits and a sign.
_INTEGERS = range(-(1 << 31), 1 << 31)

# Seconds since 1970 that a datetime holds: the years 1 to 9999.
_FIRST_SECOND, _LAST_SECOND = -62_135_596_800, 253_402_300_799


class RefusedError(Exception):
    """The service refuses a request.  The message has no secret."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


@attrs.frozen(kw_only=True)
class HttpRequest:
    """An HTTP request."""

    method: str
    target: str  # path and query
    headers: Mapping[str, str]  # the names are in lower case
    body: bytes = attrs.field(repr=lambda body: f"<{len(body)} bytes>")


@attrs.frozen(kw_only=True)
class Response:
    """
    An HTTP response.

    Attributes:
        status: The status code.
        headers: All headers, including Content-Length.
        body: The bytes of the body that are sent.
        ending: What happens to the connection: ``"keep"`` keeps it open, ``"close"`` closes it after the body, and
            ``"lost"`` closes it without sending the response.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = attrs.field(repr=lambda body: f"<{len(body)} bytes>")
    ending: Literal["keep", "close", "lost"] = "keep"


def operation_name_of(headers: Mapping[str, str]) -> str:
    """Return the operation that a request names; raise `RefusedError` for an unknown operation or protocol."""
    if headers.get("smithy-protocol") is not None or "cbor" in headers.get("content-type", ""):
        raise RefusedError("UnknownOperationException", "This service understands AWS JSON 1.1, not CBOR")
    prefix, dot, operation_name = headers.get("x-amz-target", "").partition(".")
    if prefix + dot != _TARGET_PREFIX or operation_name not in OPERATION_NAMES:
        raise RefusedError(
            "UnknownOperationException", "This service has the operations of third-party and custom jobs only"
        )
    return operation_name


def parameters_of(operation_name: str, body: bytes) -> dict[str, Any]:
    """
    Return the checked parameters; members that the service does not know are removed.

    Raises:
        RefusedError: A parameter has the wrong type, or breaks a rule.  The error does not contain its value.
    """
    try:
        parameters: object = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        parameters = None
    if not isinstance(parameters, dict):
        raise RefusedError("SerializationException", "The body must be a JSON object")
    shape = _service().operation_model(operation_name).input_shape
    problems = list(_problems(shape, parameters, ""))
    if problems:
        errors = "1 validation error" if len(problems) == 1 else f"{len(problems)} validation errors"
        raise RefusedError("ValidationException", f"{errors} detected: {'; '.join(problems)}")
    known: dict[str, Any] = _remove_unknown_members(shape, parameters)
    return known


def ok_response(document: Mapping[str, Any] | None) -> Response:
    """Return the response to a call that was accepted; operations without output have no body."""
    return _response(200, b"" if document is None else json.dumps(document).encode(), {})


def error_response(code: str, message: str, *, status: int = 400) -> Response:
    """Return the response to a call that was refused."""
    body = json.dumps({"__type": code, "message": message}).encode()
    return _response(status, body, {"x-amzn-ErrorType": code})


def _response(status: int, body: bytes, headers: Mapping[str, str]) -> Response:
    common = {
        "x-amzn-RequestId": str(uuid.uuid4()),
        "x-amz-crc32": str(zlib.crc32(body)),
        "Content-Type": _CONTENT_TYPE,
        "Content-Length": str(len(body)),
    }
    return Response(status=status, headers={**common, **headers}, body=body)


@functools.cache
def _service() -> ServiceModel:
    return ServiceModel(Loader().load_service_model("codepipeline", "service-2"), "codepipeline")


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value in _INTEGERS


def _is_time(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return _FIRST_SECOND <= value <= _LAST_SECOND  # False for NaN


# Other types are not checked, because a newer botocore may add members; a test fails if a type is missing here.
_IS_TYPE: Mapping[str, Callable[[object], bool]] = {
    "string": lambda value: isinstance(value, str) and is_unicode(value),
    "integer": _is_integer,
    "timestamp": _is_time,
    "structure": lambda value: isinstance(value, dict),
    "map": lambda value: isinstance(value, dict),
}


def _problems(shape: Any, value: object, path: str) -> Iterator[str]:
    is_type = _IS_TYPE.get(shape.type_name)
    if is_type is not None and not is_type(value):
        raise RefusedError("SerializationException", f"Value at '{path.rstrip('.')}' must be of type {shape.type_name}")
    if shape.type_name == "structure" and isinstance(value, dict):
        for name in shape.required_members:
            if value.get(name) is None:
                yield _problem(f"{path}{name}", "Member must not be null")
        for name, member in shape.members.items():
            if value.get(name) is not None:
                yield from _problems(member, value[name], f"{path}{name}" + "." * (member.type_name == "structure"))
    elif shape.type_name == "map" and isinstance(value, dict):
        yield from _map_problems(shape, value, path)
    elif isinstance(value, str):
        yield from (_problem(path, rule) for rule in _string_rules(shape, value))
    elif isinstance(value, (int, float)):
        yield from (_problem(path, rule) for rule in _number_rules(shape, value))


def _map_problems(shape: Any, entries: Mapping[Any, object], path: str) -> Iterator[str]:
    if len(entries) > shape.metadata.get("max", len(entries)):
        yield _problem(path, f"Member must have length less than or equal to {shape.metadata['max']}")
    for key, value in entries.items():
        yield from _problems(shape.key, key, f"{path}.key")
        yield from _problems(shape.value, value, f"{path}.value")


def _remove_unknown_members(shape: Any, value: Any) -> Any:
    if shape.type_name != "structure":
        return value
    return {
        name: _remove_unknown_members(member, value[name])
        for name, member in shape.members.items()
        if value.get(name) is not None
    }


def _problem(path: str, rule: str) -> str:
    return f"Value at '{path.rstrip('.')}' failed to satisfy constraint: {rule}"


def _string_rules(shape: Shape, value: str) -> Iterator[str]:
    rules: Mapping[str, Any] = shape.metadata
    if len(value) < rules.get("min", 0):
        yield f"Member must have length greater than or equal to {rules['min']}"
    if len(value) > rules.get("max", len(value)):
        yield f"Member must have length less than or equal to {rules['max']}"
    if not re.fullmatch(rules.get("pattern", ".*"), value, re.DOTALL):
        yield f"Member must satisfy regular expression pattern: {rules['pattern']}"
    if value not in rules.get("enum", [value]):
        yield f"Member must satisfy enum value set: [{', '.join(rules['enum'])}]"


def _number_rules(shape: Shape, value: float) -> Iterator[str]:
    rules: Mapping[str, Any] = shape.metadata
    if value < rules.get("min", value):
        yield f"Member must have value greater than or equal to {rules['min']}"
    if value > rules.get("max", value):
        yield f"Member must have value less than or equal to {rules['max']}"
