"""
No public function shows a secret in a frame when another argument, or the secret itself, is wrong.

Each public function or class that takes a secret is called with every kind of wrong argument, while a marker is in all
its secrets.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import re
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest
from support.introspection import MODULES
from support.marker_surfaces import reachable_frames
from support.public_surface import list_missing

from cp_thirdparty import (
    ActionConfiguration,
    ActionTypeId,
    ArtifactCredentials,
    Continued,
    CustomJobClient,
    FailureDetails,
    FailureType,
    JobDetails,
    JobWorker,
    SecretStr,
    ThirdPartyJobClient,
)
from cp_thirdparty.artifacts import ArtifactStore
from cp_thirdparty.converter import structure, structure_configuration, unstructure
from cp_thirdparty.exceptions import InvalidRequestError
from cp_thirdparty.secrets import SecretMapping
from cp_thirdparty.testing import FolderArtifacts, LocalCodePipeline, LocalLambda, samples
from cp_thirdparty.testing.faults import Delay
from cp_thirdparty.worker import JobProcessor, JobScope, LambdaHandler, WorkerHealth

_MARKER = "xMARKERx"
_ACTION_TYPE = ActionTypeId(category="Test", owner="ThirdParty", provider="ExampleScan", version="1")

# What stands for a wrong argument of any kind.
_WRONG: tuple[Any, ...] = (None, -1, 0, 3.5, float("nan"), True, "", "no", object(), [], {}, len)

# The secret in another type.
_WRONG_SECRETS: tuple[Any, ...] = (
    *(_MARKER.encode(), [_MARKER], {_MARKER: 1}, {"a": _MARKER.encode()}, {"configuration": {"a": [_MARKER]}}),
)

_Call = tuple[Callable[..., object], Mapping[str, Any]]


class _Plain:
    """A class that no configuration fits."""


def _calls(service: LocalCodePipeline, client: ThirdPartyJobClient, folder: Path) -> dict[str, _Call]:
    """Return each function with valid arguments, in which every secret is the marker."""
    function: Any = len
    job = {"job_id": "job-1", "client_token": _MARKER}
    credentials = {"access_key_id": _MARKER, "secret_access_key": _MARKER, "session_token": _MARKER}
    document = {"id": "1", "nonce": "1", "data": {"actionConfiguration": {"configuration": {"a": _MARKER}}}}
    details = samples.job_details()
    failure = FailureDetails(type=FailureType.JOB_FAILED, message="no")
    worker = {
        "connect": service.client,
        "handler": len,
        "configuration": _Plain,
        "client_tokens": {"client-1": _MARKER},
        "job_timeout": 1.0,
        "artifacts": len,
        "on_event": len,
    }
    return {
        "SecretStr": (SecretStr, {"value": _MARKER}),
        "SecretStr.wrap": (SecretStr.wrap, {"value": _MARKER}),
        "SecretMapping": (SecretMapping, {"entries": {"a": _MARKER}}),
        "ArtifactCredentials": (ArtifactCredentials, credentials),
        "ActionConfiguration": (ActionConfiguration, {"configuration": {"a": _MARKER}}),
        "structure": (structure, {"data": document, "model": JobDetails}),
        "unstructure": (unstructure, {"model": details, "secrets": "mask"}),
        "structure_configuration": (
            structure_configuration,
            {"configuration": ActionConfiguration(configuration={"a": _MARKER}), "model": _Plain},
        ),
        "ThirdPartyJobClient.get_third_party_job_details": (client.get_third_party_job_details, job),
        "ThirdPartyJobClient.acknowledge_third_party_job": (client.acknowledge_third_party_job, {**job, "nonce": "1"}),
        "ThirdPartyJobClient.put_third_party_job_success_result": (
            client.put_third_party_job_success_result,
            {**job, "continuation_token": None, "current_revision": None, "execution_details": None},
        ),
        "ThirdPartyJobClient.put_third_party_job_failure_result": (
            client.put_third_party_job_failure_result,
            {**job, "failure_details": failure},
        ),
        "ArtifactStore.for_job": (
            ArtifactStore.for_job,
            {
                "client": client,
                "details": details,
                "client_token": _MARKER,
                "expected_bucket_owner": "111122223333",
                "endpoint_url": "http://127.0.0.1:1",
                "region_name": "us-east-1",
            },
        ),
        "FolderArtifacts.for_job": (
            FolderArtifacts.for_job,
            {"client": client, "details": details, "client_token": _MARKER, "folder": ""},
        ),
        "job": (
            samples.job,
            {
                "configuration": {"a": _MARKER},
                "configuration_class": None,
                "inputs": {"Source": {"f": _MARKER.encode()}},
                "outputs": ("Report",),
                "client_id": "c",
            },
        ),
        "JobWorker": (
            JobWorker,
            {
                **worker,
                "action_type_id": _ACTION_TYPE,
                "journal": None,
                "concurrency": 1,
                "max_jobs_per_client": 1,
                "poll_interval": 1.0,
                "grace": 1.0,
                "is_idempotent": True,
                "max_crashes": 1,
                "keep_finished": 1.0,
                "executor": None,
                "clock": len,
            },
        ),
        "JobProcessor": (JobProcessor, worker),
        "LambdaHandler.__call__": (
            functools.partial(LambdaHandler(function), context=None),
            {"event": {"data": _MARKER}},
        ),
        "LocalLambda.start_action": (
            LocalLambda(service, function).start_action,
            {"user_parameters": _MARKER, "input_artifacts": (), "output_artifacts": (), "encryption_key": None},
        ),
        "FolderArtifacts.put": (FolderArtifacts(folder, details).put, {"name": "", "content": {"f": _MARKER.encode()}}),
        "LocalCodePipeline": (
            LocalCodePipeline,
            {
                "redelivery_delay": 1.0,
                "access_key_id": "AKID",
                "secret_access_key": _MARKER,
                "session_token": _MARKER,
                "job_timeout": 1.0,
                "default_batch_size": 1,
                "credential_lifetime": 1.0,
                "journal_size": 1,
                "port": 0,
            },
        ),
        "LocalCodePipeline.register_client": (
            service.register_client,
            {"client_id": "client-1", "client_token": _MARKER},
        ),
        "LocalCodePipeline.start_action": (
            service.start_action,
            {
                "action_type_id": _ACTION_TYPE,
                "client_id": "client-1",
                "configuration": {"a": _MARKER},
                "input_artifacts": (),
                "artifact_credentials": samples.artifact_credentials(**credentials),
            },
        ),
        "artifact_credentials": (samples.artifact_credentials, credentials),
        "job_details": (samples.job_details, {"configuration": {"a": _MARKER}, "nonce": "1", "credentials": None}),
    }


def _mistakes(call: _Call) -> Iterator[tuple[str, BaseException]]:
    """Yield what a function raises for each wrong argument."""
    function, valid = call
    for name in valid:
        for wrong in (*_WRONG, *(_WRONG_SECRETS if _MARKER in repr(valid[name]) else ())):
            try:
                function(**{**valid, name: wrong})
            except Exception as failure:  # noqa: BLE001, PERF203 - the test looks at it
                yield f"{name}={type(wrong).__name__}", failure


@pytest.fixture
def calls(tmp_path: Path) -> Iterator[dict[str, _Call]]:
    """Give the functions, over a service that accepts nothing."""
    with LocalCodePipeline() as service, service.client() as client:
        service.register_client("client-1", "t")
        yield _calls(service, client, tmp_path)


def test_no_wrong_argument_shows_a_secret(calls: dict[str, _Call]) -> None:
    """Neither in a message nor in a frame, and every function refuses something."""
    shown: list[str] = []
    for name, call in calls.items():
        mistakes = list(_mistakes(call))
        assert mistakes, name
        for argument, failure in mistakes:
            if _MARKER in _all_that_shows(failure):
                shown.append(f"{name}({argument}): {type(failure).__name__}: {failure}")
    assert shown == []


def _all_that_shows(failure: BaseException) -> str:
    frames = [frame for frame in reachable_frames(failure) if frame.f_code.co_filename != __file__]
    return f"{failure} {failure!r} {failure.args} {vars(failure)} {[frame.f_locals for frame in frames]}"


@pytest.mark.parametrize("client", [ThirdPartyJobClient, CustomJobClient])
def test_the_password_of_a_url_is_not_shown(client: type[ThirdPartyJobClient | CustomJobClient]) -> None:
    """A URL with a password is refused, without the password in the error or a frame."""
    with pytest.raises(InvalidRequestError, match=r"endpoint_url: must be .* without a password") as caught:
        client.create(region_name="us-east-1", endpoint_url=f"https://user:{_MARKER}@127.0.0.1")
    assert _MARKER not in _all_that_shows(caught.value)


# Public names that take no secret.
_WITHOUT_SECRETS = frozenset(
    """
    AccessDeniedError Action ActionCategory ActionContext ActionOwner ActionTypeId ActionTypeNotFoundException
    ArchiveLimits Artifact ArtifactContent ArtifactError ArtifactFileError ArtifactLocation ArtifactLocationType
    ArtifactNotFoundError ArtifactTooLargeError ArtifactTransferError ArtifactsFactory AsyncCustomJobClient
    AsyncThirdPartyJobClient CallFacts CallRecord ClockSkewError CodePipelineJobError ConfigurationError
    ConfigurationKey ContinuationStateError Continued CredentialsError CurrentRevision CustomActionProperty
    CustomJob CustomJobClient CustomJobDetails Delay Delivery DynamoDBJournal EncryptionKey EncryptionKeyType
    EnvironmentTokens EventHook ExecutionDetails ExpiredCredentials FailureDetails FailureType Fault Faults
    FinishedOutcome Gone HandedBack Handler HealthServer HtmlPage IndexedJournal InvalidClientTokenException
    InvalidJobException InvalidJobStateException InvalidNonceException InvalidRequestError Job JobData JobDetails
    JobEvent JobEventName JobFailedError JobNotFoundException JobScope JobStatus Journal JournalConformance JournalEntry
    JournalError JournalState Key LambdaContext LambdaJobEvent LeasedJournal LostAnswer LostRace ManualClock
    MemoryJournal OutputVariablesSizeExceededException PipelineContext ProcessPerJob PrometheusMetrics Recovered
    RefreshingTokens Rejected Released Reported RequestRecord Response ResponseDecodeError S3Location SampleJob
    SecretsManagerTokens ServerError ServiceError SetAside SqliteJournal StageContext Succeeded Success
    ThirdPartyActionProperty ThirdPartyError ThirdPartyJob ThrottledError Throttling TransportError TruncatedBody
    Uncertain UnsafeArchiveError Unsent UntrustedResponseError ValidationException WorkerHealth WorkerMetrics
    WorkerState WorkerStuckError action_type_id action_type_properties artifact check_configuration_class
    create_archive custom_job dynamodb_table extract_archive instances is_already_reported journal_policy lambda_policy
    local_codepipeline local_codepipeline_settings may_have_been_accepted pipeline_context processes
    prometheus_metrics third_party_job worker_policy
    """.split()  # noqa: SIM905 - a list would take a line for each
)


# How the types of parameters show that a secret or the content of a file may be given as a plain value.
_SECRET_TYPE = re.compile(r"SecretStr|ClientTokens|ArtifactContent")
# Parameters whose types do not show it.
_SECRET_NAMES = frozenset({"event", "user_parameters"})
_NO_SECRETS = frozenset({"PrometheusMetrics.record(event=)", "WorkerMetrics.record(event=)"})  # events of jobs


def _public_callables() -> dict[str, Callable[..., object]]:
    """Return all public functions and classes, and the public methods of these classes."""
    found: dict[str, Callable[..., object]] = {}
    missing = list_missing()
    for name in MODULES.keys() - missing:
        module: Any = importlib.import_module(name)
        for each in module.__all__:
            value = getattr(module, each, None)
            if not callable(value) or f"{name}.{each}" in missing:
                continue
            found[each] = value
            for method in dir(value) if isinstance(value, type) else ():
                function = getattr(value, method, None)  # an alias of a generic class lists what it lacks
                module_name = getattr(function, "__module__", None) or ""
                if (
                    (method == "__call__" or not method.startswith("_"))
                    and inspect.isroutine(function)
                    and module_name.startswith("cp_thirdparty")
                ):
                    found[f"{each}.{method}"] = function
    return found


def _secret_parameters(function: Callable[..., object]) -> set[str]:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # a type alias
        return set()
    return {each.name for each in parameters if _SECRET_TYPE.search(str(each.annotation)) or each.name in _SECRET_NAMES}


_INCOMPLETE: dict[str, Callable[[], object]] = {
    "Continued": lambda: Continued(state=object()),  # type: ignore[call-overload]
    "Continued with both": lambda: Continued(state=object(), continuation_token="token"),  # type: ignore[call-overload]
    "Delay": lambda: Delay("no"),  # type: ignore[arg-type]
    "JobScope": lambda: JobScope(region_name="", endpoint_url=1, action_type_id=_ACTION_TYPE),  # type: ignore[arg-type]
    "WorkerHealth": lambda: WorkerHealth(**dict.fromkeys(attrs.fields_dict(WorkerHealth), None)),  # type: ignore[arg-type]
    "client": lambda: ThirdPartyJobClient(None),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("case", _INCOMPLETE)
def test_a_constructor_that_raises_leaves_no_incomplete_object_in_a_frame(case: str) -> None:
    """A traceback with locals calls `repr`, which would raise `AttributeError` for such an object."""
    with pytest.raises(Exception) as caught:  # noqa: PT011 - each case has its own
        _INCOMPLETE[case]()
    for frame, _ in traceback.walk_tb(caught.value.__traceback__):
        for value in dict(frame.f_locals).values():
            repr(value)


def test_every_secret_parameter_has_a_marker(calls: dict[str, _Call]) -> None:
    """A function or a method with a parameter for a secret is called above, with the marker in it."""
    missing = [
        f"{name}({parameter}=)"
        for name, function in _public_callables().items()
        if not name.startswith("AsyncThirdPartyJobClient")  # the same code, in another event loop
        for parameter in sorted(_secret_parameters(function))
        if f"{name}({parameter}=)" not in _NO_SECRETS
        if name not in calls or _MARKER not in repr(calls[name][1].get(parameter))
    ]
    assert missing == []


def test_the_search_finds_secret_parameters() -> None:
    """It finds plain types, and types in unions and in aliases."""
    found = {name for name, function in _public_callables().items() if _secret_parameters(function)}
    assert found >= {"ArtifactCredentials", "JobWorker", "LocalCodePipeline.start_action", "ArtifactStore.for_job"}


def test_every_public_function_is_known(calls: dict[str, _Call]) -> None:
    """A new one is called above, or has no secret."""
    public = {name for name in _public_callables() if "." not in name}
    called = {name.partition(".")[0] for name in calls}
    assert sorted(public - called - _WITHOUT_SECRETS) == []  # fewer, where an extra is not installed
