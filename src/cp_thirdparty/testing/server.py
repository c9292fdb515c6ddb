"""`LocalCodePipeline`: a complete CodePipeline for third-party and custom actions on this machine."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import timedelta
from threading import Thread
from typing import Any

import botocore.session
from botocore.client import BaseClient
from botocore.config import Config
from typing_extensions import Self

from cp_thirdparty._base.durations import to_seconds
from cp_thirdparty._base.frames import hide_arguments
from cp_thirdparty._core import data_loader
from cp_thirdparty.client import CustomJobClient, ThirdPartyJobClient
from cp_thirdparty.models import (
    ActionConfiguration,
    ActionTypeId,
    Artifact,
    ArtifactCredentials,
    EncryptionKey,
    JobData,
    PipelineContext,
)
from cp_thirdparty.secrets import SecretStr
from cp_thirdparty.testing._artifact_credentials import CredentialSource
from cp_thirdparty.testing._assumptions import Assumptions
from cp_thirdparty.testing._exchange import Exchange
from cp_thirdparty.testing._http_server import HttpServer
from cp_thirdparty.testing._in_process import IN_PROCESS_URL, connect
from cp_thirdparty.testing._signature import SignatureCheck
from cp_thirdparty.testing._states import States
from cp_thirdparty.testing.actions import Action
from cp_thirdparty.testing.faults import Faults
from cp_thirdparty.testing.journal import RequestJournal, RequestRecord

__all__ = ["LocalCodePipeline"]


class LocalCodePipeline:
    """
    A CodePipeline for third-party and custom actions on this machine, for development and tests.

    It serves the operations for third-party and custom jobs over HTTP on 127.0.0.1, in the protocol of AWS SDKs, and
    checks signatures.  It is a context manager, is thread-safe, and writes no log.  `client()` and `custom_client()`
    with ``in_process=True``, and `attach()`, use it without HTTP; then it need not be started.

    Behaviour that AWS does not document is a setting; ``docs/explanation/local-codepipeline.md`` gives the source of
    each default.

    Args:
        clock: Returns the time in seconds, such as a `ManualClock`, whose time a test changes.
        redelivery_delay: Seconds or a ``timedelta`` after which a job that was not acknowledged is offered again.  AWS
            documents no number; its own Jenkins plug-in waits 30 seconds.
        continuation_delay: Seconds or a ``timedelta`` from a success with a continuation token until the next job of
            the action is offered.  AWS's user guide states 30 for Lambda actions; for third-party actions this is an
            assumption.
        job_timeout: Seconds or a ``timedelta``, counted from the time at which a job can first be offered, after which
            a job without a result times out.  AWS's quotas set one hour for actions that they do not list by name; an
            action type may set another timeout.
        custom_job_timeout: The timeout of jobs of custom actions, which is 24 hours in AWS's quotas.

            .. versionadded:: 0.2.0

        wrong_owner_error: The error code of a poll for custom jobs if the owner of the action type is not ``Custom``,
            and of a poll for third-party jobs if it is.  AWS documents no code.

            .. versionadded:: 0.2.0

        default_batch_size: How many jobs a poll without ``maxBatchSize`` returns at most.  An assumption.
        credential_lifetime: Seconds or a ``timedelta`` from the details call until artifact credentials expire.  The
            default of 900 comes from AWS's own Jenkins plug-in.
        action_types: The action types that exist: a poll for another one fails with
            ``ActionTypeNotFoundException``.  ``None`` for all action types.
        readable_after_acknowledgement: Whether the details of a job in progress can be read.  An assumption: AWS
            documents it for custom actions, to renew credentials.
        readable_after_end: Whether the details of a job that has ended can be read.  An assumption.
        stable_nonce: ``True`` when each reading of the details returns the same nonce; ``False`` when each returns a
            new one, and only the latest is valid.  AWS does not document it.
        verify_signatures: ``False`` to accept every request, signed or not.
        wall_clock: Returns the seconds since 1970, for signatures and the ``Date`` of responses.
        access_key_id: The access key id with which requests must be signed.
        secret_access_key: The secret access key with which requests must be signed.
        session_token: The session token that belongs to the access key, or ``None``.
        region_name: The region of the clients, for which requests must be signed.
        port: The port to listen on; 0 for a free port.
        journal_size: How many of the latest requests `requests` keeps, at least 1.

    Attributes:
        faults: The faults to inject: ``service.faults.add("GetThirdPartyJobDetails", LostAnswer())``.
        access_key_id: The access key id with which requests must be signed.
        secret_access_key: The secret access key with which requests must be signed.
        session_token: The session token that belongs to the access key, or ``None``.
        region_name: The region of the clients, for which requests must be signed.

    Raises:
        ValueError: A number is too small.
        TypeError: A secret is not a string.
    """

    @hide_arguments
    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        redelivery_delay: float | timedelta = 30.0,
        continuation_delay: float | timedelta = 30.0,
        job_timeout: float | timedelta = 3600.0,
        custom_job_timeout: float | timedelta = 86_400.0,
        wrong_owner_error: str = "ActionTypeNotFoundException",
        default_batch_size: int = 10,
        credential_lifetime: float | timedelta = 900.0,
        action_types: Collection[ActionTypeId] | None = None,
        readable_after_acknowledgement: bool = True,
        readable_after_end: bool = True,
        stable_nonce: bool = True,
        verify_signatures: bool = True,
        wall_clock: Callable[[], float] = time.time,
        access_key_id: str = "AKIDLOCALCODEPIPELINE",
        secret_access_key: str | SecretStr = "local-codepipeline",  # noqa: S107 - not a real secret
        session_token: str | SecretStr | None = None,
        region_name: str = "us-east-1",
        port: int = 0,
        journal_size: int = 10_000,
    ) -> None:
        self.access_key_id = access_key_id
        self.secret_access_key: SecretStr = SecretStr.wrap(secret_access_key)
        self.session_token: SecretStr | None = None if session_token is None else SecretStr.wrap(session_token)
        self.region_name = region_name
        self.faults: Faults = Faults()
        self._port = port
        self._journal = RequestJournal(journal_size)
        assumptions = Assumptions(
            redelivery_delay=to_seconds(redelivery_delay),
            continuation_delay=to_seconds(continuation_delay),
            job_timeout=to_seconds(job_timeout),
            custom_job_timeout=to_seconds(custom_job_timeout),
            wrong_owner_error=wrong_owner_error,
            default_batch_size=default_batch_size,
            credential_lifetime=to_seconds(credential_lifetime),
            action_types=action_types,
            readable_after_acknowledgement=readable_after_acknowledgement,
            readable_after_end=readable_after_end,
            stable_nonce=stable_nonce,
        )
        self._states = States(clock=clock, assumptions=assumptions)
        signature = SignatureCheck(
            access_key_id=self.access_key_id,
            secret_access_key=self.secret_access_key,
            session_token=self.session_token,
            region_name=region_name,
            clock=wall_clock,
        )
        self._exchange = Exchange(
            states=self._states,
            faults=self.faults,
            journal=self._journal,
            signature=signature if verify_signatures else None,
            clock=wall_clock,
        )
        self._server: HttpServer | None = None
        self._thread: Thread | None = None

    @property
    def endpoint_url(self) -> str:
        """
        The URL of the service, such as ``http://127.0.0.1:40001``.

        Raises:
            RuntimeError: The service is not running.
        """
        if self._server is None:
            raise RuntimeError("the local CodePipeline is not running; use it in a `with` statement")
        return f"http://127.0.0.1:{self._server.server_port}"

    def __repr__(self) -> str:
        return f"LocalCodePipeline({self.endpoint_url if self._server is not None else 'not running'})"

    @property
    def requests(self) -> tuple[RequestRecord, ...]:
        """The latest requests with their outcomes, oldest first.  A request is recorded before its response is sent."""
        return self._journal.records

    @hide_arguments
    def register_client(self, client_id: str, client_token: str | SecretStr) -> None:
        """
        Register a client: a customer whose pipelines run the partner's action.

        Args:
            client_id: The client id that polls return.  CodePipeline's own client ids are lower-case UUIDs.
            client_token: The client token with which a worker reads the client's jobs; it replaces an earlier token.

        Raises:
            TypeError: The token is not a string.
        """
        self._states.register_client(client_id, client_token)

    @hide_arguments
    def start_action(
        self,
        action_type_id: ActionTypeId,
        *,
        client_id: str | None = None,
        configuration: Mapping[str, str | SecretStr] | None = None,
        input_artifacts: Iterable[Artifact] = (),
        output_artifacts: Iterable[Artifact] = (),
        artifact_credentials: CredentialSource = None,
        encryption_key: EncryptionKey | None = None,
        pipeline_context: PipelineContext | None = None,
    ) -> Action:
        """
        Start an action of a client's pipeline, which queues a job.

        Args:
            action_type_id: The action type.
            client_id: A registered client; ``None`` for a custom action, whose owner is ``Custom``.
            configuration: The action configuration that the customer has entered, or ``None``.
            input_artifacts: The artifacts that the action reads.
            output_artifacts: The artifacts that the action must write.
            artifact_credentials: The credentials that each details call returns; or a function without arguments, such
                as one that assumes a role, which is called at each details call and may return ``None`` for no
                credentials; or ``None`` for generated credentials, which are new at each details call.
            encryption_key: The key of the artifacts, or ``None``.
            pipeline_context: The pipeline, stage and action, or ``None`` for generated ones.

        Raises:
            ValueError: The client is not registered, a custom action has a client, or the action type is not one of
                ``action_types``.
            TypeError: A value of the configuration is not a string.
        """
        data = JobData(
            action_type_id=action_type_id,
            action_configuration=None if configuration is None else ActionConfiguration(configuration=configuration),
            pipeline_context=pipeline_context,
            input_artifacts=input_artifacts,
            output_artifacts=output_artifacts,
            encryption_key=encryption_key,
        )
        return self._states.start_action(data, client_id=client_id, artifact_credentials=artifact_credentials)

    def credentials_are_valid(self, artifact_credentials: ArtifactCredentials) -> bool:
        """
        Return whether a details call has returned these credentials and they have not expired.

        Only ``credential_lifetime`` and the clock of this service count, also for credentials from another server,
        such as AWS STS.

        Args:
            artifact_credentials: Credentials from the details of a job.
        """
        return self._states.credentials_are_valid(artifact_credentials)

    def environment(self) -> dict[str, str]:
        """
        Return the environment variables for a child process whose AWS SDKs call this service.

        Add them to the environment of this process: ``{**os.environ, **service.environment()}``.  They contain the
        service's access key in plain text.  They also exclude 127.0.0.1 from proxies.

        Remove ``AWS_PROFILE`` from the merged environment: AWS's SDKs for Python fail if the AWS configuration does not
        have that profile, and others, such as that for JavaScript, prefer its credentials to those of the environment.

        Raises:
            RuntimeError: The service is not running.
        """
        no_proxy = ",".join(filter(None, (os.environ.get("NO_PROXY") or os.environ.get("no_proxy"), "127.0.0.1")))
        return {
            "AWS_ENDPOINT_URL_CODEPIPELINE": self.endpoint_url,
            "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "false",
            "AWS_REGION": self.region_name,
            "AWS_DEFAULT_REGION": self.region_name,
            "AWS_ACCESS_KEY_ID": self.access_key_id,
            "AWS_SECRET_ACCESS_KEY": self.secret_access_key.get_secret_value(),
            # An empty value means no token.  It hides a token of this process, which belongs to another access key.
            "AWS_SESSION_TOKEN": "" if self.session_token is None else self.session_token.get_secret_value(),
            "AWS_EC2_METADATA_DISABLED": "true",
            "NO_PROXY": no_proxy,
            "no_proxy": no_proxy,
        }

    def client(self, *, in_process: bool = False) -> ThirdPartyJobClient:
        """
        Create a client of this service.  Close it, or use it in a ``with`` statement.

        The client ignores the proxies of the environment, which cannot reach 127.0.0.1 of this machine.

        Args:
            in_process: ``True`` for calls without HTTP.  Requests and responses are the same, and the service need not
                run.

        Raises:
            RuntimeError: The service is not running.
        """
        return ThirdPartyJobClient.create(**self._client_settings(in_process=in_process))

    def custom_client(self, *, in_process: bool = False) -> CustomJobClient:
        """
        Create a client for the custom jobs of this service; `client` creates one for third-party jobs.

        Args:
            in_process: ``True`` for calls without HTTP.

        Raises:
            RuntimeError: The service is not running.

        .. versionadded:: 0.2.0
        """
        return CustomJobClient.create(**self._client_settings(in_process=in_process))

    def _client_settings(self, *, in_process: bool) -> dict[str, Any]:
        session = botocore.session.Session()
        data_loader.install(session)
        token = None if self.session_token is None else self.session_token.get_secret_value()
        session.set_credentials(self.access_key_id, self.secret_access_key.get_secret_value(), token)
        if in_process:
            connect(session, self._exchange)
        return {
            "region_name": self.region_name,
            "endpoint_url": IN_PROCESS_URL if in_process else self.endpoint_url,
            "session": session,
            "config": Config(proxies={}),
        }

    def attach(self, client: BaseClient) -> None:
        """
        Connect a CodePipeline client of botocore or boto3 to this service without HTTP, whatever its endpoint is.

        This service gets all requests of the client, and refuses those of other operations.  Unless
        ``verify_signatures`` is ``False``, the client must sign with the service's credentials and region.

        Args:
            client: The client.  It cannot be disconnected.
        """
        connect(client, self._exchange)

    def start(self) -> None:
        """
        Start listening.

        Raises:
            RuntimeError: The service is already running.
            OSError: The port is in use.
        """
        if self._server is not None:
            raise RuntimeError("the local CodePipeline is already running")
        self._server = HttpServer(self._exchange, self._port)
        self._thread = Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening and close all connections; the state is kept for the next `start()`."""
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()
            self._server = self._thread = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
