"""No exception and no return value of a handler strands its job; the table of exceptions is the documented one."""

from __future__ import annotations

import asyncio
import logging
import pickle
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.worker_service import ACTION_TYPE, CLIENT_ID, CLIENT_TOKEN, AnyJob, make_worker

from cp_thirdparty import (
    Continued,
    ExecutionDetails,
    FailureDetails,
    FailureType,
    JobFailedError,
    Succeeded,
    configuration,
    exceptions,
)
from cp_thirdparty._core.operations import OPERATION_NAMES
from cp_thirdparty.artifacts._credentials import check_credentials
from cp_thirdparty.configuration import structure_configuration
from cp_thirdparty.exceptions import (
    AccessDeniedError,
    ArtifactNotFoundError,
    ConfigurationError,
    CredentialsError,
    InvalidClientTokenException,
    ThrottledError,
    TransportError,
    UnsafeArchiveError,
)
from cp_thirdparty.models import JobData, JobDetails
from cp_thirdparty.testing import LocalCodePipeline
from cp_thirdparty.worker import Result
from cp_thirdparty.worker._failure_policy import HANDLER_FAILURES
from cp_thirdparty.worker._handler_failures import class_name, explain, timeout_message

_SECRET = "xMARKERx"


@pytest.fixture
def service() -> Iterator[LocalCodePipeline]:
    """Provide a running service with one customer."""
    with LocalCodePipeline(redelivery_delay=1000.0, continuation_delay=1000.0) as made:
        made.register_client(CLIENT_ID, CLIENT_TOKEN)
        yield made


def _fail(service: LocalCodePipeline, handler: Callable[[AnyJob], object]) -> tuple[FailureType, str]:
    """Run a handler in a worker, and return the type and the message that the customer reads, without the job's id."""
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    (outcome,) = make_worker(service, handler).run_once()
    assert isinstance(action.result, FailureDetails)
    end = f" (job {outcome.job.job_id})."
    return action.result.type, action.result.message.removesuffix(end) + "." * action.result.message.endswith(end)


def _raise(failure: BaseException, cause: BaseException | None = None) -> Callable[[AnyJob], Result]:
    def handle(_job: AnyJob) -> Result:
        raise failure from cause

    return handle


# --- the table

_EXCEPTIONS: dict[str, type[BaseException]] = {
    name: value
    for name in exceptions.__all__
    if isinstance(value := getattr(exceptions, name), type) and issubclass(value, BaseException)
}


def test_every_error_of_the_library_has_a_row() -> None:
    """A new class of errors needs a decision of its own; `JobFailedError` has the partner's words."""
    rows = {row.error for row in HANDLER_FAILURES}
    assert {name for name, error in _EXCEPTIONS.items() if error not in rows} == {"JobFailedError"}


def test_no_row_is_out_of_reach() -> None:
    """Of the rows of one class, only the last one applies to every error."""
    for index, row in enumerate(HANDLER_FAILURES):
        later = [other for other in HANDLER_FAILURES[index + 1 :] if other.error is row.error]
        assert (row.condition == "") == (later == [])


def test_the_docs_have_the_table() -> None:
    """The page of failures has each row in its order: class, condition, failure type and sentence."""
    page = Path(__file__).parents[2].joinpath("docs", "reference", "failures.md").read_text(encoding="utf-8")
    documented = [
        tuple(cell.strip().replace("`", "") for cell in line.strip("| \n").split("|"))
        for line in page.splitlines()
        if line.startswith("| `") and line.count("|") == 5
    ]
    assert documented == [
        (row.error.__name__, row.condition, row.failure_type.value, row.sentence) for row in HANDLER_FAILURES
    ]


_DENIED: dict[str, Any] = {"action": "s3:GetObject", "resource": "arn:aws:s3:::b/k", "job_id": "j"}
_CALL: dict[str, Any] = {"operation_name": "GetThirdPartyJobDetails", "job_id": "j"}
_S3: dict[str, Any] = {"operation_name": "GetObject", "job_id": "j"}

