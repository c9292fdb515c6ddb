"""
The five operations without I/O: checked parameters out, model in.

Nothing here raises: a refused parameter and an undecodable response are returned as errors, so that no traceback ever
leads through a frame that holds a secret.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Generic, TypeVar

import attrs

from cp_thirdparty import _limits
from cp_thirdparty._core.truncation import fit_current_revision, fit_execution_details, fit_failure_details
from cp_thirdparty._hooks import make_converter, member_name
from cp_thirdparty._reading import read
from cp_thirdparty.enums import JobStatus
from cp_thirdparty.exceptions import InvalidRequestError, ResponseDecodeError, ThirdPartyError
from cp_thirdparty.models import (
    ActionTypeId,
    CurrentRevision,
    ExecutionDetails,
    FailureDetails,
    JobDetails,
    ThirdPartyJob,
)
from cp_thirdparty.secrets import SecretStr

OPERATION_NAMES: Final = (
    "PollForThirdPartyJobs",
    "GetThirdPartyJobDetails",
    "AcknowledgeThirdPartyJob",
    "PutThirdPartyJobSuccessResult",
    "PutThirdPartyJobFailureResult",
)

_T = TypeVar("_T")
_T_co = TypeVar("_T_co", covariant=True)

# A model and no error, or the error.
Outcome = tuple[_T | None, ThirdPartyError | None]


@attrs.define(kw_only=True)  # not frozen, because a frozen class takes four times as long to create
class Request(Generic[_T_co]):
    """
    The parameters of one call, and how to decode its response.

    Attributes:
        operation_name: As the service spells it.

        job_id: The job that it is about, for the log.

        parameters: By the service's names; secrets are `SecretStr`.

        decode: Makes the model, or the error, of botocore's response.

        is_repeatable: Whether the service may be asked twice without harm.

        refused: Why it must not be sent, or ``None``.

        service: The service's prefix in IAM actions.
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


def poll_for_third_party_jobs(
    action_type_id: ActionTypeId, *, max_batch_size: int | None
) -> Request[tuple[ThirdPartyJob, ...]]:
    """Ask for jobs."""
    parameters: list[_Parameter] = [("action_type_id", action_type_id, _action_type_rule(action_type_id))]
    if max_batch_size is not None:
        parameters.append(("max_batch_size", max_batch_size, _limits.int_in_range(max_batch_size, 1)))
    return _request("PollForThirdPartyJobs", None, parameters, _jobs, is_repeatable=True)


def get_third_party_job_details(job_id: str, *, client_token: str | SecretStr) -> Request[JobDetails]:
    """Ask for the details of a job."""

    def decode(response: Mapping[str, Any]) -> Outcome[JobDetails]:
        return _details(response, job_id)

    return _request("GetThirdPartyJobDetails", job_id, _job(job_id, client_token), decode, is_repeatable=True)


def acknowledge_third_party_job(job_id: str, *, nonce: str, client_token: str | SecretStr) -> Request[JobStatus]:
    """Claim a job."""
    parameters = [*_job(job_id, client_token), _text("nonce", nonce, _limits.NONCE)]
    return _request("AcknowledgeThirdPartyJob", job_id, parameters, _status, is_repeatable=False)


def put_third_party_job_success_result(
    job_id: str,
    *,
    client_token: str | SecretStr,
    continuation_token: str | None,
    current_revision: CurrentRevision | None,
    execution_details: ExecutionDetails | None,
) -> Request[None]:
    """Report a success."""
    parameters = _job(job_id, client_token)
    if continuation_token is not None:
        parameters.append(_text("continuation_token", continuation_token, _limits.CONTINUATION_TOKEN))
    if current_revision is not None:
        parameters.append(_model("current_revision", current_revision, CurrentRevision, fit_current_revision))
    if execution_details is not None:
        parameters.append(_model("execution_details", execution_details, ExecutionDetails, fit_execution_details))
    return _request("PutThirdPartyJobSuccessResult", job_id, parameters, _nothing, is_repeatable=False)


