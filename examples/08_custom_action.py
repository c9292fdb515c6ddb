"""
A custom action: the same handler as for a third-party action, in your own AWS account.

Runs offline: the local CodePipeline replaces the service.
"""

import threading
from typing import Annotated

import attrs

from cp_thirdparty import (
    ActionTypeId,
    ConfigurationKey,
    ExecutionDetails,
    Job,
    JobWorker,
    SecretStr,
    Succeeded,
)
from cp_thirdparty.testing import LocalCodePipeline

ACTION_TYPE = ActionTypeId(
    category="Test", owner="Custom", provider="ExampleScan", version="1"
)


@attrs.frozen
class ScanConfiguration:
    """What the owner of the pipeline enters for the action."""

    project_name: Annotated[str, ConfigurationKey(queryable=True)]
    api_key: SecretStr
    max_findings: int = 0


def handle(job: Job[ScanConfiguration]) -> Succeeded:
    """Scan, and let later actions of the pipeline use the number of findings."""
    job.logger.info("scanning %s", job.configuration.project_name)
    return Succeeded(
        execution_details=ExecutionDetails(summary="no findings", percent_complete=100),
        output_variables={"Findings": "0"},
    )


def main() -> None:
    """Start the action as a pipeline does, and run a worker until it has ended."""
    with LocalCodePipeline() as service:
        action = service.start_action(
            ACTION_TYPE,
            configuration={"ProjectName": "demo", "ApiKey": "not for your eyes"},
        )
        worker = JobWorker(
            # In AWS: partial(CustomJobClient.create, region_name="us-east-1")
            service.custom_client,
            ACTION_TYPE,
            handle,
            configuration=ScanConfiguration,
            poll_interval=0.1,
        )
        thread = threading.Thread(target=worker.run)
        thread.start()
        print("the action has", action.wait(timeout=60).lower())
        worker.stop()
        thread.join()
        print(action.result)


if __name__ == "__main__":
    main()
