"""
Every error that this library raises.

.. code-block:: text

    CodePipelineJobError        root of all errors of this library; ThirdPartyError is the same class
    ├─ ServiceError             CodePipeline returned an error
    │  ├─ AccessDeniedError     the caller may not do this
    │  ├─ ActionTypeNotFoundException
    │  ├─ InvalidClientTokenException
    │  ├─ InvalidJobException
    │  ├─ InvalidJobStateException
    │  ├─ InvalidNonceException
    │  ├─ JobNotFoundException
    │  ├─ OutputVariablesSizeExceededException
    │  ├─ ValidationException
    │  ├─ ThrottledError        any throttling code
    │  └─ ClockSkewError        the clock of this machine is wrong
    ├─ TransportError           no usable response arrived
    │  └─ UntrustedResponseError   the response is not from CodePipeline
    ├─ CredentialsError         missing, partial or expired AWS credentials
    ├─ InvalidRequestError      a parameter or setting is not valid; nothing was sent
    ├─ ResponseDecodeError      a response that does not match CodePipeline's API
    ├─ ContinuationStateError   a continuation token that cannot be read as a state of the partner's class
    ├─ ConfigurationError       an action configuration that does not fit the partner's class
    ├─ ArtifactError
    │  ├─ ArtifactNotFoundError
    │  ├─ ArtifactTransferError
    │  ├─ ArtifactFileError     a local file cannot be read or written
    │  ├─ UnsafeArchiveError
    │  └─ ArtifactTooLargeError
    ├─ JournalError             the journal of a worker cannot be used
    └─ WorkerStuckError         each slot of a worker has a handler that hangs
    JobFailedError              raised by a handler to fail its job; not an error of this library

Every error of a call has the members of `CallFacts` as attributes.  An attribute is ``None`` if its value is unknown.
In a handler, ``except ThirdPartyError`` catches errors of calls, but not a `JobFailedError` that the handler raises.
No error contains a payload value: not in its message, not in an attribute, not in a cause.  Strings from a response,
such as ids, are escaped and truncated.  All errors can be pickled, for example to send them to another process.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any, TypedDict

from cp_thirdparty._base.text import show, show_message, show_optional
from cp_thirdparty.enums import Delivery, FailureType  # noqa: F401 # pyright: ignore[reportUnusedImport] - for `get_type_hints`
from cp_thirdparty.exceptions._job_failures import JobFailedError, reduce_error
from cp_thirdparty.exceptions._job_failures import rebuild_error as _rebuild

if sys.version_info >= (3, 11):
    from typing import Unpack
else:  # pragma: no cover - coverage is measured on a newer Python
    from typing_extensions import Unpack

__all__ = [
    "AccessDeniedError",
    "ActionTypeNotFoundException",
    "ArtifactError",
    "ArtifactFileError",
    "ArtifactNotFoundError",
    "ArtifactTooLargeError",
    "ArtifactTransferError",
    "CallFacts",
    "ClockSkewError",
    "CodePipelineJobError",
    "ConfigurationError",
    "ContinuationStateError",
    "CredentialsError",
    "InvalidClientTokenException",
    "InvalidJobException",
    "InvalidJobStateException",
    "InvalidNonceException",
    "InvalidRequestError",
    "JobFailedError",
    "JobNotFoundException",
    "JournalError",
    "OutputVariablesSizeExceededException",
    "ResponseDecodeError",
    "ServiceError",
    "ThirdPartyError",
    "ThrottledError",
    "TransportError",
    "UnsafeArchiveError",
    "UntrustedResponseError",
    "ValidationException",
    "WorkerStuckError",
    "is_already_reported",
    "may_have_been_accepted",
]


# Users import the class from this module, and existing pickles refer to ``_rebuild`` in this module.
JobFailedError.__module__ = __name__
_rebuild.__module__, _rebuild.__qualname__ = __name__, "_rebuild"


class CallFacts(TypedDict, total=False):
    """
    Keyword arguments of errors: what is known about the call that failed.  Each is an attribute of the error.

    .. versionadded:: 0.2.0
    """

    operation_name: str | None
    job_id: str | None
    status_code: int | None
    request_id: str | None
    attempts: int | None
    delivery: Delivery | None
    is_retry_safe: bool | None


class CodePipelineJobError(Exception):
    """
    The root of all errors of this library, except `JobFailedError`.

    Args:
        args: The message, or its parts.
        facts: What is known about the call that failed.

    Raises:
        TypeError: A keyword argument is not one of `CallFacts`.

    .. versionadded:: 0.2.0
    """

    operation_name: str | None = None
    """The operation as the service spells it, such as ``"GetThirdPartyJobDetails"``; ``None`` outside of a call."""
    job_id: str | None = None
    """The job that the call is about, or ``None``."""
    status_code: int | None = None
    """HTTP status of the response, or ``None`` when there is none."""
    request_id: str | None = None
    """The request id that AWS Support asks for, or ``None``."""
    attempts: int | None = None
    """How many times the request was sent; 0 if no byte of it was sent, ``None`` outside of a call."""
    delivery: Delivery | None = None
    """How much of the request and its response was transferred; ``None`` outside of a call."""
    is_retry_safe: bool | None = None
    """
    Whether sending the same request again is safe and can succeed; ``None`` when the service may have acted on it.

    ``False`` when the same request would fail in the same way.
    """

    def __init__(self, *args: object, **facts: Unpack[CallFacts]) -> None:
        super().__init__(*(show_message(each) if type(each) is str else each for each in args))
        unknown = facts.keys() - CallFacts.__annotations__.keys()
        if unknown:
            raise TypeError(f"{type(self).__name__}() has no argument {', '.join(sorted(unknown))}")
        self.__dict__.update({name: show(value) if type(value) is str else value for name, value in facts.items()})

    def __reduce__(self) -> tuple[Any, ...]:
        return reduce_error(self)


ThirdPartyError = CodePipelineJobError
"""The name of `CodePipelineJobError` in version 0.1.  Both names refer to the same class, and both are supported."""


def _prefix_operation(text: str, facts: CallFacts) -> str:
    operation_name = facts.get("operation_name")
    return f"{operation_name}: {text}" if operation_name else text


class ServiceError(CodePipelineJobError):
    """
    The service returned an error.

    The attribute `message` contains the service's message, from which all secrets of the call were removed.

    Attributes:
        code: The service's error code, such as ``"JobNotFoundException"``.
        message: The service's message, or an empty string.
    """

    def __init__(self, message: str, *, code: str, **facts: Unpack[CallFacts]) -> None:
        super().__init__(_prefix_operation(f"{code}: {message}" if message else code, facts), **facts)
        self.message: str = show_message(message)
        self.code: str = show_message(code)


# Errors of the service's model have the service's names, because users search for these names.
class ActionTypeNotFoundException(ServiceError):  # noqa: N818 - the service's name
    """The caller has no action type with this category, owner, provider and version.  Check all four."""


class InvalidClientTokenException(ServiceError):  # noqa: N818 - the service's name
    """The client token does not belong to the job.  Look the token up again by the job's client id."""


