"""Faults of the local CodePipeline, as botocore and our own client get them over HTTP and in the process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import attrs
import botocore.session
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError, ReadTimeoutError

from cp_thirdparty import ActionTypeId, exceptions
from cp_thirdparty._core.operations import OPERATION_NAMES
from cp_thirdparty.testing import Action, LocalCodePipeline
from cp_thirdparty.testing._wire import Response
from cp_thirdparty.testing.faults import (
    Delay,
    ExpiredCredentials,
    Fault,
    Faults,
    HtmlPage,
    LostAnswer,
    ServerError,
    Throttling,
    TruncatedBody,
)

_ACTION_TYPE = ActionTypeId(category="Test", owner="ThirdParty", provider="ExampleScan", version="1")
_TOKEN = "xMARKERx-token"


@pytest.fixture
def service() -> Iterator[LocalCodePipeline]:
    """Give a running service with one client."""
    with LocalCodePipeline() as running:
        running.register_client("client-1", _TOKEN)
        yield running


@pytest.fixture
def action(service: LocalCodePipeline) -> Action:
    """Give an action whose job waits."""
    return service.start_action(_ACTION_TYPE, client_id="client-1")


@pytest.fixture(params=["http", "in-process"])
def connected(request: pytest.FixtureRequest, service: LocalCodePipeline) -> Iterator[Any]:
    """Give a client of botocore that asks once, by HTTP and without."""
    config = Config(proxies={}, retries={"total_max_attempts": 1}, read_timeout=60)
    made: Any = botocore.session.Session().create_client(
        "codepipeline",
        endpoint_url=service.endpoint_url if request.param == "http" else None,
        region_name=service.region_name,
        aws_access_key_id=service.access_key_id,
        aws_secret_access_key=service.secret_access_key.get_secret_value(),
        config=config,
    )
    if request.param == "in-process":
        service.attach(made)
    yield made
    made.close()


def _acknowledge(raw: Any, action: Action) -> Any:
    job = action.jobs[0]
    return raw.acknowledge_third_party_job(jobId=job.id, nonce=job.nonce, clientToken=_TOKEN)


@pytest.mark.parametrize(
    ("fault", "code", "status"),
    [
        (Throttling(), "ThrottlingException", 400),
        (Throttling(code="TooManyRequestsException", status=429), "TooManyRequestsException", 429),
        (ServerError(), "InternalFailure", 500),
        (ServerError(status=503, code="ServiceUnavailable"), "ServiceUnavailable", 503),
        (ExpiredCredentials(), "ExpiredTokenException", 400),
    ],
)
def test_a_refusal_takes_no_effect(
    service: LocalCodePipeline, connected: Any, action: Action, fault: Fault, *, code: str, status: int
) -> None:
    """Throttling, failures and expired credentials are errors of the service, once, and do not change the job."""
    service.faults.add("AcknowledgeThirdPartyJob", fault)
    with pytest.raises(ClientError) as caught:
        _acknowledge(connected, action)
    response: Any = caught.value.response
    assert (response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]) == (code, status)
    assert action.status == "Queued"
    assert _acknowledge(connected, action)["status"] == "InProgress"


def test_a_lost_response_has_taken_effect(service: LocalCodePipeline, connected: Any, action: Action) -> None:
    """When a response is lost the client sees the connection end, and the job is claimed."""
    service.faults.add("AcknowledgeThirdPartyJob", LostAnswer())
    with pytest.raises(ConnectionClosedError):
        _acknowledge(connected, action)
    assert action.status == "InProgress"
    with pytest.raises(ClientError, match="InvalidNonceException"):
        _acknowledge(connected, action)


@pytest.mark.parametrize("in_process", [True, False])
@pytest.mark.parametrize(
    "fault",
    [TruncatedBody(), TruncatedBody(length=0), TruncatedBody(length=1000), TruncatedBody(content_length="cut")],
)
def test_a_truncated_response_has_taken_effect(
    service: LocalCodePipeline, action: Action, fault: Fault, *, in_process: bool
) -> None:
    """When a response is truncated our client does not trust it, and the job is claimed."""
    service.faults.add("AcknowledgeThirdPartyJob", fault)
    job = action.jobs[0]
    with service.client(in_process=in_process) as client:
        with pytest.raises((exceptions.TransportError, exceptions.InvalidNonceException)):
            client.acknowledge_third_party_job(job.id, nonce=job.nonce, client_token=_TOKEN)
        assert action.status == "InProgress"
        assert service.requests[0].accepted


@pytest.mark.parametrize("in_process", [True, False])
def test_a_result_whose_response_is_truncated_is_noticed(
    service: LocalCodePipeline, action: Action, *, in_process: bool
) -> None:
    """A response without a body can be truncated, too: its length does not come."""
    job = action.jobs[0]
    service.faults.add("PutThirdPartyJobSuccessResult", TruncatedBody())
    with service.client(in_process=in_process) as client:
        client.acknowledge_third_party_job(job.id, nonce=job.nonce, client_token=_TOKEN)
        with pytest.raises((exceptions.TransportError, exceptions.InvalidJobStateException)):
            client.put_third_party_job_success_result(job.id, client_token=_TOKEN)
    assert action.status == "Succeeded"


def test_botocore_accepts_a_body_that_was_truncated_with_its_length(
    service: LocalCodePipeline, connected: Any, action: Action
) -> None:
    """Botocore reads a short body of the right length as an empty response; our own client refuses it."""
    service.faults.add("GetThirdPartyJobDetails", TruncatedBody(content_length="cut"), times=None)
    response = connected.get_third_party_job_details(jobId=action.jobs[0].id, clientToken=_TOKEN)
    assert "jobDetails" not in response
    with service.client() as client, pytest.raises(exceptions.UntrustedResponseError):
        client.get_third_party_job_details(action.jobs[0].id, client_token=_TOKEN)


@pytest.mark.parametrize("in_process", [True, False])
def test_details_that_end_too_early_are_not_a_response(
    service: LocalCodePipeline, action: Action, *, in_process: bool
) -> None:
    """A request is resent if the body is shorter than its length; such a body is never read as the details."""
    service.faults.add("GetThirdPartyJobDetails", TruncatedBody(), times=None)
    with service.client(in_process=in_process) as client, pytest.raises(exceptions.TransportError):
        client.get_third_party_job_details(action.jobs[0].id, client_token=_TOKEN)
    service.faults.clear()
    with service.client(in_process=in_process) as client:
        assert client.get_third_party_job_details(action.jobs[0].id, client_token=_TOKEN).id == action.jobs[0].id


def test_a_page_in_place_of_a_response(service: LocalCodePipeline, connected: Any, action: Action) -> None:
    """Botocore reads a page with status 200 as a success; our client does not; the request has no effect."""
    _acknowledge(connected, action)
    service.faults.add("PutThirdPartyJobSuccessResult", HtmlPage(), times=None)
    connected.put_third_party_job_success_result(jobId=action.jobs[0].id, clientToken=_TOKEN)
    assert action.status == "InProgress"
    with service.client() as client, pytest.raises(exceptions.UntrustedResponseError):
        client.put_third_party_job_success_result(action.jobs[0].id, client_token=_TOKEN)


def test_a_page_may_have_another_status(service: LocalCodePipeline, connected: Any, action: Action) -> None:
    """A proxy's page may come with an error."""
    service.faults.add("AcknowledgeThirdPartyJob", HtmlPage(status=407, page="<p>who are you?</p>"))
    with pytest.raises(ClientError) as caught:
        _acknowledge(connected, action)
    response: Any = caught.value.response
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 407
    assert response["ResponseMetadata"]["HTTPHeaders"]["content-type"] == "text/html; charset=utf-8"


