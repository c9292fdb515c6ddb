"""Signatures at the local CodePipeline: real botocore signs, and each way to sign badly gets the service's error."""

from __future__ import annotations

import time
from collections.abc import Iterator
from email.utils import formatdate, parsedate_to_datetime
from typing import Any

import attrs
import botocore.session
import pytest
from botocore import UNSIGNED
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from cp_thirdparty import ActionTypeId, ThirdPartyJobClient, exceptions
from cp_thirdparty.secrets import SecretStr
from cp_thirdparty.testing import LocalCodePipeline
from cp_thirdparty.testing._signature import SignatureCheck
from cp_thirdparty.testing._wire import HttpRequest, RefusedError

_ACTION_TYPE = ActionTypeId(category="Test", owner="ThirdParty", provider="ExampleScan", version="1")
_TYPE_ID = {"category": "Test", "owner": "ThirdParty", "provider": "ExampleScan", "version": "1"}
_SECRET = "xMARKERx-secret"
_SESSION_TOKEN = "xMARKERx-session"


@pytest.fixture
def service() -> Iterator[LocalCodePipeline]:
    """Give a running service whose callers have temporary credentials."""
    with LocalCodePipeline(
        access_key_id="ASIAEXAMPLE", secret_access_key=_SECRET, session_token=_SESSION_TOKEN, region_name="eu-west-1"
    ) as running:
        yield running


def _poll(service: LocalCodePipeline, **settings: Any) -> Any:
    """Poll with a client of botocore that differs in some settings from what the service expects."""
    expected: dict[str, Any] = {
        "aws_access_key_id": service.access_key_id,
        "aws_secret_access_key": _SECRET,
        "aws_session_token": _SESSION_TOKEN,
        "region_name": "eu-west-1",
        "config": Config(proxies={}, retries={"total_max_attempts": 1}),
    }
    raw: Any = botocore.session.Session().create_client(
        "codepipeline", endpoint_url=service.endpoint_url, **{**expected, **settings}
    )
    try:
        return raw.poll_for_third_party_jobs(actionTypeId=_TYPE_ID)["jobs"]
    finally:
        raw.close()


def test_good_signatures_pass(service: LocalCodePipeline) -> None:
    """A client with the right key, secret, session token and region is served, botocore's as well as our own."""
    assert _poll(service) == []
    with service.client() as client:
        assert client.poll_for_third_party_jobs(_ACTION_TYPE) == ()


@pytest.mark.parametrize(
    ("setting", "value", "code"),
    [
        ("aws_access_key_id", "AKIAOTHER", "UnrecognizedClientException"),
        ("aws_session_token", "another", "UnrecognizedClientException"),
        ("aws_session_token", None, "UnrecognizedClientException"),
        ("aws_secret_access_key", "another", "InvalidSignatureException"),
        ("region_name", "us-east-1", "InvalidSignatureException"),
        ("config", Config(proxies={}, signature_version=UNSIGNED), "MissingAuthenticationTokenException"),
    ],
)
def test_bad_credentials_are_refused(service: LocalCodePipeline, setting: str, value: object, code: str) -> None:
    """A wrong key, token, secret or region, and no signature at all, each get the service's error, without a value."""
    with pytest.raises(ClientError) as caught:
        _poll(service, **{setting: value})
    error: Any = caught.value.response
    assert (error["Error"]["Code"], error["ResponseMetadata"]["HTTPStatusCode"]) == (code, 400)
    assert "xMARKERx" not in str(error)


@pytest.mark.parametrize(("setting", "passes"), [(True, False), (False, True)])
def test_the_check_can_be_left_out(setting: bool, passes: bool) -> None:  # noqa: FBT001 - a table
    """A service that does not verify signatures serves a client of any credentials, and else it does not."""
    with LocalCodePipeline(verify_signatures=setting) as service:
        try:
            response = _poll(service) == []
        except ClientError:
            response = False
    assert response is passes


def test_an_unexpected_session_token_is_refused() -> None:
    """A session token beside a key that has none is not recognized."""
    with LocalCodePipeline(secret_access_key=_SECRET, region_name="eu-west-1") as service:
        with pytest.raises(ClientError, match="UnrecognizedClientException"):
            _poll(service)
        assert _poll(service, aws_session_token=None) == []


def _service_with_skew(seconds: float) -> LocalCodePipeline:
    return LocalCodePipeline(wall_clock=lambda: time.time() + seconds)


