"""Settings of the AWS CLI, options before the command, and encodings and faults of standard output."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from support.command_line import DETAILS, run_command
from support.scripted_server import ScriptedServer, ok

from cp_thirdparty._cli.aws_settings import AwsSettings

_JOB = ("--job-id", "job-1", "--client-token", "xMARKtoken")
_SKELETON = (DETAILS, *_JOB, "--generate-cli-skeleton", "output", "--query", "jobDetails.nonce")
_NAME = "d\xe9mo \u2713 \U0001f600"
_DOCUMENT = {"jobDetails": {"id": "job-1", "data": {"continuationToken": _NAME}, "nonce": "1"}}


@pytest.fixture(autouse=True)
def config_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Remove all settings, and return the path of the AWS configuration file."""
    for name in ("AWS_DEFAULT_OUTPUT", "AWS_CLI_AUTO_PROMPT", "AWS_PAGER", "PAGER", "AWS_PROFILE", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    path = tmp_path / "config"
    monkeypatch.setenv("AWS_CONFIG_FILE", str(path))
    return path


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedServer]:
    """Run a server that returns the details of a job."""
    with ScriptedServer(lambda _: ok(_DOCUMENT)) as server:
        for name, value in {
            "AWS_ENDPOINT_URL_CODEPIPELINE": server.endpoint_url,
            "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
            "AWS_SECRET_ACCESS_KEY": "example",
            "NO_PROXY": "127.0.0.1",
        }.items():
            monkeypatch.setenv(name, value)
        yield server


def test_output_format_has_the_precedence_of_the_aws_cli(
    config_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The option overrides the variable, and the variable overrides the key of the profile."""
    assert run_command(capsys, *_SKELETON).out == '"nonce"\n'
    config_file.write_text("[default]\noutput = yaml-stream\n[profile other]\noutput = table\n", encoding="utf-8")
    assert run_command(capsys, *_SKELETON).out == "- nonce\n"
    assert run_command(capsys, *_SKELETON, "--profile", "other").out == "| GetThirdPartyJobDetails |\n"
    monkeypatch.setenv("AWS_DEFAULT_OUTPUT", "text")
    assert run_command(capsys, *_SKELETON).out == "nonce\n"
    assert run_command(capsys, *_SKELETON, "--output", "json").out == '"nonce"\n'


@pytest.mark.parametrize(
    ("variable", "key", "choices"),
    [("AWS_DEFAULT_OUTPUT", "output", "json, text, table"), ("AWS_CLI_AUTO_PROMPT", "cli_auto_prompt", "on, on-parti")],
)
def test_an_error_names_the_wrong_setting(  # noqa: PLR0917 - fixtures
    variable: str,
    key: str,
    choices: str,
    config_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The error names the variable or the key, and not its value."""
    config_file.write_text(f"[default]\n{key} = xMARK\n", encoding="utf-8")
    result = run_command(capsys, *_SKELETON)
    assert (result.code, f"error: {key} of the profile in the AWS configuration: must be one of" in result.err) == (
        253,
        True,
    )
    monkeypatch.setenv(variable, "xMARK")
    result = run_command(capsys, *_SKELETON)
    assert (result.code, f"error: {variable}: must be one of {choices}" in result.err) == (253, True)
    assert "MARK" not in result.err


def test_prompts_and_pager_have_aws_cli_precedence(config_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``AWS_PAGER`` overrides the key of the profile, and the key overrides ``PAGER``."""
    monkeypatch.setenv("PAGER", "more")
    assert (AwsSettings().pager(), AwsSettings().prompts(option=None)) == ("more", None)
    config_file.write_text("[default]\ncli_pager =\ncli_auto_prompt = on-partial\n", encoding="utf-8")
    assert (AwsSettings().pager(), AwsSettings().prompts(option=None)) == ("", True)
    assert AwsSettings().prompts(option=False) is False
    monkeypatch.setenv("AWS_PAGER", "cat")
    monkeypatch.setenv("AWS_CLI_AUTO_PROMPT", "off")
    assert (AwsSettings().pager(), AwsSettings().prompts(option=None)) == ("cat", False)
    config_file.write_text("[broken", encoding="utf-8")
    monkeypatch.delenv("AWS_PAGER")
    assert AwsSettings().pager() == "more"


def test_aws_region_overrides_aws_default_region(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The precedence is that of version 2 of the AWS CLI."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    assert run_command(capsys, DETAILS, *_JOB).code == 0
    assert "/eu-west-1/codepipeline/" in server.requests[-1].headers["authorization"]
    monkeypatch.setenv("AWS_REGION", "x MARK")
    result = run_command(capsys, DETAILS, *_JOB)
    assert (result.code, result.err.startswith("cp-thirdparty: error: AWS_REGION: must be")) == (253, True)


def test_common_options_are_accepted_before_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    """Flags, ``--name value`` and ``--name=value`` are accepted, and an option given twice is an error."""
    before = ("--no-cli-pager", "--output", "text", "--color=off", "--debug")
    assert run_command(capsys, *before, *_SKELETON) == run_command(capsys, *_SKELETON, "--output", "text")
    twice = run_command(capsys, "--output", "text", *_SKELETON, "--output", "text")
    assert twice.err.endswith("is given more than once\n")


@pytest.mark.parametrize("arguments", [("-h",), ("help",), ("--help",)])
def test_help_is_shown_as_in_the_aws_cli(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """``-h`` and ``help`` print the same as ``--help``, also after options or a command."""
    assert run_command(capsys, *arguments) == run_command(capsys, "--help")
    for group in ((), ("artifact",)):
        assert run_command(capsys, "--region", "x", *group, *arguments) == run_command(capsys, *group, "--help")
    result = run_command(capsys, DETAILS, *arguments)
    assert (result.code, "--job-id" in result.out, result.out) == (0, True, run_command(capsys, DETAILS, "--help").out)


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "latin-1", "utf-8"])
@pytest.mark.parametrize("output", ["json", "yaml", "text", "table"])
def test_output_in_a_limited_encoding(encoding: str, output: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """JSON and YAML escape only the characters that the encoding does not have."""
    from cp_thirdparty.__main__ import main  # noqa: PLC0415 - `run_command` reads what pytest captured

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
def test_standard_output_is_closed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A command without output succeeds; a command with output fails with an error that names standard output."""
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setattr("sys.stdout", None)
    put = run_command(capsys, "put-third-party-job-success-result", *_JOB)
    assert (put.code, put.err) == (0, "")
    read = run_command(capsys, DETAILS, *_JOB)
    assert (read.code, read.err) == (
        255,
        "cp-thirdparty: error: standard output is closed; CodePipeline has accepted the call\n",
    )
