"""Custom actions of the local CodePipeline: their jobs, what polls select, and what belongs to the other kind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from cp_thirdparty import (
    CustomJobClient,
    ExecutionDetails,
    FailureDetails,
    JobData,
    JobStatus,
    ThirdPartyJobClient,
    exceptions,
)
from cp_thirdparty.testing import LocalCodePipeline, ManualClock, Success, samples
from cp_thirdparty.testing._states import States
from cp_thirdparty.testing._wire import RefusedError, parameters_of

_CUSTOM = samples.action_type_id(owner="Custom")
_THIRD_PARTY = samples.action_type_id()
_TOKEN = "xMARKERx-token"
_UNKNOWN = "b2a1c0de-0000-4000-8000-000000000099"


@pytest.fixture
def clock() -> ManualClock:
    """Give a clock that stands still until it is moved."""
    return ManualClock(1000.0)


@pytest.fixture
def service(clock: ManualClock) -> LocalCodePipeline:
    """Give a service with one client."""
    made = LocalCodePipeline(clock=clock)
    made.register_client("client-1", _TOKEN)
    return made


@pytest.fixture
def client(service: LocalCodePipeline) -> Iterator[CustomJobClient]:
    """Give a client of custom jobs."""
    with service.custom_client(in_process=True) as made:
        yield made


@pytest.fixture
def partner(service: LocalCodePipeline) -> Iterator[ThirdPartyJobClient]:
    """Give a client of third-party jobs."""
    with service.client(in_process=True) as made:
        yield made


def test_an_action_succeeds_in_two_jobs(
    service: LocalCodePipeline, client: CustomJobClient, clock: ManualClock
) -> None:
    """A poll returns the data with credentials; a continuation brings another job; output variables are kept."""
    action = service.start_action(_CUSTOM, configuration={"ApiKey": "secret"}, input_artifacts=[samples.artifact()])
    (job,) = client.poll_for_jobs(_CUSTOM)
    assert (job.id, job.nonce, job.account_id) == (action.jobs[0].id, action.jobs[0].nonce, "111122223333")
    assert job.data.configuration["ApiKey"].get_secret_value() == "secret"
    assert job.data.pipeline_context is not None
    assert job.data.pipeline_context.pipeline_arn == "arn:aws:codepipeline:us-east-1:111122223333:local-pipeline"
    assert job.data.pipeline_context.pipeline_execution_id
    details = client.get_job_details(job.id)
    assert details.account_id == "111122223333"
    for credentials in (job.data.artifact_credentials, details.data.artifact_credentials):
        assert credentials is not None
        assert service.credentials_are_valid(credentials)
    assert details.data.artifact_credentials != job.data.artifact_credentials
    assert client.acknowledge_job(job.id, nonce=job.nonce) == JobStatus.IN_PROGRESS
    with pytest.raises(exceptions.InvalidNonceException):
        client.acknowledge_job(job.id, nonce=job.nonce)
    client.put_job_success_result(job.id, continuation_token="run-1")
    clock.advance(30)
    (second,) = client.poll_for_jobs(_CUSTOM)
    assert second.data.continuation_token == "run-1"
    client.acknowledge_job(second.id, nonce=second.nonce)
    shown = ExecutionDetails(summary="done")
    client.put_job_success_result(second.id, execution_details=shown, output_variables={"Findings": "3"})
    assert action.status == JobStatus.SUCCEEDED
    assert action.result == Success(
        continuation_token=None, current_revision=None, execution_details=shown, output_variables={"Findings": "3"}
    )


def test_an_action_fails(service: LocalCodePipeline, client: CustomJobClient) -> None:
    """A failure ends the action."""
    action = service.start_action(_CUSTOM)
    (job,) = client.poll_for_jobs(_CUSTOM)
    client.acknowledge_job(job.id, nonce=job.nonce)
    failure = FailureDetails(type="JobFailed", message="no")
    client.put_job_failure_result(job.id, failure_details=failure)
    assert (action.status, action.result) == (JobStatus.FAILED, failure)


def test_a_poll_selects_jobs_by_a_value(service: LocalCodePipeline, client: CustomJobClient) -> None:
    """The query parameter selects jobs that have the value in their configuration."""
    for project in ("one", "two"):
        service.start_action(_CUSTOM, configuration={"ProjectName": project})
    service.start_action(_CUSTOM)
    (job,) = client.poll_for_jobs(_CUSTOM, query_param={"ProjectName": "two"})
    assert job.data.configuration["ProjectName"].get_secret_value() == "two"
    assert client.poll_for_jobs(_CUSTOM, query_param={"ProjectName": "three"}) == ()
    assert len(client.poll_for_jobs(_CUSTOM)) == 2


@pytest.mark.parametrize("owner", ["Custom", "ThirdParty"])
@pytest.mark.parametrize("code", ["ActionTypeNotFoundException", "ValidationException"])
def test_a_poll_of_the_other_kind_is_refused(owner: Any, code: str) -> None:
    """Each poll serves action types of its own owner; the error is a setting."""
    service = LocalCodePipeline(wrong_owner_error=code)
    with (
        service.client(in_process=True) as partner,
        service.custom_client(in_process=True) as client,
        pytest.raises(getattr(exceptions, code)),
    ):
        (partner.poll_for_third_party_jobs if owner == "Custom" else client.poll_for_jobs)(
            samples.action_type_id(owner=owner)
        )


def test_calls_of_the_other_kind_find_no_job(
    service: LocalCodePipeline, client: CustomJobClient, partner: ThirdPartyJobClient
) -> None:
    """A custom job is unknown to third-party operations, and the reverse."""
    custom = service.start_action(_CUSTOM).jobs[0]
    other = service.start_action(_THIRD_PARTY, client_id="client-1").jobs[0]
    for call in (
        lambda: client.get_job_details(other.id),
        lambda: client.acknowledge_job(other.id, nonce=other.nonce),
        lambda: client.put_job_success_result(other.id),
        lambda: partner.get_third_party_job_details(custom.id, client_token=_TOKEN),
        lambda: partner.acknowledge_third_party_job(custom.id, nonce=custom.nonce, client_token=_TOKEN),
        lambda: partner.put_third_party_job_success_result(custom.id, client_token=_TOKEN),
        lambda: client.get_job_details(_UNKNOWN),
    ):
        with pytest.raises(exceptions.JobNotFoundException):
            call()


def test_a_client_belongs_to_third_party_actions_only(service: LocalCodePipeline) -> None:
    """A custom action has no client, and a third-party action needs one."""
    with pytest.raises(ValueError, match="client_id: must not be given for a custom action"):
        service.start_action(_CUSTOM, client_id="client-1")
    with pytest.raises(ValueError, match="client_id: must be registered"):
        service.start_action(_THIRD_PARTY)


def test_a_custom_job_has_a_timeout_of_its_own(service: LocalCodePipeline, clock: ManualClock) -> None:
    """The quotas give custom actions 24 hours."""
    action = service.start_action(_CUSTOM)
    clock.advance(86_399)
    assert action.jobs[0].is_unclaimed
    clock.advance(1)
    assert action.status == JobStatus.TIMED_OUT


def test_settings_hold_for_custom_jobs(clock: ManualClock) -> None:
    """Each poll brings a new nonce, and a job in progress cannot be read, if the settings are so."""
    service = LocalCodePipeline(clock=clock, stable_nonce=False, readable_after_acknowledgement=False)
    service.start_action(_CUSTOM)
    with service.custom_client(in_process=True) as client:
        (first,) = client.poll_for_jobs(_CUSTOM)
        clock.advance(30)
        (second,) = client.poll_for_jobs(_CUSTOM)
        assert first.nonce != second.nonce
        with pytest.raises(exceptions.InvalidNonceException):
            client.acknowledge_job(first.id, nonce=first.nonce)
        client.acknowledge_job(second.id, nonce=second.nonce)
        with pytest.raises(exceptions.JobNotFoundException, match="InProgress"):
            client.get_job_details(second.id)


def _claim_job(states: States) -> str:
    action = states.start_action(JobData(action_type_id=_CUSTOM))
    job = action.jobs[0]
    states.acknowledge(job.id, job.nonce, None)
    return job.id


@pytest.mark.parametrize(
    ("token", "variables", "code"),
    [
        ("run-1", {"a": "1"}, "ValidationException"),
        (None, {"a": "x" * 122_880}, "OutputVariablesSizeExceededException"),
    ],
)
def test_output_variables_that_the_service_refuses(token: str | None, variables: dict[str, str], code: str) -> None:
    """A result with a continuation token has no variables, and they have a limit together."""
    states = States(clock=lambda: 0.0)
    success = Success(
        continuation_token=token, current_revision=None, execution_details=None, output_variables=variables
    )
    with pytest.raises(Exception, match=code):
        states.put_success(_claim_job(states), None, success)


_TYPE = '{"category": "Test", "owner": "Custom", "provider": "p", "version": "1"}'


@pytest.mark.parametrize(
    ("operation", "body", "problem"),
    [
        ("PollForJobs", f'{{"actionTypeId": {_TYPE}, "queryParam": []}}', "'queryParam' must be of type map"),
        ("PollForJobs", f'{{"actionTypeId": {_TYPE}, "queryParam": {{"a": 1}}}}', "'queryParam.value' must be of type"),
        (
            "PollForJobs",
            f'{{"actionTypeId": {_TYPE}, "queryParam": {{"a": "1", "b": "2"}}}}',
            "less than or equal to 1",
        ),
        ("PollForJobs", f'{{"actionTypeId": {_TYPE}, "queryParam": {{"": "1"}}}}', "'queryParam.key' failed"),
        ("PollForJobs", f'{{"actionTypeId": {_TYPE}, "queryParam": {{"a": "b c"}}}}', "'queryParam.value' failed"),
        ("GetJobDetails", '{"jobId": "job-1"}', "'jobId' failed to satisfy constraint"),
    ],
)
def test_parameters_are_checked(operation: str, body: str, problem: str) -> None:
    """The limits of the service's model hold for mappings too."""
    with pytest.raises(RefusedError) as caught:
        parameters_of(operation, body.encode())
    assert problem in caught.value.message
