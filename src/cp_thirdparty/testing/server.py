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

    It serves the operations of both kinds of jobs over HTTP on 127.0.0.1, in the protocol of SDKs, and checks
    signatures.  A context manager; thread-safe.  It writes to no log.  `client()`, `custom_client()` and `attach()`
    reach it without HTTP, too, for which it need not be started.

    What AWS does not document is a setting; ``docs/explanation/local-codepipeline.md`` gives the source of each
    default.

    Args:
        clock: Returns the time in seconds; give a `ManualClock` that a test moves.
        redelivery_delay: Seconds or a ``timedelta`` after which a job that was not acknowledged is offered again.  AWS
            documents none; its own Jenkins plug-in waits 30.
        continuation_delay: Seconds or a ``timedelta`` after which a success with a continuation token leads to the
            next job.  AWS's user guide has 30 for Lambda actions; that it holds for third-party actions too is an
            assumption.
        job_timeout: Seconds or a ``timedelta``, from when a job can first be offered, after which it times out without
            a result.  AWS's quotas set one hour for actions that are not listed by name; an action type may set its
            own.
        custom_job_timeout: The same for custom actions, to which AWS's quotas give 24 hours.

            .. versionadded:: 0.2.0

        wrong_owner_error: The error of a poll for custom jobs whose action type has another owner than ``Custom``, and
            the reverse.  AWS documents none.

            .. versionadded:: 0.2.0

        default_batch_size: How many jobs a poll without a number returns.  An assumption.
        credential_lifetime: Seconds or a ``timedelta`` until artifact credentials expire, from the details call.  The
            900 were seen in AWS's own Jenkins plug-in.
        action_types: The action types that exist: a poll for any other is an ``ActionTypeNotFoundException``.
            ``None`` for all.
        readable_after_acknowledgement: Whether the details of a job in progress can be read.  An assumption: AWS
            documents it for custom actions, to renew credentials.
        readable_after_end: Whether the details of a job that has ended can be read.  An assumption.
        stable_nonce: ``True`` when each reading of the details returns the same nonce; ``False`` when each returns a
            new one, and only the latest is valid.  AWS does not document it.
        verify_signatures: ``False`` to let every request pass, signed or not.
        wall_clock: Returns the seconds since 1970, for signatures and the ``Date`` of responses.
        access_key_id: The access key of its callers.
        secret_access_key: The secret of that key.
        session_token: The session token that belongs to the key, or ``None``.
        region_name: The region that clients get and must sign for.
        port: Where to listen; 0 for a free port.
        journal_size: How many of the latest requests `requests` keeps, at least 1.

    Attributes:
        faults: The faults to inject: ``service.faults.add("GetThirdPartyJobDetails", LostAnswer())``.
        access_key_id: The access key of its callers.
        secret_access_key: The secret of that key.
        session_token: The session token that belongs to the key, or ``None``.
        region_name: The region that clients get and must sign for.

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
        secret_access_key: str | SecretStr = "local-codepipeline",  # noqa: S107 - of no use anywhere else
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
        Where it listens, such as ``http://127.0.0.1:40001``.

        Raises:
            RuntimeError: It is not running.
        """
        if self._server is None:
            raise RuntimeError("the local CodePipeline is not running; use it in a `with` statement")
        return f"http://127.0.0.1:{self._server.server_port}"

    def __repr__(self) -> str:
        return f"LocalCodePipeline({self.endpoint_url if self._server is not None else 'not running'})"

    @property
    def requests(self) -> tuple[RequestRecord, ...]:
        """The latest requests with their outcomes, oldest first.  One is there before its response is sent."""
        return self._journal.records

    @hide_arguments
    def register_client(self, client_id: str, client_token: str | SecretStr) -> None:
        """
        Register a client: a customer whose pipelines run the partner's action.

        Args:
            client_id: The client id that polls return.  Those of the service are lower-case UUIDs.
            client_token: The token to read the client's jobs; it replaces an earlier one.

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
            configuration: What the customer has entered, or ``None``.
            input_artifacts: The artifacts that the action reads.
            output_artifacts: The artifacts that the action must write.
            artifact_credentials: Credentials that each reading of the details returns; or a function
                without arguments that is called at each reading, such as one that assumes a role, and that may return
                ``None`` to leave them out; or ``None`` for made-up ones, new at each reading.
            encryption_key: The key of the artifacts, or ``None``.
            pipeline_context: The pipeline, stage and action, or ``None`` for made-up ones.

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
        Return whether the details of a job have returned these credentials within their lifetime.

        It uses the clock of this service, for credentials of every origin.  It does not ask the server that created
        them, such as AWS STS for an assumed role.

        Args:
            artifact_credentials: As a worker has them.
        """
        return self._states.credentials_are_valid(artifact_credentials)

    def environment(self) -> dict[str, str]:
        """
        Return the environment variables with which a child process reaches this service by AWS's own SDKs.

        Put them over the environment of this process: ``{**os.environ, **service.environment()}``.  They hold the
        service's access key in clear.  They also exclude 127.0.0.1 from proxies.

        Remove ``AWS_PROFILE`` from the merged environment: Python's SDKs fail when the AWS configuration does not
        have that profile, and others, such as that of JavaScript, prefer its credentials to those of the environment.

        Raises:
            RuntimeError: It is not running.
        """
        no_proxy = ",".join(filter(None, (os.environ.get("NO_PROXY") or os.environ.get("no_proxy"), "127.0.0.1")))
        return {
            "AWS_ENDPOINT_URL_CODEPIPELINE": self.endpoint_url,
            "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "false",
            "AWS_REGION": self.region_name,
            "AWS_DEFAULT_REGION": self.region_name,
            "AWS_ACCESS_KEY_ID": self.access_key_id,
            "AWS_SECRET_ACCESS_KEY": self.secret_access_key.get_secret_value(),
            # An empty value means none.  It hides a token of this process, which does not belong to the key.
            "AWS_SESSION_TOKEN": "" if self.session_token is None else self.session_token.get_secret_value(),
            "AWS_EC2_METADATA_DISABLED": "true",
            "NO_PROXY": no_proxy,
            "no_proxy": no_proxy,
        }

    def client(self, *, in_process: bool = False) -> ThirdPartyJobClient:
        """
        Create a client of this service.  Close it, or use it in a ``with`` statement.

        It ignores the proxies of the environment, which cannot reach 127.0.0.1 of this machine.

        Args:
            in_process: ``True`` to leave out HTTP: requests and responses are the same, and the service need not run.

        Raises:
            RuntimeError: It is not running.
        """
        return ThirdPartyJobClient.create(**self._client_settings(in_process=in_process))

    def custom_client(self, *, in_process: bool = False) -> CustomJobClient:
        """
        Create a client of the custom jobs of this service, as `client` does for third-party jobs.

        Args:
            in_process: ``True`` to leave out HTTP.

        Raises:
            RuntimeError: It is not running.

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
        Connect a CodePipeline client of botocore or boto3 with this service without HTTP, whatever its endpoint is.

        All its requests reach this service, which refuses those of other operations.  It must sign with the
        service's credentials, for the service's region, unless signatures are not checked.

        Args:
            client: It cannot be disconnected.
        """
        connect(client, self._exchange)

    def start(self) -> None:
        """
        Start listening.

        Raises:
            RuntimeError: It is running already.
            OSError: The port is in use.
        """
        if self._server is not None:
            raise RuntimeError("the local CodePipeline is running already")
        self._server = HttpServer(self._exchange, self._port)
        self._thread = Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening and close all connections; the state stays, and `start()` serves it again."""
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
