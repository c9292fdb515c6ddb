"""Runs one operation: parameters in, call, output out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any

import click

from cp_thirdparty._cli.documents import parse_document
from cp_thirdparty._cli.errors import CommandError, code_of
from cp_thirdparty._cli.formats import compile_query, format_document
from cp_thirdparty._cli.operations import Operation
from cp_thirdparty._cli.options import Settings, options_of
from cp_thirdparty._cli.output import is_colored, terminal_width, warn, write
from cp_thirdparty._cli.parameters import UserInput, read_parameters
from cp_thirdparty._core import redaction
from cp_thirdparty._core.call import CURRENT, Call
from cp_thirdparty._hooks import member_name
from cp_thirdparty.client import ThirdPartyJobClient
from cp_thirdparty.custom_client import CustomJobClient
from cp_thirdparty.exceptions import InvalidRequestError

__all__ = ["command_of", "create_client"]

# Arguments of `ThirdPartyJobClient.create` -> the option that gives each of them.
_OPTIONS = {
    "region_name": "region",
    "profile_name": "profile",
    "endpoint_url": "endpoint_url",
    "verify": "ca_bundle",
    "connect_timeout": "cli_connect_timeout",
    "read_timeout": "cli_read_timeout",
}

# How often botocore's standard mode sends a request: with it the timeouts bound a complete call.
_ATTEMPTS = 3


def command_of(operation: Operation) -> click.Command:
    """
    Create the command of an operation.

    Args:
        operation: The operation.
    """
    return click.Command(
        operation.command,
        callback=_runner(operation),
        params=options_of(operation),
        help=operation.help,
        epilog=f"Example: cp-thirdparty {operation.example}",
    )


def _runner(operation: Operation) -> Callable[..., None]:
    members = {parameter.member for parameter in operation.parameters}
    # click makes identifiers of what an option is called in lower case.
    names = {member.lower(): member for member in members}

    def run(**options: Any) -> None:
        given = {names[name.lower()]: options.pop(name) for name in list(options) if name.lower() in names}
        _run(operation, Settings(**options), given)

    return run


def _run(operation: Operation, settings: Settings, given: Mapping[str, Any]) -> None:
    if settings.generate_cli_skeleton in ("input", "yaml-input"):
        from cp_thirdparty._cli.skeleton import input_skeleton  # noqa: PLC0415 - few calls need it

        write(input_skeleton(operation.name, as_yaml=settings.generate_cli_skeleton == "yaml-input"))
        return
    query = compile_query(settings.query)
    document = parse_document(settings.cli_input_json, settings.cli_input_yaml)
    inputs = read_parameters(operation, given, document=document, prompt=settings.cli_auto_prompt)
    if settings.generate_cli_skeleton == "output":
        from cp_thirdparty._cli.skeleton import output_skeleton  # noqa: PLC0415 - few calls need it

        response = output_skeleton(operation.name)
    else:
        response = _call(operation, settings, inputs)
    text = format_document(
        query(response),
        settings.output,
        title=operation.name,
        color=is_colored(settings.color),
        width=terminal_width(),
    )
    write(text, pager=not settings.no_cli_pager)


@contextmanager
def _quiet(*, debug: bool) -> Generator[None, None, None]:
    """Withhold secrets of the log from the first step to the last, and show the log if that is wanted."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s"))
    root = logging.getLogger()
    level = root.level
    redaction.install()
    # So that what is fetched to make the client is withheld as well.
    token = CURRENT.set(Call())
    if debug:
        root.addHandler(handler)
        root.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        CURRENT.reset(token)
        root.removeHandler(handler)
        root.setLevel(level)


def _call(operation: Operation, settings: Settings, inputs: UserInput) -> dict[str, Any]:
    if settings.reveal_secrets:
        warn("warning: --reveal-secrets shows secrets in clear")
    with _quiet(debug=settings.debug), create_client(settings, operation.client_class) as client:
        try:
            return operation.call(client, inputs.values, "reveal" if settings.reveal_secrets else "mask")
        except InvalidRequestError as error:
            name, rule = inputs.names.get(member_name(error.parameter), error.parameter), error.rule
        raise CommandError(f"{name}: {rule}")


def create_client(
    settings: Settings, client_class: type[ThirdPartyJobClient | CustomJobClient]
) -> ThirdPartyJobClient | CustomJobClient:
    """
    Create the client that the options describe.

    Args:
        settings: The options.

        client_class: Its class.

    Raises:
        CommandError: An option has a value that cannot be used.

        cp_thirdparty.exceptions.ThirdPartyError: As `ThirdPartyJobClient.create`.
    """
    read, connect = settings.cli_read_timeout or None, settings.cli_connect_timeout or None
    try:
        return client_class.create(
            region_name=settings.region,
            profile_name=settings.profile,
            endpoint_url=settings.endpoint_url,
            verify=False if settings.no_verify_ssl else settings.ca_bundle,
            sign_request=not settings.no_sign_request,
            connect_timeout=connect,
            read_timeout=read,
            deadline=None if read is None or connect is None else float(_ATTEMPTS * (read + connect)),
        )
    except InvalidRequestError as error:
        option = _OPTIONS.get(error.parameter)
        if option is None or getattr(settings, option) is None:
            raise
        message, code = f"--{option.replace('_', '-')}: {error.rule}", code_of(error)
    raise CommandError(message, code)
