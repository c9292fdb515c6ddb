"""Handlers, clients and tokens that other processes can import by their names."""

from __future__ import annotations

import asyncio
import gc
import logging
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, ClassVar, cast

import attrs
from botocore.config import Config

from cp_thirdparty import Continued, CustomJobClient, ExecutionDetails, JobFailedError, Succeeded, ThirdPartyJobClient
from cp_thirdparty.enums import FailureType
from cp_thirdparty.testing import LocalCodePipeline
from cp_thirdparty.worker import tokens
from support.worker_service import TOKENS, AnyJob


def token_of(client_id: str) -> str | None:
    """Look a token up, as in a partner's own store."""
    return TOKENS.get(client_id)


def token_before(client_id: str, path: str) -> str | None:
    """Have tokens only until there is a file."""
    return None if Path(path).exists() else TOKENS.get(client_id)


def token_in_this_process(client_id: str, process_id: int) -> str | None:
    """Have tokens in one process only."""
    return TOKENS.get(client_id) if os.getpid() == process_id else None


def old_token_elsewhere(client_id: str, process_id: int) -> str | None:
    """Have an old token in all processes but one."""
    return TOKENS.get(client_id) if os.getpid() == process_id else "old"


class CachedTokens:
    """A store of tokens whose cache belongs to the process."""

    cached: ClassVar[str | None] = None

    def __call__(self, client_id: str) -> str | None:
        """Return the cached token."""
        return self.cached or TOKENS.get(client_id)

    def refresh(self, _client_id: str) -> None:
        """Forget the cached token."""
        CachedTokens.cached = None


def connect_to(service: LocalCodePipeline) -> partial[ThirdPartyJobClient]:
    """Make what other processes connect with: the environment has the rest."""
    os.environ.update(service.environment())
    return partial(ThirdPartyJobClient.create, config=Config(proxies={}))


def tell_process(_job: AnyJob) -> Succeeded:
    """Return which process did the work."""
    return Succeeded(execution_details=ExecutionDetails(external_execution_id=str(os.getpid())))


async def describe_loop(_job: AnyJob) -> Succeeded:
    """Return which event loop of which process did the work."""
    place = f"{os.getpid()}-{id(asyncio.get_running_loop())}"
    return Succeeded(execution_details=ExecutionDetails(external_execution_id=place))


def find_in_frames(_job: AnyJob, parts: tuple[str, ...]) -> Succeeded:
    """
    Return which locals of its callers show a marker, as a tool that sends the stack of a log record does.

    The marker is given in parts, because the handler itself is in these frames.
    """
    marker = "".join(parts)
    shown = [
        f"{frame.f_code.co_name}({name}=)"
        for frame, _ in traceback.walk_stack(sys._getframe(1))
        for name, value in frame.f_locals.items()
        if marker in repr(value)
    ]
    return Succeeded(execution_details=ExecutionDetails(summary=" ".join(shown) or "none"))


_HAS_SLEPT: list[str] = []


async def sleep_once(job: AnyJob) -> Succeeded:
    """Take longer than anybody waits for the first job of this process."""
    if not _HAS_SLEPT:
        _HAS_SLEPT.append(job.id)
        await asyncio.sleep(300)
    return Succeeded()


def in_steps(job: AnyJob) -> Succeeded | Continued:
    """Go on once."""
    return Continued(continuation_token="again") if job.continuation_token is None else Succeeded()


def fail(_job: AnyJob) -> Succeeded:
    """Fail in the partner's words."""
    raise JobFailedError(FailureType.JOB_FAILED, "no")


def raise_secret(job: AnyJob) -> Succeeded:
    """Raise an error with a secret of the job in its message and in its frame."""
    configuration = job.configuration
    assert configuration is not None
    value = configuration.configuration["ApiKey"].get_secret_value()
    raise ValueError(value, job.details)


def compute(_job: AnyJob, seconds: float = 0.05) -> Succeeded:
    """Keep a processor busy."""
    ends_at = time.process_time() + seconds
    while time.process_time() < ends_at:
        pass
    return Succeeded()


def die_once(job: AnyJob, directory: str) -> Succeeded:
    """Kill the process at the first try of a job."""
    try:
        (Path(directory) / job.id).touch(exist_ok=False)
    except FileExistsError:
        return Succeeded()
    os._exit(9)


