"""The operations that are commands: their parameters, their help, and how each operation is called."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

import attrs
from botocore import xform_name

from cp_thirdparty._core.operations import CUSTOM, THIRD_PARTY
from cp_thirdparty.client import CustomJobClient, ThirdPartyJobClient
from cp_thirdparty.enums import JobStatus
from cp_thirdparty.models import ActionTypeId, CurrentRevision, ExecutionDetails, FailureDetails


@attrs.frozen
class Parameter:
    """
    A parameter of an operation.

    Attributes:
        member: The name of the parameter in CodePipeline's API, such as ``"jobId"``.
        help: The help of the option.
        kind: The type of the value: ``str``, ``int``, ``dict`` (a mapping from strings to strings), or a model class.
        is_required: Whether the parameter must be given.
        is_secret: Whether the value is a secret, which is not shown.
    """

    member: str
    help: str
    kind: type = str
    is_required: bool = attrs.field(default=True, kw_only=True)
    is_secret: bool = attrs.field(default=False, kw_only=True)

    @property
    def argument(self) -> str:
        """The name as an argument of a Python function, such as ``"job_id"``."""
        return xform_name(self.member)

    @property
    def option(self) -> str:
        """The name as an option of the command line, such as ``"--job-id"``."""
        return f"--{xform_name(self.member, '-')}"


@attrs.frozen
class Operation:
    """An operation of CodePipeline, such as ``AcknowledgeJob``, with the help and the example of its command."""

    name: str
    help: str
    example: str
    parameters: tuple[Parameter, ...]
    client_class: type[ThirdPartyJobClient | CustomJobClient] = ThirdPartyJobClient

    def call(self, client: Any, values: Mapping[str, Any], secrets: Literal["mask", "reveal"]) -> dict[str, Any]:
        """Call the operation with the values by parameter name, and return the response as a document."""
        # Some modules are imported here, because only some operations use them.
        if self.name in (THIRD_PARTY.details, CUSTOM.details):
            from cp_thirdparty._cli.details import details_document  # noqa: PLC0415 - see above

            return details_document(client, values["jobId"], values.get("clientToken"), secrets)
        result = getattr(client, xform_name(self.name))(**{xform_name(name): value for name, value in values.items()})
        if result is None:
            return {}
        if isinstance(result, JobStatus):
            return {"status": result.value}
        from cp_thirdparty.converter import unstructure  # noqa: PLC0415 - see above

        return {"jobs": [unstructure(job, secrets=secrets) for job in result]}


TOKEN_VARIABLE: Final = "CP_THIRDPARTY_CLIENT_TOKEN"  # noqa: S105 - a name
EXAMPLE_JOB: Final = "--job-id 11111111-2222-4333-8444-555555555555"
_ACTION_TYPE = "category=Test,owner=ThirdParty,provider=ExampleScan,version=1"
_SHORT = "As JSON, as NAME=VALUE,NAME=VALUE, or as file://PATH."

JOB_ID: Final = Parameter("jobId", "Id of the job, 1 to 512 characters.")
CLIENT_TOKEN: Final = Parameter(
    "clientToken",
    "Token of the job's client, 1 to 256 characters: the token, '-' for a line of standard input, or file://PATH. "
    f"Default: {TOKEN_VARIABLE} of the environment; without it, the terminal prompts for it, without echo.",
    is_secret=True,
)
_NONCE = Parameter("nonce", "Nonce of the job's details, 1 to 50 characters.")
_TYPE = Parameter("actionTypeId", f"The action type: category, owner, provider, version. {_SHORT}", ActionTypeId)
_BATCH_SIZE = Parameter(
    "maxBatchSize", "Maximum number of jobs, at least 1. Default: the service decides.", int, is_required=False
)
_QUERY = Parameter(
    "queryParam",
    f"The queryable key of the configuration and its value. {_SHORT} Default: jobs with any value.",
    dict,
    is_required=False,
)
_REVISION = Parameter(
    "currentRevision",
    "The revision that the job has produced: revision, changeIdentifier, created (ISO 8601 with a time zone), "
    f"revisionSummary. {_SHORT} Default: none.",
    CurrentRevision,
    is_required=False,
)
_CONTINUATION = Parameter(
    "continuationToken",
    "A string that the next job needs to continue, 1 to 2048 characters. Not treated as a secret. Default: none, "
    "which ends the action.",
    is_required=False,
)
_DETAILS = Parameter(
    "executionDetails",
    f"What the console shows: summary, externalExecutionId, percentComplete. {_SHORT} Default: none.",
    ExecutionDetails,
    is_required=False,
)
_VARIABLES = Parameter(
    "outputVariables",
    f"Values that later actions can use, by name. {_SHORT} Default: none.",
    dict,
    is_required=False,
)
_FAILURE = Parameter("failureDetails", f"Why it failed: type, message, externalExecutionId. {_SHORT}", FailureDetails)

_POLL = Operation(
    THIRD_PARTY.poll,
    "Ask for jobs that wait for a worker.",
    f"--action-type-id {_ACTION_TYPE} --max-batch-size 5",
    (_TYPE, _BATCH_SIZE),
)
_READ = Operation(
    THIRD_PARTY.details,
    "Read the details of a job. Secrets are masked unless --reveal-secrets is given.",
    f"{EXAMPLE_JOB} --query jobDetails.nonce",
    (JOB_ID, CLIENT_TOKEN),
)
_CLAIM = Operation(
    THIRD_PARTY.acknowledge,
    "Claim a job. Work on it only when the result is InProgress.",
    f"{EXAMPLE_JOB} --nonce 3",
    (JOB_ID, _NONCE, CLIENT_TOKEN),
)
_SUCCEED = Operation(
    THIRD_PARTY.success,
    "Report that a job has succeeded. With a continuation token the action continues with another job.",
    f"{EXAMPLE_JOB} --execution-details summary=done,percentComplete=100",
    (JOB_ID, CLIENT_TOKEN, _REVISION, _CONTINUATION, _DETAILS),
)
_FAIL = Operation(
    THIRD_PARTY.failure,
    "Report that a job has failed. This is final.",
    f"{EXAMPLE_JOB} --failure-details \"type=JobFailed,message='3 findings above the threshold'\"",
    (JOB_ID, CLIENT_TOKEN, _FAILURE),
)


def _custom(third_party: Operation, name: str, *more: Parameter, **changes: str) -> Operation:
    """Create an operation of custom jobs from the same operation of third-party jobs, without the client token."""
    parameters = (*(each for each in third_party.parameters if each is not CLIENT_TOKEN), *more)
    return attrs.evolve(third_party, name=name, parameters=parameters, client_class=CustomJobClient, **changes)


OPERATIONS: Final = {
    xform_name(operation.name, "-"): operation
    for operation in (
        *(_POLL, _READ, _CLAIM, _SUCCEED, _FAIL),
        _custom(
            _POLL,
            CUSTOM.poll,
            _QUERY,
            help="Ask for jobs of a custom action. Secrets are masked unless --reveal-secrets is given.",
            example=_POLL.example.replace("owner=ThirdParty", "owner=Custom"),
        ),
        _custom(_READ, CUSTOM.details, example=EXAMPLE_JOB),
        _custom(
            _CLAIM,
            CUSTOM.acknowledge,
            help="Claim a job. The nonce is that of its poll. Work on it only when the result is InProgress.",
        ),
        _custom(_SUCCEED, CUSTOM.success, _VARIABLES),
        _custom(_FAIL, CUSTOM.failure),
    )
}
"""Name of an operation in the AWS CLI -> the operation."""
