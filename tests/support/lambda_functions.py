"""Handlers of Lambda functions, which the process of a handler imports, and what the tests of them share."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs

from cp_thirdparty import (
    Continued,
    ExecutionDetails,
    FailureDetails,
    FailureType,
    Job,
    JobFailedError,
    SecretStr,
    Succeeded,
)
from cp_thirdparty.exceptions import CodePipelineJobError

MARKER = "xMARKERx"
CREDENTIALS = {
    "accessKeyId": f"{MARKER}-id",
    "secretAccessKey": f"{MARKER}-secret",
    "sessionToken": f"{MARKER}-session",
}
ARTIFACT = {
    "name": "Source",
    "revision": None,
    "location": {"type": "S3", "s3Location": {"bucketName": "bucket-of-tests", "objectKey": "key"}},
}
DATA: dict[str, Any] = {
    "actionConfiguration": {"configuration": {"FunctionName": "f", "UserParameters": f'{{"ApiKey": "{MARKER}-key"}}'}},
    "inputArtifacts": [ARTIFACT],
    "outputArtifacts": [],
    "artifactCredentials": CREDENTIALS,
    "continuationToken": "token",
    "encryptionKey": {"id": "key-id", "type": "KMS"},
}


def make_event(job_id: str | None = "job-1", **data: Any) -> dict[str, Any]:
    """Make the event of an invoke action."""
    return {"CodePipeline.job": {"id": job_id, "accountId": "111122223333", "data": {**DATA, **data}}}


@attrs.define
class FakeClient:
    """Takes results, and fails as often as a test wants."""

    results: list[tuple[str, Any]] = attrs.field(factory=list)
    errors: list[BaseException] = attrs.field(factory=list)
    on_put: Callable[[], object] = attrs.field(default=lambda: None)

    def put_job_success_result(self, job_id: str, **result: Any) -> None:
        """Take a success."""
        self._take(job_id, result)

    def put_job_failure_result(self, job_id: str, *, failure_details: FailureDetails) -> None:
        """Take a failure."""
        self._take(job_id, failure_details)

    def _take(self, job_id: str, result: Any) -> None:
        self.on_put()
        if self.errors:
            raise self.errors.pop(0)
        self.results.append((job_id, result))


@attrs.frozen
class Configuration:
    """What the customer enters."""

    api_key: SecretStr
    flags: list[str] = attrs.field(factory=list)
    limit: int = 0


def describe(job: Job[Any]) -> Succeeded:
    """Return what the job has, and in which process."""
    known = [job.id, job.client_id, str(job.continuation_token), str(job.details.data.configuration.keys())]
    details = ExecutionDetails(summary=" ".join(known), external_execution_id=str(os.getpid()))
    return Succeeded(execution_details=details)


def read_configuration(job: Job[Configuration]) -> Succeeded:
    """Return the configuration."""
    assert job.configuration.api_key.get_secret_value() == f"{MARKER}-key"
    return Succeeded(execution_details=ExecutionDetails(summary=f"{job.configuration.flags} {job.configuration.limit}"))


def hang(_job: Job[Any], note: str) -> Succeeded:
    """Note the process, and do not end."""
    Path(note).write_text(str(os.getpid()), encoding="utf-8")
    while True:
        time.sleep(100)


def count(job: Job[Any], note: str) -> Succeeded:
    """Note each call."""
    with Path(note).open("a", encoding="utf-8") as file:
        file.write(f"{job.id}\n")
    return Succeeded()


def step(job: Job[Any]) -> Succeeded | Continued:
    """Go on twice."""
    steps = int(job.continuation_token or "0")
    return Succeeded() if steps == 2 else Continued(continuation_token=str(steps + 1))


def die(_job: Job[Any]) -> Succeeded:
    """End the process."""
    os._exit(3)


def leak(job: Job[Any]) -> Succeeded:
    """Fail in a frame that holds secrets, and log what a careless handler logs."""
    credentials, configuration = job.details.data.artifact_credentials, job.configuration
    job.logger.info("%s %s %r", job.details, configuration, credentials)
    raise RuntimeError(MARKER)


def refuse(_job: Job[Any]) -> Succeeded:
    """Fail in the partner's words."""
    raise JobFailedError(FailureType.CONFIGURATION_ERROR, "no", external_execution_id="run-1")


def open_artifact(job: Job[Any]) -> Succeeded:
    """Use the artifacts after their credentials have expired; the clock is that of the store."""
    try:
        job.artifacts.download("Source", to=job.workspace / "source.zip")
    except CodePipelineJobError as error:
        return Succeeded(execution_details=ExecutionDetails(summary=f"{type(error).__name__}: {error}"))
    raise AssertionError("it was downloaded")


def find_semaphores(_job: Job[Any]) -> Succeeded:
    """Return whether this process has what creates semaphores."""
    return Succeeded(execution_details=ExecutionDetails(summary=str("multiprocessing.synchronize" in sys.modules)))


async def wait(_job: Job[Any]) -> Succeeded:
    """Be a coroutine."""
    return Succeeded(output_variables={"Findings": "3"})
