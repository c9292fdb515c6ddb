"""Emit the events of a worker's jobs: one log record for each, and a call of the partner's hook."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from cp_thirdparty.models import ThirdPartyJob
from cp_thirdparty.worker.events import EventHook, JobEvent
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


def write_log(level: int, message: str, *arguments: object, extra: Mapping[str, object] | None = None) -> None:
    """Write into the worker's log.  Handlers and filters of logs are the partner's code: what they raise is dropped."""
    with suppress(Exception):
        _log.log(level, message, *arguments, extra=extra)


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
    text = f" {detail}" if detail else ""
    arguments = (name, job.job_id, job.client_id, text)
    write_log(level, "%s job=%s client=%s%s", *arguments, extra={"job_event": event})
    if hook is not None:
        _call(hook, event)


def _call(hook: EventHook, event: JobEvent) -> None:
    try:
        hook(event)
    except BaseException as failure:  # noqa: BLE001 - whatever it is, it must not cost a job
        write_log(logging.WARNING, "on_event raised %s", type(failure).__name__)


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
