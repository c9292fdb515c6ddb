"""
A worker process that the tests kill: python -m support.worker_child JOURNAL [settings as key=value].

It reaches the local CodePipeline by the environment.  ``kill=after:running:3`` makes it kill itself, without a word,
before or after a step of its journal, when it comes to the step for the third time.  ``handler=hang`` is a handler that
waits for a file named ``release`` beside the journal.  ``events=FILE`` writes at the end how often each event was told.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from long.soak import fails_as_planned

from cp_thirdparty import FailureType, JobFailedError, JobWorker, Succeeded, ThirdPartyJobClient
from cp_thirdparty.worker import SqliteJournal, _steps
from support.worker_service import ACTION_TYPE, TOKENS, AnyJob


class _Killing(SqliteJournal):
    """A journal that kills its process at a step."""

    def __init__(self, path: str, kill: str) -> None:
        super().__init__(path)
        self._when, self._step, count = kill.split(":")
        self._left = int(count)

    def __getattribute__(self, name: str) -> Any:
        method = super().__getattribute__(name)
        if name.startswith("_") or name != self._step:
            return method
        self._left -= 1
        if self._left > 0:
            return method

        def killing(*arguments: Any, **more: Any) -> Any:
            if self._when == "after":
                method(*arguments, **more)
            os.kill(os.getpid(), signal.SIGKILL)

        return killing


def main() -> None:
    """Work until SIGTERM; the exit code tells whether anything is left."""
    path = Path(sys.argv[1])
    settings = dict(argument.split("=", 1) for argument in sys.argv[2:])

    def handle(job: AnyJob) -> Succeeded:
        if "begun" in settings:
            with Path(settings["begun"]).open("a", encoding="utf-8") as file:
                file.write(f"{job.id}\n")
        if settings.get("handler") == "hang":
            while not job.cancelled and not path.with_name("release").exists():
                time.sleep(0.01)
        if settings.get("handler") == "fail" and fails_as_planned(job.id):
            raise JobFailedError(FailureType.JOB_FAILED, "as planned")
        return Succeeded()

    events: Counter[str] = Counter()
    _steps._FIRST_PAUSE = 0.01  # type: ignore[misc] # a test does not wait for the service to recover
    kill = settings.get("kill")
    journal = SqliteJournal(path) if kill is None else _Killing(str(path), kill)
    worker: JobWorker[Any] = JobWorker(
        ThirdPartyJobClient.create,
        ACTION_TYPE,
        handle,
        client_tokens=TOKENS,
        journal=journal,
        concurrency=int(settings.get("concurrency", "4")),
        poll_interval=float(settings.get("poll_interval", "0.05")),
        grace=float(settings.get("grace", "30")),
        on_event=lambda event: events.update([event.name]),
    )
    is_clean = worker.run(handle_signals=True)
    journal.close()
    if "events" in settings:
        Path(settings["events"]).write_text(json.dumps(events), encoding="utf-8")
    sys.exit(0 if is_clean else 1)


if __name__ == "__main__":
    main()
