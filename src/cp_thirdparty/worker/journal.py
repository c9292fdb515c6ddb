"""The protocol of journals, which let another worker or a restarted worker continue jobs; `MemoryJournal`."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from enum import Enum
from typing import Any, Final, Literal, Protocol, TypeAlias, runtime_checkable
from urllib.parse import urlsplit, urlunsplit

import attrs

from cp_thirdparty._base.frames import hide_init_arguments
from cp_thirdparty.models import ActionTypeId, AnyJob
from cp_thirdparty.worker.results import Result

__all__ = [
    "FinishedOutcome",
    "IndexedJournal",
    "JobScope",
    "Journal",
    "JournalEntry",
    "JournalState",
    "LeasedJournal",
    "MemoryJournal",
    "Recovered",
    "SetAside",
]

# Maximum number of finished jobs that a `MemoryJournal` keeps, which limits the memory of a worker.
_FINISHED_JOBS = 1000

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


FinishedOutcome: TypeAlias = Literal["reported", "gone", "ended by an operator"]
"""How a finished job ended: its result was accepted, CodePipeline accepts no result for it, or an operator ended it."""


class JournalState(str, Enum):
    """The progress of a job."""

    CLAIMING = "CLAIMING"
    """The worker has started to acknowledge the job, and has no response yet."""

    CLAIMED = "CLAIMED"
    """
    A worker claimed the job and released it before the handler ran.

    .. versionadded:: 0.2.0
    """

    RUNNING = "RUNNING"
    """A worker has claimed the job.  The handler may not have started yet."""

    RESULT = "RESULT"
    """The job has a result that CodePipeline may not have yet."""

    UNCERTAIN = "UNCERTAIN"
    """The job may have been acknowledged by this worker or by another one.  An operator should check it."""

    DONE = "DONE"
    """The job is finished."""


def _normalise(url: str) -> str:
    """Return the same string for all spellings of a URL.  A string that is not a URL with a host stays unchanged."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return url
    if not host:
        return url
    place = f"[{host}]" if ":" in host else host
    if port is not None and port != _DEFAULT_PORTS.get(parts.scheme):
        place += f":{port}"
    return urlunsplit((parts.scheme, place, parts.path.rstrip("/"), parts.query, ""))


@hide_init_arguments
@attrs.frozen(kw_only=True)
class JobScope:
    """
    The jobs that one kind of worker may take over.

    Several kinds of workers may share a journal.  A worker takes over jobs of its own scope only, because its handler
    is not made for jobs of other scopes.

    Attributes:
        region_name: AWS region of the client, such as ``"us-east-1"``.
        endpoint_url: URL of the CodePipeline endpoint that the client calls.  It is normalised, so that all spellings
            of a URL are the same scope: a slash at the end, a default port and a user name are removed, and the host is
            converted to lower case.
        action_type_id: The action type.
    """

    region_name: str
    endpoint_url: str = attrs.field(converter=_normalise)
    action_type_id: ActionTypeId


@attrs.frozen(kw_only=True)
class JournalEntry:
    """
    One job in a journal.  It holds no secret.

    Attributes:
        job: The job.
        scope: The scope of the workers that may take over the job.  ``None`` for a job that version 0.1 recorded.
            Before a worker processes such a job, it must compare the action type in the job's details with the worker's
            action type.
        state: The progress of the job.
        result: The result to report, or the reported result; ``None`` before the job has a result.
        may_be_accepted: Whether CodePipeline may have accepted the result.  ``False`` if each attempt to report it is
            known to have failed.
        outcome: ``"reported"``, ``"gone"`` or ``"ended by an operator"``; ``None`` for an unfinished job.
        crashes: How many times the process of a worker crashed while it ran this job and no other one.
        is_suspect: Whether the process of a worker crashed while it ran this job and others, so that any of these jobs
            may be the cause.
        is_owner_alive: Whether the worker that has the job is running; ``None`` if no worker has the job.
        claimed_at: When the job first got the state `JournalState.RUNNING` after its claim, in seconds since 1970;
            ``None`` for a job that never had this state, for jobs that version 0.1 recorded, and in a SQLite file for
            jobs that an operator has ended.
        changed_at: When the state last changed, in seconds since 1970.
    """

    job: AnyJob
    scope: JobScope | None
    state: JournalState
    result: Result | None = None
    may_be_accepted: bool = True
    outcome: FinishedOutcome | None = None
    crashes: int = 0
    is_suspect: bool = False
    is_owner_alive: bool | None = None
    claimed_at: float | None = None
    changed_at: float


