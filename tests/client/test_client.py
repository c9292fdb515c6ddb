"""The client: five calls over real HTTP, settings, wrapped clients, and one typed error for each failure."""

from __future__ import annotations

import json
import pickle
import re
import socket
import ssl
import subprocess
import threading
import traceback
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import botocore.session
import pytest
from botocore.config import Config
from support import both_clients as both
from support.scripted_server import ReceivedRequest, Response, ScriptedServer, error, ok
from support.slow_rows import slow_pairs

from cp_thirdparty import (
    ActionTypeId,
    CurrentRevision,
    ExecutionDetails,
    FailureDetails,
    FailureType,
    JobStatus,
    SecretStr,
    ThirdPartyJob,
    ThirdPartyJobClient,
    exceptions,
)
from cp_thirdparty.converter import structure
from cp_thirdparty.enums import Delivery
from cp_thirdparty.models import JobDetails

_DOCUMENT = json.loads((Path(__file__).parents[1] / "data" / "job_details.json").read_text(encoding="utf-8"))
_JOB_ID = _DOCUMENT["jobDetails"]["id"]
_ACTION_TYPE = ActionTypeId(category="Test", owner="ThirdParty", provider="ExampleScan", version="1")
_TOKEN = "m@rker/tok€n"  # in need of escaping in URLs and in JSON

