"""The handler of an action: one file for each entry point."""

from __future__ import annotations

import attrs

from cp_thirdparty import (
    Continued,
    ExecutionDetails,
    FailureType,
    Job,
    JobFailedError,
    SecretStr,
    Succeeded,
)


@attrs.frozen
class Configuration:
    """What the customer enters."""

    project_name: str
    api_key: SecretStr
    max_findings: int = 0


def handle(job: Job[Configuration]) -> Succeeded | Continued:
    """Begin a scan in the first job of an action, and report it in the next one."""
    if job.configuration.project_name == "broken":
        raise RuntimeError(job.configuration.api_key.get_secret_value())
    if job.configuration.project_name == "silent":
        return None  # type: ignore[return-value] # a mistake of the partner
    if job.configuration.project_name == "unknown":
        raise JobFailedError(FailureType.CONFIGURATION_ERROR, "There is no such project.")
    if job.continuation_token is None:
        return Continued(continuation_token=f"{job.configuration.project_name}-3")
    findings = int(job.continuation_token.rpartition("-")[2])
    if findings > job.configuration.max_findings:
        raise JobFailedError(FailureType.JOB_FAILED, f"{findings} findings")
    return Succeeded(execution_details=ExecutionDetails(summary=f"{findings} findings"))
