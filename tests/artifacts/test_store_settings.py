"""Settings of the machine that the S3 client of a job cannot use."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.artifact_jobs import artifact, store
from support.aws_machine import MARKER, Machine, Setup

from cp_thirdparty import ArtifactCredentials, SecretStr
from cp_thirdparty.exceptions import InvalidRequestError


def test_a_setting_that_s3_cannot_use_is_named(machine: Machine, tmp_path: Path) -> None:
    """A wrong CA bundle is named before anything is sent to S3."""
    machine.apply(Setup({"AWS_CA_BUNDLE": f"/none/{MARKER}"}))
    secret = SecretStr(MARKER)
    credentials = ArtifactCredentials(access_key_id=secret, secret_access_key=secret, session_token=secret)
    inputs = [artifact("MyApp", "first", bucket="bucket")]
    with (
        pytest.raises(InvalidRequestError) as caught,
        store(credentials, "https://127.0.0.1:9", inputs=inputs) as opened,
    ):
        opened.download("MyApp", to=tmp_path / "x")
    assert str(caught.value) == "AWS_CA_BUNDLE: must be the path of a file with CA certificates"
    assert machine.find_marker(caught.value) == []
