"""
The failure policy: which party is responsible for a failure, and what the worker does next.

It has two tables: one for failures of the worker's own steps, and one for exceptions that a handler raised.  No other
module of this package makes decisions that depend on errors of the service, the transport or the artifacts.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import Enum, auto
from typing import Any, Final, NamedTuple

import attrs

from cp_thirdparty._core.backoff import FATAL
from cp_thirdparty._core.operations import OPERATION_NAMES
from cp_thirdparty.enums import FailureType
from cp_thirdparty.exceptions import (
    AccessDeniedError,
    ActionTypeNotFoundException,
    ArtifactError,
    ArtifactFileError,
    ArtifactNotFoundError,
    ArtifactTooLargeError,
    ArtifactTransferError,
    ClockSkewError,
    CodePipelineJobError,
    ConfigurationError,
    ContinuationStateError,
    CredentialsError,
    InvalidClientTokenException,
    InvalidJobException,
    InvalidJobStateException,
    InvalidNonceException,
    InvalidRequestError,
    JobNotFoundException,
    JournalError,
    OutputVariablesSizeExceededException,
    ResponseDecodeError,
    ServiceError,
    ThrottledError,
    TransportError,
    UnsafeArchiveError,
    UntrustedResponseError,
    ValidationException,
    WorkerStuckError,
)
from cp_thirdparty.exceptions._job_failures import ResultTypeError
from cp_thirdparty.worker.tokens import NoTokenError


class Step(Enum):
    """The step of the worker that failed."""

    POLL = auto()
    """Poll for jobs."""
    READ = auto()
    """Look up the client token of a job, and read the details of the job."""
    CLAIM = auto()
    """Acknowledge a job."""
    RUN = auto()
    """Run the handler."""
    REPORT = auto()
    """Report the result to CodePipeline."""


class Party(Enum):
    """The party that is responsible for a failure.  The values are used as `party` of a `JobEvent`."""

    JOB = "job"
    """The job: CodePipeline has ended the job, or the handler of the job has failed."""
    PARTNER = "partner"
    """The partner: the token store, AWS credentials, clock, code or machine of the partner."""
    SERVICE = "service"
    """The network or CodePipeline."""
    UNKNOWN = "unknown"
    """The worker cannot find out which party is responsible."""


class Next(Enum):
    """What the worker does next."""

    RETRY = auto()
    """Retry the same step after a pause."""
    RENEW_TOKEN = auto()
    """Look up the client token again, then retry."""
    RECONNECT = auto()
    """Create the clients again, which reloads the AWS credentials, then retry."""
    SIMPLIFY_RESULT = auto()
    """Report the result without its optional parts; if CodePipeline refuses that too, report a short failure."""
    DROP_OPTIONAL_PARTS = auto()
    """Report the result without its optional parts; if it has no optional parts, retry after a pause."""
    CONTINUE = auto()
    """Continue with the job, because an earlier attempt of this worker has claimed it."""
    RUN_AGAIN = auto()
    """Run the handler again."""
    FAIL = auto()
    """Report the job as failed."""
    REJECT = auto()
    """Leave the job unclaimed; CodePipeline offers it again."""
    LOSE_RACE = auto()
    """Leave the job to the worker that has claimed it."""
    END_AS_UNCERTAIN = auto()
    """End the job in this process, because it is unknown which worker owns the job."""
    END_AS_REPORTED = auto()
    """End the job as reported, because CodePipeline has accepted an earlier attempt."""
    END = auto()
    """End the job without a result, because CodePipeline no longer accepts a result."""
    STOP = auto()
    """Stop the worker, because no later poll can succeed."""


class ProcessDiedError(Exception):
    """
    The process in which a handler ran ended unexpectedly.

    Attributes:
        is_alone: Whether no other handler ran in that process, so that only this handler can be the cause.
        is_isolated: Whether that process could run no other handler.
    """

    def __init__(self, name: str, *, is_alone: bool, is_isolated: bool = False) -> None:
        super().__init__(name)
        self.is_alone = is_alone
        self.is_isolated = is_isolated


class NotStartedError(Exception):
    """A handler was not called; the message is the reason, for example the name of the error in the other process."""


class NotHeldError(Exception):
    """
    The worker did not send the result, or did not call the handler, because another worker may own the job.

    Either another worker owns the job, or the journal failed, so that the worker cannot be sure.
    """


@attrs.frozen(kw_only=True)
class Situation:
    """
    The state of the job at the time of a failure.

    Attributes:
        is_claimed: Whether this worker has claimed the job.
        is_inherited: Whether the job comes from the journal, because an earlier process started to claim it.
        is_from_event: Whether the job comes from the event of a Lambda function, so that CodePipeline may not know its
            id.
        may_be_accepted: Whether CodePipeline may have accepted an earlier attempt of the same step.
        can_run_again: Whether the handler may run a second time.
    """

    is_claimed: bool = False
    is_inherited: bool = False
    is_from_event: bool = False
    may_be_accepted: bool = False
    can_run_again: bool = False


Condition = Callable[[Exception, Situation], bool]


class Row(NamedTuple):
    """
    One row of `TABLE`.  It applies to failures of the classes in `errors` at this step if the condition is true.

    `reason` completes the message in which an operator reads why a job was not claimed or its handler was not called.
    """

    step: Step
    errors: tuple[type[Exception], ...]
    condition: Condition
    party: Party
    next: Next
    reason: str = ""


def _always(_error: Exception, _situation: Situation) -> bool:
    return True


def _is_unclaimed(_error: Exception, situation: Situation) -> bool:
    return not situation.is_claimed


def _is_inherited(_error: Exception, situation: Situation) -> bool:
    return situation.is_inherited


def _may_be_accepted(_error: Exception, situation: Situation) -> bool:
    return situation.may_be_accepted


def _can_give_up(error: Exception, situation: Situation) -> bool:
    # If CodePipeline may have accepted an earlier acknowledgement, the worker must retry until this is known.
    # Otherwise the worker can give the job up, because CodePipeline offers the job again.
    return getattr(error, "is_retry_safe", None) is False and not situation.may_be_accepted


def _is_refused(error: Exception, _situation: Situation) -> bool:
    return getattr(error, "is_retry_safe", None) is False


def _can_run_again(_error: Exception, situation: Situation) -> bool:
    return situation.can_run_again


def _is_about_id_of_event(error: Exception, situation: Situation) -> bool:
    return situation.is_from_event and (
        f"at '{_JOB_ID}'" in str(error) or getattr(error, "parameter", None) == "job_id"
    )


def _is_about_result(error: Exception, _situation: Situation) -> bool:
    if isinstance(error, ValidationException):
        # The error repeats the value that it refuses, and a part of the result may contain the name of a member.
        members = set(_MEMBER.findall(error.message))
        return not members & _REQUEST_MEMBERS or bool(members - _REQUEST_MEMBERS)
    return getattr(error, "parameter", None) in _RESULT_PARAMETERS


_RESULT_PARAMETERS: Final = (
    "continuation_token",
    "current_revision",
    "execution_details",
    "failure_details",
    "output_variables",
)
# The members of a request that are not part of the result.  CodePipeline's error names the member that it refuses.
_JOB_ID: Final = "jobId"
_REQUEST_MEMBERS: Final = frozenset({"clientToken", _JOB_ID})
_MEMBER: Final = re.compile(r"at '(\w+)")
_GONE: Final = (JobNotFoundException, InvalidJobException)
_ENDED: Final = (*_GONE, InvalidJobStateException)
_OUTDATED: Final = (CredentialsError, ClockSkewError)
_CREDENTIALS: Final = (*_OUTDATED, AccessDeniedError)
_PARTNER_SETUP: Final = (*_CREDENTIALS, ActionTypeNotFoundException)

UNDECODABLE: Final = "its details cannot be decoded"
_UNREADABLE: Final = "its details could not be read"
_UNAUTHORIZED: Final = "CodePipeline refuses its client token"
_UNAUTHORIZED_IN_PROCESS: Final = "CodePipeline refuses the client token in the process of its handler"
_INVALID_PARAMETER: Final = "its client token or id breaks a rule"
_NOT_ACKNOWLEDGED: Final = "it could not be acknowledged"

TABLE: Final[tuple[Row, ...]] = (
    Row(Step.POLL, FATAL, _always, Party.PARTNER, Next.STOP),
    Row(Step.POLL, _OUTDATED, _always, Party.PARTNER, Next.RECONNECT),
    Row(Step.POLL, (Exception,), _always, Party.SERVICE, Next.RETRY),
    Row(Step.READ, _GONE, _always, Party.JOB, Next.END),
    Row(Step.READ, (InvalidClientTokenException,), _always, Party.PARTNER, Next.RENEW_TOKEN, _UNAUTHORIZED),
    Row(Step.READ, (NoTokenError,), _is_unclaimed, Party.PARTNER, Next.REJECT),
    Row(Step.READ, (InvalidRequestError,), _is_unclaimed, Party.PARTNER, Next.REJECT, _INVALID_PARAMETER),
    Row(Step.READ, (ResponseDecodeError,), _is_unclaimed, Party.SERVICE, Next.REJECT, UNDECODABLE),
    Row(Step.READ, (Exception,), _is_unclaimed, Party.SERVICE, Next.REJECT, _UNREADABLE),
    Row(Step.READ, (NoTokenError, InvalidRequestError), _always, Party.PARTNER, Next.RENEW_TOKEN),
    Row(Step.READ, _PARTNER_SETUP, _always, Party.PARTNER, Next.RECONNECT),
    Row(Step.READ, (Exception,), _always, Party.SERVICE, Next.RETRY),
    Row(Step.CLAIM, (InvalidNonceException,), _is_inherited, Party.UNKNOWN, Next.END_AS_UNCERTAIN),
    Row(Step.CLAIM, (InvalidNonceException,), _may_be_accepted, Party.JOB, Next.CONTINUE),
    Row(Step.CLAIM, (InvalidNonceException,), _always, Party.JOB, Next.LOSE_RACE),
    Row(Step.CLAIM, _ENDED, _always, Party.JOB, Next.END),
    Row(Step.CLAIM, (InvalidClientTokenException,), _may_be_accepted, Party.PARTNER, Next.RENEW_TOKEN),
    Row(Step.CLAIM, _PARTNER_SETUP, _may_be_accepted, Party.PARTNER, Next.RECONNECT),
    Row(Step.CLAIM, (Exception,), _can_give_up, Party.PARTNER, Next.REJECT, _NOT_ACKNOWLEDGED),
    Row(Step.CLAIM, (Exception,), _always, Party.SERVICE, Next.RETRY, _NOT_ACKNOWLEDGED),
    Row(Step.RUN, (ProcessDiedError,), _can_run_again, Party.UNKNOWN, Next.RUN_AGAIN),
    Row(Step.RUN, (ProcessDiedError,), _always, Party.JOB, Next.FAIL),
    Row(Step.RUN, _GONE, _always, Party.JOB, Next.END),
    Row(Step.RUN, (InvalidClientTokenException,), _always, Party.PARTNER, Next.RENEW_TOKEN, _UNAUTHORIZED_IN_PROCESS),
    Row(Step.RUN, (Exception,), _always, Party.PARTNER, Next.RETRY),
    Row(Step.REPORT, (InvalidJobStateException,), _may_be_accepted, Party.JOB, Next.END_AS_REPORTED),
    Row(Step.REPORT, _ENDED, _always, Party.JOB, Next.END),
    Row(Step.REPORT, (OutputVariablesSizeExceededException,), _always, Party.JOB, Next.SIMPLIFY_RESULT),
    Row(Step.REPORT, (ValidationException, InvalidRequestError), _is_about_result, Party.JOB, Next.SIMPLIFY_RESULT),
    # CodePipeline refuses each retry if the event has no valid job id, for example if a person invoked the function.
    Row(Step.REPORT, (ValidationException, InvalidRequestError), _is_about_id_of_event, Party.JOB, Next.END),
    Row(
        Step.REPORT,
        (InvalidClientTokenException, NoTokenError, InvalidRequestError, ValidationException),
        _always,
        Party.PARTNER,
        Next.RENEW_TOKEN,
    ),
    Row(Step.REPORT, _PARTNER_SETUP, _always, Party.PARTNER, Next.RECONNECT),
    Row(Step.REPORT, (NotHeldError,), _always, Party.PARTNER, Next.RETRY),
    Row(Step.REPORT, (ServiceError,), _is_refused, Party.SERVICE, Next.DROP_OPTIONAL_PARTS),
    Row(Step.REPORT, (Exception,), _always, Party.SERVICE, Next.RETRY),
)


def classify(step: Step, error: Exception, situation: Situation) -> Row:
    """Return the first row of `TABLE` that applies to this failure."""
    return next(
        row for row in TABLE if row.step is step and isinstance(error, row.errors) and row.condition(error, situation)
    )


def needs_new_clients(error: Exception) -> bool:
    """Return whether calls may only succeed with new clients, for a call that is not repeated."""
    return classify(Step.POLL, error, Situation()).next is Next.RECONNECT


# --- exceptions that a handler raised

_OWN_MESSAGE: Final = "{message}"
_BAD_ARCHIVE: Final = "An archive breaks a rule: {message}"
_BAD_CONFIGURATION: Final = "The action configuration is not valid: {message}"
_DENIED: Final = "The job's credentials are not sufficient: {message}"
_CALL_FAILED: Final = "A request of the action's worker to AWS failed with {error}"
_SETUP: Final = "The action's worker is not set up correctly: {error}"
_NO_RESULT: Final = "The action's worker returned no valid result"
_STOPPED: Final = "The action's worker was stopped"
FAILED: Final = "The action's worker failed with {error}"


def _is_of_job(error: CodePipelineJobError) -> bool:
    """Return whether a call with the job's own credentials caused the error, and not a call to CodePipeline."""
    return error.job_id is not None and error.operation_name not in OPERATION_NAMES


