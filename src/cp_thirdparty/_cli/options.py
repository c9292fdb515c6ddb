"""The options that all five operations have: those of the AWS CLI, and ``--reveal-secrets``."""

from __future__ import annotations

from typing import Any

import attrs
import click

from cp_thirdparty._cli.click_parts import single, version_option
from cp_thirdparty._cli.formats import FORMATS
from cp_thirdparty._cli.operations import Operation, Parameter

__all__ = [
    "Settings",
    "common_options",
    "flag_option",
    "kind_option",
    "option_of",
    "options_of",
    "pick_options",
    "text_option",
    "token_options",
]


@attrs.frozen(kw_only=True)
class Settings:
    """The values of the common options."""

    debug: bool
    endpoint_url: str | None
    no_verify_ssl: bool
    profile: str | None
    region: str | None
    no_sign_request: bool
    ca_bundle: str | None
    cli_read_timeout: int
    cli_connect_timeout: int
    # Not all commands have these.
    cli_auto_prompt: bool | None = None
    output: str | None = None
    query: str | None = None
    color: str = "auto"
    no_cli_pager: bool = True
    cli_input_json: str | None = None
    cli_input_yaml: str | None = None
    generate_cli_skeleton: str | None = None
    no_paginate: bool = False
    cli_binary_format: str = "base64"
    reveal_secrets: bool = False
    client_tokens: str | None = None
    client_id: str | None = None


def options_of(operation: Operation) -> list[click.Parameter]:
    """Create the options of an operation."""
    has_token = any(parameter.is_secret for parameter in operation.parameters)
    return [
        *(option_of(parameter) for parameter in operation.parameters),
        *(token_options() if has_token else []),
        *common_options(),
        version_option(),
    ]


def option_of(parameter: Parameter) -> click.Option:
    """Create the option of a parameter."""
    return click.Option(
        [parameter.option, parameter.member],
        type=click.IntRange(min=1) if parameter.kind is int else str,
        metavar="INTEGER" if parameter.kind is int else "TEXT",
        help=parameter.help,
        **single(),
    )


def token_options() -> list[click.Option]:
    """Create the options that find a client token in a store."""
    return [
        text_option(
            "--client-tokens",
            "Where your worker finds client tokens, in place of --client-token: a callable or a mapping, such as "
            "examplescan.worker:tokens. A class is called without arguments.",
            "MODULE:NAME",
        ),
        text_option("--client-id", "Client of the job, for --client-tokens; a poll and the journal show it."),
    ]


def kind_option(default: str | None = "third-party", text: str = "What kind of job it is.") -> click.Option:
    """Create the option that selects third-party or custom jobs."""
    return _choice("--kind", ("third-party", "custom"), default, text)


def pick_options(*names: str) -> list[click.Option]:
    """Create some of the options that all operations have, and the version."""
    return [*(option for option in common_options() if option.opts[0] in names), version_option()]


def text_option(name: str, text: str, metavar: str = "TEXT", *, required: bool = False) -> click.Option:
    """Create an option whose value is a string."""
    return click.Option([name], metavar=metavar, help=text, required=required, **single())


def flag_option(name: str, text: str) -> click.Option:
    """Create an option without a value."""
    return click.Option([name], is_flag=True, help=text)


def _choice(name: str, choices: tuple[str, ...], default: str | None, text: str) -> click.Option:
    return click.Option([name], type=click.Choice(choices), show_default=True, help=text, **single(default))


def _seconds(name: str, text: str) -> click.Option:
    return click.Option(
        [name], type=click.IntRange(min=0), show_default=True, metavar="SECONDS", help=text, **single(60)
    )


def _skeleton() -> click.Option:
    choices = ("input", "yaml-input", "output")
    text = "Print a sample document and send nothing. Without a value: input."
    extra: dict[str, Any] = {"is_flag": False, "flag_value": "input"}
    return click.Option(["--generate-cli-skeleton"], type=click.Choice(choices), help=text, **extra, **single())


def _auto_prompt() -> click.Option:
    text = (
        "Ask for missing parameters. Default: AWS_CLI_AUTO_PROMPT, cli_auto_prompt of the profile, or only for the "
        "client token, and only on a terminal."
    )
    return click.Option(["--cli-auto-prompt/--no-cli-auto-prompt"], default=None, help=text)


def common_options() -> list[click.Option]:
    """Create the options that all operations have."""
    return [
        text_option(
            "--cli-input-json", "Parameters as a JSON object, or file://PATH. The command line overrides them."
        ),
        text_option(
            "--cli-input-yaml", "Parameters as a YAML mapping, or file://PATH. The command line overrides them."
        ),
        _skeleton(),
        flag_option("--debug", "Write botocore's log, with secrets withheld, to standard error."),
        text_option(
            "--endpoint-url", "Another endpoint, such as http://127.0.0.1:8000. Default: that of the region.", "URL"
        ),
        flag_option("--no-verify-ssl", "Trust any TLS certificate."),
        flag_option("--no-paginate", "Accepted, without effect: these operations have one page."),
        _choice(
            "--output",
            FORMATS,
            None,
            "Format of the output. Default: AWS_DEFAULT_OUTPUT, output of the profile, or json; for jobs: table.",
        ),
        text_option("--query", "JMESPath expression that picks from the output, such as jobDetails.nonce."),
        text_option(
            "--profile", "Profile of the AWS configuration. Default: AWS_PROFILE, or the default profile.", "NAME"
        ),
        text_option(
            "--region",
            "AWS region, such as us-east-1. Default: AWS_REGION, AWS_DEFAULT_REGION, or region of the profile.",
            "NAME",
        ),
        _choice("--color", ("on", "off", "auto"), "auto", "Whether tables have colours; auto: on a terminal."),
        flag_option("--no-sign-request", "Send the request unsigned, without loading credentials."),
        text_option("--ca-bundle", "File of the CA certificates to trust. Default: botocore's own.", "PATH"),
        _seconds("--cli-read-timeout", "Longest wait between two pieces of a response; 0 for no limit."),
        _seconds("--cli-connect-timeout", "Longest wait for a connection; 0 for no limit."),
        _choice(
            "--cli-binary-format",
            ("base64", "raw-in-base64-out"),
            "base64",
            "Accepted, without effect: these operations have no binary values.",
        ),
        flag_option(
            "--no-cli-pager",
            "Write to the terminal without a pager. Default pager: AWS_PAGER, cli_pager, PAGER, or less.",
        ),
        _auto_prompt(),
        flag_option("--reveal-secrets", "Show the client's protected values and the artifact credentials in clear."),
    ]
