"""Each option of the command, that it has an effect, and that the docs list it."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import yaml
from support.command_line import DETAILS, run_command, run_program
from support.scripted_server import ReceivedRequest, ScriptedServer, error, ok

from cp_thirdparty import ThirdPartyJobClient
from cp_thirdparty._cli.main import Program

# The synopsis of awscli.amazonaws.com/v2/documentation/api/latest/reference/codepipeline/
# get-third-party-job-details.html.
_PAGE = (  # noqa: SIM905 - as the page has it
    "--job-id --client-token --cli-input-json --cli-input-yaml --generate-cli-skeleton --debug --endpoint-url "
    "--no-verify-ssl --no-paginate --output --query --profile --region --version --color --no-sign-request --ca-bundle "
    "--cli-read-timeout --cli-connect-timeout --cli-binary-format --no-cli-pager --cli-auto-prompt --no-cli-auto-prompt"
).split()
_DOCS = Path(__file__).parents[2] / "docs" / "reference" / "cli.md"

_JOB = ("--job-id", "job-1", "--client-token", "token")
_DOCUMENT = json.loads((Path(__file__).parents[1] / "data" / "job_details.json").read_text(encoding="utf-8"))
_DOCUMENT["jobDetails"]["id"] = "job-1"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedServer]:
    """Return the details of a job, and point the environment at the server."""
    with ScriptedServer(lambda _: ok(_DOCUMENT)) as server:
        for name, value in _environment(server.endpoint_url).items():
            monkeypatch.setenv(name, value)
        monkeypatch.delenv("AWS_PROFILE", raising=False)
        yield server


def _environment(endpoint_url: str) -> dict[str, str]:
    return {
        "AWS_ENDPOINT_URL_CODEPIPELINE": endpoint_url,
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "example",
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": "127.0.0.1",
    }


# --- the table -------------------------------------------------------------------------------------------------------


def _options() -> set[str]:
    cli = Program()
    parsed = cli.get_command(click.Context(cli), DETAILS)
    assert parsed is not None
    return {name for param in parsed.params for name in (*param.opts, *param.secondary_opts) if name.startswith("--")}


def test_every_option_of_the_page_is_there() -> None:
    """The command takes what the AWS CLI takes, and three options more."""
    assert _options() == {*_PAGE, "--reveal-secrets", "--client-tokens", "--client-id"}


def test_the_docs_list_every_option() -> None:
    """The table of the docs has a row for each option, and names arguments that the library has."""
    rows = re.findall(
        r"^\| `(--[a-z-]+)` \| `(--[a-z-]+)` \| (.*) \|$", _DOCS.read_text(encoding="utf-8"), re.MULTILINE
    )
    assert [page for page, _, _ in rows] == _PAGE
    assert {ours for _, ours, _ in rows} == set(_PAGE)
    arguments = {name for _, _, text in rows for name in re.findall(r"`([a-z_]+)=?`", text)}
    known = {
        *inspect.signature(ThirdPartyJobClient.create).parameters,
        *inspect.signature(ThirdPartyJobClient.get_third_party_job_details).parameters,
    }
    assert arguments
    assert arguments <= known


def test_every_command_has_help_with_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    """The help describes each command, and has an example that the parser accepts."""
    cli = Program()
    context = click.Context(cli)
    for name in cli.list_commands(context):
        shown = run_command(capsys, name, "--help")
        assert shown.code == 0
        assert "Example: " in shown.out
        parsed = cli.get_command(context, name)
        assert parsed is not None
        assert [param.name for param in parsed.params if isinstance(param, click.Option) and not param.help] == []


@pytest.mark.parametrize("arguments", [(), ("artifact",)])
def test_a_list_of_commands_cuts_no_summary(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """On a terminal of 80 columns each command is described by a complete sentence."""
    commands = run_command(capsys, *arguments, "--help").out.partition("Commands:")[2].partition("Example:")[0]
    assert "..." not in commands
    assert commands.count(".\n") + commands.count("(DEPRECATED)") > len(arguments) + 1


# --- effects ---------------------------------------------------------------------------------------------------------


def _last_request(server: ScriptedServer) -> ReceivedRequest:
    return server.requests[-1]


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize("options", [["--no-paginate"], ["--cli-binary-format", "raw-in-base64-out"]])
def test_options_without_effect_are_accepted(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """The two options that change nothing for these operations change nothing."""
    assert run_command(capsys, DETAILS, *_JOB, *options) == run_command(capsys, DETAILS, *_JOB)


def test_job_id_and_client_token_are_sent(server: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    """The request has the values of the options."""
    assert run_command(capsys, DETAILS, *_JOB).code == 0
    assert _last_request(server).parameters == {"jobId": "job-1", "clientToken": "token"}


@pytest.mark.parametrize("form", ["json", "yaml"])
@pytest.mark.parametrize("source", ["text", "file"])
def test_an_input_document_gives_what_the_command_line_does_not(
    form: str, source: str, server: ScriptedServer, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A document, as a string or a file, supplies parameters; the command line overrides it."""
    document = {"jobId": "other", "clientToken": "token-2"}
    text = json.dumps(document) if form == "json" else yaml.safe_dump(document)
    if source == "file":
        path = tmp_path / "input"
        path.write_text(text, encoding="utf-8")
        text = f"file://{path}"
    assert run_command(capsys, DETAILS, f"--cli-input-{form}", text, "--job-id", "job-1").code == 0
    assert _last_request(server).parameters == {"jobId": "job-1", "clientToken": "token-2"}


