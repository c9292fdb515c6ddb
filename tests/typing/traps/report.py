"""
Count the planted mistakes that type checkers refuse, of this library and of others, and print the tables.

``nox -s traps`` installs the checkers and the other libraries and runs it.  A mistake counts as refused if the checker
reports an error in its function.  Each checker is as strict as its options allow.  A table has the number of errors in
the function without a mistake, because a checker that reports errors in correct code may report a mistake by chance.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parent
SHARED: Final = 22
LIBRARIES: Final = {
    "cp-thirdparty": "ours.py",
    "types-boto3": "boto3_stubs.py",
    "types-aiobotocore": "aiobotocore_stubs.py",
    "capo-codepipeline": "capo.py",
}
# Mistakes that were written from the documentation alone.
NEWCOMER: Final = "newcomer.py"
LEAST_OF_NEWCOMER: Final = {"mypy": 15, "pyright": 15, "ty": 14, "pyrefly": 14, "zuban": 15}
# What each checker has to refuse of the mistakes against this library.
LEAST: Final = {"mypy": 44, "pyright": 45, "ty": 42, "pyrefly": 42, "zuban": 43}
_LINE: Final = re.compile(r"^[^:\s]+\.py:(?P<line>\d+)\b.*\berror\b")


def run(folder: Path, *command: str) -> str:
    """Run a checker of this environment in a folder, and return its output."""
    program = shutil.which(command[0], path=str(Path(sys.executable).parent))
    if program is None:
        sys.exit(f"{command[0]} is not installed; `nox -s traps` installs it")
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    environment = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "MYPYPATH"}}
    done = subprocess.run(
        [program, *command[1:]],
        cwd=folder,
        env={**environment, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode not in {0, 1}:  # 1: it found errors
        sys.exit(f"{command[0]} failed: {done.stderr or done.stdout}")
    return done.stdout


def lines_of(output: str) -> Counter[int]:
    """Return the number of errors by line, from a report of one line for each error."""
    found = [match for line in output.splitlines() if (match := _LINE.match(line))]
    return Counter(int(match["line"]) for match in found)


STRICT: Final = ("--strict", "--enable-error-code=truthy-bool", "--enable-error-code=deprecated")


def mypy(folder: Path, file: str) -> Counter[int]:
    """Run mypy."""
    return lines_of(run(folder, "mypy", *STRICT, "--config-file=", file))


def pyright(folder: Path, file: str) -> Counter[int]:
    """Run pyright."""
    (folder / "pyrightconfig.json").write_text('{"typeCheckingMode": "strict"}', encoding="utf-8")
    output = run(folder, "pyright", "--pythonpath", sys.executable, "--outputjson", file)
    found = json.loads(output[output.index("{") :])["generalDiagnostics"]
    return Counter(one["range"]["start"]["line"] + 1 for one in found if one["severity"] == "error")


def ty(folder: Path, file: str) -> Counter[int]:
    """Run ty."""
    return lines_of(run(folder, "ty", "check", "--python", sys.prefix, "--output-format", "concise", file))


def pyrefly(folder: Path, file: str) -> Counter[int]:
    """Run pyrefly."""
    (folder / "pyrefly.toml").write_text('preset = "strict"\n', encoding="utf-8")
    output = run(
        folder, "pyrefly", "check", "--python-interpreter-path", sys.executable, "--output-format", "json", file
    )
    found = json.loads(output[output.index("{") :])["errors"]
    return Counter(one["line"] for one in found if one["severity"] == "error")


def zuban(folder: Path, file: str) -> Counter[int]:
    """Run zuban in its two modes, which report different mistakes; errors that both report count once."""
    options = (*STRICT, "--python-executable", sys.executable, file)
    return lines_of(run(folder, "zuban", "check", *options)) | lines_of(run(folder, "zuban", "mypy", *options))


CHECKERS: Final[Mapping[str, Callable[[Path, str], Counter[int]]]] = {
    "mypy": mypy,
    "pyright": pyright,
    "ty": ty,
    "pyrefly": pyrefly,
    "zuban": zuban,
}


def functions_of(file: str) -> dict[str, range]:
    """Return the lines of each function of a file, decorators and signature included."""
    nodes = ast.parse((FOLDER / file).read_text(encoding="utf-8")).body
    found = [node for node in nodes if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
    return {node.name: range(node.lineno, (node.end_lineno or node.lineno) + 1) for node in found}


def errors_of(checker: str, file: str) -> Counter[str]:
    """Return the number of errors that a checker reports, by the names of the functions that have errors."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copy(FOLDER / file, folder)
        lines = CHECKERS[checker](folder, file)
    # `+` leaves out the functions without errors.
    return +Counter({name: sum(lines[line] for line in span) for name, span in functions_of(file).items()})


def print_newcomer() -> list[str]:
    """Print the table of the mistakes of a newcomer, and return the checkers that refuse too few, or too much."""
    traps = [name for name in functions_of(NEWCOMER) if name.startswith("trap_")]
    table = {checker: errors_of(checker, NEWCOMER) for checker in CHECKERS}
    counts = {checker: len(found.keys() & set(traps)) for checker, found in table.items()}
    print(f"\n| of {len(traps)} by a newcomer | {' | '.join(map(str, counts.values()))} |\n\nNot refused:")
    for checker, found in table.items():
        print(f"* {checker}: {', '.join(name for name in traps if name not in found) or 'none'}")
    return [name for name in CHECKERS if "right" in table[name] or counts[name] < LEAST_OF_NEWCOMER[name]]


def main() -> int:
    """Print the tables; fail if a checker refuses fewer mistakes than before, or the correct function."""
    table = {(name, checker): errors_of(checker, file) for name, file in LIBRARIES.items() for checker in CHECKERS}
    traps = [name for name in functions_of(LIBRARIES["cp-thirdparty"]) if name.startswith("trap_")]
    shared = traps[:SHARED]
    head = f"{' | '.join(CHECKERS)} |\n| --- |{' --- |' * len(CHECKERS)}"
    print(f"| of the {SHARED} shared | {head}")
    for library in LIBRARIES:
        counts = [str(len(table[library, checker].keys() & set(shared))) for checker in CHECKERS]
        print(f"| {library} | {' | '.join(counts)} |")
    print(f"\n| errors in the correct function | {head}")
    for library in LIBRARIES:
        print(f"| {library} | {' | '.join(str(table[library, checker]['right']) for checker in CHECKERS)} |")
    own = {checker: len(table["cp-thirdparty", checker].keys() & set(traps)) for checker in CHECKERS}
    print(f"\n| of all {len(traps)} | {' | '.join(map(str, own.values()))} |\n\nNot refused:")
    for (library, checker), names in table.items():
        planted = traps if library == "cp-thirdparty" else shared
        missed = [name.removeprefix("trap_") for name in planted if name not in names]
        print(f"* {library}, {checker}: {', '.join(missed) or 'none'}")
    wrong = [name for name in CHECKERS if "right" in table["cp-thirdparty", name] or own[name] < LEAST[name]]
    wrong += print_newcomer()
    if wrong:
        print(f"error: fewer mistakes than before, or the correct function, are refused by {', '.join(wrong)}")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
