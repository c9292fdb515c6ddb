"""Workers and processors of custom jobs: what differs from third-party jobs, and the life of a job in short."""

from __future__ import annotations

import pickle
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
from support import handlers
from support.worker_service import TOKENS, Before, Instead, running

from cp_thirdparty import (
    ArtifactStore,
    Continued,
    CustomJob,
    CustomJobDetails,
    FailureDetails,
    Job,
    JobWorker,
    Succeeded,
    ThirdPartyJob,
    exceptions,
)
from cp_thirdparty.models import JobData
from cp_thirdparty.testing import LocalCodePipeline, samples
from cp_thirdparty.testing._wire import error_response
from cp_thirdparty.testing.faults import LostAnswer, ServerError
from cp_thirdparty.worker import (
    HandedBack,
    JobProcessor,
    JobScope,
    LostRace,
    Reported,
    SqliteJournal,
    _steps,
    processes,
)
from cp_thirdparty.worker._flow import JobFlow
from cp_thirdparty.worker._kinds import CUSTOM, THIRD_PARTY
from cp_thirdparty.worker._processes import ProcessEngine
from cp_thirdparty.worker.runner import HandlerRun, NotStarted, Runner, run_in_executor

_CUSTOM = samples.action_type_id(owner="Custom")
_THIRD_PARTY = samples.action_type_id()
_MARKER = "xMARKERx"
_UNKNOWN = "b2a1c0de-0000-4000-8000-000000000099"


@pytest.fixture
def service() -> Iterator[LocalCodePipeline]:
    """Give a running service that offers jobs again at once."""
    with LocalCodePipeline(redelivery_delay=0, continuation_delay=0) as made:
        made.register_client("client-1", TOKENS["client-1"])
        yield made


def _report(job: Job) -> Succeeded:
    return Succeeded(output_variables={"Name": job.details.data.configuration["Name"].get_secret_value()})


def _worker(service: LocalCodePipeline, handler: Any = _report, **settings: Any) -> JobWorker[Any]:
    settings.setdefault("poll_interval", 0.05)
    return JobWorker(service.custom_client, _CUSTOM, handler, **settings)


def test_a_worker_reports_output_variables(service: LocalCodePipeline) -> None:
    """The details of a poll are enough: a job takes a poll, an acknowledgement and a result."""
    action = service.start_action(_CUSTOM, configuration={"Name": _MARKER})
    with _worker(service) as worker:
        (outcome,) = worker.run_once()
    assert isinstance(outcome, Reported)
    assert isinstance(outcome.job, CustomJob)
    assert (outcome.job.job_id, outcome.job.client_id, outcome.job.data) == (
        action.jobs[0].id,
        "111122223333",
        JobData(),
    )
    assert action.result is not None
    assert getattr(action.result, "output_variables", None) == {"Name": _MARKER}
    assert [record.operation_name for record in service.requests] == [
        "PollForJobs",
        "AcknowledgeJob",
        "PutJobSuccessResult",
    ]


def test_a_handler_sees_the_details_and_renews_credentials(service: LocalCodePipeline) -> None:
    """The details are those of a custom job, and the artifact store reads them again without a token."""
    seen: list[Any] = []

    def handle(job: Job) -> Succeeded:
        objects: Any = job.artifacts._objects
        credentials = objects._s3._request_signer._credentials
        credentials.renew(0)
        seen.extend((job.details, job.client_id, credentials.generation))
        return Succeeded()

    service.start_action(_CUSTOM)
    with _worker(service, handle) as worker:
        worker.run_once()
    assert isinstance(seen[0], CustomJobDetails)
    assert seen[1:] == ["111122223333", 1]
    assert "GetJobDetails" in [record.operation_name for record in service.requests]


def test_a_continued_job_goes_on(service: LocalCodePipeline) -> None:
    """A continuation token brings another job, and the last one ends the action."""

    def handle(job: Job) -> Succeeded | Continued:
        return Continued(continuation_token="run-1") if job.continuation_token is None else Succeeded()

    action = service.start_action(_CUSTOM)
    with running(_worker(service, handle)):
        assert action.wait() == "Succeeded"
    assert [job.continuation_token for job in action.jobs] == [None, "run-1"]