# One call of each operation, and a response that it takes.
_CALLS: dict[str, tuple[Callable[[ThirdPartyJobClient], object], object]] = {
    "PollForThirdPartyJobs": (
        lambda client: client.poll_for_third_party_jobs(_ACTION_TYPE),
        {"jobs": [{"clientId": "c", "jobId": "j"}]},
    ),
    "GetThirdPartyJobDetails": (
        lambda client: client.get_third_party_job_details(_JOB_ID, client_token=_TOKEN),
        _DOCUMENT,
    ),
    "AcknowledgeThirdPartyJob": (
        lambda client: client.acknowledge_third_party_job(_JOB_ID, nonce="3", client_token=_TOKEN),
        {"status": "InProgress"},
    ),
    "PutThirdPartyJobSuccessResult": (
        lambda client: client.put_third_party_job_success_result(_JOB_ID, client_token=_TOKEN),
        {},
    ),
    "PutThirdPartyJobFailureResult": (
        lambda client: client.put_third_party_job_failure_result(
            _JOB_ID,
            client_token=_TOKEN,
            failure_details=FailureDetails(type=FailureType.JOB_FAILED, message="no"),
        ),
        {},
    ),
}
_CUSTOM_JOB = {**_DOCUMENT["jobDetails"], "accountId": "111122223333"}
_CUSTOM_ANSWERS: dict[str, object] = {
    "PollForJobs": {"jobs": [_CUSTOM_JOB]},
    "GetJobDetails": _DOCUMENT,
    "AcknowledgeJob": {"status": "InProgress"},
}
_CALLS.update({name: (call, _CUSTOM_ANSWERS.get(name, {})) for name, call in both.custom_calls(_JOB_ID).items()})


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each test has made-up credentials and no AWS configuration of its machine."""
    for name in ("AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_SESSION_TOKEN", "AWS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "example")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))


def _serve(response: Response | Callable[[ReceivedRequest], Response]) -> ScriptedServer:
    return ScriptedServer(response if callable(response) else lambda _: response)


def _client(server: ScriptedServer, **settings: Any) -> ThirdPartyJobClient:
    return ThirdPartyJobClient.create(
        region_name="us-east-1",
        endpoint_url=server.endpoint_url,
        config=Config(retries={"mode": "standard", "total_max_attempts": 1}),
        **settings,
    )


@pytest.fixture
def raw() -> Iterator[Any]:
    """Give a client of botocore that goes nowhere."""
    client = botocore.session.Session().create_client(
        "codepipeline", region_name="us-east-1", endpoint_url="http://127.0.0.1:9"
    )
    yield client
    client.close()


# --- the five calls --------------------------------------------------------------------------------------------------


def test_poll_returns_the_jobs() -> None:
    """A poll sends the four parts and the batch size and returns the jobs as a tuple."""
    with _serve(ok({"jobs": [{"clientId": "c-1", "jobId": "j-1"}, {"clientId": "c-2", "jobId": "j-2"}]})) as server:
        jobs = _client(server).poll_for_third_party_jobs(_ACTION_TYPE, max_batch_size=5)
    assert jobs == (ThirdPartyJob(client_id="c-1", job_id="j-1"), ThirdPartyJob(client_id="c-2", job_id="j-2"))
    assert server.requests[0].parameters == {
        "actionTypeId": {"category": "Test", "owner": "ThirdParty", "provider": "ExampleScan", "version": "1"},
        "maxBatchSize": 5,
    }


def test_poll_without_a_batch_size_leaves_it_to_the_service() -> None:
    """A poll without a batch size sends none, and an empty list is not an error."""
    with _serve(ok({"jobs": []})) as server:
        assert _client(server).poll_for_third_party_jobs(_ACTION_TYPE) == ()
    assert set(server.requests[0].parameters) == {"actionTypeId"}


@pytest.mark.parametrize("token", [_TOKEN, SecretStr(_TOKEN)])
def test_details_are_the_model_of_the_response(token: str | SecretStr) -> None:
    """Reading details sends the token in plain text, wrapped or not, and returns the frozen model."""
    with _serve(ok(_DOCUMENT)) as server:
        details = _client(server).get_third_party_job_details(_JOB_ID, client_token=token)
    assert details == structure(_DOCUMENT, JobDetails)
    assert server.requests[0].parameters == {"jobId": _JOB_ID, "clientToken": _TOKEN}


def test_the_smallest_details_are_enough() -> None:
    """A response with only an id, empty data and a nonce is a job."""
    with _serve(ok({"jobDetails": {"id": _JOB_ID, "data": {}, "nonce": "1"}})) as server:
        details = _client(server).get_third_party_job_details(_JOB_ID, client_token=_TOKEN)
    assert (details.nonce, details.data.input_artifacts, details.data.action_configuration) == ("1", (), None)


@pytest.mark.parametrize(("response", "expected"), [("InProgress", JobStatus.IN_PROGRESS), ("New", JobStatus("New"))])
def test_acknowledging_returns_the_status(response: str, expected: JobStatus) -> None:
    """An acknowledgement sends the nonce and returns the status, known or not."""
    with _serve(ok({"status": response})) as server:
        status = _client(server).acknowledge_third_party_job(_JOB_ID, nonce="3", client_token=_TOKEN)
    assert status == expected
    assert server.requests[0].parameters == {"jobId": _JOB_ID, "nonce": "3", "clientToken": _TOKEN}


def test_a_success_sends_all_it_is_given() -> None:
    """A success result carries the token, the revision, and the execution details."""
    with _serve(ok({})) as server:
        _client(server).put_third_party_job_success_result(
            _JOB_ID,
            client_token=_TOKEN,
            continuation_token="run-1",
            current_revision=CurrentRevision(
                revision="r", change_identifier="c", created=datetime(2026, 1, 2, 3, 4, 5, 600000, timezone.utc)
            ),
            execution_details=ExecutionDetails(summary="s", external_execution_id="e", percent_complete=0),
        )
    parameters = server.requests[0].parameters
    parameters["currentRevision"]["created"] //= 1  # botocore 1.44 sends fractions of a second, older ones none
    assert parameters == {
        "jobId": _JOB_ID,
        "clientToken": _TOKEN,
        "continuationToken": "run-1",
        "currentRevision": {"revision": "r", "changeIdentifier": "c", "created": 1767323045},
        "executionDetails": {"summary": "s", "externalExecutionId": "e", "percentComplete": 0},
    }


def test_a_bare_success_sends_the_job_and_the_token_only() -> None:
    """What was not given is not sent."""
    with _serve(ok({})) as server:
        _client(server).put_third_party_job_success_result(_JOB_ID, client_token=_TOKEN)
    assert server.requests[0].parameters == {"jobId": _JOB_ID, "clientToken": _TOKEN}


def test_a_failure_sends_its_details() -> None:
    """A failure result carries the type as the service spells it."""
    with _serve(ok({})) as server:
        _client(server).put_third_party_job_failure_result(
            _JOB_ID,
            client_token=_TOKEN,
            failure_details=FailureDetails(
                type=FailureType.REVISION_OUT_OF_SYNC, message="m", external_execution_id="e"
            ),
        )
    assert server.requests[0].parameters["failureDetails"] == {
        "type": "RevisionOutOfSync",
        "message": "m",
        "externalExecutionId": "e",
    }


@pytest.mark.parametrize("operation", _CALLS)
def test_each_call_is_one_signed_request(operation: str) -> None:
    """Each method sends one signed request of its operation, with our name in the user agent."""
    call, response = _CALLS[operation]
    with _serve(ok(response)) as server:
        call(_client(server))
    assert [request.operation for request in server.requests] == [operation]
    assert server.requests[0].headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/")
    assert "cp-thirdparty/" in server.requests[0].headers["user-agent"]


# --- parameters that are refused before sending ----------------------------------------------------------------------


def _get(**parameters: Any) -> Callable[[ThirdPartyJobClient], object]:
    return lambda client: client.get_third_party_job_details(**{"job_id": "j", "client_token": "t", **parameters})


def _acknowledge(nonce: Any) -> Callable[[ThirdPartyJobClient], object]:
    return lambda client: client.acknowledge_third_party_job("j", nonce=nonce, client_token="t")


def _poll(action_type_id: Any, **parameters: Any) -> Callable[[ThirdPartyJobClient], object]:
    return lambda client: client.poll_for_third_party_jobs(action_type_id, **parameters)


def _succeed(**parameters: Any) -> Callable[[ThirdPartyJobClient], object]:
    return lambda client: client.put_third_party_job_success_result("j", client_token="t", **parameters)


def _fail(failure_details: Any) -> Callable[[ThirdPartyJobClient], object]:
    return lambda client: client.put_third_party_job_failure_result(
        "j", client_token="t", failure_details=failure_details
    )


def _action_type(**parts: Any) -> ActionTypeId:
    every: dict[str, Any] = {"category": "Test", "owner": "ThirdParty", "provider": "p", "version": "1", **parts}
    return ActionTypeId(**every)


@pytest.mark.parametrize(
    ("call", "parameter", "rule"),
    [
        (_get(job_id=""), "job_id", "must have 1 to 512 characters"),
        (_get(job_id="x" * 513), "job_id", "must have 1 to 512 characters"),
        (_get(job_id=7), "job_id", "must be a str"),
        (_get(job_id="\ud800"), "job_id", "must not contain lone surrogates"),
        (_get(client_token=""), "client_token", "must have 1 to 256 characters"),
        (_get(client_token="x" * 257), "client_token", "must have 1 to 256 characters"),
        (_get(client_token=SecretStr("x" * 257)), "client_token", "must have 1 to 256 characters"),
        (_get(client_token=b"t"), "client_token", "must be a str or a SecretStr"),
        (_get(client_token=None), "client_token", "must be a str or a SecretStr"),
        (_acknowledge(""), "nonce", "must have 1 to 50 characters"),
        (_acknowledge("x" * 51), "nonce", "must have 1 to 50 characters"),
        (_acknowledge(3), "nonce", "must be a str"),
        (_poll("Test"), "action_type_id", "must be an ActionTypeId"),
        (_poll(_action_type(provider="x" * 36)), "action_type_id", "provider must have 1 to 35 characters"),
        (_poll(_action_type(provider="a b")), "action_type_id", "provider must have only letters, digits, '_' and '-'"),
        (_poll(_action_type(version="")), "action_type_id", "version must have 1 to 9 characters"),
        (_poll(_ACTION_TYPE, max_batch_size=0), "max_batch_size", "must be at least 1"),
        (_poll(_ACTION_TYPE, max_batch_size=True), "max_batch_size", "must be an int"),
        (_succeed(continuation_token=""), "continuation_token", "must have 1 to 2048 characters"),
        (_succeed(continuation_token="x" * 2049), "continuation_token", "must have 1 to 2048 characters"),
        (_succeed(current_revision={}), "current_revision", "must be a CurrentRevision"),
        (_succeed(execution_details="x"), "execution_details", "must be an ExecutionDetails"),
        (_fail(None), "failure_details", "must be a FailureDetails"),
    ],
)
def test_a_bad_parameter_is_refused_before_sending(
    call: Callable[[ThirdPartyJobClient], object], parameter: str, rule: str
) -> None:
    """A parameter that breaks a rule is an InvalidRequestError that names both, and nothing is sent."""
    with _serve(ok({})) as server, pytest.raises(exceptions.InvalidRequestError) as caught:
        call(_client(server))
    assert (caught.value.parameter, caught.value.rule) == (parameter, rule)
    assert server.requests == []


@pytest.mark.parametrize("limit", [{"job_id": "x" * 512}, {"client_token": "x" * 256}])
def test_a_parameter_at_its_limit_is_sent(limit: dict[str, str]) -> None:
    """The longest values that the service takes are sent."""
    with _serve(
        lambda request: ok({"jobDetails": {"id": request.parameters["jobId"], "data": {}, "nonce": "1"}})
    ) as server:
        _get(**limit)(_client(server))
    assert len(server.requests) == 1


# --- responses -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("operation", "response", "problems"),
    [
        ("PollForThirdPartyJobs", {}, ("required field missing: jobs",)),
        ("PollForThirdPartyJobs", {"jobs": [{"clientId": "c"}]}, ("required field missing: jobs[0].jobId",)),
        ("GetThirdPartyJobDetails", {}, ("required field missing: jobDetails",)),
        ("GetThirdPartyJobDetails", {"jobDetails": {"id": _JOB_ID, "data": {}}}, ("required field missing: nonce",)),
        (
            "GetThirdPartyJobDetails",
            {"jobDetails": {"id": "another", "data": {}, "nonce": "1"}},
            ("id: must be the id of the requested job",),
        ),
        (
            "GetThirdPartyJobDetails",
            {"jobDetails": {"id": _JOB_ID, "data": {"actionTypeId": {"category": "Test", "owner": 1}}, "nonce": 2}},
            (
                "data.actionTypeId.owner: must be a string",
                "required field missing: data.actionTypeId.provider",
                "required field missing: data.actionTypeId.version",
                "nonce: must be a string",
            ),
        ),
        ("AcknowledgeThirdPartyJob", {}, ("required field missing: status",)),
        ("AcknowledgeThirdPartyJob", {"status": 1}, ("status: must be a string",)),
    ],
)
def test_a_response_of_the_wrong_shape_is_refused(operation: str, response: object, problems: tuple[str, ...]) -> None:
    """A response without what the operation must bring is a ResponseDecodeError that lists each problem by path."""
    with _serve(ok(response)) as server, pytest.raises(exceptions.ResponseDecodeError) as caught:
        _CALLS[operation][0](_client(server))
    assert caught.value.problems == problems


_NOW = datetime.now(timezone.utc)

# What the service returns -> the class, and facts that it must carry.
_SERVICE_ERRORS: list[tuple[str, Response | Callable[[], Response], type[Exception], dict[str, Any]]] = [
    *(
        (name, error(name), getattr(exceptions, name), {"code": name, "is_retry_safe": False})
        for name in (
            "ActionTypeNotFoundException",
            "InvalidClientTokenException",
            "InvalidJobException",
            "InvalidJobStateException",
            "InvalidNonceException",
            "JobNotFoundException",
            "ValidationException",
        )
    ),
    ("throttling code", error("ThrottlingException"), exceptions.ThrottledError, {"is_retry_safe": True}),
    ("429", error("Slow", status=429), exceptions.ThrottledError, {"status_code": 429}),
    ("500", error("InternalFailure", status=500), exceptions.ServiceError, {"is_retry_safe": "by operation"}),
    (
        "unknown code",
        error("Brandnew"),
        exceptions.ServiceError,
        {"code": "Brandnew", "status_code": 400, "is_retry_safe": False},
    ),
    ("expired token", error("ExpiredTokenException"), exceptions.CredentialsError, {}),
    ("bad signature", error("InvalidSignatureException"), exceptions.CredentialsError, {}),
    (
        "skewed clock",
        error("InvalidSignatureException", headers={"Date": format_datetime(_NOW - timedelta(hours=2))}),
        exceptions.ClockSkewError,
        {"is_retry_safe": False},
    ),
    (
        "bad signature, right clock",
        lambda: error("InvalidSignatureException", headers={"Date": format_datetime(datetime.now(timezone.utc))}),
        exceptions.CredentialsError,
        {},
    ),
    ("skew without a date", error("RequestExpired"), exceptions.ServiceError, {"code": "RequestExpired"}),
    (
        "denied",
        error("AccessDeniedException", "not authorized on resource: arn:aws:codepipeline:us-east-1:1:actionType:x"),
        exceptions.AccessDeniedError,
        {"resource": "arn:aws:codepipeline:us-east-1:1:actionType:x"},
    ),
    ("denied, no resource", error("AccessDeniedException", "no"), exceptions.AccessDeniedError, {"resource": None}),
    (
        "no request id",
        Response(body=b"<html>", status=502, headers={}),
        exceptions.UntrustedResponseError,
        {"status_code": 502, "request_id": None},
    ),
]


@pytest.mark.parametrize(("name", "operation"), slow_pairs((row[0] for row in _SERVICE_ERRORS), _CALLS))
def test_an_error_of_the_service_has_its_class(name: str, operation: str) -> None:
    """Each error code becomes exactly its class, with the facts of the response, no cause and no context."""
    given, kind, facts = next(row[1:] for row in _SERVICE_ERRORS if row[0] == name)
    response = given if isinstance(given, Response) else given()
    with _serve(response) as server, pytest.raises(exceptions.ThirdPartyError) as caught:
        _CALLS[operation][0](_client(server))
    raised = caught.value
    assert type(raised) is kind
    if facts.get("is_retry_safe") == "by operation":
        facts = {**facts, "is_retry_safe": operation.startswith(("Poll", "Get")) or None}
    assert {name: getattr(raised, name) for name in facts} == facts
    assert raised.delivery is Delivery.RESPONDED
    assert (raised.__cause__, raised.__context__) == (None, None)
    if isinstance(raised, (exceptions.ServiceError, exceptions.AccessDeniedError)):
        assert (raised.operation_name, raised.request_id) == (operation, "req-0001")


def test_a_skewed_clock_reports_the_offset() -> None:
    """The offset is positive when this machine's clock is ahead of the service's."""
    response = error(
        "RequestExpired", headers={"Date": format_datetime(datetime.now(timezone.utc) - timedelta(hours=2))}
    )
    with _serve(response) as server, pytest.raises(exceptions.ClockSkewError) as caught:
        _client(server).poll_for_third_party_jobs(_ACTION_TYPE)
    assert caught.value.offset == pytest.approx(7200, abs=30)
    assert re.search(r" 72[0-3][0-9] s ahead\)$", str(caught.value))


def test_an_access_error_names_the_action() -> None:
    """Denied access names the IAM action to allow."""
    with _serve(error("AccessDeniedException")) as server, pytest.raises(exceptions.AccessDeniedError) as caught:
        _client(server).poll_for_third_party_jobs(_ACTION_TYPE)
    assert caught.value.action == "codepipeline:PollForThirdPartyJobs"


def test_the_attempts_are_counted() -> None:
    """The error of a throttled call has the number of attempts."""
    with _serve(error("ThrottlingException")) as server, pytest.raises(exceptions.ThrottledError) as caught:
        ThirdPartyJobClient.create(
            region_name="us-east-1",
            endpoint_url=server.endpoint_url,
            config=Config(retries={"mode": "standard", "total_max_attempts": 2}),
        ).poll_for_third_party_jobs(_ACTION_TYPE)
    assert (caught.value.attempts, len(server.requests)) == (2, 2)


@pytest.mark.parametrize(
    "written",
    [_TOKEN, json.dumps(_TOKEN)[1:-1], "m%40rker/tok%E2%82%ACn", "m%40rker%2Ftok%E2%82%ACn"],
    ids=["plain", "json", "url", "url, no safe"],
)
def test_the_service_text_is_kept_without_the_secret(written: str) -> None:
    """A token that the service echoes is struck out, however it is written; the rest of the text stays."""
    with _serve(error("ValidationException", f"Value '{written}' failed")) as server:
        client = _client(server)
        with pytest.raises(exceptions.ValidationException) as caught:
            client.get_third_party_job_details(_JOB_ID, client_token=_TOKEN)
    assert caught.value.message == "Value '**********' failed"


@pytest.mark.parametrize(
    "operation", [operation for operation in _CALLS if "ThirdPartyJob" in operation and "Poll" not in operation]
)
def test_the_token_is_in_no_frame(operation: str) -> None:
    """A traceback that prints locals does not show the token, whatever was returned."""
    call = _CALLS[operation][0]
    with _serve(error("ValidationException", _TOKEN)) as server, pytest.raises(exceptions.ThirdPartyError) as caught:
        call(_client(server))
    printed = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
    ours = printed[printed.index("client.py") :]
    assert _TOKEN not in ours
    assert "m@rker" not in repr(vars(caught.value)) + repr(caught.value.args)


def test_a_closed_port_is_safe_to_try_again() -> None:
    """A connection that was never made is a TransportError that is safe to retry, for a result too."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        endpoint_url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        client = ThirdPartyJobClient.create(
            region_name="us-east-1", endpoint_url=endpoint_url, config=Config(retries={"total_max_attempts": 1})
        )
        with pytest.raises(exceptions.TransportError) as caught:
            client.put_third_party_job_success_result("j", client_token="t")
    assert (caught.value.is_retry_safe, str(caught.value)) == (
        True,
        "PutThirdPartyJobSuccessResult: no connection to the endpoint",
    )


