"""Process one job of a `JobProcessor`, before the time at which the process ends."""

from __future__ import annotations

import asyncio
import functools
import math
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import AbstractContextManager, nullcontext, suppress
from contextvars import copy_context
from typing import Any, Final, TypeVar

from cp_thirdparty.enums import FailureType
from cp_thirdparty.models import AnyJob, FailureDetails
from cp_thirdparty.worker._claimed_job import ClaimedJob, Stage
from cp_thirdparty.worker._clients import Clients, limit_calls
from cp_thirdparty.worker._emit import Emitter
from cp_thirdparty.worker._engines import Engine
from cp_thirdparty.worker._flow import CLEAN_UP_SECONDS, JobFlow
from cp_thirdparty.worker._handler_failures import timeout_message
from cp_thirdparty.worker._journal_writer import JournalWriter
from cp_thirdparty.worker._steps import Steps, hold_without_lease
from cp_thirdparty.worker.journal import JournalEntry
from cp_thirdparty.worker.outcomes import HandedBack, Outcome
from cp_thirdparty.worker.tokens import TokenLookup

_T = TypeVar("_T")

# Minimum number of seconds that must be left to start a job.  Two calls to CodePipeline and a report usually take a
# tenth of this.
_MIN_SECONDS: Final = 1.0

# Seconds before the end of the process that are reserved for the report.
_REPORT_SECONDS: Final = 0.5

# Seconds before the end of the process after which a failed attempt to report is not repeated, so that the last events
# can be emitted.
_FLUSH_SECONDS: Final = 0.1

# Seconds to wait until a cancelled coroutine has ended.  The shorter timeout is used if the end of the process is
# known.
_CANCEL_TIMEOUT: Final = 5.0
_SHORT_CANCEL_TIMEOUT: Final = 0.2

# Seconds for the last calls after `stop()` or a cancellation.
_STOP_SECONDS: Final = 5.0

# Seconds between two checks whether the handler has timed out.
_CHECK_INTERVAL: Final = 0.5

_STOPPED: Final = "The action's worker was stopped."
_NOT_STARTED: Final = "The action's worker could not start the job in time."


