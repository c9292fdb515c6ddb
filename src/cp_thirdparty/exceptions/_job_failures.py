"""The error with which a handler fails its job, and the error about a result with a part of a wrong type."""

from __future__ import annotations

from typing import Any, Final

from cp_thirdparty.enums import FailureType, FailureTypeName

_FAILURE_TYPES: Final = {member.value: member for member in FailureType}


class ResultTypeError(TypeError):
    """
    A handler has created or returned something that is not a correct result.

    The message has no value, so it may be logged.

    Args:
        message: The description of the problem.
        failure: The `cp_thirdparty.JobFailedError` with only those arguments that are correct, or ``None``.
    """

    def __init__(self, message: str, failure: Exception | None = None) -> None:
        super().__init__(message)
        self.failure = failure


def check_failure(
    failure_type: object, message: object, external_execution_id: object
) -> tuple[dict[str, Any], list[str]]:
    """
    Check the arguments of a failure; return them by name, with ``None`` for each wrong argument, and the problems.

    The first two arguments are swapped if only the second one is a failure type.
    """
    kind = _find_failure_type(failure_type)
    if kind is None and (kind := _find_failure_type(message)) is not None:
        message = failure_type
    problems: list[str] = []
    if kind is None:
        problems.append(f"failure_type must be a FailureType or one of {', '.join(_FAILURE_TYPES)}")
    correct = {
        "failure_type": kind,
        "message": _read_string("message", message, problems),
        "external_execution_id": None
        if external_execution_id is None
        else _read_string("external_execution_id", external_execution_id, problems),
    }
    return correct, problems


def _find_failure_type(value: object) -> FailureType | None:
    return _FAILURE_TYPES.get(str.__str__(value)) if isinstance(value, str) else None


def _read_string(name: str, value: object, problems: list[str]) -> str | None:
    if isinstance(value, str):
        return str.__str__(value)  # a subclass may have methods of its own
    problems.append(f"{name} must be a str, not {type(value).__name__}")
    return None


class JobFailedError(Exception):
    """
    Raised by a handler to report its job as failed, with a message that the customer reads in the console.

    It is not a `CodePipelineJobError`, so ``except ThirdPartyError`` in a handler catches errors of calls only.

    The first two arguments are also accepted in reverse order if only the second one is a failure type.

    Args:
        failure_type: Why the job failed: a `cp_thirdparty.FailureType`, or its value, such as ``"JobFailed"``.
        message: The message for the customer, without secrets.  The client truncates it to 5,000 characters.
        external_execution_id: The partner's own id of the work, if there is one.

    Raises:
        TypeError: An argument has a wrong type.  In a handler, the worker then reports a failure with the arguments
            that are correct.
    """

    # Defaults for a subclass whose ``__init__`` does not call this ``__init__``.  The worker reports its failure, too.
    failure_type: FailureType = FailureType.JOB_FAILED
    message: str = ""
    external_execution_id: str | None = None

    # Swapped arguments are accepted at run time, but type checkers report them as errors.
    def __init__(
        self, failure_type: FailureType | FailureTypeName, message: str, external_execution_id: str | None = None
    ) -> None:
        correct, problems = check_failure(failure_type, message, external_execution_id)
        super().__init__(*correct.values())
        self.__dict__.update({name: value for name, value in correct.items() if value is not None})
        if problems:
            raise ResultTypeError(f"JobFailedError: {'; '.join(problems)}", self)

    def __reduce__(self) -> tuple[Any, ...]:
        return reduce_error(self)

    def __str__(self) -> str:
        return f"{self.failure_type}: {self.message}"


def reduce_error(error: BaseException) -> tuple[Any, ...]:
    """Return the reduced form of an error for `pickle`; `Exception` would call the class with ``args`` only."""
    return rebuild_error, (type(error), error.args, error.__dict__.copy())


def rebuild_error(cls: type[BaseException], args: tuple[object, ...], state: dict[str, Any]) -> BaseException:
    """Create an error from its pickled form."""
    error = cls.__new__(cls, *args)
    error.__dict__.update(state)
    return error
