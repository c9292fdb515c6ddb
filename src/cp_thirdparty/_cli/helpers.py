"""The commands `policy`, `local`, `sweep` and `completion`."""

from __future__ import annotations

import gc
import json
import math
import tempfile
from pathlib import Path

import click
from click.shell_completion import BashComplete, FishComplete, ShellComplete, ZshComplete

from cp_thirdparty._base.text import escape
from cp_thirdparty._cli.click_parts import single
from cp_thirdparty._cli.errors import OTHER, USAGE, CommandError
from cp_thirdparty._cli.output import write
from cp_thirdparty.exceptions import InvalidRequestError
from cp_thirdparty.models import ActionTypeId

__all__ = ["completion", "local", "policy", "sweep"]

_LAST_PORT = 65535
_SHELLS: dict[str, type[ShellComplete]] = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}


@click.command(
    epilog="Example: cp-thirdparty policy --action-type-id category=Test,owner=ThirdParty,provider=ExampleScan,"
    "version=1 --region us-east-1 --account 123456789012"
)
@click.option(
    "--action-type-id",
    required=True,
    metavar="TEXT",
    help="The action type, as JSON or NAME=VALUE,...",
    **single(),
)
@click.option(
    "--region", required=True, metavar="NAME", help="AWS region of the action type, such as us-east-1.", **single()
)
@click.option(
    "--account", required=True, metavar="DIGITS", help="AWS account of the action type, 12 digits.", **single()
)
def policy(action_type_id: str, region: str, account: str) -> None:
    """Print the IAM policy of a worker."""
    from cp_thirdparty._cli.documents import read_text  # noqa: PLC0415 - see below
    from cp_thirdparty._cli.parameters import read_model  # noqa: PLC0415 - see below
    from cp_thirdparty.worker.policy import worker_policy  # noqa: PLC0415 - it loads the worker

    option = "--action-type-id"
    model = read_model(ActionTypeId, read_text(action_type_id, option), option)
    try:
        document = worker_policy(model, region=region, account=account)
    except InvalidRequestError as error:
        argument, _, member = error.parameter.partition(".")
        name = f"--{argument.replace('_', '-')}: {member}".removesuffix(": ")
        raise CommandError(f"{name}: {error.rule}") from None
    write(json.dumps(document, indent=4) + "\n")


@click.command(epilog="Example: cp-thirdparty local --port 8000 --scenario scenario.json")
@click.option(
    "--port", type=click.IntRange(0, _LAST_PORT), show_default=True, help="Port of 127.0.0.1; 0: any.", **single(0)
)
@click.option(
    "--scenario", metavar="PATH", help="JSON file of settings, clients and actions. Default: one demo job.", **single()
)
@click.option(
    "--output",
    type=click.Choice(("env", "json")),
    show_default=True,
    help="env: lines for a shell; json: one line for a program.",
    **single("env"),
)
def local(port: int, scenario: str | None, output: str) -> None:
    """
    Serve a local CodePipeline.

    It ends at Ctrl-C or SIGTERM.  It prints what a client needs, with made-up secrets, and on standard error
    each change of an action.
    """
    from cp_thirdparty.testing.__main__ import serve  # noqa: PLC0415 - it loads the local service
    from cp_thirdparty.testing._scenario import ScenarioError  # noqa: PLC0415 - few calls use it

    gc.enable()  # the console script has disabled it, because most commands end soon
    try:
        serve(port, None if scenario is None else Path(scenario), output)
    except ScenarioError as error:
        problem, code = f"--scenario: {error}", USAGE
    except OSError as error:
        problem, code = f"--port: cannot listen: {error.strerror}", OTHER
    else:
        return
    raise CommandError(problem, code)


@click.command(epilog="Example: cp-thirdparty sweep /data/builds")
@click.argument("directory", type=click.Path(), required=False)
def sweep(directory: str | None) -> None:
    """
    Remove files of killed processes.

    These are your own temporary directories in DIRECTORY.  The default is the directory for temporary files, where
    workers have the workspaces of jobs.  Partial downloads, extractions and archives are beside the path that was
    written.
    """
    from cp_thirdparty.artifacts._temporary import sweep as remove_leftovers  # noqa: PLC0415 - few calls need it

    try:
        swept = remove_leftovers(Path(tempfile.gettempdir() if directory is None else directory), seconds=math.inf)
    except OSError as failure:
        problem = failure.strerror or type(failure).__name__
    else:
        write("".join(f"removed {escape(name)}\n" for name in swept.removed))
        write("".join(f"kept {escape(name)}: {reason}\n" for name, reason in swept.kept))
        return
    raise CommandError(f"DIRECTORY: {problem}", OTHER)


@click.command(epilog='Example: eval "$(cp-thirdparty completion bash)"')
@click.argument("shell", type=click.Choice(list(_SHELLS)))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script of SHELL.  It completes commands, options and the values of enumerations."""
    write(_SHELLS[shell](ctx.find_root().command, {}, "cp-thirdparty", "_CP_THIRDPARTY_COMPLETE").source() + "\n")
