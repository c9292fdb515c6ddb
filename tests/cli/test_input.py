"""Parameters of the command line: the five operations on the local service, tokens from each source, and bad input."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.command_line import DETAILS, run_command, run_program

from cp_thirdparty import ActionTypeId, JobStatus
from cp_thirdparty.testing import Action, LocalCodePipeline

_TYPE = ActionTypeId(category="Test", owner="ThirdParty", provider="ExampleScan", version="1")
_SHORTHAND = "category=Test,owner=ThirdParty,provider=ExampleScan,version=1"
_CLIENT_ID = "00000000-0000-4000-8000-000000000001"
_TOKEN = "xMARKtoken"
_VARIABLE = "CP_THIRDPARTY_CLIENT_TOKEN"


@pytest.fixture
def action(monkeypatch: pytest.MonkeyPatch) -> Iterator[Action]:
    """Serve an action, and point the environment at it."""
    with LocalCodePipeline(continuation_delay=0) as service:
        service.register_client(_CLIENT_ID, _TOKEN)
        monkeypatch.delenv("AWS_PROFILE", raising=False)
        for name, value in service.environment().items():
            monkeypatch.setenv(name, value)
        yield service.start_action(_TYPE, client_id=_CLIENT_ID)


def _json(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    shown = run_command(capsys, *arguments)
    assert (shown.code, shown.err) == (0, "")
    return json.loads(shown.out) if shown.out else None


def test_a_complete_action(action: Action, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Poll, read, acknowledge, continue, and succeed, with all that a result may have."""
    monkeypatch.setenv(_VARIABLE, _TOKEN)
    for arguments, result in (
        (
            ["--continuation-token", "run-1", "--execution-details", "summary='half, way',percentComplete=50"],
            "InProgress",
        ),
        (
            [
                "--current-revision",
                '{"revision": "r", "changeIdentifier": "c", "created": "2026-01-02T03:04:05+00:00"}',
                "--execution-details",
                '{"summary": "done", "percentComplete": 100}',
            ],
            "Succeeded",
        ),
    ):
        polled = _json(capsys, "poll-for-third-party-jobs", "--action-type-id", _SHORTHAND, "--max-batch-size", "1")
        job = ("--job-id", polled["jobs"][0]["jobId"])
        nonce = _json(capsys, DETAILS, *job, "--query", "jobDetails.nonce")
        assert _json(capsys, "acknowledge-third-party-job", *job, "--nonce", nonce) == {"status": "InProgress"}
        assert _json(capsys, "put-third-party-job-success-result", *job, *arguments) is None
        assert action.status == JobStatus(result)
    assert action.jobs[0].continuation_token is None
    assert action.jobs[1].continuation_token == "run-1"
    assert "half, way" in repr(action.jobs[0].result)


