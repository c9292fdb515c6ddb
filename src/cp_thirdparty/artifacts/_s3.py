"""
Create the S3 client of one job.

The client signs only with the credentials of the job, and checks each response of S3 before it is used.
"""

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
from botocore.tokens import TokenProviderChain

from cp_thirdparty._base.version import __version__
from cp_thirdparty._core import data_loader
from cp_thirdparty._core.backoff import FIRST_S3_PAUSE
from cp_thirdparty._core.call import CURRENT, now
from cp_thirdparty._core.connection import target_of
from cp_thirdparty._core.deadline import WATCHDOG
from cp_thirdparty._core.errors import configuration_error_of
from cp_thirdparty._core.secret_removal import remove_secrets
from cp_thirdparty._core.sources import check_client_settings
from cp_thirdparty.artifacts._bounds import TransferCall, never
from cp_thirdparty.artifacts._credentials import JobCredentials
from cp_thirdparty.artifacts._responses import Facts, ResponseRefusedError, find_fault

# Keys in botocore's context of a request: the generation of the credentials that signed the request, and whether the
# request was already signed a second time after S3 had reported that the credentials had expired.
_GENERATION: Final = "cp_thirdparty.generation"
_SIGNED_AGAIN: Final = "cp_thirdparty.signed_again"

# The error codes for expired temporary credentials: those on the page "Error responses" of the S3 API reference, and
# those of other AWS services.
_EXPIRED: Final = frozenset({"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"})
_FIRST_NON_SUCCESS_STATUS: Final = 300
# After an upload has failed, its parts in S3 must be removed within this many seconds.  This limit replaces the
# deadline of the upload, which may already be over.
_ABORT_SECONDS: Final = 10.0
_PRECONDITION_FAILED: Final = 412
# How many times a request is sent in all if its responses are not accepted.  botocore's retry mode "standard" has the
# same number of attempts.
_ATTEMPTS: Final = 3

# The size, ETag and checksums of the object that is being read, from the response to HEAD.  A response to GetObject
# that contradicts them is refused.
_PINNED: ContextVar[Facts | None] = ContextVar("cp_thirdparty_pinned", default=None)


# The connections of one client: s3transfer uses ten threads, and streams of `ArtifactStore.open()` use the others.
_CONNECTIONS: Final = 16


@contextmanager
def pin_object(facts: Facts) -> Generator[None]:
    """Within the ``with`` block, refuse each response to GetObject that contradicts these facts about the object."""
    token = _PINNED.set(facts)
    try:
        yield
    finally:
        _PINNED.reset(token)


class _OpenResponses:
    """The responses of one download that are not closed yet."""

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
    """
    Close all open responses at the end of the ``with`` block.

    If one request of a download fails, s3transfer leaves the responses to the other requests open.
    """
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
    """Create the botocore client of a job; return an error instead of raising it."""
    try:
        session = Session()
        session.register_component("config_store", _create_config_store())
        # botocore's own providers would search the environment, files and metadata services for other credentials.
        session.register_component("credential_provider", _JobCredentialProvider(credentials))
        session.register_component("token_provider", TokenProviderChain([]))  # it returns no token
        data_loader.install(session, is_customized=False)  # botocore parses S3's large model once for all jobs
        client: Any = session.create_client(
            "s3", region_name=region_name, endpoint_url=endpoint_url, config=_merge_config(endpoint_url, config)
        )
        refused = check_client_settings(client, session, endpoint_url=endpoint_url)
    except Exception as failure:  # noqa: BLE001 - returned as an error of this library
        return configuration_error_of(failure)
    if refused is not None:
        return refused
    handlers = _Handlers(credentials, key_id, expected_bucket_owner, is_request_id_required=is_request_id_required)
    client.meta.events.register_first("before-parameter-build.s3", handlers.add_parameters)
    client.meta.events.register_first("before-sign.s3", handlers.check_credentials)
    client.meta.events.register_first("before-send.s3", _start_request)
    client.meta.events.register_first("needs-retry.s3", handlers.check_response)
    return client


def _create_config_store() -> ConfigValueStore:
    """
    Create a store of settings that has botocore's defaults and ignores the AWS configuration of the machine.

    The configuration of the machine is meant for the partner's own AWS account, and the artifacts are in the customers'
    accounts.  A profile, an endpoint URL or an ``s3`` section of the machine could send the customers' artifacts to a
    wrong place.  Only ``AWS_CA_BUNDLE`` and the proxies are used, because they depend on the network of the machine.
    """
    defaults = {name: ConstantProvider(default) for name, (_, _, default, _) in Session.SESSION_VARIABLES.items()}
    files = dict.fromkeys(("config_file", "credentials_file"), ConstantProvider(None))
    certificates = {"ca_bundle": EnvironmentProvider("AWS_CA_BUNDLE", os.environ)}
    return ConfigValueStore(mapping={**defaults, **files, **certificates})