def test_a_processor_polls_and_processes(service: LocalCodePipeline) -> None:
    """A processor without client tokens is for custom jobs."""
    service.start_action(_CUSTOM, configuration={"Name": "a"})
    processor = JobProcessor(service.custom_client, _report)
    assert [type(outcome) for outcome in processor.poll(_CUSTOM)] == [Reported]
    service.start_action(_CUSTOM, configuration={"Name": "b"})
    with service.custom_client() as client:
        (job,) = client.poll_for_jobs(_CUSTOM)
    outcome = processor.process(job, seconds_left=0.1)
    assert isinstance(outcome, HandedBack)
    assert _MARKER not in repr(outcome)
    assert outcome.job == CustomJob(id=job.id, nonce=job.nonce, account_id=job.account_id, data=JobData())
    assert isinstance(processor.process(job), Reported)


def test_a_lost_race_and_a_gone_job_are_left_alone(service: LocalCodePipeline) -> None:
    """The nonce of the poll decides, and nothing is reported for a job of another worker."""

    def steal() -> None:
        with service.custom_client() as other:
            (job,) = other.poll_for_jobs(_CUSTOM)
            other.acknowledge_job(job.id, nonce=job.nonce)

    service.start_action(_CUSTOM, configuration={"Name": "a"})
    service.faults.add("AcknowledgeJob", Before(steal))
    with _worker(service) as worker:
        (outcome,) = worker.run_once()
    assert isinstance(outcome, LostRace)


def test_a_lost_acknowledgement_is_taken(service: LocalCodePipeline) -> None:
    """InvalidNonceException after an acknowledgement whose response was lost means that the job is this worker's."""
    action = service.start_action(_CUSTOM, configuration={"Name": "a"})
    service.faults.add("AcknowledgeJob", LostAnswer())
    with _worker(service) as worker:
        (outcome,) = worker.run_once()
    assert isinstance(outcome, Reported)
    assert action.status == "Succeeded"


@pytest.mark.parametrize("reaches", ["the claim", "the handler", "the result"])
def test_a_job_of_the_journal_goes_on(service: LocalCodePipeline, tmp_path: Path, reaches: str) -> None:
    """A later worker goes on with the nonce that the journal has, or reads the details again."""
    action = service.start_action(_CUSTOM, configuration={"Name": _MARKER})
    with service.custom_client() as client:
        (job,) = client.poll_for_jobs(_CUSTOM)
        scope = JobScope(region_name=client.region_name, endpoint_url=client.endpoint_url, action_type_id=_CUSTOM)
        journal = SqliteJournal(tmp_path / "jobs.db")
        bare = CUSTOM.split(job)[0]
        assert journal.claim(bare, scope)
        if reaches != "the claim":
            client.acknowledge_job(job.id, nonce=job.nonce)
            journal.running(job.id)
        if reaches == "the result":
            journal.result(job.id, Succeeded(output_variables={"Name": "kept"}))
        journal.close()
    kept = SqliteJournal(tmp_path / "jobs.db")
    assert [entry.job for entry in kept.jobs()] == [bare]
    assert _MARKER.encode() not in (tmp_path / "jobs.db").read_bytes()
    with _worker(service, journal=kept, is_idempotent=True) as worker:
        (outcome,) = worker.run_once()
    kept.close()
    assert isinstance(outcome, Reported)
    expected = {"Name": "kept" if reaches == "the result" else _MARKER}
    assert getattr(action.result, "output_variables", None) == expected


