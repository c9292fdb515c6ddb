"""
Run handlers on a Dask cluster: one process that polls and reports, many that work.

Runs offline: a local CodePipeline replaces the service; the cluster is two processes
of this machine.  Only the ids of jobs go to the cluster; each process there reads the
details, and looks the client token up, itself.

Requires: cp-thirdparty[dask]
"""

import os
from functools import partial

from distributed import Client, LocalCluster

from cp_thirdparty import (
    ActionTypeId,
    ExecutionDetails,
    Job,
    JobWorker,
    Succeeded,
    ThirdPartyJobClient,
)
from cp_thirdparty.models import ActionConfiguration
from cp_thirdparty.testing import LocalCodePipeline
from cp_thirdparty.worker import EnvironmentTokens

ACTION_TYPE = ActionTypeId(
    category="Test", owner="ThirdParty", provider="ExampleScan", version="1"
)


def handle(job: Job[ActionConfiguration | None]) -> Succeeded:
    """Do the work, in a process of the cluster."""
    total = sum(number * number for number in range(200_000))
    return Succeeded(
        execution_details=ExecutionDetails(
            summary=f"{total} in process {os.getpid()} for {job.client_id}"
        )
    )


def main() -> None:
    """Run eight jobs on the cluster."""
    with LocalCodePipeline() as service:
        service.register_client("client-1", "the token that belongs to client-1")
        os.environ.update(service.environment())
        os.environ["CP_CLIENT_TOKEN_CLIENT_1"] = "the token that belongs to client-1"
        actions = [
            service.start_action(ACTION_TYPE, client_id="client-1") for _ in range(8)
        ]

        with (
            LocalCluster(
                n_workers=2,
                threads_per_worker=1,
                host="127.0.0.1",
                dashboard_address="127.0.0.1:0",
            ) as cluster,
            Client(cluster) as client,
        ):
            worker = JobWorker(
                partial(ThirdPartyJobClient.create, region_name="us-east-1"),
                ACTION_TYPE,
                handle,
                client_tokens=EnvironmentTokens(),
                executor=client.get_executor,
                concurrency=8,
            )
            outcomes = worker.run_once()
        names = sorted({type(outcome).__name__ for outcome in outcomes})
        print(f"{len(outcomes)} jobs: {names}")
        processes = {
            str(action.result).partition("process ")[2].partition(" ")[0]
            for action in actions
        }
        is_other = str(os.getpid()) not in processes
        print(f"They ran in {len(processes)} processes, none this one: {is_other}")


if __name__ == "__main__":
    main()
