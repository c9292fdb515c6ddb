"""
`LocalCodePipeline`: the states and the wire behind HTTP on 127.0.0.1.

Served by the standard library's ``http.server``: it adds no dependency, keeps connections alive, gives each a thread,
and leaves the socket within reach for playing faults.
"""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from threading import Thread
from typing import TYPE_CHECKING, Any, cast

import botocore.session
from botocore.config import Config

from cp_thirdparty.client import ThirdPartyJobClient
from cp_thirdparty.converter import structure, unstructure
from cp_thirdparty.models import (
    ActionTypeId,
    Artifact,
    ArtifactCredentials,
    CurrentRevision,
    EncryptionKey,
    ExecutionDetails,
    FailureDetails,
    PipelineContext,
)
from cp_thirdparty.secrets import SecretStr
from cp_thirdparty.testing.states import Action, RefusedError, States, Success
from cp_thirdparty.testing.wire import Answer, BadRequestError, failed, ok, parse_request

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

__all__ = ["LocalCodePipeline"]

# No third-party request comes near it: the longest texts of the service's model add up to 12,000 characters.
_MAX_BODY_BYTES = 1 << 20
_LENGTH = re.compile(r"[0-9]{1,7}")

# Made up, and the same for everybody.
_ACCESS_KEY_ID = "AKIDLOCALCODEPIPELINE"
_SECRET_ACCESS_KEY = "local-codepipeline"  # noqa: S105 - of no use anywhere else


class LocalCodePipeline:
    """
    A CodePipeline for third-party actions on this machine, for development and tests.

    It serves the five operations over HTTP on 127.0.0.1 and a free port, in the protocol that SDKs speak.  A context
    manager; once started, thread-safe.  It does not check signatures, and it writes to no log.

    Args:
        clock: Tells the time in seconds; give one that a test moves.

        redelivery_delay: Seconds after which a job that was not acknowledged is offered again.  AWS documents none;
            30 is what its own Jenkins plug-in counts on.

        continuation_delay: Seconds after which a success with a continuation token brings the next job.  AWS's user
            guide says 30 for Lambda actions; that it holds for third-party actions too is an assumption.

        job_timeout: Seconds, from when a job can first be offered, after which it times out without a result.  AWS's
            quotas say one hour for actions that are not listed by name; an action type may set its own.

        region_name: The region that clients are told.

    .. versionadded:: 0.1.0
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        redelivery_delay: float = 30.0,
        continuation_delay: float = 30.0,
        job_timeout: float = 3600.0,
        region_name: str = "us-east-1",
    ) -> None:
        self._states = States(
            clock=clock,
            redelivery_delay=redelivery_delay,
            continuation_delay=continuation_delay,
            job_timeout=job_timeout,
        )
        self._region_name = region_name
        self._server: _Server | None = None
        self._thread: Thread | None = None

    @property
    def endpoint_url(self) -> str:
        """
        Where it listens, such as ``http://127.0.0.1:40001``.

        Raises:
            RuntimeError: It is not running.

        .. versionadded:: 0.1.0
        """
        if self._server is None:
            raise RuntimeError("the local CodePipeline is not running; use it in a `with` statement")
        return f"http://127.0.0.1:{self._server.server_port}"

    def register_client(self, client_id: str, client_token: str | SecretStr) -> None:
        """
        Make a client known: a customer whose pipelines run the partner's action.

        Args:
            client_id: What polls bring.  The service's own are lower-case UUIDs.

            client_token: What a worker must have to read the client's jobs; it takes the place of an earlier one.

        Raises:
            TypeError: The token is not a text.

        .. versionadded:: 0.1.0
        """
        self._states.register_client(client_id, client_token)

    def start_action(
        self,
        action_type_id: ActionTypeId,
        *,
        client_id: str,
        configuration: Mapping[str, str | SecretStr] | None = None,
        input_artifacts: Iterable[Artifact] = (),
        output_artifacts: Iterable[Artifact] = (),
        artifact_credentials: ArtifactCredentials | None = None,
        encryption_key: EncryptionKey | None = None,
        pipeline_context: PipelineContext | None = None,
    ) -> Action:
        """
        Let a pipeline of a client reach an action, which queues a job.

        Args:
            action_type_id: The action type.

            client_id: A registered client.

            configuration: What the customer has entered, or ``None``.

            input_artifacts: What the action takes.

            output_artifacts: What the action must make.

            artifact_credentials: Credentials for the artifacts, or ``None``.

            encryption_key: The key of the artifacts, or ``None``.

            pipeline_context: The pipeline, stage and action, or ``None`` for made-up ones.

        Raises:
            ValueError: The client is not registered.

            TypeError: A value of the configuration is not a text.

        .. versionadded:: 0.1.0
        """
        return self._states.start_action(
            action_type_id,
            client_id=client_id,
            configuration=configuration,
            input_artifacts=input_artifacts,
            output_artifacts=output_artifacts,
            artifact_credentials=artifact_credentials,
            encryption_key=encryption_key,
            pipeline_context=pipeline_context,
        )

    def environment(self) -> dict[str, str]:
        """
        Return the environment variables with which a child process reaches this service by AWS's own SDKs.

        Raises:
            RuntimeError: It is not running.

        .. versionadded:: 0.1.0
        """
        return {
            "AWS_ENDPOINT_URL_CODEPIPELINE": self.endpoint_url,
            "AWS_REGION": self._region_name,
            "AWS_DEFAULT_REGION": self._region_name,
            "AWS_ACCESS_KEY_ID": _ACCESS_KEY_ID,
            "AWS_SECRET_ACCESS_KEY": _SECRET_ACCESS_KEY,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def client(self) -> ThirdPartyJobClient:
        """
        Make a client of this service.  Close it, or use it in a ``with`` statement.

        It goes past the proxies of the environment, which know nothing of 127.0.0.1 on this machine.

        Raises:
            RuntimeError: It is not running.

        .. versionadded:: 0.1.0
        """
        session = botocore.session.Session()
        session.set_credentials(_ACCESS_KEY_ID, _SECRET_ACCESS_KEY)
        return ThirdPartyJobClient.create(
            region_name=self._region_name,
            endpoint_url=self.endpoint_url,
            session=session,
            config=Config(proxies={}),
        )

    def start(self) -> None:
        """
        Begin to listen.

        Raises:
            RuntimeError: It is running already.

        .. versionadded:: 0.1.0
        """
        if self._server is not None:
            raise RuntimeError("the local CodePipeline is running already")
        self._server = _Server(self._states)
        # Looks for the end 20 times a second, so that closing is quick.
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """
        Stop listening and cut all connections; what it knows stays, and `start()` serves it again.

        .. versionadded:: 0.1.0
        """
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()
            self._server = self._thread = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # a thread ends with its connection, which server_close() cuts
    request_queue_size = 128  # of 64 clients at once, some waited 1 to 4 s with the default of 5, and 0.05 s with this

    def __init__(self, states: States) -> None:
        self._connections: set[socket.socket] = set()
        super().__init__(("127.0.0.1", 0), _Handler)
        self.states = states

    def server_bind(self) -> None:
        # HTTPServer's own looks up the name of the address, which may take seconds without a network.
        TCPServer.server_bind(self)
        self.server_port = self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        super().server_close()
        for connection in tuple(self._connections):
            with suppress(OSError):  # its client was quicker
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a client has hung up, and socketserver's own way is a traceback on stderr."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # without it, each answer of two writes waits 40 ms for an acknowledgement

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not _LENGTH.fullmatch(length) or int(length) > _MAX_BODY_BYTES:
            self.close_connection = True  # the body stays unread
            self._send(failed("SerializationException", "There must be a Content-Length of at most 1 MiB", status=413))
            return
        body = self.rfile.read(int(length))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self._send(_answer(cast("_Server", self.server).states, headers, body))

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(answer.body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002 - they echo
        """Answer what is no request or no POST: in JSON, and without http.server's echo of what was sent."""
        self.close_connection = True
        self.request_version = self.protocol_version  # of a request that it cannot read, it would send no headers
        self._send(failed("UnknownOperationException", f"{code} {HTTPStatus(code).phrase}", status=code))

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name that http.server has
        """Log nothing: a request line may be the rest of a body, with a client token in it."""