def test_a_failure(action: Action, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure is reported in the words of the command line, read from a file too."""
    monkeypatch.setenv(_VARIABLE, _TOKEN)
    job = ("--job-id", action.jobs[0].id)
    _json(capsys, "poll-for-third-party-jobs", "--action-type-id", _SHORTHAND)
    nonce = _json(capsys, DETAILS, *job, "--query", "jobDetails.nonce")
    _json(capsys, "acknowledge-third-party-job", *job, "--nonce", nonce)
    _json(capsys, "put-third-party-job-failure-result", *job, "--failure-details", "type=JobFailed,message='no, never'")
    assert action.status == "Failed"
    assert "no, never" in repr(action.result)


@pytest.mark.parametrize("way", ["option", "standard input", "file", "document", "environment"])
def test_a_token_comes_from_each_source(
    way: str, action: Action, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each source supplies the token, and overrides the sources below it."""
    ways = ["option", "standard input", "file", "document", "environment"]
    path = tmp_path / "token"
    path.write_text(f"{_TOKEN}\r\n", encoding="utf-8")
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{_TOKEN}\nmore\n"))
    arguments = {
        "option": ["--client-token", _TOKEN],
        "standard input": ["--client-token", "-"],
        "file": ["--client-token", f"file://{path}"],
        "document": ["--cli-input-json", json.dumps({"clientToken": _TOKEN})],
        "environment": [],
    }[way]
    if ways.index(way) < ways.index("document"):
        arguments += ["--cli-input-json", json.dumps({"clientToken": "wrong"})]
    monkeypatch.setenv(_VARIABLE, _TOKEN if way == "environment" else "wrong")
    assert _json(capsys, DETAILS, "--job-id", action.jobs[0].id, *arguments)["jobDetails"]["nonce"]


_JOB = ["--job-id", "job-1", "--client-token", _TOKEN]
_POLL = "poll-for-third-party-jobs"
_PUT = "put-third-party-job-success-result"
_NO_YAML = "\n".join(["{" * 5, _TOKEN])


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        ([], 252, "a command is missing, such as get-third-party-job-details; see cp-thirdparty --help"),
        (["xMARK"], 252, "there is no such command; see cp-thirdparty --help"),
        (["get-third-party-job-detail"], 252, "there is no such command; did you mean get-third-party-job-details?"),
        (["poll"], 252, "there is no such command; did you mean poll-for-third-party-jobs?"),
        (["--xMARK", DETAILS], 252, "there is no such option before the command; see --help"),
        (["--regoin", "xMARK", DETAILS], 252, "no such option before the command; did you mean --region?"),
        (["--region", "us-east-1"], 252, "a command is missing"),
        (["--region"], 252, "a command is missing"),
        ([DETAILS, "extra-xMARK"], 252, f"neither an option nor the value of one; see cp-thirdparty {DETAILS} --help"),
        ([DETAILS, "--client-token", _TOKEN], 252, "--job-id: is required"),
        ([DETAILS, "--job-id", "job-1"], 252, "--client-token: is required, and there is no terminal"),
        ([DETAILS, "--job-id", "job-1", "--no-cli-auto-prompt"], 252, "--client-token: is required"),
        ([DETAILS, "--client-token", _TOKEN, "--cli-auto-prompt"], 252, "--job-id: is required, and there is no"),
        ([DETAILS, *_JOB, "--xMARK"], 252, f"there is no such option; see cp-thirdparty {DETAILS} --help"),
        ([DETAILS, "--client-tokn", _TOKEN], 252, "there is no such option; did you mean --client-token?"),
        ([DETAILS, "--job-id"], 252, "--job-id: missing or unexpected value"),
        ([DETAILS, *_JOB, "--output", "xMARK"], 252, "--output: must be one of json, text, table, yaml, yaml-stream"),
        ([DETAILS, *_JOB, "--cli-read-timeout", "xMARK"], 252, "--cli-read-timeout: must be an integer of at lea"),
        ([DETAILS, *_JOB, "--cli-read-timeout", "-1"], 252, "--cli-read-timeout: must be an integer of at least"),
        ([DETAILS, *_JOB, "--query", "xMARK["], 252, "--query: must be a JMESPath expression"),
        ([DETAILS, "--cli-input-json", f'{{"clientToken": "{_TOKEN}'], 252, "--cli-input-json: must be valid JSON"),
        ([DETAILS, "--cli-input-json", "[" * 100_000], 252, "--cli-input-json: must be valid JSON"),
        ([DETAILS, "--cli-input-yaml", f"a: [{_TOKEN}"], 252, "--cli-input-yaml: must be valid YAML"),
        ([DETAILS, "--cli-input-yaml", "2026-99-99"], 252, "--cli-input-yaml: must be valid YAML"),
        ([DETAILS, "--cli-input-yaml", _NO_YAML], 252, "--cli-input-yaml: must be valid YAML"),
        ([DETAILS, "--cli-input-json", "{}", "--cli-input-yaml", "{}"], 252, "there can be only one"),
        ([DETAILS, "--cli-input-json", '["xMARK"]'], 252, "--cli-input-json: must be an object"),
        ([DETAILS, "--cli-input-json", '{"jobID": "xMARK"}'], 252, "--cli-input-json: unknown member 'jobID'; did you"),
        ([DETAILS, *_JOB[2:], "--cli-input-json", '{"jobId": 5}'], 252, "--cli-input-json: jobId: must be a string"),
        (
            [DETAILS, *_JOB[:2], "--cli-input-json", '{"clientToken": 5}'],
            252,
            "--cli-input-json: clientToken: must be a s",
        ),
        (
            [DETAILS, "--cli-input-json", "file:///nothing/a"],
            252,
            "--cli-input-json: /nothing/a: the file cannot be read: N",
        ),
        ([DETAILS, "--cli-input-json", "file:///"], 252, "/: the file cannot be read: Is a directory"),
        (
            [DETAILS, "--cli-input-json", "fileb://xMARK"],
            252,
            "--cli-input-json: must not start with fileb://; to read",
        ),
        (
            [DETAILS, "--job-id", "a", "--client-token", "file:/xMARK"],
            252,
            "--client-token: must not start with file:/; to read a file, w",
        ),
        ([DETAILS, "--cli-input-json", "@xMARK"], 252, "must be valid JSON; to read a file, write file://PATH"),
        ([DETAILS, "--cli-input-yaml", __file__], 252, "must be an object; to read a file, write file://PATH"),
        ([_PUT, *_JOB, "--execution-details", __file__], 252, "need quotes; to read a file, write file://PATH"),
        ([_PUT, *_JOB, "--execution-details", "x" * 5000], 252, "may need quotes\n"),
        ([DETAILS, "--cli-input-json", "file://~nobody-of-ours/a"], 252, "the file cannot be read"),
        ([DETAILS, *_JOB[2:], "--job-id", "x" * 513], 252, "--job-id: must have 1 to 512 characters"),
        ([DETAILS, *_JOB, "--endpoint-url", "xMARK"], 252, "--endpoint-url: must be"),
        ([DETAILS, *_JOB, "--ca-bundle", "/nothing/xMARK"], 252, "--ca-bundle: must be"),
        ([DETAILS, *_JOB, "--region", "x MARK"], 253, "--region: must be"),
        ([DETAILS, *_JOB, "--profile", "xMARK"], 253, "--profile: must be"),
        ([_POLL, "--action-type-id", "xMARK"], 252, "--action-type-id: must be JSON or NAME=VALUE"),
        ([_POLL, "--action-type-id", 'a="xMARK'], 252, "--action-type-id: must be JSON or NAME=VALUE"),
        ([_POLL, "--action-type-id", '{"xMARK'], 252, "--action-type-id: must be valid JSON"),
        ([_POLL, "--action-type-id", "category=Test"], 252, "--action-type-id: required field missing: owner"),
        ([_POLL, "--cli-input-json", '{"actionTypeId": ["xMARK"]}'], 252, "--cli-input-json: actionTypeId: "),
        ([_PUT, *_JOB, "--execution-details", "percentComplete=xMARK"], 252, "--execution-details: percentComplete"),
        ([_PUT, *_JOB, "--execution-details", "percentComplete=1000"], 252, "--execution-details: "),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str], code: int, text: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the option, has the right code, and has no value."""
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.delenv(_VARIABLE, raising=False)
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    shown = run_command(capsys, *arguments)
    assert (shown.code, shown.out) == (code, "")
    assert shown.err.startswith("cp-thirdparty: error: ")
    assert text in shown.err
    assert shown.err.count("\n") == 1
    assert "MARK" not in shown.err


def test_a_file_of_another_encoding_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A file that is not UTF-8 is one line."""
    path = tmp_path / "token"
    path.write_bytes(b"t\xf6ken")
    shown = run_command(capsys, DETAILS, "--job-id", "job-1", "--client-token", f"file://{path}")
    assert (shown.code, "it is not UTF-8 text" in shown.err) == (252, True)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize("option", ["--cli-input-json", "--cli-input-yaml", "--client-token"])
