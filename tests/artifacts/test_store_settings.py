"""Settings of the machine that the S3 client of a job cannot use."""

from __future__ import annotations

from pathlib import Path

import pytest
from botocore.loaders import Loader
from support.artifact_jobs import artifact, job, open_store, s3_client
from support.aws_machine import MARKER, Machine, Setup

from cp_thirdparty import ArtifactCredentials, ArtifactStore, SecretStr
from cp_thirdparty.exceptions import InvalidRequestError


def test_a_setting_that_s3_cannot_use_is_named(machine: Machine, tmp_path: Path) -> None:
    """A wrong CA bundle is named before anything is sent to S3."""
    machine.apply(Setup({"AWS_CA_BUNDLE": f"/none/{MARKER}"}))
    secret = SecretStr(MARKER)
    credentials = ArtifactCredentials(access_key_id=secret, secret_access_key=secret, session_token=secret)
    inputs = [artifact("MyApp", "first", bucket="bucket")]
    with (
        pytest.raises(InvalidRequestError) as caught,
        open_store(credentials, "https://127.0.0.1:9", inputs=inputs) as artifact_store,
    ):
        artifact_store.download("MyApp", to=tmp_path / "x")
    assert str(caught.value) == "AWS_CA_BUNDLE: must be the path of a file with CA certificates"
    assert machine.find_marker(caught.value) == []


_CONFIG = """
[default]
endpoint_url = http://127.0.0.1:1
s3 =
  use_accelerate_endpoint = true
  addressing_style = path
  endpoint_url = http://127.0.0.1:1
use_fips_endpoint = true
use_dualstack_endpoint = true
services = all
[services all]
s3 =
  endpoint_url = http://127.0.0.1:1
"""


@pytest.mark.parametrize(
    ("variables", "config"),
    [
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}, ""),
        ({"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1"}, ""),
        ({"AWS_USE_FIPS_ENDPOINT": "true", "AWS_USE_DUALSTACK_ENDPOINT": "true"}, ""),
        ({"AWS_PROFILE": "missing"}, ""),
        ({"AWS_DEFAULT_PROFILE": "missing"}, "[default]\n"),
        ({"AWS_MAX_ATTEMPTS": "many", "AWS_RETRY_MODE": "none"}, ""),
        ({}, "no section"),
        ({}, _CONFIG),
    ],
)
def test_settings_of_the_machine_do_not_steer_the_traffic_of_customers(
    variables: dict[str, str], config: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The region of the job's client decides where S3 is."""
    secret = SecretStr(MARKER)
    credentials = ArtifactCredentials(access_key_id=secret, secret_access_key=secret, session_token=secret)
    path = tmp_path / "config"
    path.write_text(config, encoding="utf-8")
    (tmp_path / "models").mkdir()
    partitions = (Path(Loader.BUILTIN_DATA_PATH) / "partitions.json").read_text(encoding="utf-8")
    (tmp_path / "models" / "partitions.json").write_text(partitions.replace("amazonaws.com", "example"))
    monkeypatch.setattr(Loader, "CUSTOMER_DATA_PATH", str(tmp_path / "models"))  # `~/.aws/models`
    with job(credentials, inputs=[artifact("MyApp", "first", bucket="bucket")]) as (client, details):
        for name, value in {**variables, "AWS_CONFIG_FILE": str(path)}.items():
            monkeypatch.setenv(name, value)
        with ArtifactStore.for_job(client, details, client_token="t", region_name="eu-west-1") as artifact_store:
            s3 = s3_client(artifact_store)
            assert s3.meta.endpoint_url == "https://s3.eu-west-1.amazonaws.com"
            with artifact_store._bounds.start():  # the client is only used within a transfer
                url = s3.generate_presigned_url("get_object", Params={"Bucket": "bucket", "Key": "key"})
    assert url.startswith("https://bucket.s3.amazonaws.com/key?")  # the global name: botocore signs URLs for it
