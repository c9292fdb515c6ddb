"""
Everything that a reader sees as code runs: it is taken from the HTML of the site, and from files for readers on GitHub.

``nox -s docs`` runs this file after the build; pytest does not collect it by default.  The build itself runs the cells
of pages with all extras; this file runs them again with only the extras that the page states.
"""

from __future__ import annotations

import doctest
import html
import json
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
    r'<div class="(?:[\w-]+ )*highlight-(?P<language>\w+)[^"]*"[^>]*><div class="highlight"><pre>(?P<text>.*?)</pre>',
    re.DOTALL,
)
_FENCE: Final = re.compile(r"^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE)
# Files for readers on GitHub and PyPI; tests/project/test_readme.py runs the Python of the README.
_OTHER_FILES: Final = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "examples/partner_scan/README.md")
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
    "tutorials/try-in-your-account": "tests/project/test_tutorial.py",
}
_INDEX: Final = "a package index"
_AWS: Final = "an AWS account"
_CLONE: Final = "a folder that it may change"
# Each command that is not run, by its page and its beginning, with what it needs.
_NOT_RUN: Final = {
    ("README.md", "pip install "): _INDEX,
    ("README.md", "python3 noxfile.py "): _INDEX,
    ("CONTRIBUTING.md", "python3 noxfile.py "): _INDEX,
    ("CONTRIBUTING.md", "nox -s "): _INDEX,
    ("CONTRIBUTING.md", ".ci/run "): _INDEX,
    ("CONTRIBUTING.md", "mkdir corpus "): _CLONE,
    ("CONTRIBUTING.md", "pip download "): _INDEX,
    ("CONTRIBUTING.md", "find ~/"): "the caches of a user",
    ("CONTRIBUTING.md", "for project in ~/"): "the projects of a user",
    ("CONTRIBUTING.md", "PYTHONPATH=tests python -m support.public_surface"): _CLONE,
    ("examples/partner_scan/README.md", "pip install "): _INDEX,
    ("examples/partner_scan/README.md", "pytest"): "the example's environment; tests/project/test_partner_scan.py",
    ("examples/partner_scan/README.md", "mypy"): "the example's environment; tests/project/test_partner_scan.py",
    ("examples/partner_scan/README.md", "export "): _AWS,
    ("examples/partner_scan/README.md", "partner-scan"): _AWS,
    ("index", "pip install "): _INDEX,
    ("how-to/monitor", "pip install "): _INDEX,
    ("how-to/test-your-handler", "pip install "): _INDEX,
    ("tutorials/try-in-your-account", "pip install "): _INDEX,
    ("tutorials/try-in-your-account", "aws "): _AWS,
    ("tutorials/try-in-your-account", "python scan.py"): _AWS,
    ("tutorials/try-in-your-account", "zip "): "the program zip",
    ("how-to/run-in-production", "docker "): "Docker, and images from a registry",
    ("how-to/journal", "sqlite3 "): "the program sqlite3",
    ("how-to/on-call", "export AWS_PROFILE="): "the profile of an AWS account",
    ("how-to/on-call", "cp-thirdparty jobs dynamodb://"): "DynamoDB",
    ("how-to/on-call", "cp-thirdparty artifact "): "S3",
}
# Commands that end with another exit code than 0, by a part of them.
_EXIT_CODES: Final = {"put-third-party-job-success-result --job-id ID": 252}
# What a reader puts in the place of a part of a command.
_TOKENS: Final = "--client-tokens examplescan.worker:tokens --client-id client-1"
# Without a terminal, these ask nobody.
_CONFIRMED: Final = ("fail", "succeed", "resolve")

