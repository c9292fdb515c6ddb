"""Run one operation: read its parameters, call it, and write its output."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import click

from cp_thirdparty._cli.aws_settings import AwsSettings, choose_region
from cp_thirdparty._cli.documents import parse_document
from cp_thirdparty._cli.errors import CommandError, code_of, describe_errors_at
from cp_thirdparty._cli.operations import Operation
from cp_thirdparty._cli.options import Settings, options_of
from cp_thirdparty._cli.output import warn, write
from cp_thirdparty._cli.parameters import UserInput, find_token, read_parameters
from cp_thirdparty._cli.printer import Printer
from cp_thirdparty._core import redaction
from cp_thirdparty._core.call import CURRENT, Call
from cp_thirdparty._structuring.converter import member_name
from cp_thirdparty.client import CustomJobClient, ThirdPartyJobClient
from cp_thirdparty.exceptions import InvalidRequestError

__all__ = ["command_of", "create_client", "protect_logs"]

_ClientT = TypeVar("_ClientT", bound=ThirdPartyJobClient | CustomJobClient)

# Arguments of `ThirdPartyJobClient.create` -> the option that gives each of them.
_OPTIONS = {
    "region_name": "region",
    "profile_name": "profile",
    "endpoint_url": "endpoint_url",
    "verify": "ca_bundle",
    "connect_timeout": "cli_connect_timeout",
    "read_timeout": "cli_read_timeout",
}

# How often botocore's standard mode sends a request.  The timeouts times this number bound a complete call.
_ATTEMPTS = 3


def command_of(operation: Operation) -> click.Command:
    """Create the command of an operation."""
    return click.Command(
        operation.command,
        callback=_runner(operation),
        params=options_of(operation),
        help=operation.help,
        epilog=f"Example: cp-thirdparty {operation.command} {operation.example}",
    )


def _runner(operation: Operation) -> Callable[..., None]:
    members = {parameter.member for parameter in operation.parameters}
    # click converts the names of options to lower case.
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
    printer = Printer(settings)
    document = parse_document(settings.cli_input_json, settings.cli_input_yaml)
    token = find_token(settings.client_tokens, settings.client_id, is_given=given.get("clientToken") is not None)
    given = given if token is None else {**given, "clientToken": token}
    prompt = AwsSettings(settings.profile).prompts(option=settings.cli_auto_prompt)
    inputs = read_parameters(operation, given, document=document, prompt=prompt)
    if settings.generate_cli_skeleton == "output":
        from cp_thirdparty._cli.skeleton import output_skeleton  # noqa: PLC0415 - few calls use it

        response, accepted = output_skeleton(operation.name), ""
    else:
        response, accepted = _call(operation, settings, inputs), "; CodePipeline has accepted the call"
    text = printer.format(response, operation.name)
    try:
        printer.write(text)
    except CommandError as error:
        raise CommandError(f"{error}{accepted}", error.code) from None


@contextmanager
def protect_logs(*, debug: bool) -> Generator[None, None, None]:
    """Keep secrets out of the log, from creating the client to its last call."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s"))
    root = logging.getLogger()
    level = root.level
    redaction.install()
    # A call scope: secrets that are loaded to create the client are withheld too.
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
    with protect_logs(debug=settings.debug), create_client(settings, operation.client_class) as client:
        try:
            with describe_errors_at(client.endpoint_url):
                return operation.call(client, inputs.values, "reveal" if settings.reveal_secrets else "mask")
        except InvalidRequestError as error:
            name, rule = inputs.names.get(member_name(error.parameter), error.parameter), error.rule
        raise CommandError(f"{name}: {rule}")


def create_client(settings: Settings, client_class: type[_ClientT]) -> _ClientT:
    """Create the client that the options describe."""
    read, connect = settings.cli_read_timeout or None, settings.cli_connect_timeout or None
    try:
        create = cast("Callable[..., _ClientT]", client_class.create)
        return create(
            region_name=choose_region(settings.region),
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
        if option == "region" and settings.region is None and os.environ.get("AWS_REGION"):
            name = "AWS_REGION"
        elif option is None or getattr(settings, option) is None:
            raise
        else:
            name = f"--{option.replace('_', '-')}"
        message, code = f"{name}: {error.rule}", code_of(error)
    raise CommandError(message, code)