def die_with_the_result(job: AnyJob, path: str) -> Succeeded:
    """End successfully, but let the process of Dask die when the result is requested from it."""
    from distributed import get_worker  # noqa: PLC0415 - only Dask runs this handler

    write_line(path, job.id)
    get_worker().handlers["get_data"] = lambda **_: os._exit(9)
    return Succeeded()


async def die_with_the_result_later(job: AnyJob, path: str) -> Succeeded:
    """Do the same in a coroutine."""
    return die_with_the_result(job, path)


def die(_job: AnyJob) -> Succeeded:
    """Kill the process each time."""
    os._exit(9)


def hang(_job: AnyJob) -> Succeeded:
    """Take longer than anybody waits."""
    time.sleep(30)
    return Succeeded()


def die_for(job: AnyJob, directory: str) -> Succeeded:
    """Kill the process each time, if the test has named the job; else take a moment."""
    if (Path(directory) / job.id).exists():
        time.sleep(0.3)  # so that other handlers run by now
        os._exit(9)
    time.sleep(0.5)
    return Succeeded()


def connect_with(environment: dict[str, str]) -> ThirdPartyJobClient:
    """Create a client in a process that does not have the environment of the test."""
    os.environ.update(environment)
    return ThirdPartyJobClient.create(config=Config(proxies={}))


def connect_without_patience(environment: dict[str, str]) -> ThirdPartyJobClient:
    """Create a client, and let a process of a job wait only a short time for its client token."""
    if multiprocessing.parent_process() is not None:
        tokens.MAX_SECONDS = 0.3  # type: ignore[misc]
    return connect_with(environment)


def token_late(client_id: str, path: str) -> str | None:
    """Look a token up; in a process of a job, note the call and hang until a file is there."""
    if multiprocessing.parent_process() is not None:
        write_line(f"{path}-calls", str(os.getpid()))
        wait_for(path)
    return TOKENS.get(client_id)


def _die_if_told(value: str) -> str:
    if value == "die":
        os._exit(9)
    return value


@attrs.frozen
class DyingConfiguration:
    """A configuration class that ends the process for some values."""

    Name: str = attrs.field(converter=_die_if_told)


async def succeed_later(_job: Any) -> Succeeded:
    """Succeed in the event loop."""
    await asyncio.sleep(0.01)
    return Succeeded()


def connect_custom(environment: dict[str, str]) -> CustomJobClient:
    """Create a client of custom jobs in such a process."""
    os.environ.update(environment)
    return CustomJobClient.create(config=Config(proxies={}))


def return_variables(job: AnyJob) -> Succeeded:
    """Return a value of the configuration as an output variable."""
    return Succeeded(output_variables={"Name": job.details.data.configuration["Name"].get_secret_value()})


def connect_if(environment: dict[str, str], process_id: int, path: str) -> ThirdPartyJobClient:
    """Create a client in the test's process, and elsewhere once a file is there."""
    if os.getpid() != process_id and not Path(path).exists():
        raise OSError("xMARKERx")
    return connect_with(environment)


def connect_late(environment: dict[str, str], process_id: int, path: str) -> ThirdPartyJobClient:
    """Create a client in the test's process; elsewhere note the process and hang."""
    if os.getpid() != process_id:
        write_line(path, str(os.getpid()))
        time.sleep(60)
    return connect_with(environment)


def fail_unless(path: str) -> None:
    """Raise, as the initializer of a pool, until a file is there."""
    if not Path(path).exists():
        raise OSError("xMARKERx")


def write_line(path: str, line: str) -> None:
    """Append a line to a file, in one piece."""
    with Path(path).open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")


def wait_for(path: str) -> None:
    """Wait until a file is there, for at most a minute."""
    ends_at = time.monotonic() + 60
    while not Path(path).exists() and time.monotonic() < ends_at:
        time.sleep(0.01)


def note_job(job: AnyJob, path: str) -> Succeeded:
    """Note the job."""
    write_line(path, job.id)
    return Succeeded()


def hold(job: AnyJob, directory: str) -> Succeeded:
    """Note the process, and work until the test lets go."""
    write_line(f"{directory}/begun", f"{os.getpid()} {job.id}")
    wait_for(f"{directory}/release")
    return Succeeded()


def continue_at_stop(job: AnyJob, directory: str) -> Continued:
    """Work until the worker stops."""
    write_line(f"{directory}/begun", job.id)
    while not job.stopping:
        time.sleep(0.01)
    return Continued(continuation_token="half")


