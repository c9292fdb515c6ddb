"""
Parts of commands that click does not have.

These are groups with the behaviour of the AWS CLI, options that may be given only once, and the option ``--version``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import click

from cp_thirdparty._base.version import __version__
from cp_thirdparty._cli.errors import CommandError, suggest

# These arguments end the program without a command, so options before them have no effect.
_WITHOUT_COMMAND = ("--version", "--help", "-h", "help")


class Group(click.Group):
    """A group of commands as in the AWS CLI: the word ``help`` shows the help, and options may precede the command."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments; raise `CommandError` if there is no command."""
        if not ctx.resilient_parsing:
            args = _move_options(args)
            if args[1:] == ["help"] or args == ["help"]:
                args = [*args[:-1], "--help"]
            if not args:
                example = self.list_commands(ctx)[1]
                raise CommandError(f"a command is missing, such as {example}; see {ctx.command_path} --help")
        return super().parse_args(ctx, args)

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the options of the group; for shell completion, add the options that may be before the command."""
        return super().get_params(ctx) + (_common_options() if ctx.resilient_parsing else [])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command; raise `CommandError` if there is no such command."""
        known = self.list_commands(ctx)
        if not ctx.resilient_parsing and args[0] not in known:
            problem = suggest(args[0], known, f"see {ctx.command_path} --help")
            raise CommandError(f"there is no such command{problem}")
        return super().resolve_command(ctx, args)


def _common_options() -> list[click.Option]:
    options: list[click.Option] = import_module("cp_thirdparty._cli.options").common_options()
    return options


def _move_options(arguments: list[str]) -> list[str]:
    """Move options that are before the command to the position after it, because only the command can parse them."""
    if not arguments or not arguments[0].startswith("--") or arguments[0] in _WITHOUT_COMMAND:
        return arguments
    options = _common_options()
    flags = {name for each in options if each.is_flag for name in (*each.opts, *each.secondary_opts)}
    known = [name for each in options for name in each.opts]
    moved = 0
    while moved < len(arguments) and arguments[moved].startswith("--") and arguments[moved] not in _WITHOUT_COMMAND:
        name, equals, _ = arguments[moved].partition("=")
        if name not in flags and name not in known:
            raise CommandError(f"there is no such option before the command{suggest(name, known, 'see --help')}")
        moved += 1 if equals or name in flags else 2
    command = arguments[moved : moved + 1]
    if not command or command[0] in _WITHOUT_COMMAND:
        return command
    return [*command, *arguments[:moved], *arguments[moved + 1 :]]


def command(
    name: str, *params: click.Parameter, example: str, **attributes: Any
) -> Callable[[Callable[..., Any]], click.Command]:
    """Return a decorator that creates a command from a function.  The docstring of the function is the help."""

    def decorate(function: Callable[..., Any]) -> click.Command:
        texts: dict[str, Any] = {"help": function.__doc__, "epilog": f"Example: {example}", **attributes}
        return click.Command(name, callback=function, params=[*params, version_option()], **texts)

    return decorate


def version_option() -> click.Option:
    """Create the option that shows the version and ends the program."""

    def show(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:  # noqa: FBT001 - click's signature
        if wanted:
            click.echo(f"cp-thirdparty/{__version__}")
            ctx.exit()

    return flag("--version", "Show the version and end.", is_eager=True, expose_value=False, callback=show)


def flag(name: str, text: str, **attributes: Any) -> click.Option:
    """Create an option without a value."""
    return click.Option([name], is_flag=True, help=text, **attributes)


def option(name: str, text: str, metavar: str | None = None, *, default: Any = None, **attributes: Any) -> click.Option:
    """Create an option that is refused if it is given more than once."""
    attributes = {"show_default": True, **attributes}
    defaults = None if default is None else (default,)
    return click.Option(
        [name], metavar=metavar, help=text, multiple=True, callback=_require_one, default=defaults, **attributes
    )


def choice(name: str, text: str, choices: Sequence[str], **attributes: Any) -> click.Option:
    """Create an option that accepts only the given values."""
    return option(name, text, type=click.Choice(choices), **attributes)


def _require_one(_context: click.Context, option: click.Parameter, values: Sequence[Any]) -> Any:
    if len(values) > 1:
        raise CommandError(f"{option.opts[0]}: is given more than once")
    return values[0] if values else None
