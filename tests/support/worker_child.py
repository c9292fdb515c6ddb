"""
A worker process that the tests kill: python -m support.worker_child JOURNAL [settings as key=value].

It reaches the local CodePipeline by the environment.  ``engine=`` is ``threads``, ``processes`` or the address of a
Dask scheduler.  ``dynamodb=URL`` has the journal in a table there; its jobs are taken over after ``takeover=`` seconds.
``kill=after:running:3`` makes it kill itself, without a word, before or after a step of its journal, when it comes to
the step for the third time.  ``events=FILE`` writes at the end how often each event was emitted, and how many claims
were written although they raised; ``rows=FILE`` writes which rows of the failure policy were used.  ``partner=bad``
lets the partner's token store, journal, hook and log handler fail again and again.  ``kind=custom`` works on jobs of a
custom action.  ``lease=FILE`` has a journal with leases, which cannot confirm a job while the file exists.
``recovery=never`` takes over no job of an ended worker, which is wrong: the long runs must find the lost jobs.  The
other settings are those of ``support.long_handlers`` and of the worker.
"""

from __future__ import annotations

import itertools
import json
import logging
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from pathlib import Path
from typing import Any

from botocore.config import Config

from cp_thirdparty import CustomJobClient, JobWorker, ThirdPartyJobClient
from cp_thirdparty.exceptions import JournalError
from cp_thirdparty.worker import (
    DynamoDBJournal,
    JobEvent,
    JobScope,
    Recovered,
    SqliteJournal,
    _failure_policy,
    _steps,
    processes,
)
from support import long_handlers
from support.dynamodb import TABLE_NAME, dynalite_client
from support.handlers import token_of, write_line
from support.worker_service import ACTION_TYPE, CUSTOM_TYPE

_WRITES = ("claim", "running", "result", "finish", "withdraw", "release", "uncertain")


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


class _Leased(SqliteJournal):
    """A journal that cannot confirm that it has a job while a file exists."""

    def __init__(self, path: str, lease: str) -> None:
        super().__init__(path)
        self._lease = Path(lease)

    recovery_seconds = 30.0

    def hold(self, _job_id: str) -> float:
        """Return for how long no other worker can take a job over."""
        if self._lease.exists():
            raise JournalError("the lease cannot be renewed")
        return 60.0


class _Unrecovered(SqliteJournal):
    """A journal that takes over no job."""

    def recover(self, scope: JobScope) -> Recovered:  # noqa: ARG002 - the protocol requires it
        """Leave the jobs of ended workers."""
        return Recovered(entries=(), set_aside=())


