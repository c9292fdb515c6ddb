"""Commands for one job by hand: report a result, check the configuration, and transfer artifacts."""

from __future__ import annotations

import io
import json
import sys
import zipfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import attrs
import pytest
from support.artifact_jobs import artifact
from support.command_line import run_command
from support.journals import run_process
from support.scripted_s3 import ScriptedS3

from cp_thirdparty import ActionTypeId, FailureDetails, JobStatus, ThirdPartyJob, ThirdPartyJobClient
from cp_thirdparty.testing import Action, LocalCodePipeline, Success
from cp_thirdparty.worker import JobScope, SqliteJournal

_TYPE = ActionTypeId(category="Test", owner="ThirdParty", provider="ExampleScan", version="1")
_CUSTOM_TYPE = attrs.evolve(_TYPE, owner="Custom")
_CLIENT_ID = "00000000-0000-4000-8000-000000000001"
_TOKEN = "xMARKtoken"

_PARTNER = f"""
import attrs
from cp_thirdparty import JobFailedError, SecretStr

@attrs.frozen
class Scan:
    api_key: SecretStr
    minutes: int

@attrs.frozen
class Refuses:
    api_key: SecretStr
    def __attrs_post_init__(self):
        raise JobFailedError("ConfigurationError", "The key is for another project.")

class Lists:
    names: dict

@attrs.frozen
class Exits:
    api_key: SecretStr
    def __attrs_post_init__(self):
        raise SystemExit(0)

class Store:
    def __call__(self, client_id):
        return {_TOKEN!r} if client_id == {_CLIENT_ID!r} else None

tokens = Store()

def broken(client_id):
    raise LookupError({_TOKEN!r})

class NeedsArguments:
    def __init__(self, prefix): pass
"""


@attrs.frozen
class _Site:
    """A local CodePipeline with one action, and an S3."""

    service: LocalCodePipeline
    action: Action
    s3: ScriptedS3
    is_custom: bool

    @property
    def action_type_id(self) -> ActionTypeId:
        return _CUSTOM_TYPE if self.is_custom else _TYPE

    @property
    def options(self) -> tuple[str, ...]:
        """The options that show which kind of job it is, and whose."""
        store = ("--client-tokens", "made_for_on_call:tokens", "--client-id", _CLIENT_ID)
        return ("--kind", "custom") if self.is_custom else store

    @property
    def job(self) -> tuple[str, ...]:
        """The options of the first job."""
        return "--job-id", self.action.jobs[0].id, *self.options

    @property
    def offer(self) -> str:
        """The first job, as code."""
        job_id = self.action.jobs[0].id
        if self.is_custom:
            return f"cp_thirdparty.CustomJob(id={job_id!r}, data=cp_thirdparty.models.JobData(), nonce='1')"
        return f"ThirdPartyJob(client_id={_CLIENT_ID!r}, job_id={job_id!r})"

    def start_action(self, **settings: Any) -> Action:
        """Let a pipeline reach the action."""
        client_id = None if self.is_custom else _CLIENT_ID
        return self.service.start_action(self.action_type_id, client_id=client_id, **settings)

    def poll(self) -> list[str]:
        """Return the jobs that wait."""
        if self.is_custom:
            with self.service.custom_client() as custom:
                return [job.id for job in custom.poll_for_jobs(_CUSTOM_TYPE)]
        with self.service.client() as client:
            return [job.job_id for job in client.poll_for_third_party_jobs(_TYPE)]

    def claim(self) -> None:
        """Claim the first job."""
        if self.is_custom:
            with self.service.custom_client() as custom:
                (job,) = custom.poll_for_jobs(_CUSTOM_TYPE)
                custom.acknowledge_job(job.id, nonce=job.nonce)
            return
        self.poll()
        with self.service.client() as client:
            details = client.get_third_party_job_details(self.action.jobs[0].id, client_token=_TOKEN)
            client.acknowledge_third_party_job(details.id, nonce=details.nonce or "", client_token=_TOKEN)


_BOTH = pytest.mark.parametrize("site", ["third-party", "custom"], indirect=True)


