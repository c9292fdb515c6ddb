"""Parts of commands that click does not have: groups that help, options that may be given once, ``--version``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypedDict

import click

from cp_thirdparty._base.version import __version__
from cp_thirdparty._cli.errors import CommandError, suggest

__all__ = ["Group", "single", "version_option"]


class Group(click.Group):
    """A group of commands, of which ``help`` shows the help, as in the AWS CLI."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments; raise `CommandError` if there is no command."""
        if not ctx.resilient_parsing:
            if args[1:] == ["help"] or args == ["help"]:
                args = [*args[:-1], "--help"]
            if not args:
                example = self.list_commands(ctx)[1]
                raise CommandError(f"a command is missing, such as {example}; see {ctx.command_path} --help")
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command; raise `CommandError` if there is no such command."""
        known = self.list_commands(ctx)
        if not ctx.resilient_parsing and args[0] not in known:
            problem = suggest(args[0], known, f"see {ctx.command_path} --help")
            raise CommandError(f"there is no such command{problem}")
        return super().resolve_command(ctx, args)


def version_option() -> click.Option:
    """Create the option that shows the version and ends."""

    def show(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:  # noqa: FBT001 - click's way
        if wanted:
            click.echo(f"cp-thirdparty/{__version__}")
            ctx.exit()

    return click.Option(
        ["--version"], is_flag=True, is_eager=True, expose_value=False, callback=show, help="Show the version and end."
    )


class _Attributes(TypedDict):
    multiple: bool
    callback: Callable[[click.Context, click.Parameter, Sequence[Any]], Any]
    default: Sequence[Any] | None


def single(default: Any = None) -> _Attributes:
    """Return the attributes of an option that is refused if it is given more than once."""
    return {"multiple": True, "callback": _require_one, "default": None if default is None else (default,)}


def _require_one(_context: click.Context, option: click.Parameter, values: Sequence[Any]) -> Any:
    if len(values) > 1:
        raise CommandError(f"{option.opts[0]}: is given more than once")
    return values[0] if values else None
