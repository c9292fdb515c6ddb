#!/usr/bin/env python3
"""
Print each phrase that the project does not use, with the words to write instead, and fail if there is one.

python3 .ci/vocabulary.py [PATH...]   without a path all files of the project; a folder stands for the files in it

.ci/vocabulary.md has the words. codespell and Vale do not fit: codespell checks names in code too, and misses a phrase
that a line break divides; the package of Vale on PyPI downloads a program.
"""

from __future__ import annotations

import argparse
import io
import re
import string
import subprocess
import sys
import tokenize
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
TABLE = Path(__file__).with_suffix(".md")

# Takes the place of everything that is not prose. It is not white space, so no phrase is found across it.
CODE = "\0"

_ROW = re.compile(r"^\| (?!write \||---)(?P<write>.+) \| (?P<phrases>.+) \|$", re.MULTILINE)
_ALLOWED = re.compile(r"^\* (?P<phrases>.+)$", re.MULTILINE)
_SUFFIXES = {".md", ".py", ".svg", ".toml", ".yaml", ".yml"}
_FENCE = re.compile(
    r"^(?P<indent> *)(?P<marks>```+|~~~+)(?P<info>[^\n]*)\n(?P<body>.*?)^ *(?P=marks)[`~]* *$", re.MULTILINE | re.DOTALL
)
_NOT_PROSE = re.compile(
    r"(?P<ticks>`+)(?:(?!\n\s*\n)[^`\0])+?(?P=ticks)"  # code
    r"|\]\([^)\n]*\)"  # the address of a link
    r"|\bhttps?://\S+"
    r"|<[^<>\n]+>"  # a tag
)
_LOWER = str.maketrans(f"{string.ascii_uppercase}\N{RIGHT SINGLE QUOTATION MARK}", f"{string.ascii_lowercase}'")
_ESCAPE = re.compile(r"\\.")
_PLACEHOLDER = re.compile(r"\{\{|\}\}|\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\}")
_STRING = re.compile(r"(?P<prefix>\w*)(?P<quote>\"\"\"|'''|\"|')(?P<body>.*)(?P=quote)", re.DOTALL)
_START_OF_STATEMENT = {tokenize.ENCODING, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}


class Finding(NamedTuple):
    """A phrase that is not used here."""

    path: str
    line: int
    phrase: str
    write: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: '{self.phrase}': write {self.write}"


class PathError(ValueError):
    """A path of the command line cannot be read."""


class Vocabulary:
    """The phrases of the table and one pattern that finds them all."""

    def __init__(self, table: str) -> None:
        self._write = {phrase: row["write"] for row in _ROW.finditer(table) for phrase in row["phrases"].split(", ")}
        allowed = [phrase for row in _ALLOWED.finditer(table) for phrase in row["phrases"].split(", ")]
        # The longest first, so that an allowed phrase hides the shorter one in it.
        phrases = sorted([*self._write, *allowed], key=len, reverse=True)
        words = "|".join(_expression(phrase) for phrase in phrases if not phrase.startswith("*"))
        endings = "|".join(_expression(phrase[1:]) for phrase in phrases if phrase.startswith("*"))
        self._pattern = re.compile(rf"(?:(?<![\w./-])(?:{words})|(?<=\w)(?:{endings}))(?![\w(=-]|[./]\w)")

    def find(self, path: str, text: str) -> Iterator[Finding]:
        """Yield the findings of one file."""
        prose = read_prose(path, text).translate(_LOWER)
        for match in self._pattern.finditer(prose):
            phrase = " ".join(match[0].split())
            phrase = phrase if phrase in self._write else f"*{phrase}"
            if phrase in self._write:
                yield Finding(path, prose.count("\n", 0, match.start()) + 1, phrase, self._write[phrase])


def _expression(phrase: str) -> str:
    return r"\s+".join(re.escape(word) for word in phrase.split())


def read_prose(path: str, text: str) -> str:
    """Return the text of a file with `CODE` in place of each character that is not prose."""
    if path.endswith(".py") or text.startswith("#!/usr/bin/env python"):
        # The strings of tests repeat messages, or are data.
        prose = _read_python(text, has_messages="tests" not in Path(path).parts)
    elif path.endswith(".md"):
        prose = _FENCE.sub(_read_block, text)
    else:
        prose = text
    return _NOT_PROSE.sub(lambda match: _hide(match[0]), prose)


def _hide(text: str) -> str:
    return re.sub(r"\S", CODE, text)


