"""The results that a handler returns.  They are checked, and truncated to the limits of CodePipeline."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Protocol, TypeAlias, overload

import attrs

from cp_thirdparty._base import limits
from cp_thirdparty._base.frames import hide_init_arguments
from cp_thirdparty._core.truncation import fit_current_revision, fit_execution_details, fit_failure_details
from cp_thirdparty._structuring.model_fields import verify
from cp_thirdparty._structuring.state import encode_state
from cp_thirdparty.exceptions import JobFailedError
from cp_thirdparty.exceptions._job_failures import ResultTypeError, check_failure
from cp_thirdparty.models import CurrentRevision, ExecutionDetails, FailureDetails

__all__ = ["Continued", "Result", "Succeeded", "accept_result", "failure_details", "without_optional_parts"]


def _model_validator(model: type[object]) -> Callable[[object, attrs.Attribute[Any], object], None]:
    def validate(instance: object, field: attrs.Attribute[Any], value: object) -> None:
        if value is not None and not isinstance(value, model):
            rule = f"must be of type {model.__name__} or None, not {type(value).__name__}"
            raise ResultTypeError(f"{type(instance).__name__}: {field.name} {rule}")

    return validate


@attrs.frozen(kw_only=True, weakref_slot=False)
class Succeeded:
    """
    The action has ended and was successful.

    Attributes:
        current_revision: The revision that the job has produced.
        execution_details: Details that the console of CodePipeline shows to the customer.
        output_variables: Values by name that later actions of the pipeline can use; for custom actions only.  They are
            not treated as secrets.  Names consist of letters, digits, ``@``, ``-`` and ``_``.  All names and values
            together have at most 122,880 bytes.

            .. versionadded:: 0.2.0

    Raises:
        cp_thirdparty.exceptions.InvalidRequestError: The output variables break a limit of the service.
        TypeError: A part has a wrong type.
    """

    current_revision: CurrentRevision | None = attrs.field(default=None, validator=_model_validator(CurrentRevision))
    execution_details: ExecutionDetails | None = attrs.field(default=None, validator=_model_validator(ExecutionDetails))
    output_variables: Mapping[str, str] | None = attrs.field(
        default=None, validator=[_model_validator(Mapping), verify(limits.check_output_variables)], hash=False
    )


class _AttrsObject(Protocol):
    __attrs_attrs__: ClassVar[Any]


class _DataclassObject(Protocol):
    __dataclass_fields__: ClassVar[dict[str, Any]]


class _PydanticObject(Protocol):
    __pydantic_complete__: ClassVar[bool]


@hide_init_arguments
@attrs.frozen(kw_only=True, weakref_slot=False, init=False)
class Continued:
    """
    This job has ended and the action continues: a later poll returns a new job with the continuation token.

    Create this object before you start the work that the token refers to.  Then a token that CodePipeline would refuse
    raises an error before the work has started.

    Args:
        continuation_token: A string that the next job needs to continue, 1 to 2,048 characters.  It is not treated as a
            secret.
        state: An object to use in place of a token: of an attrs class, a dataclass or a pydantic model.  It is written
            to the token as JSON, with the version in the class attribute ``__state_version__`` (default: 1).
            `Job.state` of the next job returns the object.

            .. versionadded:: 0.2.0

        current_revision: The revision that the job has produced.
        execution_details: Details that the console of CodePipeline shows to the customer.

    Raises:
        cp_thirdparty.exceptions.InvalidRequestError: The token, or the token of the state, breaks a limit of
            CodePipeline.
        TypeError: An argument has a wrong type, or the state has a value that cannot be converted to JSON and back,
            such as a secret.  The message has the name of the field.
    """

    continuation_token: str = attrs.field(validator=verify(limits.check_text, limits.CONTINUATION_TOKEN))
    current_revision: CurrentRevision | None = attrs.field(default=None, validator=_model_validator(CurrentRevision))
    execution_details: ExecutionDetails | None = attrs.field(default=None, validator=_model_validator(ExecutionDetails))

    @overload
    def __init__(
        self,
        *,
        continuation_token: str,
        current_revision: CurrentRevision | None = None,
        execution_details: ExecutionDetails | None = None,
    ) -> None: ...

    @overload
    def __init__(
        self,
        *,
        state: _AttrsObject | _DataclassObject | _PydanticObject,
        current_revision: CurrentRevision | None = None,
        execution_details: ExecutionDetails | None = None,
    ) -> None: ...

    def __init__(
        self,
        *,
        continuation_token: str | None = None,
        state: object = None,
        current_revision: CurrentRevision | None = None,
        execution_details: ExecutionDetails | None = None,
    ) -> None:
        if not (continuation_token is None or state is None):
            raise ResultTypeError("Continued: takes either continuation_token or state, not both")
        token: Any = continuation_token if state is None else encode_state(state)
        self.__attrs_init__(  # pyright: ignore[reportAttributeAccessIssue]
            continuation_token=token, current_revision=current_revision, execution_details=execution_details
        )


Result: TypeAlias = Succeeded | Continued | FailureDetails
"""A result of a job: a handler returns it, and the worker reports it to CodePipeline."""


def accept_result(returned: object) -> Result:
    """
    Return the result to report for the return value of a handler.

    It consists of objects of this library's own classes, not of subclasses, and is truncated to CodePipeline's limits.

    Raises:
        TypeError: The value is not a result, or a part of it has a wrong type.
        cp_thirdparty.exceptions.InvalidRequestError: A field of a part has a wrong type.
    """
    if isinstance(returned, JobFailedError):  # the handler has returned the error, and should have raised it
        return failure_details(returned)
    if not isinstance(returned, (Succeeded, Continued, FailureDetails)):
        kind = type(returned).__name__
        raise ResultTypeError(f"a handler must return Succeeded, Continued or FailureDetails, not {kind}")
    # An object can be created or changed without its constructor, so the types of the fields are checked again.
    attrs.validate(returned)
    if isinstance(returned, FailureDetails):
        return fit_failure_details(returned)
    parts: dict[str, Any] = {}
    if returned.current_revision is not None:
        attrs.validate(returned.current_revision)
        parts["current_revision"] = fit_current_revision(returned.current_revision)
    if returned.execution_details is not None:
        attrs.validate(returned.execution_details)
        parts["execution_details"] = fit_execution_details(returned.execution_details)
    if isinstance(returned, Continued):
        return Continued(continuation_token=str.__str__(returned.continuation_token), **parts)
    variables = returned.output_variables
    return Succeeded(**parts, output_variables=None if variables is None else dict(variables))


def without_optional_parts(result: Result) -> Result | None:
    """
    Return the same result without its optional parts; ``None`` if it has no such parts.

    Execution details, the current revision and the external execution id of a failure are left out.  A continuation
    token and output variables stay, because this action or later actions cannot continue without them.
    """
    if isinstance(result, FailureDetails):
        bare: Result = FailureDetails(type=result.type, message=result.message)
    elif isinstance(result, Continued):
        bare = Continued(continuation_token=result.continuation_token)
    else:
        bare = Succeeded(output_variables=result.output_variables)
    return None if bare == result else bare


def failure_details(failure: JobFailedError) -> FailureDetails:
    """
    Convert the error of a handler to failure details that CodePipeline accepts.

    Strings that are too long are truncated on a code point and end in ``…``.  Characters that cannot be encoded become
    ``?``.  An empty message is replaced, and an empty id is left out.
    """
    # The attributes may have been changed after the failure was created.
    correct, _ = check_failure(failure.failure_type, failure.message, failure.external_execution_id)
    return fit_failure_details(
        FailureDetails(
            type=correct["failure_type"] or JobFailedError.failure_type,
            message=correct["message"] or "",
            external_execution_id=correct["external_execution_id"],
        )
    )
