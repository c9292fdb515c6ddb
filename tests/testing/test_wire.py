"""AWS JSON 1.1 of the local CodePipeline: odd values in requests, and the form of responses."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from typing import Any

import botocore.session
import pytest
from botocore.model import Shape

from cp_thirdparty._core.operations import OPERATION_NAMES
from cp_thirdparty.testing._exchange import _HANDLERS
from cp_thirdparty.testing._wire import _IS_TYPE, RefusedError, _problems, error_response, ok_response, parameters_of

_OPERATION = "PutThirdPartyJobSuccessResult"
_MODEL = botocore.session.Session().get_service_model("codepipeline")


def _success(member: str, value: str) -> bytes:
    """Make the body of a success result with one member written as it is."""
    return b'{"jobId": "j", "clientToken": "t", "%s": %s}' % (member.encode(), value.encode())


def _revision(created: str) -> bytes:
    return _success("currentRevision", f'{{"revision": "r", "changeIdentifier": "c", "created": {created}}}')


def _message(body: bytes, code: str = "SerializationException") -> str:
    with pytest.raises(RefusedError) as caught:
        parameters_of(_OPERATION, body)
    assert caught.value.code == code
    return caught.value.message


@pytest.mark.parametrize("created", ["NaN", "Infinity", "-1e400", "1e15", "-62135596801", "253402300800", "true"])
def test_a_time_that_no_calendar_has_is_refused(created: str) -> None:
    """A time outside the years 1 to 9999, or no number at all, is refused before it is read."""
    assert _message(_revision(created)) == "Value at 'currentRevision.created' must be of type timestamp"


@pytest.mark.parametrize("created", ["0", "1.5", "-62135596800", "253402300799"])
def test_a_time_within_the_calendar_passes(created: str) -> None:
    """Seconds with and without a fraction pass, from the first one of a datetime to the last."""
    parameters = parameters_of(_OPERATION, _revision(created))
    assert parameters["currentRevision"]["created"] == float(created)


@pytest.mark.parametrize("number", ["2147483648", "-2147483649", "1.0", '"1"'])
def test_an_integer_has_32_bits(number: str) -> None:
    """What is not an integer of 32 bits is refused."""
    message = _message(_success("executionDetails", f'{{"percentComplete": {number}}}'))
    assert message == "Value at 'executionDetails.percentComplete' must be of type integer"


@pytest.mark.parametrize("member", ["jobId", "clientToken", "continuationToken"])
def test_a_lone_surrogate_is_refused(member: str) -> None:
    """A lone surrogate, which no SDK can write, is not a string, and it is not repeated."""
    body = {"jobId": "j", "clientToken": "t", member: "xMARKERx\ud800"}
    message = _message(json.dumps(body).encode())
    assert message == f"Value at '{member}' must be of type string"


@pytest.mark.parametrize("member", ["jobId", "clientToken", "continuationToken"])
@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("xMARKERx" * 300, "ValidationException"),
        (["xMARKERx"], "SerializationException"),
        ({"xMARKERx": 1}, "SerializationException"),
    ],
)
def test_no_value_is_repeated(member: str, value: object, code: str) -> None:
    """A value that breaks a rule is not in the message."""
    message = _message(json.dumps({"jobId": "j", "clientToken": "t", member: value}).encode(), code)
    assert f"'{member}'" in message
    assert "xMARKERx" not in message


def test_members_that_the_service_does_not_have_are_left_out() -> None:
    """A newer SDK may send more than this model knows; it reaches neither the states nor the journal."""
    body = {"jobId": "j", "clientToken": "t", "later": "xMARKERx", "executionDetails": {"summary": "s", "later": [1]}}
    parameters = parameters_of(_OPERATION, json.dumps(body).encode())
    assert parameters == {"jobId": "j", "clientToken": "t", "executionDetails": {"summary": "s"}}


def _input_shapes(shape: Any) -> Iterator[Shape]:
    yield shape
    for member in getattr(shape, "members", {}).values():
        yield from _input_shapes(member)


@pytest.mark.parametrize("operation", OPERATION_NAMES)
def test_every_type_of_the_inputs_is_checked(operation: str) -> None:
    """A newer botocore whose five operations take a type that nobody checks fails here, by the member's shape."""
    unchecked = [
        shape.name
        for shape in _input_shapes(_MODEL.operation_model(operation).input_shape)
        if shape.type_name not in _IS_TYPE
    ]
    assert unchecked == []


def test_a_type_of_a_newer_model_passes_unchecked() -> None:
    """A member of a type that nobody checks yet gets through instead of breaking the service."""
    assert list(_problems(Shape("Later", {"type": "document"}), {"a": 1}, "later")) == []


def test_each_operation_is_served() -> None:
    """The server has a handler for each operation that the wire accepts."""
    assert set(_HANDLERS) == set(OPERATION_NAMES)


def test_a_response_has_the_headers_of_the_service() -> None:
    """A good response has a request id of its own, the checksum and the length of its body, and the protocol's type."""
    response = ok_response({"status": "InProgress"})
    assert (response.status, json.loads(response.body)) == (200, {"status": "InProgress"})
    assert response.headers["x-amz-crc32"] == str(zlib.crc32(response.body))
    assert response.headers["Content-Length"] == str(len(response.body))
    assert response.headers["Content-Type"] == "application/x-amz-json-1.1"
    assert response.headers["x-amzn-RequestId"] != ok_response({}).headers["x-amzn-RequestId"]
    assert "x-amzn-ErrorType" not in response.headers


def test_a_response_without_output_has_no_body() -> None:
    """The two results get a status alone."""
    response = ok_response(None)
    assert (response.status, response.body, response.headers["Content-Length"]) == (200, b"", "0")


def test_an_error_names_its_code_twice() -> None:
    """A refusal has its code in the body and in a header."""
    response = error_response("JobNotFoundException", "no")
    assert (response.status, json.loads(response.body)) == (400, {"__type": "JobNotFoundException", "message": "no"})
    assert response.headers["x-amzn-ErrorType"] == "JobNotFoundException"
    assert response.headers["x-amz-crc32"] == str(zlib.crc32(response.body))
