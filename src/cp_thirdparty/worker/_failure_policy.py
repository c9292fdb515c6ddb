"""
The failure policy: which party a failure belongs to, and what the worker does next.

It has two tables: for failures of the worker's own steps, and for exceptions that a handler raised.  Nothing else in
this package names an error class of the service, the transport or the artifacts.
"""

from __future__ import annotations

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
    """What the worker was doing when something failed."""

    POLL = auto()
    """Ask for jobs."""
    READ = auto()
    """Look up the client token of a job and read its details."""
    CLAIM = auto()
    """Acknowledge a job."""
    RUN = auto()
    """Run the handler."""
    REPORT = auto()
    """Put the result."""


class Party(Enum):
    """Whom a failure belongs to.  The values are those of events."""

    JOB = "job"
    """The job: CodePipeline has ended it, or its handler has failed."""
    US = "partner"
    """The partner: token store, AWS credentials, clock, code or machine."""
    SERVICE = "service"
    """The network or CodePipeline."""
    UNKNOWN = "unknown"
    """It cannot be found out."""


class Next(Enum):
    """What the worker does next."""

    RETRY = auto()
    """Try again after a pause."""
    RENEW_TOKEN = auto()
    """Look the client token up again, then try again."""
    RECONNECT = auto()
    """Create the clients again, which loads the AWS credentials again, then try again."""
    SIMPLIFY_RESULT = auto()
    """Report less: without decoration, then a short failure."""
    DROP_DECORATION = auto()
    """Report the same result without decoration, if it has some; else try again after a pause."""
    TAKE = auto()
    """The job is this worker's."""
    RUN_AGAIN = auto()
    """Run the handler again."""
    FAIL = auto()
    """Report a failure to the customer."""
    REJECT = auto()
    """Leave the job unclaimed; CodePipeline offers it again."""
    LOSE = auto()
    """Leave the job to the worker that has claimed it."""
    DOUBT = auto()
    """End here; which worker owns the job is unknown."""
    ACCEPT = auto()
    """The service has the result."""
    END = auto()
    """CodePipeline takes no result any more."""
    STOP = auto()
    """End the worker: no later poll can succeed."""


class ProcessDiedError(Exception):
    """
    The process in which a handler ran has died.

    Attributes:
        is_alone: Whether no other handler ran there, so that this one is the cause.
        is_isolated: Whether no other handler could have run there.
    """

    def __init__(self, name: str, *, is_alone: bool, is_isolated: bool = False) -> None:
        super().__init__(name)
        self.is_alone = is_alone
        self.is_isolated = is_isolated


class NotStartedError(Exception):
    """A handler could not be started in another process; the name of the error there is its message."""


class NotHeldError(Exception):
    """No result was sent, or no handler was run: another worker has the job, or the journal cannot exclude it."""


@attrs.frozen(kw_only=True)
class Situation:
    """
    What is known about the job of a failure.

    Attributes:
        is_claimed: Whether the job is this worker's.
        is_inherited: Whether an earlier process began to claim the job.
        is_from_event: Whether an event has brought the job, so that CodePipeline may not know its id.
        may_be_accepted: Whether an earlier attempt of the same step may have been accepted.
        can_run_again: Whether the handler may run again.
    """

    is_claimed: bool = False
    is_inherited: bool = False
    is_from_event: bool = False
    may_be_accepted: bool = False
    can_run_again: bool = False


Condition = Callable[[Exception, Situation], bool]


class Row(NamedTuple):
    """One row of the table: it fits a failure of one of these classes at this step, if the condition holds."""

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


def _stays_refused(error: Exception, situation: Situation) -> bool:
    # What may have been accepted is asked for to the end.  What was not, CodePipeline offers again.
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
        return not any(f"at '{name}'" in error.message for name in _REQUEST_MEMBERS)
    return getattr(error, "parameter", None) in _RESULT_PARAMETERS