@attrs.frozen(kw_only=True)
class SetAside:
    """
    An unreadable job, which is not finished.  No worker takes it over.  It stays until an operator ends it.

    Attributes:
        job_id: Id of the job.
        problem: What is wrong with the record.  It contains no value of the record.
    """

    job_id: str
    problem: str


@attrs.frozen(kw_only=True)
class Recovered:
    """
    The jobs that `Journal.recover` has taken over, and the unreadable jobs that it has found.

    Attributes:
        entries: The jobs that the worker has taken over.
        set_aside: The jobs of the worker's scope whose records cannot be read, and the jobs whose scope cannot be read.
            `Journal.recover` returns these jobs each time, until an operator ends them.
    """

    entries: tuple[JournalEntry, ...]
    set_aside: tuple[SetAside, ...]


class Journal(Protocol):
    """
    Records the jobs of a worker.  Each change is durable when its method returns.  Thread-safe.

    One object belongs to one worker.  Methods that take a job id change only jobs that this object has claimed or
    recovered, and do nothing for other jobs.  Every method may raise `cp_thirdparty.exceptions.JournalError` if the
    journal cannot be read or written.

    A worker calls the methods in separate threads.  It waits at most 60 seconds for a write and 300 seconds for
    `recover` and `jobs`.  After the worker begins to stop, it waits at most for its ``grace``.  If a method has not
    returned by then, the worker treats the call as failed.

    `cp_thirdparty.testing.journal_conformance` tests a journal of your own.
    """

    @property
    def is_durable(self) -> bool:
        """Whether the records remain after the process ends."""
        ...

    @property
    def is_shared(self) -> bool:
        """Whether other processes can take jobs over."""
        ...

    def claim(self, job: AnyJob, scope: JobScope) -> bool:
        """
        Record that the job is about to be acknowledged.

        Returns:
            ``True`` if the job was recorded.  ``False`` if a worker has the job, or if this object has an unfinished
            job with this id in another scope.  A job in the state `JournalState.UNCERTAIN` may be claimed again,
            because CodePipeline offers only jobs that no worker has acknowledged.
        """
        ...

    def withdraw(self, job_id: str) -> None:
        """Remove a job that was not acknowledged."""
        ...

    def running(self, job_id: str, *, crashes: int = 0, is_suspect: bool = False, is_alone: bool = False) -> None:
        """
        Write `JournalState.RUNNING` for a job that is claimed; set `JournalEntry.claimed_at` if it is not set.

        Args:
            job_id: Id of the job.
            crashes: How many times the process of a worker crashed while it ran this job and no other one.
            is_suspect: Whether the process of a worker crashed while it ran this job and others.
            is_alone: Whether the worker runs no other handler until this one ends, because this handler may crash the
                process.  If it does, only the record of this job changes: its ``crashes`` increases by one.
        """
        ...

    def result(self, job_id: str, result: Result, *, may_be_accepted: bool = True) -> None:
        """
        Write the result that the worker is about to report.  The new state is `JournalState.RESULT`.

        Args:
            job_id: Id of the job.
            result: The result.
            may_be_accepted: ``False`` if each attempt to report it is known to have failed, and none is in progress.
        """
        ...

    def uncertain(self, job_id: str) -> None:
        """Write that the job's ownership is unknown.  The new state is `JournalState.UNCERTAIN`."""
        ...

    def finish(self, job_id: str, outcome: FinishedOutcome) -> None:
        """Record that the job is finished."""
        ...

    def release(self, job_id: str, *, has_begun: bool = True) -> None:
        """
        Give up an unfinished job.  The next `recover` of its scope takes it over.

        Args:
            job_id: Id of the job.
            has_begun: Whether the job's handler has begun.  If not, state ``RUNNING`` changes to ``CLAIMED``.
        """
        ...

    def recover(self, scope: JobScope) -> Recovered:
        """
        Take over the unfinished jobs of a scope that no running worker has.

        If a worker ended without releasing its jobs, `recover` updates its `JournalState.RUNNING` jobs in all scopes:
        if one of them ran alone, or if there is only one, its ``crashes`` increases by one; otherwise ``is_suspect`` of
        all of them is set.  `recover` does not update a released job.

        `recover` also takes over jobs without a scope.  The worker must `release` them if they have another action
        type.  An unreadable record does not affect other jobs.
        """
        ...

    def jobs(self, *, unfinished_only: bool = False) -> Iterator[JournalEntry]:
        """Yield the jobs, in no particular order.  Jobs whose records cannot be read are left out."""
        ...

    def prune(self, *, older_than: float, limit: int) -> int:
        """
        Delete finished jobs, and return how many.

        Args:
            older_than: A time in seconds since 1970.  Jobs that finished before it are deleted.
            limit: Maximum number of jobs to delete in this call, so that it does not block other calls for long.
        """
        ...

    def close(self) -> None:
        """Release all unfinished jobs, and close the files or connections of the journal."""
        ...


