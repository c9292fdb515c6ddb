"""Samples for the conformance tests of journals: jobs, scopes and results."""

from __future__ import annotations

from typing import Final

from cp_thirdparty.enums import ActionOwnerName, FailureType
from cp_thirdparty.models import ActionTypeId, CurrentRevision, ExecutionDetails, FailureDetails, ThirdPartyJob
from cp_thirdparty.worker import Continued, JobScope, Result, Succeeded

JOB: Final = ThirdPartyJob(client_id="client-1", job_id="job-1")
OTHER: Final = ThirdPartyJob(client_id="client-2", job_id="job-2")
STARTED: Final = 1_000_000.0


def _create_scope(provider: str, owner: ActionOwnerName = "ThirdParty") -> JobScope:
    return JobScope(
        region_name="us-east-1",
        endpoint_url="https://codepipeline.us-east-1.amazonaws.com",
        action_type_id=ActionTypeId(category="Test", owner=owner, provider=provider, version="1"),
    )


SCOPE: Final = _create_scope("ExampleScan")
OTHER_SCOPE: Final = _create_scope("ExampleDeploy")
CUSTOM_SCOPE: Final = _create_scope("ExampleScan", "Custom")

RESULTS: Final[tuple[Result, ...]] = (
    Succeeded(),
    Succeeded(output_variables={"Findings": "3 \N{SNOWMAN}"}),
    Succeeded(
        current_revision=CurrentRevision(revision="r", change_identifier="c"),
        execution_details=ExecutionDetails(summary="done \N{SNOWMAN}", external_execution_id="e", percent_complete=100),
    ),
    Continued(continuation_token="t", execution_details=ExecutionDetails(summary="half")),  # noqa: S106 - not a real secret
    FailureDetails(type=FailureType.JOB_FAILED, message="no\n\N{SNOWMAN}", external_execution_id="e"),
)
