"""
Everything that a reader of the site sees as code is taken from its HTML, and runs.

``nox -s docs`` runs this file after the build; pytest does not collect it by default.  The build itself runs the cells
of pages.  A block that cannot run has a comment before it with the reason: ``<!-- not run: needs an AWS account -->``.
"""

from __future__ import annotations

import doctest
import html
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Final, NamedTuple

import pytest
import yaml

from cp_thirdparty.testing import LocalCodePipeline, samples
from cp_thirdparty.worker import JobScope, SqliteJournal

_ROOT: Final = Path(__file__).parents[2]
_SITE: Final = _ROOT / "docs" / "_build" / "html"

_BLOCK: Final = re.compile(
    r'(?:<!-- not run: (?P<reason>[^>]+) -->\s*)?(?:<div class="literal-block-wrapper[^>]*>.*?)?'
    r'<div class="(?:[\w-]+ )*highlight-(?P<language>\w+)[^"]*"[^>]*><div class="highlight"><pre>(?P<text>.*?)</pre>',
    re.DOTALL,
)
# Files that the site shows; tests of the repository run or check each of them.
_FILES: Final = [
    path.read_text(encoding="utf-8")
    for folder in ("examples", "docs/deploy")
    for path in sorted((_ROOT / folder).rglob("*"))
    if path.suffix in {".py", ".yaml", ".service", ".ini", ".toml"} or path.name == "Dockerfile"
]
# Pages with Python that a test of the repository runs, taken from the source of the page.
_TESTED_PAGES: Final = {
    "how-to/test-your-handler": "tests/testing/test_how_to_page.py",
    "explanation/trust": "tests/client/test_facts.py",
    "tutorials/try-in-your-account": "tests/project/test_readme.py",
}
# Commands that end with another exit code than 0, by a part of them.
_EXIT_CODES: Final = {"put-third-party-job-success-result --job-id ID": 252}

_WORKER: Final = """
import attrs
from cp_thirdparty import SecretStr

tokens = {"client-1": "token-1"}


@attrs.frozen
class ScanConfiguration:
    project_name: str
    api_key: SecretStr
"""


class _Block(NamedTuple):
    page: str
    language: str
    text: str
    reason: str | None


def _list_blocks() -> Iterator[_Block]:
    for path in sorted(_SITE.rglob("*.html")):
        page = path.relative_to(_SITE).with_suffix("").as_posix()
        if page.startswith("_modules"):  # the library itself
            continue
        text = path.read_text(encoding="utf-8")
        for found in _BLOCK.finditer(text):
            shown = html.unescape(re.sub(r"<[^>]+>", "", found["text"]))
            yield _Block(page, found["language"], shown, found["reason"])


_BLOCKS: Final = list(_list_blocks()) if _SITE.exists() else []


def _named(*languages: str) -> list[pytest.ParameterSet]:
    numbered = enumerate(block for block in _BLOCKS if block.language in languages)
    return [pytest.param(block, id=f"{number}-{block.page}") for number, block in numbered]


def test_each_block_has_a_language_that_is_checked() -> None:
    """The site has no block of a language that no test of this file, or the build, knows."""
    known = {"ipython3", "default", "pycon", "python", "console", "text", "json", "yaml", "ini", "docker", "none"}
    output = {"myst", "ipythontb"}  # of cells
    assert {block.language for block in _BLOCKS} <= known | output
    assert len(_BLOCKS) > 200


def test_a_block_that_is_not_run_says_why() -> None:
    """A reason names what the block needs, and only blocks of a terminal have one."""
    marked = [block for block in _BLOCKS if block.reason]
    assert marked
    assert {block.language for block in marked} == {"console"}
    assert [block for block in marked if not str(block.reason).startswith("needs ")] == []


@pytest.mark.parametrize("block", _named("default", "pycon"))
def test_a_session_of_python_shows_what_it_prints(block: _Block, monkeypatch: pytest.MonkeyPatch) -> None:
    """A block with prompts is a doctest."""
    assert block.text.startswith(">>> ")
    module = ModuleType("block")
    monkeypatch.setitem(sys.modules, "block", module)
    test = doctest.DocTestParser().get_doctest(block.text, module.__dict__, block.page, block.page, 0)
    test.globs = module.__dict__
    report: list[str] = []
    assert (doctest.DocTestRunner(verbose=False).run(test, out=report.append).failed, report) == (0, [])