# The modules of each extra, and of other packages that a page may state.
_MODULES: Final = {
    "artifacts": ("s3transfer",),
    "async": ("aiobotocore", "aiohttp"),
    "cli": ("click", "rich", "yaml"),
    "dask": ("dask", "distributed"),
    "prometheus": ("prometheus_client",),
    "testing": ("hypothesis", "pytest"),
    "boto3": ("boto3",),
    "moto": ("moto",),
    "opentelemetry-sdk": ("opentelemetry",),
    "pydantic": ("pydantic",),
    "tqdm": ("tqdm",),
}
_CELL: Final = re.compile(r"^```\{code-cell\} ipython3\n((?::\w+:[^\n]*\n)*)\n*(.*?)^```$", re.DOTALL | re.MULTILINE)
# The cells of this page start the examples, which `nox -s examples` runs with a wheel and what each one requires.
_STARTS_OTHERS: Final = "examples.md"
# It runs cells as one program, in which the modules that its arguments name cannot be imported.
_RUN_CELLS: Final = """
import json, sys

cells, *missing = json.load(sys.stdin), *sys.argv[1:]
sys.modules |= dict.fromkeys(missing)
for is_failure, cell in cells:
    try:
        exec(compile(cell, "cell", "exec"), globals())
    except Exception:
        if not is_failure:
            raise
"""
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


def _list_blocks() -> Iterator[_Block]:
    for path in sorted(_SITE.rglob("*.html")):
        page = path.relative_to(_SITE).with_suffix("").as_posix()
        if page.startswith("_modules"):  # the library itself
            continue
        text = path.read_text(encoding="utf-8")
        for found in _BLOCK.finditer(text):
            shown = html.unescape(re.sub(r"<[^>]+>", "", found["text"]))
            yield _Block(page, found["language"], shown)
    for name in _OTHER_FILES:
        for found in _FENCE.finditer((_ROOT / name).read_text(encoding="utf-8")):
            yield _Block(name, found["language"], found["text"])


_BLOCKS: Final = list(_list_blocks()) if _SITE.exists() else []


def _named(*languages: str) -> list[pytest.ParameterSet]:
    blocks = [block for block in _BLOCKS if block.language in languages and block.page not in _OTHER_FILES]
    return [pytest.param(block, id=f"{number}-{block.page}") for number, block in enumerate(blocks)]


def test_each_block_has_a_language_that_is_checked() -> None:
    """The site has no block of a language that no test of this file, or the build, knows."""
    known = {"ipython3", "default", "pycon", "python", "console", "text", "json", "yaml", "ini", "docker", "none"}
    output = {"myst", "ipythontb"}  # of cells
    assert {block.language for block in _BLOCKS} <= known | output
    assert len(_BLOCKS) > 200


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


@pytest.mark.parametrize("block", _named("text"))
def test_a_message_is_one_that_a_test_expects(block: _Block) -> None:
    """A message on a page is reproduced by tests/project/test_troubleshooting.py, or is in another test."""
    if block.page == "operate/troubleshooting":
        return
    start = block.text.partition(" (")[0].partition("\n")[0].partition(": ")[2]
    assert any(start in path.read_text(encoding="utf-8") for path in (_ROOT / "tests" / "client").rglob("*.py"))


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
    """Set up what the commands of the site assume: a job, its worker's module, a journal, and a dead process."""
    scan = samples.action_type_id()
    (tmp_path / "examplescan").mkdir()
    (tmp_path / "examplescan" / "worker.py").write_text(_WORKER, encoding="utf-8")
    (tmp_path / "builds" / ".cp-thirdparty-tmp-4711-9f86d081884c").mkdir(parents=True)  # of a killed process
    (tmp_path / "scan.py").write_text(_find_python("tutorials/try-in-your-account")[0], encoding="utf-8")
    with LocalCodePipeline() as service, service.client() as client:
        service.register_client("client-1", "token-1")
        options = {"ProjectName": "demo", "ApiKey": "k-12345"}
        service.start_action(scan, client_id="client-1", configuration=options)
        (job,) = client.poll_for_third_party_jobs(scan)
        nonce = client.get_third_party_job_details(job.job_id, client_token="token-1").nonce
        client.acknowledge_third_party_job(job.job_id, nonce=nonce, client_token="token-1")
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
            "CP_THIRDPARTY_CLIENT_TOKEN": "token-1",
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(tmp_path),
            "TMPDIR": str(tmp_path),
        }
        yield _Terminal(tmp_path, environment, job.job_id)


