"""The thread that takes jobs from the journal and polls CodePipeline for new ones, and starts them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Final

from cp_thirdparty._core.backoff import pause_before_poll
from cp_thirdparty.exceptions import ThirdPartyError
from cp_thirdparty.models import AnyJob
from cp_thirdparty.worker._claimed_job import ClaimedJob
from cp_thirdparty.worker._clients import Clients
from cp_thirdparty.worker._failure_policy import Next, Situation, Step, classify
from cp_thirdparty.worker._flow import JobFlow
from cp_thirdparty.worker._journal_writer import JournalWriter
from cp_thirdparty.worker._kinds import AnyClient, kind_of_type
from cp_thirdparty.worker._recovery import Recovery
from cp_thirdparty.worker._settings import Settings
from cp_thirdparty.worker._slots import Slots
from cp_thirdparty.worker.journal import JournalEntry

# Maximum number of seconds between two checks of the journal, even if no slot is free.
_CHECK_INTERVAL: Final = 30.0

# Seconds to wait for more free slots before a poll, so that one poll requests jobs for all of them.
_GATHER_SECONDS: Final = 0.01


class Poller:
    """
    Takes jobs from the journal and from polls while slots are free.  The threads of the slots read and claim the jobs.

    Args:
        settings: The arguments of the worker.
        clients: The clients that make the calls.
        flow: Runs handlers, and decides whether another job may be claimed.
        writer: Writes the journal.
        recovery: Returns the jobs that were taken over from the journal.
        slots: The slots in which jobs are started.
        stopping: Set when the worker stops.
        hand_back: Called with an offer that the worker cannot start.
        note_end: Called when the thread ends.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        clients: Clients,
        flow: JobFlow,
        writer: JournalWriter,
        recovery: Recovery,
        slots: Slots,
        stopping: threading.Event,
        hand_back: Callable[[AnyJob], object],
        note_end: Callable[[], object],
    ) -> None:
        self._settings = settings
        self._kind = kind_of_type(settings.action_type_id)
        self._clients = clients
        self._flow = flow
        self._engine = flow.engine
        self._writer = writer
        self._recovery = recovery
        self._slots = slots
        self._stopping = stopping
        self._hand_back = hand_back
        self._note_end = note_end
        self._thread: threading.Thread | None = None
        self._has_claimed = False  # whether a job was claimed since the last poll
        self._has_found = False  # whether the last poll has returned jobs
        self._polls_at = settings.clock()  # when the next poll is due if the last one led to no claim
        self._failed_polls = 0  # how many polls in a row have failed
        # How many polls in a row have returned a job while the journal or the executor was failing.  Such a job tests
        # whether they work again.
        self._trials = 0
        self.polled_at: float | None = None
        self._is_in_journal = False
        self._active_at = settings.clock()
        self.error: str | None = None
        self.start_error: str | None = None  # why the last job could not be started
        self.fatal: BaseException | None = None

    @property
    def is_started(self) -> bool:
        """Whether the poller was started."""
        return self._thread is not None

    @property
    def is_alive(self) -> bool:
        """Whether the thread of the poller runs."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def active_at(self) -> float:
        """
        When the thread was last active.

        The thread counts as active while it waits for the journal.  Such a call has its own timeout, after which the
        thread continues.  A restart of the worker would not repair the journal, and would end the running jobs.
        """
        return self._settings.clock() if self._is_in_journal else self._active_at

    def start(self, polls: int | None) -> None:
        """Poll until the worker stops, or a given number of times."""
        self._thread = threading.Thread(target=self._run, args=(polls,), name="cp-thirdparty-poller", daemon=True)
        self._thread.start()

    def note_claim(self) -> None:
        """Note that a job was claimed.  The next poll then comes at once, because CodePipeline may have more jobs."""
        if not self._has_claimed:
            self._has_claimed = True
            self._slots.notify()

    def _run(self, polls: int | None) -> None:
        try:
            while not self._stopping.is_set():
                self._check_journal()
                if not self._wait_for_slots():
                    continue
                entry = self._recovery.take()
                if entry is not None:
                    self._resume(entry)
                    continue
                if not self._is_time_to_poll():
                    self._pause()
                    continue
                self._poll(can_retry=polls is None)
                if polls == 1 or self.fatal is not None:
                    return
        except BaseException as failure:  # noqa: BLE001 - the run must end with this error, not continue without polls
            self.fatal = failure.with_traceback(None)
        finally:
            self._note_end()

    def _check_journal(self) -> None:
        self._is_in_journal = True
        try:
            self._writer.repair(lambda job_id: self._slots.has(job_id) or self._recovery.has(job_id))
            self._recovery.check_journal()
        finally:
            self._active_at = self._settings.clock()
            self._is_in_journal = False

    def _wait_for_slots(self) -> int:
        """Wait until a job of the journal or of a poll can be started; return how many jobs can be started."""
        is_failing = self._engine.error is not None
        longest = self._settings.poll_interval if is_failing else self._check_interval()

        def is_enough() -> bool:
            # Nothing ends the wait when handlers can be started again, so it must not be long if they fail meanwhile.
            has_changed = (self._engine.error is not None) is not is_failing
            return bool(self._count_startable()) or self._stopping.is_set() or has_changed

        self._slots.wait(is_enough, longest)
        half = self._settings.concurrency // 2
        self._slots.wait(lambda: self._slots.count_free() >= half or self._stopping.is_set(), _GATHER_SECONDS)
        self._active_at = self._settings.clock()
        return self._count_startable()

    def _count_startable(self) -> int:
        # No job is claimed while handlers cannot be started, or while a job runs alone, because the new job would wait.
        is_alone = self._slots.has_isolated_job() and not self._recovery.has_jobs()
        return self._slots.count_free() if self._flow.may_start(self._slots.in_work()) and not is_alone else 0

    def _resume(self, entry: JournalEntry) -> None:
        """Start a job of the journal; postpone it if it already has a slot, the worker stops, or no thread is left."""
        is_free = not (self._slots.has(entry.job.job_id) or self._stopping.is_set())
        if not (is_free and self._start_job(entry.job, entry)):
            self._recovery.postpone(entry)

    def _poll(self, *, can_retry: bool) -> None:
        """Poll once, start the returned jobs, and note when the next poll is due."""
        is_broken = self._writer.error is not None or self._engine.error is not None
        room = 1 if is_broken else self._slots.count_free()  # one job tests whether both work again
        self._clients.refresh()
        client = self._clients.reader
        polled = self._clients.call(self._kind.poll, client, self._settings.action_type_id, max(room, 1))
        self._has_claimed = False
        if isinstance(polled, ThirdPartyError):
            self._note_failure(polled, client, can_retry=can_retry)
            offers: tuple[AnyJob, ...] = ()
        else:
            self.polled_at, self.error, self._failed_polls = self._settings.clock(), None, 0
            offers = polled
        for offer in offers:
            self._start_offer(offer)
        # A poll that returns no job tests nothing, so the pause before the next poll does not grow.
        self._trials = self._trials + bool(offers) if is_broken else 0
        self._has_found = bool(offers)
        if can_retry:
            failures = max(self._failed_polls, self._trials)
            pause = pause_before_poll(self._settings.poll_interval, failures, self._settings.jitter)
            self._polls_at = self._settings.clock() + pause

    def _note_failure(self, failure: ThirdPartyError, client: AnyClient, *, can_retry: bool) -> None:
        self.error = type(failure).__name__
        self._failed_polls += 1
        self._settings.emitter.log(logging.WARNING, "poll failed: %s", failure)
        next_step = classify(Step.POLL, failure, Situation()).next
        if next_step is Next.RECONNECT:  # before the next poll, so that the error is raised at once without one
            self._clients.note_outdated(client)
        if next_step is Next.STOP or not can_retry:
            self.fatal = failure

    def _start_offer(self, offer: AnyJob) -> None:
        """Start a job of a poll, unless it already has a slot; hand it back if it cannot be started."""
        if self._slots.has(offer.job_id):
            return
        most = self._settings.max_jobs_per_client
        has_slot = self._slots.count_free() and (most is None or self._slots.count(offer.client_id) < most)
        if self._stopping.is_set() or not has_slot or not self._start_job(offer, None):
            self._hand_back(self._kind.split(offer)[0])

    def _start_job(self, offer: AnyJob, entry: JournalEntry | None) -> bool:
        now = self._settings.clock()
        is_started = self._slots.start(ClaimedJob(offer, recorder=self._writer, began_at=now, entry=entry))
        is_refused = not is_started and not self._stopping.is_set()  # slots that are closed refuse jobs too
        was_refused = self.start_error is not None
        self.start_error = RuntimeError.__name__ if is_refused else None
        if is_refused and not was_refused:  # the next attempts, with this job or others, may follow at once
            message = "job=%s cannot be started, nor others: the system has no thread left"
            self._settings.emitter.log(logging.ERROR, message, offer.job_id, offer=offer)
        elif was_refused and is_started:
            self._settings.emitter.log(logging.WARNING, "jobs can be started again")
        return is_started

    def _is_time_to_poll(self) -> bool:
        # After a poll that led to no claim, an immediate poll could return the same jobs again.
        return (self._has_found and self._has_claimed) or self._settings.clock() >= self._polls_at

    def _pause(self) -> None:
        """Wait until the next poll is due, the worker stops, or a job waits to be started."""
        left = max(0.0, self._polls_at - self._settings.clock())

        def is_enough() -> bool:
            return self._stopping.is_set() or (self._has_found and self._has_claimed) or self._recovery.has_jobs()

        self._slots.wait(is_enough, min(left, self._check_interval()))

    def _check_interval(self) -> float:
        return min(_CHECK_INTERVAL, self._recovery.interval)
