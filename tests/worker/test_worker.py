"""`JobWorker` on the local CodePipeline: each job ends in one accepted result, whatever goes wrong on the way."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import attrs
import pytest
from support.worker_service import (
    ACTION_TYPE,
    CLIENT_ID,
    CLIENT_TOKEN,
    AnyJob,
    Before,
    Instead,
    claim,
    make_worker,
    running,
    scope_of,
    succeed,
    until,
)

from cp_thirdparty import (
    ActionTypeId,
    ArtifactCredentials,
    Continued,
    CurrentRevision,
    CustomJob,
    ExecutionDetails,
    FailureDetails,
    FailureType,
    Job,
    JobFailedError,
    JobWorker,
    SecretStr,
    Succeeded,
    ThirdPartyJob,
    ThirdPartyJobClient,
)
from cp_thirdparty.exceptions import (
    AccessDeniedError,
    ActionTypeNotFoundException,
    InvalidRequestError,
    JournalError,
    ServiceError,
)
from cp_thirdparty.testing import LocalCodePipeline, ManualClock, Success
from cp_thirdparty.testing._wire import error_response, ok_response
from cp_thirdparty.testing.faults import (
    ExpiredCredentials,
    HtmlPage,
    LostAnswer,
    ServerError,
    Throttling,
    TruncatedBody,
)
from cp_thirdparty.worker import (
    Gone,
    HandedBack,
    JobEvent,
    JobScope,
    LostRace,
    MemoryJournal,
    Rejected,
    Released,
    Reported,
    Uncertain,
    Unsent,
    _loop,
    _poller,
    _recovery,
    _steps,
)

_POLL = "PollForThirdPartyJobs"
_ACKNOWLEDGE = "AcknowledgeThirdPartyJob"
_SUCCESS = "PutThirdPartyJobSuccessResult"
_FAILURE = "PutThirdPartyJobFailureResult"


@pytest.fixture
def service() -> Iterator[LocalCodePipeline]:
    """Give a running service with one customer, which offers jobs again and goes on with actions at once."""
    with LocalCodePipeline(redelivery_delay=0.2, continuation_delay=0.0) as made:
        made.register_client(CLIENT_ID, CLIENT_TOKEN)
        yield made


def _after(event: threading.Event) -> Callable[[AnyJob], Succeeded]:
    """Make a handler that waits for something."""

    def handle(_job: AnyJob) -> Succeeded:
        assert event.wait(30)
        return Succeeded()

    return handle


# --- what a handler may do


def test_a_success_is_reported(service: LocalCodePipeline) -> None:
    """All that the handler gives back reaches the service."""
    result = Succeeded(
        current_revision=CurrentRevision(revision="r", change_identifier="c"),
        execution_details=ExecutionDetails(summary="fine", percent_complete=100),
    )
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    (outcome,) = make_worker(service, lambda _: result).run_once()
    assert outcome == Reported(job=outcome.job, result=result)
    assert action.status == "Succeeded"
    assert action.result == Success(
        current_revision=result.current_revision, execution_details=result.execution_details, continuation_token=None
    )


def test_a_continuation_goes_on_with_a_new_job(service: LocalCodePipeline) -> None:
    """A token ends the job and comes with the next one, until there is none."""
    seen: list[str | None] = []

    def handle(job: AnyJob) -> Succeeded | Continued:
        seen.append(job.continuation_token)
        return Succeeded() if len(seen) == 3 else Continued(continuation_token=f"step {len(seen)}")

    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    with running(make_worker(service, handle)):
        until(lambda: action.status == "Succeeded")
    assert seen == [None, "step 1", "step 2"]
    assert len({job.id for job in action.jobs}) == 3


def test_a_failure_is_reported_in_the_partners_words(service: LocalCodePipeline) -> None:
    """``JobFailedError`` carries type, message and id."""

    def handle(_job: AnyJob) -> Succeeded:
        raise JobFailedError(FailureType.PERMISSION_ERROR, "no rights", "run 1")

    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    make_worker(service, handle).run_once()
    assert action.result == FailureDetails(
        type=FailureType.PERMISSION_ERROR, message="no rights", external_execution_id="run 1"
    )


def test_an_async_handler_is_awaited(service: LocalCodePipeline) -> None:
    """An ``async def`` is a handler, too, and what it raises is a failure."""

    async def handle(job: AnyJob) -> Succeeded:
        if job.details.data.action_configuration is None:
            raise JobFailedError(FailureType.JOB_FAILED, "nothing to do")
        return Succeeded()

    good = service.start_action(ACTION_TYPE, client_id=CLIENT_ID, configuration={"A": "b"})
    bad = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    make_worker(service, handle).run_once()
    assert (good.status, bad.status) == ("Succeeded", "Failed")


@pytest.mark.parametrize(
    "failure",
    [ValueError(CLIENT_TOKEN), SystemExit(CLIENT_TOKEN), ValueError(), InvalidRequestError("a", "b")],
    ids=repr,
)
def test_what_a_handler_raises_is_a_failure_without_its_message(
    service: LocalCodePipeline, failure: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    """The customer reads the type of the error and the job's id; the log has the way to it; nobody gets its text."""

    def handle(_job: AnyJob) -> Succeeded:
        raise failure

    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    (outcome,) = make_worker(service, handle).run_once()
    assert action.result == FailureDetails(
        type=FailureType.JOB_FAILED,
        message=f"The action's worker failed with {type(failure).__name__} (job {outcome.job.job_id}).",
    )
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "test_worker.py" in record.getMessage()
    assert " handle" in record.getMessage()
    assert CLIENT_TOKEN not in caplog.text


