"""The tutorial "Try it in your own AWS account": what can run without an account runs, and its parts fit together."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import attrs
import botocore.session
import botocore.validate
import pytest
import yaml
from support.command_line import run_command
from support.worker_service import ACTION_TYPE, until

from cp_thirdparty import FailureDetails, JobWorker
from cp_thirdparty.testing import LocalCodePipeline, samples

_ROOT: Final = Path(__file__).parents[2]
_PAGE: Final = (_ROOT / "docs" / "tutorials" / "try-in-your-account.md").read_text(encoding="utf-8")
(_PROGRAM,) = re.findall(r"^```python\n(.*?)^```$", _PAGE, re.DOTALL | re.MULTILINE)
_COMMANDS: Final = re.findall(r"^\$ (.*)$", _PAGE.replace("\\\n", " "), re.MULTILINE)


def _find_command(start: str) -> list[str]:
    """Return the words of the one command of the page that starts so, without where its output goes."""
    (found,) = [line for line in _COMMANDS if line.startswith(start)]
    return shlex.split(found.partition(" > ")[0])


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Save the program as on the page."""
    (tmp_path / "scan.py").write_text(_PROGRAM, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "scan", raising=False)


def test_the_program_of_the_tutorial_works(monkeypatch: pytest.MonkeyPatch) -> None:
    """The program of "Try it in your own AWS account" creates its worker, and its handler counts findings."""
    ran = []
    monkeypatch.setattr(JobWorker, "run", lambda worker, **settings: ran.append((worker, settings)))
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(_PROGRAM, "scan.py", "exec", dont_inherit=True), names)
    names["worker"].close()
    names["worker"]._journal.close()
    assert [settings for _, settings in ran] == [{"handle_signals": True}]
    (content,) = re.findall(r"^\$ echo '(.*)' > main.py$", _PAGE, re.MULTILINE)
    job = samples.job(
        configuration={"ProjectName": "demo", "ApiKey": "key"},
        configuration_class=names["ScanConfiguration"],
        inputs={"MyApp": {"main.py": content}},
    )
    result = names["handle"](job)
    assert result.output_variables == {"Findings": "1"}
    assert f'"{result.execution_details.summary}" in the details of the action' in _PAGE


def test_the_action_type_fits_the_request_and_the_pipeline(capsys: pytest.CaptureFixture[str]) -> None:
    """Botocore accepts what the command prints, and the pipeline has its name, its keys and its artifact."""
    _, *arguments = _find_command("cp-thirdparty action-type")
    printed = run_command(capsys, *arguments)
    assert (printed.code, printed.err) == (0, "")
    document = json.loads(printed.out)
    model = botocore.session.get_session().get_service_model("codepipeline")
    shape: Any = model.operation_model("CreateCustomActionType").input_shape
    assert not botocore.validate.ParamValidator().validate(document, shape).has_errors()
    path = _ROOT / "examples" / "custom_action" / "pipeline.yaml"
    template = yaml.safe_load(
        re.sub(r"!\w+", "", path.read_text(encoding="utf-8"))
    )  # without CloudFormation's functions
    defaults = {name: parameter.get("Default") for name, parameter in template["Parameters"].items()}
    assert (defaults["Provider"], defaults["ActionTypeVersion"]) == (document["provider"], document["version"])
    (action,) = template["Resources"]["Pipeline"]["Properties"]["Stages"][1]["Actions"]
    assert set(action["Configuration"]) == {entry["name"] for entry in document["configurationProperties"]}
    assert [artifact["Name"] for artifact in action["InputArtifacts"]] == re.findall(r'extract\("(\w+)"', _PROGRAM)
    deploy = _find_command("aws cloudformation deploy")
    required = {name for name, default in defaults.items() if default is None}
    assert required == {words.partition("=")[0] for words in deploy[deploy.index("--parameter-overrides") + 1 :]}


@pytest.mark.slow
def test_the_worker_of_the_tutorial_runs_until_ctrl_c() -> None:
    """It reports a job of its action type; this one has no source, because the artifacts would be in S3."""
    custom_type = attrs.evolve(ACTION_TYPE, category="Test", owner="Custom", provider="ExampleScan", version="1")
    with LocalCodePipeline() as service:
        action = service.start_action(custom_type, configuration={"ProjectName": "demo", "ApiKey": "key"})
        environment = {**os.environ, **service.environment(), "PYTHONPATH": os.pathsep.join(sys.path)}
        _, *arguments = _find_command("python scan.py")
        with subprocess.Popen([sys.executable, *arguments], env=environment) as worker:
            until(lambda: action.status == "Failed")
            worker.send_signal(signal.SIGINT)
            assert worker.wait(60) == 0
    assert isinstance(action.result, FailureDetails)
    assert "MyApp" in action.result.message
