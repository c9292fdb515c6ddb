"""What a handler gives back, and how a failure is put into words that the service takes."""

from __future__ import annotations

from typing import TypeAlias

import attrs

from cp_thirdparty import _limits
from cp_thirdparty.enums import FailureType
from cp_thirdparty.exceptions import InvalidRequestError, JobFailedError
from cp_thirdparty.models import CurrentRevision, ExecutionDetails, FailureDetails

__all__ = ["Continued", "Result", "Succeeded", "failure_details"]

_CUT = "…"
_NO_MESSAGE = "The job failed; the worker gave no reason."


@attrs.frozen(kw_only=True, weakref_slot=False)
class Succeeded:
    """
    The action is done, and well.

    Attributes:
        current_revision: The revision that the job has produced.

        execution_details: What the customer's console shows.
    """

    current_revision: CurrentRevision | None = None
    execution_details: ExecutionDetails | None = None


def _checked_token(_instance: object, field: attrs.Attribute[str], value: str) -> None:
    broken = _limits.text(value, _limits.CONTINUATION_TOKEN)
    if broken is not None:
        raise InvalidRequestError(field.name, broken)


@attrs.frozen(kw_only=True, weakref_slot=False)
class Continued:
    """
    This job is done and the action goes on: a later poll brings a new job that carries the token.

    Make it before you start what the token stands for: a token that the service would refuse is refused here.

    Attributes:
        continuation_token: What the next job needs to go on, 1 to 2,048 characters.  It is not treated as a secret.

        current_revision: The revision that the job has produced.

        execution_details: What the customer's console shows.

    Raises:
        cp_thirdparty.exceptions.InvalidRequestError: The token breaks a limit of the service.
    """

    continuation_token: str = attrs.field(validator=_checked_token)
    current_revision: CurrentRevision | None = None
    execution_details: ExecutionDetails | None = None


Result: TypeAlias = Succeeded | Continued | FailureDetails
"""What is reported for a job."""


def failure_details(failure: JobFailedError) -> FailureDetails:
    """
    Put a failure into what the service takes.

    Texts that are too long are cut on a code point and end in ``…``; what cannot be encoded becomes ``?``; an empty
    message gets a fallback, and an empty id is left out.  Botocore refuses an empty message, so that the failure would
    never be reported.

    Args:
        failure: What a handler has raised.
    """
    is_type = isinstance(failure.failure_type, FailureType)
    external_execution_id = failure.external_execution_id
    return FailureDetails(
        type=failure.failure_type if is_type else FailureType.JOB_FAILED,
        message=_cut(failure.message, _limits.FAILURE_MESSAGE) or _NO_MESSAGE,
        external_execution_id=None
        if external_execution_id is None
        else _cut(external_execution_id, _limits.EXTERNAL_EXECUTION_ID) or None,
    )


def _cut(text: object, maximum: int) -> str:
    encodable = (text if isinstance(text, str) else "").encode(errors="replace").decode()
    return encodable if len(encodable) <= maximum else encodable[: maximum - len(_CUT)] + _CUT


def without_decoration(result: Result) -> Result | None:
    """Temporary."""
    return None
