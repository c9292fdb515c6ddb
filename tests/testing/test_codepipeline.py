"""The local CodePipeline: its states through real botocore over HTTP, and what it refuses on the wire."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import botocore.session
import pytest

from cp_thirdparty import (
    ActionTypeId,
    Artifact,
    ArtifactCredentials,
    CurrentRevision,
    EncryptionKey,
    EncryptionKeyType,
    ExecutionDetails,
    FailureDetails,
    FailureType,
    JobStatus,
    ThirdPartyJob,
    ThirdPartyJobClient,
    exceptions,
)
from cp_thirdparty.testing import Action, LocalCodePipeline, ManualClock
from cp_thirdparty.testing._wire import RefusedError, operation_name_of, parameters_of

_ACTION_TYPE = ActionTypeId(category="Test", owner="ThirdParty", provider="ExampleScan", version="1")
_OTHER_TYPE = ActionTypeId(category="Test", owner="ThirdParty", provider="ExampleScan", version="2")
_TOKEN = "xMARKERx-token"


@pytest.fixture
def clock() -> ManualClock:
    """Give a clock that stands still until it is moved."""
    return ManualClock(1000.0)


@pytest.fixture
def service(clock: ManualClock) -> Iterator[LocalCodePipeline]:
    """Give a running service with one client."""
    with LocalCodePipeline(clock=clock) as running:
        running.register_client("client-1", _TOKEN)
        yield running


@pytest.fixture
def client(service: LocalCodePipeline) -> Iterator[ThirdPartyJobClient]:
    """Give a client of the service."""
    with service.client() as made:
        yield made


@pytest.fixture
def action(service: LocalCodePipeline) -> Action:
    """Give an action whose job waits."""
    return service.start_action(_ACTION_TYPE, client_id="client-1")


def _claim(client: ThirdPartyJobClient) -> ThirdPartyJob:
    (job,) = client.poll_for_third_party_jobs(_ACTION_TYPE)
    nonce = client.get_third_party_job_details(job.job_id, client_token=_TOKEN).nonce
    assert client.acknowledge_third_party_job(job.job_id, nonce=nonce, client_token=_TOKEN) == JobStatus.IN_PROGRESS
    return job


def test_a_job_is_polled_claimed_and_reported(client: ThirdPartyJobClient, action: Action) -> None:
    """A job is queued, dispatched, in progress and succeeded, and the action shows what was reported."""
    seen = [action.status]
    (job,) = client.poll_for_third_party_jobs(_ACTION_TYPE)
    seen.append(action.status)
    nonce = client.get_third_party_job_details(job.job_id, client_token=_TOKEN).nonce
    client.acknowledge_third_party_job(job.job_id, nonce=nonce, client_token=_TOKEN)
    seen.append(action.status)
    revision = CurrentRevision(revision="r", change_identifier="c")
    execution = ExecutionDetails(summary="all good")
    client.put_third_party_job_success_result(
        job.job_id, client_token=_TOKEN, current_revision=revision, execution_details=execution
    )
    seen.append(action.status)
    assert seen == ["Queued", "Dispatched", "InProgress", "Succeeded"]
    result: Any = action.result
    assert (result.continuation_token, result.current_revision, result.execution_details) == (None, revision, execution)
    assert [each.id for each in action.jobs] == [job.job_id]


def test_the_details_are_what_the_action_was_started_with(
    service: LocalCodePipeline, client: ThirdPartyJobClient
) -> None:
    """The details have what the action was started with, and the model hides the secrets."""
    credentials = ArtifactCredentials(access_key_id="a", secret_access_key="s", session_token="t")
    key = EncryptionKey(id="alias/k", type=EncryptionKeyType.KMS)
    service.start_action(
        _ACTION_TYPE,
        client_id="client-1",
        configuration={"ApiKey": "xMARKERx"},
        input_artifacts=[Artifact(name="In")],
        output_artifacts=[Artifact(name="Out")],
        artifact_credentials=credentials,
        encryption_key=key,
    )
    (job,) = client.poll_for_third_party_jobs(_ACTION_TYPE)
    data = client.get_third_party_job_details(job.job_id, client_token=_TOKEN).data
    assert data.action_configuration is not None
    assert data.action_configuration.configuration["ApiKey"].get_secret_value() == "xMARKERx"
    assert (data.artifact_credentials, data.encryption_key) == (credentials, key)
    assert (data.input_artifacts, data.output_artifacts) == ((Artifact(name="In"),), (Artifact(name="Out"),))
    assert (data.action_type_id, data.continuation_token) == (_ACTION_TYPE, None)
    assert data.pipeline_context is not None
    assert data.pipeline_context.pipeline_name == "local-pipeline"


def test_polls_are_filtered_and_limited(service: LocalCodePipeline, client: ThirdPartyJobClient) -> None:
    """A poll returns the oldest jobs of its action type, and no more than it requests."""
    jobs = [service.start_action(_ACTION_TYPE, client_id="client-1").jobs[0].id for _ in range(3)]
    assert client.poll_for_third_party_jobs(_OTHER_TYPE) == ()
    first = client.poll_for_third_party_jobs(_ACTION_TYPE, max_batch_size=2)
    assert first == tuple(ThirdPartyJob(client_id="client-1", job_id=job) for job in jobs[:2])
    assert [job.job_id for job in client.poll_for_third_party_jobs(_ACTION_TYPE)] == jobs[2:]


def test_an_unclaimed_job_is_offered_again(client: ThirdPartyJobClient, action: Action, clock: ManualClock) -> None:
    """A job that was not acknowledged is offered again after 30 seconds, and not before."""
    first = client.poll_for_third_party_jobs(_ACTION_TYPE)
    clock.advance(29.9)
    assert client.poll_for_third_party_jobs(_ACTION_TYPE) == ()
    clock.advance(0.1)
    assert client.poll_for_third_party_jobs(_ACTION_TYPE) == first
    assert action.status == "Dispatched"


def test_one_worker_wins(client: ThirdPartyJobClient, action: Action) -> None:
    """Of many workers that acknowledge one job at once, one gets it and all others InvalidNonceException."""
    (job,) = client.poll_for_third_party_jobs(_ACTION_TYPE)
    nonce = client.get_third_party_job_details(job.job_id, client_token=_TOKEN).nonce
    start = threading.Barrier(8)

    def acknowledge(_: int) -> str:
        start.wait()
        try:
            return client.acknowledge_third_party_job(job.job_id, nonce=nonce, client_token=_TOKEN)
        except exceptions.InvalidNonceException:
            return "lost"

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(acknowledge, range(8))) == ["InProgress", *["lost"] * 7]
    assert action.status == "InProgress"


def test_a_continuation_leads_to_a_new_job(client: ThirdPartyJobClient, action: Action, clock: ManualClock) -> None:
    """A success with a token ends the job; after 30 seconds the next one has a new id, a new nonce and the token."""
    job = _claim(client)
    client.put_third_party_job_success_result(job.job_id, client_token=_TOKEN, continuation_token="run-1")
    assert (action.status, [each.status for each in action.jobs]) == ("InProgress", ["Succeeded", "Queued"])
    clock.advance(29.9)
    assert client.poll_for_third_party_jobs(_ACTION_TYPE) == ()
    clock.advance(0.1)
    (other,) = client.poll_for_third_party_jobs(_ACTION_TYPE)
    details = client.get_third_party_job_details(other.job_id, client_token=_TOKEN)
    assert details.data.continuation_token == "run-1"
    assert (other.job_id != job.job_id, details.nonce != action.jobs[0].nonce) == (True, True)


def test_a_failure_ends_the_action(client: ThirdPartyJobClient, action: Action) -> None:
    """A failure is final, and the action shows it."""
    job = _claim(client)
    failure = FailureDetails(type=FailureType.CONFIGURATION_ERROR, message="no", external_execution_id="e")
    client.put_third_party_job_failure_result(job.job_id, client_token=_TOKEN, failure_details=failure)
    assert (action.status, action.result) == ("Failed", failure)


def test_a_job_without_a_result_times_out(client: ThirdPartyJobClient, action: Action, clock: ManualClock) -> None:
    """After its timeout a claimed job is TimedOut and accepts no result."""
    job = _claim(client)
    clock.advance(3600)
    assert action.status == "TimedOut"
    assert repr(action) == "<Action: TimedOut>"
    with pytest.raises(exceptions.InvalidJobStateException, match="TimedOut"):
        client.put_third_party_job_success_result(job.job_id, client_token=_TOKEN)


def test_a_result_is_taken_once(client: ThirdPartyJobClient, action: Action) -> None:
    """A second result, and one of a job that nobody acknowledged, are refused and change nothing."""
    with pytest.raises(exceptions.InvalidJobStateException, match="Queued"):
        client.put_third_party_job_success_result(action.jobs[0].id, client_token=_TOKEN)
    job = _claim(client)
    client.put_third_party_job_success_result(job.job_id, client_token=_TOKEN)
    failure = FailureDetails(type=FailureType.JOB_FAILED, message="late")
    with pytest.raises(exceptions.InvalidJobStateException, match="Succeeded"):
        client.put_third_party_job_failure_result(job.job_id, client_token=_TOKEN, failure_details=failure)
    assert action.status == "Succeeded"


def test_wrong_ids_tokens_and_nonces_are_refused(
    service: LocalCodePipeline, client: ThirdPartyJobClient, action: Action
) -> None:
    """An unknown job, another client's token and a wrong nonce each get the service's error."""
    service.register_client("client-2", "another token")
    job_id = action.jobs[0].id
    with pytest.raises(exceptions.JobNotFoundException):
        client.get_third_party_job_details("unknown", client_token=_TOKEN)
    with pytest.raises(exceptions.InvalidClientTokenException):
        client.get_third_party_job_details(job_id, client_token="another token")
    with pytest.raises(exceptions.InvalidNonceException):
        client.acknowledge_third_party_job(job_id, nonce="wrong", client_token=_TOKEN)


def test_an_action_needs_a_registered_client(service: LocalCodePipeline) -> None:
    """An action of a client that nobody registered is a ValueError that names the remedy."""
    with pytest.raises(ValueError, match=r"register_client\(\) first"):
        service.start_action(_ACTION_TYPE, client_id="client-9")


# --- the server ------------------------------------------------------------------------------------------------------


def test_a_service_that_is_not_running_is_an_error() -> None:
    """Without a ``with`` statement there is no endpoint, and starting twice is refused; closing twice is not."""
    service = LocalCodePipeline()
    with pytest.raises(RuntimeError, match="not running"):
        service.endpoint_url  # noqa: B018 - it raises
    service.close()
    with service:
        with pytest.raises(RuntimeError, match="already running"):
            service.start()
        assert service.endpoint_url.startswith("http://127.0.0.1:")
    service.close()


def test_a_child_process_reaches_it(service: LocalCodePipeline, action: Action) -> None:
    """With ``environment()`` a child process finds the service by botocore's own means."""
    program = (
        "import botocore.session; client = botocore.session.Session().create_client('codepipeline');"
        "print(client.get_third_party_job_details("
        f"jobId={action.jobs[0].id!r}, clientToken={_TOKEN!r})['jobDetails']['id'])"
    )
    child = subprocess.run(
        [sys.executable, "-c", program], env=service.environment(), capture_output=True, text=True, check=True
    )
    assert child.stdout.strip() == action.jobs[0].id


