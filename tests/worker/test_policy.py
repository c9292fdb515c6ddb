"""The IAM policy of a worker: what it grants, what it refuses, and that AWS would take it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from moto.iam.access_control import IAMPolicy, PermissionResult
from moto.iam.policy_validation import IAMPolicyDocumentValidator

from cp_thirdparty import ActionCategory, ActionOwner, ActionTypeId
from cp_thirdparty.exceptions import InvalidRequestError
from cp_thirdparty.worker import lambda_policy, worker_policy

_TYPE = ActionTypeId(category="Test", owner="ThirdParty", provider="ExampleScan", version="1")
_ACCOUNT = "123456789012"
_OPERATIONS = (
    "AcknowledgeThirdPartyJob",
    "GetThirdPartyJobDetails",
    "PollForThirdPartyJobs",
    "PutThirdPartyJobFailureResult",
    "PutThirdPartyJobSuccessResult",
)
_GUIDE = "arn:aws:codepipeline:us-east-1::actionType:ThirdParty/Test/ExampleScan/1/"
_REFERENCE = "arn:aws:codepipeline:us-east-1:123456789012:actiontype:ThirdParty/Test/ExampleScan/1"


def _policy() -> dict[str, Any]:
    return worker_policy(_TYPE, region="us-east-1", account=_ACCOUNT)


def _grants(action: str, resource: str) -> bool:
    policy = IAMPolicy(json.dumps(_policy()))
    return bool(policy.is_action_permitted(action, resource) is PermissionResult.PERMITTED)


@pytest.mark.parametrize("resource", [_GUIDE, _REFERENCE])
@pytest.mark.parametrize("operation", _OPERATIONS)
def test_it_grants_each_operation_on_the_action_type(operation: str, resource: str) -> None:
    """Both ways of AWS to name the action type are granted."""
    assert _grants(f"codepipeline:{operation}", resource)


@pytest.mark.parametrize("operation", _OPERATIONS)
def test_it_refuses_each_operation_elsewhere(operation: str) -> None:
    """Another provider, version, category, owner, account or region is not granted."""
    others = [
        _REFERENCE.replace("ExampleScan", "ExampleScanner"),
        _REFERENCE + "0",
        _REFERENCE.replace("Test", "Build"),
        _REFERENCE.replace("ThirdParty", "Custom"),
        _REFERENCE.replace(_ACCOUNT, "210987654321"),
        _GUIDE.replace("us-east-1", "us-east-2"),
        "*",
    ]
    assert [resource for resource in others if _grants(f"codepipeline:{operation}", resource)] == []


@pytest.mark.parametrize("action", ["codepipeline:PollForJobs", "codepipeline:GetJobDetails", "s3:GetObject", "iam:*"])
def test_it_grants_nothing_else(action: str) -> None:
    """Operations of custom actions, and other services, are not granted."""
    assert not _grants(action, _REFERENCE)


def test_custom_jobs_have_operations_of_their_own() -> None:
    """A custom action type grants its five operations; the user guide has its owner in lower case."""
    custom = ActionTypeId(category="Test", owner="Custom", provider="ExampleScan", version="1")
    (statement,) = worker_policy(custom, region="us-east-1", account=_ACCOUNT)["Statement"]
    assert statement["Action"] == [f"codepipeline:{each.replace('ThirdParty', '')}" for each in _OPERATIONS]
    assert statement["Resource"] == [
        _GUIDE.replace("ThirdParty", "custom"),
        _GUIDE.replace("ThirdParty", "Custom"),
        _REFERENCE.replace("ThirdParty", "Custom"),
    ]
    IAMPolicyDocumentValidator(json.dumps({"Version": "2012-10-17", "Statement": [statement]})).validate()


def test_iam_takes_the_document() -> None:
    """The checks that moto has from IAM find nothing, and they find what is wrong."""
    IAMPolicyDocumentValidator(json.dumps(_policy())).validate()
    broken = _policy()
    broken["Statement"][0]["Effect"] = "allow"
    with pytest.raises(Exception, match="MalformedPolicyDocument"):
        IAMPolicyDocumentValidator(json.dumps(broken)).validate()


def _lint(policy: dict[str, Any], path: Path) -> subprocess.CompletedProcess[str]:
    properties = {"PolicyDocument": policy}
    template = {"Resources": {"Policy": {"Type": "AWS::IAM::ManagedPolicy", "Properties": properties}}}
    path.write_text(json.dumps({"AWSTemplateFormatVersion": "2010-09-09", **template}), encoding="utf-8")
    return subprocess.run(
        [Path(sys.executable).with_name("cfn-lint"), path], capture_output=True, text=True, check=False
    )


@pytest.mark.slow
def test_a_linter_takes_the_document(tmp_path: Path) -> None:
    """AWS's own linter of templates finds nothing in it, and finds an ARN that is none."""
    good = _lint(_policy(), tmp_path / "good.json")
    assert (good.stdout, good.returncode) == ("", 0)
    broken = _policy()
    broken["Statement"][0]["Resource"] = ["actiontype:ThirdParty"]
    assert "E3510" in _lint(broken, tmp_path / "broken.json").stdout


