"""Report each call: one DEBUG record on the logger ``cp_thirdparty``, and a hook for metrics."""

from __future__ import annotations

import logging
from collections.abc import Callable

import attrs

from cp_thirdparty._text import show, show_optional

__all__ = ["CallRecord", "emit", "is_wanted"]

_log = logging.getLogger("cp_thirdparty")


@attrs.frozen(kw_only=True)
class CallRecord:
    """
    Facts about one call, for metrics.  It holds no secret.

    Strings of a peer are escaped and truncated to 1,000 characters.

    Attributes:
        operation_name: The operation as the service spells it.

        job_id: The job that it was about; ``None`` for a poll.

        status_code: HTTP status of the last response, or ``None`` when there was none.

        request_id: What AWS Support asks for, or ``None``.

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


def is_wanted(on_call: Callable[[CallRecord], object] | None) -> bool:
    """Return whether a record would have any consumer."""
    return on_call is not None or _log.isEnabledFor(logging.DEBUG)


def emit(record: CallRecord, on_call: Callable[[CallRecord], object] | None) -> None:
    """Write the DEBUG record and call the hook.  What the hook raises is logged as a warning and dropped."""
    _log.debug(
        "%s job=%s status=%s request=%s attempts=%d %.0f ms",
        *(record.operation_name, record.job_id, record.status_code, record.request_id, record.attempts),
        record.seconds * 1000,
    )
    if on_call is None:
        return
    try:
        on_call(record)
    except Exception as failure:  # noqa: BLE001 - whatever it is, it must not cost the result
        _log.warning("on_call raised %s", type(failure).__name__)
