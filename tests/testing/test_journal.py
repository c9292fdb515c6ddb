"""The journal of the local CodePipeline: requests and their outcomes, without secrets."""

from __future__ import annotations

import http.client
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import attrs
import botocore.session
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from cp_thirdparty import ActionTypeId, SecretStr
from cp_thirdparty.testing import LocalCodePipeline, RequestRecord
from cp_thirdparty.testing.faults import Fault, HtmlPage, LostAnswer, Throttling, TruncatedBody
from cp_thirdparty.testing.journal import RequestJournal

_ACTION_TYPE = ActionTypeId(category="Test", owner="ThirdParty", provider="ExampleScan", version="1")
_TYPE_ID = {"category": "Test", "owner": "ThirdParty", "provider": "ExampleScan", "version": "1"}
_TOKEN = "xMARKERx-token"


@pytest.fixture
def service() -> LocalCodePipeline:
    """Give a service with one client."""
    made = LocalCodePipeline()
    made.register_client("client-1", _TOKEN)
    return made


@pytest.fixture
def raw(service: LocalCodePipeline) -> Any:
    """Give a client of botocore that asks once and checks nothing itself."""
    made: Any = botocore.session.Session().create_client(
        "codepipeline",
        region_name=service.region_name,
        aws_access_key_id=service.access_key_id,
        aws_secret_access_key=service.secret_access_key.get_secret_value(),
        config=Config(retries={"total_max_attempts": 1}, parameter_validation=False),
    )
    service.attach(made)
    return made


def test_a_request_is_written_down(service: LocalCodePipeline, raw: Any) -> None:
    """A record has the operation, the parameters in the service's names, and the outcome."""
    job = service.start_action(_ACTION_TYPE, client_id="client-1").jobs[0]
    raw.poll_for_third_party_jobs(actionTypeId=_TYPE_ID, maxBatchSize=3)
    raw.get_third_party_job_details(jobId=job.id, clientToken=_TOKEN)
    common: dict[str, Any] = {"accepted": True, "status_code": 200, "error_code": None, "fault": None}
    polled = {"actionTypeId": _TYPE_ID, "maxBatchSize": 3}
    read = {"jobId": job.id, "clientToken": SecretStr(_TOKEN)}
    assert service.requests == (
        RequestRecord(operation_name="PollForThirdPartyJobs", parameters=polled, **common),
        RequestRecord(operation_name="GetThirdPartyJobDetails", parameters=read, **common),
    )


def test_a_refusal_is_written_down(service: LocalCodePipeline, raw: Any) -> None:
    """A refused request has its code; one that breaks a rule of the model has no parameters."""
    for parameters in ({"jobId": "unknown"}, {"jobId": ""}, {"jobId": ["xMARKERx"]}):
        with pytest.raises(ClientError):
            raw.get_third_party_job_details(clientToken=_TOKEN, **parameters)
    assert [(record.accepted, record.status_code, record.error_code) for record in service.requests] == [
        (False, 400, "JobNotFoundException"),
        (False, 400, "ValidationException"),
        (False, 400, "SerializationException"),
    ]
    known = {"jobId": "unknown", "clientToken": SecretStr(_TOKEN)}
    assert [record.parameters for record in service.requests] == [known, None, None]
    assert "xMARKERx" not in repr(service.requests)


@pytest.mark.parametrize(
    ("fault", "accepted", "status_code", "error_code"),
    [
        (Throttling(), False, 400, "ThrottlingException"),
        (HtmlPage(), False, 200, None),
        (LostAnswer(), True, None, None),
        (TruncatedBody(), True, 200, None),
    ],
)
def test_a_fault_is_written_down(
    service: LocalCodePipeline, raw: Any, fault: Fault, *, accepted: bool, status_code: int | None, error_code: str
) -> None:
    """A record has the fault, whether the request took effect all the same, and what the client was sent."""
    service.faults.add("PollForThirdPartyJobs", fault)
    with suppress(BotoCoreError, ClientError):  # which of them is not what this is about
        raw.poll_for_third_party_jobs(actionTypeId=_TYPE_ID)
    (record,) = service.requests
    assert (record.fault, record.accepted) == (fault, accepted)
    assert (record.status_code, record.error_code) == (status_code, error_code)
    assert record.parameters == {"actionTypeId": _TYPE_ID}


def test_a_lost_refusal_is_not_accepted(service: LocalCodePipeline, raw: Any) -> None:
    """What the service has refused took no effect, though no client got the response."""
    service.faults.add("GetThirdPartyJobDetails", LostAnswer())
    with pytest.raises(BotoCoreError):
        raw.get_third_party_job_details(jobId="unknown", clientToken=_TOKEN)
    assert [(record.accepted, record.error_code) for record in service.requests] == [(False, None)]


@pytest.mark.parametrize(
    ("method", "length", "status"), [("GET", "0", 501), ("POST", "9999999", 413), ("POST", "0", 400)]
)
def test_what_is_not_a_request_of_the_service_is_written_down(method: str, length: str, status: int) -> None:
    """HTTP that the service cannot use is a record without an operation."""
    with LocalCodePipeline() as service:
        connection = http.client.HTTPConnection(service.endpoint_url.removeprefix("http://"), timeout=60)
        connection.request(method, "/xMARKERx", headers={"Content-Length": length})
        assert connection.getresponse().status == status
        connection.close()
    (record,) = service.requests
    assert (record.operation_name, record.parameters, record.status_code) == (None, None, status)
    assert record.error_code in {"UnknownOperationException", "SerializationException"}
    assert "xMARKERx" not in repr(record)


def test_the_journal_keeps_the_latest() -> None:
    """A full journal drops its oldest records."""
    service = LocalCodePipeline(journal_size=2)
    with service.client(in_process=True) as client:
        for size in (1, 2, 3):
            client.poll_for_third_party_jobs(_ACTION_TYPE, max_batch_size=size)
    sizes = [None if record.parameters is None else record.parameters["maxBatchSize"] for record in service.requests]
    assert sizes == [2, 3]


def test_a_journal_has_room_for_one() -> None:
    """A size less than 1 is refused."""
    with pytest.raises(ValueError, match="journal_size: must be at least 1"):
        LocalCodePipeline(journal_size=0)


def test_threads_write_at_once() -> None:
    """No record is lost when many threads write."""
    record = RequestRecord(
        operation_name=None, parameters=None, accepted=False, status_code=400, error_code=None, fault=None
    )
    journal = RequestJournal(10_000)

    def write(_: int) -> None:
        for _ in range(500):
            journal.add(record)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))
    assert len(journal.records) == 4000


def test_a_record_cannot_be_changed(service: LocalCodePipeline, raw: Any) -> None:
    """Records are values."""
    raw.poll_for_third_party_jobs(actionTypeId=_TYPE_ID)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        service.requests[0].accepted = False  # type: ignore[misc]