class InvalidJobException(ServiceError):  # noqa: N818 - the service's name
    """The job id is not valid, or the job was not found."""


class InvalidJobStateException(ServiceError):  # noqa: N818 - the service's name
    """The state of the job does not allow this call: most often the job already has a result."""


class InvalidNonceException(ServiceError):  # noqa: N818 - the service's name
    """
    Another worker has claimed the job.  Do not process it.  A result from you would end the other worker's job.

    This is different if an earlier acknowledgement of the job by the same process failed with an ``is_retry_safe`` of
    ``None``.  Then CodePipeline has probably accepted that acknowledgement, and your process has claimed the job.
    """


class JobNotFoundException(ServiceError):  # noqa: N818 - the service's name
    """The job does not exist or no longer exists."""


class OutputVariablesSizeExceededException(ServiceError):  # noqa: N818 - the service's name
    """The total size of the output variables of a custom job is too large.  Report fewer or shorter variables."""


class ValidationException(ServiceError):  # noqa: N818 - the service's name
    """The service refused a parameter."""


class ThrottledError(ServiceError):
    """Too many requests.  Wait, then send the same request again."""


class ClockSkewError(ServiceError):
    """
    The service refused the signature because the clock of this machine is wrong.

    Attributes:
        offset: Seconds by which this machine's clock is ahead of the service's clock; negative if it is behind.
        code: The service's error code, such as ``"RequestExpired"``.
    """

    def __init__(self, message: str, *, code: str, offset: float, **facts: Unpack[CallFacts]) -> None:
        super().__init__(message, code=code, **facts)
        self.offset = offset

    def __str__(self) -> str:
        seconds = f"{abs(self.offset):.0f}"
        difference = f"is {seconds} s {'ahead' if self.offset > 0 else 'behind'}" if seconds != "0" else "is right"
        return f"{super().__str__()} (this machine's clock {difference})"


