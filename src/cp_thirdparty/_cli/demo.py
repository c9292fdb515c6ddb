"""The local CodePipeline with one made-up job."""

from __future__ import annotations

import shlex
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from secrets import token_urlsafe

from cp_thirdparty._cli.parameters import TOKEN_VARIABLE
from cp_thirdparty.enums import ArtifactLocationType
from cp_thirdparty.models import ActionTypeId, Artifact, ArtifactLocation, S3Location
from cp_thirdparty.testing.server import LocalCodePipeline

__all__ = ["demo"]

_ACTION_TYPE = ActionTypeId(category="Test", owner="ThirdParty", provider="LocalAction", version="1")
_SHORTHAND = "category=Test,owner=ThirdParty,provider=LocalAction,version=1"


@contextmanager
def demo(port: int) -> Generator[list[str], None, None]:
    """
    Serve it, and give the lines for a shell that is to call it.

    Args:
        port: Where to listen; 0 for a free port.

    Raises:
        OSError: The port is taken.
    """
    client_id, client_token = str(uuid.uuid4()), token_urlsafe(24)
    service = LocalCodePipeline(port=port)
    service.register_client(client_id, client_token)
    action = service.start_action(
        _ACTION_TYPE,
        client_id=client_id,
        configuration={"ProjectName": "demo", "ApiKey": token_urlsafe(12)},
        input_artifacts=[_artifact("MyApp")],
        output_artifacts=[_artifact("Report")],
    )
    with service:
        variables = {**service.environment(), TOKEN_VARIABLE: client_token}
        yield [
            *(f"export {name}={shlex.quote(value)}" for name, value in variables.items()),
            f"# cp-thirdparty poll-for-third-party-jobs --action-type-id {_SHORTHAND}",
            f"# cp-thirdparty get-third-party-job-details --job-id {action.jobs[0].id}",
        ]


def _artifact(name: str) -> Artifact:
    place = S3Location(bucket_name="codepipeline-us-east-1-1", object_key=f"demo-pipeline/{name}/demo.zip")
    return Artifact(name=name, location=ArtifactLocation(type=ArtifactLocationType.S3, s3_location=place))
