"""
Inputs that a person may type, what becomes of each, and whether the AWS CLI refuses it too.

The facts about the AWS CLI are those of version 1.46.  ``tests/clients/aws_cli_input.py`` compares them with an
installed one.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

JOB = ("--job-id", "job-1", "--client-token", "xMARKtoken")
TYPE = {"category": "Test", "owner": "ThirdParty", "provider": "P", "version": "1"}
_MEMBERS = "must be one of summary, externalExecutionId, percentComplete"
_PARAMETERS = "must be one of jobId, clientToken, currentRevision, continuationToken, executionDetails"
_FORM = "--execution-details: must be JSON or NAME=VALUE,NAME=VALUE; a VALUE that has , = \" ' [ ] { } may need quotes"
_JSON = "--cli-input-json"
_YAML = "--cli-input-yaml"


class Refused(NamedTuple):
    """An input that is refused before anything is sent."""

    arguments: tuple[str, ...]
    error: str
    aws_refuses: bool | None
    """Whether the AWS CLI refuses it; ``None`` where version 1 has no such option."""


class Accepted(NamedTuple):
    """An input that is sent."""

    arguments: tuple[str, ...]
    sent: dict[str, Any]
    aws_sends_the_same: bool | None
    """Whether the AWS CLI sends the same parameters; ``None`` where version 1 has no such option."""


def succeed(*arguments: str) -> tuple[str, ...]:
    """Return the command that reports a success."""
    return ("put-third-party-job-success-result", *JOB, *arguments)


def fail(*arguments: str) -> tuple[str, ...]:
    """Return the command that reports a failure."""
    return ("put-third-party-job-failure-result", *JOB, *arguments)


def poll(*arguments: str) -> tuple[str, ...]:
    """Return the command that polls."""
    return ("poll-for-third-party-jobs", *arguments)


def _execution(text: str, error: str, *, aws: bool | None = True) -> Refused:
    return Refused(succeed("--execution-details", text), f"--execution-details: {error}", aws)


def _malformed_input(text: str, *, aws: bool = True) -> Refused:
    return Refused(succeed("--execution-details", text), _FORM, aws)


def _failure(text: str, error: str, *, aws: bool = True) -> Refused:
    return Refused(fail("--failure-details", text), f"--failure-details: {error}", aws)


def _revision(text: str, error: str, *, aws: bool = True) -> Refused:
    return Refused(succeed("--current-revision", text), f"--current-revision: {error}", aws)


def _type(text: str, error: str, *, aws: bool = True) -> Refused:
    return Refused(poll("--action-type-id", text), f"--action-type-id: {error}", aws)


def _document(document: object, error: str, *, aws: bool = True) -> Refused:
    text = document if isinstance(document, str) else json.dumps(document)
    return Refused(succeed(_JSON, text), f"{_JSON}: {error}", aws)


def _yaml(text: str, error: str) -> Refused:
    return Refused(succeed(_YAML, text), f"{_YAML}: {error}", None)


REFUSED = (
    # --- members: unknown, near misses, wrong case --------------------------------------------------------------------
    _execution("externalExecutionID=x", "unknown member 'externalExecutionID'; did you mean 'externalExecutionId'?"),
    _execution(
        "external-execution-id=x", "unknown member 'external-execution-id'; did you mean 'externalExecutionId'?"
    ),
    _execution(
        "external_execution_id=x", "unknown member 'external_execution_id'; did you mean 'externalExecutionId'?"
    ),
    _execution("sumary=x", "unknown member 'sumary'; did you mean 'summary'?"),
    _execution("Summary=x", "unknown member 'Summary'; did you mean 'summary'?"),
    _execution("percentComplete=5,sumary=x", "unknown member 'sumary'; did you mean 'summary'?"),
    _execution("progress=x", f"unknown member 'progress'; {_MEMBERS}"),
    _execution("xMARK1=x", f"unknown member; {_MEMBERS}"),
    _execution(f"{'x' * 41}=x", f"unknown member; {_MEMBERS}"),
    _execution("executionDetails=x", f"unknown member 'executionDetails'; {_MEMBERS}"),
    _execution("\u0455ummary=x", "unknown member '\\u0455ummary'; did you mean 'summary'?"),
    _execution(" summary=x", "unknown member ' summary'; did you mean 'summary'?"),
    _execution('{"sumary": "x"}', "unknown member 'sumary'; did you mean 'summary'?"),
    _execution('{"summary": "x", "percentcomplete": 5}', "unknown member 'percentcomplete'; did you mean 'percentC"),
    _execution('{"a": 1, "b": 1, "c": 1, "d": 1, "e": 1, "f": 1, "g": 1}', f"unknown member 'a'; {_MEMBERS}; unknown"),
    _failure("type=JobFailed,mesage=m", "unknown member 'mesage'; did you mean 'message'?"),
    _failure("Type=JobFailed,message=m", "unknown member 'Type'; did you mean 'type'?"),
    _failure("type=JobFailed,message=m,externalExecutionID=x", "unknown member 'externalExecutionID'; did you mean"),
    _failure('{"type": "JobFailed", "message": "m", "summary": "s"}', "unknown member 'summary'; must be one of type,"),
    _revision("revision=r,changeIdentifer=c", "unknown member 'changeIdentifer'; did you mean 'changeIdentifier'?"),
    _revision("revision=r,changeIdentifier=c,revisionSumary=s", "unknown member 'revisionSumary'; did you mean"),
    _type("category=Test,owner=ThirdParty,provider=P,verson=1", "unknown member 'verson'; did you mean 'version'?"),
    _type(
        "category=Test,owner=ThirdParty,provider=P,version=1,region=x", "unknown member 'region'; must be one of cat"
    ),
    # --- members of an input document ---------------------------------------------------------------------------------
    _document({"executionDetail": {}}, "unknown member 'executionDetail'; did you mean 'executionDetails'?"),
    _document({"ExecutionDetails": {}}, "unknown member 'ExecutionDetails'; did you mean 'executionDetails'?"),
    _document({"summary": "x"}, f"unknown member 'summary'; {_PARAMETERS}"),
    _document({"xMARK1": "x"}, f"unknown member; {_PARAMETERS}"),
    _document(
        {"executionDetails": {"sumary": "x"}}, "executionDetails: unknown member 'sumary'; did you mean 'summary'"
    ),
    _document(
        {"executionDetails": {"sumary": 1}, "jobid": "j"}, "executionDetails: unknown member 'sumary'; did you me"
    ),
    _yaml("executionDetails: {sumary: x}", "executionDetails: unknown member 'sumary'; did you mean 'summary'?"),
    _yaml("executionDetail:\n  summary: x\n", "unknown member 'executionDetail'; did you mean 'executionDetails'?"),
    _yaml("executionDetails:\n  summary: x\n  5: y\n", f"executionDetails: unknown member; {_MEMBERS}"),
    _yaml("true: xMARK", f"unknown member; {_PARAMETERS}"),
    # --- the same member or option twice ------------------------------------------------------------------------------
    _execution("summary=a,summary=b", "the member 'summary' is given more than once"),
    _execution('{"summary": "a", "summary": "b"}', "the member 'summary' is given more than once", aws=False),
    _execution('{"xMARK1": "a", "xMARK1": "b"}', "the member is given more than once"),
    _document(
        '{"executionDetails": {"summary": "x"}, "executionDetails": {}}', "the member 'executionDetails' is", aws=False
    ),
    _yaml("executionDetails: {summary: a, summary: b}", "the member 'summary' is given more than once"),
    _yaml("continuationToken: a\ncontinuationToken: a\n", "the member 'continuationToken' is given more than once"),
    Refused(succeed(*["--execution-details", "summary=a"] * 2), "--execution-details: is given more than once", False),
    Refused(succeed(*["--continuation-token", "a"] * 2), "--continuation-token: is given more than once", False),
    Refused(succeed(*[_JSON, "{}"] * 2), f"{_JSON}: is given more than once", False),
    # --- wrong values of enumerations ---------------------------------------------------------------------------------
    _failure("type=JobFaild,message=m", "type: unknown value; did you mean 'JobFailed'?", aws=False),
    _failure("type=jobfailed,message=m", "type: unknown value; did you mean 'JobFailed'?", aws=False),
    _failure("type=xMARK,message=m", "type: must be one of JobFailed, ConfigurationError, ", aws=False),
    _type(
        "category=Tset,owner=ThirdParty,provider=P,version=1",
        "category: unknown value; did you mean 'Test'?",
        aws=False,
    ),
    _type(
        "category=test,owner=ThirdParty,provider=P,version=1",
        "category: unknown value; did you mean 'Test'?",
        aws=False,
    ),
    _type(
        "category=Test,owner=Thirdparty,provider=P,version=1",
        "owner: unknown value; did you mean 'ThirdParty'",
        aws=False,
    ),
    _type("category=Test,owner=,provider=P,version=1", "owner: must be one of AWS, ThirdParty, Custom", aws=False),
    # --- wrong types --------------------------------------------------------------------------------------------------
    _execution('{"summary": 5}', "summary: must be a string"),
    _execution('{"percentComplete": "5"}', "percentComplete: must be an integer"),
    _execution('{"percentComplete": 5.0}', "percentComplete: must be an integer"),
    _execution('{"percentComplete": true}', "percentComplete: must be an integer", aws=False),
    _execution('{"percentComplete": NaN}', "percentComplete: must be an integer"),
    _execution("percentComplete=x", "percentComplete: must be an integer"),
    _execution("percentComplete=+5", "percentComplete: must be an integer", aws=False),
    _failure('{"type": "JobFailed", "message": ["m"]}', "message: must be a string"),
    *(
        _execution(f"summary={text}", "summary: must be a string")
        for text in (
            "a,b",
            "a,'b,c',d,percentComplete=5",
            "[a]",
            "[a, 'b' , [c]]",
            "[]",
            "{a=b}",
            "{ a = b, c={d=[e]} }",
        )
    ),
    _execution("summary={a=b,a=c}", "the member 'a' is given more than once", aws=True),
    _execution("percentComplete=5,6", "percentComplete: must be an integer"),
    _revision("revision=r,changeIdentifier=c,created=yesterday", "created: must be a time"),
    _type(json.dumps({**TYPE, "version": 1}), "version: must be a string"),
    _document([], "must be an object"),
    _document("5", "must be an object"),
    _document({"executionDetails": "summary=x"}, "executionDetails: must be an object"),
    _document({"executionDetails": []}, "executionDetails: must be an object"),
    _document({"continuationToken": 5}, "continuationToken: must be a string"),
    _document({"clientToken": 5}, "clientToken: must be a string", aws=False),
    _yaml("- executionDetails", "must be an object"),
    _yaml("continuationToken: 5", "continuationToken: must be a string"),
    Refused(
        poll(_JSON, json.dumps({"actionTypeId": TYPE, "maxBatchSize": "5"})), f"{_JSON}: maxBatchSize: must be a", True
    ),
    # --- values out of range ------------------------------------------------------------------------------------------
    _execution("percentComplete=-1", "percentComplete: must be from 0 to 100"),
    _execution("percentComplete=101", "percentComplete: must be from 0 to 100", aws=False),
    _type(
        "category=Test,owner=ThirdParty,provider=P P,version=1", "provider must have only letters, digits", aws=False
    ),
    Refused(
        poll(_JSON, json.dumps({"actionTypeId": TYPE, "maxBatchSize": 0})), f"{_JSON}: maxBatchSize: must be at l", True
    ),
    # --- missing members ----------------------------------------------------------------------------------------------
    _failure("type=JobFailed", "required field missing: message"),
    _revision("revision=r", "required field missing: changeIdentifier"),
    _type("category=Test", "required field missing: owner; required field missing: provider"),
    _document({"currentRevision": {"revision": "r"}}, "required field missing: currentRevision.changeIdentifier"),
    # --- empty values -------------------------------------------------------------------------------------------------
    _malformed_input(""),
    _execution("{}", "must not be empty", aws=False),
    _execution("summary=", "summary: must have 1 to 2048 characters"),
    _execution('{"summary": null}', "summary: must not be null"),
    _failure("type=JobFailed,message=", "message: must have 1 to 5000 characters"),
    _revision("revision=r,changeIdentifier=", "changeIdentifier: must have 1 to 100 characters"),
    _document("", "must be valid JSON"),
    _document("null", "must be an object"),
    _document({"executionDetails": None}, "executionDetails: must not be null"),
    _document({"executionDetails": {}}, "executionDetails: must not be empty", aws=False),
    _document({"continuationToken": None}, "continuationToken: must not be null"),
    _document({"continuationToken": ""}, "continuationToken: must have 1 to 2048 characters"),
    _yaml("", "must be an object"),
    _yaml("executionDetails:\n  summary:\n", "executionDetails.summary: must not be null"),
    Refused(succeed("--continuation-token", ""), "--continuation-token: must have 1 to 2048 characters", True),
    Refused(("acknowledge-third-party-job", *JOB, "--nonce", ""), "--nonce: must have 1 to 50 characters", True),
    # --- malformed shorthand, JSON and YAML ---------------------------------------------------------------------------
    _malformed_input("summary"),
    _malformed_input("=x"),
    _malformed_input("summary:x"),
    *(_malformed_input(f"summary={text}") for text in ("[a", "{a=b", "{a", "[a,b]c", "{}}")),
    *(
        Refused(
            succeed("--execution-details", f"summary={text * 5000}"),
            "--execution-details: has too many nested lists or objects",
            True,
        )
        for text in ("[", "{a=")
    ),
    _malformed_input("summary=a,'b"),
    _malformed_input("summary=done,"),
    _malformed_input(",summary=done"),
    _malformed_input("summary=a,,percentComplete=5", aws=False),
    _malformed_input("summary='a'b"),
    _malformed_input("summary='a'externalExecutionId=x"),
    _malformed_input("summary='a, percentComplete=5"),
    _malformed_input("summary=it's"),
    _malformed_input("summary==a"),
    _malformed_input("summary=x}"),
    _malformed_input(r"summary=a\,percentComplete='5'"),
    _malformed_input("[]"),
    _malformed_input("null"),
    _execution("{summary=x}", "must be valid JSON"),
    _execution('{"summary": "a"} x', "must be valid JSON"),
    _document("summary=x", "must be valid JSON"),
    _yaml("a: [xMARK", "must be valid YAML"),
    _yaml("a: &a {summary: xMARK}\nexecutionDetails:\n  <<: *a\n", "the merge key << is not supported"),
    *(
        _yaml(
            f"executionDetails:\n  percentComplete: {number}\n",
            "an integer must be written as decimal digits without a leading 0",
        )
        for number in ("010", "0x10", "0b11", "1_0", "1:30", "+5", '!!int "0x1"')
    ),
    _yaml("a: 1\n---\nb: 1\n", "must be valid YAML"),
    _yaml("? [a]\n: b\n", "must be valid YAML"),
)

_DETAILS = "--execution-details"
_A = {"executionDetails": {"summary": "a"}}
_A_B = {"executionDetails": {"summary": "a,b"}}

ACCEPTED = (
    Accepted(
        succeed(_DETAILS, "summary=a,percentComplete=5"),
        {"executionDetails": {"summary": "a", "percentComplete": 5}},
        True,
    ),
    *(
        Accepted(succeed(_DETAILS, text), {"executionDetails": {"summary": "a b", "percentComplete": 5}}, True)
        for text in (
            "summary=a b, percentComplete=5",
            "summary = a b ,  percentComplete = 5",
            "summary='a b' , percentComplete=5",
            'percentComplete=5,\n  summary="a b"\n',
            "summary@=a b,percentComplete=5",
        )
    ),
    Accepted(succeed(_DETAILS, "summary='a,b'"), _A_B, True),
    Accepted(succeed(_DETAILS, 'summary="a,b"'), _A_B, True),
    Accepted(succeed(_DETAILS, r"summary=a\,b"), _A_B, True),
    Accepted(succeed(_DETAILS, r"summary='it\'s \"a\\b'"), {"executionDetails": {"summary": "it's \\\"a\\b"}}, True),
    Accepted(succeed(_DETAILS, r"summary=C:\temp"), {"executionDetails": {"summary": r"C:\temp"}}, True),
    Accepted(
        succeed(_DETAILS, "externalExecutionId=https://x/?a=b"),
        {"executionDetails": {"externalExecutionId": "https://x/?a=b"}},
        True,
    ),
    Accepted(succeed(_DETAILS, '{"summary": "a"}'), _A, True),
    Accepted(succeed(_JSON, json.dumps(_A)), _A, True),
    Accepted(succeed(_JSON, "{}"), {}, True),
    Accepted(succeed(_YAML, "executionDetails: {summary: a}"), _A, None),
    Accepted(
        succeed(_YAML, "executionDetails: {summary: '010', percentComplete: 50}"),
        {"executionDetails": {"summary": "010", "percentComplete": 50}},
        None,
    ),
    Accepted(succeed(_JSON, json.dumps(_A), "--continuation-token", "c"), {**_A, "continuationToken": "c"}, True),
    Accepted(
        succeed("--current-revision", "revision=r,changeIdentifier=c"),
        {"currentRevision": {"revision": "r", "changeIdentifier": "c"}},
        True,
    ),
    Accepted(
        fail("--failure-details", "type=JobFailed,message=m"),
        {"failureDetails": {"type": "JobFailed", "message": "m"}},
        True,
    ),
    Accepted(
        poll("--action-type-id", "category=Test,owner=ThirdParty,provider=P,version=1"), {"actionTypeId": TYPE}, True
    ),
)