@pytest.mark.parametrize(("seconds", "words"), [(400, "Signature expired"), (-400, "Signature not yet current")])
def test_a_skewed_clock_gets_its_offset(seconds: float, words: str) -> None:
    """A clock that is wrong by more than 5 minutes gets an error, and our client computes the offset."""
    with _service_with_skew(seconds) as service:
        with service.client() as client, pytest.raises(exceptions.ClockSkewError) as caught:
            client.poll_for_third_party_jobs(_ACTION_TYPE)
        assert caught.value.code == "InvalidSignatureException"
        assert caught.value.offset == pytest.approx(-seconds, abs=60)
        region = {"aws_secret_access_key": "local-codepipeline", "region_name": "us-east-1", "aws_session_token": None}
        with pytest.raises(ClientError, match=words):
            _poll(service, **region)


@pytest.mark.parametrize("seconds", [200, -200])
def test_a_little_skew_passes(seconds: float) -> None:
    """Within the 5 minutes a clock may be wrong."""
    with _service_with_skew(seconds) as service, service.client() as client:
        assert client.poll_for_third_party_jobs(_ACTION_TYPE) == ()


def test_responses_have_the_time_of_the_service() -> None:
    """The date of a response is that of the service's wall clock."""
    service = LocalCodePipeline(wall_clock=lambda: 1_000_000_000.0, verify_signatures=False)
    raw: Any = botocore.session.Session().create_client(
        "codepipeline", region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b"
    )
    service.attach(raw)
    response = raw.poll_for_third_party_jobs(actionTypeId=_TYPE_ID)
    date = response["ResponseMetadata"]["HTTPHeaders"]["date"]
    assert parsedate_to_datetime(date).timestamp() == 1_000_000_000


# --- one header at a time ---------------------------------------------------------------------------------------------

_CHECK = SignatureCheck(
    access_key_id="AKIDEXAMPLE",
    secret_access_key=SecretStr(_SECRET),
    session_token=None,
    region_name="us-east-1",
    clock=time.time,
)


def _signed_request(target: str = "/", **headers: str) -> HttpRequest:
    """Sign a request as botocore does."""
    request = AWSRequest(method="POST", url=f"http://127.0.0.1:1{target}", data=b"{}", headers=headers)
    SigV4Auth(Credentials("AKIDEXAMPLE", _SECRET), "codepipeline", "us-east-1").add_auth(request)
    received = {name.lower(): str(value) for name, value in request.headers.items()}
    return HttpRequest(method="POST", target=target, headers={"host": "127.0.0.1:1", **received}, body=b"{}")


def _code(request: HttpRequest) -> str:
    with pytest.raises(RefusedError) as caught:
        _CHECK.check(request)
    assert "xMARKERx" not in caught.value.message
    return caught.value.code


def _with(request: HttpRequest, **headers: str) -> HttpRequest:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return attrs.evolve(request, headers={**request.headers, **named})


def _reword_authorization(old: str, new: str) -> HttpRequest:
    request = _signed_request()
    authorization = request.headers["authorization"]
    assert old in authorization
    return _with(request, authorization=authorization.replace(old, new))


@pytest.mark.parametrize("target", ["/", "/a%20path?b=2&a=1", "/?a"])
def test_whatever_was_signed_is_recomputed(target: str) -> None:
    """Paths, queries and further signed headers count as they were sent; headers that were not signed do not."""
    request = _signed_request(target, **{"X-Custom": "  two   words ", "Content-Type": "application/json"})
    _CHECK.check(_with(request, user_agent="anything", x_later="anything"))


class _WithoutHost(SigV4Auth):
    def headers_to_sign(self, request: Any) -> Any:
        chosen = super().headers_to_sign(request)
        del chosen["host"]
        return chosen


def test_the_host_must_be_signed() -> None:
    """A signature that is right but leaves out the host is refused, as SigV4 asks for it."""
    request = AWSRequest(method="POST", url="http://127.0.0.1:1/", data=b"{}")
    _WithoutHost(Credentials("AKIDEXAMPLE", _SECRET), "codepipeline", "us-east-1").add_auth(request)
    headers = {name.lower(): str(value) for name, value in request.headers.items()}
    with pytest.raises(RefusedError) as caught:
        _CHECK.check(HttpRequest(method="POST", target="/", headers=headers, body=b"{}"))
    assert (caught.value.code, caught.value.message) == (
        "InvalidSignatureException",
        "The header 'host' must be signed",
    )


