"""Handlers, clients and tokens that other processes can import by their names."""

from __future__ import annotations

import os
import time
from functools import partial
from pathlib import Path

from botocore.config import Config

from cp_thirdparty import Continued, ExecutionDetails, JobFailedError, Succeeded, ThirdPartyJobClient
from cp_thirdparty.enums import FailureType
from cp_thirdparty.testing import LocalCodePipeline
from support.worker_service import TOKENS, AnyJob


def token_of(client_id: str) -> str | None:
    """Look a token up, as in a partner's own store."""
    return TOKENS.get(client_id)


def token_in_this_process(client_id: str, process_id: int) -> str | None:
    """Have tokens in one process only."""
    return TOKENS.get(client_id) if os.getpid() == process_id else None


def connect_to(service: LocalCodePipeline) -> partial[ThirdPartyJobClient]:
    """Make what other processes connect with: the environment has the rest."""
    os.environ.update(service.environment())
    return partial(ThirdPartyJobClient.create, config=Config(proxies={}))


def tell_process(_job: AnyJob) -> Succeeded:
    """Tell which process did the work."""
    return Succeeded(execution_details=ExecutionDetails(external_execution_id=str(os.getpid())))


def in_steps(job: AnyJob) -> Succeeded | Continued:
    """Go on once."""
    return Continued(continuation_token="again") if job.continuation_token is None else Succeeded()


def fail(_job: AnyJob) -> Succeeded:
    """Fail in the partner's words."""
    raise JobFailedError(FailureType.JOB_FAILED, "no")


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
