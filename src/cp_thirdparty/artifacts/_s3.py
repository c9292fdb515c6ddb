"""An S3 client for one job: its credentials and no others, its checks of responses, its encryption key."""

from __future__ import annotations

import os
import threading
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final, cast

from botocore.config import Config
from botocore.configprovider import ConfigValueStore, ConstantProvider, EnvironmentProvider
from botocore.credentials import Credentials
from botocore.session import Session

from cp_thirdparty._base.version import __version__
from cp_thirdparty._core import data_loader
from cp_thirdparty._core.backoff import FIRST_S3_PAUSE
from cp_thirdparty._core.call import CURRENT, now
from cp_thirdparty._core.connection import target_of
from cp_thirdparty._core.deadline import WATCHDOG
from cp_thirdparty._core.errors import configuration_error_of
from cp_thirdparty._core.sources import find_refused_setting
from cp_thirdparty._core.strike_out import strike_out
from cp_thirdparty.artifacts._bounds import TransferCall, never
from cp_thirdparty.artifacts._credentials import JobCredentials
from cp_thirdparty.artifacts._responses import Facts, ResponseRefusedError, find_fault

__all__ = ["close_responses", "create_s3", "pin_object"]

# Where a request keeps which generation of the credentials has signed it, and that it was signed again.
_GENERATION: Final = "cp_thirdparty.generation"
_SIGNED_AGAIN: Final = "cp_thirdparty.signed_again"

# S3's codes for expired temporary credentials: AWS's "Error responses" page of the S3 API reference, and those of its
# other services.
_EXPIRED: Final = frozenset({"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"})
_FIRST_NO_SUCCESS: Final = 300
# Seconds to remove the parts of an upload that has failed, also after its deadline.
_ABORT_SECONDS: Final = 10.0
_PRECONDITION_FAILED: Final = 412
# How often a request is resent whose response is not accepted, as often as botocore's standard mode asks.
_ATTEMPTS: Final = 3

# The object that is being read: each request for a part of it accepts no other.
_PINNED: ContextVar[Facts | None] = ContextVar("cp_thirdparty_pinned", default=None)


# For s3transfer's ten threads, with some left for `open()`.
_CONNECTIONS: Final = 16


@contextmanager
def pin_object(facts: Facts) -> Generator[None]:
    """Read only the object about which S3 has reported this."""
    token = _PINNED.set(facts)
    try:
        yield
    finally:
        _PINNED.reset(token)


class _OpenResponses:
    """The responses of one download that are not yet read to their end."""

    def __init__(self) -> None:
        self._open: list[Any] = []
        self._lock = threading.Lock()

    def keep(self, response: Any) -> None:
        with self._lock:
            self._open = [each for each in (*self._open, response) if not each.closed]

    def close(self) -> None:
        for response in self._open:
            response.close()


_OPEN_RESPONSES: ContextVar[_OpenResponses | None] = ContextVar("cp_thirdparty_open_responses", default=None)


@contextmanager
def close_responses() -> Generator[None]:
    """Close the responses that s3transfer leaves open when another of them fails."""
    responses = _OpenResponses()
    token = _OPEN_RESPONSES.set(responses)
    try:
        yield
    finally:
        _OPEN_RESPONSES.reset(token)
        responses.close()


def create_s3(
    credentials: JobCredentials,
    *,
    key_id: str | None,
    region_name: str | None,
    endpoint_url: str | None,
    expected_bucket_owner: str | None,
    config: Config | None,
    is_request_id_required: bool,
) -> Any:
    """Create a client of botocore, or return the error."""
    try:
        session = Session()
        session.register_component("config_store", _create_settings())
        # In place of botocore's own, which look through environment, files and metadata services.
        session.register_component("credential_provider", _JobCredentialProvider(credentials))
        session.register_component("token_provider", _NoToken())
        data_loader.install(session, is_customized=False)  # S3's large model is parsed once for all jobs
        client: Any = session.create_client(
            "s3", region_name=region_name, endpoint_url=endpoint_url, config=_settings(endpoint_url, config)
        )
        refused = find_refused_setting(client, session, endpoint_url=endpoint_url)
    except Exception as failure:  # noqa: BLE001 - returned as an error of this library
        return configuration_error_of(failure)
    if refused is not None:
        return refused
    handlers = _Handlers(credentials, key_id, expected_bucket_owner, is_request_id_required=is_request_id_required)
    client.meta.events.register_first("before-parameter-build.s3", handlers.complete)
    client.meta.events.register_first("before-sign.s3", handlers.check_credentials)
    client.meta.events.register_first("before-send.s3", _start_request)
    client.meta.events.register_first("needs-retry.s3", handlers.check_response)
    return client


def _create_settings() -> ConfigValueStore:
    """
    Return botocore's own defaults in place of the settings of the machine.

    Those are for the partner's S3, and this is the customers': a stale profile, an endpoint or an S3 section of them
    would steer the customers' traffic.  The CA bundle and the proxies belong to the network of the machine.
    """
    defaults = {name: ConstantProvider(default) for name, (_, _, default, _) in Session.SESSION_VARIABLES.items()}
    files = dict.fromkeys(("config_file", "credentials_file"), ConstantProvider(None))
    certificates = {"ca_bundle": EnvironmentProvider("AWS_CA_BUNDLE", os.environ)}
    return ConfigValueStore(mapping={**defaults, **files, **certificates})


