"""
A worker: poll, claim, run a handler with typed configuration and artifacts, report.

Runs offline: the local CodePipeline replaces the service, and a folder replaces S3.
"""

import tempfile
import threading
from functools import partial
from pathlib import Path

import attrs

from cp_thirdparty import (
    ActionTypeId,
    Continued,
    ExecutionDetails,
    FailureType,
    Job,
    JobFailedError,
    JobWorker,
    SecretStr,
    Succeeded,
)
from cp_thirdparty.testing import Action, FolderArtifacts, LocalCodePipeline, samples
from cp_thirdparty.worker import SqliteJournal

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
        (name,) = job.artifacts.inputs
        source = job.artifacts.extract(name, to=job.workspace / "src")
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
        execution_details=ExecutionDetails(
            summary=f"{findings} findings", percent_complete=100
        )
    )


def start_scan(source: Path, configuration: ScanConfiguration) -> str:
    """Count each TODO, as a scan service would; the id of the run has the number."""
    findings = sum(
        path.read_text(encoding="utf-8").count("TODO") for path in source.rglob("*.py")
    )
    return f"{configuration.project_name}-{findings}"


def start_action(service: LocalCodePipeline, source: str) -> Action:
    """Start the partner's action as a customer's pipeline does."""
    return service.start_action(
        ACTION_TYPE,
        client_id="client-1",
        configuration={"ProjectName": "demo", "ApiKey": "not for your eyes"},
        input_artifacts=[samples.artifact(source)],
        output_artifacts=[samples.artifact("Report")],
    )


def main() -> None:
    """Run a worker for two actions, of which one succeeds and one fails."""
    with (
        LocalCodePipeline(continuation_delay=0.0) as service,
        tempfile.TemporaryDirectory() as directory,
    ):
        folder = Path(directory) / "artifacts"
        bucket = FolderArtifacts(folder)
        bucket.put("GoodApp", {"app/main.py": "print('hello')\n"})
        bucket.put("BadApp", {"app/main.py": "print('hello')  # TODO: world\n"})
        service.register_client("client-1", TOKENS["client-1"])
        actions = [start_action(service, "GoodApp"), start_action(service, "BadApp")]
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
            # In production, leave this argument out: the artifacts are in S3.
            artifacts=partial(FolderArtifacts.for_job, folder=folder),
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
    """Stop the worker when all actions have ended, as SIGTERM does."""
    for action in actions:
        action.wait(timeout=60)
    worker.stop()


if __name__ == "__main__":
    main()
