"""Convert errors into exit codes and one-line messages.  The messages contain no values of the user."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable
from contextlib import contextmanager

import click

from cp_thirdparty._base.text import escape
from cp_thirdparty.enums import Delivery
from cp_thirdparty.exceptions import (
    CredentialsError,
    InvalidRequestError,
    ServiceError,
    ThirdPartyError,
    may_have_been_accepted,
)

# The exit codes of the AWS CLI: docs.aws.amazon.com/cli/latest/userguide/cli-usage-returncodes.html
INTERRUPTED = 130
USAGE = 252
ENVIRONMENT = 253
SERVICE = 254
GENERAL_ERROR = 255

# Argument of `ThirdPartyJobClient.create` -> the option that sets it.
_OPTIONS = {
    "region_name": "--region",
    "profile_name": "--profile",
    "endpoint_url": "--endpoint-url",
    "verify": "--ca-bundle",
    "connect_timeout": "--cli-connect-timeout",
    "read_timeout": "--cli-read-timeout",
}

# Arguments whose value often comes from the environment or the AWS configuration file instead of an option.
_ENVIRONMENT_ARGUMENTS = ("region_name", "profile_name")


class CommandError(Exception):
    """The command cannot continue.  The message is one line without values of the user."""

    def __init__(self, message: str, code: int = USAGE) -> None:
        super().__init__(message)
        self.code = code


def describe_error(error: BaseException) -> tuple[int, str]:
    """Return the exit code and the one-line message for an error."""
    code, text = _describe(error)
    # A message of CodePipeline may contain any characters, such as line breaks and terminal sequences.
    return code, escape(" ".join(text.split()))


def _describe(error: BaseException) -> tuple[int, str]:
    if isinstance(error, CommandError):
        return error.code, str(error)
    if isinstance(error, (click.Abort, KeyboardInterrupt)):
        return INTERRUPTED, "interrupted"
    if isinstance(error, click.UsageError):
        return USAGE, _usage(error)
    if isinstance(error, ThirdPartyError):
        return _code_of(error), describe_call(error)
    if isinstance(error, OSError) and error.strerror:
        return GENERAL_ERROR, f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return GENERAL_ERROR, f"unexpected error ({type(error).__name__})"


@contextmanager
def describe_errors_at(endpoint_url: str) -> Generator[None, None, None]:
    """Convert errors of calls within the ``with`` block into a `CommandError` that names the endpoint."""
    try:
        yield
    except InvalidRequestError:
        raise
    except ThirdPartyError as error:
        raise CommandError(describe_call(error, endpoint_url), _code_of(error)) from None


def setting_error(error: InvalidRequestError, region: str | None) -> CommandError:
    """Return the error about an invalid setting.  It has the name that the user knows, such as ``--region``."""
    name = _OPTIONS.get(error.parameter, error.parameter)
    if name == "--region" and region is None and os.environ.get("AWS_REGION"):
        name = "AWS_REGION"
    return CommandError(f"{name}: {error.rule}", _code_of(error))


def describe_call(error: ThirdPartyError, endpoint_url: str | None = None) -> str:
    """Return the message of an error of a call, with its request id, the endpoint, and whether it may have arrived."""
    from cp_thirdparty._core.operations import OPERATION_NAMES  # noqa: PLC0415 - it loads cattrs

    request_id = f" (request id {error.request_id})" if error.request_id else ""
    is_about_endpoint = error.operation_name in OPERATION_NAMES and not isinstance(error, ServiceError)
    endpoint = f" (endpoint {endpoint_url})" if endpoint_url and is_about_endpoint else ""
    return f"{error}{request_id}{endpoint}{_delivery(error)}"


def _delivery(error: ThirdPartyError) -> str:
    if may_have_been_accepted(error):
        return "; CodePipeline may have accepted it; run the command again"
    # With an invalid option or setting, no request is ever sent.  So the message does not state it.
    is_unsent = error.delivery is Delivery.NOT_SENT and not isinstance(error, InvalidRequestError)
    return "; nothing was sent" if is_unsent else ""


def _code_of(error: ThirdPartyError) -> int:
    if isinstance(error, InvalidRequestError):
        # The name may be that of an environment variable, or contain the path of a configuration file.
        is_of_environment = error.parameter in (*_ENVIRONMENT_ARGUMENTS, *os.environ) or os.sep in error.parameter
        return ENVIRONMENT if is_of_environment else USAGE
    if isinstance(error, CredentialsError):
        return ENVIRONMENT if error.status_code is None else SERVICE
    return SERVICE if isinstance(error, ServiceError) else GENERAL_ERROR


def _usage(error: click.UsageError) -> str:
    """Return the message for an error of the command line, without its words: one may be a misplaced secret."""
    if isinstance(error, click.NoSuchOption):
        known = [] if error.ctx is None else [option for param in error.ctx.command.params for option in param.opts]
        return "there is no such option" + suggest(error.option_name, known, f"see {_help(error)}")
    if isinstance(error, click.BadOptionUsage):
        return f"{error.option_name}: missing or unexpected value"
    if isinstance(error, click.MissingParameter):
        return f"{_name(error.param)}: is required"
    if isinstance(error, click.BadParameter):
        return f"{_name(error.param)}: must be {_rule(error.param)}"
    return f"there is a word that is neither an option nor the value of one; see {_help(error)}"


def _help(error: click.UsageError) -> str:
    return f"{'cp-thirdparty' if error.ctx is None else error.ctx.command_path} --help"


def suggest(word: str, known: Iterable[str], otherwise: str) -> str:
    """Return the end of an error message: the most similar known word, or `otherwise`; never the given word."""
    from cp_thirdparty._structuring.strict_input import near_miss  # noqa: PLC0415 - it loads cattrs, which is slow

    known = list(known)
    near = near_miss(word, known) or next((each for each in known if len(word) > 2 and word.lower() in each), None)  # noqa: PLR2004 - one or two letters are part of many names
    return f"; {otherwise}" if near is None else f"; did you mean {near}?"


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
