"""Read client tokens from environment variables or AWS Secrets Manager.  Both sources can be pickled."""

from __future__ import annotations

import math
import os
import re
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final, cast

import attrs
import botocore.session
from botocore.client import BaseClient
from botocore.exceptions import BotoCoreError, ClientError

from cp_thirdparty._base.durations import read_seconds
from cp_thirdparty._core import connection, redaction
from cp_thirdparty._core.call import CURRENT, SENDING, Call, now
from cp_thirdparty._core.caller_code import clear_frames
from cp_thirdparty._core.deadline import WATCHDOG
from cp_thirdparty._core.errors import error_of, foreign_response_error, is_resource_missing
from cp_thirdparty._core.failure_frames import FailureFrames
from cp_thirdparty._core.operations import Request
from cp_thirdparty._core.sessions import prepare
from cp_thirdparty.exceptions import CredentialsError, ThirdPartyError
from cp_thirdparty.secrets import SecretStr

__all__ = ["EnvironmentTokens", "SecretsManagerTokens"]

_LOOK_UP: Final[Request[None]] = Request(
    operation_name="GetSecretValue",
    job_id=None,
    parameters={},
    decode=lambda _: (None, None),
    is_repeatable=True,
    refused=None,
    service="secretsmanager",
)

# Seconds for a look-up with all its attempts: the same as the default deadline of other calls.
_LOOK_UP_SECONDS: Final = 60.0

_NO_NAME = re.compile(r"[^A-Z0-9]")


@attrs.frozen
class EnvironmentTokens:
    """
    Client tokens in environment variables: for a few customers, or for tests.

    The name of a variable is the prefix and the client id in upper case, with ``_`` for each character that is neither
    a letter nor a digit: the token of ``7c9e-66`` is in ``CP_CLIENT_TOKEN_7C9E_66``.  Thread-safe.

    A change of a variable in the worker's process takes effect at the next look-up.  Handlers in
    ``executor=processes(n)`` see it too, because each process gets the present token of its client.  The processes of
    other executors keep the environment with which they were started.  With these, restart the worker after a change,
    or use another source of tokens, such as `SecretsManagerTokens`.

    Attributes:
        prefix: The start of the name of each variable.
    """

    prefix: str = "CP_CLIENT_TOKEN_"

    def __call__(self, client_id: str) -> SecretStr | None:
        """Return the client token of a client, or ``None`` if the variable does not exist or is empty."""
        token = os.environ.get(self.variable(client_id))
        return SecretStr(token) if token else None

    def variable(self, client_id: str) -> str:
        """
        Return the name of the variable that has the client token of a client.

        .. versionadded:: 0.2.0
        """
        return self.prefix + _NO_NAME.sub("_", client_id.upper())


class SecretsManagerTokens:
    """
    Client tokens in AWS Secrets Manager: one secret for each client, whose string is the token.

    A token is cached for the seconds of ``keep``, and fetched again if CodePipeline refuses it.  A look-up ends within
    a minute, and a response has at most 32 MiB.  The object is thread-safe and can be pickled; each process creates its
    own client.  The caller needs ``secretsmanager:GetSecretValue`` on the secrets.

    Args:
        prefix: The name of each secret is this prefix followed by the client id.
        region_name: AWS region of the secrets; ``None`` for the region of the environment or the profile.
        endpoint_url: URL of another endpoint, such as a VPC endpoint; ``None`` for the default endpoint.
        keep: Seconds or a ``timedelta`` for which a token is cached, at least 0.
        clock: Returns the time in seconds.

    Raises:
        ValueError: The seconds are less than 0.
    """

    def __init__(
        self,
        prefix: str,
        *,
        region_name: str | None = None,
        endpoint_url: str | None = None,
        keep: float | timedelta = 300.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._prefix = prefix
        self._region_name = region_name
        self._endpoint_url = endpoint_url
        self._keep = read_seconds("keep", keep, least=0, most=math.inf)
        self._clock = clock
        self._reset()

    def __call__(self, client_id: str) -> SecretStr | None:
        """
        Return the client token of a client, or ``None`` if the secret does not exist or has no string.

        Raises:
            cp_thirdparty.exceptions.ThirdPartyError: Secrets Manager could not be called, or it refused the call.
        """
        with self._lock:
            known = self._known.get(client_id)
        if known is not None and self._clock() < known[1]:
            return known[0]
        token = self._fetch(client_id)
        if isinstance(token, ThirdPartyError):
            raise token
        with self._lock:
            self._known[client_id] = (token, self._clock() + self._keep)
        return token

    def refresh(self, client_id: str) -> None:
        """Remove the token of a client from the cache, so that the next look-up fetches it."""
        with self._lock:
            self._known.pop(client_id, None)

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[str, tuple[SecretStr | None, float]] = {}
        self._made: tuple[int, BaseClient] | None = None

    def _client(self) -> BaseClient:
        with self._lock:
            if self._made is None or self._made[0] != os.getpid():
                session = botocore.session.Session()
                prepare(session)
                made = session.create_client(
                    "secretsmanager", region_name=self._region_name, endpoint_url=self._endpoint_url
                )
                made.meta.events.register_first("request-created.secrets-manager", _start_attempt)
                made.meta.events.register_last("before-send.secrets-manager", _start_sending)
                self._made = (os.getpid(), made)
            return self._made[1]

    def _fetch(self, client_id: str) -> SecretStr | ThirdPartyError | None:
        """Fetch a token.  Errors are returned and not raised, so that no traceback has a frame with a secret."""
        redaction.install()
        connection.install()
        call = Call(request=_LOOK_UP, ends_at=now() + _LOOK_UP_SECONDS)
        with call:
            WATCHDOG.start(call)
            try:
                response: dict[str, Any] = self._client().get_secret_value(SecretId=self._prefix + client_id)  # type: ignore[attr-defined] # botocore makes it
            except Exception as failure:  # noqa: BLE001 - botocore's parsers may raise almost any error
                if is_resource_missing(failure):
                    return None
                is_response = _is_reading(failure)
                error = error_of(failure, call)
                if is_response and not isinstance(error, CredentialsError):
                    error = foreign_response_error("the response could not be read", call, {})
                clear_frames(failure)
                return error
            finally:
                WATCHDOG.release(call)
        # botocore treats a web page from a proxy as a successful response without content.
        metadata = response["ResponseMetadata"]
        if not metadata.get("RequestId"):
            del response
            fault = "a response without a request id is not from Secrets Manager"
            return foreign_response_error(fault, call, metadata)
        token = response.get("SecretString")
        if isinstance(token, str):
            return SecretStr(token) if token else None
        if "SecretBinary" in response:
            return None
        del token
        return foreign_response_error("the response has no secret", call, metadata)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_lock", "_known", "_made")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._reset()


# These event handlers limit the time and the length of responses, as in the clients of CodePipeline.


def _start_attempt(**_: object) -> None:
    _current_look_up().start_attempt()


def _start_sending(request: Any, **_: object) -> None:
    call = _current_look_up()
    call.target, call.step = connection.target_of(request.url), SENDING


def _current_look_up() -> Call:
    """Return the call of this context.  It is always a look-up, because only look-ups use this client."""
    return cast("Call", CURRENT.get())


def _is_reading(failure: Exception) -> bool:
    """Return whether an error is a Python error that botocore's parsers raised while they read a response."""
    is_known = isinstance(failure, (BotoCoreError, ClientError))
    return not is_known and FailureFrames.from_failure(failure).is_reading()