@pytest.mark.parametrize("block", _named("python"))
def test_python_is_a_file_that_runs(block: _Block) -> None:
    """Python without prompts is a file, or a part of one, that a test runs."""
    if block.page in _TESTED_PAGES:
        assert block.page.rpartition("/")[2] in (_ROOT / _TESTED_PAGES[block.page]).read_text(encoding="utf-8")
        source = (_ROOT / "docs" / f"{block.page}.md").read_text(encoding="utf-8")
        assert f"```python\n{block.text}```" in source
    else:
        assert any(block.text.strip() in file for file in _FILES)


@pytest.mark.parametrize("block", _named("yaml", "ini", "docker"))
def test_a_file_of_a_deployment_is_one_of_the_repository(block: _Block) -> None:
    """What is shown is the file that tests check."""
    assert any(block.text.strip() in file for file in _FILES)
    if block.language == "yaml":
        list(yaml.compose_all(block.text))


@pytest.mark.parametrize("block", _named("json"))
def test_json_is_valid(block: _Block) -> None:
    """A JSON document can be read."""
    assert yaml.safe_load(block.text)


class _Terminal(NamedTuple):
    """A folder with a partner's module and a journal, and the environment of a terminal in it."""

    folder: Path
    environment: Mapping[str, str]
    job_id: str


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[_Terminal]:
    """Set up what the commands of the site take for granted: a job, its worker's module, and a journal."""
    scan = samples.action_type_id()
    (tmp_path / "examplescan").mkdir()
    (tmp_path / "examplescan" / "worker.py").write_text(_WORKER, encoding="utf-8")
    with LocalCodePipeline() as service, service.client() as client:
        service.register_client("client-1", "token-1")
        options = {"ProjectName": "demo", "ApiKey": "k-12345"}
        service.start_action(scan, client_id="client-1", configuration=options)
        (job,) = client.poll_for_third_party_jobs(scan)
        journal = SqliteJournal(tmp_path / "jobs.db")
        scope = JobScope(region_name="us-east-1", endpoint_url=service.endpoint_url, action_type_id=scan)
        journal.claim(samples.third_party_job(client_id="client-1", job_id=job.job_id), scope)
        journal.close()
        kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        environment = {
            **kept,
            "AWS_ACCESS_KEY_ID": service.access_key_id,
            "AWS_SECRET_ACCESS_KEY": service.secret_access_key.get_secret_value(),
            "AWS_ENDPOINT_URL": service.endpoint_url,
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "PYTHONPATH": str(tmp_path),
            "TMPDIR": str(tmp_path),
        }
        yield _Terminal(tmp_path, environment, job.job_id)


def _list_commands(text: str) -> list[str]:
    joined = text.replace("\\\n", " ")
    return [line[2:].strip() for line in joined.splitlines() if line.startswith("$ ")]


@pytest.mark.parametrize("block", _named("console"))
def test_the_commands_of_a_terminal_run(block: _Block, terminal: _Terminal) -> None:
    """Each command of the library ends as the page states; others have a reason why they are not run."""
    commands = _list_commands(block.text)
    assert commands
    if block.reason:
        return
    tokens = "--client-tokens examplescan.worker:tokens --client-id client-1"
    for command in commands:
        if command.startswith("pip install "):
            _check_requirement(shlex.split(command)[2])
            continue
        words = command.replace("JOB_ID", terminal.job_id).replace("CLIENT_ID", "client-1").replace(" …", f" {tokens}")
        program, *arguments = shlex.split(words.partition(" > ")[0], comments=True)
        assert program == "cp-thirdparty", f"{command}: run it, or give the reason before the block"
        done = subprocess.run(
            [sys.executable, "-m", "cp_thirdparty", *arguments],
            cwd=terminal.folder,
            env=dict(terminal.environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        expected = next((code for part, code in _EXIT_CODES.items() if part in command), 0)
        assert done.returncode == expected, done.stdout + done.stderr
        shown = block.text.splitlines()[1:]
        if expected == 252:
            assert done.stderr.strip() == shown[-1]
        if arguments[0] == "doctor":
            names = re.findall(r"^(?:ok|FAIL|skip) +(\w+(?: \w+)?)", block.text, re.MULTILINE)
            assert names == re.findall(r"^(?:ok|FAIL|skip) +(\w+(?: \w+)?)", done.stdout, re.MULTILINE)


def _check_requirement(requirement: str) -> None:
    """Check that each extra of a requirement exists; nothing is installed, because a test has no network."""
    extras = re.search(r"\[(.*)\]", requirement)
    project = (_ROOT / "pyproject.toml").read_text(encoding="utf-8").partition("[project.optional-dependencies]")[2]
    assert requirement.startswith("cp-thirdparty")
    assert all(re.search(rf"^{name} = ", project, re.MULTILINE) for name in (extras[1].split(",") if extras else []))
