"""`JobProcessor`: all steps of one job in the calling thread."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import AsyncIterator, Callable, Generator
from types import SimpleNamespace
from typing import Any

import attrs
import pytest
from support.worker_service import ACTION_TYPE, CLIENT_ID, TOKENS, AnyJob, Before, claim, succeed, until

from cp_thirdparty import FailureDetails, FailureType, Job, Succeeded, ThirdPartyJob, ThirdPartyJobClient
from cp_thirdparty.enums import Delivery
from cp_thirdparty.exceptions import ActionTypeNotFoundException, CredentialsError, ThirdPartyError, TransportError
from cp_thirdparty.testing import LocalCodePipeline
from cp_thirdparty.testing._wire import Response, error_response
from cp_thirdparty.testing.faults import ExpiredCredentials, ServerError
from cp_thirdparty.worker import (
    HandedBack,
    JobEvent,
    JobProcessor,
    LostRace,
    Outcome,
    Rejected,
    Reported,
    Unsent,
    _processing,
)


def _processor(service: LocalCodePipeline, handler: Any = succeed, **settings: Any) -> JobProcessor[Any]:
    every: dict[str, Any] = {"client_tokens": TOKENS, **settings}
    return JobProcessor(service.client, handler, **every)


def _offer(service: LocalCodePipeline) -> ThirdPartyJob:
    (job,) = service.start_action(ACTION_TYPE, client_id=CLIENT_ID).jobs
    return ThirdPartyJob(client_id=CLIENT_ID, job_id=job.id)


def test_a_job_is_processed(service: LocalCodePipeline) -> None:
    """One call goes from the offer to the accepted result."""
    offer = _offer(service)
    assert _processor(service).process(offer) == Reported(job=offer, result=Succeeded())


def test_polling_processes_what_it_brings(service: LocalCodePipeline) -> None:
    """Each job of the batch has its outcome; there are no more than were asked for."""
    actions = [service.start_action(ACTION_TYPE, client_id=CLIENT_ID) for _ in range(3)]
    outcomes = list(_processor(service).poll(ACTION_TYPE, max_batch_size=2))
    assert [type(outcome) for outcome in outcomes] == [Reported, Reported]
    assert [action.status for action in actions] == ["Succeeded", "Succeeded", "Queued"]


def test_a_failed_poll_is_raised(service: LocalCodePipeline) -> None:
    """The error of a poll belongs to no job."""
    service.faults.add("PollForThirdPartyJobs", _instead("ActionTypeNotFoundException"))
    with pytest.raises(ActionTypeNotFoundException):
        list(_processor(service).poll(ACTION_TYPE))


def _instead(code: str) -> Any:
    class Fault:
        def play(self, serve: object) -> Any:  # noqa: ARG002 - it takes no effect
            return error_response(code, "no")

    return Fault()


def test_a_rejected_job_is_an_outcome(service: LocalCodePipeline) -> None:
    """Nothing that the service does is raised."""
    offer = _offer(service)
    assert _processor(service, client_tokens={}).process(offer) == Rejected(job=offer, reason="no client token")


def test_a_lost_race_is_an_outcome(service: LocalCodePipeline) -> None:
    """Another worker has the job: nothing is run."""
    offer = _offer(service)
    with service.client() as other:
        service.faults.add("AcknowledgeThirdPartyJob", Before(lambda: claim(other, offer.job_id)))
        assert _processor(service, lambda _: pytest.fail("it ran")).process(offer) == LostRace(job=offer)


def test_without_time_a_job_is_handed_back(service: LocalCodePipeline) -> None:
    """Less than a second is not enough to begin."""
    offer = _offer(service)
    assert _processor(service).process(offer, seconds_left=0.9) == HandedBack(job=offer)
    assert [record.operation_name for record in service.requests] == []


def test_the_handler_gets_its_time(service: LocalCodePipeline) -> None:
    """Its deadline is the end of the process, or the job's own timeout when that comes first."""
    left: list[float] = []

    def handle(job: AnyJob) -> Succeeded:
        left.append(job.deadline - time.time())
        return Succeeded()

    _processor(service, handle).process(_offer(service), seconds_left=1000)
    _processor(service, handle, job_timeout=100).process(_offer(service), seconds_left=1000)
    _processor(service, handle).process(_offer(service))
    # Some seconds may have gone by since.
    assert [limit - 60 < seconds <= limit for seconds, limit in zip(left, (1000, 100, 3300), strict=True)] == [True] * 3


