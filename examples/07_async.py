"""
Work on jobs in tasks of asyncio, several at once, without a thread for each.

Runs offline: the local CodePipeline replaces the service.

Requires: cp-thirdparty[async]
"""

import asyncio
import os

from cp_thirdparty import (
    ActionTypeId,
    AsyncThirdPartyJobClient,
    ExecutionDetails,
    JobStatus,
    SecretStr,
    ThirdPartyJob,
)
from cp_thirdparty.testing import LocalCodePipeline

ACTION_TYPE = ActionTypeId(
    category="Test", owner="ThirdParty", provider="ExampleScan", version="1"
)
TOKEN = SecretStr("the token that belongs to client-1")


async def work_on(job: ThirdPartyJob, client: AsyncThirdPartyJobClient) -> None:
    """Read, claim, do the work and report; other tasks run while this one waits."""
    details = await client.get_third_party_job_details(job.job_id, client_token=TOKEN)
    status = await client.acknowledge_third_party_job(
        job.job_id, nonce=details.nonce, client_token=TOKEN
    )
    if status != JobStatus.IN_PROGRESS:
        return
    await asyncio.sleep(0.1)  # the partner's own service works on it
    done = ExecutionDetails(summary="no findings", percent_complete=100)
    await client.put_third_party_job_success_result(
        job.job_id, client_token=TOKEN, execution_details=done
    )


async def main(count: int) -> None:
    """Process this number of jobs, each in its own task."""
    tasks: list[asyncio.Task[None]] = []
    async with AsyncThirdPartyJobClient.create(region_name="us-east-1") as client:
        async for job in client.iter_third_party_jobs(ACTION_TYPE, poll_interval=0.1):
            tasks.append(asyncio.create_task(work_on(job, client)))
            if len(tasks) == count:
                break
        await asyncio.gather(*tasks)


if __name__ == "__main__":
    with LocalCodePipeline() as service:
        service.register_client("client-1", TOKEN)
        actions = [
            service.start_action(ACTION_TYPE, client_id="client-1") for _ in range(10)
        ]
        # The endpoint, the region and the credentials of the service.
        os.environ.update(service.environment())
        asyncio.run(main(len(actions)))
        succeeded = sum(action.status == "Succeeded" for action in actions)
        print(f"{succeeded} of {len(actions)} actions have succeeded")
