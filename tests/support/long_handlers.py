"""What the worker processes of the long runs use, and the processes of their jobs import by name."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path

from cp_thirdparty import ExecutionDetails, FailureType, JobFailedError, Succeeded
from support.handlers import write_line
from support.worker_service import TOKENS, AnyJob

# Longer than a client token may be.
_INVALID = "x" * 300


def fails_as_planned(job_id: str) -> bool:
    """Return whether a handler of the run with faults fails this job: one of sixteen."""
    return int(job_id[-1], 16) == 0


def planned_seconds(job_id: str, most: float) -> float:
    """Return how long the handler of this job takes."""
    return most * int(job_id[:4], 16) / 0xFFFF


def work(job: AnyJob, settings: Mapping[str, str]) -> Succeeded:
    """
    Do what the settings of the worker process ask for.

    ``begun=FILE`` and ``ended=FILE`` note each begin and end, with the name of the worker, the process and the time.
    ``handler=hang`` waits for a file named ``release`` beside the journal, ``handler=fail`` fails one of sixteen jobs,
    and ``handler=die`` kills the process as long as a file named ``die`` beside the journal has a character left.
    ``seconds=N`` takes up to that long.
    """
    directory = Path(settings["directory"])
    _note(job, settings, "begun")
    match settings.get("handler"):
        case "hang":
            while not job.cancelled and not (directory / "release").exists():
                time.sleep(0.01)
        case "fail" if fails_as_planned(job.id):
            raise JobFailedError(FailureType.JOB_FAILED, "as planned")
        case "die" if (directory / "die").exists() and (left := (directory / "die").read_text(encoding="utf-8")):
            (directory / "die").write_text(left[1:], encoding="utf-8")
            os._exit(9)
        case _:
            pass
    ends_at = time.monotonic() + planned_seconds(job.id, float(settings.get("seconds", "0")))
    while not job.cancelled and (left_over := ends_at - time.monotonic()) > 0:
        time.sleep(min(left_over, 0.2))
    _note(job, settings, "ended")
    return Succeeded(execution_details=ExecutionDetails(summary="done"))


def _note(job: AnyJob, settings: Mapping[str, str], what: str) -> None:
    if what in settings:
        write_line(settings[what], f"{job.id} {settings.get('name', 'worker')} {os.getpid()} {time.time()}")


def token_in_file(_client_id: str, path: str) -> str | None:
    """Return what a file has: the token, nothing, or what CodePipeline would not accept as a token."""
    return Path(path).read_text(encoding="utf-8") or None


class UnreliableTokens:
    """A token store of which one look-up in twenty fails, each time in another way."""

    def __init__(self) -> None:
        self._looks = 0

    def __call__(self, client_id: str) -> str | None:
        """Return the token of a client, mostly."""
        self._looks += 1
        # Each process of a job starts with the same count.
        number = self._looks + os.getpid() * 7
        if number % 20:
            return TOKENS.get(client_id)
        kind = number // 20 % 4
        if kind == 0:
            raise SystemExit(3)
        if kind == 1:
            raise UnreadableError
        return None if kind == 2 else _INVALID


class UnreadableError(Exception):
    """An exception that cannot be shown."""

    def __str__(self) -> str:
        raise ZeroDivisionError