def test_a_processor_inside_a_handler_has_its_own_time(service: LocalCodePipeline) -> None:
    """The end of the outer job does not end the calls of the inner one, which would never be reported."""
    inner = _offer(service)
    outcomes: list[Outcome] = []

    def handle_inner(_job: AnyJob) -> Succeeded:
        time.sleep(2.5)
        return Succeeded()

    def handle(_job: AnyJob) -> Succeeded:
        outcomes.append(_processor(service, handle_inner).process(inner))
        return Succeeded()

    _processor(service, handle).process(_offer(service), seconds_left=2.0)
    until(lambda: bool(outcomes))
    assert [type(outcome) for outcome in outcomes] == [Reported]


def test_the_artifacts_have_the_deadline_of_the_job(service: LocalCodePipeline) -> None:
    """Also if reading the configuration takes time."""

    @attrs.frozen
    class Slow:
        def __attrs_post_init__(self) -> None:
            time.sleep(1.0)

    def create(_client: object, _details: object, *, deadline: float | None = None, **_: object) -> Any:
        found.append(deadline)
        return SimpleNamespace(close=lambda: None)

    def handle(job: Job[Any]) -> Succeeded:
        found.append(job.deadline)
        assert job.artifacts is not None
        return Succeeded()

    found: list[float | None] = []
    _processor(service, handle, configuration=Slow, artifacts=create).process(_offer(service), seconds_left=60.0)
    of_job, of_artifacts = found
    assert of_job == pytest.approx(of_artifacts, abs=0.5)


def test_the_end_of_the_process_counts_and_not_the_claim(
    service: LocalCodePipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow acknowledgement leaves less time to the handler."""
    left: list[float] = []
    passed: list[float] = []
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + sum(passed), sleep=time.sleep, time=time.time)
    for module in ("_processing", "_flow"):
        monkeypatch.setattr(f"cp_thirdparty.worker.{module}.time", clock)

    def handle(job: AnyJob) -> Succeeded:
        left.append(job.deadline - time.time())
        return Succeeded()

    service.faults.add("AcknowledgeThirdPartyJob", Before(lambda: passed.append(40.0)))
    _processor(service, handle).process(_offer(service), seconds_left=100)
    assert 30 < left[0] <= 60


def test_a_result_that_cannot_be_sent_in_time_is_unsent(
    service: LocalCodePipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the caller's to keep: there is no journal."""
    monkeypatch.setattr(_processing, "_REPORT_SECONDS", 0.0)
    passed: list[float] = []
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + sum(passed), sleep=time.sleep, time=time.time)
    monkeypatch.setattr(_processing, "time", clock)
    monkeypatch.setattr(f"{JobProcessor.__module__}.time", clock)

    def handle(_job: AnyJob) -> Succeeded:
        passed.append(59.7)
        return Succeeded()

    offer = _offer(service)
    service.faults.add("PutThirdPartyJobSuccessResult", ServerError(), times=None)
    outcome = _processor(service, handle).process(offer, seconds_left=60.0)
    assert isinstance(outcome, Unsent)
    assert outcome.result == Succeeded()


def test_an_interrupt_fails_the_job_and_goes_on(service: LocalCodePipeline) -> None:
    """Ctrl-C in the handler is reported to the customer, and then raised."""

    def handle(_job: AnyJob) -> Succeeded:
        raise KeyboardInterrupt

    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    offer = ThirdPartyJob(client_id=CLIENT_ID, job_id=action.jobs[0].id)
    with pytest.raises(KeyboardInterrupt):
        _processor(service, handle).process(offer)
    assert isinstance(action.result, FailureDetails)
    assert action.result.type is FailureType.SYSTEM_UNAVAILABLE


