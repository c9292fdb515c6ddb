"""The code of the README and the examples runs, and prints what the README shows."""

from __future__ import annotations

import ast
import io
import os
import re
import subprocess
import sys
from contextlib import redirect_stdout
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import attrs
import pytest
from support import readme_pictures as picture

from cp_thirdparty import JobStatus, ThirdPartyJobClient, exceptions, structure_configuration

_ROOT = Path(__file__).parents[2]
_README = (_ROOT / "README.md").read_text(encoding="utf-8")
# Each block of Python, with the block of its output if there is one before the next block or heading.
_BLOCKS = re.findall(r"^```python\n(.*?)^```$(?:[^#`]*^```text\n(.*?)^```$)?", _README, re.DOTALL | re.MULTILINE)
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


@pytest.mark.parametrize("path", sorted((_ROOT / "examples").glob("*.py")), ids=lambda path: path.name)
def test_an_example_states_what_it_requires(path: Path) -> None:
    """An example imports only Python, the library, attrs, and what the line "Requires:" of its docstring names."""
    text = path.read_text(encoding="utf-8")
    stated = re.findall(r"^Requires: (.+)$", text, re.MULTILINE)
    names = {part.partition("[")[2].rstrip("]") or part for line in stated for part in line.split(", ")}
    modules = {"dask": "distributed", "async": "aiobotocore", "opentelemetry-sdk": "opentelemetry"}
    allowed = {"cp_thirdparty", "attrs", "__future__", *(modules.get(name, name) for name in names)}
    imported = {
        name.partition(".")[0]
        for node in ast.walk(ast.parse(text))
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names])
    }
    assert imported - sys.stdlib_module_names - allowed == set()


@pytest.mark.parametrize("options", [(), ("-i", "-q")], ids=["program", "pasted"])
def test_the_first_block_prints_its_output(tmp_path: Path, options: tuple[str, ...]) -> None:
    """The README's first block prints the block below it, as a program and pasted into Python's prompt."""
    code, output = _BLOCKS[0]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "PYTHON"))}
    environment |= {"HTTPS_PROXY": "http://127.0.0.1:1", "HTTP_PROXY": "http://127.0.0.1:1"}  # nothing listens there
    result = subprocess.run(
        [sys.executable, *options, "-"],
        input=code.encode(),
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert result.stdout.decode().splitlines() == output.splitlines() != []
    assert b"Error" not in result.stderr


def test_the_site_starts_with_the_first_block() -> None:
    """The first page of the site runs the same code as the README, and shows complete lines at 1,280 pixels."""
    page = (_ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    cells = re.findall(r"^```{code-cell} ipython3\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    assert cells == [_BLOCKS[0][0]]
    assert max(len(line) for line in cells[0].splitlines()) <= 90


def test_the_first_block_reports_only_a_claimed_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """The README's first block reports no result if the acknowledgement returns another status than `IN_PROGRESS`."""
    monkeypatch.setattr(ThirdPartyJobClient, "acknowledge_third_party_job", lambda *_, **__: JobStatus.TIMED_OUT)
    code, output = _BLOCKS[0]
    names: dict[str, Any] = {"__name__": "__main__"}
    assert _run(code, names).splitlines() == [*output.splitlines()[:-1], "Dispatched"]
    assert names["status"] is JobStatus.TIMED_OUT


def test_the_blocks_run_one_after_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The README's blocks continue one another and print their outputs, and the quoted error is the real one."""
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "__main__"}
    for code, output in _BLOCKS:
        assert _run(code, names) == output
    assert _README.count("```text") == len([output for _, output in _BLOCKS if output])
    names["client"].close()
    names["journal"].close()
    assert names["worker"].health().state == "stopped"
    read = names["details"].data.action_configuration
    wrong = attrs.evolve(read, configuration={"ApiKey": "k", "TimeoutMinutes": "4_5"})
    with pytest.raises(exceptions.ConfigurationError) as caught:
        structure_configuration(wrong, names["ScanConfiguration"])
    assert f"`ConfigurationError: {caught.value}`" in _README


def _run(code: str, names: dict[str, Any]) -> str:
    """Run a block with these names, and return what it prints."""
    printed = io.StringIO()
    with redirect_stdout(printed):
        exec(compile(code, "README.md", "exec", dont_inherit=True), names)
    return printed.getvalue()


def test_the_table_has_each_extra() -> None:
    """The table of extras, in the README and on the first page of the site, has each extra of the project."""
    project = (_ROOT / "pyproject.toml").read_text(encoding="utf-8")
    extras = project.partition("[project.optional-dependencies]\n")[2].partition("\n[")[0]
    table = _README.partition("| extra |")[2].partition("\n\n")[0]
    assert re.findall(r"^\| `(\w+)`", table, re.MULTILINE) == sorted(re.findall(r"^(\w+) = ", extras, re.MULTILINE))
    assert table in (_ROOT / "docs" / "index.md").read_text(encoding="utf-8")


def test_the_errors_of_the_readme_exist() -> None:
    """Each error that the README names is one of the library's."""
    named = set(re.findall(r"`(\w+(?:Exception|Error))`", _README)) - {"ClientError", "JSONDecodeError", "TypeError"}
    assert named <= set(exceptions.__all__)


@pytest.mark.slow
def test_the_pictures_show_what_the_library_shows(tmp_path: Path) -> None:
    """The README's pictures show what the notebook shows now; otherwise `nox -s picture` must create them again."""
    kept = (picture.PICTURES / "notebook.sha256").read_text(encoding="ascii").strip()
    assert picture.fingerprint(picture.execute(tmp_path)) == kept
    assert all(f"docs/pictures/notebook-{theme}.png" in _README for theme in picture.THEMES)