class AccessDeniedError(ServiceError):
    """
    The caller may not do this.

    Attributes:
        action: The IAM action to allow, such as ``"codepipeline:PollForThirdPartyJobs"``.
        resource: The ARN for which to allow the action, or ``None`` if the service did not name one.
        code: The service's error code, such as ``"AccessDeniedException"``.
    """

    def __init__(
        self,
        message: str = "",
        *,
        action: str,
        resource: str | None,
        code: str = "AccessDeniedException",
        **facts: Unpack[CallFacts],
    ) -> None:
        super().__init__(message, code=code, **facts)
        self.action: str = show(action)
        self.resource: str | None = show_optional(resource)

    def __str__(self) -> str:
        text = f"not allowed; allow {self.action} on {self.resource or 'the action type'}"
        return _prefix_operation(text, {"operation_name": self.operation_name})


class TransportError(CodePipelineJobError):
    """No usable response arrived.  `is_retry_safe` is ``None`` when the service may have acted on the request."""

    def __init__(self, message: str, **facts: Unpack[CallFacts]) -> None:
        super().__init__(_prefix_operation(message, facts), **facts)


class UntrustedResponseError(TransportError):
    """The response does not come from CodePipeline, but for example from a proxy or a wrong ``endpoint_url``."""


class CredentialsError(CodePipelineJobError):
    """
    The AWS credentials are missing, partial, expired or not known to AWS, or could not be loaded.

    The message contains the reason, and the source of the credentials: a profile, file, variable or program.
    `status_code` is ``None`` if no request was sent to the service.
    """

    def __init__(self, message: str, **facts: Unpack[CallFacts]) -> None:
        super().__init__(_prefix_operation(message, facts), **facts)


class InvalidRequestError(CodePipelineJobError):
    """
    A parameter or a setting is not valid.  No request was sent.

    Attributes:
        parameter: Name of the parameter or field, such as ``"client_token"``.  For a setting of the environment
            or a file: the name of the variable, or the key with its profile and file.
        rule: The rule that the parameter breaks.  It never contains the value.
    """

    def __init__(self, parameter: str, rule: str, **facts: Unpack[CallFacts]) -> None:
        super().__init__(parameter, rule, **facts)
        self.parameter: str = show_message(parameter)
        self.rule: str = show_message(rule)

    def __str__(self) -> str:
        return f"{self.parameter}: {self.rule}"


# A message with a problem for each artifact would not be readable.
_MAX_PROBLEMS_SHOWN = 10


class _ProblemsError(CodePipelineJobError):
    def __init__(self, problems: Iterable[str], **facts: Unpack[CallFacts]) -> None:
        self.problems: tuple[str, ...] = tuple(map(show, (problems,) if isinstance(problems, str) else problems))
        shown, hidden = self.problems[:_MAX_PROBLEMS_SHOWN], len(self.problems) - _MAX_PROBLEMS_SHOWN
        super().__init__("; ".join(shown) + (f"; and {hidden} more" if hidden > 0 else ""), **facts)


class ResponseDecodeError(_ProblemsError):
    """
    A document does not match CodePipeline's API: a member is missing or has a wrong type.

    Attributes:
        problems: Each problem with the path of the member in the service's names, such as
            ``"required field missing: data.actionTypeId.provider"``.  For a list in the document, problems of at most
            1,000 items are included.  A problem never contains a value.
    """


class ConfigurationError(_ProblemsError):
    """
    The action configuration does not fit the partner's class.  The customer must change the action in the pipeline.

    Attributes:
        problems: Each problem with its configuration key, such as ``"TimeoutMinutes: must be an integer"``.
            A problem never contains a value.
    """


class ContinuationStateError(CodePipelineJobError):
    """
    `Job.state` cannot convert the continuation token of a job to an object of the partner's class.

    .. versionadded:: 0.2.0
    """