_REPORTS: list[tuple[Exception, FailureType, str]] = [
    (
        ConfigurationError(["ProjectName: required key missing"]),
        FailureType.CONFIGURATION_ERROR,
        "The action configuration is not valid: ProjectName: required key missing.",
    ),
    (
        ArtifactNotFoundError("input artifact 'Source': S3 has no such object", **_S3),
        FailureType.REVISION_UNAVAILABLE,
        "Input artifact 'Source': S3 has no such object.",
    ),
    (
        ArtifactNotFoundError("the job has no input artifact 'Source'; it has none", job_id="j"),
        FailureType.CONFIGURATION_ERROR,
        "The job has no input artifact 'Source'; it has none.",
    ),
    (
        UnsafeArchiveError("../x\x1b", "a path that leads outside"),
        FailureType.JOB_FAILED,
        "An archive breaks a rule: ../x\\x1b: a path that leads outside.",
    ),
    (
        AccessDeniedError(operation_name="GetObject", **_DENIED),
        FailureType.PERMISSION_ERROR,
        "The job's credentials are not sufficient: GetObject: not allowed; allow s3:GetObject on arn:aws:s3:::b/k.",
    ),
    (
        AccessDeniedError(_SECRET, action="codepipeline:GetThirdPartyJobDetails", resource=_SECRET, **_CALL),
        FailureType.SYSTEM_UNAVAILABLE,
        "The action's worker is not set up correctly: AccessDeniedError.",
    ),
    (
        CredentialsError("input artifact 'Source': S3 does not accept the credentials of the job", **_S3),
        FailureType.PERMISSION_ERROR,
        "GetObject: input artifact 'Source': S3 does not accept the credentials of the job.",
    ),
    (
        CredentialsError(f"profile {_SECRET} not found"),
        FailureType.SYSTEM_UNAVAILABLE,
        "The action's worker is not set up correctly: CredentialsError.",
    ),
    (
        InvalidClientTokenException(_SECRET, code="InvalidClientTokenException", **_CALL),
        FailureType.SYSTEM_UNAVAILABLE,
        "The action's worker is not set up correctly: InvalidClientTokenException.",
    ),
    (
        TransportError(f"no connection to {_SECRET}", **_CALL),
        FailureType.SYSTEM_UNAVAILABLE,
        "A request of the action's worker to AWS failed with TransportError.",
    ),
    (
        ThrottledError(_SECRET, code="SlowDown", **_S3),
        FailureType.SYSTEM_UNAVAILABLE,
        "A request of the action's worker to AWS failed with ThrottledError.",
    ),
]


@pytest.mark.parametrize("travel", [lambda failure: failure, lambda failure: pickle.loads(pickle.dumps(failure))])
@pytest.mark.parametrize(("failure", "kind", "sentence"), _REPORTS, ids=lambda value: type(value).__name__)
def test_an_error_of_the_library_is_reported(
    service: LocalCodePipeline,
    failure: Exception,
    kind: FailureType,
    sentence: str,
    travel: Callable[[Exception], Exception],
) -> None:
    """The customer reads the library's message where the customer can act; the facts of a pickled error count too."""
    assert _fail(service, _raise(travel(failure))) == (kind, sentence)
    assert _SECRET not in sentence


@pytest.mark.parametrize("name", _EXCEPTIONS)
def test_the_log_has_the_message_of_every_error(name: str) -> None:
    """Class and message of an error of this library are logged, with the place where it was raised."""
    failure = _MAKERS.get(name, _make)(_EXCEPTIONS[name])
    log = explain(failure, "j").failure
    if name == "JobFailedError":
        assert log == ""
    else:
        assert log == f"{_EXCEPTIONS[name].__name__}: {failure} at its start"