def _post(service: LocalCodePipeline, body: bytes, **headers: str) -> tuple[int, dict[str, str], Any]:
    connection = http.client.HTTPConnection(service.endpoint_url.removeprefix("http://"), timeout=60)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request("POST", "/", body, {"Content-Type": "application/x-amz-json-1.1", **named})
    response = connection.getresponse()
    content = response.read()
    connection.close()
    return response.status, {name.lower(): value for name, value in response.getheaders()}, json.loads(content)


def test_an_error_has_the_service_shape() -> None:
    """An error has its code in the body and in a header, a request id, a checksum and one date."""
    with LocalCodePipeline(verify_signatures=False) as service:
        status, headers, body = _post(
            service,
            json.dumps({"jobId": "unknown", "clientToken": _TOKEN}).encode(),
            X_Amz_Target="CodePipeline_20150709.GetThirdPartyJobDetails",
        )
    assert (status, body) == (400, {"__type": "JobNotFoundException", "message": "There is no such job"})
    assert headers["x-amzn-errortype"] == "JobNotFoundException"
    assert {"x-amzn-requestid", "x-amz-crc32", "date"} <= headers.keys()


def test_a_body_that_is_too_long_is_not_read(service: LocalCodePipeline) -> None:
    """A body of more than a mebibyte is refused unread."""
    status, _, body = _post(service, b"", Content_Length=str((1 << 20) + 1))
    assert (status, body["__type"]) == (413, "SerializationException")


