"""The events of a worker's jobs: one log record for each, and a hook for metrics."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Final

import attrs

from cp_thirdparty.models import ThirdPartyJob
from cp_thirdparty.worker.outcomes import (
    Gone,
    HandedBack,
    LostRace,
    Outcome,
    Rejected,
    Released,
    Reported,
    Uncertain,
    Unsent,
)

__all__ = ["EventHook", "JobEvent", "emit", "emit_outcome"]

_log = logging.getLogger("cp_thirdparty.worker")

_LEVELS: Final[Mapping[str, int]] = {
    "claimed": logging.INFO,
    "reported": logging.INFO,
    "lost_race": logging.DEBUG,
    "handed_back": logging.INFO,
    "gone": logging.WARNING,
    "rejected": logging.WARNING,
    "call_failed": logging.WARNING,
    "recovered": logging.WARNING,
    "handler_failed": logging.ERROR,
    "timed_out": logging.ERROR,
    "executor_failed": logging.ERROR,
    "journal_failed": logging.ERROR,
    "uncertain": logging.ERROR,
    "unsent": logging.ERROR,
    "released": logging.ERROR,
}


@attrs.frozen(kw_only=True)
class JobEvent:
    """
    Something that happened to a job.  It holds no secret.

    =====================  =======  ================================================================
    name                   level    what happened
    =====================  =======  ================================================================
    ``claimed``            INFO     the job is this worker's, and its handler begins
    ``reported``           INFO     the service has the result
    ``handed_back``        INFO     the worker stops; the service offers the job again
    ``lost_race``          DEBUG    another worker has the job
    ``gone``               WARNING  the service takes no result for the job any more
    ``rejected``           WARNING  the job was not claimed: no client token, details that cannot be read, ...
    ``call_failed``        WARNING  an acknowledgement or a result is sent again
    ``recovered``          WARNING  the journal had the job from an earlier worker
    ``handler_failed``     ERROR    the handler raised, or gave no result; the failure is reported
    ``timed_out``          ERROR    the handler was given up; a failure is reported
    ``executor_failed``    ERROR    the process in which the handler ran has died
    ``journal_failed``     ERROR    the journal could not be written; the job goes on
    ``uncertain``          ERROR    nobody knows whose the job is; an operator should look at it
    ``unsent``             ERROR    a result could not be sent; the journal keeps it
    ``released``           ERROR    a claimed job cannot go on here; the journal keeps it
    =====================  =======  ================================================================

    Attributes:
        name: What happened, as in the table.

        job_id: The id of the job.

        client_id: The customer whose job it is.

        detail: What more there is to say, such as the name of an error's class; maybe empty.

        seconds: For ``"reported"``: how long the job took here, from its offer to its accepted result.
    """

    name: str
    job_id: str
    client_id: str
    detail: str = ""
    seconds: float | None = None


EventHook = Callable[[JobEvent], object]
"""Called with each event of a job, in the thread in which it happens.  What it raises is logged and dropped."""


def emit(
    name: str, job: ThirdPartyJob, detail: str = "", *, seconds: float | None = None, hook: EventHook | None = None
) -> None:
    """
    Write the log record of an event and call the hook.

    The record is on the logger ``cp_thirdparty.worker``; its attribute ``job_event`` is the `JobEvent`.
    """
    level = _LEVELS[name]
    if hook is None and not _log.isEnabledFor(level):
        return
    event = JobEvent(name=name, job_id=job.job_id, client_id=job.client_id, detail=detail, seconds=seconds)
    _log.log(
        level,
        *("%s job=%s client=%s%s", name, job.job_id, job.client_id, f" {detail}" if detail else ""),
        extra={"job_event": event},
    )
    if hook is None:
        return
    try:
        hook(event)
    except Exception as failure:  # noqa: BLE001 - whatever it is, it must not cost a job
        _log.warning("on_event raised %s", type(failure).__name__)


def emit_outcome(outcome: Outcome, *, seconds: float | None = None, hook: EventHook | None = None) -> None:
    """Emit the event of an outcome; only that of a reported job has its seconds."""
    name, detail = _describe(outcome)
    emit(name, outcome.job, detail, seconds=seconds if name == "reported" else None, hook=hook)


def _describe(outcome: Outcome) -> tuple[str, str]:
    """Return the name of the event of an outcome, and its detail."""
    if isinstance(outcome, Reported):
        return "reported", type(outcome.result).__name__ + ("" if outcome.is_confirmed else " (not confirmed)")
    if isinstance(outcome, Rejected):
        return "rejected", outcome.reason + (f" ({outcome.error})" if outcome.error else "")
    if isinstance(outcome, (Gone, Unsent, Released)):
        return type(outcome).__name__.lower(), outcome.error
    return _NAMES[type(outcome)], ""


_NAMES: Final[Mapping[type[Outcome], str]] = {
    LostRace: "lost_race",
    HandedBack: "handed_back",
    Uncertain: "uncertain",
}
