"""The README and the examples say what is true: their code runs against the local service."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from contextlib import redirect_stdout
from importlib.util import find_spec
from pathlib import Path
from types import CodeType
from typing import Any

import attrs
import pytest
from support import readme_pictures as picture

from cp_thirdparty import (
    ActionTypeId,
    ArtifactCredentials,
    ThirdPartyJobClient,
    exceptions,
    structure_configuration,
)
from cp_thirdparty.testing import LocalCodePipeline

_ROOT = Path(__file__).parents[2]
_README = (_ROOT / "README.md").read_text(encoding="utf-8")
_BLOCKS = re.findall(r"```python\n(.*?)```", _README, flags=re.DOTALL)
_HAS_ASYNCIO = find_spec("aiobotocore") is not None
_EXAMPLES = [path for path in sorted((_ROOT / "examples").glob("*.py")) if _HAS_ASYNCIO or "async" not in path.name]


@pytest.mark.slow
@pytest.mark.parametrize("path", _EXAMPLES, ids=lambda path: path.name)
def test_an_example_runs(path: Path) -> None:
    """Each example runs offline, prints something, and shows no secret but its mask."""
    result = subprocess.run([sys.executable, path], capture_output=True, text=True, check=True, timeout=120)
    assert result.stdout
    assert ("**********" in result.stdout) == (path.name == "01_job_details.py")
    assert "not for your eyes" not in result.stdout + result.stderr


def test_the_ten_lines_print_what_the_readme_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """The README's first block runs as it is against the local service and prints the README's output."""
    with LocalCodePipeline() as service:
        for name, value in service.environment().items():
            monkeypatch.setenv(name, value)
        service.register_client("client-1", "the token that belongs to client-1")
        action = service.start_action(
            ActionTypeId(category="Test", owner="ThirdParty", provider="ExampleScan", version="1"),
            client_id="client-1",
            configuration={"ProjectName": "demo", "ApiKey": "secret"},
        )
        printed = io.StringIO()
        with redirect_stdout(printed):
            exec(_compiled(_BLOCKS[0]), {})
    assert printed.getvalue() in _README
    assert action.status == "Succeeded"


def test_the_other_blocks_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The README's other blocks run after one another, and the configuration error is the one that it quotes."""
    monkeypatch.chdir(tmp_path)
    mine = ActionTypeId(category="Test", owner="ThirdParty", provider="ExampleScan", version="1")
    with LocalCodePipeline() as service, service.client() as client:
        details = _details(service, client, {"ProjectName": "demo", "ApiKey": "k", "TimeoutMinutes": "45"})
        names: dict[str, Any] = {"details": details, "mine": mine, "ThirdPartyJobClient": ThirdPartyJobClient}
        names["__name__"] = "__main__"
        for block in _BLOCKS[1:]:
            exec(_compiled(block), names)
    names["journal"].close()
    assert names["worker"].health().state == "stopped"
    assert (names["config"].timeout_minutes, names["config"].fail_on) == (45, "high")
    wrong = attrs.evolve(details.data.action_configuration, configuration={"ApiKey": "k", "TimeoutMinutes": "4_5"})
    with pytest.raises(exceptions.ConfigurationError) as caught:
        structure_configuration(wrong, names["ScanConfiguration"])
    assert f"ConfigurationError: {caught.value}" in _README


def _compiled(block: str) -> CodeType:
    return compile(block, "README.md", "exec", dont_inherit=True)


def _details(service: LocalCodePipeline, client: ThirdPartyJobClient, configuration: dict[str, str]) -> Any:
    action_type_id = ActionTypeId(category="Test", owner="ThirdParty", provider="ExampleScan", version="1")
    service.register_client("client-1", "token")
    service.start_action(
        action_type_id,
        client_id="client-1",
        configuration=configuration,
        artifact_credentials=ArtifactCredentials(secret_access_key="s"),
    )
    (job,) = client.poll_for_third_party_jobs(action_type_id)
    return client.get_third_party_job_details(job.job_id, client_token="token")


def test_the_errors_of_the_readme_exist() -> None:
    """Each error that the README names is one of ours, and each that a caller may meet is named."""
    named = set(re.findall(r"`(\w+(?:Exception|Error))`", _README)) - {"ClientError", "JSONDecodeError", "TypeError"}
    assert named <= set(exceptions.__all__)


def test_the_links_of_the_readme_lead_somewhere() -> None:
    """Each local link of the README is a file."""
    found = re.findall(r"\]\(([^)]+)\)|src(?:set)?=\"([^\"]+)\"", _README)
    links = [link for each in found for link in each if link and not link.startswith("http")]
    assert links
    assert [link for link in links if not (_ROOT / link).exists()] == []


@pytest.mark.slow
def test_the_pictures_show_what_the_library_shows(tmp_path: Path) -> None:
    """The README's pictures show what the notebook shows now; otherwise `nox -s picture` must create them again."""
    kept = (picture.PICTURES / "notebook.sha256").read_text(encoding="ascii").strip()
    assert picture.fingerprint(picture.executed(tmp_path)) == kept
    assert all(f"docs/pictures/notebook-{theme}.png" in _README for theme in picture.THEMES)