class ArtifactError(CodePipelineJobError):
    """The base of the errors about artifacts of a job."""


class ArtifactNotFoundError(ArtifactError):
    """The job has no such artifact, or S3 has no such object."""


class ArtifactTransferError(ArtifactError):
    """An artifact was not transferred completely; `is_retry_safe` is ``False`` if a retry would fail again."""


class ArtifactFileError(ArtifactError):
    """
    A local file or directory cannot be read or written: a full disk, missing permissions, a missing directory.

    Attributes:
        errno: The error number of the operating system, such as ``errno.ENOSPC`` for a full disk; ``None`` if unknown.
        strerror: The operating system's description of the error.
        filename: The file; ``None`` if unknown.

    .. versionadded:: 0.2.0
    """

    def __init__(self, errno: int | None, strerror: str, filename: str | None, **facts: Unpack[CallFacts]) -> None:
        super().__init__(errno, strerror, filename, **facts)
        self.errno = errno
        self.strerror = strerror
        self.filename = filename

    def __str__(self) -> str:
        return self.strerror if self.filename is None else f"{self.strerror}: {self.filename!a}"


class UnsafeArchiveError(ArtifactError):
    """
    An archive, or the directory to create one from, breaks a rule.  Nothing was written.

    Attributes:
        entry: The name of the entry, escaped and truncated to 200 characters; empty for the archive itself.
        rule: What is wrong: one of the rules of the page "What a customer's archive may contain".
        hint: What was expected, or which option accepts it; may be empty.

            .. versionadded:: 0.2.0
    """

    def __init__(self, entry: str, rule: str, *, hint: str = "") -> None:
        self.entry: str = ascii(entry)[1:-1][:200]
        self.rule = rule
        self.hint = hint
        text = f"{self.entry}: {rule}" if entry else rule
        super().__init__(f"{text} ({hint})" if hint else text)


class ArtifactTooLargeError(ArtifactError):
    """An artifact exceeds a limit."""


class JournalError(CodePipelineJobError):
    """The journal of a worker could not be opened, read or written."""


class WorkerStuckError(CodePipelineJobError):
    """
    Each slot of a worker has a handler that did not end at its job's timeout, so the worker cannot accept jobs.

    An asynchronous handler that blocks the event loop counts for each slot whose handler waits for the loop, and for
    each free slot.  The worker has ended the jobs.  A thread cannot be killed, so end the process and start the worker
    again.

    .. versionadded:: 0.2.0

    Attributes:
        job_ids: Ids of the jobs whose handlers hang or could not begin.
    """

    def __init__(self, job_ids: Sequence[str]) -> None:
        self.job_ids: tuple[str, ...] = tuple(map(show, job_ids))
        jobs = f": jobs {', '.join(self.job_ids)}" if self.job_ids else ""
        super().__init__(f"each slot of the worker has a handler that hangs{jobs}")


def is_already_reported(error: BaseException, *earlier: BaseException | None) -> bool:
    """
    Return whether a result was accepted although the call that reported it failed.

    When ``is_retry_safe`` of an error is ``None``, CodePipeline may have accepted the result.  Report it again: if an
    `InvalidJobStateException` follows, it was accepted before.

    Args:
        error: The error of the latest attempt to report the result.
        earlier: The errors of the earlier attempts, in any order.  An error counts only if it is about the same job,
            comes from a call that reports a result, and has an ``is_retry_safe`` of ``None``.

    .. versionadded:: 0.2.0
    """
    return (
        isinstance(error, InvalidJobStateException)
        and _is_about_result(error)
        and any(
            isinstance(each, CodePipelineJobError)
            and may_have_been_accepted(each)
            and _is_about_result(each)
            and each.job_id == error.job_id
            for each in earlier
        )
    )


def may_have_been_accepted(error: CodePipelineJobError) -> bool:
    """Return whether CodePipeline may have acted on the request although the call failed."""
    return error.delivery in (Delivery.SENT, Delivery.RESPONDED) and error.is_retry_safe is None


def _is_about_result(error: CodePipelineJobError) -> bool:
    return error.job_id is not None and (error.operation_name or "").startswith(("PutJob", "PutThirdPartyJob"))
