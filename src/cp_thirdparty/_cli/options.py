"""The options that several commands have: the options of the AWS CLI, and the options for client tokens."""

from __future__ import annotations

import attrs
import click

from cp_thirdparty._cli.aws_settings import FORMATS
from cp_thirdparty._cli.click_parts import choice, flag, option


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
    # Some commands do not have the following options.
    cli_auto_prompt: bool | None = None
    output: str | None = None
    query: str | None = None
    color: str = "auto"
    no_cli_pager: bool = True
    cli_input_json: str | None = None
    cli_input_yaml: str | None = None
    generate_cli_skeleton: str | None = None
    reveal_secrets: bool = False
    client_tokens: str | None = None
    client_id: str | None = None


def common_options() -> list[click.Option]:
    """Create the options that all operations have."""
    return [
        option("--cli-input-json", "Parameters as a JSON object, or file://PATH. The command line overrides them."),
        option("--cli-input-yaml", "Parameters as a YAML mapping, or file://PATH. The command line overrides them."),
        choice(
            "--generate-cli-skeleton",
            "Print a sample document and send nothing. Without a value: input.",
            ("input", "yaml-input", "output"),
            is_flag=False,
            flag_value="input",
        ),
        *connection_options(),
        *output_options(),
        flag("--no-paginate", "Accepted, without effect: these operations have one page.", expose_value=False),
        choice(
            "--cli-binary-format",
            "Accepted, without effect: these operations have no binary values.",
            ("base64", "raw-in-base64-out"),
            default="base64",
            expose_value=False,
        ),
        auto_prompt_option(),
        flag("--reveal-secrets", "Show the client's protected values and the artifact credentials in plain text."),
    ]


def connection_options() -> list[click.Option]:
    """Create the options with the settings of a client."""
    return [
        flag("--debug", "Write botocore's log, with secrets withheld, to standard error."),
        option(
            "--endpoint-url", "Another endpoint, such as http://127.0.0.1:8000. Default: that of the region.", "URL"
        ),
        flag("--no-verify-ssl", "Trust any TLS certificate."),
        option("--profile", "Profile of the AWS configuration. Default: AWS_PROFILE, or the default profile.", "NAME"),
        option(
            "--region",
            "AWS region, such as us-east-1. Default: AWS_REGION, AWS_DEFAULT_REGION, or region of the profile.",
            "NAME",
        ),
        flag("--no-sign-request", "Send the request unsigned, without loading credentials."),
        option("--ca-bundle", "File of the CA certificates to trust. Default: botocore's own.", "PATH"),
        _seconds("--cli-read-timeout", "Longest wait between two pieces of a response; 0 for no limit."),
        _seconds("--cli-connect-timeout", "Longest wait for a connection; 0 for no limit."),
    ]


def output_options() -> list[click.Option]:
    """Create the options for the format of the output."""
    return [
        choice(
            "--output",
            "Format of the output. Default: AWS_DEFAULT_OUTPUT, output of the profile, or json; for jobs: table.",
            FORMATS,
        ),
        option("--query", "JMESPath expression that picks from the output, such as jobDetails.nonce."),
        choice(
            "--color",
            "Whether tables have colours; auto: on a terminal.",
            ("on", "off", "auto"),
            default="auto",
        ),
        flag(
            "--no-cli-pager",
            "Write to the terminal without a pager. Default pager: AWS_PAGER, cli_pager, PAGER, or less.",
        ),
    ]


def auto_prompt_option() -> click.Option:
    """Create the option that selects whether a command asks for missing parameters."""
    text = (
        "Ask for missing parameters. Default: AWS_CLI_AUTO_PROMPT, cli_auto_prompt of the profile, or only for the "
        "client token, and only on a terminal."
    )
    return click.Option(["--cli-auto-prompt/--no-cli-auto-prompt"], default=None, help=text)


def token_options() -> list[click.Option]:
    """Create the options with which a command finds a client token in the store of a worker."""
    return [
        option(
            "--client-tokens",
            "Where your worker finds client tokens, in place of --client-token: a callable or a mapping, such as "
            "examplescan.worker:tokens. A class is called without arguments.",
            "MODULE:NAME",
        ),
        option("--client-id", "Client of the job, for --client-tokens; a poll and the journal show it."),
    ]


def kind_option(default: str | None = "third-party", text: str = "What kind of job it is.") -> click.Option:
    """Create the option that selects third-party or custom jobs."""
    return choice("--kind", text, ("third-party", "custom"), default=default)


def _seconds(name: str, text: str) -> click.Option:
    return option(name, text, "SECONDS", type=click.IntRange(min=0), default=60)
