"""The check of responses at its bounds: the last response that is accepted, and the first one that is not."""

from __future__ import annotations

from typing import Any

import pytest

from cp_thirdparty._core import guard

_MIB = 1 << 20
_NO_ID = "a response without a request id does not come from CodePipeline"
_WRONG_LENGTH = "the response does not have the length that it declares"
_WRONG_FORM = "the response does not have the form that the protocol requires"
_LONG_ERROR = "the error is too long"
_MANY_VALUES = "the response has too many values for its length"
_WIDE = "the response has more than 16 MiB and a character beyond Latin-1, which multiplies its memory"


def _check(body: bytes, *, status: int = 200, request_id: str = "r", has_output: bool = True, **headers: str) -> Any:
    all_headers = {"x-amzn-requestid": request_id, **{name.replace("_", "-"): value for name, value in headers.items()}}
    response = {"status_code": status, "headers": all_headers, "body": body}
    return guard.check_response(response, is_cbor=False, has_output=has_output)


@pytest.mark.parametrize(
    ("request_id", "fault"),
    [("!", None), ("~", None), ("r" * 128, None), ("", _NO_ID), ("r" * 129, _NO_ID), ("r r", _NO_ID), ("\x7f", _NO_ID)],
)
def test_a_request_id_has_1_to_128_visible_characters(request_id: str, fault: str | None) -> None:
    """The first and the last visible character of ASCII are accepted, and their neighbors are not."""
    assert _check(b"{}", request_id=request_id) == guard.Finding(
        fault, None if fault else request_id, document=None if fault else {}
    )


@pytest.mark.parametrize(
    ("length", "fault", "is_truncated"),
    [
        ("2", None, False),
        (" 2 ", None, False),
        ("3", _WRONG_LENGTH, True),
        (" 3 ", _WRONG_LENGTH, True),
        ("1", _WRONG_LENGTH, False),
        ("02", _WRONG_LENGTH, False),
        ("-3", _WRONG_LENGTH, False),
        ("many", _WRONG_LENGTH, False),
    ],
)
def test_a_body_must_have_its_declared_length(length: str, fault: str | None, *, is_truncated: bool) -> None:
    """A body is truncated only if the declared length is a number that is larger than the body's."""
    finding = _check(b"{}", content_length=length)
    assert (finding.fault, finding.is_truncated) == (fault, is_truncated)


@pytest.mark.parametrize(("status", "is_error"), [(200, False), (299, False), (300, True), (400, True)])
def test_an_error_has_a_status_from_300(status: int, *, is_error: bool) -> None:
    """A status of the range of successes is not an error without an error type."""
    assert _check(b"{}", status=status) == guard.Finding(None, "r", document={}, is_error=is_error)


@pytest.mark.parametrize("status", [200, 400])
def test_an_error_has_at_most_64_kib(status: int) -> None:
    """The status of a success does not change the limit of an error."""
    bodies = [b'{"__type":"' + b"x" * (length - 13) + b'"}' for length in (65_536, 65_537)]
    assert [len(body) for body in bodies] == [65_536, 65_537]
    findings = [_check(body, status=status) for body in bodies]
    assert [(finding.fault, finding.is_error) for finding in findings] == [(None, True), (_LONG_ERROR, True)]


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (b'{"jobs": []}', None),
        (b' \t\r\n{"jobs": []} \t\r\n', None),
        (b'{"jobs": []}{', _WRONG_FORM),
        (b'{"jobs": []}}', _WRONG_FORM),
        (b'{"jobs": []}\x0b', _WRONG_FORM),
        (b"[]", _WRONG_FORM),
        (b"", _WRONG_FORM),
        (b'{"__type": 5}', "the response has an error type that is not a string"),
    ],
)
def test_a_body_is_one_json_object(body: bytes, fault: str | None) -> None:
    """White space around the object is accepted, and nothing else."""
    assert _check(body).fault == fault


@pytest.mark.parametrize(
    ("status", "has_output", "fault"),
    [(200, True, _WRONG_FORM), (200, False, None), (400, True, None), (400, False, None)],
)
def test_only_a_success_with_an_output_needs_a_body(status: int, fault: str | None, *, has_output: bool) -> None:
    """An error, and the success of an operation without an output, may have an empty body."""
    finding = _check(b"", status=status, has_output=has_output)
    assert (finding.fault, finding.document, finding.is_error) == (fault, None, status == 400)


@pytest.mark.parametrize("value", [b"0", b'""'])
@pytest.mark.parametrize("length", [2 * _MIB, 16 * _MIB])
def test_the_number_of_values_is_limited_by_the_memory(length: int, value: bytes) -> None:
    """64 MiB without three times the length of the body are for values of 256 bytes; 200,000 are always accepted."""
    max_values = max((64 * _MIB - 3 * length) // 256, 200_000)
    faults = []
    for count in (max_values, max_values + 1):
        body = b'{"a":[%s]}' % b",".join([value] * (count - 1))  # the object and the list are values, too
        faults.append(_check(body + b" " * (length - len(body))).fault)
    assert faults == [None, _MANY_VALUES]


def test_each_name_of_a_member_is_a_value() -> None:
    """The two strings of a member count as two values, although the body has only one comma for each member."""
    length = 2 * _MIB
    max_values = (64 * _MIB - 3 * length) // 256
    bodies = [b"{%s}" % b",".join([b'"":""'] * count) for count in (max_values // 2, max_values // 2 + 1)]
    assert [_check(body.ljust(length)).fault for body in bodies] == [None, _MANY_VALUES]


@pytest.mark.parametrize(
    ("characters", "fault"),
    [
        ("\xff", None),
        ("\\u00ff", None),
        ("\\u00FF", None),
        ("\\\\u20ac", None),  # an escaped backslash
        ("\u0100", _WIDE),
        ("\\u0100", _WIDE),
        ("\\u9999", _WIDE),
        ("\\uffff", _WIDE),
        ("\\uFFFF", _WIDE),
        ("\U0010ffff", _WIDE),
    ],
)
def test_a_character_beyond_latin_1_is_refused_above_16_mib(characters: str, fault: str | None) -> None:
    """The last character of Latin-1 is accepted, and the first one beyond it only up to 16 MiB."""
    start = f'{{"a":"{characters}'.encode()
    faults = [_check(start + b"x" * (length - len(start) - 2) + b'"}').fault for length in (16 * _MIB, 16 * _MIB + 1)]
    assert faults == [None, fault]
