"""The job of one invocation of a Lambda function, which is reported before Lambda ends the invocation."""

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
from cp_thirdparty.worker._flow import CLEAN_UP_SECONDS
from cp_thirdparty.worker._processing import Processing
from cp_thirdparty.worker.outcomes import Outcome, Released

# Seconds to wait for a call that is still in progress at the time when all calls must have ended.
_LAST_CALL_SECONDS: Final = 0.1

# The error of a job that could not be reported before the end of the invocation.
_TOO_LATE: Final = "the time of the function is over"

_NO_THREAD: Final = "The action's worker could not start the job."


class Invocation(Processing):
    """
    One job of a `LambdaHandler`.

    The job is always reported before Lambda ends the invocation, with one exception.  If there is a journal and the
    handler could not be called during the first delivery of the event, the job is not reported.  The handler then runs
    at the next delivery of the event.
    """

    def run_in_time(self, failure: FailureDetails | None) -> Outcome:
        """
        Claim the job, run its handler, report its result, and return the outcome.

        Args:
            failure: A failure to report without a call of the handler; ``None`` to call the handler.
        """
        self.job.is_from_event = True
        self._has_cleaned_up = threading.Event()
        self._run_step(lambda: self._flow.claim(self.job))
        if failure is not None:
            self.job.decide(failure, time.monotonic())
        if not self.outcome.done():
            self._run_handler()
        if not self.outcome.done():
            self._run_step(lambda: self._flow.steps.give_up(self.job, _TOO_LATE))
        # The other thread may have ended the job a moment ago, and may not have set `self.outcome` yet.
        return self.job.outcome or self.outcome.result(timeout=0)

    def close(self) -> None:
        """
        Wait for the clean-up of the job while the function has time, and kill the process of the handler.

        Otherwise the process would continue, and the files of the job would stay, when Lambda reuses this environment.
        """
        if self.job.clean_up is not None:
            self._has_cleaned_up.wait(max(0.0, min(CLEAN_UP_SECONDS, self._seconds_to_end())))
        self._engine.close()

    def _may_claim(self) -> bool:
        return True

    def _run_handler(self) -> None:
        """
        Run the handler, and report the job when its time is over.

        Both are done in other threads, because any call may hang.
        """
        self._start(self._finish, functools.partial(self._end_in_time, _NO_THREAD))
        wait([self.outcome], self._flow.seconds_left(self.job))
        if not self.outcome.done():
            self._start(self._end_in_time, self._end_in_time)
        wait([self.outcome], max(0.0, self._seconds_to_end()) + _LAST_CALL_SECONDS)

    def _start(self, work: Callable[[], object], work_here: Callable[[], object]) -> None:
        """Run `work` in a new thread; if the system cannot start a thread, run `work_here` in this thread."""
        run = functools.partial(copy_context().run, work)
        try:
            threading.Thread(target=run, name="cp-thirdparty-invocation", daemon=True).start()
        except RuntimeError:
            work_here()

    def _enter_turn(self, job: ClaimedJob) -> AbstractContextManager[bool]:
        if self._flow.seconds_left(job):
            return nullcontext(True)
        self._end_in_time()
        return nullcontext(False)

    def _end_in_time(self, message: str | None = None) -> None:
        released = Released(job=self.job.offer, error=message or self.job.problem or _TOO_LATE)
        # Only the first delivery leaves the job without a result.  Otherwise a handler that can never start would leave
        # the job without a result forever.
        is_first = self._has_journal and not self.job.is_inherited
        if is_first and self.job.give_up(released, may_have_begun=False):
            self._run_step(lambda: released)
        else:
            self.give_up(message or self._describe_timeout())

    def _finish(self) -> None:
        self._run_step(lambda: self._flow.finish(self.job))
        try:
            self._clean_up()
        finally:
            self._has_cleaned_up.set()