def test_a_file_may_have_a_byte_order_mark(
    encoding: str, option: str, action: Action, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Editors on Windows and PowerShell write one, in every kind of file that is read."""
    path = tmp_path / "input"
    content = f"{_TOKEN}\r\n" if option == "--client-token" else json.dumps({"clientToken": _TOKEN})
    path.write_text(content, encoding=encoding)
    arguments = (option, f"file://{path}")
    assert _json(capsys, DETAILS, "--job-id", action.jobs[0].id, *arguments)["jobDetails"]["nonce"]


def test_text_that_is_piped_or_pasted_may_have_a_byte_order_mark(
    action: Action, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """PowerShell puts one before what it pipes."""
    monkeypatch.setattr("sys.stdin", io.StringIO(f"\ufeff{_TOKEN}\n"))
    document = "\ufeff" + json.dumps({"jobId": action.jobs[0].id})
    shown = _json(capsys, DETAILS, "--cli-input-json", document, "--client-token", "-")
    assert shown["jobDetails"]["id"] == action.jobs[0].id
    path = tmp_path / "summary"
    path.write_text("done", encoding="utf-8-sig")
    for text in ('\ufeff{"summary": "done"}', "\ufeffsummary=done", f"summary@=file://{path}"):
        arguments = ("--job-id", "job-1", "--client-token", _TOKEN, "--execution-details", text)
        assert run_command(capsys, _PUT, *arguments, "--generate-cli-skeleton", "output").code == 0


def test_a_query_that_does_not_suit_the_response(action: Action, capsys: pytest.CaptureFixture[str]) -> None:
    """A function of the wrong type fails without the value of its argument."""
    arguments = ("--job-id", action.jobs[0].id, "--client-token", _TOKEN, "--query", "sum(jobDetails.id)")
    shown = run_command(capsys, DETAILS, *arguments)
    assert (shown.code, shown.out) == (255, "")
    assert action.jobs[0].id not in shown.err


def test_an_unused_port_is_an_error(capsys: pytest.CaptureFixture[str], action: Action) -> None:
    """A closed port is one line with code 255."""
    assert action.status == "Queued"  # its service is what the environment leads to
    shown = run_command(capsys, DETAILS, *_JOB, "--endpoint-url", "http://127.0.0.1:9")
    assert (shown.code, shown.out, shown.err.count("\n")) == (255, "", 1)


def test_wrong_settings_of_the_environment(tmp_path: Path) -> None:
    """A setting that an environment variable or a file supplies is named, with the code of the environment."""
    variable = run_program(DETAILS, *_JOB, "--region", "us-east-1", env={"AWS_MAX_ATTEMPTS": "xMARK"})
    assert (variable.code, "AWS_MAX_ATTEMPTS: must be an integer" in variable.err) == (253, True)
    path = tmp_path / "config"
    path.write_text("[default]\nmax_attempts = xMARK\n", encoding="utf-8")
    file = run_program(DETAILS, *_JOB, "--region", "us-east-1", env={"AWS_CONFIG_FILE": str(path), "AWS_PROFILE": None})
    assert (file.code, f"max_attempts in profile 'default' of {path}: must be" in file.err) == (253, True)
    assert "xMARK" not in variable.err + file.err


def test_no_region_and_no_credentials(tmp_path: Path) -> None:
    """Without a region, and without credentials, the code is that of the environment."""
    nowhere: dict[str, str | None] = {
        "HOME": str(tmp_path),
        "AWS_CONFIG_FILE": str(tmp_path / "none"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"),
        "AWS_EC2_METADATA_DISABLED": "true",
        **dict.fromkeys(
            ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE")
        ),
    }
    without_region = run_program(DETAILS, *_JOB, env=nowhere)
    assert (without_region.code, without_region.err.count("\n")) == (253, 1)
    assert "error: --region: must be given" in without_region.err
    without_credentials = run_program(DETAILS, *_JOB, "--region", "us-east-1", env=nowhere)
    assert "no AWS credentials were found (endpoint https://" in without_credentials.err
    assert without_credentials.code == 253


def test_refused_credentials_are_an_error_of_the_service(
    action: Action, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key that AWS does not know is code 254, as for the AWS CLI."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDOTHER")
    assert run_command(capsys, DETAILS, "--job-id", action.jobs[0].id, "--client-token", _TOKEN).code == 254


def test_an_unforeseen_error_is_one_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Any other error is reported by its type alone."""

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError(_TOKEN)

    monkeypatch.setattr("cp_thirdparty._cli.commands.read_parameters", broken)
    shown = run_command(capsys, DETAILS, *_JOB)
    assert (shown.code, shown.err) == (255, "cp-thirdparty: error: unexpected error (RuntimeError)\n")


def test_a_missing_extra_is_named(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra, the program names what to install; another missing module is another error."""
    monkeypatch.setitem(__import__("sys").modules, "yaml", None)
    shown = run_command(capsys, DETAILS, *_JOB, "--cli-input-yaml", "{}")
    assert (shown.code, "pip install 'cp-thirdparty[cli]'" in shown.err) == (253, True)
    monkeypatch.setitem(__import__("sys").modules, "cp_thirdparty._cli.parameters", None)
    monkeypatch.delitem(__import__("sys").modules, "cp_thirdparty._cli.commands", raising=False)
    with pytest.raises(ModuleNotFoundError):
        run_command(capsys, DETAILS, *_JOB)