def test_skeletons_are_samples(capsys: pytest.CaptureFixture[str], server: ScriptedServer) -> None:
    """A skeleton can be read and sends nothing; the query and the format apply to that of an output."""
    empty = {"jobId": "", "clientToken": ""}
    assert json.loads(run_command(capsys, DETAILS, "--generate-cli-skeleton").out) == empty
    assert json.loads(run_command(capsys, DETAILS, "--generate-cli-skeleton", "input").out) == empty
    assert yaml.safe_load(run_command(capsys, DETAILS, "--generate-cli-skeleton", "yaml-input").out) == empty
    shown = run_command(capsys, DETAILS, *_JOB, "--generate-cli-skeleton", "output", "--query", "jobDetails.nonce")
    assert shown.out == '"nonce"\n'
    assert run_command(capsys, DETAILS, "--generate-cli-skeleton", "output", "--no-cli-auto-prompt").code == 252
    put = "put-third-party-job-success-result"
    assert run_command(capsys, put, *_JOB, "--generate-cli-skeleton", "output").out == ""
    assert "created" in json.loads(run_command(capsys, put, "--generate-cli-skeleton").out)["currentRevision"]
    assert server.requests == []


@pytest.mark.usefixtures("server")
def test_debug_writes_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    """Botocore's log goes to standard error, without the token."""
    quiet, loud = run_command(capsys, DETAILS, *_JOB), run_command(capsys, DETAILS, *_JOB, "--debug")
    assert quiet.err == ""
    assert "botocore.endpoint DEBUG" in loud.err
    assert loud.out == quiet.out


def test_endpoint_url_is_called(
    server: ScriptedServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The option overrides the environment."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_CODEPIPELINE", "http://127.0.0.1:9")
    assert run_command(capsys, DETAILS, *_JOB, "--endpoint-url", server.endpoint_url).code == 0
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("options", "argument", "value"),
    [
        ([], "verify", None),
        (["--no-verify-ssl"], "verify", False),
        (["--ca-bundle", __file__], "verify", __file__),
        ([], "connect_timeout", 60),
        (["--cli-connect-timeout", "7"], "connect_timeout", 7),
        (["--cli-connect-timeout", "0"], "connect_timeout", None),
        (["--cli-read-timeout", "7"], "read_timeout", 7),
        (["--cli-read-timeout", "0"], "read_timeout", None),
        (["--cli-read-timeout", "0"], "deadline", None),
        (["--cli-read-timeout", "7", "--cli-connect-timeout", "3"], "deadline", 30.0),
        (["--no-sign-request"], "sign_request", False),
        (["--region", "eu-west-1"], "region_name", "eu-west-1"),
        (["--profile", "partner"], "profile_name", "partner"),
        (["--endpoint-url", "http://127.0.0.1:9"], "endpoint_url", "http://127.0.0.1:9"),
    ],
)
def test_connection_options_reach_the_client(
    options: list[str],
    argument: str,
    value: object,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Each is the argument of the client that the docs name."""
    seen: dict[str, object] = {}

    def create(**arguments: object) -> None:
        seen.update(arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(ThirdPartyJobClient, "create", create)
    assert run_command(capsys, DETAILS, *_JOB, *options).code == 130
    assert seen[argument] == value


def test_region_and_signature_are_seen_in_the_request(
    server: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """A request is signed for the region, or not at all."""
    run_command(capsys, DETAILS, *_JOB, "--region", "eu-west-1")
    assert "/eu-west-1/codepipeline/" in _last_request(server).headers["authorization"]
    run_command(capsys, DETAILS, *_JOB, "--no-sign-request")
    assert "authorization" not in _last_request(server).headers


def test_a_profile_has_its_credentials(
    server: ScriptedServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The request is signed with the key of the profile."""
    path = tmp_path / "credentials"
    path.write_text("[partner]\naws_access_key_id = AKIDPARTNER\naws_secret_access_key = x\n", encoding="utf-8")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(path))
    assert run_command(capsys, DETAILS, *_JOB, "--profile", "partner").code == 0
    assert "Credential=AKIDPARTNER/" in _last_request(server).headers["authorization"]


@pytest.mark.usefixtures("server")
def test_output_query_and_color(capsys: pytest.CaptureFixture[str]) -> None:
    """Formats differ, a query selects, and colours are used when they are requested."""
    shown = {
        output: run_command(capsys, DETAILS, *_JOB, "--output", output).out
        for output in ("json", "text", "table", "yaml", "yaml-stream")
    }
    assert len(set(shown.values())) == 5
    assert json.loads(shown["json"]) == yaml.safe_load(shown["yaml"]) == yaml.safe_load(shown["yaml-stream"])[0]
    assert run_command(capsys, DETAILS, *_JOB, "--query", "jobDetails.id").out == '"job-1"\n'
    assert "\x1b[" in run_command(capsys, DETAILS, *_JOB, "--output", "table", "--color", "on").out
    assert "\x1b[" not in shown["table"]


