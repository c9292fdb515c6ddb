"""Hooks of the partner's botocore client that raise: they change nothing about the job's end."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.client import BaseClient
from support.worker_service import ACTION_TYPE, CLIENT_ID, CLIENT_TOKEN, TOKENS, claim, succeed, until

from cp_thirdparty import JobWorker, ThirdPartyJobClient
from cp_thirdparty.exceptions import InvalidNonceException, InvalidRequestError, TransportError
from cp_thirdparty.testing import LocalCodePipeline
from cp_thirdparty.worker import JobEvent, LostRace, MemoryJournal, Rejected, _steps

_POLL = "PollForThirdPartyJobs"
_DETAILS = "GetThirdPartyJobDetails"
_ACKNOWLEDGE = "AcknowledgeThirdPartyJob"
_SUCCESS = "PutThirdPartyJobSuccessResult"
_OPERATIONS = (_POLL, _DETAILS, _ACKNOWLEDGE, _SUCCESS)

_BEFORE = ("provide-client-params", "before-parameter-build", "before-call", "request-created", "before-sign")
_AFTER = ("response-received", "before-parse", "needs-retry", "after-call")
_EVENTS = (*_BEFORE, "before-send", *_AFTER)

# Seconds after which a worker that has reported nothing is stopped.
_PATIENCE = 20.0

_ENDS = ("reported", "gone", "rejected", "unsent", "lost_race", "handed_back", "uncertain")

Hook = Callable[..., None]


@pytest.fixture
def service() -> Iterator[LocalCodePipeline]:
    """Give a running service with one customer."""
    with LocalCodePipeline(redelivery_delay=0.2) as made:
        made.register_client(CLIENT_ID, CLIENT_TOKEN)
        yield made


class Once:
    """A hook that raises in its first call."""

    def __init__(self, error: BaseException, before: Callable[[], object] = lambda: None) -> None:
        self.calls = 0
        self._error = error
        self._before = before

    def __call__(self, **_: Any) -> None:
        """Raise in the first call."""
        self.calls += 1
        if self.calls == 1:
            self._before()
            raise self._error


def _connect(service: LocalCodePipeline, event: str, operation: str, hook: Hook) -> Callable[[], ThirdPartyJobClient]:
    def connect() -> ThirdPartyJobClient:
        client = service.client()
        client._client.meta.events.register_first(f"{event}.codepipeline.{operation}", hook)
        return client

    return connect


def _run_until_reported(connect: Callable[[], ThirdPartyJobClient], **settings: Any) -> list[str]:
    """Run a worker until it has reported a job; return how each job ended, with the kind of a result."""
    ends: list[str] = []
    worker: JobWorker[Any]

    def note(event: JobEvent) -> None:
        if event.name in _ENDS:
            ends.append(f"{event.name} {event.detail}")
        if event.name == "reported":
            worker.stop()

    worker = JobWorker(
        connect, ACTION_TYPE, succeed, client_tokens=TOKENS, poll_interval=0.05, on_event=note, **settings
    )
    # A job that is lost is never reported.
    timer = threading.Timer(_PATIENCE, worker.stop)
    timer.start()
    try:
        worker.run()
    finally:
        timer.cancel()
    return ends


@pytest.mark.slow
@pytest.mark.parametrize("operation", _OPERATIONS)
@pytest.mark.parametrize("event", _EVENTS)
def test_a_hook_that_raises_once_costs_no_job(
    event: str, operation: str, service: LocalCodePipeline, caplog: pytest.LogCaptureFixture
) -> None:
    """Wherever it raises, the job is run once and has its one result; the log has the hook's error without its text."""
    hook = Once(ValueError(CLIENT_TOKEN))
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    journal = MemoryJournal()
    ends = _run_until_reported(_connect(service, event, operation, hook), journal=journal)
    assert ends[-1].startswith("reported Succeeded")
    # A job whose details could not be read is not acknowledged; CodePipeline offers it again.
    assert [end for end in ends[:-1] if operation != _DETAILS or "its details could not be read" not in end] == []
    assert action.status == "Succeeded"
    assert sum(request.operation_name == _SUCCESS for request in service.requests) <= 2
    assert [entry for entry in journal.jobs() if entry.outcome != "reported"] == []
    assert hook.calls >= 1
    assert "a hook or a log handler raised ValueError at __call__:" in caplog.text
    assert CLIENT_TOKEN not in caplog.text


def test_a_refusal_that_a_hook_hides_is_a_lost_race(service: LocalCodePipeline) -> None:
    """Another worker has the job, and a hook raises on CodePipeline's refusal: the job is not run."""
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    hook = Once(ValueError())
    with service.client() as other:

        def take(**_: Any) -> None:
            if not hook.calls:  # the first attempt
                claim(other, action.jobs[0].id)

        def connect() -> ThirdPartyJobClient:
            client = _connect(service, "response-received", _ACKNOWLEDGE, hook)()
            client._client.meta.events.register_first(f"before-call.codepipeline.{_ACKNOWLEDGE}", take)
            return client

        def handle(_: Any) -> Any:
            pytest.fail("it ran")

        (outcome,) = JobWorker(connect, ACTION_TYPE, handle, client_tokens=TOKENS).run_once()
    assert isinstance(outcome, LostRace)
    assert hook.calls >= 1


def test_an_error_of_another_client_in_a_hook_is_not_this_calls(service: LocalCodePipeline) -> None:
    """A hook's own client raises the errors that end a claim: the claim goes on."""
    for error in (
        InvalidNonceException("", code="InvalidNonceException", operation_name=_ACKNOWLEDGE, job_id="job-1"),
        InvalidRequestError("client_token", "must not be empty", operation_name=_DETAILS),
    ):
        hook = Once(error)
        action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
        ends = _run_until_reported(_connect(service, "after-call", _ACKNOWLEDGE, hook))
        assert ends == ["reported Succeeded"]
        assert (action.status, hook.calls) == ("Succeeded", 1)