class _Command(NamedTuple):
    """A line after a prompt, and what the block shows below it."""

    page: str
    line: str
    output: str

    @property
    def reason(self) -> str | None:
        """What the command needs, if it is not run."""
        rows = (needs for (page, start), needs in _NOT_RUN.items() if page == self.page and self.line.startswith(start))
        return next(rows, None)


def _list_commands() -> Iterator[_Command]:
    for block in _BLOCKS:
        if block.language == "console":
            for part in re.split(r"^\$ ", block.text.replace("\\\n", " "), flags=re.MULTILINE)[1:]:
                line, _, output = part.partition("\n")
                yield _Command(block.page, line.strip(), output)


_COMMANDS: Final = list(_list_commands())


def _find_python(page: str) -> list[str]:
    return [block.text for block in _BLOCKS if (block.page, block.language) == (page, "python")]


def test_each_row_of_a_command_that_is_not_run_is_used() -> None:
    """Each row of the table is about a command of its page, and commands of the library are rarely in it."""
    rows = [row for row in _NOT_RUN if any(each.page == row[0] and each.line.startswith(row[1]) for each in _COMMANDS)]
    assert rows == [*_NOT_RUN]
    own = {each.reason for each in _COMMANDS if each.line.startswith("cp-thirdparty ")} - {None}
    assert own == {"DynamoDB", "S3"}