@pytest.mark.parametrize(
    "query",
    [
        "[" * 8,
        "[" * 5000,
        "!" * 5000 + "a",
        "(" * 3000 + "a" + ")" * 3000,
        f"a[{'9' * 5000}]",
        "`" + "[" * 100_000 + "`",
    ],
    ids=["brackets", "many brackets", "many negations", "parentheses", "a long number", "a deep literal"],
)
def test_a_query_that_python_cannot_read_is_refused(capsys: pytest.CaptureFixture[str], query: str) -> None:
    """Deep nesting and long numbers are errors of the option, not of the program."""
    shown = run_command(capsys, DETAILS, *_JOB, "--generate-cli-skeleton", "output", "--query", query)
    assert (shown.code, shown.out) == (252, "")
    assert shown.err == "cp-thirdparty: error: --query: must be a JMESPath expression\n"


@pytest.mark.parametrize(
    "query",
    [
        *("sum(jobDetails)", "sort(@)", "jobDetails.id | to_number(@)[0:1:0]", "a" + ".a" * 3_000),
        pytest.param("a" + ".a" * 300_000, marks=pytest.mark.slow),
    ],
    ids=str.__len__,
)
def test_a_query_that_cannot_be_applied_is_an_error_of_the_option(
    capsys: pytest.CaptureFixture[str], query: str
) -> None:
    """Or its result is empty; there is no other error."""
    shown = run_command(capsys, DETAILS, *_JOB, "--generate-cli-skeleton", "output", "--query", query)
    is_error = shown.err.startswith("cp-thirdparty: error: --query: ")
    assert is_error or (shown.code, shown.out) == (0, "null\n")


@pytest.mark.usefixtures("server")
def test_secrets_are_shown_on_request_with_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    """Masked, a document differs from the response; revealed, it is the response."""
    masked, revealed = run_command(capsys, DETAILS, *_JOB), run_command(capsys, DETAILS, *_JOB, "--reveal-secrets")
    assert json.loads(revealed.out) == _DOCUMENT
    assert "warning" in revealed.err
    assert json.loads(masked.out) != _DOCUMENT
    assert masked.err == ""
    query = ("--query", "jobDetails.data.actionConfiguration.configuration.ApiKey")
    assert run_command(capsys, DETAILS, *_JOB, *query).out == '"**********"\n'


def test_empty_lists_of_a_response_are_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the service sends empty is shown empty, in the service's order, as the AWS CLI does."""
    data = {"inputArtifacts": [], "outputArtifacts": [], "continuationToken": "next"}
    document = {"jobDetails": {"id": "job-1", "data": data, "nonce": "1"}}
    with ScriptedServer(lambda _: ok(document)) as server:
        for name, value in _environment(server.endpoint_url).items():
            monkeypatch.setenv(name, value)
        assert run_command(capsys, DETAILS, *_JOB).out == json.dumps(document, indent=4) + "\n"


@pytest.mark.parametrize("output", ["json", "text", "table", "yaml", "yaml-stream"])
def test_no_output_controls_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], output: str
) -> None:
    """Escapes, C1, bidirectional characters and line breaks of names are shown; JSON stays the same document."""
    name = "a\x1b[2J\x9b31m\u202egpj\r\nINJECTED\u2028b"
    document = {"jobDetails": {"id": "job-1", "data": {"outputArtifacts": [{"name": name}]}, "nonce": "1"}}
    with ScriptedServer(lambda _: ok(document)) as server:
        for variable, value in _environment(server.endpoint_url).items():
            monkeypatch.setenv(variable, value)
        shown = run_command(capsys, DETAILS, *_JOB, "--output", output).out
    assert shown.replace("\n", "").replace("\t", "").isprintable()
    assert not any(line.lstrip(" |-").startswith("INJECTED") for line in shown.splitlines())
    if output == "json":
        assert json.loads(shown) == document


def test_a_refusal_has_no_output(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """An error of the service is one line on standard error."""
    with ScriptedServer(lambda _: error("JobNotFoundException", "no\n\x1b[31mjob")) as server:
        for name, value in _environment(server.endpoint_url).items():
            monkeypatch.setenv(name, value)
        shown = run_command(capsys, DETAILS, *_JOB)
    assert (shown.code, shown.out) == (254, "")
    assert shown.err == (
        "cp-thirdparty: error: GetThirdPartyJobDetails: JobNotFoundException: no\\n\\x1b[31mjob (request id req-0001)\n"
    )


def test_version_is_an_option_everywhere(capsys: pytest.CaptureFixture[str]) -> None:
    """The program and its commands print the version, and the program does so without botocore."""
    assert run_command(capsys, "--version").out == run_command(capsys, DETAILS, "--version").out
    assert run_program("--version").out.startswith("cp-thirdparty/")