@pytest.mark.parametrize("returned", [None, "done", FailureType.JOB_FAILED, Succeeded], ids=repr)
def test_a_handler_without_a_result_has_failed(service: LocalCodePipeline, returned: Any) -> None:
    """Only a ``Succeeded``, a ``Continued`` or a ``FailureDetails`` is a result."""
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    (outcome,) = make_worker(service, lambda _: returned).run_once()
    assert isinstance(action.result, FailureDetails)
    assert action.result.message == f"The action's worker returned no valid result (job {outcome.job.job_id})."


@attrs.frozen
class _Configuration:
    project_name: str
    api_key: SecretStr
    timeout_minutes: int = 30


def test_the_configuration_is_the_partners_class(service: LocalCodePipeline) -> None:
    """The handler gets what the customer has entered, typed."""
    seen: list[_Configuration] = []

    def handle(job: Job[_Configuration]) -> Succeeded:
        seen.append(job.configuration)
        return Succeeded()

    configuration = {"ProjectName": "demo", "ApiKey": "xMARKERx", "TimeoutMinutes": "45"}
    service.start_action(ACTION_TYPE, client_id=CLIENT_ID, configuration=configuration)
    make_worker(service, handle, configuration=_Configuration).run_once()
    assert seen == [_Configuration("demo", SecretStr("xMARKERx"), 45)]


def test_a_configuration_that_does_not_fit_fails_its_job(service: LocalCodePipeline) -> None:
    """The customer reads every problem by key, and no value; the handler is not run."""
    configuration = {"ApiKey": "xMARKERx", "TimeoutMinutes": "xMARKERx"}
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID, configuration=configuration)
    make_worker(service, lambda _: pytest.fail("it ran"), configuration=_Configuration).run_once()
    assert isinstance(action.result, FailureDetails)
    assert action.result.type is FailureType.CONFIGURATION_ERROR
    assert "ProjectName" in action.result.message
    assert "TimeoutMinutes" in action.result.message
    assert "xMARKERx" not in action.result.message


def test_a_job_without_credentials_has_no_artifacts(service: LocalCodePipeline) -> None:
    """The customer reads that the job has no credentials; those of the machine are not used."""

    def handle(job: AnyJob) -> Succeeded:
        job.artifacts.download("MyApp", to=job.workspace / "MyApp.zip")
        return Succeeded()

    nobody = ArtifactCredentials(access_key_id=None, secret_access_key=None, session_token=None)
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID, artifact_credentials=nobody)
    (outcome,) = make_worker(service, handle).run_once()
    assert action.result == FailureDetails(
        type=FailureType.PERMISSION_ERROR,
        message="The artifact credentials lack access_key_id, secret_access_key, session_token "
        f"(job {outcome.job.job_id}).",
    )


def test_an_artifact_that_the_job_has_not_fails_it(service: LocalCodePipeline) -> None:
    """The customer reads which artifact is missing; nothing is sent to S3."""

    def handle(job: AnyJob) -> Succeeded:
        job.artifacts.download("MyApp", to=job.workspace / "MyApp.zip")
        return Succeeded()

    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    (outcome,) = make_worker(service, handle).run_once()
    assert action.result == FailureDetails(
        type=FailureType.CONFIGURATION_ERROR,
        message=f"The job has no input artifact 'MyApp'; it has none (job {outcome.job.job_id}).",
    )


def test_the_artifacts_are_made_with_the_jobs_token(service: LocalCodePipeline) -> None:
    """The factory gets client, details and token, and the store is closed after the handler."""
    made: list[tuple[Any, ...]] = []

    class Store:
        def close(self) -> None:
            made.append(("closed",))

    def factory(client: ThirdPartyJobClient, details: Any, *, client_token: SecretStr) -> Any:
        made.append((type(client), details.id, client_token))
        return Store()

    def handle(job: AnyJob) -> Succeeded:
        assert isinstance(job.artifacts, Store)
        return Succeeded()

    service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    (outcome,) = make_worker(service, handle, artifacts=factory).run_once()
    assert made == [(ThirdPartyJobClient, outcome.job.job_id, SecretStr(CLIENT_TOKEN)), ("closed",)]


_Store = SimpleNamespace


def _open_without_bounds(_client: object, _details: object, *, client_token: object) -> _Store:
    assert client_token
    return _Store(close=list, bounds={})


def _open(
    _client: object, _details: object, *, client_token: object, deadline: Any = None, is_cancelled: Any = None
) -> _Store:
    assert client_token
    return _Store(close=list, bounds={"deadline": deadline, "is_cancelled": is_cancelled})


class _Opener:
    __signature__ = "of another kind"

    def __call__(self, *_: object, **settings: object) -> _Store:
        return _Store(close=list, bounds={name: each for name, each in settings.items() if name != "client_token"})


@pytest.mark.parametrize(
    ("factory", "names"),
    [
        (_open, {"deadline", "is_cancelled"}),
        (partial(_open, deadline=1.0), {"is_cancelled"}),
        (_open_without_bounds, set()),
        (_Opener(), set()),
    ],
    ids=["both", "one", "none", "unknown"],
)
def test_transfers_end_with_the_job(service: LocalCodePipeline, factory: Callable[..., Any], names: set[str]) -> None:
    """A factory that takes the deadline and the cancellation of the job gets them, unless it has its own."""
    seen: list[dict[str, Any]] = []

    def handle(job: AnyJob) -> Succeeded:
        bounds: dict[str, Any] = cast("Any", job.artifacts).bounds
        seen.append(bounds)
        if "deadline" in names:
            assert bounds["deadline"] == pytest.approx(job.deadline, abs=60)
        if "is_cancelled" in names:
            assert bounds["is_cancelled"]() is job.cancelled is False
        return Succeeded()

    service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    (outcome,) = make_worker(service, handle, artifacts=factory).run_once()
    assert isinstance(outcome, Reported)
    assert isinstance(outcome.result, Succeeded)
    assert {name for name, each in seen[0].items() if each not in (None, 1.0)} == names