class _JobCredentialProvider:
    """A chain of credential providers with a single provider."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    def load_credentials(self) -> Credentials:
        return self._credentials


class _NoToken:
    """A chain of bearer token providers without a provider."""

    def load_token(self, **_: object) -> None:
        return None


def _settings(endpoint_url: str | None, config: Config | None) -> Config:
    ours: dict[str, Any] = {
        "connect_timeout": 5.0,
        "read_timeout": 20.0,
        "retries": {"mode": "standard"},
        "tcp_keepalive": True,
        "max_pool_connections": _CONNECTIONS,
        "user_agent_extra": f"cp-thirdparty/{__version__}",
        # Only AWS's own endpoints surely have a name for each bucket.
        "s3": {"addressing_style": "auto" if endpoint_url is None else "path"},
        "ignore_configured_endpoint_urls": True,
        "defaults_mode": "legacy",
    }
    # botocore 1.36 and newer; the older take the arguments of each call.
    checksums = {"request_checksum_calculation", "response_checksum_validation"} & Config.OPTION_DEFAULTS.keys()
    fixed: dict[str, Any] = {
        "signature_version": "s3v4",  # objects under KMS keys take no other
        **dict.fromkeys(checksums, "when_supported"),
    }
    settings = Config(**ours)
    return (settings if config is None else settings.merge(config)).merge(Config(**fixed))


def _start_request(request: Any, **_: object) -> None:
    """Limit the time and the response of a request: a transfer sends several at a time, each in its own context."""
    call = _current_transfer().for_request(target_of(request.url))
    WATCHDOG.start(call)
    CURRENT.set(call)


def _current_transfer() -> TransferCall:
    """Return the call of this context: `attempt` starts one before it uses the client."""
    return cast("TransferCall", CURRENT.get())


class _Handlers:
    """What happens around each request of the client."""

    def __init__(
        self,
        credentials: JobCredentials,
        key_id: str | None,
        expected_bucket_owner: str | None,
        *,
        is_request_id_required: bool,
    ) -> None:
        self._credentials = credentials
        self._key_id = key_id
        self._owner = expected_bucket_owner
        self._is_request_id_required = is_request_id_required

    def complete(self, params: dict[str, Any], model: Any, **_: object) -> None:
        """Add what s3transfer cannot be asked to add to each of its requests."""
        if model.name == "AbortMultipartUpload":  # it cleans up, so it has time of its own; the thread ends with it
            CURRENT.set(TransferCall(ends_at=now() + _ABORT_SECONDS, is_cancelled=never))
        if self._owner is not None:
            params["ExpectedBucketOwner"] = self._owner
        pin = _PINNED.get()
        if pin is not None and model.name == "GetObject":
            params["IfMatch"] = pin.etag

    def check_credentials(self, request: Any, **_: object) -> None:
        """See to it that the credentials are good, and note which they are."""
        _current_transfer().check_deadline()  # before each attempt
        self._credentials.hold()
        # botocore signs after this line: with this generation, or with a newer one.
        request.context[_GENERATION] = self._credentials.generation

    def check_response(
        self,
        response: tuple[Any, dict[str, Any]] | None,
        operation: Any,
        attempts: int,
        request_dict: dict[str, Any],
        **_: object,
    ) -> float | None:
        """Return after how many seconds to resend the request, or ``None`` to leave it to botocore."""
        call = _current_transfer()
        if response is None:
            WATCHDOG.release(call)  # nobody closes the response
            return None
        http, parsed = response
        if operation.name == "HeadBucket":
            # Botocore asks where a bucket is, and would ask again after a redirect that does not name the region.
            request_dict["context"]["s3_redirect"]["redirected"] = True
        if http.status_code == _PRECONDITION_FAILED:
            raise ResponseRefusedError("the object was replaced while it was read")
        if http.status_code >= _FIRST_NO_SUCCESS:
            self._clean(parsed)
            return self._sign_again(operation.name, request_dict["context"], parsed)
        fault = find_fault(
            *(operation.name, http.status_code, request_dict["headers"], parsed, self._key_id),
            facts=_PINNED.get(),
            is_request_id_required=self._is_request_id_required,
        )
        if fault is None:
            if operation.name == "GetObject":
                call.expect(parsed["ContentLength"])
            responses = _OPEN_RESPONSES.get()
            if responses is not None:
                responses.keep(http.raw)
            return None
        http.raw.close()  # what it still sends is not wanted
        if attempts < _ATTEMPTS:
            return float(FIRST_S3_PAUSE * 2 ** (attempts - 1))
        raise ResponseRefusedError(fault)

    def _clean(self, parsed: dict[str, Any]) -> None:
        """Strike the secrets out of an error, in which a peer may repeat them: a tracer of the program gets it."""
        secrets = self._credentials.secrets()
        metadata, error = parsed["ResponseMetadata"], parsed.get("Error", {})
        metadata["RequestId"] = strike_out(metadata.get("RequestId", ""), secrets) or None
        for container in (error, metadata.get("HTTPHeaders", {})):
            for name, value in container.items():
                container[name] = strike_out(value, secrets) if isinstance(value, str) else value

    def _sign_again(self, operation_name: str, context: dict[str, Any], parsed: dict[str, Any]) -> float | None:
        if context.get(_SIGNED_AGAIN) or not _is_expiry(operation_name, context, parsed):
            return None
        context[_SIGNED_AGAIN] = True
        self._credentials.renew(context[_GENERATION])
        return 0.0


def _is_expiry(operation_name: str, context: dict[str, Any], parsed: dict[str, Any]) -> bool:
    code = parsed.get("Error", {}).get("Code")
    if operation_name != "HeadObject" or code != "400":
        return code in _EXPIRED
    # The response to HEAD has no body with a reason; one from another region names that.
    region = parsed["ResponseMetadata"]["HTTPHeaders"].get("x-amz-bucket-region")
    return region in (None, context.get("signing", {}).get("region"))
