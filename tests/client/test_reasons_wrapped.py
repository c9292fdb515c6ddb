"""Error messages that explain why an existing client, or a session of the caller, cannot send a request."""

from __future__ import annotations

import getpass
import io
import json
import socket
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from typing import Any

import botocore.session
import pytest
from botocore import exceptions as botocore_exceptions
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import RefreshableCredentials
from botocore.httpsession import URLLib3Session
from botocore.utils import InstanceMetadataFetcher
from support import both_clients as both
from support.aws_machine import MARKER, RESPONSES, Machine, Setup
from support.lossy_network import AUTHORITY, Peer, Server, close_after_request
from support.marker_surfaces import ERROR_SURFACES

from cp_thirdparty import ActionTypeId, ThirdPartyJobClient
from cp_thirdparty._core import reasons
from cp_thirdparty._core.failure_frames import FailureFrames
from cp_thirdparty.exceptions import CodePipelineJobError, CredentialsError, InvalidRequestError

pytestmark = pytest.mark.usefixtures("machine")

_TYPE = ActionTypeId(category="Test", owner="ThirdParty", provider="p", version="1")
_ONE_ATTEMPT = Config(retries={"mode": "standard", "total_max_attempts": 1})
_STATIC = {"AWS_ACCESS_KEY_ID": MARKER, "AWS_SECRET_ACCESS_KEY": MARKER}
_BASE = f"[profile base]\naws_access_key_id = {MARKER}\naws_secret_access_key = {MARKER}\n"
_ROLE = "[profile p]\nrole_arn = arn:aws:iam::123456789012:role/x\nsource_profile = base\n"
# The profile has a role that requires an MFA code, and STS denies the role.
_DENIED_MFA_ROLE = Setup(
    {"AWS_PROFILE": "p", "AWS_ENDPOINT_URL_STS": "{server}/denied"}, f"{_ROLE}mfa_serial = GAHT12345678\n{_BASE}"
)


def _wrap(endpoint_url: str, session: Any = None) -> ThirdPartyJobClient:
    session = session or botocore.session.Session()
    return ThirdPartyJobClient(session.create_client("codepipeline", endpoint_url=endpoint_url, config=_ONE_ATTEMPT))


def _poll(client: ThirdPartyJobClient) -> CodePipelineJobError:
    """Poll with the client, and return the error that it raises."""
    with pytest.raises(CodePipelineJobError) as caught:
        client.poll_for_third_party_jobs(_TYPE)
    assert [name for name, show in ERROR_SURFACES.items() if MARKER in show(caught.value)] == []
    return caught.value


_BUNDLE = "must be the path of a file with CA certificates"
_PROXY = "must be the URL of a proxy: http:// or https:// and a host"

# Environment variable -> an invalid value, and the rule in the error.  The settings of an existing client are not
# checked when it is wrapped, so the first call raises the error.
_VARIABLES: dict[str, tuple[str, str]] = {
    "AWS_CA_BUNDLE": (f"/none/{MARKER}", _BUNDLE),
    "REQUESTS_CA_BUNDLE": (f"/none/{MARKER}", _BUNDLE),
    "HTTPS_PROXY": (f"http://user:{MARKER}@127.0.0.1:99999", _PROXY),
}


@pytest.mark.parametrize("variable", _VARIABLES)
def test_an_invalid_variable_of_an_existing_client_is_named(variable: str, machine: Machine) -> None:
    """The error of the first call names the environment variable, and no request is sent."""
    value, rule = _VARIABLES[variable]
    machine.apply(Setup({**_STATIC, variable: value}))
    del value
    raised = _poll(_wrap(machine.server.replace("http:", "https:")))
    assert isinstance(raised, InvalidRequestError)
    assert (raised.parameter, raised.rule) == (variable, rule)
    assert (raised.operation_name, raised.is_retry_safe) == ("PollForThirdPartyJobs", False)


