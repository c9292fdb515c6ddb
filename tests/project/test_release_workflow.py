"""The workflow of a release publishes the bytes that were built, and nothing that runs later can change them."""

from __future__ import annotations

import base64
import hashlib
import importlib
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

_ROOT = Path(__file__).parents[2]
_WORKFLOW: Any = yaml.safe_load((_ROOT / ".github/workflows/release.yml").read_text(encoding="utf-8"))
_JOBS: dict[str, Any] = _WORKFLOW["jobs"]
_WRITERS = [name for name, job in _JOBS.items() if "write" in job["permissions"].values()]
_VERIFY = 'diff <(base64 --decode <<< "$SHA256") <(sha256sum -- *)'


def _steps(job: str) -> list[str]:
    """Return what each step of a job uses or runs."""
    return [step.get("run") or step["uses"].partition("@")[0] for step in _JOBS[job]["steps"]]


def test_permissions_are_the_least() -> None:
    """Only the job that publishes has an identity, and only the one that keeps the files may write."""
    assert _WORKFLOW["permissions"] == {}
    assert {name: job["permissions"] for name, job in _JOBS.items()} == {
        "build": {"contents": "read"},
        "check": {"contents": "read"},
        "sbom": {"contents": "read"},
        "publish": {"id-token": "write"},
        "keep": {"contents": "write"},
    }


@pytest.mark.parametrize("job", _WRITERS)
def test_what_may_write_runs_no_code_of_ours(job: str) -> None:
    """No checkout, no Python and no package: files are downloaded, compared with their hashes, and passed on."""
    assert {step for step in _steps(job) if not step.startswith("gh release create")} <= {
        "actions/download-artifact",
        "pypa/gh-action-pypi-publish",
        _VERIFY,
    }
    assert set(_JOBS[job]["needs"]) >= {"build", "check", "sbom"}


def test_nothing_runs_between_the_build_and_the_record_of_hashes() -> None:
    """The job that builds installs pinned tools only, and runs no test and no audit."""
    assert [step if "\n" not in step else step.split("\n")[0] for step in _steps("build")][3:] == [
        "python -m pip install --require-hashes --only-binary=:all: -r .ci/build-tools.txt",
        "python .ci/release build",
        'echo "sha256=$(sha256sum -- * | base64 --wrap=0)" >> "$GITHUB_OUTPUT"',
        "actions/upload-artifact",
    ]
    tools = "python -m pip install --require-hashes --only-binary=:all: -r .ci/release-tools.txt"
    for job in ("check", "sbom"):
        assert [step for step in _steps(job) if "pip" in step] == [tools]


def test_the_bill_of_materials_is_written_where_no_test_runs() -> None:
    """Tests may write everything in their job, so that job gives nothing to another one."""
    assert _steps("sbom")[4:] == [
        _VERIFY,
        "python .ci/release sbom",
        'echo "sha256=$(sha256sum -- * | base64 --wrap=0)" >> "$GITHUB_OUTPUT"',
        "actions/upload-artifact",
    ]
    assert _steps("check")[-1] == "python .ci/release check"
    assert "outputs" not in _JOBS["check"]


@pytest.mark.parametrize("job", _WRITERS)
def test_each_artifact_is_compared_with_the_hash_of_the_job_that_made_it(job: str) -> None:
    """The hashes come by the outputs of the jobs, which no later job can write."""
    steps = _JOBS[job]["steps"]
    downloads = [step["with"]["name"] for step in steps if step.get("uses", "").startswith("actions/download-artifact")]
    compared = {step["working-directory"]: step["env"]["SHA256"] for step in steps if step.get("run") == _VERIFY}
    made_by = {"dist": "build", "sbom": "sbom"}
    assert compared == {name: f"${{{{ needs.{made_by[name]}.outputs.sha256 }}}}" for name in downloads}
    last_comparison = max(at for at, step in enumerate(steps) if step.get("run") == _VERIFY)
    first_use = next(at for at, step in enumerate(steps) if re.search("pypi-publish|gh release", str(step)))
    assert last_comparison < first_use


