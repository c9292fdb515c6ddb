"""`LocalLambda`: invokes a Python function for the actions of a local CodePipeline, as AWS Lambda does."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any, Final

from cp_thirdparty._base.durations import MAX_SECONDS, read_seconds
from cp_thirdparty._base.frames import hide_arguments
from cp_thirdparty.converter import unstructure
from cp_thirdparty.models import ActionTypeId, Artifact, CustomJob, EncryptionKey
from cp_thirdparty.testing._artifact_credentials import CredentialSource
from cp_thirdparty.testing.actions import Action
from cp_thirdparty.testing.server import LocalCodePipeline

__all__ = ["LambdaContext", "LocalLambda"]

# The members of a job in the event of an invoke action, from the user guide.
_JOB_MEMBERS: Final = (
    "actionConfiguration",
    "inputArtifacts",
    "outputArtifacts",
    "artifactCredentials",
    "continuationToken",
    "encryptionKey",
)


class LambdaContext:
    """
    The context of an invocation.

    Args:
        seconds: Seconds or a ``timedelta`` until the invocation ends.
        function_name: The name of the function.

    Attributes:
        aws_request_id: The id of the invocation.
        function_name: The name of the function.

    .. versionadded:: 0.2.0
    """

    def __init__(self, seconds: float | timedelta = 900.0, *, function_name: str = "local-function") -> None:
        self._ends_at = time.monotonic() + read_seconds("seconds", seconds, least=-MAX_SECONDS)
        self.aws_request_id: str = str(uuid.uuid4())
        self.function_name: str = function_name

    def get_remaining_time_in_millis(self) -> int:
        """Return how many milliseconds are left."""
        return max(0, int((self._ends_at - time.monotonic()) * 1000))


class LocalLambda:
    """
    A Lambda function for the invoke actions of a local CodePipeline.

    Args:
        service: The local CodePipeline.  The function reports to it, for example with a client from `custom_client`.
        function: Called with the event and the context.
        timeout: Seconds or a ``timedelta`` that the context gives the function.  After it, the function is not stopped.
        credentials_lifetime: Seconds or a ``timedelta`` after which the artifact credentials of an event expire;
            ``None`` for events without an expiration time.  AWS does not document this member of the event.

    .. versionadded:: 0.2.0
    """

    def __init__(
        self,
        service: LocalCodePipeline,
        function: Callable[[dict[str, Any], Any], object],
        *,
        timeout: float | timedelta = 900.0,
        credentials_lifetime: float | timedelta | None = None,
    ) -> None:
        self._service = service
        self._function = function
        self._timeout = read_seconds("timeout", timeout, least=0)
        if credentials_lifetime is not None:
            credentials_lifetime = read_seconds("credentials_lifetime", credentials_lifetime, least=-MAX_SECONDS)
        self._credentials_lifetime = credentials_lifetime
        # Only jobs of custom actions have no client, so each function is a custom action of the service.
        self._action_type_id = ActionTypeId(
            category="Invoke", owner="Custom", provider=f"Lambda-{uuid.uuid4().hex[:20]}", version="1"
        )

    @hide_arguments
    def start_action(
        self,
        *,
        user_parameters: str | None = None,
        input_artifacts: Iterable[Artifact] = (),
        output_artifacts: Iterable[Artifact] = (),
        artifact_credentials: CredentialSource = None,
        encryption_key: EncryptionKey | None = None,
    ) -> Action:
        """
        Start the invoke action of a pipeline.  `invoke` then calls the function.

        Args:
            user_parameters: The user parameters of the action, such as a JSON object.
            input_artifacts: The artifacts that the action reads.
            output_artifacts: The artifacts that the action must write.
            artifact_credentials: As for `LocalCodePipeline.start_action`.
            encryption_key: The key of the artifacts, or ``None``.
        """
        configuration = {"FunctionName": "local-function"}
        if user_parameters is not None:
            configuration["UserParameters"] = user_parameters
        return self._service.start_action(
            self._action_type_id,
            configuration=configuration,
            input_artifacts=input_artifacts,
            output_artifacts=output_artifacts,
            artifact_credentials=artifact_credentials,
            encryption_key=encryption_key,
        )

    def invoke(self, *, deliveries: int = 1) -> int:
        """
        Call the function for each waiting job, and return the number of these jobs.

        The next job of a continued action is one of them only after the ``continuation_delay`` of the service.

        Args:
            deliveries: How often the event of each job is delivered; Lambda may deliver an event more than once.

        Raises:
            Exception: The exception that the function raised.
        """
        states = self._service._states  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - this class belongs to the service
        jobs = states.poll_custom(self._action_type_id, None, {})
        for job in jobs:
            states.acknowledge(job.id, job.nonce, None)
            for _ in range(deliveries):
                _call_function(self._function, job, LambdaContext(self._timeout), self._credentials_lifetime)
        return len(jobs)


@hide_arguments
def _call_function(
    function: Callable[[dict[str, Any], Any], object],
    job: CustomJob,
    context: LambdaContext,
    credentials_lifetime: float | None,
) -> None:
    document = unstructure(job, secrets="reveal")
    data = {name: document["data"][name] for name in _JOB_MEMBERS if name in document["data"]}
    if credentials_lifetime is not None:
        data["artifactCredentials"]["expirationTime"] = int((time.time() + credentials_lifetime) * 1000)
    function({"CodePipeline.job": {"id": job.id, "accountId": job.account_id, "data": data}}, context)
