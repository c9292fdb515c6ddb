"""Write output to the terminal, to a pager, or to a pipe, and ask questions on the terminal."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import TextIO

import click

from cp_thirdparty._base.text import escape_for_json
from cp_thirdparty._cli.errors import GENERAL_ERROR, CommandError


def is_colored(color: str) -> bool:
    """Return whether tables have colours."""
    return color == "on" or (color == "auto" and is_terminal(sys.stdout) and not os.environ.get("NO_COLOR"))


def terminal_width() -> int:
    """Return the number of columns of the terminal; as in the AWS CLI, 80 if standard output is not a terminal."""
    return shutil.get_terminal_size().columns if is_terminal(sys.stdout) else 80


def is_terminal(stream: TextIO | None) -> bool:
    """Return whether a standard stream is a terminal.  It is ``None`` if it was closed when Python started."""
    return stream is not None and stream.isatty()


def warn(text: str) -> None:
    """Write a line to standard error.  A failure is ignored, because there is no other place to report it."""
    with suppress(OSError):
        click.echo(f"cp-thirdparty: {text}", err=True)


def confirm(question: str, *, yes: bool) -> None:
    """Ask for confirmation on the terminal; raise `CommandError` if the user does not confirm."""
    if yes:
        return
    if not is_terminal(sys.stdin):
        raise CommandError("--yes: is required, because there is no terminal to ask")
    if not click.confirm(question, err=True):
        raise CommandError("not confirmed; nothing was changed", GENERAL_ERROR)


def write(text: str, *, pager: str = "", done: str = "") -> None:
    """
    Write a string to standard output, or to a pager if standard output is a terminal.

    It is not an error if the reading program has closed the pipe.

    Args:
        text: The string.
        pager: The command of the pager; empty for no pager.
        done: The end of the error message if the output cannot be written.  It states what the command has done
            nevertheless, such as ``; the file is written``.
    """
    if not text:
        return
    if sys.stdout is None:
        raise CommandError(f"standard output is closed{done}", GENERAL_ERROR)
    try:
        if pager and is_terminal(sys.stdout):
            _page(text, {"PAGER": pager, "LESS": os.environ.get("LESS", "FRX")})
        else:
            sys.stdout.write(text if can_encode(text) else _escape_characters(text))
            sys.stdout.flush()
    except BrokenPipeError:
        # Python would write the rest of the buffer when it ends, and fail again.  So the rest goes to the null device.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        problem = error.strerror or type(error).__name__
        raise CommandError(f"standard output cannot be written: {problem}{done}", GENERAL_ERROR) from None


def _page(text: str, environment: Mapping[str, str]) -> None:
    from cp_thirdparty._cli.operations import TOKEN_VARIABLE  # noqa: PLC0415 - only a terminal has a pager

    os.environ.update(environment)  # click reads them; the change is harmless because the process ends soon
    os.environ.pop(TOKEN_VARIABLE, None)  # the pager and its child processes need no secret
    click.echo_via_pager(text.removesuffix("\n"), color=True)


def can_encode(text: str) -> bool:
    """Return whether standard output can encode each character of a string."""
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _escape_characters(text: str) -> str:
    """Escape what standard output cannot encode; in a JSON string, an escape sequence has the same meaning."""
    return "".join(each if can_encode(each) else escape_for_json(each) for each in text)