@pytest.mark.parametrize(
    "command", [pytest.param(each, id=f"{number}-{each.page}") for number, each in enumerate(_COMMANDS)]
)
def test_a_command_of_a_terminal_runs(command: _Command, terminal: _Terminal) -> None:
    """Each command ends as the page states, or the table has what it needs; what it names exists."""
    if command.reason:
        _check_names(command.line)
        return
    assert command.line.startswith(("cp-thirdparty ", "echo ")), "run it, or add what it needs to the table"
    line = command.line.replace("JOB_ID", terminal.job_id).replace("CLIENT_ID", "client-1").replace(" …", f" {_TOKENS}")
    line = line.replace("--job-id ...", f"--job-id {terminal.job_id}").replace("/data/builds", "builds")
    words = shlex.split(line, comments=True)
    if words[1] == "local":
        _check_service(words, terminal)
        return
    if words[1] == "get-third-party-job-details":
        line = line.replace("--job-id ID", f"--job-id {terminal.job_id}")
    if words[1] in _CONFIRMED:
        line = f"{line.partition(' #')[0]} --yes"
    done = subprocess.run(
        ["bash", "-c", line],
        cwd=terminal.folder,
        env=dict(terminal.environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    expected = next((code for part, code in _EXIT_CODES.items() if part in command.line), 0)
    assert done.returncode == expected, done.stdout + done.stderr
    if expected:
        assert done.stderr == command.output
    if words[1] == "doctor":
        names = re.findall(r"^(?:ok|FAIL|skip) +(\w+(?: \w+)?)", command.output, re.MULTILINE)
        assert names == re.findall(r"^(?:ok|FAIL|skip) +(\w+(?: \w+)?)", done.stdout, re.MULTILINE)
    elif command.output.strip() and not expected:
        assert done.stdout == command.output


def _check_service(words: list[str], terminal: _Terminal) -> None:
    """Start a program that serves until SIGTERM, and stop it after its first line."""
    with subprocess.Popen(words, env=dict(terminal.environment), stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        assert program.stdout.readline().startswith("export AWS_")
        program.terminate()
        program.stdout.read()
    assert program.returncode == 0


def _check_names(line: str) -> None:
    """Check the extras, sessions and files that a command names, which would need a network to run."""
    if requirement := re.search(r"cp-thirdparty(?:\[([\w,]+)\])?['\"]?$", line.removeprefix("pip install ")):
        assert set(filter(None, (requirement[1] or "").split(","))) <= set(_list_extras())
    for name in re.findall(r"(?:noxfile\.py|nox -s) (\w+)", line):
        assert f"\ndef {name}(session: nox.Session)" in (_ROOT / "noxfile.py").read_text(encoding="utf-8")
    if line.startswith((".ci/", "python3 noxfile.py")):
        assert (_ROOT / line.removeprefix("python3 ").split()[0]).is_file()


def _list_extras() -> list[str]:
    project = (_ROOT / "pyproject.toml").read_text(encoding="utf-8")
    table = project.partition("[project.optional-dependencies]\n")[2].partition("\n[")[0]
    return re.findall(r"^(\w+) = ", table, re.MULTILINE)


def _list_cells(page: Path) -> list[tuple[bool, str]]:
    cells = _CELL.findall(page.read_text(encoding="utf-8"))
    return [("raises-exception" in options, cell) for options, cell in cells]


def _list_missing(text: str) -> list[str]:
    """Return the modules of the extras and packages that a page does not state."""
    extras = ",".join(re.findall(r"cp-thirdparty\[([\w,]+)\]", text)).split(",")
    stated = {*extras, *re.findall(r"extra `(\w+)`", text)}
    stated |= {word.strip("`'.,:") for line in re.findall(r"pip install (.+)", text) for word in line.split()}
    return [module for name, modules in _MODULES.items() if name not in stated for module in modules]


_CELL_PAGES: Final = [
    page
    for page in sorted((_ROOT / "docs").rglob("*.md"))
    if "_build" not in page.parts and page.name != _STARTS_OTHERS and _list_cells(page)
]


def test_each_extra_has_its_modules() -> None:
    """The table of modules has each extra of the project."""
    assert set(_list_extras()) <= set(_MODULES)


@pytest.mark.parametrize("page", _CELL_PAGES, ids=lambda page: page.relative_to(_ROOT / "docs").as_posix())
def test_the_cells_of_a_page_run_with_the_extras_that_it_states(page: Path) -> None:
    """A reader who installs what the page names can run its cells: the modules of other extras are missing."""
    _run_cells(_list_cells(page), page.read_text(encoding="utf-8"), page.parent)


@pytest.mark.parametrize("page", ["README.md", "docs/tutorials/try-in-your-account.md"])
def test_the_python_of_a_page_runs_with_the_extras_that_it_states(page: str, tmp_path: Path) -> None:
    """The same is true of Python that tests run; no program is started."""
    text = (_ROOT / page).read_text(encoding="utf-8")
    blocks = [found["text"] for found in _FENCE.finditer(text) if found["language"] == "python"]
    assert blocks
    name = "__main__" if page == "README.md" else "scan"
    _run_cells([(False, f"__name__ = {name!r}"), *((False, block) for block in blocks)], text, tmp_path)


def test_the_tests_of_a_page_run_with_the_extra_that_it_states(tmp_path: Path) -> None:
    """The files of the page about tests of a handler pass in a folder of their own, without the other extras."""
    page = (_ROOT / "docs" / "how-to" / "test-your-handler.md").read_text(encoding="utf-8")
    files = re.findall(r"```python\n# (\w+\.py)\n(.*?)```", page, re.DOTALL)
    for name, text in files:
        (tmp_path / name).write_text(text, encoding="utf-8")
    program = "import pytest; assert pytest.main(['-q', '-p', 'no:cacheprovider']) == 0"
    _run_cells([(False, f"sys.path.insert(0, {str(tmp_path)!r}); {program}")], page, tmp_path)


def test_the_first_program_runs_without_extras(tmp_path: Path) -> None:
    """The program at the top of the README and of the site needs `pip install cp-thirdparty` and nothing else."""
    blocks = [block.text for block in _BLOCKS if (block.page, block.language) == ("README.md", "python")]
    _run_cells([(False, blocks[0]), *_list_cells(_ROOT / "docs" / "index.md")], "", tmp_path)


def _run_cells(cells: list[tuple[bool, str]], text: str, folder: Path) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "CP_"))}
    done = subprocess.run(
        [sys.executable, "-c", _RUN_CELLS, *_list_missing(text)],
        input=json.dumps(cells),
        cwd=folder,
        env=kept,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
