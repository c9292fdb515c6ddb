"""Jobs with artifacts, on a local CodePipeline."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, TypeAlias

from cp_thirdparty import (
    ActionTypeId,
    Artifact,
    ArtifactCredentials,
    ArtifactLocation,
    ArtifactLocationType,
    EncryptionKey,
    EncryptionKeyType,
    JobDetails,
    S3Location,
    SecretStr,
    ThirdPartyJobClient,
)
from cp_thirdparty.artifacts import ArtifactStore
from cp_thirdparty.testing import LocalCodePipeline

TOKEN = SecretStr("the client's token")
# The credentials in each response with the details, or a function that creates them.
Credentials: TypeAlias = ArtifactCredentials | Callable[[], ArtifactCredentials | None] | None
_TYPE = ActionTypeId(category="Test", owner="ThirdParty", provider="Scan", version="1")


def artifact(name: str, key: str, *, bucket: str) -> Artifact:
    """Return an artifact in S3."""
    location = S3Location(bucket_name=bucket, object_key=key)
    return Artifact(name=name, location=ArtifactLocation(type=ArtifactLocationType.S3, s3_location=location))


def kms_key(key_id: str) -> EncryptionKey:
    """Return an encryption key."""
    return EncryptionKey(id=key_id, type=EncryptionKeyType.KMS)


@contextmanager
def job(
    credentials: Credentials,
    *,
    inputs: list[Artifact] | None = None,
    outputs: list[Artifact] | None = None,
    encryption_key: EncryptionKey | None = None,
    **settings: Any,
) -> Generator[tuple[ThirdPartyJobClient, JobDetails]]:
    """Yield a client and the details of a job."""
    with LocalCodePipeline(**settings) as service, service.client() as client:
        service.register_client("client", TOKEN)
        action = service.start_action(
            _TYPE,
            client_id="client",
            input_artifacts=inputs or [],
            output_artifacts=outputs or [],
            artifact_credentials=credentials if callable(credentials) else lambda: credentials,
            encryption_key=encryption_key,
        )
        yield client, client.get_third_party_job_details(action.jobs[0].id, client_token=TOKEN)


@contextmanager
def open_store(
    credentials: Credentials,
    endpoint_url: str,
    *,
    options: dict[str, Any] | None = None,
    **settings: Any,
) -> Generator[ArtifactStore]:
    """Yield the artifact store of a job."""
    with (
        job(credentials, **settings) as (client, details),
        ArtifactStore.for_job(
            client, details, client_token=TOKEN, endpoint_url=endpoint_url, **(options or {})
        ) as artifact_store,
    ):
        yield artifact_store


def s3_client(artifact_store: ArtifactStore) -> Any:
    """Return the client of a store."""
    objects: Any = artifact_store._objects
    return objects._s3