@pytest.mark.parametrize(("old", "new"), [("/us-east-1/", "/us-west-1/"), ("/codepipeline/", "/s3/")])
def test_a_wrong_scope_is_reported_as_such(old: str, new: str) -> None:
    """A signature for another region or service hears what it should be for."""
    with pytest.raises(RefusedError) as caught:
        _CHECK.check(_reword_authorization(old, new))
    assert "must be for us-east-1/codepipeline/aws4_request" in caught.value.message


def test_a_checksum_header_may_be_signed() -> None:
    """Some SDKs send and sign the checksum of the body."""
    _CHECK.check(
        _signed_request(**{"X-Amz-Content-SHA256": "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"})
    )


def test_a_date_header_will_do() -> None:
    """A signature may go by the ``Date`` header in place of ``X-Amz-Date``."""
    request = _signed_request(Date="to be replaced")
    assert "x-amz-date" not in request.headers
    _CHECK.check(request)


@pytest.mark.parametrize(
    "changed",
    [
        {"body": b"{ }"},
        {"target": "/other"},
        {"method": "PUT"},
    ],
)
def test_a_request_that_changes_in_transit_is_refused(changed: dict[str, Any]) -> None:
    """A body, path or method that differs from the signed one is refused."""
    assert _code(attrs.evolve(_signed_request(), **changed)) == "InvalidSignatureException"


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (_with(_signed_request(), host="elsewhere"), "InvalidSignatureException"),
        (_reword_authorization("host;", "host;x-missing;"), "InvalidSignatureException"),
        (_reword_authorization("SignedHeaders=host;", "SignedHeaders="), "InvalidSignatureException"),
        (_reword_authorization("/us-east-1/", "/us-west-1/"), "InvalidSignatureException"),
        (_reword_authorization("/codepipeline/", "/s3/"), "InvalidSignatureException"),
        (_reword_authorization("/aws4_request", ""), "InvalidSignatureException"),
        (_reword_authorization("Signature=", "Signature=é"), "InvalidSignatureException"),
        (_reword_authorization("AKIDEXAMPLE", "xMARKERx"), "UnrecognizedClientException"),
        (_reword_authorization("Credential=", "Credentials="), "IncompleteSignatureException"),
        (_reword_authorization("SignedHeaders=host;x-amz-date", "SignedHeaders="), "IncompleteSignatureException"),
        (_reword_authorization("Signature=", "Signature"), "IncompleteSignatureException"),
        (_reword_authorization("AWS4-HMAC-SHA256", "Bearer"), "IncompleteSignatureException"),
        (_with(_signed_request(), authorization=""), "IncompleteSignatureException"),
        (_with(_signed_request(), x_amz_date="xMARKERx"), "IncompleteSignatureException"),
        (_with(_signed_request(), x_amz_date="20000101T000000Z"), "InvalidSignatureException"),
    ],
)
def test_a_bad_header_is_refused(request_: HttpRequest, code: str) -> None:
    """Each part of the signature that is missing, malformed or wrong gets the service's code, and nothing is echoed."""
    assert _code(request_) == code


@pytest.mark.parametrize("date", [None, "yesterday", formatdate(0)])
def test_a_time_must_be_there(date: str | None) -> None:
    """Without a time that can be read a signature is incomplete; an old one is refused."""
    request = _signed_request()
    headers = {name: value for name, value in request.headers.items() if name != "x-amz-date"}
    if date is not None:
        headers["date"] = date
    expected = "InvalidSignatureException" if date == formatdate(0) else "IncompleteSignatureException"
    assert _code(attrs.evolve(request, headers=headers)) == expected


def test_nothing_of_the_check_shows_a_secret(service: LocalCodePipeline) -> None:
    """Neither the service nor its check shows the secret or the token."""
    shown = repr(_CHECK) + repr(vars(service)) + repr(service._exchange)
    assert "xMARKERx" not in shown
    assert isinstance(service.secret_access_key, SecretStr)


def test_our_client_raises_a_credentials_error(service: LocalCodePipeline) -> None:
    """A wrong secret is a CredentialsError of our own client."""
    session = botocore.session.Session()
    session.set_credentials(service.access_key_id, "wrong", _SESSION_TOKEN)
    with (
        ThirdPartyJobClient.create(
            region_name="eu-west-1", endpoint_url=service.endpoint_url, session=session, config=Config(proxies={})
        ) as client,
        pytest.raises(exceptions.CredentialsError, match="InvalidSignatureException"),
    ):
        client.poll_for_third_party_jobs(_ACTION_TYPE)