def test_the_log_has_the_command_that_installs_a_missing_extra(
    service: LocalCodePipeline, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A handler that uses artifacts without their extra is logged with the command that installs the extra."""
    monkeypatch.setitem(sys.modules, "s3transfer", None)
    assert _fail(service, lambda job: job.artifacts)[1] == "The action's worker failed with ImportError."
    assert "ImportError: artifacts in S3 need s3transfer: pip install 'cp-thirdparty[artifacts]' at " in caplog.text


@pytest.mark.parametrize("package", ["s3transfer", "another", None])
def test_the_log_has_no_message_of_another_import_error(package: str | None) -> None:
    """Any code may raise an `ImportError` with any message."""
    assert explain(ImportError(_SECRET, name=package), "j").failure == "ImportError at its start"


def _make(cls: Any) -> Exception:
    error: Exception = cls("what failed")
    return error


_MAKERS: dict[str, Callable[[Any], Exception]] = {
    "ArtifactFileError": lambda cls: cls(28, "No space left on device", "/data/report"),
    "AccessDeniedError": lambda cls: cls(action="a", resource="r"),
    "ClockSkewError": lambda cls: cls("late", code="c", offset=1.0),
    "ConfigurationError": lambda cls: cls(["a", "b"]),
    "InvalidRequestError": lambda cls: cls("parameter", "rule"),
    "JobFailedError": lambda cls: cls("JobFailed", "no"),
    "ResponseDecodeError": lambda cls: cls(["a", "b"]),
    "UnsafeArchiveError": lambda cls: cls("entry", "rule"),
    **{
        name: lambda cls: cls("refused", code="c")
        for name, error in _EXCEPTIONS.items()
        if issubclass(error, exceptions.ServiceError) and name not in ("AccessDeniedError", "ClockSkewError")
    },
}


class _OwnError(ArtifactNotFoundError):
    """An error of the partner, with a message of the partner."""


def test_a_subclass_has_the_type_and_not_the_message(service: LocalCodePipeline) -> None:
    """The message of a partner's class may hold anything."""
    assert _fail(service, _raise(_OwnError(_SECRET))) == (
        FailureType.CONFIGURATION_ERROR,
        "The action's worker failed with _OwnError.",
    )


def _group(name: str, *members: BaseException) -> BaseException:
    """Create an exception group, also on Python 3.10, where packages have their own."""
    group: BaseException = type(name, (BaseException,), {"exceptions": members})(_SECRET)
    return group


_NOT_FOUND = ArtifactNotFoundError("the job has no input artifact 'A'")
_OWN_WORDS = JobFailedError(FailureType.PERMISSION_ERROR, "no rights")


@pytest.mark.parametrize(
    ("failure", "kind", "message"),
    [
        (_group("ExceptionGroup", KeyError(_SECRET), _NOT_FOUND), "ConfigurationError", "The job has no input"),
        (_group("ExceptionGroup", _NOT_FOUND, _OWN_WORDS), "PermissionError", "no rights"),
        (_group("A", _group("B", _group("C", _OWN_WORDS))), "PermissionError", "no rights"),
        (_group("ExceptionGroup", KeyError(_SECRET)), "JobFailed", "The action's worker failed with ExceptionGroup"),
        (_group("ExceptionGroup", KeyboardInterrupt()), "SystemUnavailable", "The action's worker was stopped"),
    ],
)
def test_the_members_of_a_group_are_read(
    service: LocalCodePipeline, failure: BaseException, kind: str, message: str
) -> None:
    """The first member that is understood is reported; the partner's own words come before all."""
    found = _fail(service, _raise(failure))
    assert (found[0], found[1].startswith(message)) == (kind, True)


if sys.version_info >= (3, 11):

    async def _fail_in_task_group(_job: AnyJob) -> Succeeded:
        async def download() -> None:
            raise _NOT_FOUND

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(download())
        return Succeeded()

    def test_a_task_group_is_read(service: LocalCodePipeline) -> None:
        """An asynchronous handler raises an ExceptionGroup of what its tasks raise."""
        assert _fail(service, _fail_in_task_group)[0] is FailureType.CONFIGURATION_ERROR


def test_causes_are_read(service: LocalCodePipeline, caplog: pytest.LogCaptureFixture) -> None:
    """An exception that was raised from an error of this library is reported as that error; the log has both."""
    middle = ValueError(_SECRET)
    middle.__cause__ = _NOT_FOUND
    assert _fail(service, _raise(RuntimeError(_SECRET), middle)) == (
        FailureType.CONFIGURATION_ERROR,
        "The job has no input artifact 'A'.",
    )
    assert "RuntimeError at " in caplog.text
    assert "; from ArtifactNotFoundError: the job has no input artifact 'A'" in caplog.text
    assert _SECRET not in caplog.text


def test_a_circle_of_causes_ends() -> None:
    """Exceptions may name each other as causes, and groups may have thousands of members."""
    first, second = ValueError(), KeyError()
    first.__cause__, second.__cause__ = second, first
    assert explain(first, "j").failure == "ValueError at its start; from KeyError at its start"
    many = explain(_group("Many", *(ValueError() for _ in range(5000))), "j")
    assert many.failure.count("ValueError") < 20


def test_a_deep_traceback_is_short_in_the_log(service: LocalCodePipeline, caplog: pytest.LogCaptureFixture) -> None:
    """The log has the last frames of an endless recursion."""

    def handle(job: AnyJob) -> Succeeded:
        return handle(job)

    assert _fail(service, handle) == (FailureType.JOB_FAILED, "The action's worker failed with RecursionError.")
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.getMessage().count("test_handler_failures.py") <= 20


# --- nothing strands a job


class _NoInitError(JobFailedError):
    def __init__(self, text: str) -> None:
        self.text = text


def _refuse(_instance: object, _value: object = None) -> Any:
    raise ValueError(_SECRET)


def _odd(base: type[Any], name: str) -> Any:
    """Create an object of a subclass with a property that raises, without its constructor."""
    odd: Any = type(f"Odd{base.__name__}", (base,), {name: property(_refuse)})
    return odd.__new__(odd)


class _Odd(Exception):  # noqa: N818 - as a partner might write it
    def __str__(self) -> str:
        raise ValueError(_SECRET)

    def __repr__(self) -> str:
        raise ValueError(_SECRET)

    def __reduce__(self) -> str:
        raise ValueError(_SECRET)


class _OddMembers(Exception):  # noqa: N818 - as a partner might write it
    @property
    def exceptions(self) -> Any:
        raise KeyboardInterrupt


class _OddMeta(type):
    @property
    def __name__(cls) -> str:  # type: ignore[override] # on purpose
        raise ValueError(_SECRET)


class _OddlyNamed(Exception, metaclass=_OddMeta):  # noqa: N818 - as a partner might write it
    pass


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        (_NoInitError(_SECRET), "The job failed; the worker gave no reason."),
        (_odd(JobFailedError, "message"), "The action's worker failed."),
        (_Odd(), "The action's worker failed with _Odd."),
        (_odd(Exception, "__class__"), "The action's worker failed."),
        (_OddMembers(), "The action's worker failed."),
        (_OddlyNamed(), "The action's worker failed with _OddlyNamed."),
        (type("X" * 5000, (Exception,), {})(), f"The action's worker failed with {'X' * 99}…."),
        (type("a\nb\x1b", (Exception,), {})(), "The action's worker failed with a\\nb\\x1b."),
        (SystemExit(_SECRET), "The action's worker failed with SystemExit."),
        (GeneratorExit(_SECRET), "The action's worker failed with GeneratorExit."),
        (asyncio.CancelledError(_SECRET), "The action's worker failed with CancelledError."),
        (StopIteration(_SECRET), "The action's worker failed with StopIteration."),
    ],
    ids=class_name,
)
def test_any_exception_is_reported(
    service: LocalCodePipeline, caplog: pytest.LogCaptureFixture, failure: BaseException, message: str
) -> None:
    """The job ends with a failure, which is logged, whatever the exception does when it is looked at."""
    assert _fail(service, _raise(failure)) == (FailureType.JOB_FAILED, message)
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert class_name(failure) in record.getMessage()
    assert _SECRET not in caplog.text


