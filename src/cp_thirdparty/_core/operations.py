"""
The operations of both kinds of jobs, without I/O: check the parameters of a request, and decode a response to a model.

No function of this module raises.  Errors about a wrong parameter or response are returned, because the traceback of a
raised error would refer to frames that hold secrets.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, Final, Generic, TypeVar

import attrs

from cp_thirdparty._base import limits
from cp_thirdparty._core.truncation import fit_current_revision, fit_execution_details, fit_failure_details
from cp_thirdparty._structuring.converter import make_converter, member_name, read
from cp_thirdparty.enums import JobStatus
from cp_thirdparty.exceptions import InvalidRequestError, ResponseDecodeError, ThirdPartyError
from cp_thirdparty.models import (
    ActionTypeId,
    CurrentRevision,
    CustomJob,
    CustomJobDetails,
    ExecutionDetails,
    FailureDetails,
    JobDetails,
    ThirdPartyJob,
)
from cp_thirdparty.secrets import SecretStr

_T = TypeVar("_T")
_T_co = TypeVar("_T_co", covariant=True)
_JobT = TypeVar("_JobT")
_DetailsT = TypeVar("_DetailsT", JobDetails, CustomJobDetails)

# A model and ``None``, or ``None`` and an error.
Outcome = tuple[_T | None, ThirdPartyError | None]


@attrs.define(kw_only=True, eq=False)  # not frozen, because creating an object would take four times as long
class Request(Generic[_T_co]):
    """
    The parameters of one call, and how to decode its response.

    Attributes:
        parameters: The parameters by the service's names; secrets are `SecretStr`.
        decode: Function that creates the model, or the error, from a response.
        is_repeatable: Whether the request may be sent twice without harm.
        refused: The error because of which the request must not be sent, or ``None``.
        service: The prefix of the service in IAM actions.
    """

    operation_name: str
    job_id: str | None
    parameters: Mapping[str, Any]
    decode: Callable[[Mapping[str, Any]], Outcome[_T_co]]
    is_repeatable: bool
    refused: InvalidRequestError | None
    service: str = "codepipeline"

    @property
    def secrets(self) -> tuple[SecretStr, ...]:
        """The secrets among the parameters."""
        return tuple([value for value in self.parameters.values() if isinstance(value, SecretStr)])


@attrs.frozen(kw_only=True, eq=False)
class Operations(Generic[_JobT, _DetailsT]):
    """The five operations of one kind of job.  The values are the service's names of the operations."""

    poll: str
    details: str
    acknowledge: str
    success: str
    failure: str
    jobs: type[tuple[_JobT, ...]]
    job_details: type[_DetailsT]
    has_client_token: bool  # all operations except the poll have a client token

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all five operations."""
        return self.poll, self.details, self.acknowledge, self.success, self.failure

    def request_poll(
        self,
        action_type_id: ActionTypeId,
        *,
        max_batch_size: int | None,
        query_param: Mapping[str, str] | None = None,
    ) -> Request[tuple[_JobT, ...]]:
        parameters: list[_Parameter] = [("action_type_id", action_type_id, _action_type_rule(action_type_id))]
        if max_batch_size is not None:
            parameters.append(("max_batch_size", max_batch_size, limits.check_int_range(max_batch_size, 1)))
        if query_param is not None:
            parameters.append(_read_mapping("query_param", query_param, limits.check_query_param))
        return _create_request(self.poll, None, parameters, self._decode_jobs, is_repeatable=True)

    def request_details(self, job_id: str, *, client_token: str | SecretStr | None = None) -> Request[_DetailsT]:
        parameters = self._job_parameters(job_id, client_token)
        is_id = parameters[0][2] is None  # an invalid job id may be any other value, for example a client token
        decode = functools.partial(self._decode_details, job_id=job_id if is_id else "")
        return _create_request(self.details, job_id, parameters, decode, is_repeatable=True)

    def request_claim(
        self, job_id: str, *, nonce: str, client_token: str | SecretStr | None = None
    ) -> Request[JobStatus]:
        parameters = [*self._job_parameters(job_id, client_token), _read_string("nonce", nonce, limits.NONCE)]
        return _create_request(self.acknowledge, job_id, parameters, _decode_status, is_repeatable=False)

    def request_success(
        self,
        job_id: str,
        *,
        client_token: str | SecretStr | None = None,
        continuation_token: str | None,
        current_revision: CurrentRevision | None,
        execution_details: ExecutionDetails | None,
        output_variables: Mapping[str, str] | None = None,
    ) -> Request[None]:
        parameters = self._job_parameters(job_id, client_token)
        if continuation_token is not None:
            parameters.append(_read_string("continuation_token", continuation_token, limits.CONTINUATION_TOKEN))
        if current_revision is not None:
            parameters += [_read_model("current_revision", current_revision, CurrentRevision, fit_current_revision)]
        if execution_details is not None:
            parameters += [_read_model("execution_details", execution_details, ExecutionDetails, fit_execution_details)]
        if output_variables is not None:
            name, variables, rule = _read_mapping("output_variables", output_variables, limits.check_output_variables)
            if variables is not None and continuation_token is not None:
                rule = "must not be given with a continuation_token"
            parameters.append((name, variables, rule))
        return _create_request(self.success, job_id, parameters, _decode_nothing, is_repeatable=False)

    def request_failure(
        self, job_id: str, *, client_token: str | SecretStr | None = None, failure_details: FailureDetails
    ) -> Request[None]:
        details = _read_model("failure_details", failure_details, FailureDetails, fit_failure_details)
        parameters = [*self._job_parameters(job_id, client_token), details]
        return _create_request(self.failure, job_id, parameters, _decode_nothing, is_repeatable=False)

    def _job_parameters(self, job_id: str, client_token: str | SecretStr | None) -> list[_Parameter]:
        parameters = [_read_string("job_id", job_id, limits.JOB_ID)]
        if self.has_client_token:
            parameters.append(_read_secret("client_token", client_token, limits.CLIENT_TOKEN))
        return parameters

    def _decode_jobs(self, response: Mapping[str, Any]) -> Outcome[tuple[_JobT, ...]]:
        jobs, error = _read_member(response, "jobs", self.jobs)
        return (None, error) if jobs is None else (_Jobs(jobs), None)

    def _decode_details(self, response: Mapping[str, Any], job_id: str) -> Outcome[_DetailsT]:
        if response.get("jobDetails") is None:
            return None, ResponseDecodeError(["required field missing: jobDetails"])
        details, problems = read(response["jobDetails"], self.job_details)
        if details is None:
            return None, ResponseDecodeError(problems)
        if details.id != job_id:
            return None, ResponseDecodeError(["id: must be the id of the requested job"])
        return details, None


# --- parameters ------------------------------------------------------------------------------------------------------


_PLAIN: Final = (str, int, dict, SecretStr)


# The name and the value of a parameter, and the rule that the value breaks, or ``None``.
_Parameter = tuple[str, Any, str | None]


def _read_string(name: str, value: str, maximum: int) -> _Parameter:
    return name, value, limits.check_text(value, maximum)


def _read_secret(name: str, value: str | SecretStr | None, maximum: int) -> _Parameter:
    if not isinstance(value, (str, SecretStr)):
        return name, None, "must be a str or a SecretStr"
    secret = SecretStr.wrap(value)
    return name, secret, limits.check_text(secret.get_secret_value(), maximum)


def _read_mapping(name: str, value: Mapping[str, str], check: Callable[[object], str | None]) -> _Parameter:
    broken_rule = check(value)
    return name, None if broken_rule else dict(value) or None, broken_rule


def _read_model(name: str, value: object, model: type[_T], fit: Callable[[_T], object]) -> _Parameter:
    if isinstance(value, model):
        return name, fit(value), None
    return name, None, f"must be {_with_article(model.__name__)}"


def _with_article(noun: str) -> str:
    return f"an {noun}" if noun[0] in "AE" else f"a {noun}"


def _action_type_rule(value: object) -> str | None:
    if not isinstance(value, ActionTypeId):
        return "must be an ActionTypeId"
    for part, rule in (
        ("provider", limits.check_name(value.provider, limits.ACTION_PROVIDER)),
        ("version", limits.check_name(value.version, limits.ACTION_VERSION)),
    ):
        if rule is not None:
            return f"{part} {rule}"
    return None


def _create_request(
    operation_name: str,
    job_id: str | None,
    parameters: list[_Parameter],
    decode: Callable[[Mapping[str, Any]], Outcome[_T]],
    *,
    is_repeatable: bool,
) -> Request[_T]:
    wire: dict[str, Any] = {}
    refused = None
    for name, value, broken_rule in parameters:
        if broken_rule is not None:
            # An invalid job id may be any other value, for example a client token, so errors must not show it.
            job_id = None if name == "job_id" else job_id
            wire, refused = {}, InvalidRequestError(name, broken_rule)
            break
        if value is not None:
            wire[member_name(name)] = value if isinstance(value, _PLAIN) else _unstructure(value)
    return Request(
        operation_name=operation_name,
        job_id=job_id,
        parameters=wire,
        decode=decode,
        is_repeatable=is_repeatable,
        refused=refused,
    )


def _unstructure(value: Any) -> Any:
    """Return the document of a model that has no secrets, with the service's names of the members."""
    return make_converter(detailed=False).unstructure(value)


