"""The slots of a worker: a thread that fails is not missing for the next job."""

from __future__ import annotations

import pytest
from support.worker_service import until

from cp_thirdparty import ThirdPartyJob
from cp_thirdparty.worker._claimed_job import ClaimedJob
from cp_thirdparty.worker._emit import Emitter
from cp_thirdparty.worker._slots import Slots


class _NoJournal:
    """Records nothing."""

    def claim(self, job: ClaimedJob) -> bool:
        return job.is_inherited

    def record(self, job: ClaimedJob) -> bool:  # noqa: ARG002 - as its protocol has it
        return True


def _job(job_id: str) -> ClaimedJob:
    return ClaimedJob(ThirdPartyJob(client_id="c", job_id=job_id), recorder=_NoJournal(), began_at=0.0)


def test_a_thread_survives_what_its_job_raises(caplog: pytest.LogCaptureFixture) -> None:
    """Even an exit is logged by its class, and the slot is free for the next job."""
    done: list[str] = []

    def work(job: ClaimedJob) -> None:
        job.is_closed = True
        done.append(job.offer.job_id)
        if job.offer.job_id == "first":
            raise SystemExit("xMARKERx")

    emitter = Emitter()
    slots = Slots(1, work, emitter)
    for job_id in ("first", "second"):
        assert slots.start(_job(job_id))
        until(lambda: slots.count_free() == 1)
    slots.close()
    assert emitter.flush()
    assert done == ["first", "second"]
    assert "job=first a bug of cp-thirdparty: SystemExit" in caplog.text
    assert "xMARKERx" not in caplog.text
