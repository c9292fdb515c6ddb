"""The command `action-type`, which prints the input of the AWS CLI command that registers an action type."""

from __future__ import annotations

import json
from typing import Any

import click

from cp_thirdparty._base import limits
from cp_thirdparty._cli.click_parts import command, option
from cp_thirdparty._cli.errors import CommandError
from cp_thirdparty._cli.output import write
from cp_thirdparty._cli.parameters import load_object, read_model
from cp_thirdparty.configuration import action_type_properties
from cp_thirdparty.converter import unstructure
from cp_thirdparty.enums import ActionOwner
from cp_thirdparty.exceptions import InvalidRequestError
from cp_thirdparty.models import ActionTypeId

__all__ = ["action_type"]

_TYPE = "--action-type-id"


def _artifacts_option(name: str) -> click.Option:
    counts = click.IntRange(0, limits.MAX_ARTIFACTS)
    return option(name, "Default: 0 1.", "MIN MAX", nargs=2, type=counts, default=(0, 1), show_default=False)


@command(
    "action-type",
    click.Argument(["configuration"], metavar="MODULE:CLASS"),
    option(
        _TYPE, "The action type, as JSON or NAME=VALUE,...; default: a third-party test action named after the class."
    ),
    _artifacts_option("--input-artifacts"),
    _artifacts_option("--output-artifacts"),
    click.Option(
        ["--polling-account"],
        multiple=True,
        metavar="DIGITS",
        help="AWS account of the worker; may be given repeatedly.",
    ),
    example="cp-thirdparty action-type examplescan.worker:ScanConfiguration "
    "--action-type-id category=Test,owner=ThirdParty,provider=ExampleScan,version=1",
)
def action_type(
    configuration: str,
    *,
    action_type_id: str | None,
    input_artifacts: tuple[int, int],
    output_artifacts: tuple[int, int],
    polling_account: tuple[str, ...],
) -> None:
    """
    Print an action type to register.

    The properties of the action type come from the configuration class MODULE:CLASS.  If the owner is ThirdParty, the
    output is the input of `aws codepipeline update-action-type`.  If the owner is Custom, it is the input of `aws
    codepipeline create-custom-action-type`.  The module may also be in the working directory.
    """
    model = load_object(configuration, "MODULE:CLASS", kind="class", example="examplescan.worker:ScanConfiguration")
    if action_type_id is None:
        provider = getattr(model, "__name__", "")[: limits.ACTION_PROVIDER]
        identity = ActionTypeId(category="Test", owner="ThirdParty", provider=provider, version="1")
    else:
        identity = read_model(ActionTypeId, action_type_id, _TYPE)
    if identity.owner not in (ActionOwner.CUSTOM, ActionOwner.THIRD_PARTY):
        raise CommandError(f"{_TYPE}: owner: must be ThirdParty or Custom")
    is_custom = identity.owner == ActionOwner.CUSTOM
    limit = limits.MAX_CUSTOM_ARTIFACTS if is_custom else limits.MAX_ARTIFACTS
    artifacts = {}
    for part, (least, most) in {"input": input_artifacts, "output": output_artifacts}.items():
        if not least <= most <= limit:
            raise CommandError(f"--{part}-artifacts: must be two numbers of 0 to {limit}, the smaller one first")
        artifacts[f"{part}ArtifactDetails"] = {"minimumCount": least, "maximumCount": most}
    try:
        properties: Any = action_type_properties(model, for_="custom" if is_custom else "third-party")
    except (TypeError, NameError, InvalidRequestError) as error:
        raise CommandError(f"MODULE:CLASS: {error}") from None
    except Exception as error:  # noqa: BLE001 - annotations of the user's class may run any code
        name = configuration.partition(":")[2]
        raise CommandError(f"MODULE:CLASS: the annotations of {name} raise {type(error).__name__}") from None
    document: dict[str, Any] = unstructure(identity)
    if is_custom:
        del document["owner"]
        document |= {"configurationProperties": properties, **artifacts}
    else:
        worker = {"pollingAccounts": list(polling_account)} if polling_account else {}
        executor = {"type": "JobWorker", "configuration": {"jobWorkerExecutorConfiguration": worker}}
        document = {"actionType": {"id": document, "executor": executor, **artifacts, "properties": properties}}
    write(json.dumps(document, indent=4) + "\n")
