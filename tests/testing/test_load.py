"""The local CodePipeline under many clients at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from cp_thirdparty import ThirdPartyJob, ThirdPartyJobClient
from cp_thirdparty.testing import LocalCodePipeline, samples

_JOBS, _THREADS = 1000, 32
_TYPE, _TOKEN = samples.action_type_id(), "xMARKERx-token"


def _work(client: ThirdPartyJobClient, job: ThirdPartyJob) -> None:
    details = client.get_third_party_job_details(job.job_id, client_token=_TOKEN)
    client.acknowledge_third_party_job(job.job_id, nonce=details.nonce, client_token=_TOKEN)
    client.put_third_party_job_success_result(job.job_id, client_token=_TOKEN)


@pytest.mark.slow
def test_a_thousand_jobs_by_32_threads() -> None:
    """Each of a thousand jobs succeeds at the first try, whatever the threads do at once; no call fails."""
    with LocalCodePipeline() as service:
        service.register_client("client-1", _TOKEN)
        actions = [service.start_action(_TYPE, client_id="client-1") for _ in range(_JOBS)]
        with service.client() as client, ThreadPoolExecutor(_THREADS) as threads:
            jobs = client.poll_for_third_party_jobs(_TYPE, max_batch_size=_JOBS)
            list(threads.map(lambda job: _work(client, job), jobs))
        assert {action.status for action in actions} == {"Succeeded"}
        assert [record.error_code for record in service.requests] == [None] * (3 * _JOBS + 1)