@pytest.mark.parametrize(
    ("operation", "is_retry_safe"),
    [("GetThirdPartyJobDetails", True), ("PollForThirdPartyJobs", True), ("PutThirdPartyJobSuccessResult", None)],
)
def test_a_lost_response_may_have_been_a_result(operation: str, is_retry_safe: bool | None) -> None:  # noqa: FBT001
    """After a timeout it is not known whether a result was accepted; what only reads may be resent."""
    has_failed = threading.Event()

    def respond(_: ReceivedRequest) -> Response:
        has_failed.wait(60)
        return ok({})

    with _serve(respond) as server:
        with pytest.raises(exceptions.TransportError) as caught:
            _CALLS[operation][0](_client(server, read_timeout=0.1))
        has_failed.set()
    assert (type(caught.value), caught.value.is_retry_safe) == (exceptions.TransportError, is_retry_safe)


def test_a_response_that_botocore_cannot_parse_is_not_trusted() -> None:
    """What makes botocore's parser fall over is an UntrustedResponseError, not an AttributeError."""
    with _serve(Response(body=b"[1]")) as server, pytest.raises(exceptions.UntrustedResponseError) as caught:
        _client(server).get_third_party_job_details(_JOB_ID, client_token=_TOKEN)
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)


def test_missing_credentials_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without AWS credentials nothing is sent."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with _serve(ok({})) as server, pytest.raises(exceptions.CredentialsError) as caught:
        _client(server).poll_for_third_party_jobs(_ACTION_TYPE)
    assert str(caught.value) == "PollForThirdPartyJobs: no AWS credentials were found"
    assert server.requests == []