def test_its_clients_are_made_once(service: LocalCodePipeline) -> None:
    """A second job uses the clients of the first: one to read and one to report."""
    made: list[Any] = []

    def connect() -> Any:
        made.append(service.client())
        return made[-1]

    processor: JobProcessor[Any] = JobProcessor(connect, succeed, client_tokens=TOKENS)
    assert made == []
    outcomes: list[Outcome] = [processor.process(_offer(service)) for _ in range(2)]
    assert [type(outcome) for outcome in outcomes] == [Reported, Reported]
    assert len(made) == 2


class _Connect:
    """Creates clients; its first calls, after a number of good ones, hang until the test ends."""

    def __init__(self, service: LocalCodePipeline, *, good: int = 0, hanging: int = 1) -> None:
        self.service = service
        self.calls = itertools.count(-good)
        self.hanging = hanging
        self.release = threading.Event()
        self.created: list[ThirdPartyJobClient] = []

    def __call__(self) -> ThirdPartyJobClient:
        """Create a client."""
        if 0 <= next(self.calls) < self.hanging:
            self.release.wait(60)
        self.created.append(self.service.client())
        return self.created[-1]


@pytest.fixture
def hanging(service: LocalCodePipeline) -> Generator[_Connect, None, None]:
    """Create a `connect` whose first call hangs, and let it return at the end."""
    connect = _Connect(service)
    yield connect
    connect.release.set()


def _process(processor: JobProcessor[Any], offer: ThirdPartyJob, seconds: float) -> None:
    processor.process(offer, seconds_left=seconds)


def _poll(processor: JobProcessor[Any], _offer: ThirdPartyJob, seconds: float) -> None:
    list(processor.poll(ACTION_TYPE, seconds_left=seconds))


def _process_async(processor: JobProcessor[Any], offer: ThirdPartyJob, seconds: float) -> None:
    asyncio.run(processor.process_async(offer, seconds_left=seconds))


async def _read_all(outcomes: AsyncIterator[Outcome]) -> list[Outcome]:
    return [outcome async for outcome in outcomes]


def _poll_async(processor: JobProcessor[Any], _offer: ThirdPartyJob, seconds: float) -> None:
    asyncio.run(_read_all(processor.poll_async(ACTION_TYPE, seconds_left=seconds)))


@pytest.mark.parametrize("use", [_process, _poll, _process_async, _poll_async])
def test_a_connect_that_hangs_ends_before_the_process(
    use: Callable[[JobProcessor[Any], ThirdPartyJob, float], None], service: LocalCodePipeline, hanging: _Connect
) -> None:
    """The job is not claimed.  The next call does not wait for the first one."""
    processor: JobProcessor[Any] = JobProcessor(hanging, succeed, client_tokens=TOKENS)
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    offer = ThirdPartyJob(client_id=CLIENT_ID, job_id=action.jobs[0].id)
    began_at = time.monotonic()
    with pytest.raises(TransportError, match="connect has not returned in time") as caught:
        use(processor, offer, 2.0)
    assert 1 < time.monotonic() - began_at < 30
    assert (caught.value.delivery, caught.value.is_retry_safe) == (Delivery.NOT_SENT, True)
    assert service.requests == ()
    use(processor, offer, 60.0)
    assert action.status == "Succeeded"


def test_a_connect_that_hangs_at_a_reconnect_ends_before_the_process(service: LocalCodePipeline) -> None:
    """The clients that AWS has refused are used again afterwards."""
    connect = _Connect(service, good=2)
    processor: JobProcessor[Any] = JobProcessor(connect, succeed, client_tokens=TOKENS)
    service.faults.add("PollForThirdPartyJobs", ExpiredCredentials())
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    with pytest.raises(CredentialsError):
        list(processor.poll(ACTION_TYPE, seconds_left=60))
    began_at = time.monotonic()
    with pytest.raises(TransportError, match="connect has not returned in time"):
        list(processor.poll(ACTION_TYPE, seconds_left=2))
    assert 1 < time.monotonic() - began_at < 30
    list(processor.poll(ACTION_TYPE, seconds_left=60))
    assert action.status == "Succeeded"
    connect.release.set()