def test_an_invalid_proxy_of_the_callers_config_is_named(machine: Machine) -> None:
    """If the caller has set the proxy in a botocore ``Config``, the error names ``config`` and no variable."""
    machine.apply(Setup(_STATIC))
    proxies = Config(proxies={"https": f"http://user:{MARKER}@127.0.0.1:99999"})
    session = botocore.session.Session()
    client = session.create_client(
        "codepipeline", endpoint_url="https://127.0.0.1:9", config=_ONE_ATTEMPT.merge(proxies)
    )
    del proxies
    raised = _poll(ThirdPartyJobClient(client))
    assert isinstance(raised, InvalidRequestError)
    assert (raised.parameter, raised.rule) == ("config", _PROXY)


def test_the_role_of_an_existing_client_is_named(machine: Machine) -> None:
    """The error names the operation, the AWS error code and the profile, also for an existing client."""
    env = {"AWS_PROFILE": "p", "AWS_ENDPOINT_URL_STS": "{server}/denied"}
    machine.apply(Setup(env, _ROLE + _BASE))
    raised = _poll(_wrap("http://127.0.0.1:9"))
    assert isinstance(raised, CredentialsError)
    assert "AssumeRole failed with AccessDenied (assume-role; profile 'p'; request id " in str(raised)


def test_a_bundle_that_nothing_uses_is_not_checked(machine: Machine) -> None:
    """If the endpoint has no TLS, botocore reads no CA bundle, so a missing file is not an error."""
    machine.apply(Setup({**_STATIC, "AWS_CA_BUNDLE": "/none"}))
    with ThirdPartyJobClient.create(endpoint_url="http://127.0.0.1:9") as client:
        assert client.region_name == "us-east-1"


class _Boto3Session:
    """A session like that of boto3: an object that has a botocore session in the attribute ``_session``."""

    def __init__(self, profile: str) -> None:
        self._session = botocore.session.Session(profile=profile)

    def client(self, *arguments: Any, **settings: Any) -> Any:
        """Create a client."""
        return self._session.create_client(*arguments, **settings)