def test_a_delayed_request_takes_effect_after_its_client_has_gone(service: LocalCodePipeline, action: Action) -> None:
    """A client that does not wait for a slow service gets a timeout, and the service does what it was asked for."""
    service.faults.add("AcknowledgeThirdPartyJob", Delay(1.0))
    raw: Any = botocore.session.Session().create_client(
        "codepipeline",
        endpoint_url=service.endpoint_url,
        region_name=service.region_name,
        aws_access_key_id=service.access_key_id,
        aws_secret_access_key=service.secret_access_key.get_secret_value(),
        config=Config(proxies={}, retries={"total_max_attempts": 1}, read_timeout=0.1),
    )
    with pytest.raises(ReadTimeoutError):
        _acknowledge(raw, action)
    raw.close()
    assert action.wait("InProgress", timeout=60) == "InProgress"


def test_a_short_delay_is_waited_for(service: LocalCodePipeline, connected: Any, action: Action) -> None:
    """A client that waits gets its response."""
    service.faults.add("AcknowledgeThirdPartyJob", Delay(0.01))
    assert _acknowledge(connected, action)["status"] == "InProgress"


def test_our_client_resends_a_poll(service: LocalCodePipeline, action: Action) -> None:
    """A throttled poll, a failing one and one whose response is lost are resent until the job is there."""
    for fault in (Throttling(), ServerError()):
        service.faults.add("PollForThirdPartyJobs", fault)
    with service.client() as client:
        assert [job.job_id for job in client.poll_for_third_party_jobs(_ACTION_TYPE)] == [action.jobs[0].id]
    assert [record.error_code for record in service.requests] == ["ThrottlingException", "InternalFailure", None]