def test_a_refused_role_is_a_credentials_error(tmp_path: Path) -> None:
    """An error of the call that fetches the credentials is not taken for one of CodePipeline."""
    (tmp_path / "config").write_text(
        "[profile base]\naws_access_key_id = a\naws_secret_access_key = b\n"
        "[profile role]\nrole_arn = arn:aws:iam::123456789012:role/x\nsource_profile = base\nregion = us-east-1\n",
        encoding="utf-8",
    )
    sts = Response(
        body=b"<ErrorResponse><Error><Code>AccessDenied</Code><Message>no</Message></Error></ErrorResponse>", status=403
    )

    with ScriptedServer(lambda _: sts) as server, pytest.MonkeyPatch.context() as environment:
        environment.delenv("AWS_ACCESS_KEY_ID")
        environment.delenv("AWS_SECRET_ACCESS_KEY")
        environment.setenv("AWS_ENDPOINT_URL_STS", server.endpoint_url)
        client = ThirdPartyJobClient.create(profile_name="role", endpoint_url="http://127.0.0.1:9")
        with pytest.raises(exceptions.CredentialsError) as caught:
            client.poll_for_third_party_jobs(_ACTION_TYPE)
    assert str(caught.value).startswith(
        "PollForThirdPartyJobs: the AWS credentials could not be loaded: AssumeRole failed with"
    )