def _is_from_s3(error: CodePipelineJobError) -> bool:
    return error.operation_name is not None


_CONDITIONS: Final[dict[str, Callable[[Any], bool]]] = {
    "": lambda _: True,
    "of the job's credentials": _is_of_job,
    "in S3": _is_from_s3,
}


@attrs.frozen
class HandlerFailure:
    """
    How the worker reports exceptions of one class to CodePipeline.

    Attributes:
        error: The class.  If the exception has several base classes in the table, the row of the nearest one applies.
        failure_type: The failure type to report.
        sentence: The message that the customer sees.  ``{message}`` is replaced by the message of the error, which this
            library wrote and which contains no values.  ``{error}`` is replaced by the name of the class.
        condition: A key of `_CONDITIONS`.  The row applies to the errors of the class for which the condition is true.
    """

    error: type[BaseException]
    failure_type: FailureType
    sentence: str
    condition: str = ""

    def is_for(self, error: BaseException) -> bool:
        """Return whether the condition of this row is true for an error of its class."""
        return _CONDITIONS[self.condition](error)


HANDLER_FAILURES: Final = (
    # The customer can fix the cause.
    HandlerFailure(ConfigurationError, FailureType.CONFIGURATION_ERROR, _BAD_CONFIGURATION),
    HandlerFailure(ArtifactNotFoundError, FailureType.REVISION_UNAVAILABLE, _OWN_MESSAGE, "in S3"),
    HandlerFailure(ArtifactNotFoundError, FailureType.CONFIGURATION_ERROR, _OWN_MESSAGE),
    HandlerFailure(UnsafeArchiveError, FailureType.JOB_FAILED, _BAD_ARCHIVE),
    HandlerFailure(ArtifactTooLargeError, FailureType.JOB_FAILED, _OWN_MESSAGE),
    HandlerFailure(ArtifactError, FailureType.JOB_FAILED, _OWN_MESSAGE),
    HandlerFailure(AccessDeniedError, FailureType.PERMISSION_ERROR, _DENIED, "of the job's credentials"),
    HandlerFailure(CredentialsError, FailureType.PERMISSION_ERROR, _OWN_MESSAGE, "of the job's credentials"),
    # The network or an AWS service failed.
    HandlerFailure(ArtifactTransferError, FailureType.SYSTEM_UNAVAILABLE, _OWN_MESSAGE),
    HandlerFailure(ThrottledError, FailureType.SYSTEM_UNAVAILABLE, _CALL_FAILED),
    HandlerFailure(TransportError, FailureType.SYSTEM_UNAVAILABLE, _CALL_FAILED),
    HandlerFailure(UntrustedResponseError, FailureType.SYSTEM_UNAVAILABLE, _CALL_FAILED),
    HandlerFailure(ResponseDecodeError, FailureType.SYSTEM_UNAVAILABLE, _CALL_FAILED),
    HandlerFailure(InvalidJobException, FailureType.SYSTEM_UNAVAILABLE, _CALL_FAILED),
    HandlerFailure(InvalidJobStateException, FailureType.SYSTEM_UNAVAILABLE, _CALL_FAILED),
    HandlerFailure(InvalidNonceException, FailureType.SYSTEM_UNAVAILABLE, _CALL_FAILED),
    HandlerFailure(JobNotFoundException, FailureType.SYSTEM_UNAVAILABLE, _CALL_FAILED),
    HandlerFailure(ServiceError, FailureType.SYSTEM_UNAVAILABLE, _CALL_FAILED),
    # The partner's worker is not set up correctly, which the customer cannot fix.
    HandlerFailure(AccessDeniedError, FailureType.SYSTEM_UNAVAILABLE, _SETUP),
    HandlerFailure(CredentialsError, FailureType.SYSTEM_UNAVAILABLE, _SETUP),
    HandlerFailure(InvalidClientTokenException, FailureType.SYSTEM_UNAVAILABLE, _SETUP),
    HandlerFailure(ActionTypeNotFoundException, FailureType.SYSTEM_UNAVAILABLE, _SETUP),
    HandlerFailure(ClockSkewError, FailureType.SYSTEM_UNAVAILABLE, _SETUP),
    HandlerFailure(ArtifactFileError, FailureType.SYSTEM_UNAVAILABLE, _SETUP),
    HandlerFailure(JournalError, FailureType.SYSTEM_UNAVAILABLE, _SETUP),
    HandlerFailure(WorkerStuckError, FailureType.SYSTEM_UNAVAILABLE, _SETUP),
    # The handler has a bug.
    HandlerFailure(ResultTypeError, FailureType.JOB_FAILED, _NO_RESULT),
    HandlerFailure(ContinuationStateError, FailureType.JOB_FAILED, FAILED),
    HandlerFailure(InvalidRequestError, FailureType.JOB_FAILED, FAILED),
    HandlerFailure(OutputVariablesSizeExceededException, FailureType.JOB_FAILED, FAILED),
    HandlerFailure(ValidationException, FailureType.JOB_FAILED, FAILED),
    HandlerFailure(CodePipelineJobError, FailureType.JOB_FAILED, FAILED),
    HandlerFailure(KeyboardInterrupt, FailureType.SYSTEM_UNAVAILABLE, _STOPPED),
    HandlerFailure(BaseException, FailureType.JOB_FAILED, FAILED),
)
