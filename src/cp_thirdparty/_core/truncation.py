"""Truncate results to the limits of the service.  A string that is too long is not an error."""

from __future__ import annotations

from typing import Final

from cp_thirdparty._base import limits
from cp_thirdparty.models import CurrentRevision, ExecutionDetails, FailureDetails

_ELLIPSIS: Final = "…"
_NO_MESSAGE: Final = "The job failed; the worker gave no reason."


def truncate(value: str, maximum: int) -> str:
    """Return a string of at most ``maximum`` code points that UTF-8 can encode; a truncated string ends in ``…``."""
    plain = str.__str__(value)  # a subclass may override methods
    encodable = plain[: maximum + 1].encode(errors="replace").decode()
    return encodable if len(plain) <= maximum else encodable[: maximum - len(_ELLIPSIS)] + _ELLIPSIS


def fit_current_revision(revision: CurrentRevision) -> CurrentRevision | None:
    """Return a revision that the service accepts, or ``None`` if a required part is empty."""
    revision_id = truncate(revision.revision, limits.REVISION)
    change_identifier = truncate(revision.change_identifier, limits.CHANGE_IDENTIFIER)
    if not (revision_id and change_identifier):
        return None
    return CurrentRevision(
        revision=revision_id,
        change_identifier=change_identifier,
        created=revision.created,
        revision_summary=_truncate_optional(revision.revision_summary, limits.REVISION_SUMMARY),
    )


def fit_execution_details(details: ExecutionDetails) -> ExecutionDetails:
    """Return execution details that the service accepts."""
    percent = details.percent_complete
    return ExecutionDetails(
        summary=_truncate_optional(details.summary, limits.EXECUTION_SUMMARY),
        external_execution_id=_truncate_optional(details.external_execution_id, limits.EXTERNAL_EXECUTION_ID),
        percent_complete=None if percent is None else min(max(int.__int__(percent), 0), limits.MAX_PERCENT),
    )


def fit_failure_details(details: FailureDetails) -> FailureDetails:
    """Return failure details that the service accepts."""
    return FailureDetails(
        type=details.type,
        # Botocore refuses an empty message, so the failure could not be reported.
        message=truncate(details.message, limits.FAILURE_MESSAGE) or _NO_MESSAGE,
        external_execution_id=_truncate_optional(details.external_execution_id, limits.EXTERNAL_EXECUTION_ID),
    )


def _truncate_optional(value: str | None, maximum: int) -> str | None:
    return None if value is None else truncate(value, maximum) or None