@pytest.mark.parametrize("operation", _OPERATIONS)
def test_a_tracer_that_raises_once_costs_no_job(
    operation: str, service: LocalCodePipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrapper of botocore's calls raises after a call that CodePipeline has served."""
    original = BaseClient._make_api_call  # type: ignore[attr-defined]
    raised: list[str] = []

    def trace(self: Any, operation_name: str, parameters: Any) -> Any:
        response = original(self, operation_name, parameters)
        if operation_name == operation and not raised:
            raised.append(operation_name)
            raise ZeroDivisionError
        return response

    monkeypatch.setattr(BaseClient, "_make_api_call", trace)
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    assert _run_until_reported(service.client) == ["reported Succeeded"]
    assert (action.status, raised) == ("Succeeded", [operation])


class _Subclass(ThirdPartyJobClient):
    """A client of the partner's, which raises once after an acknowledgement."""

    raised = 0

    def acknowledge_third_party_job(self, *args: Any, **parameters: Any) -> Any:
        """Acknowledge, and raise."""
        status = super().acknowledge_third_party_job(*args, **parameters)
        type(self).raised += 1
        if self.raised == 1:
            raise ZeroDivisionError
        return status


def test_what_a_subclass_raises_leaves_the_outcome_unknown(
    service: LocalCodePipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing was observed of that exception, so the job may be ours: the worker asks again."""
    monkeypatch.setattr(_Subclass, "raised", 0)
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)

    def connect() -> ThirdPartyJobClient:
        client = service.client()
        client.__class__ = _Subclass
        return client

    assert _run_until_reported(connect) == ["reported Succeeded"]
    assert (action.status, _Subclass.raised) == ("Succeeded", 1)
    assert sum(request.operation_name == _ACKNOWLEDGE for request in service.requests) == 2


def test_a_hook_that_always_raises_rejects_the_job(service: LocalCodePipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the acknowledgement is ever sent: the job is left to CodePipeline."""
    monkeypatch.setattr(_steps, "_CLAIM_SECONDS", 0.05)

    def hook(**_: Any) -> None:
        raise ValueError

    service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    connect = _connect(service, "before-send", _ACKNOWLEDGE, hook)
    (outcome,) = JobWorker(connect, ACTION_TYPE, succeed, client_tokens=TOKENS).run_once()
    assert outcome == Rejected(job=outcome.job, reason="it could not be acknowledged", error="TransportError")


@pytest.mark.parametrize("name", ["botocore.hooks", "botocore.endpoint", "botocore.auth"])
def test_a_log_handler_of_botocore_that_raises_is_named(
    name: str, service: LocalCodePipeline, caplog: pytest.LogCaptureFixture
) -> None:
    """A call logs in its thread with the loggers of botocore, so a handler that raises there ends the call."""
    once = Once(RuntimeError(CLIENT_TOKEN))

    class Raising(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:  # noqa: ARG002 - it only raises
            once()

    handler, logger = Raising(logging.DEBUG), logging.getLogger(name)
    level = logger.level
    worker = JobWorker(service.client, ACTION_TYPE, succeed, client_tokens=TOKENS)
    worker.run_once()  # creates the clients
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        with pytest.raises(TransportError, match="a hook or a log handler raised RuntimeError"):
            worker.run_once()
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
    assert "a hook or a log handler raised RuntimeError at __call__:" in caplog.text
    assert CLIENT_TOKEN not in caplog.text
    worker.run_once()
    assert action.status == "Succeeded"
    worker.close()


def test_a_hook_that_raises_before_the_only_poll_is_an_error(service: LocalCodePipeline) -> None:
    """`run_once` has no next poll, so it raises an error that names the hook's."""
    connect = _connect(service, "before-send", _POLL, Once(ValueError()))
    with pytest.raises(TransportError, match="a hook or a log handler raised ValueError"):
        JobWorker(connect, ACTION_TYPE, succeed, client_tokens=TOKENS).run_once()


@pytest.mark.parametrize("parameter", ["client_token", "client", "region_name", "proxies"])
def test_a_setting_of_ours_keeps_the_result(parameter: str, service: LocalCodePipeline) -> None:
    """A request that cannot be made because of a setting leaves the result as it is, and it is put again."""
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    refused: list[str] = []

    class Client(ThirdPartyJobClient):
        def put_third_party_job_success_result(self, *args: Any, **parameters: Any) -> None:
            if not refused:
                refused.append(parameter)
                raise InvalidRequestError(parameter, "is wrong", operation_name=_SUCCESS)
            super().put_third_party_job_success_result(*args, **parameters)

    def connect() -> ThirdPartyJobClient:
        client = service.client()
        client.__class__ = Client
        return client

    assert _run_until_reported(connect) == ["reported Succeeded"]
    until(lambda: action.status == "Succeeded")


@pytest.mark.parametrize("parameter", ["continuation_token", "current_revision", "execution_details"])
def test_a_part_of_the_result_that_is_refused_fails_the_job(parameter: str, service: LocalCodePipeline) -> None:
    """A result that cannot be sent as it is must not let the job hang."""
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)

    class Client(ThirdPartyJobClient):
        def put_third_party_job_success_result(self, *_: Any, **__: Any) -> None:
            raise InvalidRequestError(parameter, "is wrong", operation_name=_SUCCESS)

    def connect() -> ThirdPartyJobClient:
        client = service.client()
        client.__class__ = Client
        return client

    assert _run_until_reported(connect) == ["reported FailureDetails"]
    until(lambda: action.status == "Failed")
