"""The complete integration among the examples: its own tests pass, and it works with a real S3."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import zipfile
from functools import partial
from pathlib import Path

import pytest
from support.seaweedfs import BUCKET, Seaweed

from cp_thirdparty import (
    Artifact,
    ArtifactLocation,
    ArtifactLocationType,
    ArtifactStore,
    EncryptionKey,
    EncryptionKeyType,
    S3Location,
)
from cp_thirdparty.testing import LocalCodePipeline, samples
from cp_thirdparty.worker import MemoryJournal

_FOLDER = Path(__file__).parents[2] / "examples" / "partner_scan"


@pytest.mark.slow
def test_its_own_tests_pass(tmp_path: Path) -> None:
    """A partner who copies the folder and runs pytest there sees its tests pass."""
    options = ["-q", "-p", "no:cacheprovider", "--basetemp", str(tmp_path / "temp"), str(_FOLDER)]
    environment = {**os.environ, "PYTHONPATH": str(_FOLDER / "src")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-c", str(_FOLDER / "pyproject.toml"), "--rootdir", str(_FOLDER), *options],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "21 passed" in done.stdout


@pytest.mark.slow
def test_it_works_with_a_real_s3(
    seaweed: Seaweed, local_codepipeline: LocalCodePipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A source comes from S3 and its report goes there, encrypted, with the credentials of the job."""
    monkeypatch.syspath_prepend(str(_FOLDER / "src"))
    from partner_scan.__main__ import make_worker  # noqa: PLC0415 - it is on the path only now

    monkeypatch.setenv("CP_CLIENT_TOKEN_CLIENT_1", "the token of client-1")
    local_codepipeline.register_client("client-1", "the token of client-1")
    source = io.BytesIO()
    with zipfile.ZipFile(source, "w") as archive:
        archive.writestr("app.py", "-----BEGIN RSA PRIVATE KEY-----\n")
    seaweed.put("scan/Source", source.getvalue(), ServerSideEncryption="aws:kms", SSEKMSKeyId="alias/demo")
    action = local_codepipeline.start_action(
        samples.action_type_id(provider="ExampleScan"),
        client_id="client-1",
        configuration={"ProjectName": "demo", "ApiKey": "secret", "MaxFindings": "1"},
        input_artifacts=[_at("Source", "scan/Source")],
        output_artifacts=[_at("Report", "scan/Report")],
        artifact_credentials=seaweed.assume_role,
        encryption_key=EncryptionKey(id="alias/demo", type=EncryptionKeyType.KMS),
    )
    artifacts = partial(ArtifactStore.for_job, endpoint_url=seaweed.endpoint_url)
    make_worker(local_codepipeline.client, "ExampleScan", MemoryJournal(), artifacts=artifacts).run_once()
    assert action.status == "Succeeded"
    stored = seaweed.get("scan/Report")
    assert (stored["ServerSideEncryption"], stored["SSEKMSKeyId"]) == ("aws:kms", "alias/demo")
    with zipfile.ZipFile(io.BytesIO(stored["Body"])) as report:
        assert [each["rule"] for each in json.loads(report.read("findings.json"))] == ["a private key"]


def _at(name: str, key: str) -> Artifact:
    location = S3Location(bucket_name=BUCKET, object_key=key)
    return Artifact(name=name, location=ArtifactLocation(type=ArtifactLocationType.S3, s3_location=location))
