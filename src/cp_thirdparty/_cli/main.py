"""The program: its commands, and how it reports errors."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import cast

import click

from cp_thirdparty._cli.click_parts import Group, version_option
from cp_thirdparty._cli.errors import CommandError, describe_error, suggest
from cp_thirdparty._cli.output import warn

__all__ = ["Program", "run"]

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
# The other commands, and their modules.
_HELPERS = {
    "action-type": "action_type",
    "doctor": "doctor",
    **dict.fromkeys(("completion", "local", "policy", "sweep"), "helpers"),
    **dict.fromkeys(("artifact", "explain", "fail", "succeed"), "on_call"),
    **dict.fromkeys(("jobs", "journal", "resolve"), "journals"),
}


class Program(Group):
    """All commands.  Each is loaded when it is used, so ``--version`` does not load botocore."""

    def __init__(self) -> None:
        super().__init__(
            "cp-thirdparty",
            help=_HELP,
            epilog=_EXAMPLE,
            params=[version_option()],
            context_settings={"help_option_names": ["-h", "--help"]},
            no_args_is_help=False,  # otherwise click 8.1 shows the help if there are no arguments
        )

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments; like the AWS CLI, take options before the command."""
        return super().parse_args(ctx, args if ctx.resilient_parsing else _move_options(args))

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the options of the program; for completion also those that may stand before the command."""
        params = super().get_params(ctx)
        if ctx.resilient_parsing:
            params += import_module("cp_thirdparty._cli.options").common_options()
        return params

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Name the commands."""
        return [*_OPERATIONS, *_HELPERS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """Load a command, or return ``None`` when there is none of this name."""
        if cmd_name in _HELPERS:
            module = import_module(f"cp_thirdparty._cli.{_HELPERS[cmd_name]}")
            return cast("click.Command", getattr(module, cmd_name.replace("-", "_")))
        if cmd_name in _OPERATIONS:
            operations = import_module("cp_thirdparty._cli.operations")
            by_name = {each.command: each for each in (*operations.OPERATIONS, *operations.CUSTOM_OPERATIONS)}
            return cast("click.Command", import_module("cp_thirdparty._cli.commands").command_of(by_name[cmd_name]))
        return None


def _move_options(arguments: Sequence[str]) -> list[str]:
    """Move options from before the command to behind it, because only the command knows them."""
    if not arguments or not arguments[0].startswith("--") or arguments[0] in ("--version", "--help"):
        return list(arguments)
    options = import_module("cp_thirdparty._cli.options").common_options()
    flags = {name for option in options if option.is_flag for name in (*option.opts, *option.secondary_opts)}
    known = [name for option in options for name in option.opts]
    moved = 0
    while moved < len(arguments) and arguments[moved].startswith("--"):
        name, equals, _ = arguments[moved].partition("=")
        if name not in flags and name not in known:
            raise CommandError(f"there is no such option before the command{suggest(name, known, 'see --help')}")
        moved += 1 if equals or name in flags else 2
    command = arguments[moved : moved + 1]
    return [*command, *arguments[:moved], *arguments[moved + 1 :]] if command else []


def run(arguments: Sequence[str]) -> int:
    """Run the program and return its exit code."""
    try:
        result = Program().main(list(arguments), "cp-thirdparty", standalone_mode=False)
    except ModuleNotFoundError:
        raise
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - reported in one line, whatever it is
        code, text = describe_error(error)
        warn(f"error: {text}" if code else text)
        return code
    return result if isinstance(result, int) else 0