@runtime_checkable
class LeasedJournal(Journal, Protocol):
    """
    A journal whose workers cannot see whether the process of another worker is running, for example on another machine.

    Each worker renews a lease.  If a worker does not renew its lease for some time, other workers take over its jobs.

    Before each attempt to report a result, the worker calls `hold` to confirm that it still has the job.  For a job
    that `recover` has returned, it also calls `hold` before it acknowledges the job and before it runs the handler.

    .. versionadded:: 0.2.0
    """

    @property
    def recovery_seconds(self) -> float:
        """Maximum number of seconds between two calls of `recover`, so that jobs are taken over in time."""
        ...

    def hold(self, job_id: str) -> float:
        """
        Confirm by a write that this object still has the job.

        Returns:
            The number of seconds in which no other worker can take the job over; 0 if another worker has the job or may
            have it.  The worker ends its attempt to report the result within these seconds.

        Raises:
            cp_thirdparty.exceptions.JournalError: The journal cannot be written.  The worker tries again later.
        """
        ...


@runtime_checkable
class IndexedJournal(Journal, Protocol):
    """
    A journal that finds a finished job by its id.

    `LambdaHandler` calls `is_finished` for the job of each event.  If a journal does not have this method,
    `LambdaHandler` reads all jobs of the journal.

    .. versionadded:: 0.2.0
    """

    def is_finished(self, job_id: str, scope: JobScope) -> bool:
        """Return whether this job is finished.  The cost must not grow with the number of jobs in the journal."""
        ...


_Key: TypeAlias = tuple[JobScope | None, str]


