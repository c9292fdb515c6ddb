"""No combination of options shows a secret, unless it is requested."""

from __future__ import annotations

import contextlib
import io
import json
import re
from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st
from support.command_line import DETAILS
from support.scripted_server import ReceivedRequest, Response, ScriptedServer, error, ok

from cp_thirdparty import ActionTypeId, CustomJob, FailureDetails, ThirdPartyJob
from cp_thirdparty.__main__ import main
from cp_thirdparty.models import JobData
from cp_thirdparty.worker import JobScope, SqliteJournal

_STEM = "xMARK"
_NAMES = ("client_token", "access_key_id", "secret_access_key", "session_token", "configuration", "caller")
_MARKERS = {name: f'{_STEM}/"{name}"' for name in _NAMES}
_CREDENTIALS = {
    "accessKeyId": _MARKERS["access_key_id"],
    "secretAccessKey": _MARKERS["secret_access_key"],
    "sessionToken": _MARKERS["session_token"],
}
_DETAILS = {
    "jobDetails": {
        "id": "job-1",
        "data": {
            "actionConfiguration": {"configuration": {"ApiKey": _MARKERS["configuration"]}},
            "artifactCredentials": _CREDENTIALS,
        },
        "nonce": "1",
    }
}
_RESPONSES = {
    "good": ok({**_DETAILS, "status": "InProgress", "jobs": []}),
    "echo": error("ValidationException", f"Value '{_MARKERS['client_token']}' at 'clientToken' failed"),
    "page": Response(body=f"<html>{_STEM}</html>".encode()),
    "denied": error("AccessDeniedException", _MARKERS["client_token"]),
    "shapes": ok({"jobDetails": {**_DETAILS["jobDetails"], "nonce": [_STEM]}, "status": {}, "jobs": [_STEM]}),
}


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[ScriptedServer, dict[str, Response]]]:
    """Return the responses of a test."""
    now = {"response": _RESPONSES["good"]}

    def respond(_: ReceivedRequest) -> Response:
        return now["response"]

    with ScriptedServer(respond) as server, pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "AWS_ENDPOINT_URL_CODEPIPELINE": server.endpoint_url,
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
            "AWS_SECRET_ACCESS_KEY": _MARKERS["caller"],
            "AWS_SESSION_TOKEN": f"{_STEM}-caller-token",
            "AWS_MAX_ATTEMPTS": "1",
            "NO_PROXY": "127.0.0.1",
            "CP_THIRDPARTY_CLIENT_TOKEN": _MARKERS["client_token"],
        }.items():
            patch.setenv(name, value)
        patch.delenv("AWS_PROFILE", raising=False)
        yield server, now


_QUERIES = st.sampled_from(
    [
        "@",
        "jobDetails.data",
        "jobDetails.data.artifactCredentials.*",
        "values(jobDetails.data.actionConfiguration.configuration)",
        "to_string(@)",
        "jobDetails.data.artifactCredentials.secretAccessKey | reverse(@)",
        "sum(jobDetails.data.artifactCredentials.*)",
        "sort_by(values(jobDetails.data.actionConfiguration.configuration), &@)",
        "contains(jobDetails.data.artifactCredentials.sessionToken, 'xMAR')",
        "jobDetails[",
    ]
)
_OPTIONS = st.lists(
    st.one_of(
        st.just(["--debug"]),
        st.sampled_from(["json", "text", "table", "yaml", "yaml-stream", _STEM]).map(lambda name: ["--output", name]),
        _QUERIES.map(lambda query: ["--query", query]),
        st.sampled_from(["on", "off", "auto"]).map(lambda color: ["--color", color]),
        st.sampled_from(["--no-verify-ssl", "--no-paginate", "--no-sign-request", "--no-cli-pager"]).map(lambda o: [o]),
        st.sampled_from(["--cli-auto-prompt", "--no-cli-auto-prompt"]).map(lambda option: [option]),
        st.sampled_from(["input", "yaml-input", "output"]).map(lambda kind: ["--generate-cli-skeleton", kind]),
        st.just(["--client-token", _MARKERS["client_token"]]),
        st.just(["--cli-input-json", json.dumps({"clientToken": _MARKERS["client_token"]})]),
        st.just(["--cli-input-yaml", f"clientToken: {_STEM}"]),
        st.just(["--cli-input-json", f'{{"clientToken": "{_STEM}']),
        st.sampled_from([f"--{_STEM}", _STEM, f"-{_STEM}"]).map(lambda word: [word]),
        st.just(["--cli-read-timeout", "5", "--cli-connect-timeout", "5"]),
    ),
    max_size=5,
)


