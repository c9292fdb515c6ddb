"""What the release script refuses."""

from __future__ import annotations

import json
import sys
import zipfile
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

_SCRIPT = Path(__file__).parents[2] / ".ci" / "release"
_GOOD = {"name": "attrs", "version": "26.1.0", "vulns": []}
_WEAK = {"name": "urllib3", "version": "1.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["1.1"]}]}
_UNKNOWN = {"name": "attrs", "skip_reason": "Dependency not found on PyPI and could not be audited"}
_OURS = {"name": "cp-thirdparty", "skip_reason": "Dependency not found on PyPI and could not be audited"}

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="the release is made on Linux"),
]


@pytest.fixture(name="release")
def _release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Load the script, with programs of ours in the place of those of its dependency group."""
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    loader = SourceFileLoader("release_script", str(_SCRIPT))
    spec = spec_from_loader("release_script", loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)
    vars(module)["program"] = lambda name: str(tmp_path / name)
    return module


def _pip_audit_says(directory: Path, *responses: dict[str, Any], status: int = 0, error: str = "") -> None:
    text = json.dumps({"dependencies": responses}) if responses else ""
    script = directory / "pip-audit"
    script.write_text(
        f"#!{sys.executable}\nimport sys\nprint({text!r})\nprint({error!r}, file=sys.stderr)\nsys.exit({status})\n"
    )
    script.chmod(0o755)


def test_nothing_known_passes(release: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is known to be good passes, although the service has not heard of a version that is not published yet."""
    _pip_audit_says(tmp_path, _OURS, _GOOD)
    release.audit(tmp_path)
    assert capsys.readouterr().out == "pip-audit: nothing known of 1 distributions\n"


@pytest.mark.parametrize("others", [(), (_UNKNOWN,)])
def test_a_weakness_fails(release: Any, tmp_path: Path, others: tuple[dict[str, Any], ...]) -> None:
    """A known weakness fails the release by its id, whatever is reported about other distributions."""
    _pip_audit_says(tmp_path, _GOOD, _WEAK, *others, status=1)
    with pytest.raises(SystemExit, match=r"urllib3.*PYSEC-1"):
        release.audit(tmp_path)


@pytest.mark.parametrize("hosted", [False, True])
@pytest.mark.parametrize(
    ("responses", "error", "reason"),
    [((_OURS, _UNKNOWN), "", "no response about attrs"), ((), "usage\nCould not connect", "Could not connect")],
)
def test_no_response_is_reported(
    *,
    release: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    hosted: bool,
    responses: tuple[dict[str, Any], ...],
    error: str,
    reason: str,
) -> None:
    """Where no service responds the release prints that nothing was audited, and on a hosted runner it fails."""
    _pip_audit_says(tmp_path, *responses, status=1 if error else 0, error=error)
    if hosted:
        monkeypatch.setenv("GITHUB_ACTIONS", "true")
        with pytest.raises(SystemExit, match="hosted runner"):
            release.audit(tmp_path)
    else:
        release.audit(tmp_path)
    assert capsys.readouterr().out == f"pip-audit: NOT AUDITED: {reason}\n"


def test_a_wrong_call_fails(release: Any, tmp_path: Path) -> None:
    """An option that pip-audit no longer has is not a missing response."""
    _pip_audit_says(tmp_path, status=2, error="unrecognized arguments")
    with pytest.raises(SystemExit, match="unrecognized arguments"):
        release.audit(tmp_path)


@pytest.mark.parametrize(
    ("changelog", "address", "expected"),
    [
        ("## [2.0.0] - unreleased", "https://example.com/x", "CHANGELOG.md"),
        ("## [2.0.0] - 2030-01-02", "https://example.invalid/x", "pyproject.toml"),
        ("## [2.0.0] - 2030-01-02", "https://example.com/x", None),
    ],
)
def test_only_a_complete_release_is_published(
    *, release: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changelog: str, address: str, expected: str | None
) -> None:
    """A tag needs the date in the top heading of the changelog and the project's address; a branch needs neither."""
    (tmp_path / "CHANGELOG.md").write_text(f"# Changelog\n\n{changelog}\n\n## [1.0.0] - unreleased\n")
    (tmp_path / "pyproject.toml").write_text(f'Homepage = "{address}"\n')
    for variables in ({}, {"GITHUB_ACTIONS": "true", "GITHUB_REF_TYPE": "branch"}):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        release.check_publishable(tmp_path)
    monkeypatch.setenv("GITHUB_REF_TYPE", "tag")
    if expected is None:
        release.check_publishable(tmp_path)
    else:
        with pytest.raises(SystemExit, match=expected):
            release.check_publishable(tmp_path)