def test_a_start_removes_what_dead_workers_have_left(
    service: LocalCodePipeline, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A handler that hangs keeps its workspace until its process ends."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "cp-thirdparty-tmp-1-dead" / "workspace").mkdir(parents=True)
    (tmp_path / "cp-thirdparty-tmp-1-dead" / ".cp-thirdparty-tmp").touch()
    caplog.set_level(logging.INFO, "cp_thirdparty.worker")
    worker = make_worker(service)
    worker.run_once()
    assert (list(tmp_path.iterdir()), caplog.text) == ([], "")  # a run of one poll is not logged
    (tmp_path / "cp-thirdparty-tmp-1-dead" / "workspace").mkdir(parents=True)
    (tmp_path / "cp-thirdparty-tmp-1-dead" / ".cp-thirdparty-tmp").touch()
    with running(worker):
        until(lambda: "removed 1 temporary directories of processes that have ended" in caplog.text)
    assert list(tmp_path.iterdir()) == []


# --- jobs that are not this worker's


@pytest.mark.parametrize(
    ("tokens", "reason", "error"),
    [
        ({}, "no client token", None),
        ({"client-2": "another"}, "CodePipeline refuses its client token", "InvalidClientTokenException"),
        ({"client-2": ""}, "its client token or id breaks a rule", "InvalidRequestError"),
        ({"client-2": "x" * 257}, "its client token or id breaks a rule", "InvalidRequestError"),
    ],
)
def test_a_bad_token_costs_that_job_only(
    service: LocalCodePipeline, tokens: dict[str, str], reason: str, error: str | None
) -> None:
    """A client without a good token is rejected, and the other jobs of the batch are done."""
    service.register_client("client-2", "the right one")
    bad = service.start_action(ACTION_TYPE, client_id="client-2")
    good = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    outcomes = make_worker(service, client_tokens={CLIENT_ID: CLIENT_TOKEN, **tokens}).run_once()
    rejected = [outcome for outcome in outcomes if isinstance(outcome, Rejected)]
    assert [(outcome.reason, outcome.error) for outcome in rejected] == [(reason, error)]
    assert (bad.status, good.status) == ("Dispatched", "Succeeded")


def test_a_look_up_that_raises_costs_that_job_only(service: LocalCodePipeline) -> None:
    """The partner's own error is reported by its type."""

    def look_up(_client_id: str) -> str:
        raise ConnectionError(CLIENT_TOKEN)

    service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    (outcome,) = make_worker(service, client_tokens=look_up).run_once()
    assert outcome == Rejected(
        job=outcome.job, reason="its client token could not be looked up", error="ConnectionError"
    )


class _Rotated:
    """A store of tokens that has an old one until it is refreshed."""

    def __init__(self) -> None:
        self.fresh: str | None = CLIENT_TOKEN
        self.refreshed = 0

    def __call__(self, _client_id: str) -> str | None:
        return self.fresh if self.refreshed else "old"

    def refresh(self, _client_id: str) -> None:
        self.refreshed += 1


def test_a_token_that_was_changed_is_fetched_again(service: LocalCodePipeline) -> None:
    """A store that can refresh is asked once, and the job is done."""
    tokens = _Rotated()
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    make_worker(service, client_tokens=tokens).run_once()
    assert (action.status, tokens.refreshed) == ("Succeeded", 1)


def test_a_token_that_is_gone_after_the_refresh_rejects_the_job(service: LocalCodePipeline) -> None:
    """Without a new token there is nothing to read the job with."""
    tokens = _Rotated()
    tokens.fresh = None
    service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    (outcome,) = make_worker(service, client_tokens=tokens).run_once()
    assert outcome == Rejected(job=outcome.job, reason="no client token")


def test_a_lost_race_is_not_a_failure(service: LocalCodePipeline) -> None:
    """Who comes second reports nothing and does not run its handler."""
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    (job,) = action.jobs
    with service.client() as other:
        service.faults.add(_ACKNOWLEDGE, Before(lambda: claim(other, job.id)))
        (outcome,) = make_worker(service, lambda _: pytest.fail("it ran")).run_once()
    assert outcome == LostRace(job=ThirdPartyJob(client_id=CLIENT_ID, job_id=job.id))
    assert (action.status, action.result) == ("InProgress", None)


def test_a_job_that_another_worker_of_the_journal_has_is_left_to_it(service: LocalCodePipeline) -> None:
    """Two workers with one journal do not ask the service who has a job."""
    journal = MemoryJournal()
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    offer = ThirdPartyJob(client_id=CLIENT_ID, job_id=action.jobs[0].id)
    with service.client() as client:
        journal.claim(offer, scope_of(client))
    assert make_worker(service, journal=journal).run_once() == (LostRace(job=offer),)
    assert action.status == "Dispatched"


def test_a_lost_race_after_throttling_is_a_lost_race(service: LocalCodePipeline) -> None:
    """A refused attempt was not ours, so the nonce that is invalid afterwards is another worker's doing."""
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    (job,) = action.jobs
    with service.client() as other:
        service.faults.add(_ACKNOWLEDGE, Throttling())
        service.faults.add(_ACKNOWLEDGE, Before(lambda: claim(other, job.id)))
        (outcome,) = make_worker(service, lambda _: pytest.fail("it ran")).run_once()
    assert isinstance(outcome, LostRace)
    assert action.status == "InProgress"


def test_a_claim_whose_response_got_lost_is_ours(service: LocalCodePipeline) -> None:
    """After a lost response an invalid nonce shows that the first attempt was accepted."""
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    service.faults.add(_ACKNOWLEDGE, LostAnswer())
    (outcome,) = make_worker(service).run_once()
    assert isinstance(outcome, Reported)
    assert action.status == "Succeeded"


@pytest.mark.parametrize("fault", [Throttling(), ServerError(), HtmlPage(), TruncatedBody(), LostAnswer()], ids=repr)
def test_an_acknowledgement_is_tried_again(service: LocalCodePipeline, fault: Any) -> None:
    """What goes wrong twice on the way costs no job."""
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    service.faults.add(_ACKNOWLEDGE, fault, times=2)
    make_worker(service).run_once()
    assert action.status == "Succeeded"


def test_a_claim_without_a_response_is_uncertain(
    service: LocalCodePipeline, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """When no response comes in time, the job stays in the journal and is reported; its handler is not run."""
    monkeypatch.setattr(_steps, "_CLAIM_SECONDS", 0.05)
    journal = MemoryJournal()
    service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    service.faults.add(_ACKNOWLEDGE, ServerError(), times=None)
    (outcome,) = make_worker(service, lambda _: pytest.fail("it ran"), journal=journal).run_once()
    assert outcome == Uncertain(job=outcome.job)
    assert [entry.state.value for entry in journal.jobs()] == ["UNCERTAIN"]
    assert "uncertain job=" in caplog.text


def test_a_claim_that_is_refused_rejects_the_job(service: LocalCodePipeline) -> None:
    """An acknowledgement that nobody accepted leaves the job to the service, and nothing in the journal."""
    journal = MemoryJournal()
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    service.faults.add(_ACKNOWLEDGE, Instead(error_response("AccessDeniedException", "no")))
    (outcome,) = make_worker(service, journal=journal).run_once()
    assert outcome == Rejected(job=outcome.job, reason="it could not be acknowledged", error="AccessDeniedError")
    assert action.status == "Dispatched"
    assert list(journal.jobs()) == []


@pytest.mark.parametrize(
    ("response", "error"),
    [
        (ok_response({"status": "TimedOut"}), "TimedOut"),
        (ok_response({"status": "SomethingNew"}), "SomethingNew"),
        (error_response("JobNotFoundException", "no"), "JobNotFoundException"),
    ],
)
def test_only_a_job_in_progress_is_run(service: LocalCodePipeline, response: Any, error: str) -> None:
    """Any other result of the acknowledgement ends the job here."""
    service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    service.faults.add(_ACKNOWLEDGE, Instead(response))
    (outcome,) = make_worker(service, lambda _: pytest.fail("it ran")).run_once()
    assert outcome == Gone(job=outcome.job, error=error)


def test_an_acknowledgement_without_a_status_is_asked_for_again(service: LocalCodePipeline) -> None:
    """A response that cannot be decoded may have been an acceptance: the next one decides."""
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    service.faults.add(_ACKNOWLEDGE, Instead(ok_response({})))
    make_worker(service).run_once()
    assert action.status == "Succeeded"


def test_details_that_cannot_be_decoded_are_never_acknowledged(service: LocalCodePipeline) -> None:
    """The job is shown in health, and done when the service offers it again in good shape."""
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    (job,) = action.jobs
    service.faults.add("GetThirdPartyJobDetails", Instead(ok_response({"jobDetails": {"id": job.id}})))
    worker = make_worker(service)
    with running(worker):
        until(lambda: worker.health().undecodable == (job.id,))
        assert action.status == "Dispatched"
        until(lambda: action.status == "Succeeded")


def test_a_vanished_job_is_gone(service: LocalCodePipeline) -> None:
    """A job that is not there when its details are read costs no other."""
    service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    service.faults.add("GetThirdPartyJobDetails", Instead(error_response("JobNotFoundException", "no")))
    (outcome,) = make_worker(service).run_once()
    assert outcome == Gone(job=outcome.job, error="JobNotFoundException")


class _Doubling(ThirdPartyJobClient):
    def poll_for_third_party_jobs(self, *args: Any, **more: Any) -> tuple[ThirdPartyJob, ...]:
        return super().poll_for_third_party_jobs(*args, **more) * 2


def test_a_job_that_comes_twice_in_a_batch_is_done_once(service: LocalCodePipeline) -> None:
    """The second is dropped; what is too many for the slots is handed back."""

    def connect() -> ThirdPartyJobClient:
        made = service.client()
        made.__class__ = _Doubling
        return made

    hold = threading.Event()
    actions = [service.start_action(ACTION_TYPE, client_id=CLIENT_ID) for _ in range(2)]
    worker: JobWorker[Any] = JobWorker(
        connect,
        ACTION_TYPE,
        _after(hold),
        client_tokens={CLIENT_ID: CLIENT_TOKEN},
        concurrency=2,
    )
    threading.Timer(0.3, hold.set).start()
    outcomes = worker.run_once()
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Reported", "Reported"]
    assert [action.status for action in actions] == ["Succeeded", "Succeeded"]


# --- results that are hard to send


@pytest.mark.parametrize(
    "fault",
    [Throttling(), ServerError(), HtmlPage(), ExpiredCredentials(), LostAnswer(), TruncatedBody()],
    ids=lambda fault: type(fault).__name__,
)
@pytest.mark.parametrize("operation_name", [_SUCCESS, _FAILURE])
def test_a_result_is_put_until_it_is_accepted(service: LocalCodePipeline, operation_name: str, fault: Any) -> None:
    """Five failures in a row cost no result, and each is sent once only by botocore."""

    def handle(_job: AnyJob) -> Succeeded:
        if operation_name == _FAILURE:
            raise JobFailedError(FailureType.JOB_FAILED, "no")
        return Succeeded()

    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    service.faults.add(operation_name, fault, times=5)
    (outcome,) = make_worker(service, handle).run_once()
    assert isinstance(outcome, Reported)
    assert action.status == ("Failed" if operation_name == _FAILURE else "Succeeded")


def test_a_result_whose_response_got_lost_was_accepted(service: LocalCodePipeline) -> None:
    """What the service then calls an invalid state is our own result, reported as not confirmed."""
    service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    service.faults.add(_SUCCESS, LostAnswer())
    (outcome,) = make_worker(service).run_once()
    assert outcome == Reported(job=outcome.job, result=Succeeded(), is_confirmed=False)


@pytest.mark.parametrize("code", ["JobNotFoundException", "InvalidJobStateException"])
def test_a_result_that_nobody_wants_is_gone(service: LocalCodePipeline, code: str) -> None:
    """A first response that the job takes no result is final."""
    service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    service.faults.add(_SUCCESS, Instead(error_response(code, "no")))
    (outcome,) = make_worker(service).run_once()
    assert outcome == Gone(job=outcome.job, error=code)


def test_a_token_that_changes_before_the_result_is_fetched_again(service: LocalCodePipeline) -> None:
    """A result is put again with the new token."""
    tokens = _Rotated()
    tokens.refreshed = 1

    def handle(_job: AnyJob) -> Succeeded:
        service.register_client(CLIENT_ID, "new")
        tokens.fresh = "new" if tokens.refreshed > 1 else CLIENT_TOKEN
        return Succeeded()

    def fresh(_client_id: str) -> None:
        tokens.fresh = "new"

    tokens.refresh = fresh  # type: ignore[method-assign]
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    make_worker(service, handle, client_tokens=tokens).run_once()
    assert action.status == "Succeeded"


def test_a_token_that_is_gone_before_the_result_keeps_it(service: LocalCodePipeline) -> None:
    """The journal has the result until there is a token again."""
    tokens = _Rotated()
    tokens.refreshed = 1
    journal = MemoryJournal()

    def handle(_job: AnyJob) -> Succeeded:
        service.register_client(CLIENT_ID, "new")
        tokens.fresh = None
        return Succeeded()

    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    worker = make_worker(service, handle, client_tokens=tokens, journal=journal, grace=0.05)
    (outcome,) = worker.run_once()
    assert outcome == Unsent(job=outcome.job, result=Succeeded(), error="NoTokenError")
    tokens.fresh = "new"
    assert worker.run_once() == (Reported(job=outcome.job, result=Succeeded()),)
    assert action.status == "Succeeded"


def test_a_success_that_the_service_refuses_becomes_a_failure(service: LocalCodePipeline) -> None:
    """A refused result must not let the job hang: it is reported as failed, in the fewest words."""
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    service.faults.add(_SUCCESS, Instead(error_response("ValidationException", "no")))
    (outcome,) = make_worker(service).run_once()
    assert isinstance(outcome, Reported)
    assert (
        action.result
        == outcome.result
        == FailureDetails(
            type=FailureType.JOB_FAILED, message=f"CodePipeline refused the result of job {outcome.job.job_id}."
        )
    )


@pytest.mark.parametrize("name", ["clientToken", "jobId"])
def test_a_refused_summary_may_name_another_member(name: str, service: LocalCodePipeline) -> None:
    """CodePipeline repeats the summary that it refuses, which may quote an error about a token or an id."""
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    summary = f"Value at '{name}' failed"
    refusal = f"Value '{summary}' at 'executionDetails.summary' failed to satisfy constraint"
    service.faults.add(_SUCCESS, Instead(error_response("ValidationException", refusal)))
    result = Succeeded(execution_details=ExecutionDetails(summary=summary))
    (outcome,) = make_worker(service, lambda _: result).run_once()
    assert outcome == Reported(job=outcome.job, result=Succeeded())
    assert action.status == "Succeeded"
    assert len([request for request in service.requests if request.operation_name == _SUCCESS]) == 2


def test_a_failure_that_the_service_refuses_stays(service: LocalCodePipeline) -> None:
    """When not even the shortest failure is taken, the journal keeps it: the service may take it later."""
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    service.faults.add(_SUCCESS, Instead(error_response("ValidationException", "no")))
    service.faults.add(_FAILURE, Instead(error_response("ValidationException", "no")), times=None)
    worker = make_worker(service, grace=0.05)
    (outcome,) = worker.run_once()
    assert isinstance(outcome, Unsent)
    assert outcome.error == "ValidationException"
    service.faults.clear()
    (outcome,) = worker.run_once()
    assert isinstance(outcome, Reported)
    assert action.status == "Failed"


# --- time


def test_a_handler_that_takes_too_long_is_given_up(
    service: LocalCodePipeline, caplog: pytest.LogCaptureFixture
) -> None:
    """At its deadline the job is reported as failed, the handler is notified, and its late result is dropped."""
    was_cancelled = threading.Event()
    clock = ManualClock()

    def handle(job: AnyJob) -> Succeeded:
        clock.advance(61)
        until(lambda: job.cancelled)
        was_cancelled.set()
        return Succeeded()

    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    (outcome,) = make_worker(service, handle, job_timeout=60, clock=clock).run_once()
    assert isinstance(outcome, Reported)
    assert (
        action.result
        == outcome.result
        == FailureDetails(type=FailureType.SYSTEM_UNAVAILABLE, message="The job took longer than 60 seconds.")
    )
    assert was_cancelled.wait(20)
    assert "timed_out job=" in caplog.text


def test_a_handler_that_hangs_holds_its_slot(service: LocalCodePipeline) -> None:
    """Health lists the jobs that run although their time is over."""
    release = threading.Event()
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    clock = ManualClock()

    def handle(_job: AnyJob) -> Succeeded:
        clock.advance(61)
        assert release.wait(30)
        return Succeeded()

    worker = make_worker(service, handle, job_timeout=60, clock=clock)
    with running(worker) as it:
        until(lambda: action.status == "Failed")
        until(lambda: worker.health().overdue == (action.jobs[0].id,))
        assert worker.health().in_flight == 0
        release.set()
        until(lambda: worker.health().overdue == ())
    assert it.is_clean


# --- the loop


def test_the_worker_waits_for_free_slots(service: LocalCodePipeline) -> None:
    """No more jobs are claimed than there are slots; the others stay with the service."""
    release = threading.Event()
    most: list[int] = []

    def handle(_job: AnyJob) -> Succeeded:
        most.append(worker.health().in_flight)
        release.wait(30)
        return Succeeded()

    actions = [service.start_action(ACTION_TYPE, client_id=CLIENT_ID) for _ in range(7)]
    worker = make_worker(service, handle, concurrency=3)
    with running(worker):
        until(lambda: len(most) == 3)
        assert sorted(action.status for action in actions)[:3] == ["InProgress"] * 3
        release.set()
        until(lambda: all(action.status == "Succeeded" for action in actions))
    assert max(most) <= 3


@pytest.mark.parametrize("fault", [Throttling(), ServerError(), HtmlPage(), ExpiredCredentials()], ids=repr)
def test_a_failed_poll_does_not_end_the_loop(
    service: LocalCodePipeline, fault: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged and shown in health, and the next poll brings the job."""
    service.faults.add("PollForThirdPartyJobs", fault, times=3)  # as often as botocore itself tries
    worker = make_worker(service)
    with running(worker):
        until(lambda: "poll failed: " in caplog.text)
        action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
        until(lambda: action.status == "Succeeded")
        until(lambda: worker.health().poll_error is None)
        assert worker.health().seconds_since_poll is not None


@pytest.mark.parametrize(
    ("code", "kind"),
    [("ActionTypeNotFoundException", ActionTypeNotFoundException), ("AccessDeniedException", AccessDeniedError)],
)
def test_an_error_that_will_not_go_away_ends_the_loop(
    service: LocalCodePipeline, code: str, kind: type[BaseException]
) -> None:
    """The running jobs are finished first, and then it is raised."""
    release = threading.Event()
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    worker = make_worker(service, _after(release))
    with running(worker) as it:
        until(lambda: action.status == "InProgress")
        service.faults.add("PollForThirdPartyJobs", Instead(error_response(code, "no")), times=None)
        until(lambda: worker.health().poll_error is not None)
        release.set()
        it.join()
    assert isinstance(it.failure, kind)
    assert action.status == "Succeeded"


def test_a_bad_action_type_ends_the_loop(service: LocalCodePipeline) -> None:
    """What is refused before it is sent will be refused again."""
    action_type = ActionTypeId(category="Test", owner="ThirdParty", provider="no spaces", version="1")
    worker = JobWorker(service.client, action_type, succeed, client_tokens={})
    with pytest.raises(InvalidRequestError):
        worker.run()


def test_a_poller_that_dies_is_reported(service: LocalCodePipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that nobody has thought of ends the run as an error, after the running jobs."""

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(_poller.Poller, "_wait_for_slots", fail)
    with pytest.raises(ZeroDivisionError):
        make_worker(service).run()


def test_run_once_reports_a_failed_poll(service: LocalCodePipeline) -> None:
    """There is no next poll, so it is raised."""
    service.faults.add("PollForThirdPartyJobs", Throttling(), times=None)
    with pytest.raises(ServiceError, match="Throttling"):
        make_worker(service).run_once()


def test_a_worker_runs_once_at_a_time(service: LocalCodePipeline) -> None:
    """A second run is refused; after the first it may run again."""
    worker = make_worker(service)
    assert worker.health().state == "stopped"
    with running(worker):
        until(lambda: worker.health().state == "running")
        with pytest.raises(RuntimeError, match="already running"):
            worker.run()
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    with running(worker):
        until(lambda: action.status == "Succeeded")


# --- stopping


def test_stop_drains(service: LocalCodePipeline) -> None:
    """A running job gets its own result, and no poll begins after the one in flight."""
    in_poll, end_poll, release = threading.Event(), threading.Event(), threading.Event()

    def hold() -> None:
        in_poll.set()
        assert end_poll.wait(30)

    def count_polls() -> int:
        return sum(record.operation_name == _POLL for record in service.requests)

    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    worker = make_worker(service, _after(release))
    with running(worker) as it:
        until(lambda: action.status == "InProgress")
        service.faults.add(_POLL, Before(hold))
        until(in_poll.is_set)
        polls = count_polls()
        worker.stop()
        until(lambda: worker.health().state == "draining")
        end_poll.set()
        until(lambda: count_polls() == polls + 1)
        late = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
        release.set()
        it.join()
    assert it.is_clean is True
    assert count_polls() == polls + 1
    assert (action.status, late.status) == ("Succeeded", "Queued")


def test_a_signal_stops_the_worker(service: LocalCodePipeline) -> None:
    """SIGTERM lets a running job end, and the previous signal handlers are back after the run."""

    def handle(_job: AnyJob) -> Succeeded:
        signal.raise_signal(signal.SIGTERM)
        until(lambda: worker.health().state == "draining")
        return Succeeded()

    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    worker = make_worker(service, handle)
    assert worker.run(handle_signals=True) is True
    assert action.status == "Succeeded"
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before


def test_slots_that_become_free_together_share_a_poll(
    service: LocalCodePipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A free slot waits a moment for others, so that a busy worker does not poll once for each job."""
    monkeypatch.setattr(_poller, "_GATHER_SECONDS", 20.0)
    ends = [threading.Event() for _ in range(4)]
    begun: list[AnyJob] = []
    lock = threading.Lock()

    def handle(job: AnyJob) -> Succeeded:
        with lock:
            begun.append(job)
            end = ends[(len(begun) - 1) % 4]
        assert end.wait(30)
        return Succeeded()

    for _ in range(6):
        service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    with running(make_worker(service, handle, concurrency=4)) as it:
        until(lambda: len(begun) == 4)
        for free, end in enumerate(ends[:2], start=1):
            end.set()
            until(lambda: it.worker.health().free_slots == free or len(begun) == 6)  # noqa: B023 - it is used at once
        until(lambda: len(begun) == 6)
        for end in ends:
            end.set()
    polls = [record.parameters for record in service.requests if record.operation_name == _POLL]
    assert [None if each is None else each["maxBatchSize"] for each in polls[:2]] == [4, 2]


def test_what_a_poll_brings_after_the_stop_is_handed_back(service: LocalCodePipeline) -> None:
    """A job that is offered while the worker stops is not claimed."""
    worker = make_worker(service)
    events: list[str] = []
    worker = make_worker(service, on_event=lambda event: events.append(event.name))
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    service.faults.add("PollForThirdPartyJobs", Before(lambda: _stop(worker)))
    with running(worker) as it:
        it.join()
    assert it.is_clean is True
    assert events == ["handed_back"]
    assert action.status == "Dispatched"


def _stop(worker: JobWorker[Any]) -> None:
    worker.stop()
    until(lambda: worker.health().state == "draining")


def test_a_job_whose_details_are_read_during_the_stop_is_handed_back(service: LocalCodePipeline) -> None:
    """Not yet claimed is not claimed any more."""
    worker = make_worker(service)
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    service.faults.add("GetThirdPartyJobDetails", Before(lambda: _stop(worker)))
    with running(worker) as it:
        it.join()
    assert action.status == "Dispatched"


def test_a_job_that_is_recorded_during_the_stop_is_handed_back(service: LocalCodePipeline) -> None:
    """The journal may take long to record a claim, and the worker stops meanwhile."""
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    journal = MemoryJournal()
    claim = journal.claim

    def stop_and_claim(job: ThirdPartyJob | CustomJob, scope: JobScope) -> bool:
        _stop(worker)
        return claim(job, scope)

    journal.claim = stop_and_claim  # type: ignore[method-assign]
    worker = make_worker(service, journal=journal)
    assert [type(outcome) for outcome in worker.run_once()] == [HandedBack]
    assert action.status == "Dispatched"
    assert list(journal.jobs()) == []


def test_when_the_grace_ends_the_rest_is_failed(service: LocalCodePipeline) -> None:
    """What hangs is reported as failed, and its handler is notified."""
    hangs = threading.Event()
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    worker = make_worker(service, _after(hangs), grace=0.1)
    with running(worker) as it:
        until(lambda: action.status == "InProgress")
        worker.stop()
        it.join()
    hangs.set()
    assert isinstance(action.result, FailureDetails)
    assert action.result.message == "The action's worker was stopped."
    assert it.is_clean is True  # nothing is left to do


def test_a_second_stop_has_no_grace(service: LocalCodePipeline) -> None:
    """Who stops twice does not wait."""
    hangs = threading.Event()
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    worker = make_worker(service, _after(hangs), grace=1000)
    with running(worker) as it:
        until(lambda: action.status == "InProgress")
        worker.stop()
        worker.stop()
        it.join()
    hangs.set()
    assert action.status == "Failed"


def test_a_job_that_is_claimed_after_the_grace_is_failed(service: LocalCodePipeline) -> None:
    """An acknowledgement that is returned too late is reported, and its handler does not begin."""
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    worker = make_worker(service, lambda _: pytest.fail("it ran"))

    def stop() -> None:
        run = worker._loop
        assert run is not None
        worker.stop()
        worker.stop()
        until(lambda: run._forced_at is not None)

    service.faults.add(_ACKNOWLEDGE, Before(stop))
    with running(worker) as it:
        it.join()
    assert action.status == "Failed"


def test_a_full_worker_stops_while_it_waits_for_a_slot(service: LocalCodePipeline) -> None:
    """The poller does not wait for a slot that nobody needs any more."""
    release = threading.Event()
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    worker = make_worker(service, _after(release), concurrency=1)
    with running(worker) as it:
        until(lambda: action.status == "InProgress")
        time.sleep(0.2)  # the poller waits by now
        worker.stop()
        until(lambda: worker.health().state == "draining")
        release.set()
        it.join()
    assert it.is_clean is True


def test_a_result_that_cannot_be_sent_before_the_end_stays_in_the_journal(
    service: LocalCodePipeline, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The run returns that something is left, and the next one sends it."""
    monkeypatch.setattr(_loop, "_LAST_SECONDS", 0.1)
    journal = MemoryJournal()
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    service.faults.add(_SUCCESS, ServerError(), times=None)
    worker = make_worker(service, journal=journal, grace=0.1)
    with running(worker) as it:
        until(lambda: worker.health().oldest_unsent_result is not None)
        worker.stop()
        it.join()
    assert it.is_clean is False
    until(lambda: "unsent job=" in caplog.text)
    service.faults.clear()
    (outcome,) = make_worker(service, journal=journal).run_once()
    assert outcome == Reported(job=outcome.job, result=Succeeded())
    assert action.status == "Succeeded"


def test_a_stop_before_the_run_ends_it(service: LocalCodePipeline) -> None:
    """A stop that comes early is not lost."""
    worker = make_worker(service)
    worker.stop()
    assert worker.run() is True


# --- what it reports


def test_each_event_is_emitted(service: LocalCodePipeline, caplog: pytest.LogCaptureFixture) -> None:
    """The hook and the log get the same facts; the record has the event."""
    caplog.set_level(logging.INFO, "cp_thirdparty.worker")
    events: list[JobEvent] = []
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    make_worker(service, on_event=events.append).run_once()
    (job,) = action.jobs
    assert [(event.name, event.job_id, event.client_id, event.detail) for event in events] == [
        ("claimed", job.id, CLIENT_ID, ""),
        ("reported", job.id, CLIENT_ID, "Succeeded"),
    ]
    assert events[0].seconds is None
    assert events[1].seconds is not None
    assert [record.__dict__["job_event"] for record in caplog.records] == events
    assert caplog.records[1].getMessage() == f"reported job={job.id} client={CLIENT_ID} Succeeded"


def test_a_broken_hook_costs_no_job(service: LocalCodePipeline, caplog: pytest.LogCaptureFixture) -> None:
    """What a hook raises is logged by its type and dropped."""

    def hook(_event: JobEvent) -> None:
        raise ValueError(CLIENT_TOKEN)

    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    make_worker(service, on_event=hook).run_once()
    assert action.status == "Succeeded"
    assert "on_event raised ValueError" in caplog.text
    assert CLIENT_TOKEN not in caplog.text


class _Broken(MemoryJournal):
    """A journal whose disk is full from some step on."""

    def __init__(self, *steps: str) -> None:
        super().__init__()
        self.steps = steps

    def __getattribute__(self, name: str) -> Any:
        if name != "steps" and name in self.steps:
            return self._fail
        return super().__getattribute__(name)

    def _fail(self, *_: object) -> None:
        raise JournalError("the journal cannot be written: disk full")


def test_a_signal_handler_of_a_c_library_is_replaced_by_the_default(
    service: LocalCodePipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python returns None for such a handler, and cannot restore it."""
    install = signal.signal
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def install_and_forget(number: int, handler: Any) -> None:
        install(number, handler)

    monkeypatch.setattr(signal, "signal", install_and_forget)
    worker = make_worker(service)
    worker.stop()
    try:
        assert worker.run(handle_signals=True) is True
        assert [signal.getsignal(number) for number in before] == [signal.SIG_DFL] * 2
    finally:
        for number, handler in before.items():
            install(number, handler)


def test_without_a_journal_no_job_is_claimed(service: LocalCodePipeline) -> None:
    """What could not be remembered is not begun."""
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    (outcome,) = make_worker(service, journal=_Broken("claim")).run_once()
    assert outcome == Rejected(job=outcome.job, reason="the journal cannot be written: disk full", error="JournalError")
    assert action.status == "Dispatched"


def test_the_reason_of_a_rejected_job_is_one_short_line(service: LocalCodePipeline) -> None:
    """A journal of the partner may raise any message."""

    class Failing(MemoryJournal):
        def claim(self, *_: object, **__: object) -> bool:
            raise JournalError("disk\x1b\nfull " + "x" * 10_000)

    service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    (outcome,) = make_worker(service, journal=Failing()).run_once()
    assert isinstance(outcome, Rejected)
    assert outcome.reason.startswith(r"disk\x1b\nfull xx")
    assert len(outcome.reason) < 1100


def test_a_claimed_job_is_reported_without_a_journal(
    service: LocalCodePipeline, caplog: pytest.LogCaptureFixture
) -> None:
    """A journal that breaks later is reported, and costs no result."""
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    make_worker(service, journal=_Broken("running", "result", "finish")).run_once()
    assert action.status == "Succeeded"
    assert caplog.text.count("journal_failed job=") == 3


def test_a_journal_that_cannot_be_read_keeps_the_worker_from_starting(service: LocalCodePipeline) -> None:
    """Jobs of an earlier worker must not be forgotten."""
    with pytest.raises(JournalError):
        make_worker(service, journal=_Broken("recover")).run()


def test_a_journal_that_cannot_be_read_later_is_reported(
    service: LocalCodePipeline, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The loop goes on without looking for what others have left."""
    monkeypatch.setattr(_recovery, "_INTERVAL", 0.01)
    journal = _Broken()
    worker = make_worker(service, journal=journal)
    with running(worker):
        until(lambda: worker.health().seconds_since_poll is not None)
        journal.steps = ("recover",)
        until(lambda: "disk full" in caplog.text)
        action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
        until(lambda: action.status == "Succeeded")


def test_a_mistake_of_ours_costs_one_job(
    service: LocalCodePipeline, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An error that nobody has thought of is reported by type and place, and its slot is free again."""

    def fail(*_: object) -> None:
        raise ZeroDivisionError(CLIENT_TOKEN)

    monkeypatch.setattr(_steps.Steps, "read", fail)
    service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    worker = make_worker(service)
    (outcome,) = worker.run_once()
    assert outcome == Rejected(job=outcome.job, reason="the worker failed", error="ZeroDivisionError")
    assert "ZeroDivisionError at fail:" in caplog.text
    assert CLIENT_TOKEN not in caplog.text


def test_a_mistake_of_ours_after_the_claim_leaves_the_job_to_a_later_run(
    service: LocalCodePipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The journal keeps a job that is claimed, and the run is not clean."""

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("cp_thirdparty.worker._engines.ThreadEngine.run", fail)
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    (outcome,) = make_worker(service).run_once()
    assert outcome == Released(job=outcome.job, error="ZeroDivisionError")
    assert action.status == "InProgress"


def test_handed_back_is_an_outcome_of_too_many(service: LocalCodePipeline) -> None:
    """A service that sends more than it was asked for gets the rest back."""

    class Generous(ThirdPartyJobClient):
        def poll_for_third_party_jobs(self, action_type_id: ActionTypeId, **_: Any) -> tuple[ThirdPartyJob, ...]:
            return super().poll_for_third_party_jobs(action_type_id, max_batch_size=3)

    def connect() -> ThirdPartyJobClient:
        made = service.client()
        made.__class__ = Generous
        return made

    hold = threading.Event()
    for _ in range(3):
        service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    worker: JobWorker[Any] = JobWorker(
        connect,
        ACTION_TYPE,
        _after(hold),
        client_tokens={CLIENT_ID: CLIENT_TOKEN},
        concurrency=1,
    )
    threading.Timer(0.3, hold.set).start()
    outcomes = worker.run_once()
    assert [type(outcome) for outcome in outcomes] == [HandedBack, HandedBack, Reported]
