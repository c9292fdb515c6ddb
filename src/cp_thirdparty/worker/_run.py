"""One run of a worker: slots, the poller that fills them, and what ends them."""

from __future__ import annotations

import logging
import random
import threading
import traceback
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Final

import attrs

from cp_thirdparty._core.backoff import FATAL, pause_before_poll
from cp_thirdparty.client import ThirdPartyJobClient
from cp_thirdparty.enums import FailureType
from cp_thirdparty.exceptions import JournalError, ThirdPartyError
from cp_thirdparty.models import ActionTypeId, FailureDetails, ThirdPartyJob
from cp_thirdparty.worker._calls import call_client
from cp_thirdparty.worker._engine import Engine, LostError
from cp_thirdparty.worker._lifecycle import Flight, Lifecycle
from cp_thirdparty.worker._recovery import Left, Recovery
from cp_thirdparty.worker.events import EventHook
from cp_thirdparty.worker.health import WorkerHealth, WorkerState
from cp_thirdparty.worker.journal import JobScope, Journal, JournalEntry
from cp_thirdparty.worker.outcomes import HandedBack, Outcome, Rejected, Uncertain, Unsent
from cp_thirdparty.worker.runner import Ran
from cp_thirdparty.worker.tokens import TokenLookup

_log = logging.getLogger("cp_thirdparty.worker")

# Seconds for the last attempts to report, after the grace.
_LAST_WORDS: Final = 5.0

# Seconds between two looks for jobs that a dead worker of the same journal has left.
_RECOVERY_INTERVAL: Final = 30.0

_REMEMBERED: Final = 1000


@attrs.frozen(kw_only=True)
class Settings:
    """What the arguments of a `cp_thirdparty.worker.JobWorker` say."""

    action_type_id: ActionTypeId
    concurrency: int
    poll_interval: float
    job_timeout: float
    grace: float
    is_idempotent: bool
    max_crashes: int
    hook: EventHook | None
    clock: Callable[[], float]
    jitter: random.Random


@attrs.define(eq=False)
class Slot:
    """A job in work, from its offer until it has an outcome and its thread has ended."""

    offer: ThirdPartyJob
    entry: JournalEntry | None
    began_at: float
    flight: Flight | None = None
    ends_at: float | None = None
    decided_at: float | None = None
    outcome: Outcome | None = None
    has_ended: bool = False