@pytest.mark.slow
def test_a_linter_takes_the_template_of_the_tutorial() -> None:
    """AWS's own linter of templates finds nothing in the pipeline with a custom action."""
    template = Path(__file__).parents[2] / "examples" / "custom_action" / "pipeline.yaml"
    done = subprocess.run(
        [Path(sys.executable).with_name("cfn-lint"), template], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.returncode) == ("", 0)


@pytest.mark.parametrize(
    ("region", "partition"), [("us-east-1", "aws"), ("cn-north-1", "aws-cn"), ("us-gov-west-1", "aws-us-gov")]
)
def test_each_partition_has_its_arns(region: str, partition: str) -> None:
    """China and GovCloud have ARNs of their own."""
    policy = worker_policy(_TYPE, region=region, account=_ACCOUNT)
    assert all(arn.startswith(f"arn:{partition}:") for arn in policy["Statement"][0]["Resource"])


@pytest.mark.parametrize(
    ("changes", "parameter"),
    [
        ({"account": "12345678901"}, "account"),
        ({"account": "12345678901*"}, "account"),
        ({"region": "*"}, "region"),
        ({"action_type_id": ActionTypeId(category="Test", owner="ThirdParty", provider="*", version="1")}, "provider"),
        ({"action_type_id": ActionTypeId(category="Test", owner="ThirdParty", provider="p", version="?")}, "version"),
        (
            {
                "action_type_id": ActionTypeId(
                    category=ActionCategory("*"), owner="ThirdParty", provider="p", version="1"
                )
            },
            "category",
        ),
        ({"action_type_id": ActionTypeId(category="Test", owner=ActionOwner("*"), provider="p", version="1")}, "owner"),
    ],
)
def test_nothing_widens_it(changes: dict[str, Any], parameter: str) -> None:
    """A wildcard in any part is refused by the name of the part."""
    arguments: dict[str, Any] = {"action_type_id": _TYPE, "region": "us-east-1", "account": _ACCOUNT, **changes}
    with pytest.raises(InvalidRequestError) as caught:
        worker_policy(arguments.pop("action_type_id"), **arguments)
    assert caught.value.parameter.endswith(parameter)


def test_the_policy_of_a_lambda_function_has_the_two_calls_of_a_result() -> None:
    """AWS would accept it; it grants to report a job, and nothing else."""
    document = json.dumps(lambda_policy())
    IAMPolicyDocumentValidator(document).validate()
    policy = IAMPolicy(document)
    actions = (
        "PutJobSuccessResult",
        "PutJobFailureResult",
        "PollForJobs",
        "GetJobDetails",
        "PutThirdPartyJobSuccessResult",
    )
    granted = [
        action
        for action in actions
        if policy.is_action_permitted(f"codepipeline:{action}", "*") is PermissionResult.PERMITTED
    ]
    assert granted == ["PutJobSuccessResult", "PutJobFailureResult"]
