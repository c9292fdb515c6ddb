"""The facts of a call, which a hook gets for metrics."""

from __future__ import annotations

import attrs

from cp_thirdparty._base.text import show, show_optional

__all__ = ["CallRecord"]


@attrs.frozen(kw_only=True)
class CallRecord:
    """
    Facts about one call, for metrics.  It holds no secret.

    Strings of a peer are escaped and truncated to 1,000 characters.

    Attributes:
        operation_name: The operation as the service spells it.
        job_id: The job that it was about; ``None`` for a poll.
        status_code: HTTP status of the last response, or ``None`` when there was none.
        request_id: The request id that AWS Support asks for, or ``None``.
        attempts: How many times the request was sent.
        seconds: How long it took with all attempts.
        error: Name of the class of the error that was raised, or ``None``.
    """

    operation_name: str = attrs.field(converter=show)
    job_id: str | None = attrs.field(converter=show_optional)
    status_code: int | None
    request_id: str | None = attrs.field(converter=show_optional)
    attempts: int
    seconds: float
    error: str | None