def _command(*arguments: str) -> str:
    """Run a command, and return all that it writes."""
    written = io.StringIO()
    with contextlib.redirect_stdout(written), contextlib.redirect_stderr(written):
        main(arguments)
    return written.getvalue()


@hypothesis.given(
    options=_OPTIONS,
    operation=st.sampled_from(
        [
            (DETAILS,),
            (DETAILS,),
            ("acknowledge-third-party-job", "--nonce", "1"),
            ("put-third-party-job-success-result",),
            ("put-third-party-job-failure-result", "--failure-details", "type=JobFailed,message=no"),
        ]
    ),
    response=st.sampled_from(sorted(_RESPONSES)),
)
@hypothesis.example(options=[], operation=(DETAILS,), response="shapes")
def test_no_combination_shows_a_secret(
    server: tuple[ScriptedServer, dict[str, Response]],
    options: list[list[str]],
    operation: tuple[str, ...],
    response: str,
) -> None:
    """Output, errors and the debug log of every command have no marker, whatever the service returns."""
    server[1]["response"] = _RESPONSES[response]
    words = [word for option in options for word in option]
    assert _STEM not in _command(*operation, "--job-id", "job-1", *words)


# --- commands beside the operations, and controls of a terminal -------------------------------------------------------

_CONTROLS = "\x1b[2J\x9b31m\u202e\r\nINJECTED\u2028"
_PEER = f"peer{_CONTROLS}"
_CONTROLLED: dict[str, Any] = {
    "jobDetails": {
        "id": _PEER,
        "data": {
            "artifactCredentials": _CREDENTIALS,
            "actionConfiguration": {"configuration": {"ApiKey": _MARKERS["configuration"]}},
            "pipelineContext": {"pipelineName": _PEER, "stage": {"name": _PEER}, "action": {"name": _PEER}},
            "inputArtifacts": [{"name": _PEER, "revision": _PEER}],
            "continuationToken": _PEER,
        },
        "nonce": "1",
    },
    "status": _PEER,
}
# A poll for third-party jobs reads two members, and one for custom jobs the others.
_CONTROLLED["jobs"] = [{"clientId": _PEER, "jobId": _PEER, **_CONTROLLED["jobDetails"]}]
_PEER_RESPONSES = {
    **_RESPONSES,
    "controls": ok(_CONTROLLED),
    "controls in an error": error("ValidationException", _PEER),
    "controls in a code": error(f"Other{_CONTROLS}", _PEER),
}
_JOURNAL = "JOURNAL"  # stands for the path of a journal with the peer's strings


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Create a journal whose jobs have such ids and messages."""
    path = tmp_path_factory.mktemp("journal") / "jobs.db"
    action_type = ActionTypeId(category="Test", owner="ThirdParty", provider="P", version="1")
    scope = JobScope(region_name="us-east-1", endpoint_url="https://x", action_type_id=action_type)
    with contextlib.closing(SqliteJournal(path)) as opened:
        for job in (ThirdPartyJob(client_id=_PEER, job_id=_PEER), CustomJob(id="job-2", data=JobData(), nonce=_PEER)):
            opened.claim(job, scope)
            opened.running(job.job_id)
            opened.result(job.job_id, FailureDetails(type="JobFailed", message=_PEER))
    return str(path)


_COMMANDS = st.sampled_from(
    [
        (DETAILS,),
        ("poll-for-third-party-jobs", "--action-type-id", "category=Test,owner=ThirdParty,provider=P,version=1"),
        ("acknowledge-third-party-job", "--nonce", "1"),
        ("explain", "--configuration", "support.masked_partner:Scan"),
        ("explain", "--configuration", "support.masked_partner:Refuses"),
        ("explain", "--configuration", "support.masked_partner:nothing"),
        ("fail", "--message", "m", "--yes"),
        ("fail", "--message", "m", "--acknowledge", "--yes"),
        ("succeed", "--summary", "s", "--yes"),
        ("artifact", "list"),
        ("artifact", "get", "MyApp", "--to", "/dev/null/nothing"),
        ("artifact", "put", "Report", "/nothing", "--yes"),
        ("doctor",),
        ("doctor", "--kind", "custom"),
        ("get-job-details",),
        ("poll-for-jobs", "--action-type-id", "category=Test,owner=Custom,provider=P,version=1"),
        ("put-job-success-result", "--output-variables", "Name=value"),
        ("explain", "--kind", "custom", "--configuration", "support.masked_partner:Scan"),
        ("succeed", "--kind", "custom", "--acknowledge", "--nonce", "1", "--yes"),
        ("artifact", "list", "--kind", "custom"),
        ("jobs", _JOURNAL, "--pipelines", "--client-tokens", "support.masked_partner:tokens"),
        ("resolve", _JOURNAL, f"other {_PEER}", "--yes"),
    ]
)
_WITHOUT_JOB_ID = ("doctor", "poll-for-third-party-jobs", "poll-for-jobs", "jobs", "resolve")
_WITHOUT_TOKEN = {*_WITHOUT_JOB_ID, "get-job-details", "put-job-success-result", "custom"}
_TOKENS = st.sampled_from(
    [
        (),
        ("--client-token", _MARKERS["client_token"]),
        ("--client-tokens", "support.masked_partner:tokens", "--client-id", "client"),
        ("--client-tokens", "support.masked_partner:broken", "--client-id", "client"),
        ("--client-tokens", "support.masked_partner:tokens"),
    ]
)


@st.composite
def _calls(draw: st.DrawFn) -> tuple[str, ...]:
    """Draw a command with options before or behind it."""
    name = draw(_COMMANDS)
    job = () if name[0] in _WITHOUT_JOB_ID else ("--job-id", "job-1")
    words = [word for option in draw(_OPTIONS) for word in option]
    tokens = () if _JOURNAL in name else draw(_TOKENS)
    rest = (*name, *job, *tokens)
    return (*words, *rest) if draw(st.booleans()) else (*rest, *words)


@pytest.mark.slow
@hypothesis.settings(max_examples=1500, deadline=None)
@hypothesis.given(call=_calls(), response=st.sampled_from(sorted(_PEER_RESPONSES)))
def test_no_command_shows_a_secret_or_controls_the_terminal(
    server: tuple[ScriptedServer, dict[str, Response]], journal: str, call: tuple[str, ...], response: str
) -> None:
    """Whatever CodePipeline returns for whatever combination of options, also before the command."""
    # CodePipeline cannot repeat a token that the command does not send.
    hypothesis.assume(_WITHOUT_TOKEN.isdisjoint(call) or response not in ("echo", "denied"))
    server[1]["response"] = _PEER_RESPONSES[response]
    shown = _command(*(journal if word == _JOURNAL else word for word in call))
    assert _STEM not in shown
    plain = re.sub(r"\x1b\[[0-9;]*m", "", shown) if "on" in call else shown  # our own colours
    assert plain.replace("\n", "").replace("\t", "").isprintable()
    assert not any(line.lstrip(" |-").startswith("INJECTED") for line in shown.splitlines())


def test_the_harness_finds_a_secret(server: tuple[ScriptedServer, dict[str, Response]]) -> None:
    """Revealed, every secret of the response is found."""
    server[1]["response"] = _RESPONSES["good"]
    shown = _command(DETAILS, "--job-id", "job-1", "--output", "text", "--reveal-secrets")
    assert [name for name in _NAMES if _MARKERS[name] in shown] == list(_NAMES[1:5])
