"""Commands that call one operation of CodePipeline: read the parameters, send the request, and print the response."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import click

from cp_thirdparty._cli.aws_settings import AwsSettings, choose_region
from cp_thirdparty._cli.click_parts import command, option
from cp_thirdparty._cli.documents import parse_document
from cp_thirdparty._cli.errors import CommandError, describe_errors_at, setting_error
from cp_thirdparty._cli.formats import Printer
from cp_thirdparty._cli.operations import OPERATIONS, Operation, Parameter
from cp_thirdparty._cli.options import Settings, common_options, token_options
from cp_thirdparty._cli.output import warn, write
from cp_thirdparty._cli.parameters import find_token, read_parameters
from cp_thirdparty._core import redaction
from cp_thirdparty._core.call import CURRENT, Call
from cp_thirdparty._structuring.converter import member_name
from cp_thirdparty.client import CustomJobClient, ThirdPartyJobClient
from cp_thirdparty.exceptions import InvalidRequestError

_ClientT = TypeVar("_ClientT", bound=ThirdPartyJobClient | CustomJobClient)

# The number of times that botocore's retry mode "standard" sends a request.  The deadline of a call is this number
# times the sum of the two timeouts.
_ATTEMPTS = 3


def command_of(name: str) -> click.Command:
    """Create the command that calls an operation."""
    operation = OPERATIONS[name]
    has_token = any(parameter.is_secret for parameter in operation.parameters)

    def run(**options: Any) -> None:
        given = {parameter.member: options.pop(parameter.argument) for parameter in operation.parameters}
        _run(operation, Settings(**options), given)

    options = [option_of(parameter) for parameter in operation.parameters]
    options += [*(token_options() if has_token else []), *common_options()]
    return command(name, *options, help=operation.help, example=f"cp-thirdparty {name} {operation.example}")(run)


def option_of(parameter: Parameter) -> click.Option:
    """Create the option for a parameter of an operation."""
    if parameter.kind is int:
        return option(parameter.option, parameter.help, "INTEGER", type=click.IntRange(min=1))
    return option(parameter.option, parameter.help)


def _run(operation: Operation, settings: Settings, given: Mapping[str, Any]) -> None:
    if settings.generate_cli_skeleton in ("input", "yaml-input"):
        from cp_thirdparty._cli.skeleton import input_skeleton  # noqa: PLC0415 - few calls need it

        write(input_skeleton(operation.name, as_yaml=settings.generate_cli_skeleton == "yaml-input"))
        return
    printer = Printer(settings)
    document = parse_document(settings.cli_input_json, settings.cli_input_yaml)
    token = find_token(settings.client_tokens, settings.client_id, is_token_given=given.get("clientToken") is not None)
    given = given if token is None else {**given, "clientToken": token}
    prompt = AwsSettings(settings.profile).prompts(option=settings.cli_auto_prompt)
    values, names = read_parameters(operation, given, document=document, prompt=prompt)
    if settings.generate_cli_skeleton == "output":
        from cp_thirdparty._cli.skeleton import output_skeleton  # noqa: PLC0415 - few calls use it

        printer.print(output_skeleton(operation.name), operation.name)
        return
    response = _call(operation, settings, values, names)
    printer.print(response, operation.name, done="; CodePipeline has accepted the call")


@contextmanager
def protect_logs(*, debug: bool) -> Generator[None, None, None]:
    """
    Withhold secrets from the log within the ``with`` block.

    The block must contain the creation of the client and all its calls.  With `debug`, the log is written to standard
    error.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s"))
    root = logging.getLogger()
    level = root.level
    redaction.install()
    # Records are withheld while `CURRENT` is set.  It is set here because creating the client also loads secrets.
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


def _call(
    operation: Operation, settings: Settings, values: Mapping[str, Any], names: Mapping[str, str]
) -> dict[str, Any]:
    if settings.reveal_secrets:
        warn("warning: --reveal-secrets shows secrets in plain text")
    with protect_logs(debug=settings.debug), create_client(settings, operation.client_class) as client:
        try:
            with describe_errors_at(client.endpoint_url):
                return operation.call(client, values, "reveal" if settings.reveal_secrets else "mask")
        except InvalidRequestError as error:
            name = names.get(member_name(error.parameter), error.parameter)
            raise CommandError(f"{name}: {error.rule}") from None


def create_client(settings: Settings, client_class: type[_ClientT]) -> _ClientT:
    """Create a client with the settings of the options."""
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
        raise setting_error(error, settings.region) from None