@pytest.mark.skipif(sys.platform == "win32", reason="the workflow runs on Linux")
@pytest.mark.parametrize(
    ("change", "is_accepted"),
    [
        (lambda _: None, True),
        (lambda dist: (dist / "a.whl").write_bytes(b"other"), False),
        (lambda dist: (dist / "b.whl").write_bytes(b"one more"), False),
        (lambda dist: (dist / "a.whl").unlink(), False),
        (lambda dist: (dist / "a.whl").rename(dist / "b.whl"), False),
    ],
)
def test_a_changed_file_is_not_published(change: Any, is_accepted: bool, tmp_path: Path) -> None:  # noqa: FBT001 - a table
    """The step of the workflow fails for other bytes, and for a file too many or too few."""
    names = ("a.whl", "c.tar.gz")
    for name in names:
        (tmp_path / name).write_bytes(name.encode())
    record = "".join(f"{hashlib.sha256(name.encode()).hexdigest()}  {name}\n" for name in names)
    environment = {**os.environ, "SHA256": base64.b64encode(record.encode()).decode()}
    change(tmp_path)
    command = ["bash", "-e", "-c", _VERIFY]
    done = subprocess.run(command, cwd=tmp_path, env=environment, check=False, capture_output=True)
    assert (done.returncode == 0) is is_accepted


@pytest.mark.parametrize("path", sorted((_ROOT / ".github/workflows").glob("*.yml")), ids=lambda path: path.name)
def test_actions_are_pinned(path: Path) -> None:
    """Each action has the hash of a commit, and its version for the reader."""
    uses = re.findall(r"uses: (.+)", path.read_text(encoding="utf-8"))
    assert uses
    assert [each for each in uses if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v[0-9.]+", each)] == []


def _project() -> dict[str, Any]:
    tomllib: Any = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    project: dict[str, Any] = tomllib.loads((_ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return project


def _pins(name: str) -> dict[str, list[str]]:
    """Return the hashes of each pinned distribution of a file."""
    text = (_ROOT / ".ci" / name).read_text(encoding="utf-8").replace("\\\n", "")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    found: dict[str, list[str]] = {}
    for line in lines:
        match = re.match(r"([\w.-]+)==[\w.]+ ", line)
        assert match is not None, line
        found.setdefault(match[1], []).extend(re.findall(r"--hash=sha256:[0-9a-f]{64}", line))
    return found


@pytest.mark.parametrize(("name", "group"), [("build-tools.txt", "build"), ("release-tools.txt", "release")])
def test_tools_are_pinned_with_hashes(name: str, group: str) -> None:
    """Each tool of the group has a version and hashes, and so has everything that it installs."""
    groups = _project()["dependency-groups"]
    pins = _pins(name)
    assert [each for each, hashes in pins.items() if not hashes] == []
    wanted = {re.split("[<>=]", each)[0] for each in groups[group] + groups["build"] if isinstance(each, str)}
    assert wanted <= set(pins)


def test_a_build_uses_the_pinned_tools() -> None:
    """An isolated build would install the newest versions, without hashes."""
    assert '"--no-isolation"' in (_ROOT / ".ci/release").read_text(encoding="utf-8")
    project = _project()
    assert set(project["build-system"]["requires"]) <= set(project["dependency-groups"]["build"])


def test_dependabot_updates_actions_and_python() -> None:
    """The ranges of the project, and the pinned tools of a release."""
    updates = yaml.safe_load((_ROOT / ".github/dependabot.yml").read_text(encoding="utf-8"))["updates"]
    folders = {each["package-ecosystem"]: each.get("directories", [each.get("directory")]) for each in updates}
    assert folders == {"github-actions": ["/"], "pip": ["/", "/.ci"]}
