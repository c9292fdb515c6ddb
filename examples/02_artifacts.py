"""
Read a job's source and write a report, with the job's artifacts.

Runs offline: the local CodePipeline replaces the service, and a folder replaces S3.

Requires: cp-thirdparty[artifacts]
"""

import tempfile
from pathlib import Path

from cp_thirdparty import ActionTypeId, ArtifactStore, JobStatus, SecretStr
from cp_thirdparty.testing import FolderArtifacts, LocalCodePipeline, samples

ACTION_TYPE = ActionTypeId(
    category="Test", owner="ThirdParty", provider="ExampleScan", version="1"
)
TOKEN = SecretStr("the token that belongs to client-1")


def start_action(service: LocalCodePipeline) -> None:
    """Start the partner's action as a customer's pipeline does."""
    service.register_client("client-1", TOKEN)
    service.start_action(
        ACTION_TYPE,
        client_id="client-1",
        input_artifacts=[samples.artifact("MyApp")],
        output_artifacts=[samples.artifact("Report")],
    )


def work(artifacts: ArtifactStore, workspace: Path) -> None:
    """Read the source, write the report."""
    source = artifacts.extract("MyApp", to=workspace / "src")
    files = sorted(path.relative_to(source).as_posix() for path in source.rglob("*.py"))
    print("the source has", files)

    report = workspace / "report"
    report.mkdir()
    (report / "findings.txt").write_text(
        f"{len(files)} file, no findings\n", encoding="utf-8"
    )
    artifacts.archive("Report", report)


def main() -> None:
    """Poll, acknowledge, work, report."""
    with (
        LocalCodePipeline() as service,
        service.client() as client,
        tempfile.TemporaryDirectory() as folder,
        tempfile.TemporaryDirectory() as workspace,
    ):
        bucket = FolderArtifacts(folder)
        bucket.put("MyApp", {"app/main.py": "print('hello')\n"})
        start_action(service)
        for job in client.poll_for_third_party_jobs(ACTION_TYPE, max_batch_size=1):
            details = client.get_third_party_job_details(job.job_id, client_token=TOKEN)
            status = client.acknowledge_third_party_job(
                job.job_id, nonce=details.nonce, client_token=TOKEN
            )
            if status == JobStatus.IN_PROGRESS:
                # In production, from S3: ArtifactStore.for_job(client, details,
                # client_token=TOKEN)
                with FolderArtifacts(folder, details) as artifacts:
                    work(artifacts, Path(workspace))
                client.put_third_party_job_success_result(
                    job.job_id, client_token=TOKEN
                )
        print("the report is", bucket.files("Report"))


if __name__ == "__main__":
    main()