def test_it_writes_nothing(service: LocalCodePipeline, action: Action, capfd: pytest.CaptureFixture[str]) -> None:
    """The service prints nothing, and nothing shows the token."""
    with service.client() as client:
        _claim(client)
    assert capfd.readouterr() == ("", "")
    assert _TOKEN not in repr(service) + repr(vars(service)) + repr(action) + repr(action.jobs)


# --- the wire --------------------------------------------------------------------------------------------------------

_TARGET = {"x-amz-target": "CodePipeline_20150709.PutThirdPartyJobSuccessResult"}
_GOOD: dict[str, Any] = {"jobId": "j", "clientToken": "t"}


def _constraint(path: str, rule: str) -> str:
    return f"1 validation error detected: Value at '{path}' failed to satisfy constraint: Member must {rule}"


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"clientToken": "t"}, _constraint("jobId", "not be null")),
        ({"jobId": None, "clientToken": "t"}, _constraint("jobId", "not be null")),
        ({"jobId": "", "clientToken": "t"}, _constraint("jobId", "have length greater than or equal to 1")),
        ({"jobId": "j", "clientToken": "t" * 257}, _constraint("clientToken", "have length less than or equal to 256")),
        (
            {**_GOOD, "executionDetails": {"percentComplete": 101}},
            _constraint("executionDetails.percentComplete", "have value less than or equal to 100"),
        ),
        (
            {**_GOOD, "executionDetails": {"percentComplete": -1}},
            _constraint("executionDetails.percentComplete", "have value greater than or equal to 0"),
        ),
        (
            {**_GOOD, "currentRevision": {"revision": "r"}},
            _constraint("currentRevision.changeIdentifier", "not be null"),
        ),
    ],
)
def test_the_service_model_is_enforced(parameters: dict[str, Any], message: str) -> None:
    """Required members, lengths and ranges of the service model are checked, and no value is repeated."""
    with pytest.raises(RefusedError) as caught:
        parameters_of("PutThirdPartyJobSuccessResult", json.dumps(parameters).encode())
    assert (caught.value.code, caught.value.message) == ("ValidationException", message)


