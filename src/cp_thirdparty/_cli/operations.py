"""The operations as commands: their parameters as options, and how each is called."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import attrs
from botocore import xform_name

from cp_thirdparty._core.operations import CUSTOM, THIRD_PARTY
from cp_thirdparty.client import CustomJobClient, ThirdPartyJobClient
from cp_thirdparty.enums import JobStatus
from cp_thirdparty.models import ActionTypeId, CurrentRevision, ExecutionDetails, FailureDetails

__all__ = ["CLIENT_TOKEN", "CUSTOM_OPERATIONS", "JOB_ID", "OPERATIONS", "Operation", "Parameter"]


@attrs.frozen(kw_only=True)
class Parameter:
    """
    A parameter of an operation.

    Attributes:
        member: The service's name.
        option: The option of the command line.
        kind: ``str``, ``int``, ``dict`` for strings by name, or a model.
        is_required: Whether it must be given.
        is_secret: Whether it is hidden.
        help: The help of the option.
    """

    member: str
    option: str
    kind: type = str
    is_required: bool = True
    is_secret: bool = False
    help: str


@attrs.frozen(kw_only=True)
class Operation:
    """
    An operation.

    Attributes:
        name: As the service spells it.
        help: The help of the command.
        example: The options of an example.
        parameters: Its parameters.
        client_class: The class of the client that calls it.
    """

    name: str
    help: str
    example: str
    parameters: tuple[Parameter, ...]
    client_class: type[ThirdPartyJobClient | CustomJobClient] = ThirdPartyJobClient

    @property
    def command(self) -> str:
        """The name as the AWS CLI spells it."""
        return xform_name(self.name, "-")

    def call(self, client: Any, values: Mapping[str, Any], secrets: Literal["mask", "reveal"]) -> dict[str, Any]:
        """Call it with values by the service's names, and return the response as a document."""
        # Some modules are loaded only by the operations that need them.
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


JOB_ID = Parameter(member="jobId", option="--job-id", help="Id of the job, 1 to 512 characters.")
CLIENT_TOKEN = Parameter(
    member="clientToken",
    option="--client-token",
    is_secret=True,
    help="Token of the job's client, 1 to 256 characters: the token, '-' for a line of standard input, or file://PATH. "
    "Default: CP_THIRDPARTY_CLIENT_TOKEN of the environment; else a terminal is asked for it, without echo.",
)
_ACTION_TYPE = "category=Test,owner=ThirdParty,provider=ExampleScan,version=1"
_SHORT = "As JSON, as NAME=VALUE,NAME=VALUE, or as file://PATH."

_JOB = "--job-id 11111111-2222-4333-8444-555555555555"

OPERATIONS: tuple[Operation, ...] = (
    Operation(
        name=THIRD_PARTY.poll,
        help="Ask for jobs that wait for a worker.",
        example=f"--action-type-id {_ACTION_TYPE} --max-batch-size 5",
        parameters=(
            Parameter(
                member="actionTypeId",
                option="--action-type-id",
                kind=ActionTypeId,
                help=f"The action type: category, owner, provider, version. {_SHORT}",
            ),
            Parameter(
                member="maxBatchSize",
                option="--max-batch-size",
                kind=int,
                is_required=False,
                help="The most jobs to return, at least 1. Default: the service decides.",
            ),
        ),
    ),
    Operation(
        name=THIRD_PARTY.details,
        help="Read the details of a job. Secrets are masked unless --reveal-secrets is given.",
        example=f"{_JOB} --query jobDetails.nonce",
        parameters=(JOB_ID, CLIENT_TOKEN),
    ),
    Operation(
        name=THIRD_PARTY.acknowledge,
        help="Claim a job. Work on it only when the result is InProgress.",
        example=f"{_JOB} --nonce 3",
        parameters=(
            JOB_ID,
            Parameter(member="nonce", option="--nonce", help="Nonce of the job's details, 1 to 50 characters."),
            CLIENT_TOKEN,
        ),
    ),
    Operation(
        name=THIRD_PARTY.success,
        help="Report that a job has succeeded. With a continuation token the action goes on in another job.",
        example=f"{_JOB} --execution-details summary=done,percentComplete=100",
        parameters=(
            JOB_ID,
            CLIENT_TOKEN,
            Parameter(
                member="currentRevision",
                option="--current-revision",
                kind=CurrentRevision,
                is_required=False,
                help="The revision that the job has produced: revision, changeIdentifier, created (ISO 8601 with a "
                f"time zone), revisionSummary. {_SHORT} Default: none.",
            ),
            Parameter(
                member="continuationToken",
                option="--continuation-token",
                is_required=False,
                help="What the next job needs to go on, 1 to 2048 characters. Not treated as a secret. Default: none, "
                "which ends the action.",
            ),
            Parameter(
                member="executionDetails",
                option="--execution-details",
                kind=ExecutionDetails,
                is_required=False,
                help=f"What the console shows: summary, externalExecutionId, percentComplete. {_SHORT} Default: none.",
            ),
        ),
    ),
    Operation(
        name=THIRD_PARTY.failure,
        help="Report that a job has failed. This is final.",
        example=f"{_JOB} --failure-details \"type=JobFailed,message='3 findings above the threshold'\"",
        parameters=(
            JOB_ID,
            CLIENT_TOKEN,
            Parameter(
                member="failureDetails",
                option="--failure-details",
                kind=FailureDetails,
                help=f"Why it failed: type, message, externalExecutionId. {_SHORT}",
            ),
        ),
    ),
)


def _custom(third_party: Operation, name: str, more: tuple[Parameter, ...] = (), **texts: str) -> Operation:
    """Create an operation of custom jobs from that of third-party jobs, without the client token."""
    return attrs.evolve(
        third_party,
        name=name,
        parameters=(*(each for each in third_party.parameters if each is not CLIENT_TOKEN), *more),
        client_class=CustomJobClient,
        **{"example": third_party.example.replace("owner=ThirdParty", "owner=Custom"), **texts},
    )


_QUERY = Parameter(
    member="queryParam",
    option="--query-param",
    kind=dict,
    is_required=False,
    help=f"The queryable key of the configuration and its value. {_SHORT} Default: jobs with any value.",
)
_VARIABLES = Parameter(
    member="outputVariables",
    option="--output-variables",
    kind=dict,
    is_required=False,
    help=f"Values that later actions can use, by name. {_SHORT} Default: none.",
)

CUSTOM_OPERATIONS: tuple[Operation, ...] = (
    _custom(
        OPERATIONS[0],
        CUSTOM.poll,
        (_QUERY,),
        help="Ask for jobs of a custom action. Secrets are masked unless --reveal-secrets is given.",
    ),
    _custom(OPERATIONS[1], CUSTOM.details, example=_JOB),
    _custom(
        OPERATIONS[2],
        CUSTOM.acknowledge,
        help="Claim a job. The nonce is that of its poll. Work on it only when the result is InProgress.",
    ),
    _custom(OPERATIONS[3], CUSTOM.success, (_VARIABLES,)),
    _custom(OPERATIONS[4], CUSTOM.failure),
)
