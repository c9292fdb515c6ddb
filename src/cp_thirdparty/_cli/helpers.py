"""The commands `policy`, `action-type`, `local`, `sweep` and `completion`."""

from __future__ import annotations

import gc
import json
import math
import tempfile
from pathlib import Path
from typing import Any, cast

import click
from click.shell_completion import BashComplete, FishComplete, ShellComplete, ZshComplete

from cp_thirdparty._base import limits
from cp_thirdparty._base.text import escape
from cp_thirdparty._cli.click_parts import choice, command, option
from cp_thirdparty._cli.errors import GENERAL_ERROR, USAGE, CommandError
from cp_thirdparty._cli.output import write
from cp_thirdparty.enums import ActionOwner
from cp_thirdparty.exceptions import InvalidRequestError
from cp_thirdparty.models import ActionTypeId

__all__ = ["action_type", "completion", "local", "policy", "sweep"]

_LAST_PORT = 65535
_SHELLS: dict[str, type[ShellComplete]] = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}


@command(
    "policy",
    option("--action-type-id", "The action type, as JSON or NAME=VALUE,...", required=True),
    option("--region", "AWS region of the action type, such as us-east-1.", "NAME", required=True),
    option("--account", "AWS account of the action type, 12 digits.", "DIGITS", required=True),
    example="cp-thirdparty policy --action-type-id category=Test,owner=ThirdParty,provider=ExampleScan,version=1 "
    "--region us-east-1 --account 123456789012",
)
def policy(action_type_id: str, region: str, account: str) -> None:
    """Print the IAM policy of a worker."""
    from cp_thirdparty._cli.parameters import read_model  # noqa: PLC0415 - few commands need it
    from cp_thirdparty.worker.policy import worker_policy  # noqa: PLC0415 - it loads the worker

    model = read_model(ActionTypeId, action_type_id, "--action-type-id")
    try:
        document = worker_policy(model, region=region, account=account)
    except InvalidRequestError as error:
        raise _option_error(error) from None
    write(json.dumps(document, indent=4) + "\n")


def _option_error(error: InvalidRequestError) -> CommandError:
    argument, _, member = error.parameter.partition(".")
    name = f"--{argument.replace('_', '-')}: {member}".removesuffix(": ")
    return CommandError(f"{name}: {error.rule}")


def _artifacts_option(name: str) -> click.Option:
    counts = click.IntRange(0, limits.MAX_ARTIFACTS)
    return option(name, "Default: 0 1.", "MIN MAX", nargs=2, type=counts, default=(0, 1), show_default=False)


