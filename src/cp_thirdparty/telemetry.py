"""The record of a call that the hook ``on_call`` gets for metrics."""

from __future__ import annotations

import attrs

from cp_thirdparty._base.text import show, show_optional

__all__ = ["CallRecord"]


@attrs.frozen(kw_only=True)
class CallRecord:
    """
    The record of one call, for metrics.  It has no secret.

    Strings from a response are escaped and truncated to 1,000 characters.

    Attributes:
        operation_name: The operation as the service spells it.
        job_id: The id of the job of the call; ``None`` for a poll.
        status_code: HTTP status of the last response, or ``None`` without a response.
        request_id: The request id that AWS Support asks for, or ``None``.
        attempts: How many times the request was sent.
        seconds: How long the call took with all attempts.
        error: Class name of the error that the call raised, or ``None``.
    """

    operation_name: str = attrs.field(converter=show)
    job_id: str | None = attrs.field(converter=show_optional)
    status_code: int | None
    request_id: str | None = attrs.field(converter=show_optional)
    attempts: int
    seconds: float
    error: str | None
