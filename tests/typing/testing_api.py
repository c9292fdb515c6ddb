"""The types of the local CodePipeline and of telemetry.  Checked by the type checkers, all strict; never run."""
# pyright: reportUnusedFunction=false

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Literal

import attrs
from botocore.client import BaseClient
from botocore.session import Session
from hypothesis.strategies import SearchStrategy
from typing_extensions import assert_type

from cp_thirdparty import (
    ActionCategory,
    ActionConfiguration,
    ActionTypeId,
    Artifact,
    ArtifactCredentials,
    ArtifactStore,
    CurrentRevision,
    CustomJob,
    CustomJobClient,
    EncryptionKey,
    ExecutionDetails,
    FailureDetails,
    JobData,
    JobDetails,
    JobStatus,
    PipelineContext,
    SecretStr,
    ThirdPartyJob,
    ThirdPartyJobClient,
    worker,
)
from cp_thirdparty.secrets import SecretMapping
from cp_thirdparty.telemetry import CallRecord
from cp_thirdparty.testing import (
    Action,
    ArtifactContent,
    FolderArtifacts,
    Job,
    LambdaContext,
    LocalCodePipeline,
    LocalLambda,
    ManualClock,
    RequestRecord,
    Success,
    plugin,
)
from cp_thirdparty.testing._artifact_credentials import CredentialIssuer, CredentialSource
from cp_thirdparty.testing._exchange import Exchange
from cp_thirdparty.testing._http_server import HttpServer
from cp_thirdparty.testing._in_process import IN_PROCESS_URL, connect
from cp_thirdparty.testing._scenario import RunningScenario, Scenario, ScenarioError, load
from cp_thirdparty.testing._signature import SignatureCheck
from cp_thirdparty.testing._states import States
from cp_thirdparty.testing._wire import (
    HttpRequest,
    RefusedError,
    Response,
    error_response,
    ok_response,
    operation_name_of,
    parameters_of,
)
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
from cp_thirdparty.testing.journal import RequestJournal
from cp_thirdparty.testing.journal_conformance import JournalConformance
from cp_thirdparty.testing.samples import (
    SampleJob,
    action_type_id,
    artifact,
    artifact_credentials,
    custom_job,
    job,
    job_details,
    pipeline_context,
    third_party_job,
)
from cp_thirdparty.testing.strategies import instances
from cp_thirdparty.worker import ArtifactsFactory, Handler

TEXT: str = IN_PROCESS_URL
FIXTURES: tuple[object, ...] = (plugin.local_codepipeline, plugin.local_codepipeline_settings)


def _secret_mapping(one: SecretMapping, entries: Mapping[str, str | SecretStr]) -> None:
    assert_type(SecretMapping(entries), SecretMapping)
    assert_type(one["key"], SecretStr)


# --- telemetry


def _call_record(
    one: CallRecord,
    operation_name: str,
    job_id: str | None,
    status_code: int | None,
    request_id: str | None,
    attempts: int,
    seconds: float,
    error: str | None,
) -> None:
    assert_type(
        CallRecord(
            operation_name=operation_name,
            job_id=job_id,
            status_code=status_code,
            request_id=request_id,
            attempts=attempts,
            seconds=seconds,
            error=error,
        ),
        CallRecord,
    )
    assert_type(one.attempts, int)
    assert_type(one.error, str | None)
    assert_type(one.job_id, str | None)
    assert_type(one.operation_name, str)
    assert_type(one.request_id, str | None)
    assert_type(one.seconds, float)
    assert_type(one.status_code, int | None)


# --- actions


def _action(
    one: Action, status: JobStatus | str | None, until: Callable[[Action], object] | None, timeout: float | timedelta
) -> None:
    assert_type(one.jobs, tuple[Job, ...])
    assert_type(one.status, JobStatus)
    assert_type(one.result, Success | FailureDetails | None)
    assert_type(one.wait(status, until=until, timeout=timeout), JobStatus)


def _job(
    one: Job,
    id: str,
    nonce: str,
    status: JobStatus,
    continuation_token: str | None,
    result: Success | FailureDetails | None,
) -> None:
    assert_type(Job(id=id, nonce=nonce, status=status, continuation_token=continuation_token, result=result), Job)
    assert_type(one.is_unclaimed, bool)
    assert_type(one.has_ended, bool)
    assert_type(one.continuation_token, str | None)
    assert_type(one.id, str)
    assert_type(one.nonce, str)
    assert_type(one.result, Success | FailureDetails | None)
    assert_type(one.status, JobStatus)


