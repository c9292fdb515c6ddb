"""Settings of the AWS CLI, options before the command, and encodings and faults of standard output."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from support.command_line import DETAILS, command
from support.scripted_server import ScriptedServer, ok

from cp_thirdparty._cli.aws_settings import AwsSettings

_JOB = ("--job-id", "job-1", "--client-token", "xMARKtoken")
_SAMPLE = (DETAILS, *_JOB, "--generate-cli-skeleton", "output", "--query", "jobDetails.nonce")
_NAME = "d\xe9mo \u2713 \U0001f600"
_DOCUMENT = {"jobDetails": {"id": "job-1", "data": {"continuationToken": _NAME}, "nonce": "1"}}


@pytest.fixture(autouse=True)
def config(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Begin without any setting."""
    for name in ("AWS_DEFAULT_OUTPUT", "AWS_CLI_AUTO_PROMPT", "AWS_PAGER", "PAGER", "AWS_PROFILE", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    path = tmp_path / "config"
    monkeypatch.setenv("AWS_CONFIG_FILE", str(path))
    return path


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedServer]:
    """Return the details of a job."""
    with ScriptedServer(lambda _: ok(_DOCUMENT)) as server:
        for name, value in {
            "AWS_ENDPOINT_URL_CODEPIPELINE": server.endpoint_url,
            "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
            "AWS_SECRET_ACCESS_KEY": "example",
            "NO_PROXY": "127.0.0.1",
        }.items():
            monkeypatch.setenv(name, value)
        yield server


def test_output_has_the_order_of_the_aws_cli(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The option goes before the variable, and the variable before the key of the profile."""
    assert command(capsys, *_SAMPLE).out == '"nonce"\n'
    config.write_text("[default]\noutput = yaml-stream\n[profile other]\noutput = table\n", encoding="utf-8")
    assert command(capsys, *_SAMPLE).out == "- nonce\n"
    assert command(capsys, *_SAMPLE, "--profile", "other").out == "| GetThirdPartyJobDetails |\n"
    monkeypatch.setenv("AWS_DEFAULT_OUTPUT", "text")
    assert command(capsys, *_SAMPLE).out == "nonce\n"
    assert command(capsys, *_SAMPLE, "--output", "json").out == '"nonce"\n'


@pytest.mark.parametrize(
    ("variable", "key", "value"),
    [("AWS_DEFAULT_OUTPUT", "output", "json, text, table"), ("AWS_CLI_AUTO_PROMPT", "cli_auto_prompt", "on, on-parti")],
)
def test_a_wrong_setting_is_named(  # noqa: PLR0917 - fixtures
    variable: str,
    key: str,
    value: str,
    config: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The error names the variable or the key, and not its value."""
    config.write_text(f"[default]\n{key} = xMARK\n", encoding="utf-8")
    shown = command(capsys, *_SAMPLE)
    assert (shown.code, f"error: {key} of the profile in the AWS configuration: must be one of" in shown.err) == (
        253,
        True,
    )
    monkeypatch.setenv(variable, "xMARK")
    shown = command(capsys, *_SAMPLE)
    assert (shown.code, f"error: {variable}: must be one of {value}" in shown.err) == (253, True)
    assert "MARK" not in shown.err


def test_prompts_and_the_pager_can_be_set(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the AWS CLI, ``AWS_PAGER`` goes before the key, and the key before ``PAGER``."""
    monkeypatch.setenv("PAGER", "more")
    assert (AwsSettings().pager(), AwsSettings().prompts(option=None)) == ("more", None)
    config.write_text("[default]\ncli_pager =\ncli_auto_prompt = on-partial\n", encoding="utf-8")
    assert (AwsSettings().pager(), AwsSettings().prompts(option=None)) == ("", True)
    assert AwsSettings().prompts(option=False) is False
    monkeypatch.setenv("AWS_PAGER", "cat")
    monkeypatch.setenv("AWS_CLI_AUTO_PROMPT", "off")
    assert (AwsSettings().pager(), AwsSettings().prompts(option=None)) == ("cat", False)
    config.write_text("[broken", encoding="utf-8")
    monkeypatch.delenv("AWS_PAGER")
    assert AwsSettings().pager() == "more"


def test_the_region_of_aws_region(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """``AWS_REGION`` goes before ``AWS_DEFAULT_REGION``, as in version 2 of the AWS CLI."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    assert command(capsys, DETAILS, *_JOB).code == 0
    assert "/eu-west-1/codepipeline/" in server.requests[-1].headers["authorization"]
    monkeypatch.setenv("AWS_REGION", "x MARK")
    shown = command(capsys, DETAILS, *_JOB)
    assert (shown.code, shown.err.startswith("cp-thirdparty: error: AWS_REGION: must be")) == (253, True)


def test_common_options_may_stand_before_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    """In each form of an option."""
    before = ("--no-cli-pager", "--output", "text", "--color=off", "--debug")
    assert command(capsys, *before, *_SAMPLE) == command(capsys, *_SAMPLE, "--output", "text")
    assert command(capsys, "--output", "text", *_SAMPLE, "--output", "text").err.endswith("is given more than once\n")


@pytest.mark.parametrize("arguments", [("-h",), ("help",), ("--help",)])
def test_help_has_the_names_of_the_aws_cli(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """``-h`` and ``help`` show what ``--help`` shows, also behind options or a command."""
    assert command(capsys, *arguments) == command(capsys, "--help")
    for group in ((), ("artifact",)):
        assert command(capsys, "--region", "x", *group, *arguments) == command(capsys, *group, "--help")
    shown = command(capsys, DETAILS, *arguments)
    assert (shown.code, "--job-id" in shown.out, shown.out) == (0, True, command(capsys, DETAILS, "--help").out)


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "latin-1", "utf-8"])
@pytest.mark.parametrize("output", ["json", "yaml", "text", "table"])
def test_an_encoding_without_a_letter(encoding: str, output: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """JSON and YAML stay the same document, and a letter that the encoding has stays as it is."""
    from cp_thirdparty.__main__ import main  # noqa: PLC0415 - `command` reads what pytest captured

    monkeypatch.setenv("AWS_REGION", "us-east-1")
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, newline="\n")
    monkeypatch.setattr("sys.stdout", stream)
    assert main([DETAILS, *_JOB, "--output", output]) == 0
    text = stream.buffer.getvalue().decode(encoding)
    if output == "json":
        assert json.loads(text) == _DOCUMENT
        assert ("d\xe9mo" in text) == (encoding != "ascii")
    elif output == "yaml":
        assert yaml.safe_load(text) == _DOCUMENT
    else:
        assert (_NAME in text) == (encoding == "utf-8")


@pytest.mark.usefixtures("server")
def test_a_closed_standard_output(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """An accepted result is not a failure if there is nothing to write; other output is an error that names it."""
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setattr("sys.stdout", None)
    put = command(capsys, "put-third-party-job-success-result", *_JOB)
    assert (put.code, put.err) == (0, "")
    read = command(capsys, DETAILS, *_JOB)
    assert (read.code, read.err) == (
        255,
        "cp-thirdparty: error: standard output is closed; CodePipeline has accepted the call\n",
    )