class Processing:
    """
    One job of a processor.

    `run` works on the job in the calling thread until the job has an outcome.  Other threads may call `give_up` and
    `stop`.

    Args:
        offer: The job.
        tokens: Looks up client tokens; ``None`` for custom jobs, which have no client tokens.
        clients: The clients that make the calls.
        create_engine: Creates the engine that runs the handler; takes a `threading.Event` that is set when the job is
            stopped.
        job_timeout: Seconds that the job may take after its claim.
        ends_at: When the process ends, as a time of `time.monotonic`; infinity if it does not end.
        emitter: Emits the events.
        writer: Writes the journal; ``None`` for no journal.
        entry: The journal entry of the job; ``None`` for a new job.
        report_seconds: Seconds before the end of the process for the report; ``None`` for the default.
    """

    def __init__(
        self,
        offer: AnyJob,
        *,
        tokens: TokenLookup | None,
        clients: Clients,
        create_engine: Callable[[threading.Event], Engine],
        job_timeout: float,
        ends_at: float,
        emitter: Emitter,
        writer: JournalWriter | None = None,
        entry: JournalEntry | None = None,
        report_seconds: float | None = None,
    ) -> None:
        self.job = ClaimedJob(offer, recorder=writer or _NoJournal(), began_at=time.monotonic(), entry=entry)
        self.outcome: Future[Outcome] = Future()
        self._has_journal = writer is not None
        self._ends_at = ends_at
        self._emitter = emitter
        self._job_timeout = job_timeout
        self._report_seconds = _REPORT_SECONDS if report_seconds is None else report_seconds
        self._cancel_timeout = find_cancel_timeout(ends_at)
        self._stopped = threading.Event()
        self._process_id = os.getpid()
        self._engine = create_engine(self._stopped)
        self._flow = JobFlow(
            steps=Steps(
                clients=clients,
                tokens=tokens,
                notify=emitter.emit_job,
                hold=hold_without_lease if writer is None else writer.hold,
                clock=time.monotonic,
                look_up_seconds=self._look_up_seconds,
            ),
            engine=self._engine,
            action_type_id=None,
            is_idempotent=False,
            max_crashes=1,
            job_timeout=job_timeout,
            log_problem=emitter.log_problem,
            may_claim=self._may_claim,
            wait=self._wait,
            enter_turn=self._enter_turn,
            ends_at=ends_at - self._report_seconds,
            clock=time.monotonic,
        )

    def run(self) -> None:
        """Work on the job until it has an outcome; `give_up` may end it earlier."""
        self._run_step(self._begin)
        self._clean_up()

    def give_up(self, message: str) -> None:
        """Report a claimed job as failed without waiting for its handler, unless the job has a result."""
        self._run_step(lambda: self._flow.fail(self.job, message))

    def stop(self) -> None:
        """Prevent the claim of the job, and limit retries to a few seconds."""
        self._ends_at = min(self._ends_at, time.monotonic() + _STOP_SECONDS)
        self._stopped.set()

    async def run_async(self) -> Outcome:
        """
        Work on the job in another thread, and return its outcome.

        If the awaiting task is cancelled, this method reports the job first, for at most about 10 seconds, and then
        raises `asyncio.CancelledError`.  A job that is not claimed yet is not claimed any more; a claimed job without a
        result is reported as failed.
        """
        work = run_in_thread(self.run)
        outcome = asyncio.wrap_future(self.outcome)
        try:
            while not (await asyncio.wait({outcome}, timeout=_CHECK_INTERVAL))[0]:
                if self.job.stage is Stage.RUNNING and not self._flow.seconds_left(self.job):
                    with suppress(RuntimeError):  # the system has no thread left: the next check tries again
                        await asyncio.wait({run_in_thread(functools.partial(self.give_up, self._describe_timeout()))})
            await asyncio.wait({work}, timeout=self._seconds_after_report())
        except asyncio.CancelledError:
            if self._is_forked():
                raise
            self.stop()
            both: set[asyncio.Future[Any]] = {outcome}
            try:
                both.add(run_in_thread(functools.partial(self.give_up, _STOPPED)))
            except RuntimeError:  # the system has no thread left; `stop` limits how long the report blocks the loop
                self.give_up(_STOPPED)
            await asyncio.wait(both, timeout=_STOP_SECONDS)
            await asyncio.wait({work}, timeout=self._cancel_timeout)
            raise
        return outcome.result()

    def _begin(self) -> Outcome | None:
        return self._flow.work(self.job) if self._may_claim() else HandedBack(job=self.job.offer)

    def _is_forked(self) -> bool:
        """Return whether this is a child of the process that works on the job.  A child reports nothing."""
        return os.getpid() != self._process_id

    def _run_step(self, step: Callable[[], Outcome | None]) -> None:
        if self._is_forked():
            return
        try:
            with limit_calls(self._ends_at):
                outcome = step()
            if outcome is not None and self.job.end(outcome):
                seconds = time.monotonic() - self.job.began_at
                self._emitter.emit_outcome(outcome, details=self.job.details, seconds=seconds)
                self._emitter.flush(self._seconds_to_end())
                self.outcome.set_result(outcome)
        except BaseException as failure:  # noqa: BLE001 - stored in `self.outcome`, so that the waiting caller raises it
            try:
                self.outcome.set_exception(failure)
            except InvalidStateError:  # the job has its outcome already, so the error can only be logged
                name = type(failure).__name__
                self._emitter.log_problem(self.job, f"a thread failed after the job had ended: {name}")

    def _clean_up(self) -> None:
        """Remove what the handler has left; wait until problems are logged, because the process may end soon."""
        if self._flow.clean_up(self.job):
            self._emitter.flush(self._seconds_to_end())

    def _seconds_after_report(self) -> float:
        """Return how many seconds to wait, after the report, until the thread of the handler has ended."""
        if self.job.clean_up is None:  # the handler still runs
            return self._cancel_timeout
        return max(self._cancel_timeout, min(CLEAN_UP_SECONDS, self._seconds_to_end()))

    def _seconds_to_end(self) -> float:
        return self._ends_at - time.monotonic()

    def _describe_timeout(self) -> str:
        if self.job.is_starting or self.job.problem:  # the handler was not called, so it did not take too long
            return _NOT_STARTED
        until_report = self._ends_at - self._report_seconds - self._flow.claim_time(self.job)
        return timeout_message(min(self._job_timeout, until_report))

    def _may_claim(self) -> bool:
        return not self._stopped.is_set() and has_time(self._ends_at) and not self._engine.is_blocked

    def _enter_turn(self, job: ClaimedJob) -> AbstractContextManager[bool]:
        """Return a context manager whose value is whether the handler may run; if not, set a failure as the result."""
        if not self._stopped.is_set() and self._flow.seconds_left(job):
            return nullcontext(True)
        message = _STOPPED if self._stopped.is_set() else self._describe_timeout()
        failure = FailureDetails(type=FailureType.SYSTEM_UNAVAILABLE, message=message)
        job.decide(failure, time.monotonic())
        return nullcontext(False)

    def _look_up_seconds(self) -> float:
        """Return how long a look-up of the client token may take, so that time is left for the calls after it."""
        left = self._seconds_to_end()
        return max(left - self._report_seconds, left / 2)

    def _wait(self, job: ClaimedJob, seconds: float) -> bool:
        reserved = _FLUSH_SECONDS if job.stage is Stage.DECIDED else 0.0
        left = min(job.service_deadline, self._ends_at - reserved) - time.monotonic()
        if left <= 0 or (self._stopped.is_set() and not job.is_claimed):
            return False
        pause = min(seconds, left)
        if self._stopped.is_set():
            time.sleep(pause)
        else:
            self._stopped.wait(pause)
        return True


def find_cancel_timeout(ends_at: float) -> float:
    """Return how many seconds to wait until a cancelled coroutine has ended."""
    return _CANCEL_TIMEOUT if math.isinf(ends_at) else _SHORT_CANCEL_TIMEOUT


def has_time(ends_at: float) -> bool:
    """Return whether enough time is left to start a job in a process that ends at ``ends_at`` (`time.monotonic`)."""
    return ends_at - time.monotonic() >= _MIN_SECONDS


class _NoJournal:
    """Records nothing."""

    def claim(self, job: ClaimedJob) -> bool:  # noqa: ARG002 - the name is part of the protocol
        return True

    def record(self, job: ClaimedJob) -> bool:  # noqa: ARG002 - the name is part of the protocol
        return True


def run_in_thread(function: Callable[[], _T]) -> asyncio.Future[_T]:
    """
    Run a function in a new thread, with the context variables of the caller.

    `asyncio.to_thread` has a limited number of threads.  If jobs used these threads to wait for their handlers, no
    thread would be left for handlers that call `asyncio.to_thread`.
    """
    future: Future[_T] = Future()
    context = copy_context()

    def work() -> None:
        try:
            future.set_result(context.run(function))
        except BaseException as failure:  # noqa: BLE001 - the caller that awaits the future raises it
            future.set_exception(failure)

    threading.Thread(target=work, name="cp-thirdparty-processor", daemon=True).start()
    return asyncio.wrap_future(future)