def _success(
    one: Success,
    continuation_token: str | None,
    current_revision: CurrentRevision | None,
    execution_details: ExecutionDetails | None,
) -> None:
    assert_type(
        Success(
            continuation_token=continuation_token,
            current_revision=current_revision,
            execution_details=execution_details,
        ),
        Success,
    )
    assert_type(one.continuation_token, str | None)
    assert_type(one.current_revision, CurrentRevision | None)
    assert_type(one.execution_details, ExecutionDetails | None)


# --- artifact_credentials


def _credential_desk(
    one: CredentialIssuer,
    clock: Callable[[], float],
    lifetime: float,
    source: CredentialSource,
    credentials: ArtifactCredentials,
) -> None:
    assert_type(CredentialIssuer(clock=clock, lifetime=lifetime), CredentialIssuer)
    assert_type(one.issue(source), ArtifactCredentials | None)
    assert_type(one.is_valid(credentials), bool)


# --- clock


def _manual_clock(one: ManualClock, now: float, seconds: float | timedelta, listener: Callable[[], object]) -> None:
    assert_type(ManualClock(now), ManualClock)
    one.advance(seconds)
    one.listen(listener)


# --- exchange


def _exchange(
    one: Exchange,
    states: States,
    faults: Faults,
    journal: RequestJournal,
    signature: SignatureCheck | None,
    clock: Callable[[], float],
    request: HttpRequest,
    code: str,
    message: str,
    status: int,
) -> None:
    assert_type(Exchange(states=states, faults=faults, journal=journal, signature=signature, clock=clock), Exchange)
    assert_type(one.respond(request), Response)
    assert_type(one.refuse(code, message, status=status), Response)
    assert_type(one.clock, Callable[[], float])
    assert_type(one.faults, Faults)
    assert_type(one.journal, RequestJournal)
    assert_type(one.signature, SignatureCheck | None)
    assert_type(one.states, States)


# --- faults


def _delay(one: Delay, seconds: float | timedelta, serve: Callable[[], Response]) -> None:
    assert_type(Delay(seconds), Delay)
    assert_type(one.play(serve), Response)
    assert_type(one.seconds, float)


def _expired_credentials(one: ExpiredCredentials, serve: Callable[[], Response]) -> None:
    assert_type(ExpiredCredentials(), ExpiredCredentials)
    assert_type(one.play(serve), Response)


def _fault(one: Fault, serve: Callable[[], Response]) -> None:
    assert_type(one.play(serve), Response)


def _faults(one: Faults, operation_name: str, fault: Fault, times: int | None) -> None:
    assert_type(Faults(), Faults)
    one.add(operation_name, fault, times)
    one.clear()
    assert_type(one.take(operation_name), Fault | None)


def _html_page(one: HtmlPage, status: int, page: str, serve: Callable[[], Response]) -> None:
    assert_type(HtmlPage(status=status, page=page), HtmlPage)
    assert_type(one.play(serve), Response)
    assert_type(one.page, str)
    assert_type(one.status, int)


def _lost_answer(one: LostAnswer, serve: Callable[[], Response]) -> None:
    assert_type(LostAnswer(), LostAnswer)
    assert_type(one.play(serve), Response)


def _server_error(one: ServerError, status: int, code: str, serve: Callable[[], Response]) -> None:
    assert_type(ServerError(status=status, code=code), ServerError)
    assert_type(one.play(serve), Response)
    assert_type(one.code, str)
    assert_type(one.status, int)


def _throttling(one: Throttling, code: str, status: int, serve: Callable[[], Response]) -> None:
    assert_type(Throttling(code=code, status=status), Throttling)
    assert_type(one.play(serve), Response)
    assert_type(one.code, str)
    assert_type(one.status, int)


def _truncated_body(
    one: TruncatedBody, length: int, content_length: Literal["whole", "cut"], serve: Callable[[], Response]
) -> None:
    assert_type(TruncatedBody(length=length, content_length=content_length), TruncatedBody)
    assert_type(one.play(serve), Response)
    assert_type(one.content_length, Literal["whole", "cut"])
    assert_type(one.length, int)


# --- http_server


def _http_server(one: HttpServer) -> None:
    assert_type(one, HttpServer)


# --- in_process


def _connect(client: BaseClient | Session, exchange: Exchange) -> None:
    connect(client, exchange)


# --- journal_conformance


