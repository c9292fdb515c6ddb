"""Create least-privilege IAM policies: for a worker, a journal in DynamoDB, and a Lambda function."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any

import botocore.session
from botocore.exceptions import BotoCoreError

from cp_thirdparty._base import limits
from cp_thirdparty._core import data_loader
from cp_thirdparty._core.operations import CUSTOM, THIRD_PARTY
from cp_thirdparty.enums import ActionOwner
from cp_thirdparty.exceptions import InvalidRequestError
from cp_thirdparty.models import ActionTypeId

__all__ = ["journal_policy", "lambda_policy", "worker_policy"]

# The operations that a `DynamoDBJournal` calls.
_JOURNAL_OPERATIONS = ("BatchWriteItem", "DeleteItem", "PutItem", "Query")
_TABLE_NAME = re.compile(r"[a-zA-Z0-9_.-]{3,255}")


def worker_policy(action_type_id: ActionTypeId, *, region: str, account: str) -> dict[str, Any]:
    """
    Return the least-privilege IAM policy for a worker: the five operations of its kind of jobs, on one action type.

    The documents of AWS write the ARN of an action type in different ways, and IAM compares ARNs letter by letter.  So
    the policy contains each form:

    * The form of the user guide has no account and ends with a slash.  See "Choose and configure an appropriate
      permissions management strategy for your job worker" on the guide's page about integration models.
    * The form of the Service Authorization Reference has the account.
    * For custom actions, the user guide writes the owner in lower case, so the policy has one more ARN.

    The Service Authorization Reference lists no resource for these operations; the user guide does.  If AWS refuses the
    calls of a worker that has this policy, the error of the call names the resource to allow.

    Args:
        action_type_id: The action type of the worker.
        region: The AWS region of the action type, such as ``"us-east-1"``.
        account: The 12 digits of the AWS account that the action type is registered in.

    Returns:
        The policy document, ready for `json.dumps`.

    Raises:
        cp_thirdparty.exceptions.InvalidRequestError: A parameter breaks a rule.
    """
    check_action_type_id(action_type_id)
    partition = _require_partition(region, account)
    path = f"{action_type_id.owner}/{action_type_id.category}/{action_type_id.provider}/{action_type_id.version}"
    operations = CUSTOM if action_type_id.owner == ActionOwner.CUSTOM else THIRD_PARTY
    # Only the user guide, and only for custom actions, writes the owner in lower case.
    spellings = ["custom" + path.removeprefix("Custom"), path] if operations is CUSTOM else [path]
    prefix = f"arn:{partition}:codepipeline:{region}"
    resources = [*(f"{prefix}::actionType:{each}/" for each in spellings), f"{prefix}:{account}:actiontype:{path}"]
    sid = "CustomJobs" if operations is CUSTOM else "ThirdPartyJobs"
    return _create_policy(sid, [f"codepipeline:{operation}" for operation in sorted(operations.names)], resources)


def check_action_type_id(action_type_id: ActionTypeId) -> None:
    """Raise `InvalidRequestError` if no action type can have this id."""
    for name, value, maximum in (
        ("provider", action_type_id.provider, limits.ACTION_PROVIDER),
        ("version", action_type_id.version, limits.ACTION_VERSION),
    ):
        broken_rule = limits.check_name(value, maximum)
        if broken_rule is not None:
            raise InvalidRequestError(f"action_type_id.{name}", broken_rule)
    for name, member in (("category", action_type_id.category), ("owner", action_type_id.owner)):
        if not member.is_known:
            # An unknown value could contain an asterisk, which is a wildcard in an ARN.
            raise InvalidRequestError(f"action_type_id.{name}", "must be a value that CodePipeline defines")


def journal_policy(table_name: str, *, region: str, account: str) -> dict[str, Any]:
    """
    Return the least-privilege IAM policy for a `DynamoDBJournal`: four operations, on its table only.

    Args:
        table_name: The table of the journal.
        region: The AWS region of the table, such as ``"us-east-1"``.
        account: The 12 digits of the AWS account of the table.

    Returns:
        The policy document, ready for `json.dumps`.

    Raises:
        cp_thirdparty.exceptions.InvalidRequestError: A parameter breaks a rule.

    .. versionadded:: 0.2.0
    """
    if not _TABLE_NAME.fullmatch(table_name):
        raise InvalidRequestError("table_name", "must be the name of a DynamoDB table")
    resource = f"arn:{_require_partition(region, account)}:dynamodb:{region}:{account}:table/{table_name}"
    return _create_policy("Journal", [f"dynamodb:{operation}" for operation in _JOURNAL_OPERATIONS], [resource])


def _create_policy(sid: str, actions: list[str], resources: list[str] | str) -> dict[str, Any]:
    statement = {"Sid": sid, "Effect": "Allow", "Action": actions, "Resource": resources}
    return {"Version": "2012-10-17", "Statement": [statement]}


def _require_partition(region: str, account: str) -> str:
    """Return the partition of a region; raise if the region or the account is not valid."""
    if not limits.ACCOUNT_ID.fullmatch(account):
        raise InvalidRequestError("account", "must be the 12 digits of an AWS account")
    session = botocore.session.Session()
    data_loader.install(session)
    partition = ""
    with suppress(BotoCoreError):
        partition = session.get_partition_for_region(region)
    if not partition:
        raise InvalidRequestError("region", "must be the name of an AWS region")
    return partition


def lambda_policy() -> dict[str, Any]:
    """
    Return the least-privilege IAM policy for a Lambda function with a `LambdaHandler`: two calls that report a result.

    The Service Authorization Reference lists no resource for these calls, so the policy allows them on all resources.
    A function that returns its result, for an action type with a Lambda executor, does not need this policy.  To write
    its log, each function also needs the AWS managed policy ``AWSLambdaBasicExecutionRole``.

    Returns:
        The policy document, ready for `json.dumps`.

    .. versionadded:: 0.2.0
    """
    actions = [f"codepipeline:{operation}" for operation in (CUSTOM.failure, CUSTOM.success)]
    return _create_policy("JobResults", actions, "*")
