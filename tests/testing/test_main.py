"""`python -m cp_thirdparty.testing`: one line of JSON, clients in any process, a clean end, and scenarios."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore.config import Config

from cp_thirdparty import ActionTypeId, Artifact, ArtifactCredentials, EncryptionKey, EncryptionKeyType, FailureDetails
from cp_thirdparty.testing import LocalCodePipeline
from cp_thirdparty.testing import __main__ as program
from cp_thirdparty.testing._scenario import _SETTINGS, Scenario, ScenarioError, load

_CLIENT_ID = "00000000-0000-4000-8000-000000000001"
_TYPE_ID = {"category": "Build", "owner": "ThirdParty", "provider": "ExampleBuild", "version": "2"}
_ACTION: dict[str, Any] = {"clientId": _CLIENT_ID, "actionTypeId": _TYPE_ID}
_CLIENTS = [{"clientId": _CLIENT_ID, "clientToken": "xMARKERx-token"}]


@pytest.fixture(autouse=True)
def no_serving_in_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail a test whose bad file is accepted, instead of serving it forever in this process."""

    def refuse(*_: object) -> None:
        raise AssertionError("it was served")

    monkeypatch.setattr(program, "_serve", refuse)


@contextmanager
def _run_program(*arguments: str) -> Generator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """Run the program, and give what it prints about itself."""
    command = [sys.executable, "-m", "cp_thirdparty.testing", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            yield child, json.loads(child.stdout.readline())
        finally:
            child.kill()


def _client(line: dict[str, Any]) -> Any:
    return botocore.session.Session().create_client(
        "codepipeline",
        endpoint_url=line["endpointUrl"],
        region_name=line["region"],
        aws_access_key_id=line["accessKeyId"],
        aws_secret_access_key=line["secretAccessKey"],
        aws_session_token=line["sessionToken"],
        config=Config(proxies={}),
    )


def _acting(**members: object) -> dict[str, Any]:
    return {"clients": _CLIENTS, "actions": [{**_ACTION, **members}]}


def _file(tmp_path: Path, content: object) -> Path:
    path = tmp_path / "scenario.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_job_waits_for_a_client_and_a_signal_ends_the_program(number: signal.Signals) -> None:
    """One line has enough for a complete job; a signal ends the program, which reports the action."""
    with _run_program() as (child, line):
        raw = _client(line)
        (job,) = raw.poll_for_third_party_jobs(actionTypeId=line["actionTypeId"])["jobs"]
        assert job["clientId"] == line["clientId"]
        who = {"jobId": job["jobId"], "clientToken": line["clientToken"]}
        details = raw.get_third_party_job_details(**who)["jobDetails"]
        assert raw.acknowledge_third_party_job(nonce=details["nonce"], **who)["status"] == "InProgress"
        raw.put_third_party_job_success_result(**who)
        raw.close()
        os.kill(child.pid, number)
        out, err = child.communicate(timeout=60)
        assert (out, err.splitlines()[-1]) == ("", f"action 1, job {job['jobId']}: Succeeded")
        assert child.returncode == 0


def test_the_port_can_be_chosen() -> None:
    """The program listens on the given port, and a second one on the same port prints an error line and ends."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with _run_program("--port", str(port)) as (_, line):
        assert line["endpointUrl"] == f"http://127.0.0.1:{port}"
        command = [sys.executable, "-m", "cp_thirdparty.testing", "--port", str(port)]
        second = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (second.returncode, second.stdout) == (1, "")
    assert second.stderr == "cp_thirdparty.testing: cannot listen: Address already in use\n"


@pytest.mark.parametrize("port", ["-1", "65536", "http"])
def test_a_wrong_port_is_refused(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong port ends with code 2 and a message that names the option."""
    with pytest.raises(SystemExit) as caught:
        program.main([f"--port={port}"])
    assert caught.value.code == 2
    assert "argument --port: " in capsys.readouterr().err


def test_a_failure_is_reported_with_its_message(capsys: pytest.CaptureFixture[str]) -> None:
    """Its message comes from a worker, so controls of a terminal are escaped."""
    service = LocalCodePipeline()
    introduction = Scenario.create_default().start(service)
    (action,) = introduction.actions
    before = program._report_changes([action], [""])
    client_token = introduction.client_token
    with service.client(in_process=True) as client:
        (job,) = client.poll_for_third_party_jobs(introduction.action_type_id)
        details = client.get_third_party_job_details(job.job_id, client_token=client_token)
        client.acknowledge_third_party_job(job.job_id, nonce=details.nonce or "", client_token=client_token)
        failure = FailureDetails(type="JobFailed", message="no\x1b[2J")
        client.put_third_party_job_failure_result(job.job_id, client_token=client_token, failure_details=failure)
    capsys.readouterr()
    after = program._report_changes([action], before)
    assert program._report_changes([action], after) == after
    assert capsys.readouterr().err == f"action 1, job {job.job_id}: Failed: JobFailed: no\\x1b[2J\n"
    assert details.data.inputs["MyApp"].s3 is not None


def test_a_scenario_is_played(tmp_path: Path) -> None:
    """The clients, actions and settings of a file are there for any client."""
    scenario = {
        "settings": {"redeliveryDelay": 0, "defaultBatchSize": 1},
        "clients": _CLIENTS,
        "actions": [{**_ACTION, "configuration": {"ApiKey": "xMARKERx-key"}}, _ACTION],
    }
    with _run_program("--scenario", str(_file(tmp_path, scenario))) as (_, line):
        assert (line["clientId"], line["clientToken"]) == (_CLIENT_ID, "xMARKERx-token")
        assert line["actionTypeId"] == _TYPE_ID
        raw = _client(line)
        polls = [raw.poll_for_third_party_jobs(actionTypeId=_TYPE_ID)["jobs"] for _ in range(2)]
        assert (len(polls[0]), polls[0]) == (1, polls[1])
        details = raw.get_third_party_job_details(jobId=polls[0][0]["jobId"], clientToken=line["clientToken"])
        configuration = details["jobDetails"]["data"]["actionConfiguration"]["configuration"]
        assert configuration == {"ApiKey": "xMARKERx-key"}
        raw.close()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("xMARKERx", "must be valid JSON"),
        (["xMARKERx"], "must be a JSON object"),
        ("[" * 100_000, "must be valid JSON"),
        ('{"clients": [], "actions": [], "clients": []}', "the member 'clients' is given more than once"),
        ({"clients": "xMARKERx"}, "clients: must be a list"),
        ({"clients": [{"clientToken": "xMARKERx"}]}, "required field missing: clients[0].clientId"),
        ({"clients": [{"clientId": "c", "clientToken": None}]}, "clients[0].clientToken: must be a string"),
        (
            {"clients": [{"clientId": "c", "token": "xMARKERx", "clientToken": "t"}]},
            "clients[0]: unknown member 'token'; must be one of clientId, clientToken",
        ),
        ({"action": []}, "unknown member 'action'; did you mean 'actions'?"),
        ({"setings": {}}, "unknown member 'setings'; did you mean 'settings'?"),
        ({"pipelines": []}, "unknown member 'pipelines'; must be one of settings, clients, actions"),
        (
            {"settings": {"redelivery_delay": 1}},
            "settings: unknown member 'redelivery_delay'; did you mean 'redeliveryDelay'?",
        ),
        (
            {"actions": [_ACTION, {**_ACTION, "inputArtefacts": []}]},
            "actions[1]: unknown member 'inputArtefacts'; did you mean 'inputArtifacts'?",
        ),
        (
            _acting(actionTypeId={**_TYPE_ID, "provder": "P"}),
            "actions[0].actionTypeId: unknown member 'provder'; did you mean 'provider'?",
        ),
        (
            _acting(actionTypeId={**_TYPE_ID, "category": "build"}),
            "actions[0].actionTypeId.category: unknown value; did you mean 'Build'?",
        ),
        (
            _acting(inputArtifacts=[{}, {"Name": "In"}]),
            "actions[0].inputArtifacts[1]: unknown member 'Name'; did you mean 'name'?",
        ),
        (
            _acting(outputArtifacts=[{"location": {"s3location": {}}}]),
            "actions[0].outputArtifacts[0].location: unknown member 's3location'; did you mean 's3Location'?",
        ),
        (
            _acting(artifactCredentials={"sesionToken": "xMARKERx"}),
            "actions[0].artifactCredentials: unknown member 'sesionToken'; did you mean 'sessionToken'?",
        ),
        (
            _acting(encryptionKey={"id": "k", "type": "kms"}),
            "actions[0].encryptionKey.type: unknown value; did you mean 'KMS'?",
        ),
        (
            _acting(pipelineContext={"stage": {"nam": "s"}}),
            "actions[0].pipelineContext.stage: unknown member 'nam'; did you mean 'name'?",
        ),
        (
            {"clients": _CLIENTS, "actions": [{**_ACTION, "clientId": "xMARKERx"}]},
            "actions[0].clientId: must be the clientId of one of the clients",
        ),
        (
            {
                "clients": _CLIENTS,
                "actions": [{**_ACTION, "actionTypeId": {**_ACTION["actionTypeId"], "owner": "Custom"}}],
            },
            "actions[0].clientId: must not be given for a custom action",
        ),
        ({"actions": [_ACTION]}, "actions[0].clientId: must be the clientId of one of the clients"),
        ({"clients": _CLIENTS * 2}, "clients[1].clientId: is given more than once"),
        (
            {"clients": _CLIENTS, "actions": [{**_ACTION, "inputArtifacts": "xMARKERx"}]},
            "actions[0].inputArtifacts: must be a list",
        ),
        ({"settings": ["xMARKERx"]}, "settings: must be an object"),
        ({"settings": {"redeliveryDelay": -1}}, "settings.redeliveryDelay: must be a number of at least 0"),
        ({"settings": {"redeliveryDelay": True}}, "settings.redeliveryDelay: must be a number of at least 0"),
        ({"settings": {"defaultBatchSize": 0}}, "settings.defaultBatchSize: must be an integer of at least 1"),
        ({"settings": {"defaultBatchSize": 1.5}}, "settings.defaultBatchSize: must be an integer of at least 1"),
        ('{"settings": {"jobTimeout": NaN}}', "settings.jobTimeout: must be a number of at least 0"),
        ({"settings": {"stableNonce": 1}}, "settings.stableNonce: must be true or false"),
        (
            {"settings": {"stableNonce": "xMARKERx"}, "actions": [{"clientId": "c"}]},
            "settings.stableNonce: must be true or false; required field missing: actions[0].actionTypeId",
        ),
    ],
)
def test_a_bad_file_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: object, message: str
) -> None:
    """A file that cannot be used ends with code 2 and one line that lists each problem, and no value of the file."""
    path = _file(tmp_path, content)
    assert program.main(["--scenario", str(path)]) == 2
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", f"cp_thirdparty.testing: {path}: {message}\n")