class MemoryJournal:
    """
    A journal in memory.  If the process crashes, its claimed jobs are lost and time out in CodePipeline.

    It keeps the last 1,000 finished jobs.  Thread-safe.

    Args:
        clock: Returns the time in seconds since 1970.
    """

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._owned: dict[str, JournalEntry] = {}
        self._unfinished: dict[_Key, JournalEntry] = {}
        self._finished: OrderedDict[_Key, JournalEntry] = OrderedDict()

    @property
    def is_durable(self) -> bool:
        """Always ``False``, because the records are lost when the process ends."""
        return False

    @property
    def is_shared(self) -> bool:
        """Always ``False``, because no other process can take jobs over."""
        return False

    def claim(self, job: AnyJob, scope: JobScope) -> bool:
        """Record that the job is about to be acknowledged; return ``False`` if a worker has the job."""
        entry = JournalEntry(job=job, scope=scope, state=JournalState.CLAIMING, changed_at=self._clock())
        with self._lock:
            owned = self._owned.get(job.job_id)
            if owned is not None and (owned.scope != scope or owned.state is not JournalState.UNCERTAIN):
                return False
            self._finished.pop(_key_of(entry), None)
            self._store(entry)
            return True

    def withdraw(self, job_id: str) -> None:
        """Remove a job that was not acknowledged."""
        with self._lock:
            self._remove_unfinished(job_id)

    def running(
        self,
        job_id: str,
        *,
        crashes: int = 0,
        is_suspect: bool = False,
        is_alone: bool = False,  # noqa: ARG002 - the records are lost when the process ends
    ) -> None:
        """Write that this worker has claimed the job."""
        with self._lock:
            self._change(job_id, JournalState.RUNNING, crashes=crashes, is_suspect=is_suspect)

    def result(self, job_id: str, result: Result, *, may_be_accepted: bool = True) -> None:
        """Write the result that the worker is about to report."""
        with self._lock:
            self._change(job_id, JournalState.RESULT, result=result, may_be_accepted=may_be_accepted)

    def uncertain(self, job_id: str) -> None:
        """Write that the job's ownership is unknown."""
        with self._lock:
            self._change(job_id, JournalState.UNCERTAIN)

    def finish(self, job_id: str, outcome: FinishedOutcome) -> None:
        """Record that the job is finished."""
        with self._lock:
            self._change(job_id, JournalState.DONE, outcome=outcome)
            entry = self._remove_unfinished(job_id)
            if entry is not None:
                self._finished[_key_of(entry)] = entry
            if len(self._finished) > _FINISHED_JOBS:
                self._finished.popitem(last=False)

    def release(self, job_id: str, *, has_begun: bool = True) -> None:
        """Give up an unfinished job; the next `recover` of its scope returns it."""
        with self._lock:
            entry = self._owned.pop(job_id, None)
            if entry is not None and entry.state is JournalState.RUNNING and not has_begun:
                self._unfinished[_key_of(entry)] = attrs.evolve(entry, state=JournalState.CLAIMED)

    def recover(self, scope: JobScope) -> Recovered:
        """Take over the released jobs of a scope."""
        with self._lock:
            found = [
                entry
                for entry in self._unfinished.values()
                if entry.scope == scope and entry.job.job_id not in self._owned
            ]
            self._owned.update({entry.job.job_id: entry for entry in found})
            return Recovered(entries=tuple(map(self._show_owner, found)), set_aside=())

    def is_finished(self, job_id: str, scope: JobScope) -> bool:
        """Return whether the job is one of the finished jobs that this journal keeps."""
        with self._lock:
            return (scope, job_id) in self._finished

    def jobs(self, *, unfinished_only: bool = False) -> Iterator[JournalEntry]:
        """Yield the jobs, in no particular order."""
        with self._lock:
            entries = [*([] if unfinished_only else self._finished.values()), *self._unfinished.values()]
            return iter([self._show_owner(entry) for entry in entries])

    def prune(self, *, older_than: float, limit: int) -> int:
        """Delete at most ``limit`` jobs that finished before ``older_than``, and return how many."""
        with self._lock:
            old = [key for key, entry in self._finished.items() if entry.changed_at < older_than][:limit]
            for key in old:
                del self._finished[key]
            return len(old)

    def close(self) -> None:
        """Release all unfinished jobs."""
        with self._lock:
            self._owned.clear()

    def _store(self, entry: JournalEntry) -> None:
        self._owned[entry.job.job_id] = self._unfinished[_key_of(entry)] = entry

    def _change(self, job_id: str, state: JournalState, **changes: Any) -> None:
        entry = self._owned.get(job_id)
        if entry is not None:
            now = self._clock()
            if state is JournalState.RUNNING and entry.claimed_at is None:
                changes["claimed_at"] = now
            self._store(attrs.evolve(entry, state=state, changed_at=now, **changes))

    def _remove_unfinished(self, job_id: str) -> JournalEntry | None:
        entry = self._owned.pop(job_id, None)
        return None if entry is None else self._unfinished.pop(_key_of(entry))

    def _show_owner(self, entry: JournalEntry) -> JournalEntry:
        is_owned = self._owned.get(entry.job.job_id) is entry
        return attrs.evolve(entry, is_owner_alive=True if is_owned else None)


def _key_of(entry: JournalEntry) -> _Key:
    return entry.scope, entry.job.job_id
