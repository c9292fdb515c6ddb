"""Where client tokens are kept: the environment, and AWS Secrets Manager as moto plays it."""

from __future__ import annotations

import logging
import os
import pickle
import traceback
from collections.abc import Iterator
from typing import Any

import botocore.session
import pytest
from moto import mock_aws
from support.aws_machine import MARKER, Machine, Setup
from support.lossy_network import Peer, Server
from support.scripted_server import Response, ScriptedServer

from cp_thirdparty import SecretStr
from cp_thirdparty.enums import Delivery
from cp_thirdparty.exceptions import (
    AccessDeniedError,
    CredentialsError,
    ThirdPartyError,
    TransportError,
    UntrustedResponseError,
)
from cp_thirdparty.worker import EnvironmentTokens, RefreshingTokens, SecretsManagerTokens, token_sources

_MARKER = "xMARKERx-token"


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "xMARKERx-secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.delenv("AWS_PROFILE", raising=False)


@pytest.fixture
def manager() -> Iterator[Any]:
    """Give Secrets Manager."""
    with mock_aws():
        yield botocore.session.Session().create_client("secretsmanager")


# --- the environment


@pytest.mark.parametrize("client_id", ["7c9e6679-7425-40de-944b-e07fc1f90ae7", "client 1", "ä"])
def test_a_token_is_in_the_environment(monkeypatch: pytest.MonkeyPatch, client_id: str) -> None:
    """The name is made by one rule from any client id, and the token is hidden."""
    name = {"7c9e6679-7425-40de-944b-e07fc1f90ae7": "7C9E6679_7425_40DE_944B_E07FC1F90AE7", "client 1": "CLIENT_1"}
    monkeypatch.setenv(f"CP_CLIENT_TOKEN_{name.get(client_id, '_')}", _MARKER)
    token = EnvironmentTokens()(client_id)
    assert token == SecretStr(_MARKER)
    assert os.environ[EnvironmentTokens().variable(client_id)] == _MARKER
    assert _MARKER not in repr(token)


def test_another_prefix_is_another_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two sources with two prefixes know different tokens."""
    monkeypatch.setenv("SCAN_C", _MARKER)
    assert EnvironmentTokens(prefix="SCAN_")("c") == SecretStr(_MARKER)
    assert EnvironmentTokens()("c") is None


def test_an_empty_variable_is_not_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty text cannot be a token."""
    monkeypatch.setenv("CP_CLIENT_TOKEN_C", "")
    assert EnvironmentTokens()("c") is None


def test_the_environment_goes_to_other_processes() -> None:
    """The source holds no token, so it can be pickled."""
    assert pickle.loads(pickle.dumps(EnvironmentTokens("A_"))) == EnvironmentTokens("A_")


# --- Secrets Manager


class _Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_token_is_a_secret_of_its_own(manager: Any) -> None:
    """The name is the prefix and the client id; a client without a secret has no token."""
    manager.create_secret(Name="partner/client-1", SecretString=_MARKER)
    tokens = SecretsManagerTokens("partner/")
    assert tokens("client-1") == SecretStr(_MARKER)
    assert tokens("client-2") is None


def test_a_secret_without_a_string_is_not_a_token(manager: Any) -> None:
    """Bytes are not a token."""
    manager.create_secret(Name="partner/client-1", SecretBinary=b"bytes")
    assert SecretsManagerTokens("partner/")("client-1") is None


def test_a_token_is_kept_for_a_while(manager: Any) -> None:
    """It is fetched again when its time is over, or when it is refreshed."""
    clock = _Clock()
    manager.create_secret(Name="client-1", SecretString="old")
    tokens = SecretsManagerTokens("", keep=60, clock=clock)
    assert tokens("client-1") == SecretStr("old")
    manager.put_secret_value(SecretId="client-1", SecretString="new")
    clock.now = 59.9
    assert tokens("client-1") == SecretStr("old")
    clock.now = 60.0
    assert tokens("client-1") == SecretStr("new")
    manager.put_secret_value(SecretId="client-1", SecretString="newer")
    assert tokens("client-1") == SecretStr("new")
    tokens.refresh("client-1")
    assert tokens("client-1") == SecretStr("newer")
    assert isinstance(tokens, RefreshingTokens)