def test_an_unknown_setting_lists_the_known_ones(tmp_path: Path) -> None:
    """An unknown setting is refused with the names of all settings."""
    with pytest.raises(
        ScenarioError, match=r"json: settings: unknown member 'faults'; must be one of redeliveryDelay, .*, ver"
    ):
        load(_file(tmp_path, {"settings": {"faults": 1}}))


def test_a_missing_file_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A missing file is reported with the message of the operating system."""
    assert program.main(["--scenario", str(tmp_path / "nothing.json")]) == 2
    assert capsys.readouterr().err.endswith("nothing.json: cannot be read: No such file or directory\n")


def test_the_error_of_a_bad_file_leads_to_no_value(tmp_path: Path) -> None:
    """No frame and no cause of the error has the content of the file."""
    path = _file(tmp_path, {"clients": _CLIENTS, "actions": ["xMARKERx"]})
    with pytest.raises(ScenarioError) as caught:
        load(path)
    assert caught.value.__cause__ is caught.value.__context__ is None
    frames = [entry.frame.f_locals for entry in caught.traceback if entry.frame.code.path != Path(__file__)]
    assert frames
    assert "xMARKERx" not in repr(frames)


def test_a_file_may_have_everything_of_an_action(tmp_path: Path) -> None:
    """An action of a file has what an action of a test has."""
    more = {
        "inputArtifacts": [{"name": "In"}],
        "outputArtifacts": [{"name": "Out"}],
        "artifactCredentials": {"accessKeyId": "a", "secretAccessKey": "xMARKERx", "sessionToken": "t"},
        "encryptionKey": {"id": "k", "type": "KMS"},
        "pipelineContext": {"pipelineName": "mine"},
    }
    scenario = load(_file(tmp_path, {"clients": _CLIENTS, "actions": [{**_ACTION, **more}]}))
    assert "xMARKERx" not in repr(scenario)
    service = LocalCodePipeline(**scenario.settings)
    introduction = scenario.start(service)
    assert introduction.action_type_id == ActionTypeId(
        category="Build", owner="ThirdParty", provider="ExampleBuild", version="2"
    )
    with service.client(in_process=True) as client:
        (job,) = client.poll_for_third_party_jobs(introduction.action_type_id)
        data = client.get_third_party_job_details(job.job_id, client_token=introduction.client_token).data
    assert (data.input_artifacts, data.output_artifacts) == ((Artifact(name="In"),), (Artifact(name="Out"),))
    expected = ArtifactCredentials(access_key_id="a", secret_access_key="xMARKERx", session_token="t")
    assert data.artifact_credentials == expected
    assert data.encryption_key == EncryptionKey(id="k", type=EncryptionKeyType.KMS)
    assert data.pipeline_context is not None
    assert data.pipeline_context.pipeline_name == "mine"


@pytest.mark.parametrize(
    "content", [{}, {"actions": None, "settings": None}, {"settings": {"verifySignatures": False}}]
)
def test_a_file_without_clients_gets_one(tmp_path: Path, content: object) -> None:
    """A client with a token is made up, new each time, and no action is started."""
    scenario = load(_file(tmp_path, content))
    service = LocalCodePipeline(**scenario.settings)
    introduction = scenario.start(service)
    assert introduction.client_token != Scenario.create_default().start(LocalCodePipeline()).client_token
    with service.client(in_process=True) as client:
        assert client.poll_for_third_party_jobs(introduction.action_type_id) == ()


def test_the_scenario_of_the_page_is_one(tmp_path: Path) -> None:
    """The example of the documentation can be played as it stands, and settings are those of the page's table."""
    page = (Path(__file__).parents[2] / "docs/explanation/local-codepipeline.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```json\n(.*?)```", page, flags=re.DOTALL)
    scenario = load(_file(tmp_path, example))
    assert scenario.settings == {"redelivery_delay": 1, "continuation_delay": 0}
    introduction = scenario.start(LocalCodePipeline(**scenario.settings))
    assert introduction.client_token.get_secret_value() == "a token for tests"
    table = set(re.findall(r"^\| `(\w+)` \| `", page, flags=re.MULTILINE))
    assert table - {"action_types", "wrong_owner_error"} == _SETTINGS.keys() - {"verify_signatures"}


def test_a_scenario_may_have_custom_actions(tmp_path: Path) -> None:
    """A custom action has no client, and polls for custom jobs return its job."""
    custom = {"category": "Test", "owner": "Custom", "provider": "ExampleScan", "version": "1"}
    content = {"settings": {"customJobTimeout": 60}, "actions": [{"actionTypeId": custom}]}
    scenario = load(_file(tmp_path, json.dumps(content)))
    service = LocalCodePipeline(**scenario.settings)
    introduction = scenario.start(service)
    with service.custom_client(in_process=True) as client:
        assert len(client.poll_for_jobs(introduction.action_type_id)) == 1
