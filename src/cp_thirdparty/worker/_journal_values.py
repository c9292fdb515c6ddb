"""
Call the methods of a journal, which may be of the partner, and check what they return.

A value of a wrong type is a `JournalError`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final, TypeVar

from cp_thirdparty.exceptions import JournalError
from cp_thirdparty.models import AnyJob, CustomJob, FailureDetails, ThirdPartyJob
from cp_thirdparty.worker.journal import (
    IndexedJournal,
    JobScope,
    Journal,
    JournalEntry,
    JournalState,
    LeasedJournal,
    Recovered,
    SetAside,
)
from cp_thirdparty.worker.results import Continued, Succeeded

__all__ = [
    "call_claim",
    "call_hold",
    "call_recover",
    "find_finished",
    "find_problem",
    "has_finished",
    "read_interval",
    "read_jobs",
]

_T = TypeVar("_T")

_RESULTS: Final = (Succeeded, Continued, FailureDetails)


def _check_type(method: str, value: object, expected: type[_T] | tuple[type[_T], ...]) -> _T:
    """
    Return the value that a method of the journal returned.

    Raises:
        JournalError: The value has a wrong type, such as the ``None`` of a method without ``return``.
    """
    if not isinstance(value, expected):
        raise JournalError(f"{method} of the journal returned a wrong type: {type(value).__name__}")
    return value


def read_interval(journal: LeasedJournal) -> float:
    seconds = float(journal.recovery_seconds)
    if not seconds > 0:
        raise JournalError("recovery_seconds of the journal must be more than 0")
    return seconds


def call_claim(journal: Journal, offer: AnyJob, scope: JobScope) -> bool:
    return bool(_check_type("claim", journal.claim(offer, scope), int))  # SQL has no bool


def call_recover(journal: Journal, scope: JobScope) -> Recovered:
    recovered = _check_type("recover", journal.recover(scope), Recovered)
    return Recovered(
        entries=tuple(_check_entry("recover", entry) for entry in recovered.entries),
        set_aside=tuple(_check_type("recover", row, SetAside) for row in recovered.set_aside),
    )


def call_hold(journal: LeasedJournal, job_id: str) -> float:
    seconds = float(_check_type("hold", journal.hold(job_id), (int, float)))
    if math.isnan(seconds):
        raise JournalError("hold of the journal returned no number")
    return seconds


def read_jobs(journal: Journal, *, unfinished_only: bool = False) -> Iterator[JournalEntry]:
    return (_check_entry("jobs", entry) for entry in journal.jobs(unfinished_only=unfinished_only))


def _check_entry(method: str, value: object) -> JournalEntry:
    entry = _check_type(method, value, JournalEntry)
    _check_type(method, entry.job, (ThirdPartyJob, CustomJob))
    return entry


def find_problem(entry: JournalEntry, scope: JobScope) -> str:
    """Return why this worker cannot continue a job of the journal; an empty string if it can."""
    if entry.scope not in (None, scope):
        return "recover of the journal returned it for another scope"
    times = (entry.changed_at, entry.changed_at if entry.claimed_at is None else entry.claimed_at)
    is_correct = {
        "state": isinstance(entry.state, JournalState) and entry.state is not JournalState.DONE,
        "result": isinstance(entry.result, _RESULTS) or (entry.result is None and entry.state != JournalState.RESULT),
        "crashes": isinstance(entry.crashes, int),
        "changed_at or claimed_at": all(isinstance(time, (int, float)) and math.isfinite(time) for time in times),
    }
    wrong = ", ".join(name for name, is_valid in is_correct.items() if not is_valid)
    return f"recover of the journal returned a wrong value: {wrong}" if wrong else ""


def has_finished(journal: Journal, job_id: str, scope: JobScope) -> bool:
    if isinstance(journal, IndexedJournal):
        return bool(_check_type("is_finished", journal.is_finished(job_id, scope), int))
    return any(find_finished(journal, job_id, scope))


def find_finished(journal: Journal, job_id: str, scope: JobScope) -> Iterator[JournalEntry]:
    found = (entry for entry in read_jobs(journal) if entry.state is JournalState.DONE)
    return (entry for entry in found if entry.job.job_id == job_id and entry.scope == scope)
