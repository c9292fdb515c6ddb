"""Text to the terminal, to its pager, or to a pipe."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping

import click

__all__ = ["is_colored", "terminal_width", "warn", "write"]


def is_colored(color: str) -> bool:
    """
    Return whether to colour tables.

    Args:
        color: ``on``, ``off``, or ``auto`` for what a terminal gets.
    """
    return color == "on" or (color == "auto" and sys.stdout.isatty() and not os.environ.get("NO_COLOR"))


def terminal_width() -> int:
    """Return the columns of the terminal, or 80 when standard output is none, as the AWS CLI has it."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 80


def warn(text: str) -> None:
    """
    Write a line to standard error.

    Args:
        text: The line.
    """
    click.echo(f"cp-thirdparty: {text}", err=True)


def write(text: str, *, pager: bool = False) -> None:
    """
    Write to standard output.  A reader that has gone away is not an error.

    Args:
        text: With its last line break.

        pager: Whether a terminal shows it by a pager: that of ``AWS_PAGER``, else of ``PAGER``, else ``less``.
    """
    chosen = os.environ.get("AWS_PAGER", os.environ.get("PAGER", "less"))
    try:
        if text and pager and chosen and sys.stdout.isatty():
            _page(text, {"PAGER": chosen, "LESS": os.environ.get("LESS", "FRX")})
        else:
            _encodable()
            sys.stdout.write(text)
            sys.stdout.flush()
    except BrokenPipeError:
        # What is still buffered must not be tried again when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _page(text: str, environment: Mapping[str, str]) -> None:
    from cp_thirdparty._cli.parameters import TOKEN_VARIABLE  # noqa: PLC0415 - only a terminal has a pager

    os.environ.update(environment)  # what click goes by; the process ends after this
    os.environ.pop(TOKEN_VARIABLE, None)  # the pager and what it starts need no secret
    click.echo_via_pager(text.removesuffix("\n"), color=True)


def _encodable() -> None:
    """Let a letter that the terminal's encoding lacks be escaped rather than end the command."""
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")