def test_an_interruption_is_raised_as_it_is(monkeypatch: pytest.MonkeyPatch, raw: Any) -> None:
    """Ctrl-C during a call comes through, without the frames of the call."""

    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(raw._endpoint.http_session, "send", interrupt)
    with pytest.raises(KeyboardInterrupt) as caught:
        ThirdPartyJobClient(raw).get_third_party_job_details("j", client_token=_TOKEN)
    assert "interrupt" not in [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]


def test_what_botocore_refuses_is_an_invalid_request(monkeypatch: pytest.MonkeyPatch, raw: Any) -> None:
    """A wrapped client that validates parameters more strictly than we do cannot leak their values."""
    report = SimpleNamespace(has_errors=lambda: True, generate_report=lambda: _TOKEN)
    monkeypatch.setattr("botocore.validate.ParamValidator.validate", lambda *_: report)
    with pytest.raises(exceptions.InvalidRequestError) as caught:
        ThirdPartyJobClient(raw).get_third_party_job_details("j", client_token=_TOKEN)
    assert str(caught.value) == "parameters: botocore refused one of them"
    assert caught.value.delivery is Delivery.NOT_SENT


# --- making clients --------------------------------------------------------------------------------------------------


def test_a_wrapped_client_is_used_and_left_open() -> None:
    """A client that was wrapped keeps its settings and outlives the wrapper."""
    with _serve(ok({"jobs": []})) as server:
        raw: Any = botocore.session.Session().create_client(
            "codepipeline", region_name="us-east-1", endpoint_url=server.endpoint_url
        )
        with ThirdPartyJobClient(raw) as client:
            client.poll_for_third_party_jobs(_ACTION_TYPE)
        assert raw.poll_for_third_party_jobs(actionTypeId=server.requests[0].parameters["actionTypeId"])["jobs"] == []
        raw.close()