# --- which request gets which fault -----------------------------------------------------------------------------------


def _take_faults(faults: Faults, count: int, operation: str = "PollForThirdPartyJobs") -> list[Fault | None]:
    return [faults.take(operation) for _ in range(count)]


def test_faults_come_in_the_order_in_which_they_were_added() -> None:
    """Each request gets the next fault of its operation, as often as the fault was added for."""
    faults = Faults()
    faults.add("PollForThirdPartyJobs", Throttling(), times=2)
    faults.add("GetThirdPartyJobDetails", LostAnswer())
    faults.add("PollForThirdPartyJobs", ServerError())
    assert repr(faults).startswith("<Faults: {'PollForThirdPartyJobs': [")
    assert _take_faults(faults, 4) == [Throttling(), Throttling(), ServerError(), None]
    assert _take_faults(faults, 2, "GetThirdPartyJobDetails") == [LostAnswer(), None]


def test_a_fault_can_stay_until_it_is_cleared() -> None:
    """With ``times=None`` a fault never ends, and clearing ends all."""
    faults = Faults()
    faults.add("PollForThirdPartyJobs", Delay(1.0), times=None)
    assert _take_faults(faults, 100) == [Delay(1.0)] * 100
    faults.clear()
    assert _take_faults(faults, 1) == [None]


def test_threads_share_the_faults() -> None:
    """Of many requests at once, exactly the requested number gets the fault."""
    faults = Faults()
    faults.add("PollForThirdPartyJobs", LostAnswer(), times=500)
    start = threading.Barrier(8)

    def take(_: int) -> int:
        start.wait()
        return sum(fault is not None for fault in _take_faults(faults, 100))

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(take, range(8))) == 500


@pytest.mark.parametrize("operation", ["", "poll_for_third_party_jobs", "ListPipelines"])
def test_an_unknown_operation_is_refused(operation: str) -> None:
    """A misspelt operation is a ValueError that lists the five."""
    with pytest.raises(ValueError, match="must be one of PollForThirdPartyJobs, "):
        Faults().add(operation, LostAnswer())


@pytest.mark.parametrize("times", [0, -1])
def test_a_fault_comes_at_least_once(times: int) -> None:
    """A number less than 1 is refused."""
    with pytest.raises(ValueError, match="times: must be at least 1"):
        Faults().add("PollForThirdPartyJobs", LostAnswer(), times=times)


@pytest.mark.parametrize("fault", [LostAnswer, None, "LostAnswer"])
def test_a_fault_is_an_object(fault: Any) -> None:
    """A class in place of its object, and what is not a fault, are TypeErrors."""
    with pytest.raises(TypeError, match="such as LostAnswer"):
        Faults().add("PollForThirdPartyJobs", fault)


@pytest.mark.parametrize(
    "fault",
    [Throttling(), ServerError(), ExpiredCredentials(), LostAnswer(), TruncatedBody(), HtmlPage(), Delay(1.0)],
)
def test_a_fault_is_a_value(fault: Any) -> None:
    """Faults are equal when their fields are, are hashable, and cannot be changed."""
    assert fault == attrs.evolve(fault)
    assert hash(fault) == hash(attrs.evolve(fault))
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        fault.seconds = 2.0


def test_a_fault_may_be_a_class_of_the_caller(service: LocalCodePipeline, connected: Any, action: Action) -> None:
    """A class with a ``play()`` is accepted, and its errors become responses 500 with their type."""

    class Twice:
        def play(self, serve: Callable[[], Response]) -> Response:
            serve()
            return serve()

    class Broken:
        def play(self, serve: Callable[[], Response]) -> Response:  # noqa: ARG002 - broken
            raise LookupError(_TOKEN)

    service.faults.add("AcknowledgeThirdPartyJob", Broken())
    service.faults.add("AcknowledgeThirdPartyJob", Twice())
    with pytest.raises(ClientError, match=r"InternalFailure\).*The local CodePipeline failed with LookupError$"):
        _acknowledge(connected, action)
    with pytest.raises(ClientError, match="InvalidNonceException"):
        _acknowledge(connected, action)
    assert action.status == "InProgress"


@pytest.mark.parametrize("operation", OPERATION_NAMES)
def test_each_operation_can_go_wrong(service: LocalCodePipeline, operation: str) -> None:
    """Each of the five operations takes its faults."""
    service.faults.add(operation, Throttling())
    assert service.faults.take(operation) == Throttling()