def _anything(value: object) -> Any:
    """Return a value as one of any type."""
    return value


@pytest.mark.parametrize(
    ("handler", "message"),
    [
        (lambda _: Succeeded(execution_details=_anything({"summary": "x"})), "returned no valid result."),
        (lambda _: Continued(continuation_token="t", current_revision=_anything(7)), "returned no valid result."),
        (lambda _: None, "returned no valid result."),
        (lambda _: _odd(Succeeded, "current_revision"), "failed with ValueError."),
        (lambda _: _odd(object, "__class__"), "failed with ValueError."),
        (lambda _: ExecutionDetails(summary=_anything(7)), "failed with InvalidRequestError."),
        (lambda _: Continued(continuation_token=""), "failed with InvalidRequestError."),
        (lambda _: FailureDetails(type=_anything("no type"), message="m"), "failed with InvalidRequestError."),
    ],
)
def test_a_wrong_result_is_a_failure_of_the_handler(
    service: LocalCodePipeline, caplog: pytest.LogCaptureFixture, handler: Callable[[AnyJob], object], message: str
) -> None:
    """The customer reads that the worker failed; the log has the class, the library's message and the place."""
    assert _fail(service, handler) == (FailureType.JOB_FAILED, f"The action's worker {message}")
    assert "handler_failed" in caplog.text
    assert _SECRET not in caplog.text