@pytest.mark.slow
def test_a_job_runs_in_a_process_of_its_own(service: LocalCodePipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process gets ids only, and reads the details itself."""
    for name in service.environment():
        monkeypatch.setenv(name, "")  # `connect_custom` changes it
    action = service.start_action(_CUSTOM, configuration={"Name": _MARKER})
    connect = partial(handlers.connect_custom, service.environment())
    with JobWorker(connect, _CUSTOM, handlers.return_variables, executor=processes(1)) as worker:
        (outcome,) = worker.run_once()
    assert isinstance(outcome, Reported)
    assert getattr(action.result, "output_variables", None) == {"Name": _MARKER}
    assert "GetJobDetails" in [record.operation_name for record in service.requests]


def test_a_process_reads_the_details_without_a_token(
    service: LocalCodePipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the ids and the runner get there; a job that is not found does not start."""
    for name in service.environment():
        monkeypatch.setenv(name, "")  # `connect_custom` changes it
    action = service.start_action(_CUSTOM, configuration={"Name": _MARKER})
    runner: Runner[Any] = Runner(
        connect=partial(handlers.connect_custom, service.environment()),
        handler=handlers.return_variables,
        configuration=None,
        tokens=None,
    )
    deadline = time.time() + 60
    job = CustomJob(id=action.jobs[0].id, nonce="1", data=JobData())
    assert run_in_executor(pickle.dumps(runner), job, deadline) == HandlerRun(
        result=Succeeded(output_variables={"Name": _MARKER})
    )
    gone = run_in_executor(pickle.dumps(runner), CustomJob(id=_UNKNOWN, nonce="1", data=JobData()), deadline)
    assert isinstance(gone, NotStarted)
    assert gone.error_name == "JobNotFoundException"


def test_no_variable_has_a_token_of_a_custom_job() -> None:
    """The process of a job gets no environment variable with a client token."""
    engine: Any = SimpleNamespace(_tokens=None)
    assert ProcessEngine._read_variables(engine, "111122223333") == {}


def test_a_refused_job_id_is_tried_again(service: LocalCodePipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no token to look up again, so only time can help."""
    monkeypatch.setattr(_steps, "_FIRST_PAUSE", 0.01)
    action = service.start_action(_CUSTOM, configuration={"Name": "a"})
    refused = error_response("ValidationException", "Value at 'jobId' failed to satisfy constraint")
    service.faults.add("PutJobSuccessResult", Instead(refused), times=2)
    with _worker(service) as worker:
        (outcome,) = worker.run_once()
    assert isinstance(outcome, Reported)
    assert getattr(action.result, "output_variables", None) == {"Name": "a"}


def test_a_handler_of_third_party_jobs_has_no_output_variables(service: LocalCodePipeline) -> None:
    """The operation of third-party jobs has none, so the job fails and the log has the reason."""
    events: list[Any] = []
    action = service.start_action(_THIRD_PARTY, client_id="client-1", configuration={"Name": "a"})
    with JobWorker(service.client, _THIRD_PARTY, _report, client_tokens=TOKENS, on_event=events.append) as worker:
        worker.run_once()
    assert isinstance(action.result, FailureDetails)
    assert action.result.message.startswith("The action's worker returned no valid result")
    (failed,) = [event for event in events if event.name == "handler_failed"]
    assert "only jobs of custom actions can have output_variables" in failed.detail


def test_output_variables_that_the_service_refuses_fail_the_job(service: LocalCodePipeline) -> None:
    """Without its variables a success would be another result, so the customer reads a failure."""
    action = service.start_action(_CUSTOM, configuration={"Name": "a"})
    service.faults.add("PutJobSuccessResult", ServerError(status=400, code="OutputVariablesSizeExceededException"))
    with _worker(service) as worker:
        worker.run_once()
    assert isinstance(action.result, FailureDetails)
    assert action.result.message.startswith("CodePipeline refused the result of job")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"action_type_id": _CUSTOM, "client_tokens": TOKENS},
            "client_tokens: must not be given for custom jobs, which have none",
        ),
        ({"action_type_id": _THIRD_PARTY}, "client_tokens: must be given for third-party jobs"),
        (
            {"action_type_id": _CUSTOM, "artifacts": lambda client: client},
            "artifacts: must be a callable; it must take a client and the details of a job",
        ),
    ],
)
def test_tokens_belong_to_third_party_jobs(service: LocalCodePipeline, arguments: dict[str, Any], message: str) -> None:
    """The owner of the action type decides which kind of jobs a worker is for."""
    with pytest.raises(TypeError, match=message):
        JobWorker(service.custom_client, handler=_report, **arguments)


@pytest.mark.parametrize("owner", ["Custom", "ThirdParty"])
def test_connect_must_return_a_client_of_the_kind(service: LocalCodePipeline, owner: Any) -> None:
    """The error names the expected class."""
    connect: Any = service.client if owner == "Custom" else service.custom_client
    tokens: Any = None if owner == "Custom" else TOKENS
    expected = "CustomJobClient" if owner == "Custom" else "ThirdPartyJobClient"
    worker: Any = JobWorker(connect, samples.action_type_id(owner=owner), _report, client_tokens=tokens)
    with pytest.raises(TypeError, match=f"connect: must return a {expected} for"):
        worker.run_once()
    processor: Any = JobProcessor(connect, _report, client_tokens=tokens)
    with pytest.raises(TypeError, match=f"connect: must return a {expected} for"):
        list(processor.poll(samples.action_type_id(owner=owner)))


def test_a_processor_refuses_jobs_of_the_other_kind(service: LocalCodePipeline) -> None:
    """A processor has client tokens or not, so it is for one kind."""
    custom = JobProcessor(service.custom_client, _report)
    partner = JobProcessor(service.client, _report, client_tokens=TOKENS)
    with pytest.raises(TypeError, match="action_type_id: must be one of custom jobs"):
        list(custom.poll(_THIRD_PARTY))
    with pytest.raises(TypeError, match="job: must be a CustomJob"):
        custom.process(ThirdPartyJob(client_id="c", job_id="j"))
    with pytest.raises(TypeError, match="job: must be a ThirdPartyJob"):
        partner.process(CustomJob(id="1", nonce="1", data=JobData()))


def test_custom_jobs_have_longer_timeouts(service: LocalCodePipeline) -> None:
    """CodePipeline gives custom actions 24 hours, and the default stays below that."""
    worker = _worker(service)
    assert worker._settings.job_timeout == 85_000.0
    assert CUSTOM.job_timeout < CUSTOM.service_timeout == 86_400.0
    assert THIRD_PARTY.job_timeout < THIRD_PARTY.service_timeout == 3600.0


@pytest.mark.parametrize(("owner", "seconds"), [("Custom", 86_400.0), ("ThirdParty", 3600.0)])
def test_a_result_is_sent_until_codepipeline_has_ended_the_job(
    service: LocalCodePipeline, owner: Any, seconds: float
) -> None:
    """A claimed job is given up only when CodePipeline accepts no result any more for sure."""
    seen: list[Any] = []
    is_custom = owner == "Custom"
    service.start_action(samples.action_type_id(owner=owner), client_id=None if is_custom else "client-1")
    set_deadline = JobFlow._set_service_deadline

    def note(self: JobFlow, job: Any) -> None:
        set_deadline(self, job)
        seen.append(job.service_deadline - job.claimed_at)

    connect: Any = service.custom_client if is_custom else service.client
    tokens: Any = None if is_custom else TOKENS
    with (
        mock.patch.object(JobFlow, "_set_service_deadline", note),
        JobWorker(connect, samples.action_type_id(owner=owner), _report, client_tokens=tokens) as worker,
    ):
        worker.run_once()
    assert seen == [pytest.approx(seconds)]


def test_the_store_of_a_job_needs_the_token_of_its_kind(service: LocalCodePipeline) -> None:
    """A client token is given for third-party jobs, and only for them."""
    details = samples.job_details()
    with service.custom_client() as client, service.client() as partner:
        with pytest.raises(TypeError, match="client_token: must be given with a ThirdPartyJobClient"):
            ArtifactStore.for_job(client, details, client_token="t")
        with pytest.raises(TypeError, match="client_token: must be given with a ThirdPartyJobClient"):
            ArtifactStore.for_job(partner, details)


@pytest.mark.parametrize(
    ("variables", "error", "message"),
    [
        ([("a", "b")], TypeError, "output_variables must be of type Mapping or None, not list"),
        ({"a b": "1"}, exceptions.InvalidRequestError, "output_variables: each name must be"),
        ({"a": "x" * 122_880}, exceptions.InvalidRequestError, "output_variables: must have at most 122,880 bytes"),
    ],
)
def test_output_variables_are_checked(variables: Any, error: type[Exception], message: str) -> None:
    """A result that the service would refuse is refused where it is created."""
    with pytest.raises(error, match=message):
        Succeeded(output_variables=variables)