def hang_hard(job: AnyJob, directory: str) -> Succeeded:
    """Ignore every signal that can be ignored, with a program in the background and a file in the workspace."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    program = subprocess.Popen(["sleep", "60"])
    (job.workspace / "sources").write_text("x", encoding="utf-8")
    write_line(f"{directory}/begun", f"{os.getpid()} {program.pid} {job.workspace}")
    while True:
        time.sleep(60)


def die_or_hold(job: AnyJob, directory: str) -> Succeeded:
    """Kill the process each time if the test has named the job, else work until the test lets go."""
    if (Path(directory) / job.id).exists():
        os._exit(9)
    return hold(job, directory)


def log_much(job: AnyJob) -> Succeeded:
    """Write log records of all kinds."""
    job.logger.info("progress %d", 5, extra={"step": "build", "secret": object()})
    job.logger.debug("not wanted")
    logging.getLogger("partner.tool").warning("from a tool")
    logging.getLogger("cp_thirdparty.job").info("%d", "no number")
    try:
        print(1 / 0)
    except ZeroDivisionError:
        job.logger.exception("failed")
    is_enabled = logging.getLogger("cp_thirdparty.job").isEnabledFor(logging.DEBUG)
    return Succeeded(execution_details=ExecutionDetails(summary=f"debug={is_enabled}"))


def flood(job: AnyJob) -> Succeeded:
    """Write more log records than anybody keeps."""
    for number in range(8000):
        job.logger.info("%d", number)
    return Succeeded()


class _Unloadable:
    """It can be pickled, and not loaded."""

    def __reduce__(self) -> tuple[object, ...]:
        return int, ("no number",)


MESSAGES: dict[str, Callable[[Any], object]] = {
    "an unknown kind": lambda pipe: pipe.send_bytes(b"?garbage"),
    "nothing": lambda pipe: pipe.send_bytes(b""),
    "no pickle": lambda pipe: pipe.send_bytes(b"Enonsense"),
    "an exception": lambda pipe: pipe.send_bytes(b"E" + pickle.dumps(_Unloadable())),
    "a string": lambda pipe: pipe.send_bytes(b"E" + pickle.dumps("Succeeded")),
    "too long": lambda pipe: os.write(pipe.fileno(), b"\x7f\xff\xff\xff"),
    "a part": lambda pipe: (os.write(pipe.fileno(), b"\x00\x00\x10\x00Epart"), os._exit(0)),
}


def send_garbage(_job: AnyJob, message: str) -> Succeeded:
    """Write into the pipe to the worker, which a handler can find if it wants to."""
    (pipe,) = [each for each in gc.get_objects() if isinstance(each, Connection)]
    MESSAGES[message](pipe)
    time.sleep(60)
    return Succeeded()


def fork_and_die(_job: AnyJob, directory: str) -> Succeeded:
    """Die, and leave a copy of the process that has its pipes."""
    process_id = os.fork()
    if process_id == 0:
        logging.getLogger("cp_thirdparty.job").warning("from the copy")
        write_line(f"{directory}/begun", str(os.getpid()))
        write_line(f"{directory}/written", "")  # the file above exists before it has its line
        time.sleep(60)
        os._exit(0)
    wait_for(f"{directory}/written")
    os._exit(9)


def hang_in_clean_up(job: AnyJob) -> Succeeded:
    """Return a success, but never end the clean-up of the job."""
    cast("Any", job).close = partial(time.sleep, 600)
    return Succeeded()


def raise_in_clean_up(job: AnyJob, failure: type[BaseException]) -> Succeeded:
    """Return a success, and raise an exception in the clean-up of the job."""

    def close() -> None:
        raise failure("xMARKERx")

    cast("Any", job).close = close
    return Succeeded()


def leave_thread(job: AnyJob) -> Succeeded:
    """Leave a thread that goes on for a minute, and logs."""

    def work() -> None:
        for number in range(6000):
            job.logger.info("%d", number)
            time.sleep(0.01)

    threading.Thread(target=work).start()
    return Succeeded()


def leave_busy_thread(job: AnyJob) -> Succeeded:
    """Leave a thread that logs without a pause."""

    def work() -> None:
        while True:
            job.logger.info("message")

    threading.Thread(target=work).start()
    return Succeeded()


def fill_workspace(job: AnyJob) -> Succeeded:
    """Write files into the workspace."""
    for number in range(1000):
        (job.workspace / str(number)).touch()
    return Succeeded()


def fill_workspace_and_hang(job: AnyJob) -> Succeeded:
    """Write files into the workspace, and never return."""
    fill_workspace(job)
    return hang(job)