_RESULT_PARAMETERS: Final = (
    "continuation_token",
    "current_revision",
    "execution_details",
    "failure_details",
    "output_variables",
)
# What CodePipeline names if it refuses a request for something else than its result.
_JOB_ID: Final = "jobId"
_REQUEST_MEMBERS: Final = ("clientToken", _JOB_ID)
_GONE: Final = (JobNotFoundException, InvalidJobException)
_ENDED: Final = (*_GONE, InvalidJobStateException)
_CREDENTIALS: Final = (CredentialsError, AccessDeniedError, ClockSkewError)
_SETUP_OF_CALLER: Final = (*_CREDENTIALS, ActionTypeNotFoundException)

UNDECODABLE: Final = "its details cannot be decoded"

TABLE: Final[tuple[Row, ...]] = (
    Row(Step.POLL, FATAL, _always, Party.US, Next.STOP),
    Row(Step.POLL, (CredentialsError, ClockSkewError), _always, Party.US, Next.RECONNECT),
    Row(Step.POLL, (Exception,), _always, Party.SERVICE, Next.RETRY),
    Row(Step.READ, _GONE, _always, Party.JOB, Next.END),
    Row(
        *(Step.READ, (InvalidClientTokenException,), _always, Party.US, Next.RENEW_TOKEN),
        reason="CodePipeline refuses its client token",
    ),
    Row(Step.READ, (NoTokenError,), _is_unclaimed, Party.US, Next.REJECT),
    Row(
        *(Step.READ, (InvalidRequestError,), _is_unclaimed, Party.US, Next.REJECT),
        reason="its client token or id breaks a rule",
    ),
    Row(
        *(Step.READ, (ResponseDecodeError,), _is_unclaimed, Party.SERVICE, Next.REJECT),
        reason=UNDECODABLE,
    ),
    Row(*(Step.READ, (Exception,), _is_unclaimed, Party.SERVICE, Next.REJECT), reason="its details could not be read"),
    Row(Step.READ, (NoTokenError, InvalidRequestError), _always, Party.US, Next.RENEW_TOKEN),
    Row(Step.READ, _SETUP_OF_CALLER, _always, Party.US, Next.RECONNECT),
    Row(Step.READ, (Exception,), _always, Party.SERVICE, Next.RETRY),
    Row(Step.CLAIM, (InvalidNonceException,), _is_inherited, Party.UNKNOWN, Next.DOUBT),
    Row(Step.CLAIM, (InvalidNonceException,), _may_be_accepted, Party.JOB, Next.TAKE),
    Row(Step.CLAIM, (InvalidNonceException,), _always, Party.JOB, Next.LOSE),
    Row(Step.CLAIM, _ENDED, _always, Party.JOB, Next.END),
    Row(Step.CLAIM, (InvalidClientTokenException,), _may_be_accepted, Party.US, Next.RENEW_TOKEN),
    Row(Step.CLAIM, _SETUP_OF_CALLER, _may_be_accepted, Party.US, Next.RECONNECT),
    Row(Step.CLAIM, (Exception,), _stays_refused, Party.US, Next.REJECT, reason="it could not be acknowledged"),
    Row(Step.CLAIM, (Exception,), _always, Party.SERVICE, Next.RETRY, reason="it could not be acknowledged"),
    Row(Step.RUN, (ProcessDiedError,), _can_run_again, Party.UNKNOWN, Next.RUN_AGAIN),
    Row(Step.RUN, (ProcessDiedError,), _always, Party.JOB, Next.FAIL),
    Row(Step.RUN, _GONE, _always, Party.JOB, Next.END),
    Row(
        *(Step.RUN, (InvalidClientTokenException,), _always, Party.US, Next.RENEW_TOKEN),
        reason="CodePipeline refuses the client token in the process of its handler",
    ),
    Row(Step.RUN, (Exception,), _always, Party.US, Next.RETRY),
    Row(Step.REPORT, (InvalidJobStateException,), _may_be_accepted, Party.JOB, Next.ACCEPT),
    Row(Step.REPORT, _ENDED, _always, Party.JOB, Next.END),
    Row(Step.REPORT, (OutputVariablesSizeExceededException,), _always, Party.JOB, Next.SIMPLIFY_RESULT),
    Row(Step.REPORT, (ValidationException, InvalidRequestError), _is_about_result, Party.JOB, Next.SIMPLIFY_RESULT),
    # An id that CodePipeline has never had, such as that of an event which a person has written, stays refused.
    Row(Step.REPORT, (ValidationException, InvalidRequestError), _is_about_id_of_event, Party.JOB, Next.END),
    Row(
        Step.REPORT,
        (InvalidClientTokenException, NoTokenError, InvalidRequestError, ValidationException),
        _always,
        Party.US,
        Next.RENEW_TOKEN,
    ),
    Row(Step.REPORT, _SETUP_OF_CALLER, _always, Party.US, Next.RECONNECT),
    Row(Step.REPORT, (NotHeldError,), _always, Party.US, Next.RETRY),
    Row(Step.REPORT, (ServiceError,), _is_refused, Party.SERVICE, Next.DROP_DECORATION),
    Row(Step.REPORT, (Exception,), _always, Party.SERVICE, Next.RETRY),
)