def test_it_goes_to_other_processes_without_its_tokens(manager: Any) -> None:
    """What is pickled are the settings; the other side asks for itself."""
    manager.create_secret(Name="client-1", SecretString=_MARKER)
    tokens = SecretsManagerTokens("", region_name="us-east-1")
    tokens("client-1")
    pickled = pickle.dumps(tokens)
    assert b"xMARKERx" not in pickled
    assert pickle.loads(pickled)("client-1") == SecretStr(_MARKER)


def test_a_fork_gets_its_own_client(manager: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections of a parent are not used in its child."""
    manager.create_secret(Name="client-1", SecretString=_MARKER)
    tokens = SecretsManagerTokens("", keep=0)
    tokens("client-1")
    made = tokens._client()
    process_id = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: process_id + 1)
    assert tokens._client() is not made


@pytest.mark.parametrize(
    ("response", "kind"),
    [
        (Response(body=b'{"__type": "AccessDeniedException", "message": "no"}', status=400), AccessDeniedError),
        (Response(body=b'{"__type": "ExpiredTokenException", "message": "no"}', status=400), CredentialsError),
        (Response(body=b'{"__type": "DecryptionFailure", "message": "no"}', status=400), ThirdPartyError),
    ],
    ids=["denied", "expired", "other"],
)
def test_a_refusal_is_a_typed_error(response: Response, kind: type[ThirdPartyError]) -> None:
    """Errors of Secrets Manager are ours, without a cause or a frame that leads to a secret."""
    with ScriptedServer(lambda _: response) as server:
        tokens = SecretsManagerTokens("xMARKERx/", endpoint_url=server.endpoint_url)
        with pytest.raises(kind) as caught:
            tokens("client-1")
    assert caught.value.__cause__ is caught.value.__context__ is None
    shown = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
    assert "xMARKERx-secret" not in shown


_NO_ID = "a response without a request id is not from Secrets Manager"
_NOT_READ = "the response could not be read"


@pytest.mark.parametrize(
    ("response", "text"),
    [
        (Response(body=b"<html>log in</html>", headers={}), _NO_ID),
        (Response(body=b'{"SecretString": "xMARKERx"}', headers={}), _NO_ID),
        (Response(body=b'{"SecretBinary": "eE1BUktFUng="}', headers={}), _NO_ID),
        (Response(body=b'{"SecretString": "xMARKERx'), "the response has no secret"),
        (Response(body=b'{"SecretString": 3}'), "the response has no secret"),
        (Response(body=b"\xff", headers={}), _NOT_READ),
        (Response(body=b"[]", headers={}), _NOT_READ),
        (Response(body=b'"xMARKERx"', headers={}), _NOT_READ),
        (Response(body=b"[" * 200_000, headers={}), _NOT_READ),
    ],
    ids=["page", "string of a page", "bytes of a page", "truncated", "number", "not UTF-8", "array", "string", "deep"],
)
def test_a_response_without_a_secret_is_not_a_missing_secret(response: Response, text: str) -> None:
    """Botocore takes the page of a proxy for a success without content; the next look-up asks again."""
    with ScriptedServer(lambda _: response) as server:
        tokens = SecretsManagerTokens("", endpoint_url=server.endpoint_url)
        for attempt in (1, 2):
            with pytest.raises(UntrustedResponseError, match=text) as caught:
                tokens("client-1")
            assert (caught.value.is_retry_safe, caught.value.delivery) == (True, Delivery.RESPONDED)
            is_read = text != _NOT_READ
            assert caught.value.request_id == (response.headers.get("x-amzn-RequestId") if is_read else None)
            assert len(server.requests) == attempt


def test_no_response_is_a_transport_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A closed port is reported as such."""
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with ScriptedServer(lambda _: Response(body=b"")) as server:
        endpoint_url = server.endpoint_url
    with pytest.raises(TransportError, match="no connection to the endpoint") as caught:
        SecretsManagerTokens("", endpoint_url=endpoint_url)("client-1")
    assert caught.value.delivery is Delivery.NOT_SENT


@pytest.mark.parametrize("status", ["200 OK", "400 Bad Request"])
def test_a_long_response_is_not_read(status: str) -> None:
    """What takes the place of Secrets Manager cannot fill the memory of the worker."""

    def play(peer: Peer) -> None:
        peer.read_request()
        peer.send(f"HTTP/1.1 {status}\r\nx-amzn-RequestId: r\r\nContent-Length: {200 << 20}\r\n\r\n".encode())
        for _ in range(200):
            peer.send(b" " * (1 << 20))
        peer.wait()

    with Server(play) as server, pytest.raises(UntrustedResponseError) as caught:
        SecretsManagerTokens("", endpoint_url=f"http://127.0.0.1:{server.port}")("client-1")
    assert str(caught.value) == "GetSecretValue: the response is too long"


def test_a_look_up_ends_at_its_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Botocore itself would wait for a minute, several times."""
    monkeypatch.setattr(token_sources, "_LOOK_UP_SECONDS", 0.3)

    def play(peer: Peer) -> None:
        peer.read_request()
        peer.wait()

    with Server(play) as server, pytest.raises(TransportError) as caught:
        SecretsManagerTokens("", endpoint_url=f"http://127.0.0.1:{server.port}")("client-1")
    assert str(caught.value) == "GetSecretValue: no response before the deadline"


@pytest.mark.parametrize("mode", ["legacy", "standard"])
def test_an_error_of_a_hook_before_sending_is_not_a_response(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the legacy mode, botocore raises it again where it decides about a retry."""

    def fail(**_: object) -> None:
        raise ValueError(MARKER)

    monkeypatch.setenv("AWS_RETRY_MODE", mode)
    tokens = SecretsManagerTokens("")
    tokens._client().meta.events.register("before-send.secrets-manager.*", fail)
    with pytest.raises(ThirdPartyError) as caught:
        tokens("client-1")
    assert not isinstance(caught.value, UntrustedResponseError)
    assert MARKER not in str(caught.value)


_KEYS = {"AWS_ACCESS_KEY_ID": MARKER, "AWS_SECRET_ACCESS_KEY": MARKER}


@pytest.mark.parametrize(
    ("env", "text"),
    [
        ({"AWS_SECRET_ACCESS_KEY": MARKER}, "GetSecretValue: no AWS credentials were found"),
        (
            {"AWS_ACCESS_KEY_ID": MARKER},
            (
                "GetSecretValue: the AWS credentials are incomplete: "
                "AWS_SECRET_ACCESS_KEY is missing (env; AWS_ACCESS_KEY_ID)"
            ),
        ),
        ({**_KEYS, "AWS_DEFAULT_REGION": "no region!"}, "AWS_DEFAULT_REGION: must be the name of a region"),
        ({**_KEYS, "AWS_MAX_ATTEMPTS": MARKER}, "AWS_MAX_ATTEMPTS: must be an integer"),
        (
            {**_KEYS, "AWS_ENDPOINT_URL_SECRETS_MANAGER": f"{MARKER}:99"},
            "AWS_ENDPOINT_URL_SECRETS_MANAGER: must be an http:// or https:// URL with a host and without a password",
        ),
    ],
)
def test_what_went_wrong_before_sending_has_its_reason(env: dict[str, str], text: str, machine: Machine) -> None:
    """Credentials and settings that cannot be used are named; nothing is taken for a response."""
    machine.apply(Setup(env))
    del env
    with pytest.raises(ThirdPartyError) as caught:
        SecretsManagerTokens("")("client-1")
    assert str(caught.value) == text
    assert machine.find_marker(caught.value) == []


def test_the_log_holds_no_token(caplog: pytest.LogCaptureFixture) -> None:
    """Botocore's DEBUG log of the call is withheld."""
    caplog.set_level(logging.DEBUG)
    response = Response(body=b'{"Name": "client-1", "SecretString": "%s"}' % _MARKER.encode())
    with ScriptedServer(lambda _: response) as server:
        assert SecretsManagerTokens("", endpoint_url=server.endpoint_url)("client-1") == SecretStr(_MARKER)
    assert any(record.name == "botocore.parsers" for record in caplog.records)
    assert "xMARKERx" not in "".join(f"{record.getMessage()} {record.__dict__}" for record in caplog.records)


def test_bad_seconds_are_refused() -> None:
    """A token cannot be kept for less than no time."""
    with pytest.raises(ValueError, match=r"^keep: must be at least 0 seconds$"):
        SecretsManagerTokens("", keep=-1)
