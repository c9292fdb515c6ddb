"""The jobs that have no result when a run stops waiting: where each one is, and what was last done with it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs

from cp_thirdparty.testing import Action, LocalCodePipeline, RequestRecord
from cp_thirdparty.testing.faults import Response
from cp_thirdparty.worker import JournalEntry
from long.fleet import LOG, Place, find_entries, find_open_jobs, find_place, is_of_run

_POLLS = ("PollForThirdPartyJobs", "PollForJobs")

# How many of the last lines of the workers' log are printed for a job.
_MAX_LINES = 3


class Offers:
    """
    Notes when polls return each job.

    It is a fault of the local CodePipeline that changes nothing, because a fault sees each response.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._times: dict[str, list[float]] = {}

    @classmethod
    def of(cls, service: LocalCodePipeline) -> Offers:
        """Return an object that notes the offers of a service from now on."""
        made = cls()
        for operation_name in _POLLS:
            service.faults.add(operation_name, made, times=None)
        return made

    def play(self, serve: Callable[[], Response]) -> Response:
        """Serve a poll, and note the jobs of its response."""
        response = serve()
        now = time.time()
        for job in json.loads(response.body).get("jobs", ()):
            with self._lock:
                self._times.setdefault(job.get("jobId") or job["id"], []).append(now)
        return response

    def times(self, job_id: str) -> tuple[float, ...]:
        """Return when polls have returned a job, in seconds since 1970."""
        with self._lock:
            return tuple(self._times.get(job_id, ()))


@attrs.frozen(kw_only=True)
class OpenJob:
    """
    A job without a result.

    Attributes:
        job_id: Its id.

        place: Where it is.

        status: Its status in CodePipeline.

        offers: How often a poll has returned it.

        offered_ago: Seconds since a poll has returned it for the last time; ``None`` if no poll has.

        state: Its state in the journal, with the outcome of a finished job; empty if the journal does not have it.

        owner: Whether the worker that has it in the journal runs: ``"running"``, ``"ended"``, or empty without one.

        handlers: The processes in which its handler has begun, and whether each of them runs.

        request: The last request about it and the error of that, if there was one; empty if there was no request.

        log: The last lines of the workers' log that name it.
    """

    job_id: str
    place: Place
    status: str
    offers: int
    offered_ago: float | None
    state: str
    owner: str
    handlers: tuple[str, ...]
    request: str
    log: tuple[str, ...]

    @property
    def row(self) -> tuple[str, ...]:
        """The job as a row of the table, without the log."""
        ago = "-" if self.offered_ago is None else f"{self.offered_ago:.1f} s ago"
        handlers = ", ".join(self.handlers)
        values = (self.state, self.owner, handlers, self.request)
        return (self.job_id, self.place, self.status, str(self.offers), ago, *(value or "-" for value in values))


_HEADER = ("job", "is", "CodePipeline", "offers", "last offer", "journal", "its worker", "handler", "last request")


def find_rest(
    service: LocalCodePipeline, actions: Sequence[Action], journal: Path, offers: Offers, begun: Path
) -> tuple[OpenJob, ...]:
    """
    Return the jobs without a result whose ownership is known.

    Call it while the workers still run: later, none of them has a job.

    Args:
        service: The service.
        actions: All actions of the run.
        journal: The journal of the workers.
        offers: The offers of the service.
        begun: The file in which handlers note their begin.
    """
    jobs = find_open_jobs(actions)
    entries = find_entries(journal) if jobs else {}
    places: dict[str, Place] = {job.id: find_place(job, entries.get(job.id)) for job in jobs}
    requests = _find_last_requests(service.requests, places)
    log = _read_lines(journal.parent / LOG)
    lines = [line.split() for line in _read_lines(begun)]
    return tuple(
        OpenJob(
            job_id=job.id,
            place=places[job.id],
            status=job.status.value,
            offers=len(offers.times(job.id)),
            offered_ago=max((time.time() - at for at in offers.times(job.id)[-1:]), default=None),
            state=_describe_state(entries.get(job.id)),
            owner=_describe_owner(entries.get(job.id)),
            handlers=tuple(_describe_process(int(line[2]), journal.parent) for line in lines if line[0] == job.id),
            request=requests.get(job.id, ""),
            log=tuple([line for line in log if job.id in line][-_MAX_LINES:]),
        )
        for job in jobs
        if places[job.id] != "uncertain"
    )


def describe(rest: Sequence[OpenJob]) -> str:
    """Return the table of the jobs, with the log of each one below it."""
    return "\n".join(_describe_lines(rest)) if rest else "each job has its result, or its ownership is unknown"


def _describe_lines(rest: Sequence[OpenJob]) -> Iterator[str]:
    counts = ((place, sum(job.place == place for job in rest)) for place in ("lost", "held", "queued"))
    yield f"{len(rest)} jobs have no result: " + ", ".join(f"{count} {place}" for place, count in counts if count)
    rows = [_HEADER, *(job.row for job in sorted(rest, key=lambda job: job.place))]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADER))]
    for row in rows:
        yield "  ".join(value.ljust(width) for value, width in zip(row, widths, strict=True)).rstrip()
    for job in rest:
        yield from job.log


def _find_last_requests(records: Iterable[RequestRecord], job_ids: Iterable[str]) -> dict[str, str]:
    """Return the last request about each job, and its error."""
    wanted = set(job_ids)
    found: dict[str, str] = {}
    for record in records:
        parameters: Any = record.parameters or {}
        job_id = parameters.get("jobId")
        if job_id in wanted:
            found[job_id] = " ".join(filter(None, (record.operation_name, record.error_code)))
    return found


def _describe_state(entry: JournalEntry | None) -> str:
    return "" if entry is None else " ".join(filter(None, (entry.state.value, entry.outcome)))


def _describe_owner(entry: JournalEntry | None) -> str:
    if entry is None or entry.is_owner_alive is None:
        return ""
    return "running" if entry.is_owner_alive else "ended"


def _describe_process(process_id: int, directory: Path) -> str:
    return f"{process_id} {'running' if is_of_run(process_id, directory) else 'ended'}"


def _read_lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
