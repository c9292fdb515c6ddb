"""The program `cp-thirdparty`: find its commands, run one, and report an error in one line."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module

import click

from cp_thirdparty._cli.click_parts import Group, version_option
from cp_thirdparty._cli.errors import describe_error
from cp_thirdparty._cli.output import warn

_OPERATIONS = (
    "acknowledge-third-party-job",
    "get-third-party-job-details",
    "poll-for-third-party-jobs",
    "put-third-party-job-failure-result",
    "put-third-party-job-success-result",
    "acknowledge-job",
    "get-job-details",
    "poll-for-jobs",
    "put-job-failure-result",
    "put-job-success-result",
)
_HELP = (
    "Call CodePipeline's operations of third-party (partner) and custom jobs.  Options are those of "
    "`aws codepipeline`; secrets are masked unless --reveal-secrets is given."
)
_EXAMPLE = "Example: cp-thirdparty get-third-party-job-details --job-id 11111111-2222-4333-8444-555555555555"
# The other commands -> the module that has the command.
_HELPERS = {
    "action-type": "helpers",
    "doctor": "doctor",
    **dict.fromkeys(("completion", "local", "policy", "sweep"), "helpers"),
    **dict.fromkeys(("artifact", "explain", "fail", "succeed"), "on_call"),
    **dict.fromkeys(("jobs", "journal", "resolve"), "journals"),
}


class Program(Group):
    """The group of all commands.  A command is imported when it is used, so ``--version`` does not load botocore."""

    def __init__(self) -> None:
        super().__init__(
            "cp-thirdparty",
            help=_HELP,
            epilog=_EXAMPLE,
            params=[version_option()],
            context_settings={"help_option_names": ["-h", "--help"]},
            no_args_is_help=False,  # otherwise click 8.1 shows the help if there are no arguments
        )

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names of all commands."""
        return [*_OPERATIONS, *_HELPERS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """Import the command with a name, and return it; return ``None`` if there is no such command."""
        command: click.Command | None = None
        if cmd_name in _HELPERS:
            module = import_module(f"cp_thirdparty._cli.{_HELPERS[cmd_name]}")
            command = getattr(module, cmd_name.replace("-", "_"))
        elif cmd_name in _OPERATIONS:
            command = import_module("cp_thirdparty._cli.commands").command_of(cmd_name)
        return command


def run(arguments: Sequence[str]) -> int:
    """Run the program and return its exit code."""
    try:
        result = Program().main(list(arguments), "cp-thirdparty", standalone_mode=False)
    except ModuleNotFoundError:
        raise
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - each error is reported in one line
        code, text = describe_error(error)
        warn(f"error: {text}" if code else text)
        return code
    return result if isinstance(result, int) else 0