@pytest.mark.slow  # boto3 comes with the dependency group types
def test_a_client_of_boto3_may_be_wrapped() -> None:
    """A client of boto3 works as one of botocore does."""
    import boto3  # noqa: PLC0415 - it is not installed for the default run

    with _serve(ok({"jobs": []})) as server:
        raw = boto3.client("codepipeline", region_name="us-east-1", endpoint_url=server.endpoint_url)
        assert ThirdPartyJobClient(raw).poll_for_third_party_jobs(_ACTION_TYPE) == ()
        raw.close()


def test_only_a_client_of_codepipeline_is_wrapped() -> None:
    """Anything else is refused at once."""
    other = botocore.session.Session().create_client("sts", region_name="us-east-1")
    for wrong in (other, "codepipeline"):
        with pytest.raises(exceptions.InvalidRequestError, match="client: must be a CodePipeline client"):
            ThirdPartyJobClient(wrong)  # type: ignore[arg-type] # on purpose
    other.close()


def test_an_unsigned_request_needs_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """``sign_request=False`` sends no signature and looks for no credentials."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with _serve(ok({"jobs": []})) as server:
        _client(server, sign_request=False).poll_for_third_party_jobs(_ACTION_TYPE)
    assert "authorization" not in server.requests[0].headers


def test_a_profile_gives_credentials_and_region(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``profile_name`` takes both from the AWS configuration."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    (tmp_path / "config").write_text(
        "[profile p]\nregion = eu-west-1\naws_access_key_id = AKIDPROFILE\naws_secret_access_key = x\n",
        encoding="utf-8",
    )
    with _serve(ok({"jobs": []})) as server:
        client = ThirdPartyJobClient.create(profile_name="p", endpoint_url=server.endpoint_url)
        client.poll_for_third_party_jobs(_ACTION_TYPE)
    assert "Credential=AKIDPROFILE/" in server.requests[0].headers["authorization"]
    assert "/eu-west-1/codepipeline/" in server.requests[0].headers["authorization"]


def test_a_session_of_boto3_may_be_given() -> None:
    """A session of boto3 is used as one of botocore is: its credentials, its region and its profile."""
    session = boto3.Session("AKIDBOTO3", "x", region_name="eu-west-1")
    with _serve(ok({"jobs": []})) as server:
        with ThirdPartyJobClient.create(session=session, endpoint_url=server.endpoint_url) as client:
            client.poll_for_third_party_jobs(_ACTION_TYPE)
            assert client.region_name == "eu-west-1"
        assert "AKIDBOTO3" in server.requests[0].headers["authorization"]
        assert server.requests[0].headers["user-agent"].startswith("cp-thirdparty/")


@pytest.mark.parametrize("package", ["aiobotocore", "aioboto3"])
def test_a_session_for_asyncio_is_refused(package: str) -> None:
    """A session for asyncio has the methods of another one, but makes clients that cannot be used here."""
    session: Any = type("Session", (botocore.session.Session,), {"__module__": f"{package}.session"})()
    with pytest.raises(exceptions.InvalidRequestError) as caught:
        ThirdPartyJobClient.create(region_name="us-east-1", session=session)
    assert str(caught.value) == "session: must be a botocore or boto3 session"


def test_a_session_may_be_given() -> None:
    """A session of botocore is used instead of a new one."""
    session = botocore.session.Session()
    session.set_credentials("AKIDSESSION", "x")
    with _serve(ok({"jobs": []})) as server:
        _client(server, session=session).poll_for_third_party_jobs(_ACTION_TYPE)
    assert "Credential=AKIDSESSION/" in server.requests[0].headers["authorization"]


@pytest.mark.parametrize(
    ("settings", "parameter"),
    [
        ({"region_name": None}, "region_name"),
        ({"region_name": "not a region!"}, "region_name"),
        ({"endpoint_url": "ftp://example"}, "endpoint_url"),
        ({"endpoint_url": "http://[::1"}, "endpoint_url"),
        ({"endpoint_url": "http://"}, "endpoint_url"),
        ({"endpoint_url": "http://h:99999/"}, "endpoint_url"),
        ({"endpoint_url": "http://h:0/"}, "endpoint_url"),
        ({"endpoint_url": "http://me:password@h/"}, "endpoint_url"),
        ({"endpoint_url": 5}, "endpoint_url"),
        ({"verify": "/no/such/bundle"}, "verify"),
        ({"verify": Path("/no/such/bundle")}, "verify"),
        ({"connect_timeout": 0}, "connect_timeout"),
        ({"read_timeout": -1.0}, "read_timeout"),
        ({"read_timeout": "5"}, "read_timeout"),
        ({"profile_name": "nobody"}, "profile_name"),
        ({"profile_name": "p", "session": botocore.session.Session()}, "profile_name"),
        ({"session": "no session"}, "session"),
        ({"session": botocore.session}, "session"),
    ],
)
def test_a_bad_setting_is_refused(settings: dict[str, Any], parameter: str) -> None:
    """A setting that cannot work is an InvalidRequestError naming it, when the client is made."""
    all_settings: dict[str, Any] = {"region_name": "us-east-1", **settings}
    with pytest.raises(exceptions.InvalidRequestError) as caught:
        ThirdPartyJobClient.create(**all_settings)
    assert caught.value.parameter == parameter
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)


def test_partial_credentials_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the credentials in the environment is a CredentialsError when the client is made."""
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(exceptions.CredentialsError, match="the AWS credentials are incomplete"):
        ThirdPartyJobClient.create(region_name="us-east-1")


