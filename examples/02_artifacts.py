"""
Take a job's source from S3 and put an encrypted report there, with its credentials.

Runs offline: the local CodePipeline replaces the service, and SeaweedFS S3, STS and
KMS.  A role is assumed for the job, as CodePipeline does; it may use one bucket and
expires after 15 minutes.
"""

import io
import sys
import tempfile
import zipfile
from pathlib import Path

from cp_thirdparty import (
    ActionTypeId,
    Artifact,
    ArtifactLocation,
    ArtifactLocationType,
    ArtifactStore,
    EncryptionKey,
    EncryptionKeyType,
    JobStatus,
    S3Location,
    SecretStr,
)
from cp_thirdparty.testing import LocalCodePipeline

# Where the S3 of the tests is.
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support.seaweedfs import BUCKET, Seaweed

ACTION_TYPE = ActionTypeId(
    category="Test", owner="ThirdParty", provider="ExampleScan", version="1"
)
TOKEN = SecretStr("the token that belongs to client-1")


def start_action(service: LocalCodePipeline, seaweed: Seaweed) -> None:
    """Let a pipeline reach the partner's action, with a source that is stored."""
    source = io.BytesIO()
    with zipfile.ZipFile(source, "w") as archive:
        archive.writestr("app/main.py", "print('hello')\n")
    seaweed.put(
        "demo/MyApp/a1b2c3",
        source.getvalue(),
        ServerSideEncryption="aws:kms",
        SSEKMSKeyId="alias/demo",
    )
    service.register_client("client-1", TOKEN)
    service.start_action(
        ACTION_TYPE,
        client_id="client-1",
        input_artifacts=[at("MyApp", "demo/MyApp/a1b2c3")],
        output_artifacts=[at("Report", "demo/Report/d4e5f6")],
        artifact_credentials=seaweed.assume_role,  # called when the details are read
        encryption_key=EncryptionKey(id="alias/demo", type=EncryptionKeyType.KMS),
    )


def at(name: str, key: str) -> Artifact:
    """Make an artifact that lies in the pipeline's bucket."""
    location = S3Location(bucket_name=BUCKET, object_key=key)
    return Artifact(
        name=name,
        location=ArtifactLocation(type=ArtifactLocationType.S3, s3_location=location),
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
        Seaweed() as seaweed,
        LocalCodePipeline() as service,
        service.client() as client,
        tempfile.TemporaryDirectory() as workspace,
    ):
        start_action(service, seaweed)
        for job in client.poll_for_third_party_jobs(ACTION_TYPE, max_batch_size=1):
            details = client.get_third_party_job_details(job.job_id, client_token=TOKEN)
            status = client.acknowledge_third_party_job(
                job.job_id, nonce=details.nonce, client_token=TOKEN
            )
            if status == JobStatus.IN_PROGRESS:
                with ArtifactStore.for_job(
                    client,
                    details,
                    client_token=TOKEN,
                    endpoint_url=seaweed.endpoint_url,
                ) as artifacts:
                    work(artifacts, Path(workspace))
                client.put_third_party_job_success_result(
                    job.job_id, client_token=TOKEN
                )
        stored = seaweed.get("demo/Report/d4e5f6")
        print(
            "the report is stored with",
            stored["ServerSideEncryption"],
            "under",
            stored["SSEKMSKeyId"],
        )


if __name__ == "__main__":
    main()
