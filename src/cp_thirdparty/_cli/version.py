"""The option that every command has: ``--version``."""

from __future__ import annotations

import click

from cp_thirdparty._base.version import __version__

__all__ = ["version_option"]


def version_option() -> click.Option:
    """Create the option that shows the version and ends."""

    def show(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:  # noqa: FBT001 - click's way
        if wanted:
            click.echo(f"cp-thirdparty/{__version__}")
            ctx.exit()

    return click.Option(
        ["--version"], is_flag=True, is_eager=True, expose_value=False, callback=show, help="Show the version and end."
    )