def test_the_timeouts_and_settings_reach_botocore() -> None:
    """Our settings are in force, and a configuration of the caller's overrides them."""
    client = ThirdPartyJobClient.create(region_name="us-east-1", connect_timeout=1.5, read_timeout=None)
    config: Any = client._client.meta.config
    assert (config.connect_timeout, config.read_timeout) == (1.5, None)
    assert (config.retries["mode"], config.tcp_keepalive) == ("standard", True)
    other = ThirdPartyJobClient.create(region_name="us-east-1", config=Config(read_timeout=7, max_pool_connections=3))
    config = other._client.meta.config
    assert (config.read_timeout, config.max_pool_connections) == (7, 3)


def test_tls_is_verified_by_default(tmp_path: Path) -> None:
    """A certificate that nobody vouches for is a TransportError that is not tried again; a CA bundle or False helps."""
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with _serve(ok({"jobs": []})) as server:
        server._server.socket = context.wrap_socket(server._server.socket, server_side=True)
        endpoint_url = server.endpoint_url.replace("http://", "https://")

        def poll(**settings: Any) -> object:
            with ThirdPartyJobClient.create(region_name="us-east-1", endpoint_url=endpoint_url, **settings) as client:
                return client.poll_for_third_party_jobs(_ACTION_TYPE)

        with pytest.raises(exceptions.TransportError) as caught:
            poll()
        assert caught.value.is_retry_safe is False
        assert poll(verify=certificate) == ()
        assert poll(verify=str(certificate)) == ()