@pytest.mark.parametrize(
    ("parameters", "path", "kind"),
    [
        ({"jobId": 1, "clientToken": "t"}, "jobId", "string"),
        ({"jobId": 1}, "jobId", "string"),
        ({**_GOOD, "executionDetails": []}, "executionDetails", "structure"),
        ({**_GOOD, "executionDetails": {"percentComplete": True}}, "executionDetails.percentComplete", "integer"),
        (
            {**_GOOD, "currentRevision": {"revision": "r", "changeIdentifier": "c", "created": "now"}},
            "currentRevision.created",
            "timestamp",
        ),
    ],
)
def test_a_wrong_type_cannot_be_read(parameters: dict[str, Any], path: str, kind: str) -> None:
    """A JSON value of a wrong type is a SerializationException, before any rule is looked at."""
    with pytest.raises(RefusedError) as caught:
        parameters_of("PutThirdPartyJobSuccessResult", json.dumps(parameters).encode())
    expected = ("SerializationException", f"Value at '{path}' must be of type {kind}")
    assert (caught.value.code, caught.value.message) == expected


def test_patterns_and_enums_are_enforced() -> None:
    """Two problems at once are reported together."""
    wrong = {"category": "Dance", "owner": "ThirdParty", "provider": "a b", "version": "1"}
    with pytest.raises(RefusedError) as caught:
        parameters_of("PollForThirdPartyJobs", json.dumps({"actionTypeId": wrong, "maxBatchSize": 1}).encode())
    assert caught.value.message.startswith("2 validation errors detected: Value at 'actionTypeId.category'")
    assert "Member must satisfy enum value set: [Source, " in caught.value.message
    assert "Member must satisfy regular expression pattern: [0-9A-Za-z_-]+" in caught.value.message


@pytest.mark.parametrize(
    ("headers", "body", "code"),
    [
        ({}, b"{}", "UnknownOperationException"),
        ({"x-amz-target": "CodePipeline_20150709.ListPipelines"}, b"{}", "UnknownOperationException"),
        ({"x-amz-target": "Other.PollForThirdPartyJobs"}, b"{}", "UnknownOperationException"),
        ({**_TARGET, "smithy-protocol": "rpc-v2-cbor"}, b"\xa0", "UnknownOperationException"),
        (_TARGET, b"{", "SerializationException"),
        (_TARGET, b"[]", "SerializationException"),
        (_TARGET, b"\xff", "SerializationException"),
        (_TARGET, b"[" * 100_000, "SerializationException"),
        (_TARGET, b"", "ValidationException"),
    ],
)
def test_a_request_of_another_form_is_refused(headers: dict[str, str], body: bytes, code: str) -> None:
    """Other operations, protocols and bodies each get an error of the service."""
    with pytest.raises(RefusedError) as caught:
        parameters_of(operation_name_of(headers), body)
    assert caught.value.code == code


def test_a_client_of_botocore_works_without_our_own(service: LocalCodePipeline, action: Action) -> None:
    """A partner's own botocore client gets the responses as dictionaries."""
    raw: Any = botocore.session.Session().create_client(
        "codepipeline",
        endpoint_url=service.endpoint_url,
        region_name="us-east-1",
        aws_access_key_id=service.access_key_id,
        aws_secret_access_key=service.secret_access_key.get_secret_value(),
    )
    type_id = {"category": "Test", "owner": "ThirdParty", "provider": "ExampleScan", "version": "1"}
    jobs = raw.poll_for_third_party_jobs(actionTypeId=type_id, maxBatchSize=1)["jobs"]
    assert jobs == [{"clientId": "client-1", "jobId": action.jobs[0].id}]
    with pytest.raises(raw.exceptions.InvalidClientTokenException):
        raw.get_third_party_job_details(jobId=jobs[0]["jobId"], clientToken="wrong")
    raw.close()