class _JobCredentialProvider:
    """Takes the place of botocore's chain of credential providers, and returns the credentials of the job."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    def load_credentials(self) -> Credentials:
        return self._credentials


def _merge_config(endpoint_url: str | None, config: Config | None) -> Config:
    """Return this library's settings, overridden by the caller's, with signature and checksums as required."""
    ours: dict[str, Any] = {
        "connect_timeout": 5.0,
        "read_timeout": 20.0,
        "retries": {"mode": "standard"},
        "tcp_keepalive": True,
        "max_pool_connections": _CONNECTIONS,
        "user_agent_extra": f"cp-thirdparty/{__version__}",
        # Another S3 server may have no DNS name for each bucket, so its URLs have the bucket in the path.
        "s3": {"addressing_style": "auto" if endpoint_url is None else "path"},
        "ignore_configured_endpoint_urls": True,
        "defaults_mode": "legacy",
    }
    # Only botocore 1.36 and newer has these options.  Older versions use checksums if a call has arguments for them.
    checksums = {"request_checksum_calculation", "response_checksum_validation"} & Config.OPTION_DEFAULTS.keys()
    fixed: dict[str, Any] = {
        "signature_version": "s3v4",  # S3 requires Signature Version 4 for objects encrypted with KMS keys
        **dict.fromkeys(checksums, "when_supported"),
    }
    settings = Config(**ours)
    return (settings if config is None else settings.merge(config)).merge(Config(**fixed))


def _start_request(request: Any, **_: object) -> None:
    """
    Start the limits of time and size for one request.

    A transfer sends several requests at the same time.  Each one runs in its own context and has its own limits.
    """
    call = _current_transfer().for_request(target_of(request.url))
    WATCHDOG.start(call)
    CURRENT.set(call)


def _current_transfer() -> TransferCall:
    """Return the limits of the transfer that runs in this context; `call_s3` sets them before it uses the client."""
    return cast("TransferCall", CURRENT.get())


class _Handlers:
    """The handlers of botocore's events: they prepare each request and check its response."""

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

    def add_parameters(self, params: dict[str, Any], model: Any, **_: object) -> None:
        """Add the parameters that s3transfer cannot add to its requests: the bucket owner and the expected ETag."""
        if model.name == "AbortMultipartUpload":
            # The removal of the parts must run after the deadline of the upload too, so it gets its own limits.  They
            # need no reset, because the request runs in a context that ends with it.
            CURRENT.set(TransferCall(ends_at=now() + _ABORT_SECONDS, is_cancelled=never))
        if self._owner is not None:
            params["ExpectedBucketOwner"] = self._owner
        pin = _PINNED.get()
        if pin is not None and model.name == "GetObject":
            params["IfMatch"] = pin.etag

    def check_credentials(self, request: Any, **_: object) -> None:
        """Check that the credentials are valid, and store their generation in the context of the request."""
        _current_transfer().check_deadline()  # botocore calls this handler before each attempt
        self._credentials.refresh_and_check()
        # botocore signs the request after this handler, with credentials of this generation or of a newer one.
        request.context[_GENERATION] = self._credentials.generation

    def check_response(
        self,
        response: tuple[Any, dict[str, Any]] | None,
        operation: Any,
        attempts: int,
        request_dict: dict[str, Any],
        **_: object,
    ) -> float | None:
        """
        Check the response to a request.

        Returns:
            The number of seconds after which botocore must resend the request; ``None`` if botocore decides that.

        Raises:
            ResponseRefusedError: The response is not accepted, and the request must not be resent.
        """
        call = _current_transfer()
        if response is None:
            WATCHDOG.release(call)  # usually this happens when the response is closed, but there is no response
            return None
        http, parsed = response
        if operation.name == "HeadBucket":
            # botocore sends HeadBucket to find the region of a bucket.  If S3 redirects and names no region, botocore
            # would send HeadBucket again.  With this mark it does not.
            request_dict["context"]["s3_redirect"]["redirected"] = True
        if http.status_code == _PRECONDITION_FAILED:
            raise ResponseRefusedError("the object was replaced while it was read")
        if http.status_code >= _FIRST_NON_SUCCESS_STATUS:
            self._remove_secrets(parsed)
            return self._sign_again(operation.name, request_dict["context"], parsed)
        fault = find_fault(
            *(operation.name, http.status_code, request_dict["headers"], parsed, self._key_id),
            facts=_PINNED.get(),
            is_request_id_required=self._is_request_id_required,
        )
        if fault is None:
            if operation.name == "GetObject":
                call.allow_bytes(parsed["ContentLength"])
            responses = _OPEN_RESPONSES.get()
            if responses is not None:
                responses.keep(http.raw)
            return None
        http.raw.close()  # the rest of a refused response must not be read
        if attempts < _ATTEMPTS:
            return float(FIRST_S3_PAUSE * 2 ** (attempts - 1))
        raise ResponseRefusedError(fault)

    def _remove_secrets(self, parsed: dict[str, Any]) -> None:
        """
        Remove the job's secrets from an error response, which may repeat them.

        Event handlers and tracers of the program receive the parsed response after this handler.
        """
        secrets = self._credentials.secrets
        metadata, error = parsed["ResponseMetadata"], parsed.get("Error", {})
        metadata["RequestId"] = remove_secrets(metadata.get("RequestId", ""), secrets) or None
        for container in (error, metadata.get("HTTPHeaders", {})):
            for name, value in container.items():
                container[name] = remove_secrets(value, secrets) if isinstance(value, str) else value

    def _sign_again(self, operation_name: str, context: dict[str, Any], parsed: dict[str, Any]) -> float | None:
        """Renew expired credentials and return 0 seconds, so that botocore signs and resends the request, once."""
        if context.get(_SIGNED_AGAIN) or not _is_expiry(operation_name, context, parsed):
            return None
        context[_SIGNED_AGAIN] = True
        self._credentials.renew(context[_GENERATION])
        return 0.0


def _is_expiry(operation_name: str, context: dict[str, Any], parsed: dict[str, Any]) -> bool:
    code = parsed.get("Error", {}).get("Code")
    if operation_name != "HeadObject" or code != "400":
        return code in _EXPIRED
    # A response to HEAD has no body, so it has no error code for expired credentials, only status 400.  S3 also returns
    # status 400 if the bucket is in another region.  Then the response names that region.
    region = parsed["ResponseMetadata"]["HTTPHeaders"].get("x-amz-bucket-region")
    return region in (None, context.get("signing", {}).get("region"))
