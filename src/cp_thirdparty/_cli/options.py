"""The options that all five operations have: those of the AWS CLI, and ``--reveal-secrets``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import click

from cp_thirdparty._cli.formats import FORMATS
from cp_thirdparty._cli.operations import Operation
from cp_thirdparty._cli.single import single
from cp_thirdparty._cli.version import version_option

__all__ = ["Settings", "options_of"]


@attrs.frozen(kw_only=True)
class Settings:
    """The values of the common options, by the options' names."""

    cli_input_json: str | None
    cli_input_yaml: str | None
    generate_cli_skeleton: str | None
    debug: bool
    endpoint_url: str | None
    no_verify_ssl: bool
    no_paginate: bool
    output: str
    query: str | None
    profile: str | None
    region: str | None
    color: str
    no_sign_request: bool
    ca_bundle: str | None
    cli_read_timeout: int
    cli_connect_timeout: int
    cli_binary_format: str
    no_cli_pager: bool
    cli_auto_prompt: bool | None
    reveal_secrets: bool


def options_of(operation: Operation) -> list[click.Parameter]:
    """
    Create the options of an operation.

    Args:
        operation: The operation.
    """
    own: list[click.Parameter] = [
        click.Option(
            [parameter.option, parameter.member],
            type=click.IntRange(min=1) if parameter.kind is int else str,
            metavar="INTEGER" if parameter.kind is int else "TEXT",
            help=parameter.help,
            **single(),
        )
        for parameter in operation.parameters
    ]
    return [*own, *(make() for make in _COMMON), version_option()]


def _text(name: str, text: str, metavar: str = "TEXT") -> Callable[[], click.Option]:
    return lambda: click.Option([name], metavar=metavar, help=text, **single())


def _flag(name: str, text: str) -> Callable[[], click.Option]:
    return lambda: click.Option([name], is_flag=True, help=text)


def _choice(name: str, choices: tuple[str, ...], default: str, text: str) -> Callable[[], click.Option]:
    return lambda: click.Option([name], type=click.Choice(choices), show_default=True, help=text, **single(default))


def _seconds(name: str, text: str) -> Callable[[], click.Option]:
    return lambda: click.Option(
        [name], type=click.IntRange(min=0), show_default=True, metavar="SECONDS", help=text, **single(60)
    )


def _skeleton() -> click.Option:
    choices = ("input", "yaml-input", "output")
    text = "Print a sample document and send nothing. Without a value: input."
    extra: dict[str, Any] = {"is_flag": False, "flag_value": "input"}
    return click.Option(["--generate-cli-skeleton"], type=click.Choice(choices), help=text, **extra, **single())


def _auto_prompt() -> click.Option:
    text = "Ask for missing parameters. Default: only for the client token, and only on a terminal."
    return click.Option(["--cli-auto-prompt/--no-cli-auto-prompt"], default=None, help=text)


_COMMON: tuple[Callable[[], click.Option], ...] = (
    _text("--cli-input-json", "Parameters as a JSON object, or file://PATH. The command line overrides them."),
    _text("--cli-input-yaml", "Parameters as a YAML mapping, or file://PATH. The command line overrides them."),
    _skeleton,
    _flag("--debug", "Write botocore's log, with secrets withheld, to standard error."),
    _text("--endpoint-url", "Another endpoint, such as http://127.0.0.1:8000. Default: that of the region.", "URL"),
    _flag("--no-verify-ssl", "Trust any TLS certificate."),
    _flag("--no-paginate", "Accepted, without effect: these operations have one page."),
    _choice("--output", FORMATS, "json", "Format of the output."),
    _text("--query", "JMESPath expression that picks from the output, such as jobDetails.nonce."),
    _text("--profile", "Profile of the AWS configuration. Default: AWS_PROFILE, or the default profile.", "NAME"),
    _text("--region", "AWS region, such as us-east-1. Default: that of the environment or the profile.", "NAME"),
    _choice("--color", ("on", "off", "auto"), "auto", "Whether tables have colours; auto: on a terminal."),
    _flag("--no-sign-request", "Send the request unsigned, without loading credentials."),
    _text("--ca-bundle", "File of the CA certificates to trust. Default: botocore's own.", "PATH"),
    _seconds("--cli-read-timeout", "Longest wait between two pieces of a response; 0 for no limit."),
    _seconds("--cli-connect-timeout", "Longest wait for a connection; 0 for no limit."),
    _choice(
        "--cli-binary-format",
        ("base64", "raw-in-base64-out"),
        "base64",
        "Accepted, without effect: these operations have no binary values.",
    ),
    _flag("--no-cli-pager", "Write to the terminal without a pager. Default pager: AWS_PAGER, PAGER, or less."),
    _auto_prompt,
    _flag("--reveal-secrets", "Show the client's protected values and the artifact credentials in clear."),
)