# --- responses -------------------------------------------------------------------------------------------------------


class _Jobs(tuple[Any, ...]):
    """The jobs that a poll returned: a tuple that a notebook shows as a table."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        from cp_thirdparty._rendering.tree import html_of_items  # noqa: PLC0415 - workers never need it

        return html_of_items("jobs", self)


def _decode_status(response: Mapping[str, Any]) -> Outcome[JobStatus]:
    return _read_member(response, "status", JobStatus)


def _read_member(response: Mapping[str, Any], name: str, kind: type[_T]) -> Outcome[_T]:
    if name not in response:
        return None, ResponseDecodeError([f"required field missing: {name}"])
    value, problems = read(response[name], kind, name)
    return value, None if value is not None else ResponseDecodeError(problems)


def _decode_nothing(_response: Mapping[str, Any]) -> Outcome[None]:
    return None, None


# --- the only list of operations -------------------------------------------------------------------------------------


THIRD_PARTY: Final = Operations[ThirdPartyJob, JobDetails](
    poll="PollForThirdPartyJobs",
    details="GetThirdPartyJobDetails",
    acknowledge="AcknowledgeThirdPartyJob",
    success="PutThirdPartyJobSuccessResult",
    failure="PutThirdPartyJobFailureResult",
    jobs=tuple[ThirdPartyJob, ...],
    job_details=JobDetails,
    has_client_token=True,
)

CUSTOM: Final = Operations[CustomJob, CustomJobDetails](
    poll="PollForJobs",
    details="GetJobDetails",
    acknowledge="AcknowledgeJob",
    success="PutJobSuccessResult",
    failure="PutJobFailureResult",
    jobs=tuple[CustomJob, ...],
    job_details=CustomJobDetails,
    has_client_token=False,
)

OPERATION_NAMES: Final = (*THIRD_PARTY.names, *CUSTOM.names)