def test_a_client_is_not_pickled() -> None:
    """Pickling refuses and names the alternative."""
    client = ThirdPartyJobClient.create(region_name="us-east-1")
    with pytest.raises(TypeError, match="create a client in each process"):
        pickle.dumps(client)


def test_a_client_shows_its_endpoint() -> None:
    """The repr of a client names its endpoint."""
    client = ThirdPartyJobClient.create(region_name="us-east-1", endpoint_url="http://127.0.0.1:9")
    assert repr(client) == "<ThirdPartyJobClient http://127.0.0.1:9>"


def test_close_closes_what_create_made() -> None:
    """Leaving the context closes the connections of a created client."""
    with _serve(ok({"jobs": []})) as server:
        with _client(server) as client:
            client.poll_for_third_party_jobs(_ACTION_TYPE)
            raw: Any = client._client
            pools = raw._endpoint.http_session._manager.pools
            assert len(pools) == 1
        assert len(pools) == 0


def test_threads_share_a_client() -> None:
    """Eight threads that share one client each get their own responses."""
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - only here

    def respond(request: ReceivedRequest) -> Response:
        return ok({"jobDetails": {"id": request.parameters["jobId"], "data": {}, "nonce": request.parameters["jobId"]}})

    with _serve(respond) as server, ThreadPoolExecutor(8) as pool:
        client = _client(server)

        def read(number: int) -> str:
            return client.get_third_party_job_details(str(number), client_token="t").nonce

        assert list(pool.map(read, range(200))) == [str(number) for number in range(200)]
