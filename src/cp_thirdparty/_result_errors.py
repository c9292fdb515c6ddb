"""The rules for the arguments of a failure, and the error of a result that has a part of a wrong type."""

from __future__ import annotations

from typing import Any, Final

from cp_thirdparty.enums import FailureType

_FAILURE_TYPES: Final = {member.value: member for member in FailureType}


class ResultTypeError(TypeError):
    """
    A handler has created or returned something that is not a correct result.

    The message has no value, so it may be logged.

    Args:
        message: What is wrong.

        failure: The `cp_thirdparty.JobFailedError` with those arguments that are correct, or ``None``.
    """

    def __init__(self, message: str, failure: Exception | None = None) -> None:
        super().__init__(message)
        self.failure = failure


def check_failure(
    failure_type: object, message: object, external_execution_id: object
) -> tuple[dict[str, Any], list[str]]:
    """
    Return the arguments of a failure by name, ``None`` in place of wrong ones, and what is wrong.

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
        "message": _string("message", message, problems),
        "external_execution_id": None
        if external_execution_id is None
        else _string("external_execution_id", external_execution_id, problems),
    }
    return correct, problems


def _find_failure_type(value: object) -> FailureType | None:
    return _FAILURE_TYPES.get(str.__str__(value)) if isinstance(value, str) else None


def _string(name: str, value: object, problems: list[str]) -> str | None:
    if isinstance(value, str):
        return str.__str__(value)  # a subclass may have methods of its own
    problems.append(f"{name} must be a str, not {type(value).__name__}")
    return None