class _Unreliable(SqliteJournal):
    """A journal of which one write in fifty fails, before or after it was done."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._writes = itertools.count(1)
        self.unknown_claims: list[str] = []  # ids of the jobs whose claim was written and raised

    def __getattribute__(self, name: str) -> Any:
        method = super().__getattribute__(name)
        return partial(self._write, method) if name in _WRITES else method

    def _write(self, method: Callable[..., Any], *arguments: Any, **more: Any) -> Any:
        number = next(self._writes)
        if number % 100 == 0:
            raise JournalError("disk full")
        done = method(*arguments, **more)
        if number % 100 == 50:
            if method.__name__ == "claim":
                self.unknown_claims.append(arguments[0].job_id)
            raise SystemExit
        return done


class _RaisingHandler(logging.Handler):
    """A log handler that raises at one record in ten, and blocks for a moment at another one."""

    def __init__(self) -> None:
        super().__init__()
        self._records = itertools.count(1)

    def handle(self, record: logging.LogRecord) -> bool:
        """Misbehave."""
        number = next(self._records)
        if number % 10 == 0:
            raise long_handlers.UnreadableError
        if number % 10 == 5:
            time.sleep(0.001)
        return super().handle(record)

    def emit(self, record: logging.LogRecord) -> None:
        """Drop the record."""


def _count_events(event: JobEvent, events: Counter[str], *, is_bad: bool) -> None:
    events.update([event.name])
    if is_bad and events.total() % 10 == 0:
        sys.exit(5)


def _note_rows(path: str) -> None:
    """Write the number of each row of the failure policy that is used into a file."""
    seen: set[int] = set()

    def note(number: int, row: _failure_policy.Row) -> _failure_policy.Row:
        def condition(error: Exception, situation: _failure_policy.Situation) -> bool:
            is_met = row.condition(error, situation)
            if is_met and number not in seen:
                seen.add(number)
                write_line(path, str(number))
            return is_met

        return row._replace(condition=condition)

    rows = tuple(note(*each) for each in enumerate(_failure_policy.TABLE))
    _failure_policy.TABLE = rows  # type: ignore[misc] # `classify` reads it at each call


def _executor_of_cluster(address: str) -> Executor:
    from distributed import Client  # noqa: PLC0415 - it takes a second, and only one of the runs uses it

    executor: Executor = Client(address).get_executor()
    return executor


def _create_journal(path: Path, settings: dict[str, str]) -> SqliteJournal | DynamoDBJournal:
    if "dynamodb" in settings:
        client = dynalite_client(settings["dynamodb"])
        return DynamoDBJournal(TABLE_NAME, client=client, takeover_seconds=float(settings.get("takeover", "3")))
    if "kill" in settings:
        return _Killing(str(path), settings["kill"])
    if "lease" in settings:
        return _Leased(str(path), settings["lease"])
    if settings.get("recovery") == "never":
        return _Unrecovered(path)
    return _Unreliable(str(path)) if settings.get("partner") == "bad" else SqliteJournal(path)


def _find_tokens(settings: dict[str, str]) -> Any:
    if "tokens" in settings:
        return partial(long_handlers.token_in_file, path=settings["tokens"])
    return long_handlers.UnreliableTokens() if settings.get("partner") == "bad" else token_of


def main() -> None:
    """Work until SIGTERM; the exit code is 1 if anything is left."""
    path = Path(sys.argv[1])
    settings = dict(argument.split("=", 1) for argument in sys.argv[2:])
    settings["directory"] = str(path.parent)
    is_bad = settings.get("partner") == "bad"
    if is_bad:
        logging.getLogger("cp_thirdparty").addHandler(_RaisingHandler())
    if "rows" in settings:
        _note_rows(settings["rows"])
    _steps._FIRST_PAUSE = 0.01  # type: ignore[misc] # a test does not wait for the service to recover
    events: Counter[str] = Counter()
    concurrency = int(settings.get("concurrency", "4"))
    engine = settings.get("engine", "threads")
    executor: Any = {"threads": None, "processes": processes(concurrency, preload=("support.long_handlers",))}.get(
        engine, partial(_executor_of_cluster, engine)
    )
    attempts = int(settings.get("attempts", "3"))
    journal = _create_journal(path, settings)
    is_custom = settings.get("kind") == "custom"
    tokens: Any = None if is_custom else _find_tokens(settings)
    client_class: Any = CustomJobClient if is_custom else ThirdPartyJobClient
    worker: JobWorker[Any] = JobWorker(
        partial(client_class.create, config=Config(retries={"total_max_attempts": attempts})),
        CUSTOM_TYPE if is_custom else ACTION_TYPE,
        partial(long_handlers.work, settings=settings),
        client_tokens=tokens,
        journal=journal,
        concurrency=concurrency,
        poll_interval=float(settings.get("poll_interval", "0.05")),
        grace=float(settings.get("grace", "30")),
        is_idempotent=settings.get("idempotent") == "yes",
        executor=executor,
        on_event=partial(_count_events, events=events, is_bad=is_bad),
    )
    is_clean = worker.run(handle_signals=True)
    journal.close()
    if "events" in settings:
        events["unknown_claims"] = len(getattr(journal, "unknown_claims", ()))
        Path(settings["events"]).write_text(json.dumps(events), encoding="utf-8")
    sys.exit(0 if is_clean else 1)


if __name__ == "__main__":
    main()