class Run:
    """
    One run of a worker.

    One thread polls, others work on jobs, and the thread that calls `wait` and `is_over` watches their time.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        reader: ThirdPartyJobClient,
        reporter: ThirdPartyJobClient,
        engine_for: Callable[[ThirdPartyJobClient], Engine],
        tokens: TokenLookup,
        journal: Journal,
        on_outcome: Callable[[Outcome], object] | None,
    ) -> None:
        self._settings = settings
        self._clients = (reader, reporter)
        self._engine = engine_for(reader)
        self._journal = journal
        self._scope = _find_scope(reader, settings.action_type_id)
        self._lifecycle = Lifecycle(
            reader=reader, reporter=reporter, tokens=tokens, journal=journal, scope=self._scope, hook=settings.hook
        )
        self._recovery = Recovery(
            lifecycle=self._lifecycle, is_idempotent=settings.is_idempotent, max_crashes=settings.max_crashes
        )
        self._on_outcome = on_outcome
        self._changed = threading.Condition()  # guards the slots; the poller waits on it
        self._look = threading.Event()  # wakes the thread that watches before its time
        self._slots: dict[str, Slot] = {}
        self._work_queue: SimpleQueue[Slot | None] = SimpleQueue()
        self._threads = 0
        self._left: deque[JournalEntry] = deque()
        self._poller: threading.Thread | None = None
        self._polled_at: float | None = None
        self._poll_error: str | None = None
        self._recovered_at = settings.clock()
        self._grace_ends: float | None = None
        self._forced_at: float | None = None
        self._given_up = threading.Event()
        self._fatal: BaseException | None = None
        self._uncertain: deque[str] = deque(maxlen=_REMEMBERED)
        self._undecodable: deque[str] = deque(maxlen=_REMEMBERED)
        self.is_clean = True

    # --- the thread that watches

    def start(self, polls: int | None) -> None:
        """Take over what was left behind, then poll: for ever, or so many times."""
        self._recover()
        self._poller = threading.Thread(target=self._fill, args=(polls,), name="cp-thirdparty-poller", daemon=True)
        self._poller.start()

    def wait(self, seconds: float) -> None:
        """Wait for something to change, then look whose time is over."""
        self._look.wait(seconds)
        self._look.clear()
        now = self._settings.clock()
        for slot in self._in_work():
            if slot.ends_at is not None and slot.ends_at <= now:
                self._end(slot, "timed_out", f"The job took longer than {self._settings.job_timeout:.0f} seconds.")

    def is_over(self, *, stops: int) -> bool:
        """
        Tell whether all is done, or given up.

        Raises:
            cp_thirdparty.exceptions.ThirdPartyError: A poll has failed for good.
        """
        now = self._settings.clock()
        if stops and self._grace_ends is None:
            self._grace_ends = now + self._settings.grace
            self._notify()
        if self._grace_ends is not None and self._forced_at is None and (stops > 1 or now >= self._grace_ends):
            self._forced_at = now
            for slot in self._in_work():
                self._end(slot, "timed_out", "The action's worker was stopped.")
        in_work = self._in_work()
        if in_work and self._forced_at is not None and now >= self._forced_at + _LAST_WORDS:
            self._given_up.set()
            self.is_clean = False
            return True
        if in_work or (self._poller is not None and self._poller.is_alive() and self._forced_at is None):
            return False
        if self._fatal is not None:
            raise self._fatal
        return True

    def close(self) -> None:
        """Let go of executor and clients; threads whose handlers hang are left behind."""
        self._given_up.set()
        if self._grace_ends is None:
            self._grace_ends = self._settings.clock()
        self._notify()
        for _ in range(self._threads):
            self._work_queue.put(None)
        self._engine.close()
        for client in self._clients:
            client.close()

    def health(self) -> WorkerHealth:
        """Tell how the worker is."""
        now = self._settings.clock()
        with self._changed:
            slots = list(self._slots.values())
        unsent = [slot.decided_at for slot in slots if slot.decided_at is not None and slot.outcome is None]
        state: WorkerState = "running" if self._grace_ends is None else "draining"
        return WorkerHealth(
            state=state,
            in_flight=sum(slot.outcome is None for slot in slots),
            seconds_since_poll=None if self._polled_at is None else now - self._polled_at,
            poll_error=self._poll_error,
            oldest_unsent_result=now - min(unsent) if unsent else None,
            uncertain=tuple(self._uncertain),
            undecodable=tuple(self._undecodable),
            overdue=tuple(slot.offer.job_id for slot in slots if slot.outcome is not None),
        )

    def _in_work(self) -> list[Slot]:
        with self._changed:
            return [slot for slot in self._slots.values() if slot.outcome is None]

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _end(self, slot: Slot, event: str, message: str) -> None:
        """Report a job whose handler is given up; its thread is left to itself."""
        flight = slot.flight
        if flight is None or flight.details is None:
            return
        failure = FailureDetails(type=FailureType.SYSTEM_UNAVAILABLE, message=message)
        if flight.decide(failure):
            flight.cancelled.set()
            slot.decided_at = self._settings.clock()
            self._lifecycle.tell(event, slot.offer, message)
            threading.Thread(target=self._report, args=(slot, flight), daemon=True).start()

    # --- the thread that polls

    def _is_stopping(self) -> bool:
        return self._grace_ends is not None

    def _fill(self, polls: int | None) -> None:
        failures = 0
        try:
            while not self._is_stopping():
                self._look_for_left()
                free = self._wait_for_slot()
                if free == 0:
                    continue
                if self._left:
                    entry = self._left.popleft()
                    self._launch(entry.job, entry)
                    continue
                found = self._polled(free, is_patient=polls is None)
                failures = failures + 1 if found is None else 0
                for offer in found or ():
                    self._take(offer)
                if polls == 1 or self._fatal is not None:
                    return
                if not found:
                    self._pause(failures)
        except BaseException as failure:  # noqa: BLE001 - a poller that dies in silence would look like a worker at its end
            self._fatal = failure.with_traceback(None)
        finally:
            self._look.set()

    def _look_for_left(self) -> None:
        now = self._settings.clock()
        if now - self._recovered_at < _RECOVERY_INTERVAL:
            return
        self._recovered_at = now
        try:
            self._recover()
        except JournalError as failure:
            _log.error("%s", failure)

    def _recover(self) -> None:
        recovered = self._journal.recover(self._scope)
        self._left.extend(recovered.entries)
        for job in recovered.set_aside:
            _log.error("job=%s is set aside: %s", job.job_id, job.problem)

    def _wait_for_slot(self) -> int:
        with self._changed:
            free = self._settings.concurrency - len(self._slots)
            if free <= 0:
                self._changed.wait(_RECOVERY_INTERVAL)
            return max(self._settings.concurrency - len(self._slots), 0)

    def _polled(self, free: int, *, is_patient: bool) -> tuple[ThirdPartyJob, ...] | None:
        poll = self._clients[0].poll_for_third_party_jobs
        found = call_client(poll, self._settings.action_type_id, max_batch_size=free)
        if isinstance(found, ThirdPartyError):
            self._poll_error = type(found).__name__
            if isinstance(found, FATAL) or not is_patient:
                self._fatal = found
            _log.warning("poll failed: %s", found)
            return None
        self._polled_at, self._poll_error = self._settings.clock(), None
        return found

    def _take(self, offer: ThirdPartyJob) -> None:
        """Start on a job, unless it is in work here, or the worker stops, or the service has sent too many."""
        with self._changed:
            is_in_work = offer.job_id in self._slots
            is_full = len(self._slots) >= self._settings.concurrency
        if is_in_work:
            return
        if is_full or self._is_stopping():
            self._ended(HandedBack(job=offer))
        else:
            self._launch(offer, None)

    def _launch(self, offer: ThirdPartyJob, entry: JournalEntry | None) -> None:
        slot = Slot(offer, entry, self._settings.clock())
        with self._changed:
            self._slots[offer.job_id] = slot
            is_thread_missing = self._threads < len(self._slots)
        if is_thread_missing:
            self._threads += 1
            threading.Thread(target=self._serve, daemon=True).start()
        self._work_queue.put(slot)

    def _pause(self, failures: int) -> None:
        pause = pause_before_poll(self._settings.poll_interval, failures, self._settings.jitter)
        ends_at = self._settings.clock() + pause
        with self._changed:
            while not self._is_stopping():
                left = ends_at - self._settings.clock()
                if left <= 0:
                    return
                self._changed.wait(left)

    # --- the threads of the jobs

    def _serve(self) -> None:
        while (slot := self._work_queue.get()) is not None:
            self._work(slot)

    def _work(self, slot: Slot) -> None:
        threading.current_thread().name = f"cp-thirdparty-{slot.offer.job_id}"
        try:
            self._guarded(slot, lambda: self._began(slot) if slot.entry is None else self._resumed(slot, slot.entry))
        finally:
            slot.has_ended = True
            self._leave(slot)

    def _guarded(self, slot: Slot, work: Callable[[], Outcome | None]) -> None:
        try:
            outcome = work()
        except BaseException as failure:  # noqa: BLE001 - a mistake of this library; its text may hold anything
            where = traceback.extract_tb(failure.__traceback__)[-1]
            _log.critical(
                "job=%s %s at %s:%d", slot.offer.job_id, type(failure).__name__, where.name, where.lineno or 0
            )
            self.is_clean = False
            outcome = Rejected(job=slot.offer, reason="the worker failed", error=type(failure).__name__)
        if outcome is not None:
            self._close(slot, outcome)

    def _leave(self, slot: Slot) -> None:
        """Free a slot when its thread has ended and its job has an outcome, whichever comes last."""
        with self._changed:
            if slot.has_ended and slot.outcome is not None:
                self._slots.pop(slot.offer.job_id, None)
            self._changed.notify()
        if self._on_outcome is not None or self._is_stopping():
            self._look.set()

    def _began(self, slot: Slot) -> Outcome | None:
        flight = self._lifecycle.read(slot.offer)
        if not isinstance(flight, Flight):
            return flight
        if self._is_stopping():
            return HandedBack(job=slot.offer)
        outcome = self._lifecycle.claim(flight, self._wait)
        if outcome is not None:
            return outcome
        self._lifecycle.tell("claimed", slot.offer)
        return self._handled(slot, flight)

    def _resumed(self, slot: Slot, entry: JournalEntry) -> Outcome | None:
        self._lifecycle.tell("recovered", slot.offer, f"{entry.state.value} crashes={entry.crashes}")
        left = self._recovery.resume(entry, self._wait)
        if not isinstance(left, Left):
            return left
        if left.flight.result is None:
            return self._handled(slot, left.flight)
        slot.flight, slot.decided_at = left.flight, self._settings.clock()
        return self._lifecycle.report(left.flight, self._wait, was_sent=left.was_sent)

    def _handled(self, slot: Slot, flight: Flight) -> Outcome | None:
        slot.ends_at = self._settings.clock() + self._settings.job_timeout
        slot.flight = flight
        if self._forced_at is not None:
            self._end(slot, "timed_out", "The action's worker was stopped.")
            return None
        ran = self._ran(slot, flight)
        if ran is None:
            return None
        if ran.failure:
            self._lifecycle.tell("handler_failed", slot.offer, ran.failure)
        if not flight.decide(ran.result):
            return None  # it was given up, and is reported by another thread
        slot.decided_at = self._settings.clock()
        return self._lifecycle.report(flight, self._wait)

    def _ran(self, slot: Slot, flight: Flight) -> Ran | None:
        while True:
            try:
                return self._engine.run(flight, self._settings.job_timeout)
            except LostError as lost:
                flight.crashes += 1
                self._lifecycle.tell("executor_failed", slot.offer, str(lost))
            if not self._settings.is_idempotent or flight.crashes >= self._settings.max_crashes:
                return Ran(result=self._recovery.lost(flight.offer))
            if flight.result is not None:
                return None

    def _report(self, slot: Slot, flight: Flight) -> None:
        self._guarded(slot, lambda: self._lifecycle.report(flight, self._wait))

    def _wait(self, seconds: float) -> bool:
        return not self._given_up.wait(seconds)

    def _close(self, slot: Slot, outcome: Outcome) -> None:
        if slot.entry is not None and isinstance(outcome, Rejected):
            self.is_clean = False  # the journal keeps it
        self._ended(outcome, self._settings.clock() - slot.began_at)
        slot.outcome = outcome
        self._leave(slot)

    def _ended(self, outcome: Outcome, seconds: float | None = None) -> None:
        if isinstance(outcome, (Unsent, Uncertain)):
            self.is_clean = False
        if isinstance(outcome, Uncertain):
            self._uncertain.append(outcome.job.job_id)
        if isinstance(outcome, Rejected) and outcome.error == "ResponseDecodeError":
            self._undecodable.append(outcome.job.job_id)
        self._lifecycle.tell_outcome(outcome, seconds)
        if self._on_outcome is not None:
            self._on_outcome(outcome)


def _find_scope(client: ThirdPartyJobClient, action_type_id: ActionTypeId) -> JobScope:
    meta = client._open_client().meta  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - the client under it
    return JobScope(region_name=meta.region_name, endpoint_url=meta.endpoint_url, action_type_id=action_type_id)