def test_the_profile_of_a_session_of_boto3_is_known(machine: Machine) -> None:
    """If a key of the session's profile is invalid, the error names the key and the profile."""
    machine.apply(Setup(_STATIC, "[profile p]\nca_bundle = /none\n"))
    with pytest.raises(InvalidRequestError) as caught:
        ThirdPartyJobClient.create(endpoint_url="https://127.0.0.1:9", session=_Boto3Session("p"))
    assert caught.value.parameter == machine.fill("ca_bundle in profile 'p' of {tmp}/config")


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@both.each_kind
def test_an_mfa_code_is_asked_for_on_a_terminal_only(
    kind: str, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The user is asked for the code, by `getpass`, only if standard input is a terminal; otherwise it is not read."""
    machine.apply(_DENIED_MFA_ROLE)
    prompts: list[str] = []

    def ask(prompt: str) -> str:
        prompts.append(prompt)
        return "123456"

    monkeypatch.setattr(getpass, "getpass", ask)
    for stdin in (None, io.StringIO("123456\n")):
        monkeypatch.setattr(sys, "stdin", stdin)
        with both.create(kind, endpoint_url="http://127.0.0.1:9") as client:
            assert "standard input is not a terminal" in str(_poll(client))
        assert stdin is None or stdin.tell() == 0
    assert prompts == []
    monkeypatch.setattr(sys, "stdin", _Terminal())
    with both.create(kind, endpoint_url="http://127.0.0.1:9") as client:
        assert "AssumeRole failed with AccessDenied" in str(_poll(client))
    assert prompts == ["Enter MFA code for GAHT12345678: "]


def test_a_session_of_the_caller_keeps_its_mfa_prompt(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library does not replace the function with which a session of the caller asks for an MFA code."""
    machine.apply(_DENIED_MFA_ROLE)
    session = botocore.session.Session()
    monkeypatch.setattr(
        session.get_component("credential_provider").get_provider("assume-role"), "_prompter", _raise_eof
    )
    with ThirdPartyJobClient.create(endpoint_url="http://127.0.0.1:9", session=session) as client:
        raised = _poll(client)
    assert "an MFA code must be entered, and standard input has ended" in str(raised)


def _raise_eof(prompt: str) -> str:
    raise EOFError(prompt)


def _create_failing_refresh(failure: Exception) -> Callable[[], Any]:
    def refresh() -> Any:
        raise failure

    return refresh


# Name of the case -> the exception that a function of the caller raises while it fetches credentials, and the reason in
# the error of the call.
_FAILURES: dict[str, tuple[Exception, str]] = {
    "anything": (LookupError(MARKER), "LookupError"),
    "an error of the system": (OSError(5, MARKER), "OSError"),
    "an unknown key": (KeyError(MARKER), "KeyError"),
    "text without a group": (botocore_exceptions.MetadataRetrievalError(error_msg=MARKER), "MetadataRetrievalError"),
    "no JSON": (json.JSONDecodeError(MARKER, MARKER, 0), "the response is not JSON"),
    "refreshed with MFA": (
        botocore_exceptions.RefreshWithMFAUnsupportedError(),
        "Cannot refresh credentials: MFA token required",
    ),
    "an incomplete response": (
        botocore_exceptions.CredentialRetrievalError(
            provider=MARKER, error_msg="Credential refresh failed, response did not contain: token, expiry_time"
        ),
        "the response has no token, expiry_time",
    ),
    "wrong parameters": (botocore_exceptions.ParamValidationError(report=MARKER), "a parameter is not valid"),
    "timeout": (botocore_exceptions.ReadTimeoutError(endpoint_url=MARKER), "no response within the timeout"),
}


@pytest.mark.parametrize("what", _FAILURES)
def test_a_failed_refresh_gives_the_reason(what: str) -> None:
    """If fetching credentials raises an exception, the error has only constant strings or its class name."""
    failure, reason = _FAILURES[what]
    refresh = _create_failing_refresh(failure)
    del failure
    raised = _refresh_by(refresh, "made-up")
    assert raised.is_retry_safe is False
    assert str(raised) == f"PollForThirdPartyJobs: the AWS credentials could not be loaded: {reason} (made-up)"


_EXPIRED = dict.fromkeys(("AccessKeyId", "SecretAccessKey", "Token"), MARKER)


@both.each_kind
@pytest.mark.parametrize(
    ("response", "may_pass"),
    [("dropped", True), ("unavailable", True), ("missing", False), ("garbage", False), ("nothing", False)],
)
def test_a_refresh_from_a_container_may_succeed_later(
    response: str, kind: str, machine: Machine, monkeypatch: pytest.MonkeyPatch, *, may_pass: bool
) -> None:
    """If the credentials endpoint fails or does not respond, a retry is safe; if it has no credentials, it is not."""
    expired = json.dumps({**_EXPIRED, "Expiration": "2020-01-01T00:00:00Z"})
    monkeypatch.setitem(RESPONSES, "changing", (200, expired))
    machine.apply(Setup({"AWS_CONTAINER_CREDENTIALS_FULL_URI": "{server}/changing"}))
    with both.create(kind, endpoint_url="http://127.0.0.1:9") as client:
        monkeypatch.setitem(RESPONSES, "changing", RESPONSES[response])
        raised = _poll(client)
    assert (type(raised), raised.is_retry_safe) == (CredentialsError, may_pass), str(raised)


def test_a_refresh_from_an_instance_may_succeed_later(machine: Machine) -> None:
    """If the metadata service stops returning credentials, a retry is safe, because botocore hides the reason."""
    machine.apply(Setup({"AWS_EC2_METADATA_DISABLED": None}))
    fetcher = InstanceMetadataFetcher(base_url=f"{machine.server}/missing", num_attempts=1)
    raised = _refresh_by(fetcher.retrieve_iam_role_credentials, "iam-role")
    assert "the response has no access_key" in str(raised)
    assert raised.is_retry_safe is True


def _refresh_by(refresh: Callable[[], Any], method: str) -> CredentialsError:
    """Poll with a session that refreshes its credentials by ``refresh``, and return the error."""
    past = datetime(2020, 1, 1, tzinfo=timezone.utc)
    session: Any = botocore.session.Session()
    session._credentials = RefreshableCredentials("a", "b", "c", past, refresh, method)
    raised = _poll(_wrap("http://127.0.0.1:9", session))
    assert isinstance(raised, CredentialsError)
    return raised


@pytest.mark.parametrize(("is_trusted", "may_pass"), [(True, True), (False, False)])
def test_a_refresh_in_another_thread_may_succeed_later(*, is_trusted: bool, may_pass: bool) -> None:
    """The library does not observe connections of other threads, so the exception decides whether a retry is safe."""
    verify: Any = AUTHORITY if is_trusted else True

    def fetch() -> Any:
        request = AWSRequest("POST", f"https://127.0.0.1:{server.port}/", data=b"x").prepare()
        return URLLib3Session(verify=verify).send(request)

    def refresh() -> Any:
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(fetch).result()

    def play(peer: Peer) -> None:
        peer.handshake()
        close_after_request(peer)

    with Server(play) as server:
        raised = _refresh_by(refresh, "made-up")
    assert raised.is_retry_safe is may_pass, str(raised)


# Exceptions that these tests cannot cause with every version of botocore, the environment, and the explanation.
_WITHOUT_SESSION: list[tuple[Exception, dict[str, str], str]] = [
    (
        botocore_exceptions.EndpointProviderError(msg=f"FIPS is enabled, {MARKER}"),
        {"AWS_USE_FIPS_ENDPOINT": "true"},
        "AWS_USE_FIPS_ENDPOINT: is not possible for this endpoint",
    ),
    (
        botocore_exceptions.EndpointProviderError(msg=f"FIPS is enabled, {MARKER}"),
        {},
        "config: is not possible for this endpoint",
    ),
    (botocore_exceptions.NoAuthTokenError(), {}, "no AWS token was found"),
]


@pytest.mark.parametrize(("failure", "env", "text"), _WITHOUT_SESSION)
def test_a_failure_without_a_session_is_explained(
    failure: Exception, env: dict[str, str], text: str, machine: Machine
) -> None:
    """If no session is known, the source of a setting is searched in the environment and the AWS configuration."""
    machine.apply(Setup(env))
    assert str(reasons.find_error(failure)) == text


@pytest.mark.parametrize(
    "failure",
    [
        botocore_exceptions.EndpointProviderError(msg=MARKER),
        botocore_exceptions.HTTPClientError(error=FileNotFoundError(2, MARKER, "/none")),
        LookupError(MARKER),
    ],
    ids=["unknown reason", "file of a body", "foreign"],
)
def test_an_unknown_failure_is_not_explained(failure: Exception) -> None:
    """If the reason of a failure is unknown, no explanation is returned, so no setting is named."""
    assert reasons.find_error(failure) is None


def test_an_invalid_configuration_file_does_not_stop_an_explanation(machine: Machine) -> None:
    """An AWS configuration file that became invalid after the client was created is ignored by the explanation."""
    machine.apply(Setup(config=MARKER))
    failure = botocore_exceptions.EndpointProviderError(msg="FIPS is enabled")
    assert str(reasons.find_error(failure)) == "config: is not possible for this endpoint"


def test_the_representation_of_failure_frames_shows_no_variable() -> None:
    """The representation of `FailureFrames` has no frames, whose local variables may hold secrets."""
    with pytest.raises(LookupError) as caught:
        _create_failing_refresh(LookupError(MARKER))()
    assert repr(FailureFrames.from_failure(caught.value)) == "FailureFrames()"


@pytest.mark.slow
def test_a_silent_metadata_service_supplies_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the metadata service never responds, botocore stops after two seconds, and no credentials are found."""
    monkeypatch.delenv("AWS_EC2_METADATA_DISABLED")
    with socket.create_server(("127.0.0.1", 0)) as listener:  # it accepts nothing
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", f"http://127.0.0.1:{listener.getsockname()[1]}")
        client = ThirdPartyJobClient.create(endpoint_url="http://127.0.0.1:9")
    with client:
        assert "no AWS credentials were found" in str(_poll(client))
