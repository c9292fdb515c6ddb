"""
Run an action in a Lambda function that CodePipeline invokes.

Runs offline: a local CodePipeline plays the service, and `LocalLambda` invokes the
function as AWS Lambda does.
"""

import json
import os

import attrs

from cp_thirdparty import (
    Continued,
    ExecutionDetails,
    FailureType,
    Job,
    JobFailedError,
    LambdaHandler,
    SecretStr,
    Succeeded,
)
from cp_thirdparty.testing import LocalCodePipeline, LocalLambda


@attrs.frozen
class ScanConfiguration:
    """What the user parameters of the action have, as a JSON object."""

    project_name: str
    api_key: SecretStr
    max_findings: int = 0


def handle(job: Job[ScanConfiguration]) -> Succeeded | Continued:
    """Begin the scan at an action's first event, and report it at the next one."""
    if job.continuation_token is None:
        run_id = f"{job.configuration.project_name}-3"
        return Continued(
            continuation_token=run_id,
            execution_details=ExecutionDetails(
                external_execution_id=run_id, percent_complete=0
            ),
        )
    findings = int(job.continuation_token.rpartition("-")[2])
    if findings > job.configuration.max_findings:
        raise JobFailedError(
            FailureType.JOB_FAILED,
            f"{findings} findings, {job.configuration.max_findings} allowed",
        )
    return Succeeded(execution_details=ExecutionDetails(summary=f"{findings} findings"))


# In AWS, with this file as app.py: the handler of the function is "app.lambda_handler".
lambda_handler = LambdaHandler(handle, configuration=ScanConfiguration)


def main() -> None:
    """Let a pipeline reach the action twice, and invoke the function until it ends."""
    with LocalCodePipeline(continuation_delay=0.0) as service:
        os.environ.update(service.environment())
        function = LocalLambda(service, lambda_handler, timeout=60)
        for most in (5, 2):
            parameters = {"ProjectName": "demo", "ApiKey": "k-1", "MaxFindings": most}
            action = function.start_action(user_parameters=json.dumps(parameters))
            while action.status not in ("Succeeded", "Failed"):
                function.invoke()
            print(f"{len(action.jobs)} events, the action is {action.status}")


if __name__ == "__main__":
    main()
