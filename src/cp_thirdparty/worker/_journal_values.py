"""
Call the methods of a journal, which may be of the partner, and check what they return.

A value of a wrong type is a `JournalError`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final, TypeVar

import attrs

from cp_thirdparty._base.text import show
from cp_thirdparty.exceptions import JournalError
from cp_thirdparty.models import AnyJob, CustomJob, FailureDetails, ThirdPartyJob
from cp_thirdparty.worker._kinds import JobKind, kind_of
from cp_thirdparty.worker._sqlite_rows import LAST_TIME, MANY_CRASHES
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

_T = TypeVar("_T")

_RESULTS: Final = (Succeeded, Continued, FailureDetails)

# The states of an unfinished job.  If a journal returns a job twice, the last state in this order is the right one.
_UNOWNED: Final = (JournalState.CLAIMING, JournalState.UNCERTAIN)
_PROGRESS: Final = (*_UNOWNED, JournalState.CLAIMED, JournalState.RUNNING, JournalState.RESULT)


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
        set_aside=tuple(_show_row(_check_type("recover", row, SetAside)) for row in recovered.set_aside),
    )


def _show_row(row: SetAside) -> SetAside:
    return SetAside(job_id=_show(row.job_id), problem=_show(row.problem))


def _show(value: object) -> str:
    """Return an untrusted string for the health, the log and terminals; the type of a value that is not a string."""
    return show(value) if isinstance(value, str) else f"a {type(value).__name__}"


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


def sort_entries(recovered: Recovered, scope: JobScope, kind: JobKind) -> Recovered:
    """
    Return one entry for each job that this worker can continue, and a `SetAside` for each other job.

    Args:
        recovered: The jobs that the journal returned.
        scope: The scope of the worker.
        kind: The kind of the worker's jobs.
    """
    entries: dict[str, JournalEntry] = {}
    set_aside = list(recovered.set_aside)
    for each in recovered.entries:
        problem = _find_problem(each, scope, kind)
        if problem:
            name = _show(each.job.job_id)
            set_aside.append(SetAside(job_id=name, problem=f"recover of the journal returned {problem}"))
            continue
        # A result is reported, whatever the journal wrote before or after it: the handler must not run a second time.
        entry = each if each.result is None else attrs.evolve(each, state=JournalState.RESULT)
        entries[entry.job.job_id] = max(entries.get(entry.job.job_id, entry), entry, key=_read_progress)
    return Recovered(entries=tuple(entries.values()), set_aside=tuple(set_aside))


def _find_problem(entry: JournalEntry, scope: JobScope, kind: JobKind) -> str:
    """Return what this worker cannot continue; an empty string if it can continue the job."""
    if entry.scope not in (None, scope):
        return "it for another scope"
    if not isinstance(entry.job, kind.job_class):
        return f"a {kind_of(entry.job).name} job, and the worker is for {kind.name} jobs"
    is_correct = {
        "ids": all(isinstance(value, str) for value in (entry.job.job_id, _find_second_id(entry.job))),
        "state": any(entry.state is state for state in _PROGRESS),
        "result": isinstance(entry.result, _find_results(entry.state)),
        "crashes": isinstance(entry.crashes, int) and 0 <= entry.crashes < MANY_CRASHES,
        "changed_at or claimed_at": all(map(_is_time, _list_times(entry))),
    }
    wrong = ", ".join(name for name, is_valid in is_correct.items() if not is_valid)
    return f"a wrong value: {wrong}" if wrong else ""


def _find_second_id(job: AnyJob) -> object:
    return job.nonce if isinstance(job, CustomJob) else job.client_id


def _find_results(state: JournalState) -> tuple[type, ...]:
    """Return the possible types of the result of a job."""
    if state is JournalState.RESULT:
        return _RESULTS
    # If it is not known who owns a job, neither may its result be reported, nor may its handler run a second time.
    return (type(None),) if state in _UNOWNED else (*_RESULTS, type(None))


def _read_progress(entry: JournalEntry) -> tuple[int, int, float]:
    # Of two results, the later one replaced the other, which CodePipeline had refused.
    return _PROGRESS.index(entry.state), entry.crashes, entry.changed_at


def _list_times(entry: JournalEntry) -> list[object]:
    return [entry.changed_at] if entry.claimed_at is None else [entry.changed_at, entry.claimed_at]


def _is_time(value: object) -> bool:
    return isinstance(value, (int, float)) and -LAST_TIME < value < LAST_TIME


def has_finished(journal: Journal, job_id: str, scope: JobScope) -> bool:
    if isinstance(journal, IndexedJournal):
        return bool(_check_type("is_finished", journal.is_finished(job_id, scope), int))
    return any(find_finished(journal, job_id, scope))


def find_finished(journal: Journal, job_id: str, scope: JobScope) -> Iterator[JournalEntry]:
    found = (entry for entry in read_jobs(journal) if entry.state is JournalState.DONE)
    return (entry for entry in found if entry.job.job_id == job_id and entry.scope == scope)
