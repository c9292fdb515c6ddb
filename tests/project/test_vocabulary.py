"""The vocabulary check finds each phrase of its table in prose, and never in code."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest

_Check = Callable[..., tuple[int, list[str]]]

_SCRIPT = Path(__file__).parents[2] / ".ci" / "vocabulary.py"

pytestmark = pytest.mark.skipif(not _SCRIPT.exists(), reason="the sdist has no .ci")

# File, text, and the line and phrase of each finding.
_TEXTS: list[tuple[str, str, list[tuple[int, str]]]] = [
    # Python: comments, docstrings and messages, but no names and no keys.
    ("src/a.py", "# Tell the caller.", [(1, "tell")]),
    ("src/a.py", '"""A text."""', [(1, "a text")]),
    ("src/a.py", "def f():\n    '''\n    Return it.\n\n    The whole list.\n    '''", [(5, "whole")]),
    ("src/a.py", 'x = 1\n"""Attribute: is to be set."""', [(2, "is to be")]),
    ("src/a.py", 'raise TypeError("it is no string")', [(1, "is no")]),
    ("src/a.py", 'raise TypeError(f"{whole} is no {answer}")', [(1, "is no")]),
    ("src/a.py", 'print(f"{x:{whole}} {{x}} {y[0]} anew")', [(1, "anew")]),
    ("src/a.py", "answer = whole.tell(told=1)", []),
    ("src/a.py", 'answers["answer"] = {"whole": 1}', []),
    ("src/a.py", 'x = "an answer"', [(1, "answer")]),
    ("tests/test_a.py", 'x = "an answer"', []),
    ("tests/test_a.py", 'def test_a():\n    """An answer."""', [(2, "answer")]),
    ("src/a.py", "# `answer` and ``whole`` are names; so are test_answer, answer.py and tell()", []),
    ("src/a.py", r'x = "one line\ntold twice"', [(1, "told")]),
    ("tests/test_a.py", '# Comment.\n\n"""An answer."""', [(3, "answer")]),
    # A phrase may continue on the next line of the same comment, docstring or message.
    ("src/a.py", "# This is\n# no timeout.", [(1, "is no")]),
    ("src/a.py", '"""Return a\n    text."""', [(1, "a text")]),
    ("src/a.py", 'f("this is "\n  "no string")', [(1, "is no")]),
    ("src/a.py", "x = 1  # this is\ny = 2  # no timeout", []),
    # Documents: prose, directives and Python, but no other code, addresses or tags.
    ("docs/a.md", "# Title\n\nIt says so.", [(3, "says")]),
    ("docs/a.md", "[a page](whole) <whole> https://example.com/?a=whole `whole`", []),
    ("docs/a.md", "``a`` answer ``b``", [(1, "answer")]),
    ("docs/a.md", "```console\n$ tell me\n```\n\nLikewise.", [(5, "likewise")]),
    ("docs/a.md", "```python\nwhole = 1  # all answers\n```", [(2, "answers")]),
    ("docs/a.md", "```{code-cell} ipython3\nwhole = 1  # all answers\n```", [(2, "answers")]),
    ("docs/a.md", "```python\nx = (  # an answer\n```\n\nAnswer.", [(5, "answer")]),
    ("docs/a.md", "```{note}\nIt says so.\n```", [(2, "says")]),
    ("docs/a.md", "```{literalinclude} whole.py\n:lines: whole\n```", []),
    ("pyproject.toml", "x = 1  # a time-out", [(1, "time-out")]),
    ("docs/a.svg", '<text class="answer">the answer</text>', [(1, "answer")]),
    (".ci/task", "#!/usr/bin/env python3\nanswer = 1  # anew", [(2, "anew")]),
    (".ci/task", "#!/bin/sh\n# anew", [(2, "anew")]),
    # Contractions, with either apostrophe, and what is allowed.
    ("a.md", "It doesn't, it isn\N{RIGHT SINGLE QUOTATION MARK}t.", [(1, "*n't"), (1, "*n't")]),
    ("a.md", "They're; we've; it'll; it's.", [(1, "*'re"), (1, "*'ve"), (1, "*'ll"), (1, "it's")]),
    ("a.md", "The job's details, the jobs' ids.", []),
    ("a.md", "There is no job. It is no longer there.", []),
    ("a.md", "There\nis no job; this is no job.", [(2, "is no")]),
]  # fmt: skip


@pytest.fixture(name="vocabulary", scope="module")
def _vocabulary() -> Any:
    """Load the script as a module."""
    spec = spec_from_file_location("vocabulary", _SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    has_bytecode, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    spec.loader.exec_module(module)
    sys.dont_write_bytecode = has_bytecode
    return module


@pytest.mark.parametrize(("path", "text", "expected"), _TEXTS)
def test_phrases_are_found_in_prose_only(
    vocabulary: Any, path: str, text: str, expected: list[tuple[int, str]]
) -> None:
    """The check reads comments, docstrings, messages and documents, across line breaks, and ignores code."""
    table = vocabulary.Vocabulary(vocabulary.TABLE.read_text(encoding="utf-8"))
    assert [(finding.line, finding.phrase) for finding in table.find(path, text)] == expected


def test_finding_names_place_phrase_and_replacement(vocabulary: Any) -> None:
    """A finding has file and line, the phrase and the words to write instead."""
    table = vocabulary.Vocabulary("| write | not |\n| --- | --- |\n| complete | whole |\n\n* on the whole\n")
    found = [str(finding) for finding in table.find("docs/a.md", "\nOn the whole, the Whole list.")]
    assert found == ["docs/a.md:2: 'whole': write complete"]


@pytest.fixture(name="repository")
def _repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Create a git repository with one commit: two phrases in two files, and one in a file that git ignores."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    for name in ("GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "no-file"))
    root = tmp_path / "repository"
    root.mkdir()
    _git(root, "init", "-q")
    (root / ".gitignore").write_text("ignored.md\n")
    (root / "ignored.md").write_text("An answer.\n")
    (root / "a.md").write_text("An answer.\n")
    (root / "b.py").write_text("# Tell it.\nx = 1\n")
    (root / "data.json").write_text('{"x": "an answer"}\n')
    _git(root, "add", "--all")
    _git(root, "-c", "user.name=A", "-c", "user.email=a@example.com", "commit", "-q", "-m", "Add files")
    return root


def _git(root: Path, *arguments: str) -> None:
    subprocess.run(["git", "-C", root, *arguments], check=True)


@pytest.fixture(name="check")
def _check(vocabulary: Any, repository: Path, capsys: pytest.CaptureFixture[str]) -> _Check:
    """Return a function that runs the command in the repository and returns its status and the lines of its output."""

    def run(*arguments: str) -> tuple[int, list[str]]:
        status: int = vocabulary.main(list(arguments), repository)
        return status, capsys.readouterr().out.splitlines()

    return run


def test_any_phrase_is_an_error(repository: Path, check: _Check, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command prints file, line, phrase and replacement, also of new files, and fails if there is one."""
    monkeypatch.chdir(repository)
    (repository / "c.md").write_text("Anew.\n")
    status, lines = check()
    assert (status, [line.partition(": write ")[0] for line in lines]) == (
        1,
        ["a.md:1: 'answer'", "b.py:1: 'tell'", "c.md:1: 'anew'"],
    )
    assert check(".") == (status, lines)
    status, lines = check("b.py", "data.json")
    assert (status, [line.partition(", ")[0] for line in lines]) == (1, ["b.py:1: 'tell': write return"])
    for name in ("a.md", "b.py", "c.md"):
        (repository / name).write_text("")
    assert check() == (0, [])


def test_paths_are_relative_to_the_working_directory(
    repository: Path, check: _Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A path is relative to the working directory, and a folder stands for its files."""
    (repository / "docs" / "more").mkdir(parents=True)
    (repository / "docs" / "more" / "c.md").write_text("Anew.\n")
    monkeypatch.chdir(repository / "docs")
    for argument in ("more", "more/c.md", str(repository / "docs")):
        status, lines = check(argument)
        assert (status, [line.partition(": write ")[0] for line in lines]) == (1, ["docs/more/c.md:1: 'anew'"])


@pytest.mark.parametrize("argument", ["no.md", ".."])
def test_a_wrong_argument_is_an_error(
    vocabulary: Any,
    repository: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    argument: str,
) -> None:
    """A path that does not exist or is outside ends with one line that names it, and without a traceback."""
    monkeypatch.chdir(repository)
    with pytest.raises(SystemExit) as caught:
        vocabulary.main([argument], repository)
    assert caught.value.code == 2
    message = f"error: {argument} is not a file or folder of the project"
    assert message in capsys.readouterr().err.splitlines()[-1]