def test_clients_that_a_late_connect_creates_are_not_used(service: LocalCodePipeline, hanging: _Connect) -> None:
    """If two calls hang, the third one creates the clients."""
    hanging.hanging = 2
    processor: JobProcessor[Any] = JobProcessor(hanging, succeed, client_tokens=TOKENS)
    offer = _offer(service)
    for _ in range(2):
        with pytest.raises(TransportError, match="connect has not returned in time"):
            processor.process(offer, seconds_left=1)
    assert processor.process(offer, seconds_left=60) == Reported(job=offer, result=Succeeded())
    used = processor._clients
    hanging.release.set()
    until(lambda: len(hanging.created) == 6)  # three calls create two clients each
    assert processor._clients is used


def test_a_second_thread_keeps_its_time_while_connect_hangs(service: LocalCodePipeline, hanging: _Connect) -> None:
    """The first thread has no limit, and only one thread at a time calls `connect`."""
    processor: JobProcessor[Any] = JobProcessor(hanging, succeed, client_tokens=TOKENS)
    first, second = _offer(service), _offer(service)
    outcomes: list[Outcome] = []
    thread = threading.Thread(target=lambda: outcomes.append(processor.process(first)))
    thread.start()
    until(lambda: repr(hanging.calls) != "count(0)")
    with pytest.raises(TransportError, match="connect has not returned in time"):
        processor.process(second, seconds_left=1)
    hanging.release.set()
    assert processor.process(second, seconds_left=60) == Reported(job=second, result=Succeeded())
    thread.join()
    assert outcomes == [Reported(job=first, result=Succeeded())]


def test_a_job_without_time_is_handed_back_although_there_are_no_clients(service: LocalCodePipeline) -> None:
    """`connect` has half a second for it."""
    offer = _offer(service)
    assert isinstance(_processor(service).process(offer, seconds_left=0), HandedBack)


_EXPIRED = {
    "poll": "PollForThirdPartyJobs",
    "read": "GetThirdPartyJobDetails",
    "claim": "AcknowledgeThirdPartyJob",
    "report": "PutThirdPartyJobSuccessResult",
}


@pytest.mark.parametrize("operation_name", _EXPIRED.values(), ids=_EXPIRED)
def test_rotated_keys_need_no_new_processor(service: LocalCodePipeline, operation_name: str) -> None:
    """After AWS has refused the credentials, new clients load the new ones, whichever call was refused."""
    made: list[int] = []

    class OldKeys:
        """AWS refuses the calls of the first two clients."""

        def play(self, serve: Callable[[], Response]) -> Response:
            return ExpiredCredentials().play(serve) if len(made) <= 2 else serve()

    def connect() -> ThirdPartyJobClient:
        made.append(1)
        return service.client()

    service.faults.add(operation_name, OldKeys(), times=None)
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    processor: JobProcessor[Any] = JobProcessor(connect, succeed, client_tokens=TOKENS)
    if operation_name == _EXPIRED["poll"]:
        with pytest.raises(CredentialsError):
            list(processor.poll(ACTION_TYPE))
        assert len(made) == 2  # `connect` may take longer than the time that is left
        list(processor.poll(ACTION_TYPE))
    else:
        offer = ThirdPartyJob(client_id=CLIENT_ID, job_id=action.jobs[0].id)
        outcomes = [processor.process(offer) for _ in range(1 if operation_name == _EXPIRED["report"] else 2)]
        assert isinstance(outcomes[-1], Reported)
    assert action.status == "Succeeded"
    assert len(made) == 4


@pytest.mark.parametrize("code", ["ActionTypeNotFoundException", "ThrottlingException"])
def test_other_errors_of_a_poll_keep_the_clients(service: LocalCodePipeline, code: str) -> None:
    """New clients would not help."""
    made: list[int] = []

    def connect() -> ThirdPartyJobClient:
        made.append(1)
        return service.client()

    service.faults.add("PollForThirdPartyJobs", _instead(code), times=None)
    processor: JobProcessor[Any] = JobProcessor(connect, succeed, client_tokens=TOKENS)
    with pytest.raises(ThirdPartyError):
        list(processor.poll(ACTION_TYPE))
    assert len(made) == 2


def test_it_emits_its_events(service: LocalCodePipeline) -> None:
    """The hook gets what a worker's gets."""
    events: list[JobEvent] = []
    _processor(service, lambda _: None, on_event=events.append).process(_offer(service))
    assert [event.name for event in events] == ["claimed", "handler_failed", "reported"]