def classify(step: Step, error: Exception, situation: Situation) -> Row:
    """Return the first row of the table that fits."""
    return next(
        row for row in TABLE if row.step is step and isinstance(error, row.errors) and row.condition(error, situation)
    )


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
    """Return whether an error is about the job's own credentials, and not about a call to CodePipeline."""
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
    How one class of exceptions is reported.

    Attributes:
        error: The class; the nearest base class counts.
        failure_type: What is reported to the service.
        sentence: What the customer reads.  ``{message}`` is the error's own message, which this library wrote without
            values; ``{error}`` is the name of the class.
        condition: To which errors of the class the row applies; empty for all.
    """

    error: type[BaseException]
    failure_type: FailureType
    sentence: str
    condition: str = ""

    def applies(self, error: BaseException) -> bool:
        """Return whether the row is for this error."""
        return _CONDITIONS[self.condition](error)


HANDLER_FAILURES: Final = (
    # The customer can change something.
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
    # The partner's worker is not set up correctly, which the customer cannot change.
    HandlerFailure(AccessDeniedError, FailureType.SYSTEM_UNAVAILABLE, _SETUP),
    HandlerFailure(CredentialsError, FailureType.SYSTEM_UNAVAILABLE, _SETUP),
    HandlerFailure(InvalidClientTokenException, FailureType.SYSTEM_UNAVAILABLE, _SETUP),
    HandlerFailure(ActionTypeNotFoundException, FailureType.SYSTEM_UNAVAILABLE, _SETUP),
    HandlerFailure(ClockSkewError, FailureType.SYSTEM_UNAVAILABLE, _SETUP),
    HandlerFailure(ArtifactFileError, FailureType.SYSTEM_UNAVAILABLE, _SETUP),
    HandlerFailure(JournalError, FailureType.SYSTEM_UNAVAILABLE, _SETUP),
    HandlerFailure(WorkerStuckError, FailureType.SYSTEM_UNAVAILABLE, _SETUP),
    # The handler has a mistake.
    HandlerFailure(ResultTypeError, FailureType.JOB_FAILED, _NO_RESULT),
    HandlerFailure(ContinuationStateError, FailureType.JOB_FAILED, FAILED),
    HandlerFailure(InvalidRequestError, FailureType.JOB_FAILED, FAILED),
    HandlerFailure(OutputVariablesSizeExceededException, FailureType.JOB_FAILED, FAILED),
    HandlerFailure(ValidationException, FailureType.JOB_FAILED, FAILED),
    HandlerFailure(CodePipelineJobError, FailureType.JOB_FAILED, FAILED),
    HandlerFailure(KeyboardInterrupt, FailureType.SYSTEM_UNAVAILABLE, _STOPPED),
    HandlerFailure(BaseException, FailureType.JOB_FAILED, FAILED),
)