def put_third_party_job_failure_result(
    job_id: str, *, client_token: str | SecretStr, failure_details: FailureDetails
) -> Request[None]:
    """Report a failure."""
    details = _model("failure_details", failure_details, FailureDetails, fit_failure_details)
    parameters = [*_job(job_id, client_token), details]
    return _request("PutThirdPartyJobFailureResult", job_id, parameters, _nothing, is_repeatable=False)


# --- parameters ------------------------------------------------------------------------------------------------------


_PLAIN: Final = (str, int, SecretStr)


# Name, value, and the rule that the value breaks or ``None``.
_Parameter = tuple[str, Any, str | None]


def _job(job_id: str, client_token: str | SecretStr) -> list[_Parameter]:
    return [_text("job_id", job_id, _limits.JOB_ID), _secret("client_token", client_token, _limits.CLIENT_TOKEN)]


def _text(name: str, value: str, maximum: int) -> _Parameter:
    return name, value, _limits.text(value, maximum)


def _secret(name: str, value: str | SecretStr, maximum: int) -> _Parameter:
    if not isinstance(value, (str, SecretStr)):
        return name, None, "must be a str or a SecretStr"
    secret = SecretStr.wrap(value)
    return name, secret, _limits.text(secret.get_secret_value(), maximum)


def _model(name: str, value: object, model: type[_T], fit: Callable[[_T], object]) -> _Parameter:
    if isinstance(value, model):
        return name, fit(value), None
    return name, None, f"must be {_article(model.__name__)}"


def _article(noun: str) -> str:
    return f"an {noun}" if noun[0] in "AE" else f"a {noun}"


def _action_type_rule(value: object) -> str | None:
    if not isinstance(value, ActionTypeId):
        return "must be an ActionTypeId"
    for part, rule in (
        ("provider", _limits.name(value.provider, _limits.ACTION_PROVIDER)),
        ("version", _limits.name(value.version, _limits.ACTION_VERSION)),
    ):
        if rule is not None:
            return f"{part} {rule}"
    return None


def _request(
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
            # A job id that breaks its rule may be anything, a client token too.
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
    """Return a model that has no secrets, by the service's names."""
    return make_converter(detailed=False).unstructure(value)


# --- responses -------------------------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True, weakref_slot=False)
class _PollOutput:
    jobs: tuple[ThirdPartyJob, ...]


@attrs.frozen(kw_only=True, weakref_slot=False)
class _AcknowledgeOutput:
    status: JobStatus


class _Jobs(tuple[ThirdPartyJob, ...]):
    """The jobs of a poll: a tuple, which a notebook shows as a table."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        from cp_thirdparty._display import html_of_items  # noqa: PLC0415 - workers never need it

        return html_of_items("jobs", self)


def _jobs(response: Mapping[str, Any]) -> Outcome[tuple[ThirdPartyJob, ...]]:
    output, problems = read(response, _PollOutput)
    return (None, ResponseDecodeError(problems)) if output is None else (_Jobs(output.jobs), None)


def _status(response: Mapping[str, Any]) -> Outcome[JobStatus]:
    output, problems = read(response, _AcknowledgeOutput)
    return (None, ResponseDecodeError(problems)) if output is None else (output.status, None)


def _details(response: Mapping[str, Any], job_id: str) -> Outcome[JobDetails]:
    if response.get("jobDetails") is None:
        return None, ResponseDecodeError(["required field missing: jobDetails"])
    details, problems = read(response["jobDetails"], JobDetails)
    if details is None:
        return None, ResponseDecodeError(problems)
    if details.id != job_id:
        return None, ResponseDecodeError(["id: must be that of the job that was asked for"])
    return details, None


def _nothing(_answer: Mapping[str, Any]) -> Outcome[None]:
    return None, None
