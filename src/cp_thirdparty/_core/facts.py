"""The facts of a failed call, and the table that decides whether its request may be resent."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any, Final, NamedTuple, cast

from cp_thirdparty._base.text import show_optional
from cp_thirdparty._core.call import Call, Step
from cp_thirdparty._core.operations import Request
from cp_thirdparty.enums import Delivery
from cp_thirdparty.exceptions import (
    CallFacts,
    CodePipelineJobError,
    CredentialsError,
    InvalidRequestError,
    ResponseDecodeError,
    ServiceError,
    ThrottledError,
    TransportError,
    UntrustedResponseError,
)


class Failure(Enum):
    """The kinds of failures of a call.  Each value is a row of the table in docs/explanation/trust.md."""

    TEMPORARY = "nothing was sent, and the cause is temporary"
    PERMANENT = "nothing was sent, and the cause is permanent"
    NO_RESPONSE = "the request was sent, and no complete response arrived"
    UNTRUSTED = "the response is not from CodePipeline, or was not checked"
    UNREADABLE = "CodePipeline accepted the request, and its response cannot be decoded"
    SERVICE_FAULT = "CodePipeline failed (status 5xx)"
    THROTTLED = "CodePipeline throttled the request"
    REFUSED = "CodePipeline refused the request (status 4xx)"
    REFUSED_UNREAD = "CodePipeline refused the request, and the reason cannot be read"


class Rule(NamedTuple):
    """The error classes of a kind of failure, and ``is_retry_safe`` for calls that read and for calls that write."""

    errors: tuple[type[CodePipelineJobError], ...]
    reads: bool | None
    writes: bool | None


RULES: Final[Mapping[Failure, Rule]] = {
    Failure.TEMPORARY: Rule((TransportError, CredentialsError), reads=True, writes=True),
    Failure.PERMANENT: Rule((TransportError, CredentialsError, InvalidRequestError), reads=False, writes=False),
    Failure.NO_RESPONSE: Rule((TransportError,), reads=True, writes=None),
    Failure.UNTRUSTED: Rule((UntrustedResponseError,), reads=True, writes=None),
    Failure.UNREADABLE: Rule((ResponseDecodeError,), reads=True, writes=None),
    Failure.SERVICE_FAULT: Rule((ServiceError,), reads=True, writes=None),
    Failure.THROTTLED: Rule((ThrottledError,), reads=True, writes=True),
    Failure.REFUSED: Rule((ServiceError, CredentialsError), reads=False, writes=False),
    Failure.REFUSED_UNREAD: Rule((UntrustedResponseError,), reads=True, writes=True),
}


def facts_of(call: Call, failure: Failure) -> CallFacts:
    """Return the facts of a call, for the error that its current attempt has caused."""
    request = cast("Request[Any]", call.request)
    rule = RULES[failure]
    facts: CallFacts = {
        "operation_name": request.operation_name,
        "job_id": show_optional(request.job_id),
        "attempts": call.attempts,
        "delivery": call.delivery,
        "is_retry_safe": rule.reads if request.is_repeatable else rule.writes,
    }
    if call.step in (Step.SENT, Step.RESPONDED):
        facts["status_code"], facts["request_id"] = call.status_code, call.request_id
    return facts


def unsent_facts(operation_name: str, job_id: str | None) -> CallFacts:
    """Return the facts of a call that was refused before it started."""
    return {
        "operation_name": operation_name,
        "job_id": show_optional(job_id),
        "attempts": 0,
        "delivery": Delivery.NOT_SENT,
        "is_retry_safe": RULES[Failure.PERMANENT].writes,
    }


def add_facts(error: CodePipelineJobError, facts: CallFacts) -> None:
    """Add the facts of a call to an error that was created without them."""
    for name, value in facts.items():
        setattr(error, name, value)
