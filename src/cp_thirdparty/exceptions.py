"""
Every error that this library raises.

.. code-block:: text

    ThirdPartyError
    ├─ ServiceError             CodePipeline answered with an error
    │  ├─ ActionTypeNotFoundException
    │  ├─ InvalidClientTokenException
    │  ├─ InvalidJobException
    │  ├─ InvalidJobStateException
    │  ├─ InvalidNonceException
    │  ├─ JobNotFoundException
    │  ├─ ValidationException
    │  ├─ ThrottledError        any throttling code
    │  └─ ClockSkewError        the clock of this machine is off
    ├─ TransportError           no usable answer arrived
    │  └─ UntrustedResponseError   something answered that is not CodePipeline
    ├─ CredentialsError         no, partial or expired AWS credentials
    ├─ AccessDeniedError        the caller may not do this
    ├─ InvalidRequestError      refused before sending
    ├─ ResponseDecodeError      an answer that does not have the service's shape
    ├─ ConfigurationError       an action configuration that does not fit the partner's class
    ├─ ArtifactError
    │  ├─ ArtifactNotFoundError
    │  ├─ ArtifactTransferError
    │  ├─ UnsafeArchiveError
    │  └─ ArtifactTooLargeError
    ├─ JournalError             the journal of a worker cannot be used
    └─ JobFailedError           raised by a handler to fail its job

No error holds a payload value: not in its message, not in an attribute, not in a cause.  All can be pickled, so they
travel between processes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cp_thirdparty.enums import FailureType

__all__ = [
    "AccessDeniedError",
    "ActionTypeNotFoundException",
    "ArtifactError",
    "ArtifactNotFoundError",
    "ArtifactTooLargeError",
    "ArtifactTransferError",
    "ClockSkewError",
    "ConfigurationError",
    "CredentialsError",
    "InvalidClientTokenException",
    "InvalidJobException",
    "InvalidJobStateException",
    "InvalidNonceException",
    "InvalidRequestError",
    "JobFailedError",
    "JobNotFoundException",
    "JournalError",
    "ResponseDecodeError",
    "ServiceError",
    "ThirdPartyError",
    "ThrottledError",
    "TransportError",
    "UnsafeArchiveError",
    "UntrustedResponseError",
    "ValidationException",
]


class ThirdPartyError(Exception):
    """
    The root of all errors of this library.

    .. versionadded:: 0.1.0
    """

    def __reduce__(self) -> tuple[Any, ...]:
        # Exception's own way calls the class with ``args`` alone, which keyword-only parameters refuse.
        return _rebuild, (type(self), self.args, self.__dict__.copy())


def _rebuild(cls: type[ThirdPartyError], args: tuple[object, ...], state: dict[str, Any]) -> ThirdPartyError:
    error = cls.__new__(cls, *args)
    error.__dict__.update(state)
    return error


class ServiceError(ThirdPartyError):
    """
    CodePipeline answered with an error.

    Its own text is kept in `message`, after every secret of the call has been struck out.

    Attributes:
        code: The service's error code, such as ``"JobNotFoundException"``.

        message: The service's text, or an empty one.

        operation_name: The operation as the service spells it, such as ``"GetThirdPartyJobDetails"``.

        status_code: HTTP status, or ``None`` when it is not known.

        request_id: What AWS Support asks for, or ``None``.

        attempts: How many times the request was sent, at least 1.

        is_retry_safe: Whether sending the same request again can do no harm; ``None`` when that is not known.

    .. versionadded:: 0.1.0
    """

    def __init__(
        self,
        message: str,
        *,
        code: str,
        operation_name: str,
        status_code: int | None = None,
        request_id: str | None = None,
        attempts: int = 1,
        is_retry_safe: bool | None = None,
    ) -> None:
        super().__init__(f"{operation_name}: {code}: {message}" if message else f"{operation_name}: {code}")
        self.message = message
        self.code = code
        self.operation_name = operation_name
        self.status_code = status_code
        self.request_id = request_id
        self.attempts = attempts
        self.is_retry_safe = is_retry_safe


# The names of the modelled errors are the service's: users search for them.
class ActionTypeNotFoundException(ServiceError):  # noqa: N818 - the service's name
    """
    No action type with these four parts exists for the caller.  Check category, owner, provider and version.

    .. versionadded:: 0.1.0
    """


class InvalidClientTokenException(ServiceError):  # noqa: N818 - the service's name
    """
    The client token does not belong to the job.  Look the token up again by the job's client id.

    .. versionadded:: 0.1.0
    """


class InvalidJobException(ServiceError):  # noqa: N818 - the service's name
    """
    The job was not found or cannot be read.

    .. versionadded:: 0.1.0
    """


class InvalidJobStateException(ServiceError):  # noqa: N818 - the service's name
    """
    The job is in a state that does not take this call: most often it has a result already.

    .. versionadded:: 0.1.0
    """


class InvalidNonceException(ServiceError):  # noqa: N818 - the service's name
    """
    Another worker has the job.  Drop it, and report nothing: a failure would end the other worker's job.

    .. versionadded:: 0.1.0
    """


class JobNotFoundException(ServiceError):  # noqa: N818 - the service's name
    """
    No such job, or no longer.

    .. versionadded:: 0.1.0
    """


class ValidationException(ServiceError):  # noqa: N818 - the service's name
    """
    The service refused a parameter.

    .. versionadded:: 0.1.0
    """


class ThrottledError(ServiceError):
    """
    Too many requests.  Wait, then send the same request again.

    .. versionadded:: 0.1.0
    """


class ClockSkewError(ServiceError):
    """
    The service refused the signature because the clock of this machine is off.

    Attributes:
        offset: Seconds that this machine's clock is ahead of the service's; negative when behind.

    .. versionadded:: 0.1.0
    """

    def __init__(self, message: str, *, offset: float, **facts: Any) -> None:
        super().__init__(message, **facts)
        self.offset = offset

    def __str__(self) -> str:
        return f"{super().__str__()} (this clock is {self.offset:+.0f} s off)"


class TransportError(ThirdPartyError):
    """
    No usable answer arrived.  Whether the service has acted on the request is not known.

    Attributes:
        operation_name: The operation as the service spells it.

        status_code: HTTP status of what arrived, or ``None`` when nothing did.

        request_id: What AWS Support asks for, or ``None``.

        attempts: How many times the request was sent, at least 1.

        is_retry_safe: Whether sending the same request again can do no harm; ``None`` when that is not known.

    .. versionadded:: 0.1.0
    """

    def __init__(
        self,
        message: str,
        *,
        operation_name: str,
        status_code: int | None = None,
        request_id: str | None = None,
        attempts: int = 1,
        is_retry_safe: bool | None = None,
    ) -> None:
        super().__init__(f"{operation_name}: {message}")
        self.operation_name = operation_name
        self.status_code = status_code
        self.request_id = request_id
        self.attempts = attempts
        self.is_retry_safe = is_retry_safe


class UntrustedResponseError(TransportError):
    """
    Something answered that is not CodePipeline: most often a proxy, or a wrong ``endpoint_url``.

    .. versionadded:: 0.1.0
    """


class CredentialsError(ThirdPartyError):
    """
    The AWS credentials are missing, partial, expired or not known to AWS.

    Attributes:
        operation_name: The operation as the service spells it, or ``None`` when a client could not be made.

        status_code: HTTP status of the answer that refused them, or ``None`` when the service was not asked.

        request_id: What AWS Support asks for, or ``None``.

        attempts: How many times the request was sent; 0 when there was nothing to sign it with.

    .. versionadded:: 0.1.0
    """

    def __init__(
        self,
        message: str,
        *,
        operation_name: str | None = None,
        status_code: int | None = None,
        request_id: str | None = None,
        attempts: int = 0,
    ) -> None:
        super().__init__(message if operation_name is None else f"{operation_name}: {message}")
        self.operation_name = operation_name
        self.status_code = status_code
        self.request_id = request_id
        self.attempts = attempts


class AccessDeniedError(ThirdPartyError):
    """
    The caller may not do this.

    Attributes:
        action: The IAM action to allow, such as ``"codepipeline:PollForThirdPartyJobs"``.

        resource: The ARN to allow it on, or ``None`` when the service did not name one.

        operation_name: The operation as the service spells it.

        status_code: HTTP status, or ``None`` when it is not known.

        request_id: What AWS Support asks for, or ``None``.

    .. versionadded:: 0.1.0
    """

    def __init__(
        self,
        *,
        action: str,
        resource: str | None,
        operation_name: str,
        status_code: int | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(f"{operation_name}: not allowed; allow {action} on {resource or 'the action type'}")
        self.action = action
        self.resource = resource
        self.operation_name = operation_name
        self.status_code = status_code
        self.request_id = request_id


class InvalidRequestError(ThirdPartyError):
    """
    A parameter was refused before anything was sent.

    Attributes:
        parameter: Name of the parameter or field, such as ``"client_token"``.

        rule: What it must be.  The value is never named.

    .. versionadded:: 0.1.0
    """

    def __init__(self, parameter: str, rule: str) -> None:
        super().__init__(parameter, rule)
        self.parameter = parameter
        self.rule = rule

    def __str__(self) -> str:
        return f"{self.parameter}: {self.rule}"


# The message stays readable when each artifact has a problem.
_PROBLEMS_SHOWN = 10


class _ProblemsError(ThirdPartyError):
    def __init__(self, problems: Iterable[str]) -> None:
        self.problems: tuple[str, ...] = tuple(problems)
        shown, hidden = self.problems[:_PROBLEMS_SHOWN], len(self.problems) - _PROBLEMS_SHOWN
        super().__init__("; ".join(shown) + (f"; and {hidden} more" if hidden > 0 else ""))


class ResponseDecodeError(_ProblemsError):
    """
    A document does not have the service's shape.

    Attributes:
        problems: Each problem with its path in the service's names, such as
            ``"required field missing: data.actionTypeId.provider"``.  Of a list, the problems of at most 10,000
            items are told.  Never a value.

    .. versionadded:: 0.1.0
    """


class ConfigurationError(_ProblemsError):
    """
    The action configuration does not fit the partner's class.  The customer must change the action in the pipeline.

    Attributes:
        problems: Each problem by configuration key, such as ``"TimeoutMinutes: must be a whole number"``.
            Never a value.

    .. versionadded:: 0.1.0
    """


class ArtifactError(ThirdPartyError):
    """
    Something is wrong with an artifact of the job.

    .. versionadded:: 0.1.0
    """


class ArtifactNotFoundError(ArtifactError):
    """
    The job has no such artifact, or S3 has no such object.

    .. versionadded:: 0.1.0
    """


class ArtifactTransferError(ArtifactError):
    """
    The bytes of an artifact did not arrive whole.

    .. versionadded:: 0.1.0
    """


class UnsafeArchiveError(ArtifactError):
    """
    An archive, or a directory to be archived, breaks a rule.  Nothing of it was written.

    Attributes:
        entry: The name of the entry, made printable and cut to 200 characters; empty when it is the archive as a whole.

        rule: What is wrong.

    .. versionadded:: 0.1.0
    """

    def __init__(self, entry: str, rule: str) -> None:
        self.entry: str = ascii(entry)[1:-1][:200]
        self.rule = rule
        super().__init__(f"{self.entry}: {rule}" if entry else rule)


class ArtifactTooLargeError(ArtifactError):
    """
    An artifact exceeds a limit.

    .. versionadded:: 0.1.0
    """


class JournalError(ThirdPartyError):
    """
    The journal of a worker could not be opened, read or written.

    .. versionadded:: 0.1.0
    """


class JobFailedError(ThirdPartyError):
    """
    Raised by a handler to fail its job in its own words, which the customer reads in the console.

    Args:
        failure_type: Why the job failed.

        message: What the customer should know.  Keep secrets out of it.

        external_execution_id: The partner's own id of the work, if there is one.

    .. versionadded:: 0.1.0
    """

    def __init__(self, failure_type: FailureType, message: str, external_execution_id: str | None = None) -> None:
        super().__init__(failure_type, message, external_execution_id)
        self.failure_type = failure_type
        self.message = message
        self.external_execution_id = external_execution_id

    def __str__(self) -> str:
        return f"{self.failure_type}: {self.message}"