@pytest.fixture
def site(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[_Site]:
    """Serve a job with artifacts, and put a partner's module into the working directory."""
    is_custom = getattr(request, "param", "third-party") == "custom"
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("README.md", "hello")
    (tmp_path / "made_for_on_call.py").write_text(_PARTNER, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.delitem(sys.modules, "made_for_on_call", raising=False)
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    with LocalCodePipeline() as service, ScriptedS3({"/bucket/app.zip": content.getvalue()}) as s3:
        service.register_client(_CLIENT_ID, _TOKEN)
        action = service.start_action(
            _CUSTOM_TYPE if is_custom else _TYPE,
            client_id=None if is_custom else _CLIENT_ID,
            configuration={"ApiKey": "xMARKkey", "Minutes": "xMARKminutes"},
            input_artifacts=[artifact("MyApp", "app.zip", bucket="bucket")],
            output_artifacts=[artifact("Report", "report.zip", bucket="bucket")],
        )
        for name in ("AWS_PROFILE", "AWS_DEFAULT_OUTPUT", "CP_THIRDPARTY_CLIENT_TOKEN"):
            monkeypatch.delenv(name, raising=False)
        for name, value in service.environment().items():
            monkeypatch.setenv(name, value)
        yield _Site(service, action, s3, is_custom)


# --- results ---------------------------------------------------------------------------------------------------------


@_BOTH
def test_a_job_is_failed_by_hand(site: _Site, capsys: pytest.CaptureFixture[str]) -> None:
    """The confirmation and the output name the pipeline, and the customer gets the message."""
    site.claim()
    arguments = ("fail", *site.job, "--message", "Run it again.", "--type", "SystemUnavailable")
    refused = run_command(capsys, *arguments)
    assert (refused.code, refused.err.endswith("--yes: is required, because there is no terminal to ask\n")) == (
        252,
        True,
    )
    assert site.action.status == "InProgress"
    shown = run_command(capsys, *arguments, "--external-execution-id", "run-1", "--yes")
    assert (shown.code, shown.err, shown.out.endswith("): reported as failed\n")) == (0, "", True)
    assert " / " in shown.out
    assert site.action.result == FailureDetails(
        type="SystemUnavailable", message="Run it again.", external_execution_id="run-1"
    )
    again = run_command(capsys, *arguments, "--yes")
    assert (again.code, "InvalidJobStateException" in again.err) == (254, True)


@pytest.mark.parametrize("options", [(), ("--summary", "By hand.", "--external-execution-id", "run-1")])
def test_a_job_that_nobody_has_claimed_is_claimed_first(
    options: tuple[str, ...], site: _Site, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With --acknowledge; a job that has ended accepts no result."""
    site.poll()
    shown = run_command(capsys, "succeed", *site.job, *options, "--acknowledge", "--yes")
    assert (shown.code, shown.err) == (0, "")
    assert site.action.status == "Succeeded"
    result = site.action.result
    assert isinstance(result, Success)
    assert (result.execution_details is not None) == bool(options)
    assert run_command(capsys, "succeed", *site.job, "--acknowledge", "--yes").code == 254
    monkeypatch.setattr(ThirdPartyJobClient, "acknowledge_third_party_job", lambda *_, **__: JobStatus.SUCCEEDED)
    again = run_command(capsys, "succeed", *site.job, "--acknowledge", "--yes")
    assert again.err == "cp-thirdparty: error: the job is Succeeded, so it accepts no result\n"


@pytest.mark.parametrize("site", ["custom"], indirect=True)
def test_a_custom_job_is_claimed_with_the_nonce_of_its_poll(site: _Site, capsys: pytest.CaptureFixture[str]) -> None:
    """Its details have none; nothing is sent before the options are complete."""
    shorthand = "category=Test,owner=Custom,provider=ExampleScan,version=1"
    query = ("--query", "jobs[0].nonce", "--output", "text")
    nonce = run_command(capsys, "poll-for-jobs", "--action-type-id", shorthand, *query).out.strip()
    assert "--nonce: is required with --acknowledge" in run_command(capsys, "succeed", *site.job, "--acknowledge").err
    shown = run_command(capsys, "succeed", *site.job, "--acknowledge", "--nonce", nonce, "--yes")
    assert (shown.code, shown.err, site.action.status) == (0, "", "Succeeded")


@pytest.mark.parametrize("option", [("--client-token", _TOKEN), ("--client-id", "c"), ("--client-tokens", "a:b")])
@pytest.mark.parametrize("site", ["custom"], indirect=True)
def test_a_custom_job_has_no_client_token(
    option: tuple[str, str], site: _Site, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An option for one is refused; the variable is not read."""
    shown = run_command(capsys, "artifact", "list", *site.job, *option)
    assert (shown.code, shown.err.partition(": error: ")[2]) == (
        252,
        "--client-token, --client-tokens, --client-id: custom jobs have no client token\n",
    )
    monkeypatch.setenv("CP_THIRDPARTY_CLIENT_TOKEN", _TOKEN)
    assert run_command(capsys, "artifact", "list", *site.job).code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("succeed", "--nonce", "1"), "--nonce: has an effect with --acknowledge and --kind custom only"),
        (("succeed", "--acknowledge", "--nonce", "1"), "--nonce: has an effect with --acknowledge and --kind custom"),
        (("succeed", "--kind", "other"), "--kind: must be one of third-party, custom"),
        (("fail", "--message", "m" * 5001, "--yes"), "--message: must have 1 to 5000 characters"),
        (("succeed", "--external-execution-id", ""), "--external-execution-id: must have 1 to"),
        (("fail", "--message", "m", "--job-id", "x"), "--job-id: is given more than once"),
        (("fail",), "--message: is required"),
        (("fail", "--message", "m", "--type", "JobFaild"), "--type: must be one of JobFailed, "),
        (("explain",), "--configuration: is required"),
        (("explain", "--configuration", "made_for_on_call:Lists"), "--configuration: "),
        (("explain", "--configuration", "made_for_on_call:Exits"), "--configuration: the class raises SystemExit"),
        (("artifact", "get", "MyApp", "--to", "a", "--s3-endpoint-url", "ftp://x"), "--s3-endpoint-url: must be"),
        (("artifact", "get"), "NAME: is required"),
        (("artifact",), "a command is missing, such as list; see cp-thirdparty artifact --help"),
        (("artifact", "lst"), "there is no such command; did you mean list?"),
    ],
)
def test_a_mistake_names_the_option(
    arguments: tuple[str, ...], message: str, site: _Site, capsys: pytest.CaptureFixture[str]
) -> None:
    """The parameters of the library have other names, which the user does not know."""
    job = () if arguments[0] == "artifact" and arguments[1:] in ((), ("lst",)) else site.job
    shown = run_command(capsys, *arguments, *job)
    assert (shown.code, message in shown.err, shown.out) == (252, True, "")


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("text", "code"), [("n\n", 255), ("y\n", 0)])
def test_a_terminal_is_asked(
    text: str, code: int, site: _Site, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is reported without a yes; the question names the job and states that the result is final."""
    site.claim()
    monkeypatch.setattr("sys.stdin", _Terminal(text))
    shown = run_command(capsys, "fail", *site.job, "--message", "m")
    assert (shown.code, site.action.status) == (code, "InProgress" if code else "Failed")
    assert f"Report job {site.action.jobs[0].id}" in shown.err
    assert ("not confirmed; nothing was changed" in shown.err) == (code != 0)


# --- tokens of a store -----------------------------------------------------------------------------------------------


def test_a_token_comes_from_the_store_of_a_worker(site: _Site, capsys: pytest.CaptureFixture[str]) -> None:
    """From an object or from a class; each command takes the token itself too."""
    for name in ("tokens", "Store"):
        store = ("--client-tokens", f"made_for_on_call:{name}", "--client-id", _CLIENT_ID)
        shown = run_command(capsys, "get-third-party-job-details", *site.job[:2], *store)
        assert (shown.code, shown.err, "MARK" in shown.out) == (0, "", False)
    shown = run_command(capsys, "artifact", "list", *site.job[:2], "--client-token", _TOKEN)
    assert (shown.code, shown.err, "MARK" in shown.out) == (0, "", False)


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--client-tokens", "made_for_on_call:tokens"), 252, "--client-id: is required with --client-tokens"),
        (("--client-id", "c"), 252, "--client-id: has an effect with --client-tokens only"),
        (("--client-tokens", "a:b", "--client-token", _TOKEN), 252, "--client-token and --client-tokens: there can be"),
        (("--client-tokens", "made_for_on_call:tokens", "--client-id", "c"), 253, "no client token; client id c\n"),
        (
            ("--client-tokens", "cp_thirdparty.worker:EnvironmentTokens", "--client-id", "c-\x1b"),
            253,
            "--client-tokens: no client token; client id c-\\x1b, environment variable CP_CLIENT_TOKEN_C__\n",
        ),
        (("--client-tokens", "made_for_on_call:broken", "--client-id", "c"), 253, "could not be looked up (LookupErro"),
        (("--client-tokens", "made_for_on_call:attrs", "--client-id", "c"), 252, "--client-tokens: must be a callable"),
        (("--client-tokens", "made_for_on_call:NeedsArguments", "--client-id", "c"), 252, "--client-tokens: must be a"),
        (("--client-tokens", "tokens", "--client-id", "c"), 252, "must be a module and a callable or mapping, such as"),
    ],
)
def test_a_store_without_the_token(
    options: tuple[str, ...], code: int, message: str, site: _Site, capsys: pytest.CaptureFixture[str]
) -> None:
    """The error names the option that is wrong, and shows nothing of the store."""
    for name in ("get-third-party-job-details", "explain"):
        configuration = () if name != "explain" else ("--configuration", "made_for_on_call:Scan")
        shown = run_command(capsys, name, *site.job[:2], *configuration, *options)
        assert (shown.code, message in shown.err, "MARK" in shown.err) == (code, True, False)


# --- configuration ---------------------------------------------------------------------------------------------------


@_BOTH
def test_a_configuration_is_explained(site: _Site, capsys: pytest.CaptureFixture[str]) -> None:
    """Every problem is named by its key, and no value is shown."""
    arguments = ("explain", *site.job, "--output", "json", "--configuration")
    shown = run_command(capsys, *arguments, "made_for_on_call:Scan")
    document = json.loads(shown.out)
    assert (shown.code, document["problems"]) == (255, ["Minutes: must be an integer of at most 18 digits"])
    assert document["configuration"] == dict.fromkeys(("ApiKey", "Minutes"), "**********")
    refused = json.loads(run_command(capsys, *arguments, "made_for_on_call:Refuses").out)
    assert refused["problems"] == ["ConfigurationError: The key is for another project."]


@_BOTH
def test_a_configuration_without_problems(site: _Site, capsys: pytest.CaptureFixture[str]) -> None:
    """The exit code is 0; a job may have no configuration."""
    site.start_action()
    _, second = site.poll()
    (Path.cwd() / "made_for_on_call.py").write_text(f"{_PARTNER}\n@attrs.frozen\nclass Empty:\n    pass\n")
    shown = run_command(
        capsys, "explain", "--job-id", second, *site.job[2:], "--configuration", "made_for_on_call:Empty",
        "--query", "[configuration, problems]", "--output", "json",
    )  # fmt: skip
    assert (shown.code, json.loads(shown.out)) == (0, [{}, []])


# --- artifacts -------------------------------------------------------------------------------------------------------


@_BOTH
def test_artifacts_are_listed_downloaded_and_uploaded(
    site: _Site, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the credentials of the job, which are never shown."""
    listed: dict[str, Any] = json.loads(run_command(capsys, "artifact", "list", *site.job, "--output", "json").out)
    assert [one["name"] for one in listed["inputArtifacts"]] == ["MyApp"]
    assert set(listed["artifactCredentials"].values()) == {"**********"}
    s3 = ("--s3-endpoint-url", site.s3.endpoint_url)
    shown = run_command(capsys, "artifact", "get", "MyApp", *site.job, "--to", "app.zip", *s3)
    assert (shown.code, shown.out, shown.err) == (0, "app.zip\n", "")
    assert zipfile.is_zipfile("app.zip")
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    shown = run_command(capsys, "artifact", "get", "MyApp", *site.job, "--to", "app", "--extract", *s3)
    assert (shown.code, shown.err.endswith(" MB\n")) == (0, True)
    assert Path("app", "README.md").read_text(encoding="utf-8") == "hello"
    for path in ("app.zip", "app"):
        shown = run_command(capsys, "artifact", "put", "Report", path, *site.job, *s3, "--yes")
        assert (shown.code, shown.out) == (0, "Report: uploaded\n")
    assert [request.method for request in site.s3.requests].count("PUT") == 2


def test_an_error_about_an_artifact_does_not_name_the_endpoint_of_codepipeline(
    site: _Site, capsys: pytest.CaptureFixture[str]
) -> None:
    """S3 or the file is what failed, so another address would lead on-call engineers astray."""
    s3 = ("--s3-endpoint-url", "http://127.0.0.1:9")
    for name, to in (("MyApp", "app.zip"), ("MyApp", "nothing/app.zip"), ("Other", "app.zip")):
        shown = run_command(capsys, "artifact", "get", name, *site.job, "--to", to, *s3)
        assert (shown.code, shown.out, "(endpoint" in shown.err) == (255, "", False), shown


def test_options_may_stand_before_the_command_of_a_group(site: _Site, capsys: pytest.CaptureFixture[str]) -> None:
    """As the AWS CLI takes them, before the group or within it."""
    options = ("--output", "text", "--query", "inputArtifacts[0].name")
    for arguments in ((*options, "artifact", "list"), ("artifact", *options, "list")):
        shown = run_command(capsys, *arguments, *site.job)
        assert (shown.code, shown.out, shown.err) == (0, "MyApp\n", "")


# --- from a call of a customer to a failed job -----------------------------------------------------------------------


@_BOTH
def test_an_on_call_engineer_ends_a_pipeline_that_hangs(site: _Site, capsys: pytest.CaptureFixture[str]) -> None:
    """A worker died with a job: commands find it, explain it, report it and end it, and show no secret."""
    site.claim()
    job_id = site.action.jobs[0].id
    run_process(
        Path("jobs.db"), f"import cp_thirdparty; journal.claim({site.offer}, SCOPE); journal.running({job_id!r})"
    )
    steps = []

    def step(*arguments: str) -> str:
        shown = run_command(capsys, *arguments)
        steps.append(shown.out + shown.err)
        return shown.out

    store = () if site.is_custom else site.options[:2]
    query = ("--output", "json", "--query", "jobs[?owner=='dead'].[jobId, clientId, pipeline]")
    found = json.loads(step("jobs", "jobs.db", "--unfinished", "--pipelines", *store, *query))
    pipeline = "local-pipeline / Local / ExampleScan"
    assert found == [[job_id, "" if site.is_custom else _CLIENT_ID, pipeline]]
    job = ("--job-id", found[0][0], *site.options)
    assert "Minutes: must be an integer" in step("explain", *job, "--configuration", "made_for_on_call:Scan")
    assert "MyApp" in step("artifact", "list", *job)
    assert "reported as failed" in step("fail", *job, "--type", "ConfigurationError", "--message", "Minutes", "--yes")
    assert site.action.status == "Failed"
    assert "ended" in step("resolve", "jobs.db", job_id, "--yes")
    assert json.loads(step("jobs", "jobs.db", "--unfinished", "--output", "json")) == {"jobs": []}
    assert "MARK" not in "".join(steps)


def test_a_pipeline_that_cannot_be_read_is_a_problem_of_its_job(
    site: _Site, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The other jobs are shown with theirs, and a finished job is not read."""
    scope = JobScope(region_name="us-east-1", endpoint_url="http://127.0.0.1:1", action_type_id=_TYPE)
    job_id = site.action.jobs[0].id
    with closing(SqliteJournal(tmp_path / "jobs.db")) as journal:
        for client_id, name in ((_CLIENT_ID, job_id), ("other", "job-1"), (_CLIENT_ID, "job-2"), ("c", "done")):
            journal.claim(ThirdPartyJob(client_id=client_id, job_id=name), scope)
        journal.running("done")
        journal.finish("done", "reported")
        found: dict[str, tuple[str | None, str]] = {}
        for store in (site.options[:2], ()):
            shown = run_command(capsys, "jobs", "jobs.db", "--pipelines", *store, "--output", "json")
            assert (shown.code, shown.err) == (0, "")
            for job in json.loads(shown.out)["jobs"]:
                found[job["jobId"] + " without a store" * (not store)] = (job.get("pipeline"), job.get("problem", ""))
    required = ("", "--client-tokens: is required to read third-party jobs")
    unknown = found.pop("job-2")
    assert (unknown[0], unknown[1].startswith("GetThirdPartyJobDetails: JobNotFoundException")) == ("", True), unknown
    assert found == {
        job_id: ("local-pipeline / Local / ExampleScan", ""),
        "job-1": ("", "--client-tokens: no client token; client id other"),
        "done": (None, ""),
        **{f"{name} without a store": required for name in (job_id, "job-1", "job-2")},
        "done without a store": (None, ""),
    }


def test_the_failure_of_a_job_is_in_the_journal(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """With its type and its message, and controls of a terminal escaped."""
    scope = JobScope(region_name="us-east-1", endpoint_url="https://x", action_type_id=_TYPE)
    with closing(SqliteJournal(tmp_path / "jobs.db")) as journal:
        journal.claim(ThirdPartyJob(client_id="c", job_id="job-1"), scope)
        journal.running("job-1")
        journal.result("job-1", FailureDetails(type="JobFailed", message="no\x1b[2J"))
        shown = run_command(capsys, "jobs", str(tmp_path / "jobs.db"), "--output", "json").out
        (job,) = json.loads(shown)["jobs"]
        assert (job["result"], job["failureType"], job["message"]) == ("Failed", "JobFailed", "no\x1b[2J")
        for output in ("table", "text"):
            assert "\x1b" not in run_command(capsys, "jobs", str(tmp_path / "jobs.db"), "--output", output).out
