"""The slots of a worker: its present jobs and their threads.  A job that may crash the process runs alone."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import copy_context
from queue import SimpleQueue

from cp_thirdparty._base.text import show
from cp_thirdparty.worker._claimed_job import ClaimedJob, Stage
from cp_thirdparty.worker._emit import Emitter


class Slots:
    """
    Limits how many jobs the worker has at a time, and runs each in a thread.  Thread-safe.

    Args:
        size: Maximum number of jobs at a time.
        work: Runs and reports a job.  It is called in the thread of a slot.
        emitter: Writes the log.
    """

    def __init__(self, size: int, work: Callable[[ClaimedJob], object], emitter: Emitter) -> None:
        self._size = size
        self._work = work
        self._emitter = emitter
        self._lock = threading.RLock()
        self._slot_freed = threading.Condition(self._lock)  # the thread that polls waits for this
        self._may_start = threading.Condition(self._lock)  # the threads of jobs wait for this
        self._jobs: dict[str, ClaimedJob] = {}  # the jobs that hold a slot, by their ids
        self._busy: set[ClaimedJob] = set()  # the jobs whose threads still work on them
        self._running: set[ClaimedJob] = set()  # the jobs whose handlers run
        self._waits_alone = 0  # how many jobs wait until no other handler runs
        self._skips_wait: set[ClaimedJob] = set()  # the jobs that do not wait for other handlers any more
        self._queue: SimpleQueue[ClaimedJob | None] = SimpleQueue()
        self._threads = 0
        self._is_closed = False

    def count_free(self) -> int:
        """Return how many slots are free."""
        with self._lock:
            return max(self._size - len(self._jobs), 0)

    def has_isolated_job(self) -> bool:
        """Return whether a job runs alone or waits to run alone.  Until it ends, no other job can start."""
        with self._lock:
            return any(
                job.must_run_alone and job.stage not in (Stage.DECIDED, Stage.ENDED) for job in self._jobs.values()
            )

    def count(self, client_id: str) -> int:
        """Return how many slots the jobs of a client hold."""
        with self._lock:
            return sum(job.offer.client_id == client_id for job in self._jobs.values())

    def find_hanging(self, now: float, *, is_blocked: bool) -> tuple[str, ...] | None:
        """
        Return the ids of all jobs if no slot can be used any more; otherwise ``None``.

        A slot cannot be used if the handler of its closed job still runs, or the clean-up of that job hangs.  If a
        coroutine blocks the event loop, free slots and those of jobs whose handlers wait for the loop cannot be used
        either.
        """
        with self._lock:
            jobs = self._jobs.values()
            is_stuck = all(
                (job.is_closed and not job.is_cleaning_up(now)) or (is_blocked and job.is_waiting) for job in jobs
            )
            return tuple(self._jobs) if is_stuck and (is_blocked or len(jobs) >= self._size) else None

    def has(self, job_id: str) -> bool:
        """Return whether a job with this id holds a slot."""
        with self._lock:
            return job_id in self._jobs

    def jobs(self) -> list[ClaimedJob]:
        """Return the jobs that hold a slot, including closed jobs whose handlers hang."""
        with self._lock:
            return list(self._jobs.values())

    def in_work(self) -> list[ClaimedJob]:
        """Return the jobs that are not closed."""
        return [job for job in self.jobs() if not job.is_closed]

    def start(self, job: ClaimedJob) -> bool:
        """Start to work on a job in a thread; return ``False`` if the slots are closed or no thread can be started."""
        with self._lock:
            if self._is_closed:
                return False
            if self._threads <= len(self._jobs):
                try:
                    threading.Thread(target=self._run_jobs, daemon=True).start()
                except RuntimeError:
                    return False
                self._threads += 1
            self._jobs[job.offer.job_id] = job
            self._busy.add(job)
        self._queue.put(job)
        return True

    def remove(self, job: ClaimedJob) -> None:
        """Free the slot of a closed job, unless its thread still runs."""
        with self._lock:
            self._skips_wait.discard(job)
            is_free = job.is_closed and job not in self._busy
            # A later offer of the same job may have the slot already.
            if is_free and self._jobs.get(job.offer.job_id) is job:
                del self._jobs[job.offer.job_id]
                self._slot_freed.notify_all()
            self._may_start.notify_all()

    def skip_wait(self, job: ClaimedJob) -> None:
        """End the wait of a job in `enter_turn`, even if handlers of other jobs run."""
        with self._lock:
            self._skips_wait.add(job)
            self._may_start.notify_all()

    def notify(self) -> None:
        """Wake all threads that wait in `wait` or `enter_turn`, so that they check their conditions again."""
        with self._lock:
            self._slot_freed.notify_all()
            self._may_start.notify_all()

    def wait(self, condition: Callable[[], bool], seconds: float) -> None:
        """Wait until the condition holds, but at most the given seconds."""
        with self._lock:
            self._slot_freed.wait_for(condition, seconds)

    @contextmanager
    def enter_turn(self, job: ClaimedJob) -> Generator[bool, None, None]:
        """Wait until the handler of a job may run; yield ``False`` if the handler must not be called any more."""
        with self._lock:
            self._waits_alone += job.must_run_alone
            self._may_start.wait_for(lambda: self._may_run(job) or self._is_over(job))
            self._waits_alone -= job.must_run_alone
            may_run = not self._is_over(job)
            if may_run:
                self._running.add(job)
        try:
            yield may_run
        finally:
            with self._lock:
                self._running.discard(job)
                self._skips_wait.discard(job)
                if job.must_run_alone:
                    self._slot_freed.notify_all()
                self._may_start.notify_all()

    def close(self) -> None:
        """End the threads that have no job.  Threads whose handlers hang are not waited for."""
        with self._lock:
            self._is_closed = True
            threads, self._threads = self._threads, 0
            self.notify()
        for _ in range(threads):
            self._queue.put(None)

    def _is_over(self, job: ClaimedJob) -> bool:
        return self._is_closed or job.stage in (Stage.DECIDED, Stage.ENDED)

    def _may_run(self, job: ClaimedJob) -> bool:
        # A handler that was given up does not count: its job has a result, so a crash of the process cannot harm it.
        running = [each for each in self._running if each.is_claimed and each.stage is not Stage.DECIDED]
        if job in self._skips_wait:
            return True
        if job.must_run_alone:
            return not running
        return not self._waits_alone and not any(each.must_run_alone for each in running)

    def _run_jobs(self) -> None:
        while (job := self._queue.get()) is not None:
            threading.current_thread().name = f"cp-thirdparty-{show(job.offer.job_id)}"
            try:
                copy_context().run(self._work, job)  # context variables that a handler sets do not reach the next job
            except BaseException as failure:  # noqa: BLE001 - the thread must stay available for the next job
                self._emitter.log_job(logging.CRITICAL, job, "a bug of cp-thirdparty: %s", type(failure).__name__)
            finally:
                with self._lock:
                    self._busy.discard(job)
                self.remove(job)
