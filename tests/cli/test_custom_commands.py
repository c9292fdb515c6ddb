"""The commands of custom jobs: the complete life of a job, masks, and parameters that are mappings."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from support.command_line import run_command

from cp_thirdparty.testing import LocalCodePipeline, samples

_TYPE = "category=Test,owner=Custom,provider=ExampleScan,version=1"
_MARKER = "xMARKERx"


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalCodePipeline]:
    """Give a service to which the environment leads."""
    with LocalCodePipeline(redelivery_delay=0) as made:
        for name, value in made.environment().items():
            monkeypatch.setenv(name, value)
        monkeypatch.delenv("AWS_PROFILE", raising=False)
        yield made


def test_a_job_is_worked_on_by_commands(service: LocalCodePipeline, capsys: pytest.CaptureFixture[str]) -> None:
    """Poll, details, acknowledgement and success have the operations' parameters, and mask what is secret."""
    action = service.start_action(
        samples.action_type_id(owner="Custom"), configuration={"Name": "mine", "ApiKey": _MARKER}
    )
    polled = run_command(capsys, "poll-for-jobs", "--action-type-id", _TYPE, "--query-param", "Name=mine")
    (job,) = json.loads(polled.out)["jobs"]
    read = run_command(capsys, "get-job-details", "--job-id", job["id"])
    assert _MARKER not in polled.out + read.out
    assert json.loads(read.out)["jobDetails"]["accountId"] == job["accountId"]
    revealed = run_command(capsys, "get-job-details", "--job-id", job["id"], "--reveal-secrets")
    assert _MARKER in revealed.out
    claimed = run_command(capsys, "acknowledge-job", "--job-id", job["id"], "--nonce", job["nonce"])
    assert json.loads(claimed.out) == {"status": "InProgress"}
    variables = json.dumps({"Findings": "3"})
    done = run_command(capsys, "put-job-success-result", "--job-id", job["id"], "--output-variables", variables)
    assert (done.code, action.status) == (0, "Succeeded")
    assert getattr(action.result, "output_variables", None) == {"Findings": "3"}


def test_a_document_gives_mappings(service: LocalCodePipeline, capsys: pytest.CaptureFixture[str]) -> None:
    """An input document may have what the options have; a failure ends the action."""
    action = service.start_action(samples.action_type_id(owner="Custom"), configuration={"Name": "mine"})
    wanted = {
        "actionTypeId": {"category": "Test", "owner": "Custom", "provider": "ExampleScan", "version": "1"},
        "queryParam": {"Name": "other"},
    }
    assert run_command(capsys, "poll-for-jobs", "--cli-input-json", json.dumps(wanted), "--query", "jobs").out == "[]\n"
    job = action.jobs[0]
    run_command(capsys, "acknowledge-job", "--job-id", job.id, "--nonce", job.nonce)
    failed = run_command(
        capsys, "put-job-failure-result", "--job-id", job.id, "--failure-details", "type=JobFailed,message=no"
    )
    assert (failed.code, action.status) == (0, "Failed")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("--query-param", "a=b,c=d"), "error: --query-param: must have at most one entry"),
        (("--query-param", "a"), "error: --query-param: must be JSON or NAME=VALUE"),
        (("--query-param", '{"a": 1}'), "error: --query-param: its value must be a str"),
        (("--cli-input-json", '{"queryParam": []}'), "error: --cli-input-json: queryParam: must be a mapping"),
    ],
)
def test_a_wrong_mapping_is_refused_by_name(
    service: LocalCodePipeline, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], error: str
) -> None:
    """The error names the option or the place in the document, and nothing is sent."""
    refused = run_command(capsys, "poll-for-jobs", "--action-type-id", _TYPE, *arguments)
    assert refused.err.startswith(f"cp-thirdparty: {error}")
    assert refused.code != 0
    assert service.requests == ()