def _journal_conformance(one: JournalConformance, clock: Callable[[], float], journal: worker.Journal) -> None:
    assert_type(JournalConformance(), JournalConformance)
    assert_type(one.open_journal(clock), worker.Journal)
    one.crash(journal)
    one.test_a_job_goes_from_claim_to_done()
    one.test_each_kind_of_result_is_kept()
    one.test_a_later_result_replaces_the_first()
    one.test_failed_attempts_to_report_are_recorded()
    one.test_the_outcome_is_kept()
    one.test_a_custom_job_is_kept()
    one.test_a_recovered_job_is_complete()
    one.test_a_crash_is_stored()
    one.test_an_unfinished_job_is_not_claimed()
    one.test_an_uncertain_job_is_claimed_when_it_is_offered()
    one.test_a_withdrawn_job_is_removed()
    one.test_crashes_and_suspects_are_recorded()
    one.test_a_released_job_is_recovered_once()
    one.test_a_released_job_whose_handler_never_began_is_claimed()
    one.test_a_released_job_may_be_claimed()
    one.test_a_worker_recovers_its_own_scope_only()
    one.test_a_journal_refuses_a_second_job_with_the_same_id()
    one.test_an_unknown_or_finished_job_does_not_change()
    one.test_many_threads_claim_one_job()
    one.test_old_finished_jobs_are_pruned()
    one.test_a_finished_job_is_found_by_its_id()
    one.test_a_running_worker_keeps_its_jobs()
    one.test_closing_releases_the_jobs()
    one.test_a_crash_is_counted_if_one_job_ran()
    one.test_several_running_jobs_become_suspects()
    one.test_a_crash_is_counted_if_one_suspect_ran()
    one.test_a_crash_is_counted_only_for_the_job_that_ran_alone()
    one.test_two_scopes_may_have_one_job_id()
    one.test_each_job_is_recovered_by_one_worker()


# --- journal


def _request_journal(one: RequestJournal, size: int, record: RequestRecord) -> None:
    assert_type(RequestJournal(size), RequestJournal)
    one.add(record)
    assert_type(one.records, tuple[RequestRecord, ...])


def _request_record(
    one: RequestRecord,
    operation_name: str | None,
    parameters: Mapping[str, Any] | None,
    accepted: bool,
    status_code: int | None,
    error_code: str | None,
    fault: Fault | None,
) -> None:
    assert_type(
        RequestRecord(
            operation_name=operation_name,
            parameters=parameters,
            accepted=accepted,
            status_code=status_code,
            error_code=error_code,
            fault=fault,
        ),
        RequestRecord,
    )
    assert_type(one.accepted, bool)
    assert_type(one.error_code, str | None)
    assert_type(one.fault, Fault | None)
    assert_type(one.operation_name, str | None)
    assert_type(one.parameters, Mapping[str, Any] | None)
    assert_type(one.status_code, int | None)


# --- samples


def _action_type_id(category: ActionCategory, owner: Literal["Custom"], provider: str, version: str) -> None:
    assert_type(action_type_id(category=category, owner=owner, provider=provider, version=version), ActionTypeId)


def _artifact(name: str, bucket_name: str, object_key: str | None, revision: str | None) -> None:
    assert_type(artifact(name, bucket_name=bucket_name, object_key=object_key, revision=revision), Artifact)


def _artifact_credentials(
    access_key_id: str, secret_access_key: str | SecretStr, session_token: str | SecretStr
) -> None:
    assert_type(
        artifact_credentials(
            access_key_id=access_key_id, secret_access_key=secret_access_key, session_token=session_token
        ),
        ArtifactCredentials,
    )


def _job_details(
    id: str,
    nonce: str,
    configuration: Mapping[str, str | SecretStr] | None,
    action_type: ActionTypeId | None,
    context: PipelineContext | None,
    input_artifacts: Iterable[Artifact] | None,
    output_artifacts: Iterable[Artifact],
    credentials: ArtifactCredentials | None,
    continuation_token: str | None,
    encryption_key: EncryptionKey | None,
) -> None:
    assert_type(
        job_details(
            id=id,
            nonce=nonce,
            configuration=configuration,
            action_type=action_type,
            context=context,
            input_artifacts=input_artifacts,
            output_artifacts=output_artifacts,
            credentials=credentials,
            continuation_token=continuation_token,
            encryption_key=encryption_key,
        ),
        JobDetails,
    )


