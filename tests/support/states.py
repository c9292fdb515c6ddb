"""The continuation token of a state, and a job that has a token."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from cp_thirdparty import Continued, Job
from cp_thirdparty.models import ThirdPartyJob
from cp_thirdparty.testing import samples
from support.worker_service import AnyJob


def job_of(token: str | None) -> AnyJob:
    """Return a job that continues an action with this token; ``None`` for the first job of an action."""
    details = samples.job_details(continuation_token=token)
    return Job(
        ThirdPartyJob(client_id="client-1", job_id=details.id),
        details,
        None,
        open_artifacts=lambda: pytest.fail("no artifacts"),
        seconds_left=60,
        cancelled=threading.Event(),
        stopping=threading.Event(),
    )


def token_of(state: Any) -> str:
    """Return the token of a state."""
    return Continued(state=state).continuation_token
