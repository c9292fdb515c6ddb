"""The handler alone and behind each entry point, with a local CodePipeline, offline."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from cp_thirdparty import JobFailedError
from cp_thirdparty.exceptions import ConfigurationError, UnsafeArchiveError
from cp_thirdparty.testing import (
    Action,
    FolderArtifacts,
    LocalCodePipeline,
    LocalLambda,
    samples,
)
from cp_thirdparty.worker import ArtifactsFactory, MemoryJournal
from partner_scan.__main__ import main, make_custom_worker, make_worker
from partner_scan.configuration import ScanConfiguration
from partner_scan.handler import handle
from partner_scan.lambda_function import make_function

Job = samples.SampleJob[ScanConfiguration]
Run = Callable[..., Action]


def make_job(source: dict[str, str], **configuration: str) -> Job:
    """Create the job of a customer with a source."""
    return samples.job(
        configuration={"ProjectName": "demo", "ApiKey": "secret", **configuration},
        configuration_class=ScanConfiguration,
        inputs={"Source": source},
        outputs=["Report"],
    )


def findings(artifacts: FolderArtifacts) -> list[dict[str, object]]:
    """Read the report that the handler has stored."""
    found: list[dict[str, object]] = json.loads(
        artifacts.files("Report")["findings.json"]
    )
    return found


def test_a_clean_source_succeeds() -> None:
    """Nothing found: the job succeeds and the report is empty."""
    job = make_job({"app.py": "print('hello')\n"})
    details = handle(job).execution_details
    assert details is not None
    assert details.summary == "0 findings"
    assert findings(job.artifacts) == []


def test_a_key_fails_the_job() -> None:
    """The customer reads where it is, the report too, and the key is in neither."""
    job = make_job({"app.py": "x = 1\nkey = 'AKIAIOSFODNN7EXAMPLE'\n"})
    with pytest.raises(
        JobFailedError, match=r"an AWS access key in app\.py, line 2"
    ) as caught:
        handle(job)
    assert [each["line"] for each in findings(job.artifacts)] == [2]
    assert "AKIAIOSFODNN7EXAMPLE" not in f"{findings(job.artifacts)} {caught.value}"


@pytest.mark.parametrize(("fail_on", "fails"), [("high", False), ("low", True)])
def test_the_customer_decides_what_counts(fail_on: str, *, fails: bool) -> None:
    """A weak finding fails the job only if the customer wants that."""
    job = make_job({"app.py": 'password = "hunter2"\n'}, FailOn=fail_on)
    if fails:
        with pytest.raises(JobFailedError, match="1 findings, 0 allowed"):
            handle(job)
    else:
        handle(job)


def test_a_wrong_configuration_is_named_by_key() -> None:
    """The customer reads which key to correct, and no value."""
    with pytest.raises(ConfigurationError, match="MaxFindings") as caught:
        make_job({"app.py": ""}, MaxFindings="several")
    assert "several" not in str(caught.value)


def test_an_archive_that_reaches_outside_is_refused() -> None:
    """A hostile source writes nothing."""
    job = make_job({"../outside.py": "x"})
    with pytest.raises(UnsafeArchiveError):
        handle(job)
    assert list(job.workspace.parent.rglob("outside.py")) == []


ARTIFACTS: dict[str, Any] = {
    "input_artifacts": [samples.artifact("Source")],
    "output_artifacts": [samples.artifact("Report")],
}


def third_party_job(
    service: LocalCodePipeline, store: ArtifactsFactory, configuration: dict[str, str]
) -> Action:
    """Let the worker do the third-party action of a customer."""
    service.register_client("client-1", "the token of client-1")
    action = service.start_action(
        samples.action_type_id(provider="ExampleScan"),
        client_id="client-1",
        configuration=configuration,
        **ARTIFACTS,
    )
    worker = make_worker(
        service.client, "ExampleScan", MemoryJournal(), artifacts=store
    )
    worker.run_once()
    return action


def custom_job(
    service: LocalCodePipeline, store: ArtifactsFactory, configuration: dict[str, str]
) -> Action:
    """Let the worker do a custom action."""
    action = service.start_action(
        samples.action_type_id(owner="Custom", provider="ExampleScan"),
        configuration=configuration,
        **ARTIFACTS,
    )
    worker = make_custom_worker(
        service.custom_client, "ExampleScan", MemoryJournal(), artifacts=store
    )
    worker.run_once()
    return action


def invoke_action(
    service: LocalCodePipeline, store: ArtifactsFactory, configuration: dict[str, str]
) -> Action:
    """Let the Lambda function do an invoke action."""
    function = LocalLambda(
        service, make_function(service.custom_client, artifacts=store)
    )
    action = function.start_action(
        user_parameters=json.dumps(configuration), **ARTIFACTS
    )
    function.invoke()
    return action


@pytest.fixture(params=[third_party_job, custom_job, invoke_action])
def run(
    request: pytest.FixtureRequest,
    local_codepipeline: LocalCodePipeline,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Run:
    """Let a pipeline reach the action with a source, behind each entry point."""
    monkeypatch.setenv("CP_CLIENT_TOKEN_CLIENT_1", "the token of client-1")

    def run(source: dict[str, str], **configuration: str) -> Action:
        FolderArtifacts(tmp_path).put("Source", source)
        store = partial(FolderArtifacts.for_job, folder=tmp_path)
        values = {"ProjectName": "demo", "ApiKey": "secret", **configuration}
        action: Action = request.param(local_codepipeline, store, values)
        return action

    return run


def test_an_action_succeeds(run: Run, tmp_path: Path) -> None:
    """Its report is stored."""
    action = run({"app.py": "print('hello')\n"})
    assert action.status == "Succeeded", action.result
    assert findings(FolderArtifacts(tmp_path)) == []


@pytest.mark.parametrize(
    ("source", "configuration", "message"),
    [
        ({"app.py": "key = 'AKIAIOSFODNN7EXAMPLE'\n"}, {}, "in app.py, line 1"),
        ({"app.py": ""}, {"MaxFindings": "several"}, "MaxFindings"),
        ({"../outside.py": "x"}, {}, "'..' in the name"),
    ],
)
def test_an_action_fails(
    run: Run, source: dict[str, str], configuration: dict[str, str], message: str
) -> None:
    """The customer reads the reason in the console."""
    action = run(source, **configuration)
    assert action.status == "Failed"
    assert message in str(action.result)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({}, "PARTNER_SCAN_PROVIDER is not set"),
        ({"PARTNER_SCAN_PROVIDER": "ExampleScan"}, "PARTNER_SCAN_JOURNAL is not set"),
        (
            {"PARTNER_SCAN_OWNER": "custom"},
            "PARTNER_SCAN_OWNER must be ThirdParty or Custom",
        ),
    ],
)
def test_a_wrong_setting_is_named(
    settings: dict[str, str], problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A setting that is missing or wrong ends the program with its name."""
    for name in ("OWNER", "PROVIDER", "JOURNAL"):
        monkeypatch.delenv(f"PARTNER_SCAN_{name}", raising=False)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit, match=problem):
        main()