def _pipeline_context(pipeline_name: str, stage_name: str, action_name: str) -> None:
    assert_type(
        pipeline_context(pipeline_name=pipeline_name, stage_name=stage_name, action_name=action_name), PipelineContext
    )


def _custom_job(details: JobDetails) -> None:
    assert_type(custom_job(details=details, account_id="111122223333"), CustomJob)


def _third_party_job(client_id: str, job_id: str) -> None:
    assert_type(third_party_job(client_id=client_id, job_id=job_id), ThirdPartyJob)


@attrs.frozen
class _Scan:
    project_name: str


def _sample_job(
    configuration: Mapping[str, str | SecretStr],
    inputs: Mapping[str, ArtifactContent],
    outputs: Iterable[str],
    folder: Path,
    context: PipelineContext,
    event: threading.Event,
    handler: Handler[_Scan],
) -> None:
    assert_type(job(), SampleJob[ActionConfiguration | None])
    assert_type(job().artifacts, FolderArtifacts)
    one = job(
        configuration=configuration,
        configuration_class=_Scan,
        inputs=inputs,
        outputs=outputs,
        folder=folder,
        client_id="client-1",
        context=context,
        continuation_token="run-1",
        seconds_left=timedelta(minutes=1),
        cancelled=event,
        stopping=event,
    )
    assert_type(one, SampleJob[_Scan])
    assert_type(one.configuration, _Scan)
    handler(one)
    job(configuration={"ProjectName": "demo"}, inputs={"Source": {"app.py": "x"}, "Other": b"", "Third": folder})
    assert_type(
        SampleJob(
            job_details(), 1, client_id="c", folder=None, seconds_left=1.0, cancelled=event, stopping=event
        ).configuration,
        int,
    )


# --- folder_artifacts


def _folder_artifacts(
    one: FolderArtifacts, client: ThirdPartyJobClient, details: JobDetails, name: str, content: ArtifactContent
) -> None:
    assert_type(FolderArtifacts("bucket"), FolderArtifacts)
    assert_type(FolderArtifacts(Path("bucket"), details), FolderArtifacts)
    opened = FolderArtifacts.for_job(client, details, client_token="t", folder="bucket", endpoint_url=None)
    assert_type(opened, FolderArtifacts)
    store: ArtifactStore = opened
    store.close()
    factory: ArtifactsFactory = partial(FolderArtifacts.for_job, folder="bucket")
    factory(client, details, client_token="t")
    assert_type(one.folder, Path)
    assert_type(one.put(name, content), Path)
    assert_type(one.files(name), dict[str, bytes])


# --- scenario


def _running_scenario(
    one: RunningScenario, client_id: str, client_token: SecretStr, action_type_id: ActionTypeId
) -> None:
    assert_type(
        RunningScenario(client_id=client_id, client_token=client_token, action_type_id=action_type_id, actions=()),
        RunningScenario,
    )
    assert_type(one.action_type_id, ActionTypeId)
    assert_type(one.actions, tuple[Action, ...])
    assert_type(one.client_id, str)
    assert_type(one.client_token, SecretStr)


def _scenario(
    one: Scenario,
    service: LocalCodePipeline,
) -> None:
    assert_type(Scenario.create_default(), Scenario)
    assert_type(one.start(service), RunningScenario)
    assert_type(len(one.actions), int)
    assert_type(one.clients, Mapping[str, SecretStr])
    assert_type(one.settings, Mapping[str, Any])


def _scenario_error(one: ScenarioError) -> None:
    assert_type(one, ScenarioError)


def _load(path: Path) -> None:
    assert_type(load(path), Scenario)


# --- server


def _local_code_pipeline(
    one: LocalCodePipeline,
    client_id: str,
    client_token: str | SecretStr,
    action_type_id: ActionTypeId,
    artifact_credentials: ArtifactCredentials,
    in_process: bool,
    client: BaseClient,
) -> None:
    assert_type(LocalCodePipeline(), LocalCodePipeline)
    day = timedelta(days=1)
    LocalCodePipeline(redelivery_delay=day, continuation_delay=day, job_timeout=day)
    LocalCodePipeline(custom_job_timeout=day, credential_lifetime=day)
    assert_type(one.endpoint_url, str)
    assert_type(one.requests, tuple[RequestRecord, ...])
    one.register_client(client_id, client_token)
    assert_type(one.start_action(action_type_id, client_id=client_id), Action)
    assert_type(one.credentials_are_valid(artifact_credentials), bool)
    assert_type(one.environment(), dict[str, str])
    assert_type(one.client(in_process=in_process), ThirdPartyJobClient)
    assert_type(one.custom_client(in_process=in_process), CustomJobClient)
    one.attach(client)
    one.start()
    one.close()


