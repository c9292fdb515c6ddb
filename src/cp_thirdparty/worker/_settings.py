"""The arguments of a worker, checked and converted for its internal classes."""

from __future__ import annotations

import random
from collections.abc import Callable

import attrs

from cp_thirdparty.models import ActionTypeId
from cp_thirdparty.worker._emit import Emitter


@attrs.frozen(kw_only=True)
class Settings:
    """The arguments of a `cp_thirdparty.worker.JobWorker`, and the emitter of its events."""

    action_type_id: ActionTypeId
    concurrency: int
    max_jobs_per_client: int | None
    poll_interval: float
    job_timeout: float
    grace: float
    is_idempotent: bool
    max_crashes: int
    keep_finished: float | None
    emitter: Emitter
    clock: Callable[[], float]
    jitter: random.Random
