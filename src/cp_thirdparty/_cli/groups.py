"""Commands that have commands: a missing or misspelt one gets an error that helps."""

from __future__ import annotations

import click

from cp_thirdparty._cli.errors import CommandError, suggest

__all__ = ["Group"]


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
