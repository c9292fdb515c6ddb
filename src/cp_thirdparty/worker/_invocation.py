"""The job of one invocation of a Lambda function, whose result is reported before the time of the function is over."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable
from concurrent.futures import wait
from contextlib import AbstractContextManager, nullcontext
from contextvars import copy_context
from typing import Final

from cp_thirdparty.models import FailureDetails
from cp_thirdparty.worker._claimed_job import ClaimedJob
from cp_thirdparty.worker._processing import Processing
from cp_thirdparty.worker.outcomes import Outcome, Released

# Seconds of an invocation that are left for its end: the process of the handler is killed, and the function returns.
_FOR_RETURN: Final = 0.25

# Seconds for a call that has begun to end at the end of all calls.
_FOR_LAST_CALL: Final = 0.1

# The error of a job whose report did not end in time.
_TOO_LATE: Final = "the time of the function is over"

_NO_THREAD: Final = "The action's worker could not start the job."


def find_end(seconds_left: float | None) -> float | None:
    """Return when the last call of an invocation ends, by `time.monotonic`; ``None`` if its end is not known."""
    return None if seconds_left is None else time.monotonic() + max(0.0, seconds_left - _FOR_RETURN)


class Invocation(Processing):
    """
    One job of a `LambdaHandler`.

    Whatever happens, the job is reported before the function's time is over.  With a journal the first delivery does
    not report a job whose handler has not begun: then the handler does not run, and the job is left to the next
    delivery of the event.
    """

    def run_in_time(self, failure: FailureDetails | None) -> Outcome:
        """
        Take the job to its outcome, and return it.

        Args:
            failure: What to report in place of a call of the handler; ``None`` to call it.
        """
        self.job.is_from_event = True
        self._work(self._claim)
        if failure is not None:
            self.job.decide(failure, time.monotonic())
        if not self.outcome.done():
            self._follow()
        if not self.outcome.done():
            self._work(lambda: self._flow.steps.give_up(self.job, _TOO_LATE))
        # The other thread may have ended the job just now, and not yet passed its outcome on.
        return self.job.outcome or self.outcome.result(timeout=0)

    def close(self) -> None:
        """Kill the process of the handler, so that it does not go on when Lambda uses this environment again."""
        self._engine.close()

    def _claim(self) -> Outcome | None:
        return self._flow.claim(self.job)

    def _may_claim(self) -> bool:
        return True

    def _follow(self) -> None:
        """Run the handler, and report the job when its time is over, in other threads: any call may hang."""
        self._start(self._finish, functools.partial(self._end_in_time, _NO_THREAD))
        wait([self.outcome], self._flow.seconds_left(self.job))
        if not self.outcome.done():
            self._start(self._end_in_time, self._end_in_time)
        left = None if self._ends_at is None else max(0.0, self._ends_at - time.monotonic()) + _FOR_LAST_CALL
        wait([self.outcome], left)

    def _start(self, work: Callable[[], object], work_here: Callable[[], object]) -> None:
        """Start a thread; if the system has none left, do something else in this one."""
        run = functools.partial(copy_context().run, work)
        try:
            threading.Thread(target=run, name="cp-thirdparty-invocation", daemon=True).start()
        except RuntimeError:
            work_here()

    def _make_room(self, job: ClaimedJob) -> AbstractContextManager[bool]:
        if self._flow.seconds_left(job):
            return nullcontext(True)
        self._end_in_time()
        return nullcontext(False)

    def _end_in_time(self, message: str | None = None) -> None:
        released = Released(job=self.job.offer, error=message or self.job.problem or _TOO_LATE)
        # A handler that cannot begin at a later delivery either must not leave the job without a result.
        is_first = self._has_journal and not self.job.is_inherited
        if is_first and self.job.give_up(released, may_have_begun=False):
            self._work(lambda: released)
        else:
            self.give_up(message or self._describe_timeout())

    def _finish(self) -> None:
        self._work(lambda: self._flow.finish(self.job))