@command(
    "action-type",
    click.Argument(["configuration"], metavar="MODULE:CLASS"),
    option(
        "--action-type-id",
        "The action type, as JSON or NAME=VALUE,...; default: a third-party test action named after the class.",
    ),
    _artifacts_option("--input-artifacts"),
    _artifacts_option("--output-artifacts"),
    click.Option(
        ["--polling-account"],
        multiple=True,
        metavar="DIGITS",
        help="AWS account of the worker, 12 digits; may be given repeatedly. For third-party actions only.",
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
    from cp_thirdparty.configuration import action_type_properties  # noqa: PLC0415 - no other command needs it
    from cp_thirdparty.converter import unstructure  # noqa: PLC0415 - no other command here needs it

    model = _load_class(configuration)
    identity = _read_identity(action_type_id, model.__name__)
    is_custom = identity.owner == ActionOwner.CUSTOM
    if is_custom and polling_account:
        raise CommandError("--polling-account: has an effect for third-party actions only")
    if not all(map(limits.ACCOUNT_ID.fullmatch, polling_account)):
        raise CommandError("--polling-account: must be the 12 digits of an AWS account")
    limit = limits.MAX_CUSTOM_ARTIFACTS if is_custom else limits.MAX_ARTIFACTS
    artifacts = {}
    for part, (least, most) in {"input": input_artifacts, "output": output_artifacts}.items():
        if not least <= most <= limit:
            raise CommandError(f"--{part}-artifacts: must be two numbers of 0 to {limit}, the smaller one first")
        artifacts[f"{part}ArtifactDetails"] = {"minimumCount": least, "maximumCount": most}
    try:
        properties: Any = action_type_properties(model, for_="custom" if is_custom else "third-party")
    except InvalidRequestError as error:
        raise CommandError(f"MODULE:CLASS: {error}") from None
    document: dict[str, Any] = unstructure(identity)
    if is_custom:
        del document["owner"]
        document |= {"configurationProperties": properties, **artifacts}
    else:
        worker = {"pollingAccounts": list(polling_account)} if polling_account else {}
        executor = {"type": "JobWorker", "configuration": {"jobWorkerExecutorConfiguration": worker}}
        document = {"actionType": {"id": document, "executor": executor, **artifacts, "properties": properties}}
    write(json.dumps(document, indent=4) + "\n")


def _load_class(configuration: str) -> type[Any]:
    from cp_thirdparty._cli.parameters import load_object  # noqa: PLC0415 - few commands need it
    from cp_thirdparty.configuration import check_configuration_class  # noqa: PLC0415 - no other command needs it

    model = load_object(configuration, "MODULE:CLASS", kind="class", example="examplescan.worker:ScanConfiguration")
    try:
        check_configuration_class(model)
    except (TypeError, NameError) as error:
        raise CommandError(f"MODULE:CLASS: {error}") from None
    except (Exception, SystemExit) as error:  # noqa: BLE001 - annotations of the user's class may run any code
        name = configuration.partition(":")[2]
        raise CommandError(f"MODULE:CLASS: the annotations of {name} raise {type(error).__name__}") from None
    return cast("type[Any]", model)


def _read_identity(action_type_id: str | None, class_name: str) -> ActionTypeId:
    from cp_thirdparty._cli.parameters import read_model  # noqa: PLC0415 - few commands need it
    from cp_thirdparty.worker.policy import check_action_type_id  # noqa: PLC0415 - it loads the worker

    if action_type_id is None:
        provider = class_name[: limits.ACTION_PROVIDER]
        identity = ActionTypeId(category="Test", owner="ThirdParty", provider=provider, version="1")
    else:
        identity = read_model(ActionTypeId, action_type_id, "--action-type-id")
    if identity.owner not in (ActionOwner.CUSTOM, ActionOwner.THIRD_PARTY):
        raise CommandError("--action-type-id: owner: must be ThirdParty or Custom")
    try:
        check_action_type_id(identity)
    except InvalidRequestError as error:
        raise _option_error(error) from None
    return identity


@command(
    "local",
    option("--port", "Port of 127.0.0.1; 0: any.", type=click.IntRange(0, _LAST_PORT), default=0),
    option("--scenario", "JSON file of settings, clients and actions. Default: one demo job.", "PATH"),
    choice(
        "--output",
        "env: lines for a shell; json: one line for a program.",
        ("env", "json"),
        default="env",
    ),
    example="cp-thirdparty local --port 8000 --scenario scenario.json",
)
def local(port: int, scenario: str | None, output: str) -> None:
    """
    Serve a local CodePipeline.

    It runs until Ctrl-C or SIGTERM.  It prints the settings that a client needs, with invented secrets.  Each change
    of an action is printed to standard error.
    """
    from cp_thirdparty.testing.__main__ import serve  # noqa: PLC0415 - it loads the local service
    from cp_thirdparty.testing._scenario import ScenarioError  # noqa: PLC0415 - few calls use it

    gc.enable()  # the console script disables garbage collection, because most commands end soon
    try:
        serve(port, None if scenario is None else Path(scenario), output, write=write)
    except ScenarioError as error:
        raise CommandError(f"--scenario: {error}", USAGE) from None
    except OSError as error:
        raise CommandError(f"--port: cannot listen: {error.strerror}", GENERAL_ERROR) from None


@command("sweep", click.Argument(["directory"], required=False), example="cp-thirdparty sweep /data/builds")
def sweep(directory: str | None) -> None:
    """
    Remove files of killed processes.

    It removes your own temporary directories in DIRECTORY whose processes were killed.  The default is the system's
    directory for temporary files, in which workers create the workspaces of jobs.  For partial downloads, extractions
    and archives, give the directory of the path that was being written.
    """
    from cp_thirdparty.artifacts._temporary import sweep as remove_leftovers  # noqa: PLC0415 - few calls need it

    try:
        swept = remove_leftovers(Path(tempfile.gettempdir() if directory is None else directory), seconds=math.inf)
    except OSError as error:
        raise CommandError(f"DIRECTORY: {error.strerror or type(error).__name__}", GENERAL_ERROR) from None
    write("".join(f"removed {escape(name)}\n" for name in swept.removed))
    write("".join(f"kept {escape(name)}: {reason}\n" for name, reason in swept.kept))


@command(
    "completion",
    click.Argument(["shell"], type=click.Choice(list(_SHELLS))),
    example='eval "$(cp-thirdparty completion bash)"',
)
def completion(shell: str) -> None:
    """Print the completion script of SHELL.  It completes commands, options and the values of enumerations."""
    program = click.get_current_context().find_root().command
    write(_SHELLS[shell](program, {}, "cp-thirdparty", "_CP_THIRDPARTY_COMPLETE").source() + "\n")
