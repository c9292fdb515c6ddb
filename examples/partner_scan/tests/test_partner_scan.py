"""The integration against a local CodePipeline: no AWS, no network, no mock of ours."""

import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from cp_thirdparty import ArtifactStore, JobDetails, SecretStr, ThirdPartyJobClient
from cp_thirdparty.artifacts import ArchiveLimits, create_archive, extract_archive
from cp_thirdparty.exceptions import ArtifactError
from cp_thirdparty.testing import Action, LocalCodePipeline, samples
from cp_thirdparty.worker import MemoryJournal, Reported
from partner_scan.__main__ import make_worker

ACTION_TYPE = samples.action_type_id(provider="ExampleScan")
Run = Callable[..., Action]


class Folder(ArtifactStore):
    """Plays the customer's bucket: each artifact is a zip in a folder."""

    def __init__(self, folder: Path, details: JobDetails) -> None:
        super().__init__(None, details)
        self._folder = folder

    def extract(
        self,
        name: str,
        *,
        to: str | os.PathLike[str],
        limits: ArchiveLimits | None = None,
        progress: Callable[[int], object] | None = None,
    ) -> Path:
        """Extract the zip of that name."""
        return extract_archive(self._folder / f"{name}.zip", to=to, limits=limits)

    def archive(
        self,
        name: str,
        directory: str | os.PathLike[str],
        *,
        limits: ArchiveLimits | None = None,
        progress: Callable[[int], object] | None = None,
        on_skip: Callable[[ArtifactError], object] | None = None,
    ) -> None:
        """Make the zip of that name."""
        create_archive(
            directory,
            to=self._folder / f"{name}.zip",
            limits=limits,
            on_skip=on_skip,
        )


@pytest.fixture
def run(
    local_codepipeline: LocalCodePipeline,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Run:
    """Let a pipeline reach the action with a source, and let the worker do it."""
    monkeypatch.setenv("CP_CLIENT_TOKEN_CLIENT_1", "the token of client-1")
    local_codepipeline.register_client("client-1", "the token of client-1")

    def open_artifacts(
        _: ThirdPartyJobClient, details: JobDetails, *, client_token: SecretStr
    ) -> ArtifactStore:
        assert client_token.get_secret_value() == "the token of client-1"
        return Folder(tmp_path, details)

    def run(source: dict[str, str], **configuration: str) -> Action:
        with zipfile.ZipFile(tmp_path / "Source.zip", "w") as archive:
            for name, text in source.items():
                archive.writestr(name, text)
        action = local_codepipeline.start_action(
            ACTION_TYPE,
            client_id="client-1",
            configuration={"ProjectName": "demo", "ApiKey": "secret", **configuration},
            input_artifacts=[samples.artifact("Source")],
            output_artifacts=[samples.artifact("Report")],
        )
        journal = MemoryJournal()
        worker = make_worker(
            local_codepipeline.client, "ExampleScan", journal, artifacts=open_artifacts
        )
        (outcome,) = worker.run_once()
        assert isinstance(outcome, Reported)
        return action

    return run


def test_a_clean_source_succeeds(run: Run, tmp_path: Path) -> None:
    """Nothing found: the action succeeds and the report is empty."""
    assert run({"app.py": "print('hello')\n"}).status == "Succeeded"
    with zipfile.ZipFile(tmp_path / "Report.zip") as report:
        assert json.loads(report.read("findings.json")) == []


def test_a_key_fails_the_action(run: Run, tmp_path: Path) -> None:
    """The customer reads where it is, the report too, and the key is in neither."""
    action = run({"app.py": "x = 1\nkey = 'AKIAIOSFODNN7EXAMPLE'\n"})
    assert action.status == "Failed"
    assert "an AWS access key in app.py, line 2" in str(action.result)
    with zipfile.ZipFile(tmp_path / "Report.zip") as report:
        text = report.read("findings.json").decode()
    assert [each["line"] for each in json.loads(text)] == [2]
    assert "AKIAIOSFODNN7EXAMPLE" not in text + str(action.result)


@pytest.mark.parametrize(
    ("fail_on", "status"), [("high", "Succeeded"), ("low", "Failed")]
)
def test_the_customer_says_what_counts(run: Run, fail_on: str, status: str) -> None:
    """A weak finding fails the action only when the customer wants that."""
    assert run({"app.py": 'password = "hunter2"\n'}, FailOn=fail_on).status == status


def test_a_wrong_configuration_is_told_by_key(run: Run) -> None:
    """The customer reads which key to correct, and no value."""
    action = run({"app.py": ""}, MaxFindings="several")
    assert action.status == "Failed"
    assert "MaxFindings" in str(action.result)
    assert "several" not in str(action.result)


def test_an_archive_that_reaches_outside_is_no_source(run: Run, tmp_path: Path) -> None:
    """A hostile source fails its own action and writes nothing."""
    assert run({"../outside.py": "x"}).status == "Failed"
    assert not list(tmp_path.parent.glob("outside.py"))
