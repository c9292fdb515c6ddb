"""Map errors to exit codes and one-line messages without values."""

from __future__ import annotations

import os

import click

from cp_thirdparty._text import escape
from cp_thirdparty.enums import Delivery
from cp_thirdparty.exceptions import (
    CredentialsError,
    InvalidRequestError,
    ServiceError,
    ThirdPartyError,
    may_have_been_accepted,
)

__all__ = ["CommandError", "code_of", "describe_error"]

# The exit codes of the AWS CLI: docs.aws.amazon.com/cli/latest/userguide/cli-usage-returncodes.html
INTERRUPTED = 130
USAGE = 252
ENVIRONMENT = 253
SERVICE = 254
OTHER = 255

# What the user sets in the AWS configuration as often as on the command line.
_OF_ENVIRONMENT = ("region_name", "profile_name")


class CommandError(Exception):
    """
    The command cannot go on.

    Args:
        message: One line without a value of the user's.

        code: The exit code.
    """

    def __init__(self, message: str, code: int = USAGE) -> None:
        super().__init__(message)
        self.code = code


def describe_error(error: BaseException) -> tuple[int, str]:
    """
    Return the exit code and the line for an error.

    Args:
        error: Whatever ended the command.
    """
    code, text = _describe(error)
    # A service's text may hold anything; a terminal gets one line.
    return code, escape(" ".join(text.split()))


def _describe(error: BaseException) -> tuple[int, str]:
    if isinstance(error, CommandError):
        return error.code, str(error)
    if isinstance(error, (click.Abort, KeyboardInterrupt)):
        return INTERRUPTED, "interrupted"
    if isinstance(error, click.UsageError):
        return USAGE, _usage(error)
    if isinstance(error, ThirdPartyError):
        return code_of(error), str(error) + _delivery(error)
    if isinstance(error, OSError) and error.strerror:
        return OTHER, error.strerror
    return OTHER, f"unexpected error ({type(error).__name__})"


def _delivery(error: ThirdPartyError) -> str:
    if may_have_been_accepted(error):
        return "; CodePipeline may have accepted it; run the command again"
    # An error about an option or a setting is never sent, so it needs no such hint.
    is_unsent = error.delivery is Delivery.NOT_SENT and not isinstance(error, InvalidRequestError)
    return "; nothing was sent" if is_unsent else ""


def code_of(error: ThirdPartyError) -> int:
    """
    Return the exit code for an error of the library.

    Args:
        error: The error that ended the command.

    .. versionadded:: 0.2.0
    """
    if isinstance(error, InvalidRequestError):
        return ENVIRONMENT if _is_of_environment(error.parameter) else USAGE
    if isinstance(error, CredentialsError):
        return ENVIRONMENT if error.status_code is None else SERVICE
    return SERVICE if isinstance(error, ServiceError) else OTHER


def _is_of_environment(parameter: str) -> bool:
    """Whether an environment variable is named, or a key in a file."""
    return parameter in _OF_ENVIRONMENT or parameter in os.environ or os.sep in parameter


def _usage(error: click.UsageError) -> str:
    """Return click's message without what the user has typed, which may be a secret in the wrong place."""
    if isinstance(error, click.NoSuchOption):
        return "there is no such option" + _meant(error)
    if isinstance(error, click.BadOptionUsage):
        return f"{error.option_name}: missing or unexpected value"
    if isinstance(error, click.MissingParameter):
        return f"{_name(error.param)}: is required"
    if isinstance(error, click.BadParameter):
        return f"{_name(error.param)}: must be {_rule(error.param)}"
    return "unknown command or unexpected argument; see cp-thirdparty --help"


def _meant(error: click.NoSuchOption) -> str:
    from cp_thirdparty._input import near_miss  # noqa: PLC0415 - it loads cattrs, which only errors need here

    known = [] if error.ctx is None else [option for param in error.ctx.command.params for option in param.opts]
    near = near_miss(error.option_name, known)
    return "; see --help" if near is None else f"; did you mean {near}?"


def _name(param: click.Parameter | None) -> str:
    if param is None:
        return "a parameter"
    if isinstance(param, click.Argument):
        return param.metavar or param.opts[0].upper()  # as the help shows it
    return param.opts[-1] if param.opts[-1].startswith("-") else param.opts[0]


def _rule(param: click.Parameter | None) -> str:
    kind = None if param is None else param.type
    if isinstance(kind, click.Choice):
        return "one of " + ", ".join(str(choice) for choice in kind.choices)
    if isinstance(kind, click.IntRange):
        least = f" of at least {kind.min}" if kind.max is None else f" from {kind.min} to {kind.max}"
        return f"an integer{least}"
    return "of another form; see --help"