def test_the_log_has_what_was_wrong(service: LocalCodePipeline, caplog: pytest.LogCaptureFixture) -> None:
    """The partner reads which part had which type, and the line that made it."""
    _fail(service, lambda _: Succeeded(execution_details=_anything({"summary": _SECRET})))
    assert "execution_details must be of type ExecutionDetails or None, not dict at " in caplog.text
    assert "test_handler_failures.py:" in caplog.text
    assert _SECRET not in caplog.text


def test_wrong_use_of_a_failure_keeps_what_is_correct(
    service: LocalCodePipeline, caplog: pytest.LogCaptureFixture
) -> None:
    """The customer reads the message although the failure type was misspelt; the log has what was wrong."""

    def handle(_job: AnyJob) -> Succeeded:
        raise JobFailedError(_anything("PermissionsError"), "no rights")

    assert _fail(service, handle) == (FailureType.JOB_FAILED, "no rights")
    assert "failure_type must be a FailureType or one of" in caplog.text


def test_a_handler_may_return_a_failure(service: LocalCodePipeline, caplog: pytest.LogCaptureFixture) -> None:
    """Returned details of a failure are reported as they are; nothing is logged as a failure of the handler."""
    details = FailureDetails(type=FailureType.REVISION_OUT_OF_SYNC, message="m", external_execution_id="e")
    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    make_worker(service, lambda _: details).run_once()
    assert action.result == details
    assert "handler_failed" not in caplog.text


@pytest.mark.parametrize("error", [RecursionError, SystemExit])
def test_a_job_that_cannot_be_closed_keeps_its_result(
    service: LocalCodePipeline, caplog: pytest.LogCaptureFixture, error: type[BaseException]
) -> None:
    """A success stays one, and the log has a warning."""

    def handle(job: AnyJob) -> Succeeded:
        def close() -> None:
            raise error(_SECRET)

        _anything(job).close = close
        return Succeeded()

    action = service.start_action(ACTION_TYPE, client_id=CLIENT_ID)
    make_worker(service, handle).run_once()
    assert action.status == "Succeeded"
    assert f"the job could not be closed: {error.__name__}" in caplog.text
    assert _SECRET not in caplog.text


def _explain(failure: BaseException) -> FailureDetails:
    result = explain(failure, "j").result
    assert isinstance(result, FailureDetails)
    return result


def test_the_operations_of_codepipeline_are_not_those_of_s3() -> None:
    """A denied call to CodePipeline is not about the job's credentials, whichever call it is."""
    for name in OPERATION_NAMES:
        failure = AccessDeniedError(operation_name=name, **_DENIED)
        assert _explain(failure).type is FailureType.SYSTEM_UNAVAILABLE


def test_a_job_without_credentials_is_reported_as_such() -> None:
    """Absent credentials of the job are not taken for those of the worker."""
    failure = check_credentials(JobDetails(id="j", data=JobData(), nonce="1"))
    assert failure is not None
    details = _explain(failure)
    assert (details.type, details.message) == (
        FailureType.PERMISSION_ERROR,
        "The job has no artifact credentials (job j).",
    )


def test_the_log_does_not_show_where_the_library_is_installed() -> None:
    """The place of an error of this library starts at the package."""
    caught: list[BaseException] = []
    try:
        structure_configuration(None, int)
    except TypeError as error:
        caught.append(error)
    log = explain(caught[0], "job-1").failure
    assert " > cp_thirdparty/_base/frames.py:" in log
    assert str(Path(configuration.__file__).parents[1]) not in log


class _Hostile(str):
    """A string whose comparison raises."""

    __slots__ = ()
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        raise RuntimeError(_SECRET)


@pytest.mark.parametrize(
    "error",
    [ImportError("x", name=["y"]), ImportError("x", name=_Hostile("y")), ImportError(_Hostile("x"), name="s3transfer")],  # type: ignore[arg-type] # any code may raise it
)
def test_an_import_error_may_have_any_values(error: ImportError) -> None:
    """None of their methods runs."""
    assert explain(error, "j").failure == "ImportError at its start"


@pytest.mark.parametrize(("seconds", "shown"), [(-5.0, "0"), (-0.0, "0"), (0.4, "0"), (3300.0, "3300")])
def test_no_job_has_less_than_no_time(seconds: float, shown: str) -> None:
    """A function of Lambda may have no time left when its job begins."""
    assert timeout_message(seconds) == f"The job took longer than {shown} seconds."
