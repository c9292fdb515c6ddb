"""
Run jobs in a Lambda function: poll once, and process jobs while there is time.

Runs offline: a local CodePipeline replaces the service, and `main()` the schedule
and Lambda's context.
"""

import functools
import os
from typing import Any

from cp_thirdparty import (
    ActionTypeId,
    Continued,
    ExecutionDetails,
    Job,
    Succeeded,
    ThirdPartyJobClient,
)
from cp_thirdparty.models import ActionConfiguration
from cp_thirdparty.testing import LocalCodePipeline
from cp_thirdparty.worker import EnvironmentTokens, JobProcessor

ACTION_TYPE = ActionTypeId(
    category="Test", owner="ThirdParty", provider="ExampleScan", version="1"
)


def handle(job: Job[ActionConfiguration | None]) -> Succeeded | Continued:
    """Start the work in an action's first job, and report success in the next one."""
    if job.continuation_token is None:
        run_id = f"run-of-{job.id[:8]}"
        return Continued(
            continuation_token=run_id,
            execution_details=ExecutionDetails(
                external_execution_id=run_id, percent_complete=0
            ),
        )
    return Succeeded(
        execution_details=ExecutionDetails(summary=f"{job.continuation_token} is done")
    )


@functools.cache
def processor() -> JobProcessor[ActionConfiguration | None]:
    """Create the processor once: the next invocation uses its connections too."""
    # In production: SecretsManagerTokens("partner/client-tokens/").
    return JobProcessor(
        ThirdPartyJobClient.create, handle, client_tokens=EnvironmentTokens()
    )


def lambda_handler(_event: object, context: Any) -> list[str]:
    """Poll once, as a rule of EventBridge starts it, such as once a minute."""
    # Five seconds are for what Lambda itself does at the end.
    seconds_left = context.get_remaining_time_in_millis() / 1000 - 5
    outcomes = processor().poll(
        ACTION_TYPE, max_batch_size=10, seconds_left=seconds_left
    )
    return [type(outcome).__name__ for outcome in outcomes]


class _Context:
    """A replacement for the context object of Lambda."""

    def get_remaining_time_in_millis(self) -> int:
        """Return the remaining time of the invocation, in milliseconds."""
        return 60_000


def main() -> None:
    """Invoke the function twice: the first job continues, the second one succeeds."""
    with LocalCodePipeline(continuation_delay=0.0) as service:
        service.register_client("client-1", "the token that belongs to client-1")
        os.environ.update(service.environment())
        os.environ["CP_CLIENT_TOKEN_CLIENT_1"] = "the token that belongs to client-1"
        action = service.start_action(ACTION_TYPE, client_id="client-1")
        for invocation in range(1, 3):
            done = lambda_handler({}, _Context())
            print(f"invocation {invocation}: {done}, the action is {action.status}")


if __name__ == "__main__":
    main()
