"""A partner's program: poll, read, acknowledge, work, report.  Checked by mypy and pyright; never run."""

from __future__ import annotations

import enum
import logging
import sys
import time
from collections.abc import Mapping
from typing import Annotated, Literal

import attrs

from cp_thirdparty import (
    ActionTypeId,
    ExecutionDetails,
    FailureDetails,
    FailureType,
    JobDetails,
    JobFailedError,
    JobStatus,
    Key,
    SecretStr,
    ThirdPartyError,
    ThirdPartyJob,
    ThirdPartyJobClient,
    exceptions,
    structure_configuration,
)

logger = logging.getLogger("examplescan")

ACTION_TYPE = ActionTypeId(category="Test", owner="ThirdParty", provider="ExampleScan", version="1")


class Severity(enum.Enum):
    """How bad a finding is."""

    LOW = "low"
    HIGH = "high"


@attrs.frozen(kw_only=True)
class ScanConfiguration:
    """What the customer enters for the action."""

    project_name: str
    api_key: Annotated[SecretStr, Key("APIKey")]
    notify_url: str | None = None
    timeout_minutes: int = 30
    is_incremental: bool = False
    fail_on: Severity = Severity.HIGH
    depth: Literal["quick", "full"] = "full"


@attrs.frozen
class Scan:
    """A scan that runs elsewhere."""

    run_id: str
    percent: int
    findings: tuple[Severity, ...] = ()


class Scanner:
    """The partner's own product."""

    def start(self, bucket: str, key: str, *, api_key: str, project: str) -> str:
        """Start a scan and return its id."""
        return "-".join((project, bucket, key, str(len(api_key))))

    def look(self, run_id: str) -> Scan:
        """Return how far a scan is."""
        return Scan(run_id, 100)


class Worker:
    """Works on jobs, one after the other."""

    def __init__(self, client: ThirdPartyJobClient, tokens: Mapping[str, SecretStr], scanner: Scanner) -> None:
        self._client = client
        self._tokens = tokens
        self._scanner = scanner

    def run(self) -> None:
        """Poll until the action type is gone."""
        while True:
            try:
                jobs = self._client.poll_for_third_party_jobs(ACTION_TYPE, max_batch_size=1)
            except exceptions.ActionTypeNotFoundException:
                logger.exception("no such action type")
                return
            except ThirdPartyError as error:
                logger.warning("polling failed: %s", error)
                jobs = ()
            for job in jobs:
                self._work(job)
            time.sleep(1 if jobs else 30)

    def _work(self, job: ThirdPartyJob) -> None:
        token = self._tokens[job.client_id]
        details = self._claimed(job, token)
        if details is None:
            return
        try:
            execution, continuation_token = self._scanned(details)
        except exceptions.ConfigurationError as error:
            failure = FailureDetails(type=FailureType.CONFIGURATION_ERROR, message="\n".join(error.problems))
        except JobFailedError as error:
            failure = FailureDetails(
                type=error.failure_type, message=error.message, external_execution_id=error.external_execution_id
            )
        else:
            self._client.put_third_party_job_success_result(
                job.job_id, client_token=token, continuation_token=continuation_token, execution_details=execution
            )
            return
        self._client.put_third_party_job_failure_result(job.job_id, client_token=token, failure_details=failure)

    def _claimed(self, job: ThirdPartyJob, token: SecretStr) -> JobDetails | None:
        details = self._client.get_third_party_job_details(job.job_id, client_token=token)
        try:
            status = self._client.acknowledge_third_party_job(job.job_id, nonce=details.nonce, client_token=token)
        except exceptions.InvalidNonceException:
            return None
        if status != JobStatus.IN_PROGRESS:
            logger.info("job %s is %s", job.job_id, status)
            return None
        return details

    def _scanned(self, details: JobDetails) -> tuple[ExecutionDetails, str | None]:
        configuration = structure_configuration(details.data.action_configuration, ScanConfiguration)
        run_id = details.data.continuation_token
        if run_id is None:
            run_id = self._started(details, configuration)
        scan = self._scanner.look(run_id)
        if configuration.fail_on in scan.findings:
            raise JobFailedError(FailureType.JOB_FAILED, f"{len(scan.findings)} findings", run_id)
        execution = ExecutionDetails(external_execution_id=run_id, percent_complete=scan.percent)
        return execution, None if scan.percent == 100 else run_id

    def _started(self, details: JobDetails, configuration: ScanConfiguration) -> str:
        (source,) = details.data.input_artifacts
        if source.location is None or source.location.s3_location is None:
            raise JobFailedError(FailureType.REVISION_UNAVAILABLE, "the source lies nowhere")
        place = source.location.s3_location
        return self._scanner.start(
            place.bucket_name,
            place.object_key,
            api_key=configuration.api_key.get_secret_value(),
            project=configuration.project_name,
        )


def main(region_name: str) -> None:
    """Run the worker in one region."""
    tokens = {"client-1": SecretStr("the token that belongs to client-1")}
    with ThirdPartyJobClient.create(region_name=region_name) as client:
        Worker(client, tokens, Scanner()).run()


if __name__ == "__main__":
    main(*sys.argv[1:])