def _replace_checks(release: Any, tmp_path: Path, happen: Any) -> None:
    """Let the checks do nothing, but for one of them, and the bill of materials."""
    names = ("is_reproducible", "look_inside", "run")
    vars(release).update({name: lambda *_, **__: None for name in names})
    vars(release).update(DIST=tmp_path / "dist", SBOM=tmp_path / "sbom", bill_of_materials=happen, smoke=happen)
    (tmp_path / "dist").mkdir(parents=True)
    for name in ("a.whl", "a.tar.gz"):
        (tmp_path / "dist" / name).write_bytes(b"built")


@pytest.mark.parametrize("is_complete", [True, False])
def test_the_bill_of_materials_has_what_each_extra_installs(release: Any, tmp_path: Path, *, is_complete: bool) -> None:
    """The extras are those of the wheel, so a new one is in the bill and the audit."""
    dist = tmp_path / "dist"
    installed: list[str] = []
    vars(release).update(DIST=dist, SBOM=tmp_path, audit=lambda _: None)
    dist.mkdir()
    metadata = (
        "Requires-Dist: attrs>=23",
        "Requires-Dist: some-thing>=1; extra == 'more'",
        "Requires-Dist: old>=1; python_version < '3.11' and extra == 'more'",
        "Provides-Extra: more",
        "Provides-Extra: other",
    )
    with zipfile.ZipFile(dist / "a.whl", "w") as wheel:
        wheel.writestr("a-1.dist-info/METADATA", "\n".join(metadata))

    def create(folder: Path, *requirements: str) -> Path:
        installed.extend(requirements)
        origin = folder / "lib/python3.13/site-packages/cp_thirdparty-1.dist-info/direct_url.json"
        origin.parent.mkdir(parents=True)
        origin.touch()
        return folder / "bin/python"

    def write(*_: str) -> None:
        names = ["attrs", "cp_thirdparty", *["Some_thing"] * is_complete]
        (tmp_path / "cp-thirdparty.cdx.json").write_text(json.dumps({"components": [{"name": name} for name in names]}))

    vars(release).update(environment=create, run=write)
    if is_complete:
        release.bill_of_materials(tmp_path)
    else:
        with pytest.raises(SystemExit, match="lacks some-thing"):
            release.bill_of_materials(tmp_path)
    assert installed == [f"{dist / 'a.whl'}[more,other]"]


def test_checks_leave_the_files_as_they_were_built(release: Any, tmp_path: Path) -> None:
    """They may write the bill of materials, and nothing of what is published."""
    _replace_checks(release, tmp_path, lambda _: None)
    release.check()
    vars(release).update(bill_of_materials=lambda _: (tmp_path / "sbom" / "a.cdx.json").touch())
    release.write_sbom()
    assert list(release.hashes()) == ["a.tar.gz", "a.whl"]
    (tmp_path / "again").mkdir()
    _replace_checks(release, tmp_path / "again", lambda _: (release.DIST / "a.whl").write_bytes(b"other"))
    with pytest.raises(SystemExit, match="a check has changed dist/"):
        release.check()
    _replace_checks(release, tmp_path / "once more", lambda _: (release.DIST / "a.whl").write_bytes(b"other"))
    with pytest.raises(SystemExit, match="the bill of materials has changed dist/"):
        release.write_sbom()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], ["build", "check", "write_sbom"]),
        (["build"], ["build"]),
        (["check"], ["check"]),
        (["sbom"], ["write_sbom"]),
        (["publish"], None),
    ],
)
def test_building_and_checking_are_two_steps(
    release: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], expected: list[str] | None
) -> None:
    """The workflow runs each in a job of its own."""
    done: list[str] = []
    (tmp_path / "dist").mkdir()
    steps = {name: lambda *_, name=name: done.append(name) for name in ("build", "check", "write_sbom")}
    vars(release).update(DIST=tmp_path / "dist", shutil=mock.Mock(), **steps)
    monkeypatch.setattr(sys, "argv", ["release", *arguments])
    if expected is None:
        with pytest.raises(SystemExit, match=r"\[build\|check\|sbom\]"):
            release.main()
    else:
        release.main()
    assert done == (expected or [])
