"""
A worker: poll, claim, run a handler with typed configuration and artifacts, report.

Runs offline: the local CodePipeline replaces the service, and SeaweedFS S3, STS and
KMS.
"""

import io
import sys
import tempfile
import threading
import zipfile
from functools import partial
from pathlib import Path

import attrs

from cp_thirdparty import (
    ActionTypeId,
    Artifact,
    ArtifactLocation,
    ArtifactLocationType,
    ArtifactStore,
    Continued,
    EncryptionKey,
    EncryptionKeyType,
    ExecutionDetails,
    FailureType,
    Job,
    JobFailedError,
    JobWorker,
    S3Location,
    SecretStr,
    Succeeded,
)
from cp_thirdparty.testing import Action, LocalCodePipeline
from cp_thirdparty.worker import SqliteJournal

# Where the S3 of the tests is.
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support.seaweedfs import BUCKET, Seaweed

ACTION_TYPE = ActionTypeId(
    category="Test", owner="ThirdParty", provider="ExampleScan", version="1"
)
TOKENS = {"client-1": "the token that belongs to client-1"}


@attrs.frozen
class ScanConfiguration:
    """What the customer enters for the action."""

    project_name: str
    api_key: SecretStr
    max_findings: int = 0


def handle(job: Job[ScanConfiguration]) -> Succeeded | Continued:
    """Begin the scan in the first job of an action, and report in the next one."""
    if job.continuation_token is None:
        source = job.artifacts.extract("MyApp", to=job.workspace / "src")
        run_id = start_scan(source, job.configuration)
        job.logger.info("the scan has begun")
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
    report = job.workspace / "report"
    report.mkdir()
    (report / "findings.txt").write_text(f"{findings} findings\n", encoding="utf-8")
    job.artifacts.archive("Report", report)
    return Succeeded(
        execution_details=ExecutionDetails(summary="no findings", percent_complete=100)
    )


def start_scan(source: Path, configuration: ScanConfiguration) -> str:
    """Play the partner's own service: it finds each TODO, and its id has the result."""
    findings = sum(
        path.read_text(encoding="utf-8").count("TODO") for path in source.rglob("*.py")
    )
    return f"{configuration.project_name}-{findings}"


def start_action(
    service: LocalCodePipeline, seaweed: Seaweed, name: str, source: str
) -> Action:
    """Let a pipeline of a customer reach the partner's action."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("app/main.py", source)
    seaweed.put(
        f"{name}/MyApp",
        archive.getvalue(),
        ServerSideEncryption="aws:kms",
        SSEKMSKeyId="alias/demo",
    )
    return service.start_action(
        ACTION_TYPE,
        client_id="client-1",
        configuration={"ProjectName": name, "ApiKey": "not for your eyes"},
        input_artifacts=[at("MyApp", f"{name}/MyApp")],
        output_artifacts=[at("Report", f"{name}/Report")],
        artifact_credentials=seaweed.assume_role,
        encryption_key=EncryptionKey(id="alias/demo", type=EncryptionKeyType.KMS),
    )


def at(name: str, key: str) -> Artifact:
    """Make an artifact that lies in the pipeline's bucket."""
    location = S3Location(bucket_name=BUCKET, object_key=key)
    return Artifact(
        name=name,
        location=ArtifactLocation(type=ArtifactLocationType.S3, s3_location=location),
    )


def main() -> None:
    """Let a worker do two actions, one good and one bad."""
    with (
        Seaweed() as seaweed,
        LocalCodePipeline(continuation_delay=0.0) as service,
        tempfile.TemporaryDirectory() as directory,
    ):
        service.register_client("client-1", TOKENS["client-1"])
        actions = [
            start_action(service, seaweed, "good", "print('hello')\n"),
            start_action(service, seaweed, "bad", "print('hello')  # TODO: world\n"),
        ]
        journal = SqliteJournal(Path(directory) / "jobs.db")
        worker = JobWorker(
            # In production partial(ThirdPartyJobClient.create, region_name="us-east-1")
            service.client,
            ACTION_TYPE,
            handle,
            configuration=ScanConfiguration,
            client_tokens=TOKENS,
            journal=journal,
            poll_interval=0.1,
            artifacts=partial(ArtifactStore.for_job, endpoint_url=seaweed.endpoint_url),
        )
        threading.Thread(target=stop_after, args=(worker, actions)).start()
        # In production, in the main thread: worker.run(handle_signals=True).
        is_clean = worker.run()
        left = "nothing" if is_clean else "something"
        print(f"the worker has ended, and has {left} left to report")
        for action in actions:
            print(f"{action.status} after {len(action.jobs)} jobs: {action.result}")
        print("the journal has", sorted(entry.state.value for entry in journal.jobs()))
        journal.close()


def stop_after(worker: "JobWorker[ScanConfiguration]", actions: list[Action]) -> None:
    """Play the operator, who sends SIGTERM when all is done."""
    for action in actions:
        action.wait(timeout=60)
    worker.stop()


if __name__ == "__main__":
    main()
