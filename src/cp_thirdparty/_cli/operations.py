"""The operations as commands: their parameters as options, and how each is called."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs

from cp_thirdparty.client import CustomJobClient, ThirdPartyJobClient
from cp_thirdparty.models import ActionTypeId, CurrentRevision, ExecutionDetails, FailureDetails

__all__ = ["CLIENT_TOKEN", "CUSTOM_OPERATIONS", "JOB_ID", "OPERATIONS", "Operation", "Parameter"]


@attrs.frozen(kw_only=True)
class Parameter:
    """
    A parameter of an operation.

    Attributes:
        member: The service's name.

        option: The option of the command line.

        kind: ``str``, ``int``, ``dict`` for strings by name, or the model that is made of it.

        is_required: Whether there must be one.

        is_secret: Whether it is never shown.

        help: What it is.
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

        command: As the AWS CLI spells it.

        help: What it does.

        example: A call of it, without the program.

        parameters: What it takes.

        client_class: The class of the client that calls it.

        call: Calls it with values by the service's names and returns the response as a document; its last argument
            decides whether secrets are masked.
    """

    name: str
    command: str
    help: str
    example: str
    parameters: tuple[Parameter, ...]
    client_class: type[ThirdPartyJobClient | CustomJobClient] = ThirdPartyJobClient
    call: Callable[[Any, Mapping[str, Any], Any], dict[str, Any]]


def _poll(client: ThirdPartyJobClient, values: Mapping[str, Any], secrets: Any) -> dict[str, Any]:
    from cp_thirdparty.converter import unstructure  # noqa: PLC0415 - as below

    jobs = client.poll_for_third_party_jobs(values["actionTypeId"], max_batch_size=values.get("maxBatchSize"))
    return {"jobs": [unstructure(job, secrets=secrets) for job in jobs]}


def _details(client: ThirdPartyJobClient, values: Mapping[str, Any], secrets: Any) -> dict[str, Any]:
    from cp_thirdparty._cli.details import details_document  # noqa: PLC0415 - only this operation needs it

    return details_document(client, values["jobId"], values["clientToken"], secrets)


def _acknowledge(client: ThirdPartyJobClient, values: Mapping[str, Any], _: Any) -> dict[str, Any]:
    status = client.acknowledge_third_party_job(
        values["jobId"], nonce=values["nonce"], client_token=values["clientToken"]
    )
    return {"status": str(status)}


def _succeed(client: ThirdPartyJobClient, values: Mapping[str, Any], _: Any) -> dict[str, Any]:
    client.put_third_party_job_success_result(
        values["jobId"],
        client_token=values["clientToken"],
        continuation_token=values.get("continuationToken"),
        current_revision=values.get("currentRevision"),
        execution_details=values.get("executionDetails"),
    )
    return {}


def _fail(client: ThirdPartyJobClient, values: Mapping[str, Any], _: Any) -> dict[str, Any]:
    client.put_third_party_job_failure_result(
        values["jobId"], client_token=values["clientToken"], failure_details=values["failureDetails"]
    )
    return {}


def _poll_custom(client: CustomJobClient, values: Mapping[str, Any], secrets: Any) -> dict[str, Any]:
    from cp_thirdparty.converter import unstructure  # noqa: PLC0415 - only some operations need it

    jobs = client.poll_for_jobs(
        values["actionTypeId"], max_batch_size=values.get("maxBatchSize"), query_param=values.get("queryParam")
    )
    return {"jobs": [unstructure(job, secrets=secrets) for job in jobs]}


def _custom_details(client: CustomJobClient, values: Mapping[str, Any], secrets: Any) -> dict[str, Any]:
    from cp_thirdparty._cli.details import details_document  # noqa: PLC0415 - only this operation needs it

    return details_document(client, values["jobId"], None, secrets)


def _acknowledge_custom(client: CustomJobClient, values: Mapping[str, Any], _: Any) -> dict[str, Any]:
    return {"status": str(client.acknowledge_job(values["jobId"], nonce=values["nonce"]))}


def _succeed_custom(client: CustomJobClient, values: Mapping[str, Any], _: Any) -> dict[str, Any]:
    client.put_job_success_result(
        values["jobId"],
        continuation_token=values.get("continuationToken"),
        current_revision=values.get("currentRevision"),
        execution_details=values.get("executionDetails"),
        output_variables=values.get("outputVariables"),
    )
    return {}


def _fail_custom(client: CustomJobClient, values: Mapping[str, Any], _: Any) -> dict[str, Any]:
    client.put_job_failure_result(values["jobId"], failure_details=values["failureDetails"])
    return {}


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

_EXAMPLE_ID = "11111111-2222-4333-8444-555555555555"

OPERATIONS: tuple[Operation, ...] = (
    Operation(
        name="PollForThirdPartyJobs",
        command="poll-for-third-party-jobs",
        help="Ask for jobs that wait for a worker.",
        example=f"poll-for-third-party-jobs --action-type-id {_ACTION_TYPE} --max-batch-size 5",
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
        call=_poll,
    ),
    Operation(
        name="GetThirdPartyJobDetails",
        command="get-third-party-job-details",
        help="Read the details of a job. Secrets are masked unless --reveal-secrets is given.",
        example="get-third-party-job-details --job-id 11111111-2222-4333-8444-555555555555 --query jobDetails.nonce",
        parameters=(JOB_ID, CLIENT_TOKEN),
        call=_details,
    ),
    Operation(
        name="AcknowledgeThirdPartyJob",
        command="acknowledge-third-party-job",
        help="Claim a job. Work on it only when the result is InProgress.",
        example="acknowledge-third-party-job --job-id 11111111-2222-4333-8444-555555555555 --nonce 3",
        parameters=(
            JOB_ID,
            Parameter(member="nonce", option="--nonce", help="Nonce of the job's details, 1 to 50 characters."),
            CLIENT_TOKEN,
        ),
        call=_acknowledge,
    ),
    Operation(
        name="PutThirdPartyJobSuccessResult",
        command="put-third-party-job-success-result",
        help="Report that a job has succeeded. With a continuation token the action goes on in another job.",
        example="put-third-party-job-success-result --job-id 11111111-2222-4333-8444-555555555555 "
        "--execution-details summary=done,percentComplete=100",
        parameters=(
            JOB_ID,
            CLIENT_TOKEN,
            Parameter(
                member="currentRevision",
                option="--current-revision",
                kind=CurrentRevision,
                is_required=False,
                help="The revision that the job has made: revision, changeIdentifier, created (ISO 8601 with a time "
                f"zone), revisionSummary. {_SHORT} Default: none.",
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
        call=_succeed,
    ),
    Operation(
        name="PutThirdPartyJobFailureResult",
        command="put-third-party-job-failure-result",
        help="Report that a job has failed. This is final.",
        example="put-third-party-job-failure-result --job-id 11111111-2222-4333-8444-555555555555 "
        "--failure-details \"type=JobFailed,message='3 findings above the threshold'\"",
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
        call=_fail,
    ),
)


def _custom(
    third_party: Operation,
    name: str,
    call: Callable[[CustomJobClient, Mapping[str, Any], Any], dict[str, Any]],
    more: tuple[Parameter, ...] = (),
    **texts: str,
) -> Operation:
    """Create an operation of custom jobs from that of third-party jobs: without the client token, perhaps with more."""
    command = third_party.command.replace("third-party-", "")
    example = third_party.example.replace(third_party.command, command).replace("owner=ThirdParty", "owner=Custom")
    return attrs.evolve(
        third_party,
        name=name,
        command=command,
        parameters=(*(each for each in third_party.parameters if each is not CLIENT_TOKEN), *more),
        client_class=CustomJobClient,
        call=call,
        **{"example": example, **texts},
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
        "PollForJobs",
        _poll_custom,
        (_QUERY,),
        help="Ask for jobs of a custom action. Secrets are masked unless --reveal-secrets is given.",
    ),
    _custom(OPERATIONS[1], "GetJobDetails", _custom_details, example=f"get-job-details --job-id {_EXAMPLE_ID}"),
    _custom(
        OPERATIONS[2],
        "AcknowledgeJob",
        _acknowledge_custom,
        help="Claim a job with the nonce of its poll. Work on it only if the status is InProgress.",
    ),
    _custom(OPERATIONS[3], "PutJobSuccessResult", _succeed_custom, (_VARIABLES,)),
    _custom(OPERATIONS[4], "PutJobFailureResult", _fail_custom),
)