def _answer(states: States, headers: Mapping[str, str], body: bytes) -> Answer:
    try:
        operation_name, parameters = parse_request(headers, body)
        return ok(_HANDLERS[operation_name](states, parameters))
    except (BadRequestError, RefusedError) as refused:
        return failed(refused.code, refused.message)
    except Exception as error:  # noqa: BLE001 - the clock's, for one; the caller sees its type and stderr no values
        return failed("InternalFailure", f"The local CodePipeline met a {type(error).__name__}", status=500)


def _poll(states: States, parameters: Mapping[str, Any]) -> dict[str, Any]:
    jobs = states.poll(structure(parameters["actionTypeId"], ActionTypeId), parameters.get("maxBatchSize"))
    return {"jobs": [unstructure(job) for job in jobs]}


def _details(states: States, parameters: Mapping[str, Any]) -> dict[str, Any]:
    details = states.details(parameters["jobId"], SecretStr(parameters["clientToken"]))
    return {"jobDetails": unstructure(details, secrets="reveal")}


def _acknowledge(states: States, parameters: Mapping[str, Any]) -> dict[str, Any]:
    status = states.acknowledge(parameters["jobId"], parameters["nonce"], SecretStr(parameters["clientToken"]))
    return {"status": status.value}


def _put_success(states: States, parameters: Mapping[str, Any]) -> None:
    revision, execution = parameters.get("currentRevision"), parameters.get("executionDetails")
    success = Success(
        continuation_token=parameters.get("continuationToken"),
        current_revision=None if revision is None else structure(revision, CurrentRevision),
        execution_details=None if execution is None else structure(execution, ExecutionDetails),
    )
    states.put_success(parameters["jobId"], SecretStr(parameters["clientToken"]), success)


def _put_failure(states: States, parameters: Mapping[str, Any]) -> None:
    failure = structure(parameters["failureDetails"], FailureDetails)
    states.put_failure(parameters["jobId"], SecretStr(parameters["clientToken"]), failure)


_HANDLERS: Mapping[str, Callable[[States, Mapping[str, Any]], dict[str, Any] | None]] = {
    "PollForThirdPartyJobs": _poll,
    "GetThirdPartyJobDetails": _details,
    "AcknowledgeThirdPartyJob": _acknowledge,
    "PutThirdPartyJobSuccessResult": _put_success,
    "PutThirdPartyJobFailureResult": _put_failure,
}