# --- signature


def _signature_check(
    one: SignatureCheck,
    access_key_id: str,
    secret_access_key: SecretStr,
    session_token: SecretStr | None,
    region_name: str,
    clock: Callable[[], float],
    request: HttpRequest,
) -> None:
    assert_type(
        SignatureCheck(
            access_key_id=access_key_id,
            secret_access_key=secret_access_key,
            session_token=session_token,
            region_name=region_name,
            clock=clock,
        ),
        SignatureCheck,
    )
    one.check(request)
    assert_type(one.access_key_id, str)
    assert_type(one.clock, Callable[[], float])
    assert_type(one.region_name, str)
    assert_type(one.secret_access_key, SecretStr)
    assert_type(one.session_token, SecretStr | None)


# --- states


def _states(
    one: States,
    clock: Callable[[], float],
    client_id: str,
    client_token: str | SecretStr,
    action_type_id: ActionTypeId,
    artifact_credentials: CredentialSource,
    action: Action,
    credentials: ArtifactCredentials,
    version: int,
    timeout: float,
    max_batch_size: int | None,
    job_id: str,
    other_client_token: SecretStr,
    nonce: str,
    success: Success,
    failure: FailureDetails,
) -> None:
    assert_type(States(clock=clock), States)
    one.register_client(client_id, client_token)
    data = JobData(action_type_id=action_type_id)
    assert_type(one.start_action(data, client_id=client_id, artifact_credentials=artifact_credentials), Action)
    assert_type(one.jobs_of(action), tuple[Job, ...])
    assert_type(one.credentials_are_valid(credentials), bool)
    one.wait_for_change(action, version, timeout)
    assert_type(one.poll(action_type_id, max_batch_size), tuple[ThirdPartyJob, ...])
    assert_type(one.details(job_id, other_client_token), JobDetails)
    assert_type(one.acknowledge(job_id, nonce, other_client_token), JobStatus)
    one.put_success(job_id, other_client_token, success)
    one.put_failure(job_id, other_client_token, failure)


# --- Lambda


def _local_lambda(
    one: LocalLambda,
    service: LocalCodePipeline,
    function: Callable[[dict[str, Any], Any], object],
    context: LambdaContext,
    input_artifacts: Iterable[Artifact],
) -> None:
    assert_type(LocalLambda(service, function, timeout=timedelta(seconds=3), credentials_lifetime=900.0), LocalLambda)
    assert_type(one.start_action(user_parameters="{}", input_artifacts=input_artifacts), Action)
    assert_type(one.invoke(deliveries=2), int)
    assert_type(LambdaContext(timedelta(seconds=3), function_name="f"), LambdaContext)
    assert_type(context.aws_request_id, str)
    assert_type(context.function_name, str)
    assert_type(context.get_remaining_time_in_millis(), int)


# --- wire


def _response(
    one: Response, status: int, headers: Mapping[str, str], body: bytes, ending: Literal["keep", "close", "lost"]
) -> None:
    assert_type(Response(status=status, headers=headers, body=body, ending=ending), Response)
    assert_type(one.body, bytes)
    assert_type(one.ending, Literal["keep", "close", "lost"])
    assert_type(one.headers, Mapping[str, str])
    assert_type(one.status, int)


def _refused_error(one: RefusedError) -> None:
    assert_type(one, RefusedError)


def _http_request(one: HttpRequest, method: str, target: str, headers: Mapping[str, str], body: bytes) -> None:
    assert_type(HttpRequest(method=method, target=target, headers=headers, body=body), HttpRequest)
    assert_type(one.body, bytes)
    assert_type(one.headers, Mapping[str, str])
    assert_type(one.method, str)
    assert_type(one.target, str)


def _failed(code: str, message: str, status: int) -> None:
    assert_type(error_response(code, message, status=status), Response)


def _ok(document: Mapping[str, Any] | None) -> None:
    assert_type(ok_response(document), Response)


def _operation_name_of(headers: Mapping[str, str]) -> None:
    assert_type(operation_name_of(headers), str)


def _parameters_of(operation_name: str, body: bytes) -> None:
    assert_type(parameters_of(operation_name, body), dict[str, Any])


def _strategies() -> None:
    assert_type(instances(JobDetails), SearchStrategy[JobDetails])