def _read_block(match: re.Match[str]) -> str:
    """Keep the prose of a directive and of Python; hide other languages."""
    info, start = match["info"].strip(), match.start()
    head, tail = match[0][: match.start("body") - start], match[0][match.end("body") - start :]
    if info.startswith(("python", "{code-cell}")):
        try:
            body = _read_python(match["body"], has_messages=True)
        except (tokenize.TokenError, SyntaxError):  # an excerpt need not be Python from its first to its last line
            body = _hide(match["body"])
    elif info.startswith("{") and "code" not in info and "include" not in info:
        body = match["body"]
    else:
        body = _hide(match["body"])
    return _hide(head) + body + _hide(tail)


def _read_python(text: str, *, has_messages: bool) -> str:
    """Keep comments, docstrings and, if wanted, strings with a space, which are messages."""
    pieces, position = [], 0
    for start, end, is_docstring in _find_strings_and_comments(text):
        token = text[start:end]
        if is_docstring or token.startswith("#") or (has_messages and " " in token):
            pieces += [_hide(text[position:start]), _read_token(token)]
            position = end
    return "".join([*pieces, _hide(text[position:])])


def _find_strings_and_comments(text: str) -> Iterator[tuple[int, int, bool]]:
    """Yield start, end and whether it is a docstring; an f-string counts as one token, as before Python 3.12."""
    lines = [0]
    for line in text.splitlines(keepends=True):
        lines.append(lines[-1] + len(line))
    previous, depth, start = tokenize.ENCODING, 0, 0
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        name = tokenize.tok_name[token.type]
        begin, end = (lines[row - 1] + column for row, column in (token.start, token.end))
        if name.endswith("STRING_START"):
            start = start if depth else begin
            depth += 1
        elif name.endswith("STRING_END"):
            depth -= 1
        if not depth and (name in {"COMMENT", "STRING"} or name.endswith("STRING_END")):
            is_statement = previous in _START_OF_STATEMENT and name == "STRING"
            yield start if name.endswith("STRING_END") else begin, end, is_statement
        if token.type not in {tokenize.COMMENT, tokenize.NL}:
            previous = token.type


def _read_token(token: str) -> str:
    """Replace marks, quotes and escapes by spaces, and placeholders by `CODE`."""
    match = _STRING.fullmatch(token)
    if match is None:
        return token.replace("#", " ")
    body = match["body"]
    if "r" not in match["prefix"].lower():
        body = _ESCAPE.sub("  ", body)
    if "f" in match["prefix"].lower():
        body = _PLACEHOLDER.sub(lambda found: _hide(found[0]), body)
    return " " * match.start("body") + body + " " * len(match["quote"])


def _git(root: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", root, *arguments], check=True, capture_output=True, text=True, encoding="utf-8"
    ).stdout


def _is_checked(path: str) -> bool:
    suffix = Path(path).suffix
    return path != ".ci/vocabulary.md" and (suffix in _SUFFIXES or (path.startswith(".ci/") and not suffix))


def list_files(root: Path) -> list[str]:
    """Return the files of the working tree that have prose."""
    paths = _git(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
    return [path for path in sorted(set(paths)) if path and _is_checked(path) and (root / path).is_file()]


def select_files(root: Path, arguments: Iterable[str]) -> list[str]:
    """
    Return the named files, and the files of the named folders that have prose.

    Raises:
        PathError: A path does not exist or is not in the project.
    """
    known = list_files(root)
    selected: list[str] = []
    for argument in arguments:
        path = Path(argument).resolve()  # as a shell completes it: relative to the working directory
        if not path.exists() or not path.is_relative_to(root.resolve()):
            raise PathError(f"{argument} is not a file or folder of the project")
        name = path.relative_to(root.resolve()).as_posix()
        if path.is_file():
            selected += [name] if _is_checked(name) else []
        else:
            selected += [each for each in known if name == "." or each.startswith(f"{name}/")]
    return selected


def find_in_files(vocabulary: Vocabulary, root: Path, paths: Iterable[str]) -> list[Finding]:
    """Return the findings of files in the working tree; a removed file has none."""
    return [
        finding
        for path in paths
        if (root / path).is_file()
        for finding in vocabulary.find(path, (root / path).read_text(encoding="utf-8"))
    ]


def main(arguments: list[str], root: Path = ROOT) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="*", metavar="PATH")
    options = parser.parse_args(arguments)
    vocabulary = Vocabulary(TABLE.read_text(encoding="utf-8"))
    try:
        paths = select_files(root, options.paths) if options.paths else list_files(root)
    except PathError as error:
        parser.error(str(error))
    findings = find_in_files(vocabulary, root, paths)
    for finding in findings:
        print(finding)
    return int(bool(findings))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
